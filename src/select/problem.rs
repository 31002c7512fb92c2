//! The data of a selection, checked and centred.

use super::centred::{Centred, Data};
use super::checks::{check_finite, check_labels, check_weights};
use super::features::Features;
use super::matrix::Weights;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, DType, Tensor};

/// How data are prepared.
#[derive(Debug, Clone, Default)]
pub struct Preparation {
    /// A weight of at least 0 for each sample, `[N]`: an integer weight counts as so many copies of the sample.
    pub weights: Option<Tensor>,
    /// Whether features are divided by their standard deviations. Weights and biases of results are those of the data as
    /// they came.
    pub standardize: bool,
}

/// Samples, features and targets of a selection.
///
/// Formula: least squares with the bias eliminated, `f(W) = |H (X W - Y)|_F^2 / 2`, where `H` takes the samples' means away.
/// Targets of a classification are one where the sample is of the class and zero elsewhere.
///
/// Shapes: `x` is `[N, d]`, labels `[N]` (of any integer dtype, 0 to C - 1) or targets `[N, C]`. No `N x N` matrix is ever formed. Tensors, f32
/// or f64, are held once more, centred and by feature; of sparse data ([`Csr`](super::Csr)) only what is not zero, by feature;
/// of data in [`Blocks`](super::Blocks) nothing: every step reads them again. No gradients.
///
/// Errors: an entry that is not finite, by its row and column; one class, fewer samples than classes, sizes that do not fit
/// each other; with standardization a constant feature, by its column (without it such a feature is never selected);
/// targets of another dtype than x; weights that are negative, all zero or of infinite sum.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{Preparation, Problem};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[[0f32, 1.], [1., 0.], [2., 3.]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1, 1], &Device::Cpu)?;
/// let problem = Problem::classification(&x, &labels, &Preparation::default())?;
/// assert_eq!((problem.samples(), problem.features(), problem.outputs()), (3, 2, 2));
/// # Ok(())
/// # }
/// ```
///
/// Numerics: a feature counts as constant where its spread is below 1e-12 of its mean, 1e-6 for sparse rows with weights or
/// standardization, whose products are rounded to f32.
///
/// Source: Sun and Yu (2020), Robust Multi-class Feature Selection via l2,0-Norm Regularization Minimization, equations 5 to
/// 9.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(super) data: Data,
    samples: usize,
    outputs: usize,
    /// Of features and targets.
    pub(super) means: [Vec<f64>; 2],
    /// Of features; 1 without standardization.
    pub(super) scales: Vec<f64>,
    pub(super) weights: Weights,
    is_classification: bool,
}

pub(super) const CLASSIFICATION: &str = "Problem::classification";

