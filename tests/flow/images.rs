//! Flows of images: log-dets, gradients, contexts, files, training, and the way from whole pixels to densities.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::{Bijector, Chain, LogitPreprocessing, Sigmoid};
use candle_prob::distribution::{Distribution, Independent, Normal};
use candle_prob::flow::*;
use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Optimizer};
use candle_prob::testing::{Bounds, check_bijector, check_gradient};
use candle_prob::{Activation, Result, Rng, init};
use std::collections::{BTreeMap, HashMap};

const CPU: &Device = &Device::Cpu;
const TINY: [usize; 3] = [1, 4, 4];

fn small() -> RealNvpImageConfig {
    RealNvpImageConfig {
        image: TINY,
        scales: 2,
        channels: 2,
        blocks: 1,
        activation: Activation::Tanh,
        ..Default::default()
    }
}

fn small_glow() -> GlowConfig {
    GlowConfig {
        image: TINY,
        levels: 2,
        steps: 2,
        channels: 2,
        activation: Activation::Tanh,
        ..Default::default()
    }
}

type Build<'a> = &'a dyn Fn(VarBuilder) -> Result<ImageFlow>;

/// Variables of a flow far from the identity: also those that start at zero.
fn weights(build: Build) -> Result<BTreeMap<String, Tensor>> {
    let vars = VarMap::new();
    build(init::seeded(&vars, 1, DType::F64, CPU))?;
    let mut rng = Rng::new(2);
    let random = |(name, var): (String, Var)| -> Result<(String, Tensor)> {
        let noise = (rng.normal(var.shape(), DType::F64, CPU)? * 0.2)?;
        let positive = ["variance", "running_var", "gain"];
        let noise = match positive.iter().any(|end| name.ends_with(end)) {
            true => noise.exp()?,
            false => noise,
        };
        Ok((name, noise))
    };
    init::named_vars(&vars)?.into_iter().map(random).collect()
}

fn built(build: Build, weights: &BTreeMap<String, Tensor>, dtype: DType) -> Result<ImageFlow> {
    let cast = |(name, w): (&String, &Tensor)| Ok((name.clone(), w.to_dtype(dtype)?));
    let tensors: Result<HashMap<String, Tensor>> = weights.iter().map(cast).collect();
    build(VarBuilder::from_tensors(tensors?, dtype, CPU))
}

/// The harness on a flow whose named weights, and whose context if any, are the parameters.
fn check(build: Build, names: &[&str], context: Option<&[usize]>) -> Result<()> {
    let weights = weights(build)?;
    let mut parameters: Vec<Tensor> = vec![];
    for name in names {
        let weight = weights.get(*name);
        assert!(weight.is_some(), "{name} is none of {:?}", weights.keys());
        parameters.extend(weight.cloned());
    }
    if let Some(shape) = context {
        parameters.push(Rng::new(5).normal(shape, DType::F64, CPU)?);
    }
    let build = |p: &[Tensor]| -> Result<ImageFlow> {
        let mut weights = weights.clone();
        for (name, p) in names.iter().zip(p) {
            weights.insert(name.to_string(), p.clone());
        }
        let flow = built(build, &weights, p[0].dtype())?;
        match context {
            Some(_) => flow.given(&p[names.len()]),
            None => Ok(flow),
        }
    };
    let x = Rng::new(3).normal((2, 1, 4, 4), DType::F64, CPU)?;
    let bounds = Bounds {
        f64: 1e-9,
        f32: 1e-3,
        ..Bounds::default()
    };
    check_bijector(build, &parameters, &x, bounds)
}

