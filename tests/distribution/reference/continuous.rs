//! Families on the line.

use super::family;
use candle_prob::Result;
use candle_prob::distribution::Laplace;

#[test]
fn laplace() -> Result<()> {
    let family = family("Laplace", |p| Laplace::new(p.get("loc"), p.get("scale")));
    family.density()?;
    family.cdf()?;
    family.moments()?;
    family.mode()?;
    family.entropy()
}
