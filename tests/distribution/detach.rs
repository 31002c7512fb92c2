//! A detached distribution scores values with the same bits, and the gradient goes to the value alone.

use crate::support::families::every;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::bijector::*;
use candle_prob::distribution::*;
use candle_prob::{Detach, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn vars(parameters: &[Tensor]) -> Result<Vec<Var>> {
    Ok(parameters
        .iter()
        .map(|p| Var::from_tensor(&p.contiguous()?))
        .collect::<candle_core::Result<_>>()?)
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|v| v.as_tensor().clone()).collect()
}

fn bits(x: &Tensor) -> Result<Vec<u64>> {
    let x = x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    Ok(x.into_iter().map(f64::to_bits).collect())
}

fn check<D: Distribution + Detach>(label: &str, d: &D, all: &[Var], value: &Tensor) -> Result<()> {
    let value = Var::from_tensor(&value.contiguous()?)?;
    let (with, without) = (d.log_prob(&value)?, d.detach().log_prob(&value)?);
    assert_eq!(bits(&with)?, bits(&without)?, "{label}");
    let (with, without) = (with.sum_all()?.backward()?, without.sum_all()?.backward()?);
    // It had gradients to lose.
    assert!(all.iter().any(|p| with.get(p).is_some()), "{label}");
    for p in all {
        assert!(without.get(p).is_none(), "{label}");
    }
    let slopes = [with, without].map(|all| all.get(&value).map(bits));
    let [with, without] = slopes.map(Option::transpose);
    assert_eq!(with?, without?, "{label}");
    let d = d.detach();
    assert!(!d.sample(&[2], &mut Rng::new(0))?.track_op());
    assert_eq!(d.event_shape().len() + 1, value.rank(), "{label}");
    Ok(())
}

#[test]
fn every_family() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for row in every() {
            let all = vars(&row.ordinary(&[3], dtype)?)?;
            let d = row.build(&tensors(&all))?;
            // The table has no index of a class.
            let value = match row.value[..] {
                [] => Tensor::zeros((), DType::U32, CPU)?,
                _ => Tensor::new(row.value.as_slice(), CPU)?.to_dtype(dtype)?,
            };
            let value = value.reshape(d.event_shape())?;
            let value = value.broadcast_as([&[3], d.event_shape()].concat())?;
            check(row.name, &d, &all, &value)?;
        }
    }
    Ok(())
}

#[test]
fn every_combinator() -> Result<()> {
    let given = [
        Tensor::new(&[[0.5, -0.3], [1., 0.2], [0.1, -1.]], CPU)?,
        Tensor::new(&[[0.5, 1.3], [1., 0.2], [0.7, 1.]], CPU)?,
    ];
    let all = vars(&given)?;
    let [loc, scale] = [0, 1].map(|i| all[i].as_tensor());
    let normal = || Normal::new(loc, scale);
    let vector = || normal()?.to_event(1);
    let x = Tensor::new(&[[0.2, 0.3], [0.4, -0.5], [0.1, 0.7]], CPU)?;
    let first = x.narrow(1, 0, 1)?.squeeze(1)?;
    let see =
        |label: &str, d: &dyn Fn() -> Result<()>| d().unwrap_or_else(|e| panic!("{label}: {e}"));
    // A point has no slopes; its draws have.
    let (point, rng) = (Delta::new(loc, 1)?, &mut Rng::new(0));
    assert!(point.sample(&[], rng)?.track_op());
    assert!(!point.detach().sample(&[], rng)?.track_op());
    see("Expanded", &|| {
        check("Expanded", &Expanded::new(vector()?, &[3])?, &all, &x)
    });
    let mask = Tensor::new(&[1u8, 0, 1], CPU)?;
    see("Masked", &|| {
        check("Masked", &Masked::new(vector()?, &mask)?, &all, &x)
    });
    see("Truncated", &|| {
        let (low, high) = (Tensor::new(-1., CPU)?, scale.max_all()?.affine(3., 0.)?);
        let high = high.broadcast_as(loc.shape())?;
        let d = Truncated::new(normal()?, &low, &high)?.to_event(1)?;
        check("Truncated", &d, &all, &x)
    });
    let mixture = || MixtureSameFamily::new(Categorical::new(loc)?, normal()?);
    see("MixtureSameFamily", &|| {
        check("MixtureSameFamily", &mixture()?, &all, &first)
    });
    see("ReparameterizedMixture", &|| {
        check(
            "ReparameterizedMixture",
            &mixture()?.reparameterized(),
            &all,
            &first,
        )
    });
    Ok(())
}

/// The density of a transformed distribution whose base is a constant.
fn through<B: Bijector + Detach>(label: &str, bijector: B, all: &[Var]) -> Result<()> {
    let one = Tensor::ones((3, 2), DType::F64, CPU)?;
    let base = Normal::new(&one.zeros_like()?, &one)?.to_event(1)?;
    let x = Tensor::new(&[[0.2, 0.3], [0.4, 0.5], [0.1, 0.7]], CPU)?;
    check(label, &base.transformed_by(bijector)?, all, &x)
}

#[test]
fn every_bijector() -> Result<()> {
    let all = vars(&[
        Tensor::new(&[0.5, -0.3], CPU)?,
        Tensor::new(&[0.7, 0.4], CPU)?,
        Tensor::new(&[[0.7, 0.], [0.4, 1.1]], CPU)?,
        Tensor::new(0.3, CPU)?,
        Rng::new(0).normal((2, 3), DType::F64, CPU)?,
        Rng::new(1).normal((2, RationalQuadraticSpline::parameters(4)), DType::F64, CPU)?,
    ])?;
    let v: Vec<Tensor> = tensors(&all);
    let affine = || Affine::new(&v[0], &v[1]);
    through("Affine", affine()?, &all)?;
    through("Shift", Shift::new(&v[0]), &all)?;
    through("ActNorm", ActNorm::new(&v[0], &v[1], Axis::Feature)?, &all)?;
    through(
        "LowerTriangularAffine",
        LowerTriangularAffine::new(&v[0], &v[2])?,
        &all,
    )?;
    through("Householder", Householder::new(&v[2])?, &all)?;
    through("Planar", Planar::new(&v[0], &v[1], &v[3])?, &all)?;
    through("Radial", Radial::new(&v[0], &v[3], &v[3])?, &all)?;
    let cdf = MixtureCdf::logistic(&v[4], &v[4], &v[4])?;
    through("MixtureCdf", cdf, &all)?;
    through("Spline", RationalQuadraticSpline::new(&v[5], 3.)?, &all)?;
    through("Inverted", affine()?.inverted(), &all)?;
    // Without parameters of their own, beside one that has some.
    through("Exp", Chain::new(affine()?, Exp), &all)?;
    Ok(())
}
