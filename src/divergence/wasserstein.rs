//! The Wasserstein distance between Gaussians.

use crate::distribution::{
    Distribution, Independent, MultivariateNormal, MultivariateNormalDiag, Normal,
};
use crate::error::{Error, Result};
use crate::kernels::elementwise::composed::double;
use crate::kernels::elementwise::{Formula, named, named_sum};
use crate::kernels::linear::polar::polar;
use crate::kernels::number::Real;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{D, Tensor};

/// The Wasserstein distance of order 2: the root of the least mean squared distance between coupled draws of both.
///
/// Formula: `W^2 = |loc_p - loc_q|^2 + tr(S_p + S_q - 2 (S_q^1/2 S_p S_q^1/2)^1/2)` with the covariances S; for
/// independent elements `sum (loc_p - loc_q)^2 + (scale_p - scale_q)^2`.
///
/// Shapes: the batch shapes, broadcast. Units: those of the values. Gradients: to the parameters of both.
///
/// Errors: shapes, dtypes or devices that do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{distribution::Normal, divergence::Wasserstein2};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let p = Normal::new(&number(0.)?, &number(1.)?)?;
/// let q = Normal::new(&number(3.)?, &number(5.)?)?;
/// assert_eq!(p.wasserstein2(&q)?.to_scalar::<f64>()?, 5.);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dowson and Landau (1982), The Frechet distance between multivariate normal distributions.
pub trait Wasserstein2<Q: ?Sized = Self>: Distribution {
    /// The square of the distance, smooth everywhere.
    fn wasserstein2_squared(&self, other: &Q) -> Result<Tensor>;

    /// The distance. Its slope where both are equal, a kink, is taken as 0.
    fn wasserstein2(&self, other: &Q) -> Result<Tensor> {
        named(
            "Wasserstein2::wasserstein2",
            Root,
            [&self.wasserstein2_squared(other)?],
        )
    }
}

#[derive(Clone, Copy)]
struct Root;

impl Formula<1> for Root {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        if x.value() == 0. {
            return R::constant(0.);
        }
        x.sqrt()
    }
}

/// Of one element.
#[derive(Clone, Copy)]
struct Squared;

impl Formula<4> for Squared {
    #[inline(always)]
    fn at<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        (loc - other).square() + (scale - to).square()
    }
}

/// Refuses another dtype or device, events that differ and batches that do not broadcast.
fn check(op: &'static str, p: &Tensor, q: &Tensor, event: usize) -> Result<()> {
    shape::same_kind(op, "other", q, p)?;
    let tail = |x: &Tensor| x.dims()[x.rank().saturating_sub(event)..].to_vec();
    if tail(p) != tail(q) || shape::broadcast(p.dims(), q.dims()).is_none() {
        let expected = format!("a shape that fits {:?}", p.dims());
        return Err(Error::shape(op, "other", expected, q.dims()));
    }
    Ok(())
}

impl Wasserstein2 for Normal {
    fn wasserstein2_squared(&self, other: &Normal) -> Result<Tensor> {
        let op = "Normal::wasserstein2";
        check(op, self.loc(), other.loc(), 0)?;
        let (p, q) = (self.scale()?, other.scale()?);
        named(op, Squared, [self.loc(), &p, other.loc(), &q])
    }
}

impl Wasserstein2 for MultivariateNormalDiag {
    fn wasserstein2_squared(&self, other: &Self) -> Result<Tensor> {
        let op = "MultivariateNormalDiag::wasserstein2";
        check(op, self.loc(), other.loc(), 1)?;
        let (p, q) = (self.scale()?, other.scale()?);
        named_sum(op, Squared, [self.loc(), &p, other.loc(), &q])
    }
}

