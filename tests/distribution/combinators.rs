//! Bijectors, and distributions made from others: transformed, masked, expanded.

use candle_core::{DType, Device, Tensor};
use candle_prob::bijector::{Affine, Bijector, Chain, Exp, Sigmoid, SoftClip, Tanh};
use candle_prob::distribution::{
    Cdf, Distribution, Entropy, Expanded, Exponential, Kl, Laplace, LogNormal,
    LowRankMultivariateNormal, Masked, MultivariateNormal, MultivariateNormalDiag, Normal,
};
use candle_prob::testing::Conformance;
use candle_prob::{Result, Rng};

const CPU: Device = Device::Cpu;

fn real(shape: &[usize], seed: u64) -> Tensor {
    Rng::new(seed).normal(shape, DType::F64, &CPU).unwrap()
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(x.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

#[test]
fn an_affine_refuses_a_scale_of_zero_and_shapes_it_would_grow() -> Result<()> {
    let one = Tensor::ones(3, DType::F64, &CPU)?;
    assert!(Affine::new(&one, &one.zeros_like()?).is_err());
    let affine = Affine::new(&one, &one)?;
    assert!(
        affine
            .transform(&Tensor::zeros(1, DType::F64, &CPU)?)
            .is_err()
    );
    assert!(
        affine
            .transform(&Tensor::zeros(3, DType::F32, &CPU)?)
            .is_err()
    );
    Ok(())
}

#[test]
fn transformed_families() -> Result<()> {
    let parameters = vec![real(&[2, 3], 0), real(&[2, 3], 1).exp()?];
    let mut log_normal = Conformance::new(
        |p: &[Tensor]| Normal::new(&p[0], &p[1])?.transformed_by(Exp),
        parameters.clone(),
    );
    log_normal.samples = 20_000;
    log_normal.distribution()?;
    log_normal.reparameterized()?;
    let other = Normal::new(&real(&[3], 2), &real(&[3], 3).exp()?)?;
    log_normal.kl(&other.clone().transformed_by(Exp)?)?;
    let mut rows = Conformance::new(
        |p: &[Tensor]| {
            Normal::new(&p[0], &p[1])?
                .to_event(1)?
                .transformed_by(Sigmoid)
        },
        parameters,
    );
    rows.samples = 20_000;
    rows.distribution()?;
    rows.reparameterized()?;
    rows.kl(&other.to_event(1)?.transformed_by(Sigmoid)?)
}

#[test]
fn values_out_of_reach_have_no_density_and_no_gradient() -> Result<()> {
    let zero = Tensor::zeros((), DType::F64, &CPU)?;
    let d = Normal::new(&zero, &zero.ones_like()?)?.transformed_by(Exp)?;
    let y = candle_core::Var::new(&[-1f64, 0., 1., f64::INFINITY, f64::NAN], &CPU)?;
    let log_prob = d.log_prob(&y)?;
    let values = log_prob.to_vec1::<f64>()?;
    assert_eq!([values[0], values[1], values[3]], [f64::NEG_INFINITY; 3]);
    assert!(values[2].is_finite() && values[4].is_nan());
    let gradients = log_prob.narrow(0, 0, 3)?.sum_all()?.backward()?;
    let gradient = gradients.get(&y).map(|g| g.to_vec1::<f64>()).transpose()?;
    assert!(gradient.is_some_and(|g| g[2].is_finite()));
    Ok(())
}

#[test]
fn one_pass_gives_the_separate_density_and_tanh_stays_finite_far_out() -> Result<()> {
    let d = Normal::new(&real(&[3], 0), &real(&[3], 1).exp()?)?.transformed_by(Tanh)?;
    let (y, log_prob) = d.sample_and_log_prob(&[100], &mut Rng::new(0))?;
    let near = y.abs()?.lt(0.99)?.to_dtype(DType::F64)?;
    let off = ((d.log_prob(&y.clamp(-0.99, 0.99)?)? - &log_prob)? * near)?;
    assert!(largest(&off)? < 1e-10);
    let far = Tensor::new(&[-30f32, 30.], &CPU)?;
    let d = Normal::new(&far, &(far.ones_like()? * 1e-3)?)?.transformed_by(Tanh)?;
    let (_, log_prob) = d.sample_and_log_prob(&[], &mut Rng::new(0))?;
    let values = log_prob.to_vec1::<f32>()?;
    // ln p(x) - 2 (ln 2 - |x|) with a density of about 1/sqrt(2 pi) / 0.001.
    assert!(values.iter().all(|x| (55. ..66.).contains(x)), "{values:?}");
    Ok(())
}

#[test]
fn different_bijectors_have_no_closed_divergence() -> Result<()> {
    let zero = Tensor::zeros(2, DType::F64, &CPU)?;
    let normal = Normal::new(&zero, &zero.ones_like()?)?;
    let by = |scale: f64| -> Result<_> {
        normal
            .clone()
            .transformed_by(Affine::new(&zero, &(zero.ones_like()? * scale)?)?)
    };
    assert!(by(2.)?.kl(&by(2.)?).is_ok());
    let error = by(2.)?.kl(&by(3.)?).err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("no closed form")));
    Ok(())
}

