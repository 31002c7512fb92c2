//! One mixture: its distribution function, slopes and quantiles.

use super::{Component, Scale};
use crate::kernels::number::root::{self, At};
use crate::kernels::number::{log_ndtr, mills, ndtri, ndtri_exp};
use std::f64::consts::TAU;

/// The mixture of one element.
pub(super) struct Mixture {
    component: Component,
    log_weights: Vec<f64>,
    loc: Vec<f64>,
    log_scale: Vec<f64>,
}

/// Logarithms of F, of 1 - F and of the density, of a mixture or of a component.
#[derive(Clone, Copy)]
struct Logs {
    below: f64,
    above: f64,
    density: f64,
}

impl Logs {
    /// The standard normal quantile of F, from the smaller tail.
    fn probit(self) -> f64 {
        match self.below < self.above {
            true => ndtri_exp(self.below),
            false => -ndtri_exp(self.above),
        }
    }
}

/// The logarithm of a sum of exponentials, a number at a time.
#[derive(Clone, Copy)]
struct Sum {
    max: f64,
    sum: f64,
}

impl Sum {
    const ZERO: Sum = Sum {
        max: f64::NEG_INFINITY,
        sum: 0.,
    };

    fn add(&mut self, x: f64) {
        if x > self.max {
            self.sum = self.sum * (self.max - x).exp() + 1.;
            self.max = x;
        } else if x > f64::NEG_INFINITY {
            self.sum += (x - self.max).exp();
        } else if x.is_nan() {
            self.sum = x;
        }
    }

    fn ln(self) -> f64 {
        self.max + self.sum.ln()
    }
}

impl Component {
    /// Of z, without the scale.
    fn logs(self, z: f64) -> Logs {
        match self {
            Component::Logistic => {
                let rest = (-z.abs()).exp().ln_1p();
                let (below, above) = (z.min(0.) - rest, (-z).min(0.) - rest);
                Logs {
                    below,
                    above,
                    density: -z.abs() - 2. * rest,
                }
            }
            Component::Gaussian => Logs {
                below: log_ndtr(z),
                above: log_ndtr(-z),
                density: -0.5 * z * z - 0.5 * TAU.ln(),
            },
        }
    }

    /// Derivatives of the three logarithms to z.
    fn slopes(self, z: f64) -> Logs {
        match self {
            Component::Logistic => {
                let e = (-z.abs()).exp();
                let (small, large) = (e / (1. + e), 1. / (1. + e));
                let (below, above) = if z > 0. {
                    (small, large)
                } else {
                    (large, small)
                };
                Logs {
                    below,
                    above: -above,
                    density: below - above,
                }
            }
            Component::Gaussian => Logs {
                below: 1. / mills(-z),
                above: -1. / mills(z),
                density: -z,
            },
        }
    }

    /// The logarithm of the slope of ln F at z.
    fn log_slope(self, z: f64) -> f64 {
        match self {
            Component::Gaussian if z < 0. => -mills(-z).ln(),
            _ => {
                let logs = self.logs(z);
                logs.density - logs.below
            }
        }
    }

    /// About the z with `ln F - ln(1 - F) = t`, exactly for the logistic.
    fn quantile(self, t: f64) -> f64 {
        match self {
            Component::Logistic => t,
            Component::Gaussian => {
                let tail = 1. / (1. + t.abs().exp());
                let z = if tail > 0. {
                    -ndtri(tail)
                } else {
                    (2. * t.abs()).sqrt()
                };
                z.copysign(t)
            }
        }
    }
}

impl Mixture {
    pub(super) fn new(
        component: Component,
        logits: Vec<f64>,
        loc: Vec<f64>,
        log_scale: Vec<f64>,
    ) -> Self {
        let mut total = Sum::ZERO;
        logits.iter().for_each(|x| total.add(*x));
        let total = total.ln();
        Mixture {
            component,
            log_weights: logits.into_iter().map(|x| x - total).collect(),
            loc,
            log_scale,
        }
    }

    fn z(&self, k: usize, x: f64) -> f64 {
        (x - self.loc[k]) * (-self.log_scale[k]).exp()
    }

    /// Of component k, with its weight and scale.
    fn part(&self, k: usize, x: f64) -> Logs {
        let logs = self.component.logs(self.z(k, x));
        let weight = self.log_weights[k];
        Logs {
            below: weight + logs.below,
            above: weight + logs.above,
            density: weight + logs.density - self.log_scale[k],
        }
    }

