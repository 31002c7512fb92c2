//! The exact trace of the Jacobian of a field with one or two hidden layers, without tangents.
//!
//! With the slopes d1, d2 of the activations, U those columns [H1, D] of the first weight that meet the point, W the
//! weight between the hidden layers and V the last weight, [D, H2]:
//!
//! ```text
//!   tr(V diag(d2) W diag(d1) U) = d2^T M d1,  M = W o (U V)^T elementwise, [H2, H1]
//!   tr(V diag(d1) U) = M d1,                  M the diagonal of U V as a row
//! ```
//!
//! This is one product of the rows with M, whatever D. The gradient of M is summed over all rows and goes on to the weights
//! once.

use super::field::{Field, Trail, gemm};
use crate::kernels::machine::buffer::filled;
use crate::kernels::machine::gemm::{Mat, Write};
use crate::kernels::machine::simd::{Loop, dispatch, fma};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::layer::Layer;
use crate::kernels::network::sums::{Sums, accumulate};
use crate::kernels::network::transpose::transposed;
use candle_core::Result;

pub(super) struct Trace<'a> {
    first: &'a Layer<'a>,
    between: Option<&'a Layer<'a>>,
    last: &'a Layer<'a>,
    /// D
    width: usize,
    /// (U V)^T
    outer: Vec<f32>,
    m: Vec<f32>,
    /// M^T
    transposed: Vec<f32>,
    /// The rows of M.
    height: usize,
}

impl<'a> Trace<'a> {
    /// Where there is such a form.
    pub(super) fn new(field: &'a Field<'a>, width: usize) -> Result<Option<Self>> {
        let (first, between, last) = match field.chain.layers.as_slice() {
            [first, last] => (first, None, last),
            [first, between, last] => (first, Some(between), last),
            _ => return Ok(None),
        };
        let mut trace = Trace {
            first,
            between,
            last,
            width,
            outer: vec![],
            m: vec![],
            transposed: vec![],
            height: between.map_or(1, |l| l.outputs),
        };
        let (u, v, shape) = (trace.u()?, last.weight()?, [last.inputs, first.outputs]);
        let multiply = |outer: &mut [f32]| gemm(Write::Set, v.t(), u.t(), outer, shape);
        trace.outer = filled(shape[0] * shape[1], multiply)?;
        trace.m = match between {
            Some(l) => (l.w.iter().zip(&trace.outer)).map(|(w, o)| w * o).collect(),
            None => trace.outer.iter().step_by(shape[1] + 1).copied().collect(),
        };
        trace.transposed = transposed(&trace.m, [trace.height, first.outputs]);
        Ok(Some(trace))
    }

