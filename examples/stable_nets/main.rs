//! Stable networks trained level by level: `cargo run --release --example stable_nets -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod config;
mod data;
mod model;
mod phase;
mod picture;
mod report;
mod train;

use candle_prob::Result;
use common::part_error;
use common::report::Failures;
use common::train::{Settings, Training, begin};
use config::{Arguments, Net, Plan, Problem};
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
    arguments.check()?;
    let output = arguments.common.output("stable_nets")?;
    if arguments.problem == Problem::PhasePlanes {
        let figures = phase::FIGURES.map(String::from);
        output.check_files(&figures)?;
        output.remove_earlier(&figures, "--out takes another folder")?;
        let metrics = phase::run(&output)?;
        output.metrics(
            &metrics,
            &Settings::from([("problem", "phase-planes".into())]),
        )?;
        let rows: Vec<Vec<String>> = metrics
            .iter()
            .map(|(name, value)| vec![name.clone(), format!("{value:.3}")])
            .collect();
        let folder = output.folder().display();
        let table = common::report::table(&["", "value"], &rows);
        return common::report::print(&format!("{table}\nwritten to {folder}"));
    }
    let data = Data::load(&arguments)?;
    let plans: Vec<Plan> = arguments
        .nets()
        .into_iter()
        .map(|net| arguments.plan(net))
        .collect();
    arguments.check_memory(&data)?;
    let names: Vec<Vec<String>> = plans.iter().map(train::names).collect();
    let trainings: Vec<Vec<Training>> = plans
        .iter()
        .zip(&names)
        .map(|(plan, names)| arguments.trainings(plan, names, &data))
        .collect();
    let nets: Vec<Net> = plans.iter().map(|plan| plan.net).collect();
    begin(
        &trainings.concat(),
        &report::figures(&nets),
        arguments.common.resume,
        &output,
    )?;
    let (mut runs, mut failures) = (vec![], Failures::default());
    for (plan, trainings) in plans.iter().zip(&trainings) {
        let levels = train::train(plan, trainings, &arguments, &data, &output)
            .map_err(|error| part_error(&output.path("metrics.json"), plan.net.title(), error));
        runs.extend(failures.keep(levels));
    }
    let report = Report {
        arguments: &arguments,
        data: &data,
        output: &output,
        runs: &runs,
    };
    report.write(&mut failures);
    failures.end(&output)
}