#[test]
fn real_nvp_meets_its_jacobian() -> Result<()> {
    let names = [
        "0.checkerboard.1.first.direction",
        "0.channel.2.blocks.0.1.gain",
        "1.checkerboard.3.last.bias",
    ];
    check(&|vb| real_nvp_image(&small(), vb), &names, None)?;
    let config = RealNvpImageConfig {
        batch_norm: true,
        context: ImageContext::PerImage(2),
        ..small()
    };
    let names = ["1.checkerboard.0.first.bias"];
    check(&|vb| real_nvp_image(&config, vb), &names, Some(&[2, 2]))?;
    let config = RealNvpImageConfig {
        context: ImageContext::PerPixel(1),
        ..small()
    };
    check(&|vb| real_nvp_image(&config, vb), &names, Some(&[1, 4, 4]))
}

#[test]
fn real_nvp_of_batch_normalized_conditioners_meets_its_jacobian() -> Result<()> {
    let config = RealNvpImageConfig {
        norm: ConditionerNorm::Batch,
        ..small()
    };
    let names = [
        "0.checkerboard.1.first.weight",
        "0.channel.2.blocks.0.1.norm.weight",
        "1.checkerboard.3.last.norm.bias",
    ];
    check(&|vb| real_nvp_image(&config, vb), &names, None)
}

/// The last scale squeezes too: as in the lecture's walk, 16 c channels of an eighth of the side.
#[test]
fn the_last_scale_squeezes_where_it_is_told_to() -> Result<()> {
    let config = RealNvpImageConfig {
        image: [3, 32, 32],
        squeeze_last: true,
        channels: 2,
        blocks: 0,
        ..Default::default()
    };
    let build: Build = &|vb| real_nvp_image(&config, vb);
    // Eighteen couplings whose log-scales are near their bound would lose all digits on the way back.
    let mut weights_of = weights(build)?;
    for (name, weight) in &mut weights_of {
        if name.contains(".last.") {
            *weight = (&*weight * 0.3)?;
        }
    }
    let flow = built(build, &weights_of, DType::F64)?;
    let shapes = [[6, 16, 16], [12, 8, 8], [48, 4, 4]];
    assert_eq!(flow.latent_shapes(), shapes);
    let x = Rng::new(3).normal((2, 3, 32, 32), DType::F64, CPU)?;
    let (z, log_det) = flow.inverse_and_log_det(&x)?;
    let latents = flow.latents(&z)?;
    let batches = shapes.map(|[c, h, w]| [2, c, h, w]);
    assert!(latents.iter().map(Tensor::dims).eq(batches.iter()));
    let (again, back) = flow.transform_and_log_det(&z)?;
    let moved = difference(&x, &z)?;
    assert!(moved > 0.1, "the weights do nothing: {moved}");
    let [there, sums] = [difference(&again, &x)?, difference(&log_det, &back.neg()?)?];
    assert!(there < 1e-9 && sums < 1e-9, "{there}, {sums}");
    // Three checkerboards and three halves of channels in every scale.
    let config = RealNvpImageConfig {
        squeeze_last: true,
        ..small()
    };
    let names = ["1.checkerboard.2.last.bias", "1.channel.2.last.bias"];
    let build: Build = &|vb| real_nvp_image(&config, vb);
    assert!(!weights(build)?.contains_key("1.checkerboard.3.last.bias"));
    check(build, &names, None)
}

#[test]
fn glow_meets_its_jacobian() -> Result<()> {
    let names = [
        "0.0.norm.loc",
        "0.1.norm.log_scale",
        "0.1.mix.lower",
        "1.0.mix.upper",
        "1.1.mix.log_diagonal",
        "0.0.net.0.bias",
        "1.1.net.2.bias",
        "0.prior.bias",
    ];
    check(&|vb| glow(&small_glow(), vb), &names, None)?;
    let config = GlowConfig {
        context: ImageContext::PerPixel(1),
        steps: 1,
        ..small_glow()
    };
    check(
        &|vb| glow(&config, vb),
        &["0.0.norm.loc"],
        Some(&[2, 1, 4, 4]),
    )
}

