//! Autoencoders on images: `cargo run --release --example autoencoder -- --help`.

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod components;
mod config;
mod report;
mod train;

use candle_prob::Result;
use common::images::Split;
use common::report::Failures;
use common::train::{Training, begin};
use config::Arguments;
use report::Report;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let common = &arguments.common;
    let output = common.output("autoencoder")?;
    let data = Split::load(
        arguments.data.as_deref(),
        common.seed,
        arguments.most_images,
    )?;
    arguments.check_memory(&data)?;
    let outliers = arguments.outliers(&data)?;
    let trainings: Vec<Training> = arguments
        .kinds()
        .into_iter()
        .map(|kind| arguments.training(kind, &data))
        .collect();
    begin(
        &trainings,
        &report::FIGURES.map(String::from),
        common.resume,
        &output,
    )?;
    let mut failures = Failures::default();
    failures.keep(common::report::print(&format!(
        "{} training and {} test images of {} x {}",
        data.train.len(),
        data.test.len(),
        data.images.height,
        data.images.width
    )));
    let mut runs = vec![];
    for (kind, training) in arguments.kinds().into_iter().zip(&trainings) {
        let run = train::train(kind, &arguments, &data, training, &output);
        runs.extend(failures.keep(run));
    }
    let mut report = Report::new(&arguments, &data, outliers.as_ref(), &output, &runs);
    report.parts(&mut failures);
    report.end(&mut failures);
    failures.end(&output)
}
