//! The table of families: what tests over all families need to know of each, in one row. `distribution/capabilities.rs`
//! holds its capabilities to those of the documentation, so that no row is tested for less than its family can do.

use super::any::{Any, Has, Of, any};
use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::*;
use candle_prob::{Detach, Result};

/// What numbers a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum Domain {
    Real,
    Positive,
    /// 0 and more.
    NonNegative,
    /// Logits, infinite ones included.
    Logit,
    /// From 0 to 1.
    Unit,
    /// Without 0.
    UnitNotZero,
    /// Without 1.
    UnitNotOne,
    /// Whole numbers.
    Count,
    /// An end of an interval, infinite ones included.
    End,
    /// Finite, above the parameter of this index.
    Above(usize),
    /// The upper end of an interval, above the parameter of this index.
    EndAbove(usize),
}
use Domain::*;

pub struct Parameter {
    /// As the constructor and the files of reference values have it.
    pub name: &'static str,
    pub domain: Domain,
    pub shape: Vec<usize>,
    /// An ordinary value.
    pub at: Vec<f64>,
    /// Whether distributions of finite divergence have the same: it moves the support.
    pub fixed: bool,
}

pub fn p(name: &'static str, domain: Domain, at: f64) -> Parameter {
    let fixed = matches!(domain, Count | End | Above(_) | EndAbove(_));
    Parameter {
        name,
        domain,
        shape: vec![],
        at: vec![at],
        fixed,
    }
}

impl Parameter {
    fn fixed(self) -> Self {
        Self {
            fixed: true,
            ..self
        }
    }
}

/// A vector or matrix.
pub fn v<const N: usize>(
    name: &'static str,
    domain: Domain,
    shape: &[usize],
    at: [f64; N],
) -> Parameter {
    Parameter {
        shape: shape.to_vec(),
        at: at.to_vec(),
        ..p(name, domain, 0.)
    }
}

type Build = Box<dyn Fn(&[Tensor]) -> Result<Any>>;

pub struct Family {
    /// With the constructor, where that is not `new`.
    pub name: &'static str,
    pub parameters: Vec<Parameter>,
    build: Build,
    unchecked: Option<Build>,
    /// A value with a finite density.
    pub value: Vec<f64>,
    /// Is the value, which is finite, in the support, where that is not the whole line?
    pub support: Option<fn(f64, &[f64]) -> bool>,
    /// Parameters, and the first numbers that seed 0 draws.
    pub draws: Option<(Vec<f64>, &'static [f32])>,
}

impl Family {
    pub fn build(&self, parameters: &[Tensor]) -> Result<Any> {
        (self.build)(parameters)
    }

    /// The ordinary parameters, the same for each of a batch.
    pub fn ordinary(&self, batch: &[usize], dtype: DType) -> Result<Vec<Tensor>> {
        let tensor = |p: &Parameter| {
            let one = Tensor::from_slice(&p.at, p.shape.as_slice(), &Device::Cpu)?;
            let all = one.broadcast_as([batch, &p.shape].concat())?;
            Ok(all.contiguous()?.to_dtype(dtype)?)
        };
        self.parameters.iter().map(tensor).collect()
    }

    /// With the ordinary parameters.
    pub fn example(&self) -> Result<Any> {
        self.build(&self.ordinary(&[], DType::F64)?)
    }

    /// By `new_unchecked`, where there is one.
    pub fn unchecked(&self, parameters: &[Tensor]) -> Option<Result<Any>> {
        self.unchecked.as_ref().map(|build| build(parameters))
    }

    /// The type's name, and the constructor's.
    pub fn names(&self) -> (&'static str, &'static str) {
        self.name.split_once("::").unwrap_or((self.name, "new"))
    }

    pub fn of(self, parameters: impl Into<Vec<Parameter>>) -> Self {
        Self {
            parameters: parameters.into(),
            ..self
        }
    }

    pub fn at(self, value: impl Into<Vec<f64>>) -> Self {
        Self {
            value: value.into(),
            ..self
        }
    }

    pub fn within(self, support: fn(f64, &[f64]) -> bool) -> Self {
        Self {
            support: Some(support),
            ..self
        }
    }

