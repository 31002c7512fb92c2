//! The autoencoder with two levels of codes: shapes, gradients, state, training.

use crate::support::floats;
use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::VarMap;
use candle_prob::bijector::Axis;
use candle_prob::init::{self, named_vars};
use candle_prob::net::{Codebook, TwoLevels, VectorQuantizerConfig, VqVae2, VqVae2Config, vq_vae2};
use candle_prob::objective::vq;
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Detach, Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn config(size: usize, codebook: Codebook) -> VqVae2Config {
    VqVae2Config {
        image: (1, size, size),
        outputs: 1,
        channels: 8,
        blocks: 1,
        quantizer: VectorQuantizerConfig {
            codes: 16,
            dims: 4,
            codebook,
            decay: 0.9,
            ..Default::default()
        },
    }
}

fn made(config: &VqVae2Config) -> Result<(VqVae2, VarMap)> {
    let vars = VarMap::new();
    let model = vq_vae2(config, init::seeded(&vars, 1, DType::F32, CPU))?;
    Ok((model, vars))
}

/// Bars of random place and direction.
fn bars(n: usize, size: usize, rng: &mut Rng) -> Result<Tensor> {
    let at = rng.integers(n, 2 * size)?;
    let pixel = |i: usize| {
        let (image, row, column) = (i / size / size, i / size % size, i % size);
        let across = if at[image] < size { row } else { column };
        let gap = across as f32 - (at[image] % size) as f32;
        (-0.5 * gap * gap).exp()
    };
    let pixels = (0..n * size * size).map(pixel).collect();
    Ok(Tensor::from_vec::<_, f32>(pixels, (n, 1, size, size), CPU)?)
}

fn loss(found: &TwoLevels, images: &Tensor) -> Result<Tensor> {
    let mut loss = (&found.raw - images)?.sqr()?.sum_all()?;
    for level in [&found.top, &found.bottom] {
        loss = (loss + vq(&level.rows, &level.codes, 0.25)?.total.sum_all()?)?;
    }
    Ok((loss / images.dim(0)? as f64)?)
}

const AVERAGED: Codebook = Codebook::MovingAverage { smoothing: 1e-5 };

#[test]
fn codes_decode_to_what_images_do() -> Result<()> {
    for size in [28, 8] {
        let (model, _) = made(&config(size, AVERAGED))?;
        let images = bars(6, size, &mut Rng::new(2))?;
        assert!(model.initialize(&images, &mut Rng::new(3))?);
        assert!(!model.initialize(&images, &mut Rng::new(3))?);
        let found = model.quantize(&images)?;
        assert_eq!(found.raw.dims(), [6, 1, size, size]);
        assert_eq!(found.top.index.dims(), [6, size / 4, size / 4]);
        assert_eq!(found.bottom.index.dims(), [6, size / 2, size / 2]);
        assert!(found.top.perplexity()? > 1.5 && found.bottom.perplexity()? > 1.5);
        let again = model.decode(&found.top.index, &found.bottom.index)?;
        let off = (again - &found.raw)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off < 1e-5, "{off}");
        let forward = model.forward_t(&images, false)?;
        assert_eq!(floats(&forward)?, floats(&found.raw)?);
        // The bottom level sees the top one, and so does the image.
        let others = Tensor::new(15u32, CPU)?.broadcast_sub(&found.top.index)?;
        let moved = (model.context(&others)? - model.context(&found.top.index)?)?;
        assert_eq!(moved.dims(), [6, 8, size / 2, size / 2]);
        assert!(moved.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3);
        let moved = (model.decode(&others, &found.bottom.index)? - &found.raw)?;
        assert!(moved.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3);
        // Nothing.
        let none = model.quantize_t(&images.narrow(0, 0, 0)?, true)?;
        assert_eq!(none.raw.dims(), [0, 1, size, size]);
    }
    Ok(())
}

#[test]
fn all_that_learns_has_a_gradient() -> Result<()> {
    for codebook in [AVERAGED, Codebook::Gradient] {
        let (model, vars) = made(&config(8, codebook))?;
        let images = bars(5, 8, &mut Rng::new(2))?;
        let gradients = loss(&model.quantize(&images)?, &images)?.backward()?;
        let detached = loss(&model.detach().quantize(&images)?, &images)?.backward()?;
        for (name, var) in named_vars(&vars)? {
            let learned = codebook == Codebook::Gradient && name.ends_with("codebook");
            let state = ["codebook", "sums", "counts", "initialized"];
            let state = state.iter().any(|end| name.ends_with(end)) && !learned;
            assert_eq!(gradients.get(&var).is_none(), state, "{name}");
            assert!(detached.get(&var).is_none(), "{name}");
        }
    }
    Ok(())
}

