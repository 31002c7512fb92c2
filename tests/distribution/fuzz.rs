//! A million random parameters and values, from the edges of their domains too: no panic, no NaN that did not come in,
//! no infinite slope of a finite log-probability, and nothing outside of the support.

use crate::support::any::Any;
use crate::support::families::Domain::{self, *};
use crate::support::families::{Family, four, numbers, p, two};
use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::bijector::{Affine, Exp};
use candle_prob::distribution::*;
use candle_prob::{Result, Rng};
use std::slice::from_ref;

const CPU: &Device = &Device::Cpu;

/// Pairs of parameters and values for each family and dtype: together more than a million.
const COUNT: usize = 16_384;

/// One of the domain's numbers: its ends, ordinary ones, and magnitudes from 1e-30 to 1e30. What is above another is told
/// by how far above it is.
fn number(domain: Domain, [choice, sign, size]: [f64; 3]) -> f64 {
    let sign = if sign < 0.5 { -1. } else { 1. };
    let decades = if choice < 0.6 { 2. } else { 30. };
    let magnitude = 10f64.powf(decades * (2. * size - 1.));
    let edge = choice < 0.1;
    match domain {
        Real | End if edge => 0.,
        Real | End => sign * magnitude,
        Positive | Above(_) | EndAbove(_) if edge => 1.,
        Positive | Above(_) | EndAbove(_) => magnitude,
        NonNegative if edge => 0.,
        NonNegative => magnitude,
        Logit if edge => sign * f64::INFINITY,
        Logit => sign * magnitude,
        Unit if edge => f64::from(u8::from(sign > 0.)),
        UnitNotZero if edge => 1.,
        UnitNotOne if edge => 0.,
        Unit | UnitNotZero | UnitNotOne if decades > 2. => magnitude.min(0.5),
        // The nearest single to 0 is not 0, that to 1 is 1.
        Unit | UnitNotZero | UnitNotOne => size.clamp(1e-6, 1. - 1e-6),
        Count if edge => f64::from(u8::from(sign > 0.)),
        Count => (magnitude * 10.).floor(),
    }
}

/// Anything that may be handed to a density: edges of supports, whole numbers, infinities, NaN.
fn value([choice, sign, size]: [f64; 3]) -> f64 {
    const EDGES: [f64; 13] = [
        0.,
        1.,
        -1.,
        2.,
        7.,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        0.5,
        1e-30,
        1e-310,
        1e-40,
        1e30,
    ];
    match (choice * 40.) as usize {
        i if i < EDGES.len() => EDGES[i],
        13..=20 => (size * 100.).floor(),
        21..=28 => size,
        _ => number(Real, [choice, sign, size]),
    }
}

/// Probabilities, both ends included.
fn probability([choice, _, size]: [f64; 3]) -> f64 {
    match (choice * 20.) as usize {
        0 => 0.,
        1 => 1.,
        2..6 => 10f64.powf(-30. * size),
        _ => size,
    }
}

fn random(count: usize, seed: u64, f: impl Fn([f64; 3]) -> f64, dtype: DType) -> Result<Tensor> {
    let words = Rng::new(seed).uniform((count, 3), DType::F64, CPU)?;
    let words = words.to_vec2::<f64>()?.into_iter();
    let numbers: Vec<f64> = words.map(|w| f([w[0], w[1], w[2]])).collect();
    Ok(Tensor::new(numbers, CPU)?.to_dtype(dtype)?)
}

/// Where a number of the family does not exist.
fn undefined(family: &str, what: &str, p: &[f64]) -> bool {
    match (family, what) {
        ("Beta" | "Kumaraswamy", "mode") => p[0] <= 1. && p[1] <= 1.,
        ("Cauchy", "mean") => true,
        ("StudentT", "mean" | "variance") => p[0] <= 1.,
        _ => false,
    }
}

