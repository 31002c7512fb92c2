//! Spectral norms: against singular values, reference sequences and central differences; what is written and when.

use crate::support::{differences, floats, golden};
use candle_core::{DType, Device, Module, ModuleT, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::init::{named_vars, seeded};
use candle_prob::net::{
    Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Dense, SpectralConstraint,
    SpectralNorm, SpectralNormConfig, conv_transpose2d, conv2d, dense, spectral_norm,
};
use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Optimizer, clip_weights};
use candle_prob::{Activation, Error, Result, Rng};
use std::collections::BTreeMap;

const CPU: &Device = &Device::Cpu;

fn builder(vars: &VarMap, dtype: DType) -> VarBuilder<'static> {
    seeded(vars, 5, dtype, CPU)
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar()?)
}

/// The largest singular value of a matrix by rows, by cyclic Jacobi rotations of its rows: nothing of the crate's.
fn largest_singular_value(mut rows: Vec<Vec<f64>>) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..30 {
        for j in 1..rows.len() {
            for i in 0..j {
                let (a, b) = (dot(&rows[i], &rows[i]), dot(&rows[j], &rows[j]));
                let c = dot(&rows[i], &rows[j]);
                if c.abs() <= 1e-15 * (a * b).sqrt() {
                    continue;
                }
                let z = (b - a) / (2. * c);
                let t = z.signum() / (z.abs() + z.hypot(1.));
                let (cos, sin) = (1. / t.hypot(1.), t / t.hypot(1.));
                let (head, tail) = rows.split_at_mut(j);
                for (x, y) in head[i].iter_mut().zip(&mut tail[0]) {
                    (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
                }
            }
        }
    }
    rows.iter().map(|r| dot(r, r).sqrt()).fold(0., f64::max)
}

fn rows(matrix: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(matrix.to_dtype(DType::F64)?.to_vec2()?)
}

/// A layer without bias and activation as a matrix, column by column of images of `dims`.
fn unrolled(layer: &dyn Module, dims: [usize; 3], dtype: DType) -> Result<Vec<Vec<f64>>> {
    let size = dims.iter().product();
    let basis = Tensor::eye(size, dtype, CPU)?.reshape((size, dims[0], dims[1], dims[2]))?;
    rows(&layer.forward(&basis)?.flatten_from(1)?)
}

#[test]
fn power_iterations_are_the_reference_s() -> Result<()> {
    let all = golden::file(include_str!("../golden/gan.json"));
    let mut count = 0;
    for case in all["spectral_norm"].as_array().unwrap() {
        let dims: Vec<usize> = serde_json::from_value(case["matrix"]["shape"].clone()).unwrap();
        let numbers: Vec<f64> = golden::list(&case["matrix"])
            .into_iter()
            .flatten()
            .collect();
        let weight = Tensor::from_vec(numbers, (dims[0], dims[1]), CPU)?;
        let vars = VarMap::new();
        let vb = builder(&vars, DType::F64);
        let layer = dense(dims[1], dims[0], Activation::Identity, vb.clone())?;
        let norm = spectral_norm(layer, &SpectralNormConfig::default(), vb)?;
        let named = named_vars(&vars)?;
        named["weight"].set(&weight)?;
        named["u"].set(&(Tensor::ones(dims[0], DType::F64, CPU)? / (dims[0] as f64).sqrt())?)?;
        let x = Tensor::ones((1, dims[1]), DType::F64, CPU)?;
        for want in golden::list(&case["power_iteration"]).into_iter().flatten() {
            norm.forward_t(&x, true)?;
            let sigma = number(&norm.sigma()?)?;
            golden::check("sigma", sigma, want, 0., DType::F64, 1e-11);
            count += 1;
        }
        let value = case["value"].as_f64().unwrap();
        norm.warm_up(400)?;
        golden::check(
            "norm",
            number(&norm.sigma()?)?,
            value,
            0.,
            DType::F64,
            1e-11,
        );
        golden::check(
            "svd",
            largest_singular_value(rows(&weight)?),
            value,
            0.,
            DType::F64,
            1e-11,
        );
    }
    assert_eq!(count, 40);
    Ok(())
}

