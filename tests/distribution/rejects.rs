//! What no family takes: every parameter with every fault, values that do not fit. The error says what was expected and
//! what came, and `new_unchecked` looks at shapes alone.

use crate::support::families::{Domain, Family, every, numbers, vectors};
use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::*;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

const INF: f32 = f32::INFINITY;

/// Numbers that a parameter may not be, beside the other parameters' ordinary ones.
fn faults(domain: Domain, row: &Family) -> Vec<f32> {
    let low = |k: usize| row.parameters[k].at[0] as f32;
    match domain {
        Domain::Real => vec![f32::NAN, INF, -INF],
        Domain::Positive => vec![f32::NAN, INF, 0., -1.],
        Domain::NonNegative => vec![f32::NAN, INF, -1.],
        Domain::Logit | Domain::End => vec![f32::NAN],
        Domain::Unit => vec![f32::NAN, -0.1, 1.1],
        Domain::UnitNotZero => vec![f32::NAN, 0., 1.1],
        Domain::UnitNotOne => vec![f32::NAN, -0.1, 1.],
        Domain::Count => vec![f32::NAN, INF, -1., 0.5],
        Domain::Above(k) => vec![f32::NAN, INF, low(k), low(k) - 1.],
        Domain::EndAbove(k) => vec![f32::NAN, low(k), low(k) - 1.],
    }
}

/// The one line of the error: it has these words.
fn refused<T>(what: &str, got: Result<T>, words: &[&str]) {
    let line = match got {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{what}: taken"),
    };
    let expects = ["expected", "found"];
    for word in words.iter().chain(&expects) {
        assert!(line.contains(word), "{what}: no {word:?} in {line:?}");
    }
}

#[test]
fn parameters_of_every_family() -> Result<()> {
    for row in numbers() {
        let (family, new) = row.names();
        let name = &format!("{family}::{new}");
        let good = row.ordinary(&[2], DType::F32)?;
        assert_eq!(row.build(&good)?.batch_shape(), [2], "{name}");
        for (k, parameter) in row.parameters.iter().enumerate() {
            let (arg, fine) = (parameter.name, parameter.at[0] as f32);
            let with = |tensor: Tensor| {
                let mut all = good.clone();
                all[k] = tensor;
                all
            };
            for bad in faults(parameter.domain, &row) {
                let what = format!("{name} with {bad} as {arg}");
                let parameters = with(Tensor::new(&[fine, bad], CPU)?);
                // Only the second of two ends can tell that they are not in order.
                refused(&what, row.build(&parameters), &[name, arg]);
                if let Some(unchecked) = row.unchecked(&parameters) {
                    assert!(unchecked.is_ok(), "{what} unchecked");
                }
            }
            let whole = with(Tensor::new(&[1u32, 2], CPU)?);
            let what = format!("{name} with whole numbers as {arg}");
            refused(&what, row.build(&whole), &[name, arg]);
            if let Some(unchecked) = row.unchecked(&whole) {
                refused(&what, unchecked, &[&format!("{name}_unchecked"), arg]);
            }
            if row.parameters.len() > 1 {
                let three = with(Tensor::full(fine, 3, CPU)?);
                let what = format!("{name} {arg} of 3");
                refused(&what, row.build(&three), &[name, "[3]"]);
                let double = with(Tensor::new(&[f64::from(fine); 2], CPU)?);
                let what = format!("{name} {arg} in f64");
                refused(&what, row.build(&double), &[name, "F64"]);
            }
        }
    }
    Ok(())
}

#[test]
fn values_of_every_family() -> Result<()> {
    for row in numbers() {
        let d = row.build(&row.ordinary(&[2], DType::F32)?)?;
        let log_prob = format!("{}::log_prob", row.names().0);
        let three = Tensor::zeros(3, DType::F32, CPU)?;
        refused(row.name, d.log_prob(&three), &[&log_prob, "value", "[3]"]);
        let double = Tensor::zeros(2, DType::F64, CPU)?;
        refused(row.name, d.log_prob(&double), &[&log_prob, "value", "F64"]);
    }
    Ok(())
}

