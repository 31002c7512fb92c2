//! Estimators from nearest neighbours: reference values, laws whose information is known, ties, and what is refused.

mod others;
mod pairs;

use crate::support::golden;
use candle_core::{DType, Device, Tensor};
use candle_prob::information::knn::{
    self, Estimate, KnnConfig, Ksg, Warning, entropy, mutual_information,
};
use candle_prob::neighbours::Metric;
use candle_prob::{Error, Result, Rng};
use serde_json::Value;

const CONFIG: KnnConfig = KnnConfig {
    k: 3,
    metric: Metric::Chebyshev,
    jitter: 0.,
    shuffles: 0,
};

const METRICS: [(&str, Metric); 2] = [
    ("max_norm", Metric::Chebyshev),
    ("euclidean", Metric::Euclidean),
];

fn samples() -> Value {
    golden::file(include_str!("../../golden/information_samples.json"))
}

fn cases<'a>(samples: &'a Value, kind: &str) -> Vec<&'a Value> {
    let cases = samples["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["kind"] == kind).collect()
}

/// x and y of a set of samples, f32.
fn data(samples: &Value, name: &Value) -> Result<[Tensor; 2]> {
    let sets = cases(samples, "ksg");
    let set = sets.iter().find(|set| set["name"] == *name).unwrap();
    let tensor = |v: &Value| -> Result<Tensor> {
        let numbers = golden::list(v).into_iter().flatten();
        let numbers: Vec<f32> = numbers.map(|x| x as f32).collect();
        let dims = v["shape"].as_array().unwrap().iter();
        let dims: Vec<usize> = dims.map(|d| d.as_u64().unwrap() as usize).collect();
        Ok(Tensor::from_vec(numbers, dims, &Device::Cpu)?)
    };
    Ok([tensor(&set["x"])?, tensor(&set["y"])?])
}

fn meets(what: &str, got: f64, want: &Value) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() <= 1e-10, "{what}: {got} is not {want}");
}

fn with_k(case: &Value) -> KnnConfig {
    let k = case["k"].as_u64().unwrap() as usize;
    KnnConfig { k, ..CONFIG }
}

/// f32 and f64 of the same samples.
fn both(x: &[Tensor; 2]) -> Result<[[Tensor; 2]; 2]> {
    let double = [x[0].to_dtype(DType::F64)?, x[1].to_dtype(DType::F64)?];
    Ok([x.clone(), double])
}

fn ksg(x: &Tensor, y: &Tensor, form: Ksg, config: &KnnConfig) -> Result<Estimate> {
    mutual_information(x, y, form, config, &mut Rng::new(0))
}

/// Normals of a correlation.
fn correlated(n: usize, correlation: f64, rng: &mut Rng) -> Result<[Tensor; 2]> {
    let mut normal = || rng.normal((n, 1), DType::F64, &Device::Cpu);
    let (x, noise) = (normal()?, normal()?);
    let y = ((&x * correlation)? + noise * (1. - correlation * correlation).sqrt())?;
    Ok([x, y])
}

fn refused<T>(result: Result<T>, name: &str) {
    match result {
        Err(Error::Value { arg, .. } | Error::Shape { arg, .. } | Error::DType { arg, .. }) => {
            assert_eq!(arg, name)
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{name} was not refused"),
    }
}
