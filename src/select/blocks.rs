//! Data that are read again for every step.

use super::checks::check_finite;
use super::matrix::{Matrix, Moments, Weights, sweep_twice};
use crate::error::{Error, Result};
use crate::kernels::linear::design::{Design, Next, Number, Swept};
use candle_core::{DType, Tensor, WithDType};
use std::fmt;
use std::sync::Arc;

/// Blocks of rows, one after the other.
pub type Reader = Box<dyn Iterator<Item = Result<Tensor>>>;

/// Data in blocks of rows `[n, d]` that are read from the first to the last for every step, so that no more than one block is
/// in memory: as it was read, as numbers, and centred.
///
/// Errors, when they are read: a block of another width or dtype than was said, more or fewer rows than were said, an entry
/// that is not finite, and what the reader reports.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::select::{Blocks, Preparation, Problem};
/// # fn main() -> candle_prob::Result<()> {
/// // In earnest these would come from a file.
/// let x = Tensor::new(&[[0f32, 1.], [1., 0.], [2., 3.], [3., 3.]], &Device::Cpu)?;
/// let blocks = Blocks::new([4, 2], DType::F32, move || {
///     let x = x.clone();
///     Box::new((0..2).map(move |i| Ok(x.narrow(0, 2 * i, 2)?)))
/// });
/// let labels = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let problem = Problem::classification(&blocks, &labels, &Preparation::default())?;
/// assert_eq!((problem.samples(), problem.features()), (4, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Blocks {
    size: [usize; 2],
    dtype: DType,
    read: Arc<dyn Fn() -> Reader + Send + Sync>,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [samples, features] = self.size;
        write!(f, "Blocks of {samples} x {features} {:?}", self.dtype)
    }
}

impl Blocks {
    /// So many samples of so many features, f32 or f64, as the reader gives them each time that it is called.
    pub fn new(
        size: [usize; 2],
        dtype: DType,
        read: impl Fn() -> Reader + Send + Sync + 'static,
    ) -> Self {
        Blocks {
            size,
            dtype,
            read: Arc::new(read),
        }
    }

    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Calls `f` with the number of the first row of every block, and its numbers.
    fn each<T: WithDType>(&self, mut f: impl FnMut(usize, Vec<T>) -> Result<()>) -> Result<()> {
        let (op, [samples, features]) = ("Blocks::new", self.size);
        let mut row = 0;
        for block in (self.read)() {
            let block = block?;
            match block.dims() {
                [n, d] if *d == features && row + n <= samples => {}
                dims => {
                    let left = samples - row;
                    let expected = format!("a block [n, {features}], n at most {left}");
                    return Err(Error::shape(op, "read", expected, dims));
                }
            }
            if block.dtype() != self.dtype {
                let found = format!("{:?}", block.dtype());
                return Err(Error::value(op, "read", format!("{:?}", self.dtype), found));
            }
            let rows = block.dim(0)?;
            if rows == 0 {
                continue;
            }
            f(row, block.flatten_all()?.to_vec1()?)?;
            row += rows;
        }
        if row < samples {
            let expected = format!("{samples} rows");
            return Err(Error::value(op, "read", expected, row));
        }
        Ok(())
    }

    pub(super) fn moments(
        &self,
        op: &'static str,
        weights: &Weights,
        spreads: bool,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        match self.dtype {
            DType::F64 => self.moments_of::<f64>(op, weights, spreads),
            _ => self.moments_of::<f32>(op, weights, spreads),
        }
    }

