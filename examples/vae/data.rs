//! Images as a likelihood wants them.

use crate::any::AnyLikelihood;
use crate::common::images::Split;
use crate::config::{Likelihood, Pixels};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::net::{
    BernoulliLikelihood, CategoricalLikelihood, ContinuousBernoulliLikelihood, LaplaceLikelihood,
    LogisticMixtureConfig, LogisticMixtureLikelihood, NormalLikelihood, OptimalNormalLikelihood,
    SharedBy,
};
use candle_prob::{Result, Rng, init};

pub struct Data {
    pub split: Split,
    pub likelihood: Likelihood,
    pub pixels: Pixels,
}

/// Indices of so many images for each batch. One image that is left joins the batch before it: a single one has no covariance.
pub fn batches(order: &[usize], size: usize) -> Vec<&[usize]> {
    let mut batches: Vec<&[usize]> = order.chunks(size).collect();
    let count = batches.len();
    if size > 1 && count > 1 && batches[count - 1].len() == 1 {
        batches.truncate(count - 2);
        batches.push(&order[(count - 2) * size..]);
    }
    batches
}

/// Images [N, pixels].
pub struct Batch {
    /// From 0 to 1, for the encoder.
    pub input: Tensor,
    /// In the likelihood's convention.
    pub target: Tensor,
}

impl Data {
    pub fn size(&self) -> usize {
        self.split.image().iter().product()
    }

    /// Binary pixels are drawn with their grey value as the probability of 1: other ones at every call, as the published figures
    /// have it.
    pub fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let peak = f64::from(self.split.images.peak);
        let grey = (self.split.pixels(indices)?.flatten_from(1)? / peak)?;
        let input = match self.pixels {
            Pixels::Grey => grey,
            Pixels::Binary => {
                let uniform = rng.uniform(grey.shape(), DType::F32, &Device::Cpu)?;
                uniform.lt(&grey)?.to_dtype(DType::F32)?
            }
        };
        let target = match self.likelihood {
            Likelihood::Categorical => (&input * peak)?.round()?.to_dtype(DType::U32)?,
            Likelihood::LogisticMixture => ((&input * 2.)? - 1.)?,
            _ => input.clone(),
        };
        Ok(Batch { input, target })
    }

    /// Means in the likelihood's convention as pixels from 0 to 1.
    pub fn picture(&self, means: &Tensor) -> Result<Tensor> {
        let unit = match self.likelihood {
            Likelihood::Categorical => (means / f64::from(self.split.images.peak))?,
            Likelihood::LogisticMixture => ((means + 1.)? / 2.)?,
            _ => means.clone(),
        };
        Ok(unit.clamp(0f32, 1f32)?)
    }

    pub fn likelihood(&self, vb: VarBuilder) -> Result<Box<dyn AnyLikelihood>> {
        let event = &[self.size()];
        let levels = self.split.levels();
        Ok(match self.likelihood {
            Likelihood::Bernoulli => Box::new(BernoulliLikelihood::new(event)?),
            Likelihood::SoftBernoulli => Box::new(BernoulliLikelihood::soft(event)?),
            Likelihood::ContinuousBernoulli => Box::new(ContinuousBernoulliLikelihood::new(event)?),
            Likelihood::Normal => Box::new(NormalLikelihood::shared(event, vb)?),
            Likelihood::OptimalNormal => {
                let floor = OptimalNormalLikelihood::FLOOR;
                let shared = SharedBy::Observation;
                Box::new(OptimalNormalLikelihood::new(event, floor, shared)?)
            }
            Likelihood::Laplace => Box::new(LaplaceLikelihood::shared(event, vb)?),
            Likelihood::Categorical => Box::new(CategoricalLikelihood::new(event, levels)?),
            Likelihood::LogisticMixture => {
                let config = LogisticMixtureConfig {
                    components: 5,
                    levels,
                };
                Box::new(LogisticMixtureLikelihood::new(event, &config)?)
            }
        })
    }

    /// Of the decoder for each pixel.
    pub fn numbers(&self) -> Result<usize> {
        let vars = VarMap::new();
        let likelihood = self.likelihood(init::seeded(&vars, 0, DType::F32, &Device::Cpu))?;
        Ok(likelihood.numbers())
    }

    /// Refuses pixels that the likelihood has no density for, before anything is trained on them.
    pub fn check(&self) -> Result<()> {
        let (vars, mut rng) = (VarMap::new(), Rng::new(0));
        let likelihood = self.likelihood(init::seeded(&vars, 0, DType::F32, &Device::Cpu))?;
        for indices in [&self.split.train, &self.split.test].map(|part| part.chunks(1000)) {
            for indices in indices {
                likelihood.check(&self.batch(indices, &mut rng)?.target)?;
            }
        }
        Ok(())
    }
}
