//! The dense layer: `y = activation(x W^T + b)` as one graph node.

use super::activation::Activation;
use super::buffer::{View, filled};
use super::gemm::{Mat, Tile, Write, tiles};
use super::node::{self, Fresh, Op, Reached, fresh};
use super::simd::{Loop, dispatch};
use crate::error::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Multiply-adds from which a product is shared between threads: about 40 us of work on one.
const PARALLEL: usize = 2 * 1024 * 1024;

/// Rows of the gradient in one task of the slope and bias pass.
const ROWS: usize = 64;

/// Rows of a batch in one partial sum of a weight gradient that is too small to be cut into tiles.
const SUM_ROWS: usize = 1024;

/// `activation(x w^T + b)` for `x` [.., in], `w` [out, in] and `b` [out]; the result is [.., out].
///
/// The caller has checked the shapes. A batch of no rows gives an empty result.
pub(crate) fn dense(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let mut inputs = vec![x, w];
    inputs.extend(b);
    if !super::fused(&inputs) {
        return composed(x, w, b, activation);
    }
    if activation.slope_from_output() {
        return Ok(node::apply1(Dense { activation }, &inputs)?);
    }
    // The slope needs the argument of the activation, so that is kept as a tensor of its own.
    let affine = Dense {
        activation: Activation::Identity,
    };
    activation.forward(&node::apply1(affine, &inputs)?)
}

fn composed(x: &Tensor, w: &Tensor, b: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let (out, width) = w.dims2()?;
    let rows = x.elem_count() / width.max(1);
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    let y = x.reshape((rows, width))?.matmul(&w.t()?)?;
    let y = match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    activation.forward(&y.reshape(shape)?)
}

/// Inputs: x, w and perhaps b.
struct Dense {
    activation: Activation,
}

/// Rows of the batch, inputs, outputs.
fn sizes(inputs: &[Tensor]) -> candle_core::Result<[usize; 3]> {
    let (out, width) = inputs[1].dims2()?;
    Ok([inputs[0].elem_count() / width.max(1), width, out])
}

/// The size of tiles that cut `n` into equal parts of at most about `target`, in multiples of `unit`.
fn part(n: usize, target: usize, unit: usize) -> usize {
    n.div_ceil(n.div_ceil(target).max(1)).next_multiple_of(unit)
}

/// Tiles of a product whose output has one row for each row of the batch.
fn batch_tile(rows: usize, cols: usize) -> [usize; 2] {
    // Each tile repacks its columns of the weight, which 256 rows amortise, and then runs its epilogue from L2. Fewer
    // rows are one tile high, and cut into columns: the batch is read as it lies.
    let wide = if rows >= 2048 { 256 } else { 96 };
    [part(rows, 256, 4), part(cols, wide, 8)]
}

