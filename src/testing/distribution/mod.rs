//! What every distribution must do, checked on an example of it.

mod capabilities;
mod cdf;

use super::gradient::check_gradient;
use crate::distribution::Distribution;
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
}

/// `n` copies of a parameter along a new first dimension.
fn repeat(parameter: &Tensor, n: usize) -> Result<Tensor> {
    let shape = [&[n], parameter.dims()].concat();
    Ok(parameter
        .broadcast_as(shape)?
        .to_device(&Device::Cpu)?
        .contiguous()?)
}
