//! Are the special functions right, in value and gradient, at ordinary and at awkward arguments?

use crate::support::flat;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::{Result, special, testing::check_gradient};
use serde_json::Value;

type Unary = fn(&Tensor) -> Result<Tensor>;

const UNARY: [(&str, Unary); 19] = [
    ("softplus", special::softplus),
    ("log_sigmoid", special::log_sigmoid),
    ("log1p", special::log1p),
    ("expm1", special::expm1),
    ("log1mexp", special::log1mexp),
    ("lgamma", special::lgamma),
    ("digamma", special::digamma),
    ("trigamma", special::trigamma),
    ("erf", special::erf),
    ("erfc", special::erfc),
    ("erfinv", special::erfinv),
    ("ndtr", special::ndtr),
    ("log_ndtr", special::log_ndtr),
    ("ndtri", special::ndtri),
    ("log_cosh", special::log_cosh),
    ("log_i0", special::log_i0),
    ("log_i1", special::log_i1),
    ("i0e", special::i0e),
    ("i1e", special::i1e),
];

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/special.json")).unwrap()
}

fn number(v: &Value) -> Option<f64> {
    match v {
        Value::Null => None,
        Value::String(s) => s.parse().ok(),
        v => v.as_f64(),
    }
}

fn numbers(v: &Value) -> Vec<Option<f64>> {
    v.as_array().unwrap().iter().map(number).collect()
}

/// Both precisions with their tolerance; the file's own for f32 is 5e-6.
const PRECISIONS: [(DType, f64); 2] = [(DType::F64, 1e-12), (DType::F32, 2e-6)];

fn rounded(x: f64, dtype: DType) -> f64 {
    if dtype == DType::F32 {
        x as f32 as f64
    } else {
        x
    }
}

