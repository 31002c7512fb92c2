//! Block coordinate descent: the classifier, then the network before it.

use super::classifier::{Classifier, Evaluation};
use super::examples::{Examples, check_batch, evaluate};
use super::gauss_newton::{GaussNewtonConfig, GaussNewtonReport, check_penalties, gauss_newton};
use super::lists::{number, set};
use super::newton::{NewtonConfig, NewtonReport};
use super::pcg::PcgConfig;
use crate::dual::Linearize;
use crate::error::Result;
use crate::init::poisoned;
use crate::objective::regularization::Quadratic;
use crate::rng::Rng;
use candle_core::{Device, Tensor, Var};
use candle_nn::VarMap;
use std::ops::ControlFlow;

/// Configuration of [`BlockDescent`].
///
/// The settings of the paper's section 6:
///
/// ```
/// use candle_prob::optim::{BlockDescentConfig, GaussNewtonConfig, NewtonConfig, PcgConfig};
/// // Points of the plane (6.1 to 6.3): what `default` says.
/// let plane = BlockDescentConfig::default();
/// assert_eq!((plane.classifier.max_steps, plane.classifier.pcg.max_steps), (2, 2));
/// assert_eq!(plane.propagation.pcg.max_steps, 20);
/// // MNIST (6.4): 5 steps of 10, the Hessian on 5,000 of the 50,000 images.
/// let mnist = BlockDescentConfig {
///     classifier: NewtonConfig {
///         max_steps: 5,
///         pcg: PcgConfig { max_steps: 10, ..plane.classifier.pcg.clone() },
///         ..plane.classifier
///     },
///     propagation: GaussNewtonConfig { hessian_rows: Some(5000), batch: Some(1000), ..plane.propagation },
///     rows: None,
/// };
/// assert_eq!(mnist.classifier, NewtonConfig::default());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BlockDescentConfig {
    /// The step on the classifier.
    pub classifier: NewtonConfig,
    /// The step on the network.
    pub propagation: GaussNewtonConfig,
    /// Training examples that an iteration is taken on (the set T), drawn anew for each; none: all.
    pub rows: Option<usize>,
}

impl Default for BlockDescentConfig {
    fn default() -> Self {
        let newton = NewtonConfig::default();
        BlockDescentConfig {
            classifier: NewtonConfig {
                max_steps: 2,
                pcg: PcgConfig {
                    max_steps: 2,
                    ..newton.pcg.clone()
                },
                ..newton
            },
            propagation: GaussNewtonConfig::default(),
            rows: None,
        }
    }
}

/// The penalties of [`BlockDescent`].
#[derive(Clone, Default)]
pub struct Penalties<'a> {
    /// Of the classifier's weights W.
    pub weight: Option<&'a dyn Quadratic>,
    /// Of the network's parameters, one for each in the order of [`Linearize::parameters`].
    pub parameters: Vec<Option<&'a dyn Quadratic>>,
}

/// What an iteration of [`BlockDescent`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Iteration {
    /// Its number, from 1.
    pub number: usize,
    /// The step on the classifier, with the objective of W alone.
    pub classifier: NewtonReport,
    /// The step on the network, with the objective of its parameters alone.
    pub propagation: GaussNewtonReport,
    /// The validation examples after the iteration, if there are any.
    pub validation: Option<Evaluation>,
    /// Whether it does better on them than the start and all iterates before it, so that it is the one that is kept.
    pub best: bool,
}

