//! One layer on a chunk of rows: there, back, and along a direction.

use super::product::{Advance, Apply, Operator, Outer, Slopes, Start, Sum};
use super::{Force, Law, Scheme};
use crate::kernels::machine::{lanes, simd};
use crate::kernels::network::activation::Activation;

/// The weights of one layer, and what it does.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) law: Law,
    pub(super) k: &'a [f32],
    pub(super) b: Option<&'a [f32]>,
    pub(super) b_z: Option<&'a [f32]>,
    /// Of K.
    pub(super) height: usize,
    pub(super) width: usize,
    /// Rows of a panel.
    pub(super) rows: usize,
}

/// A direction of the weights of one layer.
#[derive(Clone, Copy)]
pub(super) struct Moved<'a> {
    pub(super) k: Option<&'a [f32]>,
    pub(super) b: Option<&'a [f32]>,
    pub(super) b_z: Option<&'a [f32]>,
}

/// Panels of a chunk: y, and z where the scheme has it.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) y: Vec<f32>,
    pub(super) z: Vec<f32>,
}

/// Where gradients of one layer's weights are added, if they are asked for.
pub(super) struct Gradients<'a> {
    pub(super) k: Option<&'a mut [f32]>,
    pub(super) b: Option<&'a mut [f32]>,
    pub(super) b_z: Option<&'a mut [f32]>,
}

/// Room for what a layer computes on a chunk.
pub(super) struct Room {
    a: Vec<f32>,
    d: Vec<f32>,
    e: Vec<f32>,
}

impl Room {
    /// For so many numbers of a chunk and of a panel, of the larger width.
    pub(super) fn new(chunk: usize, panel: usize) -> Self {
        Room {
            a: vec![0.; chunk],
            d: vec![0.; chunk],
            e: vec![0.; 2 * panel],
        }
    }
}

/// Which operator.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Plain,
    Transposed,
}

use Side::{Plain, Transposed};

