//! Convex losses of scores, with their derivatives.

use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use crate::special;
use candle_core::{D, DType, Tensor};

/// A convex loss of a classifier's scores.
///
/// Formula: for the scores x and the target c of one row, both of K numbers,
///
/// ```text
///   Softmax    -sum c_k ln h_k(x)                              h = exp(x) / sum exp(x)         (2.3)
///   Logistic   -sum (c_k ln h_k + (1 - c_k) ln (1 - h_k))      h = exp(x) / (1 + exp(x))       (2.2)
///   Squared    1/2 sum (x_k - c_k)^2                           h = x
/// ```
///
/// Shapes: scores `[B, K]`. Targets are classes, `[B]` of U8, U32 or I64, or rows `[B, K]` of the scores' dtype: probabilities of the
/// classes for `Softmax`, a probability for each column for `Logistic`, any numbers for `Squared`. A single column of
/// `Logistic` or `Squared` tells two classes apart: class 1 is the target 1, class 0 the target 0.
///
/// Units: nats, for each row; [`Classifier`](crate::optim::Classifier) takes the mean over rows.
///
/// Errors: shapes and dtypes that do not fit; classes that are not below K; probabilities outside of `[0, 1]`, for `Softmax`
/// rows that do not add up to 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::ClassificationLoss;
/// # fn main() -> candle_prob::Result<()> {
/// let (scores, classes) = (Tensor::new(&[[1e4f32, 0.]], &Device::Cpu)?, Tensor::new(&[1u32], &Device::Cpu)?);
/// let loss = ClassificationLoss::Softmax;
/// assert_eq!(loss.value(&scores, &classes)?.to_vec1::<f32>()?, [1e4]);
/// assert_eq!(loss.gradient(&scores, &classes)?.to_vec2::<f32>()?, [[1., -1.]]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: values and derivatives are finite for scores up to 1e4 and beyond, and values are not negative. Where a class is
/// nearly certain, [`gradient`](Self::gradient) and [`curvature`](Self::curvature) keep the digits of what it is short of 1.
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, equations 2.2 to 2.4. Their example of a
/// squared loss has h in it; here h is the identity, so that it is convex in the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassificationLoss {
    /// The cross entropy of a softmax: one class of K.
    #[default]
    Softmax,
    /// The cross entropies of K independent Bernoulli variables; with one column, two classes.
    Logistic,
    /// Half the squared distance: least squares.
    Squared,
}

impl ClassificationLoss {
    /// The loss of each row, `[B]`, with gradients to the scores.
    pub fn value(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let rows = self.rows("ClassificationLoss::value", scores, targets)?;
        self.value_of(scores, &rows)
    }

    /// The derivatives of each row's loss in its scores, `[B, K]`, without gradient.
    pub fn gradient(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let rows = self.rows("ClassificationLoss::gradient", scores, targets)?;
        self.gradient_of(&scores.detach(), &rows)
    }

    /// The second derivatives at scores `[B, K]`; they do not depend on the targets.
    pub fn curvature(&self, scores: &Tensor) -> Result<Curvature> {
        let (op, scores) = ("ClassificationLoss::curvature", &scores.detach());
        shape::float(op, "scores", scores)?;
        let [_, _] = shape::dims(op, "scores", scores.dims(), "[B, K]")?;
        let form = match self {
            ClassificationLoss::Softmax => Form::Softmax(Categories::of(scores)?),
            ClassificationLoss::Logistic => {
                // Both factors keep their digits where the other is 1.
                let [up, down] = [scores.clone(), scores.neg()?].map(|x| sigmoid(&x));
                Form::Diagonal((up? * down?)?)
            }
            ClassificationLoss::Squared => Form::Identity,
        };
        let dims = scores.dims().to_vec();
        Ok(Curvature { form, dims })
    }

    /// h(scores): probabilities, of `Squared` the scores.
    pub fn predict(&self, scores: &Tensor) -> Result<Tensor> {
        match self {
            ClassificationLoss::Softmax => special::softmax(scores, D::Minus1),
            ClassificationLoss::Logistic => sigmoid(scores),
            ClassificationLoss::Squared => Ok(scores.clone()),
        }
    }

