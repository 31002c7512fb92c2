//! Variances whose formulas cancel, against mpmath at 60 digits.

use candle_core::{Device, Tensor};
use candle_prob::Result;
use candle_prob::distribution::{Kumaraswamy, Moments, Weibull};

fn close(what: String, got: &Tensor, want: f64, tolerance: f64) -> Result<()> {
    let got = got.to_scalar::<f64>()?;
    assert!(
        (got / want - 1.).abs() < tolerance,
        "{what}: {got} is not {want}"
    );
    Ok(())
}

#[test]
fn variances_of_large_concentrations() -> Result<()> {
    let number = |x: f64| Tensor::new(x, &Device::Cpu);
    for (k, want) in [
        (1e8, 1.644934023817e-16),
        (1e3, 1.640642681484e-6),
        (60., 4.378757435936e-4),
        (40., 9.651799712423e-4),
    ] {
        let variance = Weibull::new(&number(1.)?, &number(k)?)?.variance()?;
        close(format!("Weibull {k}"), &variance, want, 1e-11)?;
    }
    for (a, b, want, tolerance) in [
        (3., 2., 3.673469387755e-2, 1e-13),
        (1e8, 2., 1.249999940000e-16, 1e-6),
        (1e8, 1e8, 1.644933407801e-16, 1e-6),
        (1e4, 1e-6, 2.403461311006e-14, 1e-3),
    ] {
        let variance = Kumaraswamy::new(&number(a)?, &number(b)?)?.variance()?;
        close(format!("Kumaraswamy {a} {b}"), &variance, want, tolerance)?;
    }
    Ok(())
}
