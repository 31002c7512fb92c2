//! Gamma draws, their pathwise gradients, and the closed forms of the family.

use crate::support::flat;
use crate::support::golden;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{Beta, Distribution, Entropy, Gamma, InverseGamma, Kl, Moments};
use candle_prob::{Result, Rng};
use golden::{check, list};
use statrs::function::gamma::{digamma, gamma_lr, ln_gamma};

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64], dtype: DType) -> Tensor {
    Tensor::new(values, &CPU).unwrap().to_dtype(dtype).unwrap()
}

fn standard(concentration: f64, dtype: DType) -> Gamma {
    let one = tensor(&[1.], dtype);
    Gamma::new(&tensor(&[concentration], dtype), &one).unwrap()
}

/// The cdf of a standard gamma variable at e^y.
fn cdf(a: f64, y: f64) -> f64 {
    if y < -30. {
        // The first term of the series; the next is e^-30 of it.
        (a * y - ln_gamma(a + 1.)).exp()
    } else {
        gamma_lr(a, y.exp())
    }
}

/// The statistic of Kolmogorov and Smirnov times sqrt(n).
fn kolmogorov_smirnov(mut y: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    y.sort_by(f64::total_cmp);
    let n = y.len() as f64;
    let gap = y.iter().enumerate().fold(0f64, |gap, (i, y)| {
        let p = cdf(*y);
        gap.max(p - i as f64 / n).max((i + 1) as f64 / n - p)
    });
    gap * n.sqrt()
}

/// 14 tests, each exceeding 2.5 with probability 2 exp(-2 * 2.5^2) = 7e-6 under the right law: 1e-4 in all.
#[test]
fn draws_have_the_gamma_law() {
    let n = 100_000;
    for dtype in [DType::F32, DType::F64] {
        for a in [1e-3, 0.1, 0.5, 1., 2., 10., 1e3] {
            let gamma = standard(a, dtype);
            // The value the sampler sees.
            let a = flat(gamma.concentration())[0];
            let draws = gamma.sample_log(&[n], &mut Rng::new(5)).unwrap();
            let gap = kolmogorov_smirnov(flat(&draws), |y| cdf(a, y));
            assert!(gap < 2.5, "{dtype:?} {a}: {gap}");
            let other = kolmogorov_smirnov(flat(&draws), |y| cdf(a * 1.05, y));
            assert!(other > 2.5, "{dtype:?} {a}: 5 % are not seen: {other}");
        }
    }
}

/// Nearby draws, blocks and streams must not be related: correlations of n = 1e5 draws are below 5 / sqrt(n).
#[test]
fn neighbouring_draws_are_independent() {
    let n = 100_000;
    let y = flat(
        &standard(0.7, DType::F32)
            .sample_log(&[n], &mut Rng::new(8))
            .unwrap(),
    );
    let mean = y.iter().sum::<f64>() / n as f64;
    let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64;
    for lag in [1, 2, 8, 16, 32, 4096] {
        let covariance = y
            .windows(lag + 1)
            .map(|w| (w[0] - mean) * (w[lag] - mean))
            .sum::<f64>();
        let correlation = covariance / ((n - lag) as f64 * variance);
        assert!(
            correlation.abs() < 5. / (n as f64).sqrt(),
            "lag {lag}: {correlation}"
        );
    }
}

/// 4 standard errors: a right mean is missed with probability 6e-5.
#[test]
fn logarithms_of_tiny_draws_are_kept() {
    let gamma = standard(1e-3, DType::F32);
    let n = 1_000_000;
    let draws = gamma.sample_log(&[n], &mut Rng::new(0)).unwrap();
    let y = flat(&draws);
    assert!(y.iter().all(|y| y.is_finite()));
    let mean = y.iter().sum::<f64>() / n as f64;
    assert!(
        (mean + 1000.576).abs() < 4. * 1000. / (n as f64).sqrt(),
        "{mean}"
    );
    // Every draw has a density, though most are zero as plain numbers.
    let log_prob = flat(&gamma.log_prob_of_log(&draws).unwrap());
    assert!(log_prob.iter().all(|l| l.is_finite()));
}

