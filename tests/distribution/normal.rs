//! The Gaussian families against reference values, numeric integrals, each other and Monte Carlo.

use crate::support::flat;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::distribution::{
    Distribution, Entropy, Kl, LogisticNormal, Moments, MultivariateNormalDiag, Normal, WeightedSum,
};
use candle_prob::{Result, Rng};
use serde_json::Value;

const CPU: Device = Device::Cpu;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/normal.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    let v = v.get("data").unwrap_or(v);
    match v.as_array() {
        Some(a) => a.iter().map(|x| x.as_f64().unwrap()).collect(),
        None => vec![v.as_f64().unwrap()],
    }
}

fn tensor(v: &Value, dtype: DType) -> Tensor {
    Tensor::new(numbers(v), &CPU)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

fn close(got: &[f64], want: &[f64], conditions: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let condition = conditions.get(i).copied().unwrap_or(0.);
        let allowed = tolerance * w.abs().max(1.).max(condition);
        assert!((g - w).abs() <= allowed, "{what} [{i}]: {g} != {w}");
    }
}

const BOTH: [(DType, f64); 2] = [(DType::F64, 1e-11), (DType::F32, 1e-5)];

#[test]
fn log_prob_and_its_derivatives_have_the_reference_values() -> Result<()> {
    for case in golden()["log_prob"].as_array().unwrap() {
        for (dtype, tolerance) in BOTH {
            let x = Var::from_tensor(&tensor(&case["x"], dtype))?;
            let loc = Var::from_tensor(&tensor(&case["params"]["loc"], dtype))?;
            let scale = Var::from_tensor(&tensor(&case["params"]["scale"], dtype))?;
            let wide = |v: &Var| v.broadcast_as(x.shape());
            // One leaf per element, so that derivatives are compared point by point.
            let (loc, scale) = (
                Var::from_tensor(&wide(&loc)?)?,
                Var::from_tensor(&wide(&scale)?)?,
            );
            let normal = Normal::new(&loc, &scale)?;
            let log_prob = normal.log_prob(&x)?;
            let what = format!("{:?} {dtype:?}", case["params"]);
            let condition = numbers(&case["log_prob_cond"]);
            close(
                &flat(&log_prob),
                &numbers(&case["log_prob"]),
                &condition,
                tolerance,
                &what,
            );
            let store = log_prob.sum_all()?.backward()?;
            for (name, leaf) in [("x", &x), ("loc", &loc), ("scale", &scale)] {
                let got = flat(store.get(leaf).unwrap());
                let condition = numbers(&case["grad_cond"][name]);
                close(
                    &got,
                    &numbers(&case["grad"][name]),
                    &condition,
                    tolerance,
                    &format!("{what} {name}"),
                );
            }
            let entropy = flat(&normal.entropy()?)[0];
            let condition = numbers(&case["entropy_cond"]);
            close(
                &[entropy],
                &numbers(&case["entropy"]),
                &condition,
                tolerance,
                &what,
            );
            let (mean, variance) = (flat(&normal.mean()?)[0], flat(&normal.variance()?)[0]);
            close(&[mean], &numbers(&case["mean"]), &[], tolerance, &what);
            close(
                &[variance],
                &numbers(&case["variance"]),
                &[],
                tolerance,
                &what,
            );
        }
    }
    let case = &golden()["gaussian_log_likelihood"][0];
    for (dtype, tolerance) in BOTH {
        let shape = (3, 5);
        let mean = Var::from_tensor(&tensor(&case["mean"], dtype).reshape(shape)?)?;
        let x = tensor(&case["x"], dtype).reshape(shape)?;
        let rows = MultivariateNormalDiag::new(&mean, &tensor(&case["sigma"], dtype))?;
        let value = rows.log_prob(&x)?;
        close(
            &flat(&value),
            &numbers(&case["per_example"]),
            &[],
            tolerance,
            "likelihood",
        );
        let store = value.sum_all()?.backward()?;
        close(
            &flat(store.get(&mean).unwrap()),
            &numbers(&case["grad_mean"]),
            &[],
            tolerance,
            "mean",
        );
    }
    Ok(())
}

