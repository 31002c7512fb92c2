//! Numbers that say on which side of the information they are.

use crate::error::Result;
use candle_core::{DType, Tensor};
use std::f64::consts::LN_2;

/// A number that is the information or less: the bound with expectations in the place of a batch's means. What a batch makes of it
/// may be biased where a logarithm of a mean is taken; its function says so.
#[derive(Debug, Clone)]
pub struct LowerBound {
    value: Tensor,
}

/// A number that is the information or more, in expectation.
#[derive(Debug, Clone)]
pub struct UpperBound {
    value: Tensor,
}

/// A number that is neither: it may be on either side of the information.
#[derive(Debug, Clone)]
pub struct InformationEstimate {
    /// The estimate, a scalar in nats, with gradients to the scores.
    pub value: Tensor,
    /// What the critic maximizes instead, a scalar: no information.
    pub objective: Tensor,
}

impl LowerBound {
    pub(super) fn new(value: Tensor) -> Self {
        LowerBound { value }
    }

    /// The bound, a scalar in nats, with gradients.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// What a critic minimizes: the negative.
    pub fn loss(&self) -> Result<Tensor> {
        Ok(self.value.neg()?)
    }

    /// The bound in nats.
    pub fn nats(&self) -> Result<f64> {
        nats(&self.value)
    }

    /// The bound in bits.
    pub fn bits(&self) -> Result<f64> {
        Ok(self.nats()? / LN_2)
    }
}

impl UpperBound {
    pub(super) fn new(value: Tensor) -> Self {
        UpperBound { value }
    }

    /// The bound, a scalar in nats, with gradients: what an encoder minimizes that shall know less.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The bound in nats.
    pub fn nats(&self) -> Result<f64> {
        nats(&self.value)
    }

    /// The bound in bits.
    pub fn bits(&self) -> Result<f64> {
        Ok(self.nats()? / LN_2)
    }
}

impl InformationEstimate {
    /// What the critic minimizes: the negative of its objective.
    pub fn loss(&self) -> Result<Tensor> {
        Ok(self.objective.neg()?)
    }

    /// The estimate in nats.
    pub fn nats(&self) -> Result<f64> {
        nats(&self.value)
    }

    /// The estimate in bits.
    pub fn bits(&self) -> Result<f64> {
        Ok(self.nats()? / LN_2)
    }
}

fn nats(value: &Tensor) -> Result<f64> {
    Ok(value.to_dtype(DType::F64)?.to_scalar()?)
}