/// The derivative of E[x^k] = Gamma(a + k) / Gamma(a) by draws. 30 tests at 4.5 standard errors: 2e-4 in all.
#[test]
fn pathwise_gradients_are_unbiased() {
    let n = 200_000;
    for dtype in [DType::F32, DType::F64] {
        let n = if dtype == DType::F64 { n / 8 } else { n };
        for a in [0.1, 0.5, 1., 2., 10.] {
            let concentration = Var::from_tensor(&tensor(&vec![a; n], dtype)).unwrap();
            let one = concentration.ones_like().unwrap();
            let gamma = Gamma::new(&concentration, &one).unwrap();
            let x = gamma.sample(&[], &mut Rng::new(3)).unwrap();
            for k in 1..=3 {
                let power = (1..k).fold(x.clone(), |p, _| (p * &x).unwrap());
                let gradients = power.sum_all().unwrap().backward().unwrap();
                let each = flat(gradients.get(&concentration).unwrap());
                let mean = each.iter().sum::<f64>() / n as f64;
                let variance = each.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n as f64;
                let k = f64::from(k);
                let want = (ln_gamma(a + k) - ln_gamma(a)).exp() * (digamma(a + k) - digamma(a));
                let error = (variance / n as f64).sqrt();
                assert!(
                    (mean - want).abs() < 4.5 * error,
                    "{dtype:?} a {a} k {k}: {mean} +- {error}, not {want}"
                );
            }
        }
    }
}

#[test]
fn extreme_concentrations_have_finite_draws_and_gradients() {
    for dtype in [DType::F32, DType::F64] {
        let values: Vec<f64> = (0..=240).map(|i| 10f64.powf(i as f64 / 20. - 6.)).collect();
        let a = Var::from_tensor(&tensor(&values, dtype)).unwrap();
        let gamma = Gamma::new(&a, &tensor(&[2.], dtype)).unwrap();
        for log in [true, false] {
            let mut rng = Rng::new(1);
            let x = match log {
                true => gamma.sample_log(&[300], &mut rng).unwrap(),
                false => gamma.sample(&[300], &mut rng).unwrap(),
            };
            assert!(flat(&x).iter().all(|x| x.is_finite()));
            let gradients = x.sum_all().unwrap().backward().unwrap();
            let gradient = flat(gradients.get(&a).unwrap());
            assert!(
                gradient.iter().all(|g| g.is_finite() && *g >= 0.),
                "{gradient:?}"
            );
        }
    }
}

/// The first draws of seed 0. A change here is value-breaking and belongs into the changelog.
#[test]
fn first_draws_are_pinned() {
    let concentration = [0.001, 0.5, 1., 2.5, 1000.];
    let pinned = [(DType::F32, FIRST_F32), (DType::F64, FIRST_F64)];
    for (dtype, want) in pinned {
        let gamma = Gamma::new(&tensor(&concentration, dtype), &tensor(&[1.], dtype)).unwrap();
        let got = flat(&gamma.sample_log(&[], &mut Rng::new(0)).unwrap());
        for (i, want) in want.iter().enumerate() {
            // Rounding differs between CPUs with and without fused multiply-add.
            assert!(
                (got[i] - want).abs() <= 2e-6 * want.abs(),
                "{dtype:?} {got:?}"
            );
        }
    }
}

const FIRST_F32: [f64; 5] = [
    -1_949.642_58,
    0.241_117_209,
    -1.064_865_23,
    1.375_233_89,
    6.893_537_52,
];
const FIRST_F64: [f64; 5] = [
    -858.543_503_173_798_5,
    -4.869_976_426_297_485,
    -1.013_141_067_220_100_7,
    0.704_483_458_270_272_9,
    6.895_644_692_896_432,
];

