//! The command line and what it amounts to: the settings of the paper, sections 5.4 and 7, and smaller ones of the digits.

use crate::common::cli::{self, Common, Size, check_all, value_name};
use crate::common::file_error;
use crate::common::images::CLASSES;
use crate::common::train::Settings;
use crate::data::Data;
use crate::model::{self, DropoutCnn};
use candle_prob::Result;
use candle_prob::objective::Surrogate;
use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};

/// Information bottlenecks unpacked (Kirsch, Lyle and Gal, 2020): the experiments of the paper
///
/// gap: decoder uncertainty, decoder and prediction cross-entropy of a categorical code, each trained in turn (figure 3), and
/// the information diagram of a trained encoder (figure 2). noise: codes of less and less entropy with and without noise of
/// entropy zero (figure 4). surrogates: three regularizers of the entropy of codes over their weight gamma, in the information
/// plane (figures 1, 5 and 6). Writes metrics.json, plane.csv, figures and a checkpoint of each training.
#[derive(Debug, Clone, Parser)]
#[command(name = "information_bottleneck")]
#[command(mut_arg("epochs", |arg| arg.help(
    "Passes over the training data of each experiment [default: 40, surrogates 15, with --quick 3]"
)))]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Experiments, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "gap,noise,surrogates"
    )]
    experiment: Vec<Experiment>,
    /// Folder of IDX files (MNIST, Fashion-MNIST) or of CIFAR-10's binary version; without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Images that train at most, and a fifth as many that test [default: all, with --quick 300]
    #[arg(long, value_parser = cli::count)]
    images: Option<usize>,
    /// Images in a step
    #[arg(long, default_value_t = 128, value_parser = cli::count)]
    pub batch: usize,
    /// Adam's first learning rate; 0.8 of it after more than 3 epochs without a lower loss [default: 1e-3, with --data 1e-4]
    #[arg(long, value_parser = cli::positive)]
    lr: Option<f64>,
    /// gap: trainings of each objective [default: 4, with --data 8, with --quick 1]
    #[arg(long, value_parser = cli::count)]
    trials: Option<usize>,
    /// gap: categories of the code
    #[arg(long, default_value_t = 100, value_parser = cli::count)]
    pub categories: usize,
    /// gap: width of the two hidden layers of encoder and decoder [default: 128, with --data 1024]
    #[arg(long, value_parser = cli::count)]
    hidden: Option<usize>,
    /// gap: the optimal decoder while decoder uncertainty is trained
    #[arg(long, value_enum, default_value_t = Optimum::Batch)]
    pub optimum: Optimum,
    /// Numbers of a continuous code [default: noise 32, surrogates 16, with --data 128 and 100]
    #[arg(long, value_parser = cli::count)]
    latent: Option<usize>,
    /// noise: dropout samples [default: 12, with --quick 2]
    #[arg(long, value_parser = cli::count)]
    samples: Option<usize>,
    /// surrogates: weights of the regularizer, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "0.0001,0.001,0.01,0.1,1,10", value_parser = cli::not_negative)]
    gamma: Vec<f64>,
    /// surrogates: regularizers, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "squared-norm,log-variance,conditional-log-variance"
    )]
    surrogate: Vec<Regularizer>,
    /// surrogates, and gap of colour images: the encoder
    #[arg(long, value_enum, default_value_t = Net::Small)]
    pub net: Net,
    /// Pause each training after this many epochs, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = cli::count)]
    pub pause_after: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Experiment {
    /// Figures 2 and 3
    Gap,
    /// Figure 4
    Noise,
    /// Figures 1, 5 and 6
    Surrogates,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Optimum {
    /// Of each batch
    Batch,
    /// Of the training data, as the epoch before has left the encoder
    Lagged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Net {
    /// Three residual blocks of 16, 32 and 64 channels
    Small,
    /// Eight residual blocks of 64 to 512 channels
    Resnet18,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Regularizer {
    /// E |Z|^2
    SquaredNorm,
    /// log Var[Z]
    LogVariance,
    /// log Var[Z|Y]
    ConditionalLogVariance,
}

impl Regularizer {
    pub fn title(self) -> &'static str {
        match self {
            Regularizer::SquaredNorm => "E|Z|\u{b2}",
            Regularizer::LogVariance => "log Var[Z]",
            Regularizer::ConditionalLogVariance => "log Var[Z|Y]",
        }
    }

    /// For files and metrics.
    pub fn name(self) -> String {
        value_name(self).replace('-', "_")
    }

    pub fn surrogate(self) -> Surrogate {
        match self {
            Regularizer::SquaredNorm => Surrogate::SquaredNorm,
            Regularizer::LogVariance => Surrogate::LogVariance,
            Regularizer::ConditionalLogVariance => {
                Surrogate::ConditionalLogVariance { classes: CLASSES }
            }
        }
    }
}

/// Each once, in order.
fn once<T: Copy + PartialOrd>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.dedup_by(|a, b| a == b);
    values
}

impl Arguments {
    pub fn experiments(&self) -> Vec<Experiment> {
        once(&self.experiment)
    }

    pub fn surrogates(&self) -> Vec<Regularizer> {
        once(&self.surrogate)
    }

    pub fn gammas(&self) -> Vec<f64> {
        once(&self.gamma)
    }

    /// The default of the digits, of a folder, of a quick run.
    fn own<T>(&self, digits: T, folder: T, quick: T) -> T {
        match (self.common.quick, &self.data) {
            (true, _) => quick,
            (false, Some(_)) => folder,
            (false, None) => digits,
        }
    }

    pub fn images(&self) -> Option<usize> {
        self.images.or(self.own(None, None, Some(300)))
    }

    pub fn epochs(&self, experiment: Experiment) -> usize {
        let whole = match experiment {
            Experiment::Gap | Experiment::Noise => 40,
            Experiment::Surrogates => 15,
        };
        self.common.epochs_or(whole, 3)
    }

    pub fn lr(&self) -> f64 {
        let own = if self.data.is_some() { 1e-4 } else { 1e-3 };
        self.lr.unwrap_or(own)
    }

    pub fn trials(&self) -> usize {
        self.trials.unwrap_or(self.own(4, 8, 1))
    }

    pub fn hidden(&self) -> usize {
        let own = if self.data.is_some() { 1024 } else { 128 };
        self.hidden.unwrap_or(own)
    }

    pub fn latent(&self, experiment: Experiment) -> usize {
        let own = match (experiment, self.data.is_some()) {
            (Experiment::Noise, true) => 128,
            (Experiment::Noise, false) => 32,
            (_, true) => 100,
            (_, false) => 16,
        };
        self.latent.unwrap_or(own)
    }

    pub fn samples(&self) -> usize {
        self.samples.unwrap_or(self.own(12, 12, 2))
    }

    /// Refuses counts that leave nothing to look at.
    pub fn check_counts(&self) -> Result<()> {
        for (flag, value) in [("--images", self.images()), ("--batch", Some(self.batch))] {
            if value == Some(1) {
                let expected = "at least 2, of which there is a variance";
                return Err(file_error(Path::new(flag), expected, 1));
            }
        }
        Ok(())
    }

    /// Refuses what does not fit the images or the memory.
    pub fn check(&self, data: &Data) -> Result<()> {
        let noise = self.experiments().contains(&Experiment::Noise);
        let features = DropoutCnn::features(data.image);
        if noise && features == 0 {
            let [_, height, width] = data.image;
            let expected = "images of 6 x 6 or more for noise";
            let found = format!("{height} x {width}");
            return Err(file_error(Path::new("--data"), expected, found));
        }
        let count = data.train.len();
        let pixels: usize = data.image.iter().product();
        let batch = Size("--batch", self.batch.min(count), 128);
        let hidden = Size("--hidden", self.hidden(), 1024);
        let categories = Size("--categories", self.categories, 100);
        let latent = Size("--latent", self.latent(Experiment::Noise), 128);
        let samples = Size("--samples", self.samples(), 12);
        let trials = Size("--trials", self.trials(), 8);
        let images = Size("--images", count, 60_000);
        let maps = model::bytes(self.net, data.image);
        let (layer, wide) = ([hidden, hidden], [hidden, categories]);
        let (codes, table) = ([latent], [images, categories]);
        let (draws, blocks, runs) = ([batch, samples], [batch], [trials]);
        check_all(&[
            // Weights, gradients and two moments, of encoder and decoder.
            (32., &layer),
            (32., &wide),
            (16. * pixels as f64, &[hidden]),
            (16. * model::HIDDEN as f64, &codes),
            (4. * count as f64, &codes),
            (16., &table),
            (24. * (features + model::HIDDEN) as f64, &draws),
            (maps, &blocks),
            // Names, settings and histories.
            (1e5, &runs),
        ])
    }

    /// Everything that decides the results of an experiment.
    pub fn settings(&self, experiment: Experiment, data: &Data) -> Settings {
        let mut settings = Settings::from([
            ("experiment", value_name(experiment)),
            ("data", data.id.clone()),
            ("images", data.train.len().to_string()),
            ("seed", self.common.seed.to_string()),
            ("epochs", self.epochs(experiment).to_string()),
            ("batch", self.batch.to_string()),
            ("lr", format!("{:?}", self.lr())),
        ]);
        let mut add = |name, value: String| drop(settings.insert(name, value));
        let colours = data.image[0] > 1;
        match experiment {
            Experiment::Gap => {
                add("categories", self.categories.to_string());
                add("hidden", self.hidden().to_string());
                if colours {
                    add("net", value_name(self.net));
                }
            }
            Experiment::Noise => {
                add("latent", self.latent(experiment).to_string());
                add("samples", self.samples().to_string());
            }
            Experiment::Surrogates => {
                add("latent", self.latent(experiment).to_string());
                add("net", value_name(self.net));
            }
        }
        settings
    }

    /// Of metrics.json: of all experiments.
    pub fn all_settings(&self, data: &Data) -> Settings {
        let mut all = Settings::new();
        for experiment in self.experiments() {
            all.extend(self.settings(experiment, data));
        }
        let names: Vec<String> = self.experiments().into_iter().map(value_name).collect();
        all.insert("experiment", names.join(","));
        all.insert("data_name", data.name.clone());
        let epochs: Vec<String> = self
            .experiments()
            .into_iter()
            .map(|experiment| self.epochs(experiment).to_string())
            .collect();
        all.insert("epochs", epochs.join(","));
        all
    }
}
