//! The normal distribution on vectors whose covariance is a matrix of low rank plus a diagonal.

use super::covariance::{self, Gaussian, check_matrix, diagonal, diagonal_rows, product};
use super::parameters::Domain;
use super::*;
use crate::kernels::elementwise::composed::double;
use crate::kernels::graph::first_only::first_only;
use crate::kernels::linear::triangular::{cholesky, solve};
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use candle_core::{D, DType};
use std::f64::consts::TAU;

/// Normal distribution on vectors of d elements with covariance `W W^T + diag(D)`, where `W = cov_factor` has k columns
/// and `D = cov_diag`.
///
/// Formula: with `C = I + W^T D^-1 W`, `b = C^-1 W^T D^-1 (x - loc)` and `r = x - loc - W b`,
/// `log p(x) = -(sum_i r_i^2 / D_i + |b|^2 + sum_i ln D_i + ln det C + d ln(2 pi)) / 2`.
///
/// Shapes: `loc` and `cov_diag` are `batch ++ [d]`, `cov_factor` `batch ++ [d, k]`, their batches broadcast; the event is
/// `[d]`. Units: nats.
///
/// Gradients: pathwise, `x = loc + W e + sqrt(D) eps`; first derivatives of the density only.
///
/// Errors: parameters that are not floating point, of different dtype or device, whose shapes do not belong
/// together, or that are not finite; a `cov_diag` that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, LowRankMultivariateNormal};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[0f64, 0.], &Device::Cpu)?;
/// let factor = Tensor::new(&[[1f64], [0.]], &Device::Cpu)?;
/// let diag = Tensor::new(&[3f64, 1.], &Device::Cpu)?;
/// let normal = LowRankMultivariateNormal::new(&loc, &factor, &diag)?;
/// assert_eq!(normal.covariance()?.to_vec2::<f64>()?, [[4., 0.], [0., 1.]]);
/// let log_prob = normal.log_prob(&loc)?.to_scalar::<f64>()?;
/// assert!((log_prob + 2f64.ln() + std::f64::consts::TAU.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: densities are computed in f64. Work and memory grow with d k, not with d^2. The squared length is the least of
/// `|D^-1/2 (x - loc - W b)|^2 + |b|^2` over b, computed as that sum: no term is negative, and an error in b shows in
/// second order only. By the same reason its gradient is the one at fixed b. KL is computed in f64 as a difference of terms
/// of order d: near equality its absolute error is about 1e-15 d, so that it may come out as less than 0 by that much.
#[derive(Debug, Clone)]
pub struct LowRankMultivariateNormal {
    /// As given: what broadcasts takes this.
    given_loc: Tensor,
    loc: Tensor,
    /// In the batch shape.
    factor: Tensor,
    diag: Tensor,
    batch: Vec<usize>,
    event: [usize; 1],
}

impl LowRankMultivariateNormal {
    /// From the mean, a factor of the covariance's low-rank part and its diagonal part.
    pub fn new(loc: &Tensor, cov_factor: &Tensor, cov_diag: &Tensor) -> Result<Self> {
        let op = "LowRankMultivariateNormal::new";
        let normal = Self::build(op, loc, cov_factor, cov_diag)?;
        Domain::Real.check(op, "loc", loc)?;
        Domain::Real.check(op, "cov_factor", cov_factor)?;
        Domain::Positive.check(op, "cov_diag", cov_diag)?;
        Ok(normal)
    }

