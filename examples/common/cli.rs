//! The command line: flags all examples share, and errors as one line.

use super::report::{self, Output};
use super::{exists, file_error, printable};
use candle_prob::Result;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, ValueEnum};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Flags of the examples that train.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Seed of everything random
    #[arg(long, default_value_t = 0, value_parser = seed)]
    pub seed: u64,
    /// Passes over the training data
    #[arg(long, value_parser = epochs)]
    pub epochs: Option<u32>,
    /// Folder for figures, metrics.json and checkpoints
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// A run of less than a minute
    #[arg(long)]
    pub quick: bool,
    /// Continue from the checkpoints in the output folder
    #[arg(long)]
    pub resume: bool,
}

impl Common {
    /// The output folder, made if need be.
    pub fn output(&self, name: &str) -> Result<Output> {
        let folder = output_folder(&self.out, name);
        if self.resume && !exists(&folder)? {
            let expected = "the folder of an earlier run for --resume";
            return Err(file_error(&folder, expected, "none"));
        }
        Output::create(folder)
    }

    /// The number of epochs asked for, or these: of a whole run and of a quick one.
    pub fn epochs_or(&self, whole: usize, quick: usize) -> usize {
        let own = if self.quick { quick } else { whole };
        self.epochs.map_or(own, |n| n as usize)
    }
}

/// The folder asked for, or that of the example.
pub fn output_folder(asked: &Option<PathBuf>, name: &str) -> PathBuf {
    let own = || Path::new("out").join(name);
    asked.clone().unwrap_or_else(own)
}

/// Runs an example: parses its arguments, and turns an error into one line and exit code 1.
pub fn main<A: Parser>(run: impl FnOnce(A) -> Result<()>) -> ExitCode {
    // This thread works in the pool, where it would otherwise wake another for every parallel loop, and be woken.
    let _ = rayon::ThreadPoolBuilder::new()
        .use_current_thread()
        .build_global();
    let command = A::command().version(env!("CARGO_PKG_VERSION"));
    let resumes = command.get_arguments().any(|arg| arg.get_id() == "resume");
    // Without a handler Ctrl-C leaves the bar's line unfinished; nothing else depends on it.
    let _ = ctrlc::set_handler(move || report::interrupted(resumes));
    let name = command.get_name().to_string();
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        // So that what is wrong with -1 is told by the flag's own parser.
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    let command = command.mut_arg("out", |arg| {
        let help = arg.get_help().map_or(String::new(), ToString::to_string);
        arg.help(format!("{help} [default: out/{name}]"))
    });
    let matches = command.try_get_matches();
    let arguments = match matches.and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            // --help and --version
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return match printed {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) if e.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                Err(e) => fail(&format!("error: {}", report::no_output(e))),
            };
        }
        Err(error) => return fail(&first_paragraph(&shortened(error).to_string())),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("error: {error}")),
    }
}

fn fail(line: &str) -> ExitCode {
    report::end_bar();
    report::tell(&printable(line, report::LONGEST));
    ExitCode::FAILURE
}

/// Cuts values of the command line, which may be files that a shell put there, so that the message behind them is seen.
fn shortened(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let text = printable(text, 60);
            error.insert(kind, ContextValue::String(text));
        }
    }
    error
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

/// A value parser for seeds.
pub fn seed(text: &str) -> std::result::Result<u64, String> {
    let most = u64::MAX;
    let expected = |_| format!("expected a whole number from 0 to {most}");
    text.parse().map_err(expected)
}

/// A value parser for epochs.
pub fn epochs(text: &str) -> std::result::Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    let most = u32::MAX;
    number.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

/// What a value is called on the command line.
pub fn value_name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().into())
}

/// A flag's value and what it usually is.
#[derive(Clone, Copy)]
pub struct Size(pub &'static str, pub usize, pub usize);

/// Refuses sizes that together ask for more than the memory that is free: an allocation that fails ends the process, and
/// one that succeeds may take the machine with it. `bytes` is a rough share for each unit of the sizes' product. Named is the
/// flag that is furthest from what is usual.
pub fn check_memory(bytes: f64, sizes: &[Size]) -> Result<()> {
    check_all(&[(bytes, sizes)])
}

/// Of several checks, tells the one that asks for most: the least bound of its flag.
pub fn check_all(checks: &[(f64, &[Size])]) -> Result<()> {
    let free = free_memory();
    let asked = |(bytes, sizes): &(f64, &[Size])| {
        sizes.iter().fold(*bytes, |all, size| all * size.1 as f64)
    };
    let Some(check) = checks.iter().max_by(|a, b| asked(a).total_cmp(&asked(b))) else {
        return Ok(());
    };
    let (asked, sizes) = (asked(check), check.1);
    let excess = |size: &&Size| size.1 as f64 / size.2 as f64;
    let worst = sizes.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)));
    let (Some(Size(flag, value, _)), true) = (worst, asked > free) else {
        return Ok(());
    };
    // A square for a flag that is there twice.
    let power = sizes.iter().filter(|size| size.0 == *flag).count() as f64;
    let most = (*value as f64 * (free / asked).powf(1. / power)).floor();
    let gigabytes = free / 1e9;
    let expected = format!("at most {most}, for {gigabytes:.1} GB of free memory");
    Err(file_error(Path::new(flag), expected, value))
}

/// Bytes that are free, where the system tells them as Linux does; otherwise 16 GB.
fn free_memory() -> f64 {
    let kilobytes = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    kilobytes().map_or(16e9, |kilobytes| kilobytes * 1024.)
}
