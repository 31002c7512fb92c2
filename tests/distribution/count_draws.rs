//! Draws of counts at extreme parameters: their moments, and that every draw has mass.
//!
//! Moments: a mean or variance is refused beyond 5.2 standard errors, 2e-7 of right ones; there are about a hundred, so that
//! one run in fifty thousand would fail for another seed.

use crate::support::floats;
use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::{
    Binomial, Distribution, Geometric, Multinomial, NegativeBinomial, Poisson,
};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;
const COUNT: usize = 150_000;

/// Mean and variance against the law's, whose standardized fourth moment is `kurtosis`.
fn moments(what: &str, x: &[f64], mean: f64, variance: f64, kurtosis: f64) {
    let n = x.len() as f64;
    let got = x.iter().map(|x| (x - mean) / n).sum::<f64>();
    let square = x.iter().map(|x| (x - mean).powi(2) / n).sum::<f64>();
    let z = got / (variance / n).sqrt();
    let z_square = (square / variance - 1.) / ((kurtosis - 1.) / n).sqrt();
    assert!(
        z.abs() < 5.2 && z_square.abs() < 5.2,
        "{what}: mean off by {z} standard errors, variance by {z_square}"
    );
}

#[test]
fn binomial_moments() -> Result<()> {
    let mut rng = Rng::new(1);
    let mut check = |n: f64, p: f64, dtype: DType| -> Result<()> {
        let tensor = |x: f64| Tensor::new(x, CPU)?.to_dtype(dtype);
        let (count, prob) = (tensor(n)?, tensor(p)?);
        let [n, p] = [&count, &prob].map(|t| floats(t).unwrap()[0]);
        let q = 1. - p;
        let logits = tensor(p.ln() - (-p).ln_1p())?;
        let rest = tensor(q)?;
        let both = Tensor::stack(&[&prob, &rest], 0)?;
        let (variance, what) = (n * p * q, format!("{n:e} {p:e} {dtype:?}"));
        let kurtosis = 3. + (1. - 6. * p * q) / variance;
        let x = Binomial::from_probs(&count, &prob)?.sample(&[COUNT], &mut rng)?;
        moments(&what, &floats(&x)?, n * p, variance, kurtosis);
        if dtype == DType::F64 {
            let x = Binomial::new(&count, &logits)?.sample(&[COUNT], &mut rng)?;
            moments(
                &format!("{what} by logits"),
                &floats(&x)?,
                n * p,
                variance,
                kurtosis,
            );
        }
        if dtype == DType::F64 && n < 9e15 {
            let x = Multinomial::from_probs(&count, &both)?.sample(&[COUNT], &mut rng)?;
            let x = floats(&x.narrow(1, 0, 1)?)?;
            moments(
                &format!("{what} multinomial"),
                &x,
                n * p,
                variance,
                kurtosis,
            );
        }
        Ok(())
    };
    for (n, p) in [
        (8_388_607., 1e-6),
        (8_388_608., 1e-6),
        (8_388_608., 1e-5),
        (1e9, 5e-9),
        (1e9, 1e-6),
        (1e12, 0.3),
        (1e12, 1. - 5e-12),
        (1e13, 5e-13),
        (1e15, 1e-16),
        (1e15, 5e-15),
        (1e15, 1.5e-14),
        (1e15, 1e-12),
        (1e15, 0.5),
        (9.9e15, 5e-16),
        (1e16, 5e-16),
        (1e18, 1e-12),
    ] {
        check(n, p, DType::F64)?;
    }
    for (n, p) in [(1e15, 1e-14), (1e15, 5e-15), (3e7, 1e-6), (3e38, 1e-37)] {
        check(n, p, DType::F32)?;
    }
    check(60_000., 1e-4, DType::F16)?;
    check(1e30, 4e-30, DType::BF16)
}

