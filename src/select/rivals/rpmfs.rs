//! The l2,1 norm of the residuals with so many rows.

use super::fit::{Descent, Fit, apply_root, check_steps, inverse_root, lengths, squared};
use super::labelled::Labelled;
use crate::check;
use crate::error::Result;
use crate::select::{L21, Preparation, Ranking, Regularizer, Selector, TopRows};
use candle_core::{DType, Device, Tensor};

/// Robust and pragmatic multi-class feature selection: the l2,1 norm of the residuals with exactly k features, by the
/// augmented Lagrangian method.
///
/// Formula: `|X W + b - Y|_{2,1}` is made small over the W with k rows that are not zero. With `V = W` and `E = X W + b - Y`,
/// each step minimizes the augmented Lagrangian `|E|_{2,1} + mu/2 |W - V + A/mu|_F^2 + mu/2 |X W + b - Y - E + B/mu|_F^2` over
/// (W, b), over V with k rows and over E, then moves the multipliers `A += mu (W - V)`, `B += mu (X W + b - Y - E)` and raises
/// `mu` by `rho`. Objectives are those of V with the bias, which obeys the constraint. Features are ranked by the lengths of
/// their rows in V, those that have none by the lengths of their multipliers, the slopes of the loss.
///
/// Errors: k of zero or more than there are features, mu that is not positive, rho below 1, no iterations, a negative
/// tolerance; those of [`Problem::classification`](crate::select::Problem::classification).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Preparation, Rpmfs, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 1, 0], &Device::Cpu)?;
/// let noise = Rng::new(0).normal((8, 2), DType::F32, &Device::Cpu)?;
/// let class = labels.to_dtype(DType::F32)?.affine(9., 0.)?.unsqueeze(1)?;
/// let x = Tensor::cat(&[&noise, &class], 1)?;
/// assert_eq!(Rpmfs::new(1).rank(&x, &labels, &Preparation::default())?.top(1)?, [2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: V, E and the multipliers start at zero, so nothing is drawn and the first W is a ridge regression. The problem
/// is not convex: the objective falls, but not at every step, and ends at a stationary point. The steps end when the gap,
/// the larger of `|W - V|_F / |W|_F` and `|X W + b - Y - E|_F / |Y|_F`, is within the tolerance. W solves a system of `N`
/// equations, factored once.
///
/// Source: Cai, Nie and Huang (2013), Exact Top-k Feature Selection via l2,0-Norm Constraint. Start and stopping rule are of
/// this crate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rpmfs {
    /// Features to select.
    pub k: usize,
    /// The weight of the constraints at the start.
    pub mu: f64,
    /// By what mu is raised.
    pub rho: f64,
    /// The most steps.
    pub iterations: usize,
    /// The gap at which the steps end.
    pub tolerance: f64,
}

/// One place of the method.
struct State<'a> {
    x: &'a Tensor,
    y: &'a Tensor,
    /// Of `(X X^T + I)^-1`.
    root: Tensor,
    k: usize,
    w: Tensor,
    b: Tensor,
    v: Tensor,
    e: Tensor,
    /// The multipliers of `W = V` and of `E = X W + b - Y`.
    multipliers: [Tensor; 2],
    mu: f64,
}

impl<'a> State<'a> {
    fn new(op: &'static str, [x, y]: [&'a Tensor; 2], k: usize, mu: f64) -> Result<Self> {
        let eye = Tensor::eye(x.dim(0)?, DType::F64, &Device::Cpu)?;
        let w = Tensor::zeros((x.dim(1)?, y.dim(1)?), DType::F64, &Device::Cpu)?;
        let e = y.zeros_like()?;
        Ok(State {
            x,
            y,
            root: inverse_root(op, &(x.matmul(&x.t()?)? + eye)?)?,
            k,
            b: e.narrow(0, 0, 1)?,
            v: w.clone(),
            multipliers: [w.clone(), e.clone()],
            w,
            e,
            mu,
        })
    }

    /// `X W + b - Y`.
    fn residual(&self, w: &Tensor) -> Result<Tensor> {
        Ok((self.x.matmul(w)?.broadcast_add(&self.b)? - self.y)?)
    }

    /// What W and V, and the residual and E, differ by.
    fn differences(&self) -> Result<[Tensor; 2]> {
        Ok([(&self.w - &self.v)?, (self.residual(&self.w)? - &self.e)?])
    }

    fn update_w(&mut self) -> Result<()> {
        let [a, b] = &self.multipliers;
        let target = ((self.y + &self.e)? - (b / self.mu)?)?;
        self.b = target.mean_keepdim(0)?;
        // Centred features do not see the bias. (X^T X + I)^-1 = I - X^T (X X^T + I)^-1 X.
        let right = ((&self.v - (a / self.mu)?)? + self.x.t()?.matmul(&target)?)?;
        let solved = apply_root(&self.root, &self.x.matmul(&right)?)?;
        self.w = (right - self.x.t()?.matmul(&solved)?)?;
        Ok(())
    }

    fn update_v(&mut self) -> Result<()> {
        let free = (&self.w + (&self.multipliers[0] / self.mu)?)?;
        self.v = TopRows::new(self.k).prox(&free, 1.)?;
        Ok(())
    }

    fn update_e(&mut self) -> Result<()> {
        let free = (self.residual(&self.w)? + (&self.multipliers[1] / self.mu)?)?;
        self.e = L21::new(1.)?.prox(&free, 1. / self.mu)?;
        Ok(())
    }

    fn update_multipliers(&mut self, rho: f64) -> Result<()> {
        let differences = self.differences()?;
        for (multiplier, difference) in self.multipliers.iter_mut().zip(differences) {
            *multiplier = (&*multiplier + (difference * self.mu)?)?;
        }
        self.mu *= rho;
        Ok(())
    }

    fn gap(&self) -> Result<f64> {
        let part = |difference: &Tensor, of: &Tensor| -> Result<f64> {
            match squared(difference)? {
                0. => Ok(0.),
                square => Ok((square / squared(of)?).sqrt()),
            }
        };
        let [v, e] = self.differences()?;
        Ok(part(&v, &self.w)?.max(part(&e, self.y)?))
    }

    /// `|X V + b - Y|_{2,1}`.
    fn objective(&self) -> Result<f64> {
        Ok(lengths(&self.residual(&self.v)?)?.iter().sum())
    }
}

