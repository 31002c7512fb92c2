//! The Dirichlet distribution.

use super::parameters::Domain;
use super::*;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::family::gamma::{self as kernel, wide};
use crate::kernels::number::Real;
use crate::kernels::number::saddle;
use crate::kernels::reduce;
use candle_core::{D, DType};

/// Dirichlet distribution on the simplex, with parameter `concentration`.
///
/// Formula: `log p(x) = ln Gamma(sum_i a_i) - sum_i ln Gamma(a_i) + sum_i (a_i - 1) ln x_i`, a density with respect to
/// `dx_1 .. dx_{K-1}`.
///
/// Shapes: `concentration` is `batch ++ [K]`; the event is `[K]`. Units: nats.
///
/// Gradients: pathwise; a draw is a normalised vector of gamma draws, which move with their concentrations by implicit
/// reparameterization. First derivatives only.
///
/// Errors: concentrations that are a scalar, without elements in the last dim, not floating point, or not positive and finite.
///
/// ```
/// use candle_core::{D, Device, Tensor};
/// use candle_prob::{Rng, distribution::{Dirichlet, Distribution}};
/// # fn main() -> candle_prob::Result<()> {
/// let sparse = Dirichlet::new(&Tensor::new(&[0.001f32, 0.001, 0.001], &Device::Cpu)?)?;
/// let x = sparse.sample(&[4], &mut Rng::new(0))?;
/// assert_eq!(x.dims(), &[4, 3]);
/// for total in x.sum(D::Minus1)?.to_vec1::<f32>()? {
///     assert!((total - 1.).abs() < 1e-6);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Numerics: draws are made as logarithms of gammas and normalised by their largest, so that no row is lost to underflow;
/// [`sample_log`](Dirichlet::sample_log) keeps coordinates that underflow. Concentrations from 1e-6 to 1e6 give finite
/// draws and gradients. `log_prob` accepts values whose sum is 1 within `1e-6 + K eps` (eps of the dtype).
/// Densities, entropy and divergence keep their digits at any concentrations: their terms of that size cancel before they are
/// computed.
///
/// Source: densities: Loader (2000), Fast and Accurate Computation of Binomial Probabilities; draws: Devroye (1986), Non-Uniform Random Variate Generation, ch. XI.4; Figurnov, Mohamed and Mnih (2018), Implicit
/// Reparameterization Gradients, section 3.
#[derive(Debug, Clone)]
pub struct Dirichlet {
    concentration: Tensor,
}

impl Dirichlet {
    /// From the concentrations, categories last.
    pub fn new(concentration: &Tensor) -> Result<Self> {
        let op = "Dirichlet::new";
        let dirichlet = Dirichlet::build(op, concentration)?;
        Domain::Positive.check(op, "concentration", concentration)?;
        Ok(dirichlet)
    }

    /// As [`new`](Dirichlet::new), without looking at the values. Rows with concentrations that are not positive give NaN.
    pub fn new_unchecked(concentration: &Tensor) -> Result<Self> {
        Dirichlet::build("Dirichlet::new_unchecked", concentration)
    }

    fn build(op: &'static str, concentration: &Tensor) -> Result<Self> {
        shape::vectors(op, "concentration", concentration)?;
        Ok(Dirichlet {
            concentration: concentration.clone(),
        })
    }

    /// The concentrations.
    pub fn concentration(&self) -> &Tensor {
        &self.concentration
    }

    /// Logarithms of draws, shape `shape ++ batch ++ [K]`: finite where a coordinate itself underflows.
    ///
    /// Gradients: pathwise, as for [`sample`](Distribution::sample).
    pub fn sample_log(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        kernel::dirichlet(&self.concentration, shape, rng.stream(), true)
    }

    /// Log-density at `exp(log_value)`, with respect to the same measure as [`log_prob`](Distribution::log_prob); finite
    /// where coordinates underflow. `log_value` has shape `S ++ batch ++ [K]`.
    pub fn log_prob_of_log(&self, log_value: &Tensor) -> Result<Tensor> {
        self.check("Dirichlet::log_prob_of_log", "log_value", log_value)?;
        kernel::dirichlet_log_prob(&self.concentration, log_value, true)
    }

    fn check(&self, op: &'static str, arg: &'static str, value: &Tensor) -> Result<()> {
        shape::same_kind(op, arg, value, &self.concentration)?;
        shape::value_shape(op, value, self.batch_shape(), self.event_shape())?;
        Ok(())
    }

    fn split(&self) -> (&[usize], &[usize]) {
        let dims = self.concentration.dims();
        dims.split_at(dims.len().saturating_sub(1))
    }
}

impl Distribution for Dirichlet {
    fn batch_shape(&self) -> &[usize] {
        self.split().0
    }

    fn event_shape(&self) -> &[usize] {
        self.split().1
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        kernel::dirichlet(&self.concentration, shape, rng.stream(), false)
    }

    /// A coordinate at zero contributes the limit: nothing at concentration 1, +inf below, -inf above.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.check("Dirichlet::log_prob", "value", value)?;
        kernel::dirichlet_log_prob(&self.concentration, value, false)
    }
}

impl Detach for Dirichlet {
    fn detach(&self) -> Self {
        Dirichlet {
            concentration: self.concentration.detach(),
        }
    }
}

