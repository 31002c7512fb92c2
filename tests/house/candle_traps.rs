//! Faults of candle 0.11 that would be blamed on this crate. Each test shows the fault, so that a fixed candle is noticed,
//! and what this crate does instead. The list with explanations: `docs/candle-notes.md`, whose every row names a test here or
//! elsewhere, or the bench that shows it.

use crate::support::process;
use candle_core::{D, DType, Device, Module, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::distribution::{Distribution, Entropy, Normal};
use candle_prob::objective::{AdversarialLoss, Negated, NonSaturating};
use candle_prob::{Activation, Result, Rng, init, net, special};

const IDENTITY: Activation = Activation::Identity;

fn var(values: &[f32]) -> Result<Var> {
    Ok(Var::from_tensor(&Tensor::new(values, &Device::Cpu)?)?)
}

fn gradient(loss: &Tensor, of: &Var) -> Result<Option<Vec<f32>>> {
    let gradients = loss.sum_all()?.backward()?;
    Ok(match gradients.get(of) {
        Some(g) => Some(g.flatten_all()?.to_vec1()?),
        None => None,
    })
}

#[test]
fn the_cpu_generator_cannot_be_seeded() -> Result<()> {
    assert!(Device::Cpu.set_seed(1).is_err());
    let draw = || Rng::new(1).normal(8, DType::F32, &Device::Cpu);
    assert_eq!(draw()?.to_vec1::<f32>()?, draw()?.to_vec1::<f32>()?);
    Ok(())
}

#[test]
fn fused_softmax_loses_the_gradient() -> Result<()> {
    let x = var(&[0., 1., 2.])?;
    let theirs = candle_nn::ops::softmax_last_dim(&x)?;
    assert_eq!(gradient(&theirs.sqr()?, &x)?, None);
    let ours = special::softmax(&x, D::Minus1)?;
    let got = gradient(&ours.sqr()?, &x)?.unwrap_or_default();
    let p: Vec<f32> = ours.to_vec1()?;
    let mean: f32 = p.iter().map(|p| 2. * p * p).sum();
    for (got, p) in got.iter().zip(&p) {
        assert!((got - p * (2. * p - mean)).abs() < 1e-6);
    }
    Ok(())
}

#[test]
fn fused_norms_lose_the_gradient() -> Result<()> {
    let (x, one) = (var(&[0., 1., 3.])?, var(&[1.; 3])?);
    let zero = one.zeros_like()?;
    let layer = candle_nn::ops::layer_norm(&x, &one, &zero, 1e-5)?;
    let root = candle_nn::ops::rms_norm(&x, &one, 1e-5)?;
    for norm in [layer, root] {
        assert_eq!(gradient(&norm.sqr()?, &x)?, None);
        assert_eq!(gradient(&norm.sqr()?, &one)?, None);
    }
    Ok(())
}

#[test]
fn gradients_of_constants_stay_in_the_store() -> Result<()> {
    let (x, constant) = (var(&[2.])?, Tensor::new(&[3f32], &Device::Cpu)?);
    let gradients = (&constant * x.as_tensor())?.backward()?;
    assert!(gradients.get(&constant).is_some());
    assert_eq!(gradients.get_ids().count(), 2);
    Ok(())
}

#[test]
fn log_of_sigmoid_overflows() -> Result<()> {
    let logit = var(&[20.])?;
    let loss = candle_nn::loss::binary_cross_entropy_with_logit(
        &logit,
        &Tensor::new(&[1f32], &Device::Cpu)?,
    )?;
    assert!(!loss.to_scalar::<f32>()?.is_finite());
    let logits = var(&[-1e4, -20., 20., 1e4])?;
    let ours = special::log_sigmoid(&logits)?;
    let values = ours.to_vec1::<f32>()?;
    assert_eq!((values[0], values[3]), (-1e4, 0.));
    let slopes = gradient(&ours, &logits)?.unwrap_or_default();
    assert!((slopes[0] - 1.).abs() < 1e-6 && slopes[3].abs() < 1e-6);
    Ok(())
}

#[test]
fn a_row_of_minus_infinity_is_nan() -> Result<()> {
    let x = var(&[f32::NEG_INFINITY; 3])?;
    assert!(x.log_sum_exp(0)?.to_scalar::<f32>()?.is_nan());
    let ours = special::logsumexp(&x, 0)?;
    assert_eq!(ours.to_scalar::<f32>()?, f32::NEG_INFINITY);
    assert_eq!(gradient(&ours, &x)?, Some(vec![0.; 3]));
    let theirs = candle_nn::ops::log_softmax(&x, 0)?.to_vec1::<f32>()?;
    assert!(theirs.iter().all(|x| x.is_nan()));
    Ok(())
}

#[test]
fn selection_leaks_nan_from_the_other_branch() -> Result<()> {
    let x = var(&[-1., 4.])?;
    let theirs = x.gt(0f32)?.where_cond(&x.sqrt()?, &x.zeros_like()?)?;
    let slopes = gradient(&theirs, &x)?.unwrap_or_default();
    assert!(slopes[0].is_nan());
    Ok(())
}

#[test]
fn the_slope_of_relu_at_zero_is_one() -> Result<()> {
    let x = var(&[0.])?;
    assert_eq!(gradient(&x.relu()?, &x)?, Some(vec![1.]));
    let ours = candle_prob::Activation::Relu.forward(&x)?;
    assert_eq!(gradient(&ours, &x)?, Some(vec![0.]));
    Ok(())
}

#[test]
fn the_slope_of_abs_at_zero_is_one() -> Result<()> {
    let x = var(&[0.])?;
    assert_eq!(gradient(&x.abs()?, &x)?, Some(vec![1.]));
    let ours = candle_prob::objective::Capacity { nats: 0. }.of(&x)?;
    assert_eq!(gradient(&ours, &x)?, Some(vec![0.]));
    Ok(())
}

#[test]
fn a_path_used_twice_shares_its_weights() -> Result<()> {
    let vars = VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let (a, b) = (
        candle_nn::linear(2, 2, vb.pp("layer"))?,
        candle_nn::linear(2, 2, vb.pp("layer"))?,
    );
    assert_eq!(a.weight().to_vec2::<f32>()?, b.weight().to_vec2::<f32>()?);
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
    candle_nn::linear(2, 2, vb.pp("layer"))?;
    let error = candle_nn::linear(2, 2, vb.pp("layer")).map(|_| ());
    let text = format!("{error:?}");
    assert!(text.contains("layer.weight"), "{text}");
    Ok(())
}

/// Thirty values come in the same order in one of 30! pairs of maps.
#[test]
fn variables_come_in_no_order() -> Result<()> {
    let theirs = || -> Result<(VarMap, Vec<f32>)> {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
        for i in 0..30 {
            let constant = candle_nn::Init::Const(f64::from(i));
            vb.get_with_hints(1, &format!("{i:02}"), constant)?;
        }
        let value = |var: &Var| Ok(var.to_vec1::<f32>()?[0]);
        let values = vars.all_vars().iter().map(value).collect::<Result<_>>()?;
        Ok((vars, values))
    };
    let (vars, first) = theirs()?;
    assert_ne!(first, theirs()?.1);
    let ours = init::named_vars(&vars)?;
    let names: Vec<String> = ours.into_keys().collect();
    assert!(names.len() == 30 && names.is_sorted(), "{names:?}");
    Ok(())
}

#[test]
fn each_of_equal_maxima_has_the_whole_gradient() -> Result<()> {
    let x = var(&[2., 2., 1.])?;
    assert_eq!(gradient(&x.max(0)?, &x)?, Some(vec![1., 1., 0.]));
    Ok(())
}

/// Of 5 rows and 6 columns, stride 2 leaves a column to none of the patches.
#[test]
fn strides_on_images_that_are_not_square_fail() -> Result<()> {
    let x = Tensor::ones((1, 1, 5, 6), DType::F32, &Device::Cpu)?;
    let x = Var::from_tensor(&x)?;
    let kernel = Tensor::ones((1, 1, 3, 3), DType::F32, &Device::Cpu)?;
    let theirs = x.conv2d(&kernel, 0, 2, 1, 1)?;
    assert!(theirs.sum_all()?.backward().is_err());
    let config = net::Conv2dConfig {
        stride: (2, 2),
        padding: (0, 0),
        ..Default::default()
    };
    let vb = init::seeded(&VarMap::new(), 0, DType::F32, &Device::Cpu);
    let ours = net::conv2d(1, 1, &config, vb)?.forward(&x)?;
    assert_eq!(ours.dims(), theirs.dims());
    let slopes = gradient(&ours, &x)?.unwrap_or_default();
    assert!(slopes[..5].iter().all(|slope| *slope != 0.) && slopes[5] == 0.);
    Ok(())
}

#[test]
fn errors_print_a_backtrace() {
    if !process::has("RUST_BACKTRACE", module_path!(), "errors_print_a_backtrace") {
        return;
    }
    let x = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    let theirs = x.reshape(2).unwrap_err();
    assert!(theirs.to_string().lines().count() > 1, "{theirs}");
    let ours = [
        candle_prob::Error::from(theirs),
        Normal::new(&x, &x).unwrap_err(),
        special::softmax(&x, 5).unwrap_err(),
    ];
    for ours in ours.map(|error| error.to_string()) {
        assert_eq!(ours.lines().count(), 1, "{ours}");
    }
}

#[test]
fn multiplying_by_zero_cuts_the_graph() -> Result<()> {
    let x = var(&[3.])?;
    assert_eq!(gradient(&(x.as_tensor() * 0.)?, &x)?, None);
    Ok(())
}

#[test]
fn second_derivatives_are_silently_wrong() -> Result<()> {
    // d2/dx2 of x^3 at 2 is 12. Everything in this crate needs first derivatives only.
    let x = var(&[2.])?;
    let first = ((x.as_tensor() * x.as_tensor())? * x.as_tensor())?.backward()?;
    let slope = match first.get(&x) {
        Some(slope) => slope.clone(),
        None => return Ok(()),
    };
    assert_ne!(gradient(&slope, &x)?, Some(vec![12.]));
    Ok(())
}

/// A later part of nothing lies beyond the end of what is stored.
#[test]
fn sums_of_a_part_of_nothing_panic() -> Result<()> {
    let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?;
    let part = none.narrow(1, 2, 2)?;
    let sum = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| part.sum(1)));
    assert!(sum.is_err());
    let (passing, changing) = candle_prob::bijector::Split::half(4, false)?.take(&none)?;
    assert_eq!(
        (passing.dims(), changing.dims()),
        (&[0, 2][..], &[0, 2][..])
    );
    assert_eq!(changing.sum(1)?.dims(), [0]);
    Ok(())
}

