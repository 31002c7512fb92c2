//! Trajectories and gradients against reference values. The source: numpy and torch in double precision, 100 digits for the long
//! runs (`tests/golden/dynamics.json`).

use crate::cases::largest;
use crate::support::golden;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, Start, State, Weights};
use candle_prob::{Activation, Result};
use serde_json::Value;

const CPU: Device = Device::Cpu;

fn file() -> Value {
    golden::file(include_str!("../golden/dynamics.json"))
}

fn tensor(value: &Value, dtype: DType) -> Result<Tensor> {
    let shape: Vec<usize> = value["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap() as usize)
        .collect();
    let data: Vec<f64> = golden::list(value).into_iter().flatten().collect();
    Ok(Tensor::from_vec(data, shape, &CPU)?.to_dtype(dtype)?)
}

fn close(what: &str, got: &Tensor, want: &Value, tolerance: f64) -> Result<()> {
    let dtype = got.dtype();
    assert_eq!(got.dims(), tensor(want, dtype)?.dims(), "{what}");
    let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    for (got, want) in got.into_iter().zip(golden::list(want)) {
        golden::check(what, got, want.unwrap(), 0., dtype, tolerance);
    }
    Ok(())
}

fn start(case: &Value) -> Start {
    match case["start"].as_str().unwrap() {
        "rest" => Start::Rest,
        "zero" => Start::Zero,
        other => panic!("{other}"),
    }
}

/// The scheme, and whether the case multiplies rows by K from the right, which is our transpose.
fn scheme(case: &Value) -> (Scheme, bool) {
    match case["scheme"].as_str().unwrap() {
        "euler" => (Scheme::Euler(Force::Single), true),
        "antisymmetric" => {
            let gamma = case["gamma"].as_f64().unwrap();
            (Scheme::Euler(Force::Antisymmetric { gamma }), true)
        }
        "leapfrog" => (Scheme::Leapfrog(Force::Single, start(case)), true),
        "parabolic" => (Scheme::Euler(Force::Double), false),
        "second_order" => (Scheme::Leapfrog(Force::Double, start(case)), false),
        "verlet" => (Scheme::Verlet, false),
        other => panic!("{other}"),
    }
}

fn law(scheme: Scheme, case: &Value, memory: Memory) -> Propagation {
    Propagation {
        scheme,
        activation: Activation::Tanh,
        step: case["h"].as_f64().unwrap(),
        memory,
    }
}

fn stacked(states: &[State], of: impl Fn(&State) -> Tensor) -> Result<Tensor> {
    let all: Vec<Tensor> = states.iter().map(of).collect();
    Ok(Tensor::stack(&all, 0)?)
}

#[test]
fn networks_meet_reference_values() -> Result<()> {
    let file = file();
    let mut found = 0;
    for case in file["cases"].as_array().unwrap() {
        if case["kind"] != "network" {
            continue;
        }
        found += 1;
        let (scheme, turned) = scheme(case);
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let law = law(scheme, case, Memory::Constant);
            let var =
                |name: &str| -> Result<Var> { Ok(Var::from_tensor(&tensor(&case[name], dtype)?)?) };
            let (y0, kernel, bias) = (var("y0")?, var("K")?, var("b")?);
            let second = match scheme {
                Scheme::Verlet => Some(var("bz")?),
                _ => None,
            };
            let weights = Weights {
                kernel: match turned {
                    true => kernel.transpose(1, 2)?,
                    false => kernel.as_tensor().clone(),
                },
                bias: Some(bias.as_tensor().clone()),
                second_bias: second.as_ref().map(|b| b.as_tensor().clone()),
            };
            let what = |name: &str| format!("{scheme:?} {name}");
            let start = State::new(&y0);
            let states = law.states(&start, &weights)?;
            let all = stacked(&states, |s| s.y.clone())?;
            close(&what("states"), &all, &case["states"], tolerance)?;
            if scheme == Scheme::Verlet {
                let all = stacked(&states, |s| s.z.clone().unwrap())?;
                close(&what("z"), &all, &case["z_states"], tolerance)?;
            }
            let end = law.forward(&start, &weights)?.y;
            let loss = end.sqr()?.sum_all()?;
            let gradients = loss.backward()?;
            let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            let want = case["loss"].as_f64().unwrap();
            golden::check(&what("loss"), loss, want, 0., dtype, tolerance);
            let mut pairs = vec![("grad_y0", &y0), ("grad_K", &kernel), ("grad_b", &bias)];
            pairs.extend(second.as_ref().map(|b| ("grad_bz", b)));
            for (name, var) in pairs {
                let got = gradients.get(var).expect(name);
                close(&what(name), got, &case[name], tolerance)?;
            }
        }
    }
    assert_eq!(found, 12);
    Ok(())
}

