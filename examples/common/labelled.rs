//! Labelled samples in rows: the leukemia matrix shipped here, safetensors or CSV files; stratified splits of them.

use super::file_error;
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

const LEUKEMIA: &[u8] = include_bytes!("../data/leukemia.safetensors");

#[derive(Debug)]
pub struct Labelled {
    pub name: String,
    /// `[N, d]`, f32, all finite.
    pub x: Tensor,
    /// From 0 to C - 1, every class at least once.
    pub labels: Vec<u32>,
    pub classes: usize,
    /// Names of the features, where the file has them.
    pub names: Option<Vec<String>>,
}

impl Labelled {
    /// A `.safetensors` file of `x` [N, d] and `y` [N], a `.csv` file whose column `label`, or last one, is the label, or
    /// the leukemia matrix.
    pub fn load(path: Option<&Path>, label: Option<&str>) -> Result<Self> {
        let shipped = Path::new("leukemia.safetensors");
        let at = path.unwrap_or(shipped);
        let is_csv = at.extension().is_some_and(|end| end == "csv");
        if let (Some(label), false) = (label, is_csv) {
            let found = format!("--label {label}");
            return Err(file_error(at, "a .csv file where --label is given", found));
        }
        if path.is_none() {
            return tensors(
                at,
                candle_core::safetensors::load_buffer(LEUKEMIA, &Device::Cpu),
            );
        }
        match at.extension().and_then(|end| end.to_str()) {
            Some("csv") => table(at, label),
            Some("safetensors") => tensors(at, candle_core::safetensors::load(at, &Device::Cpu)),
            _ => Err(file_error(at, "a .safetensors or .csv file", "neither")),
        }
    }

    fn new(path: &Path, x: Tensor, labels: Vec<u32>, names: Option<Vec<String>>) -> Result<Self> {
        let (samples, features) = x.dims2()?;
        if samples != labels.len() || features == 0 {
            let expected = "a label for each sample, and a feature or more";
            let found = format!("{samples} x {features} and {} labels", labels.len());
            return Err(file_error(path, expected, found));
        }
        for (n, row) in x.to_vec2::<f32>()?.iter().enumerate() {
            if let Some(i) = row.iter().position(|x| !x.is_finite()) {
                let found = format!("{} in row {n}, column {i}, counted from 0", row[i]);
                return Err(file_error(path, "finite numbers", found));
            }
        }
        let present: BTreeSet<u32> = labels.iter().copied().collect();
        let classes = present.len();
        if classes < 2 {
            let found = format!("{classes}");
            return Err(file_error(path, "labels of two classes or more", found));
        }
        if let Some((_, label)) = (0u32..).zip(&present).find(|(k, label)| k != *label) {
            let expected = format!("labels 0 to {}, each of them", classes - 1);
            return Err(file_error(path, expected, label));
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Labelled {
            name: name.into_owned(),
            x,
            labels,
            classes,
            names,
        })
    }

    /// Training and test samples: of each class a third, rounded down, tests.
    pub fn split(&self, rng: &Rng) -> Result<(Vec<u32>, Vec<u32>)> {
        let (mut train, mut test) = (vec![], vec![]);
        for class in 0..self.classes as u32 {
            let all = (0u32..).zip(&self.labels);
            let own: Vec<u32> = all.filter(|(_, y)| **y == class).map(|(n, _)| n).collect();
            let order = rng.fork(&format!("class {class}")).permutation(own.len());
            for (rank, at) in order.into_iter().enumerate() {
                let part = if rank < own.len() / 3 {
                    &mut test
                } else {
                    &mut train
                };
                part.push(own[at]);
            }
        }
        if test.is_empty() {
            let expected = "three samples or more of some class";
            return Err(file_error(Path::new(&self.name), expected, "fewer"));
        }
        train.sort();
        test.sort();
        Ok((train, test))
    }
}

fn tensors(path: &Path, read: candle_core::Result<HashMap<String, Tensor>>) -> Result<Labelled> {
    let tensors = read.map_err(|e| file_error(path, "a readable safetensors file", e))?;
    let tensor = |name: &str, rank: usize| match tensors.get(name) {
        Some(t) if t.rank() == rank => Ok(t),
        Some(t) => {
            let expected = format!("{name} of {rank} dims");
            Err(file_error(path, expected, format!("{:?}", t.dims())))
        }
        None => Err(file_error(path, format!("a tensor {name}"), "none")),
    };
    let (x, y) = (tensor("x", 2)?, tensor("y", 1)?);
    if !y.dtype().is_int() {
        return Err(file_error(path, "whole numbers in y", y.dtype().as_str()));
    }
    let label = |y: i64| u32::try_from(y).map_err(|_| file_error(path, "labels from 0 on", y));
    let labels = y.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let labels = labels.into_iter().map(label).collect::<Result<_>>()?;
    Labelled::new(path, x.to_dtype(DType::F32)?, labels, None)
}

/// The first line names the columns. Labels may be any texts; classes are in the order of these.
fn table(path: &Path, label: Option<&str>) -> Result<Labelled> {
    let unreadable = |e: csv::Error| file_error(path, "a readable CSV file", e);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(unreadable)?;
    let header = reader.headers().map_err(unreadable)?.clone();
    if header.len() < 2 || header.iter().all(|name| name.parse::<f64>().is_ok()) {
        let expected = "a first line that names two columns or more";
        let found: Vec<&str> = header.iter().take(3).collect();
        return Err(file_error(path, expected, found.join(",")));
    }
    let target = match label {
        None => header.len() - 1,
        Some(label) => header
            .iter()
            .position(|name| name == label)
            .ok_or_else(|| file_error(path, format!("a column {label}"), "none"))?,
    };
    let (mut values, mut texts) = (vec![], vec![]);
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, |at| at.line());
        if record.len() != header.len() {
            let expected = format!("{} fields in line {line}", header.len());
            return Err(file_error(path, expected, record.len()));
        }
        for (k, field) in record.iter().enumerate() {
            if k == target {
                texts.push(field.to_string());
                continue;
            }
            match field.parse::<f32>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => {
                    let expected = format!("a finite number in line {line}, {}", &header[k]);
                    return Err(file_error(path, expected, format!("`{field}`")));
                }
            }
        }
    }
    let classes: BTreeSet<&String> = texts.iter().collect();
    let number: HashMap<&String, u32> = classes.into_iter().zip(0..).collect();
    let labels = texts.iter().map(|text| number[text]).collect();
    let names = header.iter().enumerate().filter(|(k, _)| *k != target);
    let names: Vec<String> = names.map(|(_, name)| name.to_string()).collect();
    let x = Tensor::from_vec(values, (texts.len(), names.len()), &Device::Cpu)?;
    Labelled::new(path, x, labels, Some(names))
}
