//! Every bijector through the harness, and what only some of them do.

use crate::support::floats;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::sigmoid;
use candle_prob::bijector::*;
use candle_prob::testing::{Bounds, check_bijector, check_gradient};
use candle_prob::{Error, Result, Rng};

const CPU: Device = Device::Cpu;

fn real(shape: &[usize], seed: u64) -> Tensor {
    Rng::new(seed).normal(shape, DType::F64, &CPU).unwrap()
}

/// A bijector without parameters.
fn check(f: impl Bijector, x: &Tensor) -> Result<()> {
    check_bijector(|_| Ok(&f), &[], x, Bounds::default())
}

fn check_with<B: Bijector>(
    build: impl Fn(&[Tensor]) -> Result<B>,
    parameters: &[Tensor],
    x: &Tensor,
) -> Result<()> {
    check_bijector(build, parameters, x, Bounds::default())
}

#[test]
fn elementwise() -> Result<()> {
    let x = real(&[4, 3], 0);
    check(Exp, &x)?;
    check(Sigmoid, &x)?;
    check(Tanh, &x)?;
    check(Softplus, &x)?;
    check(LeakyRelu::new(0.1)?, &x)?;
    check(SoftClip::new(2.5)?, &x)?;
    check(LogitPreprocessing::new(0.05)?, &x)?;
    for wrong in [-0.1, 0.5, f64::NAN] {
        assert!(LogitPreprocessing::new(wrong).is_err(), "{wrong}");
    }
    check(Tanh.inverted().inverted(), &x)?;
    check(Chain::new(Softplus, Exp), &real(&[], 1))?;
    let parameters = [real(&[3], 1), real(&[3], 2)];
    let falling = |p: &[Tensor]| Affine::new(&p[0], &p[1]);
    check_with(
        |p| Ok(Chain::new(falling(p)?, Softplus).inverted()),
        &parameters,
        &real(&[4, 3], 1).exp()?,
    )?;
    check_with(
        |p| {
            let (once, twice) = (falling(p)?, falling(&[p[1].clone(), p[0].clone()])?);
            Ok(Sequence::new(vec![
                Box::new(once),
                Box::new(Tanh),
                Box::new(twice),
            ]))
        },
        &parameters,
        &x,
    )
}

#[test]
fn affine() -> Result<()> {
    let x = real(&[4, 3], 0);
    for shape in [&[][..], &[3], &[4, 1]] {
        let parameters = [real(&[3], 1), real(shape, 2)];
        check_with(|p| Affine::new(&p[0], &p[1]), &parameters, &x)?;
        check_with(|p| Affine::soft_clamped(&p[0], &p[1], 2.), &parameters, &x)?;
        let unbounded = |p: &[Tensor]| Affine::soft_clamped(&p[0], &p[1], f64::INFINITY);
        check_with(unbounded, &parameters, &x)?;
        check_with(|p| Ok(Shift::new(&p[0])), &[real(shape, 1)], &x)?;
    }
    Ok(())
}

/// Members of different event ranks, and one that is the identity.
#[test]
fn chains_and_sequences() -> Result<()> {
    let parameters = [real(&[3], 1), real(&[3], 2)];
    let chain = |p: &[Tensor]| {
        let affine = Affine::new(&p[0], &p[1])?;
        Ok(Chain::new(
            Chain::new(affine, Permutation::reverse(3)?),
            Tanh,
        ))
    };
    check_with(chain, &parameters, &real(&[4, 3], 0))?;
    let sequence = |p: &[Tensor]| {
        Ok(Sequence::new(vec![
            Box::new(Affine::new(&p[0], &p[1])?),
            Box::new(Permutation::new(&[2, 0, 1])?),
            Box::new(Softplus),
        ]))
    };
    check_with(sequence, &parameters, &real(&[4, 3], 0))?;
    check(Sequence::new(vec![]), &real(&[4, 3], 0))?;
    let images: Vec<Box<dyn Bijector + Send + Sync>> =
        vec![Box::new(SoftClip::new(9.)?), Box::new(Squeeze)];
    check(Sequence::new(images).inverted(), &real(&[1, 4, 1, 2], 0))
}

/// A conditioner of one hidden layer, soft-clamped: `p` are its two weights.
fn conditioner(p: &[Tensor]) -> impl Fn(&Tensor) -> Result<Affine> + use<> {
    let p = p.to_vec();
    move |a: &Tensor| {
        let hidden = a.broadcast_matmul(&p[0])?.tanh()?;
        let out = hidden.broadcast_matmul(&p[1])?.chunk(2, D::Minus1)?;
        Affine::soft_clamped(&out[0], &out[1], 2.)
    }
}

