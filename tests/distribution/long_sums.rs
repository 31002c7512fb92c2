//! Sums over events and classes of a million elements and more, in single precision: each element adds less than the sum's last
//! digit, and still all of them count.

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

/// The relative error that is left: that of single precision, and of what each element is rounded to.
const TOLERANCE: f64 = 1e-6;

fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?[0])
}

fn near(what: &str, got: &Tensor, want: &Tensor) -> Result<()> {
    let (got, want) = (number(got)?, number(want)?);
    let error = (got / want - 1.).abs();
    assert!(
        error < TOLERANCE,
        "{what}: {got} for {want}, off by {error:e}"
    );
    Ok(())
}

/// Single precision against double, of the same numbers.
#[test]
fn of_events() -> Result<()> {
    for n in [1 << 20, 1 << 22] {
        let mut rng = Rng::new(7);
        let mut draw = |scale: f64, shift: f64| -> Result<Tensor> {
            Ok(((rng.uniform(n, DType::F32, CPU)? * scale)? + shift)?)
        };
        let loc = draw(0.5, 0.1)?;
        let scale = draw(0.5, 0.8)?;
        let other = draw(0.5, 0.9)?;
        let x = draw(1., 0.)?;
        let answers = |dtype: DType| -> Result<Vec<(&'static str, Tensor)>> {
            let cast = |x: &Tensor| x.to_dtype(dtype);
            let [loc, scale, other, x] = [cast(&loc)?, cast(&scale)?, cast(&other)?, cast(&x)?];
            let p = MultivariateNormalDiag::new(&loc, &scale)?;
            let q = MultivariateNormalDiag::new(&x, &other)?;
            let standard = MultivariateNormalDiag::standard(n, dtype, CPU)?;
            let independent = |scale: &Tensor| Normal::new(&loc, scale)?.to_event(1);
            let (a, b) = (independent(&scale)?, independent(&other)?);
            let laplace = Laplace::new(&loc, &scale)?.to_event(1)?;
            let bernoulli = Bernoulli::soft(&loc)?.to_event(1)?;
            Ok(vec![
                ("MultivariateNormalDiag::log_prob", p.log_prob(&x)?),
                ("MultivariateNormalDiag::entropy", p.entropy()?),
                ("MultivariateNormalDiag::kl", p.kl(&q)?),
                ("MultivariateNormalDiag::kl_to_standard", p.kl(&standard)?),
                ("standard log_prob", standard.log_prob(&x)?),
                ("Independent::entropy", a.entropy()?),
                ("Independent::kl", a.kl(&b)?),
                ("Independent<Laplace>::log_prob", laplace.log_prob(&x)?),
                ("Independent<Laplace>::entropy", laplace.entropy()?),
                ("Independent<Bernoulli>::log_prob", bernoulli.log_prob(&x)?),
                (
                    "MultivariateNormalDiag::log_prob_observed",
                    p.log_prob_observed(&x)?,
                ),
            ])
        };
        let want = answers(DType::F64)?;
        for ((what, got), (_, want)) in answers(DType::F32)?.iter().zip(&want) {
            near(&format!("{what} of {n}"), got, want)?;
        }
    }
    Ok(())
}

#[test]
fn of_classes() -> Result<()> {
    for k in [1 << 20, 1 << 22] {
        let mut rng = Rng::new(7);
        let logits = rng.normal(k, DType::F32, CPU)?;
        let other = rng.normal(k, DType::F32, CPU)?;
        let (p, q) = (Categorical::new(&logits)?, Categorical::new(&other)?);
        let [wide, wide_other] = [&logits, &other].map(|x| x.to_dtype(DType::F64));
        let (log_p, log_q) = (
            candle_prob::special::log_softmax(&wide?, 0)?,
            candle_prob::special::log_softmax(&wide_other?, 0)?,
        );
        let mass = log_p.exp()?;
        near(
            "entropy",
            &p.entropy()?,
            &(&mass * &log_p)?.sum_all()?.neg()?,
        )?;
        near("kl", &p.kl(&q)?, &(&mass * (&log_p - &log_q)?)?.sum_all()?)?;
        let index = Tensor::new(k as u32 / 2, CPU)?;
        near("log_prob", &p.log_prob(&index)?, &log_p.get(k / 2)?)?;
    }
    Ok(())
}

#[test]
fn of_concentrations() -> Result<()> {
    let k = 1 << 22;
    let mean = Dirichlet::new(&Tensor::full(0.1f32, k, CPU)?)?.mean()?;
    near(
        "mean",
        &(mean.get(5)? * k as f64)?,
        &Tensor::new(1f64, CPU)?,
    )
}

/// A mixture of normals on long vectors leaves the kernel of short ones.
#[test]
fn of_mixtures() -> Result<()> {
    let n = 1 << 18;
    let mut rng = Rng::new(7);
    let loc = rng.uniform((2, n), DType::F32, CPU)?;
    let scale = (rng.uniform((2, n), DType::F32, CPU)? + 0.5)?;
    let x = rng.uniform(n, DType::F32, CPU)?;
    let answer = |dtype: DType| -> Result<Tensor> {
        let mixing = Categorical::new(&Tensor::zeros(2, dtype, CPU)?)?;
        let (loc, scale) = (loc.to_dtype(dtype)?, scale.to_dtype(dtype)?);
        let normals = MultivariateNormalDiag::new(&loc, &scale)?;
        MixtureSameFamily::new(mixing, normals)?.log_prob(&x.to_dtype(dtype)?)
    };
    near("mixture", &answer(DType::F32)?, &answer(DType::F64)?)
}

/// The gradient of a long sum reaches every element.
#[test]
fn gradients_of_long_sums() -> Result<()> {
    let n = 1 << 20;
    let loc = Var::from_tensor(&Tensor::full(0.5f32, n, CPU)?)?;
    let p = Normal::new(&loc, &loc.ones_like()?.detach())?.to_event(1)?;
    let x = Tensor::zeros(n, DType::F32, CPU)?;
    let store = (p.log_prob(&x)? * 2.)?.backward()?;
    let gradient = store.get(&loc).expect("a gradient").to_vec1::<f32>()?;
    assert!(gradient.iter().all(|g| *g == -1.));
    let entropy = Normal::new(&loc, &loc)?.to_event(1)?.entropy()?;
    let store = entropy.backward()?;
    let gradient = store.get(&loc).expect("a gradient").to_vec1::<f32>()?;
    assert!(gradient.iter().all(|g| *g == 2.));
    Ok(())
}
