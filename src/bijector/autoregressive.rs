//! Autoregressive maps.

use super::Bijector;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use candle_core::Tensor;

/// An autoregressive map of vectors: each feature is transformed as the features of the result before it say.
///
/// Formula: `y_i = f_i(x_i; y_1 .. y_(i-1))`, where `conditioner(y)` gives all f_i at once as one elementwise bijector; the
/// log-det is that of f, summed over the features. "Before" is up to the conditioner: any order of the features will do.
///
/// Cost: `inverse`, from data to latent, calls the conditioner once. `transform`, from latent to data, calls it as often as
/// there are features, as one more feature of the result becomes known with each call. A density is cheap so (masked
/// autoregressive flow); [`inverted`](Bijector::inverted) gives the map that draws cheaply (inverse autoregressive flow).
///
/// Shapes: `x` and `y` are [.., features], the log-det [..]. The conditioner gets [.., features] and returns an
/// elementwise bijector, such as [`Affine`](super::Affine) or
/// [`RationalQuadraticSpline`](super::RationalQuadraticSpline), whose parameters for feature i depend on earlier ones alone:
/// those of a [`MaskedMlp`](crate::net::MaskedMlp) do. Whether they do is not checked; if not, the directions do not belong
/// together.
///
/// Gradients: to the argument and to all that the conditioner has, its own graph's; those of `transform` go through every
/// call.
///
/// Errors: an argument without dims; a conditioner's bijector that couples elements; the conditioner's own.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Affine, Autoregressive, Bijector};
/// # fn main() -> candle_prob::Result<()> {
/// // Of two features the second is shifted by the first.
/// let first = Tensor::new(&[[0f64, 1.], [0., 0.]], &Device::Cpu)?;
/// let conditioner = |y: &Tensor| {
///     let loc = y.matmul(&first)?;
///     Affine::new(&loc, &loc.ones_like()?)
/// };
/// let map = Autoregressive::new(conditioner);
/// let z = Tensor::new(&[[3f64, 1.]], &Device::Cpu)?;
/// let y = map.transform(&z)?;
/// assert_eq!(y.to_vec2::<f64>()?[0], [3., 4.]);
/// assert_eq!(map.inverse(&y)?.to_vec2::<f64>()?[0], [3., 1.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow, equations 3 to 6; Kingma et al. (2016),
/// Inverse Autoregressive Flow.
#[derive(Debug, Clone)]
pub struct Autoregressive<C> {
    conditioner: C,
}

impl<C: Conditional> Autoregressive<C>
where
    C::Output: Bijector,
{
    /// From what turns results into the bijector that leads to them.
    pub fn new(conditioner: C) -> Self {
        Autoregressive { conditioner }
    }

    /// The conditioner.
    pub fn conditioner(&self) -> &C {
        &self.conditioner
    }

    fn given(&self, op: &'static str, y: &Tensor) -> Result<C::Output> {
        let bijector = self.conditioner.given(y)?;
        match bijector.event_rank() {
            0 => Ok(bijector),
            rank => {
                let expected = "one that gives elementwise bijectors";
                let found = format!("one of event rank {rank}");
                Err(Error::value(op, "conditioner", expected, found))
            }
        }
    }
}

fn features(op: &'static str, arg: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(features) => Ok(*features),
        None => Err(Error::shape(op, arg, "[.., features]", x.dims())),
    }
}

impl<C: Conditional> Bijector for Autoregressive<C>
where
    C::Output: Bijector,
{
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "Autoregressive::transform";
        // After call i the first i features are right, and with them the parameters of one more.
        let mut y = x.zeros_like()?;
        let mut log_det = y.clone();
        for _ in 0..features(op, "x", x)? {
            (y, log_det) = self.given(op, &y)?.transform_and_log_det(x)?;
        }
        Ok((y, reduce::sum_last(&log_det, 1)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "Autoregressive::inverse";
        features(op, "y", y)?;
        let (x, log_det) = self.given(op, y)?.inverse_and_log_det(y)?;
        Ok((x, reduce::sum_last(&log_det, 1)?))
    }
}

impl<C: Detach> Detach for Autoregressive<C> {
    fn detach(&self) -> Self {
        Autoregressive {
            conditioner: self.conditioner.detach(),
        }
    }
}
