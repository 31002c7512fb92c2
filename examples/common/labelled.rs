//! Labelled samples in rows: the leukemia matrix shipped here, safetensors or CSV files; stratified splits of them.

use super::{file_error, hash, place, printable};
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

const LEUKEMIA: &[u8] = include_bytes!("../data/leukemia.safetensors");

#[derive(Debug)]
pub struct Labelled {
    pub path: PathBuf,
    /// The file's name without its ending.
    pub name: String,
    /// `[N, d]`, f32, all finite, none constant.
    pub x: Tensor,
    /// From 0 to C - 1, every class at least once.
    pub labels: Vec<u32>,
    pub classes: usize,
    /// Where each feature is in the file, counted from 0 and without the label.
    pub numbers: Vec<usize>,
    /// Names of the features, where the file has them.
    pub names: Option<Vec<String>>,
    /// What was read otherwise than the file has it.
    pub warnings: Vec<String>,
}

/// Whether the first line of a CSV file names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Header {
    /// It does, even where names are numbers
    Yes,
    /// It is a sample: columns are called 1, 2, ...
    No,
}

impl Labelled {
    /// A `.safetensors` file of `x` [N, d] and `y` [N], a `.csv` file whose column `label`, or last one, is the label, or
    /// the leukemia matrix.
    pub fn load(path: Option<&Path>, label: Option<&str>, header: Option<Header>) -> Result<Self> {
        let at = path.unwrap_or(Path::new("leukemia.safetensors"));
        let ending = at.extension().unwrap_or_default().to_ascii_lowercase();
        let is_csv = ending == "csv";
        if let (Some(label), false) = (label, is_csv) {
            let found = format!("--label {label}");
            return Err(file_error(at, "a .csv file where --label is given", found));
        }
        if header.is_some() && !is_csv {
            return Err(file_error(
                at,
                "a .csv file where --header is given",
                "--header",
            ));
        }
        match path {
            None => tensors(at, LEUKEMIA),
            Some(path) if is_csv => table(path, label, header),
            Some(path) if ending == "safetensors" => {
                let bytes = std::fs::read(path);
                tensors(
                    path,
                    &bytes.map_err(|e| file_error(path, "a readable file", e))?,
                )
            }
            Some(path) => Err(file_error(path, "a .safetensors or .csv file", "neither")),
        }
    }

    /// The values are those of `samples` rows.
    fn new(
        path: &Path,
        values: Values,
        labels: Vec<u32>,
        names: Option<Vec<String>>,
    ) -> Result<Self> {
        let (samples, features) = (labels.len(), values.columns);
        let x = Tensor::from_vec(values.values, (samples, features), &Device::Cpu)?;
        let classes = labels.iter().collect::<BTreeSet<_>>().len();
        if classes < 2 {
            return Err(file_error(path, "labels of two classes or more", classes));
        }
        // Features that are the same in every sample tell nothing, and some methods would rank them.
        let varying = x
            .broadcast_ne(&x.narrow(0, 0, 1)?)?
            .max(0)?
            .to_vec1::<u8>()?;
        let (kept, constant): (Vec<usize>, Vec<usize>) =
            (0..features).partition(|i| varying[*i] == 1);
        if kept.is_empty() {
            let found = format!("{features} constant ones");
            return Err(file_error(path, "a feature that varies, or more", found));
        }
        let name = |i: &usize| {
            names
                .as_ref()
                .map_or(i.to_string(), |names| names[*i].clone())
        };
        const WARNINGS: usize = 5;
        let more = values.rounded.len().saturating_sub(WARNINGS);
        let rounded = values.rounded.into_values().take(WARNINGS);
        let mut warnings = rounded.collect::<Vec<_>>();
        if more > 0 {
            let path = place(path);
            warnings.push(format!("{path}: and {more} more features are rounded so"));
        }
        let mut x = x;
        if !constant.is_empty() {
            let columns: Vec<u32> = kept.iter().map(|i| *i as u32).collect();
            x = x.index_select(&Tensor::new(columns, &Device::Cpu)?, 1)?;
            let some: Vec<String> = constant.iter().take(5).map(name).collect();
            let more = if constant.len() > 5 { ", ..." } else { "" };
            warnings.push(format!(
                "{}: {} constant features are left out: {}{more}",
                place(path),
                constant.len(),
                some.join(", "),
            ));
        }
        let names = names
            .as_ref()
            .map(|names| kept.iter().map(|i| names[*i].clone()).collect());
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Labelled {
            path: path.into(),
            name: printable(&stem, 40),
            x,
            labels,
            classes,
            numbers: kept,
            names,
            warnings,
        })
    }

    /// What the data are called in settings: the file's name and a hash of all values and labels.
    pub fn id(&self) -> Result<String> {
        Ok(format!("{} {}", self.name, self.hash()?))
    }

    /// A hash of all values and labels.
    pub fn hash(&self) -> Result<String> {
        let values = self.x.flatten_all()?.to_vec1::<f32>()?;
        let values: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let labels: Vec<u8> = self.labels.iter().flat_map(|y| y.to_le_bytes()).collect();
        Ok(hash(self.x.dims(), [values.as_slice(), &labels]))
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
            return Err(file_error(&self.path, expected, "fewer"));
        }
        train.sort();
        test.sort();
        Ok((train, test))
    }
}

