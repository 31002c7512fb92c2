//! What an estimator returns.

use crate::error::Result;
use std::f64::consts::LN_2;
use std::fmt;

/// Dimensions from which on nearest neighbours tell little.
const MANY_DIMS: usize = 10;

/// Nats below `psi(N) - psi(k)` from which on the estimate is short by more than 0.1.
const MARGIN: f64 = 2.;

/// An estimated entropy, information or divergence, and what it rests on.
///
/// What it is: [`nats`](Self::nats) is the raw value. That of an information may be negative where there is little of it;
/// [`clamped`](Self::clamped) is not, and biased.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The value, in nats.
    pub nats: f64,
    /// The neighbour whose distance counted.
    pub k: usize,
    /// How many samples it is made of.
    pub samples: usize,
    /// The dimensions of each space: of x and y, of x, y and z. A class counts as 0.
    pub dims: Vec<usize>,
    /// The share of the samples that are equal to another one in some space.
    pub ties: f64,
    /// The same estimate of shuffled samples, where the config asks for it.
    pub null: Option<Null>,
    /// Why not to trust it; empty where nothing was found.
    pub warnings: Vec<Warning>,
    /// What the true value lies between.
    pub(super) range: (f64, f64),
}

/// Estimates of samples that were shuffled so that the true value is 0, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Null {
    /// Their mean: the bias where there is nothing to be found.
    pub mean: f64,
    /// Their standard deviation, `n - 1` in its denominator.
    pub sd: f64,
    /// How many there were.
    pub shuffles: usize,
}

/// Why an estimate is unreliable.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// Neighbours are looked for in more than 10 dimensions, where all are about equally far: informations shrink
    /// towards 0 unless the samples lie near a surface of few dimensions.
    Dimensions(usize),
    /// The value is within 2 nats of the most that an estimate of so many samples without ties can be,
    /// `psi(N) - psi(k)`, which this is. An information of Gaussians in 1 + 1 dimensions that is 2 nats below it is
    /// estimated 0.1 too small (0.2 at k = 1), one that is half a nat below 0.5 at k = 3 and 0.9 at k = 1.
    Samples(f64),
    /// This share of the samples are equal to another one, which samples of a density never are.
    Ties(f64),
    /// So many samples are alone in their class, and left out.
    Alone(usize),
    /// So many classes have no more than k samples; a smaller k was taken for them.
    SmallClasses(usize),
    /// An information about classes above their entropy, which this is, in nats.
    AboveEntropy(f64),
}

impl Estimate {
    pub(super) fn new(nats: f64, k: usize, samples: usize, dims: Vec<usize>, ties: f64) -> Self {
        let mut warnings = vec![];
        let joint = dims.iter().sum();
        if joint > MANY_DIMS {
            warnings.push(Warning::Dimensions(joint));
        }
        Estimate {
            nats,
            k,
            samples,
            dims,
            ties,
            null: None,
            warnings,
            range: (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Of a quantity that is not negative.
    pub(super) fn not_negative(self) -> Self {
        self.between(0., f64::INFINITY)
    }

    /// Of a quantity between two values.
    pub(super) fn between(mut self, least: f64, most: f64) -> Self {
        self.range = (least, most);
        self
    }

    /// Of samples of a density.
    pub(super) fn continuous(mut self) -> Self {
        if self.ties > 0. {
            self.warnings.push(Warning::Ties(self.ties));
        }
        self
    }

    /// Which can be at most this.
    pub(super) fn at_most(mut self, most: f64) -> Self {
        if self.nats > most - MARGIN {
            self.warnings.push(Warning::Samples(most));
        }
        self
    }

    /// The value in bits.
    pub fn bits(&self) -> f64 {
        self.nats / LN_2
    }

    /// The value in nats, put back where the true one can be: at least 0 for informations and divergences, at most the
    /// entropy of the classes for an information about them. Its mean is not that of [`nats`](Self::nats).
    pub fn clamped(&self) -> f64 {
        self.nats.max(self.range.0).min(self.range.1)
    }
}

impl Null {
    /// Of as many values of shuffled samples; none of none.
    pub(super) fn shuffled(
        shuffles: usize,
        mut value: impl FnMut() -> Result<f64>,
    ) -> Result<Option<Self>> {
        let values: Vec<f64> = (0..shuffles).map(|_| value()).collect::<Result<_>>()?;
        Ok((shuffles > 0).then(|| Null::of(&values)))
    }

    fn of(values: &[f64]) -> Self {
        let shuffles = values.len();
        let mean = values.iter().sum::<f64>() / shuffles as f64;
        let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        Null {
            mean,
            sd: (squares / (shuffles - 1) as f64).sqrt(),
            shuffles,
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate {
            nats, k, samples, ..
        } = self;
        write!(f, "{nats:.4} nats (k = {k}, N = {samples}, d =")?;
        for (i, dims) in self.dims.iter().enumerate() {
            let plus = if i == 0 { "" } else { " +" };
            write!(f, "{plus} {dims}")?;
        }
        if let Some(null) = self.null {
            write!(f, "; shuffled {:.4} +- {:.4}", null.mean, null.sd)?;
        }
        write!(f, ")")?;
        self.warnings
            .iter()
            .try_for_each(|warning| write!(f, "; {warning}"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Dimensions(dims) => write!(f, "neighbours in {dims} dimensions tell little"),
            Warning::Samples(most) => write!(f, "so few samples show at most {most:.4} nats"),
            Warning::Ties(share) => write!(f, "{:.1}% of the samples are tied", 100. * share),
            Warning::Alone(n) => write!(f, "{n} samples alone in their class are left out"),
            Warning::SmallClasses(n) => write!(f, "a smaller k in {n} small classes"),
            Warning::AboveEntropy(nats) => {
                write!(f, "above the entropy of the classes, {nats:.4} nats")
            }
        }
    }
}
