//! Where the schemes lead: to saddles, around them, or away.

use super::*;
use candle_prob::init;
use candle_prob::special::softplus;

/// Of min max x y: one simultaneous step multiplies the distance by sqrt(1 + lr^2), one extragradient step by
/// sqrt(1 - lr^2 + lr^4), and alternating steps keep x^2 + lr x y + y^2.
#[test]
fn the_bilinear_game_diverges_cycles_or_converges_at_the_known_rates() -> Result<()> {
    let lr = 0.1f64;
    let course = |update| -> Result<Vec<(f64, f64)>> {
        let mut game = ZeroSum::new(&[1.], &[0.5], bilinear);
        let mut players = game.descent(lr, update)?;
        let mut course = vec![game.at()];
        for _ in 0..2000 {
            let _round = players.step(&mut game)?;
            course.push(game.at());
        }
        Ok(course)
    };
    let norm = |(x, y): (f64, f64)| x.hypot(y);
    let rates = [
        (Scheme::Simultaneous, 1. + lr.powi(2)),
        (Scheme::Extragradient, 1. - lr.powi(2) + lr.powi(4)),
    ];
    for (update, squared) in rates {
        for pair in course(update)?.windows(2) {
            let ratio = norm(pair[1]) / norm(pair[0]);
            assert!((ratio - squared.sqrt()).abs() < 1e-14, "{update:?} {ratio}");
        }
    }
    let kept = |(x, y): (f64, f64)| x * x + lr * x * y + y * y;
    let course = course(Scheme::Alternating)?;
    for at in &course {
        assert!((kept(*at) - kept(course[0])).abs() < 1e-12, "{at:?}");
    }
    Ok(())
}

const SADDLE: (f64, f64) = (-0.2, 0.6);

/// L(x*, y) <= L(x*, y*) <= L(x, y*) at the point that is found, and that point is the saddle.
#[test]
fn every_scheme_finds_a_saddle_of_a_convex_concave_game() -> Result<()> {
    type Make = fn(&VarMap) -> Result<Box<dyn Optimizer>>;
    let makes: [Make; 3] = [
        |vars| Ok(Box::new(Sgd::new(vars, &rate(0.02))?)),
        |vars| Ok(Box::new(OptimisticSgd::new(vars, &rate(0.02))?)),
        |vars| {
            let config = betas(1e-2);
            Ok(Box::new(OptimisticAdam::new(vars, &config)?))
        },
    ];
    for (k, make) in makes.into_iter().enumerate() {
        for update in SCHEMES {
            let mut game = ZeroSum::new(&[1.], &[-1.], quadratic);
            let mut players = game.players(&scheme(update), make)?;
            // Steps of Adam's form leave the saddle again, by tens of rates, so that their rate falls: to 1.5e-7.
            let steps = [2000, 2000, 16_000][k];
            for step in 0..steps {
                if k == 2 {
                    let rate = 1e-2 * 0.5f64.powf(f64::from(step) / 1000.);
                    players.critic().set_learning_rate(rate);
                    players.generator().set_learning_rate(rate);
                }
                let _round = players.step(&mut game)?;
            }
            let (x, y) = game.at();
            let distance = (x - SADDLE.0).hypot(y - SADDLE.1);
            assert!(distance < 1e-6, "{k} {update:?} {distance}");
            let value = |x: f64, y: f64| -> Result<f64> {
                let [x, y] = [x, y].map(|x| Tensor::new(&[x], &Device::Cpu));
                Ok(quadratic(&x?, &y?)?.to_scalar()?)
            };
            let middle = value(x, y)?;
            for away in [-3., -0.5, -0.01, 0.01, 0.5, 3.] {
                assert!(value(x, y + away)? < middle && middle < value(x + away, y)?);
            }
        }
    }
    Ok(())
}

