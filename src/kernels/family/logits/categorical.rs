//! `l_i - ln sum exp l`, gathered in one pass.

use super::periodic;
use crate::error::{Error, Result};
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{self, CHUNK, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::machine::tiles::{SUM, by_halves};
use crate::kernels::number::single;
use crate::shape;
use candle_core::{D, DType, Tensor};

/// Log-mass of class `index` under logits `[.., K]`; the dims of the index broadcast with those before K.
///
/// An index that is no class has log-mass -inf and gradient 0. The dtype of `index` is a whole number's.
pub(crate) fn categorical_log_prob(logits: &Tensor, index: &Tensor) -> Result<Tensor> {
    let op = "categorical_log_prob";
    let (classes, batch) = match logits.dims() {
        [batch @ .., classes] if *classes > 0 => (*classes, batch),
        found => return Err(Error::shape(op, "logits", "[.., K], K >= 1", found)),
    };
    let out = shape::broadcast_with(op, "index", index.dims(), batch)?;
    let index = index.broadcast_as(out.as_slice())?;
    if out.contains(&0) || !crate::kernels::graph::fused(&[logits]) {
        return composed(logits, &index, &out, classes);
    }
    let index = match index.dtype() {
        DType::U32 => index.flatten_all()?.to_vec1::<u32>()?,
        _ => {
            let wide = index
                .to_dtype(DType::I64)?
                .flatten_all()?
                .to_vec1::<i64>()?;
            let narrow = |i| u32::try_from(i).unwrap_or(u32::MAX);
            wide.into_iter().map(narrow).collect()
        }
    };
    let logits = periodic(logits, &[out.as_slice(), &[classes]].concat(), classes)?;
    let op = Categorical {
        shape: out,
        classes,
        index,
        rows: vec![],
    };
    Ok(node::apply1(op, &[&logits])?)
}

fn composed(logits: &Tensor, index: &Tensor, out: &[usize], classes: usize) -> Result<Tensor> {
    if out.contains(&0) {
        return Ok(logits.sum(D::Minus1)?.broadcast_as(out)?);
    }
    let log_probs = super::log_softmax(logits)?;
    let index = index.to_dtype(DType::I64)?;
    let inside = (index.ge(0i64)? * index.lt(classes as i64)?)?;
    let safe = inside.where_cond(&index, &index.zeros_like()?)?;
    let all = log_probs
        .broadcast_as([out, &[classes]].concat())?
        .contiguous()?;
    let picked = all
        .gather(&safe.unsqueeze(D::Minus1)?.contiguous()?, D::Minus1)?
        .squeeze(D::Minus1)?;
    let zero = picked.zeros_like()?;
    let outside = (zero.ones_like()? * f64::NEG_INFINITY)?;
    // Selected first, so that no gradient flows from an index that is no class.
    Ok((inside.where_cond(&picked, &zero)? + inside.where_cond(&zero, &outside)?)?)
}

/// (largest logit or 0 where all are -inf, `ln sum exp` of the rest) of each row.
struct Rows<'a>(&'a [f32], usize, &'a mut [(f32, f32)]);

impl Loop for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Rows(logits, classes, out) = self;
        if classes <= FEW {
            return few::<FMA>(logits, classes, out);
        }
        for (row, out) in logits.chunks_exact(classes).zip(out) {
            let (tiles, rest) = row.as_chunks::<16>();
            let mut last = [f32::NEG_INFINITY; 16];
            last[..rest.len()].copy_from_slice(rest);
            let mut maxima = last;
            for tile in tiles {
                for i in 0..16 {
                    maxima[i] = if tile[i] > maxima[i] {
                        tile[i]
                    } else {
                        maxima[i]
                    };
                }
            }
            let mut sums = [0f32; 16];
            for width in [8, 4, 2, 1] {
                for i in 0..width {
                    let other = maxima[i + width];
                    maxima[i] = if other > maxima[i] { other } else { maxima[i] };
                }
            }
            // Where every logit is -inf there is nothing to shift by; NaN comes back through the sum.
            let shift = if maxima[0] > f32::NEG_INFINITY {
                maxima[0]
            } else {
                0.
            };
            for i in 0..16 {
                sums[i] = single::exp::<FMA>(last[i] - shift);
            }
            // Blocks are added in f64: a lane would lose what each class adds to millions of others.
            let mut blocks = tiles.chunks(SUM / 16);
            let mut total = 0f64;
            loop {
                for tile in blocks.next().unwrap_or_default() {
                    for i in 0..16 {
                        sums[i] += single::exp::<FMA>(tile[i] - shift);
                    }
                }
                total += f64::from(by_halves(sums));
                if blocks.len() == 0 {
                    break;
                }
                sums = [0.; 16];
            }
            *out = (shift, log_of_sum::<FMA>(total as f32));
        }
    }
}

