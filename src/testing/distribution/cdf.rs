//! Distribution functions, quantiles, and the sampler against them.

use super::*;
use crate::distribution::Cdf;

impl<P: Distribution, F: Fn(&[Tensor]) -> Result<P>> Conformance<F> {
    /// The distribution function: it and the survival function sum to 1, its derivative is the density (for continuous
    /// families), the logarithms are theirs, the quantiles invert them, the sampler follows it (Kolmogorov and Smirnov: for
    /// a correct family the largest difference exceeds the bound with probability below 1e-6), and the gradients of its
    /// logarithms.
    ///
    /// Errors: the first that does not hold.
    pub fn cdf(&self) -> Result<()>
    where
        P: Cdf,
    {
        let (d, x) = self.draws()?;
        let x = x.detach();
        self.follows_its_cdf(&d, &x)?;
        let few = x.narrow(0, 0, 16)?;
        let (below, above) = (d.cdf(&few)?, d.survival(&few)?);
        let off = ((&below + &above)? - 1.)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        if !(off <= 1e-9) {
            return Err(fail(
                "cdf",
                "1 together with the survival function",
                1. + off,
            ));
        }
        let logs = [(d.log_cdf(&few)?, &below), (d.log_survival(&few)?, &above)];
        for (log, plain) in &logs {
            let off = (log.exp()? - *plain)?
                .abs()?
                .max_all()?
                .to_scalar::<f64>()?;
            if !(off <= 1e-9) {
                return Err(fail("log_cdf", "the logarithm of the cdf", off));
            }
        }
        let back = d.quantile(&below)?;
        if self.continuous {
            // Where the probability is near 1 its rounding limits the quantile's digits: back through the cdf.
            let off = (d.cdf(&back)? - &below)?
                .abs()?
                .max_all()?
                .to_scalar::<f64>()?;
            if !(off <= 1e-9) {
                return Err(fail("quantile", "the inverse of the cdf", off));
            }
            let back = d.survival_quantile(&above)?;
            let off = (d.survival(&back)? - &above)?
                .abs()?
                .max_all()?
                .to_scalar::<f64>()?;
            if !(off <= 1e-9) {
                return Err(fail(
                    "survival_quantile",
                    "the inverse of the survival",
                    off,
                ));
            }
            let at = Var::from_tensor(&few)?;
            let gradients = d.cdf(&at)?.sum_all()?.backward()?;
            let density = d.log_prob(&few)?.exp()?;
            let Some(slope) = gradients.get(&at) else {
                return Err(fail("cdf", "a gradient for the value", "none"));
            };
            let off = ((slope - &density)? / (&density + 1.)?)?.abs()?;
            let off = off.max_all()?.to_scalar::<f64>()?;
            if !(off <= 1e-7) {
                return Err(fail("cdf", "the density as derivative", off));
            }
        } else {
            // A whisker below its own probability, so that rounding does not step over it.
            let back = d.quantile(&(&below * (1. - 1e-9))?)?;
            let off = (back - &few)?.abs()?.max_all()?.to_scalar::<f64>()?;
            if !(off <= 1e-9) {
                return Err(fail("quantile", "the smallest value with that cdf", off));
            }
        }
        let mut inputs = self.parameters.clone();
        let count = inputs.len();
        if self.continuous {
            inputs.push(few.clone());
        }
        for upper in [false, true] {
            check_gradient(
                &|t| {
                    let d = (self.build)(&t[..count])?;
                    let x = t.get(count).unwrap_or(&few);
                    let log = if upper {
                        d.log_survival(x)
                    } else {
                        d.log_cdf(x)
                    }?;
                    // The logarithm of no probability at all has no differences.
                    let finite = log.detach().gt(f64::NEG_INFINITY)?;
                    Ok(finite.where_cond(&log, &log.zeros_like()?)?)
                },
                &inputs,
                self.tolerance,
            )?;
        }
        Ok(())
    }

    fn follows_its_cdf(&self, d: &P, x: &Tensor) -> Result<()>
    where
        P: Cdf,
    {
        let n = x.dim(0)?;
        let below = d.cdf(x)?.detach().reshape((n, ()))?.t()?.contiguous()?;
        // Of a discrete family also the probability strictly below.
        let strictly = match self.continuous {
            true => below.clone(),
            false => (&below - d.log_prob(x)?.exp()?.detach().reshape((n, ()))?.t()?)?,
        };
        let bound = 2.7 / (n as f64).sqrt();
        let rows = below
            .to_vec2::<f64>()?
            .into_iter()
            .zip(strictly.to_vec2::<f64>()?);
        for (i, (below, strictly)) in rows.enumerate() {
            let mut pairs: Vec<(f64, f64)> = below.into_iter().zip(strictly).collect();
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut first = 0;
            for (j, (below, strictly)) in pairs.iter().enumerate() {
                if *below > pairs[first].0 {
                    first = j;
                }
                // Shares of samples below the value, and up to it where the run of equal values ends.
                let last = pairs.get(j + 1).is_none_or(|next| next.0 > *below);
                let low = first as f64 / n as f64 - strictly;
                let high = if last {
                    (j + 1) as f64 / n as f64 - below
                } else {
                    0.
                };
                if !(low.abs().max(high.abs()) <= bound) {
                    return Err(fail(
                        "sample",
                        format!(
                            "a share of {below:.4} of the samples of element {i} up to a value"
                        ),
                        format!("{:.4}", (j + 1) as f64 / n as f64),
                    ));
                }
            }
        }
        Ok(())
    }
}
