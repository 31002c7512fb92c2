//! The information diagram of a model (Yeung, 1991): entropies as areas, with their numbers.

use super::canvas::{Align, Point, Type, figure};
use super::{SOFT, palette};
use candle_prob::Result;

/// In nats. X is what is encoded, Y its label, Z its code, and Z knows Y through X alone.
pub struct Areas {
    /// I[Y;Z]
    pub preserved_relevant: f64,
    /// I[X;Y|Z]
    pub residual: f64,
    /// I[X;Z|Y]
    pub redundant: f64,
    /// H[X|Y,Z]
    pub lost_nuisance: f64,
    /// H[Y|X]
    pub label_uncertainty: f64,
    /// H[Z|X]
    pub encoding_uncertainty: f64,
}

const WIDTH: f64 = 900.;
const HEIGHT: f64 = 860.;
/// Circles of X, Y and Z: centre and radius.
const CIRCLES: [(Point, f64); 3] = [
    ((450., 500.), 270.),
    ((310., 365.), 190.),
    ((590., 365.), 190.),
];

/// Writes the diagram as a PNG. Areas are not to scale.
pub fn information_diagram(path: &std::path::Path, title: &str, areas: &Areas) -> Result<()> {
    let small = Type {
        size: 13.,
        align: Align::Centre,
        ..Type::default()
    };
    let number = Type {
        size: 17.,
        bold: true,
        ..small
    };
    let parts = [
        (
            (450., 350.),
            "I[Y;Z]",
            "preserved relevant",
            areas.preserved_relevant,
        ),
        ((332., 425.), "I[X;Y|Z]", "residual", areas.residual),
        ((568., 425.), "I[X;Z|Y]", "redundant", areas.redundant),
        ((450., 665.), "H[X|Y,Z]", "", areas.lost_nuisance),
        (
            (212., 268.),
            "H[Y|X]",
            "label uncertainty",
            areas.label_uncertainty,
        ),
        (
            (688., 268.),
            "H[Z|X]",
            "encoding uncertainty",
            areas.encoding_uncertainty,
        ),
    ];
    let (relevant, preserved) = (
        areas.preserved_relevant + areas.residual,
        areas.preserved_relevant + areas.redundant,
    );
    let sums = [
        ("H[X]", relevant + areas.redundant + areas.lost_nuisance),
        ("H[Y]", relevant + areas.label_uncertainty),
        ("H[Z]", preserved + areas.encoding_uncertainty),
        ("I[X;Y]", relevant),
        ("I[X;Z]", preserved),
        ("H[Y|Z]", areas.residual + areas.label_uncertainty),
        ("H[Z|Y]", areas.redundant + areas.encoding_uncertainty),
    ];
    figure(path, WIDTH as u32, HEIGHT as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        for (k, ((x, y), radius)) in CIRCLES.into_iter().enumerate() {
            let point = |step: i32| {
                let angle = std::f64::consts::TAU * f64::from(step) / 180.;
                (x + radius * angle.cos(), y + radius * angle.sin())
            };
            let circle: Vec<Point> = (0..=180).map(point).collect();
            canvas.line(&circle, 2.2, palette(k))?;
        }
        for (k, (at, name)) in [
            ((712., 722.), "X"),
            ((140., 208.), "Y"),
            ((760., 208.), "Z"),
        ]
        .into_iter()
        .enumerate()
        {
            let kind = Type {
                size: 26.,
                bold: true,
                colour: palette(k),
                ..small
            };
            canvas.text(at, name, kind)?;
        }
        for ((x, y), symbol, name, value) in parts {
            canvas.text((x, y - 22.), symbol, small)?;
            canvas.text((x, y), &format!("{value:.3}"), number)?;
            let soft = Type {
                colour: SOFT,
                size: 12.,
                ..small
            };
            // Of two words each has its line.
            for (line, word) in name.split(' ').enumerate() {
                canvas.text((x, y + 20. + 15. * line as f64), word, soft)?;
            }
        }
        let sums = sums.map(|(name, value)| format!("{name} = {value:.3}"));
        let line = Type { size: 14., ..small };
        canvas.text((WIDTH / 2., 800.), &sums.join("    "), line)?;
        let note = "nats; areas are not to scale; I[Y;Z|X] = 0, since Z knows Y through X alone";
        canvas.text(
            (WIDTH / 2., 828.),
            note,
            Type {
                colour: SOFT,
                ..small
            },
        )
    })
}