/// 0 times the infinite slope of a row that is not in the loss; the first row's gradient is NaN, and so is a shared parameter's.
#[test]
fn what_is_not_in_the_loss_spoils_gradients() -> Result<()> {
    let (x, loc) = (var(&[f32::NAN, 1.])?, var(&[0.5])?);
    let squares = x.broadcast_sub(&loc)?.sqr()?;
    assert!(gradient(&squares.narrow(0, 1, 1)?, &x)?.is_some_and(|g| g[0].is_nan()));
    assert!(gradient(&squares.narrow(0, 1, 1)?, &loc)?.is_some_and(|g| g[0].is_nan()));
    let normal = Normal::new_unchecked(&loc, &Tensor::ones(1, DType::F32, &Device::Cpu)?)?;
    let log_prob = normal.log_prob(&x)?.narrow(0, 1, 1)?;
    assert_eq!(gradient(&log_prob, &x)?, Some(vec![0., -0.5]));
    assert_eq!(gradient(&log_prob, &loc)?, Some(vec![0.5]));
    Ok(())
}

/// A million numbers added one by one in single precision.
#[test]
fn long_sums_lose_digits() -> Result<()> {
    let n = 1 << 20;
    let x = Tensor::full(0.1f32, (1, n), &Device::Cpu)?;
    let want = n as f32 * 0.1;
    let theirs = x.sum(1)?.to_vec1::<f32>()?[0];
    assert!((theirs / want - 1.).abs() > 1e-5, "{theirs}");
    let zero = x.affine(0., 0.1 + 0.5 * std::f64::consts::TAU.ln())?;
    let entropy = Normal::new(&zero, &zero.ones_like()?)?
        .to_event(1)?
        .entropy()?;
    let want = n as f64 * 0.5 * (1. + std::f64::consts::TAU.ln());
    let ours = f64::from(entropy.to_vec1::<f32>()?[0]);
    assert!((ours / want - 1.).abs() < 1e-6, "{ours}");
    Ok(())
}

