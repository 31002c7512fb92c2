//! Smoothness of weights from layer to layer.

use super::{Quadratic, check_shift, differences, nothing, second_differences, square_norm};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::linear::neighbour_chain;
use crate::shape;
use candle_core::Tensor;

/// Smoothness in time of the weights of layers: how much each layer's differ from those of the layer before.
///
/// Formula: `R(x) = alpha / (2 h) sum_j |x_j - x_(j-1)|^2`, the integral of `alpha / 2 |dx/dt|^2` of weights that are linear between
/// the layers: it keeps its value where h is halved and layers are put between. `H = alpha / h D^T D`, where D takes the
/// differences of neighbours.
///
/// Shapes: x `[N, ..]`, the layers first; of no layer and of one, R is 0. Gradients: of `value`, `H x`.
///
/// Errors: an alpha that is negative or not finite, a step that is not positive; whole numbers; a scalar; for `solve`, a shift of 0,
/// since what does not change costs nothing.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::regularization::{Quadratic, TimeSmoothness};
/// # fn main() -> candle_prob::Result<()> {
/// let kernels = Tensor::new(&[[[0f64, 1.]], [[2., 1.]], [[2., 2.]]], &Device::Cpu)?; // [N, m, s]
/// let penalty = TimeSmoothness { alpha: 1., step: 0.5 };
/// assert_eq!(penalty.value(&kernels)?.to_scalar::<f64>()?, 5.);
/// let curvature = penalty.product(&kernels)?;
/// assert_eq!(curvature.flatten_all()?.to_vec1::<f64>()?, [-4., 0., 4., -2., 0., 2.]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: `solve` eliminates without a subtraction, in f64, in O(N) for each weight: it is exact to rounding for any shift and
/// any number of layers.
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, eq. 5.23.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeSmoothness {
    /// The weight, not negative.
    pub alpha: f64,
    /// The time h from layer to layer.
    pub step: f64,
}

impl TimeSmoothness {
    /// `alpha / h`, for tensors of layers.
    fn coupling(&self, op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<f64> {
        check::non_negative(op, "alpha", self.alpha)?;
        check::positive_finite(op, "step", self.step)?;
        shape::float(op, arg, tensor)?;
        if tensor.rank() == 0 {
            return Err(Error::shape(op, arg, "[N, ..]", tensor.dims()));
        }
        let coupling = self.alpha / self.step;
        check::finite(op, "alpha / step", coupling)?;
        Ok(coupling)
    }
}

impl Quadratic for TimeSmoothness {
    fn value(&self, x: &Tensor) -> Result<Tensor> {
        let coupling = self.coupling("TimeSmoothness::value", "x", x)?;
        match differences(x, 0)? {
            Some(steps) => Ok((square_norm(&steps)? * (coupling / 2.))?),
            None => nothing(x),
        }
    }

    fn product(&self, v: &Tensor) -> Result<Tensor> {
        let coupling = self.coupling("TimeSmoothness::product", "v", v)?;
        Ok((second_differences(v, 0)? * coupling)?)
    }

    fn solve(&self, v: &Tensor, shift: f64) -> Result<Tensor> {
        let op = "TimeSmoothness::solve";
        let coupling = self.coupling(op, "v", v)?;
        check_shift(op, shift, true)?;
        neighbour_chain::solve(v, coupling, shift)
    }
}
