//! Dense networks: a variational autoencoder's training step, and the networks of flows and of many-sample bounds.
//!
//! The workloads: one Adam step of a 784-400-20-400-784 autoencoder on 128 binary images (Bernoulli logits, KL to the
//! standard normal), and one of its importance-weighted bound with 50 samples; forward and backward of a coupling network
//! 32-256-256-64 on 4096 rows and of a decoder 20-400-784 on 6400 rows; dropout. Beside each but the bound stands what candle's users
//! write today.

mod common;

use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::{AdamW, Linear, Optimizer as _, ParamsAdamW, VarBuilder, VarMap, linear};
use candle_prob::distribution::{Bernoulli, Distribution, Kl, MultivariateNormalDiag};
use candle_prob::net::{Mlp, dropout, mlp};
use candle_prob::optim::{Adam, AdamConfig, Optimizer as _};
use candle_prob::special::logsumexp;
use candle_prob::{Activation, Result, Rng, init};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

const CPU: Device = Device::Cpu;
const ROWS: usize = 128;
/// Samples of the importance-weighted bound.
const SAMPLES: usize = 50;

fn images() -> Result<Tensor> {
    let gray = Rng::new(0).uniform((ROWS, 784), DType::F32, &CPU)?;
    Ok(gray.gt(0.5)?.to_dtype(DType::F32)?)
}

struct Vae {
    encoder: Mlp,
    decoder: Mlp,
    rng: Rng,
    x: Tensor,
}

impl Vae {
    fn new(vars: &VarMap) -> Result<Self> {
        let vb = init::seeded(vars, 1, DType::F32, &CPU);
        Ok(Vae {
            encoder: mlp(&[784, 400, 40], Activation::Relu, vb.pp("encoder"))?,
            decoder: mlp(&[20, 400, 784], Activation::Relu, vb.pp("decoder"))?,
            rng: Rng::new(2),
            x: images()?,
        })
    }

    /// Of the latents: posterior and prior.
    fn latents(&self) -> Result<[MultivariateNormalDiag; 2]> {
        let code = self.encoder.forward(&self.x)?;
        let (loc, log_var) = (code.narrow(1, 0, 20)?, code.narrow(1, 20, 20)?);
        Ok([
            MultivariateNormalDiag::from_log_var(&loc, &log_var)?,
            MultivariateNormalDiag::standard(20, DType::F32, &CPU)?,
        ])
    }

    fn log_likelihood(&self, z: &Tensor) -> Result<Tensor> {
        let decoder = Bernoulli::new(&self.decoder.forward(z)?)?.to_event(1)?;
        decoder.log_prob(&self.x)
    }

    fn loss(&mut self) -> Result<Tensor> {
        let [posterior, prior] = self.latents()?;
        let (z, rate) = posterior.sample_and_kl(&prior, &[], &mut self.rng)?;
        let evidence = (self.log_likelihood(&z)? - rate)?;
        Ok(evidence.mean_all()?.neg()?)
    }

    /// The importance-weighted bound.
    fn bound(&mut self) -> Result<Tensor> {
        let [posterior, prior] = self.latents()?;
        let (z, log_q) = posterior.sample_and_log_prob(&[SAMPLES], &mut self.rng)?;
        let log_weights = ((self.log_likelihood(&z)? + prior.log_prob(&z)?)? - log_q)?;
        let bound = (logsumexp(&log_weights, 0)? - (SAMPLES as f64).ln())?;
        Ok(bound.mean_all()?.neg()?)
    }
}

/// The same in candle's own layers.
struct Plain {
    layers: [Linear; 4],
    x: Tensor,
}

impl Plain {
    fn new(vars: &VarMap) -> Result<Self> {
        let vb = VarBuilder::from_varmap(vars, DType::F32, &CPU);
        Ok(Plain {
            layers: [
                linear(784, 400, vb.pp("e1"))?,
                linear(400, 40, vb.pp("e2"))?,
                linear(20, 400, vb.pp("d1"))?,
                linear(400, 784, vb.pp("d2"))?,
            ],
            x: images()?,
        })
    }

    fn loss(&self) -> Result<Tensor> {
        let [e1, e2, d1, d2] = &self.layers;
        let code = e2.forward(&e1.forward(&self.x)?.relu()?)?;
        let (loc, log_var) = (code.narrow(1, 0, 20)?, code.narrow(1, 20, 20)?);
        let noise = Tensor::randn(0f32, 1., (ROWS, 20), &CPU)?;
        let z = (&loc + (&log_var * 0.5)?.exp()? * noise)?;
        let logits = d2.forward(&d1.forward(&z)?.relu()?)?;
        // max(l, 0) - x l + ln(1 + e^-|l|): candle's own cross entropy is infinite beyond 17.
        let soft = (((logits.abs()?.neg()?).exp()? + 1.)?).log()?;
        let distortion = (logits.relu()? - (&self.x * &logits)? + soft)?.sum_all()?;
        let rate = (((loc.sqr()? + log_var.exp()?)? - log_var)? - 1.)?.sum_all()?;
        Ok(((distortion + (rate * 0.5)?)? / ROWS as f64)?)
    }
}

