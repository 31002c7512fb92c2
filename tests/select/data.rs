//! Features from tensors, sparse rows and blocks, and data at the edges.

use crate::support::flat;
use candle_core::{DType, Device, Tensor};
use candle_prob::select::{
    Blocks, Csr, HihtConfig, L20, LeastSquares, Loss, Preparation, Problem, ReliefF, Selector,
    Start, ahiht, forward, hiht, splice,
};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!(
        (a - b).abs() <= tolerance * b.abs().max(1.),
        "{what}: {a} is not {b}"
    );
}

/// What has no spread, or too much of it, however the weights round.
#[test]
fn spreads_that_are_none() -> Result<()> {
    let samples = 50;
    let labels: Vec<u32> = (0..samples as u32).map(|n| n % 2).collect();
    let labels = Tensor::new(labels, CPU)?;
    let columns: Vec<u32> = (0..samples).flat_map(|_| [0, 1]).collect();
    let values: Vec<f32> = (0..samples).flat_map(|n| [7., n as f32]).collect();
    let offsets = (0..=samples).map(|n| 2 * n).collect();
    let csr = Csr::new(2, offsets, columns, values)?;
    let mut how = Preparation {
        standardize: true,
        ..Preparation::default()
    };
    for seed in 0..10 {
        how.weights = Some(Rng::new(seed).uniform(samples, DType::F64, CPU)?);
        let error = Problem::classification(&csr, &labels, &how).unwrap_err();
        assert!(error.to_string().contains("column 0"), "{error}");
    }
    assert!(Csr::new(usize::MAX, vec![0], vec![], vec![]).is_err());
    let x = Rng::new(3).normal((samples, 4), DType::F64, CPU)?;
    // Without standardization a constant feature is never selected, whatever its mean's rounding leaves: of sparse values times
    // the roots of weights a slope far above the last threshold.
    let noise = Rng::new(4).normal(samples, DType::F32, CPU)?;
    let noise = noise.to_vec1::<f32>()?;
    let values: Vec<f32> = noise.into_iter().flat_map(|x| [1e7, x]).collect();
    let columns: Vec<u32> = (0..samples).flat_map(|_| [0, 1]).collect();
    let offsets = (0..=samples).map(|n| 2 * n).collect();
    let large = Csr::new(2, offsets, columns, values)?;
    for seed in 0..5 {
        let weighted = Preparation {
            weights: Some(Rng::new(seed).uniform(samples, DType::F64, CPU)?),
            ..Preparation::default()
        };
        let problem = Problem::classification(&large, &labels, &weighted)?;
        for start in [Start::Zero, Start::Gaussian { scale: 0.1, seed }] {
            let config = HihtConfig {
                start,
                ..HihtConfig::default()
            };
            let path = ahiht(&problem, &config)?;
            assert_eq!(path.ranking().order(), [1, 0], "{path:?}");
            for solution in path.solutions() {
                assert!(!solution.support.contains(&0), "{:?}", solution.support);
            }
        }
    }
    // A hundred thousand tenths do not add up to ten thousand; they are constant all the same.
    let tenths = Tensor::full(0.1f64, (100_000, 1), CPU)?;
    let many: Vec<u32> = (0..100_000).map(|n| n % 2).collect();
    let many = Tensor::new(many, CPU)?;
    let plain = Preparation {
        standardize: true,
        ..Preparation::default()
    };
    let whole = tenths.clone();
    let blocks = Blocks::new([100_000, 1], DType::F64, move || {
        Box::new(std::iter::once(Ok(whole.clone())))
    });
    for refused in [
        Problem::classification(&tenths, &many, &plain),
        Problem::classification(&blocks, &many, &plain),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("column 0"), "{error}");
    }
    for (weight, text) in [(1e308, "sum is finite"), (0., "not all of them 0")] {
        how.weights = Some(Tensor::full(weight, samples, CPU)?);
        let error = Problem::classification(&x, &labels, &how).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    how.weights = None;
    let error = Problem::classification(&(&x * 1e200)?, &labels, &how).unwrap_err();
    assert!(error.to_string().contains("finite sums"), "{error}");
    let x = (x * 1e30)?.to_dtype(DType::F32)?;
    let problem = Problem::classification(&x, &labels, &Preparation::default())?;
    let error = ahiht(&problem, &HihtConfig::default()).unwrap_err();
    assert!(error.to_string().contains("finite sums"), "{error}");
    for scale in [f64::NAN, -1., f64::INFINITY] {
        let config = HihtConfig {
            start: Start::Gaussian { scale, seed: 1 },
            ..HihtConfig::default()
        };
        let error = hiht(&problem, &config).unwrap_err();
        assert!(error.to_string().contains("scale"), "{error}");
    }
    Ok(())
}

