//! DCGAN's networks: shapes, initial values, the layers that they are, state, and what they refuse.

use candle_core::{DType, Device, Module, ModuleT, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::dual::{Dual, DualModule};
use candle_prob::init::{self, named_vars};
use candle_prob::net::{
    DcganConfig, DcganDiscriminator, DcganGenerator, DiscriminatorNorm, SpectralConstraint,
    SpectralNormConfig, dcgan_discriminator, dcgan_generator,
};
use candle_prob::objective::{GradientPenaltyForm, gradient_penalty};
use candle_prob::{Activation, Detach, Error, Result, Rng};

const DEVICE: Device = Device::Cpu;

fn small(image: (usize, usize, usize), channels: &[usize]) -> DcganConfig {
    DcganConfig {
        image,
        latents: 5,
        channels: channels.to_vec(),
        ..Default::default()
    }
}

fn generator(config: &DcganConfig, dtype: DType) -> Result<(VarMap, DcganGenerator)> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 3, dtype, &DEVICE);
    let net = dcgan_generator(config, vb)?;
    Ok((vars, net))
}

fn critic(config: &DcganConfig, dtype: DType) -> Result<(VarMap, DcganDiscriminator)> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 4, dtype, &DEVICE);
    let net = dcgan_discriminator(config, vb)?;
    Ok((vars, net))
}

fn list(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[track_caller]
fn close(got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in list(got)?.into_iter().zip(list(want)?) {
        let near = (got - want).abs() <= tolerance * want.abs().max(1.);
        assert!(near, "{got} instead of {want}");
    }
    Ok(())
}

#[test]
fn images_of_every_size_that_can_be_halved() -> Result<()> {
    for (image, channels) in [
        ((1, 28, 28), &[6, 4][..]),
        ((3, 32, 32), &[7, 6, 4]),
        ((2, 8, 12), &[5, 3]),
        ((1, 6, 2), &[4]),
    ] {
        let config = small(image, channels);
        let (_, generator) = generator(&config, DType::F32)?;
        let (_, critic) = critic(&config, DType::F32)?;
        let z = Rng::new(1).normal((3, 5), DType::F32, &DEVICE)?;
        for train in [true, false] {
            let x = generator.forward_t(&z, train)?;
            assert_eq!(x.dims(), [3, image.0, image.1, image.2]);
            assert!(list(&x)?.iter().all(|x| x.abs() <= 1.));
            assert_eq!(critic.forward_t(&x, train)?.dims(), [3]);
            let none = generator.forward_t(&z.narrow(0, 0, 0)?, train)?;
            assert_eq!(none.dims(), [0, image.0, image.1, image.2]);
            assert_eq!(critic.forward_t(&none, train)?.dims(), [0]);
        }
    }
    Ok(())
}

/// Each of the maps by its layers alone, with channels first everywhere.
#[test]
fn they_are_their_layers_in_turn() -> Result<()> {
    let config = small((2, 12, 8), &[6, 5]);
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
        for train in [true, false] {
            let (_, ours) = generator(&config, dtype)?;
            let (_, copy) = generator(&config, dtype)?;
            let z = Rng::new(1).normal((7, 5), dtype, &DEVICE)?;
            let mut y = copy.dense().forward(&z)?.reshape((7, 3, 2, 6))?;
            y = y.permute((0, 3, 1, 2))?.contiguous()?;
            for (norm, layer) in copy.norms().iter().zip(copy.layers()) {
                y = layer.forward(&norm.forward_t(&y, train)?)?;
            }
            let x = ours.forward_t(&z, train)?;
            close(&x, &y, tolerance)?;
            for (got, want) in ours.norms().iter().zip(copy.norms()) {
                close(&got.running_mean()?, &want.running_mean()?, tolerance)?;
                close(
                    &got.running_variance()?,
                    &want.running_variance()?,
                    tolerance,
                )?;
            }

            let (_, ours) = critic(&config, dtype)?;
            let (_, copy) = critic(&config, dtype)?;
            let mut y = copy.layers()[0].forward(&x)?;
            for (norm, layer) in copy.norms().iter().zip(&copy.layers()[1..]) {
                y = norm.forward_t(&layer.forward(&y)?, train)?;
            }
            let y = y.permute((0, 2, 3, 1))?.contiguous()?.flatten_from(1)?;
            let y = copy.score().forward(&y)?.flatten_all()?;
            close(&ours.forward_t(&x, train)?, &y, tolerance)?;
            for (got, want) in ours.norms().iter().zip(copy.norms()) {
                close(&got.running_mean()?, &want.running_mean()?, tolerance)?;
            }
        }
    }
    Ok(())
}

