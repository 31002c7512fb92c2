//! Optimizer steps, gradient clipping and checkpoints on the parameters of a VAE 784-400-20-400-784 (654,824 in ten
//! variables) and on one large matrix. `fused` is this crate, `candle` what one writes with candle alone.

mod common;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::Module as _;
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, VarMap};
use candle_prob::net::{self, Mlp};
use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Optimizer, Sgd, SgdConfig};
use candle_prob::optim::{Ema, EmaConfig, OptimisticAdam, Update};
use candle_prob::optim::{Game, Minimax, MinimaxConfig, Scheme};
use candle_prob::optim::{clip_grad_norm, grad_norm};
use candle_prob::special::softplus;
use candle_prob::{Activation, Rng, init};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const VAE: &[(&str, &[usize])] = &[
    ("encoder.weight", &[400, 784]),
    ("encoder.bias", &[400]),
    ("loc.weight", &[20, 400]),
    ("loc.bias", &[20]),
    ("scale.weight", &[20, 400]),
    ("scale.bias", &[20]),
    ("decoder.weight", &[400, 20]),
    ("decoder.bias", &[400]),
    ("out.weight", &[784, 400]),
    ("out.bias", &[784]),
];
const MATRIX: &[(&str, &[usize])] = &[("weight", &[2048, 2048])];

fn model(shapes: &[(&str, &[usize])]) -> Result<(VarMap, GradStore)> {
    let vars = VarMap::new();
    let mut rng = Rng::new(1);
    let mut gradients = Tensor::new(0f32, &Device::Cpu)?.backward()?;
    for (name, shape) in shapes {
        let mut draw = || rng.normal(*shape, DType::F32, &Device::Cpu);
        let var = Var::from_tensor(&(draw()? * 0.05)?)?;
        gradients.insert(&var, draw()?);
        if let Ok(mut data) = vars.data().lock() {
            data.insert((*name).into(), var);
        }
    }
    Ok((vars, gradients))
}

fn sorted(vars: &VarMap) -> Result<Vec<Var>> {
    Ok(init::named_vars(vars)?.into_values().collect())
}

fn benches(c: &mut Criterion) {
    run(c).unwrap();
}

fn run(c: &mut Criterion) -> Result<()> {
    for (size, shapes) in [("vae-655k", VAE), ("matrix-2048x2048", MATRIX)] {
        let (vars, gradients) = model(shapes)?;
        let mut adam = Adam::new(&vars, &AdamConfig::default())?;
        c.timed(format!("adam/{size}/fused"), || {
            adam.step(&gradients).unwrap()
        });
        c.timed(format!("adam-if-finite/{size}/fused"), || {
            adam.step_if_finite(&gradients).unwrap()
        });
        let mut adam = AdamW::new(sorted(&vars)?, ParamsAdamW::default())?;
        c.timed(format!("adam/{size}/candle"), || {
            adam.step(&gradients).unwrap()
        });
        let momentum = SgdConfig {
            momentum: 0.9,
            ..SgdConfig::default()
        };
        let mut adam = OptimisticAdam::new(&vars, &AdamConfig::default())?;
        c.timed(format!("optimistic-adam/{size}/fused"), || {
            adam.step(&gradients).unwrap()
        });
        let mut adam = Adam::new(&vars, &AdamConfig::default())?;
        c.timed(format!("extrapolate-adam/{size}/fused"), || {
            let (_, origin) = adam.extrapolate(&gradients).unwrap();
            origin.restore().unwrap()
        });
        let mut ema = Ema::new(&vars, &EmaConfig::default())?;
        let step = Update {
            updated: init::named_vars(&vars)?.into_keys().collect(),
            ..Update::default()
        };
        c.timed(format!("ema/{size}/fused"), || ema.update(&step).unwrap());
        let averages = sorted(ema.vars())?;
        let weights = sorted(&vars)?;
        c.timed(format!("ema/{size}/candle"), || -> Result<()> {
            for (average, p) in averages.iter().zip(&weights) {
                let kept = (average.as_detached_tensor() * 0.999)?;
                average.set(&(kept + (p.as_detached_tensor() * 0.001)?)?)?;
            }
            Ok(())
        });
        let mut sgd = Sgd::new(&vars, &momentum)?;
        c.timed(format!("sgd-momentum/{size}/fused"), || {
            sgd.step(&gradients).unwrap()
        });
        let mut sgd = Sgd::new(&vars, &SgdConfig::default())?;
        c.timed(format!("sgd/{size}/fused"), || {
            sgd.step(&gradients).unwrap()
        });
        let mut sgd = candle_nn::SGD::new(sorted(&vars)?, 1e-2)?;
        c.timed(format!("sgd/{size}/candle"), || {
            sgd.step(&gradients).unwrap()
        });
        c.timed(format!("grad-norm/{size}/fused"), || {
            grad_norm(black_box(&gradients), &vars).unwrap()
        });
        let list = sorted(&vars)?;
        c.timed(format!("grad-norm/{size}/candle"), || -> Result<f32> {
            let mut total = 0f32;
            for var in &list {
                if let Some(g) = black_box(&gradients).get(var) {
                    total += g.sqr()?.sum_all()?.to_scalar::<f32>()?;
                }
            }
            Ok(total.sqrt())
        });
        // Clipping shrinks the gradients it is given, so the bound shrinks with them.
        let (vars, mut gradients) = model(shapes)?;
        let mut bound = 1.;
        c.timed(format!("clip-norm/{size}/fused"), || {
            bound *= 0.9999;
            clip_grad_norm(&mut gradients, &vars, bound).unwrap()
        });
        let path = std::env::temp_dir().join(format!("candle-prob-bench-{}", std::process::id()));
        let mut adam = Adam::new(&vars, &AdamConfig::default())?;
        c.timed(format!("checkpoint-save-load/{size}/fused"), || {
            let list = Checkpoint::new().vars("m", &vars);
            list.optimizer("o", &mut adam).save(&path).unwrap();
            let list = Checkpoint::new().vars("m", &vars);
            list.optimizer("o", &mut adam).load(&path).unwrap()
        });
        std::fs::remove_file(&path).ok();
    }
    rounds(c)
}

