//! The family of the information bottleneck: each objective against definitions, quadrature and its kin.

use crate::support::{flat, floats};
use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::*;
use candle_prob::information::Diagram;
use candle_prob::objective::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng, special};
use std::f64::consts::{E, LN_2, PI};

const CPU: &Device = &Device::Cpu;

fn normal(shape: &[usize], seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, CPU)
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(floats(x)?[0])
}

fn mean(x: &Tensor) -> Result<f64> {
    number(&x.mean_all()?)
}

fn is_value<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Value { .. }))
}

fn is_shape<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Shape { .. }))
}

fn close(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} is not {want}");
}

const INPUTS: usize = 8;
const CODES: usize = 5;
const CLASSES: usize = 3;
const LABELS: [u32; INPUTS] = [0, 1, 2, 0, 1, 1, 0, 1];

/// Log-probabilities of an encoder [B, C] and a decoder [C, L].
fn tables(seed: u64) -> Result<(Tensor, Tensor)> {
    let encoder = special::log_softmax(&(normal(&[INPUTS, CODES], seed)? * 2.)?, 1)?;
    let decoder = special::log_softmax(&normal(&[CODES, CLASSES], seed + 100)?, 1)?;
    Ok((encoder, decoder))
}

fn h(p: impl IntoIterator<Item = f64>) -> f64 {
    let term = |p: f64| if p > 0. { -p * p.ln() } else { 0. };
    p.into_iter().map(term).sum()
}

/// H[Z], H[Z|X], H[Z|Y] and H[Y] of an encoder, from its joint table.
fn entropies(encoder: &Tensor) -> Result<[f64; 4]> {
    let p = encoder.exp()?.to_vec2::<f64>()?;
    let n = INPUTS as f64;
    let joint = |z: usize, y: u32| -> f64 {
        let rows = (0..INPUTS).filter(|x| LABELS[*x] == y);
        rows.map(|x| p[x][z] / n).sum()
    };
    let all = || (0..CLASSES as u32).flat_map(|y| (0..CODES).map(move |z| (z, y)));
    let of_z = h((0..CODES).map(|z| p.iter().map(|row| row[z] / n).sum()));
    let of_y = h((0..CLASSES as u32).map(|y| (0..CODES).map(|z| joint(z, y)).sum()));
    let of_zy = h(all().map(|(z, y)| joint(z, y)));
    let of_z_given_x = p.iter().map(|row| h(row.iter().copied())).sum::<f64>() / n;
    Ok([of_z, of_z_given_x, of_zy - of_y, of_y])
}

fn categorical(
    (encoder, decoder): (&Tensor, &Tensor),
    rate: CategoricalRate,
    weight: f64,
) -> Result<CategoricalBottleneck> {
    let labels = Tensor::new(&LABELS, CPU)?;
    categorical_bottleneck(
        encoder,
        decoder,
        &labels,
        &CategoricalConfig { rate, weight },
    )
}

/// ln p(y|z) of the best decoder.
fn best_decoder(encoder: &Tensor) -> Result<Tensor> {
    let one_hot = |y: usize| {
        LABELS
            .iter()
            .map(move |label| f64::from(u8::from(*label as usize == y)))
    };
    let one_hot = Tensor::from_iter((0..CLASSES).flat_map(one_hot), CPU)?;
    let joint = one_hot
        .reshape((CLASSES, INPUTS))?
        .matmul(&encoder.exp()?)?
        .t()?;
    Ok(joint.broadcast_div(&joint.sum_keepdim(1)?)?.log()?)
}

const RATES: [CategoricalRate; 4] = [
    CategoricalRate::Preserved,
    CategoricalRate::Redundant,
    CategoricalRate::Encoding,
    CategoricalRate::ReverseDecoder,
];

#[test]
fn categorical_codes_have_exact_parts() -> Result<()> {
    let (encoder, decoder) = tables(1)?;
    let [z, z_given_x, z_given_y, _] = entropies(&encoder)?;
    let wants = [z - z_given_x, z_given_y - z_given_x, z, z_given_y];
    for (rate, want) in RATES.into_iter().zip(wants) {
        let objective = categorical((&encoder, &decoder), rate, 0.3)?;
        let parts = DistortionRate::from(objective.clone());
        assert_eq!(parts.total.dims(), &[INPUTS]);
        close(mean(&parts.rate)?, want, 1e-12);
        let total = (&parts.distortion + (&parts.rate * 0.3)?)?;
        assert_eq!(flat(&parts.total), flat(&total));
        // Observation 2, example by example.
        for (prediction, decoder) in flat(&objective.prediction)
            .iter()
            .zip(flat(&parts.distortion))
        {
            assert!(*prediction < decoder);
        }
        // Of weight 0 it is the cross-entropy, bit for bit.
        let free = categorical((&encoder, &decoder), rate, 0.)?.parts;
        assert_eq!(flat(&free.total), flat(&parts.distortion));
        let f = |x: &[Tensor]| -> Result<Tensor> {
            let [encoder, decoder] = [0, 1].map(|i| special::log_softmax(&x[i], 1));
            let objective = categorical((&encoder?, &decoder?), rate, 0.3)?;
            Ok((objective.parts.total + (objective.prediction * 0.2)?)?)
        };
        check_gradient(&f, &[encoder.clone(), decoder.clone()], 1e-7)?;
    }
    // The codes as draws, with their probabilities: the same distortion.
    let objective = categorical((&encoder, &decoder), CategoricalRate::Encoding, 0.)?;
    let likelihood = decoder.index_select(&Tensor::new(&LABELS, CPU)?, 1)?;
    let drawn = decoder_cross_entropy(&((likelihood * encoder.t()?.exp()?)? * CODES as f64)?)?;
    for (got, want) in flat(&objective.parts.distortion).iter().zip(flat(&drawn)) {
        close(*got, want, 1e-12);
    }
    Ok(())
}