/// An error names what was called, also where that leaves its work to another.
#[test]
fn names_of_what_was_called() -> Result<()> {
    let (two, three) = (f32s(&[1., 1.]), f32s(&[1., 1., 1.]));
    let whole = Tensor::new(&[1u32, 2], CPU)?;
    let (normal, chi2) = (Normal::new(&two, &two)?, Chi2::new(&two)?);
    let (one_hot, straight) = ("OneHotCategorical", "OneHotCategoricalStraightThrough");
    let called = |family: &str, method: &str| format!("{family}::{method}: ");
    for (name, got) in [
        (called("Cdf", "cdf"), normal.cdf(&three)),
        (called("Cdf", "survival"), normal.survival(&three)),
        (called("Normal", "log_cdf"), normal.log_cdf(&three)),
        (
            called("Cdf", "survival_quantile"),
            Chi2::survival_quantile(&chi2, &three),
        ),
        (called("Chi2", "quantile"), chi2.quantile(&three)),
        (called("Chi2", "log_cdf"), chi2.log_cdf(&three)),
        (called("Chi2", "log_survival"), chi2.log_survival(&three)),
        (called("Chi2", "kl"), chi2.kl(&Chi2::new(&three)?)),
    ] {
        refused(&name, got, &[&name, "[3]"]);
    }
    for (name, got) in [
        (
            called("Categorical", "new"),
            Categorical::new(&whole).map(drop),
        ),
        (
            called("Categorical", "new_unchecked"),
            Categorical::new_unchecked(&whole).map(drop),
        ),
        (
            called(one_hot, "new"),
            OneHotCategorical::new(&whole).map(drop),
        ),
        (
            called(one_hot, "new_unchecked"),
            OneHotCategorical::new_unchecked(&whole).map(drop),
        ),
        (
            called(straight, "new"),
            OneHotCategoricalStraightThrough::new(&whole).map(drop),
        ),
        (
            called(straight, "new_unchecked"),
            OneHotCategoricalStraightThrough::new_unchecked(&whole).map(drop),
        ),
        (
            called("Multinomial", "new"),
            Multinomial::new(&two, &whole).map(drop),
        ),
        (
            called("Multinomial", "new_unchecked"),
            Multinomial::new_unchecked(&two, &whole).map(drop),
        ),
        (
            called("LogisticNormal", "new"),
            LogisticNormal::new(&two, &whole).map(drop),
        ),
        (
            called("LogisticNormal", "new_unchecked"),
            LogisticNormal::new_unchecked(&two, &whole).map(drop),
        ),
        (
            called("RelaxedOneHotCategorical", "new_unchecked"),
            RelaxedOneHotCategorical::new_unchecked(&two, &whole).map(drop),
        ),
        (
            called("Delta", "new_unchecked"),
            Delta::new_unchecked(&whole, 0).map(drop),
        ),
    ] {
        refused(&name, got, &[&name, "U32"]);
    }
    let few = candle_prob::divergence::estimate::kl(&normal, &normal, 1, &mut Rng::new(0));
    refused("one sample", few, &["estimate::kl: samples", "at least 2"]);
    // The class after the last would be the first of the next row.
    let table = Tensor::zeros((2, 2), DType::F32, CPU)?;
    let row = select_component(&table, &Tensor::new(&[2u32, 0], CPU)?, 0);
    refused(
        "class",
        row,
        &["select_component: index", "below 2", "found 2"],
    );
    Ok(())
}

fn f32s(x: &[f32]) -> Tensor {
    Tensor::new(x, CPU).unwrap()
}

