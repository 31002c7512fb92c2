//! What a selection minimizes beside the penalty.

use crate::kernels::linear::design::Number;
use crate::select::matrix::Weights;

/// The loss of scores `X W + b` against targets, summed over the samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// Half of the squared distance: the paper's. The bias is eliminated.
    #[default]
    Squares,
    /// The distance itself, the l2,1 norm of the residuals, which outliers move less; below `delta` it is a parabola, so
    /// that it has slopes everywhere: `|r|^2 / (2 delta) + delta / 2`.
    Robust {
        /// Where the parabola ends.
        delta: f64,
    },
    /// The cross-entropy of the classes' softmax, in nats.
    Softmax,
}

impl Loss {
    /// The loss at `scores` [C, stride], which become the slopes to them, each times the root of its sample's weight. Scores
    /// and targets [C, N] are plain numbers, without weights.
    pub(super) fn slopes<T: Number>(
        self,
        scores: &mut [T],
        targets: &[f64],
        weights: &Weights,
    ) -> f64 {
        let samples = weights.weights.len();
        let outputs = targets.len() / samples;
        let stride = scores.len() / outputs;
        let mut total = 0.;
        let mut slope = vec![0.; outputs];
        for n in 0..samples {
            for (c, slope) in slope.iter_mut().enumerate() {
                *slope = scores[c * stride + n].into();
            }
            let target = |c: usize| targets[c * samples + n];
            let loss = match self {
                Loss::Squares => squared(&mut slope, target),
                Loss::Robust { delta } => {
                    let length = (2. * squared(&mut slope, target)).sqrt();
                    let floor = length.max(delta);
                    slope.iter_mut().for_each(|r| *r /= floor);
                    match length < delta {
                        true => 0.5 * (length * length / delta + delta),
                        false => length,
                    }
                }
                Loss::Softmax => cross_entropy(&mut slope, target),
            };
            total += weights.weights[n] * loss;
            for (c, slope) in slope.iter().enumerate() {
                scores[c * stride + n] = T::of(slope * weights.roots[n]);
            }
        }
        total
    }
}

impl Loss {
    /// The bias of least loss without any feature, from the mean of the targets [C, N]: features are not to be selected for
    /// what a constant explains.
    pub(super) fn bias(self, mean: &[f64], targets: &[f64], weights: &Weights) -> Vec<f64> {
        match self {
            Loss::Squares => mean.to_vec(),
            // Of a class without weight no number is too small.
            Loss::Softmax => mean.iter().map(|p| p.max(f64::MIN_POSITIVE).ln()).collect(),
            Loss::Robust { delta } => {
                let samples = weights.weights.len();
                let mut bias = mean.to_vec();
                // Weiszfeld's iteration for the geometric median.
                for _ in 0..200 {
                    let (mut sum, mut total) = (vec![0.; bias.len()], 0.);
                    for (n, weight) in weights.weights.iter().enumerate() {
                        let target = |c: usize| targets[c * samples + n];
                        let gaps = bias
                            .iter()
                            .enumerate()
                            .map(|(c, b)| (target(c) - b).powi(2));
                        let share = weight / gaps.sum::<f64>().sqrt().max(delta);
                        total += share;
                        for (c, sum) in sum.iter_mut().enumerate() {
                            *sum += share * target(c);
                        }
                    }
                    bias = sum.into_iter().map(|sum| sum / total).collect();
                }
                bias
            }
        }
    }
}

/// Half of the squared distance; scores become residuals.
fn squared(scores: &mut [f64], target: impl Fn(usize) -> f64) -> f64 {
    let mut total = 0.;
    for (c, s) in scores.iter_mut().enumerate() {
        *s -= target(c);
        total += *s * *s;
    }
    0.5 * total
}

/// Of targets that add up to 1; scores become differences of probabilities.
fn cross_entropy(scores: &mut [f64], target: impl Fn(usize) -> f64) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
    let (total, mut loss) = (most + sum.ln(), 0.);
    for (c, s) in scores.iter_mut().enumerate() {
        loss += target(c) * (total - *s);
        *s = (*s - total).exp() - target(c);
    }
    loss
}
