//! Gauss-Newton steps.

use super::{Layers, solve, tensor};
use crate::support::flat;
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::dual::Linearize;
use candle_prob::objective::ClassificationLoss::{self, Logistic, Softmax, Squared};
use candle_prob::objective::regularization::{Quadratic, WeightDecay};
use candle_prob::optim::{
    ArmijoConfig, Classifier, Examples, GaussNewtonConfig, PcgConfig, PcgStop, gauss_newton,
};
use candle_prob::{Error, Result, Rng, init};

const WIDTH: usize = 2;

struct Setting {
    model: Layers,
    classifier: Classifier,
    examples: Examples,
}

fn setting(loss: ClassificationLoss, rows: usize) -> Result<Setting> {
    let mut rng = Rng::new(7);
    let model = Layers::new(WIDTH, 0.5, &mut rng)?;
    let vb = init::seeded(&VarMap::new(), 0, DType::F64, &Device::Cpu);
    let classifier = Classifier::new(WIDTH, 3, loss, vb)?;
    classifier
        .weight()
        .set(&rng.normal((3, WIDTH), DType::F64, &Device::Cpu)?)?;
    classifier
        .bias()
        .set(&rng.normal(3, DType::F64, &Device::Cpu)?)?;
    let x = rng.normal((rows, WIDTH), DType::F64, &Device::Cpu)?;
    let classes: Vec<u32> = rng.integers(rows, 3)?.iter().map(|c| *c as u32).collect();
    let examples = Examples::new(&x, &Tensor::new(classes, &Device::Cpu)?)?;
    Ok(Setting {
        model,
        classifier,
        examples,
    })
}

/// All parameters as one list of numbers.
fn numbers(model: &Layers) -> Vec<f64> {
    [flat(&model.kernel), flat(&model.bias)].concat()
}

fn put(model: &Layers, x: &[f64]) {
    let (kernel, bias) = x.split_at(WIDTH * WIDTH);
    model
        .kernel
        .set(&tensor(kernel.to_vec(), &[WIDTH, WIDTH]))
        .unwrap();
    model.bias.set(&tensor(bias.to_vec(), &[WIDTH])).unwrap();
}

fn exact() -> GaussNewtonConfig {
    GaussNewtonConfig {
        pcg: PcgConfig {
            max_steps: 60,
            tolerance: 1e-13,
        },
        ..GaussNewtonConfig::default()
    }
}

#[test]
fn tangents_are_differences() -> Result<()> {
    let s = setting(Softmax, 5)?;
    let mut rng = Rng::new(8);
    let v = [
        rng.normal((WIDTH, WIDTH), DType::F64, &Device::Cpu)?,
        rng.normal(WIDTH, DType::F64, &Device::Cpu)?,
    ];
    let found = flat(&s.model.tangent(s.examples.x(), &v)?);
    let (at, along) = (numbers(&s.model), [flat(&v[0]), flat(&v[1])].concat());
    let moved = |t: f64| -> Result<Vec<f64>> {
        put(
            &s.model,
            &at.iter()
                .zip(&along)
                .map(|(x, v)| x + t * v)
                .collect::<Vec<_>>(),
        );
        Ok(flat(&s.model.forward(s.examples.x())?))
    };
    for ((found, up), down) in found.iter().zip(moved(1e-6)?).zip(moved(-1e-6)?) {
        assert!((found - (up - down) / 2e-6).abs() < 1e-8);
    }
    Ok(())
}

