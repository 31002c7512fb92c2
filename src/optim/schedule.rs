//! Learning rates and KL weights as plain functions of the step.

/// A number that depends on the step: a learning rate, a KL weight (beta), a temperature.
///
/// What it is: a value without state, so there is nothing to save; [`Schedule::at`] gives the same number for the same
/// step always. Steps count from 0. Beyond its end a schedule keeps its last value; a length of zero means "already
/// there".
///
/// ```
/// use candle_prob::optim::Schedule;
/// let rate = Schedule::Cosine { from: 1e-3, to: 1e-5, steps: 900 }.after_warm_up(100);
/// assert_eq!(rate.at(49), 0.5e-3);
/// assert_eq!(rate.at(100), 1e-3);
/// assert_eq!(rate.at(5000), 1e-5);
/// let beta = Schedule::Linear { from: 0., to: 1., steps: 10 };
/// assert_eq!(beta.at(5), 0.5);
/// ```
///
/// Source: cosine: Loshchilov and Hutter 2017, eq. 5, without restarts. Sigmoid: Bowman et al. 2016, section 3.1.
/// Cyclical: Fu et al. 2019, eq. 6.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// A straight line from `from` at step 0 to `to` at step `steps`.
    Linear {
        /// First value.
        from: f64,
        /// Last value.
        to: f64,
        /// Length.
        steps: usize,
    },
    /// Half a cosine from `from` at step 0 to `to` at step `steps`.
    Cosine {
        /// First value.
        from: f64,
        /// Last value.
        to: f64,
        /// Length.
        steps: usize,
    },
    /// `from * factor^(step / every)`, smoothly.
    Exponential {
        /// First value.
        from: f64,
        /// What each `every` steps multiply by.
        factor: f64,
        /// Length of one factor.
        every: usize,
    },
    /// `from * factor^floor(step / every)`.
    Staircase {
        /// First value.
        from: f64,
        /// What each stair multiplies by.
        factor: f64,
        /// Length of a stair.
        every: usize,
    },
    /// `from + (to - from) / (1 + exp(-(step - midpoint) / width))`; a `width` of zero jumps at the midpoint.
    Sigmoid {
        /// Value long before the midpoint.
        from: f64,
        /// Value long after it.
        to: f64,
        /// Step of the half-way value.
        midpoint: f64,
        /// How many steps one unit of the logistic function takes.
        width: f64,
    },
    /// `cycles` times: a line from `from` to `to` over `ramp` steps, then `to` until `period` steps are over. After the
    /// last cycle `to`.
    Cyclical {
        /// First value of each cycle.
        from: f64,
        /// Value that each cycle reaches.
        to: f64,
        /// Length of a cycle.
        period: usize,
        /// Length of its rising part.
        ramp: usize,
        /// Number of cycles.
        cycles: usize,
    },
    /// A line up to the first value of `then` over `steps` steps, then `then` from its step 0 on. The first step is
    /// `1 / steps` of the way, not zero: a step of size zero would be wasted.
    WarmUp {
        /// Length of the warm-up.
        steps: usize,
        /// What follows.
        then: Box<Schedule>,
    },
}

impl Schedule {
    /// The value at a step.
    pub fn at(&self, step: usize) -> f64 {
        match *self {
            Schedule::Constant(value) => value,
            Schedule::Linear { from, to, steps } => line(from, to, progress(step, steps)),
            Schedule::Cosine { from, to, steps } => {
                let done = progress(step, steps);
                line(to, from, (1. + (std::f64::consts::PI * done).cos()) / 2.)
            }
            Schedule::Exponential {
                from,
                factor,
                every,
            } => from * factor.powf(step as f64 / every.max(1) as f64),
            Schedule::Staircase {
                from,
                factor,
                every,
            } => from * factor.powf((step / every.max(1)) as f64),
            Schedule::Sigmoid {
                from,
                to,
                midpoint,
                width,
            } => {
                let distance = step as f64 - midpoint;
                let done = if width == 0. {
                    f64::from(u8::from(distance >= 0.))
                } else {
                    1. / (1. + (-distance / width).exp())
                };
                line(from, to, done)
            }
            Schedule::Cyclical {
                from,
                to,
                period,
                ramp,
                cycles,
            } => match step.checked_div(period) {
                Some(cycle) if cycle < cycles => line(from, to, progress(step % period, ramp)),
                _ => to,
            },
            Schedule::WarmUp { steps, ref then } => match step.checked_sub(steps) {
                Some(step) => then.at(step),
                None => then.at(0) * ((step + 1) as f64 / steps as f64),
            },
        }
    }

    /// This schedule after `steps` steps of linear warm-up.
    pub fn after_warm_up(self, steps: usize) -> Schedule {
        Schedule::WarmUp {
            steps,
            then: Box::new(self),
        }
    }
}

fn progress(step: usize, steps: usize) -> f64 {
    if step >= steps {
        return 1.;
    }
    step as f64 / steps as f64
}

/// Exactly `from` at 0 and exactly `to` at 1.
fn line(from: f64, to: f64, at: f64) -> f64 {
    from * (1. - at) + to * at
}