#[test]
fn couplings_of_vectors() -> Result<()> {
    type Make = fn(usize, bool) -> Result<Split>;
    let mask = |_, flip: bool| Split::mask(&Tensor::new(&[u8::from(flip), 1, 0, 1, 0], &CPU)?);
    let odd = |n, flip: bool| Split::by(n, move |i| (i % 3 == 1) != flip);
    for make in [Split::half as Make, Split::alternating, odd, mask] {
        for flip in [false, true] {
            let split = make(5, flip)?;
            let (passing, changing) = split.take(&real(&[5], 0))?;
            let sizes = [passing.elem_count(), changing.elem_count()];
            let parameters = [real(&[sizes[0], 4], 1), real(&[4, 2 * sizes[1]], 2)];
            let build = |p: &[Tensor]| Ok(Coupling::new(split.clone(), conditioner(p)));
            check_with(build, &parameters, &real(&[3, 5], 0))?;
        }
    }
    Ok(())
}

/// Parts that are not those of the split, and masks that are not of zeros and ones.
#[test]
fn splits_refuse_what_does_not_fit() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &CPU);
    let (half, channels) = (Split::half(5, false)?, Split::channels(4, true)?);
    let board = Split::checkerboard(2, 3, false)?;
    for (split, passing, changing, names) in [
        (&half, &[][..], &[2][..], "passing"),
        (&half, &[7, 2], &[7, 2], "passing"),
        (&half, &[7, 3], &[7, 3], "changing"),
        (&half, &[7, 3], &[6, 2], "changing"),
        (&channels, &[2, 3], &[2, 3], "passing"),
        (&channels, &[2, 3, 3], &[2, 3, 2], "changing"),
        (&board, &[6], &[6], "passing"),
        (&board, &[1, 2, 3], &[7, 1, 2, 3], "changing"),
    ] {
        let error = split.merge(&zeros(passing)?, &zeros(changing)?);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("Split::merge: {names}")), "{error}");
    }
    for wrong in [[0u8, 0], [1, 1], [3, 3], [2, 1], [2, 0]] {
        assert!(
            Split::mask(&Tensor::new(&wrong, &CPU)?).is_err(),
            "{wrong:?}"
        );
    }
    Ok(())
}

/// Elementwise members do not hide that an argument is no event.
#[test]
fn chains_name_what_they_refuse() -> Result<()> {
    let scalar = real(&[], 0);
    let members = || -> Result<Vec<Box<dyn Bijector + Send + Sync>>> {
        Ok(vec![Box::new(Exp), Box::new(Permutation::reverse(3)?)])
    };
    let reversible = Reversible::new(Sequence::new(members()?), &[]);
    let chain = Chain::new(Exp, Permutation::reverse(3)?);
    let all: [(&dyn Bijector, &str); 3] = [
        (&Sequence::new(members()?), "Sequence"),
        (&reversible, "Reversible"),
        (&chain, "Chain"),
    ];
    for (f, name) in all {
        for error in [f.transform(&scalar), f.inverse(&scalar)] {
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(name), "{name}: {error}");
            assert!(error.contains("1 dims or more"), "{error}");
        }
    }
    Ok(())
}

/// A conditioner of images that mixes each channel with its neighbours' sum.
#[test]
fn couplings_of_images() -> Result<()> {
    let shifted = |p: &[Tensor], split: Split, changing: usize| {
        let p = p.to_vec();
        Ok(Coupling::new(split, move |a: &Tensor| {
            let context = a.sum_keepdim(D::Minus1)?.broadcast_add(a)?.tanh()?;
            let context = context.sum_keepdim(a.rank() - 3)?;
            let part = |p: &Tensor| -> Result<Tensor> {
                Ok(context.broadcast_mul(&p.narrow(0, 0, changing)?)?)
            };
            Affine::soft_clamped(&part(&p[0])?, &part(&p[1])?, 2.)
        }))
    };
    let parameters = [real(&[3, 1, 1], 1), real(&[3, 1, 1], 2)];
    let x = real(&[2, 3, 2, 3], 0);
    for flip in [false, true] {
        let checkerboard = |p: &[Tensor]| shifted(p, Split::checkerboard(2, 3, flip)?, 3);
        check_with(checkerboard, &parameters, &x)?;
        let changing = if flip { 2 } else { 1 };
        let own = parameters
            .each_ref()
            .map(|p| p.narrow(0, 0, changing).unwrap());
        let channels = |p: &[Tensor]| shifted(p, Split::channels(3, flip)?, changing);
        check_with(channels, &own, &x)?;
    }
    Ok(())
}

