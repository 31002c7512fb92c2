//! Detached flows, networks and heads: the same bits, a gradient to the argument and none to variables or context.

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::*;
use candle_prob::net::{self, *};
use candle_prob::{Activation, Conditional, Detach, Result, Rng, distribution::*, init};

const CPU: &Device = &Device::Cpu;

fn bits(x: &Tensor) -> Result<Vec<u64>> {
    let x = x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    Ok(x.into_iter().map(f64::to_bits).collect())
}

/// With all variables random, those that start at 0 too.
fn made<T>(dtype: DType, build: impl Fn(VarBuilder) -> Result<T>) -> Result<(T, Vec<Var>)> {
    let vars = VarMap::new();
    let made = build(init::seeded(&vars, 0, dtype, CPU))?;
    let mut rng = Rng::new(1);
    let mut all = vec![];
    for (name, var) in init::named_vars(&vars)? {
        let noise = (rng.normal(var.shape(), dtype, CPU)? * 0.2)?;
        let positive = ["variance", "running_var", "gain"];
        match positive.iter().any(|end| name.ends_with(end)) {
            true => var.set(&noise.exp()?)?,
            false => var.set(&noise)?,
        }
        all.push(var);
    }
    Ok((made, all))
}

fn check<T: Detach>(
    itself: &T,
    vars: &[Var],
    x: &Tensor,
    apply: impl Fn(&T, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    let x = Var::from_tensor(x)?;
    let (with, without) = (apply(itself, &x)?, apply(&itself.detach(), &x)?);
    assert_eq!(bits(&with)?, bits(&without)?);
    let (with, without) = (with.sum_all()?.backward()?, without.sum_all()?.backward()?);
    assert!(vars.iter().any(|var| with.get(var).is_some()));
    for var in vars {
        assert!(without.get(var).is_none());
    }
    let (with, without) = (with.get(&x).map(bits), without.get(&x).map(bits));
    let without = without.expect("a gradient to the argument")?;
    assert_eq!(with.expect("a gradient to the argument")?, without);
    Ok(())
}

/// Both directions of a flow.
fn flow<F: Bijector + Detach>(flow: &F, vars: &[Var], x: &Tensor) -> Result<()> {
    let sum = |x: &Tensor| x.reshape((x.elem_count(),));
    check(flow, vars, x, |flow, x| {
        let (y, log_det) = flow.transform_and_log_det(x)?;
        Ok(Tensor::cat(&[sum(&y)?, sum(&log_det)?], 0)?)
    })?;
    check(flow, vars, x, |flow, x| {
        let (y, log_det) = flow.inverse_and_log_det(x)?;
        Ok(Tensor::cat(&[sum(&y)?, sum(&log_det)?], 0)?)
    })
}

#[test]
fn flows_of_vectors() -> Result<()> {
    let (features, context, hidden) = (3, 2, vec![8]);
    for dtype in [DType::F32, DType::F64] {
        let x = (Rng::new(2).normal((5, features), dtype, CPU)? * 0.5)?;
        let given = Var::from_tensor(&Rng::new(3).normal((5, context), dtype, CPU)?)?;
        let build = |i: usize, vb: VarBuilder| match i {
            0 => {
                let hidden = hidden.clone();
                let config = RealNvpConfig {
                    features,
                    context,
                    hidden,
                    ..Default::default()
                };
                real_nvp(&config, vb)
            }
            1 => {
                let hidden = hidden.clone();
                let config = NiceConfig {
                    features,
                    context,
                    hidden,
                    ..Default::default()
                };
                nice(&config, vb)
            }
            2 => {
                let hidden = hidden.clone();
                let config = NeuralSplineConfig {
                    features,
                    context,
                    hidden,
                    ..Default::default()
                };
                neural_spline(&config, vb)
            }
            i => {
                let hidden = hidden.clone();
                let config = MafConfig {
                    features,
                    context,
                    hidden,
                    ..Default::default()
                };
                if i == 3 {
                    maf(&config, vb)
                } else {
                    iaf(&config, vb)
                }
            }
        };
        for i in 0..5 {
            let (made, mut vars) = made(dtype, |vb| build(i, vb))?;
            vars.push(given.clone());
            flow(&made.given(&given)?, &vars, &x)?;
        }
        let config = FfjordConfig {
            features,
            context,
            hidden: hidden.clone(),
            ..Default::default()
        };
        let (made_by, mut vars) = made(dtype, |vb| ffjord(&config, vb))?;
        vars.push(given.clone());
        flow(&made_by.given(&given)?, &vars, &x)?;
    }
    Ok(())
}

#[test]
fn flows_of_images_and_of_numbers() -> Result<()> {
    let image = [1, 4, 4];
    let x = (Rng::new(2).normal((2, 1, 4, 4), DType::F64, CPU)? * 0.5)?;
    let norms = [ConditionerNorm::Weight, ConditionerNorm::Batch];
    for (batch_norm, norm) in [false, true].into_iter().zip(norms) {
        let config = RealNvpImageConfig {
            image,
            scales: 2,
            channels: 2,
            blocks: 1,
            batch_norm,
            norm,
            ..Default::default()
        };
        let (made, vars) = made(DType::F64, |vb| real_nvp_image(&config, vb))?;
        flow(&made, &vars, &x)?;
    }
    let config = GlowConfig {
        image,
        levels: 2,
        steps: 2,
        channels: 2,
        ..Default::default()
    };
    let (glow_flow, vars) = made(DType::F64, |vb| glow(&config, vb))?;
    flow(&glow_flow, &vars, &x)?;
    let (line, vars) = made(DType::F64, |vb| {
        univariate(&UnivariateConfig::default(), vb)
    })?;
    let between = Rng::new(4).uniform(5, DType::F64, CPU)?;
    check(&line, &vars, &between, |line, x| {
        Ok(line.inverse_and_log_det(x)?.0)
    })
}

#[test]
fn networks_and_heads() -> Result<()> {
    let x = Rng::new(2).normal((5, 6), DType::F32, CPU)?;
    let (mlp, vars) = made(DType::F32, |vb| net::mlp(&[6, 4, 2], Activation::Relu, vb))?;
    check(&mlp, &vars, &x, |net, x| Ok(net.forward(x)?))?;
    let config = ConvEncoderConfig {
        channels: vec![2, 3],
        hidden: Some(4),
        ..Default::default()
    };
    let (conv, vars) = made(DType::F32, |vb| conv_encoder(&config, (1, 8, 8), vb))?;
    let image = Rng::new(3).normal((2, 1, 8, 8), DType::F32, CPU)?;
    check(&conv, &vars, &image, |net, x| Ok(net.forward(x)?))?;
    let config = ResidualNetConfig {
        inputs: 1,
        outputs: 2,
        channels: 2,
        blocks: 1,
        ..Default::default()
    };
    let (residual, vars) = made(DType::F32, |vb| residual_net(&config, vb))?;
    check(&residual, &vars, &image, |net, x| Ok(net.forward(x)?))?;
    let config = ConvDecoderConfig {
        channels: vec![3, 2],
        ..Default::default()
    };
    let (decoder, vars) = made(DType::F32, |vb| conv_decoder(&config, 6, (1, 8, 8), vb))?;
    check(&decoder, &vars, &x, |net, x| Ok(net.forward(x)?))?;
    let config = MaskedConv2dConfig::default();
    let (masked, vars) = made(DType::F32, |vb| masked_conv2d(1, 2, &config, vb))?;
    check(&masked, &vars, &image, |net, x| Ok(net.forward(x)?))?;
    let config = PixelCnnConfig {
        size: (8, 8),
        blocks: 1,
        context: 1,
        ..Default::default()
    };
    let (pixels, vars) = made(DType::F32, |vb| pixel_cnn(&config, vb))?;
    check(&pixels, &vars, &image, |net, context| {
        net.given(context)?.log_prob(&image.gt(0f64)?.squeeze(1)?)
    })?;
    let at = |shape: &[usize]| Tensor::full(0.5f32, shape, CPU);
    let form = ScaleForm::LogVar;
    let (head, vars) = made(DType::F32, |vb| NormalHead::new(6, 2, form, vb))?;
    check(&head, &vars, &x, |head, x| {
        head.given(x)?.log_prob(&at(&[5, 2])?)
    })?;
    let (head, vars) = made(DType::F32, |vb| {
        NormalComponentsHead::new(6, 3, 2, form, vb)
    })?;
    check(&head, &vars, &x, |head, x| {
        head.given(x)?.log_prob(&at(&[5, 3, 2])?)
    })?;
    let (head, vars) = made(DType::F32, |vb| LogisticNormalHead::new(6, 2, form, vb))?;
    check(&head, &vars, &x, |head, x| {
        head.given(x)?.log_prob(&at(&[5, 2])?)
    })?;
    let (head, vars) = made(DType::F32, |vb| DirichletHead::new(6, 2, 1e-3, vb))?;
    check(&head, &vars, &x, |head, x| {
        head.given(x)?.log_prob(&at(&[5, 2])?)
    })?;
    let (head, vars) = made(DType::F32, |vb| BernoulliHead::new(6, 2, vb))?;
    check(&head, &vars, &x, |head, x| {
        head.given(x)?.log_prob(&at(&[5, 2])?.ones_like()?)
    })?;
    let (head, vars) = made(DType::F32, |vb| CategoricalHead::new(6, 2, vb))?;
    let index = Tensor::zeros(5, DType::U32, CPU)?;
    check(&head, &vars, &x, |head, x| head.given(x)?.log_prob(&index))
}

#[test]
fn planar_flows() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Rng::new(2).normal((5, 3), dtype, CPU)?;
        let given = Var::from_tensor(&Rng::new(3).normal((5, 2), dtype, CPU)?)?;
        for context in [0, 2] {
            let config = PlanarConfig {
                features: 3,
                layers: 2,
                context,
                ..Default::default()
            };
            let (itself, mut vars) = made(dtype, |vb| planar(&config, vb))?;
            let itself = if context > 0 {
                vars.push(given.clone());
                itself.given(&given)?
            } else {
                itself
            };
            flow(&itself, &vars, &x)?;
        }
    }
    Ok(())
}