/// What was built is within 1 % of the norm, of each layer and form, in both dtypes; a fresh matrix has no gap to speak of.
#[test]
fn after_the_warm_up_sigma_is_the_largest_singular_value() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let vars = VarMap::new();
        let vb = builder(&vars, dtype);
        let config = SpectralNormConfig::default();
        for (i, (inputs, outputs)) in [(40, 30), (3, 90), (1, 5), (7, 1)].into_iter().enumerate() {
            let vb = vb.pp(format!("dense{i}"));
            let layer = dense(inputs, outputs, Activation::Tanh, vb.clone())?;
            let want = largest_singular_value(rows(layer.weight())?);
            let norm = spectral_norm(layer, &config, vb)?;
            close(number(&norm.sigma()?)?, want, 0.01);
            let matrix = norm.effective()?;
            close(largest_singular_value(rows(matrix.weight())?), 1., 0.01);
        }
        let image = (5, 6);
        let [h, w] = [image.0, image.1];
        let on_images = SpectralNormConfig {
            image: Some(image),
            warm_up: 60,
            ..config
        };
        for (i, (kernel, stride, padding)) in [((3, 3), (1, 1), (1, 1)), ((4, 2), (2, 1), (1, 0))]
            .into_iter()
            .enumerate()
        {
            let options = Conv2dConfig {
                kernel,
                stride,
                padding,
                bias: false,
                ..Default::default()
            };
            let vb = vb.pp(format!("conv{i}"));
            let layer = conv2d(3, 4, &options, vb.clone())?;
            let want = largest_singular_value(rows(&layer.weight().flatten_from(1)?)?);
            let norm = spectral_norm(layer.clone(), &config, vb.pp("matrix"))?;
            close(number(&norm.sigma()?)?, want, 0.01);
            // No singular value of the convolution itself is above the bound.
            let own = largest_singular_value(unrolled(&norm.effective()?, [3, h, w], dtype)?);
            assert!(own > 0.5 && own <= norm.lipschitz() * 1.01, "{own}");
            let want = largest_singular_value(unrolled(&layer, [3, h, w], dtype)?);
            let norm = spectral_norm(layer, &on_images, vb.pp("images"))?;
            close(number(&norm.sigma()?)?, want, 0.01);
            assert_eq!(norm.lipschitz(), 1.);

            let options = ConvTranspose2dConfig {
                kernel,
                stride,
                padding,
                output_padding: (stride.0 - 1, 0),
                bias: false,
                ..Default::default()
            };
            let vb = vb.pp("transposed");
            let layer = conv_transpose2d(3, 4, &options, vb.clone())?;
            // Torch's matrix: the axes of the weight are (in, out, ..).
            let matrix = layer.weight().transpose(0, 1)?.flatten_from(1)?;
            let want = largest_singular_value(rows(&matrix)?);
            let norm = spectral_norm(layer.clone(), &config, vb.pp("matrix"))?;
            close(number(&norm.sigma()?)?, want, 0.01);
            let own = largest_singular_value(unrolled(&norm.effective()?, [3, h, w], dtype)?);
            assert!(own > 0.5 && own <= norm.lipschitz() * 1.01, "{own}");
            let want = largest_singular_value(unrolled(&layer, [3, h, w], dtype)?);
            let norm = spectral_norm(layer, &on_images, vb.pp("images"))?;
            close(number(&norm.sigma()?)?, want, 0.01);
        }
    }
    Ok(())
}

fn close(got: f64, want: f64, tolerance: f64) {
    assert!(
        (got - want).abs() <= tolerance * want,
        "{got} is not {want}"
    );
}

fn bits(vars: &VarMap) -> Result<BTreeMap<String, Vec<u64>>> {
    let all = named_vars(vars)?.into_iter();
    all.map(|(name, var)| Ok((name, floats(&var)?.into_iter().map(f64::to_bits).collect())))
        .collect()
}

fn example(vars: &VarMap, constraint: SpectralConstraint) -> Result<SpectralNorm<Dense>> {
    let vb = builder(vars, DType::F64);
    let config = SpectralNormConfig {
        constraint,
        warm_up: 1,
        ..Default::default()
    };
    let layer = dense(6, 4, Activation::LeakyRelu(0.2), vb.clone())?;
    spectral_norm(layer, &config, vb)
}

fn inputs(seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal((5, 6), DType::F64, CPU)
}

