//! IDX files, the format of MNIST and its kin, plain or gzipped.

use super::{exists, file_error};
use candle_prob::Result;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
/// No image set of this format comes near; a header that asks for more is damaged.
const MOST_BYTES: u64 = 1 << 30;

/// Grey images of one size, one byte per pixel.
pub struct IdxImages {
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
}

/// `folder/name`, or `folder/name.gz` where only that exists.
pub fn locate(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = folder.join(name);
    let zipped = folder.join(format!("{name}.gz"));
    for path in [&plain, &zipped] {
        if exists(path)? && path.is_file() {
            return Ok(path.clone());
        }
    }
    Err(file_error(
        &plain,
        "an IDX file of this name, plain or .gz",
        "none",
    ))
}

/// The images of an IDX file.
pub fn images(path: &Path) -> Result<IdxImages> {
    let mut file = Idx::open(path)?;
    file.magic(IMAGES_MAGIC, "of an image file")?;
    let [count, height, width] = file.header()?;
    if height == 0 || width == 0 {
        let found = format!("{height} x {width}");
        return Err(file_error(path, "images of at least one pixel", found));
    }
    let what = format!("{count} images of {height} x {width}");
    let pixels = file.body(&[count, height, width], &what)?;
    Ok(IdxImages {
        count: count as usize,
        height: height as usize,
        width: width as usize,
        pixels,
    })
}

/// The labels of an IDX file, each below `classes`.
pub fn labels(path: &Path, classes: usize) -> Result<Vec<u8>> {
    let mut file = Idx::open(path)?;
    file.magic(LABELS_MAGIC, "of a label file")?;
    let [count] = file.header()?;
    let labels = file.body(&[count], &format!("{count} labels"))?;
    if let Some(at) = labels.iter().position(|&label| label as usize >= classes) {
        return Err(file_error(
            path,
            format!("labels 0 to {}", classes - 1),
            format!("label {} at position {at}", labels[at]),
        ));
    }
    Ok(labels)
}

/// An image file and its label file, one label for each image.
pub fn pair(folder: &Path, prefix: &str, classes: usize) -> Result<(IdxImages, Vec<u8>)> {
    let images_path = locate(folder, &format!("{prefix}-images-idx3-ubyte"))?;
    let labels_path = locate(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
    let images = images(&images_path)?;
    let labels = labels(&labels_path, classes)?;
    if images.count != labels.len() {
        return Err(file_error(
            &labels_path,
            format!(
                "{} labels, one for each image of {}",
                images.count,
                images_path.display()
            ),
            format!("{} labels", labels.len()),
        ));
    }
    Ok((images, labels))
}

struct Idx<'a> {
    path: &'a Path,
    bytes: Box<dyn Read>,
    zipped: bool,
}

impl<'a> Idx<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| file_error(path, "a readable file", e))?;
        let zipped = path.extension().is_some_and(|e| e == "gz");
        let file = BufReader::with_capacity(1 << 16, file);
        let bytes: Box<dyn Read> = if zipped {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        Ok(Idx {
            path,
            bytes,
            zipped,
        })
    }

    fn magic(&mut self, expected: u32, what: &str) -> Result<()> {
        let [found] = self.header()?;
        if found != expected {
            return Err(file_error(
                self.path,
                format!("the magic number {expected:#010x} {what}"),
                format!("{found:#010x}"),
            ));
        }
        Ok(())
    }

    fn header<const N: usize>(&mut self) -> Result<[u32; N]> {
        let mut words = [0; N];
        for word in &mut words {
            let mut bytes = [0; 4];
            self.bytes
                .read_exact(&mut bytes)
                .map_err(|e| self.failed("an IDX header", e))?;
            *word = u32::from_be_bytes(bytes);
        }
        Ok(words)
    }

    /// The values behind the header: exactly as many as it announces, then the end of the file. Reading to the end also
    /// lets gzip check its checksum. The buffer grows with what the file holds, not with what the header claims.
    fn body(mut self, dims: &[u32], what: &str) -> Result<Vec<u8>> {
        let size = dims
            .iter()
            .try_fold(1u64, |size, &d| size.checked_mul(u64::from(d)))
            .filter(|&size| size <= MOST_BYTES);
        let Some(size) = size else {
            let found = format!("a header that announces {what}");
            let expected = format!("at most {MOST_BYTES} bytes of values");
            return Err(file_error(self.path, expected, found));
        };
        if size == 0 {
            return Err(file_error(self.path, "at least one image", "none"));
        }
        let mut values = vec![];
        let read = (&mut self.bytes).take(size).read_to_end(&mut values);
        read.map_err(|e| self.failed(what, e))?;
        if (values.len() as u64) < size {
            let found = format!("the end of the file after {} of {size}", values.len());
            return Err(file_error(self.path, what, found));
        }
        let mut rest = [0];
        match self.bytes.read(&mut rest) {
            Ok(0) => Ok(values),
            Ok(_) => Err(file_error(
                self.path,
                format!("{what} and nothing behind"),
                "trailing bytes",
            )),
            Err(e) => Err(self.failed("the end of the file", e)),
        }
    }

    fn failed(&self, expected: &str, error: std::io::Error) -> candle_prob::Error {
        let found = match (self.zipped, error.kind()) {
            (true, ErrorKind::UnexpectedEof) => "a truncated gzip stream".into(),
            (false, ErrorKind::UnexpectedEof) => "the end of the file".into(),
            (true, _) => format!("a corrupt gzip stream ({error})"),
            (false, _) => error.to_string(),
        };
        file_error(self.path, expected, found)
    }
}
