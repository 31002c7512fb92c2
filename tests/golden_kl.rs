//! Every KL divergence in closed form against values computed with mpmath, in f64 and f32, at the file's tolerances.

use candle_core::{DType, Device, Tensor};
use candle_prob::Result;
use candle_prob::distribution::{
    Bernoulli, Categorical, Dirichlet, Distribution, Gamma, Independent, Kl, Laplace, Normal,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Pairs of the file that are not in the crate yet. A pair that is must not stand here.
const MISSING: &[(&str, &[&str])] = &[
    ("Bernoulli", &["Poisson"]),
    (
        "Beta",
        &[
            "Beta",
            "ContinuousBernoulli",
            "Exponential",
            "Gamma",
            "Normal",
            "Uniform",
        ],
    ),
    ("Binomial", &["Binomial"]),
    ("Cauchy", &["Cauchy"]),
    (
        "ContinuousBernoulli",
        &["ContinuousBernoulli", "Exponential", "Normal", "Uniform"],
    ),
    (
        "Exponential",
        &["Beta", "Exponential", "Gamma", "Gumbel", "Normal"],
    ),
    ("Gamma", &["Exponential", "Gumbel", "Normal"]),
    ("Geometric", &["Geometric"]),
    ("Gumbel", &["Gamma", "Gumbel", "Normal"]),
    ("HalfNormal", &["HalfNormal"]),
    ("Laplace", &["Exponential", "Normal"]),
    ("LogNormal", &["LogNormal"]),
    (
        "LowRankMultivariateNormal",
        &["LowRankMultivariateNormal", "MultivariateNormal"],
    ),
    (
        "MultivariateNormal",
        &["LowRankMultivariateNormal", "MultivariateNormal"],
    ),
    ("Normal", &["Gamma", "Gumbel", "Laplace", "Uniform"]),
    ("OneHotCategorical", &["OneHotCategorical"]),
    (
        "Pareto",
        &["Exponential", "Gamma", "Normal", "Pareto", "Uniform"],
    ),
    ("Poisson", &["Bernoulli", "Poisson"]),
    (
        "Uniform",
        &[
            "Beta",
            "ContinuousBernoulli",
            "Exponential",
            "Gamma",
            "Gumbel",
            "Normal",
            "Pareto",
            "Uniform",
        ],
    ),
];

/// A distribution's parameters by name.
struct Parameters(BTreeMap<String, Tensor>);

impl Parameters {
    fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }
}

/// A family under torch's name, and how to build it.
#[derive(Clone, Copy)]
struct Family<D> {
    name: &'static str,
    build: fn(&Parameters) -> Result<D>,
}

const BERNOULLI: Family<Bernoulli> = Family {
    name: "Bernoulli",
    build: |a| Bernoulli::new(a.get("logits")),
};
const CATEGORICAL: Family<Categorical> = Family {
    name: "Categorical",
    build: |a| Categorical::new(a.get("logits")),
};
const DIRICHLET: Family<Dirichlet> = Family {
    name: "Dirichlet",
    build: |a| Dirichlet::new(a.get("concentration")),
};
const GAMMA: Family<Gamma> = Family {
    name: "Gamma",
    build: |a| Gamma::new(a.get("concentration"), a.get("rate")),
};
const LAPLACE: Family<Laplace> = Family {
    name: "Laplace",
    build: |a| Laplace::new(a.get("loc"), a.get("scale")),
};
const NORMAL: Family<Normal> = Family {
    name: "Normal",
    build: |a| Normal::new(a.get("loc"), a.get("scale")),
};
const NORMALS: Family<Independent<Normal>> = Family {
    name: "Independent(Normal, 1)",
    build: |a| Normal::new(a.get("loc"), a.get("scale"))?.to_event(1),
};

fn rows() -> Vec<Row> {
    vec![
        pair(BERNOULLI, BERNOULLI),
        pair(CATEGORICAL, CATEGORICAL),
        pair(DIRICHLET, DIRICHLET),
        pair(GAMMA, GAMMA),
        pair(LAPLACE, LAPLACE),
        pair(NORMAL, NORMAL),
        pair(NORMALS, NORMALS),
    ]
}

