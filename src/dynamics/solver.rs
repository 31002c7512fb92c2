//! Initial value problems and what solves them.

use crate::check;
use crate::error::{Error, Result};
use candle_core::{DType, Tensor};
use std::any::Any;
use std::fmt::Debug;

/// The right-hand side of `dy/dt = f(t, y)`: from the time and a state, a list of tensors, to its derivative, a list of the
/// same shapes.
pub type VectorField<'a> = dyn FnMut(f64, &[Tensor]) -> Result<Vec<Tensor>> + 'a;

/// A method for initial value problems, with equal steps or with steps that adapt to the error.
///
/// Implement it for a method of your own: [`solve`] runs it, counts its evaluations and checks what goes in and out, and a
/// continuous flow takes it in its config. A method that takes equal steps is one call of [`equal_steps`], its stages calls of
/// [`advance`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Result;
/// use candle_prob::dynamics::{Solver, VectorField, advance, equal_steps, solve};
///
/// /// The explicit midpoint method, of order 2.
/// #[derive(Debug)]
/// struct Midpoint {
///     steps: usize,
/// }
///
/// impl Solver for Midpoint {
///     fn integrate(&self, f: &mut VectorField, y: Vec<Tensor>, span: [f64; 2]) -> Result<Vec<Tensor>> {
///         equal_steps(self.steps, y, span, |t, y, h| {
///             let start = f(t, y)?;
///             let middle = f(t + h / 2., &advance(y, h / 2., &[(1., &start)])?)?;
///             advance(y, h, &[(1., &middle)])
///         })
///     }
/// }
/// # fn main() -> Result<()> {
/// let y = Tensor::new(1f64, &Device::Cpu)?;
/// let decay = |_: f64, y: &[Tensor]| Ok(vec![y[0].neg()?]);
/// let end = solve(&Midpoint { steps: 100 }, decay, vec![y], [0., 1.])?;
/// assert!((end.state[0].to_scalar::<f64>()? - (-1f64).exp()).abs() < 1e-5);
/// assert_eq!(end.evaluations, 200);
/// # Ok(())
/// # }
/// ```
pub trait Solver: Any + Debug + Send + Sync {
    /// The state at `span[1]` from the state `y` at `span[0]`, both finite; backwards in time if the span is.
    ///
    /// Gradients: through all that it does with tensors. A choice of steps that is read from their numbers has none.
    ///
    /// Errors: those of `f`, settings that make no method, an end that is not reached. Never a silent wrong result.
    fn integrate(&self, f: &mut VectorField, y: Vec<Tensor>, span: [f64; 2])
    -> Result<Vec<Tensor>>;
}

/// What [`solve`] found.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The state at the end.
    pub state: Vec<Tensor>,
    /// How often the right-hand side was evaluated.
    pub evaluations: usize,
}

/// The state at `span[1]` of `dy/dt = f(t, y)` from the state `y` at `span[0]`; backwards in time if the span is.
///
/// Shapes: a state is a list of tensors of any shapes; `f` returns a list of the same shapes.
///
/// Gradients: through all steps, candle's graph of them (discretize, then optimize). The choice of adaptive steps is not
/// differentiated, as its effect is of the order of the error that is allowed.
///
/// Errors: a span that is not finite, a derivative of other shapes, and those of the solver. There is no silent result.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::dynamics::{Rk4, solve};
/// # fn main() -> candle_prob::Result<()> {
/// let y = Tensor::new(1f64, &Device::Cpu)?;
/// let decay = |_: f64, y: &[Tensor]| Ok(vec![y[0].neg()?]);
/// let end = solve(&Rk4 { steps: 20 }, decay, vec![y], [0., 1.])?;
/// assert!((end.state[0].to_scalar::<f64>()? - (-1f64).exp()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub fn solve(
    solver: &dyn Solver,
    mut f: impl FnMut(f64, &[Tensor]) -> Result<Vec<Tensor>>,
    y: Vec<Tensor>,
    span: [f64; 2],
) -> Result<Solution> {
    let op = "dynamics::solve";
    if !(span[0].is_finite() && span[1].is_finite()) {
        let found = format!("{span:?}");
        return Err(Error::value(op, "span", "finite times", found));
    }
    let shapes: Vec<Vec<usize>> = y.iter().map(|t| t.dims().to_vec()).collect();
    let dtypes: Vec<DType> = y.iter().map(Tensor::dtype).collect();
    let check = |arg: &'static str, what: &str, list: &[Tensor]| {
        let same = list.len() == shapes.len()
            && list.iter().zip(&shapes).all(|(t, shape)| t.dims() == shape);
        if same
            && list
                .iter()
                .zip(&dtypes)
                .all(|(t, dtype)| t.dtype() == *dtype)
        {
            return Ok(());
        }
        if same {
            let found: Vec<_> = list.iter().map(Tensor::dtype).collect();
            let expected = format!("{what} of the state's dtypes {dtypes:?}");
            return Err(Error::value(op, arg, expected, format!("{found:?}")));
        }
        let expected = format!("{what} of the state's shapes {shapes:?}");
        let found: Vec<_> = list.iter().map(Tensor::dims).collect();
        Err(Error::value(op, arg, expected, format!("{found:?}")))
    };
    let mut evaluations = 0;
    let mut counted = |t: f64, y: &[Tensor]| -> Result<Vec<Tensor>> {
        evaluations += 1;
        check("solver", "a state", y)?;
        let slope = f(t, y)?;
        check("f", "a derivative", &slope)?;
        Ok(slope)
    };
    let state = solver.integrate(&mut counted, y, span)?;
    check("solver", "an end", &state)?;
    Ok(Solution { state, evaluations })
}

/// So many steps of equal length over the span: `step(t, y, h)` leads from the state y at time t to that at t + h.
///
/// Errors: no steps, and those of a step.
pub fn equal_steps(
    steps: usize,
    mut y: Vec<Tensor>,
    span: [f64; 2],
    mut step: impl FnMut(f64, &[Tensor], f64) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    check::at_least_one("dynamics::equal_steps", &[("steps", steps)])?;
    let h = (span[1] - span[0]) / steps as f64;
    for k in 0..steps {
        y = step(span[0] + h * k as f64, &y, h)?;
    }
    Ok(y)
}

/// `y + h * sum_i weight_i slope_i`, for states of the same shapes; slopes of weight 0 are left out.
///
/// Errors: a slope of fewer parts than y or of other shapes.
pub fn advance(y: &[Tensor], h: f64, parts: &[(f64, &[Tensor])]) -> Result<Vec<Tensor>> {
    if let Some((_, short)) = parts.iter().find(|(_, slope)| slope.len() != y.len()) {
        let expected = format!("a slope of {} parts as the state", y.len());
        let found = short.len();
        return Err(Error::value("dynamics::advance", "parts", expected, found));
    }
    let one = |(i, y): (usize, &Tensor)| {
        let mut sum = y.clone();
        for (weight, slope) in parts.iter().filter(|(weight, _)| *weight != 0.) {
            sum = (sum + (&slope[i] * (h * weight))?)?;
        }
        Ok(sum)
    };
    y.iter().enumerate().map(one).collect()
}
