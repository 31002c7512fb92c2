//! Levels as classes.

use super::Likelihood;
use super::layout::{Layout, refuse};
use crate::check;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Categorical, Distribution, Independent};
use crate::error::{Error, Result};
use crate::kernels::reduce::range::End;
use candle_core::{D, DType, Tensor};

/// Independent [`Categorical`] elements: each level, such as the 256 of a byte, is a class of its own.
///
/// Formula: `log p(x) = sum l_x - ln sum_i e^l_i`, with the logits l of an element as its raw numbers.
///
/// Shapes: data are `batch ++ event`, of dtype u8, u32 or i64; raw output `batch ++ [levels * n, ..]` for an event `[n, ..]`:
/// all logits of level 0 first. Units: nats. Gradients: to the logits. It does not know that levels are ordered;
/// [`LogisticMixtureLikelihood`](super::LogisticMixtureLikelihood) does, with fewer numbers.
///
/// Errors: an event without dims or elements, fewer than 2 levels. [`check_data`](Likelihood::check_data) refuses other dtypes and
/// what is no level.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::{Conditional, net::{CategoricalLikelihood, Likelihood}};
/// # fn main() -> candle_prob::Result<()> {
/// let likelihood = CategoricalLikelihood::new(&[1, 4, 4], 256)?;
/// let raw = Tensor::zeros((2, 256, 4, 4), DType::F32, &Device::Cpu)?;
/// let bytes = Tensor::full(7u8, (2, 1, 4, 4), &Device::Cpu)?;
/// likelihood.check_data(&bytes)?;
/// let nats = likelihood.given(&raw)?.log_prob(&bytes)?.to_vec1::<f32>()?;
/// assert!((nats[0] + 16. * 256f32.ln()).abs() < 1e-4);
/// // The mean level of a picture.
/// assert_eq!(likelihood.mean(&raw)?.max_all()?.to_scalar::<f32>()?, 127.5);
/// # Ok(())
/// # }
/// ```
///
/// Source: van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel recurrent neural networks, section 3.3.
#[derive(Debug, Clone)]
pub struct CategoricalLikelihood(Layout);

impl CategoricalLikelihood {
    /// Of the levels `0..levels`, an observation of shape `event`.
    pub fn new(event: &[usize], levels: usize) -> Result<Self> {
        let op = "CategoricalLikelihood::new";
        check::at_least(op, "levels", levels, 2)?;
        Layout::new(op, event, levels).map(CategoricalLikelihood)
    }

    /// The number of levels.
    pub fn levels(&self) -> usize {
        self.0.count()
    }

    fn classes(&self, op: &'static str, raw: &Tensor) -> Result<Categorical> {
        Categorical::new_unchecked(&self.0.last(op, raw, 0, self.levels())?)
    }
}

/// It has no variables.
impl Detach for CategoricalLikelihood {
    fn detach(&self) -> Self {
        self.clone()
    }
}

impl Conditional for CategoricalLikelihood {
    type Output = Independent<Categorical>;

    fn given(&self, raw: &Tensor) -> Result<Independent<Categorical>> {
        let classes = self.classes("CategoricalLikelihood::given", raw)?;
        classes.to_event(self.0.rank())
    }
}

impl Likelihood for CategoricalLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.0.event()
    }

    fn parameters(&self) -> usize {
        self.0.count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        let probs = self.classes("CategoricalLikelihood::mean", raw)?.probs()?;
        let levels = Tensor::arange(0, self.levels() as i64, raw.device())?;
        Ok(probs
            .broadcast_mul(&levels.to_dtype(raw.dtype())?)?
            .sum(D::Minus1)?)
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "CategoricalLikelihood::check_data";
        if !matches!(data.dtype(), DType::U8 | DType::U32 | DType::I64) {
            return Err(Error::DType {
                op,
                arg: "data",
                expected: "levels as U8, U32 or I64".into(),
                found: data.dtype(),
            });
        }
        self.0.check_shape(op, data)?;
        let ends = [End::Closed(0.), End::Open(self.levels() as f64)];
        let expected = format!("levels below {}", self.levels());
        refuse(op, &data.to_dtype(DType::F64)?, ends, &expected)
    }
}