#[test]
fn probabilities_off_the_simplex() {
    let nine = f32s(&[9.]).get(0).unwrap();
    // The sum is named where it is what is wrong.
    for (probs, sum) in [
        ([0., 0.], "sum 0"),
        ([0.5, 0.6], "sum 1.1"),
        ([0.5, 0.49999], "sum 0.9999"),
        ([2., 3.], "sum 5"),
        ([-0.5, 1.5], "-0.5"),
        ([f32::NAN, 1.], "NaN"),
        ([INF, 0.], "inf"),
    ] {
        let what = format!("{probs:?}");
        let probs = f32s(&probs);
        for (family, got) in [
            (
                "Categorical::from_probs",
                Categorical::from_probs(&probs).map(drop),
            ),
            (
                "OneHotCategorical::from_probs",
                OneHotCategorical::from_probs(&probs).map(drop),
            ),
            (
                "Multinomial::from_probs",
                Multinomial::from_probs(&nine, &probs).map(drop),
            ),
        ] {
            refused(&what, got, &[family, "probs", sum]);
        }
        // Weights go in as logits.
        let logits = probs.log().unwrap();
        assert_eq!(
            Categorical::new(&logits).is_ok(),
            sum.contains("sum") && sum != "sum 0"
        );
        assert!(Categorical::new_unchecked(&logits).is_ok());
    }
    // Rounding is no fault, in any format.
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        for classes in [2, 3, 10, 1000] {
            let logits = Rng::new(0).normal((50, classes), DType::F64, CPU).unwrap();
            let probs = candle_prob::special::softmax(&logits, 1).unwrap();
            let probs = probs.to_dtype(dtype).unwrap();
            assert!(
                Categorical::from_probs(&probs).is_ok(),
                "{dtype:?} {classes}"
            );
            let off = (probs * 1.5).unwrap();
            refused("off", Categorical::from_probs(&off), &["probs", "sum 1."]);
        }
    }
    let double = Tensor::new(&[0.5f64, 0.5 + 1e-8], CPU).unwrap();
    refused(
        "f64",
        Categorical::from_probs(&double),
        &["probs", "1.00000001"],
    );
    refused(
        "0-d",
        Categorical::from_probs(&f32s(&[1.]).get(0).unwrap()),
        &["probs", "[]"],
    );
    for logits in [[f32::NAN, 0.], [-INF, -INF], [INF, 0.]] {
        let what = format!("{logits:?}");
        let logits = f32s(&logits);
        refused(
            &what,
            Categorical::new(&logits),
            &["Categorical::new", "logits"],
        );
        refused(&what, OneHotCategorical::new(&logits), &["logits"]);
        refused(
            &what,
            OneHotCategoricalStraightThrough::new(&logits),
            &["logits"],
        );
        refused(&what, Multinomial::new(&nine, &logits), &["logits"]);
        assert!(Categorical::new_unchecked(&logits).is_ok());
    }
    for count in [-1., 0.5, f32::NAN] {
        let count = f32s(&[count]).get(0).unwrap();
        refused(
            "count",
            Multinomial::new(&count, &f32s(&[0., 1.])),
            &["total_count"],
        );
    }
}