/// With noise of deviation 1 on every slope the iterates stay around the saddle, and their mean over N steps is it, up to
/// an error of covariance A^-1 A^-T / N for the field A z of the game. The bound is 6 deviations; a scheme with a bias of a
/// tenth, or a noise that does not cancel, would be far outside. For the same reason averages of weights are nearer.
#[test]
fn noisy_steps_have_the_saddle_as_their_mean() -> Result<()> {
    let mut rng = Rng::new(11);
    for update in SCHEMES {
        let noisy = |x: &Tensor, y: &Tensor| {
            let noise = rng.normal((2, 1), DType::F64, &Device::Cpu)?;
            let slopes = ((x * noise.get(0)?)? + (y * noise.get(1)?)?)?;
            quadratic(x, y)? + slopes.sum_all()?
        };
        let mut game = ZeroSum::new(&[SADDLE.0], &[SADDLE.1], noisy);
        let mut players = game.descent(0.02, update)?;
        let config = EmaConfig::of_half_life(500.);
        let [own, other] = &game.maps;
        let mut averages = [Ema::new(own, &config)?, Ema::new(other, &config)?];
        let n = 20_000;
        let (mut sum, mut near, mut far) = ((0., 0.), 0., 0.);
        for _ in 0..n {
            let round = players.step(&mut game)?;
            averages[0].update(&round.generator.update)?;
            averages[1].update(&round.critic[0].update)?;
            let (x, y) = game.at();
            sum = (sum.0 + x, sum.1 + y);
            far += (x - SADDLE.0).powi(2) + (y - SADDLE.1).powi(2);
            let [x, y] = ["x", "y"].map(|name| name.to_string());
            let of = |k: usize, name: &String| -> Result<f64> {
                Ok(flat(&init::named_vars(averages[k].vars())?[name])[0])
            };
            near += (of(0, &x)? - SADDLE.0).powi(2) + (of(1, &y)? - SADDLE.1).powi(2);
        }
        // A = [[1, 2], [-2, 1]]: A^-1 A^-T is 1/5.
        let bound = 6. * (0.2 / f64::from(n)).sqrt();
        let mean = (sum.0 / f64::from(n), sum.1 / f64::from(n));
        let errors = ((mean.0 - SADDLE.0).abs(), (mean.1 - SADDLE.1).abs());
        println!("{update:?} {errors:?} bound {bound} ratio {}", near / far);
        assert!(
            errors.0 < bound && errors.1 < bound,
            "{update:?} {errors:?}"
        );
        assert!(near < 0.25 * far, "{update:?} {}", near / far);
    }
    Ok(())
}

/// The mean of Q = x^2 + h x y + y^2 over games of x y that differ in their noise, under n noisy steps of rate h, and its
/// distance in standard errors from what alternating steps should have.
///
/// A round is z <- M z + h w, with w = (-a - h b, b) for the noises a of the generator and b of the critic, of variance 1. M keeps
/// Q, w is new each time, and E Q(w) = (1 + h^2) - h^2 + 1 = 2: so E Q_n = Q_0 + 2 n h^2 exactly. Nearly, z is normal around
/// the noiseless course with the covariance n h^2, so that the variance of Q is 4 v^2 + 4 v Q_0 for v = n h^2.
fn growth(update: Scheme) -> Result<(f64, f64)> {
    let (games, n, h) = (1000, 2000, 0.05);
    let mut rng = Rng::new(12);
    let noisy = |x: &Tensor, y: &Tensor| {
        let noise = rng.normal((2, games), DType::F64, &Device::Cpu)?;
        let slopes = ((x * noise.get(0)?)? + (y * noise.get(1)?)?)?;
        (bilinear(x, y)? + slopes.sum_all()?)?.sum_all()
    };
    let (x, y) = (1., 0.5);
    let mut game = ZeroSum::new(&vec![x; games], &vec![y; games], noisy);
    let mut players = game.descent(h, update)?;
    for _ in 0..n {
        let _round = players.step(&mut game)?;
    }
    let form = |x: f64, y: f64| x * x + h * x * y + y * y;
    let (xs, ys) = (flat(&game.x), flat(&game.y));
    let sum: f64 = xs.iter().zip(&ys).map(|(x, y)| form(*x, *y)).sum();
    let (mean, v) = (sum / games as f64, f64::from(n) * h * h);
    let deviation = ((4. * v * v + 4. * v * form(x, y)) / games as f64).sqrt();
    Ok((mean, (mean - form(x, y) - 2. * v) / deviation))
}

/// Noise drives alternating steps away from the saddle of x y as it does a random walk, no faster: within 6 standard errors (two
/// in 10^9 seeds). Simultaneous steps, whose distance grows without noise, are far above, and extragradient ones far below.
#[test]
fn noisy_alternating_steps_leave_the_bilinear_saddle_as_a_random_walk() -> Result<()> {
    let (mean, errors) = growth(Scheme::Alternating)?;
    assert!(errors.abs() < 6., "{mean} {errors}");
    let (mean, errors) = growth(Scheme::Simultaneous)?;
    assert!(errors > 100., "{mean} {errors}");
    let (mean, errors) = growth(Scheme::Extragradient)?;
    assert!(errors < -10., "{mean} {errors}");
    Ok(())
}

