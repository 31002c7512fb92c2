//! Averages of weights: are they the averages that they say, and of what?

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Init, VarMap};
use candle_prob::init::{self, Buffer, named_vars};
use candle_prob::optim::*;
use candle_prob::{Error, Result, Rng};

fn add(vars: &VarMap, name: &str, value: &Tensor) -> Var {
    let var = Var::from_tensor(value).unwrap();
    vars.data().lock().unwrap().insert(name.into(), var.clone());
    var
}

fn average(ema: &Ema, name: &str) -> Vec<f64> {
    flat(&named_vars(ema.vars()).unwrap()[name])
}

/// A step that moved `p`.
fn moved() -> Update {
    Update {
        updated: vec!["p".into()],
        ..Update::default()
    }
}

/// The averages of a walk against the recurrence, with each of the options; the ramp of ln 2 is the plain mean.
#[test]
fn averages_follow_their_recurrence() -> Result<()> {
    let configs = [
        EmaConfig::default(),
        EmaConfig {
            decay: 0.,
            ..EmaConfig::default()
        },
        EmaConfig {
            decay: 0.9,
            start: 5,
            ..EmaConfig::default()
        },
        EmaConfig {
            ramp_up: Some(0.05),
            ..EmaConfig::of_half_life(4.)
        },
        EmaConfig {
            start: 3,
            ramp_up: Some(2.),
            ..EmaConfig::of_half_life(50.)
        },
        EmaConfig {
            decay: 1. - 1e-9,
            ramp_up: Some(std::f64::consts::LN_2),
            start: 0,
        },
    ];
    assert!((EmaConfig::of_half_life(4.).decay.powi(4) - 0.5).abs() < 1e-15);
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
        for config in &configs {
            let vars = VarMap::new();
            let mut rng = Rng::new(1);
            let p = add(&vars, "p", &rng.normal((3, 7), dtype, &Device::Cpu)?);
            let mut ema = Ema::new(&vars, config)?;
            let mut want = flat(&p);
            assert_eq!(average(&ema, "p"), want);
            for t in 1..40 {
                p.set(&(p.as_detached_tensor() + rng.normal((3, 7), dtype, &Device::Cpu)?)?)?;
                ema.update(&moved())?;
                let half_life = 0.5f64.ln() / config.decay.ln();
                let half_life = match config.ramp_up {
                    Some(slope) => half_life.min(slope * f64::from(t)),
                    None => half_life,
                };
                let decay = match t as u64 <= config.start || config.decay == 0. {
                    true => 0.,
                    false => 0.5f64.powf(half_life.recip()),
                };
                for (want, p) in want.iter_mut().zip(flat(&p)) {
                    *want = decay * *want + (1. - decay) * p;
                }
                for (found, want) in average(&ema, "p").iter().zip(&want) {
                    assert!((found - want).abs() < tolerance, "{config:?} {t}");
                }
                if decay == 0. {
                    assert_eq!(average(&ema, "p"), flat(&p));
                }
            }
        }
    }
    Ok(())
}

/// The ramp that makes the average the plain mean of what was seen, and not the start.
#[test]
fn a_ramp_of_ln_2_is_the_mean() -> Result<()> {
    let vars = VarMap::new();
    let p = add(&vars, "p", &Tensor::new(&[100f64], &Device::Cpu)?);
    let config = EmaConfig {
        decay: 1. - 1e-12,
        ramp_up: Some(std::f64::consts::LN_2),
        ..EmaConfig::default()
    };
    let mut ema = Ema::new(&vars, &config)?;
    for k in 0..1000 {
        p.set(&Tensor::new(&[f64::from(k)], &Device::Cpu)?)?;
        ema.update(&moved())?;
    }
    // 2^(-1 / (t ln 2)) is e^(-1 / t), which is 1 - 1 / t up to 1 / (2 t^2).
    let mean = average(&ema, "p")[0];
    assert!((mean - 499.5).abs() < 1., "{mean}");
    Ok(())
}

/// Buffers, frozen variables and integers are copied; what has moved once is averaged in every later update.
#[test]
fn what_no_step_has_moved_is_copied() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 1, DType::F64, &Device::Cpu);
    let buffer = Buffer::new(2, "mean", Init::Const(0.), vb)?;
    let one = Tensor::ones(2, DType::F64, &Device::Cpu)?;
    let [w, rare] = ["w", "rare"].map(|name| add(&vars, name, &one));
    vars.data().lock().unwrap().insert("tied".into(), w.clone());
    let count = add(&vars, "count", &Tensor::new(&[1u32], &Device::Cpu)?);
    let config = SgdConfig {
        lr: 0.5,
        ..SgdConfig::default()
    };
    let mut sgd = Sgd::new(&vars, &config)?;
    let mut ema = Ema::new(
        &vars,
        &EmaConfig {
            decay: 0.5,
            ..EmaConfig::default()
        },
    )?;
    let names: Vec<_> = named_vars(ema.vars())?.into_keys().collect();
    assert_eq!(names, ["count", "mean", "rare", "tied", "w"]);
    for step in 0..3 {
        buffer.set(&(buffer.value()? + 1.)?)?;
        count.set(&(count.as_detached_tensor() + 1.)?)?;
        // `rare` has a gradient in the second step only.
        let mut loss = w.sum_all()?;
        if step == 1 {
            loss = (loss + rare.sum_all()?)?;
        }
        let update = sgd.backward_step(&loss)?;
        ema.update(&update)?;
        if step == 0 {
            // Written to, say by a load, before any step has moved it.
            rare.set(&(&one * 4.)?)?;
        }
    }
    assert_eq!(average(&ema, "mean"), [3., 3.]);
    assert_eq!(average(&ema, "count"), [4.]);
    // w: 0.5, 0, -0.5; averages 0.75, 0.375, -0.0625.
    assert_eq!(average(&ema, "w"), [-0.0625; 2]);
    assert_eq!(average(&ema, "tied"), average(&ema, "w"));
    // rare: 1 (copied), 3.5, 3.5: averages 1, 2.25, 2.875.
    assert_eq!(average(&ema, "rare"), [2.875; 2]);
    let own = named_vars(ema.vars())?;
    assert_eq!(own["tied"].id(), own["w"].id());

    // The averages are no views of what they average, and a step that was left out changes nothing.
    let before = average(&ema, "w");
    w.set(&(&one * 9.)?)?;
    assert_eq!(average(&ema, "w"), before);
    let skipped = Update {
        non_finite: vec!["w".into()],
        skipped: true,
        ..Update::default()
    };
    ema.update(&skipped)?;
    assert_eq!(average(&ema, "w"), before);
    Ok(())
}