#[test]
fn closed_forms_meet_the_reference() {
    let file = golden::file(include_str!("../golden/gamma_family.json"));
    let mut seen = 0;
    for case in file["distributions"].as_array().unwrap() {
        if case["distribution"] != "Gamma" {
            continue;
        }
        seen += 1;
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let parameter = |name: &str| case["params"][name].as_f64().unwrap();
            let (a, b) = (parameter("concentration"), parameter("rate"));
            let x: Vec<f64> = list(&case["x"]).into_iter().flatten().collect();
            let n = x.len();
            let var = |x: Vec<f64>| Var::from_tensor(&tensor(&x, dtype)).unwrap();
            let (a, b) = (var(vec![a; n]), var(vec![b; n]));
            let gamma = Gamma::new(&a, &b).unwrap();
            let value = var(x);
            let log_prob = gamma.log_prob(&value).unwrap();
            let want = list(&case["log_prob"]);
            let cond = list(&case["log_prob_cond"]);
            for (i, got) in flat(&log_prob).iter().enumerate() {
                let what = format!("log_prob {} {i}", case["params"]);
                check(
                    &what,
                    *got,
                    want[i].unwrap(),
                    cond[i].unwrap(),
                    dtype,
                    tolerance,
                );
            }
            // Through the logarithm of the value, where there is one.
            let logs = value.log().unwrap();
            for (i, got) in flat(&gamma.log_prob_of_log(&logs).unwrap())
                .iter()
                .enumerate()
            {
                if flat(&value)[i] >= 0. {
                    let what = format!("log_prob_of_log {} {i}", case["params"]);
                    // ln x is rounded, and exp(ln x) loses what ln x has in digits before the point.
                    let cond = cond[i].unwrap() * (1. + flat(&logs)[i].abs().min(1e3));
                    check(&what, *got, want[i].unwrap(), cond, dtype, 2. * tolerance);
                }
            }
            let gradients = log_prob.sum_all().unwrap().backward().unwrap();
            for (name, var) in [("x", &value), ("concentration", &a), ("rate", &b)] {
                let want = list(&case["grad"][name]);
                let cond = list(&case["grad_cond"][name]);
                let got = flat(gradients.get(var).unwrap());
                for i in 0..n {
                    if let (Some(want), Some(cond)) = (want[i], cond[i]) {
                        let what = format!("gradient of {name} {} {i}", case["params"]);
                        check(&what, got[i], want, cond, dtype, tolerance);
                    }
                    // Finite wherever the value is.
                    assert!(got[i].is_finite());
                }
            }
            let cond = case["entropy_cond"].as_f64().unwrap();
            for (what, got, cond) in [
                ("entropy", gamma.entropy().unwrap(), cond),
                ("mean", gamma.mean().unwrap(), 1.),
                ("variance", gamma.variance().unwrap(), 1.),
            ] {
                let want = case[what].as_f64().unwrap();
                check(what, flat(&got)[0], want, cond, dtype, tolerance);
            }
        }
    }
    assert_eq!(seen, 9);
}

#[test]
fn divergences_meet_the_reference() {
    let file = golden::file(include_str!("../golden/gamma_family.json"));
    let mut seen = 0;
    for case in file["kl"].as_array().unwrap() {
        if case["p"] != "Gamma" {
            continue;
        }
        seen += 1;
        // The terms are summed in double precision, so f32 needs no allowance for cancellation.
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-6)] {
            let build = |side: &str| {
                let parameter = |name: &str| tensor(&[case[side][name].as_f64().unwrap()], dtype);
                Gamma::new(&parameter("concentration"), &parameter("rate")).unwrap()
            };
            let kl = build("p_params").kl(&build("q_params")).unwrap();
            check(
                "kl",
                flat(&kl)[0],
                case["kl"].as_f64().unwrap(),
                1.,
                dtype,
                tolerance,
            );
        }
    }
    assert!(seen >= 6);
}

#[test]
fn edges_are_limits_and_nan_stays() {
    for dtype in [DType::F32, DType::F64] {
        let a = Var::from_tensor(&tensor(&[0.5, 1., 2.], dtype)).unwrap();
        let gamma = Gamma::new(&a, &tensor(&[3.], dtype)).unwrap();
        let inf = f64::INFINITY;
        let rows = [
            (0., [inf, 3f64.ln(), -inf]),
            (-1., [-inf; 3]),
            (-inf, [-inf; 3]),
            (inf, [-inf; 3]),
        ];
        for (x, want) in rows {
            let got = flat(&gamma.log_prob(&tensor(&[x], dtype)).unwrap());
            for (got, want) in got.iter().zip(want) {
                assert!(
                    *got == want || (got - want).abs() < 1e-6,
                    "{x}: {got} {want}"
                );
            }
        }
        let nan = flat(&gamma.log_prob(&tensor(&[f64::NAN], dtype)).unwrap());
        assert!(nan.iter().all(|l| l.is_nan()));
        let nan = flat(&gamma.log_prob_of_log(&tensor(&[f64::NAN], dtype)).unwrap());
        assert!(nan.iter().all(|l| l.is_nan()));
        // Parameters without meaning.
        for (a, b) in [(-0.5, 1.), (0., 1.), (1.5, -1.)] {
            let (a, b) = (tensor(&[a], dtype), tensor(&[b], dtype));
            assert!(Gamma::new(&a, &b).is_err());
            let wrong = Gamma::new_unchecked(&a, &b).unwrap();
            assert!(flat(&wrong.sample(&[], &mut Rng::new(0)).unwrap())[0].is_nan());
        }
        // The rate's gradient at zero is a / b, though d ln x / dx is infinite there.
        let rate = Var::from_tensor(&tensor(&[3.], dtype)).unwrap();
        let one = Gamma::new(&tensor(&[1.], dtype), &rate).unwrap();
        let log_prob = one.log_prob(&tensor(&[0.], dtype)).unwrap();
        let gradient = flat(
            log_prob
                .sum_all()
                .unwrap()
                .backward()
                .unwrap()
                .get(&rate)
                .unwrap(),
        );
        assert!((gradient[0] - 1. / 3.).abs() < 1e-6);
    }
}

