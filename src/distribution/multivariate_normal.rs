//! The normal distribution on vectors, given the Cholesky factor of its covariance.

use super::covariance::{self, Gaussian, check_matrix, diagonal, product};
use super::parameters::Domain;
use super::*;
use crate::kernels::linear::triangular::squared_distance;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::{Layer, mlp};
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use candle_core::{D, DType};
use std::f64::consts::TAU;

/// Normal distribution on vectors of d elements with mean `loc` and covariance `scale_tril scale_tril^T`.
///
/// Formula: `log p(x) = -|L^-1 (x - loc)|^2 / 2 - sum_i ln L_ii - d ln(2 pi) / 2` with `L = scale_tril`.
///
/// Shapes: `loc` is `batch ++ [d]`, `scale_tril` `batch ++ [d, d]`, their batches broadcast; the event is `[d]`.
/// Units: nats.
///
/// Gradients: pathwise, `x = loc + L eps`; first derivatives of the density only. What lies above the diagonal of
/// `scale_tril` gets gradient 0.
///
/// Errors: parameters that are not floating point, of different dtype or device, whose shapes do not belong
/// together, or that are not finite; numbers other than 0 above the diagonal; a diagonal that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, MultivariateNormal};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[1f64, -1.], &Device::Cpu)?;
/// let scale_tril = Tensor::new(&[[1f64, 0.], [0.5, 2.]], &Device::Cpu)?;
/// let normal = MultivariateNormal::new(&loc, &scale_tril)?;
/// assert_eq!(normal.covariance()?.to_vec2::<f64>()?, [[1., 0.5], [0.5, 4.25]]);
/// let log_prob = normal.log_prob(&loc)?.to_scalar::<f64>()?;
/// assert!((log_prob + 2f64.ln() + std::f64::consts::TAU.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f32 a factor that many values share is inverted in f64 and applied as a matrix product; few values are
/// solved for in f64. Either way the error is that of rounding the parameters: for d = 64 and standard deviations from 1 to
/// 1e-4 below 1e-5 of the largest element, in value and gradients, where they are those of the elements, and 2e-3 in the
/// gradients where a rotation hides them. KL to another triangular or diagonal normal is a sum of squares and of terms
/// `e - ln(1 + e)`: it keeps its digits near equality.
#[derive(Debug, Clone)]
pub struct MultivariateNormal {
    /// As given: what broadcasts takes this.
    given_loc: Tensor,
    loc: Tensor,
    scale_tril: Tensor,
    batch: Vec<usize>,
    event: [usize; 1],
}

impl MultivariateNormal {
    /// From the mean and a lower-triangular square root of the covariance.
    pub fn new(loc: &Tensor, scale_tril: &Tensor) -> Result<Self> {
        let op = "MultivariateNormal::new";
        let normal = Self::build(op, loc, scale_tril)?;
        Domain::Real.check(op, "loc", loc)?;
        Domain::Real.check(op, "scale_tril", scale_tril)?;
        let above = (scale_tril - normal.lower()?)?;
        if let Some(above) = first_outside(&above, End::Closed(0.), End::Closed(0.))? {
            let expected = "zeros above the diagonal";
            return Err(Error::value(op, "scale_tril", expected, above));
        }
        Domain::Positive.check(op, "the diagonal of scale_tril", &diagonal(scale_tril)?)?;
        Ok(normal)
    }

    /// As [`new`](MultivariateNormal::new), without looking at the parameters' values. Only the lower triangle of
    /// `scale_tril` is read.
    pub fn new_unchecked(loc: &Tensor, scale_tril: &Tensor) -> Result<Self> {
        Self::build("MultivariateNormal::new_unchecked", loc, scale_tril)
    }

    fn build(op: &'static str, loc: &Tensor, scale_tril: &Tensor) -> Result<Self> {
        let batch = check_matrix(op, loc, "scale_tril", scale_tril, true)?;
        let event = [loc.dims()[loc.rank() - 1]];
        Ok(MultivariateNormal {
            given_loc: loc.clone(),
            loc: loc.broadcast_as([&batch[..], &event].concat())?,
            scale_tril: scale_tril.clone(),
            batch,
            event,
        })
    }

    /// The mean, shape `batch ++ [d]`.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The Cholesky factor of the covariance, shape `batch ++ [d, d]`.
    pub fn scale_tril(&self) -> Result<Tensor> {
        let shape = [&self.batch[..], &self.event, &self.event].concat();
        Ok(self.lower()?.broadcast_as(shape)?)
    }

    /// The covariance, shape `batch ++ [d, d]`.
    pub fn covariance(&self) -> Result<Tensor> {
        let lower = self.scale_tril()?.contiguous()?;
        Ok(lower.matmul(&lower.t()?.contiguous()?)?)
    }

