//! Samplers: normals, uniforms, gamma and Dirichlet draws, forward and with pathwise gradients.
//!
//! The workloads: 10 million normals or uniforms; 1 million gamma draws with concentrations uniform in [0.1, 10], a
//! gradient for each; 100 000 Dirichlet draws of 10 categories with a concentration of their own.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::Rng;
use candle_prob::distribution::{Dirichlet, Distribution, Gamma};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng as _;

const CPU: Device = Device::Cpu;

fn noise(c: &mut Criterion) {
    let n = 10_000_000;
    let mut rng = Rng::new(0);
    let mut group = c.benchmark_group("noise");
    group.timed("normal/10M/seeded", || {
        rng.normal(n, DType::F32, &CPU).unwrap()
    });
    group.timed("normal/10M/candle", || {
        Tensor::randn(0f32, 1., n, &CPU).unwrap()
    });
    group.timed("uniform/10M/seeded", || {
        rng.uniform(n, DType::F32, &CPU).unwrap()
    });
    group.timed("uniform/10M/candle", || {
        Tensor::rand(0f32, 1., n, &CPU).unwrap()
    });
    group.finish();
}

fn concentrations(shape: impl Into<candle_core::Shape>) -> Var {
    let u = Rng::new(1).uniform(shape, DType::F32, &CPU).unwrap();
    Var::from_tensor(&u.affine(9.9, 0.1).unwrap()).unwrap()
}

fn gamma(c: &mut Criterion) {
    let mut rng = Rng::new(0);
    let a = concentrations(1_000_000);
    let rate = a.ones_like().unwrap();
    let mut group = c.benchmark_group("gamma");
    let fixed = Gamma::new(&a.as_detached_tensor(), &rate).unwrap();
    group.timed("sample/1M/forward", || fixed.sample(&[], &mut rng).unwrap());
    group.timed("sample_log/1M/forward", || {
        fixed.sample_log(&[], &mut rng).unwrap()
    });
    // A plain user's loop over rand_distr: no gradient, one thread, zeros where it underflows.
    let values = a.to_vec1::<f32>().unwrap();
    let mut generator = rand::rngs::SmallRng::seed_from_u64(0);
    group.timed("sample/1M/rand_distr", || -> Vec<f32> {
        let mut draw = |a: &f32| {
            let gamma = rand_distr::Gamma::new(*a, 1.).unwrap();
            rand_distr::Distribution::sample(&gamma, &mut generator)
        };
        values.iter().map(&mut draw).collect()
    });
    let moving = Gamma::new(&a, &rate).unwrap();
    group.timed("sample/1M/forward+backward", || {
        let x = moving.sample(&[], &mut rng).unwrap();
        x.sum_all().unwrap().backward().unwrap()
    });
    // One concentration for all: the gradient is a sum over a million draws.
    let one = Gamma::new(&a.narrow(0, 0, 1).unwrap(), &rate.narrow(0, 0, 1).unwrap()).unwrap();
    group.timed("sample/1Mx1/forward+backward", || {
        let x = one.sample(&[1_000_000], &mut rng).unwrap();
        x.sum_all().unwrap().backward().unwrap()
    });
    group.finish();
}

fn dirichlet(c: &mut Criterion) {
    let mut rng = Rng::new(0);
    let a = concentrations((100_000, 10));
    let weights = Rng::new(2).normal((100_000, 10), DType::F32, &CPU).unwrap();
    let mut group = c.benchmark_group("dirichlet");
    let fixed = Dirichlet::new(&a.as_detached_tensor()).unwrap();
    group.timed("sample/100kx10/forward", || {
        fixed.sample(&[], &mut rng).unwrap()
    });
    group.timed("sample_log/100kx10/forward", || {
        fixed.sample_log(&[], &mut rng).unwrap()
    });
    let moving = Dirichlet::new(&a).unwrap();
    group.timed("sample/100kx10/forward+backward", || {
        let x = moving.sample(&[], &mut rng).unwrap();
        let loss = (x * &weights).unwrap().sum_all().unwrap();
        loss.backward().unwrap()
    });
    group.finish();
}

fn short() -> Criterion {
    common::config()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .sample_size(20)
}

criterion_group! { name = benches; config = short(); targets = noise, gamma, dirichlet }
criterion_main!(benches);
