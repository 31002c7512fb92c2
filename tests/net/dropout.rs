//! Dropout: the share of what is left out, means, gradients, and what is refused.

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::{Error, Result, Rng, net};

const CPU: Device = Device::Cpu;

fn ones(dims: &[usize], dtype: DType) -> Result<Tensor> {
    Ok(Tensor::ones(dims, dtype, &CPU)?)
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[test]
fn elements_are_left_out_with_probability_p() -> Result<()> {
    let n = 200_000;
    for (seed, p) in [0.01, 0.2, 0.5, 0.97].into_iter().enumerate() {
        let y = numbers(&net::dropout(
            &ones(&[n], DType::F32)?,
            p,
            &mut Rng::new(seed as u64),
        )?)?;
        let left_out = y.iter().filter(|y| **y == 0.).count() as f64;
        // Five standard deviations: 1 of 2 million.
        let sd = (p * (1. - p) * n as f64).sqrt();
        assert!((left_out - p * n as f64).abs() < 5. * sd, "{p}: {left_out}");
        let kept = y.iter().filter(|y| **y != 0.);
        assert!(kept.into_iter().all(|y| (y * (1. - p) - 1.).abs() < 1e-6));
    }
    Ok(())
}

/// Neighbours, lanes of the generator and blocks of it: what one element does says nothing about another.
#[test]
fn elements_are_left_out_independently() -> Result<()> {
    let n = 100_000;
    let y = numbers(&net::dropout(
        &ones(&[n], DType::F32)?,
        0.5,
        &mut Rng::new(5),
    )?)?;
    for lag in [1, 2, 16, 32, 4096] {
        let pairs = n - lag;
        let agree = (0..pairs).filter(|i| y[*i] == y[i + lag]).count() as f64;
        let sd = (pairs as f64).sqrt() / 2.;
        assert!((agree - pairs as f64 / 2.).abs() < 5. * sd, "lag {lag}");
    }
    Ok(())
}

#[test]
fn the_mask_is_that_of_the_draw() -> Result<()> {
    let mask = |dtype, rng: &mut Rng| -> Result<Vec<bool>> {
        let y = net::dropout(&ones(&[40, 129], dtype)?, 0.3, rng)?;
        Ok(numbers(&y)?.iter().map(|y| *y == 0.).collect())
    };
    let mut rng = Rng::new(7);
    let first = mask(DType::F32, &mut rng)?;
    let second = mask(DType::F32, &mut rng)?;
    assert_ne!(first, second);
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        assert_eq!(first, mask(dtype, &mut Rng::new(7))?, "{dtype:?}");
    }
    // Nothing is left out, and the draw is made all the same.
    let mut rng = Rng::new(7);
    let x = ones(&[3], DType::F32)?;
    assert_eq!(numbers(&net::dropout(&x, 0., &mut rng)?)?, numbers(&x)?);
    assert_eq!(second, mask(DType::F32, &mut rng)?);
    Ok(())
}

#[test]
fn what_is_left_out_has_no_gradient() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let ramp = Tensor::arange(1f32, 601., &CPU)?.reshape((2, 3, 4, 25))?;
        let x = Var::from_tensor(&ramp.to_dtype(dtype)?)?;
        for channels in [false, true] {
            let mut rng = Rng::new(1);
            let y = match channels {
                false => net::dropout(&x, 0.5, &mut rng)?,
                true => net::dropout2d(&x, 0.5, &mut rng)?,
            };
            let gradients = (y.sqr()? * 0.5)?.sum_all()?.backward()?;
            let (Some(gradient), y) = (gradients.get(&x), numbers(&y)?) else {
                panic!("no gradient")
            };
            // y = 2 x or 0, and the gradient of y^2 / 2 is y times that.
            let expected: Vec<f64> = y.iter().map(|y| 2. * y).collect();
            assert_eq!(numbers(gradient)?, expected);
            if channels {
                for channel in y.chunks(100) {
                    let gone = channel.iter().filter(|y| **y == 0.).count();
                    assert!(gone == 0 || gone == 100, "{gone}");
                }
            }
            let gone = y.iter().filter(|y| **y == 0.).count();
            assert!(gone > 0 && gone < 600, "{gone}");
        }
    }
    Ok(())
}

#[test]
fn what_is_left_out_may_be_anything() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let gone = net::dropout(&ones(&[64], dtype)?, 0.5, &mut Rng::new(2))?.eq(0.)?;
        let x = gone.where_cond(
            &(ones(&[64], dtype)? * f64::NAN)?,
            &Tensor::ones(64, dtype, &CPU)?,
        )?;
        let x = Var::from_tensor(&x)?;
        let y = net::dropout(&x, 0.5, &mut Rng::new(2))?;
        assert!(numbers(&y)?.iter().all(|y| *y == 0. || *y == 2.));
        let gradients = y.sum_all()?.backward()?;
        let gradient = gradients.get(&x).map(numbers).transpose()?;
        assert_eq!(gradient, Some(numbers(&y)?));
    }
    Ok(())
}

#[test]
fn what_is_no_probability_is_refused() -> Result<()> {
    let x = ones(&[2, 3], DType::F32)?;
    for p in [-0.1, 1., 2., f64::NAN] {
        let mut rng = Rng::new(0);
        let refused = net::dropout(&x, p, &mut rng);
        assert!(matches!(refused, Err(Error::Value { .. })), "{p}");
        assert_eq!(rng, Rng::new(0), "a draw was made for {p}");
    }
    let refused = net::dropout2d(&x, 0.5, &mut Rng::new(0));
    assert!(matches!(refused, Err(Error::Shape { .. })));
    let whole = Tensor::zeros(3, DType::U32, &CPU)?;
    let refused = net::dropout(&whole, 0.5, &mut Rng::new(0));
    assert!(matches!(refused, Err(Error::DType { .. })));
    for dims in [&[0, 3, 2, 2], &[2, 3, 0, 2], &[2, 0, 4, 4]] {
        let y = net::dropout2d(&ones(dims, DType::F32)?, 0.5, &mut Rng::new(0))?;
        assert_eq!(y.dims(), dims);
    }
    Ok(())
}

/// Which elements go is part of what a seed means.
#[test]
fn the_mask_of_a_seed() -> Result<()> {
    let y = numbers(&net::dropout(
        &ones(&[2, 12], DType::F32)?,
        0.5,
        &mut Rng::new(0),
    )?)?;
    let stays: Vec<u8> = y.iter().map(|y| u8::from(*y != 0.)).collect();
    let expected = [
        [1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0],
    ];
    assert_eq!(stays, expected.concat());
    // Few stay of halves, by a scale that is none of theirs.
    let halves = (ones(&[600, 1000], DType::F16)? * 0.5)?;
    let y = numbers(&net::dropout(&halves, 0.99999, &mut Rng::new(1))?)?;
    assert!(y.iter().all(|y| y.is_finite()) && y.iter().any(|y| *y > 0.));
    Ok(())
}
