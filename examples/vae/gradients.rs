//! How much estimates of the encoder's gradient vary.

use crate::data::Data;
use crate::model::Model;
use candle_core::{DType, Tensor};
use candle_nn::VarMap;
use candle_prob::objective::{Baseline, ElboConfig};
use candle_prob::optim::backward;
use candle_prob::{Result, Rng, init};

/// Of estimates of one gradient.
pub struct Spread {
    /// The squared norm of their mean, less what of it is noise.
    pub mean_square: f64,
    /// The mean squared distance from what they estimate.
    pub variance: f64,
}

const IMAGES: usize = 100;
/// Latents for each image.
const SAMPLES: usize = 10;

/// The gradient of the bound of the same 100 images to all weights of the encoder, estimated through 10 latents for each, and by
/// the score function from as many; other latents at every draw. The former has the rate in closed form, the latter draw it, too.
pub fn gradients(
    model: &Model,
    vars: &VarMap,
    data: &Data,
    draws: usize,
    rng: &Rng,
) -> Result<Vec<(&'static str, Spread)>> {
    let test = &data.split.test;
    let batch = data.batch(&test[..IMAGES.min(test.len())], &mut rng.fork("images"))?;
    let encoder: Vec<Tensor> = init::named_vars(vars)?
        .into_iter()
        .filter(|(name, _)| name.starts_with("features") || name.starts_with("head"))
        .map(|(_, var)| var.as_tensor().clone())
        .collect();
    let spread = |loss: &dyn Fn(&mut Rng) -> Result<Tensor>| -> Result<Spread> {
        let (mut sum, mut squares) = (None, 0.);
        for draw in 0..draws {
            let gradients = backward(&loss(&mut rng.fork(&draw.to_string()))?.mean_all()?)?;
            let flat = encoder.iter().filter_map(|var| gradients.get(var));
            let flat: Vec<Tensor> = flat
                .map(|gradient| Ok(gradient.flatten_all()?.to_dtype(DType::F64)?))
                .collect::<Result<_>>()?;
            let gradient = Tensor::cat(&flat, 0)?;
            squares += square(&gradient)?;
            sum = Some(match sum {
                None => gradient,
                Some(sum) => (sum + gradient)?,
            });
        }
        let count = draws as f64;
        let mean_square = match sum {
            None => 0.,
            Some(sum) => square(&(sum / count)?)?,
        };
        let variance = (squares - count * mean_square) / (count - 1.);
        Ok(Spread {
            mean_square: mean_square - variance / count,
            variance,
        })
    };
    let score = |baseline: Baseline<'static>| {
        let batch = &batch;
        move |rng: &mut Rng| Ok(model.score_function(batch, SAMPLES, baseline, rng)?.total)
    };
    let config = ElboConfig {
        samples: SAMPLES,
        ..ElboConfig::default()
    };
    let through = |rng: &mut Rng| Ok(model.elbo(&batch, &config, rng)?.total);
    Ok(vec![
        ("pathwise", spread(&through)?),
        ("score", spread(&score(Baseline::None))?),
        ("score_others", spread(&score(Baseline::LeaveOneOut))?),
    ])
}

fn square(x: &Tensor) -> Result<f64> {
    Ok(x.sqr()?.sum_all()?.to_scalar()?)
}
