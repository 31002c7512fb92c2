//! Implicit gradients against reference values: the derivative of a draw at a fixed probability is `-(dF/dp) / density`, both
//! of which the gradients of a tail of the cdf have.

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{Beta, Cdf, Distribution, Gamma, StudentT, VonMises};
use candle_prob::{Result, Rng};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/implicit_gradients.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    let list = v.as_array().unwrap().iter();
    list.map(|x| x.as_f64().unwrap()).collect()
}

/// The derivatives to each parameter of draws that are at `x`, by the tail that is smaller there.
fn implicit(d: &dyn Cdf, x: &Var, parameters: &[Var]) -> Result<Vec<Vec<f64>>> {
    let (lower, upper) = (d.log_cdf(x)?, d.log_survival(x)?);
    let tail = lower.le(&upper)?.where_cond(&lower, &upper)?;
    let gradients = tail.sum_all()?.backward()?;
    let slopes = |of: &Var| gradients.get(of).map(flat).unwrap_or_default();
    let density = slopes(x);
    let of = |parameter| -> Vec<f64> {
        let slopes = slopes(parameter).into_iter().zip(&density);
        slopes.map(|(slope, density)| -slope / density).collect()
    };
    Ok(parameters.iter().map(of).collect())
}

type Build = fn(&[Tensor]) -> Result<Box<dyn Cdf>>;

/// A family: its parameters, the draw, its derivatives in the file, and how it is made.
struct Row(
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
    Build,
);

const ROWS: [Row; 4] = [
    Row("Gamma", &["alpha"], "z", &["dz_dalpha"], |p| {
        Ok(Box::new(Gamma::new(&p[0], &p[0].ones_like()?)?))
    }),
    Row("Beta", &["a", "b"], "x", &["dx_da", "dx_db"], |p| {
        Ok(Box::new(Beta::new(&p[0], &p[1])?))
    }),
    Row("StudentT", &["df"], "t", &["dt_ddf"], |p| {
        let (zero, one) = (p[0].zeros_like()?, p[0].ones_like()?);
        Ok(Box::new(StudentT::new(&p[0], &zero, &one)?))
    }),
    Row(
        "VonMises",
        &["concentration"],
        "z",
        &["dz_dconcentration"],
        |p| Ok(Box::new(VonMises::new(&p[0].zeros_like()?, &p[0])?)),
    ),
];

#[test]
fn implicit_gradients_meet_the_reference() -> Result<()> {
    let golden = golden();
    let mut compared = 0;
    for Row(name, parameters, value, slopes, build) in ROWS {
        let cases = golden["cases"].as_array().unwrap();
        let case = cases.iter().find(|c| c["distribution"] == name).unwrap();
        let x = numbers(&case["args"][value]);
        for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::F32, 1e-3)] {
            let held = |x: &f64| {
                dtype == DType::F64 || (*x as f32).is_normal() && f64::from(*x as f32) == *x
            };
            let var = |x: &[f64]| Var::from_tensor(&Tensor::new(x, CPU)?.to_dtype(dtype)?);
            let p = parameters
                .iter()
                .map(|arg| var(&numbers(&case["args"][arg])));
            let p = p.collect::<candle_core::Result<Vec<_>>>()?;
            let tensors: Vec<Tensor> = p.iter().map(|p| p.as_tensor().clone()).collect();
            let got = implicit(&*build(&tensors)?, &var(&x)?, &p)?;
            for (k, slope) in slopes.iter().enumerate() {
                for (i, want) in numbers(&case[slope]).into_iter().enumerate() {
                    if !held(&x[i]) {
                        continue;
                    }
                    compared += 1;
                    let (got, at) = (got[k][i], flat(&p[0])[i]);
                    let close = (got - want).abs() <= tolerance * want.abs().max(1e-6 * x[i].abs());
                    assert!(
                        close,
                        "{name} {slope} {dtype:?} at {at} {}: {got:e}, want {want:e}",
                        x[i]
                    );
                }
            }
        }
    }
    assert!(compared > 600, "{compared}");
    Ok(())
}

/// Von Mises draws move with their concentration as the reference's do: by the derivative of the cdf, tested above.
#[test]
fn draws_of_von_mises_move_by_the_implicit_derivative() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::F32, 1e-3)] {
        let k = Tensor::new(&[0.1f64, 1., 4., 30., 500.], CPU)?.to_dtype(dtype)?;
        let k = Var::from_tensor(&k)?;
        let loc = k.as_tensor().zeros_like()?.detach();
        let moving = VonMises::new(&loc, &k)?;
        let draws = moving.sample(&[200], &mut Rng::new(3))?;
        let gradients = (&draws * draws.detach())?.sum_all()?.backward()?;
        let got = flat(gradients.get(&k).unwrap());
        let x = Var::from_tensor(&draws.detach())?;
        let each = Var::from_tensor(
            &k.as_tensor()
                .detach()
                .broadcast_as(x.shape())?
                .contiguous()?,
        )?;
        let still = VonMises::new(&each.zeros_like()?, &each)?;
        let slopes = implicit(&still, &x, std::slice::from_ref(&each))?;
        let mut want = [0.; 5];
        for (i, (slope, x)) in slopes[0].iter().zip(flat(&x)).enumerate() {
            want[i % 5] += slope * x;
        }
        for (got, want) in got.iter().zip(want) {
            assert!(
                (got - want).abs() <= tolerance * want.abs(),
                "{got}, not {want}"
            );
        }
    }
    Ok(())
}
