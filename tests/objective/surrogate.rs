//! Cross-entropies of code and input, zero-entropy noise and the surrogates of entropies.

use crate::support::{flat, floats};
use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng, special};
use std::f64::consts::{E, PI};

const CPU: &Device = &Device::Cpu;

fn normal(shape: &[usize], seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, CPU)
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(floats(x)?[0])
}

fn is_value<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Value { .. }))
}

fn is_shape<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Shape { .. }))
}

/// A model of categorical codes: p(z|x) [B, C] and q(y|z) [C, L], with their labels.
fn discrete(b: usize, c: usize, l: usize) -> Result<(Tensor, Tensor, Vec<u32>)> {
    let encoder = special::log_softmax(&(normal(&[b, c], 1)? * 2.)?, 1)?;
    let decoder = special::log_softmax(&(normal(&[c, l], 2)? * 2.)?, 1)?;
    let labels = (0..b).map(|i| (i * i % l) as u32).collect();
    Ok((encoder, decoder, labels))
}

#[test]
fn predictions_cost_no_more_than_decoders() -> Result<()> {
    // Observation 2, draw by draw.
    let draws = special::log_sigmoid(&(normal(&[7, 50], 3)? * 3.)?)?;
    let decoder = decoder_cross_entropy(&draws)?;
    let prediction = prediction_cross_entropy(&draws)?;
    assert_eq!(decoder.dims(), &[50]);
    for (decoder, prediction) in flat(&decoder).into_iter().zip(flat(&prediction)) {
        assert!(prediction < decoder - 1e-3, "{prediction} {decoder}");
    }
    // All draws of a deterministic code are one.
    let one = draws.narrow(0, 0, 1)?.broadcast_as((7, 50))?;
    let gap = (decoder_cross_entropy(&one)? - prediction_cross_entropy(&one)?)?;
    assert!(flat(&gap).iter().all(|gap| gap.abs() < 1e-14));
    check_gradient(
        &|x| decoder_cross_entropy(&x[0]),
        std::slice::from_ref(&draws),
        1e-8,
    )?;
    check_gradient(&|x| prediction_cross_entropy(&x[0]), &[draws], 1e-8)
}

#[test]
fn cross_entropies_of_extremes_and_of_nothing() -> Result<()> {
    let never = f64::NEG_INFINITY;
    let draws = Tensor::new(&[[never, -1e4, never], [0., -2e4, never]], CPU)?;
    let (decoder, prediction) = (
        flat(&decoder_cross_entropy(&draws)?),
        flat(&prediction_cross_entropy(&draws)?),
    );
    assert_eq!(decoder, [f64::INFINITY, 1.5e4, f64::INFINITY]);
    assert_eq!(prediction, [2f64.ln(), 1e4 + 2f64.ln(), f64::INFINITY]);
    let strided = normal(&[6, 4], 0)?.t()?;
    let same = |f: fn(&Tensor) -> Result<Tensor>| -> Result<bool> {
        Ok(flat(&f(&strided)?) == flat(&f(&strided.contiguous()?)?))
    };
    assert!(same(decoder_cross_entropy)? && same(prediction_cross_entropy)?);
    let empty = Tensor::zeros((3, 0), DType::F32, CPU)?;
    assert_eq!(decoder_cross_entropy(&empty)?.dims(), &[0]);
    assert_eq!(prediction_cross_entropy(&empty)?.dims(), &[0]);
    let none = Tensor::zeros((0, 3), DType::F32, CPU)?;
    assert!(is_shape(decoder_cross_entropy(&none)));
    assert!(is_shape(prediction_cross_entropy(&none)));
    Ok(())
}