/// Three channels of 8 x 8: 192 numbers, whose Jacobian is that of one image moved in each of them.
#[test]
fn colour_images_meet_their_jacobian() -> Result<()> {
    let image = [3, 8, 8];
    let real = RealNvpImageConfig { image, ..small() };
    let config = GlowConfig {
        image,
        steps: 1,
        ..small_glow()
    };
    let builds: [Build; 2] = [&|vb| real_nvp_image(&real, vb), &|vb| glow(&config, vb)];
    for build in builds {
        let weights = weights(build)?;
        let flow = built(build, &weights, DType::F64)?;
        let x = Rng::new(3).normal((1, 3, 8, 8), DType::F64, CPU)?;
        let (z, log_det) = flow.inverse_and_log_det(&x)?;
        let step = 1e-5;
        let steps = (Tensor::eye(192, DType::F64, CPU)? * step)?.reshape((192, 3, 8, 8))?;
        let ends = flow.inverse(&x.broadcast_add(&steps)?)?;
        let starts = flow.inverse(&x.broadcast_sub(&steps)?)?;
        let rows = ((ends - starts)? / (2. * step))?.reshape((192, 192))?;
        let want = candle_prob::bijector::Lu::decompose(&rows)?.log_det()?;
        let gap = difference(&log_det, &want.reshape(1)?)?;
        assert!(gap < 1e-4, "log-det: {gap}");
        assert!(difference(&flow.transform(&z)?, &x)? < 1e-9);
        let narrow = built(build, &weights, DType::F32)?;
        let x = x.to_dtype(DType::F32)?;
        let gap = difference(&narrow.transform(&narrow.inverse(&x)?)?, &x)?;
        assert!(gap < 1e-4, "round trip: {gap}");
    }
    Ok(())
}

fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    let gap = (a - b)?.abs()?.max_all()?;
    Ok(gap.to_dtype(DType::F64)?.to_scalar()?)
}

/// 28 pixels are halved twice, to 7; a batch of no images passes.
#[test]
fn a_fresh_flow_is_the_identity() -> Result<()> {
    let x = Rng::new(0).normal((2, 1, 28, 28), DType::F32, CPU)?;
    let config = RealNvpImageConfig {
        channels: 4,
        blocks: 1,
        ..Default::default()
    };
    let flow = real_nvp_image(&config, init::seeded(&VarMap::new(), 1, DType::F32, CPU))?;
    let (z, log_det) = flow.inverse_and_log_det(&x)?;
    assert_eq!(difference(&z, &x)?, 0.);
    assert_eq!(log_det.to_vec1::<f32>()?, [0., 0.]);
    let config = GlowConfig {
        steps: 2,
        channels: 4,
        ..Default::default()
    };
    let flow = glow(&config, init::seeded(&VarMap::new(), 1, DType::F32, CPU))?;
    let (z, log_det) = flow.inverse_and_log_det(&x)?;
    // Rotations: lengths are kept, log-dets 0 but for rounding.
    let length = |x: &Tensor| x.sqr()?.sum_all()?.to_scalar::<f32>();
    assert!((length(&z)? / length(&x)? - 1.).abs() < 1e-5);
    assert!(log_det.abs()?.max_all()?.to_scalar::<f32>()? < 1e-2);
    assert!(difference(&flow.transform(&z)?, &x)? < 1e-5);
    // No images, in every dtype that candle convolves.
    for dtype in [DType::F16, DType::F32, DType::F64] {
        let vb = || init::seeded(&VarMap::new(), 1, dtype, CPU);
        let config = RealNvpImageConfig {
            norm: ConditionerNorm::Batch,
            ..small()
        };
        for flow in [
            real_nvp_image(&small(), vb())?,
            real_nvp_image(&config, vb())?,
            glow(&small_glow(), vb())?,
        ] {
            let none = Var::zeros((2, 0, 1, 4, 4), dtype, CPU)?;
            for (y, log_det) in [
                flow.inverse_and_log_det(&none)?,
                flow.transform_and_log_det(&none)?,
            ] {
                assert_eq!((y.dims(), log_det.dims()), (none.dims(), &[2, 0][..]));
                (y.sum_all()? + log_det.sum_all()?)?.backward()?;
            }
        }
    }
    Ok(())
}

