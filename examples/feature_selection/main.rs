//! Feature selection on labelled samples, judged by classifiers: `cargo run --release --example feature_selection -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod evaluate;
mod methods;
mod report;
mod studies;

use candle_prob::{Result, Rng};
use clap::Parser;
use common::cli;
use common::labelled::Labelled;
use common::report::Output;
use evaluate::{Classifier, Trial};
use methods::Method;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Selects features by the l2,0 norm (Sun and Yu, 2020) and by its rivals, and judges them by classifiers
///
/// Repeats: two thirds of each class select features and train a classifier, the rest test it. Prints the ranking of all
/// samples' features and the best accuracies; writes metrics.json, selected.csv and figures.
#[derive(Debug, Clone, Parser)]
#[command(name = "feature_selection")]
pub struct Arguments {
    /// A .safetensors file of x [N, d] and y [N], or a .csv file with a line of names; without it the leukemia matrix
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The column of a .csv file that is the label [default: the last]
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    #[arg(long, value_enum, default_value_t = Method::L20)]
    method: Method,
    #[arg(long, value_enum, default_value_t = Judge::Both)]
    classifier: Judge,
    /// Nearest neighbours of the classifier knn
    #[arg(long, default_value_t = 5, value_parser = cli::count)]
    neighbours: usize,
    /// Splits into training and test samples [default: 10]
    #[arg(long, value_parser = cli::count)]
    trials: Option<usize>,
    /// Seed of the splits
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for figures, metrics.json and selected.csv [default: out/feature_selection]
    #[arg(long)]
    out: Option<PathBuf>,
    /// A run of seconds: three trials, one lambda
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Judge {
    Knn,
    Softmax,
    Both,
}

impl Arguments {
    fn classifiers(&self) -> Vec<Classifier> {
        let knn = Classifier::Knn(self.neighbours);
        match self.classifier {
            Judge::Knn => vec![knn],
            Judge::Softmax => vec![Classifier::Softmax],
            Judge::Both => vec![knn, Classifier::Softmax],
        }
    }
}

fn main() -> ExitCode {
    cli::main(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let data = Labelled::load(arguments.data.as_deref(), arguments.label.as_deref())?;
    let trials = arguments
        .trials
        .unwrap_or(if arguments.quick { 3 } else { 10 });
    let rng = Rng::new(arguments.seed);
    let trials: Vec<Trial> = (0..trials)
        .map(|k| Trial::new(&data, &rng.fork(&format!("trial {k}"))))
        .collect::<Result<_>>()?;
    let folder = arguments.out.clone();
    let output = Output::create(folder.unwrap_or_else(|| "out/feature_selection".into()))?;
    let (samples, features) = data.x.dims2()?;
    common::report::print(&format!(
        "{}: {samples} samples of {features} features in {} classes, {} of them for training",
        data.name,
        data.classes,
        trials[0].training(),
    ));
    let classifiers = arguments.classifiers();
    let all = evaluate::without_selection(&trials, &classifiers)?;
    let mut results = vec![];
    for method in arguments.method.each() {
        let result = evaluate::judge(method, &trials, &classifiers, arguments.quick)?;
        results.push(result);
    }
    // Of the algorithms for the l2,0 norm.
    let studied = results.iter().any(|result| result.method == Method::L20);
    let studies = studied.then(|| studies::run(&data, &trials, classifiers[0], arguments.quick));
    let studies = studies.transpose()?;
    report::write(&output, &data, &classifiers, &all, &results, &studies)
}
