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
const HEAD: f64 = 96.;

/// Writes the panels as a PNG. A curve of few points also shows its points.
pub fn curves(path: &std::path::Path, title: &str, panels: &[Panel]) -> Result<()> {
    let columns = panels.len().clamp(1, 2);
    let rows = panels.len().div_ceil(columns).max(1);
    let width = (columns as f64 * WIDTH) as u32;
    let height = (HEAD + rows as f64 * HEIGHT) as u32;
    figure(path, width, height, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        legend(canvas, panels)?;
        for (k, panel) in panels.iter().enumerate() {
            let corner = (
                (k % columns) as f64 * WIDTH,
                HEAD + (k / columns) as f64 * HEIGHT,
            );
            draw(canvas, panel, corner)?;
        }
        Ok(())
    })
}

fn legend(canvas: &Canvas, panels: &[Panel]) -> Drawn {
    let mut seen: Vec<&str> = vec![];
    let mut x = 28.;
    for curve in panels.iter().flat_map(|panel| &panel.curves) {
        if seen.contains(&curve.name.as_str()) {
            continue;
        }
        seen.push(&curve.name);
        stroke(canvas, &[(x, 64.), (x + 34., 64.)], curve)?;
        let kind = Type::default();
        canvas.text((x + 42., 64.), &curve.name, kind)?;
        x += 42. + canvas.text_width(&curve.name, kind)? + 28.;
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
