//! Are beta and the incomplete gamma and beta functions right, in value and gradient, in both tails?

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::testing::check_gradient;
use candle_prob::{Result, special};
use serde_json::Value;

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

type Function = fn(&[Var]) -> Result<Tensor>;

/// (function of the reference file, its arguments, its results and how they are computed, which gradients it names)
const GAMMA: [(&str, Function); 2] = [
    ("P", |v| special::gammainc(&v[0], &v[1])),
    ("Q", |v| special::gammaincc(&v[0], &v[1])),
];
const BETA: [(&str, Function); 2] = [
    ("I", |v| special::betainc(&v[0], &v[1], &v[2])),
    ("Ic", |v| special::betaincc(&v[0], &v[1], &v[2])),
];

fn compare(case: &Value, name: &str, got: &Tensor, dtype: DType, sign: f64) -> usize {
    // The file's own bound for f32 is 5e-6.
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 2e-6 };
    let (want, scale) = (
        numbers(&case[name]),
        numbers(&case[&format!("{name}_scale")]),
    );
    let got = flat(got);
    for (i, got) in got.iter().enumerate() {
        let Some(want) = want[i] else { continue };
        let want = sign * want;
        let want = match dtype {
            DType::F32 => f64::from(want as f32),
            _ => want,
        };
        let floor = if dtype == DType::F32 { 1e-44 } else { 0. };
        let close = if want.is_infinite() {
            *got == want
        } else {
            (got - want).abs() <= tolerance * scale[i].unwrap_or(want.abs()) + floor
        };
        let at: Vec<_> = case["args"].as_object().unwrap().values().collect();
        let at: Vec<_> = at.iter().map(|x| x[i].as_f64().unwrap()).collect();
        assert!(close, "{name} {dtype:?} at {at:?}: {got:e}, want {want:e}");
    }
    got.len()
}

fn reference(
    function: &str,
    arguments: &[&str],
    results: &[(&str, Function)],
    slopes: &[&str],
) -> Result<()> {
    let file: Value = serde_json::from_str(include_str!("../golden/special.json")).unwrap();
    let mut compared = 0;
    for case in file["cases"].as_array().unwrap() {
        if case["function"] != function {
            continue;
        }
        for dtype in [DType::F64, DType::F32] {
            let vars = arguments
                .iter()
                .map(|name| {
                    let x: Vec<f64> = numbers(&case["args"][*name])
                        .into_iter()
                        .flatten()
                        .collect();
                    let x = Tensor::new(x, &Device::Cpu)?.to_dtype(dtype)?;
                    Ok(Var::from_tensor(&x)?)
                })
                .collect::<Result<Vec<_>>>()?;
            for (i, (name, f)) in results.iter().enumerate() {
                let y = f(&vars)?;
                compared += compare(case, name, &y, dtype, 1.);
                let gradients = y.sum_all()?.backward()?;
                let sign = if i == 0 { 1. } else { -1. };
                for (var, name) in vars.iter().zip(slopes) {
                    let slope = gradients.get(var).unwrap();
                    compared += compare(case, name, slope, dtype, sign);
                }
            }
        }
    }
    assert!(compared > 50, "{compared}");
    Ok(())
}

#[test]
fn beta_meets_the_reference() -> Result<()> {
    let lbeta: Function = |v| special::lbeta(&v[0], &v[1]);
    reference("lbeta", &["a", "b"], &[("value", lbeta)], &[])
}

#[test]
fn incomplete_gamma_meets_the_reference() -> Result<()> {
    reference("gammainc", &["a", "x"], &GAMMA, &["dP_da", "dP_dx"])
}

#[test]
fn incomplete_beta_meets_the_reference() -> Result<()> {
    let slopes = ["dI_da", "dI_db", "dI_dx"];
    reference("betainc", &["a", "b", "x"], &BETA, &slopes)
}

fn grid(values: &[f64], repeat: usize, each: usize) -> Result<Tensor> {
    let mut out = vec![];
    for _ in 0..repeat {
        for x in values {
            out.extend(std::iter::repeat_n(*x, each));
        }
    }
    Ok(Tensor::new(out, &Device::Cpu)?)
}

const SHAPES: [f64; 8] = [1e-3, 0.2, 0.9, 1., 3.5, 20., 300., 1e5];
const PROBABILITIES: [f64; 7] = [1e-200, 1e-8, 0.1, 0.5, 0.8, 0.999, 1. - 1e-12];

