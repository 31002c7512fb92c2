//! Feature selection by the l2,0 norm: reference paths, planted supports, and what a selection must not depend on.

use crate::support::flat;
use crate::support::golden;
use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::net::{dense, selective_input};
use candle_prob::optim::{Optimizer, Sgd, SgdConfig};
use candle_prob::select::{
    Ahiht, Blocks, CrossValidation, HihtConfig, L20, L21, Loss, Path, Preparation, Problem,
    Regularizer, Start, TopRows, ahiht, cross_validate, hiht, stability,
};
use candle_prob::{Activation, Result, Rng, init};
use serde_json::Value;

const CPU: &Device = &Device::Cpu;

fn reference() -> Value {
    golden::file(include_str!("../golden/feature_selection.json"))
}

fn cases(kind: &str) -> Vec<Value> {
    let all = reference()["cases"].as_array().unwrap().clone();
    all.into_iter().filter(|c| c["kind"] == kind).collect()
}

fn tensor(v: &Value, dtype: DType) -> Tensor {
    let dims: Vec<usize> = serde_json::from_value(v["shape"].clone()).unwrap();
    let data: Vec<f64> = golden::list(v).into_iter().map(Option::unwrap).collect();
    let x = Tensor::from_vec(data, dims, CPU).unwrap();
    x.to_dtype(dtype).unwrap()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap()
}

fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    golden::check(what, a, b, 1., DType::F64, tolerance);
}

fn config(p: &Value) -> HihtConfig {
    HihtConfig {
        lambda: Some(number(&p["lam0"])),
        final_lambda: number(&p["lam_final"]),
        rho: number(&p["rho"]),
        lipschitz: Some(number(&p["L0"])),
        gamma: number(&p["gamma"]),
        eta: number(&p["eta"]),
        epsilon: number(&p["eps"]),
        iterations: 1_000_000,
        ..HihtConfig::default()
    }
}

fn leukemia(dtype: DType) -> Result<(Tensor, Tensor)> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/data/leukemia.safetensors"
    );
    let tensors = candle_core::safetensors::load(path, CPU)?;
    Ok((
        tensors["x"].to_dtype(dtype)?,
        tensors["y"].to_dtype(DType::U32)?,
    ))
}

#[test]
fn norms_and_proximal_operators() -> Result<()> {
    let cases = cases("norms_and_prox");
    assert_eq!(cases.len(), 4);
    for case in cases {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
            let w = tensor(&case["W"], dtype);
            let (lambda, step) = (number(&case["lam"]), 1. / number(&case["L"]));
            let (hard, soft) = (L20::new(lambda)?, L21::new(number(&case["t"]))?);
            close(hard.value(&w)?, lambda * number(&case["l20"]), 0., "l20");
            let l21 = number(&case["t"]) * number(&case["l21"]);
            close(soft.value(&w)?, l21, tolerance, "l21");
            for (got, want) in [
                (hard.prox(&w, step)?, &case["row_hard_threshold"]),
                (soft.prox(&w, 1.)?, &case["prox_l21"]),
            ] {
                for (a, b) in flat(&got).iter().zip(flat(&tensor(want, dtype))) {
                    close(*a, b, tolerance, "prox");
                }
            }
        }
    }
    Ok(())
}

/// No change of one row, nor any small one of all, comes lower.
#[test]
fn proximal_operators_are_minimizers() -> Result<()> {
    let mut rng = Rng::new(1);
    // Of all matrices with three rows of v the longest are nearest.
    for _ in 0..20 {
        let v = rng.normal((8, 3), DType::F64, CPU)?;
        let gap = |w: &Tensor| (w - &v)?.sqr()?.sum_all()?.to_scalar::<f64>();
        let least = gap(&TopRows::new(3).prox(&v, 1.)?)?;
        for _ in 0..50 {
            let kept = rng.permutation(8).into_iter().map(|i| f64::from(i < 3));
            let kept = Tensor::from_iter(kept, CPU)?.reshape((8, 1))?;
            assert!(gap(&v.broadcast_mul(&kept)?)? >= least - 1e-12);
        }
    }
    let penalties: [&dyn Regularizer; 3] = [&L20::new(0.7)?, &L21::new(0.7)?, &TopRows::new(3)];
    for penalty in penalties {
        for step in [0.1, 1., 3.] {
            let v = rng.normal((8, 3), DType::F64, CPU)?;
            let value = |w: &Tensor| -> Result<f64> {
                let distance = (w - &v)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
                Ok(0.5 * distance + step * penalty.value(w)?)
            };
            let w = penalty.prox(&v, step)?;
            let least = value(&w)?;
            for i in 0..200 {
                let size = [1e-3, 0.1, 1.][i % 3];
                let noise = (rng.normal((8, 3), DType::F64, CPU)? * size)?;
                let one = Tensor::arange(0., 8., CPU)?
                    .eq((i % 8) as f64)?
                    .to_dtype(DType::F64)?;
                let row = noise.broadcast_mul(&one.reshape((8, 1))?)?;
                let zero = w.broadcast_mul(&one.affine(-1., 1.)?.reshape((8, 1))?)?;
                for other in [(&w + noise)?, (&w + row)?, zero] {
                    assert!(value(&other)? >= least - 1e-12, "step {step}");
                }
            }
        }
    }
    Ok(())
}

