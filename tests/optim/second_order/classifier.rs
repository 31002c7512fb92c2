//! Newton's method on the classifier.

use super::tensor;
use crate::support::{flat, golden};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::objective::ClassificationLoss::{self, Logistic, Softmax, Squared};
use candle_prob::objective::regularization::{Quadratic, WeightDecay};
use candle_prob::optim::{Classifier, NewtonConfig, NewtonStop, PcgConfig};
use candle_prob::{Error, Result, Rng, init};

fn classifier(n: usize, k: usize, loss: ClassificationLoss, dtype: DType) -> Result<Classifier> {
    let vb = init::seeded(&VarMap::new(), 0, dtype, &Device::Cpu);
    Classifier::new(n, k, loss, vb)
}

fn exact(max_steps: usize) -> NewtonConfig {
    NewtonConfig {
        max_steps,
        tolerance: 1e-12,
        pcg: PcgConfig {
            max_steps: 100,
            tolerance: 1e-10,
        },
        ..NewtonConfig::default()
    }
}

/// Fisher's irises, and the optima that another solver has found.
fn irises() -> (Tensor, Tensor, serde_json::Value) {
    let file = golden::file(include_str!("../../golden/classification.json"));
    let x: Vec<f64> = golden::list(&file["x"]).into_iter().flatten().collect();
    let classes = golden::list(&file["classes"]).into_iter().flatten();
    let classes: Vec<u32> = classes.map(|c| c as u32).collect();
    let classes = Tensor::new(classes, &Device::Cpu).unwrap();
    (tensor(x, &[150, 4]), classes, file["cases"].clone())
}

#[test]
fn optima_are_those_of_another_solver() -> Result<()> {
    let (x, classes, cases) = irises();
    for (name, loss) in [
        ("softmax", Softmax),
        ("softmax_weak", Softmax),
        ("logistic", Logistic),
    ] {
        let case = &cases[name];
        let penalty = WeightDecay {
            alpha: case["alpha"].as_f64().unwrap(),
        };
        let found = classifier(4, 3, loss, DType::F64)?;
        let report = found.fit(&x, &classes, Some(&penalty), &exact(50))?;
        assert!(report.last_gradient() < 1e-10, "{name}: {report:?}");
        let value = case["value"].as_f64().unwrap();
        assert!((report.last_value() - value).abs() < 1e-12);
        // The bias of a softmax is determined up to a constant; from 0 its mean stays 0.
        for (var, want) in [(found.weight(), "weight"), (found.bias(), "bias")] {
            let want = golden::list(&case[want]).into_iter().flatten();
            for (found, want) in flat(var).iter().zip(want) {
                let close = (found - want).abs() <= 1e-8 * want.abs().max(1.);
                assert!(close, "{name}: {found} is not {want}");
            }
        }
        // In single precision, to what rounding leaves; steps end where nothing decreases or by the tolerance.
        let single = classifier(4, 3, loss, DType::F32)?;
        let x = x.to_dtype(DType::F32)?;
        let report = single.fit(&x, &classes, Some(&penalty), &exact(50))?;
        assert!(
            (report.last_value() - value).abs() < 2e-6,
            "{name}: {report:?}"
        );
        assert_ne!(report.stop, NewtonStop::MaxSteps);
    }
    Ok(())
}

#[test]
fn objectives_fall_and_gradients_fall_quadratically() -> Result<()> {
    let (x, classes, _) = irises();
    let penalty = WeightDecay { alpha: 0.01 };
    let found = classifier(4, 3, Softmax, DType::F64)?;
    let report = found.fit(&x, &classes, Some(&penalty), &exact(50))?;
    assert_eq!(report.stop, NewtonStop::Converged, "{report:#?}");
    let mut values = vec![report.value];
    values.extend(report.steps.iter().map(|step| step.value));
    assert!(
        values.windows(2).all(|pair| pair[1] < pair[0] + 1e-14),
        "{values:?}"
    );
    // ln |g'| against ln |g| near the optimum has slope 2.
    let gradients: Vec<f64> = report.steps.iter().map(|step| step.gradient).collect();
    let near: Vec<(f64, f64)> = gradients
        .windows(2)
        .filter(|pair| pair[0] < 1e-1 && pair[1] > 1e-13)
        .map(|pair| (pair[0].ln(), pair[1].ln()))
        .collect();
    assert!(near.len() >= 2, "{gradients:?}");
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| near.iter().map(f).sum::<f64>() / near.len() as f64;
    let (mx, my) = (mean(&|p| p.0), mean(&|p| p.1));
    let slope = mean(&|p| (p.0 - mx) * (p.1 - my)) / mean(&|p| (p.0 - mx).powi(2));
    assert!((1.7..2.5).contains(&slope), "{slope}: {gradients:?}");
    // The paper's few inexact steps decrease it as well.
    let few = classifier(4, 3, Softmax, DType::F64)?;
    let config = NewtonConfig {
        max_steps: 2,
        pcg: PcgConfig {
            max_steps: 2,
            tolerance: 0.,
        },
        ..NewtonConfig::default()
    };
    let report = few.fit(&x, &classes, None, &config)?;
    assert!(report.last_value() < 0.8 * report.value, "{report:?}");
    assert_eq!(report.steps.len(), 2);
    Ok(())
}

