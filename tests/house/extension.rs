//! A stranger's distribution: a Laplace in one file, by the public API only. It passes the conformance harness and trains
//! in the bottleneck objective.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::{
    Distribution, Entropy, Kl, Moments, Normal, Reparameterized, WeightedSum,
};
use candle_prob::objective::{BottleneckConfig, gmvib, vib};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::testing::Conformance;
use candle_prob::{Error, Result, Rng};

/// Laplace distribution: density `exp(-|x - loc| / scale) / (2 scale)`, scalar event.
#[derive(Clone)]
struct Laplace {
    loc: Tensor,
    scale: Tensor,
}

impl Laplace {
    fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Ok(Laplace {
            loc: loc.broadcast_add(&scale.zeros_like()?)?,
            scale: scale.broadcast_add(&loc.zeros_like()?)?,
        })
    }
}

impl Distribution for Laplace {
    fn batch_shape(&self) -> &[usize] {
        self.loc.dims()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let shape = [shape, self.batch_shape()].concat();
        let u = (rng.uniform(shape, self.loc.dtype(), self.loc.device())? - 0.5)?;
        // -sign(u) ln(1 - 2 |u|) is standard Laplace.
        let noise = (u.sign()? * (1. - (u.abs()? * 2.)?)?.log()?)?.neg()?;
        Ok(noise.broadcast_mul(&self.scale)?.broadcast_add(&self.loc)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        if value.dtype() != self.loc.dtype() {
            return Err(Error::DType {
                op: "Laplace::log_prob",
                arg: "value",
                expected: format!("{:?}", self.loc.dtype()),
                found: value.dtype(),
            });
        }
        let distance = value.broadcast_sub(&self.loc)?.abs()?;
        Ok(distance
            .broadcast_div(&self.scale)?
            .neg()?
            .broadcast_sub(&(&self.scale * 2.)?.log()?)?)
    }
}

impl Reparameterized for Laplace {}
impl WeightedSum for Laplace {}

impl Moments for Laplace {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc.clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale.sqr()? * 2.)?)
    }
}

impl Entropy for Laplace {
    fn entropy(&self) -> Result<Tensor> {
        Ok(((&self.scale * 2.)?.log()? + 1.)?)
    }
}

impl Kl for Laplace {
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        let d = (&self.loc - &other.loc)?.abs()?;
        let near = ((&d / &self.scale)?.neg()?.exp()? * &self.scale)?;
        let ratio = ((near + d)? / &other.scale)?;
        Ok(((ratio + other.scale.log()?)? - (self.scale.log()? + 1.)?)?)
    }
}

fn example() -> Result<Vec<Tensor>> {
    Ok(vec![
        Tensor::new(&[0.4f64, -1.5, 3.], &Device::Cpu)?,
        Tensor::new(&[1f64, 0.3, 2.], &Device::Cpu)?,
    ])
}

#[test]
fn a_strangers_distribution_conforms() -> Result<()> {
    let harness = Conformance::new(|p: &[Tensor]| Laplace::new(&p[0], &p[1]), example()?);
    harness.distribution()?;
    harness.moments()?;
    harness.entropy()?;
    harness.reparameterized()?;
    let other = Laplace::new(
        &Tensor::new(&[0f64, 0., 0.], &Device::Cpu)?,
        &Tensor::new(1.5f64, &Device::Cpu)?.reshape(1)?,
    )?;
    harness.kl(&other)?;

    let rows = Conformance::new(
        |p: &[Tensor]| Laplace::new(&p[0], &p[1])?.to_event(1),
        example()?,
    );
    rows.distribution()?;
    rows.entropy()?;
    rows.reparameterized()
}

