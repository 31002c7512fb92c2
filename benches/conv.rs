//! Convolutions and transposed ones: the fused layer beside candle's, alone, in an image encoder with its Adam step and in a
//! variational autoencoder with it. Batch normalization, and a training step of DCGAN. `benches/peers/peers.py torch encoder convvae
//! dcgan` is the same work in PyTorch.

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, ModuleT, VarBuilder, VarMap};
use candle_prob::distribution::{Bernoulli, Distribution, Kl, MultivariateNormalDiag};
use candle_prob::dynamics::{Memory, Propagation, Scheme, State, Tangent, Weights};
use candle_prob::net::{
    BatchNormConfig, Conv2dConfig, ConvDecoder, ConvDecoderConfig, ConvEncoder, ConvEncoderConfig,
    ConvTranspose2dConfig, DcganConfig, DcganDiscriminator, DcganGenerator, Dense,
    ResidualNetConfig, batch_norm, conv_decoder, conv_encoder, conv_transpose2d, conv2d,
    dcgan_discriminator, dcgan_generator, dense, residual_net,
};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Activation, Detach, Rng, init, special};
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

fn transposed(c: &mut Criterion) {
    for (channels, size, to) in [(64, 7, 32), (32, 14, 1)] {
        let x = Var::from_tensor(&normal((64, channels, size, size)).unwrap()).unwrap();
        let name = format!("conv_transpose2d/64x{channels}x{size}x{size} to {to} k4s2");
        let vars = VarMap::new();
        let config = ConvTranspose2dConfig {
            activation: Activation::Relu,
            ..Default::default()
        };
        let layer = conv_transpose2d(channels, to, &config, builder(&vars)).unwrap();
        both(c, &name, &x, "fused", |x| layer.forward(x));
        let config = candle_nn::ConvTranspose2dConfig {
            stride: 2,
            padding: 1,
            ..Default::default()
        };
        let vars = VarMap::new();
        let layer = candle_nn::conv_transpose2d(channels, to, 4, config, builder(&vars)).unwrap();
        both(c, &name, &x, "candle", |x| layer.forward(x)?.relu());
    }
}

struct Vae {
    encoder: ConvEncoder,
    head: Dense,
    decoder: ConvDecoder,
    rng: Rng,
    x: Tensor,
}

impl Vae {
    fn new(vb: VarBuilder) -> candle_prob::Result<Self> {
        let encoder = ConvEncoderConfig {
            channels: vec![32, 64],
            ..Default::default()
        };
        let decoder = ConvDecoderConfig {
            channels: vec![64, 32],
            ..Default::default()
        };
        let encoder = conv_encoder(&encoder, (1, 28, 28), vb.pp("encoder"))?;
        let features = encoder.features();
        let gray = Rng::new(0).uniform((64, 1, 28, 28), DType::F32, &DEVICE)?;
        Ok(Vae {
            head: dense(features, 40, Activation::Identity, vb.pp("head"))?,
            encoder,
            decoder: conv_decoder(&decoder, 20, (1, 28, 28), vb.pp("decoder"))?,
            rng: Rng::new(2),
            x: gray.gt(0.5)?.to_dtype(DType::F32)?,
        })
    }

    fn loss(&mut self) -> candle_prob::Result<Tensor> {
        let code = self.head.forward(&self.encoder.forward(&self.x)?)?;
        let (loc, log_var) = (code.narrow(1, 0, 20)?, code.narrow(1, 20, 20)?);
        let posterior = MultivariateNormalDiag::from_log_var(&loc, &log_var)?;
        let prior = MultivariateNormalDiag::standard(20, DType::F32, &DEVICE)?;
        let (z, rate) = posterior.sample_and_kl(&prior, &[], &mut self.rng)?;
        let decoder = Bernoulli::new(&self.decoder.forward(&z)?)?.to_event(3)?;
        let evidence = (decoder.log_prob(&self.x)? - rate)?;
        Ok(evidence.mean_all()?.neg()?)
    }
}

