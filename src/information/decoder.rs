//! Decoders of codes out of C categories, exactly.

use super::encoded::Encoded;
use super::table::Table;
use super::targets::{Known, Targets};
use super::{check, terms};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::elementwise::composed::double;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// The decoder `p(y | z)` of a code Z out of C categories, and what it costs, without a draw.
///
/// Formulas, of an encoder's `p(z | x)` and targets, with `h(p) = -ln p`:
///
/// - [`decoder_cross_entropy`](CategoricalDecoder::decoder_cross_entropy)
///   `H_theta[Y|Z] = E_{p(x, y)} E_{p(z|x)} h(p_theta(y | z))`,
/// - [`prediction_cross_entropy`](CategoricalDecoder::prediction_cross_entropy)
///   `H_theta[Y|X] = E_{p(x, y)} h(E_{p(z|x)} p_theta(y | z))`, not more than that (Observation 2),
/// - [`error_probability`](CategoricalDecoder::error_probability) `1 - E_{p(x, y)} E_{p(z|x)} p_theta(y | z)`, of labels that
///   are drawn from the decoder; not more than `1 - e^-H` of either (Observation 3).
///
/// The [optimal](CategoricalDecoder::optimal) decoder is `p(y | z) = sum_x p(x, y) p(z | x) / sum_x p(x) p(z | x)`, and of
/// all decoders its cross-entropy is the least: `H[Y|Z]` (Observation 4).
///
/// Shapes: decoders `[C, L]`, encoders `[N, C]`, results scalars. Units: nats.
///
/// Gradients: to the encoder, the decoder and the targets. Through an optimal decoder nothing is added to the gradient of
/// `H[Y|Z]`, which is that of appendix A.3, `E_{p(x, z)} [d ln p(z|x) E_{p(y|x)} h(p(y|z))]`, whether it is detached or not.
///
/// Errors: those of [`Diagram::from_targets`](super::Diagram::from_targets); numbers of codes or classes, dtypes or devices
/// that are not the decoder's.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Detach;
/// use candle_prob::information::{CategoricalDecoder, Diagram, Targets};
/// # fn main() -> candle_prob::Result<()> {
/// let encoder = Tensor::new(&[[0.9f64, 0.1], [0.6, 0.4], [0.2, 0.8]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 1], &Device::Cpu)?;
/// let targets = Targets::Labels { labels: &labels, classes: 2 };
/// let decoder = CategoricalDecoder::optimal(&encoder, targets, None)?.detach();
/// let cost = decoder.decoder_cross_entropy(&encoder, targets, None)?.to_scalar::<f64>()?;
/// let least = Diagram::from_targets(&encoder, targets, None)?.decoder_uncertainty()?.to_scalar::<f64>()?;
/// assert!((cost - least).abs() < 1e-15);
/// let prediction = decoder.prediction_cross_entropy(&encoder, targets, None)?.to_scalar::<f64>()?;
/// assert!(prediction < cost);
/// let error = decoder.error_probability(&encoder, targets, None)?.to_scalar::<f64>()?;
/// assert!(error < 1. - (-prediction).exp());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside, and without a table of N L C numbers. A cost is infinite where a label that occurs
/// has no probability, in a code that does.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking Information Bottlenecks, section 5 and appendix A.3.
#[derive(Debug, Clone)]
pub struct CategoricalDecoder {
    /// `ln p(y | z)`, `[C, L]`, in double precision.
    log_p: Tensor,
    dtype: DType,
}

impl CategoricalDecoder {
    /// Of probabilities `p(y | z)`, `[C, L]`.
    pub fn new(p_y_given_z: &Tensor) -> Result<Self> {
        let (op, arg) = ("CategoricalDecoder::new", "p_y_given_z");
        shape::dims::<2>(op, arg, p_y_given_z.dims(), "[C, L]")?;
        let p = check::probabilities(op, arg, p_y_given_z, 1)?;
        Ok(CategoricalDecoder {
            log_p: terms::log(op, &p)?,
            dtype: p_y_given_z.dtype(),
        })
    }

