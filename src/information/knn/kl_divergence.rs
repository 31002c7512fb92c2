//! The Kullback-Leibler divergence of Wang, Kulkarni and Verdu.

use super::counts::radii;
use super::space::{Samples, tie_share};
use super::{Estimate, KnnConfig, Null};
use crate::check;
use crate::error::Result;
use crate::neighbours::{Bound, Metric};
use crate::rng::Rng;
use crate::shape;
use candle_core::{Device, Tensor};

/// The divergence `KL(p || q)` of two densities, of samples of each.
///
/// Formula: `d <ln(nu / rho)> + ln(M / (N - 1))`, rho the distance from a sample of p to its k-th nearest other one of p, nu to
/// its k-th nearest of q. Where one of them is 0 the logarithm of the numbers of samples of p and of q within rho takes the
/// place of `d ln(nu / rho)`: the ratio of probabilities of a point that has one.
///
/// Shapes: `p` `[N, d]` and `q` `[M, d]`, of any floating-point dtypes. Units: nats. Gradients: none.
///
/// Null: all samples in random orders, the first N of them for p.
///
/// Errors: other shapes; elements that are not finite; k of 0, N and more or above M; a negative jitter; 1 shuffle.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::information::knn::{KnnConfig, kl_divergence};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let q = rng.normal((2000, 1), DType::F64, &Device::Cpu)?;
/// let p = (rng.normal((2000, 1), DType::F64, &Device::Cpu)? + 1.)?;
/// let found = kl_divergence(&p, &q, &KnnConfig::default(), &mut rng)?;
/// assert!((found.nats - 0.5).abs() < 0.1);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: distances are f64. The result is infinite where k samples of p are equal to another and q has none there: no
/// density does that, and [`Warning::Ties`](super::Warning::Ties) says so. [`Estimate::samples`] is N, [`Estimate::ties`]
/// is of both together.
///
/// Source: Wang, Kulkarni and Verdu (2009), eq. 5; Perez-Cruz (2008).
pub fn kl_divergence(
    p: &Tensor,
    q: &Tensor,
    config: &KnnConfig,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "knn::kl_divergence";
    let p = Samples::new(op, "p", p, config, rng)?;
    shape::last_dim(op, "q", q.dims(), p.dims)?;
    let q = Samples::new(op, "q", q, config, rng)?;
    let (n, m, k) = (p.len(), q.len(), config.k);
    config.check(op, n)?;
    check::count_in(op, "k", k, 1..=m, "samples of q")?;
    let nats = divergence(&p, &q, k, config.metric)?;
    let all = Samples {
        dims: p.dims,
        rows: [p.rows, q.rows].concat(),
    };
    let estimate = Estimate::new(nats, k, n, vec![all.dims], tie_share(&[&all]));
    let mut estimate = estimate.not_negative().continuous();
    estimate.null = Null::shuffled(config.shuffles, || {
        let order = rng.permutation(n + m);
        let (p, q) = order.split_at(n);
        divergence(&all.pick(p), &all.pick(q), k, config.metric)
    })?;
    Ok(estimate)
}

fn divergence(p: &Samples, q: &Samples, k: usize, metric: Metric) -> Result<f64> {
    let (near_p, near_q) = (p.neighbours(metric)?, q.neighbours(metric)?);
    let own = radii(&near_p, k)?;
    let other = near_q.nearest(&p.tensor()?, k)?.distance;
    let other: Vec<f64> = other.narrow(1, k - 1, 1)?.flatten_all()?.to_vec1()?;
    let d = p.dims as f64;
    let (mut sum, mut tied) = (0., vec![]);
    for (i, (rho, nu)) in own.iter().zip(&other).enumerate() {
        match *rho > 0. && *nu > 0. {
            true => sum += d * (nu.ln() - rho.ln()),
            false => tied.push(i),
        }
    }
    if !tied.is_empty() {
        let queries = p.pick(&tied).tensor()?;
        let radius: Vec<f64> = tied.iter().map(|i| own[*i]).collect();
        let radius = Tensor::new(radius, &Device::Cpu)?;
        let counts = |points: &crate::neighbours::NearestNeighbours| -> Result<Vec<u32>> {
            let counts = points.count_within(&queries, &radius, Bound::Closed)?;
            Ok(counts.to_vec1()?)
        };
        for (of_p, of_q) in counts(&near_p)?.into_iter().zip(counts(&near_q)?) {
            // A sample does not count itself.
            sum += (f64::from(of_p) - 1.).ln() - f64::from(of_q).ln();
        }
    }
    let (n, m) = (p.len() as f64, q.len() as f64);
    Ok(sum / n + (m / (n - 1.)).ln())
}
