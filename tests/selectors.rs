//! The rivals of selection by the l2,0 norm: planted features, real data, and what each method promises.

use candle_core::{DType, Device, Tensor};
use candle_prob::select::{Esfs, Fit, Mrmr, ReliefF, Rfs, Rlsr, Rpmfs, Selector};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

fn leukemia() -> Result<(Tensor, Tensor)> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/data/leukemia.safetensors"
    );
    let tensors = candle_core::safetensors::load(path, CPU)?;
    Ok((tensors["x"].clone(), tensors["y"].to_dtype(DType::U32)?))
}

/// All of them, to select `k` features.
fn selectors(k: usize) -> Vec<(&'static str, Box<dyn Selector + Sync>)> {
    // With less, they do without some of the features that say the same.
    let rfs = Rfs {
        gamma: 20.,
        ..Rfs::default()
    };
    let rlsr = Rlsr {
        gamma: 10.,
        ..Rlsr::default()
    };
    vec![
        ("ReliefF", Box::new(ReliefF::default())),
        ("Relief", Box::new(ReliefF { neighbours: 1 })),
        ("Mrmr", Box::new(Mrmr { k })),
        ("Rfs", Box::new(rfs)),
        ("Rlsr", Box::new(rlsr)),
        ("Rpmfs", Box::new(Rpmfs::new(k))),
        ("Esfs", Box::new(Esfs::new(k))),
    ]
}

/// Samples of these classes by turns. Feature `10 i + 3`, i below `informative`, is high in class `i % classes` and low in the
/// others; all have noise of unit variance.
fn planted(
    [samples, features, classes, informative]: [usize; 4],
    signal: f64,
    seed: u64,
) -> Result<(Tensor, Tensor, Vec<usize>)> {
    let noise = Rng::new(seed).normal((samples, features), DType::F64, CPU)?;
    let mut rows = noise.to_vec2::<f64>()?;
    let support: Vec<usize> = (0..informative).map(|i| 10 * i + 3).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        for (i, feature) in support.iter().enumerate() {
            if n % classes == i % classes {
                row[*feature] += signal;
            }
        }
    }
    let labels: Vec<u32> = (0..samples).map(|n| (n % classes) as u32).collect();
    Ok((Tensor::new(rows, CPU)?, Tensor::new(labels, CPU)?, support))
}

#[test]
fn planted_features_are_found() -> Result<()> {
    for classes in [2, 3] {
        for seed in 0..3 {
            let (x, labels, support) = planted([120, 200, classes, classes], 2.5, seed)?;
            for (name, selector) in selectors(classes) {
                let ranking = selector.rank(&x, &labels)?;
                let mut top = ranking.top(classes)?.to_vec();
                top.sort();
                assert_eq!(top, support, "{name}, {classes} classes, seed {seed}");
            }
        }
    }
    Ok(())
}

#[test]
fn real_data_are_ranked_and_twice_the_same() -> Result<()> {
    let (x, labels) = leukemia()?;
    for (name, selector) in selectors(20) {
        let ranking = selector.rank(&x, &labels)?;
        let mut order = ranking.order().to_vec();
        order.sort();
        assert!(order.into_iter().eq(0..x.dim(1)?), "{name}");
        assert!(ranking.scores().iter().all(|s| s.is_finite()), "{name}");
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| selector.rank(&x, &labels)).unwrap()
        };
        assert_eq!(bits(1), ranking, "{name}");
        assert_eq!(bits(2), ranking, "{name}");
    }
    Ok(())
}

/// What a fit's weights and bias leave of the targets.
fn residual(fit: &Fit, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let classes = fit.bias.dim(0)?;
    let y = candle_nn::encoding::one_hot(labels.clone(), classes, 1f64, 0f64)?;
    Ok((x.matmul(&fit.weights)?.broadcast_add(&fit.bias)? - y)?)
}

/// The lengths of its rows.
fn residuals(fit: &Fit, x: &Tensor, labels: &Tensor) -> Result<Vec<f64>> {
    rows(&residual(fit, x, labels)?)
}

fn rows(w: &Tensor) -> Result<Vec<f64>> {
    Ok(w.sqr()?.sum(1)?.sqrt()?.to_vec1()?)
}

