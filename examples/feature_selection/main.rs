//! Feature selection on labelled samples, judged by classifiers: `cargo run --release --example feature_selection -- --help`.

#[path = "../common/mod.rs"]
mod common;
mod evaluate;
mod methods;
mod report;
mod studies;

use candle_prob::{Result, Rng};
use clap::Parser;
use common::cli::{self, Size, check_memory, value_name};
use common::labelled::{Header, Labelled};
use common::part_error;
use common::report::{Failures, Output, print, warn};
use common::train::Settings;
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
    /// Whether the first line of a .csv file names the columns [default: yes; a number among the names is refused]
    #[arg(long, value_enum)]
    header: Option<Header>,
    /// What selects
    #[arg(long, value_enum, default_value_t = Method::L20)]
    method: Method,
    /// What judges the selection
    #[arg(long, value_enum, default_value_t = Judge::Both)]
    classifier: Judge,
    /// Nearest neighbours of the classifier knn
    #[arg(long, default_value_t = 5, value_parser = cli::count)]
    neighbours: usize,
    /// Splits into training and test samples [default: 10, with --quick 3]
    #[arg(long, value_parser = cli::count)]
    trials: Option<usize>,
    /// Seed of the splits
    #[arg(long, default_value_t = 0, value_parser = cli::seed)]
    seed: u64,
    /// Folder for figures, metrics.json and selected.csv
    #[arg(long, value_name = "FOLDER")]
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
    let output = Output::create(cli::output_folder(&arguments.out, "feature_selection"))?;
    let data = Labelled::load(
        arguments.data.as_deref(),
        arguments.label.as_deref(),
        arguments.header,
    )?;
    data.warnings.iter().for_each(|warning| warn(warning));
    let (samples, features) = data.x.dims2()?;
    let quick = if arguments.quick { 3 } else { 10 };
    let trials = arguments.trials.unwrap_or(quick);
    // A trial has its own copy of the samples.
    check_memory(
        (4 * samples * features) as f64,
        &[Size("--trials", trials, 10)],
    )?;
    let settings = settings(&arguments, &data, trials)?;
    let rng = Rng::new(arguments.seed);
    let trials: Vec<Trial> = (0..trials)
        .map(|k| Trial::new(&data, &rng.fork(&format!("trial {k}"))))
        .collect::<Result<_>>()?;
    output.check_files(&report::FILES.map(String::from)[..1])?;
    output.remove_earlier(
        &report::FILES.map(String::from),
        "--out takes another folder",
    )?;
    let (mut results, mut failures) = (vec![], Failures::default());
    let heading = print(&format!(
        "{}: {samples} samples of {features} features in {} classes, {} of them for training",
        data.name,
        data.classes,
        trials[0].training(),
    ));
    failures.keep(heading);
    let classifiers = arguments.classifiers();
    let all = evaluate::without_selection(&trials, &classifiers)?;
    for method in arguments.method.each() {
        let result = evaluate::judge(method, &trials, &classifiers, arguments.quick);
        let metrics = output.path("metrics.json");
        let result = result.map_err(|error| part_error(&metrics, method.title(), error));
        results.extend(failures.keep(result));
    }
    // Of the algorithms for the l2,0 norm.
    let studied = results.iter().any(|result| result.method == Method::L20);
    let studies = studied.then(|| {
        let (classifier, quick) = (classifiers[0], arguments.quick);
        studies::run(&data, &trials, classifier, quick, &output, &mut failures)
    });
    let studies = studies.and_then(|studies| failures.keep(studies));
    if !results.is_empty() {
        let report = report::Report {
            output: &output,
            data: &data,
            classifiers: &classifiers,
            all: &all,
            outcomes: &results,
            studies: &studies,
        };
        report.write(&settings, &mut failures);
    }
    failures.end(&output)
}

/// What decides the results.
fn settings(arguments: &Arguments, data: &Labelled, trials: usize) -> Result<Settings> {
    Ok(Settings::from([
        ("data", data.id()?),
        ("method", value_name(arguments.method)),
        ("classifier", value_name(arguments.classifier)),
        ("neighbours", arguments.neighbours.to_string()),
        ("trials", trials.to_string()),
        ("seed", arguments.seed.to_string()),
        ("quick", arguments.quick.to_string()),
    ]))
}
