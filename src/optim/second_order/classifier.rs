//! The linear classifier behind a network.

use crate::check;
use crate::error::{Error, Result};
use crate::init;
use crate::objective::ClassificationLoss;
use crate::shape;
use candle_core::{DType, Module, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// A linear classifier: weights W, a bias mu and the loss of their scores.
///
/// Formula: scores `Y W^T + mu` of features Y, one row for each example; probabilities `h(Y W^T + mu)` as the
/// [`ClassificationLoss`] has them. (The paper's W is the transpose; this one is that of a linear layer.)
///
/// Shapes: features `[B, ..]` whose dims behind the first are taken as one of n numbers, W `[K, n]` called `weight`, mu `[K]`
/// called `bias`; scores `[B, K]`. Both start at 0.
///
/// As a [`Module`] it gives scores, with gradients to features, W and mu: [`loss`](Classifier::loss) trains it together with a
/// network by any [`Optimizer`](crate::optim::Optimizer). At fixed features [`fit`](Classifier::fit) solves for W and mu.
///
/// Errors: no features or no classes; a `vb` of constants; features of another size; those of the loss.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::init;
/// use candle_prob::objective::regularization::WeightDecay;
/// use candle_prob::objective::ClassificationLoss;
/// use candle_prob::optim::{Classifier, NewtonConfig};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 0, DType::F64, &Device::Cpu);
/// let classifier = Classifier::new(2, 2, ClassificationLoss::Softmax, vb)?;
/// let y = Tensor::new(&[[0f64, 1.], [1., 0.], [2., 0.], [0., 2.]], &Device::Cpu)?;
/// let classes = Tensor::new(&[1u32, 0, 0, 1], &Device::Cpu)?;
/// let _report = classifier.fit(&y, &classes, Some(&WeightDecay { alpha: 1e-3 }), &NewtonConfig::default())?;
/// assert_eq!(classifier.predict(&y)?.to_vec1::<u32>()?, [1, 0, 0, 1]);
/// assert!(classifier.loss(&y, &classes)?.to_scalar::<f64>()? < 0.1);
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, section 2.
#[derive(Debug, Clone)]
pub struct Classifier {
    weight: Var,
    bias: Var,
    loss: ClassificationLoss,
}

impl Classifier {
    /// A classifier of `features` numbers into `classes` columns of scores, with parameters `weight` and `bias` of `vb`.
    pub fn new(
        features: usize,
        classes: usize,
        loss: ClassificationLoss,
        vb: VarBuilder,
    ) -> Result<Self> {
        let op = "Classifier::new";
        check::at_least_one(op, &[("features", features), ("classes", classes)])?;
        let get = |shape: &[usize], name| vb.get_with_hints(shape, name, Init::Const(0.));
        let (weight, bias) = (
            get(&[classes, features], "weight")?,
            get(&[classes], "bias")?,
        );
        shape::float(op, "vb", &weight)?;
        for parameter in [&weight, &bias] {
            init::check_variable(op, parameter)?;
        }
        let (weight, bias) = (Var::from_tensor(&weight)?, Var::from_tensor(&bias)?);
        Ok(Classifier { weight, bias, loss })
    }

    /// W, `[K, n]`.
    pub fn weight(&self) -> &Var {
        &self.weight
    }

    /// mu, `[K]`.
    pub fn bias(&self) -> &Var {
        &self.bias
    }

    /// The loss of the scores.
    pub fn loss_form(&self) -> ClassificationLoss {
        self.loss
    }

    /// `Y W^T + mu`, `[B, K]`.
    pub fn scores(&self, features: &Tensor) -> Result<Tensor> {
        let y = self.flat("Classifier::scores", features)?;
        scores(&y, &self.weight, &self.bias)
    }

    /// `h(Y W^T + mu)`, `[B, K]`.
    pub fn probabilities(&self, features: &Tensor) -> Result<Tensor> {
        self.loss.predict(&self.scores(features)?)
    }

    /// The most likely class of each row, `U32 [B]`.
    pub fn predict(&self, features: &Tensor) -> Result<Tensor> {
        self.loss.classes(&self.scores(features)?)
    }

    /// The mean loss over the rows, a scalar with gradients to features, W and mu, without any penalty.
    ///
    /// Errors: no rows.
    pub fn loss(&self, features: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let scores = self.scores(features)?;
        check_rows("Classifier::loss", features)?;
        Ok(self.loss.value(&scores, targets)?.mean_all()?)
    }

    /// Mean loss and accuracy at given features.
    ///
    /// Errors: no rows.
    pub fn evaluate(&self, features: &Tensor, targets: &Tensor) -> Result<Evaluation> {
        let op = "Classifier::evaluate";
        check_rows(op, features)?;
        let scores = self.scores(&features.detach())?.detach();
        let rows = self.loss.rows(op, &scores, targets)?;
        Ok(self.count(&scores, &rows)?.mean())
    }

    /// Sums over rows.
    pub(super) fn count(&self, scores: &Tensor, rows: &Tensor) -> Result<Sums> {
        let losses = self.loss.value_of(scores, rows)?;
        let hits = self
            .loss
            .classes(scores)?
            .eq(&self.loss.classes(&self.as_scores(rows)?)?)?;
        Ok(Sums {
            loss: total(&losses)?,
            hits: hits.to_dtype(DType::F64)?.sum_all()?.to_scalar()?,
            rows: scores.dim(0)?,
        })
    }

    /// Targets on the scale on which scores say a class.
    fn as_scores(&self, rows: &Tensor) -> Result<Tensor> {
        match self.loss {
            ClassificationLoss::Logistic => Ok((rows - 0.5)?),
            _ => Ok(rows.clone()),
        }
    }

    /// Features as rows `[B, n]`.
    pub(super) fn flat(&self, op: &'static str, features: &Tensor) -> Result<Tensor> {
        shape::same_kind(op, "features", features, &self.weight)?;
        let width = self.weight.dims()[1];
        let dims = features.dims();
        if dims.len() < 2 || dims[1..].iter().product::<usize>() != width {
            let expected = format!("[B, ..] with {width} numbers in a row");
            return Err(Error::shape(op, "features", expected, dims));
        }
        Ok(features.reshape((dims[0], width))?)
    }
}

impl Module for Classifier {
    fn forward(&self, features: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.scores(features)?)
    }
}

/// How well a classifier does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean loss in nats, without penalties.
    pub loss: f64,
    /// The part of the rows that get their target's class, 0 to 1.
    pub accuracy: f64,
}

/// An evaluation in the making.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) loss: f64,
    pub(super) hits: f64,
    pub(super) rows: usize,
}

impl Sums {
    pub(super) fn add(&mut self, other: Sums) {
        self.loss += other.loss;
        self.hits += other.hits;
        self.rows += other.rows;
    }

    pub(super) fn mean(&self) -> Evaluation {
        let rows = self.rows as f64;
        Evaluation {
            loss: self.loss / rows,
            accuracy: self.hits / rows,
        }
    }
}

pub(super) fn scores(y: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(y.matmul(&weight.t()?)?.broadcast_add(bias)?)
}

/// The sum, in f64.
pub(super) fn total(losses: &Tensor) -> Result<f64> {
    Ok(losses.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
}

pub(super) fn check_rows(op: &'static str, features: &Tensor) -> Result<()> {
    match features.dims().first() {
        Some(rows) if *rows > 0 => Ok(()),
        _ => Err(Error::shape(
            op,
            "features",
            "at least one row",
            features.dims(),
        )),
    }
}
