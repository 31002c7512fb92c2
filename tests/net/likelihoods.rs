//! Likelihoods: what they say is what their families say, raw numbers lie where the docs put them, and data that are not theirs
//! are refused.

use crate::support::{flat, floats, golden};
use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::distribution::{
    Categorical, ContinuousBernoulli, DiscretizedLogistic, Distribution, Laplace,
    MixtureSameFamily, Mode, Normal,
};
use candle_prob::init::{named_vars, seeded};
use candle_prob::net::{
    BernoulliLikelihood, CategoricalLikelihood, ContinuousBernoulliLikelihood, LaplaceLikelihood,
    Likelihood, LogisticMixtureConfig, LogisticMixtureLikelihood, NormalLikelihood, OptimalNormal,
    OptimalNormalLikelihood, ScaleForm, SharedBy,
};
use candle_prob::testing::check_gradient;
use candle_prob::{Conditional, Error, Result, Rng};
use std::f64::consts::PI;

const CPU: Device = Device::Cpu;

fn normal(shape: &[usize], seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, &CPU)
}

fn builder(vars: &VarMap) -> VarBuilder<'static> {
    seeded(vars, 5, DType::F64, &CPU)
}

fn mixture(event: &[usize], components: usize, levels: usize) -> Result<LogisticMixtureLikelihood> {
    LogisticMixtureLikelihood::new(event, &LogisticMixtureConfig { components, levels })
}

fn slope(gradients: &GradStore, of: &Var) -> Vec<f64> {
    flat(gradients.get(of).unwrap())
}

fn close(got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in flat(got).into_iter().zip(flat(want)) {
        assert!(
            (got - want).abs() <= tolerance * want.abs().max(1.),
            "{got} is not {want}"
        );
    }
    Ok(())
}

/// A check of every likelihood of vectors and images, with data of two rows.
trait Check {
    fn of<L: Likelihood>(&mut self, likelihood: &L, data: &Tensor) -> Result<()>;
}

fn every(check: &mut impl Check, event: &[usize], dtype: DType) -> Result<()> {
    let shape = [&[2], event].concat();
    let rows = |seed| Rng::new(seed).uniform(shape.as_slice(), dtype, &CPU);
    let binary = rows(1)?.lt(0.5)?.to_dtype(dtype)?;
    let (unit, real) = (rows(2)?, Rng::new(3).normal(shape.as_slice(), dtype, &CPU)?);
    let vars = VarMap::new();
    let vb = seeded(&vars, 5, dtype, &CPU);
    check.of(&BernoulliLikelihood::new(event)?, &binary)?;
    check.of(&BernoulliLikelihood::soft(event)?, &unit)?;
    check.of(&ContinuousBernoulliLikelihood::new(event)?, &unit)?;
    check.of(&NormalLikelihood::fixed(event, 0.5)?, &real)?;
    check.of(&NormalLikelihood::shared(event, vb.pp("normal"))?, &real)?;
    check.of(&LaplaceLikelihood::fixed(event, 0.5)?, &real)?;
    check.of(&LaplaceLikelihood::shared(event, vb.pp("laplace"))?, &real)?;
    for form in [
        ScaleForm::LogVar,
        ScaleForm::LogScale,
        ScaleForm::bottleneck(),
    ] {
        check.of(&NormalLikelihood::per_element(event, form)?, &real)?;
        check.of(&LaplaceLikelihood::per_element(event, form)?, &real)?;
    }
    for shared in [SharedBy::Batch, SharedBy::Observation] {
        check.of(&OptimalNormalLikelihood::new(event, 1e-3, shared)?, &real)?;
    }
    let levels = (&unit * 5.)?.floor()?;
    check.of(
        &CategoricalLikelihood::new(event, 5)?,
        &levels.to_dtype(DType::U32)?,
    )?;
    check.of(&mixture(event, 3, 5)?, &((levels / 2.)? - 1.)?)
}

fn name<L>() -> &'static str {
    std::any::type_name::<L>()
}

fn raw<L: Likelihood>(likelihood: &L, batch: &[usize], dtype: DType) -> Result<Tensor> {
    let shape = [batch, &likelihood.raw_shape()].concat();
    Rng::new(7).normal(shape, dtype, &CPU)
}

