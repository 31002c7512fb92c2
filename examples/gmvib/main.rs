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
use config::Arguments;
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    common::cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let images = Images::load(arguments.common.data.as_deref())?;
    let rng = Rng::new(arguments.common.seed);
    let data = multi::split(images, arguments.composition(), &rng.fork("data"))?;
    let output = arguments.common.output("gmvib")?;
    train::check_resume(&arguments, &output)?;
    let entropy = data.train.label_entropy();
    common::report::print(&format!(
        "{} training and {} test images of {} x {}, H(Y) = {entropy:.3} nats",
        data.train.len(),
        data.test.len(),
        data.train.height,
        data.train.width,
    ));
    let mut runs = vec![];
    for kind in arguments.kinds() {
        runs.push(train::train(
            kind, &arguments, &data, entropy, &rng, &output,
        )?);
    }
    let table = report::write(&arguments, &output, &runs, &data.test, entropy)?;
    common::report::print(&format!(
        "\n{table}\nwritten to {}",
        output.folder().display()
    ));
    Ok(())
}