#[test]
fn least_squares_take_one_step() -> Result<()> {
    let mut rng = Rng::new(4);
    let x = rng.normal((40, 3), DType::F64, &Device::Cpu)?;
    let weight = tensor(vec![1., -2., 0.5, 0., 3., 1.], &[2, 3]);
    let rows = x
        .matmul(&weight.t()?)?
        .broadcast_add(&tensor(vec![0.5, -1.], &[2]))?;
    let found = classifier(3, 2, Squared, DType::F64)?;
    let report = found.fit(&x, &rows, None, &exact(5))?;
    assert_eq!(
        (report.steps.len(), report.stop),
        (1, NewtonStop::Converged)
    );
    for (found, want) in flat(found.weight()).iter().zip(flat(&weight)) {
        assert!((found - want).abs() < 1e-9);
    }
    assert!(
        flat(&(found.forward(&x)? - rows)?)
            .iter()
            .all(|x| x.abs() < 1e-9)
    );
    Ok(())
}

#[test]
fn degenerate_problems_stay_finite() -> Result<()> {
    let x = tensor(vec![-2., -1., 1., 2.], &[4, 1]);
    let x = Tensor::cat(&[&x, &(&x * 2.)?, &x.zeros_like()?], 1)?; // of rank 1
    let classes = Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?;
    let finite = |found: &Classifier| {
        let numbers = [flat(found.weight()), flat(found.bias())].concat();
        numbers.iter().all(|x| x.is_finite())
    };
    for (k, loss) in [(2, Softmax), (2, Logistic), (1, Logistic), (2, Squared)] {
        for dtype in [DType::F64, DType::F32] {
            let x = x.to_dtype(dtype)?;
            // Separable, without a penalty, or with a weight of 0 on it.
            for penalty in [None, Some(WeightDecay { alpha: 0. })] {
                let found = classifier(3, k, loss, dtype)?;
                let penalty = penalty.as_ref().map(|p| p as _);
                let report = found.fit(&x, &classes, penalty, &exact(30))?;
                assert!(
                    finite(&found) && report.last_value() < report.value,
                    "{report:?}"
                );
                assert_eq!(found.predict(&x)?.to_vec1::<u32>()?, [0, 0, 1, 1]);
                assert_eq!(found.evaluate(&x, &classes)?.accuracy, 1.);
            }
        }
    }
    // All of one class; one class in all; one row; features of 0.
    let same = Tensor::zeros(4, DType::U32, &Device::Cpu)?;
    let found = classifier(3, 2, Softmax, DType::F64)?;
    found.fit(&x, &same, None, &exact(30))?;
    assert!(finite(&found));
    let found = classifier(3, 1, Softmax, DType::F64)?;
    let report = found.fit(&x, &same, None, &exact(30))?;
    assert_eq!((report.value, report.stop), (0., NewtonStop::Converged));
    assert_eq!(found.predict(&x)?.to_vec1::<u32>()?, [0; 4]);
    let found = classifier(3, 2, Softmax, DType::F64)?;
    found.fit(
        &x.narrow(0, 3, 1)?,
        &classes.narrow(0, 3, 1)?,
        None,
        &exact(30),
    )?;
    assert!(finite(&found));
    let found = classifier(3, 2, Softmax, DType::F64)?;
    let quarter = Tensor::new(&[0u32, 0, 0, 1], &Device::Cpu)?;
    found.fit(&x.zeros_like()?, &quarter, None, &exact(30))?;
    let p = flat(&found.probabilities(&x.zeros_like()?)?);
    assert!((p[0] - 0.75).abs() < 1e-9 && flat(found.weight()) == [0.; 6]);
    Ok(())
}

