//! Weights as matrices: their power iteration, and a weight over its spectral norm as one node.
//!
//! A weight `[groups, rows, terms]` is the matrix of `rows` rows and `groups terms` columns: one group for dense layers and
//! convolutions, one for each input channel for transposed convolutions, whose weight is `[in, out, kh kw]`. Nothing is transposed.

use crate::error::Result;
use crate::kernels::graph::fused;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, filled, views};
use crate::kernels::machine::simd::{Loop, dispatch, fma};
use crate::kernels::machine::tiles::by_halves;
use candle_core::Tensor;

/// Groups, rows, terms.
pub(crate) type Sizes = [usize; 3];

/// A vector of length 1 in the direction of x; `otherwise` where x has none, as 0, or is not finite: a state that is spoilt
/// once would stay so. Not in half precision, whose sums of squares end at some thousands.
pub(crate) fn unit(x: &Tensor, otherwise: &Tensor) -> Result<Tensor> {
    // Scaled first: squares of large and of small numbers are none.
    let largest = x.abs()?.flatten_all()?.max(0)?;
    let scaled = x.broadcast_div(&largest)?;
    let length = scaled.sqr()?.sum_all()?.sqrt()?;
    let direction = scaled.broadcast_div(&length)?;
    let usable = (largest.gt(0f64)? * largest.lt(f64::INFINITY)?)?;
    let usable = (usable * length.ge(1f64)?)?;
    let usable = usable.broadcast_as(x.shape())?;
    Ok(usable.where_cond(&direction, otherwise)?)
}

/// `[rows, groups terms]`.
pub(crate) fn matrix(weight: &Tensor, [groups, rows, terms]: Sizes) -> Result<Tensor> {
    let weight = weight.reshape((groups, rows, terms))?;
    Ok(match groups {
        1 => weight.squeeze(0)?,
        _ => weight.transpose(0, 1)?.reshape((rows, groups * terms))?,
    })
}

/// `v = W^T u / |.|`, then `u = W v / |.|`, some times; without gradient.
pub(crate) fn iterate(
    weight: &Tensor,
    sizes: Sizes,
    [u, v]: &[Tensor; 2],
    times: usize,
) -> Result<[Tensor; 2]> {
    let weight = weight.detach();
    if !fused(&[&weight, u, v]) {
        let matrix = matrix(&weight, sizes)?;
        let (mut u, mut v) = (u.detach(), v.detach());
        for _ in 0..times {
            v = unit(&u.unsqueeze(0)?.matmul(&matrix)?.squeeze(0)?, &v)?;
            u = unit(&matrix.matmul(&v.unsqueeze(1)?)?.squeeze(1)?, &u)?;
        }
        return Ok([u, v]);
    }
    let weight = weight.contiguous()?;
    let view = View::new(&weight)?;
    let w = Matrix::new(view.f32()?, sizes);
    let (mut a, mut b) = (u.to_vec1::<f32>()?, v.to_vec1::<f32>()?);
    for _ in 0..times {
        b = direction(dispatch(Columns { w, u: &a }), b);
        a = direction(dispatch(Rows { w, v: &b }), a);
    }
    let tensor = |x: Vec<f32>, like: &Tensor| Tensor::from_vec(x, like.shape(), like.device());
    Ok([tensor(a, u)?, tensor(b, v)?])
}

/// [`unit`] of a slice.
fn direction(mut x: Vec<f32>, otherwise: Vec<f32>) -> Vec<f32> {
    let squares = x.iter().map(|x| f64::from(*x) * f64::from(*x));
    let length = squares.fold(0., |sum, x| sum + x).sqrt();
    if !(length > 0. && length.is_finite()) {
        return otherwise;
    }
    x.iter_mut()
        .for_each(|x| *x = (f64::from(*x) / length) as f32);
    x
}