#[test]
fn categorical_codes_are_on_the_diagram() -> Result<()> {
    let (encoder, _) = tables(1)?;
    let labels = Tensor::new(&LABELS, CPU)?;
    let diagram = Diagram::from_encoder(&encoder.exp()?, &labels, CLASSES)?;
    let wants = [
        diagram.preserved()?,
        diagram.redundant()?,
        diagram.encoding_entropy()?,
        diagram.reverse_decoder_uncertainty()?,
    ];
    let best = best_decoder(&encoder)?;
    for (rate, want) in RATES.into_iter().zip(wants) {
        let parts = categorical((&encoder, &best), rate, 1.)?.parts;
        close(mean(&parts.rate)?, number(&want)?, 1e-12);
        // Observation 4, with equality for the best decoder.
        let uncertainty = number(&diagram.decoder_uncertainty()?)?;
        close(mean(&parts.distortion)?, uncertainty, 1e-12);
        let (_, other) = tables(2)?;
        let other = categorical((&encoder, &other), rate, 1.)?.parts;
        assert!(mean(&other.distortion)? > uncertainty + 0.01);
    }
    Ok(())
}

#[test]
fn forms_of_one_tradeoff_differ_by_constants() -> Result<()> {
    // Observation 1: with the best decoder all forms, scaled, are I[X;Z] - beta I[Y;Z] or H[Z] - beta I[Y;Z] and a constant.
    for beta in [1.5, 2., 7.] {
        let tradeoff = Tradeoff::new(beta)?;
        let [conditional, marginal] = [tradeoff.conditional_weight(), tradeoff.marginal_weight()];
        let mut constants = vec![];
        for seed in 1..6 {
            let (encoder, _) = tables(seed)?;
            let decoder = best_decoder(&encoder)?;
            let [z, z_given_x, z_given_y, _] = entropies(&encoder)?;
            let relevant = z - z_given_y;
            let ib = z - z_given_x - beta * relevant;
            let dib = z - beta * relevant;
            let loss = |rate, weight| -> Result<f64> {
                mean(&categorical((&encoder, &decoder), rate, weight)?.parts.total)
            };
            constants.push([
                loss(CategoricalRate::Preserved, marginal)? * beta - ib,
                loss(CategoricalRate::Redundant, conditional)? * (beta - 1.) - ib,
                loss(CategoricalRate::Encoding, marginal)? * beta - dib,
                loss(CategoricalRate::ReverseDecoder, conditional)? * (beta - 1.) - dib,
            ]);
            // Appendix A.2.1, with the entropy distance and its gamma.
            let gamma = tradeoff.distance_weight();
            let y_given_z = loss(CategoricalRate::Encoding, 0.)?;
            let distance = y_given_z + z_given_y + gamma * (y_given_z - z_given_y);
            close(
                distance + (gamma - 1.) * z_given_x,
                (1. + gamma) * y_given_z + (1. - gamma) * (z_given_y - z_given_x),
                1e-12,
            );
            close(
                distance / (1. - gamma),
                y_given_z / conditional + z_given_y,
                1e-12,
            );
        }
        for constant in &constants[1..] {
            for (one, other) in constant.iter().zip(&constants[0]) {
                close(*one, *other, 1e-12);
            }
        }
    }
    Ok(())
}

#[test]
fn the_conditional_bottleneck_is_the_bottleneck_at_two() -> Result<()> {
    // Fischer's I[X;Z|Y] - I[Y;Z], which is weight 1, and I[X;Z] - 2 I[Y;Z] are one and the same number.
    assert_eq!(Tradeoff::new(2.)?.conditional_weight(), 1.);
    let mut constant = None;
    for seed in 1..6 {
        let (encoder, _) = tables(seed)?;
        let decoder = best_decoder(&encoder)?;
        let [z, z_given_x, z_given_y, y] = entropies(&encoder)?;
        let relevant = z - z_given_y;
        close(
            z_given_y - z_given_x - relevant,
            z - z_given_x - 2. * relevant,
            1e-12,
        );
        let ceb = categorical((&encoder, &decoder), CategoricalRate::Redundant, 1.)?;
        let found = mean(&ceb.parts.total)? - (z - z_given_x - 2. * relevant);
        // The constant is I[X;Y], here H[Y].
        close(found, y, 1e-12);
        close(found, *constant.get_or_insert(found), 1e-12);
    }
    Ok(())
}

#[test]
fn categories_that_are_never_used() -> Result<()> {
    let never = f64::NEG_INFINITY;
    let labels = Tensor::new(&[0u32, 1, 1], CPU)?;
    // A deterministic encoder, with a category that no example has, and a decoder that is sure.
    let rows = [[0., never, never], [never, 0., never], [never, 0., never]];
    let decoder = Tensor::new(&[[0., never], [never, 0.], [never, 0.]], CPU)?;
    for rate in RATES {
        let config = CategoricalConfig { rate, weight: 1. };
        let encoder = candle_core::Var::from_tensor(&Tensor::new(&rows, CPU)?)?;
        let objective = categorical_bottleneck(&encoder, &decoder, &labels, &config)?;
        assert_eq!(flat(&objective.parts.distortion), [0.; 3]);
        assert_eq!(flat(&objective.prediction), [0.; 3]);
        let want = match rate {
            // H[Z] of (1/3, 2/3).
            CategoricalRate::Preserved | CategoricalRate::Encoding => 3f64.ln() - 2. / 3. * LN_2,
            CategoricalRate::Redundant | CategoricalRate::ReverseDecoder => 0.,
        };
        close(mean(&objective.parts.rate)?, want, 1e-12);
        let loss = (objective.parts.total.mean_all()? + objective.prediction.mean_all()?)?;
        let gradients = candle_prob::optim::backward(&loss)?;
        let gradient = gradients.get(&encoder).expect("a gradient");
        assert!(
            flat(gradient).iter().all(|g| g.is_finite()),
            "{rate:?} {gradient}"
        );
    }
    let config = CategoricalConfig {
        rate: CategoricalRate::Redundant,
        weight: 1.,
    };
    let encoder = Tensor::new(&rows, CPU)?;
    let other = Tensor::new(&[0u32, 1, 2], CPU)?;
    assert!(is_value(categorical_bottleneck(
        &encoder, &decoder, &other, &config
    )));
    assert!(is_shape(categorical_bottleneck(
        &encoder,
        &encoder.narrow(0, 0, 2)?,
        &labels,
        &config
    )));
    assert!(is_shape(categorical_bottleneck(
        &encoder.narrow(0, 0, 2)?,
        &decoder,
        &labels,
        &config
    )));
    let negative = CategoricalConfig {
        weight: -1.,
        ..config
    };
    assert!(is_value(categorical_bottleneck(
        &encoder, &decoder, &labels, &negative
    )));
    let nobody = Tensor::zeros((0, 3), DType::F64, CPU)?;
    let no_labels = Tensor::zeros(0, DType::U32, CPU)?;
    let nothing = categorical_bottleneck(&nobody, &decoder, &no_labels, &config)?;
    assert_eq!(nothing.parts.total.dims(), &[0]);
    Ok(())
}