#[test]
fn what_cannot_be_fitted_is_refused() -> Result<()> {
    let found = classifier(3, 2, Softmax, DType::F64)?;
    let x = Tensor::ones((4, 3), DType::F64, &Device::Cpu)?;
    let classes = Tensor::new(&[0u32, 1, 0, 1], &Device::Cpu)?;
    let config = NewtonConfig::default();
    let shape = |x: &Tensor, classes: &Tensor| {
        let found = found.fit(x, classes, None, &config);
        matches!(found, Err(Error::Shape { .. }))
    };
    assert!(shape(&x.narrow(0, 0, 0)?, &classes.narrow(0, 0, 0)?));
    assert!(shape(&x.narrow(1, 0, 2)?, &classes));
    assert!(shape(&x, &classes.narrow(0, 0, 3)?));
    let value = |found: Result<_>| matches!(found, Err(Error::Value { .. }));
    let nan = (&x * f64::NAN)?;
    assert!(value(found.fit(&nan, &classes, None, &config)));
    assert!(value(found.fit(
        &x,
        &classes,
        Some(&WeightDecay { alpha: -1. }),
        &config
    )));
    for wrong in [
        NewtonConfig {
            max_steps: 0,
            ..config.clone()
        },
        NewtonConfig {
            tolerance: -1.,
            ..config.clone()
        },
        NewtonConfig {
            shift: Some(0.),
            ..config.clone()
        },
    ] {
        assert!(value(found.fit(&x, &classes, None, &wrong)));
    }
    assert_eq!(flat(found.weight()), [0.; 6]);
    assert!(matches!(
        classifier(0, 2, Softmax, DType::F64),
        Err(Error::Value { .. })
    ));
    assert!(matches!(
        classifier(2, 0, Softmax, DType::F64),
        Err(Error::Value { .. })
    ));
    let empty = x.narrow(0, 0, 0)?;
    assert!(matches!(
        found.loss(&empty, &classes.narrow(0, 0, 0)?),
        Err(Error::Shape { .. })
    ));
    assert_eq!(found.predict(&empty)?.dims(), [0]);
    Ok(())
}

#[test]
fn images_are_rows() -> Result<()> {
    let mut rng = Rng::new(5);
    let x = rng.normal((10, 2, 3, 2), DType::F64, &Device::Cpu)?;
    let classes = Tensor::new(vec![0u32, 1, 2, 0, 1, 2, 0, 1, 2, 0], &Device::Cpu)?;
    let penalty = WeightDecay { alpha: 0.1 };
    let fit = |x: &Tensor| -> Result<Vec<f64>> {
        let found = classifier(12, 3, Softmax, DType::F64)?;
        found.fit(x, &classes, Some(&penalty), &NewtonConfig::default())?;
        Ok(flat(&found.scores(x)?))
    };
    let rows = x.reshape((10, 12))?;
    assert_eq!(fit(&x)?, fit(&rows)?);
    // The same numbers with strides.
    let strided = rows.t()?.contiguous()?.t()?;
    for (a, b) in fit(&strided)?.iter().zip(fit(&rows)?) {
        assert!((a - b).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn certain_and_wrong_classifiers_come_back() -> Result<()> {
    let (x, classes, _) = irises();
    let penalty = WeightDecay { alpha: 1e-2 };
    for dtype in [DType::F64, DType::F32] {
        let x = x.to_dtype(dtype)?;
        let fresh = classifier(4, 3, Softmax, dtype)?;
        let want = fresh.fit(&x, &classes, Some(&penalty), &exact(50))?;
        for scale in [1., 30., 1e3, 1e5] {
            let wrong = classifier(4, 3, Softmax, dtype)?;
            let weights = (Rng::new(1).normal((3, 4), DType::F64, &Device::Cpu)? * scale)?;
            wrong.weight().set(&weights.to_dtype(dtype)?)?;
            let report = wrong.fit(&x, &classes, Some(&penalty), &exact(50))?;
            let off = report.last_value() - want.last_value();
            assert!(off.abs() < 1e-6, "{dtype:?} {scale}: {report:?}");
        }
        // One row among many, so that zeros are worse than what is there, and so many that the slope is below rounding.
        let part = Tensor::new(&[[1f64, 0.], [-1., 0.], [0., 1.]], &Device::Cpu)?;
        for parts in [400, 4000] {
            let last = 3 * parts - 1;
            let y = part.repeat((parts, 1))?.narrow(0, 0, last)?;
            let y = Tensor::cat(&[y, tensor(vec![0., 2.], &[1, 2])], 0)?.to_dtype(dtype)?;
            let mut one = [1u32, 0, 1].repeat(parts);
            one[last] = 0;
            let one = Tensor::new(one, &Device::Cpu)?;
            let (fresh, wrong) = (
                classifier(2, 2, Softmax, dtype)?,
                classifier(2, 2, Softmax, dtype)?,
            );
            let want = fresh.fit(&y, &one, Some(&penalty), &exact(50))?;
            let weights = tensor(vec![-100., -80., 100., 80.], &[2, 2]);
            wrong.weight().set(&weights.to_dtype(dtype)?)?;
            let weak = WeightDecay { alpha: 1e-8 };
            for penalty in [None, Some(&weak as &dyn Quadratic)] {
                wrong.weight().set(&weights.to_dtype(dtype)?)?;
                let report = wrong.fit(&y, &one, penalty, &exact(3))?;
                assert!(report.value < 2f64.ln(), "{report:?}");
                assert!(report.last_value() < report.value, "{report:?}");
            }
            let report = wrong.fit(&y, &one, Some(&penalty), &exact(50))?;
            let off = report.last_value() - want.last_value();
            assert!(off.abs() < 1e-6, "{dtype:?}: {report:?}");
        }
    }
    Ok(())
}

#[test]
fn constants_are_no_parameters() -> Result<()> {
    let vb = candle_nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
    let found = Classifier::new(2, 2, Softmax, vb);
    assert!(matches!(found, Err(Error::Value { .. })));
    Ok(())
}
