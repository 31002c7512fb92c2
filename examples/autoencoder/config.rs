//! The command line and what it amounts to.

use crate::common::cli::{self, Common, Size, check_all};
use crate::common::file_error;
use crate::common::images::{CLASSES, Images, Split};
use crate::common::train::{Settings, Training};
use candle_prob::Result;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Autoencoders on images, the digits shipped here or those of --data
///
/// Of the test images: what is lost in the codes beside what principal components lose, noisy images and what becomes of them,
/// clusters of the codes beside clusters of the pixels, and how well images of another kind are told by what they lose.
#[derive(Debug, Clone, Parser)]
#[command(name = "autoencoder")]
#[command(mut_arg("epochs", |arg| {
    arg.help("Passes over the training data [default: 60, with --data 20, with --quick 2]")
}))]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Folder of IDX files (train-images-idx3-ubyte[.gz], ...: MNIST, Fashion-MNIST); without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Folder of IDX files whose test images are the anomalies; without it they are the images of the class --held-out
    #[arg(long, value_name = "FOLDER")]
    outliers: Option<PathBuf>,
    /// The class that the detector of anomalies is trained without
    #[arg(long, default_value_t = 0, value_parser = class)]
    pub held_out: u8,
    /// What to do, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Widths of the hidden layers of the encoder, with ReLU; the decoder has them in reverse
    #[arg(long, value_delimiter = ',', default_value = "256,64", value_parser = cli::count)]
    pub hidden: Vec<usize>,
    /// Numbers of a code [default: 8, with --data 16]
    #[arg(long, value_parser = cli::count)]
    code: Option<usize>,
    /// Standard deviation of the noise on images, whose pixels are from 0 to 1
    #[arg(long, default_value_t = 0.4, value_parser = cli::positive)]
    pub noise: f64,
    /// Images of a step
    #[arg(long, default_value_t = 100, value_parser = cli::count)]
    pub batch: usize,
    /// Highest learning rate; it falls to zero along a half cosine
    #[arg(long, default_value_t = 2e-3, value_parser = cli::positive)]
    pub lr: f64,
    /// Train on that many images of --data at most
    #[arg(long, value_parser = cli::count)]
    pub most_images: Option<usize>,
    /// Pause each model after that many epochs, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = cli::count)]
    pause_after: Option<usize>,
}

/// What is done with autoencoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Numbers, bits and errors of codes
    Compression,
    /// Noise, and what is left of it
    Denoising,
    /// k-means on codes and on pixels
    Clustering,
    /// Images of another kind
    Anomalies,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On images as they are.
    Plain,
    /// On noisy images with clean targets.
    Denoising,
    /// On images as they are, of all classes but one.
    Without,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Denoising => "denoising",
            Kind::Without => "without",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Kind::Plain => "Plain",
            Kind::Denoising => "Denoising",
            Kind::Without => "Without a class",
        }
    }
}

