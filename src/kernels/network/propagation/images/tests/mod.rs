//! Propagations of images, and their composition from convolutions.

mod extremes;
mod values;

use super::*;
use crate::error::Result;
use crate::kernels::graph::node::backward;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Order, Settings};
use crate::kernels::network::propagation::{Along, Force, Scheme, Weights, forward, tangent};
use candle_core::{DType, Device, Var};

const SCHEMES: [Scheme; 5] = [
    Scheme::Verlet,
    Scheme::Euler(Force::Single),
    Scheme::Leapfrog(Force::Single),
    Scheme::Euler(Force::Double),
    Scheme::Leapfrog(Force::Double),
];

#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    s: usize,
    m: usize,
    image: [usize; 2],
    k: usize,
    layers: usize,
}

fn numbers(shape: &[usize], seed: f64) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let x: Vec<f64> = (0..n).map(|i| (i as f64 * 1.7 + seed).sin()).collect();
    // Numbers of f32, so that both precisions begin with the same.
    Ok(Tensor::from_vec(x, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
}

/// y, z, kernel, bias, second bias; none where the scheme has none.
type Set = [Option<Tensor>; 5];

fn shapes(scheme: Scheme, sizes: Sizes) -> [Option<Vec<usize>>; 5] {
    let Sizes {
        batch,
        s,
        m,
        image: [h, w],
        k,
        layers,
    } = sizes;
    let z = match scheme {
        Scheme::Verlet => Some(vec![batch, m, h, w]),
        Scheme::Leapfrog(_) => Some(vec![batch, s, h, w]),
        Scheme::Euler(_) => None,
    };
    let double = matches!(
        scheme,
        Scheme::Euler(Force::Double) | Scheme::Leapfrog(Force::Double)
    );
    [
        Some(vec![batch, s, h, w]),
        z,
        Some(vec![layers, m, s, k, k]),
        Some(vec![layers, if double { m } else { s }]),
        (scheme == Scheme::Verlet).then(|| vec![layers, m]),
    ]
}

fn draw(scheme: Scheme, sizes: Sizes, seed: f64) -> Result<Set> {
    let mut set: Set = Default::default();
    for (n, (set, shape)) in set.iter_mut().zip(shapes(scheme, sizes)).enumerate() {
        *set = shape
            .map(|shape| numbers(&shape, seed + n as f64))
            .transpose()?;
    }
    Ok(set)
}

fn law(scheme: Scheme, activation: Activation) -> Law {
    Law {
        scheme,
        activation,
        step: 0.3,
        states: false,
    }
}

fn fused(law: Law, [y, z, kernel, bias, second_bias]: &Set) -> Result<Vec<Tensor>> {
    let (Some(y), Some(kernel)) = (y, kernel) else {
        return Ok(vec![]);
    };
    let weights = Weights {
        kernel,
        bias: bias.as_ref(),
        second_bias: second_bias.as_ref(),
    };
    Ok(forward("test", law, y, z.as_ref(), weights)?.unwrap_or_default())
}

/// Layer by layer, in any precision.
fn composed(law: Law, [y, z, kernel, bias, second_bias]: &Set) -> Result<Vec<Tensor>> {
    let (Some(y), Some(kernel)) = (y, kernel) else {
        return Ok(vec![]);
    };
    let k = kernel.dims()[3];
    let convolve = |kind, x: &Tensor, kernel: &Tensor, bias: Option<&Tensor>, activation| {
        let settings = Settings {
            kind,
            stride: (1, 1),
            padding: (k / 2, k / 2),
            activation,
            input: Order::ChannelsFirst,
            output: Order::ChannelsFirst,
        };
        conv2d::conv2d(x, kernel, bias, settings)
    };
    let plain = Kind::Convolution;
    let transposed = Kind::Transposed {
        output_padding: (0, 0),
    };
    let (mut y, mut z, h) = (y.clone(), z.clone(), law.step);
    for j in 0..kernel.dims()[0] {
        let kernel = kernel.get(j)?;
        let of = |stack: &Option<Tensor>| stack.as_ref().map(|s| s.get(j)).transpose();
        let (bias, second) = (of(bias)?, of(second_bias)?);
        let force = |force, y: &Tensor| -> Result<Tensor> {
            let a = convolve(plain, y, &kernel, bias.as_ref(), law.activation)?;
            match force {
                Force::Single => Ok(a),
                Force::Double => {
                    Ok(convolve(transposed, &a, &kernel, None, Activation::Identity)?.neg()?)
                }
            }
        };
        match (law.scheme, &mut z) {
            (Scheme::Verlet, Some(z)) => {
                let a = convolve(plain, &y, &kernel, second.as_ref(), law.activation)?;
                *z = (&*z - (a * h)?)?;
                let a = convolve(transposed, z, &kernel, bias.as_ref(), law.activation)?;
                y = (y + (a * h)?)?;
            }
            (Scheme::Leapfrog(f), Some(z)) => {
                *z = (&*z + (force(f, &y)? * (h * h))?)?;
                y = (y + &*z)?;
            }
            (Scheme::Euler(f), _) => y = (&y + (force(f, &y)? * h)?)?,
            _ => {}
        }
    }
    Ok([Some(y), z].into_iter().flatten().collect())
}

fn double(set: &Set) -> Result<Set> {
    let mut out: Set = Default::default();
    for (out, t) in out.iter_mut().zip(set) {
        *out = t.as_ref().map(|t| t.to_dtype(DType::F64)).transpose()?;
    }
    Ok(out)
}

fn variables(set: &Set) -> Result<(Vec<Var>, Set)> {
    let (mut vars, mut out): (Vec<Var>, Set) = Default::default();
    for (out, t) in out.iter_mut().zip(set) {
        if let Some(t) = t {
            let var = Var::from_tensor(t)?;
            *out = Some(var.as_tensor().clone());
            vars.push(var);
        }
    }
    Ok((vars, out))
}

/// The gradients of an uneven loss of all results.
fn gradients(vars: &[Var], results: &[Tensor], mask: [f64; 2]) -> Result<Vec<Tensor>> {
    let mut loss: Option<Tensor> = None;
    for (n, (x, weight)) in results.iter().zip(mask).enumerate() {
        let weights = numbers(x.dims(), 7. + n as f64)?.to_dtype(x.dtype())?;
        let part = ((x * weights)?.sum_all()? * weight)?;
        if weight != 0. {
            loss = Some(match loss {
                Some(loss) => (loss + part)?,
                None => part,
            });
        }
    }
    let found = loss.map(|loss| backward(&loss)).transpose()?;
    let each = vars.iter().map(|var| {
        let gradient = found.as_ref().and_then(|found| found.get(var)).cloned();
        gradient.map_or_else(|| var.zeros_like(), Ok)
    });
    Ok(each.collect::<candle_core::Result<_>>()?)
}

/// The largest distance, relative to values above 1; NaN if one is.
fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    // The maximum of a tensor passes over NaN.
    let most = |t: Tensor| -> Result<f64> {
        let numbers = t.abs()?.flatten_all()?.to_vec1::<f64>()?;
        let larger = |most: f64, x| if most.is_nan() || x <= most { most } else { x };
        Ok(numbers.into_iter().fold(0., larger))
    };
    Ok(most((a - &b)?)? / most(b)?.max(1.))
}

fn sizes() -> Vec<Sizes> {
    let of = |batch, s, m, image, k, layers| Sizes {
        batch,
        s,
        m,
        image,
        k,
        layers,
    };
    vec![
        of(3, 6, 6, [7, 5], 3, 3),
        of(2, 1, 1, [4, 4], 1, 2),
        of(1, 1, 3, [9, 2], 5, 2),
        of(5, 4, 7, [1, 3], 3, 2),
        of(2, 3, 2, [1, 1], 5, 2),
        // Several blocks of outputs and of pixels.
        of(2, 9, 5, [13, 21], 3, 2),
        of(1, 2, 13, [50, 60], 3, 1),
        // More layers than are kept at once.
        of(2, 2, 2, [6, 6], 3, 37),
        of(0, 2, 3, [6, 6], 3, 2),
    ]
}

/// The sizes for a scheme, some of which need square kernels.
fn fitting(scheme: Scheme, sizes: Sizes) -> Sizes {
    match scheme {
        Scheme::Euler(Force::Single) | Scheme::Leapfrog(Force::Single) => Sizes {
            m: sizes.s,
            ..sizes
        },
        _ => sizes,
    }
}
