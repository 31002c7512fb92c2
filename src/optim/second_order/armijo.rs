//! The line search of Armijo.

use crate::check;
use crate::error::{Error, Result};

/// Configuration of [`armijo`].
#[derive(Debug, Clone, PartialEq)]
pub struct ArmijoConfig {
    /// The first step that is tried.
    pub first: f64,
    /// The part of the decrease promised by the slope that is sufficient (c1).
    pub sufficient: f64,
    /// What a step is multiplied with when it did not suffice.
    pub shrink: f64,
    /// The most steps that are tried.
    pub max_trials: usize,
}

impl Default for ArmijoConfig {
    /// From 1 by halves, ten trials, a decrease of 1e-4 of what the slope promises.
    fn default() -> Self {
        ArmijoConfig {
            first: 1.,
            sufficient: 1e-4,
            shrink: 0.5,
            max_trials: 10,
        }
    }
}

impl ArmijoConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        check::positive_finite(op, "first", self.first)?;
        let open = (std::ops::Bound::Excluded(0.), std::ops::Bound::Excluded(1.));
        check::in_interval(op, "sufficient", self.sufficient, open)?;
        check::in_interval(op, "shrink", self.shrink, open)?;
        check::at_least_one(op, &[("max_trials", self.max_trials)])
    }
}

/// What [`armijo`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineSearch {
    /// The step with a sufficient decrease; 0 where none was found.
    pub step: f64,
    /// The function there: its value at 0 where no step was found.
    pub value: f64,
    /// How many steps were tried.
    pub trials: usize,
}

impl LineSearch {
    /// Whether a step was found.
    pub fn found(&self) -> bool {
        self.step > 0.
    }
}

/// The first of the steps t = first, first shrink, first shrink^2, .. with a sufficient decrease,
/// `f(t) <= f(0) + sufficient t f'(0)`.
///
/// `value` is f(0), `slope` f'(0). Where no step suffices, or the slope is not negative, the step is 0: f never increases.
/// Values that are infinite or NaN do not suffice.
///
/// Errors: a configuration out of range; a value at 0 or a slope that is not finite; those of f.
///
/// ```
/// use candle_prob::optim::{ArmijoConfig, armijo};
/// # fn main() -> candle_prob::Result<()> {
/// // (x - 1)^2 from 0 along 4, four times too far: the steps 1 and 1/2 do not suffice.
/// let f = |t: f64| Ok((4. * t - 1.).powi(2));
/// let found = armijo(f, 1., -8., &ArmijoConfig::default())?;
/// assert_eq!((found.step, found.value, found.trials), (0.25, 0., 3));
/// # Ok(())
/// # }
/// ```
///
/// Source: Armijo (1966); Nocedal and Wright (2006), Numerical Optimization, algorithm 3.1.
pub fn armijo(
    f: impl FnMut(f64) -> Result<f64>,
    value: f64,
    slope: f64,
    config: &ArmijoConfig,
) -> Result<LineSearch> {
    let op = "optim::armijo";
    config.check(op)?;
    check::finite(op, "value", value)?;
    if slope.is_nan() || slope == f64::NEG_INFINITY {
        return Err(Error::value(op, "slope", "a finite number", slope));
    }
    if slope >= 0. {
        return Ok(none(value, 0));
    }
    let suffices = |step: f64, there: f64| Ok(decreases(there, value, step * slope, config));
    first_that(f, suffices, value, config.max_trials, config)
}

/// [`armijo`] on a function with rounding of its value times `epsilon`. Where the decrease that the first
/// step promises is below that, values tell little: a step counts as well where the function stays, to rounding, and the gradient becomes `shorter`, of at most `few` that are tried.
pub(super) fn armijo_to_rounding(
    f: impl FnMut(f64) -> Result<f64>,
    mut shorter: impl FnMut(f64) -> Result<bool>,
    value: f64,
    slope: f64,
    (epsilon, few): (f64, usize),
    config: &ArmijoConfig,
) -> Result<LineSearch> {
    let small = 32. * epsilon * value.abs();
    let below = slope < 0. && -slope * config.first <= small;
    if !below {
        return armijo(f, value, slope, config);
    }
    let suffices = |step: f64, there: f64| {
        let falls = decreases(there, value, step * slope, config);
        Ok(falls || there <= value + small && shorter(step)?)
    };
    first_that(f, suffices, value, config.max_trials.min(few), config)
}

fn decreases(there: f64, value: f64, promise: f64, config: &ArmijoConfig) -> bool {
    // A promise below the rounding of the value asks for a decrease all the same.
    there.is_finite() && there <= value + config.sufficient * promise && there < value
}

/// The first of the steps that suffices.
fn first_that(
    mut f: impl FnMut(f64) -> Result<f64>,
    mut suffices: impl FnMut(f64, f64) -> Result<bool>,
    value: f64,
    trials: usize,
    config: &ArmijoConfig,
) -> Result<LineSearch> {
    let mut step = config.first;
    for trial in 1..=trials {
        let there = f(step)?;
        if suffices(step, there)? {
            return Ok(LineSearch {
                step,
                value: there,
                trials: trial,
            });
        }
        step *= config.shrink;
    }
    Ok(none(value, trials))
}

fn none(value: f64, trials: usize) -> LineSearch {
    LineSearch {
        step: 0.,
        value,
        trials,
    }
}
