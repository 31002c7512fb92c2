//! Gradients, means, and the digits of every dtype, near and far out.

use super::{CPU, DTYPES, losses, scalar, slopes, vector};
use crate::support::floats;
use candle_core::{DType, Tensor, Var};
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng};

type Function<'a> = dyn Fn(&[Tensor]) -> Result<Tensor> + 'a;

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let mut rng = Rng::new(5);
    let mut scores = |n: usize| rng.normal(n, DType::F64, CPU);
    // As many of both, so that there are pairs, and not.
    let inputs = [[scores(6)?, scores(6)?], [scores(5)?, scores(3)?]];
    let cases = inputs.iter().map(|inputs| Ok((inputs, losses()?)));
    let cases: Vec<_> = cases.collect::<Result<_>>()?;
    let cases = cases.into_iter().flat_map(|(inputs, losses)| {
        let losses = losses.into_iter();
        losses.map(move |(what, loss)| (inputs, what, loss))
    });
    for (inputs, what, loss) in cases {
        if what == "pairs" && inputs[0].dims() != inputs[1].dims() {
            continue;
        }
        let functions: [&Function; 5] = [
            &|x| loss.critic(&x[0], &x[1])?.total(),
            &|x| loss.generator(&x[0], &x[1])?.total(),
            &|x| Ok(loss.critic(&x[0], &x[1])?.real),
            &|x| Ok(loss.critic(&x[0], &x[1])?.fake),
            // Terms and their mean together.
            &|x| {
                let parts = loss.generator(&x[0], &x[1])?;
                Ok(parts.terms.broadcast_add(&(parts.total()? * 0.7)?)?)
            },
        ];
        for (i, f) in functions.into_iter().enumerate() {
            let checked = check_gradient(&|x| f(x), inputs, 1e-7);
            assert!(checked.is_ok(), "{what} {i}: {checked:?}");
        }
    }
    Ok(())
}

#[test]
fn totals_are_means_of_the_parts_that_players_see() -> Result<()> {
    let mut rng = Rng::new(8);
    let (n, m) = (70_001, 65_536);
    for dtype in DTYPES {
        let real = rng.normal(n, dtype, CPU)?;
        let fake = rng.normal(m, dtype, CPU)?;
        let mean = |x: &Tensor| -> Result<f64> {
            let x = floats(x)?;
            Ok(x.iter().sum::<f64>() / x.len() as f64)
        };
        for (what, loss) in losses()?.into_iter().filter(|(what, _)| what != "pairs") {
            let critic = loss.critic(&real, &fake)?;
            assert_eq!(
                (critic.real.dims(), critic.fake.dims()),
                (&[n][..], &[m][..])
            );
            let parts = [mean(&critic.real)?, mean(&critic.fake)?];
            let (got, want) = (scalar(&critic.total()?)?, parts[0] + parts[1]);
            let size = parts[0].abs() + parts[1].abs();
            assert!(
                (got - want).abs() < 2e-7 * size,
                "{what}: {got}, not {want}"
            );
            let generator = loss.generator(&real, &fake)?;
            let mut want = mean(&generator.terms)?;
            if let Some(real) = &generator.real {
                want += mean(real)?;
            }
            let got = scalar(&generator.total()?)?;
            assert!((got - want).abs() < 2e-7 * (1. + want.abs()), "{what}");
        }
    }
    Ok(())
}

/// f32 is computed in f32 where that keeps its digits; f64 is exact, to compare with. Slopes keep theirs where they vanish.
#[test]
fn single_precision_keeps_its_digits() -> Result<()> {
    let scores = Tensor::arange_step(-60f32, 60., 0.37, CPU)?;
    let count = scores.elem_count() as f64;
    for (what, loss) in losses()? {
        let run = |dtype: DType| -> Result<Vec<Vec<f64>>> {
            let real = Var::from_tensor(&scores.to_dtype(dtype)?)?;
            let fake = Var::from_tensor(&scores.to_dtype(dtype)?)?;
            let critic = loss.critic(&real, &fake)?;
            let generator = loss.generator(&real, &fake)?;
            let total = critic.total()?;
            Ok(vec![
                floats(&critic.real)?,
                floats(&critic.fake)?,
                floats(&generator.terms)?,
                slopes(&total, &real)?,
                slopes(&total, &fake)?,
                slopes(&generator.total()?, &fake)?,
            ])
        };
        for (k, (got, want)) in run(DType::F32)?.iter().zip(run(DType::F64)?).enumerate() {
            // The slopes of scores beside their means are differences.
            let (factor, floor) = match k {
                0..3 => (1., 1e-6),
                _ => (count, if what == "average" { 1e-6 } else { 1e-30 }),
            };
            for (got, want) in got.iter().zip(want) {
                let (got, want) = (got * factor, want * factor);
                let near = (got - want).abs() <= 1e-5 * want.abs() + floor;
                assert!(near, "{what} {k}: {got}, not {want}");
            }
        }
    }
    Ok(())
}