/// What the optimizer does not hold is not averaged: another player's variables, frozen ones, running statistics; and a tied
/// variable may have another name there.
#[test]
fn what_the_optimizer_does_not_hold_is_copied() -> Result<()> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 1, DType::F64, &Device::Cpu);
    let buffer = Buffer::new(2, "mean", Init::Const(0.), vb.pp("gen.norm"))?;
    let one = Tensor::ones(2, DType::F64, &Device::Cpu)?;
    let [body, critic, w] = ["gen.body", "critic", "gen.last.w"].map(|name| add(&vars, name, &one));
    // The first of its names in the whole map.
    vars.data().lock().unwrap().insert("a".into(), w.clone());
    let config = SgdConfig {
        lr: 0.5,
        ..SgdConfig::default()
    };
    let mut sgd = Sgd::new(&under(&vars, &["gen.last"])?, &config)?;
    let mut rival = Sgd::new(&under(&vars, &["critic"])?, &config)?;
    let half = EmaConfig {
        decay: 0.5,
        ..EmaConfig::default()
    };
    let mut ema = Ema::new(&vars, &half)?;
    for step in 0..3 {
        let now = (&one * f64::from(step + 4))?;
        buffer.set(&now)?;
        body.set(&now)?;
        rival.backward_step(&critic.sum_all()?)?;
        let update = sgd.backward_step(&w.sum_all()?)?;
        assert_eq!(update.updated, ["gen.last.w"]);
        ema.update(&update)?;
        for name in ["gen.norm.mean", "gen.body"] {
            assert_eq!(average(&ema, name), flat(&now), "{name}");
        }
        assert_eq!(average(&ema, "critic"), flat(&critic));
    }
    // 0.5, 0, -0.5 from 1: averages 0.75, 0.375, -0.0625.
    for name in ["a", "gen.last.w"] {
        assert_eq!(average(&ema, name), [-0.0625; 2], "{name}");
    }
    // The step of an optimizer of other variables says nothing of these.
    let mut ema = Ema::new(&under(&vars, &["gen"])?, &half)?;
    let refusal = ema.update(&rival.backward_step(&critic.sum_all()?)?);
    assert!(matches!(refusal, Err(Error::Value { arg: "step", .. })));
    Ok(())
}

/// In bf16 a share of 0.001 of a step of 1 is lost from numbers above 1; in the f32 beneath it is not.
#[test]
fn averages_of_half_precision_are_kept_in_single() -> Result<()> {
    for dtype in [DType::BF16, DType::F16] {
        let vars = VarMap::new();
        let p = add(
            &vars,
            "p",
            &Tensor::new(&[8f32], &Device::Cpu)?.to_dtype(dtype)?,
        );
        let mut ema = Ema::new(&vars, &EmaConfig::default())?;
        p.set(&Tensor::new(&[9f32], &Device::Cpu)?.to_dtype(dtype)?)?;
        for _ in 0..1000 {
            ema.update(&moved())?;
        }
        let want = 9. - 0.999f64.powi(1000);
        let found = average(&ema, "p")[0];
        assert!((found - want).abs() < 0.04, "{dtype:?} {found}");
        assert_eq!(named_vars(ema.vars())?["p"].dtype(), dtype);
    }
    Ok(())
}

#[test]
fn wrong_configurations_are_refused() -> Result<()> {
    let vars = VarMap::new();
    add(&vars, "p", &Tensor::ones(2, DType::F32, &Device::Cpu)?);
    add(
        &vars,
        "none",
        &Tensor::ones((0, 2), DType::F32, &Device::Cpu)?,
    );
    for decay in [-0.1, 1., f64::NAN] {
        let refusal = Ema::new(
            &vars,
            &EmaConfig {
                decay,
                ..EmaConfig::default()
            },
        );
        assert!(matches!(
            refusal.err(),
            Some(Error::Value { arg: "decay", .. })
        ));
    }
    for ramp_up in [0., -1., f64::NAN, f64::INFINITY] {
        let config = EmaConfig {
            ramp_up: Some(ramp_up),
            ..EmaConfig::default()
        };
        let refusal = Ema::new(&vars, &config).err();
        assert!(matches!(refusal, Some(Error::Value { arg: "ramp_up", .. })));
    }
    for half_life in [0., -1., f64::NAN, f64::INFINITY] {
        let refused = Ema::new(&vars, &EmaConfig::of_half_life(half_life)).is_err();
        assert_eq!(refused, half_life != 0., "{half_life}");
    }
    let mut ema = Ema::new(&vars, &EmaConfig::default())?;
    ema.update(&moved())?;
    assert_eq!(average(&ema, "p"), [1., 1.]);
    Ok(())
}