#[test]
fn tradeoffs_convert_both_ways() -> Result<()> {
    for beta in [1., 1. + 1e-9, 1.25, 2., 10., 1e12, f64::INFINITY] {
        let one = Tradeoff::new(beta)?;
        close(
            one.marginal_weight() * beta.min(1e300),
            if beta.is_finite() { 1. } else { 0. },
            1e-12,
        );
        if beta > 1.1 && beta.is_finite() {
            close(one.conditional_weight() * (beta - 1.), 1., 1e-12);
            close(one.distance_weight(), 1. - 2. / beta, 1e-15);
        }
        let back = [
            Tradeoff::from_conditional_weight(one.conditional_weight())?,
            Tradeoff::from_marginal_weight(one.marginal_weight())?,
            Tradeoff::from_distance_weight(one.distance_weight())?,
        ];
        for other in back {
            close(other.marginal_weight(), one.marginal_weight(), 1e-15);
        }
    }
    // The ends: nothing but the code's cost, nothing but the label.
    let [least, most] = [Tradeoff::new(1.)?, Tradeoff::new(f64::INFINITY)?];
    assert_eq!(
        (least.conditional_weight(), least.distance_weight()),
        (f64::INFINITY, -1.)
    );
    assert_eq!(
        (most.conditional_weight(), most.distance_weight()),
        (0., 1.)
    );
    assert_eq!(most.beta(), f64::INFINITY);
    // Small weights keep their digits.
    close(
        Tradeoff::from_conditional_weight(1e-20)?.marginal_weight() / 1e-20,
        1.,
        1e-15,
    );
    let five = Tradeoff::new(5.)?;
    let gamma = |surrogate| five.gamma(surrogate);
    assert_eq!(gamma(Surrogate::SquaredNorm), None);
    assert_eq!(gamma(Surrogate::LogVariance), Some(0.2));
    assert_eq!(
        gamma(Surrogate::ConditionalLogVariance { classes: 2 }),
        Some(0.25)
    );
    for wrong in [0.5, -1., f64::NAN] {
        assert!(is_value(Tradeoff::new(wrong)));
    }
    for wrong in [-0.1, f64::NAN] {
        assert!(is_value(Tradeoff::from_conditional_weight(wrong)));
        assert!(is_value(Tradeoff::from_marginal_weight(wrong)));
    }
    assert!(is_value(Tradeoff::from_marginal_weight(1.1)));
    assert!(is_value(Tradeoff::from_distance_weight(-1.1)));
    Ok(())
}

#[test]
fn the_conditional_objective_is_its_parts() -> Result<()> {
    let x = normal(&[6, 2], 1)?;
    let labels = Tensor::new(&[0u32, 1, 2, 2, 1, 0], CPU)?;
    let scale = (normal(&[6, 2], 2)? * 0.3)?.exp()?;
    let (means, spreads) = (normal(&[3, 2], 3)?, (normal(&[3, 2], 4)? * 0.3)?.exp()?);
    let decoder = |z: &Tensor| {
        Categorical::new(&Tensor::cat(
            &[z, &z.narrow(z.rank() - 1, 0, 1)?],
            z.rank() - 1,
        )?)
    };
    let run = |x: &[Tensor], beta: f64| -> Result<DistortionRate> {
        let posterior = MultivariateNormalDiag::new(&x[0], &x[1])?;
        let backward = |y: &Tensor| {
            MultivariateNormalDiag::new(&x[2].index_select(y, 0)?, &x[3].index_select(y, 0)?)
        };
        let config = BottleneckConfig { beta, samples: 3 };
        ceb(
            &posterior,
            &backward,
            &decoder,
            &labels,
            &config,
            &mut Rng::new(5),
        )
    };
    let inputs = [x.clone(), scale.clone(), means.clone(), spreads.clone()];
    let parts = run(&inputs, 0.7)?;
    let posterior = MultivariateNormalDiag::new(&x, &scale)?;
    let backward = MultivariateNormalDiag::new(
        &means.index_select(&labels, 0)?,
        &spreads.index_select(&labels, 0)?,
    )?;
    assert_eq!(flat(&parts.rate), flat(&posterior.kl(&backward)?));
    // The backward encoder in the place of the prior: the same.
    let config = BottleneckConfig {
        beta: 0.7,
        samples: 3,
    };
    let same = vib(
        &posterior,
        &backward,
        &decoder,
        &labels,
        &config,
        &mut Rng::new(5),
    )?;
    assert_eq!(flat(&same.total), flat(&parts.total));
    let z = posterior.sample(&[3], &mut Rng::new(5))?;
    let plain = decoder_cross_entropy(&decoder(&z)?.log_prob(&labels)?)?;
    assert_eq!(flat(&run(&inputs, 0.)?.total), flat(&plain));
    check_gradient(&|x| Ok(run(x, 0.7)?.total), &inputs, 1e-7)?;
    assert!(is_value(run(&inputs, -1.)));
    Ok(())
}

#[test]
fn beta_zero_is_the_cross_entropy() -> Result<()> {
    let x = normal(&[6, 2], 1)?;
    let posterior = MultivariateNormalDiag::new(&x, &(x.ones_like()? * 0.5)?)?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let labels = Tensor::new(&[0u32, 1, 1, 0, 1, 0], CPU)?;
    let decoder = |z: &Tensor| Categorical::new(z);
    let z = posterior.sample(&[4], &mut Rng::new(5))?;
    let plain = flat(&decoder_cross_entropy(&decoder(&z)?.log_prob(&labels)?)?);
    let config = BottleneckConfig {
        beta: 0.,
        samples: 4,
    };
    let by_vib = vib(
        &posterior,
        &prior,
        &decoder,
        &labels,
        &config,
        &mut Rng::new(5),
    )?;
    let config = NonlinearIbConfig {
        samples: 4,
        ..NonlinearIbConfig::new(0.)
    };
    let by_pairs = nonlinear_ib(&posterior, &decoder, &labels, &config, &mut Rng::new(5))?;
    assert_eq!(flat(&by_pairs.parts.total), plain);
    for (got, want) in flat(&by_vib.total).iter().zip(&plain) {
        close(*got, *want, 1e-12);
    }
    Ok(())
}

