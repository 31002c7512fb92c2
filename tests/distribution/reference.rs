//! Every family against values computed with 50 digits: densities, their gradients, cdfs, quantiles, moments, entropies,
//! in f64 and f32, at the tolerances that the reference file states.

use crate::support::any::Any;
use crate::support::families::{Family, Parameter, every};
use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::{Result, Rng};
use serde_json::Value;
use std::collections::BTreeMap;

const FILE: &str = include_str!("../golden/distributions.json");

/// A case's parameters as tensors, by name; with a leading dim of the number of values where those are asked for.
type Arguments = BTreeMap<String, Tensor>;

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(s) => Some(s.parse().unwrap()),
        Value::Null => None,
        value => value.as_f64(),
    }
}

fn numbers(value: &Value) -> Vec<Option<f64>> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Object(table) => numbers(&table["data"]),
        value => vec![number(value)],
    }
}

fn shape(value: &Value) -> Vec<usize> {
    match value {
        Value::Array(items) => {
            let inner = items.first().map(shape).unwrap_or_default();
            [vec![items.len()], inner].concat()
        }
        Value::Object(table) => numbers(&table["shape"])
            .into_iter()
            .map(|n| n.unwrap() as usize)
            .collect(),
        _ => vec![],
    }
}

fn tensor(value: &Value, dtype: DType) -> Tensor {
    let data: Vec<f64> = numbers(value).into_iter().map(|x| x.unwrap()).collect();
    let x = Tensor::from_vec(data, shape(value), &Device::Cpu).unwrap();
    x.to_dtype(dtype).unwrap()
}

fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-11 } else { 1e-5 }
}

/// `bound(i, want)` is the allowed difference.
#[track_caller]
fn compare(
    what: &str,
    case: &Value,
    dtype: DType,
    got: &Tensor,
    want: &Value,
    bound: impl Fn(usize, f64) -> f64,
) {
    let (got, want) = (flat(got), numbers(want));
    assert_eq!(got.len(), want.len(), "{what} of {}", case["distribution"]);
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let Some(want) = *want else { continue };
        // What underflows in f32 is 0 there, and just above there are fewer digits.
        let (want, floor) = match dtype {
            DType::F32 if want.abs() < f64::from(f32::MIN_POSITIVE) => {
                (f64::from(want as f32), f64::from(f32::MIN_POSITIVE) * 1e-5)
            }
            _ => (want, 0.),
        };
        let in_range = dtype == DType::F64 || want.abs() < f64::from(f32::MAX);
        let close = if want.is_nan() {
            got.is_nan()
        } else if want.is_infinite() {
            *got == want
        } else {
            (got - want).abs() <= bound(i, want) + floor || !in_range && got.is_infinite()
        };
        assert!(
            close,
            "{what} of {} {} in {dtype:?}, number {i} at {}: {got:e}, expected {want:e}",
            case["distribution"], case["params"], case["x"][i]
        );
    }
}

/// The size that rounding scales with, per element; 1 where the file gives none.
fn condition(case: &Value, keys: &[&str], name: &str, i: usize) -> f64 {
    for key in keys {
        let list = if name.is_empty() {
            &case[*key]
        } else {
            &case[*key][name]
        };
        let found = match list {
            Value::Array(_) => numbers(list).get(i).copied().flatten(),
            value => number(value),
        };
        if let Some(found) = found {
            return found.max(1.);
        }
    }
    1.
}

/// A family and its cases.
struct Cases<'a> {
    family: &'a Family,
    cases: Vec<&'a Value>,
}

/// Whether it is a case of the family with the parameters of this constructor.
fn fits(family: &Family, case: &Value) -> bool {
    let parameters = case["params"].as_object().unwrap();
    let has = |p: &Parameter| parameters.contains_key(p.name);
    case["distribution"] == family.names().0
        && parameters.len() == family.parameters.len()
        && family.parameters.iter().all(has)
}

