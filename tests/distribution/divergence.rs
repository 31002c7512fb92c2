//! Divergences against reference values, their own identities, and each other.

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::bijector::Tanh;
use candle_prob::distribution::{
    Categorical, Dirichlet, Distribution, Gamma, Kl, MultivariateNormal, MultivariateNormalDiag,
    Normal,
};
use candle_prob::divergence::{
    Alpha, FDivergence, Gan, Jeffreys, JensenShannon, JensenShannonSum, KullbackLeibler, Neyman,
    Pearson, Renyi, ReverseKl, SquaredHellinger, TotalVariation, Wasserstein2, categorical,
    discrete, estimate, gaussian_wasserstein2_squared,
};
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;
const DTYPES: [DType; 2] = [DType::F64, DType::F32];

fn number(value: &Value) -> f64 {
    match value {
        Value::String(s) => s.parse().unwrap(),
        value => value.as_f64().unwrap_or(f64::NAN),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    let data = value.get("data").unwrap_or(value);
    data.as_array().unwrap().iter().map(number).collect()
}

fn tensor(value: &Value, dtype: DType) -> Tensor {
    let data = numbers(value);
    let shape = match value.get("shape") {
        Some(shape) => numbers(shape).iter().map(|d| *d as usize).collect(),
        None => vec![data.len()],
    };
    let x = Tensor::from_vec(data, shape, CPU).unwrap();
    x.to_dtype(dtype).unwrap()
}

fn file(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn f_divergences() -> Vec<(&'static str, Box<dyn FDivergence>)> {
    let alpha = |a| Box::new(Alpha::new(a).unwrap());
    vec![
        ("kl", Box::new(KullbackLeibler)),
        ("reverse_kl", Box::new(ReverseKl)),
        ("jensen_shannon", Box::new(JensenShannon)),
        ("jensen_shannon_nowozin", Box::new(JensenShannonSum)),
        ("gan", Box::new(Gan)),
        ("squared_hellinger", Box::new(SquaredHellinger)),
        ("pearson_chi2", Box::new(Pearson)),
        ("neyman_chi2", Box::new(Neyman)),
        ("total_variation", Box::new(TotalVariation)),
        ("jeffrey", Box::new(Jeffreys)),
        ("alpha_0.5", alpha(0.5)),
        ("alpha_0.25", alpha(0.25)),
        ("alpha_-0.5", alpha(-0.5)),
        ("alpha_2", alpha(2.)),
        ("alpha_3", alpha(3.)),
    ]
}

/// Every divergence with its case of the file. One case is no divergence: its f(1) is not 0.
fn f_cases() -> Vec<(Box<dyn FDivergence>, Value)> {
    let cases = file(include_str!("../golden/f_divergence.json"));
    let mut out = vec![];
    for (name, f) in f_divergences() {
        let case = cases.iter().find(|case| case["divergence"] == name);
        out.push((f, case.unwrap().clone()));
    }
    assert_eq!(out.len() + 2, cases.len());
    out
}

fn f_tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-11 } else { 2e-5 }
}

#[track_caller]
fn close(what: &str, case: &Value, dtype: DType, got: &[f64], want: &[f64], floor: f64) {
    assert_eq!(got.len(), want.len(), "{what} of {}", case["divergence"]);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let beyond = dtype == DType::F32 && want.abs() > f64::from(f32::MAX);
        let ok = if want.is_nan() {
            true
        } else if want.is_infinite() {
            got == want
        } else if beyond {
            // Infinite, or on the straight line that the docs promise.
            got.signum() == want.signum() && got.abs() > 1e30
        } else {
            (got - want).abs() <= f_tolerance(dtype) * want.abs().max(floor)
        };
        let name = &case["divergence"];
        assert!(
            ok,
            "{what} of {name} in {dtype:?}, number {i}: {got:e}, expected {want:e}"
        );
    }
}

#[test]
fn generators_match_the_reference() -> Result<()> {
    for (f, case) in f_cases() {
        for dtype in DTYPES {
            let u = tensor(&case["u"], DType::F64);
            let r = Var::from_tensor(&u.log()?.to_dtype(dtype)?)?;
            let values = f.generator(&r)?;
            close("f", &case, dtype, &flat(&values), &numbers(&case["f"]), 1.);
            // d f(e^r) / dr = u f'(u).
            let slopes = values.backward()?.get(&r).unwrap().to_dtype(DType::F64)?;
            let slopes = flat(&(slopes / &u)?);
            close("f'", &case, dtype, &slopes, &numbers(&case["df"]), 1.);
            let zero = Tensor::new(&[f64::NEG_INFINITY], CPU)?.to_dtype(dtype)?;
            let at_zero = flat(&f.generator(&zero)?);
            close(
                "f(0)",
                &case,
                dtype,
                &at_zero,
                &[number(&case["f_at_0"])],
                1.,
            );
            // e^r f(e^-r), which is f of the divergence exchanged.
            let exchanged = (r.exp()? * f.generator(&r.neg()?)?)?;
            close(
                "reversed",
                &case,
                dtype,
                &flat(&f.reversed(&r)?),
                &flat(&exchanged),
                1.,
            );
        }
    }
    Ok(())
}

