//! Training of one pair of networks.

use crate::common::report::{self, Output};
use crate::common::train::{History, Learner, Metrics, Training};
use crate::config::{Arguments, Moves, Player};
use crate::data::Data;
use crate::evaluate::Judge;
use crate::game::{Generator, Play, Tally};
use crate::sheet;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Ema, EmaConfig, Minimax, OptimisticAdam, Optimizer,
};
use candle_prob::{Result, Rng, init};
use indicatif::ProgressBar;
use std::time::Instant;

/// A trained generator and how it got there.
pub struct Run<'a> {
    pub player: &'a Player,
    pub history: History,
    pub seconds: f64,
    /// Points that were drawn after these epochs.
    pub stages: Vec<(usize, Tensor)>,
    pub scores: Metrics,
}

/// What all trainings share, and where the results go.
pub struct Setting<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Data,
    pub judge: &'a Judge<'a>,
    pub output: &'a Output,
}

type Either = Box<dyn Optimizer>;

struct Players<'a> {
    training: &'a Training<'a>,
    play: Play<'a>,
    minimax: Minimax<Either, Either>,
    ema: Ema,
    critic: VarMap,
    generator: VarMap,
    /// Points drawn in the course of the training, zeros before.
    stages: VarMap,
    bar: ProgressBar,
    epoch: usize,
    skipped: usize,
}

impl Learner for Players<'_> {
    fn parts<'a>(&'a mut self, checkpoint: Checkpoint<'a>) -> Checkpoint<'a> {
        let (critic, generator) = self.minimax.players();
        checkpoint
            .vars("critic", &self.critic)
            .vars("generator", &self.generator)
            .vars("stages", &self.stages)
            .ema("average", &mut self.ema)
            .optimizer("critic", critic)
            .optimizer("generator", generator)
    }

    fn begin(&mut self, epoch: usize) {
        (self.epoch, self.skipped) = (epoch, 0);
    }

    fn skipped(&self) -> usize {
        self.skipped
    }
}

impl Players<'_> {
    fn step(&mut self) -> Result<()> {
        let round = self.minimax.step(&mut self.play)?;
        self.bar.inc(1);
        self.ema.update(&round.generator.update)?;
        if round.skipped() {
            self.skipped += 1;
            self.training.check_skipped(self.epoch, self.skipped)?;
        }
        Ok(())
    }
}

/// The epochs after which points are drawn, of so many.
fn stage_epochs(epochs: usize) -> Vec<usize> {
    let shares = [0.02, 0.1, 0.25, 0.5, 1.];
    let mut at: Vec<usize> = shares
        .iter()
        .map(|share| ((epochs as f64 * share).round() as usize).max(1))
        .collect();
    at.dedup();
    at
}

const STAGE_POINTS: usize = 1000;

fn stage_name(epoch: usize) -> String {
    format!("epoch_{epoch:05}")
}

fn optimizer(vars: &VarMap, lr: f64, moves: Moves) -> Result<Either> {
    let config = AdamConfig {
        lr,
        beta1: 0.5,
        ..AdamConfig::default()
    };
    Ok(match moves {
        Moves::Optimistic => Box::new(OptimisticAdam::new(vars, &config)?),
        _ => Box::new(Adam::new(vars, &config)?),
    })
}

pub fn train<'a>(player: &'a Player, training: &Training, setting: &Setting) -> Result<Run<'a>> {
    let Setting {
        arguments,
        data,
        judge,
        output,
    } = *setting;
    let clock = Instant::now();
    let rng = Rng::new(player.seed);
    let (critic, generator) = (VarMap::new(), VarMap::new());
    let seeded = |vars, name: &str| {
        let seed = rng.fork(name).state().key;
        init::seeded(vars, seed, DType::F32, &Device::Cpu)
    };
    let maps = [
        (&critic, seeded(&critic, "critic")),
        (&generator, seeded(&generator, "generator")),
    ];
    let play = Play::new(arguments, data, player.loss, maps)?;
    let moves = arguments.update;
    let minimax = Minimax::new(
        optimizer(&critic, arguments.critic_lr(), moves)?,
        optimizer(&generator, arguments.lr(), moves)?,
        &arguments.minimax(),
    )?;
    let config = EmaConfig {
        decay: arguments.ema(),
        ramp_up: Some(0.05),
        ..EmaConfig::default()
    };
    let ema = Ema::new(&generator, &config)?;
    let averaged = Generator::new(arguments, data, seeded(ema.vars(), "generator"))?;
    let (stages, at) = (VarMap::new(), stage_epochs(training.epochs));
    if let Data::Points(_) = data {
        for epoch in &at {
            let zeros = Var::zeros((STAGE_POINTS, 2), DType::F32, &Device::Cpu)?;
            let mut data = stages.data().lock().map_err(poisoned)?;
            data.insert(stage_name(*epoch), zeros);
        }
    }
    let bar = training.bar();
    let mut players = Players {
        training,
        play,
        minimax,
        ema,
        critic,
        generator,
        stages,
        bar: bar.clone(),
        epoch: 0,
        skipped: 0,
    };
    let latent = arguments.latent();
    let resume = arguments.common.resume;
    let history = training.run_with(&mut players, &bar, resume, output, |epoch, players| {
        let rng = rng.fork(&format!("epoch {epoch}"));
        players.play.tally = Tally::default();
        for step in 0..training.steps {
            players.play.rng = rng.fork(&format!("step {step}"));
            players.step()?;
        }
        let tally = &players.play.tally;
        let mut metrics = Metrics::from([
            ("critic_loss".into(), tally.critic / tally.critic_steps),
            (
                "generator_loss".into(),
                tally.generator / tally.generator_steps,
            ),
            ("divergence".into(), tally.divergence / tally.critic_steps),
        ]);
        let mut rng = rng.fork("samples");
        match data {
            Data::Points(_) => {
                if at.contains(&(epoch + 1)) {
                    let points = averaged.sample(STAGE_POINTS, latent, &mut rng)?;
                    let data = players.stages.data().lock().map_err(poisoned)?;
                    if let Some(var) = data.get(&stage_name(epoch + 1)) {
                        var.set(&points)?;
                    }
                }
            }
            Data::Images(split) => {
                // The same noise at every epoch.
                let mut rng = Rng::new(player.seed).fork("sheet");
                let samples = averaged.sample(sheet::IMAGES, latent, &mut rng)?;
                let drawn = sheet::write(player, epoch + 1, split, &samples, output);
                if let Err(error) = drawn {
                    report::warn(&error.to_string());
                }
            }
        }
        metrics.extend(judge.each_epoch(&averaged, latent, &mut rng)?);
        Ok(metrics)
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    let mut rng = rng.fork("end");
    let drawn = |epoch: &usize| -> Result<(usize, Tensor)> {
        let data = players.stages.data().lock().map_err(poisoned)?;
        let points = data.get(&stage_name(*epoch));
        let none = || Tensor::zeros((0, 2), DType::F32, &Device::Cpu);
        let points = points.map_or_else(none, |var| Ok(var.as_detached_tensor()))?;
        Ok((*epoch, points))
    };
    let at = at.iter().filter(|epoch| **epoch <= history.len());
    let stages = match data {
        Data::Points(_) => at.map(drawn).collect::<Result<_>>()?,
        Data::Images(_) => vec![],
    };
    let scores = judge.in_the_end(&averaged, latent, &mut rng)?;
    Ok(Run {
        player,
        history,
        seconds,
        stages,
        scores,
    })
}

fn poisoned<T>(_: T) -> candle_core::Error {
    candle_core::Error::Msg("the variable map's lock is poisoned".into())
}
