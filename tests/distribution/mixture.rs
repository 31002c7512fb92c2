//! Mixtures against reference values, central differences, the generic path and frequencies.

use crate::support::families::{Domain, every};
use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng};
use serde_json::Value;

fn numbers(v: &Value) -> Vec<f64> {
    match v {
        Value::Array(a) => a.iter().flat_map(numbers).collect(),
        Value::Object(o) => numbers(&o["data"]),
        Value::String(s) => vec![s.parse().unwrap()],
        v => vec![v.as_f64().unwrap()],
    }
}

fn array(v: &Value, dtype: DType) -> Result<Tensor> {
    let data = numbers(v);
    let dims = match v.get("shape") {
        Some(s) => numbers(s).iter().map(|d| *d as usize).collect(),
        None => vec![data.len()],
    };
    Ok(Tensor::from_vec(data, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

type Rows = MixtureSameFamily<Independent<Normal>>;

fn mixture(logits: &Tensor, loc: &Tensor, scale: &Tensor) -> Result<Rows> {
    MixtureSameFamily::new(
        Categorical::new(logits)?,
        Normal::new(loc, scale)?.to_event(1)?,
    )
}

#[test]
fn densities_moments_and_gradients_are_the_reference() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../golden/mixture.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-11)] {
            let params = ["logits", "loc", "scale"]
                .map(|p| Var::from_tensor(&array(&case["params"][p], dtype).unwrap()).unwrap());
            let [logits, loc, scale] = &params;
            let x = Var::from_tensor(&array(&case["x"], dtype)?)?;
            let d = mixture(logits, loc, scale)?;
            let out = d.log_prob(&x)?;
            let cond = numbers(&case["log_prob_cond"]);
            let close = |name: &str, got: f64, want: f64, cond: f64| {
                let limit = tolerance * want.abs().max(1.).max(cond);
                assert!(
                    (got - want).abs() <= limit,
                    "{name} {dtype:?}: {got} is not {want}"
                );
            };
            for ((got, want), cond) in flat(&out).iter().zip(numbers(&case["log_prob"])).zip(&cond)
            {
                close("log_prob", *got, want, *cond);
            }
            for (name, got) in [("mean", d.mean()?), ("variance", d.variance()?)] {
                for (got, want) in flat(&got).iter().zip(numbers(&case[name])) {
                    close(name, *got, want, 1.);
                }
            }
            for (i, cond) in cond.iter().enumerate() {
                let store = out.get(i)?.backward()?;
                for (name, var) in ["logits", "loc", "scale", "x"]
                    .iter()
                    .zip(params.iter().chain([&x]))
                {
                    let got = store.get(var).unwrap();
                    let got = if *name == "x" {
                        got.get(i)?
                    } else {
                        got.clone()
                    };
                    let n = got.elem_count();
                    let want = &numbers(&case["grad"][name])[i * n..][..n];
                    for (got, want) in flat(&got).iter().zip(want) {
                        close(name, *got, *want, *cond);
                    }
                }
            }
        }
    }
    Ok(())
}

