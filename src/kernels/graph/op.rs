//! What a fused operation is.

use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};
use std::borrow::Cow;

/// A freshly computed output.
pub(crate) type Fresh = (CpuStorage, Shape);

/// A freshly computed f32 output.
pub(crate) fn fresh(data: Vec<f32>, shape: impl Into<Shape>) -> Fresh {
    (CpuStorage::F32(data), shape.into())
}

/// What a slope adds to a gradient: nothing where nobody asks for it, which 0 times an infinite slope or NaN would not say.
#[inline(always)]
pub(crate) fn weigh<T: WithDType>(upstream: T, slope: T) -> T {
    if upstream == T::zero() {
        upstream
    } else {
        upstream * slope
    }
}

/// [`weigh`] for products of matrices: the rows of `x` with zeros for those whose `gradient` is all 0, which may be anything.
pub(crate) fn asked<'a, T: WithDType>(x: &'a [T], gradient: &[T], rows: usize) -> Cow<'a, [T]> {
    let mut out = Cow::Borrowed(x);
    if rows == 0 || x.is_empty() || gradient.is_empty() {
        return out;
    }
    let (width, outputs) = (x.len() / rows, gradient.len() / rows);
    for (i, g) in gradient.chunks_exact(outputs).enumerate() {
        if g.iter().all(|g| *g == T::zero()) {
            out.to_mut()[i * width..(i + 1) * width].fill(T::zero());
        }
    }
    out
}

/// An output that reached the loss.
#[derive(Clone)]
pub(crate) struct Reached {
    pub(crate) value: Tensor,
    /// Contiguous, shaped as `value`.
    pub(crate) gradient: Tensor,
}

/// A fused operation. Inputs arrive contiguous, detached and on the CPU.
pub(crate) trait Op: Send + Sync + Sized + 'static {
    const NAME: &'static str;

    /// What errors call it: of a node that many functions share, the function's name.
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// All outputs. What the backward pass needs beyond inputs and outputs may be kept in `self`; `keep` is false when
    /// there will be no backward pass.
    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> Result<Vec<Fresh>>;

    /// One gradient for each input, shaped as the input; `None` where `needs[i]` is false (nobody will read it).
    /// `outputs[j]` is `None` when output `j` did not reach the loss; at least one did. Where an upstream gradient is 0 its
    /// part of the inputs' gradients is 0 too, whatever the slope there is ([`weigh`]).
    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;
}
