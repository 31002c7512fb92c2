//! Images of several digits: m source images at random places on an empty canvas, one per horizontal slot; the label is
//! the set of classes present.
//!
//! The recipe is that of the Multi-Digit MNIST generator (Sun, 2019), which Zuo (2023) uses: every string of m digits
//! equally often, for each digit a source drawn uniformly from its class, the upper left corner uniform on
//! `0..height - h` and, inside the slot, on `0..width / m - w`. Only the places are kept; pixels are copied when a batch
//! is asked for.

use super::images::{CLASSES, Images};
use candle_core::{DType, Device, Tensor};
use candle_prob::{Error, Result, Rng};
use std::collections::HashMap;
use std::sync::Arc;

/// Where the sources of test images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Training and test images are composed from one pool of sources, as the generator does: the arrangement is new at
    /// test time, the single digits have been seen.
    Paper,
    /// Test images use sources never seen in training: the set's own test part, or a fifth of each class.
    Disjoint,
}

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Digits in an image, 1 or more.
    pub digits: usize,
    /// Images in total; four fifths train, one fifth tests.
    pub images: usize,
    pub protocol: Protocol,
}

/// Source images by class.
pub struct Pool {
    images: Arc<Images>,
    classes: Vec<Vec<u32>>,
}

#[derive(Clone, Copy)]
struct Piece {
    source: u32,
    class: u8,
    top: u32,
    left: u32,
}

/// Composed images, as places of their sources.
pub struct MultiImages {
    images: Arc<Images>,
    digits: usize,
    pub height: usize,
    pub width: usize,
    pieces: Vec<Piece>,
}

pub struct Split {
    pub train: MultiImages,
    pub test: MultiImages,
    /// Where the training images' sources come from, for new compositions.
    pub train_pool: Pool,
}

/// Training and test images; the same generator state gives the same images.
pub fn split(images: Images, config: Config, rng: &Rng) -> Result<Split> {
    let test_count = config.images / 5;
    let train_count = config.images - test_count;
    if test_count == 0 {
        return Err(argument("images", "at least 5", config.images));
    }
    if !(1..=4).contains(&config.digits) {
        return Err(argument("digits", "1 to 4", config.digits));
    }
    let images = Arc::new(images);
    match config.protocol {
        Protocol::Paper => {
            let pool = Pool::new(&images, 0..images.len() as u32)?;
            let all = pool.compose(config.images, config.digits, rng)?;
            let (train, test) = all.split_at(train_count);
            Ok(Split {
                train,
                test,
                train_pool: pool,
            })
        }
        Protocol::Disjoint => {
            let (train_pool, test_pool) = disjoint(&images, rng)?;
            Ok(Split {
                train: train_pool.compose(train_count, config.digits, &rng.fork("train"))?,
                test: test_pool.compose(test_count, config.digits, &rng.fork("test"))?,
                train_pool,
            })
        }
    }
}

fn disjoint(images: &Arc<Images>, rng: &Rng) -> Result<(Pool, Pool)> {
    let len = images.len() as u32;
    if let Some(end) = images.own_split {
        let end = end as u32;
        return Ok((Pool::new(images, 0..end)?, Pool::new(images, end..len)?));
    }
    let all = Pool::new(images, 0..len)?;
    let mut parts = [vec![], vec![]];
    for (class, sources) in all.classes.iter().enumerate() {
        let order = rng
            .fork(&format!("split {class}"))
            .permutation(sources.len());
        let test = (sources.len() / 5).max(1);
        for (rank, &at) in order.iter().enumerate() {
            parts[usize::from(rank < test)].push(sources[at]);
        }
    }
    let [train, test] = parts;
    Ok((Pool::new(images, train)?, Pool::new(images, test)?))
}

impl Pool {
    fn new(images: &Arc<Images>, sources: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut classes = vec![vec![]; CLASSES];
        for source in sources {
            classes[images.labels[source as usize] as usize].push(source);
        }
        if let Some(class) = classes.iter().position(Vec::is_empty) {
            let found = format!("no image of class {class}");
            return Err(argument("data", "images of all ten classes", found));
        }
        Ok(Pool {
            images: images.clone(),
            classes,
        })
    }