    /// Of their logarithms, which a network gives by [`log_softmax`](crate::special::log_softmax) with all digits.
    pub fn from_log_probs(log_p: &Tensor) -> Result<Self> {
        let (op, arg) = ("CategoricalDecoder::from_log_probs", "log_p");
        shape::dims::<2>(op, arg, log_p.dims(), "[C, L]")?;
        shape::float(op, arg, log_p)?;
        let wide = double(log_p)?;
        check::probabilities(op, arg, &wide.detach().exp()?.to_dtype(log_p.dtype())?, 1)?;
        Ok(CategoricalDecoder {
            log_p: wide,
            dtype: log_p.dtype(),
        })
    }

    /// The best of an encoder. A code that does not occur says nothing: it is decoded as `p(y)`.
    pub fn optimal(
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Self> {
        let op = "CategoricalDecoder::optimal";
        let encoded = Encoded::new(op, p_z_given_x, targets, weights)?;
        let masses = encoded.known.by_class(&encoded.masses)?;
        Self::of_masses(op, &masses, p_z_given_x.dtype())
    }

    /// From `p(y, z)`, `[L, C]`.
    fn of_masses(op: &'static str, masses: &Tensor, dtype: DType) -> Result<Self> {
        Ok(CategoricalDecoder {
            log_p: terms::log(op, &decoded(masses)?)?,
            dtype,
        })
    }

    /// `p(y | z)`, `[C, L]`.
    pub fn probabilities(&self) -> Result<Tensor> {
        Ok(self.log_p.exp()?.to_dtype(self.dtype)?)
    }

    /// `p(y | x) = sum_z p(z | x) p(y | z)` of each sample, `[N, L]`.
    pub fn predict(&self, p_z_given_x: &Tensor) -> Result<Tensor> {
        let op = "CategoricalDecoder::predict";
        self.check(op, p_z_given_x)?;
        let p = check::probabilities(op, "p_z_given_x", p_z_given_x, 1)?;
        Ok(p.matmul(&self.log_p.exp()?)?.to_dtype(self.dtype)?)
    }

    /// `H_theta[Y|Z]`.
    pub fn decoder_cross_entropy(
        &self,
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Tensor> {
        let op = "CategoricalDecoder::decoder_cross_entropy";
        let Encoded { masses, known } = self.encoded(op, p_z_given_x, targets, weights)?;
        let masses = known.by_class(&masses)?;
        let nats = terms::cross_entropy(op, &masses, &self.log_p.t()?)?;
        Ok(nats.to_dtype(self.dtype)?)
    }

    /// `H_theta[Y|X]`.
    pub fn prediction_cross_entropy(
        &self,
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Tensor> {
        let op = "CategoricalDecoder::prediction_cross_entropy";
        let Encoded { masses, known } = self.encoded(op, p_z_given_x, targets, weights)?;
        let p_x = masses.sum_keepdim(1)?;
        let joint = masses.matmul(&self.log_p.exp()?)?;
        let log_p = terms::log(op, &terms::share(&joint, &p_x)?)?;
        let (weights, log_p) = match &known {
            Known::Labels(labels, _) => (p_x, log_p.gather(&labels.unsqueeze(1)?, 1)?),
            Known::Probabilities(p) => (p.broadcast_mul(&p_x)?, log_p),
        };
        let nats = terms::cross_entropy(op, &weights, &log_p)?;
        Ok(nats.to_dtype(self.dtype)?)
    }

    /// How probable it is that a label drawn from the decoder is wrong.
    pub fn error_probability(
        &self,
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Tensor> {
        let op = "CategoricalDecoder::error_probability";
        let Encoded { masses, known } = self.encoded(op, p_z_given_x, targets, weights)?;
        let right = (known.by_class(&masses)? * self.log_p.t()?.exp()?)?;
        let right = reduce::sum(&right.flatten_all()?)?;
        Ok((1. - right)?.to_dtype(self.dtype)?)
    }

    fn encoded(
        &self,
        op: &'static str,
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Encoded> {
        self.check(op, p_z_given_x)?;
        let encoded = Encoded::new(op, p_z_given_x, targets, weights)?;
        let (_, classes) = self.log_p.dims2()?;
        match encoded.known.classes() {
            found if found == classes => Ok(encoded),
            found => {
                let expected = format!("{classes} classes, as the decoder has");
                Err(Error::value(op, "targets", expected, found))
            }
        }
    }

    fn check(&self, op: &'static str, p_z_given_x: &Tensor) -> Result<()> {
        let (arg, dims) = ("p_z_given_x", p_z_given_x.dims());
        shape::dtype(op, arg, p_z_given_x, self.dtype)?;
        shape::same_device(op, arg, p_z_given_x, &self.log_p)?;
        let codes = self.log_p.dims()[0];
        match dims {
            [_, found] if *found == codes => Ok(()),
            _ => Err(Error::shape(op, arg, format!("[N, {codes}]"), dims)),
        }
    }
}

impl Detach for CategoricalDecoder {
    fn detach(&self) -> Self {
        CategoricalDecoder {
            log_p: self.log_p.detach(),
            dtype: self.dtype,
        }
    }
}

/// `p(y | z)`, `[C, L]`, of masses `[L, C]`.
fn decoded(masses: &Tensor) -> Result<Tensor> {
    let (p_z, p_y) = (masses.sum_keepdim(0)?, masses.sum_keepdim(1)?);
    let p_y = terms::share(&p_y, &p_y.sum_keepdim(0)?)?;
    let absent = p_z.detach().eq(0.)?.to_dtype(masses.dtype())?;
    let p = (terms::share(masses, &p_z)? + p_y.broadcast_mul(&absent)?)?;
    Ok(p.t()?.contiguous()?)
}

/// The best decoder `p(y | z)` of an encoder `[N, C]`, as a tensor `[C, L]`: [`CategoricalDecoder::optimal`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::information::{Targets, optimal_decoder};
/// # fn main() -> candle_prob::Result<()> {
/// let encoder = Tensor::new(&[[1f64, 0., 0.], [0.5, 0.5, 0.]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let decoder = optimal_decoder(&encoder, Targets::Labels { labels: &labels, classes: 2 }, None)?;
/// // The last code does not occur.
/// let third = 1. / 3.;
/// let expected = [[1. - third, third], [0., 1.], [0.5, 0.5]];
/// for (row, expected) in decoder.to_vec2::<f64>()?.iter().zip(expected) {
///     assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15));
/// }
/// # Ok(())
/// # }
/// ```
pub fn optimal_decoder(
    p_z_given_x: &Tensor,
    targets: Targets,
    weights: Option<&Tensor>,
) -> Result<Tensor> {
    let op = "optimal_decoder";
    let Encoded { masses, known } = Encoded::new(op, p_z_given_x, targets, weights)?;
    Ok(decoded(&known.by_class(&masses)?)?.to_dtype(p_z_given_x.dtype())?)
}

/// The optimal decoder of the last epoch, while the batches of this one are collected.
///
/// Where `H[Y|Z]` is minimized directly, `p(y | z)` is computed after every epoch and held through the next one (section 5.4).
/// [`observe`](LaggedDecoder::observe) adds the masses `p(y, z)` of a batch, of as many samples as it has, and
/// [`end_epoch`](LaggedDecoder::end_epoch) makes a decoder of them. Before the first epoch ends all labels are equally likely.
///
/// A label that no sample of an epoch had in a code costs infinitely much in the next one, if a softmax that underflowed has come
/// back: [`smoothed`](LaggedDecoder::smoothed) adds to each code a few samples of the labels of all codes, `a p(y)`, so that
/// `p(y | z) = (m(y, z) + a p(y)) / (m(z) + a)`.
///
/// Gradients: none through the decoder. Its
/// [cross-entropy](CategoricalDecoder::decoder_cross_entropy) has that of A.3, with the costs of the last epoch.
///
/// Errors: those of [`CategoricalDecoder`]; an epoch without batches; a smoothing that is negative or not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::information::{LaggedDecoder, Targets};
/// # fn main() -> candle_prob::Result<()> {
/// let mut lagged = LaggedDecoder::new(2, 2, DType::F64, &Device::Cpu)?;
/// for (encoder, label) in [([[0.9f64, 0.1]], [0u32]), ([[0.2, 0.8]], [1])] {
///     let (encoder, labels) = (Tensor::new(&encoder, &Device::Cpu)?, Tensor::new(&label, &Device::Cpu)?);
///     let targets = Targets::Labels { labels: &labels, classes: 2 };
///     let loss = lagged.decoder().decoder_cross_entropy(&encoder, targets, None)?;
///     assert!((loss.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15); // the first epoch's
///     lagged.observe(&encoder, targets)?;
/// }
/// lagged.end_epoch()?;
/// let p = lagged.decoder().probabilities()?.to_vec2::<f64>()?;
/// assert!((p[0][0] - 0.9 / 1.1).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking Information Bottlenecks, section 5.4.
#[derive(Debug, Clone)]
pub struct LaggedDecoder {
    decoder: CategoricalDecoder,
    /// Sums of `p(y, z | x)` since the epoch began, `[L, C]`.
    masses: Option<Tensor>,
    /// `p(y, z)` of the last epoch.
    table: Option<Table>,
    smoothing: f64,
}

impl LaggedDecoder {
    /// Of C codes and L classes, for encoders of this dtype and device. Errors: no codes, no classes.
    pub fn new(codes: usize, classes: usize, dtype: DType, device: &Device) -> Result<Self> {
        let op = "LaggedDecoder::new";
        crate::check::at_least_one(op, &[("codes", codes), ("classes", classes)])?;
        let even = Tensor::full(1f64 / classes as f64, (codes, classes), device)?;
        let mut decoder = CategoricalDecoder::new(&even)?;
        decoder.dtype = dtype;
        Ok(LaggedDecoder {
            decoder,
            masses: None,
            table: None,
            smoothing: 0.,
        })
    }

    /// With so many samples more in each code.
    pub fn smoothed(mut self, samples: f64) -> Result<Self> {
        crate::check::non_negative("LaggedDecoder::smoothed", "samples", samples)?;
        self.smoothing = samples;
        Ok(self)
    }

    /// The decoder of the last epoch.
    pub fn decoder(&self) -> &CategoricalDecoder {
        &self.decoder
    }

    /// The table of labels and codes `[Y, Z]` of the last epoch, without smoothing: its `conditional_entropy(&[0], &[1])` is that
    /// epoch's `H[Y|Z]`.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Adds a batch to this epoch, without gradients.
    pub fn observe(&mut self, p_z_given_x: &Tensor, targets: Targets) -> Result<()> {
        let op = "LaggedDecoder::observe";
        let p = p_z_given_x.detach();
        let Encoded { masses, known } = self.decoder.encoded(op, &p, targets, None)?;
        let samples = p.dims()[0] as f64;
        let new = (known.by_class(&masses)? * samples)?.detach();
        self.masses = Some(match &self.masses {
            Some(masses) => (masses + new)?,
            None => new,
        });
        Ok(())
    }

    /// Makes the decoder of what was observed since the last call, and begins anew.
    pub fn end_epoch(&mut self) -> Result<()> {
        let op = "LaggedDecoder::end_epoch";
        match &self.masses {
            None => Err(Error::value(op, "epoch", "at least one batch", "none")),
            Some(masses) => {
                let dtype = self.decoder.dtype;
                let p_y = masses.sum_keepdim(1)?;
                let samples = p_y.sum_keepdim(0)?;
                let more = (p_y.broadcast_div(&samples)? * self.smoothing)?;
                let smooth = masses.broadcast_add(&more)?;
                self.decoder = CategoricalDecoder::of_masses(op, &smooth, dtype)?;
                self.table = Some(Table::checked(masses.broadcast_div(&samples)?, dtype));
                self.masses = None;
                Ok(())
            }
        }
    }
}
