//! What no family takes: every parameter with every fault, values that do not fit. The error says what was expected and
//! what came, and `new_unchecked` looks at shapes alone.

use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::*;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

type Parameter = (&'static str, f32, &'static [f32]);

type Build = fn(&[Tensor]) -> Result<Box<dyn Distribution>>;

/// A family of numbers: of each parameter the name, a number it may be and such that it may not; `new` and, where there
/// is one, `new_unchecked`.
struct Row(&'static str, &'static [Parameter], Build, Option<Build>);

const INF: f32 = f32::INFINITY;
const REAL: &[f32] = &[f32::NAN, INF, -INF];
const POSITIVE: &[f32] = &[f32::NAN, INF, 0., -1.];
const NON_NEGATIVE: &[f32] = &[f32::NAN, INF, -1.];
const EXTENDED: &[f32] = &[f32::NAN];
const UNIT: &[f32] = &[f32::NAN, -0.1, 1.1];
const UNIT_NOT_ZERO: &[f32] = &[f32::NAN, 0., 1.1];
const UNIT_NOT_ONE: &[f32] = &[f32::NAN, -0.1, 1.];
const COUNT: &[f32] = &[f32::NAN, INF, -1., 0.5];
/// Above a lower end of 0.
const ABOVE: &[f32] = &[f32::NAN, INF, 0., -1.];

macro_rules! row {
    ($family:ident, $($name:literal $good:literal $bad:ident $i:literal),*) => {
        Row(
            concat!(stringify!($family), "::new"),
            &[$(($name, $good, $bad)),*],
            |p| Ok(Box::new($family::new($(&p[$i]),*)?)),
            Some(|p| Ok(Box::new($family::new_unchecked($(&p[$i]),*)?))),
        )
    };
    ($family:ident::$new:ident, $($name:literal $good:literal $bad:ident $i:literal),*) => {
        Row(
            concat!(stringify!($family), "::", stringify!($new)),
            &[$(($name, $good, $bad)),*],
            |p| Ok(Box::new($family::$new($(&p[$i]),*)?)),
            None,
        )
    };
}

