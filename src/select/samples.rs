//! The samples of a problem, whole and in parts.

use super::checks::numbers;
use super::problem::CLASSIFICATION;
use super::{Preparation, Problem, Ranking, Selector};
use crate::error::Result;
use candle_core::{Device, Tensor};

/// Features with labels (integers) or targets, and how they are prepared.
pub(super) struct Samples<'a> {
    pub(super) x: &'a Tensor,
    /// Labels without the numbers that no sample has.
    pub(super) y: Tensor,
    preparation: &'a Preparation,
    /// The problem of all of them, which was checked.
    pub(super) whole: Problem,
    /// The numbers of the samples of each class; of targets there is one group.
    pub(super) groups: Vec<Vec<u32>>,
}

impl<'a> Samples<'a> {
    /// A classification where `y` are whole numbers, else a regression.
    pub(super) fn new(x: &'a Tensor, y: &'a Tensor, preparation: &'a Preparation) -> Result<Self> {
        let whole = Problem::labelled(x, y, preparation)?;
        let (y, groups) = if whole.is_classification() {
            let mut groups = vec![vec![]; whole.outputs()];
            for (n, class) in numbers(CLASSIFICATION, y)?.into_iter().enumerate() {
                groups[class as usize].push(n as u32);
            }
            // Numbers that no sample has are no classes: parts may have fewer samples than there are numbers.
            groups.retain(|group| !group.is_empty());
            let mut labels = vec![0u32; whole.samples()];
            for (class, group) in groups.iter().enumerate() {
                group
                    .iter()
                    .for_each(|n| labels[*n as usize] = class as u32);
            }
            (Tensor::new(labels, y.device())?, groups)
        } else {
            (y.clone(), vec![(0..whole.samples() as u32).collect()])
        };
        Ok(Samples {
            x,
            y,
            preparation,
            whole,
            groups,
        })
    }

    /// The ranking of all samples' features.
    pub(super) fn rank(&self, selector: &dyn Selector) -> Result<Ranking> {
        selector.rank(self.x, &self.y, self.preparation)
    }

    /// Some of the samples.
    pub(super) fn part(&self, samples: &[u32]) -> Result<Part> {
        Ok(Part {
            x: pick(self.x, samples)?,
            y: pick(&self.y, samples)?,
            how: Preparation {
                weights: self.weights(samples)?,
                ..self.preparation.clone()
            },
        })
    }

    /// The weights of some of the samples, if there are weights.
    pub(super) fn weights(&self, samples: &[u32]) -> Result<Option<Tensor>> {
        let weights = self.preparation.weights.as_ref();
        weights.map(|w| pick(w, samples)).transpose()
    }
}

/// Some of the samples, of every class.
pub(super) struct Part {
    x: Tensor,
    y: Tensor,
    how: Preparation,
}

impl Part {
    pub(super) fn problem(&self) -> Result<Problem> {
        Problem::labelled(&self.x, &self.y, &self.how)
    }

    pub(super) fn rank(&self, selector: &dyn Selector) -> Result<Ranking> {
        selector.rank(&self.x, &self.y, &self.how)
    }
}

/// Some of the rows.
pub(super) fn pick(t: &Tensor, samples: &[u32]) -> Result<Tensor> {
    let index = Tensor::new(samples, &Device::Cpu)?.to_device(t.device())?;
    Ok(t.contiguous()?.index_select(&index, 0)?)
}
