//! Activation functions: as fused nodes, and as in-place loops for the kernels that end in one.

mod functions;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::elementwise::composed;
use crate::kernels::elementwise::map::{self, Map};
use crate::kernels::graph::node::weigh;
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::single;
use candle_core::Tensor;
use functions::{Elu, Gelu, Leaky, Relu, Silu};
use std::f64::consts::SQRT_2;

/// What follows the affine map of a layer.
///
/// Formulas: `Relu: max(x, 0)`; `LeakyRelu(a): x for x > 0, a x otherwise`; `Elu: x for x > 0, e^x - 1 otherwise`;
/// `Sigmoid: 1 / (1 + e^-x)`; `Softplus: ln(1 + e^x)`; `Silu: x sigmoid(x)`; `Gelu: x Phi(x)` with the standard normal
/// cdf `Phi` (not its approximation by tanh).
///
/// Gradients: exact; at a kink the slope of the left side (0 for `Relu`).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Activation;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// assert_eq!(Activation::LeakyRelu(0.5).forward(&x)?.to_vec1::<f32>()?, [-0.5, 0., 2.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// The argument itself.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, this slope times `x` elsewhere.
    LeakyRelu(f64),
    /// `x` where positive, `e^x - 1` elsewhere.
    Elu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// `x Phi(x)`, with the cdf of the standard normal distribution.
    Gelu,
}

