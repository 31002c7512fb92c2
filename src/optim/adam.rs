//! Adam and AdamW.

use super::slots::{Form, Slots};
use super::{Optimizer, Origin, State, Update};
use crate::check;
use crate::error::Result;
use crate::kernels::step::adam;
use candle_core::Var;
use candle_core::backprop::GradStore;
use candle_nn::VarMap;
use std::collections::BTreeMap;

/// Configuration of [`Adam`].
#[derive(Debug, Clone, PartialEq)]
pub struct AdamConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: 0 is Adam, anything else AdamW.
    pub weight_decay: f64,
    /// Whether variables of half precision have f32 master weights.
    pub master_weights: bool,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.,
            master_weights: true,
        }
    }
}

impl AdamConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        check::non_negative(op, "lr", self.lr)?;
        check::in_interval(op, "beta1", self.beta1, 0. ..1.)?;
        check::in_interval(op, "beta2", self.beta2, 0. ..1.)?;
        check::non_negative(op, "eps", self.eps)?;
        check::non_negative(op, "weight_decay", self.weight_decay)
    }

    /// What a state says of it.
    pub(super) fn numbers(&self) -> [(&'static str, f64); 5] {
        [
            ("lr", self.lr),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ]
    }

    /// The configuration of a state.
    pub(super) fn read(op: &'static str, state: &State, master_weights: bool) -> Result<Self> {
        let number = |name| super::number(op, state, name);
        let config = AdamConfig {
            lr: number("lr")?,
            beta1: number("beta1")?,
            beta2: number("beta2")?,
            eps: number("eps")?,
            weight_decay: number("weight_decay")?,
            master_weights,
        };
        config.check(op)?;
        Ok(config)
    }

    /// Step number `t`, counted from 1.
    pub(super) fn rule(&self, t: u64) -> adam::Adam {
        let betas = (self.beta1, self.beta2);
        adam::Adam::new(t, self.lr, betas, self.eps, self.weight_decay)
    }
}

/// Adam, with decoupled weight decay when asked (AdamW).
///
/// What it is: steps scaled per element by running moments of the gradient.
///
/// ```text
///   m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
///   p <- p - lr weight_decay p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// Each variable counts its own steps `t`: one without a gradient is left alone, as in torch. Variables added to the map
/// later are not seen; build the optimizer after the model.
///
/// The step writes into the variables' storage, as `Var::set` does: clones, views and detached tensors of a variable
/// show the new values, a `copy()` made before keeps the old ones. A graph built before a step must not be
/// differentiated after it.
///
/// Gradients: none; a step is outside the graph and keeps no gradient alive.
///
/// Errors: a configuration out of range; a gradient whose shape, dtype or device is not its variable's (then nothing has
/// changed). A non-finite gradient is no error: see [`Optimizer::step_if_finite`].
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::optim::{Adam, AdamConfig, Optimizer};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let layer = candle_nn::linear(3, 1, vb.pp("layer"))?;
/// let mut adam = Adam::new(&vars, &AdamConfig { lr: 0.05, ..AdamConfig::default() })?;
/// let x = Rng::new(2).normal((64, 3), DType::F32, &Device::Cpu)?;
/// let y = x.sum_keepdim(1)?;
/// let mut last = f32::INFINITY;
/// for _ in 0..200 {
///     let loss = (layer.forward(&x)? - &y)?.sqr()?.mean_all()?;
///     adam.backward_step(&loss)?;
///     last = loss.to_scalar()?;
/// }
/// assert!(last < 1e-4);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: f32 and f64 variables on the CPU take one fused pass. Half precision keeps its moments and does its
/// arithmetic in f32. A variable of half precision is the rounded value of a master weight in f32, to which the steps are
/// added: in bf16 a step of 1e-3 from 1 is less than half of the distance to the next number and would be lost, like
/// every one after it. Without `master_weights` it is, and [`Update::unchanged`] says so. Where a variable was written to
/// between two steps (weights loaded, an average swapped in), it is no longer its rounded master, and the next step goes
/// from the written value.
///
/// Source: Kingma and Ba 2015, Algorithm 1; Loshchilov and Hutter 2019, Algorithm 2. Master weights: Micikevicius et al.
/// 2018, section 3.1.
pub struct Adam {
    config: AdamConfig,
    slots: Slots<2>,
}

const NEW: &str = "Adam::new";
const STEP: &str = "Adam::step";
const AHEAD: &str = "Adam::extrapolate";
const LOAD: &str = "Adam::set_state";
const FORM: Form<2> = Form {
    kind: "adam",
    parts: ["m", "v"],
    counted: true,
};

impl Adam {
    /// An optimizer of the floating-point variables in `vars`.
    pub fn new(vars: &VarMap, config: &AdamConfig) -> Result<Self> {
        config.check(NEW)?;
        let slots = Slots::new(super::trainable(vars)?, FORM, config.master_weights)?;
        Ok(Adam {
            config: config.clone(),
            slots,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }
}

impl Optimizer for Adam {
    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.slots.vars
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        self.config.check(STEP)?;
        self.slots.step(STEP, gradients, |t| self.config.rule(t))
    }

    fn extrapolate(&mut self, gradients: &GradStore) -> Result<(Update, Origin)> {
        self.config.check(AHEAD)?;
        self.slots
            .extrapolate(AHEAD, gradients, |t| self.config.rule(t))
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
        self.config = AdamConfig::read(LOAD, state, masters)?;
        self.slots.set(slots);
        Ok(())
    }
}
