//! What a chapter on latent-variable models shows: mixtures of Gaussians fitted by their likelihood, and amortized
//! inference. `tests/net/autoencoder.rs` has its linear autoencoder.

use super::linear_gaussian::{EXACT, Model, SigmaPoints, bound};
use crate::support::floats;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::special::softmax;
use candle_prob::{Result, Rng, init};

const CPU: &Device = &Device::Cpu;

type Mixture = MixtureSameFamily<MultivariateNormalDiag>;

fn mixture(logits: &Tensor, loc: &Tensor, log_var: &Tensor) -> Result<Mixture> {
    let components = MultivariateNormalDiag::from_log_var(loc, log_var)?;
    MixtureSameFamily::new(Categorical::new(logits)?, components)
}

/// Three Gaussians in the plane, and their weights.
fn truth() -> Result<[Tensor; 3]> {
    Ok([
        Tensor::new(&[0.6, 0.3, 0.1], CPU)?.log()?,
        Tensor::new(&[[-2., 0.], [2., 1.], [0., -3.]], CPU)?,
        Tensor::new(&[[-1., 0.], [-0.5, -2.], [-1., -1.]], CPU)?,
    ])
}

/// The fitted parameters and the mean log-likelihood of the data.
fn fit(x: &Tensor, weights: bool) -> Result<([Tensor; 3], f64)> {
    let logits = Tensor::zeros(3, DType::F64, CPU)?;
    let start = Tensor::new(&[[-1., 0.5], [1., 0.5], [0., -1.]], CPU)?;
    let vars = VarMap::new();
    let own = |name: &str, x: &Tensor| -> Result<Tensor> {
        let var = Var::from_tensor(x)?;
        vars.data()
            .lock()
            .expect("no other thread")
            .insert(name.into(), var.clone());
        Ok(var.as_tensor().clone())
    };
    let loc = own("loc", &start)?;
    let log_var = own("log_var", &start.zeros_like()?)?;
    let logits = if weights {
        own("logits", &logits)?
    } else {
        logits
    };
    let config = AdamConfig {
        lr: 0.05,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(&vars, &config)?;
    let mut last = 0.;
    for _ in 0..400 {
        let loss = mixture(&logits, &loc, &log_var)?
            .log_prob(x)?
            .mean_all()?
            .neg()?;
        last = -floats(&loss)?[0];
        adam.backward_step(&loss)?;
    }
    Ok(([logits, loc, log_var].map(|x| x.detach()), last))
}

fn near(got: &Tensor, want: &Tensor, bound: f64) -> Result<()> {
    for (got, want) in floats(got)?.iter().zip(floats(want)?) {
        assert!((got - want).abs() < bound, "{got} {want}");
    }
    Ok(())
}

#[test]
fn a_mixture_is_fitted_by_its_likelihood() -> Result<()> {
    let [logits, loc, log_var] = truth()?;
    let even = mixture(&logits.zeros_like()?, &loc, &log_var)?;
    let x = even.sample(&[900], &mut Rng::new(31))?;
    let best = floats(&even.log_prob(&x)?.mean_all()?)?[0];
    let ([_, found, _], likelihood) = fit(&x, false)?;
    near(&found, &loc, 0.15)?;
    // The fit is better than the truth on its own data, by about half a parameter each.
    assert!(
        likelihood > best && likelihood < best + 0.02,
        "{likelihood} {best}"
    );
    // Weights that are learned, where they are not equal.
    let uneven = mixture(&logits, &loc, &log_var)?;
    let x = uneven.sample(&[900], &mut Rng::new(32))?;
    let best = floats(&uneven.log_prob(&x)?.mean_all()?)?[0];
    let ([found_logits, found, _], likelihood) = fit(&x, true)?;
    near(&found, &loc, 0.3)?;
    near(&softmax(&found_logits, 0)?, &softmax(&logits, 0)?, 0.05)?;
    assert!(
        likelihood > best && likelihood < best + 0.02,
        "{likelihood} {best}"
    );
    let (_, equal_weights) = fit(&x, false)?;
    assert!(equal_weights < best - 0.03, "{equal_weights} {best}");
    Ok(())
}

/// `ln sum_z p(z) p(x | z)`, from draws of the prior, and from the posterior's, each of which is the sum itself.
#[test]
fn the_sum_over_components_meets_its_estimates() -> Result<()> {
    let [logits, loc, log_var] = truth()?;
    let model = mixture(&logits, &loc, &log_var)?;
    let (n, samples) = (20, 5000);
    let x = model.sample(&[n], &mut Rng::new(32))?;
    let exact = model.log_prob(&x)?;
    let prior = Categorical::new(&logits)?;
    let components = |z: &Tensor| -> Result<MultivariateNormalDiag> {
        let dims = [z.dims(), &[2]].concat();
        let of = |table: &Tensor| table.index_select(&z.flatten_all()?, 0)?.reshape(&dims[..]);
        MultivariateNormalDiag::from_log_var(&of(&loc)?, &of(&log_var)?)
    };
    let config = LogLikelihoodConfig {
        samples,
        chunk: 1000,
    };
    let blind = Expanded::new(prior.clone(), &[n])?;
    let blind = log_likelihood(&blind, &prior, &components, &x, &config, &mut Rng::new(33))?;
    // p(x, z) for each z, and so p(z | x).
    let each = MultivariateNormalDiag::from_log_var(&loc, &log_var)?.log_prob(&x.unsqueeze(1)?)?;
    let posterior = Categorical::new(&each.broadcast_add(&logits)?)?;
    let config = LogLikelihoodConfig {
        samples: 1,
        ..config
    };
    let informed = log_likelihood(
        &posterior,
        &prior,
        &components,
        &x,
        &config,
        &mut Rng::new(34),
    )?;
    let sizes = floats(&blind.effective_samples)?;
    let (blind, informed) = (floats(&blind.value)?, floats(&informed.value)?);
    for (i, exact) in floats(&exact)?.into_iter().enumerate() {
        let error = ((samples as f64 / sizes[i] - 1.) / samples as f64).sqrt();
        assert!(
            (blind[i] - exact).abs() < 5. * error + 1e-12,
            "{} {exact}",
            blind[i]
        );
        assert!(
            (informed[i] - exact).abs() < 1e-12,
            "{} {exact}",
            informed[i]
        );
    }
    // Most draws of the prior are of components that have nothing to do with the example.
    assert!(sizes.iter().sum::<f64>() / (n as f64) < 0.8 * samples as f64);
    Ok(())
}

/// The bound of the encoder `loc = a (x - mu) M^-1 W^T`, and of posteriors optimized for each example by itself.
#[test]
fn inference_is_amortized_at_a_cost() -> Result<()> {
    let model = Model::orthogonal()?;
    let (x, prior) = (model.data(6)?, model.prior()?);
    let best = model.diagonal_posterior(&x)?;
    let scale = best.scale()?;
    // One by one, from the prior.
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 0, DType::F64, CPU);
    let zeros = candle_nn::Init::Const(0.);
    let loc = vb.get_with_hints((6, 2), "loc", zeros)?;
    let log_var = vb.get_with_hints((6, 2), "log_var", zeros)?;
    let config = AdamConfig {
        lr: 0.02,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(&vars, &config)?;
    for _ in 0..1500 {
        let q = SigmaPoints::diagonal(MultivariateNormalDiag::from_log_var(&loc, &log_var)?)?;
        assert_eq!(q.count(), EXACT.samples);
        adam.backward_step(&bound(&model, &q, &prior, &x)?.mean_all()?.neg()?)?;
    }
    let one_by_one = SigmaPoints::diagonal(MultivariateNormalDiag::from_log_var(&loc, &log_var)?)?;
    let one_by_one = bound(&model, &one_by_one, &prior, &x)?;
    let gap = |factor: f64| -> Result<Vec<f64>> {
        let loc = (model.posterior_mean(&x)? * factor)?;
        let encoder = SigmaPoints::diagonal(MultivariateNormalDiag::new(&loc, &scale)?)?;
        floats(&(&one_by_one - bound(&model, &encoder, &prior, &x)?)?)
    };
    // The posterior mean is linear, and so a linear encoder has no gap; half of it has.
    let (linear, half) = (gap(1.)?, gap(0.5)?);
    assert!(linear.iter().all(|gap| gap.abs() < 1e-4), "{linear:?}");
    assert!(half.iter().all(|gap| *gap > -1e-4), "{half:?}");
    assert!(half.iter().sum::<f64>() > 0.1, "{half:?}");
    Ok(())
}