/// Numbers of a file on their way to f32.
struct Values {
    values: Vec<f32>,
    columns: usize,
    /// A warning for each column of whole numbers that f32 cannot hold.
    rounded: BTreeMap<usize, String>,
}

impl Values {
    fn new(columns: usize) -> Self {
        Values {
            values: vec![],
            columns,
            rounded: BTreeMap::new(),
        }
    }

    /// `at` says where the value is, and `text` what is written there.
    fn push(
        &mut self,
        path: &Path,
        value: f64,
        at: &dyn Fn() -> String,
        text: &dyn Fn() -> String,
    ) -> Result<()> {
        let single = value as f32;
        if !single.is_finite() {
            let expected = format!("a finite number of single precision in {}", at());
            return Err(file_error(path, expected, text()));
        }
        if value.fract() == 0. && f64::from(single) != value {
            let column = self.values.len() % self.columns;
            self.rounded.entry(column).or_insert_with(|| {
                let (path, at, text, single) = (place(path), at(), text(), f64::from(single));
                format!("{path}: {text} in {at} is read as {single}: single precision holds whole numbers to 16777216")
            });
        }
        self.values.push(single);
        Ok(())
    }
}

fn tensors(path: &Path, bytes: &[u8]) -> Result<Labelled> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|error| {
        let found = match error {
            candle_core::Error::UnsupportedSafeTensorDtype(dtype) => format!("one of {dtype:?}"),
            _ => "other or damaged contents".into(),
        };
        file_error(path, "a readable safetensors file", found)
    })?;
    let tensor = |name: &str, rank: usize| match tensors.get(name) {
        Some(t) if t.rank() == rank => Ok(t),
        Some(t) => {
            let expected = format!("{name} of {rank} dims");
            Err(file_error(path, expected, format!("{:?}", t.dims())))
        }
        None => Err(file_error(path, format!("a tensor {name}"), "none")),
    };
    let (x, y) = (tensor("x", 2)?, tensor("y", 1)?);
    let (samples, features) = x.dims2()?;
    if samples != y.elem_count() || features == 0 || samples == 0 {
        let expected = "a label for each sample, and a feature or more";
        let found = format!("{samples} x {features} and {} labels", y.elem_count());
        return Err(file_error(path, expected, found));
    }
    if !y.dtype().is_int() {
        return Err(file_error(path, "whole numbers in y", y.dtype().as_str()));
    }
    let dtype = |_| file_error(path, "numbers in x", x.dtype().as_str());
    let wide = x.to_dtype(DType::F64).map_err(dtype)?.flatten_all()?;
    let mut values = Values::new(features);
    for (k, value) in wide.to_vec1::<f64>()?.into_iter().enumerate() {
        let (row, column) = (k / features, k % features);
        let place = || format!("row {row}, column {column} of x, counted from 0");
        values.push(path, value, &place, &|| value.to_string())?;
    }
    let dtype = |_| file_error(path, "labels in y of a supported dtype", y.dtype().as_str());
    let all = y.to_dtype(DType::I64).map_err(dtype)?.to_vec1::<i64>()?;
    let classes = all.iter().collect::<BTreeSet<_>>().len();
    let labels = all.iter().enumerate().map(|(row, label)| {
        let right = u32::try_from(*label).ok();
        right.filter(|y| (*y as usize) < classes).ok_or_else(|| {
            let expected = format!(
                "labels 0 to {} in y, for its {classes} classes",
                classes - 1
            );
            file_error(
                path,
                expected,
                format!("{label} in row {row}, counted from 0"),
            )
        })
    });
    let labels = labels.collect::<Result<_>>()?;
    Labelled::new(path, values, labels, None)
}

