//! Matrix products on slices of f32 or f64: the one call of the `gemm` crate.
//!
//! Candle's `matmul` fills its output with zeros before it writes it, and a kernel that works in row chunks wants the
//! product on a part of a buffer. The bits of a product depend on its shape and strides, not on the number of threads.

use candle_core::{Result, WithDType};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// A matrix read from a slice: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T = f32> {
    data: &'a [T],
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// What happens to the values that the destination holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    /// They are overwritten without being read: the destination may be fresh memory.
    Set,
    /// The product is added to them.
    Add,
}

impl Shape {
    fn new(
        [rows, cols]: [usize; 2],
        [row_stride, col_stride]: [usize; 2],
        len: usize,
    ) -> Result<Self> {
        let shape = Shape {
            rows,
            cols,
            row_stride,
            col_stride,
        };
        // The largest index that is read or written.
        let last = || {
            let row = (rows.checked_sub(1)?).checked_mul(row_stride)?;
            row.checked_add((cols.checked_sub(1)?).checked_mul(col_stride)?)
        };
        // A slice of numbers has at most isize::MAX / 4 elements, so offsets below its length fit isize. The stride of a
        // single row or column is not used for an offset, but it is passed on.
        let fits = isize::try_from(row_stride).is_ok() && isize::try_from(col_stride).is_ok();
        if rows > 0 && cols > 0 && !last().is_some_and(|last| last < len && fits) {
            candle_core::bail!(
                "gemm: a {rows} x {cols} matrix with strides {row_stride}, {col_stride} is not inside {len} elements"
            )
        }
        Ok(shape)
    }
}

impl<'a, T: WithDType> Mat<'a, T> {
    /// A row-major matrix.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self> {
        Self::strided(data, [rows, cols], [cols, 1])
    }

    /// Any strides, zero included.
    pub(crate) fn strided(data: &'a [T], shape: [usize; 2], strides: [usize; 2]) -> Result<Self> {
        let shape = Shape::new(shape, strides, data.len())?;
        Ok(Mat { data, shape })
    }

    /// The number of rows.
    pub(crate) fn height(self) -> usize {
        self.shape.rows
    }

    /// The elements, if they stand row after row.
    pub(crate) fn slice(self) -> Option<&'a [T]> {
        let Shape {
            rows,
            cols,
            row_stride,
            col_stride,
        } = self.shape;
        match (row_stride == cols, col_stride) {
            (true, 1) => self.data.get(..rows * cols),
            _ => None,
        }
    }

    /// The transpose; nothing moves.
    pub(crate) fn t(self) -> Self {
        let Shape {
            rows,
            cols,
            row_stride,
            col_stride,
        } = self.shape;
        let shape = Shape {
            rows: cols,
            cols: rows,
            row_stride: col_stride,
            col_stride: row_stride,
        };
        Mat { shape, ..self }
    }

    /// The rows of a range.
    pub(crate) fn rows(self, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.shape.rows {
            candle_core::bail!("gemm: rows {range:?} of {}", self.shape.rows)
        }
        let start = range.start * self.shape.row_stride;
        Ok(Mat {
            // Past the end when no row is left.
            data: self.data.get(start..).unwrap_or_default(),
            shape: Shape {
                rows: range.len(),
                ..self.shape
            },
        })
    }
}

struct Place<T> {
    start: *mut T,
    shape: Shape,
}

/// # Safety
/// The elements of `dst` lie inside one allocation, are distinct, and nothing else reads or writes them meanwhile.
unsafe fn product<T: WithDType>(dst: Place<T>, write: Write, a: Mat<T>, b: Mat<T>) -> Result<()> {
    let (m, k, n) = (a.shape.rows, a.shape.cols, b.shape.cols);
    if b.shape.rows != k || dst.shape.rows != m || dst.shape.cols != n {
        candle_core::bail!(
            "gemm: {m} x {k} times {} x {n} does not give {} x {}",
            b.shape.rows,
            dst.shape.rows,
            dst.shape.cols
        )
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        // An empty sum; `a` and `b` may have no elements to point at.
        for i in (0..m).filter(|_| write == Write::Set) {
            for j in 0..n {
                let offset = i * dst.shape.row_stride + j * dst.shape.col_stride;
                // SAFETY: an element of `dst`.
                unsafe { dst.start.add(offset).write(T::zero()) };
            }
        }
        return Ok(());
    }
    // SAFETY: the elements of `a` and `b` lie inside their slices and all strides fit isize (checked when they were made,
    // for matrices that are not empty), the shapes agree, and the caller answers for `dst`. Any bits are a number, and
    // `dst` is only read for `Write::Add`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.start,
            dst.shape.col_stride as isize,
            dst.shape.row_stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.shape.col_stride as isize,
            a.shape.row_stride as isize,
            b.data.as_ptr(),
            b.shape.col_stride as isize,
            b.shape.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        )
    };
    Ok(())
}

