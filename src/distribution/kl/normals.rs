//! Normal distributions of vectors in their several forms.

use crate::distribution::*;

impl Kl<MultivariateNormalDiag> for MultivariateNormal {
    fn kl(&self, other: &MultivariateNormalDiag) -> Result<Tensor> {
        covariance::kl("MultivariateNormal::kl", self, other)
    }
}

impl Kl<MultivariateNormal> for MultivariateNormalDiag {
    fn kl(&self, other: &MultivariateNormal) -> Result<Tensor> {
        covariance::kl("MultivariateNormalDiag::kl", self, other)
    }
}

impl Kl<MultivariateNormal> for LowRankMultivariateNormal {
    fn kl(&self, other: &MultivariateNormal) -> Result<Tensor> {
        covariance::kl("LowRankMultivariateNormal::kl", self, other)
    }
}

impl Kl<LowRankMultivariateNormal> for MultivariateNormal {
    fn kl(&self, other: &LowRankMultivariateNormal) -> Result<Tensor> {
        covariance::kl("MultivariateNormal::kl", self, other)
    }
}

impl Kl<MultivariateNormalDiag> for LowRankMultivariateNormal {
    fn kl(&self, other: &MultivariateNormalDiag) -> Result<Tensor> {
        covariance::kl("LowRankMultivariateNormal::kl", self, other)
    }
}

impl Kl<LowRankMultivariateNormal> for MultivariateNormalDiag {
    fn kl(&self, other: &LowRankMultivariateNormal) -> Result<Tensor> {
        covariance::kl("MultivariateNormalDiag::kl", self, other)
    }
}

impl Kl<MultivariateNormal> for Independent<Normal> {
    fn kl(&self, other: &MultivariateNormal) -> Result<Tensor> {
        let op = "Independent::kl";
        self.vectors(op, "self")?.kl(other).map_err(|e| e.of(op))
    }
}

impl Kl<Independent<Normal>> for MultivariateNormal {
    fn kl(&self, other: &Independent<Normal>) -> Result<Tensor> {
        self.kl(&other.vectors("MultivariateNormal::kl", "other")?)
    }
}

impl Kl<MultivariateNormalDiag> for Independent<Normal> {
    fn kl(&self, other: &MultivariateNormalDiag) -> Result<Tensor> {
        let op = "Independent::kl";
        self.vectors(op, "self")?.kl(other).map_err(|e| e.of(op))
    }
}

impl Kl<Independent<Normal>> for MultivariateNormalDiag {
    fn kl(&self, other: &Independent<Normal>) -> Result<Tensor> {
        self.kl(&other.vectors("MultivariateNormalDiag::kl", "other")?)
    }
}

impl Kl<LowRankMultivariateNormal> for Independent<Normal> {
    fn kl(&self, other: &LowRankMultivariateNormal) -> Result<Tensor> {
        let op = "Independent::kl";
        self.vectors(op, "self")?.kl(other).map_err(|e| e.of(op))
    }
}

impl Kl<Independent<Normal>> for LowRankMultivariateNormal {
    fn kl(&self, other: &Independent<Normal>) -> Result<Tensor> {
        self.kl(&other.vectors("LowRankMultivariateNormal::kl", "other")?)
    }
}