/// Once the sum is 256, half of the distance to the next number is 1.
#[test]
fn sums_of_half_precision_stand_still() -> Result<()> {
    let one = Tensor::ones((4, 256), DType::BF16, &Device::Cpu)?;
    let theirs = one.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    assert_eq!(theirs, 256.);
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 1, DType::BF16, &Device::Cpu);
    let layer = net::Dense::new(Var::from_tensor(&one)?.as_tensor().clone(), None, IDENTITY)?;
    let layer = net::spectral_norm(layer, &net::SpectralNormConfig::default(), vb)?;
    let sigma = layer.sigma()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    assert!((sigma - 32.).abs() < 0.2, "{sigma}");
    Ok(())
}

/// What is returned is the left side itself.
#[test]
fn operations_on_nothing_leave_the_graph() -> Result<()> {
    let x = Var::zeros((0, 3), DType::F32, &Device::Cpu)?;
    let gain = var(&[1., 2., 3.])?;
    let theirs = x.as_tensor().broadcast_mul(&gain)?.sum_all()?.backward()?;
    assert!(theirs.get(&gain).is_none());
    let ours = net::Dense::new(gain.as_tensor().unsqueeze(0)?, None, IDENTITY)?;
    let ours = ours.forward(&x)?.sum_all()?.backward()?;
    assert!(ours.get(&gain).is_some());
    Ok(())
}

