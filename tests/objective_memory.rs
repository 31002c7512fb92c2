//! What is averaged over many samples needs the memory of one chunk of them.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::{Bernoulli, Distribution, MultivariateNormalDiag};
use candle_prob::divergence::{MmdKernel, MmdStatistic, mmd_squared};
use candle_prob::net::{NormalHead, ScaleForm, mlp};
use candle_prob::objective::{LogLikelihoodConfig, log_likelihood};
use candle_prob::{Activation, Conditional, Result, Rng, init};

#[path = "support/counting.rs"]
mod counting;

/// Of networks with variables, whose graph would hold every chunk.
fn of_samples(samples: usize, chunk: usize) -> Result<usize> {
    let (vars, device) = (VarMap::new(), Device::Cpu);
    let vb = init::seeded(&vars, 0, DType::F32, &device);
    let encoder = NormalHead::new(64, 8, ScaleForm::LogVar, vb.pp("encoder"))?;
    let decoder = mlp(&[8, 64, 64], Activation::Relu, vb.pp("decoder"))?;
    let likelihood = |z: &Tensor| Bernoulli::new(&decoder.forward(z)?)?.to_event(1);
    let prior = MultivariateNormalDiag::standard(8, DType::F32, &device)?;
    let x = Tensor::ones((32, 64), DType::F32, &device)?;
    let config = LogLikelihoodConfig { samples, chunk };
    counting::peak(|| {
        let (posterior, rng) = (encoder.given(&x)?, &mut Rng::new(1));
        log_likelihood(&posterior, &prior, &likelihood, &x, &config, rng)
    })
}

fn of_pairs(points: usize) -> Result<usize> {
    let mut rng = Rng::new(2);
    let mut draw = || rng.normal((points, 2), DType::F32, &Device::Cpu);
    let (x, y) = (draw()?, draw()?);
    let kernel = MmdKernel::for_codes(2);
    counting::peak(|| mmd_squared(&x, &y, &kernel, MmdStatistic::Unbiased))
}

#[test]
fn memory_does_not_grow_with_the_samples() -> Result<()> {
    let (few, many) = (of_samples(40, 20)?, of_samples(1000, 20)?);
    assert!(many as f64 <= 1.05 * few as f64, "{many} {few}");
    let whole = of_samples(1000, 1000)?;
    assert!(whole > 10 * many, "{whole} {many}");
    // All pairs at once would be 16 times as much.
    let (few, many) = (of_pairs(1000)?, of_pairs(4000)?);
    assert!(many as f64 <= 1.5 * few as f64, "{many} {few}");
    Ok(())
}
