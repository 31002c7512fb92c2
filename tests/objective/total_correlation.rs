//! The rate in three parts: against sums over the whole data set, and over all batches that could have been drawn.

use crate::support::floats;
use candle_core::{D, DType, Device, Tensor};
use candle_prob::distribution::*;
use candle_prob::objective::MinibatchSampler::{Stratified, Weighted};
use candle_prob::objective::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

/// Means and scales of n posteriors of D dimensions.
fn posteriors(n: usize, dims: usize) -> Result<(Tensor, Tensor)> {
    let mut rng = Rng::new(21);
    let loc = rng.normal((n, dims), DType::F64, CPU)?;
    let scale = (rng.normal((n, dims), DType::F64, CPU)? * 0.3)?.exp()?;
    Ok((loc, scale))
}

fn standard(dims: usize) -> Result<MultivariateNormalDiag> {
    MultivariateNormalDiag::standard(dims, DType::F64, CPU)
}

/// `ln mean_n q(z_i | x_n)` of each code, and the sum of those of its dimensions.
fn exact(loc: &Tensor, scale: &Tensor, codes: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let (n, dims) = loc.dims2()?;
    let [loc, scale, codes] = [loc, scale, codes].map(floats);
    let (loc, scale, codes) = (loc?, scale?, codes?);
    let density = |z: f64, at: usize| {
        let t = (z - loc[at]) / scale[at];
        (-t * t / 2.).exp() / (scale[at] * (2. * std::f64::consts::PI).sqrt())
    };
    let mean = |f: &dyn Fn(usize) -> f64| ((0..n).map(f).sum::<f64>() / n as f64).ln();
    let of = |z: &[f64]| {
        let joint = mean(&|j| (0..dims).map(|d| density(z[d], j * dims + d)).product());
        let single = |d: usize| mean(&|j| density(z[d], j * dims + d));
        (joint, (0..dims).map(single).sum::<f64>())
    };
    Ok(codes.chunks_exact(dims).map(of).unzip())
}

#[test]
fn the_parts_add_up_to_the_rate_of_the_codes() -> Result<()> {
    let (loc, scale) = posteriors(6, 3)?;
    let (posterior, prior) = (MultivariateNormalDiag::new(&loc, &scale)?, standard(3)?);
    let codes = posterior.sample(&[2], &mut Rng::new(1))?;
    let rate = floats(&(posterior.log_prob(&codes)? - prior.log_prob(&codes)?)?)?;
    for sampler in [Weighted, Stratified] {
        let parts = decompose_rate(&posterior, &prior, &codes, 50, sampler)?;
        let sum = ((parts.index_code + parts.total_correlation)? + parts.dimension_wise)?;
        assert_eq!(sum.dims(), &[2, 6]);
        for (sum, rate) in floats(&sum)?.iter().zip(&rate) {
            assert!((sum - rate).abs() < 1e-12, "{sum} {rate}");
        }
    }
    Ok(())
}

