//! The evidence lower bound: reference values, and what it says about a model whose evidence is known.

use crate::support::golden::{self, file, list};
use candle_core::{D, DType, Device, Module, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::distribution::*;
use candle_prob::net::{NormalHead, ScaleForm};
use candle_prob::objective::*;
use candle_prob::optim::backward;
use candle_prob::{Conditional, Error, Result, Rng, init};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;

pub fn golden() -> Value {
    file(include_str!("../golden/vae.json"))
}

/// A reference tensor, of shape `shape` where it has one.
pub fn tensor(case: &Value, name: &str, dtype: DType) -> Result<Tensor> {
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

pub fn check(what: &str, got: &Tensor, case: &Value, name: &str) -> Result<()> {
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

#[test]
fn raw_log_variances_of_any_size_have_finite_losses_and_gradients() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for (loc, raw) in [(0., 1e4), (0., -1e4), (1e4, 1e4), (-1e4, -1e4)] {
            let vars = VarMap::new();
            let vb = init::seeded(&vars, 0, dtype, CPU);
            let head = NormalHead::new(1, 2, ScaleForm::LogVar, vb)?;
            let weight = Tensor::new(&[[loc], [loc], [raw], [raw]], CPU)?;
            let named = init::named_vars(&vars)?;
            named["weight"].set(&weight.to_dtype(dtype)?)?;
            let x = Tensor::ones((3, 1), dtype, CPU)?;
            let prior = MultivariateNormalDiag::standard(2, dtype, CPU)?;
            let decoder = |z: &Tensor| Bernoulli::new(&z.sum_keepdim(D::Minus1)?)?.to_event(1);
            let (config, rng) = (ElboConfig::default(), &mut Rng::new(1));
            let parts = elbo(&head.given(&x)?, &prior, &decoder, &x, &config, rng)?;
            let loss = parts.total.mean_all()?;
            assert!(crate::support::floats(&loss)?[0].is_finite(), "{loc} {raw}");
            let gradients = backward(&loss)?;
            for var in named.values() {
                let gradient = crate::support::floats(gradients.get(var).unwrap())?;
                assert!(gradient.iter().all(|g| g.is_finite()), "{loc} {raw}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_setting_has_a_say_and_what_does_not_fit_is_refused() -> Result<()> {
    let zero = Tensor::zeros((4, 2), DType::F64, CPU)?;
    let posterior = MultivariateNormalDiag::from_log_var(&(&zero + 0.5)?, &zero)?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
    let run = |beta: f64, samples: usize, target: &Tensor| {
        let config = ElboConfig { beta, samples };
        elbo(
            &posterior,
            &prior,
            &decoder,
            target,
            &config,
            &mut Rng::new(2),
        )
    };
    let loss = |beta: f64, samples: usize| -> Result<f64> {
        let total = run(beta, samples, &zero)?.total.mean_all()?;
        Ok(total.to_scalar()?)
    };
    let plain = loss(1., 1)?;
    assert!(plain != loss(2., 1)? && plain != loss(1., 2)? && plain != loss(0., 1)?);
    // Settings of the other kind, and data of another batch or event.
    for (beta, samples) in [(1., 0), (-1., 1), (f64::NAN, 1), (f64::INFINITY, 1)] {
        assert!(matches!(
            run(beta, samples, &zero),
            Err(Error::Value { .. })
        ));
    }
    for dims in [&[3, 2][..], &[4, 3], &[4], &[2, 4, 2]] {
        let target = Tensor::zeros(dims, DType::F64, CPU)?;
        assert!(
            matches!(run(1., 1, &target), Err(Error::Shape { .. })),
            "{dims:?}"
        );
    }
    // As many examples as samples: each draw would be scored against another of them.
    let one = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let config = ElboConfig {
        samples: 4,
        ..Default::default()
    };
    let target = Tensor::zeros((4, 3), DType::F64, CPU)?;
    let wide = |z: &Tensor| {
        let loc = Tensor::cat(&[z, &z.narrow(D::Minus1, 0, 1)?], D::Minus1)?;
        Normal::new(&loc, &loc.ones_like()?)?.to_event(1)
    };
    for target in [&target, &target.narrow(0, 0, 1)?] {
        let found = elbo(&one, &prior, &wide, target, &config, &mut Rng::new(2));
        assert!(matches!(found, Err(Error::Shape { .. })));
    }
    assert!(
        elbo(
            &one,
            &prior,
            &wide,
            &target.get(0)?,
            &config,
            &mut Rng::new(2)
        )
        .is_ok()
    );
    // No examples are no error, and no parts.
    let none = zero.narrow(0, 0, 0)?;
    let posterior = MultivariateNormalDiag::from_log_var(&none, &none)?;
    let config = ElboConfig::default();
    let parts = elbo(
        &posterior,
        &prior,
        &decoder,
        &none,
        &config,
        &mut Rng::new(2),
    )?;
    assert_eq!(parts.total.dims(), &[0]);
    Ok(())
}
