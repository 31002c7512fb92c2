//! Optimizers, clipping, schedules and gradient reports: do they do what torch does, and nothing else?

use crate::support::flat;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::init::named_vars;
use candle_prob::optim::*;
use candle_prob::{Error, Result, Rng};
use serde_json::Value;

const GOLDEN: &str = include_str!("../golden/optim.json");

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    flat(tensor).iter().map(|x| x.to_bits()).collect()
}

fn add(vars: &VarMap, name: &str, value: &Tensor) -> Var {
    let var = Var::from_tensor(value).unwrap();
    vars.data().lock().unwrap().insert(name.into(), var.clone());
    var
}

/// A store holding the given gradients.
fn store(gradients: &[(&Var, Tensor)]) -> GradStore {
    let mut store = Tensor::new(0f32, &Device::Cpu).unwrap().backward().unwrap();
    for (var, gradient) in gradients {
        store.insert(var, gradient.clone());
    }
    store
}

/// The parameters of the golden runs: `a` of 5, `b` of 2 x 3.
fn model(dtype: DType) -> (VarMap, Var, Var) {
    let a: Vec<f64> = (0..5)
        .map(|i| (1.3 * i as f64).sin() + 0.2 * i as f64)
        .collect();
    let b: Vec<f64> = (0..6)
        .map(|k| (0.7 * (k / 3) as f64 + (k % 3) as f64).cos())
        .collect();
    let tensor = |x: Vec<f64>, shape: &[usize]| {
        let x = Tensor::from_vec(x, shape, &Device::Cpu).unwrap();
        x.to_dtype(dtype).unwrap()
    };
    let vars = VarMap::new();
    let a = add(&vars, "a", &tensor(a, &[5]));
    let b = add(&vars, "b", &tensor(b, &[2, 3]));
    (vars, a, b)
}

fn gradient_a(a: &Var, t: usize) -> CandleResult<Tensor> {
    (a.as_detached_tensor() * 2.)?.sin()? + 0.1 * t as f64
}

fn gradient_b(b: &Var, t: usize) -> CandleResult<Tensor> {
    let b = b.as_detached_tensor();
    (b.powf(3.)? - (&b * 0.5)?)? + 0.05 * t as f64
}

/// 20 steps from the golden start; `missing` lists (variable, step) without a gradient.
fn run(
    dtype: DType,
    make: &dyn Fn(&VarMap) -> Result<Box<dyn Optimizer>>,
    missing: &[(usize, usize)],
) -> Result<Vec<Vec<f64>>> {
    let (vars, a, b) = model(dtype);
    let mut optimizer = make(&vars)?;
    for t in 0..20 {
        let mut gradients = vec![];
        if !missing.contains(&(0, t)) {
            gradients.push((&a, gradient_a(&a, t)?));
        }
        if !missing.contains(&(1, t)) {
            gradients.push((&b, gradient_b(&b, t)?));
        }
        let before = (bits(&a), bits(&b));
        let update = optimizer.step(&store(&gradients))?;
        assert_eq!(update.updated.len(), gradients.len());
        assert_eq!(
            update.missing.contains(&"a".to_string()),
            before.0 == bits(&a)
        );
        assert_eq!(
            update.missing.contains(&"b".to_string()),
            before.1 == bits(&b)
        );
    }
    Ok(vec![flat(&a), flat(&b)])
}