#[test]
fn steps_solve_the_dense_system() -> Result<()> {
    let (alpha, beta) = (0.3, 0.05);
    let (first, second) = (WeightDecay { alpha }, WeightDecay { alpha: beta });
    for loss in [Softmax, Logistic, Squared] {
        let s = setting(loss, 9)?;
        let at = numbers(&s.model);
        let n = at.len();
        let scores = |x: &[f64]| -> Result<Tensor> {
            put(&s.model, x);
            s.classifier.scores(&s.model.forward(s.examples.x())?)
        };
        // The Jacobian of the scores, by differences; then J^T H J + R'' and the gradient.
        let moved = |i: usize, by: f64| -> Result<Tensor> {
            let mut x = at.clone();
            x[i] += by;
            scores(&x)
        };
        let columns = (0..n).map(|i| Ok(((moved(i, 1e-5)? - moved(i, -1e-5)?)? / 2e-5)?));
        let columns: Vec<Tensor> = columns.collect::<Result<_>>()?;
        let here = scores(&at)?;
        let curvature = loss.curvature(&here)?;
        let slope = loss.gradient(&here, s.examples.targets())?;
        let dot = |a: &Tensor, b: &Tensor| -> Result<f64> {
            Ok((a * b)?.sum_all()?.to_scalar::<f64>()? / 9.)
        };
        let mut matrix = vec![vec![0.; n]; n];
        let mut right = vec![0.; n];
        for i in 0..n {
            let weight = if i < WIDTH * WIDTH { alpha } else { beta };
            let image = curvature.product(&columns[i])?;
            for j in 0..n {
                matrix[i][j] = dot(&columns[j], &image)?;
            }
            matrix[i][i] += weight;
            right[i] = -dot(&columns[i], &slope)? - weight * at[i];
        }
        let length = right.iter().map(|x| x * x).sum::<f64>().sqrt();
        let want = solve(matrix, right);
        let penalties: [Option<&dyn Quadratic>; 2] = [Some(&first), Some(&second)];
        for batch in [None, Some(4)] {
            put(&s.model, &at);
            let config = GaussNewtonConfig { batch, ..exact() };
            let mut rng = Rng::new(0);
            let report = gauss_newton(
                &s.model,
                &s.classifier,
                &s.examples,
                &penalties,
                &config,
                &mut rng,
            )?;
            assert_eq!(report.pcg.stop, PcgStop::Converged);
            assert!((report.gradient - length).abs() < 1e-8);
            let step = report.line_search.step;
            assert!(step > 0.);
            for ((found, before), want) in numbers(&s.model).iter().zip(&at).zip(&want) {
                let moved = (found - before) / step;
                assert!(
                    (moved - want).abs() < 1e-7,
                    "{loss:?}: {moved} is not {want}"
                );
            }
            // Nothing was drawn.
            assert_eq!(rng.state(), Rng::new(0).state());
        }
    }
    Ok(())
}

#[test]
fn a_hessian_of_some_rows_keeps_the_gradient_of_all() -> Result<()> {
    let run = |rows: Option<usize>, seed: u64| -> Result<(Vec<f64>, f64)> {
        let s = setting(Softmax, 60)?;
        let config = GaussNewtonConfig {
            hessian_rows: rows,
            ..exact()
        };
        let penalty: [Option<&dyn Quadratic>; 2] = [Some(&WeightDecay { alpha: 1e-3 }), None];
        let mut rng = Rng::new(seed);
        let report = gauss_newton(
            &s.model,
            &s.classifier,
            &s.examples,
            &penalty,
            &config,
            &mut rng,
        )?;
        assert!(report.line_search.value < report.value);
        Ok((numbers(&s.model), report.gradient))
    };
    let (all, some) = (run(None, 1)?, run(Some(20), 1)?);
    assert!(all.1 == some.1 && all.0 != some.0);
    assert_eq!(run(Some(20), 1)?, some);
    assert_ne!(run(Some(20), 2)?, some);
    assert_eq!(run(Some(60), 1)?, all);
    // Draws are without replacement.
    let x = Tensor::arange(0u32, 10, &Device::Cpu)?;
    let drawn = Examples::new(&x, &x)?.draw(7, &mut Rng::new(3))?;
    let mut found = drawn.x().to_vec1::<u32>()?;
    assert_eq!(found, drawn.targets().to_vec1::<u32>()?);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 7);
    Ok(())
}

