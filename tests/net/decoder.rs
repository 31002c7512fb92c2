//! Transposed convolutions and decoders through the public API.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarMap};
use candle_prob::net::{
    Conv2d, Conv2dConfig, ConvDecoderConfig, ConvEncoderConfig, ConvTranspose2d,
    ConvTranspose2dConfig, conv_decoder, conv_encoder, conv_transpose2d,
};
use candle_prob::{Activation, Error, Result, Rng, init};

const DEVICE: Device = Device::Cpu;

fn config() -> ConvDecoderConfig {
    ConvDecoderConfig {
        hidden: Some(7),
        channels: vec![6, 5],
        activation: Activation::Elu,
        ..Default::default()
    }
}

/// Columns of torch's documentation: a layer, the size it is given and the size it gives.
#[test]
fn sizes_are_those_of_torch() -> Result<()> {
    let layer = |kernel, stride, padding, output_padding| -> Result<ConvTranspose2d> {
        let config = ConvTranspose2dConfig {
            kernel,
            stride,
            padding,
            output_padding,
            ..Default::default()
        };
        let vb = init::seeded(&VarMap::new(), 0, DType::F32, &DEVICE);
        conv_transpose2d(16, 33, &config, vb)
    };
    let cases = [
        (layer((3, 3), (2, 2), (0, 0), (0, 0))?, (101, 201)),
        (layer((3, 5), (2, 1), (4, 2), (0, 0))?, (93, 100)),
        (layer((3, 3), (2, 2), (1, 1), (1, 1))?, (100, 200)),
    ];
    let x = Tensor::zeros((2, 16, 50, 100), DType::F32, &DEVICE)?;
    for (layer, (h, w)) in cases {
        assert_eq!(layer.forward(&x)?.dims(), [2, 33, h, w]);
    }
    Ok(())
}

/// One pixel paints the kernel, each where its stride puts it.
#[test]
fn a_pixel_paints_the_kernel() -> Result<()> {
    let weight = Tensor::new(&[[[[1f32, 2.], [3., 4.]]]], &DEVICE)?;
    let config = ConvTranspose2dConfig {
        stride: (2, 2),
        padding: (0, 0),
        output_padding: (1, 0),
        ..Default::default()
    };
    let layer = ConvTranspose2d::new(weight, Some(Tensor::new(&[10f32], &DEVICE)?), &config)?;
    let x = Tensor::new(&[[[[1f32, -1.]]]], &DEVICE)?;
    let want = [[11f32, 12., 9., 8.], [13., 14., 7., 6.], [10.; 4]];
    assert_eq!(layer.forward(&x)?.get(0)?.get(0)?.to_vec2::<f32>()?, want);
    Ok(())
}

#[test]
fn is_the_transpose_of_the_convolution_with_its_weight() -> Result<()> {
    let mut rng = Rng::new(1);
    let weight = rng.normal((4, 3, 3, 2), DType::F64, &DEVICE)?;
    let (stride, padding) = ((2, 3), (1, 0));
    let down = Conv2dConfig {
        stride,
        padding,
        ..Default::default()
    };
    let down = Conv2d::new(weight.clone(), None, &down)?;
    let up = ConvTranspose2dConfig {
        stride,
        padding,
        // 8 rows and 9 columns leave one row and one column unread.
        output_padding: (1, 1),
        ..Default::default()
    };
    let up = ConvTranspose2d::new(weight, None, &up)?;
    let x = rng.normal((2, 3, 8, 9), DType::F64, &DEVICE)?;
    let y = rng.normal((2, 4, 4, 3), DType::F64, &DEVICE)?;
    let inner = |a: Tensor, b: &Tensor| -> Result<f64> { Ok((a * b)?.sum_all()?.to_scalar()?) };
    let (a, b) = (inner(down.forward(&x)?, &y)?, inner(up.forward(&y)?, &x)?);
    assert!((a - b).abs() < 1e-12 * a.abs(), "{a}, {b}");
    Ok(())
}

