//! The evidence lower bound: reference values, and what it says about a model whose evidence is known.

use crate::support::golden::{self, file, list};
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::optim::backward;
use candle_prob::{Result, Rng};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;

fn golden() -> Value {
    file(include_str!("../golden/vae.json"))
}

/// A reference tensor, of shape `shape` where it has one.
fn tensor(case: &Value, name: &str, dtype: DType) -> Result<Tensor> {
    let data: Vec<f64> = list(&case[name]).into_iter().flatten().collect();
    let dims = case[name].get("shape").and_then(Value::as_array);
    let dims = dims.map_or(vec![data.len()], |dims| {
        dims.iter()
            .filter_map(Value::as_u64)
            .map(|n| n as usize)
            .collect()
    });
    Ok(Tensor::from_vec(data, dims, CPU)?.to_dtype(dtype)?)
}

fn check(what: &str, got: &Tensor, case: &Value, name: &str) -> Result<()> {
    let dtype = got.dtype();
    let tolerance = golden()["tolerance"][dtype.as_str()].as_f64().unwrap();
    let (got, want) = (crate::support::floats(got)?, list(&case[name]));
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.into_iter().zip(want) {
        golden::check(what, got, want.unwrap(), 1., dtype, tolerance);
    }
    Ok(())
}

/// A posterior whose noise is given: one draw.
struct Given {
    law: MultivariateNormalDiag,
    noise: Tensor,
}

impl Distribution for Given {
    fn batch_shape(&self) -> &[usize] {
        self.law.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.law.event_shape()
    }

    fn sample(&self, shape: &[usize], _: &mut Rng) -> Result<Tensor> {
        assert_eq!(shape, &[1]);
        let draw = (self.law.loc() + (self.law.scale()? * &self.noise)?)?;
        Ok(draw.unsqueeze(0)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.law.log_prob(value)
    }
}

impl Reparameterized for Given {}

impl Kl<MultivariateNormalDiag> for Given {
    fn kl(&self, other: &MultivariateNormalDiag) -> Result<Tensor> {
        self.law.kl(other)
    }
}

#[test]
fn the_bound_and_its_gradients_meet_reference_values() -> Result<()> {
    let case = &golden()["elbo"];
    for dtype in [DType::F64, DType::F32] {
        let of = |name| tensor(case, name, dtype);
        let var = |name| Ok(Var::from_tensor(&of(name)?)?);
        let parameters: Result<Vec<Var>> = ["q_mean", "q_log_variance", "W", "b"]
            .map(var)
            .into_iter()
            .collect();
        let [mean, log_var, w, b] = &parameters?[..] else {
            unreachable!()
        };
        let posterior = Given {
            law: MultivariateNormalDiag::from_log_var(mean, log_var)?,
            noise: of("eps")?,
        };
        let prior = MultivariateNormalDiag::standard(3, dtype, CPU)?;
        let decoder = |z: &Tensor| {
            check("z", z, case, "z")?;
            let logits = candle_nn::Linear::new(w.as_tensor().clone(), Some(b.as_tensor().clone()));
            Bernoulli::new(&logits.forward(z)?)?.to_event(1)
        };
        let run = |beta: f64| {
            let config = ElboConfig { beta, samples: 1 };
            let rng = &mut Rng::new(0);
            elbo(&posterior, &prior, &decoder, &of("x")?, &config, rng)
        };
        let parts = run(1.)?;
        check(
            "reconstruction",
            &parts.distortion.neg()?,
            case,
            "reconstruction",
        )?;
        check("kl", &parts.rate, case, "kl")?;
        check("elbo", &parts.total.neg()?, case, "elbo")?;
        check("beta 4", &run(4.)?.total.neg()?, case, "elbo_beta_4")?;
        let loss = parts.total.mean_all()?;
        check(
            "loss",
            &loss,
            &serde_json::json!({"loss": [case["loss"]]}),
            "loss",
        )?;
        let gradients = backward(&loss)?;
        for (var, name) in [
            (mean, "grad_loss_q_mean"),
            (log_var, "grad_loss_q_log_variance"),
            (w, "grad_loss_W"),
            (b, "grad_loss_b"),
        ] {
            check(name, gradients.get(var).unwrap(), case, name)?;
        }
    }
    Ok(())
}

/// Minus the distortion under a likelihood that does not ask for the latent.
fn reconstruction<L: Distribution>(
    likelihood: impl Fn() -> Result<L>,
    x: &Tensor,
) -> Result<Tensor> {
    let zero = Tensor::zeros((x.dim(0)?, 1), x.dtype(), CPU)?;
    let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
    let prior = MultivariateNormalDiag::standard(1, x.dtype(), CPU)?;
    let decoder = |_: &Tensor| likelihood();
    let config = ElboConfig::default();
    let parts = elbo(&posterior, &prior, &decoder, x, &config, &mut Rng::new(0))?;
    assert_eq!(crate::support::floats(&parts.rate)?, vec![0.; x.dim(0)?]);
    Ok(parts.distortion.neg()?)
}

#[test]
fn likelihoods_meet_reference_values() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let case = &golden()["gaussian_log_likelihood"];
        let mean = Var::from_tensor(&tensor(case, "mean", dtype)?)?;
        let sigma = Tensor::new(case["sigma"].as_f64().unwrap(), CPU)?.to_dtype(dtype)?;
        let x = tensor(case, "x", dtype)?;
        let gaussian = || Normal::new(&mean.unsqueeze(0)?, &sigma)?.to_event(1);
        let value = reconstruction(gaussian, &x)?;
        check("gaussian", &value, case, "per_example")?;
        let gradient = backward(&value.sum_all()?)?;
        check("gaussian", gradient.get(&mean).unwrap(), case, "grad_mean")?;

        // One pixel is grey: it has a cross-entropy, and no mass.
        let case = &golden()["bernoulli_log_likelihood"];
        let logits = Var::from_tensor(&tensor(case, "logits", dtype)?)?;
        let (x, rows) = (tensor(case, "x", dtype)?, logits.unsqueeze(0)?);
        let value = reconstruction(|| Bernoulli::soft(&rows)?.to_event(1), &x)?;
        check("bernoulli", &value, case, "per_example")?;
        let gradient = backward(&value.sum_all()?)?;
        check(
            "bernoulli",
            gradient.get(&logits).unwrap(),
            case,
            "grad_logits",
        )?;
        let strict = reconstruction(|| Bernoulli::new(&rows)?.to_event(1), &x)?;
        let (strict, value) = (
            crate::support::floats(&strict)?,
            crate::support::floats(&value)?,
        );
        assert_eq!((&strict[..3], strict[3]), (&value[..3], f64::NEG_INFINITY));
    }
    Ok(())
}
