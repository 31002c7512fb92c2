//! The samples of a problem, whole and in parts.

use super::{Preparation, Problem};
use crate::error::Result;
use candle_core::{DType, Device, Tensor};

/// Features with labels (u32) or targets, and how they are prepared.
pub(super) struct Samples<'a> {
    pub(super) x: &'a Tensor,
    pub(super) y: &'a Tensor,
    preparation: &'a Preparation,
    /// The problem of all of them, which was checked.
    pub(super) whole: Problem,
    /// The numbers of the samples of each class; of targets there is one group.
    pub(super) groups: Vec<Vec<u32>>,
}

impl<'a> Samples<'a> {
    /// A classification where `y` is u32, else a regression.
    pub(super) fn new(x: &'a Tensor, y: &'a Tensor, preparation: &'a Preparation) -> Result<Self> {
        let (whole, groups) = match y.dtype() {
            DType::U32 => {
                let whole = Problem::classification(x, y, preparation)?;
                let mut groups = vec![vec![]; whole.outputs()];
                for (n, class) in y.to_vec1::<u32>()?.into_iter().enumerate() {
                    groups[class as usize].push(n as u32);
                }
                // Numbers that no sample has are no classes.
                groups.retain(|group| !group.is_empty());
                (whole, groups)
            }
            _ => {
                let whole = Problem::regression(x, y, preparation)?;
                let all = (0..whole.samples() as u32).collect();
                (whole, vec![all])
            }
        };
        Ok(Samples {
            x,
            y,
            preparation,
            whole,
            groups,
        })
    }

    /// The problem of some of the samples, with as many classes.
    pub(super) fn part(&self, samples: &[u32]) -> Result<Problem> {
        let [x, y] = [self.x, self.y].map(|t| pick(t, samples));
        let (x, y) = (x?, y?);
        let preparation = Preparation {
            weights: self.weights(samples)?,
            ..self.preparation.clone()
        };
        match self.whole.is_classification() {
            true => Problem::of_classes(&x, &y, self.whole.outputs(), &preparation),
            false => Problem::regression(&x, &y, &preparation),
        }
    }

    /// The weights of some of the samples, if there are weights.
    pub(super) fn weights(&self, samples: &[u32]) -> Result<Option<Tensor>> {
        let weights = self.preparation.weights.as_ref();
        weights.map(|w| pick(w, samples)).transpose()
    }
}

/// Some of the rows.
pub(super) fn pick(t: &Tensor, samples: &[u32]) -> Result<Tensor> {
    let index = Tensor::new(samples, &Device::Cpu)?.to_device(t.device())?;
    Ok(t.contiguous()?.index_select(&index, 0)?)
}
