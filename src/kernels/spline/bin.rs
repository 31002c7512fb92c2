//! One spline at one of its points: the bin, the quotient of quadratics on it, and their partial derivatives.
//!
//! On a bin of width w and height h with slopes d0 and d1 at its ends, secant s = h / w, and with p the share of the width
//! passed and q = 1 - p (Durkan et al. 2019, equations 4 and 5, here as sums of positive numbers alone):
//!
//! ```text
//!   y = y0 + h N / D       N = s p^2 + d0 p q       D = s (p^2 + q^2) + (d0 + d1) p q
//!   dy/dx = s^2 M / D^2    M = d1 p^2 + 2 s p q + d0 q^2
//! ```

use super::{LEAST, OFFSET, Spline};
use crate::kernels::math64;
use candle_core::WithDType;

/// The bin that a point is in, and where.
pub(super) struct Bin {
    index: usize,
    /// Its lower left corner.
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

/// `e^raw` in parts of their sum.
#[inline(always)]
fn softmax<T: WithDType, const FMA: bool>(raw: &[T], shares: &mut [f64]) {
    let mut most = f64::NEG_INFINITY;
    for (share, raw) in shares.iter_mut().zip(raw) {
        *share = raw.to_f64();
        most = most.max(*share);
    }
    for share in shares.iter_mut() {
        *share = math64::exp::<FMA>(*share - most);
    }
    let total: f64 = shares.iter().sum();
    for share in shares {
        *share /= total;
    }
}

#[inline(always)]
fn softplus<const FMA: bool>(x: f64) -> f64 {
    let tail = math64::ln_1p::<FMA>(math64::exp::<FMA>(-x.abs()));
    tail + if x > 0. { x } else { 0. }
}

impl Spline {
    /// The size of the interval and the part of it that the shares divide.
    #[inline(always)]
    fn scale(&self) -> f64 {
        2. * self.bound * (1. - self.bins as f64 * LEAST)
    }

    /// The bin that holds `at`, its start and its size. The last one ends at the bound exactly.
    #[inline(always)]
    fn find(&self, shares: &[f64], at: f64) -> (usize, f64, f64) {
        let (least, scale) = (2. * self.bound * LEAST, self.scale());
        let mut start = -self.bound;
        for (i, share) in shares[..self.bins - 1].iter().enumerate() {
            let end = start + (least + scale * share);
            if at < end {
                return (i, start, end - start);
            }
            start = end;
        }
        (self.bins - 1, start, self.bound - start)
    }

    /// Start and size of a bin.
    #[inline(always)]
    fn bin(&self, shares: &[f64], index: usize) -> (f64, f64) {
        let (least, scale) = (2. * self.bound * LEAST, self.scale());
        let mut start = -self.bound;
        for share in &shares[..index] {
            start += least + scale * share;
        }
        match index + 1 == self.bins {
            true => (start, self.bound - start),
            false => (start, start + (least + scale * shares[index]) - start),
        }
    }

    /// The slopes at the ends of a bin.
    #[inline(always)]
    fn slopes<T: WithDType, const FMA: bool>(&self, raw: &[T], index: usize) -> [f64; 2] {
        [index, index + 1].map(|knot| match knot == 0 || knot == self.bins {
            true => 1.,
            false => LEAST + softplus::<FMA>(raw[2 * self.bins + knot - 1].to_f64() + OFFSET),
        })
    }
}

impl Bin {
    /// The bin of `at`, which is inside the bound: an x, or a y of the inverse. Leaves the shares of widths and heights.
    #[inline(always)]
    pub(super) fn of<T: WithDType, const FMA: bool>(
        spline: Spline,
        at: f64,
        raw: &[T],
        shares: &mut [f64],
    ) -> Self {
        let (widths, heights) = shares.split_at_mut(spline.bins);
        softmax::<T, FMA>(&raw[..spline.bins], widths);
        softmax::<T, FMA>(&raw[spline.bins..2 * spline.bins], heights);
        let (index, x0, width, y0, height);
        if spline.inverse {
            (index, y0, height) = spline.find(heights, at);
            (x0, width) = spline.bin(widths, index);
        } else {
            (index, x0, width) = spline.find(widths, at);
            (y0, height) = spline.bin(heights, index);
        }
        let mut bin = Bin {
            index,
            x0,
            y0,
            width,
            height,
            slopes: spline.slopes::<T, FMA>(raw, index),
            p: 0.,
            q: 1.,
        };
        bin.p = match spline.inverse {
            false => (at - x0) / width,
            true => bin.solve((at - y0) / height),
        };
        // Rounding may lead just outside; NaN stays.
        bin.p = bin.p.clamp(0., 1.);
        bin.q = 1. - bin.p;
        bin
    }

