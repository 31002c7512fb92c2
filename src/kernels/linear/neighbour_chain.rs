//! Systems of equations that couple each of a chain to its neighbours.

use crate::error::Result;
use crate::kernels::number::Float;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// `(coupling D^T D + shift I)^-1 v` along the first dim, where D takes the differences of neighbours; without a gradient.
///
/// Shapes: v `[N, ..]`. Coupling is 0 or more, shift more than 0. Numerics: elimination without a subtraction, in f64: the
/// solution is that of neighbouring data, however small the shift is. O(N) for each column.
pub(crate) fn solve(v: &Tensor, coupling: f64, shift: f64) -> Result<Tensor> {
    let dtype = match v.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let x = v.detach().to_device(&Device::Cpu)?.to_dtype(dtype)?;
    let system = System::new(v.dim(0)?, coupling, shift);
    let x = match dtype {
        DType::F64 => system.columns::<f64>(&x)?,
        _ => system.columns::<f32>(&x)?,
    };
    Ok(x.to_dtype(v.dtype())?.to_device(v.device())?)
}

/// Columns that one task solves side by side.
const WIDTH: usize = 64;

/// What elimination leaves: `u_j = v_j + back_j u_(j-1)`, then `x_j = inverse_j u_j + ahead_j x_(j+1)`.
struct System {
    back: Vec<f64>,
    ahead: Vec<f64>,
    inverse: Vec<f64>,
}

impl System {
    fn new(count: usize, coupling: f64, shift: f64) -> Self {
        let mut system = System {
            back: vec![0.; count],
            ahead: vec![0.; count],
            inverse: vec![0.; count],
        };
        // The pivot is q, and the coupling to the next where there is one.
        let mut q = shift;
        for j in 0..count {
            let last = j + 1 == count;
            let pivot = if last { q } else { coupling + q };
            system.inverse[j] = 1. / pivot;
            if !last {
                let share = coupling / pivot;
                (system.ahead[j], system.back[j + 1]) = (share, share);
                q = shift + share * q;
            }
        }
        system
    }

    fn columns<T: Float>(&self, v: &Tensor) -> Result<Tensor> {
        let data = v.flatten_all()?.to_vec1::<T>()?;
        let count = self.inverse.len();
        let columns = data.len() / count.max(1);
        let starts: Vec<usize> = (0..columns).step_by(WIDTH).collect();
        let blocks: Vec<Vec<T>> = starts
            .par_iter()
            .map(|from| self.block(&data, columns, *from, WIDTH.min(columns - from)))
            .collect();
        let mut out = Vec::with_capacity(data.len());
        for j in 0..count {
            for block in &blocks {
                let width = block.len() / count;
                out.extend_from_slice(&block[j * width..][..width]);
            }
        }
        Ok(Tensor::from_vec(out, v.shape(), v.device())?)
    }

    /// `width` columns, beginning with column `from`.
    fn block<T: Float>(&self, v: &[T], columns: usize, from: usize, width: usize) -> Vec<T> {
        let count = self.inverse.len();
        let mut x = vec![0f64; count * width];
        for j in 0..count {
            let (before, row) = x.split_at_mut(j * width);
            let before = before.rchunks(width).next().unwrap_or(&[]);
            let v = &v[j * columns + from..][..width];
            for (row, v) in row.iter_mut().zip(v) {
                *row = v.to_f64();
            }
            for (row, before) in row.iter_mut().zip(before) {
                *row += self.back[j] * before;
            }
        }
        for j in (0..count).rev() {
            let (row, after) = x[j * width..].split_at_mut(width);
            row.iter_mut().for_each(|x| *x *= self.inverse[j]);
            for (row, after) in row.iter_mut().zip(after) {
                *row += self.ahead[j] * *after;
            }
        }
        x.into_iter().map(T::from_f64).collect()
    }
}
