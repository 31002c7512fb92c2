//! Exchanges of single features, until none helps.

use super::Problem;
use super::centred::Wide;
use super::checks::beyond_range;
use super::least_squares::{Basis, LeastSquares, check_support};
use super::matrix::{FEATURES, dot, squares};
use crate::error::Result;
use crate::kernels::machine::buffer;

const OP: &str = "select::splice";

/// What [`splice`] came to.
#[derive(Debug, Clone)]
pub struct Spliced {
    /// The support and its solution.
    pub solution: LeastSquares,
    /// The losses on the way, that of the support it began with first.
    pub losses: Vec<f64>,
    /// Whether no exchange of one feature for another has a loss that is lower by more than rounding: false where the
    /// limit of exchanges came first.
    pub certified: bool,
}

/// Exchanges a feature of the support for one outside it, until no exchange lowers the least-squares loss: each time the one
/// that lowers it most among the 16 most promising features, or where none of them does, among the next.
///
/// Formula: without feature i of the support, let R be the residual and `z_j` what the rest of the support leaves of
/// feature j; feature j in its place brings the loss to `(|R|^2 - |z_j^T R|^2 / |z_j|^2) / 2`. Without i, R and `z_j` grow
/// along one vector, so that one pass over the data estimates it for all pairs (i, j). What may lower the loss, for all that
/// the estimate's rounding hides, is computed again in f64: a result that is `certified` has no better single exchange, up
/// to rounding.
///
/// Shapes: see [`Problem`]. Gradients: none.
///
/// Errors: a support that is empty, names a feature twice or one beyond the last, or has as many features as there are
/// samples; data whose squares are beyond the range of their dtype.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::select::{Preparation, Problem, splice};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((50, 20), DType::F64, &Device::Cpu)?;
/// let y = (x.narrow(1, 3, 1)? + x.narrow(1, 9, 1)?)?;
/// let problem = Problem::regression(&x, &y, &Preparation::default())?;
/// let spliced = splice(&problem, &[0, 3], 10)?;
/// assert_eq!(spliced.solution.support, [3, 9]);
/// assert!(spliced.certified && spliced.solution.loss < 1e-20);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: an exchange counts as better by 1e-5 of the loss (f64: 1e-13), and a feature as explained where the others
/// leave less than 1e-5 (1e-12) of its length, as in [`LeastSquares::on`]; a loss below 1e-10 (1e-26) of that of the squared
/// targets is 0. An exchange takes `(2 k + C) N d` multiplications and memory for `(2 k + C) d` numbers, for a support of k
/// features. Blocks are read for the estimates, for every 16 features that are looked at in f64, and for each support.
///
/// Source: Zhu, Wen, Zhu, Zhang and Wang (2020), A polynomial algorithm for best-subset selection problem, whose splicing
/// ranks exchanges by the worth of features one by one; here the worth of the pair is exact.
pub fn splice(problem: &Problem, support: &[usize], exchanges: usize) -> Result<Spliced> {
    let support = check_support(OP, problem, support)?;
    let y = problem.data.wide().targets();
    let squared = problem.squared_lengths()?;
    let mut at = State::new(problem, &y, support)?;
    let mut losses = vec![at.loss];
    let certified = loop {
        let Some(next) = at.better(&squared)? else {
            break true;
        };
        if losses.len() > exchanges {
            break false;
        }
        losses.push(next.loss);
        at = next;
    };
    Ok(Spliced {
        solution: at.basis.fit(problem, &y, at.support),
        losses,
        certified,
    })
}

/// Candidates whose numbers are looked at together.
const CANDIDATES: usize = 16;

/// A support with its loss.
struct State<'a> {
    problem: &'a Problem,
    data: &'a dyn Wide,
    y: &'a [f64],
    support: Vec<usize>,
    basis: Basis,
    residual: Vec<f64>,
    loss: f64,
}

/// What the removal of each feature of a support does.
struct Removals {
    /// The unit vectors that are lost.
    lost: Vec<Vec<f64>>,
    /// The residual grows by the lost vector times these, [C].
    shares: Vec<Vec<f64>>,
}

impl<'a> State<'a> {
    fn new(problem: &'a Problem, y: &'a [f64], support: Vec<usize>) -> Result<Self> {
        let basis = Basis::new(OP, problem, &support)?;
        let residual = basis.residual(y);
        Ok(State {
            loss: 0.5 * squares(&residual),
            problem,
            data: problem.data.wide(),
            y,
            support,
            basis,
            residual,
        })
    }