fn base(image: [usize; 3], dtype: DType) -> Result<Independent<Normal>> {
    let zeros = Tensor::zeros(image.as_slice(), dtype, CPU)?;
    Normal::new(&zeros, &zeros.ones_like()?)?.to_event(3)
}

/// The first `count` of the embedded digits, whole numbers from 0 to 16.
fn digits(count: usize) -> Result<Tensor> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/data/digits.safetensors"
    );
    let tensors = candle_core::safetensors::load(path, CPU)?;
    let x = tensors["x"].narrow(0, 0, count)?.to_dtype(DType::F32)?;
    Ok(x.unsqueeze(1)?)
}

const DIGIT: [usize; 3] = [1, 8, 8];

fn digits_flow(batch_norm: bool, vb: VarBuilder) -> Result<ImageFlow> {
    let config = RealNvpImageConfig {
        image: DIGIT,
        scales: 2,
        channels: 8,
        blocks: 1,
        batch_norm,
        ..Default::default()
    };
    real_nvp_image(&config, vb)
}

/// With batch-normalized conditioners.
fn digits_normed(vb: VarBuilder) -> Result<ImageFlow> {
    let config = RealNvpImageConfig {
        image: DIGIT,
        scales: 2,
        channels: 8,
        blocks: 1,
        norm: ConditionerNorm::Batch,
        ..Default::default()
    };
    real_nvp_image(&config, vb)
}

fn digits_glow(vb: VarBuilder) -> Result<ImageFlow> {
    let config = GlowConfig {
        image: DIGIT,
        steps: 2,
        channels: 8,
        ..Default::default()
    };
    glow(&config, vb)
}

/// Bits per dim of digits with new noise, in evaluation or in training.
fn bits(flow: &ImageFlow, pixels: &Tensor, train: bool, rng: &mut Rng) -> Result<Tensor> {
    let x = dequantize(pixels, 17, rng)?;
    let (line, logit) = LogitPreprocessing::new(0.05)?.inverse_and_log_det(&x)?;
    let (z, log_det) = flow.inverse_and_log_det_t(&line, train)?;
    let log_prob = (base(DIGIT, DType::F32)?.log_prob(&z)? + log_det)?;
    let log_prob = (log_prob + logit.sum((1, 2, 3))?)?;
    Ok(bits_per_dim(&log_prob, 64, 17)?.mean_all()?)
}

/// Bits per dim before and after a few steps; no loss is other than finite.
fn trained(flow: &ImageFlow, vars: &VarMap, lr: f64, steps: usize) -> Result<[f32; 2]> {
    let pixels = digits(256)?;
    let score = || bits(flow, &pixels, false, &mut Rng::new(9))?.to_scalar::<f32>();
    let config = AdamConfig {
        lr,
        ..Default::default()
    };
    let mut adam = Adam::new(vars, &config)?;
    let mut rng = Rng::new(4);
    let before = score()?;
    for step in 0..steps {
        let batch = pixels.narrow(0, (step * 32) % 256, 32)?;
        let loss = bits(flow, &batch, true, &mut rng)?;
        let value = loss.to_scalar::<f32>()?;
        assert!(value.is_finite(), "step {step}: {value}");
        adam.backward_step(&loss)?;
    }
    Ok([before, score()?])
}

#[test]
fn a_few_steps_save_bits() -> Result<()> {
    for batch_norm in [false, true] {
        let vars = VarMap::new();
        let flow = digits_flow(batch_norm, init::seeded(&vars, 1, DType::F32, CPU))?;
        let [before, after] = trained(&flow, &vars, 5e-3, 20)?;
        assert!(after < before - 0.3, "{batch_norm}: {before} to {after}");
    }
    type Make = fn(VarBuilder) -> Result<ImageFlow>;
    let others: [(&str, Make); 2] = [("glow", digits_glow), ("normed", digits_normed)];
    for (name, make) in others {
        let vars = VarMap::new();
        let flow = make(init::seeded(&vars, 1, DType::F32, CPU))?;
        let [before, after] = trained(&flow, &vars, 5e-3, 20)?;
        assert!(after < before - 0.3, "{name}: {before} to {after}");
    }
    Ok(())
}

