//! Labelled images: the digits shipped here, a folder of IDX files, or one of CIFAR-10.

use super::{cifar, exists, file_error, hash, idx, printable};
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::path::Path;

/// Classes of every image set used here.
pub const CLASSES: usize = 10;

const DIGITS: &[u8] = include_bytes!("../data/digits.safetensors");

/// Images of one size with a class each.
pub struct Images {
    /// For people.
    pub name: String,
    /// Channel by channel and row by row.
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
    /// 1 of grey images, 3 of those in colour.
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// The value of a white pixel.
    pub peak: u8,
    /// Where the set's own training part ends and its test part begins, for sets that have one.
    pub own_split: Option<usize>,
}

impl Images {
    /// As [`load`](Images::load), and of a folder that has them the files of CIFAR-10, in colour.
    pub fn load_any(folder: Option<&Path>) -> Result<Self> {
        if let Some(folder) = folder
            && let Some(place) = cifar::locate(folder)?
        {
            let set = cifar::load(&place)?;
            return Ok(Images {
                name: "CIFAR-10".into(),
                pixels: set.pixels,
                labels: set.labels,
                channels: cifar::CHANNELS,
                height: cifar::SIDE,
                width: cifar::SIDE,
                peak: u8::MAX,
                own_split: Some(set.train),
            });
        }
        Self::load(folder)
    }

    /// Grey images: the IDX files of a folder, or the digits shipped with the examples.
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
            name: "UCI digits".into(),
            pixels: x.flatten_all()?.to_vec1()?,
            labels: y.to_dtype(DType::U8)?.to_vec1()?,
            channels: 1,
            height,
            width,
            peak: 16,
            own_split: None,
        })
    }

    /// `train-*` and `t10k-*` of MNIST, Fashion-MNIST and their kin, one after the other.
    pub fn idx(folder: &Path) -> Result<Self> {
        if !exists(folder)? || !folder.is_dir() {
            return Err(file_error(folder, "a folder of IDX files", "no folder"));
        }
        // The name of `.` is known to the system alone.
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
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
            name: printable(&name, 40),
            pixels,
            labels,
            channels: 1,
            height: train.height,
            width: train.width,
            peak: u8::MAX,
            own_split: Some(train.count),
        })
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// A hash of all that the set holds: one that was moved is the same, another one in its place is not.
    pub fn hash(&self) -> String {
        let own_split = self.own_split.unwrap_or(0);
        let sizes = [self.len(), self.height, self.width, own_split];
        hash(&sizes, [self.labels.as_slice(), &self.pixels])
    }

    /// The kind of the data and its hash: settings tell people apart what is not the same.
    pub fn id(&self) -> String {
        let kind = match (self.own_split, self.channels) {
            (None, _) => "digits",
            (_, 1) => "images",
            _ => "colours",
        };
        format!("{kind} {}", self.hash())
    }

    /// The rows of one grey image.
    pub fn rows(&self, index: usize) -> std::slice::ChunksExact<'_, u8> {
        let size = self.height * self.width;
        self.pixels[index * size..][..size].chunks_exact(self.width)
    }
}

/// Images and which of them train and test.
pub struct Split {
    pub images: Images,
    pub train: Vec<usize>,
    pub test: Vec<usize>,
}

impl Split {
    /// Of grey images the set's own split, or by the seed four fifths for training; of those the first `most`.
    pub fn load(folder: Option<&Path>, seed: u64, most: Option<usize>) -> Result<Self> {
        Ok(Self::of(Images::load(folder)?, seed, most))
    }

    /// The same of images that may have colours.
    pub fn load_any(folder: Option<&Path>, seed: u64, most: Option<usize>) -> Result<Self> {
        Ok(Self::of(Images::load_any(folder)?, seed, most))
    }

    fn of(images: Images, seed: u64, most: Option<usize>) -> Self {
        let order: Vec<usize> = match images.own_split {
            Some(_) => (0..images.len()).collect(),
            None => Rng::new(seed).fork("split").permutation(images.len()),
        };
        let end = images.own_split.unwrap_or(images.len() * 4 / 5);
        let (train, test) = order.split_at(end);
        let count = most.unwrap_or(end).min(end);
        Split {
            train: train[..count].to_vec(),
            test: test.to_vec(),
            images,
        }
    }

    pub fn image(&self) -> [usize; 3] {
        let Images {
            channels,
            height,
            width,
            ..
        } = self.images;
        [channels, height, width]
    }

    pub fn levels(&self) -> usize {
        usize::from(self.images.peak) + 1
    }

    /// Whole numbers, [N, C, H, W].
    pub fn pixels(&self, indices: &[usize]) -> Result<Tensor> {
        let [channels, height, width] = self.image();
        let size = channels * height * width;
        let mut pixels = Vec::with_capacity(indices.len() * size);
        for &index in indices {
            let image = &self.images.pixels[index * size..][..size];
            pixels.extend(image.iter().map(|&pixel| f32::from(pixel)));
        }
        let shape = (indices.len(), channels, height, width);
        Ok(Tensor::from_vec(pixels, shape, &Device::Cpu)?)
    }
}
