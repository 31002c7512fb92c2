//! Importance-weighted bounds: reference values, and gradients on a linear-Gaussian model whose evidence is known.

use crate::elbo::{check, golden, tensor};
use crate::support::floats;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::flow::{MafConfig, iaf};
use candle_prob::objective::*;
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng, init, special};

const CPU: &Device = &Device::Cpu;
const GRADIENTS: [ImportanceGradient; 3] = [
    ImportanceGradient::Pathwise,
    ImportanceGradient::StickTheLanding,
    ImportanceGradient::DoublyReparameterized,
];

fn scalar(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar()?)
}

#[test]
fn reference_values() -> Result<()> {
    let case = &golden()["iwae"];
    for dtype in [DType::F64, DType::F32] {
        let log_weights =
            Var::from_tensor(&tensor(case, "log_weights", dtype)?.t()?.contiguous()?)?;
        let bound = iwae_bound(&log_weights)?;
        check("bound", &bound, case, "bound")?;
        let gradients = bound.sum_all()?.backward()?;
        let weights = gradients.get(&log_weights).unwrap().t()?;
        check("weights", &weights, case, "normalized_weights")?;
        let size = effective_sample_size(&log_weights)?;
        check("size", &size, case, "effective_sample_size")?;
        assert!(!size.track_op());
        check("elbo", &renyi_bound(&log_weights, 1.)?, case, "elbo")?;
        check("alpha 0", &renyi_bound(&log_weights, 0.)?, case, "bound")?;
    }
    Ok(())
}

#[test]
fn renyi_bounds() -> Result<()> {
    let x = Rng::new(0).normal((6, 3), DType::F64, CPU)?;
    let mut last: Option<Vec<f64>> = None;
    for alpha in [-3., -0.5, 0., 0.5, 0.999, 1., 1.001, 2., 5.] {
        let bound = floats(&renyi_bound(&x, alpha)?)?;
        if alpha != 1. {
            let direct = ((&x * (1. - alpha))?.exp()?.mean(0)?.log()? / (1. - alpha))?;
            for (got, want) in bound.iter().zip(floats(&direct)?) {
                assert!((got - want).abs() < 1e-11, "{alpha}: {got}, {want}");
            }
        }
        check_gradient(
            &|x| renyi_bound(&x[0], alpha),
            std::slice::from_ref(&x),
            1e-6,
        )?;
        if let Some(last) = last {
            assert!(last.iter().zip(&bound).all(|(l, b)| l > b), "{alpha}");
        }
        last = Some(bound);
    }
    // Near 1 it is the mean, and half the variance times what is missing to 1, in any dtype.
    let mean = x.mean(0)?;
    let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    for (dtype, gap, close) in [(DType::F64, 1e-7, 1e-12), (DType::F32, 1e-4, 1e-6)] {
        for gap in [gap, -gap] {
            let near = floats(&renyi_bound(&x.to_dtype(dtype)?, 1. - gap)?)?;
            let want = floats(&(&mean + (&variance * (gap / 2.))?)?)?;
            for (got, want) in near.iter().zip(want) {
                assert!((got - want).abs() < close, "{dtype:?} {gap}: {got}, {want}");
            }
        }
    }
    Ok(())
}

