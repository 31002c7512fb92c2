//! Masked networks, autoregressive maps and the flows made of them; neural spline flows.

use crate::support::floats;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::bijector::{Affine, Autoregressive, Bijector};
use candle_prob::distribution::{Distribution, Normal};
use candle_prob::flow::*;
use candle_prob::net::{MaskedMlp, MaskedMlpConfig, masked_mlp};
use candle_prob::testing::{Bounds, check_bijector};
use candle_prob::{Activation, Result, Rng, init};
use serde_json::Value;
use std::cell::Cell;

const CPU: &Device = &Device::Cpu;

/// Random numbers for all variables, also those that start at zero.
fn disturb(vars: &VarMap, scale: f64, seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed);
    for (_, var) in init::named_vars(vars)? {
        let noise = rng.normal(var.shape(), DType::F64, CPU)?;
        let width = *var.dims().last().unwrap_or(&1) as f64;
        var.set(&(noise * (scale / width.sqrt()))?.to_dtype(var.dtype())?)?;
    }
    Ok(())
}

fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(floats(&(a - b)?.abs()?)?.into_iter().fold(0., f64::max))
}

fn masked(config: &MaskedMlpConfig, dtype: DType) -> Result<MaskedMlp> {
    let vars = VarMap::new();
    let net = masked_mlp(config, init::seeded(&vars, 1, dtype, CPU))?;
    disturb(&vars, 1.5, 2)?;
    Ok(net)
}

