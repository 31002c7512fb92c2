//! Counting and relaxed families.

use crate::{discrete, positive, real, tensor};
use candle_core::Tensor;
use candle_prob::Result;
use candle_prob::distribution::{Binomial, Geometric, NegativeBinomial, Poisson};

#[test]
fn poisson() -> Result<()> {
    let family = discrete(
        |p: &[Tensor]| Poisson::new(&p[0]),
        [tensor([0.3, 4., 40., 9000.])],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.kl(&Poisson::new(&tensor([0.5, 3., 41., 9100.]))?)
}

#[test]
fn binomial() -> Result<()> {
    let count = tensor([1., 7., 60., 30_000.]);
    let family = discrete(
        |p: &[Tensor]| Binomial::new(&count, &p[0]),
        [tensor([0.4, -1., 0.2, 0.7])],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.kl(&Binomial::new(&count, &tensor([0.2, -0.8, 0.3, 0.71]))?)?;
    // More trials in the other: no peer has this one.
    let more = Binomial::new(&(&count + 2.)?, &tensor([0.2, -0.8, 0.3, 0.7]))?;
    family.kl(&more)?;
    let probs = discrete(
        |p: &[Tensor]| Binomial::from_probs(&count, &p[0]),
        [tensor([0.4, 0.01, 0.99, 0.7])],
    );
    probs.distribution()?;
    probs.moments()?;
    probs.entropy()?;
    probs.kl(&more)
}

#[test]
fn negative_binomial() -> Result<()> {
    let family = discrete(
        |p: &[Tensor]| NegativeBinomial::new(&p[0], &p[1]),
        [tensor([0.3, 5., 700., 2.]), tensor([0.4, -1., 2., 9.])],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    let count = tensor([0.5, 4., 690., 2.1]);
    family.kl(&NegativeBinomial::new(
        &count,
        &tensor([0.2, -0.8, 2., 9.1]),
    )?)?;
    let fixed = tensor([0.3, 5., 700., 2.]);
    let equal = discrete(
        |p: &[Tensor]| NegativeBinomial::from_probs(&fixed, &p[0]),
        [tensor([0.4, 0.1, 0.9, 0.5])],
    );
    equal.distribution()?;
    equal.kl(&NegativeBinomial::from_probs(
        &fixed,
        &tensor([0.5, 0.11, 0.91, 0.3]),
    )?)
}

#[test]
fn geometric() -> Result<()> {
    let logits = discrete(|p: &[Tensor]| Geometric::new(&p[0]), [real(&[2, 3], 0)]);
    logits.distribution()?;
    logits.moments()?;
    logits.mode()?;
    logits.entropy()?;
    logits.cdf()?;
    logits.kl(&Geometric::new(&real(&[3], 1))?)?;
    let probs = discrete(
        |p: &[Tensor]| Geometric::from_probs(&p[0]),
        [tensor([0.01, 0.4, 0.99])],
    );
    probs.distribution()?;
    probs.cdf()?;
    probs.kl(&Geometric::new(&positive(&[3], 1))?)
}