#[test]
fn shapes_are_those_of_the_event() -> Result<()> {
    struct Shapes(Vec<usize>, DType);
    impl Check for Shapes {
        fn of<L: Likelihood>(&mut self, likelihood: &L, data: &Tensor) -> Result<()> {
            let event = &self.0;
            assert_eq!(likelihood.event_shape(), event);
            likelihood.check_data(data)?;
            let raw = raw(likelihood, &[3, 2], self.1)?;
            let p = likelihood.given(&raw)?;
            assert_eq!(
                (p.batch_shape(), p.event_shape()),
                (&[3, 2][..], &event[..])
            );
            assert_eq!(p.log_prob(data)?.dims(), [3, 2], "{}", name::<L>());
            assert!(floats(&p.log_prob(data)?)?.iter().all(|x| x.is_finite()));
            let draws = p.sample(&[4], &mut Rng::new(0))?;
            assert_eq!(draws.dims(), [&[4, 3, 2], &event[..]].concat());
            likelihood.check_data(&draws)?;
            assert_eq!(draws.dtype(), data.dtype());
            let mean = likelihood.mean(&raw)?;
            assert_eq!(mean.dims(), [&[3, 2], &event[..]].concat());
            assert_eq!(mean.dtype(), self.1);
            // One observation, without a batch.
            let one = likelihood.given(&raw.get(0)?.get(0)?)?;
            assert_eq!(one.batch_shape(), [0; 0]);
            assert_eq!(one.log_prob(&data.get(0)?)?.dims(), [0; 0]);
            Ok(())
        }
    }
    for dtype in [DType::F32, DType::F64] {
        for event in [&[6][..], &[3, 2, 4]] {
            every(&mut Shapes(event.to_vec(), dtype), event, dtype)?;
        }
    }
    Ok(())
}

#[test]
fn no_rows_have_no_density() -> Result<()> {
    struct Empty;
    impl Check for Empty {
        fn of<L: Likelihood>(&mut self, likelihood: &L, data: &Tensor) -> Result<()> {
            let none = data.narrow(0, 0, 0)?;
            likelihood.check_data(&none)?;
            let raw = raw(likelihood, &[0], DType::F64)?;
            let p = likelihood.given(&raw)?;
            assert_eq!(p.log_prob(&none)?.dims(), [0], "{}", name::<L>());
            assert_eq!(p.sample(&[], &mut Rng::new(0))?.dims(), none.dims());
            assert_eq!(likelihood.mean(&raw)?.dims(), none.dims());
            Ok(())
        }
    }
    every(&mut Empty, &[2, 3], DType::F64)
}

#[test]
fn gradients_are_those_of_differences() -> Result<()> {
    struct Slopes;
    impl Check for Slopes {
        fn of<L: Likelihood>(&mut self, likelihood: &L, data: &Tensor) -> Result<()> {
            let raw = raw(likelihood, &[2], DType::F64)?;
            let f = |x: &[Tensor]| {
                let log_prob = likelihood.given(&x[0])?.log_prob(data)?;
                // A batch that shares its scale has the slopes of the sum.
                Ok(log_prob.sum_all()?)
            };
            check_gradient(&f, std::slice::from_ref(&raw), 1e-7)
                .inspect_err(|_| println!("{}", name::<L>()))?;
            let mean = |x: &[Tensor]| likelihood.mean(&x[0]);
            check_gradient(&mean, &[raw], 1e-7)
        }
    }
    every(&mut Slopes, &[2, 2], DType::F64)
}

#[test]
fn raw_output_far_out_stays_finite() -> Result<()> {
    struct Extremes(DType);
    impl Check for Extremes {
        fn of<L: Likelihood>(&mut self, likelihood: &L, data: &Tensor) -> Result<()> {
            for sign in [1e4, -1e4] {
                let raw = raw(likelihood, &[2], self.0)?;
                let raw = (raw.ge(0.)?.to_dtype(self.0)? * (2. * sign))? - sign;
                let raw = Var::from_tensor(&raw?)?;
                let loss = likelihood.given(&raw)?.log_prob(data)?.sum_all()?;
                assert!(floats(&loss)?[0].is_finite(), "{}: {loss}", name::<L>());
                let gradients = loss.backward()?;
                let slopes = slope(&gradients, &raw);
                assert!(
                    slopes.iter().all(|g| g.is_finite()),
                    "{}: {slopes:?}",
                    name::<L>()
                );
            }
            Ok(())
        }
    }
    for dtype in [DType::F32, DType::F64] {
        every(&mut Extremes(dtype), &[2, 3], dtype)?;
    }
    Ok(())
}

