//! Labelled grey images: the digits shipped here, or a folder of IDX files.

use super::{file_error, idx};
use candle_core::{DType, Device};
use candle_prob::Result;
use std::path::Path;

/// Classes of every image set used here.
pub const CLASSES: usize = 10;

const DIGITS: &[u8] = include_bytes!("../data/digits.safetensors");

/// Grey images of one size with a class each.
pub struct Images {
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
    pub height: usize,
    pub width: usize,
    /// The value of a white pixel.
    pub peak: u8,
    /// Where the set's own training part ends and its test part begins, for sets that have one.
    pub own_split: Option<usize>,
}

impl Images {
    /// The IDX files of a folder, or the digits shipped with the examples.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        folder.map_or_else(Self::digits, Self::idx)
    }

    /// 1797 handwritten digits of 8 x 8 pixels.
    pub fn digits() -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(DIGITS, &Device::Cpu)?;
        let tensor = |name: &str| {
            tensors.get(name).ok_or_else(|| {
                file_error(Path::new("digits.safetensors"), name.to_string(), "none")
            })
        };
        let (x, y) = (tensor("x")?, tensor("y")?);
        let (_, height, width) = x.dims3()?;
        Ok(Images {
            pixels: x.flatten_all()?.to_vec1()?,
            labels: y.to_dtype(DType::U8)?.to_vec1()?,
            height,
            width,
            peak: 16,
            own_split: None,
        })
    }

    /// `train-*` and `t10k-*` of MNIST, Fashion-MNIST and their kin, one after the other.
    pub fn idx(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(file_error(folder, "a folder of IDX files", "no folder"));
        }
        let (train, mut labels) = idx::pair(folder, "train", CLASSES)?;
        let (test, test_labels) = idx::pair(folder, "t10k", CLASSES)?;
        if (test.height, test.width) != (train.height, train.width) {
            return Err(file_error(
                &idx::locate(folder, "t10k-images-idx3-ubyte")?,
                format!(
                    "images of {} x {} as in the training file",
                    train.height, train.width
                ),
                format!("{} x {}", test.height, test.width),
            ));
        }
        let mut pixels = train.pixels;
        pixels.extend(test.pixels);
        labels.extend(test_labels);
        Ok(Images {
            pixels,
            labels,
            height: train.height,
            width: train.width,
            peak: u8::MAX,
            own_split: Some(train.count),
        })
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The rows of one image.
    pub fn rows(&self, index: usize) -> std::slice::ChunksExact<'_, u8> {
        let size = self.height * self.width;
        self.pixels[index * size..][..size].chunks_exact(self.width)
    }
}