#[test]
fn the_rate_of_a_standard_prior_is_a_squared_norm() -> Result<()> {
    // Appendix A.7: KL(p(z|x) || N(0, I)) = E|Z|^2 / 2 + (k/2) ln 2 pi - H[Z|X], example by example.
    let (loc, scale) = (normal(&[5, 3], 1)?, normal(&[5, 3], 2)?.exp()?);
    let posterior = MultivariateNormalDiag::new(&loc, &scale)?;
    let prior = MultivariateNormalDiag::standard(3, DType::F64, CPU)?;
    let labels = Tensor::zeros(5, DType::U32, CPU)?;
    let decoder = |z: &Tensor| Categorical::new(z);
    let config = BottleneckConfig {
        beta: 1.,
        samples: 1,
    };
    let parts = vib(
        &posterior,
        &prior,
        &decoder,
        &labels,
        &config,
        &mut Rng::new(0),
    )?;
    let norm = (loc.sqr()?.sum(1)? + scale.sqr()?.sum(1)?)?;
    let identity = ((norm / 2.)? + 1.5 * (2. * PI).ln())?;
    let identity = (identity - posterior.entropy()?)?;
    for (got, want) in flat(&parts.rate).iter().zip(flat(&identity)) {
        close(*got, want, 1e-12);
    }
    // Of codes with zero-entropy noise the last term is 0: the rate is the squared norm of draws, on average.
    let posterior = zero_entropy_posterior(&loc)?;
    let parts = vib(
        &posterior,
        &prior,
        &decoder,
        &labels,
        &config,
        &mut Rng::new(0),
    )?;
    let draws = posterior.sample(&[20_000], &mut Rng::new(1))?;
    let norms = draws.sqr()?.sum(2)?.mean(1)?;
    let norm = Surrogate::SquaredNorm.regularizer(&draws, &labels)?.value;
    close(number(&norm)?, mean(&norms)?, 1e-9);
    // Five standard errors: one in 1.7 million fails by chance.
    let error = (number(&norms.var(0)?)? / 20_000.).sqrt() / 2.;
    close(
        mean(&parts.rate)?,
        number(&norm)? / 2. + 1.5 * (2. * PI).ln(),
        5. * error,
    );
    Ok(())
}

#[test]
fn bounds_on_entropies_are_in_order() -> Result<()> {
    // Appendix A.6: codes of a known Gaussian, and not.
    let n = 20_000;
    let root = Tensor::new(&[[1f64, 0., 0.], [0.8, 0.6, 0.], [0., 2., 1.5]], CPU)?;
    let z = (normal(&[n, 3], 1)?.matmul(&root.t()?)? + 0.7)?;
    let labels = Tensor::zeros(n, DType::U32, CPU)?;
    let by_covariance = number(&covariance_entropy_bound(&z)?)?;
    let entropy = 1.5 * (2. * PI * E).ln() + (0.6f64 * 1.5).ln();
    // The log-determinant of n codes has the variance 2 K / n; five standard errors.
    close(by_covariance, entropy, 5. * (6f64 / n as f64).sqrt() / 2.);
    let by_variance = number(&Surrogate::LogVariance.regularizer(&z, &labels)?.value)?;
    let norm = Surrogate::SquaredNorm.regularizer(&z, &labels)?.value;
    let by_norm = number(&norm_entropy_bound(&norm, 3)?)?;
    assert!(by_covariance + 0.3 < by_variance && by_variance + 0.1 < by_norm);
    // Uniform codes have less entropy than their Gaussian.
    let uniform = Rng::new(2).uniform((n, 2), DType::F64, CPU)?;
    assert!(number(&covariance_entropy_bound(&uniform)?)? > 0.3);
    // Isotropic Gaussians meet the bound of norms in every dimension; that of one dimension is below the entropy.
    for k in [1usize, 2, 10] {
        let entropy = k as f64 / 2. * (2. * PI * E * 0.3).ln();
        let norm = Tensor::new(0.3 * k as f64, CPU)?;
        close(number(&norm_entropy_bound(&norm, k)?)?, entropy, 1e-12);
        close(norm_of_entropy(entropy, k)?, 0.3 * k as f64, 1e-12);
        let of_one = (2. * PI * E * 0.3 * k as f64).ln() / 2.;
        assert_eq!(k > 1, (of_one - entropy).abs() > 0.05);
        check_gradient(&|x| norm_entropy_bound(&x[0], k), &[norm], 1e-7)?;
    }
    Ok(())
}

#[test]
fn covariances_of_hard_codes() -> Result<()> {
    let z = normal(&[7, 3], 4)?;
    check_gradient(
        &|x| covariance_entropy_bound(&x[0]),
        std::slice::from_ref(&z),
        1e-7,
    )?;
    let want = number(&covariance_entropy_bound(&z)?)?;
    let strided = z.t()?.contiguous()?.t()?;
    close(number(&covariance_entropy_bound(&strided)?)?, want, 1e-12);
    // Scales of elements add their logarithms.
    let scales = Tensor::new(&[1e-12f64, 1., 1e9], CPU)?;
    let scaled = number(&covariance_entropy_bound(&z.broadcast_mul(&scales)?)?)?;
    close(scaled, want - 3. * 10f64.ln(), 1e-10);
    let single = covariance_entropy_bound(&z.to_dtype(DType::F32)?)?;
    assert_eq!(single.dtype(), DType::F32);
    close(number(&single)?, want, 1e-5);
    assert!(is_shape(covariance_entropy_bound(&z.narrow(0, 0, 3)?)));
    let twice = Tensor::cat(&[&z, &z.narrow(1, 0, 1)?], 1)?;
    assert!(is_value(covariance_entropy_bound(&twice)));
    assert!(is_value(covariance_entropy_bound(
        &z.broadcast_mul(&Tensor::new(&[1f64, 0., 1.], CPU)?)?
    )));
    assert!(is_value(covariance_entropy_bound(&(z * f64::NAN)?)));
    assert!(is_value(norm_entropy_bound(&Tensor::new(-1f64, CPU)?, 2)));
    assert!(is_value(norm_entropy_bound(&Tensor::new(1f64, CPU)?, 0)));
    assert!(is_value(norm_of_entropy(f64::NAN, 2)));
    Ok(())
}

