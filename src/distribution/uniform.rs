//! The uniform distribution.

use super::parameters::{Domain, Parameters, above};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
use candle_core::DType;

/// Uniform distribution on the interval from `low` to `high`; `low` belongs to it, `high` does not.
///
/// Formula: `log p(x) = -ln(high - low)` inside, -inf outside.
///
/// Shapes: `low` and `high` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = low + u (high - low)` for uniform u; first derivatives only. That of the density to the value
/// is 0.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; `high` that is not above `low`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Uniform};
/// # fn main() -> candle_prob::Result<()> {
/// let (low, high) = (Tensor::new(1f64, &Device::Cpu)?, Tensor::new(3f64, &Device::Cpu)?);
/// let x = Tensor::new(&[1f64, 3.], &Device::Cpu)?;
/// let log_prob = Uniform::new(&low, &high)?.log_prob(&x)?.to_vec1::<f64>()?;
/// assert_eq!(log_prob, [-(2f64.ln()), f64::NEG_INFINITY]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: no draw rounds to `high`, in half precision neither.
#[derive(Debug, Clone)]
pub struct Uniform {
    pub(super) parameters: Parameters<2>,
}

impl Uniform {
    /// From the ends of the interval.
    pub fn new(low: &Tensor, high: &Tensor) -> Result<Self> {
        let parameters = [("low", low, Domain::Real), ("high", high, Domain::Real)];
        let parameters = Parameters::new("Uniform::new", parameters)?;
        above("Uniform::new", low, high)?;
        Ok(Uniform { parameters })
    }

    /// As [`new`](Uniform::new), without looking at the parameters' values.
    pub fn new_unchecked(low: &Tensor, high: &Tensor) -> Result<Self> {
        let parameters = [("low", low), ("high", high)];
        Ok(Uniform {
            parameters: Parameters::unchecked("Uniform::new_unchecked", parameters)?,
        })
    }

    /// The lower end, shape `batch`.
    pub fn low(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The upper end, shape `batch`.
    pub fn high(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    /// A formula of value and parameters; `op` names the caller in errors.
    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [low, high] = self.parameters.given();
        formula(f, [value, low, high])
    }
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<3> for LogProb {
    const NAME: &'static str = "uniform-log-prob";

    #[inline(always)]
    fn at<R: Real>(self, [x, low, high]: [R; 3]) -> R {
        if x.value() < low.value() || x.value() >= high.value() {
            return R::constant(f64::NEG_INFINITY);
        }
        // NaN stays NaN.
        x * 0. - (high - low).ln()
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "uniform-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, low, high]: [R; 3]) -> R {
        let (near, far) = (x - low, high - x);
        let (inside, outside) = if self.upper { (far, near) } else { (near, far) };
        let width = high - low;
        if inside.value() <= 0. {
            R::constant(f64::NEG_INFINITY)
        } else if outside.value() <= 0. {
            R::constant(0.)
        } else if inside.value() < outside.value() {
            (inside / width).ln()
        } else {
            (-outside / width).ln_1p()
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "uniform-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, low, high]: [R; 3]) -> R {
        between(p, low, high)
    }
}

/// The same at both ends without rounding.
fn between<R: Real>(p: R, low: R, high: R) -> R {
    let width = high - low;
    if p.value() < 0.5 {
        low + p * width
    } else {
        high - (-p + 1.) * width
    }
}

/// Below `high` also after rounding to the dtype of the draws.
#[derive(Clone, Copy)]
struct Sample {
    dtype: DType,
}

impl Formula<3> for Sample {
    const NAME: &'static str = "uniform-sample";

    #[inline(always)]
    fn at<R: Real>(self, [u, low, high]: [R; 3]) -> R {
        let x = between(u, low, high);
        let top = next_below(high.value(), self.dtype);
        if x.value() > top { x.map(top, 1.) } else { x }
    }
}

/// The next smaller number of the dtype.
fn next_below(x: f64, dtype: DType) -> f64 {
    let single = x as f32;
    // A number's bits in f32, of which shorter formats drop some, count its magnitude.
    let step = |dropped: u32| {
        let bits = single.to_bits();
        let next = match (single == 0., single > 0.) {
            (true, _) => (1 << 31) | (1 << dropped),
            (_, true) => bits - (1 << dropped),
            _ => bits + (1 << dropped),
        };
        f64::from(f32::from_bits(next))
    };
    match dtype {
        DType::F64 => x.next_down(),
        DType::BF16 => step(16),
        // Subnormal below 2^-14.
        DType::F16 if x.abs() <= 2f64.powi(-14) => x - 2f64.powi(-24),
        DType::F16 => step(13),
        _ => step(0),
    }
}

#[derive(Clone, Copy)]
struct Mean;

impl Formula<2> for Mean {
    const NAME: &'static str = "uniform-mean";

    #[inline(always)]
    fn at<R: Real>(self, [low, high]: [R; 2]) -> R {
        (low + high) * 0.5
    }
}

#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    const NAME: &'static str = "uniform-variance";

    #[inline(always)]
    fn at<R: Real>(self, [low, high]: [R; 2]) -> R {
        (high - low).square() / 12.
    }
}

#[derive(Clone, Copy)]
struct Width;

impl Formula<2> for Width {
    const NAME: &'static str = "uniform-entropy";

    #[inline(always)]
    fn at<R: Real>(self, [low, high]: [R; 2]) -> R {
        (high - low).ln()
    }
}

impl Distribution for Uniform {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [low, high] = self.parameters.given();
        let u = self.parameters.uniforms(shape, rng)?;
        let dtype = low.dtype();
        formula(Sample { dtype }, [&u, low, high])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Uniform::log_prob", LogProb, value)
    }
}

impl Reparameterized for Uniform {}

impl Moments for Uniform {
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Mean)
    }

    /// `(high - low)^2 / 12`.
    fn variance(&self) -> Result<Tensor> {
        self.parameters.formula(Variance)
    }
}