#[test]
fn a_mask_silences_elements() -> Result<()> {
    let base = Laplace::new(&real(&[3], 0), &real(&[3], 1).exp()?)?;
    let mask = Tensor::new(&[1u8, 0, 1], &CPU)?;
    let masked = Masked::new(base.clone(), &mask)?;
    let weights = mask.to_dtype(DType::F64)?;
    let x = real(&[4, 3], 2);
    let want = base.log_prob(&x)?.broadcast_mul(&weights)?;
    assert_eq!(largest(&(masked.log_prob(&x)? - want)?)?, 0.);
    let want = (base.entropy()? * &weights)?;
    assert_eq!(largest(&(masked.entropy()? - want)?)?, 0.);
    let other = Laplace::new(&real(&[3], 3), &real(&[3], 4).exp()?)?;
    let want = (base.kl(&other)? * &weights)?;
    assert_eq!(largest(&(masked.kl(&other)? - want)?)?, 0.);
    assert!(Masked::new(base.clone(), &Tensor::zeros((2, 3), DType::U8, &CPU)?).is_err());
    assert!(Masked::new(base, &weights).is_err());
    Ok(())
}

#[test]
fn an_expanded_batch() -> Result<()> {
    let mut family = Conformance::new(
        |p: &[Tensor]| {
            let base = Normal::new(&p[0], &p[1])?;
            let lead = &p[0].dims()[..p[0].rank() - 2];
            Expanded::new(base.to_event(1)?, &[lead, &[4]].concat())
        },
        vec![real(&[1, 3], 0), real(&[1, 3], 1).exp()?],
    );
    family.samples = 5_000;
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.reparameterized()?;
    let mut numbers = Conformance::new(
        |p: &[Tensor]| {
            let lead = &p[0].dims()[..p[0].rank() - 2];
            Expanded::new(Normal::new(&p[0], &p[1])?, &[lead, &[2, 3]].concat())
        },
        vec![real(&[1, 3], 0), real(&[1, 3], 1).exp()?],
    );
    numbers.samples = 5_000;
    numbers.cdf()?;
    // Copies are different draws, in the right places.
    let loc = Tensor::new(&[[0f64], [100.]], &CPU)?;
    let d = Expanded::new(Laplace::new(&loc, &loc.ones_like()?)?, &[5, 2, 3])?;
    let x = d.sample(&[7], &mut Rng::new(0))?;
    assert_eq!(x.dims(), [7, 5, 2, 3]);
    assert!(largest(&x.narrow(2, 0, 1)?)? < 50.);
    assert!(largest(&(x.narrow(2, 1, 1)? - 100.)?)? < 50.);
    let mut all = x.flatten_all()?.to_vec1::<f64>()?;
    all.sort_by(f64::total_cmp);
    all.dedup();
    assert_eq!(all.len(), 7 * 5 * 2 * 3);
    assert!(Expanded::new(d, &[5, 4, 3]).is_err());
    Ok(())
}

#[test]
fn tails_and_moments_through_a_bijector() -> Result<()> {
    // The second of three scales is negative: its tails change places.
    let scale = Tensor::new(&[0.5, -1.5, 2.], &CPU)?;
    let sign = scale.sign()?;
    let parameters = vec![
        real(&[2, 3], 0),
        real(&[2, 3], 1).exp()?,
        real(&[3], 2),
        scale.abs()?,
    ];
    let mut affine = Conformance::new(
        |p: &[Tensor]| {
            let by = Affine::new(&p[2], &p[3].broadcast_mul(&sign)?)?;
            Laplace::new(&p[0], &p[1])?.transformed_by(by)
        },
        parameters.clone(),
    );
    affine.samples = 20_000;
    affine.cdf()?;
    affine.moments()?;
    affine.mode()?;
    affine.entropy()?;
    let mut rows = Conformance::new(
        |p: &[Tensor]| {
            let by = Affine::new(&p[2], &p[3].broadcast_mul(&sign)?)?;
            Laplace::new(&p[0], &p[1])?.to_event(1)?.transformed_by(by)
        },
        parameters,
    );
    rows.samples = 20_000;
    rows.moments()?;
    rows.mode()?;
    rows.entropy()?;
    let parameters = vec![real(&[2, 3], 0), real(&[2, 3], 1).exp()?];
    let mut squashed = Conformance::new(
        |p: &[Tensor]| Normal::new(&p[0], &p[1])?.transformed_by(Chain::new(Sigmoid, Exp)),
        parameters,
    );
    squashed.samples = 20_000;
    squashed.cdf()
}

