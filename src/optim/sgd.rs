//! Stochastic gradient descent.

use super::{Optimizer, State, Update, master_name};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::step::master::Kept;
use crate::kernels::step::sgd::{self, sgd};
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
    fn check(&self, op: &'static str) -> Result<()> {
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
    vars: BTreeMap<String, Var>,
    slots: Vec<Kept<1>>,
}

const NEW: &str = "Sgd::new";
const STEP: &str = "Sgd::step";
const LOAD: &str = "Sgd::set_state";
const KIND: &str = "sgd";

impl Sgd {
    /// An optimizer of the floating-point variables in `vars`.
    pub fn new(vars: &VarMap, config: &SgdConfig) -> Result<Self> {
        config.check(NEW)?;
        let vars = super::trainable(vars)?;
        let slots = vars
            .values()
            .map(|var| Kept::new(var, config.master_weights))
            .collect::<candle_core::Result<_>>()?;
        Ok(Sgd {
            config: config.clone(),
            vars,
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
        &self.vars
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        self.config.check(STEP)?;
        let rule = sgd::Sgd {
            lr: self.config.lr,
            momentum: self.config.momentum,
            nesterov: self.config.nesterov,
            weight_decay: self.config.weight_decay,
        };
        super::visit(
            STEP,
            &self.vars,
            &mut self.slots,
            gradients,
            |var, g, slot| sgd(rule, var, g, slot),
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
            ("momentum", c.momentum),
            ("nesterov", f64::from(u8::from(c.nesterov))),
            ("weight_decay", c.weight_decay),
        ];
        let mut tensors = BTreeMap::new();
        for ((name, var), slot) in self.vars.iter().zip(&self.slots) {
            for tensor in slot.tensors(var)? {
                tensors.insert(format!("b.{name}"), tensor);
            }
            if let Some(master) = slot.master()? {
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
        let config = SgdConfig {
            lr: number("lr")?,
            momentum: number("momentum")?,
            nesterov: number("nesterov")? != 0.,
            weight_decay: number("weight_decay")?,
            master_weights: self.config.master_weights,
        };
        config.check(LOAD)?;
        let slots = self
            .vars
            .iter()
            .map(|(name, var)| {
                let master = super::master(LOAD, state, name, &mine)?;
                let name = format!("b.{name}");
                let like = mine.get(&name).unwrap_or(var);
                let momentum = [super::tensor(LOAD, state, &name, like)?];
                let masters = config.master_weights;
                Ok(Kept::from_tensors(var, momentum, masters, master)?)
            })
            .collect::<Result<_>>()?;
        self.slots = slots;
        self.config = config;
        Ok(())
    }
}
