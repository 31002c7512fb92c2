//! What a spectral norm can be taken of.

use super::map::Map;
use crate::detach::Detach;
use crate::dual::DualModule;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{Kind, Order, Settings, before};
use crate::net::conv::after;
use crate::net::{Conv2d, ConvTranspose2d, Dense};
use crate::shape;
use candle_core::{Module, Tensor};

/// What a layer has that a spectral norm can be taken of. It is not implemented elsewhere: the trait's name is private.
pub trait Parts: Module + DualModule + Detach + Clone {
    fn kernel(&self) -> &Tensor;
    fn with_kernel(&self, weight: Tensor) -> Result<Self>;
    /// What the layer is without bias and activation.
    fn map(&self, op: &'static str, weight: Tensor, image: Option<(usize, usize)>) -> Result<Map>;
    /// How much larger than the norm of its matrix, squared, the map's can be.
    fn overlap(&self) -> usize;
    fn slope(&self) -> f64;
}

impl Parts for Dense {
    fn kernel(&self) -> &Tensor {
        self.weight()
    }

    fn with_kernel(&self, weight: Tensor) -> Result<Self> {
        Dense::new(weight, self.bias().cloned(), self.activation())
    }

    fn map(&self, op: &'static str, weight: Tensor, image: Option<(usize, usize)>) -> Result<Map> {
        match image {
            None => {
                let sizes = [1, self.outputs(), self.inputs()];
                Map::matrix(weight, sizes)
            }
            Some(image) => {
                let expected = "none for a dense layer, whose matrix is its map";
                Err(Error::value(op, "image", expected, format!("{image:?}")))
            }
        }
    }

    fn overlap(&self) -> usize {
        1
    }

    fn slope(&self) -> f64 {
        self.activation().lipschitz()
    }
}

impl Parts for Conv2d {
    fn kernel(&self) -> &Tensor {
        self.weight()
    }

    fn with_kernel(&self, weight: Tensor) -> Result<Self> {
        Conv2d::new(weight, self.bias().cloned(), self.config())
    }

    fn map(&self, op: &'static str, weight: Tensor, image: Option<(usize, usize)>) -> Result<Map> {
        let Some((h, w)) = image else {
            let [o, c, kh, kw] = shape::dims(op, "weight", weight.dims(), "[O, C, kh, kw]")?;
            return Map::matrix(weight, [1, o, c * kh * kw]);
        };
        let dims = side(op, (h, w), [weight.dim(1)?, h, w])?;
        let config = self.config();
        let ((kh, kw), (sh, sw), (p, q)) = (config.kernel, config.stride, config.padding);
        let unread = (after(h, p, kh, sh), after(w, q, kw, sw));
        let (Some((rows, below)), Some((columns, right))) = unread else {
            let expected = format!("at least the kernel's size {:?} after padding", (kh, kw));
            return Err(Error::value(op, "image", expected, format!("{:?}", (h, w))));
        };
        let results = side(op, (h, w), [weight.dim(0)?, rows, columns])?;
        let there = linear(Kind::Convolution, config.stride, config.padding);
        let output_padding = (below, right);
        let kind = Kind::Transposed { output_padding };
        let back = Settings { kind, ..there };
        Map::images(weight, there, back, [dims, results])
    }

    fn overlap(&self) -> usize {
        let ((kh, kw), (sh, sw)) = (self.config().kernel, self.config().stride);
        kh.div_ceil(sh) * kw.div_ceil(sw)
    }

    fn slope(&self) -> f64 {
        self.config().activation.lipschitz()
    }
}

impl Parts for ConvTranspose2d {
    fn kernel(&self) -> &Tensor {
        self.weight()
    }

    fn with_kernel(&self, weight: Tensor) -> Result<Self> {
        ConvTranspose2d::new(weight, self.bias().cloned(), self.config())
    }

    fn map(&self, op: &'static str, weight: Tensor, image: Option<(usize, usize)>) -> Result<Map> {
        let Some((h, w)) = image else {
            let [c, o, kh, kw] = shape::dims(op, "weight", weight.dims(), "[C, O, kh, kw]")?;
            return Map::matrix(weight, [c, o, kh * kw]);
        };
        let dims = side(op, (h, w), [weight.dim(0)?, h, w])?;
        let config = self.config();
        let ((kh, kw), (sh, sw), (p, q)) = (config.kernel, config.stride, config.padding);
        let (below, right) = config.output_padding;
        let made = (before(h, p, kh, sh, below), before(w, q, kw, sw, right));
        let (Some(rows), Some(columns)) = made else {
            let expected = format!(
                "a result of at least one row and column without the padding {:?}",
                (p, q)
            );
            return Err(Error::value(op, "image", expected, format!("{:?}", (h, w))));
        };
        let results = side(op, (h, w), [weight.dim(1)?, rows, columns])?;
        let back = linear(Kind::Convolution, config.stride, config.padding);
        let output_padding = config.output_padding;
        let kind = Kind::Transposed { output_padding };
        let there = Settings { kind, ..back };
        Map::images(weight, there, back, [dims, results])
    }

    fn overlap(&self) -> usize {
        self.config().kernel.0 * self.config().kernel.1
    }

    fn slope(&self) -> f64 {
        self.config().activation.lipschitz()
    }
}

/// The numbers of one image, refused where there are none, or more than any image has: power iteration makes several of them.
fn side(op: &'static str, image: (usize, usize), dims: [usize; 3]) -> Result<[usize; 3]> {
    let count = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
    if count.is_some_and(|count| (1..=i32::MAX as usize).contains(&count)) {
        return Ok(dims);
    }
    let expected =
        "at least one row and column, and fewer than 2^31 numbers of argument and result";
    Err(Error::value(op, "image", expected, format!("{image:?}")))
}

fn linear(kind: Kind, stride: (usize, usize), padding: (usize, usize)) -> Settings {
    Settings {
        kind,
        stride,
        padding,
        activation: Activation::Identity,
        input: Order::ChannelsFirst,
        output: Order::ChannelsFirst,
    }
}
