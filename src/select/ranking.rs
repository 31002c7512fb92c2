//! The order of features that a method gives.

use crate::error::{Error, Result};

/// All features, the most relevant first.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    order: Vec<usize>,
    scores: Vec<f64>,
}

impl Ranking {
    /// By scores, the highest first, among equal ones by the feature's number: what a [`Selector`](super::Selector) of one's own
    /// returns.
    ///
    /// Errors: a score that is NaN.
    pub fn by_scores(scores: Vec<f64>) -> Result<Self> {
        if let Some(i) = scores.iter().position(|score| score.is_nan()) {
            let found = format!("NaN for feature {i}");
            return Err(Error::value(
                "Ranking::by_scores",
                "scores",
                "numbers",
                found,
            ));
        }
        let ties = vec![0.; scores.len()];
        Ok(Self::new(scores, &ties))
    }

    /// By scores, the highest first, among equal ones by the second number, then by the feature's number.
    pub(super) fn new(scores: Vec<f64>, second: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let key = |i: &usize| (scores[*i], second[*i]);
        order.sort_by(|a, b| {
            let ((a, x), (b, y)) = (key(a), key(b));
            b.total_cmp(&a).then(y.total_cmp(&x))
        });
        Ranking { order, scores }
    }

    /// In an order that is not that of the scores alone.
    pub(super) fn listed(order: Vec<usize>, scores: Vec<f64>) -> Self {
        Ranking { order, scores }
    }

    /// The features, the most relevant first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The score of each feature, by its number.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The `k` most relevant features.
    ///
    /// Errors: more than there are.
    pub fn top(&self, k: usize) -> Result<&[usize]> {
        self.order.get(..k).ok_or_else(|| {
            let expected = format!("at most {} features", self.order.len());
            Error::value("Ranking::top", "k", expected, k)
        })
    }
}
