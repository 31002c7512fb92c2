//! Codes with Gaussian noise as clusters: laws of code and label around points.

use super::labels::numbers;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::objective::rate::mean_of_draws;
use crate::rng::Rng;
use crate::special::logsumexp;
use crate::{check, shape};
use candle_core::{D, DType, Tensor};
use std::f64::consts::PI;

/// The joint law of code and label of a deterministic encoder with Gaussian noise: `z = f(x_i) + e`, `e ~ N(0, s I)`, i uniform
/// over N examples, each with its label.
///
/// Formula, with `d_i = |z - f(x_i)|^2 / (2 s)` and n_y examples of the label y:
///
/// ```text
///   p(z | y) = sum_{i: y_i = y} e^-d_i / (n_y (2 pi s)^(K/2))       p(y | z) = sum_{i: y_i = y} e^-d_i / sum_i e^-d_i
/// ```
///
/// Given the label the code is a mixture of Gaussians, and given the code the label is a softmax of distances: to minimise
/// `H[Z|Y]` and `H[Y|Z]` is to cluster, softly, by label.
///
/// Shapes: points `[N, K]`, labels `[N]` below `classes` (u8, u32 or i64). Units: nats. Gradients: to the points and to codes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{SoftClustering, ZERO_ENTROPY_VARIANCE};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let points = Tensor::new(&[[0f64, 0.], [0.1, 0.], [3., 0.], [3., 0.1]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?;
/// let clusters = SoftClustering::new(&points, &labels, 2, ZERO_ENTROPY_VARIANCE)?;
/// let log_probs = clusters.log_label_probs(&points)?.to_vec2::<f64>()?;
/// assert!(log_probs[0][0] > -1e-9 && log_probs[0][1] < -20.);
/// let found = clusters.uncertainties(100, &mut Rng::new(0))?;
/// assert!(found.decoder.to_scalar::<f64>()? < 1e-6 && found.reverse_decoder.to_scalar::<f64>()? > -0.3);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in logarithms and f64; squared distances are matrix products around the mean point.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, appendix A.8.
#[derive(Debug, Clone)]
pub struct SoftClustering {
    /// Points of a label side by side, [N, K], around the centre.
    points: Tensor,
    centre: Tensor,
    /// Examples of each label.
    counts: Vec<usize>,
    variance: f64,
    dtype: DType,
}

/// Entropies of a [`SoftClustering`], scalars in nats, estimated from the same draws.
#[derive(Debug, Clone)]
pub struct Uncertainties {
    /// `H[Z]`.
    pub encoding: Tensor,
    /// `H[Z|Y]`: at least the entropy of the noise, and equal to it where all points of a label are one.
    pub reverse_decoder: Tensor,
    /// `H[Y|Z] = H[Z|Y] - H[Z] + H[Y]`.
    pub decoder: Tensor,
}