/// Weights that are 0 or huge.
#[test]
fn extreme_weights_have_finite_gradients() -> Result<()> {
    let (none, all) = (f64::NEG_INFINITY, f64::INFINITY);
    let rows = [
        [1e4, -1e4, 0.],
        [-1e4, -1e4, -1e4],
        [none, 0., 1.],
        [none, none, none],
        [all, 0., none],
    ];
    let x = Tensor::new(&rows, CPU)?.t()?.contiguous()?;
    for dtype in [DType::F64, DType::F32] {
        let x = Var::from_tensor(&x.to_dtype(dtype)?)?;
        for alpha in [-1., 0., 0.5, 1., 3.] {
            let bound = renyi_bound(&x, alpha)?;
            let found = floats(&bound)?;
            assert!(
                found[..2].iter().all(|b| b.is_finite()),
                "{alpha}: {found:?}"
            );
            assert_eq!(found[2].is_finite(), alpha < 1., "{alpha}: {found:?}");
            assert_eq!(found[3], none, "{alpha}");
            if alpha < 1. {
                assert_eq!(found[4], all, "{alpha}");
            }
            let gradients = bound.narrow(0, 0, 4)?.sum_all()?.backward()?;
            let slopes = floats(gradients.get(&x).unwrap())?;
            assert!(slopes.iter().all(|g| g.is_finite()), "{alpha}: {slopes:?}");
        }
        let size = floats(&effective_sample_size(&x)?)?;
        assert_eq!((size[0], size[3], size[4]), (1., 0., 1.));
        assert!((size[1] - 3.).abs() < 1e-6);
    }
    let unknown = Tensor::new(&[[f64::NAN], [0.]], CPU)?;
    for alpha in [-1., 0., 0.5, 1., 3.] {
        assert!(scalar(&renyi_bound(&unknown, alpha)?.squeeze(0)?)?.is_nan());
    }
    Ok(())
}

/// x = W z + mu + sigma noise, with z of two dims; a posterior for one x in as many copies as there are rows, so that the rows of
/// a gradient are independent draws of its estimate.
struct Model {
    w: Var,
    loc: Var,
    log_scale: Var,
    x: Tensor,
}

const SIGMA: f64 = 0.6;
const MU: [f64; 3] = [0.2, -0.1, 0.4];
const X: [f64; 3] = [1.0, -0.7, 0.9];
/// Orthogonal columns: the exact posterior has independent elements.
const W: [[f64; 2]; 3] = [[0.8, 0.3], [-0.4, 0.6], [0.6, 0.]];

/// Mean and variance of the exact posterior, each of the two elements.
fn exact_posterior() -> [(f64, f64); 2] {
    [0, 1].map(|j| {
        let square: f64 = (0..3).map(|i| W[i][j] * W[i][j]).sum();
        let inner: f64 = (0..3).map(|i| W[i][j] * (X[i] - MU[i])).sum();
        let m = square + SIGMA * SIGMA;
        (inner / m, SIGMA * SIGMA / m)
    })
}

impl Model {
    fn new(rows: usize, posterior: [(f64, f64); 2]) -> Result<Self> {
        let copies = |x: Tensor| -> Result<Var> {
            let full = [&[rows], x.dims()].concat();
            Ok(Var::from_tensor(&x.broadcast_as(full)?.contiguous()?)?)
        };
        Ok(Model {
            w: copies(Tensor::new(&W, CPU)?)?,
            loc: copies(Tensor::new(&posterior.map(|p| p.0), CPU)?)?,
            log_scale: copies(Tensor::new(&posterior.map(|p| 0.5 * p.1.ln()), CPU)?)?,
            x: Tensor::new(&X, CPU)?.broadcast_as((rows, 3))?,
        })
    }

    /// Away from the exact posterior.
    fn off(rows: usize) -> Result<Self> {
        Self::new(rows, [(0.5, 0.5), (-0.1, 0.6)])
    }

    fn posterior(&self) -> Result<Independent<Normal>> {
        Normal::new(&self.loc, &self.log_scale.exp()?)?.to_event(1)
    }

    fn likelihood(&self, z: &Tensor) -> Result<Independent<Normal>> {
        let wz = z
            .unsqueeze(D::Minus2)?
            .broadcast_mul(&self.w)?
            .sum(D::Minus1)?;
        let loc = wz.broadcast_add(&Tensor::new(&MU, CPU)?)?;
        Normal::new(&loc, &Tensor::new(SIGMA, CPU)?)?.to_event(1)
    }

