//! Forward-mode derivatives against central differences, and their own gradients too.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::dual::{self, Dual};
use candle_prob::{Activation, Result, Rng};

const CPU: Device = Device::Cpu;

fn normal(seed: u64, shape: &[usize]) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, &CPU)
}

fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    Ok((a - b)?.abs()?.max_all()?.to_scalar()?)
}

/// J v by central differences.
fn difference(f: &dyn Fn(&Dual) -> Result<Dual>, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let h = 1e-5;
    let at = |h: f64| -> Result<Tensor> {
        let x = (x + (v * h)?)?;
        Ok(f(&Dual::constant(&x))?.value().clone())
    };
    Ok(((at(h)? - at(-h)?)? / (2. * h))?)
}

#[test]
fn products_with_the_jacobian_meet_central_differences() -> Result<()> {
    let (w, b) = (normal(1, &[4, 3])?, normal(2, &[4])?);
    let (kernel, turned) = (normal(3, &[2, 1, 3, 3])?, normal(11, &[1, 2, 3, 3])?);
    let (row, fixed) = (normal(4, &[3])?, normal(10, &[5, 3])?);
    type Map<'a> = Box<dyn Fn(&Dual) -> Result<Dual> + 'a>;
    let mut maps: Vec<Map> = vec![
        Box::new(|x| x.sqr()?.shift(1.)?.sqrt()?.log()?.mul(x)),
        Box::new(|x| x.sin()?.div(&x.sqr()?.shift(2.)?)),
        Box::new(|x| x.exp()?.sub(&x.cos()?)?.add(&Dual::constant(&row))),
        // Broadcasts from fewer dims than the other has.
        Box::new(|x| x.sum_last()?.sum_last()?.mul(x)),
        Box::new(|x| x.columns(1, 2)?.beside(&x.sqr()?)),
        Box::new(|x| Dual::constant(&fixed).beside(x)),
        Box::new(|x| x.dense(&w, Some(&b))),
        Box::new(|x| {
            x.linear(|t| Ok(t.unsqueeze(t.rank() - 2)?))?
                .conv2d(&kernel, 1, 1)
        }),
        Box::new(|x| {
            x.linear(|t| Ok(t.unsqueeze(t.rank() - 2)?))?
                .conv_transpose2d(&turned, 1, 1, 2)
        }),
    ];
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::Elu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Silu,
        Activation::Gelu,
    ] {
        maps.push(Box::new(move |x| x.activation(activation)));
    }
    let x = normal(5, &[5, 3])?;
    for (i, f) in maps.iter().enumerate() {
        // One direction, and three at once.
        let v = normal(6, &[5, 3])?;
        let one = f(&Dual::new(&x, &v)?)?;
        let tangent = one.tangent().unwrap();
        assert!(gap(tangent, &difference(f, &x, &v)?)? < 1e-8, "map {i}");
        let many = normal(7, &[3, 5, 3])?;
        let all = f(&Dual::new(&x, &many)?)?;
        for k in 0..3 {
            let alone = difference(f, &x, &many.get(k)?)?;
            assert!(
                gap(&all.tangent().unwrap().get(k)?, &alone)? < 1e-8,
                "map {i}, direction {k}"
            );
        }
        // One backward pass through the tangent.
        let var = Var::from_tensor(&x)?;
        let weight = normal(8, tangent.dims())?;
        let loss = |x: &Tensor| -> Result<Tensor> {
            let y = f(&Dual::new(x, &v)?)?;
            Ok((y.tangent().unwrap() * &weight)?.sum_all()?)
        };
        let gradient = loss(&var)?.backward()?.get(&var).cloned();
        let gradient = gradient.map_or_else(|| x.zeros_like(), Ok)?;
        let u = normal(9, &[5, 3])?;
        let h = 1e-5;
        let up = loss(&(&x + (&u * h)?)?)?.to_scalar::<f64>()?;
        let down = loss(&(&x - (&u * h)?)?)?.to_scalar::<f64>()?;
        let along = (gradient * u)?.sum_all()?.to_scalar::<f64>()?;
        assert!(
            (along - (up - down) / (2. * h)).abs() < 1e-7,
            "gradient of map {i}"
        );
    }
    Ok(())
}

