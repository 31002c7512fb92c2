//! The classical Runge-Kutta method.

use super::{Solver, VectorField, advance, equal_steps};
use crate::error::Result;
use crate::kernels::network::continuous::RK4;
use candle_core::Tensor;

/// The classical Runge-Kutta method of order 4 in equal steps: four evaluations of the right-hand side each.
///
/// Errors: no steps, and those of the right-hand side.
///
/// Source: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, table II.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rk4 {
    /// The number of steps.
    pub steps: usize,
}

impl Solver for Rk4 {
    fn integrate(
        &self,
        f: &mut VectorField,
        y: Vec<Tensor>,
        span: [f64; 2],
    ) -> Result<Vec<Tensor>> {
        equal_steps(self.steps, y, span, |t, y, h| {
            let mut slopes: Vec<Vec<Tensor>> = vec![];
            for (place, _) in RK4 {
                let at: &[Tensor] = match slopes.last() {
                    Some(before) => &advance(y, h, &[(place, before)])?,
                    None => y,
                };
                slopes.push(f(t + place * h, at)?);
            }
            let weights = RK4.iter().map(|(_, weight)| *weight);
            let parts: Vec<_> = weights.zip(slopes.iter().map(Vec::as_slice)).collect();
            advance(y, h, &parts)
        })
    }
}
