//! A network of layers, trained from end to end.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::dynamics::{KernelShape, Network, NetworkConfig, network};
use candle_prob::objective::ClassificationLoss::Logistic;
use candle_prob::objective::regularization::TimeSmoothness;
use candle_prob::optim::{
    BlockDescent, BlockDescentConfig, Classifier, Evaluation, Examples, Penalties,
};
use candle_prob::{Result, Rng, init};
use std::ops::ControlFlow;

/// Points within an ellipse, and of a ring around it.
fn ellipses(rows: usize, dtype: DType, seed: u64) -> Result<Examples> {
    let mut rng = Rng::new(seed);
    let angle = (rng.uniform(rows, DType::F64, &Device::Cpu)? * std::f64::consts::TAU)?;
    let radius = rng.uniform(rows, DType::F64, &Device::Cpu)?;
    let outside: Vec<u32> = (0..rows as u32).map(|i| i % 2).collect();
    let outside = Tensor::new(outside, &Device::Cpu)?;
    // 0 to 0.5, or 0.7 to 1.2.
    let radius = ((radius * 0.5)? + (outside.to_dtype(DType::F64)? * 0.7)?)?;
    let x = (angle.cos()? * &radius)?;
    let y = ((angle.sin()? * radius)? * 0.6)?;
    let points = Tensor::stack(&[x, y], 1)?.to_dtype(dtype)?;
    Examples::new(&points, &outside)
}

fn train(dtype: DType, iterations: usize) -> Result<(Evaluation, usize)> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 0, dtype, &Device::Cpu);
    let (layers, time) = (8, 8.);
    let net: Network = network(
        &NetworkConfig::new(KernelShape::dense(2), layers, time),
        vb.pp("net"),
    )?;
    let classifier = Classifier::new(2, 1, Logistic, vb.pp("classifier"))?;
    let smooth = TimeSmoothness {
        alpha: 1e-3,
        step: time / layers as f64,
    };
    let penalties = Penalties {
        weight: None,
        parameters: vec![Some(&smooth); 3],
    };
    let (training, validation) = (ellipses(200, dtype, 1)?, ellipses(100, dtype, 2)?);
    let config = BlockDescentConfig::default();
    let mut descent = BlockDescent::new(
        &net,
        &classifier,
        training,
        Some(validation.clone()),
        penalties,
        &config,
    )?;
    let done = descent.run(iterations, &mut Rng::new(0), |iteration| {
        match iteration.validation.is_some_and(|v| v.accuracy == 1.) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    for iteration in &done {
        let step = &iteration.propagation;
        assert!(step.line_search.value <= step.value, "{iteration:?}");
    }
    let found = descent.evaluate(&validation)?;
    assert_eq!(descent.best()?, Some(found));
    Ok((found, done.len()))
}

#[test]
fn a_verlet_network_separates_ellipses() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let (found, iterations) = train(dtype, 30)?;
        println!("{dtype:?}: {found:?} after {iterations} iterations");
        assert!(found.accuracy > 0.95, "{dtype:?}: {found:?}");
    }
    Ok(())
}
