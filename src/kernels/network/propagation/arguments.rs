//! What a propagation is given: whether it fits, and where it stands among a node's inputs.

use super::{Along, Force, Law, Scheme, Weights};
use crate::kernels::network::inputs::Inputs;
use candle_core::Tensor;

/// Whether there is a fused form of these sizes: rows `[.., s]` with kernels `[N, m, s]`, images `[B, s, H, W]` with
/// `[N, m, s, k, k]`.
pub(super) fn fits(law: Law, y: &Tensor, z: Option<&Tensor>, weights: Weights) -> bool {
    let Some((&[layers, m, s], window)) = weights.kernel.dims().split_first_chunk() else {
        return false;
    };
    // The dim of the features.
    let at = match *window {
        [] => y.rank().checked_sub(1),
        [k, columns] if k == columns && k % 2 == 1 && y.rank() == 4 => Some(1),
        _ => None,
    };
    let Some(at) = at else { return false };
    let (square, inner, biased) = match law.scheme {
        Scheme::Verlet => (false, m, s),
        Scheme::Euler(Force::Single) | Scheme::Leapfrog(Force::Single) => (true, s, s),
        Scheme::Euler(Force::Double) | Scheme::Leapfrog(Force::Double) => (false, s, m),
    };
    let beside = |z: &Tensor, width: usize| {
        let mut dims = y.dims().to_vec();
        dims[at] = width;
        z.dims() == dims
    };
    let stack = |b: Option<&Tensor>, width: usize| b.is_none_or(|b| b.dims() == [layers, width]);
    let euler = matches!(law.scheme, Scheme::Euler(_));
    let numbers = [layers, m, s];
    let image = &y.dims()[at + 1..];
    numbers.iter().chain(image).all(|n| *n > 0)
        && beside(y, s)
        && (m == s || !square)
        && z.is_none_or(|z| !euler && beside(z, inner))
        && stack(weights.bias, biased)
        && stack(weights.second_bias, m)
        && (weights.second_bias.is_none() || law.scheme == Scheme::Verlet)
        && law.activation.slope_from_output()
}

/// Where the arguments stand among the inputs; y is the first.
pub(super) struct Places {
    pub(super) z: Option<usize>,
    pub(super) kernel: usize,
    pub(super) bias: Option<usize>,
    pub(super) second_bias: Option<usize>,
}

impl Places {
    /// As inputs beside y.
    pub(super) fn new<'a>(
        inputs: &mut Inputs<'a>,
        z: Option<&'a Tensor>,
        weights: Weights<'a>,
    ) -> Self {
        Places {
            z: z.map(|z| inputs.push(z)),
            kernel: inputs.push(weights.kernel),
            bias: weights.bias.map(|b| inputs.push(b)),
            second_bias: weights.second_bias.map(|b| inputs.push(b)),
        }
    }
}

impl<'a> Along<'a> {
    /// y, z, kernel, bias, second bias.
    fn parts(self) -> [Option<&'a Tensor>; 5] {
        [self.y, self.z, self.kernel, self.bias, self.second_bias]
    }

    /// Whether what moves is there and has this shape.
    pub(super) fn fits(self, y: &Tensor, z: Option<&Tensor>, weights: Weights) -> bool {
        let of = Along {
            y: Some(y),
            z,
            kernel: Some(weights.kernel),
            bias: weights.bias,
            second_bias: weights.second_bias,
        };
        let same = |(a, b): (Option<&Tensor>, Option<&Tensor>)| match (a, b) {
            (Some(a), Some(b)) => a.dims() == b.dims(),
            (a, _) => a.is_none(),
        };
        self.parts().into_iter().zip(of.parts()).all(same)
    }

    /// As inputs behind those that are there: where each part stands.
    pub(super) fn push(self, inputs: &mut Inputs<'a>) -> [Option<usize>; 5] {
        self.parts().map(|part| part.map(|part| inputs.push(part)))
    }
}
