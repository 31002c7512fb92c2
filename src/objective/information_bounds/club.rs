//! The contrastive log-ratio upper bound.

use super::UpperBound;
use super::scores::{diagonal, mean, off_diagonal};
use crate::conditional::Conditional;
use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// The contrastive log-ratio upper bound of Cheng et al., from a conditional q(y | x) that is fitted beside it.
///
/// Formula: `E_p[ln q(y | x)] - E_q[ln q(y | x)]`, pairs in the first expectation, x and y of different pairs in the second. With
/// `q = p(y | x)` it is above the information by `KL(p(x) p(y) || p(x, y))`; with another q it is an upper
/// bound only where `KL(p(x, y) || q(y | x) p(x)) <= KL(p(x) p(y) || q(y | x) p(x))`: where q is nearer to the pairs than to what is
/// independent. A q that was never fitted bounds nothing, so [`bound`](Self::bound) refuses until
/// [`likelihood_loss`](Self::likelihood_loss) has been asked for; how well q fits is what that loss says, and a value below 0 says
/// that it does not.
///
/// Shapes: x `[N, ..]` as q takes it, y `[N] ++ E`; q's batch is `[N]` and its event E. Units: nats.
///
/// Gradients: of the loss to q; of the bound to x, y and q: leave q out of what an encoder's optimizer moves.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::Normal;
/// use candle_prob::objective::information_bounds::Club;
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let x = rng.normal(1000, DType::F64, &Device::Cpu)?;
/// let y = ((&x * 0.6)? + (rng.normal(1000, DType::F64, &Device::Cpu)? * 0.8)?)?;
/// let q = |x: &Tensor| Normal::new(&(x * 0.6)?, &(x.ones_like()? * 0.8)?);
/// let mut club = Club::new(q);
/// assert!(club.bound(&x, &y).is_err());
/// // Here q is known and the loss is only looked at; else an optimizer descends it.
/// let entropy = club.likelihood_loss(&x, &y)?.to_scalar::<f64>()?;
/// assert!((entropy - 1.196).abs() < 0.1);
/// // rho^2 / (1 - rho^2) = 0.5625; the information is 0.223.
/// assert!((club.bound(&x, &y)?.nats()? - 0.5625).abs() < 0.1);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the means are of different pairs alone; with x and y of the same pair, as there, the second one is biased by a
/// share of 1/N.
///
/// Source: Cheng, Hao, Dai, Liu, Gan and Carin (2020), CLUB: a contrastive log-ratio upper bound of mutual information, theorems
/// 3.1 and 3.2.
#[derive(Debug, Clone)]
pub struct Club<Q> {
    q: Q,
    fitted: bool,
}

impl<Q> Club<Q>
where
    Q: Conditional,
    Q::Output: Distribution,
{
    /// With a conditional that has not been fitted.
    pub fn new(q: Q) -> Self {
        Club { q, fitted: false }
    }

    /// The conditional.
    pub fn conditional(&self) -> &Q {
        &self.q
    }

    /// `-E_p[ln q(y | x)]`, a scalar, which q minimizes: its least value is `H(Y | X)`.
    ///
    /// Errors: what q refuses; not one value of y for each x.
    pub fn likelihood_loss(&mut self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (op, q) = ("Club::likelihood_loss", self.q.given(x)?);
        matching(op, &q, y)?;
        let loss = mean(&q.log_prob(y)?)?.neg()?;
        self.fitted = true;
        Ok(loss)
    }

    /// The bound, from N^2 log-densities.
    ///
    /// Errors: a q that was never fitted; N below 2; what q refuses.
    pub fn bound(&self, x: &Tensor, y: &Tensor) -> Result<UpperBound> {
        let op = "Club::bound";
        if !self.fitted {
            let expected = "a conditional that was fitted by `likelihood_loss`";
            return Err(Error::value(op, "q", expected, "one that was not"));
        }
        let q = self.q.given(x)?;
        let n = matching(op, &q, y)?;
        if n < 2 {
            return Err(Error::shape(op, "x", "at least 2 pairs", x.dims()));
        }
        let all = q.log_prob(&y.unsqueeze(1)?)?;
        let (own, others) = (diagonal(&all, n)?, off_diagonal(&all, n)?);
        Ok(UpperBound::new((mean(&own)? - mean(&others)?)?))
    }
}

/// The number of pairs, at least 1.
fn matching<Q: Distribution>(op: &'static str, q: &Q, y: &Tensor) -> Result<usize> {
    let n = match *q.batch_shape() {
        [n] if n > 0 => n,
        ref found => return Err(Error::shape(op, "q", "a batch [N], N at least 1", found)),
    };
    shape::exactly(op, "y", y.dims(), &[&[n], q.event_shape()].concat())?;
    Ok(n)
}