#[test]
fn shapes_follow_the_law() -> Result<()> {
    let gamma = Gamma::new(
        &Tensor::ones((2, 1), DType::F32, &CPU)?,
        &Tensor::ones(3, DType::F32, &CPU)?,
    )?;
    assert_eq!(gamma.batch_shape(), [2, 3]);
    assert_eq!(
        gamma.sample(&[4, 0], &mut Rng::new(0))?.dims(),
        [4, 0, 2, 3]
    );
    let x = gamma.sample(&[4], &mut Rng::new(0))?;
    assert_eq!(gamma.log_prob(&x)?.dims(), [4, 2, 3]);
    let scalar = Tensor::new(2f32, &CPU)?;
    let single = Gamma::new(&scalar, &scalar)?;
    assert!(single.sample(&[], &mut Rng::new(0))?.to_scalar::<f32>()? > 0.);
    let half = Gamma::new(
        &scalar.to_dtype(DType::BF16)?,
        &scalar.to_dtype(DType::BF16)?,
    )?;
    assert_eq!(half.sample(&[5], &mut Rng::new(0))?.dtype(), DType::BF16);
    assert!(Gamma::new(&scalar, &scalar.to_dtype(DType::F64)?).is_err());
    let message = gamma
        .log_prob(&Tensor::ones(5, DType::F32, &CPU)?)
        .unwrap_err();
    assert!(
        message.to_string().contains("Gamma::log_prob: value"),
        "{message}"
    );
    let pair = Gamma::new(&Tensor::ones(2, DType::F32, &CPU)?, &scalar)?;
    assert!(gamma.kl(&pair).is_err());
    Ok(())
}

/// Terms of the size of the concentrations cancel before anything is rounded. All arguments are exact in both precisions.
#[test]
fn large_concentrations_keep_their_digits_in_single_precision() -> Result<()> {
    for size in [1f64, 128., 16_384., 1_048_576., 134_217_728.] {
        let log_probs = |dtype| -> Result<Vec<f64>> {
            let t = |x: f64| tensor(&[x], dtype);
            let (a, half, near) = (t(size), t(size / 2.), t(1.0625));
            let out = [
                Gamma::new(&a, &near)?.log_prob(&t(size))?,
                Gamma::new(&a, &near)?.log_prob_of_log(&t(0.))?,
                InverseGamma::new(&a, &t(size * 1.0625))?.log_prob(&t(1.))?,
                Beta::new(&a, &half)?.log_prob(&t(0.6875))?,
                Beta::new(&half, &a)?.log_prob(&t(0.3125))?,
                Beta::new(&a, &near)?.log_prob(&t(0.9375))?,
            ];
            Ok(out.iter().flat_map(flat).collect())
        };
        let (singles, doubles) = (log_probs(DType::F32)?, log_probs(DType::F64)?);
        for (i, (got, want)) in singles.into_iter().zip(doubles).enumerate() {
            let close = (got - want).abs() <= 1e-6 * want.abs().max(1.);
            assert!(close, "{i} of size {size}: {got}, not {want}");
        }
    }
    Ok(())
}

/// What nobody checked ends, and says so: a run that diverged gets NaN, not a loop without end.
#[test]
fn unchecked_parameters_end() -> Result<()> {
    for wrong in [f64::NEG_INFINITY, -1e17, -2.5, 0., f64::NAN] {
        let a = Var::new(wrong, &Device::Cpu)?;
        let one = a.ones_like()?.detach();
        let gamma = Gamma::new_unchecked(&a, &one)?;
        let beta = Beta::new_unchecked(&a, &one)?;
        for number in [
            gamma.entropy()?,
            gamma.kl(&Gamma::new(&one, &one)?)?,
            beta.entropy()?,
            beta.kl(&Beta::new(&one, &one)?)?,
        ] {
            number.backward()?;
            assert!(number.to_scalar::<f64>()?.is_nan(), "{wrong}: {number}");
        }
    }
    Ok(())
}
