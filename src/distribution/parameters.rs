//! A family's parameters: their values checked once, their shapes broadcast once.

use super::select_component;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::reduce::range::{End, all_inside, first_outside};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Tensor};

/// Which numbers a parameter may be. NaN is in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// Any finite number.
    Real,
    /// Above 0 and finite.
    Positive,
    /// 0 or more, and finite.
    NonNegative,
    /// From 0 to 1, both included.
    Unit,
    /// Above 0 and up to 1, which is included.
    UnitNotZero,
    /// From 0, which is included, to below 1.
    UnitNotOne,
    /// Whole numbers of 0 or more.
    Count,
    /// Any number but NaN, infinities included.
    Extended,
}

impl Domain {
    fn ends(self) -> (End, End, &'static str) {
        let infinite = End::Open(f64::INFINITY);
        match self {
            Domain::Real => (End::Open(f64::NEG_INFINITY), infinite, "finite numbers"),
            Domain::Positive => (End::Open(0.), infinite, "positive finite numbers"),
            Domain::NonNegative => (End::Closed(0.), infinite, "finite numbers of 0 or more"),
            Domain::Unit => (End::Closed(0.), End::Closed(1.), "numbers from 0 to 1"),
            Domain::UnitNotZero => (End::Open(0.), End::Closed(1.), "numbers above 0, up to 1"),
            Domain::UnitNotOne => (
                End::Closed(0.),
                End::Open(1.),
                "numbers of 0 or more, below 1",
            ),
            Domain::Count => (End::Closed(0.), infinite, "whole numbers of 0 or more"),
            Domain::Extended => (
                End::Closed(f64::NEG_INFINITY),
                End::Closed(f64::INFINITY),
                "numbers",
            ),
        }
    }

    /// Refuses a tensor with an element outside.
    pub(super) fn check(self, op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<()> {
        shape::float(op, arg, tensor)?;
        let (low, high, expected) = self.ends();
        match first_outside(tensor, low, high)? {
            Some(found) => Err(Error::value(op, arg, expected, found)),
            None if self == Domain::Count => {
                let part = (tensor - tensor.floor()?)?;
                match first_outside(&part, End::Closed(0.), End::Closed(0.))? {
                    Some(_) => Err(Error::value(op, arg, expected, "a fraction")),
                    None => Ok(()),
                }
            }
            None => Ok(()),
        }
    }
}

/// As [`Domain::check`], of several tensors at once.
pub(super) fn check<const N: usize>(
    op: &'static str,
    parameters: [(&'static str, &Tensor, Domain); N],
) -> Result<()> {
    let counts = parameters.iter().any(|(.., d)| *d == Domain::Count);
    let inside = !counts
        && all_inside(parameters.map(|(_, tensor, domain)| {
            let (low, high, _) = domain.ends();
            (tensor, low, high)
        }));
    // One by one only to say which is outside.
    parameters
        .iter()
        .filter(|_| !inside)
        .try_for_each(|(arg, tensor, domain)| domain.check(op, arg, tensor))
}

/// Refuses an upper end that is not above the lower one; infinite ends are as good as others.
pub(super) fn above(op: &'static str, low: &Tensor, high: &Tensor) -> Result<()> {
    let ordered = low.broadcast_lt(high)?.to_dtype(DType::F32)?;
    if ordered.elem_count() > 0 && ordered.min_all()?.to_scalar::<f32>()? == 0. {
        let found = "an element that is not";
        return Err(Error::value(op, "high", "numbers above low", found));
    }
    Ok(())
}

/// N parameters of one dtype on one device whose shapes broadcast to the batch shape.
#[derive(Debug, Clone)]
pub(super) struct Parameters<const N: usize> {
    given: [Tensor; N],
    batch: Vec<usize>,
}

impl<const N: usize> Parameters<N> {
    /// Checks shapes and values.
    pub(super) fn new(
        op: &'static str,
        parameters: [(&'static str, &Tensor, Domain); N],
    ) -> Result<Self> {
        let out = Self::unchecked(op, parameters.map(|(arg, tensor, _)| (arg, tensor)))?;
        check(op, parameters)?;
        Ok(out)
    }

    /// Checks shapes only.
    pub(super) fn unchecked(
        op: &'static str,
        parameters: [(&'static str, &Tensor); N],
    ) -> Result<Self> {
        let full = shape::broadcast_parameters(op, parameters)?;
        Ok(Parameters {
            given: parameters.map(|(_, tensor)| tensor.clone()),
            batch: full.first().map_or_else(Vec::new, |t| t.dims().to_vec()),
        })
    }

    /// The parameters as they were given: operations that broadcast take these.
    pub(super) fn given(&self) -> [&Tensor; N] {
        self.given.each_ref()
    }

    /// A parameter in the batch shape, without a copy.
    pub(super) fn full(&self, index: usize) -> Result<Tensor> {
        Ok(self.given[index].broadcast_as(self.batch.as_slice())?)
    }

    /// The parameters of the components that `index` names, as [`select_component`] takes them.
    pub(super) fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let mut given = self.given.clone();
        for (i, parameter) in given.iter_mut().enumerate() {
            *parameter = select_component(&self.full(i)?, index, after)?;
        }
        let batch = given.first().map_or_else(Vec::new, |t| t.dims().to_vec());
        Ok(Parameters { given, batch })
    }

    pub(super) fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    /// Refuses a value of another dtype or device, or of a shape that is not `sample ++ batch`.
    pub(super) fn check_value(&self, op: &'static str, value: &Tensor) -> Result<()> {
        shape::same_kind(op, "value", value, &self.given[0])?;
        shape::value_shape(op, value, &self.batch, &[]).map(|_| ())
    }

    /// Refuses a probability that does not fit, or is outside of 0 to 1.
    pub(super) fn check_probability(&self, op: &'static str, probability: &Tensor) -> Result<()> {
        super::check_probability(op, probability, &self.given[0], &self.batch)
    }

    /// Refuses another family's parameters of another dtype or device, or of a shape that does not broadcast.
    pub(super) fn check_other<const M: usize>(
        &self,
        op: &'static str,
        other: &Parameters<M>,
    ) -> Result<()> {
        shape::same_kind(op, "other", &other.given[0], &self.given[0])?;
        match shape::broadcast(&self.batch, &other.batch) {
            Some(_) => Ok(()),
            None => Err(Error::shape(
                op,
                "other",
                format!("a batch that broadcasts with {:?}", self.batch),
                &other.batch,
            )),
        }
    }

    /// A formula of the parameters, in the batch shape.
    pub(super) fn formula<F: Formula<N>>(&self, f: F) -> Result<Tensor> {
        formula(f, self.given())
    }

    /// Uniforms in the open interval (0, 1), of shape `sample ++ batch`.
    pub(super) fn uniforms(&self, sample: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let like = &self.given[0];
        rng.uniform([sample, &self.batch].concat(), like.dtype(), like.device())
    }

    /// Standard normals, of shape `sample ++ batch`.
    pub(super) fn normals(&self, sample: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let like = &self.given[0];
        rng.normal([sample, &self.batch].concat(), like.dtype(), like.device())
    }
}
