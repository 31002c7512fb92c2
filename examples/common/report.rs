//! What an example leaves behind: files written whole or not at all, a table, a progress bar.

use super::train::Settings;
use super::{file_error, place, printable};
use candle_prob::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The output folder, which belongs to one run at a time.
pub struct Output {
    folder: PathBuf,
    /// Held until the run ends, however it ends.
    _lock: File,
}

impl Output {
    /// Makes the folder if need be, and finds out at once whether it can be written.
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)
            .map_err(|e| file_error(&folder, "a folder that can be made", e))?;
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK))
            .map_err(|e| file_error(&folder, "a folder that can be written", e))?;
        match lock.try_lock() {
            Ok(()) => remove_partial(&folder)?,
            Err(TryLockError::WouldBlock) => {
                return Err(file_error(
                    &folder,
                    "a folder of no other run",
                    "one that runs now",
                ));
            }
            // A file system without locks.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Output {
            folder,
            _lock: lock,
        })
    }

    /// Refuses folders in the places of the metrics and of these files, before anything is done for them.
    pub fn check_files(&self, names: &[String]) -> Result<()> {
        for path in names
            .iter()
            .map(|name| self.path(name))
            .chain([self.path(METRICS)])
        {
            if path.is_dir() {
                return Err(file_error(&path, "a file, or none", "a folder"));
            }
        }
        Ok(())
    }

    /// Removes the metrics and those of these files that an earlier run left here, and says so: beside the files of this run
    /// they would be taken for its own.
    pub fn remove_earlier(&self, names: &[String], advice: &str) -> Result<()> {
        let text = fs::read(self.path(METRICS)).unwrap_or_default();
        let earlier: Value = serde_json::from_slice(&text).unwrap_or_default();
        let seed = match &earlier["settings"]["seed"] {
            Value::Number(seed) => format!(" with seed {seed}"),
            _ => String::new(),
        };
        let is_file =
            |name: &&str| fs::symlink_metadata(self.path(name)).is_ok_and(|m| !m.is_dir());
        let all = [METRICS]
            .into_iter()
            .chain(names.iter().map(String::as_str));
        let left: Vec<&str> = all.filter(is_file).collect();
        if left.is_empty() {
            return Ok(());
        }
        let folder = place(&self.folder);
        warn(&format!(
            "{folder}: holds an earlier run{seed}: removes its {} ({advice})",
            left.join(", ")
        ));
        for path in left.into_iter().map(|name| self.path(name)) {
            fs::remove_file(&path).map_err(|e| file_error(&path, "a removable file", e))?;
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a JSON object of the metrics, keys in order, and of the settings they come from.
    pub fn metrics(&self, metrics: &BTreeMap<String, f64>, settings: &Settings) -> Result<()> {
        let path = self.path(METRICS);
        if let Some((name, value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(file_error(&path, format!("a finite {name}"), value));
        }
        // Numbers and truth values as such, other settings as texts.
        let value = |text: &String| match serde_json::from_str(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::from(text.as_str()),
        };
        let settings = settings.iter();
        let settings: BTreeMap<_, _> = settings.map(|(name, text)| (name, value(text))).collect();
        let metrics = metrics.iter();
        let mut all: BTreeMap<_, _> = metrics
            .map(|(name, value)| (name.as_str(), Value::from(*value)))
            .collect();
        all.insert("settings", serde_json::json!(settings));
        let mut text = serde_json::to_string_pretty(&all)
            .map_err(|e| file_error(&path, "metrics that can be written", e))?;
        text.push('\n');
        write_whole(&path, |temporary| {
            fs::write(temporary, &text).map_err(|e| file_error(&path, "a writable file", e))
        })
    }
}

const METRICS: &str = "metrics.json";
const LOCK: &str = ".lock";
const PARTIAL: &str = ".partial-";

/// Removes what runs that were killed while they wrote a file have left: this folder belongs to no other run.
fn remove_partial(folder: &Path) -> Result<()> {
    let unreadable = |e| file_error(folder, "a folder that can be read", e);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The second is what a checkpoint is called before it is whole.
        let checkpoint = name.starts_with('.') && name.contains(".safetensors.");
        if name.starts_with(PARTIAL) || checkpoint && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(|e| file_error(&path, "a removable file", e))?;
        }
    }
    Ok(())
}

