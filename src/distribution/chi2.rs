//! The chi-squared distribution.

use super::parameters::Domain;
use super::*;

/// Chi-squared distribution with `df` degrees of freedom: the law of a sum of df squared standard normals, and
/// [`Gamma`] with concentration `df / 2` and rate 1/2.
///
/// Formula: `log p(x) = (df/2 - 1) ln x - x/2 - (df/2) ln 2 - ln Gamma(df/2)` for `x >= 0`.
///
/// Shapes: `df` has the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise (implicit, as for [`Gamma`]); first derivatives only.
///
/// Errors: degrees of freedom that are not floating point, or not positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Chi2};
/// # fn main() -> candle_prob::Result<()> {
/// let chi2 = Chi2::new(&Tensor::new(2f64, &Device::Cpu)?)?;
/// // With two degrees of freedom it is exponential with rate 1/2.
/// let log = chi2.log_survival(&Tensor::new(3f64, &Device::Cpu)?)?.to_scalar::<f64>()?;
/// assert!((log + 1.5).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Chi2 {
    df: Tensor,
    gamma: Gamma,
}

impl Chi2 {
    /// From the degrees of freedom.
    pub fn new(df: &Tensor) -> Result<Self> {
        Domain::Positive.check("Chi2::new", "df", df)?;
        Chi2::new_unchecked(df)
    }

    /// As [`new`](Chi2::new), without looking at the values.
    pub fn new_unchecked(df: &Tensor) -> Result<Self> {
        shape::float("Chi2::new_unchecked", "df", df)?;
        let half = Tensor::full(0.5f64, (), df.device())?.to_dtype(df.dtype())?;
        Ok(Chi2 {
            df: df.clone(),
            gamma: Gamma::new_unchecked(&(df * 0.5)?, &half)?,
        })
    }

    /// The degrees of freedom.
    pub fn df(&self) -> &Tensor {
        &self.df
    }

    /// The same law as a [`Gamma`].
    pub fn as_gamma(&self) -> &Gamma {
        &self.gamma
    }
}

impl Distribution for Chi2 {
    fn batch_shape(&self) -> &[usize] {
        self.gamma.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.gamma.sample(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Chi2::log_prob";
        self.gamma.0.split_log_prob(op, gamma::Law, value)
    }
}

impl Detach for Chi2 {
    fn detach(&self) -> Self {
        Chi2 {
            df: self.df.detach(),
            gamma: self.gamma.detach(),
        }
    }
}

impl Reparameterized for Chi2 {}

impl Moments for Chi2 {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.df.clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok((&self.df * 2.)?)
    }
}

impl Mode for Chi2 {
    /// `df - 2`, and 0 for up to two degrees of freedom.
    fn mode(&self) -> Result<Tensor> {
        self.gamma.0.mode("Chi2::mode", gamma::Law)
    }
}

impl Entropy for Chi2 {
    fn entropy(&self) -> Result<Tensor> {
        self.gamma.0.entropy("Chi2::entropy", gamma::Law)
    }
}

impl Cdf for Chi2 {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.gamma.0.log_cdf("Chi2::log_cdf", gamma::Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.gamma
            .0
            .log_survival("Chi2::log_survival", gamma::Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.gamma
            .0
            .quantile("Chi2::quantile", gamma::Law, probability)
    }
}

impl Kl for Chi2 {
    fn kl(&self, other: &Chi2) -> Result<Tensor> {
        self.gamma.0.kl("Chi2::kl", gamma::Law, &other.gamma.0)
    }
}

impl MixtureComponent for Chi2 {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        Chi2::new_unchecked(&select_component(self.df(), index, after)?)
    }
}