#[test]
fn training_writes_the_vectors_once_and_evaluation_nothing() -> Result<()> {
    let vars = VarMap::new();
    let norm = example(&vars, SpectralConstraint::Normalize)?;
    let x = inputs(1)?;
    let before = bits(&vars)?;
    let y = floats(&norm.forward_t(&x, false)?)?;
    assert_eq!(floats(&norm.forward_t(&x, false)?)?, y);
    norm.effective()?;
    norm.sigma()?;
    assert_eq!(bits(&vars)?, before);
    norm.forward_t(&x, true)?;
    let after = bits(&vars)?;
    for (name, bits) in &after {
        assert_eq!(*bits != before[name], name == "u" || name == "v", "{name}");
    }
    // One iteration: the sequence of another copy that is asked for one.
    let again = VarMap::new();
    let copy = example(&again, SpectralConstraint::Normalize)?;
    copy.warm_up(1)?;
    assert_eq!(bits(&again)?, after);
    // A pass that fails writes nothing.
    assert!(norm.forward_t(&inputs(1)?.narrow(1, 0, 5)?, true).is_err());
    assert_eq!(bits(&vars)?, after);
    Ok(())
}

#[test]
fn files_keep_the_vectors_and_optimizers_leave_them_alone() -> Result<()> {
    let (vars, x) = (VarMap::new(), inputs(1)?);
    let norm = example(&vars, SpectralConstraint::Normalize)?;
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    for seed in 2..5 {
        let loss = norm.forward_t(&inputs(seed)?, true)?.sqr()?.mean_all()?;
        let before = bits(&vars)?;
        let update = adam.backward_step(&loss)?;
        assert_eq!(update.missing, ["u", "v"]);
        let after = bits(&vars)?;
        assert!(before["u"] == after["u"] && before["weight"] != after["weight"]);
    }
    let y = floats(&norm.forward_t(&x, false)?)?;
    let path =
        std::env::temp_dir().join(format!("spectral-norm-{}.safetensors", std::process::id()));
    Checkpoint::new().vars("critic", &vars).save(&path)?;
    // Into a layer that is there.
    let other = VarMap::new();
    let loaded = example(&other, SpectralConstraint::Normalize)?;
    assert_ne!(bits(&other)?, bits(&vars)?);
    Checkpoint::new().vars("critic", &other).load(&path)?;
    assert_eq!(floats(&loaded.forward_t(&x, false)?)?, y);
    // Built on what a map or a file has: the vectors are those, and constants are for evaluation.
    let built = example(&vars, SpectralConstraint::Normalize)?;
    assert_eq!(floats(&built.forward_t(&x, false)?)?, y);
    let tensors = named_vars(&vars)?.into_iter();
    let tensors = tensors.map(|(name, var)| (name, var.as_detached_tensor()));
    let vb = VarBuilder::from_tensors(tensors.collect(), DType::F64, CPU);
    let layer = dense(6, 4, Activation::LeakyRelu(0.2), vb.clone())?;
    let fixed = spectral_norm(layer, &SpectralNormConfig::default(), vb)?;
    assert_eq!(floats(&fixed.forward_t(&x, false)?)?, y);
    assert!(fixed.forward_t(&x, true).is_err());
    assert!(matches!(fixed.project(), Err(Error::Value { .. })));
    std::fs::remove_file(path).unwrap();
    Ok(())
}

/// The gradient through sigma, with the vectors held fixed.
#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let image = Some((5, 4));
    for image in [None, image] {
        let config = SpectralNormConfig {
            image,
            ..Default::default()
        };
        let options = Conv2dConfig {
            stride: (2, 1),
            activation: Activation::Tanh,
            ..Default::default()
        };
        let vars = VarMap::new();
        let vb = builder(&vars, DType::F64);
        let norm = spectral_norm(conv2d(2, 3, &options, vb.clone())?, &config, vb)?;
        let named = named_vars(&vars)?;
        let x = Rng::new(2).normal((2, 2, 5, 4), DType::F64, CPU)?;
        differences(&named["weight"], 1e-7, &pass(&norm, &x))?;
        differences(&named["bias"], 1e-7, &pass(&norm, &x))?;
        let options = ConvTranspose2dConfig {
            activation: Activation::Silu,
            ..Default::default()
        };
        let vb = vb_of(&vars, "transposed");
        let norm = spectral_norm(conv_transpose2d(2, 3, &options, vb.clone())?, &config, vb)?;
        let named = named_vars(&vars)?;
        differences(&named["transposed.weight"], 1e-7, &pass(&norm, &x))?;
    }
    let vars = VarMap::new();
    let norm = example(&vars, SpectralConstraint::Normalize)?;
    let (named, x) = (named_vars(&vars)?, inputs(3)?);
    differences(&named["weight"], 1e-7, &pass(&norm, &x))
}

fn pass<'a>(layer: &'a dyn ModuleT, x: &'a Tensor) -> impl Fn() -> Result<Tensor> + 'a {
    move || Ok(layer.forward_t(x, false)?)
}

