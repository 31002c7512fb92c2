//! KL divergences of distributions that are nearly equal: never negative, and as exact as their parameters are rounded. The
//! divergence is of second order in what the parameters differ by, so that terms which cancel leave nothing of it.

use crate::support::families::{Family, every};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::Result;
use candle_prob::distribution::*;

const CPU: &Device = &Device::Cpu;

type Divergence = Box<dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor>>;

/// What may differ of two distributions, and by how much of it they are apart.
struct Pair {
    name: &'static str,
    /// Shape, numbers, and whether both have the same.
    parameters: Vec<(Vec<usize>, Vec<f64>, bool)>,
    /// KL of the family at the first parameters to that at the second.
    kl: Divergence,
}

fn of_one(name: &'static str, row: Family) -> Pair {
    let parameters = row.parameters.iter();
    Pair {
        name,
        parameters: parameters
            .map(|p| (p.shape.clone(), p.at.clone(), p.fixed))
            .collect(),
        kl: Box::new(move |p, q| row.build(p)?.kl(&row.build(q)?)),
    }
}

fn of_two<const N: usize>(
    name: &'static str,
    parameters: [&[f64]; N],
    kl: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
) -> Pair {
    let shape = |x: &[f64]| if x.len() == 1 { vec![] } else { vec![x.len()] };
    Pair {
        name,
        parameters: parameters.map(|x| (shape(x), x.to_vec(), false)).to_vec(),
        kl: Box::new(kl),
    }
}

fn pairs() -> Result<Vec<Pair>> {
    let mut pairs = vec![
        of_two("Bernoulli at 20", [&[20.]], |p, q| {
            Bernoulli::new(&p[0])?.kl(&Bernoulli::new(&q[0])?)
        }),
        of_two("Normal, scales only", [&[1.]], |p, q| {
            let loc = (p[0].zeros_like()?.detach() + 0.5)?;
            Normal::new(&loc, &p[0])?.kl(&Normal::new(&loc, &q[0])?)
        }),
        of_two("Exponential and Gamma", [&[1.], &[2.5]], |p, q| {
            Exponential::new(&p[1])?.kl(&Gamma::new(&q[0], &q[1])?)
        }),
        of_two("Gamma and Exponential", [&[2.5]], |p, q| {
            Gamma::new(&p[0].ones_like()?, &p[0])?.kl(&Exponential::new(&q[0])?)
        }),
        of_two(
            "Normal to Normal::from_log_var",
            [&[0.5], &[1.25]],
            |p, q| {
                Normal::new(&p[0], &p[1])?.kl(&Normal::from_log_var(&q[0], &(q[1].log()? * 2.)?)?)
            },
        ),
        of_two(
            "MultivariateNormalDiag to MultivariateNormal",
            [&[0.5, -0.5], &[1.25, 0.75]],
            |p, q| {
                let eye = Tensor::eye(2, q[1].dtype(), CPU)?;
                let other = MultivariateNormal::new(&q[0], &eye.broadcast_mul(&q[1])?)?;
                MultivariateNormalDiag::new(&p[0], &p[1])?.kl(&other)
            },
        ),
    ];
    for row in every() {
        let free = row.parameters.iter().any(|p| !p.fixed);
        if free && row.example()?.divergence.is_some() {
            pairs.push(of_one(row.name, row));
        }
    }
    Ok(pairs)
}

/// The parameters, and those that are apart by a share `gap` of themselves, each by another sign.
fn apart(family: &Pair, gap: f64, dtype: DType) -> Result<[Vec<Tensor>; 2]> {
    let tensor = |shape: &[usize], x: &[f64]| Tensor::from_slice(x, shape, CPU)?.to_dtype(dtype);
    let (mut own, mut other) = (vec![], vec![]);
    for (k, (shape, x, fixed)) in family.parameters.iter().enumerate() {
        own.push(tensor(shape, x)?);
        let apart = |(i, x): (usize, &f64)| match fixed {
            false => x * (1. + if (i + k) % 2 == 0 { gap } else { -0.7 * gap }),
            true => *x,
        };
        let x: Vec<f64> = x.iter().enumerate().map(apart).collect();
        other.push(tensor(shape, &x)?);
    }
    Ok([own, other])
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?[0])
}