    /// p from the share of the height passed, `t`: the root of equation 6. Every sum is one of positive numbers: the
    /// discriminant is never negative, and whichever form of the root subtracts is not used.
    #[inline(always)]
    fn solve(&self, t: f64) -> f64 {
        let (s, [d0, d1]) = (self.height / self.width, self.slopes);
        let u = 1. - t;
        let b = u * d0 + t * (2. * s - d1);
        let gap = u * d0 - t * d1;
        let root = (gap * gap + 4. * s * s * t * u).max(0.).sqrt();
        if b < 0. {
            (root - b) / (2. * (s - b))
        } else {
            2. * s * t / (b + root)
        }
    }

    /// The result and its log-slope.
    #[inline(always)]
    pub(super) fn value<const FMA: bool>(&self, inverse: bool) -> (f64, f64) {
        let Quotient { n, d, m } = self.quotient();
        let s = self.height / self.width;
        let log = math64::ln::<FMA>(m * (s / d) * (s / d));
        match inverse {
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
    x0: f64,
    y0: f64,
    width: f64,
    height: f64,
    slopes: [f64; 2],
}

impl Gradient {
    /// From those of the result and of the log-slope.
    ///
    /// The inverse x(y) with log-slope -L(x) has `dx = (dy - y_theta dtheta) / y_x`: its parameters' gradients are those of
    /// the forward direction with `-a / y_x` and `-gl` in place of gy and gl, where `a = gx - gl L_x`, and that of its
    /// argument is `a / y_x`.
    #[inline(always)]
    pub(super) fn of(bin: &Bin, inverse: bool, g: f64, gl: f64) -> Self {
        let (width, s, [d0, d1]) = (bin.width, bin.height / bin.width, bin.slopes);
        let (p, q) = (bin.p, bin.q);
        let Quotient { n, d, m } = bin.quotient();
        let share = n / d;
        let slope = m * (s / d) * (s / d);
        // With respect to p, s, d0, d1.
        let d_of = [(q - p) * (d0 + d1 - 2. * s), p * p + q * q, p * q, p * q];
        let m_of = [
            2. * (d1 * p + s * (q - p) - d0 * q),
            2. * p * q,
            q * q,
            p * p,
        ];
        let share_of = [
            slope / s,
            (p * p - share * d_of[1]) / d,
            (p * q - share * d_of[2]) / d,
            -share * d_of[3] / d,
        ];
        let mut log_of = [0.; 4];
        for i in 0..4 {
            log_of[i] = m_of[i] / m - 2. * d_of[i] / d;
        }
        log_of[1] += 2. / s;
        let (gy, gl) = match inverse {
            false => (g, gl),
            true => (-(g - gl * log_of[0] / width) / slope, -gl),
        };
        let mut of = [0.; 4];
        for i in 0..4 {
            of[i] = gy * bin.height * share_of[i] + gl * log_of[i];
        }
        let [by_p, by_s, by_d0, by_d1] = of;
        Gradient {
            argument: if inverse { -gy } else { by_p / width },
            x0: -by_p / width,
            y0: gy,
            width: -(by_p * p + by_s * s) / width,
            height: gy * share + by_s / width,
            slopes: [by_d0, by_d1],
        }
    }

    /// Through knots, shares and slopes to the raw numbers; those of slopes elsewhere stay as they are.
    #[inline(always)]
    pub(super) fn to_raw<T: WithDType, const FMA: bool>(
        &self,
        spline: Spline,
        bin: &Bin,
        raw: &[T],
        shares: &[f64],
        out: &mut [T],
    ) {
        let (bins, scale) = (spline.bins, spline.scale());
        let (widths, heights) = shares.split_at(bins);
        let (to_widths, rest) = out.split_at_mut(bins);
        let (to_heights, to_slopes) = rest.split_at_mut(bins);
        let axes = [
            (widths, self.x0, self.width, to_widths),
            (heights, self.y0, self.height, to_heights),
        ];
        for (shares, start, size, out) in axes {
            let (start, size) = (scale * start, scale * size);
            let before: f64 = shares[..bin.index].iter().sum();
            let mean = start * before + size * shares[bin.index];
            for (j, (out, share)) in out.iter_mut().zip(shares).enumerate() {
                let own = match j.cmp(&bin.index) {
                    std::cmp::Ordering::Less => start,
                    std::cmp::Ordering::Equal => size,
                    std::cmp::Ordering::Greater => 0.,
                };
                *out = T::from_f64(share * (own - mean));
            }
        }
        for (knot, gradient) in [bin.index, bin.index + 1].into_iter().zip(self.slopes) {
            if knot > 0 && knot < bins {
                let v = raw[2 * bins + knot - 1].to_f64() + OFFSET;
                let sigmoid = 1. / (1. + math64::exp::<FMA>(-v));
                to_slopes[knot - 1] = T::from_f64(gradient * sigmoid);
            }
        }
    }
}
