//! One layer, forwards and back, on dual numbers: what all ways through the layers share.

use super::operator::{Side, affine};
use super::{Force, Scheme, Start, State};
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::continuous::RK4;
use candle_core::{D, DType, Tensor};

/// The law of all layers. Its kernels are those that [`Law::operators`] made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Law {
    pub(super) scheme: Scheme,
    pub(super) activation: Activation,
    pub(super) step: f64,
}

/// The weights of one layer.
#[derive(Clone)]
pub(super) struct Layer {
    pub(super) kernel: Dual,
    pub(super) bias: Option<Dual>,
    pub(super) second_bias: Option<Dual>,
}

/// y and, for schemes that have it, z.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) y: Dual,
    pub(super) z: Option<Dual>,
}

impl Law {
    /// From the stack of kernels those that the layers multiply with: `1/2 (K - K^T - gamma I)`, `-C^T C` of dense kernels.
    pub(super) fn operators(&self, kernel: &Dual) -> Result<Dual> {
        match self.scheme.force() {
            Some(Force::Antisymmetric { gamma }) => {
                let difference = kernel.linear(|k| Ok(((k - transposed(k)?)? * 0.5)?))?;
                if gamma == 0. {
                    return Ok(difference);
                }
                let identity = identity(kernel.value())?;
                difference.sub(&Dual::constant(&(identity * (gamma / 2.))?))
            }
            Some(Force::Definite) if kernel.value().rank() == 3 => {
                let c = kernel.value();
                // By columns: C^T times another stack.
                let times = |other: &Tensor| -> Result<Tensor> {
                    Ok(c.transpose(1, 2)?.contiguous()?.matmul(other)?.neg()?)
                };
                let value = times(&c.contiguous()?)?;
                let Some(moved) = kernel.tangent() else {
                    return Ok(Dual::constant(&value));
                };
                let half = times(&moved.contiguous()?)?;
                Dual::new(&value, &(&half + half.transpose(1, 2)?)?)
            }
            _ => Ok(kernel.clone()),
        }
    }

    /// f(y).
    pub(super) fn force(&self, force: Force, y: &Dual, layer: &Layer) -> Result<Dual> {
        let (kernel, bias) = (&layer.kernel, layer.bias.as_ref());
        match force {
            Force::Definite if kernel.value().rank() == 4 => {
                let inner = affine(kernel, Side::Plain, y, None, Activation::Identity)?;
                let inner = inner.scale(-1.)?;
                affine(kernel, Side::Transposed, &inner, bias, self.activation)
            }
            Force::Double => {
                let inner = affine(kernel, Side::Plain, y, bias, self.activation)?.scale(-1.)?;
                affine(kernel, Side::Transposed, &inner, None, Activation::Identity)
            }
            _ => affine(kernel, Side::Plain, y, bias, self.activation),
        }
    }

    /// `sigma(K y + b_z)`, what drives Verlet's z.
    pub(super) fn drives_z(&self, y: &Dual, layer: &Layer) -> Result<Dual> {
        let bias = layer.second_bias.as_ref();
        affine(&layer.kernel, Side::Plain, y, bias, self.activation)
    }

    /// `sigma(K^T z + b)`, what drives its y.
    pub(super) fn drives_y(&self, z: &Dual, layer: &Layer) -> Result<Dual> {
        let bias = layer.bias.as_ref();
        affine(&layer.kernel, Side::Transposed, z, bias, self.activation)
    }

    /// The place before the first layer, with all that goes with y, of shape `beside`.
    pub(super) fn start(&self, y: Dual, z: Option<Dual>, beside: &[usize]) -> Result<Place> {
        let zeros = |y: &Dual| -> Result<Dual> {
            let y = y.value();
            Ok(Dual::constant(&Tensor::zeros(
                beside,
                y.dtype(),
                y.device(),
            )?))
        };
        let z = match (self.scheme, z) {
            (_, Some(z)) => Some(z),
            (Scheme::Leapfrog(_, Start::Zero), None) => Some(y.clone()),
            (Scheme::Leapfrog(_, Start::Rest) | Scheme::Verlet, None) => Some(zeros(&y)?),
            (Scheme::Euler(_) | Scheme::Rk4(_), None) => None,
        };
        Ok(Place { y, z })
    }

