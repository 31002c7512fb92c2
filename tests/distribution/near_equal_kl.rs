//! KL divergences of distributions that are nearly equal: never negative, and as exact as their parameters are rounded. The
//! divergence is of second order in what the parameters differ by, so that terms which cancel leave nothing of it.

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::Result;
use candle_prob::distribution::*;

const CPU: &Device = &Device::Cpu;

type Parameters = Vec<(&'static [usize], &'static [f64])>;

struct Family {
    name: &'static str,
    parameters: Parameters,
    /// KL of the family at the first parameters to that at the second.
    kl: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
    /// What may differ: a count or an end of the support may not.
    free: &'static [usize],
}

macro_rules! row {
    ($name:literal, $parameters:expr, $free:expr, $build:expr) => {{
        Family {
            name: $name,
            parameters: $parameters,
            kl: |p, q| {
                let build: fn(&[Tensor]) -> Result<_> = $build;
                Kl::kl(&build(p)?, &build(q)?)
            },
            free: &$free,
        }
    }};
}

fn families() -> Vec<Family> {
    let one: &[usize] = &[];
    let pair: &[usize] = &[2];
    let square: &[usize] = &[2, 2];
    vec![
        row!("Bernoulli", vec![(one, &[0.3][..])], [0], |p| {
            Bernoulli::new(&p[0])
        }),
        row!("Bernoulli at 20", vec![(one, &[20.])], [0], |p| {
            Bernoulli::new(&p[0])
        }),
        row!("Beta", vec![(one, &[1.5]), (one, &[2.5])], [0, 1], |p| {
            Beta::new(&p[0], &p[1])
        }),
        row!("Binomial", vec![(one, &[7.]), (one, &[0.3])], [1], |p| {
            Binomial::new(&p[0], &p[1])
        }),
        row!("Categorical", vec![(pair, &[0.3, -0.5])], [0], |p| {
            Categorical::new(&p[0])
        }),
        row!("Cauchy", vec![(one, &[0.5]), (one, &[1.25])], [0, 1], |p| {
            Cauchy::new(&p[0], &p[1])
        }),
        row!("Chi2", vec![(one, &[3.])], [0], |p| Chi2::new(&p[0])),
        row!("ContinuousBernoulli", vec![(one, &[0.3])], [0], |p| {
            ContinuousBernoulli::new(&p[0])
        }),
        row!("Dirichlet", vec![(pair, &[1.5, 2.5])], [0], |p| {
            Dirichlet::new(&p[0])
        }),
        row!("Exponential", vec![(one, &[1.5])], [0], |p| {
            Exponential::new(&p[0])
        }),
        row!("Gamma", vec![(one, &[1.5]), (one, &[2.5])], [0, 1], |p| {
            Gamma::new(&p[0], &p[1])
        }),
        row!("Geometric", vec![(one, &[0.3])], [0], |p| Geometric::new(
            &p[0]
        )),
        row!("Gumbel", vec![(one, &[0.5]), (one, &[1.25])], [0, 1], |p| {
            Gumbel::new(&p[0], &p[1])
        }),
        row!(
            "HalfCauchy",
            vec![(one, &[1.25])],
            [0],
            |p| HalfCauchy::new(&p[0])
        ),
        row!(
            "HalfNormal",
            vec![(one, &[1.25])],
            [0],
            |p| HalfNormal::new(&p[0])
        ),
        row!(
            "Independent",
            vec![(pair, &[0.5, -0.5]), (pair, &[1.25, 0.75])],
            [0, 1],
            |p| { Normal::new(&p[0], &p[1])?.to_event(1) }
        ),
        row!(
            "InverseGamma",
            vec![(one, &[1.5]), (one, &[2.5])],
            [0, 1],
            |p| InverseGamma::new(&p[0], &p[1])
        ),
        row!(
            "Laplace",
            vec![(one, &[0.5]), (one, &[1.25])],
            [0, 1],
            |p| Laplace::new(&p[0], &p[1])
        ),
        row!(
            "LogNormal",
            vec![(one, &[0.5]), (one, &[1.25])],
            [0, 1],
            |p| LogNormal::new(&p[0], &p[1])
        ),
        row!(
            "LogisticNormal",
            vec![(pair, &[0.5, -0.5]), (pair, &[1.25, 0.75])],
            [0, 1],
            |p| LogisticNormal::new(&p[0], &p[1])
        ),
        row!(
            "Multinomial",
            vec![(one, &[7.]), (pair, &[0.3, -0.5])],
            [1],
            |p| Multinomial::new(&p[0], &p[1])
        ),
        row!(
            "MultivariateNormal",
            vec![(pair, &[0.5, -0.5]), (square, &[1.25, 0., 0.5, 0.75])],
            [0, 1],
            |p| MultivariateNormal::new(&p[0], &p[1])
        ),
        row!(
            "MultivariateNormalDiag",
            vec![(pair, &[0.5, -0.5]), (pair, &[1.25, 0.75])],
            [0, 1],
            |p| MultivariateNormalDiag::new(&p[0], &p[1])
        ),
        row!(
            "MultivariateNormalDiag::from_log_var",
            vec![(pair, &[0.5, -0.5]), (pair, &[0.25, -0.75])],
            [0, 1],
            |p| MultivariateNormalDiag::from_log_var(&p[0], &p[1])
        ),
        row!(
            "NegativeBinomial",
            vec![(one, &[3.5]), (one, &[0.3])],
            [1],
            |p| NegativeBinomial::new(&p[0], &p[1])
        ),
        row!("Normal", vec![(one, &[0.5]), (one, &[1.25])], [0, 1], |p| {
            Normal::new(&p[0], &p[1])
        }),
        row!(
            "Normal, scales only",
            vec![(one, &[0.5]), (one, &[1.])],
            [1],
            |p| Normal::new(&p[0], &p[1])
        ),
        row!(
            "Normal::from_log_var",
            vec![(one, &[0.5]), (one, &[0.25])],
            [0, 1],
            |p| Normal::from_log_var(&p[0], &p[1])
        ),
        row!("OneHotCategorical", vec![(pair, &[0.3, -0.5])], [0], |p| {
            OneHotCategorical::new(&p[0])
        }),
        row!("Pareto", vec![(one, &[0.5]), (one, &[1.5])], [1], |p| {
            Pareto::new(&p[0], &p[1])
        }),
        row!("Poisson", vec![(one, &[1.5])], [0], |p| Poisson::new(&p[0])),
        row!(
            "TruncatedNormal",
            vec![(one, &[0.5]), (one, &[1.25]), (one, &[-1.]), (one, &[2.])],
            [0, 1],
            |p| TruncatedNormal::new(&p[0], &p[1], &p[2], &p[3])
        ),
        row!(
            "VonMises",
            vec![(one, &[0.5]), (one, &[1.25])],
            [0, 1],
            |p| VonMises::new(&p[0], &p[1])
        ),
        row!(
            "Weibull",
            vec![(one, &[1.25]), (one, &[1.5])],
            [0, 1],
            |p| Weibull::new(&p[0], &p[1])
        ),
        row!(
            "DiscretizedLogistic",
            vec![(one, &[0.1]), (one, &[0.3])],
            [0, 1],
            |p| DiscretizedLogistic::new(&p[0], &p[1], 5)
        ),
        // Of two kinds.
        Family {
            name: "Exponential and Gamma",
            parameters: vec![(one, &[1.]), (one, &[2.5])],
            kl: |p, q| Exponential::new(&p[1])?.kl(&Gamma::new(&q[0], &q[1])?),
            free: &[0, 1],
        },
        Family {
            name: "Gamma and Exponential",
            parameters: vec![(one, &[2.5])],
            kl: |p, q| Gamma::new(&p[0].ones_like()?, &p[0])?.kl(&Exponential::new(&q[0])?),
            free: &[0],
        },
        Family {
            name: "Normal to Normal::from_log_var",
            parameters: vec![(one, &[0.5]), (one, &[1.25])],
            kl: |p, q| {
                Normal::new(&p[0], &p[1])?.kl(&Normal::from_log_var(&q[0], &(q[1].log()? * 2.)?)?)
            },
            free: &[0, 1],
        },
        Family {
            name: "MultivariateNormalDiag to MultivariateNormal",
            parameters: vec![(pair, &[0.5, -0.5]), (pair, &[1.25, 0.75])],
            kl: |p, q| {
                let eye = Tensor::eye(2, q[1].dtype(), CPU)?;
                let other = MultivariateNormal::new(&q[0], &eye.broadcast_mul(&q[1])?)?;
                MultivariateNormalDiag::new(&p[0], &p[1])?.kl(&other)
            },
            free: &[0, 1],
        },
        row!(
            "LowRankMultivariateNormal",
            vec![
                (pair, &[0.5, -0.5]),
                (&[2, 1], &[0.5, 0.25]),
                (pair, &[1.25, 0.75])
            ],
            [0, 1, 2],
            |p| LowRankMultivariateNormal::new(&p[0], &p[1], &p[2])
        ),
    ]
}

