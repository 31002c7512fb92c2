//! The file: safetensors with the format's name and a checksum, replaced as a whole.

use crate::error::{Error, Result};
use crate::kernels::random;
use candle_core::{DType, Device, Tensor, safetensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const FORMAT: &str = "candle-prob checkpoint 1";
const FORMAT_NAME: &str = "@format";
const CHECKSUM_NAME: &str = "@checksum";

/// The tensors of a file by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// Dtype and shape in words.
pub(super) fn kind_of(tensor: &Tensor) -> String {
    format!("{} {:?}", tensor.dtype().as_str(), tensor.dims())
}

pub(super) fn text(text: &str) -> Result<Tensor> {
    Ok(Tensor::from_slice(
        text.as_bytes(),
        text.len(),
        &Device::Cpu,
    )?)
}

pub(super) fn read_text(tensor: &Tensor) -> Result<String> {
    let bytes = tensor.to_vec1::<u8>()?;
    String::from_utf8(bytes)
        .map_err(|_| Error::value("Checkpoint::load", "text", "UTF-8", "other bytes"))
}

/// Words of 64 bits as i64: the bits survive, a floating-point number would lose some.
pub(super) fn words(words: &[u64]) -> Result<Tensor> {
    let words: Vec<i64> = words.iter().map(|w| *w as i64).collect();
    let len = words.len();
    Ok(Tensor::from_vec(words, len, &Device::Cpu)?)
}

/// A hash of names, dtypes, shapes and values. The format itself only notices a wrong length.
fn checksum(tensors: &Tensors) -> Result<u64> {
    let mut sum = 0;
    let mut add = |word: u64| sum = random::combine(sum, word);
    for (name, tensor) in tensors {
        let label = format!("{name} {}", kind_of(tensor));
        label.bytes().for_each(|b| add(u64::from(b)));
        let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
        if flat.dtype() == DType::I64 {
            flat.to_vec1::<i64>()?.iter().for_each(|x| add(*x as u64));
        } else {
            // Exact for every other dtype.
            let wide = flat.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            wide.iter().for_each(|x| add(x.to_bits()));
        }
    }
    Ok(sum)
}

pub(super) fn error(path: &Path, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::File {
        path: path.display().to_string(),
        expected: expected.into(),
        found: found
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_string(),
    }
}

/// The tensors of a file, without what says that it is whole.
pub(super) fn read(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).map_err(|e| error(path, "a readable file", e))?;
    let tensors = safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| error(path, "a safetensors file", e))?;
    let mut tensors: Tensors = tensors.into_iter().collect();
    let format = tensors.get(FORMAT_NAME).map(read_text);
    match format {
        Some(Ok(format)) if format == FORMAT => {}
        Some(Ok(other)) => return Err(error(path, FORMAT, other)),
        _ => return Err(error(path, FORMAT, "no format name")),
    }
    let stored = tensors.remove(CHECKSUM_NAME);
    let stored = stored.and_then(|sum| sum.to_vec1::<i64>().ok());
    if stored != Some(vec![checksum(&tensors)? as i64]) {
        let expected = "contents that match the checksum";
        return Err(error(path, expected, "damaged contents"));
    }
    tensors.remove(FORMAT_NAME);
    Ok(tensors)
}

/// Writes a file, replacing one that is there.
pub(super) fn write(path: &Path, mut tensors: Tensors) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(error(path, "the name of a file", "none"));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{unique}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    tensors.insert(FORMAT_NAME.into(), text(FORMAT)?);
    let sum = checksum(&tensors)?;
    tensors.insert(CHECKSUM_NAME.into(), words(&[sum])?);
    let tensors = tensors.into_iter().collect();
    let result =
        write_to(&temporary, &tensors).and_then(|()| Ok(std::fs::rename(&temporary, path)?));
    let result = result.map_err(|e| error(path, "a writable place", e));
    if result.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn write_to(path: &Path, tensors: &HashMap<String, Tensor>) -> candle_core::Result<()> {
    // The format's writer makes files that their owner alone may read: a plain new file tells what is usual here.
    let permissions = std::fs::File::create(path)?.metadata()?.permissions();
    safetensors::save(tensors, path)?;
    let written = std::fs::File::options().write(true).open(path)?;
    written.set_permissions(permissions)?;
    Ok(written.sync_all()?)
}