fn vb_of(vars: &VarMap, path: &str) -> VarBuilder<'static> {
    builder(vars, DType::F64).pp(path)
}

/// What has no direction, and what is too large or too small to be squared.
#[test]
fn matrices_of_zeros_and_extreme_numbers_keep_their_gradients() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for scale in [0., 1e-30, 1., 1e30] {
            let vars = VarMap::new();
            let vb = builder(&vars, dtype);
            let layer = dense(3, 2, Activation::Identity, vb.clone())?;
            let named = named_vars(&vars)?;
            named["weight"].set(&(named["weight"].ones_like()? * scale)?)?;
            let norm = spectral_norm(layer, &SpectralNormConfig::default(), vb)?;
            let x = Tensor::new(&[[1f64, 2., -1.]], CPU)?.to_dtype(dtype)?;
            for train in [false, true] {
                let y = (norm.forward_t(&x, train)? - &named_vars(&vars)?["bias"].unsqueeze(0)?)?;
                let want = if scale == 0. { 0. } else { 2. / 6f64.sqrt() };
                assert!(
                    floats(&y)?.iter().all(|y| (y - want).abs() < 1e-6),
                    "{scale}"
                );
                let store = y.narrow(1, 0, 1)?.sum_all()?.backward()?;
                let g = store
                    .get(&named_vars(&vars)?["weight"])
                    .map(floats)
                    .transpose()?;
                // (G - <G, W / sigma> u v^T) / sigma, and G where there is nothing to divide by.
                let (sigma, share) = match scale {
                    0. => (1., 0.),
                    s => (s * 6f64.sqrt(), want / 6f64.sqrt()),
                };
                let want = [1., 2., -1., 0., 0., 0.].iter().enumerate();
                let want = want.map(|(i, x)| (if i < 3 { *x } else { 0. } - share) / sigma);
                for (g, want) in g.expect("a gradient").into_iter().zip(want) {
                    assert!(
                        (g - want).abs() <= 1e-6 / sigma,
                        "{scale}: {g} is not {want}"
                    );
                }
            }
            // Vectors that found no direction are still some, and find one when there is.
            named_vars(&vars)?["weight"]
                .set(&Tensor::eye(3, dtype, CPU)?.narrow(0, 0, 2)?.contiguous()?)?;
            norm.forward_t(&x, true)?;
            assert!((number(&norm.sigma()?)? - 1.).abs() < 1e-6, "{scale}");
            // Weights that are no numbers spoil the pass and not the vectors.
            let nan = (named["weight"].ones_like()? * f64::NAN)?;
            let named = named_vars(&vars)?;
            named["weight"].set(&nan)?;
            norm.forward_t(&x, true)?;
            assert!(
                floats(&named["u"])?
                    .iter()
                    .chain(&floats(&named["v"])?)
                    .all(|x| x.is_finite())
            );
        }
    }
    Ok(())
}

/// Sums of thousands of terms in half precision are off by percents; the weights themselves have 8 bits or 11.
#[test]
fn in_half_precision_the_norm_is_one_too() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let config = SpectralNormConfig {
            warm_up: 200,
            ..Default::default()
        };
        let single = |weight: &Tensor| weight.to_dtype(DType::F64);
        let vars = VarMap::new();
        let vb = builder(&vars, dtype);
        let layer = dense(400, 30, Activation::Identity, vb.clone())?;
        let norm = spectral_norm(layer, &config, vb.clone())?;
        assert_eq!(norm.effective()?.weight().dtype(), dtype);
        assert_eq!(norm.sigma()?.dtype(), DType::F32);
        let own = |norm: &SpectralNorm<Dense>| -> Result<f64> {
            Ok(largest_singular_value(rows(norm.effective()?.weight())?))
        };
        close(own(&norm)?, 1., 3e-3);
        let x = Rng::new(1)
            .normal((2, 400), DType::F32, CPU)?
            .to_dtype(dtype)?;
        let y = norm.forward_t(&x, true)?;
        assert_eq!(y.dtype(), dtype);
        let gradients = y.sum_all()?.backward()?;
        let slope = gradients
            .get(norm.layer().weight())
            .map(floats)
            .transpose()?;
        assert!(slope.is_some_and(|g| g.iter().all(|g| g.is_finite())));
        let held = SpectralNormConfig {
            constraint: SpectralConstraint::Project,
            ..config
        };
        let norm = spectral_norm(norm.layer().clone(), &held, vb.pp("held"))?;
        let weight = &named_vars(&vars)?["weight"];
        weight.set(&(weight.as_tensor() * 3.)?)?;
        assert!(norm.project()? > 1.);
        close(own(&norm)?, 1., 3e-3);

        let on_images = SpectralNormConfig {
            image: Some((3, 4)),
            ..config
        };
        let options = Conv2dConfig::default();
        let layer = conv2d(4, 3, &options, vb.pp("conv"))?;
        let norm = spectral_norm(layer, &on_images, vb.pp("conv"))?;
        let wide = Conv2d::new(single(norm.effective()?.weight())?, None, &options)?;
        close(
            largest_singular_value(unrolled(&wide, [4, 3, 4], DType::F64)?),
            1.,
            3e-3,
        );
        let options = ConvTranspose2dConfig::default();
        let layer = conv_transpose2d(4, 3, &options, vb.pp("transposed"))?;
        let norm = spectral_norm(layer, &on_images, vb.pp("transposed"))?;
        let wide = ConvTranspose2d::new(single(norm.effective()?.weight())?, None, &options)?;
        close(
            largest_singular_value(unrolled(&wide, [4, 3, 4], DType::F64)?),
            1.,
            3e-3,
        );
    }
    Ok(())
}

