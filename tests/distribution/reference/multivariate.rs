//! Vectors with covariances, and families on the circle and the unit interval.

use super::family;
use candle_prob::Result;
use candle_prob::distribution::{
    ContinuousBernoulli, LowRankMultivariateNormal, MultivariateNormal, VonMises,
};

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

#[test]
fn von_mises() -> Result<()> {
    let family = family("VonMises", |p| {
        VonMises::new(p.get("loc"), p.get("concentration"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn continuous_bernoulli() -> Result<()> {
    let family = family("ContinuousBernoulli", |p| {
        ContinuousBernoulli::new(p.get("logits"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}