/// `W / |u^T W v|`, with u and v held fixed; W where that has no reciprocal, NaN where it is infinite or NaN.
pub(crate) fn divided(weight: &Tensor, sizes: Sizes, [u, v]: &[Tensor; 2]) -> Result<Tensor> {
    let (u, v) = (u.detach(), v.detach());
    if !fused(&[weight, &u, &v]) {
        let product = matrix(weight, sizes)?
            .matmul(&v.unsqueeze(1)?)?
            .squeeze(1)?;
        return over(weight, &(u * product)?.sum_all()?.abs()?);
    }
    let op = Divided {
        sizes,
        factor: 1.,
        slope: 0.,
    };
    Ok(node::apply1(op, &[weight, &u, &v])?)
}

/// A weight over a number, or the weight where that has no reciprocal; NaN over an infinite one, which would leave nothing of it.
pub(crate) fn over(weight: &Tensor, sigma: &Tensor) -> Result<Tensor> {
    let usable = sigma.detach().recip()?.ne(f64::INFINITY)?;
    let sigma = usable.where_cond(sigma, &sigma.ones_like()?)?;
    // 1 / sigma^2, its slope, may be no number where the gradient is: so in parts.
    let known = sigma.detach();
    let known = ((&known * 0.)? + known.recip()?)?;
    let factor = ((sigma * &known)?.recip()? * known)?;
    Ok(weight.broadcast_mul(&factor)?)
}

#[derive(Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    terms: usize,
}

impl<'a> Matrix<'a> {
    fn new(data: &'a [f32], [_, rows, terms]: Sizes) -> Self {
        Matrix { data, rows, terms }
    }

    /// Each piece of a row, with the row and where it begins among the columns.
    #[inline(always)]
    fn pieces(self) -> impl Iterator<Item = (usize, usize, &'a [f32])> {
        let pieces = self.data.chunks_exact(self.terms).enumerate();
        pieces.map(move |(i, piece)| (i % self.rows, i / self.rows * self.terms, piece))
    }
}

/// W^T u.
struct Columns<'a> {
    w: Matrix<'a>,
    u: &'a [f32],
}

impl Loop for Columns<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let mut out = vec![0.; self.w.data.len() / self.w.rows];
        for (row, at, piece) in self.w.pieces() {
            let u = self.u[row];
            for (out, w) in out[at..][..piece.len()].iter_mut().zip(piece) {
                *out = fma::<FMA>(u, *w, *out);
            }
        }
        out
    }
}

/// W v.
struct Rows<'a> {
    w: Matrix<'a>,
    v: &'a [f32],
}

impl Loop for Rows<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let mut out = vec![0.; self.w.rows];
        for (row, at, piece) in self.w.pieces() {
            out[row] += dot::<FMA>(piece, &self.v[at..][..piece.len()]);
        }
        out
    }
}

/// In 16 lanes.
#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (x, y) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = x.remainder().iter().zip(y.remainder());
    let rest = rest.fold(0., |sum, (a, b)| fma::<FMA>(*a, *b, sum));
    for (a, b) in x.zip(y) {
        for l in 0..16 {
            lanes[l] = fma::<FMA>(a[l], b[l], lanes[l]);
        }
    }
    by_halves(lanes) + rest
}

/// Inputs: the weight, u and v.
struct Divided {
    sizes: Sizes,
    factor: f32,
    /// The slope of `|x|` at `u^T W v`; 0 where nothing is divided.
    slope: f32,
}

