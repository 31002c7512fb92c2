//! A layer as it is, or with its spectral norm held.

use crate::detach::Detach;
use crate::error::Result;
use crate::net::spectral_norm::{
    SpectralConstraint, SpectralLayer, SpectralNorm, SpectralNormConfig, spectral_norm,
};
use candle_core::Tensor;
use candle_nn::VarBuilder;

#[derive(Debug, Clone)]
pub(super) enum Held<L> {
    Free(L),
    Spectral(SpectralNorm<L>),
}

impl<L: SpectralLayer> Held<L> {
    pub(super) fn new(
        layer: L,
        config: Option<&SpectralNormConfig>,
        vb: VarBuilder,
    ) -> Result<Self> {
        Ok(match config {
            None => Held::Free(layer),
            Some(config) => Held::Spectral(spectral_norm(layer, config, vb)?),
        })
    }

    /// With its weight as the optimizer has it.
    pub(super) fn layer(&self) -> &L {
        match self {
            Held::Free(layer) => layer,
            Held::Spectral(norm) => norm.layer(),
        }
    }

    /// As a pass uses it and, in training, what is to be [written](Self::write) when all of the pass has succeeded.
    pub(super) fn pass(&self, train: bool) -> Result<(L, Option<[Tensor; 2]>)> {
        match self {
            Held::Free(layer) => Ok((layer.clone(), None)),
            Held::Spectral(norm) => norm.pass(train),
        }
    }

    pub(super) fn write(&self, state: Option<[Tensor; 2]>) -> Result<()> {
        match (self, state) {
            (Held::Spectral(norm), Some(vectors)) => norm.write(vectors),
            _ => Ok(()),
        }
    }

    /// What it multiplies distances by at most, if something holds it.
    pub(super) fn lipschitz(&self) -> Option<f64> {
        match self {
            Held::Free(_) => None,
            Held::Spectral(norm) => Some(norm.lipschitz()),
        }
    }

    /// After a step of the optimizer, where the norm is held by a projection.
    pub(super) fn project(&self) -> Result<()> {
        match self {
            Held::Spectral(norm) if norm.config().constraint == SpectralConstraint::Project => {
                norm.project().map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

impl<L: SpectralLayer> Detach for Held<L> {
    fn detach(&self) -> Self {
        match self {
            Held::Free(layer) => Held::Free(layer.detach()),
            Held::Spectral(norm) => Held::Spectral(norm.detach()),
        }
    }
}
