//! A Gauss-Newton step for the parameters of a network before a classifier.

use super::armijo::{ArmijoConfig, LineSearch, armijo_to_rounding};
use super::classifier::{Classifier, total};
use super::examples::{Examples, check_batch};
use super::lists::{along, check_like, inner, length, negated, number, set, values, zeros};
use super::newton::check_shift;
use super::pcg::{PcgConfig, PcgReport, pcg};
use crate::dual::Linearize;
use crate::error::{Error, Result};
use crate::objective::Curvature;
use crate::objective::regularization::Quadratic;
use crate::optim::backward;
use crate::rng::Rng;
use crate::shape;
use candle_core::{Tensor, Var};

/// Configuration of [`gauss_newton`].
///
/// The paper takes at most 20 steps of conjugate gradients (the default) and for MNIST `hessian_rows: Some(5000)` of 50,000.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GaussNewtonConfig {
    /// The linear system.
    pub pcg: PcgConfig,
    /// The line search.
    pub line_search: ArmijoConfig,
    /// What is added to the penalties' Hessians to make them the preconditioner; none: the curvature of the loss along its
    /// gradient, for the price of one more product.
    pub shift: Option<f64>,
    /// Rows that the Hessian is taken on, drawn anew in each step; none: all.
    pub hessian_rows: Option<usize>,
    /// Rows that are propagated at once where values and gradients are taken over all; none: all. The Hessian's rows are
    /// propagated at once.
    pub batch: Option<usize>,
}

impl GaussNewtonConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        self.pcg.check(op)?;
        self.line_search.check(op)?;
        check_shift(op, self.shift)?;
        check_batch(op, "hessian_rows", self.hessian_rows)?;
        check_batch(op, "batch", self.batch)
    }
}

/// What [`gauss_newton`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussNewtonReport {
    /// The objective before the step: mean loss and penalties.
    pub value: f64,
    /// The length of its gradient there.
    pub gradient: f64,
    /// The linear system.
    pub pcg: PcgReport,
    /// The line search, with the objective after the step. Where it has found nothing the parameters are as before.
    pub line_search: LineSearch,
}

