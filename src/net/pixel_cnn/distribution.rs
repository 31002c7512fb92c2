//! What a [`PixelCnn`] is under its contexts.

use super::{Block, PixelCnn, Terms, add};
use crate::detach::Detach;
use crate::distribution::{Categorical, Distribution, Independent};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Tensor};

/// A [`PixelCnn`] under its contexts: a distribution over grids `[H, W]` of classes, with the batch `[N]` of the contexts.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::{Conditional, Rng};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{PixelCnnConfig, pixel_cnn};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = PixelCnnConfig { size: (4, 4), blocks: 1, context: 3, ..Default::default() };
/// let net = pixel_cnn(&config, vb)?;
/// let above = net.given(&Tensor::ones((2, 3, 4, 4), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(above.sample(&[5], &mut Rng::new(1))?.dims(), [5, 2, 4, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PixelDistribution {
    net: PixelCnn,
    spatial: Option<Tensor>,
    global: Option<Tensor>,
    batch: Vec<usize>,
}

impl PixelDistribution {
    pub(super) fn new(net: &PixelCnn, contexts: [Option<&Tensor>; 2], batch: Vec<usize>) -> Self {
        let [spatial, global] = contexts.map(Option::<&Tensor>::cloned);
        PixelDistribution {
            net: net.clone(),
            spatial,
            global,
            batch,
        }
    }

    /// The logits of every position given those before it, `S ++ batch ++ [H, W, levels]`. A value that is no class counts as
    /// the nearest that is one.
    ///
    /// Errors: as [`log_prob`](Distribution::log_prob).
    pub fn logits(&self, value: &Tensor) -> Result<Tensor> {
        let leading = self.check("PixelDistribution::logits", value)?;
        let [h, w] = self.net.event;
        let count = leading.iter().product::<usize>();
        let dims = [&leading[..], &[h, w, self.net.config.levels]].concat();
        if count == 0 {
            let like = &self.net.embedding;
            return Ok(Tensor::zeros(dims, like.dtype(), like.device())?);
        }
        let classes = value
            .to_dtype(DType::I64)?
            .broadcast_as([&leading[..], &[h, w]].concat())?
            .flatten_all()?
            .to_vec1::<i64>()?;
        let last = self.net.config.levels as i64 - 1;
        let classes: Vec<u32> = classes.iter().map(|k| (*k).clamp(0, last) as u32).collect();
        let x = self.net.embed(&classes, [count, h, w])?;
        let links = self.net.vertical(&x, &self.terms(&leading)?)?;
        let logits = self.net.horizontal(&x, &links)?;
        Ok(logits.reshape(dims)?)
    }

    /// Refuses what are no grids of classes; the dims before the event.
    fn check(&self, op: &'static str, value: &Tensor) -> Result<Vec<usize>> {
        if !matches!(value.dtype(), DType::U8 | DType::U32 | DType::I64) {
            return Err(Error::DType {
                op,
                arg: "value",
                expected: "U8, U32 or I64".into(),
                found: value.dtype(),
            });
        }
        shape::same_device(op, "value", value, &self.net.embedding)?;
        shape::value_shape(op, value, &self.batch, &self.net.event)
    }

    /// The contexts' terms for draws of shape `leading`, which ends in the batch.
    fn terms(&self, leading: &[usize]) -> Result<Terms> {
        let count = leading.iter().product::<usize>();
        // One row for each draw; what all share stays one row.
        let rows = |term: Tensor| -> Result<Tensor> {
            let [n, h, w, c] =
                shape::dims("PixelDistribution", "context", term.dims(), "[N, H, W, C]")?;
            if n == count {
                return Ok(term);
            }
            let full = [leading, &[h, w, c]].concat();
            Ok(term.broadcast_as(full)?.reshape((count, h, w, c))?)
        };
        let spatial = self.spatial.as_ref();
        let spatial = spatial.map(|c| c.permute((0, 2, 3, 1))?.contiguous());
        let spatial = spatial.transpose()?;
        let global = self.global.as_ref();
        let global = global.map(|c| c.unsqueeze(1)?.unsqueeze(1)).transpose()?;
        let term = |block: &Block, stack: usize| -> Result<Option<Tensor>> {
            let mut sum = None;
            for (maps, context) in [(&block.spatial, &spatial), (&block.global, &global)] {
                let (Some(maps), Some(context)) = (maps, context) else {
                    continue;
                };
                let more = maps[stack].apply(context)?;
                sum = Some(add(more, sum.as_ref())?);
            }
            sum.map(rows).transpose()
        };
        let both = |block: &Block| Ok([term(block, 0)?, term(block, 1)?]);
        self.net.blocks.iter().map(both).collect()
    }
}

