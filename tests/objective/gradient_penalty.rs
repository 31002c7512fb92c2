//! Gradient penalties: reference values, central differences, examples one by one, and critics that are refused.

use crate::support::{differences, floats, golden};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::detach::Detach;
use candle_prob::dual::{Dual, DualModule};
use candle_prob::init::{named_vars, seeded};
use candle_prob::net::{
    ConvEncoderConfig, DcganConfig, Dense, DiscriminatorNorm, Mlp, Positions, SpectralNormConfig,
    conv_encoder, conv2d, dcgan_discriminator, dense, mlp, spectral_norm,
};
use candle_prob::objective::{
    GradientPenalty, GradientPenaltyForm, gradient_penalty, interpolate_random,
};
use candle_prob::{Activation, Error, Result, Rng};
use std::cell::Cell;

const CPU: &Device = &Device::Cpu;

const TWO_SIDED: GradientPenaltyForm = GradientPenaltyForm::TwoSided { weight: 10. };
const ONE_SIDED: GradientPenaltyForm = GradientPenaltyForm::OneSided { weight: 10. };
const R1: GradientPenaltyForm = GradientPenaltyForm::ZeroCentred { gamma: 10. };

fn normal(seed: u64, dims: &[usize], dtype: DType) -> Result<Tensor> {
    Rng::new(seed).normal(dims, dtype, CPU)
}

fn variable(case: &serde_json::Value, name: &str, dims: &[usize], dtype: DType) -> Result<Var> {
    let numbers: Vec<f64> = golden::list(&case[name]).into_iter().flatten().collect();
    Ok(Var::from_tensor(
        &Tensor::from_vec(numbers, dims, CPU)?.to_dtype(dtype)?,
    )?)
}

#[test]
fn penalties_of_reference_critics() -> Result<()> {
    let all = golden::file(include_str!("../golden/gan.json"));
    for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
        let case = &all["gradient_penalty_linear"];
        let w = variable(case, "w", &[1, 5], dtype)?;
        let b = (Tensor::ones(1, dtype, CPU)? * case["b"].as_f64().unwrap())?;
        let critic = Dense::new(w.as_tensor().clone(), Some(b), Activation::Identity)?;
        for count in [1, 64] {
            let x = normal(1, &[count, 5], dtype)?;
            let of = |form| gradient_penalty(|x| critic.forward_dual(x), &x, form);
            for (form, name) in [(TWO_SIDED, "penalty"), (ONE_SIDED, "one_sided"), (R1, "r1")] {
                for got in floats(&of(form)?.penalty)? {
                    let want = case[name].as_f64().unwrap();
                    golden::check(name, got, want, 0., dtype, tolerance);
                }
            }
            let store = of(TWO_SIDED)?.penalty.mean_all()?.backward()?;
            let got = floats(store.get(&w).expect("a gradient"))?;
            for (got, want) in got.into_iter().zip(golden::list(&case["grad_w"])) {
                golden::check("grad_w", got, want.unwrap(), 0., dtype, tolerance);
            }
        }

        let case = &all["gradient_penalty_mlp"];
        let v = variable(case, "V", &[6, 5], dtype)?;
        let c = variable(case, "c", &[6], dtype)?;
        let a = variable(case, "a", &[1, 6], dtype)?;
        let tensors = (
            v.as_tensor().clone(),
            c.as_tensor().clone(),
            a.as_tensor().clone(),
        );
        let critic = Mlp::new(vec![
            Dense::new(tensors.0, Some(tensors.1), Activation::Tanh)?,
            Dense::new(tensors.2, None, Activation::Identity)?,
        ])?;
        let x = variable(case, "x_hat", &[4, 5], dtype)?;
        let parts = gradient_penalty(|x| critic.forward_dual(x), &x, TWO_SIDED)?;
        for (got, want) in floats(&parts.norm)?
            .into_iter()
            .zip(golden::list(&case["gradient_norm"]))
        {
            golden::check("norm", got, want.unwrap(), 0., dtype, tolerance);
        }
        let mean = parts.penalty.mean_all()?;
        let want = case["penalty"].as_f64().unwrap();
        golden::check("penalty", floats(&mean)?[0], want, 0., dtype, tolerance);
        let store = mean.backward()?;
        assert!(store.get(&x).is_none());
        for (name, var) in [("grad_V", &v), ("grad_c", &c), ("grad_a", &a)] {
            let got = floats(store.get(var).expect("a gradient"))?;
            for (got, want) in got.into_iter().zip(golden::list(&case[name])) {
                golden::check(name, got, want.unwrap(), 0., dtype, 10. * tolerance);
            }
        }
    }
    Ok(())
}

