//! Gradients by the log-derivative trick: reference values, and the exact gradients of small discrete models by enumeration.

use crate::elbo::{check, golden, tensor};
use crate::support::{floats, golden::list};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::{Error, Result, Rng, special};

const CPU: &Device = &Device::Cpu;

#[test]
fn reference_values() -> Result<()> {
    let case = &golden()["score_function"];
    let samples: Vec<u32> = list(&case["samples"])
        .iter()
        .map(|k| k.unwrap() as u32)
        .collect();
    let count = samples.len();
    let samples = Tensor::from_vec(samples, count, CPU)?;
    for dtype in [DType::F64, DType::F32] {
        let rewards = tensor(case, "f", dtype)?.index_select(&samples, 0)?;
        let logits = tensor(case, "logits", dtype)?.broadcast_as((count, 4))?;
        let given = Tensor::new(case["baseline"].as_f64().unwrap(), CPU)?.to_dtype(dtype)?;
        for (baseline, terms, sum) in [
            (Baseline::Given(&given), "terms", "estimate"),
            (
                Baseline::LeaveOneOut,
                "leave_one_out_terms",
                "leave_one_out_estimate",
            ),
        ] {
            // A row of logits for each sample keeps their terms apart.
            let logits = Var::from_tensor(&logits.contiguous()?)?;
            let log_prob = Categorical::new(&logits)?.log_prob(&samples)?;
            let parts = score_function(&rewards, &log_prob, baseline)?;
            let gradients = parts.loss.backward()?;
            let found = (gradients.get(&logits).unwrap() * -(count as f64))?;
            check(terms, &found, case, terms)?;
            check(sum, &found.mean(0)?, case, sum)?;
            assert_eq!(floats(&parts.loss.neg()?)?, floats(&rewards.mean(0)?)?);
        }
    }
    Ok(())
}

/// Three classes z and two symbols x: everything can be summed over z. All parameters are in as many copies as there are rows,
/// so that the rows of a gradient are independent draws of its estimate.
struct Model {
    /// Of the posterior, rows x 3.
    logits: Var,
    /// Of x given z, rows x 3 x 2.
    decoder: Var,
    x: usize,
}

const ROWS: usize = 20_000;

impl Model {
    fn new(rows: usize) -> Result<Self> {
        let copies = |x: Tensor| -> Result<Var> {
            let full = [&[rows], x.dims()].concat();
            Ok(Var::from_tensor(&x.broadcast_as(full)?.contiguous()?)?)
        };
        Ok(Model {
            logits: copies(Tensor::new(&[0.4, -0.8, 0.1], CPU)?)?,
            decoder: copies(Tensor::new(&[[1., -0.5], [-2., 0.5], [0.3, 0.2]], CPU)?)?,
            x: 1,
        })
    }

    fn posterior(&self) -> Result<OneHotCategorical> {
        OneHotCategorical::new(&self.logits)
    }

    fn prior(&self) -> Result<OneHotCategorical> {
        OneHotCategorical::new(&Tensor::new(&[0., 0.3, -0.5], CPU)?)
    }

    /// `ln p(x | z)` of all classes, rows x 3.
    fn table(&self) -> Result<Tensor> {
        Ok(special::log_softmax(&self.decoder, D::Minus1)?
            .narrow(2, self.x, 1)?
            .squeeze(2)?)
    }

    fn log_likelihood(&self, z: &Tensor) -> Result<Tensor> {
        Ok(z.broadcast_mul(&self.table()?)?.sum(D::Minus1)?)
    }

    /// `ln w` of all classes, rows x 3, and the logarithms of their probabilities.
    fn all(&self) -> Result<(Tensor, Tensor)> {
        let log_q = special::log_softmax(&self.logits, D::Minus1)?;
        let log_prior = special::log_softmax(self.prior()?.classes().logits(), D::Minus1)?;
        let log_weights = (self.table()?.broadcast_add(&log_prior)? - &log_q)?;
        Ok((log_weights, log_q))
    }