fn wave(dims: &[usize], seed: f64, dtype: DType) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    let data: Vec<f64> = (0..n)
        .map(|i| ((i as f64 + seed) * 12.9898).sin() * 2.)
        .collect();
    Ok(Tensor::from_vec(data, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    let start = [
        wave(&[3, 2], 1., DType::F64)?,
        wave(&[3], 2., DType::F64)?,
        wave(&[3, 2], 3., DType::F64)?,
        wave(&[3, 2], 4., DType::F64)?.exp()?,
    ];
    check_gradient(
        &|t| mixture(&t[1], &t[2], &t[3])?.log_prob(&t[0]),
        &start,
        1e-7,
    )
}

/// The fused pass, the vector family and the generic sum over components are the same density.
#[test]
fn the_paths_agree() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let (logits, loc) = (wave(&[5], 1., dtype)?, wave(&[5, 3], 2., dtype)?);
        let scale = wave(&[5, 3], 3., dtype)?.exp()?;
        let x = wave(&[2, 7, 3], 4., dtype)?;
        let rows = mixture(&logits, &loc, &scale)?;
        let fused = flat(&rows.log_prob(&x)?);
        let joint = flat(&rows.joint_log_prob(&x)?);
        let vectors = MultivariateNormalDiag::new(&loc, &scale)?;
        let vectors = MixtureSameFamily::new(Categorical::new(&logits)?, vectors)?;
        // A batch of two equal mixtures goes the generic way.
        let pair = |t: &Tensor| Tensor::stack(&[t, t], 0);
        let batch = mixture(&pair(&logits)?, &pair(&loc)?, &pair(&scale)?)?;
        let generic = batch.log_prob(&x.unsqueeze(2)?)?;
        assert_eq!(generic.dims(), &[2, 7, 2]);
        let generic = flat(&generic.narrow(2, 1, 1)?);
        for (i, want) in joint
            .chunks(5)
            .map(|j| j.iter().map(|l| l.exp()).sum::<f64>().ln())
            .enumerate()
        {
            for got in [fused[i], flat(&vectors.log_prob(&x)?)[i], generic[i]] {
                assert!(
                    (got - want).abs() < 1e-5 * want.abs().max(1.),
                    "{got} {want}"
                );
            }
        }
        assert_eq!(rows.log_prob(&x.narrow(0, 0, 0)?)?.dims(), &[0, 7]);
        assert_eq!(
            batch.log_prob(&x.narrow(0, 0, 0)?.unsqueeze(2)?)?.dims(),
            &[0, 7, 2]
        );
    }
    Ok(())
}

#[test]
fn discrete_components() -> Result<()> {
    let logits = wave(&[4, 6], 1., DType::F64)?;
    let d = MixtureSameFamily::new(
        Categorical::new(&wave(&[4], 2., DType::F64)?)?,
        Bernoulli::new(&logits)?.to_event(1)?,
    )?;
    let mut total = 0.;
    for code in 0..64u32 {
        let x: Vec<f64> = (0..6).map(|b| f64::from(code >> b & 1)).collect();
        total += flat(&d.log_prob(&Tensor::new(x.as_slice(), &Device::Cpu)?)?)[0].exp();
    }
    assert!((total - 1.).abs() < 1e-12);
    // Outside the support of every component.
    let outside = (Tensor::ones(6, DType::F64, &Device::Cpu)? * 0.5)?;
    assert_eq!(flat(&d.log_prob(&outside)?), [f64::NEG_INFINITY]);
    let x = d.sample(&[3, 2], &mut Rng::new(1))?;
    assert_eq!(x.dims(), &[3, 2, 6]);
    Ok(())
}

/// A component at random for each of 5 rows of 2 batches: its density is that of the same component among all.
fn selects<C: MixtureComponent>(name: &str, components: C) -> Result<()> {
    assert_eq!(components.batch_shape(), [2, 3], "{name}");
    let index = Tensor::new(&[[0u32, 2], [2, 1], [1, 0], [1, 1], [2, 2]], &Device::Cpu)?;
    let chosen = components.select(&index, 0)?;
    assert_eq!(chosen.batch_shape(), [5, 2], "{name}");
    let x = chosen.sample(&[4], &mut Rng::new(0))?;
    let all = components.log_prob(&x.unsqueeze(3)?)?;
    let apart = (all.max(3)? - all.min(3)?)?.flatten_all()?.max(0)?;
    assert!(
        apart.to_scalar::<f64>()? > 0.01,
        "{name}: all one component"
    );
    let index = index.unsqueeze(2)?.broadcast_as((4, 5, 2, 1))?;
    let want = all.gather(&index.contiguous()?, 3)?.squeeze(3)?;
    let got = chosen.log_prob(&x)?;
    for (got, want) in flat(&got).into_iter().zip(flat(&want)) {
        assert!(
            got.is_finite() && (got - want).abs() < 1e-12,
            "{name}: {got} is not {want}"
        );
    }
    let mixing = Categorical::new(&Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?)?;
    let mixture = MixtureSameFamily::new(mixing, components)?;
    let x = mixture.sample(&[4], &mut Rng::new(1))?;
    assert_eq!(mixture.log_prob(&x)?.dims(), [4, 2], "{name}");
    Ok(())
}

