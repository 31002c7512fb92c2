//! Conjugate gradients and the line search.

use super::{solve, tensor};
use crate::support::flat;
use candle_core::{DType, Device, Tensor};
use candle_prob::optim::{ArmijoConfig, LineSearch, PcgConfig, PcgStop, armijo, pcg};
use candle_prob::{Error, Result, Rng};

const N: usize = 12;

fn exact() -> PcgConfig {
    PcgConfig {
        max_steps: N + 3,
        tolerance: 1e-12,
    }
}

/// A vector of N numbers as a list of two tensors, and back.
fn split(x: &Tensor) -> Result<Vec<Tensor>> {
    let x = x.reshape(N)?;
    Ok(vec![
        x.narrow(0, 0, 6)?.reshape((2, 3))?,
        x.narrow(0, 6, N - 6)?,
    ])
}

fn join(list: &[Tensor]) -> Result<Tensor> {
    let parts = list.iter().map(|x| x.flatten_all());
    let parts: Vec<Tensor> = parts.collect::<candle_core::Result<_>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

fn times(a: &Tensor, list: &[Tensor]) -> Result<Vec<Tensor>> {
    split(&a.matmul(&join(list)?.unsqueeze(1)?)?)
}

/// A positive definite matrix and a right-hand side.
fn system(dtype: DType) -> Result<(Tensor, Tensor)> {
    let mut rng = Rng::new(3);
    let m = rng.normal((N, N), DType::F64, &Device::Cpu)?;
    let a = (m.matmul(&m.t()?)? + Tensor::eye(N, DType::F64, &Device::Cpu)?)?;
    let b = rng.normal(N, DType::F64, &Device::Cpu)?;
    Ok((a.to_dtype(dtype)?, b.to_dtype(dtype)?))
}

#[test]
fn as_many_steps_as_unknowns_solve_the_system() -> Result<()> {
    let (a, b) = system(DType::F64)?;
    let found = pcg(|v| times(&a, v), &split(&b)?, |v| Ok(v.to_vec()), &exact())?;
    let rows = a.to_vec2::<f64>()?;
    let want = solve(rows, b.to_vec1()?);
    for (x, want) in flat(&join(&found.solution)?).iter().zip(&want) {
        assert!((x - want).abs() <= 1e-10, "{x} is not {want}");
    }
    assert!(found.report.steps <= N + 1, "{:?}", found.report);
    assert_eq!(found.report.stop, PcgStop::Converged);
    Ok(())
}

#[test]
fn as_many_steps_as_eigenvalues_suffice() -> Result<()> {
    let diagonal: Vec<f64> = (0..N).map(|i| [1., 10., 500.][i % 3]).collect();
    let diagonal = tensor(diagonal, &[N, 1]);
    let a = Tensor::eye(N, DType::F64, &Device::Cpu)?.broadcast_mul(&diagonal)?;
    let b = system(DType::F64)?.1;
    let config = PcgConfig {
        tolerance: 1e-9,
        ..exact()
    };
    let found = pcg(|v| times(&a, v), &split(&b)?, |v| Ok(v.to_vec()), &config)?;
    assert_eq!(found.report.steps, 3);
    // The diagonal as a preconditioner leaves one eigenvalue.
    let inverse = split(&diagonal.recip()?)?;
    let by_inverse = |v: &[Tensor]| Ok(vec![(&v[0] * &inverse[0])?, (&v[1] * &inverse[1])?]);
    let found = pcg(|v| times(&a, v), &split(&b)?, by_inverse, &exact())?;
    assert_eq!(found.report.steps, 1);
    Ok(())
}

#[test]
fn a_preconditioner_saves_steps() -> Result<()> {
    let (a, b) = system(DType::F64)?;
    let scales: Vec<f64> = (0..N).map(|i| 10f64.powf(0.3 * i as f64)).collect();
    let scales = tensor(scales, &[N]);
    let a = a
        .broadcast_mul(&scales)?
        .broadcast_mul(&scales.unsqueeze(1)?)?;
    let config = PcgConfig {
        max_steps: 500,
        tolerance: 1e-6,
    };
    let plain = pcg(|v| times(&a, v), &split(&b)?, |v| Ok(v.to_vec()), &config)?;
    let inverse = split(&scales.sqr()?.recip()?)?;
    let by_inverse = |v: &[Tensor]| Ok(vec![(&v[0] * &inverse[0])?, (&v[1] * &inverse[1])?]);
    let better = pcg(|v| times(&a, v), &split(&b)?, by_inverse, &config)?;
    let steps = [better.report.steps, plain.report.steps];
    assert!(steps[0] <= N && 2 * steps[1] > 3 * N, "{steps:?}");
    // What is reported is the residual.
    let left = (join(&times(&a, &better.solution)?)? - &b)?;
    let left = left.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    let all = b.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    assert!((left / all - better.report.residual).abs() < 1e-9);
    assert!(left / all <= 1e-6);
    Ok(())
}

#[test]
fn single_precision_solves_to_its_digits() -> Result<()> {
    let (a, b) = system(DType::F32)?;
    let config = PcgConfig {
        max_steps: 40,
        tolerance: 1e-6,
    };
    let found = pcg(|v| times(&a, v), &split(&b)?, |v| Ok(v.to_vec()), &config)?;
    assert_eq!(found.report.stop, PcgStop::Converged);
    let left = (join(&times(&a, &found.solution)?)? - &b)?;
    assert!(flat(&left).iter().all(|x| x.abs() < 1e-4), "{left}");
    Ok(())
}

#[test]
fn negative_curvature_stops_with_a_descent() -> Result<()> {
    let a = tensor(vec![1., 0., 0., -1.], &[2, 2]);
    let run = |b: [f64; 2]| -> Result<(Vec<f64>, usize, PcgStop)> {
        let product = |v: &[Tensor]| Ok(vec![a.matmul(&v[0])?]);
        let b = tensor(b.to_vec(), &[2, 1]);
        let found = pcg(product, &[b], |v| Ok(v.to_vec()), &exact())?;
        let report = found.report;
        Ok((flat(&found.solution[0]), report.steps, report.stop))
    };
    let stop = PcgStop::NegativeCurvature;
    assert_eq!(run([0., 1.])?, (vec![0., 1.], 1, stop));
    assert_eq!(run([1., 1.])?, (vec![1., 1.], 1, stop));
    // 5 / 3 along (2, 1), where the matrix is positive; the second direction is not taken.
    let (x, steps, found) = run([2., 1.])?;
    assert_eq!((steps, found), (2, stop));
    assert!((x[0] - 10. / 3.).abs() < 1e-14 && (x[1] - 5. / 3.).abs() < 1e-14);
    assert_eq!(run([0., 0.])?, (vec![0., 0.], 0, PcgStop::Converged));
    Ok(())
}

#[test]
fn what_a_singular_matrix_leaves_is_not_blown_up() -> Result<()> {
    let diagonal = tensor((0..N).map(|i| i as f64).collect(), &[N, 1]);
    let a = Tensor::eye(N, DType::F64, &Device::Cpu)?.broadcast_mul(&diagonal)?;
    // Nearly in the range: what the matrix cannot reach is 1e-14.
    let b = tensor(
        (0..N).map(|i| if i == 0 { 1e-14 } else { 1. }).collect(),
        &[N],
    );
    let config = PcgConfig {
        max_steps: 60,
        tolerance: 0.,
    };
    let found = pcg(|v| times(&a, v), &split(&b)?, |v| Ok(v.to_vec()), &config)?;
    assert_eq!(found.report.stop, PcgStop::NegativeCurvature);
    let x = flat(&join(&found.solution)?);
    assert!(x[0].abs() < 10., "{x:?}");
    for (i, x) in x.iter().enumerate().skip(1) {
        assert!((x - 1. / i as f64).abs() < 1e-6);
    }
    Ok(())
}

#[test]
fn what_is_not_finite_stops_the_iteration() -> Result<()> {
    let bad = |v: &[Tensor]| Ok(vec![(&v[0] * f64::NAN)?]);
    let b = [tensor(vec![1., 2.], &[2])];
    let same = |v: &[Tensor]| Ok(v.to_vec());
    let found = pcg(bad, &b, same, &exact())?;
    assert_eq!(found.report.stop, PcgStop::NotFinite);
    assert_eq!(flat(&found.solution[0]), [0., 0.]);
    let found = pcg(same, &[tensor(vec![f64::INFINITY], &[1])], same, &exact())?;
    assert_eq!(found.report.stop, PcgStop::NotFinite);
    // Refused by name: other shapes, nothing at all, no steps, a negative tolerance.
    let other = |v: &[Tensor]| Ok(vec![v[0].unsqueeze(0)?]);
    assert!(matches!(
        pcg(other, &b, same, &exact()),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        pcg(same, &b, |_| Ok(vec![]), &exact()),
        Err(Error::Value { .. })
    ));
    assert!(matches!(
        pcg(same, &[], same, &exact()),
        Err(Error::Value { .. })
    ));
    for (max_steps, tolerance) in [(0, 0.1), (1, -1.), (1, f64::NAN)] {
        let config = PcgConfig {
            max_steps,
            tolerance,
        };
        assert!(matches!(
            pcg(same, &b, same, &config),
            Err(Error::Value { .. })
        ));
    }
    Ok(())
}

#[test]
fn a_step_decreases_sufficiently_or_is_none() -> Result<()> {
    let config = ArmijoConfig::default();
    let search = |f: &dyn Fn(f64) -> f64, slope: f64| armijo(|t| Ok(f(t)), f(0.), slope, &config);
    // A decrease of the tenth part of 1e-4 of what the slope promises does not suffice, twice as much as that part does.
    let part = |c: f64| move |t: f64| -c * t;
    assert!(!search(&part(1e-5), -1.)?.found());
    assert_eq!(search(&part(2e-4), -1.)?.step, 1.);
    // Infinite and NaN beyond 0.2.
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let f = |t: f64| if t > 0.2 { bad } else { -t };
        let found = search(&f, -1.)?;
        let want = (0.125, -0.125, 4);
        assert_eq!((found.step, found.value, found.trials), want);
    }
    // Upwards everywhere: ten trials, and the value at 0.
    let none = LineSearch {
        step: 0.,
        value: 0.,
        trials: 10,
    };
    assert_eq!(search(&|t| t, -1.)?, none);
    // A constant: rounding is no decrease.
    assert!(!search(&|_| 1e20, -1e-3)?.found());
    assert_eq!(search(&|t| -t, 0.)?.trials, 0);
    assert_eq!(search(&|t| -t, 1.)?.trials, 0);
    let refused =
        |value, slope| matches!(armijo(Ok, value, slope, &config), Err(Error::Value { .. }));
    assert!(refused(f64::NAN, -1.) && refused(0., f64::NAN) && refused(0., f64::NEG_INFINITY));
    for wrong in [
        ArmijoConfig {
            first: 0.,
            ..config.clone()
        },
        ArmijoConfig {
            sufficient: 1.,
            ..config.clone()
        },
        ArmijoConfig {
            shrink: 1.,
            ..config.clone()
        },
        ArmijoConfig {
            max_trials: 0,
            ..config.clone()
        },
    ] {
        assert!(matches!(
            armijo(Ok, 0., -1., &wrong),
            Err(Error::Value { .. })
        ));
    }
    Ok(())
}
