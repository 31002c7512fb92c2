//! The transposed convolution: the adjoint of the convolution, and fused against composed.

use super::*;

/// The cases whose convolution is the adjoint of a transposed one: x is what the convolution gives.
fn turned(case: Case) -> (Case, (usize, usize)) {
    let ([n, c, h, w], [o, kh, kw]) = (case.x, case.kernel);
    let (sh, sw) = case.stride;
    let left = |size: usize, padding: usize, kernel: usize| size + 2 * padding - kernel;
    let (down, across) = (left(h, case.padding.0, kh), left(w, case.padding.1, kw));
    let x = [n, o, down / sh + 1, across / sw + 1];
    let kernel = [c, kh, kw];
    (Case { x, kernel, ..case }, (down % sh, across % sw))
}

/// x `[N, O, oh, ow]`, weight `[O, C, kh, kw]`, bias `[C]`.
fn tensors(case: Case, dtype: DType) -> Result<[Tensor; 3]> {
    let [_, weight, _] = case.tensors(dtype)?;
    let (turned, _) = turned(case);
    let bias = tensor(&[turned.kernel[0]], 3, dtype)?;
    Ok([tensor(&turned.x, 1, dtype)?, weight, bias])
}

fn settings(case: Case, activation: Activation, (input, output): (Order, Order)) -> Settings {
    let output_padding = turned(case).1;
    Settings {
        kind: Kind::Transposed { output_padding },
        ..case.settings(activation, input, output)
    }
}

#[test]
fn is_the_adjoint_of_the_convolution() -> Result<()> {
    let first = (Order::ChannelsFirst, Order::ChannelsFirst);
    for case in CASES {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let [y, weight, _] = tensors(case, dtype)?;
            let x = tensor(&case.x, 5, dtype)?;
            let none = Activation::Identity;
            let down = conv2d(&x, &weight, None, case.settings(none, first.0, first.1))?;
            let up = conv2d(&y, &weight, None, settings(case, none, first))?;
            assert_eq!(down.dims(), y.dims(), "{case:?}");
            assert_eq!(up.dims(), x.dims(), "{case:?}");
            let inner = |a: &Tensor, b: &Tensor| -> Result<f64> {
                let product = (a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?;
                Ok(product.sum_all()?.to_scalar::<f64>()?)
            };
            let (a, b) = (inner(&down, &y)?, inner(&x, &up)?);
            assert!(
                (a - b).abs() <= tolerance * (1. + a.abs()),
                "{case:?}: {a}, {b}"
            );
        }
    }
    Ok(())
}

/// Or the cases say nothing of it.
#[test]
fn the_last_cases_gather() -> Result<()> {
    for case in &CASES[17..] {
        let [x, weight, _] = tensors(*case, DType::F32)?;
        let settings = settings(*case, Activation::Identity, ORDERS[0]);
        let g = geometry::Geometry::new(&x, x.dims(), &weight, None, settings)?;
        assert!(narrow::Narrow::pays(&g), "{case:?}");
    }
    Ok(())
}

