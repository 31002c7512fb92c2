//! Priors and posteriors of variational autoencoders: all of them train, flows are not inverted, and more flexible ones fit better.

use crate::support::floats;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::distribution::*;
use candle_prob::flow::{
    MafConfig, PlanarConfig, RealNvpConfig, VectorFlow, iaf, planar, real_nvp,
};
use candle_prob::net::{
    BernoulliLikelihood, MixturePrior, MixturePriorConfig, Mlp, NormalHead, ScaleForm, VampPrior,
    VampPriorConfig, mlp,
};
use candle_prob::objective::*;
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::testing::check_gradient;
use candle_prob::{Activation, Conditional, Error, Result, Rng, init};

const CPU: &Device = &Device::Cpu;
const PIXELS: usize = 8;
const LATENT: usize = 2;
const FEATURES: usize = 16;

/// Noisy copies of four patterns.
fn patterns() -> Result<Tensor> {
    let mut rng = Rng::new(9);
    let rows: Vec<u32> = (0..64).map(|i| i % 4).collect();
    let kinds = rng.uniform((4, PIXELS), DType::F32, CPU)?.lt(0.5)?;
    let clean = kinds.index_select(&Tensor::new(rows, CPU)?, 0)?;
    let flips = rng.uniform((64, PIXELS), DType::F32, CPU)?.lt(0.05)?;
    Ok(clean.ne(&flips)?.to_dtype(DType::F32)?)
}

/// The networks of a small VAE.
struct Vae {
    features: Mlp,
    head: NormalHead,
    decoder: Mlp,
    likelihood: BernoulliLikelihood,
}

impl Vae {
    fn new(vb: &VarBuilder) -> Result<Self> {
        Ok(Vae {
            features: mlp(&[PIXELS, FEATURES], Activation::Tanh, vb.pp("features"))?,
            head: NormalHead::new(FEATURES, LATENT, ScaleForm::LogVar, vb.pp("head"))?,
            decoder: mlp(
                &[LATENT, FEATURES, PIXELS],
                Activation::Tanh,
                vb.pp("decoder"),
            )?,
            likelihood: BernoulliLikelihood::new(&[PIXELS])?,
        })
    }

    /// The posterior before any flow.
    fn posterior(&self, x: &Tensor) -> Result<MultivariateNormalDiag> {
        self.head.given(&self.features.forward(x)?)
    }

    fn loss<P, R>(&self, posterior: &P, prior: &R, x: &Tensor, rng: &mut Rng) -> Result<Tensor>
    where
        P: Reparameterized,
        R: Rate<P>,
    {
        let decoder = |z: &Tensor| self.likelihood.given(&self.decoder.forward(z)?);
        let config = ElboConfig::default();
        let parts = elbo(posterior, prior, &decoder, x, &config, rng)?;
        Ok(parts.total.mean_all()?)
    }
}

fn standard() -> Result<MultivariateNormalDiag> {
    MultivariateNormalDiag::standard(LATENT, DType::F32, CPU)
}

