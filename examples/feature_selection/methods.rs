//! The methods: a line in each function.

use candle_prob::select::{Ahiht, Hiht, HihtConfig, Selector};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The l2,0 norm, by AHIHT
    L20,
    /// The l2,0 norm, by HIHT
    Hiht,
    All,
}

/// The paper's grids.
const L20_LAMBDAS: &[f64] = &[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.];

impl Method {
    /// All methods but `All`.
    const EACH: [Method; 2] = [Method::L20, Method::Hiht];

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
            Method::All => "all",
        }
    }

    /// The weights of regularization to try; a method without one has none.
    pub fn lambdas(self) -> Vec<Option<f64>> {
        let grid = match self {
            Method::L20 | Method::Hiht => L20_LAMBDAS,
            Method::All => &[],
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
        false
    }

    /// `features` matters to methods that count.
    pub fn selector(self, lambda: Option<f64>, _features: usize) -> Box<dyn Selector> {
        let lambda = lambda.unwrap_or(1.);
        match self {
            Method::L20 | Method::All => Box::new(Ahiht(path(lambda))),
            Method::Hiht => Box::new(Hiht(path(lambda))),
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
