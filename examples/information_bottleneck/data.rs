//! Labelled images: the digits shipped here, a folder of IDX files, or one of CIFAR-10.

use crate::common::images::{CLASSES, Images};
use crate::common::{cifar, hash};
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::path::Path;

pub struct Data {
    pub name: String,
    /// For settings.
    pub id: String,
    /// Channels, rows, columns.
    pub image: [usize; 3],
    pub train: Samples,
    pub test: Samples,
}

pub struct Samples {
    /// `[N, C, H, W]`, f32: each channel of the training images has mean 0 and variance 1.
    pub images: Tensor,
    /// `[N]`, u32.
    pub labels: Tensor,
    pub classes: Vec<u8>,
}

/// Bytes of images, and where those that test begin, of sets that say it.
struct Raw {
    name: String,
    id: String,
    image: [usize; 3],
    pixels: Vec<u8>,
    labels: Vec<u8>,
    own_split: Option<usize>,
}

impl Raw {
    fn load(folder: Option<&Path>) -> Result<Self> {
        if let Some(folder) = folder
            && let Some(place) = cifar::locate(folder)?
        {
            let set = cifar::load(&place)?;
            let sizes = [set.labels.len(), set.train];
            let id = hash(&sizes, [set.labels.as_slice(), &set.pixels]);
            return Ok(Raw {
                name: "CIFAR-10".into(),
                id: format!("colours {id}"),
                image: [cifar::CHANNELS, cifar::SIDE, cifar::SIDE],
                own_split: Some(set.train),
                pixels: set.pixels,
                labels: set.labels,
            });
        }
        let set = Images::load(folder)?;
        Ok(Raw {
            name: set.name.clone(),
            id: set.id(),
            image: [1, set.height, set.width],
            own_split: set.own_split,
            pixels: set.pixels,
            labels: set.labels,
        })
    }
}

impl Data {
    /// Of the set's own training part, or else of four fifths, `most` images at random; of the rest a fifth as many test.
    pub fn load(folder: Option<&Path>, most: Option<usize>, seed: u64) -> Result<Self> {
        let raw = Raw::load(folder)?;
        let mut rng = Rng::new(seed).fork("data");
        let all = raw.labels.len();
        let (train, test) = match raw.own_split {
            Some(end) => {
                let train = rng.permutation(end);
                let test = rng.permutation(all - end);
                (train, test.into_iter().map(|k| k + end).collect())
            }
            None => {
                let mut train = rng.permutation(all);
                let test = train.split_off(all * 4 / 5);
                (train, test)
            }
        };
        let count = most.unwrap_or(train.len()).min(train.len());
        let train = &train[..count];
        let tests = match most {
            Some(_) => test.len().min(count.div_ceil(5)),
            None => test.len(),
        };
        let moments = moments(&raw, train);
        Ok(Data {
            train: samples(&raw, train, &moments)?,
            test: samples(&raw, &test[..tests], &moments)?,
            name: raw.name,
            id: raw.id,
            image: raw.image,
        })
    }
}

/// Mean and standard deviation of each channel; of one that is constant 1.
fn moments(raw: &Raw, indices: &[usize]) -> Vec<(f64, f64)> {
    let [channels, height, width] = raw.image;
    let size = height * width;
    let channel = |channel: usize| {
        let mut counts = [0u64; 256];
        for index in indices {
            let image = &raw.pixels[(index * channels + channel) * size..][..size];
            image.iter().for_each(|p| counts[usize::from(*p)] += 1);
        }
        let all = (indices.len() * size) as f64;
        let mean_of = |f: &dyn Fn(f64) -> f64| {
            let terms = counts.iter().enumerate();
            terms.map(|(p, n)| *n as f64 * f(p as f64)).sum::<f64>() / all
        };
        let mean = mean_of(&|p| p);
        let deviation = mean_of(&|p| (p - mean).powi(2)).sqrt();
        (mean, if deviation > 0. { deviation } else { 1. })
    };
    (0..channels).map(channel).collect()
}

fn samples(raw: &Raw, indices: &[usize], moments: &[(f64, f64)]) -> Result<Samples> {
    let [channels, height, width] = raw.image;
    let size = height * width;
    let mut values = Vec::with_capacity(indices.len() * channels * size);
    for index in indices {
        let image = &raw.pixels[index * channels * size..][..channels * size];
        for (plane, (mean, deviation)) in image.chunks_exact(size).zip(moments) {
            let pixels = plane.iter().map(|p| f64::from(*p));
            values.extend(pixels.map(|p| ((p - mean) / deviation) as f32));
        }
    }
    let shape = (indices.len(), channels, height, width);
    let classes: Vec<u8> = indices.iter().map(|k| raw.labels[*k]).collect();
    Ok(Samples {
        images: Tensor::from_vec(values, shape, &Device::Cpu)?,
        labels: Tensor::from_iter(classes.iter().map(|c| u32::from(*c)), &Device::Cpu)?,
        classes,
    })
}

impl Samples {
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Images and labels of these numbers.
    pub fn select(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let index = Tensor::from_iter(indices.iter().map(|k| *k as u32), &Device::Cpu)?;
        let images = self.images.index_select(&index, 0)?;
        Ok((images, self.labels.index_select(&index, 0)?))
    }

    /// Not more than so many.
    pub fn first(&self, most: usize) -> Result<Self> {
        let count = most.min(self.len());
        Ok(Samples {
            images: self.images.narrow(0, 0, count)?,
            labels: self.labels.narrow(0, 0, count)?,
            classes: self.classes[..count].to_vec(),
        })
    }

    /// What becomes of all images, so many at once.
    pub fn map(&self, block: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let starts = (0..self.len()).step_by(block);
        let parts = starts.map(|start| {
            let images = self
                .images
                .narrow(0, start, block.min(self.len() - start))?;
            Ok(f(&images)?.detach())
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// H[Y] in nats.
    pub fn label_entropy(&self) -> f64 {
        let mut counts = [0usize; CLASSES];
        self.classes
            .iter()
            .for_each(|c| counts[usize::from(*c)] += 1);
        let shares = counts.iter().map(|n| *n as f64 / self.len() as f64);
        shares.filter(|p| *p > 0.).map(|p| -p * p.ln()).sum()
    }

    /// The share of images whose largest score is not that of their class.
    pub fn error(&self, scores: &Tensor) -> Result<f64> {
        let right = scores.argmax(1)?.eq(&self.labels)?.to_dtype(DType::F64)?;
        Ok(1. - right.mean_all()?.to_scalar::<f64>()?)
    }
}
