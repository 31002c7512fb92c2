//! Numbers of events: draws of the counting families, and the two functions that their masses are exact in.
//!
//! Loader (2000), Fast and Accurate Computation of Binomial Probabilities: with Stirling's remainder s and the deviance
//! D, `ln Poisson(x | m) = -ln(2 pi x) / 2 - s(x) - D(x, m)`. No large terms cancel, whatever the size of x and m.

use super::buffer;
use super::gamma::log_gamma;
use super::random::{BLOCK, Scalar, Stream, scalars_at};
use super::special::{digamma, lgamma, series};
use crate::error::Result;
use crate::shape;
use candle_core::{D, DType, Device, Tensor};
use rand_distr::Distribution;

/// `ln x! - ln(sqrt(2 pi x) (x / e)^x)`, for positive x.
pub(crate) fn stirling(x: f64) -> f64 {
    if x < 8. {
        return lgamma(x + 1.) - (x + 0.5) * x.ln() + x - 0.918_938_533_204_672_7;
    }
    let z = 1. / (x * x);
    let c = const { series(0) };
    c.iter().rev().fold(0., |sum, c| sum * z + c) / x
}

/// The derivative of [`stirling`].
pub(crate) fn stirling_slope(x: f64) -> f64 {
    if x < 8. {
        return digamma(x) + 0.5 / x - x.ln();
    }
    let z = 1. / (x * x);
    let c = const { series(1) };
    c.iter().rev().fold(0., |sum, c| sum * z + c) * z
}

/// `x ln(x / mean) + mean - x`, not negative, 0 where both are equal; exact where they are close.
pub(crate) fn deviance(x: f64, mean: f64, log_mean: f64) -> f64 {
    if x == 0. {
        return mean;
    }
    let (gap, sum) = (x - mean, x + mean);
    if gap.abs() > 0.1 * sum || !(sum < f64::INFINITY) {
        return x * (x.ln() - log_mean) - gap;
    }
    // ln(x / mean) = 2 artanh(v).
    let v = gap / sum;
    let (mut term, mut total) = (2. * x * v, gap * v);
    for k in 1..12 {
        term *= v * v;
        total += term / f64::from(2 * k + 1);
    }
    total
}

