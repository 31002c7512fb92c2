//! Draw and rate of a diagonal Gaussian posterior (the variational autoencoder's encoder end), fused beside plain candle.
//!
//! Workload: loc and log-variance [4096, 256] f32; S samples; loss = mean(z^2) + mean(KL). `prior` takes the standard
//! normal's log-density as the term in z, which is the same sum of squares (times -1/2, plus a constant) in one node.

mod common;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::distribution::{Distribution, Kl, MultivariateNormalDiag};
use candle_prob::optim::backward;
use candle_prob::{Result, Rng};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

const ROWS: usize = 4096;
const DIMS: usize = 256;

fn parameters() -> (Var, Var) {
    let draw = |seed| Rng::new(seed).normal((ROWS, DIMS), DType::F32, &Device::Cpu);
    let loc = draw(1).unwrap();
    let log_var = (draw(2).unwrap() * 0.1).unwrap();
    (
        Var::from_tensor(&loc).unwrap(),
        Var::from_tensor(&log_var).unwrap(),
    )
}

fn fused(
    loc: &Tensor,
    log_var: &Tensor,
    sample: &[usize],
    rng: &mut Rng,
) -> Result<(Tensor, Tensor)> {
    let prior = MultivariateNormalDiag::standard(DIMS, DType::F32, &Device::Cpu)?;
    MultivariateNormalDiag::from_log_var(loc, log_var)?.sample_and_kl(&prior, sample, rng)
}

/// What one writes with candle alone, which has no seeded normals.
fn plain(
    loc: &Tensor,
    log_var: &Tensor,
    sample: &[usize],
    _: &mut Rng,
) -> Result<(Tensor, Tensor)> {
    let shape = [sample, loc.dims()].concat();
    let eps = Tensor::randn(0f32, 1., shape, loc.device())?;
    let scale = (log_var * 0.5)?.exp()?;
    let z = eps.broadcast_mul(&scale)?.broadcast_add(loc)?;
    let kl = (((loc.sqr()? + log_var.exp()?)? - log_var)? - 1.)?.sum(D::Minus1)?;
    Ok((z, (kl * 0.5)?))
}

type Both = fn(&Tensor, &Tensor, &[usize], &mut Rng) -> Result<(Tensor, Tensor)>;

fn workload(c: &mut Criterion) {
    let (loc, log_var) = parameters();
    let fixed = (loc.as_detached_tensor(), log_var.as_detached_tensor());
    let prior = MultivariateNormalDiag::standard(DIMS, DType::F32, &Device::Cpu).unwrap();
    for samples in [1, 12] {
        let sample: &[usize] = if samples == 1 { &[] } else { &[12] };
        let mut group = c.benchmark_group(format!("sample_with_kl/{samples}x{ROWS}x{DIMS}"));
        group
            .sample_size(if samples == 1 { 30 } else { 10 })
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        for (name, both) in [("fused", fused as Both), ("candle", plain as Both)] {
            let mut rng = Rng::new(3);
            group.timed(format!("forward/{name}"), || {
                both(&fixed.0, &fixed.1, sample, &mut rng).unwrap()
            });
            group.timed(format!("gradient/{name}"), || {
                let (z, kl) = both(&loc, &log_var, sample, &mut rng).unwrap();
                let squares = z.sqr().unwrap().mean_all().unwrap();
                let loss = (squares + kl.mean_all().unwrap()).unwrap();
                backward(&loss).unwrap()
            });
        }
        let mut rng = Rng::new(3);
        group.timed("gradient/fused, loss by prior", || {
            let (z, kl) = fused(&loc, &log_var, sample, &mut rng).unwrap();
            // mean(z^2) up to a constant
            let squares =
                (prior.log_prob(&z).unwrap().mean_all().unwrap() * (-2. / DIMS as f64)).unwrap();
            let loss = (squares + kl.mean_all().unwrap()).unwrap();
            backward(&loss).unwrap()
        });
        group.finish();
    }
}

/// The log-likelihood of a Gaussian decoder, and the prior's of 12 samples.
fn densities(c: &mut Criterion) {
    let (loc, log_var) = parameters();
    let x = Rng::new(5)
        .normal((ROWS, DIMS), DType::F32, &Device::Cpu)
        .unwrap();
    let row = Var::from_tensor(&loc.get(0).unwrap()).unwrap();
    let scale = Var::from_tensor(&row.ones_like().unwrap()).unwrap();
    let mut group = c.benchmark_group(format!("log_prob/{ROWS}x{DIMS}"));
    group
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let plain = |x: &Tensor, loc: &Tensor, scale: &Tensor| -> Result<Tensor> {
        let t = x.broadcast_sub(loc)?.broadcast_div(scale)?;
        let terms = (t.sqr()? * 0.5)?.broadcast_add(&(scale.log()? + 0.918_938_533_204_672_8)?)?;
        Ok(terms.sum(D::Minus1)?.neg()?)
    };
    let gradient = |log_prob: Tensor| log_prob.mean_all().unwrap().backward().unwrap();
    let full = log_var.exp().unwrap();
    for (name, loc, scale) in [
        ("same shape", loc.as_tensor(), &full),
        ("row", row.as_tensor(), scale.as_tensor()),
    ] {
        let fused = || {
            MultivariateNormalDiag::new(loc, scale)
                .unwrap()
                .log_prob(&x)
                .unwrap()
        };
        group.timed(format!("{name}/gradient/fused"), || gradient(fused()));
        group.timed(format!("{name}/gradient/candle"), || {
            gradient(plain(&x, loc, scale).unwrap())
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::config();
    targets = workload, densities
}
criterion_main!(benches);
