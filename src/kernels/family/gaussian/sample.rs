//! A reparameterized draw and its divergence as one node. The noise is never stored: the backward pass draws it again.

use super::Spread;
use super::elementary::{exp_parts, line_minus_log};
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh, weigh};
use crate::kernels::machine::buffer::View;
use crate::kernels::machine::simd::{Loop, dispatch, fma};
use crate::kernels::machine::tiles::{Parts, Task, Tiles, add, spread_rows, sum_rows, unwritten};
use crate::kernels::random::{BLOCK, Stream, normal_block};
use candle_core::{Result, Tensor};

/// What to compute for parameters of one shape.
pub(super) struct Node {
    pub(super) spread: Spread,
    /// The sample dims, and where the noise comes from.
    pub(super) draw: Option<(Vec<usize>, Stream)>,
    /// Whether to return KL(. || N(0, I)), summed over the last dim.
    pub(super) kl: bool,
}

impl Node {
    pub(super) fn apply(self, loc: &Tensor, spread: &Tensor) -> Result<Vec<Tensor>> {
        node::apply(self, &[loc, spread])
    }

    /// `None` when there is nothing to compute.
    fn tiles(&self, loc: &Tensor) -> Option<Tiles> {
        let period = loc.elem_count();
        let draws = self.draw.as_ref().map_or(1, |(s, _)| s.iter().product());
        let event = if self.kl {
            loc.dims().last().copied().unwrap_or(1)
        } else {
            1
        };
        if period * draws == 0 {
            return None;
        }
        // Blocks of noise that straddle two tasks are drawn twice: larger tasks then, unless they never do.
        let aligned = period.is_multiple_of(BLOCK) && BLOCK.is_multiple_of(event);
        let steps = if aligned || draws == 1 && event == 1 {
            1
        } else {
            4
        };
        Some(Tiles::new(period * draws, period, event, steps))
    }
}

impl Op for Node {
    const NAME: &'static str = "gaussian-sample";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> Result<Vec<Fresh>> {
        let dims = inputs[0].dims();
        let rows = if self.kl {
            &dims[..dims.len().saturating_sub(1)]
        } else {
            &[]
        };
        let count: usize = rows.iter().product();
        let Some(tiles) = self.tiles(&inputs[0]) else {
            // Sums over nothing.
            let mut out = vec![];
            if let Some((sample, _)) = &self.draw {
                out.push(fresh(vec![], [sample, dims].concat()));
            }
            if self.kl {
                out.push(fresh(vec![0.; count], rows));
            }
            return Ok(out);
        };
        let (loc, spread) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (loc, spread) = (loc.f32()?, spread.f32()?);
        let mut z = unwritten(if self.draw.is_some() { tiles.n } else { 0 });
        let mut kl = unwritten(if self.kl { count } else { 0 });
        let (z_parts, kl_parts) = (Parts::new(&mut z), Parts::new(&mut kl));
        let shared = if tiles.owns_sums() {
            None
        } else {
            // Small parameters and many draws: everything that depends on the parameters alone is done once.
            let task = Prepare {
                spread_kind: self.spread,
                loc,
                spread,
                event: tiles.event,
                // SAFETY: the only part so far.
                kl: self.kl.then(|| unsafe { kl_parts.part(0..count) }),
            };
            let scale = dispatch(task);
            let table = |values: Vec<f32>| tiles.table(&values).unwrap_or(values);
            Some((table(loc.to_vec()), table(scale)))
        };
        tiles.run(|task| {
            let own;
            let (loc, scale, from) = match &shared {
                Some((loc, scale)) => (loc.as_slice(), scale.as_slice(), 0),
                None => {
                    let span = task.span.clone();
                    let rows = span.start / tiles.event..span.end / tiles.event;
                    own = dispatch(Prepare {
                        spread_kind: self.spread,
                        loc: &loc[span.clone()],
                        spread: &spread[span.clone()],
                        event: tiles.event,
                        // SAFETY: spans are disjoint and consist of whole events.
                        kl: self.kl.then(|| unsafe { kl_parts.part(rows) }),
                    });
                    (&loc[span.clone()], own.as_slice(), span.start)
                }
            };
            if let Some((_, stream)) = &self.draw {
                dispatch(Draw {
                    tiles: &tiles,
                    task,
                    noise: Noise::new(*stream),
                    loc,
                    scale,
                    from,
                    out: &z_parts,
                });
            }
        });
        let mut out = vec![];
        if let Some((sample, _)) = &self.draw {
            out.push(fresh(z, [sample, dims].concat()));
        }
        if self.kl {
            out.push(fresh(kl, rows));
        }
        Ok(out)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(tiles) = self.tiles(&inputs[0]) else {
            return inputs.iter().map(|x| x.zeros_like().map(Some)).collect();
        };
        let (loc, spread) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (loc, spread) = (loc.f32()?, spread.f32()?);
        let (z, kl) = match (&self.draw, self.kl) {
            (Some(_), true) => (outputs[0].as_ref(), outputs[1].as_ref()),
            (Some(_), false) => (outputs[0].as_ref(), None),
            (None, _) => (None, outputs[0].as_ref()),
        };
        let views = [z, kl].map(|r| r.map(|r| View::new(&r.gradient)).transpose());
        let [z, kl] = views;
        let (z, kl) = (z?, kl?);
        let z = z.as_ref().map(|v| v.f32()).transpose()?;
        let kl = kl.as_ref().map(|v| v.f32()).transpose()?;
        let stream = self.draw.as_ref().map(|(_, stream)| *stream);

