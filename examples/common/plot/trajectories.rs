//! Ways of trainings through the information plane, of which a colour tells the weight.

use super::canvas::{Canvas, Drawn, Mark, Point, Type, figure};
use super::frame::{Axis, Frame};
use super::{SOFT, WHITE, mix};
use candle_prob::Result;
use plotters::style::RGBColor;

/// One training, a point for each epoch.
pub struct Trajectory {
    pub name: String,
    /// Its place on the scale of colours, 0 to 1.
    pub shade: f64,
    pub points: Vec<Point>,
}

/// Trainings that belong together.
pub struct Trajectories {
    pub title: String,
    pub paths: Vec<Trajectory>,
}

/// Light to dark is not told apart from points that grow: another hue for every weight, and as dark as white allows.
const RAMP: [RGBColor; 5] = [
    RGBColor(68, 1, 84),
    RGBColor(59, 82, 139),
    RGBColor(33, 145, 140),
    RGBColor(94, 180, 70),
    RGBColor(225, 180, 20),
];
const PANEL: f64 = 460.;
const HEIGHT: f64 = 560.;
const LEGEND: f64 = 110.;

fn colour(shade: f64) -> RGBColor {
    let place = shade.clamp(0., 1.) * (RAMP.len() - 1) as f64;
    let at = (place as usize).min(RAMP.len() - 2);
    mix(RAMP[at], RAMP[at + 1], place - at as f64)
}

/// Writes panels side by side, on the same axes, as a PNG; points grow with the epoch, and the dashed line is `limit`.
pub fn trajectories(
    path: &std::path::Path,
    title: &str,
    [x_label, y_label]: [&str; 2],
    panels: &[Trajectories],
    limit: &[Point],
) -> Result<()> {
    let paths = || panels.iter().flat_map(|panel| &panel.paths);
    let points = || paths().flat_map(|path| &path.points);
    let width = (PANEL * panels.len().max(1) as f64).max(2. * PANEL);
    let epochs = paths().map(|path| path.points.len()).max().unwrap_or(0);
    figure(path, width as u32, HEIGHT as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        legend(canvas, panels, epochs)?;
        for (k, panel) in panels.iter().enumerate() {
            let left = PANEL * k as f64;
            let frame = Frame {
                x: Axis::around(x_label, points().map(|p| p.0), false),
                y: Axis::around(y_label, points().map(|p| p.1), false),
                left: left + 92.,
                top: 124.,
                right: left + PANEL - 20.,
                bottom: HEIGHT - 66.,
            };
            frame.draw(canvas)?;
            let middle = Type {
                bold: true,
                ..Type::default()
            };
            canvas.text((frame.left, 106.), &panel.title, middle)?;
            let inside = |(x, y): &Point| {
                (frame.left..=frame.right).contains(x) && (frame.top..=frame.bottom).contains(y)
            };
            let line: Vec<Point> = frame.all(limit).into_iter().filter(inside).collect();
            canvas.dashed(&line, 1.5, SOFT)?;
            for path in &panel.paths {
                draw(canvas, &frame, path)?;
            }
        }
        Ok(())
    })
}

fn draw(canvas: &Canvas, frame: &Frame, path: &Trajectory) -> Drawn {
    let colour = colour(path.shade);
    let placed = frame.all(&path.points);
    canvas.line(&placed, 1., mix(WHITE, colour, 0.45))?;
    for (k, point) in placed.iter().enumerate() {
        let t = k as f64 / (placed.len() - 1).max(1) as f64;
        let radius = 1.6 + 3.6 * t;
        canvas.mark(*point, Mark::Circle, radius + 0.8, WHITE)?;
        canvas.mark(*point, Mark::Circle, radius, colour)?;
    }
    Ok(())
}

/// A mark for each name that there is.
fn legend(canvas: &Canvas, panels: &[Trajectories], epochs: usize) -> Drawn {
    let mut seen: Vec<&str> = vec![];
    let mut x = 34.;
    for path in panels.iter().flat_map(|panel| &panel.paths) {
        if seen.contains(&path.name.as_str()) {
            continue;
        }
        seen.push(&path.name);
        canvas.mark((x, 66.), Mark::Circle, 5.2, colour(path.shade))?;
        canvas.text((x + 12., 66.), &path.name, Type::default())?;
        x += LEGEND.max(24. + canvas.text_width(&path.name, Type::default())?);
    }
    let note = Type {
        size: 13.,
        colour: SOFT,
        ..Type::default()
    };
    canvas.text(
        (x, 66.),
        &format!("small to large: epoch 1 to {epochs}"),
        note,
    )
}