#[test]
fn other_moments() -> Result<()> {
    let (mut rng, number) = (Rng::new(2), |x: f64| Tensor::new(x, CPU));
    for rate in [1e-3, 11.99, 12.01, 1e7, 1e15, 9.9e15, 1e17, 1e30] {
        let x = Poisson::new(&number(rate)?)?.sample(&[COUNT], &mut rng)?;
        moments(
            &format!("Poisson {rate:e}"),
            &floats(&x)?,
            rate,
            rate,
            3. + 1. / rate,
        );
    }
    for p in [1e-300, 1e-12, 0.5, 1. - 1e-3] {
        let x = Geometric::from_probs(&number(p)?)?.sample(&[COUNT], &mut rng)?;
        // In units of the mean, whose square overflows.
        let (mean, x) = ((1. - p) / p, floats(&x)?);
        let x: Vec<f64> = x.iter().map(|x| x / mean).collect();
        let kurtosis = 9. + p * (p / (1. - p));
        moments(&format!("Geometric {p:e}"), &x, 1., 1. / (1. - p), kurtosis);
    }
    for (r, p) in [
        (0.02, 0.9),
        (2.5, 1. - 1e-9),
        (1e6, 1e-6),
        (1e12, 5e-12),
        (1e15, 0.5),
        (1e18, 0.25),
        (1e25, 0.5),
    ] {
        let x = NegativeBinomial::from_probs(&number(r)?, &number(p)?)?;
        let x = floats(&x.sample(&[COUNT], &mut rng)?)?;
        let (mean, variance) = (r * p / (1. - p), r * p / (1. - p) / (1. - p));
        let kurtosis = 3. + 6. / r + (1. - p) * (1. - p) / (r * p);
        moments(
            &format!("NegativeBinomial {r:e} {p:e}"),
            &x,
            mean,
            variance,
            kurtosis,
        );
    }
    Ok(())
}

/// Draws of shape `[200]` and their log-masses.
fn scores<D: Distribution>(what: &str, d: D, rng: &mut Rng) -> Result<()> {
    let x = d.sample(&[200], rng)?;
    let log_prob = floats(&d.log_prob(&x)?)?;
    for (i, log_prob) in log_prob.iter().enumerate() {
        let x = x.get(i)?;
        assert!(log_prob.is_finite(), "{what}: {x} scores {log_prob}");
    }
    Ok(())
}

#[test]
fn every_draw_has_mass() -> Result<()> {
    let mut rng = Rng::new(3);
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let number = |x: f64| Tensor::new(x, CPU)?.to_dtype(dtype);
        // Counts that the dtype has a largest of, below which draws are not infinite.
        let most = match dtype {
            DType::F64 => 1e300,
            DType::F16 => 3e4,
            _ => 1e37,
        };
        for n in [
            0.,
            1.,
            20.,
            300.,
            3e4,
            33_554_432.,
            1e9,
            1e15,
            1e16,
            1e37,
            1e200,
        ] {
            for p in [0., 1e-37, 1e-15, 1e-7, 0.001, 0.7, 0.999, 1.] {
                let what = format!("{n:e} {p:e} {dtype:?}");
                if n > most {
                    continue;
                }
                let (count, prob) = (number(n)?, number(p)?);
                let binomial = Binomial::from_probs(&count, &prob)?;
                scores(&format!("Binomial {what}"), binomial, &mut rng)?;
                let own = floats(&prob)?[0];
                if n * own / (1. - own) < most / 30. && n > 0. && own < 1. {
                    let negative = NegativeBinomial::from_probs(&count, &prob)?;
                    scores(&format!("NegativeBinomial {what}"), negative, &mut rng)?;
                }
                if own * most > 100. {
                    let geometric = Geometric::from_probs(&prob)?;
                    scores(&format!("Geometric {what}"), geometric, &mut rng)?;
                }
            }
            if n <= most {
                scores(
                    &format!("Poisson {n:e} {dtype:?}"),
                    Poisson::new(&number(n)?)?,
                    &mut rng,
                )?;
            }
            let exact = match dtype {
                DType::F64 => 2f64.powi(53),
                DType::F32 => 2f64.powi(24),
                DType::F16 => 2f64.powi(11),
                _ => 2f64.powi(8),
            };
            let probs = Tensor::new(&[0.5, 0.125, 0.25, 0.125], CPU)?.to_dtype(dtype)?;
            for n in [n, exact, 2. * exact] {
                if n > most {
                    continue;
                }
                let multinomial = Multinomial::from_probs(&number(n)?, &probs);
                if floats(&number(n)?)?[0] > exact {
                    let message = multinomial.unwrap_err().to_string();
                    assert!(message.contains("counts up to"), "{message}");
                } else {
                    scores(
                        &format!("Multinomial {n:e} {dtype:?}"),
                        multinomial?,
                        &mut rng,
                    )?;
                }
            }
        }
    }
    Ok(())
}
