//! A prior that is a mixture of posteriors.

use crate::check;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Categorical, MixtureComponent, MixtureSameFamily};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

/// What [`VampPrior`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct VampPriorConfig {
    /// The number of pseudo-inputs.
    pub components: usize,
    /// The shape of one of the encoder's inputs.
    pub event: Vec<usize>,
    /// What leads from the variable to the pseudo-inputs: [`Activation::Sigmoid`] for data from 0 to 1,
    /// [`Activation::Identity`] for real numbers.
    pub activation: Activation,
}

impl Default for VampPriorConfig {
    /// 500 pseudo-inputs of 784 pixels from 0 to 1, as in the paper.
    fn default() -> Self {
        VampPriorConfig {
            components: 500,
            event: vec![784],
            activation: Activation::Sigmoid,
        }
    }
}

/// The variational mixture of posteriors: the mean of the encoder's posteriors at K learned pseudo-inputs u.
///
/// Formula: `p(z) = 1 / K sum_k q(z | u_k)`. The best prior is the mean of all posteriors, which as many components as there are
/// examples would be; this is a short form of it.
///
/// Shapes: pseudo-inputs are `[K] ++ event`; the encoder gives them posteriors of batch `[K]`, so the prior has no batch.
///
/// Gradients: to the pseudo-inputs and, through them and the posteriors, to the encoder: prior and posterior are trained together.
///
/// The variable `pseudo_inputs` starts at N(0, 1), before the activation. To start at examples x set it to them, or for the
/// sigmoid to `ln(x / (1 - x))`.
///
/// Errors: no components, an event without elements, and what `vb` refuses.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::{BernoulliLikelihood, NormalHead, ScaleForm, VampPrior, VampPriorConfig, mlp};
/// use candle_prob::objective::{ElboConfig, MonteCarlo, elbo};
/// use candle_prob::{Activation, Conditional, Rng, init};
/// # use candle_core::Module;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let encoder = NormalHead::new(6, 2, ScaleForm::LogVar, vb.pp("encoder"))?;
/// let network = mlp(&[2, 16, 6], Activation::Relu, vb.pp("decoder"))?;
/// let likelihood = BernoulliLikelihood::new(&[6])?;
/// let decoder = |z: &Tensor| likelihood.given(&network.forward(z)?);
/// let config = VampPriorConfig { components: 20, event: vec![6], ..Default::default() };
/// let vamp = VampPrior::new(&config, vb.pp("prior"))?;
///
/// let x = Tensor::ones((4, 6), DType::F32, &Device::Cpu)?;
/// let prior = vamp.given(&encoder)?;
/// let posterior = encoder.given(&x)?;
/// let config = ElboConfig::default();
/// let parts = elbo(&posterior, &MonteCarlo(&prior), &decoder, &x, &config, &mut Rng::new(0))?;
/// assert_eq!(parts.rate.dims(), [4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Tomczak and Welling (2018), VAE with a VampPrior, eq. 9.
#[derive(Debug, Clone)]
pub struct VampPrior {
    raw: Tensor,
    activation: Activation,
}

impl Detach for VampPrior {
    fn detach(&self) -> Self {
        VampPrior {
            raw: self.raw.detach(),
            ..self.clone()
        }
    }
}

impl VampPrior {
    /// From its sizes.
    pub fn new(config: &VampPriorConfig, vb: VarBuilder) -> Result<Self> {
        let op = "VampPrior::new";
        check::at_least_one(op, &[("components", config.components)])?;
        if config.event.contains(&0) {
            let expected = "dims of at least 1";
            return Err(Error::shape(op, "event", expected, &config.event));
        }
        let shape = [&[config.components], &config.event[..]].concat();
        let normal = Init::Randn {
            mean: 0.,
            stdev: 1.,
        };
        Ok(VampPrior {
            raw: vb.get_with_hints(shape, "pseudo_inputs", normal)?,
            activation: config.activation,
        })
    }

    /// The pseudo-inputs, `[K] ++ event`.
    ///
    /// Errors: none but those of tensor operations.
    pub fn pseudo_inputs(&self) -> Result<Tensor> {
        self.activation.forward(&self.raw)
    }

    /// The prior under this encoder, as both are now.
    ///
    /// Errors: what the encoder refuses; posteriors of another batch than `[K]`.
    pub fn given<C>(&self, encoder: &C) -> Result<MixtureSameFamily<C::Output>>
    where
        C: Conditional<Output: MixtureComponent>,
    {
        let components = encoder.given(&self.pseudo_inputs()?)?;
        let logits = Tensor::zeros(self.raw.dim(0)?, self.raw.dtype(), self.raw.device())?;
        MixtureSameFamily::new(Categorical::new_unchecked(&logits)?, components)
            .map_err(|e| e.of("VampPrior::given"))
    }
}