/// One step on the parameters of a model, with its classifier fixed.
///
/// Formula: for the objective `f = 1/B sum_i loss(W F(x_i) + mu, c_i) + sum_p R_p(theta_p)` with the model's values F and
/// their Jacobian J, the direction d solves
///
/// ```text
///   (1/B' sum_i J_i^T W^T H_i W J_i + R'') d = -f'
/// ```
///
/// by preconditioned conjugate gradients, where H is the loss's exact Hessian in the scores and i runs over a sample of B' rows.
/// `J v` is [`Linearize::tangent`], `J^T u` candle's backward pass on one graph, which is built once. The preconditioner is the
/// penalties' [`solve`](Quadratic::solve) with a shift. The step is as long as Armijo's rule on f over all rows says.
/// (Where the decrease that it promises is below the rounding of the objective, a step counts that makes the gradient shorter and
/// leaves the objective where it is, to rounding.)
///
/// Shapes: `penalties` has one for each of the model's parameters, in their order.
///
/// Gradients: none.
///
/// Errors: a configuration out of range; another number of penalties; an objective or a gradient that is
/// infinite or NaN, as that of exploding layers; those of the model.
/// The parameters are where they were then.
///
/// ```
/// use candle_core::{Device, Module, Tensor, Var, DType};
/// use candle_nn::VarMap;
/// use candle_prob::dual::Linearize;
/// use candle_prob::objective::ClassificationLoss;
/// use candle_prob::optim::{self, Classifier, Examples, GaussNewtonConfig};
/// use candle_prob::{Result, Rng, init};
///
/// /// theta^3 x.
/// struct Cube(Var);
///
/// impl Module for Cube {
///     fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
///         x.broadcast_mul(&self.0.powf(3.)?)
///     }
/// }
///
/// impl Linearize for Cube {
///     fn parameters(&self) -> Vec<Var> {
///         vec![self.0.clone()]
///     }
///
///     fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
///         Ok(x.broadcast_mul(&(self.0.sqr()? * 3.)?.mul(&direction[0])?)?)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 0, DType::F64, &Device::Cpu);
/// let classifier = Classifier::new(1, 1, ClassificationLoss::Squared, vb)?;
/// classifier.weight().set(&Tensor::new(&[[1f64]], &Device::Cpu)?)?;
/// let model = Cube(Var::new(&[1f64], &Device::Cpu)?);
/// let x = Tensor::new(&[[1f64], [2.]], &Device::Cpu)?;
/// let examples = Examples::new(&x, &(&x * 8.)?)?; // theta = 2
/// for _ in 0..8 {
///     optim::gauss_newton(&model, &classifier, &examples, &[None], &GaussNewtonConfig::default(), &mut Rng::new(0))?;
/// }
/// assert!((model.0.to_vec1::<f64>()?[0] - 2.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, sections 2 and 6; Schraudolph (2002),
/// Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent.
pub fn gauss_newton<M: Linearize + ?Sized>(
    model: &M,
    classifier: &Classifier,
    examples: &Examples,
    penalties: &[Option<&dyn Quadratic>],
    config: &GaussNewtonConfig,
    rng: &mut Rng,
) -> Result<GaussNewtonReport> {
    let op = "optim::gauss_newton";
    config.check(op)?;
    let variables = model.parameters();
    check_penalties(op, penalties, &variables)?;
    let at = values(&variables)?;
    let problem = Problem {
        model,
        classifier,
        penalties,
        variables,
        weight: classifier.weight().as_detached_tensor(),
        batch: config.batch,
    };
    let (value, g, graph) = problem.gradient(examples, &at)?;
    let gradient = length(&g)?;
    if !(value.is_finite() && gradient.is_finite()) {
        let expected = "examples and parameters with a finite objective and gradient";
        let found = format!("{value} and a gradient of length {gradient}");
        return Err(Error::value(op, "examples", expected, found));
    }
    let sample = match config.hessian_rows {
        Some(rows) if rows < examples.rows() => {
            // The graph of all rows is not needed any more.
            drop(graph);
            problem.linearize(&examples.draw(rows, rng)?)?
        }
        _ => match graph {
            Some(linear) => linear,
            None => problem.linearize(examples)?,
        },
    };
    let shift = match config.shift {
        Some(shift) => shift,
        None => problem.shift(&sample, &g)?,
    };
    let found = pcg(
        |v| problem.with_penalties(problem.product(&sample, v)?, v),
        &negated(&g)?,
        |v| problem.precondition(v, shift),
        &config.pcg,
    )?;
    drop(sample);
    let slope = inner(&g, &found.solution)?;
    let trial = |t: f64| {
        let there = along(&at, t, &found.solution)?;
        set(&problem.variables, &there)?;
        problem.value(examples, &there)
    };
    let shorter = |t: f64| {
        let there = along(&at, t, &found.solution)?;
        Ok(length(&problem.gradient(examples, &there)?.1)? < gradient)
    };
    // The step may be too long there as well: the matrix is not the Hessian.
    let rounding = (shape::epsilon(problem.weight.dtype()), 4);
    let line_search =
        armijo_to_rounding(trial, shorter, value, slope, rounding, &config.line_search);
    if !line_search.as_ref().is_ok_and(LineSearch::found) {
        set(&problem.variables, &at)?;
    }
    Ok(GaussNewtonReport {
        value,
        gradient,
        pcg: found.report,
        line_search: line_search?,
    })
}

pub(super) fn check_penalties(
    op: &'static str,
    penalties: &[Option<&dyn Quadratic>],
    variables: &[Var],
) -> Result<()> {
    if penalties.len() != variables.len() {
        let expected = format!("{}, one for each parameter of the model", variables.len());
        return Err(Error::value(op, "penalties", expected, penalties.len()));
    }
    if variables.is_empty() {
        return Err(Error::value(op, "model", "at least one parameter", "none"));
    }
    Ok(())
}

struct Problem<'a, M: ?Sized> {
    model: &'a M,
    classifier: &'a Classifier,
    penalties: &'a [Option<&'a dyn Quadratic>],
    variables: Vec<Var>,
    weight: Tensor,
    batch: Option<usize>,
}

/// The model at a sample.
struct Linear {
    x: Tensor,
    /// The model's values, with the graph to its parameters.
    y: Tensor,
    curvature: Curvature,
}