        let mut sums: [Vec<f32>; 2] = [0, 1].map(|k| if needs[k] { tiles.sums() } else { vec![] });
        let [loc_sums, spread_sums] = &mut sums;
        let (loc_parts, spread_parts) = (Parts::new(loc_sums), Parts::new(spread_sums));
        let finish = |span: std::ops::Range<usize>, loc_out: &mut [f32], spread_out: &mut [f32]| {
            dispatch(Finish {
                spread_kind: self.spread,
                loc: &loc[span.clone()],
                spread: &spread[span.clone()],
                kl: kl.map(|r| &r[span.start / tiles.event..span.end / tiles.event]),
                event: tiles.event,
                loc_out,
                spread_out,
            })
        };
        tiles.run(|task| {
            let place = tiles.place(task);
            // SAFETY: each task has its own place.
            let [loc_out, spread_out] =
                [(&loc_parts, needs[0]), (&spread_parts, needs[1])].map(|(parts, needed)| unsafe {
                    let part = parts.part(if needed { place.clone() } else { 0..0 });
                    part.fill(0.);
                    part
                });
            if let (Some(gradient), Some(stream)) = (z, stream) {
                dispatch(Gather {
                    tiles: &tiles,
                    task,
                    noise: Noise::new(stream),
                    gradient,
                    loc_out,
                    spread_out,
                });
            }
            if tiles.owns_sums() {
                finish(task.span.clone(), loc_out, spread_out);
            }
        });
        let [mut loc_out, mut spread_out] = sums;
        if !tiles.owns_sums() {
            let fold = |sums: Vec<f32>| {
                if sums.is_empty() {
                    sums
                } else {
                    tiles.fold(sums)
                }
            };
            (loc_out, spread_out) = (fold(loc_out), fold(spread_out));
            finish(0..tiles.period, &mut loc_out, &mut spread_out);
        }
        [loc_out, spread_out]
            .into_iter()
            .zip(inputs)
            .zip(needs)
            .map(|((data, input), needed)| {
                needed
                    .then(|| Tensor::from_vec(data, input.shape(), input.device()))
                    .transpose()
            })
            .collect()
    }
}

/// Standard normals by position in the draw, whatever the order and size of the pieces asked for.
struct Noise {
    stream: Stream,
    block: Option<usize>,
    held: Vec<f32>,
}

impl Noise {
    fn new(stream: Stream) -> Self {
        Noise {
            stream,
            block: None,
            held: vec![],
        }
    }

    #[inline(always)]
    fn fill<const FMA: bool>(&mut self, mut at: usize, mut out: &mut [f32]) {
        while !out.is_empty() {
            let (block, offset) = (at / BLOCK, at % BLOCK);
            let (piece, rest) = out.split_at_mut((BLOCK - offset).min(out.len()));
            // Pieces from the start of a block are often all that is needed of it.
            let whole = piece.len() == BLOCK;
            if whole || self.block != Some(block) {
                let target = if whole {
                    &mut *piece
                } else {
                    self.block = Some(block);
                    self.held.resize(BLOCK, 0.);
                    &mut self.held[..]
                };
                normal_block::<FMA>(self.stream, block as u64, target);
            }
            if !whole {
                piece.copy_from_slice(&self.held[offset..offset + piece.len()]);
            }
            at += piece.len();
            out = rest;
        }
    }
}

/// The standard deviations, and the divergences.
struct Prepare<'a> {
    spread_kind: Spread,
    loc: &'a [f32],
    spread: &'a [f32],
    event: usize,
    kl: Option<&'a mut [f32]>,
}

