//! A generative adversarial network for two heaps on the line: `cargo run --release --example gan_1d`.

use candle_core::{DType::F32, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::divergence::sliced_wasserstein;
use candle_prob::objective::{AdversarialLoss, NonSaturating};
use candle_prob::optim::{Adam, AdamConfig, Ema, EmaConfig, Game, Minimax, MinimaxConfig};
use candle_prob::{Activation, Result, Rng, init, net};

/// Three points in ten around -2, the others around 1.
fn data(count: usize, rng: &mut Rng) -> Result<Tensor> {
    let left = rng.uniform((count, 1), F32, &Device::Cpu)?.lt(0.3)?;
    let noise = rng.normal((count, 1), F32, &Device::Cpu)?;
    Ok((noise.affine(0.4, 1.)? - (left.to_dtype(F32)? * 3.)?)?)
}

fn made(by: &impl Module, count: usize, rng: &mut Rng) -> Result<Tensor> {
    Ok(by.forward(&rng.normal((count, 4), F32, &Device::Cpu)?)?)
}

struct Gan<M>(M, M, Rng); // the generator and the critic

impl<M: Module> Game for Gan<M> {
    fn critic_loss(&mut self) -> Result<Tensor> {
        let real = self.1.forward(&data(128, &mut self.2)?)?;
        let fake = self.1.forward(&made(&self.0, 128, &mut self.2)?.detach())?;
        NonSaturating::default().critic(&real, &fake)?.total()
    }
    fn generator_loss(&mut self) -> Result<Tensor> {
        let real = self.1.forward(&data(128, &mut self.2)?)?;
        let fake = self.1.forward(&made(&self.0, 128, &mut self.2)?)?;
        NonSaturating::default().generator(&real, &fake)?.total()
    }
}

fn main() -> Result<()> {
    let network = |inputs, vars: &VarMap| {
        let vb = init::seeded(vars, 1, F32, &Device::Cpu);
        net::mlp(&[inputs, 32, 32, 1], Activation::LeakyRelu(0.2), vb)
    };
    let (own, other) = (VarMap::new(), VarMap::new());
    let mut gan = Gan(network(4, &own)?, network(1, &other)?, Rng::new(0));
    let config = AdamConfig {
        beta1: 0.,
        ..AdamConfig::default()
    };
    let (generator, critic) = (Adam::new(&own, &config)?, Adam::new(&other, &config)?);
    let mut players = Minimax::new(critic, generator, &MinimaxConfig::default())?;
    let mut ema = Ema::new(&own, &EmaConfig::of_half_life(200.))?;
    for _step in 0..3000 {
        ema.update(&players.step(&mut gan)?.generator.update)?;
    }
    let (averaged, rng) = (network(4, ema.vars())?, &mut gan.2);
    let (x, y) = (made(&averaged, 10_000, rng)?, data(10_000, rng)?);
    let distance = sliced_wasserstein(&x, &y, 2, 1., rng)?.distance()?;
    let distance = distance.mean.to_scalar::<f32>()?;
    println!("Wasserstein distance of what is made from the data: {distance:.3}");
    assert!(distance < 0.2);
    Ok(())
}
