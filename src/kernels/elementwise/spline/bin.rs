//! Splines at one point each, many side by side: the bin, the quotient of quadratics on it, and their partial derivatives.
//!
//! On a bin of width w and height h with slopes d0 and d1 at its ends, secant s = h / w, and with p the share of the width
//! passed and q = 1 - p (Durkan et al. 2019, equations 4 and 5, here as sums of positive numbers alone):
//!
//! ```text
//!   y = y0 + h N / D       N = s p^2 + d0 p q       D = s (p^2 + q^2) + (d0 + d1) p q
//!   dy/dx = s^2 M / D^2    M = d1 p^2 + 2 s p q + d0 q^2
//! ```

use super::{LEAST, OFFSET, Spline};
use crate::kernels::number::double;
use candle_core::WithDType;

/// Points that go side by side; every loop over them is vectorized.
pub(super) const TURN: usize = 32;

/// A number of each point.
pub(super) type Lane = [f64; TURN];

/// The shares of widths and heights that a turn's bins have, and the raw slopes at their inner knots.
pub(super) struct Room {
    shares: [Vec<Lane>; 2],
    slopes: Vec<Lane>,
}

/// The bins that a turn's points are in.
pub(super) struct Bins {
    index: Lane,
    /// Of widths and of heights.
    start: [Lane; 2],
    size: [Lane; 2],
    /// At the ends, raw; 0 at the ends of the interval.
    slopes: [Lane; 2],
}

/// The bin of one point.
pub(super) struct Bin {
    x0: f64,
    y0: f64,
    width: f64,
    height: f64,
    /// At its ends.
    slopes: [f64; 2],
    /// How much of the width lies before the point, and how much behind.
    p: f64,
    q: f64,
}

impl Spline {
    /// The least size of a bin, and what the shares divide beside it.
    #[inline(always)]
    fn sizes(&self) -> (f64, f64) {
        let whole = self.high - self.low;
        (whole * LEAST, whole * (1. - self.bins as f64 * LEAST))
    }
}

impl Room {
    pub(super) fn new(spline: Spline) -> Self {
        let lanes = |n: usize| vec![[0.; TURN]; n];
        Room {
            shares: [lanes(spline.bins), lanes(spline.bins)],
            slopes: lanes(spline.slopes()),
        }
    }

    /// Reads the raw numbers of at most a turn of splines. Plain loops here and below: closures and iterators' methods are
    /// not always inlined, and then nothing vectorizes.
    #[inline(always)]
    fn load<T: WithDType, const FMA: bool>(&mut self, spline: Spline, raw: &[T]) {
        let bins = spline.bins;
        let [widths, heights] = &mut self.shares;
        for i in 0..bins {
            read(spline, i, raw, &mut widths[i]);
            read(spline, bins + i, raw, &mut heights[i]);
        }
        for (i, slopes) in self.slopes.iter_mut().enumerate() {
            read(spline, 2 * bins + i, raw, slopes);
        }
        softmax::<FMA>(widths);
        softmax::<FMA>(heights);
    }
}

/// Column `i` of the raw numbers of at most a turn of splines.
#[inline(always)]
fn read<T: WithDType>(spline: Spline, i: usize, raw: &[T], lane: &mut Lane) {
    let rows = raw.chunks_exact(spline.parameters());
    for (x, row) in lane.iter_mut().zip(rows) {
        *x = row[i].to_f64();
    }
}

/// As [`read`], the other way.
#[inline(always)]
fn write<T: WithDType>(spline: Spline, i: usize, lane: &Lane, raw: &mut [T]) {
    let rows = raw.chunks_exact_mut(spline.parameters());
    for (x, row) in lane.iter().zip(rows) {
        row[i] = T::from_f64(*x);
    }
}

#[inline(always)]
fn choose(first: bool, a: f64, b: f64) -> f64 {
    if first { a } else { b }
}

/// `e^raw` in parts of their sum, for each point.
#[inline(always)]
fn softmax<const FMA: bool>(shares: &mut [Lane]) {
    let mut most = [f64::NEG_INFINITY; TURN];
    for share in shares.iter() {
        for l in 0..TURN {
            most[l] = if share[l] > most[l] {
                share[l]
            } else {
                most[l]
            };
        }
    }
    let mut total = [0.; TURN];
    for share in shares.iter_mut() {
        for l in 0..TURN {
            share[l] = double::exp::<FMA>(share[l] - most[l]);
            total[l] += share[l];
        }
    }
    for total in &mut total {
        *total = 1. / *total;
    }
    for share in shares {
        for l in 0..TURN {
            share[l] *= total[l];
        }
    }
}