    fn prior(&self) -> Result<MultivariateNormalDiag> {
        MultivariateNormalDiag::standard(2, DType::F64, CPU)
    }

    /// `ln p(x)`: x is N(mu, W W^T + sigma^2).
    fn evidence(&self) -> Result<f64> {
        let diag = Tensor::full(SIGMA * SIGMA, 3, CPU)?;
        let (mu, w) = (Tensor::new(&MU, CPU)?, Tensor::new(&W, CPU)?);
        let law = LowRankMultivariateNormal::new(&mu, &w, &diag)?;
        scalar(&law.log_prob(&Tensor::new(&X, CPU)?)?)
    }

    fn run(
        &self,
        samples: usize,
        gradient: ImportanceGradient,
        seed: u64,
    ) -> Result<ImportanceWeighted> {
        let config = ImportanceConfig { samples, gradient };
        let decoder = |z: &Tensor| self.likelihood(z);
        let rng = &mut Rng::new(seed);
        importance_weighted(
            &self.posterior()?,
            &self.prior()?,
            &decoder,
            &self.x,
            &config,
            rng,
        )
    }

    /// Gradients of the bound for each row: by location, log-scale, W.
    fn gradients(
        &self,
        samples: usize,
        gradient: ImportanceGradient,
        seed: u64,
    ) -> Result<[Tensor; 3]> {
        let parts = self.run(samples, gradient, seed)?;
        self.of(&parts.loss)
    }

    fn of(&self, loss: &Tensor) -> Result<[Tensor; 3]> {
        let gradients = loss.neg()?.sum_all()?.backward()?;
        let flat = |var: &Var| -> Result<Tensor> {
            Ok(gradients.get(var).expect("a gradient").flatten_from(1)?)
        };
        Ok([flat(&self.loc)?, flat(&self.log_scale)?, flat(&self.w)?])
    }

    /// The evidence lower bound of a row in closed form, whose gradient is exact.
    fn elbo(&self) -> Result<Tensor> {
        let variance = (&*self.log_scale * 2.)?.exp()?;
        let w2 = self.w.sqr()?;
        let wm = self.w.matmul(&self.loc.unsqueeze(2)?)?.squeeze(2)?;
        let off = (&self.x - wm)?
            .broadcast_sub(&Tensor::new(&MU, CPU)?)?
            .sqr()?;
        let spread = w2.matmul(&variance.unsqueeze(2)?)?.squeeze(2)?;
        let constant = 1.5 * (2. * std::f64::consts::PI * SIGMA * SIGMA).ln();
        let fit = (((off + spread)?.sum(1)? / (-2. * SIGMA * SIGMA))? - constant)?;
        Ok((fit - self.posterior()?.kl(&self.prior()?)?)?)
    }
}

/// Mean over the rows, and its standard error.
fn estimate(rows: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let n = rows.dim(0)? as f64;
    let mean = rows.mean(0)?;
    let variance = rows.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    Ok((floats(&mean)?, floats(&(variance / n)?.sqrt()?)?))
}

/// Within four standard errors of both: 1 of 16,000 numbers fails by chance.
fn meet(what: &str, got: &Tensor, want: &Tensor) -> Result<()> {
    let ((got, e), (want, f)) = (estimate(got)?, estimate(want)?);
    for i in 0..got.len() {
        let error = (e[i] * e[i] + f[i] * f[i]).sqrt();
        let off = (got[i] - want[i]).abs();
        assert!(
            off <= 4. * error + 1e-12,
            "{what} {i}: {} is not {} within {error}",
            got[i],
            want[i]
        );
    }
    Ok(())
}

/// The total variance of rows.
fn variance(rows: &Tensor) -> Result<f64> {
    scalar(
        &rows
            .broadcast_sub(&rows.mean(0)?)?
            .sqr()?
            .mean(0)?
            .sum_all()?,
    )
}

