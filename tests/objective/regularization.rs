//! Quadratic penalties of weights: reference values, matrices built by hand, and what holds for every Hessian.

use crate::support::{differences, floats, golden};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::objective::regularization::{
    Decayed, Derivative, Images, Quadratic, SpatialSmoothness, TimeSmoothness, WeightDecay,
};
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn normal(seed: u64, dims: &[usize], dtype: DType) -> Result<Tensor> {
    Rng::new(seed).normal(dims, dtype, CPU)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(floats(&(a * b)?)?.iter().sum())
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(floats(x)?.iter().fold(0., |most, x| x.abs().max(most)))
}

fn spatial(derivative: Derivative, images: Images, grid: (usize, usize)) -> SpatialSmoothness {
    SpatialSmoothness {
        alpha: 0.3,
        derivative,
        images,
        channels: 2,
        grid,
        extent: (1.5, 0.8),
    }
}

type Shapes = Vec<Vec<usize>>;

/// Each penalty with shapes that it takes.
fn penalties() -> Vec<(Box<dyn Quadratic>, Shapes)> {
    let decay = WeightDecay { alpha: 0.7 };
    let smooth = TimeSmoothness {
        alpha: 0.7,
        step: 0.1,
    };
    let layers = [
        &[5, 3, 2][..],
        &[1, 4],
        &[2],
        &[0, 3],
        &[3, 0],
        &[70, 2, 3, 3, 3],
        &[9, 150],
    ];
    let layers: Shapes = layers.iter().map(|dims| dims.to_vec()).collect();
    let rows = vec![vec![24], vec![3, 24], vec![2, 0, 24], vec![2, 2, 24]];
    let columns = vec![vec![24, 1], vec![24, 5], vec![24, 0], vec![2, 24, 3]];
    let any = vec![vec![], vec![4], vec![0, 2], vec![2, 3, 2, 2, 2]];
    let decayed = Decayed {
        penalty: smooth,
        decay: 0.2,
    };
    let mut all: Vec<(Box<dyn Quadratic>, _)> = vec![
        (Box::new(decay), any),
        (Box::new(smooth), layers.clone()),
        (Box::new(decayed), layers),
    ];
    for derivative in [Derivative::Gradient, Derivative::Laplacian] {
        for grid in [(3, 4), (1, 12), (12, 1), (2, 6)] {
            all.push((
                Box::new(spatial(derivative, Images::Rows, grid)),
                rows.clone(),
            ));
            all.push((
                Box::new(spatial(derivative, Images::Columns, grid)),
                columns.clone(),
            ));
        }
    }
    all
}

#[test]
fn a_hessian_is_symmetric_and_the_gradients_slope() -> Result<()> {
    for (penalty, shapes) in penalties() {
        for dims in shapes {
            let (x, v) = (normal(1, &dims, DType::F64)?, normal(2, &dims, DType::F64)?);
            let var = Var::from_tensor(&x)?;
            let value = penalty.value(&var)?;
            assert_eq!(value.dims(), [0usize; 0]);
            let (hx, hv) = (penalty.product(&x)?, penalty.product(&v)?);
            assert_eq!(hx.dims(), dims);
            let value = value.to_scalar::<f64>()?;
            assert!(value >= 0.);
            assert!(
                (value - dot(&x, &hx)? / 2.).abs() <= 1e-12 * value.max(1.),
                "{dims:?}"
            );
            let (there, back) = (dot(&v, &hx)?, dot(&x, &hv)?);
            assert!((there - back).abs() <= 1e-12 * there.abs().max(1.) * value.max(1.));
            if let Some(gradient) = penalty.value(&var)?.backward()?.get(&var) {
                let error = largest(&(gradient - &hx)?)?;
                assert!(error <= 1e-12 * largest(&hx)?, "{dims:?}: {error}");
                // Quadratic functions have exact central differences but for rounding.
                if x.elem_count() < 100 {
                    differences(&var, 1e-6, &|| penalty.value(&var))?;
                }
            } else {
                assert_eq!(largest(&hx)?, 0.);
            }
            let single = penalty.product(&x.to_dtype(DType::F32)?)?;
            let error = largest(&(single.to_dtype(DType::F64)? - &hx)?)?;
            assert!(error <= 2e-6 * largest(&hx)?, "{dims:?}: {error}");
        }
    }
    Ok(())
}

