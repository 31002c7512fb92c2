//! What normal distributions on vectors share, however they store their covariance.

use super::*;
use crate::kernels::elementwise::composed::double;
use crate::kernels::elementwise::{Formula, named_sum};
use crate::kernels::reduce;
use candle_core::DType;

/// A normal distribution on vectors of d elements with covariance C, its numbers in any dtype.
pub(super) trait Gaussian: Distribution {
    /// The mean, of a shape that broadcasts to `batch ++ [d]`.
    fn center(&self) -> &Tensor;

    /// Vectors a with `sum a a^T = C`, shape `[m] ++ batch ++ [d]`.
    fn roots(&self, dtype: DType) -> Result<Tensor>;

    /// The diagonal of L, of a shape that broadcasts to `batch ++ [d]`, where the roots are the columns of a lower-triangular L.
    fn root_diagonal(&self) -> Result<Option<Tensor>>;

    /// `x^T C^-1 x` for `x` of shape `S ++ batch ++ [d]`, shape `S ++ batch`, in the dtype of x.
    fn squared_length(&self, x: &Tensor) -> Result<Tensor>;

    /// ln det C, of a shape that broadcasts to `batch`.
    fn log_det(&self, dtype: DType) -> Result<Tensor>;
}

/// `e - ln(1 + e)` for 1 + e = a / b: what an element of the diagonal adds beside its square.
#[derive(Clone, Copy)]
struct Gap;

impl Formula<2> for Gap {
    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        b.scale_divergence(a)
    }
}

/// `(sum_a a^T C_q^-1 a + (m_p - m_q)^T C_q^-1 (m_p - m_q) - d + ln det C_q - ln det C_p) / 2` over the roots a of C_p.
///
/// Where both have triangular roots, with `E = L_q^-1 (L_p - L_q)` and its diagonal e, as
/// `(|E|^2 + |L_q^-1 (m_p - m_q)|^2) / 2 + sum_i (e_i - ln(1 + e_i))`: no term is negative, and near equality each keeps its
/// digits. Otherwise in double precision, to about `1e-15 d`.
pub(super) fn kl<P: Gaussian, Q: Gaussian>(op: &'static str, p: &P, q: &Q) -> Result<Tensor> {
    shape::same_kind(op, "other", q.center(), p.center())?;
    let batch = common_batch(op, p, "other", q)?;
    // The batch of the roots gets the rank of both.
    let aligned = |roots: Tensor, own: &[usize]| -> Result<Tensor> {
        let ones = vec![1; batch.len() - own.len()];
        Ok(roots.reshape([&roots.dims()[..1], &ones, &roots.dims()[1..]].concat())?)
    };
    let dtype = p.center().dtype();
    let total = match (p.root_diagonal()?, q.root_diagonal()?) {
        (Some(own), Some(other)) => {
            let roots = aligned(p.roots(dtype)?, p.batch_shape())?;
            let others = aligned(q.roots(dtype)?, q.batch_shape())?;
            let spread = q.squared_length(&roots.broadcast_sub(&others)?)?.sum(0)?;
            let gap = q.squared_length(&p.center().broadcast_sub(q.center())?)?;
            let diagonal = named_sum(op, Gap, [&own, &other])?;
            (spread.broadcast_add(&gap)? * 0.5)?.broadcast_add(&diagonal)?
        }
        _ => {
            let wide = double(p.center())?.dtype();
            let roots = aligned(p.roots(wide)?, p.batch_shape())?;
            let trace = q.squared_length(&roots)?.sum(0)?;
            let between = double(p.center())?.broadcast_sub(&double(q.center())?)?;
            let gap = q.squared_length(&between)?;
            let volume = q.log_det(wide)?.broadcast_sub(&p.log_det(wide)?)?;
            let d = p.event_shape()[0] as f64;
            let total = ((trace - d)?.broadcast_add(&gap)?).broadcast_add(&volume)?;
            (total * 0.5)?.to_dtype(dtype)?
        }
    };
    Ok(total.broadcast_as(batch)?)
}