/// `-integral of p ln p` of a density on the line.
fn entropy(p: impl Fn(f64) -> f64) -> f64 {
    let (step, wide) = (2e-3, 12.);
    let count = (2. * wide / step) as usize;
    h((0..=count).map(|i| p(-wide + i as f64 * step))) * step
}

fn gaussian(z: f64, mean: f64, variance: f64) -> f64 {
    (-(z - mean) * (z - mean) / (2. * variance)).exp() / (2. * PI * variance).sqrt()
}

#[test]
fn pairs_of_codes_bound_information_from_both_sides() -> Result<()> {
    let (means, scales) = ([-2., -0.3, 0.4, 0.5, 3.], [0.3, 0.5, 0.2, 1., 0.4f64]);
    for spread in [1e-3, 0.3, 1., 2.] {
        let means = means.map(|m| m * spread);
        let mixture = |z: f64| {
            let of = |(m, s): (&f64, &f64)| gaussian(z, *m, s * s) / 5.;
            means.iter().zip(&scales).map(of).sum()
        };
        let noise = scales
            .iter()
            .map(|s| (2. * PI * E * s * s).ln() / 10.)
            .sum::<f64>();
        let information = entropy(mixture) - noise;
        let column = |x: [f64; 5]| Tensor::new(&x, CPU)?.reshape((5, 1));
        let (loc, scale) = (column(means)?, column(scales)?);
        let posterior = MultivariateNormalDiag::new(&loc, &scale)?;
        let bounds = pairwise_information(&posterior)?;
        let [lower, upper] = [number(&bounds.lower)?, number(&bounds.upper)?];
        assert!(
            lower <= information + 1e-9 && information <= upper + 1e-9,
            "{lower} {information} {upper}"
        );
        assert!(lower >= -1e-12 && upper <= 5f64.ln());
        // Against their definitions, by the divergences of the families.
        let pair = |i: usize, j: usize| -> Result<f64> {
            let law = |i: usize| MultivariateNormalDiag::new(&loc.get(i)?, &scale.get(i)?);
            number(&law(i)?.kl(&law(j)?)?)
        };
        let mut want = 0.;
        for i in 0..5 {
            let mut sum = 0.;
            for j in 0..5 {
                sum += (-pair(i, j)?).exp();
            }
            want -= (sum / 5.).ln() / 5.;
        }
        close(upper, want, 1e-12);
        let f = |x: &[Tensor]| -> Result<Tensor> {
            let bounds = pairwise_information(&MultivariateNormalDiag::new(&x[0], &x[1])?)?;
            Ok(Tensor::stack(&[bounds.lower, bounds.upper], 0)?)
        };
        check_gradient(&f, &[loc.clone(), scale.clone()], 1e-7)?;
    }
    Ok(())
}

/// Noise that all codes share, and no gradient asks for, goes another way than noise that differs.
#[test]
fn shared_noise_is_a_case_of_noise() -> Result<()> {
    let loc = normal(&[9, 4], 1)?;
    let scale = Tensor::new(&[0.3f64, 1., 0.5, 2.], CPU)?.broadcast_as((9, 4))?;
    let constant = MultivariateNormalDiag::new(&loc, &scale)?;
    let trained = candle_core::Var::from_tensor(&scale)?;
    let general = MultivariateNormalDiag::new(&loc, &trained)?;
    let [one, other] = [
        pairwise_information(&constant)?,
        pairwise_information(&general)?,
    ];
    close(number(&one.lower)?, number(&other.lower)?, 1e-12);
    close(number(&one.upper)?, number(&other.upper)?, 1e-12);
    assert!(number(&one.lower)? > 0.2);
    let f = |x: &[Tensor]| -> Result<Tensor> {
        let bounds = pairwise_information(&MultivariateNormalDiag::new(&x[0], &scale)?)?;
        Ok(Tensor::stack(&[bounds.lower, bounds.upper], 0)?)
    };
    check_gradient(&f, std::slice::from_ref(&loc), 1e-7)
}

#[test]
fn clusters_far_apart_are_known_exactly() -> Result<()> {
    // 40 codes in 4 clusters of many dimensions: ln 4, from both sides.
    let corners = (normal(&[4, 50], 1)? * 30.)?;
    let index = Tensor::from_iter((0..40u32).map(|n| n % 4), CPU)?;
    let codes = corners.index_select(&index, 0)?;
    for dtype in [DType::F64, DType::F32] {
        // Far from 0 too: distances are around the mean code.
        let codes = (&codes + 1e3)?.to_dtype(dtype)?;
        let bounds = pairwise_information(&zero_entropy_posterior(&codes)?)?;
        for bound in [bounds.lower, bounds.upper] {
            assert_eq!(bound.dtype(), dtype);
            close(number(&bound)?, 4f64.ln(), 1e-6);
        }
    }
    let one = zero_entropy_posterior(&codes.narrow(0, 0, 1)?)?;
    close(number(&pairwise_information(&one)?.upper)?, 0., 1e-12);
    let none = zero_entropy_posterior(&codes.narrow(0, 0, 0)?.contiguous()?);
    if let Ok(none) = none {
        assert!(is_shape(pairwise_information(&none)));
    }
    let wide = zero_entropy_posterior(&codes.unsqueeze(0)?)?;
    assert!(is_shape(pairwise_information(&wide)));
    Ok(())
}