#[test]
fn activations_and_conjugates_match_the_reference() -> Result<()> {
    for (f, case) in f_cases() {
        for given in case["activations"].as_array().unwrap() {
            let formula = given["rho_formula"].as_str().unwrap();
            // Here activations increase; of the two signs in print some fall.
            let falls = formula.contains("exp(v)");
            for dtype in DTYPES {
                let v = (tensor(&given["v"], dtype) * if falls { -1. } else { 1. })?;
                let rho = flat(&f.activation(&v)?);
                close("rho", &case, dtype, &rho, &numbers(&given["rho"]), 1.);
                let conjugate = flat(&f.conjugate(&v)?);
                let want = numbers(&given["conjugate_of_rho"]);
                // Relative, small ones too, but for the first subnormal numbers.
                close("f*(rho)", &case, dtype, &conjugate, &want, 1e-30);
            }
        }
    }
    Ok(())
}

/// `f(u) + f*(t) >= u t`, with equality where t = f'(u): there u is the slope of the conjugate.
#[test]
fn generator_and_conjugate_are_a_fenchel_pair() -> Result<()> {
    let r = Tensor::arange_step(-6f64, 6.01, 0.25, CPU)?;
    let v = Var::from_tensor(&Tensor::arange_step(-4f64, 4.01, 0.25, CPU)?)?;
    for (name, f) in f_divergences() {
        let (rho, conjugate) = (f.activation(&v)?, f.conjugate(&v)?);
        let bound = f.generator(&r)?.unsqueeze(1)?.broadcast_add(&conjugate)?;
        let product = r.exp()?.unsqueeze(1)?.broadcast_mul(&rho)?;
        let gap = (bound - product)?
            .flatten_all()?
            .min(0)?
            .to_scalar::<f64>()?;
        assert!(gap > -1e-9, "{name}: {gap}");
        if name == "total_variation" {
            continue;
        }
        let slope =
            |x: &Tensor| Ok::<_, candle_core::Error>(x.backward()?.get(&v).unwrap().clone());
        let u = (slope(&conjugate)? / slope(&rho)?)?;
        let equal = ((f.generator(&u.log()?)? + &conjugate)? - (&u * &rho)?)?;
        for (i, gap) in flat(&equal).into_iter().enumerate() {
            // At u = 0, below the kink of Pearson and alpha, f(0) + f* = 0.
            let scale = flat(&u)[i].abs().max(1.) * flat(&rho)[i].abs().max(1.);
            assert!(gap.abs() < 1e-9 * scale, "{name} at {i}: {gap}");
        }
    }
    Ok(())
}