    /// With every parameter 2, but for locations and logits of 0.
    fn draws(self, draws: &'static [f32]) -> Self {
        let parameters = self.parameters.iter().map(|p| match p.domain {
            Real | Logit => 0.,
            _ => 2.,
        });
        let parameters = parameters.collect();
        Self {
            draws: Some((parameters, draws)),
            ..self
        }
    }

    fn draws_at(self, parameters: &[f64], draws: &'static [f32]) -> Self {
        Self {
            draws: Some((parameters.to_vec(), draws)),
            ..self
        }
    }
}

pub fn every() -> Vec<Family> {
    numbers().into_iter().chain(vectors()).collect()
}

/// The row of this name.
pub fn named(name: &str) -> Family {
    let row = every().into_iter().find(|row| row.name == name);
    row.unwrap_or_else(|| panic!("no family {name}"))
}

fn row(name: &'static str, mut builds: impl Iterator<Item = Build>) -> Family {
    Family {
        name,
        parameters: vec![],
        build: builds.next().expect("a constructor"),
        unchecked: builds.next(),
        value: vec![0.25],
        support: None,
        draws: None,
    }
}

type New1<D> = fn(&Tensor) -> Result<D>;
type New2<D> = fn(&Tensor, &Tensor) -> Result<D>;
type New3<D> = fn(&Tensor, &Tensor, &Tensor) -> Result<D>;
type New4<D> = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Result<D>;

// A family by its constructor and, where there is one, the unchecked constructor.

pub fn one<D: Distribution + Detach + 'static>(
    name: &'static str,
    new: &[New1<D>],
    has: Has<D>,
) -> Family {
    let build = |&new: &New1<D>| -> Build { Box::new(move |p| any(new(&p[0]), has)) };
    row(name, new.iter().map(build))
}

pub fn two<D: Distribution + Detach + 'static>(
    name: &'static str,
    new: &[New2<D>],
    has: Has<D>,
) -> Family {
    let build = |&new: &New2<D>| -> Build { Box::new(move |p| any(new(&p[0], &p[1]), has)) };
    row(name, new.iter().map(build))
}

pub fn three<D: Distribution + Detach + 'static>(
    name: &'static str,
    new: &[New3<D>],
    has: Has<D>,
) -> Family {
    let build = |&new: &New3<D>| -> Build { Box::new(move |p| any(new(&p[0], &p[1], &p[2]), has)) };
    row(name, new.iter().map(build))
}

pub fn four<D: Distribution + Detach + 'static>(
    name: &'static str,
    new: &[New4<D>],
    has: Has<D>,
) -> Family {
    let build =
        |&new: &New4<D>| -> Build { Box::new(move |p| any(new(&p[0], &p[1], &p[2], &p[3]), has)) };
    row(name, new.iter().map(build))
}

// What families have.

fn described<D: Moments + Mode + Entropy + Cdf + MixtureComponent + Detach + 'static>(
    of: Of<D>,
) -> Of<D> {
    of.moments().mode().entropy().tails().component()
}

fn counted<D>(of: Of<D>) -> Of<D>
where
    D: Moments + Mode + Entropy + Cdf + MixtureComponent + Detach + Kl + 'static,
{
    described(of).kl()
}

fn all<D>(of: Of<D>) -> Of<D>
where
    D: Moments + Mode + Entropy + Cdf + MixtureComponent + Detach + Kl + Reparameterized + 'static,
{
    counted(of).pathwise()
}

fn all_but_tails<D>(of: Of<D>) -> Of<D>
where
    D: Moments + Mode + Entropy + MixtureComponent + Detach + Kl + Reparameterized + 'static,
{
    of.moments().mode().entropy().component().kl().pathwise()
}

fn all_but_kl<D>(of: Of<D>) -> Of<D>
where
    D: Moments + Mode + Entropy + Cdf + MixtureComponent + Detach + Reparameterized + 'static,
{
    described(of).pathwise()
}

// Supports.

/// Every number names one.
fn any_angle(_: f64, _: &[f64]) -> bool {
    true
}

