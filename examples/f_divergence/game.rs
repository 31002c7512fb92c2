//! The fit by a critic: the f-GAN, from draws alone.

use super::common::report::warn;
use super::kind::Kind;
use super::{Arguments, Gaussian, exact, target};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Init, VarMap};
use candle_prob::distribution::{Distribution, MixtureSameFamily, Normal};
use candle_prob::divergence::FDivergence;
use candle_prob::objective::{AdversarialLoss, FGan};
use candle_prob::optim::{
    Adam, AdamConfig, Game, Minimax, MinimaxConfig, Optimizer, Schedule, Scheme,
};
use candle_prob::{Activation, Error, Result, Rng, init, net};
use indicatif::ProgressBar;

/// Steps of the critic for each of the generator.
const CRITIC_STEPS: usize = 4;
/// Steps of the critic when the Gaussian stays as it is, before its estimate is read, with this many times more draws.
const LAST_STEPS: usize = 1000;
const MORE: usize = 4;
/// Draws from which the estimate is read, and how many at a time.
const TEST: usize = 1 << 19;
pub const TEST_PART: usize = 1 << 16;
/// Of the Gaussian's mean and logarithmic scale, at the start.
const GENERATOR_LR: f64 = 1e-2;

/// What an f-GAN has found.
pub struct Played {
    pub model: Gaussian,
    /// The divergence of the mixture from that Gaussian, by quadrature.
    pub divergence: f64,
    /// The critic's, from fresh draws, and its standard error.
    pub estimate: f64,
    pub error: f64,
    /// Rounds with a move left out, since its gradients were not finite.
    pub skipped: usize,
}

struct Players {
    /// The game of `D_f(mixture || Gaussian)`.
    loss: FGan<Box<dyn FDivergence>>,
    critic: net::Mlp,
    mean: Tensor,
    log_sd: Tensor,
    target: MixtureSameFamily<Normal>,
    batch: usize,
    /// Weight of the scores' squares, for activations that level off.
    drift: f64,
    rng: Rng,
}

impl Players {
    /// The critic's scores of places: of x and its square, since the logarithm of a ratio of Gaussians is square.
    fn scores(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x / 3.)?.unsqueeze(1)?;
        Ok(self.critic.forward(&Tensor::cat(&[&x, &x.sqr()?], 1)?)?)
    }

    fn real(&mut self, count: usize) -> Result<Tensor> {
        self.target.sample(&[count], &mut self.rng)
    }

    fn fake(&mut self, count: usize) -> Result<Tensor> {
        let z = self.rng.normal(count, DType::F32, &Device::Cpu)?;
        Ok(z.broadcast_mul(&self.log_sd.exp()?)?
            .broadcast_add(&self.mean)?)
    }

    /// The bound from fresh draws, part by part, with its standard error.
    fn estimate(&mut self) -> Result<(f64, f64)> {
        let mut sums = [[0.; 2]; 2];
        for _ in 0..TEST / TEST_PART {
            let real = self.real(TEST_PART)?;
            let fake = self.fake(TEST_PART)?.detach();
            let parts = self
                .loss
                .critic(&self.scores(&real)?.detach(), &self.scores(&fake)?.detach())?;
            for (sums, terms) in sums.iter_mut().zip([parts.real, parts.fake]) {
                let terms = terms.to_dtype(DType::F64)?;
                sums[0] += terms.sum_all()?.to_scalar::<f64>()?;
                sums[1] += terms.sqr()?.sum_all()?.to_scalar::<f64>()?;
            }
        }
        let n = TEST as f64;
        let variance = |[sum, squares]: [f64; 2]| squares / n - (sum / n).powi(2);
        let loss = (sums[0][0] + sums[1][0]) / n;
        let error = ((variance(sums[0]) + variance(sums[1])) / n).sqrt();
        Ok((-loss, error))
    }
}