#[test]
fn parameters_of_vectors() -> Result<()> {
    let two = f32s(&[0., 0.]);
    for bad in [0., -1., f32::NAN, INF] {
        let bad = f32s(&[1., bad]);
        refused(
            "Dirichlet",
            Dirichlet::new(&bad),
            &["Dirichlet::new", "concentration"],
        );
        assert!(Dirichlet::new_unchecked(&bad).is_ok());
        refused(
            "diagonal",
            MultivariateNormalDiag::new(&two, &bad),
            &["scale"],
        );
        assert!(MultivariateNormalDiag::new_unchecked(&two, &bad).is_ok());
        let factor = Tensor::new(&[[1f32], [0.5]], CPU)?;
        let low = LowRankMultivariateNormal::new(&two, &factor, &bad);
        refused(
            "low rank",
            low,
            &["LowRankMultivariateNormal::new", "cov_diag"],
        );
        refused(
            "logistic normal",
            LogisticNormal::new(&two, &bad),
            &["scale"],
        );
    }
    for (what, rows) in [
        ("above the diagonal", [[1f32, 0.5], [0., 1.]]),
        ("zero on the diagonal", [[1., 0.], [0.5, 0.]]),
        ("negative on the diagonal", [[1., 0.], [0.5, -1.]]),
        ("NaN", [[1., 0.], [f32::NAN, 1.]]),
    ] {
        let tril = Tensor::new(&rows, CPU)?;
        let got = MultivariateNormal::new(&two, &tril);
        refused(what, got, &["MultivariateNormal::new", "scale_tril"]);
        assert!(
            MultivariateNormal::new_unchecked(&two, &tril).is_ok(),
            "{what}"
        );
    }
    let tall = Tensor::new(&[[1f32, 0.], [0., 1.], [0., 0.]], CPU)?;
    refused(
        "tall",
        MultivariateNormal::new(&two, &tall),
        &["scale_tril", "[3, 2]"],
    );

    for row in vectors() {
        let d = row.build(&row.ordinary(&[], DType::F32)?)?;
        if d.event_shape().is_empty() {
            continue;
        }
        assert_eq!(d.event_shape(), [2], "{}", row.name);
        let wrong = |value: &Tensor, found: &str| {
            let words = ["log_prob", "value", found];
            refused(row.name, d.log_prob(value), &words);
        };
        wrong(&f32s(&[1., 2., 3.]), "[3]");
        wrong(&f32s(&[1.]).get(0)?, "[]");
        wrong(&two.to_dtype(DType::F64)?, "F64");
        // An event does not broadcast.
        wrong(&f32s(&[1.]), "[1]");
    }
    let none = Tensor::zeros((3, 0), DType::F32, CPU)?;
    refused("no classes", Categorical::new(&none), &["logits", "[3, 0]"]);
    refused(
        "no dimensions",
        Dirichlet::new(&none),
        &["concentration", "[3, 0]"],
    );
    refused(
        "no dimensions",
        MultivariateNormalDiag::new(&none, &none),
        &["[3, 0]"],
    );
    Ok(())
}

#[test]
fn parts_of_combinators() -> Result<()> {
    let normal = || Normal::new(&f32s(&[0., 0.]), &f32s(&[1., 1.]));
    refused("Independent", normal()?.to_event(2), &["Independent", "2"]);
    refused(
        "Expanded",
        Expanded::new(normal()?, &[3]),
        &["Expanded", "[3]"],
    );
    refused(
        "Masked",
        Masked::new(normal()?, &f32s(&[1., 0.])),
        &["mask", "F32"],
    );
    let mask = Tensor::new(&[1u8, 0, 1], CPU)?;
    refused("Masked", Masked::new(normal()?, &mask), &["mask", "[3]"]);
    let mixing = Categorical::new(&f32s(&[0., 0., 0.]))?;
    refused(
        "Mixture",
        MixtureSameFamily::new(mixing, normal()?),
        &["Mixture"],
    );
    refused(
        "Delta",
        Delta::new(&f32s(&[f32::NAN]), 0),
        &["Delta", "value"],
    );
    refused("Delta", Delta::new(&f32s(&[1.]), 2), &["Delta", "2 dims"]);
    let relaxed = |t: f32| RelaxedOneHotCategorical::new(&Tensor::new(t, CPU)?, &f32s(&[0., 0.]));
    for bad in [0., -1., f32::NAN] {
        refused("relaxed", relaxed(bad), &["temperature"]);
    }
    let levels = DiscretizedLogistic::new(&f32s(&[0.]), &f32s(&[1.]), 1);
    refused("one level", levels, &["levels", "1"]);
    let p = f32s(&[0.5, 1.5]);
    refused(
        "quantile",
        normal()?.quantile(&p),
        &["quantile", "probability", "1.5"],
    );
    let error = normal()?.sample(&[2], &mut Rng::new(0))?.narrow(0, 5, 1);
    assert!(matches!(error.map_err(Error::from), Err(Error::Candle(_))));
    Ok(())
}

/// A probability that does not fit is called by its name.
#[test]
fn probabilities_of_quantiles() -> Result<()> {
    let (scalar, three) = (Tensor::new(1f32, CPU)?, f32s(&[1., 2., 3.]));
    let normal = Normal::new(&three, &scalar)?;
    let laplace = Laplace::new(&three, &scalar)?;
    let truncated = TruncatedNormal::new(&three, &scalar, &three, &(&three + 1.)?)?;
    for wrong in [f32s(&[0.5, 0.5]), f32s(&[1.5]), Tensor::new(0.5f64, CPU)?] {
        refused(
            "normal",
            normal.quantile(&wrong),
            &["Normal::quantile", "probability"],
        );
        refused(
            "laplace",
            laplace.quantile(&wrong),
            &["Laplace::quantile", "probability"],
        );
        let words = ["TruncatedNormal::quantile", "probability"];
        refused("truncated normal", truncated.quantile(&wrong), &words);
    }
    Ok(())
}

