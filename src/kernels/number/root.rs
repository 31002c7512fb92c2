//! Roots of rising functions of one number.

/// A function's value, its slope, and how far rounding may move the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) value: f64,
    pub(crate) slope: f64,
    pub(crate) noise: f64,
}

/// Steps after which a search has failed; halving alone needs fewer for any two numbers of f64.
const STEPS: usize = 3000;

/// The x where the rising function `f` is 0, if it is between two finite numbers. The bracket, `low` up to `high`, is widened
/// by `width` and more, doubled each time, until f changes its sign there. Then Newton's method; a bisection where a step
/// leaves the bracket, and in every third step, so that the bracket closes.
pub(crate) fn rising(
    [mut low, mut high]: [f64; 2],
    width: f64,
    f: impl Fn(f64) -> At,
) -> Option<f64> {
    let mut step = width;
    while !(f(low).value <= 0.) {
        low -= step;
        step *= 2.;
        if !low.is_finite() {
            return None;
        }
    }
    step = width;
    while !(f(high).value >= 0.) {
        high += step;
        step *= 2.;
        if !high.is_finite() {
            return None;
        }
    }
    let mut x = low + 0.5 * (high - low);
    for i in 1..STEPS {
        let At {
            value,
            slope,
            noise,
        } = f(x);
        if value.abs() <= noise {
            return Some(x);
        }
        // NaN is neither.
        if value > 0. {
            high = x;
        } else if value < 0. {
            low = x;
        } else {
            return None;
        }
        let newton = x - value / slope;
        let next = if newton > low && newton < high && i % 3 != 0 {
            newton
        } else {
            low + 0.5 * (high - low)
        };
        if next <= low || next >= high || (next - x).abs() <= f64::EPSILON * x.abs() {
            return Some(next);
        }
        x = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: f64, slope: f64) -> At {
        At {
            value,
            slope,
            noise: 0.,
        }
    }

    /// Outside the bracket, far away, where Newton's method alone runs off, and where the slope says nothing.
    #[test]
    fn roots_are_found_from_bad_brackets() {
        let cube = |c: f64| move |x: f64| at(x * x * x - c, 3. * x * x);
        for c in [8., -8., 1e-30, 1e60, 0.] {
            let x = rising([0.5, 0.5], 0.1, cube(c)).unwrap();
            assert!(
                (x - c.cbrt()).abs() <= 1e-15 * c.cbrt().abs().max(1e-9),
                "{c}: {x}"
            );
        }
        let x = rising([-1., 1.], 1., |x| {
            at((x - 30.).atan(), 1. / (1. + (x - 30.).powi(2)))
        });
        assert!((x.unwrap() - 30.).abs() < 1e-13);
        let x = rising([-3., 9.], 1., |x| at((x - 2.).signum(), 0.)).unwrap();
        assert!((x - 2.).abs() < 1e-15);
    }

    #[test]
    fn no_root_is_no_number() {
        assert!(rising([0., 1.], 1., |x| at(x.exp() + 1., x.exp())).is_none());
        assert!(rising([0., 1.], 1., |_| at(f64::NAN, 1.)).is_none());
    }
}
