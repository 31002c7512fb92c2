//! The mutual information of Ross, of a continuous variable and a class.

use super::counts::{digamma, mean_digamma, others_within};
use super::space::{Samples, tie_share};
use super::{Estimate, KnnConfig, Null, Warning};
use crate::error::{Error, Result};
use crate::neighbours::{Bound, Metric, NearestNeighbours};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// The mutual information of a continuous variable and a class.
///
/// Formula: `psi(N) + <psi(k_n)> - <psi(N_y)> - <psi(m_n)>`: `N_y` samples are of the class of sample n, r is how far the k-th
/// nearest of them is, and of all others `m_n` are no farther than r, `k_n` of them of its class. That is k, unless
/// several are as far; in a class of no more than k samples it is all others of it
/// ([`Warning::SmallClasses`]). A sample that is alone in its class is left out and not counted in N
/// ([`Warning::Alone`]).
///
/// Shapes: `x` `[N, d]`, of any floating-point dtype, and `labels` `[N]`, u32. Units: nats. Gradients: none.
///
/// Null: labels in random orders.
///
/// Errors: other shapes and dtypes; elements that are not finite; fewer than two classes with two samples; k of 0 or N and
/// more; a negative jitter; 1 shuffle.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::information::knn::{KnnConfig, label_mutual_information};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let x = rng.uniform((1000, 1), DType::F64, &Device::Cpu)?;
/// let labels = (x.squeeze(1)? * 4.)?.to_dtype(DType::U32)?; // quarters
/// let found = label_mutual_information(&x, &labels, &KnnConfig::default(), &mut rng)?;
/// assert!((found.nats - 4f64.ln()).abs() < 0.05);
/// assert!(found.clamped() <= 4f64.ln()); // the entropy of the classes
/// # Ok(())
/// # }
/// ```
///
/// Numerics: distances are f64. It is at most `psi(N) - <psi(N_y)>`, which is above the entropy of the classes by about
/// half a nat for each class and sample, `(C - 1) / 2 N`; [`Warning::AboveEntropy`] tells where that happens, and
/// [`Estimate::clamped`] puts it back.
///
/// Source: Ross (2014), eq. 6.
#[doc(alias = "ross")]
#[doc(alias = "mutual_info_classif")]
pub fn label_mutual_information(
    x: &Tensor,
    labels: &Tensor,
    config: &KnnConfig,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "knn::label_mutual_information";
    let x = Samples::new(op, "x", x, config, rng)?;
    shape::dtype(op, "labels", labels, DType::U32)?;
    shape::exactly(op, "labels", labels.dims(), &[x.len()])?;
    let labels: Vec<u32> = labels.to_device(&Device::Cpu)?.to_vec1()?;
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (n, label) in labels.iter().enumerate() {
        classes.entry(*label).or_default().push(n);
    }
    let mut classes: Vec<Vec<usize>> = classes.into_values().collect();
    classes.retain(|class| class.len() > 1);
    if classes.len() < 2 {
        let expected = "two classes with at least two samples each";
        return Err(Error::value(op, "labels", expected, classes.len()));
    }
    // From here on samples are numbered class by class.
    let x_in_classes = x.pick(&classes.concat());
    let classes: Vec<usize> = classes.iter().map(Vec::len).collect();
    let (n, alone) = (x_in_classes.len(), x.len() - x_in_classes.len());
    config.check(op, n)?;

    let grouped = Grouped {
        near: x_in_classes.neighbours(config.metric)?,
        x: x_in_classes,
        classes,
        metric: config.metric,
    };
    let same: Vec<usize> = (0..n).collect();
    let nats = grouped.estimate(config.k, &same)?;
    let dims = vec![grouped.x.dims, 0];
    let ties = tie_share(&[&grouped.x]);
    let estimate = Estimate::new(nats, config.k, n, dims, ties);
    let mut estimate = estimate.continuous().between(0., grouped.entropy());
    if nats > grouped.entropy() {
        let above = Warning::AboveEntropy(grouped.entropy());
        estimate.warnings.push(above);
    }
    if alone > 0 {
        estimate.warnings.push(Warning::Alone(alone));
    }
    let small = grouped.classes.iter().filter(|n| **n <= config.k).count();
    if small > 0 {
        estimate.warnings.push(Warning::SmallClasses(small));
    }
    estimate.null = Null::shuffled(config.shuffles, || {
        grouped.estimate(config.k, &rng.permutation(n))
    })?;
    Ok(estimate)
}

struct Grouped {
    x: Samples,
    near: NearestNeighbours,
    /// How many samples each class has.
    classes: Vec<usize>,
    metric: Metric,
}

impl Grouped {
    /// The first class has the samples that come first in an order, and so on.
    fn estimate(&self, k: usize, order: &[usize]) -> Result<f64> {
        let n = self.x.len();
        let mut radius = vec![0.; n];
        let (mut of_k, mut of_class) = (0., 0.);
        let mut rest = order;
        for size in &self.classes {
            let (class, after) = rest.split_at(*size);
            rest = after;
            of_class += *size as f64 * digamma(*size);
            let (farthest, counts) = within_class(&self.x.pick(class), k, self.metric)?;
            for (at, r) in class.iter().zip(farthest) {
                radius[*at] = r;
            }
            of_k += counts;
        }
        let near = others_within(&self.near, radius, Bound::Closed)?;
        let n = n as f64;
        Ok(digamma(order.len()) + of_k / n - of_class / n - mean_digamma(&near, 0))
    }

    /// The entropy of the classes.
    fn entropy(&self) -> f64 {
        let n = self.x.len() as f64;
        let shares = self.classes.iter().map(|size| *size as f64 / n);
        -shares.map(|p| p * p.ln()).sum::<f64>()
    }
}

/// How far the k-th nearest of a class is from each of its samples, and the sum of `psi(k_n)`.
fn within_class(x: &Samples, k: usize, metric: Metric) -> Result<(Vec<f64>, f64)> {
    let others = x.len() - 1;
    let k = k.min(others);
    let points = x.neighbours(metric)?;
    // One more says whether several are as far.
    let asked = (k + 1).min(others);
    let found = points.nearest_others(asked)?.distance;
    let found: Vec<f64> = found.flatten_all()?.to_vec1()?;
    let rows = || found.chunks_exact(asked);
    let radius: Vec<f64> = rows().map(|row| row[k - 1]).collect();
    let several = |row: &&[f64]| row[asked - 1] == row[k - 1] && asked > k;
    let apart = x.len() - rows().filter(several).count();
    let mut sum = apart as f64 * digamma(k);
    if apart < x.len() {
        let counts = others_within(&points, radius.clone(), Bound::Closed)?;
        let tied = rows().zip(counts).filter(|(row, _)| several(row));
        sum += tied.map(|(_, n)| digamma(n as usize)).sum::<f64>();
    }
    Ok((radius, sum))
}
