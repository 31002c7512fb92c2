//! What a model has learned: log-likelihoods, active units, information, and paths between codes.

use super::linear_gaussian::Model;
use crate::support::floats;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::special::logsumexp;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn config(samples: usize, chunk: usize) -> LogLikelihoodConfig {
    LogLikelihoodConfig { samples, chunk }
}

fn close(got: &Tensor, want: &Tensor, bound: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in floats(got)?.iter().zip(floats(want)?) {
        assert!((got - want).abs() < bound, "{got} {want}");
    }
    Ok(())
}

/// All weights are p(x): one sample is enough, and any chunks do.
#[test]
fn from_the_posterior_the_log_likelihood_is_exact() -> Result<()> {
    let model = Model::general()?;
    let x = model.data(6)?;
    let (evidence, posterior, prior) = (model.evidence(&x)?, model.posterior(&x)?, model.prior()?);
    for config in [config(1, 1), config(7, 3), config(7, 100), config(5000, 64)] {
        let rng = &mut Rng::new(1);
        let found = log_likelihood(&posterior, &prior, &model.decoder(), &x, &config, rng)?;
        close(&found.value, &evidence, 1e-10)?;
        let all = (evidence.ones_like()? * config.samples as f64)?;
        close(&found.effective_samples, &all, 1e-6)?;
    }
    Ok(())
}

/// The same draws in one logarithm, whatever the chunks are.
#[test]
fn chunks_are_one_sum() -> Result<()> {
    let model = Model::general()?;
    let x = model.data(4)?;
    let (q, prior) = (model.diagonal_posterior(&x)?, model.prior()?);
    for (samples, chunk) in [(10, 10), (10, 3), (10, 1), (10, 64)] {
        let config = config(samples, chunk);
        let found = log_likelihood(&q, &prior, &model.decoder(), &x, &config, &mut Rng::new(2))?;
        let (mut rng, mut weights) = (Rng::new(2), vec![]);
        for start in (0..samples).step_by(chunk) {
            let latents = sample_latents(&q, &prior, &[chunk.min(samples - start)], &mut rng)?;
            let likelihood = model.decoder()(&latents.value)?.log_prob(&x)?;
            weights.push((likelihood - latents.log_ratio()?)?);
        }
        let weights = Tensor::cat(&weights, 0)?;
        let sum = logsumexp(&weights, 0)?;
        close(&found.value, &(&sum - (samples as f64).ln())?, 1e-12)?;
        let squares = logsumexp(&(weights * 2.)?, 0)?;
        close(
            &found.effective_samples,
            &((sum * 2.)? - squares)?.exp()?,
            1e-9,
        )?;
    }
    Ok(())
}

/// Draws of the prior make an estimate whose error is that of its effective samples, draws of a posterior one that is near, and
/// those of the posterior one without variance.
#[test]
fn better_posteriors_make_better_estimates() -> Result<()> {
    let model = Model::general()?;
    let x = model.data(8)?;
    let (evidence, prior) = (model.evidence(&x)?, model.prior()?);
    let near = model.diagonal_posterior(&x)?;
    let config = config(5000, 500);
    let rng = &mut Rng::new(3);
    let blind = Expanded::new(prior.clone(), &[8])?;
    let blind = log_likelihood(&blind, &prior, &model.decoder(), &x, &config, rng)?;
    let near = log_likelihood(&near, &prior, &model.decoder(), &x, &config, rng)?;
    let exact = model.posterior(&x)?;
    let exact = log_likelihood(&exact, &prior, &model.decoder(), &x, &config, rng)?;
    let mut sizes = vec![];
    for found in [&blind, &near, &exact] {
        let sizes_found = floats(&found.effective_samples)?;
        for ((got, want), size) in floats(&found.value)?
            .iter()
            .zip(floats(&evidence)?)
            .zip(&sizes_found)
        {
            // Five standard errors by the delta method; rounding for the last.
            let error = 5. * ((5000. / size - 1.).max(0.) / 5000.).sqrt();
            assert!((got - want).abs() < error.max(1e-9), "{got} {want} {size}");
        }
        sizes.push(sizes_found);
    }
    for ((blind, near), exact) in sizes[0].iter().zip(&sizes[1]).zip(&sizes[2]) {
        assert!(*blind < 2000. && *near > 1.3 * blind && (exact - 5000.).abs() < 1e-6);
    }
    Ok(())
}

