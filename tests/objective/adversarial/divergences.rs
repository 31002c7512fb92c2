//! The best critics of discrete distributions, bounds, and the distance on the line.

use super::{CPU, DTYPES, families, scalar, slopes};
use crate::support::floats;
use candle_core::{DType, Tensor, Var};
use candle_prob::divergence::*;
use candle_prob::objective::*;
use candle_prob::{Result, Rng};

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
        best(
            "minimax",
            &Saturating { type_two_weight },
            scores,
            want,
            true,
        )?;
        let other = NonSaturating { type_two_weight };
        best("non-saturating", &other, scores, want, true)?;
    }
    // The game's value, without the constant.
    let scores = Tensor::new(&std::array::from_fn::<f64, 4, _>(|i| logit(i, 1.)), CPU)?;
    let at = Saturating::default().critic(&draws(&scores, P)?, &draws(&scores, Q)?)?;
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
