//! Free bits in their three readings, and the capacity: values, and gradients of exactly 0.

use crate::support::floats;
use crate::support::golden::{file, list};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::optim::backward;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result};

const CPU: &Device = &Device::Cpu;

fn rates() -> Result<Tensor> {
    Ok(Tensor::new(&[[0.1, 0.5, 2.], [0.9, 0.5, 0.2]], CPU)?)
}

/// The gradient of the sum of what `f` makes of rates.
fn slope(rates: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f64>> {
    let rates = Var::from_tensor(rates)?;
    let gradients = backward(&f(&rates)?.sum_all()?)?;
    floats(gradients.get(&rates).expect("a gradient"))
}

#[test]
fn each_dimension_of_each_example_has_its_own() -> Result<()> {
    let free = FreeBitsPerDimension { nats: 0.5 };
    assert_eq!(floats(&free.of(&rates()?)?)?, [3., 1.9]);
    // At the bound too the gradient is 0.
    assert_eq!(slope(&rates()?, |r| free.of(r))?, [0., 0., 1., 1., 0., 0.]);
    check_gradient(&|x| free.of(&x[0]), &[(rates()? + 0.01)?], 1e-6)
}

#[test]
fn a_group_has_it_on_the_mean_of_the_batch() -> Result<()> {
    let free = FreeBitsPerGroup { nats: 0.5 };
    // The means are 0.5, 0.5 and 1.1.
    let got = free.of(&rates()?)?;
    assert_eq!(floats(&got)?, [3., 1.2]);
    assert_eq!(slope(&rates()?, |r| free.of(r))?, [0., 0., 1., 0., 0., 1.]);
    // Averaged over any batch, the greater of bound and mean.
    let many = candle_prob::Rng::new(1).uniform((7, 3, 5), DType::F64, CPU)?;
    let many = many.broadcast_mul(&Tensor::new(&[0.2, 0.5, 1., 2., 3.], CPU)?)?;
    let got = free.of(&many)?;
    assert_eq!(got.dims(), &[7, 3]);
    let means = floats(&many.flatten_to(1)?.mean(0)?)?;
    let want: f64 = means.iter().map(|mean| mean.max(0.5)).sum();
    assert!((floats(&got.mean_all()?)?[0] - want).abs() < 1e-12);
    assert!(means.iter().any(|mean| *mean < 0.5) && means.iter().any(|mean| *mean > 0.5));
    Ok(())
}

#[test]
fn an_example_has_it_on_its_whole_rate() -> Result<()> {
    let free = FreeBitsTotal { nats: 1.6 };
    let total = rates()?.sum(1)?;
    let got = floats(&free.of(&total)?)?;
    assert!((got[0] - 2.6).abs() < 1e-15 && got[1] == 1.6);
    assert_eq!(slope(&total, |r| free.of(r))?, [1., 0.]);
    Ok(())
}

#[test]
fn a_capacity_is_missed_from_both_sides() -> Result<()> {
    let capacity = Capacity { nats: 0.5 };
    let rate = rates()?.get(0)?;
    assert_eq!(floats(&capacity.of(&rate)?)?, [0.4, 0., 1.5]);
    assert_eq!(slope(&rate, |r| capacity.of(r))?, [-1., 0., 1.]);
    Ok(())
}

#[test]
fn free_bits_meet_reference_values() -> Result<()> {
    let golden = file(include_str!("../golden/vae.json"));
    let case = &golden["elbo"];
    for (dtype, bound) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
        let of = |name: &str| -> Result<Tensor> {
            let data: Vec<f64> = list(&case[name]).into_iter().flatten().collect();
            Ok(Tensor::from_vec(data, (4, 3), CPU)?.to_dtype(dtype)?)
        };
        let posterior =
            MultivariateNormalDiag::from_log_var(&of("q_mean")?, &of("q_log_variance")?)?;
        let prior = MultivariateNormalDiag::standard(3, dtype, CPU)?;
        let rates = rate_per_dimension(&posterior, &prior)?;
        let free = FreeBitsPerDimension { nats: 0.5 }.of(&rates)?;
        for (got, name) in [(free, "free_bits_kl"), (rates.sum(1)?, "kl")] {
            for (got, want) in floats(&got)?.iter().zip(list(&case[name])) {
                assert!(
                    (got - want.unwrap()).abs() < bound * got.abs().max(1.),
                    "{name} {got}"
                );
            }
        }
    }
    Ok(())
}

