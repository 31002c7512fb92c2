//! Residual networks with batch normalization: against candle's own operations, in training and evaluation.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarMap};
use candle_prob::init::{self, named_vars};
use candle_prob::net::{ResidualBatchNormNet, ResidualNetConfig, residual_batch_norm_net};
use candle_prob::testing::check_gradient;
use candle_prob::{Activation, Detach, Error, Result, Rng};
use std::collections::BTreeMap;

const CPU: &Device = &Device::Cpu;

const CONFIG: ResidualNetConfig = ResidualNetConfig {
    inputs: 2,
    outputs: 3,
    channels: 4,
    blocks: 2,
    activation: Activation::Silu,
};

/// All variables random, so that none hides behind a zero; running variances are positive.
fn net(dtype: DType) -> Result<(BTreeMap<String, Var>, ResidualBatchNormNet)> {
    let vars = VarMap::new();
    let net = residual_batch_norm_net(&CONFIG, init::seeded(&vars, 3, dtype, CPU))?;
    let named = named_vars(&vars)?;
    let mut rng = Rng::new(4);
    for (name, var) in &named {
        // In f64, so that networks of both dtypes are one.
        let noise = (rng.normal(var.shape(), DType::F64, CPU)? * 0.3)?;
        let noise = match name.ends_with("var") {
            true => noise.exp()?,
            false => noise,
        };
        var.set(&noise.to_dtype(dtype)?)?;
    }
    Ok((named, net))
}

fn images(shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    Rng::new(5).normal(shape, DType::F64, CPU)
}

fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
    let gap = (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?;
    Ok(gap.abs()?.max_all()?.to_scalar()?)
}

/// The formula, operation by operation.
fn by_hand(named: &BTreeMap<String, Var>, x: &Tensor, train: bool) -> Result<Tensor> {
    let get = |name: String| named[&name].as_tensor().clone();
    let channels = |t: Tensor| t.reshape((1, (), 1, 1));
    let norm = |x: &Tensor, at: &str| -> Result<Tensor> {
        let part = |name: &str| channels(get(format!("{at}.norm.{name}")));
        let (mean, variance) = match train {
            true => {
                let mean = x.mean_keepdim((0, 2, 3))?;
                let variance = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
                (mean, variance)
            }
            false => (part("running_mean")?, part("running_var")?),
        };
        let y = x.broadcast_sub(&mean)?;
        let y = y.broadcast_div(&(variance + 1e-5)?.sqrt()?)?;
        let y = y.broadcast_mul(&part("weight")?)?;
        Ok(y.broadcast_add(&part("bias")?)?.silu()?)
    };
    let conv = |x: &Tensor, at: &str| x.conv2d(&get(format!("{at}.weight")), 1, 1, 1, 1);
    let mut h = conv(x, "first")?;
    for block in 0..2 {
        let [one, two] = [0, 1].map(|i| format!("blocks.{block}.{i}"));
        let inside = conv(&norm(&h, &one)?, &one)?;
        h = (&h + conv(&norm(&inside, &two)?, &two)?)?;
    }
    let y = conv(&norm(&h, "last")?, "last")?;
    Ok(y.broadcast_add(&channels(get("last.bias".into()))?)?)
}

