//! Who moves when, and what is refused or left out.

use super::*;
use candle_prob::{Error, init};

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
                scheme: update,
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
        let _round = players.step(&mut game)?;
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
                        let both = update != Scheme::Alternating;
                        for (k, turn) in [&round.critic[0], &round.generator].iter().enumerate() {
                            assert_eq!(turn.update.skipped, both || spoiled == k);
                            assert_eq!(turn.update.updated.is_empty(), turn.update.skipped);
                        }
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

/// Where only the critic's gradients are infinite the generator has not moved either, so that its average stays.
#[test]
fn a_round_that_was_left_out_is_not_averaged() -> Result<()> {
    for update in [Scheme::Simultaneous, Scheme::Extragradient] {
        let calls = std::cell::Cell::new(0);
        // The critic's first loss of the second round.
        let bad = if update == Scheme::Extragradient {
            4
        } else {
            2
        };
        let value = |x: &Tensor, y: &Tensor| {
            calls.set(calls.get() + 1);
            let factor = if calls.get() == bad + 1 {
                f64::INFINITY
            } else {
                1.
            };
            bilinear(x, y)? * factor
        };
        let mut game = ZeroSum::new(&[1.], &[0.5], value);
        let config = MinimaxConfig {
            skip_non_finite: true,
            ..scheme(update)
        };
        let mut players = game.players(&config, |vars| Sgd::new(vars, &rate(0.1)))?;
        let half = EmaConfig {
            decay: 0.5,
            ..EmaConfig::default()
        };
        let mut ema = Ema::new(&game.maps[0], &half)?;
        let mut want = game.at().0;
        for step in 0..4 {
            let round = players.step(&mut game)?;
            let turn = &round.generator.update;
            ema.update(turn)?;
            assert_eq!((round.skipped(), turn.skipped), (step == 1, step == 1));
            assert!(turn.non_finite.is_empty());
            if step != 1 {
                want = 0.5 * want + 0.5 * game.at().0;
            }
            let found = flat(&init::named_vars(ema.vars())?["x"])[0];
            assert!((found - want).abs() < 1e-15, "{update:?} {step}");
        }
    }
    Ok(())
}