    /// The most likely class of each row, `U32 [B]`; of a single column, whether it is more likely than not.
    pub fn classes(&self, scores: &Tensor) -> Result<Tensor> {
        let op = "ClassificationLoss::classes";
        shape::float(op, "scores", scores)?;
        let [batch, columns] = shape::dims(op, "scores", scores.dims(), "[B, K]")?;
        let limit = match self {
            ClassificationLoss::Logistic => 0.,
            ClassificationLoss::Squared => 0.5,
            ClassificationLoss::Softmax => f64::INFINITY,
        };
        match columns {
            0 => Err(Error::shape(
                op,
                "scores",
                "[B, K], K at least 1",
                scores.dims(),
            )),
            1 => Ok(scores
                .detach()
                .squeeze(1)?
                .gt(limit)?
                .to_dtype(DType::U32)?),
            _ if batch == 0 => Ok(Tensor::zeros(0, DType::U32, scores.device())?),
            _ => Ok(scores.detach().argmax(1)?),
        }
    }

    /// Targets as rows in the dtype of the scores, checked.
    pub(crate) fn rows(
        &self,
        op: &'static str,
        scores: &Tensor,
        targets: &Tensor,
    ) -> Result<Tensor> {
        shape::float(op, "scores", scores)?;
        let [batch, columns] = shape::dims(op, "scores", scores.dims(), "[B, K]")?;
        if columns == 0 {
            return Err(Error::shape(
                op,
                "scores",
                "[B, K], K at least 1",
                scores.dims(),
            ));
        }
        shape::same_device(op, "targets", targets, scores)?;
        if matches!(targets.dtype(), DType::U8 | DType::U32 | DType::I64) {
            shape::exactly(op, "targets", targets.dims(), &[batch])?;
            let binary = columns == 1 && *self != ClassificationLoss::Softmax;
            let classes = if binary { 2 } else { columns };
            if batch > 0 {
                let whole = targets.to_dtype(DType::I64)?;
                for end in [whole.min(0)?, whole.max(0)?] {
                    let end = end.to_scalar::<i64>()?;
                    if !usize::try_from(end).is_ok_and(|end| end < classes) {
                        let expected = format!("classes from 0, below {classes}");
                        return Err(Error::value(op, "targets", expected, end));
                    }
                }
            }
            let targets = targets.to_dtype(DType::U32)?;
            if binary {
                return Ok(targets.unsqueeze(1)?.to_dtype(scores.dtype())?);
            }
            let corner = Tensor::arange(0u32, columns as u32, targets.device())?;
            let hit = targets.unsqueeze(1)?.broadcast_eq(&corner.unsqueeze(0)?)?;
            return Ok(hit.to_dtype(scores.dtype())?);
        }
        shape::exactly(op, "targets", targets.dims(), &[batch, columns])?;
        shape::dtype(op, "targets", targets, scores.dtype())?;
        let targets = targets.detach();
        if *self == ClassificationLoss::Squared {
            return Ok(targets);
        }
        let refused =
            |expected: &str, found: f64| Err(Error::value(op, "targets", expected, found));
        if let Some(found) = first_outside(&targets, End::Closed(0.), End::Closed(1.))? {
            return refused("probabilities", found);
        }
        if *self == ClassificationLoss::Softmax {
            let sums = targets.to_dtype(DType::F64)?.sum(1)?;
            let slack = 4. * columns as f64 * shape::epsilon(scores.dtype());
            let (low, high) = (End::Closed(1. - slack), End::Closed(1. + slack));
            if let Some(found) = first_outside(&sums, low, high)? {
                return refused("rows that add up to 1", found);
            }
        }
        Ok(targets)
    }

    /// As [`value`](Self::value), of rows that were checked.
    pub(crate) fn value_of(&self, scores: &Tensor, rows: &Tensor) -> Result<Tensor> {
        let parts = match self {
            ClassificationLoss::Softmax => {
                (special::log_softmax(scores, D::Minus1)?.neg()? * rows)?
            }
            ClassificationLoss::Logistic => {
                // Neither term cancels: softplus(-x) is 0 where the target 1 is met.
                let hit = special::softplus(&scores.neg()?)?;
                let miss = special::softplus(scores)?;
                ((hit * rows)? + (miss * (1. - rows)?)?)?
            }
            ClassificationLoss::Squared => ((scores - rows)?.sqr()? * 0.5)?,
        };
        reduce::sum(&parts)
    }

