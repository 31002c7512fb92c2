//! The density of two moons by a neural spline flow: `cargo run --release --example density`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
use candle_prob::flow::{NeuralSplineConfig, neural_spline};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Rng, init};
use std::f64::consts::PI;

/// Points of two half circles with noise of 0.1, [count, 2].
fn moons(count: usize, rng: &mut Rng) -> Result<Tensor> {
    let (f32, cpu) = (DType::F32, &Device::Cpu);
    let angle = (rng.uniform(count, f32, cpu)? * PI)?;
    let lower = rng.uniform(count, f32, cpu)?.lt(0.5)?.to_dtype(f32)?;
    let sign = lower.affine(-2., 1.)?;
    let x = ((angle.cos()? * &sign)? + &lower)?;
    let y = ((angle.sin()? * &sign)? + lower / 2.)?;
    Tensor::stack(&[x, y], 1)? + (rng.normal((count, 2), f32, cpu)? * 0.1)?
}

fn main() -> candle_prob::Result<()> {
    let (mut rng, vars) = (Rng::new(0), VarMap::new());
    let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
    let flow = neural_spline(&NeuralSplineConfig::default(), vb)?;
    let base = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
    let model = base.transformed_by(flow)?;

    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    for _step in 0..2000 {
        let x = moons(256, &mut rng)?;
        adam.backward_step(&model.log_prob(&x)?.mean_all()?.neg()?)?;
    }

    let held_out = moons(10_000, &mut rng)?;
    let log_likelihood = model.log_prob(&held_out)?.mean_all()?.to_scalar::<f32>()?;
    println!("log-likelihood of points that were not seen: {log_likelihood:.3} nats");
    assert!(log_likelihood > -1.1);
    Ok(())
}
