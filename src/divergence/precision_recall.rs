//! Precision and recall of samples, by nearest neighbours.

use super::points;
use crate::check;
use crate::error::{Error, Result};
use crate::neighbours::{Metric, NearestNeighbours};
use candle_core::{Device, Tensor};

/// How well a generator's samples and the data cover each other. All are shares but `density`, which may exceed 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// The share of samples that lie within the data: what is drawn looks real.
    pub precision: f64,
    /// The share of the data that lies within the samples: what is real can be drawn.
    pub recall: f64,
    /// The number of balls around data that a sample lies in, over k: a precision that outliers of the data do not raise.
    pub density: f64,
    /// The share of the data that has a sample in its ball: a recall that outliers of the samples do not raise.
    pub coverage: f64,
}

/// Improved precision and recall, density and coverage of samples, in any space of features.
///
/// Formula: the ball around a point has the radius of its k-th nearest neighbour among the other points of its own set, and its
/// surface belongs to it. Of N real points x and M samples y: `precision = #{j: y_j in a ball of some x_i} / M`,
/// `recall = #{i: x_i in a ball of some y_j} / N`, `density = #{(i, j): y_j in the ball of x_i} / (k M)`,
/// `coverage = #{i: a y_j in the ball of x_i} / N`.
///
/// Shapes: `real` `[N, d]` and `fake` `[M, d]`, of any floating-point dtypes. Gradients: none.
///
/// Errors: fewer than two points on a side; points that do not fit, that are not finite or whose distances overflow; k of 0, or
/// as many as there are points on a side.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::{Rng, divergence::precision_recall};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((300, 2), DType::F32, &Device::Cpu)?;
/// // Samples that are all near the middle of the data: realistic, and far from all that there is.
/// let found = precision_recall(&x, &(&x * 0.1)?, 3)?;
/// assert!(found.precision > 0.95 && found.recall < 0.1);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: exact in double precision. Distances come from matrix products; the few that these leave undecided, within their
/// rounding of a radius, are summed coordinate by coordinate. Of the `N M` distances about a million are in memory at once.
///
/// Values depend on N, M and k: compare those of equal numbers. For samples of the data's own law and N = M the density is 1
/// and the coverage about `1 - 2^-k` in the mean, while precision and recall fall with the number of dimensions.
///
/// Source: Kynkäänniemi, Karras, Laine, Lehtinen and Aila (2019), Improved precision and recall metric for assessing
/// generative models, eq. 1 and 2 (k = 3); Naeem, Oh, Uh, Choi and Yoo (2020), Reliable fidelity and diversity metrics for
/// generative models, eq. 3 and 4 (k = 5; their code leaves out the surface).
pub fn precision_recall(real: &Tensor, fake: &Tensor, k: usize) -> Result<PrecisionRecall> {
    let op = "divergence::precision_recall";
    let [n, m, _] = points::both(op, [("real", real), ("fake", fake)], 2)?;
    check::count_in(op, "k", k, 1..=n.min(m) - 1, "other points")?;
    let real = Balls::new(op, "real", real, k)?;
    let fake = Balls::new(op, "fake", fake, k)?;
    let (within_real, within_fake) = (real.around(&fake)?, fake.around(&real)?);
    let near = fake.all.nearest(&real.points, 1)?.distance;
    let near = near.flatten_all()?.to_vec1::<f64>()?;
    let reached = near.iter().zip(&real.radii).filter(|(d, r)| d <= r);
    let share = |balls: &[usize]| {
        let inside = balls.iter().filter(|balls| **balls > 0).count();
        inside as f64 / balls.len() as f64
    };
    Ok(PrecisionRecall {
        precision: share(&within_real),
        recall: share(&within_fake),
        density: within_real.iter().sum::<usize>() as f64 / (k * m) as f64,
        coverage: reached.count() as f64 / n as f64,
    })
}

/// Distances in memory at once.
const BLOCK: usize = 1 << 20;

/// Points with the radius of each one's ball.
struct Balls {
    points: Tensor,
    all: NearestNeighbours,
    rows: Vec<f64>,
    radii: Vec<f64>,
}

impl Balls {
    fn new(op: &'static str, arg: &'static str, points: &Tensor, k: usize) -> Result<Self> {
        let rows = points::numbers(op, arg, points)?;
        let points = Tensor::from_slice(&rows, points.shape(), &Device::Cpu)?;
        let all = NearestNeighbours::new(&points, Metric::Euclidean)?;
        let found = all.nearest_others(k)?.distance;
        let radii = found.narrow(1, k - 1, 1)?.flatten_all()?.to_vec1::<f64>()?;
        match radii.iter().find(|radius| !radius.is_finite()) {
            Some(bad) => Err(Error::value(op, arg, "points with finite distances", bad)),
            None => Ok(Balls {
                points,
                all,
                rows,
                radii,
            }),
        }
    }

    /// In how many of these balls each of the other points lies.
    fn around(&self, others: &Balls) -> Result<Vec<usize>> {
        let centre = self.points.mean_keepdim(0)?;
        let [own, other] = [self, others].map(|all| all.points.broadcast_sub(&centre));
        let (own, other) = (own?, other?);
        let (n, d) = self.points.dims2()?;
        let columns = own.t()?;
        let norms = own.sqr()?.sum(1)?.to_vec1::<f64>()?;
        let squares: Vec<f64> = self.radii.iter().map(|r| r * r).collect();
        // Of a squared distance by products, relative to the squared norms: d + 2 roundings of a sum, and those of the rest.
        let slack = 4. * (d + 8) as f64 * f64::EPSILON;
        let m = others.radii.len();
        let (mut counts, block) = (vec![], (BLOCK / n).max(1));
        for start in (0..m).step_by(block) {
            let part = other.narrow(0, start, block.min(m - start))?;
            let of_part = part.sqr()?.sum(1)?.to_vec1::<f64>()?;
            let products = part.matmul(&columns)?.to_vec2::<f64>()?;
            for (j, (products, norm)) in products.iter().zip(of_part).enumerate() {
                let row = &others.rows[(start + j) * d..][..d];
                let inside = |i: &usize| {
                    let norms = norms[*i] + norm;
                    let squared = norms - 2. * products[*i];
                    if squared + slack * norms < squares[*i] {
                        return true;
                    }
                    if squared - slack * norms > squares[*i] {
                        return false;
                    }
                    let own = &self.rows[*i * d..][..d];
                    let gaps = own.iter().zip(row).map(|(a, b)| (a - b) * (a - b));
                    gaps.sum::<f64>().sqrt() <= self.radii[*i]
                };
                counts.push((0..n).filter(inside).count());
            }
        }
        Ok(counts)
    }
}
