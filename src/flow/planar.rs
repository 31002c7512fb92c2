//! Planar flows, with parameters of their own or from a context.

use super::conditioner::conditioner;
use crate::bijector::{Bijector, Planar, Sequence};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::reduce;
use crate::net::Mlp;
use crate::shape;
use candle_core::{D, Module, Tensor};
use candle_nn::{Init, VarBuilder};

/// What [`planar`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanarConfig {
    /// The width of the data.
    pub features: usize,
    /// The number of layers.
    pub layers: usize,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// The widths of the hidden layers from the context to the layers' parameters; with none these are linear in it.
    pub hidden: Vec<usize>,
    /// The activation of the hidden layers.
    pub activation: Activation,
}

impl Default for PlanarConfig {
    /// Ten layers in the plane, linear in their context where they have one.
    fn default() -> Self {
        PlanarConfig {
            features: 2,
            layers: 10,
            context: 0,
            hidden: vec![],
            activation: Activation::Relu,
        }
    }
}

/// A planar flow, for posteriors: layers that push along one direction each.
///
/// Formula: each layer is a [`Planar`] map with directions w and u and a shift b. Without a context these are variables. With one,
/// a network adds to w and gives u and b: a posterior's encoder says how each example is pushed.
///
/// Cost: `transform`, from the base to draws, is a few products with vectors; `inverse` solves an equation for each vector and
/// layer. So draws with their log-densities are cheap
/// ([`sample_and_log_prob`](crate::distribution::Distribution::sample_and_log_prob)), which is all that a posterior needs.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context], to which the argument's leading dims
/// broadcast.
///
/// Variables: `w` [layers, features], which starts at N(0, 1); without a context `u` `[layers, features]` and `bias` `[layers]`, with
/// one a network under `net`. A fresh flow is the identity.
///
/// Errors: no features or layers, a hidden layer without units, and what `vb` refuses; later, arguments of another width,
/// dtype or device, a context where none is expected, none where one is, or one of another shape.
///
/// ```
/// use candle_core::{D, DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::flow::{PlanarConfig, planar};
/// use candle_prob::objective::{ElboConfig, MonteCarlo, elbo};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vb = init::seeded(&VarMap::new(), 1, DType::F32, &Device::Cpu);
/// let flow = planar(&PlanarConfig { features: 2, context: 3, ..Default::default() }, vb)?;
/// // What an encoder says of four examples: a normal distribution, and features for the flow.
/// let zero = Tensor::zeros((4, 2), DType::F32, &Device::Cpu)?;
/// let features = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?.transformed_by(flow.given(&features)?)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(D::Minus1)?, &Tensor::new(1f32, &Device::Cpu)?);
/// let (x, config) = (Tensor::zeros(4, DType::F32, &Device::Cpu)?, ElboConfig::default());
/// let parts = elbo(&posterior, &MonteCarlo(&prior), &decoder, &x, &config, &mut Rng::new(0))?;
/// assert_eq!(parts.total.dims(), [4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Rezende and Mohamed (2015), Variational inference with normalizing flows, section 4.1 and algorithm 1.
pub fn planar(config: &PlanarConfig, vb: VarBuilder) -> Result<PlanarFlow> {
    let op = "flow::planar";
    let (features, layers) = (config.features, config.layers);
    let sizes = [("features", features), ("layers", layers)];
    check::at_least_one(op, &sizes)?;
    // Twice anything is even, and has a successor.
    let numbers = check::product(op, "features", &[2, features])? + 1;
    let outputs = check::product(op, "layers", &[layers, numbers])?;
    let (zero, normal) = (
        Init::Const(0.),
        Init::Randn {
            mean: 0.,
            stdev: 1.,
        },
    );
    let w = vb.get_with_hints((layers, features), "w", normal)?;
    let source = match config.context {
        0 => Source::Own {
            u: vb.get_with_hints((layers, features), "u", zero)?,
            bias: vb.get_with_hints(layers, "bias", zero)?,
        },
        context => {
            let widths = [&[context], &config.hidden[..]].concat();
            let net = conditioner(&widths, outputs, config.activation, vb.pp("net"))?;
            Source::Context { net, given: None }
        }
    };
    Ok(PlanarFlow {
        config: config.clone(),
        w,
        source,
    })
}

/// A flow of planar layers, as [`planar`] builds it.
#[derive(Debug, Clone)]
pub struct PlanarFlow {
    config: PlanarConfig,
    w: Tensor,
    source: Source,
}