impl Arguments {
    pub fn does(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    /// The model whose errors tell anomalies.
    pub fn detector(&self) -> Kind {
        match self.outliers {
            Some(_) => Kind::Plain,
            None => Kind::Without,
        }
    }

    /// The models that the parts need.
    pub fn kinds(&self) -> Vec<Kind> {
        let anomalies = self.does(Part::Anomalies);
        let plain = self.does(Part::Compression) || self.does(Part::Clustering);
        let all = [
            (Kind::Plain, plain || anomalies && self.outliers.is_some()),
            (Kind::Denoising, self.does(Part::Denoising)),
            (Kind::Without, anomalies && self.outliers.is_none()),
        ];
        let asked = all.into_iter().filter(|(_, asked)| *asked);
        asked.map(|(kind, _)| kind).collect()
    }

    pub fn code(&self) -> usize {
        let own = if self.data.is_some() { 16 } else { 8 };
        self.code.unwrap_or(own)
    }

    /// Runs of k-means, from which the best is taken.
    pub fn restarts(&self) -> usize {
        if self.common.quick { 2 } else { 10 }
    }

    fn epochs(&self) -> usize {
        let whole = if self.data.is_some() { 20 } else { 60 };
        self.common.epochs_or(whole, 2)
    }

    /// The images of another kind, if they come from a folder.
    pub fn outliers(&self, data: &Split) -> Result<Option<Split>> {
        let Some(folder) = self.outliers.as_deref() else {
            return Ok(None);
        };
        let images = Images::load(Some(folder))?;
        let (own, theirs) = (&data.images, (images.height, images.width, images.peak));
        if theirs != (own.height, own.width, own.peak) {
            let size = |(height, width, peak)| format!("images of {height} x {width} up to {peak}");
            let expected = size((own.height, own.width, own.peak));
            return Err(file_error(folder, expected, size(theirs)));
        }
        drop(images);
        Split::load(Some(folder), self.common.seed, None).map(Some)
    }

    /// Those of the images that a model is for.
    pub fn known(&self, kind: Kind, data: &Split, indices: &[usize]) -> Vec<usize> {
        let known = |i: &&usize| kind != Kind::Without || data.images.labels[**i] != self.held_out;
        indices.iter().filter(known).copied().collect()
    }

    /// Those that it learns from.
    pub fn chosen(&self, kind: Kind, data: &Split) -> Vec<usize> {
        self.known(kind, data, &data.train)
    }

    /// Everything that decides what a model becomes.
    fn settings(&self, kind: Kind, data: &Split) -> Settings {
        let hidden: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        let mut settings = Settings::from([
            ("model", kind.name().into()),
            ("data", data.images.id()),
            ("images", self.chosen(kind, data).len().to_string()),
            ("epochs", self.epochs().to_string()),
            ("hidden", hidden.join("-")),
            ("code", self.code().to_string()),
            ("batch", self.batch.to_string()),
            ("lr", format!("{:?}", self.lr)),
            ("seed", self.common.seed.to_string()),
        ]);
        match kind {
            Kind::Plain => {}
            Kind::Denoising => {
                settings.insert("noise", format!("{:?}", self.noise));
            }
            Kind::Without => {
                settings.insert("held_out", self.held_out.to_string());
            }
        }
        settings
    }

    /// Of the metrics: of all models, and what decides the rest.
    pub fn all_settings(&self, data: &Split, outliers: Option<&Split>) -> Settings {
        let mut all = Settings::new();
        for kind in self.kinds() {
            all.extend(self.settings(kind, data));
        }
        let names: Vec<&str> = self.kinds().into_iter().map(Kind::name).collect();
        all.insert("model", names.join(","));
        all.insert("images", data.train.len().to_string());
        all.insert("data_name", data.images.name.clone());
        if let Some(outliers) = outliers {
            all.insert("outliers", outliers.images.id());
            all.insert("outliers_name", outliers.images.name.clone());
        }
        all.insert("restarts", self.restarts().to_string());
        all
    }

    pub fn training(&self, kind: Kind, data: &Split) -> Training<'static> {
        Training {
            name: kind.name(),
            title: kind.title(),
            settings: self.settings(kind, data),
            epochs: self.epochs(),
            pause_after: self.pause_after,
            steps: self.chosen(kind, data).len().div_ceil(self.batch),
            lr: self.lr,
            warm_up: 100,
            max_norm: 20.,
            shown: ("test_error", "test error"),
        }
    }

    /// Refuses sizes that memory cannot hold, before anything is allocated.
    pub fn check_memory(&self, data: &Split) -> Result<()> {
        let pixels = data.image().iter().product::<usize>() as f64;
        let batch = self.batch.min(data.train.len());
        let batch = Size("--batch", batch, 100);
        let code = Size("--code", self.code(), 16);
        let widths = self.hidden.iter().map(|n| Size("--hidden", *n, 256));
        let hidden: Vec<Size> = widths.collect();
        let (first, last) = ([hidden[0]], [hidden[hidden.len() - 1], code]);
        let (images, codes) = ([batch], [batch, code]);
        let units: Vec<[Size; 2]> = hidden.iter().map(|n| [batch, *n]).collect();
        // Four bytes of each value, its gradient, and as much again and half of it on the way; of each weight, its gradient and
        // two moments.
        let mut checks: Vec<(f64, &[Size])> = vec![
            (24. * pixels, &images),
            (24., &codes),
            (32. * pixels, &first),
            (32., &last),
        ];
        checks.extend(units.iter().map(|sizes| (24., &sizes[..])));
        checks.extend(hidden.windows(2).map(|pair| (32., pair)));
        check_all(&checks)
    }
}

/// A value parser for classes.
fn class(text: &str) -> std::result::Result<u8, String> {
    let class = text.parse().ok();
    let class = class.filter(|class| usize::from(*class) < CLASSES);
    class.ok_or_else(|| format!("expected a class from 0 to {}", CLASSES - 1))
}
