//! Losses of scores.

use super::tensor;
use crate::support::{differences, flat};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::optim::ClassificationLoss::{self, Logistic, Softmax, Squared};
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