#[test]
fn the_nonlinear_objective_is_its_parts() -> Result<()> {
    let (loc, scale) = (normal(&[6, 2], 1)?, (normal(&[6, 2], 2)? * 0.3)?.exp()?);
    let labels = Tensor::new(&[0u32, 1, 1, 0, 1, 0], CPU)?;
    let decoder = |z: &Tensor| Categorical::new(z);
    let posterior = MultivariateNormalDiag::new(&loc, &scale)?;
    let information = number(&pairwise_information(&posterior)?.upper)?;
    let cases = [
        (ConvexFunction::Linear, information),
        (ConvexFunction::Square, information.powi(2)),
        (ConvexFunction::Power(0.5), information.powf(1.5)),
        (ConvexFunction::Exponential(2.), (2. * information).exp()),
    ];
    for (convex, want) in cases {
        let config = NonlinearIbConfig {
            beta: 0.4,
            convex,
            samples: 2,
        };
        let run = |x: &[Tensor]| -> Result<NonlinearIb> {
            let posterior = MultivariateNormalDiag::new(&x[0], &x[1])?;
            nonlinear_ib(&posterior, &decoder, &labels, &config, &mut Rng::new(3))
        };
        let inputs = [loc.clone(), scale.clone()];
        let objective = run(&inputs)?;
        close(number(&objective.information)?, information, 1e-12);
        let parts = DistortionRate::from(objective);
        flat(&parts.rate)
            .iter()
            .for_each(|rate| close(*rate, want, 1e-12));
        let z = posterior.sample(&[2], &mut Rng::new(3))?;
        let plain = decoder_cross_entropy(&decoder(&z)?.log_prob(&labels)?)?;
        close(mean(&parts.total)?, mean(&plain)? + 0.4 * want, 1e-12);
        check_gradient(&|x| Ok(run(x)?.parts.total), &inputs, 1e-7)?;
    }
    let refused = |config: NonlinearIbConfig| {
        is_value(nonlinear_ib(
            &posterior,
            &decoder,
            &labels,
            &config,
            &mut Rng::new(3),
        ))
    };
    let config = NonlinearIbConfig::new(0.1);
    assert!(refused(NonlinearIbConfig {
        beta: -0.1,
        ..config
    }));
    assert!(refused(NonlinearIbConfig {
        samples: 0,
        ..config
    }));
    assert!(refused(NonlinearIbConfig {
        convex: ConvexFunction::Power(0.),
        ..config
    }));
    assert!(refused(NonlinearIbConfig {
        convex: ConvexFunction::Exponential(f64::NAN),
        ..config
    }));
    Ok(())
}

#[test]
fn soft_clusters_are_mixtures_and_a_softmax() -> Result<()> {
    // Appendix A.8.
    let points = normal(&[7, 2], 1)?;
    let labels = [1u32, 0, 1, 3, 0, 1, 3];
    let index = Tensor::new(&labels, CPU)?;
    let variance = 0.4;
    let clusters = SoftClustering::new(&points, &index, 4, variance)?;
    let codes = normal(&[3, 2], 2)?;
    let densities = clusters.log_densities(&codes)?.to_vec2::<f64>()?;
    let probs = clusters.log_label_probs(&codes)?.to_vec2::<f64>()?;
    let (points_of, codes_of) = (points.to_vec2::<f64>()?, codes.to_vec2::<f64>()?);
    for (m, z) in codes_of.iter().enumerate() {
        let sum = |y: usize| -> (f64, usize) {
            let of = (0..7).filter(|i| labels[*i] as usize == y);
            let density = |i: usize| {
                (0..2)
                    .map(|d| gaussian(z[d], points_of[i][d], variance))
                    .product::<f64>()
            };
            (of.clone().map(density).sum(), of.count())
        };
        let all: f64 = (0..4).map(|y| sum(y).0).sum();
        for y in 0..4 {
            let (sum, count) = sum(y);
            if count == 0 {
                assert_eq!(
                    (densities[m][y], probs[m][y]),
                    (f64::NEG_INFINITY, f64::NEG_INFINITY)
                );
            } else {
                close(densities[m][y], (sum / count as f64).ln(), 1e-12);
                close(probs[m][y], (sum / all).ln(), 1e-12);
            }
        }
    }
    let present = Tensor::new(&[0u32, 1, 3], CPU)?;
    let f = |x: &[Tensor]| -> Result<Tensor> {
        let clusters = SoftClustering::new(&x[0], &index, 4, variance)?;
        let both = Tensor::cat(
            &[
                clusters.log_densities(&x[1])?,
                clusters.log_label_probs(&x[1])?,
            ],
            0,
        )?;
        Ok(both.index_select(&present, 1)?)
    };
    check_gradient(&f, &[points.clone(), codes.clone()], 1e-7)?;
    // H[Y|Z] = H[Z|Y] - H[Z] + H[Y], draw by draw.
    let found = clusters.uncertainties(50, &mut Rng::new(3))?;
    let of_y = h([2. / 7., 3. / 7., 2. / 7.]);
    let want = number(&found.reverse_decoder)? - number(&found.encoding)? + of_y;
    close(number(&found.decoder)?, want, 1e-12);
    let f = |x: &[Tensor]| -> Result<Tensor> {
        let clusters = SoftClustering::new(&x[0], &index, 4, variance)?;
        let found = clusters.uncertainties(5, &mut Rng::new(3))?;
        Ok(Tensor::stack(
            &[found.encoding, found.reverse_decoder, found.decoder],
            0,
        )?)
    };
    check_gradient(&f, std::slice::from_ref(&points), 1e-7)?;
    assert!(is_value(SoftClustering::new(&points, &index, 3, variance)));
    assert!(is_value(SoftClustering::new(&points, &index, 4, 0.)));
    assert!(is_shape(SoftClustering::new(
        &points.get(0)?,
        &index,
        4,
        1.
    )));
    assert!(is_shape(clusters.log_densities(&points.narrow(1, 0, 1)?)));
    assert!(is_value(clusters.uncertainties(0, &mut Rng::new(0))));
    Ok(())
}