/// Families of numbers, and what is made from them.
fn families() -> Result<Vec<Family>> {
    let pair = || [p("loc", Real, 0.5), p("scale", Positive, 1.25)];
    let ends = [p("low", Real, -1.), p("width", Positive, 3.)];
    let mut all = vec![
        // Ends within 30 scales, where the base's tails tell them apart.
        four(
            "Truncated<Normal>",
            &[|a, b, c, d| {
                let [low, width] = [c.clamp(-1e3, 1e3)?, d.clamp(1e-3, 1e3)?];
                let high = upper_end(&low, &width)?;
                let scale = (high.detach() - low.detach())?.mul(&b.clamp(0.1, 1e3)?)?;
                let loc = ((&scale * a.clamp(-30., 30.)?)? + low.detach())?;
                Truncated::new(Normal::new(&loc, &scale)?, &low, &high)
            }],
            |of| of.tails(),
        )
        .of(Vec::from_iter(pair().into_iter().chain(ends)))
        .within(|x, p| {
            let low = p[2].clamp(-1e3, 1e3);
            x >= low && x <= high(low, p[3].clamp(1e-3, 1e3))
        }),
        two(
            "Transformed<Normal, Exp>",
            &[|a, b| Normal::new(a, b)?.transformed_by(Exp)],
            |of| of.tails(),
        )
        .of(pair())
        .within(|x, _| x > 0.),
        two(
            "Transformed<Laplace, Affine>",
            &[|a, b| {
                let zero = Tensor::zeros((), a.dtype(), CPU)?;
                let falling = Affine::new(&zero, &(zero.ones_like()? * -0.5)?)?;
                Laplace::new(a, b)?.transformed_by(falling)
            }],
            |of| of.tails(),
        )
        .of(pair()),
    ];
    for row in numbers() {
        // The exponential of a large variance's logarithm is infinite.
        if row.name != "Normal::from_log_var" && row.example()?.tails.is_some() {
            all.push(row);
        }
    }
    Ok(all)
}

/// At least what `upper_end` rounds to.
fn high(low: f64, width: f64) -> f64 {
    low + width.max(low.abs()) * (1. + 1e-6)
}

fn build(row: &Family, raw: &[Tensor]) -> Result<Any> {
    let mut parameters = raw.to_vec();
    for (k, parameter) in row.parameters.iter().enumerate() {
        if let Above(low) | EndAbove(low) = parameter.domain {
            parameters[k] = upper_end(&raw[low], &raw[k])?;
        }
    }
    row.build(&parameters)
}

fn support(row: &Family, x: f64, raw: &[f64]) -> bool {
    let mut parameters = raw.to_vec();
    for (k, parameter) in row.parameters.iter().enumerate() {
        if let Above(low) | EndAbove(low) = parameter.domain {
            parameters[k] = high(raw[low], raw[k]);
        }
    }
    row.support.is_none_or(|inside| inside(x, &parameters))
}

/// Above `low` whatever the rounding. Its slope is that of `width`, whatever that is.
fn upper_end(low: &Tensor, width: &Tensor) -> Result<Tensor> {
    let high = (low + width.maximum(&low.abs()?)?)?.detach();
    Ok((high + (width - width.detach())?)?)
}

/// The first few things that are wrong.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, family: &str, what: &str, at: &[f64], x: Option<f64>, got: f64) {
        let start = format!("{family} {what}:");
        if self
            .0
            .iter()
            .filter(|fault| fault.starts_with(&start))
            .count()
            < 4
        {
            self.0.push(format!("{start} {got:e} at {at:?} of {x:?}"));
        }
    }
}

/// NaN, or infinite where the format does not overflow. `own` is the slope to the value itself.
fn wrong_slope(slope: f64, at: &[f64], x: f64, log: f64, own: bool, dtype: DType) -> bool {
    let single = dtype == DType::F32;
    // 1 / x is beyond the format.
    let (smallest, largest): (f64, f64) = if single {
        (1e-37, 1e20)
    } else {
        (1e-300, 1e200)
    };
    if x != 0. && x.abs() < smallest || log.abs() > 1e200 {
        return false;
    }
    let extreme = |x: f64| x != 0. && !(1e-6..1e6).contains(&x.abs());
    // At the end of a domain the slope to the value is that of the limit.
    let edge = |x: &f64| x.is_infinite() || *x == 0. || *x == 1.;
    let steep = log.abs() > largest.min(1e15)
        || own && at.iter().any(edge)
        || single && (extreme(x) || at.iter().any(|x| extreme(*x)))
        || at.iter().any(|x| x.abs() > 700. && x.abs() < 750.);
    slope.is_nan() || slope.is_infinite() && !steep
}

