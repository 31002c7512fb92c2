//! The Renyi divergence in closed form.

use crate::check;
use crate::distribution::{
    Dirichlet, Distribution, Independent, Kl, MultivariateNormal, MultivariateNormalDiag, Normal,
    common_batch,
};
use crate::error::Result;
use crate::kernels::elementwise::composed::double;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::linear::triangular::{cholesky, solve};
use crate::kernels::number::Real;
use crate::kernels::reduce;
use crate::shape;
use crate::special::lgamma;
use candle_core::{D, DType, Tensor};

/// The Renyi divergence of order a, `D_a(P || Q) = ln(integral of p^a q^(1-a)) / (a - 1)`; KL at a = 1.
///
/// It does not decrease in a, and is infinite where the integral is.
///
/// Shapes: the batch shapes, broadcast. Units: nats. Gradients: to the parameters of both, first derivatives only.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{distribution::Normal, divergence::Renyi};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let p = Normal::new(&number(0.)?, &number(1.)?)?;
/// let q = Normal::new(&number(2.)?, &number(1.)?)?;
/// assert!((p.renyi(&q, 0.25)?.to_scalar::<f64>()? - 0.5).abs() < 1e-15);
/// assert!((p.bhattacharyya(&q)?.to_scalar::<f64>()? - 0.5).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: van Erven and Harremoes (2014), Renyi Divergence and Kullback-Leibler Divergence; closed forms: Gil, Alajaji
/// and Linder (2013), tables 2 and 3.
pub trait Renyi<Q: ?Sized = Self>: Distribution {
    /// D_order(self || other).
    ///
    /// Errors: an order that is not positive and finite; shapes, dtypes or devices that do not fit.
    fn renyi(&self, other: &Q, order: f64) -> Result<Tensor>;

    /// The Bhattacharyya distance `-ln(integral of sqrt(p q))`: half of the divergence of order 1/2.
    fn bhattacharyya(&self, other: &Q) -> Result<Tensor> {
        Ok((self.renyi(other, 0.5)? * 0.5)?)
    }

    /// The squared Hellinger distance `integral of (sqrt(p) - sqrt(q))^2`, between 0 and 2.
    fn squared_hellinger(&self, other: &Q) -> Result<Tensor> {
        let distance = self.bhattacharyya(other)?;
        Ok((crate::special::expm1(&distance.neg()?)? * -2.)?)
    }
}

/// Refuses events that differ and batches that do not broadcast.
fn check_shapes<P: Distribution, Q: Distribution>(op: &'static str, p: &P, q: &Q) -> Result<()> {
    common_batch(op, p, "other", q).map(|_| ())
}

/// With rho = variance_p / variance_q and `w = 1 + (1-a) (rho - 1)`, the variance of `p^a q^(1-a)` inverted in units of
/// q's: `(ln(w) / (1-a) - ln(rho)) / 2 + a (loc_p - loc_q)^2 / (2 w variance_q)`.
#[derive(Clone, Copy)]
struct Gaussian {
    order: f64,
}

impl Formula<4> for Gaussian {
    #[inline(always)]
    fn at<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let rest = 1. - self.order;
        let ratio = scale / to;
        // rho - 1, as a product that keeps the digits of near-equal scales.
        let excess = (ratio + 1.) * ((scale - to) / to);
        let width = excess * rest;
        if width.value() <= -1. {
            return R::constant(f64::INFINITY);
        }
        let spread = if rest == 0. {
            excess
        } else {
            width.ln_1p() / rest
        };
        let t = (loc - other) / to;
        (spread * 0.5 - ratio.ln()) + t.square() / (width + 1.) * (0.5 * self.order)
    }
}

/// Elementwise, of tensors that broadcast.
fn gaussian(op: &'static str, order: f64, p: [&Tensor; 2], q: [&Tensor; 2]) -> Result<Tensor> {
    named(op, Gaussian { order }, [p[0], p[1], q[0], q[1]])
}

impl Renyi for Normal {
    fn renyi(&self, other: &Normal, order: f64) -> Result<Tensor> {
        let op = "Normal::renyi";
        check::positive_finite(op, "order", order)?;
        check_shapes(op, self, other)?;
        shape::same_kind(op, "other", other.loc(), self.loc())?;
        let (p, q) = (self.scale()?, other.scale()?);
        gaussian(op, order, [self.loc(), &p], [other.loc(), &q])
    }
}

impl Renyi for MultivariateNormalDiag {
    fn renyi(&self, other: &Self, order: f64) -> Result<Tensor> {
        let op = "MultivariateNormalDiag::renyi";
        check::positive_finite(op, "order", order)?;
        check_shapes(op, self, other)?;
        shape::same_kind(op, "other", other.loc(), self.loc())?;
        let (p, q) = (self.scale()?, other.scale()?);
        reduce::sum(&gaussian(op, order, [self.loc(), &p], [other.loc(), &q])?)
    }
}

/// The batch of `from` expanded to `batch`, one matrix of d columns each, in double precision.
fn rows(from: &Tensor, batch: &[usize], event: &[usize]) -> Result<Tensor> {
    let full = from.broadcast_as([batch, event].concat())?;
    let count: usize = batch.iter().product();
    let rows: usize = event[1..].iter().product();
    Ok(double(&full)?.reshape((count, rows, event[0]))?)
}

