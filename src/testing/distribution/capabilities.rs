//! Moments, entropies, modes, divergences and pathwise gradients.

use super::*;
use crate::distribution::{Entropy, Kl, Mode, Moments, Reparameterized};

impl<P: Distribution, F: Fn(&[Tensor]) -> Result<P>> Conformance<F> {
    /// Mean and variance against samples, and their shapes.
    ///
    /// Errors: a moment further than 5 standard errors from the samples'.
    pub fn moments(&self) -> Result<()>
    where
        P: Moments,
    {
        let (d, x) = self.draws()?;
        let (x, mean) = (x.detach(), d.mean()?.detach());
        agree("mean", "the mean", &mean, &mean_and_error(&x)?)?;
        let squares = x.broadcast_sub(&mean)?.sqr()?;
        agree(
            "variance",
            "the variance",
            &d.variance()?,
            &mean_and_error(&squares)?,
        )
    }

    /// Entropy against the mean of `-log_prob`.
    ///
    /// Errors: an entropy further than 5 standard errors from the samples'.
    pub fn entropy(&self) -> Result<()>
    where
        P: Entropy,
    {
        let (d, x) = self.draws()?;
        let information = d.log_prob(&x)?.neg()?.detach();
        agree(
            "entropy",
            "the entropy",
            &d.entropy()?,
            &mean_and_error(&information)?,
        )?;
        check_gradient(
            &|t| (self.build)(t)?.entropy(),
            &self.parameters,
            self.tolerance,
        )
    }

    /// No sample is more likely than the mode.
    ///
    /// Errors: a sample that is.
    pub fn mode(&self) -> Result<()>
    where
        P: Mode,
    {
        let (d, x) = self.draws()?;
        let best = d.log_prob(&d.mode()?)?.detach();
        let lead = d.log_prob(&x)?.broadcast_sub(&best)?.max(0)?;
        let lead = lead.flatten_all()?.to_vec1::<f64>()?;
        match lead.iter().find(|lead| !(**lead <= 1e-9)) {
            Some(lead) => Err(fail("mode", "no sample of higher density", lead)),
            None => Ok(()),
        }
    }

    /// KL divergence to another distribution against the mean of the log-ratio; zero to itself; its gradients.
    ///
    /// Errors: a divergence further than 5 standard errors from the samples', or not zero to itself.
    pub fn kl<Q: Distribution>(&self, other: &Q) -> Result<()>
    where
        P: Kl<Q> + Kl<P>,
    {
        let (d, x) = self.draws()?;
        let ratio = d
            .log_prob(&x)?
            .broadcast_sub(&other.log_prob(&x)?)?
            .detach();
        agree(
            "kl",
            "the divergence",
            &d.kl(other)?,
            &mean_and_error(&ratio)?,
        )?;
        let own = d.kl(&d)?.flatten_all()?.to_vec1::<f64>()?;
        if let Some(bad) = own.iter().find(|kl| kl.is_nan() || kl.abs() > 1e-9) {
            return Err(fail("kl", "0 from a distribution to itself", bad));
        }
        check_gradient(
            &|t| (self.build)(t)?.kl(other),
            &self.parameters,
            self.tolerance,
        )
    }

    /// Pathwise gradients: for every parameter, the derivative of E[sin(x)] through the sampler agrees with the score
    /// function's estimate of the same derivative. Where the support moves: the derivative of the samples of one seed.
    ///
    /// Errors: a parameter without a gradient, or estimates further than 5 joint standard errors apart.
    pub fn reparameterized(&self) -> Result<()>
    where
        P: Reparameterized,
    {
        if !self.fixed_support {
            return check_gradient(
                &|t| (self.build)(t)?.sample(&[16], &mut Rng::new(self.seed)),
                &self.parameters,
                self.tolerance,
            );
        }
        for (i, parameter) in self.parameters.iter().enumerate() {
            let copies = Var::from_tensor(&repeat(parameter, self.samples)?)?;
            let mut parameters = self.repeated()?;
            parameters[i] = copies.as_tensor().clone();
            let d = (self.build)(&parameters)?;
            let x = d.sample(&[], &mut Rng::new(self.seed))?;
            let pathwise = x.sin()?.sum_all()?.backward()?;
            let Some(pathwise) = pathwise.get(&copies) else {
                return Err(fail(
                    "sample",
                    format!("a gradient for parameter {i}"),
                    "none",
                ));
            };
            // One score for each batch element, weighted with that element's own test function.
            let x = x.detach();
            let rank = d.batch_shape().len();
            let mut test = x.sin()?;
            while test.rank() > rank {
                test = test.sum(rank)?;
            }
            // Centred, which leaves the expectation and takes most of the spread.
            let test = test.broadcast_sub(&test.mean_keepdim(0)?)?;
            let score = (d.log_prob(&x)? * test)?.sum_all()?.backward()?;
            let Some(score) = score.get(&copies) else {
                return Err(fail(
                    "log_prob",
                    format!("a gradient for parameter {i}"),
                    "none",
                ));
            };
            let pathwise = mean_and_error(pathwise)?;
            let score = mean_and_error(score)?;
            for (j, ((a, ea), (b, eb))) in pathwise.iter().zip(&score).enumerate() {
                let error = ea.hypot(*eb);
                let close = (a - b).abs() <= 5. * error + 1e-12;
                if !close {
                    return Err(fail(
                        "sample",
                        format!(
                            "d E[sin x] / d parameter {i}[{j}] near {b:.6} +- {error:.6} (score function)"
                        ),
                        format!("{a:.6} (pathwise)"),
                    ));
                }
            }
        }
        Ok(())
    }
}
