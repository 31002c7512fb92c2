//! The command line and what it amounts to.

use crate::common::cli::{self, Common, Size, check_all, value_name};
use crate::common::file_error;
use crate::common::train::{Settings, Training};
use crate::data::Data;
use crate::loss::Loss;
use crate::plane::Set;
use candle_prob::Result;
use candle_prob::objective::FGanGenerator;
use candle_prob::optim::{MinimaxConfig, Scheme};
use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};

/// Generators trained against critics, on points in the plane or on images
///
/// Points: prints how many modes of the data the samples reach, how many samples are near one, and how far their distribution is
/// from the data's; draws the samples at several times of the training. Images, the digits shipped here or those of a folder: DCGAN, a
/// sheet of samples after every epoch, and distances in the features of a small classifier that is trained here before. Writes
/// metrics.json, figures and a checkpoint for each training.
#[derive(Debug, Clone, Parser)]
#[command(name = "gan")]
#[command(mut_arg("epochs", |arg| arg.help(
    "Epochs of 100 steps on points, passes over images [default: points 50, images 30, of a folder 4, with --quick 2]"
)))]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// ring, grid, moons: points; digits: the images shipped here; or a folder of IDX files (train-images-idx3-ubyte[.gz], ...:
    /// MNIST, Fashion-MNIST)
    #[arg(long, default_value = "ring", value_name = "SET", value_parser = source)]
    pub data: Source,
    /// Losses, separated by commas: minimax, non-saturating, least-squares, hinge, wasserstein, relativistic,
    /// relativistic-average, f-gan:NAME (kl, reverse-kl, js, hellinger, pearson, neyman, tv, jeffreys), or all. What holds the critic in
    /// bounds follows: -clip (weights), -sn (spectral norms), -project (spectral norms, after each step), -gp and -r1 (gradients)
    #[arg(long, value_delimiter = ',', value_name = "LOSS", default_value = "non-saturating", value_parser = Loss::parse)]
    loss: Vec<Vec<Loss>>,
    /// The generator's loss in f-gan
    #[arg(long, value_enum, default_value_t = Generator::ZeroSum)]
    f_gan_generator: Generator,
    /// Train each loss with that many seeds, --seed and those after it
    #[arg(long, default_value_t = 1, value_parser = cli::count)]
    seeds: usize,
    /// Who moves when
    #[arg(long, value_enum, default_value_t = Moves::Alternating)]
    pub update: Moves,
    /// Steps of the critic for each of the generator
    #[arg(long, default_value_t = 1, value_parser = cli::count)]
    pub critic_steps: usize,
    /// Points or images of a step [default: points 128, images 64]
    #[arg(long, value_parser = cli::count)]
    batch: Option<usize>,
    /// Width of both hidden layers of both networks on points
    #[arg(long, default_value_t = 64, value_parser = cli::count)]
    pub hidden: usize,
    /// Channels of both networks' maps on images, the smallest map's first; each halves the image
    #[arg(long, value_delimiter = ',', default_value = "128,64", value_parser = cli::count)]
    pub channels: Vec<usize>,
    /// Dimensions of the generator's noise [default: points 8, images 64]
    #[arg(long, value_parser = cli::count)]
    latent: Option<usize>,
    /// Learning rate of the generator [default: points 0.0005, images 0.0002]
    #[arg(long, value_parser = cli::positive)]
    lr: Option<f64>,
    /// Learning rate of the critic [default: that of the generator]
    #[arg(long, value_parser = cli::positive)]
    critic_lr: Option<f64>,
    /// Share of the old values in the averages of the generator's weights, which are what is measured and drawn [default: points 0,
    /// images 0.999]
    #[arg(long, value_parser = decay)]
    ema: Option<f64>,
    /// Samples that are measured in the end [default: points 10000, images as many as there are test images, with --quick 300]
    #[arg(long, value_parser = cli::count)]
    samples: Option<usize>,
    /// Train on that many images at most
    #[arg(long, value_parser = cli::count)]
    pub most_images: Option<usize>,
    /// Pause each training after that many epochs, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = cli::count)]
    pause_after: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Points(Set),
    Digits,
    Folder(PathBuf),
}

