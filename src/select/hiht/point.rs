//! Where a path is.

use crate::kernels::linear::design::Number;
use crate::select::matrix::{squared_gap, squares};

/// Rows of W that are not zero: features in order, `[C]` numbers each.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows<T> {
    pub(super) features: Vec<usize>,
    pub(super) values: Vec<T>,
}

/// W and what follows from it.
pub(super) struct Point<T> {
    pub(super) w: Rows<T>,
    /// That of centred features; not used for squares.
    pub(super) bias: Vec<f64>,
    /// The gradient of the loss with respect to the scores `X W + b`, [C, stride]: for squares it is the residual.
    pub(super) score_gradient: Vec<T>,
    pub(super) loss: f64,
}

/// A row after a step; whether it is long enough to stay.
pub(super) fn step_row<T: Number>(
    own: Option<&[T]>,
    slope: &[T],
    lambda: f64,
    lipschitz: f64,
    row: &mut [T],
) -> bool {
    // One loop: rows are short, and there are many.
    let mut square = 0.;
    for (k, (row, slope)) in row.iter_mut().zip(slope).enumerate() {
        let w: f64 = own.map_or(0., |own| own[k].into());
        let slope: f64 = (*slope).into();
        *row = T::of(w - slope / lipschitz);
        let rounded: f64 = (*row).into();
        square += rounded * rounded;
    }
    square > 2. * lambda / lipschitz
}

impl<T: Number> Point<T> {
    /// Of this weight of the regularization.
    pub(super) fn objective(&self, lambda: f64) -> f64 {
        self.loss + lambda * self.w.features.len() as f64
    }
}

impl<T: Number> Rows<T> {
    /// As f64, `[C]` each.
    pub(super) fn rows(&self, outputs: usize) -> Vec<Vec<f64>> {
        let row = |row: &[T]| row.iter().map(|w| (*w).into()).collect();
        self.values.chunks_exact(outputs).map(row).collect()
    }
}

/// The squared length of a change of W.
pub(super) fn squared_change<T: Number>(a: &Rows<T>, b: &Rows<T>, outputs: usize) -> f64 {
    if a.features == b.features {
        return squared_gap(&a.values, &b.values);
    }
    let mut rest = b
        .features
        .iter()
        .zip(b.values.chunks_exact(outputs))
        .peekable();
    let mut total = 0.;
    for (i, own) in a.features.iter().zip(a.values.chunks_exact(outputs)) {
        while let Some((_, other)) = rest.next_if(|(j, _)| *j < i) {
            total += squares(other);
        }
        total += match rest.next_if(|(j, _)| *j == i) {
            Some((_, other)) => squared_gap(own, other),
            None => squares(own),
        };
    }
    total + rest.map(|(_, other)| squares(other)).sum::<f64>()
}
