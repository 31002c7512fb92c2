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
    mut f: impl FnMut(f64) -> Result<f64>,
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
    let none = |trials| LineSearch {
        step: 0.,
        value,
        trials,
    };
    if slope >= 0. {
        return Ok(none(0));
    }
    let mut step = config.first;
    for trial in 1..=config.max_trials {
        let there = f(step)?;
        // Not at NaN. A promise below the rounding of the value asks for a decrease all the same.
        let enough = value + config.sufficient * step * slope;
        if there <= enough && there < value {
            return Ok(LineSearch {
                step,
                value: there,
                trials: trial,
            });
        }
        step *= config.shrink;
    }
    Ok(none(config.max_trials))
}
