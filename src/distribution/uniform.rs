//! The uniform distribution.

use super::family::*;
use super::parameters::above;
use super::*;
use candle_core::DType;

const PARAMETERS: Domains<2> = [("low", Domain::Real), ("high", Domain::Real)];

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
pub struct Uniform(pub(super) Parameters<2>);

impl Uniform {
    /// From the ends of the interval.
    pub fn new(low: &Tensor, high: &Tensor) -> Result<Self> {
        let op = "Uniform::new";
        let parameters = Parameters::new(op, PARAMETERS, [low, high])?;
        above(op, low, high)?;
        Ok(Uniform(parameters))
    }

    /// As [`new`](Uniform::new), without looking at the parameters' values.
    pub fn new_unchecked(low: &Tensor, high: &Tensor) -> Result<Self> {
        Parameters::unchecked("Uniform::new_unchecked", PARAMETERS, [low, high]).map(Uniform)
    }

    /// The lower end, shape `batch`.
    pub fn low(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The upper end, shape `batch`.
    pub fn high(&self) -> &Tensor {
        self.0.full(1)
    }
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<3> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, low, high]: [R; 3]) -> R {
        if x.value() < low.value() || x.value() >= high.value() {
            return R::constant(f64::NEG_INFINITY);
        }
        // NaN stays NaN.
        x * 0. - (high - low).ln()
    }
}

impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, low, high]: [R; 3], upper: bool) -> R {
        let (near, far) = (x - low, high - x);
        let (inside, outside) = if upper { (far, near) } else { (near, far) };
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

    #[inline(always)]
    fn quantile<R: Real>(self, [p, low, high]: [R; 3]) -> R {
        between(p, low, high)
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [low, high]: [R; 2]) -> R {
        (low + high) * 0.5
    }

    fn variance<R: Real>(self, [low, high]: [R; 2]) -> R {
        (high - low).square() / 12.
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [low, high]: [R; 2]) -> R {
        (high - low).ln()
    }
}

impl KlFormula<4> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [low, high, from, to]: [R; 4]) -> R {
        if from.value() > low.value() || to.value() < high.value() {
            return R::constant(f64::INFINITY);
        }
        ((to - from) / (high - low)).ln()
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

impl Distribution for Uniform {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [low, high] = self.0.given();
        let u = self.0.uniforms(shape, rng)?;
        let dtype = low.dtype();
        named("Uniform::sample", Sample { dtype }, [&u, low, high])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Uniform::log_prob", Law, value)
    }
}

impl Detach for Uniform {
    fn detach(&self) -> Self {
        Uniform(self.0.detach())
    }
}

impl Reparameterized for Uniform {}

impl Moments for Uniform {
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Uniform::mean", Law)
    }

    /// `(high - low)^2 / 12`.
    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Uniform::variance", Law)
    }
}

impl Mode for Uniform {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.low().clone())
    }
}

impl Entropy for Uniform {
    /// `ln(high - low)`.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Uniform::entropy", Law)
    }
}

impl Cdf for Uniform {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Uniform::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Uniform::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Uniform::quantile", Law, probability)
    }
}

impl Kl for Uniform {
    /// `ln((high_q - low_q) / (high_p - low_p))`; infinite where the other interval does not contain this one.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        self.0.kl("Uniform::kl", Law, &other.0)
    }
}

impl MixtureComponent for Uniform {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Uniform)
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
