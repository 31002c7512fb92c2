//! What a layer does, as convolutions one after the other.

use super::super::{Force, Law, Scheme};
use crate::kernels::network::activation::Activation;

/// Planes that a layer reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Y,
    Z,
    /// The result of the first of two convolutions, with the channels of K's results.
    V,
    /// That of the last one, with those of y.
    U,
}

/// Which of the biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bias {
    First,
    Second,
}

/// `out = f(scale * K input + bias)`, or with `K^T`; then `target += by * out`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub(super) transposed: bool,
    pub(super) input: Set,
    pub(super) out: Set,
    pub(super) scale: f32,
    pub(super) bias: Bias,
    pub(super) activation: Activation,
    pub(super) target: Option<(Set, f32)>,
}

impl Half {
    /// Whether the state may be changed before all of the result is there.
    pub(super) fn advances(&self) -> bool {
        self.target.is_some_and(|(set, _)| set != self.input)
    }
}

/// A layer.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) halves: Vec<Half>,
    /// Whether `y += z` at the end.
    pub(super) slides: bool,
    pub(super) verlet: bool,
}

impl Program {
    pub(super) fn new(law: Law) -> Self {
        let Law {
            scheme,
            activation,
            step: h,
            ..
        } = law;
        let first = Half {
            transposed: false,
            input: Set::Y,
            out: Set::V,
            scale: 1.,
            bias: Bias::First,
            activation,
            target: None,
        };
        let last = Half {
            transposed: true,
            input: Set::V,
            out: Set::U,
            ..first
        };
        let force = |force, target| match force {
            Force::Single => vec![Half {
                out: Set::U,
                target,
                ..first
            }],
            Force::Double => vec![
                first,
                Half {
                    scale: -1.,
                    // None: it is the first one's.
                    bias: Bias::Second,
                    activation: Activation::Identity,
                    target,
                    ..last
                },
            ],
        };
        let (halves, slides) = match scheme {
            Scheme::Euler(f) => (force(f, Some((Set::Y, h as f32))), false),
            Scheme::Leapfrog(f) => (force(f, Some((Set::Z, (h * h) as f32))), true),
            Scheme::Verlet => {
                let z = Half {
                    bias: Bias::Second,
                    target: Some((Set::Z, -h as f32)),
                    ..first
                };
                let y = Half {
                    input: Set::Z,
                    target: Some((Set::Y, h as f32)),
                    ..last
                };
                (vec![z, y], false)
            }
        };
        Program {
            halves,
            slides,
            verlet: scheme == Scheme::Verlet,
        }
    }
}
