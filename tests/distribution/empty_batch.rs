//! A batch of no distributions: every family takes it, and whatever is asked of it has the shape it should and no
//! elements.

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::bijector::{Affine, Exp};
use candle_prob::distribution::*;
use candle_prob::divergence::{Pearson, Renyi, Wasserstein2, categorical, discrete, estimate};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

fn none(shape: &[usize], dtype: DType) -> Result<Tensor> {
    Ok(Tensor::zeros(shape, dtype, CPU)?)
}

/// Dims, after a backward pass where there is something to derive.
fn dims(x: Tensor) -> Result<Vec<usize>> {
    if x.dtype().is_float() {
        x.sum_all()?.backward()?;
    }
    Ok(x.dims().to_vec())
}

/// Dims of results, by what they should be.
type Answers = Vec<(&'static str, Vec<usize>)>;

struct Asked {
    by_batch: Answers,
    by_event: Answers,
    by_sample: Answers,
    by_draw: Answers,
}

const SAMPLE: usize = 2;

fn asked<D: Distribution>(d: &D) -> Result<Asked> {
    let x = d.sample(&[SAMPLE], &mut Rng::new(0))?;
    let (y, log_prob) = d.sample_and_log_prob(&[SAMPLE], &mut Rng::new(0))?;
    Ok(Asked {
        by_batch: vec![("batch_shape", d.batch_shape().to_vec())],
        by_event: vec![("sample", dims(d.sample(&[], &mut Rng::new(0))?)?)],
        by_sample: vec![
            ("log_prob", dims(d.log_prob(&x)?)?),
            ("sample_and_log_prob", dims(log_prob)?),
        ],
        by_draw: vec![("sample", dims(x)?), ("sample_and_log_prob", dims(y)?)],
    })
}

macro_rules! ask {
    ($out:ident, $d:ident, moments) => {
        $out.by_event.push(("mean", dims($d.mean()?)?));
        $out.by_event.push(("variance", dims($d.variance()?)?));
    };
    ($out:ident, $d:ident, mode) => {
        $out.by_event.push(("mode", dims($d.mode()?)?));
    };
    ($out:ident, $d:ident, entropy) => {
        $out.by_batch.push(("entropy", dims($d.entropy()?)?));
    };
    ($out:ident, $d:ident, cdf) => {
        let x = $d.sample(&[SAMPLE], &mut Rng::new(0))?;
        let p = none(
            &[&[SAMPLE], $d.batch_shape()].concat(),
            $d.log_prob(&x)?.dtype(),
        )?;
        $out.by_sample.extend([
            ("cdf", dims($d.cdf(&x)?)?),
            ("log_cdf", dims($d.log_cdf(&x)?)?),
            ("survival", dims($d.survival(&x)?)?),
            ("log_survival", dims($d.log_survival(&x)?)?),
            ("quantile", dims($d.quantile(&p)?)?),
            ("survival_quantile", dims($d.survival_quantile(&p)?)?),
        ]);
    };
    ($out:ident, $d:ident, kl) => {
        $out.by_batch.push(("kl", dims(Kl::kl(&$d, &$d)?)?));
        let (x, kl) = Kl::sample_and_kl(&$d, &$d, &[SAMPLE], &mut Rng::new(0))?;
        $out.by_draw.push(("sample_and_kl", dims(x)?));
        $out.by_batch.push(("sample_and_kl", dims(kl)?));
    };
}

macro_rules! row {
    ($name:literal, $build:expr, $($capability:ident)*) => {
        (
            $name,
            (|p: &[Tensor]| {
                let build: fn(&[Tensor]) -> Result<_> = $build;
                let d = build(p)?;
                #[allow(unused_mut)]
                let mut out = asked(&d)?;
                $(ask!(out, d, $capability);)*
                Ok(out)
            }) as fn(&[Tensor]) -> Result<Asked>,
        )
    };
}

type Row = (&'static str, fn(&[Tensor]) -> Result<Asked>);

/// Of numbers: from up to four parameters of one shape.
fn numbers() -> Vec<Row> {
    vec![
        row!("Bernoulli", |p| Bernoulli::new(&p[0]), moments mode entropy cdf kl),
        row!("Bernoulli::from_probs", |p| Bernoulli::from_probs(&p[0]), moments mode entropy cdf kl),
        row!("Beta", |p| Beta::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Binomial", |p| Binomial::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Cauchy", |p| Cauchy::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Chi2", |p| Chi2::new(&p[0]), moments mode entropy cdf kl),
        row!("ContinuousBernoulli", |p| ContinuousBernoulli::new(&p[0]), moments mode entropy cdf kl),
        row!("Delta", |p| Delta::new(&p[0], 0), moments mode entropy cdf kl),
        row!("DiscretizedLogistic", |p| DiscretizedLogistic::new(&p[0], &p[1], 8), moments mode entropy cdf kl),
        row!("Expanded", |p| Expanded::new(Normal::new(&p[0], &p[1])?, p[0].dims()), moments mode entropy cdf kl),
        row!("Exponential", |p| Exponential::new(&p[0]), moments mode entropy cdf kl),
        row!("Gamma", |p| Gamma::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Geometric", |p| Geometric::new(&p[0]), moments mode entropy cdf kl),
        row!("Gumbel", |p| Gumbel::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("HalfCauchy", |p| HalfCauchy::new(&p[0]), moments mode entropy cdf kl),
        row!("HalfNormal", |p| HalfNormal::new(&p[0]), moments mode entropy cdf kl),
        row!("InverseGamma", |p| InverseGamma::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Kumaraswamy", |p| Kumaraswamy::new(&p[0], &p[1]), moments mode entropy cdf),
        row!("Laplace", |p| Laplace::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("LogNormal", |p| LogNormal::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Logistic", |p| Logistic::new(&p[0], &p[1]), moments mode entropy cdf),
        row!("Masked", |p| Masked::new(Normal::new(&p[0], &p[1])?, &p[0].to_dtype(DType::U8)?), moments mode entropy),
        row!("NegativeBinomial", |p| NegativeBinomial::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Normal", |p| Normal::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Normal::from_log_var", |p| Normal::from_log_var(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Pareto", |p| Pareto::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Poisson", |p| Poisson::new(&p[0]), moments mode entropy cdf kl),
        row!(
            "RelaxedBernoulli",
            |p| RelaxedBernoulli::new(&p[0], &p[1]),
            cdf
        ),
        row!("StudentT", |p| StudentT::new(&p[0], &p[1], &p[2]), moments mode entropy cdf),
        row!(
            "Transformed by Affine",
            |p| Normal::new(&p[0], &p[1])?.transformed_by(Affine::soft_clamped(&p[2], &p[3], 1.)?),
            moments mode entropy cdf kl
        ),
        row!(
            "Transformed",
            |p| Normal::new(&p[0], &p[1])?.transformed_by(Exp),
            cdf kl
        ),
        row!(
            "Truncated",
            |p| Truncated::new(Normal::new(&p[0], &p[1])?, &p[2], &p[3]),
            cdf
        ),
        row!("TruncatedNormal", |p| TruncatedNormal::new(&p[0], &p[1], &p[2], &p[3]), moments mode entropy cdf kl),
        row!("Uniform", |p| Uniform::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("VonMises", |p| VonMises::new(&p[0], &p[1]), moments mode entropy cdf kl),
        row!("Weibull", |p| Weibull::new(&p[0], &p[1]), moments mode entropy cdf kl),
    ]
}

/// The last dim of the parameters is that of classes.
fn classes() -> Vec<Row> {
    vec![
        row!("Categorical", |p| Categorical::new(&p[0]), mode entropy cdf kl),
        row!("Categorical::from_probs", |p| Categorical::from_probs(&p[0]), mode entropy cdf kl),
        row!("MixtureSameFamily", |p| MixtureSameFamily::new(Categorical::new(&p[0])?, Normal::new(&p[1], &p[2])?), moments cdf),
        row!("ReparameterizedMixture", |p| Ok(MixtureSameFamily::new(Categorical::new(&p[0])?, Normal::new(&p[1], &p[2])?)?.reparameterized()), moments cdf),
    ]
}

/// The last dim of the parameters is the event.
fn vectors() -> Vec<Row> {
    fn square(p: &Tensor) -> Result<Tensor> {
        let d = p.dims()[p.rank() - 1];
        Ok(p.unsqueeze(p.rank())?
            .broadcast_mul(&Tensor::ones((1, d), p.dtype(), CPU)?)?)
    }
    vec![
        row!("Independent", |p| Normal::new(&p[0], &p[1])?.to_event(1), moments mode entropy kl),
        row!("Dirichlet", |p| Dirichlet::new(&p[0]), moments mode entropy kl),
        row!("LogisticNormal", |p| LogisticNormal::new(&p[0], &p[1]), kl),
        row!("LowRankMultivariateNormal", |p| LowRankMultivariateNormal::new(&p[0], &square(&p[1])?, &p[2]), moments mode entropy kl),
        row!("Multinomial", |p| Multinomial::new(&none(&p[0].dims()[..p[0].rank() - 1], p[0].dtype())?, &p[0]), moments entropy kl),
        row!("MultivariateNormal", |p| MultivariateNormal::new(&p[0], &square(&p[1])?), moments mode entropy kl),
        row!("MultivariateNormalDiag", |p| MultivariateNormalDiag::new(&p[0], &p[1]), moments mode entropy kl),
        row!("OneHotCategorical", |p| OneHotCategorical::new(&p[0]), moments mode entropy kl),
        row!("OneHotCategoricalStraightThrough", |p| OneHotCategoricalStraightThrough::new(&p[0]), moments mode entropy kl),
        row!("RelaxedOneHotCategorical", |p| {
            RelaxedOneHotCategorical::new(
                &none(&p[0].dims()[..p[0].rank() - 1], p[0].dtype())?,
                &p[0],
            )
        },),
    ]
}

#[test]
fn of_every_family() -> Result<()> {
    let mut faults = vec![];
    // Dims of the parameters after the batch, of the event.
    for (rows, own, event) in [(numbers(), 0, 0), (classes(), 1, 0), (vectors(), 1, 1)] {
        for (name, ask) in rows {
            let shapes = [&[0, 3][..], &[2, 0, 3], &[0, 1], &[3, 0]];
            // Vectors have an element.
            let shapes = shapes
                .into_iter()
                .filter(|s| own == 0 || s[s.len() - 1] > 0);
            let both = |s| [(s, DType::F32), (s, DType::F64)];
            for (shape, dtype) in shapes.flat_map(both) {
                let leaf = |_| Ok(Var::from_tensor(&none(shape, dtype)?)?.into_inner());
                let parameters = (0..4).map(leaf).collect::<Result<Vec<_>>>()?;
                let got = match ask(&parameters) {
                    Ok(got) => got,
                    Err(error) => {
                        faults.push(format!("{name} {shape:?} {dtype:?}: {error}"));
                        continue;
                    }
                };
                let (batch, rest) = shape.split_at(shape.len() - own);
                let event = &rest[..event];
                for (answers, want) in [
                    (got.by_batch, batch.to_vec()),
                    (got.by_event, [batch, event].concat()),
                    (got.by_sample, [&[SAMPLE], batch].concat()),
                    (got.by_draw, [&[SAMPLE], batch, event].concat()),
                ] {
                    for (what, dims) in answers.into_iter().filter(|(_, dims)| *dims != want) {
                        faults.push(format!("{name} {shape:?}: {what} {dims:?}, not {want:?}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn of_divergences_and_mixtures() -> Result<()> {
    let p = Var::from_tensor(&none(&[0, 3], DType::F64)?)?.into_inner();
    let eye = p
        .unsqueeze(2)?
        .broadcast_mul(&Tensor::eye(3, DType::F64, CPU)?)?;
    let rng = &mut Rng::new(0);
    let numbers = Normal::new(&p, &p)?;
    assert_eq!(dims(numbers.renyi(&numbers, 0.5)?)?, [0, 3]);
    assert_eq!(dims(numbers.wasserstein2(&numbers)?)?, [0, 3]);
    assert_eq!(
        estimate::kl_pathwise(&numbers, &numbers, 4, rng)?
            .mean
            .dims(),
        [0, 3]
    );
    assert_eq!(
        estimate::f_divergence(&Pearson, &numbers, &numbers, 4, rng)?
            .mean
            .dims(),
        [0, 3]
    );
    let vectors = MultivariateNormal::new(&p, &eye)?;
    assert_eq!(dims(vectors.renyi(&vectors, 0.5)?)?, [0]);
    assert_eq!(dims(vectors.wasserstein2(&vectors)?)?, [0]);
    assert_eq!(vectors.covariance()?.dims(), [0, 3, 3]);
    let rows = Dirichlet::new(&p)?;
    assert_eq!(dims(rows.renyi(&rows, 0.5)?)?, [0]);
    let classes = Categorical::new(&p)?;
    assert_eq!(dims(categorical(&Pearson, &classes, &classes)?)?, [0]);
    assert_eq!(dims(discrete(&Pearson, &p, &p)?)?, [0]);
    let mixture = MixtureSameFamily::new(classes, numbers)?;
    assert_eq!(dims(mixture.sample_pathwise(&[2], rng)?)?, [2, 0]);
    assert_eq!(
        dims(mixture.joint_log_prob(&none(&[2, 0], DType::F64)?)?)?,
        [2, 0, 3]
    );
    let weighted = MultivariateNormalDiag::new(
        &none(&[0, 3, 2], DType::F64)?,
        &none(&[0, 3, 2], DType::F64)?,
    )?;
    assert_eq!(dims(weighted.sample_weighted_sum(&p, rng)?)?, [0, 2]);
    Ok(())
}