/// Trains a network and the classifier behind it in turn, by second-order steps.
///
/// What it is: each iteration draws a set T of training examples, propagates them, minimizes the objective over the classifier
/// at the propagated features ([`Classifier::fit`]), then takes a Gauss-Newton step ([`gauss_newton`](super::gauss_newton()))
/// on the network at this classifier, and evaluates the validation examples. The iterate (or the start) with the highest
/// validation accuracy, among equals the one with the lowest loss, is kept, and [`run`](BlockDescent::run) ends with it. With
/// all examples in each iteration the objective, mean loss plus penalties, never increases.
///
/// Every draw is from the given [`Rng`]. To continue later, save the variables of model and classifier,
/// [`progress`](BlockDescent::progress) and the `Rng` in a [`Checkpoint`](crate::optim::Checkpoint): nothing else carries over from
/// one iteration to the next.
///
/// Errors: a configuration out of range; penalties that are not one for each parameter; in an iteration those of its parts.
/// Each of the two steps happens whole or not at all; [`run`](BlockDescent::run) then puts the best iterate back, after a
/// [`step`](BlockDescent::step) it is there for [`restore_best`](BlockDescent::restore_best).
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::dynamics::{KernelShape, NetworkConfig, network};
/// use candle_prob::objective::regularization::TimeSmoothness;
/// use candle_prob::objective::ClassificationLoss;
/// use candle_prob::optim::{BlockDescent, BlockDescentConfig, Classifier, Examples, Penalties};
/// use candle_prob::{Rng, init};
/// use std::ops::ControlFlow;
/// # fn main() -> candle_prob::Result<()> {
/// // Whether a point of the plane is within a circle, as no linear classifier can say.
/// let mut rng = Rng::new(1);
/// let x = rng.normal((300, 2), DType::F32, &Device::Cpu)?;
/// let classes = x.sqr()?.sum(1)?.lt(1.4)?.to_dtype(DType::U32)?;
/// let part = |at, n| Examples::new(&x.narrow(0, at, n)?, &classes.narrow(0, at, n)?);
///
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let net = network(&NetworkConfig::new(KernelShape::dense(2), 8, 4.), vb.pp("net"))?;
/// let classifier = Classifier::new(2, 2, ClassificationLoss::Softmax, vb.pp("classifier"))?;
///
/// // Kernel, bias and second bias are to change slowly from layer to layer.
/// let smooth = TimeSmoothness { alpha: 1e-3, step: 4. / 8. };
/// let penalties = Penalties { weight: None, parameters: vec![Some(&smooth); 3] };
/// let config = BlockDescentConfig::default();
/// let mut descent =
///     BlockDescent::new(&net, &classifier, part(0, 200)?, Some(part(200, 100)?), penalties, &config)?;
/// let done = descent.run(30, &mut rng, |iteration| match iteration.validation {
///     Some(found) if found.accuracy > 0.98 => ControlFlow::Break(()),
///     _ => ControlFlow::Continue(()),
/// })?;
/// assert!(descent.best()?.unwrap().accuracy > 0.95, "{done:#?}");
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, sections 2 and 6.
pub struct BlockDescent<'a, M: ?Sized> {
    model: &'a M,
    classifier: &'a Classifier,
    training: Examples,
    validation: Option<Examples>,
    penalties: Penalties<'a>,
    config: BlockDescentConfig,
    progress: Progress,
}

impl<'a, M: Linearize + ?Sized> BlockDescent<'a, M> {
    /// Training of `model` with `classifier`; of these the variables move. Nothing is computed yet.
    pub fn new(
        model: &'a M,
        classifier: &'a Classifier,
        training: Examples,
        validation: Option<Examples>,
        penalties: Penalties<'a>,
        config: &BlockDescentConfig,
    ) -> Result<Self> {
        let op = "BlockDescent::new";
        config.classifier.check(op)?;
        config.propagation.check(op)?;
        check_batch(op, "rows", config.rows)?;
        check_penalties(op, &penalties.parameters, &model.parameters())?;
        Ok(BlockDescent {
            model,
            classifier,
            training,
            validation,
            penalties,
            config: config.clone(),
            progress: Progress::new(&variables(model, classifier))?,
        })
    }

    /// One iteration.
    pub fn step(&mut self, rng: &mut Rng) -> Result<Iteration> {
        let done = self.progress.done()?;
        if done == 0 {
            self.keep_if_best()?;
        }
        let batch = self.config.propagation.batch;
        let drawn = match self.config.rows {
            Some(rows) => self.training.draw(rows, rng)?,
            None => self.training.clone(),
        };
        let parts = drawn.batches(batch)?;
        let parts = parts
            .iter()
            .map(|x| Ok(self.model.forward(x.x())?.detach()));
        let features = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?;
        let classifier = self.classifier.fit(
            &features,
            drawn.targets(),
            self.penalties.weight,
            &self.config.classifier,
        )?;
        drop(features);
        let propagation = gauss_newton(
            self.model,
            self.classifier,
            &drawn,
            &self.penalties.parameters,
            &self.config.propagation,
            rng,
        )?;
        let validation = self.keep_if_best()?;
        let number = done + 1;
        write(&self.progress.iterations, number as f64)?;
        Ok(Iteration {
            number,
            classifier,
            propagation,
            validation: validation.map(|found| found.0),
            best: validation.is_some_and(|found| found.1),
        })
    }

    /// At most `iterations` of them, until `watch` says to break; then, or where one fails, the best iterate is put back. Their
    /// reports, in order.
    pub fn run(
        &mut self,
        iterations: usize,
        rng: &mut Rng,
        mut watch: impl FnMut(&Iteration) -> ControlFlow<()>,
    ) -> Result<Vec<Iteration>> {
        let done = self.iterate(iterations, rng, &mut watch);
        self.restore_best()?;
        done
    }

