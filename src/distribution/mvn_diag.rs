//! The normal distribution on vectors with independent elements.

use super::*;
use crate::kernels::family::gaussian::{self, Spread};
use crate::kernels::reduce;
use candle_core::{DType, Device};

/// Normal distribution on vectors of D independent elements.
///
/// Formula: `log p(x) = sum_d [-((x_d - loc_d) / scale_d)^2 / 2 - ln scale_d - ln(2 pi) / 2]`.
///
/// Shapes: `loc` and the scale parameter broadcast to `batch ++ [D]`; D is the last dim. Units: nats.
///
/// Gradients: pathwise, `x = loc + scale * eps`.
///
/// Errors: parameters that are scalar, not floating point, of different dtype or device, do not broadcast, or are
/// not finite; a scale that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, Kl, MultivariateNormalDiag}};
/// # fn main() -> candle_prob::Result<()> {
/// // The posterior of a variational autoencoder: 4 examples, 3 latent dims, 12 samples each.
/// let loc = Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&loc, &loc.ones_like()?)?;
/// let prior = MultivariateNormalDiag::standard(3, loc.dtype(), loc.device())?;
/// let (z, rate) = posterior.sample_and_kl(&prior, &[12], &mut Rng::new(0))?;
/// assert_eq!((z.dims(), rate.dims()), (&[12, 4, 3][..], &[4][..]));
/// assert_eq!(posterior.kl(&prior)?.to_vec1::<f32>()?, rate.to_vec1::<f32>()?);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: those of [`Normal`]. On the CPU in f32 a draw together with its KL to the standard normal is one pass, and
/// its gradient another; the noise is drawn again in the backward pass instead of being stored.
///
/// Source: reparameterization and the KL to the standard normal in closed form: Kingma and Welling (2014), appendix B.
#[derive(Debug, Clone)]
pub struct MultivariateNormalDiag {
    elements: Normal,
    standard: bool,
}

impl MultivariateNormalDiag {
    /// From means and standard deviations.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let op = "MultivariateNormalDiag::new";
        Self::of(op, Normal::checked(op, Spread::Scale, loc, scale)?)
    }

    /// As [`new`](Self::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let op = "MultivariateNormalDiag::new_unchecked";
        Self::of(op, Normal::unchecked(op, Spread::Scale, loc, scale)?)
    }

    /// From means and logarithms of variances, which is what encoders of variational autoencoders return.
    pub fn from_log_var(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        let op = "MultivariateNormalDiag::from_log_var";
        Self::of(op, Normal::checked(op, Spread::LogVar, loc, log_var)?)
    }

    /// As [`from_log_var`](Self::from_log_var), without looking at the parameters' values.
    pub fn from_log_var_unchecked(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        let op = "MultivariateNormalDiag::from_log_var_unchecked";
        Self::of(op, Normal::unchecked(op, Spread::LogVar, loc, log_var)?)
    }

    /// The standard normal on vectors of `dims` elements. A draw together with its KL to it is one pass, and its density
    /// reads nothing but the value.
    ///
    /// Errors: `dims` is zero, or `dtype` is not a floating-point type.
    pub fn standard(dims: usize, dtype: DType, device: &Device) -> Result<Self> {
        let op = "MultivariateNormalDiag::standard";
        shape::draws(op, &[dims], &[])?;
        let zero = Tensor::zeros(dims, dtype, device)?;
        let elements = Normal::unchecked(op, Spread::LogVar, &zero, &zero)?;
        let mut standard = Self::of(op, elements)?;
        standard.standard = true;
        Ok(standard)
    }

    pub(super) fn of(op: &'static str, elements: Normal) -> Result<Self> {
        shape::vectors(op, "loc", elements.loc())?;
        Ok(MultivariateNormalDiag {
            elements,
            standard: false,
        })
    }

    /// The means, shape `batch ++ [D]`.
    pub fn loc(&self) -> &Tensor {
        self.elements.loc()
    }

    /// The standard deviations, shape `batch ++ [D]`.
    pub fn scale(&self) -> Result<Tensor> {
        self.elements.scale()
    }

    /// The logarithms of the variances, shape `batch ++ [D]`.
    pub fn log_var(&self) -> Result<Tensor> {
        self.elements.log_var()
    }

    /// The independent elements.
    pub(super) fn elements(&self) -> &Normal {
        &self.elements
    }

    /// KL(self || N(0, I)) in nats, shape `batch`.
    ///
    /// Formula: `sum_d (loc_d^2 + scale_d^2 - 1) / 2 - ln scale_d`.
    pub fn kl_to_standard(&self) -> Result<Tensor> {
        self.elements.kl_standard()
    }

    /// The distribution of the sum over K with these weights: `N(sum_k w_k loc_k, diag(sum_k w_k^2 scale_k^2))`.
    ///
    /// With batch `B ++ [K]` and `weights` of shape `S ++ B ++ [K]`: batch `S ++ B`. Gradients flow to the weights and to the
    /// parameters.
    ///
    /// Errors: weights of another shape, dtype or device.
    pub fn weighted_sum(&self, weights: &Tensor) -> Result<Self> {
        let op = "MultivariateNormalDiag::weighted_sum";
        shape::same_kind(op, "weights", weights, self.loc())?;
        let batch = self.batch_shape();
        let sample = check_weights(op, weights, batch)?;
        let components = batch[batch.len() - 1];
        let dims = self.event_shape()[0];
        let rows: usize = batch[..batch.len() - 1].iter().product();
        let draws: usize = weights.dims()[..sample].iter().product();
        // [B, S, K] x [B, K, D]
        let weights_by_row = weights
            .reshape((draws, rows, components))?
            .transpose(0, 1)?;
        let mix = |weights: &Tensor, values: &Tensor| {
            weights
                .contiguous()?
                .matmul(&values.contiguous()?.reshape((rows, components, dims))?)
        };
        let loc = mix(&weights_by_row, self.loc())?;
        let variance = mix(&weights_by_row.sqr()?, &self.elements.variance_tensor()?)?;
        let shape = [&weights.dims()[..weights.rank() - 1], &[dims]].concat();
        let ordered = |x: Tensor| x.transpose(0, 1)?.contiguous()?.reshape(shape.as_slice());
        Self::new_unchecked(&ordered(loc)?, &ordered(variance.sqrt()?)?)
    }

    fn check_event(&self, op: &'static str, other: &Self) -> Result<()> {
        if self.event_shape() != other.event_shape() {
            return Err(Error::shape(
                op,
                "other",
                format!("event shape {:?}", self.event_shape()),
                other.event_shape(),
            ));
        }
        Ok(())
    }
}

