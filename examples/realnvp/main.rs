//! RealNVP on point sets in the plane: `cargo run --release --example realnvp -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod figure;
mod train;

use candle_prob::{Result, Rng};
use clap::Parser;
use common::cli::{Common, count, positive};
use common::planar::Set;
use std::collections::BTreeMap;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// RealNVP on point sets in the plane: densities, samples, and what the flow makes of the plane
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// The sets [default: all]
    #[arg(long, value_enum)]
    pub set: Vec<Set>,
    /// Couplings
    #[arg(long, default_value_t = 12, value_parser = count)]
    pub layers: usize,
    /// Width of the two hidden layers of each conditioner
    #[arg(long, default_value_t = 64, value_parser = count)]
    pub hidden: usize,
    /// Points of a step, all of them new
    #[arg(long, default_value_t = 512, value_parser = count)]
    pub batch: usize,
    /// Learning rate at the start
    #[arg(long, default_value_t = 2e-3, value_parser = positive)]
    pub lr: f64,
}

impl Arguments {
    /// Epochs of 100 steps.
    pub fn epochs(&self) -> usize {
        let default = if self.common.quick { 2 } else { 40 };
        self.common.epochs.map_or(default, |n| n as usize)
    }

    /// What a checkpoint must agree with.
    pub fn fingerprint(&self, set: Set) -> String {
        let (layers, hidden, batch, lr) = (self.layers, self.hidden, self.batch, self.lr);
        let (epochs, seed) = (self.epochs(), self.common.seed);
        let name = set.name();
        format!(
            "{name} layers {layers} hidden {hidden} batch {batch} lr {lr} epochs {epochs} seed {seed}"
        )
    }
}

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    if let Some(folder) = &arguments.common.data {
        let expected = "no --data: the point sets are drawn, not read";
        return Err(common::file_error(folder, expected, "a folder"));
    }
    let output = arguments.common.output("realnvp")?;
    let sets = match arguments.set.is_empty() {
        true => Set::ALL.to_vec(),
        false => arguments.set.clone(),
    };
    let rng = Rng::new(arguments.common.seed);
    let (mut metrics, mut rows) = (BTreeMap::new(), vec![]);
    for set in sets {
        let rng = rng.fork(set.name());
        let run = train::train(set, &arguments, &rng, &output)?;
        figure::draw(set, &run, &rng.fork("figure"), &output)?;
        metrics.insert(format!("{}_nll_nats", set.name()), run.nll);
        metrics.insert(format!("{}_nll_standard_error", set.name()), run.error);
        metrics.insert(format!("{}_seconds", set.name()), run.seconds);
        let cells = [
            set.title().to_string(),
            format!("{:.3}", run.nll),
            format!("{:.3}", run.error),
            format!("{:.1}", run.seconds),
        ];
        rows.push(cells.to_vec());
    }
    output.metrics(&metrics)?;
    let header = ["set", "test NLL, nats", "s.e.", "training, s"];
    let table = common::report::table(&header, &rows);
    let folder = output.folder().display();
    common::report::print(&format!("{table}\nwritten to {folder}"));
    Ok(())
}
