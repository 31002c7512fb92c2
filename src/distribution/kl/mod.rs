//! KL divergences across families: `pairs` names for each pair the way to its divergence, `normals` those of vectors. That of a
//! family from its own stands with the family.
//!
//! A way is [`Closed`], a formula of the pair's own; [`Moments`], from what is known of the left family and the right one's
//! expected log-density; [`Distance`], to Laplace distributions; or [`Infinite`], where the right never covers the left's support.

mod closed;
mod distance;
mod expected;
mod facts;
mod normals;
mod pairs;

use super::parameters::Parameters;
use super::*;
use crate::kernels::elementwise::Formula;
use crate::kernels::number::Real;
use closed::{Closed, Trials};
use distance::Distance;
use expected::Moments;
use facts::{Facts, Left};
use std::array::from_fn;
use std::marker::PhantomData;

/// A family of scalars: what its divergences are called in errors, and its parameters.
trait Scalar<const N: usize>: Distribution + 'static {
    const KL: &'static str;

    fn parameters(&self) -> Result<Parameters<N>>;
}

impl Scalar<2> for Beta {
    const KL: &'static str = "Beta::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Binomial {
    const KL: &'static str = "Binomial::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<1> for ContinuousBernoulli {
    const KL: &'static str = "ContinuousBernoulli::kl";

    fn parameters(&self) -> Result<Parameters<1>> {
        Ok(self.0.clone())
    }
}

impl Scalar<1> for Exponential {
    const KL: &'static str = "Exponential::kl";

    fn parameters(&self) -> Result<Parameters<1>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Gamma {
    const KL: &'static str = "Gamma::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Gumbel {
    const KL: &'static str = "Gumbel::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Laplace {
    const KL: &'static str = "Laplace::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Pareto {
    const KL: &'static str = "Pareto::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<1> for Poisson {
    const KL: &'static str = "Poisson::kl";

    fn parameters(&self) -> Result<Parameters<1>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Uniform {
    const KL: &'static str = "Uniform::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<2> for Weibull {
    const KL: &'static str = "Weibull::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        Ok(self.0.clone())
    }
}

impl Scalar<1> for Bernoulli {
    const KL: &'static str = "Bernoulli::kl";

    fn parameters(&self) -> Result<Parameters<1>> {
        Ok(self.parameters.clone())
    }
}

impl Scalar<2> for Normal {
    const KL: &'static str = "Normal::kl";

    fn parameters(&self) -> Result<Parameters<2>> {
        self.parameters()
    }
}

/// A way to KL(P || Q), from P's N parameters and Q's M.
trait Way<P, Q, const N: usize, const M: usize>: Copy + Send + Sync + 'static {
    fn kl<R: Real>(self, p: [R; N], q: [R; M]) -> R;
}

/// The support of P is never within that of Q. NaN stays NaN.
#[derive(Clone, Copy)]
struct Infinite;

impl<P, Q, const N: usize, const M: usize> Way<P, Q, N, M> for Infinite {
    #[inline(always)]
    fn kl<R: Real>(self, p: [R; N], q: [R; M]) -> R {
        R::constant(if any_nan(p, q) {
            f64::NAN
        } else {
            f64::INFINITY
        })
    }
}

fn any_nan<R: Real, const N: usize, const M: usize>(p: [R; N], q: [R; M]) -> bool {
    p.iter().chain(&q).any(|x| x.value().is_nan())
}

/// A way as a formula of all parameters.
struct All<W, P, Q, const N: usize, const M: usize>(W, PhantomData<fn(P, Q)>);

impl<W: Copy, P, Q, const N: usize, const M: usize> Clone for All<W, P, Q, N, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Copy, P, Q, const N: usize, const M: usize> Copy for All<W, P, Q, N, M> {}

/// N and M are K.
trait Sum<const N: usize, const M: usize, const K: usize> {}

impl Sum<1, 1, 2> for () {}
impl Sum<1, 2, 3> for () {}
impl Sum<2, 1, 3> for () {}
impl Sum<2, 2, 4> for () {}

impl<W, P, Q, const N: usize, const M: usize, const K: usize> Formula<K> for All<W, P, Q, N, M>
where
    W: Way<P, Q, N, M>,
    P: 'static,
    Q: 'static,
    (): Sum<N, M, K>,
{
    #[inline(always)]
    fn at<R: Real>(self, x: [R; K]) -> R {
        self.0.kl(from_fn(|i| x[i]), from_fn(|i| x[N + i]))
    }
}

/// KL(p || q) by a way.
fn kl<W, P, Q, const N: usize, const M: usize, const K: usize>(
    way: W,
    p: &P,
    q: &Q,
) -> Result<Tensor>
where
    W: Way<P, Q, N, M>,
    P: Scalar<N>,
    Q: Scalar<M>,
    (): Sum<N, M, K>,
{
    let way = All::<W, P, Q, N, M>(way, PhantomData);
    p.parameters()?.with(P::KL, way, &q.parameters()?)
}
