//! Features before and after propagation, and what is predicted.

use crate::common::plot::{Caption, Portrait, Regions, Sample, portraits, samples, square_window};
use crate::common::regions::Set;
use crate::data::{Data, Samples};
use crate::train::Level;
use candle_core::{Device, Module, Tensor};
use candle_prob::Result;
use std::path::Path;

/// Cells along a side of the predictions.
const SIDE: usize = 165;
/// Classes of the images that are drawn, the paper's.
const DIGITS: [u8; 2] = [0, 8];
/// Channels of an image in a row.
const COLUMNS: usize = 3;

pub fn draw(path: &Path, level: &Level, data: &Data) -> Result<()> {
    match data.set {
        Some(set) => points(path, level, data, set),
        None => images(path, level, data),
    }
}

type Places = Vec<(f64, f64)>;

/// The first two features of each sample.
fn places(features: &Tensor) -> Result<Places> {
    let rows = features.narrow(1, 0, 2)?.to_vec2::<f32>()?;
    Ok(rows
        .iter()
        .map(|row| (row[0].into(), row[1].into()))
        .collect())
}

fn coloured(places: &Places, samples: &Samples) -> Vec<((f64, f64), usize)> {
    let classes = samples.classes.iter().map(|class| usize::from(*class));
    places.iter().copied().zip(classes).collect()
}

/// The middles of the cells of a window, row by row from the bottom.
fn grid([x, y]: [(f64, f64); 2]) -> Result<Tensor> {
    let at = |(from, to): (f64, f64), k: usize| {
        (from + (to - from) * (k as f64 + 0.5) / SIDE as f64) as f32
    };
    let cells = (0..SIDE * SIDE).flat_map(|k| [at(x, k % SIDE), at(y, k / SIDE)]);
    let cells: Vec<f32> = cells.collect();
    Ok(Tensor::from_vec(cells, (SIDE * SIDE, 2), &Device::Cpu)?)
}

/// Figures 4 to 6 of the paper: the training data, where it goes, and the predictions with the data that validates.
fn points(path: &Path, level: &Level, data: &Data, set: Set) -> Result<()> {
    let model = &level.model;
    let inputs = places(data.train.inputs())?;
    let propagated = model.in_parts(data.train.inputs(), places)?;
    let [wide, high] = set.reach().map(|reach| 1.08 * reach);
    let half = wide.max(high);
    let inside = [(-half, half); 2];
    let outside = square_window(propagated.iter().copied());
    let regions = |classes| Regions {
        side: SIDE,
        classes,
    };
    // What the classifier says of the plane of features is seen where they are two.
    let decided = match model.plan.width {
        2 => Some(regions(model.decide(&grid(outside)?)?)),
        _ => None,
    };
    let caption = match model.plan.width {
        2 => "propagated training data".into(),
        width => format!("propagated, 2 of {width} features"),
    };
    let panels = [
        Portrait {
            caption: "training data".into(),
            window: inside,
            points: coloured(&inputs, &data.train),
            ..Portrait::default()
        },
        Portrait {
            caption,
            window: outside,
            regions: decided,
            points: coloured(&propagated, &data.train),
            ..Portrait::default()
        },
        Portrait {
            caption: "prediction and validation data".into(),
            window: inside,
            regions: Some(regions(model.predict(&grid(inside)?)?)),
            points: coloured(&places(data.valid.inputs())?, &data.valid),
            ..Portrait::default()
        },
    ];
    portraits(path, &title(level, data), 3, &panels)
}

fn title(level: &Level, data: &Data) -> String {
    let (net, layers) = (level.model.plan.net.title(), level.layers);
    let accuracy = 100. * level.accuracy;
    let name = &data.title;
    format!("{name}: {net}, {layers} layers, {accuracy:.2} % of the validation data")
}

/// Figure 7 of the paper: images that validate as they come and as they go, and the weights of their class, by channel.
fn images(path: &Path, level: &Level, data: &Data) -> Result<()> {
    let model = &level.model;
    let mut sheet = vec![];
    let mut size = (0, 0);
    for (k, digit) in DIGITS.into_iter().enumerate() {
        // Of few images one may have neither.
        let classes = &data.valid.classes;
        let at = classes.iter().position(|class| *class == digit);
        let at = at.unwrap_or(k.min(classes.len() - 1));
        let digit = classes[at];
        let input = data.valid.inputs().narrow(0, at, 1)?;
        let lifted = model.lifted.lift(&input)?;
        let weight = model.classifier.weight().narrow(0, usize::from(digit), 1)?;
        let weight = weight.reshape(lifted.shape())?;
        for (what, tensor) in [
            ("input", lifted),
            ("propagated", model.lifted.forward(&input)?),
            ("weights", weight),
        ] {
            let (pixels, tiled) = tile(&tensor)?;
            size = tiled;
            sheet.push(Sample {
                pixels,
                captions: vec![Caption {
                    name: format!("{what} \u{201c}{digit}\u{201d}"),
                    text: String::new(),
                    right: None,
                }],
            });
        }
    }
    samples(path, &title(level, data), size, 3, &sheet)
}

/// The channels of one image side by side, from their least value in black to their largest in white.
fn tile(image: &Tensor) -> Result<(Vec<f32>, (usize, usize))> {
    let (_, channels, rows, columns) = image.dims4()?;
    let values = image.flatten_all()?.to_vec1::<f32>()?;
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = if most > least { most - least } else { 1. };
    let (high, wide) = (channels.div_ceil(COLUMNS) * rows, COLUMNS * columns);
    let mut tiled = vec![0.; high * wide];
    for (k, value) in values.iter().enumerate() {
        let (channel, pixel) = (k / (rows * columns), k % (rows * columns));
        let row = channel / COLUMNS * rows + pixel / columns;
        let column = channel % COLUMNS * columns + pixel % columns;
        tiled[row * wide + column] = (value - least) / range;
    }
    Ok((tiled, (high, wide)))
}
