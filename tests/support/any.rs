//! One type for all families, so that a test over the table of families is a loop and no macro. It has the capabilities that
//! its row names; asking for another is a panic.

use candle_core::Tensor;
use candle_prob::distribution::*;
use candle_prob::{Detach, Result, Rng};
use std::rc::Rc;

/// A distribution of some family.
#[derive(Clone)]
pub struct Any {
    itself: Rc<dyn std::any::Any>,
    distribution: Rc<dyn Distribution>,
    detached: Rc<dyn Fn() -> Any>,
    pub pathwise: bool,
    pub moments: Option<Rc<dyn Moments>>,
    pub mode: Option<Rc<dyn Mode>>,
    pub entropy: Option<Rc<dyn Entropy>>,
    pub tails: Option<Rc<dyn Cdf>>,
    pub divergence: Option<Rc<dyn Divergence>>,
    pub component: Option<Rc<dyn Component>>,
}

/// A distribution whose type is known, to which capabilities are given.
pub struct Of<D> {
    d: Rc<D>,
    has: Has<D>,
    any: Any,
}

pub type Has<D> = fn(Of<D>) -> Of<D>;

pub fn any<D: Distribution + Detach + 'static>(d: Result<D>, has: Has<D>) -> Result<Any> {
    Ok(known(d?, has))
}

fn known<D: Distribution + Detach + 'static>(d: D, has: Has<D>) -> Any {
    let d = Rc::new(d);
    let constants = d.clone();
    let any = Any {
        itself: d.clone(),
        distribution: d.clone(),
        detached: Rc::new(move || known(D::detach(&constants), has)),
        pathwise: false,
        moments: None,
        mode: None,
        entropy: None,
        tails: None,
        divergence: None,
        component: None,
    };
    has(Of { d, has, any }).any
}

impl<D: Distribution + 'static> Of<D> {
    pub fn pathwise(mut self) -> Self
    where
        D: Reparameterized,
    {
        self.any.pathwise = true;
        self
    }

    pub fn moments(mut self) -> Self
    where
        D: Moments,
    {
        self.any.moments = Some(self.d.clone());
        self
    }

    pub fn mode(mut self) -> Self
    where
        D: Mode,
    {
        self.any.mode = Some(self.d.clone());
        self
    }

    pub fn entropy(mut self) -> Self
    where
        D: Entropy,
    {
        self.any.entropy = Some(self.d.clone());
        self
    }

    pub fn tails(mut self) -> Self
    where
        D: Cdf,
    {
        self.any.tails = Some(self.d.clone());
        self
    }

    /// To another of the family.
    pub fn kl(mut self) -> Self
    where
        D: Kl,
    {
        self.any.divergence = Some(self.d.clone());
        self
    }

    /// Of a mixture.
    pub fn component(mut self) -> Self
    where
        D: MixtureComponent + Detach,
    {
        let (d, has) = (self.d.clone(), self.has);
        self.any.component = Some(Rc::new(Selected { d, has }));
        self
    }
}

pub trait Divergence {
    fn kl_to(&self, other: &Any) -> Result<Tensor>;
    fn sample_and_kl_to(
        &self,
        other: &Any,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)>;
}

fn same<D: 'static>(other: &Any) -> &D {
    other.itself.downcast_ref().expect("another of the family")
}

impl<D: Kl + 'static> Divergence for D {
    fn kl_to(&self, other: &Any) -> Result<Tensor> {
        self.kl(same(other))
    }

    fn sample_and_kl_to(
        &self,
        other: &Any,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        self.sample_and_kl(same(other), shape, rng)
    }
}

pub trait Component {
    fn select(&self, index: &Tensor, after: usize) -> Result<Any>;
    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>>;
}

struct Selected<D> {
    d: Rc<D>,
    has: Has<D>,
}

impl<D: MixtureComponent + Detach + 'static> Component for Selected<D> {
    fn select(&self, index: &Tensor, after: usize) -> Result<Any> {
        any(self.d.select(index, after), self.has)
    }

    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>> {
        self.d.diagonal_normal()
    }
}

fn given<T: ?Sized>(capability: &Option<Rc<T>>) -> &T {
    let capability = capability.as_deref();
    capability.expect("a capability that the family's row names")
}

impl Distribution for Any {
    fn batch_shape(&self) -> &[usize] {
        self.distribution.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.distribution.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.distribution.sample(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.distribution.log_prob(value)
    }

    fn log_prob_sum(&self, value: &Tensor, dims: usize) -> Result<Tensor> {
        self.distribution.log_prob_sum(value, dims)
    }

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        self.distribution.sample_and_log_prob(shape, rng)
    }
}

impl Detach for Any {
    fn detach(&self) -> Self {
        (self.detached)()
    }
}

impl Reparameterized for Any {}

impl Moments for Any {
    fn mean(&self) -> Result<Tensor> {
        given(&self.moments).mean()
    }

    fn variance(&self) -> Result<Tensor> {
        given(&self.moments).variance()
    }
}

impl Mode for Any {
    fn mode(&self) -> Result<Tensor> {
        given(&self.mode).mode()
    }
}

impl Entropy for Any {
    fn entropy(&self) -> Result<Tensor> {
        given(&self.entropy).entropy()
    }
}

impl Cdf for Any {
    fn cdf(&self, value: &Tensor) -> Result<Tensor> {
        given(&self.tails).cdf(value)
    }

    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        given(&self.tails).log_cdf(value)
    }

    fn survival(&self, value: &Tensor) -> Result<Tensor> {
        given(&self.tails).survival(value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        given(&self.tails).log_survival(value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        given(&self.tails).quantile(probability)
    }

    fn survival_quantile(&self, probability: &Tensor) -> Result<Tensor> {
        given(&self.tails).survival_quantile(probability)
    }
}

impl Kl for Any {
    fn kl(&self, other: &Any) -> Result<Tensor> {
        given(&self.divergence).kl_to(other)
    }

    fn sample_and_kl(
        &self,
        other: &Any,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        given(&self.divergence).sample_and_kl_to(other, shape, rng)
    }
}

impl MixtureComponent for Any {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        given(&self.component).select(index, after)
    }

    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>> {
        given(&self.component).diagonal_normal()
    }
}
