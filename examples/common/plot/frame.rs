//! Axes: ranges, ticks, grid, labels.

use super::canvas::{Align, Canvas, Drawn, Point, Type};
use super::{GRID, INK, SOFT};

/// A range of values along one side of a frame.
pub struct Axis {
    pub label: String,
    min: f64,
    max: f64,
    logarithmic: bool,
    /// All values are whole numbers, as those of epochs are, and so are the ticks.
    whole: bool,
}

impl Axis {
    /// An axis that holds all finite values, with some room at its ends.
    pub fn around(label: &str, values: impl Iterator<Item = f64>, logarithmic: bool) -> Self {
        let scaled = |v: f64| if logarithmic { v.log10() } else { v };
        let values: Vec<f64> = values.collect();
        let (mut min, mut max) = values
            .iter()
            .map(|&v| scaled(v))
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| {
                (min.min(v), max.max(v))
            });
        if min > max {
            (min, max) = (0., 1.);
        }
        let room = if max > min {
            0.05 * (max - min)
        } else if logarithmic {
            0.5
        } else {
            0.05 * max.abs().max(1.)
        };
        Axis {
            label: label.to_string(),
            min: min - room,
            max: max + room,
            logarithmic,
            whole: values.iter().all(|v| v.fract() == 0.),
        }
    }

    /// An axis between two ends, without room.
    pub fn between(label: &str, (min, max): (f64, f64)) -> Self {
        Axis {
            label: label.to_string(),
            min,
            max,
            logarithmic: false,
            whole: false,
        }
    }

    /// Where a value lies between the ends.
    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic {
            value.log10()
        } else {
            value
        };
        (value - self.min) / (self.max - self.min)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            // Decades alone where there are many, 1-2-5 where there are few, every digit within one.
            let steps: &[f64] = match self.max - self.min {
                decades if decades > 2.5 => &[1.],
                decades if decades > 1. => &[1., 2., 5.],
                _ => &[1., 2., 3., 4., 5., 6., 7., 8., 9.],
            };
            let decades = self.min.floor() as i32..=self.max.ceil() as i32;
            return decades
                .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)))
                .filter(|&v| (0. ..=1.).contains(&self.place(v)))
                .map(|v| (v, number(v, v)))
                .collect();
        }
        let rough = (self.max - self.min) / 5.;
        let rough = if self.whole { rough.max(1.) } else { rough };
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1., 2., 5., 10.]
            .into_iter()
            .map(|s| s * decade)
            .find(|&s| s >= rough)
            .unwrap_or(10. * decade);
        let (first, last) = (
            (self.min / step).ceil() as i64,
            (self.max / step).floor() as i64,
        );
        (first..=last)
            .map(|k| (k as f64 * step, number(k as f64 * step, step)))
            .collect()
    }
}

/// `value` with the digits that a step of `step` needs.
fn number(value: f64, step: f64) -> String {
    let digits = (-step.abs().log10().floor()).clamp(0., 9.) as usize;
    let text = format!("{value:.digits$}");
    let Some((sign, whole)) = text
        .split_once('-')
        .map(|(_, rest)| ("\u{2212}", rest))
        .or(Some(("", &text)))
    else {
        return text;
    };
    // Groups of three from ten thousand on.
    let (whole, fraction) = whole
        .split_once('.')
        .map_or((whole, None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (k, c) in whole.chars().enumerate() {
        if k > 0 && whole.len() > 4 && (whole.len() - k).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(c);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

/// Two axes on a rectangle of the canvas.
pub struct Frame {
    pub x: Axis,
    pub y: Axis,
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Frame {
    pub fn at(&self, (x, y): Point) -> Point {
        (
            self.left + self.x.place(x) * (self.right - self.left),
            self.bottom - self.y.place(y) * (self.bottom - self.top),
        )
    }

    /// The finite points, on the canvas.
    pub fn all(&self, points: &[Point]) -> Vec<Point> {
        let placed = points.iter().map(|&point| self.at(point));
        placed
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect()
    }

    pub fn draw(&self, canvas: &Canvas) -> Drawn {
        let tick = Type {
            size: 13.,
            colour: SOFT,
            ..Type::default()
        };
        for (value, text) in self.x.ticks() {
            let x = self.left + self.x.place(value) * (self.right - self.left);
            canvas.line(&[(x, self.top), (x, self.bottom)], 1., GRID)?;
            let kind = Type {
                align: Align::Centre,
                ..tick
            };
            canvas.text((x, self.bottom + 15.), &text, kind)?;
        }
        for (value, text) in self.y.ticks() {
            let y = self.bottom - self.y.place(value) * (self.bottom - self.top);
            canvas.line(&[(self.left, y), (self.right, y)], 1., GRID)?;
            let kind = Type {
                align: Align::Right,
                ..tick
            };
            canvas.text((self.left - 8., y), &text, kind)?;
        }
        let corner = [
            (self.left, self.top),
            (self.left, self.bottom),
            (self.right, self.bottom),
        ];
        canvas.line(&corner, 1., INK)?;
        let centre = Type {
            align: Align::Centre,
            ..Type::default()
        };
        let middle = ((self.left + self.right) / 2., (self.top + self.bottom) / 2.);
        canvas.text((middle.0, self.bottom + 40.), &self.x.label, centre)?;
        let upright = Type {
            upright: true,
            ..centre
        };
        canvas.text((self.left - 62., middle.1), &self.y.label, upright)
    }
}
