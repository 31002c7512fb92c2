//! Generators trained against critics: `cargo run --release --example gan -- --help`.

mod classifier;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod data;
mod evaluate;
mod game;
mod loss;
mod plane;
mod report;
mod sheet;
mod train;

use candle_prob::Result;
use classifier::Classifier;
use common::report::Failures;
use common::train::{Training, begin};
use config::Arguments;
use data::Data;
use evaluate::Judge;
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
    let output = common.output("gan")?;
    let data = Data::load(&arguments)?;
    arguments.check(&data)?;
    arguments.check_memory(&data)?;
    let players = arguments.players();
    let train_of = |player| arguments.training(player, &data);
    let trainings: Vec<Training> = players.iter().map(train_of).collect();
    let figures = report::figures(&players, &trainings, &data);
    let (seed, resume) = (common.seed, common.resume);
    let own = match &data {
        Data::Images(split) => Some((split, classifier::training(split, seed, common.quick))),
        Data::Points(_) => None,
    };
    let all = own.iter().map(|(_, training)| training.clone());
    let all: Vec<Training> = all.chain(trainings.iter().cloned()).collect();
    begin(&all, &figures, resume, &output)?;
    let classifier = match &own {
        Some((split, training)) => {
            Some(Classifier::train(split, training, (seed, resume), &output)?)
        }
        None => None,
    };
    let mut failures = Failures::default();
    let judge = Judge::new(&data, classifier, arguments.samples(&data), seed);
    let setting = Setting {
        arguments: &arguments,
        data: &data,
        judge: &judge,
        output: &output,
    };
    let mut runs = vec![];
    for (player, training) in players.iter().zip(&trainings) {
        runs.extend(failures.keep(train::train(player, training, &setting)));
    }
    if !runs.is_empty() {
        let report = Report {
            arguments: &arguments,
            data: &data,
            judge: &judge,
            output: &output,
            of_data: judge.of_data()?,
            runs: &runs,
        };
        let settings = arguments.all_settings(&players, &data);
        failures.keep(output.metrics(&report.metrics(), &settings));
        report.draw(&mut failures);
        failures.keep(common::report::print(&format!(
            "\n{}: {} samples\n\n{}\n{}\nwritten to {}",
            data.title(),
            arguments.samples(&data),
            report.table(),
            report.notes(),
            output.folder().display()
        )));
    }
    failures.end(&output)
}
