//! Flows: RealNVP on [4096, 64] with 8 affine couplings, conditioners 32-256-256-64; NICE with 8 additive ones; neural
//! spline flows on [4096, 16] with 5 layers of 8 bins, networks of 2 x 128, coupling and autoregressive; a continuous
//! flow in the plane.

mod common;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::bijector::Bijector;
use candle_prob::distribution::{Distribution, Normal};
use candle_prob::dynamics::Rk4;
use candle_prob::flow::{
    FfjordConfig, NeuralSplineConfig, NiceConfig, RealNvpConfig, autoregressive_spline, ffjord,
    neural_spline, nice, real_nvp,
};
use candle_prob::{Result, Rng, init, optim};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use std::time::Duration;

const CPU: Device = Device::Cpu;

fn coupling_flow(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("real_nvp/4096x64, 8 x 32-256-256-64");
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    let x = Rng::new(1).normal((4096, 64), DType::F32, &CPU)?;
    let zeros = Tensor::zeros(64, DType::F32, &CPU)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    for (name, keep_activations) in [("stored", true), ("reconstructed", false)] {
        let config = RealNvpConfig {
            features: 64,
            hidden: vec![256, 256],
            keep_activations,
            ..Default::default()
        };
        let vars = VarMap::new();
        let flow = real_nvp(&config, init::seeded(&vars, 1, DType::F32, &CPU))?;
        let model = base.clone().transformed_by(&flow)?;
        if keep_activations {
            let mut rng = Rng::new(2);
            let shape = &[4096];
            group.timed("sample", || model.sample(shape, &mut rng).unwrap().detach());
        }
        group.timed(format!("log_prob/{name}"), || {
            model.log_prob(&x).unwrap().detach()
        });
        group.timed(format!("log_prob gradient/{name}"), || {
            let loss = model.log_prob(&x).unwrap().mean_all().unwrap();
            optim::backward(&loss).unwrap()
        });
    }
    group.finish();
    Ok(())
}

/// As one node, and coupling by coupling.
fn additive_flow(c: &mut Criterion) -> Result<()> {
    let vars = VarMap::new();
    let config = NiceConfig {
        features: 64,
        layers: 8,
        hidden: vec![256, 256],
        ..Default::default()
    };
    let flow = nice(&config, init::seeded(&vars, 1, DType::F32, &CPU))?;
    let zeros = Tensor::zeros(64, DType::F32, &CPU)?;
    let layers = flow.layers()?;
    let flows: [(&str, Box<dyn Bijector>); 2] =
        [("fused", Box::new(flow)), ("composed", Box::new(layers))];
    let mut group = c.benchmark_group("nice/4096x64, 8 x 32-256-256-32");
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    let x = Rng::new(1).normal((4096, 64), DType::F32, &CPU)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    for (name, flow) in flows {
        let log_prob = || -> Result<Tensor> {
            let (z, log_det) = flow.inverse_and_log_det(&x)?;
            Ok((base.log_prob(&z)? + log_det)?)
        };
        group.timed(format!("log_prob/{name}"), || log_prob().unwrap().detach());
        group.timed(format!("log_prob gradient/{name}"), || {
            optim::backward(&log_prob().unwrap().mean_all().unwrap()).unwrap()
        });
    }
    group.finish();
    Ok(())
}

fn spline_flows(c: &mut Criterion) -> Result<()> {
    let config = NeuralSplineConfig {
        features: 16,
        hidden: vec![128, 128],
        ..Default::default()
    };
    // Last layers start at zero; these are as after a training.
    let vars = |prefix: &str| -> Result<VarMap> {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, 1, DType::F32, &CPU).pp(prefix);
        match prefix {
            "coupling" => drop(neural_spline(&config, vb)?),
            _ => drop(autoregressive_spline(&config, vb)?),
        }
        let mut rng = Rng::new(3);
        for (_, var) in init::named_vars(&vars)? {
            let noise = rng.normal(var.shape(), DType::F32, &CPU)?;
            var.set(&(var.as_tensor() + (noise * 0.05)?)?)?;
        }
        Ok(vars)
    };
    let vb =
        |vars: &VarMap, name| candle_nn::VarBuilder::from_varmap(vars, DType::F32, &CPU).pp(name);
    let name = "coupling";
    let flow = neural_spline(&config, vb(&vars(name)?, name))?;
    spline_flow(c, name, flow)?;
    let name = "autoregressive";
    let flow = autoregressive_spline(&config, vb(&vars(name)?, name))?;
    spline_flow(c, name, flow)
}

fn spline_flow(c: &mut Criterion, name: &str, flow: impl Bijector + Clone) -> Result<()> {
    let mut group = c.benchmark_group(format!("neural_spline/{name} 4096x16"));
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    let x = Rng::new(1).normal((4096, 16), DType::F32, &CPU)?;
    let zeros = Tensor::zeros(16, DType::F32, &CPU)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    let model = base.transformed_by(&flow)?;
    group.timed("log_prob", || model.log_prob(&x).unwrap().detach());
    group.timed("log_prob gradient", || {
        let loss = model.log_prob(&x).unwrap().mean_all().unwrap();
        optim::backward(&loss).unwrap()
    });
    let mut rng = Rng::new(2);
    group.sample_size(10);
    group.timed("sample", || {
        model.sample(&[4096], &mut rng).unwrap().detach()
    });
    group.finish();
    Ok(())
}

/// 1024 points of the plane, 40 steps of the classical Runge-Kutta method, exact traces; network 3-64-64-2.
fn continuous_flow(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("ffjord/1024x2, 40 steps, 3-64-64-2");
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    let x = Rng::new(1).normal((1024, 2), DType::F32, &CPU)?;
    let zeros = Tensor::zeros(2, DType::F32, &CPU)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    let config = FfjordConfig {
        solver: Arc::new(Rk4 { steps: 40 }),
        ..Default::default()
    };
    let vars = VarMap::new();
    let flow = ffjord(&config, init::seeded(&vars, 1, DType::F32, &CPU))?;
    let model = base.transformed_by(&flow)?;
    group.timed("log_prob", || model.log_prob(&x).unwrap().detach());
    group.timed("log_prob gradient", || {
        let loss = model.log_prob(&x).unwrap().mean_all().unwrap();
        optim::backward(&loss).unwrap()
    });
    group.finish();
    Ok(())
}

fn flows(c: &mut Criterion) {
    coupling_flow(c).unwrap();
    additive_flow(c).unwrap();
    spline_flows(c).unwrap();
    continuous_flow(c).unwrap();
}

criterion_group! {
    name = benches;
    config = common::config();
    targets = flows
}
criterion_main!(benches);
