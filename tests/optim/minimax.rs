//! Games of two players whose course is known.

use crate::support::flat;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::optim::*;
use candle_prob::special::softplus;
use candle_prob::{Error, Result, Rng, init};

fn bits(tensor: &Tensor) -> Vec<u64> {
    flat(tensor).iter().map(|x| x.to_bits()).collect()
}

fn variable(vars: &VarMap, name: &str, value: &[f64]) -> Var {
    let var = Var::new(value, &Device::Cpu).unwrap();
    vars.data().lock().unwrap().insert(name.into(), var.clone());
    var
}

fn rate(lr: f64) -> SgdConfig {
    SgdConfig {
        lr,
        ..SgdConfig::default()
    }
}

fn scheme(update: Scheme) -> MinimaxConfig {
    MinimaxConfig {
        update,
        ..MinimaxConfig::default()
    }
}

const SCHEMES: [Scheme; 3] = [
    Scheme::Simultaneous,
    Scheme::Alternating,
    Scheme::Extragradient,
];

/// A game of zero sum with the variables `x` of the generator and `y` of the critic.
struct ZeroSum<F> {
    maps: [VarMap; 2],
    x: Var,
    y: Var,
    /// L(x, y): the generator's loss, and what the critic ascends.
    value: F,
    /// The critic's variables stay within this distance of 0.
    radius: f64,
}

impl<F: FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor>> ZeroSum<F> {
    fn new(x: &[f64], y: &[f64], value: F) -> Self {
        let maps = [VarMap::new(), VarMap::new()];
        ZeroSum {
            x: variable(&maps[0], "x", x),
            y: variable(&maps[1], "y", y),
            maps,
            value,
            radius: f64::INFINITY,
        }
    }

    fn descent(&self, lr: f64, update: Scheme) -> Result<Minimax<Sgd, Sgd>> {
        self.players(&scheme(update), |vars| Sgd::new(vars, &rate(lr)))
    }

    /// The players with optimizers of any kind.
    fn players<O: Optimizer>(
        &self,
        config: &MinimaxConfig,
        make: impl Fn(&VarMap) -> Result<O>,
    ) -> Result<Minimax<O, O>> {
        let [generator, critic] = &self.maps;
        Minimax::new(make(critic)?, make(generator)?, config)
    }

    fn at(&self) -> (f64, f64) {
        (flat(&self.x)[0], flat(&self.y)[0])
    }
}

impl<F: FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor>> Game for ZeroSum<F> {
    fn critic_loss(&mut self) -> Result<Tensor> {
        Ok((self.value)(&self.x.detach(), &self.y)?.neg()?)
    }

    fn generator_loss(&mut self) -> Result<Tensor> {
        Ok((self.value)(&self.x, &self.y)?)
    }

    fn constrain(&mut self) -> Result<()> {
        if self.radius.is_finite() {
            self.y.set(&self.y.clamp(-self.radius, self.radius)?)?;
        }
        Ok(())
    }
}

fn bilinear(x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
    (x * y)?.sum_all()
}

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
            players.step(&mut game)?;
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

