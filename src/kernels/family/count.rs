//! Numbers of events: draws of the counting families.

use crate::error::Result;
use crate::kernels::family::gamma::log_gamma;
use crate::kernels::machine::buffer;
use crate::kernels::number::saddle::{deviance, stirling};
use crate::kernels::random::{BLOCK, Scalar, Stream, scalars_at};
use crate::shape;
use candle_core::{D, DType, Device, Tensor};
use rand_distr::Distribution;

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
    let draw = |rng: &mut Scalar, p: f64, q: f64| {
        if count >= LARGE && p > 0. && q > 0. {
            return of_large(rng, count, p, q);
        }
        match rand_distr::Binomial::new(count as u64, p) {
            Ok(d) => d.sample(rng) as f64,
            Err(_) => f64::NAN,
        }
    };
    if p <= q {
        draw(rng, p, q)
    } else {
        count - draw(rng, q, p)
    }
}

/// From here on draws are made here: `rand_distr` has only 1 - p, whose rounding it raises to this power, and tests
/// acceptance by differences of logarithms of this size.
const LARGE: f64 = (1u64 << 23) as f64;

/// A binomial draw of few successes by inversion, of more by transformed rejection (Hoermann 1993, The Generation of
/// Binomial Random Variates, algorithm BTRS); masses are Loader's, which keep their digits at any count. For p up to 1/2.
fn of_large(rng: &mut Scalar, count: f64, p: f64, q: f64) -> f64 {
    let uniform = |rng: &mut Scalar| -> f64 { rand_distr::StandardUniform.sample(rng) };
    let mean = count * p;
    if mean < 10. {
        let (mut rest, mut x) = (uniform(rng), 0.);
        let mut mass = (count * (-p).ln_1p()).exp();
        // Beyond 200 is nothing: that is 60 standard deviations.
        while rest > mass && x < 200. {
            rest -= mass;
            mass *= (count - x) / (x + 1.) * (p / q);
            x += 1.;
        }
        return x;
    }
    let deviation = (mean * q).sqrt();
    let b = 1.15 + 2.53 * deviation;
    let a = -0.0873 + 0.0248 * b + 0.01 * p;
    let (alpha, squeeze) = ((2.83 + 5.1 / b) * deviation, 0.92 - 4.2 / b);
    let log_mass = |x: f64| {
        let rest = count - x;
        let terms = stirling(count) - stirling(rest) - deviance(rest, count * q, (count * q).ln());
        let log = terms + 0.5 * (count / rest).ln() - 0.5 * (std::f64::consts::TAU * x).ln();
        log - stirling(x) - deviance(x, mean, mean.ln())
    };
    let top = log_mass(((count + 1.) * p).floor());
    loop {
        let u = uniform(rng) - 0.5;
        let v = 1. - uniform(rng);
        let edge = 0.5 - u.abs();
        let x = ((2. * a / edge + b) * u + mean + 0.5).floor();
        if edge >= 0.07 && v <= squeeze {
            return x;
        }
        if !(x >= 0. && x <= count) {
            continue;
        }
        let bound = if x == 0. {
            count * (-p).ln_1p()
        } else {
            log_mass(x)
        };
        if (v * alpha / (a / (edge * edge) + b)).ln() <= bound - top {
            return x;
        }
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