#[test]
fn the_inverses_invert() -> Result<()> {
    let (m, n) = (SHAPES.len(), PROBABILITIES.len());
    let (a, p) = (grid(&SHAPES, 1, n)?, grid(&PROBABILITIES, m, 1)?);
    let x = special::gammaincinv(&a, &p)?;
    let back = flat(&special::log_gammainc(&a, &x)?);
    for (i, x) in flat(&x).into_iter().enumerate() {
        let p = flat(&p)[i];
        // Where the quantile underflows nothing comes back.
        let close = (back[i] - p.ln()).abs() <= 1e-10 * p.ln().abs().max(1e-3);
        assert!(x < 1e-300 || close, "{:?}", (flat(&a)[i], p, x, back[i]));
    }
    let a = grid(&SHAPES, 1, m * n)?;
    let b = grid(&SHAPES, m, n)?;
    let p = grid(&PROBABILITIES, m * m, 1)?;
    let x = special::betaincinv(&a, &b, &p)?;
    let back = flat(&special::log_betainc(&a, &b, &x)?);
    let ab = flat(&special::lbeta(&a, &b)?);
    for (i, x) in flat(&x).into_iter().enumerate() {
        let p = flat(&p)[i];
        let (a, b) = (flat(&a)[i], flat(&b)[i]);
        // Near 1 the spacing of x limits the digits: how much I changes over half of it.
        let spacing = 2e-16 * ((a - 1.) * x.ln() + (b - 1.) * (-x).ln_1p() - ab[i]).exp() / p;
        let close = (back[i] - p.ln()).abs() <= 1e-10 * p.ln().abs().max(1e-3) + 4. * spacing * x;
        let edge = x < 1e-300 || 1. - x < 1e-14;
        assert!(edge || close, "{:?}", (a, b, p, x, back[i], p.ln()));
    }
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let a = Tensor::new(&[0.3f64, 0.8, 1., 4., 40.], &Device::Cpu)?;
    let x = Tensor::new(&[[0.05f64], [0.7], [3.]], &Device::Cpu)?;
    for f in [special::log_gammainc, special::log_gammaincc] {
        check_gradient(&|t| f(&t[0], &t[1]), &[a.clone(), x.clone()], 1e-6)?;
    }
    let p = Tensor::new(&[[0.05f64], [0.5], [0.97]], &Device::Cpu)?;
    let inverse = |t: &[Tensor]| special::gammaincinv(&t[0], &t[1]);
    check_gradient(&inverse, &[a.clone(), p.clone()], 1e-5)?;
    let b = Tensor::new(&[0.6f64, 0.4, 2., 1., 7.], &Device::Cpu)?;
    check_gradient(
        &|t| special::lbeta(&t[0], &t[1]),
        &[a.clone(), b.clone()],
        1e-6,
    )?;
    for f in [special::log_betainc, special::log_betaincc] {
        let inputs = [a.clone(), b.clone(), p.clone()];
        check_gradient(&|t| f(&t[0], &t[1], &t[2]), &inputs, 1e-6)?;
    }
    let inverse = |t: &[Tensor]| special::betaincinv(&t[0], &t[1], &t[2]);
    check_gradient(&inverse, &[a, b, p], 1e-5)
}

#[test]
fn edges() -> Result<()> {
    let t = |x: f64| Tensor::new(x, &Device::Cpu);
    let value = |x: Tensor| x.to_scalar::<f64>();
    let infinity = f64::INFINITY;
    assert_eq!(value(special::gammainc(&t(2.)?, &t(0.)?)?)?, 0.);
    assert_eq!(value(special::gammainc(&t(2.)?, &t(infinity)?)?)?, 1.);
    assert!(value(special::gammainc(&t(2.)?, &t(-1.)?)?)?.is_nan());
    assert!(value(special::gammainc(&t(0.)?, &t(1.)?)?)?.is_nan());
    assert!(value(special::gammainc(&t(2.)?, &t(f64::NAN)?)?)?.is_nan());
    assert_eq!(value(special::gammaincinv(&t(2.)?, &t(1.)?)?)?, infinity);
    assert_eq!(value(special::betainc(&t(2.)?, &t(3.)?, &t(0.)?)?)?, 0.);
    assert_eq!(value(special::betainc(&t(2.)?, &t(3.)?, &t(1.)?)?)?, 1.);
    assert!(value(special::betainc(&t(2.)?, &t(3.)?, &t(1.5)?)?)?.is_nan());
    assert!(value(special::betaincinv(&t(2.)?, &t(3.)?, &t(-0.5)?)?)?.is_nan());
    // Q(3, 800) and I_1e-100(5, 2) underflow; their logarithms do not.
    let log = value(special::log_gammaincc(&t(3.)?, &t(800.)?)?)?;
    assert!((log + 787.321_423_727_823).abs() < 1e-8, "{log}");
    let wrong = special::betainc(
        &t(1.)?,
        &Tensor::zeros(2, DType::F32, &Device::Cpu)?,
        &t(1.)?,
    );
    assert!(wrong.unwrap_err().to_string().contains("betainc"));
    Ok(())
}