/// A rectangle of a row-major matrix, written by one task.
pub(crate) struct Tile<'a, T = f32> {
    start: *mut T,
    /// Elements from one row of the matrix to the next.
    stride: usize,
    /// The rectangle's rows in the matrix.
    pub(crate) rows: Range<usize>,
    /// The rectangle's columns in the matrix.
    pub(crate) cols: Range<usize>,
    matrix: PhantomData<&'a mut [T]>,
}

// SAFETY: a tile stands for a mutable borrow of its own elements.
unsafe impl<T: Send> Send for Tile<'_, T> {}

impl<T: WithDType> Tile<'_, T> {
    /// Row `i` of the rectangle; empty when there is none.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [T] {
        if i >= self.rows.len() {
            return &mut [];
        }
        // SAFETY: the row lies inside the matrix that `tiles` borrows for 'a, and no other tile has these columns in it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.stride), self.cols.len()) }
    }

    /// The product of `a` and `b` into the rectangle, on this thread.
    pub(crate) fn gemm(&mut self, write: Write, a: Mat<T>, b: Mat<T>) -> Result<()> {
        let [rows, cols] = [self.rows.len(), self.cols.len()];
        let dst = Place {
            start: self.start,
            shape: Shape {
                rows,
                cols,
                row_stride: self.stride,
                col_stride: 1,
            },
        };
        // SAFETY: `tiles` cut the rectangle from inside a matrix, and this tile alone writes its elements.
        unsafe { product(dst, write, a, b) }
    }
}