fn bit(x: f64, _: &[f64]) -> bool {
    x == 0. || x == 1.
}

fn positive(x: f64, _: &[f64]) -> bool {
    x > 0.
}

fn half(x: f64, _: &[f64]) -> bool {
    x >= 0.
}

fn unit(x: f64, _: &[f64]) -> bool {
    (0. ..=1.).contains(&x)
}

fn counts(x: f64, _: &[f64]) -> bool {
    x >= 0. && x == x.floor()
}

fn trials(x: f64, p: &[f64]) -> bool {
    counts(x, p) && x <= p[0]
}

/// One of 8 levels from -1 to 1.
fn level(x: f64, _: &[f64]) -> bool {
    let k = (x + 1.) / 2. * 7.;
    x.abs() <= 1. && (k - k.round()).abs() < 0.02
}

/// Families of numbers.
#[rustfmt::skip]
pub fn numbers() -> Vec<Family> {
    vec![
        one("Bernoulli", &[Bernoulli::new, Bernoulli::new_unchecked], counted)
            .of([p("logits", Logit, 0.4)])
            .at([1.]).within(bit).draws(&[0.0, 0.0]),
        one("Bernoulli::from_probs", &[Bernoulli::from_probs], counted)
            .of([p("probs", Unit, 0.4)])
            .at([1.]).within(bit),
        one("Bernoulli::soft", &[Bernoulli::soft], |of| of.component())
            .of([p("logits", Logit, 0.4)])
            .within(unit),
        two("Beta", &[Beta::new, Beta::new_unchecked], all)
            .of([p("concentration1", Positive, 1.5), p("concentration0", Positive, 2.5)])
            .within(unit).draws(&[0.2905813, 0.25398973]),
        two("Binomial", &[Binomial::new, Binomial::new_unchecked], counted)
            .of([p("total_count", Count, 5.), p("logits", Logit, 0.4)])
            .at([2.]).within(trials).draws_at(&[40., 0.5], &[23.0, 27.0, 24.0, 25.0, 25.0, 26.0, 27.0, 25.0]),
        two("Binomial::from_probs", &[Binomial::from_probs], counted)
            .of([p("total_count", Count, 5.), p("probs", Unit, 0.4)])
            .at([2.]).within(trials),
        two("Cauchy", &[Cauchy::new, Cauchy::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .draws(&[6.285795, 0.37476638]),
        one("Chi2", &[Chi2::new, Chi2::new_unchecked], all)
            .of([p("df", Positive, 3.)])
            .at([1.5]).within(half).draws(&[0.876369, 3.4443822]),
        one("ContinuousBernoulli", &[ContinuousBernoulli::new, ContinuousBernoulli::new_unchecked], all)
            .of([p("logits", Real, 0.4)])
            .within(unit).draws_at(&[-3.], &[0.6483962]),
        two(
            "DiscretizedLogistic",
            &[|a, b| DiscretizedLogistic::new(a, b, 8), |a, b| DiscretizedLogistic::new_unchecked(a, b, 8)],
            counted,
        )
            .of([p("loc", Real, 0.1), p("scale", Positive, 0.3)])
            .at([-1.]).within(level).draws_at(&[0., 0.2], &[0.42857143, 0.14285715]),
        one("Exponential", &[Exponential::new, Exponential::new_unchecked], all)
            .of([p("rate", Positive, 1.5)])
            .within(half).draws(&[1.161113, 0.4093123]),
        two("Gamma", &[Gamma::new, Gamma::new_unchecked], all)
            .of([p("concentration", Positive, 1.5), p("rate", Positive, 2.5)])
            .within(half).draws(&[0.6435028, 1.5710334]),
        one("Geometric", &[Geometric::new, Geometric::new_unchecked], counted)
            .of([p("logits", Real, 0.4)])
            .at([2.]).within(counts).draws_at(&[-1.], &[4.0, 4.0, 1.0, 0.0, 1.0, 3.0, 2.0, 3.0]),
        one("Geometric::from_probs", &[Geometric::from_probs], counted)
            .of([p("probs", UnitNotZero, 0.4)])
            .at([2.]).within(counts),
        two("Gumbel", &[Gumbel::new, Gumbel::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .draws(&[4.5421376, 1.083692]),
        one("HalfCauchy", &[HalfCauchy::new, HalfCauchy::new_unchecked], all)
            .of([p("scale", Positive, 1.25)])
            .within(half).draws(&[12.882098, 2.409576]),
        one("HalfNormal", &[HalfNormal::new, HalfNormal::new_unchecked], all)
            .of([p("scale", Positive, 1.25)])
            .within(half).draws(&[0.6395145, 1.822989]),
        two("InverseGamma", &[InverseGamma::new, InverseGamma::new_unchecked], all)
            .of([p("concentration", Positive, 1.5), p("rate", Positive, 2.5)])
            .within(positive).draws(&[1.5539949, 0.6365237]),
        two("Kumaraswamy", &[Kumaraswamy::new, Kumaraswamy::new_unchecked], all_but_kl)
            .of([p("concentration1", Positive, 1.5), p("concentration0", Positive, 2.5)])
            .within(unit).draws(&[0.8287717, 0.57956296]),
        two("Laplace", &[Laplace::new, Laplace::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .draws(&[3.2581577, 0.25095487]),
        two("LogNormal", &[LogNormal::new, LogNormal::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .within(positive).draws(&[0.5275485, 6.190334]),
        two("Logistic", &[Logistic::new, Logistic::new_unchecked], all_but_kl)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .draws(&[4.4380484, 0.47390226]),
        two("NegativeBinomial", &[NegativeBinomial::new, NegativeBinomial::new_unchecked], counted)
            .of([p("total_count", Positive, 3.5).fixed(), p("logits", Real, 0.4)])
            .at([2.]).within(counts).draws_at(&[2.5, 1.], &[4.0, 1.0, 3.0, 3.0, 18.0, 11.0, 10.0, 3.0]),
        two("NegativeBinomial::from_probs", &[NegativeBinomial::from_probs], counted)
            .of([p("total_count", Positive, 3.5).fixed(), p("probs", UnitNotOne, 0.4)])
            .at([2.]).within(counts),
        two("Normal", &[Normal::new, Normal::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .draws(&[-0.6395145, 1.822989]),
        two("Normal::from_log_var", &[Normal::from_log_var], all)
            .of([p("loc", Real, 0.5), p("log_var", Real, 0.25)]),
        two("Pareto", &[Pareto::new, Pareto::new_unchecked], all)
            .of([p("scale", Positive, 0.5).fixed(), p("alpha", Positive, 1.5)])
            .at([0.75]).within(|x, p| x >= p[0]).draws(&[6.3869715, 3.0115638]),
        one("Poisson", &[Poisson::new, Poisson::new_unchecked], counted)
            .of([p("rate", NonNegative, 1.5)])
            .at([2.]).within(counts).draws_at(&[3.], &[3.0, 2.0, 2.0, 3.0, 2.0, 3.0, 1.0, 5.0]),
        two(
            "RelaxedBernoulli",
            &[RelaxedBernoulli::new, RelaxedBernoulli::new_unchecked],
            |of| of.tails().component().pathwise(),
        )
            .of([p("temperature", Positive, 0.75), p("logits", Real, 0.4)])
            .within(unit).draws_at(&[0.5, 1.], &[0.998403, 0.9222919, 0.98995465, 0.891196]),
        three("StudentT", &[StudentT::new, StudentT::new_unchecked], all_but_kl)
            .of([p("df", Positive, 3.5), p("loc", Real, 0.5), p("scale", Positive, 1.25)])
            .draws(&[-1.2860465, 1.4042695]),
        four("TruncatedNormal", &[TruncatedNormal::new, TruncatedNormal::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("scale", Positive, 1.25), p("low", End, -1.), p("high", EndAbove(2), 2.)])
            .within(|x, p| x >= p[2] && x <= p[3]).draws_at(&[1., 1., 2., 3.], &[2.7981539]),
        two("Uniform", &[Uniform::new, Uniform::new_unchecked], all)
            .of([p("low", Real, -0.5).fixed(), p("high", Above(0), 1.25)])
            .within(|x, p| x >= p[0] && x <= p[1]).draws(&[1.8038899, 1.1179243]),
        two("VonMises", &[VonMises::new, VonMises::new_unchecked], all)
            .of([p("loc", Real, 0.5), p("concentration", NonNegative, 1.25)])
            .within(any_angle).draws_at(&[1., 0.5], &[1.9369614]),
        two("Weibull", &[Weibull::new, Weibull::new_unchecked], all)
            .of([p("scale", Positive, 1.25), p("concentration", Positive, 1.5)])
            .within(half).draws(&[3.0477703, 1.8095576]),
    ]
}

/// Families whose parameters are vectors of classes or elements: of two, but for what is 1.
#[rustfmt::skip]
pub fn vectors() -> Vec<Family> {
    const PAIR: &[usize] = &[2];
    let logits = || v("logits", Logit, PAIR, [0.3, -0.5]);
    let loc = || v("loc", Real, PAIR, [0.5, -0.5]);
    let scale = |name| v(name, Positive, PAIR, [1.25, 0.75]);
    vec![
        one("Categorical", &[Categorical::new, Categorical::new_unchecked], |of| {
            of.mode().entropy().tails().kl().component()
        })
            .of([logits()]).at([]),
        one("Dirichlet", &[Dirichlet::new, Dirichlet::new_unchecked], all_but_tails)
            .of([v("concentration", Positive, PAIR, [1.5, 2.5])]).at([0.25, 0.75]),
        two("Independent", &[|a, b| Normal::new(a, b)?.to_event(1)], all_but_tails)
            .of([loc(), scale("scale")]).at([0.25, 0.5]),
        two("LogisticNormal", &[LogisticNormal::new, LogisticNormal::new_unchecked], |of| of.kl().pathwise())
            .of([loc(), scale("scale")]).at([0.25, 0.75]),
        three(
            "LowRankMultivariateNormal",
            &[LowRankMultivariateNormal::new, LowRankMultivariateNormal::new_unchecked],
            |of| of.moments().mode().entropy().kl().pathwise(),
        )
            .of([loc(), v("cov_factor", Real, &[2, 1], [0.5, 0.25]), scale("cov_diag")]).at([0.25, 0.5]),
        two("Multinomial", &[Multinomial::new, Multinomial::new_unchecked], |of| of.moments().entropy().kl())
            .of([p("total_count", Count, 3.), logits()]).at([1., 2.]),
        two("MultivariateNormal", &[MultivariateNormal::new, MultivariateNormal::new_unchecked], all_but_tails)
            .of([loc(), v("scale_tril", Real, &[2, 2], [1.25, 0., 0.5, 0.75])]).at([0.25, 0.5]),
        two(
            "MultivariateNormalDiag",
            &[MultivariateNormalDiag::new, MultivariateNormalDiag::new_unchecked],
            all_but_tails,
        )
            .of([loc(), scale("scale")]).at([0.25, 0.5]),
        two("MultivariateNormalDiag::from_log_var", &[MultivariateNormalDiag::from_log_var], all_but_tails)
            .of([loc(), v("log_var", Real, PAIR, [0.25, -0.75])]).at([0.25, 0.5]),
        one("OneHotCategorical", &[OneHotCategorical::new, OneHotCategorical::new_unchecked], |of| {
            of.moments().mode().entropy().kl().component()
        })
            .of([logits()]).at([1., 0.]),
        one(
            "OneHotCategoricalStraightThrough",
            &[OneHotCategoricalStraightThrough::new, OneHotCategoricalStraightThrough::new_unchecked],
            |of| of.moments().mode().entropy().kl().pathwise(),
        )
            .of([logits()]).at([1., 0.]),
        two(
            "RelaxedOneHotCategorical",
            &[RelaxedOneHotCategorical::new, RelaxedOneHotCategorical::new_unchecked],
            |of| of.pathwise(),
        )
            .of([p("temperature", Positive, 0.75), logits()]).at([0.25, 0.75]),
    ]
}