fn follows(case: &Value, path: &Path, tolerance: f64) {
    let want = case["path"].as_array().unwrap();
    assert_eq!(path.solutions().len(), want.len());
    for (got, want) in path.solutions().iter().zip(want) {
        close(got.lambda, number(&want["lam"]), 1e-12, "lambda");
        close(got.lipschitz, number(&want["L"]), 1e-12, "L");
        let counts = [got.iterations, got.increases, got.support.len()];
        let names = ["inner_iterations", "line_search_increases", "nonzero_rows"];
        for (count, name) in counts.into_iter().zip(names) {
            assert_eq!(count as u64, want[name].as_u64().unwrap(), "{name}");
        }
        close(got.loss, number(&want["loss"]), tolerance, "loss");
        close(
            got.objective,
            number(&want["objective"]),
            tolerance,
            "objective",
        );
    }
    let mut steps = path.solutions().iter().flat_map(|s| &s.objectives);
    for want in case["first_iterations"].as_array().unwrap() {
        let got = steps.next().unwrap();
        close(
            *got,
            number(&want["objective"]),
            tolerance,
            "objective of a step",
        );
    }
}

/// Every discrete decision and every number of the reference.
#[test]
fn reference_paths() -> Result<()> {
    let small = cases("small_problem");
    assert_eq!(small.len(), 2);
    for case in small {
        let x = tensor(&case["X"], DType::F64);
        let labels: Vec<u32> = serde_json::from_value(case["labels"].clone()).unwrap();
        let labels = Tensor::new(labels, CPU)?;
        let problem = Problem::classification(&x, &labels, &Preparation::default())?;
        let run = if case["algorithm"] == "HIHT" {
            hiht
        } else {
            ahiht
        };
        let path = run(&problem, &config(&case["parameters"]))?;
        follows(&case, &path, 1e-8);
        let w = path.last().weights(8)?;
        for (a, b) in flat(&w).iter().zip(flat(&tensor(&case["W"], DType::F64))) {
            close(*a, b, 1e-8, "W");
        }
        for (a, b) in path.last().bias.iter().zip(golden::list(&case["bias"])) {
            close(*a, b.unwrap(), 1e-8, "bias");
        }
    }
    let genes = cases("gene_selection");
    assert_eq!(genes.len(), 2);
    let (x, labels) = leukemia(DType::F64)?;
    for case in genes {
        let problem = Problem::classification(&x, &labels, &Preparation::default())?;
        let run = if case["algorithm"] == "HIHT" {
            hiht
        } else {
            ahiht
        };
        let path = run(&problem, &config(&case["parameters"]))?;
        follows(&case, &path, 1e-8);
        let selected: Vec<usize> = serde_json::from_value(case["selected"].clone()).unwrap();
        assert_eq!(path.last().support, selected);
        let top: Vec<usize> = serde_json::from_value(case["top_features"].clone()).unwrap();
        assert_eq!(path.ranking().top(top.len())?, top);
        for (i, want) in top.iter().zip(golden::list(&case["top_row_norms"])) {
            close(path.ranking().scores()[*i], want.unwrap(), 1e-8, "row norm");
        }
    }
    Ok(())
}

