//! The rivals of selection by the l2,0 norm: planted features, real data, and what each method promises.

use candle_core::{DType, Device, Tensor};
use candle_prob::select::{
    Ahiht, CrossValidation, Esfs, Fit, Hiht, HihtConfig, Mrmr, Preparation, ReliefF, Rfs, Rlsr,
    Rpmfs, Selector, cross_validate, stability,
};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

/// Data as they are.
const PLAIN: Preparation = Preparation {
    weights: None,
    standardize: false,
};

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
                let ranking = selector.rank(&x, &labels, &PLAIN)?;
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
        let ranking = selector.rank(&x, &labels, &PLAIN)?;
        let mut order = ranking.order().to_vec();
        order.sort();
        assert!(order.into_iter().eq(0..x.dim(1)?), "{name}");
        assert!(ranking.scores().iter().all(|s| s.is_finite()), "{name}");
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| selector.rank(&x, &labels, &PLAIN)).unwrap()
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
            ("Rfs", rfs.fit(&x, &labels, &PLAIN)?),
            ("Rlsr", rlsr.fit(&x, &labels, &PLAIN)?),
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
        let esfs = Esfs::new(k).fit(&x, &labels, &PLAIN)?;
        falls("Esfs", &esfs);
        let rpmfs = Rpmfs::new(k).fit(&x, &labels, &PLAIN)?;
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
        let rank = |x: &Tensor, y: &Tensor| selector.rank(x, y, &PLAIN).map(drop);
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
        let rank = selector.rank(&x, &labels, &PLAIN).map(drop);
        refused(name, rank, &[name, "1 to 20 features", "21"]);
    }
    let none = ReliefF { neighbours: 0 };
    let fits = [
        ("neighbours", none.rank(&x, &labels, &PLAIN).map(drop)),
        ("k", Mrmr { k: 0 }.rank(&x, &labels, &PLAIN).map(drop)),
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
        refused(
            name,
            selector.rank(&huge, &labels, &PLAIN).map(drop),
            &["x"],
        );
    }
    Ok(())
}

fn fit(x: &Tensor, labels: &Tensor, change: impl Fn(&mut Rfs)) -> Result<()> {
    let mut config = Rfs::default();
    change(&mut config);
    config.fit(x, labels, &PLAIN).map(drop)
}

/// Constant features tell nothing, a class may have one sample, and a number of class none.
#[test]
fn the_ends_of_what_is_allowed() -> Result<()> {
    let (x, _, _) = planted([12, 20, 2, 2], 0., 0)?;
    let labels = Tensor::new(&[0u32, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 3], CPU)?;
    let constant = (Tensor::ones((12, 3), DType::F64, CPU)? * 0.1)?;
    let x = Tensor::cat(&[&constant, &x], 1)?;
    for (name, selector) in selectors(20) {
        let ranking = selector.rank(&x, &labels, &PLAIN)?;
        assert!(ranking.scores().iter().all(|s| s.is_finite()), "{name}");
        let constant = &ranking.scores()[..3];
        assert!(
            constant.iter().all(|s| s.abs() < 1e-5),
            "{name}: {constant:?}"
        );
    }
    for (name, selector) in selectors(2) {
        let ranking = selector.rank(&constant, &labels, &PLAIN)?;
        assert_eq!(ranking.order(), [0, 1, 2], "{name}");
    }
    Ok(())
}

/// Features of scales from a thousandth to a thousand.
fn stretched(x: &Tensor) -> Result<Tensor> {
    let scales: Vec<f64> = (0..x.dim(1)?)
        .map(|i| 10f64.powi(i as i32 % 7 - 3))
        .collect();
    Ok(x.broadcast_mul(&Tensor::new(scales, CPU)?)?)
}

/// Standardized features have the same scores as the same features stretched and standardized; for the methods that look
/// at scales these are not those of the stretched ones as they are.
#[test]
fn standardized_features_have_no_scale() -> Result<()> {
    let how = Preparation {
        standardize: true,
        ..PLAIN
    };
    let (x, labels, support) = planted([120, 60, 3, 3], 2.5, 5)?;
    let wide = stretched(&x)?;
    let mut all = selectors(3);
    let config = HihtConfig::default();
    all.push(("Hiht", Box::new(Hiht(config.clone()))));
    all.push(("Ahiht", Box::new(Ahiht(config))));
    for (name, selector) in &all {
        let standardized = selector.rank(&wide, &labels, &how)?;
        let mut top = standardized.top(3)?.to_vec();
        top.sort();
        assert_eq!(top, support, "{name}");
        let [one, two] = [&x, &wide].map(|x| selector.rank(x, &labels, &how));
        let (one, two) = (one?, two?);
        for (a, b) in one.scores().iter().zip(two.scores()) {
            assert!((a - b).abs() <= 1e-6 * a.abs().max(1.), "{name}: {a} {b}");
        }
        let plain = selector.rank(&wide, &labels, &PLAIN)?;
        let blind = ["ReliefF", "Relief", "Mrmr"].contains(name);
        assert_eq!(plain == standardized, blind, "{name}");
    }
    Ok(())
}

