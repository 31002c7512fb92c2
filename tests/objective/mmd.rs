//! Codes that as a whole are distributed as the prior: the discrepancy of samples, and the objectives that have it or penalize
//! covariances.

use crate::support::floats;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::divergence::MmdStatistic::{Biased, Unbiased};
use candle_prob::divergence::{MmdKernel, MmdStatistic, median_distance, mmd_squared};
use candle_prob::objective::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn kernels() -> [MmdKernel; 5] {
    [
        MmdKernel::Rbf(vec![0.8]),
        MmdKernel::Rbf(vec![0.5, 1., 3.]),
        MmdKernel::InverseMultiquadratic(vec![0.4, 2.]),
        MmdKernel::Polynomial(1),
        MmdKernel::Polynomial(3),
    ]
}

fn normal(seed: u64, n: usize, d: usize) -> Result<Tensor> {
    Rng::new(seed).normal((n, d), DType::F64, CPU)
}

/// By the definition, pair by pair.
fn direct(x: &Tensor, y: &Tensor, kernel: &MmdKernel, statistic: MmdStatistic) -> Result<f64> {
    let d = x.dim(1)?;
    let (x, y) = (floats(x)?, floats(y)?);
    let k = |a: &[f64], b: &[f64]| -> f64 {
        let s: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
        match kernel {
            MmdKernel::Rbf(widths) => widths.iter().map(|b| (-s / (2. * b * b)).exp()).sum(),
            MmdKernel::InverseMultiquadratic(widths) => widths.iter().map(|c| c / (c + s)).sum(),
            MmdKernel::Polynomial(degree) => {
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                (1. + product / d as f64).powi(*degree as i32)
            }
        }
    };
    let mean = |x: &[f64], y: &[f64], own: bool| {
        let (mut sum, mut count) = (0., 0.);
        for (i, a) in x.chunks_exact(d).enumerate() {
            for (j, b) in y.chunks_exact(d).enumerate() {
                if !(own && i == j && statistic == Unbiased) {
                    sum += k(a, b);
                    count += 1.;
                }
            }
        }
        sum / count
    };
    Ok(mean(&x, &x, true) + mean(&y, &y, true) - 2. * mean(&x, &y, false))
}