/// Lets `write` fill a temporary file beside `path`, then renames it: a reader finds the old file or the new one. The
/// temporary name has the same extension, by which some writers choose the format.
pub fn write_whole(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!("{PARTIAL}{}-{name}", std::process::id()));
    let written = write(&temporary).and_then(|()| {
        fs::rename(&temporary, path).map_err(|e| file_error(path, "a writable file", e))
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Counts the parts of a run that failed: the others are done and written nevertheless.
#[derive(Default)]
pub struct Failures(usize);

impl Failures {
    /// What came of a part; its error is told at once.
    pub fn keep<T>(&mut self, part: Result<T>) -> Option<T> {
        part.map_err(|error| {
            self.0 += 1;
            end_bar();
            tell(&format!(
                "error: {}",
                printable(&error.to_string(), LONGEST)
            ));
        })
        .ok()
    }

    /// The error of a run of which a part failed.
    pub fn end(self, output: &Output) -> Result<()> {
        match self.0 {
            0 => Ok(()),
            n => {
                let found = format!("{n} that failed, told above");
                Err(file_error(
                    output.folder(),
                    "the results of all parts",
                    found,
                ))
            }
        }
    }
}

/// Characters of a message.
pub const LONGEST: usize = 1000;
/// Characters of a table's first column.
const WIDEST: usize = 24;

/// A table for the terminal; all columns but the first are aligned to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], k: usize| {
        let text = row.get(k).map_or("", String::as_str);
        printable(text, WIDEST - 1)
    };
    let header: Vec<String> = header.iter().map(|s| s.to_string()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|k| {
            let cells = rows.iter().map(|row| cell(row, k).chars().count());
            cells.chain([header[k].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &[String]| -> String {
        let cells = widths.iter().enumerate().map(|(k, &width)| {
            let text = cell(row, k);
            if k == 0 {
                format!("{text:<width$}")
            } else {
                format!("{text:>width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
    let mut lines = vec![line(&header), rule];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n") + "\n"
}

/// Prints to standard output. A reader that closed the pipe has seen enough; that nothing can be written is an error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(no_output(e)),
        _ => Ok(()),
    }
}

/// The error of a standard output that cannot be written.
pub fn no_output(error: std::io::Error) -> Error {
    file_error(Path::new("standard output"), "a place to write to", error)
}

/// A line on standard error. There is no place left to tell that it cannot be written.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub fn warn(line: &str) {
    tell(&format!("warning: {}", printable(line, LONGEST)));
}

/// The bar that is on the terminal now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);
/// Whether this run has a checkpoint.
static SAVED: AtomicBool = AtomicBool::new(false);

/// A progress bar on standard error, silent when that is not a terminal.
pub fn progress(steps: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = "{prefix:<8} {wide_bar} {pos}/{len} steps, {elapsed} of {duration}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_string());
    if let Ok(mut current) = BAR.lock() {
        *current = Some(bar.clone());
    }
    bar
}

/// Leaves a bar that is on the terminal as it is and goes on below it.
pub fn end_bar() {
    let bar = BAR.lock().ok().and_then(|mut bar| bar.take());
    if let Some(bar) = bar.filter(|bar| !bar.is_finished()) {
        bar.abandon();
        if !bar.is_hidden() {
            tell("");
        }
    }
}

/// Tells an interruption that there is a checkpoint to continue from.
pub fn saved() {
    SAVED.store(true, Ordering::Relaxed);
}

/// What Ctrl-C does: ends the bar's line and, if the example can be resumed, says how to go on. The checkpoint is whole at
/// any moment.
pub fn interrupted(resumes: bool) -> ! {
    end_bar();
    tell(match (resumes, SAVED.load(Ordering::Relaxed)) {
        (false, _) => "interrupted",
        (_, true) => {
            "interrupted: the same command with --resume continues from the last whole epoch"
        }
        (_, false) => "interrupted: nothing to continue from was written yet",
    });
    // As a shell reports a process that SIGINT ended.
    std::process::exit(130)
}
