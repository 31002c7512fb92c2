//! A drawing area that is drawn twice as large as it is saved, for smooth edges, with a typeface of its own: no font has
//! to be installed.

use super::super::{file_error, report::write_whole};
use super::{INK, WHITE};
use candle_prob::Result;
use plotters::backend::BitMapBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontStyle, FontTransform, IntoFont, RGBColor, TextStyle, register_font,
};
use std::path::Path;

/// Both sides are drawn this many times larger.
const SCALE: f64 = 2.;
const FONT: &str = "figures";
const MOST_PIXELS: u64 = 50_000_000;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Fault = DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>;
pub type Drawn = std::result::Result<(), Fault>;
pub type Point = (f64, f64);

/// Coordinates are pixels of the saved image.
pub struct Canvas<'a> {
    area: Area<'a>,
}

/// Where a text's anchor lies: left, centre or right of it.
#[derive(Clone, Copy)]
pub enum Align {
    Left,
    Centre,
    Right,
}

/// Size, weight, colour and anchor of a text; the anchor is at half the height.
#[derive(Clone, Copy)]
pub struct Type {
    pub size: f64,
    pub bold: bool,
    pub colour: RGBColor,
    pub align: Align,
    pub upright: bool,
}

impl Default for Type {
    fn default() -> Self {
        Type {
            size: 15.,
            bold: false,
            colour: INK,
            align: Align::Left,
            upright: false,
        }
    }
}

/// Marks, told apart by form as well as by colour.
#[derive(Clone, Copy)]
pub enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
}

impl Mark {
    pub fn of(index: usize) -> Self {
        [Mark::Circle, Mark::Square, Mark::Triangle, Mark::Diamond][index % 4]
    }
}

/// Draws a figure of `width` x `height` pixels and writes it whole.
pub fn figure(
    path: &Path,
    width: u32,
    height: u32,
    draw: impl FnOnce(&Canvas) -> Drawn,
) -> Result<()> {
    // The backend's own messages are made for programmers.
    let failed = |_: Fault| file_error(path, "a figure that can be drawn", "one that cannot");
    for (style, bytes) in [
        (FontStyle::Normal, dejavu::sans::regular()),
        (FontStyle::Bold, dejavu::sans::bold()),
    ] {
        register_font(FONT, style, bytes)
            .map_err(|_| file_error(path, "a readable font", "a damaged one"))?;
    }
    let scale = SCALE as u32;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MOST_PIXELS {
        let expected = format!("a figure of at most {MOST_PIXELS} pixels");
        return Err(file_error(path, expected, pixels));
    }
    let (wide, high) = (width * scale, height * scale);
    let mut large = vec![255; (3 * wide * high) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut large, (wide, high)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let canvas = Canvas { area };
        draw(&canvas).map_err(failed)?;
        canvas.area.present().map_err(failed)?;
    }
    let small = shrink(&large, wide as usize, scale as usize);
    let bytes = encode(&small, width, height)
        .map_err(|e| file_error(path, "a figure that can be encoded", e))?;
    write_whole(path, |temporary| {
        std::fs::write(temporary, &bytes).map_err(|e| file_error(path, "a writable file", e))
    })
}

/// Three bytes for each pixel as a PNG file.
fn encode(
    pixels: &[u8],
    width: u32,
    height: u32,
) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_adaptive_filter(png::AdaptiveFilterType::Adaptive);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// The mean of each `scale` x `scale` square.
fn shrink(large: &[u8], wide: usize, scale: usize) -> Vec<u8> {
    let width = wide / scale;
    let mut small = Vec::with_capacity(large.len() / (scale * scale));
    for rows in large.chunks_exact(3 * wide * scale) {
        for x in 0..width {
            for channel in 0..3 {
                let sum: usize = (0..scale * scale)
                    .map(|k| {
                        let (dy, dx) = (k / scale, k % scale);
                        usize::from(rows[3 * (dy * wide + x * scale + dx) + channel])
                    })
                    .sum();
                small.push((sum / (scale * scale)) as u8);
            }
        }
    }
    small
}

fn pixel((x, y): Point) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

