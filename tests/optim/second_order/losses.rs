//! Losses of scores.

use super::tensor;
use crate::support::{differences, flat};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::objective::ClassificationLoss::{self, Logistic, Softmax, Squared};
use candle_prob::{Error, Result, Rng};

const ALL: [ClassificationLoss; 3] = [Softmax, Logistic, Squared];

fn rows() -> Tensor {
    tensor(vec![0.2, 0.5, 0.3, 1., 0., 0., 0.25, 0.25, 0.5], &[3, 3])
}

#[test]
fn derivatives_meet_differences() -> Result<()> {
    let scores = Var::from_tensor(&Rng::new(1).normal((3, 3), DType::F64, &Device::Cpu)?)?;
    let v = Rng::new(2).normal((3, 3), DType::F64, &Device::Cpu)?;
    for loss in ALL {
        differences(&scores, 1e-8, &|| loss.value(&scores, &rows()))?;
        let value = loss.value(&scores, &rows())?.sum_all()?;
        let by_graph = flat(value.backward()?.get(&scores).unwrap());
        let gradient = flat(&loss.gradient(&scores, &rows())?);
        let product = flat(&loss.curvature(&scores)?.product(&v)?);
        let at = |t: f64| -> Result<Vec<f64>> {
            Ok(flat(
                &loss.gradient(&(scores.as_tensor() + (&v * t)?)?, &rows())?,
            ))
        };
        let (up, down) = (at(1e-5)?, at(-1e-5)?);
        for i in 0..9 {
            assert!((by_graph[i] - gradient[i]).abs() < 1e-14);
            let want = (up[i] - down[i]) / 2e-5;
            assert!(
                (product[i] - want).abs() < 1e-9,
                "{loss:?}: {} is not {want}",
                product[i]
            );
        }
    }
    Ok(())
}

#[test]
fn classes_are_rows_of_zeros_and_one() -> Result<()> {
    let scores = Rng::new(1).normal((3, 3), DType::F64, &Device::Cpu)?;
    let classes = Tensor::new(&[2u32, 0, 1], &Device::Cpu)?;
    let hot = tensor(vec![0., 0., 1., 1., 0., 0., 0., 1., 0.], &[3, 3]);
    for loss in ALL {
        let [a, b] = [&classes, &hot].map(|targets| loss.value(&scores, targets));
        assert_eq!(flat(&a?), flat(&b?));
    }
    // One column tells two classes apart.
    let (column, binary) = (
        scores.narrow(1, 0, 1)?,
        Tensor::new(&[1u32, 0, 1], &Device::Cpu)?,
    );
    for loss in [Logistic, Squared] {
        let want = tensor(vec![1., 0., 1.], &[3, 1]);
        let [a, b] = [&binary, &want].map(|targets| loss.value(&column, targets));
        assert_eq!(flat(&a?), flat(&b?));
    }
    let two = loss_of_two(&column, &binary)?;
    let one = flat(&Logistic.value(&column, &binary)?);
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 1e-15);
    }
    Ok(())
}

/// The softmax of (0, x) is the logistic function of x.
fn loss_of_two(column: &Tensor, binary: &Tensor) -> Result<Vec<f64>> {
    let scores = Tensor::cat(&[column.zeros_like()?, column.clone()], 1)?;
    Ok(flat(&Softmax.value(&scores, binary)?))
}

#[test]
fn extreme_scores_keep_their_digits() -> Result<()> {
    let scores = tensor(vec![1e4, 0., -1e4, 40., 0., -40.], &[2, 3]);
    for dtype in [DType::F64, DType::F32] {
        let scores = scores.to_dtype(dtype)?;
        let classes = |c: [u32; 2]| Tensor::new(&c, &Device::Cpu);
        let small = (-40f64).exp();
        let cases = [
            (Softmax, classes([0, 0])?, [0., small]),
            (Softmax, classes([2, 2])?, [2e4, 80.]),
            (
                Logistic,
                classes([0, 0])?,
                [2f64.ln(), 2f64.ln() + 2. * small],
            ),
            (
                Logistic,
                classes([2, 2])?,
                [2e4 + 2f64.ln(), 80. + 2f64.ln()],
            ),
        ];
        let tolerance = if dtype == DType::F64 { 1e-14 } else { 1e-6 };
        for (loss, classes, want) in cases {
            let found = flat(&loss.value(&scores, &classes)?);
            for (found, want) in found.iter().zip(want) {
                let close = (found - want).abs() <= tolerance * want.max(1e-3);
                assert!(close, "{loss:?} {dtype:?}: {found} is not {want}");
            }
            assert!(
                flat(&loss.gradient(&scores, &classes)?)
                    .iter()
                    .all(|x| x.abs() <= 1.)
            );
            let curvature = loss.curvature(&scores)?.product(&scores.ones_like()?)?;
            assert!(flat(&curvature).iter().all(|x| x.is_finite()));
        }
    }
    Ok(())
}

