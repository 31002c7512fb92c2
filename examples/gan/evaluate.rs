//! How near samples are to the data.

use crate::classifier::Classifier;
use crate::common::train::Metrics;
use crate::data::{Data, images};
use crate::game::Generator;
use crate::plane::Set;
use candle_core::{DType, Tensor};
use candle_prob::divergence::{
    MmdKernel, MmdStatistic, frechet_distance, mmd_squared, mode_coverage, precision_recall,
    sliced_wasserstein,
};
use candle_prob::{Result, Rng};

/// Samples that are measured after every epoch.
const EACH_EPOCH: usize = 1000;
const DIRECTIONS: usize = 100;
/// Neighbours of precision and recall, density and coverage.
pub const NEIGHBOURS: usize = 5;

pub struct Judge<'a> {
    data: &'a Data,
    classifier: Option<Classifier>,
    /// In the end.
    samples: usize,
    seed: u64,
}

impl<'a> Judge<'a> {
    pub fn new(data: &'a Data, classifier: Option<Classifier>, samples: usize, seed: u64) -> Self {
        Judge {
            data,
            classifier,
            samples,
            seed,
        }
    }

    pub fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// Of samples of the data's own law: how good the numbers can be.
    pub fn of_data(&self) -> Result<Metrics> {
        let mut rng = Rng::new(self.seed).fork("as good as data");
        let x = self.data.draw(self.samples, &mut rng)?;
        self.all(&x, self.samples, &mut rng)
    }

    pub fn each_epoch(&self, of: &Generator, latent: usize, rng: &mut Rng) -> Result<Metrics> {
        let count = EACH_EPOCH.min(self.samples);
        let x = of.sample(count, latent, rng)?;
        match self.data {
            Data::Points(set) => self.of_points(*set, &x, rng),
            Data::Images(_) => {
                let [x, y] = self.pair(&x, count, rng)?;
                Ok(Metrics::from([(
                    "classifier_fid".into(),
                    frechet_distance(&x, &y)?,
                )]))
            }
        }
    }

    pub fn in_the_end(&self, of: &Generator, latent: usize, rng: &mut Rng) -> Result<Metrics> {
        let x = of.sample(self.samples, latent, rng)?;
        self.all(&x, self.samples, rng)
    }

    fn all(&self, x: &Tensor, count: usize, rng: &mut Rng) -> Result<Metrics> {
        let mut metrics = match self.data {
            Data::Points(set) => self.of_points(*set, x, rng)?,
            Data::Images(_) => Metrics::new(),
        };
        let [x, y] = self.pair(x, count, rng)?;
        if let Data::Images(_) = self.data {
            let kid = mmd_squared(
                &x.to_dtype(DType::F64)?,
                &y.to_dtype(DType::F64)?,
                &MmdKernel::Polynomial(3),
                MmdStatistic::Unbiased,
            )?;
            let sliced = sliced_wasserstein(&x, &y, DIRECTIONS, 2., rng)?.distance()?;
            metrics.extend([
                ("classifier_fid".into(), frechet_distance(&x, &y)?),
                ("classifier_kid".into(), kid.to_scalar()?),
                (
                    "classifier_sliced_wasserstein".into(),
                    number(&sliced.mean)?,
                ),
            ]);
        }
        let found = precision_recall(&y, &x, NEIGHBOURS.min(count - 1))?;
        for (name, value) in [
            ("precision", found.precision),
            ("recall", found.recall),
            ("density", found.density),
            ("coverage", found.coverage),
        ] {
            metrics.insert(name.into(), value);
        }
        Ok(metrics)
    }

    /// What samples and as many data are compared by: points as they are, the classifier's features of images; data are drawn
    /// anew, or the first of the test images.
    fn pair(&self, x: &Tensor, count: usize, rng: &mut Rng) -> Result<[Tensor; 2]> {
        let y = match self.data {
            Data::Points(_) => self.data.draw(count, rng)?,
            Data::Images(split) => images(split, &split.test[..count])?,
        };
        match &self.classifier {
            Some(classifier) => Ok([classifier.features(x)?, classifier.features(&y)?]),
            None => Ok([x.clone(), y]),
        }
    }

    fn of_points(&self, set: Set, x: &Tensor, rng: &mut Rng) -> Result<Metrics> {
        let y = self.data.draw(x.dim(0)?, rng)?;
        let sliced = sliced_wasserstein(x, &y, DIRECTIONS, 2., rng)?.distance()?;
        let mut metrics = Metrics::from([("sliced_wasserstein".into(), number(&sliced.mean)?)]);
        if let Some(modes) = set.modes()? {
            let found = mode_coverage(x, &modes, 3. * set.scale())?;
            metrics.insert("modes".into(), found.covered(1) as f64);
            metrics.insert("high_quality".into(), found.high_quality());
        }
        Ok(metrics)
    }
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar()?)
}