/// One of each family, and of what draws from others.
fn every_sampler() -> Result<Vec<Box<dyn Distribution>>> {
    let (two, one) = (f32s(&[0.5, 0.25]), f32s(&[1., 1.]));
    let normal = || Normal::new(&two, &one);
    let mut all: Vec<Box<dyn Distribution>> = vec![];
    for row in every() {
        all.push(Box::new(row.build(&row.ordinary(&[2], DType::F32)?)?));
    }
    let mixture = MixtureSameFamily::new(Categorical::new(&two)?, normal()?)?;
    all.extend::<[Box<dyn Distribution>; 7]>([
        Box::new(Delta::new(&two, 0)?),
        Box::new(Expanded::new(normal()?, &[3, 2])?),
        Box::new(Masked::new(normal()?, &Tensor::new(&[1u8, 0], CPU)?)?),
        Box::new(mixture),
        Box::new(normal()?.transformed_by(candle_prob::bijector::Exp)?),
        Box::new(Truncated::new(normal()?, &(&two - 1.)?, &one)?),
        Box::new(Beta::new(&one, &one)?.to_event(1)?),
    ]);
    Ok(all)
}

#[test]
fn more_draws_than_memory_could_hold() -> Result<()> {
    for (i, d) in every_sampler()?.iter().enumerate() {
        // Products that overflow, that do not, and that are 0 in the end.
        for shape in [
            &[usize::MAX, 2][..],
            &[usize::MAX],
            &[1 << 40, 1 << 40],
            &[1 << 60],
            &[usize::MAX, 2, 0],
            &[0, usize::MAX, 2],
        ] {
            let what = format!("family {i}, {shape:?}");
            let mut rng = Rng::new(0);
            refused(&what, d.sample(shape, &mut rng), &["shape", "memory"]);
            let both = d.sample_and_log_prob(shape, &mut rng);
            refused(&what, both, &["shape", "memory"]);
        }
    }
    let (zero, one) = (f32s(&[0.]), f32s(&[1.]));
    let huge = [usize::MAX, 2];
    let gamma = Gamma::new(&one, &one)?;
    let vector = MultivariateNormalDiag::new(&zero, &one)?;
    let standard = MultivariateNormalDiag::standard(1, DType::F32, CPU)?;
    let mixture = MixtureSameFamily::new(Categorical::new(&zero)?, Normal::new(&zero, &one)?)?;
    let rng = &mut Rng::new(0);
    for (what, got) in [
        ("log gamma", gamma.sample_log(&huge, rng)),
        (
            "log Dirichlet",
            Dirichlet::new(&one)?.sample_log(&huge, rng),
        ),
        (
            "logits",
            RelaxedBernoulli::new(&one, &zero)?.sample_logits(&huge, rng),
        ),
        ("pathwise", mixture.sample_pathwise(&huge, rng)),
        (
            "with its divergence",
            vector.sample_and_kl(&standard, &huge, rng).map(|(x, _)| x),
        ),
        ("uniforms", rng.uniform(&huge[..], DType::F64, CPU)),
    ] {
        refused(what, got, &["shape", "memory"]);
    }
    refused(
        "batch",
        Expanded::new(gamma, &[usize::MAX, 2, 1]),
        &["Expanded", "memory"],
    );
    let wide = MultivariateNormalDiag::standard(usize::MAX, DType::F32, CPU);
    refused(
        "dims",
        wide,
        &["MultivariateNormalDiag::standard", "memory"],
    );
    refused("whole numbers", rng.integers(usize::MAX, 2), &["memory"]);
    let estimate = candle_prob::divergence::estimate::kl(&vector, &standard, usize::MAX, rng);
    refused("estimate", estimate, &["memory"]);
    Ok(())
}
