//! Exponential moving averages of a network's weights.

use super::slots::{Form, Slots};
use super::{State, Update, number, trainable};
use crate::check;
use crate::error::{Error, Result};
use crate::init::{named_vars, poisoned};
use crate::kernels::step::average::Average;
use candle_core::Var;
use candle_nn::VarMap;
use std::collections::{BTreeMap, HashMap};

/// Configuration of [`Ema`].
#[derive(Debug, Clone, PartialEq)]
pub struct EmaConfig {
    /// How much of the average is kept in an update, in `[0, 1)`.
    pub decay: f64,
    /// Updates that copy, before averaging begins.
    pub start: u64,
    /// With a ramp the half-life of update t is at most `ramp_up t` updates, so that the first weights are soon forgotten.
    pub ramp_up: Option<f64>,
}

impl Default for EmaConfig {
    fn default() -> Self {
        EmaConfig {
            decay: 0.999,
            start: 0,
            ramp_up: None,
        }
    }
}

impl EmaConfig {
    /// The default, with the decay that halves a weight's share in so many updates: `2^(-1 / half_life)`.
    pub fn of_half_life(half_life: f64) -> Self {
        EmaConfig {
            decay: (-half_life.recip()).exp2(),
            ..EmaConfig::default()
        }
    }

    fn check(&self, op: &'static str) -> Result<()> {
        check::in_interval(op, "decay", self.decay, 0. ..1.)?;
        match self.ramp_up {
            Some(ramp_up) => check::positive_finite(op, "ramp_up", ramp_up),
            None => Ok(()),
        }
    }

    /// The share of the present value in update `t`, counted from 1.
    fn share(&self, t: u64) -> f64 {
        if t <= self.start {
            return 1.;
        }
        let ramp = self.ramp_up.map(|slope| (slope * t as f64).recip());
        let decay = ramp.map_or(1., |rate| (-rate).exp2());
        1. - self.decay.min(decay)
    }
}

/// Exponential moving averages of a network's variables, in a map of their own.
///
/// What it is: for each variable p, after each step of its optimizer,
///
/// ```text
///   average <- decay_t average + (1 - decay_t) p        decay_t = 0 for t <= start
///                                                       decay_t = min(decay, 2^(-1 / (ramp_up t))) with a ramp
/// ```
///
/// The map [`vars`](Ema::vars) has the names of the averaged one, so that the same network is built a second time upon it, with
/// [`init::seeded`](crate::init::seeded) or any other `VarBuilder`: that one is sampled and evaluated, the first one trained.
///
/// [`update`](Ema::update) takes the [`Update`] of the optimizer's step, by whose names ([`Update::updated`]) it knows what has
/// moved. A variable that no step has moved so far is copied and not averaged: state that layers write
/// ([`init::Buffer`](crate::init::Buffer): running statistics, the vectors of a spectral norm), what is frozen, what another
/// optimizer moves that has made no step yet, and integers. Each variable counts its own updates `t`, from the first step that
/// moves it. After a step that was left out ([`Update::skipped`]) nothing changes.
///
/// So the running statistics of [`BatchNorm`](crate::net::BatchNorm) are those of the network that is trained, and not of the
/// averaged weights, whose activations may be distributed otherwise: passes in training of the averaged network, after the last
/// update, make its own.
///
/// Variables that are added to the map later are not seen; one under two names has one average under both, and steps may call
/// it by either.
///
/// Gradients: none.
///
/// Errors: a decay outside of `[0, 1)`; a `ramp_up` that is not positive and finite; a step that moved variables of which none
/// has a name of the averaged map.
///
/// ```
/// use candle_core::{DType, Device, Module};
/// use candle_nn::VarMap;
/// use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Ema, EmaConfig, Optimizer};
/// use candle_prob::{Activation, Rng, init, net};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let network = |vars: &VarMap| {
///     let vb = init::seeded(vars, 1, DType::F32, &Device::Cpu);
///     net::mlp(&[2, 8, 1], Activation::Tanh, vb)
/// };
/// let trained = network(&vars)?;
/// let mut adam = Adam::new(&vars, &AdamConfig::default())?;
/// let mut ema = Ema::new(&vars, &EmaConfig { decay: 0.9, ..EmaConfig::default() })?;
/// let averaged = network(ema.vars())?;
/// let x = Rng::new(2).normal((16, 2), DType::F32, &Device::Cpu)?;
/// for _ in 0..10 {
///     let update = adam.backward_step(&trained.forward(&x)?.sqr()?.mean_all()?)?;
///     ema.update(&update)?;
/// }
/// let distance = (averaged.forward(&x)? - trained.forward(&x)?)?.abs()?.max_all()?;
/// assert!(distance.to_scalar::<f32>()? > 0.);
///
/// # let path = std::env::temp_dir().join(format!("candle-prob-ema-{}.safetensors", std::process::id()));
/// Checkpoint::new().vars("model", &vars).optimizer("adam", &mut adam).ema("average", &mut ema).save(&path)?;
/// # std::fs::remove_file(&path).ok();
/// # Ok(())
/// # }
/// ```
///
/// Numerics: f32 and f64 on the CPU take one pass in place. Averages of half precision are kept in f32, since a share of 0.001
/// of a change would be rounded away, and stand in the map rounded.
///
/// Source: Polyak and Juditsky 1992 (averages of weights); Yazici et al. 2019 (exponential ones, of generators); Karras et
/// al. 2020, in the published code (half-life and ramp).
pub struct Ema {
    config: EmaConfig,
    vars: VarMap,
    /// What is averaged, in the order of the slots.
    sources: BTreeMap<String, Var>,
    /// Which slot each name has: more names than slots where variables are tied.
    names: HashMap<String, usize>,
    averages: Slots<0>,
    /// What is copied always: pairs of a variable and its copy.
    integers: Vec<(Var, Var)>,
}

