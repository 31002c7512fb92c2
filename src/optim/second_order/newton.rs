//! Newton's method on the convex problem of the classifier.

use super::armijo::{ArmijoConfig, LineSearch, armijo_to_rounding};
use super::classifier::{Classifier, check_rows, scores, total};
use super::lists::{along, inner, length, negated, number, set, values, zeros};
use super::pcg::{PcgConfig, PcgReport, PcgStop, pcg};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::reduce::norm;
use crate::objective::regularization::Quadratic;
use crate::objective::{ClassificationLoss, Curvature};
use crate::shape;
use candle_core::Tensor;

/// Configuration of [`Classifier::fit`].
///
/// The paper takes `max_steps: 2` with `pcg.max_steps: 2` for points of the plane, 5 and 10 for MNIST (the default).
#[derive(Debug, Clone, PartialEq)]
pub struct NewtonConfig {
    /// The most Newton steps.
    pub max_steps: usize,
    /// The length of the gradient at which the minimum is reached.
    pub tolerance: f64,
    /// The linear system of each step.
    pub pcg: PcgConfig,
    /// The line search of each step.
    pub line_search: ArmijoConfig,
    /// What is added to the penalty's Hessian to make it the preconditioner; none: the mean of the diagonal of the loss's
    /// Hessian, roughly.
    pub shift: Option<f64>,
}

impl Default for NewtonConfig {
    fn default() -> Self {
        NewtonConfig {
            max_steps: 5,
            tolerance: 1e-8,
            pcg: PcgConfig {
                max_steps: 10,
                tolerance: 0.01,
            },
            line_search: ArmijoConfig::default(),
            shift: None,
        }
    }
}

impl NewtonConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        check::at_least_one(op, &[("max_steps", self.max_steps)])?;
        check::non_negative(op, "tolerance", self.tolerance)?;
        self.pcg.check(op)?;
        self.line_search.check(op)?;
        check_shift(op, self.shift)
    }
}

pub(super) fn check_shift(op: &'static str, shift: Option<f64>) -> Result<()> {
    shift.map_or(Ok(()), |shift| check::positive_finite(op, "shift", shift))
}

/// Why [`Classifier::fit`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewtonStop {
    /// The gradient is below the tolerance.
    Converged,
    /// All steps were taken.
    MaxSteps,
    /// Along the last direction nothing decreases, by rounding as a rule: W and mu are those before it.
    NoDecrease,
}

/// One step of Newton's method.
#[derive(Debug, Clone, PartialEq)]
pub struct NewtonStep {
    /// The linear system.
    pub pcg: PcgReport,
    /// The line search.
    pub line_search: LineSearch,
    /// The objective after the step.
    pub value: f64,
    /// The length of the gradient after the step.
    pub gradient: f64,
}

/// What [`Classifier::fit`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct NewtonReport {
    /// The objective where the steps start: mean loss and penalty.
    pub value: f64,
    /// The length of the gradient there.
    pub gradient: f64,
    /// The steps, in order, the last one perhaps without a decrease.
    pub steps: Vec<NewtonStep>,
    /// Why it stopped.
    pub stop: NewtonStop,
}

impl NewtonReport {
    /// The objective at the end.
    pub fn last_value(&self) -> f64 {
        self.steps.last().map_or(self.value, |step| step.value)
    }

    /// The length of the gradient at the end.
    pub fn last_gradient(&self) -> f64 {
        self.steps
            .last()
            .map_or(self.gradient, |step| step.gradient)
    }
}