/// The encoder of a dimension within its free bits gets no gradient at all.
#[test]
fn what_is_free_does_not_move_the_encoder() -> Result<()> {
    let loc = Var::new(&[[0.1, 2.], [-0.3, 1.]], CPU)?;
    let log_var = Var::new(&[[0.1, -1.], [0.2, -2.]], CPU)?;
    let posterior = MultivariateNormalDiag::from_log_var(&loc, &log_var)?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let rates = rate_per_dimension(&posterior, &prior)?;
    let group = FreeBitsPerGroup { nats: 0.5 }.of(&rates)?;
    let each = FreeBitsPerDimension { nats: 0.5 }.of(&rates)?;
    for loss in [group, each] {
        let gradients = backward(&loss.sum_all()?)?;
        for var in [&loc, &log_var] {
            let slopes = floats(gradients.get(var).expect("a gradient"))?;
            assert!(slopes[0] == 0. && slopes[2] == 0., "{slopes:?}");
            assert!(slopes[1] != 0. && slopes[3] != 0., "{slopes:?}");
        }
    }
    Ok(())
}

#[test]
fn events_of_any_rank_have_rates_per_element() -> Result<()> {
    let loc = candle_prob::Rng::new(2).normal((5, 2, 3), DType::F64, CPU)?;
    let posterior = Normal::new(&loc, &(loc.ones_like()? * 0.5)?)?.to_event(2)?;
    let one = Tensor::ones((2, 3), DType::F64, CPU)?;
    let prior = Normal::new(&one, &one)?.to_event(2)?;
    let rates = rate_per_dimension(&posterior, &prior)?;
    assert_eq!(rates.dims(), &[5, 6]);
    let (sum, whole) = (floats(&rates.sum(1)?)?, floats(&posterior.kl(&prior)?)?);
    assert!(sum.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-12));
    // A prior with copies of its own, and one over other events.
    let batch = Normal::new(&loc, &loc.ones_like()?)?;
    let copies = Normal::new(&one.broadcast_as((3, 1, 2, 3))?, &one)?.to_event(2)?;
    assert!(matches!(
        rate_per_dimension(&posterior, &copies),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        rate_per_dimension(&posterior, &batch.to_event(1)?),
        Err(Error::Shape { .. })
    ));
    Ok(())
}

#[test]
fn nothing_is_hidden_and_nothing_panics() -> Result<()> {
    let nan = Tensor::new(&[[f64::NAN, 0.]], CPU)?;
    assert!(floats(&FreeBitsPerDimension { nats: 1. }.of(&nan)?)?[0].is_nan());
    assert!(floats(&FreeBitsPerGroup { nats: 1. }.of(&nan)?)?[0].is_nan());
    assert!(floats(&FreeBitsTotal { nats: 1. }.of(&nan)?)?[0].is_nan());
    assert!(floats(&Capacity { nats: 1. }.of(&nan)?)?[0].is_nan());
    let none = Tensor::zeros((0, 3), DType::F32, CPU)?;
    assert_eq!(FreeBitsPerDimension { nats: 1. }.of(&none)?.dims(), &[0]);
    assert_eq!(FreeBitsPerGroup { nats: 1. }.of(&none)?.dims(), &[0]);
    assert_eq!(FreeBitsTotal { nats: 1. }.of(&none)?.dims(), &[0, 3]);
    let strided = rates()?.t()?.contiguous()?.t()?;
    assert_eq!(
        floats(&FreeBitsPerGroup { nats: 0.5 }.of(&strided)?)?,
        [3., 1.2]
    );
    for nats in [-1., f64::NAN, f64::INFINITY] {
        let rates = rates()?;
        for refused in [
            FreeBitsPerDimension { nats }.of(&rates),
            FreeBitsPerGroup { nats }.of(&rates),
            FreeBitsTotal { nats }.of(&rates),
            Capacity { nats }.of(&rates),
        ] {
            assert!(matches!(refused, Err(Error::Value { .. })));
        }
    }
    let count = Tensor::zeros((2, 3), DType::U32, CPU)?;
    assert!(matches!(
        FreeBitsTotal { nats: 1. }.of(&count),
        Err(Error::DType { .. })
    ));
    let scalar = Tensor::new(1f64, CPU)?;
    assert!(matches!(
        FreeBitsPerGroup { nats: 1. }.of(&scalar),
        Err(Error::Shape { .. })
    ));
    Ok(())
}