/// At a learning rate ten times too high.
#[test]
fn training_stays_finite() -> Result<()> {
    let vars = VarMap::new();
    let flow = digits_flow(true, init::seeded(&vars, 1, DType::F32, CPU))?;
    trained(&flow, &vars, 3e-2, 200)?;
    Ok(())
}

/// Started from data, trained, saved: a flow that loads the file has the same bits and is not started again.
#[test]
fn files_hold_the_whole_flow() -> Result<()> {
    type Make = fn(VarBuilder) -> Result<ImageFlow>;
    let flows: [(&str, Make); 3] = [
        ("real_nvp_image", |vb| digits_flow(true, vb)),
        ("real_nvp_image of batch norms", digits_normed),
        ("glow", digits_glow),
    ];
    let pixels = digits(32)?;
    let x = (pixels.affine(1. / 8., -1.))?;
    let bits_of = |flow: &ImageFlow| -> Result<Vec<u32>> {
        let (z, log_det) = flow.inverse_and_log_det(&x)?;
        let all = Tensor::cat(&[z.flatten_all()?, log_det], 0)?.to_vec1::<f32>()?;
        Ok(all.into_iter().map(f32::to_bits).collect())
    };
    for (name, make) in flows {
        let vars = VarMap::new();
        let flow = make(init::seeded(&vars, 1, DType::F32, CPU))?;
        let starts = flow.initialize(&x)?;
        assert_eq!(starts, name == "glow");
        trained(&flow, &vars, 1e-3, 3)?;
        let trained = bits_of(&flow)?;
        let path = std::env::temp_dir().join(format!("image-{name}-{}", std::process::id()));
        Checkpoint::new().vars("flow", &vars).save(&path)?;
        let others = VarMap::new();
        let other = make(init::seeded(&others, 2, DType::F32, CPU))?;
        assert_ne!(bits_of(&other)?, trained, "{name}");
        Checkpoint::new().vars("flow", &others).load(&path)?;
        assert_eq!(bits_of(&other)?, trained, "{name}");
        assert!(!other.initialize(&(&x * 3.)?)?);
        assert_eq!(bits_of(&other)?, trained, "{name}: started again");
        let plain = candle_core::safetensors::load(&path, CPU)?;
        let plain = VarBuilder::from_tensors(plain, DType::F32, CPU);
        assert_eq!(bits_of(&make(plain.pp("flow"))?)?, trained, "{name}");
        std::fs::remove_file(&path).ok();
    }
    Ok(())
}

#[test]
fn data_start_the_norms() -> Result<()> {
    let config = GlowConfig {
        image: [2, 4, 4],
        levels: 1,
        steps: 1,
        channels: 4,
        ..Default::default()
    };
    let vars = VarMap::new();
    let flow = glow(&config, init::seeded(&vars, 1, DType::F64, CPU))?;
    let x = Rng::new(0).normal((50, 2, 4, 4), DType::F64, CPU)?;
    // Constant channels are no harm.
    let x = x.affine(3., 7.)?.slice_assign(
        &[0..50, 0..1, 0..4, 0..4],
        &Tensor::ones((50, 1, 4, 4), DType::F64, CPU)?,
    )?;
    assert!(flow.initialize(&x)?);
    let z = flow.latents(&flow.inverse(&x)?)?.remove(0);
    // Standardized and rotated: the means are 0, and the squares add up to the four channels that vary.
    let means = z.mean((0, 2, 3))?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(means < 1e-9, "{means}");
    let squares = z.sqr()?.mean((0, 2, 3))?.sum_all()?.to_scalar::<f64>()?;
    assert!((squares - 4.).abs() < 1e-9, "{squares}");
    // Images that are no numbers start nothing: the flow can still be started.
    let other = glow(&config, init::seeded(&VarMap::new(), 1, DType::F64, CPU))?;
    let error = other.initialize(&(&x / 0.)?).unwrap_err().to_string();
    assert!(error.contains("data: expected finite"), "{error}");
    assert!(other.initialize(&x)?);
    // What holds no variables cannot be started.
    let tensors: HashMap<String, Tensor> = init::named_vars(&vars)?
        .into_iter()
        .map(|(name, var)| Ok((name, var.zeros_like()?)))
        .collect::<Result<_>>()?;
    let constant = glow(&config, VarBuilder::from_tensors(tensors, DType::F64, CPU))?;
    let error = constant.initialize(&x).unwrap_err().to_string();
    assert!(error.contains("ImageFlow::initialize"), "{error}");
    Ok(())
}

