//! Adversarial losses: reference values, the best critics of discrete distributions, extremes, and the distance on the line.

use crate::support::floats;
use crate::support::golden::{check, file, list};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::divergence::*;
use candle_prob::objective::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;
const DTYPES: [DType; 2] = [DType::F64, DType::F32];

/// An f-divergence with its games: both orders, each with both generators.
struct Family {
    divergence: Box<dyn FDivergence>,
    games: Vec<(FGanOrder, Box<dyn AdversarialLoss>)>,
}

fn family<F: FDivergence + Copy + 'static>(divergence: F) -> Family {
    let mut games: Vec<(FGanOrder, Box<dyn AdversarialLoss>)> = vec![];
    for order in [FGanOrder::DataFirst, FGanOrder::GeneratorFirst] {
        for generator in [FGanGenerator::Saturating, FGanGenerator::NonSaturating] {
            let loss = FGan {
                divergence,
                generator,
                order,
            };
            games.push((order, Box::new(loss)));
        }
    }
    let divergence = Box::new(divergence);
    Family { divergence, games }
}

fn families() -> Result<Vec<Family>> {
    Ok(vec![
        family(KullbackLeibler),
        family(ReverseKl),
        family(Jeffreys),
        family(JensenShannon),
        family(JensenShannonSum),
        family(Gan),
        family(SquaredHellinger),
        family(Pearson),
        family(Neyman),
        family(TotalVariation),
        family(Alpha::new(0.3)?),
        family(Alpha::new(2.5)?),
        family(Alpha::new(-1.5)?),
    ])
}

/// Every loss, those of f-GAN with both orders and generators.
fn losses() -> Result<Vec<(String, Box<dyn AdversarialLoss>)>> {
    let weight = 0.3;
    let targets = LeastSquares {
        real: 0.9,
        fake: -1.1,
        generator: 0.2,
    };
    let mut out: Vec<(String, Box<dyn AdversarialLoss>)> = vec![
        ("minimax".into(), Box::new(Minimax::default())),
        (
            "weighted".into(),
            Box::new(Minimax {
                type_two_weight: weight,
            }),
        ),
        (
            "non-saturating".into(),
            Box::new(NonSaturating {
                type_two_weight: weight,
            }),
        ),
        ("least squares".into(), Box::new(LeastSquares::default())),
        ("targets".into(), Box::new(targets)),
        ("hinge".into(), Box::new(Hinge)),
        ("wasserstein".into(), Box::new(Wasserstein)),
        ("pairs".into(), Box::new(Relativistic)),
        ("average".into(), Box::new(RelativisticAverage)),
        (
            "negated".into(),
            Box::new(Negated(FGan::new(KullbackLeibler))),
        ),
    ];
    for (i, family) in families()?.into_iter().enumerate() {
        for (k, (_, loss)) in family.games.into_iter().enumerate() {
            out.push((format!("f-GAN {i} game {k}"), loss));
        }
    }
    Ok(out)
}

fn vector(x: &[f64], dtype: DType) -> Result<Tensor> {
    Ok(Tensor::new(x, CPU)?.to_dtype(dtype)?)
}

fn scalar(x: &Tensor) -> Result<f64> {
    Ok(floats(x)?[0])
}

fn slopes(loss: &Tensor, x: &Var) -> Result<Vec<f64>> {
    match loss.backward()?.get(x) {
        Some(gradient) => floats(gradient),
        None => Ok(vec![0.; x.elem_count()]),
    }
}

