//! A grid of small panels, each with histograms as bars and functions as lines.

use super::canvas::{Align, Canvas, Drawn, Point, Type, figure};
use super::frame::{Axis, Frame};
use super::{WHITE, mix, palette};
use candle_prob::Result;
use plotters::style::RGBColor;

/// A panel of the grid.
pub struct Cell {
    pub caption: String,
    pub x_label: String,
    /// (left end, right end, height) of each bar.
    pub bars: Vec<(f64, f64, f64)>,
    /// Lines, with the colours of the palette in this order.
    pub lines: Vec<Vec<Point>>,
}

const WIDTH: f64 = 380.;
const HEIGHT: f64 = 300.;
/// Title and legend.
const HEAD: f64 = 76.;

/// The bars of a histogram whose area is 1.
pub fn histogram(values: &[f64], (from, to): Point, bins: usize) -> Vec<(f64, f64, f64)> {
    let width = (to - from) / bins as f64;
    let mut counts = vec![0usize; bins];
    for value in values {
        let bin = ((value - from) / width).floor();
        if (0. ..bins as f64).contains(&bin) {
            counts[bin as usize] += 1;
        }
    }
    let bar = |(k, count): (usize, &usize)| {
        let left = from + k as f64 * width;
        (
            left,
            left + width,
            *count as f64 / (values.len() as f64 * width),
        )
    };
    counts.iter().enumerate().map(bar).collect()
}

/// Writes rows of panels as a PNG. The legend says what the bars are, then each line. Vertical axes hold 0.
pub fn densities(
    path: &std::path::Path,
    title: &str,
    names: &[&str],
    rows: &[Vec<Cell>],
) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
    let (width, height) = (columns as f64 * WIDTH, HEAD + rows.len() as f64 * HEIGHT);
    figure(path, width as u32, height as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((24., 28.), title, heading)?;
        legend(canvas, names)?;
        for (i, row) in rows.iter().enumerate() {
            for (j, cell) in row.iter().enumerate() {
                draw(canvas, cell, (j as f64 * WIDTH, HEAD + i as f64 * HEIGHT))?;
            }
        }
        Ok(())
    })
}

fn legend(canvas: &Canvas, names: &[&str]) -> Drawn {
    let (mut x, y) = (24., HEAD - 20.);
    for (k, name) in names.iter().enumerate() {
        match k {
            0 => canvas.rectangle((x, y - 6.), (x + 26., y + 6.), bar_colour())?,
            _ => canvas.line(&[(x, y), (x + 26., y)], 2., palette(k - 1))?,
        }
        canvas.text((x + 34., y), name, Type::default())?;
        x += 62. + canvas.text_width(name, Type::default())?;
    }
    Ok(())
}

fn bar_colour() -> RGBColor {
    mix(WHITE, palette(0), 0.45)
}

fn draw(canvas: &Canvas, cell: &Cell, (left, top): Point) -> Drawn {
    let points = || cell.lines.iter().flatten();
    let bars = || cell.bars.iter();
    let across = points().map(|p| p.0).chain(bars().flat_map(|b| [b.0, b.1]));
    let up = points().map(|p| p.1).chain(bars().map(|b| b.2)).chain([0.]);
    let frame = Frame {
        x: Axis::around(&cell.x_label, across, false),
        y: Axis::around("", up, false),
        left: left + 52.,
        top: top + 30.,
        right: left + WIDTH - 16.,
        bottom: top + HEIGHT - 62.,
    };
    frame.draw(canvas)?;
    for (from, to, height) in &cell.bars {
        canvas.rectangle(
            frame.at((*from, *height)),
            frame.at((*to, 0.)),
            bar_colour(),
        )?;
    }
    for (k, line) in cell.lines.iter().enumerate() {
        canvas.line(&frame.all(line), 2., palette(k))?;
    }
    let centre = Type {
        align: Align::Centre,
        ..Type::default()
    };
    canvas.text(
        ((frame.left + frame.right) / 2., top + 14.),
        &cell.caption,
        centre,
    )
}