#[test]
fn other_shapes_are_refused() -> Result<()> {
    struct Shapes;
    impl Check for Shapes {
        fn of<L: Likelihood>(&mut self, likelihood: &L, data: &Tensor) -> Result<()> {
            let mut wide = likelihood.raw_shape();
            wide[0] += 1;
            let last = likelihood.raw_shape()[1..].to_vec();
            for shape in [wide, last] {
                let raw = Tensor::zeros(shape, DType::F64, &CPU)?;
                assert!(matches!(likelihood.given(&raw), Err(Error::Shape { .. })));
                assert!(matches!(likelihood.mean(&raw), Err(Error::Shape { .. })));
            }
            let whole = Tensor::zeros(likelihood.raw_shape(), DType::U32, &CPU)?;
            assert!(matches!(likelihood.given(&whole), Err(Error::DType { .. })));
            let turned = data.transpose(D::Minus1, D::Minus2)?;
            let p = likelihood.given(&raw(likelihood, &[2], DType::F64)?)?;
            for wrong in [&turned, &data.get(0)?.get(0)?] {
                let refused = likelihood.check_data(wrong);
                assert!(
                    matches!(refused, Err(Error::Shape { .. })),
                    "{}",
                    name::<L>()
                );
                assert!(matches!(p.log_prob(wrong), Err(Error::Shape { .. })));
            }
            Ok(())
        }
    }
    every(&mut Shapes, &[2, 3], DType::F64)
}

#[test]
fn settings_that_make_no_likelihood_are_refused() {
    let forms = ScaleForm::Softplus {
        shift: f64::NAN,
        floor: 0.,
    };
    for event in [&[][..], &[3, 0]] {
        let refused = [
            BernoulliLikelihood::new(event).err(),
            BernoulliLikelihood::soft(event).err(),
            ContinuousBernoulliLikelihood::new(event).err(),
            NormalLikelihood::fixed(event, 1.).err(),
            LaplaceLikelihood::per_element(event, ScaleForm::LogVar).err(),
            OptimalNormalLikelihood::new(event, 1., SharedBy::Batch).err(),
            CategoricalLikelihood::new(event, 2).err(),
            mixture(event, 1, 2).err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(Error::Shape { .. })),
                "{event:?} {error:?}"
            );
        }
    }
    let mut refused = vec![
        NormalLikelihood::per_element(&[2], forms).err(),
        LaplaceLikelihood::per_element(&[2], forms).err(),
        CategoricalLikelihood::new(&[2], 1).err(),
        mixture(&[2], 0, 256).err(),
        mixture(&[2], 1, 1).err(),
        mixture(&[2], 1, 70_000).err(),
    ];
    for scale in [0., -1., f64::INFINITY, f64::NAN] {
        refused.push(NormalLikelihood::fixed(&[2], scale).err());
        refused.push(LaplaceLikelihood::fixed(&[2], scale).err());
        refused.push(OptimalNormalLikelihood::new(&[2], scale, SharedBy::Batch).err());
    }
    for (i, error) in refused.iter().enumerate() {
        assert!(matches!(error, Some(Error::Value { .. })), "{i} {error:?}");
    }
    // More than an index can count.
    for error in [
        mixture(&[2], usize::MAX, 2).err(),
        CategoricalLikelihood::new(&[3], usize::MAX).err(),
    ] {
        assert!(matches!(error, Some(Error::Shape { .. })));
    }
}

