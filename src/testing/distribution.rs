//! What every distribution must do, checked on an example of it.

use super::gradient::check_gradient;
use crate::distribution::{Cdf, Distribution, Entropy, Kl, Mode, Moments, Reparameterized};
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::softmax;

/// The conformance harness for a distribution.
///
/// What it is: a family is given as a function from f64 parameter tensors to a distribution, with example parameters.
/// Statistical checks draw `samples` values with a fixed seed and allow 5 standard errors in each compared number, so a
/// correct distribution fails a comparison with probability below 6e-7; the seed is fixed, so a pass stays a pass.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{distribution::Normal, testing::Conformance};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[0.5f64, -1.], &Device::Cpu)?;
/// let scale = Tensor::new(&[1f64, 0.3], &Device::Cpu)?;
/// let normal = Conformance::new(|p: &[Tensor]| Normal::new(&p[0], &p[1]), vec![loc, scale]);
/// normal.distribution()?;
/// normal.moments()?;
/// normal.entropy()?;
/// normal.reparameterized()?;
/// # Ok(())
/// # }
/// ```
pub struct Conformance<F> {
    build: F,
    parameters: Vec<Tensor>,
    /// Draws for the statistical checks.
    pub samples: usize,
    /// The seed of all draws.
    pub seed: u64,
    /// Allowed relative deviation of gradients from central differences.
    pub tolerance: f64,
    /// Whether `log_prob` is differentiated with respect to the value too; set to false for discrete families.
    pub continuous: bool,
    /// Whether values lie on the simplex, in the last event dimension: they are then differentiated along it, in
    /// coordinates `u` with `x = softmax(u)`.
    pub simplex: bool,
    /// Whether the parameters leave the support where it is; set to false for families as the uniform distribution. The
    /// score has no mean of zero there, and samples are differentiated against central differences of themselves.
    pub fixed_support: bool,
}

const OP: &str = "Conformance";

fn fail(arg: &'static str, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::value(OP, arg, expected, found)
}

/// Mean and standard error over the first dimension, for every other element.
fn mean_and_error(x: &Tensor) -> Result<Vec<(f64, f64)>> {
    let n = x.dim(0)?;
    let rows = x.reshape((n, ()))?;
    let mean = rows.mean(0)?;
    let variance = rows.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    let (mean, variance) = (mean.to_vec1::<f64>()?, variance.to_vec1::<f64>()?);
    Ok(mean
        .into_iter()
        .zip(variance)
        .map(|(m, v)| (m, (v / n as f64).sqrt()))
        .collect())
}

fn agree(arg: &'static str, what: &str, got: &Tensor, want: &[(f64, f64)]) -> Result<()> {
    let got = got.flatten_all()?.to_vec1::<f64>()?;
    if got.len() != want.len() {
        return Err(fail(
            arg,
            format!("{} numbers of {what}", want.len()),
            got.len(),
        ));
    }
    for (i, (got, (want, error))) in got.iter().zip(want).enumerate() {
        // Rounding of the closed form itself is allowed for where the estimate has no spread.
        let close = (got - want).abs() <= 5. * error + 1e-9 * want.abs().max(1.);
        if !close {
            return Err(fail(
                arg,
                format!("{what} of element {i} near {want:.6} +- {error:.6} (samples)"),
                format!("{got:.6}"),
            ));
        }
    }
    Ok(())
}

impl<P: Distribution, F: Fn(&[Tensor]) -> Result<P>> Conformance<F> {
    /// A family and example parameters (f64).
    pub fn new(build: F, parameters: Vec<Tensor>) -> Self {
        Conformance {
            build,
            parameters,
            samples: 100_000,
            seed: 0,
            tolerance: 1e-5,
            continuous: true,
            simplex: false,
            fixed_support: true,
        }
    }

    fn example(&self) -> Result<P> {
        (self.build)(&self.parameters)
    }

    fn draws(&self) -> Result<(P, Tensor)> {
        let d = self.example()?;
        let x = d.sample(&[self.samples], &mut Rng::new(self.seed))?;
        Ok((d, x))
    }

    /// What the trait [`Distribution`] promises: the shape law for samples and log-probabilities, also for empty sample
    /// shapes and empty batches; the same draws for the same seed; finite log-probability of own samples; NaN in, NaN out;
    /// errors for values of another event shape or dtype; gradients of `log_prob` with respect to parameters and value; and
    /// that density and sampler belong together (the score has mean zero under the sampler).
    ///
    /// Errors: the first promise that is not kept.
    pub fn distribution(&self) -> Result<()> {
        let d = self.example()?;
        let (batch, event) = (d.batch_shape().to_vec(), d.event_shape().to_vec());
        for sample in [&[][..], &[3], &[2, 1], &[0]] {
            let x = d.sample(sample, &mut Rng::new(self.seed))?;
            let want = [sample, &batch, &event].concat();
            if x.dims() != want {
                return Err(fail(
                    "sample",
                    format!("shape {want:?}"),
                    format!("{:?}", x.dims()),
                ));
            }
            let log_prob = d.log_prob(&x)?;
            let want = [sample, &batch].concat();
            if log_prob.dims() != want {
                return Err(fail(
                    "log_prob",
                    format!("shape {want:?}"),
                    format!("{:?}", log_prob.dims()),
                ));
            }
            let again = d.sample(sample, &mut Rng::new(self.seed))?;
            let bits = |t: &Tensor| -> Result<Vec<u64>> {
                let t = t.to_dtype(DType::F64)?.flatten_all()?;
                Ok(t.to_vec1::<f64>()?.into_iter().map(f64::to_bits).collect())
            };
            if bits(&x)? != bits(&again)? {
                return Err(fail(
                    "sample",
                    "the same draws for the same seed",
                    "other draws",
                ));
            }
        }
        self.empty_batch(&batch, &event)?;
        self.values(&d, &batch, &event)?;
        if self.fixed_support {
            self.score()?;
        }
        self.gradients()
    }

