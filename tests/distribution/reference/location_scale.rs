//! Families of location and scale, and their relatives on half lines and intervals.

use super::{Arguments, family, flat, number, tensor};
use candle_core::DType;
use candle_prob::Result;
use candle_prob::distribution::{
    Cauchy, Cdf, Distribution, Exponential, Gumbel, HalfCauchy, HalfNormal, Kl, Laplace, LogNormal,
    Logistic, Normal, TruncatedNormal, Uniform,
};
use serde_json::Value;

fn loc_scale<D>(
    new: fn(&candle_core::Tensor, &candle_core::Tensor) -> Result<D>,
) -> impl Fn(&Arguments) -> Result<D> {
    move |p| new(p.get("loc"), p.get("scale"))
}

/// Every check of a row: all these families have all traits.
macro_rules! row {
    ($test:ident, $name:literal, $build:expr) => {
        #[test]
        fn $test() -> Result<()> {
            let family = family($name, $build);
            family.density()?;
            family.cdf()?;
            family.moments()?;
            family.mode()?;
            family.entropy()
        }
    };
}

row!(normal, "Normal", loc_scale(Normal::new));
row!(log_normal, "LogNormal", loc_scale(LogNormal::new));
row!(half_normal, "HalfNormal", |p| HalfNormal::new(
    p.get("scale")
));
row!(uniform, "Uniform", |p| Uniform::new(
    p.get("low"),
    p.get("high")
));
row!(logistic, "Logistic", loc_scale(Logistic::new));
row!(cauchy, "Cauchy", loc_scale(Cauchy::new));
row!(half_cauchy, "HalfCauchy", |p| HalfCauchy::new(
    p.get("scale")
));
row!(gumbel, "Gumbel", loc_scale(Gumbel::new));
row!(exponential, "Exponential", |p| Exponential::new(
    p.get("rate")
));

/// The upper tail of a normal distribution, where single precision has no probabilities left.
#[test]
fn log_cdf_of_the_far_tail() -> Result<()> {
    let zero = candle_core::Tensor::new(&[0f32], &candle_core::Device::Cpu)?;
    let normal = Normal::new(&zero, &zero.ones_like()?)?;
    let x = candle_core::Var::from_tensor(&(zero - 40.)?)?;
    let log_cdf = normal.log_cdf(&x)?;
    let slope = log_cdf.sum_all()?.backward()?;
    let slope = slope.get(&x).map(|g| g.to_vec1::<f32>()).transpose()?;
    let log_cdf = log_cdf.to_vec1::<f32>()?[0];
    assert!((log_cdf + 804.608_44).abs() < 1e-5 * 804.6, "{log_cdf}");
    let slope = slope.unwrap()[0];
    assert!((slope - 40.024_97).abs() < 1e-5 * 40., "{slope}");
    Ok(())
}

/// Near `high` half of the uniforms' last step rounds to it in single precision.
#[test]
fn no_uniform_draw_is_outside() -> Result<()> {
    let end = |x: f32| candle_core::Tensor::new(&[x], &candle_core::Device::Cpu);
    let uniform = Uniform::new(&end(1000.)?, &end(1001.)?)?;
    let x = uniform.sample(&[1_000_000], &mut candle_prob::Rng::new(0))?;
    let x = x.flatten_all()?.to_vec1::<f32>()?;
    assert!(x.iter().all(|x| (1000. ..1001.).contains(x)));
    Ok(())
}

#[test]
fn parameters_out_of_range_are_errors() -> Result<()> {
    let x = |x: f32| candle_core::Tensor::new(&[x], &candle_core::Device::Cpu);
    for (build, arg) in [
        (Normal::new(&x(0.)?, &x(0.)?).err(), "scale"),
        (Normal::new(&x(f32::NAN)?, &x(1.)?).err(), "loc"),
        (
            Normal::from_log_var(&x(0.)?, &x(f32::NAN)?).err(),
            "log_var",
        ),
        (Uniform::new(&x(1.)?, &x(1.)?).err(), "high"),
    ] {
        let error = build.unwrap().to_string();
        assert!(error.contains(arg), "{error}");
    }
    assert!(Exponential::new(&x(-1.)?).is_err());
    assert!(Gumbel::new(&x(0.)?, &x(f32::INFINITY)?).is_err());
    assert!(Normal::new_unchecked(&x(0.)?, &x(-1.)?).is_ok());
    Ok(())
}