    /// As [`new`](LowRankMultivariateNormal::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, cov_factor: &Tensor, cov_diag: &Tensor) -> Result<Self> {
        Self::build(
            "LowRankMultivariateNormal::new_unchecked",
            loc,
            cov_factor,
            cov_diag,
        )
    }

    fn build(op: &'static str, loc: &Tensor, factor: &Tensor, diag: &Tensor) -> Result<Self> {
        let batch = check_matrix(op, loc, "cov_factor", factor, false)?;
        shape::float(op, "cov_diag", diag)?;
        shape::same_kind(op, "cov_diag", diag, loc)?;
        let d = loc.dims()[loc.rank() - 1];
        let both = match diag.dims() {
            [own @ .., n] if *n == d => shape::broadcast(&batch, own),
            _ => None,
        };
        let Some(batch) = both else {
            let expected = format!("batch ++ [{d}], its batch broadcast with {batch:?}");
            return Err(Error::shape(op, "cov_diag", expected, diag.dims()));
        };
        let k = factor.dims()[factor.rank() - 1];
        Ok(LowRankMultivariateNormal {
            given_loc: loc.clone(),
            loc: loc.broadcast_as([&batch[..], &[d]].concat())?,
            factor: factor.broadcast_as([&batch[..], &[d, k]].concat())?,
            diag: diag.broadcast_as([&batch[..], &[d]].concat())?,
            batch,
            event: [d],
        })
    }

    /// The mean, shape `batch ++ [d]`.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// W, shape `batch ++ [d, k]`.
    pub fn cov_factor(&self) -> &Tensor {
        &self.factor
    }

    /// D, shape `batch ++ [d]`.
    pub fn cov_diag(&self) -> &Tensor {
        &self.diag
    }

    /// The covariance, shape `batch ++ [d, d]`.
    pub fn covariance(&self) -> Result<Tensor> {
        let factor = self.factor.contiguous()?;
        let low = factor.matmul(&transposed(&factor)?)?;
        let eye = Tensor::eye(self.event[0], low.dtype(), low.device())?;
        Ok((low + eye.broadcast_mul(&self.diag.unsqueeze(D::Minus1)?)?)?)
    }
}

fn transposed(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(D::Minus1, D::Minus2)?.contiguous()?)
}

impl Distribution for LowRankMultivariateNormal {
    fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let lead = [shape, &self.batch].concat();
        let k = self.factor.dims()[self.factor.rank() - 1];
        let mut noise = |n: usize| {
            let shape = [&lead[..], &[n]].concat();
            rng.normal(shape, self.given_loc.dtype(), self.given_loc.device())
        };
        let shared = product(&noise(k)?, &transposed(&self.factor)?)?;
        let own = noise(self.event[0])?.broadcast_mul(&self.diag.sqrt()?)?;
        Ok((shared + own)?.broadcast_add(&self.given_loc)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "LowRankMultivariateNormal::log_prob";
        shape::same_kind(op, "value", value, &self.given_loc)?;
        shape::value_shape(op, value, &self.batch, &self.event)?;
        let constant = (self.wide_log_det()? + self.event[0] as f64 * TAU.ln())?;
        shield::shielded(
            op,
            value,
            1,
            || Ok(self.given_loc.clone()),
            |value| {
                let x = double(value)?.broadcast_sub(&double(&self.given_loc)?)?;
                let distance = far(&x, self.distance(&x)?)?;
                let total = (distance.broadcast_add(&constant)? * -0.5)?;
                Ok(total.to_dtype(value.dtype())?)
            },
        )
    }
}

impl Detach for LowRankMultivariateNormal {
    fn detach(&self) -> Self {
        LowRankMultivariateNormal {
            given_loc: self.given_loc.detach(),
            loc: self.loc.detach(),
            factor: self.factor.detach(),
            diag: self.diag.detach(),
            ..self.clone()
        }
    }
}

impl Reparameterized for LowRankMultivariateNormal {}

impl Moments for LowRankMultivariateNormal {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok((reduce::sum(&self.factor.sqr()?)? + &self.diag)?)
    }
}

impl Mode for LowRankMultivariateNormal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for LowRankMultivariateNormal {
    /// `(ln det(W W^T + diag(D)) + d (1 + ln(2 pi))) / 2`.
    fn entropy(&self) -> Result<Tensor> {
        let constant = self.event[0] as f64 * (1. + TAU.ln());
        Ok(((self.log_det(self.diag.dtype())? + constant)? * 0.5)?)
    }
}

impl Gaussian for LowRankMultivariateNormal {
    fn center(&self) -> &Tensor {
        &self.given_loc
    }

    fn roots(&self, dtype: DType) -> Result<Tensor> {
        let rank = self.factor.rank();
        let order: Vec<usize> = [rank - 1].into_iter().chain(0..rank - 1).collect();
        let low = self.factor.to_dtype(dtype)?.permute(order)?.contiguous()?;
        let diagonal = self.diag.to_dtype(dtype)?.sqrt()?;
        Ok(Tensor::cat(&[low, diagonal_rows(&diagonal)?], 0)?)
    }