    /// `count` new images of `digits` digits; the same generator state gives the same images.
    pub fn compose(&self, count: usize, digits: usize, rng: &Rng) -> Result<MultiImages> {
        let (height, width) = canvas(&self.images, digits);
        let (h, w) = (self.images.height, self.images.width);
        let strings = strings(count, CLASSES.pow(digits as u32), &mut rng.fork("strings"));
        let total = count * digits;
        let picks = rng
            .fork("sources")
            .uniform(total, DType::F64, &Device::Cpu)?
            .to_vec1::<f64>()?;
        // `max(1)`: a slot without slack has one place, as in the generator.
        let tops = rng
            .fork("tops")
            .integers(total, height.saturating_sub(h).max(1))?;
        let lefts = rng
            .fork("lefts")
            .integers(total, (width / digits).saturating_sub(w).max(1))?;
        let mut pieces = Vec::with_capacity(total);
        for (n, string) in strings.into_iter().enumerate() {
            let mut rest = string;
            for slot in 0..digits {
                let class = rest % CLASSES;
                rest /= CLASSES;
                let at = n * digits + slot;
                let sources = &self.classes[class];
                pieces.push(Piece {
                    source: sources[(picks[at] * sources.len() as f64) as usize],
                    class: class as u8,
                    top: tops[at] as u32,
                    left: (slot * width / digits + lefts[at]) as u32,
                });
            }
        }
        Ok(MultiImages {
            images: self.images.clone(),
            digits,
            height,
            width,
            pieces,
        })
    }
}

/// The paper's canvases for 28 x 28 sources, and slots half as wide again as the source for others.
pub fn canvas(images: &Images, digits: usize) -> (usize, usize) {
    match (images.height, images.width, digits) {
        (28, 28, 2) => (64, 64),
        (28, 28, 3) => (84, 84),
        (h, w, m) => (2 * h, (w + w / 2) * m),
    }
}

/// `count` strings in random order, each of the `kinds` equally often (give or take one).
fn strings(count: usize, kinds: usize, rng: &mut Rng) -> Vec<usize> {
    let kind_order = rng.permutation(kinds);
    let order = rng.permutation(count);
    order.into_iter().map(|n| kind_order[n % kinds]).collect()
}

impl MultiImages {
    pub fn len(&self) -> usize {
        self.pieces.len() / self.digits
    }

    fn pieces(&self, index: usize) -> &[Piece] {
        &self.pieces[index * self.digits..][..self.digits]
    }

    fn split_at(mut self, train: usize) -> (Self, Self) {
        let pieces = self.pieces.split_off(train * self.digits);
        let test = MultiImages {
            images: self.images.clone(),
            pieces,
            ..self
        };
        (self, test)
    }

    /// The images and their multi-hot labels: `[B, 1, height, width]` in [0, 1] and `[B, 10]`, both f32.
    pub fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let size = self.height * self.width;
        let mut pixels = vec![0f32; indices.len() * size];
        let mut labels = vec![0f32; indices.len() * CLASSES];
        for (k, &index) in indices.iter().enumerate() {
            self.draw(index, &mut pixels[k * size..][..size]);
            for piece in self.pieces(index) {
                labels[k * CLASSES + piece.class as usize] = 1.;
            }
        }
        let shape = (indices.len(), 1, self.height, self.width);
        Ok((
            Tensor::from_vec(pixels, shape, &Device::Cpu)?,
            Tensor::from_vec(labels, (indices.len(), CLASSES), &Device::Cpu)?,
        ))
    }

    /// One image onto an empty canvas of `height * width`.
    pub fn draw(&self, index: usize, canvas: &mut [f32]) {
        let scale = 1. / f32::from(self.images.peak);
        for piece in self.pieces(index) {
            let rows = self.images.rows(piece.source as usize);
            for (row, line) in canvas
                .chunks_exact_mut(self.width)
                .skip(piece.top as usize)
                .zip(rows)
            {
                let line_out = &mut row[piece.left as usize..][..line.len()];
                for (out, &pixel) in line_out.iter_mut().zip(line) {
                    *out = f32::from(pixel) * scale;
                }
            }
        }
    }

    /// The classes present, in ascending order.
    pub fn classes(&self, index: usize) -> Vec<usize> {
        let mut classes: Vec<usize> = self
            .pieces(index)
            .iter()
            .map(|piece| piece.class as usize)
            .collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// The indices of the source images used.
    pub fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.pieces.iter().map(|piece| piece.source as usize)
    }

    /// Entropy of the label set in nats, from the frequencies of the sets here.
    pub fn label_entropy(&self) -> f64 {
        let mut counts: HashMap<Vec<usize>, usize> = HashMap::new();
        for index in 0..self.len() {
            *counts.entry(self.classes(index)).or_default() += 1;
        }
        // A fixed order of summation: hash maps have another order every run.
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        let n = self.len() as f64;
        counts
            .into_iter()
            .map(|count| count as f64 / n)
            .map(|p| -p * p.ln())
            .sum()
    }
}

fn argument(arg: &'static str, expected: &str, found: impl ToString) -> Error {
    Error::Value {
        op: "multi-digit images",
        arg,
        expected: expected.into(),
        found: found.to_string(),
    }
}