impl Game for Players {
    fn critic_loss(&mut self) -> Result<Tensor> {
        let real = self.real(self.batch)?;
        let fake = self.fake(self.batch)?.detach();
        let (real, fake) = (self.scores(&real)?, self.scores(&fake)?);
        let total = self.loss.critic(&real, &fake)?.total()?;
        if self.drift == 0. {
            return Ok(total);
        }
        let squares = (real.sqr()?.mean_all()? + fake.sqr()?.mean_all()?)?;
        Ok((total + (squares * self.drift)?)?)
    }

    fn generator_loss(&mut self) -> Result<Tensor> {
        let fake = self.fake(self.batch)?;
        let fake = self.scores(&fake)?;
        // An f-GAN's generator reads no scores of data, of which there are none here.
        self.loss.generator(&fake.narrow(0, 0, 0)?, &fake)?.total()
    }
}

/// Trains both players, then the critic alone, and reads its estimate.
pub fn play(kind: Kind, arguments: &Arguments, bar: &ProgressBar) -> Result<Played> {
    let Arguments {
        batch,
        hidden,
        lr,
        seed,
        ..
    } = *arguments;
    let rounds = arguments.rounds();
    let (own, other) = (VarMap::new(), VarMap::new());
    let vb = |vars: &VarMap| init::seeded(vars, seed, DType::F32, &Device::Cpu);
    let generator = vb(&own);
    let start = |name: &str, value| generator.get_with_hints((), name, Init::Const(value));
    let mut game = Players {
        loss: FGan::new(kind.divergence()?),
        critic: net::mlp(&[2, hidden, hidden, 1], Activation::Silu, vb(&other))?,
        mean: start("mean", kind.start().mean)?,
        log_sd: start("log_sd", kind.start().sd.ln())?,
        target: target()?,
        batch,
        drift: kind.drift(),
        rng: Rng::new(seed).fork(kind.name()),
    };
    let adam = |vars: &VarMap, lr| {
        let config = AdamConfig {
            lr,
            beta1: 0.5,
            eps: 1e-4,
            ..AdamConfig::default()
        };
        Adam::new(vars, &config)
    };
    let config = MinimaxConfig {
        scheme: Scheme::Alternating,
        critic_steps: CRITIC_STEPS,
        skip_non_finite: true,
    };
    let mut players = Minimax::new(adam(&other, lr)?, adam(&own, GENERATOR_LR)?, &config)?;
    let falling = |from| Schedule::Cosine {
        from,
        to: from / 20.,
        steps: rounds,
    };
    let mut skipped = 0;
    for round in 0..rounds {
        players.critic().set_learning_rate(falling(lr).at(round));
        let generator = players.generator();
        generator.set_learning_rate(falling(GENERATOR_LR).at(round));
        skipped += usize::from(players.step(&mut game)?.skipped());
        bar.inc(1);
    }
    if skipped == rounds {
        return Err(Error::Value {
            op: "f_divergence",
            arg: "--lr",
            expected: "a learning rate that leaves gradients finite".into(),
            found: format!("{lr:?}, which does so in no round"),
        });
    }
    if skipped > 0 {
        let title = kind.title();
        warn(&format!(
            "{title}: {skipped} of {rounds} rounds skip moves: gradients that were not finite"
        ));
    }
    let mut last = adam(&other, lr)?;
    game.batch = MORE * batch;
    game.drift = 0.;
    let schedule = Schedule::Cosine {
        from: lr,
        to: 0.,
        steps: LAST_STEPS,
    };
    for step in 0..LAST_STEPS {
        last.set_learning_rate(schedule.at(step));
        let loss = game.critic_loss()?;
        last.backward_step(&loss)?;
    }
    let number = |x: &Tensor| -> Result<f64> { Ok(x.to_dtype(DType::F64)?.to_scalar()?) };
    let model = Gaussian {
        mean: number(&game.mean)?,
        sd: number(&game.log_sd)?.exp(),
    };
    let (estimate, error) = game.estimate()?;
    Ok(Played {
        model,
        divergence: exact::of(&*kind.divergence()?, model)?,
        estimate,
        error,
        skipped,
    })
}