#[test]
fn least_squares_converge_in_a_handful_of_steps() -> Result<()> {
    // Targets that the model reaches: the residual vanishes, and with it what Gauss-Newton leaves out of the Hessian.
    let s = setting(Squared, 50)?;
    let want = numbers(&s.model);
    let targets = s.classifier.scores(&s.model.forward(s.examples.x())?)?;
    let examples = Examples::new(s.examples.x(), &targets.detach())?;
    let start: Vec<f64> = want.iter().map(|x| x + 0.2).collect();
    put(&s.model, &start);
    let mut values = vec![];
    for _ in 0..6 {
        let none = [None, None];
        let mut rng = Rng::new(0);
        let report = gauss_newton(
            &s.model,
            &s.classifier,
            &examples,
            &none,
            &exact(),
            &mut rng,
        )?;
        values.push(report.value);
    }
    for (found, want) in numbers(&s.model).iter().zip(&want) {
        assert!((found - want).abs() < 1e-10, "{values:?}");
    }
    Ok(())
}

#[test]
fn single_precision_takes_the_same_steps() -> Result<()> {
    let s = setting(Softmax, 40)?;
    let vb = init::seeded(&VarMap::new(), 0, DType::F32, &Device::Cpu);
    let classifier = Classifier::new(WIDTH, 3, Softmax, vb)?;
    let single = |x: &Tensor| x.to_dtype(DType::F32);
    classifier.weight().set(&single(s.classifier.weight())?)?;
    classifier.bias().set(&single(s.classifier.bias())?)?;
    let model = Layers {
        kernel: Var::from_tensor(&single(&s.model.kernel)?)?,
        bias: Var::from_tensor(&single(&s.model.bias)?)?,
        step: s.model.step,
    };
    let examples = Examples::new(&single(s.examples.x())?, s.examples.targets())?;
    let penalty = WeightDecay { alpha: 1e-3 };
    let penalties: [Option<&dyn Quadratic>; 2] = [Some(&penalty), Some(&penalty)];
    let config = GaussNewtonConfig::default();
    for _ in 0..3 {
        let mut rng = Rng::new(0);
        let a = gauss_newton(
            &s.model,
            &s.classifier,
            &s.examples,
            &penalties,
            &config,
            &mut rng,
        )?;
        let b = gauss_newton(
            &model,
            &classifier,
            &examples,
            &penalties,
            &config,
            &mut rng,
        )?;
        assert!((a.line_search.value - b.line_search.value).abs() < 1e-5);
    }
    Ok(())
}

#[test]
fn what_fails_leaves_the_parameters() -> Result<()> {
    let s = setting(Softmax, 9)?;
    let at = numbers(&s.model);
    let run =
        |examples: &Examples, penalties: &[Option<&dyn Quadratic>], config: &GaussNewtonConfig| {
            let mut rng = Rng::new(0);
            gauss_newton(
                &s.model,
                &s.classifier,
                examples,
                penalties,
                config,
                &mut rng,
            )
        };
    let config = exact();
    let value = |found: Result<_>| matches!(found, Err(Error::Value { .. }));
    assert!(value(run(&s.examples, &[None], &config)));
    assert!(value(run(
        &s.examples,
        &[None, Some(&WeightDecay { alpha: -1. })],
        &config
    )));
    let nan = Examples::new(&(s.examples.x() * f64::NAN)?, s.examples.targets())?;
    assert!(value(run(&nan, &[None, None], &config)));
    for wrong in [
        GaussNewtonConfig {
            batch: Some(0),
            ..config.clone()
        },
        GaussNewtonConfig {
            hessian_rows: Some(0),
            ..config.clone()
        },
        GaussNewtonConfig {
            shift: Some(-1.),
            ..config.clone()
        },
    ] {
        assert!(value(run(&s.examples, &[None, None], &wrong)));
    }
    // One trial, far too long.
    let far = GaussNewtonConfig {
        line_search: ArmijoConfig {
            first: 1e6,
            max_trials: 1,
            ..ArmijoConfig::default()
        },
        ..config
    };
    let report = run(&s.examples, &[None, Some(&WeightDecay { alpha: 1. })], &far)?;
    assert!(!report.line_search.found() && report.line_search.value == report.value);
    assert_eq!(numbers(&s.model), at);
    // A finite objective whose gradient explodes.
    let x = (s.examples.x() * 0.)?;
    let eye = Tensor::eye(WIDTH, DType::F64, &Device::Cpu)?;
    s.model.kernel.set(&(eye * 1e200)?)?;
    s.model.bias.set(&s.model.bias.zeros_like()?)?;
    let large = (s.classifier.weight().as_tensor() * 1e150)?;
    s.classifier.weight().set(&large)?;
    let at = numbers(&s.model);
    let still = Examples::new(&x, s.examples.targets())?;
    assert!(value(run(&still, &[None, None], &exact())));
    assert_eq!(numbers(&s.model), at);
    let none = s.examples.x().narrow(0, 0, 0)?;
    assert!(matches!(
        Examples::new(&none, &none),
        Err(Error::Shape { .. })
    ));
    let less = s.examples.targets().narrow(0, 0, 3)?;
    assert!(matches!(
        Examples::new(s.examples.x(), &less),
        Err(Error::Shape { .. })
    ));
    Ok(())
}

