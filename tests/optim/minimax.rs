//! Games of two players whose course is known.

use crate::support::flat;
use candle_core::{Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::optim::*;
use candle_prob::{Error, Result};

fn bits(tensor: &Tensor) -> Vec<u64> {
    flat(tensor).iter().map(|x| x.to_bits()).collect()
}

fn variable(vars: &VarMap, name: &str, value: &[f64]) -> Var {
    let var = Var::new(value, &Device::Cpu).unwrap();
    vars.data().lock().unwrap().insert(name.into(), var.clone());
    var
}

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
        let config = SgdConfig {
            lr,
            ..SgdConfig::default()
        };
        let [generator, critic] = &self.maps;
        let update = MinimaxConfig {
            update,
            ..MinimaxConfig::default()
        };
        let players = [critic, generator].map(|vars| Sgd::new(vars, &config));
        let [critic, generator] = players;
        Minimax::new(critic?, generator?, &update)
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
        for update in [
            Scheme::Simultaneous,
            Scheme::Alternating,
            Scheme::Extragradient,
        ] {
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