    fn root_diagonal(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn squared_length(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.distance(&double(x)?)?.to_dtype(x.dtype())?)
    }

    fn log_det(&self, dtype: DType) -> Result<Tensor> {
        Ok(self.wide_log_det()?.to_dtype(dtype)?)
    }
}

/// The squared length of rows with an infinite element, which products make NaN: infinite, unless they have a NaN too.
fn far(x: &Tensor, distance: Tensor) -> Result<Tensor> {
    let ends = [f64::NEG_INFINITY, f64::INFINITY].map(End::Closed);
    if first_outside(&distance, ends[0], ends[1])?.is_none() {
        return Ok(distance);
    }
    let size = reduce::sum(&x.detach().abs()?)?.broadcast_as(distance.dims())?;
    let infinite = (distance.detach().zeros_like()? + f64::INFINITY)?;
    Ok(size.eq(f64::INFINITY)?.where_cond(&infinite, &distance)?)
}

impl LowRankMultivariateNormal {
    /// `x^T C^-1 x` for wide x.
    fn distance(&self, x: &Tensor) -> Result<Tensor> {
        let op = "LowRankMultivariateNormal";
        let lead = shape::value_shape(op, x, &self.batch, &self.event)?;
        let x = x.broadcast_as([&lead[..], &self.event].concat())?;
        let weights = product(&x.detach(), &self.weights()?.detach())?;
        let best = product(&weights, &self.inverse_capacitance()?)?;
        let rest = (&x - product(&best, &transposed(&double(&self.factor)?)?)?)?;
        let rest = rest.sqr()?.broadcast_div(&double(&self.diag)?)?;
        // At fixed b the gradient is right, as b is where the length is least; its derivatives are not.
        let rest = first_only("LowRankMultivariateNormal::log_prob", &rest)?;
        Ok((rest.sum(D::Minus1)? + best.sqr()?.sum(D::Minus1)?)?)
    }

    fn wide_log_det(&self) -> Result<Tensor> {
        let volume = diagonal(&self.capacitance()?)?.log()?.sum(D::Minus1)?;
        let volume = (volume * 2.)?.reshape(self.batch.as_slice())?;
        Ok((volume + double(&self.diag)?.log()?.sum(D::Minus1)?)?)
    }

    /// `D^-1 W`, shape `batch ++ [d, k]`, wide.
    fn weights(&self) -> Result<Tensor> {
        Ok(double(&self.factor)?.broadcast_div(&double(&self.diag)?.unsqueeze(D::Minus1)?)?)
    }

    /// The Cholesky factor of `C = I + W^T D^-1 W`, shape `[n, k, k]` with the batch in one dim, wide.
    fn capacitance(&self) -> Result<Tensor> {
        let k = self.factor.dims()[self.factor.rank() - 1];
        let low = transposed(&double(&self.factor)?)?.matmul(&self.weights()?.contiguous()?)?;
        let eye = Tensor::eye(k, low.dtype(), low.device())?;
        cholesky(&low.reshape(((), k, k))?.broadcast_add(&eye)?)
    }

    /// `C^-1`, shape `batch ++ [k, k]`, without gradient.
    fn inverse_capacitance(&self) -> Result<Tensor> {
        let factor = self.capacitance()?.detach();
        let (count, k, _) = factor.dims3()?;
        let eye = Tensor::eye(k, factor.dtype(), factor.device())?;
        // Row i is L^-1 e_i, so the rows are those of L^-T.
        let rows = solve(&factor, &eye.broadcast_as((count, k, k))?)?;
        let inverse = rows.matmul(&transposed(&rows)?)?;
        Ok(inverse.reshape([&self.batch[..], &[k, k]].concat())?)
    }
}

impl Kl for LowRankMultivariateNormal {
    fn kl(&self, other: &LowRankMultivariateNormal) -> Result<Tensor> {
        covariance::kl("LowRankMultivariateNormal::kl", self, other)
    }
}