/// Half precision is rounded once, at the end: what is inside, as the means that scores are compared with, is not.
#[test]
fn half_precision_rounds_once() -> Result<()> {
    let near = ([0.5, -1.25, 2.], [-0.75, 1.5, 0.25]);
    for (dtype, digit, far) in [
        (DType::BF16, 2f64.powi(-8), [256., 258., 256.]),
        (DType::F16, 2f64.powi(-11), [2048., 2050., 2050.]),
    ] {
        for (what, loss) in losses()? {
            // Means that half precision does not have.
            let means = (what == "average").then_some((far, far));
            for (real, fake) in [near].into_iter().chain(means) {
                let run = |dtype: DType| -> Result<Vec<Vec<f64>>> {
                    let real = Var::from_tensor(&vector(&real, dtype)?)?;
                    let fake = Var::from_tensor(&vector(&fake, dtype)?)?;
                    let critic = loss.critic(&real, &fake)?;
                    let generator = loss.generator(&real, &fake)?;
                    assert_eq!(critic.total()?.dtype(), dtype);
                    let mut out = vec![
                        floats(&critic.real)?,
                        floats(&critic.fake)?,
                        floats(&generator.terms)?,
                    ];
                    for total in [critic.total()?, generator.total()?] {
                        out.push(slopes(&total, &real)?);
                        out.push(slopes(&total, &fake)?);
                    }
                    Ok(out)
                };
                let pairs = run(dtype)?.into_iter().zip(run(DType::F64)?);
                for (k, (got, want)) in pairs.enumerate() {
                    for (got, want) in got.iter().zip(want) {
                        // Slopes through means are sums of two, each rounded, as their sum is.
                        let room = match k {
                            0..3 => digit * want.abs(),
                            _ => 3. * digit * want.abs().max(0.5),
                        };
                        let near = (got - want).abs() <= room + 1e-6;
                        assert!(near, "{what} {dtype:?} {k}: {got}, not {want}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn scores_of_ten_thousand_leave_everything_finite() -> Result<()> {
    let n = 65_536;
    for dtype in DTYPES {
        for (real, fake) in [(1e4, 1e4), (1e4, -1e4), (-1e4, 1e4), (-1e4, -1e4)] {
            let real = Var::from_tensor(&Tensor::full(real, n, CPU)?.to_dtype(dtype)?)?;
            let fake = Var::from_tensor(&Tensor::full(fake, n, CPU)?.to_dtype(dtype)?)?;
            for (what, loss) in losses()? {
                let critic = loss.critic(&real, &fake)?;
                let generator = loss.generator(&real, &fake)?;
                assert!(scalar(&critic.divergence)?.is_finite(), "{what} {dtype:?}");
                for total in [critic.total()?, generator.total()?] {
                    assert!(scalar(&total)?.is_finite(), "{what} {dtype:?}");
                    for x in [&real, &fake] {
                        let slopes = slopes(&total, x)?;
                        assert!(slopes.iter().all(|s| s.is_finite()), "{what} {dtype:?}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn views_of_scores_are_scores() -> Result<()> {
    let mut rng = Rng::new(9);
    for dtype in DTYPES {
        let (real, fake) = (
            rng.normal((4, 6), dtype, CPU)?,
            rng.normal((6, 4), dtype, CPU)?,
        );
        for (what, loss) in losses()? {
            let strided = |x: &Tensor| x.t()?.narrow(0, 1, 3);
            let (a, b) = (
                strided(&real)?.narrow(1, 0, 3)?,
                strided(&fake)?.narrow(1, 1, 3)?,
            );
            let viewed = loss.critic(&a, &b)?;
            let copied = loss.critic(&a.contiguous()?, &b.contiguous()?)?;
            assert_eq!(
                floats(&viewed.total()?)?,
                floats(&copied.total()?)?,
                "{what}"
            );
            assert_eq!(viewed.real.dims(), &[3, 3]);
            assert_eq!(floats(&viewed.fake)?, floats(&copied.fake)?, "{what}");
        }
    }
    Ok(())
}

/// Where nothing is asked for, an infinite slope or NaN says nothing.
#[test]
fn an_upstream_of_zero_is_a_gradient_of_zero() -> Result<()> {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (what, loss) in losses()? {
            let real = Var::new(&[0.5, 1.], CPU)?;
            let fake = Var::new(&[0.25, bad], CPU)?;
            let generator = loss.generator(&real, &fake)?;
            let first = generator.terms.narrow(0, 0, 1)?.sum_all()?;
            // Candle's product with the number 0 has no graph at all.
            let nothing = (generator.total()? * Tensor::new(0f64, CPU)?)?;
            let got = slopes(&nothing, &fake)?;
            assert_eq!(got, [0., 0.], "{what}");
            // What is centred is of every score.
            if what != "average" {
                assert_eq!(slopes(&first, &fake)?[1], 0., "{what}");
            }
        }
    }
    Ok(())
}
