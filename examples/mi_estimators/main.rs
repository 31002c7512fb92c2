//! Estimators of mutual information where it is known: `cargo run --release --example mi_estimators -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod estimator;
mod family;
mod report;

use candle_prob::{Error, Result, Rng};
use clap::Parser;
use common::cli::{self, Size, check_memory, count, positive};
use common::part_error;
use common::report::{Failures, Output, progress};
use common::train::Settings;
use family::{Case, Family};
use rayon::prelude::*;
use report::Row;
use std::path::PathBuf;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Estimates the mutual information of pairs whose law is known: by nearest neighbours, and by bounds with trained critics
///
/// Prints bias and spread of each estimator over several trials; fails where a lower bound is above the information by more than
/// chance, or neighbours miss it where there is little of it. Writes metrics.json and a figure.
#[derive(Debug, Clone, Parser)]
#[command(name = "mi_estimators")]
pub struct Arguments {
    /// The families of pairs [default: all]
    #[arg(long, value_enum)]
    family: Vec<Family>,
    /// Pairs that neighbours see, and from which trained critics are read
    #[arg(long, default_value_t = 1000, value_parser = count)]
    samples: usize,
    /// Repetitions with other draws [default: 4, with --quick 2]
    #[arg(long, value_parser = count)]
    trials: Option<usize>,
    /// Steps of each critic, with fresh draws [default: 500, with --quick 150]
    #[arg(long, value_parser = count)]
    steps: Option<usize>,
    /// Pairs of a step
    #[arg(long, default_value_t = 64, value_parser = count)]
    batch: usize,
    /// Width of the critics' two hidden layers
    #[arg(long, default_value_t = 64, value_parser = count)]
    hidden: usize,
    /// Learning rate at the start
    #[arg(long, default_value_t = 2e-3, value_parser = positive)]
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
    fn trials(&self) -> usize {
        self.trials.unwrap_or(if self.quick { 2 } else { 4 })
    }

    fn steps(&self) -> usize {
        self.steps.unwrap_or(if self.quick { 150 } else { 500 })
    }

    /// What decides the results.
    fn settings(&self) -> Settings {
        Settings::from([
            ("samples", self.samples.to_string()),
            ("trials", self.trials().to_string()),
            ("steps", self.steps().to_string()),
            ("batch", self.batch.to_string()),
            ("hidden", self.hidden.to_string()),
            ("lr", format!("{:?}", self.lr)),
            ("seed", self.seed.to_string()),
        ])
    }

    /// Counts that do not fit each other.
    fn check(&self) -> Result<()> {
        let wrong = |arg, expected: String, found: usize| {
            let (op, found) = ("mi_estimators", found.to_string());
            Err(Error::Value {
                op,
                arg,
                expected,
                found,
            })
        };
        if self.trials() < 2 {
            return wrong("--trials", "at least 2, for a spread".into(), self.trials());
        }
        if self.batch < 2 {
            let expected = "at least 2, as a pair alone has nothing to be told from";
            return wrong("--batch", expected.into(), self.batch);
        }
        let least = self.batch.max(10);
        if self.samples < least {
            let expected = format!("at least {least}, a batch and 10");
            return wrong("--samples", expected, self.samples);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    // Scores of all pairs with their exponentials and gradients, in each of the threads.
    let pairs = |flag, n| [Size(flag, n, 64), Size(flag, n, 64)];
    check_memory(128., &pairs("--samples", arguments.samples))?;
    check_memory(128., &pairs("--batch", arguments.batch))?;
    check_memory(256., &pairs("--hidden", arguments.hidden))?;
    arguments.check()?;
    let output = Output::create(cli::output_folder(&arguments.out, "mi_estimators"))?;
    let figures = [report::FIGURE.to_string()];
    output.check_files(&figures)?;
    output.remove_earlier(&figures, "--out takes another folder")?;
    let cases = Case::of(&arguments.family)?;
    let trials = arguments.trials();
    let bar = progress((cases.len() * trials) as u64, "trials");
    let root = Rng::new(arguments.seed);
    // Each trial has its own source of draws, so that their order does not matter.
    let jobs: Vec<(usize, usize)> = (0..cases.len())
        .flat_map(|case| (0..trials).map(move |trial| (case, trial)))
        .collect();
    let found: Vec<Result<Vec<f64>>> = jobs
        .par_iter()
        .map(|(case, trial)| {
            let case = &cases[*case];
            let rng = root.fork(&format!("{} {trial}", case.name()));
            let found = estimator::all(case, &arguments, rng);
            bar.inc(1);
            found
        })
        .collect();
    bar.finish_and_clear();
    let (mut rows, mut failures) = (vec![], Failures::default());
    let metrics = output.path("metrics.json");
    let mut found = found.into_iter();
    for case in cases {
        let trials: Result<Vec<Vec<f64>>> = found.by_ref().take(trials).collect();
        let trials = trials.map_err(|error| part_error(&metrics, &case.name(), error));
        let trials = failures.keep(trials);
        rows.extend(trials.map(|trials| Row::new(case, &trials)));
    }
    report::write(&rows, &arguments, &output, &mut failures);
    failures.end(&output)
}