#[test]
fn twenty_steps_are_those_of_torch() -> Result<()> {
    let adam = |config: AdamConfig| {
        move |vars: &VarMap| -> Result<Box<dyn Optimizer>> {
            Ok(Box::new(Adam::new(vars, &config)?))
        }
    };
    let sgd = |config: SgdConfig| {
        move |vars: &VarMap| -> Result<Box<dyn Optimizer>> {
            Ok(Box::new(Sgd::new(vars, &config)?))
        }
    };
    let plain = AdamConfig {
        lr: 0.02,
        ..AdamConfig::default()
    };
    let betas = AdamConfig {
        lr: 0.05,
        beta1: 0.8,
        beta2: 0.95,
        eps: 1e-4,
        ..AdamConfig::default()
    };
    let decay = AdamConfig {
        weight_decay: 0.3,
        ..plain.clone()
    };
    let momentum = |nesterov, weight_decay| SgdConfig {
        lr: 0.03,
        momentum: 0.9,
        nesterov,
        weight_decay,
        ..SgdConfig::default()
    };
    let descent = SgdConfig {
        lr: 0.05,
        ..SgdConfig::default()
    };
    let missing = [(1, 0), (1, 1), (1, 7), (0, 12)];
    type Make = Box<dyn Fn(&VarMap) -> Result<Box<dyn Optimizer>>>;
    type Case<'a> = (&'a str, Make, &'a [(usize, usize)]);
    let cases: Vec<Case> = vec![
        ("adam", Box::new(adam(plain.clone())), &[]),
        ("adam_betas", Box::new(adam(betas)), &[]),
        ("adam_missing", Box::new(adam(plain)), &missing),
        ("adamw", Box::new(adam(decay)), &[]),
        ("sgd", Box::new(sgd(descent)), &[]),
        ("sgd_momentum", Box::new(sgd(momentum(false, 0.1))), &[]),
        ("sgd_nesterov", Box::new(sgd(momentum(true, 0.1))), &[]),
        ("sgd_missing", Box::new(sgd(momentum(false, 0.))), &missing),
    ];
    let golden = golden();
    for (dtype, key, tolerance) in [(DType::F32, "f32", 1e-6), (DType::F64, "f64", 1e-12)] {
        for (name, make, missing) in &cases {
            let want = &golden["steps"][key][name];
            for (i, got) in run(dtype, make, missing)?.iter().enumerate() {
                for (got, want) in got.iter().zip(numbers(&want[i])) {
                    let close = (got - want).abs() <= tolerance * want.abs().max(1.);
                    assert!(close, "{name} {key}: {got} is not {want}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn clipping_is_that_of_torch() -> Result<()> {
    let device = &Device::Cpu;
    let golden = golden();
    for max_norm in ["0.01", "1.0", "5.0", "1000.0"] {
        let vars = VarMap::new();
        let a = add(&vars, "a", &Tensor::zeros(5, DType::F32, device)?);
        let b = add(&vars, "b", &Tensor::zeros((2, 3), DType::F32, device)?);
        add(&vars, "c", &Tensor::zeros(4, DType::F32, device)?);
        let g: Vec<f32> = (0..5)
            .map(|i| ((i as f64 * 0.9).sin() * (i as f64 + 1.)) as f32)
            .collect();
        let h: Vec<f32> = (0..6).map(|i| ((i as f64).cos() * 2.) as f32).collect();
        let (g, h) = (
            Tensor::new(g, device)?,
            Tensor::from_vec(h, (2, 3), device)?,
        );
        let (g_before, h_before) = (g.copy()?, h.copy()?);
        let mut gradients = store(&[(&a, g.clone()), (&b, h.clone())]);
        let norm = clip_grad_norm(&mut gradients, &vars, max_norm.parse().unwrap())?;
        let want = &golden["clip"][max_norm];
        let torch = want["norm"].as_f64().unwrap();
        assert!((norm - torch).abs() <= 1e-6 * torch);
        for (var, key) in [(&a, "a"), (&b, "b")] {
            let got = flat(gradients.get(var).unwrap());
            for (got, want) in got.iter().zip(numbers(&want[key])) {
                assert!(
                    (got - want).abs() <= 1e-6,
                    "{max_norm}: {got} is not {want}"
                );
            }
        }
        // Tensors that the user kept are theirs.
        assert_eq!((bits(&g), bits(&h)), (bits(&g_before), bits(&h_before)));
    }
    Ok(())
}

#[test]
fn the_norm_has_the_same_bits_at_any_number_of_threads() -> Result<()> {
    let vars = VarMap::new();
    let mut rng = Rng::new(5);
    let mut gradients = vec![];
    for i in 0..4 {
        let x = rng.normal((300 + i, 211), DType::F32, &Device::Cpu)?;
        gradients.push((add(&vars, &format!("w{i}"), &x), x));
    }
    let pairs: Vec<(&Var, Tensor)> = gradients.iter().map(|(v, g)| (v, g.clone())).collect();
    let mut norms = vec![];
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        norms.push(
            pool.unwrap()
                .install(|| grad_norm(&store(&pairs), &vars))?
                .to_bits(),
        );
    }
    assert_eq!(norms, vec![norms[0]; 3]);
    Ok(())
}

#[test]
fn clipping_refuses_or_skips_what_is_not_finite() -> Result<()> {
    let (vars, a, b) = model(DType::F32);
    let bad = Tensor::new(&[1f32, f32::NAN, 0., 0., 0.], &Device::Cpu)?;
    let mut gradients = store(&[(&a, bad.clone()), (&b, b.ones_like()?)]);
    let error = clip_grad_norm(&mut gradients, &vars, 1.)
        .unwrap_err()
        .to_string();
    assert!(error.contains("a has a non-finite gradient"), "{error}");
    assert!(!error.contains('\n'));
    let clipped = clip_grad_norm_or_skip(&mut gradients, &vars, 1.)?;
    assert_eq!(clipped, Clipped::NotFinite);
    assert_eq!(bits(gradients.get(&a).unwrap()), bits(&bad));
    assert_eq!(flat(gradients.get(&b).unwrap()), vec![1.; 6]);
    for max_norm in [-1., f64::NAN] {
        assert!(matches!(
            clip_grad_norm(&mut gradients, &vars, max_norm),
            Err(Error::Value { .. })
        ));
    }
    let mut fine = store(&[(&b, b.ones_like()?)]);
    assert_eq!(
        clip_grad_norm(&mut fine, &vars, f64::INFINITY)?,
        6f64.sqrt()
    );
    assert_eq!(flat(fine.get(&b).unwrap()), vec![1.; 6]);
    clip_grad_norm(&mut fine, &vars, 0.)?;
    assert_eq!(flat(fine.get(&b).unwrap()), vec![0.; 6]);
    Ok(())
}

#[test]
fn values_are_clipped_and_nan_stays() -> Result<()> {
    let (vars, a, _) = model(DType::F32);
    let g = Tensor::new(&[-3f32, -0.5, f32::NAN, 0.5, f32::INFINITY], &Device::Cpu)?;
    let mut gradients = store(&[(&a, g)]);
    clip_grad_value(&mut gradients, &vars, 1.)?;
    let got = flat(gradients.get(&a).unwrap());
    assert_eq!((got[0], got[1], got[3], got[4]), (-1., -0.5, 0.5, 1.));
    assert!(got[2].is_nan());
    Ok(())
}

#[test]
fn a_step_that_is_not_finite_is_skipped_bit_for_bit() -> Result<()> {
    let (vars, a, b) = model(DType::F32);
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    adam.step(&store(&[
        (&a, gradient_a(&a, 0)?),
        (&b, gradient_b(&b, 0)?),
    ]))?;
    let snapshot = |adam: &Adam| -> Result<Vec<Vec<u64>>> {
        let state = adam.state()?;
        let own = state.tensors.values().map(bits);
        Ok(own.chain([bits(&a), bits(&b)]).collect())
    };
    let before = snapshot(&adam)?;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let g = Tensor::new(&[0f32, 0., 0., 0., bad], &Device::Cpu)?;
        let gradients = store(&[(&a, g), (&b, gradient_b(&b, 1)?)]);
        let update = adam.step_if_finite(&gradients)?;
        assert!(update.skipped);
        assert_eq!(
            (update.updated.len(), update.non_finite),
            (0, vec!["a".to_string()])
        );
        assert_eq!(snapshot(&adam)?, before);
    }
    let update = adam.step_if_finite(&store(&[(&b, gradient_b(&b, 1)?)]))?;
    assert!(!update.skipped);
    assert_eq!(
        (update.updated.len(), update.missing),
        (1, vec!["a".to_string()])
    );
    assert_ne!(snapshot(&adam)?, before);
    Ok(())
}

#[test]
fn what_the_user_kept_is_not_touched() -> Result<()> {
    let (vars, a, b) = model(DType::F32);
    let alias = a.as_tensor().clone();
    let copy = a.as_tensor().copy()?;
    let (old_a, old_b) = (flat(&a), flat(&b));
    // Weight decay by hand: gradients that are views of variables, one of them of another variable.
    let c = add(&vars, "c", &Tensor::zeros(5, DType::F32, &Device::Cpu)?);
    let mut sgd = Sgd::new(
        &vars,
        &SgdConfig {
            lr: 0.5,
            ..SgdConfig::default()
        },
    )?;
    let kept = b.copy()?;
    let gradients = [
        (&a, a.as_detached_tensor()),
        (&b, kept.clone()),
        (&c, a.as_detached_tensor()),
    ];
    sgd.step(&store(&gradients))?;
    let half = |x: &[f64], sign: f64| x.iter().map(|x| sign * x / 2.).collect::<Vec<_>>();
    assert_eq!(flat(&a), half(&old_a, 1.));
    assert_eq!(flat(&c), half(&old_a, -1.));
    assert_eq!(flat(&kept), old_b);
    assert_eq!(flat(&copy), old_a);
    // As with Var::set, a clone is the variable.
    assert_eq!(flat(&alias), flat(&a));
    Ok(())
}

#[test]
fn wrong_arguments_are_errors_and_change_nothing() -> Result<()> {
    let (vars, a, b) = model(DType::F32);
    let before = (bits(&a), bits(&b));
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    for wrong in [
        Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?,
        Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?,
    ] {
        let gradients = store(&[(&a, a.ones_like()?), (&b, wrong)]);
        let error = adam.step(&gradients).unwrap_err();
        assert!(
            matches!(error, Error::Shape { .. } | Error::DType { .. }),
            "{error}"
        );
        assert_eq!((bits(&a), bits(&b)), before);
    }
    adam.set_learning_rate(f64::NAN);
    assert!(adam.step(&store(&[(&a, a.ones_like()?)])).is_err());
    assert_eq!(bits(&a), before.0);
    for config in [
        AdamConfig {
            lr: -1.,
            ..AdamConfig::default()
        },
        AdamConfig {
            beta1: 1.,
            ..AdamConfig::default()
        },
        AdamConfig {
            beta2: f64::NAN,
            ..AdamConfig::default()
        },
        AdamConfig {
            eps: f64::INFINITY,
            ..AdamConfig::default()
        },
        AdamConfig {
            weight_decay: -0.1,
            ..AdamConfig::default()
        },
    ] {
        assert!(Adam::new(&vars, &config).is_err());
    }
    let nesterov = SgdConfig {
        nesterov: true,
        ..SgdConfig::default()
    };
    assert!(Sgd::new(&vars, &nesterov).is_err());
    Ok(())
}

#[test]
fn a_variable_with_two_names_moves_once_and_integers_not_at_all() -> Result<()> {
    let vars = VarMap::new();
    let w = add(&vars, "w", &Tensor::ones(3, DType::F32, &Device::Cpu)?);
    vars.data().lock().unwrap().insert("tied".into(), w.clone());
    add(&vars, "count", &Tensor::ones(3, DType::U32, &Device::Cpu)?);
    let mut sgd = Sgd::new(
        &vars,
        &SgdConfig {
            lr: 1.,
            ..SgdConfig::default()
        },
    )?;
    let gradients = store(&[(&w, w.ones_like()?)]);
    assert_eq!(sgd.step(&gradients)?.updated.len(), 1);
    assert_eq!(flat(&w), vec![0.; 3]);
    assert_eq!(grad_norm(&gradients, &vars)?, 3f64.sqrt());
    Ok(())
}

#[test]
fn gradients_are_reported_by_name() -> Result<()> {
    let vars = VarMap::new();
    let device = &Device::Cpu;
    let x = |v: &[f32]| Tensor::new(v, device);
    add(&vars, "missing", &x(&[1., 2.])?);
    let zero = add(&vars, "zero", &x(&[1., 2.])?);
    let bad = add(&vars, "bad", &x(&[1., 2.])?);
    let fine = add(&vars, "fine", &x(&[1., f32::NAN])?);
    let empty = add(&vars, "empty", &Tensor::zeros((0, 2), DType::F32, device)?);
    let gradients = store(&[
        (&zero, x(&[0., -0.])?),
        (&bad, x(&[0., f32::INFINITY])?),
        (&fine, x(&[0., 1.])?),
        (&empty, empty.zeros_like()?),
    ]);
    let report = check_grads(&gradients, &vars)?;
    assert_eq!(
        report.to_string(),
        "no gradient: missing; zero gradient: zero; non-finite gradient: bad; non-finite value: fine"
    );
    assert!(!report.is_clean());
    Ok(())
}

#[test]
fn steps_keep_no_graph_alive() -> Result<()> {
    // Each step would add 40 MB if a gradient's graph stayed alive.
    let vars = VarMap::new();
    let w = add(
        &vars,
        "w",
        &Tensor::ones((100, 1000), DType::F32, &Device::Cpu)?,
    );
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    let resident = || -> Option<usize> {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        statm.split_whitespace().nth(1)?.parse::<usize>().ok()
    };
    let mut first = None;
    for step in 0..60 {
        let mut x = w.as_tensor().clone();
        for _ in 0..20 {
            x = (x * 1.01)?;
        }
        let mut gradients = x.sqr()?.mean_all()?.backward()?;
        clip_grad_norm(&mut gradients, &vars, 1e-3)?;
        adam.step(&gradients)?;
        if step == 9 {
            first = resident();
        }
    }
    if let (Some(first), Some(last)) = (first, resident()) {
        assert!(last < first + 50_000, "{first} -> {last} pages");
    }
    Ok(())
}

const HALF: [DType; 2] = [DType::BF16, DType::F16];

/// Adam and SGD whose steps from 1 are less than bf16 keeps.
fn small_steps(vars: &VarMap, master_weights: bool) -> Result<[Box<dyn Optimizer>; 2]> {
    let adam = AdamConfig {
        master_weights,
        ..AdamConfig::default()
    };
    let sgd = SgdConfig {
        lr: 5e-4,
        master_weights,
        ..SgdConfig::default()
    };
    Ok([
        Box::new(Adam::new(vars, &adam)?),
        Box::new(Sgd::new(vars, &sgd)?),
    ])
}

/// The slope of (w - 3)^2.
fn slope(w: &Var) -> Tensor {
    ((w.as_detached_tensor() - 3.).unwrap() * 2.).unwrap()
}

/// One variable at 1 for each optimizer.
fn alone(dtype: DType) -> Result<(VarMap, Var)> {
    let vars = VarMap::new();
    let w = add(&vars, "w", &Tensor::ones(2, dtype, &Device::Cpu)?);
    Ok((vars, w))
}

/// Of a parabola from 1 with its minimum at 3: with master weights the minimum is reached, and no step is reported as
/// lost. Without them bf16 stays at 1 and f16 stops on the way, and every step that was lost is reported.
#[test]
fn half_precision_trains_with_master_weights() -> Result<()> {
    for dtype in HALF {
        for k in 0..2 {
            let (vars, w) = alone(dtype)?;
            let optimizer = &mut small_steps(&vars, true)?[k];
            for _ in 0..20_000 {
                let still = slope(&w)
                    .abs()?
                    .max(0)?
                    .to_dtype(DType::F32)?
                    .to_scalar::<f32>()?;
                let update = optimizer.step(&store(&[(&w, slope(&w))]))?;
                assert!(still == 0. || update.unchanged.is_empty(), "{dtype:?}");
            }
            // The distance between two numbers near 3.
            let gap = if dtype == DType::BF16 {
                2f64.powi(-6)
            } else {
                2f64.powi(-9)
            };
            for w in flat(&w) {
                assert!((w - 3.).abs() <= gap, "{dtype:?} {k}: {w}");
            }

            let (vars, w) = alone(dtype)?;
            let optimizer = &mut small_steps(&vars, false)?[k];
            let mut lost = 0;
            for _ in 0..20_000 {
                let before = bits(&w);
                let update = optimizer.step(&store(&[(&w, slope(&w))]))?;
                let unchanged = bits(&w) == before;
                assert_eq!(unchanged, update.unchanged == ["w"]);
                assert_eq!(update.updated.len(), 1);
                lost += usize::from(unchanged);
            }
            match dtype {
                DType::BF16 => assert_eq!((flat(&w), lost), (vec![1.; 2], 20_000)),
                _ => assert!(flat(&w)[0] < 2.5 && lost > 1000, "{:?} {lost}", flat(&w)),
            }
        }
    }
    Ok(())
}

/// The master weights of a run in half precision are the weights of one in f32 with the same gradients, and the
/// variable is these, rounded.
#[test]
fn a_variable_of_half_precision_is_its_rounded_master() -> Result<()> {
    for dtype in HALF {
        for k in 0..2 {
            let n = 50;
            let start = Rng::new(3).normal((7, n), DType::F32, &Device::Cpu)?;
            let start = start.to_dtype(dtype)?;
            let (vars, twins) = (VarMap::new(), VarMap::new());
            let half = add(&vars, "w", &start);
            let single = add(&twins, "w", &start.to_dtype(DType::F32)?);
            let mut optimizers = [
                small_steps(&vars, true)?.into_iter().nth(k).unwrap(),
                small_steps(&twins, true)?.into_iter().nth(k).unwrap(),
            ];
            let mut rng = Rng::new(4);
            for _ in 0..30 {
                let g = rng
                    .normal((7, n), DType::F32, &Device::Cpu)?
                    .to_dtype(dtype)?;
                optimizers[0].step(&store(&[(&half, g.clone())]))?;
                optimizers[1].step(&store(&[(&single, g.to_dtype(DType::F32)?)]))?;
            }
            assert_eq!(bits(&half), bits(&single.to_dtype(dtype)?));
            let state = optimizers[0].state()?;
            assert_eq!(bits(&state.tensors["master.w"]), bits(&single));
            // f32 has none.
            assert!(!optimizers[1].state()?.tensors.contains_key("master.w"));
        }
    }
    Ok(())
}

/// Eight bits are trained like sixteen.
#[test]
fn eight_bits_train_too() -> Result<()> {
    for k in 0..2 {
        let (vars, w) = alone(DType::F8E4M3)?;
        let optimizer = &mut small_steps(&vars, true)?[k];
        for _ in 0..5000 {
            let slope = ((w.to_dtype(DType::F32)? - 3.)? * 2.)?.to_dtype(DType::F8E4M3)?;
            optimizer.step(&store(&[(&w, slope)]))?;
        }
        assert_eq!(
            bits(&w.to_dtype(DType::F32)?),
            bits(&Tensor::new(&[3f32; 2], &Device::Cpu)?)
        );
    }
    Ok(())
}

/// What was written to a variable between two steps stays: a stale master does not come back. What was not written to
/// keeps its master, and so does a variable that was swapped away and back.
#[test]
fn a_written_variable_is_not_overwritten_by_its_master() -> Result<()> {
    for dtype in HALF {
        for k in 0..2 {
            let (vars, w) = alone(dtype)?;
            let optimizer = &mut small_steps(&vars, true)?[k];
            let step = |optimizer: &mut Box<dyn Optimizer>| -> Result<()> {
                optimizer.step(&store(&[(&w, slope(&w))])).map(drop)
            };
            for _ in 0..3 {
                step(optimizer)?;
            }
            let master = |optimizer: &dyn Optimizer| -> Result<Vec<f64>> {
                Ok(flat(&optimizer.state()?.tensors["master.w"]))
            };
            let before = master(&**optimizer)?;
            // An average swapped in for a look, and the weights back.
            let kept = w.as_tensor().copy()?;
            w.set(&Tensor::full(7f32, 2, &Device::Cpu)?.to_dtype(dtype)?)?;
            w.set(&kept)?;
            step(optimizer)?;
            let after = master(&**optimizer)?;
            assert!(before[0] < after[0] && after[0] < before[0] + 3e-3);
            // The second element is written to.
            let new = Tensor::new(&[flat(&w)[0] as f32, -5.], &Device::Cpu)?;
            w.set(&new.to_dtype(dtype)?)?;
            step(optimizer)?;
            let last = master(&**optimizer)?;
            assert!(after[0] < last[0] && last[0] < after[0] + 3e-3, "{last:?}");
            assert!((-5. ..-4.98).contains(&last[1]), "{last:?}");
            assert!((flat(&w)[1] + 5.).abs() < 0.04, "{:?}", flat(&w));
        }
    }
    Ok(())
}

/// Whether anything changed is said of every dtype, at any size and place, and with gradients of zero.
#[test]
fn a_step_that_changes_nothing_is_reported() -> Result<()> {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        for n in [1, 63, 64, 65, 5000, 40_000] {
            let vars = VarMap::new();
            let w = add(&vars, "w", &Tensor::ones(n, dtype, &Device::Cpu)?);
            let v = add(&vars, "v", &Tensor::ones(n, dtype, &Device::Cpu)?);
            add(&vars, "none", &Tensor::ones(n, dtype, &Device::Cpu)?);
            let empty = add(&vars, "empty", &Tensor::zeros(0, dtype, &Device::Cpu)?);
            let config = SgdConfig {
                lr: 1.,
                ..SgdConfig::default()
            };
            let mut sgd = Sgd::new(&vars, &config)?;
            for at in [0, n / 2, n - 1] {
                let mut g = vec![0f32; n];
                g[at] = 1.;
                let g = Tensor::new(g, &Device::Cpu)?.to_dtype(dtype)?;
                let gradients = [
                    (&w, g),
                    (&v, v.zeros_like()?),
                    (&empty, empty.zeros_like()?),
                ];
                let update = sgd.step(&store(&gradients))?;
                assert_eq!(update.unchanged, ["v"], "{dtype:?} {n} {at}");
                assert_eq!(
                    (update.updated.len(), update.missing),
                    (3, vec!["none".into()])
                );
            }
            let sum: f64 = flat(&w).iter().sum();
            assert_eq!(sum, n as f64 - 3.);
        }
    }
    Ok(())
}

/// A state kept without master weights is taken, and they begin at the variable; the other way round they would be lost.
#[test]
fn states_with_and_without_master_weights() -> Result<()> {
    for dtype in HALF {
        for k in 0..2 {
            let (vars, w) = alone(dtype)?;
            let [with, without] = [true, false].map(|masters| small_steps(&vars, masters));
            let (with, without) = (&mut with?[k], &mut without?[k]);
            for optimizer in [&mut *with, &mut *without] {
                optimizer.step(&store(&[(&w, slope(&w))]))?;
            }
            let error = without.set_state(&with.state()?).unwrap_err().to_string();
            assert!(error.contains("no master weights"), "{error}");
            let mut state = with.state()?;
            state.tensors.remove("master.w");
            assert!(without.set_state(&state).is_ok());
            with.set_state(&without.state()?)?;
            assert_eq!(bits(&with.state()?.tensors["master.w"]), bits(&w));
            state
                .tensors
                .insert("master.v".into(), w.to_dtype(DType::F32)?);
            let error = with.set_state(&state).unwrap_err().to_string();
            assert!(error.contains("master.w"), "{error}");
        }
    }
    Ok(())
}

#[test]
fn schedules_begin_end_and_stay() {
    let line = Schedule::Linear {
        from: 1.,
        to: 3.,
        steps: 4,
    };
    assert_eq!([0, 1, 4, 9].map(|s| line.at(s)), [1., 1.5, 3., 3.]);
    let cosine = Schedule::Cosine {
        from: 1.,
        to: 0.2,
        steps: 10,
    };
    assert_eq!(
        [0, 10, 11, usize::MAX].map(|s| cosine.at(s)),
        [1., 0.2, 0.2, 0.2]
    );
    assert!((cosine.at(5) - 0.6).abs() < 1e-15);
    let smooth = Schedule::Exponential {
        from: 2.,
        factor: 0.25,
        every: 4,
    };
    assert_eq!([0, 2, 4].map(|s| smooth.at(s)), [2., 1., 0.5]);
    let stairs = Schedule::Staircase {
        from: 2.,
        factor: 0.5,
        every: 3,
    };
    assert_eq!([0, 2, 3, 6].map(|s| stairs.at(s)), [2., 2., 1., 0.5]);
    let sigmoid = Schedule::Sigmoid {
        from: 0.,
        to: 2.,
        midpoint: 100.,
        width: 10.,
    };
    assert_eq!(sigmoid.at(100), 1.);
    assert!((sigmoid.at(110) - 2. / (1. + (-1f64).exp())).abs() < 1e-15);
    assert!(sigmoid.at(0) < 1e-3 && sigmoid.at(10_000) == 2.);
    let cycle = Schedule::Cyclical {
        from: 0.,
        to: 1.,
        period: 10,
        ramp: 4,
        cycles: 2,
    };
    let at = [0, 2, 4, 9, 10, 12, 19, 20, 22].map(|s| cycle.at(s));
    assert_eq!(at, [0., 0.5, 1., 1., 0., 0.5, 1., 1., 1.]);
    let warm = Schedule::Constant(4.).after_warm_up(4);
    assert_eq!([0, 1, 3, 4, 5].map(|s| warm.at(s)), [1., 2., 4., 4., 4.]);
    let warm = cosine.clone().after_warm_up(3);
    assert_eq!([2, 3, 13].map(|s| warm.at(s)), [1., 1., 0.2]);
    // Lengths of zero.
    assert_eq!(
        Schedule::Linear {
            from: 1.,
            to: 3.,
            steps: 0
        }
        .at(0),
        3.
    );
    assert_eq!(
        Schedule::Cosine {
            from: 1.,
            to: 3.,
            steps: 0
        }
        .at(0),
        3.
    );
    assert_eq!(cosine.clone().after_warm_up(0).at(0), 1.);
    let none = Schedule::Cyclical {
        from: 0.,
        to: 1.,
        period: 0,
        ramp: 0,
        cycles: 3,
    };
    assert_eq!(none.at(0), 1.);
    let jump = Schedule::Sigmoid {
        from: 0.,
        to: 1.,
        midpoint: 5.,
        width: 0.,
    };
    assert_eq!([4, 5, 6].map(|s| jump.at(s)), [0., 1., 1.]);
    assert!(
        Schedule::Exponential {
            from: 1.,
            factor: 0.5,
            every: 0
        }
        .at(3)
        .is_finite()
    );
}

#[test]
fn a_part_of_a_map_is_whole_segments_of_its_paths() -> Result<()> {
    let vars = VarMap::new();
    let one = Tensor::ones(2, DType::F32, &Device::Cpu)?;
    for name in ["gen", "gen.b.w", "generator.w", "critic.gen.w"] {
        add(&vars, name, &one);
    }
    let names = |paths: &[&str]| -> Result<Vec<String>> {
        let part = under(&vars, paths)?;
        Ok(named_vars(&part)?.into_keys().collect())
    };
    assert_eq!(names(&["gen"])?, ["gen", "gen.b.w"]);
    assert_eq!(names(&["gen.b"])?, ["gen.b.w"]);
    let both = names(&["generator", "gen", "gen.b.w"])?;
    assert_eq!(both, ["gen", "gen.b.w", "generator.w"]);
    for empty in ["ge", "gen.", "w", "", "critic.ge"] {
        let error = names(&["gen", empty]).unwrap_err().to_string();
        assert!(error.contains(&format!("{empty:?}")), "{error}");
    }
    assert!(under(&vars, &[]).is_err());
    Ok(())
}

/// A game with one map: max over c, min over g of c (g - 1) - c^2 / 2.
#[test]
fn players_of_one_map_move_their_own_variables() -> Result<()> {
    let vars = VarMap::new();
    let start = Tensor::new(&[3f64, -2.], &Device::Cpu)?;
    let [g, c] = ["g.w", "c.w"].map(|name| add(&vars, name, &start));
    let (own, other) = (under(&vars, &["g"])?, under(&vars, &["c"])?);
    let config = SgdConfig {
        lr: 0.1,
        ..SgdConfig::default()
    };
    let mut player = Sgd::new(&own, &config)?;
    let mut critic = Sgd::new(&other, &config)?;
    let value = || -> Result<Tensor> {
        let gain = (c.as_tensor() * (g.as_tensor() - 1.)?)?;
        Ok((gain - (c.sqr()? / 2.)?)?.sum_all()?)
    };
    let mut gradients = backward(&value()?)?;
    let rival = flat(gradients.get(&c).unwrap());
    let norm = clip_grad_norm(&mut gradients, &own, 0.5)?;
    assert_eq!(norm, 13f64.sqrt());
    assert!((grad_norm(&gradients, &own)? - 0.5).abs() < 1e-12);
    assert_eq!(flat(gradients.get(&c).unwrap()), rival);
    let before = bits(&c);
    let update = player.step(&gradients)?;
    assert_eq!((update.updated.len(), update.missing.len()), (1, 0));
    assert_eq!(bits(&c), before);
    assert_ne!(flat(&g), [3., -2.]);
    let moved = bits(&g);
    critic.backward_step(&value()?.neg()?)?;
    assert_eq!(bits(&g), moved);
    assert_ne!(bits(&c), before);
    for _ in 0..400 {
        player.backward_step(&value()?)?;
        critic.backward_step(&value()?.neg()?)?;
    }
    let left = flat(&g).iter().map(|g| (g - 1.).abs()).fold(0., f64::max);
    assert!(left < 0.05, "{left}");
    Ok(())
}