fn source(text: &str) -> std::result::Result<Source, String> {
    Ok(match text {
        "ring" => Source::Points(Set::Ring),
        "grid" => Source::Points(Set::Grid),
        "moons" => Source::Points(Set::Moons),
        "digits" => Source::Digits,
        folder => Source::Folder(folder.into()),
    })
}

fn decay(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0. ..1.).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1, but not 1".into()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generator {
    /// It minimizes the divergence's bound, which the critic maximizes
    ZeroSum,
    /// Of Nowozin et al. (2016), section 3.2: it maximizes what the critic maximizes on data
    NonSaturating,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Moves {
    /// The critic, then the generator
    Alternating,
    /// Both at once
    Simultaneous,
    /// Both at once, by the gradients at the point of a trial step
    Extragradient,
    /// Both at once, by optimistic Adam
    Optimistic,
}

/// A loss and a seed.
#[derive(Debug, Clone)]
pub struct Player {
    pub loss: Loss,
    pub seed: u64,
    /// Of files and metrics.
    pub name: String,
}

impl Arguments {
    /// Each loss once, with each seed.
    pub fn players(&self) -> Vec<Player> {
        let mut losses: Vec<Loss> = vec![];
        for loss in self.loss.iter().flatten() {
            if !losses.contains(loss) {
                losses.push(*loss);
            }
        }
        let mut players = vec![];
        for loss in losses {
            for k in 0..self.seeds {
                let seed = self.common.seed.wrapping_add(k as u64);
                let name = match self.seeds {
                    1 => loss.name(),
                    _ => format!("{}_seed_{seed}", loss.name()),
                };
                players.push(Player { loss, seed, name });
            }
        }
        players
    }

    fn on_points(&self) -> bool {
        matches!(self.data, Source::Points(_))
    }

    fn pick<T>(&self, asked: Option<T>, points: T, images: T) -> T {
        asked.unwrap_or(if self.on_points() { points } else { images })
    }

    pub fn batch(&self) -> usize {
        self.pick(self.batch, 128, 64)
    }

    pub fn latent(&self) -> usize {
        self.pick(self.latent, 8, 64)
    }

    pub fn lr(&self) -> f64 {
        self.pick(self.lr, 5e-4, 2e-4)
    }

    pub fn critic_lr(&self) -> f64 {
        self.critic_lr.unwrap_or(self.lr())
    }

    pub fn ema(&self) -> f64 {
        self.pick(self.ema, 0., 0.999)
    }

    pub fn generator(&self) -> FGanGenerator {
        match self.f_gan_generator {
            Generator::ZeroSum => FGanGenerator::Saturating,
            Generator::NonSaturating => FGanGenerator::NonSaturating,
        }
    }

    pub fn minimax(&self) -> MinimaxConfig {
        MinimaxConfig {
            scheme: match self.update {
                Moves::Alternating => Scheme::Alternating,
                Moves::Simultaneous | Moves::Optimistic => Scheme::Simultaneous,
                Moves::Extragradient => Scheme::Extragradient,
            },
            critic_steps: self.critic_steps,
            skip_non_finite: true,
        }
    }

    pub fn samples(&self, data: &Data) -> usize {
        let quick = if self.common.quick { 300 } else { 10_000 };
        let asked = self.samples.unwrap_or(quick);
        match data {
            Data::Points(_) => asked,
            // As many test images are beside them.
            Data::Images(split) => asked.min(split.test.len()),
        }
    }

    fn epochs(&self) -> usize {
        let whole = match self.data {
            Source::Points(_) => 50,
            Source::Digits => 30,
            Source::Folder(_) => 4,
        };
        self.common.epochs_or(whole, 2)
    }

    /// Refuses what does not go together.
    pub fn check(&self, data: &Data) -> Result<()> {
        let wrong = |flag: &str, expected: String, found: String| {
            Err(file_error(Path::new(flag), expected, found))
        };
        if self.critic_steps > 1 && self.update != Moves::Alternating {
            let expected = format!("1 with --update {}", value_name(self.update));
            return wrong("--critic-steps", expected, self.critic_steps.to_string());
        }
        if let (Data::Images(_), 1) = (data, self.batch()) {
            let expected = "at least 2: batches are normalized".to_string();
            return wrong("--batch", expected, "1".into());
        }
        if let Some(samples) = self.samples.filter(|samples| *samples < 10) {
            return wrong("--samples", "at least 10".into(), samples.to_string());
        }
        let Data::Images(split) = data else {
            return Ok(());
        };
        let (h, w, halvings) = (split.images.height, split.images.width, self.channels.len());
        let unit = u32::try_from(halvings).ok();
        let unit = unit.and_then(|n| 2usize.checked_pow(n));
        if unit.is_none_or(|unit| h % unit > 0 || w % unit > 0) {
            let expected = format!("so many that {h} x {w} pixels can be halved as often");
            return wrong("--channels", expected, halvings.to_string());
        }
        Ok(())
    }

