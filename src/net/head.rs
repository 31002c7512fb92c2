//! Heads: a dense layer whose outputs parametrize a continuous distribution.

use super::dense::{Dense, dense};
use super::initializer;
use crate::check;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Dirichlet, LogisticNormal, MultivariateNormalDiag};
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder};

/// The bound of the soft clamp of [`ScaleForm::LogVar`] and [`ScaleForm::LogScale`].
const CLAMP: f64 = 15.;

/// How a Gaussian head turns a raw output `r` into a standard deviation.
///
/// The logarithmic forms pass through the soft clamp `15 tanh(r / 15)`: slope 1 at zero, never outside of -15 and 15, and
/// smooth, so that an untrained or diverging network gives finite densities, divergences and gradients. Within +- 3 it
/// moves `r` by less than 0.04. Raw outputs far beyond the bounds have a gradient of zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScaleForm {
    /// `ln scale^2 = 15 tanh(r / 15)`.
    LogVar,
    /// `ln scale = 15 tanh(r / 15)`.
    LogScale,
    /// `scale = floor + softplus(r + shift)`. A floor of zero lets the scale underflow, and with it the KL overflow.
    Softplus {
        /// Added to the raw output: negative values make the first scales small.
        shift: f64,
        /// The smallest scale.
        floor: f64,
    },
}

impl ScaleForm {
    /// `Softplus` as the information bottleneck uses it: shift -5, here with a floor of 1e-6.
    ///
    /// Source: Alemi, Fischer, Dillon and Murphy (2017), section 4.1, for the shift.
    pub fn bottleneck() -> Self {
        ScaleForm::Softplus {
            shift: -5.,
            floor: 1e-6,
        }
    }

    pub(super) fn check(self, op: &'static str) -> Result<()> {
        if let ScaleForm::Softplus { shift, floor } = self {
            check::finite(op, "shift", shift)?;
            check::non_negative(op, "floor", floor)?;
        }
        Ok(())
    }

    pub(super) fn distribution<T>(self, loc: &Tensor, raw: &Tensor, build: Build<T>) -> Result<T> {
        match self {
            ScaleForm::LogVar => (build.from_log_var)(loc, &soft_clamp(raw)?),
            ScaleForm::LogScale => (build.from_log_var)(loc, &(soft_clamp(raw)? * 2.)?),
            ScaleForm::Softplus { shift, floor } => {
                let scale = Activation::Softplus.forward(&(raw + shift)?)?;
                (build.from_scale)(loc, &(scale + floor)?)
            }
        }
    }
}

/// The clamp of the logarithmic forms, `15 tanh(r / 15)`.
pub(super) fn soft_clamp(raw: &Tensor) -> Result<Tensor> {
    Ok((Activation::Tanh.forward(&(raw / CLAMP)?)? * CLAMP)?)
}

/// The two constructors of a family, without checks: the scales are in range by construction, and a network that has
/// come to NaN shows it in its loss.
pub(super) struct Build<T> {
    pub(super) from_log_var: fn(&Tensor, &Tensor) -> Result<T>,
    pub(super) from_scale: fn(&Tensor, &Tensor) -> Result<T>,
}

const NORMAL: Build<MultivariateNormalDiag> = Build {
    from_log_var: MultivariateNormalDiag::from_log_var_unchecked,
    from_scale: MultivariateNormalDiag::new_unchecked,
};

const LOGISTIC_NORMAL: Build<LogisticNormal> = Build {
    from_log_var: LogisticNormal::from_log_var_unchecked,
    from_scale: LogisticNormal::new_unchecked,
};

/// The layer of the Gaussian heads: the first half of its outputs are means, the second raw scales.
#[derive(Debug, Clone)]
struct Gaussian {
    layer: Dense,
    /// Shape of each half.
    shape: Vec<usize>,
    scale: ScaleForm,
}

