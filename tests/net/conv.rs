//! Convolutional layers and encoders through the public API.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, VarMap};
use candle_prob::net::{
    Conv2d, Conv2dConfig, ConvEncoderConfig, ResidualNetConfig, conv_encoder, conv2d, residual_net,
};
use candle_prob::{Activation, Result, Rng, init};

const DEVICE: Device = Device::Cpu;

fn config() -> ConvEncoderConfig {
    ConvEncoderConfig {
        channels: vec![6, 10],
        hidden: Some(7),
        activation: Activation::Elu,
        ..Default::default()
    }
}

#[test]
fn an_encoder_is_its_layers_in_turn() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 3, DType::F32, &DEVICE);
    let encoder = conv_encoder(&config(), (2, 13, 18), vb)?;
    let x = Rng::new(1).normal((5, 2, 13, 18), DType::F32, &DEVICE)?;
    let got = encoder.forward(&x)?;
    let mut y = x;
    for layer in encoder.layers() {
        y = layer.forward(&y)?;
    }
    assert_eq!(y.dims(), [5, 10, 3, 4]);
    // The features are in the order (channel, row, column), whatever lies between the layers.
    let want = encoder.hidden().map(|h| h.forward(&y.flatten_from(1)?));
    let want = want.transpose()?.map(|w| w.to_vec2::<f32>()).transpose()?;
    assert_eq!(Some(got.to_vec2::<f32>()?), want);
    assert_eq!(encoder.features(), 7);
    Ok(())
}

#[test]
fn every_parameter_of_an_encoder_gets_its_gradient() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 3, DType::F32, &DEVICE);
    let encoder = conv_encoder(&config(), (2, 12, 16), vb)?;
    let exact = VarMap::new();
    let vb = init::seeded(&exact, 3, DType::F64, &DEVICE);
    let reference = conv_encoder(&config(), (2, 12, 16), vb)?;
    for (name, var) in init::named_vars(&exact)? {
        var.set(&init::named_vars(&vars)?[&name].to_dtype(DType::F64)?)?;
    }
    let x = Rng::new(1).normal((5, 2, 12, 16), DType::F32, &DEVICE)?;
    let store = encoder.forward(&x)?.sqr()?.sum_all()?.backward()?;
    let loss = |x: &Tensor| -> Result<Tensor> { Ok(reference.forward(x)?.sqr()?.sum_all()?) };
    let x = x.to_dtype(DType::F64)?;
    let want = loss(&x)?.backward()?;
    let exact = init::named_vars(&exact)?;
    assert_eq!(exact.len(), 6);
    for (name, var) in init::named_vars(&vars)? {
        let got = store.get(&var).map(|g| g.flatten_all()).transpose()?;
        let got = got
            .map(|g| g.to_vec1::<f32>())
            .transpose()?
            .unwrap_or_default();
        let var = &exact[&name];
        let slope = want.get(var).map(|g| g.flatten_all()).transpose()?;
        let slope = slope
            .map(|g| g.to_vec1::<f64>())
            .transpose()?
            .unwrap_or_default();
        assert_eq!(got.len(), var.elem_count(), "{name}");
        for (i, (g, s)) in got.iter().zip(&slope).enumerate() {
            assert!(
                (f64::from(*g) - s).abs() < 1e-4 * (1. + s.abs()),
                "{name} {i}: {g}, want {s}"
            );
        }
        // The reference itself, against central differences.
        let data = var.flatten_all()?.to_vec1::<f64>()?;
        for j in (0..data.len()).step_by(1 + data.len() / 5) {
            let moved = |by: f64| -> Result<f64> {
                let mut data = data.clone();
                data[j] += by;
                var.set(&Tensor::from_vec(data, var.shape(), &DEVICE)?)?;
                Ok(loss(&x)?.to_scalar::<f64>()?)
            };
            let difference = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
            moved(0.)?;
            assert!(
                (slope[j] - difference).abs() < 1e-7 * (1. + difference.abs()),
                "{name} {j}: {}, central difference {difference}",
                slope[j]
            );
        }
    }
    Ok(())
}

