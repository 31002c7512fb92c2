//! Exchanges of single features, until none helps.

use super::least_squares::{Basis, LeastSquares, check_support, solve};
use super::matrix::{FEATURES, Matrix, dot, squares};
use super::problem::{Centred, Data, Problem};
use crate::error::Result;
use crate::kernels::buffer;
use crate::kernels::design::Number;

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

/// Exchanges a feature of the support for one outside it, the exchange that lowers the least-squares loss most, until none
/// does.
///
/// Formula: without feature i of the support, let R be the residual and `z_j` what the rest of the support leaves of feature
/// j; feature j in its place brings the loss to `(|R|^2 - |z_j^T R|^2 / |z_j|^2) / 2`. Without i, R and `z_j` grow along one
/// vector, so that one pass over the data knows them for all pairs (i, j). All are tried, so a
/// result that is `certified` is a proof that no single exchange is better, up to rounding and features that the rest of the
/// support explains to its last digits.
///
/// Shapes: see [`Problem`]. Gradients: none.
///
/// Errors: a support that is empty, names a feature twice or one beyond the last, or has as many features as there are
/// samples.
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
/// Cost: `2 k N d` multiplications an exchange for a support of k features.
///
/// Source: Zhu, Wen, Zhu, Zhang and Wang (2020), A polynomial algorithm for best-subset selection problem, whose splicing
/// ranks exchanges by the worth of features one by one; here the worth of the pair is exact.
pub fn splice(problem: &Problem, support: &[usize], exchanges: usize) -> Result<Spliced> {
    let op = "select::splice";
    let support = check_support(op, problem, support)?;
    match &problem.data {
        Data::F32(data) => run(problem, data, support, exchanges),
        Data::F64(data) => run(problem, data, support, exchanges),
    }
}

fn run<T: Number>(
    problem: &Problem,
    data: &Centred<T>,
    mut support: Vec<usize>,
    exchanges: usize,
) -> Result<Spliced> {
    let x = data.x.as_ref();
    let y: Vec<f64> = data.y.iter().map(|y| (*y).into()).collect();
    let squared = problem.squared_lengths(data)?;
    let mut losses = vec![Basis::new(x, &support)?.loss(&y)];
    let mut certified = false;
    loop {
        let loss = losses[losses.len() - 1];
        match best_exchange(x, &support, &y, &squared)? {
            Some((out, into, better)) if better < loss * (1. - T::ROUNDING) => {
                if losses.len() > exchanges {
                    break;
                }
                let mut next = support.clone();
                next[out] = into;
                next.sort();
                let reached = Basis::new(x, &next)?.loss(&y);
                // The worth of a pair is a difference, which near a loss of 0 has no digits left.
                if reached >= loss {
                    certified = true;
                    break;
                }
                support = next;
                losses.push(reached);
            }
            _ => {
                certified = true;
                break;
            }
        }
    }
    Ok(Spliced {
        solution: solve(problem, data, support)?,
        losses,
        certified,
    })
}

/// The place in the support, the feature to come there, and the loss then.
fn best_exchange<T: Number>(
    x: &dyn Matrix<T>,
    support: &[usize],
    y: &[f64],
    squared: &[f64],
) -> Result<Option<(usize, usize, f64)>> {
    let (stride, k) = (x.stride(), support.len());
    let basis = Basis::new(x, support)?;
    let residual = basis.residual(y);
    let loss = squares(&residual);
    // Nothing is lost without a feature that those before it explain: then no other exchange is better than one of it.
    let lost: Vec<Vec<f64>> = (0..k).map(|place| basis.lost(place)).collect();
    // Without the feature at a place the residual grows by its lost vector times these.
    let shares = |u: &Vec<f64>| y.chunks_exact(stride).map(|y| dot(u, y)).collect();
    let shares: Vec<Vec<f64>> = lost.iter().map(shares).collect();
    let rows = basis.vectors.iter().chain(&lost).flatten().chain(&residual);
    let rows: Vec<T> = rows.map(|r| T::of(*r)).collect();
    let all: Vec<usize> = (0..x.features()).collect();
    let products = x.correlate(&all, &rows)?;
    // For each feature the loss with it in the best place, and the place.
    let mut each = vec![(f64::INFINITY, 0); all.len()];
    let width = rows.len() / stride;
    buffer::parallel(&mut each, FEATURES, |from, each| {
        let mut of_feature = vec![];
        for (j, best) in (from..).zip(each) {
            let own = squared[j];
            if own == 0. || support.contains(&j) {
                continue;
            }
            of_feature.clear();
            let products = &products[j * width..][..width];
            of_feature.extend(products.iter().map(|p| Into::<f64>::into(*p)));
            let (known, rest) = of_feature.split_at(k);
            let (gains, slopes) = rest.split_at(k);
            let beyond = (own - squares(known)).max(0.);
            for (place, (shares, gain)) in shares.iter().zip(gains).enumerate() {
                let left = beyond + gain * gain;
                // What the support explains to the last digits says nothing more.
                if left <= own * T::ROUNDING {
                    continue;
                }
                let (mut grown, mut taken) = (loss, 0.);
                for (share, slope) in shares.iter().zip(slopes) {
                    grown += share * share;
                    taken += (slope + gain * share).powi(2);
                }
                let with = 0.5 * (grown - taken / left);
                if with < best.0 {
                    *best = (with, place);
                }
            }
        }
    });
    let best = each
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.0.total_cmp(&b.1.0));
    let best = best.filter(|(_, (with, _))| with.is_finite());
    Ok(best.map(|(j, (with, place))| (*place, j, *with)))
}
