//! Heads: every variable gets a gradient, extreme raw outputs stay finite, and the scales are what they are said to be.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, VarBuilder, VarMap};
use candle_prob::distribution::{
    Dirichlet, Distribution, Kl, MultivariateNormalDiag, Reparameterized,
};
use candle_prob::init::{named_vars, seeded};
use candle_prob::net::{
    BernoulliHead, CategoricalHead, DirichletHead, LogisticNormalHead, NormalComponentsHead,
    NormalHead, ScaleForm,
};
use candle_prob::{Conditional, Result, Rng};

const SCALES: [ScaleForm; 3] = [
    ScaleForm::LogVar,
    ScaleForm::LogScale,
    ScaleForm::Softplus {
        shift: -5.,
        floor: 1e-6,
    },
];

fn builder(vars: &VarMap, dtype: DType) -> VarBuilder<'static> {
    seeded(vars, 5, dtype, &Device::Cpu)
}

fn largest(t: &Tensor) -> Result<f64> {
    // NaN does not survive a maximum; a sum keeps it.
    Ok(t.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar()?)
}

/// Every variable and the features get a finite gradient that is not zero.
fn check_gradients(loss: &Tensor, vars: &VarMap, features: &Var) -> Result<()> {
    let gradients = loss.backward()?;
    let mut leaves = named_vars(vars)?;
    assert_eq!(leaves.len(), 2);
    leaves.insert("features".into(), features.clone());
    for (name, var) in leaves {
        let size = gradients.get(&var).map(largest).transpose()?;
        assert!(
            size.is_some_and(|s| s > 0. && s.is_finite()),
            "{name}: {size:?}"
        );
    }
    Ok(())
}

fn sample_and_rate<D: Reparameterized + Kl>(p: &D, q: &D) -> Result<Tensor> {
    let (z, rate) = p.sample_and_kl(q, &[4], &mut Rng::new(1))?;
    Ok((z.sqr()?.sum_all()? + rate.sum_all()?)?)
}

#[test]
fn every_variable_of_a_gaussian_head_gets_a_gradient() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for scale in SCALES {
            let x = Var::from_tensor(&Rng::new(2).normal((7, 6), dtype, &Device::Cpu)?)?;
            let prior = MultivariateNormalDiag::standard(4, dtype, &Device::Cpu)?;

            let vars = VarMap::new();
            let head = NormalHead::new(6, 4, scale, builder(&vars, dtype))?;
            let p = head.given(&x)?;
            assert_eq!((p.batch_shape(), p.event_shape()), (&[7][..], &[4][..]));
            check_gradients(&sample_and_rate(&p, &prior)?, &vars, &x)?;

            let vars = VarMap::new();
            let head = NormalComponentsHead::new(6, 3, 4, scale, builder(&vars, dtype))?;
            let p = head.given(&x)?;
            assert_eq!((p.batch_shape(), p.event_shape()), (&[7, 3][..], &[4][..]));
            check_gradients(&sample_and_rate(&p, &prior)?, &vars, &x)?;

            let vars = VarMap::new();
            let head = LogisticNormalHead::new(6, 4, scale, builder(&vars, dtype))?;
            let p = head.given(&x)?;
            let y = p.sample(&[5], &mut Rng::new(3))?;
            assert_eq!(y.dims(), &[5, 7, 4]);
            let loss = (y.sqr()?.sum_all()? + p.kl_to_standard()?.sum_all()?)?;
            check_gradients(&loss, &vars, &x)?;
        }
    }
    Ok(())
}