#[test]
fn solve_inverts_the_shifted_product() -> Result<()> {
    for (penalty, shapes) in penalties() {
        for dims in shapes {
            let v = normal(3, &dims, DType::F64)?;
            // Of the size of the largest eigenvalue.
            let strength = largest(&penalty.product(&v)?)?;
            for shift in [1e-3, 1., 1e3] {
                let x = penalty.solve(&v, shift)?;
                assert_eq!(x.dims(), dims);
                let hx = penalty.product(&x)?;
                let error = largest(&((&hx + (&x * shift)?)? - &v)?)?;
                let size = (strength + shift) * largest(&x)?;
                assert!(error <= 4e-15 * size, "{dims:?} {shift}: {error} {size}");
                // In single precision the solution is the rounded one.
                let single = penalty.solve(&v.to_dtype(DType::F32)?, shift)?;
                let error = largest(&(single.to_dtype(DType::F64)? - &x)?)?;
                assert!(error <= 1e-6 * largest(&x)?, "{dims:?} {shift}: {error}");
            }
        }
    }
    Ok(())
}

#[test]
fn strides_do_not_matter() -> Result<()> {
    let x = normal(4, &[6, 24, 5], DType::F32)?;
    let turned = x.transpose(0, 2)?;
    let even = turned.contiguous()?;
    let smooth = TimeSmoothness {
        alpha: 2.,
        step: 0.5,
    };
    let space = spatial(Derivative::Laplacian, Images::Columns, (3, 4));
    for penalty in [
        &smooth as &dyn Quadratic,
        &space,
        &WeightDecay { alpha: 1. },
    ] {
        let same = |a: Tensor, b: Tensor| -> Result<()> {
            assert_eq!(floats(&a)?, floats(&b)?);
            Ok(())
        };
        same(penalty.value(&turned)?, penalty.value(&even)?)?;
        same(penalty.product(&turned)?, penalty.product(&even)?)?;
        same(penalty.solve(&turned, 0.1)?, penalty.solve(&even, 0.1)?)?;
    }
    Ok(())
}

#[test]
fn smoothness_of_reference_networks() -> Result<()> {
    let all = golden::file(include_str!("../golden/dynamics.json"));
    let (mut cases, mut gradients) = (0, 0);
    for case in all["cases"].as_array().unwrap() {
        if case["kind"] != "network" {
            continue;
        }
        cases += 1;
        let penalty = TimeSmoothness {
            alpha: 1.,
            step: case["h"].as_f64().unwrap(),
        };
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            for name in ["K", "b"] {
                let dims: Vec<usize> = serde_json::from_value(case[name]["shape"].clone()).unwrap();
                let numbers = golden::list(&case[name]).into_iter().flatten().collect();
                let x = Tensor::from_vec::<_, f64>(numbers, dims, CPU)?.to_dtype(dtype)?;
                let var = Var::from_tensor(&x)?;
                let value = penalty.value(&var)?;
                let want = case[&format!("smoothness_{name}")].as_f64().unwrap();
                golden::check(name, floats(&value)?[0], want, 0., dtype, tolerance);
                if name == "K" && !case["grad_smoothness_K"].is_null() {
                    gradients += 1;
                    let store = value.backward()?;
                    let gradient = floats(store.get(&var).expect("a gradient"))?;
                    let want = golden::list(&case["grad_smoothness_K"]);
                    for (got, want) in gradient.into_iter().zip(want) {
                        golden::check("gradient", got, want.unwrap(), 0., dtype, tolerance);
                    }
                }
            }
        }
    }
    assert!(cases >= 10 && gradients >= 4);
    Ok(())
}

/// The derivative as sums over pixels, written out.
fn by_hand(p: &SpatialSmoothness, w: &[f64]) -> f64 {
    let ((rows, cols), (height, width)) = (p.grid, p.extent);
    let (dy, dx) = (height / rows as f64, width / cols as f64);
    let mut sum = 0.;
    for image in w.chunks_exact(rows * cols) {
        let at = |i: usize, j: usize| image[i * cols + j];
        for i in 0..rows {
            for j in 0..cols {
                let mut sides = vec![];
                if i > 0 {
                    sides.push((at(i - 1, j) - at(i, j), dy));
                }
                if i + 1 < rows {
                    sides.push((at(i + 1, j) - at(i, j), dy));
                }
                if j > 0 {
                    sides.push((at(i, j - 1) - at(i, j), dx));
                }
                if j + 1 < cols {
                    sides.push((at(i, j + 1) - at(i, j), dx));
                }
                sum += match p.derivative {
                    // Each edge is seen from both of its ends.
                    Derivative::Gradient => {
                        sides.iter().map(|(d, h)| (d / h).powi(2)).sum::<f64>() / 2.
                    }
                    Derivative::Laplacian => {
                        sides.iter().map(|(d, h)| d / (h * h)).sum::<f64>().powi(2)
                    }
                };
            }
        }
    }
    p.alpha / 2. * dy * dx * sum
}

