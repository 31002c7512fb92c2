//! A dense velocity field with its tangents, on a chunk of rows: values first, then one block of rows for each direction. All
//! blocks go through one product with the weights.

use crate::kernels::machine::buffer::{View, filled};
use crate::kernels::machine::gemm::{Mat, Write, tiles};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::chain::Sums;
use crate::kernels::network::dense::transpose;
use crate::kernels::number::single;
use candle_core::{Result, Tensor};

/// Hidden layers whose activation's first two derivatives follow from its value.
pub(super) fn supported(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Tanh | Activation::Sigmoid | Activation::Softplus
    )
}

pub(super) struct Layer<'a> {
    /// [out, in]
    pub(super) w: &'a [f32],
    /// [in, out]: a product with many small blocks of rows packs it faster.
    transposed: Vec<f32>,
    b: Option<&'a [f32]>,
    pub(super) activation: Activation,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The weight's place among the node's inputs; the bias is the next.
    pub(super) at: usize,
}

impl<'a> Layer<'a> {
    pub(super) fn weight(&self) -> Result<Mat<'a>> {
        Mat::new(self.w, self.outputs, self.inputs)
    }
}

pub(super) struct Field<'a> {
    pub(super) layers: Vec<Layer<'a>>,
}

/// What an evaluation leaves behind.
pub(super) struct Trail {
    /// What went into each layer.
    pub(super) inputs: Vec<Vec<f32>>,
    /// Tangents before each hidden activation, if they are kept.
    tangents: Vec<Vec<f32>>,
    /// Values and tangents of the result.
    pub(super) out: Vec<f32>,
}

pub(super) fn gemm(write: Write, a: Mat, b: Mat, out: &mut [f32], shape: [usize; 2]) -> Result<()> {
    tiles(out, shape, shape, false, |mut tile| tile.gemm(write, a, b))
}

/// The product of `a` and `b` is added to a sum, or begins it.
pub(super) fn accumulate(
    sum: &mut Option<Vec<f32>>,
    a: Mat,
    b: Mat,
    shape: [usize; 2],
) -> Result<()> {
    match sum {
        Some(sum) => gemm(Write::Add, a, b, sum, shape)?,
        None => {
            let set = |out: &mut [f32]| gemm(Write::Set, a, b, out, shape);
            *sum = Some(filled(shape[0] * shape[1], set)?);
        }
    }
    Ok(())
}

impl<'a> Field<'a> {
    pub(super) fn new(
        steps: &[(Activation, bool)],
        first: usize,
        inputs: &[Tensor],
        views: &'a [View],
    ) -> Result<Self> {
        let (mut layers, mut at) = (vec![], first);
        for (activation, bias) in steps {
            let (outputs, width) = inputs[at].dims2()?;
            let w = views[at].f32()?;
            layers.push(Layer {
                w,
                transposed: transpose(w, [outputs, width]),
                b: bias.then(|| views[at + 1].f32()).transpose()?,
                activation: *activation,
                inputs: width,
                outputs,
                at,
            });
            at += 1 + usize::from(*bias);
        }
        Ok(Field { layers })
    }

    pub(super) fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |l| l.inputs)
    }

    /// Values and tangents at `argument`, which has `rows` rows in each block; what the way back needs is kept if `keep`.
    pub(super) fn evaluate(&self, argument: Vec<f32>, rows: usize, keep: bool) -> Result<Trail> {
        let height = argument.len() / self.inputs().max(1);
        let (mut inputs, mut tangents, mut out) = (vec![], vec![], argument);
        for layer in &self.layers {
            let x = Mat::new(&out, height, layer.inputs)?;
            let w = Mat::new(&layer.transposed, layer.inputs, layer.outputs)?;
            let mut next = filled(height * layer.outputs, |y| {
                gemm(Write::Set, x, w, y, [height, layer.outputs])
            })?;
            let hidden = layer.activation != Activation::Identity;
            if keep && hidden {
                tangents.push(next[rows * layer.outputs..].to_vec());
            }
            dispatch(Activate {
                activation: layer.activation,
                width: layer.outputs,
                rows,
                bias: layer.b,
                p: &mut next,
            });
            inputs.push(out);
            out = next;
        }
        Ok(Trail {
            inputs,
            tangents,
            out,
        })
    }

    /// The gradient of the argument from those of the result and, by hidden layer, of the activation's slopes where they
    /// are used elsewhere; the parameters' are set in or added to `sums`.
    pub(super) fn backward(
        &self,
        trail: &Trail,
        mut g: Vec<f32>,
        slopes: &[Vec<f32>],
        rows: usize,
        needs: &[bool],
        sums: &mut Sums,
    ) -> Result<Vec<f32>> {
        let height = trail.out.len() / self.layers.last().map_or(1, |l| l.outputs.max(1));
        for (l, layer) in self.layers.iter().enumerate().rev() {
            if layer.activation != Activation::Identity {
                dispatch(Slopes {
                    activation: layer.activation,
                    width: layer.outputs,
                    rows,
                    y: &trail.inputs[l + 1],
                    tangents: trail.tangents.get(l).map_or(&[], Vec::as_slice),
                    slopes: slopes.get(l).map(Vec::as_slice),
                    g: &mut g,
                });
            }
            if layer.b.is_some() && needs[layer.at + 1] {
                let sum = sums[layer.at + 1].get_or_insert_with(|| vec![0.; layer.outputs]);
                for row in g[..rows * layer.outputs].chunks_exact(layer.outputs) {
                    sum.iter_mut().zip(row).for_each(|(s, g)| *s += g);
                }
            }
            let d = Mat::new(&g, height, layer.outputs)?;
            if needs[layer.at] {
                let x = Mat::new(&trail.inputs[l], height, layer.inputs)?;
                accumulate(&mut sums[layer.at], d.t(), x, [layer.outputs, layer.inputs])?;
            }
            let w = layer.weight()?;
            g = filled(height * layer.inputs, |x| {
                gemm(Write::Set, d, w, x, [height, layer.inputs])
            })?;
        }
        Ok(g)
    }
}