#[test]
fn what_has_no_finite_norm_is_not_projected_to_something() -> Result<()> {
    for number in [1e308, f64::INFINITY, f64::NAN] {
        for constraint in [SpectralConstraint::Project, SpectralConstraint::Normalize] {
            let vars = VarMap::new();
            let norm = example(&vars, constraint)?;
            named_vars(&vars)?["weight"].set(&Tensor::full(number, (4, 6), CPU)?)?;
            // Along the direction in which all add up.
            let named = named_vars(&vars)?;
            for name in ["u", "v"] {
                let len = named[name].elem_count() as f64;
                named[name].set(&(named[name].ones_like()? / len.sqrt())?)?;
            }
            let before = bits(&vars)?;
            let text = match norm.project() {
                Err(e @ Error::Value { .. }) => e.to_string(),
                other => format!("{other:?}"),
            };
            assert!(
                text.contains("SpectralNorm::project: weight: expected"),
                "{text}"
            );
            assert_eq!(bits(&vars)?, before);
            let weight = norm.effective()?.weight().clone();
            let all_nan = floats(&weight)?.iter().all(|w| w.is_nan());
            assert_eq!(
                all_nan,
                constraint == SpectralConstraint::Normalize || number.is_nan()
            );
        }
    }
    Ok(())
}

/// After an ascent step the norm is at most 1, and weights within it are left as they are.
#[test]
fn projection_brings_the_norm_to_one() -> Result<()> {
    let vars = VarMap::new();
    let norm = example(&vars, SpectralConstraint::Project)?;
    let named = named_vars(&vars)?;
    let x = inputs(1)?;
    named["weight"].set(&(named["weight"].as_tensor() * 3.)?)?;
    norm.warm_up(50)?;
    let plain = floats(&norm.layer().forward(&x)?)?;
    assert_eq!(floats(&norm.forward_t(&x, true)?)?, plain);
    let before = bits(&vars)?;
    let largest = largest_singular_value(rows(&named["weight"])?);
    let sigma = norm.project()?;
    assert!(sigma > 1.);
    close(sigma, largest, 1e-6);
    close(largest_singular_value(rows(&named["weight"])?), 1., 1e-6);
    assert_eq!(bits(&vars)?["bias"], before["bias"]);
    // Within: nothing but the vectors moves.
    named["weight"].set(&(named["weight"].as_tensor() * 0.5)?)?;
    let before = bits(&vars)?;
    close(norm.project()?, 0.5, 1e-6);
    assert_eq!(bits(&vars)?["weight"], before["weight"]);
    // In training the norm stays by one iteration a step.
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    for seed in 0..30 {
        let loss = norm
            .forward_t(&inputs(seed)?, true)?
            .sqr()?
            .mean_all()?
            .neg()?;
        adam.backward_step(&loss)?;
        norm.project()?;
        let largest = largest_singular_value(rows(&named["weight"])?);
        assert!(largest <= 1.01, "{largest} in step {seed}");
    }
    Ok(())
}

