//! Optimistic Adam and gradient descent, for players who answer each other.

use super::slots::{Form, Slots};
use super::{AdamConfig, Optimizer, Origin, SgdConfig, State, Update};
use crate::error::{Error, Result};
use crate::kernels::step::optimistic;
use candle_core::Var;
use candle_core::backprop::GradStore;
use candle_nn::VarMap;
use std::collections::BTreeMap;

/// Adam along the direction that the next step is expected to have.
///
/// What it is: the last direction and its change once more, in the place of the last direction. In a game the other player
/// moves too; where plain steps circle around a saddle, these lead toward it, with one gradient a step and not the two of the
/// extragradient method. Like those of Adam they do not shrink with the gradient: at the saddle of `x y`, with `beta1 = 0`, they
/// come near, leave again, and end within 2.5 learning rates, nearer only as the rate falls; with `beta1 = 0.5` they go around
/// as Adam does with 0. [`OptimisticSgd`] converges at a constant rate.
///
/// ```text
///   m, v as in Adam                     d_t = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
///   p <- p - lr weight_decay p - lr (d_t + (d_t - d_(t-1)))
/// ```
///
/// The first step of a variable has no direction before it and is that of Adam, of the length `lr`; implementations that take
/// the missing direction for zero double it. Both directions have the learning rate of this step.
///
/// Variables without a gradient, storage, graphs, errors, master weights of half precision: as for [`Adam`](super::Adam).
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Init, VarMap};
/// use candle_prob::optim::{AdamConfig, OptimisticAdam, Optimizer, backward};
/// # fn main() -> candle_prob::Result<()> {
/// // min over x, max over y of x y
/// let (own, other) = (VarMap::new(), VarMap::new());
/// let x = own.get(1, "x", Init::Const(1.), DType::F64, &Device::Cpu)?;
/// let y = other.get(1, "y", Init::Const(0.5), DType::F64, &Device::Cpu)?;
/// let config = AdamConfig { beta1: 0., beta2: 0.99, ..AdamConfig::default() };
/// let mut descent = OptimisticAdam::new(&own, &config)?;
/// let mut ascent = OptimisticAdam::new(&other, &config)?;
/// for step in 0..3000 {
///     let rate = 0.05 * 0.5f64.powf(f64::from(step) / 500.);
///     descent.set_learning_rate(rate);
///     ascent.set_learning_rate(rate);
///     let gradients = backward(&(&x * &y)?)?;
///     let of_critic = backward(&(&x * &y)?.neg()?)?;
///     descent.step(&gradients)?;
///     ascent.step(&of_critic)?;
/// }
/// assert!(x.to_vec1::<f64>()?[0].hypot(y.to_vec1::<f64>()?[0]) < 0.01); // Adam: 0.1
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the direction before is computed again from the moments before, in the same pass over memory, so that the state
/// is that of Adam and no more.
///
/// Source: Daskalakis, Ilyas, Syrgkanis and Zeng 2018, Algorithm 1.
pub struct OptimisticAdam {
    config: AdamConfig,
    slots: Slots<2>,
}

const ADAM: Form<2> = Form {
    kind: "optimistic-adam",
    parts: ["m", "v"],
    counted: true,
};