#[test]
fn components_of_every_family() -> Result<()> {
    for row in every() {
        if row.example()?.component.is_none() {
            continue;
        }
        let mut parameters = row.ordinary(&[2, 3], DType::F64)?;
        for (k, (x, p)) in parameters.iter_mut().zip(&row.parameters).enumerate() {
            // The second one broadcasts over the components.
            let components = if k == 1 { 1 } else { 3 };
            let factor = (wave(&[2, components], 0.3 + k as f64, DType::F64)? * 0.1)?.exp()?;
            let ones = vec![1; p.shape.len()];
            let factor = factor.reshape([factor.dims(), &ones].concat())?;
            *x = x.narrow(1, 0, components)?.broadcast_mul(&factor)?;
            if let Domain::Count = p.domain {
                *x = x.round()?;
            }
        }
        selects(row.name, row.build(&parameters)?)?;
    }
    Ok(())
}

/// The frequencies of 5 components far apart, with 4 degrees of freedom: above 23.5 once in 10^4 seeds. The seed is fixed.
#[test]
fn samples_come_from_the_right_components() -> Result<()> {
    let logits = Tensor::new(
        &[
            [0f32, 1., -1., 0.5, 0.],
            [0., 0., 0., f32::NEG_INFINITY, 3.],
        ],
        &Device::Cpu,
    )?;
    // The mean tells the batch row, the component and the coordinate.
    let loc: Vec<f32> = (0..20).map(|i| (i * 100) as f32).collect();
    let loc = Tensor::from_vec(loc, (2, 5, 2), &Device::Cpu)?;
    let d = mixture(&logits, &loc, &loc.ones_like()?)?;
    let n = 50_000;
    let x = d.sample(&[n], &mut Rng::new(3))?;
    assert_eq!(x.dims(), &[n, 2, 2]);
    let probs = d.mixing().probs()?.to_vec2::<f32>()?;
    let x = x.to_vec3::<f32>()?;
    for row in 0..2 {
        let mut counts = [0f64; 5];
        let mut squares = 0f64;
        for x in &x {
            let component = (f64::from(x[row][0]) / 200.).round() as usize;
            counts[component - 5 * row] += 1.;
            let deviation = f64::from(x[row][1]) - component as f64 * 200. - 100.;
            squares += deviation * deviation;
        }
        let n = n as f64;
        // The variance of n unit normals: 4 standard errors, exceeded once in 16000 seeds.
        assert!((squares / n - 1.).abs() < 4. * (2. / n).sqrt());
        let chi = counts.iter().zip(&probs[row]).filter(|(_, p)| **p > 0.);
        let chi: f64 = chi
            .map(|(c, p)| (c - n * f64::from(*p)).powi(2) / (n * f64::from(*p)))
            .sum();
        assert!(chi < 23.5, "{chi}");
        assert!(row == 0 || counts[3] == 0.);
    }
    Ok(())
}