#[test]
fn data_outside_of_the_convention_are_refused() -> Result<()> {
    fn refuses<L: Likelihood>(likelihood: &L, bad: &[f64]) -> Result<()> {
        for x in bad {
            let data = Tensor::new(&[[1f64, 1.], [1., *x]], &CPU)?;
            let refused = likelihood.check_data(&data);
            let Err(Error::Value { found, .. }) = refused else {
                panic!("{} takes {x}: {refused:?}", name::<L>())
            };
            assert_eq!(found, x.to_string(), "{}", name::<L>());
        }
        Ok(())
    }
    let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let outside = [&[1.5, -0.1][..], &infinite].concat();
    refuses(
        &BernoulliLikelihood::new(&[2])?,
        &[&outside[..], &[0.5, 1e-300, 1. - 1e-16]].concat(),
    )?;
    refuses(&BernoulliLikelihood::soft(&[2])?, &outside)?;
    refuses(&ContinuousBernoulliLikelihood::new(&[2])?, &outside)?;
    refuses(&NormalLikelihood::fixed(&[2], 1.)?, &infinite)?;
    refuses(&LaplaceLikelihood::fixed(&[2], 1.)?, &infinite)?;
    refuses(
        &OptimalNormalLikelihood::new(&[2], 1., SharedBy::Batch)?,
        &infinite,
    )?;
    // Of four levels 0 is none.
    let between = [&infinite[..], &[0., 0.5, 1.1, -4. / 3.]].concat();
    refuses(&mixture(&[2], 2, 4)?, &between)?;

    let levels = CategoricalLikelihood::new(&[3], 4)?;
    for good in [
        Tensor::new(&[0u8, 1, 3], &CPU)?,
        Tensor::new(&[0i64, 1, 3], &CPU)?,
    ] {
        levels.check_data(&good)?;
    }
    for bad in [
        Tensor::new(&[0u8, 4, 3], &CPU)?,
        Tensor::new(&[0i64, 1, -1], &CPU)?,
    ] {
        assert!(matches!(levels.check_data(&bad), Err(Error::Value { .. })));
    }
    let floats = Tensor::new(&[0f32, 1., 3.], &CPU)?;
    assert!(matches!(
        levels.check_data(&floats),
        Err(Error::DType { .. })
    ));
    let bytes = Tensor::new(&[0u8, 1, 1], &CPU)?;
    let binary = BernoulliLikelihood::new(&[3])?;
    assert!(matches!(
        binary.check_data(&bytes),
        Err(Error::DType { .. })
    ));
    Ok(())
}

#[test]
fn grey_pixels_are_told_of_the_alternatives() -> Result<()> {
    let grey = Tensor::new(&[0f32, 0.5], &CPU)?;
    let strict = BernoulliLikelihood::new(&[2])?;
    let Err(Error::Value { expected, .. }) = strict.check_data(&grey) else {
        panic!("grey is taken")
    };
    for name in ["Bernoulli::soft", "ContinuousBernoulli"] {
        assert!(expected.contains(name), "{expected}");
    }
    let log_prob = strict.given(&grey)?.log_prob(&grey)?;
    assert_eq!(flat(&log_prob), [f64::NEG_INFINITY]);
    Ok(())
}

/// Of all values of an event of two elements.
fn total<L: Likelihood>(likelihood: &L, values: &Tensor) -> Result<f64> {
    let n = values.elem_count();
    let first = values.unsqueeze(1)?.broadcast_as((n, n))?;
    let pairs = Tensor::stack(&[&first, &first.t()?], 2)?.reshape((n * n, 2))?;
    let raw = (raw(likelihood, &[], DType::F64)? * 2.)?;
    Ok(likelihood
        .given(&raw)?
        .log_prob(&pairs)?
        .exp()?
        .sum_all()?
        .to_scalar()?)
}

