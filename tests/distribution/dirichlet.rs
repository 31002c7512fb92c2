//! Dirichlet draws, their pathwise gradients, and the closed forms of the family.

use crate::support::flat;
use crate::support::golden;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::distribution::{Dirichlet, Distribution, Entropy, Kl, Moments};
use candle_prob::{Result, Rng};
use golden::{check, list};
use statrs::function::gamma::{digamma, ln_gamma};

const CPU: Device = Device::Cpu;

fn tensor(values: &[f64], dtype: DType) -> Tensor {
    Tensor::new(values, &CPU).unwrap().to_dtype(dtype).unwrap()
}

fn dirichlet(concentration: &[f64], dtype: DType) -> Dirichlet {
    Dirichlet::new(&tensor(concentration, dtype)).unwrap()
}

/// 4e4 draws; the probability of a largest coordinate above .999 is .986, and each vertex is as likely as the others:
/// .003 and .01 are 5 and 4.2 standard errors.
#[test]
fn sparse_draws_sit_at_vertices() {
    let n = 40_000;
    for dtype in [DType::F32, DType::F64] {
        let sparse = dirichlet(&[1e-3; 3], dtype);
        let x = sparse.sample(&[n], &mut Rng::new(2)).unwrap();
        let x = flat(&x);
        let (mut near, mut vertices) = (0, [0; 3]);
        for row in x.chunks(3) {
            assert!(row.iter().all(|x| x.is_finite() && *x >= 0.));
            assert!((row.iter().sum::<f64>() - 1.).abs() < 1e-6);
            let winner = (0..3).max_by(|i, j| row[*i].total_cmp(&row[*j])).unwrap();
            vertices[winner] += 1;
            near += usize::from(row[winner] >= 0.999);
        }
        let share = |count: usize| count as f64 / n as f64;
        assert!((share(near) - 0.986).abs() < 0.003, "{}", share(near));
        for count in vertices {
            assert!((share(count) - 1. / 3.).abs() < 0.01, "{}", share(count));
        }
        // As logarithms nothing underflows, and every draw has a density.
        let log_x = sparse.sample_log(&[n], &mut Rng::new(2)).unwrap();
        let density = sparse.log_prob_of_log(&log_x).unwrap();
        assert!(
            flat(&log_x)
                .iter()
                .chain(&flat(&density))
                .all(|l| l.is_finite())
        );
        for (x, l) in x.iter().zip(flat(&log_x)) {
            assert!((x - l.exp()).abs() < 1e-5, "{x} {l}");
        }
    }
}

/// d E[x_i^k] / d a_j by draws. 24 comparisons at 4.5 standard errors: 2e-4 in all.
#[test]
fn pathwise_gradients_are_unbiased() {
    let a = [0.3, 1.5, 4.];
    let n = 100_000;
    for dtype in [DType::F32, DType::F64] {
        let n = if dtype == DType::F64 { n / 5 } else { n };
        let rows = tensor(&a, dtype).broadcast_as((n, 3)).unwrap();
        let concentration = Var::from_tensor(&rows.contiguous().unwrap()).unwrap();
        let family = Dirichlet::new(&concentration).unwrap();
        let x = family.sample(&[], &mut Rng::new(3)).unwrap();
        let total: f64 = a.iter().sum();
        for (i, k) in [(0, 1), (1, 1), (1, 2), (2, 3)] {
            let coordinate = x.narrow(1, i, 1).unwrap();
            let power = (1..k).fold(coordinate.clone(), |p, _| (p * &coordinate).unwrap());
            let gradients = power.sum_all().unwrap().backward().unwrap();
            let each = flat(gradients.get(&concentration).unwrap());
            let k = f64::from(k);
            let moment =
                (ln_gamma(a[i] + k) - ln_gamma(a[i]) + ln_gamma(total) - ln_gamma(total + k)).exp();
            for j in 0..3 {
                let own = if i == j {
                    digamma(a[i] + k) - digamma(a[i])
                } else {
                    0.
                };
                let want = moment * (own + digamma(total) - digamma(total + k));
                let mean = each.iter().skip(j).step_by(3).sum::<f64>() / n as f64;
                let squares = each.iter().skip(j).step_by(3).map(|g| (g - mean).powi(2));
                let error = squares.sum::<f64>().sqrt() / n as f64;
                assert!(
                    (mean - want).abs() < 4.5 * error,
                    "{dtype:?} d E[x_{i}^{k}] / d a_{j}: {mean} +- {error}, not {want}"
                );
            }
        }
    }
}