#[test]
fn a_shared_variable_and_a_wrong_number_of_steps_are_refused() -> Result<()> {
    let game = ZeroSum::new(&[1.], &[2.], bilinear);
    let [own, other] = &game.maps;
    let sgd = |vars| Sgd::new(vars, &SgdConfig::default());
    // The name is in both, the variable is not.
    variable(own, "same", &[1.]);
    variable(other, "same", &[1.]);
    let config = MinimaxConfig::default();
    assert!(Minimax::new(sgd(other)?, sgd(own)?, &config).is_ok());
    for update in [Scheme::Simultaneous, Scheme::Extragradient] {
        for critic_steps in [0, 2] {
            let config = MinimaxConfig {
                update,
                critic_steps,
                ..config.clone()
            };
            let refusal = Minimax::new(sgd(other)?, sgd(own)?, &config).err();
            assert!(matches!(refusal, Some(Error::Value { .. })));
        }
    }
    // The variable is in both, its name is not.
    let mut data = other.data().lock().unwrap();
    data.insert("embedding".into(), game.x.clone());
    drop(data);
    match Minimax::new(sgd(other)?, sgd(own)?, &config).err() {
        Some(Error::Value { arg, found, .. }) => {
            assert_eq!(
                (arg, found.as_str()),
                ("generator", "x, embedding of the critic")
            );
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A critic's turn leaves the generator as it is, bit for bit, and the reverse; what the losses report is what they were.
#[test]
fn a_turn_moves_its_own_variables_only() -> Result<()> {
    let mut game = ZeroSum::new(&[0.3, -2.], &[1.1, 0.7], bilinear);
    let (x, y) = (bits(&game.x), bits(&game.y));
    let mut players = game.descent(0.1, Scheme::Alternating)?;
    let loss = game.critic_loss()?;
    players.critic().backward_step(&loss)?;
    assert_eq!(bits(&game.x), x);
    assert_ne!(bits(&game.y), y);
    let y = bits(&game.y);
    let loss = game.generator_loss()?;
    players.generator().backward_step(&loss)?;
    assert_eq!(bits(&game.y), y);
    assert_ne!(bits(&game.x), x);
    // The same through a round: the generator's rate is 0, then the critic's.
    for who in 0..2 {
        for update in SCHEMES {
            let mut game = ZeroSum::new(&[0.3, -2.], &[1.1, 0.7], bilinear);
            let before = [bits(&game.x), bits(&game.y)];
            let mut players = game.descent(0.1, update)?;
            match who {
                0 => players.generator().set_learning_rate(0.),
                _ => players.critic().set_learning_rate(0.),
            }
            let round = players.step(&mut game)?;
            let after = [bits(&game.x), bits(&game.y)];
            assert_eq!(before[who], after[who], "{update:?}");
            assert_ne!(before[1 - who], after[1 - who], "{update:?}");
            let value = 0.3 * 1.1 - 2. * 0.7;
            assert!((round.critic[0].value()? + value).abs() < 1e-15);
        }
    }
    Ok(())
}

/// Simultaneous optimistic steps of rate h on x y shrink the distance by the larger root of
/// l^2 - (1 + 2 i h) l + i h: l = (1 + 2 i h + sqrt(1 - 4 h^2)) / 2.
#[test]
fn optimistic_steps_reach_the_bilinear_saddle_at_their_rate() -> Result<()> {
    let h = 0.1f64;
    let mut game = ZeroSum::new(&[1.], &[0.5], bilinear);
    let config = scheme(Scheme::Simultaneous);
    let mut players = game.players(&config, |vars| OptimisticSgd::new(vars, &rate(h)))?;
    let root = (0.5 + (1. - 4. * h * h).sqrt() / 2.).hypot(h);
    let norm = |(x, y): (f64, f64)| x.hypot(y);
    for step in 0..1000 {
        let before = norm(game.at());
        players.step(&mut game)?;
        // The other root is near h: its part is gone after a few steps.
        if step > 30 {
            assert!((norm(game.at()) / before - root).abs() < 1e-12);
        }
    }
    assert!(norm(game.at()) < 0.01);
    Ok(())
}

fn betas(lr: f64) -> AdamConfig {
    AdamConfig {
        lr,
        beta1: 0.,
        beta2: 0.999,
        ..AdamConfig::default()
    }
}

/// Adam goes around the saddle of x y, its optimistic and extragradient forms go into it.
#[test]
fn adam_circles_where_its_optimistic_and_extragradient_forms_converge() -> Result<()> {
    let last = |update, optimistic: bool| -> Result<f64> {
        let mut game = ZeroSum::new(&[1.], &[0.5], bilinear);
        let make = |vars: &VarMap| -> Result<Box<dyn Optimizer>> {
            Ok(match optimistic {
                true => Box::new(OptimisticAdam::new(vars, &betas(0.01))?),
                false => Box::new(Adam::new(vars, &betas(0.01))?),
            })
        };
        let mut players = game.players(&scheme(update), make)?;
        let mut largest = 0f64;
        for step in 0..6000 {
            players.step(&mut game)?;
            if step >= 5700 {
                let (x, y) = game.at();
                largest = largest.max(x.hypot(y));
            }
        }
        Ok(largest)
    };
    let plain = last(Scheme::Simultaneous, false)?;
    let optimistic = last(Scheme::Simultaneous, true)?;
    let extra = last(Scheme::Extragradient, false)?;
    assert!(plain > 0.5, "{plain}");
    assert!(optimistic < 0.01 && extra < 0.01, "{optimistic} {extra}");
    Ok(())
}

/// x^2 / 2 + 2 x y - y^2 / 2 - x + y: strongly convex in x and concave in y, with the saddle (-0.2, 0.6).
fn quadratic(x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
    let curved = ((x.sqr()? / 2.)? - (y.sqr()? / 2.)?)?;
    ((curved + ((x * y)? * 2.)?)? + (y - x)?)?.sum_all()
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
            let config = betas(1e-3);
            Ok(Box::new(OptimisticAdam::new(vars, &config)?))
        },
    ];
    for (k, make) in makes.into_iter().enumerate() {
        for update in SCHEMES {
            let mut game = ZeroSum::new(&[1.], &[-1.], quadratic);
            let mut players = game.players(&scheme(update), make)?;
            let steps = [2000, 2000, 8000][k];
            for _ in 0..steps {
                players.step(&mut game)?;
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

/// The mean of a noise that is its own over both players, on a game without curvature: alternating steps wander around the
/// saddle of x y, and the mean of the slopes is the mean of the noise: |mean| < 6 / sqrt(N) + what the ends add.
#[test]
fn noisy_alternating_steps_circle_the_bilinear_saddle() -> Result<()> {
    let (n, lr) = (20_000, 0.05);
    let mut rng = Rng::new(12);
    let noisy = |x: &Tensor, y: &Tensor| {
        let noise = rng.normal((2, 1), DType::F64, &Device::Cpu)?;
        let slopes = ((x * noise.get(0)?)? + (y * noise.get(1)?)?)?;
        bilinear(x, y)? + slopes.sum_all()?
    };
    let mut game = ZeroSum::new(&[1.], &[0.5], noisy);
    let mut players = game.descent(lr, Scheme::Alternating)?;
    let (mut sum, start) = ((0., 0.), game.at());
    for _ in 0..n {
        // The critic answers x of before, the generator y of after.
        sum.0 += game.at().0;
        players.step(&mut game)?;
        sum.1 += game.at().1;
    }
    let (n, end) = (f64::from(n), game.at());
    let ends = |from: f64, to: f64| (to - from).abs() / (lr * n);
    assert!((sum.0 / n).abs() < 6. / n.sqrt() + ends(start.1, end.1));
    assert!((sum.1 / n).abs() < 6. / n.sqrt() + ends(start.0, end.0));
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
        players.step(&mut game)?;
    }
    let (x, y) = game.at();
    assert!((x - 0.5).abs() < 1e-6 && (y - 0.5).abs() < 1e-6, "{x} {y}");

    // From every start on sin(x + y) the two go on for ever: here the sum passes the same values again and again.
    let value = |x: &Tensor, y: &Tensor| (x + y)?.sin()?.sum_all();
    let mut game = ZeroSum::new(&[0.2], &[0.4], value);
    let mut players = game.descent(0.05, Scheme::Alternating)?;
    let start = game.at();
    for _ in 0..2000 {
        players.step(&mut game)?;
    }
    let (x, y) = game.at();
    assert!(
        (x - start.0).abs() > 3. && (y - start.1).abs() > 3.,
        "{x} {y}"
    );
    Ok(())
}

/// A noisy game of vectors.
fn rough(rng: &mut Rng) -> impl FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor> {
    move |x: &Tensor, y: &Tensor| {
        let noise = rng.normal(3, DType::F64, &Device::Cpu)?;
        let value = ((x - 0.3)?.sqr()? * y)?;
        (value - ((y.sqr()? * 0.1)? + (noise * (x + y)?)?)?)?.sum_all()
    }
}

/// Alternating rounds are the loop that one writes by hand, bit for bit: the critic's steps, then one of the generator
/// against the critic that has moved. Simultaneous rounds are that against the critic of before.
#[test]
fn rounds_are_the_loop_written_by_hand() -> Result<()> {
    let adam = |vars: &VarMap| Adam::new(vars, &betas(0.05));
    let (x, y) = ([1., -0.5, 0.2], [0.4, 0.1, -0.3]);
    let rounds = |config: MinimaxConfig| -> Result<[Vec<u64>; 2]> {
        let mut rng = Rng::new(5);
        let mut game = ZeroSum::new(&x, &y, rough(&mut rng));
        game.radius = 0.45;
        let mut players = game.players(&config, adam)?;
        for _ in 0..10 {
            let round = players.step(&mut game)?;
            assert_eq!(round.critic.len(), config.critic_steps);
        }
        Ok([bits(&game.x), bits(&game.y)])
    };
    let by_hand = |critic_steps: usize, at_once: bool| -> Result<[Vec<u64>; 2]> {
        let mut rng = Rng::new(5);
        let mut game = ZeroSum::new(&x, &y, rough(&mut rng));
        game.radius = 0.45;
        let [own, other] = &game.maps;
        let (mut generator, mut critic) = (adam(own)?, adam(other)?);
        for _ in 0..10 {
            let mut answers = vec![];
            for _ in 0..critic_steps {
                let gradients = backward(&game.critic_loss()?)?;
                if at_once {
                    answers.push(backward(&game.generator_loss()?)?);
                }
                critic.step(&gradients)?;
                if !at_once {
                    game.constrain()?;
                }
            }
            if !at_once {
                answers.push(backward(&game.generator_loss()?)?);
            }
            generator.step(&answers[0])?;
            game.constrain()?;
        }
        Ok([bits(&game.x), bits(&game.y)])
    };
    for critic_steps in [1, 3] {
        let config = MinimaxConfig {
            critic_steps,
            ..MinimaxConfig::default()
        };
        assert_eq!(rounds(config)?, by_hand(critic_steps, false)?);
    }
    assert_eq!(rounds(scheme(Scheme::Simultaneous))?, by_hand(1, true)?);
    // The two differ, so that one in the place of the other would be seen.
    assert_ne!(by_hand(1, true)?, by_hand(1, false)?);
    Ok(())
}

/// One extragradient step of Adam: the trial with the moments that the first gradient would make, then one update of the
/// moments, from the gradient at the trial.
#[test]
fn an_extragradient_step_of_adam_updates_its_moments_once() -> Result<()> {
    let (lr, beta1, beta2, eps) = (0.1, 0.6, 0.9, 1e-8);
    let config = AdamConfig {
        lr,
        beta1,
        beta2,
        ..AdamConfig::default()
    };
    let mut game = ZeroSum::new(&[1.], &[0.5], quadratic);
    let make = |vars: &VarMap| Adam::new(vars, &config);
    let mut players = game.players(&scheme(Scheme::Extragradient), make)?;
    // Each player: value, m, v.
    let (mut x, mut y) = ([1., 0., 0.], [0.5, 0., 0.]);
    let slopes = |x: f64, y: f64| (x + 2. * y - 1., -(2. * x - y + 1.));
    let step = |[p, m, v]: [f64; 3], g: f64, t: i32| {
        let (m, v) = (
            beta1 * m + (1. - beta1) * g,
            beta2 * v + (1. - beta2) * g * g,
        );
        let root = (v / (1. - beta2.powi(t))).sqrt();
        [p - lr * m / (1. - beta1.powi(t)) / (root + eps), m, v]
    };
    for t in 1..20 {
        players.step(&mut game)?;
        let first = slopes(x[0], y[0]);
        let ahead = (step(x, first.0, t)[0], step(y, first.1, t)[0]);
        let second = slopes(ahead.0, ahead.1);
        (x, y) = (step(x, second.0, t), step(y, second.1, t));
        let at = game.at();
        assert!(
            (at.0 - x[0]).abs() < 1e-12 && (at.1 - y[0]).abs() < 1e-12,
            "{t}"
        );
        let state = players.generator().state()?;
        let number = |name: &str| flat(&state.tensors[name])[0];
        assert!((number("m.x") - x[1]).abs() < 1e-12 && (number("v.x") - x[2]).abs() < 1e-12);
        assert_eq!(number("t.x"), f64::from(t));
    }
    Ok(())
}

/// An optimizer that has no trial step of its own.
struct Stranger<O>(O);

impl<O: Optimizer> Optimizer for Stranger<O> {
    fn variables(&self) -> &std::collections::BTreeMap<String, Var> {
        self.0.variables()
    }
    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        self.0.step(gradients)
    }
    fn learning_rate(&self) -> f64 {
        self.0.learning_rate()
    }
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.0.set_learning_rate(learning_rate);
    }
    fn state(&self) -> Result<State> {
        self.0.state()
    }
    fn set_state(&mut self, state: &State) -> Result<()> {
        self.0.set_state(state)
    }
}

/// The trial of the fused optimizers is that of a step that is taken back, bit for bit, in every dtype, and variables and
/// state are afterwards what they were.
#[test]
fn a_trial_leaves_no_trace() -> Result<()> {
    fn same<O: Optimizer>(dtype: DType, make: impl Fn(&VarMap) -> Result<O>) -> Result<()> {
        let start = Rng::new(7).normal((3, 50), DType::F64, &Device::Cpu)?;
        let maps = [VarMap::new(), VarMap::new()];
        let [p, q] = [0, 1].map(|k: usize| {
            let var = Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap();
            let mut data = maps[k].data().lock().unwrap();
            data.insert("p".into(), var.clone());
            // Without a gradient: it is left alone, and what is written to it stays.
            data.insert("state".into(), Var::from_tensor(&start).unwrap());
            var
        });
        let state = init::named_vars(&maps[0])?["state"].clone();
        let (mut own, mut other) = (make(&maps[0])?, Stranger(make(&maps[1])?));
        let loss = |p: &Var| (p.to_dtype(DType::F32)? - 0.5)?.sqr()?.sum_all();
        let all = |optimizer: &dyn Optimizer| -> Result<Vec<Vec<u64>>> {
            Ok(optimizer.state()?.tensors.values().map(bits).collect())
        };
        for _ in 0..4 {
            let before = (bits(&p), all(&own)?);
            let (moved, origin) = own.extrapolate(&backward(&loss(&p)?)?)?;
            let (twice, origin_of_other) = other.extrapolate(&backward(&loss(&q)?)?)?;
            assert_eq!(
                (moved.updated, &moved.missing),
                (1, &vec!["state".to_string()])
            );
            assert_eq!((moved, bits(&p)), (twice, bits(&q)), "{dtype:?}");
            assert!(bits(&p) != before.0);
            let (ahead, of_other) = (backward(&loss(&p)?)?, backward(&loss(&q)?)?);
            state.set(&(state.as_detached_tensor() + 1.)?)?;
            let written = bits(&state);
            origin.restore()?;
            origin_of_other.restore()?;
            assert_eq!((bits(&p), all(&own)?), before, "{dtype:?}");
            assert_eq!(bits(&state), written);
            own.step(&ahead)?;
            other.step(&of_other)?;
            assert_eq!((bits(&p), all(&own)?), (bits(&q), all(&other)?));
        }
        Ok(())
    }
    let momentum = SgdConfig {
        momentum: 0.5,
        ..rate(0.1)
    };
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        for master_weights in [true, false] {
            let adam = AdamConfig {
                master_weights,
                weight_decay: 0.1,
                ..betas(0.1)
            };
            let sgd = SgdConfig {
                master_weights,
                ..momentum.clone()
            };
            same(dtype, |vars| Adam::new(vars, &adam))?;
            same(dtype, |vars| OptimisticAdam::new(vars, &adam))?;
            same(dtype, |vars| Sgd::new(vars, &sgd))?;
            same(dtype, |vars| OptimisticSgd::new(vars, &sgd))?;
        }
    }
    Ok(())
}

/// Optimistic steps against their formula, with steps that have no gradient between them; the first is not doubled.
#[test]
fn optimistic_steps_follow_their_formula() -> Result<()> {
    let config = AdamConfig {
        lr: 0.03,
        beta1: 0.5,
        beta2: 0.9,
        eps: 1e-6,
        weight_decay: 0.2,
        ..AdamConfig::default()
    };
    let momentum = SgdConfig {
        momentum: 0.4,
        weight_decay: 0.2,
        ..rate(0.03)
    };
    let vars = [VarMap::new(), VarMap::new()];
    let [a, b] = [0, 1].map(|k: usize| variable(&vars[k], "p", &[1.]));
    let mut adam = OptimisticAdam::new(&vars[0], &config)?;
    let mut sgd = OptimisticSgd::new(&vars[1], &momentum)?;
    let ([mut p, mut m, mut v, mut d], [mut q, mut run]) = ([1., 0., 0., 0.], [1., 0.]);
    let mut t = 0;
    for step in 0..30 {
        let g = (1.7 * f64::from(step)).sin() + 0.2;
        let store = |var: &Var| -> Result<GradStore> {
            let mut store = Tensor::new(0f64, &Device::Cpu)?.backward()?;
            if step % 7 != 3 {
                store.insert(var, Tensor::new(&[g], &Device::Cpu)?);
            }
            Ok(store)
        };
        // The rate of the step counts for both directions.
        let lr = 0.03 / f64::from(step + 1);
        adam.set_learning_rate(lr);
        sgd.set_learning_rate(lr);
        adam.step(&store(&a)?)?;
        sgd.step(&store(&b)?)?;
        if step % 7 != 3 {
            t += 1;
            m = 0.5 * m + 0.5 * g;
            v = 0.9 * v + 0.1 * g * g;
            let now = m / (1. - 0.5f64.powi(t)) / ((v / (1. - 0.9f64.powi(t))).sqrt() + 1e-6);
            let last = if t == 1 { now } else { d };
            p -= lr * (0.2 * p + 2. * now - last);
            d = now;
            let next = 0.4 * run + g + 0.2 * q;
            let last = if t == 1 { next } else { run };
            q -= lr * (2. * next - last);
            run = next;
        }
        let found = (flat(&a)[0], flat(&b)[0]);
        assert!(
            (found.0 - p).abs() < 1e-13 && (found.1 - q).abs() < 1e-13,
            "{step}"
        );
    }
    let nesterov = SgdConfig {
        nesterov: true,
        ..momentum
    };
    assert!(OptimisticSgd::new(&vars[1], &nesterov).is_err());
    // Nothing to divide by in the first step: no direction before, and no epsilon.
    let vars = VarMap::new();
    let p = variable(&vars, "p", &[1.]);
    let bare = AdamConfig {
        eps: 0.,
        ..AdamConfig::default()
    };
    OptimisticAdam::new(&vars, &bare)?.backward_step(&p.sqr()?)?;
    assert!((flat(&p)[0] - 0.999).abs() < 1e-12);
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
            players.step(&mut game)?;
        }
        Ok(flat(&game.x)[0].hypot(flat(&game.y)[0]))
    };
    for update in [Scheme::Simultaneous, Scheme::Alternating] {
        let (without, with) = (last(0., update)?, last(1., update)?);
        assert!(without > 1. && with < 1e-9, "{update:?} {without} {with}");
    }
    Ok(())
}

