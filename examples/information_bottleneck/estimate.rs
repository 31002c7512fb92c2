//! What nearest neighbours say of continuous codes.

use crate::common::images::CLASSES;
use crate::data::Samples;
use candle_core::{Device, Tensor};
use candle_prob::information::knn::{self, KnnConfig};
use candle_prob::neighbours::Metric;
use candle_prob::{Result, Rng};

/// Euclidean: of many numbers the sum of squares says more than the largest.
fn config() -> KnnConfig {
    KnnConfig {
        metric: Metric::Euclidean,
        ..KnnConfig::default()
    }
}

/// The entropy of codes `[N, K]`, f64, in nats (Kozachenko and Leonenko); none of too few codes or of some that coincide.
pub fn entropy(codes: &Tensor) -> Result<Option<f64>> {
    let config = config();
    if codes.dim(0)? <= config.k {
        return Ok(None);
    }
    // Nothing is drawn without jitter.
    let estimate = knn::entropy(codes, &config, &mut Rng::new(0))?;
    Ok(Some(estimate.nats).filter(|nats| nats.is_finite()))
}

/// Of codes with labels, in nats.
pub struct Quantities {
    /// H[Z].
    pub entropy: f64,
    /// H[Z|Y]: the mean over the classes of their codes' entropies.
    pub reverse_decoder_uncertainty: f64,
    /// I[Y;Z] (Ross).
    pub preserved_relevant: f64,
}

/// Where too few codes have a label, for whose entropy there is no estimate, it is left out; none where all are.
pub fn quantities(codes: &Tensor, samples: &Samples) -> Result<Option<Quantities>> {
    let Some(whole) = entropy(codes)? else {
        return Ok(None);
    };
    let (mut sum, mut count) = (0., 0.);
    for class in 0..CLASSES {
        let own = (0u32..).zip(&samples.classes);
        let own = own.filter(|(_, c)| usize::from(**c) == class);
        let own: Vec<u32> = own.map(|(k, _)| k).collect();
        let n = own.len() as f64;
        let own = codes.index_select(&Tensor::new(own, &Device::Cpu)?, 0)?;
        if let Some(nats) = entropy(&own)? {
            (sum, count) = (sum + n * nats, count + n);
        }
    }
    if count == 0. {
        return Ok(None);
    }
    let labels = &samples.labels;
    let relevant = knn::label_mutual_information(codes, labels, &config(), &mut Rng::new(0))?;
    Ok(Some(Quantities {
        entropy: whole,
        reverse_decoder_uncertainty: sum / count,
        preserved_relevant: relevant.nats,
    }))
}