#[test]
fn tails_through_a_bijector_keep_their_digits() -> Result<()> {
    let zero = Tensor::zeros((), DType::F64, &CPU)?;
    let (normal, log_normal) = (
        Normal::new(&zero, &zero.ones_like()?)?.transformed_by(Exp)?,
        LogNormal::new(&zero, &zero.ones_like()?)?,
    );
    let infinity = f64::INFINITY;
    let y = Tensor::new(
        &[1e-17, 0.3, 1., 7., 1e17, 0., -1., infinity, -infinity],
        &CPU,
    )?;
    let y = candle_core::Var::from_tensor(&y)?;
    for (got, want) in [
        (normal.log_cdf(&y)?, log_normal.log_cdf(&y)?),
        (normal.log_survival(&y)?, log_normal.log_survival(&y)?),
    ] {
        let slopes = [&got, &want].map(|log| -> Result<Vec<f64>> {
            let inside = log.narrow(0, 0, 5)?.sum_all()?.backward()?;
            let slope = inside.get(&y).map(|g| g.to_vec1::<f64>()).transpose()?;
            Ok(slope.unwrap_or_default())
        });
        let [slope, right] = slopes;
        let pairs = [
            (got.to_vec1::<f64>()?, want.to_vec1::<f64>()?),
            (slope?, right?),
        ];
        for (got, want) in pairs.iter().flat_map(|(a, b)| a.iter().zip(b)) {
            let close = got == want || ((got - want) / want).abs() < 1e-12;
            assert!(close, "{got} is not {want}");
        }
    }
    // No slope where nothing changes, whatever that of the bijector.
    for log in [normal.log_cdf(&y)?, normal.log_survival(&y)?] {
        let slopes = log.narrow(0, 5, 4)?.sum_all()?.backward()?;
        let slopes = slopes.get(&y).map(|g| g.to_vec1::<f64>()).transpose()?;
        assert_eq!(slopes.unwrap_or_default(), [0.; 9]);
    }
    // -Exponential: all of it is below 0, and NaN stays.
    let one = zero.ones_like()?;
    let negative = Exponential::new(&one)?.transformed_by(Affine::new(&zero, &one.neg()?)?)?;
    let y = Tensor::new(&[-50., -1e-9, 0.5, f64::NAN], &CPU)?;
    let cdf = negative.log_cdf(&y)?.to_vec1::<f64>()?;
    assert!(
        cdf[0] == -50. && cdf[1] == -1e-9 && cdf[2] == 0. && cdf[3].is_nan(),
        "{cdf:?}"
    );
    let p = Tensor::new(&[0., 0.25, 1.], &CPU)?;
    let quantiles = negative.quantile(&p)?.to_vec1::<f64>()?;
    assert!(
        quantiles[0] == -infinity && quantiles[2] == 0.,
        "{quantiles:?}"
    );
    assert!((quantiles[1] + 4f64.ln()).abs() < 1e-12, "{quantiles:?}");
    // Out of reach on both sides of a bounded range, and its ends.
    let bounded = Normal::new(&zero, &one)?.transformed_by(SoftClip::new(2.)?)?;
    let y = Tensor::new(&[-3., -2., 2., 3.], &CPU)?;
    assert_eq!(bounded.cdf(&y)?.to_vec1::<f64>()?, [0., 0., 1., 1.]);
    let ends = Tensor::new(&[0., 1.], &CPU)?;
    assert_eq!(bounded.quantile(&ends)?.to_vec1::<f64>()?, [-2., 2.]);
    let error = negative
        .log_cdf(&one.to_dtype(DType::F32)?)
        .err()
        .map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("Transformed::log_cdf")));
    Ok(())
}

