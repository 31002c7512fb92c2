//! The conditional mutual information of Frenzel and Pompe.

use super::counts::{digamma, mean_digamma, others_within, radii};
use super::space::{Samples, joint, max_norm, same_count, tie_share};
use super::{Estimate, KnnConfig, Null};
use crate::error::Result;
use crate::neighbours::{Bound, Metric, NearestNeighbours};
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor};

/// Neighbours in z whose x a sample may get in a null.
const LOCAL: usize = 5;

/// The mutual information of continuous variables x and y under a third one, of samples that come in triples.
///
/// Formula: `psi(k) - <psi(n_xz + 1) + psi(n_yz + 1) - psi(n_z + 1)>`, n the others that are strictly closer in a space than
/// the k-th neighbour in the joint one, all in max-norm.
///
/// Shapes: `x` `[N, d_x]`, `y` `[N, d_y]` and `z` `[N, d_z]`, of any floating-point dtypes. Units: nats. Gradients: none.
///
/// Null: x of one of the five nearest neighbours in z takes the place of each x, as far as they last each one once, so that
/// x and z stay as they are for each other.
///
/// Errors: other shapes; elements that are not finite; k of 0 or N and more; a negative jitter; 1 shuffle; another metric
/// than Chebyshev where a variable has several dimensions.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::information::knn::{KnnConfig, conditional_mutual_information};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let mut normal = || rng.normal((1000, 1), DType::F64, &Device::Cpu);
/// let (z, x, y) = (normal()?, normal()?, normal()?);
/// let (x, y) = ((&z + x)?, (&z + y)?); // what they share is z
/// let found = conditional_mutual_information(&x, &y, &z, &KnnConfig::default(), &mut rng)?;
/// assert!(found.nats.abs() < 0.1);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: as [`mutual_information`](super::mutual_information). A dependence is underestimated, the more so the more
/// dimensions z has.
///
/// Source: Frenzel and Pompe (2007), eq. 4; the null: Runge (2018), algorithm 1.
#[doc(alias = "cmi")]
pub fn conditional_mutual_information(
    x: &Tensor,
    y: &Tensor,
    z: &Tensor,
    config: &KnnConfig,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "knn::conditional_mutual_information";
    let x = Samples::new(op, "x", x, config, rng)?;
    let (n, k) = (x.len(), config.k);
    same_count(op, "y", y, n)?;
    same_count(op, "z", z, n)?;
    let y = Samples::new(op, "y", y, config, rng)?;
    let z = Samples::new(op, "z", z, config, rng)?;
    config.check(op, n)?;
    max_norm(op, config.metric, &[&x, &y, &z])?;
    let same: Vec<usize> = (0..n).collect();
    let triples = Triples {
        near_yz: joint(&[(&y, &same), (&z, &same)]).neighbours(Metric::Chebyshev)?,
        near_z: z.neighbours(Metric::Chebyshev)?,
        same,
        x,
        y,
        z,
    };
    let Triples { same, x, y, z, .. } = &triples;
    let nats = triples.estimate(k, same)?;
    let dims = vec![x.dims, y.dims, z.dims];
    let estimate = Estimate::new(nats, k, n, dims, tie_share(&[x, y, z]));
    let mut estimate = estimate
        .not_negative()
        .continuous()
        .at_most(digamma(n) - digamma(k));
    if config.shuffles > 0 {
        let z = told_apart(&triples.z, rng)?.neighbours(Metric::Chebyshev)?;
        let near = z.nearest_others(LOCAL.min(n - 1))?;
        let near: Vec<u32> = near.index.flatten_all()?.to_vec1()?;
        estimate.null = Null::shuffled(config.shuffles, || {
            triples.estimate(k, &local_order(&near, n, rng)?)
        })?;
    }
    Ok(estimate)
}

struct Triples {
    x: Samples,
    y: Samples,
    z: Samples,
    same: Vec<usize>,
    near_yz: NearestNeighbours,
    near_z: NearestNeighbours,
}

impl Triples {
    /// With x in an order.
    fn estimate(&self, k: usize, order: &[usize]) -> Result<f64> {
        let (x, z) = ((&self.x, order), (&self.z, self.same.as_slice()));
        let all = joint(&[x, (&self.y, &self.same), z]).neighbours(Metric::Chebyshev)?;
        let near_xz = joint(&[x, z]).neighbours(Metric::Chebyshev)?;
        let radius = radii(&all, k)?;
        let mean = |points: &NearestNeighbours| -> Result<f64> {
            let counts = others_within(points, radius.clone(), Bound::Open)?;
            Ok(mean_digamma(&counts, 1))
        };
        let both = mean(&near_xz)? + mean(&self.near_yz)?;
        Ok(digamma(k) - (both - mean(&self.near_z)?))
    }
}

/// With a coordinate more, which orders equal samples at random and is less than the distance of any that are not equal: without it
/// all equal ones would have the same few neighbours.
fn told_apart(z: &Samples, rng: &mut Rng) -> Result<Samples> {
    let mut least = 1f64;
    for i in 0..z.dims {
        let mut column: Vec<f64> = z.rows.iter().skip(i).step_by(z.dims).copied().collect();
        column.sort_by(f64::total_cmp);
        let gaps = column.windows(2).map(|pair| pair[1] - pair[0]);
        least = gaps.filter(|gap| *gap > 0.).fold(least, f64::min);
    }
    let order = rng
        .uniform(z.len(), DType::F64, &Device::Cpu)?
        .to_vec1::<f64>()?;
    let rows = z.rows.chunks_exact(z.dims).zip(order);
    let rows = rows.flat_map(|(row, u)| row.iter().copied().chain([u * least / 2.]));
    Ok(Samples {
        rows: rows.collect(),
        dims: z.dims + 1,
    })
}

/// Each sample, in a random order, takes one of its neighbours that no other has taken, or any if all are.
fn local_order(near: &[u32], n: usize, rng: &mut Rng) -> Result<Vec<usize>> {
    let each = near.len() / n;
    let turns = rng.permutation(n);
    let first = rng.integers(n, each)?;
    let (mut order, mut taken) = (vec![0; n], vec![false; n]);
    for (i, first) in turns.into_iter().zip(first) {
        let near = &near[i * each..][..each];
        let mut choices = (0..each).map(|step| near[(first + step) % each] as usize);
        let free = choices.clone().find(|j| !taken[*j]);
        let chosen = free.or(choices.next()).unwrap_or(i);
        taken[chosen] = true;
        order[i] = chosen;
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a ring of ten with the two before and the two after as neighbours.
    #[test]
    fn an_order_is_local_and_takes_each_sample_once_as_far_as_it_goes() -> Result<()> {
        let ring = |i: u32| [i + 9, i + 8, i + 1, i + 2].map(|j| j % 10);
        let near: Vec<u32> = (0..10).flat_map(ring).collect();
        let mut rng = Rng::new(0);
        let (mut distinct, mut orders) = (0, vec![]);
        for _ in 0..20 {
            let order = local_order(&near, 10, &mut rng)?;
            for (i, j) in order.iter().enumerate() {
                assert!(ring(i as u32).contains(&(*j as u32)), "{i} {j}");
            }
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            distinct += sorted.len();
            orders.push(order);
        }
        // Independent choices would take 6.8 of ten.
        assert!(distinct > 170, "{distinct}");
        orders.sort_unstable();
        orders.dedup();
        assert!(orders.len() > 15);
        Ok(())
    }
}
