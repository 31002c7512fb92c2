//! Optimizers, gradient clipping, schedules, and checkpoints of the whole training state.
//!
//! Optimizers are built from a `VarMap`, visit its variables in name order and know them by name, so that runs repeat,
//! messages say which variable they mean, and a checkpoint finds everything again.
//!
//! - [`Adam`], [`Sgd`]: one pass over parameter, gradient and state, in place; half precision is updated in f32 master
//!   weights. Both are an [`Optimizer`].
//! - [`OptimisticAdam`], [`OptimisticSgd`]: the same along the direction that the next step is expected to have, for games.
//! - [`fn@backward`]: a loss's gradients. [`fn@under`]: part of a map, for players that train against each other.
//! - [`Minimax`]: two players in turn, at once or by extragradient steps, on a [`Game`] of two losses.
//! - [`Ema`]: moving averages of weights, in a map upon which the network is built a second time.
//! - [`clip`]: global norm and value clipping; clipping of weights. [`check`]: what is wrong with a set of gradients, by name.
//! - [`second_order`]: Newton's method for a linear [`Classifier`], Gauss-Newton steps for the network before it, and block
//!   coordinate descent on both.
//! - [`schedule`]: learning rates and KL weights as functions of the step.
//! - [`checkpoint`]: weights, optimizer state, averages, random number generators and notes in one file.

pub mod adam;
pub mod backward;
pub mod check;
pub mod checkpoint;
pub mod clip;
pub mod ema;
pub mod extrapolate;
pub mod minimax;
pub mod optimistic;
pub mod schedule;
pub mod second_order;
pub mod sgd;
mod slots;
pub mod under;

pub use adam::{Adam, AdamConfig};
pub use backward::backward;
pub use check::{GradReport, check_grads};
pub use checkpoint::Checkpoint;
pub use clip::{
    Clipped, clip_grad_norm, clip_grad_norm_or_skip, clip_grad_value, clip_weights, grad_norm,
};
pub use ema::{Ema, EmaConfig};
pub use extrapolate::Origin;
pub use minimax::{Game, Minimax, MinimaxConfig, Round, Scheme, Turn};
pub use optimistic::{OptimisticAdam, OptimisticSgd};
pub use schedule::Schedule;
pub use second_order::{
    ArmijoConfig, BlockDescent, BlockDescentConfig, Classifier, Evaluation, Examples,
    GaussNewtonConfig, GaussNewtonReport, Iteration, LineSearch, NewtonConfig, NewtonReport,
    NewtonStep, NewtonStop, Pcg, PcgConfig, PcgReport, PcgStop, Penalties, armijo, evaluate,
    gauss_newton, pcg,
};
pub use sgd::{Sgd, SgdConfig};
pub use under::under;

use crate::error::{Error, Result};
use crate::init::named_vars;
use crate::kernels::step::update::{Moved, storage_id};
use crate::shape;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use candle_nn::VarMap;
use std::collections::{BTreeMap, HashSet};

/// What a step did. Variables are named in name order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// The variables that had a gradient and took the step.
    pub updated: Vec<String>,
    /// Those of them of which no element changed, nor its master weight: their gradient was zero, or the step less than
    /// what rounding keeps. A variable of half precision without master weights that stays here does not train.
    pub unchanged: Vec<String>,
    /// Variables without a gradient; they and their state were left alone.
    pub missing: Vec<String>,
    /// Variables whose gradient has an infinite or NaN element. Only [`Optimizer::step_if_finite`] looks; when it finds
    /// one, no variable and no state changes.
    pub non_finite: Vec<String>,
    /// Whether the step was not taken because of gradients that are not finite: its own, or in a [`Minimax`] whose players
    /// move at once those of the other player, and then `non_finite` may be empty.
    pub skipped: bool,
}

impl Update {
    /// What is said of a step that was not taken.
    fn refused(report: GradReport) -> Update {
        Update {
            skipped: true,
            missing: report.missing,
            non_finite: report.non_finite,
            ..Update::default()
        }
    }
}

/// An optimizer's state by name: everything a checkpoint needs to continue as if nothing had happened.
#[derive(Debug, Clone)]
pub struct State {
    /// Which optimizer this is the state of.
    pub kind: String,
    /// The configuration.
    pub numbers: BTreeMap<String, f64>,
    /// Moments, step counts and master weights, detached and not shared with the optimizer.
    pub tensors: BTreeMap<String, Tensor>,
}

/// What updates variables from their gradients.
pub trait Optimizer {
    /// The variables it updates, by name.
    fn variables(&self) -> &BTreeMap<String, Var>;