impl Bins {
    /// The bins of points of the interval, which are x, or y of the inverse.
    #[inline(always)]
    pub(super) fn find<T: WithDType, const FMA: bool, const INVERSE: bool>(
        spline: Spline,
        at: &Lane,
        raw: &[T],
        room: &mut Room,
    ) -> Self {
        room.load::<T, FMA>(spline, raw);
        let (least, scale) = spline.sizes();
        let mut from = [[spline.low; TURN]; 2];
        let mut bins = Bins {
            index: [0.; TURN],
            start: from,
            size: [[0.; TURN]; 2],
            slopes: [[0.; TURN]; 2],
        };
        for i in 0..spline.bins {
            let last = i + 1 == spline.bins;
            let (widths, heights) = (&room.shares[0][i], &room.shares[1][i]);
            let none = &[0.; TURN];
            // With tails there is none at the first knot, and none at the last.
            let first = usize::from(spline.tails);
            let before = if i < first {
                none
            } else {
                &room.slopes[i - first]
            };
            let behind = room.slopes.get(i + 1 - first).unwrap_or(none);
            let Bins {
                index,
                start: [x0, y0],
                size: [width, height],
                slopes: [d0, d1],
            } = &mut bins;
            for l in 0..TURN {
                let (x, y) = (from[0][l], from[1][l]);
                let here = at[l] >= if INVERSE { y } else { x };
                // The last one ends at the end exactly.
                let to_x = choose(last, spline.high, x + (least + scale * widths[l]));
                let to_y = choose(last, spline.high, y + (least + scale * heights[l]));
                index[l] = choose(here, i as f64, index[l]);
                x0[l] = choose(here, x, x0[l]);
                y0[l] = choose(here, y, y0[l]);
                width[l] = choose(here, to_x - x, width[l]);
                height[l] = choose(here, to_y - y, height[l]);
                d0[l] = choose(here, before[l], d0[l]);
                d1[l] = choose(here, behind[l], d1[l]);
                (from[0][l], from[1][l]) = (to_x, to_y);
            }
        }
        bins
    }

    /// That of point `l`, which is at `at`.
    #[inline(always)]
    pub(super) fn at<const FMA: bool, const INVERSE: bool>(
        &self,
        spline: Spline,
        l: usize,
        at: f64,
    ) -> Bin {
        let (first, last) = (
            self.index[l] == 0.,
            self.index[l] == (spline.bins - 1) as f64,
        );
        let [d0, d1] = [self.slopes[0][l], self.slopes[1][l]];
        let (d0, d1) = (
            LEAST + double::softplus::<FMA>(d0 + OFFSET),
            LEAST + double::softplus::<FMA>(d1 + OFFSET),
        );
        let mut bin = Bin {
            x0: self.start[0][l],
            y0: self.start[1][l],
            width: self.size[0][l],
            height: self.size[1][l],
            slopes: [
                choose(first & spline.tails, 1., d0),
                choose(last & spline.tails, 1., d1),
            ],
            p: 0.,
            q: 1.,
        };
        let p = match INVERSE {
            false => (at - bin.x0) / bin.width,
            true => bin.solve((at - bin.y0) / bin.height),
        };
        // Rounding may lead just outside; NaN stays.
        let p = if p < 0. { 0. } else { p };
        bin.p = if p > 1. { 1. } else { p };
        bin.q = 1. - bin.p;
        bin
    }
}

impl Bin {
    /// p from the share of the height passed, `t`: the root of equation 6. Every sum is one of positive numbers: the
    /// discriminant is never negative, and whichever form of the root subtracts is not used.
    #[inline(always)]
    fn solve(&self, t: f64) -> f64 {
        let (s, [d0, d1]) = (self.height / self.width, self.slopes);
        let u = 1. - t;
        let b = u * d0 + t * (2. * s - d1);
        let gap = u * d0 - t * d1;
        let square = gap * gap + 4. * s * s * t * u;
        let root = if square > 0. { square } else { 0. }.sqrt();
        let (over, under) = (root - b, 2. * (s - b));
        let down = b < 0.;
        let over = if down { over } else { 2. * s * t };
        let under = if down { under } else { b + root };
        over / under
    }

    /// The result and its log-slope.
    #[inline(always)]
    pub(super) fn value<const FMA: bool, const INVERSE: bool>(&self) -> (f64, f64) {
        let Quotient { n, d, m } = self.quotient();
        let share = self.height / (self.width * d);
        let log = double::ln::<FMA>(m * share * share);
        match INVERSE {
            false => (self.y0 + self.height * (n / d), log),
            true => (self.x0 + self.width * self.p, -log),
        }
    }

    #[inline(always)]
    fn quotient(&self) -> Quotient {
        let (s, [d0, d1]) = (self.height / self.width, self.slopes);
        let (p, q) = (self.p, self.q);
        Quotient {
            n: p * (s * p + d0 * q),
            d: s * (p * p + q * q) + (d0 + d1) * (p * q),
            m: d1 * p * p + 2. * s * p * q + d0 * q * q,
        }
    }
}

struct Quotient {
    n: f64,
    d: f64,
    m: f64,
}

/// The loss's gradients at one point.
pub(super) struct Gradient {
    pub(super) argument: f64,
    /// The bin's lower left corner.
    start: [f64; 2],
    /// Width and height.
    size: [f64; 2],
    slopes: [f64; 2],
}