/// Up to this many classes 16 rows are worked on at once, transposed.
const FEW: usize = 32;

#[inline(always)]
fn few<const FMA: bool>(logits: &[f32], classes: usize, out: &mut [(f32, f32)]) {
    // What is beyond the last row is computed and not used.
    let mut columns = [[0f32; 16]; FEW];
    let columns = &mut columns[..classes];
    for (rows, out) in logits.chunks(16 * classes).zip(out.chunks_mut(16)) {
        for (r, row) in rows.chunks_exact(classes).enumerate() {
            for (column, l) in columns.iter_mut().zip(row) {
                column[r % 16] = *l;
            }
        }
        let mut shifts = [f32::NEG_INFINITY; 16];
        for column in columns.iter() {
            for i in 0..16 {
                shifts[i] = if column[i] > shifts[i] {
                    column[i]
                } else {
                    shifts[i]
                };
            }
        }
        for shift in &mut shifts {
            *shift = if *shift > f32::NEG_INFINITY {
                *shift
            } else {
                0.
            };
        }
        let mut sums = [0f32; 16];
        for column in columns.iter() {
            for i in 0..16 {
                sums[i] += single::exp::<FMA>(column[i] - shifts[i]);
            }
        }
        let mut lns = [0f32; 16];
        for i in 0..16 {
            lns[i] = log_of_sum::<FMA>(sums[i]);
        }
        for (out, (shift, ln)) in out.iter_mut().zip(shifts.iter().zip(&lns)) {
            *out = (*shift, *ln);
        }
    }
}

/// ln of a sum of exponentials; 0, infinity and NaN included.
#[inline(always)]
fn log_of_sum<const FMA: bool>(sum: f32) -> f32 {
    let ln = single::ln_positive::<FMA>(sum);
    let ln = if sum == 0. { f32::NEG_INFINITY } else { ln };
    if sum < f32::MAX { ln } else { sum }
}

/// What [`Rows`] writes, for all rows of `k` logits.
pub(super) fn scan(logits: &[f32], k: usize) -> Vec<(f32, f32)> {
    let mut rows = vec![(0., 0.); logits.len() / k];
    let fill = |offset: usize, rows: &mut [(f32, f32)]| {
        dispatch(Rows(&logits[offset * k..][..rows.len() * k], k, rows));
    };
    if logits.len() < buffer::SERIAL {
        fill(0, &mut rows);
    } else {
        let chunk = CHUNK.div_ceil(k).next_multiple_of(16);
        buffer::parallel(&mut rows, chunk, fill);
    }
    rows
}

/// The softmax of rows of this many classes, whose shift and logarithm are known.
pub(super) struct Softmax<'a>(
    pub(super) &'a [f32],
    pub(super) usize,
    pub(super) &'a [(f32, f32)],
    pub(super) &'a mut [f32],
);

impl Loop for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Softmax(logits, classes, rows, out) = self;
        let each = logits.chunks_exact(classes);
        let each = each.zip(out.chunks_exact_mut(classes)).zip(rows);
        for ((logits, out), (shift, ln)) in each {
            for (l, out) in logits.iter().zip(out) {
                *out = l - shift - ln;
            }
        }
        for out in out {
            *out = single::exp::<FMA>(*out);
        }
    }
}

struct Categorical {
    shape: Vec<usize>,
    classes: usize,
    index: Vec<u32>,
    rows: Vec<(f32, f32)>,
}

