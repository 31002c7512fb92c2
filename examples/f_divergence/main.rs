//! A Gaussian fitted to a mixture of two by every f-divergence, exactly and by a critic: `cargo run --release --example
//! f_divergence -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod exact;
mod game;
mod kind;
mod report;

use candle_core::{DType, Device, Tensor};
use candle_prob::Result;
use candle_prob::distribution::{Categorical, MixtureSameFamily, Normal};
use clap::Parser;
use common::cli::{self, Size, check_memory, count, positive};
use common::part_error;
use common::report::{Failures, Output, progress};
use common::train::Settings;
use kind::Kind;
use report::Row;
use std::path::PathBuf;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fits a Gaussian to a mixture of two by every f-divergence: by quadrature, and by an f-GAN with a small critic
///
/// Prints what both reach, and the critic's estimate beside the divergence that it estimates; fails where the two are further
/// apart than allowed. Writes metrics.json and a figure.
#[derive(Debug, Clone, Parser)]
#[command(name = "f_divergence")]
pub struct Arguments {
    /// The divergences [default: all]
    #[arg(long, value_enum)]
    divergence: Vec<Kind>,
    /// Steps of the generator [default: 2000, with --quick 800]
    #[arg(long, value_parser = count)]
    rounds: Option<usize>,
    /// Draws of a step, of the mixture and of the Gaussian each
    #[arg(long, default_value_t = 512, value_parser = count)]
    batch: usize,
    /// Width of the critic's two hidden layers
    #[arg(long, default_value_t = 32, value_parser = count)]
    hidden: usize,
    /// Learning rate of the critic at the start
    #[arg(long, default_value_t = 5e-3, value_parser = positive)]
    lr: f64,
    /// Seed of everything random
    #[arg(long, default_value_t = 0, value_parser = cli::seed)]
    seed: u64,
    /// Folder for the figure and metrics.json
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// A run of less than a minute
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 800 } else { 2000 })
    }

    /// What decides the results.
    fn settings(&self) -> Settings {
        Settings::from([
            ("rounds", self.rounds().to_string()),
            ("batch", self.batch.to_string()),
            ("hidden", self.hidden.to_string()),
            ("lr", format!("{:?}", self.lr)),
            ("seed", self.seed.to_string()),
        ])
    }
}

/// A Gaussian of the fit.
#[derive(Debug, Clone, Copy)]
pub struct Gaussian {
    pub mean: f64,
    pub sd: f64,
}

impl Gaussian {
    pub fn density(&self, x: f64) -> f64 {
        density(x, self.mean, self.sd)
    }
}

fn density(x: f64, mean: f64, sd: f64) -> f64 {
    let z = (x - mean) / sd;
    (-0.5 * z * z).exp() / (sd * std::f64::consts::TAU.sqrt())
}

/// Weight, mean and standard deviation of the mixture's parts.
const PARTS: [[f64; 3]; 2] = [[0.6, -2.3, 0.8], [0.4, 2.3, 0.8]];

/// The mixture's density.
pub fn target_density(x: f64) -> f64 {
    let parts = PARTS.iter();
    parts.map(|[w, mean, sd]| w * density(x, *mean, *sd)).sum()
}

/// The mixture, to draw from.
pub fn target() -> Result<MixtureSameFamily<Normal>> {
    let row = |k: usize| -> Result<Tensor> {
        let row = PARTS.map(|part| part[k]);
        Ok(Tensor::new(&row, &Device::Cpu)?.to_dtype(DType::F32)?)
    };
    let weights = Categorical::from_probs(&row(0)?)?;
    MixtureSameFamily::new(weights, Normal::new(&row(1)?, &row(2)?)?)
}

fn main() -> ExitCode {
    cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let hidden = Size("--hidden", arguments.hidden, 32);
    // Draws with the states of two hidden layers and their gradients; weights with gradient and moments.
    let batch = Size("--batch", arguments.batch.max(game::TEST_PART), 512);
    check_memory(64., &[batch, hidden])?;
    check_memory(16., &[hidden, hidden])?;
    let output = Output::create(cli::output_folder(&arguments.out, "f_divergence"))?;
    let figures = [report::FIGURE.to_string()];
    output.check_files(&figures)?;
    output.remove_earlier(&figures, "--out takes another folder")?;
    let kinds = Kind::chosen(&arguments.divergence);
    let bar = progress((kinds.len() * arguments.rounds()) as u64, "f-GAN");
    let (mut rows, mut failures) = (vec![], Failures::default());
    for kind in kinds {
        let fitted = || -> Result<Row> {
            let exact = exact::fit(&*kind.divergence()?, kind.start())?;
            let played = game::play(kind, &arguments, &bar)?;
            Row::new(kind, exact, played)
        };
        let metrics = output.path("metrics.json");
        let fitted = fitted().map_err(|error| part_error(&metrics, kind.title(), error));
        rows.extend(failures.keep(fitted));
    }
    bar.finish_and_clear();
    report::write(&rows, &arguments.settings(), &output, &mut failures);
    failures.end(&output)
}