#[test]
fn far_scores_have_finite_values_and_gradients() -> Result<()> {
    for (name, f) in f_divergences() {
        for dtype in DTYPES {
            let v = Tensor::arange_step(-1e4f64, 1.0001e4f64, 50., CPU)?.to_dtype(dtype)?;
            let v = Var::from_tensor(&v)?;
            for y in [f.activation(&v)?, f.conjugate(&v)?] {
                let gradient = y.backward()?.get(&v).unwrap().clone();
                for x in flat(&y).into_iter().chain(flat(&gradient)) {
                    assert!(x.is_finite(), "{name} in {dtype:?}: {x}");
                }
                let values = flat(&y);
                let grows = values.windows(2).all(|w| w[0] <= w[1]);
                assert!(
                    grows || y.dims() != v.dims() || name == "neyman_chi2",
                    "{name} falls"
                );
            }
            let nan = Tensor::new(&[f64::NAN], CPU)?.to_dtype(dtype)?;
            for y in [f.activation(&nan)?, f.conjugate(&nan)?, f.generator(&nan)?] {
                assert!(flat(&y)[0].is_nan(), "{name} hides NaN");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_of_f_divergences_meet_central_differences() -> Result<()> {
    for (_, f) in f_divergences() {
        let x = Tensor::new(&[-3.3f64, -2.5, -1.2, -0.4, 0.3, 0.9, 2.2, 4.5], CPU)?;
        let r = (x.clone() * 0.7)?;
        check_gradient(
            &|x: &[Tensor]| f.generator(&x[0]),
            std::slice::from_ref(&r),
            1e-5,
        )?;
        check_gradient(
            &|x: &[Tensor]| f.activation(&x[0]),
            std::slice::from_ref(&x),
            1e-5,
        )?;
        check_gradient(
            &|x: &[Tensor]| f.conjugate(&x[0]),
            std::slice::from_ref(&x),
            1e-5,
        )?;
    }
    Ok(())
}

#[test]
fn discrete_divergences_match_the_reference() -> Result<()> {
    for (f, case) in f_cases() {
        let pairs = &case["discrete_pairs"];
        for dtype in DTYPES {
            for (i, p) in pairs["p"].as_array().unwrap().iter().enumerate() {
                let (p, q) = (tensor(p, dtype), tensor(&pairs["q"][i], dtype));
                let got = flat(&discrete(f.as_ref(), &p, &q)?);
                close("D_f", &case, dtype, &got, &[number(&pairs["value"][i])], 1.);
            }
        }
    }
    for case in file(include_str!("../golden/kl.json")) {
        if case["kind"] == "jensen_shannon_discrete" {
            for dtype in DTYPES {
                let (p, q) = (tensor(&case["p"], dtype), tensor(&case["q"], dtype));
                let got = flat(&discrete(&JensenShannon, &p, &q)?);
                close("JS", &case, dtype, &got, &[number(&case["value"])], 1.);
            }
        }
    }
    Ok(())
}

#[test]
fn variational_bounds_match_the_reference() -> Result<()> {
    let cases = file(include_str!("../golden/f_divergence.json"));
    let bounds = cases
        .iter()
        .find(|c| c["divergence"] == "variational_bound");
    let mut seen = 0;
    for entry in bounds.unwrap()["entries"].as_array().unwrap() {
        let Some((_, f)) = f_divergences()
            .into_iter()
            .find(|(name, _)| entry["divergence"] == *name)
        else {
            continue;
        };
        seen += 1;
        let falls = entry["rho_formula"].as_str().unwrap().contains("exp(v)");
        for dtype in DTYPES {
            let v = (tensor(&entry["v"], dtype) * if falls { -1. } else { 1. })?;
            let (p, q) = (tensor(&entry["p"], dtype), tensor(&entry["q"], dtype));
            let bound = ((p * f.activation(&v)?)? - (q * f.conjugate(&v)?)?)?.sum_all()?;
            close(
                "bound",
                entry,
                dtype,
                &flat(&bound),
                &[number(&entry["bound"])],
                1.,
            );
        }
    }
    assert_eq!(seen, 14);
    Ok(())
}

#[test]
fn categorical_divergences_agree_with_kl_and_keep_masked_gradients_finite() -> Result<()> {
    let masked = f64::NEG_INFINITY;
    let p = Tensor::new(&[[0.3f64, -1., masked, 2.], [0., 0., masked, -800.]], CPU)?;
    let q = Tensor::new(&[[-0.2f64, 0.5, masked, 0.1], [1., 0., masked, 900.]], CPU)?;
    let kl = |p: &Tensor, q: &Tensor| Categorical::new(p)?.kl(&Categorical::new(q)?);
    let of = |f: &dyn FDivergence, p: &Tensor, q: &Tensor| {
        categorical(f, &Categorical::new(p)?, &Categorical::new(q)?)
    };
    let forward = (of(&KullbackLeibler, &p, &q)? - kl(&p, &q)?)?;
    let backward = (of(&ReverseKl, &p, &q)? - kl(&q, &p)?)?;
    for gap in flat(&forward).into_iter().chain(flat(&backward)) {
        assert!(gap.abs() < 1e-12, "{gap}");
    }
    for (name, f) in f_divergences() {
        let (p, q) = (Var::from_tensor(&p.get(0)?)?, Var::from_tensor(&q.get(0)?)?);
        let total = of(f.as_ref(), &p, &q)?;
        assert!(flat(&total)[0].is_finite(), "{name}");
        let gradients = total.backward()?;
        for x in [&p, &q] {
            let gradient = flat(gradients.get(x).unwrap());
            assert!(
                gradient.iter().all(|g| g.is_finite()),
                "{name}: {gradient:?}"
            );
            assert_eq!(gradient[2], 0., "{name}");
        }
    }
    let (p, q) = (p.narrow(1, 0, 2)?, q.narrow(1, 0, 2)?);
    for (_, f) in f_divergences() {
        let f = f.as_ref();
        check_gradient(
            &|x: &[Tensor]| of(f, &x[0], &x[1]),
            &[p.clone(), q.clone()],
            1e-6,
        )?;
    }
    let row = Tensor::new(&[0.5f64, 0.5], CPU)?;
    assert!(discrete(&Pearson, &row, &Tensor::new(&[1f64], CPU)?).is_err());
    assert!(discrete(&Pearson, &row, &Tensor::new(&[-1f64, 2.], CPU)?).is_err());
    assert!(discrete(&Pearson, &row, &Tensor::new(&[f64::NAN, 2.], CPU)?).is_err());
    Ok(())
}

/// A divergence of another crate: four functions.
struct Triangular;

impl FDivergence for Triangular {
    fn generator(&self, r: &Tensor) -> Result<Tensor> {
        let u = r.exp()?;
        Ok(((&u - 1.)?.sqr()? / (u + 1.)?)?)
    }

    fn reversed(&self, r: &Tensor) -> Result<Tensor> {
        self.generator(r)
    }

    fn activation(&self, v: &Tensor) -> Result<Tensor> {
        Ok((v.neg()?.exp()?.neg()? + 1.)?)
    }

    fn conjugate(&self, _: &Tensor) -> Result<Tensor> {
        unimplemented!()
    }
}

#[test]
fn other_crates_add_divergences() -> Result<()> {
    let (p, q) = (
        Tensor::new(&[1f64, 0.], CPU)?,
        Tensor::new(&[0.5f64, 0.5], CPU)?,
    );
    let value = discrete(&Triangular, &p, &q)?.to_scalar::<f64>()?;
    assert!((value - (0.25 / 1.5 + 0.5)).abs() < 1e-14, "{value}");
    Ok(())
}

fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-9 } else { 1e-4 }
}

#[track_caller]
fn agrees(case: &Value, dtype: DType, got: &Tensor) {
    let (got, want) = (flat(got)[0], number(&case["value"]));
    let ok = got == want || (got - want).abs() <= tolerance(dtype) * want.abs().max(1.);
    let (kind, alpha) = (&case["kind"], &case["alpha"]);
    assert!(
        ok,
        "{kind} {alpha} {} in {dtype:?}: {got:e}, expected {want:e}",
        case["p_params"]
    );
}

#[test]
fn renyi_of_dirichlets_matches_the_reference() -> Result<()> {
    let mut seen = 0;
    for case in file(include_str!("../golden/kl.json")) {
        if case["kind"] == "renyi_dirichlet" {
            seen += 1;
            for dtype in DTYPES {
                let of = |side: &str| Dirichlet::new(&tensor(&case[side]["concentration"], dtype));
                let (p, q) = (of("p_params")?, of("q_params")?);
                agrees(&case, dtype, &p.renyi(&q, number(&case["alpha"]))?);
            }
        }
    }
    assert_eq!(seen, 16);
    Ok(())
}

#[test]
fn gaussians_of_one_element_match_the_reference() -> Result<()> {
    let mut seen = 0;
    for case in file(include_str!("../golden/kl.json")) {
        let one = case["p_params"]["loc"]
            .as_array()
            .is_some_and(|loc| loc.len() == 1);
        for dtype in DTYPES {
            let of = |side: &str| {
                let scale = tensor(&case[side]["scale_tril"], dtype).flatten_all()?;
                Normal::new(&tensor(&case[side]["loc"], dtype), &scale)
            };
            if one && case["kind"] == "renyi_gaussian" {
                seen += 1;
                let order = number(&case["alpha"]);
                agrees(
                    &case,
                    dtype,
                    &of("p_params")?.renyi(&of("q_params")?, order)?,
                );
            }
            if one && case["kind"] == "wasserstein2_gaussian" {
                seen += 1;
                agrees(
                    &case,
                    dtype,
                    &of("p_params")?.wasserstein2(&of("q_params")?)?,
                );
            }
        }
    }
    assert_eq!(seen, 12);
    Ok(())
}

#[test]
fn renyi_joins_its_neighbours() -> Result<()> {
    let locs = Tensor::new(&[[0.5f64, -1., 2.], [0.1, 0.2, 0.3]], CPU)?;
    let scales = Tensor::new(&[[1f64, 0.5, 0.9], [0.7, 1.1, 1.]], CPU)?;
    let (zero, one) = (
        Tensor::zeros(3, DType::F64, CPU)?,
        Tensor::ones(3, DType::F64, CPU)?,
    );
    let (p, q) = (Normal::new(&locs, &scales)?, Normal::new(&zero, &one)?);
    // Order 1 is KL, and its neighbours are near it.
    for order in [1., 1. - 1e-9, 1. + 1e-9] {
        let gap = (p.renyi(&q, order)? - p.kl(&q)?)?.abs()?;
        assert!(flat(&gap).into_iter().all(|gap| gap < 1e-7));
    }
    // Vectors with independent elements in three spellings.
    let (rows, prior) = (p.clone().to_event(1)?, q.clone().to_event(1)?);
    let diag = MultivariateNormalDiag::new(&locs, &scales)?;
    let origin = MultivariateNormalDiag::new(&zero, &one)?;
    let gap = (rows.renyi(&prior, 0.7)? - diag.renyi(&origin, 0.7)?)?;
    assert!(flat(&gap).into_iter().all(|gap| gap.abs() < 1e-12));
    let gap = (rows.wasserstein2(&prior)? - diag.wasserstein2(&origin)?)?;
    assert!(flat(&gap).into_iter().all(|gap| gap.abs() < 1e-12));
    // Hellinger as an f-divergence, by quadrature.
    let x = Tensor::arange_step(-15f64, 15., 1e-2, CPU)?.reshape(((), 1, 1))?;
    let (at_p, at_q) = (p.log_prob(&x)?, q.log_prob(&x)?);
    let terms = (SquaredHellinger
        .generator(&at_p.broadcast_sub(&at_q)?)?
        .broadcast_mul(&at_q.exp()?))?;
    let gap = ((terms.sum(0)? * 1e-2)? - p.squared_hellinger(&q)?)?;
    assert!(flat(&gap).into_iter().all(|gap| gap.abs() < 1e-9));
    assert!(p.renyi(&q, 0.).is_err() && p.renyi(&q, f64::NAN).is_err());
    Ok(())
}

#[test]
fn renyi_and_wasserstein_have_exact_gradients() -> Result<()> {
    let loc = Tensor::new(&[0.5f64, -1.], CPU)?;
    let scale = Tensor::new(&[1.2f64, 0.5], CPU)?;
    let other = Tensor::new(&[0.1f64], CPU)?;
    let to = Tensor::new(&[0.9f64], CPU)?;
    let x = [loc, scale, other, to];
    let pair = |x: &[Tensor]| {
        Ok::<_, candle_prob::Error>((Normal::new(&x[0], &x[1])?, Normal::new(&x[2], &x[3])?))
    };
    for order in [0.3, 1., 1.2] {
        let renyi = |x: &[Tensor]| pair(x).and_then(|(p, q)| p.renyi(&q, order));
        check_gradient(&renyi, &x, 1e-6)?;
    }
    check_gradient(
        &|x: &[Tensor]| pair(x).and_then(|(p, q)| p.wasserstein2(&q)),
        &x,
        1e-6,
    )?;
    let (a, b) = (
        Tensor::new(&[[2f64, 0.5]], CPU)?,
        Tensor::new(&[[1f64, 3.]], CPU)?,
    );
    let renyi = |x: &[Tensor]| Dirichlet::new(&x[0])?.renyi(&Dirichlet::new(&x[1])?, 0.6);
    check_gradient(&renyi, &[a, b], 1e-6)?;
    // Where it is infinite no gradient is NaN, and equal distributions have distance 0 with a finite slope.
    let wide = Var::new(&[3f64], CPU)?;
    let (zero, one) = (Tensor::new(&[0f64], CPU)?, Tensor::new(&[1f64], CPU)?);
    let far = Normal::new(&zero, &wide)?.renyi(&Normal::new(&zero, &one)?, 2.)?;
    assert_eq!(flat(&far), [f64::INFINITY]);
    let slope = far.backward()?.get(&wide).map(flat).unwrap_or_default();
    assert!(slope.iter().all(|s| s.is_finite()));
    let same = Normal::new(&zero, &wide)?;
    let distance = same.wasserstein2(&Normal::new(&zero, &wide.detach())?)?;
    assert_eq!(flat(&distance), [0.]);
    assert_eq!(flat(distance.backward()?.get(&wide).unwrap()), [0.]);
    Ok(())
}

/// 4 standard errors in 30 comparisons: a right estimator fails with probability 2e-3 for one seed, and the seeds stay.
#[test]
fn estimates_meet_closed_forms() -> Result<()> {
    let p = Normal::new(
        &Tensor::new(&[[0.2f64], [-0.3]], CPU)?,
        &Tensor::new(&[1f64, 0.8, 1.3], CPU)?,
    )?;
    let q = Normal::new(
        &Tensor::new(&[0f64, 0.5, -0.1], CPU)?,
        &Tensor::new(1.2f64, CPU)?,
    )?;
    let check = |what: &str, got: &estimate::Estimate, want: &Tensor| {
        let (mean, error) = (flat(&got.mean), flat(&got.standard_error));
        assert_eq!(got.mean.dims(), want.dims());
        for ((mean, error), want) in mean.iter().zip(&error).zip(flat(want)) {
            assert!(
                (mean - want).abs() < 4. * error,
                "{what}: {mean} +- {error}, not {want}"
            );
            assert!(*error < 0.05 && *error > 0.);
        }
    };
    let want = p.kl(&q)?;
    let n = 20_000;
    let plain = estimate::kl(&p, &q, n, &mut Rng::new(1))?;
    check("kl", &plain, &want);
    let low = estimate::kl_low_variance(&p, &q, n, &mut Rng::new(2))?;
    check("k3", &low, &want);
    let near = Normal::new(&(p.loc() + 0.05)?, &(p.scale()? * 1.02)?)?;
    let plain = estimate::kl(&p, &near, n, &mut Rng::new(1))?;
    let low = estimate::kl_low_variance(&p, &near, n, &mut Rng::new(1))?;
    let gain = (plain.standard_error / &low.standard_error)?;
    assert!(flat(&gain).into_iter().all(|gain| gain > 5.), "{gain}");
    check(
        "f",
        &estimate::f_divergence(&KullbackLeibler, &p, &q, n, &mut Rng::new(3))?,
        &want,
    );
    let reverse = estimate::f_divergence(&ReverseKl, &p, &q, n, &mut Rng::new(4))?;
    check("reverse", &reverse, &q.kl(&p)?);
    let hellinger = estimate::f_divergence(&SquaredHellinger, &p, &q, n, &mut Rng::new(5))?;
    check("hellinger", &hellinger, &p.squared_hellinger(&q)?);
    // A batch of q's only, and disjoint supports of discrete ones.
    let single = Normal::new(&Tensor::new(0.3f64, CPU)?, &Tensor::new(1f64, CPU)?)?;
    check(
        "one p",
        &estimate::kl(&single, &q, n, &mut Rng::new(6))?,
        &single.kl(&q)?,
    );
    let p = Categorical::new(&Tensor::new(&[0f64, f64::NEG_INFINITY], CPU)?)?;
    let q = Categorical::new(&Tensor::new(&[f64::NEG_INFINITY, 0f64], CPU)?)?;
    let js = estimate::f_divergence(&JensenShannon, &p, &q, 10, &mut Rng::new(7))?;
    assert!((js.mean.to_scalar::<f64>()? - 2f64.ln()).abs() < 1e-15);
    let kl = estimate::kl(&p, &q, 10, &mut Rng::new(7))?;
    assert_eq!(kl.mean.to_scalar::<f64>()?, f64::INFINITY);
    assert_eq!(kl.standard_error.to_scalar::<f64>()?, f64::INFINITY);
    assert!(estimate::kl(&p, &q, 1, &mut Rng::new(0)).is_err());
    let vector = single.clone();
    assert!(
        estimate::kl(
            &vector,
            &Dirichlet::new(&Tensor::new(&[1f64, 1.], CPU)?)?,
            2,
            &mut Rng::new(0)
        )
        .is_err()
    );
    Ok(())
}

/// On a normalized target KL itself, on any other KL less the logarithm of its integral; a flow is not inverted for it.
#[test]
fn reverse_kl_of_any_density() -> Result<()> {
    let number = |x: f64| Tensor::new(x, CPU);
    let q = Normal::new(&number(0.4)?, &number(1.5)?)?;
    let loc = Var::new(-0.3f64, CPU)?;
    let scale = Var::new(0.7f64, CPU)?;
    let p = Normal::new(&loc, &scale)?;
    let n = 50_000;
    let draw = |shift: f64| {
        let density = |x: &Tensor| Ok((q.log_prob(x)? + shift)?);
        estimate::reverse_kl(&p, density, n, &mut Rng::new(1))
    };
    let (plain, shifted) = (draw(0.)?, draw(3.)?);
    let want = p.kl(&q)?;
    let gap = flat(&(&plain.mean - &want)?)[0];
    assert!(gap.abs() < 4. * flat(&plain.standard_error)[0], "{gap}");
    let moved = flat(&(&plain.mean - &shifted.mean)?)[0];
    assert!((moved - 3.).abs() < 1e-12, "{moved}");
    let (estimated, exact) = (plain.mean.backward()?, want.backward()?);
    for var in [&loc, &scale] {
        let [a, b] = [&estimated, &exact].map(|g| flat(g.get(var).unwrap())[0]);
        assert!((a - b).abs() < 0.02, "{a} {b}");
    }
    // Tanh rounds to its ends, where it has no inverse.
    let far = Normal::new(&number(30.)?, &number(1.)?)?.transformed_by(Tanh)?;
    let flat_density = |x: &Tensor| Ok((x * 0.)?);
    let estimate = estimate::reverse_kl(&far, flat_density, 100, &mut Rng::new(2))?;
    assert!(flat(&estimate.mean)[0].is_finite());
    let wrong = |x: &Tensor| Ok(x.unsqueeze(0)?);
    let error = estimate::reverse_kl(&p, wrong, 100, &mut Rng::new(2)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("estimate::reverse_kl: log_density"),
        "{error}"
    );
    assert!(estimate::reverse_kl(&p, flat_density, 1, &mut Rng::new(2)).is_err());
    Ok(())
}

#[test]
fn pathwise_estimates_have_the_gradient_of_kl() -> Result<()> {
    let (a, b) = (Var::new(2.5f64, CPU)?, Var::new(1.5f64, CPU)?);
    let (c, d) = (Var::new(1.7f64, CPU)?, Var::new(0.8f64, CPU)?);
    let (p, q) = (Gamma::new(&a, &b)?, Gamma::new(&c, &d)?);
    let exact = p.kl(&q)?.backward()?;
    let estimate = estimate::kl_pathwise(&p, &q, 200_000, &mut Rng::new(0))?;
    let got = estimate.mean.backward()?;
    for x in [&a, &b, &c, &d] {
        let (got, want) = (flat(got.get(x).unwrap())[0], flat(exact.get(x).unwrap())[0]);
        assert!(
            (got - want).abs() < 0.01 * want.abs().max(1.),
            "{got}, not {want}"
        );
    }
    // The others carry none.
    let kl = estimate::kl(&p, &q, 10, &mut Rng::new(0))?;
    assert!(kl.mean.sum_all()?.backward()?.get(&a).is_none());
    Ok(())
}

#[test]
fn wasserstein_with_full_covariances_matches_the_reference() -> Result<()> {
    let mut seen = 0;
    for case in file(include_str!("../golden/kl.json")) {
        if case["kind"] != "wasserstein2_gaussian" {
            continue;
        }
        seen += 1;
        for dtype in DTYPES {
            let [[a, b], [c, d]] = ["p_params", "q_params"]
                .map(|side| ["loc", "scale_tril"].map(|name| tensor(&case[side][name], dtype)));
            let squared = gaussian_wasserstein2_squared([&a, &b], [&c, &d])?;
            agrees(&case, dtype, &squared.sqrt()?);
        }
    }
    assert_eq!(seen, 4);
    Ok(())
}

#[test]
fn gaussians_with_full_covariances_match_the_reference() -> Result<()> {
    let mut seen = [0, 0];
    for case in file(include_str!("../golden/kl.json")) {
        for dtype in DTYPES {
            let of = |side: &str| {
                let [loc, root] =
                    ["loc", "scale_tril"].map(|name| tensor(&case[side][name], dtype));
                MultivariateNormal::new(&loc, &root)
            };
            match case["kind"].as_str() {
                Some("renyi_gaussian") => {
                    let order = number(&case["alpha"]);
                    let got = of("p_params")?.renyi(&of("q_params")?, order)?;
                    agrees(&case, dtype, &got);
                    seen[0] += 1;
                }
                Some("wasserstein2_gaussian") => {
                    let got = of("p_params")?.wasserstein2(&of("q_params")?)?;
                    agrees(&case, dtype, &got);
                    seen[1] += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(seen, [40, 8]);
    Ok(())
}

/// Two batches that broadcast, and what is right for diagonal ones is right here.
#[test]
fn renyi_of_full_covariances_is_exact() -> Result<()> {
    let locs = Tensor::new(&[[[0.5f64, -1.]], [[0.1, 0.2]]], CPU)?;
    let roots = Tensor::new(&[[[1f64, 0.], [0.4, 0.8]], [[0.7, 0.], [-0.3, 1.1]]], CPU)?;
    let (other, to) = (Tensor::new(&[0.3f64, 0.1], CPU)?, roots.get(1)?);
    let inputs = [locs, roots, other.clone(), to];
    let pair = |x: &[Tensor]| -> Result<_> {
        let p = MultivariateNormal::new_unchecked(&x[0], &x[1])?;
        Ok((p, MultivariateNormal::new_unchecked(&x[2], &x[3])?))
    };
    let (p, q) = pair(&inputs)?;
    assert_eq!(p.renyi(&q, 0.5)?.dims(), [2, 2]);
    for order in [0.3, 1., 1.2] {
        let renyi = |x: &[Tensor]| pair(x).and_then(|(p, q)| p.renyi(&q, order));
        check_gradient(&renyi, &inputs, 1e-6)?;
    }
    let squared = |x: &[Tensor]| pair(x).and_then(|(p, q)| p.wasserstein2_squared(&q));
    check_gradient(&squared, &inputs, 1e-6)?;
    for order in [1. - 1e-6, 1. + 1e-6] {
        for gap in flat(&(p.renyi(&q, order)? - p.kl(&q)?)?) {
            assert!(gap.abs() < 1e-5, "{gap}");
        }
    }
    // Positive definite no more: infinite, and no gradient is NaN.
    let wide = Var::new(&[[3f64, 0.], [0., 1.]], CPU)?;
    let eye = Tensor::eye(2, DType::F64, CPU)?;
    let one = MultivariateNormal::new(&other, &eye)?;
    let far = MultivariateNormal::new(&other, &wide)?.renyi(&one, 2.)?;
    assert_eq!(flat(&far), [f64::INFINITY]);
    let slope = far.backward()?.get(&wide).map(flat).unwrap_or_default();
    assert!(slope.iter().all(|s| s.is_finite()));
    let nan = MultivariateNormal::new_unchecked(&other, &(&eye * f64::NAN)?)?;
    assert!(flat(&nan.renyi(&one, 2.)?)[0].is_nan());
    // A shape that does not fit, an order that is none.
    let three = Tensor::eye(3, DType::F64, CPU)?;
    let three = MultivariateNormal::new(&three.get(0)?, &three)?;
    for wrong in [one.renyi(&three, 2.), one.wasserstein2(&three)] {
        let line = wrong.unwrap_err().to_string();
        assert!(
            line.contains("MultivariateNormal") && line.contains("[3]"),
            "{line}"
        );
    }
    assert!(one.renyi(&one, 0.).is_err());
    Ok(())
}

/// Factors of less than full rank, where the optimal rotation is one of many: W^2 of a point mass and of a line.
#[test]
fn wasserstein_of_singular_factors() -> Result<()> {
    let loc = Tensor::zeros(3, DType::F64, CPU)?;
    let eye = Tensor::eye(3, DType::F64, CPU)?;
    let line = Tensor::new(&[[2f64, 0., 0.], [0., 0., 0.], [0., 0., 0.]], CPU)?;
    for (from, to, want) in [
        (&loc.broadcast_as((3, 3))?.contiguous()?, &eye, 3.),
        (&line, &eye, 3.),
        (&eye, &line, 3.),
        (&line, &line.t()?.contiguous()?, 0.),
    ] {
        let got = flat(&gaussian_wasserstein2_squared([&loc, from], [&loc, to])?);
        assert!((got[0] - want).abs() < 1e-14, "{got:?}, not {want}");
    }
    Ok(())
}

#[test]
fn wasserstein_with_full_covariances_is_smooth_and_exact_near_equality() -> Result<()> {
    let normal = |shape: &[usize], seed| Rng::new(seed).normal(shape, DType::F64, CPU);
    let (loc, factor) = (normal(&[2, 3], 0)?, normal(&[2, 3, 3], 1)?);
    let (other, to) = (normal(&[1, 3], 2)?, normal(&[1, 3, 3], 3)?);
    let distance = |x: &[Tensor]| gaussian_wasserstein2_squared([&x[0], &x[1]], [&x[2], &x[3]]);
    check_gradient(&distance, &[loc.clone(), factor.clone(), other, to], 1e-6)?;
    // The same covariance from another root, and one that is nearly the same.
    let turned = factor.matmul(
        &Tensor::new(&[[0f64, 1., 0.], [0., 0., 1.], [1., 0., 0.]], CPU)?
            .broadcast_as((2, 3, 3))?
            .contiguous()?,
    )?;
    for gap in flat(&gaussian_wasserstein2_squared(
        [&loc, &factor],
        [&loc, &turned],
    )?) {
        assert!(gap < 1e-28, "{gap}");
    }
    let near = (&turned * (1. + 1e-9))?;
    let squared = gaussian_wasserstein2_squared([&loc, &factor], [&loc, &near])?;
    let want = (factor.sqr()?.sum((1, 2))? * 1e-18)?;
    for (got, want) in flat(&squared).into_iter().zip(flat(&want)) {
        assert!((got / want - 1.).abs() < 1e-5, "{got}, not {want}");
    }
    let flat_loc = loc.narrow(1, 0, 2)?;
    assert!(gaussian_wasserstein2_squared([&flat_loc, &factor], [&loc, &factor]).is_err());
    Ok(())
}
