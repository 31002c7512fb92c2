//! Vectors with covariances, and families on the circle and the unit interval.

use crate::family;
use candle_prob::Result;
use candle_prob::distribution::{LowRankMultivariateNormal, MultivariateNormal};

#[test]
fn multivariate_normal() -> Result<()> {
    let family = family("MultivariateNormal", |p| {
        MultivariateNormal::new(p.get("loc"), p.get("scale_tril"))
    });
    family.density()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn low_rank_multivariate_normal() -> Result<()> {
    let family = family("LowRankMultivariateNormal", |p| {
        LowRankMultivariateNormal::new(p.get("loc"), p.get("cov_factor"), p.get("cov_diag"))
    });
    family.density()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}
