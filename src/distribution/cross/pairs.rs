//! The pairs that have a divergence.

use super::*;

#[derive(Clone, Copy)]
struct GammaToGumbel;

impl Formula<4> for GammaToGumbel {
    const NAME: &'static str = "gamma-gumbel-kl";

    #[inline(always)]
    fn at<R: Real>(self, [a, rate, loc, scale]: [R; 4]) -> R {
        let p = Gamma::facts([a, rate]);
        // E[e^(-(x - loc) / scale)]
        let tilt = (loc / scale - a * (rate * scale).recip().ln_1p()).exp();
        p.information + scale.ln() + (p.mean - loc) / scale + tilt
    }
}

impl Kl<Gumbel> for Gamma {
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        let (p, q) = (&self.parameters, &other.parameters);
        p.check_other("Gamma::kl", q)?;
        let ([a, rate], [loc, scale]) = (p.given(), q.given());
        formula(GammaToGumbel, [a, rate, loc, scale])
    }
}

impl Kl<ContinuousBernoulli> for Beta {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Exponential> for Beta {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Gamma> for Beta {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Normal> for Beta {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Pareto> for Beta {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Uniform> for Beta {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Exponential> for ContinuousBernoulli {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Normal> for ContinuousBernoulli {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Pareto> for ContinuousBernoulli {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Uniform> for ContinuousBernoulli {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Beta> for Exponential {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Exponential {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

#[derive(Clone, Copy)]
struct ExponentialToGamma;

impl Formula<3> for ExponentialToGamma {
    const NAME: &'static str = "exponential-gamma-kl";

    #[inline(always)]
    fn at<R: Real>(self, [rate, a, to]: [R; 3]) -> R {
        gamma::Divergence.at([R::constant(1.), rate, a, to])
    }
}

impl Kl<Gamma> for Exponential {
    /// That of gamma distributions, this one's of concentration 1.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        let (p, q) = (&self.parameters, &other.parameters);
        p.check_other("Exponential::kl", q)?;
        let ([rate], [a, to]) = (p.given(), q.given());
        formula(ExponentialToGamma, [rate, a, to])
    }
}

impl Kl<Pareto> for Exponential {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

impl Kl<Beta> for Gamma {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Gamma {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

#[derive(Clone, Copy)]
struct GammaToExponential;

impl Formula<3> for GammaToExponential {
    const NAME: &'static str = "gamma-exponential-kl";

    #[inline(always)]
    fn at<R: Real>(self, [a, rate, to]: [R; 3]) -> R {
        gamma::Divergence.at([a, rate, R::constant(1.), to])
    }
}

impl Kl<Exponential> for Gamma {
    /// That of gamma distributions, the other's of concentration 1.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        let (p, q) = (&self.parameters, &other.parameters);
        p.check_other("Gamma::kl", q)?;
        let ([a, rate], [to]) = (p.given(), q.given());
        formula(GammaToExponential, [a, rate, to])
    }
}

impl Kl<Normal> for Gamma {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Pareto> for Gamma {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Uniform> for Gamma {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Beta> for Gumbel {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Gumbel {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<Gamma> for Gumbel {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<Pareto> for Gumbel {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<Beta> for Laplace {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Laplace {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<Gamma> for Laplace {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<Pareto> for Laplace {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<Beta> for Normal {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Normal {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<Gamma> for Normal {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<Pareto> for Normal {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<Beta> for Pareto {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Pareto {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Exponential> for Pareto {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Gamma> for Pareto {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Normal> for Pareto {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Uniform> for Pareto {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Beta> for Uniform {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Uniform {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

impl Kl<Gamma> for Uniform {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

impl Kl<Pareto> for Uniform {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}