    fn iterate(
        &mut self,
        iterations: usize,
        rng: &mut Rng,
        watch: &mut dyn FnMut(&Iteration) -> ControlFlow<()>,
    ) -> Result<Vec<Iteration>> {
        let mut done = vec![];
        for _ in 0..iterations {
            let iteration = self.step(rng)?;
            let goes_on = watch(&iteration);
            done.push(iteration);
            if goes_on.is_break() {
                break;
            }
        }
        Ok(done)
    }

    /// How the best iterate so far does on the validation examples; none before the first iteration, or without such examples.
    pub fn best(&self) -> Result<Option<Evaluation>> {
        self.progress.best()
    }

    /// Puts the best iterate so far back into the variables; where there is none they stay.
    pub fn restore_best(&self) -> Result<()> {
        if self.best()?.is_some() {
            let kept: Vec<Tensor> = self
                .progress
                .kept
                .iter()
                .map(|v| v.as_tensor().clone())
                .collect();
            set(&variables(self.model, self.classifier), &kept)?;
        }
        Ok(())
    }

    /// What has to be saved to continue, beside the variables of model and classifier and the `Rng`: the best iterate, how it
    /// does, and the number of iterations.
    pub fn progress(&self) -> &VarMap {
        &self.progress.vars
    }

    /// How model and classifier do on other examples, in the batches of the configuration.
    pub fn evaluate(&self, examples: &Examples) -> Result<Evaluation> {
        let batch = self.config.propagation.batch;
        evaluate(self.model, self.classifier, examples, batch)
    }

    /// The training examples.
    pub fn training(&self) -> &Examples {
        &self.training
    }

    /// The validation examples where the variables are, and whether nothing was better before.
    fn keep_if_best(&mut self) -> Result<Option<(Evaluation, bool)>> {
        let Some(validation) = &self.validation else {
            return Ok(None);
        };
        let found = self.evaluate(validation)?;
        let better = self.best()?.is_none_or(|best| {
            found.accuracy > best.accuracy
                || found.accuracy == best.accuracy && lower(found.loss, best.loss)
        });
        if better {
            let variables = variables(self.model, self.classifier);
            for (kept, variable) in self.progress.kept.iter().zip(&variables) {
                kept.set(variable)?;
            }
            write(&self.progress.loss, found.loss)?;
            write(&self.progress.accuracy, found.accuracy)?;
        }
        Ok(Some((found, better)))
    }
}

/// NaN is above all numbers.
fn lower(a: f64, b: f64) -> bool {
    a < b || b.is_nan() && !a.is_nan()
}

fn variables<M: Linearize + ?Sized>(model: &M, classifier: &Classifier) -> Vec<Var> {
    let mut variables = model.parameters();
    variables.extend([classifier.weight().clone(), classifier.bias().clone()]);
    variables
}

/// The best iterate and the number of iterations, in variables, so that a checkpoint holds them.
struct Progress {
    vars: VarMap,
    kept: Vec<Var>,
    iterations: Var,
    /// Below 0 where there is no best iterate yet.
    accuracy: Var,
    loss: Var,
}

impl Progress {
    fn new(variables: &[Var]) -> Result<Self> {
        let number = |x: f64| Var::new(x, &Device::Cpu);
        let (iterations, accuracy, loss) = (number(0.)?, number(-1.)?, number(0.)?);
        let kept = variables.iter().map(|v| Var::from_tensor(&v.zeros_like()?));
        let kept = kept.collect::<candle_core::Result<Vec<Var>>>()?;
        let vars = VarMap::new();
        let mut data = vars.data().lock().map_err(poisoned)?;
        let numbers = [
            ("iterations", &iterations),
            ("accuracy", &accuracy),
            ("loss", &loss),
        ];
        data.extend(numbers.map(|(name, var)| (name.to_string(), var.clone())));
        data.extend(
            kept.iter()
                .enumerate()
                .map(|(i, var)| (format!("best.{i}"), var.clone())),
        );
        drop(data);
        Ok(Progress {
            vars,
            kept,
            iterations,
            accuracy,
            loss,
        })
    }

    fn done(&self) -> Result<usize> {
        Ok(number(&self.iterations)? as usize)
    }

    fn best(&self) -> Result<Option<Evaluation>> {
        let (accuracy, loss) = (number(&self.accuracy)?, number(&self.loss)?);
        Ok((accuracy >= 0.).then_some(Evaluation { loss, accuracy }))
    }
}

fn write(variable: &Var, number: f64) -> Result<()> {
    Ok(variable.set(&Tensor::new(number, &Device::Cpu)?)?)
}
