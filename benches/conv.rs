//! Convolutions: the fused layer beside candle's, alone and in an image encoder with its Adam step.
//! `benches/peers/peers.py torch encoder` is the same work in PyTorch.

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, VarBuilder, VarMap};
use candle_prob::net::{
    Conv2dConfig, ConvEncoderConfig, ResidualNetConfig, conv_encoder, conv2d, residual_net,
};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Activation, Rng, init};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

const DEVICE: Device = Device::Cpu;

fn builder(vars: &VarMap) -> VarBuilder<'static> {
    init::seeded(vars, 0, DType::F32, &DEVICE)
}

fn normal(shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    Ok(Rng::new(0).normal(shape, DType::F32, &DEVICE)?)
}

fn both(
    c: &mut Criterion,
    name: &str,
    x: &Tensor,
    variant: &str,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) {
    let frozen = x.detach();
    c.timed(format!("{name}/forward/{variant}"), || f(&frozen).unwrap());
    c.timed(format!("{name}/gradient/{variant}"), || {
        f(x).unwrap()
            .sqr()
            .unwrap()
            .mean_all()
            .unwrap()
            .backward()
            .unwrap()
    });
}

fn layer(c: &mut Criterion) {
    let x = Var::from_tensor(&normal((64, 64, 14, 14)).unwrap()).unwrap();
    let name = "conv2d/64x64x14x14 k4s2";
    let fused = |vb| {
        let config = Conv2dConfig {
            kernel: (4, 4),
            stride: (2, 2),
            padding: (1, 1),
            activation: Activation::Relu,
            bias: true,
        };
        conv2d(64, 128, &config, vb).unwrap()
    };
    // Without tracked parameters there is no graph to record in the forward measurement; with them, all three gradients.
    let vars = VarMap::new();
    let layer = fused(builder(&vars));
    both(c, name, &x, "fused", |x| layer.forward(x));
    let config = candle_nn::Conv2dConfig {
        stride: 2,
        padding: 1,
        ..Default::default()
    };
    let vars = VarMap::new();
    let layer = candle_nn::conv2d(64, 128, 4, config, builder(&vars)).unwrap();
    both(c, name, &x, "candle", |x| layer.forward(x)?.relu());
}

fn encoder(c: &mut Criterion) {
    let x = normal((64, 1, 64, 64)).unwrap();
    let name = "encoder/64 images 64x64, conv 32-64-128, dense 256";
    let vars = VarMap::new();
    let config = ConvEncoderConfig {
        hidden: Some(256),
        ..Default::default()
    };
    let fused = conv_encoder(&config, (1, 64, 64), builder(&vars)).unwrap();
    both(c, name, &x, "fused", |x| fused.forward(x));
    let mut adam = Adam::new(&vars, &AdamConfig::default()).unwrap();
    c.timed(format!("{name}/step/fused"), || {
        let loss = fused.forward(&x).unwrap().sqr().unwrap().mean_all();
        adam.backward_step(&loss.unwrap()).unwrap()
    });
    let vars = VarMap::new();
    let vb = builder(&vars);
    let config = candle_nn::Conv2dConfig {
        stride: 2,
        padding: 1,
        ..Default::default()
    };
    let channels = [1, 32, 64, 128];
    let layers: Vec<candle_nn::Conv2d> = (0..3)
        .map(|i| candle_nn::conv2d(channels[i], channels[i + 1], 4, config, vb.pp(i)).unwrap())
        .collect();
    let dense = candle_nn::linear(8192, 256, vb.pp("dense")).unwrap();
    let plain = |x: &Tensor| {
        let mut y = x.clone();
        for layer in &layers {
            y = layer.forward(&y)?.relu()?;
        }
        dense.forward(&y.flatten_from(1)?)?.relu()
    };
    both(c, name, &x, "candle", plain);
    let mut adam = candle_nn::AdamW::new_lr(vars.all_vars(), 1e-3).unwrap();
    c.timed(format!("{name}/step/candle"), || {
        let loss = plain(&x).unwrap().sqr().unwrap().mean_all();
        candle_nn::Optimizer::backward_step(&mut adam, &loss.unwrap()).unwrap()
    });
}

/// The conditioner of image flows, beside the same from layers that are nodes of their own.
fn residual(c: &mut Criterion) {
    let x = Var::from_tensor(&normal((64, 32, 28, 28)).unwrap()).unwrap();
    let name = "residual net/64x32x28x28, 2 blocks of 32";
    let vars = VarMap::new();
    let net = ResidualNetConfig {
        inputs: 32,
        outputs: 32,
        ..Default::default()
    };
    let fused = residual_net(&net, builder(&vars)).unwrap();
    both(c, name, &x, "fused", |x| fused.forward(x));
    let vars = VarMap::new();
    let vb = builder(&vars);
    let conv = |i: usize, activation| {
        let config = Conv2dConfig {
            activation,
            ..Default::default()
        };
        conv2d(32, 32, &config, vb.pp(i)).unwrap()
    };
    let (plain, relu) = (Activation::Identity, Activation::Relu);
    let layers = [plain, relu, plain, relu, plain, plain];
    let layers: Vec<_> = (0..6).map(|i| conv(i, layers[i])).collect();
    both(c, name, &x, "layers", |x| {
        let mut h = layers[0].forward(x)?;
        for i in [1, 3] {
            let inner = layers[i].forward(&relu.forward(&h)?)?;
            h = (&h + layers[i + 1].forward(&inner)?)?;
        }
        layers[5].forward(&relu.forward(&h)?)
    });
}

criterion_group! {
    name = benches;
    config = common::config()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = layer, encoder, residual
}
criterion_main!(benches);
