//! Dropout: elements, or whole groups of them, are left out, and the others are scaled.
//!
//! The mask is never stored: it is a function of the draw, which both passes compute.

use crate::kernels::graph::fused;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{self, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::random::{BLOCK, Stream};
use candle_core::{DType, Result, Tensor};

/// Which elements stay.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    stream: Stream,
    /// What stays has 32 bits of at least this.
    threshold: u32,
    /// Elements that stay or go together.
    group: usize,
}

impl Mask {
    /// Elements go with the probability `p` in `[0, 1)`, rounded to 32 bits.
    pub(crate) fn new(p: f64, group: usize, stream: Stream) -> Self {
        // The conversion saturates where p is nearer to 1 than 32 bits can say.
        let threshold = (p * 2f64.powi(32)).round() as u32;
        Mask {
            stream,
            threshold,
            group,
        }
    }

    /// One over the probability to stay: of the rounded p, so that the mean is exact.
    fn scale(&self) -> f64 {
        1. / (1. - f64::from(self.threshold) * 2f64.powi(-32))
    }

    /// For each group, whether it stays.
    fn stays(&self, groups: usize) -> Vec<u8> {
        buffer::build(groups, BLOCK, |offset, out| {
            let mut lanes = self.stream.lanes((offset / BLOCK) as u64);
            for out in out.chunks_mut(16) {
                for (out, bits) in out.iter_mut().zip(lanes.next()) {
                    *out = u8::from(bits >= self.threshold);
                }
            }
        })
    }

    /// What stays of `x`, scaled. The gradient is the same function of the gradient.
    fn apply(&self, x: &Tensor) -> Result<Vec<f32>> {
        let view = View::new(x)?;
        let x = view.f32()?;
        let scale = self.scale() as f32;
        if self.group == 1 {
            return Ok(buffer::build(x.len(), BLOCK, |offset, out| {
                dispatch(Pass {
                    mask: self,
                    block: (offset / BLOCK) as u64,
                    scale,
                    x: &x[offset..][..out.len()],
                    out,
                })
            }));
        }
        let stays = self.stays(x.len() / self.group);
        Ok(buffer::build(x.len(), self.group, |offset, out| {
            if stays[offset / self.group] == 0 {
                return out.fill(0.);
            }
            for (out, x) in out.iter_mut().zip(&x[offset..]) {
                *out = x * scale;
            }
        }))
    }

    /// Candle operations; what goes may be infinite or NaN, so it is not multiplied by 0.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let groups = x.elem_count() / self.group;
        let stays = Tensor::from_vec(self.stays(groups), (groups, 1), x.device())?;
        let stays = stays
            .broadcast_as((groups, self.group))?
            .contiguous()?
            .reshape(x.dims())?;
        let scaled = match x.dtype() {
            // The scale alone may be no number of theirs.
            DType::F16 | DType::BF16 => {
                (x.to_dtype(DType::F32)? * self.scale())?.to_dtype(x.dtype())?
            }
            _ => (x * self.scale())?,
        };
        stays.where_cond(&scaled, &x.zeros_like()?)
    }
}

impl Op for Mask {
    const NAME: &'static str = "dropout";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> Result<Vec<Fresh>> {
        Ok(vec![fresh(self.apply(&inputs[0])?, inputs[0].shape())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(y) = &outputs[0] else {
            return Ok(vec![None]);
        };
        let x = &inputs[0];
        let gradient = Tensor::from_vec(self.apply(&y.gradient)?, x.shape(), x.device())?;
        Ok(vec![Some(gradient)])
    }
}

struct Pass<'a> {
    mask: &'a Mask,
    block: u64,
    scale: f32,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Loop for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = self.mask.stream.lanes(self.block);
        let (threshold, scale) = (self.mask.threshold, self.scale);
        let mut out = self.out.chunks_exact_mut(16);
        let mut x = self.x.chunks_exact(16);
        for (out, x) in (&mut out).zip(&mut x) {
            // Arrays: slices would be checked element by element, and nothing would be vectorized.
            let (bits, mut y) = (lanes.next(), [0.; 16]);
            y.copy_from_slice(x);
            for l in 0..16 {
                y[l] = if bits[l] >= threshold {
                    y[l] * scale
                } else {
                    0.
                };
            }
            out.copy_from_slice(&y);
        }
        let rest = out.into_remainder();
        if !rest.is_empty() {
            let bits = lanes.next();
            for ((out, x), bits) in rest.iter_mut().zip(x.remainder()).zip(bits) {
                *out = if bits >= threshold { x * scale } else { 0. };
            }
        }
    }
}

/// Elements of `x`, floating point, without those that the mask leaves out; its groups are consecutive and divide them.
pub(crate) fn dropout(x: &Tensor, mask: Mask) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    if fused(&[x]) {
        node::apply1(mask, &[x])
    } else {
        mask.composed(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random;
    use candle_core::{Device, Var};

    #[test]
    fn fused_is_composed() -> Result<()> {
        let bits = |t: &Tensor| -> Result<Vec<u32>> {
            let all = t.flatten_all()?.to_vec1::<f32>()?;
            Ok(all.iter().map(|x| x.to_bits()).collect())
        };
        // In one chunk and over several, whole lanes and parts of them, in threads.
        for (dims, group) in [
            ([1, 1], 1),
            ([3, 7], 1),
            ([2, 4096], 1),
            ([9, 5003], 1),
            ([6, 5], 5),
            ([700, 77], 77),
        ] {
            let normal = |draw| {
                let stream = Stream { key: 4, draw };
                let values = random::normals(stream, dims.iter().product());
                Tensor::from_vec(values, &dims, &Device::Cpu)
            };
            let (x, weights) = (Var::from_tensor(&normal(0)?)?, normal(1)?);
            for p in [0., 1e-12, 0.3, 0.9] {
                let mask = Mask::new(p, group, Stream { key: 3, draw: 1 });
                let run = |y: Tensor| -> Result<[Vec<u32>; 2]> {
                    let gradients = (&y * &weights)?.sum_all()?.backward()?;
                    let Some(gradient) = gradients.get(&x) else {
                        candle_core::bail!("no gradient")
                    };
                    Ok([bits(&y)?, bits(gradient)?])
                };
                // What stays is scaled by the same number, once: the same bits.
                let (fused, composed) = (dropout(&x, mask)?, mask.composed(&x)?);
                assert_eq!(run(fused)?, run(composed)?, "{dims:?} {group} {p}");
                // Another layout holds the same numbers.
                let strided = x.t()?.contiguous()?.t()?;
                assert_eq!(bits(&dropout(&strided, mask)?)?, bits(&dropout(&x, mask)?)?);
            }
        }
        let empty = Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?;
        let mask = Mask::new(0.5, 1, Stream { key: 0, draw: 0 });
        assert_eq!(dropout(&empty, mask)?.dims(), [0, 4]);
        Ok(())
    }
}
