//! What a method of feature selection is.

use super::{Preparation, Ranking};
use crate::error::Result;
use candle_core::Tensor;

/// A method of feature selection: it puts the features of samples in order. [`cross_validate`](super::cross_validate) and
/// [`stability`](super::stability) take any.
///
/// Shapes: `x` is `[N, d]`, f32 or f64; `y` are labels `[N]`, of an integer dtype from 0 to C - 1, or targets `[N, C]` of
/// x's dtype for the methods that take them: [`Hiht`](super::Hiht) and [`Ahiht`](super::Ahiht).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Ahiht, HihtConfig, Preparation, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// // The second of three features is the class.
/// let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 1, 0], &Device::Cpu)?;
/// let noise = Rng::new(0).normal((8, 3), DType::F32, &Device::Cpu)?;
/// let class = labels.to_dtype(DType::F32)?.affine(9., 0.)?.unsqueeze(1)?;
/// let x = Tensor::cat(&[&noise.narrow(1, 0, 1)?, &class, &noise.narrow(1, 1, 1)?], 1)?;
/// let how = Preparation { standardize: true, ..Preparation::default() };
/// let ranking = Ahiht(HihtConfig::default()).rank(&x, &labels, &how)?;
/// assert_eq!(ranking.top(1)?, [1]);
/// # Ok(())
/// # }
/// ```
pub trait Selector {
    /// All features, the most relevant first, of data that are prepared like this.
    ///
    /// Errors: those of [`Problem::classification`](super::Problem::classification) and
    /// [`Problem::regression`](super::Problem::regression), settings that the method refuses, targets
    /// and weights where it has no use for them.
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking>;
}
