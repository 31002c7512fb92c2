//! Batch normalization.

use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::init::Buffer;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::batch_norm::{BatchMoments, Settings, by_batch, by_moments};
use crate::kernels::network::conv2d::Link;
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use candle_core::{DType, Tensor};
use candle_nn::{Init, ModuleT, VarBuilder};

/// Options of a [`BatchNorm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormConfig {
    /// Added to variances before the square root.
    pub epsilon: f64,
    /// The weight of a batch's moments in the running ones, those of the batches before having `1 - momentum`: as in torch,
    /// and the other way round than in Keras.
    pub momentum: f64,
    /// Whether there are a gain and a shift for each channel.
    pub affine: bool,
    /// Applied to every output.
    pub activation: Activation,
}

impl Default for BatchNormConfig {
    /// An epsilon of 1e-5, a momentum of 0.1, gain and shift, no activation.
    fn default() -> Self {
        BatchNormConfig {
            epsilon: 1e-5,
            momentum: 0.1,
            affine: true,
            activation: Activation::Identity,
        }
    }
}

/// Batch normalization: every channel has mean 0 and variance 1 over the batch, then a gain, a shift and an activation.
///
/// Formula: `y = f(weight[c] (x - mean[c]) / sqrt(variance[c] + epsilon) + bias[c])`. In training the moments are those of
/// the batch, over all dims but the second, the variance divided by the number `m` of values of a channel; the running ones become
/// `(1 - momentum) running + momentum batch`, with the variance of the batch times `m / (m - 1)`, which estimates without
/// bias. In evaluation the moments are the running ones.
///
/// Shapes: x and y `[N, C]` or `[N, C, ..]`, weight, bias and running moments `[C]`.
///
/// Gradients: for x, in training through the moments too, weight and bias. A channel whose values are all equal has
/// variance 0 and slope `weight / sqrt(epsilon)`, finite.
///
/// State: the running moments are [`Buffer`]s, which `forward_t(x, true)` writes and nothing else does. The names are those of torch
/// and candle (`weight`, `bias`, `running_mean`, `running_var`), so that their checkpoints can be read. In half precision the
/// buffers are f32: a tenth of a small difference would round to nothing.
///
/// Errors: x of another rank, channels, dtype or device; in training one value for each channel, which has no variance, and values
/// or moments that are not finite, which would stay in the running moments; in both running moments that are not finite, and a
/// running variance that is negative. A batch of no rows is an empty result and leaves the running moments alone.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{ModuleT, VarMap};
/// use candle_prob::Activation;
/// use candle_prob::net::{BatchNormConfig, batch_norm};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F64, &Device::Cpu);
/// let config = BatchNormConfig { activation: Activation::Relu, ..Default::default() };
/// let layer = batch_norm(1, &config, vb)?;
/// let x = Tensor::new(&[[1f64], [2.], [6.]], &Device::Cpu)?;
/// let y = layer.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y[0] == 0. && (y[2] - 3. / (14f64 / 3. + 1e-5).sqrt()).abs() < 1e-12);
/// // A tenth of the way from mean 0 and variance 1 to 3 and 7.
/// assert!((layer.running_mean()?.to_vec1::<f64>()?[0] - 0.3).abs() < 1e-12);
/// assert!((layer.running_variance()?.to_vec1::<f64>()?[0] - 1.6).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: variances are sums of squared differences from a value near the mean, block by block, and not differences of large
/// sums, so that they keep their digits whatever the mean is and whatever value comes first.
///
/// See also: [`bijector::FlowBatchNorm`](crate::bijector::FlowBatchNorm) is another thing, a bijector with a log-determinant that
/// normalizes by its running moments in training too.
///
/// Source: Ioffe and Szegedy (2015), Batch normalization: accelerating deep network training by reducing internal covariate
/// shift, algorithms 1 and 2.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    affine: Option<(Tensor, Tensor)>,
    mean: Buffer,
    variance: Buffer,
    config: BatchNormConfig,
    channels: usize,
    dtype: DType,
}

/// A [`BatchNorm`] with parameters `weight` (of ones) and `bias` (of zeros), if `config.affine`, and buffers `running_mean` (of
/// zeros) and `running_var` (of ones) from `vb`.
///
/// Errors: no channel, an epsilon that is not positive and finite, a momentum outside [0, 1]; those of `vb`.
pub fn batch_norm(channels: usize, config: &BatchNormConfig, vb: VarBuilder) -> Result<BatchNorm> {
    initialized(channels, config, Init::Const(1.), vb)
}

/// [`batch_norm`] with other gains.
pub(super) fn initialized(
    channels: usize,
    config: &BatchNormConfig,
    gain: Init,
    vb: VarBuilder,
) -> Result<BatchNorm> {
    const OP: &str = "batch_norm";
    check::at_least_one(OP, &[("channels", channels)])?;
    check::positive_finite(OP, "epsilon", config.epsilon)?;
    check::in_interval(OP, "momentum", config.momentum, 0. ..=1.)?;
    let dtype = vb.dtype();
    let affine = match config.affine {
        true => Some((
            vb.get_with_hints(channels, "weight", gain)?,
            vb.get_with_hints(channels, "bias", Init::Const(0.))?,
        )),
        false => None,
    };
    let wide = match dtype {
        DType::F16 | DType::BF16 => vb.to_dtype(DType::F32),
        _ => vb,
    };
    Ok(BatchNorm {
        affine,
        mean: Buffer::new(channels, "running_mean", Init::Const(0.), wide.clone())?,
        variance: Buffer::new(channels, "running_var", Init::Const(1.), wide)?,
        config: *config,
        channels,
        dtype,
    })
}

