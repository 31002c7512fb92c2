//! A continuous flow on point sets in the plane: `cargo run --release --example ffjord -- --help`.

#[path = "../common/mod.rs"]
mod common;

use candle_core::{DType, Device};
use candle_nn::VarMap;
use candle_prob::bijector::Bijector;
use candle_prob::dynamics::Rk4;
use candle_prob::flow::{FfjordConfig, ffjord};
use candle_prob::{Result, Rng, init};
use clap::Parser;
use common::cli::{Common, Size, check_memory, count};
use common::fit::{Fit, Plan, Table, in_parts};
use common::planar::{Set, figure, fit};
use common::report::Failures;
use common::train::{Settings, begin};
use std::process::ExitCode;
use std::sync::Arc;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Points of the figures.
const POINTS: usize = 6000;

/// A continuous flow on point sets in the plane: densities, and samples on their way
#[derive(Debug, Clone, Parser)]
#[command(name = "ffjord")]
#[command(mut_arg("epochs", |arg| arg.help("Epochs of 100 steps [default: 12, with --quick 1]")))]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    fit: Fit,
    /// The sets [default: all]
    #[arg(long, value_enum)]
    set: Vec<Set>,
    /// Steps of the Runge-Kutta method
    #[arg(long, default_value_t = 12, value_parser = count)]
    steps: usize,
    /// Width of the two hidden layers of the velocity's network
    #[arg(long, default_value_t = 64, value_parser = count)]
    hidden: usize,
}

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let (steps, hidden) = (arguments.steps, arguments.hidden);
    let (batch, wide) = (arguments.fit.size(), Size("--hidden", hidden, 64));
    // The states of two hidden layers at the four places of each step, with tangents; weights with gradient and moments.
    check_memory(128., &[batch, wide, Size("--steps", steps, 12)])?;
    check_memory(16., &[wide, wide])?;
    let common = &arguments.common;
    let output = common.output("ffjord")?;
    let plan = Plan {
        how: &arguments.fit,
        epochs: common.epochs_or(12, 1),
        model: Settings::from([
            ("model", "ffjord".into()),
            ("steps", steps.to_string()),
            ("hidden", hidden.to_string()),
        ]),
        common,
        output: &output,
    };
    let sets = Set::chosen(&arguments.set);
    let figures: Vec<String> = sets.iter().map(|set| set.figure()).collect();
    begin(
        &Set::trainings(&sets, &plan),
        &figures,
        common.resume,
        &output,
    )?;
    let (mut table, mut failures) = (Table::default(), Failures::default());
    for set in sets {
        let rng = Rng::new(common.seed).fork(set.name());
        let vars = VarMap::new();
        let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
        let config = FfjordConfig {
            hidden: vec![hidden; 2],
            solver: Arc::new(Rk4 { steps }),
            ..FfjordConfig::default()
        };
        let flow = ffjord(&config, vb)?;
        let Some(run) = failures.keep(fit(set, flow, &vars, &plan)) else {
            continue;
        };
        table.add(set.name(), set.title(), &run);
        let draw = || {
            let start = rng
                .fork("start")
                .normal((POINTS, 2), DType::F32, &Device::Cpu)?;
            let mut stages = vec![];
            for time in [0.25, 0.5, 0.75] {
                let flow = run.model.bijector().until(time)?;
                let points = in_parts(&start, |z| flow.transform(z))?;
                stages.push((format!("samples at time {time}"), points));
            }
            figure(set, &run, &stages, &rng.fork("figure"), &output)
        };
        failures.keep(draw());
    }
    table.write(&output, &plan.settings(), &mut failures);
    failures.end(&output)
}
