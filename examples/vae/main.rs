//! Variational autoencoders on images: `cargo run --release --example vae -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod config;
mod evaluate;
mod model;
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
    let output = common.output("vae")?;
    let data = Split::load(
        arguments.data.as_deref(),
        common.seed,
        arguments.most_images,
    )?;
    arguments.check_memory(&data)?;
    let trainings: Vec<Training> = arguments
        .kinds()
        .into_iter()
        .map(|kind| arguments.training(kind, &data))
        .collect();
    let figures = report::figures(&arguments.kinds());
    begin(&trainings, &figures, common.resume, &output)?;
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
    if !runs.is_empty() {
        let report = Report {
            arguments: &arguments,
            data: &data,
            output: &output,
            runs: &runs,
        };
        failures.keep(output.metrics(&report.metrics(), &arguments.all_settings(&data)));
        report.draw(&mut failures);
        failures.keep(common::report::print(&format!(
            "\n{}\nwritten to {}",
            report.table(),
            output.folder().display()
        )));
    }
    failures.end(&output)
}