/// With the whole data set in the batch, weights 1 / (N B) are 1 / N off.
#[test]
fn weighted_sums_over_all_data_are_exact_but_for_a_constant() -> Result<()> {
    let (n, dims) = (7, 3);
    let (loc, scale) = posteriors(n, dims)?;
    let (posterior, prior) = (MultivariateNormalDiag::new(&loc, &scale)?, standard(dims)?);
    let codes = posterior.sample(&[], &mut Rng::new(2))?;
    let (joint, single) = exact(&loc, &scale, &codes)?;
    let (own, prior_density) = (
        floats(&posterior.log_prob(&codes)?)?,
        floats(&prior.log_prob(&codes)?)?,
    );
    let parts = decompose_rate(&posterior, &prior, &codes, n, Weighted)?;
    let off = (n as f64).ln();
    let [index_code, correlation, dimensions] = [
        parts.index_code,
        parts.total_correlation,
        parts.dimension_wise,
    ]
    .map(|x| floats(&x));
    let (index_code, correlation, dimensions) = (index_code?, correlation?, dimensions?);
    for i in 0..n {
        let shift = (dims - 1) as f64 * off;
        for (got, want) in [
            (index_code[i], own[i] - joint[i] + off),
            (correlation[i], joint[i] - single[i] + shift),
            (
                dimensions[i],
                single[i] - prior_density[i] - dims as f64 * off,
            ),
        ] {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
    Ok(())
}

/// Both estimates of q(z) for the code of a row of the batch, of five examples in all.
fn estimate(loc: &Tensor, scale: &Tensor, z: &Tensor, row: usize) -> Result<[f64; 2]> {
    let (n, dims) = (5, loc.dim(1)?);
    let posterior = MultivariateNormalDiag::new(loc, scale)?;
    let of = |sampler| -> Result<f64> {
        let parts = decompose_rate(&posterior, &standard(dims)?, z, n, sampler)?;
        // A single dimension has no correlation with itself.
        let correlation = floats(&parts.total_correlation)?;
        assert!(dims > 1 || correlation.iter().all(|x| x.abs() < 1e-12));
        let log = (posterior.log_prob(z)? - parts.index_code)?;
        Ok(floats(&log)?[row].exp())
    };
    Ok([of(Stratified)?, of(Weighted)?])
}

/// Over all ordered draws of the rest of a batch without replacement, the mean of the estimate of q(z) is q(z), wherever in the
/// batch the example is.
#[test]
fn the_stratified_estimate_is_unbiased() -> Result<()> {
    let (n, batch) = (5, 3);
    for dims in [1, 2] {
        let (loc, scale) = posteriors(n, dims)?;
        let all = MultivariateNormalDiag::new(&loc, &scale)?;
        let codes = all.sample(&[], &mut Rng::new(3))?;
        let (joint, _) = exact(&loc, &scale, &codes)?;
        for (own, row) in (0..n as u32).flat_map(|own| (0..batch).map(move |row| (own, row))) {
            let (mut sums, mut batches) = ([0.; 2], 0.);
            for a in (0..n as u32).filter(|a| *a != own) {
                for b in (0..n as u32).filter(|b| *b != own && *b != a) {
                    let mut chosen = vec![a, b];
                    chosen.insert(row, own);
                    let chosen = Tensor::new(chosen, CPU)?;
                    let of = |x: &Tensor| x.index_select(&chosen, 0);
                    let found = estimate(&of(&loc)?, &of(&scale)?, &of(&codes)?, row)?;
                    for (sum, found) in sums.iter_mut().zip(found) {
                        *sum += found;
                    }
                    batches += 1.;
                }
            }
            assert_eq!(batches, 12.);
            let want = joint[own as usize].exp();
            assert!((sums[0] / batches - want).abs() < 1e-12 * want.max(1.));
            // What is lower by nature shows that this could fail.
            assert!(sums[1] / batches < 0.9 * want);
        }
    }
    Ok(())
}

fn run(inputs: &[Tensor], config: &BetaTcConfig) -> Result<BetaTc> {
    let posterior = MultivariateNormalDiag::from_log_var(&inputs[0], &inputs[1])?;
    let decoder = |z: &Tensor| {
        Normal::new(&z.broadcast_matmul(&inputs[2])?, &Tensor::new(0.7, CPU)?)?.to_event(1)
    };
    let target = Rng::new(4).normal((4, 3), DType::F64, CPU)?;
    beta_tc(
        &posterior,
        &standard(2)?,
        &decoder,
        &target,
        config,
        &mut Rng::new(5),
    )
}

fn inputs() -> Result<[Tensor; 3]> {
    let (loc, scale) = posteriors(4, 2)?;
    let weight = Rng::new(6).normal((2, 3), DType::F64, CPU)?;
    Ok([loc, scale.log()?, weight])
}

#[test]
fn with_weights_of_1_it_is_the_bound() -> Result<()> {
    let inputs = inputs()?;
    let posterior = MultivariateNormalDiag::from_log_var(&inputs[0], &inputs[1])?;
    let (prior, target) = (standard(2)?, Rng::new(4).normal((4, 3), DType::F64, CPU)?);
    let decoder = |z: &Tensor| {
        Normal::new(&z.broadcast_matmul(&inputs[2])?, &Tensor::new(0.7, CPU)?)?.to_event(1)
    };
    let (config, rng) = (ElboConfig::default(), &mut Rng::new(5));
    let plain = elbo(
        &posterior,
        &MonteCarlo(&prior),
        &decoder,
        &target,
        &config,
        rng,
    )?;
    for sampler in [Weighted, Stratified] {
        let config = BetaTcConfig {
            beta: 1.,
            sampler,
            ..BetaTcConfig::new(100)
        };
        let parts = run(&inputs, &config)?;
        for (got, want) in floats(&parts.total)?.iter().zip(floats(&plain.total)?) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn gradients_are_pathwise() -> Result<()> {
    for sampler in [Weighted, Stratified] {
        let config = BetaTcConfig {
            alpha: 0.5,
            gamma: 2.,
            sampler,
            ..BetaTcConfig::new(30)
        };
        check_gradient(&|x| Ok(run(x, &config)?.total), &inputs()?, 1e-6)?;
        // The decoder has no part in the rate.
        let [loc, log_var, weight] = inputs()?;
        let correlation = |x: &[Tensor]| {
            let inputs = [x[0].clone(), x[1].clone(), weight.clone()];
            Ok(run(&inputs, &config)?.rate.total_correlation)
        };
        check_gradient(&correlation, &[loc, log_var], 1e-6)?;
    }
    Ok(())
}

#[test]
fn every_setting_has_a_say() -> Result<()> {
    let inputs = inputs()?;
    let loss = |config: BetaTcConfig| -> Result<f64> {
        Ok(run(&inputs, &config)?.total.mean_all()?.to_scalar()?)
    };
    let config = BetaTcConfig::new(30);
    let plain = loss(config)?;
    for other in [
        BetaTcConfig {
            alpha: 2.,
            ..config
        },
        BetaTcConfig { beta: 2., ..config },
        BetaTcConfig {
            gamma: 2.,
            ..config
        },
        BetaTcConfig { data: 60, ..config },
        BetaTcConfig {
            sampler: Stratified,
            ..config
        },
        BetaTcConfig {
            alpha: 0.,
            ..config
        },
    ] {
        assert!((loss(other)? - plain).abs() > 1e-6, "{other:?}");
    }
    for other in [
        BetaTcConfig {
            alpha: -1.,
            ..config
        },
        BetaTcConfig {
            beta: f64::NAN,
            ..config
        },
        BetaTcConfig {
            gamma: f64::INFINITY,
            ..config
        },
        BetaTcConfig { data: 3, ..config },
    ] {
        assert!(
            matches!(run(&inputs, &other), Err(Error::Value { .. })),
            "{other:?}"
        );
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let normal = |dims: &[usize]| -> Result<MultivariateNormalDiag> {
        let zero = Tensor::zeros(dims, DType::F64, CPU)?;
        MultivariateNormalDiag::from_log_var(&zero, &zero)
    };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, CPU);
    let run =
        |posterior: &[usize], prior: &[usize], codes: &[usize], sampler| -> Result<RateParts> {
            decompose_rate(
                &normal(posterior)?,
                &normal(prior)?,
                &zeros(codes)?,
                10,
                sampler,
            )
        };
    assert!(run(&[4, 2], &[2], &[4, 2], Stratified).is_ok());
    assert!(run(&[1, 2], &[2], &[1, 2], Weighted).is_ok());
    for (posterior, prior, codes, sampler) in [
        (&[1, 2][..], &[2][..], &[1, 2][..], Stratified),
        (&[0, 2], &[2], &[0, 2], Weighted),
        (&[2, 4, 2], &[2], &[2, 4, 2], Weighted),
        (&[2], &[2], &[2], Weighted),
        (&[4, 2], &[2], &[3, 2], Weighted),
        (&[4, 2], &[2], &[4, 3], Weighted),
        (&[4, 2], &[3], &[4, 2], Weighted),
        (&[4, 2], &[3, 1, 2], &[4, 2], Weighted),
    ] {
        let refused = run(posterior, prior, codes, sampler);
        assert!(
            matches!(refused, Err(Error::Shape { .. })),
            "{posterior:?} {prior:?} {codes:?}"
        );
    }
    Ok(())
}

/// In single precision, events of more dims, strided codes.
#[test]
fn other_dtypes_events_and_layouts() -> Result<()> {
    let (loc, scale) = posteriors(6, 4)?;
    let of = |dtype: DType| -> Result<Vec<f64>> {
        let [loc, scale] = [&loc, &scale].map(|x| x.reshape((6, 2, 2))?.to_dtype(dtype));
        let posterior = Normal::new(&loc?, &scale?)?.to_event(2)?;
        let zero = Tensor::zeros((2, 2), dtype, CPU)?;
        let prior = Normal::new(&zero, &zero.ones_like()?)?.to_event(2)?;
        let codes = Rng::new(7)
            .normal((6, 2, 2), DType::F64, CPU)?
            .to_dtype(dtype)?;
        let codes = codes.permute((2, 1, 0))?.contiguous()?.permute((2, 1, 0))?;
        let parts = decompose_rate(&posterior, &prior, &codes, 50, Stratified)?;
        let parts = [
            parts.index_code,
            parts.total_correlation,
            parts.dimension_wise,
        ];
        floats(&Tensor::stack(&parts, D::Minus1)?)
    };
    for (got, want) in of(DType::F32)?.iter().zip(of(DType::F64)?) {
        assert!(
            (got - want).abs() < 2e-5 * want.abs().max(1.),
            "{got} {want}"
        );
    }
    let flat = MultivariateNormalDiag::new(&loc, &scale)?;
    let codes = Rng::new(7)
        .normal((6, 2, 2), DType::F64, CPU)?
        .reshape((6, 4))?;
    let parts = decompose_rate(&flat, &standard(4)?, &codes, 50, Stratified)?;
    let nested = of(DType::F64)?;
    for (i, got) in floats(&parts.total_correlation)?.iter().enumerate() {
        assert!((got - nested[3 * i + 1]).abs() < 1e-12);
    }
    Ok(())
}
