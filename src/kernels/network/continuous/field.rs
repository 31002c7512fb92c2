//! A dense velocity field with its tangents, on a chunk of rows: values first, then one block of rows for each direction. All
//! blocks go through one product with the weights.

use crate::kernels::machine::buffer::{View, filled};
use crate::kernels::machine::gemm::{Mat, Write, tiles};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::chain::{Chain, Step};
use crate::kernels::network::sums::Sums;
use candle_core::{Result, Tensor};

pub(super) struct Field<'a> {
    pub(super) chain: Chain<'a>,
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

impl<'a> Field<'a> {
    pub(super) fn new(steps: &[Step], inputs: &[Tensor], views: &'a [View]) -> Result<Self> {
        // A product with many small blocks of rows packs a transposed weight faster.
        let chain = Chain::new(steps, inputs, views, [true, false])?;
        Ok(Field { chain })
    }

    /// Values and tangents at `argument`, which has `rows` rows in each block; what the way back needs is kept if `keep`.
    pub(super) fn evaluate(&self, argument: Vec<f32>, rows: usize, keep: bool) -> Result<Trail> {
        let height = argument.len() / self.chain.inputs().max(1);
        let (mut inputs, mut tangents, mut out) = (vec![], vec![], argument);
        for layer in &self.chain.layers {
            let x = Mat::new(&out, height, layer.inputs)?;
            let mut next = filled(height * layer.outputs, |y| layer.linear(x, y))?;
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
        let height = trail.out.len() / self.chain.outputs().max(1);
        for (l, layer) in self.chain.layers.iter().enumerate().rev() {
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
            if let Some(at) = layer.place.bias.filter(|at| needs[*at]) {
                let sum = sums[at].get_or_insert_with(|| vec![0.; layer.outputs]);
                for row in g[..rows * layer.outputs].chunks_exact(layer.outputs) {
                    sum.iter_mut().zip(row).for_each(|(s, g)| *s += g);
                }
            }
            let d = Mat::new(&g, height, layer.outputs)?;
            let at = layer.place.weight;
            if needs[at] {
                let x = Mat::new(&trail.inputs[l], height, layer.inputs)?;
                layer.add_gradient_w(d, x, &mut sums[at])?;
            }
            g = filled(height * layer.inputs, |gx| layer.gradient_x(d, gx))?;
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
                activation.slopes::<FMA>(row, &mut s);
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
            self.activation.slopes::<FMA>(y, &mut s);
            self.activation.curvatures(y, &s, &mut s2);
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