impl Classifier {
    /// Minimizes the mean loss plus a penalty of W over W and mu, at fixed features, from where they are, or from 0 if the
    /// objective is lower there.
    ///
    /// Formula: `min 1/B sum_i loss(W y_i + mu, c_i) + R(W)` by Newton's method: each step solves `H d = -g` by conjugate
    /// gradients with exact products of the Hessian, preconditioned by `R`'s shifted inverse, and moves along d as far as
    /// Armijo's rule says. The objective never increases. (Where the decrease that a step promises is below the rounding of the
    /// objective, a step counts that makes the gradient shorter and leaves the objective where it is, to rounding.)
    ///
    /// Shapes: features `[B, ..]`, targets as the [`ClassificationLoss`](crate::objective::ClassificationLoss) has them; the penalty takes
    /// W, `[K, n]`.
    ///
    /// Gradients: none; features are read as constants.
    ///
    /// Errors: no rows; a configuration out of range; features with infinities or NaN, by the objective or gradient that is not finite;
    /// those of loss and penalty. W and mu stay where the last whole step led.
    ///
    /// Numerics: separable data without a penalty have no minimum; the steps end by their number, with finite weights.
    /// Where a classifier is certain, and wrong, the loss is nearly linear and Newton's direction has no length: what is worse than
    /// no classifier starts anew from 0, and no step is tried that promises an objective far below 0.
    pub fn fit(
        &self,
        features: &Tensor,
        targets: &Tensor,
        penalty: Option<&dyn Quadratic>,
        config: &NewtonConfig,
    ) -> Result<NewtonReport> {
        let op = "Classifier::fit";
        config.check(op)?;
        check_rows(op, features)?;
        let y = self.flat(op, &features.detach())?;
        let variables = [self.weight().clone(), self.bias().clone()];
        let mut at = values(&variables)?;
        let mut x = scores(&y, &at[0], &at[1])?;
        let rows = self.loss_form().rows(op, &x, targets)?;
        let problem = Problem {
            classifier: self,
            ones: Tensor::ones((1, y.dims()[0]), y.dtype(), y.device())?,
            square: norm::sum_of_squares(&y)? / y.elem_count() as f64,
            y,
            rows,
            penalty,
        };
        let mut value = problem.value(&x, &at[0])?;
        let mut g = problem.gradient(&x, &at[0])?;
        let mut gradient = length(&g)?;
        if !(value.is_finite() && gradient.is_finite()) {
            let expected = "features and weights with a finite objective and gradient";
            let found = format!("{value} and a gradient of length {gradient}");
            return Err(Error::value(op, "features", expected, found));
        }
        let (none, zero) = (x.zeros_like()?, zeros(&at)?);
        let at_zero = problem.value(&none, &zero[0])?;
        if at_zero < value {
            (x, at, value) = (none, zero, at_zero);
            g = problem.gradient(&x, &at[0])?;
            gradient = length(&g)?;
            set(&variables, &at)?;
        }
        let mut report = NewtonReport {
            value,
            gradient,
            steps: vec![],
            stop: NewtonStop::MaxSteps,
        };
        for _ in 0..config.max_steps {
            if report.last_gradient() <= config.tolerance {
                report.stop = NewtonStop::Converged;
                return Ok(report);
            }
            let curvature = self.loss_form().curvature(&x)?;
            let shift = config.shift.map_or_else(|| problem.shift(&curvature), Ok)?;
            let product = |v: &[Tensor]| problem.product(&curvature, v);
            let precondition = |v: &[Tensor]| problem.precondition(v, shift);
            let found = pcg(product, &negated(&g)?, precondition, &config.pcg)?;
            let (d, before) = (found.solution, report.last_value());
            // Scores are linear in W and mu: a trial costs no product with the features.
            let dx = scores(&problem.y, &d[0], &d[1])?;
            let slope = inner(&g, &d)?;
            let trial = |t: f64| -> Result<(Tensor, Vec<Tensor>, f64)> {
                let (x, at) = ((&x + (&dx * t)?)?, along(&at, t, &d)?);
                let value = problem.value(&x, &at[0])?;
                Ok((x, at, value))
            };
            let search = |t: f64| Ok(trial(t)?.2);
            let shorter = |t: f64| -> Result<bool> {
                let (x, at, _) = trial(t)?;
                Ok(length(&problem.gradient(&x, &at[0])?)? < report.last_gradient())
            };
            // No objective is below 0: a direction that promises more, where hardly anything curves, is too long.
            let mut config = config.line_search.clone();
            let most = 4. * before / -slope;
            if slope < 0. && most > 0. && most.is_finite() {
                config.first = match found.report.stop {
                    // Nothing curves, so that the direction has no length of its own.
                    PcgStop::NegativeCurvature if found.report.steps == 1 => most,
                    _ => config.first.min(most),
                };
            }
            // Newton's step is right in length there.
            let rounding = (shape::epsilon(x.dtype()), 1);
            let line = armijo_to_rounding(search, shorter, before, slope, rounding, &config)?;
            if line.found() {
                (x, at, _) = trial(line.step)?;
                g = problem.gradient(&x, &at[0])?;
                set(&variables, &at)?;
            }
            report.steps.push(NewtonStep {
                pcg: found.report,
                line_search: line,
                value: line.value,
                gradient: length(&g)?,
            });
            if !line.found() {
                report.stop = NewtonStop::NoDecrease;
                return Ok(report);
            }
        }
        if report.last_gradient() <= config.tolerance {
            report.stop = NewtonStop::Converged;
        }
        Ok(report)
    }
}