/// Weights and bias are those of the data as they came, and their lengths times the standard deviations the scores.
#[test]
fn standardized_fits_are_of_the_data_as_they_came() -> Result<()> {
    let how = Preparation {
        standardize: true,
        ..PLAIN
    };
    let (x, labels, _) = planted([60, 40, 2, 4], 2., 8)?;
    let wide = (stretched(&x)? + 4.)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    let deviations = centred.sqr()?.mean_keepdim(0)?.sqrt()?;
    let unit = centred.broadcast_div(&deviations)?;
    type Solve<'a> = &'a dyn Fn(&Tensor, &Preparation) -> Result<Fit>;
    let methods: [(&str, Solve); 4] = [
        ("Rfs", &|x, how| Rfs::default().fit(x, &labels, how)),
        ("Rlsr", &|x, how| Rlsr::default().fit(x, &labels, how)),
        ("Rpmfs", &|x, how| Rpmfs::new(4).fit(x, &labels, how)),
        ("Esfs", &|x, how| Esfs::new(4).fit(x, &labels, how)),
    ];
    for (name, fit) in methods {
        let (by_hand, fitted) = (fit(&unit, &PLAIN)?, fit(&wide, &how)?);
        let scores = |fit: &Fit, x: &Tensor| -> Result<Tensor> {
            Ok(x.matmul(&fit.weights)?.broadcast_add(&fit.bias)?)
        };
        let gap = (scores(&by_hand, &unit)? - scores(&fitted, &wide)?)?;
        let gap = gap.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(gap < 1e-7, "{name}: {gap}");
        for (a, b) in by_hand.ranking.scores().iter().zip(fitted.ranking.scores()) {
            assert!((a - b).abs() < 1e-8, "{name}: {a} {b}");
        }
    }
    Ok(())
}

/// What the rivals cannot use they refuse by name: constant features to be standardized, weights, targets.
#[test]
fn preparations_are_refused_by_name() -> Result<()> {
    let (x, labels, _) = planted([12, 20, 2, 2], 2., 0)?;
    let constant = Tensor::cat(&[&(Tensor::ones((12, 1), DType::F64, CPU)? * 0.1)?, &x], 1)?;
    for (name, selector) in selectors(2) {
        let refused = |result: Result<candle_prob::select::Ranking>, texts: &[&str]| {
            let error = result.unwrap_err().to_string();
            for text in texts {
                assert!(error.contains(text), "{name}: {error} has no {text}");
            }
        };
        let how = Preparation {
            standardize: true,
            ..PLAIN
        };
        let result = selector.rank(&constant, &labels, &how);
        refused(result, &["x", "not constant", "column 0"]);
        let how = Preparation {
            weights: Some(Tensor::ones(12, DType::F64, CPU)?),
            ..PLAIN
        };
        refused(
            selector.rank(&x, &labels, &how),
            &["weights", "none", "[12]"],
        );
        refused(
            selector.rank(&x, &x, &PLAIN),
            &["labels [12] of an integer dtype", "F64"],
        );
    }
    Ok(())
}

/// Any method is cross-validated and judged for stability, on the same folds and halves, also where features must be
/// standardized to be found; and class numbers that no sample has do no harm.
#[test]
fn any_selector_is_validated() -> Result<()> {
    let (x, labels, support) = planted([90, 40, 3, 3], 4., 2)?;
    let x = stretched(&x)?;
    let gaps = (labels.to_dtype(DType::F64)? * 29.)?.to_dtype(DType::U32)?;
    let how = Preparation {
        standardize: true,
        ..PLAIN
    };
    let folds = CrossValidation {
        folds: 5,
        sizes: vec![0, 1, 3, 10],
        seed: 1,
    };
    let mut all = selectors(3);
    all.push(("Ahiht", Box::new(Ahiht::default())));
    for (name, selector) in &all {
        let found = cross_validate(&x, &labels, &how, &**selector, &folds)?;
        assert_eq!(found.one_standard_error, 3, "{name}: {:?}", found.mean);
        assert!(
            found.mean[0] > 0.6 && found.mean[2] < 0.2,
            "{name}: {:?}",
            found.mean
        );
        let again = cross_validate(&x, &gaps, &how, &**selector, &folds)?;
        assert_eq!(
            (again.errors, again.mean),
            (found.errors, found.mean),
            "{name}"
        );
        let stable = stability(&x, &labels, &how, &**selector, 3, 10, &mut Rng::new(1))?;
        assert_eq!(stable.selected(0.9), support, "{name}");
    }
    Ok(())
}

