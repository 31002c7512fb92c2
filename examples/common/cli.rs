//! The command line: flags all examples share, and errors as one line.

use super::{file_error, report::Output};
use candle_prob::Result;
use clap::{Args, Parser};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Folder of IDX files (train-images-idx3-ubyte[.gz], ...: MNIST, Fashion-MNIST); without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Passes over the training data
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Folder for figures, metrics.json and checkpoints [default: out/NAME]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// A run of less than a minute
    #[arg(long)]
    pub quick: bool,
    /// Continue from the checkpoint in the output folder
    #[arg(long)]
    pub resume: bool,
}

impl Common {
    /// The output folder, made if need be.
    pub fn output(&self, name: &str) -> Result<Output> {
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => PathBuf::from("out").join(name),
        };
        if self.resume && !folder.is_dir() {
            return Err(file_error(&folder, "the folder of an earlier run", "none"));
        }
        Output::create(folder)
    }
}

impl Common {
    /// The output folder of an example that draws its data and reads none.
    pub fn planar_output(&self, name: &str) -> Result<Output> {
        if let Some(folder) = &self.data {
            let expected = "no --data: the point sets are drawn, not read";
            return Err(file_error(folder, expected, "a folder"));
        }
        self.output(name)
    }

    /// The number of epochs asked for, or these: of a whole run and of a quick one.
    pub fn epochs_or(&self, whole: usize, quick: usize) -> usize {
        let own = if self.quick { quick } else { whole };
        self.epochs.map_or(own, |n| n as usize)
    }
}

/// Runs an example: parses its arguments, and turns an error into one line and exit code 1.
pub fn main<A: Parser>(run: impl FnOnce(A) -> Result<()>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            // --help
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&first_paragraph(&error.to_string())),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("error: {error}")),
    }
}

fn fail(line: &str) -> ExitCode {
    eprintln!("{}", line.replace('\n', " "));
    ExitCode::FAILURE
}

/// clap's message without the usage that follows it.
fn first_paragraph(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A value parser for numbers that must be finite and above zero.
pub fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0. => Ok(value),
        _ => Err("expected a finite number above 0".into()),
    }
}

/// A value parser for numbers that must be finite and not negative.
pub fn not_negative(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0. => Ok(value),
        _ => Err("expected a finite number of at least 0".into()),
    }
}

/// A value parser for counts.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value > 0 => Ok(value),
        _ => Err("expected a whole number of at least 1".into()),
    }
}
