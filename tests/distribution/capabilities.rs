//! The table family x capability in the docs of `distribution` is what the compiler says: each cell is asked of the
//! traits, and the whole is compared with the text.

use candle_prob::bijector::Exp;
use candle_prob::distribution::*;
use std::marker::PhantomData;

/// Whether a type implements a trait. A method of the value is found before one of a reference to it.
macro_rules! implements {
    ($family:ty, $capability:path) => {{
        // One of the two is asked.
        #[allow(dead_code)]
        trait Otherwise {
            fn answer(&self) -> bool {
                false
            }
        }
        impl<T> Otherwise for &PhantomData<T> {}
        #[allow(dead_code)]
        trait Has {
            fn answer(&self) -> bool {
                true
            }
        }
        impl<T: $capability> Has for PhantomData<T> {}
        (&PhantomData::<$family>).answer()
    }};
}

macro_rules! rows {
    ($($name:literal: $family:ty,)*) => {
        vec![$((
            $name,
            [
                implements!($family, Reparameterized),
                implements!($family, Moments),
                implements!($family, Mode),
                implements!($family, Entropy),
                implements!($family, Cdf),
                implements!($family, Kl),
            ],
        )),*]
    };
}

/// Public names of the room that are no families.
const OTHERS: &[&str] = &["MixtureComponent", "select_component"];

fn table() -> Vec<(&'static str, [bool; 6])> {
    rows! {
        "Bernoulli": Bernoulli,
        "Beta": Beta,
        "Binomial": Binomial,
        "Categorical": Categorical,
        "Cauchy": Cauchy,
        "Chi2": Chi2,
        "ContinuousBernoulli": ContinuousBernoulli,
        "Delta": Delta,
        "Dirichlet": Dirichlet,
        "DiscretizedLogistic": DiscretizedLogistic,
        "Expanded": Expanded<Normal>,
        "Exponential": Exponential,
        "Gamma": Gamma,
        "Geometric": Geometric,
        "Gumbel": Gumbel,
        "HalfCauchy": HalfCauchy,
        "HalfNormal": HalfNormal,
        "Independent": Independent<Normal>,
        "InverseGamma": InverseGamma,
        "Kumaraswamy": Kumaraswamy,
        "Laplace": Laplace,
        "LogNormal": LogNormal,
        "Logistic": Logistic,
        "LogisticNormal": LogisticNormal,
        "LowRankMultivariateNormal": LowRankMultivariateNormal,
        "Masked": Masked<Normal>,
        "MixtureSameFamily": MixtureSameFamily<Normal>,
        "Multinomial": Multinomial,
        "MultivariateNormal": MultivariateNormal,
        "MultivariateNormalDiag": MultivariateNormalDiag,
        "NegativeBinomial": NegativeBinomial,
        "Normal": Normal,
        "OneHotCategorical": OneHotCategorical,
        "OneHotCategoricalStraightThrough": OneHotCategoricalStraightThrough,
        "Pareto": Pareto,
        "Poisson": Poisson,
        "RelaxedBernoulli": RelaxedBernoulli,
        "RelaxedOneHotCategorical": RelaxedOneHotCategorical,
        "StudentT": StudentT,
        "Transformed": Transformed<Normal, Exp>,
        "Truncated": Truncated<Normal>,
        "TruncatedNormal": TruncatedNormal,
        "Uniform": Uniform,
        "VonMises": VonMises,
        "Weibull": Weibull,
    }
}

const SOURCE: &str = include_str!("../../src/distribution/mod.rs");

#[test]
fn the_table_in_the_docs_is_what_the_compiler_says() {
    let mut want = vec![
        "| family | pathwise | moments | mode | entropy | cdf | KL to its own |".to_string(),
        "|---|---|---|---|---|---|---|".to_string(),
    ];
    for (name, cells) in table() {
        let cells = cells.map(|has| if has { "yes" } else { "-" }).join(" | ");
        want.push(format!("| [`{name}`] | {cells} |"));
    }
    let got: Vec<&str> = SOURCE
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .filter(|line| line.starts_with('|'))
        .collect();
    let text: String = want.iter().map(|line| format!("//! {line}\n")).collect();
    assert!(
        got == want,
        "the table in src/distribution/mod.rs should be\n{text}"
    );
}

#[test]
fn every_public_family_has_a_row() {
    let table = table();
    for line in SOURCE
        .lines()
        .filter_map(|line| line.strip_prefix("pub use "))
    {
        let (_, names) = line.trim_end_matches(';').split_once("::").unwrap();
        for name in names.trim_matches(['{', '}']).split(", ") {
            let known = OTHERS.contains(&name) || table.iter().any(|(row, _)| *row == name);
            assert!(known, "{name} has no row");
        }
    }
}
