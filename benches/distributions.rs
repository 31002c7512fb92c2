//! Densities, densities with all gradients, and draws, of a million elements: the families of the peers' `distributions`.
//!
//! "each": every element has parameters of its own; "one": all share one set.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{
    Beta, Categorical, Dirichlet, Distribution, Gamma, Laplace, MixtureSameFamily,
    MultivariateNormal, Normal, StudentT,
};
use candle_prob::{Result, Rng, optim};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

const N: usize = 1_000_000;

/// Numbers from 0.5 to 5.
fn positive(shape: &[usize]) -> Result<Tensor> {
    let u = Rng::new(1).uniform(shape, DType::F32, &Device::Cpu)?;
    Ok(u.affine(4.5, 0.5)?)
}

fn real(shape: &[usize]) -> Result<Tensor> {
    Rng::new(2).normal(shape, DType::F32, &Device::Cpu)
}

/// The family made from `parameters` at every step, as a training does.
fn family<D: Distribution>(
    c: &mut Criterion,
    name: &str,
    parameters: &[Tensor],
    make: impl Fn(&[Tensor]) -> Result<D>,
) -> Result<()> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    let shape: &[usize] = if parameters[0].rank() == 0 { &[N] } else { &[] };
    let mut rng = Rng::new(3);
    let x = make(parameters)?.sample(shape, &mut rng)?;
    group.timed("log_prob", || {
        make(parameters).unwrap().log_prob(&x).unwrap()
    });
    let leaves = parameters
        .iter()
        .map(Var::from_tensor)
        .collect::<candle_core::Result<Vec<_>>>()?;
    let leaves: Vec<Tensor> = leaves.iter().map(|v| v.as_tensor().clone()).collect();
    let value = match x.dtype().is_float() {
        true => Var::from_tensor(&x)?.as_tensor().clone(),
        false => x,
    };
    group.timed("log_prob gradient", || {
        let loss = make(&leaves).unwrap().log_prob(&value).unwrap();
        optim::backward(&loss.sum_all().unwrap()).unwrap()
    });
    group.timed("sample", || {
        make(parameters).unwrap().sample(shape, &mut rng).unwrap()
    });
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) -> Result<()> {
    for (kind, shape) in [("each", &[N][..]), ("one", &[][..])] {
        let (a, b, z) = (positive(shape)?, positive(shape)?, real(shape)?);
        let location = [z.clone(), b.clone()];
        let shapes = [a.clone(), b.clone()];
        let student = [(&a + 1.)?, z, b];
        let mut group = c.benchmark_group(format!("checks/{kind}"));
        let [loc, scale] = &location;
        group.timed("normal new", || Normal::new(loc, scale).unwrap());
        group.timed("normal new_unchecked", || {
            Normal::new_unchecked(loc, scale).unwrap()
        });
        let [a, rate] = &shapes;
        group.timed("gamma new", || Gamma::new(a, rate).unwrap());
        group.timed("gamma new_unchecked", || {
            Gamma::new_unchecked(a, rate).unwrap()
        });
        group.finish();
        family(c, &format!("normal/{kind}"), &location, |p| {
            Normal::new(&p[0], &p[1])
        })?;
        family(c, &format!("gamma/{kind}"), &shapes, |p| {
            Gamma::new(&p[0], &p[1])
        })?;
        family(c, &format!("beta/{kind}"), &shapes, |p| {
            Beta::new(&p[0], &p[1])
        })?;
        family(c, &format!("student_t/{kind}"), &student, |p| {
            StudentT::new(&p[0], &p[1], &p[2])
        })?;
        family(c, &format!("laplace/{kind}"), &location, |p| {
            Laplace::new(&p[0], &p[1])
        })?;
    }
    let rows = [positive(&[100_000, 10])?];
    family(c, "dirichlet/100k x 10", &rows, |p| Dirichlet::new(&p[0]))?;
    for (name, shape) in [("100k x 10", [100_000, 10]), ("4096 x 1000", [4096, 1000])] {
        let logits = [real(&shape)?];
        family(c, &format!("categorical/{name}"), &logits, |p| {
            Categorical::new(&p[0])
        })?;
    }
    let lower = Tensor::tril2(64, DType::F32, &Device::Cpu)?;
    let eye = Tensor::eye(64, DType::F32, &Device::Cpu)?;
    let below = (real(&[64, 64])? * (lower - &eye)?)?.affine(0.1, 0.)?;
    let tril = (below + eye.broadcast_mul(&positive(&[64])?)?)?;
    let normal = [real(&[10_000, 64])?, tril];
    family(c, "multivariate_normal/10k x 64", &normal, |p| {
        MultivariateNormal::new(&p[0], &p[1])
    })?;
    let shape = [100_000, 8];
    let mixture = [real(&shape)?, real(&shape)?, positive(&shape)?];
    family(c, "mixture/100k x 8", &mixture, |p| {
        MixtureSameFamily::new(Categorical::new(&p[0])?, Normal::new(&p[1], &p[2])?)
    })
}

fn distributions(c: &mut Criterion) {
    all(c).unwrap()
}

criterion_group! {
    name = benches;
    config = common::config();
    targets = distributions
}
criterion_main!(benches);
