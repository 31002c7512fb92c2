//! The estimators: neighbours, and critics that are trained.

use super::Arguments;
use super::family::Case;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::information::knn::{self, KnnConfig, Ksg};
use candle_prob::net::{Mlp, NormalHead, ScaleForm, mlp};
use candle_prob::objective::information_bounds::{
    Club, LowerBound, Mine, Scores, donsker_varadhan, info_nce, interpolated, jensen_shannon, nwj,
    smile,
};
use candle_prob::optim::{Adam, AdamConfig, Optimizer, Schedule};
use candle_prob::{Activation, Conditional, Result, Rng, init};

/// What the scores of both networks are products of.
const FEATURES: usize = 32;
/// Weight of the contrastive baseline.
const ALPHA: f64 = 0.1;
const CLIP: f64 = 5.;
const DECAY: f64 = 0.99;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimator {
    Ksg1,
    Ksg2,
    Mine,
    Nwj,
    Interpolated,
    InfoNce,
    JensenShannon,
    Smile,
    Club,
}

impl Estimator {
    pub const ALL: [Estimator; 9] = [
        Estimator::Ksg1,
        Estimator::Ksg2,
        Estimator::Mine,
        Estimator::Nwj,
        Estimator::Interpolated,
        Estimator::InfoNce,
        Estimator::JensenShannon,
        Estimator::Smile,
        Estimator::Club,
    ];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Estimator::Ksg1 => "KSG 1",
            Estimator::Ksg2 => "KSG 2",
            Estimator::Mine => "MINE",
            Estimator::Nwj => "NWJ",
            Estimator::Interpolated => "interpolated",
            Estimator::InfoNce => "InfoNCE",
            Estimator::JensenShannon => "JS",
            Estimator::Smile => "SMILE",
            Estimator::Club => "CLUB",
        }
    }

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Estimator::Ksg1 => "ksg_1",
            Estimator::Ksg2 => "ksg_2",
            Estimator::Mine => "mine",
            Estimator::Nwj => "nwj",
            Estimator::Interpolated => "interpolated",
            Estimator::InfoNce => "info_nce",
            Estimator::JensenShannon => "jensen_shannon",
            Estimator::Smile => "smile",
            Estimator::Club => "club",
        }
    }

    /// Number of a colour, and whether its line is dashed: relatives share the colour.
    pub fn look(self) -> (usize, bool) {
        match self {
            Estimator::Ksg1 => (0, false),
            Estimator::Ksg2 => (0, true),
            Estimator::Mine => (1, false),
            Estimator::Smile => (1, true),
            Estimator::Nwj => (2, false),
            Estimator::JensenShannon => (2, true),
            Estimator::Interpolated => (3, false),
            Estimator::InfoNce => (4, false),
            Estimator::Club => (5, false),
        }
    }

    /// Whether no critic brings its mean above the information. MINE's logarithm of a mean is biased upwards.
    pub fn is_below(self) -> bool {
        use Estimator::{InfoNce, Interpolated, JensenShannon, Nwj};
        matches!(self, Nwj | Interpolated | InfoNce | JensenShannon)
    }
}

/// The score of a pair is a product of what two networks make of x and of y. Their hidden layers are bounded, so that no score is
/// without measure where a pair is further out than all before: one such would outweigh all others in a mean of exponentials.
struct Critic {
    of_x: Mlp,
    of_y: Mlp,
}

impl Critic {
    /// `f(x_i, y_j)`, `[N, N]`
    fn scores(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (x, y) = (self.of_x.forward(x)?, self.of_y.forward(y)?);
        Ok(x.matmul(&y.t()?)?)
    }
}

/// The conditional of CLUB: a normal distribution whose mean and scale a network knows.
struct Conditionals {
    body: Mlp,
    head: NormalHead,
}

impl Conditional for &Conditionals {
    type Output = <NormalHead as Conditional>::Output;

    fn given(&self, x: &Tensor) -> Result<Self::Output> {
        self.head.given(&self.body.forward(x)?.relu()?)
    }
}

struct Trial<'a> {
    case: &'a Case,
    arguments: &'a Arguments,
    rng: Rng,
}