struct Case<'a> {
    row: &'a Family,
    parameters: Vec<Tensor>,
    /// The same as numbers, one vector for each element.
    at: Vec<Vec<f64>>,
}

impl Case<'_> {
    fn first(&self, count: usize) -> Result<Self> {
        let first = |x: &Tensor| x.narrow(0, 0, count)?.contiguous();
        let parameters: candle_core::Result<_> = self.parameters.iter().map(first).collect();
        Ok(Case {
            row: self.row,
            parameters: parameters?,
            at: self.at[..count].to_vec(),
        })
    }

    /// Calls `wrong(parameters, value, result)` for each element.
    fn look(
        &self,
        faults: &mut Faults,
        what: &str,
        x: &[f64],
        got: &Tensor,
        wrong: impl Fn(&[f64], f64, f64) -> bool,
    ) {
        for (i, (got, x)) in flat(got).into_iter().zip(x).enumerate() {
            if wrong(&self.at[i], *x, got) {
                faults.add(self.row.name, what, &self.at[i], Some(*x), got);
            }
        }
    }

    /// The log-density or a tail's logarithm: NaN for NaN alone, and slopes that are no NaN, nor infinite where single
    /// precision does not overflow, wherever it is finite.
    fn slopes(
        &self,
        faults: &mut Faults,
        what: &str,
        x: &Tensor,
        f: impl Fn(&dyn Cdf, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut inputs = self.parameters.clone();
        inputs.push(x.clone());
        let inputs: candle_core::Result<Vec<Var>> = inputs.iter().map(Var::from_tensor).collect();
        let inputs = inputs?;
        let (at, x) = inputs.split_at(self.parameters.len());
        let at: Vec<Tensor> = at.iter().map(|var| var.as_tensor().clone()).collect();
        let y = f(&build(self.row, &at)?, &x[0])?;
        let gradients = y.sum_all()?.backward()?;
        let (y, value) = (y.detach(), flat(&x[0]));
        self.look(faults, what, &value, &y, |_, x, y| y.is_nan() != x.is_nan());
        let logs = flat(&y);
        for (k, input) in inputs.iter().enumerate() {
            let Some(gradient) = gradients.get(input) else {
                continue;
            };
            let name = format!("{what} slope {k}");
            for (i, slope) in flat(gradient).into_iter().enumerate() {
                let (at, x, log) = (&self.at[i], value[i], logs[i]);
                let own = k == self.parameters.len();
                if log.is_finite() && wrong_slope(slope, at, x, log, own, y.dtype()) {
                    faults.add(self.row.name, &name, at, Some(x), slope);
                }
            }
        }
        Ok(y)
    }
}

