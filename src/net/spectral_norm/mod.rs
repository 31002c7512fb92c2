//! Layers whose largest singular value is held at one.

mod layer;
mod map;

use self::layer::Parts;
use self::map::{Map, wide};
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule};
use crate::error::{Error, Result};
use crate::init::{self, Buffer};
use crate::kernels::network::spectral::unit;
use crate::shape;
use candle_core::{DType, Tensor};
use candle_nn::{Init, ModuleT, VarBuilder};

/// The layers that a [`SpectralNorm`] takes: [`Dense`](super::Dense), [`Conv2d`](super::Conv2d) and
/// [`ConvTranspose2d`](super::ConvTranspose2d).
pub trait SpectralLayer: Parts {}

impl<L: Parts> SpectralLayer for L {}

/// How a [`SpectralNorm`] holds its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpectralConstraint {
    /// Every pass uses `W / sigma`: the norm is 1, whatever the optimizer does, and the gradient knows of sigma.
    Normalize,
    /// Passes use W as it is, and [`SpectralNorm::project`], after each step of the optimizer, writes `W / max(1, sigma)`: the
    /// norm is at most 1.
    Project,
}

/// Settings of a [`SpectralNorm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralNormConfig {
    /// How the norm is held.
    pub constraint: SpectralConstraint,
    /// Power iterations in a training pass, or in a projection; at least 1.
    pub iterations: usize,
    /// Power iterations when the layer is built, at least 1. Vectors that the `VarBuilder` has, as one from a file, are kept.
    pub warm_up: usize,
    /// Whose norm it is: none for the weight as a matrix, the size (H, W) of the images that a convolution takes for the
    /// convolution itself.
    pub image: Option<(usize, usize)>,
}

impl Default for SpectralNormConfig {
    /// The weight as a matrix divided by its norm; one iteration in a training pass after 15 at the start: those of torch.
    fn default() -> Self {
        SpectralNormConfig {
            constraint: SpectralConstraint::Normalize,
            iterations: 1,
            warm_up: 15,
            image: None,
        }
    }
}

/// A layer whose weight has the spectral norm 1: what critics of Wasserstein distances are made of.
///
/// Formula: `W / sigma` in the place of W, `sigma = |u^T W v|`, where u and v are the singular vectors of the largest singular
/// value as far as power iteration has come: `v = W^T u / |W^T u|, u = W v / |W v|`. From below sigma comes near the norm. Of a
/// convolution W is the matrix `[out, in kh kw]`, of a transposed one, whose weight is `[in, out, kh, kw]`, the same after the
/// exchange of its axes; or, with [`image`](SpectralNormConfig::image), the convolution itself as a linear map of images of that
/// size. A matrix of zeros, or so small that `1 / sigma` is not a number of its dtype, stays as it is; one
/// whose sigma is infinite or NaN becomes NaN.
///
/// What is bounded: the matrix of a convolution sees each patch, and a pixel is in up to `ceil(kh / s) ceil(kw / t)` patches for
/// strides (s, t), so that the convolution's own norm may be as large as the root of that (3 for 3 x 3 and stride 1); for a
/// transposed one the root of `kh kw`. It is usually less, and less than 1 too. Padding with zeros and cutting them off do
/// not raise it. [`lipschitz`](Self::lipschitz) tells the bound, with the activation: `Silu` and `Gelu` have slopes above 1
/// ([`Activation::lipschitz`](crate::Activation::lipschitz)). A network is 1-Lipschitz if each layer is.
///
/// State: u and v are [buffers](Buffer) named `u` and `v`. `forward_t` with `train` true iterates and writes them, once in a
/// call; all else reads them, and gives the same bits twice. Weights that come from elsewhere without their vectors need
/// [`warm_up`](Self::warm_up).
///
/// Shapes: those of the layer. Gradients: to its input and parameters; through sigma to W, with u and v held fixed:
/// `(G - <G, W / sigma> u v^T) / sigma` where `u^T W v` is positive, as it is after an iteration, and with the sign of that before
/// `u v^T`.
///
/// Errors: those of the layer; from `forward_t` with `train` true, a layer that was built on constants. A pass that fails writes
/// nothing.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{ModuleT, VarMap};
/// use candle_prob::net::{SpectralNormConfig, dense, spectral_norm};
/// use candle_prob::{Activation, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let layer = dense(3, 2, Activation::Relu, vb.pp("0"))?;
/// let layer = spectral_norm(layer, &SpectralNormConfig::default(), vb.pp("0"))?;
/// let (x, y) = (Tensor::new(&[[3f32, 0., 0.]], &Device::Cpu)?, Tensor::new(&[[0f32, 0., 4.]], &Device::Cpu)?);
/// let apart = (layer.forward_t(&x, true)? - layer.forward_t(&y, false)?)?;
/// assert!(apart.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()? <= 5.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: one iteration for each step of the optimizer keeps up with weights that move slowly. Near a second singular value
/// as large as the first the vectors turn slowly, but sigma is right. In half precision u, v and sigma are f32, and the weight is
/// divided in f32. Vectors of lengths that are 0, infinite or NaN leave the
/// old ones in place.
///
/// Source: Miyato, Kataoka, Koyama and Yoshida (2018), Spectral normalization for generative adversarial networks, section 2
/// and algorithm 1; the projection: Ryu (2022), Unsupervised learning, chapter on generative adversarial networks; the convolution's own
/// norm: Gouk, Frank, Pfahringer and Cree (2021), Regularisation of neural networks by enforcing Lipschitz continuity, algorithm 2.
#[derive(Debug, Clone)]
pub struct SpectralNorm<L> {
    layer: L,
    u: Buffer,
    v: Buffer,
    config: SpectralNormConfig,
}

