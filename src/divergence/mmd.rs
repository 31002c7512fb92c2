//! The maximum mean discrepancy between samples.

use super::points;
use crate::check;
use crate::error::Result;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::kernels::reduce;
use crate::shape;
use candle_core::Tensor;

/// A positive definite kernel: of the squared distance, as a sum over several widths, or of the inner product.
#[derive(Debug, Clone, PartialEq)]
pub enum MmdKernel {
    /// `sum_b e^(-|x - y|^2 / (2 b^2))` over bandwidths b.
    Rbf(Vec<f64>),
    /// `sum_c c / (c + |x - y|^2)` over scales c: heavier tails, so that far points still have a slope.
    InverseMultiquadratic(Vec<f64>),
    /// `(1 + x.y / d)^degree` in d dimensions. The unbiased statistic of degree 3 is the kernel Inception distance, KID, of
    /// features of an Inception network; features in double precision keep its digits. Source: Bińkowski, Sutherland, Arbel
    /// and Gretton (2018), Demystifying MMD GANs, section 4.
    Polynomial(u32),
}

impl MmdKernel {
    /// Inverse multiquadratics for codes of `dims` dimensions under N(0, I): scales of 0.1, 0.2, 0.5, 1, 2, 5 and 10 times the
    /// expected squared distance `2 dims`.
    ///
    /// Source: Tolstikhin et al. (2018), Wasserstein auto-encoders, section 4, and the authors' code for the seven scales.
    pub fn for_codes(dims: usize) -> Self {
        let scales = [0.1, 0.2, 0.5, 1., 2., 5., 10.];
        MmdKernel::InverseMultiquadratic(scales.map(|c| c * 2. * dims as f64).to_vec())
    }

    fn check(&self, op: &'static str) -> Result<()> {
        let widths = match self {
            MmdKernel::Rbf(widths) | MmdKernel::InverseMultiquadratic(widths) => widths,
            MmdKernel::Polynomial(degree) => {
                return check::at_least(op, "kernel: degree", *degree, 1);
            }
        };
        check::at_least_one(op, &[("kernel: widths", widths.len())])?;
        let mut widths = widths.iter();
        widths.try_for_each(|width| check::positive_finite(op, "kernel: width", *width))
    }

    /// Whether moving all points together changes nothing.
    fn is_of_distances(&self) -> bool {
        !matches!(self, MmdKernel::Polynomial(_))
    }

    /// The kernel between points of d dimensions, of their squared norms `[N, 1]` and `[M]` and their products `[N, M]`.
    fn at(
        &self,
        op: &'static str,
        d: usize,
        norms: [&Tensor; 2],
        products: &Tensor,
    ) -> Result<Tensor> {
        let squared = || norms[0].broadcast_add(norms[1])? - (products * 2.)?;
        let sum = |widths: &[f64], one: &dyn Fn(f64) -> Result<Tensor>| -> Result<Tensor> {
            let mut sum = one(widths[0])?;
            for width in &widths[1..] {
                sum = (sum + one(*width)?)?;
            }
            Ok(sum)
        };
        match self {
            MmdKernel::Rbf(widths) => {
                let squared = squared()?;
                let rate = |width: f64| 0.5 / (width * width);
                sum(widths, &|width| named(op, Rbf(rate(width)), [&squared]))
            }
            MmdKernel::InverseMultiquadratic(widths) => {
                let squared = squared()?;
                sum(widths, &|width| named(op, Imq(width), [&squared]))
            }
            MmdKernel::Polynomial(degree) => named(op, Power(*degree, 1. / d as f64), [products]),
        }
    }

    /// The sum of the kernel of each point with itself.
    fn of_selves(&self, op: &'static str, points: &Tensor) -> Result<Tensor> {
        let (n, d) = points.dims2()?;
        match self {
            MmdKernel::Rbf(widths) | MmdKernel::InverseMultiquadratic(widths) => {
                // Each width's is 1.
                let sum = Tensor::new((n * widths.len()) as f64, points.device())?;
                Ok(sum.to_dtype(points.dtype())?)
            }
            MmdKernel::Polynomial(degree) => {
                let norms = points.sqr()?.sum(1)?;
                reduce::sum(&named(op, Power(*degree, 1. / d as f64), [&norms])?)
            }
        }
    }
}

