//! The information plane: what a code has of input and label, over a training.

use super::diagram::Diagram;
use crate::error::Result;
use candle_core::DType;
use std::io::{self, Write};

/// Quantities of one code, in nats, as far as they are known.
///
/// [`complete`](PlanePoint::complete) fills in what follows from others.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PlanePoint {
    /// `I[X;Z]`.
    pub preserved: Option<f64>,
    /// `I[Y;Z]`.
    pub preserved_relevant: Option<f64>,
    /// `I[X;Y|Z]`.
    pub residual: Option<f64>,
    /// `I[X;Z|Y]`.
    pub redundant: Option<f64>,
    /// `H[Z]`.
    pub encoding_entropy: Option<f64>,
    /// `H[Z|X]`.
    pub encoding_uncertainty: Option<f64>,
    /// `H[Y|Z]`.
    pub decoder_uncertainty: Option<f64>,
    /// `H[Z|Y]`.
    pub reverse_decoder_uncertainty: Option<f64>,
    /// `I[X;Y]`.
    pub relevant: Option<f64>,
    /// `H[Y]`.
    pub label_entropy: Option<f64>,
    /// `H[Y|X]`.
    pub label_uncertainty: Option<f64>,
}

const NAMES: [&str; 11] = [
    "preserved",
    "preserved_relevant",
    "residual",
    "redundant",
    "encoding_entropy",
    "encoding_uncertainty",
    "decoder_uncertainty",
    "reverse_decoder_uncertainty",
    "relevant",
    "label_entropy",
    "label_uncertainty",
];

/// A whole and its two parts, by their places in [`NAMES`]: the diagram where Z knows Y through X alone.
const SUMS: [[usize; 3]; 8] = [
    [0, 1, 3],
    [8, 1, 2],
    [4, 5, 0],
    [4, 7, 1],
    [7, 5, 3],
    [9, 6, 1],
    [6, 2, 10],
    [9, 10, 8],
];

impl PlanePoint {
    /// All quantities of a diagram, in nats whatever its unit.
    pub fn of(diagram: &Diagram) -> Result<Self> {
        let nats = diagram.unit().in_nats();
        let mut all = [None; 11];
        let quantities = [
            diagram.preserved(),
            diagram.preserved_relevant(),
            diagram.residual(),
            diagram.redundant(),
            diagram.encoding_entropy(),
            diagram.encoding_uncertainty(),
            diagram.decoder_uncertainty(),
            diagram.reverse_decoder_uncertainty(),
            diagram.relevant(),
            diagram.label_entropy(),
            diagram.label_uncertainty(),
        ];
        for (number, quantity) in all.iter_mut().zip(quantities) {
            let quantity = quantity?.detach().to_dtype(DType::F64)?;
            *number = Some(quantity.to_scalar::<f64>()? * nats);
        }
        Ok(Self::from_numbers(all))
    }

    /// With every quantity that follows from those that are known, where Z knows Y through X alone: `I[X;Z] = H[Z] - H[Z|X]`,
    /// `I[X;Y|Z] = H[Y|Z] - H[Y|X]` and so on (Kirsch et al., equations 6 to 18). What is known stays as it is; of estimates,
    /// which need not agree, each unknown is what the first equation says that has it.
    pub fn complete(&self) -> Self {
        let mut all = self.numbers();
        // Each pass fills at least one, or is the last.
        for _ in 0..all.len() {
            for [whole, a, b] in SUMS {
                match (all[whole], all[a], all[b]) {
                    (None, Some(x), Some(y)) => all[whole] = Some(x + y),
                    (Some(sum), None, Some(y)) => all[a] = Some(sum - y),
                    (Some(sum), Some(x), None) => all[b] = Some(sum - x),
                    _ => {}
                }
            }
        }
        Self::from_numbers(all)
    }