impl Gradient {
    /// From those of the result and of the log-slope.
    ///
    /// The inverse x(y) with log-slope -L(x) has `dx = (dy - y_theta dtheta) / y_x`: its parameters' gradients are those of
    /// the forward direction with `-a / y_x` and `-gl` in place of gy and gl, where `a = gx - gl L_x`, and that of its
    /// argument is `a / y_x`.
    #[inline(always)]
    pub(super) fn of<const INVERSE: bool>(bin: &Bin, g: f64, gl: f64) -> Self {
        let (by_width, [d0, d1]) = (1. / bin.width, bin.slopes);
        let s = bin.height * by_width;
        let (p, q) = (bin.p, bin.q);
        let Quotient { n, d, m } = bin.quotient();
        let (by_d, by_m, by_s) = (1. / d, 1. / m, 1. / s);
        let share = n * by_d;
        let slope = m * (s * by_d) * (s * by_d);
        // With respect to p, s, d0, d1.
        let d_p = (q - p) * (d0 + d1 - 2. * s);
        let d_s = p * p + q * q;
        let pq = p * q;
        let m_p = 2. * (d1 * p + s * (q - p) - d0 * q);
        let share_p = slope * by_s;
        let share_s = (p * p - share * d_s) * by_d;
        let share_d0 = (pq - share * pq) * by_d;
        let share_d1 = -share * pq * by_d;
        let twice = 2. * by_d;
        let log_p = m_p * by_m - d_p * twice;
        let log_s = 2. * pq * by_m - d_s * twice + 2. * by_s;
        let log_d0 = q * q * by_m - pq * twice;
        let log_d1 = p * p * by_m - pq * twice;
        let (gy, gl) = match INVERSE {
            false => (g, gl),
            true => (-(g - gl * log_p * by_width) / slope, -gl),
        };
        let gh = gy * bin.height;
        let (to_p, to_s) = (gh * share_p + gl * log_p, gh * share_s + gl * log_s);
        Gradient {
            argument: if INVERSE { -gy } else { to_p * by_width },
            start: [-to_p * by_width, gy],
            size: [
                -(to_p * p + to_s * s) * by_width,
                gy * share + to_s * by_width,
            ],
            slopes: [gh * share_d0 + gl * log_d0, gh * share_d1 + gl * log_d1],
        }
    }
}

/// The gradients of a turn's bins.
pub(super) struct Gradients {
    start: [Lane; 2],
    size: [Lane; 2],
    slopes: [Lane; 2],
}

impl Gradients {
    #[inline(always)]
    pub(super) fn new() -> Self {
        let pair = [[0.; TURN]; 2];
        Gradients {
            start: pair,
            size: pair,
            slopes: pair,
        }
    }

    /// Those of point `l`, zero where it is not `inside`.
    #[inline(always)]
    pub(super) fn put(&mut self, l: usize, gradient: &Gradient, inside: bool) {
        for i in 0..2 {
            self.start[i][l] = choose(inside, gradient.start[i], 0.);
            self.size[i][l] = choose(inside, gradient.size[i], 0.);
            self.slopes[i][l] = choose(inside, gradient.slopes[i], 0.);
        }
    }

    /// Through knots, shares and slopes to the raw numbers.
    #[inline(always)]
    pub(super) fn to_raw<T: WithDType, const FMA: bool>(
        &self,
        spline: Spline,
        bins: &Bins,
        inside: &[bool; TURN],
        room: &Room,
        out: &mut [T],
    ) {
        let (_, scale) = spline.sizes();
        let count = spline.bins;
        for axis in 0..2 {
            let (shares, start, size) = (&room.shares[axis], &self.start[axis], &self.size[axis]);
            // Every knot behind a bin moves with its size.
            let mut mean = [0.; TURN];
            for (i, share) in shares.iter().enumerate() {
                for l in 0..TURN {
                    let own = choose(bins.index[l] == i as f64, size[l], 0.);
                    mean[l] += share[l] * choose(bins.index[l] > i as f64, start[l], own);
                }
            }
            for (i, share) in shares.iter().enumerate() {
                let mut lane = [0.; TURN];
                for l in 0..TURN {
                    let own = choose(bins.index[l] == i as f64, size[l], 0.);
                    let own = choose(bins.index[l] > i as f64, start[l], own);
                    lane[l] = choose(inside[l], scale * share[l] * (own - mean[l]), 0.);
                }
                write(spline, axis * count + i, &lane, out);
            }
        }
        let mut slopes = self.slopes;
        for (slopes, raw) in slopes.iter_mut().zip(&bins.slopes) {
            for l in 0..TURN {
                let slope = slopes[l] / (1. + double::exp::<FMA>(-(raw[l] + OFFSET)));
                slopes[l] = choose(inside[l], slope, 0.);
            }
        }
        for i in 0..spline.slopes() {
            let mut lane = [0.; TURN];
            // The knot before this bin.
            let knot = (i + usize::from(spline.tails)) as f64;
            for l in 0..TURN {
                let behind = choose(bins.index[l] + 1. == knot, slopes[1][l], 0.);
                lane[l] = choose(bins.index[l] == knot, slopes[0][l], behind);
            }
            write(spline, 2 * count + i, &lane, out);
        }
    }
}