/// The same kernel in every layer, without biases.
fn same(kernel: &Tensor, layers: usize) -> Result<Weights> {
    let (m, s) = kernel.dims2()?;
    Ok(Weights::new(&kernel.broadcast_as((layers, m, s))?))
}

#[test]
fn example_1_of_the_paper() -> Result<()> {
    let file = file();
    let cases = file["cases"].as_array().unwrap();
    let cases = cases
        .iter()
        .filter(|case| case["kind"] == "haber_ruthotto_example_1");
    let mut contractions = vec![];
    for case in cases {
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let law = law(Scheme::Euler(Force::Single), case, Memory::Constant);
            let kernel = tensor(&case["K"], dtype)?.t()?;
            let y0 = tensor(&case["y0"], dtype)?;
            let states = law.states(&State::new(&y0), &same(&kernel, 10)?)?;
            let all = stacked(&states, |s| s.y.clone())?;
            close("example 1", &all, &case["states"], tolerance)?;
            let apart = |y: &Tensor| -> Result<f64> {
                let apart = (y.get(0)? - y.get(1)?)?.sqr()?.sum_all()?.sqrt()?;
                Ok(apart.to_dtype(DType::F64)?.to_scalar()?)
            };
            contractions.push(apart(&states[10].y)? / apart(&y0)?);
        }
    }
    // The features diverge, collapse, rotate.
    assert_eq!(contractions.len(), 6);
    assert!(contractions[0] > 3. && contractions[2] < 0.6);
    assert!((contractions[4] - 1.).abs() < 0.06, "{contractions:?}");
    Ok(())
}

/// Only the steps that the precision determines: leapfrog with h = 1 is chaotic.
#[test]
fn example_2_of_the_paper() -> Result<()> {
    let file = file();
    let cases = file["cases"].as_array().unwrap();
    let cases = cases
        .iter()
        .filter(|case| case["kind"] == "haber_ruthotto_example_2");
    let mut found = 0;
    for case in cases {
        let (scheme, turned) = scheme(case);
        for (dtype, name, least) in [(DType::F64, "f64", 1e-11), (DType::F32, "f32", 1e-5)] {
            let law = law(scheme, case, Memory::Constant);
            let mut kernel = tensor(&case["K"], dtype)?;
            if turned {
                kernel = kernel.t()?;
            }
            let layers = case["N"].as_u64().unwrap() as usize;
            let start = State::new(&tensor(&case["y0"], dtype)?);
            let states = law.states(&start, &same(&kernel, layers)?)?;
            let want = tensor(&case["states"], DType::F64)?;
            let of = |key: &str, i: usize| case[key.replace("f64", name)][i].clone();
            for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
                if !of("determined_f64", i).as_bool().unwrap() {
                    continue;
                }
                found += 1;
                let key = match dtype {
                    DType::F64 => "float64_deviation",
                    _ => "float32_deviation",
                };
                let allowed = 100. * case[key][i].as_f64().unwrap() + least;
                let got = &states[step.as_u64().unwrap() as usize].y;
                let off = largest(&(got.to_dtype(DType::F64)? - want.get(i)?)?)?;
                assert!(off <= allowed, "{scheme:?} {dtype:?} step {step}: {off}");
            }
        }
    }
    assert_eq!(found, 2 * (9 + 7) + 2 * 13);
    Ok(())
}

#[test]
fn runge_kutta_meets_reference_values() -> Result<()> {
    let file = file();
    let cases = file["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["kind"] == "nonlinear_ode");
    let case = case.unwrap();
    let vector = |name: &str| -> Result<Tensor> {
        let data: Vec<f64> = golden::list(&case[name]).into_iter().flatten().collect();
        let n = data.len();
        Ok(Tensor::from_vec(data, n, &CPU)?)
    };
    let mut weights = same(&tensor(&case["K"], DType::F64)?, 4)?;
    weights.bias = Some(vector("b")?.broadcast_as((4, 3))?);
    let law = law(Scheme::Rk4(Force::Single), case, Memory::Constant);
    let states = law.states(&State::new(&vector("y0")?), &weights)?;
    let all = stacked(&states, |s| s.y.clone())?;
    close("rk4", &all, &case["rk4_classical"], 1e-11)
}
