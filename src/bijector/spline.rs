//! Monotone rational-quadratic splines.

use super::Bijector;
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::elementwise::spline::{Spline, spline};
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// What a [`RationalQuadraticSpline`] is beyond its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tails {
    /// The identity; the slopes at the ends are 1.
    Linear,
    /// Nothing: a number beyond is an error. The slopes at the ends are parameters like those between.
    None,
}

/// An elementwise monotone rational-quadratic spline, between linear tails or without tails.
///
/// Formula: the interval +-bound is cut into K bins, of widths `2 bound (1e-3 + (1 - 1e-3 K) softmax(raw))` and heights
/// likewise; the slopes at the inner knots are `1e-3 + softplus(raw + c)`, with c such that raw zeros give 1, and 1 at the
/// ends. On a bin, with secant s, slopes d0 and d1, p the share of its width passed and q = 1 - p, y rises by the share
/// `(s p^2 + d0 p q) / (s + (d0 + d1 - 2 s) p q)` of its height. Beyond +-bound y = x. Raw zeros give the identity.
///
/// From [`between`](RationalQuadraticSpline::between) the interval has any ends, and without tails, for data that has ends too,
/// the slopes at the ends are raw numbers like those between.
///
/// Shapes: `raw` is [.., 3K - 1], without tails [.., 3K + 1], as networks give it: widths, heights, slopes; its leading
/// dims broadcast to the shape of the argument. Both directions cost the same.
///
/// Gradients: to the argument and to `raw`, in both directions; first derivatives only. Value, log-det and all gradients are
/// one node.
///
/// Errors: `raw` that is not floating point, or whose last dim is not that for some K from 2 to 999; a bound that is not
/// positive and finite, ends that are not finite and in order; without tails a number beyond the ends, NaN among them; an
/// argument of another dtype or device, or to whose shape `raw` does not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, RationalQuadraticSpline};
/// # fn main() -> candle_prob::Result<()> {
/// // Four bins, the first of them wide.
/// let raw = Tensor::new(&[2f64, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.], &Device::Cpu)?;
/// let spline = RationalQuadraticSpline::new(&raw, 5.)?;
/// let x = Tensor::new(&[-6f64, 0., 4.], &Device::Cpu)?;
/// let y = spline.transform(&x)?;
/// assert_eq!(y.to_vec1::<f64>()?[0], -6.);
/// let back = spline.inverse(&y)?.to_vec1::<f64>()?;
/// assert!((back[1] - 0.).abs() < 1e-12 && (back[2] - 4.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: f64 inside, also for f32 tensors. All sums in the formulas used, those of the inverse's root included, are of
/// positive numbers, so no discriminant is ever negative. Slopes lie between about 1e-8 and 1e4: where it is flat, the inverse
/// has fewer digits than its argument.
///
/// Source: Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3.1, equations 4 to 8; Gregory and
/// Delbourgo (1982).
#[derive(Debug, Clone)]
pub struct RationalQuadraticSpline {
    raw: Tensor,
    bins: usize,
    interval: [f64; 2],
    tails: Tails,
}

impl RationalQuadraticSpline {
    /// From raw parameters and the end of the interval.
    pub fn new(raw: &Tensor, bound: f64) -> Result<Self> {
        let op = "RationalQuadraticSpline::new";
        check::positive_finite(op, "bound", bound)?;
        Self::checked(op, raw, [-bound, bound], Tails::Linear)
    }

    /// From raw parameters, the ends of the interval, and what is beyond.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::bijector::{Bijector, RationalQuadraticSpline, Tails};
    /// # fn main() -> candle_prob::Result<()> {
    /// // Two bins: slopes at the ends and between them.
    /// let raw = Tensor::new(&[1f64, 0., 0., 1., 0., 0., 2.], &Device::Cpu)?;
    /// let spline = RationalQuadraticSpline::between(&raw, 0., 1., Tails::None)?;
    /// let y = spline.transform(&Tensor::new(&[0f64, 0.3, 1.], &Device::Cpu)?)?;
    /// assert_eq!(y.to_vec1::<f64>()?[2], 1.);
    /// assert!(spline.transform(&Tensor::new(&[1.1], &Device::Cpu)?).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn between(raw: &Tensor, low: f64, high: f64, tails: Tails) -> Result<Self> {
        let op = "RationalQuadraticSpline::between";
        if !(low < high && (high - low).is_finite()) {
            let found = format!("[{low}, {high}]");
            return Err(Error::value(
                op,
                "interval",
                "finite ends, low < high",
                found,
            ));
        }
        Self::checked(op, raw, [low, high], tails)
    }

    fn checked(op: &'static str, raw: &Tensor, ends: [f64; 2], tails: Tails) -> Result<Self> {
        shape::float(op, "raw", raw)?;
        let width = raw.dims().last().copied().unwrap_or(0);
        let (bins, rest, expected) = match tails {
            Tails::Linear => (
                width.div_ceil(3),
                2,
                "[.., 3K - 1] for K from 2 to 999 bins",
            ),
            Tails::None => (width / 3, 1, "[.., 3K + 1] for K from 2 to 999 bins"),
        };
        if !(2..1000).contains(&bins) || width % 3 != rest {
            return Err(Error::shape(op, "raw", expected, raw.dims()));
        }
        let interval = match tails {
            Tails::Linear => ends,
            // As the dtype has them, so that the ends are of the interval.
            Tails::None => {
                let ends = Tensor::new(&ends, &Device::Cpu)?.to_dtype(raw.dtype())?;
                let ends = ends.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                [ends[0], ends[1]]
            }
        };
        Ok(RationalQuadraticSpline {
            raw: raw.clone(),
            bins,
            interval,
            tails,
        })
    }

    /// How many raw numbers make a spline of so many bins with linear tails: 3K - 1. Without tails there are two more.
    pub fn parameters(bins: usize) -> usize {
        bins.saturating_mul(3).saturating_sub(1)
    }

    /// The number of bins.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The ends of the interval.
    pub fn interval(&self) -> (f64, f64) {
        (self.interval[0], self.interval[1])
    }

    /// What is beyond them.
    pub fn tails(&self) -> Tails {
        self.tails
    }

    fn apply(&self, op: &'static str, inverse: bool, x: &Tensor) -> Result<(Tensor, Tensor)> {
        shape::same_kind(op, "argument", x, &self.raw)?;
        let [batch @ .., width] = self.raw.dims() else {
            return Err(Error::shape(op, "raw", "[.., parameters]", self.raw.dims()));
        };
        shape::broadcast_from(op, "argument", x.dims(), batch)?;
        let raw = self.raw.broadcast_as([x.dims(), &[*width]].concat())?;
        let [low, high] = self.interval;
        if self.tails == Tails::None {
            let outside = first_outside(x, End::Closed(low), End::Closed(high))?;
            if let Some(found) = outside {
                let expected = format!("numbers from {low} to {high}");
                return Err(Error::value(op, "argument", expected, found));
            }
        }
        let kind = Spline {
            bins: self.bins,
            low,
            high,
            tails: self.tails == Tails::Linear,
            inverse,
        };
        spline(x, &raw, kind)
    }
}

impl Bijector for RationalQuadraticSpline {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("RationalQuadraticSpline::transform", false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("RationalQuadraticSpline::inverse", true, y)
    }
}

impl Detach for RationalQuadraticSpline {
    fn detach(&self) -> Self {
        RationalQuadraticSpline {
            raw: self.raw.detach(),
            ..self.clone()
        }
    }
}