impl Cases<'_> {
    fn each(&self, mut check: impl FnMut(&Value, DType) -> Result<()>) -> Result<()> {
        for case in &self.cases {
            for dtype in [DType::F64, DType::F32] {
                check(case, dtype)?;
            }
        }
        Ok(())
    }

    fn arguments(case: &Value, dtype: DType) -> Arguments {
        let params = case["params"].as_object().unwrap();
        let tensors = params.iter().map(|(k, v)| (k.clone(), tensor(v, dtype)));
        tensors.collect()
    }

    fn build(&self, arguments: &Arguments) -> Result<Any> {
        let parameters = self.family.parameters.iter();
        let parameters: Vec<Tensor> = parameters.map(|p| arguments[p.name].clone()).collect();
        self.family.build(&parameters)
    }

    /// Everything that the family has.
    fn check(&self) -> Result<()> {
        let d = self.family.example()?;
        self.density()?;
        if d.tails.is_some() {
            self.cdf()?;
        }
        if d.moments.is_some() {
            self.scalars(&["mean", "variance"], |d, name| match name {
                "mean" => d.mean(),
                _ => d.variance(),
            })?;
        }
        if d.mode.is_some() {
            self.scalars(&["mode"], |d, _| d.mode())?;
        }
        if d.entropy.is_some() {
            self.scalars(&["entropy"], |d, _| d.entropy())?;
        }
        Ok(())
    }

    /// Log-density and its gradients to value and parameters.
    fn density(&self) -> Result<()> {
        self.each(|case, dtype| {
            let tol = tolerance(dtype);
            let x = Var::from_tensor(&tensor(&case["x"], dtype))?;
            let n = x.dim(0)?;
            // A copy of each parameter for each value, so that gradients come apart.
            let mut vars = BTreeMap::new();
            for (name, value) in &Self::arguments(case, dtype) {
                let shape = [&[n], value.dims()].concat();
                let copies = value.broadcast_as(shape)?.contiguous()?;
                vars.insert(name.clone(), Var::from_tensor(&copies)?);
            }
            let copies = vars.iter().map(|(k, v)| (k.clone(), v.as_tensor().clone()));
            let log_prob = self.build(&copies.collect())?.log_prob(&x)?;
            compare(
                "log_prob",
                case,
                dtype,
                &log_prob,
                &case["log_prob"],
                |i, want| {
                    let cond = condition(case, &["log_prob_cond"], "", i);
                    tol * want.abs().max(cond)
                },
            );
            let gradients = log_prob.sum_all()?.backward()?;
            let wanted = case["grad"].as_object().cloned().unwrap_or_default();
            for (name, want) in wanted.iter().filter(|(_, want)| !want.is_null()) {
                let var = if name == "x" {
                    &x
                } else {
                    &vars[name.as_str()]
                };
                let got = match gradients.get(var) {
                    Some(got) => got.clone(),
                    None => var.zeros_like()?,
                };
                let each = got.elem_count() / n;
                compare(
                    &format!("d log_prob / d {name}"),
                    case,
                    dtype,
                    &got,
                    want,
                    |i, want| {
                        let own = condition(case, &["grad_cond"], name, i);
                        let density = condition(case, &["log_prob_cond"], "", i / each);
                        let cond = if case["grad_cond"][name].is_null() {
                            density
                        } else {
                            own
                        };
                        tol * want.abs().max(cond)
                    },
                );
            }
            Ok(())
        })
    }

    /// Distribution function, survival function, their logarithms, and the quantile where the file has it.
    fn cdf(&self) -> Result<()> {
        self.each(|case, dtype| {
            let tol = tolerance(dtype);
            let d = self.build(&Self::arguments(case, dtype))?;
            let x = tensor(&case["x"], dtype);
            let pairs = [
                ("cdf", d.cdf(&x)?, d.log_cdf(&x)?),
                ("sf", d.survival(&x)?, d.log_survival(&x)?),
            ];
            for (name, got, log) in pairs {
                if case[name].is_null() {
                    continue;
                }
                let bound = |i: usize, _: f64| tol * condition(case, &["cdf_cond"], "", i);
                compare(name, case, dtype, &got, &case[name], bound);
                // Relative to the probability, far into the tails too; the condition number is that of the density.
                let logs: Vec<Value> = numbers(&case[name])
                    .into_iter()
                    .map(|p| match p {
                        Some(p) if p > 1e-300 => Value::from(p.ln()),
                        _ => Value::Null,
                    })
                    .collect();
                compare(
                    &format!("log {name}"),
                    case,
                    dtype,
                    &log,
                    &Value::from(logs),
                    |i, want| {
                        let cond = condition(case, &["log_prob_cond"], "", i);
                        4. * tol * want.abs().max(cond)
                    },
                );
            }
            if !case["icdf"].is_null() {
                let p = tensor(&case["icdf_p"], dtype);
                let got = d.quantile(&p)?;
                let loc = number(&case["params"]["loc"]).unwrap_or(0.).abs();
                compare("quantile", case, dtype, &got, &case["icdf"], |i, want| {
                    let cond = numbers(&case["icdf_cond"]).get(i).copied().flatten();
                    tol * want.abs().max(cond.map_or(0., |c| c.max(loc)))
                });
            }
            Ok(())
        })
    }

    fn scalars(&self, names: &[&str], f: impl Fn(&Any, &str) -> Result<Tensor>) -> Result<()> {
        self.each(|case, dtype| {
            let d = self.build(&Self::arguments(case, dtype))?;
            for name in names {
                if case[*name].is_null() {
                    continue;
                }
                let loose = self.family.name == "TruncatedNormal"
                    && dtype == DType::F32
                    && *name != "entropy";
                let tol = tolerance(dtype) * if loose { 100. } else { 1. };
                let cond = number(&case["entropy_cond"]).filter(|_| *name == "entropy");
                compare(name, case, dtype, &f(&d, name)?, &case[*name], |_, want| {
                    tol * want.abs().max(cond.unwrap_or(1.)).max(1.)
                });
            }
            Ok(())
        })
    }
}

