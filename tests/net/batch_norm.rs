//! Batch normalization through the public API: candle's and torch's conventions, both layouts, hard batches.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarMap};
use candle_prob::init::{self, named_vars};
use candle_prob::net::{BatchNorm, BatchNormConfig, batch_norm};
use candle_prob::testing::check_gradient;
use candle_prob::{Activation, Detach, Error, Result, Rng};

const DEVICE: Device = Device::Cpu;

fn layer(channels: usize, dtype: DType, config: BatchNormConfig) -> Result<(VarMap, BatchNorm)> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 3, dtype, &DEVICE);
    let layer = batch_norm(channels, &config, vb)?;
    Ok((vars, layer))
}

/// Gains and shifts that are not all equal.
fn vary(vars: &VarMap) -> Result<()> {
    let named = named_vars(vars)?;
    for (name, seed) in [("weight", 1), ("bias", 2)] {
        let var = &named[name];
        let numbers = Rng::new(seed).normal(var.shape(), var.dtype(), &DEVICE)?;
        var.set(&(numbers + 0.5)?)?;
    }
    Ok(())
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

const SHAPES: [&[usize]; 4] = [&[7, 5], &[4, 5, 3, 6], &[2, 5, 9], &[1, 5, 2, 2]];

#[test]
fn it_is_candle_s_layer_in_training_and_evaluation() -> Result<()> {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
        for shape in SHAPES {
            let (vars, ours) = layer(5, dtype, BatchNormConfig::default())?;
            vary(&vars)?;
            // Candle's own, on variables of the same names.
            let copy = VarMap::new();
            for (name, var) in named_vars(&vars)? {
                let var = Var::from_tensor(var.as_tensor())?;
                copy.data().lock().expect("a map").insert(name, var);
            }
            let vb = candle_nn::VarBuilder::from_varmap(&copy, dtype, &DEVICE);
            let theirs = candle_nn::batch_norm(5, 1e-5, vb)?;
            let mut rng = Rng::new(8);
            for _ in 0..3 {
                let x = (rng.normal(shape, dtype, &DEVICE)? * 2.)?;
                close(
                    &ours.forward_t(&x, true)?,
                    &theirs.forward_t(&x, true)?,
                    tolerance,
                )?;
                close(&ours.running_mean()?, theirs.running_mean(), tolerance)?;
                close(&ours.running_variance()?, theirs.running_var(), tolerance)?;
            }
            let x = rng.normal(shape, dtype, &DEVICE)?;
            let y = ours.forward_t(&x, false)?;
            close(&y, &theirs.forward_t(&x, false)?, tolerance)?;
            // Evaluation writes nothing.
            close(&ours.running_mean()?, theirs.running_mean(), tolerance)?;
            assert_eq!(list(&ours.forward_t(&x, false)?)?, list(&y)?);
        }
    }
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    for activation in [
        Activation::Identity,
        Activation::Tanh,
        Activation::LeakyRelu(0.2),
        Activation::Silu,
    ] {
        for shape in SHAPES {
            let config = BatchNormConfig {
                activation,
                ..Default::default()
            };
            for train in [true, false] {
                let f = |inputs: &[Tensor]| -> Result<Tensor> {
                    let parts = [("weight", &inputs[1]), ("bias", &inputs[2])];
                    let ones = Tensor::ones(5, DType::F64, &DEVICE)?;
                    let state = [("running_mean", (&ones * 0.3)?), ("running_var", ones)];
                    let own = parts.map(|(name, t)| (name.to_string(), t.clone()));
                    let state = state
                        .map(|(name, t)| Ok((name.to_string(), Var::from_tensor(&t)?.into_inner())))
                        .into_iter()
                        .collect::<Result<Vec<_>>>()?;
                    let all = own.into_iter().chain(state).collect();
                    let vb = candle_nn::VarBuilder::from_tensors(all, DType::F64, &DEVICE);
                    let layer = batch_norm(5, &config, vb)?;
                    Ok(layer.forward_t(&inputs[0], train)?)
                };
                let mut rng = Rng::new(4);
                let x = ((rng.normal(shape, DType::F64, &DEVICE)? * 1.7)? + 0.4)?;
                let gain = (rng.normal(5, DType::F64, &DEVICE)? + 1.)?;
                let shift = rng.normal(5, DType::F64, &DEVICE)?;
                check_gradient(&f, &[x, gain, shift], 1e-6)?;
            }
        }
    }
    Ok(())
}

/// Digits of f32 are some 1e-7: at a mean of 1e4 the noise of a thousandth still has three.
#[test]
fn a_large_mean_leaves_the_variance_its_digits() -> Result<()> {
    for shape in [&[4096, 3][..], &[16, 3, 16, 16]] {
        let noise = (Rng::new(1).normal(shape, DType::F32, &DEVICE)? * 0.1)?;
        let x = (noise + 1e4)?;
        let (_, single) = layer(3, DType::F32, BatchNormConfig::default())?;
        let (_, double) = layer(3, DType::F64, BatchNormConfig::default())?;
        // The same numbers, rounded already.
        let exact = x.to_dtype(DType::F64)?;
        close(
            &single.forward_t(&x, true)?,
            &double.forward_t(&exact, true)?,
            2e-5,
        )?;
        let [got, want] = [single.running_variance()?, double.running_variance()?];
        close(&got, &want, 1e-6)?;
    }
    Ok(())
}