impl Distribution for PixelDistribution {
    fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    fn event_shape(&self) -> &[usize] {
        &self.net.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [h, w] = self.net.event;
        let dims = shape::draws(
            "Distribution::sample",
            shape,
            &[&self.batch[..], &self.net.event].concat(),
        )?;
        let leading = &dims[..dims.len() - 2];
        let count = leading.iter().product::<usize>();
        let (net, reach) = (&self.net, self.net.reach());
        if count == 0 {
            return Ok(Tensor::zeros(dims, DType::U32, net.embedding.device())?);
        }
        let terms: Terms = self.terms(leading)?;
        let terms: Terms = terms
            .into_iter()
            .map(|pair| pair.map(|term| term.map(|t| t.detach())))
            .collect();
        let mut values = vec![0u32; count * h * w];
        // Rows `first..end` and columns of all draws.
        let crop =
            |values: &[u32], (top, bottom): (usize, usize), (left, right): (usize, usize)| {
                let mut part = Vec::with_capacity(count * (bottom - top) * (right - left));
                for grid in values.chunks_exact(h * w) {
                    for row in grid.chunks_exact(w).take(bottom).skip(top) {
                        part.extend_from_slice(&row[left..right]);
                    }
                }
                net.embed(&part, [count, bottom - top, right - left])
            };
        for i in 0..h {
            let top = i.saturating_sub(reach);
            let rows = i + 1 - top;
            let seen = terms.iter().map(|[down, across]| {
                let down = window(down, 1, top, rows)?;
                Ok([down, window(across, 1, top, rows)?])
            });
            let seen = seen.collect::<Result<Terms>>()?;
            let x = crop(&values, (top, i + 1), (0, w))?;
            let links = net.vertical(&x, &seen)?.into_iter();
            let links = links.map(|link| link.detach().narrow(1, rows - 1, 1));
            let links = links.collect::<candle_core::Result<Vec<_>>>()?;
            for j in 0..w {
                let left = j.saturating_sub(reach);
                let columns = j + 1 - left;
                let near = links.iter().map(|link| link.narrow(2, left, columns));
                let near = near.collect::<candle_core::Result<Vec<_>>>()?;
                let x = crop(&values, (i, i + 1), (left, j + 1))?;
                let logits = net.horizontal(&x, &near)?.detach();
                let logits = logits
                    .narrow(2, columns - 1, 1)?
                    .reshape((count, net.config.levels))?;
                let drawn = Categorical::new(&logits)?
                    .sample(&[], rng)?
                    .to_vec1::<u32>()?;
                for (grid, drawn) in values.chunks_exact_mut(h * w).zip(drawn) {
                    grid[i * w + j] = drawn;
                }
            }
        }
        Ok(Tensor::from_vec(values, dims, net.embedding.device())?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.check("PixelDistribution::log_prob", value)?;
        Independent::new(Categorical::new_unchecked(&self.logits(value)?)?, 2)?.log_prob(value)
    }
}

impl Detach for PixelDistribution {
    fn detach(&self) -> Self {
        PixelDistribution {
            net: self.net.detach(),
            spatial: self.spatial.detach(),
            global: self.global.detach(),
            ..self.clone()
        }
    }
}

/// The part of a term that a window of rows or columns needs.
fn window(term: &Option<Tensor>, dim: usize, start: usize, len: usize) -> Result<Option<Tensor>> {
    match term {
        Some(term) if term.dim(dim)? > 1 => Ok(Some(term.narrow(dim, start, len)?)),
        term => Ok(term.clone()),
    }
}