#[test]
fn permutations() -> Result<()> {
    check(Permutation::new(&[2, 0, 3, 1])?, &real(&[3, 4], 0))?;
    check(Permutation::reverse(4)?, &real(&[2, 3, 4], 0))?;
    check(Permutation::random(6, &mut Rng::new(1))?, &real(&[3, 6], 0))?;
    let channels = Permutation::new(&[2, 0, 1])?.along(3)?;
    check(channels.clone(), &real(&[2, 3, 2, 2], 0))?;
    let x = Tensor::arange(0., 6., &CPU)?.reshape((3, 1, 2))?;
    assert_eq!(floats(&channels.transform(&x)?)?, [4., 5., 0., 1., 2., 3.]);
    assert_eq!(channels.inverse_order(), [1, 2, 0]);
    for wrong in [&[][..], &[0, 0], &[1, 2], &[0, 3, 1]] {
        assert!(Permutation::new(wrong).is_err(), "{wrong:?}");
    }
    assert!(Permutation::reverse(3)?.along(0).is_err());
    assert!(channels.transform(&real(&[2, 2, 2], 0)).is_err());
    Ok(())
}

/// The order is that of Glow and of the pixel-unshuffle of others.
#[test]
fn squeezes() -> Result<()> {
    check(Squeeze, &real(&[2, 2, 2, 4], 0))?;
    check(Squeeze.inverted(), &real(&[2, 4, 1, 2], 0))?;
    let x = Tensor::arange(0., 8., &CPU)?.reshape((1, 2, 4))?;
    let y = Squeeze.transform(&x)?;
    assert_eq!(y.dims(), [4, 1, 2]);
    assert_eq!(floats(&y)?, [0., 2., 1., 3., 4., 6., 5., 7.]);
    assert_eq!(Squeeze.transformed_shape(&[3, 32, 30])?, [12, 16, 15]);
    assert_eq!(Squeeze.inverse_shape(&[12, 16, 15])?, [3, 32, 30]);
    for wrong in [&[3, 3, 2][..], &[3, 2, 5], &[2, 2]] {
        assert!(Squeeze.transformed_shape(wrong).is_err(), "{wrong:?}");
        assert!(Squeeze.transform(&real(wrong, 0)).is_err());
    }
    assert!(Squeeze.inverse(&real(&[6, 2, 2], 0)).is_err());
    Ok(())
}

/// One half goes on and the other is left alone.
#[test]
fn factors_out() -> Result<()> {
    let x = real(&[3, 4, 2, 2], 0);
    let parameters = [real(&[2], 1), real(&[2], 2)];
    let norm = |p: &[Tensor]| ActNorm::new(&p[0], &p[1], Axis::Channel);
    for flip in [false, true] {
        let split = Split::channels(4, flip)?;
        check_with(|p| FactorOut::new(split.clone(), norm(p)?), &parameters, &x)?;
        check(FactorOut::new(split, Tanh)?, &x)?;
    }
    let half = Split::half(4, false)?;
    check(
        FactorOut::new(half.clone(), Permutation::reverse(2)?)?,
        &real(&[2, 4], 3),
    )?;
    assert!(FactorOut::new(half, norm(&parameters)?).is_err());
    assert!(FactorOut::new(Split::checkerboard(2, 2, false)?, Tanh).is_err());
    assert!(Split::checkerboard(usize::MAX, 2, false).is_err());
    let reshapes = FactorOut::new(Split::channels(4, false)?, Squeeze)?;
    assert!(reshapes.transform(&x).is_err());
    Ok(())
}

#[test]
fn triangular_maps() -> Result<()> {
    let build = |p: &[Tensor]| LowerTriangularAffine::new(&p[0], &p[1]);
    let bounds = Bounds {
        f64: 1e-10,
        f32: 1e-3,
        ..Bounds::default()
    };
    for (loc, matrix) in [
        (&[3][..], &[3, 3][..]),
        (&[3], &[4, 3, 3]),
        (&[4, 3], &[1, 3, 3]),
        (&[4, 3], &[2, 1, 3, 3]),
    ] {
        let matrix =
            (real(matrix, 1) + (Tensor::eye(3, DType::F64, &CPU)? * 2.)?.broadcast_as(matrix)?)?;
        check_bijector(build, &[real(loc, 2), matrix], &real(&[2, 4, 3], 0), bounds)?;
    }
    let zero = Tensor::new(&[[1., 0.], [1., 0.]], &CPU)?;
    assert!(build(&[real(&[2], 0), zero]).is_err());
    assert!(build(&[real(&[2], 0), real(&[3, 3], 0)]).is_err());
    let one = build(&[real(&[1], 0), real(&[1, 1], 0)])?;
    assert!(one.transform(&real(&[2, 3], 0)).is_err());
    Ok(())
}

