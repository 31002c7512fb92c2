//! The command line and what it amounts to.

use crate::common::cli::{self, Common, Size, check_all, value_name};
use crate::common::images::{CLASSES, Images};
use crate::common::multi::{self, Protocol};
use crate::common::train::Settings;
use crate::model::HIDDEN;
use candle_prob::Result;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Basic, VIB and GMVIB (Zuo, 2023) side by side on images of several digits.
///
/// The label of an image is the set of its classes. Basic has a deterministic code, VIB a Gaussian one, GMVIB a weighted
/// sum of ten Gaussian components. Writes metrics.json, samples.png, curves.png, information_plane.png and a checkpoint
/// per model.
#[derive(Debug, Clone, Parser)]
#[command(name = "gmvib")]
#[command(mut_arg("epochs", |arg| {
    arg.help("Passes over the training data [default: 12, with --data 50, with --quick 4]")
}))]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Folder of IDX files (train-images-idx3-ubyte[.gz], ...: MNIST, Fashion-MNIST); without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Which model to train
    #[arg(long, value_enum, default_value_t = Choice::All)]
    pub model: Choice,
    /// Digits in an image, 2 or 3
    #[arg(long, default_value_t = 2, value_parser = digits)]
    pub digits: usize,
    /// Images composed in total, four fifths for training [default: 20000, with --quick 5000]
    #[arg(long, value_parser = cli::count)]
    pub images: Option<usize>,
    /// Where the sources of test images come from
    #[arg(long, value_enum, default_value_t = Protocol::Disjoint)]
    pub protocol: Protocol,
    /// Compose new training images every epoch, from the training sources
    #[arg(long)]
    pub fresh: bool,
    /// Weight of the rate in the objective
    #[arg(long, default_value_t = 1e-3, value_parser = cli::not_negative)]
    pub beta: f64,
    /// Monte-Carlo samples of the code, in training and in prediction [default: 12, with --quick 4]
    #[arg(long, value_parser = cli::count)]
    pub samples: Option<usize>,
    /// Dimensions of the code
    #[arg(long, default_value_t = 256, value_parser = cli::count)]
    pub latent: usize,
    /// Images in a step
    #[arg(long, default_value_t = 32, value_parser = cli::count)]
    pub batch: usize,
    /// Highest learning rate; it falls to zero along a half cosine
    #[arg(long, default_value_t = 3e-3, value_parser = cli::positive)]
    pub lr: f64,
    /// Posterior of GMVIB's weights
    #[arg(long, value_enum, default_value_t = Weight::Dirichlet)]
    pub weight: Weight,
    /// How the network's outputs become standard deviations, of VIB's code and of GMVIB's components
    #[arg(long, value_enum, default_value_t = Scale::Softplus)]
    pub scale: Scale,
    /// Concentration near which Dirichlet weights begin [default: what the layer's initializer gives, near 0.7]
    #[arg(long, value_parser = cli::positive)]
    pub concentration: Option<f64>,
    /// Epochs over which beta grows from zero
    #[arg(long, value_name = "EPOCHS", default_value_t = 0)]
    pub beta_warm_up: usize,
    /// Channels of the encoder's convolutions, each of which halves the image [default: 16,32,64,128 with
    /// --data, 16,32,64 without]
    #[arg(long, value_delimiter = ',', value_parser = cli::count)]
    pub channels: Vec<usize>,
    /// Pause each model after this many epochs, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = cli::count)]
    pub pause_after: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    Basic,
    Vib,
    Gmvib,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Basic,
    Vib,
    Gmvib,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Basic => "basic",
            Kind::Vib => "vib",
            Kind::Gmvib => "gmvib",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Kind::Basic => "Basic",
            Kind::Vib => "VIB",
            Kind::Gmvib => "GMVIB",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weight {
    /// A Dirichlet distribution, with implicit gradients
    Dirichlet,
    /// A Gaussian through softmax, as the paper computes it
    Gaussian,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// Logarithms of variances: the first standard deviations are near 1
    LogVariance,
    /// Softplus less 5: the first standard deviations are near 0.007
    Softplus,
}

