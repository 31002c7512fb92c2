//! Autoencoders: an encoder, a decoder, and what is lost between them.

use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::shape;
use candle_core::{Module, Tensor};

/// An encoder E and a decoder D, trained so that `D(E(x))` is x again.
///
/// Formula: the loss of an example is `|x - D(E(x))|^2`, summed over its elements; of a denoising one `|x - D(E(x~))|^2` for a
/// spoiled copy x~ of x ([`error`](Autoencoder::error)). The loss of new data is the score of outliers
/// ([`score`](Autoencoder::score)): what is unlike the training data is not restored. With linear E and D and a code of r
/// numbers the best `D(E(x))` is the projection onto the first r principal components of centred data.
///
/// Shapes: x is `[N, ..]`, codes and scores are `[N, ..]` as the encoder gives them and `[N]`. Gradients: to both networks and x.
///
/// Errors: what the networks refuse; a decoder that does not give the shape of its target.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::net::{Autoencoder, mlp};
/// use candle_prob::optim::{Adam, AdamConfig, Optimizer};
/// use candle_prob::{Activation, Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let encoder = mlp(&[8, 16, 2], Activation::Tanh, vb.pp("encoder"))?;
/// let decoder = mlp(&[2, 16, 8], Activation::Tanh, vb.pp("decoder"))?;
/// let model = Autoencoder::new(encoder, decoder);
/// let mut rng = Rng::new(0);
/// let x = rng.normal((64, 8), DType::F32, &Device::Cpu)?;
/// let mut adam = Adam::new(&vars, &AdamConfig::default())?;
/// let before = model.score(&x)?.mean_all()?.to_scalar::<f32>()?;
/// for _step in 0..50 {
///     let spoiled = (&x + rng.normal(x.shape(), DType::F32, &Device::Cpu)? * 0.1)?;
///     adam.backward_step(&model.error(&spoiled, &x)?.mean_all()?)?;
/// }
/// assert!(model.score(&x)?.mean_all()?.to_scalar::<f32>()? < before);
/// # Ok(())
/// # }
/// ```
///
/// Source: Baldi and Hornik (1989), Neural networks and principal component analysis, for the linear one; Vincent, Larochelle,
/// Bengio and Manzagol (2008), Extracting and composing robust features with denoising autoencoders.
#[derive(Debug, Clone)]
pub struct Autoencoder<E, D> {
    encoder: E,
    decoder: D,
}

impl<E: Detach, D: Detach> Detach for Autoencoder<E, D> {
    fn detach(&self) -> Self {
        Autoencoder {
            encoder: self.encoder.detach(),
            decoder: self.decoder.detach(),
        }
    }
}

impl<E: Module, D: Module> Autoencoder<E, D> {
    /// From both networks.
    pub fn new(encoder: E, decoder: D) -> Self {
        Autoencoder { encoder, decoder }
    }

    /// The encoder.
    pub fn encoder(&self) -> &E {
        &self.encoder
    }

    /// The decoder.
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// The code `E(x)`.
    ///
    /// Errors: those of the encoder.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.encoder.forward(x)?)
    }

    /// `D(z)`.
    ///
    /// Errors: those of the decoder.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.forward(z)?)
    }

    /// `D(E(x))`.
    ///
    /// Errors: those of both networks.
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        self.decode(&self.encode(x)?)
    }

    /// `|target - D(E(x))|^2` of each example, `[N]`: with a spoiled `x` the loss of a denoising autoencoder.
    ///
    /// Errors: those of both networks; a target of no dims, or of another shape, dtype or device than they give.
    pub fn error(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.loss("Autoencoder::error", x, target)
    }

    /// `s(x) = |x - D(E(x))|^2` of each example, `[N]`: the loss in training, and afterwards the score of outliers.
    ///
    /// Errors: as [`error`](Autoencoder::error).
    pub fn score(&self, x: &Tensor) -> Result<Tensor> {
        self.loss("Autoencoder::score", x, x)
    }

    fn loss(&self, op: &'static str, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let y = self.reconstruct(x)?;
        shape::same_kind(op, "target", target, &y)?;
        shape::exactly(op, "target", target.dims(), y.dims())?;
        let [count, rest @ ..] = target.dims() else {
            return Err(Error::shape(op, "target", "[N, ..]", target.dims()));
        };
        let each = rest.iter().product::<usize>();
        reduce::sum(&(target - y)?.sqr()?.reshape((*count, each))?)
    }
}