/// In training the statistics of the batch are mixed in and kept; evaluation then has them.
#[test]
fn running_statistics_run() -> Result<()> {
    let vars = VarMap::new();
    let flow = digits_flow(true, init::seeded(&vars, 1, DType::F32, CPU))?;
    let x = digits(64)?.affine(0.5, -2.)?;
    let (z, log_det) = flow.inverse_and_log_det_t(&x, true)?;
    let (again, same) = flow.inverse_and_log_det(&x)?;
    assert!(difference(&z, &again)? < 1e-5);
    assert!(difference(&log_det, &same)? < 1e-3);
    // The first coupling is still the identity, so its norm has seen the data themselves.
    let named = init::named_vars(&vars)?;
    let mean = named["0.checkerboard.0.norm.mean"].to_vec1::<f32>()?[0];
    let want = 0.1 * x.mean_all()?.to_scalar::<f32>()?;
    assert!((mean - want).abs() < 1e-5, "{mean}, want {want}");
    let config = RealNvpImageConfig {
        momentum: 1.5,
        ..small()
    };
    let vb = init::seeded(&VarMap::new(), 1, DType::F32, CPU);
    let error = real_nvp_image(&config, vb).unwrap_err().to_string();
    assert!(error.contains("momentum"), "{error}");
    Ok(())
}

/// Uniform noise keeps whole numbers apart; a model's noise has its density and its gradient.
#[test]
fn dequantization() -> Result<()> {
    let pixels = digits(50)?;
    let x = dequantize(&pixels, 17, &mut Rng::new(0))?;
    assert_eq!(
        difference(&(&x * 17.)?.floor()?.minimum(16.)?, &pixels)?,
        0.
    );
    let far = Tensor::new(&[17f32], CPU)?;
    for wrong in [far.clone(), far.neg()?, (&far * f64::NAN)?] {
        let error = dequantize(&wrong, 17, &mut Rng::new(0)).unwrap_err();
        assert!(error.to_string().contains("pixels"), "{error}");
    }
    assert!(dequantize(&pixels.to_dtype(DType::U8)?, 17, &mut Rng::new(0)).is_err());
    assert!(dequantize(&pixels, 1, &mut Rng::new(0)).is_err());
    assert!(bits_per_dim(&far, 0, 17).is_err() && bits_per_dim(&far, 1, 0).is_err());

    let config = RealNvpImageConfig {
        scales: 1,
        context: ImageContext::PerPixel(1),
        ..small()
    };
    let make = |vb: VarBuilder| real_nvp_image(&config, vb);
    let weights = weights(&make)?;
    let name = "0.checkerboard.3.last.weight";
    let pixels = Tensor::arange(0., 32., CPU)?.reshape((2, 1, 4, 4))?;
    let loss = |p: &[Tensor]| -> Result<Tensor> {
        let mut weights = weights.clone();
        weights.insert(name.into(), p[0].clone());
        let flow = built(&make, &weights, DType::F64)?;
        let base = base(TINY, DType::F64)?;
        let q = |x: &Tensor| {
            base.clone()
                .transformed_by(Chain::new(flow.given(x)?, Sigmoid))
        };
        let (x, log_q) = dequantize_by(&pixels, 32, &q, &mut Rng::new(1))?;
        assert_eq!(log_q.dims(), [2]);
        // The noise again, and its density by inversion.
        let u = ((&x * 32.)? - &pixels)?;
        let density = q(&(&pixels / 32.)?)?.log_prob(&u)?;
        assert!(difference(&density, &log_q)? < 1e-6);
        Ok((x.sin()?.sum((1, 2, 3))? + log_q)?)
    };
    check_gradient(&loss, &[weights[name].clone()], 1e-6)?;
    // One with batch dims of its own, and one of another size.
    let wide = |x: &Tensor| Normal::new(x, &x.ones_like()?)?.transformed_by(Sigmoid);
    let (x, log_q) = dequantize_by(&pixels, 32, &wide, &mut Rng::new(1))?;
    assert_eq!((x.dims(), log_q.dims()), (pixels.dims(), pixels.dims()));
    let other = |_: &Tensor| base(DIGIT, DType::F64);
    let error = dequantize_by(&pixels, 32, &other, &mut Rng::new(1)).unwrap_err();
    assert!(error.to_string().contains("[1, 8, 8]"), "{error}");
    Ok(())
}

