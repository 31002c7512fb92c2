//! N layers of a propagation of images, whose operators are convolutions, as one graph node: each image goes through all layers
//! on one thread, in planes that stay in its cache. The way back computes an image's states again from its first one, so the
//! node keeps its arguments alone.
//!
//! - `planes`: images as the kernels want them. `convolve`, `outer`: the loops. `program`: a layer's convolutions. `run`: images
//!   through all layers.

mod convolve;
mod outer;
mod planes;
mod program;
mod run;
#[cfg(test)]
mod tests;

use super::Law;
use super::arguments::Places;
use crate::kernels::graph::node::{Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, views};
use crate::kernels::machine::tiles::unwritten;
use candle_core::Tensor;
use rayon::prelude::*;
use run::{Biases, Images, Run, Sums};
use std::ops::Range;

/// The derivative of the results along directions of y, z, kernel, bias and second bias, beside a forward pass.
pub(super) fn tangent(
    law: Law,
    places: &Places,
    inputs: &[Tensor],
    views: &[View],
    [y, z, kernel, bias, second_bias]: [Option<&[f32]>; 5],
) -> candle_core::Result<Vec<Fresh>> {
    let call = Call::new(law, places, inputs, views)?;
    let parts = call.tangent([y, z], &Biases { bias, second_bias }, kernel);
    Ok(call.outputs(parts))
}

/// The node. Its state is `y` `[B, s, H, W]` and, of all but Euler's method, `z`; kernels are `[N, m, s, k, k]` with k odd.
pub(super) struct Propagation {
    pub(super) op: &'static str,
    pub(super) law: Law,
    pub(super) places: Places,
}

/// Parts of the batch, each with sums of its own, at most; fewer where the weights are many, so that a part's work is more than
/// to begin its sums and to add them.
const PARTS: usize = 32;
const WEIGHTS: usize = 1 << 20;

/// Below this many multiplications a parallel region costs more than it saves.
const SERIAL: usize = 1 << 20;

/// The arguments as slices.
struct Call<'a> {
    run: Run<'a>,
    images: Images<'a>,
    /// Of the batch, by the shapes alone, so that the number of threads changes no bit.
    parts: Vec<Range<usize>>,
    parallel: bool,
    /// Of a channel.
    image: [usize; 2],
}

impl<'a> Call<'a> {
    fn new(
        law: Law,
        places: &Places,
        inputs: &[Tensor],
        views: &'a [View],
    ) -> candle_core::Result<Self> {
        let (batch, _, height, width) = inputs[0].dims4()?;
        let (layers, m, s, k, _) = inputs[places.kernel].dims5()?;
        let slice = |place: usize| views[place].f32();
        let some = |place: Option<usize>| place.map(slice).transpose();
        let biases = Biases {
            bias: some(places.bias)?,
            second_bias: some(places.second_bias)?,
        };
        let kernel = slice(places.kernel)?;
        let parts = (WEIGHTS / kernel.len().max(1)).clamp(4, PARTS);
        let part = batch.div_ceil(parts).max(1);
        let work = (batch * height * width).saturating_mul(kernel.len());
        Ok(Call {
            run: Run::new(law, [layers, m, s, k], [height, width], kernel, biases),
            images: Images {
                count: batch,
                states: [Some(slice(0)?), some(places.z)?],
            },
            parts: (0..batch)
                .step_by(part)
                .map(|from| from..(from + part).min(batch))
                .collect(),
            parallel: work >= SERIAL,
            image: [height, width],
        })
    }

    /// y and, if the scheme has it, z.
    fn outputs(&self, parts: Vec<Vec<f32>>) -> Vec<Fresh> {
        let channels = self.run.image().map(|numbers| numbers / self.run.pixels);
        let channels = channels.into_iter().filter(|c| *c > 0);
        let shape = |c| vec![self.images.count, c, self.image[0], self.image[1]];
        let each = parts.into_iter().zip(channels);
        each.map(|(data, c)| fresh(data, shape(c))).collect()
    }

    /// Two results of `f` on each part; a set that layers do not have is left out. `take` gets what `f` returns, part by part in
    /// their order, after at most `wave` of them.
    fn each<R: Send>(
        &self,
        wave: usize,
        f: impl Fn(Range<usize>, [&mut [f32]; 2]) -> R + Sync,
        mut take: impl FnMut(R),
    ) -> Vec<Vec<f32>> {
        let sizes = self.run.image();
        let mut results = sizes.map(|len| unwritten::<f32>(self.images.count * len));
        let mut rest = results.each_mut().map(|r| &mut r[..]);
        let mut parts = vec![];
        for part in &self.parts {
            let mut n = 0;
            let own = rest.each_mut().map(|rest| {
                let (own, more) = std::mem::take(rest).split_at_mut(part.len() * sizes[n]);
                (*rest, n) = (more, n + 1);
                own
            });
            parts.push((part.clone(), own));
        }
        let run = |(part, own)| f(part, own);
        if self.parallel {
            let mut parts = parts.into_iter();
            loop {
                let some: Vec<_> = parts.by_ref().take(wave.max(1)).collect();
                if some.is_empty() {
                    break;
                }
                let some = some.into_par_iter().with_max_len(1).map(run);
                some.collect::<Vec<R>>().into_iter().for_each(&mut take);
            }
        } else {
            parts.into_iter().map(run).for_each(take);
        }
        let results = results.into_iter().zip(sizes).filter(|(_, len)| *len > 0);
        results.map(|(result, _)| result).collect()
    }