#[test]
fn losses_and_gradients_are_those_of_the_reference() -> Result<()> {
    let cases = file(include_str!("../golden/gan.json"))["gan_losses"].clone();
    for case in cases.as_array().unwrap() {
        for dtype in DTYPES {
            let read = |name: &str| -> Vec<f64> {
                list(&case[name]).into_iter().map(Option::unwrap).collect()
            };
            let real = Var::from_tensor(&vector(&read("real"), dtype)?)?;
            let fake = Var::from_tensor(&vector(&read("fake"), dtype)?)?;
            let players: [(&dyn AdversarialLoss, &str, &str); 7] = [
                (
                    &Minimax::default(),
                    "gan_discriminator",
                    "gan_generator_saturating",
                ),
                (
                    &NonSaturating::default(),
                    "gan_discriminator",
                    "gan_generator_non_saturating",
                ),
                (
                    &LeastSquares::default(),
                    "lsgan_discriminator",
                    "lsgan_generator",
                ),
                (&Hinge, "hinge_discriminator", "hinge_generator"),
                (&Wasserstein, "wgan_critic", "wgan_generator"),
                (&Relativistic, "relativistic_discriminator", ""),
                (
                    &RelativisticAverage,
                    "relativistic_average_discriminator",
                    "",
                ),
            ];
            for (loss, critic, generator) in players {
                let totals = [
                    (critic, loss.critic(&real, &fake)?.total()?),
                    (generator, loss.generator(&real, &fake)?.total()?),
                ];
                for (name, total) in totals.iter().filter(|(name, _)| !name.is_empty()) {
                    let want = case["losses"][name].as_f64().unwrap();
                    check(name, scalar(total)?, want, 0., dtype, 2e-7);
                    for (side, x) in [("real", &real), ("fake", &fake)] {
                        let key = format!("{name}_{side}");
                        if case["gradients"][&key].is_null() {
                            continue;
                        }
                        let want = list(&case["gradients"][&key]);
                        for (got, want) in slopes(total, x)?.iter().zip(want) {
                            if let Some(want) = want {
                                check(&key, *got, want, 0., dtype, 2e-7);
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Two laws over four values, in eighths, so that sums over draws in these proportions are expectations.
const P: [usize; 4] = [1, 4, 2, 1];
const Q: [usize; 4] = [3, 1, 1, 3];

fn masses(counts: [usize; 4]) -> [f64; 4] {
    counts.map(|n| n as f64 / 8.)
}

/// The critic's scores of draws in the proportions of a law.
fn draws(scores: &Tensor, counts: [usize; 4]) -> Result<Tensor> {
    let values = counts.iter().enumerate();
    let indices: Vec<u32> = values.flat_map(|(i, n)| vec![i as u32; *n]).collect();
    Ok(scores.index_select(&Tensor::new(indices, CPU)?, 0)?)
}

fn exactly<F: FDivergence + ?Sized>(f: &F, p: [f64; 4], q: [f64; 4]) -> Result<f64> {
    scalar(&discrete(
        f,
        &Tensor::new(&p, CPU)?,
        &Tensor::new(&q, CPU)?,
    )?)
}

/// The loss's divergence at the best critic is `want`, its slope is 0 there, and other critics find less.
fn best(
    what: &str,
    loss: &dyn AdversarialLoss,
    best: [f64; 4],
    want: f64,
    smooth: bool,
) -> Result<()> {
    let critic = |scores: &Tensor| -> Result<CriticLoss> {
        loss.critic(&draws(scores, P)?, &draws(scores, Q)?)
    };
    let scores = Var::new(&best, CPU)?;
    let at = critic(&scores)?;
    let got = scalar(&at.divergence)?;
    assert!((got - want).abs() < 1e-14, "{what}: {got}, not {want}");
    if smooth {
        let slopes = slopes(&at.total()?, &scores)?;
        assert!(slopes.iter().all(|s| s.abs() < 1e-9), "{what}: {slopes:?}");
    }
    for seed in 0..20 {
        let noise = Rng::new(seed).normal(4, DType::F64, CPU)?;
        for step in [0.01, 0.3, 2.] {
            let less = critic(&(&noise * step)?.add(&scores)?)?;
            assert!(scalar(&less.divergence)? < want + 1e-14, "{what}");
        }
    }
    Ok(())
}

#[test]
fn the_best_critics_find_the_divergence_that_is_named() -> Result<()> {
    let (p, q) = (masses(P), masses(Q));
    let logit = |i: usize, weight: f64| (p[i] / (weight * q[i])).ln();
    for weight in [1., 0.2, 5.] {
        let mixed: [f64; 4] = std::array::from_fn(|i| (p[i] + weight * q[i]) / (1. + weight));
        let want =
            exactly(&KullbackLeibler, p, mixed)? + weight * exactly(&KullbackLeibler, q, mixed)?;
        let scores = std::array::from_fn(|i| logit(i, weight));
        let type_two_weight = weight;
        best("minimax", &Minimax { type_two_weight }, scores, want, true)?;
        let other = NonSaturating { type_two_weight };
        best("non-saturating", &other, scores, want, true)?;
    }
    // The game's value, without the constant.
    let scores = Tensor::new(&std::array::from_fn::<f64, 4, _>(|i| logit(i, 1.)), CPU)?;
    let at = Minimax::default().critic(&draws(&scores, P)?, &draws(&scores, Q)?)?;
    let value = 2. * exactly(&JensenShannon, p, q)? - 4f64.ln();
    assert!((-scalar(&at.total()?)? - value).abs() < 1e-15);

    let triangular: f64 = (0..4).map(|i| (p[i] - q[i]).powi(2) / (p[i] + q[i])).sum();
    for (real, fake) in [(1., 0.), (1., -1.), (-0.5, 2.)] {
        let loss = LeastSquares {
            real,
            fake,
            generator: 0.,
        };
        let scores = std::array::from_fn(|i| (real * p[i] + fake * q[i]) / (p[i] + q[i]));
        best("least squares", &loss, scores, triangular, true)?;
    }
    let sign = std::array::from_fn(|i| (p[i] - q[i]).signum());
    let variation = exactly(&TotalVariation, p, q)?;
    best("hinge", &Hinge, sign, variation, false)
}

/// The score at which a critic's activation is `t`.
fn score_of(f: &dyn FDivergence, t: f64) -> Result<f64> {
    let (mut low, mut high) = (-40., 40.);
    for _ in 0..100 {
        let middle = (low + high) / 2.;
        let below = scalar(&f.activation(&Tensor::new(&[middle], CPU)?)?)? < t;
        (low, high) = if below { (middle, high) } else { (low, middle) };
    }
    Ok(low)
}

#[test]
fn f_gan_finds_its_divergence_in_both_orders() -> Result<()> {
    for (i, family) in families()?.into_iter().enumerate() {
        let f = &*family.divergence;
        for (order, loss) in &family.games {
            let (p, q) = match order {
                FGanOrder::DataFirst => (masses(P), masses(Q)),
                FGanOrder::GeneratorFirst => (masses(Q), masses(P)),
            };
            let mut scores = [0.; 4];
            for (k, score) in scores.iter_mut().enumerate() {
                // f'(u) by the slope of f(e^r).
                let ratio = Var::new(&[(p[k] / q[k]).ln()], CPU)?;
                let slope = slopes(&f.generator(&ratio)?, &ratio)?[0] * q[k] / p[k];
                *score = score_of(f, slope)?;
            }
            let what = format!("divergence {i} {order:?}");
            best(&what, &**loss, scores, exactly(f, p, q)?, true)?;
        }
    }
    Ok(())
}

#[test]
fn kullback_leibler_is_the_bound_of_nguyen_wainwright_and_jordan() -> Result<()> {
    let mut rng = Rng::new(3);
    let (real, fake) = (
        rng.normal(7, DType::F64, CPU)?,
        rng.normal((2, 3), DType::F64, CPU)?,
    );
    let mean = |x: &Tensor| scalar(&x.mean_all()?);
    let nwj = mean(&real)? - mean(&(&fake - 1.)?.exp()?)?;
    let bound = f_gan(&KullbackLeibler, &real, &fake)?;
    assert!((scalar(bound.bound())? - nwj).abs() < 1e-15);
    // The shift of the critic by 1, and the constant that a loss without it drops.
    let shifted = f_gan(&KullbackLeibler, &(&real + 1.)?, &(&fake + 1.)?)?;
    let want = 1. + mean(&real)? - mean(&fake.exp()?)?;
    assert!((scalar(shifted.bound())? - want).abs() < 1e-14);
    // The falling activation -e^v of the reverse divergence is KL's game from the generator's side, shifted.
    let falling = Negated(FGan::new(ReverseKl)).critic(&real, &fake)?;
    let want = 1. - mean(&real.exp()?)? + mean(&fake)?;
    assert!((scalar(&falling.divergence)? - want).abs() < 1e-14);
    let other = FGan {
        order: FGanOrder::GeneratorFirst,
        ..FGan::new(KullbackLeibler)
    };
    let other = other.critic(&(&real + 1.)?, &(&fake + 1.)?)?;
    assert!((scalar(&other.divergence)? - want).abs() < 1e-14);
    Ok(())
}

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

/// Chosen as the program runs or before, as a game or as a bound: bit for bit.
#[test]
fn games_of_boxed_divergences_are_their_bounds() -> Result<()> {
    let mut rng = Rng::new(17);
    for dtype in DTYPES {
        let real = Var::from_tensor(&rng.normal(1100, dtype, CPU)?)?;
        let fake = Var::from_tensor(&rng.normal(70, dtype, CPU)?)?;
        for family in families()? {
            let bound = f_gan(&*family.divergence, &real, &fake)?;
            let critic = FGan::new(family.divergence).critic(&real, &fake)?;
            let typed = family.games[0].1.critic(&real, &fake)?;
            let total = critic.total()?;
            let want = [scalar(bound.bound())?];
            assert_eq!(floats(&critic.divergence)?, want);
            assert_eq!(floats(&typed.divergence)?, want);
            assert_eq!(floats(&critic.real.neg()?)?, floats(&bound.real)?);
            assert_eq!(floats(&critic.fake)?, floats(&bound.fake)?);
            for x in [&real, &fake] {
                let want = slopes(&bound.bound().neg()?, x)?;
                assert_eq!(slopes(&total, x)?, want);
                assert_eq!(slopes(&typed.total()?, x)?, want);
            }
        }
    }
    Ok(())
}

/// What refuses is the method that was called.
#[test]
fn means_of_ones_own_divergence_are_refused_by_name() -> Result<()> {
    struct Own;
    impl FDivergence for Own {
        fn generator(&self, log_ratio: &Tensor) -> Result<Tensor> {
            Pearson.generator(log_ratio)
        }
        fn reversed(&self, log_ratio: &Tensor) -> Result<Tensor> {
            Pearson.reversed(log_ratio)
        }
        fn activation(&self, score: &Tensor) -> Result<Tensor> {
            Pearson.activation(score)
        }
        fn conjugate(&self, score: &Tensor) -> Result<Tensor> {
            Pearson.conjugate(score)
        }
    }
    let none = Tensor::zeros(0, DType::F64, CPU)?;
    for (refused, name) in [
        (
            Own.activation_with_mean(&none, 1.),
            "FDivergence::activation_with_mean",
        ),
        (
            Own.conjugate_with_mean(&none, 1.),
            "FDivergence::conjugate_with_mean",
        ),
    ] {
        assert!(matches!(refused, Err(Error::Shape { op, .. }) if op == name));
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

#[test]
fn what_makes_no_loss_is_refused() -> Result<()> {
    let some = Tensor::new(&[0.5f64, 1.], CPU)?;
    let (none, other) = (some.narrow(0, 0, 0)?, some.to_dtype(DType::F32)?);
    let whole = Tensor::new(&[1u32, 2], CPU)?;
    for (what, loss) in losses()? {
        for (real, fake) in [(&none, &some), (&some, &none)] {
            let refused = loss.critic(real, fake);
            assert!(matches!(refused, Err(Error::Shape { .. })), "{what}");
        }
        let refused = loss.generator(&some, &none);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{what}");
        for (real, fake) in [(&other, &some), (&whole, &whole)] {
            let refused = loss.critic(real, fake);
            assert!(matches!(refused, Err(Error::DType { .. })), "{what}");
        }
    }
    for weight in [0., -1., f64::NAN, f64::INFINITY] {
        let loss = Minimax {
            type_two_weight: weight,
        };
        let refused = loss.critic(&some, &some);
        assert!(matches!(refused, Err(Error::Value { .. })), "{weight}");
        let refused = loss.generator(&some, &some);
        assert!(matches!(refused, Err(Error::Value { .. })), "{weight}");
    }
    for (real, fake, generator) in [
        (1., 1., 1.),
        (f64::NAN, 0., 1.),
        (1., f64::INFINITY, 1.),
        // Whose gap has no square.
        (1e-170, 0., 1.),
        (1e200, -1e200, 1.),
        (1e308, -1e308, 1.),
    ] {
        let loss = LeastSquares {
            real,
            fake,
            generator,
        };
        assert!(matches!(
            loss.critic(&some, &some),
            Err(Error::Value { .. })
        ));
    }
    let longer = Tensor::new(&[0f64, 1., 2.], CPU)?;
    let refused = Relativistic.critic(&some, &longer);
    assert!(matches!(refused, Err(Error::Shape { .. })));
    assert!(f_gan(&Gan, &none, &some).is_err() && f_gan(&Gan, &some, &none).is_err());
    let given = CriticLoss::new(none.clone(), some.clone(), 0., 1.);
    assert!(given.is_err() && GeneratorLoss::new(none, None).is_err());
    Ok(())
}

/// A loss of one's own, from parts, is the loss that the crate has.
#[test]
fn parts_of_ones_own_make_the_same_loss() -> Result<()> {
    let mut rng = Rng::new(12);
    let real = Var::from_tensor(&rng.normal(5, DType::F64, CPU)?)?;
    let fake = Var::from_tensor(&rng.normal(4, DType::F64, CPU)?)?;
    let own = CriticLoss::new(
        (1. - real.as_tensor())?.relu()?,
        (1. + fake.as_tensor())?.relu()?,
        1.,
        0.5,
    )?;
    let hinge = Hinge.critic(&real, &fake)?;
    assert!((scalar(&own.divergence)? - scalar(&hinge.divergence)?).abs() < 1e-15);
    for x in [&real, &fake] {
        let pairs = slopes(&own.total()?, x)?;
        let pairs = pairs.into_iter().zip(slopes(&hinge.total()?, x)?);
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-15));
    }
    let own = GeneratorLoss::new(fake.neg()?, None)?.total()?;
    let hinge = Hinge.generator(&real, &fake)?.total()?;
    assert!((scalar(&own)? - scalar(&hinge)?).abs() < 1e-15);
    Ok(())
}

/// On the line the distance is the mean gap of sorted points, and no 1-Lipschitz critic finds more.
#[test]
fn the_distance_of_sorted_points_bounds_every_lipschitz_critic() -> Result<()> {
    let mut rng = Rng::new(21);
    let n = 40;
    let sorted = |x: Tensor| -> Result<Vec<f64>> {
        let mut x = floats(&x)?;
        x.sort_by(f64::total_cmp);
        Ok(x)
    };
    let real = sorted(rng.normal(n, DType::F64, CPU)?)?;
    let fake = sorted(((rng.normal(n, DType::F64, CPU)? * 0.5)? + 0.2)?)?;
    let pairs = real.iter().zip(&fake);
    let distance = pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() / n as f64;

    // Piecewise linear between all points, by the slope of each piece.
    let points = sorted(Tensor::new([real.clone(), fake.clone()].concat(), CPU)?)?;
    let critic = |slope: &dyn Fn(usize) -> f64| -> Result<f64> {
        let mut heights = vec![0.];
        for i in 1..points.len() {
            let height = heights[i - 1] + slope(i) * (points[i] - points[i - 1]);
            heights.push(height);
        }
        let scores = |x: &[f64]| {
            let at = |x: &f64| heights[points.partition_point(|p| p < x)];
            Tensor::new(x.iter().map(at).collect::<Vec<_>>(), CPU)
        };
        scalar(
            &Wasserstein
                .critic(&scores(&real)?, &scores(&fake)?)?
                .divergence,
        )
    };
    for seed in 0..200 {
        let slopes = Rng::new(seed).uniform(points.len(), DType::F64, CPU)?;
        let slopes = floats(&slopes)?;
        let found = critic(&|i| 2. * slopes[i] - 1.)?;
        assert!(found <= distance + 1e-14, "{found} of {distance}");
    }
    // The best slope: up where more of the data lies to the right.
    let share = |x: &[f64], i: usize| x.partition_point(|x| *x < points[i]) as f64;
    let found = critic(&|i| (share(&fake, i) - share(&real, i)).signum())?;
    assert!((found - distance).abs() < 1e-14, "{found} of {distance}");
    // A steeper critic finds more: it is the bound of 1-Lipschitz ones alone.
    assert!(critic(&|i| 2. * (share(&fake, i) - share(&real, i)).signum())? > distance);
    Ok(())
}
