//! The largest value of each channel over all positions of an image, with the gradient at the first of equals.
//!
//! Candle's reduction gives the whole gradient to each of equal maxima and takes a dozen passes.

use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{self, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use candle_core::Tensor;

/// `[n, positions, channels]` to `[n, channels]`. There is at least one position.
///
/// NaN is the largest value, so that it is not lost.
pub(crate) fn max_positions(x: &Tensor) -> Result<Tensor> {
    if crate::kernels::graph::fused(&[x]) {
        return Ok(node::apply1(MaxPositions::default(), &[x])?);
    }
    composed(x)
}

fn composed(x: &Tensor) -> Result<Tensor> {
    // The first maximum, selected by its index: `max` itself would give the gradient to every one, and no NaN.
    let x = x.transpose(1, 2)?.contiguous()?;
    let fixed = x.detach();
    let nan = fixed.ne(&fixed)?;
    let (first, any) = (nan.argmax_keepdim(2)?, nan.max_keepdim(2)?);
    let at = any.where_cond(&first, &fixed.argmax_keepdim(2)?)?;
    Ok(x.gather(&at, 2)?.squeeze(2)?)
}

#[derive(Default)]
struct MaxPositions {
    /// Position of each maximum, `[n, channels]`.
    at: Vec<u32>,
}

impl Op for MaxPositions {
    const NAME: &'static str = "max-positions";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (n, positions, channels) = inputs[0].dims3()?;
        let view = View::new(&inputs[0])?;
        let x = view.f32()?;
        let image = positions * channels;
        let mut at = vec![0; n * channels];
        let mut out = vec![0.; n * channels];
        let width = channels.max(1);
        let both = out.chunks_mut(width).zip(at.chunks_mut(width));
        for (i, (out, at)) in both.enumerate() {
            dispatch(Largest {
                x: &x[i * image..][..image],
                out,
                at,
            });
        }
        self.at = at;
        Ok(vec![fresh(out, (n, channels))])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (_, positions, channels) = inputs[0].dims3()?;
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None]);
        };
        let view = View::new(&reached.gradient)?;
        let gradient = view.f32()?;
        let image = positions * channels;
        let data = buffer::build(
            inputs[0].elem_count(),
            image.max(1),
            |offset, out: &mut [f32]| {
                out.fill(0.);
                let row = offset / image * channels;
                for (c, (g, at)) in gradient[row..][..channels]
                    .iter()
                    .zip(&self.at[row..])
                    .enumerate()
                {
                    out[*at as usize * channels + c] = *g;
                }
            },
        );
        Ok(vec![Some(Tensor::from_vec(
            data,
            inputs[0].shape(),
            inputs[0].device(),
        )?)])
    }
}

/// Maxima of one image, position by position, so that the channels are the vector lanes.
struct Largest<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    at: &'a mut [u32],
}

impl Loop for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let channels = self.out.len();
        self.out.copy_from_slice(&self.x[..channels]);
        for (position, row) in self.x.chunks_exact(channels).enumerate().skip(1) {
            for ((x, out), at) in row.iter().zip(&mut *self.out).zip(&mut *self.at) {
                // Larger, or the first NaN.
                let better = *x > *out || (x.is_nan() && !out.is_nan());
                *out = if better { *x } else { *out };
                *at = if better { position as u32 } else { *at };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn wave(dims: &[usize], frequency: f32) -> candle_core::Result<Tensor> {
        let len = dims.iter().product::<usize>();
        let data = (0..len).map(|i| 4. * (frequency * (i + 1) as f32).sin());
        Tensor::from_vec(data.collect(), dims, &Device::Cpu)
    }

    #[test]
    fn fused_is_composed() -> Result<()> {
        for (n, positions, channels) in [(3, 5, 7), (2, 1, 1), (4, 9, 40), (0, 3, 2), (40, 64, 32)]
        {
            // Rounded, so that there are ties.
            let x = wave(&[n, channels, positions], 12.9898)?.round()?;
            for strided in [false, true] {
                let var = Var::from_tensor(&x)?;
                let x = match strided {
                    true => var.transpose(1, 2)?,
                    false => var.reshape((n, positions, channels))?,
                };
                let weight = wave(&[n, channels], 78.233)?;
                let run = |y: Tensor| -> Result<(Vec<f32>, Vec<f32>)> {
                    let gradients = (&y * &weight)?.sum_all()?.backward()?;
                    let gradient = match gradients.get(&var) {
                        Some(g) => g.flatten_all()?.to_vec1()?,
                        None => vec![],
                    };
                    Ok((y.flatten_all()?.to_vec1()?, gradient))
                };
                let fused = run(max_positions(&x)?)?;
                if n > 0 {
                    assert_eq!(fused, run(composed(&x)?)?, "{n} {positions} {channels}");
                    assert_eq!(fused.1.len(), n * positions * channels);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn of_equals_the_first_has_the_gradient() -> Result<()> {
        let x = Var::new(&[[[2f32, 1.], [2., 3.], [1., 3.]]], &Device::Cpu)?;
        let gradients = max_positions(&x)?.sum_all()?.backward()?;
        let gradient = gradients.get(&x).expect("a gradient").to_vec3::<f32>()?;
        assert_eq!(gradient, [[[1., 0.], [0., 1.], [0., 0.]]]);
        Ok(())
    }

    #[test]
    fn nan_is_kept() -> Result<()> {
        let x = Tensor::new(&[[[1f32, 2.], [f32::NAN, 0.], [5., 1.]]], &Device::Cpu)?;
        for y in [max_positions(&x)?, composed(&x)?] {
            let y = y.to_vec2::<f32>()?;
            assert!(y[0][0].is_nan() && y[0][1] == 2.);
        }
        Ok(())
    }
}
