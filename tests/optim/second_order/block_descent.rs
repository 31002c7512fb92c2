//! Block coordinate descent, and first-order optimizers on the same models.

use super::Layers;
use crate::support::flat;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::dual::Linearize;
use candle_prob::objective::ClassificationLoss::Softmax;
use candle_prob::objective::regularization::{Quadratic, WeightDecay};
use candle_prob::optim::{
    Adam, AdamConfig, BlockDescent, BlockDescentConfig, Checkpoint, Classifier, Examples,
    GaussNewtonConfig, Iteration, Optimizer, PcgConfig, Penalties, Sgd, SgdConfig, evaluate,
};
use candle_prob::{Error, Result, Rng, init};
use std::ops::ControlFlow;

/// Whether a point is within the unit circle, of which the square is the third number.
fn circle(rows: usize, seed: u64) -> Result<Examples> {
    let x = Rng::new(seed).normal((rows, 2), DType::F64, &Device::Cpu)?;
    let inside = x.sqr()?.sum(1)?.lt(1.4)?.to_dtype(DType::U32)?;
    let x = Tensor::cat(&[&x, &x.zeros_like()?.narrow(1, 0, 1)?], 1)?;
    Examples::new(&x, &inside)
}

fn network() -> Result<(VarMap, Layers, Classifier)> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 0, DType::F64, &Device::Cpu);
    let classifier = Classifier::new(3, 2, Softmax, vb)?;
    let model = Layers::new(3, 1., &mut Rng::new(2))?;
    let mut data = vars.data().lock().unwrap();
    data.insert("kernel".into(), model.kernel.clone());
    data.insert("layer_bias".into(), model.bias.clone());
    drop(data);
    Ok((vars, model, classifier))
}

fn values(model: &Layers, classifier: &Classifier) -> Vec<f64> {
    let vars = [
        &model.kernel,
        &model.bias,
        classifier.weight(),
        classifier.bias(),
    ];
    vars.map(|var| flat(var)).concat()
}

#[test]
fn objectives_never_increase_and_points_are_classified() -> Result<()> {
    let (_vars, model, classifier) = network()?;
    let (weight, layer) = (WeightDecay { alpha: 1e-3 }, WeightDecay { alpha: 1e-4 });
    let penalties = Penalties {
        weight: Some(&weight),
        parameters: vec![Some(&layer), Some(&layer)],
    };
    let config = BlockDescentConfig::default();
    let (training, validation) = (circle(300, 1)?, circle(100, 2)?);
    let mut descent = BlockDescent::new(
        &model,
        &classifier,
        training.clone(),
        Some(validation.clone()),
        penalties,
        &config,
    )?;
    let objective = || -> Result<f64> {
        let parts = [
            layer.value(&model.kernel)?,
            layer.value(&model.bias)?,
            weight.value(classifier.weight())?,
        ];
        let penalty: f64 = parts.iter().map(|x| flat(x)[0]).sum();
        Ok(evaluate(&model, &classifier, &training, None)?.loss + penalty)
    };
    let (mut rng, mut before) = (Rng::new(0), objective()?);
    let mut best: Option<(f64, f64, Vec<f64>)> = None;
    for number in 1..=25 {
        let iteration = descent.step(&mut rng)?;
        let now = objective()?;
        assert!(now <= before + 1e-12, "{number}: {before} {now}");
        before = now;
        assert_eq!(iteration.number, number);
        // What is reported is what is there.
        let found = evaluate(&model, &classifier, &validation, Some(30))?;
        let reported = iteration.validation.unwrap();
        assert!((found.loss - reported.loss).abs() < 1e-12);
        assert_eq!(found.accuracy, reported.accuracy);
        let better = best.as_ref().is_none_or(|(accuracy, loss, _)| {
            reported.accuracy > *accuracy || reported.accuracy == *accuracy && reported.loss < *loss
        });
        assert!(better == iteration.best || number == 1);
        if better {
            let values = values(&model, &classifier);
            best = Some((reported.accuracy, reported.loss, values));
        }
    }
    let (accuracy, _, kept) = best.unwrap();
    assert!(accuracy > 0.95, "{accuracy}");
    descent.restore_best()?;
    assert_eq!(values(&model, &classifier), kept);
    assert_eq!(descent.best()?.unwrap().accuracy, accuracy);
    Ok(())
}

