//! Activation functions: as fused nodes, and as in-place loops for the kernels that end in one.

use crate::error::Result;
use crate::kernels::elementwise::composed;
use crate::kernels::elementwise::map::{self, Map, Wide};
use crate::kernels::graph::node::weigh;
use crate::kernels::number::single;
use candle_core::Tensor;
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

/// `max(x, 0)` that keeps NaN.
#[derive(Clone, Copy)]
struct Relu;

impl Map for Relu {
    const NAME: &'static str = "relu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        if x <= 0. { 0. } else { x }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        if x <= 0. { 0. } else { 1. }
    }
}

/// `x` where positive, the slope times `x` elsewhere. Written so that NaN takes the positive side and stays.
#[derive(Clone, Copy)]
struct Leaky(f32);

impl Map for Leaky {
    const NAME: &'static str = "leaky-relu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        if x <= 0. { self.0 * x } else { x }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        if x <= 0. { self.0 } else { 1. }
    }
}

/// `x` where positive, `e^x - 1` elsewhere.
#[derive(Clone, Copy)]
struct Elu;

impl Map for Elu {
    const NAME: &'static str = "elu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        let left = single::expm1::<FMA>(x);
        if x > 0. { x } else { left }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, _: f32, y: f32) -> f32 {
        if y > 0. { 1. } else { y + 1. }
    }
}

/// `x sigmoid(x)`.
#[derive(Clone, Copy)]
struct Silu;

impl Map for Silu {
    const NAME: &'static str = "silu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        // Beyond -200 the product is 0, at -inf it would be NaN.
        let x = if x < -200. { -200. } else { x };
        x * single::sigmoid::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        let x = if x < -200. { -200. } else { x };
        let x = if x > 200. { 200. } else { x };
        let s = single::sigmoid::<FMA>(x);
        s * (1. + x * (1. - s))
    }
}

/// `x Phi(x)`.
#[derive(Clone, Copy)]
struct Gelu;

impl Map for Gelu {
    const NAME: &'static str = "gelu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        let x = if x < -20. { -20. } else { x };
        x * single::normal_cdf::<FMA>(x).0
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        let x = if x < -20. { -20. } else { x };
        let x = if x > 20. { 20. } else { x };
        let (cdf, density) = single::normal_cdf::<FMA>(x);
        x * density * 0.398_942_3 + cdf
    }
}