impl SoftClustering {
    /// Points with their labels, and the variance of the noise in each dimension.
    ///
    /// Errors: points that are not `[N, K]`, both at least 1; labels that do not fit or are no class; a variance that is not
    /// positive and finite.
    pub fn new(points: &Tensor, labels: &Tensor, classes: usize, variance: f64) -> Result<Self> {
        let op = "SoftClustering::new";
        check::positive_finite(op, "variance", variance)?;
        shape::float(op, "points", points)?;
        let [count, _] = shape::dims(op, "points", points.dims(), "[N, K]")?;
        if points.elem_count() == 0 {
            let expected = "[N, K], both at least 1";
            return Err(Error::shape(op, "points", expected, points.dims()));
        }
        let labels = numbers(op, labels, count, classes)?;
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|row| labels[*row]);
        let mut counts = vec![0; classes];
        labels.iter().for_each(|label| counts[*label] += 1);
        let order = Tensor::from_iter(order.into_iter().map(|row| row as u32), points.device())?;
        let sorted = points.to_dtype(DType::F64)?.contiguous()?;
        let sorted = sorted.index_select(&order, 0)?;
        let centre = sorted.detach().mean_keepdim(0)?;
        Ok(SoftClustering {
            points: sorted.broadcast_sub(&centre)?,
            centre,
            counts,
            variance,
            dtype: points.dtype(),
        })
    }

    /// `ln sum_{i: y_i = y} N(z; f(x_i), s I)` for codes `[M, K]` around the centre, `[M, L]`.
    fn log_sums(&self, codes: &Tensor) -> Result<Tensor> {
        let (of_codes, of_points) = (codes.sqr()?, self.points.sqr()?);
        let squares = reduce::sum(&of_codes)?.unsqueeze(1)?;
        let squares = squares.broadcast_add(&reduce::sum(&of_points)?)?;
        let squares = (squares - (codes.matmul(&self.points.t()?)? * 2.)?)?;
        let dims = codes.dim(1)? as f64;
        let constant = dims / 2. * (2. * PI * self.variance).ln();
        let log = ((squares / (-2. * self.variance))? - constant)?;
        let mut start = 0;
        let mut sums = vec![];
        for count in &self.counts {
            // Of no points the sum is 0.
            sums.push(logsumexp(&log.narrow(1, start, *count)?, D::Minus1)?);
            start += count;
        }
        Ok(Tensor::stack(&sums, 1)?)
    }

    fn around_centre(&self, op: &'static str, codes: &Tensor) -> Result<Tensor> {
        let dims = self.points.dim(1)?;
        match *codes.dims() {
            [_, found] if found == dims => {}
            _ => {
                let expected = format!("[M, {dims}]");
                return Err(Error::shape(op, "codes", expected, codes.dims()));
            }
        }
        shape::dtype(op, "codes", codes, self.dtype)?;
        Ok(codes.to_dtype(DType::F64)?.broadcast_sub(&self.centre)?)
    }

    /// `ln p(y | z)` of codes `[M, K]`: `[M, classes]`, -inf for a class without examples.
    ///
    /// Errors: codes of another shape or dtype.
    pub fn log_label_probs(&self, codes: &Tensor) -> Result<Tensor> {
        let codes = self.around_centre("SoftClustering::log_label_probs", codes)?;
        let log = reduce::log_softmax(&self.log_sums(&codes)?)?;
        Ok(log.to_dtype(self.dtype)?)
    }

    /// `ln p(z | y)` of codes `[M, K]`: `[M, classes]`, -inf for a class without examples.
    ///
    /// Errors: codes of another shape or dtype.
    pub fn log_densities(&self, codes: &Tensor) -> Result<Tensor> {
        let codes = self.around_centre("SoftClustering::log_densities", codes)?;
        let log = self.log_sums(&codes)?.broadcast_sub(&self.log_counts()?)?;
        Ok(log.to_dtype(self.dtype)?)
    }

    /// `ln n_y`, and 0 for classes without examples.
    fn log_counts(&self) -> Result<Tensor> {
        let counts = self.counts.iter().map(|n| (*n.max(&1) as f64).ln());
        Ok(Tensor::from_iter(counts, self.points.device())?)
    }

    /// The entropies, from `samples` codes for each example.
    ///
    /// Gradients: pathwise, to the points: those of `H[Z|Y]` draw each point to the others of its label, those of `-H[Z]` away
    /// from all.
    ///
    /// Errors: no sample; more than memory could hold.
    pub fn uncertainties(&self, samples: usize, rng: &mut Rng) -> Result<Uncertainties> {
        let op = "SoftClustering::uncertainties";
        check::at_least_one(op, &[("samples", samples)])?;
        let (count, dims) = self.points.dims2()?;
        shape::draws(op, &[samples, count], &[count.max(dims)])?;
        let noise = rng.normal((samples, count, dims), DType::F64, self.points.device())?;
        let noise = (noise * self.variance.sqrt())?;
        let codes = noise.broadcast_add(&self.points)?.reshape(((), dims))?;
        let log_sums = self.log_sums(&codes)?;
        let log_joint = logsumexp(&log_sums, D::Minus1)?;
        // Of each code the column of its own label.
        let own = self.counts.iter().enumerate();
        let own = own.flat_map(|(label, n)| std::iter::repeat_n(label as u32, *n));
        let own: Vec<u32> = own.collect();
        let own = Tensor::new(own, self.points.device())?.repeat(samples)?;
        let log_counts = self.log_counts()?.index_select(&own, 0)?;
        let log_own = log_sums.gather(&own.unsqueeze(1)?, 1)?.squeeze(1)?;
        let mean =
            |x: Tensor| -> Result<Tensor> { Ok(mean_of_draws(&x)?.neg()?.to_dtype(self.dtype)?) };
        Ok(Uncertainties {
            encoding: mean((&log_joint - (count as f64).ln())?)?,
            reverse_decoder: mean((&log_own - log_counts)?)?,
            decoder: mean((log_own - log_joint)?)?,
        })
    }
}
