//! Training of one model.

use crate::common::images::Split;
use crate::common::report::Output;
use crate::common::train::{History, Training};
use crate::config::{Arguments, Kind};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::net::{Autoencoder, Mlp, mlp};
use candle_prob::{Activation, Result, Rng, init};
use std::time::Instant;

pub type Model = Autoencoder<Mlp, Mlp>;

/// A trained model and how it got there.
pub struct Run {
    pub kind: Kind,
    pub model: Model,
    pub history: History,
    pub seconds: f64,
}

/// An encoder to a code and the decoder with the widths turned round.
fn build(arguments: &Arguments, pixels: usize, vb: VarBuilder) -> Result<Model> {
    let mut widths = [&[pixels], arguments.hidden.as_slice(), &[arguments.code()]].concat();
    let encoder = mlp(&widths, Activation::Relu, vb.pp("encoder"))?;
    widths.reverse();
    let decoder = mlp(&widths, Activation::Relu, vb.pp("decoder"))?;
    Ok(Autoencoder::new(encoder, decoder))
}

pub fn train(
    kind: Kind,
    arguments: &Arguments,
    data: &Split,
    training: &Training,
    output: &Output,
) -> Result<Run> {
    let common = &arguments.common;
    let rng = Rng::new(common.seed).fork(kind.name());
    let vars = VarMap::new();
    let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
    let pixels = data.image().iter().product::<usize>();
    let model = build(arguments, pixels, vb)?;
    let chosen = arguments.chosen(kind, data);
    let unseen = arguments.known(kind, data, &data.test);
    // What goes in, for what should come out.
    let input = |x: &Tensor, rng: &mut Rng| match kind {
        Kind::Denoising => noisy(x, arguments.noise, rng),
        Kind::Plain | Kind::Without => Ok(x.clone()),
    };
    let clock = Instant::now();
    let history = training.run(&vars, common.resume, output, |epoch, steps| {
        let rng = rng.fork(&format!("epoch {epoch}"));
        let order = rng.fork("order").permutation(chosen.len());
        let (mut total, mut count) = (0., 0.);
        for (k, chunk) in order.chunks(arguments.batch).enumerate() {
            let indices: Vec<usize> = chunk.iter().map(|&i| chosen[i]).collect();
            let x = images(data, &indices)?;
            let spoiled = input(&x, &mut rng.fork(&format!("step {k}")))?;
            let errors = model.error(&spoiled, &x)?;
            if steps.step(&errors.mean_all()?)? {
                total += sum(&errors)?;
                count += chunk.len() as f64;
            }
        }
        let (mut test, noise) = (0., rng.fork("test"));
        for (k, indices) in unseen.chunks(arguments.batch).enumerate() {
            let x = images(data, indices)?;
            let spoiled = input(&x, &mut noise.fork(&k.to_string()))?;
            test += sum(&model.error(&spoiled, &x)?)?;
        }
        // Of a pixel.
        let mean = |sum: f64, count: f64| sum / count / pixels as f64;
        let metrics = [
            ("training_error", mean(total, count)),
            ("test_error", mean(test, unseen.len() as f64)),
        ];
        Ok(metrics.map(|(name, value)| (name.into(), value)).into())
    })?;
    Ok(Run {
        kind,
        model,
        history,
        seconds: clock.elapsed().as_secs_f64(),
    })
}

/// Images [N, pixels], from 0 to 1.
pub fn images(data: &Split, indices: &[usize]) -> Result<Tensor> {
    Ok((data.pixels(indices)?.flatten_from(1)? / f64::from(data.images.peak))?)
}

/// Images with normal noise.
pub fn noisy(x: &Tensor, noise: f64, rng: &mut Rng) -> Result<Tensor> {
    Ok((x + (rng.normal(x.shape(), x.dtype(), x.device())? * noise)?)?)
}

/// The sum in f64: exact enough for any number of batches.
pub fn sum(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
}