/// All gradients of both networks in f32 against f64, through the critic into the generator.
#[test]
fn every_parameter_gets_its_gradient() -> Result<()> {
    let config = small((1, 12, 8), &[6, 5]);
    for norm in [DiscriminatorNorm::Batch, DiscriminatorNorm::None] {
        let config = DcganConfig {
            norm,
            ..config.clone()
        };
        let exact = (
            generator(&config, DType::F64)?,
            critic(&config, DType::F64)?,
        );
        let single = (
            generator(&config, DType::F32)?,
            critic(&config, DType::F32)?,
        );
        for (from, to) in [(&exact.0.0, &single.0.0), (&exact.1.0, &single.1.0)] {
            let from = named_vars(from)?;
            for (name, var) in named_vars(to)? {
                // Larger weights than the initial ones, so that no gradient is small.
                let numbers = match name.contains("running") {
                    true => from[&name].as_tensor().clone(),
                    false => (from[&name].as_tensor() * 8.)?,
                };
                var.set(&numbers.to_dtype(DType::F32)?)?;
                from[&name].set(&var.to_dtype(DType::F64)?)?;
            }
        }
        let z = Rng::new(1).normal((9, 5), DType::F32, &DEVICE)?;
        let run = |g: &DcganGenerator, d: &DcganDiscriminator, z: &Tensor| -> Result<_> {
            let z = Var::from_tensor(z)?;
            let x = g.forward_t(&z, true)?;
            Ok((d.forward_t(&x, true)?.sqr()?.sum_all()?.backward()?, z))
        };
        let (got, got_z) = run(&single.0.1, &single.1.1, &z)?;
        let (want, want_z) = run(&exact.0.1, &exact.1.1, &z.to_dtype(DType::F64)?)?;
        let mut pairs = vec![("z".to_string(), got_z, want_z)];
        for (s, e) in [(&single.0.0, &exact.0.0), (&single.1.0, &exact.1.0)] {
            let exact = named_vars(e)?;
            for (name, var) in named_vars(s)? {
                let other = exact[&name].clone();
                pairs.push((name, var, other));
            }
        }
        for (name, single, exact) in pairs {
            match (got.get(&single), want.get(&exact)) {
                (Some(got), Some(want)) => {
                    let scale = list(&want.abs()?.max_all()?)?[0];
                    let off = list(&(got.to_dtype(DType::F64)? - want)?.abs()?.max_all()?)?[0];
                    assert!(scale > 0. && off < 1e-4 * scale, "{name}: {off} of {scale}");
                }
                (None, None) => assert!(name.contains("running"), "{name}"),
                _ => panic!("{name} has a gradient in one of them"),
            }
        }
    }
    Ok(())
}

#[test]
fn a_detached_critic_passes_gradients_to_images_alone() -> Result<()> {
    let config = small((1, 12, 8), &[6, 5]);
    let (vars, net) = critic(&config, DType::F32)?;
    let x = Var::from_tensor(&Rng::new(1).normal((4, 1, 12, 8), DType::F32, &DEVICE)?)?;
    let loss = |net: &DcganDiscriminator| -> Result<_> {
        Ok(net.forward_t(&x, true)?.sqr()?.sum_all()?.backward()?)
    };
    let (whole, part) = (loss(&net)?, loss(&net.detach())?);
    let [got, want] = [&part, &whole].map(|g| g.get(&x).map(list).transpose());
    assert!(got.is_ok() && got? == want?);
    for (name, var) in named_vars(&vars)? {
        assert!(part.get(&var).is_none(), "{name}");
    }
    Ok(())
}

