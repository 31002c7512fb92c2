//! Flows: the fused recipes against their layers one by one, both directions, both ways of memory.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::{
    MafConfig, NeuralSplineConfig, NiceConfig, RealNvpConfig, VectorFlow, autoregressive_spline,
    iaf, maf, neural_spline, nice, real_nvp,
};
use candle_prob::{Activation, Result, Rng, init};
use std::collections::HashMap;

const CPU: Device = Device::Cpu;

/// A recipe that runs as one node.
#[derive(Debug, Clone)]
enum Recipe {
    Affine(RealNvpConfig),
    Additive(NiceConfig),
    Spline(NeuralSplineConfig),
    Maf(MafConfig),
    Iaf(MafConfig),
    Autoregressive(NeuralSplineConfig),
}

impl Recipe {
    /// The widths of arguments and of the context.
    fn widths(&self) -> [usize; 2] {
        match self {
            Recipe::Affine(config) => [config.features, config.context],
            Recipe::Additive(config) => [config.features, config.context],
            Recipe::Maf(config) | Recipe::Iaf(config) => [config.features, config.context],
            Recipe::Spline(config) | Recipe::Autoregressive(config) => {
                [config.features, config.context]
            }
        }
    }

    fn build(&self, vb: VarBuilder, context: Option<&Tensor>) -> Result<VectorFlow> {
        let flow = match self {
            Recipe::Affine(config) => real_nvp(config, vb),
            Recipe::Additive(config) => nice(config, vb),
            Recipe::Spline(config) => neural_spline(config, vb),
            Recipe::Maf(config) => maf(config, vb),
            Recipe::Iaf(config) => iaf(config, vb),
            Recipe::Autoregressive(config) => autoregressive_spline(config, vb),
        }?;
        match context {
            Some(context) => flow.given(context),
            None => Ok(flow),
        }
    }
}

/// Weights of a flow that is far from the identity: also the last layers, which start at zero.
fn weights(recipe: &Recipe, scale: f64) -> Result<Vec<(String, Tensor)>> {
    let vars = VarMap::new();
    recipe.build(init::seeded(&vars, 1, DType::F64, &CPU), None)?;
    let mut rng = Rng::new(2);
    let random = |(name, var): (String, Var)| -> Result<(String, Tensor)> {
        let noise = rng.normal(var.shape(), DType::F64, &CPU)?;
        let width = *var.dims().last().unwrap_or(&1) as f64;
        Ok((name, (noise * (scale / width.sqrt()))?))
    };
    init::named_vars(&vars)?.into_iter().map(random).collect()
}

fn flow(
    recipe: &Recipe,
    scale: f64,
    dtype: DType,
    context: Option<&Tensor>,
) -> Result<(VectorFlow, Vec<Var>)> {
    let vars: Vec<(String, Var)> = weights(recipe, scale)?
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
    let flow = recipe.build(vb, context)?;
    Ok((flow, vars.into_iter().map(|(_, v)| v).collect()))
}