#[test]
fn log_likelihoods_have_no_gradient_and_refuse_what_does_not_fit() -> Result<()> {
    let loc = Var::new(&[[0f64, 0.], [1., 1.]], CPU)?;
    let q = MultivariateNormalDiag::from_log_var(&loc, &loc.zeros_like()?)?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let x = Tensor::zeros((2, 2), DType::F64, CPU)?;
    let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
    let run = |prior: &MultivariateNormalDiag, x: &Tensor, config| {
        log_likelihood(&q, prior, &decoder, x, &config, &mut Rng::new(0))
    };
    let found = run(&prior, &x, config(3, 2))?;
    assert!(found.value.sum_all()?.backward()?.get(&loc).is_none());
    assert!(matches!(
        run(&prior, &x, config(0, 2)),
        Err(Error::Value { .. })
    ));
    assert!(matches!(
        run(&prior, &x, config(2, 0)),
        Err(Error::Value { .. })
    ));
    let wide = MultivariateNormalDiag::standard(3, DType::F64, CPU)?;
    assert!(matches!(
        run(&wide, &x, config(2, 2)),
        Err(Error::Shape { .. })
    ));
    let more = Tensor::zeros((5, 2, 2), DType::F64, CPU)?;
    assert!(matches!(
        run(&prior, &more, config(2, 2)),
        Err(Error::Shape { .. })
    ));
    // Nothing that the model could have made: a likelihood of 0.
    let bernoulli = |z: &Tensor| Bernoulli::new(z)?.to_event(1);
    let grey = (x + 0.5)?;
    let found = log_likelihood(
        &q,
        &prior,
        &bernoulli,
        &grey,
        &config(4, 2),
        &mut Rng::new(0),
    )?;
    assert_eq!(floats(&found.value)?, [f64::NEG_INFINITY; 2]);
    assert_eq!(floats(&found.effective_samples)?, [0.; 2]);
    // No examples.
    let none = Tensor::zeros((0, 2), DType::F64, CPU)?;
    let q = MultivariateNormalDiag::from_log_var(&none, &none)?;
    let found = log_likelihood(&q, &prior, &decoder, &none, &config(4, 2), &mut Rng::new(0))?;
    assert_eq!(found.value.dims(), &[0]);
    Ok(())
}

#[test]
fn units_are_active_where_means_vary() -> Result<()> {
    // Standard deviations of 1, 0.2, 0.05 and 0, far from 0.
    let scale = Tensor::new(&[1., 0.2, 0.05, 0.], CPU)?;
    let means = Rng::new(4).normal((500, 4), DType::F64, CPU)?;
    let means = (means.broadcast_mul(&scale)? + 1000.)?;
    let found = active_units(&means, ACTIVE_VARIANCE)?;
    assert_eq!(found.count, 2);
    for (got, scale) in floats(&found.variance)?.iter().zip(floats(&scale)?) {
        assert!(
            (got - scale * scale).abs() <= 0.3 * scale * scale,
            "{got} {scale}"
        );
    }
    assert_eq!(active_units(&means, 0.1)?.count, 1);
    assert_eq!(active_units(&means.to_dtype(DType::F32)?, 0.001)?.count, 3);
    // By N - 1: of two numbers half the squared difference.
    let two = Tensor::new(&[[0f64], [0.2]], CPU)?;
    assert!((floats(&active_units(&two, 0.01)?.variance)?[0] - 0.02).abs() < 1e-15);
    for rows in [0, 1] {
        let few = means.narrow(0, 0, rows)?;
        assert!(matches!(active_units(&few, 0.01), Err(Error::Shape { .. })));
    }
    assert!(matches!(
        active_units(&means, f64::NAN),
        Err(Error::Value { .. })
    ));
    Ok(())
}

/// Sums over all pairs, more of them than are in memory at once.
#[test]
fn information_is_that_of_the_aggregated_posterior() -> Result<()> {
    let n = 1100;
    let mut rng = Rng::new(5);
    let loc = rng.normal((n, 1), DType::F64, CPU)?;
    let scale = (rng.uniform((n, 1), DType::F64, CPU)? + 0.3)?;
    let posterior = MultivariateNormalDiag::new(&loc, &scale)?;
    let codes = posterior.sample(&[], &mut rng)?;
    let got = mutual_information(&posterior, &codes)?;
    assert_eq!(got.dims(), &[n]);
    let (loc, scale, z) = (floats(&loc)?, floats(&scale)?, floats(&codes)?);
    let density = |z: f64, j: usize| {
        let t = (z - loc[j]) / scale[j];
        (-t * t / 2.).exp() / (scale[j] * (2. * std::f64::consts::PI).sqrt())
    };
    for (i, got) in floats(&got)?.iter().enumerate() {
        let mean = (0..n).map(|j| density(z[i], j)).sum::<f64>() / n as f64;
        let want = density(z[i], i).ln() - mean.ln();
        assert!((got - want).abs() < 1e-10, "{got} {want}");
    }
    // The rate less the information is the divergence of all codes from the prior, which is about N(0, 1.6).
    let prior = MultivariateNormalDiag::standard(1, DType::F64, CPU)?;
    let (rate, information) = (posterior.kl(&prior)?.mean_all()?, got.mean_all()?);
    let rest = floats(&(rate - &information)?)?[0];
    assert!(
        (0. ..0.2).contains(&rest) && floats(&information)?[0] > 0.2,
        "{rest}"
    );
    Ok(())
}

