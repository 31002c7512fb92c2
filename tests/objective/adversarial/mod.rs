//! Adversarial losses: reference values, what critics find, digits and extremes, and what is refused.

mod divergences;
mod numbers;
mod refusals;

use crate::support::floats;
use crate::support::golden::{check, file, list};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::divergence::*;
use candle_prob::objective::*;
use candle_prob::{Result, Rng};

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
        ("minimax".into(), Box::new(Saturating::default())),
        (
            "weighted".into(),
            Box::new(Saturating {
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
    let cases = file(include_str!("../../golden/gan.json"))["gan_losses"].clone();
    for case in cases.as_array().unwrap() {
        for dtype in DTYPES {
            let read = |name: &str| -> Vec<f64> {
                list(&case[name]).into_iter().map(Option::unwrap).collect()
            };
            let real = Var::from_tensor(&vector(&read("real"), dtype)?)?;
            let fake = Var::from_tensor(&vector(&read("fake"), dtype)?)?;
            let players: [(&dyn AdversarialLoss, &str, &str); 7] = [
                (
                    &Saturating::default(),
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