#[test]
fn a_constant_channel_has_finite_slopes() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let (vars, layer) = layer(2, dtype, BatchNormConfig::default())?;
        let x = Tensor::new(&[[0.1f64, 3.], [0.1, 1.], [0.1, 2.]], &DEVICE)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let y = layer.forward_t(&x, true)?;
        assert!(list(&y)?.iter().step_by(2).all(|y| y.abs() < 1e-4));
        let gradients = y.narrow(0, 0, 1)?.sum_all()?.backward()?;
        let slope = gradients.get(&x).map(list).transpose()?;
        let slope = slope.expect("x is a variable");
        // weight / sqrt(epsilon) (1 - 1/3), and the mean's part of the others
        let unit = 1e-5f64.sqrt().recip();
        assert!(
            (slope[0] / unit - 2. / 3.).abs() < 1e-3 && (slope[2] / unit + 1. / 3.).abs() < 1e-3
        );
        let weight = &named_vars(&vars)?["weight"];
        let weight = gradients.get(weight).map(list).transpose()?;
        assert!(weight.is_some_and(|w| w.iter().all(|w| w.is_finite())));
    }
    Ok(())
}

#[test]
fn the_state_has_no_gradient_and_travels_in_a_checkpoint() -> Result<()> {
    let (vars, ours) = layer(4, DType::F32, BatchNormConfig::default())?;
    vary(&vars)?;
    let x = Rng::new(1).normal((8, 4), DType::F32, &DEVICE)?;
    let gradients = ours.forward_t(&x, true)?.sqr()?.sum_all()?.backward()?;
    let named = named_vars(&vars)?;
    let names: Vec<&str> = named.keys().map(String::as_str).collect();
    assert_eq!(names, ["bias", "running_mean", "running_var", "weight"]);
    for (name, var) in &named {
        let state = name.starts_with("running");
        assert_eq!(gradients.get(var).is_none(), state, "{name}");
    }
    let path = std::env::temp_dir().join(format!("batch_norm_{}.safetensors", std::process::id()));
    vars.save(&path)?;
    let (mut other, loaded) = layer(4, DType::F32, BatchNormConfig::default())?;
    other.load(&path)?;
    std::fs::remove_file(&path).map_err(candle_core::Error::from)?;
    let [got, want] = [&loaded, &ours].map(|l| l.forward_t(&x, false));
    assert_eq!(list(&got?)?, list(&want?)?);
    Ok(())
}

#[test]
fn half_precision_sums_in_single() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let (_, half) = layer(3, dtype, BatchNormConfig::default())?;
        let (_, single) = layer(3, DType::F32, BatchNormConfig::default())?;
        let x = (Rng::new(1).normal((2000, 3), DType::F32, &DEVICE)? + 20.)?.to_dtype(dtype)?;
        let wide = x.to_dtype(DType::F32)?;
        let y = half.forward_t(&x, true)?;
        assert_eq!(y.dtype(), dtype);
        close(&y, &single.forward_t(&wide, true)?, 1e-2)?;
        close(&half.running_mean()?, &single.running_mean()?, 1e-6)?;
        close(&half.running_variance()?, &single.running_variance()?, 1e-5)?;
        assert_eq!(half.forward_t(&x, false)?.dtype(), dtype);
    }
    Ok(())
}

#[test]
fn strided_batches_are_their_copies() -> Result<()> {
    let (vars, ours) = layer(5, DType::F32, BatchNormConfig::default())?;
    vary(&vars)?;
    let x = Rng::new(2).normal((6, 3, 4, 5), DType::F32, &DEVICE)?;
    let view = x.permute((0, 3, 1, 2))?;
    for train in [true, false] {
        let got = ours.forward_t(&view, train)?;
        assert_eq!(
            list(&got)?,
            list(&ours.forward_t(&view.contiguous()?, train)?)?
        );
    }
    Ok(())
}

#[test]
fn an_empty_batch_is_empty_and_moves_nothing() -> Result<()> {
    let (vars, ours) = layer(5, DType::F32, BatchNormConfig::default())?;
    for shape in [&[0, 5][..], &[0, 5, 4, 4], &[3, 5, 0, 4]] {
        for train in [true, false] {
            let x = Var::from_tensor(&Tensor::zeros(shape, DType::F32, &DEVICE)?)?;
            let y = ours.forward_t(&x, train)?;
            assert_eq!(y.dims(), shape);
            let gradients = y.sum_all()?.backward()?;
            let weight = gradients.get(&named_vars(&vars)?["weight"]).map(list);
            assert!(weight.transpose()?.is_none_or(|w| w == [0.; 5]));
        }
    }
    assert_eq!(list(&ours.running_mean()?)?, [0.; 5]);
    assert_eq!(list(&ours.running_variance()?)?, [1.; 5]);
    Ok(())
}