#[test]
fn extreme_concentrations_have_finite_draws_and_gradients() {
    for dtype in [DType::F32, DType::F64] {
        let values: Vec<f64> = (0..=60).map(|i| 10f64.powf(i as f64 / 5. - 6.)).collect();
        let a = Var::from_tensor(&tensor(&values, dtype)).unwrap();
        // Ascending beside descending: pairs of very different concentrations, and of equal ones.
        let flipped = a.flip(&[0]).unwrap();
        let pairs = Tensor::stack(&[a.as_tensor(), &flipped, a.as_tensor()], 1).unwrap();
        let family = Dirichlet::new(&pairs).unwrap();
        for log in [true, false] {
            let mut rng = Rng::new(1);
            let x = match log {
                true => family.sample_log(&[200], &mut rng).unwrap(),
                false => family.sample(&[200], &mut rng).unwrap(),
            };
            assert!(flat(&x).iter().all(|x| x.is_finite()));
            let loss = (x.narrow(2, 0, 1).unwrap().sqr().unwrap())
                .sum_all()
                .unwrap();
            let gradients = loss.backward().unwrap();
            let gradient = flat(gradients.get(&a).unwrap());
            assert!(gradient.iter().all(|g| g.is_finite()), "{log} {gradient:?}");
        }
    }
}

/// The first draws of seed 0. A change here is value-breaking and belongs into the changelog.
#[test]
fn first_draws_are_pinned() {
    for (dtype, want) in [(DType::F32, FIRST_F32), (DType::F64, FIRST_F64)] {
        let family = dirichlet(&[0.01, 0.5, 1., 20.], dtype);
        let got = flat(&family.sample_log(&[], &mut Rng::new(0)).unwrap());
        for (i, want) in want.iter().enumerate() {
            // Rounding differs between CPUs with and without fused multiply-add.
            assert!(
                (got[i] - want).abs() <= 3e-6 * want.abs(),
                "{dtype:?} {got:?}"
            );
        }
    }
}

const FIRST_F32: [f64; 4] = [-198.945_572, -3.015_635_97, -4.321_618_56, -0.064_317_822_5];
const FIRST_F64: [f64; 4] = [
    -89.702_480_756_534_44,
    -7.845_370_340_096_537_6,
    -3.988_534_981_019_153_5,
    -0.019_099_639_375_128_16,
];