impl Op for Dense {
    const NAME: &'static str = "dense";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let [rows, width, out] = sizes(inputs)?;
        let (x, w) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (x, w) = (
            Mat::new(x.f32()?, rows, width)?,
            Mat::new(w.f32()?, out, width)?,
        );
        let b = inputs.get(2).map(View::new).transpose()?;
        let b = b.as_ref().map(|b| b.f32()).transpose()?;
        let parallel = rows * width * out >= PARALLEL;
        let y = filled(rows * out, |y| {
            tiles(
                y,
                [rows, out],
                batch_tile(rows, out),
                parallel,
                |mut tile| {
                    let (rows, cols) = (tile.rows.clone(), tile.cols.clone());
                    tile.gemm(Write::Set, x.rows(rows)?, w.rows(cols.clone())?.t())?;
                    dispatch(Epilogue {
                        tile,
                        bias: b.map(|b| &b[cols]),
                        activation: self.activation,
                    });
                    Ok(())
                },
            )
        })?;
        let mut shape = inputs[0].dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        Ok(vec![fresh(y, shape)])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; inputs.len()];
        let Some(Some(reached)) = outputs.first() else {
            return Ok(gradients);
        };
        let [rows, width, out] = sizes(inputs)?;
        let (g, y) = (View::new(&reached.gradient)?, View::new(&reached.value)?);
        let needs_bias = needs.get(2) == Some(&true);
        let (slope, sums) = self.slope_and_sums(y.f32()?, g.f32()?, [rows, out], needs_bias)?;
        let g = Mat::new(slope.as_deref().unwrap_or(g.f32()?), rows, out)?;
        let (x, w) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (x, w) = (
            Mat::new(x.f32()?, rows, width)?,
            Mat::new(w.f32()?, out, width)?,
        );
        let parallel = rows * width * out >= PARALLEL;
        let gradient_x = || {
            needs[0]
                .then(|| {
                    filled(rows * width, |gx| {
                        let tile = batch_tile(rows, width);
                        tiles(gx, [rows, width], tile, parallel, |mut tile| {
                            let (rows, cols) = (tile.rows.clone(), tile.cols.clone());
                            tile.gemm(Write::Set, g.rows(rows)?, w.t().rows(cols)?.t())
                        })
                    })
                })
                .transpose()
        };
        let gradient_w = || {
            needs[1]
                .then(|| weight_gradient(g, x, [rows, width, out], parallel))
                .transpose()
        };
        let (gx, gw) = if parallel && needs[0] && needs[1] {
            rayon::join(gradient_x, gradient_w)
        } else {
            (gradient_x(), gradient_w())
        };
        let tensor = |data: Option<Vec<f32>>, like: &Tensor| {
            data.map(|data| Tensor::from_vec(data, like.shape(), &Device::Cpu))
                .transpose()
        };
        gradients[0] = tensor(gx?, &inputs[0])?;
        gradients[1] = tensor(gw?, &inputs[1])?;
        if let Some(b) = inputs.get(2) {
            gradients[2] = tensor(sums, b)?;
        }
        Ok(gradients)
    }
}

type Buffer = Option<Vec<f32>>;
type Part<'a> = Option<&'a mut [f32]>;

impl Dense {
    /// The gradient before the activation (`None` when it is `g` itself), and its sums over the batch.
    fn slope_and_sums(
        &self,
        y: &[f32],
        g: &[f32],
        [rows, out]: [usize; 2],
        bias: bool,
    ) -> candle_core::Result<(Buffer, Buffer)> {
        let activation = self.activation;
        let slope = activation != Activation::Identity;
        if !(slope || bias) || out == 0 {
            return Ok((None, bias.then(Vec::new)));
        }
        let chunks = rows.div_ceil(ROWS);
        let mut sums = vec![0.; if bias { chunks * out } else { 0 }];
        let task = |i: usize, d: Part, sums: &mut [f32]| {
            let range = i * ROWS * out..((i + 1) * ROWS * out).min(g.len());
            dispatch(Slope {
                y: &y[range.clone()],
                g: &g[range],
                d,
                sums,
                width: out,
                activation,
            })
        };
        let len = if slope { g.len() } else { 0 };
        let d = filled(len, |d| {
            // Chunks of nothing where one of the two is not asked for, so that both have `chunks` items.
            let nothing = || (0..chunks).map(|_| None);
            let d: Vec<Part> = if slope {
                d.chunks_mut(ROWS * out).map(Some).collect()
            } else {
                nothing().collect()
            };
            let sums: Vec<Part> = if bias {
                sums.chunks_mut(out).map(Some).collect()
            } else {
                nothing().collect()
            };
            let run = |(i, (d, sums)): (usize, (Part, Part))| task(i, d, sums.unwrap_or_default());
            if g.len() < super::buffer::SERIAL {
                d.into_iter().zip(sums).enumerate().for_each(run);
            } else {
                d.into_par_iter().zip(sums).enumerate().for_each(run);
            }
            Ok(())
        })?;
        let sums = bias.then(|| {
            let mut total = vec![0.; out];
            for part in sums.chunks(out) {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
            total
        });
        Ok((slope.then_some(d), sums))
    }
}

/// `g^T x` [out, in].
fn weight_gradient(
    g: Mat,
    x: Mat,
    [rows, width, out]: [usize; 3],
    parallel: bool,
) -> candle_core::Result<Vec<f32>> {
    let tile = [part(out, 256, 8), part(width, 256, 8)];
    let few = out.div_ceil(tile[0]) * width.div_ceil(tile[1]) < 8;
    if !(parallel && few && rows >= 2 * SUM_ROWS) {
        return filled(out * width, |gw| {
            tiles(gw, [out, width], tile, parallel, |mut tile| {
                let (rows, cols) = (tile.rows.clone(), tile.cols.clone());
                tile.gemm(Write::Set, g.t().rows(rows)?, x.t().rows(cols)?.t())
            })
        });
    }
    // Few outputs, many rows: sums over parts of the batch, stacked and then added in their order.
    let step = part(rows, SUM_ROWS.max(rows / 16), 4);
    let parts = rows.div_ceil(step);
    let stacked = filled(parts * out * width, |stacked| {
        tiles(
            stacked,
            [parts * out, width],
            [out, tile[1]],
            true,
            |mut tile| {
                let first = tile.rows.start / out * step;
                let batch = first..(first + step).min(rows);
                let x = x.rows(batch.clone())?.t().rows(tile.cols.clone())?.t();
                tile.gemm(Write::Set, g.rows(batch)?.t(), x)
            },
        )
    })?;
    let len = out * width;
    Ok(super::buffer::build(
        len,
        super::buffer::CHUNK,
        |start, sum| {
            sum.copy_from_slice(&stacked[start..start + sum.len()]);
            for part in 1..parts {
                let part = &stacked[part * len + start..][..sum.len()];
                sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
            }
        },
    ))
}

struct Epilogue<'a> {
    tile: Tile<'a>,
    bias: Option<&'a [f32]>,
    activation: Activation,
}

