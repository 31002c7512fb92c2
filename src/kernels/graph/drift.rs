//! How far states that were rebuilt have drifted from those that were there: row by row, since a large row would hide the others.

use crate::error::{Error, Result};

/// The largest drift beside the largest value of its row, in f32 and in f64.
pub(crate) const SINGLE: f64 = 1e-3;
pub(crate) const DOUBLE: f64 = 1e-8;

/// Values below this part of the largest one near by are rounding there.
const SMALL: f64 = 1e-2;

/// So many parts has a way that is rebuilt from [`LONG`] steps on, so that memory is the same for all of those.
const PARTS: usize = 8;
const LONG: usize = 64;

/// How many of `count` steps lie between states that are kept where all others are rebuilt.
pub(crate) fn interval(count: usize) -> usize {
    match count {
        0..LONG => count,
        _ => count.div_ceil(PARTS),
    }
}

/// Of each row the largest value of the state that the way back began with. Nothing is said of a row where that is infinite.
#[derive(Clone, Default)]
pub(crate) struct Near(Vec<f64>);

impl Near {
    pub(crate) fn new(rows: usize) -> Self {
        Near(vec![0.; rows])
    }

    /// One number of that state. From one that is not finite nothing can be rebuilt.
    pub(crate) fn see(&mut self, row: usize, x: f64) {
        let x = if x.is_finite() {
            x.abs()
        } else {
            f64::INFINITY
        };
        self.0[row] = self.0[row].max(x);
    }

    pub(crate) fn leave_out(&mut self, row: usize) {
        self.0[row] = f64::INFINITY;
    }

    /// Whether nothing is said of the row.
    pub(crate) fn left_out(&self, row: usize) -> bool {
        self.0[row].is_infinite()
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.len()
    }
}

/// The drift of each row.
pub(crate) struct Drift<'n> {
    near: &'n Near,
    gaps: Vec<f64>,
    sizes: Vec<f64>,
}

impl<'n> Drift<'n> {
    pub(crate) fn new(near: &'n Near) -> Self {
        let zeros = vec![0.; near.rows()];
        Drift {
            near,
            gaps: zeros.clone(),
            sizes: zeros,
        }
    }

    /// One number that was rebuilt and that was kept.
    pub(crate) fn see(&mut self, row: usize, rebuilt: f64, kept: f64) {
        // What was not finite says nothing. What no longer is has drifted without end.
        if kept.is_finite() {
            let gap = (rebuilt - kept).abs();
            let gap = if gap.is_nan() { f64::INFINITY } else { gap };
            self.gaps[row] = self.gaps[row].max(gap);
            self.sizes[row] = self.sizes[row].max(kept.abs());
        }
    }

    /// That of the row which has drifted most.
    pub(crate) fn worst(&self) -> Worst {
        let rows = (0..self.near.rows()).filter(|row| !self.near.left_out(*row));
        let of = |row: usize| Worst {
            gap: self.gaps[row],
            size: self.sizes[row].max(SMALL * self.near.0[row]),
        };
        rows.map(of).fold(Worst::default(), Worst::or)
    }
}

/// The largest drift of any row, with the size of that row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worst {
    gap: f64,
    size: f64,
}

impl Worst {
    fn ratio(self) -> f64 {
        if self.gap == 0. {
            return 0.;
        }
        self.gap / self.size
    }

    /// The worse of two.
    pub(crate) fn or(self, other: Self) -> Self {
        if other.ratio() > self.ratio() {
            other
        } else {
            self
        }
    }

    /// Refuses states before step `i` that have drifted beyond `limit`.
    pub(crate) fn check(self, op: &'static str, i: usize, limit: f64) -> Result<()> {
        if self.ratio() <= limit {
            return Ok(());
        }
        let expected = format!(
            "states before step {i} that are rebuilt to {limit:e} of their row's largest value: Memory::States keeps them"
        );
        let found = format!(
            "a drift of {:.1e} beside values up to {:.1e}",
            self.gap, self.size
        );
        Err(Error::value(op, "memory", expected, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drift of the second of two rows, beside a first one of this size.
    fn refused(size: f64, near: f64, rebuilt: f64, kept: f64) -> bool {
        let mut all = Near::new(2);
        all.see(0, size);
        all.see(1, near);
        let mut drift = Drift::new(&all);
        drift.see(0, size, size);
        drift.see(1, rebuilt, kept);
        drift.worst().check("test", 3, SINGLE).is_err()
    }

    #[test]
    fn each_row_has_its_own_bound() {
        for size in [0., 1., 1e9] {
            assert!(!refused(size, 0., 2. + 1.99e-3, 2.));
            assert!(refused(size, 0., 2. + 2.01e-3, 2.));
            // Beside what it became.
            assert!(!refused(size, 2., 1.99e-5, 0.));
            assert!(refused(size, 2., 2.01e-5, 0.));
            assert!(refused(size, 0., 1e-30, 0.) && !refused(size, 0., 0., 0.));
        }
    }

    #[test]
    fn what_is_not_finite() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            // What was rebuilt, what was there, what it became.
            assert!(refused(1., 1., x, 1.));
            assert!(!refused(1., 1., 1., x) && !refused(1., 1., x, x));
            assert!(!refused(1., x, x, 1.) && !refused(1., x, 5., 1.));
            // Of another row.
            assert!(refused(x, 1., 2., 1.));
        }
    }
}