#[test]
fn errors_are_below_both_bounds() -> Result<()> {
    // Observation 3 and footnote 11: the model draws the label.
    let (encoder, decoder, labels) = discrete(40, 6, 3)?;
    let index = Tensor::new(labels, CPU)?;
    // ln q(y_i|z), [C, B], and with p(z|x_i).
    let likelihood = decoder.index_select(&index, 1)?;
    let right = (&likelihood.exp()? * encoder.t()?.exp()?)?.sum(0)?;
    let wrong = number(&(1. - right.mean_all()?)?)?;
    let decoder = ((&likelihood * encoder.t()?.exp()?)?.sum(0)?).neg()?;
    let bounds = [error_bound(&right.log()?.neg()?)?, error_bound(&decoder)?];
    let [by_prediction, by_decoder] = bounds.map(|bound| flat(&bound)[0]);
    assert!(wrong < by_prediction && by_prediction < by_decoder && by_decoder < 1.);
    // Of a model that is as sure of each example the bound is the error.
    let even = Tensor::new(&[0.25f64.ln(); 5], CPU)?.neg()?;
    assert!((number(&error_bound(&even)?)? - 0.75).abs() < 1e-15);
    let tiny = Tensor::new(&[1e-12f64], CPU)?;
    assert!((number(&error_bound(&tiny)?)? / 1e-12 - 1.).abs() < 1e-10);
    let infinite = Tensor::new(&[0., f64::INFINITY], CPU)?;
    assert_eq!(number(&error_bound(&infinite)?)?, 1.);
    assert!(is_value(error_bound(&Tensor::new(&[1., -1e-3], CPU)?)));
    assert!(is_value(error_bound(&Tensor::new(&[f64::NAN], CPU)?)));
    assert!(is_shape(error_bound(&Tensor::zeros(0, DType::F64, CPU)?)));
    let costs = Tensor::new(&[0.3f64, 2.], CPU)?;
    check_gradient(&|x| error_bound(&x[0]), &[costs], 1e-8)
}

#[test]
fn one_draw_is_unbiased_for_the_decoder_only() -> Result<()> {
    // Observation 5, over all draws of K codes with their probabilities.
    let (encoder, decoder, labels) = discrete(1, 4, 3)?;
    let index = Tensor::new(labels, CPU)?;
    let likelihood = flat(&decoder.index_select(&index, 1)?);
    let p = flat(&encoder.exp()?);
    let exact: f64 = -(0..4).map(|z| p[z] * likelihood[z]).sum::<f64>();
    let predicted: f64 = -(0..4).map(|z| p[z] * likelihood[z].exp()).sum::<f64>().ln();
    let mut last = f64::INFINITY;
    for draws in 1..=5u32 {
        let mut means = [0.; 2];
        for number in 0..4usize.pow(draws) {
            let z = |k: u32| number / 4usize.pow(k) % 4;
            let chance: f64 = (0..draws).map(|k| p[z(k)]).product();
            let of_draws = (0..draws).map(|k| likelihood[z(k)]);
            let of_draws = Tensor::from_iter(of_draws, CPU)?.unsqueeze(1)?;
            means[0] += chance * flat(&decoder_cross_entropy(&of_draws)?)[0];
            means[1] += chance * flat(&prediction_cross_entropy(&of_draws)?)[0];
        }
        assert!((means[0] - exact).abs() < 1e-12, "{draws}");
        if draws == 1 {
            assert!((means[1] - exact).abs() < 1e-12);
        }
        // From above, less with every draw.
        assert!(means[1] > predicted + 0.01 && means[1] <= last, "{draws}");
        last = means[1];
    }
    assert!(last < exact - 0.01);
    Ok(())
}