/// A [`SpectralNorm`] of a layer, with the buffers `u` and `v` from `vb`.
///
/// Errors: no iterations; a layer of another dtype or device than `vb`; an image for a dense layer, one without rows or columns,
/// smaller than the kernel or of 2^31 numbers and more; what `vb` refuses.
pub fn spectral_norm<L: SpectralLayer>(
    layer: L,
    config: &SpectralNormConfig,
    vb: VarBuilder,
) -> Result<SpectralNorm<L>> {
    const OP: &str = "spectral_norm";
    let (iterations, warm_up) = (config.iterations, config.warm_up);
    check::at_least_one(OP, &[("iterations", iterations), ("warm_up", warm_up)])?;
    let weight = layer.kernel();
    shape::dtype(OP, "layer", weight, vb.dtype())?;
    let (expected, found) = (vb.device().location(), weight.device().location());
    if expected != found {
        let (op, arg) = (OP, "layer");
        return Err(Error::Device {
            op,
            arg,
            expected,
            found,
        });
    }
    let [u, v] = layer.map(OP, weight.detach(), config.image)?.shapes();
    let vb = match wide(vb.dtype()) {
        dtype if dtype == vb.dtype() => vb,
        dtype => vb.to_dtype(dtype),
    };
    let known = vb.contains_tensor("u") && vb.contains_tensor("v");
    let start = Init::Randn {
        mean: 0.,
        stdev: 1.,
    };
    let u = Buffer::new(u, "u", start, vb.clone())?;
    let v = Buffer::new(v, "v", start, vb)?;
    let norm = SpectralNorm {
        layer,
        u,
        v,
        config: *config,
    };
    if !known {
        let [u, v] = norm.vectors()?;
        norm.write([unit(&u, &u)?, unit(&v, &v)?])?;
        norm.warm_up(warm_up)?;
    }
    Ok(norm)
}

impl<L: SpectralLayer> SpectralNorm<L> {
    /// The layer with its weight as the optimizer has it.
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// The settings.
    pub fn config(&self) -> &SpectralNormConfig {
        &self.config
    }

    /// The estimate `|u^T W v|` of the norm, a scalar, with gradient to W; in half precision it is f32.
    pub fn sigma(&self) -> Result<Tensor> {
        self.estimate(&self.vectors()?)
    }

    /// The layer as a pass uses it, with gradients to the original: under [`SpectralConstraint::Normalize`] with the weight
    /// `W / sigma`. To use it several times divides once.
    pub fn effective(&self) -> Result<L> {
        self.with(&self.vectors()?)
    }

    /// How far apart two outputs can be for inputs of distance 1, if sigma is the norm: the activation's steepest slope, times
    /// 1 for a dense layer and the root of the overlap of patches for the matrix of a convolution.
    ///
    /// Under [`SpectralConstraint::Project`] this holds after a projection.
    pub fn lipschitz(&self) -> f64 {
        let patches = match self.config.image {
            None => self.layer.overlap() as f64,
            Some(_) => 1.,
        };
        self.layer.slope() * patches.sqrt()
    }

