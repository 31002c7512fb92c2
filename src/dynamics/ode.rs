//! Initial value problems.

use crate::error::{Error, Result};
use candle_core::{DType, Tensor};

/// How an initial value problem is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Solver {
    /// The classical Runge-Kutta method of order 4 with so many equal steps.
    Rk4 {
        /// The number of steps.
        steps: usize,
    },
    /// The method of order 5 by Dormand and Prince (1980), whose steps adapt to an estimate of the error.
    Dopri5 {
        /// Error allowed in a step, relative to the larger of its two ends.
        relative: f64,
        /// Error allowed beside it.
        absolute: f64,
        /// The most steps, rejected ones included.
        max_steps: usize,
    },
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
/// Errors: no steps, tolerances that are not positive, a span that is not finite, a derivative of other shapes; adaptive
/// steps that do not reach the end within `max_steps`, or a state that is no longer finite. There is no silent result.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::dynamics::{Solver, solve};
/// # fn main() -> candle_prob::Result<()> {
/// let y = Tensor::new(1f64, &Device::Cpu)?;
/// let decay = |_: f64, y: &[Tensor]| Ok(vec![y[0].neg()?]);
/// let end = solve(Solver::Rk4 { steps: 20 }, decay, vec![y], [0., 1.])?;
/// assert!((end.state[0].to_scalar::<f64>()? - (-1f64).exp()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// Source: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, tables II.1.2 and II.5.2, equation
/// II.4.11.
pub fn solve(
    solver: Solver,
    mut f: impl FnMut(f64, &[Tensor]) -> Result<Vec<Tensor>>,
    y: Vec<Tensor>,
    span: [f64; 2],
) -> Result<Solution> {
    let op = "dynamics::solve";
    if !(span[0].is_finite() && span[1].is_finite()) {
        let found = format!("{span:?}");
        return Err(Error::value(op, "span", "finite times", found));
    }
    let mut evaluations = 0;
    let mut right = |t: f64, y: &[Tensor]| -> Result<Vec<Tensor>> {
        evaluations += 1;
        let slope = f(t, y)?;
        let same = slope.len() == y.len() && slope.iter().zip(y).all(|(a, b)| a.dims() == b.dims());
        if !same {
            let shapes = |list: &[Tensor]| {
                let shapes: Vec<_> = list.iter().map(|t| t.dims().to_vec()).collect();
                format!("{shapes:?}")
            };
            let expected = format!("a derivative of the state's shapes {}", shapes(y));
            return Err(Error::value(op, "f", expected, shapes(&slope)));
        }
        Ok(slope)
    };
    let state = match solver {
        Solver::Rk4 { steps: 0 } => return Err(Error::value(op, "steps", "at least 1", 0)),
        Solver::Rk4 { steps } => {
            let h = (span[1] - span[0]) / steps as f64;
            let mut y = y;
            for k in 0..steps {
                y = rk4_step(&mut right, span[0] + h * k as f64, &y, h)?;
            }
            y
        }
        Solver::Dopri5 {
            relative,
            absolute,
            max_steps,
        } => {
            for (arg, tolerance) in [("relative", relative), ("absolute", absolute)] {
                if !(tolerance > 0.) {
                    return Err(Error::value(op, arg, "a positive number", tolerance));
                }
            }
            dopri5(&mut right, y, span, [relative, absolute], max_steps)?
        }
    };
    Ok(Solution { state, evaluations })
}

/// `y + h * sum_i weight_i slope_i`.
fn ahead(y: &[Tensor], h: f64, parts: &[(f64, &[Tensor])]) -> Result<Vec<Tensor>> {
    let one = |(i, y): (usize, &Tensor)| {
        let mut sum = y.clone();
        for (weight, slopes) in parts.iter().filter(|(weight, _)| *weight != 0.) {
            sum = (sum + (&slopes[i] * (h * weight))?)?;
        }
        Ok(sum)
    };
    y.iter().enumerate().map(one).collect()
}

type Right<'a> = dyn FnMut(f64, &[Tensor]) -> Result<Vec<Tensor>> + 'a;

fn rk4_step(f: &mut Right, t: f64, y: &[Tensor], h: f64) -> Result<Vec<Tensor>> {
    let a = f(t, y)?;
    let b = f(t + 0.5 * h, &ahead(y, h, &[(0.5, &a)])?)?;
    let c = f(t + 0.5 * h, &ahead(y, h, &[(0.5, &b)])?)?;
    let d = f(t + h, &ahead(y, h, &[(1., &c)])?)?;
    let (outer, inner) = (1. / 6., 1. / 3.);
    ahead(y, h, &[(outer, &a), (inner, &b), (inner, &c), (outer, &d)])
}

/// Times of the stages after the first.
const TIMES: [f64; 6] = [0.2, 0.3, 0.8, 8. / 9., 1., 1.];

