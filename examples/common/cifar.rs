//! CIFAR-10 in its binary version: files of records, each a label and the bytes of a red, a green and a blue image.

use super::images::CLASSES;
use super::{exists, file_error};
use candle_prob::Result;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Rows and columns of an image.
pub const SIDE: usize = 32;
pub const CHANNELS: usize = 3;
const PIXELS: usize = CHANNELS * SIDE * SIDE;
/// A label and an image.
const RECORD: usize = 1 + PIXELS;
/// The files that train; each has 10000 records in the published set.
const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST: &str = "test_batch.bin";
/// The name of the folder in the published archive.
const ARCHIVE: &str = "cifar-10-batches-bin";
/// Ten times as much as a file of the published set.
const MOST_BYTES: u64 = 10 * 10_000 * RECORD as u64;

/// Colour images of 32 x 32, those that train first.
pub struct Cifar {
    /// Channel by channel and row by row.
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
    /// Where the test images begin.
    pub train: usize,
}

/// Where the files are: in this folder or in the archive's one below it. None where neither has the first of them.
pub fn locate(folder: &Path) -> Result<Option<PathBuf>> {
    for place in [folder.to_path_buf(), folder.join(ARCHIVE)] {
        if exists(&place.join(TRAIN[0]))? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The five files that train and the one that tests. They hold the same number of records each.
pub fn load(folder: &Path) -> Result<Cifar> {
    let (mut pixels, mut labels) = (vec![], vec![]);
    let mut first = None;
    for name in TRAIN {
        let path = folder.join(name);
        let before = labels.len();
        read(&path, &mut pixels, &mut labels)?;
        let count = labels.len() - before;
        let expected = *first.get_or_insert(count);
        if count != expected {
            // A file that was cut between two records.
            let expected = format!("{expected} records, as in {}", TRAIN[0]);
            return Err(file_error(&path, expected, format!("{count} records")));
        }
    }
    let train = labels.len();
    read(&folder.join(TEST), &mut pixels, &mut labels)?;
    Ok(Cifar {
        pixels,
        labels,
        train,
    })
}

/// Adds the records of a file.
fn read(path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
    let unreadable = |e| file_error(path, "a readable file of CIFAR-10's binary version", e);
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = vec![];
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(file_error(
            path,
            format!("at most {MOST_BYTES} bytes"),
            "more",
        ));
    }
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let expected = format!("records of {RECORD} bytes, a label and an image of 32 x 32");
        let (whole, rest) = (bytes.len() / RECORD, bytes.len() % RECORD);
        let found = format!("the end of the file {rest} bytes after record {whole}");
        return Err(file_error(path, expected, found));
    }
    for (k, record) in bytes.chunks_exact(RECORD).enumerate() {
        let label = record[0];
        if usize::from(label) >= CLASSES {
            let expected = format!("labels 0 to {}", CLASSES - 1);
            let found = format!("label {label} of record {}", k + 1);
            return Err(file_error(path, expected, found));
        }
        labels.push(label);
        pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}