#[test]
fn spatial_smoothness_is_a_sum_over_pixels() -> Result<()> {
    for derivative in [Derivative::Gradient, Derivative::Laplacian] {
        for grid in [(3, 4), (4, 3), (1, 12), (12, 1)] {
            let rows = spatial(derivative, Images::Rows, grid);
            let x = normal(5, &[7, 24], DType::F64)?;
            let want = by_hand(&rows, &floats(&x)?);
            let got = rows.value(&x)?.to_scalar::<f64>()?;
            assert!((got - want).abs() <= 1e-12 * want, "{grid:?}: {got} {want}");
            let columns = spatial(derivative, Images::Columns, grid);
            let got = columns.value(&x.t()?)?.to_scalar::<f64>()?;
            assert!((got - want).abs() <= 1e-12 * want, "{grid:?}: {got} {want}");
        }
    }
    Ok(())
}

/// `w = cos(pi x) cos(2 pi y)` on the unit square: `|grad w|^2 = 5 pi^2 / 4` and `(lap w)^2 = 25 pi^4 / 4` in the mean. A pixel at
/// a time these are read with an error that falls fourfold with half the distance.
#[test]
fn values_are_integrals() -> Result<()> {
    let pi = std::f64::consts::PI;
    for (derivative, want) in [
        (Derivative::Gradient, 5. * pi.powi(2) / 4.),
        (Derivative::Laplacian, 25. * pi.powi(4) / 4.),
    ] {
        let error = |n: usize| -> Result<f64> {
            let at = |i: usize| (i as f64 + 0.5) / n as f64;
            let w = (0..n).flat_map(|i| {
                (0..2 * n).map(move |j| (2. * pi * at(i)).cos() * (pi * at(j) / 2.).cos())
            });
            let penalty = SpatialSmoothness {
                alpha: 2.,
                derivative,
                images: Images::Rows,
                channels: 1,
                grid: (n, 2 * n),
                extent: (1., 1.),
            };
            let w = Tensor::from_vec(w.collect::<Vec<f64>>(), 2 * n * n, CPU)?;
            assert!((penalty.area()? * (2 * n * n) as f64 - 1.).abs() < 1e-14);
            Ok((penalty.value(&w)?.to_scalar::<f64>()? - want).abs() / want)
        };
        let (coarse, fine) = (error(16)?, error(32)?);
        let fall = coarse / fine;
        assert!(fine < 0.01 && (3.8..4.2).contains(&fall), "{coarse} {fine}");
    }
    Ok(())
}

/// Layers put between, half-way and with half the step, leave the value of weights that are linear in between.
#[test]
fn time_smoothness_is_an_integral() -> Result<()> {
    let x = normal(6, &[5, 3], DType::F64)?;
    let middle = ((x.narrow(0, 0, 4)? + x.narrow(0, 1, 4)?)? * 0.5)?;
    let mut finer = vec![x.narrow(0, 0, 1)?];
    for j in 0..4 {
        finer.extend([middle.narrow(0, j, 1)?, x.narrow(0, j + 1, 1)?]);
    }
    let finer = Tensor::cat(&finer, 0)?;
    let of = |x: &Tensor, step: f64| -> Result<f64> {
        Ok(TimeSmoothness { alpha: 1., step }.value(x)?.to_scalar()?)
    };
    let (coarse, fine) = (of(&x, 0.5)?, of(&finer, 0.25)?);
    assert!((coarse - fine).abs() < 1e-13 * coarse, "{coarse} {fine}");
    Ok(())
}