impl Reparameterized for Dirichlet {}

impl Moments for Dirichlet {
    fn mean(&self) -> Result<Tensor> {
        let total = reduce::sum(&self.concentration)?.unsqueeze(D::Minus1)?;
        Ok(self.concentration.broadcast_div(&total)?)
    }

    fn variance(&self) -> Result<Tensor> {
        let a = wide(&self.concentration)?;
        let total = a.sum_keepdim(D::Minus1)?;
        // 1 - mean cancels where one coordinate has nearly all.
        let rest = total.broadcast_sub(&a)?.broadcast_div(&total)?;
        let variance = (a.broadcast_div(&total)? * rest)?.broadcast_div(&(total + 1.)?)?;
        Ok(variance.to_dtype(self.concentration.dtype())?)
    }
}

impl Mode for Dirichlet {
    /// `(a_i - 1) / (a_0 - K)` with a_0 the sum; NaN unless all concentrations are above 1, as the density is then largest on
    /// the boundary, in general at no single point.
    fn mode(&self) -> Result<Tensor> {
        let less = (&self.concentration - 1.)?;
        let above = less.gt(0f64)?.to_dtype(DType::F32)?;
        let total = |x: &Tensor| -> Result<Tensor> { Ok(reduce::sum(x)?.unsqueeze(D::Minus1)?) };
        let inside = total(&above)?.eq(self.event_shape()[0] as f64)?;
        let mode = less.broadcast_div(&total(&less)?)?;
        let nan = (mode.zeros_like()? * f64::NAN)?;
        Ok(inside.broadcast_as(mode.shape())?.where_cond(&mode, &nan)?)
    }
}

/// One coordinate's part of the entropy, from its concentration.
#[derive(Clone, Copy)]
struct PartEntropy;

impl Formula<1> for PartEntropy {
    #[inline(always)]
    fn at<R: Real>(self, [a]: [R; 1]) -> R {
        a.stirling_rest() + (a - 1.) * a.log_gap()
    }
}

/// What the sum of the concentrations takes from the entropy of so many coordinates.
#[derive(Clone, Copy)]
struct TotalEntropy(f64);

impl Formula<1> for TotalEntropy {
    #[inline(always)]
    fn at<R: Real>(self, [n]: [R; 1]) -> R {
        n.stirling_rest() + (n - self.0) * n.log_gap() + n.ln() * (self.0 - 1.)
    }
}

impl Entropy for Dirichlet {
    /// `ln B(a) + (a_0 - K) digamma(a_0) - sum_i (a_i - 1) digamma(a_i)` with a_0 the sum, in double precision inside and
    /// without the terms that cancel.
    fn entropy(&self) -> Result<Tensor> {
        let op = "Dirichlet::entropy";
        let a = wide(&self.concentration)?;
        let parts = named(op, PartEntropy, [&a])?.sum(D::Minus1)?;
        let categories = self.event_shape()[0] as f64;
        let total = named(op, TotalEntropy(categories), [&a.sum(D::Minus1)?])?;
        Ok((parts - total)?.to_dtype(self.concentration.dtype())?)
    }
}

/// One coordinate's part of the divergence, from its concentration, the other's, both sums and the sum of the differences.
#[derive(Clone, Copy)]
struct PartDivergence;

impl Formula<5> for PartDivergence {
    #[inline(always)]
    fn at<R: Real>(self, [a, to, n, to_n, step]: [R; 5]) -> R {
        let part =
            saddle::Total::new(n.value(), to_n.value(), step.value()).share(a.value(), to.value());
        R::function([a, to], part.divergence, || part.slopes())
    }
}

/// What the sums take from it.
#[derive(Clone, Copy)]
struct TotalDivergence;

impl Formula<3> for TotalDivergence {
    #[inline(always)]
    fn at<R: Real>(self, [n, to_n, step]: [R; 3]) -> R {
        let total = saddle::Total::new(n.value(), to_n.value(), step.value());
        R::function([n, to_n], total.divergence, || total.slopes())
    }
}

impl Kl for Dirichlet {
    /// `ln B(b) - ln B(a) + sum_i (a_i - b_i) (digamma(a_i) - digamma(a_0))`, in double precision inside, in an order in
    /// which near-equal parameters lose no digits.
    fn kl(&self, other: &Dirichlet) -> Result<Tensor> {
        let op = "Dirichlet::kl";
        shape::same_kind(op, "other", &other.concentration, &self.concentration)?;
        common_batch(op, self, "other", other)?;
        let (a, b) = (wide(&self.concentration)?, wide(&other.concentration)?);
        let (n, to_n) = (a.sum_keepdim(D::Minus1)?, b.sum_keepdim(D::Minus1)?);
        let step = b.broadcast_sub(&a)?.sum_keepdim(D::Minus1)?.detach();
        let parts = named(op, PartDivergence, [&a, &b, &n, &to_n, &step])?;
        let total = named(op, TotalDivergence, [&n, &to_n, &step])?;
        let kl = (parts.sum(D::Minus1)? - total.squeeze(D::Minus1)?)?;
        Ok(kl.to_dtype(self.concentration.dtype())?)
    }
}

impl MixtureComponent for Dirichlet {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        Dirichlet::new_unchecked(&select_component(self.concentration(), index, after + 1)?)
    }
}