/// Drops a result, which is part of the time of a step.
fn keep<T>(result: T) -> Result<()> {
    std::hint::black_box(result);
    Ok(())
}

fn bench(c: &mut Criterion, op: &str, variant: &str, mut step: impl FnMut() -> Result<()>) {
    let mut group = c.benchmark_group("mlp");
    group.timed(format!("{op}/{variant}"), || step().unwrap());
    group.finish();
}

fn autoencoder(c: &mut Criterion) {
    let vars = VarMap::new();
    let mut vae = Vae::new(&vars).unwrap();
    bench(c, "vae_loss/128x784-400-20", "fused", || {
        vae.loss().map(drop)
    });
    bench(c, "vae_gradients/128x784-400-20", "fused", || {
        vae.loss()?.backward()?;
        Ok(())
    });
    let mut adam = Adam::new(&vars, &AdamConfig::default()).unwrap();
    bench(c, "vae_step/128x784-400-20", "fused", || {
        adam.backward_step(&vae.loss()?)?;
        Ok(())
    });
    bench(c, "iwae_loss/50 of 128x784-400-20", "fused", || {
        vae.bound().map(drop)
    });
    bench(c, "iwae_step/50 of 128x784-400-20", "fused", || {
        adam.backward_step(&vae.bound()?)?;
        Ok(())
    });
    let vars = VarMap::new();
    let plain = Plain::new(&vars).unwrap();
    bench(c, "vae_loss/128x784-400-20", "candle", || {
        plain.loss().map(drop)
    });
    bench(c, "vae_gradients/128x784-400-20", "candle", || {
        plain.loss()?.backward()?;
        Ok(())
    });
    let params = ParamsAdamW {
        weight_decay: 0.,
        ..ParamsAdamW::default()
    };
    let mut adam = AdamW::new(vars.all_vars(), params).unwrap();
    bench(c, "vae_step/128x784-400-20", "candle", || {
        Ok(adam.backward_step(&plain.loss()?)?)
    });
}

fn networks(c: &mut Criterion) {
    for (op, rows, dims) in [
        ("coupling/4096x32-256-256-64", 4096, &[32, 256, 256, 64][..]),
        ("decoder/6400x20-400-784", 6400, &[20, 400, 784]),
    ] {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, 1, DType::F32, &CPU);
        let net = mlp(dims, Activation::Relu, vb).unwrap();
        let x = Rng::new(3)
            .normal((rows, dims[0]), DType::F32, &CPU)
            .unwrap();
        let x = candle_core::Var::from_tensor(&x).unwrap();
        let last = dims.len() - 2;
        let plain = |x: &Tensor| -> Result<Tensor> {
            let mut y = x.clone();
            for (i, layer) in net.layers().iter().enumerate() {
                let layer = Linear::new(layer.weight().clone(), layer.bias().cloned());
                y = layer.forward(&y)?;
                if i < last {
                    y = y.relu()?;
                }
            }
            Ok(y)
        };
        let seed = |y: Tensor| y.sum(D::Minus1)?.sum_all()?.backward();
        let name = |what: &str| format!("{what}/{op}");
        bench(c, &name("values"), "fused", || keep(net.forward(&x)?));
        bench(c, &name("values"), "candle", || keep(plain(&x)?));
        bench(c, &name("gradients"), "fused", || {
            keep(seed(net.forward(&x)?)?)
        });
        bench(c, &name("gradients"), "candle", || keep(seed(plain(&x)?)?));
    }
}

/// Dropout of a hidden layer, forward and backward, beside candle's, whose mask has no seed.
fn dropouts(c: &mut Criterion) {
    let x = Rng::new(3).normal((512, 1024), DType::F32, &CPU).unwrap();
    let x = candle_core::Var::from_tensor(&x).unwrap();
    let mut rng = Rng::new(4);
    let seed = |y: Tensor| y.sum_all()?.backward();
    let name = |what: &str| format!("{what}/dropout 512x1024");
    bench(c, &name("values"), "fused", || {
        keep(dropout(&x, 0.5, &mut rng)?)
    });
    bench(c, &name("values"), "candle", || {
        keep(candle_nn::ops::dropout(&x, 0.5)?)
    });
    bench(c, &name("gradients"), "fused", || {
        keep(seed(dropout(&x, 0.5, &mut rng)?)?)
    });
    bench(c, &name("gradients"), "candle", || {
        keep(seed(candle_nn::ops::dropout(&x, 0.5)?)?)
    });
}

criterion_group! {
    name = benches;
    config = common::config();
    targets = autoencoder, networks, dropouts
}
criterion_main!(benches);
