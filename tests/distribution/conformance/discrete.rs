//! Counting and relaxed families.

use super::{discrete, positive, real, row, tensor};
use candle_core::Tensor;
use candle_prob::Result;
use candle_prob::distribution::{
    Bernoulli, Binomial, Categorical, DiscretizedLogistic, Geometric, MixtureSameFamily,
    Multinomial, NegativeBinomial, OneHotCategorical, OneHotCategoricalStraightThrough, Poisson,
    RelaxedBernoulli, RelaxedOneHotCategorical,
};

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
    family.cdf()?;
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
    family.cdf()?;
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
    family.cdf()?;
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

#[test]
fn bernoulli_from_probs() -> Result<()> {
    let family = discrete(
        |p: &[Tensor]| Bernoulli::from_probs(&p[0]),
        [tensor([0.01, 0.4, 0.99])],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.kl(&Bernoulli::new(&tensor([-3., 0., 4.]))?)
}

#[test]
fn one_hot_categorical() -> Result<()> {
    let logits = discrete(
        |p: &[Tensor]| OneHotCategorical::new(&p[0]),
        [real(&[2, 4], 0)],
    );
    logits.distribution()?;
    logits.moments()?;
    logits.mode()?;
    logits.entropy()?;
    logits.kl(&OneHotCategorical::new(&real(&[4], 1))?)?;
    let probs = discrete(
        // What moves one of them moves them all: they add up to 1.
        |p: &[Tensor]| {
            OneHotCategorical::from_probs(
                &p[0].broadcast_div(&p[0].sum_keepdim(candle_core::D::Minus1)?)?,
            )
        },
        [tensor([0.1, 0.2, 0.7])],
    );
    probs.distribution()?;
    probs.entropy()?;
    let through = discrete(
        |p: &[Tensor]| OneHotCategoricalStraightThrough::new(&p[0]),
        [real(&[2, 4], 2)],
    );
    through.distribution()?;
    through.moments()?;
    through.entropy()
}

#[test]
fn multinomial() -> Result<()> {
    let count = tensor([1., 30.]);
    let family = discrete(
        |p: &[Tensor]| Multinomial::new(&count, &p[0]),
        [real(&[2, 3], 0)],
    );
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.kl(&Multinomial::new(&count, &real(&[3], 1))?)
}

#[test]
fn relaxed_bernoulli() -> Result<()> {
    let family = row(
        |p: &[Tensor]| RelaxedBernoulli::new(&p[0], &p[1]),
        [tensor([0.7, 1., 2.]), tensor([0.3, -2., 1.])],
    );
    family.distribution()?;
    // Draws of low temperature come too near the ends of the support for central differences.
    let warm = row(
        |p: &[Tensor]| RelaxedBernoulli::new(&p[0], &p[1]),
        [tensor([2., 1.5, 2.]), tensor([0.3, -0.5, 1.])],
    );
    warm.cdf()?;
    family.reparameterized()
}

#[test]
fn relaxed_one_hot_categorical() -> Result<()> {
    let mut family = row(
        |p: &[Tensor]| RelaxedOneHotCategorical::new(&p[0], &p[1]),
        [tensor([0.7, 2.]), real(&[2, 3], 0)],
    );
    family.simplex = true;
    family.distribution()?;
    family.reparameterized()
}

#[test]
fn discretized_logistic() -> Result<()> {
    let parameters = || [tensor([-0.9, 0.1, 1.3]), tensor([0.2, 0.05, 0.4])];
    let family = discrete(
        |p: &[Tensor]| DiscretizedLogistic::new(&p[0], &p[1], 16),
        parameters(),
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    let other = DiscretizedLogistic::new(&tensor([-0.5, 0., 1.]), &tensor([0.3]), 16)?;
    family.kl(&other)?;
    let mixture = discrete(
        |p: &[Tensor]| {
            let components = DiscretizedLogistic::new(&p[1], &p[2], 256)?;
            MixtureSameFamily::new(Categorical::new(&p[0])?, components)
        },
        [vec![real(&[3], 0)], parameters().to_vec()].concat(),
    );
    mixture.distribution()?;
    mixture.moments()
}
