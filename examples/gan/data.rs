//! What is to be generated.

use crate::common::images::Split;
use crate::config::{Arguments, Source};
use crate::plane::Set;
use candle_core::Tensor;
use candle_prob::{Result, Rng};

pub enum Data {
    Points(Set),
    Images(Split),
}

/// Steps of an epoch on points, of which there is no end.
const STEPS: usize = 100;

impl Data {
    pub fn load(arguments: &Arguments) -> Result<Self> {
        let folder = match &arguments.data {
            Source::Points(set) => return Ok(Data::Points(*set)),
            Source::Digits => None,
            Source::Folder(folder) => Some(folder.as_path()),
        };
        let split = Split::load(folder, arguments.common.seed, arguments.most_images)?;
        Ok(Data::Images(split))
    }

    /// Settings tell people apart what is not the same.
    pub fn id(&self) -> String {
        match self {
            Data::Points(set) => set.name().into(),
            Data::Images(split) => split.images.id(),
        }
    }

    /// For people.
    pub fn title(&self) -> String {
        match self {
            Data::Points(set) => set.title().into(),
            Data::Images(split) => split.images.name.clone(),
        }
    }

    pub fn steps(&self, batch: usize) -> usize {
        match self {
            Data::Points(_) => STEPS,
            Data::Images(split) => split.train.len().div_ceil(batch),
        }
    }

    /// The metric that is shown while training goes on, and its name.
    pub fn shown(&self) -> (&'static str, &'static str) {
        match self {
            Data::Points(Set::Moons) => ("sliced_wasserstein", "SW2"),
            Data::Points(_) => ("modes", "modes"),
            Data::Images(_) => ("classifier_fid", "FID of the classifier"),
        }
    }

    /// Points [count, 2], or images [count, 1, H, W] with pixels in [-1, 1] drawn from those of training with replacement.
    pub fn draw(&self, count: usize, rng: &mut Rng) -> Result<Tensor> {
        match self {
            Data::Points(set) => set.draw(count, rng),
            Data::Images(split) => {
                let index = rng.integers(count, split.train.len())?;
                let index: Vec<usize> = index.into_iter().map(|k| split.train[k]).collect();
                images(split, &index)
            }
        }
    }
}

/// Images with pixels in [-1, 1], which is what tanh has.
pub fn images(split: &Split, indices: &[usize]) -> Result<Tensor> {
    let half = f64::from(split.images.peak) / 2.;
    Ok((split.pixels(indices)? / half)?.affine(1., -1.)?)
}
