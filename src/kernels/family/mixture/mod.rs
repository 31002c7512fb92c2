//! Log-density of a mixture of diagonal normals, all points against all components.
//!
//! The exponent of point n and component k is `c_k - sum_d ((x_nd - loc_kd) / scale_kd)^2 / 2`. The expanded square
//! (two matrix products) saves one instruction in three and loses all digits when `loc / scale` is large, so the
//! difference is taken directly. Components fill the lanes: their parameters are packed once per call in tiles of 16.
//!
//! The backward pass computes the responsibilities again from the log-densities it has, so that nothing of the size points
//! times components is ever kept.

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::family::gaussian::{self, Spread};
use crate::kernels::graph::node::{self, Fresh, Op, Reached, asked, fresh, weigh};
use crate::kernels::machine::buffer::{SERIAL, View};
use crate::kernels::machine::lanes::{Lanes, Lanewise, Tile, dispatch};
use crate::kernels::machine::tiles::SUM;
use crate::kernels::number::single;
use candle_core::{D, Tensor};
use rayon::prelude::*;

const LANES: usize = 16;
/// Points that share one load of a component's parameters.
const ROWS: usize = 6;
/// Points whose responsibilities are held at a time.
const BLOCK: usize = 96;
/// Coordinates whose gradient sums stay in registers.
const COORDINATES: usize = 4;

/// `ln sum_k softmax(logits)_k prod_d Normal(x_d; loc_kd, scale_kd)`.
///
/// `x` is `[.., D]`, `logits` `[K]`, `loc` and `scale` `[K, D]`; the result is `[..]`.
pub(crate) fn mixture_log_prob(
    x: &Tensor,
    logits: &Tensor,
    loc: &Tensor,
    scale: &Tensor,
) -> Result<Tensor> {
    // Longer sums would lose digits here; blocks of them are added in double precision there.
    let short = loc.dim(1)? <= SUM;
    if short && crate::kernels::graph::fused(&[x, logits, loc, scale]) {
        Ok(node::apply1(Mixture::default(), &[x, logits, loc, scale])?)
    } else {
        composed(x, logits, loc, scale)
    }
}

fn composed(x: &Tensor, logits: &Tensor, loc: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let x = x.unsqueeze(D::Minus2)?;
    let each = gaussian::log_prob(Spread::Scale, &x, loc, scale, true)?;
    let weights = crate::kernels::family::logits::log_softmax(logits)?;
    crate::kernels::family::logits::log_sum_exp(&each.broadcast_add(&weights)?)
}

/// The parameters in tiles of 16 components: tile t holds for each coordinate 16 means, then 16 reciprocal scales.
struct Packed {
    coordinates: usize,
    tiles: usize,
    /// `[tiles][coordinates]` pairs (mean, reciprocal scale). Lanes beyond K hold (0, 1).
    pairs: Vec<(Tile, Tile)>,
    /// Log-weight minus the normalizing constants; -inf beyond K.
    offsets: Vec<Tile>,
    /// Softmax of the logits, length K.
    weights: Vec<f32>,
}

impl Packed {
    fn new(logits: &[f32], loc: &[f32], scale: &[f32]) -> Self {
        let k = logits.len();
        let d = loc.len() / k.max(1);
        let tiles = k.div_ceil(LANES);
        let max = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
        let exps: Vec<f64> = logits.iter().map(|l| f64::from(l - max).exp()).collect();
        let total: f64 = exps.iter().sum();
        let mut pairs = vec![([0.; LANES], [1.; LANES]); tiles * d];
        let mut offsets = vec![[f32::NEG_INFINITY; LANES]; tiles];
        for i in 0..k {
            let (tile, lane) = (i / LANES, i % LANES);
            let mut log_scales = 0.;
            for j in 0..d {
                let pair = &mut pairs[tile * d + j];
                pair.0[lane] = loc[i * d + j];
                pair.1[lane] = 1. / scale[i * d + j];
                log_scales += f64::from(scale[i * d + j]).ln();
            }
            let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
            let log_weight = f64::from(logits[i] - max) - total.ln();
            offsets[tile][lane] = (log_weight - log_scales - constant) as f32;
        }
        Packed {
            coordinates: d,
            tiles,
            pairs,
            offsets,
            weights: exps.iter().map(|e| (e / total) as f32).collect(),
        }
    }