#[test]
fn one_dropout_mask_is_unbiased_for_the_decoder_only() -> Result<()> {
    // Three units that are kept with probability 1/2, and a decoder of two labels.
    let weights = Tensor::new(&[[1f64], [-2.], [0.7]], CPU)?;
    let likelihood = |masks: &Tensor| -> Result<Tensor> {
        special::log_sigmoid(&(masks.matmul(&weights)?.squeeze(1)? * 2.)?)
    };
    let all: Vec<f64> = (0..24)
        .map(|at| f64::from((at / 3) >> (at % 3) & 1))
        .collect();
    let all = likelihood(&Tensor::from_vec(all, (8, 3), CPU)?)?.unsqueeze(1)?;
    let decoder = flat(&decoder_cross_entropy(&all)?)[0];
    let prediction = flat(&prediction_cross_entropy(&all)?)[0];
    let masks = Rng::new(5).uniform((40_000, 3), DType::F64, CPU)?;
    let masks = masks.lt(0.5)?.to_dtype(DType::F64)?;
    // Each mask is the one draw of its example.
    let one = likelihood(&masks)?.unsqueeze(0)?;
    for estimate in [
        decoder_cross_entropy(&one)?,
        prediction_cross_entropy(&one)?,
    ] {
        let mean = number(&estimate.mean_all()?)?;
        let spread = number(&estimate.var(0)?)?.sqrt();
        let error = spread / 200.;
        // Five standard errors: one in 1.7 million fails by chance.
        assert!((mean - decoder).abs() < 5. * error, "{mean} {decoder}");
        assert!(mean > prediction + 20. * error, "{mean} {prediction}");
    }
    Ok(())
}

#[test]
fn noise_of_zero_entropy() -> Result<()> {
    assert!((ZERO_ENTROPY_VARIANCE - 0.0585).abs() < 1e-4);
    let codes = normal(&[2000, 3], 1)?;
    let noisy = zero_entropy_noise(&codes, &mut Rng::new(3))?;
    let again = zero_entropy_noise(&codes, &mut Rng::new(3))?;
    assert_eq!(flat(&noisy), flat(&again));
    let noise = (noisy - &codes)?;
    // Var of the sample variance of 6000 normals: 5 standard errors, one in 1.7 million fails by chance.
    let bound = 5. * (2f64 / 6000.).sqrt();
    let variance = number(&noise.sqr()?.mean_all()?)? / ZERO_ENTROPY_VARIANCE;
    assert!((variance - 1.).abs() < bound);
    // The posterior is its law: the draws of one seed are the same.
    let posterior = zero_entropy_posterior(&codes)?;
    let drawn = (posterior.sample(&[], &mut Rng::new(3))? - again)?;
    assert!(flat(&drawn).iter().all(|gap| gap.abs() < 1e-12));
    assert!(flat(&posterior.entropy()?).iter().all(|h| h.abs() < 1e-12));
    let half = zero_entropy_noise(&codes.to_dtype(DType::F16)?, &mut Rng::new(3))?;
    assert_eq!(half.dtype(), DType::F16);
    let empty = Tensor::zeros((0, 3), DType::F32, CPU)?;
    assert_eq!(
        zero_entropy_noise(&empty, &mut Rng::new(3))?.dims(),
        &[0, 3]
    );
    let whole = Tensor::new(&[1u32], CPU)?;
    assert!(zero_entropy_noise(&whole, &mut Rng::new(3)).is_err());
    assert!(is_shape(zero_entropy_posterior(&Tensor::new(1f64, CPU)?)));
    check_gradient(
        &|x| zero_entropy_noise(&x[0], &mut Rng::new(3)),
        &[normal(&[2, 2], 4)?],
        1e-8,
    )
}

/// `sum_i ln(2 pi e Var_i) / 2` of rows, from their definition.
fn log_variance(rows: &[Vec<f64>]) -> f64 {
    let n = rows.len() as f64;
    let of = |i: usize| {
        let mean = rows.iter().map(|row| row[i]).sum::<f64>() / n;
        let squares: f64 = rows.iter().map(|row| (row[i] - mean).powi(2)).sum();
        (2. * PI * E * squares / (n - 1.)).ln() / 2.
    };
    (0..rows[0].len()).map(of).sum()
}

const CONDITIONAL: Surrogate = Surrogate::ConditionalLogVariance { classes: 6 };

