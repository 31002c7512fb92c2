//! Pixels to channels.

use super::{Bijector, zeros};
use crate::detach::Detach;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// Squares of 2 x 2 pixels become four channels: images [C, H, W] to [4C, H/2, W/2].
///
/// Formula: channel `4c + 2i + j` of the result at (h, w) is channel c of the argument at (2h + i, 2w + j), so the four of
/// a channel lie next to each other. The log-det is 0.
///
/// Shapes: `x` is `batch ++ [C, H, W]`, `y` is `batch ++ [4C, H/2, W/2]`, the log-det is `batch`. A flow that squeezes on its
/// way from data to latents, and leads from latents to data, has this [`inverted`](Bijector::inverted). Gradients: to the
/// argument.
///
/// Errors: an image of odd height or width; on the way back a number of channels that is no multiple of four.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Squeeze};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[[[0f32, 1., 2., 3.], [4., 5., 6., 7.]]], &Device::Cpu)?;
/// let y = Squeeze.transform(&x)?.reshape((4, 2))?.to_vec2::<f32>()?;
/// assert_eq!(y, [[0., 2.], [1., 3.], [4., 6.], [5., 7.]]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.6; the order of channels is
/// that of Kingma and Dhariwal (2018), Glow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squeeze;

/// The dims of an image, if it can be halved.
fn halves(op: &'static str, dims: &[usize]) -> Result<[usize; 3]> {
    match dims {
        [.., c, h, w] if h.is_multiple_of(2) && w.is_multiple_of(2) => Ok([*c, h / 2, w / 2]),
        _ => {
            let expected = "[.., C, H, W] with even H and W";
            Err(Error::shape(op, "image", expected, dims))
        }
    }
}

/// The dims of an image, if its channels can be quartered.
fn quarters(op: &'static str, dims: &[usize]) -> Result<[usize; 3]> {
    match dims {
        [.., c, h, w] if c.is_multiple_of(4) => Ok([c / 4, *h, *w]),
        _ => {
            let expected = "[.., 4C, H, W]";
            Err(Error::shape(op, "image", expected, dims))
        }
    }
}

impl Bijector for Squeeze {
    fn event_rank(&self) -> usize {
        3
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let [c, h, w] = halves("Squeeze::transform", x.dims())?;
        let lead = &x.dims()[..x.rank() - 3];
        let n: usize = lead.iter().product();
        let parts = x
            .reshape(&[n, c, h, 2, w, 2])?
            .permute([0, 1, 3, 5, 2, 4])?;
        let y = parts.reshape([lead, &[4 * c, h, w]].concat())?;
        Ok((y, zeros(x, 3)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let [c, h, w] = quarters("Squeeze::inverse", y.dims())?;
        let lead = &y.dims()[..y.rank() - 3];
        let n: usize = lead.iter().product();
        let parts = y
            .reshape(&[n, c, 2, 2, h, w])?
            .permute([0, 1, 4, 2, 5, 3])?;
        let x = parts.reshape([lead, &[c, 2 * h, 2 * w]].concat())?;
        Ok((x, zeros(y, 3)?))
    }

    fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        let [c, h, w] = halves("Squeeze::transformed_shape", event)?;
        Ok([&event[..event.len() - 3], &[4 * c, h, w]].concat())
    }

    fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        let [c, h, w] = quarters("Squeeze::inverse_shape", event)?;
        Ok([&event[..event.len() - 3], &[c, 2 * h, 2 * w]].concat())
    }
}

impl Detach for Squeeze {
    fn detach(&self) -> Self {
        *self
    }
}
