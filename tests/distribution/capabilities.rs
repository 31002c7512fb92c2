//! The table family x capability in the docs of `distribution` is what the compiler says: each cell is asked of the
//! traits, and the whole is compared with the text. The pairs in the docs of `Kl` are those of the sources.

use crate::support::families::every;
use candle_core::DType;
use candle_prob::Result;
use candle_prob::bijector::Exp;
use candle_prob::distribution::*;
use std::collections::BTreeMap;
use std::fmt::Write;
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
                implements!($family, MixtureComponent),
            ],
        )),*]
    };
}

/// Rows of what is made from others.
const COMBINATORS: &[&str] = &[
    "Delta",
    "Expanded",
    "Masked",
    "MixtureSameFamily",
    "ReparameterizedMixture",
    "Transformed",
    "Truncated",
];

/// Public names of the room that are no families.
const OTHERS: &[&str] = &["Factorized", "MixtureComponent", "select_component"];

/// The columns of the docs, and whether it is a component of mixtures.
fn table() -> Vec<(&'static str, [bool; 7])> {
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
        "ReparameterizedMixture": ReparameterizedMixture<Normal>,
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
        let cells = cells.map(|has| if has { "yes" } else { "-" });
        let cells = cells[..6].join(" | ");
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

/// Implementations of `Kl` across families in a source file, and the way in their body, by left and right family.
fn pairs(source: &str) -> BTreeMap<(&str, &str), Option<&str>> {
    let mut pairs = BTreeMap::new();
    for block in source.split("\nimpl Kl<").skip(1) {
        let (head, body) = block.split_once(" {\n").unwrap();
        let (q, p) = head.split_once("> for ").unwrap();
        let body = body.split("\n}\n").next().unwrap();
        let call = body
            .lines()
            .find_map(|line| line.trim().strip_prefix("kl("));
        let way = call.and_then(|call| call.split(',').next());
        pairs.insert((p, q), way);
    }
    pairs
}

fn linked(family: &str) -> String {
    let (name, rest) = family.split_at(family.find('<').unwrap_or(family.len()));
    match rest {
        "" => format!("[`{name}`]"),
        _ => format!("[`{name}`]`{rest}`"),
    }
}

const GRID: [&str; 9] = [
    "Beta",
    "ContinuousBernoulli",
    "Exponential",
    "Gamma",
    "Gumbel",
    "Laplace",
    "Normal",
    "Pareto",
    "Uniform",
];

#[test]
fn the_pairs_in_the_docs_of_kl_are_those_of_the_sources() {
    let scalars = include_str!("../../src/distribution/kl/pairs.rs");
    let vectors = include_str!("../../src/distribution/kl/normals.rs");
    let mut pairs: BTreeMap<_, _> = pairs(scalars).into_iter().chain(pairs(vectors)).collect();
    let heads = GRID.map(linked).join(" | ");
    let mut want = format!("| KL(row, column) | {heads} |\n|{}\n", "---|".repeat(10));
    for p in GRID {
        let cells = GRID.map(|q| match pairs.remove(&(p, q)) {
            _ if p == q => "own",
            None => "-",
            Some(Some("Closed")) => "formula",
            Some(Some("Moments")) => "moments",
            Some(Some("Distance")) => "distance",
            Some(Some("Infinite")) => "infinite",
            Some(way) => panic!("{p} to {q} by {way:?}"),
        });
        writeln!(want, "| {} | {} |", linked(p), cells.join(" | ")).unwrap();
    }
    let mut rest: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (p, q) in pairs.into_keys() {
        rest.entry(p).or_default().push(linked(q));
    }
    want.push_str("\n| from | to |\n|---|---|\n");
    for (p, to) in rest {
        writeln!(want, "| {} | {} |", linked(p), to.join(", ")).unwrap();
    }
    let text = include_str!("../../src/distribution/kl/pairs.md");
    let got = &text[text.find("\n|").unwrap() + 1..];
    assert!(
        got == want,
        "src/distribution/kl/pairs.md should be\n{want}"
    );
}

#[test]
fn divergences_across_families_stand_in_one_folder() {
    for file in std::fs::read_dir("src/distribution").unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let source = std::fs::read_to_string(&path).unwrap();
            let pairs = pairs(&source);
            let across: Vec<_> = pairs.keys().filter(|(p, q)| p != q).collect();
            assert!(across.is_empty(), "{path:?}: {across:?}");
        }
    }
}

/// Whether a type has a constructor `new_unchecked`, by the sources.
fn has_unchecked(sources: &[String], family: &str) -> bool {
    let head = format!("\nimpl {family} {{\n");
    let blocks = sources
        .iter()
        .flat_map(|source| source.split(&head).skip(1));
    let mut blocks = blocks.filter_map(|block| block.split("\n}\n").next());
    blocks.any(|block| block.contains("    pub fn new_unchecked("))
}

/// Tests over all families ask of each what its row in their table names.
#[test]
fn the_table_of_the_tests_says_the_same() -> Result<()> {
    let docs = table();
    let files = std::fs::read_dir("src/distribution").unwrap();
    let files = files.map(|file| file.unwrap().path());
    let sources = files.filter(|path| path.is_file());
    let sources: Vec<String> = sources
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for row in every() {
        let d = row.example()?;
        let got = [
            d.pathwise,
            d.moments.is_some(),
            d.mode.is_some(),
            d.entropy.is_some(),
            d.tails.is_some(),
            d.divergence.is_some(),
            d.component.is_some(),
        ];
        // Soft bits have the type of bits, and no more than a density.
        if row.name == "Bernoulli::soft" {
            assert_eq!(got, [false, false, false, false, false, false, true]);
            continue;
        }
        let (family, new) = row.names();
        let want = docs.iter().find(|(name, _)| *name == family);
        assert_eq!(want, Some(&(family, got)));
        let unchecked = row.unchecked(&row.ordinary(&[], DType::F64)?).is_some();
        let want = new == "new" && has_unchecked(&sources, family);
        assert_eq!(unchecked, want, "new_unchecked of {}", row.name);
    }
    let named = |name| every().iter().any(|row| row.name == name);
    for (name, _) in docs {
        assert!(
            COMBINATORS.contains(&name) || named(name),
            "{name} has no row"
        );
    }
    Ok(())
}
