//! Gamma and its relatives.

use super::family;
use candle_prob::Result;
use candle_prob::distribution::{
    Beta, Chi2, Dirichlet, Gamma, InverseGamma, Kumaraswamy, Pareto, StudentT, Weibull,
};

#[test]
fn gamma() -> Result<()> {
    let family = family("Gamma", |p| {
        Gamma::new(p.get("concentration"), p.get("rate"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn chi2() -> Result<()> {
    let family = family("Chi2", |p| Chi2::new(p.get("df")));
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn inverse_gamma() -> Result<()> {
    let family = family("InverseGamma", |p| {
        InverseGamma::new(p.get("concentration"), p.get("rate"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn weibull() -> Result<()> {
    let family = family("Weibull", |p| {
        Weibull::new(p.get("scale"), p.get("concentration"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn pareto() -> Result<()> {
    let family = family("Pareto", |p| Pareto::new(p.get("scale"), p.get("alpha")));
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn beta() -> Result<()> {
    let family = family("Beta", |p| {
        Beta::new(p.get("concentration1"), p.get("concentration0"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn kumaraswamy() -> Result<()> {
    let family = family("Kumaraswamy", |p| {
        Kumaraswamy::new(p.get("concentration1"), p.get("concentration0"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn student_t() -> Result<()> {
    let family = family("StudentT", |p| {
        StudentT::new(p.get("df"), p.get("loc"), p.get("scale"))
    });
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}

#[test]
fn dirichlet() -> Result<()> {
    let family = family("Dirichlet", |p| Dirichlet::new(p.get("concentration")));
    family.mode()
}
