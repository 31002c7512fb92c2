//! Variational autoencoders on images: `cargo run --release --example vae -- --help`.

mod any;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod data;
mod evaluate;
mod gradients;
mod model;
mod report;
mod train;

use candle_prob::Result;
use common::images::Split;
use common::report::Failures;
use common::train::{Training, begin};
use config::Arguments;
use data::Data;
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
    arguments.check()?;
    let folder = arguments.data.as_deref();
    let split = Split::load(folder, common.seed, arguments.most_images)?;
    arguments.check_memory(&split)?;
    let data = Data {
        split,
        likelihood: arguments.likelihood,
        pixels: arguments.pixels(),
    };
    data.check()?;
    let trainings: Vec<Training> = arguments
        .kinds()
        .into_iter()
        .map(|kind| arguments.training(kind, &data.split))
        .collect();
    let figures = report::figures(&arguments.kinds());
    begin(&trainings, &figures, common.resume, &output)?;
    let mut failures = Failures::default();
    failures.keep(common::report::print(&format!(
        "{} training and {} test images of {} x {}",
        data.split.train.len(),
        data.split.test.len(),
        data.split.images.height,
        data.split.images.width
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
        failures.keep(output.metrics(&report.metrics(), &arguments.all_settings(&data.split)));
        report.draw(&mut failures);
        if let Some(table) = report.gradients() {
            failures.keep(common::report::print(&format!("\n{table}")));
        }
        failures.keep(common::report::print(&format!(
            "\n{}\nwritten to {}",
            report.table(),
            output.folder().display()
        )));
    }
    failures.end(&output)
}
