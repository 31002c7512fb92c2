//! The divergences by name.

use super::Gaussian;
use candle_prob::Result;
use candle_prob::divergence::{
    Alpha, FDivergence, Gan, Jeffreys, JensenShannon, JensenShannonSum, KullbackLeibler, Neyman,
    Pearson, ReverseKl, SquaredHellinger, TotalVariation,
};
use clap::ValueEnum;

/// From what covers both parts of the mixture to what seeks one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Pearson,
    Alpha,
    Kl,
    Jeffreys,
    JensenShannon,
    JensenShannonSum,
    Gan,
    Hellinger,
    TotalVariation,
    ReverseKl,
    Neyman,
}

/// The order of `--divergence alpha`, between that of KL, 1, and that of Pearson, 2.
const ORDER: f64 = 1.5;

impl Kind {
    /// Those asked for, each once, or all.
    pub fn chosen(asked: &[Kind]) -> Vec<Kind> {
        let all = Kind::value_variants().iter().copied();
        all.filter(|kind| asked.is_empty() || asked.contains(kind))
            .collect()
    }

    /// For files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pearson => "pearson",
            Kind::Alpha => "alpha",
            Kind::Kl => "kl",
            Kind::Jeffreys => "jeffreys",
            Kind::JensenShannon => "jensen_shannon",
            Kind::JensenShannonSum => "jensen_shannon_sum",
            Kind::Gan => "gan",
            Kind::Hellinger => "hellinger",
            Kind::TotalVariation => "total_variation",
            Kind::ReverseKl => "reverse_kl",
            Kind::Neyman => "neyman",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Pearson => "Pearson",
            Kind::Alpha => "alpha 1.5",
            Kind::Kl => "KL",
            Kind::Jeffreys => "Jeffreys",
            Kind::JensenShannon => "JS",
            Kind::JensenShannonSum => "JS, sum",
            Kind::Gan => "GAN",
            Kind::Hellinger => "Hellinger",
            Kind::TotalVariation => "total variation",
            Kind::ReverseKl => "reverse KL",
            Kind::Neyman => "Neyman",
        }
    }

    /// The Gaussian from which both fits start: wide, or beside the heavier part for those that seek one. There are minima of
    /// both kinds, and Neyman's divergence is infinite from the square root of 2 times the parts' deviation on.
    pub fn start(self) -> Gaussian {
        let (mean, sd) = match self {
            Kind::TotalVariation | Kind::ReverseKl | Kind::Neyman => (-1.2, 1.),
            _ => (0., 2.),
        };
        Gaussian { mean, sd }
    }

    /// Weight of the squares of the critic's scores while both play. Total variation's tanh has no slope left at scores that
    /// its critic prefers, and what was told apart once would never be looked at again.
    pub fn drift(self) -> f64 {
        match self {
            Kind::TotalVariation => 0.02,
            _ => 0.,
        }
    }

    pub fn divergence(self) -> Result<Box<dyn FDivergence>> {
        Ok(match self {
            Kind::Pearson => Box::new(Pearson),
            Kind::Alpha => Box::new(Alpha::new(ORDER)?),
            Kind::Kl => Box::new(KullbackLeibler),
            Kind::Jeffreys => Box::new(Jeffreys),
            Kind::JensenShannon => Box::new(JensenShannon),
            Kind::JensenShannonSum => Box::new(JensenShannonSum),
            Kind::Gan => Box::new(Gan),
            Kind::Hellinger => Box::new(SquaredHellinger),
            Kind::TotalVariation => Box::new(TotalVariation),
            Kind::ReverseKl => Box::new(ReverseKl),
            Kind::Neyman => Box::new(Neyman),
        })
    }
}
