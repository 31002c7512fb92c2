//! Feature selection: steps and a whole path of hard thresholding, on data like gene expression.

mod common;

use candle_core::{DType, Device, Tensor};
use candle_prob::select::{HihtConfig, Preparation, Problem, Start, hiht};
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
        // The first step goes from a W without a zero, the rest from a sparse one.
        for (name, start) in [
            ("sparse", Start::Zero),
            (
                "dense",
                Start::Uniform {
                    scale: 1e-3,
                    seed: 0,
                },
            ),
        ] {
            for iterations in [1, 101] {
                let config = HihtConfig {
                    lambda: Some(lambda / 2.),
                    final_lambda: lambda / 2.,
                    iterations,
                    start,
                    ..fixed.clone()
                };
                let name = format!("{size}/steps/{iterations} from {name}");
                c.timed(name, || hiht(&problem, &config).unwrap());
            }
        }
        if samples < 1000 {
            let config = HihtConfig {
                lambda: Some(lambda),
                final_lambda: lambda * 0.97f64.powi(199),
                rho: 0.97,
                iterations: 20,
                ..fixed.clone()
            };
            c.timed(format!("{size}/path of 200 x 20"), || {
                hiht(&problem, &config).unwrap()
            });
        }
    }
}

criterion_group! { name = all; config = common::config(); targets = select }
criterion_main!(all);