fn lu(p: &[Tensor]) -> Result<Lu> {
    Lu::new(
        &Permutation::new(&[2, 0, 1])?,
        &[1., -1., 1.],
        &p[0],
        &p[1],
        &p[2],
    )
}

#[test]
fn matrices_by_their_factors() -> Result<()> {
    let parameters = [
        real(&[3, 3], 1),
        real(&[3, 3], 2),
        real(&[3], 3),
        real(&[3], 4),
    ];
    let linear = |p: &[Tensor]| LuLinear::new(&lu(p)?, Some(&p[3]));
    check_with(linear, &parameters, &real(&[2, 4, 3], 0))?;
    let conv = |p: &[Tensor]| Ok(Conv1x1::new(&lu(p)?));
    check_with(conv, &parameters[..3], &real(&[2, 3, 2, 2], 0))?;
    // A matrix, taken apart and put together.
    let w = real(&[7, 7], 5);
    let parts = Lu::decompose(&w)?;
    let off = |a: Tensor, b: &Tensor| floats(&(a - b)?.abs()?.max_all()?);
    assert!(off(parts.matrix()?, &w)?[0] < 1e-14);
    let eye = Tensor::eye(7, DType::F64, &CPU)?;
    assert!(off(parts.inverse_matrix()?.matmul(&w)?, &eye)?[0] < 1e-12);
    let rotation = Lu::random_rotation(7, DType::F64, &CPU, &mut Rng::new(0))?;
    let w = rotation.matrix()?;
    assert!(off(w.matmul(&w.t()?)?, &eye)?[0] < 1e-13);
    assert!(floats(&rotation.log_det()?)?[0].abs() < 1e-13);
    assert!(Lu::decompose(&Tensor::ones((2, 2), DType::F32, &CPU)?).is_err());
    assert!(LuLinear::new(&parts, Some(&real(&[3], 0))).is_err());
    Ok(())
}

#[test]
fn reflections() -> Result<()> {
    check_with(
        |p| Householder::new(&p[0]),
        &[real(&[2, 4], 1)],
        &real(&[3, 4], 0),
    )?;
    check_with(
        |p| Householder::new(&p[0]),
        &[real(&[3, 3], 1)],
        &real(&[2, 1, 3], 0),
    )?;
    assert!(Householder::new(&Tensor::zeros((1, 3), DType::F32, &CPU)?).is_err());
    Ok(())
}

#[test]
fn normalization() -> Result<()> {
    let (vectors, images) = (real(&[6, 3], 0), real(&[2, 3, 2, 2], 0));
    for (axis, x) in [(Axis::Feature, &vectors), (Axis::Channel, &images)] {
        let parameters = [real(&[3], 1), real(&[3], 2)];
        check_with(|p| ActNorm::new(&p[0], &p[1], axis), &parameters, x)?;
        // Statistics get no gradient: they are no parameters. The one here only says the dtype.
        let eval = |p: &[Tensor]| {
            let like = |x: &Tensor| x.to_dtype(p[0].dtype());
            let variance = like(&parameters[1].exp()?)?;
            FlowBatchNorm::new(&like(&parameters[0])?, &variance, 1e-5, axis)
        };
        check_with(eval, &[real(&[1], 0)], x)?;
        let norm = ActNorm::from_data(x, axis)?;
        let parts = norm.inverse(x)?;
        let parts = match axis {
            Axis::Feature => parts.t()?,
            Axis::Channel => parts.transpose(0, 1)?.reshape((3, 8))?,
        };
        assert!(floats(&parts.mean(1)?)?.iter().all(|x| x.abs() < 1e-14));
        let variance = floats(&parts.sqr()?.mean(1)?)?;
        assert!(variance.iter().all(|x| (x - 1.).abs() < 1e-14));
    }
    // A constant channel.
    let flat = Tensor::ones((2, 3, 2, 2), DType::F32, &CPU)?;
    let (x, log_det) = ActNorm::from_data(&flat, Axis::Channel)?.inverse_and_log_det(&flat)?;
    assert!(floats(&x)?.iter().all(|x| *x == 0.));
    assert!(
        floats(&log_det)?
            .iter()
            .all(|x| (x - 12. * 1e3f64.ln()).abs() < 1e-4)
    );
    assert!(ActNorm::from_data(&flat.narrow(0, 0, 0)?, Axis::Channel).is_err());
    assert!(ActNorm::from_data(&real(&[2], 0), Axis::Channel).is_err());
    // No number, and a variance that f32 does not hold: nothing to start from.
    for wrong in [f64::NAN, f64::INFINITY, 1e30] {
        let data = flat.narrow(0, 0, 1)?.affine(wrong, 0.)?;
        let data = Tensor::cat(&[&flat, &data], 0)?;
        let error = ActNorm::from_data(&data, Axis::Channel).unwrap_err();
        assert!(error.to_string().contains("from_data: data"), "{error}");
    }
    // Parts do not broadcast with those of an event; parameters do with each other.
    let (one, three) = (real(&[1], 0), real(&[3], 0));
    for (axis, x) in [(Axis::Feature, &vectors), (Axis::Channel, &images)] {
        let error = ActNorm::new(&one, &one, axis)?.inverse(x).unwrap_err();
        assert!(error.to_string().contains("ActNorm::inverse: y"), "{error}");
        let norm = FlowBatchNorm::new(&one, &one.sqr()?, 1e-5, axis)?;
        let error = norm.transform(x).unwrap_err().to_string();
        assert!(error.contains("FlowBatchNorm::transform: x"), "{error}");
        assert_eq!(ActNorm::new(&three, &one, axis)?.log_scale().dims(), [3]);
        let norm = FlowBatchNorm::new(&three, &one.sqr()?, 1e-5, axis)?;
        assert_eq!(norm.observe(x, 0.5)?.variance().dims(), [3]);
    }
    Ok(())
}

