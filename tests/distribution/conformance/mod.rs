//! Every family and combinator through the conformance harness: one row each, with every check that the family's traits
//! allow. Each comparison fails for a correct family with probability below 6e-7; the seeds are fixed.

mod continuous;
mod discrete;
mod gamma_family;
mod location_scale;
mod multivariate;

use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::{
    Bernoulli, Categorical, Dirichlet, Distribution, Gamma, Independent, LogisticNormal,
    MixtureSameFamily, MultivariateNormalDiag, Normal,
};
use candle_prob::testing::Conformance;
use candle_prob::{Result, Rng};

pub fn row<D, F: Fn(&[Tensor]) -> Result<D>>(
    build: F,
    parameters: impl IntoIterator<Item = Tensor>,
) -> Conformance<F>
where
    D: Distribution,
{
    let mut row = Conformance::new(build, parameters.into_iter().collect());
    row.samples = 20_000;
    row
}

pub fn discrete<D, F: Fn(&[Tensor]) -> Result<D>>(
    build: F,
    parameters: impl IntoIterator<Item = Tensor>,
) -> Conformance<F>
where
    D: Distribution,
{
    let mut row = row(build, parameters);
    row.continuous = false;
    row
}

pub fn tensor<const N: usize>(values: [f64; N]) -> Tensor {
    Tensor::new(&values, &Device::Cpu).unwrap()
}

/// Standard normal numbers, another set for each seed.
pub fn real(shape: &[usize], seed: u64) -> Tensor {
    Rng::new(seed)
        .normal(shape, DType::F64, &Device::Cpu)
        .unwrap()
}

pub fn positive(shape: &[usize], seed: u64) -> Tensor {
    real(shape, seed).exp().unwrap()
}

// Parameters of different shapes are of one rank: the harness puts a sample dim before each.

#[test]
fn normal() -> Result<()> {
    let other = Normal::from_log_var(&real(&[3], 2), &real(&[3], 3))?;
    let scales = row(
        |p: &[Tensor]| Normal::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    scales.distribution()?;
    scales.moments()?;
    scales.entropy()?;
    scales.reparameterized()?;
    scales.kl(&other)?;
    let log_vars = row(
        |p: &[Tensor]| Normal::from_log_var(&p[0], &p[1]),
        [real(&[2, 3], 0), real(&[1, 3], 1)],
    );
    log_vars.distribution()?;
    log_vars.reparameterized()?;
    log_vars.kl(&other)
}

#[test]
fn multivariate_normal_diag() -> Result<()> {
    let other = MultivariateNormalDiag::from_log_var(&real(&[3], 2), &real(&[3], 3))?;
    let scales = row(
        |p: &[Tensor]| MultivariateNormalDiag::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    scales.distribution()?;
    scales.moments()?;
    scales.mode()?;
    scales.entropy()?;
    scales.reparameterized()?;
    scales.kl(&other)?;
    let log_vars = row(
        |p: &[Tensor]| MultivariateNormalDiag::from_log_var(&p[0], &p[1]),
        [real(&[2, 3], 0), real(&[1, 3], 1)],
    );
    log_vars.distribution()?;
    log_vars.moments()?;
    log_vars.entropy()?;
    log_vars.reparameterized()?;
    log_vars.kl(&other)?;
    let standard = MultivariateNormalDiag::standard(3, DType::F64, &Device::Cpu)?;
    log_vars.kl(&standard)
}

/// Its KL is the divergence of the logits, which bounds that of the points on the simplex: samples do not estimate it.
#[test]
fn logistic_normal() -> Result<()> {
    let mut scales = row(
        |p: &[Tensor]| LogisticNormal::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    scales.simplex = true;
    scales.distribution()?;
    scales.reparameterized()
}

#[test]
fn gamma() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Gamma::new(&p[0], &p[1]),
        [tensor([0.7, 3., 12.]), tensor([0.5, 2., 1.])],
    );
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.reparameterized()?;
    family.kl(&Gamma::new(&tensor([2., 1., 10.]), &tensor([1.]))?)
}

#[test]
fn dirichlet() -> Result<()> {
    let concentration = tensor([0.7, 3., 2., 5., 0.5, 1.]).reshape((2, 3))?;
    let mut family = row(|p: &[Tensor]| Dirichlet::new(&p[0]), [concentration]);
    family.simplex = true;
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.reparameterized()?;
    family.kl(&Dirichlet::new(&tensor([2., 1., 1.5]))?)
}

#[test]
fn bernoulli() -> Result<()> {
    let family = discrete(
        |p: &[Tensor]| Bernoulli::new(&p[0]),
        [tensor([-2., -0.3, 0., 1.5])],
    );
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.kl(&Bernoulli::new(&tensor([0.4, -1., 2., 0.]))?)
}

#[test]
fn categorical() -> Result<()> {
    let family = discrete(|p: &[Tensor]| Categorical::new(&p[0]), [real(&[2, 4], 0)]);
    family.distribution()?;
    family.entropy()?;
    family.kl(&Categorical::new(&real(&[4], 1))?)
}

/// Vectors, and the generic path: normal coordinates behind a batch of mixtures.
#[test]
fn mixture_same_family() -> Result<()> {
    let vectors = row(
        |p: &[Tensor]| {
            let components = MultivariateNormalDiag::new(&p[1], &p[2])?;
            MixtureSameFamily::new(Categorical::new(&p[0])?, components)
        },
        [real(&[3], 0), real(&[3, 2], 1), positive(&[3, 2], 2)],
    );
    vectors.distribution()?;
    vectors.moments()?;
    let batch = row(
        |p: &[Tensor]| MixtureSameFamily::new(Categorical::new(&p[0])?, Normal::new(&p[1], &p[2])?),
        [real(&[2, 3], 3), real(&[2, 3], 4), positive(&[2, 3], 5)],
    );
    batch.distribution()?;
    batch.moments()?;
    batch.cdf()?;
    let bits = discrete(
        |p: &[Tensor]| {
            let components = Bernoulli::new(&p[1])?.to_event(1)?;
            MixtureSameFamily::new(Categorical::new(&p[0])?, components)
        },
        [real(&[3], 6), real(&[3, 2], 7)],
    );
    bits.distribution()?;
    bits.moments()
}

/// Draws of one component or the other do not move with it as central differences ask: pathwise slopes are held to the score's.
#[test]
fn reparameterized_mixture() -> Result<()> {
    let family = row(
        |p: &[Tensor]| {
            let components = Normal::new(&p[1], &p[2])?;
            let mixture = MixtureSameFamily::new(Categorical::new(&p[0])?, components)?;
            Ok(mixture.reparameterized())
        },
        [real(&[2, 3], 3), real(&[2, 3], 4), positive(&[2, 3], 5)],
    );
    family.distribution()?;
    family.moments()?;
    family.cdf()?;
    family.reparameterized()
}

#[test]
fn independent() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Normal::new(&p[0], &p[1])?.to_event(1),
        [real(&[2, 3], 0), positive(&[2, 3], 1)],
    );
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.reparameterized()?;
    let other = Normal::new(&real(&[3], 2), &positive(&[3], 3))?;
    family.kl(&Independent::new(other, 1)?)?;
    let bits = discrete(
        |p: &[Tensor]| Bernoulli::new(&p[0])?.to_event(2),
        [real(&[2, 2], 4)],
    );
    bits.distribution()?;
    bits.entropy()?;
    bits.kl(&Bernoulli::new(&real(&[2, 2], 5))?.to_event(2)?)
}
