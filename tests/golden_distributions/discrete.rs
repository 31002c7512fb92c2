//! Discrete and relaxed families.

use crate::family;
use candle_prob::Result;
use candle_prob::distribution::{Binomial, Geometric, NegativeBinomial, Poisson};

#[test]
fn poisson() -> Result<()> {
    let family = family("Poisson", |p| Poisson::new(p.get("rate")));
    family.density()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn binomial() -> Result<()> {
    let family = family("Binomial", |p| {
        Binomial::new(p.get("total_count"), p.get("logits"))
    });
    family.density()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn negative_binomial() -> Result<()> {
    let family = family("NegativeBinomial", |p| {
        NegativeBinomial::new(p.get("total_count"), p.get("logits"))
    });
    family.density()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn geometric() -> Result<()> {
    let family = family("Geometric", |p| match p.find("probs") {
        Some(probs) => Geometric::from_probs(probs),
        None => Geometric::new(p.get("logits")),
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}
