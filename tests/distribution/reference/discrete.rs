//! Discrete and relaxed families.

use super::family;
use candle_prob::Result;
use candle_prob::distribution::{
    Bernoulli, Binomial, Geometric, Multinomial, NegativeBinomial, OneHotCategorical, Poisson,
    RelaxedBernoulli, RelaxedOneHotCategorical,
};

#[test]
fn bernoulli() -> Result<()> {
    let family = family("Bernoulli", |p| Bernoulli::new(p.get("logits")));
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn one_hot_categorical() -> Result<()> {
    let family = family("OneHotCategorical", |p| {
        OneHotCategorical::new(p.get("logits"))
    });
    family.density()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn multinomial() -> Result<()> {
    let family = family("Multinomial", |p| {
        Multinomial::new(p.get("total_count"), p.get("logits"))
    });
    family.density()?;
    family.moments()?;
    family.entropy()
}

#[test]
fn relaxed_bernoulli() -> Result<()> {
    let family = family("RelaxedBernoulli", |p| {
        RelaxedBernoulli::new(p.get("temperature"), p.get("logits"))
    });
    family.density()?;
    family.cdf()
}

#[test]
fn relaxed_one_hot_categorical() -> Result<()> {
    let family = family("RelaxedOneHotCategorical", |p| {
        RelaxedOneHotCategorical::new(p.get("temperature"), p.get("logits"))
    });
    family.density()
}

#[test]
fn poisson() -> Result<()> {
    let family = family("Poisson", |p| Poisson::new(p.get("rate")));
    family.density()?;
    family.cdf()?;
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
    family.cdf()?;
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
    family.cdf()?;
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