impl Rpmfs {
    /// To select `k` features.
    pub fn new(k: usize) -> Self {
        Rpmfs {
            k,
            mu: 0.01,
            rho: 1.02,
            iterations: 2000,
            tolerance: 1e-6,
        }
    }

    /// The solution on data that are prepared like this, with its objectives and its gap.
    pub fn fit(&self, x: &Tensor, labels: &Tensor, how: &Preparation) -> Result<Fit> {
        let op = "Rpmfs::fit";
        check::positive_finite(op, "mu", self.mu)?;
        check_steps(op, self.iterations, self.tolerance)?;
        check::finite_at_least(op, "rho", self.rho, 1.)?;
        let data = Labelled::new(op, x, labels, how)?;
        data.check_k(op, self.k)?;
        let (x, y) = (data.centred()?, data.targets()?);
        let mut state = State::new(op, [&x, &y], self.k, self.mu)?;
        let (mut objectives, mut gap) = (Vec::new(), f64::INFINITY);
        while gap > self.tolerance && objectives.len() < self.iterations {
            state.update_w()?;
            state.update_v()?;
            state.update_e()?;
            gap = state.gap()?;
            objectives.push(state.objective()?);
            state.update_multipliers(self.rho)?;
        }
        let converged = gap <= self.tolerance;
        let steps = Descent {
            objectives,
            converged,
        };
        let [scores, slopes] = [lengths(&state.v)?, lengths(&state.multipliers[0])?];
        let fit = Fit::new(op, &data, [state.v, state.b], steps, scores, &slopes)?;
        Ok(Fit { gap, ..fit })
    }
}

impl Selector for Rpmfs {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        Ok(self.fit(x, y, how)?.ranking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn lagrangian(state: &State) -> Result<f64> {
        let mut value: f64 = lengths(&state.e)?.iter().sum();
        for (difference, multiplier) in state.differences()?.iter().zip(&state.multipliers) {
            value += state.mu / 2. * squared(&(difference + (multiplier / state.mu)?)?)?;
        }
        Ok(value)
    }

    /// Each update is a minimum over its part: no small change of that part comes lower.
    #[test]
    fn every_update_minimizes_the_augmented_lagrangian() -> Result<()> {
        let mut rng = Rng::new(3);
        let mut normal = |shape: (usize, usize)| rng.normal(shape, DType::F64, &Device::Cpu);
        let (x, y) = (normal((12, 30))?, normal((12, 3))?);
        let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let mut state = State::new("test", [&x, &y], 5, 3.)?;
        for step in 0..20 {
            for part in 0..3 {
                let before = lagrangian(&state)?;
                match part {
                    0 => state.update_w()?,
                    1 => state.update_v()?,
                    _ => state.update_e()?,
                }
                let least = lagrangian(&state)?;
                assert!(
                    least <= before + 1e-9 || step == 0,
                    "step {step}, part {part}"
                );
                for size in [1e-2, -1e-2, 1e-4, -1e-4] {
                    let (w, v, e) = (state.w.clone(), state.v.clone(), state.e.clone());
                    let b = state.b.clone();
                    match part {
                        0 => {
                            state.w = (&w + (normal((30, 3))? * size)?)?;
                            state.b = (&b + (normal((1, 3))? * size)?)?;
                        }
                        1 => state.v = TopRows::new(5).prox(&(&v + normal((30, 3))?)?, 1.)?,
                        _ => state.e = (&e + (normal((12, 3))? * size)?)?,
                    }
                    assert!(lagrangian(&state)? > least, "step {step}, part {part}");
                    (state.w, state.b, state.v, state.e) = (w, b, v, e);
                }
            }
            state.update_multipliers(1.1)?;
        }
        Ok(())
    }
}
