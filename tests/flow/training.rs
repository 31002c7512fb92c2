//! Flows that train and are saved: no loss that is not finite, and files that hold the whole model.

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::{ActNorm, Axis, Bijector, Sequence};
use candle_prob::distribution::{Distribution, Normal};
use candle_prob::flow::*;
use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Optimizer};
use candle_prob::{Result, Rng, init};

const CPU: &Device = &Device::Cpu;

fn log_prob(flow: &dyn Bijector, x: &Tensor) -> Result<Tensor> {
    let zeros = Tensor::zeros(x.dim(1)?, x.dtype(), CPU)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    base.transformed_by(flow)?.log_prob(x)
}

/// Rows that are skewed and depend on each other.
fn skewed(n: usize, features: usize, spread: f64, rng: &mut Rng) -> Result<Tensor> {
    let z = rng.normal((n, features), DType::F32, CPU)?;
    let common = rng.normal((n, 1), DType::F32, CPU)?;
    let together = (z.broadcast_add(&common)? * spread)?;
    Ok((together.exp()?.broadcast_add(&common)? - 1.)?)
}

/// 32 affine couplings in 19 dims, trained by Adam at 1e-3; the mean losses of the first and of the last 100 steps.
fn deep(steps: usize, spread: f64) -> Result<(VectorFlow, f32, f32)> {
    let config = RealNvpConfig {
        features: 19,
        layers: 32,
        hidden: vec![16],
        ..Default::default()
    };
    let vars = VarMap::new();
    let flow = real_nvp(&config, init::seeded(&vars, 1, DType::F32, CPU))?;
    let lr = 1e-3;
    let mut adam = Adam::new(
        &vars,
        &AdamConfig {
            lr,
            ..Default::default()
        },
    )?;
    let mut rng = Rng::new(2);
    let (mut first, mut last) = (0., 0.);
    for step in 0..steps {
        let x = skewed(32, 19, spread, &mut rng)?;
        let loss = log_prob(&flow, &x)?.mean_all()?.neg()?;
        let value = loss.to_scalar::<f32>()?;
        assert!(value.is_finite(), "step {step}: {value}");
        first += if step < 100 { value / 100. } else { 0. };
        last += if step + 100 >= steps {
            value / 100.
        } else {
            0.
        };
        adam.backward_step(&loss)?;
    }
    Ok((flow, first, last))
}

/// Outliers of several hundred: without a bound of the log-scales the loss is infinite after 24 steps.
#[test]
fn outliers_do_not_overflow() -> Result<()> {
    deep(300, 1.)?;
    Ok(())
}

/// What overflowed elsewhere.
#[test]
fn deep_couplings_stay_finite() -> Result<()> {
    let (flow, first, last) = deep(2000, 0.5)?;
    assert!(last < first - 5., "from {first} to {last}");
    let x = skewed(1000, 19, 0.5, &mut Rng::new(4))?;
    let (z, log_det) = flow.inverse_and_log_det(&x)?;
    let (back, opposite) = flow.transform_and_log_det(&z)?;
    let scale = x.abs()?.maximum(1.)?;
    for (gap, what) in [
        (((back - &x)? / scale)?, "round trip"),
        ((log_det + opposite)?, "log-det"),
    ] {
        let gap = gap.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap <= 1e-3, "{what}: {gap}");
    }
    Ok(())
}