/// The same data as a tensor, as sparse rows, and in blocks of uneven sizes: the same supports, numbers to 1e-5.
#[test]
fn sparse_and_streamed_data_give_the_same_path() -> Result<()> {
    let (samples, features) = (90, 400);
    let mut rng = Rng::new(8);
    let dense = rng.normal((samples, features), DType::F32, CPU)?;
    let kept = rng
        .uniform((samples, features), DType::F32, CPU)?
        .lt(0.1f32)?;
    let x = (dense.affine(1., 0.5)? * kept.to_dtype(DType::F32)?)?;
    let labels: Vec<u32> = (0..samples).map(|n| (n % 3) as u32).collect();
    let told = Tensor::new(labels.clone(), CPU)?.to_dtype(DType::F32)?;
    let told = told.reshape((samples, 1))?.broadcast_as((samples, 4))?;
    let x = Tensor::cat(
        &[
            &(x.narrow(1, 0, 4)? + told)?,
            &x.narrow(1, 4, features - 4)?,
        ],
        1,
    )?;
    let labels = Tensor::new(labels, CPU)?;
    let (mut offsets, mut columns, mut values) = (vec![0], vec![], vec![]);
    for row in x.to_vec2::<f32>()? {
        // Two halves of each, one after the row's end: entries of a place add up.
        for _ in 0..2 {
            for (i, v) in row.iter().enumerate().filter(|(_, v)| **v != 0.) {
                columns.push(i as u32);
                values.push(v / 2.);
            }
        }
        offsets.push(values.len());
    }
    let csr = Csr::new(features, offsets, columns, values)?;
    let whole = x.clone();
    let blocks = Blocks::new([samples, features], DType::F32, move || {
        let x = whole.clone();
        let sizes = [(0, 37), (37, 1), (38, 0), (38, 52)];
        Box::new(
            sizes
                .into_iter()
                .map(move |(from, n)| Ok(x.narrow(0, from, n)?)),
        )
    });
    let weights: Vec<f32> = (0..samples).map(|n| 0.5 + (n % 5) as f32).collect();
    for weights in [None, Some(Tensor::new(weights, CPU)?)] {
        for standardize in [false, true] {
            let how = Preparation {
                weights: weights.clone(),
                standardize,
            };
            let problems = [
                Problem::classification(&x, &labels, &how)?,
                Problem::classification(&csr, &labels, &how)?,
                Problem::classification(&blocks, &labels, &how)?,
            ];
            let config = HihtConfig {
                final_lambda: 0.05,
                epsilon: 0.,
                iterations: 30,
                ..HihtConfig::default()
            };
            let [want, others @ ..] = problems.map(|p| hiht(&p, &config).unwrap());
            for got in others {
                assert_eq!(got.solutions().len(), want.solutions().len());
                for (a, b) in got.solutions().iter().zip(want.solutions()) {
                    assert_eq!(a.support, b.support);
                    close(a.objective, b.objective, 1e-5, "objective");
                    for (a, b) in a.rows.concat().iter().zip(b.rows.concat()) {
                        close(*a, b, 1e-5, "W");
                    }
                    for (a, b) in a.bias.iter().zip(&b.bias) {
                        close(*a, *b, 1e-5, "bias");
                    }
                }
                let top = want.last().support.len();
                assert_eq!(got.ranking().top(top)?, want.ranking().top(top)?);
            }
        }
    }
    Ok(())
}

