//! Variational bounds of mutual information: on which side they are, where they are equal, and their gradients.

use crate::support::{flat, floats};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::Normal;
use candle_prob::divergence::{KullbackLeibler, f_gan};
use candle_prob::objective::information_bounds::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng, special};
use std::f64::consts::PI;

const CPU: &Device = &Device::Cpu;

fn normal(shape: &[usize], seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, CPU)
}

fn number(x: f64) -> Result<Tensor> {
    Ok(Tensor::new(x, CPU)?)
}

fn is_value<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Value { .. }))
}

fn is_shape<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Shape { .. }))
}

/// Pairs of a bivariate normal of correlation rho.
struct Pairs {
    rho: f64,
    x: Tensor,
    y: Tensor,
}

impl Pairs {
    fn new(rho: f64, n: usize, rng: &mut Rng) -> Result<Self> {
        let x = rng.normal(n, DType::F64, CPU)?;
        let noise = rng.normal(n, DType::F64, CPU)?;
        let y = ((&x * rho)? + (noise * (1. - rho * rho).sqrt())?)?;
        Ok(Pairs { rho, x, y })
    }

    /// `ln p(y_j | x_i)`, which is `ln p(x_i | y_j)` too once x and y change places.
    fn conditionals(&self) -> Result<Tensor> {
        let (rho, variance) = (self.rho, 1. - self.rho * self.rho);
        let (x, y) = (self.x.unsqueeze(1)?, self.y.unsqueeze(0)?);
        let off = y.broadcast_sub(&(x * rho)?)?;
        Ok(((off.sqr()? / (-2. * variance))? - 0.5 * (2. * PI * variance).ln())?)
    }

    /// `ln p(y)`
    fn marginal(&self) -> Result<Tensor> {
        Ok(((self.y.sqr()? / -2.)? - 0.5 * (2. * PI).ln())?)
    }

    /// `ln p(x, y) / (p(x) p(y))`
    fn log_ratio(&self) -> Result<Tensor> {
        Ok(self.conditionals()?.broadcast_sub(&self.marginal()?)?)
    }
}

/// Mean and standard error over batches.
struct Over {
    values: Vec<f64>,
}

impl Over {
    fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    fn error(&self) -> f64 {
        let (mean, n) = (self.mean(), self.values.len() as f64);
        let squares: f64 = self.values.iter().map(|v| (v - mean).powi(2)).sum();
        (squares / (n - 1.) / n).sqrt()
    }

    fn all(batches: usize, mut value: impl FnMut() -> Result<f64>) -> Result<Self> {
        let values = (0..batches).map(|_| value()).collect::<Result<_>>()?;
        Ok(Over { values })
    }
}

const N: usize = 64;
const BATCHES: usize = 400;

fn over(rho: f64, seed: u64, f: impl Fn(&Pairs) -> Result<f64>) -> Result<Over> {
    let mut rng = Rng::new(seed);
    Over::all(BATCHES, || f(&Pairs::new(rho, N, &mut rng)?))
}

type Bound = fn(&Tensor) -> Result<LowerBound>;

/// Of a matrix of scores, and the shift of the log-ratio that is best.
const LOWER: [(&str, f64, Bound); 7] = [
    ("donsker_varadhan", 0., |s| {
        donsker_varadhan(&Scores::matrix(s)?)
    }),
    ("mine", 0., |s| Mine::new(0.9)?.bound(&Scores::matrix(s)?)),
    ("nwj", 1., |s| nwj(&Scores::matrix(s)?)),
    ("tuba", 0., |s| tuba(s, &number(0.)?)),
    ("interpolated", 0., |s| interpolated(s, &number(0.)?, 0.3)),
    ("info_nce", 0., info_nce),
    ("jensen_shannon", 0., |s| {
        Ok(jensen_shannon(&Scores::matrix(s)?)?.information)
    }),
];

