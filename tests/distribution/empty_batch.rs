//! A batch of no distributions: every family takes it, and whatever is asked of it has the shape it should and no
//! elements.

use crate::support::any::Any;
use crate::support::families::{Domain, Family, Parameter, every, four, one, p, three, two, v};
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

fn asked(d: &Any) -> Result<Asked> {
    let x = d.sample(&[SAMPLE], &mut Rng::new(0))?;
    let (y, log_prob) = d.sample_and_log_prob(&[SAMPLE], &mut Rng::new(0))?;
    let log_probs = dims(d.log_prob(&x)?)?;
    let mut out = Asked {
        by_batch: vec![("batch_shape", d.batch_shape().to_vec())],
        by_event: vec![("sample", dims(d.sample(&[], &mut Rng::new(0))?)?)],
        by_sample: vec![
            ("log_prob", log_probs.clone()),
            ("sample_and_log_prob", dims(log_prob.clone())?),
        ],
        by_draw: vec![
            ("sample", dims(x.clone())?),
            ("sample_and_log_prob", dims(y)?),
        ],
    };
    if let Some(d) = &d.moments {
        out.by_event.push(("mean", dims(d.mean()?)?));
        out.by_event.push(("variance", dims(d.variance()?)?));
    }
    if let Some(d) = &d.mode {
        out.by_event.push(("mode", dims(d.mode()?)?));
    }
    if let Some(d) = &d.entropy {
        out.by_batch.push(("entropy", dims(d.entropy()?)?));
    }
    if let Some(d) = &d.tails {
        let p = none(&log_probs, log_prob.dtype())?;
        out.by_sample.extend([
            ("cdf", dims(d.cdf(&x)?)?),
            ("log_cdf", dims(d.log_cdf(&x)?)?),
            ("survival", dims(d.survival(&x)?)?),
            ("log_survival", dims(d.log_survival(&x)?)?),
            ("quantile", dims(d.quantile(&p)?)?),
            ("survival_quantile", dims(d.survival_quantile(&p)?)?),
        ]);
    }
    if d.divergence.is_some() {
        out.by_batch.push(("kl", dims(d.kl(d)?)?));
        let (x, kl) = d.sample_and_kl(d, &[SAMPLE], &mut Rng::new(0))?;
        out.by_draw.push(("sample_and_kl", dims(x)?));
        out.by_batch.push(("sample_and_kl", dims(kl)?));
    }
    Ok(out)
}

/// What is made from others.
fn combined() -> Vec<Family> {
    let real = || p("", Domain::Real, 0.);
    let classes = || v("", Domain::Real, &[2], [0., 0.]);
    vec![
        one(
            "Categorical::from_probs",
            &[Categorical::from_probs],
            |of| of.mode().entropy().tails().kl(),
        )
        .of([classes()]),
        one("Delta", &[|x| Delta::new(x, 0)], |of| {
            of.moments().mode().entropy().tails().kl()
        })
        .of([real()]),
        two(
            "Expanded",
            &[|a, b| Expanded::new(Normal::new(a, b)?, a.dims())],
            |of| of.moments().mode().entropy().tails().kl(),
        )
        .of([real(), real()]),
        two(
            "Masked",
            &[|a, b| Masked::new(Normal::new(a, b)?, &a.to_dtype(DType::U8)?)],
            |of| of.moments().mode().entropy(),
        )
        .of([real(), real()]),
        three(
            "MixtureSameFamily",
            &[|a, b, c| MixtureSameFamily::new(Categorical::new(a)?, Normal::new(b, c)?)],
            |of| of.moments().tails(),
        )
        .of([classes(), classes(), classes()]),
        three(
            "ReparameterizedMixture",
            &[|a, b, c| {
                let mixture = MixtureSameFamily::new(Categorical::new(a)?, Normal::new(b, c)?)?;
                Ok(mixture.reparameterized())
            }],
            |of| of.moments().tails(),
        )
        .of([classes(), classes(), classes()]),
        four(
            "Transformed by Affine",
            &[|a, b, c, d| Normal::new(a, b)?.transformed_by(Affine::soft_clamped(c, d, 1.)?)],
            |of| of.moments().mode().entropy().tails().kl(),
        )
        .of([real(), real(), real(), real()]),
        two(
            "Transformed",
            &[|a, b| Normal::new(a, b)?.transformed_by(Exp)],
            |of| of.tails().kl(),
        )
        .of([real(), real()]),
        four(
            "Truncated",
            &[|a, b, c, d| Truncated::new(Normal::new(a, b)?, c, d)],
            |of| of.tails(),
        )
        .of([real(), real(), real(), real()]),
    ]
}

/// What is wrong, if anything, of a batch of this shape. Where the table has vectors of two they have `size` elements.
fn faults(row: &Family, batch: &[usize], size: usize, dtype: DType) -> Result<Vec<String>> {
    let leaf = |parameter: &Parameter| {
        let own = parameter.shape.iter();
        let own: Vec<usize> = own.map(|d| if *d == 2 { size } else { *d }).collect();
        let zeros = none(&[batch, &own].concat(), dtype)?;
        Ok(Var::from_tensor(&zeros)?.into_inner())
    };
    let parameters: Result<Vec<Tensor>> = row.parameters.iter().map(leaf).collect();
    let d = row.build(&parameters?)?;
    let event = match row.value.len() {
        2 => vec![size],
        _ => vec![],
    };
    let got = asked(&d)?;
    let mut faults = vec![];
    for (answers, want) in [
        (got.by_batch, batch.to_vec()),
        (got.by_event, [batch, &event].concat()),
        (got.by_sample, [&[SAMPLE], batch].concat()),
        (got.by_draw, [&[SAMPLE], batch, &event].concat()),
    ] {
        for (what, dims) in answers.into_iter().filter(|(_, dims)| *dims != want) {
            let name = row.name;
            faults.push(format!("{name} {batch:?}: {what} {dims:?}, not {want:?}"));
        }
    }
    Ok(faults)
}

#[test]
fn of_every_family() {
    let mut all = vec![];
    for row in every().into_iter().chain(combined()) {
        for batch in [&[0, 3][..], &[2, 0, 3], &[0, 1], &[3, 0], &[0]] {
            for (size, dtype) in [1, 3]
                .into_iter()
                .flat_map(|n| [(n, DType::F32), (n, DType::F64)])
            {
                match faults(&row, batch, size, dtype) {
                    Ok(faults) => all.extend(faults),
                    Err(error) => all.push(format!("{} {batch:?} {dtype:?}: {error}", row.name)),
                }
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
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