#[test]
fn negatives_of_whole_numbers_panic() -> Result<()> {
    let x = Tensor::new(&[1u32], &Device::Cpu)?;
    let theirs = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| x.neg()));
    assert!(theirs.is_err());
    let loss = Negated(NonSaturating::default());
    assert!(loss.critic(&x, &x).is_err());
    Ok(())
}

#[test]
fn gradients_of_the_largest_pixel_are_too_small() -> Result<()> {
    let x = var(&(0..16).map(|i| i as f32).collect::<Vec<_>>())?;
    let image = x.reshape((1, 1, 4, 4))?;
    let slopes = gradient(&image.max_pool2d(2)?, &x)?.unwrap_or_default();
    // A quarter of what it is.
    assert_eq!((slopes[5], slopes.iter().sum::<f32>()), (0.25, 1.));
    for apart in [
        image.max_pool2d_with_stride(3, 1)?,
        image.avg_pool2d_with_stride(3, 1)?,
    ] {
        assert!(gradient(&apart, &x).is_err());
    }
    let ours = net::Pool2d::new(&net::Pool2dConfig::default())?.forward(&image)?;
    let slopes = gradient(&ours, &x)?.unwrap_or_default();
    assert_eq!((slopes[5], slopes.iter().sum::<f32>()), (1., 4.));
    Ok(())
}

#[test]
fn a_maximum_passes_over_nan() -> Result<()> {
    let nan = f64::NAN;
    for (values, hidden) in [([1., nan, 2.], true), ([nan, 1., 2.], false)] {
        let x = Tensor::new(&values, &Device::Cpu)?;
        for max in [x.max(0)?, x.max_all()?] {
            assert_eq!(max.to_scalar::<f64>()? == 2., hidden);
        }
    }
    Ok(())
}