/// Every layer is what its spectral norm makes of it, in both ways of holding it.
#[test]
fn a_critic_of_spectral_norm_one() -> Result<()> {
    for (constraint, image) in [
        (SpectralConstraint::Normalize, None),
        (SpectralConstraint::Normalize, Some((1, 1))),
        (SpectralConstraint::Project, Some((1, 1))),
    ] {
        let norm = DiscriminatorNorm::Spectral(SpectralNormConfig {
            constraint,
            image,
            warm_up: 100,
            ..Default::default()
        });
        let config = DcganConfig {
            norm,
            ..small((2, 12, 8), &[6, 5])
        };
        let (vars, net) = critic(&config, DType::F64)?;
        let names = named_vars(&vars)?;
        // Weight, bias, u and v of three layers.
        assert_eq!(names.len(), 12);
        assert!(net.norms().is_empty());
        for (name, var) in &names {
            if name.ends_with("weight") {
                var.set(&(var.as_tensor() * 50.)?)?;
            }
        }
        net.project()?;
        let x = Rng::new(1).normal((40, 2, 12, 8), DType::F64, &DEVICE)?;
        let loss = net.forward_t(&x, true)?.sqr()?.sum_all()?;
        let gradients = loss.backward()?;
        for (name, var) in &names {
            let state = name.ends_with(".u") || name.ends_with(".v");
            assert_eq!(gradients.get(var).is_none(), state, "{name}");
        }
        // Twice the same in evaluation.
        let y = list(&net.forward_t(&x, false)?)?;
        assert_eq!(list(&net.forward_t(&x, false)?)?, y);
        // Scores of neighbours are no further apart than the bound says, and without one they would be.
        let step = (Rng::new(2).normal((40, 2, 12, 8), DType::F64, &DEVICE)? * 1e-3)?;
        let moved = list(&net.forward_t(&(&x + &step)?, false)?)?;
        let lengths = list(&step.sqr()?.flatten_from(1)?.sum(1)?.sqrt()?)?;
        let bound = net.lipschitz().expect("spectral norms");
        assert_eq!(bound, if image.is_some() { 1. } else { 4. });
        let mut steepest = 0f64;
        for ((a, b), length) in y.iter().zip(&moved).zip(&lengths) {
            steepest = steepest.max((a - b).abs() / length);
        }
        assert!(steepest > 0. && steepest < bound, "{steepest}");
        let unheld = DcganConfig {
            norm: DiscriminatorNorm::None,
            ..config
        };
        assert!(critic(&unheld, DType::F64)?.1.lipschitz().is_none());
    }
    Ok(())
}

