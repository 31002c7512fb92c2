//! Convolutions and batch normalizations in turn, as one node of the graph where there is one.

use crate::error::Result;
use crate::kernels::network::batch_norm::BatchMoments;
use crate::kernels::network::conv2d::{Layer, Link, Order, links};
use crate::net::batch_norm::BatchNorm;
use candle_core::Tensor;

/// A layer of a network.
pub(super) enum Part<'a> {
    Convolution(Layer<'a>),
    Norm(&'a BatchNorm),
}

impl<'a> Part<'a> {
    fn link(&self, op: &'static str, train: bool) -> Result<Link<'a>> {
        match *self {
            Part::Convolution(layer) => Ok(Link::Convolution(layer)),
            Part::Norm(norm) => norm.link(op, train),
        }
    }
}

/// What a pass takes and gives.
pub(super) struct Images {
    /// Of the argument, whatever its shape says.
    pub(super) dims: [usize; 4],
    /// Of argument and result.
    pub(super) orders: [Order; 2],
    /// Whether the result is a row for each image.
    pub(super) flat: bool,
}

/// In training the normalizations take the moments of the batch, and their running ones are written when all is done.
pub(super) fn run(
    op: &'static str,
    x: &Tensor,
    images: Images,
    parts: &[Part],
    train: bool,
) -> Result<Tensor> {
    // A batch of nothing has no moments.
    let train = train && x.elem_count() > 0;
    let all = parts.iter().map(|part| part.link(op, train));
    let all = all.collect::<Result<_>>()?;
    let Images { dims, orders, flat } = images;
    let found = links((x, dims), all, orders, flat).map_err(|e| e.of(op))?;
    let (y, moments) = match found {
        Some(found) => found,
        None => {
            let x = x.reshape(&dims)?;
            let (y, moments) = one_by_one(op, &x, parts, train, orders)?;
            let n = dims[0];
            let y = match flat {
                true => y.reshape((n, y.dims()[1..].iter().product::<usize>()))?,
                false => y,
            };
            (y, moments)
        }
    };
    let norms = parts.iter().filter_map(|part| match part {
        Part::Convolution(_) => None,
        Part::Norm(norm) => Some(norm),
    });
    let moved = norms.zip(&moments).map(|(norm, moments)| {
        let moved = norm.moved(op, moments)?;
        Ok((norm, moved))
    });
    for (norm, moved) in moved.collect::<Result<Vec<_>>>()? {
        norm.write(&moved)?;
    }
    Ok(y)
}

fn one_by_one(
    op: &'static str,
    x: &Tensor,
    parts: &[Part],
    train: bool,
    [first, last]: [Order; 2],
) -> Result<(Tensor, Vec<BatchMoments>)> {
    let mut y = match first {
        Order::ChannelsFirst => x.clone(),
        Order::ChannelsLast => x.permute((0, 3, 1, 2))?,
    };
    let mut all = vec![];
    for part in parts {
        y = match part {
            Part::Convolution(layer) => layer.forward(&y)?,
            Part::Norm(norm) => {
                let (y, moments) = norm.apply(op, &y, train)?;
                all.extend(moments);
                y
            }
        };
    }
    let y = match last {
        Order::ChannelsFirst => y,
        Order::ChannelsLast => y.permute((0, 2, 3, 1))?.contiguous()?,
    };
    Ok((y, all))
}