/// What is not finite moves nobody, bit for bit, and an error at the point of a trial puts both players back.
#[test]
fn steps_that_fail_leave_the_players_where_they_are() -> Result<()> {
    for update in SCHEMES {
        // The loss that spoils the round, and how: a slope of infinity, or an error.
        for spoiled in 0..4 {
            for error in [false, true] {
                let mut calls = 0;
                let value = |x: &Tensor, y: &Tensor| {
                    calls += 1;
                    match (calls - 1 == spoiled, error) {
                        (false, _) => bilinear(x, y),
                        (true, false) => bilinear(x, y)? * f64::INFINITY,
                        (true, true) => candle_core::bail!("no loss"),
                    }
                };
                let mut game = ZeroSum::new(&[1.], &[0.5], value);
                let config = MinimaxConfig {
                    skip_non_finite: true,
                    ..scheme(update)
                };
                let mut players = game.players(&config, |vars| Adam::new(vars, &betas(0.1)))?;
                let before = (
                    bits(&game.x),
                    bits(&game.y),
                    bits(&players.critic().state()?.tensors["m.y"]),
                );
                let round = players.step(&mut game);
                let last = if update == Scheme::Extragradient {
                    4
                } else {
                    2
                };
                if spoiled >= last {
                    assert!(!round?.skipped());
                    continue;
                }
                let after = (
                    bits(&game.x),
                    bits(&game.y),
                    bits(&players.critic().state()?.tensors["m.y"]),
                );
                if update != Scheme::Alternating {
                    assert_eq!(before, after, "{update:?} {spoiled} {error}");
                } else if spoiled == 0 && error {
                    assert_eq!(before, after);
                } else {
                    // Each player moves by himself.
                    assert_eq!(before.0 == after.0, spoiled == 1 || error);
                    assert_eq!(before.1 == after.1, spoiled == 0);
                }
                match round {
                    Ok(round) => {
                        let named = [&round.critic[0].update, &round.generator.update]
                            .map(|update| update.non_finite.clone());
                        let [critic, generator] = named;
                        let bad = [vec!["y".to_string()], vec!["x".to_string()]];
                        assert_eq!(critic.is_empty(), spoiled % 2 == 1);
                        assert_eq!([critic, generator][spoiled % 2], bad[spoiled % 2]);
                        assert!(round.skipped() && !error);
                    }
                    Err(_) => assert!(error),
                }
            }
        }
    }
    Ok(())
}