/// Five standard errors: one of two million; the bias of the logarithm of a mean is below one of them here.
#[test]
fn lower_bounds_are_below_and_reach_the_information() -> Result<()> {
    for (seed, rho) in [0., 0.5, 0.8].into_iter().enumerate() {
        for (name, shift, bound) in LOWER {
            let best = over(rho, seed as u64, |pairs| {
                bound(&(pairs.log_ratio()? + shift)?)?.nats()
            })?;
            let truth = -0.5 * (1. - rho * rho).ln();
            let (off, error) = (best.mean() - truth, 5. * best.error() + 1e-12);
            assert!(off < error, "{name} at {rho}: {off} above, {error}");
            // Contrastive ones fall short by about half the relative variance of the ratio over N.
            let short = match name {
                "info_nce" | "interpolated" => 0.03,
                _ => 0.,
            };
            assert!(
                off > -error - short,
                "{name} at {rho}: {off} below, {error}"
            );
        }
    }
    Ok(())
}

#[test]
fn wrong_critics_stay_below() -> Result<()> {
    // Too bold, too shy, of the wrong sign, shifted.
    for (factor, shift) in [(1.4, 0.), (0.5, 0.), (-0.5, 0.), (1., 0.7), (1., -2.)] {
        for (name, best, bound) in LOWER {
            let found = over(0.6, 3, |pairs| {
                bound(&((pairs.log_ratio()? * factor)? + (shift + best))?)?.nats()
            })?;
            let truth = -0.5 * (1f64 - 0.36).ln();
            let shifts = matches!(name, "donsker_varadhan" | "mine" | "info_nce");
            // A shift alone changes nothing there; everything else costs more than chance.
            let error = 5. * found.error() * if shifts && factor == 1. { 1. } else { -1. };
            let off = found.mean() - truth;
            assert!(off < error.max(-0.003), "{name}, {factor} {shift}: {off}");
        }
    }
    Ok(())
}

#[test]
fn the_conditional_with_its_normalizer_is_tight() -> Result<()> {
    for rho in [0.3, 0.8] {
        let truth = -0.5 * (1f64 - rho * rho).ln();
        // Rows of y: the baseline is p(y), the scores are ln p(y | x).
        let found = over(rho, 5, |pairs| {
            let scores = pairs.conditionals()?.t()?;
            tuba(&scores, &pairs.marginal()?)?.nats()
        })?;
        assert!((found.mean() - truth).abs() < 5. * found.error(), "tuba");
        let found = over(rho, 6, |pairs| {
            let log_q = Scores::matrix(&pairs.conditionals()?)?.joint().clone();
            barber_agakov(0.5 * (2. * PI * 1f64.exp()).ln(), &log_q)?.nats()
        })?;
        assert!(
            (found.mean() - truth).abs() < 5. * found.error(),
            "barber_agakov"
        );
        // Another decoder is short by its divergence: of scales 1.5 s and s, ln 1.5 + (1 / 2.25 - 1) / 2.
        let found = over(rho, 6, |pairs| {
            let sd = 1.5 * (1. - rho * rho).sqrt();
            let q = Normal::new(&(&pairs.x * rho)?, &(pairs.x.ones_like()? * sd)?)?;
            let log_q = candle_prob::distribution::Distribution::log_prob(&q, &pairs.y)?;
            barber_agakov(0.5 * (2. * PI * 1f64.exp()).ln(), &log_q)?.nats()
        })?;
        let gap = 1.5f64.ln() + (1. / 2.25 - 1.) / 2.;
        assert!((found.mean() - truth + gap).abs() < 5. * found.error());
    }
    Ok(())
}

#[test]
fn upper_bounds_are_above() -> Result<()> {
    for rho in [0., 0.4, 0.8] {
        let truth = -0.5 * (1f64 - rho * rho).ln();
        let found = over(rho, 7, |pairs| {
            leave_one_out(&pairs.conditionals()?)?.nats()
        })?;
        let (off, error) = (found.mean() - truth, 5. * found.error() + 1e-12);
        assert!(
            off > -error && off < error + 0.05,
            "leave_one_out at {rho}: {off}"
        );
        let found = over(rho, 8, |pairs| {
            let sd = (1. - rho * rho).sqrt();
            let q = |x: &Tensor| Normal::new(&(x * rho)?, &(x.ones_like()? * sd)?);
            let mut club = Club::new(q);
            club.likelihood_loss(&pairs.x, &pairs.y)?;
            club.bound(&pairs.x, &pairs.y)?.nats()
        })?;
        // Its value with the conditional itself: the symmetric divergence.
        let club = rho * rho / (1. - rho * rho);
        assert!(club >= truth);
        let error = 5. * found.error() + 1e-12;
        assert!(
            (found.mean() - club).abs() < error,
            "club at {rho}: {}",
            found.mean()
        );
    }
    Ok(())
}