    /// The exact expectation of the bound from K draws, of each row.
    fn expected_bound(&self, samples: usize) -> Result<Tensor> {
        let (log_weights, log_q) = self.all()?;
        let mut total = self.logits.narrow(1, 0, 1)?.squeeze(1)?.zeros_like()?;
        for code in 0..3usize.pow(samples as u32) {
            let classes = (0..samples).map(|k| (code / 3usize.pow(k as u32) % 3) as u32);
            let classes = Tensor::from_vec(classes.collect::<Vec<_>>(), samples, CPU)?;
            let pick = |x: &Tensor| x.index_select(&classes, 1)?.t();
            let probability = pick(&log_q)?.sum(0)?.exp()?;
            let bound = iwae_bound(&pick(&log_weights)?)?;
            total = (total + (probability * bound)?)?;
        }
        Ok(total)
    }

    fn latents(&self, samples: usize, seed: u64) -> Result<(Latents, Tensor)> {
        let rng = &mut Rng::new(seed);
        let latents = sample_detached_latents(&self.posterior()?, &self.prior()?, &[samples], rng)?;
        let log_likelihood = self.log_likelihood(&latents.value)?;
        Ok((latents, log_likelihood))
    }

    /// Gradients of the bound for each row: by the posterior's logits, by the decoder's.
    fn gradients(&self, loss: &Tensor) -> Result<[Tensor; 2]> {
        let gradients = loss.neg()?.sum_all()?.backward()?;
        let flat = |var: &Var| -> Result<Tensor> {
            Ok(gradients.get(var).expect("a gradient").flatten_from(1)?)
        };
        Ok([flat(&self.logits)?, flat(&self.decoder)?])
    }
}

/// The mean over the rows is within four standard errors of what is exact: 1 of 16,000 numbers fails by chance.
fn meets(what: &str, rows: &Tensor, exact: &Tensor) -> Result<()> {
    let mean = rows.mean(0)?;
    let variance = rows.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    let error = floats(&(variance / rows.dim(0)? as f64)?.sqrt()?)?;
    let (mean, exact) = (floats(&mean)?, floats(&exact.get(0)?)?);
    for i in 0..mean.len() {
        let off = (mean[i] - exact[i]).abs();
        assert!(
            off <= 4. * error[i] + 1e-12,
            "{what} {i}: {} is not {} within {}",
            mean[i],
            exact[i],
            error[i]
        );
    }
    Ok(())
}

fn variance(rows: &Tensor) -> Result<f64> {
    let off = rows.broadcast_sub(&rows.mean(0)?)?;
    Ok(off.sqr()?.mean(0)?.sum_all()?.to_scalar()?)
}

#[test]
fn score_functions_are_unbiased() -> Result<()> {
    let model = Model::new(ROWS)?;
    let exact = model.gradients(&model.expected_bound(1)?.neg()?)?;
    let (average, learned) = (Tensor::new(-1.2, CPU)?, Tensor::full(-0.7, ROWS, CPU)?);
    for (seed, (name, samples, baseline)) in [
        ("none", 1, Baseline::None),
        ("none", 3, Baseline::None),
        ("average", 1, Baseline::Given(&average)),
        ("learned", 3, Baseline::Given(&learned)),
        ("the others", 2, Baseline::LeaveOneOut),
        ("the others", 3, Baseline::LeaveOneOut),
    ]
    .into_iter()
    .enumerate()
    {
        let (latents, log_likelihood) = model.latents(samples, seed as u64)?;
        let rewards = latents.rewards(&log_likelihood)?;
        let parts = score_function(&rewards, &latents.log_posterior, baseline)?;
        assert_eq!(floats(&parts.loss.neg()?)?, floats(&parts.mean)?);
        assert_eq!(parts.baseline_loss.dims(), &[ROWS]);
        let found = model.gradients(&parts.loss)?;
        for (got, want) in found.iter().zip(&exact) {
            meets(&format!("{name}, {samples}"), got, want)?;
        }
    }
    // Baselines are there for this: rewards that are far from 0, as those of images are.
    let (latents, log_likelihood) = model.latents(3, 9)?;
    let rewards = (latents.rewards(&log_likelihood)? - 20.)?;
    let noise = |baseline| {
        let parts = score_function(&rewards, &latents.log_posterior, baseline)?;
        variance(&model.gradients(&parts.loss)?[0])
    };
    let (none, others) = (noise(Baseline::None)?, noise(Baseline::LeaveOneOut)?);
    assert!(others < 0.01 * none, "{others}, {none}");
    Ok(())
}