    /// Writes the exponents of `R` points, given by coordinates, into `out`, `[R][tiles]`.
    #[inline(always)]
    fn exponents<V: Lanes, const R: usize>(&self, x: &[[f32; R]], out: &mut [Tile]) {
        let d = self.coordinates;
        for (tile, pairs) in self.pairs.chunks_exact(d).enumerate() {
            let mut squares = [V::splat(0.); R];
            for ((loc, inverse), x) in pairs.iter().zip(x) {
                let (loc, inverse) = (V::load(loc), V::load(inverse));
                for r in 0..R {
                    let z = V::splat(x[r]).sub(loc).mul(inverse);
                    squares[r] = z.fma(z, squares[r]);
                }
            }
            let offset = V::load(&self.offsets[tile]);
            for r in 0..R {
                let exponent = squares[r].fma(V::splat(-0.5), offset);
                exponent.store(&mut out[r * self.tiles + tile]);
            }
        }
    }

    /// Exponents of up to [`BLOCK`] points.
    #[inline(always)]
    fn block<V: Lanes>(&self, x: &[f32], out: &mut [Tile]) {
        let d = self.coordinates;
        let mut columns = vec![[0.; ROWS]; d];
        for (x, out) in x.chunks(ROWS * d).zip(out.chunks_mut(ROWS * self.tiles)) {
            if x.len() == ROWS * d {
                for (r, row) in x.chunks_exact(d).enumerate() {
                    for (column, x) in columns.iter_mut().zip(row) {
                        column[r] = *x;
                    }
                }
                self.exponents::<V, ROWS>(&columns, out);
            } else {
                for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(self.tiles)) {
                    self.exponents::<V, 1>(x.as_chunks().0, out);
                }
            }
        }
    }
}

/// Log-densities of consecutive points.
struct Density<'a> {
    packed: &'a Packed,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Lanewise for Density<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(self) {
        let (d, tiles) = (self.packed.coordinates, self.packed.tiles);
        let mut exponents = vec![[0f32; LANES]; BLOCK * tiles];
        let (mut shifts, mut sums) = ([0f32; BLOCK], [0f32; BLOCK]);
        for (x, out) in self.x.chunks(BLOCK * d).zip(self.out.chunks_mut(BLOCK)) {
            let exponents = &mut exponents[..out.len() * tiles];
            self.packed.block::<V>(x, exponents);
            for (i, row) in exponents.chunks_exact(tiles).enumerate() {
                let mut max = V::load(&row[0]);
                for tile in &row[1..] {
                    max = max.max(V::load(tile));
                }
                let max = max.highest();
                // Nothing to shift by where every exponent is -inf; NaN comes back through the sum.
                let shift = if max > f32::NEG_INFINITY { max } else { 0. };
                let mut sum = V::splat(0.);
                for tile in row {
                    let mut exps = *tile;
                    for e in &mut exps {
                        *e = single::exp::<FMA>(*e - shift);
                    }
                    sum = sum.add(V::load(&exps));
                }
                shifts[i] = shift;
                sums[i] = sum.total();
            }
            for (i, out) in out.iter_mut().enumerate() {
                let ln = single::ln_positive::<FMA>(sums[i]);
                let ln = if sums[i] == 0. { f32::NEG_INFINITY } else { ln };
                // An infinite or NaN sum is its own logarithm.
                *out = shifts[i] + if sums[i] < f32::MAX { ln } else { sums[i] };
            }
        }
    }
}

/// Sums over points of (g = upstream gradient times responsibility, z = standardized difference).
struct Sums {
    /// g, `[tiles]`
    weights: Vec<Tile>,
    /// g z, `[tiles][coordinates]`
    first: Vec<Tile>,
    /// g z^2
    second: Vec<Tile>,
}

impl Sums {
    fn zero(packed: &Packed) -> Self {
        Sums {
            weights: vec![[0.; LANES]; packed.tiles],
            first: vec![[0.; LANES]; packed.pairs.len()],
            second: vec![[0.; LANES]; packed.pairs.len()],
        }
    }

