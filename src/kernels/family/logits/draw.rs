//! Seeded draws and quantiles of classes, by inversion of the distribution function in f64.

use crate::error::{Error, Result};
use crate::kernels::machine::buffer::{self, CHUNK};
use crate::kernels::random::{self, Stream};
use candle_core::{D, DType, Device, Tensor};

/// `repeats` classes for each row of `logits` `[.., K]`, by inversion of the distribution function in f64: shape
/// `[repeats, ..]` flattened, u32. A class of logit -inf is never drawn.
pub(crate) fn categorical_sample(
    logits: &Tensor,
    repeats: usize,
    stream: Stream,
) -> Result<Vec<u32>> {
    let (_, table, k) = masses("Categorical::sample", logits)?;
    let count = table.len() / k;
    let uniforms = random::uniforms_f64(stream, count * repeats);
    Ok(buffer::build(uniforms.len(), CHUNK, |offset, out| {
        for (i, out) in out.iter_mut().enumerate() {
            let row = (offset + i) % count;
            let mass = &table[row * k..][..k];
            let target = uniforms[offset + i] * mass[k - 1];
            // The product may round up to the total: then the last class with any mass.
            let class = mass.partition_point(|m| *m <= target);
            *out = class.min(mass.partition_point(|m| *m < mass[k - 1])) as u32;
        }
    }))
}

/// The first class up to which the probability is at least p, for each of `p`, which go through the rows of logits in turn; at
/// 1 the last one that is possible, however little its probability adds.
pub(crate) fn categorical_quantile(
    op: &'static str,
    logits: &Tensor,
    p: &[f64],
) -> Result<Vec<u32>> {
    let (logits, table, k) = masses(op, logits)?;
    let count = table.len() / k;
    let class = |(i, p): (usize, &f64)| {
        let row = i % count * k..(i % count + 1) * k;
        if *p >= 1. {
            let last = logits[row].iter().rposition(|l| *l > f64::NEG_INFINITY);
            return last.unwrap_or(0) as u32;
        }
        let mass = &table[row];
        mass.partition_point(|m| *m < p * mass[k - 1]) as u32
    };
    Ok(p.iter().enumerate().map(class).collect())
}

/// The logits, running sums of the rows' unnormalized probabilities, and how many classes there are.
fn masses(op: &'static str, logits: &Tensor) -> Result<(Vec<f64>, Vec<f64>, usize)> {
    let k = logits.dim(D::Minus1)?.max(1);
    let logits = logits.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let logits = logits.flatten_all()?.to_vec1::<f64>()?;
    let table = cumulative(&logits, k);
    let mut totals = table.iter().skip(k - 1).step_by(k);
    match totals.position(|total| !(*total > 0. && *total < f64::INFINITY)) {
        Some(row) => Err(Error::value(
            op,
            "logits",
            "a finite largest logit in each row",
            format!("row {row} without one"),
        )),
        None => Ok((logits, table, k)),
    }
}

/// Running sums of `exp(l - max)` along rows of `k`.
fn cumulative(logits: &[f64], k: usize) -> Vec<f64> {
    let chunk = k * CHUNK.div_ceil(k);
    buffer::build(logits.len(), chunk, |offset, out| {
        for (row, out) in logits[offset..]
            .chunks_exact(k)
            .zip(out.chunks_exact_mut(k))
        {
            let max = row.iter().fold(f64::NEG_INFINITY, |m, l| m.max(*l));
            let mut sum = 0.;
            for (l, out) in row.iter().zip(out) {
                sum += (l - max).exp();
                *out = sum;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mass() -> Result<()> {
        let logits = Tensor::new(
            &[[0f32, f32::NEG_INFINITY], [f32::NEG_INFINITY; 2]],
            &Device::Cpu,
        )?;
        let stream = Stream { key: 1, draw: 0 };
        assert!(categorical_sample(&logits, 3, stream).is_err());
        let one = categorical_sample(&logits.narrow(0, 0, 1)?, 1000, stream)?;
        assert!(one.iter().all(|c| *c == 0));
        Ok(())
    }
}
