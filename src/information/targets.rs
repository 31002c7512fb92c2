//! What is known of the label of each sample.

use super::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Tensor};

/// The labels of N samples: one for each, or their probabilities.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// A class for each sample: u8, u32 or i64 `[N]`, below `classes`. A class may be absent.
    Labels {
        /// The classes of the samples.
        labels: &'a Tensor,
        /// How many classes there are, L.
        classes: usize,
    },
    /// `p(y | x)` of each sample, `[N, L]`.
    Probabilities(&'a Tensor),
}

/// Targets that were checked.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// u32 `[N]`, and how many classes there are.
    Labels(Tensor, usize),
    /// In double precision, `[N, L]`.
    Probabilities(Tensor),
}

impl Targets<'_> {
    pub(super) fn known(&self, op: &'static str, samples: usize, like: &Tensor) -> Result<Known> {
        match *self {
            Targets::Probabilities(p) => {
                let [n, _] = shape::dims(op, "p_y_given_x", p.dims(), "[N, L]")?;
                shape::same_kind(op, "p_y_given_x", p, like)?;
                if n != samples {
                    let expected = format!("[{samples}, L]");
                    return Err(Error::shape(op, "p_y_given_x", expected, p.dims()));
                }
                let p = check::probabilities(op, "p_y_given_x", p, 1)?;
                Ok(Known::Probabilities(p))
            }
            Targets::Labels { labels, classes } => {
                crate::check::at_least(op, "classes", classes, 1)?;
                shape::same_device(op, "labels", labels, like)?;
                let labels = self::classes(op, "labels", labels, samples, classes)?;
                Ok(Known::Labels(labels, classes))
            }
        }
    }
}

/// Whole numbers from 0 below `classes`, one for each sample: as u32.
pub(super) fn classes(
    op: &'static str,
    arg: &'static str,
    labels: &Tensor,
    samples: usize,
    classes: usize,
) -> Result<Tensor> {
    if !matches!(labels.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Err(Error::DType {
            op,
            arg,
            expected: "u8, u32 or i64".into(),
            found: labels.dtype(),
        });
    }
    shape::exactly(op, arg, labels.dims(), &[samples])?;
    let whole = labels.to_dtype(DType::I64)?;
    for end in [whole.min(0)?, whole.max(0)?] {
        let end = end.to_scalar::<i64>()?;
        if !usize::try_from(end).is_ok_and(|end| end < classes) {
            let expected = format!("classes from 0, below {classes}");
            return Err(Error::value(op, arg, expected, end));
        }
    }
    Ok(labels.to_dtype(DType::U32)?)
}

impl Known {
    pub(super) fn classes(&self) -> usize {
        match self {
            Known::Labels(_, classes) => *classes,
            Known::Probabilities(p) => p.dims()[1],
        }
    }

    /// `sum_x p(y | x) m(x, .)` for each class, of rows of masses `[N, C]`: `[L, C]`.
    pub(super) fn by_class(&self, masses: &Tensor) -> Result<Tensor> {
        match self {
            Known::Probabilities(p) => Ok(p.t()?.matmul(masses)?),
            Known::Labels(labels, classes) => {
                let (_, codes) = masses.dims2()?;
                let zeros = Tensor::zeros((*classes, codes), masses.dtype(), masses.device())?;
                Ok(zeros.index_add(labels, &masses.contiguous()?, 0)?)
            }
        }
    }
}
