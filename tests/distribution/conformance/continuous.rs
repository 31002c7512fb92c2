//! Families on the line.

use super::{positive, real, row};
use candle_core::Tensor;
use candle_prob::Result;
use candle_prob::distribution::Laplace;

#[test]
fn laplace() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Laplace::new(&p[0], &p[1]),
        [real(&[2, 3], 0), positive(&[1, 3], 1)],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&Laplace::new(&real(&[3], 2), &positive(&[3], 3))?)
}