type Critic = Box<dyn Fn(&Dual) -> Result<Dual>>;

/// A critic, the shape of an example and the variables.
type Case = (&'static str, Critic, Vec<usize>, VarMap);

fn critics(dtype: DType) -> Result<Vec<Case>> {
    let mut all: Vec<Case> = vec![];
    for (name, activation) in [
        ("tanh", Activation::Tanh),
        ("softplus", Activation::Softplus),
        ("gelu", Activation::Gelu),
        ("leaky", Activation::LeakyRelu(0.2)),
    ] {
        let vars = VarMap::new();
        let critic = mlp(&[3, 7, 5, 1], activation, seeded(&vars, 2, dtype, CPU))?;
        all.push((
            name,
            Box::new(move |x| critic.forward_dual(x)),
            vec![3],
            vars,
        ));
    }
    for positions in [Positions::Flatten, Positions::Max] {
        let config = ConvEncoderConfig {
            channels: vec![3, 4],
            activation: Activation::Softplus,
            positions,
            ..Default::default()
        };
        let vars = VarMap::new();
        let vb = seeded(&vars, 2, dtype, CPU);
        let encoder = conv_encoder(&config, (2, 9, 8), vb.pp("encoder"))?;
        let last = dense(encoder.features(), 1, Activation::Identity, vb.pp("last"))?;
        let critic = move |x: &Dual| last.forward_dual(&encoder.forward_dual(x)?);
        all.push(("encoder", Box::new(critic), vec![2, 9, 8], vars));
    }
    for norm in [
        DiscriminatorNorm::None,
        DiscriminatorNorm::Spectral(SpectralNormConfig::default()),
    ] {
        let config = DcganConfig {
            image: (1, 8, 4),
            channels: vec![4, 3],
            norm,
            ..Default::default()
        };
        let vars = VarMap::new();
        let critic = dcgan_discriminator(&config, seeded(&vars, 2, dtype, CPU))?;
        let critic = move |x: &Dual| critic.forward_dual(x);
        all.push(("dcgan", Box::new(critic), vec![1, 8, 4], vars));
    }
    // Normalized layers, scores for patches, which are added up.
    let vars = VarMap::new();
    let vb = seeded(&vars, 2, dtype, CPU);
    let config = candle_prob::net::Conv2dConfig {
        activation: Activation::Tanh,
        ..Default::default()
    };
    let one = conv2d(1, 3, &config, vb.pp("one"))?;
    let one = spectral_norm(one, &SpectralNormConfig::default(), vb.pp("one"))?;
    let two = conv2d(3, 2, &config, vb.pp("two"))?;
    let critic = move |x: &Dual| two.forward_dual(&one.forward_dual(x)?);
    all.push(("patches", Box::new(critic), vec![1, 4, 5], vars));
    Ok(all)
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    for (name, critic, event, vars) in critics(DType::F64)? {
        let x = normal(4, &[&[3], event.as_slice()].concat(), DType::F64)?;
        for form in [TWO_SIDED, ONE_SIDED, R1] {
            let mut seen = 0;
            let penalty = || Ok(gradient_penalty(&critic, &x, form)?.penalty);
            let store = penalty()?.sum_all()?.backward()?;
            for (path, var) in named_vars(&vars)? {
                if store.get(&var).is_none() {
                    // Slopes that are constant do not know the bias.
                    let none = ["bias", "u", "v"].contains(&path.rsplit('.').next().unwrap());
                    assert!(none, "{name} {path}");
                    continue;
                }
                differences(&var, 1e-5, &penalty)?;
                seen += 1;
            }
            assert!(seen >= 2);
        }
    }
    Ok(())
}

/// Critics of one example at a time: what the others are does not matter, and lengths are over all dims but the first.
#[test]
fn an_example_has_the_penalty_that_it_has_alone() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for (name, critic, event, vars) in critics(dtype)? {
            let one = normal(4, &[&[1], event.as_slice()].concat(), dtype)?;
            let others = normal(5, &[&[63], event.as_slice()].concat(), dtype)?;
            let of = |x: &Tensor| gradient_penalty(&critic, x, TWO_SIDED);
            let alone = floats(&of(&one)?.penalty)?[0];
            let rounding = if dtype == DType::F32 { 1e-4 } else { 1e-11 };
            let among = of(&Tensor::cat(&[&others, &one], 0)?)?;
            let got = floats(&among.penalty)?[63];
            assert!(
                (got - alone).abs() < rounding * (1. + alone),
                "{name} {got} {alone}"
            );
            // As many copies: each alike, and the same mean gradient.
            let copies = one.repeat([&[64], vec![1; event.len()].as_slice()].concat())?;
            let copies = of(&copies)?.penalty;
            for got in floats(&copies)? {
                assert!(
                    (got - alone).abs() < rounding * (1. + alone),
                    "{name} {got} {alone}"
                );
            }
            let (all, single) = (
                copies.mean_all()?.backward()?,
                of(&one)?.penalty.backward()?,
            );
            for (path, var) in named_vars(&vars)? {
                let Some(want) = single.get(&var).map(floats).transpose()? else {
                    continue;
                };
                let got = floats(all.get(&var).expect("a gradient"))?;
                let scale = want.iter().fold(1f64, |a, b| a.max(b.abs()));
                for (got, want) in got.iter().zip(&want) {
                    assert!(
                        (got - want).abs() < rounding * scale,
                        "{name} {path} {got} {want}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// The penalty is the formula of the lengths, for examples that lie in memory in any order.
#[test]
fn values_are_the_formulas() -> Result<()> {
    let vars = VarMap::new();
    let critic = mlp(
        &[4, 8, 1],
        Activation::Softplus,
        seeded(&vars, 2, DType::F64, CPU),
    )?;
    let x = normal(1, &[4, 6], DType::F64)?.t()?;
    let of = |form| gradient_penalty(|x| critic.forward_dual(x), &x, form);
    let norm = floats(&of(TWO_SIDED)?.norm)?;
    assert_eq!(norm.len(), 6);
    let check = |parts: GradientPenalty, f: &dyn Fn(f64) -> f64| -> Result<()> {
        for (got, norm) in floats(&parts.penalty)?.into_iter().zip(&norm) {
            assert!((got - f(*norm)).abs() < 1e-12, "{got} at {norm}");
        }
        Ok(())
    };
    check(of(TWO_SIDED)?, &|n| 10. * (n - 1.).powi(2))?;
    check(of(ONE_SIDED)?, &|n| 10. * (n - 1.).max(0.).powi(2))?;
    check(of(R1)?, &|n| 5. * n * n)?;
    Ok(())
}

/// Critics that look at the batch, that forget, or that cannot be differentiated.
#[test]
fn critics_that_cannot_be_penalized_are_refused() -> Result<()> {
    let vars = VarMap::new();
    let layers = mlp(
        &[3, 6, 1],
        Activation::Tanh,
        seeded(&vars, 2, DType::F64, CPU),
    )?;
    let x = normal(1, &[8, 3], DType::F64)?;
    let mean = |x: &Dual| x.linear(|t| Ok(t.mean_keepdim(0)?));
    let calls = Cell::new(0.);
    let refuse = |name: &str, critic: &dyn Fn(&Dual) -> Result<Dual>| {
        let refused = gradient_penalty(critic, &x, TWO_SIDED);
        assert!(
            matches!(refused, Err(Error::Value { arg: "critic", .. })),
            "{name}"
        );
    };
    refuse("batch mean", &|x| layers.forward_dual(&x.sub(&mean(x)?)?));
    refuse("batch variance", &|x| {
        let centred = x.sub(&mean(x)?)?;
        let deviation = mean(&centred.sqr()?)?.shift(1e-5)?.sqrt()?;
        layers.forward_dual(&centred.div(&deviation)?)
    });
    // Symmetric in the examples, and each gradient points the same way: lengths of equal steps would agree.
    let w = Var::ones((1, 3), DType::F64, CPU)?;
    let plain = Dense::new(w.as_tensor().clone(), None, Activation::Identity)?;
    refuse("symmetric", &|x| plain.forward_dual(&x.add(&mean(x)?)?));
    refuse("neighbour", &|x| {
        let next =
            x.linear(|t| Ok(Tensor::cat(&[&t.narrow(0, 1, 7)?, &t.narrow(0, 0, 1)?], 0)?))?;
        plain.forward_dual(&x.add(&next)?)
    });
    refuse("part of the tangent", &|x| {
        let still = Dual::constant(x.value());
        layers.forward_dual(&x.add(&still)?)
    });
    refuse("a second time", &|x| {
        calls.set(calls.get() + 1.);
        layers.forward_dual(x)?.scale(calls.get())
    });
    refuse("nothing", &|x| {
        layers.forward_dual(&Dual::constant(&x.value().detach()))
    });
    refuse("no tangent", &|x| {
        layers.forward_dual(&Dual::constant(x.value()))
    });
    refuse("constants", &|x| layers.detach().forward_dual(x));
    let config = DcganConfig {
        image: (1, 8, 8),
        channels: vec![3, 2],
        ..Default::default()
    };
    let images = normal(1, &[4, 1, 8, 8], DType::F64)?;
    let batch = dcgan_discriminator(&config, seeded(&VarMap::new(), 2, DType::F64, CPU))?;
    let refused = gradient_penalty(|x| batch.forward_dual(x), &images, R1);
    assert!(matches!(refused, Err(Error::Value { arg: "norm", .. })));
    // Statistics that are constants are no matter.
    let mean = x.mean_keepdim(0)?;
    let fixed = |x: &Dual| layers.forward_dual(&x.sub(&Dual::constant(&mean))?);
    gradient_penalty(fixed, &x, TWO_SIDED)?;

    let critic = |x: &Dual| layers.forward_dual(x);
    let shape = |refused: Result<GradientPenalty>| matches!(refused, Err(Error::Shape { .. }));
    assert!(shape(gradient_penalty(
        critic,
        &x.get(0)?.get(0)?,
        TWO_SIDED
    )));
    assert!(shape(gradient_penalty(
        critic,
        &x.narrow(1, 0, 0)?,
        TWO_SIDED
    )));
    let sum = |x: &Dual| x.linear(|t| Ok(t.sum(0)?));
    assert!(shape(gradient_penalty(sum, &x, TWO_SIDED)));
    let dtype = gradient_penalty(critic, &x.to_dtype(DType::U8)?, TWO_SIDED);
    assert!(matches!(dtype, Err(Error::DType { .. })));
    for weight in [-1., f64::NAN, f64::INFINITY] {
        for form in [
            GradientPenaltyForm::TwoSided { weight },
            GradientPenaltyForm::OneSided { weight },
            GradientPenaltyForm::ZeroCentred { gamma: weight },
        ] {
            let refused = gradient_penalty(critic, &x, form);
            assert!(matches!(refused, Err(Error::Value { .. })));
        }
    }
    Ok(())
}

/// A gradient of 0 has no direction: no number is lost, and none of the other examples' gradients.
#[test]
fn flat_critics_and_extreme_slopes() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        // 0 and -3 are where a ReLU is off.
        let x = Tensor::new(&[[2f64], [-3.], [0.]], CPU)?.to_dtype(dtype)?;
        for (scale, rounding) in [(1., 1e-6), (1e-30, 1e-6), (1e25, 1e-6)] {
            let weight = Var::from_tensor(&(Tensor::ones((1, 1), dtype, CPU)? * scale)?)?;
            let critic = Dense::new(weight.as_tensor().clone(), None, Activation::Relu)?;
            let of = |form| gradient_penalty(|x| critic.forward_dual(x), &x, form);
            let (two, r1) = (of(TWO_SIDED)?, of(R1)?);
            let norm = floats(&two.norm)?;
            assert!(
                (norm[0] / scale - 1.).abs() < rounding && norm[1..] == [0., 0.],
                "{norm:?}"
            );
            assert_eq!(floats(&two.penalty)?[1..], [10., 10.]);
            assert_eq!(floats(&r1.penalty)?[1..], [0., 0.]);
            let slope = |parts: GradientPenalty| -> Result<f64> {
                let store = parts.penalty.sum_all()?.backward()?;
                Ok(floats(store.get(&weight).expect("a gradient"))?[0])
            };
            let (got, want) = (slope(two)?, 20. * (scale - 1.));
            // The product at 1 is rounded: so is its distance from 1.
            assert!(
                (got - want).abs() <= rounding * want.abs().max(1.),
                "{got} {want}"
            );
            let (got, want) = (slope(r1)?, 10. * scale);
            assert!((got - want).abs() <= rounding * want, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn no_examples_have_no_penalties() -> Result<()> {
    let vars = VarMap::new();
    let critic = mlp(&[3, 1], Activation::Tanh, seeded(&vars, 2, DType::F32, CPU))?;
    let x = Tensor::zeros((0, 3), DType::F32, CPU)?;
    let parts = gradient_penalty(|x| critic.forward_dual(x), &x, R1)?;
    assert_eq!(
        (parts.penalty.dims(), parts.norm.dims()),
        (&[0][..], &[0][..])
    );
    let between = interpolate_random(&x, &x, &mut Rng::new(1))?;
    assert_eq!(between.dims(), [0, 3]);
    Ok(())
}

/// One share for each example, uniform: the mean of 4000 is within 4 of its standard errors of 1/2, and so is that of the squares
/// of 1/3 (a false alarm in 10,000).
#[test]
fn random_points_lie_between() -> Result<()> {
    let from = Var::ones((4000, 2, 3), DType::F64, CPU)?;
    let to = (from.as_tensor() * 3.)?;
    let points = interpolate_random(&from, &to, &mut Rng::new(7))?;
    assert!(!points.track_op());
    let spread = (points.max_keepdim(D::Minus1)? - points.min_keepdim(D::Minus1)?)?;
    assert_eq!(floats(&spread.max_all()?)?[0], 0.);
    let shares: Vec<f64> = floats(&points.flatten_from(1)?.narrow(1, 0, 1)?)?;
    let shares: Vec<f64> = shares.into_iter().map(|p| (3. - p) / 2.).collect();
    let mean = |f: fn(f64) -> f64| shares.iter().map(|a| f(*a)).sum::<f64>() / 4000.;
    let root = 4000f64.sqrt();
    assert!((mean(|a| a) - 0.5).abs() < 4. * (1f64 / 12.).sqrt() / root);
    assert!((mean(|a| a * a) - 1. / 3.).abs() < 4. * (4f64 / 45.).sqrt() / root);
    let rng = &mut Rng::new(7);
    assert!(interpolate_random(&from, &to.narrow(0, 0, 1)?, rng).is_err());
    assert!(
        interpolate_random(
            &from.get(0)?.get(0)?.get(0)?,
            &to.get(0)?.get(0)?.get(0)?,
            rng
        )
        .is_err()
    );
    Ok(())
}
