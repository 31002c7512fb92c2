//! Batch normalization with its gain, shift and activation.

mod composed;

use crate::error::Result;
use crate::kernels::network::activation::Activation;
use candle_core::Tensor;

/// What follows the subtraction of a mean and the division by a deviation.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// Gain and shift, `[C]` each.
    pub(crate) affine: Option<(&'a Tensor, &'a Tensor)>,
    /// Added to variances.
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
}

/// A batch normalized by its own moments.
pub(crate) struct Normalized {
    pub(crate) y: Tensor,
    /// `[C]`, without gradient, of the accumulations' dtype.
    pub(crate) mean: Tensor,
    /// `[C]`, that of the batch itself (divided by the number of values), as `mean`.
    pub(crate) variance: Tensor,
}

/// `activation(gain (x - mean) / sqrt(variance + epsilon) + shift)` with the moments of x over all dims but the second. x is
/// `[N, C, ..]` and not empty.
pub(crate) fn by_batch(x: &Tensor, settings: Settings) -> Result<Normalized> {
    composed::by_batch(x, settings)
}

/// The same with given moments, `[C]` each, which are constants.
pub(crate) fn by_moments(x: &Tensor, moments: [&Tensor; 2], settings: Settings) -> Result<Tensor> {
    composed::by_moments(x, moments, settings)
}