fn rows() -> Vec<Row> {
    vec![
        row!(Bernoulli, "logits" 0.5 EXTENDED 0),
        row!(Bernoulli::from_probs, "probs" 0.5 UNIT 0),
        row!(Bernoulli::soft, "logits" 0.5 EXTENDED 0),
        row!(Beta, "concentration1" 2. POSITIVE 0, "concentration0" 2. POSITIVE 1),
        row!(Binomial, "total_count" 3. COUNT 0, "logits" 0.5 EXTENDED 1),
        row!(Binomial::from_probs, "total_count" 3. COUNT 0, "probs" 0.5 UNIT 1),
        row!(Cauchy, "loc" 0.5 REAL 0, "scale" 2. POSITIVE 1),
        row!(Chi2, "df" 2. POSITIVE 0),
        row!(ContinuousBernoulli, "logits" 0.5 REAL 0),
        row!(Exponential, "rate" 2. POSITIVE 0),
        row!(Gamma, "concentration" 2. POSITIVE 0, "rate" 2. POSITIVE 1),
        row!(Geometric, "logits" 0.5 REAL 0),
        row!(Geometric::from_probs, "probs" 0.5 UNIT_NOT_ZERO 0),
        row!(Gumbel, "loc" 0.5 REAL 0, "scale" 2. POSITIVE 1),
        row!(HalfCauchy, "scale" 2. POSITIVE 0),
        row!(HalfNormal, "scale" 2. POSITIVE 0),
        row!(InverseGamma, "concentration" 2. POSITIVE 0, "rate" 2. POSITIVE 1),
        row!(Kumaraswamy, "concentration1" 2. POSITIVE 0, "concentration0" 2. POSITIVE 1),
        row!(Laplace, "loc" 0.5 REAL 0, "scale" 2. POSITIVE 1),
        row!(LogNormal, "loc" 0.5 REAL 0, "scale" 2. POSITIVE 1),
        row!(Logistic, "loc" 0.5 REAL 0, "scale" 2. POSITIVE 1),
        row!(NegativeBinomial, "total_count" 2. POSITIVE 0, "logits" 0.5 REAL 1),
        row!(NegativeBinomial::from_probs, "total_count" 2. POSITIVE 0, "probs" 0.5 UNIT_NOT_ONE 1),
        row!(Normal, "loc" 0.5 REAL 0, "scale" 2. POSITIVE 1),
        row!(Normal::from_log_var, "loc" 0.5 REAL 0, "log_var" 0.5 REAL 1),
        row!(Pareto, "scale" 2. POSITIVE 0, "alpha" 2. POSITIVE 1),
        row!(Poisson, "rate" 2. NON_NEGATIVE 0),
        row!(RelaxedBernoulli, "temperature" 2. POSITIVE 0, "logits" 0.5 REAL 1),
        row!(StudentT, "df" 2. POSITIVE 0, "loc" 0.5 REAL 1, "scale" 2. POSITIVE 2),
        row!(Uniform, "low" 0. REAL 0, "high" 2. ABOVE 1),
        row!(VonMises, "loc" 0.5 REAL 0, "concentration" 2. NON_NEGATIVE 1),
        row!(Weibull, "scale" 2. POSITIVE 0, "concentration" 2. POSITIVE 1),
        Row(
            "DiscretizedLogistic::new",
            &[("loc", 0.5, REAL), ("scale", 2., POSITIVE)],
            |p| Ok(Box::new(DiscretizedLogistic::new(&p[0], &p[1], 8)?)),
            Some(|p| {
                Ok(Box::new(DiscretizedLogistic::new_unchecked(
                    &p[0], &p[1], 8,
                )?))
            }),
        ),
    ]
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

fn pairs(row: &Row) -> Result<Vec<Tensor>> {
    let good = row
        .1
        .iter()
        .map(|(_, good, _)| Ok(Tensor::new(&[*good, *good], CPU)?));
    good.collect()
}

#[test]
fn parameters_of_every_family() -> Result<()> {
    for row in rows() {
        let Row(name, parameters, build, unchecked) = &row;
        let good = pairs(&row)?;
        assert_eq!(build(&good)?.batch_shape(), [2], "{name}");
        for (k, (arg, fine, bad)) in parameters.iter().enumerate() {
            let with = |tensor: Tensor| {
                let mut all = good.clone();
                all[k] = tensor;
                all
            };
            for bad in *bad {
                let what = format!("{name} with {bad} as {arg}");
                let parameters = with(Tensor::new(&[*fine, *bad], CPU)?);
                // Only the second of Uniform's ends can tell that they are not in order.
                refused(&what, build(&parameters), &[name, arg]);
                if let Some(unchecked) = unchecked {
                    assert!(unchecked(&parameters).is_ok(), "{what} unchecked");
                }
            }
            let whole = with(Tensor::new(&[1u32, 2], CPU)?);
            let what = format!("{name} with whole numbers as {arg}");
            refused(&what, build(&whole), &[name, arg]);
            if let Some(unchecked) = unchecked {
                let name = format!("{name}_unchecked");
                refused(&what, unchecked(&whole), &[&name, arg]);
            }
            if parameters.len() > 1 {
                let three = Tensor::full(*fine, 3, CPU)?;
                refused(
                    &format!("{name} {arg} of 3"),
                    build(&with(three)),
                    &[name, "[3]"],
                );
                let double = Tensor::new(&[f64::from(*fine); 2], CPU)?;
                refused(
                    &format!("{name} {arg} in f64"),
                    build(&with(double)),
                    &[name, "F64"],
                );
            }
        }
    }
    Ok(())
}

#[test]
fn values_of_every_family() -> Result<()> {
    for row in rows() {
        let d = (row.2)(&pairs(&row)?)?;
        let log_prob = format!("{}::log_prob", row.0.split("::").next().unwrap_or_default());
        let three = Tensor::zeros(3, DType::F32, CPU)?;
        refused(row.0, d.log_prob(&three), &[&log_prob, "value", "[3]"]);
        let double = Tensor::zeros(2, DType::F64, CPU)?;
        refused(row.0, d.log_prob(&double), &[&log_prob, "value", "F64"]);
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
fn vectors() -> Result<()> {
    let (two, one) = (f32s(&[0., 0.]), f32s(&[1., 1.]));
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

    let eye = Tensor::eye(2, DType::F32, CPU)?;
    let families: Vec<Box<dyn Distribution>> = vec![
        Box::new(Dirichlet::new(&one)?),
        Box::new(MultivariateNormalDiag::new(&two, &one)?),
        Box::new(MultivariateNormal::new(&two, &eye)?),
        Box::new(LowRankMultivariateNormal::new(&two, &eye, &one)?),
        Box::new(OneHotCategorical::new(&two)?),
        Box::new(Normal::new(&two, &one)?.to_event(1)?),
    ];
    for (i, d) in families.iter().enumerate() {
        let what = format!("family {i}");
        assert_eq!(d.event_shape(), [2], "{what}");
        refused(
            &what,
            d.log_prob(&f32s(&[1., 2., 3.])),
            &["log_prob", "value", "[3]"],
        );
        refused(
            &what,
            d.log_prob(&f32s(&[1.]).get(0)?),
            &["log_prob", "value", "[]"],
        );
        refused(
            &what,
            d.log_prob(&two.to_dtype(DType::F64)?),
            &["log_prob", "value", "F64"],
        );
        // An event does not broadcast.
        refused(
            &what,
            d.log_prob(&f32s(&[1.])),
            &["log_prob", "value", "[1]"],
        );
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
fn combinators() -> Result<()> {
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

/// One of each family, with what its sampler draws from.
fn every_sampler() -> Result<Vec<Box<dyn Distribution>>> {
    let (two, one) = (f32s(&[0.5, 0.25]), f32s(&[1., 1.]));
    let eye = Tensor::eye(2, DType::F32, CPU)?;
    let normal = || Normal::new(&two, &one);
    let mut all: Vec<Box<dyn Distribution>> = vec![];
    for row in rows() {
        all.push((row.2)(&pairs(&row)?)?);
    }
    let classes = || Categorical::new(&two);
    let temperature = f32s(&[1.]).get(0)?;
    let mixture = MixtureSameFamily::new(classes()?, normal()?)?;
    all.extend::<[Box<dyn Distribution>; 19]>([
        Box::new(classes()?),
        Box::new(Delta::new(&two, 0)?),
        Box::new(Dirichlet::new(&one)?),
        Box::new(Expanded::new(normal()?, &[3, 2])?),
        Box::new(normal()?.to_event(1)?),
        Box::new(LogisticNormal::new(&two, &one)?),
        Box::new(LowRankMultivariateNormal::new(&two, &eye, &one)?),
        Box::new(Masked::new(normal()?, &Tensor::new(&[1u8, 0], CPU)?)?),
        Box::new(mixture),
        Box::new(Multinomial::new(&temperature, &two)?),
        Box::new(MultivariateNormal::new(&two, &eye)?),
        Box::new(MultivariateNormalDiag::new(&two, &one)?),
        Box::new(OneHotCategorical::new(&two)?),
        Box::new(OneHotCategoricalStraightThrough::new(&two)?),
        Box::new(RelaxedOneHotCategorical::new(&temperature, &two)?),
        Box::new(normal()?.transformed_by(candle_prob::bijector::Exp)?),
        Box::new(Truncated::new(normal()?, &(&two - 1.)?, &one)?),
        Box::new(TruncatedNormal::new(&two, &one, &(&two - 1.)?, &one)?),
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