/// Rows that the file has no cases of.
const WITHOUT: &[&str] = &[
    "Bernoulli::from_probs",
    "Binomial::from_probs",
    "NegativeBinomial::from_probs",
    "DiscretizedLogistic",
    "Normal::from_log_var",
    "Independent",
    "LogisticNormal",
    "MultivariateNormalDiag",
    "MultivariateNormalDiag::from_log_var",
    "OneHotCategoricalStraightThrough",
];

#[test]
fn every_family() -> Result<()> {
    let file: Value = serde_json::from_str(FILE).unwrap();
    let file = file["cases"].as_array().unwrap();
    // The values of a categorical are indices; `discrete` and `mixture` have other files.
    let families = every().into_iter().filter(|row| row.name != "Categorical");
    let families: Vec<Family> = families.collect();
    for case in file {
        let name = case["distribution"].as_str().unwrap();
        let known = families.iter().any(|family| fits(family, case));
        let elsewhere = name == "Categorical" || name.starts_with("Mixture");
        assert!(known != elsewhere, "{name} {}", case["params"]);
    }
    for name in WITHOUT {
        assert!(families.iter().any(|row| row.name == *name), "{name}");
    }
    for family in &families {
        let cases = file.iter().filter(|case| fits(family, case));
        let cases: Vec<&Value> = cases.collect();
        let without = WITHOUT.contains(&family.name);
        let (name, count) = (family.name, cases.len());
        assert_eq!(cases.is_empty(), without, "{count} cases of {name}");
        Cases { family, cases }.check()?;
    }
    Ok(())
}

/// The upper tail of a normal distribution, where single precision has no probabilities left.
#[test]
fn log_cdf_of_the_far_tail() -> Result<()> {
    let zero = Tensor::new(&[0f32], &Device::Cpu)?;
    let normal = Normal::new(&zero, &zero.ones_like()?)?;
    let x = Var::from_tensor(&(zero - 40.)?)?;
    let log_cdf = normal.log_cdf(&x)?;
    let slope = log_cdf.sum_all()?.backward()?;
    let slope = slope.get(&x).map(|g| g.to_vec1::<f32>()).transpose()?;
    let log_cdf = log_cdf.to_vec1::<f32>()?[0];
    assert!((log_cdf + 804.608_44).abs() < 1e-5 * 804.6, "{log_cdf}");
    let slope = slope.unwrap()[0];
    assert!((slope - 40.024_97).abs() < 1e-5 * 40., "{slope}");
    Ok(())
}

/// Near `high` half of the uniforms' last step rounds to it in single precision.
#[test]
fn no_uniform_draw_is_outside() -> Result<()> {
    let end = |x: f32| Tensor::new(&[x], &Device::Cpu);
    let uniform = Uniform::new(&end(1000.)?, &end(1001.)?)?;
    let x = uniform.sample(&[1_000_000], &mut Rng::new(0))?;
    let x = x.flatten_all()?.to_vec1::<f32>()?;
    assert!(x.iter().all(|x| (1000. ..1001.).contains(x)));
    Ok(())
}

#[test]
fn parameters_out_of_range_are_errors() -> Result<()> {
    let x = |x: f32| Tensor::new(&[x], &Device::Cpu);
    for (build, arg) in [
        (Normal::new(&x(0.)?, &x(0.)?).err(), "scale"),
        (Normal::new(&x(f32::NAN)?, &x(1.)?).err(), "loc"),
        (
            Normal::from_log_var(&x(0.)?, &x(f32::NAN)?).err(),
            "log_var",
        ),
        (Uniform::new(&x(1.)?, &x(1.)?).err(), "high"),
    ] {
        let error = build.unwrap().to_string();
        assert!(error.contains(arg), "{error}");
    }
    assert!(Exponential::new(&x(-1.)?).is_err());
    assert!(Gumbel::new(&x(0.)?, &x(f32::INFINITY)?).is_err());
    assert!(Normal::new_unchecked(&x(0.)?, &x(-1.)?).is_ok());
    Ok(())
}