/// The first line names the columns, unless `header` says otherwise. Labels may be any texts; those that are numbers are
/// compared as numbers, and classes are in the order of these and then of texts.
fn table(path: &Path, label: Option<&str>, header: Option<Header>) -> Result<Labelled> {
    let unreadable = |e: csv::Error| match e.kind() {
        csv::ErrorKind::Utf8 {
            pos: Some(at),
            err: fault,
        } => {
            let (line, column) = (at.line(), fault.field() + 1);
            let expected = format!("UTF-8 in line {line}, column {column}");
            file_error(path, expected, "other bytes")
        }
        _ => file_error(path, "a readable CSV file", e),
    };
    let bytes = std::fs::read(path).map_err(|e| file_error(path, "a readable file", e))?;
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes.as_slice());
    let mut records = reader.into_records().map(|record| {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, |at| at.line());
        // A quote that nobody closes swallows the lines behind it without a word.
        if let Some(field) = record.iter().find(|field| field.contains(['\n', '\r'])) {
            let expected =
                format!("no line break within quotes in line {line} (is a quote left open?)");
            return Err(file_error(path, expected, cell(field)));
        }
        Ok((line, record))
    });
    let first = records.next().transpose()?;
    let (first_line, first) = first.unwrap_or_default();
    let columns = first.len();
    if columns < 2 {
        let expected = "a first line that names two columns or more";
        return Err(file_error(path, expected, cell(first.get(0).unwrap_or(""))));
    }
    let target = |names: &[String]| match label {
        None => Ok(columns - 1),
        Some(label) => names.iter().position(|name| name == label).ok_or_else(|| {
            let all: Vec<String> = names.iter().map(|name| printable(name, CELL)).collect();
            file_error(
                path,
                format!("a column {label} for --label"),
                all.join(", "),
            )
        }),
    };
    let (names, target) = match header {
        Some(Header::No) => {
            let names: Vec<String> = (1..=columns).map(|k| k.to_string()).collect();
            let target = target(&names)?;
            (names, target)
        }
        _ => {
            let names: Vec<String> = first.iter().map(str::to_string).collect();
            if header.is_none() && names.iter().any(|name| name.parse::<f64>().is_ok()) {
                let expected = "a first line that names the columns (pass --header no if it is a sample, \
                                --header yes if its numbers are names)";
                return Err(file_error(path, expected, cell(&names.join(","))));
            }
            check_names(path, first_line, &names)?;
            let target = target(&names)?;
            (names, target)
        }
    };
    let sample = (header == Some(Header::No)).then_some(Ok((first_line, first)));
    let (mut values, mut texts) = (Values::new(columns - 1), vec![]);
    for record in sample.into_iter().chain(records) {
        let (line, record) = record?;
        if record.len() != columns {
            let expected = format!("{columns} fields in line {line}");
            return Err(file_error(path, expected, record.len()));
        }
        for (field, name) in record.iter().zip(&names) {
            let place = || format!("line {line}, column {}", printable(name, CELL));
            if *name == names[target] {
                if is_missing(field) {
                    return Err(file_error(
                        path,
                        format!("a label in {}", place()),
                        cell(field),
                    ));
                }
                texts.push(label_of(field));
                continue;
            }
            let value = field.parse().unwrap_or(f64::NAN);
            values.push(path, value, &place, &|| cell(field))?;
        }
    }
    if let Some(line) = open_quote(&bytes) {
        let expected = format!("a closing quote in line {line}, where one opens");
        return Err(file_error(path, expected, "the end of the file"));
    }
    let mut classes: Vec<&String> = texts.iter().collect();
    let number = |text: &String| text.parse().unwrap_or(f64::INFINITY);
    classes.sort_by(|a, b| number(a).total_cmp(&number(b)).then(a.cmp(b)));
    classes.dedup();
    let number: HashMap<&String, u32> = classes.into_iter().zip(0..).collect();
    let labels = texts.iter().map(|text| number[text]).collect();
    let mut names = names;
    names.remove(target);
    Labelled::new(path, values, labels, Some(names))
}

/// Columns are known by their names: each has one of its own.
fn check_names(path: &Path, line: u64, names: &[String]) -> Result<()> {
    let mut seen = HashMap::new();
    for (name, number) in names.iter().zip(1..) {
        // The second is what pandas calls a column without a name.
        if name.is_empty() || number == 1 && name == "Unnamed: 0" {
            let expected = format!(
                "a name for every column in line {line} (an index is no feature: leave it out)"
            );
            return Err(file_error(
                path,
                expected,
                match name.as_str() {
                    "" => format!("none for column {number}"),
                    name => format!("{} for column {number}", cell(name)),
                },
            ));
        }
        if let Some(first) = seen.insert(name, number) {
            let found = format!("{} for columns {first} and {number}", cell(name));
            return Err(file_error(
                path,
                format!("distinct names in line {line}"),
                found,
            ));
        }
    }
    Ok(())
}

/// The line of a quote that is open at the end. A quote opens where a field begins, and two within quotes are one.
fn open_quote(text: &[u8]) -> Option<usize> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let (mut open, mut before, mut line) = (None, b'\n', 1);
    for &byte in text {
        let counts = open.is_some() || matches!(before, b',' | b'\n' | b'\r' | b'"');
        before = match byte {
            b'"' if counts => {
                open = open.xor(Some(line));
                byte
            }
            b'"' => b' ',
            _ => byte,
        };
        line += usize::from(byte == b'\n');
    }
    open
}

/// What files have in the place of a label that nobody knows.
fn is_missing(label: &str) -> bool {
    const MISSING: [&str; 9] = ["", "na", "n/a", "<na>", "#n/a", "null", "none", "?", "."];
    let not_a_number = label.parse().is_ok_and(f64::is_nan);
    not_a_number || label == "-" || MISSING.contains(&label.to_ascii_lowercase().as_str())
}

/// 1, 1.0 and 01 are one label.
fn label_of(text: &str) -> String {
    // Beyond 2^53 a whole number has no f64 of its own.
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => whole.to_string(),
        // Of -0 and 0 one is enough.
        (_, Ok(number)) if number.is_finite() => (number + 0.).to_string(),
        _ => text.into(),
    }
}

/// Characters of a cell in a message.
const CELL: usize = 40;

fn cell(text: &str) -> String {
    format!("`{}`", printable(text, CELL))
}