/// A collapsed posterior says nothing, and no posterior more than which example it is.
#[test]
fn information_has_its_bounds() -> Result<()> {
    let zero = Tensor::zeros((50, 2), DType::F32, CPU)?;
    let collapsed = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
    let codes = collapsed.sample(&[], &mut Rng::new(6))?;
    let found = floats(&mutual_information(&collapsed, &codes)?)?;
    assert!(found.iter().all(|x| x.abs() < 1e-5));
    let loc = (Rng::new(7).normal((50, 2), DType::F32, CPU)? * 1e4)?;
    let sharp = MultivariateNormalDiag::from_log_var(&loc, &(&zero - 4.)?)?;
    let codes = sharp.sample(&[], &mut Rng::new(8))?;
    for found in floats(&mutual_information(&sharp, &codes)?)? {
        assert!((found - 50f64.ln()).abs() < 1e-5);
    }
    // One code of each example, of a batch of one dim.
    let refused = mutual_information(&sharp, &codes.narrow(0, 0, 3)?);
    assert!(matches!(refused, Err(Error::Shape { .. })));
    let none = zero.narrow(0, 0, 0)?;
    let empty = MultivariateNormalDiag::from_log_var(&none, &none)?;
    assert!(matches!(
        mutual_information(&empty, &none),
        Err(Error::Shape { .. })
    ));
    Ok(())
}

/// The values of two factors of 3 and 4 values, [n, 2].
fn factors(n: u32) -> Result<Tensor> {
    let values = (0..n).flat_map(|i| [i % 3, i / 3 % 4]).collect();
    Ok(Tensor::from_vec(values, (n as usize, 2), CPU)?)
}

#[test]
fn the_gap_is_1_for_separate_factors_and_0_for_mixed_ones() -> Result<()> {
    let v = factors(360)?;
    let at = v.to_dtype(DType::F64)?;
    let zero = Tensor::zeros((360, 1), DType::F64, CPU)?;
    let gap = |loc: &Tensor| -> Result<InformationGap> {
        let posterior = MultivariateNormalDiag::new(loc, &(loc.ones_like()? * 0.05)?)?;
        let codes = posterior.sample(&[], &mut Rng::new(9))?;
        information_gap(&posterior, &codes, &v)
    };
    // The third dimension knows nothing, the order does not matter.
    let apart = gap(&Tensor::cat(
        &[&zero, &at.narrow(1, 1, 1)?, &at.narrow(1, 0, 1)?],
        1,
    )?)?;
    assert!(apart.mean > 0.999 && apart.mean < 1. + 1e-9, "{apart:?}");
    for (entropy, values) in apart.entropies.iter().zip([3f64, 4.]) {
        assert!((entropy - values.ln()).abs() < 1e-12);
    }
    let information = apart.information.to_vec2::<f64>()?;
    for (row, want) in information
        .iter()
        .zip([[0., 0., 3f64.ln()], [0., 4f64.ln(), 0.]])
    {
        for (got, want) in row.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{information:?}");
        }
    }
    // Each dimension once more: two know the same.
    let twice = gap(&Tensor::cat(&[&at, &at], 1)?)?;
    assert!(twice.mean.abs() < 1e-6, "{twice:?}");
    // Sum and difference say half of each.
    let turn = Tensor::new(&[[1., 1.], [1., -1.]], CPU)?;
    let mixed = gap(&at.matmul(&turn)?)?;
    assert!(mixed.mean < 0.1, "{mixed:?}");
    Ok(())
}

/// By the definition, pair by pair, with posteriors that overlap and in more than one block.
#[test]
fn the_gap_is_that_of_the_definition() -> Result<()> {
    let n = 800;
    let v = factors(n as u32)?;
    let mut rng = Rng::new(10);
    let loc = (rng.normal((n, 2), DType::F64, CPU)? + v.to_dtype(DType::F64)?)?;
    let posterior = MultivariateNormalDiag::new(&loc, &(loc.ones_like()? * 0.7)?)?;
    let codes = posterior.sample(&[], &mut rng)?;
    let found = information_gap(&posterior, &codes, &v)?;
    let (loc, z, v) = (
        loc.to_vec2::<f64>()?,
        codes.to_vec2::<f64>()?,
        v.to_vec2::<u32>()?,
    );
    let mut gaps = 0.;
    for (k, entropy) in found.entropies.iter().enumerate() {
        let mut information = [0.; 2];
        for d in 0..2 {
            for i in 0..n {
                let density = |j: usize| (-((z[i][d] - loc[j][d]) / 0.7f64).powi(2) / 2.).exp();
                let mean = |of: Vec<usize>| {
                    let count = of.len() as f64;
                    of.into_iter().map(density).sum::<f64>() / count
                };
                let same = mean((0..n).filter(|j| v[*j][k] == v[i][k]).collect());
                information[d] += (same / mean((0..n).collect())).ln() / n as f64;
            }
            let got = found.information.to_vec2::<f64>()?[k][d];
            assert!(
                (got - information[d]).abs() < 1e-10,
                "{got} {information:?}"
            );
        }
        gaps += (information[0] - information[1]).abs() / entropy / 2.;
    }
    assert!((found.mean - gaps).abs() < 1e-10);
    assert!((found.gaps.iter().sum::<f64>() / 2. - gaps).abs() < 1e-10);
    Ok(())
}

