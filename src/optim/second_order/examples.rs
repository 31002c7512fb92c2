//! Examples with their targets.

use super::classifier::{Classifier, Evaluation, Sums};
use crate::check;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::shape;
use candle_core::{Module, Tensor};

/// Examples x, `[B, ..]`, with their targets, `[B]` or `[B, K]`, as a
/// [`ClassificationLoss`](crate::objective::ClassificationLoss) has them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Examples {
    x: Tensor,
    targets: Tensor,
}

impl Examples {
    /// Examples and targets, read as constants.
    ///
    /// Errors: no example; another number of targets.
    pub fn new(x: &Tensor, targets: &Tensor) -> Result<Self> {
        let op = "Examples::new";
        let rows = x.dims().first().copied().unwrap_or(0);
        if rows == 0 {
            return Err(Error::shape(op, "x", "[B, ..], B at least 1", x.dims()));
        }
        if targets.dims().first() != Some(&rows) {
            let expected = format!("[{rows}] or [{rows}, K]");
            return Err(Error::shape(op, "targets", expected, targets.dims()));
        }
        shape::same_device(op, "targets", targets, x)?;
        let (x, targets) = (x.detach(), targets.detach());
        Ok(Examples { x, targets })
    }

    /// The examples.
    pub fn x(&self) -> &Tensor {
        &self.x
    }

    /// Their targets.
    pub fn targets(&self) -> &Tensor {
        &self.targets
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.x.dims()[0]
    }

    /// `rows` of them, drawn without replacement; all, in their order and with no draw, where there are no more.
    ///
    /// Errors: 0 rows.
    pub fn draw(&self, rows: usize, rng: &mut Rng) -> Result<Self> {
        check::at_least_one("Examples::draw", &[("rows", rows)])?;
        if rows >= self.rows() {
            return Ok(self.clone());
        }
        let drawn = rng.permutation(self.rows());
        let index: Vec<u32> = drawn[..rows].iter().map(|i| *i as u32).collect();
        let index = Tensor::from_vec(index, rows, self.x.device())?;
        Ok(Examples {
            x: self.x.index_select(&index, 0)?,
            targets: self.targets.index_select(&index, 0)?,
        })
    }

    /// The examples in batches of at most `rows`; none: in one.
    pub(super) fn batches(&self, rows: Option<usize>) -> Result<Vec<Self>> {
        let all = self.rows();
        let rows = rows.unwrap_or(all).clamp(1, all);
        let starts = (0..all).step_by(rows);
        starts
            .map(|at| {
                let rows = rows.min(all - at);
                Ok(Examples {
                    x: self.x.narrow(0, at, rows)?,
                    targets: self.targets.narrow(0, at, rows)?,
                })
            })
            .collect()
    }
}

/// Mean loss and accuracy of a network with its classifier, in batches of at most `batch` rows (none: in one).
///
/// Errors: those of the model; a batch of 0; targets that are not the loss's.
pub fn evaluate<M: Module + ?Sized>(
    model: &M,
    classifier: &Classifier,
    examples: &Examples,
    batch: Option<usize>,
) -> Result<Evaluation> {
    let op = "optim::evaluate";
    check_batch(op, "batch", batch)?;
    let mut sums = Sums::default();
    for part in examples.batches(batch)? {
        let y = model.forward(part.x())?.detach();
        let scores = classifier.scores(&y)?.detach();
        let rows = classifier.loss_form().rows(op, &scores, part.targets())?;
        sums.add(classifier.count(&scores, &rows)?);
    }
    Ok(sums.mean())
}

pub(super) fn check_batch(op: &'static str, arg: &'static str, batch: Option<usize>) -> Result<()> {
    batch.map_or(Ok(()), |rows| check::at_least_one(op, &[(arg, rows)]))
}
