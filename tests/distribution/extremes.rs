//! Values and slopes where parameters or values are huge or tiny, beside numbers computed with mpmath at 60 to 140 digits.
//!
//! `slack` is how much a result changes when each argument changes in its last place: what nobody who has the arguments in
//! double precision can know.

use crate::support::any::Any;
use crate::support::families::named;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::{Error, Result};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;

/// The family at these numbers; those of a Dirichlet are the elements of its parameter.
fn family(name: &str, p: &[Tensor]) -> Result<Any> {
    match name {
        "Binomial" | "NegativeBinomial" | "Geometric" => {
            named(&format!("{name}::from_probs")).build(p)
        }
        "Dirichlet" => named(name).build(&[Tensor::stack(p, 0)?]),
        _ => named(name).build(p),
    }
}

fn divergence(name: &str, t: &[Tensor]) -> Result<Tensor> {
    fn kl<P: Kl<Q>, Q>(p: Result<P>, q: Result<Q>) -> Result<Tensor> {
        p?.kl(&q?)
    }
    let (p, q) = t.split_at(t.len() / 2);
    match name {
        "Gamma>Exponential" => kl(Gamma::new(&t[0], &t[1]), Exponential::new(&t[2])),
        "Gamma>Normal" => kl(Gamma::new(&p[0], &p[1]), Normal::new(&q[0], &q[1])),
        "Beta>Gamma" => kl(Beta::new(&p[0], &p[1]), Gamma::new(&q[0], &q[1])),
        "Uniform>Gamma" => kl(Uniform::new(&p[0], &p[1]), Gamma::new(&q[0], &q[1])),
        "Pareto>Gamma" => kl(Pareto::new(&p[0], &p[1]), Gamma::new(&q[0], &q[1])),
        "Uniform>Beta" => kl(Uniform::new(&p[0], &p[1]), Beta::new(&q[0], &q[1])),
        _ => family(name, p)?.kl(&family(name, q)?),
    }
}

fn evaluate(name: &str, of: &str, t: &[Tensor]) -> Result<Tensor> {
    if of == "kl" {
        return divergence(name, t);
    }
    if name == "Dirichlet" && of == "log_prob" {
        let (x, a) = t.split_at(3);
        return family(name, a)?.log_prob(&Tensor::stack(x, 0)?);
    }
    match of {
        "log_prob" => family(name, &t[1..])?.log_prob(&t[0]),
        "log_cdf" => family(name, &t[1..])?.log_cdf(&t[0]),
        "log_survival" => family(name, &t[1..])?.log_survival(&t[0]),
        "mean" => family(name, t)?.mean(),
        "variance" => family(name, t)?.variance(),
        "entropy" => family(name, t)?.entropy(),
        _ => panic!("{of}"),
    }
}

struct Row {
    family: String,
    of: String,
    args: Vec<f64>,
    value: f64,
    slack: f64,
    slopes: Vec<Option<f64>>,
    slope_slack: Vec<f64>,
}

fn rows(text: &str) -> Vec<Row> {
    let file: Value = serde_json::from_str(text).unwrap();
    let number = |v: &Value| v.as_f64();
    let list = |v: &Value| v.as_array().unwrap().clone();
    let row = |r: &Value| Row {
        family: r[0].as_str().unwrap().into(),
        of: r[1].as_str().unwrap().into(),
        args: list(&r[2]).iter().filter_map(number).collect(),
        value: r[3].as_f64().unwrap(),
        slack: r[4].as_f64().unwrap(),
        slopes: list(&r[5]).iter().map(number).collect(),
        slope_slack: list(&r[6]).iter().filter_map(number).collect(),
    };
    list(&file["rows"]).iter().map(row).collect()
}

/// Faults of one row: the value, then the slopes that the reference has.
fn faults(row: &Row, dtype: DType) -> Result<Vec<String>> {
    let vars = row
        .args
        .iter()
        .map(|x| Ok(Var::from_tensor(&Tensor::new(*x, CPU)?.to_dtype(dtype)?)?))
        .collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let number = |t: &Tensor| {
        t.to_dtype(DType::F64)?
            .to_scalar::<f64>()
            .map_err(Error::from)
    };
    let out = evaluate(&row.family, &row.of, &tensors)?;
    let got = number(&out)?;
    let mut faults = vec![];
    // Of values: relative, but for logarithms, which are sums; a divergence is relative however small.
    let (relative, floor, slope_relative) = match dtype {
        DType::F64 => (4e-12, 4e-14, 2e-9),
        _ => (4e-7, 4e-6, 2e-6),
    };
    let floor = match row.of.as_str() {
        "kl" if !row.family.contains('>') => 0.,
        "variance" | "mean" => 0.,
        _ => floor,
    };
    let bound = relative * row.value.abs() + floor + 4. * row.slack;
    let close = (got - row.value).abs() <= bound;
    if !close {
        faults.push(format!("{got:e}, not {:e}", row.value));
    }
    if row.of == "kl" && got < 0. {
        faults.push(format!("negative: {got:e}"));
    }
    if !row.value.is_finite() {
        return Ok(faults);
    }
    let gradients = out.backward()?;
    for (i, (want, slack)) in row.slopes.iter().zip(&row.slope_slack).enumerate() {
        let Some(want) = want else { continue };
        let got = match gradients.get(&vars[i]) {
            Some(g) => number(g)?,
            None => 0.,
        };
        let most = if dtype == DType::F32 { 3e38 } else { f64::MAX };
        let tiny = if dtype == DType::F32 { 1e-37 } else { 1e-300 };
        let bound = slope_relative * want.abs() + 8. * slack + tiny;
        let close = (got - want).abs() <= bound;
        if want.abs() < most && !close {
            faults.push(format!("slope {i} {got:e}, not {want:e}"));
        }
    }
    Ok(faults)
}