/// A hundred steps on bars; few codes die, and the losses fall.
#[test]
fn training_lowers_the_loss() -> Result<()> {
    for codebook in [AVERAGED, Codebook::Gradient] {
        let (model, vars) = made(&config(8, codebook))?;
        let mut rng = Rng::new(4);
        let test = bars(64, 8, &mut rng)?;
        model.initialize(&test, &mut rng)?;
        let off = || -> Result<f32> {
            let raw = model.forward_t(&test, false)?;
            Ok((raw - &test)?.sqr()?.mean_all()?.to_scalar::<f32>()?)
        };
        let before = off()?;
        let adam = AdamConfig {
            lr: 3e-3,
            ..Default::default()
        };
        let mut adam = Adam::new(&vars, &adam)?;
        for step in 0..150 {
            let images = bars(32, 8, &mut rng)?;
            let found = model.quantize_t(&images, true)?;
            adam.backward_step(&loss(&found, &images)?)?;
            if step % 20 == 19 {
                model.revive(&images, 0.05, &mut rng)?;
            }
        }
        let after = off()?;
        assert!(after < 0.25 * before, "{codebook:?}: {before} to {after}");
        assert!(model.quantize(&test)?.bottom.perplexity()? > 3.);
    }
    Ok(())
}

#[test]
fn a_pass_that_fails_writes_no_level() -> Result<()> {
    let (model, vars) = made(&config(8, AVERAGED))?;
    let images = bars(5, 8, &mut Rng::new(2))?;
    let before = floats(&model.top().counts()?)?;
    let odd = &named_vars(&vars)?["bottom.codebook"];
    let good = odd.as_tensor().copy()?;
    odd.set(&(odd.ones_like()? * f64::NAN)?)?;
    assert!(matches!(
        model.quantize_t(&images, true),
        Err(Error::Value { .. })
    ));
    assert_eq!(floats(&model.top().counts()?)?, before);
    odd.set(&good)?;
    model.quantize(&images)?;
    assert_eq!(floats(&model.top().counts()?)?, before);
    model.quantize_t(&images, true)?;
    assert_ne!(floats(&model.top().counts()?)?, before);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let good = config(8, AVERAGED);
    let features = VectorQuantizerConfig {
        axis: Axis::Feature,
        ..good.quantizer
    };
    let one = VectorQuantizerConfig {
        codes: 1,
        ..good.quantizer
    };
    for bad in [
        VqVae2Config {
            image: (1, 8, 10),
            ..good
        },
        VqVae2Config {
            image: (1, 0, 8),
            ..good
        },
        VqVae2Config {
            image: (0, 8, 8),
            ..good
        },
        VqVae2Config { outputs: 0, ..good },
        VqVae2Config {
            channels: 0,
            ..good
        },
        VqVae2Config {
            channels: usize::MAX,
            ..good
        },
        VqVae2Config {
            quantizer: features,
            ..good
        },
        VqVae2Config {
            quantizer: one,
            ..good
        },
    ] {
        assert!(matches!(made(&bad), Err(Error::Value { .. })), "{bad:?}");
    }
    let (model, _) = made(&good)?;
    for dims in [&[2, 1, 8, 4][..], &[2, 3, 8, 8], &[1, 8, 8], &[]] {
        let images = Tensor::zeros(dims, DType::F32, CPU)?;
        assert!(
            matches!(model.quantize(&images), Err(Error::Shape { .. })),
            "{dims:?}"
        );
        assert!(model.initialize(&images, &mut Rng::new(0)).is_err());
    }
    let images = Tensor::zeros((1, 1, 8, 8), DType::F32, CPU)?;
    let refused = model.revive(&images, -1., &mut Rng::new(0)).err();
    let text = refused.map_or("nothing".into(), |e| e.to_string());
    assert!(text.starts_with("VqVae2::revive: "), "{text}");
    let index = |dims: &[usize]| Tensor::zeros(dims, DType::U32, CPU);
    model.decode(&index(&[3, 2, 2])?, &index(&[3, 4, 4])?)?;
    for (top, bottom) in [
        (&[3, 2, 2][..], &[2, 4, 4][..]),
        (&[3, 2, 2], &[3, 2, 2]),
        (&[3, 4, 4], &[3, 4, 4]),
        (&[2, 2], &[4, 4]),
    ] {
        let refused = model.decode(&index(top)?, &index(bottom)?);
        assert!(
            matches!(refused, Err(Error::Shape { .. })),
            "{top:?} {bottom:?}"
        );
    }
    assert!(model.context(&index(&[2, 2])?).is_err());
    Ok(())
}
