//! In-place updates of a variable and its optimizer's state, in one pass over all of them.
//!
//! Like `Var::set` of candle, an update writes into the variable's storage: clones, views and detached tensors of the
//! variable see the new values, `copy()`s made before do not.

#[cfg(test)]
pub(crate) mod tests;

use crate::kernels::machine::buffer::{CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::Float;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::array;
use std::cell::{Cell, RefCell};

/// An elementwise update of a parameter from its gradient and `K` state tensors of its shape.
pub(crate) trait Rule<const K: usize>: Copy + Send + Sync {
    const NAME: &'static str;

    /// `#[inline(always)]`; all slices have one length.
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], state: [&mut [T]; K]);

    /// The new parameter and the new state, as tensor expressions.
    fn composed(self, p: &Tensor, g: &Tensor, state: &[Tensor; K])
    -> Result<(Tensor, [Tensor; K])>;
}

/// The state of one variable: zeros to begin with.
pub(crate) enum Buffers<const K: usize> {
    F32([Vec<f32>; K]),
    F64([Vec<f64>; K]),
    // Half precision keeps its state in f32: in bf16 a decay of 0.999 rounds to one and the second moment never falls.
    Composed([Tensor; K]),
}

impl<const K: usize> Buffers<K> {
    pub(crate) fn new(var: &Var) -> Result<Self> {
        let n = var.elem_count();
        Ok(match (var.device(), var.dtype()) {
            (Device::Cpu, DType::F32) => Buffers::F32(array::from_fn(|_| vec![0.; n])),
            (Device::Cpu, DType::F64) => Buffers::F64(array::from_fn(|_| vec![0.; n])),
            _ => Self::composed(var)?,
        })
    }

    fn composed(var: &Var) -> Result<Self> {
        let zeros = Tensor::zeros(var.shape(), compute_dtype(var), var.device())?;
        Ok(Buffers::Composed(array::from_fn(|_| zeros.clone())))
    }

    /// Copies of the state, shaped as the variable.
    pub(crate) fn tensors(&self, var: &Var) -> Result<Vec<Tensor>> {
        let shape = var.shape();
        match self {
            Buffers::F32(data) => data
                .iter()
                .map(|x| Tensor::from_slice(x, shape, var.device()))
                .collect(),
            Buffers::F64(data) => data
                .iter()
                .map(|x| Tensor::from_slice(x, shape, var.device()))
                .collect(),
            Buffers::Composed(tensors) => Ok(tensors.to_vec()),
        }
    }

    /// The state held by `tensors`, which have the shape and the dtype of what [`Buffers::tensors`] gave.
    pub(crate) fn from_tensors(var: &Var, tensors: [&Tensor; K]) -> Result<Self> {
        let mut new = Self::new(var)?;
        for (i, tensor) in tensors.into_iter().enumerate() {
            let tensor = tensor.to_device(var.device())?.contiguous()?;
            if tensor.dims() != var.dims() {
                bail!(
                    "optimizer state: expected shape {:?}, found {:?}",
                    var.shape(),
                    tensor.shape()
                )
            }
            match &mut new {
                Buffers::F32(data) => data[i].copy_from_slice(View::new(&tensor)?.as_slice()?),
                Buffers::F64(data) => data[i].copy_from_slice(View::new(&tensor)?.as_slice()?),
                Buffers::Composed(data) => data[i] = tensor.to_dtype(compute_dtype(var))?.detach(),
            }
        }
        Ok(new)
    }
}