    fn moments_of<T: Number + WithDType>(
        &self,
        op: &'static str,
        weights: &Weights,
        spreads: bool,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let features = self.size[1];
        // Beside the first row, so that the mean of a constant is exact.
        let (mut means, mut first) = (vec![0.; features], vec![]);
        let number = |x: &T| -> f64 { (*x).into() };
        self.each::<T>(|from, block| {
            let rows = block.chunks_exact(features);
            check_finite(
                op,
                "x",
                rows.clone().map(|row| row.iter().map(number)),
                from,
            )?;
            if first.is_empty() {
                first = block[..features].iter().map(number).collect();
            }
            for (row, w) in rows.zip(&weights.weights[from..]) {
                for ((mean, first), x) in means.iter_mut().zip(&first).zip(row) {
                    *mean += w * (number(x) - first) / weights.total;
                }
            }
            Ok(())
        })?;
        means.iter_mut().zip(&first).for_each(|(m, f)| *m += f);
        if !spreads {
            return Ok((means, vec![]));
        }
        let mut spreads = vec![0.; features];
        self.each::<T>(|from, block| {
            for (row, w) in block.chunks_exact(features).zip(&weights.weights[from..]) {
                for ((spread, mean), x) in spreads.iter_mut().zip(&means).zip(row) {
                    *spread += w * (number(x) - mean).powi(2) / weights.total;
                }
            }
            Ok(())
        })?;
        spreads.iter_mut().for_each(|s: &mut f64| *s = s.sqrt());
        Ok((means, spreads))
    }

    pub(super) fn centred<T>(&self, weights: &Weights, moments: &Moments) -> Read<T> {
        Read {
            blocks: self.clone(),
            weights: weights.clone(),
            moments: moments.clone(),
            kind: std::marker::PhantomData,
        }
    }
}

/// Blocks, centred as they are read.
#[derive(Debug)]
pub(super) struct Read<T> {
    blocks: Blocks,
    weights: Weights,
    moments: Moments,
    kind: std::marker::PhantomData<T>,
}

impl<T: Number + WithDType> Read<T> {
    /// Calls `f` with the first row of every block and the centred block.
    fn each(&self, mut f: impl FnMut(usize, Design<T>) -> Result<()>) -> Result<()> {
        let features = self.blocks.size[1];
        self.blocks.each::<T>(|from, block| {
            let Moments { means, scales } = &self.moments;
            let roots = &self.weights.roots[from..][..block.len() / features];
            f(from, Design::centred(&block, [means, scales], roots))
        })
    }

    /// The columns of this block of `[C, N]`, padded as the block is.
    fn part(&self, all: &[T], from: usize, block: &Design<T>) -> Vec<T> {
        let stride = block.stride();
        let mut part = vec![];
        for row in all.chunks_exact(self.stride()) {
            let end = (from + stride).min(row.len());
            part.extend(&row[from..end]);
            part.resize(part.len() + stride - (end - from), T::default());
        }
        part
    }
}

impl<T: Number + WithDType> Matrix<T> for Read<T> {
    fn features(&self) -> usize {
        self.blocks.size[1]
    }

    fn stride(&self) -> usize {
        self.blocks.size[0]
    }

    fn lengths(&self) -> Result<Vec<f64>> {
        let mut squares = vec![0.; self.features()];
        self.each(|_, block| {
            for (square, length) in squares.iter_mut().zip(Matrix::lengths(&block)?) {
                *square += length * length;
            }
            Ok(())
        })?;
        Ok(squares.into_iter().map(f64::sqrt).collect())
    }

    fn correlate(&self, rows: &[usize], r: &[T]) -> Result<Vec<T>> {
        let mut sums = vec![0.; rows.len() * (r.len() / self.stride())];
        self.each(|from, block| {
            let part = block.correlate(rows, &self.part(r, from, &block));
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += Into::<f64>::into(x);
            }
            Ok(())
        })?;
        Ok(sums.into_iter().map(T::of).collect())
    }

    fn combine(&self, rows: &[usize], w: &[T], start: &[T]) -> Result<Vec<T>> {
        let mut out = start.to_vec();
        let stride = self.stride();
        self.each(|from, block| {
            let part = block.combine(rows, w, &self.part(start, from, &block));
            let wide = block.stride();
            for (out, part) in out.chunks_exact_mut(stride).zip(part.chunks_exact(wide)) {
                let end = (from + wide).min(stride);
                out[from..end].copy_from_slice(&part[..end - from]);
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn sweep(&self, r: &[T], start: &[T], next: &Next<T>) -> Result<Swept<T>> {
        sweep_twice(self, r, start, next)
    }
}
