//! Feature selection: steps and a whole path of hard thresholding, on data like gene expression, supports of a given
//! size, and nearest neighbours.

mod common;

use candle_core::{DType, Device, Tensor};
use candle_prob::neighbours::{Metric, NearestNeighbours};
use candle_prob::select::{
    HihtConfig, LeastSquares, Path, Preparation, Problem, ReliefF, Selector, Start, ahiht, forward,
    hiht, splice,
};
use candle_prob::{Result, Rng};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

/// Standard normal features, of which the first 20 tell about the class.
fn problem(samples: usize, features: usize, classes: usize) -> Result<Problem> {
    let mut rng = Rng::new(0);
    let x = rng.normal((samples, features), DType::F32, &Device::Cpu)?;
    let labels: Vec<u32> = (0..samples).map(|n| (n % classes) as u32).collect();
    let side: Vec<f32> = labels.iter().map(|y| 3. * (y % 2) as f32 - 1.5).collect();
    let side = Tensor::from_vec(side, (samples, 1), &Device::Cpu)?;
    let told = x.narrow(1, 0, 20)?.broadcast_add(&side)?;
    let x = Tensor::cat(&[&told, &x.narrow(1, 20, features - 20)?], 1)?;
    let labels = Tensor::new(labels, &Device::Cpu)?;
    Problem::classification(&x, &labels, &Preparation::default())
}