    fn add(&mut self, other: &Sums) {
        let pairs = [
            (&mut self.weights, &other.weights),
            (&mut self.first, &other.first),
            (&mut self.second, &other.second),
        ];
        for (a, b) in pairs {
            for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
                *a += b;
            }
        }
    }
}

/// Gradients of consecutive points.
struct Gradients<'a> {
    packed: &'a Packed,
    x: &'a [f32],
    density: &'a [f32],
    upstream: &'a [f32],
    sums: &'a mut Sums,
    /// Whether anybody wants the gradient of loc or scale.
    parameters: bool,
    x_gradient: Option<&'a mut [f32]>,
}

impl Lanewise for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        let packed = self.packed;
        let (d, tiles) = (packed.coordinates, packed.tiles);
        let mut shares = vec![[0f32; LANES]; BLOCK * tiles];
        for start in (0..self.density.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(self.density.len());
            let upstream = &self.upstream[start..end];
            let x = asked(&self.x[start * d..end * d], upstream, end - start);
            let shares = &mut shares[..(end - start) * tiles];
            packed.block::<V>(&x, shares);
            for (i, row) in shares.chunks_exact_mut(tiles).enumerate() {
                let (density, g) = (self.density[start + i], self.upstream[start + i]);
                for (tile, sum) in row.iter_mut().zip(&mut self.sums.weights) {
                    for l in 0..LANES {
                        tile[l] = weigh(g, single::exp::<FMA>(tile[l] - density));
                        sum[l] += tile[l];
                    }
                }
            }
            if self.parameters {
                for tile in 0..tiles {
                    let whole = d / COORDINATES * COORDINATES;
                    for j in (0..whole).step_by(COORDINATES) {
                        moments::<V, COORDINATES>(packed, &x, shares, tile, j, self.sums);
                    }
                    for j in whole..d {
                        moments::<V, 1>(packed, &x, shares, tile, j, self.sums);
                    }
                }
            }
            if let Some(out) = &mut self.x_gradient {
                let out = &mut out[start * d..end * d];
                for ((x, out), row) in x
                    .chunks_exact(d)
                    .zip(out.chunks_exact_mut(d))
                    .zip(shares.chunks_exact(tiles))
                {
                    for j in 0..d {
                        let mut total = V::splat(0.);
                        for (tile, share) in row.iter().enumerate() {
                            let (loc, inverse) = &packed.pairs[tile * d + j];
                            let inverse = V::load(inverse);
                            let z = V::load(loc).sub(V::splat(x[j])).mul(inverse);
                            total = V::load(share).mul(inverse).fma(z, total);
                        }
                        out[j] = total.total();
                    }
                }
            }
        }
    }
}

/// Adds one tile's sums for `C` coordinates from `j` on.
#[inline(always)]
fn moments<V: Lanes, const C: usize>(
    packed: &Packed,
    x: &[f32],
    shares: &[Tile],
    tile: usize,
    j: usize,
    sums: &mut Sums,
) {
    let (d, at) = (packed.coordinates, tile * packed.coordinates + j);
    let pairs: [(V, V); C] = std::array::from_fn(|c| {
        let (loc, inverse) = &packed.pairs[at + c];
        (V::load(loc), V::load(inverse))
    });
    let (mut first, mut second) = ([V::splat(0.); C], [V::splat(0.); C]);
    for (x, row) in x.chunks_exact(d).zip(shares.chunks_exact(packed.tiles)) {
        let share = V::load(&row[tile]);
        let x = &x[j..j + C];
        for c in 0..C {
            let z = V::splat(x[c]).sub(pairs[c].0).mul(pairs[c].1);
            let gz = share.mul(z);
            first[c] = first[c].add(gz);
            second[c] = gz.fma(z, second[c]);
        }
    }
    for c in 0..C {
        let (a, b) = (&mut sums.first[at + c], &mut sums.second[at + c]);
        V::load(a).add(first[c]).store(a);
        V::load(b).add(second[c]).store(b);
    }
}

/// A fused mixture; keeps the packed parameters for the backward pass.
#[derive(Default)]
struct Mixture {
    packed: Option<Packed>,
}