#[test]
fn gradients_are_unbiased() -> Result<()> {
    let model = Model::off(20_000)?;
    // One draw, against the closed form.
    let exact = model.of(&model.elbo()?.neg()?)?;
    for gradient in GRADIENTS {
        let found = model.gradients(1, gradient, 1)?;
        for (i, (got, want)) in found.iter().zip(&exact).enumerate() {
            meet(&format!("{gradient:?} {i}"), got, want)?;
        }
    }
    // More draws, against the derivative of the estimate itself, which is what Pathwise takes.
    for samples in [2, 5] {
        let pathwise = model.gradients(samples, ImportanceGradient::Pathwise, 2)?;
        let doubly = model.gradients(samples, ImportanceGradient::DoublyReparameterized, 3)?;
        for (i, (got, want)) in doubly.iter().zip(&pathwise).enumerate() {
            meet(&format!("{samples} draws, {i}"), got, want)?;
        }
        // Decoders have the same estimator in all three.
        for gradient in GRADIENTS {
            let same = model.gradients(samples, gradient, 2)?;
            let off = (&same[2] - &pathwise[2])?.abs()?.max_all()?;
            assert!(scalar(&off)? < 1e-12);
        }
        // What sticking the landing leaves out has another mean: by more than chance, draw for draw.
        let stuck = model.gradients(samples, ImportanceGradient::StickTheLanding, 2)?;
        let bias = (&stuck[1] - &pathwise[1])?;
        let rows = bias.dim(0)? as f64;
        let error = bias.broadcast_sub(&bias.mean(0)?)?.sqr()?.mean(0)?;
        let error = ((error / rows)?.sqrt()? * 5.)?;
        let sure = bias.mean(0)?.abs()?.gt(&error)?.to_vec1::<u8>()?;
        assert_eq!(sure, [1, 1], "{bias} {samples}");
        // And the noise is less.
        let [p, d] = [&pathwise, &doubly].map(|all| variance(&all[0]));
        assert!(d? < 0.8 * p?);
    }
    Ok(())
}

/// The bound's derivative by its own value: central differences with common draws.
#[test]
fn pathwise_gradients_meet_differences() -> Result<()> {
    let model = Model::off(3)?;
    let target = model.x.clone();
    let inputs = [&model.loc, &model.log_scale, &model.w].map(|v| v.as_tensor().copy());
    let inputs: Vec<Tensor> = inputs.into_iter().collect::<candle_core::Result<_>>()?;
    let config = ImportanceConfig {
        samples: 4,
        gradient: ImportanceGradient::Pathwise,
    };
    let bound = |p: &[Tensor]| {
        let posterior = Normal::new(&p[0], &p[1].exp()?)?.to_event(1)?;
        let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
        let decoder = |z: &Tensor| {
            let wz = z
                .unsqueeze(D::Minus2)?
                .broadcast_mul(&p[2])?
                .sum(D::Minus1)?;
            Normal::new(&wz, &Tensor::new(SIGMA, CPU)?)?.to_event(1)
        };
        let rng = &mut Rng::new(4);
        Ok(importance_weighted(&posterior, &prior, &decoder, &target, &config, rng)?.bound)
    };
    check_gradient(&bound, &inputs, 1e-6)
}