const FORM: Form<0> = Form {
    kind: "ema",
    parts: [],
    counted: true,
};

impl Ema {
    /// Averages that begin at the present values.
    pub fn new(vars: &VarMap, config: &EmaConfig) -> Result<Self> {
        config.check("Ema::new")?;
        let own = VarMap::new();
        let sources = trainable(vars)?;
        let slots = sources.values().zip(0..);
        let slots: HashMap<_, usize> = slots.map(|(var, slot)| (var.id(), slot)).collect();
        let (mut made, mut integers) = (HashMap::new(), vec![]);
        let mut names = HashMap::new();
        for (name, var) in named_vars(vars)? {
            if let Some(slot) = slots.get(&var.id()) {
                names.insert(name.clone(), *slot);
            }
            let average = match made.get(&var.id()) {
                Some(average) => Var::clone(average),
                None => Var::from_tensor(&var.as_detached_tensor())?,
            };
            if !var.dtype().is_float() {
                integers.push((var.clone(), average.clone()));
            }
            made.insert(var.id(), average.clone());
            own.data().lock().map_err(poisoned)?.insert(name, average);
        }
        Ok(Ema {
            config: config.clone(),
            sources,
            names,
            averages: Slots::new(trainable(&own)?, FORM, true)?,
            vars: own,
            integers,
        })
    }

    /// The averages, under the names of what they are averages of.
    pub fn vars(&self) -> &VarMap {
        &self.vars
    }

    /// The configuration.
    pub fn config(&self) -> &EmaConfig {
        &self.config
    }

    /// Takes in the values of now, after a step of the optimizer that did `step`.
    pub fn update(&mut self, step: &Update) -> Result<()> {
        if step.skipped {
            return Ok(());
        }
        let mut moved = vec![false; self.sources.len()];
        for slot in step.updated.iter().filter_map(|name| self.names.get(name)) {
            moved[*slot] = true;
        }
        if let (Some(name), false) = (step.updated.first(), moved.contains(&true)) {
            let expected = "the update of variables that are averaged";
            return Err(Error::value("Ema::update", "step", expected, name));
        }
        let copy = Average { share: 1. };
        let average = |t| Average {
            share: self.config.share(t),
        };
        let averages = self.averages.iter_mut().zip(moved);
        for (source, ((own, slot), moved)) in self.sources.values().zip(averages) {
            let value = source.as_detached_tensor();
            if moved || slot.steps() > 0 {
                slot.step(average, own, &value)?;
            } else {
                slot.uncounted(copy, own, &value)?;
            }
        }
        for (source, own) in &self.integers {
            own.set(&source.as_detached_tensor())?;
        }
        Ok(())
    }

    pub(super) fn state(&self) -> Result<State> {
        let c = &self.config;
        self.averages.state(&[
            ("decay", c.decay),
            ("start", c.start as f64),
            ("ramp_up", c.ramp_up.unwrap_or(0.)),
        ])
    }

    pub(super) fn set_state(&mut self, state: &State) -> Result<()> {
        const OP: &str = "Ema::set_state";
        let slots = self.averages.read(OP, state, true)?;
        let number = |name| number(OP, state, name);
        let ramp_up = number("ramp_up")?;
        let config = EmaConfig {
            decay: number("decay")?,
            start: number("start")? as u64,
            ramp_up: (ramp_up != 0.).then_some(ramp_up),
        };
        config.check(OP)?;
        self.config = config;
        self.averages.set(slots);
        Ok(())
    }
}
