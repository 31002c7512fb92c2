//! A batch of no distributions: every family takes it, and whatever is asked of it has the shape it should and no
//! elements.

use crate::support::any::{Any, any};
use crate::support::families::every;
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

type Build = fn(&[Tensor]) -> Result<Any>;

/// Combinators of numbers, from up to four parameters of one shape.
const COMBINED: [(&str, Build); 6] = [
    ("Delta", |p| {
        any(Delta::new(&p[0], 0), |of| {
            of.moments().mode().entropy().tails().kl()
        })
    }),
    ("Expanded", |p| {
        let base = Normal::new(&p[0], &p[1])?;
        any(Expanded::new(base, p[0].dims()), |of| {
            of.moments().mode().entropy().tails().kl()
        })
    }),
    ("Masked", |p| {
        let mask = p[0].to_dtype(DType::U8)?;
        any(Masked::new(Normal::new(&p[0], &p[1])?, &mask), |of| {
            of.moments().mode().entropy()
        })
    }),
    ("Transformed by Affine", |p| {
        let affine = Affine::soft_clamped(&p[2], &p[3], 1.)?;
        any(Normal::new(&p[0], &p[1])?.transformed_by(affine), |of| {
            of.moments().mode().entropy().tails().kl()
        })
    }),
    ("Transformed", |p| {
        let base = Normal::new(&p[0], &p[1])?;
        any(base.transformed_by(Exp), |of| of.tails().kl())
    }),
    ("Truncated", |p| {
        let base = Normal::new(&p[0], &p[1])?;
        any(Truncated::new(base, &p[2], &p[3]), |of| of.tails())
    }),
];

/// The last dim of the parameters is that of classes.
const CLASSES: [(&str, Build); 2] = [
    ("Categorical::from_probs", |p| {
        any(Categorical::from_probs(&p[0]), |of| {
            of.mode().entropy().tails().kl()
        })
    }),
    ("MixtureSameFamily", |p| {
        let mixing = Categorical::new(&p[0])?;
        let mixture = MixtureSameFamily::new(mixing, Normal::new(&p[1], &p[2])?);
        any(mixture, |of| of.moments().tails())
    }),
];

/// What is wrong, if anything, of a batch of this shape; the parameters' own dims come after it.
fn faults(
    name: &str,
    build: &dyn Fn(&[Tensor]) -> Result<Any>,
    batch: &[usize],
    own: &[Vec<usize>],
) -> Vec<String> {
    let run = |dtype: DType| -> Result<Vec<String>> {
        let leaf = |own: &Vec<usize>| {
            let zeros = none(&[batch, own].concat(), dtype)?;
            Ok(Var::from_tensor(&zeros)?.into_inner())
        };
        let d = build(&own.iter().map(leaf).collect::<Result<Vec<_>>>()?)?;
        let (got, event) = (asked(&d)?, d.event_shape());
        let mut faults = vec![];
        for (answers, want) in [
            (got.by_batch, batch.to_vec()),
            (got.by_event, [batch, event].concat()),
            (got.by_sample, [&[SAMPLE], batch].concat()),
            (got.by_draw, [&[SAMPLE], batch, event].concat()),
        ] {
            for (what, dims) in answers.into_iter().filter(|(_, dims)| *dims != want) {
                faults.push(format!("{name} {batch:?}: {what} {dims:?}, not {want:?}"));
            }
        }
        Ok(faults)
    };
    let of =
        |dtype| run(dtype).unwrap_or_else(|e| vec![format!("{name} {batch:?} {dtype:?}: {e}")]);
    [DType::F32, DType::F64].into_iter().flat_map(of).collect()
}

#[test]
fn of_every_family() {
    let mut all = vec![];
    for batch in [&[0, 3][..], &[2, 0, 3], &[0, 1], &[3, 0], &[0]] {
        for row in every() {
            // Vectors of one element, and of three.
            for size in [1, 3] {
                let sized = |d: &usize| if *d == 2 { size } else { *d };
                let own = row.parameters.iter();
                let own: Vec<Vec<usize>> =
                    own.map(|p| p.shape.iter().map(sized).collect()).collect();
                all.extend(faults(row.name, &|p| row.build(p), batch, &own));
            }
        }
        for (name, build) in COMBINED {
            all.extend(faults(name, &build, batch, &vec![vec![]; 4]));
        }
        for (name, build) in CLASSES {
            all.extend(faults(name, &build, batch, &vec![vec![3]; 3]));
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
