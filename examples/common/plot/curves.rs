//! Learning curves: panels side by side under one legend.

use super::canvas::{Canvas, Drawn, Mark, Point, Type, figure};
use super::frame::{Axis, Frame};
use super::palette;
use candle_prob::Result;

pub struct Curve {
    pub name: String,
    /// Curves of one colour belong together; dashes tell them apart.
    pub colour: usize,
    pub dashed: bool,
    pub points: Vec<Point>,
}

pub struct Panel {
    pub x_label: String,
    pub y_label: String,
    pub logarithmic: bool,
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 520.;
const HEIGHT: f64 = 380.;
/// Of the head without legend, and of a row of the legend.
const TITLE: f64 = 72.;
const ROW: f64 = 24.;

/// Writes the panels as a PNG. A curve of few points also shows its points.
pub fn curves(path: &std::path::Path, title: &str, panels: &[Panel]) -> Result<()> {
    let columns = panels.len().clamp(1, 2);
    let rows = panels.len().div_ceil(columns).max(1);
    let width = (columns as f64 * WIDTH) as u32;
    let names = names(panels);
    let head = TITLE + names.len().div_ceil(in_a_row(&names, width)).max(1) as f64 * ROW;
    let height = (head + rows as f64 * HEIGHT) as u32;
    figure(path, width, height, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        legend(canvas, &names, width)?;
        for (k, panel) in panels.iter().enumerate() {
            let corner = (
                (k % columns) as f64 * WIDTH,
                head + (k / columns) as f64 * HEIGHT,
            );
            draw(canvas, panel, corner)?;
        }
        Ok(())
    })
}

/// A curve of each name.
fn names(panels: &[Panel]) -> Vec<&Curve> {
    let mut seen: Vec<&Curve> = vec![];
    for curve in panels.iter().flat_map(|panel| &panel.curves) {
        if !seen.iter().any(|other| other.name == curve.name) {
            seen.push(curve);
        }
    }
    seen
}

/// The width of a place in the legend, by the longest name.
fn place(names: &[&Curve]) -> f64 {
    let longest = names.iter().map(|curve| curve.name.chars().count()).max();
    70. + 8.5 * longest.unwrap_or(0) as f64
}

fn in_a_row(names: &[&Curve], width: u32) -> usize {
    ((f64::from(width) - 28.) / place(names)).floor().max(1.) as usize
}

fn legend(canvas: &Canvas, names: &[&Curve], width: u32) -> Drawn {
    let columns = in_a_row(names, width);
    for (k, curve) in names.iter().enumerate() {
        let x = 28. + (k % columns) as f64 * place(names);
        let y = TITLE - 8. + (k / columns) as f64 * ROW;
        stroke(canvas, &[(x, y), (x + 34., y)], curve)?;
        canvas.text((x + 42., y), &curve.name, Type::default())?;
    }
    Ok(())
}

fn stroke(canvas: &Canvas, points: &[Point], curve: &Curve) -> Drawn {
    let colour = palette(curve.colour);
    if curve.dashed {
        canvas.dashed(points, 2., colour)
    } else {
        canvas.line(points, 2.2, colour)
    }
}

fn draw(canvas: &Canvas, panel: &Panel, (left, top): Point) -> Drawn {
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let frame = Frame {
        x: Axis::around(&panel.x_label, points().map(|p| p.0), false),
        y: Axis::around(&panel.y_label, points().map(|p| p.1), panel.logarithmic),
        left: left + 92.,
        top: top + 8.,
        right: left + WIDTH - 24.,
        bottom: top + HEIGHT - 66.,
    };
    frame.draw(canvas)?;
    for curve in &panel.curves {
        let placed = frame.all(&curve.points);
        stroke(canvas, &placed, curve)?;
        if placed.len() <= 25 {
            for &point in &placed {
                canvas.mark(point, Mark::of(curve.colour), 3.2, palette(curve.colour))?;
            }
        }
    }
    Ok(())
}