#[test]
fn truncated_normal() -> Result<()> {
    let truncated = family("TruncatedNormal", |p: &Arguments| {
        TruncatedNormal::new(p.get("loc"), p.get("scale"), p.get("low"), p.get("high"))
    });
    truncated.density()?;
    truncated.cdf()?;
    truncated.moments()?;
    truncated.mode()?;
    truncated.entropy()
}

fn kl<P: Kl<Q>, Q>(
    names: [&str; 2],
    p: impl Fn(&Arguments) -> Result<P>,
    q: impl Fn(&Arguments) -> Result<Q>,
) -> Result<()> {
    let file: Value = serde_json::from_str(include_str!("../../golden/kl.json")).unwrap();
    let mut count = 0;
    for case in file["cases"].as_array().unwrap() {
        if case["kind"] != "kl" || case["p"] != names[0] || case["q"] != names[1] {
            continue;
        }
        count += 1;
        for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
            let arguments = |key: &str| {
                let params = case[key].as_object().unwrap();
                let tensors = params.iter().map(|(k, v)| (k.clone(), tensor(v, dtype)));
                Arguments(tensors.collect())
            };
            let got = p(&arguments("p_params"))?.kl(&q(&arguments("q_params"))?)?;
            let (got, want) = (flat(&got)[0], number(&case["kl"]).unwrap());
            let close = (got - want).abs() <= tolerance * want.abs().max(1.);
            assert!(close || got == want, "{case}: {got} in {dtype:?}");
        }
    }
    assert!(count > 0, "no case of {names:?}");
    Ok(())
}

#[test]
fn divergences() -> Result<()> {
    let normal = || loc_scale(Normal::new);
    let laplace = || loc_scale(Laplace::new);
    let gumbel = || loc_scale(Gumbel::new);
    let log_normal = || loc_scale(LogNormal::new);
    let cauchy = || loc_scale(Cauchy::new);
    let half = |p: &Arguments| HalfNormal::new(p.get("scale"));
    let exponential = |p: &Arguments| Exponential::new(p.get("rate"));
    let uniform = |p: &Arguments| Uniform::new(p.get("low"), p.get("high"));
    kl(["Normal", "Normal"], normal(), normal())?;
    kl(["Laplace", "Laplace"], laplace(), laplace())?;
    kl(["Gumbel", "Gumbel"], gumbel(), gumbel())?;
    kl(["LogNormal", "LogNormal"], log_normal(), log_normal())?;
    kl(["Cauchy", "Cauchy"], cauchy(), cauchy())?;
    kl(["HalfNormal", "HalfNormal"], half, half)?;
    kl(["Exponential", "Exponential"], exponential, exponential)?;
    kl(["Uniform", "Uniform"], uniform, uniform)?;
    kl(["Exponential", "Gumbel"], exponential, gumbel())?;
    kl(["Exponential", "Normal"], exponential, normal())?;
    kl(["Gumbel", "Normal"], gumbel(), normal())?;
    kl(["Laplace", "Normal"], laplace(), normal())?;
    kl(["Laplace", "Exponential"], laplace(), exponential)?;
    kl(["Normal", "Gumbel"], normal(), gumbel())?;
    kl(["Normal", "Laplace"], normal(), laplace())?;
    kl(["Normal", "Uniform"], normal(), uniform)?;
    kl(["Uniform", "Exponential"], uniform, exponential)?;
    kl(["Uniform", "Gumbel"], uniform, gumbel())?;
    kl(["Uniform", "Normal"], uniform, normal())
}
