//! What makes no loss is refused by name.

use super::{CPU, losses};
use candle_core::{DType, Tensor};
use candle_prob::divergence::*;
use candle_prob::objective::*;
use candle_prob::{Error, Result};

/// What refuses is the method that was called.
#[test]
fn means_of_ones_own_divergence_are_refused_by_name() -> Result<()> {
    struct Own;
    impl FDivergence for Own {
        fn generator(&self, log_ratio: &Tensor) -> Result<Tensor> {
            Pearson.generator(log_ratio)
        }
        fn reversed(&self, log_ratio: &Tensor) -> Result<Tensor> {
            Pearson.reversed(log_ratio)
        }
        fn activation(&self, score: &Tensor) -> Result<Tensor> {
            Pearson.activation(score)
        }
        fn conjugate(&self, score: &Tensor) -> Result<Tensor> {
            Pearson.conjugate(score)
        }
    }
    let none = Tensor::zeros(0, DType::F64, CPU)?;
    for (refused, name) in [
        (
            Own.activation_with_mean(&none, 1.),
            "FDivergence::activation_with_mean",
        ),
        (
            Own.conjugate_with_mean(&none, 1.),
            "FDivergence::conjugate_with_mean",
        ),
    ] {
        assert!(matches!(refused, Err(Error::Shape { op, .. }) if op == name));
    }
    Ok(())
}

#[test]
fn what_makes_no_loss_is_refused() -> Result<()> {
    let some = Tensor::new(&[0.5f64, 1.], CPU)?;
    let (none, other) = (some.narrow(0, 0, 0)?, some.to_dtype(DType::F32)?);
    let whole = Tensor::new(&[1u32, 2], CPU)?;
    for (what, loss) in losses()? {
        for (real, fake) in [(&none, &some), (&some, &none)] {
            let refused = loss.critic(real, fake);
            assert!(matches!(refused, Err(Error::Shape { .. })), "{what}");
        }
        let refused = loss.generator(&some, &none);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{what}");
        for (real, fake) in [(&other, &some), (&whole, &whole)] {
            let refused = loss.critic(real, fake);
            assert!(matches!(refused, Err(Error::DType { .. })), "{what}");
        }
    }
    for weight in [0., -1., f64::NAN, f64::INFINITY] {
        let loss = Saturating {
            type_two_weight: weight,
        };
        let refused = loss.critic(&some, &some);
        assert!(matches!(refused, Err(Error::Value { .. })), "{weight}");
        let refused = loss.generator(&some, &some);
        assert!(matches!(refused, Err(Error::Value { .. })), "{weight}");
    }
    for (real, fake, generator) in [
        (1., 1., 1.),
        (f64::NAN, 0., 1.),
        (1., f64::INFINITY, 1.),
        // Whose gap has no square.
        (1e-170, 0., 1.),
        (1e200, -1e200, 1.),
        (1e308, -1e308, 1.),
    ] {
        let loss = LeastSquares {
            real,
            fake,
            generator,
        };
        assert!(matches!(
            loss.critic(&some, &some),
            Err(Error::Value { .. })
        ));
    }
    let longer = Tensor::new(&[0f64, 1., 2.], CPU)?;
    let refused = Relativistic.critic(&some, &longer);
    assert!(matches!(refused, Err(Error::Shape { .. })));
    assert!(f_gan(&Gan, &none, &some).is_err() && f_gan(&Gan, &some, &none).is_err());
    let given = CriticLoss::new(none.clone(), some.clone(), 0., 1.);
    assert!(given.is_err() && GeneratorLoss::new(none, None).is_err());
    Ok(())
}
