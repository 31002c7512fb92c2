//! Games of two players whose course is known.

mod optimistic;
mod resume;
mod saddles;
mod schemes;
mod trial;

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::optim::*;
use candle_prob::{Result, Rng};

fn bits(tensor: &Tensor) -> Vec<u64> {
    flat(tensor).iter().map(|x| x.to_bits()).collect()
}

fn variable(vars: &VarMap, name: &str, value: &[f64]) -> Var {
    let var = Var::new(value, &Device::Cpu).unwrap();
    vars.data().lock().unwrap().insert(name.into(), var.clone());
    var
}

fn rate(lr: f64) -> SgdConfig {
    SgdConfig {
        lr,
        ..SgdConfig::default()
    }
}

fn scheme(scheme: Scheme) -> MinimaxConfig {
    MinimaxConfig {
        scheme,
        ..MinimaxConfig::default()
    }
}

const SCHEMES: [Scheme; 3] = [
    Scheme::Simultaneous,
    Scheme::Alternating,
    Scheme::Extragradient,
];

/// A game of zero sum with the variables `x` of the generator and `y` of the critic.
struct ZeroSum<F> {
    maps: [VarMap; 2],
    x: Var,
    y: Var,
    /// L(x, y): the generator's loss, and what the critic ascends.
    value: F,
    /// The critic's variables stay within this distance of 0.
    radius: f64,
}

impl<F: FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor>> ZeroSum<F> {
    fn new(x: &[f64], y: &[f64], value: F) -> Self {
        let maps = [VarMap::new(), VarMap::new()];
        ZeroSum {
            x: variable(&maps[0], "x", x),
            y: variable(&maps[1], "y", y),
            maps,
            value,
            radius: f64::INFINITY,
        }
    }

    fn descent(&self, lr: f64, update: Scheme) -> Result<Minimax<Sgd, Sgd>> {
        self.players(&scheme(update), |vars| Sgd::new(vars, &rate(lr)))
    }

    /// The players with optimizers of any kind.
    fn players<O: Optimizer>(
        &self,
        config: &MinimaxConfig,
        make: impl Fn(&VarMap) -> Result<O>,
    ) -> Result<Minimax<O, O>> {
        let [generator, critic] = &self.maps;
        Minimax::new(make(critic)?, make(generator)?, config)
    }

    fn at(&self) -> (f64, f64) {
        (flat(&self.x)[0], flat(&self.y)[0])
    }
}

impl<F: FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor>> Game for ZeroSum<F> {
    fn critic_loss(&mut self) -> Result<Tensor> {
        Ok((self.value)(&self.x.detach(), &self.y)?.neg()?)
    }

    fn generator_loss(&mut self) -> Result<Tensor> {
        Ok((self.value)(&self.x, &self.y)?)
    }

    fn constrain(&mut self) -> Result<()> {
        if self.radius.is_finite() {
            self.y.set(&self.y.clamp(-self.radius, self.radius)?)?;
        }
        Ok(())
    }
}

fn bilinear(x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
    (x * y)?.sum_all()
}

fn betas(lr: f64) -> AdamConfig {
    AdamConfig {
        lr,
        beta1: 0.,
        beta2: 0.999,
        ..AdamConfig::default()
    }
}

/// x^2 / 2 + 2 x y - y^2 / 2 - x + y: strongly convex in x and concave in y, with the saddle (-0.2, 0.6).
fn quadratic(x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
    let curved = ((x.sqr()? / 2.)? - (y.sqr()? / 2.)?)?;
    ((curved + ((x * y)? * 2.)?)? + (y - x)?)?.sum_all()
}

/// A noisy game of vectors.
fn rough(rng: &mut Rng) -> impl FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor> {
    move |x: &Tensor, y: &Tensor| {
        let noise = rng.normal(3, DType::F64, &Device::Cpu)?;
        let value = ((x - 0.3)?.sqr()? * y)?;
        (value - ((y.sqr()? * 0.1)? + (noise * (x + y)?)?)?)?.sum_all()
    }
}