    fn values(&self, d: &P, batch: &[usize], event: &[usize]) -> Result<()> {
        let x = d.sample(&[64], &mut Rng::new(self.seed))?;
        let log_prob = d.log_prob(&x)?.flatten_all()?.to_vec1::<f64>()?;
        if let Some(bad) = log_prob.iter().find(|p| !p.is_finite()) {
            return Err(fail("log_prob", "a finite value at every own sample", bad));
        }
        let shape = [batch, event].concat();
        if x.dtype().is_float() {
            let nan = Tensor::full(f64::NAN, shape.as_slice(), x.device())?;
            let out = d.log_prob(&nan)?.flatten_all()?.to_vec1::<f64>()?;
            if let Some(bad) = out.iter().find(|p| !p.is_nan()) {
                return Err(fail("log_prob", "NaN at NaN", bad));
            }
        }
        // One more element in the last event dim, and one element where the event has several: neither may broadcast.
        if let Some((last, rest)) = event.split_last() {
            for wrong in [last + 1, 1] {
                let shape = [batch, rest, &[wrong]].concat();
                let value = Tensor::zeros(shape.as_slice(), x.dtype(), x.device())?;
                if wrong != *last && d.log_prob(&value).is_ok() {
                    return Err(fail(
                        "log_prob",
                        format!("an error at shape {shape:?}"),
                        "a value",
                    ));
                }
            }
        }
        let other = if x.dtype() == DType::F64 {
            DType::F32
        } else {
            DType::F64
        };
        let value = Tensor::zeros(shape.as_slice(), other, x.device())?;
        if d.log_prob(&value).is_ok() {
            return Err(fail(
                "log_prob",
                format!("an error for dtype {other:?}"),
                "a value",
            ));
        }
        Ok(())
    }

    /// Copies of the parameters, none of them, make a batch without elements.
    fn empty_batch(&self, batch: &[usize], event: &[usize]) -> Result<()> {
        let copies = |p| repeat(p, 0);
        let none: Result<Vec<Tensor>> = self.parameters.iter().map(copies).collect();
        let d = (self.build)(&none?)?;
        let x = d.sample(&[2], &mut Rng::new(self.seed))?;
        let log_prob = d.log_prob(&x)?;
        for (arg, got, want) in [
            ("sample", x, [&[2, 0], batch, event].concat()),
            ("log_prob", log_prob, [&[2, 0], batch].concat()),
        ] {
            if got.dims() != want {
                let expected = format!("shape {want:?} of an empty batch");
                return Err(fail(arg, expected, format!("{:?}", got.dims())));
            }
        }
        Ok(())
    }

    /// E[d ln p(x) / d parameter] = 0 when x is drawn from p: a density that is not normalised, or does not belong to the
    /// sampler, shifts it.
    fn score(&self) -> Result<()> {
        let (_, x) = self.draws()?;
        let x = x.detach();
        for (i, parameter) in self.parameters.iter().enumerate() {
            // Copies along the sample dimension, so that one backward pass gives each sample's own score.
            let copies = Var::from_tensor(&repeat(parameter, self.samples)?)?;
            let mut parameters = self.repeated()?;
            parameters[i] = copies.as_tensor().clone();
            let d = (self.build)(&parameters)?;
            let loss = d.log_prob(&x)?.sum_all()?;
            let gradients = loss.backward()?;
            let Some(score) = gradients.get(&copies) else {
                return Err(fail(
                    "log_prob",
                    format!("a gradient for parameter {i}"),
                    "none",
                ));
            };
            let zeros = parameter.zeros_like()?;
            agree(
                "log_prob",
                &format!("the mean score of parameter {i}"),
                &zeros,
                &mean_and_error(score)?,
            )?;
        }
        Ok(())
    }

    fn repeated(&self) -> Result<Vec<Tensor>> {
        self.parameters
            .iter()
            .map(|p| repeat(p, self.samples))
            .collect()
    }

    fn gradients(&self) -> Result<()> {
        let x = self
            .example()?
            .sample(&[3], &mut Rng::new(self.seed))?
            .detach();
        let mut inputs = self.parameters.clone();
        let count = inputs.len();
        if self.continuous {
            inputs.push(if self.simplex { x.log()? } else { x.clone() });
        }
        check_gradient(
            &|t| {
                let d = (self.build)(&t[..count])?;
                match t.get(count) {
                    Some(u) if self.simplex => d.log_prob(&softmax(u, D::Minus1)?),
                    Some(x) => d.log_prob(x),
                    None => d.log_prob(&x),
                }
            },
            &inputs,
            self.tolerance,
        )
    }

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

/// `n` copies of a parameter along a new first dimension.
fn repeat(parameter: &Tensor, n: usize) -> Result<Tensor> {
    let shape = [&[n], parameter.dims()].concat();
    Ok(parameter
        .broadcast_as(shape)?
        .to_device(&Device::Cpu)?
        .contiguous()?)
}