impl Loop for Prepare<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let len = self.loc.len();
        let (loc, spread) = (self.loc, &self.spread[..len]);
        let mut scale = unwritten(len);
        let mut terms = unwritten(if self.kl.is_some() { len } else { 0 });
        match (self.spread_kind, self.kl.is_some()) {
            (Spread::Scale, false) => scale.copy_from_slice(spread),
            (Spread::Scale, true) => {
                for i in 0..len {
                    let (m, s) = (loc[i], spread[i]);
                    let d = s - 1.;
                    let gap = fma::<FMA>(0.5 * d, d, line_minus_log::<FMA>(d, s.sqrt()));
                    scale[i] = s;
                    terms[i] = fma::<FMA>(0.5 * m, m, gap);
                }
            }
            (Spread::LogVar, false) => {
                for i in 0..len {
                    scale[i] = exp_parts::<FMA>(0.5 * spread[i]).0;
                }
            }
            (Spread::LogVar, true) => {
                for i in 0..len {
                    let m = loc[i];
                    let (s, d, gap) = exp_parts::<FMA>(0.5 * spread[i]);
                    scale[i] = s;
                    terms[i] = fma::<FMA>(0.5 * m, m, fma::<FMA>(0.5 * d, d, gap));
                }
            }
        }
        if let Some(kl) = self.kl {
            sum_rows(&terms, self.event, kl);
        }
        scale
    }
}

struct Draw<'a> {
    tiles: &'a Tiles,
    task: &'a Task,
    noise: Noise,
    /// Parameters from phase `from` on.
    loc: &'a [f32],
    scale: &'a [f32],
    from: usize,
    out: &'a Parts<'a, f32>,
}

impl Loop for Draw<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        for step in self.tiles.steps(self.task) {
            // SAFETY: steps are disjoint.
            let out = unsafe { self.out.part(step.at..step.at + step.len) };
            self.noise.fill::<FMA>(step.at, out);
            let phase = step.phase - self.from..step.phase - self.from + step.len;
            let (loc, scale) = (&self.loc[phase.clone()], &self.scale[phase]);
            for ((out, loc), scale) in out.iter_mut().zip(loc).zip(scale) {
                *out = fma::<FMA>(*scale, *out, *loc);
            }
        }
    }
}

/// Sums over the draws of the gradient, and of the gradient times the noise.
struct Gather<'a> {
    tiles: &'a Tiles,
    task: &'a Task,
    noise: Noise,
    gradient: &'a [f32],
    loc_out: &'a mut [f32],
    spread_out: &'a mut [f32],
}

impl Loop for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let mut eps = vec![0.; self.tiles.longest()];
        for step in self.tiles.steps(self.task) {
            let gradient = &self.gradient[step.at..step.at + step.len];
            let from = step.phase - self.task.span.start;
            if !self.loc_out.is_empty() {
                add(&mut self.loc_out[from..from + step.len], gradient);
            }
            if !self.spread_out.is_empty() {
                let eps = &mut eps[..step.len];
                self.noise.fill::<FMA>(step.at, eps);
                let out = &mut self.spread_out[from..from + step.len];
                for ((out, g), eps) in out.iter_mut().zip(gradient).zip(eps) {
                    *out = fma::<FMA>(*g, *eps, *out);
                }
            }
        }
    }
}

/// From sums over the draws to gradients: the chain rule of the spread, and the divergence's share.
struct Finish<'a> {
    spread_kind: Spread,
    loc: &'a [f32],
    spread: &'a [f32],
    kl: Option<&'a [f32]>,
    event: usize,
    loc_out: &'a mut [f32],
    spread_out: &'a mut [f32],
}

impl Loop for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let len = self.loc.len();
        let mut g = vec![0.; if self.kl.is_some() { len } else { 0 }];
        if let Some(kl) = self.kl {
            spread_rows(kl, self.event, &mut g);
            for ((out, loc), g) in self.loc_out.iter_mut().zip(self.loc).zip(&g) {
                *out = if *g == 0. {
                    *out
                } else {
                    fma::<FMA>(*g, *loc, *out)
                };
            }
        }
        let spread = self.spread;
        match (self.spread_kind, self.kl.is_some()) {
            (Spread::Scale, false) => {}
            (Spread::Scale, true) => {
                for ((out, s), g) in self.spread_out.iter_mut().zip(spread).zip(&g) {
                    let slope = (s - 1.) * (s + 1.) / s;
                    *out = if *g == 0. {
                        *out
                    } else {
                        fma::<FMA>(*g, slope, *out)
                    };
                }
            }
            (Spread::LogVar, false) => {
                for (out, v) in self.spread_out.iter_mut().zip(spread) {
                    *out = weigh(*out, 0.5 * exp_parts::<FMA>(0.5 * v).0);
                }
            }
            (Spread::LogVar, true) => {
                for ((out, v), g) in self.spread_out.iter_mut().zip(spread).zip(&g) {
                    let (s, d, _) = exp_parts::<FMA>(0.5 * v);
                    let own = weigh(*out, s);
                    let slope = d * (s + 1.);
                    *out = 0.5
                        * if *g == 0. {
                            own
                        } else {
                            fma::<FMA>(*g, slope, own)
                        };
                }
            }
        }
    }
}
