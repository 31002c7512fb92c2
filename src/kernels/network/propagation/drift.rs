//! What was rebuilt beside what was.

use crate::error::Error;

/// The largest drift beside the largest value.
const LIMIT: f32 = 1e-3;

/// Values below this part of the largest one near by are rounding there.
const SMALL: f32 = 1e-2;

/// At one layer, over one chunk of rows or several.
#[derive(Clone, Copy, Default)]
pub(super) struct Drift {
    /// The largest difference.
    gap: f32,
    /// The largest value there, and of the state that the way back began with.
    size: f32,
    near: f32,
}

impl Drift {
    pub(super) fn between(rebuilt: &[f32], kept: &[f32]) -> Self {
        let mut drift = Drift::default();
        for (a, b) in rebuilt.iter().zip(kept) {
            let gap = (a - b).abs();
            // What was not finite says nothing. What no longer is has drifted without end.
            if b.is_finite() {
                drift.gap = drift
                    .gap
                    .max(if gap.is_nan() { f32::INFINITY } else { gap });
                drift.size = drift.size.max(b.abs());
            }
        }
        drift
    }

    pub(super) fn near(mut self, states: [&[f32]; 2]) -> Self {
        let all = states.into_iter().flatten().map(|x| x.abs());
        self.near = all.filter(|x| x.is_finite()).fold(self.near, f32::max);
        self
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        Drift {
            gap: self.gap.max(other.gap),
            size: self.size.max(other.size),
            near: self.near.max(other.near),
        }
    }

    /// Refuses states before layer `j` that have drifted.
    pub(super) fn check(self, op: &'static str, j: usize) -> Result<(), Error> {
        let size = self.size.max(SMALL * self.near);
        if self.gap <= LIMIT * size {
            return Ok(());
        }
        let expected = format!(
            "states before layer {j} that are rebuilt to {LIMIT:e} of their largest value: Memory::States keeps them"
        );
        let found = format!("a drift of {:.1e} beside values up to {size:.1e}", self.gap);
        Err(Error::value(op, "memory", expected, found))
    }
}