/// Exactly: not one bit of an output moves with features that it must not see, and every other one does move it.
#[test]
fn the_jacobian_is_strictly_triangular() -> Result<()> {
    for (features, context) in [(5, 0), (5, 2), (2, 0), (1, 0), (1, 2), (7, 3)] {
        for hidden in [vec![], vec![16], vec![20, 24, 16]] {
            for order in [
                None,
                Some((0..features).rev().collect::<Vec<_>>()),
                Some((0..features).map(|i| (i * 3 + 1) % features).collect()),
            ] {
                let config = MaskedMlpConfig {
                    features,
                    parameters: 3,
                    hidden: hidden.clone(),
                    activation: Activation::Tanh,
                    context,
                    order: order.clone(),
                };
                let order = match order {
                    Some(order) => order,
                    None => (0..features).collect(),
                };
                let net = masked(&config, DType::F32)?;
                let mut rng = Rng::new(3);
                let x = Var::from_tensor(&rng.normal((1, features), DType::F32, CPU)?)?;
                let beside = Var::from_tensor(&rng.normal((1, context), DType::F32, CPU)?)?;
                let given = (context > 0).then(|| beside.as_tensor());
                let out = net.forward(&x, given)?;
                assert_eq!(out.dims(), &[1, features, 3]);
                for (place, feature) in order.iter().enumerate() {
                    for parameter in 0..3 {
                        let one = out.narrow(1, *feature, 1)?.narrow(2, parameter, 1)?;
                        let gradients = one.sum_all()?.backward()?;
                        let slopes = match gradients.get(&x) {
                            Some(slopes) => floats(slopes)?,
                            None => vec![0.; features],
                        };
                        for (other_place, other) in order.iter().enumerate() {
                            let depends = slopes[*other] != 0.;
                            let text = format!("{config:?}: output {feature} and feature {other}");
                            assert_eq!(depends, other_place < place, "{text}");
                        }
                        if context > 0 {
                            let slopes = floats(gradients.get(&beside).unwrap())?;
                            assert!(slopes.iter().all(|slope| *slope != 0.), "{config:?}");
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// The reference stacks all locations before all log-scales, and knows no order but 0, 1, 2, ...
#[test]
fn golden_masked_autoregressive() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../golden/splines.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap().iter();
    let mut seen = 0;
    for case in cases.filter(|c| c["kind"] == "made_affine_autoregressive") {
        seen += 1;
        for (dtype, name) in [(DType::F32, "f32"), (DType::F64, "f64")] {
            let tensor = |v: &Value| -> Result<Tensor> {
                let flat = v.get("data").unwrap_or(v).as_array().unwrap();
                let flat: Vec<f64> = flat.iter().map(|x| x.as_f64().unwrap()).collect();
                let dims = match v.get("shape") {
                    Some(dims) => serde_json::from_value(dims.clone()).unwrap(),
                    None => vec![flat.len()],
                };
                Ok(Tensor::from_vec(flat, dims, CPU)?.to_dtype(dtype)?)
            };
            let tolerance = golden["tolerance"][name].as_f64().unwrap();
            let x = tensor(&case["x"])?;
            let features = x.dim(1)?;
            let weights = case["weights"].as_array().unwrap();
            let biases = case["biases"].as_array().unwrap();
            let hidden = biases[..biases.len() - 1].iter();
            let vars = VarMap::new();
            let config = MaskedMlpConfig {
                features,
                hidden: hidden.map(|b| b.as_array().unwrap().len()).collect(),
                activation: Activation::Tanh,
                ..Default::default()
            };
            let net = masked_mlp(&config, init::seeded(&vars, 1, dtype, CPU))?;
            for (name, var) in init::named_vars(&vars)? {
                let (layer, part) = name.split_once('.').unwrap();
                let i: usize = layer.parse().unwrap();
                let mut value = tensor(&match part {
                    "weight" => weights[i].clone(),
                    _ => biases[i].clone(),
                })?;
                if i + 1 == weights.len() {
                    let order = (0..2 * features).map(|j| (j % 2 * features + j / 2) as u32);
                    let order: Vec<u32> = order.collect();
                    value = value.index_select(&Tensor::new(order, CPU)?, 0)?;
                } else if part == "weight" {
                    assert_eq!(
                        floats(&net.layers()[i].1)?,
                        floats(&tensor(&case["masks"][i])?)?
                    );
                }
                var.set(&value)?;
            }
            let map = Autoregressive::new(|y: &Tensor| {
                let out = net.forward(y, None)?;
                let column = |i: usize| out.narrow(D::Minus1, i, 1)?.squeeze(D::Minus1);
                Affine::soft_clamped(&column(0)?, &column(1)?, 1.)
            });
            let (u, log_det) = map.inverse_and_log_det(&x)?;
            let close = |what: &str, got: &Tensor, want: &Value| -> Result<()> {
                for (got, want) in floats(got)?.into_iter().zip(floats(&tensor(want)?)?) {
                    let text = format!("{what} {dtype:?}: {got} is not {want}");
                    assert!(
                        (got - want).abs() <= tolerance * want.abs().max(1.),
                        "{text}"
                    );
                }
                Ok(())
            };
            close("u", &u, &case["u"])?;
            close("log-det", &log_det, &case["logdet"])?;
            let (back, opposite) = map.transform_and_log_det(&u)?;
            close("x", &back, &case["x"])?;
            close("log-det", &opposite.neg()?, &case["logdet"])?;
            let zeros = Tensor::zeros(features, dtype, CPU)?;
            let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
            let log_prob = base.transformed_by(map)?.log_prob(&x)?;
            close(
                "log-prob",
                &log_prob,
                &case["log_prob_standard_normal_base"],
            )?;
        }
    }
    assert!(seen > 2);
    Ok(())
}

/// One call of the conditioner from data to latent, as many as features the other way.
#[test]
fn passes() -> Result<()> {
    let net = masked(
        &MaskedMlpConfig {
            features: 6,
            ..Default::default()
        },
        DType::F64,
    )?;
    let calls = Cell::new(0);
    let map = Autoregressive::new(|y: &Tensor| {
        calls.set(calls.get() + 1);
        let out = net.forward(y, None)?.chunk(2, D::Minus1)?;
        Affine::soft_clamped(&out[0].squeeze(D::Minus1)?, &out[1].squeeze(D::Minus1)?, 2.)
    });
    let x = Rng::new(1).normal((4, 6), DType::F64, CPU)?;
    let z = map.inverse(&x)?;
    assert_eq!(calls.replace(0), 1);
    assert!(gap(&map.transform(&z)?, &x)? < 1e-12);
    assert_eq!(calls.replace(0), 6);
    map.inverted().transform(&x)?;
    assert_eq!(calls.get(), 1);
    Ok(())
}

/// A flow in f64 or f32, far from the identity.
fn made<F>(
    build: impl Fn(candle_nn::VarBuilder) -> Result<F>,
    dtype: DType,
    scale: f64,
) -> Result<(F, VarMap)> {
    let vars = VarMap::new();
    let flow = build(init::seeded(&vars, 1, dtype, CPU))?;
    disturb(&vars, scale, 2)?;
    Ok((flow, vars))
}

fn small(context: usize) -> (MafConfig, NeuralSplineConfig) {
    let (features, layers, hidden, activation) = (3, 2, vec![8], Activation::Tanh);
    let affine = MafConfig {
        features,
        layers,
        hidden: hidden.clone(),
        activation,
        context,
        bound: 2.,
    };
    let spline = NeuralSplineConfig {
        features,
        layers,
        bins: 3,
        bound: 2.5,
        hidden,
        activation,
        context,
        keep_activations: true,
    };
    (affine, spline)
}

#[test]
fn every_flow_through_the_harness() -> Result<()> {
    let x = Rng::new(5).normal((4, 3), DType::F64, CPU)?;
    let noise = Rng::new(6).normal((4, 2), DType::F64, CPU)?;
    let (affine, spline) = small(2);
    let shapes = |build: &dyn Fn(candle_nn::VarBuilder) -> Result<()>| -> Result<VarMap> {
        let (_, vars) = made(build, DType::F64, 1.)?;
        Ok(vars)
    };
    macro_rules! check {
        ($new:ident, $config:expr, |$flow:ident, $context:ident| $given:expr) => {{
            let vars = shapes(&|vb| $new($config, vb).map(|_| ()))?;
            let named = init::named_vars(&vars)?;
            let names: Vec<String> = named.keys().cloned().collect();
            let mut parameters: Vec<Tensor> = named
                .values()
                .map(|v| v.as_tensor().copy())
                .collect::<candle_core::Result<_>>()?;
            parameters.push(noise.clone());
            let build = |p: &[Tensor]| {
                let tensors = names.iter().cloned().zip(p.iter().cloned()).collect();
                let vb = candle_nn::VarBuilder::from_tensors(tensors, p[0].dtype(), CPU);
                let ($flow, $context) = ($new($config, vb)?, p[p.len() - 1].narrow(0, 0, 1)?);
                Ok($given)
            };
            check_bijector(build, &parameters, &x, Bounds::default())?;
        }};
    }
    let coupling = RealNvpConfig {
        features: 3,
        layers: 2,
        hidden: vec![8],
        activation: Activation::Tanh,
        context: 2,
        ..Default::default()
    };
    check!(real_nvp, &coupling, |flow, context| flow.given(&context)?);
    check!(maf, &affine, |flow, context| flow.given(&context)?);
    check!(iaf, &affine, |flow, context| flow.given(&context)?);
    check!(neural_spline, &spline, |flow, context| flow
        .given(&context)?);
    check!(autoregressive_spline, &spline, |flow, context| flow
        .given(&context)?);
    Ok(())
}

#[test]
fn fresh_flows_are_the_identity() -> Result<()> {
    let (affine, spline) = (MafConfig::default(), NeuralSplineConfig::default());
    for dtype in [DType::F32, DType::F64] {
        let vb = || init::seeded(&VarMap::new(), 1, dtype, CPU);
        let flows: [Box<dyn Bijector>; 6] = [
            Box::new(nice(&NiceConfig::default(), vb())?),
            Box::new(real_nvp(&RealNvpConfig::default(), vb())?),
            Box::new(maf(&affine, vb())?),
            Box::new(iaf(&affine, vb())?),
            Box::new(neural_spline(&spline, vb())?),
            Box::new(autoregressive_spline(&spline, vb())?),
        ];
        let x = (Rng::new(1).normal((500, 2), dtype, CPU)? * 3.)?;
        for flow in flows {
            for (y, log_det) in [
                flow.transform_and_log_det(&x)?,
                flow.inverse_and_log_det(&x)?,
            ] {
                assert!(gap(&y, &x)? <= 1e-6);
                assert!(gap(&log_det, &log_det.zeros_like()?)? <= 1e-6);
            }
        }
    }
    Ok(())
}

/// Densities of flows with and without context integrate to one.
#[test]
fn densities_integrate_to_one() -> Result<()> {
    let grid = 400;
    let (low, step) = (-10., 20. / grid as f64);
    let at: Vec<f64> = (0..grid * grid)
        .flat_map(|i| [i / grid, i % grid].map(|i| low + (i as f64 + 0.5) * step))
        .collect();
    let x = Tensor::from_vec(at, (grid * grid, 2), CPU)?;
    let zeros = Tensor::zeros(2, DType::F64, CPU)?;
    for context in [0, 2] {
        let (mut affine, mut spline) = small(context);
        (affine.features, spline.features, spline.bound) = (2, 2, 4.);
        let given = Tensor::new(&[0.4, -1.2], CPU)?;
        let coupling = RealNvpConfig {
            layers: 3,
            hidden: vec![8],
            context,
            ..Default::default()
        };
        let additive = NiceConfig {
            hidden: vec![8],
            context,
            ..Default::default()
        };
        macro_rules! flow {
            ($new:ident, $config:expr) => {{
                let (flow, _) = made(|vb| $new($config, vb), DType::F64, 0.5)?;
                match context {
                    0 => flow,
                    _ => flow.given(&given)?,
                }
            }};
        }
        let flows: [Box<dyn Bijector>; 5] = [
            Box::new(flow!(nice, &additive)),
            Box::new(flow!(real_nvp, &coupling)),
            Box::new(flow!(maf, &affine)),
            Box::new(flow!(neural_spline, &spline)),
            Box::new(flow!(autoregressive_spline, &spline)),
        ];
        for (i, flow) in flows.into_iter().enumerate() {
            let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
            let density = base.transformed_by(flow)?.log_prob(&x)?.exp()?;
            let total = density.sum_all()?.to_scalar::<f64>()? * step * step;
            assert!(
                (total - 1.).abs() < 2e-3,
                "flow {i}, context {context}: {total}"
            );
        }
    }
    Ok(())
}

#[test]
fn refusals() -> Result<()> {
    let vb = || init::seeded(&VarMap::new(), 1, DType::F32, CPU);
    let text = |result: Result<String>| result.err().map(|e| e.to_string()).unwrap_or_default();
    let net = |change: &dyn Fn(&mut MaskedMlpConfig)| {
        let mut config = MaskedMlpConfig::default();
        change(&mut config);
        text(masked_mlp(&config, vb()).map(|_| String::new()))
    };
    assert!(net(&|c| c.features = 0).contains("features"));
    assert!(net(&|c| c.parameters = 0).contains("parameters"));
    assert!(net(&|c| c.hidden = vec![3, 0]).contains("hidden"));
    for order in [vec![0], vec![0, 0], vec![0, 2], vec![0, 1, 1]] {
        assert!(net(&|c| c.order = Some(order.clone())).contains("order"));
    }
    let spline = |change: &dyn Fn(&mut NeuralSplineConfig)| {
        let mut config = NeuralSplineConfig::default();
        change(&mut config);
        let one = text(neural_spline(&config, vb()).map(|_| String::new()));
        let other = text(autoregressive_spline(&config, vb()).map(|_| String::new()));
        [one, other]
    };
    for (i, errors) in [
        spline(&|c| c.layers = 0),
        spline(&|c| c.bins = 1),
        spline(&|c| c.bins = 1000),
        spline(&|c| c.bound = 0.),
        spline(&|c| c.bound = f64::INFINITY),
    ]
    .into_iter()
    .enumerate()
    {
        let arg = ["layers", "bins", "bins", "bound", "bound"][i];
        assert!(errors.iter().all(|e| e.contains(arg)), "{errors:?}");
    }
    let (affine, _) = small(0);
    let flow = maf(&affine, vb())?;
    for dims in [vec![], vec![2], vec![5, 4]] {
        let x = Tensor::zeros(dims, DType::F32, CPU)?;
        let error = flow.inverse(&x).unwrap_err().to_string();
        assert!(error.contains("[.., 3]"), "{error}");
    }
    let x = Tensor::zeros((5, 3), DType::F32, CPU)?;
    assert!(flow.given(&x).is_err());
    let (affine, spline) = small(2);
    for error in [
        maf(&affine, vb())?.inverse(&x).unwrap_err(),
        neural_spline(&spline, vb())?.inverse(&x).unwrap_err(),
    ] {
        assert!(error.to_string().contains("given"), "{error}");
    }
    let flow = neural_spline(&spline, vb())?;
    assert!(
        flow.given(&Tensor::zeros((5, 3), DType::F32, CPU)?)
            .is_err()
    );
    let flow = flow.given(&Tensor::zeros((4, 2), DType::F32, CPU)?)?;
    let error = flow.inverse(&x).unwrap_err().to_string();
    assert!(
        error.contains("[5, 2]") && error.contains("[4, 2]"),
        "{error}"
    );
    Ok(())
}
