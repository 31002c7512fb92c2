//! Exchanges of single features, until none helps.

use super::matrix::{Matrix, squares};
use super::problem::{Centred, Data, Problem};
use crate::error::{Error, Result};
use crate::kernels::design::Number;

/// A support with its least-squares solution, after [`splice`].
#[derive(Debug, Clone)]
pub struct Spliced {
    /// The features, in order.
    pub support: Vec<usize>,
    /// `|H (X W - Y)|_F^2 / 2` of the least-squares solution on the support.
    pub loss: f64,
    /// The losses on the way, that of the support it began with first.
    pub losses: Vec<f64>,
    /// Rows of the support, `[C]` each, for the data as they came.
    pub rows: Vec<Vec<f64>>,
    /// The bias, `[C]`.
    pub bias: Vec<f64>,
    /// Whether no exchange of one feature for another has a loss that is lower by more than rounding: false where the
    /// limit of exchanges came first.
    pub certified: bool,
}

/// Exchanges a feature of the support for one outside it, the exchange that lowers the least-squares loss most, until none
/// does.
///
/// Formula: without feature i of the support, let R be the residual and `z_j` what the rest of the support leaves of feature
/// j; feature j in its place brings the loss to `(|R|^2 - |z_j^T R|^2 / |z_j|^2) / 2`. All pairs (i, j) are tried, so a
/// result that is `certified` is a proof that no single exchange is better.
///
/// Shapes: see [`Problem`]. Gradients: none.
///
/// Errors: a support that is empty, names a feature twice or one beyond the last, or has as many features as there are
/// samples.
///
/// Cost: `k^2 N d` multiplications an exchange for a support of k features.
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
/// assert_eq!(spliced.support, [3, 9]);
/// assert!(spliced.certified && spliced.loss < 1e-20);
/// # Ok(())
/// # }
/// ```
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