#[test]
fn targets_that_do_not_fit_are_refused() -> Result<()> {
    let scores = Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?;
    let value = |loss: ClassificationLoss, targets: &Tensor| loss.value(&scores, targets);
    let classes = |c: &[u32]| Tensor::new(c, &Device::Cpu);
    for loss in ALL {
        assert!(matches!(
            value(loss, &classes(&[0, 3])?),
            Err(Error::Value { .. })
        ));
        assert!(matches!(
            value(loss, &classes(&[0])?),
            Err(Error::Shape { .. })
        ));
        let other = Tensor::zeros((2, 2), DType::F64, &Device::Cpu)?;
        assert!(matches!(value(loss, &other), Err(Error::Shape { .. })));
        let single = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        assert!(matches!(value(loss, &single), Err(Error::DType { .. })));
        let empty = Tensor::zeros((0, 3), DType::F64, &Device::Cpu)?;
        assert_eq!(loss.value(&empty, &empty)?.dims(), [0]);
    }
    let rows = |x: f64| tensor(vec![x, 1. - x, 0., 0., 0., 1.], &[2, 3]);
    for bad in [-0.1, f64::NAN] {
        assert!(matches!(
            value(Softmax, &rows(bad)),
            Err(Error::Value { .. })
        ));
        assert!(matches!(
            value(Logistic, &rows(bad)),
            Err(Error::Value { .. })
        ));
    }
    let half = Tensor::full(0.5, (2, 3), &Device::Cpu)?;
    assert!(matches!(value(Softmax, &half), Err(Error::Value { .. })));
    assert!(value(Logistic, &half).is_ok() && value(Squared, &(half * 7.)?).is_ok());
    let column = Tensor::zeros((2, 1), DType::F64, &Device::Cpu)?;
    let binary = classes(&[0, 2])?;
    assert!(matches!(
        Logistic.value(&column, &binary),
        Err(Error::Value { .. })
    ));
    Ok(())
}

#[test]
fn derivatives_of_certain_scores_keep_their_digits() -> Result<()> {
    // What a class is short of 1 is below the digits of f32, far above those of f64.
    let scores = tensor(vec![20., 0., -2., -1., 19., 1., 0.5, 0., 0.25], &[3, 3]);
    let v = tensor(vec![1., -0.5, 2., 3., 1., 0.5, -1., 2., 0.75], &[3, 3]);
    let rows = tensor(vec![1., 0., 0., 0., 1., 0., 0.25, 0.25, 0.5], &[3, 3]);
    let near = |found: &Tensor, want: &[f64], what: &str| {
        for (found, want) in flat(found).iter().zip(want) {
            let close = (found - want).abs() <= 1e-5 * want.abs();
            assert!(close, "{what}: {found:e} is not {want:e}");
        }
    };
    let x: Vec<Vec<f64>> = scores.to_vec2()?;
    let (along, hot): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (v.to_vec2()?, rows.to_vec2()?);
    let (mut gradients, mut products) = ([vec![], vec![]], [vec![], vec![]]);
    for i in 0..3 {
        let total: f64 = x[i].iter().map(|x| x.exp()).sum();
        let p: Vec<f64> = x[i].iter().map(|x| x.exp() / total).collect();
        for k in 0..3 {
            // By pairs, which do not cancel.
            let pairs = (0..3).map(|j| p[j] * (along[i][k] - along[i][j]));
            products[0].push(p[k] * pairs.sum::<f64>());
            let pairs = (0..3).filter(|j| *j != k);
            let pairs = pairs.map(|j| p[k] * hot[i][j] - p[j] * hot[i][k]);
            gradients[0].push(pairs.sum::<f64>());
            let (up, down) = (1. / (1. + (-x[i][k]).exp()), 1. / (1. + x[i][k].exp()));
            products[1].push(up * down * along[i][k]);
            gradients[1].push((1. - hot[i][k]) * up - hot[i][k] * down);
        }
    }
    for dtype in [DType::F64, DType::F32] {
        let [scores, v, rows] = [&scores, &v, &rows].map(|x| x.to_dtype(dtype));
        let (scores, v, rows) = (scores?, v?, rows?);
        for (i, loss) in [Softmax, Logistic].into_iter().enumerate() {
            let curvature = loss.curvature(&scores)?;
            near(&curvature.product(&v)?, &products[i], "product");
            near(&loss.gradient(&scores, &rows)?, &gradients[i], "gradient");
        }
        // Definite but for what adds the same number to all scores.
        let product = Softmax.curvature(&scores)?.product(&v)?;
        let squares: Vec<f64> = flat(&(product * v)?.sum(1)?);
        assert!(squares.iter().all(|x| *x > 0.), "{squares:?}");
    }
    let none = Tensor::zeros((0, 3), DType::F64, &Device::Cpu)?;
    let product = Softmax.curvature(&none)?.product(&none)?;
    assert_eq!(product.dims(), [0, 3]);
    Ok(())
}

#[test]
fn classes_are_whole_numbers_of_any_width() -> Result<()> {
    let scores = Rng::new(1).normal((3, 3), DType::F64, &Device::Cpu)?;
    let classes = Tensor::new(&[2u32, 0, 1], &Device::Cpu)?;
    for loss in ALL {
        let want = flat(&loss.value(&scores, &classes)?);
        for dtype in [DType::U8, DType::I64] {
            assert_eq!(flat(&loss.value(&scores, &classes.to_dtype(dtype)?)?), want);
        }
        for wrong in [[0i64, -1, 1], [0, 3, 1], [0, 1 << 32, 1]] {
            let wrong = Tensor::new(&wrong, &Device::Cpu)?;
            let found = loss.value(&scores, &wrong);
            assert!(matches!(found, Err(Error::Value { .. })), "{found:?}");
        }
    }
    Ok(())
}