#[test]
fn divergences_have_the_reference_values() -> Result<()> {
    let golden = golden();
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
        for list in ["kl", "independent_kl"] {
            for case in golden[list].as_array().unwrap() {
                let [p, q] = ["p_params", "q_params"].map(|side| {
                    [&case[side]["loc"], &case[side]["scale"]].map(|v| tensor(v, dtype))
                });
                let want = numbers(&case["kl"]);
                let diag = |[loc, scale]: &[Tensor; 2]| MultivariateNormalDiag::new(loc, scale);
                let by_log_var = |[loc, scale]: &[Tensor; 2]| {
                    MultivariateNormalDiag::from_log_var(loc, &(scale.log()? * 2.)?)
                };
                let rows = |[loc, scale]: &[Tensor; 2]| Normal::new(loc, scale)?.to_event(1);
                let got = [
                    diag(&p)?.kl(&diag(&q)?)?,
                    by_log_var(&p)?.kl(&by_log_var(&q)?)?,
                    by_log_var(&p)?.kl(&diag(&q)?)?,
                    rows(&p)?.kl(&rows(&q)?)?,
                ];
                for (form, got) in got.iter().enumerate() {
                    close(
                        &flat(got),
                        &want,
                        &[],
                        tolerance,
                        &format!("{list} form {form} {dtype:?}"),
                    );
                }
            }
        }
        for case in golden["kl_to_standard"].as_array().unwrap() {
            let loc = Var::from_tensor(&tensor(&case["p_params"]["loc"], dtype))?;
            let log_var = Var::from_tensor(&tensor(&case["p_params"]["log_variance"], dtype))?;
            let p = MultivariateNormalDiag::from_log_var(&loc, &log_var)?;
            let prior = MultivariateNormalDiag::standard(loc.elem_count(), dtype, &CPU)?;
            let one = loc.ones_like()?;
            let other = MultivariateNormalDiag::new(&one.zeros_like()?, &one)?;
            let sampled = p.sample_and_kl(&prior, &[3], &mut Rng::new(1))?.1;
            for kl in [p.kl_to_standard()?, p.kl(&prior)?, p.kl(&other)?, sampled] {
                close(
                    &flat(&kl),
                    &numbers(&case["kl"]),
                    &[],
                    tolerance,
                    "to standard",
                );
                let store = kl.sum_all()?.backward()?;
                for (leaf, name) in [(&loc, "grad_loc"), (&log_var, "grad_log_variance")] {
                    close(
                        &flat(store.get(leaf).unwrap()),
                        &numbers(&case[name]),
                        &[],
                        tolerance,
                        name,
                    );
                }
            }
        }
    }
    Ok(())
}

