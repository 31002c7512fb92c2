//! Special functions and activations of 1 Mi f32, fused beside what one writes with candle today: the value alone, and the
//! value with its gradient.

mod common;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::distribution::{Categorical, Entropy, Kl};
use candle_prob::{Activation, Result, Rng, special};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

/// Rows of the functions of a dimension.
const SHAPE: (usize, usize) = (4096, 256);

fn bench(
    c: &mut Criterion,
    op: &str,
    variant: &str,
    x: &Var,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) {
    let mut group = c.benchmark_group(op);
    let frozen = x.as_detached_tensor();
    group.timed(format!("1Mi/value/{variant}"), || f(&frozen).unwrap());
    group.timed(format!("1Mi/gradient/{variant}"), || {
        // Candle starts from a gradient of ones in the shape of the value: no sum is timed beside the function.
        f(x.as_tensor()).unwrap().backward().unwrap()
    });
    group.finish();
}

fn both(
    c: &mut Criterion,
    op: &str,
    x: &Var,
    fused: impl Fn(&Tensor) -> Result<Tensor>,
    candle: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) {
    bench(c, op, "fused", x, fused);
    bench(c, op, "candle", x, |x| Ok(candle(x)?));
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: &Tensor) -> candle_core::Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.)?.log()?
}

fn elementwise(c: &mut Criterion) {
    let x = Rng::new(1).normal(SHAPE, DType::F32, &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    both(c, "softplus", &x, special::softplus, softplus);
    both(c, "log_sigmoid", &x, special::log_sigmoid, |x| {
        softplus(&x.neg()?)?.neg()
    });
    let activations = [
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
        ("gelu", Activation::Gelu),
    ];
    for (op, activation) in activations {
        let candle = |x: &Tensor| match activation {
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => candle_nn::ops::sigmoid(x),
            _ => x.gelu_erf(),
        };
        both(c, op, &x, |x| activation.forward(x), candle);
    }
    // Candle has no log-gamma: alone.
    let x = Var::from_tensor(&(x.exp().unwrap() + 0.1).unwrap()).unwrap();
    bench(c, "lgamma", "fused", &x, special::lgamma);
}

fn rows(c: &mut Criterion) {
    let x = Rng::new(2).normal(SHAPE, DType::F32, &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    both(
        c,
        "logsumexp",
        &x,
        |x| special::logsumexp(x, 1),
        |x| x.log_sum_exp(D::Minus1),
    );
    both(
        c,
        "log_softmax",
        &x,
        |x| special::log_softmax(x, 1),
        |x| candle_nn::ops::log_softmax(x, D::Minus1),
    );
    let other = Rng::new(3).normal(SHAPE, DType::F32, &Device::Cpu).unwrap();
    let classes = |x: &Tensor| Categorical::new_unchecked(x);
    both(
        c,
        "categorical_entropy",
        &x,
        |x| classes(x)?.entropy(),
        |x| {
            let log = candle_nn::ops::log_softmax(x, D::Minus1)?;
            (log.exp()? * log)?.sum(D::Minus1)?.neg()
        },
    );
    both(
        c,
        "categorical_kl",
        &x,
        |x| classes(x)?.kl(&classes(&other)?),
        |x| {
            let p = candle_nn::ops::log_softmax(x, D::Minus1)?;
            let q = candle_nn::ops::log_softmax(&other, D::Minus1)?;
            (p.exp()? * (p - q)?)?.sum(D::Minus1)
        },
    );
}

criterion_group! {
    name = benches;
    config = common::config()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = elementwise, rows
}
criterion_main!(benches);
