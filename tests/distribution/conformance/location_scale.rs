//! Families of location and scale, and their relatives on half lines and intervals.

use super::{positive, real, row, tensor};
use candle_core::Tensor;
use candle_prob::Result;
use candle_prob::distribution::{
    Cauchy, Exponential, Gumbel, HalfCauchy, HalfNormal, Laplace, LogNormal, Logistic, Normal,
    Truncated, TruncatedNormal, Uniform,
};

#[test]
fn log_normal() -> Result<()> {
    let family = row(
        |p: &[Tensor]| LogNormal::new(&p[0], &p[1]),
        [real(&[2, 3], 0), (positive(&[1, 3], 1) * 0.4)?],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&LogNormal::new(&real(&[3], 2), &positive(&[3], 3))?)
}

#[test]
fn half_normal() -> Result<()> {
    let family = row(
        |p: &[Tensor]| HalfNormal::new(&p[0]),
        [positive(&[2, 3], 0)],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&HalfNormal::new(&positive(&[3], 1))?)
}

#[test]
fn uniform() -> Result<()> {
    let (low, width) = (real(&[1, 3], 0), (positive(&[2, 3], 1) + 1.)?);
    let high = low.broadcast_add(&width)?;
    let mut family = row(|p: &[Tensor]| Uniform::new(&p[0], &p[1]), [low, high]);
    family.fixed_support = false;
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&Uniform::new(&tensor([-20.]), &tensor([20.]))?)?;
    family.kl(&Gumbel::new(&real(&[3], 2), &tensor([1., 2., 3.]))?)?;
    family.kl(&Normal::new(&real(&[3], 2), &positive(&[3], 3))?)?;
    family.kl(&Laplace::new(&tensor([-9., 0., 9.]), &positive(&[3], 3))?)
}

/// On the half line on which the exponential distribution covers it.
#[test]
fn positive_uniform() -> Result<()> {
    let mut family = row(
        |p: &[Tensor]| Uniform::new(&p[0], &p[1]),
        [tensor([0.1, 1.]), tensor([0.5, 4.])],
    );
    family.fixed_support = false;
    family.kl(&Exponential::new(&tensor([0.3]))?)
}

#[test]
fn logistic() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Logistic::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()
}

/// It has no moments.
#[test]
fn cauchy() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Cauchy::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    family.distribution()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&Cauchy::new(&real(&[3], 2), &positive(&[3], 3))?)
}

/// Its moments are infinite.
#[test]
fn half_cauchy() -> Result<()> {
    let family = row(
        |p: &[Tensor]| HalfCauchy::new(&p[0]),
        [positive(&[2, 3], 0)],
    );
    family.distribution()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.kl(&HalfCauchy::new(&positive(&[3], 1))?)?;
    family.reparameterized()
}

#[test]
fn gumbel() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Gumbel::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    // Wider ones: the mean of e^(-(x - loc) / scale) is beyond sampling for a narrow one.
    family.kl(&Gumbel::new(&real(&[3], 2), &tensor([3., 4., 9.]))?)?;
    family.kl(&Normal::new(&real(&[3], 2), &positive(&[3], 3))?)?;
    family.kl(&Laplace::new(&tensor([-3., 1., 4.]), &positive(&[3], 3))?)
}

#[test]
fn exponential() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Exponential::new(&p[0]),
        [positive(&[2, 3], 0)],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&Exponential::new(&positive(&[3], 1))?)?;
    family.kl(&Normal::new(&real(&[3], 2), &positive(&[3], 3))?)?;
    family.kl(&Gumbel::new(&real(&[3], 2), &positive(&[3], 3))?)?;
    family.kl(&Laplace::new(&tensor([-1., 0.5, 2.]), &positive(&[3], 3))?)
}

#[test]
fn normal_beside_others() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Normal::new(&p[0], &p[1]),
        [real(&[2, 3], 0), (positive(&[1, 3], 1) * 0.5)?],
    );
    family.mode()?;
    family.cdf()?;
    family.kl(&Gumbel::new(&real(&[3], 2), &positive(&[3], 3))?)?;
    family.kl(&Laplace::new(&real(&[3], 2), &positive(&[3], 3))?)?;
    let log_vars = row(
        |p: &[Tensor]| Normal::from_log_var(&p[0], &p[1]),
        [real(&[2, 3], 0), real(&[1, 3], 1)],
    );
    log_vars.cdf()?;
    log_vars.kl(&Laplace::new(&real(&[3], 2), &positive(&[3], 3))?)
}

#[test]
fn laplace_beside_others() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Laplace::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    family.kl(&Normal::new(&real(&[3], 2), &positive(&[3], 3))?)
}

/// Around its mean, narrow, and in both tails; ends at infinity and, for differences of them, not.
#[test]
fn truncated_normal() -> Result<()> {
    let loc = tensor([0., 0.3, -4., 9.]);
    let scale = tensor([1., 2., 0.8, 1.5]);
    let (low, high) = (tensor([-1.5, -0.7, -1., -2.]), tensor([2.5, 1.4, 6., 3.]));
    let mut family = row(
        |p: &[Tensor]| TruncatedNormal::new(&p[0], &p[1], &p[2], &p[3]),
        [loc.clone(), scale.clone(), low, high],
    );
    family.fixed_support = false;
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    let (from, until) = (tensor([-4.]), tensor([f64::INFINITY]));
    let other = TruncatedNormal::new(&tensor([1., -1., -6., 2.]), &tensor([2.]), &from, &until)?;
    family.kl(&other)?;
    let infinite = f64::INFINITY;
    let (low, high) = (
        tensor([-infinite, 0., -1., -infinite]),
        tensor([0.5, infinite, infinite, 3.]),
    );
    let open = row(
        |p: &[Tensor]| TruncatedNormal::new(&p[0], &p[1], &low, &high),
        [loc, scale],
    );
    open.distribution()?;
    open.moments()?;
    open.mode()?;
    open.entropy()?;
    open.cdf()?;
    open.reparameterized()
}

/// A bounded piece of a tail, and a half line.
#[test]
fn truncated() -> Result<()> {
    let mut family = row(
        |p: &[Tensor]| Truncated::new(Laplace::new(&p[0], &p[1])?, &p[2], &p[3]),
        [
            tensor([0., 0.5, -1.]),
            tensor([1., 2., 0.7]),
            tensor([-1.5, 1., -3.]),
            tensor([2., 5., 0.1]),
        ],
    );
    family.fixed_support = false;
    family.distribution()?;
    family.cdf()?;
    family.reparameterized()?;
    let (low, high) = (tensor([0.2]), tensor([f64::INFINITY]));
    let open = row(
        |p: &[Tensor]| Truncated::new(Gumbel::new(&p[0], &p[1])?, &low, &high),
        [tensor([0., 0.5, -1.]), tensor([1., 2., 0.7])],
    );
    open.distribution()?;
    open.cdf()?;
    open.reparameterized()
}
