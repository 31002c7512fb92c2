//! The losses of both players, and what keeps a critic in bounds.

use candle_prob::divergence::{
    FDivergence, Jeffreys, JensenShannon, KullbackLeibler, Neyman, Pearson, ReverseKl,
    SquaredHellinger, TotalVariation,
};
use candle_prob::objective::{
    AdversarialLoss, FGan, FGanGenerator, Hinge, LeastSquares, NonSaturating, Relativistic,
    RelativisticAverage, Saturating, Wasserstein,
};

/// A loss and what its critic is held by, `wasserstein-sn` on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub kind: Kind,
    pub bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Minimax,
    NonSaturating,
    LeastSquares,
    Hinge,
    Wasserstein,
    Relativistic,
    RelativisticAverage,
    FGan(Divergence),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    Kl,
    ReverseKl,
    JensenShannon,
    Hellinger,
    Pearson,
    Neyman,
    TotalVariation,
    Jeffreys,
}

/// What holds the critic's slope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    None,
    /// Weights within a limit.
    Clip,
    /// Layers divided by their spectral norms.
    Spectral,
    /// Layers projected onto spectral norms of at most one, after each step.
    Project,
    /// A penalty on norms of gradients other than one, between data and samples.
    Penalty,
    /// A penalty on norms of gradients at data.
    R1,
}

const KINDS: [(&str, &str, Kind); 15] = [
    ("minimax", "Minimax", Kind::Minimax),
    ("non-saturating", "Non-saturating", Kind::NonSaturating),
    ("least-squares", "Least squares", Kind::LeastSquares),
    ("hinge", "Hinge", Kind::Hinge),
    ("wasserstein", "Wasserstein", Kind::Wasserstein),
    ("relativistic", "Relativistic", Kind::Relativistic),
    (
        "relativistic-average",
        "Relativistic avg",
        Kind::RelativisticAverage,
    ),
    ("f-gan:kl", "f-GAN KL", Kind::FGan(Divergence::Kl)),
    (
        "f-gan:reverse-kl",
        "f-GAN reverse KL",
        Kind::FGan(Divergence::ReverseKl),
    ),
    (
        "f-gan:js",
        "f-GAN JS",
        Kind::FGan(Divergence::JensenShannon),
    ),
    (
        "f-gan:hellinger",
        "f-GAN Hellinger",
        Kind::FGan(Divergence::Hellinger),
    ),
    (
        "f-gan:pearson",
        "f-GAN Pearson",
        Kind::FGan(Divergence::Pearson),
    ),
    (
        "f-gan:neyman",
        "f-GAN Neyman",
        Kind::FGan(Divergence::Neyman),
    ),
    (
        "f-gan:tv",
        "f-GAN TV",
        Kind::FGan(Divergence::TotalVariation),
    ),
    (
        "f-gan:jeffreys",
        "f-GAN Jeffreys",
        Kind::FGan(Divergence::Jeffreys),
    ),
];

const BOUNDS: [(&str, Bound); 6] = [
    ("", Bound::None),
    ("-clip", Bound::Clip),
    ("-sn", Bound::Spectral),
    ("-project", Bound::Project),
    ("-gp", Bound::Penalty),
    ("-r1", Bound::R1),
];

impl Loss {
    /// Every kind, the Wasserstein loss with each bound.
    pub fn all() -> Vec<Loss> {
        let bounds = |kind| match kind {
            Kind::Wasserstein => vec![Bound::Clip, Bound::Spectral, Bound::Project, Bound::Penalty],
            _ => vec![Bound::None],
        };
        let kinds = KINDS.iter().map(|(_, _, kind)| *kind);
        let all = kinds.flat_map(|kind| {
            bounds(kind)
                .into_iter()
                .map(move |bound| Loss { kind, bound })
        });
        all.collect()
    }

    /// As on the command line; `all` is a list.
    pub fn parse(text: &str) -> Result<Vec<Loss>, String> {
        if text == "all" {
            return Ok(Loss::all());
        }
        let pairs = KINDS
            .iter()
            .flat_map(|kind| BOUNDS.iter().map(move |bound| (kind, bound)));
        let mut found = pairs.filter(|(kind, bound)| text.strip_prefix(kind.0) == Some(bound.0));
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.0).collect();
        let Some((kind, bound)) = found.next() else {
            let names = names.join(", ");
            return Err(format!(
                "expected all or one of {names}, with -clip, -sn, -project, -gp or -r1 after it or not"
            ));
        };
        let loss = Loss {
            kind: kind.2,
            bound: bound.1,
        };
        match loss {
            Loss { kind: Kind::Wasserstein, bound: Bound::None | Bound::R1 } => {
                Err("expected wasserstein with -clip, -sn, -project or -gp: its critic has to be bounded".into())
            }
            loss => Ok(vec![loss]),
        }
    }

    fn names(self) -> (&'static str, &'static str, &'static str) {
        let kind = KINDS.iter().find(|kind| kind.2 == self.kind);
        let bound = BOUNDS.iter().find(|bound| bound.1 == self.bound);
        let (name, title) = kind.map_or(("", ""), |kind| (kind.0, kind.1));
        (name, title, bound.map_or("", |bound| bound.0))
    }

    /// For files and metrics.
    pub fn name(self) -> String {
        let (name, _, bound) = self.names();
        format!("{name}{bound}").replace(':', "-")
    }

    /// For people.
    pub fn title(self) -> String {
        let (_, title, bound) = self.names();
        format!("{title}{}", bound.replace('-', " "))
    }

    /// The title without the bound.
    pub fn kind_title(self) -> &'static str {
        self.names().1
    }

    /// Whether the generator's loss is about the data's scores too.
    pub fn reads_data(self) -> bool {
        matches!(self.kind, Kind::Relativistic | Kind::RelativisticAverage)
    }

    /// With this generator for f-divergences.
    pub fn build(self, generator: FGanGenerator) -> Box<dyn AdversarialLoss> {
        let f_gan = Game(generator);
        match self.kind {
            Kind::Minimax => Box::new(Saturating::default()),
            Kind::NonSaturating => Box::new(NonSaturating::default()),
            Kind::LeastSquares => Box::new(LeastSquares::default()),
            Kind::Hinge => Box::new(Hinge),
            Kind::Wasserstein => Box::new(Wasserstein),
            Kind::Relativistic => Box::new(Relativistic),
            Kind::RelativisticAverage => Box::new(RelativisticAverage),
            Kind::FGan(divergence) => match divergence {
                Divergence::Kl => f_gan.of(KullbackLeibler),
                Divergence::ReverseKl => f_gan.of(ReverseKl),
                Divergence::JensenShannon => f_gan.of(JensenShannon),
                Divergence::Hellinger => f_gan.of(SquaredHellinger),
                Divergence::Pearson => f_gan.of(Pearson),
                Divergence::Neyman => f_gan.of(Neyman),
                Divergence::TotalVariation => f_gan.of(TotalVariation),
                Divergence::Jeffreys => f_gan.of(Jeffreys),
            },
        }
    }
}

/// The game of an f-divergence.
struct Game(FGanGenerator);

impl Game {
    fn of<F: FDivergence + 'static>(&self, divergence: F) -> Box<dyn AdversarialLoss> {
        Box::new(FGan {
            generator: self.0,
            ..FGan::new(divergence)
        })
    }
}