/// A run that is saved and loaded goes on bit for bit, with averages and in half precision.
#[test]
fn a_resumed_game_is_the_uninterrupted_one() -> Result<()> {
    struct Run<O: Optimizer> {
        maps: [VarMap; 2],
        players: Minimax<O, O>,
        ema: Ema,
        rng: Rng,
    }
    struct Rough<'a> {
        maps: &'a [VarMap; 2],
        rng: &'a mut Rng,
    }
    impl Game for Rough<'_> {
        fn critic_loss(&mut self) -> Result<Tensor> {
            Ok(self.generator_loss()?.neg()?)
        }
        fn generator_loss(&mut self) -> Result<Tensor> {
            let x = init::named_vars(&self.maps[0])?["x"].to_dtype(DType::F64)?;
            let y = init::named_vars(&self.maps[1])?["y"].to_dtype(DType::F64)?;
            Ok(rough(self.rng)(&x, &y)?)
        }
    }
    impl<O: Optimizer> Run<O> {
        fn new(
            seed: u64,
            dtype: DType,
            update: Scheme,
            make: impl Fn(&VarMap) -> Result<O>,
        ) -> Result<Self> {
            let maps = [VarMap::new(), VarMap::new()];
            let mut rng = Rng::new(seed);
            for (vars, name) in maps.iter().zip(["x", "y"]) {
                let var = Var::from_tensor(&rng.normal(3, dtype, &Device::Cpu)?)?;
                vars.data().lock().unwrap().insert(name.into(), var);
            }
            let [own, other] = &maps;
            let config = EmaConfig {
                ramp_up: Some(0.5),
                start: 3,
                ..EmaConfig::of_half_life(20.)
            };
            Ok(Run {
                players: Minimax::new(make(other)?, make(own)?, &scheme(update))?,
                ema: Ema::new(own, &config)?,
                maps,
                rng,
            })
        }
        fn train(&mut self, steps: usize) -> Result<Vec<u64>> {
            let mut game = Rough {
                maps: &self.maps,
                rng: &mut self.rng,
            };
            let mut losses = vec![];
            for _ in 0..steps {
                let round = self.players.step(&mut game)?;
                self.ema.update(&round.generator.update)?;
                losses.push(round.critic[0].value()?.to_bits());
            }
            Ok(losses)
        }
        fn checkpoint(&mut self) -> Checkpoint<'_> {
            let (critic, generator) = self.players.players();
            Checkpoint::new()
                .vars("generator", &self.maps[0])
                .vars("critic", &self.maps[1])
                .ema("average", &mut self.ema)
                .optimizer("critic", critic)
                .optimizer("generator", generator)
                .rng("noise", &mut self.rng)
        }
        fn values(&self) -> Result<Vec<Vec<u64>>> {
            let maps = [&self.maps[0], &self.maps[1], self.ema.vars()];
            let mut all = vec![];
            for vars in maps {
                all.extend(init::named_vars(vars)?.values().map(|var| bits(var)));
            }
            Ok(all)
        }
    }
    fn resume<O: Optimizer>(
        name: &str,
        dtype: DType,
        make: impl Fn(&VarMap) -> Result<O>,
    ) -> Result<()> {
        let file =
            std::env::temp_dir().join(format!("candle-prob-game-{name}-{}", std::process::id()));
        for update in SCHEMES {
            let mut straight = Run::new(1, dtype, update, &make)?;
            straight.train(10)?;
            straight.checkpoint().save(&file)?;
            let mut second = Run::new(2, dtype, update, &make)?;
            second.train(3)?;
            second.checkpoint().load(&file)?;
            assert_eq!(second.values()?, straight.values()?);
            assert_eq!(second.train(10)?, straight.train(10)?);
            assert_eq!(second.values()?, straight.values()?, "{name} {update:?}");
        }
        std::fs::remove_file(&file).ok();
        Ok(())
    }
    for (name, dtype) in [
        ("f64", DType::F64),
        ("f32", DType::F32),
        ("bf16", DType::BF16),
    ] {
        resume(&format!("adam-{name}"), dtype, |vars| {
            Adam::new(vars, &betas(0.01))
        })?;
        resume(&format!("oadam-{name}"), dtype, |vars| {
            OptimisticAdam::new(vars, &betas(0.01))
        })?;
        resume(&format!("osgd-{name}"), dtype, |vars| {
            OptimisticSgd::new(vars, &rate(0.01))
        })?;
    }
    Ok(())
}
