//! Masked convolutions and PixelCNN.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, VarMap};
use candle_prob::distribution::{Categorical, Distribution};
use candle_prob::net::{
    Conv2d, Conv2dConfig, ConvMask, MaskedConv2d, MaskedConv2dConfig, PixelCnn, PixelCnnConfig,
    masked_conv2d, pixel_cnn,
};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::testing::check_gradient;
use candle_prob::{Conditional, Error, Result, Rng, init};

const DEVICE: Device = Device::Cpu;

fn config(levels: usize, size: (usize, usize)) -> PixelCnnConfig {
    PixelCnnConfig {
        levels,
        size,
        embedding: 3,
        channels: 4,
        blocks: 3,
        first_kernel: 3,
        kernel: 3,
        context: 0,
        global: 0,
    }
}

/// A network whose last layer has left zero.
fn random(config: &PixelCnnConfig, dtype: DType) -> Result<(PixelCnn, VarMap)> {
    let vars = VarMap::new();
    let net = pixel_cnn(config, init::seeded(&vars, 0, dtype, &DEVICE))?;
    let mut rng = Rng::new(5);
    for (name, var) in init::named_vars(&vars)? {
        if name.starts_with("last.1") {
            let noise = rng.normal(var.shape(), DType::F64, &DEVICE)?;
            var.set(&noise.to_dtype(dtype)?)?;
        }
    }
    Ok((net, vars))
}

/// All grids of `positions` classes, one a row.
fn all_grids(levels: u32, positions: u32) -> Vec<u32> {
    (0..levels.pow(positions))
        .flat_map(|grid| (0..positions).map(move |i| grid / levels.pow(i) % levels))
        .collect()
}

