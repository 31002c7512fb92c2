//! A family's parameters: their values checked once, their shapes broadcast once.

use super::select_component;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::reduce::range::{End, all_inside, first_outside};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Tensor};
use std::array;

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

/// Names and domains of a family's parameters, in the order of its constructor.
pub(super) type Domains<const N: usize> = [(&'static str, Domain); N];

pub(super) const LOCATION_SCALE: Domains<2> = [("loc", Domain::Real), ("scale", Domain::Positive)];

/// As [`Domain::check`], of several tensors at once.
fn check<const N: usize>(
    op: &'static str,
    domains: Domains<N>,
    tensors: [&Tensor; N],
) -> Result<()> {
    let counts = domains.iter().any(|(_, d)| *d == Domain::Count);
    let inside = !counts
        && all_inside(array::from_fn::<_, N, _>(|i| {
            let (low, high, _) = domains[i].1.ends();
            (tensors[i], low, high)
        }));
    // One by one only to say which is outside.
    domains
        .iter()
        .zip(tensors)
        .filter(|_| !inside)
        .try_for_each(|((arg, domain), tensor)| domain.check(op, arg, tensor))
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

/// The arguments of a formula: one list after the other.
pub(super) fn join<'a, const A: usize, const B: usize, const M: usize>(
    first: [&'a Tensor; A],
    second: [&'a Tensor; B],
) -> [&'a Tensor; M] {
    const { assert!(M == A + B) };
    array::from_fn(|i| if i < A { first[i] } else { second[i - A] })
}

/// N parameters of one dtype on one device whose shapes broadcast to the batch shape.
#[derive(Debug, Clone)]
pub(super) struct Parameters<const N: usize> {
    given: [Tensor; N],
    /// In the batch shape, without a copy.
    full: [Tensor; N],
}

impl<const N: usize> Parameters<N> {
    /// Checks shapes and values.
    pub(super) fn new(
        op: &'static str,
        domains: Domains<N>,
        parameters: [&Tensor; N],
    ) -> Result<Self> {
        let out = Self::unchecked(op, domains, parameters)?;
        check(op, domains, parameters)?;
        Ok(out)
    }

    /// Checks shapes only.
    pub(super) fn unchecked(
        op: &'static str,
        domains: Domains<N>,
        parameters: [&Tensor; N],
    ) -> Result<Self> {
        let named = array::from_fn(|i| (domains[i].0, parameters[i]));
        Ok(Parameters {
            given: parameters.map(Tensor::clone),
            full: shape::broadcast_parameters(op, named)?,
        })
    }

    /// The parameters as they were given: operations that broadcast take these.
    pub(super) fn given(&self) -> [&Tensor; N] {
        self.given.each_ref()
    }

    /// A parameter in the batch shape.
    pub(super) fn full(&self, index: usize) -> &Tensor {
        &self.full[index]
    }

    /// The parameters of the components that `index` names, as [`select_component`] takes them.
    pub(super) fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let mut full = self.full.clone();
        for parameter in &mut full {
            *parameter = select_component(parameter, index, after)?;
        }
        let given = full.clone();
        Ok(Parameters { given, full })
    }

    pub(super) fn batch_shape(&self) -> &[usize] {
        self.full[0].dims()
    }

    /// Refuses a value of another dtype or device, or of a shape that is not `sample ++ batch`.
    pub(super) fn check_value(&self, op: &'static str, value: &Tensor) -> Result<()> {
        shape::same_kind(op, "value", value, &self.given[0])?;
        shape::value_shape(op, value, self.batch_shape(), &[]).map(|_| ())
    }

    /// Refuses another family's parameters of another dtype or device, or of a shape that does not broadcast.
    pub(super) fn check_other<const M: usize>(
        &self,
        op: &'static str,
        other: &Parameters<M>,
    ) -> Result<()> {
        shape::same_kind(op, "other", &other.given[0], &self.given[0])?;
        let (batch, found) = (self.batch_shape(), other.batch_shape());
        let expected = || format!("a batch that broadcasts with {batch:?}");
        shape::broadcast(batch, found)
            .map(|_| ())
            .ok_or_else(|| Error::shape(op, "other", expected(), found))
    }

    /// A formula of the parameters, in the batch shape.
    pub(super) fn formula<F: Formula<N>>(&self, op: &'static str, f: F) -> Result<Tensor> {
        named(op, f, self.given())
    }

    /// A formula of a value and the parameters.
    pub(super) fn at<F: Formula<M>, const M: usize>(
        &self,
        op: &'static str,
        f: F,
        value: &Tensor,
    ) -> Result<Tensor> {
        self.check_value(op, value)?;
        named(op, f, join([value], self.given()))
    }

    /// A formula of a probability, which is to be from 0 to 1, and the parameters.
    pub(super) fn of_probability<F: Formula<M>, const M: usize>(
        &self,
        op: &'static str,
        f: F,
        probability: &Tensor,
    ) -> Result<Tensor> {
        super::check_probability(op, probability, &self.given[0], self.batch_shape())?;
        named(op, f, join([probability], self.given()))
    }

    /// A formula of these parameters and another's: a divergence.
    pub(super) fn with<F: Formula<K>, const M: usize, const K: usize>(
        &self,
        op: &'static str,
        f: F,
        other: &Parameters<M>,
    ) -> Result<Tensor> {
        self.check_other(op, other)?;
        named(op, f, join(self.given(), other.given()))
    }

    /// Uniforms in the open interval (0, 1), of shape `sample ++ batch`.
    pub(super) fn uniforms(&self, sample: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let like = &self.given[0];
        rng.uniform(
            [sample, self.batch_shape()].concat(),
            like.dtype(),
            like.device(),
        )
    }

    /// Standard normals, of shape `sample ++ batch`.
    pub(super) fn normals(&self, sample: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let like = &self.given[0];
        rng.normal(
            [sample, self.batch_shape()].concat(),
            like.dtype(),
            like.device(),
        )
    }
}

impl<const N: usize> Detach for Parameters<N> {
    fn detach(&self) -> Self {
        Parameters {
            given: self.given.detach(),
            full: self.full.detach(),
        }
    }
}
