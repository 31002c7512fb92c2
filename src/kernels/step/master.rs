//! Master weights: the f32 copies that variables of half precision are updated in.
//!
//! A step that is smaller than half of the distance between two numbers of the variable's dtype would be rounded away,
//! and so would every one after it. The master weight keeps it, and the variable is the master rounded.

use crate::kernels::step::ahead::Ahead;
use crate::kernels::step::update::{Buffers, Moved, Rule, update};
use candle_core::{DType, Result, Tensor, Var};

/// What an optimizer keeps of one variable: `K` tensors of state, and the master weights if it has any.
pub(crate) struct Kept<const K: usize> {
    master: Option<Var>,
    state: Buffers<K>,
}

/// Whether a variable is of less precision than its master weights would be.
fn is_half(var: &Var) -> bool {
    !matches!(var.dtype(), DType::F32 | DType::F64)
}

impl<const K: usize> Kept<K> {
    /// `masters` says whether variables of half precision have master weights; others have none.
    pub(crate) fn new(var: &Var, masters: bool) -> Result<Self> {
        let master = (masters && is_half(var)).then(|| copy(var)).transpose()?;
        Ok(Kept {
            state: Buffers::new(master.as_ref().unwrap_or(var))?,
            master,
        })
    }

    /// Copies of the state, shaped as the variable.
    pub(crate) fn tensors(&self, var: &Var) -> Result<Vec<Tensor>> {
        self.state.tensors(self.master.as_ref().unwrap_or(var))
    }

    /// A copy of the master weights.
    pub(crate) fn master(&self) -> Result<Option<Tensor>> {
        let copy = |master: &Var| master.as_detached_tensor().copy();
        self.master.as_ref().map(copy).transpose()
    }

    /// The state held by `tensors`, with these master weights. Without any they begin at the variable's values, if there
    /// are to be some.
    pub(crate) fn from_tensors(
        var: &Var,
        tensors: [&Tensor; K],
        masters: bool,
        master: Option<&Tensor>,
    ) -> Result<Self> {
        let mut new = Self::new(var, masters)?;
        if let (Some(own), Some(master)) = (&new.master, master) {
            own.set(&master.to_device(var.device())?.to_dtype(DType::F32)?)?;
        }
        new.state = Buffers::from_tensors(new.master.as_ref().unwrap_or(var), tensors)?;
        Ok(new)
    }

    /// Applies `rule`: to the master weights where there are some, which the variable then is, rounded.
    ///
    /// A variable that was written to since is no rounded master: where it differs its value counts, as if the master had
    /// been written to.
    pub(crate) fn update<R: Rule<K>>(
        &mut self,
        rule: R,
        var: &Var,
        gradient: &Tensor,
    ) -> Result<Moved> {
        let Some(master) = &self.master else {
            return update(rule, var, gradient, &mut self.state);
        };
        master.set(&current(master, var)?)?;
        let gradient = gradient.detach().to_dtype(DType::F32)?;
        let moved = update(rule, master, &gradient, &mut self.state)?;
        var.set(&master.as_detached_tensor().to_dtype(var.dtype())?)?;
        Ok(moved)
    }

    /// Moves the variable as [`update`](Kept::update) would, and leaves state and master weights as they are.
    pub(crate) fn ahead<R: Rule<K>>(
        &mut self,
        rule: R,
        var: &Var,
        gradient: &Tensor,
    ) -> Result<Moved> {
        let Some(master) = &self.master else {
            return update(Ahead(rule), var, gradient, &mut self.state);
        };
        let trial = Var::from_tensor(&current(master, var)?)?;
        let gradient = gradient.detach().to_dtype(DType::F32)?;
        let moved = update(Ahead(rule), &trial, &gradient, &mut self.state)?;
        var.set(&trial.as_detached_tensor().to_dtype(var.dtype())?)?;
        Ok(moved)
    }
}

/// The master weights, but the variable's values where it is no rounded master.
fn current(master: &Var, var: &Var) -> Result<Tensor> {
    let value = var.as_detached_tensor().to_dtype(DType::F32)?;
    let own = master.as_detached_tensor();
    let rounded = own.to_dtype(var.dtype())?.to_dtype(DType::F32)?;
    rounded.eq(&value)?.where_cond(&own, &value)
}

fn copy(var: &Var) -> Result<Var> {
    Var::from_tensor(&var.as_detached_tensor().to_dtype(DType::F32)?)
}
