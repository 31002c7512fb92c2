//! Points in the plane, each drawn as the numeral of its class.

use super::canvas::{Align, Point, Type, figure};
use super::frame::{Axis, Frame};
use super::palette;
use candle_prob::Result;

const WIDTH: f64 = 760.;
const HEIGHT: f64 = 720.;

/// Writes the points as a PNG; numerals tell classes apart where two have one colour.
pub fn numerals(
    path: &std::path::Path,
    title: &str,
    [x_label, y_label]: [&str; 2],
    points: &[(Point, u8)],
) -> Result<()> {
    figure(path, WIDTH as u32, HEIGHT as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        let frame = Frame {
            x: Axis::around(x_label, points.iter().map(|p| p.0.0), false),
            y: Axis::around(y_label, points.iter().map(|p| p.0.1), false),
            left: 96.,
            top: 60.,
            right: WIDTH - 24.,
            bottom: HEIGHT - 66.,
        };
        frame.draw(canvas)?;
        for (point, class) in points {
            let kind = Type {
                size: 12.,
                bold: true,
                colour: palette(usize::from(*class)),
                align: Align::Centre,
                ..Type::default()
            };
            canvas.text(frame.at(*point), &class.to_string(), kind)?;
        }
        Ok(())
    })
}