/// What a reader does wrong, or reports, comes back as an error.
#[test]
fn readers_that_fail() -> Result<()> {
    let labels = Tensor::new(&[0u32, 1, 0, 1], CPU)?;
    let fails = |block: Result<Tensor>, text: &str| {
        let block = std::sync::Mutex::new(Some(block));
        let blocks = Blocks::new([4, 2], DType::F32, move || {
            Box::new(block.lock().unwrap().take().into_iter())
        });
        let problem = Problem::classification(&blocks, &labels, &Preparation::default());
        let error = problem.unwrap_err().to_string();
        assert!(error.contains(text), "{error} has no {text}");
    };
    let ones = |n: usize, d: usize| Tensor::ones((n, d), DType::F32, CPU);
    fails(Ok(ones(3, 2)?), "4 rows");
    fails(Ok(ones(5, 2)?), "at most 4");
    fails(Ok(ones(4, 3)?), "[n, 2]");
    fails(Ok(ones(4, 2)?.to_dtype(DType::F64)?), "F32");
    fails(Ok((ones(4, 2)? / 0.)?), "inf in row 0, column 0");
    fails(L20::new(-1.).and_then(|_| Ok(ones(4, 2)?)), "L20::new");
    for (offsets, columns, text) in [
        (vec![0, 2], vec![0], "offsets"),
        (vec![0, 1], vec![0, 1], "columns"),
        (vec![0, 2, 1], vec![0], "offsets"),
        (vec![0, 1], vec![7], "columns"),
        (vec![], vec![0], "offsets"),
    ] {
        let error = Csr::new(5, offsets, columns, vec![1.])
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error} has no {text}");
    }
    Ok(())
}

/// `Y - X W - b`, by weights, scales and losses, whatever holds the data.
#[test]
fn residuals_are_what_scores_leave() -> Result<()> {
    let mut rng = Rng::new(20);
    let x = rng.normal((40, 12), DType::F32, CPU)?.affine(1., 3.)?;
    let noise = rng.normal((40, 2), DType::F32, CPU)?;
    let y = (x.narrow(1, 2, 2)?.affine(2., 0.)? + noise)?;
    let entries = x.flatten_all()?.to_vec1::<f32>()?;
    let columns = (0..480).map(|k| k % 12).collect();
    let csr = Csr::new(12, (0..=40).map(|n| 12 * n).collect(), columns, entries)?;
    let weights: Vec<f32> = (0..40).map(|n| (n % 4) as f32).collect();
    let how = Preparation {
        weights: Some(Tensor::new(weights.clone(), CPU)?),
        standardize: true,
    };
    for loss in [Loss::Squares, Loss::Robust { delta: 0.5 }] {
        let config = HihtConfig {
            final_lambda: 0.5,
            loss,
            ..HihtConfig::default()
        };
        for problem in [
            Problem::regression(&x, &y, &how)?,
            Problem::regression(&csr, &y, &how)?,
        ] {
            let solution = hiht(&problem, &config)?.last().clone();
            assert!(!solution.support.is_empty());
            let want = (y.to_dtype(DType::F64)? - solution.scores(&x)?)?;
            let got = solution.residuals(&problem)?;
            assert_eq!(got.dims(), [40, 2]);
            for (k, (got, want)) in flat(&got).iter().zip(flat(&want)).enumerate() {
                let want = if weights[k / 2] > 0. { want } else { 0. };
                close(*got, want, 1e-4, "residual");
            }
            let fewer = Problem::regression(&x.narrow(1, 0, 2)?, &y, &how)?;
            let error = solution.residuals(&fewer).unwrap_err().to_string();
            assert!(error.contains("Solution::residuals: problem"), "{error}");
        }
    }
    Ok(())
}

