//! The command line and what it amounts to: the settings of the paper, section 6.

use crate::common::cli::{self, Common, Size, check_memory, value_name};
use crate::common::file_error;
use crate::common::regions::Set;
use crate::common::train::Settings;
use crate::data::Data;
use candle_prob::Result;
use candle_prob::dynamics::{Force, Scheme, Start};
use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};

/// Points or images of a step of Adam, and its highest rate, if nothing else is asked for.
const BATCH: usize = 100;
const RATE: f64 = 1e-2;

/// Networks that are stable by construction (Haber and Ruthotto, 2017), trained level by level
///
/// Each level has more layers than the one before and starts from its weights. Prints the validation accuracy of each
/// level, of its best iterate or of Adam's last one, and the one before its first iteration; draws the features before and after propagation and what is predicted. Writes
/// metrics.json, figures and a checkpoint for each level.
#[derive(Debug, Clone, Parser)]
#[command(name = "stable_nets")]
#[command(mut_arg("epochs", |arg| arg.help(
    "Iterations of each level, for Adam passes over the training data [default: of points 50, of images 20, with --quick 2]"
)))]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// What is looked at
    #[arg(long, value_enum, default_value_t = Problem::Peaks)]
    pub problem: Problem,
    /// Networks, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "verlet")]
    net: Vec<Net>,
    /// Layers of each level, separated by commas: each a power of two times the one before [default: of points
    /// 4,8,16,32,64, of images 4,8,16, with --quick 4,8]
    #[arg(long, value_delimiter = ',', value_parser = cli::count)]
    levels: Vec<usize>,
    /// What trains
    #[arg(long, value_enum, default_value_t = Solver::GaussNewton)]
    pub solver: Solver,
    /// Samples of Adam's steps
    #[arg(long, default_value_t = BATCH, value_parser = cli::count)]
    pub batch: usize,
    /// Adam's learning rate at the start of each level
    #[arg(long, default_value_t = RATE, value_parser = cli::positive)]
    pub lr: f64,
    /// A folder of IDX files for the problem mnist; without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Images that train at most, the others validate up to a fifth of them [default: 50000, with --quick 400]
    #[arg(long, value_parser = cli::count)]
    images: Option<usize>,
    /// Samples of the products with the Hessian at most [default: of points all, of images 5000]
    #[arg(long, value_parser = cli::count)]
    hessian: Option<usize>,
    /// Pause each network after that many iterations of its first level that has more left, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = cli::count)]
    pub pause_after: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Problem {
    /// Paths of features in layers that are all the same; nothing is trained
    PhasePlanes,
    /// An ellipse in a ring around it
    Ellipses,
    /// Two spirals
    SwissRoll,
    /// Five bands of values of a function
    Peaks,
    /// Images of digits
    Mnist,
}

/// The networks of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Net {
    /// Forward Euler, free kernels (2.1)
    Resnet,
    /// Forward Euler, antisymmetric kernels with a little diffusion (4.12)
    Antisymmetric,
    /// Leapfrog, kernels -C^T C (4.14), (4.16)
    Leapfrog,
    /// Verlet, free kernels (4.17)
    Verlet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Solver {
    /// Newton for the classifier and Gauss-Newton for the network, in turn
    GaussNewton,
    /// Adam for both
    Adam,
}

/// How points or images become features of the network's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lift {
    Zeros,
    Repeat,
}

/// What the paper says of a problem and a network.
#[derive(Debug, Clone)]
pub struct Plan {
    pub net: Net,
    /// Features, or channels of images.
    pub width: usize,
    /// Convolutions of this size instead of dense kernels.
    pub size: Option<usize>,
    pub lift: Lift,
    pub time: f64,
    /// The weight of smoothness in time.
    pub alpha: f64,
    /// The weight of the classifier's smoothness in space.
    pub spatial: f64,
    /// Newton steps for the classifier, and conjugate gradient steps of each.
    pub newton: (usize, usize),
    pub levels: Vec<usize>,
    pub iterations: usize,
    /// Samples of the products with the Hessian at most.
    pub hessian: Option<usize>,
}

/// Diffusion of the antisymmetric network, of which the paper says that it is small.
const GAMMA: f64 = 1e-4;

impl Net {
    pub fn title(self) -> &'static str {
        match self {
            Net::Resnet => "ResNet",
            Net::Antisymmetric => "antisymmetric",
            Net::Leapfrog => "leapfrog",
            Net::Verlet => "Verlet",
        }
    }

    /// For files and metrics.
    pub fn name(self) -> String {
        value_name(self)
    }

    pub fn scheme(self) -> Scheme {
        match self {
            Net::Resnet => Scheme::Euler(Force::Single),
            Net::Antisymmetric => Scheme::Euler(Force::Antisymmetric { gamma: GAMMA }),
            Net::Leapfrog => Scheme::Leapfrog(Force::Definite, Start::Rest),
            Net::Verlet => Scheme::Verlet,
        }
    }
}

impl Problem {
    pub fn set(self) -> Option<Set> {
        match self {
            Problem::Ellipses => Some(Set::Ellipses),
            Problem::SwissRoll => Some(Set::SwissRoll),
            Problem::Peaks => Some(Set::Peaks),
            Problem::PhasePlanes | Problem::Mnist => None,
        }
    }
}

