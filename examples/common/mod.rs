//! What the examples share: data, command line, the training loop, figures, files.

// Every example uses its own part.
#![allow(dead_code)]

pub mod agreement;
pub mod cifar;
pub mod classify;
pub mod cli;
pub mod fit;
pub mod idx;
pub mod images;
pub mod labelled;
pub mod multi;
#[allow(unused_imports)]
pub mod planar;
#[allow(unused_imports)]
pub mod plot;
pub mod regions;
pub mod report;
pub mod roc;
pub mod train;

use candle_prob::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The error of a file that is not what it should be.
pub fn file_error(path: &Path, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::File {
        path: place(path),
        expected: printable(&expected.into(), 300),
        found: printable(&found.to_string(), 300),
    }
}

/// A path in a message: the end of a long one, so that the rest of the line is seen.
pub fn place(path: &Path) -> String {
    const MOST: usize = 200;
    let path = path.display().to_string();
    let cut = path.chars().count().saturating_sub(MOST);
    let end: String = path.chars().skip(cut).collect();
    let start = if cut > 0 { "\u{2026}" } else { "" };
    format!("{start}{}", printable(&end, MOST))
}

/// The error of one of several parts of a run, with the part's name and the file that misses it.
pub fn part_error(path: &Path, part: &str, error: Error) -> Error {
    file_error(path, format!("the results of {part}"), error)
}

/// A text that came from outside, fit for a terminal and one line: control characters are escaped, and what is longer than
/// `most` characters is cut.
pub fn printable(text: &str, most: usize) -> String {
    // Marks that turn the direction of writing round would change how the rest of the line reads.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::new();
    for c in text.chars().take(most) {
        match hidden(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        line.push('\u{2026}');
    }
    line
}

/// Whether there is something at the path; that it cannot be told is an error.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists()
        .map_err(|e| file_error(path, "a path that can be read", e))
}

/// A hash of data, which knows them again whatever their file is called: sixteen digits of SHA-256.
pub fn hash<'a>(sizes: &[usize], parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for size in sizes {
        hash.update((*size as u64).to_le_bytes());
    }
    parts.into_iter().for_each(|part| hash.update(part));
    let hash = hash.finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