impl BatchNorm {
    /// The gain, `[C]`.
    pub fn weight(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(weight, _)| weight)
    }

    /// The shift, `[C]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(_, bias)| bias)
    }

    /// The running mean, `[C]`: a copy, without gradient.
    pub fn running_mean(&self) -> Result<Tensor> {
        self.mean.value()
    }

    /// The running variance, `[C]`: a copy, without gradient.
    pub fn running_variance(&self) -> Result<Tensor> {
        self.variance.value()
    }

    /// The options.
    pub fn config(&self) -> &BatchNormConfig {
        &self.config
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            affine: self.affine.as_ref().map(|(gain, shift)| (gain, shift)),
            epsilon: self.config.epsilon,
            activation: self.config.activation,
        }
    }

    fn normalize(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        const OP: &str = "BatchNorm::forward_t";
        shape::dtype(OP, "x", x, self.dtype)?;
        shape::same_device(OP, "x", x, self.mean.variable())?;
        if x.rank() < 2 || x.dims()[1] != self.channels {
            let expected = format!("[N, {}] or [N, {}, ..]", self.channels, self.channels);
            return Err(Error::shape(OP, "x", expected, x.dims()));
        }
        // A batch of nothing has no moments.
        let (y, moments) = self.apply(OP, x, train && x.elem_count() > 0)?;
        if let Some(moments) = moments {
            self.write(&self.moved(OP, &moments)?)?;
        }
        Ok(y)
    }

    /// The result and, in training, the moments of the batch, which the caller passes to [`Self::moved`].
    pub(super) fn apply(
        &self,
        op: &'static str,
        x: &Tensor,
        train: bool,
    ) -> Result<(Tensor, Option<BatchMoments>)> {
        if train {
            let (y, moments) = by_batch(x, self.settings()).map_err(|e| e.of(op))?;
            return Ok((y, Some(moments)));
        }
        let [mean, variance] = self.running(op)?;
        Ok((by_moments(x, [&mean, &variance], self.settings())?, None))
    }

    /// The same as a part of a node.
    pub(super) fn link(&self, op: &'static str, train: bool) -> Result<Link<'_>> {
        let moments = match train {
            true => None,
            false => Some(self.running(op)?),
        };
        Ok(Link::Norm(self.settings(), moments))
    }

    fn running(&self, op: &'static str) -> Result<[Tensor; 2]> {
        let [mean, variance] = [self.mean.value()?, self.variance.value()?];
        within(op, "running_mean", &mean, LOW, "finite numbers")?;
        let (least, expected) = (End::Closed(0.), "finite numbers of 0 or more");
        within(op, "running_var", &variance, least, expected)?;
        Ok([mean, variance])
    }

    /// The running moments after a batch.
    pub(super) fn moved(&self, op: &'static str, batch: &BatchMoments) -> Result<[Tensor; 2]> {
        let [mean, variance] = self.running(op)?;
        let values = batch.values as f64;
        let momentum = self.config.momentum;
        let moved = |running: Tensor, batch: Tensor| -> Result<Tensor> {
            let expected = "values with a finite mean and variance in training";
            within(op, "x", &batch, LOW, expected)?;
            let batch = (batch.to_dtype(running.dtype())? * momentum)?;
            Ok(((running * (1. - momentum))? + batch)?)
        };
        let unbiased = (&batch.variance * (values / (values - 1.)))?;
        Ok([moved(mean, batch.mean.clone())?, moved(variance, unbiased)?])
    }

    /// Of the running mean and the running variance.
    pub(super) fn variables(&self) -> [&Tensor; 2] {
        [self.mean.variable(), self.variance.variable()]
    }

    pub(super) fn write(&self, [mean, variance]: &[Tensor; 2]) -> Result<()> {
        self.mean.set(mean)?;
        self.variance.set(variance)
    }
}

/// Below all finite numbers.
const LOW: End = End::Open(f64::NEG_INFINITY);

/// Refuses moments that are infinite, NaN or below the least.
fn within(
    op: &'static str,
    arg: &'static str,
    moments: &Tensor,
    least: End,
    expected: &str,
) -> Result<()> {
    match first_outside(moments, least, End::Open(f64::INFINITY))? {
        None => Ok(()),
        Some(found) => Err(Error::value(op, arg, expected, found)),
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.normalize(x, train)?)
    }
}

impl Detach for BatchNorm {
    /// Without gradients to gain and shift. The running moments are the same buffers: a training pass of either writes them.
    fn detach(&self) -> Self {
        let affine = self.affine.as_ref();
        BatchNorm {
            affine: affine.map(|(weight, bias)| (weight.detach(), bias.detach())),
            ..self.clone()
        }
    }
}
