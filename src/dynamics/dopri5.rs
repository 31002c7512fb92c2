//! The method of Dormand and Prince.

use super::{Solver, VectorField, advance};
use crate::check;
use crate::error::{Error, Result};
use candle_core::{DType, Tensor};

/// The method of order 5 by Dormand and Prince (1980), whose steps adapt to an estimate of the error.
///
/// Errors: tolerances that are not positive; an end that is not reached within `max_steps`, as when the state is no longer
/// finite.
///
/// Source: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, table II.5.2 and equation II.4.11.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dopri5 {
    /// Error allowed in a step, relative to the larger of its two ends.
    pub relative: f64,
    /// Error allowed beside it.
    pub absolute: f64,
    /// The most steps, rejected ones included.
    pub max_steps: usize,
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

impl Solver for Dopri5 {
    fn integrate(
        &self,
        f: &mut VectorField,
        mut y: Vec<Tensor>,
        [start, end]: [f64; 2],
    ) -> Result<Vec<Tensor>> {
        let op = "Dopri5::integrate";
        let tolerances = [self.relative, self.absolute];
        for (arg, tolerance) in ["relative", "absolute"].into_iter().zip(tolerances) {
            check::positive(op, arg, tolerance)?;
        }
        let mut t = start;
        if start == end {
            return Ok(y);
        }
        let mut first = f(t, &y)?;
        let mut h = first_step(&y, &first, end - start, tolerances)?;
        for _ in 0..self.max_steps {
            // A last step that is a little too long is better than a tiny one after it.
            let last = (end - t).abs() <= 1.0001 * h.abs();
            if last {
                h = end - t;
            }
            let mut slopes = vec![first.clone()];
            let mut next = vec![];
            for (row, time) in STAGES.iter().zip(TIMES) {
                next = advance(&y, h, &weighted(row, &slopes))?;
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
        let found = format!("{}, which end at {t} with a step of {h:e}", self.max_steps);
        Err(Error::value(op, "max_steps", expected, found))
    }
}

/// Each slope with its weight.
fn weighted<'a>(weights: &[f64], slopes: &'a [Vec<Tensor>]) -> Vec<(f64, &'a [Tensor])> {
    let slopes = slopes.iter().map(Vec::as_slice);
    weights.iter().copied().zip(slopes).collect()
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
    let error = advance(&zeros, h, &weighted(&ERROR, &slopes))?;
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