    /// As [`gradient`](Self::gradient), of rows that were checked.
    pub(crate) fn gradient_of(&self, scores: &Tensor, rows: &Tensor) -> Result<Tensor> {
        // p - c = p (1 - c) - c (1 - p): nothing cancels where p is nearly c.
        let [up, down] = match self {
            ClassificationLoss::Softmax => {
                let categories = Categories::of(scores)?;
                [categories.rest()?, categories.p].map(Ok)
            }
            ClassificationLoss::Logistic => [scores.neg()?, scores.clone()].map(|x| sigmoid(&x)),
            ClassificationLoss::Squared => return Ok((scores - rows)?),
        };
        Ok(((down? * (1. - rows)?)? - (up? * rows)?)?)
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(special::log_sigmoid(x)?.exp()?)
}

/// The probabilities of a softmax, with the likeliest class of each row.
#[derive(Debug, Clone)]
struct Categories {
    p: Tensor,
    /// `U32 [B, 1]`; without rows none.
    top: Option<Tensor>,
}

impl Categories {
    fn of(scores: &Tensor) -> Result<Self> {
        let top = match scores.elem_count() {
            0 => None,
            _ => Some(scores.argmax_keepdim(1)?),
        };
        let p = special::softmax(scores, D::Minus1)?;
        Ok(Categories { p, top })
    }

    /// `1 - p`, for the likeliest class by the sum of the others, which keeps its digits.
    fn rest(&self) -> Result<Tensor> {
        let Some(top) = &self.top else {
            return Ok(self.p.clone());
        };
        let columns = Tensor::arange(0u32, self.p.dims()[1] as u32, self.p.device())?;
        let hit = top.broadcast_eq(&columns.unsqueeze(0)?)?;
        let others = hit.where_cond(&self.p.zeros_like()?, &self.p)?;
        let sum = reduce::sum(&others)?
            .unsqueeze(1)?
            .broadcast_as(self.p.dims())?;
        Ok(hit.where_cond(&sum, &(1. - &self.p)?)?)
    }

    /// `(diag(p) - p p^T) v`.
    fn product(&self, v: &Tensor) -> Result<Tensor> {
        let Some(top) = &self.top else {
            return Ok(v.clone());
        };
        // A number that is added to all of v changes nothing: less v at the likeliest class the mean is as small as what
        // the others have, and is subtracted from nothing that is near it.
        let v = v.contiguous()?;
        let v = v.broadcast_sub(&v.gather(top, 1)?)?;
        let mean = reduce::sum(&(&self.p * &v)?)?.unsqueeze(1)?;
        Ok((&self.p * v.broadcast_sub(&mean)?)?)
    }
}

/// The second derivatives of a [`ClassificationLoss`] at given scores: one positive semi-definite matrix `[K, K]` for each row.
#[derive(Debug, Clone)]
pub struct Curvature {
    form: Form,
    dims: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Form {
    /// diag(p) - p p^T.
    Softmax(Categories),
    Diagonal(Tensor),
    Identity,
}

impl Curvature {
    /// The products with v, `[B, K]`, row by row.
    ///
    /// Errors: another shape.
    pub fn product(&self, v: &Tensor) -> Result<Tensor> {
        shape::exactly("Curvature::product", "v", v.dims(), &self.dims)?;
        Ok(match &self.form {
            Form::Softmax(categories) => categories.product(v)?,
            Form::Diagonal(d) => (d * v)?,
            Form::Identity => v.clone(),
        })
    }

    /// The mean of the elements on the diagonals.
    pub(crate) fn mean_diagonal(&self) -> Result<f64> {
        let diagonal = match &self.form {
            Form::Softmax(categories) => (&categories.p * categories.rest()?)?,
            Form::Diagonal(d) => d.clone(),
            Form::Identity => return Ok(1.),
        };
        Ok(diagonal.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
    }
}