/// Every row in f64, and in f32 where that has the arguments.
fn sweep(text: &str) -> Result<()> {
    let (mut all, mut single) = (0, 0);
    let mut wrong = vec![];
    for row in rows(text) {
        let exact = |x: &f64| f64::from(*x as f32) == *x;
        let narrow = row.args.iter().all(exact) && row.value.abs() < 3e38;
        let dtypes: &[DType] = match narrow {
            true => &[DType::F64, DType::F32],
            false => &[DType::F64],
        };
        for dtype in dtypes {
            all += 1;
            single += usize::from(*dtype == DType::F32);
            let faults = faults(&row, *dtype)?;
            if !faults.is_empty() {
                let (name, of, args) = (&row.family, &row.of, &row.args);
                wrong.push(format!("{name} {of} {args:?} {dtype:?}: {faults:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {all} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(single > 20, "{single} of {all}");
    Ok(())
}

#[test]
fn huge_concentrations() -> Result<()> {
    sweep(include_str!("../golden/concentrations.json"))
}

#[test]
fn divergences_of_near_equals() -> Result<()> {
    sweep(include_str!("../golden/divergences.json"))
}

#[test]
fn tails_at_the_ends_of_the_numbers() -> Result<()> {
    sweep(include_str!("../golden/tails.json"))
}

/// What was reported wrong, to the digits of the report.
#[test]
fn reported_values() -> Result<()> {
    let rows: [(&str, &str, &[f64], f64, f64); 14] = [
        ("Gamma", "log_prob", &[1., 1e12, 1e12], 12.896572, 1e-6),
        (
            "Gamma",
            "log_prob",
            &[1. + 10f64.powf(-7.5), 1e15, 1e15],
            15.85045,
            1e-5,
        ),
        ("Gamma", "log_prob", &[1., 1e18, 1e18], 19.804, 1e-3),
        ("Gamma", "entropy", &[1e18, 1e18], -19.304, 1e-3),
        ("Beta", "log_prob", &[0.5, 1e18, 1e18], 20.844, 1e-3),
        ("Chi2", "log_prob", &[1e15, 1e15], -18.535, 1e-3),
        ("Dirichlet", "entropy", &[1e18; 3], -41.355, 1e-3),
        (
            "Dirichlet",
            "kl",
            &[1e12, 1e12, 1e12, 1e12 + 1e6, 1e12, 1e12],
            0.33333,
            1e-5,
        ),
        ("Kumaraswamy", "variance", &[1e15, 2.], 1.25e-30, 1e-35),
        (
            "StudentT",
            "log_survival",
            &[1e155, 3., 0., 1.],
            -1070.6043,
            1e-4,
        ),
        (
            "StudentT",
            "log_cdf",
            &[-1e155, 3., 0., 1.],
            -1070.6043,
            1e-4,
        ),
        ("Gamma", "kl", &[1e12, 2., 1e12, 2.], 0., 0.),
        ("Beta", "kl", &[1e12, 2., 1e12, 2.], 0., 0.),
        ("Dirichlet", "kl", &[1e12, 2., 1e12, 2.], 0., 0.),
    ];
    for (name, of, args, want, tolerance) in rows {
        // Those that f32 has the arguments of, near enough.
        let single = tolerance == 1e-3 || want == 0.;
        let dtypes: &[DType] = match single {
            true => &[DType::F64, DType::F32],
            false => &[DType::F64],
        };
        for dtype in dtypes {
            let args = args
                .iter()
                .map(|x| Ok(Tensor::new(*x, CPU)?.to_dtype(*dtype)?));
            let args = args.collect::<Result<Vec<Tensor>>>()?;
            let got = evaluate(name, of, &args)?
                .to_dtype(DType::F64)?
                .to_scalar::<f64>()?;
            assert!(
                (got - want).abs() <= tolerance,
                "{name} {of} {dtype:?}: {got}, not {want}"
            );
        }
    }
    Ok(())
}