    /// Those of a part.
    fn images<'b>(&self, states: [Option<&'b [f32]>; 2], part: &Range<usize>) -> Images<'b> {
        let [y, z] = self.run.image();
        let [of_y, of_z] = states;
        let cut = |states: Option<&'b [f32]>, len: usize| {
            states.map(|states| &states[part.start * len..part.end * len])
        };
        Images {
            count: part.len(),
            states: [cut(of_y, y), cut(of_z, z)],
        }
    }

    fn forward(&self) -> Vec<Vec<f32>> {
        let states = self.images.states;
        let run = |part: Range<usize>, out: [&mut [f32]; 2]| {
            self.run.forward(self.images(states, &part), out)
        };
        self.each(PARTS, run, |()| ())
    }

    fn tangent(
        &self,
        along: [Option<&[f32]>; 2],
        moved: &Biases,
        kernel: Option<&[f32]>,
    ) -> Vec<Vec<f32>> {
        let (states, packs) = (self.images.states, self.run.packs(kernel));
        let run = |part: Range<usize>, out: [&mut [f32]; 2]| {
            let [images, along] = [states, along].map(|s| self.images(s, &part));
            self.run.tangent(images, along, moved, &packs, out)
        };
        self.each(PARTS, run, |()| ())
    }

    /// The gradients of the states, and the sums of those of the weights that `sums` begins.
    fn backward(
        &self,
        reached: [Option<&[f32]>; 2],
        sums: impl Fn() -> Sums + Sync,
    ) -> (Vec<Vec<f32>>, Sums) {
        let states = self.images.states;
        let mut total = sums();
        let run = |part: Range<usize>, out: [&mut [f32]; 2]| {
            let mut sums = sums();
            let [images, reached] = [states, reached].map(|s| self.images(s, &part));
            self.run.backward(images, reached, out, &mut sums);
            sums
        };
        // Sums that wait are memory. The order of the additions is that of the parts, however many are there at once.
        let wave = 2 * rayon::current_num_threads();
        let gradients = self.each(wave, run, |part| total.add(&part));
        (gradients, total)
    }
}

impl Op for Propagation {
    const NAME: &'static str = "propagation";

    fn name(&self) -> &'static str {
        self.op
    }

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let call = Call::new(self.law, &self.places, inputs, &views)?;
        Ok(call.outputs(call.forward()))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let given = views(inputs)?;
        let places = &self.places;
        let call = Call::new(self.law, places, inputs, &given)?;
        let reached: Vec<Tensor> = (outputs.iter().flatten().map(|r| r.gradient.clone())).collect();
        let reached = views(&reached)?;
        let mut reached = reached.iter().map(View::f32);
        let mut slices = [None; 2];
        for (slice, output) in slices.iter_mut().zip(outputs) {
            if output.is_some() {
                *slice = reached.next().transpose()?;
            }
        }
        let zeros = |place: Option<usize>| {
            let place = place.filter(|place| needs[*place])?;
            Some(vec![0f64; inputs[place].elem_count()])
        };
        let (gradients, sums) = call.backward(slices, || Sums {
            kernel: zeros(Some(places.kernel)),
            bias: zeros(places.bias),
            second_bias: zeros(places.second_bias),
        });
        let mut all = vec![None; inputs.len()];
        let mut put = |place: Option<usize>, data: Option<Vec<f32>>| -> candle_core::Result<()> {
            if let (Some(place), Some(data)) = (place.filter(|place| needs[*place]), data) {
                let input = &inputs[place];
                all[place] = Some(Tensor::from_vec(data, input.shape(), input.device())?);
            }
            Ok(())
        };
        let narrow = |sums: Option<Vec<f64>>| -> Option<Vec<f32>> {
            Some(sums?.into_iter().map(|s| s as f32).collect())
        };
        let mut gradients = gradients.into_iter();
        put(Some(0), gradients.next())?;
        put(places.z, gradients.next())?;
        put(Some(places.kernel), narrow(sums.kernel))?;
        put(places.bias, narrow(sums.bias))?;
        put(places.second_bias, narrow(sums.second_bias))?;
        Ok(all)
    }
}