impl Arguments {
    pub fn kinds(&self) -> Vec<Kind> {
        match self.model {
            Choice::Basic => vec![Kind::Basic],
            Choice::Vib => vec![Kind::Vib],
            Choice::Gmvib => vec![Kind::Gmvib],
            Choice::All => vec![Kind::Basic, Kind::Vib, Kind::Gmvib],
        }
    }

    pub fn epochs(&self) -> usize {
        let default = match (self.common.quick, &self.data) {
            (true, _) => 4,
            (false, None) => 12,
            (false, Some(_)) => 50,
        };
        self.common.epochs.map_or(default, |epochs| epochs as usize)
    }

    pub fn samples(&self) -> usize {
        self.samples
            .unwrap_or(if self.common.quick { 4 } else { 12 })
    }

    pub fn channels(&self) -> Vec<usize> {
        match (self.channels.is_empty(), &self.data) {
            (false, _) => self.channels.clone(),
            (true, Some(_)) => vec![16, 32, 64, 128],
            (true, None) => vec![16, 32, 64],
        }
    }

    pub fn composition(&self) -> multi::Config {
        let images = if self.common.quick { 5000 } else { 20_000 };
        multi::Config {
            digits: self.digits,
            images: self.images.unwrap_or(images),
            protocol: self.protocol,
        }
    }

    /// Everything that decides the result.
    pub fn settings(&self, images: &Images) -> Settings {
        let channels: Vec<String> = self.channels().iter().map(usize::to_string).collect();
        let composition = self.composition();
        let concentration = self
            .concentration
            .map_or("none".into(), |c| format!("{c:?}"));
        Settings::from([
            ("data", images.id()),
            ("seed", self.common.seed.to_string()),
            ("epochs", self.epochs().to_string()),
            ("samples", self.samples().to_string()),
            ("digits", composition.digits.to_string()),
            ("images", composition.images.to_string()),
            ("protocol", value_name(composition.protocol)),
            ("fresh", self.fresh.to_string()),
            ("beta", format!("{:?}", self.beta)),
            ("latent", self.latent.to_string()),
            ("batch", self.batch.to_string()),
            ("lr", format!("{:?}", self.lr)),
            ("weight", value_name(self.weight)),
            ("scale", value_name(self.scale)),
            ("concentration", concentration),
            ("beta_warm_up", self.beta_warm_up.to_string()),
            ("channels", channels.join("-")),
        ])
    }

    /// Refuses sizes that memory cannot hold, before anything is allocated.
    pub fn check_memory(&self, images: &Images) -> Result<()> {
        let composition = self.composition();
        let count = Size("--images", composition.images, 20_000);
        let batch = self.batch.min(composition.images);
        let batch = Size("--batch", batch, 32);
        let latent = Size("--latent", self.latent, 256);
        let samples = Size("--samples", self.samples(), 12);
        let channels = self.channels();
        let channels: Vec<Size> = channels
            .iter()
            .map(|n| Size("--channels", *n, 64))
            .collect();
        let (height, width) = multi::canvas(images, self.digits);
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let hidden = HIDDEN as f64;
        let (images, values, units) = ([count], [batch, samples, latent], [batch, samples]);
        let (pixels, last, codes) = ([batch, first], [last], [latent]);
        let mut checks: Vec<(f64, &[Size])> = vec![
            // Places, and the numbers they are drawn from.
            (200., &images),
            // Four bytes of each value, its gradient, and as much again and half of it on the way.
            (24., &values),
            (24. * hidden, &units),
            (4. * (height * width) as f64, &pixels),
            // Weights of dense layers and of 4 x 4, with gradients and two moments.
            (16. * hidden, &last),
            (24. * (2 * CLASSES) as f64 * hidden, &codes),
        ];
        checks.extend(channels.windows(2).map(|pair| (16. * 16., pair)));
        check_all(&checks)
    }
}

fn digits(text: &str) -> std::result::Result<usize, String> {
    match text {
        "2" => Ok(2),
        "3" => Ok(3),
        _ => Err("expected 2 or 3".into()),
    }
}