/// Each lie is told by one method and caught by the check for it.
#[test]
fn the_harness_catches_planted_bugs() -> Result<()> {
    struct Lying(Laplace, u8);
    impl Distribution for Lying {
        fn batch_shape(&self) -> &[usize] {
            self.0.batch_shape()
        }
        fn event_shape(&self) -> &[usize] {
            &[]
        }
        fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
            let x = self.0.sample(shape, rng)?;
            match self.1 {
                // 3 % too wide
                1 => Ok(((x.broadcast_sub(&self.0.loc)? * 1.03)?.broadcast_add(&self.0.loc))?),
                // gradient cut, for part of the parameters
                2 => {
                    Ok((x.detach()
                        + (&self.0.loc - self.0.loc.detach())?.broadcast_as(x.shape())?)?)
                }
                3 => Ok(x.unsqueeze(0)?),
                _ => Ok(x),
            }
        }
        fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
            let p = self.0.log_prob(value)?;
            match self.1 {
                // not normalised: the missing ln scale
                4 => Ok(p.broadcast_add(&self.0.scale.log()?)?),
                // gradient to the value lost
                5 => self.0.log_prob(&value.detach()),
                _ => Ok(p),
            }
        }
    }
    impl Reparameterized for Lying {}
    impl Moments for Lying {
        fn mean(&self) -> Result<Tensor> {
            self.0.mean()
        }
        fn variance(&self) -> Result<Tensor> {
            Ok((self.0.variance()? * if self.1 == 6 { 0.95 } else { 1. })?)
        }
    }
    impl Entropy for Lying {
        fn entropy(&self) -> Result<Tensor> {
            Ok((self.0.entropy()? + if self.1 == 7 { 0.02 } else { 0. })?)
        }
    }
    let outcome = |lie: u8| -> Result<[bool; 4]> {
        let build = move |p: &[Tensor]| Ok(Lying(Laplace::new(&p[0], &p[1])?, lie));
        let harness = Conformance::new(build, example()?);
        Ok([
            harness.distribution().is_ok(),
            harness.moments().is_ok(),
            harness.entropy().is_ok(),
            harness.reparameterized().is_ok(),
        ])
    };
    assert_eq!(outcome(0)?, [true; 4]);
    for (lie, check) in [(1, 0), (2, 3), (3, 0), (4, 0), (5, 0), (6, 1), (7, 2)] {
        assert!(!outcome(lie)?[check], "lie {lie} passed check {check}");
    }
    Ok(())
}

/// Labels y = sign of the sum of x: a linear encoder to Laplace codes learns them through the bottleneck.
#[test]
fn a_strangers_distribution_trains_in_the_bottleneck() -> Result<()> {
    let device = Device::Cpu;
    let mut rng = Rng::new(3);
    let x = rng.normal((256, 4), DType::F32, &device)?;
    let y = x.sum(D::Minus1)?.sign()?;
    for mixture in [false, true] {
        let vars = VarMap::new();
        let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &device);
        let (d, k) = (2, 3);
        let loc = candle_nn::linear(4, k * d, vb.pp("loc"))?;
        let scale = candle_nn::linear(4, k * d, vb.pp("scale"))?;
        let out = candle_nn::linear(d, 1, vb.pp("out"))?;
        let config = AdamConfig {
            lr: 0.02,
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(&vars, &config)?;
        let decoder = |z: &Tensor| {
            let y = candle_nn::Module::forward(&out, z)?.squeeze(D::Minus1)?;
            Normal::new(&y, &Tensor::new(0.5f32, z.device())?)
        };
        let config = BottleneckConfig {
            beta: 1e-2,
            samples: 4,
        };
        let mut losses = vec![];
        for _ in 0..150 {
            let shape = (256, k, d);
            let loc = candle_nn::Module::forward(&loc, &x)?.reshape(shape)?;
            let scale = candle_nn::Module::forward(&scale, &x)?
                .exp()?
                .reshape(shape)?;
            let prior = Laplace::new(&loc.zeros_like()?, &loc.ones_like()?)?;
            let components = Laplace::new(&loc, &scale)?;
            let total = if mixture {
                // Weights from a softmax of Gaussians would do as well; a stranger may use any simplex distribution.
                let even = Tensor::ones((256, k), DType::F32, &device)?;
                let weight = candle_prob::distribution::Dirichlet::new(&even)?;
                let (components, prior) = (components.to_event(1)?, prior.to_event(1)?);
                gmvib(
                    (&components, &prior),
                    (&weight, &weight),
                    &decoder,
                    &y,
                    &config,
                    &mut rng,
                )?
                .parts
                .total
            } else {
                let first = |l: Laplace| {
                    Laplace::new(
                        &l.loc.narrow(1, 0, 1)?.squeeze(1)?,
                        &l.scale.narrow(1, 0, 1)?.squeeze(1)?,
                    )?
                    .to_event(1)
                };
                vib(
                    &first(components)?,
                    &first(prior)?,
                    &decoder,
                    &y,
                    &config,
                    &mut rng,
                )?
                .total
            };
            let loss = total.mean_all()?;
            adam.backward_step(&loss)?;
            losses.push(loss.to_scalar::<f32>()?);
        }
        let (first, last) = (losses[0], losses[149]);
        assert!(last < 0.6 * first, "mixture {mixture}: {first} -> {last}");
    }
    Ok(())
}
