//! Bars of numbers that span decades.

use super::canvas::{Align, Type, figure};
use super::{GRID, SOFT, palette};
use candle_prob::Result;

const WIDTH: f64 = 760.;
const ROW: f64 = 34.;
const HEAD: f64 = 76.;
const LEFT: f64 = 130.;
const RIGHT: f64 = WIDTH - 100.;

/// Writes a bar for each positive number as a PNG, on a logarithmic axis.
pub fn bars(path: &std::path::Path, title: &str, unit: &str, bars: &[(String, f64)]) -> Result<()> {
    let logs = || bars.iter().map(|(_, value)| value.log10());
    let usable = || logs().filter(|log| log.is_finite());
    let first = usable().fold(f64::INFINITY, f64::min).min(9.).floor();
    let last = usable().fold(first + 1., f64::max).ceil();
    let place = |log: f64| LEFT + (RIGHT - LEFT) * (log - first) / (last - first);
    let bottom = HEAD + ROW * bars.len() as f64;
    figure(path, WIDTH as u32, (bottom + 70.) as u32, |canvas| {
        let heading = Type {
            size: 19.,
            bold: true,
            ..Type::default()
        };
        canvas.text((28., 30.), title, heading)?;
        let centre = Type {
            align: Align::Centre,
            ..Type::default()
        };
        for decade in first as i32..=last as i32 {
            let x = place(f64::from(decade));
            canvas.line(&[(x, HEAD - 8.), (x, bottom)], 1., GRID)?;
            let label = format!("{}", 10f64.powi(decade));
            let small = Type {
                size: 13.,
                colour: SOFT,
                ..centre
            };
            canvas.text((x, bottom + 16.), &label, small)?;
        }
        canvas.text(((LEFT + RIGHT) / 2., bottom + 44.), unit, centre)?;
        for (k, ((name, value), log)) in bars.iter().zip(logs()).enumerate() {
            let y = HEAD + ROW * k as f64;
            let right = Type {
                align: Align::Right,
                ..Type::default()
            };
            canvas.text((LEFT - 12., y + ROW / 2. - 4.), name, right)?;
            if log.is_finite() {
                let end = place(log);
                canvas.rectangle((LEFT, y), (end, y + ROW - 10.), palette(0))?;
                let text = format!("{value:.2}");
                let text = if *value < 0.1 {
                    format!("{value:.4}")
                } else {
                    text
                };
                canvas.text((end + 8., y + ROW / 2. - 4.), &text, Type::default())?;
            }
        }
        Ok(())
    })
}