/// The samples that are held out are not seen by the ranking.
#[test]
fn rankings_of_folds_see_the_other_folds_alone() -> Result<()> {
    struct Counting(std::cell::RefCell<Vec<(Vec<f64>, u64)>>);
    impl Selector for Counting {
        fn rank(
            &self,
            x: &Tensor,
            y: &Tensor,
            how: &Preparation,
        ) -> Result<candle_prob::select::Ranking> {
            let weights = how.weights.as_ref().map(|w| w.to_vec1::<f64>());
            let first = x.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<f64>()?;
            assert_eq!(weights.transpose()?, Some(first.clone()));
            let sum = y.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
            self.0.borrow_mut().push((first, sum as u64));
            let plain = Preparation {
                weights: None,
                ..how.clone()
            };
            Mrmr { k: 1 }.rank(x, y, &plain)
        }
    }
    let (n, folds) = (30, 3);
    // The first feature and the weight are the number of the sample.
    let number = Tensor::arange(0f64, n as f64, CPU)?;
    let noise = Rng::new(1).normal((n, 4), DType::F64, CPU)?;
    let x = Tensor::cat(&[&number.unsqueeze(1)?, &noise], 1)?;
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
    let how = Preparation {
        weights: Some(number),
        ..PLAIN
    };
    let spy = Counting(std::cell::RefCell::default());
    let validation = CrossValidation {
        folds,
        sizes: vec![1],
        seed: 1,
    };
    cross_validate(&x, &Tensor::new(labels, CPU)?, &how, &spy, &validation)?;
    let seen = spy.0.into_inner();
    // Each fold, and all for the criteria.
    assert_eq!(seen.len(), folds + 1);
    let mut times = vec![0; n];
    for (samples, ones) in &seen[..folds] {
        assert_eq!((samples.len(), *ones), (20, 10));
        samples.iter().for_each(|i| times[*i as usize] += 1);
    }
    assert_eq!(times, vec![folds - 1; n]);
    assert_eq!(seen[folds].0.len(), n);
    Ok(())
}

/// ReliefF by plain loops: all distances, sorted class by class.
fn plain_relieff(x: &Tensor, labels: &[u32], neighbours: usize) -> Result<Vec<f64>> {
    let columns = x.t()?.to_vec2::<f64>()?;
    let samples = labels.len();
    let mut rows = vec![vec![0.; columns.len()]; samples];
    for (i, column) in columns.iter().enumerate() {
        let low = column.iter().copied().fold(f64::INFINITY, f64::min) / 2.;
        let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max) / 2.;
        for (row, x) in rows.iter_mut().zip(column) {
            row[i] = (x / 2. - low) / (high - low);
        }
    }
    let distance = |n: usize, m: usize| -> f64 {
        let pairs = rows[n].iter().zip(&rows[m]);
        pairs.map(|(a, b)| (a - b).abs()).sum()
    };
    let classes = labels.iter().max().unwrap() + 1;
    let count = |class: u32| labels.iter().filter(|y| **y == class).count();
    let mut scores = vec![0.; columns.len()];
    for n in 0..samples {
        for class in 0..classes {
            let mut near: Vec<usize> = (0..samples)
                .filter(|m| labels[*m] == class && *m != n)
                .collect();
            near.sort_by(|a, b| distance(n, *a).total_cmp(&distance(n, *b)));
            near.truncate(neighbours);
            let share = match class == labels[n] {
                true => -1.,
                false => count(class) as f64 / (samples - count(labels[n])) as f64,
            };
            let weight = share / (near.len() * samples) as f64;
            for m in near {
                for (i, score) in scores.iter_mut().enumerate() {
                    *score += weight * (rows[n][i] - rows[m][i]).abs();
                }
            }
        }
    }
    Ok(scores)
}

/// With many ties, few classes and many, and as many neighbours as there are.
#[test]
fn relieff_has_the_bits_of_plain_loops() -> Result<()> {
    for [samples, features, classes, neighbours] in
        [[90, 5, 2, 10], [61, 20, 7, 3], [50, 300, 3, 500]]
    {
        let x = Rng::new(3).normal((samples, features), DType::F64, CPU)?;
        let labels: Vec<u32> = (0..samples).map(|n| (n * n % classes) as u32).collect();
        for x in [x.round()?, x] {
            let y = Tensor::new(&labels[..], CPU)?;
            let ranking = ReliefF { neighbours }.rank(&x, &y, &PLAIN)?;
            let want = plain_relieff(&x, &labels, neighbours)?;
            let bits = |scores: &[f64]| scores.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(ranking.scores()), bits(&want), "{samples}");
        }
    }
    Ok(())
}

/// A method of one's own: by the variance of a feature.
#[test]
fn a_stranger_can_be_a_selector() -> Result<()> {
    struct Variance;
    impl Selector for Variance {
        fn rank(
            &self,
            x: &Tensor,
            _: &Tensor,
            _: &Preparation,
        ) -> Result<candle_prob::select::Ranking> {
            candle_prob::select::Ranking::by_scores(x.to_dtype(DType::F64)?.var(0)?.to_vec1()?)
        }
    }
    let x = Tensor::new(&[[1f64, 10., 0.], [2., -10., 0.], [3., 0., 0.]], CPU)?;
    let y = Tensor::new(&[0u32, 1, 0], CPU)?;
    let ranking = Variance.rank(&x, &y, &Preparation::default())?;
    assert_eq!(ranking.order(), [1, 0, 2]);
    assert!(candle_prob::select::Ranking::by_scores(vec![1., f64::NAN]).is_err());
    Ok(())
}
