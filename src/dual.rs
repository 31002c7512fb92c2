//! Forward-mode derivatives: Jacobian-vector products of tensor expressions, which candle's backward can differentiate
//! again.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, Tensor};

mod linearize;
mod network;
mod trace;

pub use linearize::Linearize;
pub use network::DualModule;
pub(crate) use network::images;
pub use trace::{Trace, trace, trace_estimate};

/// A tensor with its derivatives along directions of the variable it is computed from.
///
/// Formula: an expression of a variable x, evaluated on dual numbers, carries `value = f(x)` and `tangent = J(x) v` for each
/// direction v that x was given.
///
/// Shapes: the tangent of a value of shape `S` is `K ++ S`, for directions of shape `K`: none for one direction, `[D]` for D at
/// once. Operations that broadcast do so from the last dims of the values. A constant has no tangent.
///
/// Gradients: value and tangent are ordinary tensors of candle's graph, so one backward pass differentiates directional
/// derivatives, and with them the traces of continuous flows, with no second backward pass.
///
/// Errors: those of the operations on values; a tangent whose last dims are not the value's.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::dual::Dual;
/// # fn main() -> candle_prob::Result<()> {
/// // d/dx x^3 along 1, and its own derivative 6 x.
/// let x = Var::new(&[2f64], &Device::Cpu)?;
/// let d = Dual::new(x.as_tensor(), &x.ones_like()?)?;
/// let cube = d.sqr()?.mul(&d)?;
/// let slope = cube.tangent().cloned().unwrap();
/// assert_eq!(slope.to_vec1::<f64>()?, [12.]);
/// assert_eq!(slope.backward()?.get(&x).unwrap().to_vec1::<f64>()?, [12.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Griewank and Walther (2008), Evaluating Derivatives, chapter 3.
#[derive(Debug, Clone)]
pub struct Dual {
    value: Tensor,
    tangent: Option<Tensor>,
}

impl Dual {
    /// A variable and the directions in which it moves, `K ++ S` for a value of shape `S`.
    pub fn new(value: &Tensor, tangent: &Tensor) -> Result<Self> {
        let op = "Dual::new";
        shape::float(op, "value", value)?;
        shape::same_kind(op, "tangent", tangent, value)?;
        shape::last_dims(op, "tangent", tangent.dims(), value.dims())?;
        Ok(Dual {
            value: value.clone(),
            tangent: Some(tangent.clone()),
        })
    }

    /// A tensor that does not move.
    pub fn constant(value: &Tensor) -> Self {
        Dual {
            value: value.clone(),
            tangent: None,
        }
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The derivatives along the directions; none if the value does not depend on the variable.
    pub fn tangent(&self) -> Option<&Tensor> {
        self.tangent.as_ref()
    }

    /// f(value), with `slope` the elementwise derivative of f there: an operation of one's own.
    ///
    /// Errors: a value or a slope of another shape.
    pub fn chain(&self, value: Tensor, slope: impl FnOnce() -> Result<Tensor>) -> Result<Self> {
        let (op, dims) = ("Dual::chain", self.value.dims());
        shape::exactly(op, "value", value.dims(), dims)?;
        let Some(t) = &self.tangent else {
            return Ok(Dual::constant(&value));
        };
        let slope = slope()?;
        shape::exactly(op, "slope", slope.dims(), dims)?;
        let tangent = Some(t.broadcast_mul(&slope)?);
        Ok(Dual { value, tangent })
    }

    /// An operation that is linear (no constant is added) and works on the last dims, whatever dims come before them:
    /// products with a matrix, sums over dims counted from the end, `narrow`.
    ///
    /// Errors: those of f; an f that does something to the dims of the directions.
    pub fn linear(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let value = f(&self.value)?;
        let Some(t) = &self.tangent else {
            return Ok(Dual::constant(&value));
        };
        let tangent = f(t)?;
        let directions = &t.dims()[..t.rank() - self.value.rank()];
        let expected = [directions, value.dims()].concat();
        if tangent.dims() != expected {
            let expected = format!("a tangent of {expected:?}, directions first");
            return Err(Error::shape("Dual::linear", "f", expected, tangent.dims()));
        }
        let tangent = Some(tangent);
        Ok(Dual { value, tangent })
    }

    /// Two tangents, each in the shape `K ++ S` of the result.
    fn join(&self, other: &Self, value: &Tensor, t: [Option<Tensor>; 2]) -> Result<Option<Tensor>> {
        let full = |tangent: Tensor, of: &Tensor| -> Result<Tensor> {
            // A value that broadcasts: its tangent gets the dims that are missing, after those of the directions.
            let directions = tangent.rank() - of.rank();
            let mut dims = tangent.dims()[..directions].to_vec();
            dims.extend(vec![1; value.rank() - of.rank()]);
            dims.extend(of.dims());
            let full = [&tangent.dims()[..directions], value.dims()].concat();
            Ok(tangent.reshape(dims)?.broadcast_as(full)?)
        };
        Ok(match t {
            [None, None] => None,
            [Some(a), None] => Some(full(a, &self.value)?),
            [None, Some(b)] => Some(full(b, &other.value)?),
            [Some(a), Some(b)] => {
                let (a, b) = (full(a, &self.value)?, full(b, &other.value)?);
                Some(a.broadcast_add(&b)?)
            }
        })
    }

    /// The sum, broadcast.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let value = self.value.broadcast_add(&other.value)?;
        let tangents = [self.tangent.clone(), other.tangent.clone()];
        let tangent = self.join(other, &value, tangents)?;
        Ok(Dual { value, tangent })
    }