/// Sums over pairs, written out: what belongs together is not among the others, and the marginal is that of y.
#[test]
fn upper_bounds_leave_out_what_belongs_together() -> Result<()> {
    let pairs = Pairs::new(0.6, 4, &mut Rng::new(2))?;
    let log_p = pairs.conditionals()?;
    let p = log_p.to_vec2::<f64>()?;
    let (mut club, mut out) = (0., 0.);
    for (i, row) in p.iter().enumerate() {
        let others = || (0..4).filter(move |j| *j != i);
        club += row[i] / 4. - others().map(|j| row[j]).sum::<f64>() / 12.;
        let marginal = others().map(|j| p[j][i].exp()).sum::<f64>() / 3.;
        out += (row[i] - marginal.ln()) / 4.;
    }
    assert!((leave_one_out(&log_p)?.nats()? - out).abs() < 1e-13);
    let q = |x: &Tensor| Normal::new(&(x * 0.6)?, &(x.ones_like()? * 0.8)?);
    let mut fitted = Club::new(q);
    let loss = fitted.likelihood_loss(&pairs.x, &pairs.y)?;
    let own = (0..4).map(|i| p[i][i]).sum::<f64>() / 4.;
    assert!((loss.to_scalar::<f64>()? + own).abs() < 1e-13);
    assert!((fitted.bound(&pairs.x, &pairs.y)?.nats()? - club).abs() < 1e-13);
    Ok(())
}

#[test]
fn a_conditional_that_was_not_fitted_bounds_nothing() -> Result<()> {
    let pairs = Pairs::new(0.5, 8, &mut Rng::new(0))?;
    let q = |x: &Tensor| Normal::new(x, &x.ones_like()?);
    let mut club = Club::new(q);
    assert!(is_value(club.bound(&pairs.x, &pairs.y)));
    // A refused loss is no fit.
    assert!(is_shape(
        club.likelihood_loss(&pairs.x, &pairs.y.narrow(0, 0, 7)?)
    ));
    assert!(is_value(club.bound(&pairs.x, &pairs.y)));
    club.likelihood_loss(&pairs.x, &pairs.y)?;
    club.bound(&pairs.x, &pairs.y)?;
    let one = |t: &Tensor| t.narrow(0, 0, 1);
    assert!(is_shape(club.bound(&one(&pairs.x)?, &one(&pairs.y)?)));
    assert!(is_shape(club.bound(&pairs.x, &pairs.y.unsqueeze(1)?)));
    Ok(())
}

#[test]
fn contrastive_bounds_have_a_ceiling() -> Result<()> {
    for n in [2, 5, 33] {
        for scale in [0.1, 1., 30., 1e4] {
            for dtype in [DType::F64, DType::F32] {
                let scores = (normal(&[n, n], n as u64)? * scale)?;
                let sure = (Tensor::eye(n, DType::F64, CPU)? * scale)?;
                for scores in [scores, sure] {
                    let scores = scores.to_dtype(dtype)?;
                    let epsilon = if dtype == DType::F64 { 2e-16 } else { 1.2e-7 };
                    let rounding = 4. * epsilon * scale.max(2.);
                    let found = info_nce(&scores)?.nats()?;
                    assert!(found <= (n as f64).ln() + rounding, "{found}");
                    for alpha in [0.01, 0.5, 1.] {
                        let zero = Tensor::zeros(n, dtype, CPU)?;
                        let found = interpolated(&scores, &zero, alpha)?.nats()?;
                        let ceiling = ((n - 1) as f64 / alpha).ln();
                        let ceiling = if alpha == 1. { ceiling } else { ceiling + 1. };
                        assert!(found <= ceiling + rounding, "{alpha}: {found} {ceiling}");
                    }
                }
            }
        }
    }
    // It is reached.
    let sure = (Tensor::eye(16, DType::F64, CPU)? * 1e3)?;
    assert!((info_nce(&sure)?.nats()? - 16f64.ln()).abs() < 1e-14);
    Ok(())
}