/// The value has the blended statistics, and the gradient is theirs: through the batch, not through what ran before.
#[test]
fn batch_normalization_in_training() -> Result<()> {
    let (mean, variance) = (real(&[3], 1), real(&[3], 2).exp()?);
    let data = (real(&[6, 3], 0) * 2.)?;
    let observed = |p: &[Tensor]| {
        let norm = FlowBatchNorm::new(&mean, &variance, 1e-5, Axis::Feature)?;
        norm.observe(&p[0], 0.75)?.inverse_and_log_det(&p[0])
    };
    check_gradient(&|p| Ok(observed(p)?.0), std::slice::from_ref(&data), 1e-7)?;
    check_gradient(&|p| Ok(observed(p)?.1), std::slice::from_ref(&data), 1e-7)?;
    let norm = FlowBatchNorm::new(&mean, &variance, 1e-5, Axis::Feature)?;
    let second = norm.observe(&data, 0.75)?.observe(&data, 0.75)?;
    let want = ((&mean * 0.5625)? + (data.mean(0)? * 0.4375)?)?;
    assert!(
        floats(&(second.mean() - want)?)?
            .iter()
            .all(|x| x.abs() < 1e-14)
    );
    // The first batch is part of what ran before.
    let first = Var::from_tensor(&data)?;
    let later = norm.observe(&first, 0.75)?.observe(&data, 0.75)?;
    let gradients = later.inverse(&data)?.sum_all()?.backward()?;
    assert!(gradients.get(&first).is_none());
    assert!(norm.observe(&data.narrow(0, 0, 0)?, 0.5).is_err());
    assert!(norm.observe(&data, 1.5).is_err());
    let error = norm.observe(&(&data / 0.)?, 0.5).unwrap_err().to_string();
    assert!(error.contains("FlowBatchNorm::observe: data"), "{error}");
    assert!(norm.observe(&real(&[4, 2], 0), 0.5).is_err());
    assert!(FlowBatchNorm::new(&mean, &variance.neg()?, 1e-5, Axis::Feature).is_err());
    assert!(FlowBatchNorm::new(&mean, &variance, 0., Axis::Feature).is_err());
    Ok(())
}