fn falls(name: &str, fit: &Fit) {
    for pair in fit.objectives.windows(2) {
        let [old, new] = [pair[0], pair[1]];
        assert!(new <= old * (1. + 1e-10), "{name}: {new} after {old}");
    }
}

/// Convex problems: the objective never rises and ends where the slopes say that it is least.
#[test]
fn rfs_and_rlsr_reach_their_minimum() -> Result<()> {
    let (x, labels, _) = planted([40, 100, 3, 6], 1., 7)?;
    for gamma in [0.1, 1., 10.] {
        let rfs = Rfs {
            gamma,
            iterations: 3000,
            tolerance: 1e-10,
        };
        let rlsr = Rlsr {
            gamma,
            iterations: 3000,
            tolerance: 1e-10,
        };
        for (name, fit) in [
            ("Rfs", rfs.fit(&x, &labels)?),
            ("Rlsr", rlsr.fit(&x, &labels)?),
        ] {
            falls(name, &fit);
            assert!(fit.converged, "{name}, gamma {gamma}");
            assert_eq!(fit.gap, 0.);
            let means = x.mean_keepdim(0)?;
            let value = |fit: &Fit| -> Result<f64> {
                let r = residuals(fit, &x, &labels)?;
                let lengths: f64 = rows(&fit.weights)?.iter().sum();
                // The bias of the centred data is penalized.
                let moved = means.matmul(&fit.weights)?.broadcast_add(&fit.bias)?;
                Ok(match name {
                    "Rfs" => r.iter().sum::<f64>() + gamma * (lengths + rows(&moved)?[0]),
                    _ => r.iter().map(|r| r * r).sum::<f64>() + gamma * lengths * lengths,
                })
            };
            let least = value(&fit)?;
            let last = fit.objectives[fit.objectives.len() - 1];
            assert!((least - last).abs() < 1e-3 * last, "{name}: {least} {last}");
            // Where the slope of the loss is that of the penalty, and nowhere steeper.
            let r = residual(&fit, &x, &labels)?;
            let (pull, level) = match name {
                "Rfs" => {
                    let sizes = (r.sqr()?.sum_keepdim(1)? + 1e-12)?.sqrt()?;
                    (r.broadcast_div(&sizes)?, gamma)
                }
                _ => (
                    (r * 2.)?,
                    2. * gamma * rows(&fit.weights)?.iter().sum::<f64>(),
                ),
            };
            let pull = x.broadcast_sub(&means)?.t()?.matmul(&pull)?;
            let lengths = rows(&fit.weights)?;
            let longest = lengths.iter().copied().fold(0., f64::max);
            let sizes = Tensor::new(&lengths[..], CPU)?.unsqueeze(1)?;
            let balance = (&pull + fit.weights.broadcast_div(&sizes)?.affine(level, 0.)?)?;
            for (i, (pull, balance)) in rows(&pull)?.into_iter().zip(rows(&balance)?).enumerate() {
                assert!(pull <= 1.02 * level, "{name}, {gamma}: {pull} of {level}");
                if lengths[i] > 1e-2 * longest {
                    assert!(
                        balance <= 0.02 * level,
                        "{name}, {gamma}: {balance} of {level}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn constrained_fits_obey_and_fall() -> Result<()> {
    let (x, labels) = leukemia()?;
    for k in [1, 5, 20, 60] {
        let esfs = Esfs::new(k).fit(&x, &labels)?;
        falls("Esfs", &esfs);
        let rpmfs = Rpmfs::new(k).fit(&x, &labels)?;
        assert!(rpmfs.converged && rpmfs.gap <= 1e-6, "{}", rpmfs.gap);
        let [first, last] = [
            rpmfs.objectives[0],
            rpmfs.objectives[rpmfs.objectives.len() - 1],
        ];
        assert!(last < first, "{last} after {first}");
        let loss: f64 = residuals(&rpmfs, &x, &labels)?.iter().sum();
        assert!((loss - last).abs() < 1e-9 * last, "{loss} {last}");
        for (name, fit) in [("Esfs", &esfs), ("Rpmfs", &rpmfs)] {
            let lengths = rows(&fit.weights)?;
            let kept: Vec<usize> = (0..lengths.len()).filter(|i| lengths[*i] != 0.).collect();
            assert_eq!(kept.len(), k, "{name}");
            let mut top = fit.ranking.top(k)?.to_vec();
            top.sort();
            assert_eq!(top, kept, "{name}");
        }
    }
    Ok(())
}

#[test]
fn bad_input_is_refused_by_name() -> Result<()> {
    let refused = |name: &str, result: Result<()>, texts: &[&str]| {
        let error = result.unwrap_err().to_string();
        for text in texts {
            assert!(error.contains(text), "{name}: {error} has no {text}");
        }
    };
    let (x, labels, _) = planted([12, 20, 2, 2], 2., 0)?;
    let mut entries = x.to_vec2::<f64>()?;
    entries[4][7] = f64::NAN;
    let nan = Tensor::new(entries, CPU)?;
    let one = Tensor::zeros(12, DType::U32, CPU)?;
    let short = labels.narrow(0, 0, 11)?;
    for (name, selector) in selectors(2) {
        let rank = |x: &Tensor, y: &Tensor| selector.rank(x, y).map(drop);
        let found = ["x", "finite", "NaN in row 4, column 7"];
        refused(name, rank(&nan, &labels), &found);
        refused(name, rank(&x, &one), &["labels", "two classes", "one"]);
        refused(name, rank(&x, &short), &["labels", "[12]", "[11]"]);
        let flat = x.flatten_all()?;
        refused(name, rank(&flat, &labels), &["x", "[N, d]"]);
    }
    let too_many: [(&str, &dyn Selector); 3] = [
        ("Mrmr::rank: k", &Mrmr { k: 21 }),
        ("Rpmfs::fit: k", &Rpmfs::new(21)),
        ("Esfs::fit: k", &Esfs::new(21)),
    ];
    for (name, selector) in too_many {
        let rank = selector.rank(&x, &labels).map(drop);
        refused(name, rank, &[name, "1 to 20 features", "21"]);
    }
    let none = ReliefF { neighbours: 0 };
    let fits = [
        ("neighbours", none.rank(&x, &labels).map(drop)),
        ("k", Mrmr { k: 0 }.rank(&x, &labels).map(drop)),
        ("gamma", fit(&x, &labels, |c| c.gamma = 0.)),
        ("gamma", fit(&x, &labels, |c| c.gamma = f64::NAN)),
        ("iterations", fit(&x, &labels, |c| c.iterations = 0)),
        ("tolerance", fit(&x, &labels, |c| c.tolerance = -1.)),
    ];
    for (name, fit) in fits {
        refused(name, fit, &[name]);
    }
    let huge = (x * 1e200)?;
    for (name, selector) in &selectors(2)[3..] {
        refused(name, selector.rank(&huge, &labels).map(drop), &["x"]);
    }
    Ok(())
}

fn fit(x: &Tensor, labels: &Tensor, change: impl Fn(&mut Rfs)) -> Result<()> {
    let mut config = Rfs::default();
    change(&mut config);
    config.fit(x, labels).map(drop)
}

/// Constant features tell nothing, a class may have one sample, and a number of class none.
#[test]
fn the_ends_of_what_is_allowed() -> Result<()> {
    let (x, _, _) = planted([12, 20, 2, 2], 0., 0)?;
    let labels = Tensor::new(&[0u32, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 3], CPU)?;
    let constant = (Tensor::ones((12, 3), DType::F64, CPU)? * 0.1)?;
    let x = Tensor::cat(&[&constant, &x], 1)?;
    for (name, selector) in selectors(20) {
        let ranking = selector.rank(&x, &labels)?;
        assert!(ranking.scores().iter().all(|s| s.is_finite()), "{name}");
        let constant = &ranking.scores()[..3];
        assert!(
            constant.iter().all(|s| s.abs() < 1e-5),
            "{name}: {constant:?}"
        );
    }
    for (name, selector) in selectors(2) {
        let ranking = selector.rank(&constant, &labels)?;
        assert_eq!(ranking.order(), [0, 1, 2], "{name}");
    }
    Ok(())
}
