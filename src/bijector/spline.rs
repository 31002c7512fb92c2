//! Monotone rational-quadratic splines.

use super::Bijector;
use crate::error::{Error, Result};
use crate::kernels::spline::{Spline, spline};
use crate::shape;
use candle_core::Tensor;

/// A monotone rational-quadratic spline of each element, between linear tails.
///
/// Formula: the interval +-bound is cut into K bins, of widths `2 bound (1e-3 + (1 - 1e-3 K) softmax(raw))` and heights
/// likewise; the slopes at the inner knots are `1e-3 + softplus(raw + c)`, with c such that raw zeros give 1, and 1 at the
/// ends. On a bin, with secant s, slopes d0 and d1, p the share of its width passed and q = 1 - p, y rises by the share
/// `(s p^2 + d0 p q) / (s + (d0 + d1 - 2 s) p q)` of its height. Beyond +-bound y = x. Raw zeros give the identity.
///
/// Shapes: `raw` is [.., 3K - 1] as networks give it: widths, heights, inner slopes; its leading dims broadcast to the shape
/// of the argument. Both directions cost the same.
///
/// Gradients: to the argument and to `raw`, in both directions; first derivatives only. Value, log-det and all gradients are
/// one node.
///
/// Errors: `raw` that is not floating point, or whose last dim is not 3K - 1 for some K from 2 to 999; a bound that is not
/// positive and finite; an argument of another dtype or device, or to whose shape `raw` does not broadcast.
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
    bound: f64,
}

impl RationalQuadraticSpline {
    /// From raw parameters and the end of the interval.
    pub fn new(raw: &Tensor, bound: f64) -> Result<Self> {
        let op = "RationalQuadraticSpline::new";
        shape::float(op, "raw", raw)?;
        let width = raw.dims().last().copied().unwrap_or(0);
        let bins = (width + 1) / 3;
        if !(2..1000).contains(&bins) || width != Self::parameters(bins) {
            let expected = "[.., 3K - 1] for K from 2 to 999 bins";
            return Err(Error::shape(op, "raw", expected, raw.dims()));
        }
        check_bound(op, bound)?;
        Ok(RationalQuadraticSpline {
            raw: raw.clone(),
            bins,
            bound,
        })
    }

    /// How many raw numbers make a spline of so many bins: 3K - 1.
    pub fn parameters(bins: usize) -> usize {
        Spline::parameters(bins)
    }

    /// The number of bins.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The end of the interval.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    fn apply(&self, op: &'static str, inverse: bool, x: &Tensor) -> Result<(Tensor, Tensor)> {
        shape::same_kind(op, "argument", x, &self.raw)?;
        let [batch @ .., width] = self.raw.dims() else {
            return Err(Error::shape(op, "raw", "[.., 3K - 1]", self.raw.dims()));
        };
        if shape::broadcast(x.dims(), batch).as_deref() != Some(x.dims()) {
            let expected = format!("a shape to which {batch:?} broadcasts");
            return Err(Error::shape(op, "argument", expected, x.dims()));
        }
        let raw = self.raw.broadcast_as([x.dims(), &[*width]].concat())?;
        let (bins, bound) = (self.bins, self.bound);
        let kind = Spline {
            bins,
            bound,
            inverse,
        };
        spline(x, &raw, kind)
    }
}

/// Refuses an interval that has no ends.
fn check_bound(op: &'static str, bound: f64) -> Result<()> {
    if bound > 0. && bound.is_finite() {
        return Ok(());
    }
    let expected = "a positive finite number";
    Err(Error::value(op, "bound", expected, bound))
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
