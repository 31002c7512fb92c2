//! Least squares on chosen features.

use super::Problem;
use super::checks::beyond_range;
use super::matrix::{dot, squares};
use crate::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, DType, Tensor};

/// The least-squares solution on a support, for the data as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct LeastSquares {
    /// The features, in order.
    pub support: Vec<usize>,
    /// `|H (X W - Y)|_F^2 / 2`.
    pub loss: f64,
    /// Rows of the support, `[C]` each.
    pub rows: Vec<Vec<f64>>,
    /// The bias, `[C]`.
    pub bias: Vec<f64>,
}

impl LeastSquares {
    /// The solution on these features, which may be none: then there is a bias alone. A feature that is constant,
    /// or of which those before it leave less than 1e-5 of its length (f64: 1e-12), has a row of zeros.
    ///
    /// Errors: a feature that is named twice or lies beyond the last; as many features as there are samples; numbers whose
    /// squares have no finite sums.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::select::{LeastSquares, Preparation, Problem};
    /// # fn main() -> candle_prob::Result<()> {
    /// let x = Tensor::new(&[[1f64, 5.], [2., 0.], [4., 1.]], &Device::Cpu)?;
    /// let y = Tensor::new(&[[3f64], [5.], [9.]], &Device::Cpu)?;
    /// let problem = Problem::regression(&x, &y, &Preparation::default())?;
    /// let fit = LeastSquares::on(&problem, &[0])?;
    /// assert!((fit.rows[0][0] - 2.).abs() < 1e-12 && (fit.bias[0] - 1.).abs() < 1e-12);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on(problem: &Problem, support: &[usize]) -> Result<Self> {
        let op = "LeastSquares::on";
        let support = match support {
            [] => vec![],
            _ => check_support(op, problem, support)?,
        };
        let basis = Basis::new(op, problem, &support)?;
        Ok(basis.fit(problem, &problem.data.wide().targets(), support))
    }

    /// The scores `X W + b` of samples `[N, d]`: `[N, C]`, f64.
    ///
    /// Errors: samples without one of the features.
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        let op = "LeastSquares::scores";
        scores(op, x, &self.support, &self.rows, &self.bias)
    }
}

/// `X W + b` from the rows of W that are not zero.
pub(super) fn scores(
    op: &'static str,
    x: &Tensor,
    support: &[usize],
    rows: &[Vec<f64>],
    bias: &[f64],
) -> Result<Tensor> {
    shape::float(op, "x", x)?;
    let least = support.last().map_or(0, |last| last + 1);
    match x.dims() {
        [_, d] if *d >= least => {}
        dims => {
            let expected = format!("[N, d], d at least {least}");
            return Err(Error::shape(op, "x", expected, dims));
        }
    }
    let shape = (x.dim(0)?, bias.len());
    let bias = Tensor::new(bias, x.device())?.broadcast_as(shape)?;
    if support.is_empty() {
        return Ok(bias.contiguous()?);
    }
    let columns: Vec<u32> = support.iter().map(|i| *i as u32).collect();
    let columns = Tensor::new(columns, x.device())?;
    let x = x.contiguous()?.index_select(&columns, D::Minus1)?;
    let w = Tensor::from_vec(rows.concat(), (rows.len(), shape.1), x.device())?;
    Ok((x.to_dtype(DType::F64)?.matmul(&w)? + bias)?)
}

/// The most features that least squares can have.
fn most(problem: &Problem) -> usize {
    problem.features().min(problem.samples() - 1)
}