/// Whether the work pays for a parallel region: a product of a lane costs far less than an element of memory traffic.
fn serial(packed: &Packed, points: usize) -> bool {
    points * packed.pairs.len() < SERIAL
}

impl Op for Mixture {
    const NAME: &'static str = "mixture-log-prob";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = inputs
            .iter()
            .map(View::new)
            .collect::<candle_core::Result<Vec<_>>>()?;
        let packed = Packed::new(views[1].f32()?, views[2].f32()?, views[3].f32()?);
        let (x, d) = (views[0].f32()?, packed.coordinates);
        let points = x.len() / d;
        let run = |(x, out): (&[f32], &mut [f32])| {
            dispatch(Density {
                packed: &packed,
                x,
                out,
            })
        };
        let mut out = vec![0.; points];
        if serial(&packed, points) {
            run((x, &mut out));
        } else {
            x.par_chunks(4 * BLOCK * d)
                .zip(out.par_chunks_mut(4 * BLOCK))
                .for_each(run);
        }
        let dims = inputs[0].dims();
        self.packed = keep.then_some(packed);
        Ok(vec![fresh(out, &dims[..dims.len() - 1])])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (Some(packed), Some(Some(reached))) = (&self.packed, outputs.first()) else {
            candle_core::bail!("mixture-log-prob: no upstream gradient")
        };
        let (x, density) = (View::new(&inputs[0])?, View::new(&reached.value)?);
        let upstream = View::new(&reached.gradient)?;
        let (x, density, upstream) = (x.f32()?, density.f32()?, upstream.f32()?);
        let (d, points) = (packed.coordinates, density.len());
        // At most 32 tasks, each with its own sums, whatever the number of threads.
        let task = points.div_ceil(32).next_multiple_of(BLOCK).max(BLOCK);
        let mut x_gradient = if needs[0] { vec![0.; x.len()] } else { vec![] };
        let mut slices: Vec<Option<&mut [f32]>> =
            x_gradient.chunks_mut(task * d).map(Some).collect();
        slices.resize_with(points.div_ceil(task), || None);
        let run = |(i, x_gradient): (usize, Option<&mut [f32]>)| {
            let range = i * task..points.min((i + 1) * task);
            let mut sums = Sums::zero(packed);
            dispatch(Gradients {
                packed,
                x: &x[range.start * d..range.end * d],
                density: &density[range.clone()],
                upstream: &upstream[range],
                sums: &mut sums,
                parameters: needs[2] || needs[3],
                x_gradient,
            });
            sums
        };
        let parts: Vec<Sums> = if serial(packed, points) {
            slices.into_iter().enumerate().map(run).collect()
        } else {
            slices.into_par_iter().enumerate().map(run).collect()
        };
        let mut sums = Sums::zero(packed);
        for part in &parts {
            sums.add(part);
        }

        let k = packed.weights.len();
        let total: f32 = upstream.chunks(BLOCK).map(|c| c.iter().sum::<f32>()).sum();
        let logits = (0..k).map(|i| sums.weights.as_flattened()[i] - packed.weights[i] * total);
        let at = |i: usize| ((i / d / LANES) * d + i % d, i / d % LANES);
        let loc = (0..k * d).map(|i| {
            let (pair, lane) = at(i);
            sums.first[pair][lane] * packed.pairs[pair].1[lane]
        });
        let scale = (0..k * d).map(|i| {
            let (pair, lane) = at(i);
            let weight = sums.weights[i / d / LANES][lane];
            (sums.second[pair][lane] - weight) * packed.pairs[pair].1[lane]
        });
        let tensor = |i: usize, data: Vec<f32>| {
            Tensor::from_vec(data, inputs[i].shape(), inputs[i].device()).map(Some)
        };
        Ok(vec![
            if needs[0] {
                tensor(0, x_gradient)?
            } else {
                None
            },
            if needs[1] {
                tensor(1, logits.collect())?
            } else {
                None
            },
            if needs[2] {
                tensor(2, loc.collect())?
            } else {
                None
            },
            if needs[3] {
                tensor(3, scale.collect())?
            } else {
                None
            },
        ])
    }
}
