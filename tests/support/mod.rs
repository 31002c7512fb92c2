//! What several tests share.

// Each binary uses a part of it.
#![allow(dead_code)]

pub mod any;
pub mod families;
pub mod golden;
pub mod process;

use candle_core::{DType, Tensor};
use candle_prob::Result;

/// The numbers of a tensor, in their order.
pub fn floats(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

pub fn flat(x: &Tensor) -> Vec<f64> {
    floats(x).unwrap()
}