    /// The difference, broadcast.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.add(&other.scale(-1.)?)
    }

    /// The elementwise product, broadcast.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        let value = self.value.broadcast_mul(&other.value)?;
        let part = |t: &Option<Tensor>, of: &Self, by: &Tensor| -> Result<Option<Tensor>> {
            let Some(t) = t else { return Ok(None) };
            let t = of.join(of, &value, [Some(t.clone()), None])?;
            Ok(t.map(|t| t.broadcast_mul(by)).transpose()?)
        };
        // In the shape of the result already.
        let a = part(&self.tangent, self, &other.value)?;
        let b = part(&other.tangent, other, &self.value)?;
        let tangent = match (a, b) {
            (Some(a), Some(b)) => Some(a.broadcast_add(&b)?),
            (a, b) => a.or(b),
        };
        Ok(Dual { value, tangent })
    }

    /// The elementwise quotient, broadcast.
    pub fn div(&self, other: &Self) -> Result<Self> {
        self.mul(&other.recip()?)
    }

    /// `factor * x`.
    pub fn scale(&self, factor: f64) -> Result<Self> {
        self.linear(|t| Ok((t * factor)?))
    }

    /// `x + term`.
    pub fn shift(&self, term: f64) -> Result<Self> {
        Ok(Dual {
            value: (&self.value + term)?,
            tangent: self.tangent.clone(),
        })
    }

    /// 1 / x.
    pub fn recip(&self) -> Result<Self> {
        let y = self.value.recip()?;
        self.chain(y.clone(), || Ok(y.sqr()?.neg()?))
    }

    /// x^2.
    pub fn sqr(&self) -> Result<Self> {
        self.chain(self.value.sqr()?, || Ok((&self.value * 2.)?))
    }

    /// The square root.
    pub fn sqrt(&self) -> Result<Self> {
        let y = self.value.sqrt()?;
        self.chain(y.clone(), || Ok((y.recip()? * 0.5)?))
    }

    /// e^x.
    pub fn exp(&self) -> Result<Self> {
        let y = self.value.exp()?;
        self.chain(y.clone(), || Ok(y))
    }

    /// The natural logarithm.
    pub fn log(&self) -> Result<Self> {
        self.chain(self.value.log()?, || Ok(self.value.recip()?))
    }

    /// The sine.
    pub fn sin(&self) -> Result<Self> {
        self.chain(self.value.sin()?, || Ok(self.value.cos()?))
    }

    /// The cosine.
    pub fn cos(&self) -> Result<Self> {
        self.chain(self.value.cos()?, || Ok(self.value.sin()?.neg()?))
    }

    /// The sum over the last dim.
    pub fn sum_last(&self) -> Result<Self> {
        self.linear(|t| Ok(t.sum(D::Minus1)?))
    }

    /// Columns `start..start + len` of the last dim.
    pub fn columns(&self, start: usize, len: usize) -> Result<Self> {
        self.linear(|t| Ok(t.narrow(D::Minus1, start, len)?))
    }

    /// `self`, then `other` along the last dim; both have the same dims before it.
    pub fn beside(&self, other: &Self) -> Result<Self> {
        let value = Tensor::cat(&[&self.value, &other.value], D::Minus1)?;
        let zeros = |directions: &[usize], of: &Self| -> Result<Tensor> {
            let shape = [directions, of.value.dims()].concat();
            Ok(Tensor::zeros(shape, of.value.dtype(), of.value.device())?)
        };
        let directions = |of: &Self, t: &Tensor| t.dims()[..t.rank() - of.value.rank()].to_vec();
        let pair = match (&self.tangent, &other.tangent) {
            (None, None) => None,
            (Some(a), Some(b)) => Some((a.clone(), b.clone())),
            (Some(a), None) => Some((a.clone(), zeros(&directions(self, a), other)?)),
            (None, Some(b)) => Some((zeros(&directions(other, b), self)?, b.clone())),
        };
        let tangent = match pair {
            Some((a, b)) => Some(Tensor::cat(&[&a, &b], D::Minus1)?),
            None => None,
        };
        Ok(Dual { value, tangent })
    }
}