    /// Updates each variable that has a gradient. Nothing of the gradients is kept.
    ///
    /// Errors: a configuration out of range; a gradient whose shape, dtype or device is not its variable's. Then nothing
    /// has changed.
    fn step(&mut self, gradients: &GradStore) -> Result<Update>;

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f64;

    /// Changes the learning rate, for example to what a [`Schedule`] says.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// A copy of the state.
    ///
    /// Errors: none but those of copying tensors.
    fn state(&self) -> Result<State>;

    /// Continues from a state; on an error nothing has changed. Where the state was kept without master weights (by
    /// `master_weights: false`, or before there were any) they begin at the variables' values.
    ///
    /// Errors: the state of another optimizer; a name, shape or dtype that is not this one's; a configuration out of range.
    fn set_state(&mut self, state: &State) -> Result<()>;

    /// Differentiates the loss, then makes a step.
    ///
    /// Errors: those of [`backward`](fn@backward) and of [`step`](Optimizer::step).
    fn backward_step(&mut self, loss: &Tensor) -> Result<Update> {
        self.step(&backward(loss)?)
    }

    /// A step, unless some gradient has an infinite or NaN element: then variables and state stay as they are, bit for
    /// bit, and [`Update::non_finite`] names the variables.
    ///
    /// Errors: as [`step`](Optimizer::step).
    fn step_if_finite(&mut self, gradients: &GradStore) -> Result<Update> {
        let report = check::of_gradients(self.variables(), gradients)?;
        if report.non_finite.is_empty() {
            return self.step(gradients);
        }
        Ok(Update::refused(report))
    }

    /// Moves the variables to where [`step`](Optimizer::step) would lead and keeps nothing of it in the state: the first
    /// half of an extragradient step. The next step goes from where the variables are then, so put them back before it.
    ///
    /// Errors: as [`step`](Optimizer::step). Then the variables are where they were.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{Init, VarMap};
    /// use candle_prob::optim::{Optimizer, Sgd, SgdConfig, backward};
    /// # fn main() -> candle_prob::Result<()> {
    /// let vars = VarMap::new();
    /// let p = vars.get(1, "p", Init::Const(1.), DType::F64, &Device::Cpu)?;
    /// let mut sgd = Sgd::new(&vars, &SgdConfig { lr: 0.25, ..SgdConfig::default() })?;
    /// let (_update, origin) = sgd.extrapolate(&backward(&p.sqr()?)?)?;
    /// assert_eq!(p.to_vec1::<f64>()?, [0.5]);
    /// let ahead = backward(&p.sqr()?)?;
    /// origin.restore()?;
    /// sgd.step(&ahead)?; // 1 - 0.25 * 2 * 0.5
    /// assert_eq!(p.to_vec1::<f64>()?, [0.75]);
    /// # Ok(())
    /// # }
    /// ```
    fn extrapolate(&mut self, gradients: &GradStore) -> Result<(Update, Origin)> {
        let state = self.state()?;
        let origin = Origin::of(self.variables(), gradients)?;
        let update = self.step(gradients);
        let forgotten = self.set_state(&state);
        origin.unless_failed(update.and_then(|update| forgotten.map(|()| update)))
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn variables(&self) -> &BTreeMap<String, Var> {
        (**self).variables()
    }

    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        (**self).step(gradients)
    }

    fn learning_rate(&self) -> f64 {
        (**self).learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        (**self).set_learning_rate(learning_rate);
    }

    fn state(&self) -> Result<State> {
        (**self).state()
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        (**self).set_state(state)
    }

    fn extrapolate(&mut self, gradients: &GradStore) -> Result<(Update, Origin)> {
        (**self).extrapolate(gradients)
    }

    fn backward_step(&mut self, loss: &Tensor) -> Result<Update> {
        (**self).backward_step(loss)
    }

    fn step_if_finite(&mut self, gradients: &GradStore) -> Result<Update> {
        (**self).step_if_finite(gradients)
    }
}

/// The floating-point variables of a map in name order; one that has two names counts once.
fn trainable(vars: &VarMap) -> Result<BTreeMap<String, Var>> {
    let mut seen = HashSet::new();
    Ok(named_vars(vars)?
        .into_iter()
        .filter(|(_, var)| var.dtype().is_float() && seen.insert(var.id()))
        .collect())
}

