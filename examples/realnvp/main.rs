//! RealNVP on point sets in the plane and on images: `cargo run --release --example realnvp -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod plane;
mod train;

use candle_prob::Result;
use clap::{Parser, ValueEnum};
use common::cli::Common;
use common::file_error;
use common::fit::Table;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// RealNVP on point sets in the plane and on images
///
/// Of the point sets: densities, samples, and where the flow takes the data. Of the images, the digits shipped here or those
/// of --data: bits per dim of held-out images every epoch, samples, and interpolations between latents.
#[derive(Debug, Clone, Parser)]
#[command(name = "realnvp")]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// One part alone [default: both; images alone with --data, points alone with --set]
    #[arg(long, value_enum)]
    only: Option<Part>,
    #[command(flatten)]
    points: plane::Points,
    #[command(flatten)]
    images: images::Arguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Points,
    Images,
}

impl Arguments {
    fn does(&self, part: Part) -> bool {
        let (data, sets) = (self.common.data.is_some(), !self.points.set.is_empty());
        match (self.only, part) {
            (Some(only), _) => only == part,
            (None, Part::Points) => sets || !data,
            (None, Part::Images) => data || !sets,
        }
    }
}

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let common = &arguments.common;
    if let (Some(folder), false) = (&common.data, arguments.does(Part::Images)) {
        let expected = "no --data: the point sets are drawn, not read";
        return Err(file_error(folder, expected, "a folder"));
    }
    let output = common.output("realnvp")?;
    let mut table = Table::default();
    if arguments.does(Part::Points) {
        plane::run(&arguments.points, common, &output, &mut table)?;
    }
    if arguments.does(Part::Images) {
        images::run(&arguments.images, common, &output, &mut table)?;
    }
    table.write(&output)
}