    /// The support after the best exchange, if one lowers the loss by more than rounding.
    fn better(&self, squared: &[f64]) -> Result<Option<Self>> {
        let rounding = self.data.rounding();
        // Of a loss that is 0 but for the data's own rounding nothing is left to be lowered.
        if self.loss <= 0.5 * squares(self.y) * rounding.powi(2) {
            return Ok(None);
        }
        let bound = self.loss * (1. - rounding);
        let k = self.support.len();
        // Nothing is lost without a feature that those before it explain: then no other exchange is better than one of it.
        let lost: Vec<Vec<f64>> = (0..k).map(|place| self.basis.lost(place)).collect();
        let outputs = || self.y.chunks_exact(self.data.stride());
        let shares = |u: &Vec<f64>| outputs().map(|y| dot(u, y)).collect();
        let shares = lost.iter().map(shares).collect();
        let removals = Removals { lost, shares };
        let candidates = self.candidates(&removals, squared, bound)?;
        // Estimates are of the data's dtype; what they promise is looked at in f64.
        for candidates in candidates.chunks(CANDIDATES) {
            let rows = self.data.columns(candidates)?;
            let rows = rows.chunks_exact(self.data.stride());
            let exact = candidates.iter().zip(rows).map(|(j, row)| {
                let (with, place) = self.exact(&removals, row);
                (with, place, *j)
            });
            let mut exact: Vec<_> = exact.filter(|(with, ..)| *with < bound).collect();
            exact.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (_, place, j) in exact {
                let mut support = self.support.clone();
                support[place] = j;
                support.sort();
                let next = State::new(self.problem, self.y, support)?;
                if next.loss < bound {
                    return Ok(Some(next));
                }
            }
        }
        Ok(None)
    }

    /// Features that may bring the loss below the bound, the most promising first.
    fn candidates(&self, removals: &Removals, squared: &[f64], bound: f64) -> Result<Vec<usize>> {
        let k = self.support.len();
        let vectors = self.basis.vectors.iter().chain(&removals.lost).flatten();
        let rows: Vec<f64> = vectors.chain(&self.residual).copied().collect();
        let all: Vec<usize> = (0..squared.len()).collect();
        let products = self.data.correlate(&all, &rows)?;
        if !squares(&products).is_finite() {
            return Err(beyond_range(OP));
        }
        let (width, rounding) = (products.len() / all.len(), self.data.rounding());
        let mut least = vec![f64::INFINITY; all.len()];
        buffer::parallel(&mut least, FEATURES, |from, least| {
            for (j, least) in (from..).zip(least) {
                let own = squared[j];
                if own == 0. || self.support.contains(&j) {
                    continue;
                }
                let (known, rest) = products[j * width..][..width].split_at(k);
                let (gains, slopes) = rest.split_at(k);
                let beyond = (own - squares(known)).max(0.);
                // No more than the loss: less what rounding may hide, which may be all where little is left.
                let worth = |[grown, taken, left]: [f64; 3]| match left / own {
                    part if part <= rounding => f64::NEG_INFINITY,
                    part => 0.5 * (grown - taken / left) - rounding * grown / part,
                };
                *least = removals.best(self.loss, beyond, [gains, slopes], worth).0;
            }
        });
        let mut found: Vec<usize> = all.into_iter().filter(|j| least[*j] < bound).collect();
        found.sort_by(|a, b| least[*a].total_cmp(&least[*b]));
        Ok(found)
    }

    /// The loss with the feature of these numbers in the best place, and the place.
    fn exact(&self, removals: &Removals, row: &[f64]) -> (f64, usize) {
        let mut left = row.to_vec();
        // Twice is enough for orthogonality to the last digit.
        for _ in 0..2 {
            for q in &self.basis.vectors {
                let share = dot(q, &left);
                left.iter_mut().zip(q).for_each(|(v, q)| *v -= share * q);
            }
        }
        let gains: Vec<f64> = removals.lost.iter().map(|u| dot(u, row)).collect();
        let residual = self.residual.chunks_exact(row.len());
        let slopes: Vec<f64> = residual.map(|r| dot(r, &left)).collect();
        // As in a basis, which takes no less of a feature.
        let least = squares(row) * self.data.rounding().max(1e-12).powi(2);
        let worth = |[grown, taken, left]: [f64; 3]| match left <= least {
            true => f64::INFINITY,
            false => 0.5 * (grown - taken / left),
        };
        removals.best(self.loss, squares(&left), [&gains, &slopes], worth)
    }
}

impl Removals {
    /// The least worth of a feature in place of another, and the place: from the square that the whole support leaves of the
    /// feature, its products with the lost vectors, and those with the residual. The worth is made of twice the loss without
    /// both, of what the feature takes from that times the square that is left of it, and of that square.
    fn best(
        &self,
        loss: f64,
        beyond: f64,
        [gains, slopes]: [&[f64]; 2],
        worth: impl Fn([f64; 3]) -> f64,
    ) -> (f64, usize) {
        let mut best = (f64::INFINITY, 0);
        for (place, (shares, gain)) in self.shares.iter().zip(gains).enumerate() {
            let (mut grown, mut taken) = (2. * loss, 0.);
            for (share, slope) in shares.iter().zip(slopes) {
                grown += share * share;
                taken += (slope + gain * share).powi(2);
            }
            let worth = worth([grown, taken, beyond + gain * gain]);
            if worth < best.0 {
                best = (worth, place);
            }
        }
        best
    }
}
