//! Batch normalization with its gain, shift and activation, as one node: f32 on the CPU is read twice on the way to the result and
//! twice on the way back. Moments are merged from those of blocks of fixed size in fixed order, in f64.

mod composed;
mod map;
mod sums;
#[cfg(test)]
mod tests;

pub(crate) use map::Map;
pub(crate) use sums::{Layout, Moments};

use crate::error::{Error, Result};
use crate::kernels::graph::node::{Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, views};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Inputs;
use candle_core::{DType, Tensor};

/// What follows the subtraction of a mean and the division by a deviation.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// Gain and shift, `[C]` each.
    pub(crate) affine: Option<(&'a Tensor, &'a Tensor)>,
    /// Added to variances.
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
}

/// The moments of a batch, `[C]` each, without gradient, of the accumulations' dtype.
pub(crate) struct BatchMoments {
    pub(crate) mean: Tensor,
    /// That of the batch itself: divided by the number of values.
    pub(crate) variance: Tensor,
    /// Values of one channel.
    pub(crate) values: usize,
}

/// A batch of one value for each channel has no variance.
pub(crate) fn check_values(dims: &[usize], values: usize) -> Result<()> {
    if values == 1 {
        let expected = "more than one value for each channel in training";
        return Err(Error::shape("batch_norm", "x", expected, dims));
    }
    Ok(())
}

/// `activation(gain (x - mean) / sqrt(variance + epsilon) + shift)` with the moments of x over all dims but the second. x is
/// `[N, C, ..]` and not empty.
pub(crate) fn by_batch(x: &Tensor, settings: Settings) -> Result<(Tensor, BatchMoments)> {
    check_values(x.dims(), layout(x)?.values())?;
    match fused(x, None, settings)? {
        Some((y, Some(moments))) => Ok((y, moments)),
        _ => composed::by_batch(x, settings),
    }
}

/// The same with given moments, `[C]` each, which are constants.
pub(crate) fn by_moments(x: &Tensor, moments: [&Tensor; 2], settings: Settings) -> Result<Tensor> {
    match fused(x, Some(moments), settings)? {
        Some((y, _)) => Ok(y),
        None => composed::by_moments(x, moments, settings),
    }
}

/// As one node; `None` where there is none.
fn fused(
    x: &Tensor,
    moments: Option<[&Tensor; 2]>,
    settings: Settings,
) -> Result<Option<(Tensor, Option<BatchMoments>)>> {
    // Where the slope needs the argument, the activation is a node of its own.
    let (activation, after) = match settings.activation {
        f if f.slope_from_output() => (f, Activation::Identity),
        f => (Activation::Identity, f),
    };
    let settings = Settings {
        activation,
        ..settings
    };
    let mut inputs = Inputs::new(x);
    let step = Step::new(moments, settings, &mut inputs)?;
    if !inputs.fused() {
        return Ok(None);
    }
    let mut outputs = inputs.apply(Normalize { step, map: None })?.into_iter();
    let Some(y) = outputs.next() else {
        return Ok(None);
    };
    let moments = pairs(outputs, vec![layout(x)?.values()]).pop();
    Ok(Some((after.forward(&y)?, moments)))
}

/// The moments that a node returns beside its result, one pair after the other, of batches of so many values.
pub(crate) fn pairs(
    mut moments: impl Iterator<Item = Tensor>,
    values: Vec<usize>,
) -> Vec<BatchMoments> {
    let mut pair = |values| {
        let (mean, variance) = (moments.next()?.detach(), moments.next()?.detach());
        Some(BatchMoments {
            mean,
            variance,
            values,
        })
    };
    values.into_iter().map_while(&mut pair).collect()
}

/// One normalization of a node.
pub(crate) struct Step {
    activation: Activation,
    epsilon: f64,
    /// None of its inputs stands before this.
    first: usize,
    /// Whether gain and shift stand there, one after the other.
    affine: bool,
    /// Those that are given.
    moments: Option<Moments>,
}