/// Were all components drawn, this would be 10^5 * 10^4 * 4 numbers: 16 GB.
#[test]
fn many_components_cost_no_memory() -> Result<()> {
    let k = 100_000;
    let loc: Vec<f32> = (0..4 * k).map(|i| (i / 4) as f32).collect();
    let loc = Tensor::from_vec(loc, (k, 4), &Device::Cpu)?;
    let logits = Tensor::zeros(k, DType::F32, &Device::Cpu)?;
    let x = mixture(&logits, &loc, &loc.ones_like()?)?.sample(&[10_000], &mut Rng::new(2))?;
    // Uniform on 0..k: mean k / 2, 4 standard errors of k / sqrt(12 n).
    let mean = f64::from(x.narrow(1, 0, 1)?.mean_all()?.to_scalar::<f32>()?);
    assert!(
        (mean / k as f64 - 0.5).abs() < 4. / (12f64 * 1e4).sqrt(),
        "{mean}"
    );
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let loc = wave(&[4, 2], 1., DType::F32)?;
    let normal = || Normal::new(&loc, &loc.ones_like()?)?.to_event(1);
    let three = Categorical::new(&wave(&[3], 1., DType::F32)?)?;
    let error = MixtureSameFamily::new(three, normal()?)
        .unwrap_err()
        .to_string();
    assert!(error.contains("components"), "{error}");
    let four = Categorical::new(&wave(&[4], 1., DType::F32)?)?;
    let d = MixtureSameFamily::new(four, normal()?)?;
    for bad in [
        wave(&[5, 3], 1., DType::F32)?,
        wave(&[5, 2], 1., DType::F64)?,
    ] {
        let error = d.log_prob(&bad).unwrap_err().to_string();
        assert!(
            error.contains("MixtureSameFamily::log_prob: value"),
            "{error}"
        );
    }
    Ok(())
}

/// Means and standard errors of each sample's gradient meet the derivatives of E[x^2] = sum_k w_k (loc_k^2 + scale_k^2): each
/// of 9 comparisons fails for a correct estimator with probability 6e-5. And the value of the cdf at a draw does not move.
#[test]
fn pathwise_draws_are_unbiased_and_keep_their_cdf() -> Result<()> {
    let n = 20_000;
    let parameters = [[0.3, -0.5, 0.1], [-1., 0.4, 2.], [0.7, 1.2, 0.5]];
    let vars = parameters.map(|p| {
        let copies = Tensor::new(&p, &Device::Cpu)
            .unwrap()
            .broadcast_as((n, 3))
            .unwrap();
        Var::from_tensor(&copies.contiguous().unwrap()).unwrap()
    });
    let [logits, loc, scale] = &vars;
    let mixture = MixtureSameFamily::new(Categorical::new(logits)?, Normal::new(loc, scale)?)?;
    let x = mixture.sample_pathwise(&[], &mut Rng::new(5))?;
    let plain = mixture.sample(&[], &mut Rng::new(5))?;
    assert_eq!(flat(&x), flat(&plain));
    let gradients = x.sqr()?.sum_all()?.backward()?;
    let cdf = |x: &Tensor| -> Result<Tensor> {
        let each = mixture.components().cdf(&x.unsqueeze(1)?)?;
        Ok((each * mixture.mixing().probs()?)?.sum(1)?)
    };
    let still = cdf(&x)?.sum_all()?.backward()?;
    let moves = cdf(&x.detach())?.sum_all()?.backward()?;
    // The closed form, by the tensors' own derivatives.
    let second = (loc.sqr()? + scale.sqr()?)?;
    let expected = (mixture.mixing().probs()? * second)?
        .sum_all()?
        .backward()?;
    for var in &vars {
        let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f64>();
        assert!(largest(still.get(var).unwrap())? < 1e-12);
        assert!(largest(moves.get(var).unwrap())? > 0.05);
        let each = gradients.get(var).unwrap();
        let mean = each.mean(0)?;
        let error = (each.broadcast_sub(&mean)?.sqr()?.mean(0)? / n as f64)?.sqrt()?;
        let want = expected.get(var).unwrap().get(0)?;
        let (mean, error, want) = (flat(&mean), flat(&error), flat(&want));
        for k in 0..3 {
            let off = (mean[k] - want[k]).abs();
            assert!(
                off <= 4. * error[k],
                "{} +- {}, expected {}",
                mean[k],
                error[k],
                want[k]
            );
            assert!(error[k] < 0.05);
        }
    }
    Ok(())
}

