//! What regularizers of codes cost: a training step of a classifier with its Adam step, by cross-entropy alone and with each
//! objective of the information bottleneck's family; and the regularizers alone, with their gradient.

mod common;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::{Categorical, Distribution, MultivariateNormalDiag};
use candle_prob::objective::*;
use candle_prob::optim::{Adam, AdamConfig, Optimizer, backward};
use candle_prob::{Activation, Result, Rng, init, net};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

const CPU: &Device = &Device::Cpu;
const BATCH: usize = 128;
const DIMS: usize = 100;
const CLASSES: usize = 10;
const SURROGATES: [(&str, Surrogate); 3] = [
    ("squared norm", Surrogate::SquaredNorm),
    ("log-variance", Surrogate::LogVariance),
    (
        "conditional log-variance",
        Surrogate::ConditionalLogVariance { classes: CLASSES },
    ),
];

/// A step by an objective of codes, labels and the number generator. 784-1024-1024-100, then a linear decoder, as the paper has them.
fn step(
    objective: impl Fn(&Tensor, &Tensor, &mut Rng) -> Result<DistortionRate>,
) -> Result<impl FnMut()> {
    let (vars, mut rng) = (VarMap::new(), Rng::new(0));
    let vb = init::seeded(&vars, 0, DType::F32, CPU);
    let encoder = net::mlp(&[784, 1024, 1024, DIMS], Activation::Relu, vb)?;
    let x = rng.normal((BATCH, 784), DType::F32, CPU)?;
    let labels = labels()?;
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    Ok(move || {
        let mut run = || -> Result<()> {
            let parts = objective(&encoder.forward(&x)?, &labels, &mut rng)?;
            adam.step(&backward(&parts.total.mean_all()?)?)?;
            Ok(())
        };
        run().unwrap();
    })
}

fn labels() -> Result<Tensor> {
    let labels = Rng::new(1).integers(BATCH, CLASSES)?;
    Ok(Tensor::from_iter(
        labels.into_iter().map(|y| y as u32),
        CPU,
    )?)
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("classifier");
    let weights = Rng::new(2)
        .normal((DIMS, CLASSES), DType::F32, CPU)
        .unwrap();
    let scorer = move |z: &Tensor| Categorical::new(&z.broadcast_matmul(&weights)?);
    let decoder = scorer.clone();
    group.timed("cross-entropy", {
        step(move |z, y, _| {
            let distortion = decoder_cross_entropy(&decoder(&z.unsqueeze(0)?)?.log_prob(y)?)?;
            DistortionRate::new(distortion.clone(), distortion, 0.)
        })
        .unwrap()
    });
    for (name, surrogate) in SURROGATES {
        let decoder = scorer.clone();
        let config = SurrogateConfig::new(surrogate, 1e-3);
        group.timed(name, {
            step(move |z, y, rng| {
                let posterior = zero_entropy_posterior(z)?;
                Ok(surrogate_bottleneck(&posterior, &decoder, y, &config, rng)?.into())
            })
            .unwrap()
        });
    }
}

fn regularizers(c: &mut Criterion) {
    let mut group = c.benchmark_group("regularizer");
    let z =
        candle_core::Var::from_tensor(&Rng::new(0).normal((BATCH, DIMS), DType::F32, CPU).unwrap())
            .unwrap();
    let labels = labels().unwrap();
    for (name, surrogate) in SURROGATES {
        group.timed(name, || {
            backward(&surrogate.regularizer(&z, &labels).unwrap().value).unwrap()
        });
    }
    let posterior = || zero_entropy_posterior(&z).unwrap();
    group.timed("zero-entropy noise", || {
        zero_entropy_noise(&z, &mut Rng::new(0)).unwrap()
    });
    let prior = MultivariateNormalDiag::standard(DIMS, DType::F32, CPU).unwrap();
    let decoder = |z: &Tensor| Categorical::new(&z.narrow(z.rank() - 1, 0, CLASSES)?);
    group.timed("nonlinear", || {
        let config = NonlinearIbConfig::new(1e-3);
        let objective = nonlinear_ib(&posterior(), &decoder, &labels, &config, &mut Rng::new(0));
        backward(&objective.unwrap().parts.total.mean_all().unwrap()).unwrap()
    });
    group.timed("variational", || {
        let config = BottleneckConfig {
            beta: 1e-3,
            samples: 1,
        };
        let parts = vib(
            &posterior(),
            &prior,
            &decoder,
            &labels,
            &config,
            &mut Rng::new(0),
        );
        backward(&parts.unwrap().total.mean_all().unwrap()).unwrap()
    });
}

criterion_group! {
    name = benches;
    config = common::config();
    targets = steps, regularizers
}
criterion_main!(benches);