impl Op for Divided {
    const NAME: &'static str = "spectral-norm";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let [w, u, v] = [views[0].f32()?, views[1].f32()?, views[2].f32()?];
        let product = dispatch(Rows {
            w: Matrix::new(w, self.sizes),
            v,
        });
        let terms = product.iter().zip(u);
        let terms = terms.map(|(a, b)| f64::from(*a) * f64::from(*b));
        let sigma = terms.fold(0., |sum, x| sum + x) as f32;
        // Zeros, as of an infinite norm, would look like a weight.
        let factor = match sigma.is_infinite() {
            true => f32::NAN,
            false => sigma.abs().recip(),
        };
        if factor != f32::INFINITY {
            self.factor = factor;
            self.slope = sigma.signum();
        }
        let factor = self.factor;
        let out = w.iter().map(|w| w * factor).collect();
        Ok(vec![fresh(out, inputs[0].shape())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None; 3]);
        };
        let (views, y, g) = (
            views(inputs)?,
            View::new(&reached.value)?,
            View::new(&reached.gradient)?,
        );
        let [u, v] = [views[1].f32()?, views[2].f32()?];
        let (y, g) = (y.f32()?, g.f32()?);
        let (factor, slope) = (self.factor, self.slope);
        let gradient = filled(g.len(), |out| {
            let out = &mut *out;
            dispatch(Back {
                y,
                g: Matrix::new(g, self.sizes),
                u,
                v,
                factor,
                slope,
                out,
            });
            Ok(())
        })?;
        let gradient = Tensor::from_vec(gradient, inputs[0].shape(), inputs[0].device())?;
        Ok(vec![Some(gradient), None, None])
    }
}

/// `(G - <G, Y> u v^T) / sigma`.
struct Back<'a> {
    y: &'a [f32],
    g: Matrix<'a>,
    u: &'a [f32],
    v: &'a [f32],
    factor: f32,
    slope: f32,
    out: &'a mut [f32],
}