/// A large mean does not make a feature constant.
#[test]
fn spreads_beside_large_means() -> Result<()> {
    let mut rng = Rng::new(21);
    let z = rng.normal((60, 1), DType::F32, CPU)?;
    let x = rng.normal((60, 5), DType::F32, CPU)?;
    let pressure = z.affine(5., 1e6)?;
    let double = z.affine(-10., 3e6)?;
    let x = Tensor::cat(&[&pressure, &x, &double], 1)?;
    let entries = x.flatten_all()?.to_vec1::<f32>()?;
    let columns = (0..420).map(|k| k % 7).collect();
    let csr = Csr::new(7, (0..=60).map(|n| 7 * n).collect(), columns, entries)?;
    for problem in [
        Problem::regression(&x, &z, &Preparation::default())?,
        Problem::regression(&csr, &z, &Preparation::default())?,
    ] {
        let first = forward(&problem, 1)?.order[0];
        assert!(first == 0 || first == 6, "{first}");
        let spliced = splice(&problem, &[2], 9)?;
        assert!([[0], [6]].contains(&[spliced.solution.support[0]]));
    }
    let problem = Problem::regression(&x, &z, &Preparation::default())?;
    assert_eq!(problem.correlated(&[0, 3, 6], 0.99)?.len(), 1);
    Ok(())
}

/// Supports do not depend on what holds the data, nor on the number of threads.
#[test]
fn supports_of_all_kinds_of_data() -> Result<()> {
    let mut rng = Rng::new(22);
    let x = rng.normal((50, 1500), DType::F32, CPU)?;
    let noise = rng.normal((50, 2), DType::F32, CPU)?;
    let y = (x.narrow(1, 700, 2)? + (x.narrow(1, 1300, 2)? + noise)?)?;
    let entries = x.flatten_all()?.to_vec1::<f32>()?;
    let columns = (0..75_000).map(|k| k % 1500).collect();
    let csr = Csr::new(1500, (0..=50).map(|n| 1500 * n).collect(), columns, entries)?;
    let whole = x.clone();
    let blocks = Blocks::new([50, 1500], DType::F32, move || {
        let whole = whole.clone();
        Box::new((0..5).map(move |k| Ok(whole.narrow(0, 10 * k, 10)?)))
    });
    let how = Preparation::default();
    let run = |problem: &Problem| {
        let order = forward(problem, 6).unwrap().order;
        let spliced = splice(problem, &[1, 2, 3, 4], 50).unwrap();
        (
            order,
            spliced.solution.support,
            spliced.certified,
            spliced.losses.len(),
        )
    };
    let dense = Problem::regression(&x, &y, &how)?;
    let want = run(&dense);
    assert!(want.2 && want.3 > 3, "{want:?}");
    assert_eq!(run(&Problem::regression(&csr, &y, &how)?), want);
    assert_eq!(run(&Problem::regression(&blocks, &y, &how)?), want);
    let losses = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let spliced = pool.unwrap().install(|| splice(&dense, &[1, 2, 3, 4], 50));
        let losses = spliced.unwrap().losses.into_iter().map(f64::to_bits);
        losses.collect::<Vec<_>>()
    };
    assert_eq!(losses(1), losses(3));
    Ok(())
}