#[test]
fn planar_and_radial() -> Result<()> {
    for batch in [&[][..], &[4], &[2, 1]] {
        for seed in 0..3 {
            let vector = |seed| real(&[batch, &[3]].concat(), seed);
            let number = |seed| real(batch, seed);
            let x = (real(&[2, 4, 3], seed) * 2.)?;
            let parameters = [
                vector(seed + 10),
                (vector(seed + 20) * 2.)?,
                number(seed + 30),
            ];
            check_with(|p| Planar::new(&p[0], &p[1], &p[2]), &parameters, &x)?;
            let parameters = [
                vector(seed + 10),
                number(seed + 20),
                (number(seed + 30) * 3.)?,
            ];
            check_with(|p| Radial::new(&p[0], &p[1], &p[2]), &parameters, &x)?;
        }
    }
    let (zero, one) = (real(&[2], 0).zeros_like()?, real(&[], 0));
    assert!(Planar::new(&zero, &real(&[2], 0), &one).is_err());
    assert!(Planar::new(&real(&[3], 1), &real(&[2], 0), &one).is_err());
    assert!(Radial::new(&one, &one, &one).is_err());
    // A flow of ones and zeros, far out and at the centre: finite values and slopes.
    let x = Var::new(&[[0., 0.], [1e6, -1e6], [1e-200, 0.]], &CPU)?;
    for raw in [-50., 50.] {
        let raw = Tensor::new(raw, &CPU)?;
        let w = Tensor::new(&[1., 0.], &CPU)?;
        let planar = Planar::new(&w, &w.broadcast_mul(&raw)?, &one)?;
        let radial = Radial::new(&zero, &one, &raw)?;
        let flows: [&dyn Bijector; 2] = [&planar, &radial];
        for flow in flows {
            for (y, log_det) in [
                flow.transform_and_log_det(&x)?,
                flow.inverse_and_log_det(&x)?,
            ] {
                let loss = (y.sum_all()? + log_det.sum_all()?)?;
                let gradients = loss.backward()?;
                let gradient = gradients.get(&x).map_or(Ok(vec![f64::NAN]), floats)?;
                for values in [floats(&y)?, floats(&log_det)?, gradient] {
                    assert!(values.iter().all(|x| x.is_finite()), "{values:?}");
                }
            }
        }
    }
    Ok(())
}

type Make = fn(&Tensor, &Tensor, &Tensor) -> Result<MixtureCdf>;
const MIXTURES: [Make; 2] = [MixtureCdf::logistic, MixtureCdf::gaussian];
const TO_LINE: [fn(MixtureCdf) -> MixtureCdf; 2] = [MixtureCdf::to_logit, MixtureCdf::to_probit];

#[test]
fn mixture_cdfs() -> Result<()> {
    let bounds = Bounds {
        f64: 1e-10,
        f32: 1e-3,
        ..Bounds::default()
    };
    for make in MIXTURES {
        for (shape, x) in [
            (&[3][..], &[2, 4][..]),
            (&[4, 3], &[2, 4]),
            (&[2, 1, 1], &[2, 2]),
        ] {
            let parameters = [
                real(shape, 1),
                (real(shape, 2) * 2.)?,
                (real(shape, 3) * 0.3)?,
            ];
            let build = |p: &[Tensor]| make(&p[0], &p[1], &p[2]);
            check_bijector(build, &parameters, &real(x, 4), bounds)?;
            for scale in TO_LINE {
                let build = |p: &[Tensor]| Ok(scale(build(p)?));
                check_bijector(build, &parameters, &(real(x, 4) * 2.)?, bounds)?;
            }
        }
    }
    // As a coupling's map, on the way from data to latents.
    let conditioner = |p: &[Tensor]| {
        let p = p.to_vec();
        move |a: &Tensor| {
            let out = a.unsqueeze(D::Minus1)?.broadcast_mul(&p[0])?.tanh()?;
            let parts = out.chunk(3, D::Minus1)?;
            Ok(MixtureCdf::logistic(&parts[0], &parts[1], &parts[2])?
                .to_logit()
                .inverted())
        }
    };
    let build = |p: &[Tensor]| Ok(Coupling::new(Split::half(4, false)?, conditioner(p)));
    check_bijector(build, &[real(&[1, 6], 1)], &real(&[3, 4], 0), bounds)
}