#[test]
fn probabilities_add_up_to_one() -> Result<()> {
    let binary = Tensor::new(&[0f64, 1.], &CPU)?;
    let near = |total: f64, tolerance: f64| assert!((total - 1.).abs() < tolerance, "{total}");
    near(total(&BernoulliLikelihood::new(&[2])?, &binary)?, 1e-14);
    // What is no density does not.
    assert!(
        total(
            &BernoulliLikelihood::soft(&[2])?,
            &Tensor::new(&[0f64, 0.5, 1.], &CPU)?
        )? > 1.1
    );
    let levels = Tensor::arange(0u32, 256, &CPU)?;
    near(
        total(&CategoricalLikelihood::new(&[2], 256)?, &levels)?,
        1e-12,
    );
    let grid = ((levels.to_dtype(DType::F64)? / 127.5)? - 1.)?;
    near(total(&mixture(&[2], 4, 256)?, &grid)?, 1e-12);

    // Densities, by the midpoint rule.
    let n = 400;
    let middle = ((Tensor::arange(0u32, n, &CPU)?.to_dtype(DType::F64)? + 0.5)? / f64::from(n))?;
    let unit = total(&ContinuousBernoulliLikelihood::new(&[2])?, &middle)? / f64::from(n * n);
    near(unit, 1e-5);
    let wide = ((&middle - 0.5)? * 80.)?;
    let cell = (80. / f64::from(n)).powi(2);
    let form = ScaleForm::Softplus {
        shift: 1.,
        floor: 0.5,
    };
    near(
        total(&NormalLikelihood::per_element(&[2], form)?, &wide)? * cell,
        1e-5,
    );
    near(
        total(&LaplaceLikelihood::per_element(&[2], form)?, &wide)? * cell,
        1e-2,
    );
    Ok(())
}

#[test]
fn all_of_the_first_number_come_first() -> Result<()> {
    // Two channels of 3 x 2.
    let event = [2, 3, 2];
    let rows = |c: usize| normal(&[4, 2 * c, 3, 2], 11);
    let part = |raw: &Tensor, i: usize| raw.narrow(1, 2 * i, 2);
    let real = normal(&[4, 2, 3, 2], 12)?;

    let raw = rows(2)?;
    let scale = |i| -> Result<Tensor> { Ok(((part(&raw, i)? / 15.)?.tanh()? * 15.)?.exp()?) };
    let got = NormalLikelihood::per_element(&event, ScaleForm::LogVar)?.given(&raw)?;
    let want = Normal::new(&part(&raw, 0)?, &scale(1)?.sqrt()?)?.to_event(3)?;
    close(&got.log_prob(&real)?, &want.log_prob(&real)?, 1e-13)?;
    let got = LaplaceLikelihood::per_element(&event, ScaleForm::LogScale)?.given(&raw)?;
    let want = Laplace::new(&part(&raw, 0)?, &scale(1)?)?.to_event(3)?;
    close(&got.log_prob(&real)?, &want.log_prob(&real)?, 1e-13)?;

    let raw = rows(1)?;
    let unit = Rng::new(1).uniform((4, 2, 3, 2), DType::F64, &CPU)?;
    let got = ContinuousBernoulliLikelihood::new(&event)?.given(&raw)?;
    let want = ContinuousBernoulli::new(&raw)?.to_event(3)?;
    close(&got.log_prob(&unit)?, &want.log_prob(&unit)?, 1e-15)?;

    let raw = rows(5)?;
    let levels = (unit * 5.)?.floor()?;
    let logits: Vec<_> = (0..5)
        .map(|i| part(&raw, i))
        .collect::<candle_core::Result<_>>()?;
    let want = Categorical::new(&Tensor::stack(&logits, 4)?)?.to_event(3)?;
    let got = CategoricalLikelihood::new(&event, 5)?.given(&raw)?;
    let classes = levels.to_dtype(DType::U32)?;
    close(&got.log_prob(&classes)?, &want.log_prob(&classes)?, 1e-14)?;

    let raw = rows(6)?;
    let pair = |i: usize| -> Result<Tensor> {
        Ok(Tensor::stack(&[part(&raw, i)?, part(&raw, i + 1)?], 4)?)
    };
    let scale = ((pair(4)? / 15.)?.tanh()? * 15.)?.exp()?;
    let components = DiscretizedLogistic::new(&pair(2)?, &scale, 5)?;
    let want = MixtureSameFamily::new(Categorical::new(&pair(0)?)?, components)?.to_event(3)?;
    let got = mixture(&event, 2, 5)?.given(&raw)?;
    let grid = ((levels / 2.)? - 1.)?;
    close(&got.log_prob(&grid)?, &want.log_prob(&grid)?, 1e-13)
}