#[test]
fn a_layer_learns_the_kernel_behind_its_data() -> Result<()> {
    // Noiseless regression: gradient descent finds the kernel, so the gradient points the right way in every tap.
    let mut rng = Rng::new(2);
    let x = rng.normal((32, 2, 9, 7), DType::F32, &DEVICE)?;
    let truth = rng.normal((3, 2, 3, 2), DType::F32, &DEVICE)?;
    let options = Conv2dConfig {
        stride: (2, 1),
        padding: (0, 1),
        ..Default::default()
    };
    let target = Conv2d::new(truth.clone(), None, &options)?.forward(&x)?;
    let weight = Var::zeros((3, 2, 3, 2), DType::F32, &DEVICE)?;
    let layer = Conv2d::new(weight.as_tensor().clone(), None, &options)?;
    for _ in 0..200 {
        let loss = (layer.forward(&x)? - &target)?.sqr()?.mean_all()?;
        let store = loss.backward()?;
        if let Some(gradient) = store.get(&weight) {
            weight.set(&(weight.as_tensor() - (gradient * 0.5)?)?)?;
        }
    }
    let error = (weight.as_tensor() - truth)?
        .abs()?
        .max_all()?
        .to_scalar::<f32>()?;
    assert!(error < 1e-4, "{error}");
    Ok(())
}

#[test]
fn parameters_start_by_the_gain_of_the_activation() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 3, DType::F32, &DEVICE);
    let options = Conv2dConfig {
        kernel: (5, 4),
        activation: Activation::Relu,
        ..Default::default()
    };
    let layer = conv2d(7, 30, &options, vb)?;
    let bound = 1. / 140f32.sqrt();
    let largest = |t: &Tensor| -> Result<f32> { Ok(t.abs()?.max_all()?.to_scalar::<f32>()?) };
    // 4200 draws give the variance within 14 % (six standard errors of 2.2 %).
    let variance: f32 = layer.weight().sqr()?.mean_all()?.to_scalar()?;
    assert!((variance * 70. - 1.).abs() < 0.14, "{variance}");
    // The largest of 30 draws is below half of the bound with probability 1e-9.
    let bias = layer.bias().map(largest).transpose()?.unwrap_or_default();
    assert!(bias <= bound && bias > 0.5 * bound, "{bias}, {bound}");
    Ok(())
}

#[test]
fn wrong_sizes_are_errors() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 3, DType::F32, &DEVICE);
    let has = |text: Option<String>, part: &str| {
        let text = text.unwrap_or("no error".into());
        assert!(text.contains(part), "{text}");
    };
    let build = |config: ConvEncoderConfig, image, name: &str| {
        conv_encoder(&config, image, vb.pp(name))
            .err()
            .map(|e| e.to_string())
    };
    let none = ConvEncoderConfig {
        channels: vec![],
        ..Default::default()
    };
    has(build(none, (1, 8, 8), "a"), "at least one convolution");
    has(
        build(ConvEncoderConfig::default(), (1, 4, 9), "b"),
        "before convolution 2",
    );
    for stuck in [
        ConvEncoderConfig {
            stride: 0,
            ..Default::default()
        },
        ConvEncoderConfig {
            kernel: 0,
            ..Default::default()
        },
        ConvEncoderConfig {
            channels: vec![0],
            ..Default::default()
        },
        ConvEncoderConfig {
            hidden: Some(0),
            ..Default::default()
        },
        ConvEncoderConfig {
            padding: usize::MAX,
            ..Default::default()
        },
    ] {
        let name = format!("{stuck:?}");
        let found = build(stuck, (1, 8, 8), &name);
        has(found, "at least");
    }
    has(build(config(), (0, 8, 8), "c"), "channels_in");
    let encoder = conv_encoder(&config(), (1, 8, 8), vb.pp("d"))?;
    for shape in [vec![2, 1, 8, 9], vec![2, 8, 8], vec![2, 2, 8, 8]] {
        let x = Tensor::zeros(shape, DType::F32, &DEVICE)?;
        has(
            encoder.forward(&x).err().map(|e| e.to_string()),
            "[N, 1, 8, 8]",
        );
    }
    let none = Tensor::zeros((0, 1, 8, 8), DType::F32, &DEVICE)?;
    assert_eq!(encoder.forward(&none)?.dims(), [0, 7]);
    let layer = Conv2d::new(
        Tensor::ones((2, 1, 3, 3), DType::F32, &DEVICE)?,
        None,
        &Conv2dConfig::default(),
    )?;
    let x = Tensor::ones((1, 1, 4, 4), DType::F64, &DEVICE)?;
    has(
        layer.forward(&x).err().map(|e| e.to_string()),
        "weight: expected F64",
    );
    Ok(())
}