/// What is made of a sample's kernel values with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MmdStatistic {
    /// Without those of a point with itself: unbiased, and as often below 0 as above where both laws are equal.
    #[default]
    Unbiased,
    /// With them: the squared distance of the mean embeddings of the two samples, never below 0 and biased upwards.
    Biased,
}

/// The squared maximum mean discrepancy, `MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y')`, from samples of both laws.
///
/// Formula: `sum_{i != j} k(x_i, x_j) / (N (N - 1)) + sum_{i != j} k(y_i, y_j) / (M (M - 1)) - 2 sum_ij k(x_i, y_j) / (N M)`;
/// biased: the first two sums over all i and j, divided by `N^2` and `M^2`.
///
/// Shapes: `x` of shape `[N, d]` and `y` of shape `[M, d]` to a scalar. Units: those of the kernel, none. Gradients: to both.
///
/// Errors: fewer than two points (unbiased) or one (biased) on a side; points that do not fit; a kernel without widths, with
/// one that is not positive and finite, or of degree 0.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::divergence::{MmdKernel, MmdStatistic, mmd_squared};
/// # fn main() -> candle_prob::Result<()> {
/// let mut draw = |n: usize| Rng::new(n as u64).normal((n, 2), DType::F64, &Device::Cpu);
/// let (x, y) = (draw(400)?, draw(300)?);
/// let kernel = MmdKernel::Rbf(vec![1.]);
/// let of = |y| mmd_squared(&x, y, &kernel, MmdStatistic::Unbiased)?.to_scalar::<f64>().map_err(candle_prob::Error::from);
/// assert!(of(&y)?.abs() < 0.01);
/// assert!(of(&(&y + 1.)?)? > 0.1);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: squared distances are `|x|^2 + |y|^2 - 2 x.y` around the mean of x, by matrix products. (Inner products, of the
/// polynomial kernel, are those of the points as they are.) Without gradients no more
/// than about a million of them are in memory at once; gradients keep all.
///
/// Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012), A kernel two-sample test, eq. 3 and 5; sums of kernels: Li,
/// Swersky and Zemel (2015), Generative moment matching networks, section 2.1.
pub fn mmd_squared(
    x: &Tensor,
    y: &Tensor,
    kernel: &MmdKernel,
    statistic: MmdStatistic,
) -> Result<Tensor> {
    squared("divergence::mmd_squared", x, y, kernel, statistic)
}

/// [`mmd_squared`] under the name of `op`.
fn squared(
    op: &'static str,
    x: &Tensor,
    y: &Tensor,
    kernel: &MmdKernel,
    statistic: MmdStatistic,
) -> Result<Tensor> {
    kernel.check(op)?;
    let least = match statistic {
        MmdStatistic::Unbiased => 2,
        MmdStatistic::Biased => 1,
    };
    let [n, m, _] = points::both(op, [("x", x), ("y", y)], least)?;
    shape::same_kind(op, "y", y, x)?;
    let (mut x, mut y) = (x.clone(), y.clone());
    if kernel.is_of_distances() {
        let centre = x.detach().mean_keepdim(0)?;
        (x, y) = (x.broadcast_sub(&centre)?, y.broadcast_sub(&centre)?);
    }
    let within = |points: &Tensor, n: usize| -> Result<Tensor> {
        let others = pairs(op, kernel, points, points, true)?;
        let n = n as f64;
        Ok(match statistic {
            MmdStatistic::Unbiased => (others / (n * (n - 1.)))?,
            MmdStatistic::Biased => ((others + kernel.of_selves(op, points)?)? / (n * n))?,
        })
    };
    let between = (pairs(op, kernel, &x, &y, false)? / (n as f64 * m as f64))?;
    Ok(((within(&x, n)? + within(&y, m)?)? - (between * 2.)?)?)
}

