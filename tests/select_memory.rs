//! What a selection needs of memory beside the data.

use candle_core::{DType, Device, Tensor};
use candle_prob::select::{Blocks, Csr, HihtConfig, Preparation, Problem, Start, ahiht};
use candle_prob::{Result, Rng};
use counting::peak;
use std::sync::Mutex;

#[path = "support/counting.rs"]
mod counting;

/// One at a time, since all tests are counted together.
static ALONE: Mutex<()> = Mutex::new(());

fn labels(samples: usize) -> Result<Tensor> {
    let labels: Vec<u32> = (0..samples).map(|n| (n % 2) as u32).collect();
    Ok(Tensor::new(labels, &Device::Cpu)?)
}

/// The data are held once more, by feature; W, its slopes and lists of features come on top where W has no zeros.
#[test]
fn a_dense_path() -> Result<()> {
    let _alone = ALONE.lock();
    let (samples, features) = (200, 20_000);
    let x = Rng::new(0).normal((samples, features), DType::F32, &Device::Cpu)?;
    let labels = labels(samples)?;
    let seed = 0;
    for (start, most) in [
        (Start::Zero, 1.2),
        (Start::Uniform { scale: 0.1, seed }, 1.4),
    ] {
        let config = HihtConfig {
            features: Some(20),
            start,
            ..HihtConfig::default()
        };
        let used = peak(|| {
            let problem = Problem::classification(&x, &labels, &Preparation::default())?;
            ahiht(&problem, &config)
        })?;
        let ratio = used as f64 / (4 * samples * features) as f64;
        assert!((1. ..most).contains(&ratio), "{start:?}: {ratio:.2}");
    }
    Ok(())
}

/// Blocks that are slices of the tensor are never held all at once: with the data themselves less than 1.5 times their size.
#[test]
fn a_streamed_path() -> Result<()> {
    let _alone = ALONE.lock();
    let (samples, features, each) = (200, 20_000, 20);
    let x = Rng::new(0).normal((samples, features), DType::F32, &Device::Cpu)?;
    let rows = x.clone();
    let blocks = Blocks::new([samples, features], DType::F32, move || {
        let rows = rows.clone();
        let block = move |n| Ok(rows.narrow(0, n, each)?);
        Box::new((0..samples).step_by(each).map(block))
    });
    let (labels, config) = (labels(samples)?, HihtConfig::default());
    let config = HihtConfig {
        features: Some(20),
        ..config
    };
    let (mut found, how) = (vec![], Preparation::default());
    let used = peak(|| {
        let problem = Problem::classification(&blocks, &labels, &how)?;
        found = ahiht(&problem, &config)?.last().support.clone();
        Ok(())
    })?;
    let ratio = used as f64 / (4 * samples * features) as f64;
    assert!((0.1..0.5).contains(&ratio), "{ratio:.2}");
    let problem = Problem::classification(&x, &labels, &how)?;
    assert_eq!(found, ahiht(&problem, &config)?.last().support);
    Ok(())
}

/// With the rows themselves less than four times their size.
#[test]
fn a_sparse_path() -> Result<()> {
    let _alone = ALONE.lock();
    let (samples, features, each) = (10_000, 100_000, 100);
    let draws = Rng::new(0).uniform(samples * each, DType::F32, &Device::Cpu)?;
    let draws = draws.to_vec1::<f32>()?;
    let columns = draws.iter().map(|u| (u * features as f32) as u32).collect();
    let offsets = (0..=samples).map(|n| n * each).collect();
    let values: Vec<f32> = draws.iter().map(|u| 1. + u).collect();
    let size = 8 * values.len() + 8 * (samples + 1);
    let x = Csr::new(features, offsets, columns, values)?;
    let labels = labels(samples)?;
    let config = HihtConfig {
        features: Some(20),
        ..HihtConfig::default()
    };
    let used = peak(|| {
        let problem = Problem::classification(&x, &labels, &Preparation::default())?;
        ahiht(&problem, &config)
    })?;
    let ratio = (size + used) as f64 / size as f64;
    assert!((2. ..4.).contains(&ratio), "{ratio:.2}");
    Ok(())
}
