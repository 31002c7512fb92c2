//! The weights of all layers.

use super::{Scheme, State};
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// The weights of N layers in stacks, the layer first. A stack of one layer is a block by itself.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[N, m, s]`, or `[N, m, s, k, k]` of convolutions with k odd.
    pub kernel: Tensor,
    /// b: `[N, s]`; `[N, m]` for [`Force::Double`](super::Force::Double).
    pub bias: Option<Tensor>,
    /// Verlet's `b_z`, `[N, m]`. None for other schemes.
    pub second_bias: Option<Tensor>,
}

/// The sizes of a stack of kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    /// m, what K leads to.
    pub(super) inner: usize,
    /// s, the features.
    pub(super) width: usize,
    /// k, of a convolution.
    pub(super) size: Option<usize>,
}

impl Sizes {
    /// Of the kernels, checked for themselves and for the scheme.
    pub(super) fn of(op: &'static str, kernel: &Tensor, scheme: Scheme) -> Result<Self> {
        let arg = "kernel";
        shape::float(op, arg, kernel)?;
        let sizes = match *kernel.dims() {
            [layers, inner, width] => Sizes {
                layers,
                inner,
                width,
                size: None,
            },
            [layers, inner, width, size, columns] if size == columns => Sizes {
                layers,
                inner,
                width,
                size: Some(size),
            },
            _ => {
                let expected = "[N, m, s] or [N, m, s, k, k]";
                return Err(Error::shape(op, arg, expected, kernel.dims()));
            }
        };
        sizes.check(op, arg, scheme)?;
        Ok(sizes)
    }

    pub(super) fn check(&self, op: &'static str, arg: &'static str, scheme: Scheme) -> Result<()> {
        let Sizes {
            layers,
            inner,
            width,
            size,
        } = *self;
        let dims = self.kernel();
        if layers == 0 || inner == 0 || width == 0 {
            let expected = "at least one layer and one feature on either side";
            return Err(Error::shape(op, arg, expected, &dims));
        }
        if size.is_some_and(|k| k % 2 == 0) {
            return Err(Error::shape(op, arg, "kernels of odd size", &dims));
        }
        if scheme.force().is_some_and(|force| force.square()) && inner != width {
            let expected = format!("square kernels, [N, {width}, {width}, ..]");
            return Err(Error::shape(op, arg, expected, &dims));
        }
        Ok(())
    }

    /// The shape of the kernels.
    pub(super) fn kernel(&self) -> Vec<usize> {
        let mut dims = vec![self.layers, self.inner, self.width];
        dims.extend(self.size.iter().flat_map(|k| [*k, *k]));
        dims
    }

    /// The shape of the biases.
    pub(super) fn bias(&self, scheme: Scheme) -> [usize; 2] {
        match scheme.force() {
            Some(super::Force::Double) => [self.layers, self.inner],
            _ => [self.layers, self.width],
        }
    }

    /// The shape of what goes with features of shape `y`.
    pub(super) fn beside(&self, scheme: Scheme, y: &[usize]) -> Vec<usize> {
        let mut dims = y.to_vec();
        if scheme == Scheme::Verlet {
            let feature = match self.size {
                None => dims.len() - 1,
                Some(_) => 1,
            };
            dims[feature] = self.inner;
        }
        dims
    }

    /// A state that these weights take.
    pub(super) fn check_state(
        &self,
        op: &'static str,
        scheme: Scheme,
        state: &State,
        kernel: &Tensor,
    ) -> Result<()> {
        let y = &state.y;
        shape::same_kind(op, "y", y, kernel)?;
        match (self.size, y.dims()) {
            (None, [.., s]) if *s == self.width => {}
            (Some(_), [_, s, h, w]) if *s == self.width && *h > 0 && *w > 0 => {}
            (None, found) => {
                let expected = format!("[.., {}]", self.width);
                return Err(Error::shape(op, "y", expected, found));
            }
            (Some(_), found) => {
                let expected = format!("[B, {}, H, W] of at least one pixel", self.width);
                return Err(Error::shape(op, "y", expected, found));
            }
        }
        let Some(z) = &state.z else { return Ok(()) };
        if !scheme.reversible() {
            let expected = format!("none, as {scheme:?} has y alone");
            return Err(Error::value(op, "z", expected, format!("{:?}", z.dims())));
        }
        shape::same_kind(op, "z", z, kernel)?;
        shape::exactly(op, "z", z.dims(), &self.beside(scheme, y.dims()))
    }
}

impl Weights {
    /// Kernels without biases.
    pub fn new(kernel: &Tensor) -> Self {
        Weights {
            kernel: kernel.clone(),
            bias: None,
            second_bias: None,
        }
    }

    /// The number of layers.
    pub fn layers(&self) -> usize {
        self.kernel.dims().first().copied().unwrap_or(0)
    }

    /// The layers `start..start + count`.
    ///
    /// Errors: no layer, or layers beyond the last.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        let op = "Weights::narrow";
        check::at_least_one(op, &[("count", count)])?;
        check::at_most(op, "count", count, self.layers())?;
        check::at_most(op, "start", start, self.layers() - count)?;
        self.each(|_, stack| Ok(stack.narrow(0, start, count)?))
    }

    /// Another stack from each, by its argument's name.
    pub(super) fn each(&self, f: impl Fn(&'static str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let some = |arg, stack: &Option<Tensor>| stack.as_ref().map(|t| f(arg, t)).transpose();
        Ok(Weights {
            kernel: f("kernel", &self.kernel)?,
            bias: some("bias", &self.bias)?,
            second_bias: some("second_bias", &self.second_bias)?,
        })
    }

    /// The sizes, once all is checked.
    pub(super) fn sizes(&self, op: &'static str, scheme: Scheme) -> Result<Sizes> {
        let sizes = Sizes::of(op, &self.kernel, scheme)?;
        if let Some(bias) = &self.bias {
            shape::same_kind(op, "bias", bias, &self.kernel)?;
            shape::exactly(op, "bias", bias.dims(), &sizes.bias(scheme))?;
        }
        if let Some(bias) = &self.second_bias {
            let arg = "second_bias";
            if scheme != Scheme::Verlet {
                let expected = format!("none, as {scheme:?} has one bias");
                return Err(Error::value(
                    op,
                    arg,
                    expected,
                    format!("{:?}", bias.dims()),
                ));
            }
            shape::same_kind(op, arg, bias, &self.kernel)?;
            shape::exactly(op, arg, bias.dims(), &[sizes.layers, sizes.inner])?;
        }
        Ok(sizes)
    }
}

impl Detach for Weights {
    fn detach(&self) -> Self {
        Weights {
            kernel: self.kernel.detach(),
            bias: self.bias.detach(),
            second_bias: self.second_bias.detach(),
        }
    }
}
