//! Pooling: windows one by one, central differences, torch's conventions at borders and ties, dual numbers.

use crate::support::{differences, floats};
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_prob::dual::{Dual, DualModule};
use candle_prob::net::{Pool2d, Pool2dConfig, Pooling};
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

const ALL: [Pooling; 3] = [Pooling::Skip, Pooling::Average, Pooling::Max];

fn normal(seed: u64, dims: &[usize], dtype: DType) -> Result<Tensor> {
    Rng::new(seed).normal(dims, dtype, CPU)
}

/// Layers for images of 7 x 5: windows apart, overlapping, with gaps, of one row, beyond the border.
fn layers() -> Result<Vec<Pool2d>> {
    let mut layers = vec![];
    for pooling in ALL {
        for (size, stride, padding) in [
            ((2, 2), (2, 2), (0, 0)),
            ((3, 3), (2, 2), (1, 1)),
            ((3, 2), (1, 2), (0, 1)),
            ((1, 1), (3, 2), (0, 0)),
            ((2, 1), (3, 1), (1, 0)),
            ((4, 5), (1, 3), (2, 2)),
            ((7, 5), (1, 1), (0, 0)),
        ] {
            let padding = match pooling {
                Pooling::Skip => (0, 0),
                _ => padding,
            };
            layers.push(Pool2d::new(&Pool2dConfig {
                pooling,
                size,
                stride,
                padding,
            })?);
        }
    }
    Ok(layers)
}

/// Of one image of 7 x 5.
fn by_hand(config: &Pool2dConfig, x: &[f64]) -> Vec<f64> {
    let (height, width) = (7, 5);
    let (size, stride, padding) = (config.size, config.stride, config.padding);
    let mut y = vec![];
    for i in 0..(height + 2 * padding.0 - size.0) / stride.0 + 1 {
        for j in 0..(width + 2 * padding.1 - size.1) / stride.1 + 1 {
            let mut window = vec![];
            for k in 0..size.0 {
                for l in 0..size.1 {
                    let row = (i * stride.0 + k).wrapping_sub(padding.0);
                    let column = (j * stride.1 + l).wrapping_sub(padding.1);
                    let inside = row < height && column < width;
                    window.push(inside.then(|| x[row * width + column]));
                }
            }
            let pixels = window.iter().flatten();
            y.push(match config.pooling {
                Pooling::Skip => *pixels.take(1).next().unwrap(),
                Pooling::Average => pixels.sum::<f64>() / window.len() as f64,
                Pooling::Max => pixels.fold(f64::NEG_INFINITY, |a, b| a.max(*b)),
            });
        }
    }
    y
}

#[test]
fn each_window_is_one_number() -> Result<()> {
    for layer in layers()? {
        let x = normal(1, &[2, 3, 7, 5], DType::F64)?;
        let images = floats(&x)?;
        let want: Vec<f64> = images
            .chunks(35)
            .flat_map(|x| by_hand(layer.config(), x))
            .collect();
        let got = layer.forward(&x)?;
        assert_eq!(got.dims()[..2], [2, 3]);
        let near = |got: &Tensor, tolerance: f64| -> Result<()> {
            let got = floats(got)?;
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                let close = (got - want).abs() < tolerance;
                assert!(close, "{:?}: {got} {want}", layer.config());
            }
            Ok(())
        };
        near(&got, 1e-14)?;
        near(&layer.forward(&x.to_dtype(DType::F32)?)?, 1e-6)?;
        // Other dims before, other strides.
        let turned = x.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
        near(&layer.forward(&turned)?, 1e-14)?;
        near(&layer.forward(&x.reshape((2, 1, 3, 7, 5))?)?, 1e-14)?;
        let first = layer.forward(&x.get(0)?.get(0)?)?;
        assert_eq!(first.dims(), got.dims()[2..].to_vec());
    }
    Ok(())
}

#[test]
fn gradients_are_differences() -> Result<()> {
    for layer in layers()? {
        let x = Var::from_tensor(&normal(2, &[1, 2, 7, 5], DType::F64)?)?;
        differences(&x, 1e-8, &|| Ok(layer.forward(&x)?))?;
        // Single precision is another kernel.
        let single = Var::from_tensor(&x.to_dtype(DType::F32)?)?;
        let gradient = |x: &Var| -> Result<Vec<f64>> {
            let y = layer.forward(x)?;
            let weights = normal(3, y.dims(), DType::F64)?.to_dtype(y.dtype())?;
            let store = (y * weights)?.sum_all()?.backward()?;
            floats(store.get(x).expect("a gradient"))
        };
        for (got, want) in gradient(&single)?.iter().zip(gradient(&x)?) {
            assert!((got - want).abs() < 1e-5, "{:?}", layer.config());
        }
    }
    Ok(())
}

