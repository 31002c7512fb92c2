//! Whatever the shapes and numbers, the public API returns a value that keeps the shape law or an error that names the
//! argument; it does not panic. Each property runs on 2000 random cases.

use approx::assert_relative_eq;
use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::{
    Bernoulli, Categorical, Dirichlet, Distribution, Gamma, LogisticNormal, MultivariateNormalDiag,
    Normal,
};
use candle_prob::{Result, Rng, special};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..4, 0..4)
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -5.0..5.0,
        Just(0.),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::NAN),
        Just(1e-300),
        Just(1e300),
        Just(-1e4),
    ]
}

/// A tensor of this shape whose elements repeat the numbers.
fn tensor(shape: &[usize], numbers: &[f64], dtype: DType) -> Result<Tensor> {
    let len = shape.iter().product();
    let data: Vec<f64> = numbers.iter().copied().cycle().take(len).collect();
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

fn keeps_the_shape_law(d: &dyn Distribution, value: &Tensor, seed: u64) -> Result<()> {
    let (batch, event) = (d.batch_shape(), d.event_shape());
    // A sampler may refuse parameters that it reads (a row of classes without any possible one).
    if let Ok(x) = d.sample(&[2], &mut Rng::new(seed)) {
        assert_eq!(x.dims(), [&[2], batch, event].concat());
        let log_prob = d.log_prob(&x)?;
        assert_eq!(log_prob.dims(), [&[2], batch].concat());
    }
    if let Ok(log_prob) = d.log_prob(value) {
        let split = value.rank() - event.len();
        assert_eq!(&value.dims()[split..], event, "event dims never broadcast");
        assert_eq!(log_prob.rank(), split.max(batch.len()));
    }
    Ok(())
}

/// The same cases in every run: a new failure is a change of the code.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn families_return_a_value_or_an_error(
        a in shape(),
        b in shape(),
        c in shape(),
        numbers in prop::collection::vec(number(), 1..6),
        double in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let dtype = if double { DType::F64 } else { DType::F32 };
        let run = || -> Result<()> {
            let (a, b) = (tensor(&a, &numbers, dtype)?, tensor(&b, &numbers, dtype)?);
            let value = tensor(&c, &numbers, dtype)?;
            let built: [Result<Box<dyn Distribution>>; 7] = [
                Normal::new(&a, &b).map(|d| Box::new(d) as _),
                MultivariateNormalDiag::from_log_var(&a, &b).map(|d| Box::new(d) as _),
                LogisticNormal::new(&a, &b).map(|d| Box::new(d) as _),
                Gamma::new(&a, &b).map(|d| Box::new(d) as _),
                Dirichlet::new(&a).map(|d| Box::new(d) as _),
                Bernoulli::new(&a).map(|d| Box::new(d) as _),
                Categorical::new(&a).map(|d| Box::new(d) as _),
            ];
            for d in built.into_iter().flatten() {
                keeps_the_shape_law(d.as_ref(), &value, seed)?;
            }
            Ok(())
        };
        prop_assert!(run().is_ok(), "{:?}", run());
    }

    #[test]
    fn normals_scale_and_shift(loc in -1e3..1e3f64, scale in 1e-3..1e3f64, seed in any::<u64>()) {
        let run = || -> Result<(f64, f64)> {
            let t = |x: f64| Tensor::new(x, &Device::Cpu);
            let x = Normal::new(&t(loc)?, &t(scale)?)?.sample(&[], &mut Rng::new(seed))?;
            let eps = Normal::new(&t(0.)?, &t(1.)?)?.sample(&[], &mut Rng::new(seed))?;
            Ok((x.to_scalar()?, loc + scale * eps.to_scalar::<f64>()?))
        };
        let (got, want) = run().map_err(|e| TestCaseError::fail(e.to_string()))?;
        assert_relative_eq!(got, want, max_relative = 1e-12, epsilon = 1e-9);
    }

    #[test]
    fn softmax_adds_up_to_one(numbers in prop::collection::vec(-1e4..1e4f64, 1..50)) {
        let run = || -> Result<(f64, f64)> {
            let x = Tensor::new(numbers.as_slice(), &Device::Cpu)?;
            let total = special::softmax(&x, 0)?.sum_all()?.to_scalar()?;
            let single = special::softmax(&x.to_dtype(DType::F32)?, 0)?;
            Ok((total, f64::from(single.sum_all()?.to_scalar::<f32>()?)))
        };
        let (double, single) = run().map_err(|e| TestCaseError::fail(e.to_string()))?;
        assert_relative_eq!(double, 1., epsilon = 1e-12);
        assert_relative_eq!(single, 1., epsilon = 1e-5);
    }
}
