//! Two players who train against each other.

use super::check::of_gradients;
use super::{Optimizer, Update, backward};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::step::update::storage_id;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use std::collections::HashMap;

/// What two players disagree about: a loss for each, to be minimized by that player's own variables.
///
/// Both take `&mut self`, so that they share a source of batches and an [`Rng`](crate::Rng), and each call may draw anew. In
/// [`critic_loss`](Game::critic_loss) detach what the generator made (`fake.detach()`): that saves the way back through it.
/// In [`generator_loss`](Game::generator_loss) the critic is not detached, since the way leads through it.
///
/// A game of zero sum, min over the generator and max over the critic of L, has the losses `-L` and `L`.
pub trait Game {
    /// The loss of the critic, the player who ascends in the minimax problem. Any shape; the elements are summed.
    fn critic_loss(&mut self) -> Result<Tensor>;

    /// The loss of the generator, the player who descends. Any shape; the elements are summed.
    fn generator_loss(&mut self) -> Result<Tensor>;

    /// Called each time the critic has moved: the place to clip its weights or to project them onto what is allowed.
    fn constrain(&mut self) -> Result<()> {
        Ok(())
    }
}

/// At which point of the other player's way each one's gradient is taken; see [`Minimax`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Both at the point where the step begins.
    Simultaneous,
    /// The critic first; the generator answers the critic that has moved.
    #[default]
    Alternating,
    /// Both at the point to which a trial step of both would lead.
    Extragradient,
}

/// Configuration of [`Minimax`].
#[derive(Debug, Clone, PartialEq)]
pub struct MinimaxConfig {
    /// Who moves when.
    pub scheme: Scheme,
    /// Steps of the critic for each of the generator (n_dis); only the alternating scheme takes more than one.
    pub critic_steps: usize,
    /// Whether a step whose gradients are not all finite is left out, as by [`Optimizer::step_if_finite`].
    pub skip_non_finite: bool,
}

impl Default for MinimaxConfig {
    fn default() -> Self {
        MinimaxConfig {
            scheme: Scheme::Alternating,
            critic_steps: 1,
            skip_non_finite: false,
        }
    }
}

/// One player's part in a step.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The loss before the move, detached.
    pub loss: Tensor,
    /// What the move did.
    pub update: Update,
}

impl Turn {
    /// The loss as a number: the sum of its elements.
    pub fn value(&self) -> Result<f64> {
        let sum = self.loss.to_dtype(DType::F64)?.sum_all()?;
        Ok(sum.to_scalar()?)
    }
}

/// What a step of [`Minimax`] did.
#[must_use = "moves may have been left out, of which `skipped` tells"]
#[derive(Debug, Clone)]
pub struct Round {
    /// The turns of the critic, one for each of its steps, in order.
    pub critic: Vec<Turn>,
    /// The turn of the generator.
    pub generator: Turn,
}

impl Round {
    /// Whether a move was left out because of gradients that are not finite.
    pub fn skipped(&self) -> bool {
        let mut turns = self.critic.iter().chain([&self.generator]);
        turns.any(|turn| turn.update.skipped)
    }
}