/// One logistic component is a line to its logit, however far out, and a normal one to its quantile; between far components F
/// is flat, and x is still found.
#[test]
fn mixture_cdfs_far_out() -> Result<()> {
    let number = |x: f64| Tensor::new(&[x], &CPU);
    let x = Tensor::new(&[-1e6, -40., 0., 2., 1e3, 1e9], &CPU)?;
    for (make, scale) in MIXTURES.into_iter().zip(TO_LINE) {
        let one = scale(make(&number(3.)?, &number(2.)?, &number(-1.)?)?);
        let (y, log_det) = one.transform_and_log_det(&x)?;
        for (x, y) in floats(&x)?.into_iter().zip(floats(&y)?) {
            let want = (x - 2.) * 1f64.exp();
            assert!(
                (y - want).abs() <= 1e-15 * want.abs().max(1.),
                "{y} is not {want}"
            );
        }
        assert!(floats(&log_det)?.iter().all(|x| (x - 1.).abs() < 1e-6));
    }
    let pair = |a: f64, b: f64| Tensor::new(&[a, b], &CPU);
    for (make, scale) in MIXTURES.into_iter().flat_map(|m| TO_LINE.map(|s| (m, s))) {
        let far = scale(make(&pair(0., 1.)?, &pair(-300., 500.)?, &pair(0., -2.)?)?);
        let y = Tensor::new(&[-1e5, -800., -1e-3, -1., 0., 1., 30., 1e5], &CPU)?;
        let (x, back) = far.inverse_and_log_det(&y)?;
        let (again, there) = far.transform_and_log_det(&x)?;
        for (a, b) in floats(&again)?.into_iter().zip(floats(&y)?) {
            // The rounding of x, about 500, on scales of 0.14.
            assert!((a - b).abs() <= 1e-12 * b.abs().max(1.), "{a} is not {b}");
        }
        assert!(floats(&(there + back)?)?.iter().all(|x| *x == 0.));
        let parameters = [pair(0., 1.)?, pair(-1., 1.)?, pair(0., -0.5)?];
        let tails = Tensor::new(&[-800., -30., 30., 800.], &CPU)?;
        let inverse = |p: &[Tensor]| scale(make(&p[0], &p[1], &p[2])?).inverse(&tails);
        check_gradient(&inverse, &parameters, 1e-5)?;
    }
    Ok(())
}

/// Finite values and slopes for raw parameters as a network may give them, in both dtypes. What does not count in the loss
/// does not count in the gradient, whatever its slope.
#[test]
fn mixture_cdfs_of_any_parameters() -> Result<()> {
    for (make, most) in MIXTURES.into_iter().zip([50., 10.]) {
        for (dtype, scale) in [DType::F32, DType::F64]
            .into_iter()
            .flat_map(|d| TO_LINE.map(|s| (d, s)))
        {
            let mut rng = Rng::new(0);
            let mut uniform = |shape: &[usize], most: f64| -> Result<Var> {
                let x = rng.uniform(shape, dtype, &CPU)?.affine(2. * most, -most)?;
                Ok(Var::from_tensor(&x)?)
            };
            let parameters = [
                uniform(&[1000, 4], 50.)?,
                uniform(&[1000, 4], 50.)?,
                uniform(&[1000, 4], most)?,
            ];
            let [logits, loc, log_scale] = parameters.each_ref();
            let cdf = scale(make(logits, loc, log_scale)?);
            let mut check = |most: f64, inverse: bool| -> Result<()> {
                let x = uniform(&[1000], most)?;
                let (y, log_det) = match inverse {
                    false => cdf.transform_and_log_det(&x)?,
                    true => cdf.inverse_and_log_det(&x)?,
                };
                // Between far components F is flat: there x has no slope to y that a number could hold.
                let steep = log_det.lt(30.)?;
                let kept = |t: &Tensor| steep.where_cond(t, &t.zeros_like()?)?.sum_all();
                let gradients = (kept(&y)? + kept(&log_det)?)?.backward()?;
                let mut all = vec![y, log_det];
                for variable in parameters.iter().chain([&x]) {
                    all.extend(gradients.get(variable).cloned());
                }
                assert_eq!(all.len(), 6);
                for (i, values) in all.iter().enumerate() {
                    let bad = floats(values)?.into_iter().position(|x| !x.is_finite());
                    assert!(bad.is_none(), "{dtype:?} {most} {inverse}: {i} {bad:?}");
                }
                Ok(())
            };
            for most in [1e6, 50., 1.] {
                check(most, false)?;
            }
            for most in [1e3, 10., 0.1] {
                check(most, true)?;
            }
        }
    }
    Ok(())
}

#[test]
fn mixture_cdfs_at_the_ends_and_wrong_input() -> Result<()> {
    let pair = |a: f64, b: f64| Tensor::new(&[a, b], &CPU);
    for make in MIXTURES {
        let cdf = make(&pair(0., 1.)?, &pair(-2., 3.)?, &pair(0., -1.)?)?;
        let y = Tensor::new(&[-0.1, 0., 1., 1.5, f64::NAN], &CPU)?;
        let x = floats(&cdf.inverse(&y)?)?;
        assert!(x[0].is_nan() && x[3].is_nan() && x[4].is_nan());
        assert_eq!(x[1..3], [f64::NEG_INFINITY, f64::INFINITY]);
        let broken = make(&pair(0., 1.)?, &pair(f64::NAN, 3.)?, &pair(0., -1.)?)?;
        assert!(broken.inverse(&pair(0.1, 0.2)?).is_err());
        assert!(make(&pair(0., 1.)?, &real(&[3], 0), &pair(0., 1.)?).is_err());
        assert!(make(&real(&[], 0), &real(&[], 0), &real(&[], 0)).is_err());
        assert!(cdf.transform(&real(&[2], 0).to_dtype(DType::F32)?).is_err());
        let wide = make(&real(&[3, 2], 0), &pair(0., 1.)?, &pair(0., 1.)?)?;
        assert!(wide.transform(&real(&[2], 0)).is_err());
    }
    Ok(())
}