#[test]
fn regularizers_are_their_definitions() -> Result<()> {
    let labels = [3u32, 0, 3, 1, 0, 3, 0, 5, 0];
    let z = (normal(&[9, 4], 6)? * 3.)?;
    let rows: Vec<Vec<f64>> = z.to_vec2()?;
    let index = Tensor::new(&labels, CPU)?;
    let of = |surrogate: Surrogate| surrogate.regularizer(&z, &index);
    let norms = rows.iter().flatten().map(|x| x * x).sum::<f64>() / 9.;
    assert!((number(&of(Surrogate::SquaredNorm)?.value)? - norms).abs() < 1e-12);
    let all = log_variance(&rows);
    assert!((number(&of(Surrogate::LogVariance)?.value)? - all).abs() < 1e-12);
    let class = |label: u32| {
        let rows: Vec<_> = (0..9)
            .filter(|n| labels[*n] == label)
            .map(|n| rows[n].clone())
            .collect();
        log_variance(&rows)
    };
    let conditional = of(CONDITIONAL)?;
    // The classes 1 and 5 have one code, 2 and 4 none.
    let want = (4. * class(0) + 3. * class(3)) / 7.;
    assert!((number(&conditional.value)? - want).abs() < 1e-12);
    let counts = (
        conditional.codes,
        conditional.classes,
        conditional.single,
        conditional.absent,
    );
    assert_eq!(counts, (7, 2, 2, 2));
    // Several draws of each code are as many codes.
    let draws = normal(&[2, 9, 4], 7)?;
    let flattened = draws.reshape((18, 4))?;
    let twice = Tensor::cat(&[&index, &index], 0)?;
    for surrogate in [Surrogate::SquaredNorm, Surrogate::LogVariance, CONDITIONAL] {
        let got = surrogate.regularizer(&draws, &index)?;
        let want = surrogate.regularizer(&flattened, &twice)?;
        assert_eq!(number(&got.value)?, number(&want.value)?);
        assert_eq!(got.single, 0);
        check_gradient(
            &|x| Ok(surrogate.regularizer(&x[0], &index)?.value),
            std::slice::from_ref(&z),
            1e-7,
        )?;
    }
    Ok(())
}

