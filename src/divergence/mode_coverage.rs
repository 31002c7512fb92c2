//! Which modes of a known mixture samples reach.

use super::points;
use crate::check;
use crate::error::Result;
use crate::neighbours::{Metric, NearestNeighbours};
use candle_core::Tensor;

/// Samples of high quality, mode by mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeCoverage {
    /// How many samples of high quality are nearest to each mode.
    pub counts: Vec<usize>,
    /// The number of all samples.
    pub samples: usize,
}

impl ModeCoverage {
    /// The number of modes that have at least `least` samples of high quality; the source has 1.
    pub fn covered(&self, least: usize) -> usize {
        self.counts.iter().filter(|count| **count >= least).count()
    }

    /// The share of samples that are of high quality.
    pub fn high_quality(&self) -> f64 {
        self.counts.iter().sum::<usize>() as f64 / self.samples as f64
    }
}

/// Counts the modes that samples reach, for laws whose modes are known: mixtures of narrow Gaussians.
///
/// Formula: a sample is of high quality if its nearest mode is at a Euclidean distance of at most `radius`; of equally near
/// modes it counts for the first. A usual radius is three standard deviations of the modes; of the law's own draws in two
/// dimensions the share `1 - e^(-9/2)`, 98.9 %, is of high quality then.
///
/// Shapes: `samples` `[N, d]` and `modes` `[K, d]`, of any floating-point dtypes. Gradients: none.
///
/// Errors: no samples or no modes; points that do not fit or are not finite; a radius that is negative or not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::mode_coverage;
/// # fn main() -> candle_prob::Result<()> {
/// let modes = Tensor::new(&[[0f32], [10.], [20.]], &Device::Cpu)?;
/// let samples = Tensor::new(&[[0.1f32], [9.9], [0.], [15.]], &Device::Cpu)?;
/// let found = mode_coverage(&samples, &modes, 0.3)?;
/// assert_eq!((found.covered(1), found.high_quality()), (2, 0.75));
/// assert_eq!(found.counts, [2, 1, 0]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Srivastava, Valkov, Russell, Gutmann and Sutton (2017), VEEGAN: Reducing mode collapse in GANs using implicit
/// variational learning, section 4.1.
pub fn mode_coverage(samples: &Tensor, modes: &Tensor, radius: f64) -> Result<ModeCoverage> {
    let op = "divergence::mode_coverage";
    let [n, k, _] = points::both(op, [("samples", samples), ("modes", modes)], 1)?;
    check::non_negative(op, "radius", radius)?;
    for (arg, points) in [("samples", samples), ("modes", modes)] {
        points::numbers(op, arg, points)?;
    }
    let near = NearestNeighbours::new(modes, Metric::Euclidean)?.nearest(samples, 1)?;
    let index = near.index.flatten_all()?.to_vec1::<u32>()?;
    let distance = near.distance.flatten_all()?.to_vec1::<f64>()?;
    let mut counts = vec![0; k];
    for (mode, distance) in index.into_iter().zip(distance) {
        counts[mode as usize] += usize::from(distance <= radius);
    }
    Ok(ModeCoverage { counts, samples: n })
}
