//! Panels over a square of the plane: densities as heat maps, samples as points.

use super::canvas::{Align, Canvas, Drawn, Point, Type, figure};
use super::{INK, SOFT, mix};
use candle_prob::Result;
use plotters::style::RGBColor;

/// A panel over [-reach, reach]^2.
pub struct Map {
    pub caption: String,
    pub reach: f64,
    pub content: Content,
}

pub enum Content {
    /// `side * side` values from 0 to their largest, the first row at the bottom.
    Heat { side: usize, values: Vec<f32> },
    /// Points, each with a number in [0, 1) for its place on the colour wheel, or without.
    Points(Vec<(Point, Option<f64>)>),
}

const SIDE: f64 = 280.;
const GAP: f64 = 24.;
const HEAD: f64 = 52.;
const FOOT: f64 = 44.;

/// Dark violet to yellow, of evenly growing lightness: five colours of the viridis scale.
const HEAT: [RGBColor; 5] = [
    RGBColor(68, 1, 84),
    RGBColor(59, 82, 139),
    RGBColor(33, 145, 140),
    RGBColor(94, 201, 98),
    RGBColor(253, 231, 37),
];

/// Writes the panels side by side as a PNG.
pub fn maps(path: &std::path::Path, title: &str, panels: &[Map]) -> Result<()> {
    maps_in_rows(path, title, panels.len(), panels)
}

/// As [`maps`], so many in a row.
pub fn maps_in_rows(
    path: &std::path::Path,
    title: &str,
    columns: usize,
    panels: &[Map],
) -> Result<()> {
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let width = GAP + columns as f64 * (SIDE + GAP);
    let height = HEAD + rows as f64 * (SIDE + FOOT);
    figure(path, width as u32, height as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((GAP, 28.), title, heading)?;
        for (k, panel) in panels.iter().enumerate() {
            let left = GAP + (k % columns) as f64 * (SIDE + GAP);
            let top = HEAD + (k / columns) as f64 * (SIDE + FOOT);
            draw(canvas, panel, (left, top))?;
        }
        Ok(())
    })
}

fn draw(canvas: &Canvas, panel: &Map, (left, top): Point) -> Drawn {
    match &panel.content {
        Content::Heat { side, values } => {
            let largest = values.iter().fold(f32::MIN_POSITIVE, |a, b| a.max(*b));
            let cell = SIDE / *side as f64;
            for (k, value) in values.iter().enumerate() {
                let x = left + cell * (k % side) as f64;
                let y = top + SIDE - cell * (k / side + 1) as f64;
                let colour = heat(f64::from(value / largest));
                canvas.rectangle((x, y), (x + cell, y + cell), colour)?;
            }
        }
        Content::Points(points) => {
            // Few points want to be seen one by one.
            let size = if points.len() < 1000 { 3. } else { 1. };
            for ((x, y), turn) in points {
                let place = |v: f64| (v / panel.reach + 1.) / 2.;
                let (x, y) = (place(*x), 1. - place(*y));
                if (0. ..=1.).contains(&x) && (0. ..=1.).contains(&y) {
                    let at = (left + SIDE * x, top + SIDE * y);
                    let colour = turn.map_or(HEAT[1], wheel);
                    canvas.rectangle(at, (at.0 + size, at.1 + size), colour)?;
                }
            }
        }
    }
    let (right, bottom) = (left + SIDE, top + SIDE);
    let corners = [
        (left, top),
        (right, top),
        (right, bottom),
        (left, bottom),
        (left, top),
    ];
    canvas.line(&corners, 1., SOFT)?;
    let centre = Type {
        align: Align::Centre,
        colour: INK,
        ..Type::default()
    };
    canvas.text((left + SIDE / 2., bottom + 18.), &panel.caption, centre)
}

fn heat(t: f64) -> RGBColor {
    let t = t.clamp(0., 1.) * (HEAT.len() - 1) as f64;
    let k = (t as usize).min(HEAT.len() - 2);
    mix(HEAT[k], HEAT[k + 1], t - k as f64)
}

/// A turn of the colour wheel at medium lightness.
fn wheel(turn: f64) -> RGBColor {
    let channel = |shift: f64| {
        let wave = 0.5 + 0.5 * (std::f64::consts::TAU * (turn + shift)).cos();
        (30. + 185. * wave).round() as u8
    };
    RGBColor(channel(0.), channel(2. / 3.), channel(1. / 3.))
}