impl Trial<'_> {
    /// Fresh pairs as networks see them.
    fn pairs(&mut self, n: usize) -> Result<[Tensor; 2]> {
        let [x, y] = self.case.draw(n, &mut self.rng)?;
        Ok([self.case.seen(&x)?, self.case.seen(&y)?])
    }

    /// Descends what `loss` makes of fresh pairs.
    fn train(
        &mut self,
        vars: &VarMap,
        mut loss: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let Arguments { lr, batch, .. } = *self.arguments;
        let steps = self.arguments.steps();
        let config = AdamConfig {
            lr,
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(vars, &config)?;
        let schedule = Schedule::Cosine {
            from: lr,
            to: 0.,
            steps,
        };
        for step in 0..steps {
            let [x, y] = self.pairs(batch)?;
            adam.set_learning_rate(schedule.at(step));
            adam.backward_step(&loss(&x, &y)?)?;
        }
        Ok(())
    }

    /// A critic that has learned by a loss of its scores.
    fn critic(&mut self, mut loss: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Critic> {
        let (vars, dims, hidden) = (VarMap::new(), self.case.dims(), self.arguments.hidden);
        let seed = self.rng.integers(1, 1 << 32)?[0] as u64;
        let vb = init::seeded(&vars, seed, DType::F32, &Device::Cpu);
        let network = |name| {
            let sizes = [dims, hidden, hidden, FEATURES];
            mlp(&sizes, Activation::Tanh, vb.pp(name))
        };
        let critic = Critic {
            of_x: network("x")?,
            of_y: network("y")?,
        };
        self.train(&vars, |x, y| loss(&critic.scores(x, y)?))?;
        Ok(critic)
    }

    /// A conditional that has learned by its likelihood, and what CLUB makes of it.
    fn club(&mut self, [x, y]: &[Tensor; 2]) -> Result<f64> {
        let (vars, dims, hidden) = (VarMap::new(), self.case.dims(), self.arguments.hidden);
        let seed = self.rng.integers(1, 1 << 32)?[0] as u64;
        let vb = init::seeded(&vars, seed, DType::F32, &Device::Cpu);
        let scale = ScaleForm::Softplus {
            shift: 0.,
            floor: 1e-3,
        };
        let q = Conditionals {
            body: mlp(&[dims, hidden, hidden], Activation::Relu, vb.pp("body"))?,
            head: NormalHead::new(hidden, dims, scale, vb.pp("head"))?,
        };
        let mut club = Club::new(&q);
        self.train(&vars, |x, y| club.likelihood_loss(x, y))?;
        club.bound(x, y)?.nats()
    }
}

/// The mean over parts of a batch's size: what contrasts N pairs depends on N.
fn by_batch(
    critic: &Critic,
    [x, y]: &[Tensor; 2],
    batch: usize,
    bound: impl Fn(&Tensor) -> Result<LowerBound>,
) -> Result<f64> {
    let parts = x.dim(0)? / batch;
    let mut sum = 0.;
    for part in 0..parts {
        let [x, y] = [x, y].map(|t| t.narrow(0, part * batch, batch));
        sum += bound(&critic.scores(&x?, &y?)?)?.nats()?;
    }
    Ok(sum / parts as f64)
}

/// Every estimator's value of one trial, in the order of [`Estimator::ALL`].
pub fn all(case: &Case, arguments: &Arguments, rng: Rng) -> Result<Vec<f64>> {
    let mut trial = Trial {
        case,
        arguments,
        rng,
    };
    let Arguments { samples, batch, .. } = *arguments;
    let [x, y] = case.draw(samples, &mut trial.rng)?;
    let config = KnnConfig::default();
    let mut found = vec![];
    for form in [Ksg::First, Ksg::Second] {
        found.push(knn::mutual_information(&x, &y, form, &config, &mut trial.rng)?.nats);
    }
    let test = [case.seen(&x)?, case.seen(&y)?];
    let read = |critic: &Critic| -> Result<Scores> {
        Scores::matrix(&critic.scores(&test[0], &test[1])?.detach())
    };
    let mut mine = Mine::new(DECAY)?;
    let critic = trial.critic(|scores| mine.bound(&Scores::matrix(scores)?)?.loss())?;
    found.push(donsker_varadhan(&read(&critic)?)?.nats()?);
    let critic = trial.critic(|scores| nwj(&Scores::matrix(scores)?)?.loss())?;
    found.push(nwj(&read(&critic)?)?.nats()?);
    // With this constant baseline and alpha = 0 it would be NWJ.
    let one = Tensor::new(1f32, &Device::Cpu)?;
    let mixed = |scores: &Tensor| interpolated(scores, &one, ALPHA);
    let critic = trial.critic(|scores| mixed(scores)?.loss())?;
    found.push(by_batch(&critic, &test, batch, mixed)?);
    let critic = trial.critic(|scores| info_nce(scores)?.loss())?;
    found.push(by_batch(&critic, &test, batch, info_nce)?);
    // One critic, read in two ways.
    let critic = trial.critic(|scores| jensen_shannon(&Scores::matrix(scores)?)?.loss())?;
    let scores = read(&critic)?;
    found.push(jensen_shannon(&scores)?.information.nats()?);
    found.push(smile(&scores, CLIP)?.nats()?);
    found.push(trial.club(&test)?);
    Ok(found)
}