impl Layer<'_> {
    /// h of first-order schemes, h^2 of leapfrog.
    fn by(&self) -> f32 {
        let h = self.law.step;
        match self.law.scheme {
            Scheme::Leapfrog(_) => (h * h) as f32,
            _ => h as f32,
        }
    }

    fn operator<'k>(&self, k: &'k [f32], side: Side) -> Operator<'k> {
        Operator {
            k,
            width: self.width,
            transposed: side == Transposed,
        }
    }

    /// `out = f(start + A x)` on a panel, then `state += by * out`.
    fn apply(
        &self,
        side: Side,
        x: &[f32],
        start: Start,
        activation: Activation,
        out: &mut [f32],
        state: Option<(&mut [f32], f32)>,
    ) {
        lanes::dispatch(Apply {
            a: self.operator(self.k, side),
            x,
            start,
            activation,
            out,
            state,
            rows: self.rows,
        });
    }

    /// `sum += A x` on a panel.
    fn add(&self, side: Side, x: &[f32], sum: &mut [f32]) {
        self.apply(side, x, Start::Out, Activation::Identity, sum, None);
    }

    /// `gradient * by * f'` on a panel, from f's values.
    fn slopes(&self, values: &[f32], gradient: &[f32], by: f32, out: &mut [f32]) {
        let activation = self.law.activation;
        simd::dispatch(Slopes {
            activation,
            values,
            gradient,
            by,
            out,
        });
    }

    /// Panels of `width` features side by side.
    fn panels(&self, width: usize) -> usize {
        self.rows * width
    }

    /// A panel through the layer.
    pub(super) fn forward(&self, y: &mut [f32], z: &mut [f32], room: &mut Room) {
        let (f, by) = (self.law.activation, self.by());
        let (tall, wide) = (self.panels(self.height), self.panels(self.width));
        let b = Start::of(self.b);
        let force = match self.law.scheme {
            Scheme::Verlet => {
                let c = &mut room.a[..tall];
                self.apply(Plain, y, Start::of(self.b_z), f, c, Some((z, -by)));
                let a = &mut room.a[..wide];
                self.apply(Transposed, z, b, f, a, Some((y, by)));
                return;
            }
            Scheme::Euler(force) | Scheme::Leapfrog(force) => force,
        };
        let a = &mut room.a[..tall];
        self.apply(Plain, y, b, f, a, None);
        let euler = matches!(self.law.scheme, Scheme::Euler(_));
        let driven = if euler { &mut *y } else { &mut *z };
        match force {
            Force::Single => advance(driven, by, a),
            Force::Double => {
                let out = &mut room.d[..wide];
                let driven = Some((driven, -by));
                self.apply(
                    Transposed,
                    a,
                    Start::Zero,
                    Activation::Identity,
                    out,
                    driven,
                );
            }
        }
        if !euler {
            advance(y, 1., z);
        }
    }

    /// A chunk back: `state`, that after the layer, becomes that before it where the scheme has an inverse, and has to be that
    /// before it where it has none; `g`, the gradients after the layer, become those before it. Slopes are those at `y`, the
    /// features before the layer, where these are known and not rebuilt.
    pub(super) fn back(
        &self,
        state: &mut State,
        y: Option<&[f32]>,
        g: &mut State,
        sums: Gradients,
        room: &mut Room,
    ) {
        match self.law.scheme {
            Scheme::Verlet => self.back_verlet(state, y, g, sums, room),
            Scheme::Euler(force) | Scheme::Leapfrog(force) => {
                self.back_force(force, state, y, g, sums, room)
            }
        }
    }

    fn back_verlet(
        &self,
        state: &mut State,
        known: Option<&[f32]>,
        g: &mut State,
        mut sums: Gradients,
        room: &mut Room,
    ) {
        let (f, h) = (self.law.activation, self.by());
        let (tall, wide) = (self.panels(self.height), self.panels(self.width));
        let [y_len, z_len] = [state.y.len(), state.z.len()];
        // y += h sigma(K^T z + b)
        let d = &mut room.d[..y_len];
        let places = state
            .y
            .chunks_exact_mut(wide)
            .zip(state.z.chunks_exact(tall));
        let gradients = g.y.chunks_exact(wide).zip(g.z.chunks_exact_mut(tall));
        let all = places.zip(gradients).zip(d.chunks_exact_mut(wide));
        for (((y, z), (gy, gz)), d) in all {
            let a = &mut room.a[..wide];
            self.apply(Transposed, z, Start::of(self.b), f, a, Some((y, -h)));
            self.slopes(a, gy, h, d);
            self.add(Plain, d, gz);
        }
        self.outer(&state.z, d, 1., sums.k.as_deref_mut());
        self.sum(d, sums.b);
        if let Some(y) = known {
            state.y.copy_from_slice(y);
        }
        // z -= h sigma(K y + b_z)
        let d = &mut room.d[..z_len];
        let places = state
            .y
            .chunks_exact(wide)
            .zip(state.z.chunks_exact_mut(tall));
        let gradients = g.y.chunks_exact_mut(wide).zip(g.z.chunks_exact(tall));
        let all = places.zip(gradients).zip(d.chunks_exact_mut(tall));
        for (((y, z), (gy, gz)), d) in all {
            let c = &mut room.a[..tall];
            self.apply(Plain, y, Start::of(self.b_z), f, c, Some((z, h)));
            self.slopes(c, gz, -h, d);
            self.add(Transposed, d, gy);
        }
        self.outer(d, &state.y, 1., sums.k);
        self.sum(d, sums.b_z);
    }

    fn back_force(
        &self,
        force: Force,
        state: &mut State,
        known: Option<&[f32]>,
        g: &mut State,
        mut sums: Gradients,
        room: &mut Room,
    ) {
        let (f, by) = (self.law.activation, self.by());
        let (tall, wide) = (self.panels(self.height), self.panels(self.width));
        let leapfrog = matches!(self.law.scheme, Scheme::Leapfrog(_));
        if leapfrog {
            // y += z
            advance(&mut state.y, -1., &state.z);
            advance(&mut g.z, 1., &g.y);
        }
        if let Some(y) = known {
            state.y.copy_from_slice(y);
        }
        let inner = state.y.len() / self.width * self.height;
        let (a, d) = (&mut room.a[..inner], &mut room.d[..inner]);
        // The gradients of what f drives.
        let u = if leapfrog { &g.z } else { &g.y };
        let values = a.chunks_exact_mut(tall).zip(d.chunks_exact_mut(tall));
        let places = state.y.chunks_exact(wide).zip(u.chunks_exact(wide));
        for (i, ((a, d), (y, u))) in values.zip(places).enumerate() {
            let driven = leapfrog.then(|| &mut state.z[i * wide..(i + 1) * wide]);
            match force {
                Force::Single => {
                    let driven = driven.map(|z| (z, -by));
                    self.apply(Plain, y, Start::of(self.b), f, a, driven);
                    self.slopes(a, u, by, d);
                }
                Force::Double => {
                    let identity = Activation::Identity;
                    self.apply(Plain, y, Start::of(self.b), f, a, None);
                    if let Some(z) = driven {
                        let out = &mut room.e[..wide];
                        self.apply(Transposed, a, Start::Zero, identity, out, Some((z, by)));
                    }
                    let gradient = &mut room.e[..tall];
                    self.apply(Plain, u, Start::Zero, identity, gradient, None);
                    self.slopes(a, gradient, -by, d);
                }
            }
        }
        self.outer(d, &state.y, 1., sums.k.as_deref_mut());
        if force == Force::Double {
            self.outer(a, u, -by, sums.k);
        }
        self.sum(d, sums.b);
        for (d, gy) in d.chunks_exact(tall).zip(g.y.chunks_exact_mut(wide)) {
            self.add(Transposed, d, gy);
        }
    }

    /// `sums += by * sum of p q^T over the rows`.
    fn outer(&self, p: &[f32], q: &[f32], by: f32, sums: Option<&mut [f32]>) {
        let Some(sums) = sums else { return };
        lanes::dispatch(Outer {
            p,
            q,
            shape: [self.height, self.width],
            by,
            rows: self.rows,
            sums,
        });
    }

    fn sum(&self, x: &[f32], sums: Option<&mut [f32]>) {
        let Some(sums) = sums else { return };
        lanes::dispatch(Sum {
            x,
            rows: self.rows,
            sums,
        });
    }

    /// A panel through the layer, and its direction.
    pub(super) fn tangent(
        &self,
        moved: Moved,
        [y, z]: [&mut [f32]; 2],
        [dy, dz]: [&mut [f32]; 2],
        room: &mut Room,
    ) {
        let by = self.by();
        let (tall, wide) = (self.panels(self.height), self.panels(self.width));
        let (f, identity) = (self.law.activation, Activation::Identity);
        let force = match self.law.scheme {
            Scheme::Verlet => {
                let (c, dc) = (&mut room.a[..tall], &mut room.d[..tall]);
                self.pair(Plain, moved, [y, dy], [self.b_z, moved.b_z], f, [c, dc]);
                advance(z, -by, c);
                advance(dz, -by, dc);
                let (a, da) = (&mut room.a[..wide], &mut room.d[..wide]);
                self.pair(Transposed, moved, [z, dz], [self.b, moved.b], f, [a, da]);
                advance(y, by, a);
                advance(dy, by, da);
                return;
            }
            Scheme::Euler(force) | Scheme::Leapfrog(force) => force,
        };
        let (a, da) = (&mut room.a[..tall], &mut room.d[..tall]);
        self.pair(Plain, moved, [y, dy], [self.b, moved.b], f, [a, da]);
        let leapfrog = matches!(self.law.scheme, Scheme::Leapfrog(_));
        let (driven, d_driven) = match leapfrog {
            true => (&mut *z, &mut *dz),
            false => (&mut *y, &mut *dy),
        };
        match force {
            Force::Single => {
                advance(driven, by, a);
                advance(d_driven, by, da);
            }
            Force::Double => {
                let (out, rest) = room.e.split_at_mut(wide);
                let d_out = &mut rest[..wide];
                let none = [None, None];
                self.pair(Transposed, moved, [a, da], none, identity, [out, d_out]);
                advance(driven, -by, out);
                advance(d_driven, -by, d_out);
            }
        }
        if leapfrog {
            advance(y, 1., z);
            advance(dy, 1., dz);
        }
    }

    /// `f(A x + b)` and its derivative.
    fn pair(
        &self,
        side: Side,
        moved: Moved,
        [x, dx]: [&[f32]; 2],
        [b, db]: [Option<&[f32]>; 2],
        f: Activation,
        [out, d_out]: [&mut [f32]; 2],
    ) {
        let identity = Activation::Identity;
        self.apply(side, x, Start::of(b), f, out, None);
        self.apply(side, dx, Start::of(db), identity, d_out, None);
        if let Some(k) = moved.k {
            Layer { k, ..*self }.add(side, x, d_out);
        }
        if f != identity {
            f.backprop(out, d_out);
        }
    }
}

/// `x += by * d`
fn advance(x: &mut [f32], by: f32, d: &[f32]) {
    simd::dispatch(Advance { x, by, d });
}