/// In single precision, with components of which one's density underflows where the other's draws are.
#[test]
fn pathwise_draws_of_skewed_components_keep_their_cdf() -> Result<()> {
    let new = |x: &[f64]| Var::new(x, &Device::Cpu);
    let (logits, a, b) = (new(&[0.3, -0.5])?, new(&[0.8, 5.])?, new(&[2., 1.])?);
    let mixing = Categorical::new(&logits)?;
    let mixture = MixtureSameFamily::new(mixing, Gamma::new(&a, &b)?)?;
    let x = mixture.sample_pathwise(&[50], &mut Rng::new(0))?;
    let each = mixture.components().cdf(&x.unsqueeze(1)?)?;
    let cdf = each.broadcast_mul(&mixture.mixing().probs()?)?.sum(1)?;
    let (still, moves) = (cdf.sum_all()?.backward()?, x.sum_all()?.backward()?);
    for var in [&logits, &a, &b] {
        let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f64>();
        assert!(largest(still.get(var).unwrap())? < 1e-9);
        assert!(largest(moves.get(var).unwrap())? > 1.);
    }
    Ok(())
}

/// Most draws of so small a concentration are 0 in single precision, where the density is infinite.
#[test]
fn pathwise_draws_at_the_end_of_the_support_are_finite() -> Result<()> {
    let concentration = Var::new(&[0.01f32, 2.], &Device::Cpu)?;
    let zero = concentration.zeros_like()?;
    let components = Gamma::new(&concentration, &zero.exp()?)?;
    let mixture = MixtureSameFamily::new(Categorical::new(&zero)?, components)?;
    let x = mixture.sample_pathwise(&[100], &mut Rng::new(0))?;
    assert!(flat(&x).contains(&0.));
    assert!(flat(&x).iter().all(|x| x.is_finite()));
    let gradients = x.sum_all()?.backward()?;
    let gradient = flat(gradients.get(&concentration).unwrap());
    assert!(
        gradient.iter().all(|g| g.is_finite() && *g > 0.),
        "{gradient:?}"
    );
    Ok(())
}

#[test]
fn pathwise_gradients_of_distant_components_are_finite() -> Result<()> {
    let new = |x: &[f32]| Var::new(x, &Device::Cpu);
    let (logits, loc, scale) = (new(&[0., -30.])?, new(&[0., 500.])?, new(&[1., 0.1])?);
    let mixture = MixtureSameFamily::new(Categorical::new(&logits)?, Normal::new(&loc, &scale)?)?;
    let x = mixture.sample_pathwise(&[4000], &mut Rng::new(0))?;
    let gradients = x.sum_all()?.backward()?;
    for var in [&logits, &loc, &scale] {
        assert!(
            flat(gradients.get(var).unwrap())
                .iter()
                .all(|x| x.is_finite())
        );
    }
    // All draws are of the first: they move with it, one to one.
    let slopes = flat(gradients.get(&loc).unwrap());
    assert!((slopes[0] / 4000. - 1.).abs() < 1e-4);
    assert_eq!(
        mixture.sample_pathwise(&[0], &mut Rng::new(0))?.dims(),
        &[0]
    );
    Ok(())
}

/// Quantiles move with the parameters as the cdf at them says, also between components far apart, and reach both ends.
#[test]
fn quantiles_of_mixtures() -> Result<()> {
    let new = |x: &[f64]| Tensor::new(x, &Device::Cpu);
    let inputs = [
        new(&[0.3, -0.5, 0.1])?,
        new(&[-2., 0.4, 9.])?,
        new(&[0.7, 1.3, 0.5])?,
        new(&[0.05, 0.2, 0.55, 0.9])?,
    ];
    let mixture =
        |x: &[Tensor]| MixtureSameFamily::new(Categorical::new(&x[0])?, Normal::new(&x[1], &x[2])?);
    check_gradient(&|x| mixture(x)?.quantile(&x[3]), &inputs, 1e-5)?;
    let ends = mixture(&inputs)?.quantile(&new(&[0., 1.])?)?;
    assert_eq!(ends.to_vec1::<f64>()?, [f64::NEG_INFINITY, f64::INFINITY]);
    Ok(())
}
