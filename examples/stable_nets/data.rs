//! What is classified: points in the plane or images.

use crate::common::images::{CLASSES, Images};
use crate::common::regions::{Points, Set};
use crate::config::Arguments;
use candle_core::{Device, Tensor};
use candle_prob::objective::ClassificationLoss;
use candle_prob::optim::Examples;
use candle_prob::{Result, Rng};

pub struct Data {
    pub title: String,
    /// For settings.
    pub id: String,
    pub classes: usize,
    /// Of points.
    pub set: Option<Set>,
    pub train: Samples,
    pub valid: Samples,
}

/// Points `[N, 2]` or images `[N, 1, H, W]`, f32, and the class of each.
pub struct Samples {
    pub examples: Examples,
    pub classes: Vec<u8>,
}

impl Data {
    pub fn load(arguments: &Arguments) -> Result<Self> {
        let mut rng = Rng::new(arguments.common.seed).fork("data");
        let Some(set) = arguments.problem.set() else {
            return images(arguments, &mut rng);
        };
        let parts = set.draw(&mut rng)?;
        let samples = |points: Points| Samples::new(&points.places, points.classes);
        Ok(Data {
            title: set.title().into(),
            id: "points".into(),
            classes: set.classes(),
            set: Some(set),
            train: samples(parts.train)?,
            valid: samples(parts.valid)?,
        })
    }

    pub fn loss(&self) -> ClassificationLoss {
        match self.classes {
            2 => ClassificationLoss::Logistic,
            _ => ClassificationLoss::Softmax,
        }
    }

    /// Numbers that the classifier returns: one for two classes.
    pub fn outputs(&self) -> usize {
        if self.classes == 2 { 1 } else { self.classes }
    }

    /// Rows and columns of images.
    pub fn image(&self) -> Option<(usize, usize)> {
        match *self.train.inputs().dims() {
            [_, _, rows, columns] => Some((rows, columns)),
            _ => None,
        }
    }
}

impl Samples {
    fn new(inputs: &Tensor, classes: Vec<u8>) -> Result<Self> {
        let targets = classes.iter().map(|class| u32::from(*class));
        let targets = Tensor::from_iter(targets, &Device::Cpu)?;
        Ok(Samples {
            examples: Examples::new(inputs, &targets)?,
            classes,
        })
    }

    pub fn inputs(&self) -> &Tensor {
        self.examples.x()
    }

    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Those of these numbers.
    pub fn select(&self, indices: &[usize]) -> Result<Examples> {
        let index = indices.iter().map(|k| *k as u32);
        let index = Tensor::from_iter(index, &Device::Cpu)?;
        let x = self.inputs().index_select(&index, 0)?;
        Examples::new(&x, &self.examples.targets().index_select(&index, 0)?)
    }
}

/// Images in random order: those that train, and a fifth as many that validate. A set's own test part is left out.
fn images(arguments: &Arguments, rng: &mut Rng) -> Result<Data> {
    let images = Images::load(arguments.folder())?;
    let all = images.own_split.unwrap_or(images.len());
    let order = rng.permutation(all);
    let train = arguments.images().min(all * 5 / 6);
    let (train, rest) = order.split_at(train);
    let valid = &rest[..rest.len().min(train.len().div_ceil(5))];
    let size = images.height * images.width;
    let peak = f32::from(images.peak);
    let samples = |indices: &[usize]| -> Result<Samples> {
        let pixels = indices
            .iter()
            .flat_map(|k| &images.pixels[k * size..][..size]);
        let pixels: Vec<f32> = pixels.map(|pixel| f32::from(*pixel) / peak).collect();
        let shape = (indices.len(), 1, images.height, images.width);
        let inputs = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
        Samples::new(&inputs, indices.iter().map(|k| images.labels[*k]).collect())
    };
    Ok(Data {
        title: images.name.clone(),
        id: images.id(),
        classes: CLASSES,
        set: None,
        train: samples(train)?,
        valid: samples(valid)?,
    })
}