impl Wasserstein2 for MultivariateNormal {
    fn wasserstein2_squared(&self, other: &Self) -> Result<Tensor> {
        let op = "MultivariateNormal::wasserstein2";
        let (p, q) = (self.loc(), other.loc());
        check(op, p, q, 1)?;
        let (from, to) = (self.scale_tril()?, other.scale_tril()?);
        let roots = [from.contiguous()?, to.contiguous()?];
        gaussian_wasserstein2_squared([p, &roots[0]], [q, &roots[1]])
    }
}

impl Wasserstein2 for Independent<Normal> {
    fn wasserstein2_squared(&self, other: &Self) -> Result<Tensor> {
        let op = "Independent::wasserstein2";
        let (p, q) = (self.base(), other.base());
        check(op, p.loc(), q.loc(), self.event_shape().len())?;
        let mut total = p.wasserstein2_squared(q)?;
        for _ in self.event_shape() {
            total = reduce::sum(&total)?;
        }
        Ok(total)
    }
}

/// The squared Wasserstein distance of order 2 between normal distributions of vectors, from means and any square roots
/// `F` of the covariances `F F'`, such as Cholesky factors.
///
/// Formula: `|loc_p - loc_q|^2 + |F_p - F_q Q|^2` with the rotation Q nearest to `F_q' F_p`, which makes the second term
/// least: the formula of [`Wasserstein2`] without its cancellation, so that near-equal distributions keep their digits.
///
/// Shapes: means `batch ++ [D]`, factors `batch ++ [D, D]`; batches broadcast.
///
/// Gradients: to means and factors; where a factor is singular the distance may have a kink in it, and the slope is one of
/// those there.
///
/// Errors: vectors of no elements; parameters of different dtype or device, or of shapes that do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::gaussian_wasserstein2_squared;
/// # fn main() -> candle_prob::Result<()> {
/// let (zero, three) = (Tensor::new(&[0f64, 0.], &Device::Cpu)?, Tensor::new(&[3f64, 0.], &Device::Cpu)?);
/// // The same covariance from another root: what is left is the distance of the means.
/// let root = Tensor::new(&[[1f64, 0.], [0., 2.]], &Device::Cpu)?;
/// let turned = Tensor::new(&[[0f64, 1.], [2., 0.]], &Device::Cpu)?;
/// let squared = gaussian_wasserstein2_squared([&zero, &root], [&three, &turned])?;
/// assert!((squared.to_scalar::<f64>()? - 9.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside, singular values by one-sided Jacobi.
///
/// Source: Bhatia, Jain and Lim (2019), On the Bures-Wasserstein distance between positive definite matrices, theorem 1.
pub fn gaussian_wasserstein2_squared(p: [&Tensor; 2], q: [&Tensor; 2]) -> Result<Tensor> {
    let op = "divergence::gaussian_wasserstein2_squared";
    shape::broadcast_parameters(op, [("p", p[0]), ("q", q[0])])?;
    shape::broadcast_parameters(op, [("p", p[1]), ("q", q[1])])?;
    shape::same_kind(op, "p", p[1], p[0])?;
    let d = shape::vectors(op, "p", p[0])?;
    for (arg, [loc, factor]) in [("p", p), ("q", q)] {
        if !loc.dims().ends_with(&[d]) || !factor.dims().ends_with(&[d, d]) {
            let expected = format!("batch ++ [{d}] and batch ++ [{d}, {d}]");
            return Err(Error::shape(op, arg, expected, factor.dims()));
        }
    }
    let gap = double(p[0])?.broadcast_sub(&double(q[0])?)?;
    let (from, to) = (double(p[1])?, double(q[1])?);
    let nearest = polar(&to.t()?.contiguous()?.broadcast_matmul(&from)?)?;
    let rest = from.broadcast_sub(&to.broadcast_matmul(&nearest)?)?;
    let rest = rest.sqr()?.sum(D::Minus1)?.sum(D::Minus1)?;
    let total = gap.sqr()?.sum(D::Minus1)?.broadcast_add(&rest)?;
    Ok(total.to_dtype(p[0].dtype())?)
}
