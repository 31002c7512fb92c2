//! A distribution of one's own, whose maximum likelihood is at a quantile: `cargo run --release --example own_distribution`.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::Distribution;
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Activation, Result, Rng, init, net};

/// Density `q (1 - q) exp(-max(q d, (q - 1) d))` with `d = x - loc`: of the draws a share of q = 0.9 is below loc.
struct AsymmetricLaplace(Tensor);

const Q: f64 = 0.9;

impl Distribution for AsymmetricLaplace {
    fn batch_shape(&self) -> &[usize] {
        self.0.dims()
    }
    fn event_shape(&self) -> &[usize] {
        &[]
    }
    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let shape = [&[2], shape, self.batch_shape()].concat();
        let u = rng.uniform(shape, self.0.dtype(), self.0.device())?.log()?;
        let noise = ((u.get(1)? / (1. - Q))? - (u.get(0)? / Q)?)?;
        Ok(noise.broadcast_add(&self.0)?)
    }
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let d = value.broadcast_sub(&self.0)?;
        let cost = (&d * Q)?.maximum(&(&d * (Q - 1.))?)?;
        Ok(cost.affine(-1., (Q * (1. - Q)).ln())?)
    }
}

fn main() -> Result<()> {
    let (mut rng, vars) = (Rng::new(0), VarMap::new());
    let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
    let network = net::mlp(&[1, 64, 64, 1], Activation::Tanh, vb)?;
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    let normals = |rng: &mut Rng| rng.normal((500, 1), DType::F32, &Device::Cpu);
    for _step in 0..2000 {
        // y is normal with mean sin(x) and standard deviation |x|.
        let (x, noise) = (normals(&mut rng)?, normals(&mut rng)?);
        let y = (x.sin()? + (x.abs()? * noise)?)?;
        let model = AsymmetricLaplace(network.forward(&x)?);
        adam.backward_step(&model.log_prob(&y)?.mean_all()?.neg()?)?;
    }

    let x = normals(&mut rng)?;
    let found = network.forward(&x)?;
    let quantile = (x.sin()? + (x.abs()? * 1.2816)?)?;
    let error = (&found - quantile)?.abs()?.mean_all()?.to_scalar::<f32>()?;
    // Draws and density agree: the mean of -ln p over draws is the entropy.
    let model = AsymmetricLaplace(found);
    let draws = model.sample(&[200], &mut rng)?;
    let log_prob = model.log_prob(&draws)?.mean_all()?.to_scalar::<f32>()?;
    assert!((f64::from(log_prob) + 1. - (Q * (1. - Q)).ln()).abs() < 0.02);
    println!("mean distance from the 0.9 quantile: {error:.3}");
    assert!(error < 0.15);
    Ok(())
}