#[test]
fn traces_are_exact_or_unbiased() -> Result<()> {
    let (a, b) = (normal(1, &[3, 3])?, normal(2, &[3])?);
    let f = |x: &Dual| x.dense(&a, Some(&b))?.activation(Activation::Tanh);
    let x = normal(3, &[2, 4, 3])?;
    let exact = dual::trace(f, &x)?;
    let y = &exact.value;
    // sum_i (1 - y_i^2) a_ii
    let diagonal = (&a * Tensor::eye(3, DType::F64, &CPU)?)?.sum(1)?;
    let want = (1. - y.sqr()?)?.broadcast_mul(&diagonal)?.sum(D::Minus1)?;
    assert!(gap(&exact.trace, &want)? < 1e-12);
    let draws = 4000;
    let many = x
        .unsqueeze(0)?
        .broadcast_as((draws, 2, 4, 3))?
        .contiguous()?;
    let estimates = dual::trace_estimate(f, &many, &normal(4, &[draws, 2, 4, 3])?)?;
    for (estimates, want) in [
        (estimates.trace, &exact.trace),
        (estimates.frobenius, &exact.frobenius),
    ] {
        let error = (estimates.var(0)?.sqrt()? / (draws as f64).sqrt())?;
        let deviations = ((estimates.mean(0)? - want)? / error)?;
        // Sixteen means: one beyond 4 standard errors in 1000 runs.
        assert!(deviations.abs()?.max_all()?.to_scalar::<f64>()? < 4.);
    }
    assert!(dual::trace(|x| x.sum_last(), &x).is_err());
    assert!(dual::trace_estimate(f, &x, &b).is_err());
    assert!(Dual::new(&x, &b).is_err());
    Ok(())
}

/// What would give a tangent of other dims than those of the directions and the value.
#[test]
fn shapes_that_do_not_fit_are_refused_by_name() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &CPU);
    let moving = |shape: &[usize]| Dual::new(&zeros(shape)?, &zeros(&[&[3], shape].concat())?);
    let (row, image) = (moving(&[2])?, moving(&[1, 4, 4])?);
    let square = zeros(&[2, 1, 3, 3])?;
    let refused = [
        (
            row.chain(zeros(&[3, 2])?, || Ok(zeros(&[2])?)),
            "chain: value",
        ),
        (
            row.chain(zeros(&[2])?, || Ok(zeros(&[3, 2])?)),
            "chain: slope",
        ),
        // It works on the directions too.
        (
            row.linear(|t| Ok(t.flatten_all()?.narrow(0, 0, 2)?)),
            "linear: f",
        ),
        (row.linear(|t| Ok(t.unsqueeze(0)?)), "linear: f"),
        (row.dense(&zeros(&[2])?, None), "dense: weight"),
        (row.dense(&zeros(&[4, 3])?, None), "dense: weight"),
        (image.conv2d(&square, 1, 0), "conv2d: stride"),
        (image.conv2d(&zeros(&[2, 1, 5, 5])?, 0, 1), "conv2d: kernel"),
        (image.conv2d(&zeros(&[2, 3, 3, 3])?, 1, 1), "conv2d: kernel"),
        (image.conv2d(&zeros(&[3, 3])?, 1, 1), "conv2d: kernel"),
        (
            image.conv2d(&zeros(&[2, 3, 3, 3])?, usize::MAX, 1),
            "conv2d: kernel",
        ),
        (
            image.conv_transpose2d(&square, 1, 0, 0),
            "conv_transpose2d: stride",
        ),
        (
            image.conv_transpose2d(&square, 1, 2, 2),
            "conv_transpose2d: output_padding",
        ),
        (
            image.conv_transpose2d(&square, 1, 0, 2),
            "conv_transpose2d: kernel",
        ),
        (
            image.conv_transpose2d(&zeros(&[1, 3])?, 1, 0, 2),
            "conv_transpose2d: kernel",
        ),
    ];
    for (result, what) in refused {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(&format!("Dual::{what}")), "{error}");
    }
    let (scalar, still) = (zeros(&[])?, |x: &Dual| Ok(x.clone()));
    let error = dual::trace_estimate(still, &scalar, &scalar).unwrap_err();
    assert!(error.to_string().contains("trace_estimate: x"), "{error}");
    // A kernel as large as the padded image, and no images.
    assert_eq!(
        image.conv2d(&zeros(&[2, 1, 6, 6])?, 1, 1)?.value().dims(),
        [2, 1, 1]
    );
    assert_eq!(
        moving(&[0, 1, 4, 4])?.conv2d(&square, 1, 2)?.value().dims(),
        [0, 2, 2, 2]
    );
    Ok(())
}