fn autoencoder(c: &mut Criterion) {
    let name = "vae/64 images 28x28, conv 32-64, 20 latents";
    let vars = VarMap::new();
    let mut vae = Vae::new(builder(&vars)).unwrap();
    c.timed(format!("{name}/loss"), || vae.loss().unwrap());
    c.timed(format!("{name}/gradient"), || {
        vae.loss().unwrap().backward().unwrap()
    });
    let mut adam = Adam::new(&vars, &AdamConfig::default()).unwrap();
    c.timed(format!("{name}/step"), || {
        adam.backward_step(&vae.loss().unwrap()).unwrap()
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

fn normalization(c: &mut Criterion) {
    let x = Var::from_tensor(&normal((64, 64, 14, 14)).unwrap()).unwrap();
    let name = "batch norm/64x64x14x14, relu";
    let (vars, config) = (VarMap::new(), BatchNormConfig::default());
    let activation = Activation::Relu;
    let config = BatchNormConfig {
        activation,
        ..config
    };
    let fused = batch_norm(64, &config, builder(&vars)).unwrap();
    both(c, name, &x, "fused", |x| fused.forward_t(x, true));
    let vars = VarMap::new();
    let plain = candle_nn::batch_norm(64, 1e-5, builder(&vars)).unwrap();
    both(c, name, &x, "candle", |x| plain.forward_t(x, true)?.relu());
}

struct Gan {
    generator: DcganGenerator,
    critic: DcganDiscriminator,
    adams: [Adam; 2],
    rng: Rng,
    x: Tensor,
}

impl Gan {
    fn new() -> candle_prob::Result<Self> {
        let (g, d) = (VarMap::new(), VarMap::new());
        let config = DcganConfig::default();
        let generator = dcgan_generator(&config, builder(&g))?;
        let critic = dcgan_discriminator(&config, builder(&d))?;
        let adam = AdamConfig {
            lr: 2e-4,
            ..Default::default()
        };
        Ok(Gan {
            generator,
            critic,
            adams: [Adam::new(&g, &adam)?, Adam::new(&d, &adam)?],
            rng: Rng::new(1),
            x: Rng::new(0).normal((64, 1, 28, 28), DType::F32, &DEVICE)?,
        })
    }

    /// One step of each player on the same generated images, by the non-saturating loss.
    fn step(&mut self) -> candle_prob::Result<()> {
        let latents = self.rng.normal((64, 64), DType::F32, &DEVICE)?;
        let fakes = self.generator.forward_t(&latents, true)?;
        let real = special::softplus(&self.critic.forward_t(&self.x, true)?.neg()?)?;
        let fake = special::softplus(&self.critic.forward_t(&fakes.detach(), true)?)?;
        self.adams[1].backward_step(&(real.mean_all()? + fake.mean_all()?)?)?;
        let critic = self.critic.detach();
        let loss = special::softplus(&critic.forward_t(&fakes, true)?.neg()?)?;
        self.adams[0].backward_step(&loss.mean_all()?)?;
        Ok(())
    }
}

fn dcgan(c: &mut Criterion) {
    let mut gan = Gan::new().unwrap();
    let name = "dcgan/64 images 28x28, conv 64-128, 64 latents";
    c.timed(format!("{name}/step"), || gan.step().unwrap());
}

/// Verlet layers as one node, beside the same of candle's operations.
fn propagation(c: &mut Criterion) {
    let layers = 16;
    let name = "verlet/64x6x28x28, 16 layers k3";
    let y = normal((64, 6, 28, 28)).unwrap();
    let mut rng = Rng::new(1);
    let mut stack = |shape: &[usize], scale: f64| {
        let draw: Tensor = rng.normal(shape, DType::F32, &DEVICE).unwrap();
        Var::from_tensor(&(draw * scale).unwrap()).unwrap()
    };
    let kernel = stack(&[layers, 6, 6, 3, 3], 0.1);
    let biases = [0, 1].map(|_| stack(&[layers, 6], 0.1));
    let direction = stack(&[layers, 6, 6, 3, 3], 1.).as_detached_tensor();
    let law = Propagation {
        scheme: Scheme::Verlet,
        activation: Activation::Tanh,
        step: 6. / layers as f64,
        memory: Memory::Constant,
    };
    let weights = Weights {
        kernel: kernel.as_tensor().clone(),
        bias: Some(biases[0].as_tensor().clone()),
        second_bias: Some(biases[1].as_tensor().clone()),
    };
    let state = State::new(&y);
    let composed = |weights: &Weights| -> Result<Tensor> {
        let (mut y, mut z) = (y.clone(), y.zeros_like()?);
        let of = |stack: &Option<Tensor>, j: usize| match stack {
            Some(stack) => stack.get(j)?.reshape((1, 6, 1, 1)),
            None => Tensor::zeros((1, 6, 1, 1), DType::F32, &DEVICE),
        };
        for j in 0..layers {
            let k = weights.kernel.get(j)?;
            let a = y.conv2d(&k, 1, 1, 1, 1)?;
            let a = a.broadcast_add(&of(&weights.second_bias, j)?)?.tanh()?;
            z = (z - (a * law.step)?)?;
            let a = z.conv_transpose2d(&k, 1, 0, 1, 1)?;
            let a = a.broadcast_add(&of(&weights.bias, j)?)?.tanh()?;
            y = (y + (a * law.step)?)?;
        }
        Ok(y)
    };
    let fused = |weights: &Weights| law.forward(&state, weights).unwrap().y;
    let loss = |y: Tensor| y.sqr().unwrap().mean_all().unwrap();
    let frozen = weights.detach();
    c.timed(format!("{name}/forward/fused"), || fused(&frozen));
    c.timed(format!("{name}/forward/candle"), || {
        composed(&frozen).unwrap()
    });
    c.timed(format!("{name}/gradient/fused"), || {
        loss(fused(&weights)).backward().unwrap()
    });
    c.timed(format!("{name}/gradient/candle"), || {
        loss(composed(&weights).unwrap()).backward().unwrap()
    });
    let along = Tangent {
        kernel: Some(direction),
        ..Default::default()
    };
    c.timed(format!("{name}/J v"), || {
        law.tangent(&state, &frozen, &along).unwrap()
    });
    let end = fused(&weights);
    c.timed(format!("{name}/J^T u"), || {
        end.sum_all().unwrap().backward().unwrap()
    });
}

criterion_group! {
    name = benches;
    config = common::config()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = layer, transposed, encoder, autoencoder, residual, normalization, dcgan, propagation
}
criterion_main!(benches);
