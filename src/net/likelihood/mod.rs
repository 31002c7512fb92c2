//! Likelihoods: what a decoder's raw output says about data.

mod bernoulli;
mod categorical;
mod continuous_bernoulli;
mod laplace;
mod layout;
mod logistic_mixture;
mod normal;
mod optimal_normal;
mod spread;

pub use bernoulli::BernoulliLikelihood;
pub use categorical::CategoricalLikelihood;
pub use continuous_bernoulli::ContinuousBernoulliLikelihood;
pub use laplace::LaplaceLikelihood;
pub use logistic_mixture::{LogisticMixtureConfig, LogisticMixtureLikelihood};
pub use normal::NormalLikelihood;
pub use optimal_normal::{OptimalNormal, OptimalNormalLikelihood, SharedBy};

use crate::conditional::Conditional;
use crate::distribution::Distribution;
use crate::error::Result;
use candle_core::Tensor;

/// From a decoder's raw output to a distribution over data.
///
/// A decoder of a latent-variable model is a network and one of these: `|z: &Tensor| likelihood.given(&network.forward(z)?)`.
/// The likelihood says what the numbers of the network mean, and in which convention the data are:
///
/// | likelihood | data | raw numbers of an element |
/// |---|---|---|
/// | [`BernoulliLikelihood`] | 0 and 1; `soft`: from 0 to 1 | 1 |
/// | [`ContinuousBernoulliLikelihood`] | from 0 to 1 | 1 |
/// | [`NormalLikelihood`] | finite | 1, 2 with a scale of each element |
/// | [`OptimalNormalLikelihood`] | finite | 1 |
/// | [`LaplaceLikelihood`] | finite | 1, 2 with a scale of each element |
/// | [`CategoricalLikelihood`] | levels 0, 1, .., as u8, u32 or i64 | the number of levels |
/// | [`LogisticMixtureLikelihood`] | levels i as `-1 + 2 i / (levels - 1)` | 3 for each component |
///
/// Shapes: an observation has the event `E = [n, ..]`, a vector or an image. Raw output is `batch ++ [parameters * n, ..]`: the
/// first of the event's dims is [`parameters`](Likelihood::parameters) times as long, all of the first number first, so that
/// convolutions give it as channels. The distribution has batch `batch` and event `E`.
///
/// Errors of [`given`](Conditional::given): raw output of another shape. Values are not looked at: a network that has come to NaN
/// shows it in its loss.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{BernoulliLikelihood, Likelihood, NormalLikelihood, ScaleForm, mlp};
/// use candle_prob::{Activation, Conditional, Result, init};
///
/// /// The negative log-likelihood of data in nats, by any likelihood.
/// fn distortion<L: Likelihood>(likelihood: &L, z: &Tensor, x: &Tensor) -> Result<Tensor> {
///     likelihood.check_data(x)?;
///     let vb = init::seeded(&VarMap::new(), 0, DType::F32, &Device::Cpu);
///     let network = mlp(&[2, 32, likelihood.parameters() * 784], Activation::Relu, vb)?;
///     let decoder = |z: &Tensor| likelihood.given(&network.forward(z)?);
///     Ok(decoder.given(z)?.log_prob(x)?.neg()?)
/// }
///
/// # fn main() -> Result<()> {
/// let z = Tensor::zeros((16, 2), DType::F32, &Device::Cpu)?;
/// let grey = Tensor::full(0.5f32, (16, 784), &Device::Cpu)?;
/// // Grey pixels under a Bernoulli likelihood are an error; under others they are data.
/// assert!(distortion(&BernoulliLikelihood::new(&[784])?, &z, &grey).is_err());
/// assert_eq!(distortion(&BernoulliLikelihood::soft(&[784])?, &z, &grey)?.dims(), &[16]);
/// let normal = NormalLikelihood::per_element(&[784], ScaleForm::LogVar)?;
/// assert_eq!(distortion(&normal, &z, &grey)?.dims(), &[16]);
/// # Ok(())
/// # }
/// ```
pub trait Likelihood: Conditional<Output: Distribution> {
    /// The shape of an observation.
    fn event_shape(&self) -> &[usize];

    /// Raw numbers for each element of an observation.
    fn parameters(&self) -> usize;

    /// The shape of the raw output for one observation: the event, its first dim [`parameters`](Likelihood::parameters) times as
    /// long.
    fn raw_shape(&self) -> Vec<usize> {
        let mut shape = self.event_shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first *= self.parameters();
        }
        shape
    }

    /// The mean of the data in their convention, `batch ++ E`: a reconstruction. Of levels it is a fraction, in the dtype of the
    /// raw output.
    ///
    /// Errors: raw output of another shape.
    fn mean(&self, raw: &Tensor) -> Result<Tensor>;

    /// Refuses data that have no density under any parameters: of another shape than `[..] ++ E`, of another dtype, or outside of
    /// the convention. A log-density does not look, there they are -inf or NaN; so what trains calls this once, on all data.
    ///
    /// Errors: the first value that is outside, and what is expected.
    fn check_data(&self, data: &Tensor) -> Result<()>;
}
