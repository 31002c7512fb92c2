//! A slice of the normal density: its mass, moments, tails and quantiles, in f64.
//!
//! Positions are measured from the point of the slice where the density is largest, in standard deviations, so that the
//! density there is 1 and nothing underflows however far out the slice is. Moments are sums over quadrature nodes: no
//! difference of two near-equal numbers is taken, however narrow the slice.

use super::tail::{legendre, nodes};
use super::{erf, mills, ndtr, ndtri};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Below this width, in standard deviations, quadrature is exact and differences are not.
const NARROW: f64 = 2.;

/// The density `e^-E(t)` with the energy `E(t) = a t + t^2 / 2`, for t between two ends.
pub(crate) struct Slice {
    /// 1 where t grows with x, -1 where it falls.
    pub(crate) sign: f64,
    /// The x of t = 0.
    pub(crate) anchor: f64,
    scale: f64,
    pub(crate) a: f64,
    /// Where x is `low` and `high`.
    low: f64,
    high: f64,
    /// The ends in the order of t.
    from: f64,
    to: f64,
    /// The logarithm of the integral over t.
    pub(crate) log_size: f64,
}

/// Mean and central moments of a part of a slice, in t.
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
    pub(crate) third: f64,
    pub(crate) fourth: f64,
}

/// An end of a slice: the density of x there, the position, the energy.
pub(crate) struct End {
    pub(crate) density: f64,
    pub(crate) t: f64,
    pub(crate) energy: f64,
}

impl Slice {
    pub(crate) fn new([loc, scale, low, high]: [f64; 4]) -> Self {
        let (alpha, beta, width) = (
            (low - loc) / scale,
            (high - loc) / scale,
            (high - low) / scale,
        );
        let narrow = width <= NARROW;
        let (sign, anchor, a, low, high) = if alpha >= 0. || (narrow && -alpha <= beta) {
            (1., low, alpha, 0., width)
        } else if beta <= 0. || narrow {
            (-1., high, -beta, width, 0.)
        } else {
            (1., loc, 0., alpha, beta)
        };
        let (from, to) = if sign > 0. { (low, high) } else { (high, low) };
        let log_size = log_mass(a, [from, to], to - from);
        Slice {
            sign,
            anchor,
            scale,
            a,
            low,
            high,
            from,
            to,
            log_size,
        }
    }

    /// The t of an x.
    pub(crate) fn place(&self, x: f64) -> f64 {
        self.sign * (x - self.anchor) / self.scale
    }

    pub(crate) fn energy(&self, t: f64) -> f64 {
        energy(self.a, t)
    }

    /// The log-density of the x at t.
    pub(crate) fn log_density(&self, t: f64) -> f64 {
        -self.energy(t) - self.log_size - self.scale.ln()
    }

    pub(crate) fn ends(&self) -> [End; 2] {
        [self.low, self.high].map(|t| End {
            density: self.log_density(t).exp(),
            t,
            energy: self.energy(t),
        })
    }

    /// Moments of all of it.
    pub(crate) fn moments(&self) -> Moments {
        moments(self.a, [self.from, self.to], self.to - self.from)
    }

    /// Moments of the part below the x of this t and of that above.
    pub(crate) fn parts(&self, t: f64) -> [Moments; 2] {
        let head = moments(self.a, [self.from, t], t - self.from);
        let tail = moments(self.a, [t, self.to], self.to - t);
        self.ordered([head, tail])
    }

    /// Whether t is an end, or beyond it.
    pub(crate) fn is_end(&self, t: f64) -> bool {
        t <= self.from || t >= self.to
    }

    /// ln P(X <= x) and ln P(X > x).
    pub(crate) fn log_tails(&self, x: f64, ends: [f64; 2]) -> [f64; 2] {
        let (t, [before, after]) = (self.place(x), self.gaps(x, ends));
        let tails = if before <= 0. {
            [f64::NEG_INFINITY, 0.]
        } else if after <= 0. {
            [0., f64::NEG_INFINITY]
        } else {
            let head = log_mass(self.a, [self.from, t], before) - self.log_size;
            let tail = log_mass(self.a, [t, self.to], after) - self.log_size;
            // The larger from the smaller: both keep their digits.
            if head < tail {
                [head, (-head.exp()).ln_1p()]
            } else {
                [(-tail.exp()).ln_1p(), tail]
            }
        };
        self.ordered(tails)
    }