#[test]
fn means_are_those_of_draws() -> Result<()> {
    // Within five standard errors, at 2e5 draws of each of four elements: false alarms less than once in 10^5 runs.
    struct Means;
    impl Check for Means {
        fn of<L: Likelihood>(&mut self, likelihood: &L, _: &Tensor) -> Result<()> {
            let raw = raw(likelihood, &[], DType::F64)?;
            let draws = likelihood
                .given(&raw)?
                .sample(&[200_000], &mut Rng::new(2))?;
            let draws = draws.to_dtype(DType::F64)?;
            let (mean, variance) = (draws.mean(0)?, draws.var(0)?);
            let gap = (mean - likelihood.mean(&raw)?)?.abs()?;
            let allowed = ((variance / 200_000.)?.sqrt()? * 5.)?;
            for (gap, allowed) in flat(&gap).into_iter().zip(flat(&allowed)) {
                assert!(gap <= allowed + 1e-9, "{}: {gap} {allowed}", name::<L>());
            }
            Ok(())
        }
    }
    every(&mut Means, &[2, 2], DType::F64)
}

#[test]
fn log_likelihoods_of_reference() -> Result<()> {
    let file = golden::file(include_str!("../golden/vae.json"));
    for (case, raw, slopes) in [
        ("bernoulli_log_likelihood", "logits", "grad_logits"),
        ("gaussian_log_likelihood", "mean", "grad_mean"),
    ] {
        let case = &file[case];
        let numbers = |key: &str| -> Vec<f64> {
            golden::list(&case[key])
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect()
        };
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let want = numbers("per_example");
            let rows = want.len();
            let width = numbers(raw).len() / rows;
            let tensor = |key: &str| -> Result<Tensor> {
                Ok(Tensor::from_vec(numbers(key), (rows, width), &CPU)?.to_dtype(dtype)?)
            };
            let (at, x) = (Var::from_tensor(&tensor(raw)?)?, tensor("x")?);
            let got = match case["sigma"].as_f64() {
                // One of the values is grey.
                None => BernoulliLikelihood::soft(&[width])?
                    .given(&at)?
                    .log_prob(&x)?,
                Some(s) => NormalLikelihood::fixed(&[width], s)?
                    .given(&at)?
                    .log_prob(&x)?,
            };
            for (got, want) in flat(&got).into_iter().zip(want) {
                golden::check(raw, got, want, 0., dtype, tolerance);
            }
            let gradients = got.sum_all()?.backward()?;
            for (got, want) in slope(&gradients, &at).into_iter().zip(numbers(slopes)) {
                golden::check(slopes, got, want, 0., dtype, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn one_variable_is_the_scale_of_all_elements() -> Result<()> {
    let vars = VarMap::new();
    let gaussian = NormalLikelihood::shared(&[2], builder(&vars).pp("normal"))?;
    let laplace = LaplaceLikelihood::shared(&[2], builder(&vars).pp("laplace"))?;
    let named = named_vars(&vars)?;
    let names: Vec<_> = named.keys().collect();
    assert_eq!(names, ["laplace.log_var", "normal.log_var"]);
    let (raw, x) = (normal(&[3, 2], 1)?, normal(&[3, 2], 2)?);
    // A fresh one has scale 1.
    let unit = NormalLikelihood::fixed(&[2], 1.)?
        .given(&raw)?
        .log_prob(&x)?;
    close(&gaussian.given(&raw)?.log_prob(&x)?, &unit, 1e-14)?;
    for at in [-1., 3., 1e4] {
        for var in named.values() {
            var.set(&Tensor::new(at, &CPU)?)?;
        }
        let scale = (7.5 * f64::tanh(at / 15.)).exp();
        let want = NormalLikelihood::fixed(&[2], scale)?
            .given(&raw)?
            .log_prob(&x)?;
        close(&gaussian.given(&raw)?.log_prob(&x)?, &want, 1e-12)?;
        let want = LaplaceLikelihood::fixed(&[2], scale)?
            .given(&raw)?
            .log_prob(&x)?;
        close(&laplace.given(&raw)?.log_prob(&x)?, &want, 1e-12)?;
    }
    named["normal.log_var"].set(&Tensor::new(-1f64, &CPU)?)?;
    let f = |x: &[Tensor]| -> Result<Tensor> {
        let vb =
            VarBuilder::from_tensors([("log_var".into(), x[0].clone())].into(), DType::F64, &CPU);
        NormalLikelihood::shared(&[2], vb)?
            .given(&raw)?
            .log_prob(&x[1])
    };
    check_gradient(&f, &[Tensor::new(-1f64, &CPU)?, x], 1e-8)
}

#[test]
fn no_other_scale_is_better_than_the_optimal() -> Result<()> {
    let (loc, x) = (normal(&[5, 4], 1)?, normal(&[3, 5, 4], 2)?);
    let nll = |shared| -> Result<Tensor> {
        Ok(OptimalNormal::new(&loc, 1, 1e-3, shared)?
            .log_prob(&x)?
            .neg()?)
    };
    let half = |mse: &Tensor| -> Result<Tensor> { Ok((((mse * (2. * PI))?.log()? + 1.)? * 2.)?) };
    let square = x.broadcast_sub(&loc)?.sqr()?;
    close(
        &nll(SharedBy::Observation)?,
        &half(&square.mean(D::Minus1)?)?,
        1e-13,
    )?;
    let together = nll(SharedBy::Batch)?;
    close(&together.mean_all()?, &half(&square.mean_all()?)?, 1e-13)?;
    let own = nll(SharedBy::Observation)?;
    let behind = (&together - &own)?.min_all()?.to_scalar::<f64>()?;
    assert!(behind >= 0.);
    for i in 1..400 {
        let scale = 0.01 * f64::from(i);
        let fixed = NormalLikelihood::fixed(&[4], scale)?
            .given(&loc)?
            .log_prob(&x)?
            .neg()?;
        let worse = (&fixed - &own)?.min_all()?.to_scalar::<f64>()?;
        let gap = (fixed.mean_all()? - together.mean_all()?)?.to_scalar::<f64>()?;
        assert!(worse > -1e-12 && gap > -1e-12, "{scale}: {worse} {gap}");
    }
    // Parts of a batch score as the whole does where rows do not know of each other, and not where they do.
    let part = x.narrow(0, 0, 1)?;
    let scored = OptimalNormal::new(&loc, 1, 1e-3, SharedBy::Observation)?.log_prob(&part)?;
    close(&scored, &own.narrow(0, 0, 1)?.neg()?, 1e-14)?;
    let scored = OptimalNormal::new(&loc, 1, 1e-3, SharedBy::Batch)?.log_prob(&part)?;
    assert!(close_to(&scored, &together.narrow(0, 0, 1)?.neg()?)? > 1e-3);
    Ok(())
}

fn close_to(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok((a - b)?.abs()?.max_all()?.to_scalar()?)
}

#[test]
fn a_perfect_fit_meets_the_floor() -> Result<()> {
    for shared in [SharedBy::Batch, SharedBy::Observation] {
        let loc = Var::from_tensor(&normal(&[2, 3], 1)?)?;
        let p = OptimalNormal::new(&loc, 1, 0.1, shared)?;
        let log_prob = p.log_prob(&loc.detach())?;
        let want = -3. * (0.1f64.ln() + 0.5 * (2. * PI).ln());
        for got in flat(&log_prob) {
            assert!((got - want).abs() < 1e-13, "{got} {want}");
        }
        let gradients = log_prob.sum_all()?.backward()?;
        assert!(slope(&gradients, &loc).iter().all(|g| *g == 0.));
        // A draw has no noise, the normal distribution of a value has its scale.
        close(&p.sample(&[], &mut Rng::new(0))?, &loc, 0.)?;
        close(&p.mode()?, &loc, 0.)?;
        let off = (loc.detach() + 2.)?;
        close(
            &p.at(&off)?.base().scale()?,
            &(loc.zeros_like()? + 2.)?,
            1e-14,
        )?;
        let f = |x: &[Tensor]| {
            Ok(OptimalNormal::new(&x[0], 1, 0.1, shared)?
                .log_prob(&x[1])?
                .sum_all()?)
        };
        check_gradient(&f, &[loc.detach(), normal(&[2, 3], 4)?], 1e-8)?;
    }
    let scalar = Tensor::new(0f64, &CPU)?;
    assert!(matches!(
        OptimalNormal::new(&scalar, 1, 0.1, SharedBy::Batch),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        OptimalNormal::new(&scalar, 0, 0., SharedBy::Batch),
        Err(Error::Value { .. })
    ));
    Ok(())
}
