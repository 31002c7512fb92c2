//! Labelled samples in memory, checked, in f64.

use crate::check;
use crate::error::{Error, Result};
use crate::select::checks::{check_finite, check_labels};
use crate::select::matrix::Weights;
use crate::select::{Features, Preparation};
use candle_core::{DType, Device, Tensor};

pub(super) struct Labelled {
    /// The values of each feature, as they came.
    pub(super) features: Vec<Vec<f64>>,
    /// What standardized features are divided by; 1 where they are not.
    pub(super) scales: Vec<f64>,
    pub(super) labels: Vec<u32>,
    pub(super) classes: usize,
}

impl Labelled {
    /// Errors: weights, which these methods have no use for.
    pub(super) fn new(
        op: &'static str,
        x: &Tensor,
        labels: &Tensor,
        how: &Preparation,
    ) -> Result<Self> {
        let [samples, features] = Features::from(x).size(op)?;
        if let Some(weights) = &how.weights {
            let expected = "none: every sample counts once for this method";
            let found = format!("{:?}", weights.dims());
            return Err(Error::value(op, "weights", expected, found));
        }
        let (labels, classes) = check_labels(op, labels, samples)?;
        let x = x.detach().to_dtype(DType::F64)?;
        let rows = x.to_vec2::<f64>()?;
        check_finite(op, "x", rows.iter().map(|row| row.iter().copied()), 0)?;
        let scales = if how.standardize {
            let weights = Weights::new(vec![1.; samples]);
            Features::from(&x).moments(op, &weights, true)?.scales
        } else {
            vec![1.; features]
        };
        Ok(Labelled {
            features: x.t()?.to_vec2()?,
            scales,
            labels,
            classes,
        })
    }

    pub(super) fn samples(&self) -> usize {
        self.labels.len()
    }

    /// How many samples each class has.
    pub(super) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.labels
            .iter()
            .for_each(|label| counts[*label as usize] += 1);
        counts
    }

    /// The means of the features, [d].
    pub(super) fn means(&self) -> Result<Tensor> {
        let means: Vec<f64> = self.features.iter().map(|values| mean(values)).collect();
        Ok(Tensor::new(means, &Device::Cpu)?)
    }

    /// Features without their means, divided by their scales, [N, d]. One that is constant is zero and not what rounding
    /// leaves of it.
    pub(super) fn centred(&self) -> Result<Tensor> {
        let centre = |(values, scale): (&Vec<f64>, &f64)| -> Vec<f64> {
            match mean(values) {
                _ if values.iter().all(|x| *x == values[0]) => vec![0.; values.len()],
                mean => values.iter().map(|x| (x - mean) / scale).collect(),
            }
        };
        let x = self.features.iter().zip(&self.scales).flat_map(centre);
        let x: Vec<f64> = x.collect();
        let shape = (self.features.len(), self.samples());
        Ok(Tensor::from_vec(x, shape, &Device::Cpu)?
            .t()?
            .contiguous()?)
    }

    /// One where the sample is of the class and zero elsewhere, [N, C].
    pub(super) fn targets(&self) -> Result<Tensor> {
        let mut y = vec![0.; self.samples() * self.classes];
        for (row, label) in y.chunks_exact_mut(self.classes).zip(&self.labels) {
            row[*label as usize] = 1.;
        }
        let shape = (self.samples(), self.classes);
        Ok(Tensor::from_vec(y, shape, &Device::Cpu)?)
    }

    /// Refuses to select none, or more features than there are.
    pub(super) fn check_k(&self, op: &'static str, k: usize) -> Result<()> {
        check::count_in(op, "k", k, 1..=self.features.len(), "features")
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