/// `(1 + erf(x / sqrt 2)) / 2` loses the digits of the left tail in f64; erfc keeps them.
fn normal_cdf(x: f64) -> f64 {
    0.5 * crate::kernels::number::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

impl Wide for Gelu {
    fn value_f64(self, x: f64) -> f64 {
        // Beyond, the cdf is 0 and the product with -inf would be NaN.
        if x < -40. { -0. } else { x * normal_cdf(x) }
    }

    fn slope_f64(self, x: f64, _: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let tail = if x.is_infinite() { 0. } else { x * density };
        normal_cdf(x) + tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::machine::simd::{Loop, dispatch};
    use candle_core::{DType, Device, Var};

    const ALL: [Activation; 10] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::LeakyRelu(-0.5),
        Activation::Elu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Silu,
        Activation::Gelu,
    ];

    fn points() -> Vec<f32> {
        let mut x: Vec<f32> = (0..117).map(|i| (i as f32 - 58.) * 0.21).collect();
        x.extend([0., -0., 1e-6, -1e-6, 30., -30., 100., -100.]);
        x
    }

    fn weight(i: usize) -> f64 {
        (i % 7) as f64 - 2.5
    }

    /// Value and gradient of sum(f(x) w), with the composed form in f64 as the reference.
    fn value_and_gradient(f: Activation, x: &Tensor, composed: bool) -> Result<(Tensor, Tensor)> {
        let var = Var::from_tensor(x)?;
        let y = if composed {
            f.composed(&var)?
        } else {
            f.forward(&var)?
        };
        let w: Vec<f64> = (0..x.elem_count()).map(weight).collect();
        let w = Tensor::from_vec(w, x.shape(), x.device())?.to_dtype(x.dtype())?;
        let gradients = (&y * w)?.sum_all()?.backward()?;
        let gradient = match gradients.get(&var) {
            Some(g) => g.clone(),
            None => x.zeros_like()?,
        };
        Ok((y.detach(), gradient))
    }

    fn close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) -> Result<()> {
        assert_eq!(got.dims(), want.dims(), "{what}");
        let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let want = want.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            let near = (g - w).abs() <= tolerance * (1. + w.abs());
            assert!(
                near || (g.is_nan() && w.is_nan()),
                "{what} at {i}: {g}, want {w}"
            );
        }
        Ok(())
    }

    #[test]
    fn fused_meets_composed_in_every_layout() -> Result<()> {
        let flat = Tensor::from_vec(points(), 125, &Device::Cpu)?;
        let grid = flat.reshape((5, 25))?;
        let inputs = [
            flat.clone(),
            grid.t()?,
            grid.narrow(1, 3, 7)?,
            flat.narrow(0, 50, 1)?.broadcast_as((3, 4))?,
            Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?,
            flat.get(7)?,
            Tensor::zeros((200, 400), DType::F32, &Device::Cpu)?
                .broadcast_add(&flat.narrow(0, 20, 1)?)?,
        ];
        for f in ALL {
            for x in &inputs {
                let (value, gradient) = value_and_gradient(f, x, false)?;
                let (want, slope) = value_and_gradient(f, &x.to_dtype(DType::F64)?, true)?;
                close(&value, &want, 1e-6, &format!("{f:?} {:?}", x.dims()))?;
                close(&gradient, &slope, 3e-6, &format!("{f:?}' {:?}", x.dims()))?;
            }
        }
        Ok(())
    }

    #[test]
    fn composed_gradients_meet_central_differences() -> Result<()> {
        let h = 1e-5;
        let x: Vec<f64> = (0..60).map(|i| (i as f64 - 29.7) * 0.3).collect();
        let x = Tensor::from_vec(x, 60, &Device::Cpu)?;
        for f in ALL {
            let var = Var::from_tensor(&x)?;
            let gradients = f.forward(&var)?.sum_all()?.backward()?;
            let up = f.forward(&(&x + h)?)?;
            let down = f.forward(&(&x - h)?)?;
            let want = ((up - down)? / (2. * h))?;
            if let Some(got) = gradients.get(&var) {
                close(got, &want, 1e-9, &format!("{f:?}"))?;
            } else {
                assert_eq!(f, Activation::Identity);
            }
        }
        Ok(())
    }

    #[test]
    fn infinities_and_nan_are_kept() -> Result<()> {
        let x = Tensor::new(
            &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.],
            &Device::Cpu,
        )?;
        for f in ALL {
            let (value, gradient) = value_and_gradient(f, &x, false)?;
            let (v, g) = (value.to_vec1::<f32>()?, gradient.to_vec1::<f32>()?);
            let top = if matches!(f, Activation::Tanh | Activation::Sigmoid) {
                1.
            } else {
                f32::INFINITY
            };
            assert_eq!(v[0], top, "{f:?}");
            let bottom = match f {
                Activation::Identity | Activation::LeakyRelu(0.2) => f32::NEG_INFINITY,
                Activation::LeakyRelu(_) => f32::INFINITY,
                Activation::Elu | Activation::Tanh => -1.,
                _ => 0.,
            };
            assert_eq!(v[1], bottom, "{f:?}");
            assert!(v[2].is_nan(), "{f:?}");
            if f != Activation::Identity {
                assert!(g[0].is_finite() && g[1].is_finite(), "{f:?} {g:?}");
            }
        }
        // The convention at the kink.
        let (_, g) = value_and_gradient(
            Activation::Relu,
            &Tensor::zeros(2, DType::F32, &Device::Cpu)?,
            false,
        )?;
        assert_eq!(g.to_vec1::<f32>()?, [0., 0.]);
        Ok(())
    }

    struct InPlace<'a>(Activation, &'a mut [f32], &'a mut [f32]);
    impl Loop for InPlace<'_> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            let x = self.1.to_vec();
            self.0.apply_slice::<FMA>(self.1);
            let from_output = self.0.slope_from_output();
            self.0
                .backprop_slice::<FMA>(if from_output { self.1 } else { &x }, self.2);
        }
    }

    #[test]
    fn slices_meet_the_node() -> Result<()> {
        let x = points();
        for f in ALL {
            let tensor = Tensor::from_vec(x.clone(), x.len(), &Device::Cpu)?;
            let (value, gradient) = value_and_gradient(f, &tensor, false)?;
            for detected in [true, false] {
                let mut y = x.clone();
                let mut g: Vec<f32> = (0..x.len()).map(|i| weight(i) as f32).collect();
                let l = InPlace(f, &mut y, &mut g);
                if detected {
                    dispatch(l);
                } else {
                    l.run::<false>();
                }
                let what = format!("{f:?} {detected}");
                close(
                    &Tensor::from_vec(y, x.len(), &Device::Cpu)?,
                    &value,
                    1e-6,
                    &what,
                )?;
                close(
                    &Tensor::from_vec(g, x.len(), &Device::Cpu)?,
                    &gradient,
                    3e-6,
                    &what,
                )?;
            }
        }
        Ok(())
    }

    /// Values by erfc of the C library; the crate behind `normal_cdf` keeps ten digits there, `1 + erf` none.
    #[test]
    fn gelu_in_f64_keeps_its_tail() -> Result<()> {
        let x = Tensor::new(&[-10f64, -3., 0., 2., f64::NEG_INFINITY], &Device::Cpu)?;
        let y = Activation::Gelu.forward(&x)?.to_vec1::<f64>()?;
        let want = [
            -7.619_853_024_160_593e-23,
            -4.049_694_094_890_287e-3,
            0.,
            1.954_499_736_103_641_6,
            0.,
        ];
        for (y, want) in y.iter().zip(want) {
            assert!((y - want).abs() <= 1e-10 * want.abs(), "{y} {want}");
        }
        Ok(())
    }
}
