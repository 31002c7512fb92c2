//! GMVIB, VIB and a plain network on images of several digits: `cargo run --release --example gmvib -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod config;
mod evaluate;
mod model;
mod report;
mod train;

use candle_prob::{Result, Rng};
use common::images::Images;
use common::multi;
use common::report::Failures;
use common::train::{Training, begin};
use config::{Arguments, Kind};
use report::Report;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let output = arguments.common.output("gmvib")?;
    let images = Images::load(arguments.data.as_deref())?;
    arguments.check_memory(&images)?;
    let (name, settings) = (images.name.clone(), arguments.settings(&images));
    let rng = Rng::new(arguments.common.seed);
    let data = multi::split(images, arguments.composition(), &rng.fork("data"))?;
    let kinds = arguments.kinds();
    // Of the metrics; a checkpoint knows the one model that it is of.
    let mut all = settings.clone();
    all.insert("model", common::cli::value_name(arguments.model));
    all.insert("data_name", name.clone());
    let training = |kind: &Kind| train::training(*kind, &arguments, &settings, &data);
    let trainings: Vec<Training> = kinds.iter().map(training).collect();
    let figures = report::FIGURES.map(String::from);
    begin(&trainings, &figures, arguments.common.resume, &output)?;
    let (mut runs, mut failures) = (vec![], Failures::default());
    let entropy = data.train.label_entropy();
    failures.keep(common::report::print(&format!(
        "{} training and {} test images of {} x {}, H(Y) = {entropy:.3} nats",
        data.train.len(),
        data.test.len(),
        data.train.height,
        data.train.width,
    )));
    let setting = train::Setting {
        arguments: &arguments,
        data: &data,
        entropy,
        rng: &rng,
        output: &output,
    };
    for (kind, training) in kinds.into_iter().zip(&trainings) {
        let model = train::model(kind, &arguments, &data)?;
        runs.extend(failures.keep(train::train(kind, model, training, &setting)));
    }
    if !runs.is_empty() {
        let report = Report {
            title: format!("{name}, {} to an image", arguments.digits),
            seed: arguments.common.seed,
            output: &output,
            runs: &runs,
            test: &data.test,
            entropy,
        };
        failures.keep(output.metrics(&report.metrics(), &all));
        report.figures(&mut failures);
        failures.keep(common::report::print(&format!(
            "\n{}\nwritten to {}",
            report.table(),
            output.folder().display()
        )));
    }
    failures.end(&output)
}
