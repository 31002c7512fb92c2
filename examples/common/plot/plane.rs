//! The information plane: what a code tells about the label over what it keeps of the input, epoch by epoch.

use super::canvas::{Align, Mark, Point, Type, figure};
use super::frame::{Axis, Frame};
use super::{SOFT, WHITE, mix, palette, shade};
use candle_prob::Result;

/// One model's way through the plane, a point (I(Z; X), I(Z; Y)) for each epoch.
pub struct Path {
    pub name: String,
    pub colour: usize,
    pub points: Vec<Point>,
}

const WIDTH: f64 = 860.;
const HEIGHT: f64 = 620.;

/// Writes the plane as a PNG, in nats, points light at the first epoch and dark at the last; `entropy` is H(Y), which
/// bounds I(Z; Y). The horizontal axis is logarithmic where the values span a factor of thirty or more.
pub fn information_plane(
    path: &std::path::Path,
    title: &str,
    entropy: f64,
    paths: &[Path],
) -> Result<()> {
    let points = || paths.iter().flat_map(|path| &path.points);
    let finite = || points().map(|p| p.0).filter(|x| x.is_finite());
    let (least, most) = finite().fold((f64::INFINITY, 0f64), |(a, b), x| (a.min(x), b.max(x)));
    let logarithmic = least > 0. && most / least >= 30.;
    let epochs = paths
        .iter()
        .map(|path| path.points.len())
        .max()
        .unwrap_or(0);
    figure(path, WIDTH as u32, HEIGHT as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        let frame = Frame {
            x: Axis::around(
                "I(Z; X), upper bound (nats)",
                points().map(|p| p.0),
                logarithmic,
            ),
            y: Axis::around(
                "I(Z; Y), lower bound (nats)",
                points().map(|p| p.1).chain([entropy * 1.03]),
                false,
            ),
            left: 96.,
            top: 104.,
            right: WIDTH - 32.,
            bottom: HEIGHT - 66.,
        };
        frame.draw(canvas)?;
        let (_, y) = frame.at((1., entropy));
        canvas.dashed(&[(frame.left, y), (frame.right, y)], 1.5, SOFT)?;
        let note = Type {
            size: 13.,
            colour: SOFT,
            align: Align::Right,
            ..Type::default()
        };
        canvas.text(
            (frame.right - 4., y - 11.),
            &format!("H(Y) = {entropy:.2} nats"),
            note,
        )?;
        let mut x = 28.;
        for path in paths {
            let (colour, mark) = (palette(path.colour), Mark::of(path.colour));
            let placed = frame.all(&path.points);
            canvas.line(&placed, 1., mix(WHITE, colour, 0.35))?;
            for (k, &point) in placed.iter().enumerate() {
                let t = k as f64 / (placed.len() - 1).max(1) as f64;
                // A white rim keeps neighbours apart.
                canvas.mark(point, mark, 6.8, WHITE)?;
                canvas.mark(point, mark, 5.6, shade(colour, t))?;
            }
            for k in 0..5 {
                let at = (x + 6. + 15. * f64::from(k), 66.);
                canvas.mark(at, mark, 5.6, shade(colour, f64::from(k) / 4.))?;
            }
            canvas.text((x + 84., 66.), &path.name, Type::default())?;
            x += 84. + canvas.text_width(&path.name, Type::default())? + 30.;
        }
        let note = Type {
            colour: SOFT,
            size: 13.,
            ..Type::default()
        };
        canvas.text(
            (x, 66.),
            &format!("light to dark: epoch 1 to {epochs}"),
            note,
        )
    })
}