fn tensor(x: &[f64], dtype: DType) -> Tensor {
    Tensor::new(x, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

/// What is wrong with `got`, by the rule |got - want| <= tolerance * scale.
fn wrong(got: f64, want: f64, scale: Option<f64>, tolerance: f64, dtype: DType) -> bool {
    let want = rounded(want, dtype);
    if want.is_nan() {
        return !got.is_nan();
    }
    if want.is_infinite() {
        return got != want;
    }
    // Below the smallest normal f32 there are fewer digits.
    let floor = if dtype == DType::F32 { 1e-44 } else { 0. };
    let error = (got - want).abs();
    error.is_nan() || error > tolerance * scale.unwrap_or(want.abs()) + floor
}

#[test]
fn values_meet_the_reference() -> Result<()> {
    let mut compared = 0;
    for case in golden()["cases"].as_array().unwrap() {
        let name = case["function"].as_str().unwrap();
        let Some((_, f)) = UNARY.iter().find(|(n, _)| *n == name) else {
            continue;
        };
        let x = case["args"].as_object().unwrap().values().next().unwrap();
        let x: Vec<f64> = numbers(x).into_iter().flatten().collect();
        let (want, scale) = (numbers(&case["value"]), numbers(&case["value_scale"]));
        assert_eq!(x.len(), want.len());
        for (dtype, tolerance) in PRECISIONS {
            if dtype == DType::F32 && case["f64_only"] == true {
                continue;
            }
            let got = flat(&f(&tensor(&x, dtype))?);
            for i in 0..x.len() {
                let Some(want) = want[i] else { continue };
                assert!(
                    !wrong(got[i], want, scale[i], tolerance, dtype),
                    "{name}({}) {dtype:?}: {}, want {want}",
                    x[i],
                    got[i]
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 1200, "{compared}");
    Ok(())
}

#[test]
fn slopes_meet_the_reference() -> Result<()> {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    // (function of the file, its argument, where the slope stands, the function that has it)
    let rows: [(&str, &str, &str, Unary); 2] = [
        ("log_ndtr_derivative", "x", "value", special::log_ndtr),
        ("log_i0", "k", "i1_over_i0", special::log_i0),
    ];
    for (name, arg, slope, f) in rows {
        let case = cases.iter().find(|c| c["function"] == name).unwrap();
        let x: Vec<f64> = numbers(&case["args"][arg]).into_iter().flatten().collect();
        let want = numbers(&case[slope]);
        let scale = numbers(&case[format!("{slope}_scale")]);
        for (dtype, tolerance) in PRECISIONS {
            let var = Var::from_tensor(&tensor(&x, dtype))?;
            let gradients = f(&var)?.sum_all()?.backward()?;
            let got = flat(gradients.get(&var).unwrap());
            for i in 0..x.len() {
                let want = want[i].unwrap();
                assert!(
                    !wrong(got[i], want, scale[i], tolerance, dtype),
                    "{name} {dtype:?} at {}: {}, want {want}",
                    x[i],
                    got[i]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_multivariate_gamma_function() -> Result<()> {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    let case = cases.iter().find(|c| c["function"] == "mvlgamma").unwrap();
    let of =
        |key: &str| -> Vec<f64> { numbers(&case["args"][key]).into_iter().flatten().collect() };
    let (want, scale) = (numbers(&case["value"]), numbers(&case["value_scale"]));
    for (i, (a, p)) in of("a").into_iter().zip(of("p")).enumerate() {
        for (dtype, tolerance) in PRECISIONS {
            let got = flat(&special::mvlgamma(&tensor(&[a], dtype), p as usize)?)[0];
            let want = want[i].unwrap();
            assert!(
                !wrong(got, want, scale[i], tolerance, dtype),
                "mvlgamma({a}, {p}) {dtype:?}: {got}, want {want}"
            );
        }
        // Away from the pole, where differences say nothing.
        let x = tensor(&[a + 0.5], DType::F64);
        check_gradient(&|x| special::mvlgamma(&x[0], p as usize), &[x], 1e-6)?;
    }
    let ends = flat(&special::mvlgamma(
        &tensor(&[1., 0.5, f64::NAN], DType::F64),
        3,
    )?);
    assert!(ends[0] == f64::INFINITY && ends[1].is_nan() && ends[2].is_nan());
    let x = tensor(&[2.], DType::F32);
    let error = special::mvlgamma(&x, 0).unwrap_err().to_string();
    assert!(
        error.contains("mvlgamma") && error.contains(" p: "),
        "{error}"
    );
    let whole = x.to_dtype(DType::U32)?;
    let error = special::mvlgamma(&whole, 2).unwrap_err().to_string();
    assert!(
        error.contains("mvlgamma") && error.contains("U32"),
        "{error}"
    );
    Ok(())
}

#[test]
fn logsumexp_meets_the_reference() -> Result<()> {
    let golden = golden();
    let case = golden["cases"].as_array().unwrap();
    let case = case.iter().find(|c| c["function"] == "logsumexp").unwrap();
    for (i, x) in case["args"]["x"].as_array().unwrap().iter().enumerate() {
        let x: Vec<f64> = numbers(x).into_iter().flatten().collect();
        let want = number(&case["value"][i]).unwrap();
        let scale = number(&case["value_scale"][i]);
        for (dtype, tolerance) in PRECISIONS {
            let var = Var::from_tensor(&tensor(&x, dtype))?;
            let y = special::logsumexp(&var, 0)?;
            let got = flat(&y)[0];
            assert!(
                !wrong(got, want, scale, tolerance, dtype),
                "{x:?}: {got}, want {want}"
            );
            let gradients = y.sum_all()?.backward()?;
            let gradient = flat(gradients.get(&var).unwrap());
            if let Some(want) = case["gradient"][i].as_array() {
                for (g, w) in gradient.iter().zip(want) {
                    // The rounding of x - y is absolute.
                    let scale = scale.unwrap_or(1.).max(1.);
                    assert!(
                        !wrong(*g, number(w).unwrap(), Some(scale), tolerance, dtype),
                        "{x:?}"
                    );
                }
            } else if !x.iter().any(|x| x.is_nan()) {
                assert!(
                    gradient.iter().all(|g| g.is_finite()),
                    "{x:?}: {gradient:?}"
                );
            }
            let p = flat(&special::softmax(&var, 0)?);
            let l = flat(&special::log_softmax(&var, 0)?);
            for (p, l) in p.iter().zip(&l) {
                assert_eq!(p.is_nan(), l.is_nan());
                assert!(
                    p.is_nan() || (p - l.exp()).abs() <= tolerance,
                    "{x:?}: {p} {l}"
                );
            }
            let total: f64 = p.iter().sum();
            if want.is_finite() || want == f64::INFINITY {
                assert!((total - 1.).abs() < tolerance);
            } else if want == f64::NEG_INFINITY {
                assert_eq!(total, 0.);
            }
        }
    }
    Ok(())
}

/// Arguments inside the domain, away from poles.
fn inside(name: &str) -> Vec<f64> {
    let mut x: Vec<f64> = (1..60).map(|i| 0.05 + i as f64 * 0.23).collect();
    match name {
        "softplus" | "log_sigmoid" | "expm1" | "log_cosh" | "log_i0" | "i0e" | "i1e" => {
            x.extend((1..60).map(|i| -0.3 * i as f64))
        }
        "log1p" => x.extend([-0.9, -0.5, -0.1]),
        "lgamma" | "digamma" | "trigamma" => x.extend([-0.4, -1.3, -2.7, -5.45]),
        "erf" | "erfc" | "ndtr" | "log_ndtr" => x.extend((1..60).map(|i| -0.3 * i as f64)),
        "erfinv" => x = (-9..10).map(|i| i as f64 * 0.1).collect(),
        "ndtri" => x = (1..20).map(|i| i as f64 * 0.05).collect(),
        _ => {}
    }
    x
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let h = 1e-4;
    for (name, f) in UNARY {
        let x = tensor(&inside(name), DType::F64);
        let at = |d: f64| -> Result<Tensor> { f(&(&x + d)?) };
        // Richardson's extrapolation: the error is of order h^4.
        let narrow = ((at(h)? - at(-h)?)? / (2. * h))?;
        let wide = ((at(2. * h)? - at(-2. * h)?)? / (4. * h))?;
        let want = flat(&((narrow * 4.)? - wide)?.affine(1. / 3., 0.)?);
        for (dtype, tolerance) in [(DType::F64, 2e-8), (DType::F32, 3e-5)] {
            let var = Var::from_tensor(&x.to_dtype(dtype)?)?;
            let gradients = f(&var)?.sum_all()?.backward()?;
            let got = flat(gradients.get(&var).unwrap());
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                assert!(
                    (g - w).abs() <= tolerance * (1. + w.abs()),
                    "{name} {dtype:?} at {}: {g}, want {w}",
                    inside(name)[i]
                );
            }
        }
    }
    Ok(())
}

/// Functions of a dimension.
type Rows = fn(&Tensor, usize) -> Result<Tensor>;

const ROWS: [(&str, Rows); 4] = [
    ("logsumexp", special::logsumexp),
    ("logmeanexp", special::logmeanexp),
    ("log_softmax", special::log_softmax),
    ("softmax", special::softmax),
];

#[test]
fn gradients_of_every_dimension_meet_central_differences() -> Result<()> {
    let x: Vec<f64> = (0..2 * 19 * 3)
        .map(|i| ((i * 29) % 31) as f64 * 0.2 - 3.)
        .collect();
    let x = Tensor::from_vec(x, (2, 19, 3), &Device::Cpu)?;
    for (name, f) in ROWS {
        for dim in 0..3 {
            check_gradient(&|x| f(&x[0], dim), std::slice::from_ref(&x), 1e-7)?;
            let gradient = |dtype| -> Result<Vec<f64>> {
                let var = Var::from_tensor(&x.to_dtype(dtype)?)?;
                // Unequal weights: the sum of a softmax is constant.
                let loss = f(&var, dim)?.sqr()?.sum_all()?;
                Ok(loss.backward()?.get(&var).map(flat).unwrap_or_default())
            };
            let (got, want) = (gradient(DType::F32)?, gradient(DType::F64)?);
            assert_eq!(got.len(), x.elem_count());
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 1e-4, "{name} {dim}: {g}, want {w}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_gradient_is_nan_only_where_the_value_is() -> Result<()> {
    let x = [
        f64::NEG_INFINITY,
        -1e30,
        -200.,
        -1.,
        -0.,
        0.,
        1e-30,
        1e-38,
        1.,
        90.,
        1e30,
        f64::INFINITY,
        f64::NAN,
    ];
    for (name, f) in UNARY {
        for dtype in [DType::F32, DType::F64] {
            let var = Var::from_tensor(&tensor(&x, dtype))?;
            let y = f(&var)?;
            let gradients = y.sum_all()?.backward()?;
            let (y, g) = (flat(&y), flat(gradients.get(&var).unwrap()));
            for i in 0..x.len() {
                assert!(
                    !y[i].is_finite() || !g[i].is_nan(),
                    "{name} {dtype:?} at {}: {} slope {}",
                    x[i],
                    y[i],
                    g[i]
                );
            }
            assert!(y[12].is_nan(), "{name}");
        }
    }
    Ok(())
}

#[test]
fn every_dimension_can_be_reduced() -> Result<()> {
    let x: Vec<f64> = (0..2 * 3 * 4)
        .map(|i| ((i * 7) % 11) as f64 * 0.3 - 1.)
        .collect();
    let x = Tensor::from_vec(x, (2, 3, 4), &Device::Cpu)?;
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let x = x.to_dtype(dtype)?;
        let tolerance = if dtype == DType::BF16 { 0.03 } else { 1e-6 };
        for dim in 0..3 {
            let want = x.to_dtype(DType::F64)?.exp()?.sum(dim)?.log()?;
            let got = special::logsumexp(&x, dim)?;
            assert_eq!((got.dims(), got.dtype()), (want.dims(), dtype));
            for (g, w) in flat(&got).iter().zip(flat(&want)) {
                assert!((g - w).abs() < tolerance, "{g} {w}");
            }
            let want = x
                .to_dtype(DType::F64)?
                .broadcast_sub(&want.unsqueeze(dim)?)?;
            let got = special::log_softmax(&x, dim)?;
            assert_eq!(got.dims(), x.dims());
            for (g, w) in flat(&got).iter().zip(flat(&want)) {
                assert!((g - w).abs() < tolerance, "{g} {w}");
            }
            let total = special::softmax(&x, dim)?.sum(dim)?;
            assert!(flat(&total).iter().all(|t| (t - 1.).abs() < tolerance));
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
    for (name, f) in ROWS {
        for (error, dim) in [
            (f(&x, 2).err(), "dimension 2"),
            (f(&x.get(0)?, 1).err(), "dimension 1"),
        ] {
            let error = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(
                error.contains(name) && error.contains(dim) && error.contains("2]"),
                "{error}"
            );
        }
    }
    let error = special::softmax(&x, D::Minus(3)).unwrap_err().to_string();
    assert!(
        error.contains("dimension -3") && error.contains("[1, 2]"),
        "{error}"
    );
    let whole = Tensor::new(&[1u32], &Device::Cpu)?;
    for (name, f) in UNARY {
        assert!(f(&whole).unwrap_err().to_string().contains(name));
    }
    Ok(())
}

#[test]
fn empty_tensors_stay_empty() -> Result<()> {
    let x = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
    for (_, f) in UNARY {
        assert_eq!(f(&x)?.dims(), &[0, 3]);
    }
    assert_eq!(special::logsumexp(&x, 1)?.dims(), &[0]);
    assert_eq!(flat(&special::logsumexp(&x, 0)?), [f64::NEG_INFINITY; 3]);
    assert_eq!(special::softmax(&x, 0)?.dims(), &[0, 3]);
    Ok(())
}
