//! Rates that are estimated: do they meet the closed forms, and can flows and mixtures be priors and posteriors?

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::{Bijector, Tanh};
use candle_prob::distribution::*;
use candle_prob::flow::{NeuralSplineConfig, RealNvpConfig, neural_spline, real_nvp};
use candle_prob::objective::*;
use candle_prob::optim::{Adam, AdamConfig, Optimizer, backward, check_grads};
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng, init};

const CPU: &Device = &Device::Cpu;

fn new(x: &[f64]) -> Result<Tensor> {
    Ok(Tensor::new(x, CPU)?)
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn config(beta: f64, samples: usize) -> BottleneckConfig {
    BottleneckConfig { beta, samples }
}

/// Five standard errors: one in 1.7 million fails by chance.
fn meets_closed_form<P: Reparameterized + Kl<R>, R: Distribution>(p: &P, r: &R) -> Result<()> {
    let samples = 20_000;
    let latents = sample_latents(p, r, &[samples], &mut Rng::new(1))?;
    let ratio = latents.log_ratio()?;
    let (codes, rate) = MonteCarlo(r).sample_and_rate(p, &[samples], &mut Rng::new(1))?;
    // The rate belongs to these very draws.
    assert_eq!(values(&codes)?, values(&latents.value)?);
    assert_eq!(values(&rate)?, values(&ratio.mean(0)?)?);
    let (_, exact) = r.sample_and_rate(p, &[1], &mut Rng::new(1))?;
    assert_eq!(rate.dims(), exact.dims());
    let spread = ratio.broadcast_sub(&rate)?.sqr()?.mean(0)?;
    let error = values(&(spread / samples as f64)?.sqrt()?)?;
    for ((got, want), error) in values(&rate)?.iter().zip(values(&exact)?).zip(error) {
        assert!(
            error < 0.05 && (got - want).abs() < 5. * error,
            "{got}, {want}, {error}"
        );
    }
    Ok(())
}

#[test]
fn estimated_rates_meet_closed_forms() -> Result<()> {
    let loc = new(&[0.5, -1., 2., 0.])?.reshape((2, 2))?;
    let scale = new(&[0.5, 1.5])?;
    let wide = Normal::new(&new(&[0., 0.])?, &new(&[1., 2.])?)?;
    meets_closed_form(&Normal::new(&loc, &scale)?, &wide)?;
    let rows = Normal::new(&loc, &scale)?.to_event(1)?;
    meets_closed_form(&rows, &wide.clone().to_event(1)?)?;
    let (shape, rate) = (new(&[0.7, 3.])?, new(&[1., 2.])?);
    meets_closed_form(&Gamma::new(&shape, &rate)?, &Gamma::new(&rate, &shape)?)?;
    let even = Dirichlet::new(&new(&[1., 1., 1.])?)?;
    meets_closed_form(&Dirichlet::new(&new(&[2., 0.8, 1.5])?)?, &even)?;
    // A map that both share changes neither.
    let (p, r) = (
        rows.transformed_by(Tanh)?,
        wide.to_event(1)?.transformed_by(Tanh)?,
    );
    meets_closed_form(&p, &r)
}

#[test]
fn draws_may_have_any_sample_shape() -> Result<()> {
    let p = Normal::new(&new(&[0., 1., 2.])?, &new(&[1.])?)?;
    let r = Normal::new(&new(&[0.])?, &new(&[2.])?)?;
    for shape in [&[][..], &[4], &[2, 5]] {
        let latents = sample_latents(&p, &r, shape, &mut Rng::new(2))?;
        let full = [shape, &[3]].concat();
        assert_eq!(latents.value.dims(), full);
        assert_eq!(latents.log_ratio()?.dims(), full);
        assert_eq!(
            values(&latents.log_posterior)?,
            values(&p.log_prob(&latents.value)?)?
        );
        assert_eq!(
            values(&latents.log_prior)?,
            values(&r.log_prob(&latents.value)?)?
        );
        let (_, rate) = MonteCarlo(&r).sample_and_rate(&p, shape, &mut Rng::new(2))?;
        assert_eq!(rate.dims(), &[3]);
    }
    Ok(())
}

fn decoder(z: &Tensor) -> Result<Normal> {
    Normal::new(
        &z.sum(D::Minus1)?,
        &Tensor::new(0.8, CPU)?.to_dtype(z.dtype())?,
    )
}

fn mixture(logits: &Tensor, loc: &Tensor, scale: &Tensor) -> Result<impl Distribution + use<>> {
    MixtureSameFamily::new(
        Categorical::new(logits)?,
        Normal::new(loc, scale)?.to_event(1)?,
    )
}

/// With common draws the estimate is a smooth function of all parameters: of both sides, through the draws and beside them.
#[test]
fn gradients_are_pathwise() -> Result<()> {
    let inputs = [
        new(&[0.3, -0.4, 1., 0.2, 0.1, -1.])?.reshape((3, 2))?,
        new(&[0.6, 1.2])?,
        new(&[0.2, -0.5])?,
        new(&[-1., 0.5, 1., 0.3])?.reshape((2, 2))?,
        new(&[0.9, 1.1])?,
    ];
    let target = new(&[0.2, -0.1, 1.])?;
    let parts = |x: &[Tensor], squash: bool| -> Result<DistortionRate> {
        let (rng, config) = (&mut Rng::new(3), config(0.7, 6));
        let prior = mixture(&x[2], &x[3], &x[4])?;
        let posterior = Normal::new(&x[0], &x[1])?.to_event(1)?;
        if squash {
            let posterior = posterior.transformed_by(Tanh)?;
            return vib(
                &posterior,
                &MonteCarlo(&prior),
                &decoder,
                &target,
                &config,
                rng,
            );
        }
        vib(
            &posterior,
            &MonteCarlo(&prior),
            &decoder,
            &target,
            &config,
            rng,
        )
    };
    for squash in [false, true] {
        check_gradient(&|x| Ok(parts(x, squash)?.total), &inputs, 1e-6)?;
        check_gradient(&|x| Ok(parts(x, squash)?.rate), &inputs, 1e-6)?;
    }
    Ok(())
}

/// Codes around two far centres. With the mixture of both as prior, `ln q - ln p` of each draw is ln 2: what one code says
/// about which of two it is.
#[test]
fn a_mixture_is_a_prior() -> Result<()> {
    let loc = new(&[-4., 0., 4., 0.])?.reshape((2, 2))?;
    let scale = new(&[0.3])?;
    let posterior = Normal::new(&loc, &scale)?.to_event(1)?;
    let prior = mixture(&new(&[0., 0.])?, &loc, &scale)?;
    let parts = vib(
        &posterior,
        &MonteCarlo(&prior),
        &decoder,
        &new(&[0., 0.])?,
        &config(1., 3),
        &mut Rng::new(4),
    )?;
    for rate in values(&parts.rate)? {
        assert!((rate - 2f64.ln()).abs() < 1e-12, "{rate}");
    }
    Ok(())
}

/// The mean loss of the last 50 of `steps` steps of Adam.
fn train(vars: &VarMap, steps: usize, loss: impl Fn(&mut Rng) -> Result<Tensor>) -> Result<f64> {
    let config = AdamConfig {
        lr: 1e-2,
        ..AdamConfig::default()
    };
    let (mut adam, mut rng, mut last) = (Adam::new(vars, &config)?, Rng::new(5), 0.);
    for step in 0..steps {
        let loss = loss(&mut rng)?;
        let gradients = backward(&loss)?;
        if step == 0 {
            let report = check_grads(&gradients, vars)?;
            let faults = (report.missing.len(), report.non_finite.len());
            assert_eq!(faults, (0, 0), "{report}");
        }
        adam.step(&gradients)?;
        if step + 50 >= steps {
            last += values(&loss)?[0] / 50.;
        }
    }
    Ok(last)
}

fn standard(dim: usize) -> Result<MultivariateNormalDiag> {
    MultivariateNormalDiag::standard(dim, DType::F32, CPU)
}

/// A prior that learns where codes around two centres lie costs little more than ln 2; N(0, I) costs 5.5 nats.
fn learns_two_centres(flow: impl FnOnce(VarBuilder) -> Result<Box<dyn Bijector>>) -> Result<()> {
    let vars = VarMap::new();
    let flow = flow(init::seeded(&vars, 6, DType::F32, CPU))?;
    let loc = new(&[-2., 2., 2., -2.])?
        .reshape((2, 2))?
        .to_dtype(DType::F32)?;
    let scale = Tensor::new(&[0.3f32], CPU)?;
    let posterior = Expanded::new(Normal::new(&loc, &scale)?.to_event(1)?, &[16, 2])?;
    let prior = standard(2)?.transformed_by(&*flow)?;
    let target = Tensor::zeros((16, 2), DType::F32, CPU)?;
    let rate = train(&vars, 300, |rng| {
        let prior = MonteCarlo(&prior);
        let parts = vib(&posterior, &prior, &decoder, &target, &config(1., 2), rng)?;
        Ok(parts.rate.mean_all()?)
    })?;
    assert!((0.6..1.3).contains(&rate), "{rate}");
    Ok(())
}

#[test]
fn a_real_nvp_prior_learns() -> Result<()> {
    learns_two_centres(|vb| {
        let config = RealNvpConfig {
            layers: 6,
            hidden: vec![32],
            ..Default::default()
        };
        Ok(Box::new(real_nvp(&config, vb)?))
    })
}

#[test]
fn a_spline_prior_learns() -> Result<()> {
    learns_two_centres(|vb| {
        let config = NeuralSplineConfig {
            layers: 3,
            hidden: vec![32],
            ..Default::default()
        };
        Ok(Box::new(neural_spline(&config, vb)?))
    })
}

/// Codes N(0, I) and observations N(z1 + z2, 0.25): the posterior of the code lies along a line. The bound is tight for a flow
/// given the observation; the best independent coordinates stay ln(25 / 9) / 2 = 0.51 above it.
#[test]
fn a_flow_is_a_posterior() -> Result<()> {
    let vars = VarMap::new();
    let flow_config = RealNvpConfig {
        layers: 4,
        hidden: vec![16],
        context: 1,
        ..Default::default()
    };
    let flow = real_nvp(&flow_config, init::seeded(&vars, 7, DType::F32, CPU))?;
    let x = Tensor::new(&[-2f32, -0.5, 0., 1., 1.5], CPU)?;
    let context = x.unsqueeze(1)?;
    let deviation = Tensor::new(0.5f32, CPU)?;
    let decoder = |z: &Tensor| Normal::new(&z.sum(D::Minus1)?, &deviation);
    let prior = standard(2)?;
    let loss = train(&vars, 400, |rng| {
        let base = Expanded::new(standard(2)?, &[5])?;
        let posterior = base.transformed_by(flow.given(&context)?)?;
        let prior = MonteCarlo(&prior);
        let parts = vib(&posterior, &prior, &decoder, &x, &config(1., 32), rng)?;
        Ok(parts.total.mean_all()?)
    })?;
    // x is N(0, 2.25).
    let evidence = Normal::new(&(&deviation * 0.)?, &(&deviation * 3.)?)?;
    let exact = -values(&evidence.log_prob(&x)?.mean_all()?)?[0];
    assert!((loss - exact).abs() < 0.05, "{loss}, {exact}");
    Ok(())
}

/// Both priors of the mixture bottleneck, one by one and together.
#[test]
fn the_mixture_bottleneck_takes_estimated_rates() -> Result<()> {
    let loc = new(&[0.5, -1., 1., 0., 0.2, 0.3])?.reshape((1, 3, 2))?;
    let components = Normal::new(&loc, &new(&[0.5, 0.8])?)?.to_event(1)?;
    let normal = Normal::new(&new(&[0., 0.])?, &new(&[1.])?)?.to_event(1)?;
    let weight = Dirichlet::new(&new(&[2., 0.8, 1.5])?.reshape((1, 3))?)?;
    let even = Dirichlet::new(&new(&[1., 1., 1.])?)?;
    let (target, config) = (new(&[0.4])?, config(0.5, 20_000));
    fn run<R: Rate<Independent<Normal>>, V: Rate<Dirichlet>>(
        components: (&Independent<Normal>, &R),
        weight: (&Dirichlet, &V),
        (target, config): (&Tensor, &BottleneckConfig),
    ) -> Result<Vec<f64>> {
        let rng = &mut Rng::new(8);
        let gmvib = gmvib(components, weight, &decoder, target, config, rng)?;
        assert_eq!(gmvib.component_rates.dims(), &[1, 3]);
        let parts = &gmvib.parts;
        let total = (&parts.distortion + (&parts.rate * config.beta)?)?;
        assert_eq!(values(&parts.total)?, values(&total)?);
        let all = [
            &gmvib.component_rates.flatten_all()?,
            &gmvib.weight_rate,
            &parts.distortion,
        ];
        values(&Tensor::cat(&all, 0)?)
    }
    let rest = (&target, &config);
    let closed = run((&components, &normal), (&weight, &even), rest)?;
    let (near, far) = (MonteCarlo(&normal), MonteCarlo(&even));
    for estimated in [
        run((&components, &near), (&weight, &even), rest)?,
        run((&components, &normal), (&weight, &far), rest)?,
        run((&components, &near), (&weight, &far), rest)?,
    ] {
        // The terms' deviations are below 2.4: five standard errors of a difference are 0.12.
        for (got, want) in estimated.iter().zip(&closed) {
            assert!((got - want).abs() < 0.12, "{got} {want}");
        }
    }
    // A flow among the components, which have no closed form.
    let squashed = components.transformed_by(Tanh)?;
    let rng = &mut Rng::new(9);
    let parts = gmvib(
        (&squashed, &near),
        (&weight, &even),
        &decoder,
        &target,
        &config,
        rng,
    )?;
    assert!(values(&parts.parts.total)?[0].is_finite());
    Ok(())
}

#[test]
fn a_rate_without_weight_has_no_say() -> Result<()> {
    let loc = Var::new(&[[0.5f64, 3.]], CPU)?;
    let posterior = Normal::new(&loc, &new(&[0.5])?)?.to_event(1)?;
    let prior = Uniform::new(&new(&[0., 0.])?, &new(&[1.])?)?.to_event(1)?;
    let total = |beta: f64| -> Result<Tensor> {
        let (prior, config) = (MonteCarlo(&prior), config(beta, 4));
        let parts = vib(
            &posterior,
            &prior,
            &decoder,
            &new(&[0.])?,
            &config,
            &mut Rng::new(9),
        )?;
        assert_eq!(values(&parts.rate)?, [f64::INFINITY]);
        Ok(parts.total)
    };
    assert_eq!(values(&total(1e-3)?)?, [f64::INFINITY]);
    let free = total(0.)?;
    assert!(values(&free)?[0].is_finite());
    let slope = backward(&free)?.get(&loc).map(values).transpose()?;
    assert!(slope.is_some_and(|slope| slope.iter().all(|x| x.is_finite())));
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_by_name() -> Result<()> {
    let normal = |batch: &[usize], dim: usize| -> Result<Independent<Normal>> {
        let zero = Tensor::zeros([batch, &[dim]].concat(), DType::F64, CPU)?;
        Normal::new(&zero, &zero.ones_like()?)?.to_event(1)
    };
    let posterior = normal(&[4], 2)?;
    let target = Tensor::zeros(4, DType::F64, CPU)?;
    let refused = |result: Result<DistortionRate>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let rng = &mut Rng::new(0);
    // A batch of 3 would be taken for samples, one of [3, 1] for something to broadcast with.
    for (batch, dim) in [(&[3][..], 2), (&[3, 1], 2), (&[4], 3), (&[], 1)] {
        let prior = normal(batch, dim)?;
        let result = vib(
            &posterior,
            &MonteCarlo(&prior),
            &decoder,
            &target,
            &config(1., 3),
            rng,
        );
        refused(
            result,
            &["prior: expected a batch that broadcasts to [4], and event [2]"],
        );
    }
    let prior = normal(&[3, 1], 2)?;
    let result = vib(&posterior, &prior, &decoder, &target, &config(1., 3), rng);
    refused(result, &["objective::vib: prior", "[4]", "[3, 4]"]);
    let prior = normal(&[], 2)?;
    for (config, word) in [
        (config(1., 0), "samples"),
        (config(-1., 1), "beta"),
        (config(f64::NAN, 1), "beta"),
    ] {
        refused(
            vib(&posterior, &prior, &decoder, &target, &config, rng),
            &[word],
        );
    }
    let none = MonteCarlo(&prior).sample_and_rate(&posterior, &[2, 0], rng);
    assert!(none.unwrap_err().to_string().contains("draws"));
    let half = MultivariateNormalDiag::standard(2, DType::F32, CPU)?;
    assert!(sample_latents(&posterior, &half, &[2], rng).is_err());
    let one = Tensor::ones((2, 4), DType::F64, CPU)?;
    refused(
        DistortionRate::new(target.clone(), one, 1.),
        &["rate", "[4]", "[2, 4]"],
    );
    refused(
        DistortionRate::new(target.clone(), target, f64::INFINITY),
        &["beta"],
    );
    Ok(())
}

/// Each coordinate of the code is a mixture. The slopes of the estimated rate are, up to chance, those of the integral
/// of `q ln(q / p)`.
#[test]
fn a_mixture_is_a_posterior() -> Result<()> {
    let logits = Var::new(&[[0.3f64, -0.2], [0., 0.5]], CPU)?;
    let loc = Var::new(&[[-1.5f64, 1.], [0.2, 2.]], CPU)?;
    let scale = Var::new(&[[0.6f64, 0.4], [1., 0.5]], CPU)?;
    let components = Normal::new(&loc, &scale)?;
    let mixture = MixtureSameFamily::new(Categorical::new(&logits)?, components)?;
    let standard = Normal::new(&new(&[0., 0.])?, &new(&[1.])?)?;

    let step = 12. / 4000.;
    let grid = Tensor::arange(-2000f64, 2000., CPU)?.unsqueeze(1)?;
    let grid = (grid * step)?;
    let log_ratio = (mixture.log_prob(&grid)? - standard.log_prob(&grid)?)?;
    let integral = ((mixture.log_prob(&grid)?.exp()? * log_ratio)?.sum_all()? * step)?;
    let exact = integral.backward()?;

    let posterior = mixture.reparameterized().to_event(1)?;
    let prior = standard.to_event(1)?;
    let shape = [40_000];
    let (_, rate) = MonteCarlo(&prior).sample_and_rate(&posterior, &shape, &mut Rng::new(11))?;
    // A draw's ratio deviates by less than 1.5, its slopes by less than 4: five standard errors.
    let off = (values(&rate)?[0] - values(&integral)?[0]).abs();
    assert!(off < 0.04, "{off}");
    let gradients = rate.backward()?;
    for var in [&logits, &loc, &scale] {
        let [got, want] = [&gradients, &exact].map(|store| store.get(var).map(values));
        let (got, want) = (got.transpose()?, want.transpose()?);
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < 0.1, "{got}, {want}");
        }
        assert!(want.is_some_and(|want| want.iter().any(|x| x.abs() > 0.2)));
        assert!(got.is_some());
    }
    Ok(())
}

/// Ten thousand ratios do not add up in bf16: the mean is taken in f32.
#[test]
fn rates_of_many_draws_in_half_precision() -> Result<()> {
    for dtype in [DType::BF16, DType::F16] {
        let zero = Tensor::zeros(1, dtype, &Device::Cpu)?;
        let (p, r) = (
            Normal::new(&(&zero + 2.)?, &zero.ones_like()?)?,
            Normal::new(&zero, &zero.ones_like()?)?,
        );
        let (_, rate) = MonteCarlo(&r).sample_and_rate(&p, &[10_000], &mut Rng::new(3))?;
        let rate = rate.to_dtype(DType::F64)?.to_vec1::<f64>()?[0];
        // A standard error is 0.02; rounding to bf16 is within 0.008.
        assert!((rate - 2.).abs() < 0.1, "{dtype:?}: {rate}");
    }
    let zero = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
    let normal = Normal::new(&zero, &zero.ones_like()?)?;
    let many = MonteCarlo(&normal).sample_and_rate(&normal, &[usize::MAX, 2], &mut Rng::new(0));
    assert!(many.is_err());
    Ok(())
}
