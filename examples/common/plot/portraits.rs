//! Panels of the plane with what moves in it: regions of classes, arrows of a field, paths, points.

use super::canvas::{Align, Canvas, Drawn, Mark, Point, Type, figure};
use super::frame::{Axis, Frame};
use super::{SOFT, WHITE, mix, palette};
use candle_prob::Result;

/// A panel, as wide as it is high.
#[derive(Debug, Clone, Default)]
pub struct Portrait {
    pub caption: String,
    /// The ends of both axes.
    pub window: [Point; 2],
    pub regions: Option<Regions>,
    pub arrows: Vec<(Point, Point)>,
    /// Each with its place in the palette, as are the points.
    pub paths: Vec<(Vec<Point>, usize)>,
    pub points: Vec<(Point, usize)>,
}

/// `side * side` classes that fill the window, the first row at the bottom.
#[derive(Debug, Clone)]
pub struct Regions {
    pub side: usize,
    pub classes: Vec<u8>,
}

const SIDE: f64 = 330.;
const LEFT: f64 = 64.;
const RIGHT: f64 = 16.;
const HEAD: f64 = 60.;
const CAPTION: f64 = 30.;
const FOOT: f64 = 40.;
/// Pieces of a path that are drawn as lines.
const MOST_LINES: usize = 1000;

/// A window that holds all finite points, with some room at its ends.
pub fn window(points: impl Iterator<Item = Point>) -> [Point; 2] {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let grow = |(a, b): Point, x: f64| (a.min(x), b.max(x));
    let finite = points.filter(|(x, y)| x.is_finite() && y.is_finite());
    let (x, y) = finite.fold((none, none), |(x, y), p| (grow(x, p.0), grow(y, p.1)));
    [x, y].map(|(from, to)| match to - from {
        width if width > 0. => (from - 0.04 * width, to + 0.04 * width),
        0. => (from - 1., to + 1.),
        _ => (-1., 1.),
    })
}

/// The same with sides of one length, so that both axes have one scale.
pub fn square_window(points: impl Iterator<Item = Point>) -> [Point; 2] {
    let window = window(points);
    let half = window
        .map(|(from, to)| to - from)
        .into_iter()
        .fold(0., f64::max)
        / 2.;
    window.map(|(from, to)| ((from + to) / 2. - half, (from + to) / 2. + half))
}

/// Writes the panels, so many in a row, as a PNG.
pub fn portraits(
    path: &std::path::Path,
    title: &str,
    columns: usize,
    panels: &[Portrait],
) -> Result<()> {
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let (wide, high) = (LEFT + SIDE + RIGHT, CAPTION + SIDE + FOOT);
    let (width, height) = (columns as f64 * wide, HEAD + rows as f64 * high);
    figure(path, width as u32, height as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        for (k, panel) in panels.iter().enumerate() {
            let left = LEFT + (k % columns) as f64 * wide;
            let top = HEAD + CAPTION + (k / columns) as f64 * high;
            draw(canvas, panel, (left, top))?;
        }
        Ok(())
    })
}

fn draw(canvas: &Canvas, panel: &Portrait, (left, top): Point) -> Drawn {
    let (right, bottom) = (left + SIDE, top + SIDE);
    let [x, y] = panel.window;
    let frame = Frame {
        x: Axis::between("", x),
        y: Axis::between("", y),
        left,
        top,
        right,
        bottom,
    };
    frame.draw(canvas)?;
    if let Some(regions) = &panel.regions {
        fill(canvas, regions, (left, bottom))?;
    }
    let centre = Type {
        align: Align::Centre,
        ..Type::default()
    };
    canvas.text((left + SIDE / 2., top - 16.), &panel.caption, centre)?;
    let inside = |(x, y): Point| (left..=right).contains(&x) && (top..=bottom).contains(&y);
    for (from, to) in &panel.arrows {
        let (from, to) = (frame.at(*from), frame.at(*to));
        if inside(from) && inside(to) {
            canvas.arrow(from, to, SOFT)?;
        }
    }
    for (path, colour) in &panel.paths {
        let path: Vec<Point> = frame.all(path);
        // Piece by piece: joints of sharp turns would be long spikes. What leaves the window is not followed outside.
        let pieces = path
            .windows(2)
            .filter(|ends| ends.iter().all(|at| inside(*at)));
        for ends in pieces.filter(|_| path.len() <= MOST_LINES) {
            canvas.line(ends, 1.6, palette(*colour))?;
        }
    }
    // Of long paths the places, those of all paths in turn, so that none covers another.
    let long = || panel.paths.iter().filter(|path| path.0.len() > MOST_LINES);
    let longest = long().map(|path| path.0.len()).max().unwrap_or(0);
    for k in 0..longest {
        for (path, colour) in long() {
            let at = path.get(k).map(|point| frame.at(*point));
            if let Some(at) = at.filter(|at| inside(*at)) {
                canvas.rectangle(at, (at.0 + 1., at.1 + 1.), palette(*colour))?;
            }
        }
    }
    // A white rim keeps neighbours apart where there are few, and points from a region of their colour.
    let rim = panel.regions.is_some() || panel.points.len() < 100;
    let radius = if panel.points.len() < 100 { 3.6 } else { 1.8 };
    for (point, colour) in &panel.points {
        let at = frame.at(*point);
        if inside(at) {
            if rim {
                canvas.mark(at, Mark::Circle, radius + 0.7, WHITE)?;
            }
            canvas.mark(at, Mark::Circle, radius, palette(*colour))?;
        }
    }
    Ok(())
}

fn fill(canvas: &Canvas, regions: &Regions, (left, bottom): Point) -> Drawn {
    let cell = SIDE / regions.side as f64;
    for (k, class) in regions.classes.iter().enumerate() {
        let x = left + cell * (k % regions.side) as f64;
        let y = bottom - cell * (k / regions.side) as f64;
        let colour = mix(WHITE, palette(usize::from(*class)), 0.38);
        canvas.rectangle((x, y - cell), (x + cell, y), colour)?;
    }
    Ok(())
}