#[test]
fn a_decoder_is_its_layers_in_turn() -> Result<()> {
    let vb = init::seeded(&VarMap::new(), 3, DType::F32, &DEVICE);
    let decoder = conv_decoder(&config(), 4, (2, 13, 18), vb)?;
    let x = Rng::new(1).normal((3, 5, 4), DType::F32, &DEVICE)?;
    let got = decoder.forward(&x)?;
    assert_eq!(got.dims(), [3, 5, 2, 13, 18]);
    let mut y = x.reshape((15, 4))?;
    for layer in decoder.dense() {
        y = layer.forward(&y)?;
    }
    assert_eq!(decoder.map(), (6, 3, 4));
    y = y.reshape((15, 6, 3, 4))?;
    for layer in decoder.layers() {
        y = layer.forward(&y)?;
    }
    let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
    assert_eq!(flat(&got)?, flat(&y)?);
    // One vector alone, a strided batch, and no vector.
    let one = decoder.forward(&x.get(1)?.get(2)?)?;
    // A dense layer adds in another order for a batch of another size.
    let gap = (one - got.get(1)?.get(2)?)?.abs()?.max_all()?;
    assert!(gap.to_scalar::<f32>()? < 1e-5);
    let turned = decoder.forward(&x.transpose(0, 1)?)?;
    assert_eq!(flat(&turned.transpose(0, 1)?)?, flat(&got)?);
    let none = decoder.forward(&Tensor::zeros((3, 0, 4), DType::F32, &DEVICE)?)?;
    assert_eq!(none.dims(), [3, 0, 2, 13, 18]);
    Ok(())
}

#[test]
fn every_size_of_image_is_reached_from_the_encoders_map() -> Result<()> {
    for (h, w) in [(28, 28), (8, 8), (9, 14), (31, 4)] {
        for (kernel, stride, padding) in [(4, 2, 1), (3, 2, 1), (5, 3, 2), (3, 1, 0)] {
            let vb = init::seeded(&VarMap::new(), 3, DType::F32, &DEVICE);
            let encoder = ConvEncoderConfig {
                channels: vec![3],
                kernel,
                stride,
                padding,
                ..Default::default()
            };
            let encoder = conv_encoder(&encoder, (1, h, w), vb.pp("encoder"))?;
            let config = ConvDecoderConfig {
                channels: vec![3],
                kernel,
                stride,
                padding,
                ..Default::default()
            };
            let decoder = conv_decoder(&config, encoder.features(), (1, h, w), vb.pp("decoder"))?;
            let (c, rows, columns) = decoder.map();
            assert_eq!(c * rows * columns, encoder.features());
            let x = Tensor::ones((2, 1, h, w), DType::F32, &DEVICE)?;
            let y = decoder.forward(&encoder.forward(&x)?)?;
            assert_eq!(y.dims(), x.dims());
        }
    }
    Ok(())
}

#[test]
fn every_parameter_of_a_decoder_gets_its_gradient() -> Result<()> {
    let (vars, exact) = (VarMap::new(), VarMap::new());
    let image = (2, 9, 8);
    let x = Rng::new(1).normal((5, 4), DType::F32, &DEVICE)?;
    let vb = init::seeded(&vars, 3, DType::F32, &DEVICE);
    let decoder = conv_decoder(&config(), 4, image, vb)?;
    let vb = init::seeded(&exact, 3, DType::F64, &DEVICE);
    let reference = conv_decoder(&config(), 4, image, vb)?;
    let (vars, exact) = (init::named_vars(&vars)?, init::named_vars(&exact)?);
    assert_eq!(vars.len(), 8);
    for (name, var) in &exact {
        var.set(&vars[name].to_dtype(DType::F64)?)?;
    }
    let store = decoder.forward(&x)?.sqr()?.sum_all()?.backward()?;
    let x = x.to_dtype(DType::F64)?;
    let loss = || -> Result<Tensor> { Ok(reference.forward(&x)?.sqr()?.sum_all()?) };
    let want = loss()?.backward()?;
    for (name, var) in &exact {
        let (Some(got), Some(want)) = (store.get(&vars[name]), want.get(var)) else {
            panic!("{name} has no gradient");
        };
        let gap = (got.to_dtype(DType::F64)? - want)?.abs()?.max_all()?;
        let scale = want.abs()?.max_all()?.to_scalar::<f64>()?;
        let gap = gap.to_scalar::<f64>()?;
        assert!(gap < 1e-5 * scale, "{name}: {gap} at {scale}");
        // The reference itself, against central differences.
        let slope = want.flatten_all()?.to_vec1::<f64>()?;
        let data = var.flatten_all()?.to_vec1::<f64>()?;
        for j in (0..data.len()).step_by(1 + data.len() / 5) {
            let moved = |by: f64| -> Result<f64> {
                let mut data = data.clone();
                data[j] += by;
                var.set(&Tensor::from_vec(data, var.shape(), &DEVICE)?)?;
                Ok(loss()?.to_scalar::<f64>()?)
            };
            let difference = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
            moved(0.)?;
            let near = (slope[j] - difference).abs() < 1e-7 * (1. + difference.abs());
            assert!(
                near,
                "{name} {j}: {}, central difference {difference}",
                slope[j]
            );
        }
    }
    Ok(())
}