/// Weights of the earlier slopes for each stage; the last row is the step itself.
const STAGES: [&[f64]; 6] = [
    &[0.2],
    &[3. / 40., 9. / 40.],
    &[44. / 45., -56. / 15., 32. / 9.],
    &[
        19372. / 6561.,
        -25360. / 2187.,
        64448. / 6561.,
        -212. / 729.,
    ],
    &[
        9017. / 3168.,
        -355. / 33.,
        46732. / 5247.,
        49. / 176.,
        -5103. / 18656.,
    ],
    &[
        35. / 384.,
        0.,
        500. / 1113.,
        125. / 192.,
        -2187. / 6784.,
        11. / 84.,
    ],
];

/// The step's weights less those of the embedded method of order 4.
const ERROR: [f64; 7] = [
    71. / 57600.,
    0.,
    -71. / 16695.,
    71. / 1920.,
    -17253. / 339200.,
    22. / 525.,
    -1. / 40.,
];

fn dopri5(
    f: &mut Right,
    mut y: Vec<Tensor>,
    [start, end]: [f64; 2],
    tolerances: [f64; 2],
    max_steps: usize,
) -> Result<Vec<Tensor>> {
    let mut t = start;
    if start == end {
        return Ok(y);
    }
    let mut first = f(t, &y)?;
    let mut h = first_step(&y, &first, end - start, tolerances)?;
    for _ in 0..max_steps {
        // A last step that is a little too long is better than a tiny one after it.
        let last = (end - t).abs() <= 1.0001 * h.abs();
        if last {
            h = end - t;
        }
        let mut slopes = vec![first.clone()];
        let mut next = vec![];
        for (row, time) in STAGES.iter().zip(TIMES) {
            let parts: Vec<(f64, &[Tensor])> = row
                .iter()
                .copied()
                .zip(slopes.iter().map(Vec::as_slice))
                .collect();
            next = ahead(&y, h, &parts)?;
            slopes.push(f(t + time * h, &next)?);
        }
        let error = scaled_error(&y, &next, &slopes, h, tolerances)?;
        if !error.is_finite() && h.abs() < 1e-12 * (end - start).abs() {
            break;
        }
        if error <= 1. {
            t += h;
            y = next;
            if last {
                return Ok(y);
            }
            // The last stage is the first of the next step.
            first = slopes.pop().unwrap_or(first);
        }
        let factor = if error.is_finite() {
            (0.9 * error.max(1e-10).powf(-0.2)).clamp(0.2, 5.)
        } else {
            0.2
        };
        h *= factor;
    }
    let expected = format!("enough to go from {start} to {end}");
    let found = format!("{max_steps}, which end at {t} with a step of {h:e}");
    Err(Error::value(
        "dynamics::solve",
        "max_steps",
        expected,
        found,
    ))
}

/// The root mean square, over all numbers of the state, of `values / (absolute + relative * scale)`.
fn norm(values: &[Tensor], scales: [&[Tensor]; 2], [relative, absolute]: [f64; 2]) -> Result<f64> {
    let (mut sum, mut count) = (0., 0);
    for (i, value) in values.iter().enumerate() {
        let scale = scales[0][i].abs()?.maximum(&scales[1][i].abs()?)?;
        let share = (value / ((scale * relative)? + absolute)?)?.to_dtype(DType::F64)?;
        sum += share.sqr()?.sum_all()?.to_scalar::<f64>()?;
        count += value.elem_count();
    }
    Ok((sum / count.max(1) as f64).sqrt())
}

fn detached(list: &[Tensor]) -> Vec<Tensor> {
    list.iter().map(Tensor::detach).collect()
}

fn scaled_error(
    y: &[Tensor],
    next: &[Tensor],
    slopes: &[Vec<Tensor>],
    h: f64,
    tolerances: [f64; 2],
) -> Result<f64> {
    let slopes: Vec<Vec<Tensor>> = slopes.iter().map(|s| detached(s)).collect();
    let zeros = y.iter().map(Tensor::zeros_like);
    let zeros = zeros.collect::<candle_core::Result<Vec<_>>>()?;
    let parts: Vec<(f64, &[Tensor])> = ERROR
        .iter()
        .copied()
        .zip(slopes.iter().map(Vec::as_slice))
        .collect();
    let error = ahead(&zeros, h, &parts)?;
    norm(&error, [&detached(y), &detached(next)], tolerances)
}

/// A hundredth of the time in which the state would change by its own size, a hundredth of the span if it is zero.
fn first_step(y: &[Tensor], slope: &[Tensor], span: f64, tolerances: [f64; 2]) -> Result<f64> {
    let (y, slope) = (detached(y), detached(slope));
    let size = norm(&y, [&y, &y], tolerances)?;
    let speed = norm(&slope, [&y, &y], tolerances)?;
    let guess = if size < 1e-5 || speed < 1e-5 {
        0.01 * span.abs()
    } else {
        0.01 * size / speed
    };
    Ok(guess.min(span.abs()).copysign(span))
}
