use super::super::{Force, Scheme};
use super::*;
use crate::kernels::graph::node::backward;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Order, Settings};
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

#[test]
fn a_gap_of_nan_is_none_within_a_bound() -> Result<()> {
    let numbers = |x: f64| Tensor::new(&[1., x, 2.], &Device::Cpu);
    let (plain, spoilt) = (numbers(1.)?, numbers(f64::NAN)?);
    assert!(gap(&spoilt, &plain)?.is_nan() && gap(&plain, &spoilt)?.is_nan());
    assert_eq!(gap(&plain, &numbers(3.)?)?, 2. / 3.);
    Ok(())
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

#[test]
fn values_and_gradients_of_the_composition() -> Result<()> {
    let activations = [
        Activation::Tanh,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::Elu,
        Activation::Identity,
    ];
    for (first, scheme) in SCHEMES.into_iter().enumerate() {
        for (n, sizes) in sizes().into_iter().enumerate() {
            let sizes = fitting(scheme, sizes);
            let law = law(scheme, activations[(first + n) % 7]);
            let mut set = draw(scheme, sizes, 1.)?;
            // Small enough that many layers stay tame.
            set[2] = set[2].take().map(|k| k * 0.2).transpose()?;
            // With and without biases, and without z.
            for leave in [vec![], vec![3, 4], vec![1]] {
                let mut set = set.clone();
                leave.iter().for_each(|n: &usize| set[*n] = None);
                let mut exact = double(&set)?;
                if leave == [1] && !matches!(scheme, Scheme::Euler(_)) {
                    let z = shapes(scheme, sizes)[1].clone().unwrap_or_default();
                    exact[1] = Some(Tensor::zeros(z, DType::F64, &Device::Cpu)?);
                }
                let ((vars, ours), (all, exact)) = (variables(&set)?, variables(&exact)?);
                let (got, want) = (fused(law, &ours)?, composed(law, &exact)?);
                assert_eq!(got.len(), want.len(), "{scheme:?} {sizes:?}");
                for (a, b) in got.iter().zip(&want) {
                    let gap = gap(a, b)?;
                    assert!(gap <= 3e-6, "{scheme:?} {sizes:?} {leave:?}: {gap}");
                }
                for mask in [[1., 0.6], [1., 0.], [0., 1.]] {
                    if mask[0] == 0. && want.len() == 1 {
                        continue;
                    }
                    let want = gradients(&all, &want, mask)?;
                    let mut want: Vec<&Tensor> = want.iter().collect();
                    if all.len() > vars.len() {
                        want.remove(1);
                    }
                    for _again in 0..2 {
                        for (n, (a, b)) in
                            gradients(&vars, &got, mask)?.iter().zip(&want).enumerate()
                        {
                            let gap = gap(a, b)?;
                            assert!(
                                gap <= 6e-6,
                                "{scheme:?} {sizes:?} {leave:?} {mask:?} {n}: {gap}"
                            );
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn derivatives_along_directions() -> Result<()> {
    for scheme in SCHEMES {
        for sizes in sizes() {
            let sizes = fitting(scheme, sizes);
            let law = law(scheme, Activation::Tanh);
            let mut set = draw(scheme, sizes, 1.)?;
            set[2] = set[2].take().map(|k| k * 0.2).transpose()?;
            // Everything moves, the weights alone, the state alone.
            for still in [vec![], vec![0, 1], vec![2, 3, 4]] {
                let mut along = draw(scheme, sizes, 20.)?;
                still.iter().for_each(|n: &usize| along[*n] = None);
                let moved = |by: f64| -> Result<Vec<Tensor>> {
                    let mut at = double(&set)?;
                    for (at, along) in at.iter_mut().zip(double(&along)?) {
                        if let (Some(x), Some(along)) = (&at, along) {
                            *at = Some((x + (along * by)?)?);
                        }
                    }
                    composed(law, &at)
                };
                let [y, z, kernel, bias, second_bias] = set.each_ref().map(Option::as_ref);
                let (Some(y), Some(kernel)) = (y, kernel) else {
                    continue;
                };
                let weights = Weights {
                    kernel,
                    bias,
                    second_bias,
                };
                let [dy, dz, dkernel, dbias, dsecond] = along.each_ref().map(Option::as_ref);
                let directions = Along {
                    y: dy,
                    z: dz,
                    kernel: dkernel,
                    bias: dbias,
                    second_bias: dsecond,
                };
                let got = tangent(law, y, z, weights, directions)?.unwrap_or_default();
                let (above, below) = (moved(1e-5)?, moved(-1e-5)?);
                assert_eq!(got.len(), above.len());
                for ((got, above), below) in got.iter().zip(&above).zip(&below) {
                    let gap = gap(got, &((above - below)? / 2e-5)?)?;
                    // Rounding grows along the layers.
                    let bound = 6e-6 * (sizes.layers as f64 / 16.).max(1.);
                    assert!(gap <= bound, "{scheme:?} {sizes:?} {still:?}: {gap}");
                }
            }
        }
    }
    Ok(())
}

/// Views with strides, and of an image that stands for many.
#[test]
fn arguments_lie_anyhow() -> Result<()> {
    let sizes = Sizes {
        batch: 4,
        s: 3,
        m: 2,
        image: [5, 6],
        k: 3,
        layers: 2,
    };
    for scheme in [Scheme::Verlet, Scheme::Euler(Force::Double)] {
        let law = law(scheme, Activation::Tanh);
        let (vars, set) = variables(&draw(scheme, sizes, 1.)?)?;
        let all = |set: &Set| -> Result<Vec<Tensor>> {
            let mut all = fused(law, set)?;
            all.extend(gradients(&vars, &all, [1., 0.6])?);
            Ok(all)
        };
        let mut turned: Set = Default::default();
        for (turned, t) in turned.iter_mut().zip(&set) {
            let Some(t) = t else { continue };
            let (a, b) = (0, t.rank() - 1);
            *turned = Some(t.transpose(a, b)?.contiguous()?.transpose(a, b)?);
        }
        let (mut many, mut copies) = (set.clone(), set.clone());
        if let Some(y) = &set[0] {
            let one = y.narrow(0, 1, 1)?;
            many[0] = Some(one.broadcast_as(y.dims())?);
            copies[0] = Some(Tensor::cat(&[&one; 4], 0)?);
        }
        for (lies, plain) in [(turned, set), (many, copies)] {
            let (got, want) = (all(&lies)?, all(&plain)?);
            assert_eq!(got.len(), want.len());
            for (a, b) in got.iter().zip(&want) {
                let gap = gap(a, b)?;
                // Candle adds the four images' gradients in another order.
                assert!(gap <= 1e-6, "{gap}");
            }
        }
    }
    Ok(())
}

fn all_bits(law: Law, set: &Set) -> Result<Vec<Vec<u32>>> {
    let (vars, set) = variables(set)?;
    let mut all = fused(law, &set)?;
    all.extend(gradients(&vars, &all, [1., 0.5])?);
    let bits = |t: &Tensor| -> Result<Vec<u32>> {
        let numbers = t.flatten_all()?.to_vec1::<f32>()?;
        Ok(numbers.into_iter().map(f32::to_bits).collect())
    };
    all.iter().map(bits).collect()
}

#[test]
fn the_same_bits_on_any_threads() -> Result<()> {
    let sizes = Sizes {
        batch: 70,
        s: 5,
        m: 5,
        image: [12, 11],
        k: 3,
        layers: 3,
    };
    for scheme in SCHEMES {
        let (law, set) = (law(scheme, Activation::Tanh), draw(scheme, sizes, 1.)?);
        let on = |threads: usize| -> Result<Vec<Vec<u32>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().map_err(candle_core::Error::wrap)?;
            pool.install(|| all_bits(law, &set))
        };
        let one = on(1)?;
        assert!(one == on(2)? && one == on(5)?, "{scheme:?}");
    }
    Ok(())
}

/// An image that is not in the loss may be anything.
#[test]
fn what_nobody_asks_for_spoils_nothing() -> Result<()> {
    let sizes = Sizes {
        batch: 3,
        s: 2,
        m: 2,
        image: [4, 5],
        k: 3,
        layers: 2,
    };
    for scheme in SCHEMES {
        let law = law(scheme, Activation::Tanh);
        let set = draw(scheme, sizes, 1.)?;
        let run = |spoilt: f64| -> Result<Vec<Tensor>> {
            let mut set = set.clone();
            if let Some(y) = &set[0] {
                let parts = [
                    y.narrow(0, 0, 1)?,
                    (y.narrow(0, 1, 1)? * spoilt)?,
                    y.narrow(0, 2, 1)?,
                ];
                set[0] = Some(Tensor::cat(&parts, 0)?);
            }
            let (vars, set) = variables(&set)?;
            let mut results = fused(law, &set)?;
            for result in &mut results {
                *result = Tensor::cat(&[result.narrow(0, 0, 1)?, result.narrow(0, 2, 1)?], 0)?;
            }
            gradients(&vars, &results, [1., 0.5])
        };
        let want = run(1.)?;
        for spoilt in [f64::NAN, f64::INFINITY] {
            for (a, b) in run(spoilt)?.iter().zip(&want) {
                assert_eq!(gap(a, b)?, 0., "{scheme:?}");
            }
        }
    }
    Ok(())
}

/// Pixels that are not finite reach their neighbours alone, through the borders between rows as little as elsewhere.
#[test]
fn infinite_pixels_stay_where_they_are() -> Result<()> {
    let sizes = Sizes {
        batch: 1,
        s: 1,
        m: 1,
        image: [6, 6],
        k: 3,
        layers: 1,
    };
    let law = law(Scheme::Euler(Force::Single), Activation::Relu);
    let mut set = draw(law.scheme, sizes, 1.)?;
    let pixels = (0..36).map(|n| if n == 11 { f32::NAN } else { n as f32 });
    set[0] = Some(Tensor::from_iter(pixels, &Device::Cpu)?.reshape((1, 1, 6, 6))?);
    let got = fused(law, &set)?[0].flatten_all()?.to_vec1::<f32>()?;
    for (n, x) in got.iter().enumerate() {
        let near = n / 6 <= 2 && n % 6 >= 4;
        assert_eq!(x.is_nan(), near, "{n}");
    }
    Ok(())
}

/// An image whose pixels are not finite where the loss does not reach has the gradients of one whose pixels are 1 there.
#[test]
fn pixels_that_nobody_asks_for_spoil_nothing() -> Result<()> {
    let sizes = Sizes {
        batch: 1,
        s: 2,
        m: 2,
        image: [8, 6],
        k: 3,
        layers: 1,
    };
    for scheme in SCHEMES {
        let law = law(scheme, Activation::Softplus);
        let run = |pixel: f32| -> Result<Vec<Tensor>> {
            let mut set = draw(scheme, sizes, 1.)?;
            if let Some(y) = &set[0] {
                let mut pixels = y.flatten_all()?.to_vec1::<f32>()?;
                // At the ends of a row, in the middle of one, of both channels.
                [11, 12, 50].iter().for_each(|n: &usize| pixels[*n] = pixel);
                set[0] = Some(Tensor::from_vec(pixels, y.shape(), &Device::Cpu)?);
            }
            let (vars, set) = variables(&set)?;
            let mut results = fused(law, &set)?;
            for result in &mut results {
                *result = result.narrow(2, 5, 3)?;
            }
            gradients(&vars, &results, [1., 0.5])
        };
        let want = run(1.)?;
        for pixel in [f32::NAN, f32::INFINITY] {
            for (n, (a, b)) in run(pixel)?.iter().zip(&want).enumerate() {
                let gap = gap(a, b)?;
                assert!(gap <= 1e-6, "{scheme:?} {n}: {gap}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_left_to_the_composition() -> Result<()> {
    let sizes = Sizes {
        batch: 2,
        s: 2,
        m: 3,
        image: [4, 5],
        k: 3,
        layers: 2,
    };
    let tanh = law(Scheme::Verlet, Activation::Tanh);
    let set = draw(tanh.scheme, sizes, 1.)?;
    assert_eq!(fused(tanh, &set)?.len(), 2);
    assert!(fused(law(tanh.scheme, Activation::Gelu), &set)?.is_empty());
    assert!(fused(tanh, &double(&set)?)?.is_empty());
    assert!(fused(law(Scheme::Euler(Force::Single), Activation::Tanh), &set)?.is_empty());
    for n in 0..5 {
        let mut wrong = set.clone();
        wrong[n] = set[n].as_ref().map(|t| t.narrow(1, 0, 1)).transpose()?;
        assert!(fused(tanh, &wrong)?.is_empty(), "{n}");
    }
    Ok(())
}