impl Problem {
    /// From labels 0 to C - 1.
    pub fn classification<'a>(
        x: impl Into<Features<'a>>,
        labels: &Tensor,
        how: &Preparation,
    ) -> Result<Self> {
        let (op, x) = (CLASSIFICATION, x.into());
        let [samples, _] = x.size(op)?;
        let (labels, classes) = check_labels(op, labels, samples)?;
        let target = |n: usize, c: usize| f64::from(u8::from(labels[n] as usize == c));
        Ok(Problem {
            is_classification: true,
            ..Self::new(op, x, classes, target, how)?
        })
    }

    /// A classification where `y` are whole numbers, else a regression.
    pub(super) fn labelled(x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Self> {
        match y.dtype() {
            dtype if dtype.is_int() => Self::classification(x, y, how),
            _ => Self::regression(x, y, how),
        }
    }

    /// From targets `[N, C]` of x's dtype.
    pub fn regression<'a>(
        x: impl Into<Features<'a>>,
        y: &Tensor,
        how: &Preparation,
    ) -> Result<Self> {
        let (op, x) = ("Problem::regression", x.into());
        let [samples, _] = x.size(op)?;
        shape::float(op, "y", y)?;
        if y.dtype() != x.dtype() {
            let (expected, found) = (x.dtype(), y.dtype());
            let expected = format!("{expected:?}, the dtype of x");
            return Err(Error::value(op, "y", expected, format!("{found:?}")));
        }
        match y.dims() {
            [n, c] if *n == samples && *c > 0 => {}
            dims => {
                let expected = format!("[{samples}, C], C at least 1");
                return Err(Error::shape(op, "y", expected, dims));
            }
        }
        let values = y.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        check_finite(op, "y", values.iter().map(|row| row.iter().copied()), 0)?;
        Self::new(op, x, y.dim(D::Minus1)?, |n, c| values[n][c], how)
    }

    fn new(
        op: &'static str,
        x: Features,
        outputs: usize,
        target: impl Fn(usize, usize) -> f64,
        how: &Preparation,
    ) -> Result<Self> {
        let [samples, _] = x.size(op)?;
        let weights = Weights::new(check_weights(op, how.weights.as_ref(), samples)?);
        let y_means: Vec<f64> = (0..outputs)
            .map(|c| weights.mean(|n| target(n, c)))
            .collect();
        let moments = x.moments(op, &weights, how.standardize)?;
        let y = |n: usize, c: usize| (target(n, c) - y_means[c]) * weights.root(n);
        let size = [samples, outputs];
        let data = match x.dtype() {
            DType::F64 => Data::F64(Centred::new(x.centred(&weights, &moments)?, size, y)),
            _ => Data::F32(Centred::new(x.centred(&weights, &moments)?, size, y)),
        };
        Ok(Problem {
            data,
            samples,
            outputs,
            means: [moments.means, y_means],
            scales: moments.scales,
            weights,
            is_classification: false,
        })
    }

    pub(super) fn is_classification(&self) -> bool {
        self.is_classification
    }

    /// The targets as they came, [C, N]; 0 for samples that do not count.
    pub(super) fn targets(&self) -> Vec<f64> {
        let (data, mut targets) = (self.data.wide(), vec![]);
        let centred = data.targets();
        for (mean, y) in self.means[1]
            .iter()
            .zip(centred.chunks_exact(data.stride()))
        {
            for (y, root) in y.iter().zip(&self.weights.roots) {
                targets.push(if *root > 0. { y / root + mean } else { 0. });
            }
        }
        targets
    }

    /// Whether a feature of this squared length varies: centring leaves of a constant no more than its mean's rounding.
    pub(super) fn varies(&self, feature: usize, square: f64) -> bool {
        let mean = self.means[0][feature] / self.scales[feature];
        square > (self.data.wide().centring() * mean).powi(2) * self.weights.total
    }

    /// The squared lengths of the features; 0 of constant ones.
    pub(super) fn squared_lengths(&self) -> Result<Vec<f64>> {
        let squares = self.data.wide().lengths()?.into_iter().map(|l| l * l);
        let squares = squares.enumerate();
        Ok(squares
            .map(|(i, s)| if self.varies(i, s) { s } else { 0. })
            .collect())
    }

    /// A solution's rows and bias for the data as they came, from those of centred features.
    pub(super) fn as_came(
        &self,
        support: &[usize],
        rows: &[Vec<f64>],
        bias: &[f64],
    ) -> (Vec<Vec<f64>>, Vec<f64>) {
        let scaled = |(i, row): (&usize, &Vec<f64>)| -> Vec<f64> {
            row.iter().map(|w| w / self.scales[*i]).collect()
        };
        let rows: Vec<Vec<f64>> = support.iter().zip(rows).map(scaled).collect();
        let mut bias = bias.to_vec();
        for (i, row) in support.iter().zip(&rows) {
            for (b, w) in bias.iter_mut().zip(row) {
                *b -= w * self.means[0][*i];
            }
        }
        (rows, bias)
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The number of features.
    pub fn features(&self) -> usize {
        self.scales.len()
    }

    /// The number of classes, or of targets.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}