/// No values where there are none, and no infinite slopes where there are.
#[test]
fn elementwise_at_the_ends() -> Result<()> {
    let clip = SoftClip::new(2.)?;
    let y = Tensor::new(&[-2.5, -2., 0., 2., 3.], &CPU)?;
    let (x, log_det) = clip.inverse_and_log_det(&y)?;
    let (x, log_det) = (floats(&x)?, floats(&log_det)?);
    assert!(x[0].is_nan() && x[4].is_nan() && log_det[0].is_nan());
    assert_eq!(x[1..4], [f64::NEG_INFINITY, 0., f64::INFINITY]);
    let far = Tensor::new(&[-1e300, 1e300, 0.], &CPU)?;
    let (y, log_det) = clip.transform_and_log_det(&far)?;
    assert_eq!(floats(&y)?, [-2., 2., 0.]);
    assert!(floats(&log_det)?.iter().all(|x| x.is_finite()));
    for wrong in [0., -1., f64::NAN, f64::INFINITY] {
        assert!(LeakyRelu::new(wrong).is_err() && SoftClip::new(wrong).is_err());
    }
    let y = LeakyRelu::new(0.5)?.transform(&Tensor::new(&[-2., 3.], &CPU)?)?;
    assert_eq!(floats(&y)?, [-1., 3.]);
    Ok(())
}

/// What the harness must catch.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    LogDet,
    InverseLogDet,
    BothLogDets,
    Inverse,
    Gradient,
    Shape,
    Coupled,
    Direction,
}

struct Flawed(Flaw);

impl Bijector for Flawed {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, log_det) = Sigmoid.transform_and_log_det(x)?;
        Ok(match self.0 {
            Flaw::LogDet => (y, (log_det + 1e-4)?),
            Flaw::BothLogDets => (y, (log_det * 1.001)?),
            Flaw::Gradient => (sigmoid(&x.detach())?.add(&(x - x.detach())?)?, log_det),
            Flaw::Shape if x.elem_count() == 0 => (y.flatten_all()?, log_det),
            Flaw::Coupled if x.elem_count() > 1 => {
                let gap = (x - x.roll(1, D::Minus1)?)?;
                (y.add(&(gap * 1e-3)?)?, log_det)
            }
            _ => (y, log_det),
        })
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (x, log_det) = Sigmoid.inverse_and_log_det(y)?;
        Ok(match self.0 {
            Flaw::InverseLogDet => (x, (log_det - 1e-4)?),
            Flaw::BothLogDets => (x, (log_det * 1.001)?),
            Flaw::Inverse => ((x * (1. + 1e-6))?, log_det),
            _ => (x, log_det),
        })
    }

    fn decreasing(&self) -> Result<Option<Tensor>> {
        let everywhere = Tensor::new(1u8, &CPU)?;
        Ok((self.0 == Flaw::Direction).then_some(everywhere))
    }
}

#[test]
fn the_harness_catches_planted_errors() -> Result<()> {
    let x = real(&[4, 3], 0);
    check(Flawed(Flaw::None), &x)?;
    for (flaw, says) in [
        (Flaw::LogDet, "minus the log-det"),
        (Flaw::InverseLogDet, "minus the log-det"),
        (Flaw::BothLogDets, "numeric Jacobian"),
        (Flaw::Inverse, "round trip"),
        (Flaw::Gradient, "gradient"),
        (Flaw::Shape, "0 batches"),
        (Flaw::Coupled, "round trip"),
        (Flaw::Direction, "goes down"),
    ] {
        match check(Flawed(flaw), &x) {
            Err(Error::Value { expected, .. }) => assert!(expected.contains(says), "{expected}"),
            other => panic!("{says}: {other:?}"),
        }
    }
    Ok(())
}

#[test]
fn splines() -> Result<()> {
    // Some elements beyond the bound of 1.5.
    let x = real(&[4, 3], 0);
    for shape in [&[11][..], &[3, 11], &[4, 1, 11]] {
        let build = |p: &[Tensor]| RationalQuadraticSpline::new(&p[0], 1.5);
        check_with(build, &[real(shape, 1)], &x)?;
    }
    Ok(())
}