fn compute_dtype(var: &Var) -> DType {
    match var.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// Whether some element of a variable changed.
pub(crate) enum Moved {
    Known(bool),
    /// A flag on a device that is still at work.
    Asked(Tensor),
}

impl Moved {
    /// Whether `new` is another tensor than `old`. NaN that stays NaN has not changed.
    pub(crate) fn between(old: &Tensor, new: &Tensor) -> Result<Self> {
        if old.elem_count() == 0 {
            return Ok(Moved::Known(false));
        }
        let number = (old.eq(old)? + new.eq(new)?)?;
        let changed = old.ne(new)?.minimum(&number)?;
        Ok(Moved::Asked(changed.flatten_all()?.max(0)?))
    }

    pub(crate) fn answer(self) -> Result<bool> {
        match self {
            Moved::Known(moved) => Ok(moved),
            Moved::Asked(flag) => Ok(flag.to_scalar::<u8>()? > 0),
        }
    }
}

/// Which storage a tensor looks into; equal for a tensor and its views.
pub(crate) fn storage_id(tensor: &Tensor) -> usize {
    std::ptr::from_ref(&*tensor.storage_and_layout().0).addr()
}

/// Applies `rule`. The gradient has the variable's shape, dtype and device, and a storage of its own.
pub(crate) fn update<R: Rule<K>, const K: usize>(
    rule: R,
    var: &Var,
    gradient: &Tensor,
    state: &mut Buffers<K>,
) -> Result<Moved> {
    if var.elem_count() == 0 {
        return Ok(Moved::Known(false));
    }
    match state {
        Buffers::F32(data) => fused(
            rule,
            var,
            gradient,
            data.each_mut().map(|x| x.as_mut_slice()),
        ),
        Buffers::F64(data) => fused(
            rule,
            var,
            gradient,
            data.each_mut().map(|x| x.as_mut_slice()),
        ),
        Buffers::Composed(tensors) => {
            let dtype = compute_dtype(var);
            let p = var.as_detached_tensor().to_dtype(dtype)?;
            let g = gradient.detach().to_dtype(dtype)?;
            let (new, next) = rule.composed(&p, &g, tensors)?;
            let new = new.to_dtype(var.dtype())?;
            let moved = Moved::between(&p, &new.to_dtype(dtype)?)?;
            var.set(&new)?;
            *tensors = next.map(|t| t.detach());
            Ok(moved)
        }
    }
}

fn fused<R: Rule<K>, T: Float, const K: usize>(
    rule: R,
    var: &Var,
    gradient: &Tensor,
    state: [&mut [T]; K],
) -> Result<Moved> {
    let gradient = gradient.detach().contiguous()?;
    let pass = Pass {
        rule,
        state: RefCell::new(Some(state)),
        moved: Cell::new(false),
    };
    var.inplace_op2(&gradient, &pass)?;
    Ok(Moved::Known(pass.moved.get()))
}

/// One pass over a variable. The in-place operation gets a shared reference to itself, hence the cells.
struct Pass<'a, R, T, const K: usize> {
    rule: R,
    state: RefCell<Option<[&'a mut [T]; K]>>,
    moved: Cell<bool>,
}

impl<R: Rule<K>, T: Float, const K: usize> InplaceOp2 for Pass<'_, R, T, K> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> Result<()> {
        let (Some(at), Some(from)) = (p_layout.contiguous_offsets(), g_layout.contiguous_offsets())
        else {
            bail!(
                "{}: the variable and its gradient must be contiguous",
                R::NAME
            )
        };
        let Some(p) = T::slice_mut(p).and_then(|p| p.get_mut(at.0..at.1)) else {
            bail!("{}: the variable is not {:?}", R::NAME, T::DTYPE)
        };
        let g = &g.as_slice::<T>()?[from.0..from.1];
        let Some(state) = self.state.borrow_mut().take() else {
            bail!("{}: applied twice", R::NAME)
        };
        if g.len() != p.len() || state.iter().any(|s| s.len() != p.len()) {
            bail!("{}: {} parameters, {} gradients", R::NAME, p.len(), g.len())
        }
        self.moved.set(run(self.rule, p, g, state));
        Ok(())
    }
}

struct Part<'a, R, T, const K: usize> {
    rule: R,
    p: &'a mut [T],
    g: &'a [T],
    state: [&'a mut [T]; K],
}

#[inline(always)]
fn is_nan<T: Float>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// Elements that are compared with what they were, until one has changed.
const LOOK: usize = 64;

impl<R: Rule<K>, T: Float, const K: usize> Loop for Part<'_, R, T, K> {
    /// Whether some element changed.
    type Output = bool;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> bool {
        let Part {
            rule,
            mut p,
            mut g,
            mut state,
        } = self;
        let mut before = [T::zero(); LOOK];
        while !p.is_empty() {
            let n = p.len().min(LOOK);
            let (first, rest) = p.split_at_mut(n);
            let (first_g, rest_g) = g.split_at(n);
            let mut first_state = state.each_mut().map(|s| &mut s[..n]);
            before[..n].copy_from_slice(first);
            rule.fused::<T, FMA>(first, first_g, first_state.each_mut().map(|s| &mut **s));
            let mut changed = false;
            for (new, old) in first.iter().zip(&before) {
                // NaN that stays NaN has not changed.
                changed |= new != old && !(is_nan(*new) && is_nan(*old));
            }
            (p, g) = (rest, rest_g);
            let state_rest = state.map(|s| &mut s[n..]);
            if changed {
                rule.fused::<T, FMA>(p, g, state_rest);
                return true;
            }
            state = state_rest;
        }
        false
    }
}

/// Whether some element changed.
fn run<R: Rule<K>, T: Float, const K: usize>(
    rule: R,
    p: &mut [T],
    g: &[T],
    state: [&mut [T]; K],
) -> bool {
    if p.len() < SERIAL {
        return dispatch(Part { rule, p, g, state });
    }
    let mut state = state.map(|s| s.chunks_mut(CHUNK));
    let parts: Vec<_> = p
        .chunks_mut(CHUNK)
        .zip(g.chunks(CHUNK))
        .map(|(p, g)| Part {
            rule,
            p,
            g,
            state: state.each_mut().map(|s| s.next().unwrap_or_default()),
        })
        .collect();
    parts
        .into_par_iter()
        .map(dispatch)
        .reduce(|| false, |a, b| a | b)
}