/// `sum_i ln m_ii` of every matrix.
fn log_diagonal(m: &Tensor) -> Result<Tensor> {
    let eye = Tensor::eye(m.dim(D::Minus1)?, m.dtype(), m.device())?;
    Ok(m.broadcast_mul(&eye)?
        .sum(D::Minus1)?
        .log()?
        .sum(D::Minus1)?)
}

impl Renyi for MultivariateNormal {
    /// `a |C^-1 y|^2 / 2 + ln det C / (1-a) - ln det M`, for the Cholesky factors L of the covariances,
    /// `M = L_q^-1 L_p`, `y = L_q^-1 (loc_p - loc_q)` and `C C' = I + (1-a) (M M' - I)`: the covariance
    /// `(1-a) S_p + a S_q`, seen from q. Infinite where that is not positive definite.
    ///
    /// In double precision inside; next to order 1, which is KL, `1 / |1-a|` times its rounding is seen.
    fn renyi(&self, other: &Self, order: f64) -> Result<Tensor> {
        let op = "MultivariateNormal::renyi";
        check::positive_finite(op, "order", order)?;
        check_shapes(op, self, other)?;
        let (from, to) = (self.loc(), other.loc());
        shape::same_kind(op, "other", to, from)?;
        if order == 1. {
            return self.kl(other);
        }
        let batch = shape::broadcast(self.batch_shape(), other.batch_shape()).unwrap_or_default();
        let d = self.event_shape()[0];
        let root = rows(&self.scale_tril()?, &batch, &[d, d])?;
        let whole = rows(&other.scale_tril()?, &batch, &[d, d])?;
        let gap = (rows(from, &batch, &[d])? - rows(to, &batch, &[d])?)?;
        // The columns of M as rows.
        let ratio = solve(&whole, &root.t()?.contiguous()?)?;
        let eye = Tensor::eye(d, ratio.dtype(), ratio.device())?;
        let excess = (ratio.t()?.contiguous()?.matmul(&ratio)?).broadcast_sub(&eye)?;
        let mixed = (excess * (1. - order))?.broadcast_add(&eye)?;
        let inside = log_diagonal(&cholesky(&mixed.detach())?)?
            .abs()?
            .lt(f64::INFINITY)?;
        // Where it is infinite nothing is computed, so that no gradient comes from there.
        let safe = inside.reshape(((), 1, 1))?.broadcast_as(mixed.shape())?;
        let factor = cholesky(&safe.where_cond(&mixed, &eye.broadcast_as(mixed.shape())?)?)?;
        let distance = solve(&factor, &solve(&whole, &gap)?)?.sqr()?.sum((1, 2))?;
        let volume = (log_diagonal(&factor)? / (1. - order))?;
        let own = (log_diagonal(&root)? - log_diagonal(&whole)?)?;
        let divergence = (((distance * (0.5 * order))? + volume)? - own)?;
        // NaN stays.
        let nan = mixed.detach().sum((1, 2))?;
        let outside = (nan.affine(0., f64::INFINITY))?;
        let divergence = inside.where_cond(&divergence, &outside)?;
        Ok(divergence.to_dtype(from.dtype())?.reshape(batch)?)
    }
}

impl<P: Renyi<Q>, Q: Distribution> Renyi<Independent<Q>> for Independent<P> {
    fn renyi(&self, other: &Independent<Q>, order: f64) -> Result<Tensor> {
        check_shapes("Independent::renyi", self, other)?;
        let moved = self.base().batch_shape().len() - self.batch_shape().len();
        let mut total = self.base().renyi(other.base(), order)?;
        for _ in 0..moved {
            total = reduce::sum(&total)?;
        }
        Ok(total)
    }
}

/// ln B(a), the norm of a Dirichlet density; wide.
fn log_norm(a: &Tensor) -> Result<Tensor> {
    Ok((lgamma(a)?.sum(D::Minus1)? - lgamma(&a.sum(D::Minus1)?)?)?)
}

impl Renyi for Dirichlet {
    /// `(ln B(a P + (1-a) Q) - a ln B(P) - (1-a) ln B(Q)) / (a - 1)`, infinite where an element of the mixed
    /// concentration is not positive; in double precision inside.
    fn renyi(&self, other: &Dirichlet, order: f64) -> Result<Tensor> {
        let op = "Dirichlet::renyi";
        check::positive_finite(op, "order", order)?;
        check_shapes(op, self, other)?;
        shape::same_kind(op, "other", other.concentration(), self.concentration())?;
        if order == 1. {
            return self.kl(other);
        }
        let (p, q) = (
            double(self.concentration())?,
            double(other.concentration())?,
        );
        let mixed = (&p * order)?.broadcast_add(&(&q * (1. - order))?)?;
        let none = mixed.le(0.)?.to_dtype(DType::F32)?.sum(D::Minus1)?;
        let inside = none.eq(0.)?;
        // Where it is infinite nothing is computed, so that no gradient comes from there.
        let safe = inside.unsqueeze(D::Minus1)?.broadcast_as(mixed.shape())?;
        let mixed = safe.where_cond(&mixed, &mixed.ones_like()?)?;
        let norms = (log_norm(&p)? * order)?.broadcast_add(&(log_norm(&q)? * (1. - order))?)?;
        let divergence = ((log_norm(&mixed)? - norms)? / (order - 1.))?;
        let infinite = (divergence.zeros_like()? + f64::INFINITY)?;
        let divergence = inside.where_cond(&divergence, &infinite)?;
        Ok(divergence.to_dtype(self.concentration().dtype())?)
    }
}