    /// The t of the x with P(X <= x) = p.
    pub(crate) fn quantile(&self, p: f64) -> f64 {
        let [head, tail] = self.ordered([p, 1. - p]);
        if head == 0. {
            self.from
        } else if tail == 0. {
            self.to
        } else if self.from < 0. {
            // Tails of the whole normal, each a sum of positive numbers.
            let size = ndtr(self.to) - ndtr(self.from);
            let [left, right] = [ndtr(self.from) + head * size, ndtr(-self.to) + tail * size];
            if left < right {
                ndtri(left)
            } else {
                -ndtri(right)
            }
        } else {
            self.position(head, tail)
        }
    }

    /// The x of a t, never outside of the ends.
    pub(crate) fn value(&self, t: f64, [low, high]: [f64; 2]) -> f64 {
        let x = self.anchor + self.sign * self.scale * t;
        // As comparisons, so that NaN stays NaN.
        if x < low {
            low
        } else if x > high {
            high
        } else {
            x
        }
    }

    /// The t with this mass before it, and after it. The steps follow the density's tangent in the logarithm, which is
    /// above it: from the left end they grow up to the solution and never beyond.
    fn position(&self, head: f64, tail: f64) -> f64 {
        let (size, mut t) = (self.log_size.exp(), 0.);
        for _ in 0..100 {
            let slope = self.a + t;
            // The mass up to the solution, per density here; from the smaller of both sides.
            let missing = if head <= 0.5 {
                (head * size - mass(self.a, t)) * self.energy(t).exp()
            } else {
                mass(slope, self.to - t) - tail * size * self.energy(t).exp()
            };
            let bend = slope * missing;
            let step = if bend.abs() < 1e-12 {
                missing
            } else {
                -(-bend).ln_1p() / slope
            };
            if step.is_nan() {
                return step;
            }
            if step <= 1e-16 * t {
                break;
            }
            t = (t + step).min(self.to);
        }
        t
    }

    /// The distances from an x to both ends, in the order of t.
    fn gaps(&self, x: f64, [low, high]: [f64; 2]) -> [f64; 2] {
        self.ordered([(x - low) / self.scale, (high - x) / self.scale])
    }

    /// From the order of x to that of t, or back.
    fn ordered<T>(&self, [first, second]: [T; 2]) -> [T; 2] {
        if self.sign > 0. {
            [first, second]
        } else {
            [second, first]
        }
    }
}

fn energy(a: f64, t: f64) -> f64 {
    t * (a + 0.5 * t)
}

/// The integral of `e^-E(t)` for t from 0 to `width`.
fn mass(a: f64, width: f64) -> f64 {
    let last = energy(a, width);
    if last <= 2. {
        legendre(0., width, |t| (-energy(a, t)).exp())
    } else {
        mills(a) - (-last).exp() * mills(a + width)
    }
}

/// The logarithm of the integral of `e^-E(t)` from one t to another.
fn log_mass(a: f64, [from, to]: [f64; 2], width: f64) -> f64 {
    if a + from >= 0. {
        mass(a + from, width).ln() - energy(a, from)
    } else if a + to <= 0. {
        mass(-(a + to), width).ln() - energy(a, to)
    } else if width <= NARROW {
        mass(a + from, width).ln() - energy(a, from)
    } else {
        // Only slices that are measured from their mean, with a = 0, are wide and on both sides of it.
        let halves = erf(to * FRAC_1_SQRT_2) + erf(-from * FRAC_1_SQRT_2);
        halves.ln() + 0.5 * (0.5 * PI).ln()
    }
}

fn moments(a: f64, [from, to]: [f64; 2], width: f64) -> Moments {
    let (left, right) = (a + from, a + to);
    // From the densest point outwards: where, to which side, how far.
    let sides = if left >= 0. {
        [(from, 1., width), (from, 1., 0.)]
    } else if right <= 0. {
        [(to, -1., width), (to, -1., 0.)]
    } else {
        [(-a, -1., -left), (-a, 1., right)]
    };
    let mut cells = Vec::with_capacity(240);
    for (start, direction, length) in sides {
        let slope = (a + start).abs();
        // Beyond energy 40 there is nothing left.
        let end = length.min(80. / (slope + slope.hypot(80f64.sqrt())));
        if end > 0. {
            let shares = nodes(end, energy(slope, end) > 2.);
            cells.extend(
                shares.map(|(t, share)| (direction * t, share * (-energy(slope, t)).exp())),
            );
        }
    }
    let total: f64 = cells.iter().map(|(_, share)| share).sum();
    let average = |f: &dyn Fn(f64) -> f64| {
        let sum: f64 = cells.iter().map(|(t, share)| share * f(*t)).sum();
        sum / total
    };
    let mean = average(&|t| t);
    Moments {
        mean: sides[0].0 + mean,
        variance: average(&|t| (t - mean).powi(2)),
        third: average(&|t| (t - mean).powi(3)),
        fourth: average(&|t| (t - mean).powi(4)),
    }
}