#[test]
fn scores_of_any_size_keep_their_digits() -> Result<()> {
    let scores = normal(&[6, 6], 1)?;
    let at_0 = Scores::matrix(&scores)?;
    for shift in [-1e5, -800., 800., 1e5] {
        let at = Scores::matrix(&(&scores + shift)?)?;
        let of = |s: &Scores| donsker_varadhan(s)?.nats();
        assert!((of(&at)? - of(&at_0)?).abs() < 1e-10);
        let mine = |s: &Scores| Mine::new(0.9)?.bound(s)?.nats();
        assert!((mine(&at)? - of(&at_0)?).abs() < 1e-10);
    }
    // In single precision the exponential of 89 is no number.
    for scale in [1e2, 1e4, 1e30] {
        let scores = (scores.to_dtype(DType::F32)? * scale)?;
        let scores = Var::from_tensor(&scores)?;
        let zero = Tensor::new(0f32, CPU)?;
        let matrix = Scores::matrix(&scores)?;
        for value in [
            donsker_varadhan(&matrix)?.value(),
            Mine::new(0.9)?.bound(&matrix)?.value(),
            info_nce(&scores)?.value(),
            interpolated(&scores, &zero, 0.5)?.value(),
            leave_one_out(&scores)?.value(),
            &smile(&matrix, 5.)?.value,
        ] {
            assert!(flat(value)[0].is_finite(), "{scale}");
            let gradients = value.backward()?;
            let gradient = gradients.get(&scores).map(floats).transpose()?;
            assert!(gradient.is_some_and(|g| g.iter().all(|g| g.is_finite())));
        }
    }
    Ok(())
}

#[test]
fn mine_divides_by_the_moving_average() -> Result<()> {
    let decay = 0.7;
    let mut mine = Mine::new(decay)?;
    let mut average = None;
    for batch in 0..4 {
        let joint = Var::from_tensor(&normal(&[5], 2 * batch)?)?;
        let marginal = Var::from_tensor(&(normal(&[9], 2 * batch + 1)? * 2.)?)?;
        let scores = Scores::apart(&joint, &marginal)?;
        let bound = mine.bound(&scores)?;
        assert_eq!(bound.nats()?, donsker_varadhan(&scores)?.nats()?);
        let e: Vec<f64> = flat(&marginal).iter().map(|f| f.exp()).collect();
        let own = e.iter().sum::<f64>() / 9.;
        let m = average.map_or(own, |m| decay * m + (1. - decay) * own);
        average = Some(m);
        let gradients = bound.value().backward()?;
        let gradient = |v: &Var| floats(gradients.get(v).expect("a variable"));
        assert!(gradient(&joint)?.iter().all(|g| (g - 0.2).abs() < 1e-14));
        for (got, e) in gradient(&marginal)?.iter().zip(e) {
            let want = -e / 9. / m;
            assert!(
                (got - want).abs() < 1e-13 * want.abs().max(1.),
                "{got} {want}"
            );
        }
        if batch == 0 {
            let own = donsker_varadhan(&scores)?.value().backward()?;
            for (got, want) in gradient(&marginal)?
                .iter()
                .zip(flat(&own.get(&marginal).expect("a variable").clone()))
            {
                assert!((got - want).abs() < 1e-14);
            }
        }
    }
    // What has no average leaves it as it is.
    let before = mine;
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let scores = Scores::apart(&number(0.)?, &number(wrong)?)?;
        assert!(is_value(mine.bound(&scores)));
        assert_eq!(mine, before);
    }
    // A batch of another order of magnitude.
    let huge = Var::new(&[5000f64], CPU)?;
    let bound = mine.bound(&Scores::apart(&number(0.)?, &huge)?)?;
    let gradients = bound.value().backward()?;
    let gradient = gradients.get(&huge).map(floats).transpose()?;
    assert!(gradient.is_some_and(|g| (g[0] + 1. / (1. - decay)).abs() < 1e-10));
    for decay in [-0.1, 1., f64::NAN] {
        assert!(is_value(Mine::new(decay)));
    }
    Ok(())
}

