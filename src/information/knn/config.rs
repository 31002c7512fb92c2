//! Settings of the estimators.

use crate::check;
use crate::error::{Error, Result};
use crate::neighbours::Metric;

/// Settings of an estimate from nearest neighbours.
///
/// ```
/// use candle_prob::information::knn::KnnConfig;
///
/// let config = KnnConfig { shuffles: 20, ..KnnConfig::default() };
/// assert_eq!(config.k, 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnnConfig {
    /// The neighbour whose distance counts, at least 1 and less than there are samples. Few: little bias, much
    /// variance.
    pub k: usize,
    /// How far two samples of a space are from each other.
    pub metric: Metric,
    /// Noise against ties: normal, with a standard deviation of this times that of the coordinate, added to every
    /// coordinate in f64. 0 adds none and draws nothing.
    pub jitter: f64,
    /// How often the estimate is repeated on shuffled samples for its [`Null`](super::Null): 0, or at least 2.
    pub shuffles: usize,
}

impl Default for KnnConfig {
    /// The third neighbour in max-norm (Kraskov et al. 2004 use 2 to 4), without noise, without a null.
    fn default() -> Self {
        KnnConfig {
            k: 3,
            metric: Metric::Chebyshev,
            jitter: 0.,
            shuffles: 0,
        }
    }
}

impl KnnConfig {
    /// Checks the settings for `samples` samples.
    pub(super) fn check(&self, op: &'static str, samples: usize) -> Result<()> {
        check::at_least(op, "samples", samples, 2)?;
        check::count_in(op, "k", self.k, 1..=samples - 1, "other samples")?;
        check::non_negative(op, "jitter", self.jitter)?;
        match self.shuffles {
            1 => Err(Error::value(op, "shuffles", "0, or at least 2", 1)),
            _ => Ok(()),
        }
    }
}