/// For the posterior the squares of the normalized weights, without the score alone the weights; for the decoder the weights.
#[test]
fn gradients_through_the_draws_have_their_weights() -> Result<()> {
    let (model, samples, seed) = (Model::off(1)?, 3, 5);
    let z = model
        .posterior()?
        .sample(&[samples], &mut Rng::new(seed))?
        .detach();
    let leaf = Var::from_tensor(&z)?;
    let constant =
        Normal::new(&model.loc.detach(), &model.log_scale.exp()?.detach())?.to_event(1)?;
    let joint = (model.likelihood(&leaf)?.log_prob(&model.x)? + model.prior()?.log_prob(&leaf)?)?;
    let log_weights = (joint - constant.log_prob(&leaf)?)?;
    let weights = special::softmax(&log_weights.detach(), 0)?;
    let slopes = log_weights.sum_all()?.backward()?;
    let slopes = slopes.get(&leaf).unwrap();
    // z = loc + e^log_scale noise
    let by_w = (model.likelihood(&z)?.log_prob(&model.x)? * &weights)?
        .sum_all()?
        .backward()?;
    for (gradient, factor) in [
        (ImportanceGradient::StickTheLanding, weights.clone()),
        (ImportanceGradient::DoublyReparameterized, weights.sqr()?),
    ] {
        let found = model.gradients(samples, gradient, seed)?;
        let by_loc = slopes.broadcast_mul(&factor.unsqueeze(2)?)?;
        let by_scale = (&by_loc * z.broadcast_sub(&model.loc.detach())?)?;
        let wants = [
            by_loc.sum(0)?,
            by_scale.sum(0)?,
            by_w.get(&model.w).unwrap().flatten_from(1)?,
        ];
        for (got, want) in found.iter().zip(&wants) {
            let off = scalar(&(got - want)?.abs()?.max_all()?)?;
            assert!(off < 1e-12, "{gradient:?}: {got} {want}");
        }
    }
    // Weights that differ, or nothing would show.
    assert!(scalar(&weights.max_all()?)? > 0.4);
    Ok(())
}

/// Where the posterior is exact all weights are the evidence: nothing is left to estimate.
#[test]
fn at_the_exact_posterior() -> Result<()> {
    let model = Model::new(200, exact_posterior())?;
    let evidence = model.evidence()?;
    for samples in [1, 4] {
        for gradient in GRADIENTS {
            let parts = model.run(samples, gradient, 6)?;
            for log_weight in floats(&parts.log_weights)? {
                assert!((log_weight - evidence).abs() < 1e-10);
            }
            let noise = variance(&model.gradients(samples, gradient, 6)?[0])?;
            match gradient {
                ImportanceGradient::Pathwise => assert!(noise > 0.1, "{noise}"),
                _ => assert!(noise < 1e-20, "{gradient:?}: {noise}"),
            }
        }
    }
    // The same weights to estimate p(x) itself: with draws of the prior they vary, and their mean is p(x).
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let weights = |log: Tensor| -> Result<Tensor> { Ok(log.exp()?.t()?.contiguous()?) };
    let latents = sample_latents(
        &Expanded::new(prior, &[200])?,
        &model.prior()?,
        &[500],
        &mut Rng::new(7),
    )?;
    let likelihood = model.likelihood(&latents.value)?.log_prob(&model.x)?;
    let from_prior = weights(latents.log_weights(&likelihood)?)?
        .flatten_all()?
        .unsqueeze(1)?;
    let exact = Tensor::new(&[[evidence.exp()]], CPU)?;
    meet("p(x) by draws of the prior", &from_prior, &exact)?;
    let relative = variance(&from_prior)?.sqrt() / evidence.exp();
    assert!(relative > 1., "{relative}");
    let from_posterior = weights(model.run(500, ImportanceGradient::Pathwise, 8)?.log_weights)?;
    assert!(
        variance(&from_posterior.flatten_all()?.unsqueeze(1)?)?.sqrt() < 1e-10 * evidence.exp()
    );
    Ok(())
}

/// Bounds of more draws are not lower, within two standard errors, and below the evidence.
#[test]
fn bounds_rise_with_the_draws() -> Result<()> {
    let model = Model::off(4000)?;
    let evidence = model.evidence()?;
    let mut last: Option<(f64, f64)> = None;
    for samples in [1, 5, 50] {
        let bound = model
            .run(samples, ImportanceGradient::Pathwise, samples as u64)?
            .bound;
        let (mean, error) = estimate(&bound.unsqueeze(1)?)?;
        let (mean, error) = (mean[0], error[0]);
        assert!(
            mean <= evidence + 2. * error,
            "{samples}: {mean} above {evidence}"
        );
        if let Some((lower, e)) = last {
            assert!(
                mean > lower - 2. * e.hypot(error),
                "{samples}: {mean} below {lower}"
            );
        }
        last = Some((mean, error));
    }
    // Fifty come close.
    assert!(last.unwrap().0 > evidence - 0.02);
    Ok(())
}

