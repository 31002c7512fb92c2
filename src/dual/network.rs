//! Layers of networks on dual numbers.

use super::Dual;
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Order, Settings};
use crate::special;
use candle_core::Tensor;

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

impl Dual {
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