/// The signal keeps its variance through a fresh layer, whatever the kernel and the stride.
#[test]
fn weights_start_by_the_number_of_terms() -> Result<()> {
    for (kernel, stride) in [((4, 4), (2, 2)), ((3, 3), (1, 1)), ((2, 2), (3, 3))] {
        let config = ConvTranspose2dConfig {
            kernel,
            stride,
            padding: (0, 0),
            bias: false,
            ..Default::default()
        };
        let vb = init::seeded(&VarMap::new(), 5, DType::F32, &DEVICE);
        let layer = conv_transpose2d(20, 30, &config, vb)?;
        let taps = |k: usize, s: usize| (k as f32 / s as f32).max(1.);
        let terms = 20. * taps(kernel.0, stride.0) * taps(kernel.1, stride.1);
        // 2400 draws and more give the variance within 17 % (six standard errors of 2.9 %).
        let variance: f32 = layer.weight().sqr()?.mean_all()?.to_scalar()?;
        assert!(
            (variance * terms - 1.).abs() < 0.17,
            "{kernel:?}: {}",
            variance * terms
        );
    }
    Ok(())
}

#[test]
fn wrong_sizes_are_errors() -> Result<()> {
    let vb = || init::seeded(&VarMap::new(), 3, DType::F32, &DEVICE);
    let refused = |config: ConvDecoderConfig, features, image| {
        let refused = conv_decoder(&config, features, image, vb());
        assert!(matches!(refused, Err(Error::Value { .. })), "{config:?}");
    };
    let set = |f: fn(&mut ConvDecoderConfig)| {
        let mut config = config();
        f(&mut config);
        config
    };
    refused(set(|c| c.channels = vec![]), 4, (1, 8, 8));
    refused(set(|c| c.channels = vec![0]), 4, (1, 8, 8));
    refused(set(|c| c.channels = vec![usize::MAX]), 4, (1, 16, 16));
    refused(set(|c| c.stride = 0), 4, (1, 8, 8));
    refused(set(|c| c.kernel = 0), 4, (1, 8, 8));
    refused(set(|c| c.hidden = Some(0)), 4, (1, 8, 8));
    refused(set(|c| c.padding = usize::MAX), 4, (1, 8, 8));
    refused(config(), 0, (1, 8, 8));
    refused(config(), 4, (0, 8, 8));
    refused(config(), 4, (1, 0, 8));
    // 3 rows become 1, which is smaller than a kernel of 4.
    refused(config(), 4, (1, 3, 8));
    let decoder = conv_decoder(&config(), 4, (1, 8, 8), vb())?;
    let wide = Tensor::zeros((2, 5), DType::F32, &DEVICE)?;
    assert!(decoder.forward(&wide).is_err());
    let double = Tensor::zeros((2, 4), DType::F64, &DEVICE)?;
    assert!(decoder.forward(&double).is_err());
    let weight = Tensor::ones((2, 1, 3, 3), DType::F32, &DEVICE)?;
    for (stride, output_padding) in [((0, 1), (0, 0)), ((2, 2), (2, 0)), ((1, 3), (1, 0))] {
        let config = ConvTranspose2dConfig {
            stride,
            output_padding,
            ..Default::default()
        };
        let refused = ConvTranspose2d::new(weight.clone(), None, &config);
        assert!(matches!(refused, Err(Error::Value { .. })));
        let refused = conv_transpose2d(1, 1, &config, vb());
        assert!(matches!(refused, Err(Error::Value { .. })));
    }
    let bias = Tensor::ones(2, DType::F32, &DEVICE)?;
    let refused = ConvTranspose2d::new(weight, Some(bias), &Default::default());
    assert!(matches!(refused, Err(Error::Shape { .. })));
    Ok(())
}