/// Results, log-dets and all gradients of an uneven loss.
fn run(recipe: &Recipe, rows: &[usize], inverse: bool, dtype: DType) -> Result<Vec<Tensor>> {
    let mut rng = Rng::new(3);
    let mut draw = |width: usize| -> Result<Var> {
        let draw = rng.normal([rows, &[width]].concat(), DType::F64, &CPU)?;
        Ok(Var::from_tensor(&draw.to_dtype(dtype)?)?)
    };
    let [features, context] = recipe.widths();
    let x = draw(features)?;
    let context = (context > 0).then(|| draw(context)).transpose()?;
    let (flow, vars) = flow(recipe, 0.8, dtype, context.as_deref())?;
    let leaves = [x.clone()].into_iter().chain(context).chain(vars);
    let (y, log_det) = match inverse {
        false => flow.transform_and_log_det(&x)?,
        true => flow.inverse_and_log_det(&x)?,
    };
    assert_eq!(log_det.dims(), rows);
    let loss = ((y.sin()?.sum(D::Minus1)? * 0.7)? + log_det.sin()?)?.sum_all()?;
    let gradients = loss.backward()?;
    let mut all = vec![y.detach(), log_det.detach()];
    for leaf in leaves {
        let gradient = gradients.get(&leaf).cloned();
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
    let mut recipes = vec![];
    for config in [small, with_context, linear] {
        for keep_activations in [true, false] {
            recipes.push(Recipe::Additive(NiceConfig {
                features: config.features,
                layers: config.layers,
                hidden: config.hidden.clone(),
                activation: config.activation,
                context: config.context,
                keep_activations,
            }));
            let config = config.clone();
            recipes.push(Recipe::Affine(RealNvpConfig {
                keep_activations,
                ..config
            }));
        }
    }
    let small = NeuralSplineConfig {
        features: 5,
        layers: 3,
        hidden: vec![16, 12],
        bins: 4,
        // Some of the points are beyond.
        bound: 2.,
        ..Default::default()
    };
    let with_context = NeuralSplineConfig {
        context: 3,
        activation: Activation::Silu,
        ..small.clone()
    };
    for config in [small, with_context] {
        let affine = MafConfig {
            features: config.features,
            layers: config.layers,
            hidden: config.hidden.clone(),
            activation: config.activation,
            context: config.context,
            ..Default::default()
        };
        recipes.extend([Recipe::Maf(affine.clone()), Recipe::Iaf(affine)]);
        recipes.push(Recipe::Autoregressive(config.clone()));
        for keep_activations in [true, false] {
            let config = config.clone();
            recipes.push(Recipe::Spline(NeuralSplineConfig {
                keep_activations,
                ..config
            }));
        }
    }
    for recipe in recipes {
        for rows in [&[][..], &[7], &[3, 50], &[0], &[700]] {
            for inverse in [false, true] {
                let fused = run(&recipe, rows, inverse, DType::F32)?;
                let composed = run(&recipe, rows, inverse, DType::F64)?;
                for (i, (a, b)) in fused.iter().zip(&composed).enumerate() {
                    let what = format!("{recipe:?} {rows:?} inverse {inverse} output {i}");
                    close(a, b, 2e-5, &what)?;
                }
            }
        }
    }
    Ok(())
}

/// An argument laid out otherwise, and a context that stands for many rows, are what their copies are.
#[test]
fn strides_and_broadcasts() -> Result<()> {
    let (features, context, hidden) = (5, 3, vec![8]);
    let affine = RealNvpConfig {
        features,
        context,
        hidden: hidden.clone(),
        ..Default::default()
    };
    let maf = MafConfig {
        features,
        context,
        hidden: hidden.clone(),
        ..Default::default()
    };
    let spline = NeuralSplineConfig {
        features,
        context,
        hidden,
        ..Default::default()
    };
    let draw = |seed: u64, shape: &[usize]| Rng::new(seed).normal(shape, DType::F32, &CPU);
    for recipe in [
        Recipe::Affine(affine),
        Recipe::Maf(maf),
        Recipe::Spline(spline.clone()),
        Recipe::Autoregressive(spline),
    ] {
        for (shape, inverse) in [(&[3][..], false), (&[1, 3], true), (&[4, 1, 3], true)] {
            let (given, turned) = (draw(5, shape)?, draw(6, &[features, 6, 4])?);
            let run = |copy: bool| -> Result<Vec<Tensor>> {
                let given = Var::from_tensor(&given)?;
                let turned = Var::from_tensor(&turned)?;
                let (mut context, mut x) = (given.as_tensor().clone(), turned.permute((2, 1, 0))?);
                if copy {
                    context = context.broadcast_as((4, 6, 3))?.contiguous()?;
                    x = x.contiguous()?;
                }
                let (flow, vars) = flow(&recipe, 0.8, DType::F32, Some(&context))?;
                let count = vars.len();
                let (y, log_det) = match inverse {
                    false => flow.transform_and_log_det(&x)?,
                    true => flow.inverse_and_log_det(&x)?,
                };
                let loss = (y.sin()?.sum_all()? + log_det.sin()?.sum_all()?)?;
                let gradients = loss.backward()?;
                let mut all = vec![y.detach(), log_det.detach()];
                for leaf in [given, turned].into_iter().chain(vars) {
                    all.extend(gradients.get(&leaf).cloned());
                }
                assert_eq!(all.len(), 4 + count, "{recipe:?}: a gradient is lost");
                Ok(all)
            };
            for (i, (a, b)) in run(false)?.iter().zip(&run(true)?).enumerate() {
                close(a, b, 1e-6, &format!("{recipe:?} {shape:?} output {i}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn there_and_back() -> Result<()> {
    let recipe = Recipe::Affine(RealNvpConfig {
        features: 19,
        layers: 32,
        ..Default::default()
    });
    for (dtype, tolerance) in [(DType::F32, 1e-3), (DType::F64, 1e-9)] {
        let (flow, _) = flow(&recipe, 0.3, dtype, None)?;
        let z = Rng::new(4).normal((100, 19), dtype, &CPU)?;
        let (x, log_det) = flow.transform_and_log_det(&z)?;
        let (back, other) = flow.inverse_and_log_det(&x)?;
        close(&back, &z, tolerance, "argument")?;
        close(&other, &log_det.neg()?, tolerance, "log-det")?;
    }
    Ok(())
}

/// The list of layers is the flow, scales and directions included, also under a context that broadcasts.
#[test]
fn layers_are_the_flow() -> Result<()> {
    let (features, context, layers, hidden) = (5, 3, 2, vec![8]);
    let affine = MafConfig {
        features,
        layers,
        context,
        hidden: hidden.clone(),
        ..Default::default()
    };
    let additive = NiceConfig {
        features,
        layers,
        context,
        hidden: hidden.clone(),
        ..Default::default()
    };
    let coupling = RealNvpConfig {
        features,
        layers,
        context,
        hidden: hidden.clone(),
        ..Default::default()
    };
    let spline = NeuralSplineConfig {
        features,
        layers,
        context,
        hidden,
        ..Default::default()
    };
    let mut rng = Rng::new(5);
    let x = rng.normal((4, 6, features), DType::F32, &CPU)?;
    let given = rng.normal((4, 1, context), DType::F32, &CPU)?;
    for recipe in [
        Recipe::Affine(coupling),
        Recipe::Additive(additive),
        Recipe::Maf(affine.clone()),
        Recipe::Iaf(affine),
        Recipe::Spline(spline.clone()),
        Recipe::Autoregressive(spline),
    ] {
        let (without, _) = flow(&recipe, 0.8, DType::F32, None)?;
        let error = without.layers().err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("call `given` first")));
        let flow = without.given(&given)?;
        let list = flow.layers()?;
        for (one, many) in [
            (
                flow.transform_and_log_det(&x)?,
                list.transform_and_log_det(&x)?,
            ),
            (flow.inverse_and_log_det(&x)?, list.inverse_and_log_det(&x)?),
        ] {
            let what = format!("{recipe:?}");
            assert!(difference(&one.0, &x)? > 0.1, "{what}: the flow moves");
            close(&one.0, &many.0, 2e-5, &what)?;
            close(&one.1, &many.1, 2e-5, &what)?;
        }
    }
    Ok(())
}

fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    Ok((a - b)?.abs()?.max_all()?.to_scalar()?)
}
