//! KL divergences across families, from moments: `KL(p || q) = -H(p) - E_p[ln q]`, and the expectation of q's log-density
//! takes the mean, the variance and logarithmic means of p. Infinite where q does not cover the support of p.

mod left;
mod pairs;
mod right;

use super::parameters::Parameters;
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;

/// What `E_p[ln q]` is made of. Entries that no pair asks for are NaN.
pub(super) struct Facts<R> {
    /// `E[ln p(x)]`.
    pub(super) information: R,
    pub(super) mean: R,
    variance: R,
    /// `E[ln x]`, for supports of positive numbers, and how far it is below the logarithm of the mean: of the latter large
    /// multiples are taken.
    log: R,
    log_below: R,
    /// The mean of 1 - x and the same of its logarithm, for supports in the unit interval.
    rest: R,
    log_rest: R,
    log_rest_below: R,
    /// The ends of the support.
    pub(super) support: (f64, f64),
}

impl<R: Real> Facts<R> {
    fn on(support: (f64, f64)) -> Self {
        let unknown = R::constant(f64::NAN);
        Facts {
            information: unknown,
            mean: unknown,
            variance: unknown,
            log: unknown,
            log_below: unknown,
            rest: unknown,
            log_rest: unknown,
            log_rest_below: unknown,
            support,
        }
    }
}

/// A family on the left, of two parameters; one of a single parameter has it twice.
pub(super) trait Left: Distribution {
    fn pair(&self) -> Result<Parameters<2>>;

    fn facts<R: Real>(parameters: [R; 2]) -> Facts<R>;
}

/// A family on the right.
trait Right: Distribution {
    fn pair(&self) -> Result<Parameters<2>>;

    /// The ends of the support.
    fn support<R: Real>(parameters: [R; 2]) -> (f64, f64);

    /// `E_p[ln q]`.
    fn mean_log_density<R: Real>(parameters: [R; 2], p: Facts<R>) -> R;
}

struct Divergence<P, Q>(std::marker::PhantomData<fn(P, Q)>);

impl<P, Q> Clone for Divergence<P, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, Q> Copy for Divergence<P, Q> {}

impl<P: Left + 'static, Q: Right + 'static> Formula<4> for Divergence<P, Q> {
    const NAME: &'static str = "kl-by-moments";

    #[inline(always)]
    fn at<R: Real>(self, [a, b, c, d]: [R; 4]) -> R {
        let sum = a.value() + b.value() + c.value() + d.value();
        if sum.is_nan() {
            return R::constant(f64::NAN);
        }
        let (p, q) = (P::facts([a, b]), Q::support([c, d]));
        if p.support.0 < q.0 || p.support.1 > q.1 {
            return R::constant(f64::INFINITY);
        }
        let information = p.information;
        let expected = Q::mean_log_density([c, d], p);
        if expected.value() == f64::NEG_INFINITY {
            return R::constant(f64::INFINITY);
        }
        information - expected
    }
}

fn divergence<P: Left + 'static, Q: Right + 'static>(
    op: &'static str,
    p: &P,
    q: &Q,
) -> Result<Tensor> {
    let (p, q) = (p.pair()?, q.pair()?);
    p.check_other(op, &q)?;
    let ([a, b], [c, d]) = (p.given(), q.given());
    formula(Divergence::<P, Q>(std::marker::PhantomData), [a, b, c, d])
}

/// A single parameter, twice.
fn twice(parameters: &Parameters<1>) -> Result<Parameters<2>> {
    let [only] = parameters.given();
    Parameters::unchecked("kl", [("first", only), ("second", only)])
}

/// `x ln x`, 0 at 0.
fn x_ln_x<R: Real>(x: R) -> R {
    let at = x.value();
    x.map(if at == 0. { 0. } else { at * at.ln() }, at.ln() + 1.)
}

const LINE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const POSITIVE: (f64, f64) = (0., f64::INFINITY);
const UNIT: (f64, f64) = (0., 1.);