#[test]
fn divergences_of_independent_normals_and_normal_vectors() -> Result<()> {
    let (loc, scale) = (real(&[2, 3], 0), real(&[3], 1).exp()?);
    let rows = Normal::new(&loc, &scale)?.to_event(1)?;
    let same = MultivariateNormalDiag::new(&loc, &scale)?;
    let eye = Tensor::eye(3, DType::F64, &CPU)?;
    let (center, spread) = (real(&[3], 2), real(&[3], 3).exp()?);
    let diagonal = MultivariateNormal::new(&center, &eye.broadcast_mul(&spread)?)?;
    let other = Normal::new(&center, &spread)?.to_event(1)?;
    let lower = Tensor::new(&[[0.7, 0., 0.], [-0.4, 1.1, 0.], [0.2, 0.5, 0.3]], &CPU)?;
    let full = MultivariateNormal::new(&center, &lower)?;
    let low = LowRankMultivariateNormal::new(&center, &real(&[3, 2], 4), &spread)?;
    for (got, want) in [
        (rows.kl(&diagonal)?, rows.kl(&other)?),
        (diagonal.kl(&rows)?, other.kl(&rows)?),
        (rows.kl(&full)?, same.kl(&full)?),
        (full.kl(&rows)?, full.kl(&same)?),
        (rows.kl(&low)?, same.kl(&low)?),
        (low.kl(&rows)?, low.kl(&same)?),
        (rows.kl(&same)?, rows.kl(&rows)?),
        (same.kl(&rows)?, rows.kl(&rows)?),
    ] {
        assert_eq!(got.dims(), [2]);
        assert!(largest(&(got - want)?)? < 1e-12);
    }
    // An event of two dims is no vector.
    let error = Normal::new(&loc, &scale)?.to_event(2)?.kl(&full);
    assert!(error.is_err_and(|e| e.to_string().contains("Independent::kl: self")));
    let mut family = Conformance::new(
        |p: &[Tensor]| Normal::new(&p[0], &p[1])?.to_event(1),
        vec![real(&[2, 3], 5), real(&[2, 3], 6).exp()?],
    );
    family.samples = 20_000;
    family.kl(&full)
}

/// Draws at which tanh is 1 in f32: only their log-probability before rounding is finite.
#[test]
fn what_is_made_of_a_flow_scores_its_draws_without_inverting_it() -> Result<()> {
    let loc = Tensor::new(&[[6f32, -5.]], &CPU)?.broadcast_as((3, 2))?;
    let flow = || Normal::new(&loc, &loc.ones_like()?)?.transformed_by(Tanh);
    let (draws, want) = flow()?.sample_and_log_prob(&[500], &mut Rng::new(0))?;
    assert!(largest(&draws)? == 1. && largest(&want)?.is_finite());
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();

    let (x, got) = flow()?
        .to_event(1)?
        .sample_and_log_prob(&[500], &mut Rng::new(0))?;
    assert_eq!(
        (flat(&x)?, flat(&got)?),
        (flat(&draws)?, flat(&want.sum(2)?)?)
    );
    let twice = flow()?.to_event(1)?.to_event(1)?;
    let (_, got) = twice.sample_and_log_prob(&[500], &mut Rng::new(0))?;
    assert!(largest(&(got - want.sum((1, 2))?)?)? <= 1e-3);

    let mask = Tensor::new(&[[1u8, 0]], &CPU)?.broadcast_as((3, 2))?;
    let masked = Masked::new(flow()?, &mask)?;
    let (_, got) = masked.sample_and_log_prob(&[500], &mut Rng::new(0))?;
    assert_eq!(flat(&got.narrow(2, 0, 1)?)?, flat(&want.narrow(2, 0, 1)?)?);
    assert_eq!(largest(&got.narrow(2, 1, 1)?)?, 0.);

    // Of a copied dim and a new one; where nothing rounds, it is the density of the draw.
    let loc = Tensor::new(&[[0.5f64], [-0.25]], &CPU)?;
    let base = Normal::new(&loc, &loc.ones_like()?)?.transformed_by(Tanh)?;
    let copies = Expanded::new(base, &[4, 2, 3])?;
    let (x, got) = copies.sample_and_log_prob(&[50], &mut Rng::new(1))?;
    assert_eq!(
        (x.dims(), got.dims()),
        (&[50, 4, 2, 3][..], &[50, 4, 2, 3][..])
    );
    assert_eq!(
        largest(&(copies.sample(&[50], &mut Rng::new(1))? - &x)?)?,
        0.
    );
    assert!(largest(&(copies.log_prob(&x)? - got)?)? <= 1e-9);
    Ok(())
}