/// Number k of a stream of numbers between 0 and 1: as in `peers.py`, so that both see the same data.
fn uniform(k: usize, stream: u64) -> f64 {
    let z = (k as u64)
        .wrapping_add(stream << 40)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

fn normal(shape: (usize, usize), stream: u64) -> Result<Tensor> {
    let number = |k: usize| {
        let length = (-2. * uniform(k, 2 * stream).ln()).sqrt();
        length * (std::f64::consts::TAU * uniform(k, 2 * stream + 1)).cos()
    };
    let numbers: Vec<f64> = (0..shape.0 * shape.1).map(number).collect();
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
}

/// Ten features of a signal of five times the variance of the noise.
fn planted() -> Result<[Tensor; 2]> {
    let (n, d, k, c) = (300, 1000, 10, 3);
    let x = normal((n, d), 0)?;
    let columns = Tensor::arange_step(0u32, d as u32, (d / k) as u32, &Device::Cpu)?;
    let signal = x.index_select(&columns, 1)?.matmul(&normal((k, c), 1)?)?;
    let off = (&signal - signal.mean_all()?.to_scalar::<f64>()?)?;
    let power = off.sqr()?.mean_all()?.to_scalar::<f64>()?;
    let y = (signal + (normal((n, c), 2)? * (power / 5.).sqrt())?)?;
    Ok([x, y])
}

/// Two classes, whose first 20 features differ.
fn classes() -> Result<[Tensor; 2]> {
    let (n, d, k, c) = (102, 6033, 20, 2);
    let x = normal((n, d), 0)?;
    let value = |k: usize| if k / c % c == k % c { 1. } else { 0. };
    let y = Tensor::from_vec((0..n * c).map(value).collect(), (n, c), &Device::Cpu)?;
    let side = y.narrow(1, 1, 1)?.affine(3., -1.5)?;
    let told = x.narrow(1, 0, k)?.broadcast_add(&side)?;
    Ok([Tensor::cat(&[&told, &x.narrow(1, k, d - k)?], 1)?, y])
}

/// Supports of a given size, from the data as they came: of a path or one by one, and after exchanges.
fn supports(c: &mut Criterion) {
    let how = Preparation::default();
    let path = |solve: fn(&Problem, &HihtConfig) -> Result<Path>, rho| {
        move |problem: &Problem, k| -> Result<Vec<usize>> {
            let config = HihtConfig {
                features: Some(k),
                rho,
                ..HihtConfig::default()
            };
            Ok(solve(problem, &config)?.ranking().top(k)?.to_vec())
        }
    };
    let one_by_one = |problem: &Problem, k| Ok(forward(problem, k)?.order);
    type Find<'a> = &'a dyn Fn(&Problem, usize) -> Result<Vec<usize>>;
    let methods: [(_, Find, _); 5] = [
        ("AHIHT", &path(ahiht, 0.7), 0),
        ("AHIHT and splice", &path(ahiht, 0.7), 200),
        ("HIHT, rho 0.9, and splice", &path(hiht, 0.9), 200),
        ("forward", &one_by_one, 0),
        ("forward and splice", &one_by_one, 200),
    ];
    for (name, data, k) in [("planted", planted(), 10), ("classes", classes(), 20)] {
        let exact = data.unwrap();
        let [x, y] = [0, 1].map(|i| exact[i].to_dtype(DType::F32).unwrap());
        for (method, find, exchanges) in methods {
            let run = || -> Result<Vec<usize>> {
                let problem = Problem::regression(&x, &y, &how)?;
                let found = find(&problem, k)?;
                Ok(match exchanges {
                    0 => LeastSquares::on(&problem, &found)?.support,
                    _ => splice(&problem, &found, exchanges)?.solution.support,
                })
            };
            let exact = Problem::regression(&exact[0], &exact[1], &how).unwrap();
            let loss = LeastSquares::on(&exact, &run().unwrap()).unwrap().loss;
            println!("{name}, {method}: loss {loss:.6}");
            c.timed(format!("{name}/{k} features by {method}"), || {
                run().unwrap()
            });
        }
    }
}

fn select(c: &mut Criterion) {
    for (samples, features, classes) in [(102, 6033, 2), (2000, 20_000, 10)] {
        let size = format!("{samples}x{features}x{classes}");
        let problem = problem(samples, features, classes).unwrap();
        // Above the largest eigenvalue, so that no step is tried twice.
        let lipschitz = (samples as f64).sqrt() + (features as f64).sqrt();
        let fixed = HihtConfig {
            lipschitz: Some(2. * lipschitz * lipschitz),
            epsilon: 0.,
            ..HihtConfig::default()
        };
        let path = hiht(
            &problem,
            &HihtConfig {
                iterations: 1,
                features: Some(20),
                ..fixed.clone()
            },
        );
        let lambda = path.unwrap().solutions()[0].lambda;
        // At the first lambda W is sparse after a step; at a tiny one no row ever becomes zero.
        let (scale, seed) = (1e-3, 0);
        for (name, start, lambda, steps) in [
            ("sparse", Start::Zero, lambda / 2., 101),
            ("dense", Start::Uniform { scale, seed }, 1e-12 * lambda, 21),
        ] {
            for iterations in [1, steps] {
                let config = HihtConfig {
                    lambda: Some(lambda),
                    final_lambda: lambda,
                    iterations,
                    start,
                    ..fixed.clone()
                };
                let name = format!("{size}/steps/{iterations} from {name}");
                c.timed(name, || hiht(&problem, &config).unwrap());
            }
        }
        let config = HihtConfig {
            lambda: Some(lambda),
            final_lambda: lambda * 0.97f64.powi(199),
            rho: 0.97,
            iterations: 20,
            ..fixed.clone()
        };
        c.timed(format!("{size}/path of 200 x 1"), || {
            ahiht(&problem, &config).unwrap()
        });
        if samples < 1000 {
            c.timed(format!("{size}/path of 200 x 20"), || {
                hiht(&problem, &config).unwrap()
            });
        }
    }
}

/// The nearest code of each row, beside all distances at once, and the ten nearest points.
fn nearest(c: &mut Criterion) {
    let mut rng = Rng::new(0);
    let mut normal = |shape| rng.normal(shape, DType::F32, &Device::Cpu).unwrap();
    for (rows, codes, dims) in [(6272, 512, 64), (6272, 64, 16), (100_000, 512, 64)] {
        let (x, book) = (normal((rows, dims)), normal((codes, dims)));
        let size = format!("{rows}x{codes}x{dims}/nearest code");
        c.timed(format!("{size}/blocked"), || {
            let codes = NearestNeighbours::new(&book, Metric::Euclidean).unwrap();
            codes.nearest(&x, 1).unwrap()
        });
        let candle = || {
            let half = book.sqr()?.sum(1)?.affine(0.5, 0.)?;
            half.broadcast_sub(&x.matmul(&book.t()?)?)?.argmin(1)
        };
        c.timed(format!("{size}/candle"), || candle().unwrap());
    }
    let x = normal((8000, 50));
    for metric in [Metric::Euclidean, Metric::Manhattan] {
        let points = NearestNeighbours::new(&x, metric).unwrap();
        c.timed(format!("8000x50/10 nearest/{metric:?}"), || {
            points.nearest_others(10).unwrap()
        });
    }
}

/// The nearest neighbours of every sample.
fn neighbours(c: &mut Criterion) {
    for (samples, features) in [(1000, 50), (8000, 50)] {
        let x = normal((samples, features), 0).unwrap();
        let labels: Vec<u32> = (0..samples as u32).map(|n| n % 2).collect();
        let (labels, how) = (
            Tensor::new(labels, &Device::Cpu).unwrap(),
            Preparation::default(),
        );
        c.timed(format!("{samples}x{features}x2/ReliefF"), || {
            ReliefF::default().rank(&x, &labels, &how).unwrap()
        });
    }
}

criterion_group! { name = all; config = common::config(); targets = select, supports, neighbours, nearest }
criterion_main!(all);