/// In single precision: what the same parameters, as they are rounded, give in double precision.
#[test]
fn in_single_precision() -> Result<()> {
    let mut faults = vec![];
    for family in pairs()? {
        for gap in [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6] {
            let [p, q] = apart(&family, gap, DType::F32)?;
            let got = number(&(family.kl)(&p, &q)?)?;
            let wide = |x: &[Tensor]| -> candle_core::Result<Vec<Tensor>> {
                x.iter().map(|x| x.to_dtype(DType::F64)).collect()
            };
            let want = number(&(family.kl)(&wide(&p)?, &wide(&q)?)?)?;
            // Parameters that are computed are rounded on the way; other families keep probabilities as given.
            let computed = [" to ", "log_var", "Bernoulli::from_probs"];
            let computed = computed.iter().any(|part| family.name.contains(part));
            let tolerance = 1e-5 + if computed { 3e-7 / gap } else { 0. };
            if got.is_nan() || got < 0. || (got - want).abs() > tolerance * want {
                faults.push(format!("{} {gap}: {got} for {want}", family.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// In double precision the divergence goes with the square of a small gap.
#[test]
fn in_double_precision() -> Result<()> {
    let mut faults = vec![];
    for family in pairs()? {
        let at = |gap: f64| -> Result<f64> {
            let [p, q] = apart(&family, gap, DType::F64)?;
            number(&(family.kl)(&p, &q)?)
        };
        // Near enough for the square, far enough for every formula.
        let curvature = at(1e-4)? / 1e-8;
        for gap in [1e-5, 1e-6, 1e-7, 1e-8, 1e-9] {
            let got = at(gap)?;
            // By the next order, and by the parameters' rounding.
            let tolerance = 2e-3 + 4e-15 / gap;
            // Not triangular: the terms are of order one.
            let lost = family.name.starts_with("LowRank");
            let error = (got - curvature * gap * gap).abs();
            let bound = tolerance * curvature * gap * gap + if lost { 1e-15 } else { 0. };
            if got.is_nan() || got < 0. && !lost || error > bound {
                let ratio = got / (gap * gap);
                faults.push(format!(
                    "{} {gap}: {ratio} gap^2 for {curvature}",
                    family.name
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Of the same parameters it is 0 but for the square of a rounding, and so is its gradient.
#[test]
fn of_equals() -> Result<()> {
    let mut faults = vec![];
    for family in pairs()? {
        for dtype in [DType::F32, DType::F64] {
            let [p, _] = apart(&family, 0., dtype)?;
            let vars: Vec<Var> = p
                .iter()
                .map(Var::from_tensor)
                .collect::<candle_core::Result<_>>()?;
            let p: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let fixed: Vec<Tensor> = p.iter().map(Tensor::detach).collect();
            let kl = (family.kl)(&p, &fixed)?;
            let store = kl.sum_all()?.backward()?;
            let computed = family.name.contains(" to ") || family.name.starts_with("LowRank");
            let small = match (dtype, computed) {
                (_, false) => 1e-29,
                (DType::F32, true) => 1e-12,
                _ => 1e-15,
            };
            let value = number(&kl)?;
            if value.abs() > small {
                faults.push(format!("{} {dtype:?}: {value}", family.name));
            }
            for (k, var) in vars.iter().enumerate() {
                let Some(gradient) = store.get(var) else {
                    continue;
                };
                let slope = number(&gradient.abs()?.flatten_all()?.max(0)?)?;
                let bound = if dtype == DType::F32 { 1e-6 } else { 1e-14 };
                if !family.parameters[k].2 && slope > bound {
                    faults.push(format!("{} {dtype:?}: slope {slope} to {k}", family.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Values that were wrong.
#[test]
fn known_values() -> Result<()> {
    let tensor = |x: f32| Ok::<_, candle_prob::Error>(Tensor::new(x, CPU)?);
    let near = |got: Tensor, want: f64| -> Result<()> {
        let got = number(&got)?;
        // The gap itself is rounded to one part in 1700.
        assert!((got / want - 1.).abs() < 2e-3, "{got} for {want}");
        Ok(())
    };
    let (zero, one, apart) = (tensor(0.)?, tensor(1.)?, tensor(1.0001)?);
    let [p, q] = [Normal::new(&zero, &one)?, Normal::new(&zero, &apart)?];
    near(q.kl(&p)?, 1.0002e-8)?;
    let vector = |x: &Tensor| x.unsqueeze(0);
    let [p, q] = [&one, &apart].map(|s| MultivariateNormalDiag::new(&vector(&zero)?, &vector(s)?));
    near(q?.kl(&p?)?, 1.0002e-8)?;
    let [p, q] = [&one, &apart].map(|s| LogNormal::new(&zero, s));
    near(q?.kl(&p?)?, 1.0002e-8)?;
    let [p, q] =
        [&one, &apart].map(|s| MultivariateNormal::new(&vector(&zero)?, &vector(&vector(s)?)?));
    near(q?.kl(&p?)?, 1.0002e-8)?;
    let [p, q] = [0.3, 0.3001].map(|l| Bernoulli::new(&tensor(l)?));
    near(q?.kl(&p?)?, 1.222e-9)?;
    let [p, q] = [0.3f32, 0.3001].map(|l| Categorical::new(&Tensor::new(&[l, 0.], CPU)?));
    near(q?.kl(&p?)?, 1.222e-9)
}

/// Scales so far apart that their quotient is beyond the dtype.
#[test]
fn of_far_scales() -> Result<()> {
    for (dtype, far) in [(DType::F64, 200.), (DType::F32, 30.)] {
        let zero = Tensor::zeros((), dtype, CPU)?;
        let normal = |power: f64| -> Result<Normal> {
            Normal::new(&zero, &(zero.ones_like()? * 10f64.powf(power))?)
        };
        let (small, large) = (normal(-far)?, normal(far)?);
        // ln(scale_q / scale_p) - 1 / 2 and a vanishing rest.
        let want = 2. * far * std::f64::consts::LN_10 - 0.5;
        let got = number(&small.kl(&large)?)?;
        assert!((got / want - 1.).abs() < 1e-6, "{got} for {want}");
        assert_eq!(number(&large.kl(&small)?)?, f64::INFINITY);
    }
    Ok(())
}
