//! How well single latent dimensions stand for single factors of the data: the mutual information gap.

use super::mutual_information::{codes_at_once, examples};
use super::per_dimension::log_prob_per_dimension;
use crate::distribution::Factorized;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Tensor};
use std::collections::HashMap;

/// How well latent dimensions stand for K known factors.
#[derive(Debug, Clone)]
pub struct InformationGap {
    /// The mean of `gaps`: from 0 to 1, but for sampling noise.
    pub mean: f64,
    /// Of each factor: the largest information less the second largest, over the factor's entropy.
    pub gaps: Vec<f64>,
    /// `I(z_d; v_k)` in nats, shape `[K, D]`, f64.
    pub information: Tensor,
    /// The factors' entropies in nats.
    pub entropies: Vec<f64>,
}

/// The mutual information gap (MIG): 1 where each factor is in one latent dimension and no other.
///
/// Formula: `MIG = mean_k (I(z_a; v_k) - I(z_b; v_k)) / H(v_k)`, a and b the dimensions that know most and second most of factor
/// k, and `I(z_d; v_k) = mean_i [ln mean_{n: v_nk = v_ik} q(z_id | x_n) - ln mean_n q(z_id | x_n)]` over the given examples.
///
/// Shapes: a posterior of batch `[N]` whose event `E` has D independent elements, at least two; one code of each example,
/// `[N] ++ E`; the factors' values `[N, K]`, integers. Units: nats. Time is that of `N^2 D (K + 2)` exponentials, about a million
/// densities are in memory at once. Gradients: none.
///
/// Errors: a posterior whose batch has not one dim; fewer than two dimensions; codes or factors of other shapes; factors that
/// are not integers or have one value only.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
/// use candle_prob::objective::information_gap;
/// # fn main() -> candle_prob::Result<()> {
/// // Two factors of two values, each in a dimension of its own.
/// let loc = Tensor::new(&[[0f64, 0.], [0., 9.], [9., 0.], [9., 9.]], &Device::Cpu)?;
/// let factors = Tensor::new(&[[0u32, 0], [0, 1], [1, 0], [1, 1]], &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::new(&loc, &(loc.ones_like()? * 0.5)?)?;
/// let codes = posterior.sample(&[], &mut Rng::new(0))?;
/// assert!(information_gap(&posterior, &codes, &factors)?.mean > 0.999);
/// # Ok(())
/// # }
/// ```
///
/// Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement in VAEs, eq. 6 and appendix B.
pub fn information_gap<P: Factorized>(
    posterior: &P,
    codes: &Tensor,
    factors: &Tensor,
) -> Result<InformationGap> {
    let op = "objective::information_gap";
    let (n, event) = examples(op, posterior)?;
    shape::exactly(op, "codes", codes.dims(), &[&[n], event].concat())?;
    let factors = Factors::new(op, factors, n)?;
    let codes = codes.detach();
    let at_once = codes_at_once(n, event.iter().product());
    let mut information = vec![];
    let mut dims = 0;
    for start in (0..n).step_by(at_once) {
        let count = at_once.min(n - start);
        let under_all = codes.narrow(0, start, count)?.unsqueeze(1)?;
        let each = log_prob_per_dimension(posterior, &under_all)?.detach();
        dims = each.dim(2)?;
        if dims < 2 {
            let expected = "two independent elements or more";
            return Err(Error::shape(op, "posterior", expected, event));
        }
        information.resize(factors.count() * dims, 0.);
        let each: Vec<f64> = each.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        for (i, rows) in each.chunks_exact(n * dims).enumerate() {
            factors.add(start + i, rows, dims, &mut information);
        }
    }
    for sum in &mut information {
        *sum /= n as f64;
    }
    let entropies = factors.entropies();
    let gaps: Vec<f64> = information
        .chunks_exact(dims)
        .zip(&entropies)
        .map(|(of_factor, entropy)| {
            let mut sorted = of_factor.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            (sorted[0] - sorted[1]) / entropy
        })
        .collect();
    Ok(InformationGap {
        mean: gaps.iter().sum::<f64>() / gaps.len() as f64,
        information: Tensor::from_vec(information, (gaps.len(), dims), codes.device())?,
        gaps,
        entropies,
    })
}

/// The values of each factor, one row for each.
struct Factors {
    values: Vec<Vec<i64>>,
    /// How many examples have each value.
    counts: Vec<HashMap<i64, usize>>,
}

impl Factors {
    fn new(op: &'static str, factors: &Tensor, n: usize) -> Result<Self> {
        if factors.dtype().is_float() {
            return Err(Error::DType {
                op,
                arg: "factors",
                expected: "integers".into(),
                found: factors.dtype(),
            });
        }
        if factors.rank() != 2 || factors.dim(0)? != n || factors.dim(1)? == 0 {
            let expected = format!("[{n}, K], K at least 1");
            return Err(Error::shape(op, "factors", expected, factors.dims()));
        }
        let values = factors.t()?.to_dtype(DType::I64)?.to_vec2::<i64>()?;
        let mut counts = vec![];
        for (k, values) in values.iter().enumerate() {
            let mut count = HashMap::new();
            for value in values {
                *count.entry(*value).or_insert(0) += 1;
            }
            if count.len() < 2 {
                let found = format!("one in all examples of factor {k}");
                return Err(Error::value(op, "factors", "two values or more", found));
            }
            counts.push(count);
        }
        Ok(Factors { values, counts })
    }

    fn count(&self) -> usize {
        self.values.len()
    }

    fn entropies(&self) -> Vec<f64> {
        let entropy = |counts: &HashMap<i64, usize>| {
            let n = counts.values().sum::<usize>() as f64;
            // In a fixed order: that of a map is another in every run.
            let mut counts: Vec<usize> = counts.values().copied().collect();
            counts.sort_unstable();
            let share = counts.iter().map(|count| *count as f64 / n);
            -share.map(|p| p * p.ln()).sum::<f64>()
        };
        self.counts.iter().map(entropy).collect()
    }

    /// Adds what code i says about each factor in each dimension, `[K, D]`; `rows` are its log-densities `[N, D]`.
    fn add(&self, i: usize, rows: &[f64], dims: usize, information: &mut [f64]) {
        let all = log_mean(rows.chunks_exact(dims), dims);
        let of_factors = self.values.iter().zip(information.chunks_exact_mut(dims));
        for (values, information) in of_factors {
            let same = rows.chunks_exact(dims).zip(values);
            let same = same.filter(|(_, value)| **value == values[i]);
            let own = log_mean(same.map(|(row, _)| row), dims);
            for ((sum, own), all) in information.iter_mut().zip(own).zip(&all) {
                *sum += own - all;
            }
        }
    }
}

/// `ln mean e^x` of each of `dims` columns.
fn log_mean<'a>(rows: impl Iterator<Item = &'a [f64]> + Clone, dims: usize) -> Vec<f64> {
    let mut largest = vec![f64::NEG_INFINITY; dims];
    for row in rows.clone() {
        for (largest, x) in largest.iter_mut().zip(row) {
            *largest = largest.max(*x);
        }
    }
    let (mut sums, mut count) = (vec![0.; dims], 0.);
    for row in rows {
        count += 1.;
        for ((sum, x), largest) in sums.iter_mut().zip(row).zip(&largest) {
            *sum += (x - largest).exp();
        }
    }
    let logs = sums.iter().zip(largest);
    logs.map(|(sum, largest)| largest + (sum / count).ln())
        .collect()
}