#[test]
fn a_critic_without_batch_normalization_has_a_gradient_penalty() -> Result<()> {
    let spectral = DiscriminatorNorm::Spectral(SpectralNormConfig::default());
    for norm in [DiscriminatorNorm::None, spectral] {
        let config = DcganConfig {
            norm,
            ..small((2, 12, 8), &[6, 5])
        };
        let (vars, net) = critic(&config, DType::F64)?;
        for (name, var) in named_vars(&vars)? {
            if name.ends_with("weight") {
                var.set(&(var.as_tensor() * 10.)?)?;
            }
        }
        let x = Rng::new(1).normal((3, 2, 12, 8), DType::F64, &DEVICE)?;
        let v = Rng::new(2).normal((3, 2, 12, 8), DType::F64, &DEVICE)?;
        let y = net.forward_dual(&Dual::new(&x, &v)?)?;
        close(y.value(), &net.forward_t(&x, false)?, 1e-12)?;
        // Between two places of kinks, so that differences are exact but for rounding.
        let step = (&v * 1e-7)?;
        let apart =
            (net.forward_t(&(&x + &step)?, false)? - net.forward_t(&(&x - &step)?, false)?)?;
        let tangent = y.tangent().expect("a direction");
        close(tangent, &(apart / 2e-7)?, 1e-6)?;
        assert!(list(tangent)?.iter().all(|t| t.abs() > 1e-3));
        let form = GradientPenaltyForm::TwoSided { weight: 10. };
        let parts = gradient_penalty(|x| net.forward_dual(x), &x, form)?;
        let gradients = parts.penalty.mean_all()?.backward()?;
        assert!(gradients.get(net.layers()[0].weight()).is_some());
        let none = net.forward_dual(&Dual::constant(&x.narrow(0, 0, 0)?))?;
        assert_eq!(none.value().dims(), [0]);
        assert!(
            net.forward_dual(&Dual::constant(&x.narrow(2, 0, 4)?))
                .is_err()
        );
    }
    let (_, net) = critic(&small((2, 12, 8), &[6, 5]), DType::F64)?;
    let x = Dual::constant(&Tensor::zeros((3, 2, 12, 8), DType::F64, &DEVICE)?);
    assert!(matches!(net.forward_dual(&x), Err(Error::Value { .. })));
    Ok(())
}

#[test]
fn weights_are_normal_with_a_fiftieth() -> Result<()> {
    let (g, _) = generator(&DcganConfig::default(), DType::F32)?;
    let (d, _) = critic(&DcganConfig::default(), DType::F32)?;
    let mut seen = 0;
    for (name, var) in named_vars(&g)?.into_iter().chain(named_vars(&d)?) {
        let x = list(&var)?;
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let stdev = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (center, spread) = match (name.contains("norm"), name.rsplit('.').next()) {
            (true, Some("weight")) => (1., 0.02),
            (true, Some("running_var")) => (1., 0.),
            (false, Some("weight")) => (0., 0.02),
            _ => (0., 0.),
        };
        // Five standard errors; the seed is fixed.
        let error = 5. * spread / n.sqrt();
        assert!((mean - center).abs() <= error, "{name}: mean {mean}");
        assert!((stdev - spread).abs() <= error, "{name}: {stdev}");
        seen += 1;
    }
    // 1 + 2 x 4 + 1 + 2 of the generator, 2 + 1 + 4 + 2 of the critic
    assert_eq!(seen, 12 + 9);
    let again = generator(&DcganConfig::default(), DType::F32)?.0;
    for (name, var) in named_vars(&g)? {
        assert_eq!(list(&var)?, list(&named_vars(&again)?[&name])?);
    }
    Ok(())
}

#[test]
fn a_loaded_generator_draws_the_same_images() -> Result<()> {
    let config = small((1, 12, 8), &[6, 5]);
    let (vars, net) = generator(&config, DType::F32)?;
    let z = Rng::new(1).normal((6, 5), DType::F32, &DEVICE)?;
    for _ in 0..3 {
        net.forward_t(&z, true)?;
    }
    let path = std::env::temp_dir().join(format!("dcgan_{}.safetensors", std::process::id()));
    vars.save(&path)?;
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 99, DType::F32, &DEVICE);
    let (mut vars, loaded) = (vars.clone(), dcgan_generator(&config, vb)?);
    vars.load(&path)?;
    std::fs::remove_file(&path).map_err(candle_core::Error::from)?;
    let images = net.forward_t(&z, false)?;
    assert_eq!(list(&loaded.forward_t(&z, false)?)?, list(&images)?);
    // In evaluation an image does not depend on those beside it.
    let alone = loaded.forward_t(&z.narrow(0, 2, 1)?, false)?;
    close(&alone, &images.narrow(0, 2, 1)?, 1e-6)
}

