//! Stochastic gradient descent.

use super::slots::{Form, Slots};
use super::{Optimizer, Origin, State, Update};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::step::sgd;
use candle_core::Var;
use candle_core::backprop::GradStore;
use candle_nn::VarMap;
use std::collections::BTreeMap;

/// Configuration of [`Sgd`].
#[derive(Debug, Clone, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// How much of the last direction is kept; 0 is plain gradient descent.
    pub momentum: f64,
    /// Look ahead by one step of momentum.
    pub nesterov: bool,
    /// Added to the gradient as `weight_decay p`.
    pub weight_decay: f64,
    /// Whether variables of half precision have f32 master weights.
    pub master_weights: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        SgdConfig {
            lr: 1e-2,
            momentum: 0.,
            nesterov: false,
            weight_decay: 0.,
            master_weights: true,
        }
    }
}

impl SgdConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        check::non_negative(op, "lr", self.lr)?;
        check::non_negative(op, "momentum", self.momentum)?;
        check::non_negative(op, "weight_decay", self.weight_decay)?;
        if self.nesterov && self.momentum == 0. {
            return Err(Error::value(
                op,
                "nesterov",
                "momentum above 0",
                "momentum 0",
            ));
        }
        Ok(())
    }

    /// What a state says of it.
    pub(super) fn numbers(&self) -> [(&'static str, f64); 4] {
        [
            ("lr", self.lr),
            ("momentum", self.momentum),
            ("nesterov", f64::from(u8::from(self.nesterov))),
            ("weight_decay", self.weight_decay),
        ]
    }

    /// The configuration of a state.
    pub(super) fn read(op: &'static str, state: &State, master_weights: bool) -> Result<Self> {
        let number = |name| super::number(op, state, name);
        let config = SgdConfig {
            lr: number("lr")?,
            momentum: number("momentum")?,
            nesterov: number("nesterov")? != 0.,
            weight_decay: number("weight_decay")?,
            master_weights,
        };
        config.check(op)?;
        Ok(config)
    }

    pub(super) fn rule(&self) -> sgd::Sgd {
        sgd::Sgd {
            lr: self.lr,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
        }
    }
}

/// Stochastic gradient descent with momentum.
///
/// What it is: steps along the gradient, or along a running sum of gradients.
///
/// ```text
///   g <- g + weight_decay p             b <- momentum b + g
///   p <- p - lr b                       (p - lr (g + momentum b) with Nesterov's momentum, p - lr g without momentum)
/// ```
///
/// Variables without a gradient, storage, graphs and master weights of half precision: as for [`Adam`](super::Adam).
///
/// Errors: a configuration out of range; a gradient whose shape, dtype or device is not its variable's (then nothing has
/// changed).
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Init, VarMap};
/// use candle_prob::optim::{Optimizer, Sgd, SgdConfig};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let p = vars.get(2, "p", Init::Const(1.), DType::F32, &Device::Cpu)?;
/// let mut sgd = Sgd::new(&vars, &SgdConfig { lr: 0.1, momentum: 0.5, ..SgdConfig::default() })?;
/// for _ in 0..60 {
///     sgd.backward_step(&p.sqr()?.sum_all()?)?;
/// }
/// assert!(p.abs()?.max(0)?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
///
/// Source: Polyak 1964; Sutskever et al. 2013, with the learning rate outside the momentum as torch has it.
pub struct Sgd {
    config: SgdConfig,
    slots: Slots<1>,
}

const NEW: &str = "Sgd::new";
const STEP: &str = "Sgd::step";
const AHEAD: &str = "Sgd::extrapolate";
const LOAD: &str = "Sgd::set_state";
const FORM: Form<1> = Form {
    kind: "sgd",
    parts: ["b"],
    counted: false,
};

impl Sgd {
    /// An optimizer of the floating-point variables in `vars`.
    pub fn new(vars: &VarMap, config: &SgdConfig) -> Result<Self> {
        config.check(NEW)?;
        let slots = Slots::new(super::trainable(vars)?, FORM, config.master_weights)?;
        Ok(Sgd {
            config: config.clone(),
            slots,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SgdConfig {
        &self.config
    }
}

impl Optimizer for Sgd {
    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.slots.vars
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        self.config.check(STEP)?;
        let rule = self.config.rule();
        self.slots.step(STEP, gradients, |_| rule)
    }

    fn extrapolate(&mut self, gradients: &GradStore) -> Result<(Update, Origin)> {
        self.config.check(AHEAD)?;
        let rule = self.config.rule();
        self.slots.extrapolate(AHEAD, gradients, |_| rule)
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
        let masters = self.config.master_weights;
        let slots = self.slots.read(LOAD, state, masters)?;
        self.config = SgdConfig::read(LOAD, state, masters)?;
        self.slots.set(slots);
        Ok(())
    }
}