#[test]
fn likelihoods_and_priors() -> Result<()> {
    let x = Rng::new(2).normal((5, 3), DType::F64, CPU)?;
    let target = Rng::new(3).normal((5, 3), DType::F64, CPU)?;
    let (itself, vars) = made(DType::F64, |vb| NormalLikelihood::shared(&[3], vb))?;
    check(&itself, &vars, &x, |l, x| l.given(x)?.log_prob(&target))?;
    let (itself, vars) = made(DType::F64, |vb| LaplaceLikelihood::shared(&[3], vb))?;
    check(&itself, &vars, &x, |l, x| l.given(x)?.log_prob(&target))?;
    let config = MixturePriorConfig {
        dims: 3,
        ..Default::default()
    };
    let (itself, vars) = made(DType::F64, |vb| MixturePrior::new(&config, vb))?;
    check(&itself, &vars, &x, |p, x| p.distribution()?.log_prob(x))?;
    let config = VampPriorConfig {
        event: vec![3],
        components: 4,
        ..Default::default()
    };
    let (itself, vars) = made(DType::F64, |vb| VampPrior::new(&config, vb))?;
    let encoder = |u: &Tensor| Normal::new(u, &u.ones_like()?)?.to_event(1);
    check(&itself, &vars, &x, |p, x| p.given(&encoder)?.log_prob(x))?;
    let (itself, vars) = made(DType::F64, |vb| {
        let net = |widths: [usize; 2], name| mlp(&widths, Activation::Tanh, vb.pp(name));
        Ok(Autoencoder::new(
            net([3, 2], "encoder")?,
            net([2, 3], "decoder")?,
        ))
    })?;
    check(&itself, &vars, &x, |a, x| a.score(x))?;
    // The optimal normal is a distribution of its location.
    let loc = Var::from_tensor(&x)?;
    let itself = OptimalNormal::new(&loc, 1, 0.1, SharedBy::Batch)?;
    check(&itself, &[loc], &target, |p, x| p.log_prob(x))
}
