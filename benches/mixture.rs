//! Mixture densities and masses from logits: fused, beside the plain candle expression.

mod common;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::log_softmax;
use candle_prob::bijector::{Bijector, MixtureCdf};
use candle_prob::distribution::{
    Bernoulli, Categorical, Distribution, MixtureSameFamily, MultivariateNormalDiag,
};
use candle_prob::{Result, Rng};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

/// Times the value alone and the value with all gradients.
fn pair(
    c: &mut Criterion,
    id: &str,
    variant: &str,
    vars: &[Var],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let mut group = c.benchmark_group(id);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    let frozen: Vec<Tensor> = vars.iter().map(|v| v.as_detached_tensor()).collect();
    group.timed(format!("forward/{variant}"), || f(&frozen).unwrap());
    let live: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    group.timed(format!("backward/{variant}"), || {
        f(&live).unwrap().mean_all().unwrap().backward().unwrap()
    });
    group.finish();
}

fn vars(shapes: &[&[usize]]) -> Vec<Var> {
    let mut rng = Rng::new(0);
    let var = |s: &&[usize]| Var::from_tensor(&rng.normal(*s, DType::F32, &Device::Cpu).unwrap());
    shapes
        .iter()
        .map(var)
        .collect::<candle_core::Result<_>>()
        .unwrap()
}

/// 20000 points of 16 coordinates, 32 components; gradients of logits, means and log-variances.
fn mixture(c: &mut Criterion) {
    let (n, k, d) = (20_000, 32, 16);
    let x = Rng::new(1)
        .normal((n, d), DType::F32, &Device::Cpu)
        .unwrap();
    let vars = vars(&[&[k], &[k, d], &[k, d]]);
    let id = "mixture_log_prob/20000x16x32";
    pair(c, id, "fused", &vars, |t| {
        let components = MultivariateNormalDiag::from_log_var(&t[1], &(&t[2] * 0.2)?)?;
        MixtureSameFamily::new(Categorical::new(&t[0])?, components)?.log_prob(&x)
    });
    let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
    let finish = |t: &[Tensor], squares: Tensor, log_scale: &Tensor| -> Result<Tensor> {
        let offset = ((log_softmax(&t[0], 0)? - log_scale.sum(1)?)? - constant)?;
        let joint = (squares * -0.5)?.broadcast_add(&offset)?;
        Ok(joint.log_sum_exp(D::Minus1)?)
    };
    pair(c, id, "candle", &vars, |t| {
        let log_scale = (&t[2] * 0.1)?;
        let z = x.unsqueeze(1)?.broadcast_sub(&t[1])?;
        let z = z.broadcast_mul(&log_scale.neg()?.exp()?)?;
        finish(t, z.sqr()?.sum(2)?, &log_scale)
    });
    pair(c, id, "candle-matmul", &vars, |t| {
        let log_scale = (&t[2] * 0.1)?;
        let iv = (&log_scale * -2.)?.exp()?;
        let cross = x.matmul(&(&t[1] * &iv)?.t()?)?;
        let squares = (x.sqr()?.matmul(&iv.t()?)? - (cross * 2.)?)?;
        let squares = squares.broadcast_add(&(t[1].sqr()? * &iv)?.sum(1)?)?;
        finish(t, squares, &log_scale)
    });
}

/// The reconstruction term of a VAE: 128 images of 784 pixels; and with 20 samples of the latent each.
fn bernoulli(c: &mut Criterion) {
    for samples in [1, 20] {
        let vars = vars(&[&[samples, 128, 784]]);
        let x = Rng::new(1)
            .uniform((128, 784), DType::F32, &Device::Cpu)
            .unwrap();
        let x = x.lt(0.3).unwrap().to_dtype(DType::F32).unwrap();
        let id = format!("bernoulli_log_prob/{samples}x128x784");
        pair(c, &id, "fused", &vars, |t| {
            Bernoulli::new(&t[0])?.to_event(1)?.log_prob(&x)
        });
        pair(c, &id, "candle", &vars, |t| {
            let l = &t[0];
            let log1p = (l.abs()?.neg()?.exp()? + 1.)?.log()?;
            Ok(((l.broadcast_mul(&x)? - l.relu()?)? - log1p)?.sum(D::Minus1)?)
        });
    }
}

/// 4096 rows of 1000 classes, and of 10.
fn categorical(c: &mut Criterion) {
    for classes in [10, 1000] {
        let vars = vars(&[&[4096, classes]]);
        let index: Vec<u32> = (0..4096).map(|i| (i * 7 % classes) as u32).collect();
        let index = Tensor::new(index.as_slice(), &Device::Cpu).unwrap();
        let id = format!("categorical_log_prob/4096x{classes}");
        pair(c, &id, "fused", &vars, |t| {
            Categorical::new(&t[0])?.log_prob(&index)
        });
        pair(c, &id, "candle", &vars, |t| {
            let all = log_softmax(&t[0], D::Minus1)?;
            Ok(all.gather(&index.unsqueeze(1)?, 1)?.squeeze(1)?)
        });
    }
}

/// The logit of a mixture's distribution function and its log-slope, 20000 numbers with 8 logistic components each;
/// gradients of the argument and of all parameters.
fn cdf(c: &mut Criterion) {
    let (n, k) = (20_000, 8);
    let vars = vars(&[&[n], &[n, k], &[n, k], &[n, k]]);
    let id = "mixture_cdf_logit/20000x8";
    pair(c, id, "fused", &vars, |t| {
        let cdf = MixtureCdf::logistic(&t[1], &t[2], &t[3])?.to_logit();
        let (y, log_slope) = cdf.transform_and_log_det(&t[0])?;
        Ok((y + log_slope)?)
    });
    pair(c, id, "composed", &vars, |t| {
        let z = (t[0].unsqueeze(1)?.broadcast_sub(&t[2])? * t[3].neg()?.exp()?)?;
        let tail = (z.abs()?.neg()?.exp()? + 1.)?.log()?;
        let lower = (z.neg()?.relu()? + &tail)?.neg()?;
        let upper = (z.relu()? + &tail)?.neg()?;
        let density = ((&lower + &upper)? - &t[3])?;
        let weights = log_softmax(&t[1], 1)?;
        let mixed = |part: Tensor| -> Result<Tensor> {
            let part = (part + &weights)?;
            let most = part.detach().max_keepdim(1)?;
            let sum = part.broadcast_sub(&most)?.exp()?.sum(1)?;
            Ok((sum.log()? + most.squeeze(1)?)?)
        };
        let (lower, upper, density) = (mixed(lower)?, mixed(upper)?, mixed(density)?);
        let y = (&lower - &upper)?;
        Ok((y + (density - (lower + upper)?)?)?)
    });
}

criterion_group! {
    name = benches;
    config = common::config();
    targets = mixture, bernoulli, categorical, cdf
}
criterion_main!(benches);