/// What torch gives for `arange(25)`, windows of 3, stride 2, padding 1.
#[test]
fn borders_are_as_in_torch() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::arange(0f64, 25., CPU)?.reshape((1, 1, 5, 5))?;
        // Below zero, so that zeros of the padding would be the largest.
        let x = (x - 25.)?.to_dtype(dtype)?;
        let with = |pooling| {
            let config = Pool2dConfig {
                pooling,
                size: (3, 3),
                stride: (2, 2),
                padding: (1, 1),
            };
            floats(&Pool2d::new(&config)?.forward(&x)?)
        };
        let want = [-19., -17., -16., -9., -7., -6., -4., -2., -1.];
        assert_eq!(with(Pooling::Max)?, want);
        let got = with(Pooling::Average)?;
        let want = [-88., -123., -76., -87., -117., -69., -28., -33., -16.];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want / 9.).abs() < 1e-6, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn of_equals_the_first_has_the_gradient() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::new(&[[1f32, 1., 1.], [0., 1., 1.]], CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let config = Pool2dConfig {
            size: (3, 3),
            stride: (1, 1),
            padding: (1, 1),
            ..Default::default()
        };
        let y = Pool2d::new(&config)?.forward(&x)?;
        assert_eq!(floats(&y)?, [1.; 6]);
        let store = y.sum_all()?.backward()?;
        // Windows about the pixels of the first column begin with pixel 0, so do those of the second.
        let gradient = floats(store.get(&x).expect("a gradient"))?;
        assert_eq!(gradient, [4., 2., 0., 0., 0., 0.]);
        let mut nan = [0f64; 16];
        (nan[5], nan[6]) = (f64::NAN, f64::INFINITY);
        let nan = Tensor::from_vec(nan.to_vec(), (4, 4), CPU)?.to_dtype(dtype)?;
        let y = floats(&Pool2d::new(&Pool2dConfig::default())?.forward(&nan)?)?;
        assert!(y[0].is_nan() && y[1..] == [f64::INFINITY, 0., 0.]);
    }
    Ok(())
}

#[test]
fn tangents_are_linear_in_the_direction() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for layer in layers()? {
            let x = normal(4, &[2, 3, 7, 5], dtype)?;
            // So short that no maximum is another.
            let v = (normal(5, &[4, 2, 3, 7, 5], dtype)? * 1e-3)?;
            let y = layer.forward_dual(&Dual::new(&x, &v)?)?;
            let plain = layer.forward(&x)?;
            assert_eq!(floats(y.value())?, floats(&plain)?);
            let tangent = y.tangent().expect("a tangent");
            assert_eq!(tangent.dims(), [&[4], plain.dims()].concat());
            let moved = layer.forward(&x.broadcast_add(&v)?)?;
            let want = floats(&moved.broadcast_sub(&plain)?)?;
            let tolerance = if dtype == DType::F32 { 1e-6 } else { 1e-15 };
            // Where the largest is taken a pair of pixels may be nearer than the step; the others are linear.
            let may = match layer.config().pooling {
                Pooling::Max => want.len() / 50,
                Pooling::Skip | Pooling::Average => 0,
            };
            let wrong = floats(tangent)?
                .iter()
                .zip(&want)
                .filter(|(a, b)| (*a - *b).abs() > tolerance)
                .count();
            assert!(wrong <= may, "{:?}: {wrong}", layer.config());
            let constant = layer.forward_dual(&Dual::constant(&x))?;
            assert!(constant.tangent().is_none());
        }
    }
    Ok(())
}

#[test]
fn nothing_is_pooled_to_nothing() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for layer in layers()? {
            let x = Tensor::zeros((0, 3, 7, 5), dtype, CPU)?;
            let one = layer.forward(&Tensor::zeros((1, 3, 7, 5), dtype, CPU)?)?;
            let y = layer.forward(&x)?;
            assert_eq!(y.dims(), [&[0], &one.dims()[1..]].concat());
            let v = Tensor::zeros((2, 0, 3, 7, 5), dtype, CPU)?;
            let y = layer.forward_dual(&Dual::new(&x, &v)?)?;
            let tangent = y.tangent().expect("a tangent");
            assert_eq!(tangent.dims(), [&[2, 0], &one.dims()[1..]].concat());
        }
    }
    Ok(())
}

#[test]
fn what_is_no_window_is_refused() -> Result<()> {
    let refused = |config: Pool2dConfig, name: &str| match Pool2d::new(&config) {
        Err(Error::Value { arg, .. }) => assert_eq!(arg, name),
        other => panic!("{name}: {other:?}"),
    };
    for pooling in ALL {
        let config = Pool2dConfig {
            pooling,
            ..Default::default()
        };
        refused(
            Pool2dConfig {
                size: (0, 2),
                ..config
            },
            "size",
        );
        refused(
            Pool2dConfig {
                stride: (2, 0),
                ..config
            },
            "stride",
        );
        refused(
            Pool2dConfig {
                padding: (0, 2),
                ..config
            },
            "padding",
        );
        let layer = Pool2d::new(&config)?;
        for dims in [vec![], vec![4], vec![1, 1, 1, 4], vec![2, 3, 4, 0]] {
            let x = Tensor::zeros(dims, DType::F32, CPU)?;
            assert!(layer.forward(&x).is_err());
            let refused = layer.forward_dual(&Dual::constant(&x));
            assert!(matches!(refused, Err(Error::Shape { .. })));
        }
        let whole = Dual::constant(&Tensor::zeros((1, 1, 4, 4), DType::U8, CPU)?);
        assert!(matches!(
            layer.forward_dual(&whole),
            Err(Error::DType { .. })
        ));
    }
    let skip = Pool2dConfig {
        pooling: Pooling::Skip,
        padding: (1, 1),
        ..Default::default()
    };
    refused(skip, "padding");
    Ok(())
}
