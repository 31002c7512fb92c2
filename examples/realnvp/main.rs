//! RealNVP on point sets in the plane: `cargo run --release --example realnvp -- --help`.

#[path = "../common/mod.rs"]
mod common;

use candle_core::{DType, Device};
use candle_nn::VarMap;
use candle_prob::flow::{RealNvpConfig, real_nvp};
use candle_prob::{Result, Rng, init};
use clap::Parser;
use common::cli::{Common, count};
use common::fit::{Fit, Table};
use common::planar::{Set, figure, fit};
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// RealNVP on point sets in the plane: densities, samples, and where the flow takes the data
#[derive(Debug, Clone, Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    fit: Fit,
    /// The sets [default: all]
    #[arg(long, value_enum)]
    set: Vec<Set>,
    /// Couplings
    #[arg(long, default_value_t = 12, value_parser = count)]
    layers: usize,
    /// Width of the two hidden layers of each conditioner
    #[arg(long, default_value_t = 64, value_parser = count)]
    hidden: usize,
}

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let (layers, hidden) = (arguments.layers, arguments.hidden);
    let output = arguments.common.planar_output("realnvp")?;
    let epochs = arguments.common.epochs_or(40, 2);
    let mut table = Table::default();
    for set in Set::chosen(&arguments.set) {
        let rng = Rng::new(arguments.common.seed).fork(set.name());
        let vars = VarMap::new();
        let vb = init::seeded(&vars, arguments.common.seed, DType::F32, &Device::Cpu);
        let config = RealNvpConfig {
            layers,
            hidden: vec![hidden; 2],
            ..RealNvpConfig::default()
        };
        let flow = real_nvp(&config, vb)?;
        let settings = format!("layers {layers} hidden {hidden}");
        let run = fit(
            set,
            flow,
            &vars,
            &arguments.fit,
            epochs,
            &settings,
            &arguments.common,
            &output,
        )?;
        figure(set, &run, &[], &rng.fork("figure"), &output)?;
        table.add(set.name(), set.title(), &run);
    }
    table.write(&output)
}