/// The Jacobian is strictly triangular in raster order, and full below the diagonal: there is no blind spot.
#[test]
fn logits_depend_on_all_positions_before_and_on_no_other() -> Result<()> {
    let (h, w) = (4, 5);
    // Enough channels that at no position all are below zero, where the last layers pass on nothing.
    let config = PixelCnnConfig {
        channels: 12,
        ..config(3, (h, w))
    };
    for dtype in [DType::F64, DType::F32] {
        let (net, _) = random(&config, dtype)?;
        let base: Vec<u32> = (0..h * w).map(|i| (i * i) as u32 % 3).collect();
        let mut grids = base.clone();
        for changed in 0..h * w {
            let mut grid = base.clone();
            grid[changed] = (grid[changed] + 1) % 3;
            grids.extend(grid);
        }
        let grids = Tensor::from_vec(grids, (h * w + 1, h, w), &DEVICE)?;
        let logits = net.with(None, None)?.logits(&grids)?.to_dtype(DType::F64)?;
        let logits = logits.reshape((h * w + 1, h * w, 3))?.to_vec3::<f64>()?;
        let (before, after) = (&logits[0], &logits[1..]);
        for (changed, after) in after.iter().enumerate() {
            for (position, (before, after)) in before.iter().zip(after).enumerate() {
                let what = format!("{dtype:?}: position {position} when {changed} changes");
                assert_eq!(before != after, position > changed, "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn probabilities_of_all_grids_add_up_to_one() -> Result<()> {
    let (net, _) = random(&config(3, (2, 2)), DType::F64)?;
    let grids = Tensor::from_vec(all_grids(3, 4), (81, 2, 2), &DEVICE)?;
    let log_probs = net.log_prob(&grids)?;
    let total = log_probs.exp()?.sum_all()?.to_scalar::<f64>()?;
    assert!((total - 1.).abs() < 1e-12, "{total}");
    // They are not all alike, and conditionals multiply to the joint.
    let log_probs = log_probs.to_vec1::<f64>()?;
    assert!(log_probs.iter().any(|l| (l - log_probs[0]).abs() > 0.1));
    let context = PixelCnnConfig {
        context: 2,
        global: 5,
        ..config(3, (2, 2))
    };
    let (net, _) = random(&context, DType::F64)?;
    let mut rng = Rng::new(3);
    let spatial = rng.normal((2, 2, 2, 2), DType::F64, &DEVICE)?;
    let global = rng.normal((2, 5), DType::F64, &DEVICE)?;
    let given = net.with(Some(&spatial), Some(&global))?;
    let log_probs = given.log_prob(&grids.unsqueeze(1)?)?;
    assert_eq!(log_probs.dims(), [81, 2]);
    for total in log_probs.exp()?.sum(0)?.to_vec1::<f64>()? {
        assert!((total - 1.).abs() < 1e-12, "{total}");
    }
    let [first, second] = [0, 1].map(|i| log_probs.get_on_dim(1, i));
    assert!((first? - second?)?.abs()?.max_all()?.to_scalar::<f64>()? > 0.1);
    Ok(())
}

#[test]
fn draws_have_the_frequencies_of_their_probabilities() -> Result<()> {
    let (net, _) = random(&config(2, (2, 2)), DType::F32)?;
    let grids = Tensor::from_vec(all_grids(2, 4), (16, 2, 2), &DEVICE)?;
    let probs = net.log_prob(&grids)?.exp()?.to_vec1::<f32>()?;
    let draws = 4000;
    let values = net.sample(&[draws], &mut Rng::new(9))?;
    assert_eq!(values.dtype(), DType::U32);
    let mut counts = [0f64; 16];
    for grid in values.flatten_from(1)?.to_vec2::<u32>()? {
        let index: u32 = grid.iter().enumerate().map(|(i, v)| v << i).sum();
        counts[index as usize] += 1.;
    }
    let statistic: f64 = counts
        .iter()
        .zip(&probs)
        .map(|(count, p)| {
            let expected = f64::from(*p) * draws as f64;
            (count - expected).powi(2) / expected
        })
        .sum();
    // The 1 - 1e-4 quantile of chi-square with 15 degrees of freedom.
    assert!(statistic < 44.26, "{statistic}");
    // The test tells this network from a uniform one.
    let uniform: f64 = counts.iter().map(|c| (c - 250.).powi(2) / 250.).sum();
    assert!(uniform > 100., "{uniform}");
    Ok(())
}

/// A draw computes windows of what log-probabilities compute in whole: the same classes come out.
#[test]
fn sampling_is_by_the_logits_of_all_positions() -> Result<()> {
    let (h, w) = (5, 6);
    let config = PixelCnnConfig {
        blocks: 1,
        context: 2,
        global: 3,
        ..config(4, (h, w))
    };
    let (net, _) = random(&config, DType::F64)?;
    let mut rng = Rng::new(2);
    let spatial = rng.normal((2, 2, h, w), DType::F64, &DEVICE)?;
    let global = rng.normal((2, 3), DType::F64, &DEVICE)?;
    let given = net.with(Some(&spatial), Some(&global))?;
    let got = given.sample(&[3], &mut Rng::new(7))?;
    assert_eq!(got.dims(), [3, 2, h, w]);
    let (mut values, mut rng) = (vec![0u32; 6 * h * w], Rng::new(7));
    for at in 0..h * w {
        let so_far = Tensor::from_slice(&values, (3, 2, h, w), &DEVICE)?;
        let logits = given.logits(&so_far)?.reshape((6, h * w, 4))?;
        let here = Categorical::new(&logits.narrow(1, at, 1)?.squeeze(1)?)?;
        for (i, drawn) in here
            .sample(&[], &mut rng)?
            .to_vec1::<u32>()?
            .iter()
            .enumerate()
        {
            values[i * h * w + at] = *drawn;
        }
    }
    assert_eq!(got.flatten_all()?.to_vec1::<u32>()?, values);
    Ok(())
}

#[test]
fn training_finds_a_pattern() -> Result<()> {
    // Stripes, one of four: 2 bits for all 36 positions.
    let stripes = |phase: usize| {
        (0..36).map(move |i| {
            let (row, column) = (i / 6, i % 6);
            match phase {
                0 | 1 => (row + phase) as u32 % 2,
                _ => (column + phase) as u32 % 2,
            }
        })
    };
    let grids: Vec<u32> = (0..4).flat_map(stripes).collect();
    let grids = Tensor::from_vec(grids, (4, 6, 6), &DEVICE)?;
    let vars = VarMap::new();
    let config = PixelCnnConfig {
        channels: 12,
        blocks: 2,
        ..config(2, (6, 6))
    };
    let net = pixel_cnn(&config, init::seeded(&vars, 0, DType::F32, &DEVICE))?;
    let bits = || -> Result<Tensor> {
        Ok((net.log_prob(&grids)?.mean_all()? * -std::f64::consts::LN_2.recip())?)
    };
    // A fresh network is uniform.
    assert!((bits()?.to_scalar::<f32>()? - 36.).abs() < 1e-4);
    let rate = AdamConfig {
        lr: 0.01,
        ..Default::default()
    };
    let mut adam = Adam::new(&vars, &rate)?;
    for _ in 0..100 {
        adam.backward_step(&bits()?)?;
    }
    let left = bits()?.to_scalar::<f32>()?;
    assert!(left > 2. - 1e-3 && left < 2.3, "{left}");
    let draws = net.sample(&[20], &mut Rng::new(4))?;
    let known = net.log_prob(&draws)?.to_vec1::<f32>()?;
    assert!(
        known.iter().filter(|l| **l > -2.).count() >= 15,
        "{known:?}"
    );
    Ok(())
}

#[test]
fn gradients_of_contexts_and_parameters() -> Result<()> {
    let config = PixelCnnConfig {
        blocks: 2,
        context: 2,
        global: 3,
        ..config(3, (3, 3))
    };
    let (net, vars) = random(&config, DType::F64)?;
    let mut rng = Rng::new(8);
    let spatial = rng.normal((2, 2, 3, 3), DType::F64, &DEVICE)?;
    let global = rng.normal((2, 3), DType::F64, &DEVICE)?;
    let values: Vec<u32> = (0..18).map(|i| i * i % 3).collect();
    let values = Tensor::from_vec(values, (2, 3, 3), &DEVICE)?;
    let log_prob = |contexts: &[Tensor]| -> Result<Tensor> {
        net.with(Some(&contexts[0]), Some(&contexts[1]))?
            .log_prob(&values)
    };
    let contexts = [spatial, global];
    check_gradient(&log_prob, &contexts, 1e-7)?;
    // In single precision the same values and gradients, to every parameter.
    let single = VarMap::new();
    let fused = pixel_cnn(&config, init::seeded(&single, 0, DType::F32, &DEVICE))?;
    let (vars, single) = (init::named_vars(&vars)?, init::named_vars(&single)?);
    for (name, var) in &single {
        var.set(&vars[name].to_dtype(DType::F32)?)?;
    }
    let want = log_prob(&contexts)?;
    let down = |t: &Tensor| t.to_dtype(DType::F32);
    let given = fused.with(Some(&down(&contexts[0])?), Some(&down(&contexts[1])?))?;
    let got = given.log_prob(&values)?;
    let close = |got: &Tensor, want: &Tensor, what: &str| -> Result<()> {
        let gap = (got.to_dtype(DType::F64)? - want)?.abs()?.max_all()?;
        let scale = want.abs()?.max_all()?.to_scalar::<f64>()?;
        let gap = gap.to_scalar::<f64>()?;
        assert!(scale > 0. && gap < 2e-5 * scale, "{what}: {gap} at {scale}");
        Ok(())
    };
    close(&got, &want, "log-probability")?;
    let (want, got) = (want.sum_all()?.backward()?, got.sum_all()?.backward()?);
    for (name, var) in &vars {
        // Those of the vertical stack of the last block by its link alone.
        match (want.get(var), got.get(&single[name])) {
            (Some(want), Some(got)) => close(got, want, name)?,
            _ => panic!("{name} has no gradient"),
        }
    }
    Ok(())
}

#[test]
fn shapes_of_values_and_contexts() -> Result<()> {
    let config = PixelCnnConfig {
        global: 3,
        ..config(3, (3, 4))
    };
    let (net, _) = random(&config, DType::F32)?;
    let context = Rng::new(1).normal((2, 3), DType::F32, &DEVICE)?;
    let given = net.given(&context)?;
    assert_eq!(
        (given.batch_shape(), given.event_shape()),
        (&[2][..], &[3, 4][..])
    );
    let values = given.sample(&[5], &mut Rng::new(2))?;
    let all = given.log_prob(&values)?;
    assert_eq!(all.dims(), [5, 2]);
    for i in 0..2 {
        let alone = net.given(&context.narrow(0, i, 1)?)?;
        let values = values.narrow(1, i, 1)?;
        let gap = (alone.log_prob(&values)? - all.narrow(1, i, 1)?)?.abs()?;
        assert!(gap.max_all()?.to_scalar::<f32>()? < 1e-5);
        // A strided value, a value in another dtype, one value for all contexts.
        let bytes = alone.log_prob(&values.to_dtype(DType::U8)?)?;
        assert_eq!(
            bytes.to_vec2::<f32>()?,
            alone.log_prob(&values)?.to_vec2::<f32>()?
        );
    }
    let one = given.log_prob(&values.get(0)?.get(0)?)?.to_vec1::<f32>()?;
    let first = all.get(0)?.get(0)?.to_scalar::<f32>()?;
    assert!((one[0] - first).abs() < 1e-5 && one.len() == 2);
    let none = given.sample(&[0], &mut Rng::new(2))?;
    assert_eq!(none.dims(), [0, 2, 3, 4]);
    assert_eq!(given.log_prob(&none)?.dims(), [0, 2]);
    // What is no class has no probability; the others keep theirs.
    let spoilt = Tensor::cat(
        &[
            &values.narrow(0, 0, 1)?,
            &values.narrow(0, 0, 1)?.ones_like()?.affine(9., 0.)?,
        ],
        0,
    )?;
    let spoilt = given.log_prob(&spoilt)?.to_vec2::<f32>()?;
    assert!((spoilt[0][0] - first).abs() < 1e-5);
    assert_eq!(spoilt[1], [f32::NEG_INFINITY; 2]);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let build = |config: &PixelCnnConfig| {
        pixel_cnn(config, init::seeded(&VarMap::new(), 0, DType::F32, &DEVICE))
    };
    let good = config(3, (3, 4));
    for wrong in [
        PixelCnnConfig { levels: 0, ..good },
        PixelCnnConfig {
            size: (0, 4),
            ..good
        },
        PixelCnnConfig {
            embedding: 0,
            ..good
        },
        PixelCnnConfig {
            channels: 0,
            ..good
        },
        PixelCnnConfig {
            first_kernel: 4,
            ..good
        },
        PixelCnnConfig { kernel: 1, ..good },
        PixelCnnConfig {
            channels: usize::MAX,
            ..good
        },
    ] {
        assert!(
            matches!(build(&wrong), Err(Error::Value { .. })),
            "{wrong:?}"
        );
    }
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &DEVICE);
    let net = build(&good)?;
    let value = net.log_prob(&zeros(&[2, 4, 3], DType::U32)?);
    assert!(matches!(value, Err(Error::Shape { .. })));
    let value = net.log_prob(&zeros(&[2, 3, 4], DType::F32)?);
    assert!(matches!(value, Err(Error::DType { .. })));
    let context = zeros(&[2, 2, 3, 4], DType::F32)?;
    assert!(matches!(net.given(&context), Err(Error::Value { .. })));
    let net = build(&PixelCnnConfig {
        context: 2,
        global: 5,
        ..good
    })?;
    let global = zeros(&[2, 5], DType::F32)?;
    assert!(net.with(Some(&context), Some(&global)).is_ok());
    assert!(matches!(
        net.sample(&[1], &mut Rng::new(0)),
        Err(Error::Value { .. })
    ));
    assert!(matches!(net.given(&context), Err(Error::Value { .. })));
    for wrong in [
        zeros(&[3, 5], DType::F32)?,
        zeros(&[2, 4], DType::F32)?,
        zeros(&[5], DType::F32)?,
    ] {
        let refused = net.with(Some(&context), Some(&wrong));
        assert!(matches!(refused, Err(Error::Shape { .. })), "{wrong:?}");
    }
    let double = zeros(&[2, 5], DType::F64)?;
    assert!(matches!(
        net.with(Some(&context), Some(&double)),
        Err(Error::DType { .. })
    ));
    // One level leaves nothing to choose.
    let net = build(&PixelCnnConfig { levels: 1, ..good })?;
    let value = net.sample(&[2], &mut Rng::new(0))?;
    assert_eq!(net.log_prob(&value)?.to_vec1::<f32>()?, [0., 0.]);
    Ok(())
}

#[test]
fn a_masked_convolution_sees_what_comes_before() -> Result<()> {
    let mut rng = Rng::new(3);
    let (h, w) = (5, 6);
    for (mask, own) in [(ConvMask::A, false), (ConvMask::B, true)] {
        for (kh, kw) in [(3, 5), (1, 3), (5, 1)] {
            let config = MaskedConv2dConfig {
                mask,
                ..Default::default()
            };
            let weight = rng.normal((4, 2, kh, kw), DType::F32, &DEVICE)?;
            let bias = rng.normal(4, DType::F32, &DEVICE)?;
            let layer = MaskedConv2d::new(weight.clone(), Some(bias.clone()), &config)?;
            let x = Var::from_tensor(&rng.normal((2, 2, h, w), DType::F32, &DEVICE)?)?;
            let y = layer.forward(&x)?;
            // The same from a convolution whose weights are zero there.
            let centre = kh / 2 * kw + kw / 2;
            let seen = (0..kh * kw).map(|i| f32::from(u8::from(i < centre || own && i == centre)));
            let seen = Tensor::from_vec(seen.collect(), (kh, kw), &DEVICE)?;
            let options = Conv2dConfig {
                padding: (kh / 2, kw / 2),
                ..Default::default()
            };
            let full = Conv2d::new(weight.broadcast_mul(&seen)?, Some(bias), &options)?;
            let gap = (&y - full.forward(&x)?)?.abs()?.max_all()?;
            assert!(gap.to_scalar::<f32>()? < 1e-5, "{mask:?} {kh} {kw}");
            // One output's slopes, position by position.
            let (row, column) = (2, 3);
            let one = y.narrow(2, row, 1)?.narrow(3, column, 1)?.sum_all()?;
            let store = one.backward()?;
            let Some(slopes) = store.get(&x) else {
                panic!("x has no gradient");
            };
            let slopes = slopes.abs()?.sum((0, 1))?.flatten_all()?.to_vec1::<f32>()?;
            for (i, slope) in slopes.iter().enumerate() {
                let near = (i / w).abs_diff(row) <= kh / 2 && (i % w).abs_diff(column) <= kw / 2;
                let here = row * w + column;
                let before = i < here || own && i == here;
                assert_eq!(*slope != 0., near && before, "{mask:?} {kh} {kw} at {i}");
            }
        }
    }
    // A with B sees nothing at and after a position, and of what is before not all.
    let mut layer = |mask| -> Result<MaskedConv2d> {
        let weight = rng.normal((1, 1, 3, 3), DType::F64, &DEVICE)?;
        let config = MaskedConv2dConfig {
            mask,
            ..Default::default()
        };
        MaskedConv2d::new(weight, None, &config)
    };
    let (first, second) = (layer(ConvMask::A)?, layer(ConvMask::B)?);
    let x = Var::ones((1, 1, h, w), DType::F64, &DEVICE)?;
    let y = second.forward(&first.forward(&x)?)?.flatten_all()?;
    for at in 0..h * w {
        let store = y.get(at)?.backward()?;
        let Some(slopes) = store.get(&x) else {
            panic!("x has no gradient");
        };
        let slopes = slopes.flatten_all()?.to_vec1::<f64>()?;
        assert!(slopes[at..].iter().all(|slope| *slope == 0.), "{at}");
        // Two to the right in the row above: a layer goes one to the right only where it goes a row up.
        if at >= w && at % w + 2 < w {
            assert_eq!(slopes[at - w + 2], 0., "{at}");
            assert_ne!(slopes[at - w + 1], 0., "{at}");
        }
    }
    let vb = || init::seeded(&VarMap::new(), 0, DType::F32, &DEVICE);
    for kernel in [(2, 3), (3, 4), (0, 3)] {
        let config = MaskedConv2dConfig {
            kernel,
            ..Default::default()
        };
        assert!(matches!(
            masked_conv2d(1, 1, &config, vb()),
            Err(Error::Value { .. })
        ));
    }
    let layer = masked_conv2d(2, 3, &Default::default(), vb())?;
    let none = layer.forward(&Tensor::zeros((0, 2, 4, 4), DType::F32, &DEVICE)?)?;
    assert_eq!(none.dims(), [0, 3, 4, 4]);
    assert!(
        layer
            .forward(&Tensor::zeros((2, 3, 4), DType::F32, &DEVICE)?)
            .is_err()
    );
    assert!(masked_conv2d(0, 3, &Default::default(), vb()).is_err());
    Ok(())
}