#[test]
fn vimco_is_unbiased() -> Result<()> {
    let model = Model::new(ROWS)?;
    for samples in [2, 3] {
        let exact = model.expected_bound(samples)?;
        let wants = model.gradients(&exact.neg()?)?;
        let (latents, log_likelihood) = model.latents(samples, 10 + samples as u64)?;
        let log_weights = latents.log_weights(&log_likelihood)?;
        let parts = vimco(&log_weights, &latents.log_posterior)?;
        meets("bound", &parts.bound.unsqueeze(1)?, &exact.unsqueeze(1)?)?;
        assert_eq!(floats(&parts.loss.neg()?)?, floats(&parts.bound)?);
        let found = model.gradients(&parts.loss)?;
        for (got, want) in found.iter().zip(&wants) {
            meets(&format!("{samples}"), got, want)?;
        }
    }
    Ok(())
}

/// Each signal against its formula, with weights that are written down.
#[test]
fn vimco_has_the_baselines_of_the_paper() -> Result<()> {
    let log_weights = [0.3, -1.2, 2., 0.1];
    let k = log_weights.len();
    let leaf = Var::from_tensor(&Tensor::zeros(k, DType::F64, CPU)?)?;
    let parts = vimco(&Tensor::new(&log_weights, CPU)?, &leaf)?;
    let gradients = parts.loss.neg()?.backward()?;
    let mean = |w: &[f64]| (w.iter().map(|l| l.exp()).sum::<f64>() / w.len() as f64).ln();
    for (i, got) in floats(gradients.get(&leaf).unwrap())?
        .into_iter()
        .enumerate()
    {
        let mut without = log_weights;
        without[i] = (log_weights.iter().sum::<f64>() - log_weights[i]) / (k as f64 - 1.);
        let want = mean(&log_weights) - mean(&without);
        assert!((got - want).abs() < 1e-14, "{i}: {got}, {want}");
    }
    Ok(())
}

/// With a reward that is the same for all draws nothing is left of the signal.
#[test]
fn at_the_exact_posterior_the_others_are_the_best_baseline() -> Result<()> {
    let model = Model::new(50)?;
    let prior = special::log_softmax(model.prior()?.classes().logits(), D::Minus1)?;
    let joint = model.table()?.broadcast_add(&prior)?.detach();
    model.logits.set(&joint)?;
    let (latents, log_likelihood) = model.latents(4, 0)?;
    let rewards = latents.rewards(&log_likelihood)?;
    let parts = score_function(&rewards, &latents.log_posterior, Baseline::LeaveOneOut)?;
    let [found, _] = model.gradients(&parts.loss)?;
    assert!(floats(&found)?.iter().all(|g| g.abs() < 1e-14));
    Ok(())
}

#[test]
fn baselines_learn() -> Result<()> {
    let rewards = Tensor::new(&[[1., 2.], [3., 6.]], CPU)?;
    let baseline = Var::from_tensor(&Tensor::new(&[0.5, 1.], CPU)?)?;
    let log_prob = Var::from_tensor(&rewards.zeros_like()?)?;
    let parts = score_function(&rewards, &log_prob, Baseline::Given(&baseline))?;
    assert_eq!(floats(&parts.mean)?, [2., 4.]);
    assert_eq!(
        floats(&parts.baseline_loss)?,
        [(0.25 + 6.25) / 2., (1. + 25.) / 2.]
    );
    let gradients = parts.baseline_loss.sum_all()?.backward()?;
    assert_eq!(floats(gradients.get(&baseline).unwrap())?, [-3., -6.]);
    assert!(gradients.get(&log_prob).is_none());
    // And the estimate does not move it.
    let gradients = parts.loss.sum_all()?.backward()?;
    assert!(gradients.get(&baseline).is_none());
    assert_eq!(
        floats(gradients.get(&log_prob).unwrap())?,
        [-0.25, -0.5, -1.25, -2.5]
    );
    let mut average = MovingAverage::new(0.9)?;
    average.update(&(&rewards / 0.)?)?;
    assert_eq!((average.value, average.updates), (0., 0));
    average.update(&rewards)?;
    average.update(&(&rewards * 2.)?)?;
    assert!((average.value - (0.9 * 3. + 0.1 * 6.)).abs() < 1e-15);
    let parts = score_function(
        &rewards,
        &log_prob,
        Baseline::Given(&average.like(&rewards)?),
    )?;
    assert!(!parts.baseline_loss.track_op());
    Ok(())
}