#[test]
fn any_activation_ends_the_generator() -> Result<()> {
    for output in [Activation::Identity, Activation::Sigmoid, Activation::Silu] {
        let config = DcganConfig {
            output,
            ..small((1, 12, 8), &[6, 5])
        };
        let (_, net) = generator(&config, DType::F32)?;
        let config = DcganConfig {
            output: Activation::Identity,
            ..config
        };
        let (_, plain) = generator(&config, DType::F32)?;
        let z = Rng::new(1).normal((6, 5), DType::F32, &DEVICE)?;
        let want = output.forward(&plain.forward_t(&z, true)?)?;
        close(&net.forward_t(&z, true)?, &want, 1e-6)?;
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let refused = |config: &DcganConfig| {
        let g = generator(config, DType::F32).map(|_| ());
        let d = critic(config, DType::F32).map(|_| ());
        [g, d].iter().all(|r| matches!(r, Err(Error::Value { .. })))
    };
    assert!(refused(&small((1, 30, 28), &[6, 5])));
    assert!(refused(&small((1, 28, 30), &[6, 5])));
    assert!(refused(&small((1, 28, 28), &[6, 5, 4])));
    assert!(refused(&small((1, 28, 28), &[6; 70])));
    assert!(refused(&small((1, 28, 28), &[6, 0])) && refused(&small((1, 28, 28), &[])));
    assert!(refused(&small((0, 28, 28), &[6])) && refused(&small((1, 0, 28), &[6])));
    let config = small((1, 12, 8), &[6, 5]);
    assert!(refused(&DcganConfig {
        latents: 0,
        ..config.clone()
    }));
    let (_, g) = generator(&config, DType::F32)?;
    let (_, d) = critic(&config, DType::F32)?;
    let said = |r: candle_core::Result<Tensor>| match r {
        Ok(y) => format!("accepted {:?}", y.dims()),
        Err(e) => Error::from(e).to_string(),
    };
    let x = |shape: &[usize]| Tensor::ones(shape, DType::F32, &DEVICE);
    for shape in [&[4, 6][..], &[5], &[4, 5, 1]] {
        let text = said(g.forward_t(&x(shape)?, true));
        assert!(
            text.contains("DcganGenerator::forward_t: z: expected"),
            "{text}"
        );
    }
    for shape in [&[4, 1, 8, 12][..], &[4, 2, 12, 8], &[4, 96]] {
        let text = said(d.forward_t(&x(shape)?, true));
        assert!(
            text.contains("DcganDiscriminator::forward_t: x: expected"),
            "{text}"
        );
    }
    let text = said(g.forward_t(&x(&[4, 5])?.to_dtype(DType::F64)?, true));
    assert!(text.contains("F32") && text.contains("F64"), "{text}");
    Ok(())
}

/// One layer's vectors cannot be written, so none are.
#[test]
fn a_pass_that_fails_writes_no_vector() -> Result<()> {
    let config = DcganConfig {
        norm: DiscriminatorNorm::Spectral(SpectralNormConfig::default()),
        ..small((2, 12, 8), &[6, 5])
    };
    let (vars, net) = critic(&config, DType::F64)?;
    let named = named_vars(&vars)?;
    let tensors = named.iter().map(|(name, var)| match name.as_str() {
        "score.v" => (name.clone(), var.as_detached_tensor()),
        _ => (name.clone(), var.as_tensor().clone()),
    });
    let vb = candle_nn::VarBuilder::from_tensors(tensors.collect(), DType::F64, &DEVICE);
    let half = dcgan_discriminator(&config, vb)?;
    let before = named
        .values()
        .map(|var| list(var))
        .collect::<Result<Vec<_>>>()?;
    let x = Rng::new(1).normal((3, 2, 12, 8), DType::F64, &DEVICE)?;
    assert!(half.forward_t(&x, true).is_err());
    let after = named
        .values()
        .map(|var| list(var))
        .collect::<Result<Vec<_>>>()?;
    assert_eq!(before, after);
    net.forward_t(&x, true)?;
    assert_ne!(
        list(&named["conv0.u"])?,
        before[named.keys().position(|n| n == "conv0.u").expect("u")]
    );
    Ok(())
}