    /// The place after a layer.
    pub(super) fn forward(&self, at: &Place, layer: &Layer) -> Result<Place> {
        let (h, y) = (self.step, &at.y);
        let next = |y: Dual, z: Option<Dual>| Ok(Place { y, z });
        match self.scheme {
            Scheme::Euler(force) => {
                let slope = self.force(force, y, layer)?;
                next(y.add(&slope.scale(h)?)?, None)
            }
            Scheme::Rk4(force) => {
                let (mut end, mut stage) = (y.clone(), y.clone());
                for (i, (_, weight)) in RK4.iter().enumerate() {
                    let slope = self.force(force, &stage, layer)?;
                    end = end.add(&slope.scale(h * weight)?)?;
                    if let Some((place, _)) = RK4.get(i + 1) {
                        stage = y.add(&slope.scale(h * place)?)?;
                    }
                }
                next(end, None)
            }
            Scheme::Leapfrog(force, _) => {
                let slope = self.force(force, y, layer)?;
                let difference = at.beside()?.add(&slope.scale(h * h)?)?;
                next(y.add(&difference)?, Some(difference))
            }
            Scheme::Verlet => {
                let z = at.beside()?.sub(&self.drives_z(y, layer)?.scale(h)?)?;
                let y = y.add(&self.drives_y(&z, layer)?.scale(h)?)?;
                next(y, Some(z))
            }
        }
    }

    /// The place before a layer from that after it.
    pub(super) fn back(&self, at: &Place, layer: &Layer) -> Result<Place> {
        let (h, z) = (self.step, at.beside()?);
        match self.scheme {
            Scheme::Leapfrog(force, _) => {
                let y = at.y.sub(z)?;
                let slope = self.force(force, &y, layer)?;
                let z = Some(z.sub(&slope.scale(h * h)?)?);
                Ok(Place { y, z })
            }
            Scheme::Verlet => {
                let y = at.y.sub(&self.drives_y(z, layer)?.scale(h)?)?;
                let z = Some(z.add(&self.drives_z(&y, layer)?.scale(h)?)?);
                Ok(Place { y, z })
            }
            scheme => {
                let expected = "leapfrog or Verlet, whose steps have an inverse";
                let found = format!("{scheme:?}");
                Err(Error::value("Propagation::back", "scheme", expected, found))
            }
        }
    }
}

impl Place {
    pub(super) fn constant(state: &State) -> Self {
        Place {
            y: Dual::constant(&state.y),
            z: state.z.as_ref().map(Dual::constant),
        }
    }

    pub(super) fn state(&self) -> State {
        State {
            y: self.y.value().clone(),
            z: self.z.as_ref().map(|z| z.value().clone()),
        }
    }

    /// Zeros where nothing moved.
    pub(super) fn derivative(&self) -> Result<State> {
        let of = |d: &Dual| -> Result<Tensor> {
            match d.tangent() {
                Some(tangent) => Ok(tangent.clone()),
                None => Ok(d.value().zeros_like()?),
            }
        };
        Ok(State {
            y: of(&self.y)?,
            z: self.z.as_ref().map(of).transpose()?,
        })
    }

    fn beside(&self) -> Result<&Dual> {
        let missing = || Error::value("Propagation", "z", "what goes with y", "none");
        self.z.as_ref().ok_or_else(missing)
    }
}

/// The transposes of a stack of operators: of convolutions with their channels swapped and their kernels turned, which with
/// zeros at the border and stride 1 is exact.
fn transposed(stack: &Tensor) -> Result<Tensor> {
    let swapped = stack.transpose(1, 2)?.contiguous()?;
    match stack.rank() {
        3 => Ok(swapped),
        _ => turned(&turned(&swapped, 3)?, 4),
    }
}

/// A dim in reverse order.
fn turned(x: &Tensor, dim: usize) -> Result<Tensor> {
    let last = x.dim(dim)? as u32;
    let order = Tensor::from_iter((0..last).rev(), x.device())?;
    Ok(x.index_select(&order, dim)?)
}

/// The identity in the form of these square operators, of one layer.
fn identity(stack: &Tensor) -> Result<Tensor> {
    let width = stack.dim(1)?;
    let one = Tensor::eye(width, DType::F32, stack.device())?.to_dtype(stack.dtype())?;
    if stack.rank() == 3 {
        return Ok(one);
    }
    let border = stack.dim(D::Minus1)? / 2;
    let mut one = one.reshape((width, width, 1, 1))?;
    for dim in [2, 3] {
        one = one.pad_with_zeros(dim, border, border)?;
    }
    Ok(one)
}
