//! What an optimizer keeps of each of its variables, and what of it goes into a state.

use super::extrapolate::Origin;
use super::{State, Update, check_state, master, master_name, tensor, visit};
use crate::error::{Error, Result};
use crate::kernels::step::master::Kept;
use crate::kernels::step::update::{Moved, Rule};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;

/// The variables of an optimizer with `K` tensors of state each.
pub(super) struct Slots<const K: usize> {
    pub(super) vars: BTreeMap<String, Var>,
    slots: Vec<Slot<K>>,
    form: Form<K>,
}

/// What the state of an optimizer is called.
#[derive(Clone, Copy)]
pub(super) struct Form<const K: usize> {
    /// The optimizer.
    pub(super) kind: &'static str,
    /// The tensors of each variable.
    pub(super) parts: [&'static str; K],
    /// Whether steps are counted, as `t`.
    pub(super) counted: bool,
}

pub(super) struct Slot<const K: usize> {
    steps: u64,
    kept: Kept<K>,
}

impl<const K: usize> Slots<K> {
    /// `masters` says whether variables of half precision have master weights.
    pub(super) fn new(vars: BTreeMap<String, Var>, form: Form<K>, masters: bool) -> Result<Self> {
        let slot = |var| {
            Ok(Slot {
                steps: 0,
                kept: Kept::new(var, masters)?,
            })
        };
        let slots = vars.values().map(slot).collect::<Result<_>>()?;
        Ok(Slots { vars, slots, form })
    }

    /// Each variable that has a gradient takes the step of its own step count, from 1.
    pub(super) fn step<R: Rule<K>>(
        &mut self,
        op: &'static str,
        gradients: &GradStore,
        rule: impl Fn(u64) -> R,
    ) -> Result<Update> {
        visit(
            op,
            &self.vars,
            &mut self.slots,
            gradients,
            |var, g, slot| slot.step(&rule, var, g),
        )
    }

    /// As a step, of which the state keeps nothing.
    pub(super) fn extrapolate<R: Rule<K>>(
        &mut self,
        op: &'static str,
        gradients: &GradStore,
        rule: impl Fn(u64) -> R,
    ) -> Result<(Update, Origin)> {
        let origin = Origin::of(&self.vars, gradients)?;
        let ahead = |var: &Var, g: &Tensor, slot: &mut Slot<K>| {
            let rule = rule(slot.steps + 1);
            slot.kept.ahead(rule, var, g)
        };
        origin.unless_failed(visit(op, &self.vars, &mut self.slots, gradients, ahead))
    }

    pub(super) fn state(&self, numbers: &[(&str, f64)]) -> Result<State> {
        let mut tensors = BTreeMap::new();
        for ((name, var), slot) in self.vars.iter().zip(&self.slots) {
            for (part, tensor) in self.form.parts.iter().zip(slot.kept.tensors(var)?) {
                tensors.insert(format!("{part}.{name}"), tensor);
            }
            if self.form.counted {
                let steps = Tensor::new(slot.steps as i64, &Device::Cpu)?;
                tensors.insert(format!("t.{name}"), steps);
            }
            if let Some(master) = slot.kept.master()? {
                tensors.insert(master_name(name), master);
            }
        }
        let numbers = numbers.iter().map(|(name, x)| (name.to_string(), *x));
        Ok(State {
            kind: self.form.kind.into(),
            numbers: numbers.collect(),
            tensors,
        })
    }

    /// The slots that a state describes; nothing has changed yet.
    pub(super) fn read(
        &self,
        op: &'static str,
        state: &State,
        masters: bool,
    ) -> Result<Vec<Slot<K>>> {
        let mine = self.state(&[])?.tensors;
        check_state(op, self.form.kind, &mine, state)?;
        let slot = |(name, var): (&String, &Var)| {
            let get = |part: &str| {
                let name = format!("{part}.{name}");
                match mine.get(&name) {
                    Some(like) => tensor(op, state, &name, like),
                    None => Err(Error::value(op, "state", "a known name", name)),
                }
            };
            let mut parts = [var.as_tensor(); K];
            for (tensor, part) in parts.iter_mut().zip(self.form.parts) {
                *tensor = get(part)?;
            }
            let steps = match self.form.counted {
                true => get("t")?.to_scalar::<i64>()?,
                false => 0,
            };
            let steps =
                u64::try_from(steps).map_err(|_| Error::value(op, "t", "at least 0", steps))?;
            let master = master(op, state, name, &mine)?;
            let kept = Kept::from_tensors(var, parts, masters, master)?;
            Ok(Slot { steps, kept })
        };
        self.vars.iter().map(slot).collect()
    }

    pub(super) fn set(&mut self, slots: Vec<Slot<K>>) {
        self.slots = slots;
    }

    /// The slots, in the order of the variables.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Var, &mut Slot<K>)> {
        self.vars.values().zip(&mut self.slots)
    }
}

impl<const K: usize> Slot<K> {
    /// How many steps it has taken.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn step<R: Rule<K>>(
        &mut self,
        rule: impl Fn(u64) -> R,
        var: &Var,
        gradient: &Tensor,
    ) -> candle_core::Result<Moved> {
        let moved = self.kept.update(rule(self.steps + 1), var, gradient)?;
        self.steps += 1;
        Ok(moved)
    }

    /// A step that does not count.
    pub(super) fn uncounted<R: Rule<K>>(
        &mut self,
        rule: R,
        var: &Var,
        gradient: &Tensor,
    ) -> candle_core::Result<Moved> {
        self.kept.update(rule, var, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::number::Float;
    use candle_core::DType;

    /// Adds the gradient, but to no variable of two elements.
    #[derive(Clone, Copy)]
    struct NoPairs;

    impl Rule<0> for NoPairs {
        const NAME: &'static str = "no-pairs";

        fn fused<T: Float, const FMA: bool>(self, _: &mut [T], _: &[T], _: [&mut [T]; 0]) {}

        fn composed(
            self,
            p: &Tensor,
            g: &Tensor,
            _: &[Tensor; 0],
        ) -> candle_core::Result<(Tensor, [Tensor; 0])> {
            if p.elem_count() == 2 {
                candle_core::bail!("a pair")
            }
            Ok(((p + g)?, []))
        }
    }

    #[test]
    fn a_trial_that_fails_part_way_is_taken_back() -> Result<()> {
        let var = |n: usize| Var::ones(n, DType::BF16, &Device::Cpu);
        let (first, second) = (var(3)?, var(2)?);
        let vars = [("a", first.clone()), ("b", second.clone())];
        let vars = vars.map(|(name, var)| (name.to_string(), var)).into();
        let form = Form {
            kind: "no-pairs",
            parts: [],
            counted: true,
        };
        let mut slots = Slots::new(vars, form, false)?;
        let mut gradients = Tensor::new(0f32, &Device::Cpu)?.backward()?;
        gradients.insert(&first, first.as_detached_tensor().copy()?);
        let values = |var: &Var| var.to_dtype(DType::F32)?.to_vec1::<f32>();
        let (_, origin) = slots.extrapolate("test", &gradients, |_| NoPairs)?;
        assert_eq!(values(&first)?, [2.; 3]);
        origin.restore()?;
        gradients.insert(&second, second.as_detached_tensor().copy()?);
        assert!(slots.extrapolate("test", &gradients, |_| NoPairs).is_err());
        assert_eq!(values(&first)?, [1.; 3]);
        Ok(())
    }
}
