//! Second-order methods.

mod block_descent;
mod classifier;
mod ellipses;
mod gauss_newton;
mod losses;
mod pcg;

use candle_core::{Device, Module, Tensor, Var};
use candle_prob::dual::{Dual, Linearize};
use candle_prob::{Activation, Result, Rng};

pub fn tensor(numbers: Vec<f64>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// `x + h tanh(x K^T + b)`, twice, with the same K and b.
pub struct Layers {
    pub kernel: Var,
    pub bias: Var,
    pub step: f64,
}

impl Layers {
    pub fn new(width: usize, step: f64, rng: &mut Rng) -> Result<Self> {
        let mut var = |shape: &[usize]| -> Result<Var> {
            let x = rng.normal(shape, candle_core::DType::F64, &Device::Cpu)?;
            Ok(Var::from_tensor(&(x * 0.7)?)?)
        };
        Ok(Layers {
            kernel: var(&[width, width])?,
            bias: var(&[width])?,
            step,
        })
    }

    fn dual(&self, x: &Tensor, direction: &[Tensor]) -> Result<Dual> {
        let mut y = Dual::constant(x);
        for _ in 0..2 {
            let moved = Dual::new(
                &y.value().broadcast_add(&self.bias)?,
                &y.value()
                    .matmul(&direction[0].t()?)?
                    .broadcast_add(&direction[1])?,
            )?;
            // d(K y + b) = dK y + db + K dy.
            let change = moved.sub(&Dual::constant(moved.value()))?;
            let inside = y.dense(&self.kernel, Some(&self.bias))?.add(&change)?;
            y = y.add(&inside.activation(Activation::Tanh)?.scale(self.step)?)?;
        }
        Ok(y)
    }
}

impl Module for Layers {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let mut y = x.clone();
        for _ in 0..2 {
            let inside = y.matmul(&self.kernel.t()?)?.broadcast_add(&self.bias)?;
            y = (&y + (inside.tanh()? * self.step)?)?;
        }
        Ok(y)
    }
}

impl Linearize for Layers {
    fn parameters(&self) -> Vec<Var> {
        vec![self.kernel.clone(), self.bias.clone()]
    }

    fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
        let y = self.dual(x, direction)?;
        Ok(y.tangent().cloned().unwrap_or(y.value().zeros_like()?))
    }
}

/// Solves a dense system by elimination with pivots.
pub fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        let pivot = (i..n)
            .max_by(|j, k| a[*j][i].abs().total_cmp(&a[*k][i].abs()))
            .unwrap();
        a.swap(i, pivot);
        b.swap(i, pivot);
        for j in i + 1..n {
            let factor = a[j][i] / a[i][i];
            let row = a[i].clone();
            a[j].iter_mut().zip(row).for_each(|(x, y)| *x -= factor * y);
            b[j] -= factor * b[i];
        }
    }
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - rest) / a[i][i];
    }
    b
}