/// Of sin(x + y) min max is 1 and max min is -1, so that it has no saddle: wherever the players are, one of them gains by
/// moving. Of matching pennies the same holds for the pure choices; for the mixed ones both are 0, and the players find the
/// only solution, a half each.
#[test]
fn minimax_is_not_maximin_without_a_saddle() -> Result<()> {
    let angles: Vec<f64> = (0..64)
        .map(|k| f64::from(k) * std::f64::consts::TAU / 64.)
        .collect();
    let wave = |x: &f64, y: &f64| (x + y).sin();
    let choices = [0., 1.];
    let pennies = |x: &f64, y: &f64| (2. * x - 1.) * (2. * y - 1.);
    let mixed: Vec<f64> = (0..=64).map(|k| f64::from(k) / 64.).collect();
    let values = |grid: &[f64], value: &dyn Fn(&f64, &f64) -> f64| {
        let most = |x: &f64| grid.iter().map(|y| value(x, y)).fold(f64::MIN, f64::max);
        let least = |y: &f64| grid.iter().map(|x| value(x, y)).fold(f64::MAX, f64::min);
        let minimax = grid.iter().map(most).fold(f64::MAX, f64::min);
        let maximin = grid.iter().map(least).fold(f64::MIN, f64::max);
        (minimax, maximin)
    };
    let (minimax, maximin) = values(&angles, &wave);
    assert!((minimax - 1.).abs() < 1e-12 && (maximin + 1.).abs() < 1e-12);
    assert_eq!(values(&choices, &pennies), (1., -1.));
    assert_eq!(values(&mixed, &pennies), (0., 0.));

    let value = |x: &Tensor, y: &Tensor| bilinear(&x.affine(2., -1.)?, &y.affine(2., -1.)?);
    let mut game = ZeroSum::new(&[0.9], &[0.8], value);
    let mut players = game.descent(0.05, Scheme::Extragradient)?;
    for _ in 0..1000 {
        let _round = players.step(&mut game)?;
    }
    let (x, y) = game.at();
    assert!((x - 0.5).abs() < 1e-6 && (y - 0.5).abs() < 1e-6, "{x} {y}");

    // From every start on sin(x + y) the two go on for ever: here the sum passes the same values again and again.
    let value = |x: &Tensor, y: &Tensor| (x + y)?.sin()?.sum_all();
    let mut game = ZeroSum::new(&[0.2], &[0.4], value);
    let mut players = game.descent(0.05, Scheme::Alternating)?;
    let start = game.at();
    for _ in 0..2000 {
        let _round = players.step(&mut game)?;
    }
    let (x, y) = game.at();
    assert!(
        (x - start.0).abs() > 3. && (y - start.1).abs() > 3.,
        "{x} {y}"
    );
    Ok(())
}

/// The generator is a point at `x`, the data a point at 0, the critic the line of slope `y`.
struct DiracGan {
    x: Var,
    y: Var,
    penalty: f64,
}

impl Game for DiracGan {
    fn critic_loss(&mut self) -> Result<Tensor> {
        // The slope of the critic is y everywhere: R1 is y^2.
        let score = (&self.x.detach() * self.y.as_tensor())?;
        Ok((softplus(&score)? + (self.y.sqr()? * (self.penalty / 2.))?)?)
    }

    fn generator_loss(&mut self) -> Result<Tensor> {
        // Of zero sum, as in the minimax loss.
        let score = (self.x.as_tensor() * self.y.as_tensor())?;
        Ok(softplus(&score)?.neg()?)
    }
}

/// Mescheder et al. 2018, section 2: the Dirac-GAN does not converge, and with R1 it does.
#[test]
fn the_dirac_gan_converges_with_a_gradient_penalty_only() -> Result<()> {
    let last = |penalty, update| -> Result<f64> {
        let maps = [VarMap::new(), VarMap::new()];
        let mut game = DiracGan {
            x: variable(&maps[0], "x", &[1.]),
            y: variable(&maps[1], "y", &[1.]),
            penalty,
        };
        let [own, other] = &maps;
        let sgd = |vars| Sgd::new(vars, &rate(0.1));
        let mut players = Minimax::new(sgd(other)?, sgd(own)?, &scheme(update))?;
        for _ in 0..3000 {
            let _round = players.step(&mut game)?;
        }
        Ok(flat(&game.x)[0].hypot(flat(&game.y)[0]))
    };
    for update in [Scheme::Simultaneous, Scheme::Alternating] {
        let (without, with) = (last(0., update)?, last(1., update)?);
        assert!(without > 1. && with < 1e-9, "{update:?} {without} {with}");
    }
    Ok(())
}
