//! Heads: a dense layer whose outputs are the logits of a discrete distribution.

use super::dense::{Dense, dense};
use crate::check;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Bernoulli, Categorical, Independent};
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use candle_core::Tensor;
use candle_nn::VarBuilder;

/// From features to independent labels or pixels of value 0 or 1.
///
/// Formula: `logits = features W^T + b`.
///
/// Shapes: features `[.., inputs]`; the distribution has batch `[..]` and event `[labels]`. `W` is `[labels, inputs]`.
///
/// Gradients: to the features and the layer.
///
/// Errors: no inputs or labels; later, features of another width.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::BernoulliHead;
/// use candle_prob::{Conditional, distribution::Distribution, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let head = BernoulliHead::new(64, 784, vb)?;
/// let pixels = head.given(&Tensor::zeros((16, 64), DType::F32, &Device::Cpu)?)?;
/// let image = Tensor::zeros((16, 784), DType::F32, &Device::Cpu)?;
/// assert_eq!(pixels.log_prob(&image)?.dims(), &[16]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BernoulliHead(Dense);

impl BernoulliHead {
    /// A head with the variables `weight` and `bias`, with the initializers of [`dense`](super::dense).
    pub fn new(inputs: usize, labels: usize, vb: VarBuilder) -> Result<Self> {
        logits("BernoulliHead::new", "labels", inputs, labels, vb).map(BernoulliHead)
    }

    /// The layer that computes the logits.
    pub fn layer(&self) -> &Dense {
        &self.0
    }
}

impl Conditional for BernoulliHead {
    type Output = Independent<Bernoulli>;

    fn given(&self, features: &Tensor) -> Result<Independent<Bernoulli>> {
        Independent::new(Bernoulli::new_unchecked(&self.0.apply(features)?)?, 1)
    }
}

impl Detach for BernoulliHead {
    fn detach(&self) -> Self {
        BernoulliHead(self.0.detach())
    }
}

/// From features to a distribution over classes.
///
/// Formula: `logits = features W^T + b`.
///
/// Shapes: features `[.., inputs]`; the distribution has batch `[..]` and scalar event. `W` is `[classes, inputs]`.
///
/// Gradients: to the features and the layer.
///
/// Errors: no inputs or classes; later, features of another width.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::CategoricalHead;
/// use candle_prob::{Conditional, distribution::Distribution, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let head = CategoricalHead::new(64, 10, vb)?;
/// let class = head.given(&Tensor::zeros((3, 64), DType::F32, &Device::Cpu)?)?;
/// let labels = Tensor::new(&[7u32, 0, 3], &Device::Cpu)?;
/// assert_eq!(class.log_prob(&labels)?.dims(), &[3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CategoricalHead(Dense);

impl CategoricalHead {
    /// A head with the variables `weight` and `bias`, with the initializers of [`dense`](super::dense).
    pub fn new(inputs: usize, classes: usize, vb: VarBuilder) -> Result<Self> {
        logits("CategoricalHead::new", "classes", inputs, classes, vb).map(CategoricalHead)
    }

    /// The layer that computes the logits.
    pub fn layer(&self) -> &Dense {
        &self.0
    }
}

impl Conditional for CategoricalHead {
    type Output = Categorical;

    fn given(&self, features: &Tensor) -> Result<Categorical> {
        Categorical::new_unchecked(&self.0.apply(features)?)
    }
}

impl Detach for CategoricalHead {
    fn detach(&self) -> Self {
        CategoricalHead(self.0.detach())
    }
}

fn logits(
    op: &'static str,
    arg: &'static str,
    inputs: usize,
    outputs: usize,
    vb: VarBuilder,
) -> Result<Dense> {
    check::at_least_one(op, &[(arg, outputs)])?;
    dense(inputs, outputs, Activation::Identity, vb)
}