/// A generator 64-256-256-784 and a critic 784-256-256-1 on batches of 64, with losses of softplus.
struct Gan {
    players: [Mlp; 2],
    noise: Tensor,
    real: Tensor,
}

impl Game for Gan {
    fn critic_loss(&mut self) -> candle_prob::Result<Tensor> {
        let [generator, critic] = &self.players;
        let fake = generator.forward(&self.noise)?.detach();
        let real = softplus(&critic.forward(&self.real)?.neg()?)?.mean_all()?;
        Ok((real + softplus(&critic.forward(&fake)?)?.mean_all()?)?)
    }

    fn generator_loss(&mut self) -> candle_prob::Result<Tensor> {
        let [generator, critic] = &self.players;
        let fake = generator.forward(&self.noise)?;
        Ok(softplus(&critic.forward(&fake)?.neg()?)?.mean_all()?)
    }
}

/// A round of two players against the same steps written out.
fn rounds(c: &mut Criterion) -> Result<()> {
    let mut rng = Rng::new(2);
    let maps = [VarMap::new(), VarMap::new()];
    let [own, other] = &maps;
    let network = |sizes: &[usize], vars, seed| {
        let vb = init::seeded(vars, seed, DType::F32, &Device::Cpu);
        net::mlp(sizes, Activation::LeakyRelu(0.2), vb)
    };
    let mut gan = Gan {
        players: [
            network(&[64, 256, 256, 784], own, 1)?,
            network(&[784, 256, 256, 1], other, 2)?,
        ],
        noise: rng.normal((64, 64), DType::F32, &Device::Cpu)?,
        real: rng.normal((64, 784), DType::F32, &Device::Cpu)?,
    };
    let adam = |vars| Adam::new(vars, &AdamConfig::default());
    let (mut critic, mut generator) = (adam(other)?, adam(own)?);
    c.timed("round/mlp-64/by-hand", || {
        critic.backward_step(&gan.critic_loss().unwrap()).unwrap();
        let loss = gan.generator_loss().unwrap();
        generator.backward_step(&loss).unwrap()
    });
    for update in [
        Scheme::Alternating,
        Scheme::Simultaneous,
        Scheme::Extragradient,
    ] {
        let config = MinimaxConfig {
            scheme: update,
            ..MinimaxConfig::default()
        };
        let mut players = Minimax::new(adam(other)?, adam(own)?, &config)?;
        c.timed(format!("round/mlp-64/{update:?}"), || {
            players.step(&mut gan).unwrap()
        });
    }
    Ok(())
}

criterion_group! {
    name = group;
    config = common::config()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    targets = benches
}
criterion_main!(group);