#[test]
fn without_gain_and_shift_there_are_none() -> Result<()> {
    let config = BatchNormConfig {
        affine: false,
        momentum: 1.,
        ..Default::default()
    };
    let (vars, ours) = layer(2, DType::F64, config)?;
    assert_eq!(named_vars(&vars)?.len(), 2);
    assert!(ours.weight().is_none() && ours.bias().is_none());
    let x = Tensor::new(&[[1f64, 5.], [3., 9.]], &DEVICE)?;
    ours.forward_t(&x, true)?;
    // With momentum 1 the batch is all there is: its variance without bias is 2 and 8.
    assert_eq!(list(&ours.running_mean()?)?, [2., 7.]);
    assert_eq!(list(&ours.running_variance()?)?, [2., 8.]);
    Ok(())
}

#[test]
fn a_detached_layer_writes_the_same_state() -> Result<()> {
    let (vars, ours) = layer(3, DType::F32, BatchNormConfig::default())?;
    let x = Var::from_tensor(&Rng::new(1).normal((8, 3), DType::F32, &DEVICE)?)?;
    let gradients = ours
        .detach()
        .forward_t(&x, true)?
        .sqr()?
        .sum_all()?
        .backward()?;
    assert!(gradients.get(&x).is_some());
    let named = named_vars(&vars)?;
    assert!(named.values().all(|var| gradients.get(var).is_none()));
    assert!(list(&ours.running_mean()?)?.iter().all(|m| *m != 0.));
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_and_moves_nothing() -> Result<()> {
    let (vars, ours) = layer(2, DType::F32, BatchNormConfig::default())?;
    let x = |shape: &[usize]| Tensor::ones(shape, DType::F32, &DEVICE);
    let said = |x: Tensor, train: bool| match ours.forward_t(&x, train) {
        Ok(y) => format!("accepted {:?}", y.dims()),
        Err(e) => Error::from(e).to_string(),
    };
    // One value for each channel has no variance; in evaluation it needs none.
    for shape in [&[1, 2][..], &[1, 2, 1, 1]] {
        let text = said(x(shape)?, true);
        assert!(text.contains("expected more than one value"), "{text}");
    }
    assert!(ours.forward_t(&x(&[1, 2])?, false).is_ok());
    for shape in [&[4, 3][..], &[2], &[4, 3, 2]] {
        let text = said(x(shape)?, true);
        assert!(
            text.contains("BatchNorm::forward_t: x: expected [N, 2]"),
            "{text}"
        );
    }
    let text = said(x(&[4, 2])?.to_dtype(DType::F64)?, true);
    assert!(text.contains("F32") && text.contains("F64"), "{text}");
    for bad in [f32::NAN, f32::INFINITY] {
        let text = said(Tensor::new(&[[bad, 1.], [1., 2.]], &DEVICE)?, true);
        assert!(
            text.contains("x: expected values with a finite mean"),
            "{text}"
        );
    }
    assert_eq!(list(&ours.running_mean()?)?, [0., 0.]);
    assert_eq!(list(&ours.running_variance()?)?, [1., 1.]);
    named_vars(&vars)?["running_var"].set(&Tensor::new(&[1f32, -1.], &DEVICE)?)?;
    let text = said(x(&[4, 2])?, false);
    assert!(
        text.contains("running_var: expected finite numbers of 0 or more"),
        "{text}"
    );
    // A buffer that is spoilt is named, in training too, where a batch would cover it.
    for (name, bad) in [
        ("running_var", -1.),
        ("running_var", f32::NAN),
        ("running_mean", f32::NAN),
        ("running_mean", f32::INFINITY),
    ] {
        let (vars, ours) = layer(2, DType::F32, BatchNormConfig::default())?;
        let good = Tensor::new(&[[1f32, 2.], [3., 5.]], &DEVICE)?;
        let bad = Tensor::new(&[1f32, bad], &DEVICE)?;
        named_vars(&vars)?[name].set(&bad)?;
        for train in [true, false] {
            let text = match ours.forward_t(&good, train) {
                Ok(_) => "accepted".to_string(),
                Err(e) => Error::from(e).to_string(),
            };
            assert!(text.contains(&format!("{name}: expected finite")), "{text}");
        }
        assert_eq!(
            ours.running_mean()?.to_vec1::<f32>()?[0],
            if name == "running_mean" { 1. } else { 0. }
        );
    }
    let with = |config| matches!(layer(2, DType::F32, config), Err(Error::Value { .. }));
    let usual = BatchNormConfig::default();
    for epsilon in [0., -1., f64::NAN, f64::INFINITY] {
        assert!(with(BatchNormConfig { epsilon, ..usual }));
    }
    for momentum in [-0.1, 1.1, f64::NAN] {
        assert!(with(BatchNormConfig { momentum, ..usual }));
    }
    assert!(layer(0, DType::F32, usual).is_err());
    Ok(())
}