/// Adds the bias to the values and applies the activation; tangents are multiplied by its slope.
struct Activate<'a> {
    activation: Activation,
    width: usize,
    rows: usize,
    bias: Option<&'a [f32]>,
    p: &'a mut [f32],
}

/// The first derivative from the value.
#[inline(always)]
pub(super) fn slope<const FMA: bool>(activation: Activation, y: &[f32], s: &mut [f32]) {
    let all = y.iter().zip(s);
    match activation {
        Activation::Tanh => all.for_each(|(y, s)| *s = (1. - y) * (1. + y)),
        Activation::Sigmoid => all.for_each(|(y, s)| *s = y * (1. - y)),
        // The sigmoid is 1 - e^-softplus.
        _ => all.for_each(|(y, s)| *s = -single::expm1::<FMA>(-y)),
    }
}

/// The second derivative from the value and the first.
#[inline(always)]
fn curvature(activation: Activation, y: &[f32], s: &[f32], s2: &mut [f32]) {
    let all = y.iter().zip(s).zip(s2);
    match activation {
        Activation::Tanh => all.for_each(|((y, s), s2)| *s2 = -2. * y * s),
        Activation::Sigmoid => all.for_each(|((y, s), s2)| *s2 = s * (1. - 2. * y)),
        _ => all.for_each(|((_, s), s2)| *s2 = s * (1. - s)),
    }
}

impl Loop for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Activate {
            activation,
            width,
            rows,
            bias,
            p,
        } = self;
        let (values, tangents) = p.split_at_mut(rows * width);
        let mut s = vec![0.; width];
        for (r, row) in values.chunks_exact_mut(width).enumerate() {
            if let Some(bias) = bias {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
            if activation == Activation::Identity {
                continue;
            }
            activation.apply_slice::<FMA>(row);
            if !tangents.is_empty() {
                slope::<FMA>(activation, row, &mut s);
            }
            for block in tangents.chunks_exact_mut(rows * width) {
                let tangent = &mut block[r * width..(r + 1) * width];
                tangent.iter_mut().zip(&s).for_each(|(t, s)| *t *= s);
            }
        }
    }
}

/// From gradients after an activation to those before it, of values and tangents.
struct Slopes<'a> {
    activation: Activation,
    width: usize,
    rows: usize,
    /// The values after it, and tangents after it behind them.
    y: &'a [f32],
    /// The tangents before it.
    tangents: &'a [f32],
    /// Gradients of its slopes.
    slopes: Option<&'a [f32]>,
    g: &'a mut [f32],
}

impl Loop for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (width, block) = (self.width, self.rows * self.width);
        let (values, g_tangents) = self.g.split_at_mut(block);
        let (mut s, mut s2) = (vec![0.; width], vec![0.; width]);
        for (r, g) in values.chunks_exact_mut(width).enumerate() {
            let row = r * width..(r + 1) * width;
            let y = &self.y[row.clone()];
            slope::<FMA>(self.activation, y, &mut s);
            curvature(self.activation, y, &s, &mut s2);
            g.iter_mut().zip(&s).for_each(|(g, s)| *g *= s);
            if let Some(slopes) = self.slopes {
                let all = g.iter_mut().zip(&slopes[row.clone()]).zip(&s2);
                all.for_each(|((g, slope), s2)| *g += slope * s2);
            }
            let blocks = g_tangents.chunks_exact_mut(block);
            for (gt, t) in blocks.zip(self.tangents.chunks_exact(block)) {
                let (gt, t) = (&mut gt[row.clone()], &t[row.clone()]);
                for j in 0..width {
                    g[j] += gt[j] * t[j] * s2[j];
                    gt[j] *= s[j];
                }
            }
        }
    }
}
