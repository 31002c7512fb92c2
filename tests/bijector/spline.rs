//! Splines: reference values, numeric Jacobians, and what must never happen.

use crate::support::floats;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::bijector::{Bijector, RationalQuadraticSpline, Tails};
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;

/// `ln(e^(1 - 1e-3) - 1)`: what this crate adds to raw slopes, and the reference does not.
fn offset() -> f64 {
    0.999f64.exp_m1().ln()
}

fn list(v: &Value) -> Vec<Option<f64>> {
    let list = v.get("data").unwrap_or(v).as_array().unwrap();
    list.iter().map(Value::as_f64).collect()
}

fn rows(v: &Value, dtype: DType) -> Result<Tensor> {
    let data: Vec<f64> = list(v).into_iter().flatten().collect();
    let dims: Vec<usize> = match v.get("shape") {
        Some(dims) => serde_json::from_value(dims.clone()).unwrap(),
        None => vec![data.len()],
    };
    Ok(Tensor::from_vec(data, dims, CPU)?.to_dtype(dtype)?)
}

#[test]
fn golden_values() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../golden/splines.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap().iter();
    let mut seen = 0;
    for case in cases.filter(|c| c["kind"] == "rational_quadratic_spline_linear_tails") {
        seen += 1;
        for (dtype, name) in [(DType::F32, "f32"), (DType::F64, "f64")] {
            let tolerance = golden["tolerance"][name].as_f64().unwrap();
            // Of the other library in f32; null where it gave NaN.
            let peer = |what: &str| match dtype {
                DType::F32 => {
                    10. * case["nflows_float32_max_error"][what]
                        .as_f64()
                        .unwrap_or(0.)
                }
                _ => 0.,
            };
            let x = Var::from_tensor(&rows(&case["x"], dtype)?)?;
            let slopes = rows(&case["unnormalized_derivatives"], DType::F64)?;
            let raw = Tensor::cat(
                &[
                    &rows(&case["unnormalized_widths"], DType::F64)?,
                    &rows(&case["unnormalized_heights"], DType::F64)?,
                    &(slopes - offset())?,
                ],
                1,
            )?;
            let raw = Var::from_tensor(&raw.to_dtype(dtype)?)?;
            let bound = case["tail_bound"].as_f64().unwrap();
            let spline = RationalQuadraticSpline::new(&raw, bound)?;
            assert_eq!(spline.bins() as u64, case["bins"].as_u64().unwrap());
            let (y, log_det) = spline.transform_and_log_det(&x)?;
            let (back, inverse_log_det) = spline.inverse_and_log_det(&x)?;
            for (what, got) in [
                ("forward", &y),
                ("forward_logabsdet", &log_det),
                ("inverse", &back),
                ("inverse_logabsdet", &inverse_log_det),
            ] {
                for (got, want) in floats(got)?.iter().zip(list(&case[what])) {
                    let want = want.unwrap();
                    let allowed = tolerance * want.abs().max(1.) + peer(what);
                    let text = format!("{what} {dtype:?} {bound}: {got} is not {want}");
                    assert!((got - want).abs() <= allowed, "{text}");
                }
            }
            let gradients = (y.sum_all()? + log_det.sum_all()?)?.backward()?;
            let bins = spline.bins();
            let of_raw = gradients.get(&raw).unwrap();
            for (what, got) in [
                ("grad_x", gradients.get(&x).unwrap().clone()),
                ("grad_widths", of_raw.narrow(1, 0, bins)?),
                ("grad_heights", of_raw.narrow(1, bins, bins)?),
                ("grad_derivatives", of_raw.narrow(1, 2 * bins, bins - 1)?),
            ] {
                let want = list(&case[what]);
                let scale = want.iter().flatten().fold(1f64, |m, w| m.max(w.abs()));
                for (got, want) in floats(&got)?.iter().zip(want) {
                    let Some(want) = want else { continue };
                    let text = format!("{what} {dtype:?} {bound}: {got} is not {want}");
                    assert!((got - want).abs() <= 100. * tolerance * scale, "{text}");
                }
            }
        }
    }
    assert_eq!(seen, 5);
    Ok(())
}

