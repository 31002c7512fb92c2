//! The command line and what it amounts to.

use crate::common::cli::{self, Common, Size, check_all, value_name};
use crate::common::file_error;
use crate::common::images::Split;
use crate::common::train::{Settings, Training};
use crate::data::{Data, batches};
use crate::grid;
use candle_prob::Result;
use clap::{Parser, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variational autoencoders on images, the digits shipped here or those of --data
///
/// Prints for the test images the bound on the log-likelihood and its parts, and the negative log-likelihood by importance
/// sampling. Writes metrics.json, learning curves, reconstructions, samples, traversals and maps of the latents, and a checkpoint
/// for each model.
#[derive(Debug, Clone, Parser)]
#[command(name = "vae")]
#[command(mut_arg("epochs", |arg| {
    arg.help("Passes over the training data [default: 100, with --data 20, with --quick 2]")
}))]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Folder of IDX files (train-images-idx3-ubyte[.gz], ...: MNIST, Fashion-MNIST); without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// The models to train, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "vae")]
    model: Vec<Kind>,
    /// Widths of the hidden layers of the encoder, with tanh; the decoder has them in reverse
    #[arg(long, value_delimiter = ',', default_value = "200,200", value_parser = cli::count)]
    pub hidden: Vec<usize>,
    /// Dimensions of the latents [default: 10, with --data 50]
    #[arg(long, value_parser = cli::count)]
    latent: Option<usize>,
    /// Latents for each image in training [default: 1, of iwae 50, of score 10, with --quick 5]
    #[arg(long, value_parser = cli::count)]
    samples: Option<usize>,
    /// Weight of the rate for beta [default: 2], of the total correlation for tc [6], of the penalty of covariances for dip
    /// [10], of the discrepancy from the prior for wae [100]
    #[arg(long, value_parser = cli::not_negative)]
    weight: Option<f64>,
    /// What the decoder says about pixels; without a density (soft-bernoulli, optimal-normal) there is no log-likelihood
    #[arg(long, value_enum, default_value_t = Likelihood::Bernoulli)]
    pub likelihood: Likelihood,
    /// The pixels that it says it about [default: binary for bernoulli, grey for the others]
    #[arg(long, value_enum)]
    pixels: Option<Pixels>,
    /// The distribution of all latents
    #[arg(long, value_enum, default_value_t = Prior::Standard)]
    pub prior: Prior,
    /// The distribution of an image's latents
    #[arg(long, value_enum, default_value_t = Posterior::Normal)]
    pub posterior: Posterior,
    /// Codes of vq, and of each grid of vq2 [default: 64, with --data 512]
    #[arg(long, value_parser = cli::count)]
    codes: Option<usize>,
    /// Images of a step
    #[arg(long, default_value_t = 100, value_parser = cli::count)]
    pub batch: usize,
    /// Highest learning rate; it falls to zero along a half cosine
    #[arg(long, default_value_t = 1e-3, value_parser = cli::positive)]
    pub lr: f64,
    /// Latents for each test image in the estimate of its log-likelihood [default: 5000, with --quick 100]
    #[arg(long, value_parser = cli::count)]
    nll_samples: Option<usize>,
    /// Estimate the log-likelihood of that many test images at most
    #[arg(long, value_parser = cli::count)]
    pub nll_images: Option<usize>,
    /// Train on that many images of --data at most
    #[arg(long, value_parser = cli::count)]
    pub most_images: Option<usize>,
    /// Compare estimates of the encoder's gradient on 100 test images, that many draws of each
    #[arg(long, value_name = "DRAWS", value_parser = cli::count)]
    pub gradients: Option<usize>,
    /// Pause each model after that many epochs, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = cli::count)]
    pause_after: Option<usize>,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// By the evidence lower bound
    Vae,
    /// With --weight as the weight of the rate
    Beta,
    /// By the importance-weighted bound of --samples latents
    Iwae,
    /// With a weight of the total correlation of latents alone
    Tc,
    /// With a penalty on how far latents are from uncorrelated
    Dip,
    /// With one on how far all latents are from the prior, and no rate
    Wae,
    /// As vae, but the encoder by the score function instead of through the latents
    Score,
    /// With a grid of codes for latents, and a prior of the codes that is trained after it
    Vq,
    /// With a coarse grid and a fine one
    Vq2,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Vae => "vae",
            Kind::Beta => "beta",
            Kind::Iwae => "iwae",
            Kind::Tc => "tc",
            Kind::Dip => "dip",
            Kind::Wae => "wae",
            Kind::Score => "score",
            Kind::Vq => "vq",
            Kind::Vq2 => "vq2",
        }
    }

    /// Whether its latents are grids of codes.
    pub fn has_codes(self) -> bool {
        matches!(self, Kind::Vq | Kind::Vq2)
    }

    /// Whether its objective is for a Gaussian posterior and N(0, I) alone.
    fn plain(self) -> bool {
        !matches!(self, Kind::Vae | Kind::Beta | Kind::Iwae)
    }

    pub fn title(self) -> &'static str {
        match self {
            Kind::Vae => "VAE",
            Kind::Beta => "beta-VAE",
            Kind::Iwae => "IWAE",
            Kind::Tc => "beta-TCVAE",
            Kind::Dip => "DIP-VAE",
            Kind::Wae => "WAE",
            Kind::Score => "score function",
            Kind::Vq => "VQ-VAE",
            Kind::Vq2 => "VQ-VAE-2",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Likelihood {
    /// Of pixels 0 and 1
    Bernoulli,
    /// The cross entropy of grey pixels, which is no density
    SoftBernoulli,
    /// A density of grey pixels
    ContinuousBernoulli,
    /// With one learned scale
    Normal,
    /// With the scale that is best for each image, which is no density
    OptimalNormal,
    /// With one learned scale
    Laplace,
    /// A probability for each level of grey
    Categorical,
    /// A mixture of five logistic distributions on the levels of grey
    LogisticMixture,
}

impl Likelihood {
    /// Whether it sums or integrates to 1 over all images, so that it can be compared.
    pub fn is_density(self) -> bool {
        !matches!(self, Likelihood::SoftBernoulli | Likelihood::OptimalNormal)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pixels {
    /// Drawn anew for every use, with the grey value as the probability of 1
    Binary,
    /// As they are
    Grey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prior {
    /// N(0, I)
    Standard,
    /// 50 learned Gaussians
    Mixture,
    /// What the encoder says about 50 learned images
    Vamp,
    /// A learned RealNVP of N(0, I)
    Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Posterior {
    /// A Gaussian with independent elements
    Normal,
    /// An inverse autoregressive flow of one
    Iaf,
    /// Four planar layers on one
    Planar,
}

impl Arguments {
    /// Each once, in the order asked for.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds = self.model.clone();
        let mut seen = vec![];
        kinds.retain(|kind| !seen.contains(kind) && (seen.push(*kind), true).1);
        kinds
    }

    pub fn latent(&self) -> usize {
        let own = if self.data.is_some() { 50 } else { 10 };
        self.latent.unwrap_or(own)
    }

    pub fn samples(&self, kind: Kind) -> usize {
        let own = match (kind, self.common.quick) {
            // Its bounds are of one latent for each image.
            (Kind::Tc | Kind::Dip | Kind::Wae | Kind::Vq | Kind::Vq2, _) => return 1,
            (Kind::Vae | Kind::Beta, _) => 1,
            (_, true) => 5,
            (Kind::Iwae, false) => 50,
            (Kind::Score, false) => 10,
        };
        self.samples.unwrap_or(own)
    }

    pub fn weight(&self, kind: Kind) -> f64 {
        let own = match kind {
            Kind::Beta => 2.,
            Kind::Tc => 6.,
            Kind::Dip => 10.,
            Kind::Wae => 100.,
            _ => return 1.,
        };
        self.weight.unwrap_or(own)
    }

    pub fn pixels(&self) -> Pixels {
        self.pixels.unwrap_or(match self.likelihood {
            Likelihood::Bernoulli => Pixels::Binary,
            _ => Pixels::Grey,
        })
    }

    /// Refuses what does not go together.
    pub fn check(&self) -> Result<()> {
        let score = self.kinds().contains(&Kind::Score);
        if score && self.samples(Kind::Score) < 2 {
            let expected = "at least 2 for score: the other latents are the baseline";
            return Err(file_error(Path::new("--samples"), expected, 1));
        }
        let codes = self.kinds().into_iter().any(Kind::has_codes);
        if codes && self.codes() < 2 {
            return Err(file_error(Path::new("--codes"), "at least 2", 1));
        }
        let sizes = [
            ("--batch", Some(self.batch)),
            ("--most-images", self.most_images),
        ];
        let single = sizes.into_iter().find(|(_, size)| *size == Some(1));
        let compares = |kind: &Kind| matches!(kind, Kind::Dip | Kind::Wae);
        let compares = self.kinds().into_iter().find(compares);
        if let (Some((flag, _)), Some(kind)) = (single, compares) {
            let expected = format!("at least 2 for {}: it compares images", kind.name());
            return Err(file_error(Path::new(flag), expected, 1));
        }
        if self.gradients == Some(1) {
            let expected = "at least 2: one draw has no variance";
            return Err(file_error(Path::new("--gradients"), expected, 1));
        }
        // The others' objectives know both in closed form.
        let plain = self.kinds().into_iter().find(|kind| kind.plain());
        let plain = plain.map(|kind| format!("--model {}", kind.name()));
        let plain = plain.or(self.gradients.map(|_| "--gradients".into()));
        let Some(plain) = plain else { return Ok(()) };
        for (flag, own, other) in [
            ("--posterior", value_name(self.posterior), "normal"),
            ("--prior", value_name(self.prior), "standard"),
        ] {
            if own != other {
                let expected = format!("{other} for {plain}");
                return Err(file_error(Path::new(flag), expected, own));
            }
        }
        Ok(())
    }

    pub fn codes(&self) -> usize {
        let own = if self.data.is_some() { 512 } else { 64 };
        self.codes.unwrap_or(own)
    }

    pub fn nll_samples(&self) -> usize {
        let own = if self.common.quick { 100 } else { 5000 };
        self.nll_samples.unwrap_or(own)
    }

    fn epochs(&self) -> usize {
        let whole = if self.data.is_some() { 20 } else { 100 };
        self.common.epochs_or(whole, 2)
    }

    /// Everything that decides what a model becomes.
    fn settings(&self, kind: Kind, data: &Split) -> Settings {
        let hidden: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        let mut settings = Settings::from([
            ("model", kind.name().into()),
            ("data", data.images.id()),
            ("images", data.train.len().to_string()),
            ("epochs", self.epochs().to_string()),
            ("likelihood", value_name(self.likelihood)),
            ("pixels", value_name(self.pixels())),
            ("batch", self.batch.to_string()),
            ("lr", format!("{:?}", self.lr)),
            ("seed", self.common.seed.to_string()),
        ]);
        match kind.has_codes() {
            true => settings.extend([("codes", self.codes().to_string())]),
            false => settings.extend([
                ("hidden", hidden.join("-")),
                ("latent", self.latent().to_string()),
                ("samples", self.samples(kind).to_string()),
                ("weight", format!("{:?}", self.weight(kind))),
                ("prior", value_name(self.prior)),
                ("posterior", value_name(self.posterior)),
            ]),
        }
        settings
    }

    /// Of the metrics: of all models, each with its name where they differ, and what decides the estimates.
    pub fn all_settings(&self, data: &Split) -> Settings {
        let names: Vec<&str> = self.kinds().into_iter().map(Kind::name).collect();
        let mut values: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for kind in self.kinds() {
            for (setting, value) in self.settings(kind, data) {
                values
                    .entry(setting)
                    .or_default()
                    .push((kind.name(), value));
            }
        }
        let text = |values: Vec<(&str, String)>| {
            let first = &values[0].1;
            if values.iter().all(|(_, value)| value == first) {
                return first.clone();
            }
            let named = values.iter().map(|(name, value)| format!("{name} {value}"));
            named.collect::<Vec<_>>().join(", ")
        };
        let values = values.into_iter();
        let mut all: Settings = values.map(|(setting, own)| (setting, text(own))).collect();
        all.insert("model", names.join(","));
        all.insert("data_name", data.images.name.clone());
        all.insert("nll_samples", self.nll_samples().to_string());
        if let Some(images) = self.nll_images {
            all.insert("nll_images", images.to_string());
        }
        if let Some(draws) = self.gradients {
            all.insert("gradients", draws.to_string());
        }
        all
    }

    /// Of this model, and for grids of codes of their prior after it.
    pub fn trainings(&self, kind: Kind, data: &Split) -> Vec<Training<'static>> {
        let training = |name, title| Training {
            name,
            title,
            settings: self.settings(kind, data),
            epochs: self.epochs(),
            pause_after: self.pause_after,
            steps: batches(&data.train, self.batch).len(),
            lr: self.lr,
            warm_up: 100,
            max_norm: 200.,
            shown: ("loss", "loss"),
        };
        let prior = match kind {
            Kind::Vq => Some(training("vq_prior", "VQ-VAE's prior")),
            Kind::Vq2 => Some(training("vq2_prior", "VQ-VAE-2's prior")),
            _ => None,
        };
        let own = training(kind.name(), kind.title());
        [own].into_iter().chain(prior).collect()
    }

    /// Refuses sizes that memory cannot hold, before anything is allocated.
    pub fn check_memory(&self, data: &Data) -> Result<()> {
        let (pixels, numbers) = (data.size() as f64, data.numbers()? as f64);
        let cells = grid::cells(data.split.image()) as f64;
        let batch = self.batch.min(data.split.train.len());
        let batch = Size("--batch", batch, 100);
        let latent = Size("--latent", self.latent(), 50);
        let hidden: Vec<Size> = self
            .hidden
            .iter()
            .map(|n| Size("--hidden", *n, 200))
            .collect();
        let samples = self.kinds().into_iter().map(|kind| self.samples(kind));
        let samples = Size("--samples", samples.max().unwrap_or(1), 50);
        let grids = Size("--codes", self.codes(), 512);
        let (book, logits) = ([grids], [batch, grids]);
        let (first, last) = ([hidden[0]], [hidden[hidden.len() - 1], latent]);
        let (images, codes) = ([batch, samples], [batch, samples, latent]);
        let units: Vec<[Size; 3]> = hidden.iter().map(|n| [batch, samples, *n]).collect();
        // Four bytes of each value, its gradient, and as much again and half of it on the way; of each weight, its gradient
        // and two moments.
        let mut checks: Vec<(f64, &[Size])> = vec![
            (24. * pixels * numbers, &images),
            (24., &codes),
            (16. * pixels * (1. + numbers), &first),
            (48., &last),
        ];
        if self.kinds().into_iter().any(Kind::has_codes) {
            checks.extend([(4096., &book[..]), (24. * cells, &logits)]);
        }
        checks.extend(units.iter().map(|sizes| (24., &sizes[..])));
        checks.extend(hidden.windows(2).map(|pair| (32., pair)));
        check_all(&checks)
    }
}
