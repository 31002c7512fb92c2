//! Normal distributions on vectors with covariances.

use super::{positive, real, row, tensor};
use candle_core::{DType, Device, Tensor};
use candle_prob::Result;
use candle_prob::distribution::{
    ContinuousBernoulli, LowRankMultivariateNormal, MultivariateNormal, MultivariateNormalDiag,
    VonMises,
};

/// Lower-triangular, with a positive diagonal wherever the numbers are moderate.
fn tril(x: &Tensor) -> Result<Tensor> {
    let d = x.dims()[x.rank() - 1];
    let eye = Tensor::eye(d, DType::F64, &Device::Cpu)?;
    let strict = (Tensor::tril2(d, DType::F64, &Device::Cpu)? - &eye)?;
    let diagonal = x.exp()?.broadcast_mul(&eye)?;
    Ok((x.broadcast_mul(&strict)? + diagonal)?)
}

fn full(loc: &Tensor, x: &Tensor) -> Result<MultivariateNormal> {
    MultivariateNormal::new(loc, &tril(x)?)
}

#[test]
fn multivariate_normal() -> Result<()> {
    let diag = MultivariateNormalDiag::new(&real(&[3], 4), &positive(&[3], 5))?;
    let low =
        LowRankMultivariateNormal::new(&real(&[3], 6), &real(&[3, 2], 7), &positive(&[3], 8))?;
    for shape in [&[3, 3][..], &[2, 3, 3]] {
        let family = row(
            |p: &[Tensor]| full(&p[0], &p[1]),
            [real(&[2, 3][3 - shape.len()..], 0), real(shape, 1)],
        );
        family.distribution()?;
        family.moments()?;
        family.mode()?;
        family.entropy()?;
        family.reparameterized()?;
        family.kl(&full(&real(&[3], 2), &real(&[3, 3], 3))?)?;
        family.kl(&diag)?;
        family.kl(&low)?;
    }
    Ok(())
}

#[test]
fn low_rank_multivariate_normal() -> Result<()> {
    let other =
        LowRankMultivariateNormal::new(&real(&[3], 4), &real(&[3, 1], 5), &positive(&[3], 6))?;
    for batch in [&[][..], &[2]] {
        let family = row(
            |p: &[Tensor]| LowRankMultivariateNormal::new(&p[0], &p[1], &p[2]),
            [
                real(&[batch, &[3]].concat(), 0),
                real(&[batch, &[3, 2]].concat(), 1),
                positive(&[batch, &[3]].concat(), 2),
            ],
        );
        family.distribution()?;
        family.moments()?;
        family.mode()?;
        family.entropy()?;
        family.reparameterized()?;
        family.kl(&other)?;
        family.kl(&full(&real(&[3], 2), &real(&[3, 3], 3))?)?;
        family.kl(&MultivariateNormalDiag::new(
            &real(&[3], 4),
            &positive(&[3], 5),
        )?)?;
    }
    let diag = row(
        |p: &[Tensor]| MultivariateNormalDiag::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[2, 3], 1)],
    );
    diag.kl(&other)?;
    diag.kl(&full(&real(&[3], 2), &real(&[3, 3], 3))?)
}

#[test]
fn von_mises() -> Result<()> {
    let family = row(
        |p: &[Tensor]| VonMises::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    family.distribution()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&VonMises::new(&real(&[3], 2), &positive(&[3], 3))?)
}

#[test]
fn continuous_bernoulli() -> Result<()> {
    let logits = tensor([-30., -1.01, -1e-3, 0.4, 0.99, 8.]);
    let family = row(|p: &[Tensor]| ContinuousBernoulli::new(&p[0]), [logits]);
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.mode()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&ContinuousBernoulli::new(&real(&[6], 1))?)
}