#[test]
fn regularizers_of_every_kind_of_input() -> Result<()> {
    let labels = Tensor::new(&[0u32, 1, 0, 1], CPU)?;
    let z = normal(&[3, 4], 8)?.t()?;
    for surrogate in [Surrogate::SquaredNorm, Surrogate::LogVariance, CONDITIONAL] {
        let of = |z: &Tensor, labels: &Tensor| -> Result<f64> {
            number(&surrogate.regularizer(z, labels)?.value)
        };
        let want = of(&z, &labels)?;
        assert_eq!(of(&z.contiguous()?, &labels)?, want);
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::BF16, 0.03), (DType::F16, 4e-3)] {
            let got = surrogate.regularizer(&z.to_dtype(dtype)?, &labels)?;
            assert_eq!(got.value.dtype(), dtype);
            let got = number(&got.value)?;
            assert!(
                (got - want).abs() < tolerance * want.abs().max(1.),
                "{got} {want}"
            );
        }
        for kind in [DType::U8, DType::I64] {
            assert_eq!(of(&z, &labels.to_dtype(kind)?)?, want);
        }
        let empty = Tensor::zeros((0, 3), DType::F64, CPU)?;
        let no_labels = Tensor::zeros(0, DType::U32, CPU)?;
        assert!(is_shape(surrogate.regularizer(&empty, &no_labels)));
        assert!(is_shape(surrogate.regularizer(&z.get(0)?, &labels)));
    }
    // Variances are f64: those of large and of small codes, and of codes far from 0, keep their digits.
    for (scale, shift, tolerance) in [(1e25, 0., 1e-6), (1e-30, 0., 1e-6), (1., 1e3, 1e-4)] {
        let single = ((&z * scale)? + shift)?.to_dtype(DType::F32)?;
        for surrogate in [Surrogate::LogVariance, CONDITIONAL] {
            let got = number(&surrogate.regularizer(&single, &labels)?.value)?;
            let want = number(&surrogate.regularizer(&z, &labels)?.value)? + 3. * f64::ln(scale);
            assert!((got - want).abs() < tolerance * want.abs(), "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn what_regularizers_refuse() -> Result<()> {
    let z = normal(&[4, 2], 9)?;
    let labels = |labels: [u32; 4]| Tensor::new(&labels, CPU);
    let conditional = |z: &Tensor, labels: &Tensor| CONDITIONAL.regularizer(z, labels);
    // No class of two, a label that is no class, another number of labels, labels that are no whole numbers.
    assert!(is_value(conditional(&z, &labels([0, 1, 2, 3])?)));
    assert!(is_value(conditional(&z, &labels([0, 0, 6, 6])?)));
    assert!(is_shape(conditional(&z, &Tensor::new(&[0u32, 0], CPU)?)));
    assert!(conditional(&z, &Tensor::new(&[0f32, 0., 1., 1.], CPU)?).is_err());
    assert!(is_value(conditional(
        &z,
        &Tensor::new(&[0i64, 0, -1, -1], CPU)?
    )));
    // One code has no variance, and neither have equal ones.
    let two = labels([0, 0, 1, 1])?;
    assert!(is_value(
        Surrogate::LogVariance.regularizer(&z.narrow(0, 0, 1)?, &two)
    ));
    let dead = z.broadcast_mul(&Tensor::new(&[1f64, 0.], CPU)?)?;
    assert!(is_value(Surrogate::LogVariance.regularizer(&dead, &two)));
    assert!(is_value(conditional(&dead, &two)));
    assert!(conditional(&zero_entropy_noise(&dead, &mut Rng::new(0))?, &two).is_ok());
    // What is left out does not count, infinite as it may be.
    let one = Tensor::new(
        &[[0f64, 1.], [2., 3.], [f64::NAN, 0.], [f64::INFINITY, 0.]],
        CPU,
    )?;
    let rate = conditional(&one, &labels([0, 0, 1, 2])?)?;
    assert!(number(&rate.value)?.is_finite());
    Ok(())
}

/// Codes of two classes, N(mean_y, S_y), and their entropies `ln det(2 pi e S_y) / 2`.
fn gaussian_classes(n: usize) -> Result<(Tensor, Tensor, f64)> {
    let root = [
        Tensor::new(&[[1f64, 0.], [0.8, 0.6]], CPU)?,
        Tensor::new(&[[0.5f64, 0.], [0., 2.]], CPU)?,
    ];
    let mut rng = Rng::new(12);
    let mut codes = vec![];
    for (root, mean) in root.iter().zip([-3., 4.]) {
        let noise = rng.normal((n, 2), DType::F64, CPU)?;
        codes.push((noise.matmul(&root.t()?)? + mean)?);
    }
    let labels = (0..2 * n).map(|at| (at / n) as u32);
    let log_det: f64 = (0.6f64.ln() + 1f64.ln()) / 2.;
    let entropy = (2. * PI * E).ln() + log_det;
    Ok((
        Tensor::cat(&codes, 0)?,
        Tensor::from_iter(labels, CPU)?,
        entropy,
    ))
}

#[test]
fn variances_bound_entropies() -> Result<()> {
    // Observation 7, on classes of known entropy: sum ln Var_i is above ln det Cov by -ln(1 - rho^2) of the first class.
    let (z, labels, entropy) = gaussian_classes(20_000)?;
    let conditional = Surrogate::ConditionalLogVariance { classes: 2 };
    let bound = number(&conditional.regularizer(&z, &labels)?.value)?;
    let slack = -0.36f64.ln() / 4.;
    // Each ln Var has the standard error sqrt(2 / n) = 0.01; four of them halved, and averaged over two classes.
    assert!(
        (bound - entropy - slack).abs() < 5. * 0.005,
        "{bound} {entropy}"
    );
    // All codes together, far apart as they are, have more.
    let all = number(&Surrogate::LogVariance.regularizer(&z, &labels)?.value)?;
    assert!(all > bound + 1.);
    Ok(())
}

#[test]
fn surrogate_objectives_are_their_parts() -> Result<()> {
    // Observation 8.
    let codes = normal(&[12, 3], 20)?;
    let labels = Tensor::from_iter((0..12u32).map(|n| n % 3), CPU)?;
    let decoder = |z: &Tensor| Categorical::new(z);
    let posterior = zero_entropy_posterior(&codes)?;
    for surrogate in [Surrogate::SquaredNorm, Surrogate::LogVariance, CONDITIONAL] {
        for samples in [1, 3] {
            let run = |gamma: f64| -> Result<SurrogateBottleneck> {
                let config = SurrogateConfig {
                    samples,
                    ..SurrogateConfig::new(surrogate, gamma)
                };
                surrogate_bottleneck(&posterior, &decoder, &labels, &config, &mut Rng::new(7))
            };
            let z = posterior.sample(&[samples], &mut Rng::new(7))?;
            let likelihood = decoder(&z)?.log_prob(&labels)?;
            let plain = decoder_cross_entropy(&likelihood)?;
            let rate = number(&surrogate.regularizer(&z, &labels)?.value)?;
            // Without a weight it is the cross-entropy, bit for bit.
            assert_eq!(flat(&run(0.)?.parts.total), flat(&plain));
            let parts = DistortionRate::from(run(0.3)?);
            assert_eq!(flat(&parts.distortion), flat(&plain));
            assert_eq!(flat(&parts.rate), [rate; 12]);
            let want = number(&plain.mean_all()?)? + 0.3 * rate;
            assert!((number(&parts.total.mean_all()?)? - want).abs() < 1e-12);
        }
        let config = SurrogateConfig::new(surrogate, 0.3);
        let objective = |x: &[Tensor]| -> Result<Tensor> {
            let posterior = zero_entropy_posterior(&x[0])?;
            let rng = &mut Rng::new(7);
            Ok(
                surrogate_bottleneck(&posterior, &decoder, &labels, &config, rng)?
                    .parts
                    .total,
            )
        };
        check_gradient(&objective, std::slice::from_ref(&codes), 1e-7)?;
        let negative = SurrogateConfig::new(surrogate, -0.1);
        let rng = &mut Rng::new(0);
        assert!(is_value(surrogate_bottleneck(
            &posterior, &decoder, &labels, &negative, rng
        )));
        let none = SurrogateConfig {
            samples: 0,
            ..config
        };
        assert!(is_value(surrogate_bottleneck(
            &posterior, &decoder, &labels, &none, rng
        )));
    }
    // A code without noise is a posterior too, and so are the masks of a dropout in front of the batch.
    let masks = Delta::new(&normal(&[5, 12, 3], 21)?, 1)?;
    let config = SurrogateConfig::new(CONDITIONAL, 0.3);
    let parts = surrogate_bottleneck(&masks, &decoder, &labels, &config, &mut Rng::new(0))?;
    assert_eq!(parts.parts.total.dims(), &[5, 12]);
    assert_eq!(parts.regularizer.codes, 60);
    Ok(())
}

/// `-integral of p ln p` of a density on the line.
fn entropy(p: impl Fn(f64) -> f64) -> f64 {
    let (step, wide) = (1e-3, 12.);
    let count = (2. * wide / step) as usize;
    let term = |p: f64| if p > 0. { -p * p.ln() } else { 0. };
    (0..=count)
        .map(|i| term(p(-wide + i as f64 * step)) * step)
        .sum()
}

#[test]
fn noise_orders_continuous_entropies() -> Result<()> {
    // Observation 6: a deterministic encoder of four inputs with two labels, by quadrature.
    let (points, labels) = ([-0.5, 0.1, 0.6, 0.6], [0, 0, 1, 1]);
    let density = |z: f64, points: &[f64], variance: f64| {
        let of = |m: &f64| (-(z - m) * (z - m) / (2. * variance)).exp();
        points.iter().map(of).sum::<f64>() / points.len() as f64 / (2. * PI * variance).sqrt()
    };
    let quantities = |scale: f64, variance: f64| -> [f64; 3] {
        let points = points.map(|x| x * scale);
        let class = |y: i32| -> Vec<f64> {
            (0..4)
                .filter(|i| labels[*i] == y)
                .map(|i| points[i])
                .collect()
        };
        let h_z = entropy(|z| density(z, &points, variance));
        let given = |y: i32| entropy(|z| density(z, &class(y), variance));
        let h_z_given_y = (given(0) + given(1)) / 2.;
        let h_z_given_x = entropy(|z| density(z, &[0.], variance));
        [h_z_given_y - h_z_given_x, h_z_given_y, h_z]
    };
    for scale in [1e-3, 0.1, 1., 10.] {
        let [redundant, reverse, encoding] = quantities(scale, ZERO_ENTROPY_VARIANCE);
        assert!(
            redundant <= reverse + 1e-9 && reverse <= encoding + 1e-9,
            "{scale}"
        );
        assert!((redundant - reverse).abs() < 1e-9 && redundant > -1e-9);
    }
    // With less noise entropies are negative, and the order is lost.
    let [redundant, reverse, encoding] = quantities(0.1, ZERO_ENTROPY_VARIANCE / 100.);
    assert!(redundant > reverse + 1. && reverse < 0. && encoding < 0.);
    Ok(())
}

#[test]
fn gradients_pull_codes_to_the_mean_of_their_class() -> Result<()> {
    let z = candle_core::Var::from_tensor(&normal(&[6, 2], 30)?)?;
    let labels = Tensor::new(&[0u32, 0, 0, 1, 1, 2], CPU)?;
    let rate = CONDITIONAL.regularizer(&z, &labels)?;
    let gradients = candle_prob::optim::backward(&rate.value)?;
    let got = gradients.get(&z).expect("a gradient").to_vec2::<f64>()?;
    let rows = z.to_vec2::<f64>()?;
    for n in 0..6 {
        let class: Vec<usize> = [vec![0, 1, 2], vec![3, 4], vec![]][[0, 0, 0, 1, 1, 2][n]].clone();
        for d in 0..2 {
            let want = if class.is_empty() {
                0.
            } else {
                let count = class.len() as f64;
                let mean = class.iter().map(|m| rows[*m][d]).sum::<f64>() / count;
                let squares: f64 = class.iter().map(|m| (rows[*m][d] - mean).powi(2)).sum();
                count / 5. * (rows[n][d] - mean) / squares
            };
            assert!((got[n][d] - want).abs() < 1e-12, "{n} {d}");
        }
    }
    Ok(())
}

/// What the sums of a dtype do not hold, and what rounding makes of equal codes.
#[test]
fn regularizers_of_many_halves_and_of_equal_codes() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let ones = Tensor::ones((4096, 128), dtype, CPU)?;
        let labels = Tensor::zeros(4096, DType::U32, CPU)?;
        let rate = Surrogate::SquaredNorm.regularizer(&ones, &labels)?;
        assert_eq!(number(&rate.value.to_dtype(DType::F64)?)?, 128.);
    }
    for (value, count) in [(0.1, 3), (0.1, 7), (0.1, 49), (1000.1, 7)] {
        for dtype in [DType::F32, DType::F64] {
            let codes = Tensor::full(value, (count, 2), CPU)?.to_dtype(dtype)?;
            let labels = Tensor::zeros(count, DType::U32, CPU)?;
            for surrogate in [
                Surrogate::LogVariance,
                Surrogate::ConditionalLogVariance { classes: 1 },
            ] {
                assert!(
                    is_value(surrogate.regularizer(&codes, &labels)),
                    "{value} {count}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn classes_may_be_more_than_memory_holds() -> Result<()> {
    let codes = normal(&[6, 2], 8)?;
    let labels = Tensor::new(&[0u32, 0, 3, 3, 3, 5], CPU)?;
    let few = Surrogate::ConditionalLogVariance { classes: 6 }.regularizer(&codes, &labels)?;
    let classes = usize::MAX;
    let many = Surrogate::ConditionalLogVariance { classes }.regularizer(&codes, &labels)?;
    assert_eq!(number(&few.value)?, number(&many.value)?);
    assert_eq!((few.single, few.absent), (1, 3));
    assert_eq!((many.single, many.absent), (1, usize::MAX - 3));
    Ok(())
}