impl Step {
    /// Its tensors go among the inputs; without moments those of the batch are taken.
    pub(crate) fn new<'a>(
        moments: Option<[&Tensor; 2]>,
        settings: Settings<'a>,
        inputs: &mut Inputs<'a>,
    ) -> Result<Self> {
        let numbers = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.to_dtype(DType::F64)?.to_vec1()?) };
        let moments = match moments {
            None => None,
            Some([mean, variance]) => Some(Moments {
                mean: numbers(mean)?,
                variance: numbers(variance)?,
            }),
        };
        let affine = settings
            .affine
            .map(|(gain, shift)| (inputs.push(gain), inputs.push(shift)));
        Ok(Step {
            activation: settings.activation,
            epsilon: settings.epsilon,
            first: affine.map_or_else(|| inputs.len(), |(gain, _)| gain),
            affine: affine.is_some(),
            moments,
        })
    }

    /// The result for x of this layout, the map that it is, and the batch's moments as further outputs of the node.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        layout: Layout,
        inputs: &[Tensor],
    ) -> candle_core::Result<(Vec<f32>, Map, Vec<Fresh>)> {
        let views = views(&inputs[self.own()])?;
        let affine = match views.as_slice() {
            [gain, shift] => Some([gain.f32()?, shift.f32()?]),
            _ => None,
        };
        let (map, outputs) = match &self.moments {
            Some(moments) => (Map::new(moments, affine, self.epsilon), vec![]),
            None => {
                let moments = Moments::of(x, layout);
                let single = |x: &[f64]| {
                    let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
                    let len = x.len();
                    fresh(x, len)
                };
                let outputs = vec![single(&moments.mean), single(&moments.variance)];
                (Map::new(&moments, affine, self.epsilon), outputs)
            }
        };
        Ok((map.forward(x, layout, self.activation), map, outputs))
    }

    /// The gradient of x, if something up to there reads one; those of gain and shift go to `gradients`.
    pub(crate) fn backward(
        &self,
        map: &Map,
        [x, y, g]: [&[f32]; 3],
        layout: Layout,
        needs: &[bool],
        gradients: &mut [Option<Tensor>],
    ) -> candle_core::Result<Option<Vec<f32>>> {
        let wanted = needs[..self.first].contains(&true);
        let own = self.own();
        if !wanted && !needs[own.clone()].contains(&true) {
            return Ok(None);
        }
        let sums = map.slopes([x, y, g], layout, self.activation);
        for (i, sum) in own.zip([&sums.gain, &sums.shift]) {
            if needs[i] {
                let sum: Vec<f32> = sum.iter().map(|s| *s as f32).collect();
                gradients[i] = Some(Tensor::from_vec(sum, layout.c, &candle_core::Device::Cpu)?);
            }
        }
        let values = match self.moments {
            Some(_) => None,
            None => Some(layout.values()),
        };
        let arguments = ([x, y, g], layout, self.activation);
        Ok(wanted.then(|| map.backward(arguments, &sums, values)))
    }

    fn own(&self) -> std::ops::Range<usize> {
        self.first..self.first + if self.affine { 2 } else { 0 }
    }
}

struct Normalize {
    step: Step,
    map: Option<Map>,
}

fn layout(x: &Tensor) -> candle_core::Result<Layout> {
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    let s = x.dims()[2..].iter().product();
    Ok(Layout { n, c, s })
}

impl Op for Normalize {
    const NAME: &'static str = "batch_norm";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let x = View::new(&inputs[0])?;
        let (y, map, moments) = self.step.forward(x.f32()?, layout(&inputs[0])?, inputs)?;
        self.map = Some(map);
        let mut outputs = vec![fresh(y, inputs[0].shape())];
        outputs.extend(moments);
        Ok(outputs)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; inputs.len()];
        let (Some(Some(reached)), Some(map)) = (outputs.first(), &self.map) else {
            return Ok(gradients);
        };
        let [x, y, g] = [&inputs[0], &reached.value, &reached.gradient].map(View::new);
        let (x, y, g) = (x?, y?, g?);
        let arguments = [x.f32()?, y.f32()?, g.f32()?];
        let layout = layout(&inputs[0])?;
        let gx = self
            .step
            .backward(map, arguments, layout, needs, &mut gradients)?;
        gradients[0] = match gx {
            Some(gx) => Some(Tensor::from_vec(gx, inputs[0].shape(), inputs[0].device())?),
            None => None,
        };
        Ok(gradients)
    }
}