#[test]
fn weights_are_clipped_and_state_is_not() -> Result<()> {
    let vars = VarMap::new();
    let norm = example(&vars, SpectralConstraint::Normalize)?;
    let before = named_vars(&vars)?;
    let (before_u, before_w) = (floats(&before["u"])?, floats(&before["weight"])?);
    let outside = |name: &str| -> Result<usize> {
        Ok(floats(&before[name])?
            .iter()
            .filter(|x| x.abs() > 0.1)
            .count())
    };
    let expected = outside("weight")? + outside("bias")?;
    assert!(outside("u")? > 0 && expected > 0);
    assert_eq!(clip_weights(&vars, 0.1)?, expected);
    for (was, is) in before_w.iter().zip(floats(norm.layer().weight())?) {
        assert_eq!(is, was.clamp(-0.1, 0.1));
    }
    assert_eq!(floats(&before["u"])?, before_u);
    assert_eq!(clip_weights(&vars, 0.1)?, 0);
    let weight = &before["weight"];
    let nan = Tensor::from_vec(vec![f64::NAN; 24], (4, 6), CPU)?;
    weight.set(&nan)?;
    assert_eq!(clip_weights(&vars, 0.1)?, 0);
    assert!(floats(weight)?.iter().all(|x| x.is_nan()));
    for limit in [0., -1., f64::NAN, f64::INFINITY] {
        assert!(matches!(
            clip_weights(&vars, limit),
            Err(Error::Value { .. })
        ));
    }
    assert!(matches!(
        clip_weights(&VarMap::new(), 1.),
        Err(Error::Value { .. })
    ));
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let vars = VarMap::new();
    let vb = builder(&vars, DType::F32);
    let layer = dense(3, 2, Activation::Relu, vb.pp("a"))?;
    let config = SpectralNormConfig::default();
    let image = Some((4, 4));
    let wrong = [
        SpectralNormConfig {
            iterations: 0,
            ..config
        },
        SpectralNormConfig {
            warm_up: 0,
            ..config
        },
        SpectralNormConfig { image, ..config },
    ];
    for config in &wrong {
        let refused = spectral_norm(layer.clone(), config, vb.pp("b"));
        assert!(matches!(refused, Err(Error::Value { .. })));
    }
    let options = Conv2dConfig {
        padding: (2, 2),
        ..Default::default()
    };
    let layer = conv2d(1, 2, &options, vb.pp("c"))?;
    // Padding alone is no image.
    let options = ConvTranspose2dConfig::default();
    let up = conv_transpose2d(1, 2, &options, vb.pp("up"))?;
    let large = 1 << 31;
    for image in [(0, 4), (4, 0), (large, 4), (large, large), (usize::MAX, 1)] {
        let config = SpectralNormConfig {
            image: Some(image),
            ..config
        };
        let said = [
            spectral_norm(layer.clone(), &config, vb.pp("d")).map(|_| ()),
            spectral_norm(up.clone(), &config, vb.pp("d")).map(|_| ()),
        ];
        for said in said {
            let text = said.map_or_else(|e| e.to_string(), |_| "accepted".into());
            assert!(text.starts_with("spectral_norm: image: expected"), "{text}");
        }
    }
    // Vectors of another dtype would be found out in the first pass.
    let double = dense(3, 2, Activation::Relu, builder(&VarMap::new(), DType::F64))?;
    let refused = spectral_norm(double, &SpectralNormConfig::default(), vb.pp("d"));
    assert!(matches!(refused, Err(Error::DType { arg: "layer", .. })));
    assert!(
        named_vars(&vars)?
            .keys()
            .all(|name| !name.starts_with("d."))
    );
    Ok(())
}

/// The steepest slope is the number that is told, and no more.
#[test]
fn activations_are_as_steep_as_they_say() -> Result<()> {
    assert!(Activation::LeakyRelu(f64::NAN).lipschitz().is_nan());
    let x = Tensor::arange(-60_000f64, 60_000., CPU)?.affine(1e-4, 0.)?;
    let var = candle_core::Var::from_tensor(&x)?;
    for f in [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::LeakyRelu(-1.5),
        Activation::Elu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Silu,
        Activation::Gelu,
    ] {
        let store = f.forward(&var)?.sum_all()?.backward()?;
        let steepest = floats(store.get(&var).expect("a gradient"))?;
        let steepest = steepest.into_iter().fold(0f64, |a, b| a.max(b.abs()));
        // At 6 a softplus is within 0.0025 of its slope.
        let (told, error) = (
            f.lipschitz(),
            if f == Activation::Softplus {
                3e-3
            } else {
                1e-8
            },
        );
        assert!(
            steepest <= told + 1e-12 && steepest >= told - error,
            "{f:?} {steepest}"
        );
    }
    Ok(())
}
