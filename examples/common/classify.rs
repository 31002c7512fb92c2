//! Two classifiers that judge selected features: nearest neighbours and softmax regression.

use candle_core::{D, DType, Result as Candle, Tensor};
use candle_nn::ops;
use candle_prob::Result;
use candle_prob::neighbours::{Metric, NearestNeighbours};

/// The commonest class among the `k` training samples of least Euclidean distance; of equally common ones the smallest.
pub fn nearest(train: &Tensor, labels: &[u32], test: &Tensor, k: usize) -> Result<Vec<u32>> {
    let near =
        NearestNeighbours::new(train, Metric::Euclidean)?.nearest(test, k.min(labels.len()))?;
    let vote = |near: &Vec<u32>| {
        let votes = |class: u32| {
            near.iter()
                .filter(|n| labels[**n as usize] == class)
                .count()
        };
        // The last of equals is taken.
        let classes = (0..=labels.iter().copied().max().unwrap_or(0)).rev();
        classes.max_by_key(|class| votes(*class)).unwrap_or(0)
    };
    Ok(near.index.to_vec2()?.iter().map(vote).collect())
}

/// The likeliest class by multinomial regression on features standardized by the training samples. It is fitted by 400
/// accelerated gradient steps to the mean cross entropy plus `|W|^2 / (2 N)`, the usual weight of the penalty; the bias is
/// free, so that a class of many samples costs nothing. The weights stay combinations of samples, `W = X^T A`, so the steps
/// are those of A and cost the same for any number of features.
pub fn softmax(train: &Tensor, labels: &[u32], test: &Tensor) -> Result<Vec<u32>> {
    let mean = train.mean_keepdim(0)?;
    let spread = train.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?.sqrt()?;
    // A feature that is constant here, but for its mean's rounding, stays as it is: its spread becomes 1.
    let constant = spread.le(&(mean.abs()? * 1e-6)?)?;
    let spread = (spread + constant.to_dtype(DType::F32)?)?;
    let prepare = |x: &Tensor| x.broadcast_sub(&mean)?.broadcast_div(&spread);
    let x = prepare(train)?.t()?.contiguous()?;
    // Products with the training samples, and a 1 for the bias.
    let products = |other: &Tensor| -> Candle<Tensor> {
        let products = prepare(other)?.matmul(&x)?;
        Tensor::cat(&[&products, &products.narrow(1, 0, 1)?.ones_like()?], 1)
    };
    let (inputs, device) = (products(train)?, train.device());
    let (samples, classes) = (labels.len(), labels.iter().max().map_or(1, |c| c + 1));
    let classes = Tensor::arange(0, classes, device)?.unsqueeze(0)?;
    let y = Tensor::new(labels, device)?
        .unsqueeze(1)?
        .broadcast_eq(&classes)?;
    let y = y.to_dtype(DType::F32)?;
    // The bias goes as far as a feature of the samples' mean length would.
    let gram = inputs.narrow(1, 0, samples)?;
    let eye = Tensor::eye(samples, DType::F32, device)?;
    let length = f64::from((&gram * eye)?.sum_all()?.to_scalar::<f32>()?) / samples as f64;
    // A bound of the slope's change, times N: half the Frobenius norm of the second moments, and the penalty.
    let moments = f64::from(gram.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
    let rate = 1. / (0.5 * (moments + length * samples as f64) + 1.);
    let mut a = Tensor::zeros((samples + 1, classes.elem_count()), DType::F32, device)?;
    let mut ahead = a.clone();
    for step in 0..400 {
        let residual = (ops::softmax(&inputs.matmul(&ahead)?, D::Minus1)? - &y)?;
        let bias = (residual.sum_keepdim(0)? * length)?;
        let slope = Tensor::cat(&[&(residual + ahead.narrow(0, 0, samples)?)?, &bias], 0)?;
        let next = (&ahead - (slope * rate)?)?;
        let momentum = f64::from(step) / f64::from(step + 3);
        ahead = (&next + ((&next - &a)? * momentum)?)?;
        a = next;
    }
    Ok(products(test)?.matmul(&a)?.argmax(1)?.to_vec1()?)
}

/// The share of labels that are right.
pub fn accuracy(found: &[u32], labels: &[u32]) -> f64 {
    let right = found.iter().zip(labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len() as f64
}
