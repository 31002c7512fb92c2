//! The data of a selection, checked, centred and laid out by feature.

use crate::error::{Error, Result};
use crate::kernels::design::{Design, Number};
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
/// Shapes: `x` is `[N, d]`, labels `[N]` (u32, 0 to C - 1) or targets `[N, C]`. Means are taken away once; no `N x N` matrix
/// is ever formed. The data are held in their dtype, f32 or f64, once, by feature. No gradients.
///
/// Errors: an entry that is not finite, by its row and column; one class, fewer samples than classes, sizes that do not fit
/// each other; with standardization a constant feature, by its column; weights that are negative or all zero.
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
}

/// Centred data by dtype.
#[derive(Debug, Clone)]
pub(super) enum Data {
    F32(Centred<f32>),
    F64(Centred<f64>),
}

/// Features and targets without their means, each sample times the root of its weight.
#[derive(Debug, Clone)]
pub(super) struct Centred<T> {
    pub(super) x: Design<T>,
    /// `[C, stride]`, zero in the padding.
    pub(super) y: Vec<T>,
}

impl Problem {
    /// From labels 0 to C - 1.
    pub fn classification(x: &Tensor, labels: &Tensor, how: &Preparation) -> Result<Self> {
        let op = "Problem::classification";
        let samples = check_samples(op, x)?;
        if labels.dtype() != DType::U32 || labels.dims() != [samples] {
            let expected = format!("u32 labels [{samples}]");
            let found = format!("{:?} {:?}", labels.dtype(), labels.dims());
            return Err(Error::value(op, "labels", expected, found));
        }
        let labels = labels.to_vec1::<u32>()?;
        let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
        if labels.iter().all(|label| *label == labels[0]) {
            let expected = "two classes or more";
            return Err(Error::value(op, "labels", expected, "one"));
        }
        if samples < classes {
            let expected = format!("no more classes than the {samples} samples");
            return Err(Error::value(op, "labels", expected, classes));
        }
        let target = |n: usize, c: usize| f64::from(u8::from(labels[n] as usize == c));
        Self::new(op, x, classes, target, how)
    }

    /// From targets `[N, C]` of x's dtype.
    pub fn regression(x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Self> {
        let op = "Problem::regression";
        let samples = check_samples(op, x)?;
        shape::same_kind(op, "y", y, x)?;
        match y.dims() {
            [n, c] if *n == samples && *c > 0 => {}
            dims => {
                let expected = format!("[{samples}, C], C at least 1");
                return Err(Error::shape(op, "y", expected, dims));
            }
        }
        let values = y.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        check_finite(op, "y", values.iter().map(|row| row.iter().copied()))?;
        Self::new(op, x, y.dim(D::Minus1)?, |n, c| values[n][c], how)
    }

    fn new(
        op: &'static str,
        x: &Tensor,
        outputs: usize,
        target: impl Fn(usize, usize) -> f64,
        how: &Preparation,
    ) -> Result<Self> {
        let [samples, features] = [x.dim(0)?, x.dim(1)?];
        let weights = check_weights(op, how.weights.as_ref(), samples)?;
        let total: f64 = weights.iter().sum();
        let mean = |value: &dyn Fn(usize) -> f64| {
            let terms = weights.iter().enumerate().map(|(n, w)| w * value(n));
            terms.sum::<f64>() / total
        };
        let y_means: Vec<f64> = (0..outputs).map(|c| mean(&|n| target(n, c))).collect();
        let roots: Vec<f64> = weights.iter().map(|w| w.sqrt()).collect();
        let mut x_means = vec![0.; features];
        let mut scales = vec![1.; features];
        macro_rules! centred {
            ($kind:ty, $number:expr) => {{
                let rows = x.to_vec2::<$kind>()?;
                let number = $number;
                check_finite(
                    op,
                    "x",
                    rows.iter().map(|row| row.iter().map(|v| number(*v))),
                )?;
                for (i, x_mean) in x_means.iter_mut().enumerate() {
                    *x_mean = mean(&|n| number(rows[n][i]));
                    if how.standardize {
                        let square = |n: usize| (number(rows[n][i]) - *x_mean).powi(2);
                        scales[i] = mean(&square).sqrt();
                        check_scale(op, i, scales[i], *x_mean)?;
                    }
                }
                let x = Design::new(features, samples, |i, n| {
                    <$kind>::of((number(rows[n][i]) - x_means[i]) / scales[i] * roots[n])
                });
                let mut y = vec![<$kind>::default(); outputs * x.stride()];
                for c in 0..outputs {
                    for n in 0..samples {
                        y[c * x.stride() + n] = <$kind>::of((target(n, c) - y_means[c]) * roots[n]);
                    }
                }
                Centred { x, y }
            }};
        }
        let data = match x.dtype() {
            DType::F64 => Data::F64(centred!(f64, |v: f64| v)),
            _ => Data::F32(centred!(f32, |v: f32| f64::from(v))),
        };
        Ok(Problem {
            data,
            samples,
            outputs,
            means: [x_means, y_means],
            scales,
        })
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

/// Refuses all but `[N, d]` in f32 or f64.
fn check_samples(op: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims() {
        [n, d] if *n > 0 && *d > 0 => {}
        dims => return Err(Error::shape(op, "x", "[N, d], neither of them 0", dims)),
    }
    match x.dtype() {
        DType::F32 | DType::F64 => Ok(x.dim(0)?),
        other => Err(Error::value(op, "x", "f32 or f64", format!("{other:?}"))),
    }
}

/// Refuses an entry that is not finite.
fn check_finite(
    op: &'static str,
    arg: &'static str,
    rows: impl Iterator<Item = impl Iterator<Item = f64>>,
) -> Result<()> {
    for (n, row) in rows.enumerate() {
        for (i, value) in row.enumerate() {
            if !value.is_finite() {
                let found = format!("{value} in row {n}, column {i}");
                return Err(Error::value(op, arg, "finite numbers", found));
            }
        }
    }
    Ok(())
}

/// The weights as numbers, one each where there are none.
fn check_weights(op: &'static str, weights: Option<&Tensor>, samples: usize) -> Result<Vec<f64>> {
    let Some(weights) = weights else {
        return Ok(vec![1.; samples]);
    };
    shape::float(op, "weights", weights)?;
    if weights.dims() != [samples] {
        let expected = format!("[{samples}]");
        return Err(Error::shape(op, "weights", expected, weights.dims()));
    }
    let weights = weights.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let expected = "finite numbers of at least 0, not all of them 0";
    if let Some((n, w)) = weights
        .iter()
        .enumerate()
        .find(|(_, w)| !(**w >= 0. && w.is_finite()))
    {
        let found = format!("{w} at sample {n}");
        return Err(Error::value(op, "weights", expected, found));
    }
    if weights.iter().all(|w| *w == 0.) {
        return Err(Error::value(op, "weights", expected, "zeros"));
    }
    Ok(weights)
}

/// Refuses a feature without spread: it has no standard deviation to be divided by.
fn check_scale(op: &'static str, column: usize, scale: f64, mean: f64) -> Result<()> {
    if scale > 1e-12 * mean.abs() && scale > 0. {
        return Ok(());
    }
    let expected = "features that are not constant, to be standardized";
    let found = format!("{mean} in all of column {column}");
    Err(Error::value(op, "x", expected, found))
}
