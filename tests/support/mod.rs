//! What several tests share.

// Each binary uses a part of it.
#![allow(dead_code)]

pub mod any;
pub mod families;
pub mod golden;
pub mod process;

use candle_core::{DType, Tensor, Var};
use candle_prob::{Result, Rng};

/// The numbers of a tensor, in their order.
pub fn floats(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

pub fn flat(x: &Tensor) -> Vec<f64> {
    floats(x).unwrap()
}

/// The gradient to every element of a f64 variable, of outputs weighted at random, against central differences:
/// `|got - want| <= tolerance * max(1, |want|)`.
pub fn differences(var: &Var, tolerance: f64, f: &dyn Fn() -> Result<Tensor>) -> Result<()> {
    let y = f()?;
    let weights = Rng::new(9).normal(y.shape(), DType::F64, y.device())?;
    let store = (y * &weights)?.sum_all()?.backward()?;
    let got = floats(store.get(var).expect("a gradient"))?;
    let at = floats(var)?;
    let set = |numbers: Vec<f64>| -> Result<()> {
        Ok(var.set(&Tensor::from_vec(numbers, var.shape(), var.device())?)?)
    };
    for i in 0..at.len() {
        let moved = |by: f64| -> Result<f64> {
            let mut numbers = at.clone();
            numbers[i] += by;
            set(numbers)?;
            Ok((f()? * &weights)?.sum_all()?.to_scalar()?)
        };
        let want = (moved(6e-6)? - moved(-6e-6)?) / 1.2e-5;
        let close = (got[i] - want).abs() <= tolerance * want.abs().max(1.);
        assert!(close, "element {i}: {} is not {want}", got[i]);
    }
    set(at)
}