impl Op for Categorical {
    const NAME: &'static str = "categorical-log-prob";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let logits = View::new(&inputs[0])?;
        let (logits, k) = (logits.f32()?, self.classes);
        let count = logits.len() / k;
        let rows = scan(logits, k);
        let out = buffer::build(self.index.len(), CHUNK, |offset, out| {
            let cycle = (0..count).cycle().skip(offset % count);
            for ((i, out), row) in out.iter_mut().enumerate().zip(cycle) {
                let (shift, ln) = rows[row];
                let class = self.index[offset + i] as usize;
                *out = if class < k {
                    logits[row * k + class] - shift - ln
                } else {
                    f32::NEG_INFINITY
                };
            }
        });
        if keep {
            self.rows = rows;
        }
        Ok(vec![fresh(out, self.shape.as_slice())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            candle_core::bail!("categorical-log-prob: no upstream gradient")
        };
        let (logits, upstream) = (View::new(&inputs[0])?, View::new(&reached.gradient)?);
        let (logits, upstream, k) = (logits.f32()?, upstream.f32()?, self.classes);
        let count = self.rows.len();
        let out = buffer::build(logits.len(), k * CHUNK.div_ceil(k), |offset, out| {
            let mut counts = vec![0f64; k];
            let rows = &self.rows[offset / k..][..out.len() / k];
            let range = offset..offset + out.len();
            dispatch(Softmax(&logits[range], k, rows, out));
            for (i, out) in out.chunks_exact_mut(k).enumerate() {
                let row = offset / k + i;
                let draws = (row..self.index.len()).step_by(count);
                let draws = draws.map(|i| (self.index[i] as usize, f64::from(upstream[i])));
                let draws = draws.filter(|(class, _)| *class < k);
                let weight: f64 = draws.clone().map(|(_, g)| g).sum();
                let weight = -weight as f32;
                out.iter_mut().for_each(|x| *x = node::weigh(weight, *x));
                // Many small gradients of one class: added up in f64 first.
                for (class, g) in draws.clone() {
                    counts[class] += g;
                }
                for (class, _) in draws {
                    out[class] += std::mem::take(&mut counts[class]) as f32;
                }
            }
        });
        Tensor::from_vec(out, inputs[0].shape(), inputs[0].device()).map(|g| vec![Some(g)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{agree, tensor};
    use super::*;
    use candle_core::Device;

    fn indices(dims: &[usize], classes: usize) -> Result<Tensor> {
        let n = dims.iter().product::<usize>();
        let list: Vec<i64> = (0..n)
            .map(|i| (i * 31 % (classes + 2)) as i64 - 1)
            .collect();
        Ok(Tensor::from_vec(list, dims, &Device::Cpu)?)
    }

    #[test]
    fn fused_is_composed() -> Result<()> {
        let cases: &[(&[usize], &[usize])] = &[
            (&[40, 10], &[40]),
            (&[40, 17], &[7, 40]),
            (&[5, 4, 33], &[4]),
            (&[3, 1, 16], &[6]),
            (&[7], &[1000]),
            (&[7], &[]),
            (&[0, 7], &[0]),
            (&[3000, 20], &[3000]),
        ];
        for (l, i) in cases {
            let k = l[l.len() - 1];
            let index = indices(i, k)?;
            let mut logits = tensor(l, 3, 8.)?;
            for masked in [false, true] {
                if masked {
                    // Every fifth class or so.
                    let mask = tensor(l, 9, 1.)?.lt(-0.6)?;
                    let low = (logits.ones_like()? * f64::NEG_INFINITY)?;
                    logits = mask.where_cond(&low, &logits)?;
                }
                agree(
                    &format!("{l:?} {i:?} {masked}"),
                    &[logits.clone()],
                    |t| finite(categorical_log_prob(&t[0], &index)?),
                    |t| {
                        let out = shape::broadcast(&l[..l.len() - 1], i).unwrap_or_default();
                        finite(composed(
                            &t[0],
                            &index.broadcast_as(out.as_slice())?,
                            &out,
                            k,
                        )?)
                    },
                    1e-5,
                )?;
            }
        }
        let index = indices(&[20], 30)?;
        agree(
            "strided",
            &[tensor(&[30, 20], 1, 3.)?.t()?],
            |t| finite(categorical_log_prob(&t[0], &index)?),
            |t| finite(composed(&t[0], &index, &[20], 30)?),
            1e-5,
        )
    }

    /// -inf replaced: the weighted sum of the comparison would be NaN.
    fn finite(t: Tensor) -> Result<Tensor> {
        let low = (t.ones_like()? * -1e4)?;
        Ok(t.eq(f64::NEG_INFINITY)?.where_cond(&low, &t)?)
    }

    #[test]
    fn no_class() -> Result<()> {
        let logits = Tensor::new(
            &[[0f32, f32::NEG_INFINITY], [f32::NEG_INFINITY; 2]],
            &Device::Cpu,
        )?;
        let index = Tensor::new(&[[0u32, 0], [1, 1], [2, 2], [u32::MAX, 7]], &Device::Cpu)?;
        let got = categorical_log_prob(&logits, &index)?.to_vec2::<f32>()?;
        assert_eq!(
            [got[0][0], got[1][0], got[2][0], got[3][0]],
            [0., f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]
        );
        assert!(got[0][1].is_nan() && got[1][1].is_nan());
        Ok(())
    }
}