/// The gradients in the order of the variables, checked, detached, and sharing no storage with a variable.
fn gather(
    op: &'static str,
    vars: &BTreeMap<String, Var>,
    gradients: &GradStore,
) -> Result<Vec<Option<Tensor>>> {
    let own: HashSet<usize> = vars.values().map(|var| storage_id(var)).collect();
    vars.iter()
        .map(|(name, var)| {
            let Some(gradient) = gradients.get(var) else {
                return Ok(None);
            };
            if gradient.dims() != var.dims() {
                let expected = format!("{:?} for {name}", var.dims());
                return Err(Error::shape(op, "gradient", expected, gradient.dims()));
            }
            shape::same_kind(op, "gradient", gradient, var)?;
            let gradient = gradient.detach();
            // A gradient inserted by hand may be a view of a variable that this very step overwrites.
            Ok(Some(if own.contains(&storage_id(&gradient)) {
                gradient.copy()?
            } else {
                gradient
            }))
        })
        .collect()
}

/// Applies `apply` to each variable that has a gradient.
fn visit<S>(
    op: &'static str,
    vars: &BTreeMap<String, Var>,
    slots: &mut [S],
    gradients: &GradStore,
    mut apply: impl FnMut(&Var, &Tensor, &mut S) -> candle_core::Result<Moved>,
) -> Result<Update> {
    let gradients = gather(op, vars, gradients)?;
    let (mut done, mut moves) = (Update::default(), vec![]);
    for (((name, var), gradient), slot) in vars.iter().zip(gradients).zip(slots) {
        match gradient {
            Some(gradient) => {
                let moved = apply(var, &gradient, slot)?;
                done.updated.push(name.clone());
                // Of a variable without elements none could.
                if var.elem_count() > 0 {
                    moves.push((name, moved));
                }
            }
            None => done.missing.push(name.clone()),
        }
    }
    // Asked for when all are under way, so that a device waits once.
    for (name, moved) in moves {
        if !moved.answer()? {
            done.unchanged.push(name.clone());
        }
    }
    Ok(done)
}

/// The number called `name`.
fn number(op: &'static str, state: &State, name: &'static str) -> Result<f64> {
    state
        .numbers
        .get(name)
        .copied()
        .ok_or_else(|| Error::value(op, "state", format!("a number {name}"), "none"))
}

/// The tensor called `name`, with the shape and the dtype that an optimizer of `var` gave it.
fn tensor<'a>(op: &'static str, state: &'a State, name: &str, like: &Tensor) -> Result<&'a Tensor> {
    let tensor = state
        .tensors
        .get(name)
        .ok_or_else(|| Error::value(op, "state", format!("a tensor {name}"), "none"))?;
    if tensor.dims() != like.dims() {
        let expected = format!("{:?} for {name}", like.dims());
        return Err(Error::shape(op, "state", expected, tensor.dims()));
    }
    shape::dtype(op, "state", tensor, like.dtype())?;
    Ok(tensor)
}

/// What a variable's master weights are called in a state.
fn master_name(name: &str) -> String {
    format!("{MASTER}{name}")
}

/// How their names begin.
const MASTER: &str = "master.";

/// The master weights of the variable `name`, or none in a state that was kept without any.
fn master<'a>(
    op: &'static str,
    state: &'a State,
    name: &str,
    mine: &BTreeMap<String, Tensor>,
) -> Result<Option<&'a Tensor>> {
    let name = master_name(name);
    match mine.get(&name) {
        Some(like) if masters(&state.tensors) > 0 => tensor(op, state, &name, like).map(Some),
        _ => Ok(None),
    }
}

fn masters(tensors: &BTreeMap<String, Tensor>) -> usize {
    tensors
        .keys()
        .filter(|name| name.starts_with(MASTER))
        .count()
}

/// The state is of this optimizer and has as many tensors as it should, `mine`; of master weights perhaps none.
fn check_state(
    op: &'static str,
    kind: &str,
    mine: &BTreeMap<String, Tensor>,
    state: &State,
) -> Result<()> {
    if state.kind != kind {
        return Err(Error::value(
            op,
            "state",
            format!("the state of {kind}"),
            &state.kind,
        ));
    }
    let (own, found) = (masters(mine), masters(&state.tensors));
    if own == 0 && found > 0 {
        let expected = "no master weights (an optimizer with `master_weights` has them)";
        return Err(Error::value(op, "state", expected, found));
    }
    let missing = if found == 0 { own } else { 0 };
    let tensors = mine.len() - missing;
    if state.tensors.len() != tensors {
        let expected = format!("{tensors} tensors");
        return Err(Error::value(op, "state", expected, state.tensors.len()));
    }
    Ok(())
}