#[test]
fn errors_name_what_is_wrong() -> Result<()> {
    let vb = || init::seeded(&VarMap::new(), 1, DType::F32, CPU);
    let names = |result: Result<ImageFlow>, parts: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let real = |config| real_nvp_image(&config, vb());
    let image = [1, 28, 28];
    for scales in [0, 4] {
        let config = RealNvpImageConfig {
            image,
            scales,
            ..small()
        };
        names(
            real(config),
            &["real_nvp_image", "scales", "1 to 3", "28 x 28"],
        );
    }
    let config = RealNvpImageConfig {
        scales: 3,
        ..small()
    };
    names(real(config), &["scales", "1 to 2", "4 x 4"]);
    let config = RealNvpImageConfig {
        image,
        scales: 3,
        squeeze_last: true,
        ..small()
    };
    names(real(config), &["scales", "1 to 2", "28 x 28"]);
    let config = GlowConfig {
        image,
        levels: 3,
        ..small_glow()
    };
    names(glow(&config, vb()), &["flow::glow", "levels", "1 to 2"]);
    for image in [[0, 4, 4], [1, 1, 1], [1, 0, 4], [1, usize::MAX, 2]] {
        let config = RealNvpImageConfig {
            image,
            scales: 1,
            ..small()
        };
        names(real(config), &["image"]);
    }
    let config = GlowConfig {
        image: [1, 7, 7],
        levels: 1,
        ..small_glow()
    };
    names(glow(&config, vb()), &["levels"]);
    for (steps, channels, what) in [(0, 2, "steps"), (1, 0, "channels")] {
        let config = GlowConfig {
            steps,
            channels,
            ..small_glow()
        };
        names(glow(&config, vb()), &[what]);
    }
    for bound in [0., -1., f64::NAN] {
        names(real(RealNvpImageConfig { bound, ..small() }), &["bound"]);
        names(
            glow(
                &GlowConfig {
                    bound,
                    ..small_glow()
                },
                vb(),
            ),
            &["bound"],
        );
    }
    let config = RealNvpImageConfig {
        channels: 0,
        ..small()
    };
    names(real(config), &["channels"]);

    let flow = real(small())?;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU);
    for shape in [&[4, 4][..], &[2, 1, 4, 5], &[1, 3, 4, 4]] {
        let error = flow.inverse(&zeros(shape)?).unwrap_err().to_string();
        assert!(error.contains("ImageFlow::inverse"), "{error}");
        assert!(flow.latents(&zeros(shape)?).is_err());
    }
    assert!(
        flow.transform(&zeros(&TINY)?.to_dtype(DType::F64)?)
            .is_err()
    );
    names(flow.given(&zeros(&[2, 3])?), &["no context"]);
    let context = ImageContext::PerImage(3);
    let flow = real(RealNvpImageConfig { context, ..small() })?;
    let error = flow.inverse(&zeros(&TINY)?).unwrap_err().to_string();
    assert!(error.contains("PerImage(3)"), "{error}");
    names(flow.given(&zeros(&[2, 4])?), &["context", "[3]"]);
    let flow = flow.given(&zeros(&[5, 3])?)?;
    assert!(flow.inverse(&zeros(&[4, 1, 4, 4])?).is_err());
    assert_eq!(flow.inverse(&zeros(&[5, 1, 4, 4])?)?.dims(), [5, 1, 4, 4]);
    Ok(())
}