#[test]
fn one_draw_is_the_evidence_lower_bound() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let of = |seed| Rng::new(seed).normal((5, 2), dtype, CPU);
        let posterior = MultivariateNormalDiag::from_log_var(&of(0)?, &of(1)?)?;
        let prior = MultivariateNormalDiag::standard(2, dtype, CPU)?;
        let decoder = |z: &Tensor| Bernoulli::new(&(z * 3.)?)?.to_event(1);
        let x = of(2)?.gt(0.)?.to_dtype(dtype)?;
        let config = ElboConfig::default();
        let want = elbo(
            &posterior,
            &MonteCarlo(&prior),
            &decoder,
            &x,
            &config,
            &mut Rng::new(3),
        )?;
        for gradient in GRADIENTS {
            let config = ImportanceConfig {
                samples: 1,
                gradient,
            };
            let rng = &mut Rng::new(3);
            let parts = importance_weighted(&posterior, &prior, &decoder, &x, &config, rng)?;
            assert_eq!(floats(&parts.loss)?, floats(&want.total)?, "{gradient:?}");
            assert_eq!(
                floats(&parts.log_weights.squeeze(0)?)?,
                floats(&parts.bound)?
            );
        }
    }
    Ok(())
}

/// Flows are scored in the pass that draws, or, detached, by their inverse: to the same value.
#[test]
fn a_flow_as_posterior() -> Result<()> {
    let vars = candle_nn::VarMap::new();
    let vb = init::seeded(&vars, 0, DType::F64, CPU);
    let config = MafConfig {
        features: 2,
        layers: 2,
        hidden: vec![8],
        ..Default::default()
    };
    let flow = iaf(&config, vb)?;
    let mut rng = Rng::new(1);
    for (_, var) in init::named_vars(&vars)? {
        var.set(&(rng.normal(var.shape(), DType::F64, CPU)? * 0.5)?)?;
    }
    let base = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let posterior = Expanded::new(base, &[3])?.transformed_by(flow)?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let decoder = |z: &Tensor| Normal::new(&z.sum(D::Minus1)?, &Tensor::new(0.5, CPU)?);
    let x = Tensor::new(&[0.3, -1., 2.], CPU)?;
    let mut bounds = vec![];
    for gradient in GRADIENTS {
        let config = ImportanceConfig {
            samples: 4,
            gradient,
        };
        let parts =
            importance_weighted(&posterior, &prior, &decoder, &x, &config, &mut Rng::new(2))?;
        let gradients = parts.loss.sum_all()?.backward()?;
        for (name, var) in init::named_vars(&vars)? {
            let size = floats(gradients.get(&var).expect("a gradient"))?;
            assert!(size.iter().all(|g| g.is_finite()), "{name}");
        }
        bounds.push(floats(&parts.bound)?);
    }
    for bound in &bounds[1..] {
        for (got, want) in bound.iter().zip(&bounds[0]) {
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn bad_input_is_refused() -> Result<()> {
    let model = Model::off(4)?;
    for gradient in GRADIENTS {
        let error = model.run(0, gradient, 0).unwrap_err();
        assert!(matches!(error, Error::Value { .. }), "{error}");
        // Labels for another batch, and a decoder of another one.
        let config = ImportanceConfig {
            samples: 2,
            gradient,
        };
        let (posterior, prior, rng) = (model.posterior()?, model.prior()?, &mut Rng::new(0));
        let decoder = |z: &Tensor| model.likelihood(z);
        let other = model.x.narrow(0, 0, 3)?;
        assert!(importance_weighted(&posterior, &prior, &decoder, &other, &config, rng).is_err());
        let decoder = |z: &Tensor| Normal::new(&z.sum((0, 2))?, &Tensor::new(1., CPU)?);
        let x = Tensor::zeros(4, DType::F64, CPU)?;
        let error = importance_weighted(&posterior, &prior, &decoder, &x, &config, rng);
        assert!(matches!(error, Err(Error::Shape { .. })));
        let narrow = MultivariateNormalDiag::standard(3, DType::F64, CPU)?;
        let decoder = |z: &Tensor| model.likelihood(z);
        let error = importance_weighted(&posterior, &narrow, &decoder, &model.x, &config, rng);
        assert!(matches!(error, Err(Error::Shape { .. })));
    }
    let none = Tensor::zeros((0, 3), DType::F64, CPU)?;
    let number = Tensor::zeros((), DType::F64, CPU)?;
    for wrong in [&none, &number] {
        assert!(matches!(iwae_bound(wrong), Err(Error::Shape { .. })));
        assert!(matches!(renyi_bound(wrong, 0.5), Err(Error::Shape { .. })));
        assert!(matches!(
            effective_sample_size(wrong),
            Err(Error::Shape { .. })
        ));
    }
    assert!(matches!(
        special::logmeanexp(&none, 0),
        Err(Error::Shape { .. })
    ));
    let whole = Tensor::zeros((2, 3), DType::U32, CPU)?;
    assert!(iwae_bound(&whole).is_err() && effective_sample_size(&whole).is_err());
    for alpha in [f64::NAN, f64::INFINITY] {
        let error = renyi_bound(&Tensor::zeros((2, 3), DType::F64, CPU)?, alpha);
        assert!(matches!(error, Err(Error::Value { .. })));
    }
    Ok(())
}

#[test]
fn an_empty_batch_has_empty_parts() -> Result<()> {
    let empty = Tensor::zeros((4, 0), DType::F64, CPU)?;
    for alpha in [-1., 0., 0.5, 1.] {
        assert_eq!(renyi_bound(&empty, alpha)?.dims(), &[0]);
    }
    assert_eq!(effective_sample_size(&empty)?.dims(), &[0]);
    let model = Model::off(1)?;
    let none = |x: &Tensor| x.narrow(0, 0, 0);
    let posterior =
        Normal::new(&none(&model.loc)?, &none(&model.loc)?.ones_like()?)?.to_event(1)?;
    let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
    for gradient in GRADIENTS {
        let config = ImportanceConfig {
            samples: 3,
            gradient,
        };
        let x = none(&model.loc)?.detach();
        let prior = model.prior()?;
        let parts =
            importance_weighted(&posterior, &prior, &decoder, &x, &config, &mut Rng::new(0))?;
        assert_eq!(
            (parts.bound.dims(), parts.log_weights.dims()),
            (&[0][..], &[3, 0][..])
        );
        parts.loss.sum_all()?.backward()?;
    }
    Ok(())
}

/// The weights of the gradient are those of the one evaluation of the model.
#[test]
fn the_model_is_evaluated_once() -> Result<()> {
    let model = Model::off(3)?;
    for gradient in GRADIENTS {
        let calls = std::cell::Cell::new(0);
        let decoder = |z: &Tensor| {
            calls.set(calls.get() + 1);
            model.likelihood(z)
        };
        let config = ImportanceConfig {
            samples: 4,
            gradient,
        };
        let (posterior, prior) = (model.posterior()?, model.prior()?);
        let rng = &mut Rng::new(1);
        importance_weighted(&posterior, &prior, &decoder, &model.x, &config, rng)?;
        assert_eq!(calls.get(), 1, "{gradient:?}");
    }
    Ok(())
}