/// Trains a critic and a generator against each other, each with an optimizer of its own.
///
/// What it is: for min over theta, max over phi of L(theta, phi), with the losses `-L` of the critic (phi) and `L` of the
/// generator (theta), and the steps of plain gradient descent with rates beta and alpha in the place of the optimizers':
///
/// ```text
///   simultaneous    phi'   = phi   + beta  dL/dphi(theta, phi)
///                   theta' = theta - alpha dL/dtheta(theta, phi)
///   alternating     phi'   as above, critic_steps times
///                   theta' = theta - alpha dL/dtheta(theta, phi')
///   extragradient   (theta~, phi~) the simultaneous step
///                   phi'   = phi   + beta  dL/dphi(theta~, phi~)
///                   theta' = theta - alpha dL/dtheta(theta~, phi~)
/// ```
///
/// On L = theta phi with plain gradient descent simultaneous steps spiral outward, by a factor of `sqrt(1 + rate^2)` each,
/// alternating ones stay on a closed curve, extragradient ones and simultaneous [`OptimisticSgd`](super::OptimisticSgd)
/// converge to the saddle. Adam's steps do not shrink with the gradient and do not converge at a constant rate: those of
/// [`OptimisticAdam`](super::OptimisticAdam) come near the saddle, leave it, far at first, and end, with `beta1 = 0`, within 2.5
/// rates of it; extragradient ones of Adam end within one rate, plain ones within 28 at `beta2 = 0.99`. As the rate falls slowly
/// all of these distances fall with it. With momentum they are larger.
///
/// Two time scales are two learning rates; schedules go through [`critic`](Minimax::critic) and
/// [`generator`](Minimax::generator).
///
/// The trial step of the extragradient scheme is [`Optimizer::extrapolate`]: the step that the optimizer would take, with
/// its momenta, of which it keeps nothing. So the moments of Adam are updated once in a full step, from the gradient at the
/// point of the trial, and count one step. (Gidel et al. update them in both halves; plain SGD is the same either way.)
/// [`Game::constrain`] is called at the point of the trial, too.
///
/// A critic's step leaves the generator's variables as they are, bit for bit, and the reverse. State that layers write in
/// training ([`init::Buffer`](crate::init::Buffer)) is written whenever a loss runs them in training.
///
/// Errors: variables that both optimizers move, whatever their names; `critic_steps` of 0, or above 1 in a scheme that is not
/// alternating; in a step what the losses and the optimizers refuse. The moves before an error stay, but no trial step does.
///
/// With `skip_non_finite` a move whose gradients are not all finite is left out. Players who move at once move both or not at
/// all, and then the update of one who could have moved is `skipped` too.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::objective::{AdversarialLoss, NonSaturating};
/// use candle_prob::optim::{Adam, AdamConfig, Game, Minimax, MinimaxConfig};
/// use candle_prob::{Activation, Result, Rng, init, net};
///
/// /// A generator that learns the normal distribution of mean 3 and standard deviation 0.5.
/// struct Gan<G, C> {
///     generator: G,
///     critic: C,
///     rng: Rng,
/// }
///
/// impl<G: Module, C: Module> Gan<G, C> {
///     fn real(&mut self) -> Result<Tensor> {
///         Ok(self.rng.normal((64, 1), DType::F32, &Device::Cpu)?.affine(0.5, 3.)?)
///     }
///
///     fn fake(&mut self) -> Result<Tensor> {
///         let z = self.rng.normal((64, 1), DType::F32, &Device::Cpu)?;
///         Ok(self.generator.forward(&z)?)
///     }
/// }
///
/// impl<G: Module, C: Module> Game for Gan<G, C> {
///     fn critic_loss(&mut self) -> Result<Tensor> {
///         let (real, fake) = (self.real()?, self.fake()?.detach());
///         let (real, fake) = (self.critic.forward(&real)?, self.critic.forward(&fake)?);
///         NonSaturating::default().critic(&real, &fake)?.total()
///     }
///
///     fn generator_loss(&mut self) -> Result<Tensor> {
///         let (real, fake) = (self.real()?, self.fake()?);
///         let (real, fake) = (self.critic.forward(&real)?, self.critic.forward(&fake)?);
///         NonSaturating::default().generator(&real, &fake)?.total()
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let (own, other) = (VarMap::new(), VarMap::new());
/// let vb = |vars, seed| init::seeded(vars, seed, DType::F32, &Device::Cpu);
/// let mut gan = Gan {
///     generator: net::mlp(&[1, 16, 1], Activation::Relu, vb(&own, 1))?,
///     critic: net::mlp(&[1, 16, 1], Activation::Relu, vb(&other, 2))?,
///     rng: Rng::new(3),
/// };
/// let adam = |lr| AdamConfig { lr, beta1: 0.5, ..AdamConfig::default() };
/// let critic = Adam::new(&other, &adam(4e-3))?;
/// let generator = Adam::new(&own, &adam(2e-3))?;
/// let mut players = Minimax::new(critic, generator, &MinimaxConfig::default())?;
/// for _ in 0..400 {
///     let _round = players.step(&mut gan)?;
/// }
/// let mean = gan.fake()?.mean_all()?.to_scalar::<f32>()?;
/// assert!((mean - 3.).abs() < 0.7, "{mean}");
/// # Ok(())
/// # }
/// ```
///
/// Source: Goodfellow et al. 2014, Algorithm 1 (alternating, with several steps of the critic); Heusel et al. 2017 (two time
/// scales); Korpelevich 1976 and Gidel et al. 2019, section 3.2 and Algorithm 4 (extragradient).
pub struct Minimax<C, G> {
    critic: C,
    generator: G,
    config: MinimaxConfig,
}

const NEW: &str = "Minimax::new";

impl<C: Optimizer, G: Optimizer> Minimax<C, G> {
    /// Two optimizers of different variables.
    pub fn new(critic: C, generator: G, config: &MinimaxConfig) -> Result<Self> {
        check::at_least_one(NEW, &[("critic_steps", config.critic_steps)])?;
        if config.scheme != Scheme::Alternating && config.critic_steps > 1 {
            let expected = format!("1 with {:?} updates", config.scheme);
            return Err(Error::value(
                NEW,
                "critic_steps",
                expected,
                config.critic_steps,
            ));
        }
        let own = critic.variables().iter();
        let own: HashMap<_, _> = own.map(|(name, var)| (storage_id(var), name)).collect();
        for (name, var) in generator.variables() {
            if let Some(other) = own.get(&storage_id(var)) {
                let expected = "variables that the critic's optimizer does not move";
                let found = format!("{name}, {other} of the critic");
                return Err(Error::value(NEW, "generator", expected, found));
            }
        }
        Ok(Minimax {
            critic,
            generator,
            config: config.clone(),
        })
    }