/// The numbers of stored activations, under a context that is a variable itself.
#[test]
fn flows_without_activations() -> Result<()> {
    let context = ImageContext::PerPixel(1);
    let flows: [Build; 2] = [
        &|vb| {
            glow(
                &GlowConfig {
                    context,
                    ..small_glow()
                },
                vb,
            )
        },
        &|vb| real_nvp_image(&RealNvpImageConfig { context, ..small() }, vb),
    ];
    for build in flows {
        for (dtype, bound) in [(DType::F32, 1e-4), (DType::F64, 1e-9)] {
            let weights = weights(build)?;
            let vars: BTreeMap<String, Var> = weights
                .into_iter()
                .map(|(name, w)| Ok((name, Var::from_tensor(&w.to_dtype(dtype)?)?)))
                .collect::<Result<_>>()?;
            let tensors = vars
                .iter()
                .map(|(name, v)| (name.clone(), v.as_tensor().clone()));
            let flow = build(VarBuilder::from_tensors(tensors.collect(), dtype, CPU))?;
            let [c, h, w] = flow.image();
            let mut rng = Rng::new(4);
            let mut draw = |shape: &[usize]| {
                Ok::<_, candle_prob::Error>(Var::from_tensor(&rng.normal(shape, dtype, CPU)?)?)
            };
            let (x, seen) = (draw(&[3, c, h, w])?, draw(&[3, 1, h, w])?);
            let mut known: Vec<Var> = vars.values().cloned().collect();
            known.push(seen.clone());
            let flow = flow.given(&seen)?;
            let again = flow.reversible(&known)?;
            known.push(x.clone());
            for inverse in [false, true] {
                let run = |flow: &dyn Bijector| -> Result<Vec<Tensor>> {
                    let (y, log_det) = match inverse {
                        false => flow.transform_and_log_det(&x)?,
                        true => flow.inverse_and_log_det(&x)?,
                    };
                    let loss = (y.sin()?.sum_all()? + log_det.sin()?.sum_all()?)?;
                    let gradients = loss.backward()?;
                    let mut all = vec![y.detach(), log_det.detach()];
                    for var in &known {
                        let gradient = gradients.get(var).cloned();
                        all.push(gradient.map_or_else(|| var.zeros_like(), Ok)?);
                    }
                    Ok(all)
                };
                for (stored, again) in run(&flow)?.iter().zip(run(&again)?) {
                    let gap = (stored - again)?.abs()?.max_all()?.to_dtype(DType::F64)?;
                    let size = stored.abs()?.max_all()?.to_dtype(DType::F64)?;
                    let (gap, size) = (gap.to_scalar::<f64>()?, size.to_scalar::<f64>()?);
                    assert!(gap <= bound * size.max(1.), "{dtype:?}: {gap} of {size}");
                }
            }
        }
    }
    let vb = init::seeded(&VarMap::new(), 1, DType::F32, CPU);
    let flow = glow(
        &GlowConfig {
            context,
            ..small_glow()
        },
        vb,
    )?;
    let error = flow.reversible(&[]).err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("ImageFlow::reversible: context")));
    Ok(())
}
