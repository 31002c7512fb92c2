//! f-divergences between distributions over K values, exactly.

use super::FDivergence;
use crate::distribution::Categorical;
use crate::error::{Error, Result};
use crate::kernels::elementwise::composed::double;
use crate::kernels::elementwise::{Formula, LogMass, named};
use crate::kernels::number::Real;
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use crate::special::log_softmax;
use candle_core::{D, Tensor};

/// The f-divergence of two categorical distributions: `D_f(P || Q) = sum_k q_k f(p_k / q_k)`.
///
/// A class that only P has counts with `p_k lim f(u)/u`, a class that only Q has with `q_k f(0)`, a class that neither has
/// with nothing; either limit may be infinite.
///
/// Shapes: the batches of `p` and `q` broadcast; the result has the batch shape. Units: nats, where f has a logarithm.
///
/// Gradients: to the logits of both; none to masked classes.
///
/// Errors: different numbers of classes, dtypes or devices, or batches that do not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::Categorical;
/// use candle_prob::divergence::{JensenShannon, KullbackLeibler, categorical};
/// # fn main() -> candle_prob::Result<()> {
/// let p = Categorical::new(&Tensor::new(&[0f64, 0.], &Device::Cpu)?)?;
/// let q = Categorical::new(&Tensor::new(&[0f64, f64::NEG_INFINITY], &Device::Cpu)?)?;
/// let mean = categorical(&JensenShannon, &p, &q)?.to_scalar::<f64>()?;
/// assert!((mean - 0.2157615543388357).abs() < 1e-15);
/// assert_eq!(categorical(&KullbackLeibler, &p, &q)?.to_scalar::<f64>()?, f64::INFINITY);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside. Ratios above 1 go through f with P and Q exchanged, so that a probability which
/// underflows costs nothing.
///
/// Source: Csiszar (1967), Information-type measures of difference of probability distributions and indirect observations.
pub fn categorical<F: FDivergence + ?Sized>(
    f: &F,
    p: &Categorical,
    q: &Categorical,
) -> Result<Tensor> {
    let op = "divergence::categorical";
    let (p, q) = (p.logits(), q.logits());
    check(op, p, q)?;
    let [p_log, q_log] = [double(p)?, double(q)?].map(|logits| log_softmax(&logits, D::Minus1));
    Ok(sum(op, f, &p_log?, &q_log?)?.to_dtype(p.dtype())?)
}

/// As [`categorical`], of probabilities `batch ++ [K]`, or of any other masses: they are taken as they are.
///
/// Gradients: to both; none to a mass of exactly 0.
///
/// Errors: masses that are negative, NaN or infinite; different numbers of values, dtypes or devices, or batches that do
/// not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{TotalVariation, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let p = Tensor::new(&[[0.5f64, 0.5, 0.], [0.2, 0.3, 0.5]], &Device::Cpu)?;
/// let q = Tensor::new(&[0f64, 0.5, 0.5], &Device::Cpu)?;
/// let each = discrete(&TotalVariation, &p, &q)?.to_vec1::<f64>()?;
/// assert!((each[0] - 0.5).abs() < 1e-15 && (each[1] - 0.2).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: as for [`categorical`].
pub fn discrete<F: FDivergence + ?Sized>(f: &F, p: &Tensor, q: &Tensor) -> Result<Tensor> {
    let op = "divergence::discrete";
    check(op, p, q)?;
    for (arg, masses) in [("p", p), ("q", q)] {
        if let Some(found) = first_outside(masses, End::Closed(0.), End::Open(f64::INFINITY))? {
            return Err(Error::value(op, arg, "finite masses of 0 or more", found));
        }
    }
    let [p_log, q_log] = [double(p)?, double(q)?].map(|masses| named(op, LogMass, [&masses]));
    Ok(sum(op, f, &p_log?, &q_log?)?.to_dtype(p.dtype())?)
}

fn check(op: &'static str, p: &Tensor, q: &Tensor) -> Result<()> {
    shape::broadcast_parameters(op, [("p", p), ("q", q)])?;
    if p.rank() == 0 || p.dims().last() != q.dims().last() {
        let expected = format!("batch ++ [K], with the K of p's {:?}", p.dims());
        return Err(Error::shape(op, "q", expected, q.dims()));
    }
    Ok(())
}

/// ln p - ln q, 0 where neither has a mass.
#[derive(Clone, Copy)]
struct LogRatio;

impl Formula<2> for LogRatio {
    #[inline(always)]
    fn at<R: Real>(self, [p, q]: [R; 2]) -> R {
        if p.value() == f64::NEG_INFINITY && q.value() == f64::NEG_INFINITY {
            return R::constant(0.);
        }
        p - q
    }
}

/// e^w x, 0 where e^w is 0 whatever x is.
#[derive(Clone, Copy)]
struct Weigh;

impl Formula<2> for Weigh {
    #[inline(always)]
    fn at<R: Real>(self, [w, x]: [R; 2]) -> R {
        let weight = w.exp();
        if weight.value() == 0. {
            return R::constant(0.);
        }
        weight * x
    }
}

/// Both halves vanish at a ratio of 1, so each is asked for its own side only: `q f(p/q)` below, `p f'(q/p)` above, with
/// f' the generator of the divergence exchanged.
fn sum<F: FDivergence + ?Sized>(
    op: &'static str,
    f: &F,
    p_log: &Tensor,
    q_log: &Tensor,
) -> Result<Tensor> {
    let ratio = named(op, LogRatio, [p_log, q_log])?;
    let zero = ratio.zeros_like()?;
    let below = f.generator(&ratio.minimum(&zero)?)?;
    let above = f.reversed(&ratio.neg()?.minimum(&zero)?)?;
    let terms = (named(op, Weigh, [q_log, &below])? + named(op, Weigh, [p_log, &above])?)?;
    reduce::sum(&terms)
}