    /// Everything that decides what a training becomes.
    pub fn settings(&self, player: &Player, data: &Data) -> Settings {
        let mut settings = Settings::from([
            ("loss", player.loss.name()),
            ("data", data.id()),
            ("epochs", self.epochs().to_string()),
            ("update", value_name(self.update)),
            ("critic_steps", self.critic_steps.to_string()),
            ("batch", self.batch().to_string()),
            ("latent", self.latent().to_string()),
            ("lr", format!("{:?}", self.lr())),
            ("critic_lr", format!("{:?}", self.critic_lr())),
            ("ema", format!("{:?}", self.ema())),
            ("f_gan_generator", value_name(self.f_gan_generator)),
            ("seed", player.seed.to_string()),
        ]);
        match data {
            Data::Points(_) => settings.extend([("hidden", self.hidden.to_string())]),
            Data::Images(split) => {
                let channels: Vec<String> = self.channels.iter().map(usize::to_string).collect();
                settings.extend([
                    ("channels", channels.join("-")),
                    ("images", split.train.len().to_string()),
                ]);
            }
        }
        settings
    }

    /// Of the metrics: what all trainings have in common, and what decides the measurement.
    pub fn all_settings(&self, players: &[Player], data: &Data) -> Settings {
        let mut settings = Settings::new();
        if let Some(player) = players.first() {
            settings = self.settings(player, data);
        }
        let mut losses: Vec<String> = players.iter().map(|player| player.loss.name()).collect();
        losses.dedup();
        settings.insert("loss", losses.join(","));
        settings.insert("seed", self.common.seed.to_string());
        settings.insert("seeds", self.seeds.to_string());
        settings.insert("samples", self.samples(data).to_string());
        settings.insert("data_name", data.title());
        settings
    }

    pub fn training<'a>(&self, player: &'a Player, data: &Data) -> Training<'a> {
        Training {
            name: &player.name,
            title: player.loss.kind_title(),
            settings: self.settings(player, data),
            epochs: self.epochs(),
            pause_after: self.pause_after,
            steps: data.steps(self.batch()),
            lr: self.lr(),
            warm_up: 0,
            max_norm: f64::INFINITY,
            shown: data.shown(),
        }
    }

    /// Refuses sizes that memory cannot hold, before anything is allocated.
    pub fn check_memory(&self, data: &Data) -> Result<()> {
        let batch = Size("--batch", self.batch(), 128);
        let latent = Size("--latent", self.latent(), 64);
        let samples = Size("--samples", self.samples(data), 10_000);
        check_all(&[
            (500., &[samples]),
            (4., &[samples, latent]),
            (5000., &[Size("--seeds", self.seeds, 5)]),
        ])?;
        // Four bytes of each value and its gradient, and as much again on the way; of each weight, its gradient, two moments, an
        // average, and as much on the way.
        match data {
            Data::Points(_) => {
                let hidden = Size("--hidden", self.hidden, 64);
                check_all(&[
                    (64., &[batch, hidden]),
                    (32., &[batch, latent]),
                    (96., &[hidden, hidden]),
                    (48., &[latent, hidden]),
                ])
            }
            Data::Images(split) => {
                let pixels = split.images.height * split.images.width;
                let channels: Vec<Size> = self
                    .channels
                    .iter()
                    .map(|n| Size("--channels", *n, 128))
                    .collect();
                let units: Vec<[Size; 2]> = channels.iter().map(|n| [batch, *n]).collect();
                let mut checks: Vec<(f64, &[Size])> = vec![];
                let last = [channels[0], latent];
                checks.push((48. * pixels as f64, &last));
                checks.extend(units.iter().map(|sizes| (64. * pixels as f64, &sizes[..])));
                checks.extend(channels.windows(2).map(|pair| (1600., pair)));
                check_all(&checks)
            }
        }
    }
}
