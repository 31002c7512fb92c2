//! Planar flows whose parameters come from a context.

use crate::support::floats;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::distribution::{Distribution, Expanded, MultivariateNormalDiag};
use candle_prob::flow::{PlanarConfig, PlanarFlow, planar};
use candle_prob::testing::{Bounds, check_bijector};
use candle_prob::{Error, Result, Rng, init};

const CPU: &Device = &Device::Cpu;

fn normal(shape: &[usize], seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, CPU)
}

fn config(context: usize, hidden: &[usize]) -> PlanarConfig {
    PlanarConfig {
        features: 3,
        layers: 4,
        context,
        hidden: hidden.to_vec(),
        ..Default::default()
    }
}

/// With random numbers for all variables, also those that start at zero.
fn disturbed(config: &PlanarConfig) -> Result<PlanarFlow> {
    let vars = VarMap::new();
    let flow = planar(config, init::seeded(&vars, 1, DType::F64, CPU))?;
    for (seed, var) in (0..).zip(init::named_vars(&vars)?.values()) {
        var.set(&(normal(var.dims(), seed)? * 0.7)?)?;
    }
    Ok(flow)
}

fn gap(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    Ok(floats(&(a - b)?.abs()?)?.into_iter().fold(0., f64::max))
}

#[test]
fn a_fresh_flow_is_the_identity() -> Result<()> {
    let x = normal(&[5, 3], 1)?;
    for (context, hidden) in [(0, &[][..]), (2, &[]), (2, &[7])] {
        let vb = init::seeded(&VarMap::new(), 1, DType::F64, CPU);
        let mut flow = planar(&config(context, hidden), vb)?;
        if context > 0 {
            flow = flow.given(&normal(&[5, 2], 2)?)?;
        }
        let (y, log_det) = flow.transform_and_log_det(&x)?;
        assert!(gap(&y, &x)? < 1e-14);
        assert!(gap(&log_det, &log_det.zeros_like()?)? < 1e-14);
    }
    Ok(())
}

#[test]
fn it_is_a_bijector() -> Result<()> {
    let x = normal(&[2, 4, 3], 3)?;
    let build = |config: &PlanarConfig, named: &[(&str, &Tensor)]| -> Result<PlanarFlow> {
        let tensors = named
            .iter()
            .map(|(name, x)| (name.to_string(), (*x).clone()));
        let dtype = named[0].1.dtype();
        planar(
            config,
            VarBuilder::from_tensors(tensors.collect(), dtype, CPU),
        )
    };
    let own = [normal(&[4, 3], 5)?, normal(&[4, 3], 6)?, normal(&[4], 7)?];
    let flow = |p: &[Tensor]| {
        build(
            &config(0, &[]),
            &[("w", &p[0]), ("u", &p[1]), ("bias", &p[2])],
        )
    };
    check_bijector(flow, &own, &x, Bounds::default())?;
    let under = [
        normal(&[4, 3], 5)?,
        (normal(&[28, 2], 6)? * 0.5)?,
        (normal(&[28], 7)? * 0.5)?,
        normal(&[4, 2], 8)?,
    ];
    let flow = |p: &[Tensor]| {
        let net = [("w", &p[0]), ("net.0.weight", &p[1]), ("net.0.bias", &p[2])];
        build(&config(2, &[]), &net)?.given(&p[3])
    };
    check_bijector(flow, &under, &x, Bounds::default())
}

#[test]
fn layers_are_the_flow() -> Result<()> {
    let flow = disturbed(&config(2, &[7]))?.given(&normal(&[5, 2], 1)?)?;
    let x = normal(&[5, 3], 3)?;
    let (y, log_det) = flow.transform_and_log_det(&x)?;
    let (z, same) = flow.layers()?.transform_and_log_det(&x)?;
    assert!(gap(&y, &z)? == 0. && gap(&log_det, &same)? == 0.);
    assert_eq!(flow.layers()?.members().len(), 4);
    Ok(())
}

#[test]
fn each_context_has_its_own_flow() -> Result<()> {
    let flow = disturbed(&config(2, &[7]))?;
    let (contexts, x) = (normal(&[4, 2], 2)?, normal(&[6, 4, 3], 3)?);
    let (y, log_det) = flow.given(&contexts)?.transform_and_log_det(&x)?;
    assert_eq!((y.dims(), log_det.dims()), (&[6, 4, 3][..], &[6, 4][..]));
    for i in 0..4 {
        let one = flow.given(&contexts.get(i)?)?;
        let (own, own_log_det) = one.transform_and_log_det(&x.narrow(1, i, 1)?.squeeze(1)?)?;
        assert!(gap(&own, &y.narrow(1, i, 1)?.squeeze(1)?)? < 1e-13);
        assert!(gap(&own_log_det, &log_det.narrow(1, i, 1)?.squeeze(1)?)? < 1e-13);
    }
    // As a posterior it scores its draws as the inverse does.
    let base = Expanded::new(MultivariateNormalDiag::standard(3, DType::F64, CPU)?, &[4])?;
    let posterior = base.transformed_by(flow.given(&contexts)?)?;
    let (z, log_prob) = posterior.sample_and_log_prob(&[5], &mut Rng::new(4))?;
    assert!(gap(&log_prob, &posterior.log_prob(&z)?)? < 1e-10);
    Ok(())
}

#[test]
fn no_examples_have_no_draws() -> Result<()> {
    let flow = disturbed(&config(2, &[7]))?;
    let none = Tensor::zeros((0, 2), DType::F64, CPU)?;
    let base = Expanded::new(MultivariateNormalDiag::standard(3, DType::F64, CPU)?, &[0])?;
    let posterior = base.transformed_by(flow.given(&none)?)?;
    let (z, log_prob) = posterior.sample_and_log_prob(&[5], &mut Rng::new(4))?;
    assert_eq!((z.dims(), log_prob.dims()), (&[5, 0, 3][..], &[5, 0][..]));
    assert_eq!(posterior.log_prob(&z)?.dims(), [5, 0]);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let build = |config: &PlanarConfig| {
        planar(config, init::seeded(&VarMap::new(), 1, DType::F64, CPU)).err()
    };
    for wrong in [
        PlanarConfig {
            features: 0,
            ..config(0, &[])
        },
        PlanarConfig {
            layers: 0,
            ..config(2, &[])
        },
        config(2, &[0]),
        PlanarConfig {
            layers: usize::MAX,
            ..config(2, &[])
        },
    ] {
        assert!(build(&wrong).is_some(), "{wrong:?}");
    }
    let x = normal(&[5, 3], 1)?;
    let (own, under) = (disturbed(&config(0, &[]))?, disturbed(&config(2, &[]))?);
    let given = under.given(&normal(&[5, 2], 1)?)?;
    // No context, one that is not wanted, another width, other rows, another dtype.
    assert!(matches!(under.transform(&x), Err(Error::Value { .. })));
    assert!(matches!(under.layers().err(), Some(Error::Value { .. })));
    for refused in [
        own.given(&x).err(),
        under.given(&x).err(),
        given.transform(&normal(&[5, 2], 1)?).err(),
        given.inverse(&normal(&[4, 3], 1)?).err(),
    ] {
        assert!(matches!(refused, Some(Error::Shape { .. })), "{refused:?}");
    }
    let single = x.to_dtype(DType::F32)?;
    assert!(matches!(own.transform(&single), Err(Error::DType { .. })));
    Ok(())
}
