//! Where the scale of a likelihood comes from.

use super::layout::Layout;
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::net::head::{Build, ScaleForm};
use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

/// The scale of a location family, for every element the same or not.
#[derive(Debug, Clone)]
enum Spread {
    /// A number.
    Fixed(f64),
    /// A variable of no dims, read in this form.
    Shared(Tensor, ScaleForm),
    /// The second raw number of each element.
    PerElement(ScaleForm),
}

/// Raw output as location and scale of every element.
#[derive(Debug, Clone)]
pub(super) struct Located {
    layout: Layout,
    spread: Spread,
}

impl Detach for Located {
    fn detach(&self) -> Self {
        let spread = match &self.spread {
            Spread::Shared(raw, form) => Spread::Shared(raw.detach(), *form),
            spread => spread.clone(),
        };
        let layout = self.layout.clone();
        Located { layout, spread }
    }
}

impl Located {
    pub(super) fn fixed(op: &'static str, event: &[usize], scale: f64) -> Result<Self> {
        check::positive_finite(op, "scale", scale)?;
        Self::of(op, event, Spread::Fixed(scale))
    }

    /// The variable `log_var` starts at 0: a scale of 1.
    pub(super) fn shared(op: &'static str, event: &[usize], vb: VarBuilder) -> Result<Self> {
        let raw = vb.get_with_hints((), "log_var", Init::Const(0.))?;
        Self::of(op, event, Spread::Shared(raw, ScaleForm::LogVar))
    }

    pub(super) fn per_element(op: &'static str, event: &[usize], form: ScaleForm) -> Result<Self> {
        form.check(op)?;
        Self::of(op, event, Spread::PerElement(form))
    }

    fn of(op: &'static str, event: &[usize], spread: Spread) -> Result<Self> {
        let count = match spread {
            Spread::PerElement(_) => 2,
            _ => 1,
        };
        let layout = Layout::new(op, event, count)?;
        Ok(Located { layout, spread })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The location of every element, `batch ++ event`.
    pub(super) fn loc(&self, op: &'static str, raw: &Tensor) -> Result<Tensor> {
        match self.spread {
            Spread::PerElement(_) => self.layout.part(op, raw, 0),
            _ => self.layout.only(op, raw),
        }
    }

    pub(super) fn given<T>(&self, op: &'static str, raw: &Tensor, build: Build<T>) -> Result<T> {
        let loc = self.loc(op, raw)?;
        match &self.spread {
            Spread::Fixed(scale) => {
                let scale = Tensor::new(*scale, raw.device())?.to_dtype(raw.dtype())?;
                (build.from_scale)(&loc, &scale)
            }
            Spread::Shared(shared, form) => form.distribution(&loc, shared, build),
            Spread::PerElement(form) => {
                form.distribution(&loc, &self.layout.part(op, raw, 1)?, build)
            }
        }
    }
}