    fn u(&self) -> Result<Mat<'a>> {
        let (first, width) = (self.first, self.width);
        Mat::strided(first.w, [first.outputs, width], [first.inputs, 1])
    }

    /// `M d1` for each of the rows.
    fn product(&self, d1: Mat) -> Result<Vec<f32>> {
        let shape = [d1.height(), self.height];
        let m = Mat::new(&self.transposed, self.first.outputs, self.height)?;
        filled(shape[0] * shape[1], |out| {
            gemm(Write::Set, d1, m, out, shape)
        })
    }

    /// The trace for each of the rows.
    pub(super) fn evaluate(&self, trail: &Trail, rows: usize) -> Result<Vec<f32>> {
        let d1 = slopes(self.first.activation, &trail.inputs[1])?;
        let product = self.product(Mat::new(&d1, rows, self.first.outputs)?)?;
        let Some(second) = self.between else {
            return Ok(product);
        };
        let d2 = slopes(second.activation, &trail.inputs[2])?;
        filled(rows, |out| {
            dispatch(Dots {
                a: &d2,
                b: &product,
                width: self.height,
                out,
            });
            Ok(())
        })
    }

    /// From the gradients `g` of the traces to those of each hidden layer's slopes; that of M, if it is wanted, is set in or
    /// added to `sum`.
    pub(super) fn backward(
        &self,
        trail: &Trail,
        g: &[f32],
        sum: Option<&mut Option<Vec<f32>>>,
    ) -> Result<Vec<Vec<f32>>> {
        let (rows, width) = (g.len(), self.first.outputs);
        let d1 = slopes(self.first.activation, &trail.inputs[1])?;
        let d1 = Mat::new(&d1, rows, width)?;
        let (weighted, second) = match self.between {
            Some(l) => {
                let d2 = slopes(l.activation, &trail.inputs[2])?;
                (scaled(d2, g), Some(scaled(self.product(d1)?, g)))
            }
            None => (g.to_vec(), None),
        };
        let weighted = Mat::new(&weighted, rows, self.height)?;
        let m = Mat::new(&self.m, self.height, width)?;
        let first = filled(rows * width, |out| {
            gemm(Write::Set, weighted, m, out, [rows, width])
        })?;
        if let Some(sum) = sum {
            let shape = [self.height, width];
            accumulate(sum, self.m.len(), |write, out| {
                gemm(write, weighted.t(), d1, out, shape)
            })?;
        }
        Ok([first].into_iter().chain(second).collect())
    }

    /// Whether somebody reads the gradient of M.
    pub(super) fn needed(&self, needs: &[bool]) -> bool {
        let layers = [Some(self.first), self.between, Some(self.last)];
        layers.iter().flatten().any(|l| needs[l.place.weight])
    }

    /// The gradient of M is passed on to the weights that add theirs up.
    pub(super) fn spread(&self, g: &[f32], sums: &mut Sums) -> Result<()> {
        let [h2, h1] = [self.last.inputs, self.first.outputs];
        // The gradient of the outer product.
        let mut outer = vec![0.; h2 * h1];
        match self.between {
            Some(l) => {
                let all = outer.iter_mut().zip(g).zip(l.w);
                all.for_each(|((o, g), w)| *o = g * w);
                if let Some(sum) = &mut sums[l.place.weight] {
                    let all = sum.iter_mut().zip(g).zip(&self.outer);
                    all.for_each(|((s, g), o)| *s += g * o);
                }
            }
            None => {
                let diagonal = outer.iter_mut().step_by(h1 + 1);
                diagonal.zip(g).for_each(|(o, g)| *o = *g);
            }
        }
        let outer = Mat::new(&outer, h2, h1)?;
        if let Some(sum) = &mut sums[self.last.place.weight] {
            let shape = [self.width, h2];
            gemm(Write::Add, self.u()?.t(), outer.t(), sum, shape)?;
        }
        if let Some(sum) = &mut sums[self.first.place.weight] {
            let (shape, v) = ([h1, self.width], self.last.weight()?);
            let u = filled(shape[0] * shape[1], |u| {
                gemm(Write::Set, outer.t(), v.t(), u, shape)
            })?;
            let rows = sum.chunks_exact_mut(self.first.inputs);
            for (sum, u) in rows.zip(u.chunks_exact(self.width)) {
                sum.iter_mut().zip(u).for_each(|(s, u)| *s += u);
            }
        }
        Ok(())
    }
}

/// The slopes of an activation from its values.
fn slopes(activation: Activation, y: &[f32]) -> Result<Vec<f32>> {
    filled(y.len(), |out| {
        dispatch(Slope { activation, y, out });
        Ok(())
    })
}

struct Slope<'a> {
    activation: Activation,
    y: &'a [f32],
    out: &'a mut [f32],
}

impl Loop for Slope<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.activation.slopes::<FMA>(self.y, self.out);
    }
}

/// Each row times its factor.
fn scaled(mut x: Vec<f32>, factors: &[f32]) -> Vec<f32> {
    let width = x.len() / factors.len().max(1);
    for (row, factor) in x.chunks_exact_mut(width.max(1)).zip(factors) {
        row.iter_mut().for_each(|x| *x *= factor);
    }
    x
}

/// The products of the rows of `a` with those of `b`.
struct Dots<'a> {
    a: &'a [f32],
    b: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Loop for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.a.chunks_exact(self.width);
        for ((a, b), out) in rows.zip(self.b.chunks_exact(self.width)).zip(self.out) {
            let mut lanes = [0.; 16];
            for (a, b) in a.chunks(16).zip(b.chunks(16)) {
                for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                    *lane = fma::<FMA>(*a, *b, *lane);
                }
            }
            *out = lanes.iter().sum();
        }
    }
}
