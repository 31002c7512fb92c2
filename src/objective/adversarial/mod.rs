//! Losses of two networks that play against each other: a critic that tells data from what a generator makes, and the
//! generator.

mod f_gan;
mod hinge;
mod least_squares;
mod relativistic;
mod saturating;
mod wasserstein;

pub use f_gan::{FGan, FGanGenerator, FGanOrder};
pub use hinge::Hinge;
pub use least_squares::LeastSquares;
pub use relativistic::{Relativistic, RelativisticAverage};
pub use saturating::{NonSaturating, Saturating};
pub use wasserstein::Wasserstein;

use crate::error::Result;
use crate::kernels::elementwise::mean::{Identity, with_mean};
use crate::shape;
use candle_core::Tensor;

/// A loss for a critic and one for a generator, from the critic's raw scores of data (`real`) and of what the generator made
/// (`fake`): no sigmoid before them. Each player minimizes its own.
///
/// | type | critic: real, fake | generator | estimates |
/// |---|---|---|---|
/// | [`Saturating`] | softplus(-v), l softplus(v) | -l softplus(v) | twice Jensen-Shannon at l = 1 |
/// | [`NonSaturating`] | softplus(-v), l softplus(v) | softplus(-v) | as above |
/// | [`LeastSquares`] | (v - 1)^2 / 2, v^2 / 2 | (v - 1)^2 / 2 | triangular discrimination |
/// | [`Hinge`] | max(0, 1 - v), max(0, 1 + v) | -v | total variation |
/// | [`Wasserstein`] | -v, v | -v | Wasserstein distance, of a 1-Lipschitz critic |
/// | [`Relativistic`] | softplus(v' - v) of pairs | softplus(v - v') | ln 2 - loss |
/// | [`RelativisticAverage`] | softplus(mean v' - v), softplus(v' - mean v) | exchanged | ln 4 - loss |
/// | [`FGan`] | -rho(v), f*(rho(v)) | -f*(rho(v)) or -rho(v) | any f-divergence |
///
/// In a critic's step the fakes are detached (`critic(&real, &critic_net(&fake.detach())?)`), or only the critic's variables
/// are stepped.
///
/// Shapes: scores of any shape, each of which counts alike; `real` and `fake` may differ in number, but for
/// [`Relativistic`]. Units: nats, but for [`LeastSquares`], [`Hinge`] and [`Wasserstein`].
///
/// Gradients: exact first derivatives, of losses and of their totals; finite, as the losses are, for scores within 1e4 in
/// f32 and f64.
///
/// Errors: no scores to take a mean of; dtypes that are not floating point; `real` and `fake` of different dtypes or devices.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::objective::{AdversarialLoss, Saturating, Wasserstein};
/// # fn main() -> candle_prob::Result<()> {
/// let losses: [Box<dyn AdversarialLoss>; 2] = [Box::new(Saturating::default()), Box::new(Wasserstein)];
/// let real = Var::new(&[0.3f64, 1.2], &Device::Cpu)?;
/// let fake = Var::new(&[-0.4f64, 0.1, 0.2], &Device::Cpu)?;
/// for loss in losses {
///     let critic = loss.critic(&real, &fake)?;
///     assert_eq!((critic.real.dims(), critic.fake.dims()), ([2].as_slice(), [3].as_slice()));
///     let gradients = critic.total()?.backward()?;
///     // Scores of data are to rise.
///     assert!(gradients.get(&real).expect("a gradient").sum_all()?.to_scalar::<f64>()? < 0.);
///     // At most what the best critic would say.
///     assert!(critic.divergence.to_scalar::<f64>()? < 1.);
///     let generator = loss.generator(&real, &fake)?;
///     assert_eq!(generator.terms.dims(), [3]);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Source: Goodfellow et al. (2014), Generative adversarial nets; each type names its own.
pub trait AdversarialLoss {
    /// What the critic minimizes, with the divergence that it has found.
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss>;

    /// What the generator minimizes. Only relativistic losses read `real`; others take it as it is, empty too.
    fn generator(&self, real: &Tensor, fake: &Tensor) -> Result<GeneratorLoss>;
}

/// A critic's loss in its parts.
#[derive(Debug, Clone)]
pub struct CriticLoss {
    /// Of each score of data.
    pub real: Tensor,
    /// Of each score of the generator's.
    pub fake: Tensor,
    /// The divergence between data and generator as this critic sees it, a scalar without gradient: with all constants that
    /// the loss drops. It is no more than the divergence that the loss names, in expectation, and meets it at the best critic.
    /// [`Relativistic`] and [`RelativisticAverage`] name none: theirs is 0 for a critic that cannot tell both apart, and larger
    /// the better it can.
    pub divergence: Tensor,
    means: [Tensor; 2],
}

