//! A flow that keeps no activations needs the same memory whatever its depth.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::bijector::{Bijector, Reversible};
use candle_prob::flow::{
    GlowConfig, NeuralSplineConfig, RealNvpConfig, glow, neural_spline, real_nvp,
};
use candle_prob::{Result, Rng, init, optim};

#[path = "support/counting.rs"]
mod counting;

/// The most bytes that a forward and backward pass has in use beyond what was there before.
fn peak(flow: &dyn Bijector, shape: &[usize]) -> Result<usize> {
    let x: Tensor = Rng::new(2).normal(shape, DType::F32, &Device::Cpu)?;
    counting::peak(|| {
        let (z, log_det) = flow.inverse_and_log_det(&x)?;
        let loss = (z.mean_all()? + log_det.mean_all()?)?;
        optim::backward(&loss)
    })
}

fn affine(layers: usize, keep: bool) -> Result<usize> {
    let config = RealNvpConfig {
        features: 64,
        layers,
        hidden: vec![16],
        keep_activations: keep,
        ..Default::default()
    };
    let vb = init::seeded(&VarMap::new(), 1, DType::F32, &Device::Cpu);
    peak(&real_nvp(&config, vb)?, &[32_768, 64])
}

/// Any bijectors: here spline couplings.
fn sequence(layers: usize, keep: bool) -> Result<usize> {
    let config = NeuralSplineConfig {
        features: 64,
        layers,
        hidden: vec![16],
        bins: 4,
        ..Default::default()
    };
    let vars = VarMap::new();
    let flow = neural_spline(&config, init::seeded(&vars, 1, DType::F32, &Device::Cpu))?;
    let sequence = flow.layers()?;
    match keep {
        true => peak(&sequence, &[4096, 64]),
        false => peak(&Reversible::new(sequence, &vars.all_vars()), &[4096, 64]),
    }
}

/// Glow, whose steps have three layers.
fn images(layers: usize, keep: bool) -> Result<usize> {
    let config = GlowConfig {
        image: [1, 8, 8],
        levels: 1,
        steps: layers / 3,
        channels: 4,
        ..Default::default()
    };
    let vars = VarMap::new();
    let flow = glow(&config, init::seeded(&vars, 1, DType::F32, &Device::Cpu))?;
    match keep {
        true => peak(&flow, &[1024, 1, 8, 8]),
        false => peak(&flow.reversible(&vars.all_vars())?, &[1024, 1, 8, 8]),
    }
}

/// A flow of few layers.
fn splines(keep: bool) -> Result<usize> {
    let config = NeuralSplineConfig {
        features: 64,
        layers: 4,
        hidden: vec![16],
        bins: 4,
        keep_activations: keep,
        ..Default::default()
    };
    let vb = init::seeded(&VarMap::new(), 1, DType::F32, &Device::Cpu);
    peak(&neural_spline(&config, vb)?, &[1024, 64])
}

#[test]
fn a_hundred_layers_need_what_ten_need() -> Result<()> {
    for peak in [affine, sequence, images] {
        let (ten, hundred) = (peak(10, false)?, peak(100, false)?);
        let ratio = hundred as f64 / ten as f64;
        assert!(ratio <= 1.2, "{ten} and {hundred} bytes, {ratio:.2} times");
        // The count sees what is kept where it is.
        let kept = peak(20, true)?;
        assert!(kept > 2 * hundred, "{kept} bytes with activations kept");
    }
    let (kept, again) = (splines(true)?, splines(false)?);
    assert!(kept > 2 * again, "splines: {kept} and {again} bytes");
    Ok(())
}