impl Activation {
    /// Applies the function to every element.
    ///
    /// Errors: a dtype that is not floating point.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        crate::shape::float("Activation::forward", "x", x)?;
        if self == Activation::Identity {
            return Ok(x.clone());
        }
        if self == Activation::Gelu {
            return map::wide(Gelu, x, |x| self.composed(x));
        }
        if !crate::kernels::graph::fused(&[x]) {
            return self.composed(x);
        }
        match self {
            Activation::Identity => Ok(x.clone()),
            Activation::Relu => map::map(Relu, x),
            Activation::LeakyRelu(a) => map::map(Leaky(a as f32), x),
            Activation::Elu => map::map(Elu, x),
            Activation::Tanh => map::map(map::Tanh, x),
            Activation::Sigmoid => map::map(map::Sigmoid, x),
            Activation::Softplus => map::map(map::Softplus, x),
            Activation::Silu => map::map(Silu, x),
            Activation::Gelu => map::map(Gelu, x),
        }
    }

    /// The steepest slope in absolute value: the least L with `|f(x) - f(y)| <= L |x - y|`.
    ///
    /// Formula: 1/4 for `Sigmoid`, 1.0998.. for `Silu`, 1.1289.. for `Gelu`, `max(1, |a|)` for `LeakyRelu(a)`, 1 for all others.
    ///
    /// ```
    /// use candle_prob::Activation;
    /// // A 1-Lipschitz critic has one of these.
    /// let steep = [Activation::Silu, Activation::Gelu, Activation::LeakyRelu(-2.)];
    /// assert!(steep.iter().all(|f| f.lipschitz() > 1.));
    /// assert_eq!(Activation::LeakyRelu(0.2).lipschitz(), 1.);
    /// ```
    pub fn lipschitz(self) -> f64 {
        match self {
            // NaN has no steepness.
            Activation::LeakyRelu(a) if a.abs() <= 1. => 1.,
            Activation::LeakyRelu(a) => a.abs(),
            Activation::Sigmoid => 0.25,
            // Where x tanh(x / 2) is 2.
            Activation::Silu => 1.0998393201288668,
            // At the root of 2.
            Activation::Gelu => 1.128904145185155,
            Activation::Identity
            | Activation::Relu
            | Activation::Elu
            | Activation::Tanh
            | Activation::Softplus => 1.,
        }
    }

    /// Whether the slope follows from the output alone.
    pub(crate) fn slope_from_output(self) -> bool {
        match self {
            // With a negative slope an output does not tell the sign of its argument.
            Activation::LeakyRelu(a) => a >= 0.,
            Activation::Silu | Activation::Gelu => false,
            _ => true,
        }
    }

    /// Applies the function to every element, in place.
    #[inline(always)]
    pub(crate) fn apply_slice<const FMA: bool>(self, x: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => each(x, |x| Relu.value::<FMA>(x)),
            Activation::LeakyRelu(a) => each(x, |x| Leaky(a as f32).value::<FMA>(x)),
            Activation::Elu => each(x, |x| Elu.value::<FMA>(x)),
            Activation::Tanh => each(x, single::tanh::<FMA>),
            Activation::Sigmoid => each(x, single::sigmoid::<FMA>),
            Activation::Softplus => each(x, single::softplus::<FMA>),
            Activation::Silu => each(x, |x| Silu.value::<FMA>(x)),
            Activation::Gelu => each(x, |x| Gelu.value::<FMA>(x)),
        }
    }

    /// Multiplies gradients by the slope, in place; `y` are the outputs where [`Self::slope_from_output`] holds, and the
    /// arguments elsewhere.
    #[inline(always)]
    pub(crate) fn backprop_slice<const FMA: bool>(self, y: &[f32], g: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => slopes(y, g, |y| Relu.slope::<FMA>(y, y)),
            // The sign of the output is that of the argument; with a negative slope `y` is the argument.
            Activation::LeakyRelu(a) => slopes(y, g, |y| Leaky(a as f32).slope::<FMA>(y, y)),
            Activation::Elu => slopes(y, g, |y| Elu.slope::<FMA>(y, y)),
            Activation::Tanh => slopes(y, g, |y| map::Tanh.slope::<FMA>(y, y)),
            Activation::Sigmoid => slopes(y, g, |y| map::Sigmoid.slope::<FMA>(y, y)),
            Activation::Softplus => slopes(y, g, |y| map::Softplus.slope::<FMA>(y, y)),
            Activation::Silu => slopes(y, g, |x| Silu.slope::<FMA>(x, x)),
            Activation::Gelu => slopes(y, g, |x| Gelu.slope::<FMA>(x, x)),
        }
    }

    /// [`Self::apply_slice`] with this machine's instructions.
    pub(crate) fn apply(self, x: &mut [f32]) {
        dispatch(Apply(self, x))
    }

    /// [`Self::backprop_slice`] with this machine's instructions.
    pub(crate) fn backprop(self, y: &[f32], g: &mut [f32]) {
        dispatch(Backprop(self, y, g))
    }

    /// Whether [`Self::slopes`] and [`Self::curvatures`] are there.
    pub(crate) fn curvature_from_output(self) -> bool {
        matches!(
            self,
            Activation::Tanh | Activation::Sigmoid | Activation::Softplus
        )
    }

    /// The first derivatives `s` from the outputs.
    #[inline(always)]
    pub(crate) fn slopes<const FMA: bool>(self, y: &[f32], s: &mut [f32]) {
        let all = y.iter().zip(s);
        match self {
            Activation::Tanh => all.for_each(|(y, s)| *s = map::Tanh.slope::<FMA>(*y, *y)),
            Activation::Sigmoid => all.for_each(|(y, s)| *s = map::Sigmoid.slope::<FMA>(*y, *y)),
            _ => all.for_each(|(y, s)| *s = map::Softplus.slope::<FMA>(*y, *y)),
        }
    }

    /// The second derivatives `s2` from the outputs and the first.
    #[inline(always)]
    pub(crate) fn curvatures(self, y: &[f32], s: &[f32], s2: &mut [f32]) {
        let all = y.iter().zip(s).zip(s2);
        match self {
            Activation::Tanh => all.for_each(|((y, s), s2)| *s2 = -2. * y * s),
            Activation::Sigmoid => all.for_each(|((y, s), s2)| *s2 = s * (1. - 2. * y)),
            _ => all.for_each(|((_, s), s2)| *s2 = s * (1. - s)),
        }
    }

    fn composed(self, x: &Tensor) -> Result<Tensor> {
        let leaky = |a: f64| -> Result<Tensor> {
            // A mask times x would turn infinities into NaN; candle's relu has slope 1 at 0.
            let positive = x.gt(0.)?;
            Ok(positive.where_cond(x, &(x * a)?)?)
        };
        Ok(match self {
            Activation::Identity => x.clone(),
            Activation::Relu => {
                // NaN counts as positive: it stays.
                let zero_or_less = x.le(0.)?;
                zero_or_less.where_cond(&x.zeros_like()?, x)?
            }
            Activation::LeakyRelu(a) => leaky(a)?,
            Activation::Elu => {
                let positive = x.gt(0.)?;
                let left = positive.where_cond(&x.zeros_like()?, x)?;
                positive.where_cond(x, &composed::expm1(&left)?)?
            }
            Activation::Tanh => x.tanh()?,
            Activation::Sigmoid => candle_nn::ops::sigmoid(x)?,
            Activation::Softplus => composed::softplus(x)?,
            Activation::Silu => (x * candle_nn::ops::sigmoid(x)?)?,
            Activation::Gelu => (x * (((x / SQRT_2)?.erf()? + 1.)? * 0.5)?)?,
        })
    }
}

#[inline(always)]
fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

#[inline(always)]
fn slopes(y: &[f32], g: &mut [f32], slope: impl Fn(f32) -> f32) {
    for (g, y) in g.iter_mut().zip(y) {
        *g = weigh(*g, slope(*y));
    }
}

struct Apply<'a>(Activation, &'a mut [f32]);

impl Loop for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.apply_slice::<FMA>(self.1);
    }
}

struct Backprop<'a>(Activation, &'a [f32], &'a mut [f32]);

impl Loop for Backprop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.backprop_slice::<FMA>(self.1, self.2);
    }
}