/// Squared distances in memory at once, where no gradient keeps them.
const BLOCK: usize = 1 << 20;

/// The sum of the kernel over pairs of rows; without those of equal numbers if `others`.
fn pairs(
    op: &'static str,
    kernel: &MmdKernel,
    x: &Tensor,
    y: &Tensor,
    others: bool,
) -> Result<Tensor> {
    let (n, m) = (x.dim(0)?, y.dim(0)?);
    let rows = (BLOCK / m).clamp(1, n);
    let (columns, norms) = (y.t()?, y.sqr()?.sum(1)?);
    let mut total: Option<Tensor> = None;
    for start in (0..n).step_by(rows) {
        let rows = rows.min(n - start);
        let block = x.narrow(0, start, rows)?;
        let of_block = block.sqr()?.sum_keepdim(1)?;
        let products = block.matmul(&columns)?;
        let mut values = kernel.at(op, block.dim(1)?, [&of_block, &norms], &products)?;
        if others {
            // Those left out may be infinite.
            let mask = (0..rows * m).map(|at| u8::from(at % m != start + at / m));
            let mask = Tensor::from_iter(mask, x.device())?.reshape((rows, m))?;
            values = mask.where_cond(&values, &values.zeros_like()?.detach())?;
        }
        let sum = reduce::sum(&values.flatten_all()?)?;
        total = Some(match total {
            Some(total) => (total + sum)?,
            None => sum,
        });
    }
    // Without rows there would be no sum, and there are some.
    total.map_or_else(|| Ok(Tensor::zeros((), x.dtype(), x.device())?), Ok)
}

/// Distances of equal points may round below 0.
fn distance<R: Real>(squared: R) -> R {
    if squared.value() < 0. {
        R::constant(0.)
    } else {
        squared
    }
}

/// `e^(-rate s)`.
#[derive(Clone, Copy)]
struct Rbf(f64);

impl Formula<1> for Rbf {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [s]: [R; 1]) -> R {
        (distance(s) * -self.0).exp()
    }
}

/// `c / (c + s)`.
#[derive(Clone, Copy)]
struct Imq(f64);

impl Formula<1> for Imq {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [s]: [R; 1]) -> R {
        (distance(s) + self.0).recip() * self.0
    }
}

/// `(1 + scale p)^degree`.
#[derive(Clone, Copy)]
struct Power(u32, f64);

impl Formula<1> for Power {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p]: [R; 1]) -> R {
        let base = p * self.1 + 1.;
        let mut power = base;
        for _ in 1..self.0 {
            power = power * base;
        }
        power
    }
}

/// The median distance between different points: a bandwidth for [`MmdKernel::Rbf`].
///
/// Shapes: points `[N, d]`, those of both samples together. The memory is that of `N (N - 1) / 2` numbers: a thousand points
/// or so are enough.
///
/// Errors: fewer than two points, no coordinates, or numbers that are not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_prob::Result<()> {
/// let points = Tensor::new(&[[0f32], [1.], [5.]], &Device::Cpu)?;
/// assert_eq!(candle_prob::divergence::median_distance(&points)?, 4.);
/// # Ok(())
/// # }
/// ```
///
/// Source: Gretton et al. (2012), A kernel two-sample test, section 8.
pub fn median_distance(points: &Tensor) -> Result<f64> {
    let op = "divergence::median_distance";
    let [_, d] = points::sizes(op, "points", points, 2)?;
    let numbers = points::numbers(op, "points", points)?;
    let rows: Vec<&[f64]> = numbers.chunks_exact(d).collect();
    let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    let pairs = rows.iter().enumerate().flat_map(|(i, a)| {
        let others = rows[..i].iter();
        others.map(move |b| squared(a, b))
    });
    let mut distances: Vec<f64> = pairs.collect();
    let (middle, odd) = (distances.len() / 2, distances.len() % 2 == 1);
    let (lower, upper, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return Ok(upper.sqrt());
    }
    // Of an even number the mean of the two in the middle.
    let lower = lower.iter().copied().fold(0., f64::max);
    Ok((lower.sqrt() + upper.sqrt()) / 2.)
}
