//! The Wasserstein distance between samples, direction by direction.

use super::estimate::Estimate;
use super::points;
use crate::check;
use crate::error::Result;
use crate::kernels::elementwise::{Formula, named, named_sum};
use crate::kernels::number::Real;
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// What [`sliced_wasserstein`] found along each direction.
#[derive(Debug, Clone)]
pub struct SlicedWasserstein {
    /// `W_p^p` between the projections on each direction, `[directions]`, in the points' dtype, whose range a power may leave:
    /// the [`distance`](SlicedWasserstein::distance) of such points is finite all the same.
    pub powers: Tensor,
    /// In f64.
    exact: Tensor,
    order: f64,
}

impl SlicedWasserstein {
    /// The mean of [`powers`](SlicedWasserstein::powers), added in double precision: `SW_p^p`, unbiased over directions.
    pub fn power(&self) -> Result<Estimate> {
        Estimate::of(&self.exact)?.into_dtype(self.powers.dtype())
    }

    /// `SW_p`, the p-th root of [`power`](SlicedWasserstein::power), and its standard error to first order. Its slope at 0, a
    /// kink, is taken as 0.
    pub fn distance(&self) -> Result<Estimate> {
        let power = Estimate::of(&self.exact)?;
        let (mean, op) = (power.mean, "SlicedWasserstein::distance");
        let spread = [&mean.detach(), &power.standard_error];
        let distance = Estimate {
            standard_error: named(op, RootError(self.order), spread)?,
            mean: named(op, Root(self.order), [&mean])?,
            samples: power.samples,
        };
        distance.into_dtype(self.powers.dtype())
    }
}

/// The sliced Wasserstein distance of order p: the Wasserstein distance of the points' projections on a line, in the mean over
/// all directions of the line.
///
/// Formula: `SW_p^p = E_u W_p^p(u.x, u.y)` with u uniform on the unit sphere, estimated from as many draws of u as there are
/// `directions`. On a line `W_p^p = int_0^1 |F^-1(t) - G^-1(t)|^p dt` with the quantile functions of both samples: sorted
/// projections, each with its share of the mass, so that the samples may differ in number.
///
/// Shapes: `x` of shape `[N, d]`, `y` of shape `[M, d]`. Units: those of the coordinates, to the power p. Gradients: to both,
/// with the order of the projections held fixed, which is where they are exact.
///
/// Errors: no points; points that do not fit; fewer than two directions (there would be no standard error); an order that is
/// not finite or below 1.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::{Rng, divergence::sliced_wasserstein};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let x = rng.normal((500, 2), DType::F64, &Device::Cpu)?;
/// // A shift by s moves each projection by u.s: in two dimensions |s|^2 / 2 in the mean.
/// let found = sliced_wasserstein(&x, &(&x + 3.)?, 400, 2., &mut rng)?.power()?;
/// let error = found.standard_error.to_scalar::<f64>()?;
/// assert!((found.mean.to_scalar::<f64>()? - 9.).abs() < 4. * error);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside. About a million projections are in memory at once; gradients keep all. The standard
/// error is that of the directions; that the points are a sample is not in it.
///
/// Source: Bonneel, Rabin, Peyré and Pfister (2015), Sliced and Radon Wasserstein barycenters of measures, section 3.
pub fn sliced_wasserstein(
    x: &Tensor,
    y: &Tensor,
    directions: usize,
    order: f64,
    rng: &mut Rng,
) -> Result<SlicedWasserstein> {
    let op = "divergence::sliced_wasserstein";
    let [n, m, d] = points::both(op, [("x", x), ("y", y)], 1)?;
    shape::same_kind(op, "y", y, x)?;
    check::at_least(op, "directions", directions, 2)?;
    check::finite_at_least(op, "order", order, 1.)?;
    let axes = rng.normal((directions, d), DType::F64, x.device())?;
    let axes = axes.broadcast_div(&axes.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    let [columns_x, columns_y] = [x, y].map(|x| x.to_dtype(DType::F64)?.t());
    let (columns_x, columns_y) = (columns_x?, columns_y?);
    let (of_x, of_y, shares) = segments(n, m);
    let shares = Tensor::new(shares, x.device())?;
    let mut powers = vec![];
    let block = (BLOCK / (n + m)).max(1);
    for start in (0..directions).step_by(block) {
        let axes = axes.narrow(0, start, block.min(directions - start))?;
        let a = quantiles(&axes.matmul(&columns_x)?, &of_x)?;
        let b = quantiles(&axes.matmul(&columns_y)?, &of_y)?;
        powers.push(named_sum(op, Cost(order), [&a, &b, &shares])?);
    }
    let exact = Tensor::cat(&powers, 0)?;
    Ok(SlicedWasserstein {
        powers: exact.to_dtype(x.dtype())?,
        exact,
        order,
    })
}

/// Projections in memory at once.
const BLOCK: usize = 1 << 20;

/// The pieces of `[0, 1]` on which both quantile functions are constant: the ranks that they have there, and their lengths.
fn segments(n: usize, m: usize) -> (Vec<usize>, Vec<usize>, Vec<f64>) {
    let (mut of_x, mut of_y, mut shares) = (vec![], vec![], vec![]);
    let (mut i, mut j, mut from) = (0, 0, 0);
    while i < n && j < m {
        // In units of 1 / (n m).
        let (end_x, end_y) = ((i + 1) * m, (j + 1) * n);
        let to = end_x.min(end_y);
        of_x.push(i);
        of_y.push(j);
        shares.push((to - from) as f64 / n as f64 / m as f64);
        from = to;
        i += usize::from(end_x == to);
        j += usize::from(end_y == to);
    }
    (of_x, of_y, shares)
}

/// Of each row the numbers of these ranks.
fn quantiles(rows: &Tensor, ranks: &[usize]) -> Result<Tensor> {
    let values = rows.detach().to_device(&Device::Cpu)?.to_vec2::<f64>()?;
    let mut index = Vec::with_capacity(values.len() * ranks.len());
    let mut order: Vec<u32> = vec![];
    for row in &values {
        order.clear();
        order.extend(0..row.len() as u32);
        order.sort_unstable_by(|a, b| row[*a as usize].total_cmp(&row[*b as usize]));
        index.extend(ranks.iter().map(|rank| order[*rank]));
    }
    let index = Tensor::from_vec(index, (values.len(), ranks.len()), rows.device())?;
    Ok(rows.contiguous()?.gather(&index, 1)?)
}

/// `w |a - b|^p`.
#[derive(Clone, Copy)]
struct Cost(f64);

impl Formula<3> for Cost {
    #[inline(always)]
    fn at<R: Real>(self, [a, b, w]: [R; 3]) -> R {
        let gap = a - b;
        if gap.value() == 0. {
            return R::constant(0.);
        }
        w * match self.0 {
            1. => gap.abs(),
            2. => gap.square(),
            order => gap.abs().powf(R::constant(order)),
        }
    }
}

/// `x^(1/p)`.
#[derive(Clone, Copy)]
struct Root(f64);

impl Formula<1> for Root {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        if x.value() == 0. {
            return R::constant(0.);
        }
        x.powf(R::constant(1. / self.0))
    }
}

/// The slope of [`Root`] times the standard error of x.
#[derive(Clone, Copy)]
struct RootError(f64);

impl Formula<2> for RootError {
    #[inline(always)]
    fn at<R: Real>(self, [x, error]: [R; 2]) -> R {
        if error.value() == 0. {
            return R::constant(0.);
        }
        let inverse = 1. / self.0;
        x.powf(R::constant(inverse - 1.)) * error * inverse
    }
}