#[test]
fn entropies_of_soft_clusters_and_their_gradient_meet_quadrature() -> Result<()> {
    let labels = [0u32, 0, 1, 1, 1];
    let at = [-0.6, 0.2, 0.5, 1.1, 1.2];
    let variance = ZERO_ENTROPY_VARIANCE;
    // H[Z] and H[Z|Y] by quadrature.
    let exact = |points: &[f64]| -> [f64; 2] {
        let of = |keep: &dyn Fn(u32) -> bool| {
            let kept: Vec<f64> = (0..5)
                .filter(|i| keep(labels[*i]))
                .map(|i| points[i])
                .collect();
            let n = kept.len() as f64;
            entropy(|z| kept.iter().map(|m| gaussian(z, *m, variance)).sum::<f64>() / n)
        };
        [of(&|_| true), 0.4 * of(&|y| y == 0) + 0.6 * of(&|y| y == 1)]
    };
    let points = candle_core::Var::from_tensor(&Tensor::new(&at, CPU)?.reshape((5, 1))?)?;
    let index = Tensor::new(&labels, CPU)?;
    let clusters = SoftClustering::new(&points, &index, 2, variance)?;
    let rounds = 40;
    let mut seen = vec![];
    for round in 0..rounds {
        let found = clusters.uncertainties(500, &mut Rng::new(round))?;
        let mut numbers = vec![number(&found.encoding)?, number(&found.reverse_decoder)?];
        for value in [&found.encoding, &found.reverse_decoder] {
            let gradients = candle_prob::optim::backward(value)?;
            numbers.extend(flat(gradients.get(&points).expect("a gradient")));
        }
        seen.push(numbers);
    }
    let mut want = exact(&at).to_vec();
    for which in 0..2 {
        for i in 0..5 {
            let moved = |by: f64| {
                let mut points = at;
                points[i] += by;
                exact(&points)[which]
            };
            want.push((moved(1e-4) - moved(-1e-4)) / 2e-4);
        }
    }
    for (i, want) in want.into_iter().enumerate() {
        let n = rounds as f64;
        let mean = seen.iter().map(|numbers| numbers[i]).sum::<f64>() / n;
        let squares: f64 = seen.iter().map(|numbers| (numbers[i] - mean).powi(2)).sum();
        let error = (squares / (n - 1.) / n).sqrt();
        // Six standard errors of 40 rounds: one in a million of a t-law fails by chance.
        assert!(
            error < 0.02 && (mean - want).abs() < 6. * error,
            "{i}: {mean} {want} {error}"
        );
    }
    // H[Z|Y] is at least that of the noise, 0, and draws points of a label together: downhill is inwards.
    let slope = |which: usize, i: usize| {
        seen.iter()
            .map(|numbers| numbers[2 + 5 * which + i])
            .sum::<f64>()
    };
    assert!(slope(1, 0) < 0. && slope(1, 1) > 0. && slope(1, 2) < 0.);
    assert!(seen.iter().all(|numbers| numbers[1] > 0.1));
    // Points of a label that are one: the noise is all there is.
    let same = Tensor::new(&[[0f64], [0.], [2.], [2.], [2.]], CPU)?;
    let found =
        SoftClustering::new(&same, &index, 2, variance)?.uncertainties(20_000, &mut Rng::new(1))?;
    close(
        number(&found.reverse_decoder)?,
        0.,
        5. * (0.5f64 / 1e5).sqrt(),
    );
    Ok(())
}

/// One example of 128 has a second category, of a probability at the edge of the dtype.
#[test]
fn categories_at_the_edge_of_numbers() -> Result<()> {
    let labels = Tensor::zeros(128, DType::U32, CPU)?;
    for (dtype, logs) in [
        (DType::F16, vec![-9., -15., -17.]),
        (DType::F32, vec![-98., -101., -103.]),
        (DType::F64, vec![-700., -744., -745.]),
    ] {
        for log in logs {
            let mut rows = [0., f64::NEG_INFINITY].repeat(128);
            rows[1] = log;
            let rows = Tensor::from_vec(rows, (128, 2), CPU)?.to_dtype(dtype)?;
            let encoder = candle_core::Var::from_tensor(&rows)?;
            let decoder = Tensor::zeros((2, 1), dtype, CPU)?;
            for rate in RATES {
                let config = CategoricalConfig { rate, weight: 1. };
                let objective = categorical_bottleneck(&encoder, &decoder, &labels, &config)?;
                assert_eq!(objective.parts.rate.dtype(), dtype);
                let rates = flat(&objective.parts.rate.to_dtype(DType::F64)?);
                assert!(
                    rates.iter().all(|x| x.is_finite()),
                    "{dtype:?} {log} {rate:?}"
                );
                let total = objective.parts.total.mean_all()?;
                let gradients = candle_prob::optim::backward(&total)?;
                let gradient = gradients.get(&encoder).expect("a gradient");
                let gradient = flat(&gradient.to_dtype(DType::F64)?);
                // Codes that are not there have none, the one that is there has.
                assert!(
                    gradient.iter().all(|x| x.is_finite()),
                    "{dtype:?} {log} {rate:?}"
                );
            }
        }
    }
    // Equal rows tell nothing, to the last digit of their dtype.
    let rows = special::log_softmax(&normal(&[1, 10], 3)?.to_dtype(DType::F32)?, 1)?;
    let rows = rows.broadcast_as((7, 10))?.contiguous()?;
    let decoder = Tensor::zeros((10, 1), DType::F32, CPU)?;
    let (rate, labels) = (CategoricalRate::Preserved, labels.narrow(0, 0, 7)?);
    let config = CategoricalConfig { rate, weight: 1. };
    let objective = categorical_bottleneck(&rows, &decoder, &labels, &config)?;
    close(mean(&objective.parts.rate)?, 0., 1e-14);
    Ok(())
}

/// Codes that are sharp, or far from their mean in units of their noise, tell all of the example and no more.
#[test]
fn sharp_codes_are_between_the_bounds() -> Result<()> {
    let loc = normal(&[8, 16], 5)?;
    for (scale, log_var) in [(1., -20.), (1., -30.), (1., -45.), (1e7, -2.8), (1e9, -2.8)] {
        let loc = (&loc * scale)?;
        let noise = (loc.zeros_like()? + f64::exp(log_var / 2.))?;
        let trained = candle_core::Var::from_tensor(&noise)?;
        for noise in [&noise, trained.as_tensor()] {
            let found = pairwise_information(&MultivariateNormalDiag::new(&loc, noise)?)?;
            close(number(&found.lower)?, 8f64.ln(), 1e-9);
            close(number(&found.upper)?, 8f64.ln(), 1e-9);
        }
    }
    // Two of each: equal means are no distance, at any scale.
    let twice = Tensor::cat(&[&loc, &loc], 0)?;
    let noise = (twice.zeros_like()? + 1e-9)?;
    let found = pairwise_information(&MultivariateNormalDiag::new(&twice, &noise)?)?;
    close(number(&found.lower)?, 8f64.ln(), 1e-9);
    close(number(&found.upper)?, 8f64.ln(), 1e-9);
    let f = |x: &[Tensor]| -> Result<Tensor> {
        let found = pairwise_information(&MultivariateNormalDiag::new(&x[0], &x[1])?)?;
        Ok(Tensor::stack(&[found.lower, found.upper], 0)?)
    };
    // A common part that products would lose digits by.
    let far = (Tensor::new(&[[0.1f64], [0.4], [0.6]], CPU)? * 1.)?;
    let far = Tensor::cat(&[&far, &Tensor::new(&[[0f64], [1e7], [1e7]], CPU)?], 1)?;
    let noise = Tensor::new(&[[0.3f64, 0.4], [0.5, 0.4], [0.4, 0.5]], CPU)?;
    check_gradient(&f, &[far, noise], 1e-6)
}

