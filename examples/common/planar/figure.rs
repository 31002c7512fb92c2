//! One figure for each set: data, density, samples, and where the flow takes the data.

use super::{Model, Set};
use crate::common::fit::{Run, in_parts};
use crate::common::plot::{Content, Map, maps};
use crate::common::report::Output;
use candle_core::{Device, Tensor};
use candle_prob::bijector::Bijector;
use candle_prob::distribution::Distribution;
use candle_prob::{Result, Rng};
use std::f64::consts::TAU;

const POINTS: usize = 6000;
const SIDE: usize = 140;
const REACH: f64 = 4.5;

/// `stages` are more panels of samples, before those of the flow.
pub fn figure<B: Bijector>(
    set: Set,
    run: &Run<Model<B>>,
    stages: &[(String, Tensor)],
    rng: &Rng,
    output: &Output,
) -> Result<()> {
    let data = set.draw(POINTS, &mut rng.fork("data"))?;
    let (model, flow) = (&run.model, run.model.bijector());
    let base = model.base().sample(&[POINTS], &mut rng.fork("samples"))?;
    let samples = in_parts(&base, |z| flow.transform(z))?;
    let latent = in_parts(&data, |x| flow.inverse(x))?;
    let density = in_parts(&grid()?, |x| model.log_prob(x))?.exp()?;
    // Each point keeps the colour of its direction from the middle of the data.
    let turns = data.to_vec2::<f32>()?;
    let turns = turns
        .iter()
        .map(|p| f64::from(p[1]).atan2(f64::from(p[0])) / TAU + 0.5);
    let coloured = points(&latent)?
        .into_iter()
        .zip(turns)
        .map(|(p, t)| (p, Some(t)));
    let plain = |x: &Tensor| -> Result<Content> {
        let points = points(x)?.into_iter().map(|p| (p, None));
        Ok(Content::Points(points.collect()))
    };
    let panel = |caption: &str, content| Map {
        caption: caption.into(),
        reach: REACH,
        content,
    };
    let heat = Content::Heat {
        side: SIDE,
        values: density.to_vec1()?,
    };
    let mut panels = vec![
        panel("data", plain(&data)?),
        panel("density of the flow", heat),
    ];
    for (caption, points) in stages {
        panels.push(panel(caption, plain(points)?));
    }
    panels.push(panel("samples of the flow", plain(&samples)?));
    let coloured = Content::Points(coloured.collect());
    panels.push(panel("data in latent space, by direction", coloured));
    let title = format!("{}: test NLL {:.3} nats", set.title(), run.nll);
    maps(&output.path(&set.figure()), &title, &panels)
}

fn points(x: &Tensor) -> Result<Vec<(f64, f64)>> {
    let rows = x.to_vec2::<f32>()?;
    Ok(rows.iter().map(|p| (p[0].into(), p[1].into())).collect())
}

/// The middles of all cells, row by row from the bottom.
fn grid() -> Result<Tensor> {
    let at = |k: usize| (REACH * (2. * (k as f64 + 0.5) / SIDE as f64 - 1.)) as f32;
    let cells = (0..SIDE * SIDE).flat_map(|k| [at(k % SIDE), at(k / SIDE)]);
    let cells: Vec<f32> = cells.collect();
    Ok(Tensor::from_vec(cells, (SIDE * SIDE, 2), &Device::Cpu)?)
}