#[test]
fn extreme_raw_outputs_give_finite_divergences_and_gradients() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for scale in SCALES {
            for (loc, raw) in [(1e4, 1e4), (1e4, -1e4), (-1e4, 1e4), (0., -1e4), (0., 1e4)] {
                let vars = VarMap::new();
                let head = NormalHead::new(1, 2, scale, builder(&vars, dtype))?;
                // Raw outputs (loc, loc, raw, raw) for the feature 1.
                let weight = Tensor::new(&[[loc], [loc], [raw], [raw]], &Device::Cpu)?;
                named_vars(&vars)?["weight"].set(&weight.to_dtype(dtype)?)?;
                let one = Tensor::ones((1, 1), dtype, &Device::Cpu)?;
                let prior = MultivariateNormalDiag::standard(2, dtype, &Device::Cpu)?;
                let p = head.given(&one)?;
                let (z, rate) = p.sample_and_kl(&prior, &[], &mut Rng::new(4))?;
                let what = format!("{scale:?} {loc} {raw}");
                let rate = rate.sum_all()?;
                let rate_value: f64 = rate.to_dtype(DType::F64)?.to_scalar()?;
                assert!(
                    rate_value.is_finite() && rate_value >= 0.,
                    "{what}: {rate_value}"
                );
                assert!(largest(&z)?.is_finite(), "{what}");
                let at_zero = p.log_prob(&one.broadcast_as((1, 2))?)?.sum_all()?;
                // With a scale of 1e-6 a mean 1e4 away has a log-density of -1e20: finite.
                assert!(largest(&at_zero)?.is_finite(), "{what}");
                let gradients = (rate + z.sum_all()?)?.backward()?;
                for (name, var) in named_vars(&vars)? {
                    let g = gradients.get(&var).map(largest).transpose()?;
                    assert!(g.is_some_and(f64::is_finite), "{what} {name}: {g:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn scales_are_the_stated_functions_of_raw_outputs() -> Result<()> {
    let raw: [f64; 5] = [-40., -2., 0., 0.7, 30.];
    for scale in SCALES {
        let vars = VarMap::new();
        let head = NormalHead::new(1, 5, scale, builder(&vars, DType::F64))?;
        let all: Vec<f64> = [0.; 5].iter().chain(&raw).copied().collect();
        let vars = named_vars(&vars)?;
        vars["bias"].set(&Tensor::new(all, &Device::Cpu)?)?;
        let p = head.given(&Tensor::zeros((1, 1), DType::F64, &Device::Cpu)?)?;
        assert_eq!(largest(p.loc())?, 0.);
        let got = p.scale()?.squeeze(0)?.to_vec1::<f64>()?;
        for (r, got) in raw.iter().zip(got) {
            let clamped = 15. * (r / 15.).tanh();
            let want = match scale {
                ScaleForm::LogVar => (clamped / 2.).exp(),
                ScaleForm::LogScale => clamped.exp(),
                ScaleForm::Softplus { shift, floor } => (r + shift).exp().ln_1p() + floor,
            };
            assert!(
                (got / want - 1.).abs() < 1e-9,
                "{scale:?} {r}: {got} {want}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_dirichlet_head_has_gradients_and_stays_above_its_floor() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&Rng::new(2).normal((7, 6), dtype, &Device::Cpu)?)?;
        let vars = VarMap::new();
        let head = DirichletHead::new(6, 3, DirichletHead::FLOOR, builder(&vars, dtype))?;
        let p = head.given(&x)?;
        assert_eq!((p.batch_shape(), p.event_shape()), (&[7][..], &[3][..]));
        let prior = Dirichlet::new(&Tensor::ones((7, 3), dtype, &Device::Cpu)?)?;
        check_gradients(&p.kl(&prior)?.sum_all()?, &vars, &x)?;
        for raw in [-1e4, 1e4] {
            let weight = Tensor::full(raw, (3, 6), &Device::Cpu)?.to_dtype(dtype)?;
            named_vars(&vars)?["weight"].set(&weight)?;
            let p = head.given(&Tensor::ones((7, 6), dtype, &Device::Cpu)?)?;
            let smallest = p.concentration().min_all()?.to_dtype(DType::F64)?;
            let smallest: f64 = smallest.to_scalar()?;
            assert!(
                smallest >= DirichletHead::FLOOR * (1. - 1e-6),
                "{raw}: {smallest}"
            );
            let rate = p.kl(&prior)?.sum_all()?;
            let gradients = rate.backward()?;
            assert!(largest(&rate)?.is_finite(), "{raw}");
            for (name, var) in named_vars(&vars)? {
                let g = gradients.get(&var).map(largest).transpose()?;
                assert!(g.is_some_and(f64::is_finite), "{raw} {name}: {g:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_dirichlet_head_starts_where_it_is_told() -> Result<()> {
    for (concentration, floor) in [(10., 1e-4), (0.3, 0.2), (1e-3, 0.), (500., 0.)] {
        let vars = VarMap::new();
        let vb = builder(&vars, DType::F64);
        let head = DirichletHead::starting_at(6, 3, concentration, floor, vb.clone())?;
        let start = head.given(&Tensor::zeros((2, 6), DType::F64, &Device::Cpu)?)?;
        for found in start.concentration().flatten_all()?.to_vec1::<f64>()? {
            let error = (found - concentration).abs() / concentration;
            assert!(error < 1e-12, "{found} is not {concentration}");
        }
        assert!(DirichletHead::starting_at(6, 3, floor, floor, vb.pp("a")).is_err());
        assert!(DirichletHead::starting_at(0, 3, 1., floor, vb.pp("b")).is_err());
        assert!(DirichletHead::starting_at(6, 3, f64::INFINITY, 0., vb.pp("c")).is_err());
        assert!(DirichletHead::starting_at(6, 3, f64::NAN, 0., vb.pp("d")).is_err());
    }
    Ok(())
}

#[test]
fn heads_of_logits_have_gradients_and_the_layers_logits() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&Rng::new(2).normal((2, 7, 6), dtype, &Device::Cpu)?)?;
        let vars = VarMap::new();
        let head = BernoulliHead::new(6, 5, builder(&vars, dtype))?;
        let p = head.given(&x)?;
        assert_eq!((p.batch_shape(), p.event_shape()), (&[2, 7][..], &[5][..]));
        let affine = head.layer().forward(&x)?;
        assert_eq!(largest(&(p.base().logits() - &affine)?)?, 0.);
        let value = p.sample(&[3], &mut Rng::new(3))?;
        check_gradients(&p.log_prob(&value)?.sum_all()?, &vars, &x)?;

        let vars = VarMap::new();
        let head = CategoricalHead::new(6, 5, builder(&vars, dtype))?;
        let p = head.given(&x)?;
        assert_eq!((p.batch_shape(), p.event_shape()), (&[2, 7][..], &[][..]));
        assert_eq!(p.classes(), 5);
        let affine = head.layer().forward(&x)?;
        assert_eq!(largest(&(p.logits() - &affine)?)?, 0.);
        let value = p.sample(&[3], &mut Rng::new(3))?;
        check_gradients(&p.log_prob(&value)?.sum_all()?, &vars, &x)?;
    }
    Ok(())
}

#[test]
fn misuse_is_refused() {
    let vars = VarMap::new();
    let vb = builder(&vars, DType::F32);
    let scale = ScaleForm::LogVar;
    assert!(NormalHead::new(0, 2, scale, vb.pp("a")).is_err());
    assert!(NormalHead::new(2, 0, scale, vb.pp("b")).is_err());
    assert!(NormalComponentsHead::new(2, 0, 3, scale, vb.pp("c")).is_err());
    assert!(NormalComponentsHead::new(2, 3, 0, scale, vb.pp("d")).is_err());
    assert!(LogisticNormalHead::new(2, 0, scale, vb.pp("e")).is_err());
    for (shift, floor) in [(f64::NAN, 0.), (0., -1.), (0., f64::NAN)] {
        let scale = ScaleForm::Softplus { shift, floor };
        assert!(NormalHead::new(2, 2, scale, vb.pp("f")).is_err());
    }
    assert!(DirichletHead::new(2, 0, 0.1, vb.pp("h")).is_err());
    assert!(DirichletHead::new(2, 2, -0.1, vb.pp("i")).is_err());
    let head = NormalHead::new(3, 2, scale, vb.pp("g")).unwrap();
    let wrong = head.given(&Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap());
    assert!(wrong.is_err_and(|e| e.to_string().contains("[.., 3]")));
    assert!(BernoulliHead::new(0, 2, vb.pp("j")).is_err());
    assert!(BernoulliHead::new(2, 0, vb.pp("k")).is_err());
    assert!(CategoricalHead::new(2, 0, vb.pp("l")).is_err());
    let features = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
    let head = BernoulliHead::new(3, 2, vb.pp("m")).unwrap();
    assert!(head.given(&features).is_err());
    let head = CategoricalHead::new(3, 2, vb.pp("n")).unwrap();
    assert!(head.given(&features).is_err());
}