/// What is left out may be infinite.
#[test]
fn a_point_with_itself_is_not_in_the_unbiased_sum() -> Result<()> {
    let far = Tensor::new(&[[1e7f32], [1.], [2.]], CPU)?;
    let near = Tensor::new(&[[3f32], [1.], [0.5]], CPU)?;
    let kernel = MmdKernel::Polynomial(3);
    for [x, y] in [[&far, &near], [&near, &far]] {
        let slopes = |dtype: DType| -> Result<[Vec<f64>; 3]> {
            let (x, y) = (
                Var::from_tensor(&x.to_dtype(dtype)?)?,
                Var::from_tensor(&y.to_dtype(dtype)?)?,
            );
            let found = mmd_squared(&x, &y, &kernel, Unbiased)?;
            let store = found.backward()?;
            let of = |x: &Var| store.get(x).map_or(Ok(vec![]), floats);
            Ok([floats(&found)?, of(&x)?, of(&y)?])
        };
        let pairs = slopes(DType::F32)?.into_iter().zip(slopes(DType::F64)?);
        for (got, want) in pairs {
            let most = want.iter().fold(0f64, |most, x| most.max(x.abs()));
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-5 * most, "{got}, not {want}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_discrepancy_is_that_of_the_definition() -> Result<()> {
    let (x, y) = (normal(1, 7, 3)?, (normal(2, 5, 3)? * 1.5)?);
    for kernel in kernels() {
        for statistic in [Unbiased, Biased] {
            let want = direct(&x, &y, &kernel, statistic)?;
            let got = mmd_squared(&x, &y, &kernel, statistic)?;
            assert!((floats(&got)?[0] - want).abs() < 1e-13, "{kernel:?}");
            // Far from the origin, in single precision, and by strides.
            if !matches!(kernel, MmdKernel::Polynomial(_)) {
                let far = mmd_squared(&(&x + 1e5)?, &(&y + 1e5)?, &kernel, statistic)?;
                assert!((floats(&far)?[0] - want).abs() < 1e-8, "{kernel:?}");
            }
            let [a, b] = [&x, &y].map(|x| x.to_dtype(DType::F32));
            let single = mmd_squared(&a?, &b?, &kernel, statistic)?;
            assert!((floats(&single)?[0] - want).abs() < 1e-5, "{kernel:?}");
            let [a, b] = [&x, &y].map(|x| x.t()?.contiguous()?.t());
            let strided = mmd_squared(&a?, &b?, &kernel, statistic)?;
            assert!((floats(&strided)?[0] - want).abs() < 1e-13, "{kernel:?}");
            let both = [x.clone(), y.clone()];
            check_gradient(
                &|p| mmd_squared(&p[0], &p[1], &kernel, statistic),
                &both,
                1e-6,
            )?;
        }
    }
    Ok(())
}

/// More pairs than are in memory at once.
#[test]
fn blocks_of_rows_add_up() -> Result<()> {
    let (x, y) = (normal(3, 1100, 2)?, normal(4, 1000, 2)?);
    let kernel = MmdKernel::InverseMultiquadratic(vec![1.]);
    for statistic in [Unbiased, Biased] {
        let want = direct(&x, &y, &kernel, statistic)?;
        let got = floats(&mmd_squared(&x, &y, &kernel, statistic)?)?[0];
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
    Ok(())
}

/// Four standard errors: one in 16,000 fails by chance. The biased statistic is far above 0, so that this can fail.
#[test]
fn the_unbiased_statistic_of_equal_laws_is_0_on_average() -> Result<()> {
    let kernel = MmdKernel::Rbf(vec![1.]);
    let mut found = [vec![], vec![]];
    for seed in 0..400 {
        let (x, y) = (normal(1000 + seed, 8, 2)?, normal(5000 + seed, 6, 2)?);
        for (found, statistic) in found.iter_mut().zip([Unbiased, Biased]) {
            found.push(floats(&mmd_squared(&x, &y, &kernel, statistic)?)?[0]);
        }
    }
    assert!(found[1].iter().all(|x| *x >= 0.));
    let z = found.map(|x| {
        let (n, mean) = (x.len() as f64, x.iter().sum::<f64>() / x.len() as f64);
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.);
        mean / (variance / n).sqrt()
    });
    assert!(z[0].abs() < 4. && z[1] > 8., "{z:?}");
    Ok(())
}

/// Between N(0, I) and N(m, I) in d dimensions with an RBF kernel of bandwidth b:
/// `2 (b^2 / (b^2 + 2))^(d/2) (1 - e^(-|m|^2 / (2 (b^2 + 2))))`.
#[test]
fn the_discrepancy_of_normals_meets_its_closed_form() -> Result<()> {
    let (d, b) = (2, 1.3f64);
    let shift = Tensor::new(&[0.8, -0.5], CPU)?;
    let (x, y) = (
        normal(6, 3000, d)?,
        normal(7, 3000, d)?.broadcast_add(&shift)?,
    );
    let wide = b * b + 2.;
    let want = 2. * (b * b / wide) * (1. - (-(0.64 + 0.25) / (2. * wide)).exp());
    let got = floats(&mmd_squared(&x, &y, &MmdKernel::Rbf(vec![b]), Unbiased)?)?[0];
    // The standard error is about 0.006.
    assert!((got - want).abs() < 0.03 && want > 0.1, "{got} {want}");
    Ok(())
}

#[test]
fn medians_of_distances() -> Result<()> {
    let points = Tensor::new(&[[0f64, 0.], [3., 4.], [0., 1.], [10., 0.]], CPU)?;
    // 1, sqrt 18, 5, sqrt 65, 10, sqrt 101
    let want = (5. + 65f64.sqrt()) / 2.;
    assert!((median_distance(&points)? - want).abs() < 1e-15);
    let nan = Tensor::new(&[[0f64], [f64::NAN]], CPU)?;
    assert!(matches!(median_distance(&nan), Err(Error::Value { .. })));
    let one = points.narrow(0, 0, 1)?;
    assert!(matches!(median_distance(&one), Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn samples_and_kernels_that_do_not_fit_are_refused() -> Result<()> {
    let (x, kernel) = (normal(1, 4, 2)?, MmdKernel::for_codes(2));
    let points = |dims: &[usize], dtype: DType| Tensor::zeros(dims, dtype, CPU);
    for dims in [&[1, 2][..], &[0, 2], &[4, 3], &[4, 0], &[4], &[1, 4, 2]] {
        let y = points(dims, DType::F64)?;
        let refused = mmd_squared(&x, &y, &kernel, Unbiased);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{dims:?}");
    }
    assert!(mmd_squared(&x, &points(&[1, 2], DType::F64)?, &kernel, Biased).is_ok());
    let refused = mmd_squared(&x, &points(&[4, 2], DType::F32)?, &kernel, Biased);
    assert!(matches!(refused, Err(Error::DType { .. })));
    let refused = mmd_squared(&x, &x, &MmdKernel::Polynomial(0), Unbiased);
    assert!(matches!(refused, Err(Error::Value { .. })));
    for widths in [
        vec![],
        vec![0.],
        vec![1., -1.],
        vec![f64::NAN],
        vec![f64::INFINITY],
    ] {
        for kernel in [
            MmdKernel::Rbf(widths.clone()),
            MmdKernel::InverseMultiquadratic(widths),
        ] {
            let refused = mmd_squared(&x, &x, &kernel, Unbiased);
            assert!(matches!(refused, Err(Error::Value { .. })), "{kernel:?}");
        }
    }
    Ok(())
}

fn inputs() -> Result<[Tensor; 2]> {
    Ok([normal(8, 5, 2)?, (normal(9, 5, 2)? * 0.3)?])
}

fn posterior(inputs: &[Tensor]) -> Result<MultivariateNormalDiag> {
    MultivariateNormalDiag::from_log_var(&inputs[0], &inputs[1])
}

fn decoder(z: &Tensor) -> Result<Independent<Normal>> {
    Normal::new(&z.sin()?, &Tensor::new(0.7, CPU)?)?.to_event(1)
}

fn info(inputs: &[Tensor], config: &InfoVaeConfig) -> Result<InfoVae> {
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let (target, rng) = (normal(10, 5, 2)?, &mut Rng::new(11));
    info_vae(&posterior(inputs)?, &prior, &decoder, &target, config, rng)
}

fn wasserstein(inputs: &[Tensor], config: &WaeConfig) -> Result<Wae> {
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let (target, rng) = (normal(10, 5, 2)?, &mut Rng::new(11));
    wae(&posterior(inputs)?, &prior, &decoder, &target, config, rng)
}

#[test]
fn without_its_own_part_the_info_vae_is_the_bound() -> Result<()> {
    let inputs = inputs()?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let (target, config) = (normal(10, 5, 2)?, ElboConfig::default());
    let rng = &mut Rng::new(11);
    let plain = elbo(
        &posterior(&inputs)?,
        &prior,
        &decoder,
        &target,
        &config,
        rng,
    )?;
    let config = InfoVaeConfig {
        alpha: 0.,
        ..InfoVaeConfig::new(1., 2)
    };
    let parts = info(&inputs, &config)?;
    assert_eq!(floats(&parts.total)?, floats(&plain.total)?);
    // The Wasserstein autoencoder is the InfoVAE without a rate.
    let parts = info(&inputs, &InfoVaeConfig::new(3., 2))?;
    let same = wasserstein(&inputs, &WaeConfig::new(3., 2))?;
    assert_eq!(floats(&parts.total)?, floats(&same.total)?);
    let by_hand = (&parts.distortion + floats(&parts.discrepancy)?[0] * 3.)?;
    assert_eq!(floats(&parts.total)?, floats(&by_hand)?);
    Ok(())
}

#[test]
fn gradients_are_pathwise_and_every_setting_has_a_say() -> Result<()> {
    let inputs = inputs()?;
    let config = InfoVaeConfig {
        alpha: 0.3,
        ..InfoVaeConfig::new(5., 2)
    };
    check_gradient(&|x| Ok(info(x, &config)?.total), &inputs, 1e-6)?;
    check_gradient(
        &|x| Ok(wasserstein(x, &WaeConfig::new(5., 2))?.total),
        &inputs,
        1e-6,
    )?;
    let loss = |config: &InfoVaeConfig| floats(&info(&inputs, config)?.total.mean_all()?);
    let plain = loss(&config)?[0];
    for other in [
        InfoVaeConfig {
            alpha: 0.6,
            ..config.clone()
        },
        InfoVaeConfig {
            lambda: 6.,
            ..config.clone()
        },
        InfoVaeConfig {
            kernel: MmdKernel::Rbf(vec![1.]),
            ..config.clone()
        },
        InfoVaeConfig {
            statistic: Biased,
            ..config.clone()
        },
    ] {
        assert!((loss(&other)?[0] - plain).abs() > 1e-6, "{other:?}");
    }
    let loss = |config: &WaeConfig| floats(&wasserstein(&inputs, config)?.total.mean_all()?);
    let config = WaeConfig::new(5., 2);
    let plain = loss(&config)?[0];
    for other in [
        WaeConfig {
            lambda: 6.,
            ..config.clone()
        },
        WaeConfig {
            kernel: MmdKernel::Rbf(vec![1.]),
            ..config.clone()
        },
        WaeConfig {
            statistic: Biased,
            ..config.clone()
        },
    ] {
        assert!((loss(&other)?[0] - plain).abs() > 1e-6, "{other:?}");
    }
    for (alpha, lambda) in [(1.5, 1.), (0.2, 0.5), (f64::NAN, 1.), (1., f64::INFINITY)] {
        let config = InfoVaeConfig {
            alpha,
            lambda,
            ..InfoVaeConfig::new(1., 2)
        };
        assert!(
            matches!(info(&inputs, &config), Err(Error::Value { .. })),
            "{config:?}"
        );
    }
    let refused = wasserstein(&inputs, &WaeConfig::new(-1., 2));
    assert!(matches!(refused, Err(Error::Value { .. })));
    // One example, and a prior with copies.
    let one = inputs.each_ref().map(|x| x.narrow(0, 0, 1));
    let [loc, log_var] = one;
    let refused = info(&[loc?, log_var?], &InfoVaeConfig::new(1., 2));
    assert!(matches!(refused, Err(Error::Shape { .. })));
    let (copies, target) = (posterior(&inputs)?, normal(10, 5, 2)?);
    let config = WaeConfig::new(1., 2);
    let refused = wae(
        &copies,
        &copies,
        &decoder,
        &target,
        &config,
        &mut Rng::new(0),
    );
    assert!(matches!(refused, Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn covariances_are_compared_with_the_identity() -> Result<()> {
    let inputs = inputs()?;
    let (means, log_var) = (floats(&inputs[0])?, floats(&inputs[1])?);
    let mean = |f: &dyn Fn(usize) -> f64| (0..5).map(f).sum::<f64>() / 5.;
    let centre = [0, 1].map(|d| mean(&|i| means[2 * i + d]));
    let of_means = |a: usize, b: usize| {
        mean(&|i| (means[2 * i + a] - centre[a]) * (means[2 * i + b] - centre[b]))
    };
    let within = |d: usize| mean(&|i| log_var[2 * i + d].exp());
    for (config, codes) in [(DipConfig::means(3.), 0.), (DipConfig::codes(2.), 1.)] {
        let parts = dip(&posterior(&inputs)?, &config)?;
        let off = 2. * of_means(0, 1).powi(2);
        let on = [0, 1].map(|d| (of_means(d, d) + codes * within(d) - 1.).powi(2));
        let on: f64 = on.iter().sum();
        let total = config.off_diagonal * off + config.diagonal * on;
        for (got, want) in [
            (&parts.off_diagonal, off),
            (&parts.diagonal, on),
            (&parts.total, total),
        ] {
            assert!((floats(got)?[0] - want).abs() < 1e-12, "{config:?}");
        }
        let inputs = [inputs[0].clone(), (&inputs[1] + 0.2)?];
        check_gradient(
            &|x| {
                // DIP-VAE-I does not see the scales.
                let seen = (dip(&posterior(x)?, &config)?.total + (x[1].sum_all()? * 1e-3)?)?;
                Ok(seen)
            },
            &inputs,
            1e-6,
        )?;
    }
    let plain = DipConfig::codes(2.);
    let loss = |config: &DipConfig| floats(&dip(&posterior(&inputs)?, config)?.total);
    for other in [
        DipConfig {
            covariance: DipCovariance::Means,
            ..plain
        },
        DipConfig {
            off_diagonal: 3.,
            ..plain
        },
        DipConfig {
            diagonal: 3.,
            ..plain
        },
    ] {
        assert!(
            (loss(&other)?[0] - loss(&plain)?[0]).abs() > 1e-6,
            "{other:?}"
        );
    }
    for weight in [-1., f64::NAN] {
        let refused = dip(&posterior(&inputs)?, &DipConfig::codes(weight));
        assert!(matches!(refused, Err(Error::Value { .. })));
    }
    for rows in [0, 1] {
        let zero = Tensor::zeros((rows, 2), DType::F64, CPU)?;
        let refused = dip(&MultivariateNormalDiag::from_log_var(&zero, &zero)?, &plain);
        assert!(matches!(refused, Err(Error::Shape { .. })));
    }
    Ok(())
}
