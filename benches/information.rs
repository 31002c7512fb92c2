//! Estimates of information from samples by nearest neighbours, and what they are made of.

mod common;

use candle_core::{Device, Tensor};
use candle_prob::information::knn::{self, KnnConfig, Ksg};
use candle_prob::neighbours::{Bound, Metric, NearestNeighbours};
use candle_prob::{Result, Rng};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

/// Number k of a stream of numbers between 0 and 1: as in `peers/information.py`, so that both see the same data.
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

/// Points, and as many of their coordinates with noise of the same variance.
fn pair(samples: usize, dims: [usize; 2]) -> Result<[Tensor; 2]> {
    let x = normal((samples, dims[0]), 0)?;
    let z = (x.narrow(1, 0, dims[1])? + normal((samples, dims[1]), 1)?)?;
    Ok([x, z])
}

/// The estimators, each with all that it computes: ties, warnings and the copies of its arguments.
fn estimators(c: &mut Criterion) {
    let mut rng = Rng::new(0);
    for dims in [[10, 2], [2, 2], [1, 1]] {
        let [x, z] = pair(5000, dims).unwrap();
        let mut estimate = |form| {
            let config = KnnConfig::default();
            knn::mutual_information(&x, &z, form, &config, &mut rng).unwrap()
        };
        let name = format!("5000x({},{})/KSG", dims[0], dims[1]);
        println!("{name}: {:.12} nats", estimate(Ksg::First).nats);
        c.timed(&name, || estimate(Ksg::First));
        c.timed(format!("{name} 2"), || estimate(Ksg::Second));
    }
    for dims in [2, 100] {
        let x = normal((10_000, dims), 2).unwrap();
        let config = KnnConfig {
            metric: Metric::Euclidean,
            ..KnnConfig::default()
        };
        let mut estimate = || knn::entropy(&x, &config, &mut rng).unwrap();
        let name = format!("10000x{dims}/entropy");
        println!("{name}: {:.12} nats", estimate().nats);
        c.timed(name, &mut estimate);
    }
}

/// Points put in order, neighbours searched and counted.
fn searches(c: &mut Criterion) {
    for (samples, dims) in [
        (5000, 1),
        (5000, 2),
        (5000, 4),
        (5000, 12),
        (100_000, 3),
        (100_000, 10),
    ] {
        let x = normal((samples, dims), 0).unwrap();
        for metric in [Metric::Euclidean, Metric::Chebyshev] {
            let name = format!("{samples}x{dims}/{metric:?}");
            c.timed(format!("{name}/new"), || {
                NearestNeighbours::new(&x, metric).unwrap()
            });
            let points = NearestNeighbours::new(&x, metric).unwrap();
            c.timed(format!("{name}/3 nearest"), || {
                points.nearest_others(3).unwrap()
            });
            let found = points.nearest_others(3).unwrap().distance;
            let radius = found.narrow(1, 2, 1).unwrap().squeeze(1).unwrap();
            for (what, radius) in [("few", radius.clone()), ("many", (radius * 4.).unwrap())] {
                c.timed(format!("{name}/{what} within"), || {
                    points.count_others_within(&radius, Bound::Open).unwrap()
                });
            }
        }
    }
}

criterion_group! { name = all; config = common::config(); targets = estimators, searches }
criterion_main!(all);
