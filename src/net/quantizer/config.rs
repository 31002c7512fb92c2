//! What a vector quantizer is built from.

use crate::bijector::Axis;

/// What [`vector_quantizer`](super::vector_quantizer) builds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorQuantizerConfig {
    /// Codes of the codebook, K: at least 2, since one code says nothing.
    pub codes: usize,
    /// Numbers of a code, d.
    pub dims: usize,
    /// Where the vectors lie: the last dim of `[.., d]`, or the channels of images `[.., d, H, W]`, a code for each pixel.
    pub axis: Axis,
    /// What moves the codes.
    pub codebook: Codebook,
    /// Of the running counts, and of the running sums of [`Codebook::MovingAverage`]: what is kept of them in a training
    /// pass, in [0, 1).
    pub decay: f64,
}

/// What moves the codes of a codebook.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Codebook {
    /// The gradient of the codebook loss: the codes are a variable.
    Gradient,
    /// Training passes: each code is a moving average of the rows that chose it, and has no gradient.
    MovingAverage {
        /// Added to all counts, epsilon of the Laplace smoothing; 0 for none.
        smoothing: f64,
    },
}

impl Default for VectorQuantizerConfig {
    /// 512 codes of 64 numbers for the pixels of images, moving averages of decay 0.99 with a smoothing of 1e-5.
    fn default() -> Self {
        VectorQuantizerConfig {
            codes: 512,
            dims: 64,
            axis: Axis::Channel,
            codebook: Codebook::MovingAverage { smoothing: 1e-5 },
            decay: 0.99,
        }
    }
}