/// Refuses more features than least squares can have, or none.
pub(super) fn check_count(op: &'static str, problem: &Problem, k: usize) -> Result<()> {
    check::count_in(op, "k", k, 1..=most(problem), "features")
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
    let most = most(problem);
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

/// An orthonormal basis of features, with the triangle that makes them of it.
pub(super) struct Basis {
    pub(super) vectors: Vec<Vec<f64>>,
    /// Column j holds the coordinates of feature j.
    triangle: Vec<Vec<f64>>,
    stride: usize,
}

impl Basis {
    pub(super) fn new(op: &'static str, problem: &Problem, features: &[usize]) -> Result<Self> {
        let data = problem.data.wide();
        let stride = data.stride();
        let mut basis = Basis {
            vectors: vec![],
            triangle: vec![],
            stride,
        };
        if features.is_empty() {
            return Ok(basis);
        }
        let rows = data.columns(features)?;
        for (feature, row) in features.iter().zip(rows.chunks_exact(stride)) {
            basis.push(op, problem, *feature, row.to_vec())?;
        }
        Ok(basis)
    }

    /// With one feature more, of these numbers; one that is constant, or that those before it explain, adds a vector of
    /// zeros.
    pub(super) fn push(
        &mut self,
        op: &'static str,
        problem: &Problem,
        feature: usize,
        mut v: Vec<f64>,
    ) -> Result<()> {
        let whole = squares(&v).sqrt();
        if !whole.is_finite() {
            return Err(beyond_range(op));
        }
        let mut column = vec![0.; self.vectors.len()];
        // Twice is enough for orthogonality to the last digit.
        for _ in 0..2 {
            for (q, share) in self.vectors.iter().zip(&mut column) {
                let more = dot(q, &v);
                *share += more;
                v.iter_mut().zip(q).for_each(|(v, q)| *v -= more * q);
            }
        }
        let length = squares(&v).sqrt();
        let rounding = problem.data.wide().rounding().max(1e-12);
        let kept = length > rounding * whole && problem.varies(feature, whole * whole);
        column.push(if kept { length } else { f64::INFINITY });
        v.iter_mut()
            .for_each(|v| *v = if kept { *v / length } else { 0. });
        self.vectors.push(v);
        self.triangle.push(column);
        Ok(())
    }

    /// The unit vector that is lost without the feature at this place, at right angles to all others but those that features
    /// before them explain; zero if it is such a one. Row i of the triangle's inverse has its coordinates.
    pub(super) fn lost(&self, place: usize) -> Vec<f64> {
        let mut row = vec![1. / self.triangle[place][place]];
        for j in place + 1..self.triangle.len() {
            let column = &self.triangle[j];
            let known: f64 = row.iter().zip(&column[place..]).map(|(r, t)| r * t).sum();
            row.push(-known / column[j]);
        }
        let mut lost = vec![0.; self.stride];
        for (r, q) in row.iter().zip(&self.vectors[place..]) {
            lost.iter_mut().zip(q).for_each(|(lost, q)| *lost += r * q);
        }
        let length = squares(&lost).sqrt();
        if length > 0. {
            lost.iter_mut().for_each(|lost| *lost /= length);
        }
        lost
    }

    /// What the features leave of the targets [C, stride].
    pub(super) fn residual(&self, y: &[f64]) -> Vec<f64> {
        let mut rest = y.to_vec();
        for r in rest.chunks_exact_mut(self.stride) {
            for q in &self.vectors {
                let share = dot(q, r);
                r.iter_mut().zip(q).for_each(|(r, q)| *r -= share * q);
            }
        }
        rest
    }

    /// The solution on the support whose basis this is.
    pub(super) fn fit(&self, problem: &Problem, y: &[f64], support: Vec<usize>) -> LeastSquares {
        let (rows, bias) = problem.as_came(&support, &self.solve(y), &problem.means[1]);
        LeastSquares {
            loss: 0.5 * squares(&self.residual(y)),
            support,
            rows,
            bias,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::select::Preparation;
    use candle_core::Device;

    #[test]
    fn what_is_lost_without_a_feature() -> Result<()> {
        let x = Rng::new(0).normal((12, 5), DType::F64, &Device::Cpu)?;
        // The fourth is the sum of those before it.
        let sum = x.narrow(1, 0, 3)?.sum_keepdim(1)?;
        let x = Tensor::cat(&[&x.narrow(1, 0, 3)?, &sum, &x.narrow(1, 3, 2)?], 1)?;
        let y = x.narrow(1, 0, 1)?;
        let problem = Problem::regression(&x, &y, &Preparation::default())?;
        let data = problem.data.wide();
        let all = data.columns(&[0, 1, 2, 3, 4, 5])?;
        let all: Vec<&[f64]> = all.chunks_exact(data.stride()).collect();
        for features in [&[0, 1, 4, 5][..], &[0, 1, 2, 3, 4]] {
            let basis = Basis::new("test", &problem, features)?;
            for place in 0..features.len() {
                let lost = basis.lost(place);
                let explained = features[place] == 3;
                let length = if explained { 0. } else { 1. };
                assert!((squares(&lost) - length).abs() < 1e-12);
                for (other, feature) in features.iter().enumerate() {
                    if other != place && *feature != 3 {
                        let share = dot(&lost, all[*feature]);
                        assert!(share.abs() < 1e-12, "{place} {other}: {share}");
                    }
                }
            }
        }
        Ok(())
    }
}
