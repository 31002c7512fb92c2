//! The information bottleneck's quantities in training: `cargo run --release --example information_bottleneck -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod config;
mod data;
mod estimate;
mod gap;
mod model;
mod noise;
mod report;
mod surrogates;
mod train;

use candle_prob::Result;
use common::part_error;
use common::report::{Failures, print};
use common::train::{Training, begin};
use config::{Arguments, Experiment};
use data::Data;
use noise::Noise;
use report::Report;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let output = arguments.common.output("information_bottleneck")?;
    arguments.check_counts()?;
    let data = Data::load(
        arguments.data.as_deref(),
        arguments.images(),
        arguments.common.seed,
    )?;
    arguments.check(&data)?;
    let asked = |experiment| arguments.experiments().contains(&experiment);
    let trials = match asked(Experiment::Gap) {
        true => gap::trials(&arguments),
        false => vec![],
    };
    let noises = match asked(Experiment::Noise) {
        true => Noise::ALL.to_vec(),
        false => vec![],
    };
    let points = match asked(Experiment::Surrogates) {
        true => surrogates::points(&arguments),
        false => vec![],
    };
    let of_trials: Vec<Training> = trials
        .iter()
        .map(|trial| gap::training(trial, &arguments, &data))
        .collect();
    let of_noises: Vec<Training> = noises
        .iter()
        .map(|noise| noise::training(*noise, &arguments, &data))
        .collect();
    let of_points: Vec<Training> = points
        .iter()
        .map(|point| surrogates::training(point, &arguments, &data))
        .collect();
    let all = [of_trials.clone(), of_noises.clone(), of_points.clone()].concat();
    let files = report::files(&arguments);
    begin(&all, &files, arguments.common.resume, &output)?;
    let mut failures = Failures::default();
    failures.keep(print(&format!(
        "{}: {} training and {} test images, H[Y] = {:.3} nats",
        data.name,
        data.train.len(),
        data.test.len(),
        data.train.label_entropy(),
    )));
    let path = output.path("metrics.json");
    let failed = |training: &Training, error| part_error(&path, training.name, error);
    let mut report = Report::new(&arguments, &data, &output);
    for (trial, training) in trials.iter().zip(&of_trials) {
        let history = gap::train(trial, training, &arguments, &data, &output);
        let history = failures.keep(history.map_err(|e| failed(training, e)));
        report
            .trials
            .extend(history.map(|history| (trial, history)));
    }
    for (noise, training) in noises.iter().zip(&of_noises) {
        let history = noise::train(*noise, training, &arguments, &data, &output);
        let history = failures.keep(history.map_err(|e| failed(training, e)));
        report
            .noises
            .extend(history.map(|history| (*noise, history)));
    }
    for (point, training) in points.iter().zip(&of_points) {
        let history = surrogates::train(point, training, &arguments, &data, &output);
        let history = failures.keep(history.map_err(|e| failed(training, e)));
        report
            .points
            .extend(history.map(|history| (point, history)));
    }
    report.write(&mut failures);
    failures.end(&output)
}