/// The features in order, if least squares on them have a solution.
pub(super) fn check_support(
    op: &'static str,
    problem: &Problem,
    support: &[usize],
) -> Result<Vec<usize>> {
    let mut sorted = support.to_vec();
    sorted.sort();
    sorted.dedup();
    let most = problem.features().min(problem.samples() - 1);
    if sorted.len() != support.len() || support.is_empty() || support.len() > most {
        let expected = format!("1 to {most} features, none of them twice");
        return Err(Error::value(
            op,
            "support",
            expected,
            format!("{support:?}"),
        ));
    }
    match sorted.last() {
        Some(last) if *last >= problem.features() => {
            let expected = format!("numbers below {}", problem.features());
            Err(Error::value(op, "support", expected, last))
        }
        _ => Ok(sorted),
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
    let lengths = x.lengths()?;
    let mut losses = vec![Basis::new(x, &support)?.loss(&y)];
    let mut certified = false;
    loop {
        let loss = losses[losses.len() - 1];
        match best_exchange(x, &support, &y, &lengths)? {
            Some((out, into, better)) if better < loss * (1. - T::ROUNDING) => {
                if losses.len() > exchanges {
                    break;
                }
                support[out] = into;
                support.sort();
                losses.push(Basis::new(x, &support)?.loss(&y));
            }
            _ => {
                certified = true;
                break;
            }
        }
    }
    let basis = Basis::new(x, &support)?;
    let (rows, bias) = problem.as_came(&support, &basis.solve(&y), &problem.means[1]);
    Ok(Spliced {
        loss: losses[losses.len() - 1],
        losses,
        support,
        rows,
        bias,
        certified,
    })
}

/// The place in the support, the feature to come there, and the loss then.
fn best_exchange<T: Number>(
    x: &dyn Matrix<T>,
    support: &[usize],
    y: &[f64],
    lengths: &[f64],
) -> Result<Option<(usize, usize, f64)>> {
    let all: Vec<usize> = (0..x.features()).collect();
    let mut best: Option<(usize, usize, f64)> = None;
    for out in 0..support.len() {
        let mut rest = support.to_vec();
        rest.remove(out);
        let basis = Basis::new(x, &rest)?;
        let residual = basis.residual(y);
        let rows = basis
            .vectors
            .concat()
            .into_iter()
            .chain(residual.iter().copied());
        let rows: Vec<T> = rows.map(T::of).collect();
        let products = x.correlate(&all, &rows)?;
        let loss = squares(&residual);
        for (j, products) in products.chunks_exact(rows.len() / x.stride()).enumerate() {
            if support.contains(&j) {
                continue;
            }
            let (known, slopes) = products.split_at(rest.len());
            let own = lengths[j] * lengths[j];
            let left = own - squares(known);
            // What the support explains to the last digits says nothing more.
            if left <= own * T::ROUNDING {
                continue;
            }
            let with = 0.5 * (loss - squares(slopes) / left);
            if best.is_none_or(|(_, _, least)| with < least) {
                best = Some((out, j, with));
            }
        }
    }
    Ok(best)
}

/// An orthonormal basis of features, with the triangle that makes them of it.
struct Basis {
    vectors: Vec<Vec<f64>>,
    /// Column j holds the coordinates of feature j.
    triangle: Vec<Vec<f64>>,
    stride: usize,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Basis {
    fn new<T: Number>(x: &dyn Matrix<T>, features: &[usize]) -> Result<Self> {
        let zeros = vec![T::default(); x.stride()];
        let (mut vectors, mut triangle): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (vec![], vec![]);
        for feature in features {
            let row = x.combine(&[*feature], &[T::of(1.)], &zeros)?;
            let mut v: Vec<f64> = row.iter().map(|x| (*x).into()).collect();
            let whole = squares(&v).sqrt();
            let mut column = vec![0.; vectors.len()];
            // Twice is enough for orthogonality to the last digit.
            for _ in 0..2 {
                for (q, share) in vectors.iter().zip(&mut column) {
                    let more = dot(q, &v);
                    *share += more;
                    v.iter_mut().zip(q).for_each(|(v, q)| *v -= more * q);
                }
            }
            let length = squares(&v).sqrt();
            let kept = length > whole * T::ROUNDING.sqrt();
            column.push(if kept { length } else { f64::INFINITY });
            v.iter_mut()
                .for_each(|v| *v = if kept { *v / length } else { 0. });
            vectors.push(v);
            triangle.push(column);
        }
        Ok(Basis {
            vectors,
            triangle,
            stride: x.stride(),
        })
    }

    /// What the features leave of the targets [C, stride].
    fn residual(&self, y: &[f64]) -> Vec<f64> {
        let mut rest = y.to_vec();
        for r in rest.chunks_exact_mut(self.stride) {
            for q in &self.vectors {
                let share = dot(q, r);
                r.iter_mut().zip(q).for_each(|(r, q)| *r -= share * q);
            }
        }
        rest
    }

    fn loss(&self, y: &[f64]) -> f64 {
        0.5 * squares(&self.residual(y))
    }

    /// The features' rows of the least-squares solution; that of a feature that others explain is zero.
    fn solve(&self, y: &[f64]) -> Vec<Vec<f64>> {
        let targets: Vec<&[f64]> = y.chunks_exact(self.stride).collect();
        let share = |q: &Vec<f64>| targets.iter().map(|y| dot(q, y)).collect();
        let mut rows: Vec<Vec<f64>> = self.vectors.iter().map(share).collect();
        for j in (0..rows.len()).rev() {
            let (before, from) = rows.split_at_mut(j);
            from[0].iter_mut().for_each(|w| *w /= self.triangle[j][j]);
            for (i, row) in before.iter_mut().enumerate() {
                for (w, known) in row.iter_mut().zip(&from[0]) {
                    *w -= self.triangle[j][i] * known;
                }
            }
        }
        rows
    }
}
