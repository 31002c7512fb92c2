//! A prior that is a mixture of normal distributions, and learns.

use super::head::soft_clamp;
use crate::check;
use crate::detach::Detach;
use crate::distribution::{Categorical, MixtureSameFamily, MultivariateNormalDiag};
use crate::error::Result;
use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

/// What [`MixturePrior`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct MixturePriorConfig {
    /// The number of components.
    pub components: usize,
    /// The width of the latents.
    pub dims: usize,
    /// Whether the weights are trained; else each is `1 / components`.
    pub weights: bool,
}

impl Default for MixturePriorConfig {
    /// Ten components in the plane, with weights that are trained.
    fn default() -> Self {
        MixturePriorConfig {
            components: 10,
            dims: 2,
            weights: true,
        }
    }
}

/// A mixture of K normal distributions with independent elements, all of it variables: a prior that goes where the latents are.
///
/// Formula: `p(z) = sum_k w_k N(z; loc_k, diag(e^(15 tanh(r_k / 15))))`, `w = softmax(logits)` or 1 / K.
///
/// Shapes: latents are [.., dims]. The variables are `loc` and `log_var` `[K, dims]` and, if trained, `logits` `[K]`.
///
/// A fresh one has means drawn from N(0, 1), variances 1 and equal weights. The rate of a posterior is that of
/// [`MonteCarlo`](crate::objective::MonteCarlo), as mixtures have no KL divergence in closed form. The same distribution fitted to
/// points by its [`log_prob`](crate::distribution::Distribution::log_prob) is a Gaussian mixture by maximum likelihood.
///
/// Errors: no components or dims, and what `vb` refuses.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{MixturePrior, MixturePriorConfig};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let prior = MixturePrior::new(&MixturePriorConfig { components: 5, ..Default::default() }, vb)?;
/// // Built anew for every step, from the variables as they are then.
/// let z = prior.distribution()?.sample(&[16], &mut Rng::new(0))?;
/// assert_eq!(prior.distribution()?.log_prob(&z)?.dims(), [16]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Tomczak and Welling (2018), VAE with a VampPrior, section 2.2, as the mixture it is compared with.
#[derive(Debug, Clone)]
pub struct MixturePrior {
    loc: Tensor,
    log_var: Tensor,
    logits: Tensor,
}

impl Detach for MixturePrior {
    fn detach(&self) -> Self {
        MixturePrior {
            loc: self.loc.detach(),
            log_var: self.log_var.detach(),
            logits: self.logits.detach(),
        }
    }
}

impl MixturePrior {
    /// From its sizes.
    pub fn new(config: &MixturePriorConfig, vb: VarBuilder) -> Result<Self> {
        let (components, dims) = (config.components, config.dims);
        let sizes = [("components", components), ("dims", dims)];
        check::at_least_one("MixturePrior::new", &sizes)?;
        let (shape, zero) = ((components, dims), Init::Const(0.));
        let normal = Init::Randn {
            mean: 0.,
            stdev: 1.,
        };
        Ok(MixturePrior {
            loc: vb.get_with_hints(shape, "loc", normal)?,
            log_var: vb.get_with_hints(shape, "log_var", zero)?,
            logits: match config.weights {
                true => vb.get_with_hints(components, "logits", zero)?,
                false => Tensor::zeros(components, vb.dtype(), vb.device())?,
            },
        })
    }

    /// The prior as the variables have it now.
    ///
    /// Errors: none but those of tensor operations.
    pub fn distribution(&self) -> Result<MixtureSameFamily<MultivariateNormalDiag>> {
        let log_var = soft_clamp(&self.log_var)?;
        let components = MultivariateNormalDiag::from_log_var_unchecked(&self.loc, &log_var)?;
        MixtureSameFamily::new(Categorical::new_unchecked(&self.logits)?, components)
    }
}