#[test]
fn factors_and_codes_that_do_not_fit_are_refused() -> Result<()> {
    let normal = |dims: &[usize]| -> Result<MultivariateNormalDiag> {
        let zero = Tensor::zeros(dims, DType::F64, CPU)?;
        MultivariateNormalDiag::from_log_var(&zero, &zero)
    };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, CPU);
    let v = factors(12)?;
    let gap = |posterior: &[usize], codes: &[usize], v: &Tensor| {
        information_gap(&normal(posterior)?, &zeros(codes)?, v)
    };
    assert!(gap(&[12, 2], &[12, 2], &v).is_ok());
    for (posterior, codes, v) in [
        (&[12, 1][..], &[12, 1][..], &v),
        (&[12, 2], &[11, 2], &v),
        (&[11, 2], &[11, 2], &v),
        (&[2, 6, 2], &[2, 6, 2], &v),
        (&[12, 2], &[12, 2], &v.narrow(1, 0, 0)?),
        (&[12, 2], &[12, 2], &v.flatten_all()?),
    ] {
        assert!(
            matches!(gap(posterior, codes, v), Err(Error::Shape { .. })),
            "{posterior:?}"
        );
    }
    let same = v.zeros_like()?;
    assert!(matches!(
        gap(&[12, 2], &[12, 2], &same),
        Err(Error::Value { .. })
    ));
    let floats = v.to_dtype(DType::F32)?;
    assert!(matches!(
        gap(&[12, 2], &[12, 2], &floats),
        Err(Error::DType { .. })
    ));
    Ok(())
}

#[test]
fn paths_lead_from_end_to_end() -> Result<()> {
    let mut rng = Rng::new(13);
    let mut draw = || rng.normal((3, 8), DType::F64, CPU);
    let (from, to) = (draw()?, draw()?);
    for path in [
        interpolate(&from, &to, 5)?,
        interpolate_spherical(&from, &to, 5)?,
    ] {
        assert_eq!(path.dims(), &[5, 3, 8]);
        close(&path.get(0)?, &from, 1e-12)?;
        close(&path.get(4)?, &to, 1e-12)?;
    }
    let middle = ((&from + &to)? / 2.)?;
    close(&interpolate(&from, &to, 3)?.get(1)?, &middle, 1e-12)?;
    // On a sphere one stays on it, in equal angles.
    let unit = |x: &Tensor| x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?);
    let (from, to) = (unit(&from)?, unit(&to)?);
    let path = interpolate_spherical(&from, &to, 4)?;
    close(
        &path.sqr()?.sum(2)?,
        &Tensor::ones((4, 3), DType::F64, CPU)?,
        1e-12,
    )?;
    let cosine = |a: usize| (path.get(a)? * path.get(a + 1)?)?.sum(1);
    close(&cosine(0)?, &cosine(1)?, 1e-12)?;
    close(&cosine(0)?, &cosine(2)?, 1e-12)?;
    // Nearly equal ends and equal ones: the line.
    for apart in [0., 1e-12, 1e-7] {
        let near = (&from + apart)?;
        let path = interpolate_spherical(&from, &near, 3)?;
        close(&path.get(1)?, &(((&from + near)? / 2.)?), 1e-12)?;
    }
    let zero = from.zeros_like()?;
    for (from, to) in [(&from, &zero), (&zero, &from), (&from, &from.neg()?)] {
        let refused = interpolate_spherical(from, to, 3);
        assert!(matches!(refused, Err(Error::Value { .. })));
    }
    assert!(matches!(
        interpolate(&from, &to, 1),
        Err(Error::Value { .. })
    ));
    let other = to.narrow(0, 0, 2)?;
    assert!(matches!(
        interpolate(&from, &other, 3),
        Err(Error::Shape { .. })
    ));
    let single = to.to_dtype(DType::F32)?;
    assert!(matches!(
        interpolate(&from, &single, 3),
        Err(Error::DType { .. })
    ));
    Ok(())
}