impl OptimisticAdam {
    /// An optimizer of the floating-point variables in `vars`.
    pub fn new(vars: &VarMap, config: &AdamConfig) -> Result<Self> {
        config.check("OptimisticAdam::new")?;
        let slots = Slots::new(super::trainable(vars)?, ADAM, config.master_weights)?;
        Ok(OptimisticAdam {
            config: config.clone(),
            slots,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }
}

fn adam(c: &AdamConfig, t: u64) -> optimistic::OptimisticAdam {
    let betas = (c.beta1, c.beta2);
    optimistic::OptimisticAdam::new(t, c.lr, betas, c.eps, c.weight_decay)
}

impl Optimizer for OptimisticAdam {
    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.slots.vars
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        const OP: &str = "OptimisticAdam::step";
        self.config.check(OP)?;
        self.slots.step(OP, gradients, |t| adam(&self.config, t))
    }

    fn extrapolate(&mut self, gradients: &GradStore) -> Result<(Update, Origin)> {
        const OP: &str = "OptimisticAdam::extrapolate";
        self.config.check(OP)?;
        self.slots
            .extrapolate(OP, gradients, |t| adam(&self.config, t))
    }

    fn learning_rate(&self) -> f64 {
        self.config.lr
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.lr = learning_rate;
    }

    fn state(&self) -> Result<State> {
        self.slots.state(&self.config.numbers())
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        const OP: &str = "OptimisticAdam::set_state";
        let masters = self.config.master_weights;
        let slots = self.slots.read(OP, state, masters)?;
        self.config = AdamConfig::read(OP, state, masters)?;
        self.slots.set(slots);
        Ok(())
    }
}

/// Gradient descent along the direction that the next step is expected to have.
///
/// What it is: as [`OptimisticAdam`], of plain gradients or of their running sum.
///
/// ```text
///   g <- g + weight_decay p             b_t = momentum b_(t-1) + g
///   p <- p - lr (b_t + (b_t - b_(t-1)))                                (p - lr b_1 in the first step of a variable)
/// ```
///
/// Without momentum and with a constant rate these are extragradient steps whose trial is made with the gradient of the last
/// trial.
///
/// Errors: as for [`Sgd`](super::Sgd), and Nesterov's momentum.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Init, VarMap};
/// use candle_prob::optim::{OptimisticSgd, Optimizer, SgdConfig};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let p = vars.get(1, "p", Init::Const(1.), DType::F64, &Device::Cpu)?;
/// let mut sgd = OptimisticSgd::new(&vars, &SgdConfig { lr: 0.25, ..SgdConfig::default() })?;
/// sgd.backward_step(&p.sqr()?)?; // 1 - 0.25 * 2
/// sgd.backward_step(&p.sqr()?)?; // 0.5 - 0.25 * (2 * 1 - 2)
/// assert_eq!(p.to_vec1::<f64>()?, [0.5]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Daskalakis, Ilyas, Syrgkanis and Zeng 2018, section 2; Popov 1980.
pub struct OptimisticSgd {
    config: SgdConfig,
    slots: Slots<1>,
}

const SGD: Form<1> = Form {
    kind: "optimistic-sgd",
    parts: ["b"],
    counted: true,
};

impl OptimisticSgd {
    /// An optimizer of the floating-point variables in `vars`.
    pub fn new(vars: &VarMap, config: &SgdConfig) -> Result<Self> {
        check("OptimisticSgd::new", config)?;
        let slots = Slots::new(super::trainable(vars)?, SGD, config.master_weights)?;
        Ok(OptimisticSgd {
            config: config.clone(),
            slots,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SgdConfig {
        &self.config
    }
}

fn check(op: &'static str, config: &SgdConfig) -> Result<()> {
    config.check(op)?;
    match config.nesterov {
        true => Err(Error::value(op, "nesterov", "false", true)),
        false => Ok(()),
    }
}

fn sgd(c: &SgdConfig, t: u64) -> optimistic::OptimisticSgd {
    optimistic::OptimisticSgd {
        lr: c.lr,
        momentum: c.momentum,
        weight_decay: c.weight_decay,
        first: t == 1,
    }
}

impl Optimizer for OptimisticSgd {
    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.slots.vars
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        const OP: &str = "OptimisticSgd::step";
        check(OP, &self.config)?;
        self.slots.step(OP, gradients, |t| sgd(&self.config, t))
    }

    fn extrapolate(&mut self, gradients: &GradStore) -> Result<(Update, Origin)> {
        const OP: &str = "OptimisticSgd::extrapolate";
        check(OP, &self.config)?;
        self.slots
            .extrapolate(OP, gradients, |t| sgd(&self.config, t))
    }

    fn learning_rate(&self) -> f64 {
        self.config.lr
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.lr = learning_rate;
    }

    fn state(&self) -> Result<State> {
        self.slots.state(&self.config.numbers())
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        const OP: &str = "OptimisticSgd::set_state";
        let masters = self.config.master_weights;
        let slots = self.slots.read(OP, state, masters)?;
        let config = SgdConfig::read(OP, state, masters)?;
        check(OP, &config)?;
        self.config = config;
        self.slots.set(slots);
        Ok(())
    }
}