/// The product of every vector in `x`, `S ++ batch ++ [n]`, with its batch element's matrix `m`, `batch ++ [n, p]`.
pub(super) fn product(x: &Tensor, m: &Tensor) -> Result<Tensor> {
    let rank = m.rank() - 2;
    let (n, p) = (m.dims()[rank], m.dims()[rank + 1]);
    let count: usize = m.dims()[..rank].iter().product();
    let full = &x.dims()[..x.rank() - 1];
    if count == 0 {
        return Ok(Tensor::zeros([full, &[p]].concat(), x.dtype(), x.device())?);
    }
    let rows = full.iter().product::<usize>() / count;
    let x = x.reshape((rows, count, n))?.transpose(0, 1)?.contiguous()?;
    let y = x.matmul(&m.reshape((count, n, p))?.contiguous()?)?;
    let y = y.transpose(0, 1)?.contiguous()?;
    Ok(y.reshape([full, &[p]].concat())?)
}

/// The diagonal of every matrix in `m`, `.. ++ [d, d]` to `.. ++ [d]`.
pub(super) fn diagonal(m: &Tensor) -> Result<Tensor> {
    let rank = m.rank();
    let d = m.dims()[rank - 1];
    let places: Vec<u32> = (0..d).map(|i| (i * (d + 1)) as u32).collect();
    let places = Tensor::new(places, m.device())?;
    Ok(m.flatten(rank - 2, rank - 1)?
        .contiguous()?
        .index_select(&places, rank - 2)?)
}

/// `v` of shape `.. ++ [d]` as the rows of diagonal matrices: `[d] ++ .. ++ [d]`.
pub(super) fn diagonal_rows(v: &Tensor) -> Result<Tensor> {
    let d = v.dims()[v.rank() - 1];
    let mut shape = vec![1; v.rank() + 1];
    (shape[0], shape[v.rank()]) = (d, d);
    let eye = Tensor::eye(d, v.dtype(), v.device())?.reshape(shape)?;
    Ok(eye.broadcast_mul(&v.unsqueeze(0)?)?)
}

/// A vector of shape `batch ++ [d]` and matrices of shape `batch ++ [d, columns]`: the batch they broadcast to.
pub(super) fn check_matrix(
    op: &'static str,
    loc: &Tensor,
    arg: &'static str,
    matrix: &Tensor,
    square: bool,
) -> Result<Vec<usize>> {
    for (arg, tensor) in [("loc", loc), (arg, matrix)] {
        shape::vectors(op, arg, tensor)?;
        shape::same_kind(op, arg, tensor, loc)?;
    }
    let Some((d, batch)) = loc.dims().split_last() else {
        return Err(Error::shape(op, "loc", "batch ++ [d]", &[]));
    };
    let expected = || match square {
        true => format!("batch ++ [{d}, {d}], its batch broadcast with {batch:?}"),
        false => format!("batch ++ [{d}, k], its batch broadcast with {batch:?}"),
    };
    let fits = match matrix.dims() {
        [own @ .., rows, columns] if rows == d && (!square || columns == d) => {
            shape::broadcast(batch, own)
        }
        _ => None,
    };
    fits.ok_or_else(|| Error::shape(op, arg, expected(), matrix.dims()))
}

#[derive(Clone, Copy)]
struct SquaredRatio;

impl Formula<2> for SquaredRatio {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, scale]: [R; 2]) -> R {
        x.over(scale).square()
    }
}

impl Gaussian for MultivariateNormalDiag {
    fn center(&self) -> &Tensor {
        self.loc()
    }

    fn roots(&self, dtype: DType) -> Result<Tensor> {
        diagonal_rows(&self.scale()?.to_dtype(dtype)?)
    }

    fn root_diagonal(&self) -> Result<Option<Tensor>> {
        self.scale().map(Some)
    }

    fn squared_length(&self, x: &Tensor) -> Result<Tensor> {
        let op = "MultivariateNormalDiag";
        named_sum(op, SquaredRatio, [x, &self.scale()?.to_dtype(x.dtype())?])
    }

    fn log_det(&self, dtype: DType) -> Result<Tensor> {
        reduce::sum(&(self.scale()?.to_dtype(dtype)?.log()? * 2.)?)
    }
}
