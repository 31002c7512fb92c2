//! Block coordinate descent: the classifier, then the network before it.

use super::classifier::{Classifier, Evaluation};
use super::examples::{Examples, check_batch, evaluate};
use super::gauss_newton::{GaussNewtonConfig, GaussNewtonReport, check_penalties, gauss_newton};
use super::lists::{set, values};
use super::newton::{NewtonConfig, NewtonReport};
use super::pcg::PcgConfig;
use crate::dual::Linearize;
use crate::error::Result;
use crate::objective::regularization::Quadratic;
use crate::rng::Rng;
use candle_core::{Tensor, Var};
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
    /// Whether no iterate before it, nor the start, did better on them.
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
/// Every draw is from the given [`Rng`]. Model and classifier own their variables; to continue later, save these with the `Rng`
/// in a [`Checkpoint`](crate::optim::Checkpoint): nothing else carries over from one iteration to the next, but for the best
/// iterate.
///
/// Errors: a configuration out of range; penalties that are not one for each parameter; in an iteration those of its parts.
/// Each of the two steps happens whole or not at all.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::dynamics::{KernelShape, NetworkConfig, network};
/// use candle_prob::objective::regularization::TimeSmoothness;
/// use candle_prob::optim::{
///     BlockDescent, BlockDescentConfig, ClassificationLoss, Classifier, Examples, Penalties,
/// };
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
/// assert!(descent.best().unwrap().accuracy > 0.95, "{done:#?}");
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
    done: usize,
    best: Option<(Evaluation, Vec<Tensor>)>,
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
            done: 0,
            best: None,
        })
    }

    /// One iteration.
    pub fn step(&mut self, rng: &mut Rng) -> Result<Iteration> {
        if self.done == 0 && self.best.is_none() {
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
        self.done += 1;
        let validation = self.keep_if_best()?;
        Ok(Iteration {
            number: self.done,
            classifier,
            propagation,
            validation: validation.map(|found| found.0),
            best: validation.is_some_and(|found| found.1),
        })
    }

    /// At most `iterations` of them, until `watch` says to break; then the best iterate is put back. Their reports, in order.
    pub fn run(
        &mut self,
        iterations: usize,
        rng: &mut Rng,
        mut watch: impl FnMut(&Iteration) -> ControlFlow<()>,
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
        self.restore_best()?;
        Ok(done)
    }

    /// How the best iterate so far does on the validation examples; none before the first iteration, or without such examples.
    pub fn best(&self) -> Option<Evaluation> {
        self.best.as_ref().map(|best| best.0)
    }

    /// Puts the best iterate so far back into the variables; where there is none they stay.
    pub fn restore_best(&self) -> Result<()> {
        match &self.best {
            Some((_, kept)) => set(&self.variables(), kept),
            None => Ok(()),
        }
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

    fn variables(&self) -> Vec<Var> {
        let mut variables = self.model.parameters();
        variables.extend([
            self.classifier.weight().clone(),
            self.classifier.bias().clone(),
        ]);
        variables
    }

    /// The validation examples where the variables are, and whether nothing was better before.
    fn keep_if_best(&mut self) -> Result<Option<(Evaluation, bool)>> {
        let Some(validation) = &self.validation else {
            return Ok(None);
        };
        let found = self.evaluate(validation)?;
        let better = self.best.as_ref().is_none_or(|(best, _)| {
            found.accuracy > best.accuracy
                || found.accuracy == best.accuracy && found.loss < best.loss
        });
        if better {
            self.best = Some((found, values(&self.variables())?));
        }
        Ok(Some((found, better)))
    }
}