/// Draws of shape `sample ++ shape of the parameters`, in their dtype and detached. `draw` makes one from the numbers.
pub(crate) fn draws<const N: usize>(
    parameters: [&Tensor; N],
    sample: &[usize],
    stream: Stream,
    draw: impl Fn(&mut Scalar, [f64; N]) -> f64 + Sync,
) -> Result<Tensor> {
    let like = parameters[0];
    let shape = shape::draws("Distribution::sample", sample, like.dims())?;
    let mut table = vec![[0.; N]; like.elem_count()];
    for (n, parameter) in parameters.into_iter().enumerate() {
        let list = parameter.detach().to_device(&Device::Cpu)?;
        let list = list.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        for (row, x) in table.iter_mut().zip(list) {
            row[n] = x;
        }
    }
    let out = scalars_at(stream, shape.iter().product(), |rng, i| {
        draw(rng, table[i % table.len()])
    });
    let out = Tensor::from_vec(out, shape, &Device::Cpu)?;
    Ok(out.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// From here on a draw is the whole part of a normal one: counts are even numbers in f64 there.
const NORMAL: f64 = 1e16;

/// A Poisson draw; NaN for a rate that is none.
pub(crate) fn poisson(rng: &mut Scalar, rate: f64) -> f64 {
    if rate == 0. || rate == f64::INFINITY {
        return rate;
    }
    if rate >= NORMAL {
        let z: f64 = rand_distr::StandardNormal.sample(rng);
        return (rate + rate.sqrt() * z).floor();
    }
    rand_distr::Poisson::new(rate).map_or(f64::NAN, |d| d.sample(rng))
}

/// A binomial draw from a probability and its complement: the smaller of the two decides, which keeps its digits.
pub(crate) fn binomial(rng: &mut Scalar, count: f64, [p, q]: [f64; 2]) -> f64 {
    if !(count >= 0.) {
        return f64::NAN;
    }
    // Of so many trials the successes are a Poisson variable's if they are few, else a normal one's.
    let many = |rng: &mut Scalar, p: f64, q: f64| {
        let mean = count * p;
        if mean < 1e8 {
            return poisson(rng, mean);
        }
        let z: f64 = rand_distr::StandardNormal.sample(rng);
        (mean + (mean * q).sqrt() * z).floor()
    };
    if count >= NORMAL {
        return if p <= q {
            many(rng, p, q)
        } else {
            count - many(rng, q, p)
        };
    }
    let draw = |rng: &mut Scalar, p: f64| match rand_distr::Binomial::new(count as u64, p) {
        Ok(d) => d.sample(rng) as f64,
        Err(_) => f64::NAN,
    };
    if p <= q {
        draw(rng, p)
    } else {
        count - draw(rng, q)
    }
}

/// A geometric draw, the failures before the first success, from `ln(1 - p)`: the whole part of an exponential.
pub(crate) fn geometric(rng: &mut Scalar, log_q: f64) -> f64 {
    let e: f64 = rand_distr::Exp1.sample(rng);
    (e / -log_q).floor()
}

/// A negative binomial draw from the log-odds `ln(p / (1 - p))`: Poisson with a gamma rate.
pub(crate) fn negative_binomial(rng: &mut Scalar, count: f64, log_odds: f64) -> f64 {
    let rate = (log_gamma(rng, count) + log_odds).exp();
    poisson(rng, rate)
}

/// Multinomial draws of shape `sample ++ shape of log_p`, in the dtype of the counts: of each class a binomial share of
/// what the classes before it left. `count` has the shape of `log_p` without its last dim.
pub(crate) fn multinomial(
    count: &Tensor,
    log_p: &Tensor,
    sample: &[usize],
    stream: Stream,
) -> Result<Tensor> {
    let list = |x: &Tensor| -> Result<Vec<f64>> {
        let x = x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        Ok(x.flatten_all()?.to_vec1()?)
    };
    let (counts, mut p) = (list(count)?, list(log_p)?);
    let k = log_p.dim(D::Minus1)?;
    p.iter_mut().for_each(|p| *p = p.exp());
    // What is left from each class on, without the digits that 1 - p loses.
    let mut left = p.clone();
    for row in left.chunks_exact_mut(k) {
        for i in (1..k).rev() {
            row[i - 1] += row[i];
        }
    }
    let shape = shape::draws("Distribution::sample", sample, log_p.dims())?;
    let rows = (BLOCK / k).max(1);
    let out = buffer::build(shape.iter().product(), rows * k, |offset, out| {
        let mut rng = stream.scalar((offset / (rows * k)) as u64);
        for (i, out) in out.chunks_exact_mut(k).enumerate() {
            let row = (offset / k + i) % counts.len();
            let (p, left) = (&p[row * k..][..k], &left[row * k..][..k]);
            let mut rest = counts[row];
            for c in 0..k {
                out[c] = match left.get(c + 1) {
                    Some(after) if rest > 0. => {
                        binomial(&mut rng, rest, [p[c] / left[c], after / left[c]])
                    }
                    _ => rest,
                };
                rest -= out[c];
            }
        }
    });
    let out = Tensor::from_vec(out, shape, &Device::Cpu)?;
    Ok(out.to_dtype(count.dtype())?.to_device(count.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stirling_is_smooth_where_the_forms_meet() {
        for (f, tolerance) in [(stirling as fn(f64) -> f64, 4e-15), (stirling_slope, 1e-15)] {
            assert!((f(8f64.next_down()) - f(8.)).abs() < tolerance);
        }
        // ln 20! = 42.3356164607534850...
        let x = 20f64;
        let log = stirling(x) + 0.5 * (std::f64::consts::TAU * x).ln() + x * x.ln() - x;
        assert!((log - 42.335_616_460_753_485).abs() < 1e-14);
    }

    #[test]
    fn deviance_is_exact_near_and_far() {
        // x ln(x / m) + m - x with x = m + 1: 1 / (2 m) - 1 / (6 m^2) + 1 / (12 m^3).
        let m = 1e8f64;
        let want = 0.5 / m - 1. / (6. * m * m);
        assert!((deviance(m + 1., m, m.ln()) / want - 1.).abs() < 1e-14);
        let (x, m) = (2f64, 2.5f64);
        assert!((deviance(x, m, m.ln()) - (x * (x / m).ln() + m - x)).abs() < 1e-15);
        assert_eq!(deviance(0., 3., 3f64.ln()), 3.);
        assert_eq!(deviance(4., 4., 4f64.ln()), 0.);
        assert_eq!(deviance(4., 0., f64::NEG_INFINITY), f64::INFINITY);
        assert!(deviance(f64::NAN, 1., 0.).is_nan() && deviance(1., f64::NAN, f64::NAN).is_nan());
    }
}