/// Where the directions and shifts come from.
#[derive(Debug, Clone)]
enum Source {
    Own { u: Tensor, bias: Tensor },
    Context { net: Mlp, given: Option<Tensor> },
}

impl PlanarFlow {
    /// The settings.
    pub fn config(&self) -> &PlanarConfig {
        &self.config
    }

    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width, dtype or device.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        super::check_context("PlanarFlow::given", context, self.config.context, &self.w)?;
        let mut flow = self.clone();
        if let Source::Context { given, .. } = &mut flow.source {
            *given = Some(context.clone());
        }
        Ok(flow)
    }

    /// The layers, first to last: under a context with its batch.
    ///
    /// Errors: no context where one is expected; a w that has come to zero.
    pub fn layers(&self) -> Result<Sequence> {
        self.under("PlanarFlow::layers")
            .map(|layers| layers.into_iter().collect())
    }

    /// w and, of the same dims, what is added to the u of the identity, `batch ++ [layers, features]`; b, `batch ++ [layers]`.
    fn parameters(&self, op: &'static str) -> Result<[Tensor; 3]> {
        let (layers, features) = (self.config.layers, self.config.features);
        let (net, context) = match &self.source {
            Source::Own { u, bias } => return Ok([&self.w, u, bias].map(Tensor::clone)),
            Source::Context { net, given } => match given {
                Some(context) => (net, context),
                None => return Err(super::not_given(op, self.config.context)),
            },
        };
        let said = net.forward(context)?;
        let mut shape = said.dims().to_vec();
        shape.pop();
        shape.extend([layers, 2 * features + 1]);
        let said = said.reshape(shape)?;
        let last = said.rank() - 1;
        Ok([
            part(&said, last, 0, features)?.broadcast_add(&self.w)?,
            part(&said, last, features, features)?,
            part(&said, last, 2 * features, 1)?.squeeze(last)?,
        ])
    }

    fn under(&self, op: &'static str) -> Result<Vec<Planar>> {
        let [w, u, bias] = self.parameters(op)?;
        // With w u' = ln(e - 1) along w nothing is pushed: softplus of it is 1.
        let still = (std::f64::consts::E - 1.).ln();
        let square = reduce::sum(&w.sqr()?)?.unsqueeze(D::Minus1)?;
        let u = (u + (w.broadcast_div(&square)? * still)?)?;
        let (rows, last) = (w.rank() - 2, bias.rank() - 1);
        (0..self.config.layers)
            .map(|i| {
                let row = |x: &Tensor, dim: usize| -> Result<Tensor> {
                    Ok(part(x, dim, i, 1)?.squeeze(dim)?)
                };
                Planar::new(&row(&w, rows)?, &row(&u, rows)?, &row(&bias, last)?)
            })
            .collect()
    }

    /// Refuses an argument of another width, or that the context does not broadcast to.
    fn check(&self, [op, arg]: [&'static str; 2], x: &Tensor) -> Result<()> {
        let batch = super::batch_of([op, arg], x, self.config.features, &self.w)?;
        match &self.source {
            Source::Context {
                given: Some(context),
                ..
            } => {
                let full = [batch, &[self.config.context]].concat();
                shape::broadcast_to(op, "context", context.dims(), &full)
            }
            _ => Ok(()),
        }
    }
}

/// Slices of a dim; of nothing the first ones, as candle reads beyond the end of others.
fn part(x: &Tensor, dim: usize, start: usize, length: usize) -> Result<Tensor> {
    let start = if x.elem_count() == 0 { 0 } else { start };
    Ok(x.narrow(dim, start, length)?)
}

impl Bijector for PlanarFlow {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "PlanarFlow::transform";
        self.check([op, "x"], x)?;
        let layers: Sequence = self.under(op)?.into_iter().collect();
        layers.transform_and_log_det(x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "PlanarFlow::inverse";
        self.check([op, "y"], y)?;
        let layers: Sequence = self.under(op)?.into_iter().collect();
        layers.inverse_and_log_det(y)
    }
}

impl Detach for PlanarFlow {
    fn detach(&self) -> Self {
        PlanarFlow {
            w: self.w.detach(),
            source: self.source.detach(),
            ..self.clone()
        }
    }
}

impl Detach for Source {
    fn detach(&self) -> Self {
        match self {
            Source::Own { u, bias } => Source::Own {
                u: u.detach(),
                bias: bias.detach(),
            },
            Source::Context { net, given } => Source::Context {
                net: net.detach(),
                given: given.detach(),
            },
        }
    }
}