/// The same gradient with and without reparameterization, on a Gaussian posterior: how much noisier is the first?
#[test]
fn reparameterized_gradients_are_less_noisy() -> Result<()> {
    let (rows, samples) = (20_000, 4);
    let loc = Var::from_tensor(&Tensor::full(0.5, (rows, 2), CPU)?)?;
    let posterior = Normal::new(&loc, &Tensor::new(0.7, CPU)?)?.to_event(1)?;
    let prior = MultivariateNormalDiag::standard(2, DType::F64, CPU)?;
    let x = Tensor::new(&[1., -0.7, 0.9], CPU)?;
    let w = Tensor::new(&[[0.8, 0.3], [-0.4, 0.6], [0.6, 0.]], CPU)?;
    let likelihood = |z: &Tensor| -> Result<Tensor> {
        let loc = z.unsqueeze(2)?.broadcast_mul(&w)?.sum(D::Minus1)?;
        Normal::new(&loc, &Tensor::new(0.6, CPU)?)?
            .to_event(1)?
            .log_prob(&x)
    };
    let rows_of = |loss: &Tensor| -> Result<Tensor> {
        Ok(loss
            .sum_all()?
            .backward()?
            .get(&loc)
            .expect("a gradient")
            .clone())
    };
    let rng = &mut Rng::new(1);
    let drawn = sample_latents(&posterior, &prior, &[samples], rng)?;
    let bound = drawn.log_weights(&likelihood(&drawn.value)?)?.mean(0)?;
    let pathwise = rows_of(&bound.neg()?)?;
    let latents = sample_detached_latents(&posterior, &prior, &[samples], rng)?;
    let rewards = latents.rewards(&likelihood(&latents.value)?)?;
    let mut noise = vec![variance(&pathwise)?];
    for baseline in [Baseline::None, Baseline::LeaveOneOut] {
        let parts = score_function(&rewards, &latents.log_posterior, baseline)?;
        let score = rows_of(&parts.loss)?;
        let zero = Tensor::zeros((1, 2), DType::F64, CPU)?;
        meets("score", &(&score - &pathwise)?, &zero)?;
        noise.push(variance(&score)?);
    }
    println!("pathwise, score function, with the others as baseline: {noise:?}");
    assert!(
        noise[1] > 10. * noise[0] && noise[2] > 2. * noise[0],
        "{noise:?}"
    );
    assert!(noise[2] < 0.5 * noise[1], "{noise:?}");
    Ok(())
}

#[test]
fn extreme_rewards_have_finite_gradients() -> Result<()> {
    let none = f64::NEG_INFINITY;
    let rewards = [
        [1e4, -1e4, 0.],
        [none, 0., 1.],
        [none, none, 2.],
        [none, none, none],
        [-1e4, -1e4, -1e4],
    ];
    let rewards = Tensor::new(&rewards, CPU)?.t()?.contiguous()?;
    for dtype in [DType::F64, DType::F32] {
        let rewards = Var::from_tensor(&rewards.to_dtype(dtype)?)?;
        let log_prob = Var::from_tensor(&rewards.as_tensor().zeros_like()?)?;
        let zero = Var::zeros((), dtype, CPU)?;
        let finite = |what: &str, loss: &Tensor| -> Result<()> {
            let gradients = loss.sum_all()?.backward()?;
            for leaf in [&rewards, &log_prob] {
                let slopes = floats(gradients.get(leaf).unwrap())?;
                assert!(slopes.iter().all(|g| g.is_finite()), "{what}: {slopes:?}");
            }
            Ok(())
        };
        for baseline in [
            Baseline::None,
            Baseline::LeaveOneOut,
            Baseline::Given(&zero),
        ] {
            let parts = score_function(&rewards, &log_prob, baseline)?;
            assert_eq!(floats(&parts.loss.neg()?)?, floats(&parts.mean)?);
            finite(&format!("{baseline:?}"), &parts.loss)?;
        }
        // What examples share learns from the others.
        let parts = score_function(&rewards, &log_prob, Baseline::Given(&zero))?;
        let gradients = parts.baseline_loss.sum_all()?.backward()?;
        let slope = floats(gradients.get(&zero).expect("of the baseline"))?;
        assert!(slope[0].is_finite() && slope[0] != 0., "{slope:?}");
        let parts = vimco(&rewards, &log_prob)?;
        assert_eq!(floats(&parts.loss.neg()?)?, floats(&parts.bound)?);
        assert!(
            parts
                .bound
                .get(1)?
                .to_dtype(DType::F64)?
                .to_scalar::<f64>()?
                .is_finite()
        );
        finite("vimco", &parts.loss)?;
    }
    Ok(())
}