/// A constant is in the null space: the shift alone divides it, however small.
#[test]
fn small_shifts_keep_their_digits() -> Result<()> {
    let smooth = TimeSmoothness {
        alpha: 1.,
        step: 1e-3,
    };
    for dtype in [DType::F32, DType::F64] {
        let x = smooth.solve(&Tensor::ones((5000, 3), dtype, CPU)?, 1e-9)?;
        let error = floats(&x)?
            .iter()
            .fold(0f64, |e, x| e.max((x * 1e-9 - 1.).abs()));
        let unit = if dtype == DType::F32 { 1e-7 } else { 1e-11 };
        assert!(error < unit, "{dtype:?}: {error}");
    }
    // A single layer moved: the exact solution of the chain, far from a multiple of the data.
    let mut v = vec![0.; 5000];
    v[1234] = 1.;
    let v = Tensor::from_vec(v, 5000, CPU)?;
    let x = smooth.solve(&v, 1e-9)?;
    assert!((dot(&x, &x.ones_like()?)? * 1e-9 - 1.).abs() < 1e-11);
    let back = (smooth.product(&x)? + (&x * 1e-9)?)?;
    let size = 1e3 * largest(&x)?;
    assert!(largest(&(back - v)?)? < 1e-15 * size);
    Ok(())
}

#[test]
fn arguments_that_make_no_penalty_are_refused() -> Result<()> {
    let x = normal(7, &[4, 24], DType::F64)?;
    let value = |result: Result<Tensor>, name: &str| match result {
        Err(Error::Value { arg, .. }) => assert_eq!(arg, name),
        other => panic!("{name}: {other:?}"),
    };
    let all = |penalty: &dyn Quadratic, name: &str| {
        value(penalty.value(&x), name);
        value(penalty.product(&x), name);
        value(penalty.solve(&x, 1.), name);
    };
    for alpha in [-1., f64::NAN, f64::INFINITY] {
        all(&WeightDecay { alpha }, "alpha");
        all(&TimeSmoothness { alpha, step: 1. }, "alpha");
        let space = spatial(Derivative::Gradient, Images::Rows, (3, 4));
        all(&SpatialSmoothness { alpha, ..space }, "alpha");
    }
    for step in [0., -1., f64::NAN, f64::INFINITY] {
        all(&TimeSmoothness { alpha: 1., step }, "step");
    }
    let smooth = TimeSmoothness {
        alpha: 1.,
        step: 1.,
    };
    let space = spatial(Derivative::Laplacian, Images::Rows, (3, 4));
    for shift in [0., -1., f64::NAN, f64::INFINITY] {
        value(smooth.solve(&x, shift), "shift");
        value(space.solve(&x, shift), "shift");
        value(WeightDecay { alpha: 0. }.solve(&x, shift), "shift");
        value(
            Decayed {
                penalty: smooth,
                decay: 0.,
            }
            .solve(&x, shift),
            "shift",
        );
    }
    value(WeightDecay { alpha: 1. }.solve(&x, -1.), "shift");
    value(
        Decayed {
            penalty: smooth,
            decay: 2.,
        }
        .solve(&x, -1.),
        "shift",
    );
    for extent in [
        (0., 1.),
        (1., -1.),
        (f64::NAN, 1.),
        (1., f64::NAN),
        (1., f64::INFINITY),
    ] {
        all(&SpatialSmoothness { extent, ..space }, "extent");
    }
    all(
        &SpatialSmoothness {
            grid: (0, 24),
            ..space
        },
        "grid",
    );
    all(
        &SpatialSmoothness {
            channels: 0,
            ..space
        },
        "channels",
    );
    let wrong = |result: Result<Tensor>| assert!(matches!(result, Err(Error::Shape { .. })));
    let columns = spatial(Derivative::Gradient, Images::Columns, (3, 4));
    wrong(columns.value(&x));
    wrong(columns.product(&Tensor::ones(24, DType::F64, CPU)?));
    wrong(space.solve(&Tensor::ones((24, 4), DType::F64, CPU)?, 1.));
    wrong(space.solve(&Tensor::ones((), DType::F64, CPU)?, 1.));
    wrong(smooth.value(&Tensor::ones((), DType::F64, CPU)?));
    let whole = Tensor::ones((4, 24), DType::U32, CPU)?;
    for penalty in [
        &smooth as &dyn Quadratic,
        &space,
        &WeightDecay { alpha: 1. },
    ] {
        for result in [
            penalty.value(&whole),
            penalty.product(&whole),
            penalty.solve(&whole, 1.),
        ] {
            assert!(matches!(result, Err(Error::DType { .. })));
        }
    }
    Ok(())
}