impl Mode for Uniform {
    fn mode(&self) -> Result<Tensor> {
        self.low()
    }
}

impl Entropy for Uniform {
    /// `ln(high - low)`.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(Width)
    }
}

impl Cdf for Uniform {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Uniform::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Uniform::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Uniform::quantile", probability)?;
        self.at("Uniform::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<4> for Divergence {
    const NAME: &'static str = "uniform-kl";

    #[inline(always)]
    fn at<R: Real>(self, [low, high, from, to]: [R; 4]) -> R {
        if from.value() > low.value() || to.value() < high.value() {
            return R::constant(f64::INFINITY);
        }
        ((to - from) / (high - low)).ln()
    }
}

impl Kl for Uniform {
    /// `ln((high_q - low_q) / (high_p - low_p))`; infinite where the other interval does not contain this one.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        self.parameters
            .check_other("Uniform::kl", &other.parameters)?;
        let ([low, high], [from, to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [low, high, from, to])
    }
}

impl MixtureComponent for Uniform {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Uniform { parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Nothing of the format is between the two, and they differ.
    #[test]
    fn the_next_smaller_number() -> Result<()> {
        let cast = |x: f64, dtype| -> Result<f64> {
            let x = Tensor::new(x, &Device::Cpu)?.to_dtype(dtype)?;
            Ok(x.to_dtype(DType::F64)?.to_scalar()?)
        };
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for x in [
                1.,
                -1.,
                2f64.powi(-14),
                -(2f64.powi(-14)),
                3e-5,
                0.,
                1000.,
                -0.375,
            ] {
                let x = cast(x, dtype)?;
                let below = next_below(x, dtype);
                let middle = below + 0.5 * (x - below);
                assert!(
                    below < x && cast(below, dtype)? == below,
                    "{dtype:?} {x} {below}"
                );
                for nudged in [middle.next_up(), middle.next_down()] {
                    let near = cast(nudged, dtype)?;
                    assert!(near == below || near == x, "{dtype:?} {x} {below} {near}");
                }
            }
        }
        Ok(())
    }
}