/// No information is none, whatever the power.
#[test]
fn equal_codes_have_a_convex_function_of_nothing() -> Result<()> {
    for seed in 0..20 {
        let loc = normal(&[1, 3], seed)?.broadcast_as((5, 3))?.contiguous()?;
        let scale = normal(&[1, 3], seed + 50)?.exp()?;
        let scale = scale.broadcast_as((5, 3))?.contiguous()?;
        let trained = candle_core::Var::from_tensor(&scale)?;
        for scale in [&scale, trained.as_tensor()] {
            let posterior = MultivariateNormalDiag::new(&loc, scale)?;
            let mut config = NonlinearIbConfig::new(1.);
            config.convex = ConvexFunction::Power(0.5);
            let labels = Tensor::zeros(5, DType::U32, CPU)?;
            let decoder = |z: &Tensor| Categorical::new(z);
            let found = nonlinear_ib(&posterior, &decoder, &labels, &config, &mut Rng::new(0))?;
            let information = number(&found.information)?;
            assert!((0. ..1e-14).contains(&information), "{information}");
            assert!(number(&found.parts.rate)?.is_finite());
        }
    }
    Ok(())
}

/// A code of weighted components, its bound from the chain rule.
#[test]
fn the_decoded_code_tells_less_than_its_components() -> Result<()> {
    let (batch, k, d) = (5, 3, 4);
    let loc = (normal(&[batch, k, d], 1)? * 1.5)?;
    let scale = (normal(&[batch, k, d], 2)? * 0.3)?.exp()?;
    let concentration = (normal(&[batch, k], 3)? * 0.5)?.exp()?;
    let components = MultivariateNormalDiag::new(&loc, &scale)?;
    let prior = MultivariateNormalDiag::standard(d, DType::F64, CPU)?;
    let uniform = Dirichlet::new(&concentration.ones_like()?)?;
    let weight = Dirichlet::new(&concentration)?;
    let (parts, weights) = ((&components, &prior), (&weight, &uniform));

    // The formula by hand, with the same weights.
    let (rng, samples) = (|| Rng::new(4), 7);
    let rate = floats(&gmvib_code_rate(parts, weights, samples, &mut rng())?)?;
    let e = floats(&weight.sample(&[samples], &mut rng())?)?;
    let (m, s) = (floats(&loc)?, floats(&scale)?);
    let weight_rate = floats(&weight.kl(&uniform)?)?;
    let full = components.kl(&prior)?.sum(1)?;
    let full = floats(&(full + weight.kl(&uniform)?)?)?;
    for b in 0..batch {
        let mut want = weight_rate[b];
        for draw in 0..samples {
            let e = &e[(draw * batch + b) * k..][..k];
            for j in 0..d {
                let of = |x: &[f64], c: usize| x[(b * k + c) * d + j];
                let mean: f64 = (0..k).map(|c| e[c] * of(&m, c)).sum();
                let variance: f64 = (0..k).map(|c| (e[c] * of(&s, c)).powi(2)).sum();
                let prior: f64 = e.iter().map(|e| e * e).sum();
                let ratio = variance / prior;
                let kl = (mean * mean / prior + ratio - 1. - ratio.ln()) / 2.;
                want += kl / samples as f64;
            }
        }
        close(rate[b], want, 1e-10);
        assert!(rate[b] < full[b], "{} of {}", rate[b], full[b]);
    }

    // One component has nothing to be added to.
    let one = MultivariateNormalDiag::new(&loc.narrow(1, 0, 1)?, &scale.narrow(1, 0, 1)?)?;
    let sure = Dirichlet::new(&Tensor::ones((batch, 1), DType::F64, CPU)?)?;
    let alone = gmvib_code_rate((&one, &prior), (&sure, &sure), 2, &mut rng())?;
    for (got, want) in floats(&alone)?
        .into_iter()
        .zip(floats(&one.kl(&prior)?.squeeze(1)?)?)
    {
        close(got, want, 1e-12);
    }

    let rates = |x: &[Tensor]| {
        let components = MultivariateNormalDiag::new(&x[0], &x[1])?;
        let weight = LogisticNormal::from_log_var(&x[2], &x[2])?;
        let standard = LogisticNormal::standard(k, DType::F64, CPU)?;
        gmvib_code_rate((&components, &prior), (&weight, &standard), 3, &mut rng())
    };
    let inputs = [loc.clone(), scale.clone(), concentration.clone()];
    check_gradient(&rates, &inputs, 1e-6)?;

    // As many priors as components, an empty batch, half precision, and what is refused.
    let first = |x: &Tensor| x.narrow(0, 0, 1)?.squeeze(0);
    let own = MultivariateNormalDiag::new(&first(&loc)?, &first(&scale)?)?;
    assert_eq!(
        gmvib_code_rate((&components, &own), weights, 2, &mut rng())?.dims(),
        &[batch]
    );
    let none = |x: &Tensor| x.narrow(0, 0, 0);
    let empty = MultivariateNormalDiag::new(&none(&loc)?, &none(&scale)?)?;
    let no_weight = Dirichlet::new(&none(&concentration)?)?;
    let rate = gmvib_code_rate((&empty, &prior), (&no_weight, &no_weight), 2, &mut rng())?;
    assert_eq!(rate.dims(), &[0]);
    assert!(is_value(gmvib_code_rate(parts, weights, 0, &mut rng())));
    let wide = MultivariateNormalDiag::standard(d + 1, DType::F64, CPU)?;
    assert!(is_shape(gmvib_code_rate(
        (&components, &wide),
        weights,
        2,
        &mut rng()
    )));
    assert!(is_shape(gmvib_code_rate(
        (&one, &prior),
        weights,
        2,
        &mut rng()
    )));
    Ok(())
}
