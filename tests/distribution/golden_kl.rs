//! Every KL divergence in closed form against values computed with mpmath, in f64 and f32, at the file's tolerances.

use candle_core::{DType, Device, Tensor};
use candle_prob::Result;
use candle_prob::distribution::{
    Bernoulli, Beta, Binomial, Categorical, Cauchy, ContinuousBernoulli, Dirichlet, Distribution,
    Exponential, Gamma, Geometric, Gumbel, HalfNormal, Independent, Kl, Laplace, LogNormal,
    LowRankMultivariateNormal, MultivariateNormal, Normal, OneHotCategorical, Pareto, Poisson,
    Uniform,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
const BETA: Family<Beta> = Family {
    name: "Beta",
    build: |a| Beta::new(a.get("concentration1"), a.get("concentration0")),
};
const BINOMIAL: Family<Binomial> = Family {
    name: "Binomial",
    build: |a| Binomial::new(a.get("total_count"), a.get("logits")),
};
const CAUCHY: Family<Cauchy> = Family {
    name: "Cauchy",
    build: |a| Cauchy::new(a.get("loc"), a.get("scale")),
};
const CONTINUOUS_BERNOULLI: Family<ContinuousBernoulli> = Family {
    name: "ContinuousBernoulli",
    build: |a| ContinuousBernoulli::new(a.get("logits")),
};
const EXPONENTIAL: Family<Exponential> = Family {
    name: "Exponential",
    build: |a| Exponential::new(a.get("rate")),
};
const GEOMETRIC: Family<Geometric> = Family {
    name: "Geometric",
    build: |a| Geometric::from_probs(a.get("probs")),
};
const GUMBEL: Family<Gumbel> = Family {
    name: "Gumbel",
    build: |a| Gumbel::new(a.get("loc"), a.get("scale")),
};
const HALF_NORMAL: Family<HalfNormal> = Family {
    name: "HalfNormal",
    build: |a| HalfNormal::new(a.get("scale")),
};
const LOG_NORMAL: Family<LogNormal> = Family {
    name: "LogNormal",
    build: |a| LogNormal::new(a.get("loc"), a.get("scale")),
};
const LOW_RANK: Family<LowRankMultivariateNormal> = Family {
    name: "LowRankMultivariateNormal",
    build: |a| LowRankMultivariateNormal::new(a.get("loc"), a.get("cov_factor"), a.get("cov_diag")),
};
const MULTIVARIATE_NORMAL: Family<MultivariateNormal> = Family {
    name: "MultivariateNormal",
    build: |a| MultivariateNormal::new(a.get("loc"), a.get("scale_tril")),
};
const ONE_HOT: Family<OneHotCategorical> = Family {
    name: "OneHotCategorical",
    build: |a| OneHotCategorical::new(a.get("logits")),
};
const PARETO: Family<Pareto> = Family {
    name: "Pareto",
    build: |a| Pareto::new(a.get("scale"), a.get("alpha")),
};
const POISSON: Family<Poisson> = Family {
    name: "Poisson",
    build: |a| Poisson::new(a.get("rate")),
};
const UNIFORM: Family<Uniform> = Family {
    name: "Uniform",
    build: |a| Uniform::new(a.get("low"), a.get("high")),
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
        pair(BERNOULLI, POISSON),
        pair(BETA, BETA),
        pair(BETA, CONTINUOUS_BERNOULLI),
        pair(BETA, EXPONENTIAL),
        pair(BETA, GAMMA),
        pair(BETA, NORMAL),
        pair(BETA, UNIFORM),
        pair(BINOMIAL, BINOMIAL),
        pair(CATEGORICAL, CATEGORICAL),
        pair(CAUCHY, CAUCHY),
        pair(CONTINUOUS_BERNOULLI, CONTINUOUS_BERNOULLI),
        pair(CONTINUOUS_BERNOULLI, EXPONENTIAL),
        pair(CONTINUOUS_BERNOULLI, NORMAL),
        pair(CONTINUOUS_BERNOULLI, UNIFORM),
        pair(DIRICHLET, DIRICHLET),
        pair(EXPONENTIAL, BETA),
        pair(EXPONENTIAL, EXPONENTIAL),
        pair(EXPONENTIAL, GAMMA),
        pair(EXPONENTIAL, GUMBEL),
        pair(EXPONENTIAL, NORMAL),
        pair(GAMMA, EXPONENTIAL),
        pair(GAMMA, GAMMA),
        pair(GAMMA, GUMBEL),
        pair(GAMMA, NORMAL),
        pair(GEOMETRIC, GEOMETRIC),
        pair(GUMBEL, GAMMA),
        pair(GUMBEL, GUMBEL),
        pair(GUMBEL, NORMAL),
        pair(HALF_NORMAL, HALF_NORMAL),
        pair(NORMALS, NORMALS),
        pair(LAPLACE, EXPONENTIAL),
        pair(LAPLACE, LAPLACE),
        pair(LAPLACE, NORMAL),
        pair(LOG_NORMAL, LOG_NORMAL),
        pair(LOW_RANK, LOW_RANK),
        pair(LOW_RANK, MULTIVARIATE_NORMAL),
        pair(MULTIVARIATE_NORMAL, LOW_RANK),
        pair(MULTIVARIATE_NORMAL, MULTIVARIATE_NORMAL),
        pair(NORMAL, GAMMA),
        pair(NORMAL, GUMBEL),
        pair(NORMAL, LAPLACE),
        pair(NORMAL, NORMAL),
        pair(NORMAL, UNIFORM),
        pair(ONE_HOT, ONE_HOT),
        pair(PARETO, EXPONENTIAL),
        pair(PARETO, GAMMA),
        pair(PARETO, NORMAL),
        pair(PARETO, PARETO),
        pair(PARETO, UNIFORM),
        pair(POISSON, BERNOULLI),
        pair(POISSON, POISSON),
        pair(UNIFORM, BETA),
        pair(UNIFORM, CONTINUOUS_BERNOULLI),
        pair(UNIFORM, EXPONENTIAL),
        pair(UNIFORM, GAMMA),
        pair(UNIFORM, GUMBEL),
        pair(UNIFORM, NORMAL),
        pair(UNIFORM, PARETO),
        pair(UNIFORM, UNIFORM),
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
    let file: Value = serde_json::from_str(include_str!("../golden/kl.json")).unwrap();
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
                    _ => 1e-4 * want.abs().max(1.),
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
fn every_pair_of_the_file_has_a_row() {
    let own = |p: &str, q: &str| (p.to_string(), q.to_string());
    let side = |case: &Value, side: &str| case[side].as_str().unwrap().to_string();
    let file: BTreeSet<_> = cases()
        .iter()
        .map(|case| (side(case, "p"), side(case, "q")))
        .collect();
    let rows: BTreeSet<_> = rows()
        .iter()
        .map(|row| own(row.names.0, row.names.1))
        .collect();
    let difference: Vec<_> = file.symmetric_difference(&rows).collect();
    assert!(difference.is_empty(), "{difference:?}");
}
