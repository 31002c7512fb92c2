//! Flows on the line, and NICE.

use crate::support::floats;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::distribution::{
    Beta, Categorical, Distribution, MixtureSameFamily, Normal, Uniform,
};
use candle_prob::flow::{Latent, NiceConfig, UnivariateConfig, nice, univariate};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::testing::{Bounds, check_bijector};
use candle_prob::{Result, Rng, init};
use std::collections::HashMap;

const CPU: &Device = &Device::Cpu;
const LATENTS: [Latent; 2] = [Latent::UnitInterval, Latent::Line];

/// Names and random values of all variables that a recipe asks for.
fn variables(recipe: impl Fn(VarBuilder) -> Result<()>) -> Result<(Vec<String>, Vec<Tensor>)> {
    let vars = VarMap::new();
    recipe(init::seeded(&vars, 1, DType::F64, CPU))?;
    let mut rng = Rng::new(2);
    let mut all = (vec![], vec![]);
    for (name, var) in init::named_vars(&vars)? {
        all.0.push(name);
        all.1
            .push((rng.normal(var.shape(), DType::F64, CPU)? * 0.5)?);
    }
    Ok(all)
}

fn builder(names: &[String], values: &[Tensor]) -> VarBuilder<'static> {
    let named = names.iter().cloned().zip(values.iter().cloned());
    let tensors: HashMap<_, _> = named.collect();
    VarBuilder::from_tensors(tensors, values[0].dtype(), CPU)
}

#[test]
fn maps_are_bijectors() -> Result<()> {
    let bounds = Bounds {
        f64: 1e-9,
        f32: 1e-3,
        ..Bounds::default()
    };
    let mut rng = Rng::new(3);
    let mut draw = |shape: &[usize]| rng.normal(shape, DType::F64, CPU);
    for latent in LATENTS {
        for context in [0, 2] {
            let config = UnivariateConfig {
                components: 3,
                latent,
                hidden: vec![5],
                activation: candle_prob::Activation::Tanh,
                context,
            };
            let (names, mut values) = variables(|vb| univariate(&config, vb).map(drop))?;
            let count = values.len();
            values.push(draw(&[4, 1, context])?);
            // The flow leads to the line; the check wants arguments from there.
            let build = |values: &[Tensor]| {
                let flow = univariate(&config, builder(&names, &values[..count]))?;
                Ok(match context {
                    0 => flow,
                    _ => flow.given(&values[count])?,
                }
                .inverted())
            };
            check_bijector(build, &values, &draw(&[4, 2])?, bounds)?;
        }
    }
    for context in [0, 2] {
        let config = NiceConfig {
            features: 5,
            layers: 3,
            hidden: vec![6],
            activation: candle_prob::Activation::Tanh,
            context,
            keep_activations: true,
        };
        let (names, mut values) = variables(|vb| nice(&config, vb).map(drop))?;
        let count = values.len();
        values.push(draw(&[4, context])?);
        let build = |values: &[Tensor]| {
            let flow = nice(&config, builder(&names, &values[..count]))?;
            match context {
                0 => Ok(flow),
                _ => flow.given(&values[count]),
            }
        };
        check_bijector(build, &values, &draw(&[4, 5])?, bounds)?;
    }
    Ok(())
}

/// The scales are those of the paper: latent = h e^log_scale. A fresh flow is the identity.
#[test]
fn nice_scales_latents() -> Result<()> {
    let config = NiceConfig::default();
    let vars = VarMap::new();
    let flow = nice(&config, init::seeded(&vars, 1, DType::F64, CPU))?;
    let x = Tensor::new(&[[1f64, -2.], [0.5, 3.]], CPU)?;
    assert_eq!(floats(&flow.inverse(&x)?)?, floats(&x)?);
    for (name, var) in init::named_vars(&vars)? {
        if name == "log_scale" {
            var.set(&Tensor::new(&[2f64.ln(), 3f64.ln()], CPU)?)?;
        }
    }
    let (z, log_det) = flow.inverse_and_log_det(&x)?;
    let want = [2., -6., 1., 9.];
    for (z, want) in floats(&z)?.into_iter().zip(want) {
        assert!((z - want).abs() < 1e-14, "{z} is not {want}");
    }
    assert!((floats(&log_det)?[1] - 6f64.ln()).abs() < 1e-15);
    Ok(())
}

/// Over a grid that holds all but 1e-8 of them.
#[test]
fn densities_integrate_to_one() -> Result<()> {
    let number = |x: f64| Tensor::new(x, CPU);
    let (cells, reach) = (20_001, 40.);
    let step = 2. * reach / (cells - 1) as f64;
    let grid: Vec<f64> = (0..cells).map(|i| i as f64 * step - reach).collect();
    let grid = Tensor::new(grid, CPU)?;
    let check = |latent: Latent, context: usize, log_prob: &Tensor| -> Result<()> {
        let total = log_prob.exp()?.sum(0)?;
        for total in floats(&total)? {
            assert!(
                (total * step - 1.).abs() < 1e-6,
                "{latent:?} {context}: {}",
                total * step
            );
        }
        Ok(())
    };
    for latent in LATENTS {
        for context in [0, 1] {
            let config = UnivariateConfig {
                latent,
                context,
                hidden: vec![4],
                ..Default::default()
            };
            let (names, values) = variables(|vb| univariate(&config, vb).map(drop))?;
            let flow = univariate(&config, builder(&names, &values))?;
            let (flow, x) = match context {
                0 => (flow, grid.clone()),
                _ => {
                    let context = Tensor::new(&[[-1f64], [0.3], [2.]], CPU)?;
                    (
                        flow.given(&context)?,
                        grid.reshape(((), 1))?.repeat((1, 3))?,
                    )
                }
            };
            if latent == Latent::Line {
                let base = Normal::new(&number(0.)?, &number(1.)?)?;
                check(latent, context, &base.transformed_by(&flow)?.log_prob(&x)?)?;
            } else {
                let base = Uniform::new(&number(0.)?, &number(1.)?)?;
                check(latent, context, &base.transformed_by(&flow)?.log_prob(&x)?)?;
                let base = Beta::new(&number(5.)?, &number(5.)?)?;
                check(latent, context, &base.transformed_by(&flow)?.log_prob(&x)?)?;
            }
        }
    }
    Ok(())
}