/// Numbers with commas between them.
pub fn join(numbers: &[usize]) -> String {
    let texts: Vec<String> = numbers.iter().map(usize::to_string).collect();
    texts.join(",")
}

impl Arguments {
    /// Each network once.
    pub fn nets(&self) -> Vec<Net> {
        let mut nets = self.net.clone();
        nets.sort();
        nets.dedup();
        nets
    }

    pub fn folder(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// Images that train at most.
    pub fn images(&self) -> usize {
        self.images
            .unwrap_or(if self.common.quick { 400 } else { 50_000 })
    }

    pub fn plan(&self, net: Net) -> Plan {
        let images = self.problem == Problem::Mnist;
        let narrow = net == Net::Verlet;
        let (width, lift, time, alpha) = match self.problem {
            Problem::PhasePlanes | Problem::Ellipses => (2, Lift::Zeros, 20., 1e-3),
            Problem::SwissRoll => (if narrow { 2 } else { 4 }, Lift::Zeros, 20., 5e-3),
            Problem::Peaks => (if narrow { 2 } else { 8 }, Lift::Repeat, 5., 5e-6),
            Problem::Mnist => (6, Lift::Repeat, 6., 5e-3),
        };
        let whole: &[usize] = if images {
            &[4, 8, 16]
        } else {
            &[4, 8, 16, 32, 64]
        };
        let own = if self.common.quick { &[4, 8] } else { whole };
        let asked = &self.levels;
        Plan {
            net,
            width,
            size: images.then_some(3),
            lift,
            time,
            alpha,
            spatial: if images { 0.01 } else { 0. },
            newton: if images { (5, 10) } else { (2, 2) },
            levels: if asked.is_empty() {
                own.to_vec()
            } else {
                asked.clone()
            },
            iterations: self.common.epochs_or(if images { 20 } else { 50 }, 2),
            hessian: self.hessian.or(images.then_some(5000)),
        }
    }

    /// Refuses what does not go together.
    pub fn check(&self) -> Result<()> {
        if self.problem == Problem::PhasePlanes {
            let given = [
                ("--net", self.nets() != [Net::Verlet]),
                ("--levels", !self.levels.is_empty()),
                ("--solver", self.solver != Solver::GaussNewton),
                ("--seed", self.common.seed != 0),
                ("--epochs", self.common.epochs.is_some()),
                ("--resume", self.common.resume),
                ("--pause-after", self.pause_after.is_some()),
                ("--data", self.data.is_some()),
                ("--images", self.images.is_some()),
                ("--hessian", self.hessian.is_some()),
                ("--batch", self.batch != BATCH),
                ("--lr", self.lr != RATE),
            ];
            if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
                let expected = "a problem that is trained: nothing is of phase-planes";
                return Err(file_error(Path::new(flag), expected, "phase-planes"));
            }
        }
        let levels = &self.plan(Net::Verlet).levels;
        for pair in levels.windows(2) {
            let ratio = pair[1] / pair[0];
            if pair[1] % pair[0] != 0 || !ratio.is_power_of_two() || ratio == 1 {
                let expected = format!("{} times 2, 4, ... after {}", pair[0], pair[0]);
                return Err(file_error(Path::new("--levels"), expected, pair[1]));
            }
        }
        Ok(())
    }

    /// Refuses what does not fit the memory.
    pub fn check_memory(&self, data: &Data) -> Result<()> {
        let plans = self.nets().into_iter().map(|net| self.plan(net));
        let most = plans.flat_map(|plan| plan.levels).max();
        let levels = Size("--levels", most.unwrap_or(1), 1024);
        let pixels = data.train.inputs().elem_count() / data.train.len();
        // Of each layer: weights of 8 x 8 or 6 x 6 x 3 x 3, their gradient, directions and what conjugate gradients keep.
        check_memory(4. * 16. * 400., &[levels])?;
        // Of each sample: the states, gradients and tangents of a pass; checkpoints are few.
        let pass = 4. * 32. * (8 * pixels) as f64;
        check_memory(
            pass,
            &[Size("--batch", self.batch.min(data.train.len()), 100)],
        )
    }

    /// Everything that decides the results.
    pub fn settings(&self, data: &Data) -> Settings {
        let plan = self.plan(Net::Verlet);
        let nets: Vec<String> = self.nets().into_iter().map(Net::name).collect();
        let mut settings = Settings::from([
            ("problem", value_name(self.problem)),
            ("net", nets.join(",")),
            ("levels", join(&plan.levels)),
            ("solver", value_name(self.solver)),
            ("iterations", plan.iterations.to_string()),
            ("samples", data.train.len().to_string()),
            ("data", data.id.clone()),
            ("seed", self.common.seed.to_string()),
        ]);
        if self.solver == Solver::Adam {
            settings.insert("batch", self.batch.to_string());
            settings.insert("lr", format!("{:?}", self.lr));
        } else if let Some(most) = plan.hessian {
            settings.insert("hessian", most.to_string());
        }
        settings
    }
}