impl Gaussian {
    fn new(
        op: &'static str,
        inputs: usize,
        shape: &[(&'static str, usize)],
        scale: ScaleForm,
        vb: VarBuilder,
    ) -> Result<Self> {
        scale.check(op)?;
        check::at_least_one(op, shape)?;
        let shape: Vec<usize> = shape.iter().map(|(_, n)| *n).collect();
        let outputs = 2 * shape.iter().product::<usize>();
        Ok(Gaussian {
            layer: dense(inputs, outputs, Activation::Identity, vb)?,
            shape,
            scale,
        })
    }

    fn given<T>(&self, features: &Tensor, build: Build<T>) -> Result<T> {
        let raw = self.layer.apply(features)?;
        let half = self.layer.outputs() / 2;
        let mut shape = raw.dims().to_vec();
        shape.pop();
        shape.extend(&self.shape);
        let part = |start: usize| -> Result<Tensor> {
            Ok(raw.narrow(D::Minus1, start, half)?.reshape(&*shape)?)
        };
        self.scale.distribution(&part(0)?, &part(half)?, build)
    }
}

impl Detach for Gaussian {
    fn detach(&self) -> Self {
        Gaussian {
            layer: self.layer.detach(),
            ..self.clone()
        }
    }
}

/// From features to a normal distribution on vectors with independent elements.
///
/// Formula: `loc, r = split(features W^T + b)`, `scale` from `r` as [`ScaleForm`] says.
///
/// Shapes: features `[.., inputs]`; the distribution has batch `[..]` and event `[dims]`. `W` is `[2 dims, inputs]`.
///
/// Gradients: to the features and the layer. Finite wherever the raw outputs are, the slope of the soft clamp included.
///
/// Errors: no inputs or dims, a softplus shift that is not finite, a negative floor; later, features of another width.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::distribution::{Kl, MultivariateNormalDiag};
/// use candle_prob::net::{NormalHead, ScaleForm, mlp};
/// use candle_prob::{Activation, Conditional, Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let features = mlp(&[784, 400], Activation::Relu, vb.pp("features"))?;
/// let head = NormalHead::new(400, 20, ScaleForm::LogVar, vb.pp("head"))?;
/// let encoder = |x: &Tensor| head.given(&features.forward(x)?);
/// let posterior = encoder.given(&Tensor::zeros((16, 784), DType::F32, &Device::Cpu)?)?;
/// let prior = MultivariateNormalDiag::standard(20, DType::F32, &Device::Cpu)?;
/// let (z, rate) = posterior.sample_and_kl(&prior, &[], &mut Rng::new(2))?;
/// assert_eq!((z.dims(), rate.dims()), (&[16, 20][..], &[16][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NormalHead(Gaussian);

impl NormalHead {
    /// A head with the variables `weight` and `bias`, with the initializers of [`dense`](super::dense).
    pub fn new(inputs: usize, dims: usize, scale: ScaleForm, vb: VarBuilder) -> Result<Self> {
        let shape = [("dims", dims)];
        Ok(NormalHead(Gaussian::new(
            "NormalHead::new",
            inputs,
            &shape,
            scale,
            vb,
        )?))
    }

    /// The layer that computes means and raw scales.
    pub fn layer(&self) -> &Dense {
        &self.0.layer
    }
}

impl Conditional for NormalHead {
    type Output = MultivariateNormalDiag;

    fn given(&self, features: &Tensor) -> Result<MultivariateNormalDiag> {
        self.0.given(features, NORMAL)
    }
}

impl Detach for NormalHead {
    fn detach(&self) -> Self {
        NormalHead(self.0.detach())
    }
}

/// From features to the components of a Gaussian mixture: K normal distributions on vectors.
///
/// Formula: that of [`NormalHead`], with K times its outputs.
///
/// Shapes: features `[.., inputs]`; the distribution has batch `[.., K]` and event `[dims]`. `W` is `[2 K dims, inputs]`.
///
/// Gradients and errors: as [`NormalHead`]; also an error for no components.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::{NormalComponentsHead, ScaleForm};
/// use candle_prob::{Conditional, distribution::Distribution, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let head = NormalComponentsHead::new(64, 10, 32, ScaleForm::bottleneck(), vb)?;
/// let components = head.given(&Tensor::zeros((16, 64), DType::F32, &Device::Cpu)?)?;
/// assert_eq!((components.batch_shape(), components.event_shape()), (&[16, 10][..], &[32][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NormalComponentsHead(Gaussian);

impl NormalComponentsHead {
    /// A head for `components` distributions on `dims` elements each.
    pub fn new(
        inputs: usize,
        components: usize,
        dims: usize,
        scale: ScaleForm,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (op, shape) = (
            "NormalComponentsHead::new",
            [("components", components), ("dims", dims)],
        );
        Ok(NormalComponentsHead(Gaussian::new(
            op, inputs, &shape, scale, vb,
        )?))
    }

    /// The layer that computes means and raw scales: all means first, component by component.
    pub fn layer(&self) -> &Dense {
        &self.0.layer
    }
}

impl Conditional for NormalComponentsHead {
    type Output = MultivariateNormalDiag;

    fn given(&self, features: &Tensor) -> Result<MultivariateNormalDiag> {
        self.0.given(features, NORMAL)
    }
}

impl Detach for NormalComponentsHead {
    fn detach(&self) -> Self {
        NormalComponentsHead(self.0.detach())
    }
}

/// From features to a distribution on the simplex: a Gaussian through the softmax.
///
/// Formula, shapes, gradients and errors: those of [`NormalHead`], for the logits; the event is `[classes]`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::{LogisticNormalHead, ScaleForm};
/// use candle_prob::{Conditional, Rng, distribution::Distribution, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let head = LogisticNormalHead::new(64, 10, ScaleForm::LogVar, vb)?;
/// let weight = head.given(&Tensor::zeros((16, 64), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(weight.sample(&[3], &mut Rng::new(2))?.dims(), &[3, 16, 10]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LogisticNormalHead(Gaussian);

impl LogisticNormalHead {
    /// A head for weights of `classes` classes.
    pub fn new(inputs: usize, classes: usize, scale: ScaleForm, vb: VarBuilder) -> Result<Self> {
        let (op, shape) = ("LogisticNormalHead::new", [("classes", classes)]);
        Ok(LogisticNormalHead(Gaussian::new(
            op, inputs, &shape, scale, vb,
        )?))
    }

    /// The layer that computes the logits' means and raw scales.
    pub fn layer(&self) -> &Dense {
        &self.0.layer
    }
}

impl Conditional for LogisticNormalHead {
    type Output = LogisticNormal;

    fn given(&self, features: &Tensor) -> Result<LogisticNormal> {
        self.0.given(features, LOGISTIC_NORMAL)
    }
}

impl Detach for LogisticNormalHead {
    fn detach(&self) -> Self {
        LogisticNormalHead(self.0.detach())
    }
}

/// From features to a Dirichlet distribution.
///
/// Formula: `concentration = floor + softplus(features W^T + b)`.
///
/// Shapes: features `[.., inputs]`; the distribution has batch `[..]` and event `[classes]`. `W` is `[classes, inputs]`.
///
/// Gradients: to the features and the layer; zero in effect where the softplus is far below the floor.
///
/// Errors: no inputs or classes, a negative floor; later, features of another width.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::DirichletHead;
/// use candle_prob::{Conditional, Rng, distribution::Distribution, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let head = DirichletHead::new(64, 10, DirichletHead::FLOOR, vb)?;
/// let weight = head.given(&Tensor::zeros((16, 64), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(weight.sample(&[3], &mut Rng::new(2))?.dims(), &[3, 16, 10]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: without a floor a raw output of -104 makes the concentration zero in f32, where the density has no meaning
/// and its logarithm is infinite. The floor is a part of the model: it bounds how sparse the weights can be.
#[derive(Debug, Clone)]
pub struct DirichletHead {
    layer: Dense,
    floor: f64,
}

impl DirichletHead {
    /// A floor that leaves sparse weights possible: [`Dirichlet`] draws and differentiates well from 1e-6 on.
    pub const FLOOR: f64 = 1e-4;

    /// A head with the variables `weight` and `bias`, with the initializers of [`dense`](super::dense).
    pub fn new(inputs: usize, classes: usize, floor: f64, vb: VarBuilder) -> Result<Self> {
        let op = "DirichletHead::new";
        check::at_least_one(op, &[("classes", classes)])?;
        check::non_negative(op, "floor", floor)?;
        Ok(DirichletHead {
            layer: dense(inputs, classes, Activation::Softplus, vb)?,
            floor,
        })
    }

    /// As [`new`](Self::new), with concentrations that begin near `concentration`: the bias begins there and the features
    /// move them from it. A concentration of 10 for each of ten classes begins with weights that differ by a third of
    /// themselves, one near 1 with weights of which few take nearly all.
    ///
    /// Errors: also a concentration that is not above the floor or not finite.
    pub fn starting_at(
        inputs: usize,
        classes: usize,
        concentration: f64,
        floor: f64,
        vb: VarBuilder,
    ) -> Result<Self> {
        let op = "DirichletHead::starting_at";
        check::at_least_one(op, &[("inputs", inputs), ("classes", classes)])?;
        check::non_negative(op, "floor", floor)?;
        check::finite(op, "concentration", concentration)?;
        let above = concentration - floor;
        check::positive(op, "concentration less the floor", above)?;
        // softplus^-1
        let bias = above + (-(-above).exp_m1()).ln();
        let activation = Activation::Softplus;
        let weight = initializer::weight(activation);
        let weight = vb.get_with_hints((classes, inputs), "weight", weight)?;
        let bias = vb.get_with_hints(classes, "bias", Init::Const(bias))?;
        Ok(DirichletHead {
            layer: Dense::new(weight, Some(bias), activation)?,
            floor,
        })
    }

    /// The layer that computes the concentrations less the floor.
    pub fn layer(&self) -> &Dense {
        &self.layer
    }
}

impl Conditional for DirichletHead {
    type Output = Dirichlet;

    fn given(&self, features: &Tensor) -> Result<Dirichlet> {
        Dirichlet::new_unchecked(&(self.layer.apply(features)? + self.floor)?)
    }
}

impl Detach for DirichletHead {
    fn detach(&self) -> Self {
        DirichletHead {
            layer: self.layer.detach(),
            ..self.clone()
        }
    }
}
