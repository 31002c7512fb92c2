//! Pairs whose mutual information is known.

use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::{Chi2, Distribution};
use candle_prob::special::{digamma, lgamma, log1p};
use candle_prob::{Result, Rng};
use clap::ValueEnum;
use std::f64::consts::PI;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// A normal pair of growing correlation
    Gaussian,
    /// 2 nats, evenly over more and more coordinates
    Dimension,
    /// A normal pair after x^3 and sinh y, which change no information
    Cubic,
    /// Student's t, which is dependent without a correlation, of growing degrees of freedom
    Student,
    /// Uniform, and the same with uniform noise
    Uniform,
}

/// The information of the sweep over dimensions.
const SPREAD_OUT: f64 = 2.;

impl Family {
    pub fn title(self) -> &'static str {
        match self {
            Family::Gaussian => "Gaussian",
            Family::Dimension => "dimension",
            Family::Cubic => "x^3, sinh y",
            Family::Student => "Student's t",
            Family::Uniform => "uniform",
        }
    }

    /// What the cases differ in.
    pub fn parameter(self) -> &'static str {
        match self {
            Family::Gaussian | Family::Cubic => "correlation",
            Family::Dimension => "coordinates of x and of y",
            Family::Student => "degrees of freedom",
            Family::Uniform => "half the width of the noise",
        }
    }

    fn values(self) -> &'static [f64] {
        match self {
            Family::Gaussian => &[0., 0.5, 0.9, 0.99, 0.9999],
            Family::Dimension => &[1., 2., 5., 10., 20.],
            Family::Cubic => &[0.5, 0.9, 0.99],
            Family::Student => &[1., 2., 5.],
            Family::Uniform => &[1., 0.3, 0.1],
        }
    }
}

/// A member of a family.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub family: Family,
    pub value: f64,
    /// The mutual information in nats.
    pub truth: f64,
}

impl Case {
    /// Of the families asked for, or of all.
    pub fn of(asked: &[Family]) -> Result<Vec<Case>> {
        let all = Family::value_variants().iter().copied();
        let families = all.filter(|family| asked.is_empty() || asked.contains(family));
        let mut cases = vec![];
        for family in families {
            for &value in family.values() {
                let truth = truth(family, value)?;
                cases.push(Case {
                    family,
                    value,
                    truth,
                });
            }
        }
        Ok(cases)
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.family.title(), self.value)
    }

    pub fn dims(&self) -> usize {
        match self.family {
            Family::Dimension => self.value as usize,
            _ => 1,
        }
    }

    /// N pairs, x and y `[N, d]`.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Result<[Tensor; 2]> {
        let dims = (n, self.dims());
        let mut normal = || rng.normal(dims, DType::F64, &Device::Cpu);
        let rho = match self.family {
            // Each coordinate has its share.
            Family::Dimension => (1. - (-2. * SPREAD_OUT / self.value).exp()).sqrt(),
            Family::Student => 0.,
            _ => self.value,
        };
        let (x, noise) = (normal()?, normal()?);
        let y = ((&x * rho)? + (noise * (1. - rho * rho).max(0.).sqrt())?)?;
        Ok(match self.family {
            Family::Gaussian | Family::Dimension => [x, y],
            Family::Cubic => {
                let sinh = ((y.exp()? - y.neg()?.exp()?)? / 2.)?;
                [x.powf(3.)?, sinh]
            }
            Family::Student => {
                let one = Tensor::new(self.value, &Device::Cpu)?;
                let chi2 = Chi2::new(&one)?.sample(&[n, 1], rng)?;
                let scale = (chi2 / self.value)?.sqrt()?;
                [(x / &scale)?, (y / &scale)?]
            }
            Family::Uniform => {
                let mut uniform = || rng.uniform((n, 1), DType::F64, &Device::Cpu);
                let (x, noise) = (uniform()?, uniform()?);
                let y = (&x + (noise.affine(2., -1.)? * self.value)?)?;
                [x, y]
            }
        })
    }

    /// What critics see of x or y, in single precision and of a scale near 1: of heavy tails sign(x) ln(1 + |x|). It changes no
    /// information.
    pub fn seen(&self, x: &Tensor) -> Result<Tensor> {
        let x = match self.family {
            Family::Cubic | Family::Student => (x.sign()? * log1p(&x.abs()?)?)?,
            Family::Uniform => x.affine(12f64.sqrt(), -3f64.sqrt())?,
            _ => x.clone(),
        };
        Ok(x.to_dtype(DType::F32)?)
    }
}

fn truth(family: Family, value: f64) -> Result<f64> {
    Ok(match family {
        Family::Gaussian | Family::Cubic => (1. / (1. - value * value)).ln() / 2.,
        Family::Dimension => SPREAD_OUT,
        Family::Student => 2. * student_entropy(value, 1.)? - student_entropy(value, 2.)?,
        // Of noise as wide as x and less; of wider.
        Family::Uniform if value <= 0.5 => value - (2. * value).ln(),
        Family::Uniform => 1. / (4. * value),
    })
}

/// The entropy of Student's t in d dimensions, of unit scale.
fn student_entropy(degrees: f64, d: f64) -> Result<f64> {
    let of = |f: fn(&Tensor) -> Result<Tensor>, x: f64| -> Result<f64> {
        Ok(f(&Tensor::new(x, &Device::Cpu)?)?.to_scalar()?)
    };
    let (half, all) = (degrees / 2., (degrees + d) / 2.);
    let normalizer = of(lgamma, half)? - of(lgamma, all)? + d / 2. * (degrees * PI).ln();
    Ok(normalizer + all * (of(digamma, all)? - of(digamma, half)?))
}
