//! Chunks of rows through all layers.

use super::arguments::Places;
use super::layer::{Gradients, Layer, Moved, Room, State};
use super::panels::Cut;
use super::{Law, Scheme};
use crate::kernels::graph::drift::{self, Drift, Near, Worst};
use crate::kernels::graph::node::{Fresh, Reached, fresh};
use crate::kernels::machine::buffer::View;
use crate::kernels::network::sums::{Sums, tensors, total};
use candle_core::{Result, Tensor};
use std::borrow::Cow;

/// Layers whose weights' gradients are summed at once: so many numbers at most, and so many layers, so that the partial sums of
/// a deep network are no larger than those of a shallow one.
const GROUP: usize = 1 << 16;
const LAYERS: usize = 64;

/// Partial sums, at most.
const PARTS: usize = 16;

/// What a chunk leaves for the way back: the states before layers `interval`, `2 interval`, .. and the last state.
pub(super) type Kept = Vec<State>;

/// The arguments as slices.
pub(super) struct Run<'a> {
    law: Law,
    places: &'a Places,
    y: &'a [f32],
    z: Option<&'a [f32]>,
    kernel: &'a [f32],
    bias: Option<&'a [f32]>,
    second_bias: Option<&'a [f32]>,
    dims: &'a [usize],
    layers: usize,
    height: usize,
    width: usize,
    cut: Cut,
}

/// A chunk on its way back.
struct Back<'k> {
    kept: &'k Kept,
    /// The rows whose gradients are asked for, in the batch and in the chunk.
    rows: Vec<usize>,
    lanes: Vec<usize>,
    /// Whether these are all.
    whole: bool,
    state: State,
    /// Of the last state that was not rebuilt.
    near: Near,
    g: State,
    /// By layer.
    drifts: Vec<(usize, Worst)>,
}

/// The slice of layer `j`.
fn slice(stack: Option<&[f32]>, j: usize, layers: usize) -> Option<&[f32]> {
    stack.map(|stack| {
        let len = stack.len() / layers;
        &stack[j * len..(j + 1) * len]
    })
}

impl<'a> Run<'a> {
    pub(super) fn new(
        law: Law,
        places: &'a Places,
        inputs: &'a [Tensor],
        views: &'a [View],
    ) -> Result<Self> {
        let (layers, height, width) = inputs[places.kernel].dims3()?;
        let slice = |at: Option<usize>| at.map(|at| views[at].f32()).transpose();
        let count = inputs[0].elem_count() / width;
        Ok(Run {
            law,
            places,
            y: views[0].f32()?,
            z: slice(places.z)?,
            kernel: views[places.kernel].f32()?,
            bias: slice(places.bias)?,
            second_bias: slice(places.second_bias)?,
            dims: inputs[0].dims(),
            layers,
            height,
            width,
            cut: Cut::new(count, height.max(width)),
        })
    }

    /// The width of z; 0 where there is none.
    fn beside(&self) -> usize {
        match self.law.scheme {
            Scheme::Euler(_) => 0,
            Scheme::Leapfrog(_) => self.width,
            Scheme::Verlet => self.height,
        }
    }

