//! One trade-off under its names.

use super::Surrogate;
use crate::check;
use crate::error::Result;

/// The weight that an information bottleneck gives to the label, and what it is called in each form of the objective.
///
/// Formula: with `beta` of 1 or more these have the same minima:
///
/// | objective | weight | method |
/// |---|---|---|
/// | `I[X;Z] - beta I[Y;Z]`, `H[Z] - beta I[Y;Z]` | beta | [`beta`](Self::beta) |
/// | `H[Y\|Z] + beta' I[X;Z\|Y]`, `H[Y\|Z] + beta' H[Z\|Y]` | `1 / (beta - 1)` | [`conditional_weight`](Self::conditional_weight) |
/// | `H[Y\|Z] + beta'' I[X;Z]`, `H[Y\|Z] + beta'' H[Z]` | `1 / beta` | [`marginal_weight`](Self::marginal_weight) |
/// | `EDM(Y, Z) + gamma (H[Y\|Z] - H[Z\|Y]) + ..` | `1 - 2 / beta` | [`distance_weight`](Self::distance_weight) |
///
/// The first of each pair is the information bottleneck (IB), the second the deterministic one (DIB); the entropy distance is
/// `EDM(Y, Z) = H[Y|Z] + H[Z|Y]`, and for IB the last objective has the further term `(gamma - 1) H[Z|X]`.
///
/// `beta'` is the weight of [`ceb`](super::ceb), `beta''` that of [`vib`](super::vib), and the gamma of a
/// [`Surrogate`](Self::gamma) one of both. At `beta = 1` nothing but the code's cost counts (`beta'` is infinite), at infinity
/// nothing but the label.
///
/// ```
/// use candle_prob::objective::{Surrogate, Tradeoff};
/// # fn main() -> candle_prob::Result<()> {
/// let fischer = Tradeoff::new(2.)?;
/// assert_eq!((fischer.conditional_weight(), fischer.marginal_weight(), fischer.distance_weight()), (1., 0.5, 0.));
/// let vib = Tradeoff::from_marginal_weight(1e-3)?;
/// assert_eq!((vib.beta(), vib.gamma(Surrogate::LogVariance)), (1000., Some(1e-3)));
/// assert_eq!(vib.gamma(Surrogate::SquaredNorm), None);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: `beta''` is what is kept, so that no form loses digits at large beta. Near `beta = 1`, where `beta'` is large, that
/// leaves `beta'` a relative error of about `1e-16 beta'`.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, observation 1, section 6.3 and appendix A.2.1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tradeoff {
    /// `1 / beta`, 0 to 1.
    marginal: f64,
}

impl Tradeoff {
    /// From beta, 1 to infinity.
    ///
    /// Errors: a beta below 1, which would ask for a code that says nothing of the label.
    pub fn new(beta: f64) -> Result<Self> {
        check::at_least("Tradeoff::new", "beta", beta, 1.)?;
        Ok(Tradeoff {
            marginal: beta.recip(),
        })
    }

    /// From `beta' = 1 / (beta - 1)`, 0 to infinity.
    ///
    /// Errors: a negative weight.
    pub fn from_conditional_weight(weight: f64) -> Result<Self> {
        check::at_least("Tradeoff::from_conditional_weight", "weight", weight, 0.)?;
        // beta'' = beta' / (1 + beta').
        Ok(Tradeoff {
            marginal: (1. + weight.recip()).recip(),
        })
    }

    /// From `beta'' = 1 / beta`, 0 to 1.
    ///
    /// Errors: a weight outside of that.
    pub fn from_marginal_weight(weight: f64) -> Result<Self> {
        check::in_interval("Tradeoff::from_marginal_weight", "weight", weight, 0. ..=1.)?;
        Ok(Tradeoff { marginal: weight })
    }

    /// From `gamma = 1 - 2 / beta` of the entropy distance, -1 to 1.
    ///
    /// Errors: a gamma outside of that.
    pub fn from_distance_weight(gamma: f64) -> Result<Self> {
        check::in_interval("Tradeoff::from_distance_weight", "gamma", gamma, -1. ..=1.)?;
        Ok(Tradeoff {
            marginal: (1. - gamma) / 2.,
        })
    }

    /// The weight of `I[Y;Z]`, 1 to infinity.
    pub fn beta(self) -> f64 {
        self.marginal.recip()
    }

    /// `beta' = 1 / (beta - 1)`, the weight of `I[X;Z|Y]` or `H[Z|Y]`, 0 to infinity.
    pub fn conditional_weight(self) -> f64 {
        self.marginal / (1. - self.marginal)
    }

    /// `beta'' = 1 / beta`, the weight of `I[X;Z]` or `H[Z]`, 0 to 1.
    pub fn marginal_weight(self) -> f64 {
        self.marginal
    }

    /// `gamma = 1 - 2 / beta`, what mixes `H[Y|Z]` and `H[Z|Y]` besides the entropy distance, -1 to 1.
    pub fn distance_weight(self) -> f64 {
        1. - 2. * self.marginal
    }

    /// The gamma of a surrogate objective: `beta'` for the conditional log-variance, which bounds `H[Z|Y]`, `beta''` for the
    /// log-variance, which bounds `H[Z]`, and none for the squared norm, which is no entropy.
    pub fn gamma(self, surrogate: Surrogate) -> Option<f64> {
        match surrogate {
            Surrogate::SquaredNorm => None,
            Surrogate::LogVariance => Some(self.marginal_weight()),
            Surrogate::ConditionalLogVariance { .. } => Some(self.conditional_weight()),
        }
    }
}