#[test]
fn bad_input_is_refused() -> Result<()> {
    let of = |k: usize| Tensor::zeros((k, 3), DType::F64, CPU);
    let shape = |e: Result<()>| assert!(matches!(e, Err(Error::Shape { .. })), "{e:?}");
    shape(score_function(&of(0)?, &of(0)?, Baseline::None).map(drop));
    shape(score_function(&of(1)?, &of(1)?, Baseline::LeaveOneOut).map(drop));
    shape(score_function(&of(2)?, &of(3)?, Baseline::None).map(drop));
    let wide = Tensor::zeros(4, DType::F64, CPU)?;
    shape(score_function(&of(2)?, &of(2)?, Baseline::Given(&wide)).map(drop));
    let long = Tensor::zeros((2, 3), DType::F64, CPU)?;
    shape(score_function(&of(2)?, &of(2)?, Baseline::Given(&long)).map(drop));
    shape(vimco(&of(1)?, &of(1)?).map(drop));
    shape(vimco(&of(0)?, &of(0)?).map(drop));
    shape(vimco(&of(2)?, &of(3)?).map(drop));
    let single = of(2)?.to_dtype(DType::F32)?;
    assert!(matches!(vimco(&of(2)?, &single), Err(Error::DType { .. })));
    for decay in [-0.1, 1., f64::NAN] {
        assert!(matches!(
            MovingAverage::new(decay),
            Err(Error::Value { .. })
        ));
    }
    let model = Model::new(2)?;
    let (latents, _) = model.latents(3, 0)?;
    shape(latents.log_weights(&of(3)?).map(drop));
    shape(latents.rewards(&of(3)?).map(drop));
    let empty = Tensor::zeros((3, 0), DType::F64, CPU)?;
    let parts = score_function(&empty, &empty, Baseline::LeaveOneOut)?;
    assert_eq!(
        (parts.loss.dims(), parts.baseline_loss.dims()),
        (&[0][..], &[0][..])
    );
    assert_eq!(vimco(&empty, &empty)?.loss.dims(), &[0]);
    Ok(())
}

/// Draws that are one-hot, with the gradients of the relaxed ones (straight-through Gumbel-softmax).
#[test]
fn gumbel_softmax() -> Result<()> {
    let case = &golden()["gumbel_softmax_sample"];
    let temperature = Tensor::new(case["temperature"].as_f64().unwrap(), CPU)?;
    let logits = Var::from_tensor(&tensor(case, "logits", DType::F64)?)?;
    // The formula, at the uniforms of the reference.
    let draws = |u: &Tensor| -> Result<Tensor> {
        let gumbel = u.log()?.neg()?.log()?.neg()?;
        let scores = gumbel.broadcast_add(&logits)?.broadcast_div(&temperature)?;
        special::softmax(&scores, D::Minus1)
    };
    let got = draws(&tensor(case, "u", DType::F64)?)?;
    check("sample", &got, case, "sample")?;
    // And at those of the crate.
    let codes = RelaxedOneHotCategorical::new(&temperature, &logits)?;
    let u = Rng::new(1).uniform((6, 4), DType::F64, CPU)?;
    let (soft, hard) = (
        codes.sample(&[6], &mut Rng::new(1))?,
        codes.sample_hard(&[6], &mut Rng::new(1))?,
    );
    for (got, want) in floats(&soft)?.into_iter().zip(floats(&draws(&u)?)?) {
        assert!((got - want).abs() < 1e-14);
    }
    for (hard, soft) in hard.to_vec2::<f64>()?.iter().zip(soft.to_vec2::<f64>()?) {
        let most = soft.iter().copied().fold(0., f64::max);
        for (h, s) in hard.iter().zip(soft) {
            assert_eq!(*h, f64::from(u8::from(s == most)));
        }
    }
    let weights = Tensor::new(&[0.5, -1., 2., 0.1], CPU)?;
    let slopes = |x: &Tensor| -> Result<Vec<f64>> {
        let gradients = x.broadcast_mul(&weights)?.sum_all()?.backward()?;
        floats(gradients.get(&logits).unwrap())
    };
    assert_eq!(slopes(&soft)?, slopes(&hard)?);
    assert_eq!(codes.sample_hard(&[0], &mut Rng::new(1))?.dims(), &[0, 4]);
    // Of two classes by their logits.
    let bits = RelaxedBernoulli::new(&temperature, &logits)?;
    let (soft, hard) = (
        bits.sample(&[6], &mut Rng::new(2))?,
        bits.sample_hard(&[6], &mut Rng::new(2))?,
    );
    for (hard, soft) in floats(&hard)?.into_iter().zip(floats(&soft)?) {
        assert_eq!(hard, f64::from(u8::from(soft > 0.5)));
    }
    assert_eq!(slopes(&soft)?, slopes(&hard)?);
    Ok(())
}