/// The parameters, and those that are apart by a share `gap` of themselves, each by another sign.
fn pair(family: &Family, gap: f64, dtype: DType) -> Result<[Vec<Tensor>; 2]> {
    let tensor = |shape: &[usize], x: &[f64]| Tensor::from_slice(x, shape, CPU)?.to_dtype(dtype);
    let (mut own, mut other) = (vec![], vec![]);
    for (k, (shape, x)) in family.parameters.iter().enumerate() {
        own.push(tensor(shape, x)?);
        let apart = |(i, x): (usize, &f64)| match family.free.contains(&k) {
            true => x * (1. + if (i + k) % 2 == 0 { gap } else { -0.7 * gap }),
            false => *x,
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
    for family in families() {
        for gap in [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6] {
            let [p, q] = pair(&family, gap, DType::F32)?;
            let got = number(&(family.kl)(&p, &q)?)?;
            let wide = |x: &[Tensor]| -> candle_core::Result<Vec<Tensor>> {
                x.iter().map(|x| x.to_dtype(DType::F64)).collect()
            };
            let want = number(&(family.kl)(&wide(&p)?, &wide(&q)?)?)?;
            // Parameters that are computed are rounded on the way.
            let computed = family.name.contains(" to ") || family.name.contains("log_var");
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
    for family in families() {
        let at = |gap: f64| -> Result<f64> {
            let [p, q] = pair(&family, gap, DType::F64)?;
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
    for family in families() {
        for dtype in [DType::F32, DType::F64] {
            let [p, _] = pair(&family, 0., dtype)?;
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
                if family.free.contains(&k) && slope > bound {
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
