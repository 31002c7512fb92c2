//! How the path of iterative hard thresholding goes.

use super::loss::Loss;
use crate::check;
use crate::error::{Error, Result};

/// How [`hiht`](super::hiht) and [`ahiht`](super::ahiht) go along the path.
#[derive(Debug, Clone, PartialEq)]
pub struct HihtConfig {
    /// The first lambda; none: where the first step from zero finds its first feature.
    pub lambda: Option<f64>,
    /// The last lambda.
    pub final_lambda: f64,
    /// Each lambda is the one before times rho, between 0 and 1.
    pub rho: f64,
    /// The first L; none: 1.01 times an estimate, from below, of the largest eigenvalue of the centred data's second moments,
    /// above which every step descends for squares.
    pub lipschitz: Option<f64>,
    /// L is raised by this factor, above 1, until a step descends enough.
    pub gamma: f64,
    /// A step descends enough where the objective falls by `eta / 2` times the squared length of the step.
    pub eta: f64,
    /// [`hiht`](super::hiht) is done with a lambda when the squared length of a step is no more than this.
    pub epsilon: f64,
    /// The most steps for one lambda.
    pub iterations: usize,
    /// What is minimized beside the number of features.
    pub loss: Loss,
    /// The path ends as soon as so many features are selected; none: it goes on to the last lambda.
    pub features: Option<usize>,
    /// Where W starts.
    pub start: Start,
}

/// Where W starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// At zero.
    Zero,
    /// At independent normal numbers of this standard deviation.
    Gaussian {
        /// The standard deviation.
        scale: f64,
        /// The seed.
        seed: u64,
    },
    /// At independent uniform numbers between -scale and scale.
    Uniform {
        /// The largest absolute value.
        scale: f64,
        /// The seed.
        seed: u64,
    },
}

impl Default for HihtConfig {
    fn default() -> Self {
        HihtConfig {
            lambda: None,
            final_lambda: 1e-4,
            rho: 0.7,
            lipschitz: None,
            gamma: 2.,
            eta: 1e-3,
            epsilon: 1e-6,
            iterations: 10_000,
            loss: Loss::Squares,
            features: None,
            start: Start::Zero,
        }
    }
}

impl HihtConfig {
    pub(super) fn check(&self, op: &'static str, features: usize) -> Result<()> {
        check::in_open_interval(op, "rho", self.rho, 0., 1.)?;
        check::in_open_interval(op, "gamma", self.gamma, 1., f64::INFINITY)?;
        for (arg, value) in [
            ("lambda", self.lambda.unwrap_or(1.)),
            ("final_lambda", self.final_lambda),
            ("lipschitz", self.lipschitz.unwrap_or(1.)),
        ] {
            // A subnormal lambda times rho can be itself again.
            if !(value > 0. && value.is_normal()) {
                let expected = "a positive finite number of full precision";
                return Err(Error::value(op, arg, expected, value));
            }
        }
        for (arg, value) in [("eta", self.eta), ("epsilon", self.epsilon)] {
            check::non_negative(op, arg, value)?;
        }
        if let Loss::Robust { delta } = self.loss {
            check::positive_finite(op, "delta", delta)?;
        }
        if let Start::Gaussian { scale, .. } | Start::Uniform { scale, .. } = self.start {
            check::non_negative(op, "scale", scale)?;
        }
        check::at_least_one(op, &[("iterations", self.iterations)])?;
        check::at_most(op, "features", self.features.unwrap_or(0), features)
    }
}
