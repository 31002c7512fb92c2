//! Variational autoencoders on images: `cargo run --release --example vae -- --help`.

mod any;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod data;
mod evaluate;
mod gradients;
mod grid;
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
use train::Setting;

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
    let data = Data {
        split,
        likelihood: arguments.likelihood,
        pixels: arguments.pixels(),
    };
    arguments.check_memory(&data)?;
    data.check()?;
    let kinds = arguments.kinds();
    let trainings = kinds
        .iter()
        .map(|kind| arguments.trainings(*kind, &data.split));
    let trainings: Vec<Vec<Training>> = trainings.collect();
    let figures = report::figures(&kinds);
    begin(&trainings.concat(), &figures, common.resume, &output)?;
    let mut failures = Failures::default();
    failures.keep(common::report::print(&format!(
        "{} training and {} test images of {} x {}",
        data.split.train.len(),
        data.split.test.len(),
        data.split.images.height,
        data.split.images.width
    )));
    let setting = Setting {
        arguments: &arguments,
        data: &data,
        output: &output,
    };
    let mut runs = vec![];
    for (kind, trainings) in kinds.into_iter().zip(&trainings) {
        runs.extend(failures.keep(train::train(kind, trainings, &setting)));
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