type Divergence = dyn Fn(&Parameters, &Parameters) -> Result<Tensor>;

struct Row {
    names: (&'static str, &'static str),
    kl: Box<Divergence>,
}

fn pair<P: Kl<Q> + 'static, Q: 'static>(p: Family<P>, q: Family<Q>) -> Row {
    Row {
        names: (p.name, q.name),
        kl: Box::new(move |a, b| (p.build)(a)?.kl(&(q.build)(b)?)),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(s) => s.parse().ok(),
        value => value.as_f64(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        value => number(value).into_iter().collect(),
    }
}

fn tensor(value: &Value, dtype: DType) -> Tensor {
    let (data, shape) = match value.get("shape") {
        Some(shape) => (numbers(&value["data"]), numbers(shape)),
        None if value.is_array() => (numbers(value), vec![numbers(value).len() as f64]),
        None => (numbers(value), vec![]),
    };
    let shape: Vec<usize> = shape.into_iter().map(|d| d as usize).collect();
    let x = Tensor::from_vec(data, shape, &Device::Cpu).unwrap();
    x.to_dtype(dtype).unwrap()
}

fn parameters(value: &Value, dtype: DType) -> Parameters {
    let entries = value.as_object().unwrap().iter();
    Parameters(
        entries
            .map(|(k, v)| (k.clone(), tensor(v, dtype)))
            .collect(),
    )
}

fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("golden/kl.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["kind"] == "kl").cloned().collect()
}

#[test]
fn divergences_match_the_reference() -> Result<()> {
    let mut wrong = vec![];
    for row in rows() {
        let (p, q) = row.names;
        let mut count = 0;
        for case in cases()
            .iter()
            .filter(|case| case["p"] == p && case["q"] == q)
        {
            count += 1;
            for dtype in [DType::F64, DType::F32] {
                let [a, b] = ["p_params", "q_params"].map(|side| parameters(&case[side], dtype));
                let got = (row.kl)(&a, &b)?.to_dtype(DType::F64)?;
                let got = got.reshape(())?.to_scalar::<f64>()?;
                let want = number(&case["kl"]).unwrap();
                let bound = match dtype {
                    DType::F64 => 1e-9 * want.abs().max(1.),
                    _ => {
                        let torch = number(&case["torch_float32_error"]).unwrap_or(0.);
                        1e-4 * want.abs().max(1.) + 10. * torch
                    }
                };
                let close = got == want || (got - want).abs() <= bound;
                if !close {
                    let (a, b) = (&case["p_params"], &case["q_params"]);
                    wrong.push(format!(
                        "{p} {a} || {q} {b} in {dtype:?}: {got:e}, not {want:e}"
                    ));
                }
            }
        }
        assert!(count > 0, "no case of {p} || {q}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_pair_of_the_file_has_a_row_or_is_known_to_be_missing() {
    let all: BTreeSet<(String, String)> = cases()
        .iter()
        .map(|case| ["p", "q"].map(|side| case[side].as_str().unwrap().to_string()))
        .map(|[p, q]| (p, q))
        .collect();
    let own = |(p, q): (&str, &str)| (p.to_string(), q.to_string());
    let rows: BTreeSet<_> = rows().iter().map(|row| own(row.names)).collect();
    let missing = MISSING
        .iter()
        .flat_map(|(p, qs)| qs.iter().map(|q| (*p, *q)));
    let missing: BTreeSet<_> = missing.map(own).collect();
    let both: Vec<_> = rows.intersection(&missing).collect();
    assert!(
        both.is_empty(),
        "these have rows and are not missing: {both:?}"
    );
    let known: BTreeSet<_> = rows.union(&missing).cloned().collect();
    let difference: Vec<_> = all.symmetric_difference(&known).collect();
    assert!(
        difference.is_empty(),
        "without a row, or not in the file: {difference:?}"
    );
}
