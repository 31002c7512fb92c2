//! Residual quantization: each codebook has the codes of what those before it have left.

use super::quantizer::{Quantized, VectorQuantizer, VectorQuantizerConfig, commit, through};
use super::vector_quantizer;
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};

/// What [`residual_quantizer`] builds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResidualQuantizerConfig {
    /// Codebooks, one after the other.
    pub levels: usize,
    /// Each of them.
    pub quantizer: VectorQuantizerConfig,
}

impl Default for ResidualQuantizerConfig {
    /// Four levels of the default quantizer.
    fn default() -> Self {
        ResidualQuantizerConfig {
            levels: 4,
            quantizer: VectorQuantizerConfig::default(),
        }
    }
}

/// Several codebooks, one after the other: a vector is the sum of a code of each.
///
/// Formula: `r_0 = z`, `r_{l+1} = r_l - sg(e_l)` with `e_l` the code of level l nearest to `r_l`; `output = sum_l e_l`, with
/// `d output / d z = 1` (straight through). L levels of K codes tell K^L vectors apart.
///
/// Shapes, gradients, state and errors: those of a [`VectorQuantizer`] at each level. The losses are those of
/// [`objective::vq`](crate::objective::vq()) at each level, whose rows are `r_l`, so that commitment draws z to the sum of the
/// codes so far. A pass that is refused writes no level.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::bijector::Axis;
/// use candle_prob::net::{ResidualQuantizerConfig, VectorQuantizerConfig, residual_quantizer};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let (vars, mut rng) = (VarMap::new(), Rng::new(0));
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let quantizer = VectorQuantizerConfig { codes: 16, dims: 4, axis: Axis::Feature, ..Default::default() };
/// let quantizer = residual_quantizer(&ResidualQuantizerConfig { levels: 3, quantizer }, vb)?;
/// let z = rng.normal((500, 4), DType::F32, &Device::Cpu)?;
/// quantizer.initialize(&z, &mut rng)?;
/// let found = quantizer.quantize(&z)?;
/// let indices: Vec<_> = found.levels.iter().map(|level| level.index.clone()).collect();
/// let off = |levels| -> candle_prob::Result<f32> {
///     Ok((quantizer.decode(&indices[..levels])? - &z)?.sqr()?.mean_all()?.to_scalar::<f32>()?)
/// };
/// assert!(off(3)? < 0.5 * off(2)? && off(2)? < 0.5 * off(1)?);
/// # Ok(())
/// # }
/// ```
///
/// Source: Juang and Gray (1982), Multiple stage vector quantization for speech coding; Zeghidour et al. (2021), SoundStream,
/// section III-C; Lee et al. (2022), Autoregressive image generation using residual quantization, section 3.1.
#[derive(Debug, Clone)]
pub struct ResidualQuantizer {
    levels: Vec<VectorQuantizer>,
}

/// What a [`ResidualQuantizer`] makes of a batch.
#[derive(Debug, Clone)]
pub struct ResidualQuantized {
    /// The sum of the codes in the place of each vector, shaped as the batch; its gradient goes to the batch as it is.
    pub output: Tensor,
    /// What each level made of what was left to it, the first and coarsest first.
    pub levels: Vec<Quantized>,
}

/// A [`ResidualQuantizer`] with the variables and buffers of each level under `0`, `1`, ...
///
/// Errors: no levels, those of [`vector_quantizer`].
pub fn residual_quantizer(
    config: &ResidualQuantizerConfig,
    vb: VarBuilder,
) -> Result<ResidualQuantizer> {
    let op = "net::residual_quantizer";
    check::at_least_one(op, &[("levels", config.levels)])?;
    let level = |l: usize| vector_quantizer(&config.quantizer, vb.pp(l)).map_err(|e| e.of(op));
    Ok(ResidualQuantizer {
        levels: (0..config.levels).map(level).collect::<Result<_>>()?,
    })
}

impl ResidualQuantizer {
    /// The quantizers, the first and coarsest first.
    pub fn levels(&self) -> &[VectorQuantizer] {
        &self.levels
    }

    /// The codes of each vector, without writing.
    pub fn quantize(&self, z: &Tensor) -> Result<ResidualQuantized> {
        self.quantize_t(z, false)
    }

    /// The codes of each vector, by the codebooks before this call; in training the state of all levels then moves.
    pub fn quantize_t(&self, z: &Tensor, train: bool) -> Result<ResidualQuantized> {
        let op = "ResidualQuantizer::quantize";
        let first = &self.levels[0];
        let rows = first.rows(op, z)?;
        let (mut left, mut sum) = (rows.clone(), rows.zeros_like()?);
        let (mut levels, mut writes) = (vec![], vec![]);
        for level in &self.levels {
            let found = level.find(op, &left)?;
            let codes = found.codes.detach();
            (left, sum) = ((left - &codes)?, (sum + &codes)?);
            if train {
                writes.extend(level.moved(op, &found)?);
            }
            levels.push(found);
        }
        commit(op, &writes)?;
        Ok(ResidualQuantized {
            output: first.placed(&through(&rows, &sum)?)?,
            levels,
        })
    }

    /// The sums of codes, given the indices of each level; of the first levels alone they are coarser.
    ///
    /// Errors: no level or more than there are, indices of different shapes, those of [`VectorQuantizer::decode`].
    pub fn decode(&self, indices: &[Tensor]) -> Result<Tensor> {
        let op = "ResidualQuantizer::decode";
        check::count_in(
            op,
            "indices",
            indices.len(),
            1..=self.levels.len(),
            "levels",
        )?;
        let mut sum: Option<Tensor> = None;
        for (level, index) in self.levels.iter().zip(indices) {
            crate::shape::exactly(op, "indices", index.dims(), indices[0].dims())?;
            let codes = level.decode(index).map_err(|e| e.of(op))?;
            sum = Some(match sum {
                None => codes,
                Some(sum) => (sum + codes)?,
            });
        }
        sum.ok_or_else(|| Error::value(op, "indices", "a level", "none"))
    }

    /// [`VectorQuantizer::initialize`] for each level, from what the levels before it leave of these data. Whether one was
    /// initialized.
    pub fn initialize(&self, data: &Tensor, rng: &mut Rng) -> Result<bool> {
        let mut any = false;
        self.each("ResidualQuantizer::initialize", data, |level, left| {
            any |= level.initialize(left, rng)?;
            Ok(())
        })?;
        Ok(any)
    }

    /// [`VectorQuantizer::revive`] for each level, with what the levels before it leave of this batch: how many codes.
    pub fn revive(&self, z: &Tensor, threshold: f64, rng: &mut Rng) -> Result<usize> {
        let mut count = 0;
        self.each("ResidualQuantizer::revive", z, |level, left| {
            count += level.revive(left, threshold, rng)?;
            Ok(())
        })?;
        Ok(count)
    }

    /// Calls `f` with each level and what those before it leave, as they are after the call for them.
    fn each(
        &self,
        op: &'static str,
        z: &Tensor,
        mut f: impl FnMut(&VectorQuantizer, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut left = z.detach();
        for level in &self.levels {
            let found = f(level, &left).and_then(|()| level.quantize(&left));
            left = (&left - found.map_err(|e| e.of(op))?.output)?;
        }
        Ok(())
    }
}

impl ModuleT for ResidualQuantizer {
    /// The output of [`quantize_t`](ResidualQuantizer::quantize_t).
    fn forward_t(&self, z: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.quantize_t(z, train)?.output)
    }
}

impl Detach for ResidualQuantizer {
    fn detach(&self) -> Self {
        ResidualQuantizer {
            levels: self.levels.detach(),
        }
    }
}
