//! RealNVP on point sets in the plane: `cargo run --release --example realnvp -- --help`.

#[path = "../common/mod.rs"]
mod common;

use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::{
    MafConfig, NeuralSplineConfig, RealNvpConfig, maf, neural_spline, real_nvp,
};
use candle_prob::{Result, Rng, init};
use clap::{Parser, ValueEnum};
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
    /// What transforms the base
    #[arg(long, value_enum, default_value_t = Flow::RealNvp)]
    flow: Flow,
    /// Layers [default: 12 of RealNVP, 5 of the others]
    #[arg(long, value_parser = count)]
    layers: Option<usize>,
    /// Width of the two hidden layers of each conditioner
    #[arg(long, default_value_t = 64, value_parser = count)]
    hidden: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flow {
    /// Affine couplings
    RealNvp,
    /// Spline couplings
    NeuralSpline,
    /// Affine and autoregressive: fast densities, slow draws
    Maf,
}

impl Flow {
    fn build(self, layers: usize, hidden: usize, vb: VarBuilder) -> Result<Box<dyn Bijector>> {
        let hidden = vec![hidden; 2];
        Ok(match self {
            Flow::RealNvp => {
                let config = RealNvpConfig {
                    layers,
                    hidden,
                    ..RealNvpConfig::default()
                };
                Box::new(real_nvp(&config, vb)?)
            }
            Flow::NeuralSpline => {
                let config = NeuralSplineConfig {
                    layers,
                    hidden,
                    ..NeuralSplineConfig::default()
                };
                Box::new(neural_spline(&config, vb)?)
            }
            Flow::Maf => {
                let config = MafConfig {
                    layers,
                    hidden,
                    ..MafConfig::default()
                };
                Box::new(maf(&config, vb)?)
            }
        })
    }
}

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let (flow, hidden) = (arguments.flow, arguments.hidden);
    let own = if flow == Flow::RealNvp { 12 } else { 5 };
    let layers = arguments.layers.unwrap_or(own);
    let output = arguments.common.planar_output("realnvp")?;
    let epochs = arguments.common.epochs_or(40, 2);
    let mut table = Table::default();
    for set in Set::chosen(&arguments.set) {
        let rng = Rng::new(arguments.common.seed).fork(set.name());
        let vars = VarMap::new();
        let vb = init::seeded(&vars, arguments.common.seed, DType::F32, &Device::Cpu);
        let bijector = flow.build(layers, hidden, vb)?;
        let settings = format!("{flow:?} layers {layers} hidden {hidden}");
        let run = fit(
            set,
            bijector,
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
