//! State that layers write in training: who writes, when, what evaluation reads, files, optimizers.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::{
    ConditionerNorm, GlowConfig, ImageFlow, RealNvpImageConfig, glow, real_nvp_image,
};
use candle_prob::init::{self, Buffer};
use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Optimizer};
use candle_prob::{Result, Rng};
use std::collections::BTreeMap;

const CPU: &Device = &Device::Cpu;
const IMAGE: [usize; 3] = [1, 4, 4];

/// Every bit of every variable.
fn bits(vars: &VarMap) -> Result<BTreeMap<String, Vec<u64>>> {
    let all = init::named_vars(vars)?.into_iter();
    all.map(|(name, var)| {
        let numbers = var.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        Ok((name, numbers.into_iter().map(f64::to_bits).collect()))
    })
    .collect()
}

fn is_statistic(name: &str) -> bool {
    let ends = [
        "norm.mean",
        "norm.variance",
        "norm.running_mean",
        "norm.running_var",
    ];
    ends.iter().any(|end| name.ends_with(end))
}

fn normalized(vb: VarBuilder) -> Result<ImageFlow> {
    let config = RealNvpImageConfig {
        image: IMAGE,
        scales: 2,
        channels: 4,
        blocks: 1,
        batch_norm: true,
        momentum: 0.75,
        ..Default::default()
    };
    real_nvp_image(&config, vb)
}

/// With batch normalization inside of the conditioners and not between the couplings.
fn inside(vb: VarBuilder) -> Result<ImageFlow> {
    let config = RealNvpImageConfig {
        image: IMAGE,
        scales: 2,
        channels: 4,
        blocks: 1,
        norm: ConditionerNorm::Batch,
        ..Default::default()
    };
    real_nvp_image(&config, vb)
}

fn from_data(vb: VarBuilder) -> Result<ImageFlow> {
    let config = GlowConfig {
        image: IMAGE,
        levels: 1,
        steps: 2,
        channels: 4,
        ..Default::default()
    };
    glow(&config, vb)
}

fn made(make: fn(VarBuilder) -> Result<ImageFlow>) -> Result<(ImageFlow, VarMap)> {
    let vars = VarMap::new();
    let flow = make(init::seeded(&vars, 1, DType::F64, CPU))?;
    Ok((flow, vars))
}

fn images(seed: u64) -> Result<Tensor> {
    let noise = Rng::new(seed).normal((20, 1, 4, 4), DType::F64, CPU)?;
    Ok(noise.affine(2., 3.)?)
}

#[test]
fn evaluation_writes_nothing() -> Result<()> {
    for make in [normalized, inside, from_data] {
        let (flow, vars) = made(make)?;
        let x = images(1)?;
        let before = bits(&vars)?;
        flow.transform_and_log_det(&x)?;
        flow.inverse_and_log_det(&x)?;
        flow.transform(&x)?;
        flow.inverse(&x)?;
        flow.latents(&x)?;
        let all = vars.all_vars();
        flow.reversible(&all)?.inverse_and_log_det(&x)?;
        let (z, log_det) = flow.inverse_and_log_det_t(&x, false)?;
        assert_eq!(bits(&vars)?, before);
        // The plain direction is what the pass without training is, bit for bit.
        let (same, again) = flow.inverse_and_log_det(&x)?;
        let numbers = |t: &Tensor| t.flatten_all()?.to_vec1::<f64>();
        assert_eq!(numbers(&z)?, numbers(&same)?);
        assert_eq!(numbers(&log_det)?, numbers(&again)?);
    }
    Ok(())
}

/// After n calls the first norm's mean is that of n moves, no more and no less; nothing but statistics is written.
#[test]
fn training_writes_once_in_a_call() -> Result<()> {
    let (flow, vars) = made(normalized)?;
    let before = bits(&vars)?;
    let mut mean = 0.;
    for seed in 1..4 {
        let x = images(seed)?;
        flow.inverse_and_log_det_t(&x, true)?;
        // The first coupling is still the identity, so its norm sees the images themselves.
        mean = 0.75 * mean + 0.25 * x.mean_all()?.to_scalar::<f64>()?;
        let named = init::named_vars(&vars)?;
        let found = named["0.checkerboard.0.norm.mean"].to_vec1::<f64>()?[0];
        assert!(
            (found - mean).abs() < 1e-12,
            "{found} after {seed}, not {mean}"
        );
    }
    for (name, after) in bits(&vars)? {
        assert_eq!(after != before[&name], is_statistic(&name), "{name}");
    }
    Ok(())
}

