//! Preconditioned conjugate gradients on lists of tensors.

use super::lists::{along, check_like, inner, length, zeros};
use crate::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// Configuration of [`pcg`].
#[derive(Debug, Clone, PartialEq)]
pub struct PcgConfig {
    /// The most products with the matrix.
    pub max_steps: usize,
    /// The length of the residual, relative to that of the right-hand side, at which the solution is good enough.
    pub tolerance: f64,
}

impl Default for PcgConfig {
    /// 20 steps, the paper's limit for propagation weights, down to a tenth.
    fn default() -> Self {
        PcgConfig {
            max_steps: 20,
            tolerance: 0.1,
        }
    }
}

impl PcgConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        check::at_least_one(op, &[("max_steps", self.max_steps)])?;
        check::non_negative(op, "tolerance", self.tolerance)
    }
}

/// Why [`pcg`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PcgStop {
    /// The residual is below the tolerance.
    Converged,
    /// All steps were taken.
    MaxSteps,
    /// A direction along which the matrix, or the preconditioner, is not positive definite, to rounding: the solution is the
    /// one before it; of the first direction it is the preconditioned right-hand side itself (Steihaug's rule without a
    /// radius).
    NegativeCurvature,
    /// A product that is infinite or NaN: the solution is the one before it.
    NotFinite,
}

/// What [`pcg`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct PcgReport {
    /// Products with the matrix.
    pub steps: usize,
    /// `|b - A x| / |b|`, by the recurrence of the iteration; 0 of `b = 0`.
    pub residual: f64,
    /// Why it stopped.
    pub stop: PcgStop,
}

/// A solution of [`pcg`].
#[derive(Debug, Clone)]
pub struct Pcg {
    /// x, in the shapes of the right-hand side.
    pub solution: Vec<Tensor>,
    /// What was done.
    pub report: PcgReport,
}

/// Solves `A x = b` for a symmetric positive definite A that is known by its products.
///
/// Formula: conjugate gradients from x = 0 with a preconditioner `M^-1`. After k steps x minimizes
/// `1/2 <x, A x> - <b, x>` over the Krylov space of k dimensions, so that each iterate is a direction of descent where `-b` is
/// a gradient.
///
/// Shapes: `product` and `precondition` map a list of tensors of the shapes of `right` to another.
///
/// Gradients: none; detach what is given.
///
/// Errors: a configuration out of range; an empty list; results of other shapes; those of the closures.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::optim::{PcgConfig, PcgStop, pcg};
/// # fn main() -> candle_prob::Result<()> {
/// let a = Tensor::new(&[[4f64, 1.], [1., 3.]], &Device::Cpu)?;
/// let b = Tensor::new(&[[1f64], [2.]], &Device::Cpu)?;
/// let config = PcgConfig { max_steps: 10, tolerance: 1e-12 };
/// let found = pcg(|v| Ok(vec![a.matmul(&v[0])?]), &[b], |v| Ok(v.to_vec()), &config)?;
/// assert_eq!((found.report.steps, found.report.stop), (2, PcgStop::Converged));
/// let x = found.solution[0].flatten_all()?.to_vec1::<f64>()?;
/// assert!((x[0] - 1. / 11.).abs() < 1e-15 && (x[1] - 7. / 11.).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: inner products are added in f64 whatever the dtype.
///
/// Source: Hestenes and Stiefel (1952); Nocedal and Wright (2006), Numerical Optimization, algorithms 5.3 and 7.1.
pub fn pcg(
    mut product: impl FnMut(&[Tensor]) -> Result<Vec<Tensor>>,
    right: &[Tensor],
    mut precondition: impl FnMut(&[Tensor]) -> Result<Vec<Tensor>>,
    config: &PcgConfig,
) -> Result<Pcg> {
    let op = "optim::pcg";
    config.check(op)?;
    if right.is_empty() {
        return Err(Error::value(op, "right", "at least one tensor", "none"));
    }
    for tensor in right {
        shape::float(op, "right", tensor)?;
    }
    let total = length(right)?;
    let mut x = zeros(right)?;
    let end = |x, steps, residual: f64, stop| {
        let report = PcgReport {
            steps,
            residual,
            stop,
        };
        let solution = x;
        Ok(Pcg { solution, report })
    };
    if total == 0. {
        return end(x, 0, 0., PcgStop::Converged);
    }
    if !total.is_finite() {
        return end(x, 0, total, PcgStop::NotFinite);
    }
    let mut residual: Vec<Tensor> = right.iter().map(Tensor::detach).collect();
    let mut left = 1.;
    let smallest = 16. * shape::epsilon(right[0].dtype());
    // The direction before with its rho, its squared length in the preconditioner's norm, and the largest curvature so far.
    let mut direction: Option<(Vec<Tensor>, f64, f64)> = None;
    let mut largest = 0f64;
    for step in 0..config.max_steps {
        let z = precondition(&residual)?;
        check_like(op, "precondition", &z, right)?;
        let rho = inner(&residual, &z)?;
        let curved = |found: f64| match found.is_finite() {
            true => PcgStop::NegativeCurvature,
            false => PcgStop::NotFinite,
        };
        if !(rho > 0. && rho.is_finite()) {
            return end(x, step, left, curved(rho));
        }
        let (p, square) = match direction {
            None => (z, rho),
            Some((before, rho_before, square)) => {
                let beta = rho / rho_before;
                (along(&z, beta, &before)?, rho + beta * beta * square)
            }
        };
        let image = product(&p)?;
        check_like(op, "product", &image, right)?;
        let curvature = inner(&p, &image)?;
        // Of a singular matrix what is left in the end is rounding, which a division by its curvature would blow up.
        let flat = curvature <= smallest * largest * square;
        largest = largest.max(curvature / square);
        if flat || !(curvature > 0. && curvature.is_finite()) {
            let stop = curved(curvature);
            if step == 0 && stop == PcgStop::NegativeCurvature {
                x = p;
            }
            return end(x, step + 1, left, stop);
        }
        let alpha = rho / curvature;
        x = along(&x, alpha, &p)?;
        residual = along(&residual, -alpha, &image)?;
        left = length(&residual)? / total;
        if left <= config.tolerance {
            return end(x, step + 1, left, PcgStop::Converged);
        }
        direction = Some((p, rho, square));
    }
    end(x, config.max_steps, left, PcgStop::MaxSteps)
}