    fn layer(&self, j: usize) -> Layer<'a> {
        Layer {
            law: self.law,
            k: slice(Some(self.kernel), j, self.layers).unwrap_or_default(),
            b: slice(self.bias, j, self.layers),
            b_z: slice(self.second_bias, j, self.layers),
            height: self.height,
            width: self.width,
            rows: self.cut.panel,
        }
    }

    fn room(&self, rows: usize) -> Room {
        let most = self.height.max(self.width);
        Room::new(self.cut.room(rows, most), self.cut.panel * most)
    }

    /// Rows of the argument.
    fn start(&self, rows: &[usize]) -> State {
        let beside = self.beside();
        State {
            y: self.cut.load(self.y, rows, self.width),
            z: match self.z {
                Some(z) => self.cut.load(z, rows, beside),
                None => vec![0.; self.cut.room(rows.len(), beside)],
            },
        }
    }

    /// Panel by panel: y and z, which may be empty.
    fn panels<'s>(&self, state: &'s mut State) -> impl Iterator<Item = [&'s mut [f32]; 2]> {
        let panel = self.cut.panel;
        let count = state.y.len() / (panel * self.width);
        let len = (panel * self.beside()).max(1);
        let z = state.z.chunks_mut(len).map(Some);
        let z = z.chain(std::iter::repeat_with(|| None)).take(count);
        let y = state.y.chunks_exact_mut(panel * self.width);
        y.zip(z).map(|(y, z)| [y, z.unwrap_or_default()])
    }

    /// Panels through the layer.
    fn step(&self, j: usize, state: &mut State, room: &mut Room) {
        let layer = self.layer(j);
        for [y, z] in self.panels(state) {
            layer.forward(y, z, room);
        }
    }

    /// How many layers lie between states that are kept.
    fn interval(&self) -> usize {
        match self.law.scheme {
            _ if self.law.states => 1,
            Scheme::Euler(_) => self.layers.isqrt().max(1),
            _ => drift::interval(self.layers),
        }
    }

    /// The outputs, and what each chunk keeps.
    pub(super) fn forward(&self, keep: bool) -> Result<(Vec<Fresh>, Vec<Kept>)> {
        let interval = self.interval();
        self.each_chunk(|rows| {
            let mut state = self.start(rows);
            let mut kept = vec![];
            // A panel stays in L1 where nothing is kept along the way.
            let mut room = self.room(self.cut.panel);
            let mut from = 0;
            while from < self.layers {
                let to = match keep {
                    true => (from + interval).min(self.layers),
                    false => self.layers,
                };
                for [y, z] in self.panels(&mut state) {
                    for j in from..to {
                        self.layer(j).forward(y, z, &mut room);
                    }
                }
                if keep {
                    kept.push(state.clone());
                }
                from = to;
            }
            (state, kept)
        })
    }

    /// The rows of all chunks through `f`, as outputs, and what else it returns.
    fn each_chunk<K: Send>(
        &self,
        f: impl Fn(&[usize]) -> (State, K) + Send + Sync,
    ) -> Result<(Vec<Fresh>, Vec<K>)> {
        let (rows, beside) = (self.cut.rows, self.beside());
        let mut y = vec![0.; rows.count * self.width];
        let mut z = vec![0.; rows.count * beside];
        let parts = rows.split(&mut y, self.width).enumerate();
        let mut others = rows.split(&mut z, beside);
        let parts = parts.map(|(i, y)| (i, y, others.next().unwrap_or_default()));
        let kept = rows.each(parts, |(i, y, z)| {
            let rows: Vec<usize> = rows.chunk(i).collect();
            let (state, kept) = f(&rows);
            let places: Vec<usize> = (0..rows.len()).collect();
            self.cut.store(&state.y, &places, self.width, y);
            self.cut.store(&state.z, &places, beside, z);
            Ok(kept)
        })?;
        let mut outputs = vec![fresh(y, self.dims)];
        if beside > 0 {
            let mut dims = self.dims.to_vec();
            if let Some(last) = dims.last_mut() {
                *last = beside;
            }
            outputs.push(fresh(z, dims));
        }
        Ok((outputs, kept))
    }

    /// The derivatives of the outputs along directions of y, z and the weights.
    pub(super) fn tangent(
        &self,
        [along_y, along_z, kernel, bias, second_bias]: [Option<&[f32]>; 5],
    ) -> Result<Vec<Fresh>> {
        let (outputs, _) = self.each_chunk(|rows| {
            let (mut state, beside) = (self.start(rows), self.beside());
            let load = |d: Option<&[f32]>, width| match d {
                Some(d) => self.cut.load(d, rows, width),
                None => vec![0.; self.cut.room(rows.len(), width)],
            };
            let mut moved = State {
                y: load(along_y, self.width),
                z: load(along_z, beside),
            };
            let mut room = self.room(self.cut.panel);
            for (place, direction) in self.panels(&mut state).zip(self.panels(&mut moved)) {
                let ([y, z], [dy, dz]) = (place, direction);
                for j in 0..self.layers {
                    let moved = Moved {
                        k: slice(kernel, j, self.layers),
                        b: slice(bias, j, self.layers),
                        b_z: slice(second_bias, j, self.layers),
                    };
                    let (place, direction) = ([&mut *y, &mut *z], [&mut *dy, &mut *dz]);
                    self.layer(j).tangent(moved, place, direction, &mut room);
                }
            }
            (moved, ())
        })?;
        Ok(outputs)
    }

    /// The gradients of all inputs.
    pub(super) fn backward(
        &self,
        op: &'static str,
        kept: &[Kept],
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let view = |i: usize| match outputs.get(i) {
            Some(Some(reached)) => View::new(&reached.gradient).map(Some),
            _ => Ok(None),
        };
        let (gy, gz) = (view(0)?, view(1)?);
        let gy = gy.as_ref().map(View::f32).transpose()?;
        let gz = gz.as_ref().map(View::f32).transpose()?;
        let chunks = self.cut.rows.each(kept.iter().enumerate(), |(i, kept)| {
            Ok(self.begin(i, kept, gy, gz))
        })?;
        let mut chunks: Vec<Back> = chunks.into_iter().flatten().collect();
        let stacks = [
            Some(self.places.kernel),
            self.places.bias,
            self.places.second_bias,
        ];
        let stacks = stacks.map(|at| at.filter(|at| needs[*at]));
        let mut sums: Sums = inputs.iter().map(|_| None).collect();
        for at in stacks.into_iter().flatten() {
            sums[at] = Some(vec![0.; inputs[at].elem_count()]);
        }
        let part = chunks.len().div_ceil(PARTS).max(1);
        let group = self.group();
        let mut end = self.layers;
        while end > 0 && !chunks.is_empty() {
            let start = (end - 1) / group * group;
            let lens = stacks.map(|at| at.map_or(0, |at| inputs[at].elem_count() / self.layers));
            let parts = chunks.chunks_mut(part);
            let parts = self.cut.rows.each(parts, |chunks| {
                let mut sums = lens.map(|len| vec![0.; len * (end - start)]);
                for chunk in chunks {
                    self.group_back(start..end, chunk, &mut sums, lens);
                }
                Ok(sums.map(Some).to_vec())
            })?;
            let found = total(parts, 3);
            for ((at, len), found) in stacks.iter().zip(lens).zip(found) {
                if let (Some(at), Some(found)) = (at, found)
                    && let Some(sum) = &mut sums[*at]
                {
                    sum[start * len..end * len].copy_from_slice(&found);
                }
            }
            end = start;
        }
        self.check(op, &chunks)?;
        let ends = [(Some(0), self.width), (self.places.z, self.beside())];
        for (i, (at, width)) in ends.into_iter().enumerate() {
            let Some(at) = at.filter(|at| needs[*at]) else {
                continue;
            };
            let mut all = vec![0.; inputs[at].elem_count()];
            for chunk in &chunks {
                let g = if i == 0 { &chunk.g.y } else { &chunk.g.z };
                self.cut.store(g, &chunk.rows, width, &mut all);
            }
            sums[at] = Some(all);
        }
        tensors(sums, inputs, needs)
    }

    /// How many layers go back at once: whole intervals where states are recomputed.
    fn group(&self) -> usize {
        let group = (GROUP / (self.height * self.width)).clamp(1, LAYERS.min(self.layers));
        match self.law.scheme {
            Scheme::Euler(_) => self
                .interval()
                .max(group / self.interval() * self.interval()),
            _ => group,
        }
    }

    /// Chunk `i` at its end; nothing where no row's gradient is asked for.
    fn begin<'k>(
        &self,
        i: usize,
        kept: &'k Kept,
        gy: Option<&[f32]>,
        gz: Option<&[f32]>,
    ) -> Option<Back<'k>> {
        let asked = |g: Option<&[f32]>, row: usize, width: usize| {
            g.is_some_and(|g| g[row * width..(row + 1) * width].iter().any(|g| *g != 0.))
        };
        let (all, beside) = (self.cut.rows.chunk(i), self.beside());
        let rows: Vec<usize> = (all.clone())
            .filter(|row| asked(gy, *row, self.width) || asked(gz, *row, beside))
            .collect();
        if rows.is_empty() {
            return None;
        }
        let load = |g: Option<&[f32]>, width: usize| match g {
            Some(g) => self.cut.load_gradient(g, &rows, width),
            None => vec![0.; self.cut.room(rows.len(), width)],
        };
        let g = State {
            y: load(gy, self.width),
            z: load(gz, beside),
        };
        let mut chunk = Back {
            kept,
            lanes: rows.iter().map(|row| row - all.start).collect(),
            whole: rows.len() == all.len(),
            rows,
            state: State::default(),
            near: Near::default(),
            g,
            drifts: vec![],
        };
        let end = kept.last().map(|end| self.select(end, &chunk).into_owned());
        chunk.state = end.unwrap_or_default();
        if self.rebuilds() {
            chunk.near = self.near(&chunk.state, chunk.rows.len());
            self.spoil(&mut chunk);
        }
        Some(chunk)
    }

    /// The asked rows of a state of the chunk.
    fn select<'s>(&self, state: &'s State, chunk: &Back) -> Cow<'s, State> {
        if chunk.whole {
            return Cow::Borrowed(state);
        }
        Cow::Owned(State {
            y: self.cut.select(&state.y, &chunk.lanes, self.width),
            z: self.cut.select(&state.z, &chunk.lanes, self.beside()),
        })
    }

    /// The state before the first layer of the interval of layer `j`.
    fn known<'k>(&self, j: usize, chunk: &Back<'k>) -> Cow<'k, State> {
        match (j / self.interval()).checked_sub(1) {
            Some(i) => self.select(&chunk.kept[i], chunk),
            None => Cow::Owned(self.start(&chunk.rows)),
        }
    }

    /// A chunk back through some layers.
    fn group_back(
        &self,
        layers: std::ops::Range<usize>,
        chunk: &mut Back,
        sums: &mut [Vec<f32>; 3],
        lens: [usize; 3],
    ) {
        let mut room = self.room(chunk.rows.len());
        let interval = self.interval();
        let euler = matches!(self.law.scheme, Scheme::Euler(_));
        // The states before the layers of an interval, where they are not rebuilt.
        let mut before: Vec<State> = vec![];
        for j in layers.clone().rev() {
            if euler && before.is_empty() {
                let mut state = self.known(j, chunk).into_owned();
                for i in j / interval * interval..j {
                    before.push(state.clone());
                    self.step(i, &mut state, &mut room);
                }
                before.push(state);
            }
            if let Some(state) = before.pop() {
                chunk.state = state;
            }
            let mut own = sums.iter_mut().zip(lens).map(|(sum, len)| {
                let at = (j - layers.start) * len;
                (len > 0).then(|| &mut sum[at..at + len])
            });
            let mut next = || own.next().flatten();
            let own = Gradients {
                k: next(),
                b: next(),
                b_z: next(),
            };
            let known = match euler {
                false if self.law.states => Some(self.known(j, chunk).into_owned()),
                _ => None,
            };
            let y = known.as_ref().map(|known| known.y.as_slice());
            let Back { state, g, .. } = &mut *chunk;
            self.layer(j).back(state, y, g, own, &mut room);
            if let Some(known) = known {
                chunk.state = known;
            } else if !euler && j % interval == 0 {
                self.meet(j, chunk);
            }
        }
    }

    /// Whether states come from the inverse step.
    fn rebuilds(&self) -> bool {
        !self.law.states && !matches!(self.law.scheme, Scheme::Euler(_))
    }

    /// The largest value of each row.
    fn near(&self, state: &State, rows: usize) -> Near {
        let mut near = Near::new(rows);
        for row in 0..rows {
            for (x, width) in [(&state.y, self.width), (&state.z, self.beside())] {
                let places = self.cut.places(row, width);
                places.for_each(|at| near.see(row, x[at].into()));
            }
        }
        near
    }

    /// The gradients of rows whose end is not finite, from which nothing can be rebuilt, are NaN.
    fn spoil(&self, chunk: &mut Back) {
        let Back { near, g, .. } = chunk;
        for row in (0..near.rows()).filter(|row| near.left_out(*row)) {
            for (g, width) in [(&mut g.y, self.width), (&mut g.z, self.beside())] {
                let places = self.cut.places(row, width);
                places.for_each(|at| g[at] = f32::NAN);
            }
        }
    }

    /// The state before layer `j` was rebuilt and is known.
    fn meet(&self, j: usize, chunk: &mut Back) {
        let known = self.known(j, chunk).into_owned();
        let (state, rows) = (&chunk.state, chunk.rows.len());
        let mut drift = Drift::new(&chunk.near);
        let pairs = [
            (&state.y, &known.y, self.width),
            (&state.z, &known.z, self.beside()),
        ];
        for (rebuilt, known, width) in pairs {
            for row in 0..rows {
                let places = self.cut.places(row, width);
                places.for_each(|at| drift.see(row, rebuilt[at].into(), known[at].into()));
            }
        }
        let worst = drift.worst();
        chunk.drifts.push((j, worst));
        chunk.near = self.near(&known, rows);
        chunk.state = known;
    }

    /// Refuses a drift, measured over all chunks.
    fn check(&self, op: &'static str, chunks: &[Back]) -> Result<()> {
        let Some(first) = chunks.first() else {
            return Ok(());
        };
        for (i, (j, _)) in first.drifts.iter().enumerate() {
            let all = chunks.iter().filter_map(|chunk| chunk.drifts.get(i));
            let worst = all.fold(Worst::default(), |worst, (_, other)| worst.or(*other));
            worst.check(op, *j, drift::SINGLE)?;
        }
        Ok(())
    }
}