#[test]
fn it_is_its_formula() -> Result<()> {
    for (dtype, bound) in [(DType::F64, 1e-10), (DType::F32, 1e-3)] {
        let x = images((5, 2, 4, 6))?;
        // A strided input is one too.
        for x in [x.clone(), x.transpose(2, 3)?] {
            for train in [false, true] {
                let (named, net) = net(dtype)?;
                let (reference, _) = self::net(DType::F64)?;
                let want = by_hand(&reference, &x, train)?;
                let found = net.forward_t(&x.to_dtype(dtype)?, train)?;
                assert_eq!(found.dims(), want.dims());
                let gap = gap(&found, &want)?;
                assert!(gap < bound, "{dtype:?}, training {train}: {gap}");
                // Another pass, in evaluation, goes by what was written, or was there.
                let named: BTreeMap<String, Var> = named
                    .iter()
                    .map(|(name, var)| {
                        Ok((name.clone(), Var::from_tensor(&var.to_dtype(DType::F64)?)?))
                    })
                    .collect::<Result<_>>()?;
                let want = by_hand(&named, &x, false)?;
                let gap = self::gap(&net.forward_t(&x.to_dtype(dtype)?, false)?, &want)?;
                assert!(gap < bound, "{dtype:?}, after training {train}: {gap}");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    for train in [false, true] {
        let (named, net) = net(DType::F64)?;
        let weigh = images((3, 3, 3, 4))?;
        let x = images((3, 2, 3, 4))?;
        check_gradient(
            &|p: &[Tensor]| Ok((net.forward_t(&p[0], train)? * &weigh)?.sum_all()?),
            std::slice::from_ref(&x),
            1e-6,
        )?;
        // Of the weights, those that the formula by hand gets: it is held to differences by candle.
        let sums = [
            (net.forward_t(&x, train)? * &weigh)?.sum_all()?,
            (by_hand(&named, &x, train)? * &weigh)?.sum_all()?,
        ];
        // In evaluation the first pass has not moved what the second reads; in training neither reads it.
        let [ours, theirs] = sums.map(|sum| sum.backward());
        let (ours, theirs) = (ours?, theirs?);
        for (name, var) in &named {
            if name.contains("running") {
                assert!(ours.get(var).is_none(), "{name}");
                continue;
            }
            let (ours, theirs) = (ours.get(var).unwrap(), theirs.get(var).unwrap());
            let gap = gap(ours, theirs)?;
            assert!(gap < 1e-9, "{name}, training {train}: {gap}");
        }
    }
    Ok(())
}

#[test]
fn a_pass_that_fails_and_an_empty_one_write_nothing() -> Result<()> {
    let (named, net) = net(DType::F64)?;
    let all = || -> Result<Vec<Vec<f64>>> {
        let all = named.values().map(|var| var.flatten_all()?.to_vec1());
        Ok(all.collect::<candle_core::Result<_>>()?)
    };
    let before = all()?;
    let none = Tensor::zeros((0, 2, 4, 4), DType::F64, CPU)?;
    assert_eq!(net.forward_t(&none, true)?.dims(), [0, 3, 4, 4]);
    let nan = (images((2, 2, 4, 4))? * f64::NAN)?;
    assert!(net.forward_t(&nan, true).is_err());
    assert!(net.forward_t(&images((2, 3, 4, 4))?, true).is_err());
    assert_eq!(all()?, before);
    // The second norm of a block refuses what the first has let pass.
    let weight = &named["blocks.0.0.weight"];
    let kept = weight.as_tensor().copy()?;
    weight.set(&(&kept * f64::INFINITY)?)?;
    assert!(net.forward_t(&images((2, 2, 4, 4))?, true).is_err());
    weight.set(&kept)?;
    assert_eq!(all()?, before);
    Ok(())
}

#[test]
fn a_fresh_one_is_zero_and_detaches() -> Result<()> {
    let vars = VarMap::new();
    let fresh = residual_batch_norm_net(&CONFIG, init::seeded(&vars, 3, DType::F32, CPU))?;
    let x = images((2, 2, 4, 4))?.to_dtype(DType::F32)?;
    let zero = fresh.forward_t(&x, true)?.abs()?.max_all()?;
    assert_eq!(zero.to_scalar::<f32>()?, 0.);
    let (named, net) = net(DType::F32)?;
    let x = Var::from_tensor(&x)?;
    let y = net.detach().forward_t(&x, false)?;
    assert_eq!(gap(&y, &net.forward_t(&x, false)?)?, 0.);
    let gradients = y.sum_all()?.backward()?;
    assert!(gradients.get(&x).is_some());
    assert!(named.values().all(|var| gradients.get(var).is_none()));
    for wrong in [
        ResidualNetConfig {
            inputs: 0,
            ..CONFIG
        },
        ResidualNetConfig {
            outputs: 0,
            ..CONFIG
        },
        ResidualNetConfig {
            channels: 0,
            ..CONFIG
        },
    ] {
        let vb = init::seeded(&VarMap::new(), 3, DType::F32, CPU);
        let error = residual_batch_norm_net(&wrong, vb).unwrap_err();
        assert!(matches!(error, Error::Value { .. }), "{error}");
    }
    // No blocks: one convolution, a norm and another convolution.
    let config = ResidualNetConfig {
        blocks: 0,
        ..CONFIG
    };
    let net = residual_batch_norm_net(&config, init::seeded(&VarMap::new(), 3, DType::F32, CPU))?;
    assert_eq!(net.forward_t(&x, false)?.dims(), [2, 3, 4, 4]);
    let _: &dyn ModuleT = &net;
    Ok(())
}
