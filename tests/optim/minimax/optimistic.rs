//! Steps along the expected direction: their formula, and how near they come to the saddle of x y.

use super::*;
use candle_core::backprop::GradStore;

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
        let _round = players.step(&mut game)?;
        // The other root is near h: its part is gone after a few steps.
        if step > 30 {
            assert!((norm(game.at()) / before - root).abs() < 1e-12);
        }
    }
    assert!(norm(game.at()) < 0.01);
    Ok(())
}

/// Steps of Adam's form have the length of the rate however near the saddle of x y they are. With beta1 = 0 they end on a circle
/// of 28.5 rates (plain), 2.46 (optimistic) or 1 (extragradient), the latter two after having been far nearer, and follow the rate
/// when it falls; with beta1 = 0.5 optimistic ones end on 28.6. The radii are those of the recurrence in a program of its own,
/// where they are the same for the rates 0.02 and 0.01 or 0.05.
#[test]
fn steps_of_adam_come_as_near_to_a_saddle_as_their_rate() -> Result<()> {
    let lr = 0.02;
    let course = |update, optimistic: bool, beta1| -> Result<Vec<f64>> {
        let mut game = ZeroSum::new(&[1.], &[0.5], bilinear);
        let config = AdamConfig {
            beta1,
            beta2: 0.99,
            ..betas(lr)
        };
        let make = |vars: &VarMap| -> Result<Box<dyn Optimizer>> {
            Ok(match optimistic {
                true => Box::new(OptimisticAdam::new(vars, &config)?),
                false => Box::new(Adam::new(vars, &config)?),
            })
        };
        let mut players = game.players(&scheme(update), make)?;
        let mut distances = vec![];
        for step in 0..10_000 {
            let rate = lr * 0.5f64.powf(f64::from(step - 5000).max(0.) / 500.);
            players.critic().set_learning_rate(rate);
            players.generator().set_learning_rate(rate);
            let _round = players.step(&mut game)?;
            let (x, y) = game.at();
            distances.push(x.hypot(y));
        }
        Ok(distances)
    };
    let largest = |of: &[f64]| of.iter().copied().fold(0., f64::max);
    let least = |of: &[f64]| of.iter().copied().fold(f64::MAX, f64::min);
    let cases = [
        (Scheme::Simultaneous, false, 0., 28.45),
        (Scheme::Simultaneous, true, 0., 2.46),
        (Scheme::Extragradient, false, 0., 1.),
        (Scheme::Simultaneous, true, 0.5, 28.6),
    ];
    for (update, optimistic, beta1, radius) in cases {
        let distances = course(update, optimistic, beta1)?;
        let (constant, falling) = distances.split_at(5000);
        let found = largest(&constant[4000..]) / lr;
        let end = largest(&falling[4000..]);
        println!("{update:?} {optimistic} {found} rates, {end}");
        assert!((found / radius - 1.).abs() < 0.01, "{update:?} {found}");
        let circles = radius > 10.;
        assert_eq!(least(constant) < 1e-6, !circles);
        assert!(circles && end > 0.01 || end < 3e-4, "{update:?} {end}");
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
