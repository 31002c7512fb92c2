//! What a vector quantizer finds.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};

/// What a [`VectorQuantizer`](super::VectorQuantizer) makes of a batch.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The code in the place of each vector, shaped as the batch; its gradient goes to the batch as it is.
    pub output: Tensor,
    /// The number of each code, u32.
    pub index: Tensor,
    /// The vectors of the batch, `index ++ [d]`.
    pub rows: Tensor,
    /// Their codes, `index ++ [d]`, with a gradient to the codebook if that is a variable and none to the batch.
    pub codes: Tensor,
    /// How many codes the codebook has.
    pub(super) count: usize,
}

impl Quantized {
    /// How many rows have chosen each code, `[K]`, f64 on the CPU: they add up over batches.
    pub fn usage(&self) -> Result<Tensor> {
        let mut usage = vec![0.; self.count];
        for index in self.index.flatten_all()?.to_vec1::<u32>()? {
            if let Some(n) = usage.get_mut(index as usize) {
                *n += 1.;
            }
        }
        Ok(Tensor::new(usage, &Device::Cpu)?)
    }

    /// The perplexity of the code usage, `exp(-sum_k p_k ln p_k)` with p the share of rows that chose code k: as many codes
    /// as that, used equally often, would carry as much. K where all are used equally often, 1 where one is.
    ///
    /// Errors: a batch without a row.
    pub fn perplexity(&self) -> Result<f64> {
        let rows = self.index.elem_count();
        if rows == 0 {
            let (op, expected) = ("Quantized::perplexity", "at least one row");
            return Err(Error::shape(op, "index", expected, self.index.dims()));
        }
        let usage = self.usage()?.to_vec1::<f64>()?;
        let shares = usage.iter().filter(|n| **n > 0.).map(|n| n / rows as f64);
        Ok(shares.map(|p| -p * p.ln()).sum::<f64>().exp())
    }
}

/// The codes, with the gradient of the rows.
pub(in crate::net) fn through(rows: &Tensor, codes: &Tensor) -> Result<Tensor> {
    // What is added is 0.
    Ok((codes.detach() + (rows - rows.detach())?)?)
}