#[test]
fn fused_meets_composed() -> Result<()> {
    for case in CASES {
        let (exact, single) = (tensors(case, DType::F64)?, tensors(case, DType::F32)?);
        for activation in [Activation::Identity, Activation::Tanh, Activation::Silu] {
            for orders in ORDERS {
                let what = format!("{case:?} {activation:?} {orders:?}");
                let settings = settings(case, activation, orders);
                let (want, slopes) = results(settings, &exact)?;
                let (value, gradients) = results(settings, &single)?;
                close(&value, &want, 2e-6, &what)?;
                for (i, (gradient, slope)) in gradients.iter().zip(&slopes).enumerate() {
                    close(gradient, slope, 3e-5, &format!("{what}: gradient of {i}"))?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn composed_gradients_meet_central_differences() -> Result<()> {
    let first = (Order::ChannelsFirst, Order::ChannelsFirst);
    for case in &CASES[..11] {
        let tensors = tensors(*case, DType::F64)?;
        let settings = settings(*case, Activation::Tanh, first);
        let (y, gradients) = results(settings, &tensors)?;
        let w = tensor(y.dims(), 4, DType::F64)?;
        let loss = |tensors: &[Tensor; 3]| -> Result<f64> {
            let y = conv2d(&tensors[0], &tensors[1], Some(&tensors[2]), settings)?;
            Ok((y * &w)?.sum_all()?.to_scalar::<f64>()?)
        };
        differences(&tensors, &gradients, loss, &format!("{case:?}"))?;
    }
    Ok(())
}

#[test]
fn candles_own_has_the_same_values_and_gradients() -> Result<()> {
    let first = (Order::ChannelsFirst, Order::ChannelsFirst);
    for case in CASES {
        let (_, more) = turned(case);
        let ((s, t), (p, q)) = (case.stride, case.padding);
        if s != t || p != q || more.0 != more.1 || case.x[0] == 0 {
            continue;
        }
        let [x, weight, _] = tensors(case, DType::F64)?;
        let vars = [Var::from_tensor(&x)?, Var::from_tensor(&weight)?];
        let want = vars[0].conv_transpose2d(&vars[1], p, more.0, s, 1)?;
        let factors = tensor(want.dims(), 4, DType::F64)?;
        let store = (&want * &factors)?.sum_all()?.backward()?;
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
            let (x, weight) = (x.to_dtype(dtype)?, weight.to_dtype(dtype)?);
            let got = conv2d(
                &x,
                &weight,
                None,
                settings(case, Activation::Identity, first),
            )?;
            close(&got, &want, tolerance, &format!("{case:?}"))?;
        }
        let zeros = Tensor::zeros(turned(case).0.kernel[0], DType::F64, &Device::Cpu)?;
        let settings = settings(case, Activation::Identity, first);
        let (_, gradients) = results(settings, &[x, weight, zeros])?;
        for (var, gradient) in vars.iter().zip(&gradients) {
            let want = store.get(var).cloned();
            let want = want.map_or_else(|| var.zeros_like(), Ok)?;
            close(gradient, &want, 1e-12, &format!("gradient in {case:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn strided_arguments_and_one_image_of_many() -> Result<()> {
    let first = (Order::ChannelsFirst, Order::ChannelsFirst);
    let case = CASES[14];
    let [x, weight, bias] = tensors(case, DType::F32)?;
    let settings = settings(case, Activation::Relu, first);
    let all = conv2d(&x, &weight, Some(&bias), settings)?;
    let turned = x.permute((0, 2, 3, 1))?.contiguous()?;
    let turned = turned.permute((0, 3, 1, 2))?;
    assert!(!turned.is_contiguous());
    assert_eq!(
        bits(&conv2d(&turned, &weight, Some(&bias), settings)?)?,
        bits(&all)?
    );
    for i in [0, 17, 36] {
        let alone = conv2d(&x.narrow(0, i, 1)?, &weight, Some(&bias), settings)?;
        assert_eq!(bits(&alone)?, bits(&all.narrow(0, i, 1)?)?);
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let case = CASES[14];
    let tensors = tensors(case, DType::F32)?;
    let first = (Order::ChannelsFirst, Order::ChannelsFirst);
    let settings = settings(case, Activation::Relu, first);
    let run = |threads: usize| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| crate::Error::value("test", "threads", "a pool", e))?;
        pool.install(|| {
            let (y, [gx, gw, gb]) = results(settings, &tensors)?;
            [y, gx, gw, gb].iter().map(bits).collect()
        })
    };
    let one = run(1)?;
    for threads in [2, 3, 8] {
        assert_eq!(run(threads)?, one, "{threads} threads");
    }
    Ok(())
}

#[test]
fn an_image_that_is_not_in_the_loss_spoils_no_gradient() -> Result<()> {
    let first = (Order::ChannelsFirst, Order::ChannelsFirst);
    let case = CASES[3];
    let [x, weight, bias] = tensors(case, DType::F32)?;
    let settings = settings(case, Activation::Identity, first);
    let slopes = |x: &Tensor| -> Result<Vec<Vec<u32>>> {
        let vars = [Var::from_tensor(&weight)?, Var::from_tensor(&bias)?];
        let y = conv2d(x, &vars[0], Some(&vars[1]), settings)?;
        let store = y.narrow(0, 0, 1)?.sqr()?.sum_all()?.backward()?;
        let slopes = vars.iter().filter_map(|v| store.get(v)).map(bits);
        slopes.collect()
    };
    let row = x.narrow(0, 1, 1)?;
    let spoilt = Tensor::cat(&[x.narrow(0, 0, 1)?, (row / 0.)?], 0)?;
    let want = slopes(&x)?;
    assert_eq!(want.len(), 2);
    assert_eq!(slopes(&spoilt)?, want);
    Ok(())
}

#[test]
fn bad_arguments_are_errors() -> Result<()> {
    let case = CASES[3];
    let [x, weight, bias] = tensors(case, DType::F32)?;
    let good = settings(case, Activation::Identity, ORDERS[0]);
    let wrong = |x: &Tensor, weight: &Tensor, bias: &Tensor, settings: Settings, part: &str| {
        let text = match conv2d(x, weight, Some(bias), settings) {
            Ok(y) => format!("no error but {:?}", y.dims()),
            Err(e) => e.to_string(),
        };
        assert!(
            text.starts_with("conv_transpose2d") && text.contains(part),
            "{text}"
        );
    };
    wrong(&x.get(0)?, &weight, &bias, good, "x: expected [N, C, H, W]");
    wrong(
        &x,
        &weight.get(0)?,
        &bias,
        good,
        "weight: expected [C, O, kh, kw]",
    );
    wrong(
        &x.narrow(1, 0, 2)?,
        &weight,
        &bias,
        good,
        "weight: expected [2, O, kh, kw]",
    );
    wrong(
        &x,
        &weight,
        &bias.narrow(0, 0, 1)?,
        good,
        "bias: expected [2]",
    );
    wrong(
        &x,
        &weight,
        &bias.to_dtype(DType::F64)?,
        good,
        "bias: expected F32",
    );
    wrong(
        &x.narrow(2, 0, 0)?,
        &weight,
        &bias,
        good,
        "at least one row and column",
    );
    let padding = (9, 9);
    wrong(
        &x,
        &weight,
        &bias,
        Settings { padding, ..good },
        "at least one row and column",
    );
    let padding = (usize::MAX, 0);
    wrong(
        &x,
        &weight,
        &bias,
        Settings { padding, ..good },
        "at least one row and column",
    );
    let output_padding = (0, 0);
    let huge = Settings {
        stride: (usize::MAX / 8, 1),
        kind: Kind::Transposed { output_padding },
        ..good
    };
    wrong(&x, &weight, &bias, huge, "no larger than memory");
    let stride = (0, 1);
    wrong(
        &x,
        &weight,
        &bias,
        Settings { stride, ..good },
        "stride: expected at least 1",
    );
    let kind = Kind::Transposed {
        output_padding: (0, 2),
    };
    wrong(
        &x,
        &weight,
        &bias,
        Settings { kind, ..good },
        "output_padding: expected less than",
    );
    Ok(())
}