impl Canvas<'_> {
    fn style(&self, kind: Type) -> TextStyle<'static> {
        let style = if kind.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let font = (FONT, kind.size * SCALE, style).into_font();
        let font = if kind.upright {
            font.transform(FontTransform::Rotate270)
        } else {
            font
        };
        let horizontal = match kind.align {
            Align::Left => HPos::Left,
            Align::Centre => HPos::Center,
            Align::Right => HPos::Right,
        };
        let style: TextStyle = font.color(&kind.colour);
        style.pos(Pos::new(horizontal, VPos::Center))
    }

    pub fn text(&self, at: Point, text: &str, kind: Type) -> Drawn {
        let style = self.style(kind);
        self.area
            .draw(&Text::new(text.to_string(), pixel(at), style))
    }

    /// Width of a text in pixels.
    pub fn text_width(&self, text: &str, kind: Type) -> std::result::Result<f64, Fault> {
        let (width, _) = self.area.estimate_text_size(text, &self.style(kind))?;
        Ok(f64::from(width) / SCALE)
    }

    pub fn line(&self, points: &[Point], width: f64, colour: RGBColor) -> Drawn {
        let style = colour.stroke_width((width * SCALE).round() as u32);
        let points: Vec<_> = points.iter().copied().map(pixel).collect();
        self.area.draw(&PathElement::new(points, style))
    }

    /// A line of dashes, 6 pixels long, along all points.
    pub fn dashed(&self, points: &[Point], width: f64, colour: RGBColor) -> Drawn {
        const DASH: f64 = 6.;
        let mut along = 0.;
        for pair in points.windows(2) {
            let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
            let length = (bx - ax).hypot(by - ay);
            let at = |s: f64| (ax + (bx - ax) * s / length, ay + (by - ay) * s / length);
            let mut from = 0.;
            while from < length {
                let phase = (along + from) / DASH;
                let to = ((phase.floor() + 1.) * DASH - along)
                    .min(length)
                    .max(from + 1e-3);
                if phase.floor() as i64 % 2 == 0 {
                    self.line(&[at(from), at(to.min(length))], width, colour)?;
                }
                from = to;
            }
            along += length;
        }
        Ok(())
    }

    pub fn rectangle(&self, from: Point, to: Point, colour: RGBColor) -> Drawn {
        let corners = [pixel(from), pixel(to)];
        self.area.draw(&Rectangle::new(corners, colour.filled()))
    }

    pub fn mark(&self, (x, y): Point, mark: Mark, radius: f64, colour: RGBColor) -> Drawn {
        let r = radius;
        match mark {
            Mark::Circle => {
                let radius = (r * SCALE).round() as i32;
                self.area
                    .draw(&Circle::new(pixel((x, y)), radius, colour.filled()))
            }
            Mark::Square => {
                let r = 0.88 * r;
                self.rectangle((x - r, y - r), (x + r, y + r), colour)
            }
            Mark::Triangle => {
                let (wide, high) = (1.15 * r, 1.2 * r);
                let corners = [
                    (x - wide, y + 0.8 * r),
                    (x + wide, y + 0.8 * r),
                    (x, y - high),
                ];
                self.polygon(&corners, colour)
            }
            Mark::Diamond => {
                let r = 1.2 * r;
                self.polygon(&[(x - r, y), (x, y - r), (x + r, y), (x, y + r)], colour)
            }
        }
    }

    /// An arrow of which the head takes the last pixels; a short one is all head.
    pub fn arrow(&self, from: Point, to: Point, colour: RGBColor) -> Drawn {
        const HEAD: f64 = 5.;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        // Below half a pixel there is no direction to be seen.
        if length.is_nan() || length < 0.5 {
            return Ok(());
        }
        let (dx, dy) = (dx / length, dy / length);
        let head = HEAD.min(length);
        let neck = (to.0 - head * dx, to.1 - head * dy);
        self.line(&[from, neck], 1., colour)?;
        let wing = |side: f64| (neck.0 - side * head * dy, neck.1 + side * head * dx);
        self.polygon(&[to, wing(0.4), wing(-0.4)], colour)
    }

    fn polygon(&self, corners: &[Point], colour: RGBColor) -> Drawn {
        let corners: Vec<_> = corners.iter().copied().map(pixel).collect();
        self.area.draw(&Polygon::new(corners, colour.filled()))
    }
}