#[test]
fn golden_values_without_tails() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../golden/splines.json")).unwrap();
    let mut cases = golden["cases"].as_array().unwrap().iter();
    let kind = "rational_quadratic_spline_unit_interval";
    let case = cases.find(|c| c["kind"] == kind).unwrap();
    for (dtype, name) in [(DType::F32, "f32"), (DType::F64, "f64")] {
        let tolerance = golden["tolerance"][name].as_f64().unwrap();
        let x = rows(&case["x"], dtype)?;
        let slopes = rows(&case["unnormalized_derivatives"], DType::F64)?;
        let raw = Tensor::cat(
            &[
                &rows(&case["unnormalized_widths"], DType::F64)?,
                &rows(&case["unnormalized_heights"], DType::F64)?,
                &(slopes - offset())?,
            ],
            1,
        )?;
        let raw = raw.to_dtype(dtype)?;
        let spline = RationalQuadraticSpline::between(&raw, 0., 1., Tails::None)?;
        assert_eq!(spline.bins() as u64, case["bins"].as_u64().unwrap());
        let (y, log_det) = spline.transform_and_log_det(&x)?;
        let (back, back_log_det) = spline.inverse_and_log_det(&y)?;
        for (what, got, want) in [
            ("forward", &y, &case["forward"]),
            ("log-det", &log_det, &case["forward_logabsdet"]),
            ("inverse", &back, &case["x"]),
            (
                "log-det back",
                &back_log_det.neg()?,
                &case["forward_logabsdet"],
            ),
        ] {
            for (got, want) in floats(got)?.iter().zip(list(want)) {
                let want = want.unwrap();
                let allowed = tolerance * want.abs().max(1.);
                let text = format!("{what} {dtype:?}: {got} is not {want}");
                assert!((got - want).abs() <= allowed, "{text}");
            }
        }
    }
    Ok(())
}