    /// One step of the generator and what belongs to it.
    pub fn step(&mut self, game: &mut impl Game) -> Result<Round> {
        match self.config.scheme {
            Scheme::Simultaneous => self.simultaneous(game),
            Scheme::Alternating => self.alternating(game),
            Scheme::Extragradient => self.extragradient(game),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &MinimaxConfig {
        &self.config
    }

    /// The critic's optimizer, for its learning rate.
    pub fn critic(&mut self) -> &mut C {
        &mut self.critic
    }

    /// The generator's optimizer, for its learning rate.
    pub fn generator(&mut self) -> &mut G {
        &mut self.generator
    }

    /// Both optimizers, the critic's first: for a [`Checkpoint`](super::Checkpoint), which holds both.
    pub fn players(&mut self) -> (&mut C, &mut G) {
        (&mut self.critic, &mut self.generator)
    }

    fn alternating(&mut self, game: &mut impl Game) -> Result<Round> {
        let skip = self.config.skip_non_finite;
        let mut critic = vec![];
        for _ in 0..self.config.critic_steps {
            let turn = turn(&mut self.critic, &game.critic_loss()?, skip)?;
            if !turn.update.skipped {
                game.constrain()?;
            }
            critic.push(turn);
        }
        let generator = turn(&mut self.generator, &game.generator_loss()?, skip)?;
        Ok(Round { critic, generator })
    }

    fn simultaneous(&mut self, game: &mut impl Game) -> Result<Round> {
        let (losses, gradients) = both(game)?;
        let updates = self.move_both(game, &gradients)?;
        Ok(round(losses, updates))
    }

    fn extragradient(&mut self, game: &mut impl Game) -> Result<Round> {
        let (losses, gradients) = both(game)?;
        if let Some(refused) = self.refused(&gradients)? {
            return Ok(round(losses, refused));
        }
        let (_, critic) = self.critic.extrapolate(&gradients[0])?;
        let ahead = self.ahead(game, &gradients[1]);
        critic.restore()?;
        let updates = self.move_both(game, &ahead?)?;
        Ok(round(losses, updates))
    }

    /// The gradients at the point of the trial, of which the critic's part has been taken. The generator is put back.
    fn ahead(&mut self, game: &mut impl Game, gradient: &GradStore) -> Result<[GradStore; 2]> {
        let (_, generator) = self.generator.extrapolate(gradient)?;
        let ahead = game.constrain().and_then(|()| both(game));
        generator.restore()?;
        Ok(ahead?.1)
    }

    fn move_both(
        &mut self,
        game: &mut impl Game,
        gradients: &[GradStore; 2],
    ) -> Result<[Update; 2]> {
        if let Some(refused) = self.refused(gradients)? {
            return Ok(refused);
        }
        let updates = [
            self.critic.step(&gradients[0])?,
            self.generator.step(&gradients[1])?,
        ];
        game.constrain()?;
        Ok(updates)
    }

    /// What is said where neither player moves because some gradient is not finite.
    fn refused(&self, [critic, generator]: &[GradStore; 2]) -> Result<Option<[Update; 2]>> {
        if !self.config.skip_non_finite {
            return Ok(None);
        }
        let reports = [
            of_gradients(self.critic.variables(), critic)?,
            of_gradients(self.generator.variables(), generator)?,
        ];
        let found = reports.iter().any(|report| !report.non_finite.is_empty());
        Ok(found.then(|| reports.map(Update::refused)))
    }
}

/// The losses of both players where they are, and their gradients.
fn both(game: &mut impl Game) -> Result<([Tensor; 2], [GradStore; 2])> {
    let critic = game.critic_loss()?;
    let gradients = backward(&critic)?;
    let generator = game.generator_loss()?;
    let losses = [critic.detach(), generator.detach()];
    Ok((losses, [gradients, backward(&generator)?]))
}

fn turn(player: &mut impl Optimizer, loss: &Tensor, skip: bool) -> Result<Turn> {
    let gradients = backward(loss)?;
    let update = match skip {
        true => player.step_if_finite(&gradients)?,
        false => player.step(&gradients)?,
    };
    let loss = loss.detach();
    Ok(Turn { loss, update })
}

fn round(losses: [Tensor; 2], updates: [Update; 2]) -> Round {
    let ([critic, generator], [first, second]) = (losses, updates);
    let turn = |loss, update| Turn { loss, update };
    Round {
        critic: vec![turn(critic, first)],
        generator: turn(generator, second),
    }
}
