//! What selectors have in common.

use super::{HihtConfig, Preparation, Problem, Ranking, ahiht, hiht};
use crate::error::Result;
use candle_core::Tensor;

/// A method of feature selection: it puts the features of labelled samples in order.
///
/// Shapes: `x` is `[N, d]`, f32 or f64, labels are `[N]`, u32 from 0 to C - 1.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Ahiht, HihtConfig, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// // The second of three features is the class.
/// let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 1, 0], &Device::Cpu)?;
/// let noise = Rng::new(0).normal((8, 3), DType::F32, &Device::Cpu)?;
/// let class = labels.to_dtype(DType::F32)?.affine(9., 0.)?.unsqueeze(1)?;
/// let x = Tensor::cat(&[&noise.narrow(1, 0, 1)?, &class, &noise.narrow(1, 1, 1)?], 1)?;
/// let ranking = Ahiht(HihtConfig::default()).rank(&x, &labels)?;
/// assert_eq!(ranking.top(1)?, [1]);
/// # Ok(())
/// # }
/// ```
pub trait Selector {
    /// All features, the most relevant first.
    ///
    /// Errors: those of [`Problem::classification`], and settings that the method refuses.
    fn rank(&self, x: &Tensor, labels: &Tensor) -> Result<Ranking>;
}

/// [`hiht`] on the data as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hiht(pub HihtConfig);

/// [`ahiht`] on the data as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ahiht(pub HihtConfig);

impl Selector for Hiht {
    fn rank(&self, x: &Tensor, labels: &Tensor) -> Result<Ranking> {
        let problem = Problem::classification(x, labels, &Preparation::default())?;
        Ok(hiht(&problem, &self.0)?.ranking().clone())
    }
}

impl Selector for Ahiht {
    fn rank(&self, x: &Tensor, labels: &Tensor) -> Result<Ranking> {
        let problem = Problem::classification(x, labels, &Preparation::default())?;
        Ok(ahiht(&problem, &self.0)?.ranking().clone())
    }
}