impl Loop for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let terms = self.g.terms;
        let pieces = self.g.pieces().zip(self.y.chunks_exact(terms));
        // A gradient of 0 is one of 0, whatever the weight is.
        if self.g.data.iter().all(|g| *g == 0.) {
            return self.out.fill(0.);
        }
        let mut share = 0.;
        if self.slope != 0. {
            for ((_, _, g), y) in pieces {
                share += f64::from(dot::<FMA>(g, y));
            }
        }
        let share = share as f32 * self.slope;
        let out = self.out.chunks_exact_mut(terms);
        for ((row, at, g), out) in self.g.pieces().zip(out) {
            let by = -share * self.u[row];
            for ((out, g), v) in out.iter_mut().zip(g).zip(&self.v[at..][..terms]) {
                *out = fma::<FMA>(by, *v, *g) * self.factor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// Numbers without a pattern that a matrix would show.
    fn some(seed: u64, dims: &[usize]) -> Result<Tensor> {
        let count = dims.iter().product::<usize>() as u64;
        let number = |i: u64| ((i * i + 7 * i * seed + 31 * seed) as f64 * 0.37).sin() as f32;
        let numbers = (0..count).map(number).collect::<Vec<_>>();
        Ok(Tensor::from_vec(numbers, dims, &Device::Cpu)?)
    }

    fn numbers(x: &Tensor) -> Result<Vec<f64>> {
        Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    }

    fn close(got: &Tensor, want: &Tensor, what: &str) -> Result<()> {
        let want = numbers(want)?;
        let scale = want.iter().fold(1e-30f64, |a, b| a.max(b.abs()));
        assert_eq!(got.elem_count(), want.len());
        for (got, want) in numbers(got)?.into_iter().zip(want) {
            assert!(
                (got - want).abs() <= 3e-6 * scale,
                "{what}: {got} is not {want}"
            );
        }
        Ok(())
    }

    /// Value, gradient and iteration in f32 are those of the composed form in f64, whatever lies where.
    #[test]
    fn fused_is_composed() -> Result<()> {
        for sizes in [[1, 5, 7], [1, 40, 90], [6, 4, 9], [3, 1, 1], [2, 30, 16]] {
            let [groups, rows, terms] = sizes;
            for (strided, scale, sign) in [(false, 1., 1.), (true, 1e-25, 1.), (false, 1e20, -1.)] {
                let what = format!("{sizes:?} {scale}");
                let stored = if strided {
                    [terms, rows, groups]
                } else {
                    sizes
                };
                let weight = Var::from_tensor(&(some(1, &stored)? * scale)?)?;
                let wide = Var::from_tensor(&weight.to_dtype(DType::F64)?)?;
                let view = |x: &Tensor| match strided {
                    true => Ok(x.transpose(0, 2)?),
                    false => Ok::<_, crate::Error>(x.clone()),
                };
                let start = [some(2, &[rows])?, some(3, &[groups * terms])?];
                let wide_start = [
                    start[0].to_dtype(DType::F64)?,
                    start[1].to_dtype(DType::F64)?,
                ];
                let got = iterate(&view(&weight)?, sizes, &start, 3)?;
                let want = iterate(&view(&wide)?, sizes, &wide_start, 3)?;
                close(&got[0], &want[0], &what)?;
                close(&got[1], &want[1], &what)?;
                // Where u points the other way sigma is the same.
                let vectors = [(&want[0] * sign)?, want[1].clone()];
                let single = [
                    vectors[0].to_dtype(DType::F32)?,
                    vectors[1].to_dtype(DType::F32)?,
                ];
                let y = divided(&view(&weight)?, sizes, &single)?;
                let composed = divided(&view(&wide)?, sizes, &vectors)?;
                close(&y, &composed, &what)?;
                let g = some(4, y.dims())?;
                let got = (y * &g)?.sum_all()?.backward()?;
                let want = (composed * g.to_dtype(DType::F64)?)?
                    .sum_all()?
                    .backward()?;
                let of = |store: &candle_core::backprop::GradStore, var: &Var| {
                    store.get(var).cloned().expect("a gradient")
                };
                close(&of(&got, &weight), &of(&want, &wide), &what)?;
            }
        }
        Ok(())
    }

    #[test]
    fn what_has_no_norm_stays() -> Result<()> {
        let sizes = [1, 2, 3];
        let vectors = [some(2, &[2])?, some(3, &[3])?];
        for number in [0., 1e-42, f32::NAN] {
            let weight = Var::from_tensor(&Tensor::full(number, (1, 2, 3), &Device::Cpu)?)?;
            let kept = iterate(&weight, sizes, &vectors, 2)?;
            let y = divided(&weight, sizes, &vectors)?;
            let g = (y * Tensor::ones((1, 2, 3), DType::F32, &Device::Cpu)?)?;
            let g = g
                .sum_all()?
                .backward()?
                .get(&weight)
                .cloned()
                .expect("a gradient");
            if number.is_nan() {
                assert!(numbers(&kept[0])?.iter().all(|x| x.is_finite()));
            } else {
                assert_eq!(numbers(&g)?, [1.; 6]);
            }
            if number == 0. {
                assert_eq!(numbers(&kept[0])?, numbers(&vectors[0])?);
            }
            // Not asked for, it is no matter what the weight is.
            let y = divided(&weight, sizes, &vectors)?;
            // Times a number that is 0 would cut the graph.
            let store = (&y * y.zeros_like()?)?.sum_all()?.backward()?;
            let g = store
                .get(&weight)
                .map(numbers)
                .transpose()?
                .expect("a gradient");
            assert_eq!(g, [0.; 6]);
        }
        Ok(())
    }

    /// A weight of zeros in its place would be a silent one.
    #[test]
    fn over_an_infinite_norm_nothing_is_a_number() -> Result<()> {
        let sizes = [1, 2, 3];
        for dtype in [DType::F32, DType::F64] {
            let largest = if dtype == DType::F32 { 3e38 } else { 1e308 };
            let weight = Tensor::full(largest, (1, 2, 3), &Device::Cpu)?.to_dtype(dtype)?;
            let [u, v] = [2, 3].map(|n| Tensor::ones(n, dtype, &Device::Cpu));
            let y = divided(&weight, sizes, &[u?, v?])?;
            assert!(numbers(&y)?.iter().all(|y| y.is_nan()));
            let sigma = Tensor::new(f64::INFINITY, &Device::Cpu)?.to_dtype(dtype)?;
            let y = over(&weight, &sigma)?;
            assert!(numbers(&y)?.iter().all(|y| y.is_nan()));
        }
        Ok(())
    }
}
