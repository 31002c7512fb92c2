//! Autoencoders: what a linear one learns, what a score is, and what is refused.

use crate::support::floats;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::net::{Autoencoder, Mlp, mlp};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::testing::check_gradient;
use candle_prob::{Activation, Error, Result, Rng, init};

const CPU: Device = Device::Cpu;

/// The rows made orthogonal and of length 1, by Gram and Schmidt.
fn orthonormal(rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut out: Vec<Vec<f64>> = vec![];
    for mut row in rows {
        for other in &out {
            let along = dot(&row, other);
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let length = dot(&row, &row).sqrt();
        row.iter_mut().for_each(|x| *x /= length);
        out.push(row);
    }
    out
}

fn random(rows: usize, columns: usize, seed: u64) -> Result<Vec<Vec<f64>>> {
    let random = Rng::new(seed).normal((rows, columns), DType::F64, &CPU)?;
    Ok(random.to_vec2()?)
}

fn linear(vars: &VarMap, features: usize, code: usize) -> Result<Autoencoder<Mlp, Mlp>> {
    let vb = init::seeded(vars, 3, DType::F64, &CPU);
    let net = |sizes: [usize; 2], name| mlp(&sizes, Activation::Identity, vb.pp(name));
    Ok(Autoencoder::new(
        net([features, code], "encoder")?,
        net([code, features], "decoder")?,
    ))
}

/// Data whose principal components and variances are known exactly: the trained code spans the first three, and the loss is
/// what the others have.
#[test]
fn a_linear_autoencoder_spans_the_principal_components() -> Result<()> {
    let (count, features, code) = (40, 6, 3);
    let deviations = [2., 1.5, 1.2, 0.4, 0.3, 0.2];
    let axes = Tensor::new(orthonormal(random(features, features, 1)?), &CPU)?;
    // Orthogonal to each other and to a row of ones: uncorrelated and centred.
    let rows = [vec![vec![1.; count]], random(features, count, 2)?].concat();
    let scores = Tensor::new(orthonormal(rows).split_off(1), &CPU)?;
    let scores = (scores.t()? * (count as f64).sqrt())?;
    let x = scores
        .broadcast_mul(&Tensor::new(&deviations, &CPU)?)?
        .matmul(&axes)?;

    let vars = VarMap::new();
    let model = linear(&vars, features, code)?;
    let config = AdamConfig {
        lr: 0.02,
        ..Default::default()
    };
    let mut adam = Adam::new(&vars, &config)?;
    for step in 0..1500 {
        adam.set_learning_rate(0.02 * (1. - f64::from(step) / 1500.));
        adam.backward_step(&model.score(&x)?.mean_all()?)?;
    }
    let loss = model.score(&x)?.mean_all()?.to_scalar::<f64>()?;
    let least: f64 = deviations[code..].iter().map(|s| s * s).sum();
    assert!(
        loss >= least - 1e-12 && loss < least * (1. + 1e-4),
        "{loss} {least}"
    );
    // No part of a decoder's column is on the axes that are left out.
    let columns = model.decoder().layers()[0].weight().t()?;
    let outside = columns.matmul(&axes.narrow(0, code, features - code)?.t()?)?;
    let share = outside.sqr()?.sum_all()?.to_scalar::<f64>()?
        / columns.sqr()?.sum_all()?.to_scalar::<f64>()?;
    assert!(share < 1e-5, "{share}");
    // Nor is it one axis only that is kept.
    let kept = (model.reconstruct(&x)? - &x)?.matmul(&axes.narrow(0, 0, code)?.t()?)?;
    let lost = kept.sqr()?.mean_all()?.to_scalar::<f64>()?;
    assert!(lost < 1e-3, "{lost}");
    Ok(())
}

#[test]
fn scores_are_squared_distances() -> Result<()> {
    let model = Autoencoder::new(Halve, Double);
    // The reconstruction is x + 1 of a code x / 2.
    let x = Rng::new(1).normal((4, 2, 3), DType::F64, &CPU)?;
    assert_eq!(floats(&model.encode(&x)?)?, floats(&(&x / 2.)?)?);
    for score in floats(&model.score(&x)?)? {
        assert!((score - 6.).abs() < 1e-13, "{score}");
    }
    let target = (&x + 3.)?;
    for error in floats(&model.error(&x, &target)?)? {
        assert!((error - 24.).abs() < 1e-13, "{error}");
    }
    assert_eq!(model.score(&x.narrow(0, 0, 0)?)?.dims(), [0]);
    let f = |x: &[Tensor]| model.error(&x[0], &x[1]);
    check_gradient(&f, &[x, target], 1e-8)
}

/// `x / 2`.
struct Halve;

impl Module for Halve {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x / 2.
    }
}

/// `2 x + 1`.
struct Double;

impl Module for Double {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        (x * 2.)? + 1.
    }
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let model = linear(&VarMap::new(), 4, 2)?;
    let x = Tensor::zeros((3, 4), DType::F64, &CPU)?;
    assert!(model.score(&x.narrow(1, 0, 3)?).is_err());
    let wrong = model.error(&x, &x.narrow(0, 0, 2)?);
    assert!(matches!(wrong, Err(Error::Shape { .. })), "{wrong:?}");
    let wrong = model.error(&x, &x.to_dtype(DType::F32)?);
    assert!(matches!(wrong, Err(Error::DType { .. })), "{wrong:?}");
    let scalar = Tensor::new(1f64, &CPU)?;
    let wrong = Autoencoder::new(Halve, Double).score(&scalar);
    assert!(matches!(wrong, Err(Error::Shape { .. })), "{wrong:?}");
    Ok(())
}