#[test]
fn gradients_are_differences() -> Result<()> {
    let scores = normal(&[5, 5], 11)?;
    let baseline = normal(&[5], 12)?;
    let lower: [Bound; 5] = [
        |s| donsker_varadhan(&Scores::matrix(s)?),
        |s| nwj(&Scores::matrix(s)?),
        |s| barber_agakov(0.3, s),
        |s| Mine::new(0.)?.bound(&Scores::matrix(s)?),
        info_nce,
    ];
    for bound in lower {
        check_gradient(
            &|x| Ok(bound(&x[0])?.value().clone()),
            std::slice::from_ref(&scores),
            1e-8,
        )?;
    }
    check_gradient(
        &|x| Ok(leave_one_out(&x[0])?.value().clone()),
        std::slice::from_ref(&scores),
        1e-8,
    )?;
    check_gradient(
        &|x| Ok(jensen_shannon(&Scores::matrix(&x[0])?)?.divergence),
        std::slice::from_ref(&scores),
        1e-8,
    )?;
    for part in [
        |e: InformationEstimate| e.value,
        |e: InformationEstimate| e.objective,
    ] {
        check_gradient(
            &|x| Ok(part(smile(&Scores::matrix(&x[0])?, 0.8)?)),
            std::slice::from_ref(&scores),
            1e-8,
        )?;
    }
    let both = [scores.clone(), baseline];
    check_gradient(&|x| Ok(tuba(&x[0], &x[1])?.value().clone()), &both, 1e-8)?;
    for alpha in [0., 0.2, 0.9, 1.] {
        let f = |x: &[Tensor]| Ok(interpolated(&x[0], &x[1], alpha)?.value().clone());
        check_gradient(&f, &both, 1e-8)?;
        // A score that outweighs all others.
        let peak = (Tensor::eye(5, DType::F64, CPU)? * 40.)?.roll(1, 1)?;
        check_gradient(&f, &[(&scores + &peak)?, both[1].clone()], 1e-8).or_else(
            |e| match alpha {
                // The exponential of the score itself.
                0. => Ok(()),
                _ => Err(e),
            },
        )?;
    }
    // Of the club's bound, to x, y and what q learns.
    let f = |x: &[Tensor]| {
        let q = |at: &Tensor| {
            let loc = at.broadcast_mul(&x[2])?;
            Normal::new(&loc, &loc.ones_like()?.broadcast_mul(&x[3])?)
        };
        let mut club = Club::new(q);
        let loss = club.likelihood_loss(&x[0], &x[1])?;
        Ok(Tensor::stack(
            &[&loss, club.bound(&x[0], &x[1])?.value()],
            0,
        )?)
    };
    let (x, y) = (normal(&[4], 13)?, normal(&[4], 14)?);
    check_gradient(&f, &[x, y, number(0.4)?, number(0.7)?], 1e-7)
}

#[test]
fn the_bound_of_nwj_is_that_of_the_divergence() -> Result<()> {
    let (joint, marginal) = (normal(&[3, 4], 1)?, normal(&[7], 2)?);
    let found = nwj(&Scores::apart(&joint, &marginal)?)?.nats()?;
    let bound = f_gan(&KullbackLeibler, &joint, &marginal)?;
    assert_eq!(found, bound.bound().to_scalar::<f64>()?);
    let mean = |x: Vec<f64>| x.iter().sum::<f64>() / x.len() as f64;
    let grown = flat(&marginal).iter().map(|f| (f - 1.).exp()).collect();
    assert!((found - (mean(flat(&joint)) - mean(grown))).abs() < 1e-14);
    Ok(())
}

/// The matrix without row and column n.
fn minor(scores: &Tensor, n: usize) -> Result<Tensor> {
    let size = scores.dim(0)? as u32;
    let kept: Vec<u32> = (0..size).filter(|i| *i != n as u32).collect();
    let kept = Tensor::new(kept, CPU)?;
    Ok(scores.index_select(&kept, 0)?.index_select(&kept, 1)?)
}