    /// `scale_tril` as given, of which the lower triangle counts.
    pub(super) fn factor(&self) -> &Tensor {
        &self.scale_tril
    }

    fn dims(&self) -> usize {
        self.event[0]
    }

    /// The lower triangle as given, without the batch of `loc`.
    fn lower(&self) -> Result<Tensor> {
        let scale = &self.scale_tril;
        let mask = Tensor::tril2(self.dims(), scale.dtype(), scale.device())?;
        Ok(scale.broadcast_mul(&mask)?)
    }

    /// `sum_i ln L_ii`.
    fn half_log_det(&self) -> Result<Tensor> {
        reduce::sum(&diagonal(&self.scale_tril)?.log()?)
    }
}

impl Distribution for MultivariateNormal {
    fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let full = [shape, &self.batch, &self.event].concat();
        let noise = rng.normal(
            full.as_slice(),
            self.given_loc.dtype(),
            self.given_loc.device(),
        )?;
        let d = self.dims();
        if self.scale_tril.elem_count() != d * d {
            let roots = self.scale_tril()?.transpose(D::Minus1, D::Minus2)?;
            return Ok(product(&noise, &roots)?.broadcast_add(&self.given_loc)?);
        }
        let noise = noise.reshape((noise.elem_count() / d, d))?;
        let lower = self.lower()?.reshape((d, d))?;
        let one = self.given_loc.elem_count() == d;
        let loc = one.then(|| self.given_loc.reshape(d)).transpose()?;
        let layer = Layer {
            weight: &lower,
            bias: loc.as_ref(),
            activation: Activation::Identity,
        };
        let out = mlp(&noise, &[layer])?.reshape(full)?;
        match loc {
            Some(_) => Ok(out),
            None => Ok(out.broadcast_add(&self.given_loc)?),
        }
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "MultivariateNormal::log_prob";
        shape::same_kind(op, "value", value, &self.given_loc)?;
        let full = shape::value_shape(op, value, &self.batch, &self.event)?;
        let distance = squared_distance(value, &self.given_loc, &self.scale_tril)?;
        let constant = (self.half_log_det()? + 0.5 * self.dims() as f64 * TAU.ln())?;
        Ok((distance * -0.5)?
            .broadcast_sub(&constant)?
            .broadcast_as(full)?)
    }
}

impl Detach for MultivariateNormal {
    fn detach(&self) -> Self {
        MultivariateNormal {
            given_loc: self.given_loc.detach(),
            loc: self.loc.detach(),
            scale_tril: self.scale_tril.detach(),
            ..self.clone()
        }
    }
}

impl Reparameterized for MultivariateNormal {}

impl Moments for MultivariateNormal {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }

    fn variance(&self) -> Result<Tensor> {
        reduce::sum(&self.scale_tril()?.sqr()?)
    }
}

impl Mode for MultivariateNormal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for MultivariateNormal {
    /// `sum_i ln L_ii + d (1 + ln(2 pi)) / 2`.
    fn entropy(&self) -> Result<Tensor> {
        let constant = 0.5 * self.dims() as f64 * (1. + TAU.ln());
        Ok((self.half_log_det()? + constant)?.broadcast_as(self.batch.as_slice())?)
    }
}

impl Gaussian for MultivariateNormal {
    fn center(&self) -> &Tensor {
        &self.given_loc
    }

    fn roots(&self, dtype: DType) -> Result<Tensor> {
        let roots = self.scale_tril()?.to_dtype(dtype)?;
        let rank = roots.rank();
        // Columns first.
        let order: Vec<usize> = [rank - 1].into_iter().chain(0..rank - 1).collect();
        Ok(roots.permute(order)?.contiguous()?)
    }

    fn root_diagonal(&self) -> Result<Option<Tensor>> {
        diagonal(&self.scale_tril).map(Some)
    }

    fn squared_length(&self, x: &Tensor) -> Result<Tensor> {
        let zero = Tensor::zeros(self.dims(), x.dtype(), x.device())?;
        squared_distance(x, &zero, &self.scale_tril.to_dtype(x.dtype())?)
    }

    fn log_det(&self, dtype: DType) -> Result<Tensor> {
        let wide = self.scale_tril.to_dtype(dtype)?;
        reduce::sum(&(diagonal(&wide)?.log()? * 2.)?)
    }
}

impl Kl for MultivariateNormal {
    fn kl(&self, other: &MultivariateNormal) -> Result<Tensor> {
        covariance::kl("MultivariateNormal::kl", self, other)
    }
}

impl MixtureComponent for MultivariateNormal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let loc = select_component(self.loc(), index, after + 1)?;
        let scale_tril = select_component(&self.scale_tril()?, index, after + 2)?;
        MultivariateNormal::new_unchecked(&loc, &scale_tril)
    }
}