    /// The quantities with their names, those of the fields.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        NAMES.into_iter().zip(self.numbers())
    }

    fn numbers(&self) -> [Option<f64>; 11] {
        [
            self.preserved,
            self.preserved_relevant,
            self.residual,
            self.redundant,
            self.encoding_entropy,
            self.encoding_uncertainty,
            self.decoder_uncertainty,
            self.reverse_decoder_uncertainty,
            self.relevant,
            self.label_entropy,
            self.label_uncertainty,
        ]
    }

    fn from_numbers(all: [Option<f64>; 11]) -> Self {
        let [
            preserved,
            preserved_relevant,
            residual,
            redundant,
            encoding_entropy,
            encoding_uncertainty,
            decoder_uncertainty,
            reverse_decoder_uncertainty,
            relevant,
            label_entropy,
            label_uncertainty,
        ] = all;
        PlanePoint {
            preserved,
            preserved_relevant,
            residual,
            redundant,
            encoding_entropy,
            encoding_uncertainty,
            decoder_uncertainty,
            reverse_decoder_uncertainty,
            relevant,
            label_entropy,
            label_uncertainty,
        }
    }
}

/// A row of a [`Plane`].
#[derive(Debug, Clone, PartialEq)]
pub struct PlaneRow {
    /// The run, the layer: whose trajectory it belongs to.
    pub name: String,
    /// When it was recorded.
    pub epoch: usize,
    /// What the code had then.
    pub point: PlanePoint,
}

/// A record of points of the information plane, over the epochs of one or several trainings.
///
/// Units: nats. The plane of Kirsch et al. has preserved against residual information; that of Tishby and Zaslavsky has
/// preserved against preserved relevant information.
///
/// ```
/// use candle_prob::information::{Plane, PlanePoint};
/// # fn main() -> std::io::Result<()> {
/// let mut plane = Plane::new();
/// let point = PlanePoint { encoding_entropy: Some(2.), encoding_uncertainty: Some(0.5), ..Default::default() };
/// plane.record("gamma 0.1", 0, point.complete());
/// let mut csv = vec![];
/// plane.write_csv(&mut csv)?;
/// let csv = String::from_utf8_lossy(&csv);
/// assert!(csv.starts_with("name,epoch,preserved,preserved_relevant,"));
/// assert_eq!(csv.lines().nth(1), Some("gamma 0.1,0,1.5,,,,2,0.5,,,,,"));
/// # Ok(())
/// # }
/// ```
///
/// Source: Tishby and Zaslavsky (2015), Deep learning and the information bottleneck principle; Kirsch, Lyle and Gal (2020),
/// Unpacking Information Bottlenecks, section 7.3.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plane {
    rows: Vec<PlaneRow>,
}

impl Plane {
    /// Without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn record(&mut self, name: impl Into<String>, epoch: usize, point: PlanePoint) {
        let name = name.into();
        self.rows.push(PlaneRow { name, epoch, point });
    }

    /// All rows, as they were recorded.
    pub fn rows(&self) -> &[PlaneRow] {
        &self.rows
    }

    /// The names, each once, in the order of their first rows.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![];
        for row in &self.rows {
            if !names.contains(&row.name.as_str()) {
                names.push(row.name.as_str());
            }
        }
        names
    }

    /// The rows of one name.
    pub fn trajectory<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a PlaneRow> {
        self.rows.iter().filter(move |row| row.name == name)
    }

    /// One line for the names of the columns, `name`, `epoch` and the fields of [`PlanePoint`], and one for each row; what is
    /// not known is empty, numbers are read back with the same bits. Errors: those of the writer.
    pub fn write_csv(&self, mut out: impl Write) -> io::Result<()> {
        writeln!(out, "name,epoch,{}", NAMES.join(","))?;
        for row in &self.rows {
            write!(out, "{},{}", field(&row.name), row.epoch)?;
            for (_, number) in row.point.named() {
                match number {
                    Some(number) => write!(out, ",{number}")?,
                    None => write!(out, ",")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// A text as a field of a line, in quotes where it has to be (RFC 4180).
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}
