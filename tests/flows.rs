//! Flows: the fused recipe against its layers one by one, both directions, both ways of memory.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::{RealNvp, RealNvpConfig, real_nvp};
use candle_prob::{Activation, Result, Rng, init};
use std::collections::HashMap;

const CPU: Device = Device::Cpu;

/// Weights of a flow that is far from the identity: also the last layers, which start at zero.
fn weights(config: &RealNvpConfig, scale: f64) -> Result<Vec<(String, Tensor)>> {
    let vars = VarMap::new();
    real_nvp(config, init::seeded(&vars, 1, DType::F64, &CPU))?;
    let mut rng = Rng::new(2);
    let random = |(name, var): (String, Var)| -> Result<(String, Tensor)> {
        let noise = rng.normal(var.shape(), DType::F64, &CPU)?;
        let width = *var.dims().last().unwrap_or(&1) as f64;
        Ok((name, (noise * (scale / width.sqrt()))?))
    };
    init::named_vars(&vars)?.into_iter().map(random).collect()
}

fn flow(config: &RealNvpConfig, scale: f64, dtype: DType) -> Result<(RealNvp, Vec<Var>)> {
    let vars: Vec<(String, Var)> = weights(config, scale)?
        .into_iter()
        .map(|(name, weight)| -> Result<_> {
            Ok((name, Var::from_tensor(&weight.to_dtype(dtype)?)?))
        })
        .collect::<Result<_>>()?;
    let tensors: HashMap<String, Tensor> = vars
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    let vb = VarBuilder::from_tensors(tensors, dtype, &CPU);
    Ok((
        real_nvp(config, vb)?,
        vars.into_iter().map(|(_, v)| v).collect(),
    ))
}

/// Results, log-dets and all gradients of an uneven loss.
fn run(config: &RealNvpConfig, rows: &[usize], inverse: bool, dtype: DType) -> Result<Vec<Tensor>> {
    let (flow, vars) = flow(config, 0.8, dtype)?;
    let mut rng = Rng::new(3);
    let mut draw = |width: usize| -> Result<Var> {
        let draw = rng.normal([rows, &[width]].concat(), DType::F64, &CPU)?;
        Ok(Var::from_tensor(&draw.to_dtype(dtype)?)?)
    };
    let x = draw(config.features)?;
    let mut leaves = vec![x.clone()];
    let flow = match config.context {
        0 => flow,
        width => {
            let context = draw(width)?;
            leaves.push(context.clone());
            flow.given(&context)?
        }
    };
    leaves.extend(vars);
    let (y, log_det) = match inverse {
        false => flow.transform_and_log_det(&x)?,
        true => flow.inverse_and_log_det(&x)?,
    };
    assert_eq!(log_det.dims(), rows);
    let loss = ((y.sin()?.sum(D::Minus1)? * 0.7)? + log_det.sin()?)?.sum_all()?;
    let gradients = loss.backward()?;
    let mut all = vec![y.detach(), log_det.detach()];
    for leaf in &leaves {
        let gradient = gradients.get(leaf).cloned();
        all.push(gradient.map_or_else(|| leaf.zeros_like(), Ok)?);
    }
    Ok(all)
}

fn close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "{what}");
    if a.elem_count() == 0 {
        return Ok(());
    }
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    let scale = b.abs()?.max_all()?.to_scalar::<f64>()?.max(1.);
    let gap = (a - b)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(gap <= tolerance * scale, "{what}: {gap} at scale {scale}");
    Ok(())
}

#[test]
fn one_node_is_the_layers_one_by_one() -> Result<()> {
    let small = RealNvpConfig {
        features: 5,
        layers: 3,
        hidden: vec![16, 12],
        ..Default::default()
    };
    let with_context = RealNvpConfig {
        context: 3,
        activation: Activation::Silu,
        bound: f64::INFINITY,
        ..small.clone()
    };
    let linear = RealNvpConfig {
        hidden: vec![],
        layers: 1,
        ..small.clone()
    };
    for config in [small, with_context, linear] {
        for stored in [true, false] {
            let config = RealNvpConfig {
                stored,
                ..config.clone()
            };
            for rows in [&[][..], &[7], &[3, 50], &[0], &[700]] {
                for inverse in [false, true] {
                    let fused = run(&config, rows, inverse, DType::F32)?;
                    let composed = run(&config, rows, inverse, DType::F64)?;
                    for (i, (a, b)) in fused.iter().zip(&composed).enumerate() {
                        let what = format!("{config:?} {rows:?} inverse {inverse} output {i}");
                        close(a, b, 2e-5, &what)?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn there_and_back() -> Result<()> {
    let config = RealNvpConfig {
        features: 19,
        layers: 32,
        ..Default::default()
    };
    for (dtype, tolerance) in [(DType::F32, 1e-3), (DType::F64, 1e-9)] {
        let (flow, _) = flow(&config, 0.3, dtype)?;
        let z = Rng::new(4).normal((100, 19), dtype, &CPU)?;
        let (x, log_det) = flow.transform_and_log_det(&z)?;
        let (back, other) = flow.inverse_and_log_det(&x)?;
        close(&back, &z, tolerance, "argument")?;
        close(&other, &log_det.neg()?, tolerance, "log-det")?;
    }
    Ok(())
}
