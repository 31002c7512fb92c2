//! Features that say the same.

use super::Problem;
use crate::check;
use crate::error::{Error, Result};

/// Two features and their correlation over the samples, with the samples' weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correlated {
    /// The features, the smaller number first.
    pub features: [usize; 2],
    /// Between -1 and 1.
    pub correlation: f64,
}

impl Problem {
    /// The pairs among these features whose correlation is `least` or more in absolute value, the closest pair first.
    ///
    /// Of two features that are nearly equal it is chance which one is selected, and their rows of W mean nothing one by one:
    /// look at a support's pairs above 0.99 before reading anything into it. A constant feature is in no pair.
    ///
    /// Errors: a feature beyond the last or named twice; `least` not between 0 and 1.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::select::{Preparation, Problem};
    /// # fn main() -> candle_prob::Result<()> {
    /// // The third feature is the first turned round.
    /// let x = [[0f64, 1., 0.], [1., 0., -2.], [2., 3., -4.], [5., 1., -10.1]];
    /// let x = Tensor::new(&x, &Device::Cpu)?;
    /// let labels = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
    /// let problem = Problem::classification(&x, &labels, &Preparation::default())?;
    /// let pairs = problem.correlated(&[0, 1, 2], 0.99)?;
    /// assert_eq!(pairs.len(), 1);
    /// assert_eq!(pairs[0].features, [0, 2]);
    /// assert!(pairs[0].correlation < -0.99);
    /// # Ok(())
    /// # }
    /// ```
    pub fn correlated(&self, features: &[usize], least: f64) -> Result<Vec<Correlated>> {
        let op = "Problem::correlated";
        check::in_interval(op, "least", least, 0. ..=1.)?;
        let mut features = features.to_vec();
        features.sort();
        let is_bad = |pair: &[usize]| pair[0] == pair[1];
        let beyond = features.last().is_some_and(|i| *i >= self.features());
        if beyond || features.windows(2).any(is_bad) {
            let expected = format!("numbers below {}, none of them twice", self.features());
            let found = format!("{features:?}");
            return Err(Error::value(op, "features", expected, found));
        }
        let mut pairs = self.pairs(&features)?;
        pairs.retain(|pair| pair.correlation.abs() >= least);
        pairs.sort_by(|a, b| b.correlation.abs().total_cmp(&a.correlation.abs()));
        Ok(pairs)
    }

    /// All pairs of features that are not constant.
    fn pairs(&self, features: &[usize]) -> Result<Vec<Correlated>> {
        let (data, k) = (self.data.wide(), features.len());
        if k == 0 {
            return Ok(vec![]);
        }
        let products = data.correlate(features, &data.columns(features)?)?;
        let product = |a: usize, b: usize| products[a * k + b];
        let varies = |a: &usize| self.varies(features[*a], product(*a, *a));
        let varying: Vec<usize> = (0..k).filter(varies).collect();
        let mut pairs = vec![];
        for (n, a) in varying.iter().enumerate() {
            for b in &varying[n + 1..] {
                let lengths = (product(*a, *a) * product(*b, *b)).sqrt();
                pairs.push(Correlated {
                    features: [features[*a], features[*b]],
                    correlation: (product(*a, *b) / lengths).clamp(-1., 1.),
                });
            }
        }
        Ok(pairs)
    }
}