/// Features that nearly repeat others still count, constants do not, and numbers without range are refused.
#[test]
fn features_at_the_edge_of_their_dtype() -> Result<()> {
    let mut rng = Rng::new(23);
    let how = Preparation::default();
    let x = rng.normal((300, 1), DType::F32, CPU)?;
    let z = rng.normal((300, 1), DType::F32, CPU)?;
    let near = (&x + (&z * 1e-3)?)?;
    let problem = Problem::regression(&Tensor::cat(&[&x, &near], 1)?, &z, &how)?;
    let alone = LeastSquares::on(&problem, &[])?.loss;
    let both = LeastSquares::on(&problem, &[0, 1])?.loss;
    assert!(both < 1e-6 * alone, "{both} of {alone}");

    // The exchange that brings both together is found.
    let noise = rng.normal((300, 1), DType::F32, CPU)?;
    let three = Tensor::cat(&[&x, &near, &noise], 1)?;
    let problem = Problem::regression(&three, &z, &how)?;
    for start in [[0, 2], [1, 2]] {
        assert_eq!(splice(&problem, &start, 9)?.solution.support, [0, 1]);
    }

    let best_near = |problem: &Problem, support: &[usize]| {
        let features = problem.features();
        let each = (0..support.len()).flat_map(|out| (0..features).map(move |j| (out, j)));
        let each = each.filter(|(_, j)| !support.contains(j));
        let losses = each.map(|(out, j)| {
            let mut other = support.to_vec();
            other[out] = j;
            LeastSquares::on(problem, &other).unwrap().loss
        });
        losses.fold(f64::INFINITY, f64::min)
    };
    // Targets of which nearly all is explained, by features that are nearly the same: estimates in f32 are worth nothing.
    for seed in 0..8 {
        let mut rng = Rng::new(100 + seed);
        let a = rng.normal((300, 1), DType::F32, CPU)?;
        let others = rng.normal((300, 7), DType::F32, CPU)?;
        let v = others.narrow(1, 0, 1)?;
        let y = (&a + (&v * 1e-4)?)?;
        let half = (&a + (&v * 5e-5)?)?;
        let more = (&a + (&v * 3e-4)?)?;
        let x = Tensor::cat(&[&a, &half, &more, &others], 1)?;
        let problem = Problem::regression(&x, &y, &how)?;
        let total = LeastSquares::on(&problem, &[])?.loss;
        for start in [&[0][..], &[0, 5], &[4, 5], &[6, 7, 8]] {
            let spliced = splice(&problem, start, 50)?;
            let (loss, support) = (spliced.solution.loss, &spliced.solution.support);
            assert!(spliced.certified);
            let best = best_near(&problem, support);
            let holds = loss <= 1e-10 * total || best >= loss * (1. - 1.1e-5);
            assert!(holds, "seed {seed}, {start:?}: {best} is below {loss}");
        }
    }

    let constant = Tensor::full(0.1f64, (7, 1), CPU)?;
    let x = Tensor::cat(&[&rng.normal((7, 1), DType::F64, CPU)?, &constant], 1)?;
    let y = rng.normal((7, 1), DType::F64, CPU)?;
    let problem = Problem::regression(&x, &y, &how)?;
    assert_eq!(LeastSquares::on(&problem, &[0, 1])?.rows[1], [0.]);

    let small = (rng.normal((20, 4), DType::F32, CPU)? * 1e-23)?;
    let y = rng.normal((20, 1), DType::F32, CPU)?;
    let problem = Problem::regression(&small, &y, &how)?;
    let error = ahiht(&problem, &HihtConfig::default()).unwrap_err();
    assert!(
        error.to_string().contains("not 0 in their dtype"),
        "{error}"
    );
    let large = (rng.normal((20, 4), DType::F64, CPU)? * 1e200)?;
    let y = rng.normal((20, 1), DType::F64, CPU)?;
    let problem = Problem::regression(&large, &y, &how)?;
    let error = LeastSquares::on(&problem, &[1]).unwrap_err();
    assert!(error.to_string().contains("finite sums"), "{error}");
    Ok(())
}

/// Labels are whole numbers of any dtype; one that is no class is named with its row.
#[test]
fn labels_of_every_integer_dtype() -> Result<()> {
    let x = Rng::new(1).normal((6, 3), DType::F64, CPU)?;
    let labels = [0i64, 1, 2, 0, 1, 2];
    let how = Preparation::default();
    let rank = |labels: &Tensor| ReliefF::default().rank(&x, labels, &how);
    let want = rank(&Tensor::new(&labels, CPU)?)?.order().to_vec();
    let unsigned = labels.map(|label| label as u32);
    let small = labels.map(|label| label as u8);
    for labels in [Tensor::new(&unsigned, CPU)?, Tensor::new(&small, CPU)?] {
        assert_eq!(rank(&labels)?.order(), want);
        let problem = Problem::classification(&x, &labels, &how)?;
        assert_eq!(problem.outputs(), 3);
    }
    for (wrong, found) in [(-1, "-1 in row 4"), (4_000_000_000, "4000000000 in row 4")] {
        let mut labels = labels;
        labels[4] = wrong;
        let error = rank(&Tensor::new(&labels, CPU)?).unwrap_err().to_string();
        assert!(
            error.contains(found) && error.contains("0 to C - 1"),
            "{error}"
        );
    }
    Ok(())
}