/// Fused in f32 and composed in f64: values and all gradients, once the last layer has left zero. A gradient that nobody
/// reads changes none of the others.
#[test]
fn a_residual_net_in_both_dtypes() -> Result<()> {
    let config = ResidualNetConfig {
        inputs: 3,
        outputs: 4,
        channels: 6,
        blocks: 2,
        activation: Activation::Elu,
    };
    for (activation, blocks, tracked) in [
        (Activation::Elu, 2, true),
        (Activation::Relu, 1, false),
        (Activation::Silu, 2, true),
        (Activation::Tanh, 0, false),
    ] {
        let config = ResidualNetConfig {
            activation,
            blocks,
            ..config
        };
        residual_net_agrees(config, tracked)?;
    }
    let vb = || init::seeded(&VarMap::new(), 1, DType::F32, &DEVICE);
    for wrong in [[2, 2, 7, 5], [1, 4, 7, 5]] {
        let x = Tensor::zeros(&wrong, DType::F32, &DEVICE)?;
        assert!(residual_net(&config, vb())?.forward(&x).is_err());
    }
    for (inputs, outputs, channels) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        let wrong = ResidualNetConfig {
            inputs,
            outputs,
            channels,
            ..config
        };
        assert!(residual_net(&wrong, vb()).is_err());
    }
    Ok(())
}

fn residual_net_agrees(config: ResidualNetConfig, tracked: bool) -> Result<()> {
    let images = Rng::new(1).normal((3, 3, 7, 5), DType::F64, &DEVICE)?;
    let mut seen: Vec<Vec<(String, Tensor)>> = vec![];
    for dtype in [DType::F64, DType::F32] {
        let vars = VarMap::new();
        let net = residual_net(&config, init::seeded(&vars, 3, dtype, &DEVICE))?;
        let x = Var::from_tensor(&images.to_dtype(dtype)?)?;
        let argument = match tracked {
            true => x.as_tensor().clone(),
            false => x.as_detached_tensor(),
        };
        let start = net.forward(&argument)?.abs()?.sum_all()?;
        assert_eq!(start.to_dtype(DType::F64)?.to_scalar::<f64>()?, 0.);
        let mut named = init::named_vars(&vars)?;
        assert_eq!(named.len(), 3 * (1 + 2 * config.blocks) + 2);
        let mut rng = Rng::new(2);
        for var in named.values() {
            let noise = rng.normal(var.shape(), DType::F64, &DEVICE)?;
            var.set(&(noise * 0.4)?.to_dtype(dtype)?)?;
        }
        let y = net.forward(&argument)?;
        assert_eq!(y.dims(), [3, 4, 7, 5]);
        let store = y.sin()?.sum_all()?.backward()?;
        let mut all = vec![("y".to_string(), y.detach())];
        if tracked {
            named.insert("x".into(), x);
        }
        for (name, var) in named {
            let gradient = store.get(&var).cloned();
            assert!(gradient.is_some(), "{name} has no gradient");
            all.extend(gradient.map(|g| (name.clone(), g)));
        }
        seen.push(all);
    }
    for ((name, want), (_, got)) in seen[0].iter().zip(&seen[1]) {
        let gap = (got.to_dtype(DType::F64)? - want)?.abs()?.max_all()?;
        let scale = want.abs()?.max_all()?.to_scalar::<f64>()?.max(1.);
        let gap = gap.to_scalar::<f64>()?;
        assert!(gap < 2e-5 * scale, "{config:?} {name}: {gap} at {scale}");
    }
    Ok(())
}