/// Norms inside of conditioners go by the batch in training, each once in a call, and by what they have kept afterwards.
#[test]
fn conditioners_write_once_in_a_call() -> Result<()> {
    let (flow, vars) = made(inside)?;
    let before = bits(&vars)?;
    let named = init::named_vars(&vars)?;
    let weight = named["0.checkerboard.0.first.weight"].as_tensor();
    // What passes the first checkerboard is told by the coupling's own split.
    let split = candle_prob::bijector::Split::checkerboard(4, 4, false)?;
    let mut mean = Tensor::zeros(4, DType::F64, CPU)?;
    for seed in 1..4 {
        let x = images(seed)?;
        flow.inverse_and_log_det_t(&x, true)?;
        let seen = split.take(&x)?.0.conv2d(weight, 1, 1, 1, 1)?;
        mean = ((mean * 0.9)? + (seen.mean((0, 2, 3))? * 0.1)?)?;
        let found = named["0.checkerboard.0.blocks.0.0.norm.running_mean"].as_tensor();
        let gap = (found - &mean)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(gap < 1e-12, "{gap} after {seed}");
    }
    for (name, after) in bits(&vars)? {
        assert_eq!(after != before[&name], is_statistic(&name), "{name}");
    }
    // With a last layer that says something the batch and what is kept say different things.
    let last = &named["0.checkerboard.0.last.weight"];
    last.set(&last.ones_like()?)?;
    let x = images(9)?;
    let (kept, _) = flow.inverse_and_log_det(&x)?;
    let (batch, _) = flow.inverse_and_log_det_t(&x, true)?;
    let gap = (kept - batch)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(gap > 1e-3, "{gap}");
    // What a later network refuses leaves the earlier ones as they were.
    let bias = &named["0.checkerboard.1.last.bias"];
    bias.set(&(bias.ones_like()? * f64::INFINITY)?)?;
    let before = bits(&vars)?;
    let error = flow.inverse_and_log_det_t(&x, true).unwrap_err();
    assert!(error.to_string().contains("ImageFlow::inverse"), "{error}");
    assert_eq!(bits(&vars)?, before);
    Ok(())
}

/// Data initialize once, in the flow's life.
#[test]
fn initialization_writes_once() -> Result<()> {
    let (flow, vars) = made(from_data)?;
    assert!(flow.initialize(&images(1)?)?);
    let after = bits(&vars)?;
    assert!(!flow.initialize(&images(2)?)?);
    flow.inverse_and_log_det_t(&images(2)?, true)?;
    assert_eq!(bits(&vars)?, after);
    Ok(())
}

/// A batch that is refused at the second norm has not moved the first.
#[test]
fn a_pass_that_fails_writes_nothing() -> Result<()> {
    let (flow, vars) = made(normalized)?;
    let named = init::named_vars(&vars)?;
    let bias = &named["0.checkerboard.1.last.bias"];
    bias.set(&(bias.ones_like()? * f64::INFINITY)?)?;
    let before = bits(&vars)?;
    let error = flow.inverse_and_log_det_t(&images(1)?, true).unwrap_err();
    assert!(error.to_string().contains("FlowBatchNorm"), "{error}");
    assert_eq!(bits(&vars)?, before);
    Ok(())
}

/// Steps of an optimizer with weight decay move weights and leave statistics; a file holds them.
#[test]
fn optimizers_leave_state_and_files_hold_it() -> Result<()> {
    let (flow, vars) = made(normalized)?;
    let config = AdamConfig {
        weight_decay: 0.1,
        ..Default::default()
    };
    let mut adam = Adam::new(&vars, &config)?;
    for seed in 1..4 {
        let (z, log_det) = flow.inverse_and_log_det_t(&images(seed)?, true)?;
        let loss = (z.sqr()?.sum_all()? - log_det.sum_all()?)?;
        let before = bits(&vars)?;
        adam.backward_step(&loss)?;
        let (mut moved, mut still) = (0, 0);
        for (name, after) in bits(&vars)? {
            match is_statistic(&name) {
                true => {
                    assert_eq!(after, before[&name], "{name}");
                    still += 1;
                }
                false => moved += usize::from(after != before[&name]),
            }
        }
        assert!(moved > 0 && still > 0);
    }
    let path = std::env::temp_dir().join(format!("flow-state-{}", std::process::id()));
    Checkpoint::new().vars("flow", &vars).save(&path)?;
    let (other, others) = made(normalized)?;
    assert_ne!(bits(&others)?, bits(&vars)?);
    Checkpoint::new().vars("flow", &others).load(&path)?;
    std::fs::remove_file(&path).ok();
    assert_eq!(bits(&others)?, bits(&vars)?);
    let x = images(9)?;
    let same = (other.inverse(&x)? - flow.inverse(&x)?)?.abs()?.max_all()?;
    assert_eq!(same.to_scalar::<f64>()?, 0.);
    Ok(())
}

#[test]
fn a_buffer_is_a_constant_of_the_moment() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 1, DType::F64, CPU);
    let buffer = Buffer::new(2, "state", Init::Const(1.), vb)?;
    let read = buffer.value()?;
    let loss = read.sqr()?.sum_all()?;
    buffer.set(&Tensor::new(&[5f64, 6.], CPU)?)?;
    // What was read stays, and leads no gradient to the variable.
    assert_eq!(read.to_vec1::<f64>()?, [1., 1.]);
    assert_eq!(buffer.value()?.to_vec1::<f64>()?, [5., 6.]);
    assert!(loss.backward()?.get(&vars.all_vars()[0]).is_none());
    assert!(buffer.set(&Tensor::new(&[5f64], CPU)?).is_err());
    let tensors = [("state".to_string(), read)].into_iter().collect();
    let constants = VarBuilder::from_tensors(tensors, DType::F64, CPU);
    let constant = Buffer::new(2, "state", Init::Const(1.), constants)?;
    let error = constant.set(&buffer.value()?).unwrap_err().to_string();
    assert!(error.contains("Buffer::set: layer"), "{error}");
    Ok(())
}