/// Trains by the loss that `build` makes, and returns the first and the last losses' means.
fn trained(build: impl Fn(&VarBuilder) -> Result<Loss>, needed: &[&str]) -> Result<[f64; 2]> {
    let vars = VarMap::new();
    let loss = build(&init::seeded(&vars, 4, DType::F32, CPU))?;
    let (x, mut rng) = (patterns()?, Rng::new(5));
    // Every variable of prior and posterior is asked.
    let gradients = loss(&x, &mut rng)?.backward()?;
    for (name, var) in init::named_vars(&vars)? {
        if needed.iter().any(|part| name.starts_with(part)) {
            assert!(gradients.get(&var).is_some(), "{name}");
        }
    }
    let config = AdamConfig {
        lr: 1e-2,
        ..Default::default()
    };
    let mut adam = Adam::new(&vars, &config)?;
    let mut losses = vec![];
    for _ in 0..60 {
        let loss = loss(&x, &mut rng)?;
        losses.push(f64::from(loss.to_scalar::<f32>()?));
        adam.backward_step(&loss)?;
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    Ok([mean(&losses[..5]), mean(&losses[55..])])
}

type Loss = Box<dyn Fn(&Tensor, &mut Rng) -> Result<Tensor>>;

#[test]
fn every_prior_and_posterior_trains() -> Result<()> {
    let normal = |vb: &VarBuilder| -> Result<Loss> {
        let (vae, prior) = (Vae::new(vb)?, standard()?);
        Ok(Box::new(move |x, rng| {
            vae.loss(&vae.posterior(x)?, &prior, x, rng)
        }))
    };
    let mixture = |vb: &VarBuilder| -> Result<Loss> {
        let config = MixturePriorConfig {
            components: 4,
            dims: LATENT,
            weights: true,
        };
        let (vae, prior) = (Vae::new(vb)?, MixturePrior::new(&config, vb.pp("prior"))?);
        Ok(Box::new(move |x, rng| {
            let prior = prior.distribution()?;
            vae.loss(&vae.posterior(x)?, &MonteCarlo(&prior), x, rng)
        }))
    };
    let vamp = |vb: &VarBuilder| -> Result<Loss> {
        let config = VampPriorConfig {
            components: 4,
            event: vec![PIXELS],
            ..Default::default()
        };
        let (vae, vamp) = (Vae::new(vb)?, VampPrior::new(&config, vb.pp("prior"))?);
        Ok(Box::new(move |x, rng| {
            let encoder = |x: &Tensor| vae.posterior(x);
            let prior = vamp.given(&encoder)?;
            vae.loss(&vae.posterior(x)?, &MonteCarlo(&prior), x, rng)
        }))
    };
    let coupled = |vb: &VarBuilder| -> Result<Loss> {
        let config = RealNvpConfig {
            features: LATENT,
            ..Default::default()
        };
        let (vae, flow) = (Vae::new(vb)?, real_nvp(&config, vb.pp("prior"))?);
        Ok(Box::new(move |x, rng| {
            let prior = standard()?.transformed_by(&flow)?;
            vae.loss(&vae.posterior(x)?, &MonteCarlo(&prior), x, rng)
        }))
    };
    let inverse = |vb: &VarBuilder| -> Result<Loss> {
        let (vae, flow) = (Vae::new(vb)?, autoregressive(vb.pp("posterior"))?);
        Ok(Box::new(move |x, rng| {
            let h = vae.features.forward(x)?;
            let posterior = vae
                .head
                .given(&h)?
                .transformed_by(Forward(flow.given(&h)?))?;
            vae.loss(&posterior, &MonteCarlo(&standard()?), x, rng)
        }))
    };
    let pushed = |vb: &VarBuilder| -> Result<Loss> {
        let config = PlanarConfig {
            features: LATENT,
            layers: 4,
            context: FEATURES,
            ..Default::default()
        };
        let (vae, flow) = (Vae::new(vb)?, planar(&config, vb.pp("posterior"))?);
        Ok(Box::new(move |x, rng| {
            let h = vae.features.forward(x)?;
            let posterior = vae
                .head
                .given(&h)?
                .transformed_by(Forward(flow.given(&h)?))?;
            vae.loss(&posterior, &MonteCarlo(&standard()?), x, rng)
        }))
    };
    let losses = [
        ("normal", trained(normal, &["head"])?),
        ("mixture", trained(mixture, &["head", "prior"])?),
        ("vamp", trained(vamp, &["head", "prior"])?),
        ("coupled", trained(coupled, &["head", "prior"])?),
        ("inverse", trained(inverse, &["head", "posterior"])?),
        ("pushed", trained(pushed, &["head", "posterior"])?),
    ];
    for (name, [first, last]) in losses {
        assert!(last < first - 1., "{name}: {first} to {last}");
    }
    Ok(())
}

fn autoregressive(vb: VarBuilder) -> Result<VectorFlow> {
    let config = MafConfig {
        features: LATENT,
        layers: 2,
        hidden: vec![16],
        context: FEATURES,
        ..Default::default()
    };
    iaf(&config, vb)
}

/// A bijector that cannot be inverted.
struct Forward<B>(B);

impl<B: Bijector> Bijector for Forward<B> {
    fn event_rank(&self) -> usize {
        self.0.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.0.transform_and_log_det(x)
    }

    fn inverse_and_log_det(&self, _: &Tensor) -> Result<(Tensor, Tensor)> {
        Err(Error::Candle(candle_core::Error::Msg("inverted".into())))
    }
}

#[test]
fn the_rate_of_a_flow_posterior_inverts_nothing() -> Result<()> {
    let vb = init::seeded(&VarMap::new(), 1, DType::F32, CPU);
    let context = Rng::new(2).normal((3, FEATURES), DType::F32, CPU)?;
    let flow = autoregressive(vb)?.given(&context)?;
    let base = Expanded::new(standard()?, &[3])?;
    let posterior = base.clone().transformed_by(Forward(&flow))?;
    let mut draws = vec![];
    for shape in [&[][..], &[5]] {
        let (z, rate) =
            MonteCarlo(&standard()?).sample_and_rate(&posterior, shape, &mut Rng::new(3))?;
        assert_eq!(rate.dims(), [3]);
        draws.push(z);
    }
    // The inverse does err where it is asked.
    assert!(posterior.log_prob(&draws[0]).is_err());
    // And what was scored is the density.
    let free = base.transformed_by(&flow)?;
    let latents = sample_latents(&free, &standard()?, &[5], &mut Rng::new(3))?;
    let gap = (free.log_prob(&latents.value)? - latents.log_posterior)?;
    assert!(floats(&gap)?.iter().all(|gap| gap.abs() < 1e-4));
    Ok(())
}

/// The mean of `ln q - ln p` and its standard error, after training q to be like p.
fn divergence<Q: Reparameterized, P: Distribution>(
    vars: &VarMap,
    q: impl Fn() -> Result<Q>,
    p: &P,
) -> Result<[f64; 2]> {
    let (mut rng, steps) = (Rng::new(7), 600);
    let mut adam = Adam::new(vars, &AdamConfig::default())?;
    for step in 0..steps {
        adam.set_learning_rate(2e-2 * (1. - step as f64 / steps as f64));
        let latents = sample_latents(&q()?, p, &[200], &mut rng)?;
        adam.backward_step(&latents.log_ratio()?.mean_all()?)?;
    }
    let ratio = floats(&sample_latents(&q()?, p, &[20_000], &mut rng)?.log_ratio()?)?;
    let count = ratio.len() as f64;
    let mean = ratio.iter().sum::<f64>() / count;
    let variance = ratio.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    Ok([mean, (variance / count).sqrt()])
}

/// A normal posterior finds one of two modes and pays ln 2; a flow reaches both.
#[test]
fn flow_posteriors_fit_two_modes_better_than_a_normal_one() -> Result<()> {
    let new = |x: &[f32]| Tensor::new(x, CPU);
    let loc = new(&[-1.7, 0.4, 1.7, -0.4])?.reshape((2, 2))?;
    let components = Normal::new(&loc, &new(&[0.6])?)?.to_event(1)?;
    let target = MixtureSameFamily::new(Categorical::new(&new(&[0., 0.])?)?, components)?;

    let vars = VarMap::new();
    let vb = init::seeded(&vars, 1, DType::F32, CPU);
    let zero = candle_nn::Init::Const(0.);
    let loc = vb.get_with_hints(2, "loc", candle_nn::Init::Const(0.5))?;
    let log_var = vb.get_with_hints(2, "log_var", zero)?;
    let normal = || MultivariateNormalDiag::from_log_var_unchecked(&loc, &log_var);
    let [alone, alone_error] = divergence(&vars, normal, &target)?;

    let vars = VarMap::new();
    let config = PlanarConfig {
        layers: 8,
        ..Default::default()
    };
    let flow = planar(&config, init::seeded(&vars, 1, DType::F32, CPU))?;
    let [pushed, pushed_error] = divergence(
        &vars,
        || standard()?.transformed_by(Forward(&flow)),
        &target,
    )?;

    let vars = VarMap::new();
    let config = MafConfig {
        layers: 4,
        hidden: vec![32],
        ..Default::default()
    };
    let flow = iaf(&config, init::seeded(&vars, 1, DType::F32, CPU))?;
    let [inverse, inverse_error] = divergence(
        &vars,
        || standard()?.transformed_by(Forward(&flow)),
        &target,
    )?;

    for (name, value, error) in [
        ("planar", pushed, pushed_error),
        ("iaf", inverse, inverse_error),
    ] {
        println!("normal {alone} +- {alone_error}, {name} {value} +- {error}");
        // Five standard errors: one in 1.7 million fails by chance.
        assert!(value > -5. * error, "{name}: {value} {error}");
        let apart = 5. * (error.powi(2) + alone_error.powi(2)).sqrt();
        assert!(value + apart < alone - 0.1, "{name}: {value} {alone}");
    }
    Ok(())
}

#[test]
fn a_vamp_prior_is_the_mean_of_posteriors() -> Result<()> {
    let (vars, dtype) = (VarMap::new(), DType::F64);
    let vb = init::seeded(&vars, 1, dtype, CPU);
    let encoder = NormalHead::new(6, 2, ScaleForm::LogVar, vb.pp("encoder"))?;
    for activation in [Activation::Sigmoid, Activation::Identity] {
        let config = VampPriorConfig {
            components: 3,
            event: vec![6],
            activation,
        };
        let vb = init::seeded(&VarMap::new(), 2, dtype, CPU);
        let vamp = VampPrior::new(&config, vb)?;
        let inputs = vamp.pseudo_inputs()?;
        assert_eq!(inputs.dims(), [3, 6]);
        let inside = floats(&inputs)?.iter().all(|x| (0. ..=1.).contains(x));
        assert_eq!(inside, activation == Activation::Sigmoid);
        let prior = vamp.given(&encoder)?;
        assert_eq!(
            (prior.batch_shape(), prior.event_shape()),
            (&[][..], &[2][..])
        );
        let z = Rng::new(3).normal((5, 2), dtype, CPU)?;
        let of_each = encoder.given(&inputs)?.log_prob(&z.unsqueeze(1)?)?;
        let want = floats(&of_each.exp()?.mean(1)?.log()?)?;
        for (got, want) in floats(&prior.log_prob(&z)?)?.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
    let zero = VampPriorConfig {
        components: 0,
        ..Default::default()
    };
    let empty = VampPriorConfig {
        event: vec![0],
        ..Default::default()
    };
    let build = |config| VampPrior::new(config, init::seeded(&VarMap::new(), 2, dtype, CPU)).err();
    assert!(matches!(build(&zero), Some(Error::Value { .. })));
    assert!(matches!(build(&empty), Some(Error::Shape { .. })));
    // An encoder that gives one posterior for all.
    let config = VampPriorConfig {
        components: 3,
        event: vec![6],
        ..Default::default()
    };
    let vamp = VampPrior::new(&config, init::seeded(&VarMap::new(), 2, dtype, CPU))?;
    let one = |_: &Tensor| MultivariateNormalDiag::standard(2, dtype, CPU);
    assert!(matches!(vamp.given(&one).err(), Some(Error::Shape { .. })));
    Ok(())
}

#[test]
fn a_mixture_prior_is_its_variables() -> Result<()> {
    let dtype = DType::F64;
    let draw = |shape: &[usize], seed| Rng::new(seed).normal(shape, dtype, CPU);
    let (logits, loc) = (draw(&[3], 1)?, draw(&[3, 2], 2)?);
    let (log_var, z) = (draw(&[3, 2], 3)?, draw(&[5, 2], 4)?);
    let config = |weights| MixturePriorConfig {
        components: 3,
        dims: 2,
        weights,
    };
    let build = |weights, x: &[Tensor]| {
        let names = ["loc", "log_var", "logits"];
        let tensors = names.iter().zip(x).map(|(n, x)| (n.to_string(), x.clone()));
        let vb = VarBuilder::from_tensors(tensors.collect(), dtype, CPU);
        MixturePrior::new(&config(weights), vb)?.distribution()
    };
    let variables = [loc.clone(), log_var.clone(), logits.clone()];
    for weights in [false, true] {
        let clamped = ((&log_var / 15.)?.tanh()? * 15.)?;
        let components = MultivariateNormalDiag::from_log_var(&loc, &clamped)?;
        let logits = if weights {
            logits.clone()
        } else {
            logits.zeros_like()?
        };
        let want = MixtureSameFamily::new(Categorical::new(&logits)?, components)?.log_prob(&z)?;
        let got = build(weights, &variables)?.log_prob(&z)?;
        for (got, want) in floats(&got)?.iter().zip(floats(&want)?) {
            assert!((got - want).abs() < 1e-13, "{got} {want}");
        }
    }
    check_gradient(&|x| build(true, x)?.log_prob(&z), &variables, 1e-7)?;
    for (components, dims) in [(0, 2), (3, 0)] {
        let config = MixturePriorConfig {
            components,
            dims,
            weights: true,
        };
        let vb = init::seeded(&VarMap::new(), 2, dtype, CPU);
        let refused = MixturePrior::new(&config, vb).err();
        assert!(matches!(refused, Some(Error::Value { .. })));
    }
    Ok(())
}