/// Batches without a row pass in every dtype, and half precision gives values and log-dets as near as its digits allow.
#[test]
fn no_rows_and_half_precision() -> Result<()> {
    for (name, build) in FLOWS {
        let vars = VarMap::new();
        build(init::seeded(&vars, 1, DType::F64, CPU))?;
        let mut rng = Rng::new(6);
        let mut weights = std::collections::HashMap::new();
        for (weight, var) in init::named_vars(&vars)? {
            // Numbers that all dtypes hold.
            let drawn = (rng.normal(var.shape(), DType::F64, CPU)? * 0.1)?;
            let short = drawn.to_dtype(DType::BF16)?.to_dtype(DType::F64)?;
            weights.insert(weight, short);
        }
        let x = rng.normal((6, 5), DType::F64, CPU)?;
        let x = x.to_dtype(DType::BF16)?.to_dtype(DType::F64)?;
        let run = |dtype: DType, rows: &[usize], inverse: bool| -> Result<Vec<Tensor>> {
            let cast = |(name, w): (&String, &Tensor)| Ok((name.clone(), w.to_dtype(dtype)?));
            let tensors = weights.iter().map(cast).collect::<Result<_>>()?;
            let flow = build(VarBuilder::from_tensors(tensors, dtype, CPU))?;
            let count: usize = rows.iter().product();
            let x = x.narrow(0, 0, count)?.reshape([rows, &[5]].concat())?;
            let x = candle_core::Var::from_tensor(&x.to_dtype(dtype)?)?;
            let (y, log_det) = match inverse {
                false => flow.transform_and_log_det(&x)?,
                true => flow.inverse_and_log_det(&x)?,
            };
            let gradients = (y.sum_all()? + log_det.sum_all()?)?.backward()?;
            let slope = gradients.get(&x).map(|slope| slope.to_dtype(DType::F64));
            let slope = slope.transpose()?.unwrap_or(x.to_dtype(DType::F64)?);
            let total = slope.abs()?.sum_all()?.to_scalar::<f64>()?;
            assert!(total.is_finite(), "{name} {dtype:?}: {total}");
            assert_eq!((y.dims(), slope.dims()), (x.dims(), x.dims()), "{name}");
            Ok(vec![y.detach(), log_det.detach()])
        };
        for inverse in [false, true] {
            let exact = run(DType::F64, &[6], inverse)?;
            for (dtype, unit) in [
                (DType::F64, 1e-15),
                (DType::F32, 6e-8),
                (DType::F16, 5e-4),
                (DType::BF16, 4e-3),
            ] {
                for rows in [&[0][..], &[2, 0]] {
                    run(dtype, rows, inverse)?;
                }
                for (i, (got, want)) in run(dtype, &[6], inverse)?.iter().zip(&exact).enumerate() {
                    let gap = (got.to_dtype(DType::F64)? - want)?.abs()?;
                    let size = want.abs()?.max_all()?.to_scalar::<f64>()?.max(1.);
                    let gap = gap.max_all()?.to_scalar::<f64>()? / size;
                    assert!(gap <= 40. * unit, "{name} {dtype:?} {inverse} {i}: {gap}");
                }
            }
        }
    }
    Ok(())
}

type Build = fn(VarBuilder) -> Result<Box<dyn Bijector>>;

/// Under a name, each flow with an odd number of features and a context of none.
const FLOWS: [(&str, Build); 7] = [
    ("real_nvp", |vb| {
        let config = RealNvpConfig {
            features: 5,
            layers: 3,
            ..Default::default()
        };
        Ok(Box::new(real_nvp(&config, vb)?))
    }),
    ("nice", |vb| {
        let config = NiceConfig {
            features: 5,
            ..Default::default()
        };
        Ok(Box::new(nice(&config, vb)?))
    }),
    ("univariate", |vb| {
        Ok(Box::new(univariate(&UnivariateConfig::default(), vb)?))
    }),
    ("neural_spline", |vb| {
        Ok(Box::new(neural_spline(&splines(), vb)?))
    }),
    ("autoregressive_spline", |vb| {
        Ok(Box::new(autoregressive_spline(&splines(), vb)?))
    }),
    ("maf", |vb| Ok(Box::new(maf(&affine(), vb)?))),
    ("iaf", |vb| Ok(Box::new(iaf(&affine(), vb)?))),
];

fn splines() -> NeuralSplineConfig {
    NeuralSplineConfig {
        features: 5,
        layers: 3,
        ..Default::default()
    }
}

fn affine() -> MafConfig {
    MafConfig {
        features: 5,
        layers: 3,
        ..Default::default()
    }
}

/// What comes of a draw does not depend on those beside it but for the rounding of matrix products.
#[test]
fn draws_in_chunks_are_the_same_draws() -> Result<()> {
    let zeros = Tensor::zeros(5, DType::F32, CPU)?;
    for (name, build) in FLOWS {
        let vars = VarMap::new();
        let flow = build(init::seeded(&vars, 1, DType::F32, CPU))?;
        let mut rng = Rng::new(6);
        for (_, var) in init::named_vars(&vars)? {
            var.set(&(rng.normal(var.shape(), DType::F32, CPU)? * 0.2)?)?;
        }
        let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
        let model = base.transformed_by(flow)?;
        let whole = model.sample(&[1000], &mut Rng::new(7))?;
        for chunk in [1000, 2000, 333, 64] {
            let parts = model.sample_chunked(1000, chunk, &mut Rng::new(7))?;
            let scale = whole.abs()?.maximum(1.)?;
            let gap = ((parts.clone() - &whole)? / scale)?.abs()?;
            let gap = gap.max_all()?.to_scalar::<f32>()?;
            assert!(gap <= 1e-4, "{name} in chunks of {chunk}: {gap}");
            assert!(!parts.track_op());
        }
        assert_eq!(model.sample_chunked(0, 5, &mut Rng::new(7))?.dims(), [0, 5]);
        assert!(model.sample_chunked(5, 0, &mut Rng::new(7)).is_err());
    }
    Ok(())
}