impl Distribution for MultivariateNormalDiag {
    fn batch_shape(&self) -> &[usize] {
        let dims = self.loc().dims();
        &dims[..dims.len() - 1]
    }

    fn event_shape(&self) -> &[usize] {
        let dims = self.loc().dims();
        &dims[dims.len() - 1..]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.elements.draw(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "MultivariateNormalDiag::log_prob";
        shape::same_kind(op, "value", value, self.loc())?;
        shape::value_shape(op, value, self.batch_shape(), self.event_shape())?;
        if self.standard {
            return gaussian::standard_log_prob(value);
        }
        self.elements.density(value, true)
    }
}

impl Detach for MultivariateNormalDiag {
    fn detach(&self) -> Self {
        MultivariateNormalDiag {
            elements: self.elements.detach(),
            ..self.clone()
        }
    }
}

impl Reparameterized for MultivariateNormalDiag {}

/// A weighted sum of independent Gaussian vectors is Gaussian: one draw of
/// `N(sum_k w_k loc_k, diag(sum_k w_k^2 scale_k^2))` instead of K.
impl WeightedSum for MultivariateNormalDiag {
    fn sample_weighted_sum(&self, weights: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        self.weighted_sum(weights)?.sample(&[], rng)
    }
}

impl Moments for MultivariateNormalDiag {
    fn mean(&self) -> Result<Tensor> {
        self.elements.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.elements.variance()
    }
}

impl Mode for MultivariateNormalDiag {
    fn mode(&self) -> Result<Tensor> {
        self.elements.mean()
    }
}

impl Entropy for MultivariateNormalDiag {
    fn entropy(&self) -> Result<Tensor> {
        reduce::sum(&self.elements.entropies()?)
    }
}

impl Kl for MultivariateNormalDiag {
    fn kl(&self, other: &Self) -> Result<Tensor> {
        let op = "MultivariateNormalDiag::kl";
        self.check_event(op, other)?;
        if other.standard {
            shape::same_kind(op, "other", other.loc(), self.loc())?;
            return self.kl_to_standard();
        }
        self.elements.divergence(op, &other.elements, true)
    }

    fn sample_and_kl(
        &self,
        other: &Self,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        let op = "MultivariateNormalDiag::sample_and_kl";
        if other.standard {
            self.check_event(op, other)?;
            shape::same_kind(op, "other", other.loc(), self.loc())?;
            return self.elements.draw_and_kl_standard(shape, rng);
        }
        Ok((self.sample(shape, rng)?, self.kl(other)?))
    }
}