#[test]
fn below_rounding_no_trials_are_spent() -> Result<()> {
    let vb = init::seeded(&VarMap::new(), 0, DType::F32, &Device::Cpu);
    let classifier = Classifier::new(WIDTH, 3, Softmax, vb)?;
    let s = setting(Softmax, 40)?;
    let single = |x: &Tensor| x.to_dtype(DType::F32);
    classifier.weight().set(&single(s.classifier.weight())?)?;
    classifier.bias().set(&single(s.classifier.bias())?)?;
    let model = Layers {
        kernel: Var::from_tensor(&single(&s.model.kernel)?)?,
        bias: Var::from_tensor(&single(&s.model.bias)?)?,
        step: s.model.step,
    };
    let examples = Examples::new(&single(s.examples.x())?, s.examples.targets())?;
    let penalty = WeightDecay { alpha: 1e-2 };
    let penalties: [Option<&dyn Quadratic>; 2] = [Some(&penalty), Some(&penalty)];
    let mut reports = vec![];
    for _ in 0..80 {
        let report = gauss_newton(
            &model,
            &classifier,
            &examples,
            &penalties,
            &exact(),
            &mut Rng::new(0),
        )?;
        reports.push((report.value, report.gradient, report.line_search));
    }
    let slack = 64. * f64::from(f32::EPSILON) * reports[0].0;
    for (before, _, line) in &reports {
        assert!(line.value <= before + slack, "{reports:?}");
    }
    for (_, _, line) in &reports[20..] {
        assert!(line.trials <= 4, "{reports:?}");
    }
    // As short as single precision tells.
    assert!(reports[79].1 < 1e-6, "{reports:?}");
    Ok(())
}

/// A model that is propagated a number of times, then no more.
struct Failing {
    model: Layers,
    left: std::cell::Cell<usize>,
}

impl Module for Failing {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self.left.get() {
            0 => candle_core::bail!("no more"),
            n => self.left.set(n - 1),
        }
        self.model.forward(x)
    }
}

impl Linearize for Failing {
    fn parameters(&self) -> Vec<Var> {
        self.model.parameters()
    }

    fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
        self.model.tangent(x, direction)
    }
}

#[test]
fn an_error_in_the_line_search_leaves_the_parameters() -> Result<()> {
    let s = setting(Softmax, 9)?;
    let at = numbers(&s.model);
    let model = Failing {
        model: s.model,
        left: std::cell::Cell::new(1),
    };
    let run = |left: usize, first: f64| {
        model.left.set(left);
        let config = GaussNewtonConfig {
            line_search: ArmijoConfig {
                first,
                ..ArmijoConfig::default()
            },
            ..exact()
        };
        let penalty = WeightDecay { alpha: 1. };
        let penalties: [Option<&dyn Quadratic>; 2] = [Some(&penalty), Some(&penalty)];
        let mut rng = Rng::new(0);
        gauss_newton(
            &model,
            &s.classifier,
            &s.examples,
            &penalties,
            &config,
            &mut rng,
        )
    };
    // At the first trial and, of steps that are too long, at the third.
    for (left, first) in [(1, 1.), (3, 1e3)] {
        assert!(run(left, first).is_err());
        assert_eq!((model.left.get(), numbers(&model.model)), (0, at.clone()));
    }
    assert!(run(9, 1.)?.line_search.found());
    Ok(())
}
