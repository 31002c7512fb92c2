//! What the examples share: data, command line, figures, files.

// Every example uses its own part.
#![allow(dead_code, unused_imports)]

pub mod classify;
pub mod cli;
pub mod fit;
pub mod idx;
pub mod images;
pub mod labelled;
pub mod multi;
pub mod planar;
pub mod plot;
pub mod report;

use candle_prob::Error;
use std::path::Path;

/// The error of a file that is not what it should be.
pub fn file_error(path: &Path, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::File {
        path: path.display().to_string(),
        expected: expected.into(),
        found: found.to_string(),
    }
}
