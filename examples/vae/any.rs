//! A distribution and a likelihood whose types the command line chooses.

use candle_core::Tensor;
use candle_prob::distribution::Distribution;
use candle_prob::net::Likelihood;
use candle_prob::{Result, Rng};

/// A distribution of any type.
pub struct Any<'a>(Box<dyn Distribution + 'a>);

impl<'a> Any<'a> {
    pub fn of(distribution: impl Distribution + 'a) -> Self {
        Any(Box::new(distribution))
    }
}

impl Distribution for Any<'_> {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.0.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob(value)
    }

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        self.0.sample_and_log_prob(shape, rng)
    }
}

/// A [`Likelihood`] of any type.
pub trait AnyLikelihood {
    fn numbers(&self) -> usize;
    fn pixels(&self, raw: &Tensor) -> Result<Any<'static>>;
    fn means(&self, raw: &Tensor) -> Result<Tensor>;
    fn check(&self, data: &Tensor) -> Result<()>;
}

impl<L: Likelihood<Output: 'static>> AnyLikelihood for L {
    fn numbers(&self) -> usize {
        self.parameters()
    }

    fn pixels(&self, raw: &Tensor) -> Result<Any<'static>> {
        self.given(raw).map(Any::of)
    }

    fn means(&self, raw: &Tensor) -> Result<Tensor> {
        self.mean(raw)
    }

    fn check(&self, data: &Tensor) -> Result<()> {
        self.check_data(data)
    }
}