/// Cuts the row-major `rows` x `cols` matrix `out` into tiles of at most `tile` rows and columns and calls `f` on each:
/// in parallel, or one after the other.
pub(crate) fn tiles<T: WithDType>(
    out: &mut [T],
    [rows, cols]: [usize; 2],
    tile: [usize; 2],
    parallel: bool,
    f: impl Fn(Tile<T>) -> Result<()> + Sync,
) -> Result<()> {
    if rows.checked_mul(cols) != Some(out.len()) {
        candle_core::bail!("gemm: {} elements are not {rows} x {cols}", out.len())
    }
    if out.is_empty() {
        return Ok(());
    }
    let [tall, wide] = tile.map(|n| n.max(1));
    let across = cols.div_ceil(wide);
    let count = rows.div_ceil(tall) * across;
    struct Start<T>(*mut T);
    // SAFETY: the pointer is only used to make tiles, which do not overlap.
    unsafe impl<T> Sync for Start<T> {}
    let start = Start(out.as_mut_ptr());
    let start = &start;
    let at = |t: usize| {
        let (row, col) = (t / across * tall, t % across * wide);
        Tile {
            // SAFETY: row < rows and col < cols.
            start: unsafe { start.0.add(row * cols + col) },
            stride: cols,
            rows: row..(row + tall).min(rows),
            cols: col..(col + wide).min(cols),
            matrix: PhantomData,
        }
    };
    if parallel && count > 1 {
        (0..count)
            .into_par_iter()
            .with_max_len(1)
            .try_for_each(|t| f(at(t)))
    } else {
        (0..count).try_for_each(|t| f(at(t)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / 8_388_608. - 1.
            })
            .collect()
    }

    fn strides(rows: usize, cols: usize, kind: usize) -> [usize; 2] {
        [[cols, 1], [1, rows], [cols + 3, 1], [2 * cols, 2]][kind]
    }

    /// The product into the upper left `m` x `n` corner of a row-major matrix with one more row and three more columns.
    fn corner(out: &mut [f32], [m, n]: [usize; 2], write: Write, a: Mat, b: Mat) -> Result<()> {
        tiles(out, [m + 1, n + 3], [m, n], false, |mut tile| {
            if tile.rows.start + tile.cols.start > 0 {
                return Ok(());
            }
            tile.gemm(write, a, b)
        })
    }

    #[test]
    fn products_over_shapes_and_strides_match_a_plain_sum() -> Result<()> {
        let sizes = [1, 2, 3, 8, 17, 40];
        for (case, (m, k, n)) in sizes
            .iter()
            .flat_map(|m| sizes.iter().map(move |k| (*m, *k)))
            .flat_map(|(m, k)| [1, 2, 5, 33].map(|n| (m, k, n)))
            .enumerate()
        {
            let [sa, sb] = [strides(m, k, case % 4), strides(k, n, case / 4 % 4)];
            let a = numbers(3 * m * k + 4 * m, 1);
            let b = numbers(3 * k * n + 4 * k, 2);
            for write in [Write::Set, Write::Add] {
                // NaN where nothing may be read: in the destination, and outside of it.
                let before = if write == Write::Set { f32::NAN } else { 0.5 };
                let mut c = vec![before; (m + 1) * (n + 3)];
                corner(
                    &mut c,
                    [m, n],
                    write,
                    Mat::strided(&a, [m, k], sa)?,
                    Mat::strided(&b, [k, n], sb)?,
                )?;
                for (i, row) in c.chunks(n + 3).enumerate() {
                    for (j, got) in row.iter().enumerate() {
                        if i == m || j >= n {
                            assert_eq!(got.to_bits(), before.to_bits(), "{m} {k} {n} {write:?}");
                            continue;
                        }
                        let sum: f64 = (0..k)
                            .map(|l| {
                                a[i * sa[0] + l * sa[1]] as f64 * b[l * sb[0] + j * sb[1]] as f64
                            })
                            .sum();
                        let want = sum + if write == Write::Add { 0.5 } else { 0. };
                        assert!(
                            (*got as f64 - want).abs() < 1e-5,
                            "{m} {k} {n} {write:?}: {got} {want}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        for (m, k, n) in [(128, 784, 400), (97, 1000, 65), (64, 40, 3000)] {
            let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
            let (a, b) = (Mat::new(&a, m, k)?, Mat::new(&b, n, k)?.t());
            let run = |threads: usize, parallel: bool| -> Result<Vec<u32>> {
                let mut c = vec![f32::NAN; m * n];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(candle_core::Error::wrap)?;
                pool.install(|| {
                    tiles(&mut c, [m, n], [64, 256], parallel, |mut tile| {
                        let (rows, cols) = (tile.rows.clone(), tile.cols.clone());
                        tile.gemm(Write::Set, a.rows(rows)?, b.t().rows(cols)?.t())
                    })
                })?;
                Ok(c.iter().map(|x| x.to_bits()).collect())
            };
            let one = run(1, false)?;
            for threads in [1, 2, 5] {
                assert!(one == run(threads, true)?, "{m} {k} {n} {threads}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() -> Result<()> {
        let (a, mut c) = ([1f32; 12], [0f32; 30]);
        assert!(Mat::new(&a, 3, 5).is_err());
        assert!(Mat::strided(&a, [2, 3], [9, 2]).is_err());
        assert!(Mat::strided(&a, [2, 3], [7, 2]).is_ok());
        assert!(Mat::strided(&a, [2, 1], [usize::MAX, 1]).is_err());
        let (a, b) = (Mat::new(&a, 3, 4)?, Mat::new(&a, 3, 4)?);
        assert!(corner(&mut c[..28], [3, 4], Write::Set, a, b).is_err());
        assert!(corner(&mut c[..28], [3, 4], Write::Set, a, b.t()).is_err());
        assert!(corner(&mut c[..24], [3, 3], Write::Set, a, b.t()).is_ok());
        Ok(())
    }

    #[test]
    fn an_empty_sum_is_zero_and_an_empty_product_is_nothing() -> Result<()> {
        let mut c = [f32::NAN; 18];
        let (a, b) = (Mat::new(&[], 2, 0)?, Mat::new(&[], 0, 3)?);
        corner(&mut c, [2, 3], Write::Set, a, b)?;
        for (i, x) in c.iter().enumerate() {
            assert_eq!(*x == 0., i / 6 < 2 && i % 6 < 3, "{i}: {x}");
        }
        tiles(&mut [], [0, 3], [1, 3], false, |mut tile| {
            tile.gemm(Write::Set, Mat::new(&[], 0, 0)?, b)
        })
    }

    #[test]
    fn tiles_make_the_whole_product() -> Result<()> {
        let (m, k, n) = (37, 20, 53);
        let (a, b) = (numbers(m * k, 5), numbers(k * n, 6));
        let (a, b) = (Mat::new(&a, m, k)?, Mat::new(&b, k, n)?);
        let mut want = vec![0.; m * n];
        tiles(&mut want, [m, n], [m, n], false, |mut t| {
            t.gemm(Write::Set, a, b)
        })?;
        for tile in [[1, 1], [10, 7], [37, 20], [100, 100], [0, 16]] {
            for parallel in [false, true] {
                let mut got = vec![f32::NAN; m * n];
                tiles(&mut got, [m, n], tile, parallel, |mut t| {
                    let (rows, cols) = (t.rows.clone(), t.cols.clone());
                    t.gemm(Write::Set, a.rows(rows)?, b.t().rows(cols)?.t())?;
                    assert!(t.row(t.rows.len()).is_empty());
                    for i in 0..t.rows.len() {
                        t.row(i).iter_mut().for_each(|x| *x += 1.);
                    }
                    Ok(())
                })?;
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w - 1.).abs() < 1e-5, "{tile:?}: {g} {w}");
                }
            }
        }
        assert!(tiles(&mut want, [m, n + 1], [8, 8], true, |_| Ok(())).is_err());
        tiles(&mut [0f32; 0], [0, n], [8, 8], true, |_| Ok(()))
    }
}