/// Ends that the dtype rounds: they are of the interval, and no result is beyond them.
#[test]
fn without_tails() -> Result<()> {
    let mut rng = Rng::new(3);
    for dtype in [DType::F32, DType::F64] {
        for (low, high) in [(0., 1.), (-0.1, 0.7), (100.1, 100.9)] {
            let raw = (rng.normal((200, 16), DType::F64, CPU)? * 3.)?.to_dtype(dtype)?;
            let spline = RationalQuadraticSpline::between(&raw, low, high, Tails::None)?;
            for (at, end) in [(low, true), (0.7 * low + 0.3 * high, false), (high, true)] {
                let x = Tensor::full(at, 200, CPU)?.to_dtype(dtype)?;
                let y = spline.transform(&x)?;
                let back = spline.inverse(&y)?;
                let gap = |of: &Tensor| -> Result<f64> {
                    let gaps = floats(&(of - &x)?)?;
                    Ok(gaps.into_iter().fold(0., |most, gap| most.max(gap.abs())))
                };
                assert!(!end || gap(&y)? < 1e-13, "{}", gap(&y)?);
                // Where it is flat, single precision has no digits for the way back.
                let exact = end || dtype == DType::F64;
                assert!(!exact || gap(&back)? < 1e-8, "{}", gap(&back)?);
            }
            for wrong in [low - 0.01, high + 0.01, f64::NAN] {
                let x = Tensor::full(wrong, 200, CPU)?.to_dtype(dtype)?;
                for refused in [spline.transform(&x), spline.inverse(&x)] {
                    let error = refused.unwrap_err().to_string();
                    assert!(error.contains("argument: expected numbers from"), "{error}");
                }
            }
        }
    }
    let raw = rng.normal((9, 13), DType::F64, CPU)?;
    let x = Tensor::arange(0f64, 9., CPU)?.affine(0.25, 1.)?;
    for inverse in [false, true] {
        for which in 0..2 {
            // From end to end; central differences do not reach beyond them by the slopes alone.
            let f = |t: &[Tensor]| {
                let spline = RationalQuadraticSpline::between(&t[0], 1., 3., Tails::None)?;
                let (y, log) = match inverse {
                    false => spline.transform_and_log_det(&x)?,
                    true => spline.inverse_and_log_det(&x)?,
                };
                Ok(if which == 0 { y } else { log })
            };
            check_gradient(&f, std::slice::from_ref(&raw), 2e-6)?;
            let inner = |t: &[Tensor]| {
                let spline = RationalQuadraticSpline::between(&raw, 0.5, 3.5, Tails::None)?;
                let (y, log) = match inverse {
                    false => spline.transform_and_log_det(&t[0])?,
                    true => spline.inverse_and_log_det(&t[0])?,
                };
                Ok(if which == 0 { y } else { log })
            };
            check_gradient(&inner, std::slice::from_ref(&x), 2e-6)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_and_slopes_are_central_differences() -> Result<()> {
    let mut rng = Rng::new(1);
    for (bins, bound) in [(2, 30.), (4, 5.), (8, 3.)] {
        let width = RationalQuadraticSpline::parameters(bins);
        let raw = (rng.normal((12, width), DType::F64, CPU)? * 1.5)?;
        let x = (rng.uniform(12, DType::F64, CPU)? * 2.4)?.affine(bound, -1.2 * bound)?;
        let x = Tensor::cat(&[&x.narrow(0, 0, 11)?, &Tensor::new(&[100.], CPU)?], 0)?;
        for inverse in [false, true] {
            for which in 0..2 {
                let f = |x: &[Tensor]| {
                    let spline = RationalQuadraticSpline::new(&x[1], bound)?;
                    let (y, log) = match inverse {
                        false => spline.transform_and_log_det(&x[0])?,
                        true => spline.inverse_and_log_det(&x[0])?,
                    };
                    Ok(if which == 0 { y } else { log })
                };
                check_gradient(&f, &[x.clone(), raw.clone()], 2e-6)?;
            }
            // The log-det is the logarithm of the numeric slope.
            let spline = RationalQuadraticSpline::new(&raw, bound)?;
            let f = |x: &Tensor| match inverse {
                false => spline.transform_and_log_det(x),
                true => spline.inverse_and_log_det(x),
            };
            let step = 1e-6;
            let slope = ((f(&(&x + step)?)?.0 - f(&(&x - step)?)?.0)? / (2. * step))?;
            for (got, want) in floats(&f(&x)?.1.exp()?)?.iter().zip(floats(&slope)?) {
                assert!((got - want).abs() < 1e-7 * want.max(1.), "{got} {want}");
            }
        }
    }
    Ok(())
}

#[test]
fn raw_zeros_are_the_identity() -> Result<()> {
    for bins in [2, 8, 32] {
        for dtype in [DType::F32, DType::F64] {
            for bound in [3., 5., 30.] {
                let width = RationalQuadraticSpline::parameters(bins);
                let spline =
                    RationalQuadraticSpline::new(&Tensor::zeros(width, dtype, CPU)?, bound)?;
                let x: Vec<f64> = (-700..700).map(|i| f64::from(i) * 0.05).collect();
                let x = Tensor::new(x, CPU)?.to_dtype(dtype)?;
                let (y, log_det) = spline.transform_and_log_det(&x)?;
                let (back, _) = spline.inverse_and_log_det(&x)?;
                for gap in [(y - &x)?, (back - &x)?, log_det] {
                    assert!(floats(&gap)?.iter().all(|gap| gap.abs() <= 1e-6));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn all_outside() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let raw = Var::from_tensor(&Rng::new(1).normal((4, 23), dtype, CPU)?)?;
        let x = Tensor::new(&[5., -5., 1e6, f64::INFINITY], CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let spline = RationalQuadraticSpline::new(&raw, 5.)?;
        for (y, log_det) in [
            spline.transform_and_log_det(&x)?,
            spline.inverse_and_log_det(&x)?,
        ] {
            assert_eq!(floats(&y)?, floats(&x)?);
            assert_eq!(floats(&log_det)?, [0.; 4]);
            let gradients = (y.sum_all()? + log_det.sum_all()?)?.backward()?;
            assert_eq!(floats(gradients.get(&x).unwrap())?, [1.; 4]);
            assert_eq!(floats(gradients.get(&raw).unwrap())?, [0.; 92]);
        }
        let nan = Tensor::new(&[f64::NAN; 4], CPU)?.to_dtype(dtype)?;
        let (y, log_det) = spline.transform_and_log_det(&nan)?;
        assert!(
            floats(&Tensor::cat(&[y, log_det], 0)?)?
                .iter()
                .all(|x| x.is_nan())
        );
    }
    Ok(())
}

/// Points inside, at exact knots, at the ends, beyond them and at +-1e6.
fn points(raw: &Tensor, bins: usize, bound: f64, rng: &mut Rng) -> Result<Tensor> {
    let (n, dtype) = (raw.dim(0)?, raw.dtype());
    let random = rng
        .uniform(n, DType::F64, CPU)?
        .affine(2.2 * bound, -1.1 * bound)?;
    // A knot between bins i and i + 1, computed in f64 and rounded to the dtype.
    let widths = raw
        .narrow(1, 0, bins)?
        .to_dtype(DType::F64)?
        .to_vec2::<f64>()?;
    let mut x = random.to_vec1::<f64>()?;
    for (i, (x, widths)) in x.iter_mut().zip(widths).enumerate() {
        let most = widths.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = widths.iter().map(|w| (w - most).exp()).sum();
        let share = |w: &f64| 1e-3 + (1. - 1e-3 * bins as f64) * (w - most).exp() / total;
        let knot = widths[..i % bins + 1].iter().map(share).sum::<f64>();
        match i % 4 {
            0 => *x = 2. * bound * knot - bound,
            1 if i % 64 == 1 => *x = [1e6, -1e6, bound, -bound][i / 64 % 4],
            _ => {}
        }
    }
    Ok(Tensor::new(x, CPU)?.to_dtype(dtype)?)
}

/// A million points of splines as wild as raw parameters in [-50, 50] make them: no NaN, and inverse and forward direction
/// belong together. What they give back is as close as the slopes allow: y lies between the images of the neighbours of x'.
#[test]
fn never_not_a_number() -> Result<()> {
    let (n, bins) = (20_000, 8);
    let mut rng = Rng::new(7);
    for turn in 0..50 {
        let (dtype, unit) = [(DType::F32, 6e-8), (DType::F64, 1e-15)][turn % 2];
        let bound = [3., 5., 30.][turn % 3];
        let size = [50., 3.][turn / 2 % 2];
        let width = RationalQuadraticSpline::parameters(bins);
        let raw = rng
            .uniform((n, width), DType::F64, CPU)?
            .affine(2. * size, -size)?;
        let ends = raw.sign()?.affine(size, 0.)?;
        // Some at the ends of the range exactly.
        let at_end = rng.uniform((n, width), DType::F64, CPU)?.lt(0.2)?;
        let raw = Var::from_tensor(&at_end.where_cond(&ends, &raw)?.to_dtype(dtype)?)?;
        let x = Var::from_tensor(&points(&raw, bins, bound, &mut rng)?)?;
        let spline = RationalQuadraticSpline::new(&raw, bound)?;
        let forward = spline.transform_and_log_det(&x)?;
        let inverse = spline.inverse_and_log_det(&x)?;
        for (y, log_det) in [&forward, &inverse] {
            let gradients = (y.sum_all()? + log_det.sum_all()?)?.backward()?;
            let all = [
                y,
                log_det,
                &gradients.get(&x).unwrap().clone(),
                gradients.get(&raw).unwrap(),
            ];
            for (i, part) in all.into_iter().enumerate() {
                let finite = floats(part)?.iter().all(|x| x.is_finite());
                assert!(finite, "turn {turn}, part {i}");
            }
        }
        let (back, back_log_det) = spline.inverse_and_log_det(&forward.0)?;
        let gap = (&back - x.as_tensor())?.abs()?;
        let tolerance = [1e-4, 1e-9][turn % 2];
        if size == 3. {
            let log_slope = floats(&forward.1)?;
            let sum = floats(&(back_log_det + &forward.1)?)?;
            for (i, gap) in floats(&gap)?.iter().enumerate() {
                // Where the slope is 0.05 or more the bound holds as it stands.
                let allowed = tolerance * (0.05 / log_slope[i].exp()).max(1.);
                let text = format!("turn {turn}: {gap} at slope e^{}", log_slope[i]);
                assert!(*gap <= allowed, "{text}");
                // The log-slope moves by up to 1e5 in a unit of x: too much for the digits of f32.
                let same = dtype == DType::F32 || sum[i].abs() <= 1e5 * allowed;
                assert!(same, "{text}: {}", sum[i]);
            }
        }
        // Computed in f64: f(x' - step) <= y + step, and the other way, with steps of a few units in the last place.
        let exact = RationalQuadraticSpline::new(&raw.to_dtype(DType::F64)?, bound)?;
        let (wide, y) = (back.to_dtype(DType::F64)?, floats(&forward.0)?);
        let step = 4. * unit * bound;
        let below = floats(&exact.transform(&(&wide - step)?)?)?;
        let above = floats(&exact.transform(&(&wide + step)?)?)?;
        for i in 0..n {
            if y[i].abs() < bound {
                let inside = below[i] <= y[i] + step && y[i] - step <= above[i];
                assert!(
                    inside,
                    "turn {turn}: {} <= {} <= {}",
                    below[i], y[i], above[i]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn refusals() -> Result<()> {
    let raw = Tensor::zeros((3, 11), DType::F32, CPU)?;
    for bound in [0., -1., f64::NAN, f64::INFINITY] {
        let error = RationalQuadraticSpline::new(&raw, bound).unwrap_err();
        assert!(error.to_string().contains("bound"), "{error}");
    }
    for width in [0, 1, 2, 3, 4, 10, 12, 2999] {
        let raw = Tensor::zeros((3, width), DType::F32, CPU)?;
        let error = RationalQuadraticSpline::new(&raw, 5.).unwrap_err();
        assert!(error.to_string().contains("3K - 1"), "{error}");
    }
    for (low, high) in [(0., 0.), (1., 0.), (f64::NAN, 1.), (0., f64::INFINITY)] {
        let error = RationalQuadraticSpline::between(&raw, low, high, Tails::Linear).unwrap_err();
        assert!(error.to_string().contains("low < high"), "{error}");
    }
    let error = RationalQuadraticSpline::between(&raw, 0., 1., Tails::None).unwrap_err();
    assert!(error.to_string().contains("3K + 1"), "{error}");
    let integers = raw.to_dtype(DType::U32)?;
    assert!(RationalQuadraticSpline::new(&integers, 5.).is_err());
    let spline = RationalQuadraticSpline::new(&raw, 5.)?;
    for dims in [vec![], vec![2], vec![3, 2]] {
        let x = Tensor::zeros(dims, DType::F32, CPU)?;
        let error = spline.transform(&x).unwrap_err().to_string();
        assert!(error.contains("broadcasts"), "{error}");
    }
    assert!(spline.inverse(&Tensor::zeros(3, DType::F64, CPU)?).is_err());
    Ok(())
}