/// n = 300, p = 1000, 10 features of a signal five times the noise, for 20 of 20 seeds, in both dtypes.
#[test]
fn planted_supports_are_found() -> Result<()> {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let x = rng.normal((300, 1000), DType::F64, CPU)?;
        let mut planted: Vec<usize> = rng.permutation(1000)[..10].to_vec();
        planted.sort();
        let columns: Vec<u32> = planted.iter().map(|i| *i as u32).collect();
        let columns = Tensor::new(columns, CPU)?;
        // Rows of length 1 in all directions, so that no feature is lost in the noise by chance.
        let w = rng.normal((10, 3), DType::F64, CPU)?;
        let w = w.broadcast_div(&w.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let signal = x.index_select(&columns, 1)?.matmul(&w)?;
        let power = signal.sqr()?.mean_all()?.to_scalar::<f64>()?;
        let noise = (rng.normal((300, 3), DType::F64, CPU)? * (power / 5.).sqrt())?;
        let y = (signal + noise)?;
        for dtype in [DType::F64, DType::F32] {
            let (x, y) = (x.to_dtype(dtype)?, y.to_dtype(dtype)?);
            let problem = Problem::regression(&x, &y, &Preparation::default())?;
            let config = HihtConfig {
                features: Some(10),
                ..HihtConfig::default()
            };
            for run in [hiht, ahiht] {
                let mut found = run(&problem, &config)?.ranking().top(10)?.to_vec();
                found.sort();
                assert_eq!(found, planted, "seed {seed} {dtype:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn weights_are_copies() -> Result<()> {
    let mut rng = Rng::new(3);
    let x = rng.normal((40, 60), DType::F64, CPU)?;
    let y = (x.narrow(1, 0, 2)? + rng.normal((40, 2), DType::F64, CPU)?)?;
    let times: Vec<u32> = (0..40).map(|n| n % 4).collect();
    let copies: Vec<u32> = (0..40)
        .flat_map(|n| vec![n; times[n as usize] as usize])
        .collect();
    let copies = Tensor::new(copies, CPU)?;
    let weights = Tensor::new(times, CPU)?.to_dtype(DType::F64)?;
    for standardize in [false, true] {
        let weighted = Preparation {
            weights: Some(weights.clone()),
            standardize,
        };
        let plain = Preparation {
            standardize,
            ..Preparation::default()
        };
        let one = Problem::regression(&x, &y, &weighted)?;
        let other = Problem::regression(
            &x.index_select(&copies, 0)?,
            &y.index_select(&copies, 0)?,
            &plain,
        )?;
        let config = HihtConfig {
            epsilon: 1e-14,
            final_lambda: 0.3,
            ..HihtConfig::default()
        };
        let (one, other) = (hiht(&one, &config)?, hiht(&other, &config)?);
        assert_eq!(one.ranking().order(), other.ranking().order());
        for (a, b) in one.solutions().iter().zip(other.solutions()) {
            assert_eq!(a.support, b.support);
            close(a.objective, b.objective, 1e-6, "objective");
            let (w, copied) = (a.rows.concat(), b.rows.concat());
            assert_eq!(w.len(), copied.len());
            for (w, copied) in w.iter().zip(&copied) {
                close(*w, *copied, 1e-6, "W");
            }
            for (a, b) in a.bias.iter().zip(&b.bias) {
                close(*a, *b, 1e-6, "bias");
            }
        }
    }
    Ok(())
}

/// Also from a random start, in both dtypes; and predictions are those of the weights for the data as they came.
#[test]
fn the_objective_never_rises() -> Result<()> {
    let (x, labels) = leukemia(DType::F32)?;
    for dtype in [DType::F32, DType::F64] {
        let x = x.to_dtype(dtype)?;
        let seed = 1;
        for (start, lipschitz) in [
            (Start::Zero, None),
            (Start::Gaussian { scale: 1e-3, seed }, None),
            (Start::Uniform { scale: 1e-3, seed }, None),
            // L has to grow while most rows are not zero.
            (Start::Uniform { scale: 0.1, seed }, Some(1.)),
        ] {
            for standardize in [false, true] {
                let how = Preparation {
                    standardize,
                    ..Preparation::default()
                };
                let problem = Problem::classification(&x, &labels, &how)?;
                let path = ahiht(
                    &problem,
                    &HihtConfig {
                        start,
                        lipschitz,
                        lambda: lipschitz.map(|_| 1e-3),
                        ..HihtConfig::default()
                    },
                )?;
                assert_eq!(path.solutions()[0].increases > 0, lipschitz.is_some());
                let mut before = f64::INFINITY;
                for solution in path.solutions() {
                    for objective in &solution.objectives {
                        assert!(
                            *objective <= before * (1. + 1e-6),
                            "{objective} after {before}"
                        );
                        before = *objective;
                    }
                }
                let last = path.last();
                let w = last.weights(path.features())?.to_dtype(dtype)?;
                let b = Tensor::new(last.bias.clone(), CPU)?.to_dtype(dtype)?;
                let off = x.matmul(&w)?.broadcast_add(&b)?;
                let hot = labels.unsqueeze(1)?.broadcast_as((38, 2))?;
                let classes = Tensor::new(&[0u32, 1], CPU)?.broadcast_as((38, 2))?;
                let off = (off - hot.eq(&classes)?.to_dtype(dtype)?)?;
                let loss = off
                    .sqr()?
                    .sum_all()?
                    .to_dtype(DType::F64)?
                    .to_scalar::<f64>()?
                    / 2.;
                close(loss, last.loss, 1e-4, "loss of the predictions");
            }
        }
    }
    Ok(())
}

/// Neither the bound by which rows are passed over nor the single pass where most rows are not zero changes anything:
/// against the algorithm as it is written, on random problems, from zero and from numbers most of which stay.
#[test]
fn screening_is_safe() -> Result<()> {
    let (n, d, c) = (30, 300, 2);
    let starts = [0., 0.5].map(|scale| (scale, Start::Uniform { scale, seed: 9 }));
    for (seed, (scale, start)) in (0..4).flat_map(|seed| starts.map(|start| (seed, start))) {
        let mut rng = Rng::new(seed);
        let x = rng.normal((n, d), DType::F64, CPU)?;
        let y = (x.narrow(1, 0, c)? + rng.normal((n, c), DType::F64, CPU)?)?;
        let config = HihtConfig {
            lambda: Some(3.),
            final_lambda: 0.05,
            lipschitz: Some(700.),
            rho: 0.9,
            iterations: 20,
            epsilon: 0.,
            start: if scale > 0. { start } else { Start::Zero },
            ..HihtConfig::default()
        };
        let how = Preparation::default();
        let whole = x.clone();
        let blocks = Blocks::new([n, d], DType::F64, move || {
            Box::new(whole.chunk(4, 0).unwrap().into_iter().map(Ok))
        });
        let mut paths = vec![hiht(&Problem::regression(&x, &y, &how)?, &config)?];
        if seed == 0 {
            paths.push(hiht(&Problem::regression(&blocks, &y, &how)?, &config)?);
        }
        let (x, y) = (
            x.broadcast_sub(&x.mean_keepdim(0)?)?,
            y.broadcast_sub(&y.mean_keepdim(0)?)?,
        );
        let w = Rng::new(9).uniform((d, c), DType::F64, CPU)?;
        let mut w = w.affine(2. * scale, -scale)?;
        for (k, solution) in paths[0].solutions().iter().enumerate() {
            // No step of these needs a larger L: it is above the largest eigenvalue.
            assert_eq!(solution.increases, 0);
            for _ in 0..solution.iterations {
                let slope = x.t()?.matmul(&(x.matmul(&w)? - &y)?)?;
                w = L20::new(solution.lambda)?.prox(&(w - (slope / 700.)?)?, 1. / 700.)?;
            }
            let lengths = flat(&w.sqr()?.sum(D::Minus1)?);
            let support: Vec<usize> = (0..d).filter(|i| lengths[*i] > 0.).collect();
            for solution in paths.iter().map(|path| &path.solutions()[k]) {
                let place = format!("seed {seed} scale {scale} lambda {}", solution.lambda);
                assert_eq!(solution.support, support, "{place}");
                for (a, b) in flat(&solution.weights(d)?).iter().zip(flat(&w)) {
                    close(*a, b, 1e-9, &place);
                }
            }
        }
        // Most rows of the first solution are there, or few.
        assert_eq!(paths[0].solutions()[0].support.len() > d / 2, scale > 0.);
    }
    Ok(())
}

#[test]
fn the_same_bits_on_any_number_of_threads() -> Result<()> {
    let (x, labels) = leukemia(DType::F32)?;
    let problem = Problem::classification(&x, &labels, &Preparation::default())?;
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let path = pool
            .install(|| ahiht(&problem, &HihtConfig::default()))
            .unwrap();
        let rows = path.last().rows.concat();
        rows.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(bits(1), bits(2));
    Ok(())
}

#[test]
fn bad_input_is_refused_by_name() -> Result<()> {
    let refused = |result: Result<()>, texts: &[&str]| {
        let error = result.unwrap_err().to_string();
        for text in texts {
            assert!(error.contains(text), "{error} has no {text}");
        }
    };
    let how = Preparation::default();
    let labels = |labels: &[u32]| Tensor::new(labels, CPU);
    let x = Tensor::new(&[[1f32, 2.], [3., f32::NAN], [5., 2.]], CPU)?;
    let problem =
        |x: &Tensor, y: &Tensor, how: &Preparation| Problem::classification(x, y, how).map(drop);
    refused(
        problem(&x, &labels(&[0, 1, 1])?, &how),
        &["NaN", "row 1", "column 1"],
    );
    let x = Tensor::new(&[[1f32, 2.], [3., 2.], [5., 2.]], CPU)?;
    for (own, texts) in [
        (labels(&[1, 1, 1])?, ["labels", "two classes", "one"]),
        (labels(&[0, 1])?, ["labels", "[3]", "[2]"]),
        (labels(&[0, 1, 7])?, ["labels", "3 samples", "7 in row 2"]),
    ] {
        refused(problem(&x, &own, &how), &texts);
    }
    refused(
        problem(&x.to_dtype(DType::I64)?, &labels(&[0, 1, 1])?, &how),
        &["x", "f32 or f64"],
    );
    let standardize = true;
    let weights = Some(Tensor::new(&[1f32, -1., 1.], CPU)?);
    for (how, texts) in [
        (
            Preparation {
                standardize,
                ..how.clone()
            },
            ["constant", "column 1"],
        ),
        (
            Preparation {
                weights,
                ..how.clone()
            },
            ["weights", "-1 at sample 1"],
        ),
        (
            Preparation {
                weights: Some(Tensor::ones(2, DType::F32, CPU)?),
                ..how.clone()
            },
            ["weights", "[3]"],
        ),
    ] {
        refused(problem(&x, &labels(&[0, 1, 1])?, &how), &texts);
    }
    let y = Tensor::new(&[[1f32], [f32::INFINITY], [0.]], CPU)?;
    refused(
        Problem::regression(&x, &y, &how).map(drop),
        &["y", "inf in row 1"],
    );
    let good = Problem::classification(&x, &labels(&[0, 1, 1])?, &how)?;
    let run = |change: &dyn Fn(&mut HihtConfig)| {
        let mut config = HihtConfig::default();
        change(&mut config);
        hiht(&good, &config).map(drop)
    };
    for rho in [0., 1., -1., f64::NAN] {
        refused(run(&|c| c.rho = rho), &["select::hiht: rho"]);
    }
    for gamma in [1., f64::INFINITY, f64::NAN] {
        refused(run(&|c| c.gamma = gamma), &["gamma"]);
    }
    refused(run(&|c| c.eta = -1.), &["eta", "-1"]);
    refused(run(&|c| c.epsilon = -1.), &["epsilon", "-1"]);
    refused(run(&|c| c.lipschitz = Some(0.)), &["lipschitz"]);
    // Times rho it would be itself again, for ever.
    refused(run(&|c| c.final_lambda = 5e-324), &["final_lambda"]);
    refused(run(&|c| c.lambda = Some(-1.)), &["lambda", "-1"]);
    refused(run(&|c| c.final_lambda = -1.), &["final_lambda"]);
    refused(run(&|c| c.iterations = 0), &["iterations"]);
    refused(
        run(&|c| c.features = Some(3)),
        &["features", "at most 2", "3"],
    );
    refused(L20::new(-1.).map(drop), &["L20::new: lambda"]);
    refused(
        hiht(&good, &HihtConfig::default())?
            .ranking()
            .top(3)
            .map(drop),
        &["k", "at most 2"],
    );
    Ok(())
}

/// Other losses: slopes are those of the loss, the objective never rises, planted features are found also beside gross
/// outliers, and softmax gives probabilities.
#[test]
fn robust_and_softmax_losses() -> Result<()> {
    let (samples, features) = (120, 300);
    let mut rng = Rng::new(4);
    let x = rng.normal((samples, features), DType::F64, CPU)?;
    let told = (x.narrow(1, 7, 1)? * 2.)?.sub(&x.narrow(1, 40, 1)?)?;
    let scores = flat(&told);
    let labels: Vec<u32> = scores.iter().map(|s| u32::from(*s > 0.)).collect();
    let labels = Tensor::new(labels, CPU)?;
    let wild = Tensor::arange(0., samples as f64, CPU)?;
    let wild = (wild.lt(6.)?.to_dtype(DType::F64)? * 200.)?.reshape((samples, 1))?;
    let how = Preparation::default();
    let outliers = Problem::regression(&x, &(told + wild)?, &how)?;
    let classes = Problem::classification(&x, &labels, &how)?;
    let found = |problem: &Problem, loss: Loss| -> Result<Vec<usize>> {
        let config = HihtConfig {
            loss,
            features: Some(2),
            iterations: 2000,
            epsilon: 1e-10,
            rho: 0.9,
            final_lambda: 1e-6,
            ..HihtConfig::default()
        };
        let path = hiht(problem, &config)?;
        for solution in path.solutions() {
            let falls = |w: &[f64]| w[1] <= w[0] * (1. + 1e-12);
            assert!(solution.objectives.windows(2).all(falls), "{loss:?}");
        }
        let mut top = path.ranking().top(2)?.to_vec();
        top.sort();
        Ok(top)
    };
    assert_eq!(found(&outliers, Loss::Robust { delta: 0.1 })?, [7, 40]);
    assert_eq!(found(&classes, Loss::Softmax)?, [7, 40]);
    // Six outliers are enough for squares to miss them.
    assert_ne!(found(&outliers, Loss::Squares)?, [7, 40]);
    assert!(found(&outliers, Loss::Softmax).is_err());
    assert!(found(&classes, Loss::Robust { delta: 0. }).is_err());
    Ok(())
}

/// At a solution with all features the slope of the softmax loss is zero: by central differences of the loss itself.
#[test]
fn softmax_solutions_are_stationary() -> Result<()> {
    let mut rng = Rng::new(5);
    let x = rng.normal((60, 4), DType::F64, CPU)?;
    let labels: Vec<u32> = (0..60).map(|n| n % 3).collect();
    let weights: Vec<f64> = (0..60).map(|n| f64::from(n % 4)).collect();
    let rows = x.to_vec2::<f64>()?;
    let how = Preparation {
        weights: Some(Tensor::new(weights.clone(), CPU)?),
        standardize: true,
    };
    let problem = Problem::classification(&x, &Tensor::new(labels.clone(), CPU)?, &how)?;
    for loss in [Loss::Softmax, Loss::Robust { delta: 0.5 }] {
        let config = HihtConfig {
            loss,
            lambda: Some(1e-9),
            final_lambda: 1e-9,
            epsilon: 0.,
            iterations: 3000,
            ..HihtConfig::default()
        };
        let path = hiht(&problem, &config)?;
        let solution = path.last();
        assert_eq!(solution.support, [0, 1, 2, 3]);
        let value = |w: &[Vec<f64>], b: &[f64]| {
            let mut total = 0.;
            for (n, row) in rows.iter().enumerate() {
                let score = |c: usize| b[c] + (0..4).map(|i| row[i] * w[i][c]).sum::<f64>();
                let scores: Vec<f64> = (0..3).map(score).collect();
                let hot = |c: usize| f64::from(u8::from(labels[n] as usize == c));
                let r: f64 = (0..3)
                    .map(|c| (scores[c] - hot(c)).powi(2))
                    .sum::<f64>()
                    .sqrt();
                total += weights[n]
                    * match loss {
                        Loss::Softmax => {
                            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
                            sum.ln() - scores[labels[n] as usize]
                        }
                        _ if r < 0.5 => r * r + 0.25,
                        _ => r,
                    };
            }
            total
        };
        close(
            value(&solution.rows, &solution.bias),
            solution.loss,
            1e-9,
            "loss",
        );
        let h = 1e-5;
        for i in 0..5 {
            for c in 0..3 {
                let at = |h: f64| {
                    let (mut w, mut b) = (solution.rows.clone(), solution.bias.clone());
                    if i < 4 {
                        w[i][c] += h
                    } else {
                        b[c] += h
                    }
                    value(&w, &b)
                };
                let slope = (at(h) - at(-h)) / (2. * h);
                assert!(slope.abs() < 1e-5, "{loss:?} {i} {c}: {slope}");
            }
        }
    }
    Ok(())
}

/// Weights count in fit, path and error as copies do; one feature of 40 tells the class, and it is found; and without any
/// signal no feature is the answer.
#[test]
fn cross_validation() -> Result<()> {
    let mut rng = Rng::new(6);
    let x = rng.normal((80, 40), DType::F64, CPU)?;
    let noise = (rng.normal((80, 1), DType::F64, CPU)? * 0.3)?;
    let labels = (x.narrow(1, 11, 1)? + noise)?.gt(0.)?;
    let labels = labels.flatten_all()?.to_dtype(DType::U32)?;
    let config = HihtConfig::default();
    let how = CrossValidation {
        folds: 5,
        sizes: vec![0, 1, 2, 10, 30],
        seed: 3,
    };
    let plain = Preparation::default();
    let found = cross_validate(&x, &labels, &plain, &Ahiht(config.clone()), &how)?;
    assert_eq!((found.errors.len(), found.errors[0].len()), (5, 5));
    assert_eq!(found.one_standard_error, 1);
    let least = found.mean.iter().copied().fold(f64::INFINITY, f64::min);
    let first = found.mean.iter().position(|mean| *mean == least);
    assert_eq!(first.map(|k| found.sizes[k]), Some(found.best));
    assert!(
        found.mean[0] > 0.3 && found.mean[1] < 0.2,
        "{:?}",
        found.mean
    );
    for (k, mean) in found.mean.iter().enumerate() {
        let column = found.errors.iter().map(|row| row[k]);
        close(*mean, column.sum::<f64>() / 5., 1e-12, "mean");
    }
    // BIC and EBIC choose the one feature; AIC too many, as it does.
    for criterion in [&found.bic, &found.ebic] {
        let least = criterion.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!(criterion[1], least, "{criterion:?}");
    }
    // All weights doubled change nothing but the criteria.
    let doubled = Preparation {
        weights: Some(Tensor::full(2f64, 80, CPU)?),
        ..Preparation::default()
    };
    let config = HihtConfig {
        lambda: Some(2.),
        ..config
    };
    let twice = HihtConfig {
        lambda: Some(4.),
        final_lambda: 2. * config.final_lambda,
        ..config.clone()
    };
    let one = cross_validate(&x, &labels, &plain, &Ahiht(config.clone()), &how)?;
    let two = cross_validate(&x, &labels, &doubled, &Ahiht(twice), &how)?;
    assert_eq!(one.errors, two.errors);
    let random: Vec<u32> = (0..80).map(|n| u32::from(n % 3 == 0)).collect();
    let random = Tensor::new(random, CPU)?;
    let none = cross_validate(&x, &random, &plain, &Ahiht(config.clone()), &how)?;
    assert_eq!(none.one_standard_error, 0, "{:?}", none.mean);
    for (folds, sizes, text) in [
        (1, vec![1], "folds"),
        (70, vec![1], "folds"),
        (5, vec![], "sizes"),
        (5, vec![1, 41], "cross_validate: sizes"),
    ] {
        let seed = 3;
        let how = CrossValidation { folds, sizes, seed };
        let error = cross_validate(&x, &labels, &plain, &Ahiht(config.clone()), &how).unwrap_err();
        assert!(error.to_string().contains(text), "{error} has no {text}");
    }
    Ok(())
}

/// A copy, a copy turned round and stretched, and one with a little noise are found; weights count as copies do; and
/// constant features are in no pair.
#[test]
fn features_that_say_the_same() -> Result<()> {
    let mut rng = Rng::new(3);
    let (n, d) = (80, 30);
    let x = rng.normal((n, d), DType::F64, CPU)?;
    let noise = rng.normal((n, 1), DType::F64, CPU)?;
    let columns = [
        x.clone(),
        x.narrow(1, 4, 1)?,
        x.narrow(1, 7, 1)?.affine(-30., 100.)?,
        (x.narrow(1, 9, 1)? + (noise * 0.1)?)?,
        x.narrow(1, 0, 2)?.affine(0., 0.1)?,
    ];
    let x = Tensor::cat(&columns, 1)?;
    let y = x.narrow(1, 0, 2)?;
    let weights = Tensor::new([vec![2.; 40], vec![0.; 40]].concat(), CPU)?;
    let [all, half]: [Vec<usize>; 2] = [(0..d + 5).collect(), vec![9, d + 2, 5]];
    for dtype in [DType::F32, DType::F64] {
        let (x, y) = (x.to_dtype(dtype)?, y.to_dtype(dtype)?);
        let problem = Problem::regression(&x, &y, &Preparation::default())?;
        let pairs = problem.correlated(&all, 0.99)?;
        let places: Vec<[usize; 2]> = pairs.iter().map(|pair| pair.features).collect();
        assert_eq!(places.len(), 3, "{places:?}");
        for place in [[4, d], [7, d + 1], [9, d + 2]] {
            assert!(places.contains(&place), "{places:?}");
        }
        assert_eq!(places[2], [9, d + 2], "the closest first");
        let turned = places.iter().position(|place| place[0] == 7).unwrap();
        close(pairs[turned].correlation, -1., 1e-6, "turned round");
        // Weights of the first half are the first half alone.
        let how = Preparation {
            weights: Some(weights.to_dtype(dtype)?),
            ..Preparation::default()
        };
        let weighted = Problem::regression(&x, &y, &how)?.correlated(&half, 0.99)?;
        let (x, y) = (x.narrow(0, 0, 40)?, y.narrow(0, 0, 40)?);
        let plain = Problem::regression(&x, &y, &Preparation::default())?;
        let plain = plain.correlated(&half, 0.99)?;
        assert_eq!((weighted.len(), plain.len()), (1, 1));
        let [weighted, plain] = [weighted, plain].map(|pairs| pairs[0].correlation);
        close(weighted, plain, 1e-6, "weighted");
        assert!(problem.correlated(&[], 0.99)?.is_empty());
        for (features, least, word) in [
            (vec![0, 0], 0.99, "features"),
            (vec![d + 5], 0.99, "features"),
            (vec![0, 1], f64::NAN, "least"),
        ] {
            let error = problem.correlated(&features, least).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    Ok(())
}

#[test]
fn stable_features() -> Result<()> {
    let mut rng = Rng::new(7);
    let x = rng.normal((80, 40), DType::F64, CPU)?;
    let labels = (x.narrow(1, 11, 1)? - x.narrow(1, 12, 1)?)?.gt(0.)?;
    let labels = labels.flatten_all()?.to_dtype(DType::U32)?;
    let (how, config) = (Preparation::default(), HihtConfig::default());
    let run = |seed: u64| {
        stability(
            &x,
            &labels,
            &how,
            &Ahiht(config.clone()),
            4,
            30,
            &mut Rng::new(seed),
        )
    };
    let found = run(1)?;
    assert_eq!(found.selected(0.9), [11, 12]);
    close(
        found.frequencies.iter().sum(),
        4.,
        1e-12,
        "features each time",
    );
    close(
        found.false_selections(0.9),
        16. / (0.8 * 40.),
        1e-12,
        "bound",
    );
    assert_eq!(found.false_selections(0.5), f64::INFINITY);
    assert_eq!(found, run(1)?);
    assert_ne!(found, run(2)?);
    for (size, halves, text) in [(0, 3, "size"), (41, 3, "size"), (4, 0, "halves")] {
        let error = stability(
            &x,
            &labels,
            &how,
            &Ahiht(config.clone()),
            size,
            halves,
            &mut Rng::new(1),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains(text), "{error} has no {text}");
    }
    Ok(())
}

/// A product of two features, which no linear method sees: of twenty the network keeps these two and exact zeros of the
/// others, by the l2,1 norm, and by fewer and fewer rows.
#[test]
fn a_network_selects_its_inputs() -> Result<()> {
    let x = Rng::new(1).normal((2048, 20), DType::F32, CPU)?;
    let y = (x.narrow(1, 3, 1)? * x.narrow(1, 14, 1)?)?;
    let (steps, lr) = (3000, 0.05);
    let soft = |_| -> Result<Box<dyn Regularizer>> { Ok(Box::new(L21::new(0.1)?)) };
    let fewer = |step: usize| -> Result<Box<dyn Regularizer>> {
        Ok(Box::new(TopRows::new(20 - 18 * step / (steps - 1))))
    };
    type Penalty<'a> = &'a dyn Fn(usize) -> Result<Box<dyn Regularizer>>;
    for penalty in [&soft as Penalty, &fewer] {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, 2, DType::F32, CPU);
        let first = selective_input(20, 32, Activation::Relu, vb.pp("first"))?;
        let last = dense(32, 1, Activation::Identity, vb.pp("last"))?;
        let config = SgdConfig {
            lr,
            momentum: 0.,
            ..SgdConfig::default()
        };
        let mut sgd = Sgd::new(&vars, &config)?;
        assert_eq!(first.support()?.len(), 20);
        let loss = || -> Result<Tensor> {
            Ok((last.forward(&first.forward(&x)?)? - &y)?
                .sqr()?
                .mean_all()?)
        };
        for step in 0..steps {
            sgd.backward_step(&loss()?)?;
            first.shrink(penalty(step)?.as_ref(), lr)?;
        }
        assert_eq!(first.support()?, [3, 14]);
        let off = loss()?.to_scalar::<f32>()?;
        assert!(off < 0.5, "{off}");
    }
    Ok(())
}