/// Out where F rounds to 1, even in f32.
#[test]
fn finite_far_from_all_components() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let vars = VarMap::new();
        let flow = univariate(
            &UnivariateConfig::default(),
            init::seeded(&vars, 1, dtype, CPU),
        )?;
        let zero = Tensor::zeros((), dtype, CPU)?;
        let model = Normal::new(&zero, &zero.ones_like()?)?.transformed_by(&flow)?;
        let x = Tensor::new(&[-1e6, -300., -9., 0., 9., 300., 1e6], CPU)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let log_prob = model.log_prob(&x)?;
        let gradients = log_prob.sum_all()?.backward()?;
        let mut all = vec![log_prob];
        for var in vars.all_vars().iter().chain([&x]) {
            all.extend(gradients.get(var).cloned());
        }
        assert_eq!(all.len(), 5);
        for values in &all {
            let values = floats(values)?;
            assert!(
                values.iter().all(|x| x.is_finite()),
                "{dtype:?}: {values:?}"
            );
        }
    }
    Ok(())
}

/// Five normal components come within 0.02 nats of a mixture of two in 300 steps, whatever the base.
#[test]
fn fits_any_base() -> Result<()> {
    let pair = |a: f32, b: f32| Tensor::new(&[a, b], CPU);
    let truth = MixtureSameFamily::new(
        Categorical::from_probs(&pair(0.3, 0.7)?)?,
        Normal::new(&pair(-1.2, 0.8)?, &pair(0.2, 0.5)?)?,
    )?;
    let number = |x: f32| Tensor::new(x, CPU);
    let test = truth.sample(&[20_000], &mut Rng::new(5))?;
    let entropy = -floats(&truth.log_prob(&test)?.mean_all()?)?[0];
    let fit =
        |latent: Latent, base: &dyn Fn(&dyn Bijector, &Tensor) -> Result<Tensor>| -> Result<f64> {
            let vars = VarMap::new();
            let config = UnivariateConfig {
                latent,
                ..Default::default()
            };
            let flow = univariate(&config, init::seeded(&vars, 1, DType::F32, CPU))?;
            let mut adam = Adam::new(
                &vars,
                &AdamConfig {
                    lr: 0.03,
                    ..Default::default()
                },
            )?;
            for step in 0..300 {
                let x = truth.sample(&[256], &mut Rng::new(100 + step))?;
                adam.backward_step(&base(&flow, &x)?.mean_all()?.neg()?)?;
            }
            Ok(-floats(&base(&flow, &test)?.mean_all()?)?[0])
        };
    let normal = |flow: &dyn Bijector, x: &Tensor| {
        Normal::new(&number(0.)?, &number(1.)?)?
            .transformed_by(flow)?
            .log_prob(x)
    };
    let uniform = |flow: &dyn Bijector, x: &Tensor| {
        Uniform::new(&number(0.)?, &number(1.)?)?
            .transformed_by(flow)?
            .log_prob(x)
    };
    let beta = |flow: &dyn Bijector, x: &Tensor| {
        Beta::new(&number(5.)?, &number(5.)?)?
            .transformed_by(flow)?
            .log_prob(x)
    };
    for (nll, base) in [
        (fit(Latent::Line, &normal)?, "normal"),
        (fit(Latent::UnitInterval, &uniform)?, "uniform"),
        (fit(Latent::UnitInterval, &beta)?, "beta"),
    ] {
        let gap = nll - entropy;
        assert!(
            (-0.005..0.02).contains(&gap),
            "{base}: {gap} above {entropy}"
        );
    }
    Ok(())
}

#[test]
fn errors_name_what_is_wrong() -> Result<()> {
    let vb = || init::seeded(&VarMap::new(), 1, DType::F32, CPU);
    let fails = |result: Result<()>, text: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error} has no {text}");
    };
    let none = UnivariateConfig {
        components: 0,
        ..Default::default()
    };
    fails(
        univariate(&none, vb()).map(drop),
        "flow::univariate: components",
    );
    let flow = univariate(
        &UnivariateConfig {
            context: 2,
            ..Default::default()
        },
        vb(),
    )?;
    let x = Tensor::zeros(3, DType::F32, CPU)?;
    fails(flow.inverse(&x).map(drop), "call `given` first");
    fails(flow.given(&x).map(drop), "Univariate::given: context");
    let context = Tensor::zeros((2, 2), DType::F32, CPU)?;
    fails(flow.given(&context)?.inverse(&x).map(drop), "context");
    let flow = univariate(&UnivariateConfig::default(), vb())?;
    fails(
        flow.inverse(&x.to_dtype(DType::F64)?).map(drop),
        "Univariate::inverse: x",
    );
    let none = NiceConfig {
        layers: 0,
        ..Default::default()
    };
    fails(nice(&none, vb()).map(drop), "flow::nice: layers");
    let flow = nice(&NiceConfig::default(), vb())?;
    fails(flow.transform(&x).map(drop), "VectorFlow::transform: x");
    fails(flow.given(&x).map(drop), "VectorFlow::given: context");
    Ok(())
}