impl CriticLoss {
    /// From terms of any shapes; the divergence is `constant - factor * total`.
    ///
    /// Errors: parts without elements, of different dtypes or devices, or not floating point.
    pub fn new(real: Tensor, fake: Tensor, constant: f64, factor: f64) -> Result<Self> {
        let op = "CriticLoss::new";
        scores(op, &real, &fake)?;
        let real = with_mean(op, Identity, &real)?;
        CriticLoss::of(real, with_mean(op, Identity, &fake)?, constant, factor)
    }

    /// From terms with their means.
    fn of(
        [real, of_real]: [Tensor; 2],
        [fake, of_fake]: [Tensor; 2],
        constant: f64,
        factor: f64,
    ) -> Result<Self> {
        let total = (of_real.detach() + of_fake.detach())?;
        Ok(CriticLoss {
            real,
            fake,
            divergence: total.affine(-factor, constant)?,
            means: [of_real, of_fake],
        })
    }

    /// `mean(real) + mean(fake)`, a scalar: what the critic's optimizer takes. Terms are added in double precision, so that
    /// the mean is finite where they are.
    pub fn total(&self) -> Result<Tensor> {
        let [real, fake] = &self.means;
        Ok((real + fake)?)
    }
}

/// A generator's loss in its parts.
#[derive(Debug, Clone)]
pub struct GeneratorLoss {
    /// Of each score of the generator's.
    pub terms: Tensor,
    /// Of each score of data, where the loss reads them: [`RelativisticAverage`].
    pub real: Option<Tensor>,
    mean: Tensor,
    mean_of_real: Option<Tensor>,
}

impl GeneratorLoss {
    /// From terms of any shapes.
    ///
    /// Errors: parts without elements or not floating point.
    pub fn new(terms: Tensor, real: Option<Tensor>) -> Result<Self> {
        let op = "GeneratorLoss::new";
        shape::parameter(op, "terms", &terms)?;
        let fakes = with_mean(op, Identity, &terms)?;
        let Some(real) = real else {
            return Ok(GeneratorLoss::of(fakes));
        };
        scores(op, &real, &terms)?;
        Ok(GeneratorLoss::of_both(
            fakes,
            with_mean(op, Identity, &real)?,
        ))
    }

    /// From terms with their mean.
    fn of([terms, mean]: [Tensor; 2]) -> Self {
        GeneratorLoss {
            terms,
            real: None,
            mean,
            mean_of_real: None,
        }
    }

    fn of_both(fake: [Tensor; 2], [real, of_real]: [Tensor; 2]) -> Self {
        let mut out = GeneratorLoss::of(fake);
        out.real = Some(real);
        out.mean_of_real = Some(of_real);
        out
    }

    /// `mean(terms)`, and `mean(real)` with it where there is one: a scalar, for the generator's optimizer.
    pub fn total(&self) -> Result<Tensor> {
        match &self.mean_of_real {
            Some(real) => Ok((&self.mean + real)?),
            None => Ok(self.mean.clone()),
        }
    }
}

/// A loss that reads scores with the opposite sign, for critics whose low scores mean data.
///
/// `Negated(FGan::new(ReverseKl))` is the reverse KL's game with the output activation `rho(v) = -e^v` in the place of
/// `-e^-v`, which falls: `-E_data[e^v] + E_fake[v] + 1`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::ReverseKl;
/// use candle_prob::objective::{AdversarialLoss, FGan, Negated};
/// # fn main() -> candle_prob::Result<()> {
/// let (real, fake) = (Tensor::new(&[0.3f64], &Device::Cpu)?, Tensor::new(&[0.7f64], &Device::Cpu)?);
/// let critic = Negated(FGan::new(ReverseKl)).critic(&real, &fake)?;
/// let want = 1. - 0.3f64.exp() + 0.7;
/// assert!((critic.divergence.to_scalar::<f64>()? - want).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Ryu (2022), Mathematical Foundations of Machine Learning, f-GAN with reverse KL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negated<L>(
    /// The loss of the negated scores.
    pub L,
);

impl<L: AdversarialLoss> AdversarialLoss for Negated<L> {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        let op = "Negated::critic";
        self.0
            .critic(&negative(op, "real", real)?, &negative(op, "fake", fake)?)
    }

    fn generator(&self, real: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "Negated::generator";
        self.0
            .generator(&negative(op, "real", real)?, &negative(op, "fake", fake)?)
    }
}

/// Candle has no negative of whole numbers, and panics.
fn negative(op: &'static str, arg: &'static str, scores: &Tensor) -> Result<Tensor> {
    shape::float(op, arg, scores)?;
    Ok(scores.neg()?)
}

impl<L: AdversarialLoss + ?Sized> AdversarialLoss for Box<L> {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        (**self).critic(real, fake)
    }

    fn generator(&self, real: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        (**self).generator(real, fake)
    }
}

/// Scores of both that can be compared.
fn scores(op: &'static str, real: &Tensor, fake: &Tensor) -> Result<()> {
    shape::parameter(op, "real", real)?;
    shape::parameter(op, "fake", fake)?;
    shape::same_kind(op, "fake", fake, real)
}