/// Trained a little, saved, loaded into a flow that started elsewhere: the same bits. Files with other names are refused.
#[test]
fn files_hold_the_whole_flow() -> Result<()> {
    let x = skewed(50, 5, 0.5, &mut Rng::new(3))?;
    let bits = |flow: &dyn Bijector| -> Result<Vec<u32>> {
        let log_prob = log_prob(flow, &x)?.to_vec1::<f32>()?;
        Ok(log_prob.into_iter().map(f32::to_bits).collect())
    };
    for (name, build) in FLOWS {
        let vars = VarMap::new();
        let flow = build(init::seeded(&vars, 1, DType::F32, CPU))?;
        let mut adam = Adam::new(&vars, &AdamConfig::default())?;
        let fresh = bits(&flow)?;
        for _ in 0..3 {
            adam.backward_step(&log_prob(&flow, &x)?.mean_all()?.neg()?)?;
        }
        let trained = bits(&flow)?;
        assert_ne!(fresh, trained, "{name}");
        let file = format!("candle-prob-{name}-{}.safetensors", std::process::id());
        let path = std::env::temp_dir().join(file);
        Checkpoint::new().vars("flow", &vars).save(&path)?;

        let others = VarMap::new();
        let other = build(init::seeded(&others, 2, DType::F32, CPU))?;
        assert_ne!(bits(&other)?, trained, "{name}");
        Checkpoint::new().vars("flow", &others).load(&path)?;
        assert_eq!(bits(&other)?, trained, "{name}");
        // As plain safetensors, for other readers.
        let tensors = candle_core::safetensors::load(&path, CPU)?;
        let plain = VarBuilder::from_tensors(tensors, DType::F32, CPU);
        assert_eq!(bits(&build(plain.pp("flow"))?)?, trained, "{name}");

        // One variable more or less than the file has.
        let more = VarMap::new();
        let vb = init::seeded(&more, 1, DType::F32, CPU);
        build(vb.clone())?;
        vb.pp("extra").get(1, "weight")?;
        let error = Checkpoint::new().vars("flow", &more).load(&path);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("flow.extra.weight"), "{error}");
        Checkpoint::new().vars("flow", &more).save(&path)?;
        let error = Checkpoint::new().vars("flow", &others).load(&path);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("flow.extra.weight"), "{error}");
        assert_eq!(bits(&other)?, trained, "{name}: unchanged after an error");
        std::fs::remove_file(&path).ok();
    }
    Ok(())
}

/// A layer that standardizes the data is fitted once, and comes back with the file.
#[test]
fn standardization_is_saved() -> Result<()> {
    let x = skewed(200, 5, 0.5, &mut Rng::new(3))?.affine(30., 700.)?;
    let build = |vars: &VarMap, seed: u64| -> Result<(Sequence, [Tensor; 2])> {
        let vb = init::seeded(vars, seed, DType::F32, CPU);
        let zeros = |name: &str| vb.get_with_hints(5, name, candle_nn::Init::Const(0.));
        let scale = [zeros("loc")?, zeros("log_scale")?];
        let norm = ActNorm::new(&scale[0], &scale[1], Axis::Feature)?;
        let config = RealNvpConfig {
            features: 5,
            layers: 2,
            ..Default::default()
        };
        let flow = real_nvp(&config, vb.pp("flow"))?;
        Ok((Sequence::new(vec![Box::new(flow), Box::new(norm)]), scale))
    };
    let vars = VarMap::new();
    let (flow, scale) = build(&vars, 1)?;
    let fitted = ActNorm::from_data(&x, Axis::Feature)?;
    for (variable, value) in scale.iter().zip([fitted.loc(), fitted.log_scale()]) {
        candle_core::Var::from_tensor(variable)?.set(value)?;
    }
    // A fresh flow passes the data on as they come out of the layer.
    let z = flow.inverse(&x)?;
    for (got, want) in [(z.mean(0)?, 0f32), (z.sqr()?.mean(0)?, 1.)] {
        let gap = (got - f64::from(want))?
            .abs()?
            .max_all()?
            .to_scalar::<f32>()?;
        assert!(gap < 1e-3, "{gap}");
    }
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    for _ in 0..3 {
        adam.backward_step(&log_prob(&flow, &x)?.mean_all()?.neg()?)?;
    }
    let file = format!("candle-prob-standard-{}.safetensors", std::process::id());
    let path = std::env::temp_dir().join(file);
    Checkpoint::new().vars("flow", &vars).save(&path)?;
    let others = VarMap::new();
    let (other, _) = build(&others, 2)?;
    Checkpoint::new().vars("flow", &others).load(&path)?;
    std::fs::remove_file(&path).ok();
    let bits = |flow: &Sequence| -> Result<Vec<u32>> {
        let log_prob = log_prob(flow, &x)?.to_vec1::<f32>()?;
        Ok(log_prob.into_iter().map(f32::to_bits).collect())
    };
    assert_eq!(bits(&other)?, bits(&flow)?);
    Ok(())
}