/// KL ~ d^2 between scales 1 and 1 + d: the textbook formula leaves nothing but rounding errors for small d.
#[test]
fn divergence_of_near_equal_normals_does_not_cancel() -> Result<()> {
    for (dtype, unit) in [(DType::F64, 2.3e-16), (DType::F32, 1.2e-7)] {
        for power in 3..11 {
            let d = 2f64.powi(-power);
            // d^2/2 + d - ln(1 + d), by its series
            let want = (2..40).map(|k| (-d).powi(k) / f64::from(k)).sum::<f64>() + 0.5 * d * d;
            let at = |x: f64| Tensor::new(&[x], &CPU)?.to_dtype(dtype);
            let (zero, one) = (at(0.)?, at(1.)?);
            let near = MultivariateNormalDiag::new(&zero, &at(1. + d)?)?;
            let unity = MultivariateNormalDiag::new(&zero, &one)?;
            for got in [near.kl(&unity)?, near.kl_to_standard()?] {
                let error = (flat(&got)[0] / want - 1.).abs();
                assert!(error < 4. * unit / d, "{dtype:?} {d}: {error}");
            }
            // In log-variances 2 h the difference h is exact: KL = ((e^h - 1)^2 + 2 (e^h - 1 - h)) / 2
            let want = (2..30).fold((0., d), |(sum, term), k| {
                let term = term * d / f64::from(k);
                (sum + term, term)
            });
            let want = want.0 + 0.5 * d.exp_m1().powi(2);
            let near = MultivariateNormalDiag::from_log_var(&zero, &at(2. * d)?)?;
            let unity = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
            for got in [near.kl(&unity)?, near.kl_to_standard()?] {
                let error = (flat(&got)[0] / want - 1.).abs();
                let allowed = if dtype == DType::F32 {
                    1e-6
                } else {
                    4. * unit / d
                };
                assert!(error < allowed, "{dtype:?} log-variance {d}: {error}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_same_stream_gives_the_same_draw_in_every_form() -> Result<()> {
    let noise = |seed| Rng::new(seed).normal((50, 17), DType::F32, &CPU);
    let (loc, log_var) = (noise(1)?, noise(2)?);
    let scale = (&log_var * 0.5)?.exp()?;
    let eps = Rng::new(3).normal((7, 50, 17), DType::F32, &CPU)?;
    let want = eps.broadcast_mul(&scale)?.broadcast_add(&loc)?;
    let standard = MultivariateNormalDiag::standard(17, DType::F32, &CPU)?;
    let draw = |p: &dyn Distribution| p.sample(&[7], &mut Rng::new(3));
    let diag = MultivariateNormalDiag::from_log_var(&loc, &log_var)?;
    for z in [
        draw(&diag)?,
        draw(&MultivariateNormalDiag::new(&loc, &scale)?)?,
        draw(&Normal::new(&loc, &scale)?)?,
        draw(&Normal::from_log_var(&loc, &log_var)?.to_event(1)?)?,
        diag.sample_and_kl(&standard, &[7], &mut Rng::new(3))?.0,
    ] {
        close(&flat(&z), &flat(&want), &[], 1e-6, "draw");
    }
    // A fresh draw moves the source on by one, in every form.
    let (mut a, mut b) = (Rng::new(9), Rng::new(9));
    diag.sample_and_kl(&standard, &[], &mut a)?;
    b.normal(1, DType::F32, &CPU)?;
    assert_eq!(a, b);
    Ok(())
}

#[test]
fn diagonal_agrees_with_independent() -> Result<()> {
    let noise = |seed, shape: &[usize]| Rng::new(seed).normal(shape, DType::F64, &CPU);
    let (loc, scale) = (noise(1, &[4, 3])?, noise(2, &[3])?.exp()?);
    let diag = MultivariateNormalDiag::new(&loc, &scale)?;
    let rows = Normal::new(&loc, &scale)?.to_event(1)?;
    let x = noise(3, &[5, 4, 3])?;
    assert_eq!(diag.batch_shape(), rows.batch_shape());
    assert_eq!(diag.event_shape(), rows.event_shape());
    close(
        &flat(&diag.log_prob(&x)?),
        &flat(&rows.log_prob(&x)?),
        &[],
        1e-13,
        "log_prob",
    );
    close(
        &flat(&diag.entropy()?),
        &flat(&rows.entropy()?),
        &[],
        1e-13,
        "entropy",
    );
    close(
        &flat(&diag.variance()?),
        &flat(&rows.variance()?),
        &[],
        1e-13,
        "variance",
    );
    close(
        &flat(&diag.scale()?),
        &flat(&rows.base().scale()?),
        &[],
        1e-13,
        "scale",
    );
    close(
        &flat(&diag.log_var()?.exp()?),
        &flat(&diag.variance()?),
        &[],
        1e-13,
        "log-variance",
    );
    Ok(())
}

#[test]
fn weighted_sums_have_the_law_of_the_sum() -> Result<()> {
    let noise = |seed, shape: &[usize]| Rng::new(seed).normal(shape, DType::F64, &CPU);
    let (loc, scale) = (noise(1, &[2, 3, 4])?, noise(2, &[2, 3, 4])?.exp()?);
    let components = MultivariateNormalDiag::new(&loc, &scale)?;
    let weights = noise(3, &[2, 3])?
        .broadcast_as((40_000, 2, 3))?
        .contiguous()?;
    let z = components.sample_weighted_sum(&weights, &mut Rng::new(4))?;
    assert_eq!(z.dims(), &[40_000, 2, 4]);
    let w = noise(3, &[2, 3])?.unsqueeze(2)?;
    let want_mean = flat(&w.broadcast_mul(&loc)?.sum(1)?);
    let want_variance = flat(&w.sqr()?.broadcast_mul(&scale.sqr()?)?.sum(1)?);
    let mean = z.mean_keepdim(0)?;
    let variance = flat(&z.broadcast_sub(&mean)?.sqr()?.mean(0)?);
    let mean = flat(&mean);
    // Within 5 standard errors in each of 16 numbers: wrong by chance with probability below 1e-5.
    for i in 0..8 {
        let error = (want_variance[i] / 40_000.).sqrt();
        assert!((mean[i] - want_mean[i]).abs() < 5. * error);
        let error = want_variance[i] * (2f64 / 40_000.).sqrt();
        assert!((variance[i] - want_variance[i]).abs() < 5. * error);
    }
    let scalars = Normal::new(&loc.i_last()?, &scale.i_last()?)?;
    assert_eq!(
        scalars
            .sample_weighted_sum(&weights, &mut Rng::new(4))?
            .dims(),
        &[40_000, 2]
    );
    Ok(())
}

trait FirstElement {
    fn i_last(&self) -> Result<Tensor>;
}

impl FirstElement for Tensor {
    fn i_last(&self) -> Result<Tensor> {
        Ok(self.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?)
    }
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU);
    let one = zeros(&[3])?.ones_like()?;
    assert!(MultivariateNormalDiag::new(&zeros(&[])?, &zeros(&[])?).is_err());
    assert!(MultivariateNormalDiag::new(&zeros(&[4])?, &one).is_err());
    assert!(MultivariateNormalDiag::standard(0, DType::F32, &CPU).is_err());
    assert!(MultivariateNormalDiag::standard(2, DType::U32, &CPU).is_err());
    assert!(MultivariateNormalDiag::from_log_var(&zeros(&[2, 0])?, &zeros(&[])?).is_err());
    let diag = MultivariateNormalDiag::new(&zeros(&[5, 3])?, &one)?;
    assert!(diag.log_prob(&zeros(&[5, 1])?).is_err());
    assert!(diag.log_prob(&zeros(&[4, 3])?).is_err());
    assert!(
        diag.log_prob(&zeros(&[5, 3])?.to_dtype(DType::F64)?)
            .is_err()
    );
    assert!(
        diag.kl(&MultivariateNormalDiag::standard(2, DType::F32, &CPU)?)
            .is_err()
    );
    assert!(
        diag.kl(&MultivariateNormalDiag::standard(3, DType::F64, &CPU)?)
            .is_err()
    );
    let wide = Normal::new(&zeros(&[4])?, &zeros(&[1])?.ones_like()?)?;
    assert!(wide.kl(&Normal::new(&zeros(&[3])?, &one)?).is_err());
    assert!(LogisticNormal::laplace_dirichlet(&zeros(&[2, 1])?).is_err());
    assert!(LogisticNormal::laplace_dirichlet(&zeros(&[])?).is_err());
    // Empty values and no draws are fine.
    assert_eq!(diag.log_prob(&zeros(&[0, 5, 3])?)?.dims(), &[0, 5]);
    let standard = MultivariateNormalDiag::standard(3, DType::F32, &CPU)?;
    let (z, rate) = diag.sample_and_kl(&standard, &[0], &mut Rng::new(1))?;
    assert_eq!((z.dims(), rate.dims()), (&[0, 5, 3][..], &[5][..]));
    assert_eq!(rate.to_vec1::<f32>()?, vec![0.; 5]);
    Ok(())
}

#[test]
fn logistic_normal_integrates_to_one() -> Result<()> {
    // K = 2, on a grid of the logit of y: dy = y (1 - y) dl
    let loc = Tensor::new(&[0.7f64, -0.4], &CPU)?;
    let scale = Tensor::new(&[0.8f64, 1.3], &CPU)?;
    let p = LogisticNormal::new(&loc, &scale)?;
    let step = 0.01;
    let logits: Vec<f64> = (-2000..=2000).map(|i| f64::from(i) * step).collect();
    let y: Vec<f64> = logits.iter().map(|l| 1. / (1. + (-l).exp())).collect();
    let pairs: Vec<f64> = logits
        .iter()
        .flat_map(|l| [1. / (1. + (-l).exp()), 1. / (1. + l.exp())])
        .collect();
    let log_prob = flat(&p.log_prob(&Tensor::from_vec(pairs, (4001, 2), &CPU)?)?);
    let total: f64 = log_prob
        .iter()
        .zip(&y)
        .map(|(l, y)| l.exp() * y * (1. - y) * step)
        .sum();
    assert!((total - 1.).abs() < 1e-6, "{total}");

    // K = 3, on a grid of logits against the third: dy_1 dy_2 = y_1 y_2 y_3 dl_1 dl_2
    let loc = Tensor::new(&[0.5f64, -0.2, 0.1], &CPU)?;
    let scale = Tensor::new(&[0.6f64, 1.1, 0.9], &CPU)?;
    let p = LogisticNormal::from_log_var(&loc, &(scale.log()? * 2.)?)?;
    let step = 0.1;
    let mut rows = vec![];
    for i in -100..=100 {
        for j in -100..=100 {
            let e = [f64::from(i) * step, f64::from(j) * step, 0.].map(f64::exp);
            let total: f64 = e.iter().sum();
            rows.extend(e.map(|e| e / total));
        }
    }
    let n = rows.len() / 3;
    let log_prob = flat(&p.log_prob(&Tensor::from_vec(rows.clone(), (n, 3), &CPU)?)?);
    let total: f64 = log_prob
        .iter()
        .zip(rows.chunks(3))
        .map(|(l, y)| l.exp() * y.iter().product::<f64>() * step * step)
        .sum();
    assert!((total - 1.).abs() < 1e-6, "{total}");
    Ok(())
}

#[test]
fn logistic_normal_keeps_the_rules() -> Result<()> {
    let loc = Var::new(&[[0.5f32, -0.2, 0.1]], &CPU)?;
    let log_var = Var::new(&[[-1.0f32, 0.3, 0.]], &CPU)?;
    let p = LogisticNormal::from_log_var(&loc, &log_var)?;
    let value = Tensor::new(
        &[
            [[0.2f32, 0.3, 0.5]],
            [[0.5, 0.5, 0.]],
            [[0.5, 0.6, -0.1]],
            [[0.2, 0.2, 0.2]],
            [[f32::NAN, 0.5, 0.5]],
            [[f32::INFINITY, 0., 0.]],
        ],
        &CPU,
    )?;
    let value = Var::from_tensor(&value)?;
    let log_prob = p.log_prob(&value)?;
    let got = flat(&log_prob);
    assert!(got[0].is_finite() && got[4].is_nan());
    for i in [1, 2, 3, 5] {
        assert_eq!(got[i], f64::NEG_INFINITY, "{i}");
    }
    // Rows outside leave no trace in the gradients.
    let store = log_prob.narrow(0, 0, 4)?.sum_all()?.backward()?;
    for leaf in [&loc, &log_var, &value] {
        assert!(flat(store.get(leaf).unwrap()).iter().all(|g| g.is_finite()));
    }
    // A draw whose small elements underflow has a finite density.
    let far = LogisticNormal::new(
        &Tensor::new(&[200f32, 0., -200.], &CPU)?,
        &Tensor::new(&[1f32, 1., 1.], &CPU)?,
    )?;
    let (y, density) = far.sample_and_log_prob(&[10], &mut Rng::new(1))?;
    assert!(flat(&y).contains(&0.) && flat(&density).iter().all(|l| l.is_finite()));
    let (y, density) = p.sample_and_log_prob(&[10], &mut Rng::new(1))?;
    close(
        &flat(&density),
        &flat(&p.log_prob(&y)?),
        &[],
        1e-4,
        "density",
    );
    assert_eq!(flat(&y), flat(&p.sample(&[10], &mut Rng::new(1))?));
    // KL of the logits.
    let prior = LogisticNormal::standard(3, DType::F32, &CPU)?;
    let (z, kl) = p.sample_and_kl(&prior, &[2], &mut Rng::new(1))?;
    assert_eq!(flat(&kl), flat(&p.kl_to_standard()?));
    assert_eq!(z.dims(), &[2, 1, 3]);
    Ok(())
}

/// The Laplace approximation has the Dirichlet's mean logits and nearly its mean; the bridge is its own inverse for
/// equal parameters, where `var = (1 - 1 / K) / a`.
#[test]
fn laplace_approximation_of_a_dirichlet() -> Result<()> {
    let p = LogisticNormal::laplace_dirichlet(&Tensor::new(&[2f64, 3., 5.], &CPU)?)?;
    let mean_log = (2f64.ln() + 3f64.ln() + 5f64.ln()) / 3.;
    let total = (1. / 2. + 1. / 3. + 1. / 5.) / 9.;
    let logits = p.logits();
    let loc: Vec<f64> = [2f64, 3., 5.].iter().map(|a| a.ln() - mean_log).collect();
    let variance: Vec<f64> = [2f64, 3., 5.]
        .iter()
        .map(|a| (1. / 3.) / a + total)
        .collect();
    close(&flat(logits.loc()), &loc, &[], 1e-14, "loc");
    close(
        &flat(&logits.variance()?),
        &variance,
        &[],
        1e-14,
        "variance",
    );
    let even = LogisticNormal::laplace_dirichlet(&Tensor::new(&[4f64; 5], &CPU)?)?;
    close(&flat(even.logits().loc()), &[0.; 5], &[], 1e-14, "loc");
    close(
        &flat(&even.logits().variance()?),
        &[0.8 / 4.; 5],
        &[],
        1e-14,
        "variance",
    );
    Ok(())
}

/// Central differences: see `candle_prob::testing`.
#[cfg(feature = "testing")]
mod gradients {
    use super::*;
    use candle_prob::testing::check_gradient;

    fn parameters(shapes: &[&[usize]]) -> Vec<Tensor> {
        shapes
            .iter()
            .enumerate()
            .map(|(i, s)| Rng::new(i as u64).normal(*s, DType::F64, &CPU).unwrap())
            .collect()
    }

    #[test]
    fn gradients_of_the_logistic_normal() -> Result<()> {
        let mut p = parameters(&[&[2, 3], &[3], &[4, 2, 3]]);
        p[1] = p[1].exp()?;
        check_gradient(
            &|p| {
                let y = candle_nn::ops::softmax(&p[2], D::Minus1)?;
                LogisticNormal::new(&p[0], &p[1])?.log_prob(&y)
            },
            &p,
            1e-6,
        )?;
        check_gradient(
            &|p| LogisticNormal::new(&p[0], &p[1])?.sample(&[4], &mut Rng::new(7)),
            &p[..2],
            1e-6,
        )?;
        check_gradient(
            &|p| {
                let (y, density) = LogisticNormal::laplace_dirichlet(&p[0].exp()?)?
                    .sample_and_log_prob(&[4], &mut Rng::new(7))?;
                Ok((y.sum(D::Minus1)? + density)?)
            },
            &p[..1],
            1e-6,
        )
    }
}

#[test]
fn precisions_of_logits_beyond_the_range_of_the_dtype() -> Result<()> {
    // 1 / scale^2 overflows, 1 / scale does not.
    let loc = Tensor::new(&[0f32, 0.], &Device::Cpu)?;
    let even = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
    let d = LogisticNormal::new(&loc, &loc.affine(0., 1e-25)?)?;
    let got = d.log_prob(&even)?.to_scalar::<f32>()? as f64;
    // Of two logits: the density of ln(y / (1 - y)), of scale sqrt(2) 1e-25, times 1 / (y (1 - y)).
    let want = -(2f64.sqrt() * 1e-25).ln() - std::f64::consts::TAU.ln() / 2. + 4f64.ln();
    assert!((got - want).abs() < 1e-4, "{got} is not {want}");
    Ok(())
}