#[test]
fn the_interpolated_bound_has_both_ends() -> Result<()> {
    let baseline = normal(&[6], 3)?;
    let peak = (Tensor::eye(6, DType::F64, CPU)? * 500.)?.roll(2, 1)?;
    for scores in [normal(&[6, 6], 4)?, (normal(&[6, 6], 4)? + peak)?] {
        let found = interpolated(&scores, &baseline, 0.)?.nats()?;
        let want = tuba(&scores, &baseline)?.nats()?;
        assert!(
            (found - want).abs() < 1e-12 * want.abs().max(1.),
            "{found} {want}"
        );
        let found = interpolated(&scores, &baseline, 1.)?.nats()?;
        let minors: Vec<f64> = (0..6)
            .map(|n| info_nce(&minor(&scores, n)?)?.nats())
            .collect::<Result<_>>()?;
        let want = minors.iter().sum::<f64>() / 6.;
        assert!(
            (found - want).abs() < 1e-12 * want.abs().max(1.),
            "{found} {want}"
        );
    }
    let scores = normal(&[6, 6], 4)?;
    let one = number(1.)?;
    let found = interpolated(&scores, &one, 0.)?.nats()?;
    assert!((found - nwj(&Scores::matrix(&scores)?)?.nats()?).abs() < 1e-14);
    // In between, from the formula.
    let (alpha, grown, a) = (0.3, scores.exp()?.to_vec2::<f64>()?, 1f64.exp());
    let mut want = 1.;
    for (i, e) in grown.iter().enumerate() {
        let mean = |without: usize| {
            let kept = (0..6).filter(|k| *k != without);
            kept.map(|k| e[k]).sum::<f64>() / 5.
        };
        for out in (0..6).filter(|out| *out != i) {
            want += (e[i] / (alpha * mean(out) + (1. - alpha) * a)).ln() / 30.;
            want -= e[out] / (alpha * mean(i) + (1. - alpha) * a) / 30.;
        }
    }
    let found = interpolated(&scores, &one, alpha)?.nats()?;
    assert!((found - want).abs() < 1e-13, "{found} {want}");
    Ok(())
}

#[test]
fn the_classifier_bounds_the_divergence() -> Result<()> {
    let scores = Scores::matrix(&normal(&[4, 4], 5)?)?;
    let mean = |x: Tensor| -> Result<f64> { Ok(x.mean_all()?.to_scalar()?) };
    let own = mean(special::softplus(&scores.joint().neg()?)?)?;
    let others = mean(special::softplus(scores.marginal())?)?;
    let found = jensen_shannon(&scores)?;
    let divergence = found.divergence.to_scalar::<f64>()?;
    assert!((divergence - (4f64.ln() - own - others)).abs() < 1e-14);
    let information = 1. + mean(scores.joint().clone())? - mean(scores.marginal().exp()?)?;
    assert!((found.information.nats()? - information).abs() < 1e-14);
    assert_eq!(found.loss()?.to_scalar::<f64>()?, -divergence);
    // Whatever the critic, and no information: it teaches nothing of it.
    assert!(!found.information.value().track_op());
    Ok(())
}

#[test]
fn clips_cut_scores_of_the_marginals() -> Result<()> {
    let scores = Scores::matrix(&(normal(&[9, 9], 6)? * 2.)?)?;
    let wide = smile(&scores, 50.)?;
    assert_eq!(wide.nats()?, donsker_varadhan(&scores)?.nats()?);
    let clipped: Vec<f64> = flat(scores.marginal())
        .iter()
        .map(|f| f.clamp(-1., 1.).exp())
        .collect();
    let own = flat(scores.joint()).iter().sum::<f64>() / 9.;
    let want = own - (clipped.iter().sum::<f64>() / 72.).ln();
    let narrow = smile(&scores, 1.)?;
    assert!((narrow.nats()? - want).abs() < 1e-14);
    // Which is above the bound that it clips: no bound of anything.
    assert!(narrow.nats()? > wide.nats()?);
    let objective = jensen_shannon(&scores)?.divergence.to_scalar::<f64>()?;
    assert_eq!(narrow.loss()?.to_scalar::<f64>()?, -objective);
    for clip in [0., -1., f64::NAN, f64::INFINITY] {
        assert!(is_value(smile(&scores, clip)));
    }
    // Song and Ermon's point: much information, and a variance that does not grow with it.
    let spread = |clip: f64| -> Result<f64> {
        let found = over(0.999, 9, |pairs| {
            let scores = Scores::matrix(&pairs.log_ratio()?)?;
            let own = scores.joint().mean_all()?.to_scalar::<f64>()?;
            Ok(smile(&scores, clip)?.nats()? - own)
        })?;
        Ok(found.error())
    };
    let (smooth, rough) = (spread(1.)?, spread(1e3)?);
    assert!(smooth < rough / 3., "{smooth} {rough}");
    Ok(())
}