fn fuzz(row: &Family, dtype: DType, faults: &mut Faults) -> Result<()> {
    let mut parameters = vec![];
    for (k, parameter) in row.parameters.iter().enumerate() {
        let draw = |words| number(parameter.domain, words);
        parameters.push(random(COUNT, k as u64, draw, dtype)?);
    }
    let columns: Vec<Vec<f64>> = parameters.iter().map(flat).collect();
    let at = (0..COUNT).map(|i| columns.iter().map(|c| c[i]).collect());
    let at = at.collect();
    let case = Case {
        row,
        parameters,
        at,
    };
    let d = build(row, &case.parameters)?;
    let mut numbers = vec![];
    if let Some(d) = &d.moments {
        numbers.extend([("mean", d.mean()?), ("variance", d.variance()?)]);
    }
    if let Some(d) = &d.mode {
        numbers.push(("mode", d.mode()?));
    }
    if let Some(d) = &d.entropy {
        numbers.push(("entropy", d.entropy()?));
    }
    for (what, numbers) in &numbers {
        let nothing = vec![0.; COUNT];
        case.look(faults, what, &nothing, numbers, |at, _, y| {
            y.is_nan() && !undefined(row.name, what, at)
        });
    }

    let x = random(COUNT, 99, value, dtype)?;
    let (value, inside) = (flat(&x), |x: f64, at: &[f64]| {
        x.is_finite() && support(row, x, at)
    });
    let log_prob = case.slopes(faults, "log_prob", &x, |d, x| d.log_prob(x))?;
    case.look(faults, "log_prob outside", &value, &log_prob, |at, x, y| {
        !x.is_nan() && !inside(x, at) && y != f64::NEG_INFINITY
    });

    // Tails take a hundred times as long.
    let case = case.first(COUNT / 4)?;
    let x = x.narrow(0, 0, COUNT / 4)?.contiguous()?;
    let value = flat(&x);
    let family = build(row, &case.parameters)?;
    for (what, upper) in [("log_cdf", false), ("log_survival", true)] {
        let tail = case.slopes(faults, what, &x, |d, x| match upper {
            true => d.log_survival(x),
            false => d.log_cdf(x),
        })?;
        case.look(faults, what, &value, &tail, |_, x, y| {
            let empty = if upper {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            };
            y > 1e-9 || x == empty && y != f64::NEG_INFINITY || x == -empty && y != 0.
        });
    }

    let p = random(COUNT / 4, 98, probability, dtype)?;
    let quantile = family.quantile(&p)?;
    case.look(faults, "quantile", &flat(&p), &quantile, |at, _, y| {
        y.is_nan() || y.is_finite() && !support(row, y, at) && !(y == 0. && support(row, 1e-30, at))
    });

    let draws = family.sample(&[], &mut Rng::new(0))?;
    let drawn = flat(&draws);
    case.look(faults, "draw", &drawn, &draws, |at, _, x| {
        // Rounding to infinity or 0 is what is left of a number beyond the format.
        x.is_nan() || x.is_finite() && x != 0. && !support(row, x, at)
    });
    case.slopes(faults, "log_prob of draws", &draws.detach(), |d, x| {
        d.log_prob(x)
    })?;
    Ok(())
}