    fn logs(&self, x: f64) -> Logs {
        let [mut below, mut above, mut density] = [Sum::ZERO; 3];
        for k in 0..self.loc.len() {
            let part = self.part(k, x);
            below.add(part.below);
            above.add(part.above);
            density.add(part.density);
        }
        Logs {
            below: below.ln(),
            above: above.ln(),
            density: density.ln(),
        }
    }

    /// y and ln dy/dx.
    pub(super) fn at(&self, scale: Scale, x: f64) -> [f64; 2] {
        let logs = self.logs(x);
        match scale {
            Scale::Probability if logs.below < logs.above => [logs.below.exp(), logs.density],
            Scale::Probability => [-logs.above.exp_m1(), logs.density],
            Scale::Logit => [
                logs.below - logs.above,
                logs.density - logs.below - logs.above,
            ],
            Scale::Probit => {
                let y = logs.probit();
                let lower = logs.below < logs.above;
                // By slopes of the logarithms of tails: far out the density's own logarithm is far larger than the result.
                let mut slope = Sum::ZERO;
                for k in 0..self.loc.len() {
                    let (part, z) = (self.part(k, x), self.z(k, x));
                    let (share, z) = match lower {
                        true => (part.below - logs.below, z),
                        false => (part.above - logs.above, -z),
                    };
                    slope.add(share + self.component.log_slope(z) - self.log_scale[k]);
                }
                [y, slope.ln() + mills(if lower { -y } else { y }).ln()]
            }
        }
    }

    /// The x with `ln F - ln(1 - F) = t`; it lies between those of the components.
    pub(super) fn quantile(&self, t: f64) -> Option<f64> {
        let z = self.component.quantile(t);
        let scales = self.log_scale.iter().map(|log| log.exp());
        let width = scales.clone().fold(f64::MIN_POSITIVE, f64::max);
        let own = self
            .loc
            .iter()
            .zip(scales)
            .map(|(loc, scale)| loc + scale * z);
        let low = own.clone().fold(f64::INFINITY, f64::min);
        let high = own.fold(f64::NEG_INFINITY, f64::max);
        root::rising([low, high], width, |x| {
            let logs = self.logs(x);
            let size = logs.below.abs() + logs.above.abs() + t.abs();
            At {
                value: logs.below - logs.above - t,
                slope: (logs.density - logs.below - logs.above).exp(),
                noise: 0.25 * f64::EPSILON * size,
            }
        })
    }

    /// The derivative to x of `gradient . (y, ln dy/dx)`; those to logits, loc and log-scale go to `f`, component by
    /// component.
    pub(super) fn slopes(
        &self,
        scale: Scale,
        x: f64,
        gradient: [f64; 2],
        mut f: impl FnMut(usize, [f64; 3]),
    ) -> f64 {
        let logs = self.logs(x);
        let [y, log] = gradient;
        // To ln F, ln(1 - F) and the log-density.
        let to = match scale {
            Scale::Probability => [y * logs.below.exp(), 0., log],
            Scale::Logit => [y - log, -y - log, log],
            Scale::Probit => {
                let at = logs.probit();
                let y = y + log * at;
                match logs.below < logs.above {
                    true => [y * mills(-at), 0., log],
                    false => [0., -y * mills(at), log],
                }
            }
        };
        let mut to_x = 0.;
        for k in 0..self.loc.len() {
            let (part, z) = (self.part(k, x), self.z(k, x));
            let slopes = self.component.slopes(z);
            let weight = self.log_weights[k].exp();
            let shares = [
                (part.below - logs.below).exp(),
                (part.above - logs.above).exp(),
                (part.density - logs.density).exp(),
            ];
            let slopes = [slopes.below, slopes.above, slopes.density];
            let (mut to_z, mut to_logit) = (0., 0.);
            for i in 0..3 {
                to_z += product(to[i] * shares[i], slopes[i]);
                to_logit += to[i] * (shares[i] - weight);
            }
            let to_loc = product(to_z, (-self.log_scale[k]).exp());
            to_x += to_loc;
            f(
                k,
                [to_logit, -to_loc, -product(to_z, z) - to[2] * shares[2]],
            );
        }
        to_x
    }
}

/// A share of nothing weighs nothing, whatever the slope.
pub(super) fn product(share: f64, slope: f64) -> f64 {
    if share == 0. { 0. } else { share * slope }
}