impl<M: Linearize + ?Sized> Problem<'_, M> {
    /// Scores, rows of targets and the model's values, the latter with their graph.
    fn forward(&self, examples: &Examples) -> Result<(Tensor, Tensor, Tensor)> {
        let op = "optim::gauss_newton";
        let y = self.model.forward(examples.x())?;
        let scores = self.classifier.scores(&y.detach())?.detach();
        let loss = self.classifier.loss_form();
        let rows = loss.rows(op, &scores, examples.targets())?;
        Ok((scores, rows, y))
    }

    fn value(&self, examples: &Examples, at: &[Tensor]) -> Result<f64> {
        let mut sum = 0.;
        for part in examples.batches(self.batch)? {
            let (scores, rows, _) = self.forward(&part)?;
            sum += total(&self.classifier.loss_form().value_of(&scores, &rows)?)?;
        }
        Ok(sum / examples.rows() as f64 + self.penalty(at)?)
    }

    fn penalty(&self, at: &[Tensor]) -> Result<f64> {
        let parts = self.penalties.iter().zip(at);
        let parts = parts.filter_map(|(penalty, at)| Some((penalty.as_ref()?, at)));
        parts.map(|(p, at)| number(&p.value(at)?)).sum()
    }

    /// The objective with its gradient; of a single batch also the graph, to be used once more.
    fn gradient(
        &self,
        examples: &Examples,
        at: &[Tensor],
    ) -> Result<(f64, Vec<Tensor>, Option<Linear>)> {
        let loss = self.classifier.loss_form();
        let (mut sum, mut g) = (0., zeros(at)?);
        let parts = examples.batches(self.batch)?;
        let mut graph = None;
        for part in &parts {
            let (scores, rows, y) = self.forward(part)?;
            sum += total(&loss.value_of(&scores, &rows)?)?;
            let u = (loss.gradient_of(&scores, &rows)? / examples.rows() as f64)?;
            g = along(&g, 1., &self.back(&y, &u)?)?;
            if parts.len() == 1 {
                let (x, curvature) = (part.x().clone(), loss.curvature(&scores)?);
                graph = Some(Linear { x, y, curvature });
            }
        }
        let value = sum / examples.rows() as f64 + self.penalty(at)?;
        Ok((value, self.with_penalties(g, at)?, graph))
    }

    fn linearize(&self, examples: &Examples) -> Result<Linear> {
        let (scores, _, y) = self.forward(examples)?;
        let curvature = self.classifier.loss_form().curvature(&scores)?;
        let x = examples.x().clone();
        Ok(Linear { x, y, curvature })
    }

    /// J^T W^T u, for u in the scores.
    fn back(&self, y: &Tensor, u: &Tensor) -> Result<Vec<Tensor>> {
        let u = u.matmul(&self.weight)?.reshape(y.dims())?;
        let gradients = backward(&(y * u)?.sum_all()?)?;
        let parts = self.variables.iter().map(|variable| {
            Ok(match gradients.get(variable) {
                Some(gradient) => gradient.detach(),
                None => variable.as_detached_tensor().zeros_like()?,
            })
        });
        parts.collect()
    }

    /// J^T W^T H W J v / B, the loss's part of the Gauss-Newton matrix.
    fn product(&self, at: &Linear, v: &[Tensor]) -> Result<Vec<Tensor>> {
        let op = "optim::gauss_newton";
        let moved = self.model.tangent(&at.x, v)?.detach();
        shape::exactly(op, "tangent", moved.dims(), at.y.dims())?;
        let moved = self
            .classifier
            .flat(op, &moved)?
            .matmul(&self.weight.t()?)?;
        let u = (at.curvature.product(&moved)? / moved.dims()[0] as f64)?;
        self.back(&at.y, &u)
    }

    fn with_penalties(&self, sums: Vec<Tensor>, v: &[Tensor]) -> Result<Vec<Tensor>> {
        let parts = sums.into_iter().zip(v).zip(self.penalties);
        parts
            .map(|((sum, v), penalty)| match penalty {
                Some(penalty) => Ok((sum + penalty.product(v)?)?),
                None => Ok(sum),
            })
            .collect()
    }

    fn precondition(&self, v: &[Tensor], shift: f64) -> Result<Vec<Tensor>> {
        let parts = v.iter().zip(self.penalties);
        let parts = parts.map(|(v, penalty)| match penalty {
            Some(penalty) => penalty.solve(v, shift),
            None => Ok((v / shift)?),
        });
        let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
        check_like("optim::gauss_newton", "penalties", &parts, v)?;
        Ok(parts)
    }

    /// The loss's curvature along a direction.
    fn shift(&self, at: &Linear, v: &[Tensor]) -> Result<f64> {
        let length = length(v)?;
        if length == 0. {
            return Ok(1.);
        }
        let shift = inner(v, &self.product(at, v)?)? / (length * length);
        Ok(match shift > 0. && shift.is_finite() {
            true => shift,
            // Nothing curves, so that every scale is as good.
            false => 1.,
        })
    }
}