#[test]
fn runs_repeat_stop_early_and_end_with_the_best() -> Result<()> {
    let run =
        |seed: u64, iterations: usize, stop_at: usize| -> Result<(Vec<Iteration>, Vec<f64>)> {
            let (_vars, model, classifier) = network()?;
            let config = BlockDescentConfig {
                rows: Some(60),
                propagation: GaussNewtonConfig {
                    hessian_rows: Some(30),
                    batch: Some(25),
                    pcg: PcgConfig {
                        max_steps: 5,
                        tolerance: 0.1,
                    },
                    ..GaussNewtonConfig::default()
                },
                ..BlockDescentConfig::default()
            };
            let parameters = Penalties {
                weight: None,
                parameters: vec![None, None],
            };
            let (training, validation) = (circle(200, 1)?, circle(60, 2)?);
            let mut descent = BlockDescent::new(
                &model,
                &classifier,
                training,
                Some(validation),
                parameters,
                &config,
            )?;
            let done = descent.run(iterations, &mut Rng::new(seed), |iteration| {
                match iteration.number == stop_at {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
            let last = done.iter().rev().find(|iteration| iteration.best).unwrap();
            assert_eq!(descent.best()?, last.validation);
            Ok((done, values(&model, &classifier)))
        };
    let (done, found) = run(1, 6, 0)?;
    assert_eq!(done.len(), 6);
    assert_eq!(run(1, 6, 0)?, (done.clone(), found.clone()));
    let (fewer, _) = run(1, 6, 3)?;
    assert_eq!(fewer, done[..3]);
    assert_ne!(run(2, 6, 0)?.1, found);
    Ok(())
}

#[test]
fn without_validation_the_last_iterate_stays() -> Result<()> {
    let (_vars, model, classifier) = network()?;
    let penalties = || Penalties {
        weight: None,
        parameters: vec![None, None],
    };
    let (training, config) = (circle(50, 1)?, BlockDescentConfig::default());
    let mut descent = BlockDescent::new(
        &model,
        &classifier,
        training.clone(),
        None,
        penalties(),
        &config,
    )?;
    let mut last = vec![];
    descent.run(3, &mut Rng::new(0), |_| {
        last = values(&model, &classifier);
        ControlFlow::Continue(())
    })?;
    assert_eq!(values(&model, &classifier), last);
    assert!(descent.best()?.is_none());
    let wrong = BlockDescent::new(
        &model,
        &classifier,
        training.clone(),
        None,
        Penalties::default(),
        &config,
    );
    assert!(matches!(wrong, Err(Error::Value { .. })));
    let none = BlockDescentConfig {
        rows: Some(0),
        ..config
    };
    let wrong = BlockDescent::new(&model, &classifier, training, None, penalties(), &none);
    assert!(matches!(wrong, Err(Error::Value { .. })));
    Ok(())
}

#[test]
fn first_order_optimizers_train_the_same_network() -> Result<()> {
    let training = circle(200, 1)?;
    for first in [true, false] {
        let (vars, model, classifier) = network()?;
        let adam = AdamConfig {
            lr: 0.05,
            ..AdamConfig::default()
        };
        let sgd = SgdConfig {
            lr: 0.3,
            momentum: 0.9,
            ..SgdConfig::default()
        };
        let mut optimizer: Box<dyn Optimizer> = match first {
            true => Box::new(Adam::new(&vars, &adam)?),
            false => Box::new(Sgd::new(&vars, &sgd)?),
        };
        for _ in 0..200 {
            let y = model.forward(training.x())?;
            let update = optimizer.backward_step(&classifier.loss(&y, training.targets())?)?;
            assert!(update.missing.is_empty());
        }
        let found = evaluate(&model, &classifier, &training, None)?;
        assert!(found.accuracy > 0.9, "{found:?}");
    }
    Ok(())
}

#[test]
fn a_run_goes_on_from_a_checkpoint() -> Result<()> {
    let config = BlockDescentConfig {
        rows: Some(60),
        ..BlockDescentConfig::default()
    };
    let path = std::env::temp_dir().join(format!("block-descent-{}", std::process::id()));
    // Three iterations and three more, with or without a file between them.
    let run = |broken: bool| -> Result<(Vec<f64>, Vec<Iteration>)> {
        let mut rng = Rng::new(5);
        let mut reports = vec![];
        for half in 0..2 {
            let (vars, model, classifier) = network()?;
            let penalties = Penalties {
                weight: None,
                parameters: vec![None, None],
            };
            let (training, validation) = (circle(200, 1)?, circle(60, 2)?);
            let mut descent = BlockDescent::new(
                &model,
                &classifier,
                training,
                Some(validation),
                penalties,
                &config,
            )?;
            if half == 1 {
                rng = Rng::new(0);
                Checkpoint::new()
                    .vars("model", &vars)
                    .vars("progress", descent.progress())
                    .rng("rng", &mut rng)
                    .load(&path)?;
            }
            let steps = if broken { 3 } else { 6 };
            for _ in 0..steps {
                reports.push(descent.step(&mut rng)?);
            }
            if half == 1 || !broken {
                assert_eq!(reports.len(), 6);
                let last = reports.iter().rev().find(|iteration| iteration.best);
                assert_eq!(descent.best()?, last.unwrap().validation);
                descent.restore_best()?;
                return Ok((values(&model, &classifier), reports));
            }
            Checkpoint::new()
                .vars("model", &vars)
                .vars("progress", descent.progress())
                .rng("rng", &mut rng)
                .save(&path)?;
        }
        unreachable!()
    };
    assert_eq!(run(true)?, run(false)?);
    std::fs::remove_file(&path).ok();
    Ok(())
}

/// All of one class.
fn of_class(class: u32, rows: usize, seed: u64) -> Result<Examples> {
    let x = Rng::new(seed).normal((rows, 3), DType::F64, &Device::Cpu)?;
    Examples::new(&x, &Tensor::full(class, rows, &Device::Cpu)?)
}

#[test]
fn the_start_stays_the_best_where_nothing_is_better() -> Result<()> {
    let (_vars, model, classifier) = network()?;
    let penalties = Penalties {
        weight: None,
        parameters: vec![None, None],
    };
    let start = values(&model, &classifier);
    // Equal scores mean class 0, which training unlearns.
    let (training, validation) = (of_class(1, 30, 1)?, of_class(0, 10, 2)?);
    let config = BlockDescentConfig::default();
    let mut descent = BlockDescent::new(
        &model,
        &classifier,
        training,
        Some(validation),
        penalties,
        &config,
    )?;
    let mut moved = false;
    let done = descent.run(3, &mut Rng::new(0), |_| {
        moved = values(&model, &classifier) != start;
        ControlFlow::Continue(())
    })?;
    assert!(moved && done.iter().all(|iteration| !iteration.best));
    assert_eq!(values(&model, &classifier), start);
    assert_eq!(descent.best()?.unwrap().accuracy, 1.);
    Ok(())
}

/// A model that ends with NaN, or with an error, after a number of propagations of as many rows.
struct Ending {
    layers: Layers,
    rows: usize,
    left: std::cell::Cell<usize>,
    error: bool,
}

impl Module for Ending {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.layers.forward(x)?;
        if x.dim(0)? != self.rows {
            return Ok(y);
        }
        match self.left.get() {
            0 if self.error => candle_core::bail!("the end"),
            0 => y * f64::NAN,
            n => {
                self.left.set(n - 1);
                Ok(y)
            }
        }
    }
}

impl Linearize for Ending {
    fn parameters(&self) -> Vec<candle_core::Var> {
        self.layers.parameters()
    }

    fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
        self.layers.tangent(x, direction)
    }
}

#[test]
fn what_is_nan_is_never_the_best_and_errors_put_the_best_back() -> Result<()> {
    for error in [false, true] {
        let (_vars, layers, classifier) = network()?;
        let penalties = Penalties {
            weight: None,
            parameters: vec![None, None],
        };
        let (training, validation) = (circle(50, 1)?, circle(20, 2)?);
        // The start and one iteration.
        let model = Ending {
            layers,
            rows: 20,
            left: std::cell::Cell::new(2),
            error,
        };
        let mut descent = BlockDescent::new(
            &model,
            &classifier,
            training,
            Some(validation),
            penalties,
            &BlockDescentConfig::default(),
        )?;
        let mut first = vec![];
        let done = descent.run(3, &mut Rng::new(0), |iteration| {
            if iteration.number == 1 {
                assert!(iteration.best);
                first = values(&model.layers, &classifier);
            }
            ControlFlow::Continue(())
        });
        match error {
            true => assert!(done.is_err()),
            false => {
                let done = done?;
                assert!(done[2].validation.unwrap().loss.is_nan());
                assert!(!done[1].best && !done[2].best);
            }
        }
        assert_eq!(values(&model.layers, &classifier), first);
    }
    Ok(())
}

#[test]
fn a_start_of_nan_is_replaced_at_the_same_accuracy() -> Result<()> {
    let (_vars, layers, classifier) = network()?;
    // The first propagation of the validation examples alone has NaN, of which class 0 is said as of equal scores.
    struct Beginning(Layers, std::cell::Cell<bool>);
    impl Module for Beginning {
        fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
            let y = self.0.forward(x)?;
            match x.dim(0)? == 10 && self.1.replace(false) {
                true => y * f64::NAN,
                false => Ok(y),
            }
        }
    }
    impl Linearize for Beginning {
        fn parameters(&self) -> Vec<candle_core::Var> {
            self.0.parameters()
        }
        fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
            self.0.tangent(x, direction)
        }
    }
    let model = Beginning(layers, std::cell::Cell::new(true));
    let penalties = Penalties {
        weight: None,
        parameters: vec![None, None],
    };
    let mut descent = BlockDescent::new(
        &model,
        &classifier,
        of_class(0, 30, 1)?,
        Some(of_class(0, 10, 2)?),
        penalties,
        &BlockDescentConfig::default(),
    )?;
    let iteration = descent.step(&mut Rng::new(0))?;
    let best = descent.best()?.unwrap();
    assert!(iteration.best && best.loss.is_finite(), "{best:?}");
    Ok(())
}
