//! The methods: a line in each function.

use candle_prob::select::{
    Ahiht, Esfs, Hiht, HihtConfig, Mrmr, ReliefF, Rfs, Rlsr, Rpmfs, Selector,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The l2,0 norm, by AHIHT
    L20,
    /// The l2,0 norm, by HIHT
    Hiht,
    /// Differences between near samples
    Relieff,
    /// Mutual information, less that with features already taken
    Mrmr,
    /// The l2,1 norm of residuals and of weights
    Rfs,
    /// Rescaled linear regression
    Rlsr,
    /// The l2,1 norm of residuals with so many features
    Rpmfs,
    /// Least squares with so many features
    Esfs,
    All,
}

/// The paper's grids.
const L20_LAMBDAS: &[f64] = &[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.];
const L21_LAMBDAS: &[f64] = &[1e-5, 1e-3, 1e-1, 1e1, 1e3, 1e5];

impl Method {
    /// All methods but `All`.
    const EACH: [Method; 8] = [
        Method::L20,
        Method::Hiht,
        Method::Relieff,
        Method::Mrmr,
        Method::Rfs,
        Method::Rlsr,
        Method::Rpmfs,
        Method::Esfs,
    ];

    pub fn each(self) -> Vec<Method> {
        match self {
            Method::All => Self::EACH.to_vec(),
            one => vec![one],
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Method::L20 => "l2,0 AHIHT",
            Method::Hiht => "l2,0 HIHT",
            Method::Relieff => "ReliefF",
            Method::Mrmr => "mRMR",
            Method::Rfs => "RFS",
            Method::Rlsr => "RLSR",
            Method::Rpmfs => "RPMFS",
            Method::Esfs => "ESFS",
            Method::All => "all",
        }
    }

    /// The weights of regularization to try; a method without one has none.
    pub fn lambdas(self) -> Vec<Option<f64>> {
        let grid = match self {
            Method::L20 | Method::Hiht => L20_LAMBDAS,
            Method::Rfs | Method::Rlsr => L21_LAMBDAS,
            _ => &[],
        };
        match grid {
            [] => vec![None],
            grid => grid.iter().copied().map(Some).collect(),
        }
    }

    /// The one for a quick run.
    pub fn quick_lambda(self) -> Option<f64> {
        self.lambdas()[self.lambdas().len() / 3]
    }

    /// Whether a ranking is made for a number of features, and made again for another.
    pub fn counts(self) -> bool {
        matches!(self, Method::Rpmfs | Method::Esfs)
    }

    /// `features` are the most that are looked at.
    pub fn selector(self, lambda: Option<f64>, features: usize) -> Box<dyn Selector> {
        let lambda = lambda.unwrap_or(1.);
        match self {
            Method::L20 | Method::All => Box::new(Ahiht(path(lambda))),
            Method::Hiht => Box::new(Hiht(path(lambda))),
            Method::Relieff => Box::new(ReliefF::default()),
            Method::Mrmr => Box::new(Mrmr { k: features }),
            Method::Rfs => Box::new(Rfs {
                gamma: lambda,
                ..Rfs::default()
            }),
            Method::Rlsr => Box::new(Rlsr {
                gamma: lambda,
                ..Rlsr::default()
            }),
            Method::Rpmfs => Box::new(Rpmfs::new(features)),
            Method::Esfs => Box::new(Esfs::new(features)),
        }
    }
}

/// From where the first feature is found to this lambda.
pub fn path(lambda: f64) -> HihtConfig {
    HihtConfig {
        final_lambda: lambda,
        ..HihtConfig::default()
    }
}