/// The rate of relaxed codes: densities of the draws against those of a relaxed prior, as elsewhere.
#[test]
fn relaxed_codes_have_a_rate() -> Result<()> {
    let temperature = Tensor::new(0.6, CPU)?;
    let logits = Var::from_tensor(&Tensor::new(&[[0.4, -0.8, 0.1], [1., 0., -1.]], CPU)?)?;
    let posterior = RelaxedOneHotCategorical::new(&temperature, &logits)?;
    let prior = RelaxedOneHotCategorical::new(&temperature, &Tensor::zeros(3, DType::F64, CPU)?)?;
    let decoder =
        |z: &Tensor| Normal::new(&z.narrow(2, 0, 1)?.squeeze(2)?, &Tensor::new(0.5, CPU)?);
    let x = Tensor::new(&[1., 0.], CPU)?;
    let config = ElboConfig {
        beta: 1.,
        samples: 2000,
    };
    let parts = elbo(
        &posterior,
        &MonteCarlo(&prior),
        &decoder,
        &x,
        &config,
        &mut Rng::new(0),
    )?;
    // The divergence of relaxed codes is at least that of the classes that they round to.
    let classes =
        Categorical::new(&logits)?.kl(&Categorical::new(&Tensor::zeros(3, DType::F64, CPU)?)?)?;
    for (rate, least) in floats(&parts.rate)?.into_iter().zip(floats(&classes)?) {
        assert!(rate > least && rate < least + 0.5, "{rate} {least}");
    }
    let gradients = parts.total.sum_all()?.backward()?;
    assert!(
        floats(gradients.get(&logits).unwrap())?
            .iter()
            .all(|g| g.is_finite())
    );
    Ok(())
}

/// Sums of rewards that half precision has no number for.
#[test]
fn half_precision_has_its_baselines() -> Result<()> {
    let rewards: Vec<f32> = (0..32).map(|k| -6000. + 8. * k as f32).collect();
    let exact = Tensor::from_vec(rewards, (32, 1), CPU)?;
    let slopes = |dtype| -> Result<Vec<f64>> {
        let rewards = exact.to_dtype(dtype)?;
        let log_prob = Var::from_tensor(&rewards.zeros_like()?)?;
        let parts = score_function(&rewards, &log_prob, Baseline::LeaveOneOut)?;
        let gradients = parts.loss.sum_all()?.backward()?;
        floats(gradients.get(&log_prob).expect("a gradient"))
    };
    for (half, whole) in slopes(DType::F16)?.iter().zip(slopes(DType::F32)?) {
        // A spacing of the rewards is 4, and there are 32 of them.
        assert!(
            (half - whole).abs() <= 4. / 32. + 1e-2 * whole.abs(),
            "{half} {whole}"
        );
    }
    let log_weights = Tensor::zeros((10_000, 1), DType::F16, CPU)?;
    let size = floats(&effective_sample_size(&log_weights)?)?;
    assert!((size[0] - 10_000.).abs() < 100., "{size:?}");
    Ok(())
}