/// Every third family, beginning with `first`: three tests run beside each other.
fn every_third(first: usize) -> Result<()> {
    let mut faults = Faults::default();
    for row in families()?.iter().skip(first).step_by(3) {
        for dtype in [DType::F64, DType::F32] {
            fuzz(row, dtype, &mut faults)?;
        }
    }
    let Faults(faults) = faults;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn numbers_of_the_first_third() -> Result<()> {
    every_third(0)
}

#[test]
fn numbers_of_the_second_third() -> Result<()> {
    every_third(1)
}

#[test]
fn numbers_of_the_last_third() -> Result<()> {
    every_third(2)
}

/// Vectors: parameters in rows of 4.
fn rows(domain: Domain, seed: u64, dtype: DType) -> Result<Tensor> {
    let numbers = random(COUNT, seed, |words| number(domain, words), dtype)?;
    Ok(numbers.reshape((COUNT / 4, 4))?)
}

fn no_nan(what: &str, x: &Tensor) {
    let nans = flat(x).into_iter().filter(|x| x.is_nan()).count();
    assert!(nans == 0, "{what}: {nans} NaN");
}

/// Density and slopes at the family's own draws, and NaN for NaN.
fn vector<P: Distribution>(
    name: &str,
    parameters: &[Tensor],
    build: impl Fn(&[Tensor]) -> Result<P>,
) -> Result<P> {
    let inputs: candle_core::Result<Vec<Var>> = parameters.iter().map(Var::from_tensor).collect();
    let inputs = inputs?;
    let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
    let d = build(&tensors)?;
    let x = d.sample(&[], &mut Rng::new(0))?.detach();
    no_nan(&format!("{name} draws"), &x);
    let log_prob = d.log_prob(&x)?;
    no_nan(&format!("{name} log_prob"), &log_prob);
    let finite = log_prob.detach().abs()?.lt(f64::INFINITY)?;
    let kept = finite.where_cond(&log_prob, &log_prob.detach().zeros_like()?)?;
    let gradients = kept.sum_all()?.backward()?;
    let finite = flat(&finite);
    for (k, input) in inputs.iter().enumerate() {
        let Some(gradient) = gradients.get(input) else {
            continue;
        };
        let gradient = flat(gradient);
        let each = gradient.len() / finite.len();
        for (i, slopes) in gradient.chunks(each).enumerate() {
            let fine = slopes.iter().all(|slope| !slope.is_nan());
            assert!(finite[i] == 0. || fine, "{name} slope {k}: {slopes:?}");
        }
    }
    if x.dtype().is_float() {
        let nan = x.affine(0., f64::NAN)?;
        assert!(
            flat(&d.log_prob(&nan)?).iter().all(|x| x.is_nan()),
            "{name}"
        );
    }
    let d = build(parameters)?;
    Ok(d)
}

/// One finite logit in each row.
fn logits(domain: Domain, dtype: DType) -> Result<Tensor> {
    let logits = rows(domain, 5, dtype)?;
    let logits = logits.minimum(&(logits.zeros_like()? + 1e6)?)?;
    let finite = logits.narrow(1, 0, 1)?.zeros_like()?;
    Ok(Tensor::cat(&[logits, finite], 1)?)
}

fn numbers_of<P: Moments + Entropy>(name: &str, d: &P) -> Result<()> {
    no_nan(&format!("{name} mean"), &d.mean()?);
    no_nan(&format!("{name} variance"), &d.variance()?);
    no_nan(&format!("{name} entropy"), &d.entropy()?);
    Ok(())
}

/// A lower triangle with a positive diagonal.
fn triangle(diagonal: &Tensor, below: &Tensor) -> Result<Tensor> {
    let (n, d) = diagonal.dims2()?;
    let eye = Tensor::eye(d, diagonal.dtype(), CPU)?;
    let lower = (Tensor::tril2(d, diagonal.dtype(), CPU)? - &eye)?;
    let diagonal = diagonal.unsqueeze(2)?.broadcast_mul(&eye)?;
    let below = below.reshape((n, d, 1))?.broadcast_mul(&lower)?;
    Ok((diagonal + below)?)
}

#[test]
fn vectors() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let positive = rows(Positive, 6, dtype)?;
        let real = rows(Real, 7, dtype)?;
        let d = vector("Dirichlet", from_ref(&positive), |p| Dirichlet::new(&p[0]))?;
        numbers_of("Dirichlet", &d)?;
        let logits = logits(Logit, dtype)?;
        let finite = logits.clamp(-1e30, 1e30)?;
        let d = vector("Categorical", from_ref(&logits), |p| {
            Categorical::new(&p[0])
        })?;
        no_nan("Categorical entropy", &d.entropy()?);
        let d = vector("OneHotCategorical", from_ref(&logits), |p| {
            OneHotCategorical::new(&p[0])
        })?;
        numbers_of("OneHotCategorical", &d)?;
        let count = Tensor::new(9f64, CPU)?.to_dtype(dtype)?;
        let d = vector("Multinomial", from_ref(&logits), |p| {
            Multinomial::new(&count, &p[0])
        })?;
        numbers_of("Multinomial", &d)?;
        let temperature = positive.narrow(1, 0, 1)?.squeeze(1)?;
        vector("RelaxedOneHotCategorical", &[temperature, finite], |p| {
            RelaxedOneHotCategorical::new(&p[0], &p[1])
        })?;
        let d = vector(
            "MultivariateNormalDiag",
            &[real.clone(), positive.clone()],
            |p| MultivariateNormalDiag::new(&p[0], &p[1]),
        )?;
        numbers_of("MultivariateNormalDiag", &d)?;
        let small = positive.clamp(1e-3, 1e3)?;
        let below = rows(Real, 8, dtype)?.clamp(-10., 10.)?;
        let factor = triangle(&small, &below)?;
        let d = vector("MultivariateNormal", &[real.clone(), factor.clone()], |p| {
            MultivariateNormal::new(&p[0], &p[1])
        })?;
        numbers_of("MultivariateNormal", &d)?;
        let d = vector(
            "LowRankMultivariateNormal",
            &[real.clone(), factor, small.clone()],
            |p| LowRankMultivariateNormal::new(&p[0], &p[1], &p[2]),
        )?;
        numbers_of("LowRankMultivariateNormal", &d)?;
        vector("LogisticNormal", &[real.clone(), small.clone()], |p| {
            LogisticNormal::new(&p[0], &p[1])
        })?;
        let d = vector("Independent", &[real.clone(), positive.clone()], |p| {
            Laplace::new(&p[0], &p[1])?.to_event(1)
        })?;
        numbers_of("Independent", &d)?;
        let d = vector("OneHotCategoricalStraightThrough", from_ref(&logits), |p| {
            OneHotCategoricalStraightThrough::new(&p[0])
        })?;
        numbers_of("OneHotCategoricalStraightThrough", &d)?;
        let d = vector("Delta", from_ref(&real), |p| Delta::new(&p[0], 1))?;
        numbers_of("Delta", &d)?;
        let batch = [1, COUNT / 4];
        let d = vector("Expanded", &[real.clone(), positive.clone()], |p| {
            Expanded::new(Laplace::new(&p[0], &p[1])?.to_event(1)?, &batch)
        })?;
        numbers_of("Expanded", &d)?;
        // Exponentials that single precision has.
        let near = real.clamp(-20., 20.)?;
        let narrow = positive.clamp(1e-3, 10.)?;
        let build = |p: &[Tensor]| Transformed::new(Normal::new(&p[0], &p[1])?.to_event(1)?, Exp);
        let d = vector("Transformed", &[near.clone(), narrow.clone()], build)?;
        // Any value: outside of the support -inf, NaN for NaN alone.
        let x = random(COUNT, 99, value, dtype)?.reshape((COUNT / 4, 4))?;
        let log_prob = flat(&d.log_prob(&x)?);
        for (x, log) in flat(&x).chunks(4).zip(log_prob) {
            let nan = x.iter().any(|x| x.is_nan());
            let outside = x.iter().any(|x| *x <= 0.);
            assert_eq!(log.is_nan(), nan, "Transformed {x:?}");
            assert!(nan || !outside || log == f64::NEG_INFINITY, "{x:?}: {log}");
        }
        let d = vector(
            "MixtureSameFamily",
            &[finite_logits(&real)?, real.clone(), positive.clone()],
            |p| MixtureSameFamily::new(Categorical::new(&p[0])?, Normal::new(&p[1], &p[2])?),
        )?;
        no_nan("MixtureSameFamily mean", &d.mean()?);
    }
    Ok(())
}

fn finite_logits(x: &Tensor) -> Result<Tensor> {
    Ok(x.clamp(-1e6, 1e6)?)
}

/// Hidden elements have no slope, however steep the family is there.
#[test]
fn a_mask_hides_infinite_slopes() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let x = Var::from_tensor(&random(COUNT, 99, value, dtype)?)?;
        let [a, b] = [0, 1].map(|k| random(COUNT, k, |w| number(Positive, w), dtype));
        let (a, b) = (Var::from_tensor(&a?)?, Var::from_tensor(&b?)?);
        let hidden = Tensor::zeros(COUNT, DType::U8, CPU)?;
        let y = Masked::new(Weibull::new(&a, &b)?, &hidden)?.log_prob(&x)?;
        let gradients = y.sum_all()?.backward()?;
        for input in [&a, &b, &x] {
            if let Some(gradient) = gradients.get(input) {
                assert!(flat(gradient).iter().all(|slope| *slope == 0.));
            }
        }
    }
    Ok(())
}