#[test]
fn closed_forms_meet_the_reference() {
    let file = golden::file(include_str!("../golden/gamma_family.json"));
    let mut seen = 0;
    for case in file["distributions"].as_array().unwrap() {
        if case["distribution"] != "Dirichlet" {
            continue;
        }
        seen += 1;
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let a: Vec<f64> = list(&case["params"]["concentration"])
                .into_iter()
                .flatten()
                .collect();
            let k = a.len();
            let x: Vec<f64> = list(&case["x"]).into_iter().flatten().collect();
            let n = x.len() / k;
            let var = |x: Vec<f64>| {
                let x = tensor(&x, dtype).reshape((n, k)).unwrap();
                Var::from_tensor(&x).unwrap()
            };
            let (a, value) = (var(a.repeat(n)), var(x));
            let family = Dirichlet::new(&a).unwrap();
            let log_prob = family.log_prob(&value).unwrap();
            let of_log = flat(&family.log_prob_of_log(&value.log().unwrap()).unwrap());
            let want = list(&case["log_prob"]);
            let cond: Vec<f64> = list(&case["log_prob_cond"]).into_iter().flatten().collect();
            for (i, got) in flat(&log_prob).iter().enumerate() {
                let what = format!("log_prob {} {i}", case["params"]);
                check(&what, *got, want[i].unwrap(), cond[i], dtype, tolerance);
                check(
                    &what,
                    of_log[i],
                    want[i].unwrap(),
                    10. * cond[i],
                    dtype,
                    tolerance,
                );
            }
            let gradients = log_prob.sum_all().unwrap().backward().unwrap();
            for (name, var) in [("x", &value), ("concentration", &a)] {
                let want = list(&case["grad"][name]);
                let conditions = case.get("grad_cond").map(|c| list(&c[name]));
                for (i, got) in flat(gradients.get(var).unwrap()).iter().enumerate() {
                    let cond = conditions.as_ref().map_or(Some(cond[i / k]), |c| c[i]);
                    if let (Some(want), Some(cond)) = (want[i], cond) {
                        let what = format!("gradient of {name} {} {i}", case["params"]);
                        check(&what, *got, want, cond, dtype, tolerance);
                    }
                }
            }
            let entropy = flat(&family.entropy().unwrap())[0];
            let cond = case["entropy_cond"].as_f64().unwrap();
            let want = case["entropy"].as_f64().unwrap();
            check("entropy", entropy, want, cond, dtype, tolerance);
            for (what, got) in [("mean", family.mean()), ("variance", family.variance())] {
                for (got, want) in flat(&got.unwrap()).iter().zip(list(&case[what])) {
                    let want = want.unwrap();
                    assert!(
                        (got - want).abs() < tolerance * want,
                        "{what}: {got} {want}"
                    );
                }
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
        if case["p"] != "Dirichlet" {
            continue;
        }
        seen += 1;
        // The terms are summed in double precision, so f32 needs no allowance for cancellation.
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-6)] {
            let build = |side: &str| {
                let a = list(&case[side]["concentration"]);
                dirichlet(&a.into_iter().flatten().collect::<Vec<f64>>(), dtype)
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
    assert_eq!(seen, 5);
}

#[test]
fn the_support_is_the_simplex() {
    let inf = f64::INFINITY;
    for dtype in [DType::F32, DType::F64] {
        let rows = [
            ([1., 1., 1.], [0., 0.5, 0.5], 2f64.ln()),
            ([1., 1., 1.], [0., 0., 1.], 2f64.ln()),
            ([1., 2., 1.], [0.5, 0., 0.5], -inf),
            ([1., 0.5, 1.], [0.5, 0., 0.5], inf),
            // One attracts, one repels.
            ([2., 0.5, 1.], [0., 0., 1.], -inf),
            ([1., 1., 1.], [0.5, 0.6, -0.1], -inf),
            ([0.5, 1., 1.], [0.5, 0.6, -0.1], -inf),
            ([1., 1., 1.], [0.5, 0.5, 0.5], -inf),
            ([1., 1., 1.], [0.2, 0.3, 0.50001], -inf),
            ([2., 0.5, 1.], [inf, 0., 0.], -inf),
        ];
        for (a, x, want) in rows {
            let got = dirichlet(&a, dtype).log_prob(&tensor(&x, dtype)).unwrap();
            let got = flat(&got)[0];
            assert!(
                got == want || (got - want).abs() < 1e-6,
                "{a:?} {x:?}: {got} {want}"
            );
        }
        for x in [[f64::NAN, 0.5, 0.5], [f64::NAN, 0., 1.]] {
            let got = dirichlet(&[2., 2., 0.5], dtype)
                .log_prob(&tensor(&x, dtype))
                .unwrap();
            assert!(flat(&got)[0].is_nan());
        }
    }
}

#[test]
fn log_prob_gradients_meet_differences() -> Result<()> {
    // The simplex has no room for a step in one coordinate, so the concentrations alone are tested here; gradients in
    // the value are compared with the reference.
    let x = Tensor::new(&[[0.2f64, 0.3, 0.5], [1e-9, 0.4, 0.6]], &CPU)?;
    let a = Tensor::new(&[[1.2f64, 0.3, 2.5], [0.4, 4., 0.6]], &CPU)?;
    candle_prob::testing::check_gradient(
        &|p: &[Tensor]| Dirichlet::new(&p[0])?.log_prob(&x),
        &[a],
        1e-6,
    )
}

#[test]
fn shapes_follow_the_law() -> Result<()> {
    let family = Dirichlet::new(&Tensor::ones((2, 1, 5), DType::F32, &CPU)?)?;
    assert_eq!(
        (family.batch_shape(), family.event_shape()),
        (&[2, 1][..], &[5][..])
    );
    let x = family.sample(&[3, 4], &mut Rng::new(0))?;
    assert_eq!(x.dims(), [3, 4, 2, 1, 5]);
    assert_eq!(family.log_prob(&x)?.dims(), [3, 4, 2, 1]);
    assert_eq!(family.sample(&[0], &mut Rng::new(0))?.dims(), [0, 2, 1, 5]);
    assert_eq!(family.entropy()?.dims(), [2, 1]);
    // A row longer than a block of random numbers.
    let long = Dirichlet::new(&Tensor::full(2f32, 10_000, &CPU)?)?;
    let x = long.sample(&[7], &mut Rng::new(0))?;
    for total in x.sum(D::Minus1)?.to_vec1::<f32>()? {
        assert!((total - 1.).abs() < 1e-4);
    }
    assert!(Dirichlet::new(&Tensor::new(1f32, &CPU)?).is_err());
    assert!(Dirichlet::new(&Tensor::zeros((2, 0), DType::F32, &CPU)?).is_err());
    let message = family
        .log_prob(&Tensor::ones((2, 3), DType::F32, &CPU)?)
        .unwrap_err();
    assert!(
        message.to_string().contains("Dirichlet::log_prob: value"),
        "{message}"
    );
    let other = Dirichlet::new(&Tensor::ones((2, 1, 4), DType::F32, &CPU)?)?;
    assert!(family.kl(&other).is_err());
    Ok(())
}
