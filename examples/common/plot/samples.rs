//! A sheet of images with captions.

use super::canvas::{Align, Canvas, Drawn, Point, Type, figure};
use super::{GRID, INK, PALETTE, SOFT};
use candle_prob::Result;
use plotters::style::RGBColor;

pub struct Sample {
    /// `height * width` values in [0, 1] of a grey image; of one in colour all of red, then green, then blue.
    pub pixels: Vec<f32>,
    pub captions: Vec<Caption>,
}

pub struct Caption {
    pub name: String,
    pub text: String,
    /// Right, wrong, or neither.
    pub right: Option<bool>,
}

const GAP: f64 = 26.;
const LINE: f64 = 19.;
const HEAD: f64 = 56.;

/// Writes the images, `columns` in a row, as a PNG; right captions carry a tick, wrong ones a cross.
pub fn samples(
    path: &std::path::Path,
    title: &str,
    (height, width): (usize, usize),
    columns: usize,
    images: &[Sample],
) -> Result<()> {
    let columns = columns.clamp(1, images.len().max(1));
    let rows = images.len().div_ceil(columns);
    // Whole pixels, and room for the captions.
    let zoom = (150. / width as f64).ceil();
    let (wide, high) = (zoom * width as f64, zoom * height as f64);
    let lines = images
        .iter()
        .map(|image| image.captions.len())
        .max()
        .unwrap_or(0);
    let row = high + LINE * lines as f64 + GAP;
    let size = (
        columns as f64 * (wide + GAP) + GAP,
        HEAD + rows as f64 * row + 8.,
    );
    figure(path, size.0 as u32, size.1 as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((GAP, 30.), title, heading)?;
        for (k, image) in images.iter().enumerate() {
            let left = GAP + (k % columns) as f64 * (wide + GAP);
            let top = HEAD + (k / columns) as f64 * row;
            draw(canvas, image, (height, width), zoom, (left, top))?;
            for (n, caption) in image.captions.iter().enumerate() {
                let y = top + high + 14. + LINE * n as f64;
                write(canvas, caption, (left, y), left + wide)?;
            }
        }
        Ok(())
    })
}

fn draw(
    canvas: &Canvas,
    image: &Sample,
    (height, width): (usize, usize),
    zoom: f64,
    (left, top): Point,
) -> Drawn {
    let size = height * width;
    let byte = |k: usize| (image.pixels[k].clamp(0., 1.) * 255.).round() as u8;
    let coloured = image.pixels.len() == 3 * size;
    for k in 0..size {
        let x = left + zoom * (k % width) as f64;
        let y = top + zoom * (k / width) as f64;
        let colour = match coloured {
            true => RGBColor(byte(k), byte(k + size), byte(k + 2 * size)),
            false => RGBColor(byte(k), byte(k), byte(k)),
        };
        canvas.rectangle((x, y), (x + zoom, y + zoom), colour)?;
    }
    Ok(())
}

fn write(canvas: &Canvas, caption: &Caption, (left, y): Point, right: f64) -> Drawn {
    let plain = Type {
        size: 13.,
        ..Type::default()
    };
    canvas.text(
        (left, y),
        &caption.name,
        Type {
            colour: SOFT,
            ..plain
        },
    )?;
    let (sign, colour) = match caption.right {
        Some(true) => ("\u{2713}", PALETTE[2]),
        Some(false) => ("\u{2717}", PALETTE[1]),
        None => ("", INK),
    };
    let end = if sign.is_empty() { right } else { right - 18. };
    let kind = Type {
        align: Align::Right,
        ..plain
    };
    canvas.text((end, y), &caption.text, kind)?;
    canvas.text(
        (right, y),
        sign,
        Type {
            colour,
            bold: true,
            ..kind
        },
    )?;
    canvas.line(&[(left, y + LINE / 2.), (right, y + LINE / 2.)], 1., GRID)
}
