//! Convolutions one after the other, with batch normalizations between them, as one node: what lies between them never enters
//! candle's graph, whose gradient of every edge costs a fill with zeros and an addition, and is channels-last, so that nothing is
//! transposed there.

use super::step::Step;
use super::{Layer, Order, conv2d};
use crate::error::Result;
use crate::kernels::graph::node::{Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::View;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::batch_norm::{self, BatchMoments, Layout, Map};
use crate::kernels::network::inputs::Inputs;
use candle_core::op::BackpropOp;
use candle_core::{Shape, Storage, Tensor};

/// One map of several.
pub(crate) enum Link<'a> {
    Convolution(Layer<'a>),
    /// Of channels-last images, by these moments or else those of the batch.
    Norm(batch_norm::Settings<'a>, Option<[Tensor; 2]>),
}

/// The convolutions of `layers`, each of the result of the one before.
pub(crate) fn chain(x: &Tensor, layers: &[Layer]) -> Result<Tensor> {
    let one = |x: Tensor, l: &Layer| conv2d(&x, l.weight, l.bias, l.settings);
    match fused(x, layers)? {
        Some(y) => Ok(y),
        None => layers.iter().try_fold(x.clone(), one),
    }
}

/// [`chain`] from channels-first images to those of order `last`, with channels-last ones in between.
pub(crate) fn in_turn(mut layers: Vec<Layer>, x: &Tensor, last: Order) -> Result<Tensor> {
    let mut order = Order::ChannelsFirst;
    let count = layers.len();
    for (i, layer) in layers.iter_mut().enumerate() {
        layer.settings.input = order;
        order = between(i, count, last);
        layer.settings.output = order;
    }
    chain(x, &layers)
}

/// The order after link `i`.
fn between(i: usize, count: usize, last: Order) -> Order {
    match i + 1 == count {
        true => last,
        false => Order::ChannelsLast,
    }
}

/// As one node; `None` where there is none.
pub(super) fn fused(x: &Tensor, layers: &[Layer]) -> Result<Option<Tensor>> {
    let links: Vec<Link> = layers.iter().map(|l| Link::Convolution(*l)).collect();
    Ok(linked((x, x.dims()), &links, false)?.map(|(y, _)| y))
}

/// The links one after the other, from images of order `first` and shape `dims`, whatever the shape of x says, to those of order
/// `last`, with a `flat` row for each image if that is asked for: a change of shape would be an edge of candle's graph. And the
/// moments of the batch of each normalization that takes them; `None` where the links are no node.
pub(crate) fn links(
    (x, dims): (&Tensor, [usize; 4]),
    mut links: Vec<Link>,
    [first, last]: [Order; 2],
    flat: bool,
) -> Result<Option<(Tensor, Vec<BatchMoments>)>> {
    let (mut order, count) = (first, links.len());
    for (i, link) in links.iter_mut().enumerate() {
        let after = between(i, count, last);
        match link {
            Link::Convolution(layer) => {
                layer.settings.input = order;
                layer.settings.output = after;
            }
            Link::Norm(..) if [order, after] != [Order::ChannelsLast; 2] => return Ok(None),
            Link::Norm(..) => {}
        }
        order = after;
    }
    linked((x, &dims), &links, flat)
}

fn linked(
    (x, dims): (&Tensor, &[usize]),
    links: &[Link],
    flat: bool,
) -> Result<Option<(Tensor, Vec<BatchMoments>)>> {
    let mut inputs = Inputs::new(x);
    let mut dims = dims.to_vec();
    let (mut parts, mut values) = (vec![], vec![]);
    let mut name = None;
    for link in links {
        match link {
            Link::Convolution(layer) => {
                let step = Step::new(x, &dims, layer, &mut inputs)?;
                dims = step.geometry.out_dims(layer.settings.output).to_vec();
                name = name.or(Some(layer.settings.kind.name()));
                parts.push(Part::Convolution(step));
            }
            Link::Norm(settings, moments) => {
                let c = dims.last().copied().unwrap_or(1);
                let n = dims.iter().rev().skip(1).product();
                if moments.is_none() {
                    batch_norm::check_values(&dims, n)?;
                    values.push(n);
                }
                let moments = moments.as_ref().map(|m| m.each_ref());
                parts.push(Part::Norm(Norm {
                    step: batch_norm::Step::new(moments, *settings, &mut inputs)?,
                    layout: Layout { n, c, s: 1 },
                    dims: dims.clone(),
                    map: None,
                }));
            }
        }
    }
    let mut activations = links.iter().map(|link| match link {
        Link::Convolution(layer) => layer.settings.activation,
        Link::Norm(settings, _) => settings.activation,
    });
    let slopes = activations.all(Activation::slope_from_output);
    if !slopes || links.is_empty() || !inputs.fused() {
        return Ok(None);
    }
    let between = vec![];
    let name = name.unwrap_or(Chain::NAME);
    let chain = Chain {
        parts,
        between,
        name,
        flat,
    };
    let mut outputs = inputs.apply(chain)?.into_iter();
    let y = outputs.next();
    Ok(y.map(|y| (y, batch_norm::pairs(outputs, values))))
}

enum Part {
    Convolution(Step),
    Norm(Norm),
}

struct Norm {
    step: batch_norm::Step,
    layout: Layout,
    /// Those of its images.
    dims: Vec<usize>,
    /// Once the moments are known.
    map: Option<Map>,
}

impl Norm {
    fn backward(
        &self,
        x: &Tensor,
        reached: &Reached,
        needs: &[bool],
        gradients: &mut [Option<Tensor>],
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(map) = &self.map else {
            return Ok(None);
        };
        let views = [x, &reached.value, &reached.gradient].map(View::new);
        let [x_view, y, g] = views;
        let (x_view, y, g) = (x_view?, y?, g?);
        let arguments = [x_view.f32()?, y.f32()?, g.f32()?];
        let gx = self
            .step
            .backward(map, arguments, self.layout, needs, gradients)?;
        gx.map(|gx| Tensor::from_vec(gx, x.shape(), x.device()))
            .transpose()
    }
}

struct Chain {
    name: &'static str,
    parts: Vec<Part>,
    /// The results of all parts but the last.
    between: Vec<Tensor>,
    /// Whether the result has a row for each image.
    flat: bool,
}

impl Op for Chain {
    const NAME: &'static str = "conv2d";

    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let mut x = inputs[0].clone();
        let mut moments = vec![];
        let count = self.parts.len();
        for (i, part) in self.parts.iter_mut().enumerate() {
            let y = match part {
                Part::Convolution(step) => step.forward(&x, inputs)?,
                Part::Norm(norm) => {
                    let view = View::new(&x)?;
                    let (y, map, more) = norm.step.forward(view.f32()?, norm.layout, inputs)?;
                    norm.map = Some(map);
                    moments.extend(more);
                    fresh(y, norm.dims.as_slice())
                }
            };
            let (storage, shape) = y;
            if i + 1 == count {
                let shape = match (self.flat, shape.dims()) {
                    (true, [n, rest @ ..]) => Shape::from((*n, rest.iter().product())),
                    _ => shape,
                };
                moments.insert(0, (storage, shape));
                return Ok(moments);
            }
            x = Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false);
            if keep {
                self.between.push(x.clone());
            }
        }
        candle_core::bail!("{}: no convolution", Self::NAME)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; inputs.len()];
        let Some(Some(last)) = outputs.first() else {
            return Ok(gradients);
        };
        let mut reached = last.clone();
        for (i, part) in self.parts.iter().enumerate().rev() {
            let x = i.checked_sub(1).map_or(&inputs[0], |i| &self.between[i]);
            let back = match part {
                Part::Convolution(step) => {
                    step.backward(x, inputs, &reached, needs, &mut gradients)?
                }
                Part::Norm(norm) => norm.backward(x, &reached, needs, &mut gradients)?,
            };
            match back {
                Some(gradient) if i > 0 => {
                    let value = x.clone();
                    reached = Reached { value, gradient };
                }
                back => {
                    gradients[0] = back;
                    break;
                }
            }
        }
        Ok(gradients)
    }
}