    /// Power iterations, for weights that were set from elsewhere.
    ///
    /// Errors: a layer that was built on constants.
    pub fn warm_up(&self, iterations: usize) -> Result<()> {
        let vectors = self.map()?.iterate(&self.vectors()?, iterations)?;
        self.write(vectors)
    }

    /// After a step of the optimizer: power iterations, then `W / max(1, sigma)` written to the weight; sigma before.
    ///
    /// Errors: a layer that was built on constants; a sigma that is infinite or NaN. Then nothing is written.
    pub fn project(&self) -> Result<f64> {
        const OP: &str = "SpectralNorm::project";
        let weight = self.layer.kernel();
        init::check_variable(OP, weight)?;
        self.check_state(OP)?;
        let vectors = self
            .map()?
            .iterate(&self.vectors()?, self.config.iterations)?;
        let sigma = self.estimate(&vectors)?.detach();
        let number = sigma.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !number.is_finite() {
            let expected = "one of a finite spectral norm";
            return Err(Error::value(OP, "weight", expected, number));
        }
        self.write(vectors)?;
        if number > 1. {
            let within = weight.detach().to_dtype(sigma.dtype())?;
            let within = within.broadcast_div(&sigma)?.to_dtype(weight.dtype())?;
            init::write(OP, weight, &within)?;
        }
        Ok(number)
    }

    fn vectors(&self) -> Result<[Tensor; 2]> {
        Ok([self.u.value()?, self.v.value()?])
    }

    /// The layer as a pass uses it and, in training, the vectors to [write](Self::write) when all of the pass has succeeded.
    pub(super) fn pass(&self, train: bool) -> Result<(L, Option<[Tensor; 2]>)> {
        let vectors = self.vectors()?;
        if !train || self.config.constraint == SpectralConstraint::Project {
            return Ok((self.with(&vectors)?, None));
        }
        self.check_state("SpectralNorm::forward_t")?;
        let moved = self.map()?.iterate(&vectors, self.config.iterations)?;
        Ok((self.with(&moved)?, Some(moved)))
    }

    /// Refuses vectors that could not be written.
    fn check_state(&self, op: &'static str) -> Result<()> {
        let mut state = [&self.u, &self.v].into_iter();
        state.try_for_each(|buffer| init::check_variable(op, buffer.variable()))
    }

    pub(super) fn write(&self, [u, v]: [Tensor; 2]) -> Result<()> {
        self.u.set(&u)?;
        self.v.set(&v)
    }

    /// The map of the weight as a constant.
    fn map(&self) -> Result<Map> {
        self.map_of(self.layer.kernel().detach())
    }

    fn map_of(&self, weight: Tensor) -> Result<Map> {
        self.layer.map("SpectralNorm", weight, self.config.image)
    }

    fn estimate(&self, vectors: &[Tensor; 2]) -> Result<Tensor> {
        self.map_of(self.layer.kernel().clone())?.sigma(vectors)
    }

    fn with(&self, vectors: &[Tensor; 2]) -> Result<L> {
        if self.config.constraint == SpectralConstraint::Project {
            return Ok(self.layer.clone());
        }
        let map = self.map_of(self.layer.kernel().clone())?;
        let weight = map.normalized(vectors)?;
        let dtype = self.layer.kernel().dtype();
        self.layer.with_kernel(weight.to_dtype(dtype)?)
    }
}

impl<L: SpectralLayer> ModuleT for SpectralNorm<L> {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let (layer, moved) = self.pass(train)?;
        let y = layer.forward(x)?;
        if let Some(moved) = moved {
            self.write(moved)?;
        }
        Ok(y)
    }
}

impl<L: SpectralLayer> DualModule for SpectralNorm<L> {
    /// As `forward_t` with `train` false.
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        self.effective()?.forward_dual(x)
    }
}

/// Parameters alone are detached; a training pass still writes the vectors.
impl<L: SpectralLayer> Detach for SpectralNorm<L> {
    fn detach(&self) -> Self {
        SpectralNorm {
            layer: self.layer.detach(),
            ..self.clone()
        }
    }
}
