//! What an example leaves behind: files written whole or not at all, a table, a progress bar.

use super::file_error;
use candle_prob::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The output folder.
pub struct Output {
    folder: PathBuf,
}

impl Output {
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)
            .map_err(|e| file_error(&folder, "a folder that can be made", e))?;
        Ok(Output { folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a flat JSON object, keys in order.
    pub fn metrics(&self, metrics: &BTreeMap<String, f64>) -> Result<()> {
        let path = self.path("metrics.json");
        if let Some((name, value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(file_error(&path, format!("a finite {name}"), value));
        }
        let mut text = serde_json::to_string_pretty(metrics)
            .map_err(|e| file_error(&path, "metrics that can be written", e))?;
        text.push('\n');
        write_whole(&path, |temporary| {
            fs::write(temporary, &text).map_err(|e| file_error(&path, "a writable file", e))
        })
    }
}

/// Lets `write` fill a temporary file beside `path`, then renames it: a reader finds the old file or the new one. The
/// temporary name has the same extension, by which some writers choose the format.
pub fn write_whole(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".partial-{}-{name}", std::process::id()));
    let written = write(&temporary).and_then(|()| {
        fs::rename(&temporary, path).map_err(|e| file_error(path, "a writable file", e))
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A table for the terminal; all columns but the first are aligned to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], k: usize| row.get(k).cloned().unwrap_or_default();
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

/// Prints to standard output; a closed pipe is not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}

/// A progress bar on standard error, silent when that is not a terminal.
pub fn progress(steps: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = "{prefix:<8} {wide_bar} {pos}/{len} steps, {elapsed} of {duration}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_string());
    bar
}