impl Loop for Epilogue<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        for i in 0..self.tile.rows.len() {
            let row = self.tile.row(i);
            if let Some(bias) = self.bias {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
            self.activation.apply_slice::<FMA>(row);
        }
    }
}

struct Slope<'a> {
    y: &'a [f32],
    g: &'a [f32],
    d: Option<&'a mut [f32]>,
    /// Empty when they are not asked for.
    sums: &'a mut [f32],
    width: usize,
    activation: Activation,
}

impl Loop for Slope<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d: &[f32] = match self.d {
            Some(d) => {
                d.copy_from_slice(self.g);
                self.activation.backprop_slice::<FMA>(self.y, d);
                d
            }
            None => self.g,
        };
        for row in d.chunks_exact(self.width) {
            self.sums.iter_mut().zip(row).for_each(|(s, d)| *s += d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Var};

    fn numbers(shape: &[usize], seed: u32) -> Result<Tensor> {
        let mut s = seed;
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / 8_388_608. - 1.
            })
            .collect();
        Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
    }

    fn largest(t: &Tensor) -> Result<f64> {
        Ok(match t.elem_count() {
            0 => 0.,
            _ => t.to_dtype(DType::F64)?.abs()?.max_all()?.to_scalar()?,
        })
    }

    fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
        assert_eq!(a.dims(), b.dims());
        largest(&(a.to_dtype(DType::F64)? - b)?)
    }

    /// Value and gradients of a weighted sum of the outputs, in f32 (fused) or f64 (composed).
    fn run(
        leaves: &[Tensor],
        view: &dyn Fn(&Tensor) -> Result<Tensor>,
        activation: Activation,
        dtype: DType,
    ) -> Result<Vec<Tensor>> {
        let vars: Vec<Var> = leaves
            .iter()
            .map(|t| Var::from_tensor(&t.to_dtype(dtype)?))
            .collect::<candle_core::Result<_>>()?;
        let x = view(&vars[0])?;
        let y = dense(&x, &vars[1], vars.get(2).map(|b| b.as_tensor()), activation)?;
        let weight = numbers(y.dims(), 9)?.to_dtype(dtype)?;
        let gradients = (&y * weight)?.sum_all()?.backward()?;
        let mut all = vec![y.detach()];
        for (i, var) in vars.iter().enumerate() {
            match gradients.get(var) {
                Some(g) => all.push(g.clone()),
                // Candle leaves empty operands out of the graph.
                None if dtype == DType::F64 && x.elem_count() == 0 => all.push(var.zeros_like()?),
                None => panic!("no gradient for argument {i}"),
            }
        }
        Ok(all)
    }

    fn compare(
        leaves: &[Tensor],
        view: &dyn Fn(&Tensor) -> Result<Tensor>,
        activation: Activation,
    ) -> Result<()> {
        let fused = run(leaves, view, activation, DType::F32)?;
        let reference = run(leaves, view, activation, DType::F64)?;
        for (i, (f, r)) in fused.iter().zip(&reference).enumerate() {
            let (error, scale) = (difference(f, r)?, largest(r)?);
            assert!(error <= 2e-5 * (1. + scale), "{activation:?} {i}: {error}");
        }
        Ok(())
    }

    const ALL: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::Elu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Silu,
        Activation::Gelu,
    ];

    #[test]
    fn fused_meets_composed() -> Result<()> {
        let (w, b) = (numbers(&[5, 7], 1)?, numbers(&[5], 2)?);
        type View = fn(&Tensor) -> Result<Tensor>;
        let inputs: [(&[usize], View); 8] = [
            (&[6, 7], |x| Ok(x.clone())),
            (&[7], |x| Ok(x.clone())),
            (&[2, 3, 4, 7], |x| Ok(x.clone())),
            (&[7, 6], |x| Ok(x.t()?)),
            (&[6, 9], |x| Ok(x.narrow(1, 1, 7)?)),
            (&[1, 7], |x| Ok(x.broadcast_as((4, 7))?)),
            (&[0, 7], |x| Ok(x.clone())),
            (&[150, 7], |x| Ok(x.clone())),
        ];
        for activation in ALL {
            for (shape, view) in inputs {
                let x = numbers(shape, 3)?;
                compare(&[x.clone(), w.clone(), b.clone()], &view, activation)?;
                compare(&[x, w.clone()], &view, activation)?;
            }
        }
        Ok(())
    }

    #[test]
    fn large_products_in_tiles_and_partial_sums_meet_composed() -> Result<()> {
        let view = |x: &Tensor| Ok(x.clone());
        for (rows, width, out) in [(128, 200, 300), (5000, 40, 24), (300, 100, 270)] {
            let leaves = [
                numbers(&[rows, width], 1)?,
                numbers(&[out, width], 2)?,
                numbers(&[out], 3)?,
            ];
            compare(&leaves, &view, Activation::Tanh)?;
            compare(&leaves, &view, Activation::Identity)?;
        }
        Ok(())
    }

    #[test]
    fn arguments_without_need_get_no_gradient() -> Result<()> {
        let (x, w) = (numbers(&[6, 7], 1)?, numbers(&[5, 7], 2)?);
        let b = Var::from_tensor(&numbers(&[5], 3)?)?;
        let y = dense(&x, &w, Some(&b), Activation::Relu)?;
        let gradients = y.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_none() && gradients.get(&w).is_none());
        assert!(gradients.get(&b).is_some());
        let w = Var::from_tensor(&w)?;
        let gradients = dense(&x, &w, None, Activation::Identity)?
            .sum_all()?
            .backward()?;
        let columns = x.sum(0)?.broadcast_as((5, 7))?;
        let got = gradients
            .get(&w)
            .map(|g| difference(g, &columns.to_dtype(DType::F64)?));
        assert!(got.transpose()?.is_some_and(|d| d < 1e-6));
        assert!(!dense(&x, &numbers(&[5, 7], 2)?, None, Activation::Tanh)?.track_op());
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        for (rows, width, out) in [(5000, 40, 24), (300, 100, 270)] {
            let leaves = [
                numbers(&[rows, width], 1)?,
                numbers(&[out, width], 2)?,
                numbers(&[out], 3)?,
            ];
            let with = |threads: usize| -> Result<Vec<Vec<f32>>> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(candle_core::Error::wrap)?;
                let all = pool
                    .install(|| run(&leaves, &|x| Ok(x.clone()), Activation::Tanh, DType::F32))?;
                let flat = |t: &Tensor| Ok(t.flatten_all()?.to_vec1()?);
                all.iter().map(flat).collect()
            };
            let one = with(1)?;
            assert!(one == with(2)? && one == with(3)?);
        }
        Ok(())
    }
}
