//! Adam and AdamW.

use super::{Optimizer, State, Update, master_name};
use crate::check;
use crate::error::Result;
use crate::kernels::step::adam::{self, adam};
use crate::kernels::step::master::Kept;
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
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
    fn check(&self, op: &'static str) -> Result<()> {
        check::non_negative(op, "lr", self.lr)?;
        check::in_interval(op, "beta1", self.beta1, 0. ..1.)?;
        check::in_interval(op, "beta2", self.beta2, 0. ..1.)?;
        check::non_negative(op, "eps", self.eps)?;
        check::non_negative(op, "weight_decay", self.weight_decay)
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
    vars: BTreeMap<String, Var>,
    slots: Vec<Slot>,
}

struct Slot {
    steps: u64,
    moments: Kept<2>,
}

const NEW: &str = "Adam::new";
const STEP: &str = "Adam::step";
const LOAD: &str = "Adam::set_state";
const KIND: &str = "adam";

impl Adam {
    /// An optimizer of the floating-point variables in `vars`.
    pub fn new(vars: &VarMap, config: &AdamConfig) -> Result<Self> {
        config.check(NEW)?;
        let vars = super::trainable(vars)?;
        let slots = vars
            .values()
            .map(|var| {
                Ok(Slot {
                    steps: 0,
                    moments: Kept::new(var, config.master_weights)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Adam {
            config: config.clone(),
            vars,
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
        &self.vars
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        let c = &self.config;
        c.check(STEP)?;
        super::visit(
            STEP,
            &self.vars,
            &mut self.slots,
            gradients,
            |var, g, slot| {
                let t = slot.steps + 1;
                let rule = adam::Adam::new(t, c.lr, (c.beta1, c.beta2), c.eps, c.weight_decay);
                let moved = adam(rule, var, g, &mut slot.moments)?;
                slot.steps = t;
                Ok(moved)
            },
        )
    }

    fn learning_rate(&self) -> f64 {
        self.config.lr
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.lr = learning_rate;
    }

    fn state(&self) -> Result<State> {
        let c = &self.config;
        let numbers = [
            ("lr", c.lr),
            ("beta1", c.beta1),
            ("beta2", c.beta2),
            ("eps", c.eps),
            ("weight_decay", c.weight_decay),
        ];
        let mut tensors = BTreeMap::new();
        for ((name, var), slot) in self.vars.iter().zip(&self.slots) {
            for (part, tensor) in ["m", "v"].iter().zip(slot.moments.tensors(var)?) {
                tensors.insert(format!("{part}.{name}"), tensor);
            }
            let steps = Tensor::new(slot.steps as i64, &Device::Cpu)?;
            tensors.insert(format!("t.{name}"), steps);
            if let Some(master) = slot.moments.master()? {
                tensors.insert(master_name(name), master);
            }
        }
        Ok(State {
            kind: KIND.into(),
            numbers: numbers.map(|(name, x)| (name.to_string(), x)).into(),
            tensors,
        })
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        let mine = self.state()?.tensors;
        super::check_state(LOAD, KIND, &mine, state)?;
        let number = |name| super::number(LOAD, state, name);
        let config = AdamConfig {
            lr: number("lr")?,
            beta1: number("beta1")?,
            beta2: number("beta2")?,
            eps: number("eps")?,
            weight_decay: number("weight_decay")?,
            master_weights: self.config.master_weights,
        };
        config.check(LOAD)?;
        let get = |part: &str, name: &str| {
            let name = format!("{part}.{name}");
            match mine.get(&name) {
                Some(like) => super::tensor(LOAD, state, &name, like),
                None => Err(crate::Error::value(LOAD, "state", "a known name", name)),
            }
        };
        let slots = self
            .vars
            .iter()
            .map(|(name, var)| {
                let moments = [get("m", name)?, get("v", name)?];
                let steps = get("t", name)?.to_scalar::<i64>()?;
                Ok(Slot {
                    steps: u64::try_from(steps)
                        .map_err(|_| crate::Error::value(LOAD, "t", "at least 0", steps))?,
                    moments: Kept::from_tensors(
                        var,
                        moments,
                        config.master_weights,
                        super::master(LOAD, state, name, &mine)?,
                    )?,
                })
            })
            .collect::<Result<_>>()?;
        self.slots = slots;
        self.config = config;
        Ok(())
    }
}