#[test]
fn what_is_no_matrix_of_scores_is_refused() -> Result<()> {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, CPU);
    let zero = number(0.)?;
    for dims in [&[1, 1][..], &[0, 0], &[2, 3], &[4], &[2, 2, 2]] {
        let s = zeros(dims)?;
        assert!(is_shape(Scores::matrix(&s)), "{dims:?}");
        assert!(is_shape(info_nce(&s)));
        assert!(is_shape(tuba(&s, &zero)));
        assert!(is_shape(interpolated(&s, &zero, 0.5)));
        assert!(is_shape(leave_one_out(&s)));
    }
    let s = zeros(&[3, 3])?;
    assert!(is_shape(tuba(&s, &zeros(&[2])?)));
    assert!(is_shape(tuba(&s, &zeros(&[3, 3])?)));
    assert!(is_shape(interpolated(&s, &zeros(&[4])?, 0.5)));
    for alpha in [-0.1, 1.1, f64::NAN] {
        assert!(is_value(interpolated(&s, &zero, alpha)));
    }
    assert!(is_value(barber_agakov(f64::NAN, &zero)));
    assert!(is_shape(barber_agakov(0., &zeros(&[0])?)));
    assert!(is_shape(Scores::apart(&zeros(&[0])?, &zero)));
    assert!(is_shape(Scores::apart(&zero, &zeros(&[0, 2])?)));
    let single = Tensor::new(0f32, CPU)?;
    let mixed = [Scores::apart(&zero, &single).err(), tuba(&s, &single).err()];
    assert!(mixed.iter().all(|e| matches!(e, Some(Error::DType { .. }))));
    // Strided scores are the same scores.
    let scores = normal(&[4, 4], 1)?;
    let strided = scores.t()?.contiguous()?.t()?;
    assert_eq!(info_nce(&strided)?.nats()?, info_nce(&scores)?.nats()?);
    let of = |s: &Tensor| interpolated(s, &zero, 0.4)?.nats();
    assert_eq!(of(&strided)?, of(&scores)?);
    assert_eq!(
        leave_one_out(&strided)?.nats()?,
        leave_one_out(&scores)?.nats()?
    );
    Ok(())
}

/// Pairs that are masked, weights of many scores, and means of many halves.
#[test]
fn means_of_masked_and_of_half_precision_scores() -> Result<()> {
    let joint = Var::from_tensor(&Tensor::new(&[0f64], CPU)?)?;
    let marginal = Var::from_tensor(&Tensor::new(&[0., f64::NEG_INFINITY], CPU)?)?;
    let bound = Mine::new(0.9)?.bound(&Scores::apart(&joint, &marginal)?)?;
    assert!((bound.nats()? - 2f64.ln()).abs() < 1e-12);
    let gradients = bound.value().backward()?;
    assert_eq!(
        flat(gradients.get(&marginal).expect("a gradient")),
        [-1., 0.]
    );
    assert_eq!(flat(gradients.get(&joint).expect("a gradient")), [1.]);

    let mut scores = vec![0f32; 100_000];
    scores[7] = 22.;
    let marginal = Tensor::new(scores, CPU)?.to_dtype(DType::F16)?;
    let marginal = Var::from_tensor(&marginal)?;
    let joint = Tensor::zeros(5, DType::F16, CPU)?;
    let bound = Mine::new(0.9)?.bound(&Scores::apart(&joint, &marginal)?)?;
    assert!(bound.nats()?.is_finite());
    let gradients = bound.value().backward()?;
    let gradient = gradients
        .get(&marginal)
        .expect("a gradient")
        .to_dtype(DType::F64)?;
    let sum: f64 = flat(&gradient).iter().sum();
    assert!((sum + 1.).abs() < 1e-3, "{sum}");

    for n in [64, 1024] {
        let joint = Tensor::full(0.1f32, n * n, CPU)?.to_dtype(DType::F16)?;
        let nats = barber_agakov(0., &joint)?.nats()?;
        assert!((nats - 0.1).abs() < 2e-4, "{n}: {nats}");
    }
    Ok(())
}
