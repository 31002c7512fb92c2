//! Forward-mode derivatives: Jacobian-vector products of tensor expressions, which candle's backward can differentiate
//! again.

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Order, Settings};
use crate::shape;
use crate::special;
use candle_core::{D, DType, Tensor};

mod linearize;

pub use linearize::Linearize;

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

    /// An activation.
    pub fn activation(&self, activation: Activation) -> Result<Self> {
        if activation == Activation::Identity {
            return Ok(self.clone());
        }
        let (x, y) = (&self.value, activation.forward(&self.value)?);
        let positive = |elsewhere: f64| -> Result<Tensor> {
            let steps = x.gt(0f64)?.to_dtype(x.dtype())?;
            Ok(((steps * (1. - elsewhere))? + elsewhere)?)
        };
        let slope = || {
            Ok(match activation {
                Activation::Identity => x.ones_like()?,
                Activation::Relu => positive(0.)?,
                Activation::LeakyRelu(slope) => positive(slope)?,
                // e^x below zero, 1 above.
                Activation::Elu => x.minimum(0f64)?.exp()?,
                Activation::Tanh => (1. - y.sqr()?)?,
                Activation::Sigmoid => (&y * (1. - &y)?)?,
                Activation::Softplus => Activation::Sigmoid.forward(x)?,
                Activation::Silu => {
                    let s = Activation::Sigmoid.forward(x)?;
                    (&s + &y * (1. - &s)?)?
                }
                Activation::Gelu => {
                    let density = (x.sqr()? * -0.5)?.exp()?;
                    let density = (density * (1. / std::f64::consts::TAU.sqrt()))?;
                    (special::log_ndtr(x)?.exp()? + x * density)?
                }
            })
        };
        self.chain(y.clone(), slope)
    }

    /// `f(A x + b)`: `layer(x, f)` is it on values, `linear` is A, on tensors with any dims before those of the value.
    pub(crate) fn layer(
        &self,
        activation: Activation,
        layer: impl Fn(&Tensor, Activation) -> Result<Tensor>,
        linear: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let inside = match activation.slope_from_output() {
            true => activation,
            false => Activation::Identity,
        };
        let value = layer(&self.value, inside)?;
        let Some(t) = &self.tangent else {
            return Dual::constant(&value).activation_after(inside, activation);
        };
        let mut tangent = linear(t)?;
        if let Some(slope) = slope_from_output(inside, &value)? {
            tangent = tangent.broadcast_mul(&slope)?;
        }
        let tangent = Some(tangent);
        Dual { value, tangent }.activation_after(inside, activation)
    }

    /// An activation that is not applied yet.
    fn activation_after(&self, applied: Activation, activation: Activation) -> Result<Self> {
        match applied == activation {
            true => Ok(self.clone()),
            false => self.activation(activation),
        }
    }

    /// `x W^T + b` for `W` of shape `[out, in]` and `b` of shape `[out]`, constants of the directions: a dense layer without
    /// its activation.
    ///
    /// Errors: shapes that do not fit each other.
    pub fn dense(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let op = "Dual::dense";
        let product = self.linear(|t| {
            let dims = t.dims();
            let Some((width, batch)) = dims.split_last() else {
                return Err(Error::shape(op, "x", "[.., in]", dims));
            };
            if weight.rank() != 2 || weight.dims()[1] != *width {
                let expected = format!("[out, {width}]");
                return Err(Error::shape(op, "weight", expected, weight.dims()));
            }
            let rows = t.reshape(((), *width))?.matmul(&weight.t()?)?;
            Ok(rows.reshape([batch, &weight.dims()[..1]].concat())?)
        })?;
        match bias {
            Some(bias) => product.add(&Dual::constant(bias)),
            None => Ok(product),
        }
    }

    /// A convolution of images [.., C, H, W] with `kernel` [out, C, h, w], constant of the directions.
    ///
    /// Errors: a stride of 0; a kernel of other channels, or larger than an image with its padding.
    pub fn conv2d(&self, kernel: &Tensor, padding: usize, stride: usize) -> Result<Self> {
        let op = "Dual::conv2d";
        check::at_least_one(op, &[("stride", stride)])?;
        self.convolved(op, kernel, Kind::Convolution, padding, stride)
    }

    /// The transpose of a convolution, of images [.., C, H, W] with `kernel` [C, out, h, w], constant of the directions. The
    /// result has `(H - 1) stride - 2 padding + h + output_padding` rows, and so columns.
    ///
    /// Errors: a stride of 0; an output padding that is not less; a kernel of other channels, a result without rows or columns.
    pub fn conv_transpose2d(
        &self,
        kernel: &Tensor,
        padding: usize,
        output_padding: usize,
        stride: usize,
    ) -> Result<Self> {
        let op = "Dual::conv_transpose2d";
        check::at_least_one(op, &[("stride", stride)])?;
        let output_padding = (output_padding, output_padding);
        conv2d::check_output_padding(op, output_padding, (stride, stride))?;
        let kind = Kind::Transposed { output_padding };
        self.convolved(op, kernel, kind, padding, stride)
    }

    fn convolved(
        &self,
        op: &'static str,
        kernel: &Tensor,
        kind: Kind,
        padding: usize,
        stride: usize,
    ) -> Result<Self> {
        let settings = Settings {
            kind,
            stride: (stride, stride),
            padding: (padding, padding),
            activation: Activation::Identity,
            input: Order::ChannelsFirst,
            output: Order::ChannelsFirst,
        };
        self.linear(|t| {
            let dims = t.dims();
            if dims.len() < 3 {
                return Err(Error::shape(op, "x", "[.., C, H, W]", dims));
            }
            let image = &dims[dims.len() - 3..];
            let fits = match (kind, kernel.dims()) {
                (Kind::Convolution, [_, c, h, w]) => {
                    let most =
                        [image[1], image[2]].map(|n| n.saturating_add(padding.saturating_mul(2)));
                    *c == image[0] && *h > 0 && *w > 0 && *h <= most[0] && *w <= most[1]
                }
                (Kind::Transposed { .. }, [c, ..]) => kernel.rank() == 4 && *c == image[0],
                _ => false,
            };
            if !fits {
                let expected = match kind {
                    Kind::Convolution => {
                        format!("[out, {}, h, w] within images {image:?}", image[0])
                    }
                    Kind::Transposed { .. } => format!("[{}, out, h, w]", image[0]),
                };
                return Err(Error::shape(op, "kernel", expected, kernel.dims()));
            }
            images(t, |x| conv2d::conv2d(x, kernel, None, settings))
        })
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

/// What can be evaluated on dual numbers: networks whose derivatives along directions of their argument are wanted.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::dual::{Dual, DualModule};
/// use candle_prob::{Activation, init, net};
/// # fn main() -> candle_prob::Result<()> {
/// let vb = init::seeded(&VarMap::new(), 1, DType::F64, &Device::Cpu);
/// let network = net::mlp(&[2, 8, 1], Activation::Tanh, vb)?;
/// let (x, v) = (Tensor::new(&[[0.1, 0.2]], &Device::Cpu)?, Tensor::new(&[[1e-6, 0.]], &Device::Cpu)?);
/// let y = network.forward_dual(&Dual::new(&x, &v)?)?;
/// let moved = (network.forward(&(x + v)?)? - y.value())?;
/// let error = (moved - y.tangent().unwrap())?.abs()?.max_all()?.to_scalar::<f64>()?;
/// assert!(error < 1e-11);
/// # Ok(())
/// # }
/// ```
pub trait DualModule {
    /// What `forward` gives, and its derivatives. Both have gradients to the parameters. Layers with state read it and write
    /// nothing.
    ///
    /// Errors: those of `forward`.
    fn forward_dual(&self, x: &Dual) -> Result<Dual>;
}

/// The slope of an activation where it follows from the outputs `y`; none where it is 1.
fn slope_from_output(activation: Activation, y: &Tensor) -> Result<Option<Tensor>> {
    let steps = |elsewhere: Tensor| -> Result<Tensor> {
        Ok(y.gt(0f64)?.where_cond(&y.ones_like()?, &elsewhere)?)
    };
    Ok(Some(match activation {
        Activation::Relu => y.gt(0f64)?.to_dtype(y.dtype())?,
        Activation::LeakyRelu(slope) => steps((y.ones_like()? * slope)?)?,
        Activation::Elu => steps((y + 1.)?)?,
        Activation::Tanh => (1. - y.sqr()?)?,
        Activation::Sigmoid => (y * (1. - y)?)?,
        Activation::Softplus => special::expm1(&y.neg()?)?.neg()?,
        Activation::Identity | Activation::Silu | Activation::Gelu => return Ok(None),
    }))
}

/// A function of images [N, C, H, W] on those of any dims before [C, H, W].
pub(crate) fn images(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (batch, image) = x.dims().split_at(x.rank().saturating_sub(3));
    let out = f(&x.reshape([&[batch.iter().product()], image].concat())?)?;
    Ok(out.reshape([batch, &out.dims()[1..]].concat())?)
}

/// A function's value with numbers about its Jacobian over the last dim.
#[derive(Debug, Clone)]
pub struct Trace {
    /// f(x), [.., D].
    pub value: Tensor,
    /// The trace of the Jacobian, [..].
    pub trace: Tensor,
    /// The squared Frobenius norm of the Jacobian, [..].
    pub frobenius: Tensor,
}

/// The exact trace of the Jacobian of f over the last dim: x is [.., D], and so is f(x).
///
/// It costs D tangents. Errors: an f that changes the shape.
pub fn trace(f: impl Fn(&Dual) -> Result<Dual>, x: &Tensor) -> Result<Trace> {
    let op = "dual::trace";
    shape::float(op, "x", x)?;
    let Some((width, batch)) = x.dims().split_last() else {
        return Err(Error::shape(op, "x", "[.., D]", x.dims()));
    };
    let mut dims = vec![*width];
    dims.extend(batch.iter().map(|_| 1));
    dims.push(*width);
    let one = Tensor::eye(*width, DType::F32, x.device())?.to_dtype(x.dtype())?;
    let one = one
        .reshape(dims)?
        .broadcast_as([&[*width], x.dims()].concat())?
        .contiguous()?;
    let y = f(&Dual::new(x, &one)?)?;
    let products = products(op, &y, x, &one)?;
    let sum = |t: Tensor| -> Result<Tensor> { Ok(t.sum(D::Minus1)?.sum(0)?) };
    Ok(Trace {
        value: y.value,
        trace: sum((&products * one)?)?,
        frobenius: sum(products.sqr()?)?,
    })
}

/// As [`trace`], estimated as `v^T J v` (Hutchinson 1990) and `|J v|^2` for `noise` v of the shape of x, with mean zero and
/// unit covariance: unbiased, for the cost of one tangent.
///
/// Errors: an f that changes the shape, noise of another shape.
pub fn trace_estimate(
    f: impl Fn(&Dual) -> Result<Dual>,
    x: &Tensor,
    noise: &Tensor,
) -> Result<Trace> {
    let op = "dual::trace_estimate";
    if x.rank() == 0 {
        return Err(Error::shape(op, "x", "[.., D]", x.dims()));
    }
    shape::exactly(op, "noise", noise.dims(), x.dims())?;
    let y = f(&Dual::new(x, noise)?)?;
    let product = products(op, &y, x, noise)?;
    Ok(Trace {
        value: y.value,
        trace: (&product * noise)?.sum(D::Minus1)?,
        frobenius: product.sqr()?.sum(D::Minus1)?,
    })
}

/// The tangents of a function that keeps the shape.
fn products(op: &'static str, y: &Dual, x: &Tensor, directions: &Tensor) -> Result<Tensor> {
    if y.value.dims() != x.dims() {
        let expected = format!("a function to {:?}", x.dims());
        return Err(Error::shape(op, "f", expected, y.value.dims()));
    }
    match y.tangent() {
        Some(tangent) => Ok(tangent.clone()),
        None => Ok(directions.zeros_like()?),
    }
}
