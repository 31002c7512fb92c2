//! Checks of arguments that are plain numbers. What a check refuses is an error that names the operation, the argument,
//! what was expected and what came; a number that is not one (NaN) is refused by each of them. Those of tensors and their
//! shapes are in [`shape`](crate::shape).

use crate::error::{Error, Result};
use std::fmt::Display;
use std::ops::{Bound, RangeBounds, RangeInclusive};

/// Counts of what there has to be some of: samples, features, layers, steps.
pub(crate) fn at_least_one(op: &'static str, counts: &[(&'static str, usize)]) -> Result<()> {
    counts
        .iter()
        .try_for_each(|(arg, n)| at_least(op, arg, *n, 1))
}

/// A count or a number that is `least` or more; infinity is.
pub(crate) fn at_least<N: PartialOrd + Display>(
    op: &'static str,
    arg: &'static str,
    found: N,
    least: N,
) -> Result<()> {
    let holds = found >= least;
    require(op, arg, holds, || format!("at least {least}"), found)
}

/// A count or a number that is `most` or less.
pub(crate) fn at_most<N: PartialOrd + Display>(
    op: &'static str,
    arg: &'static str,
    found: N,
    most: N,
) -> Result<()> {
    let holds = found <= most;
    require(op, arg, holds, || format!("at most {most}"), found)
}

/// A product of counts that is a count itself.
pub(crate) fn product(op: &'static str, arg: &'static str, counts: &[usize]) -> Result<usize> {
    let product = counts.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    product.ok_or_else(|| {
        let expected = "fewer numbers than memory could hold";
        Error::value(op, arg, expected, format!("a product of {counts:?}"))
    })
}

/// A count of `things` from the first to the last of `range`.
pub(crate) fn count_in(
    op: &'static str,
    arg: &'static str,
    found: usize,
    range: RangeInclusive<usize>,
    things: &str,
) -> Result<()> {
    let expected = || format!("{} to {} {things}", range.start(), range.end());
    require(op, arg, range.contains(&found), expected, found)
}

/// A finite number.
pub(crate) fn finite(op: &'static str, arg: &'static str, found: f64) -> Result<()> {
    require(
        op,
        arg,
        found.is_finite(),
        || "a finite number".into(),
        found,
    )
}

/// A positive number or infinity.
pub(crate) fn positive(op: &'static str, arg: &'static str, found: f64) -> Result<()> {
    require(op, arg, found > 0., || "a positive number".into(), found)
}

/// A positive number that is not infinite.
pub(crate) fn positive_finite(op: &'static str, arg: &'static str, found: f64) -> Result<()> {
    let holds = found > 0. && found.is_finite();
    require(op, arg, holds, || "a positive finite number".into(), found)
}

/// A number that is 0 or more and not infinite.
pub(crate) fn non_negative(op: &'static str, arg: &'static str, found: f64) -> Result<()> {
    finite_at_least(op, arg, found, 0.)
}

/// A number that is `least` or more and not infinite.
pub(crate) fn finite_at_least(
    op: &'static str,
    arg: &'static str,
    found: f64,
    least: f64,
) -> Result<()> {
    let holds = found >= least && found.is_finite();
    let expected = || format!("a finite number of at least {least}");
    require(op, arg, holds, expected, found)
}

/// A number of an interval: `0. ..=1.` is `[0, 1]`, `0. ..1.` is `[0, 1)`, and a pair of [`Bound`]s has any other ends.
pub(crate) fn in_interval(
    op: &'static str,
    arg: &'static str,
    found: f64,
    interval: impl RangeBounds<f64>,
) -> Result<()> {
    let expected = || {
        let low = match interval.start_bound() {
            Bound::Included(low) => format!("[{low}"),
            Bound::Excluded(low) => format!("({low}"),
            Bound::Unbounded => "(-inf".into(),
        };
        let high = match interval.end_bound() {
            Bound::Included(high) => format!("{high}]"),
            Bound::Excluded(high) => format!("{high})"),
            Bound::Unbounded => "inf)".into(),
        };
        format!("a number in {low}, {high}")
    };
    let holds = interval.contains(&found) && !found.is_nan();
    require(op, arg, holds, expected, found)
}

/// A number between two ends, neither of them.
pub(crate) fn in_open_interval(
    op: &'static str,
    arg: &'static str,
    found: f64,
    low: f64,
    high: f64,
) -> Result<()> {
    in_interval(
        op,
        arg,
        found,
        (Bound::Excluded(low), Bound::Excluded(high)),
    )
}

/// A value of which `holds` says that it is what was expected.
fn require(
    op: &'static str,
    arg: &'static str,
    holds: bool,
    expected: impl FnOnce() -> String,
    found: impl Display,
) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::value(op, arg, expected(), found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<()>) -> String {
        result.err().map_or("nothing".into(), |e| e.to_string())
    }

    #[test]
    fn what_is_refused_is_said() {
        let op = "f";
        let cases = [
            (
                at_least_one(op, &[("n", 1), ("m", 0)]),
                "f: m: expected at least 1, found 0",
            ),
            (
                at_least(op, "x", -1., 0.),
                "f: x: expected at least 0, found -1",
            ),
            (at_least(op, "x", 2usize, 2), "nothing"),
            (at_least(op, "x", f64::INFINITY, 0.), "nothing"),
            (
                at_most(op, "k", 3usize, 2),
                "f: k: expected at most 2, found 3",
            ),
            (count_in(op, "k", 3, 1..=3, "bins"), "nothing"),
            (
                count_in(op, "k", 0, 1..=3, "bins"),
                "f: k: expected 1 to 3 bins, found 0",
            ),
            (
                finite(op, "x", f64::INFINITY),
                "f: x: expected a finite number, found inf",
            ),
            (positive(op, "x", f64::INFINITY), "nothing"),
            (
                positive(op, "x", 0.),
                "f: x: expected a positive number, found 0",
            ),
            (
                positive_finite(op, "x", f64::INFINITY),
                "f: x: expected a positive finite number, found inf",
            ),
            (non_negative(op, "x", 0.), "nothing"),
            (
                finite_at_least(op, "x", f64::INFINITY, 1.),
                "f: x: expected a finite number of at least 1, found inf",
            ),
            (in_interval(op, "x", 0., 0. ..1.), "nothing"),
            (
                in_interval(op, "x", 1., 0. ..1.),
                "f: x: expected a number in [0, 1), found 1",
            ),
            (in_interval(op, "x", 1., 0. ..=1.), "nothing"),
            (
                in_open_interval(op, "x", 0., 0., 1.),
                "f: x: expected a number in (0, 1), found 0",
            ),
        ];
        for (result, expected) in cases {
            assert_eq!(said(result), expected);
        }
    }

    #[test]
    fn not_a_number_is_refused() {
        let (op, arg, x) = ("f", "x", f64::NAN);
        for result in [
            at_least(op, arg, x, 0.),
            at_most(op, arg, x, 0.),
            finite(op, arg, x),
            positive(op, arg, x),
            positive_finite(op, arg, x),
            non_negative(op, arg, x),
            in_interval(op, arg, x, ..),
            in_interval(op, arg, x, 0. ..=1.),
            in_open_interval(op, arg, x, 0., 1.),
        ] {
            assert!(said(result).ends_with("found NaN"));
        }
    }
}