/// The convex problem: features and targets, in scores x.
struct Problem<'a> {
    classifier: &'a Classifier,
    y: Tensor,
    rows: Tensor,
    /// A row of ones, for sums over rows.
    ones: Tensor,
    /// The mean square of a feature.
    square: f64,
    penalty: Option<&'a dyn Quadratic>,
}

impl Problem<'_> {
    fn value(&self, x: &Tensor, weight: &Tensor) -> Result<f64> {
        let losses = self.classifier.loss_form().value_of(x, &self.rows)?;
        let mean = total(&losses)? / self.y.dims()[0] as f64;
        match self.penalty {
            Some(penalty) => Ok(mean + number(&penalty.value(weight)?)?),
            None => Ok(mean),
        }
    }

    fn gradient(&self, x: &Tensor, weight: &Tensor) -> Result<Vec<Tensor>> {
        let u = self.classifier.loss_form().gradient_of(x, &self.rows)?;
        self.back(&u, weight)
    }

    fn product(&self, curvature: &Curvature, v: &[Tensor]) -> Result<Vec<Tensor>> {
        let u = curvature.product(&scores(&self.y, &v[0], &v[1])?)?;
        self.back(&u, &v[0])
    }

    /// The means of what u in the scores is in W and mu, and the penalty's product.
    fn back(&self, u: &Tensor, weight: &Tensor) -> Result<Vec<Tensor>> {
        let u = (u / self.y.dims()[0] as f64)?;
        let mut w = u.t()?.matmul(&self.y)?;
        if let Some(penalty) = self.penalty {
            w = (w + penalty.product(weight)?)?;
        }
        Ok(vec![w, self.ones.matmul(&u)?.squeeze(0)?])
    }

    /// A typical element of the diagonal of the loss's Hessian.
    fn shift(&self, curvature: &Curvature) -> Result<f64> {
        let shift = curvature.mean_diagonal()? * self.square;
        Ok(match shift > 0. && shift.is_finite() {
            true => shift,
            // Nothing curves, so that every scale is as good.
            false => 1.,
        })
    }

    fn precondition(&self, v: &[Tensor], shift: f64) -> Result<Vec<Tensor>> {
        let mut w = match self.penalty {
            Some(penalty) => penalty.solve(&v[0], shift)?,
            None => (&v[0] / shift)?,
        };
        // A bias is a weight of the feature 1.
        let bias = match self.square > 0. {
            true => self.square / shift,
            false => 1. / shift,
        };
        let mut bias = (&v[1] * bias)?;
        if self.classifier.loss_form() == ClassificationLoss::Softmax {
            // A number that is added to all scores changes nothing: there rounding alone would grow.
            bias = bias.broadcast_sub(&bias.mean_keepdim(0)?)?;
            if self.penalty.is_none() {
                w = w.broadcast_sub(&w.mean_keepdim(0)?)?;
            }
        }
        Ok(vec![w, bias])
    }
}
