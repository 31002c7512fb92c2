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
use common::planar::Set;
use common::report::Failures;
use common::train::{Settings, begin};
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
#[command(mut_arg("epochs", |arg| arg.help(
    "Epochs of 100 steps on points, passes over images [default: points 40, images 30, with --data 4, with --quick 2]"
)))]
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
        let (data, sets) = (self.images.data.is_some(), !self.points.set.is_empty());
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
    let Arguments {
        common,
        points,
        images,
        ..
    } = &arguments;
    if let (Some(folder), false) = (&images.data, arguments.does(Part::Images)) {
        let expected = "no --data: the point sets are drawn, not read";
        return Err(file_error(folder, expected, "a folder"));
    }
    let output = common.output("realnvp")?;
    let (mut trainings, mut figures, mut settings) = (vec![], vec![], Settings::new());
    let plan = match arguments.does(Part::Points) {
        true => Some(points.plan(common, &output)?),
        false => None,
    };
    if let Some(plan) = &plan {
        let sets = Set::chosen(&points.set);
        trainings.extend(Set::trainings(&sets, plan));
        figures.extend(sets.iter().map(|set| set.figure()));
        settings.extend(plan.settings());
    }
    let data = match arguments.does(Part::Images) {
        true => Some(images.load(common)?),
        false => None,
    };
    let training = data.as_ref().map(|data| images.training(common, data));
    if let Some(training) = &training {
        settings.extend(training.settings.clone());
        let name = data
            .as_ref()
            .map(|data| ("image_data_name", data.images.name.clone()));
        settings.extend(name);
        trainings.push(training.clone());
        figures.extend(images::FIGURES.map(String::from));
    }
    begin(&trainings, &figures, common.resume, &output)?;
    let (mut table, mut failures) = (Table::default(), Failures::default());
    if let Some(plan) = &plan {
        points.run(plan, &mut table, &mut failures)?;
    }
    if let (Some(data), Some(training)) = (&data, &training) {
        images::run(
            images,
            common,
            data,
            training,
            &output,
            &mut table,
            &mut failures,
        );
    }
    table.write(&output, &settings, &mut failures);
    failures.end(&output)
}
