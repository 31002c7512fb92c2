//! Flows on the line.

use super::conditioner::conditioner;
use crate::bijector::{Bijector, MixtureCdf};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::net::Mlp;
use candle_core::{D, Module, Tensor};
use candle_nn::{Init, VarBuilder};

/// What [`univariate`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct UnivariateConfig {
    /// The number of components.
    pub components: usize,
    /// Where the base distribution lives.
    pub latent: Latent,
    /// The widths of the hidden layers between a context and the components' parameters.
    pub hidden: Vec<usize>,
    /// The activation of the hidden layers.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
}

/// Where a flow on the line leads its data to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latent {
    /// (0, 1), for a base such as a uniform or beta distribution. Far from all components the result rounds to 0 or 1.
    UnitInterval,
    /// The line, for a base such as a standard normal distribution.
    Line,
}

impl Default for UnivariateConfig {
    /// Five components, a normal base.
    fn default() -> Self {
        UnivariateConfig {
            components: 5,
            latent: Latent::Line,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            context: 0,
        }
    }
}

/// A flow on the line by the distribution function of a mixture of normals, elementwise.
///
/// Formula: from data to latent, `z = F(x) = sum_k softmax(logits)_k Phi((x - loc_k) / e^log_scale_k)`, or `Phi^-1(F(x))`
/// to the line. With enough components any density is approached, whatever the base. With a context, a network of it is
/// added to `logits`, `loc` and `log_scale`.
///
/// Shapes: arguments of any shape, log-dets of the same; the context is `[.., context]` with the argument's dims before.
///
/// Gradients: to argument, context and all variables.
///
/// Errors: an argument of another dtype or device; a context where none is expected, none where one is, or one of another
/// shape; for draws, a base that leaves the unit interval where that is the latent space.
///
/// Cost: `inverse`, from data to latent, is a closed form; `transform` searches, tens of evaluations. The components
/// are initialized to standard normal places: the data should have about zero mean and unit spread.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Beta, Distribution};
/// use candle_prob::flow::{Latent, UnivariateConfig, univariate};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let config = UnivariateConfig { latent: Latent::UnitInterval, ..Default::default() };
/// let five = Tensor::new(5f32, &Device::Cpu)?;
/// let model = Beta::new(&five, &five)?.transformed_by(univariate(&config, vb)?)?;
/// let x = model.sample(&[100], &mut Rng::new(0))?;
/// assert_eq!(model.log_prob(&x)?.dims(), &[100]);
/// # Ok(())
/// # }
/// ```
///
/// Source: the inverse-cdf argument for the universality of flows on the line; as a layer, Ho et al. (2019), Flow++,
/// equations 9 to 11.
#[derive(Debug, Clone)]
pub struct Univariate {
    config: UnivariateConfig,
    logits: Tensor,
    loc: Tensor,
    log_scale: Tensor,
    net: Option<Mlp>,
    context: Option<Tensor>,
}

/// A flow on the line. Variables: `logits`, `loc` and `log_scale`, each \[components\], and with a context the network's
/// under `net`.
///
/// Errors: no component, and what `vb` refuses.
pub fn univariate(config: &UnivariateConfig, vb: VarBuilder) -> Result<Univariate> {
    let k = config.components;
    check::at_least_one("flow::univariate", &[("components", k)])?;
    let net = match config.context {
        0 => None,
        width => {
            let widths = [&[width], config.hidden.as_slice()].concat();
            Some(conditioner(
                &widths,
                3 * k,
                config.activation,
                vb.pp("net"),
            )?)
        }
    };
    let places = Init::Randn {
        mean: 0.,
        stdev: 1.,
    };
    Ok(Univariate {
        config: config.clone(),
        logits: vb.get_with_hints(k, "logits", Init::Const(0.))?,
        loc: vb.get_with_hints(k, "loc", places)?,
        log_scale: vb.get_with_hints(k, "log_scale", Init::Const(0.))?,
        net,
        context: None,
    })
}

impl Univariate {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        let width = self.config.context;
        super::check_context("Univariate::given", context, width, &self.loc)?;
        Ok(Univariate {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &UnivariateConfig {
        &self.config
    }

    /// From data to latent, for arguments of these dims.
    fn to_latent(&self, [op, arg]: [&'static str; 2], x: &Tensor) -> Result<MixtureCdf> {
        crate::shape::same_kind(op, arg, x, &self.loc)?;
        let (context, width) = (self.context.as_ref(), self.config.context);
        let context = super::context_for(op, context, width, x.dims())?;
        let own = [&self.logits, &self.loc, &self.log_scale];
        let cdf = match (&self.net, context) {
            (Some(net), Some(context)) => {
                let parts = net.forward(&context)?.chunk(3, D::Minus1)?;
                let given = |i: usize| own[i].broadcast_add(&parts[i]);
                MixtureCdf::gaussian(&given(0)?, &given(1)?, &given(2)?)?
            }
            _ => MixtureCdf::gaussian(own[0], own[1], own[2])?,
        };
        Ok(match self.config.latent {
            Latent::UnitInterval => cdf,
            Latent::Line => cdf.to_probit(),
        })
    }
}

impl Bijector for Univariate {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let cdf = self.to_latent(["Univariate::transform", "z"], z)?;
        cdf.inverse_and_log_det(z)
    }

    fn inverse_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let cdf = self.to_latent(["Univariate::inverse", "x"], x)?;
        cdf.transform_and_log_det(x)
    }
}

impl Detach for Univariate {
    fn detach(&self) -> Self {
        Univariate {
            logits: self.logits.detach(),
            loc: self.loc.detach(),
            log_scale: self.log_scale.detach(),
            net: self.net.detach(),
            context: self.context.detach(),
            ..self.clone()
        }
    }
}
