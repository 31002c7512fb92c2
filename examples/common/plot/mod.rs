//! Figures as PNG files: learning curves, bars, densities, maps of the plane, the information plane and the
//! information diagram, sheets of images.

mod bars;
mod canvas;
mod curves;
mod densities;
mod frame;
mod information_diagram;
mod maps;
mod numerals;
mod plane;
mod portraits;
mod samples;
mod trajectories;

pub use bars::bars;
pub use curves::{Curve, Panel, curves};
pub use densities::{Cell, densities, histogram};
pub use information_diagram::{Areas, information_diagram};
pub use maps::{Content, Map, maps, maps_in_rows};
pub use numerals::numerals;
pub use plane::{Path, information_plane};
pub use portraits::{Portrait, Regions, portraits, square_window, window};
pub use samples::{Caption, Sample, samples};
pub use trajectories::{Trajectories, Trajectory, trajectories};

use plotters::style::RGBColor;

/// Okabe and Ito's colours, told apart by every kind of colour vision, those with enough contrast on white first.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const INK: RGBColor = RGBColor(34, 34, 34);
const SOFT: RGBColor = RGBColor(102, 102, 102);
const GRID: RGBColor = RGBColor(228, 228, 228);
const WHITE: RGBColor = RGBColor(255, 255, 255);

fn palette(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// `amount` of `to`, the rest of `from`.
fn mix(from: RGBColor, to: RGBColor, amount: f64) -> RGBColor {
    let channel =
        |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * amount).round() as u8;
    RGBColor(
        channel(from.0, to.0),
        channel(from.1, to.1),
        channel(from.2, to.2),
    )
}

/// A colour's shade at `t` in [0, 1], light to dark.
fn shade(colour: RGBColor, t: f64) -> RGBColor {
    let light = mix(WHITE, colour, 0.22);
    let dark = mix(colour, RGBColor(0, 0, 0), 0.45);
    mix(light, dark, t)
}
