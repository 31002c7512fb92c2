//! A variational information bottleneck on handwritten digits: `cargo run --release --example vib`.

use candle_core::{D, DType, Device, Module, Tensor, safetensors};
use candle_nn::VarMap;
use candle_prob::distribution::{Categorical, Kl, Moments, MultivariateNormalDiag};
use candle_prob::objective::{BottleneckConfig, vib};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Activation, Conditional, Result, Rng, init, net};

const CODE: usize = 16;

fn main() -> Result<()> {
    // 1797 images of 8 x 8 pixels, the last 297 for the test.
    let digits = safetensors::load_buffer(include_bytes!("data/digits.safetensors"), &Device::Cpu)?;
    let x = (digits["x"].flatten_from(1)?.to_dtype(DType::F32)? / 16.)?;
    let y = &digits["y"];

    let (mut rng, vars) = (Rng::new(0), VarMap::new());
    let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
    let hidden = net::dense(64, 128, Activation::Relu, vb.pp("hidden"))?;
    let head = net::NormalHead::new(128, CODE, net::ScaleForm::LogVar, vb.pp("head"))?;
    let encoder = |x: &Tensor| head.given(&hidden.forward(x)?);
    let network = net::mlp(&[CODE, 128, 10], Activation::Relu, vb.pp("decoder"))?;
    let decoder = |z: &Tensor| Categorical::new(&network.forward(z)?);
    let prior = MultivariateNormalDiag::standard(CODE, DType::F32, &Device::Cpu)?;

    let config = BottleneckConfig {
        beta: 1e-2,
        ..BottleneckConfig::default()
    };
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    for _epoch in 0..30 {
        for batch in rng.permutation(1500).chunks(50) {
            let batch: Vec<u32> = batch.iter().map(|&i| i as u32).collect();
            let batch = Tensor::new(batch, &Device::Cpu)?;
            let (x, y) = (x.index_select(&batch, 0)?, y.index_select(&batch, 0)?);
            let posterior = encoder(&x)?;
            let parts = vib(&posterior, &prior, &decoder, &y, &config, &mut rng)?;
            adam.backward_step(&parts.total.mean_all()?)?;
        }
    }

    let (x, y) = (x.narrow(0, 1500, 297)?, y.narrow(0, 1500, 297)?);
    let posterior = encoder(&x)?;
    let rate = posterior.kl(&prior)?.mean_all()?.to_scalar::<f32>()?;
    let classes = network.forward(&posterior.mean()?)?.argmax(D::Minus1)?;
    let right = classes.eq(&y)?.to_dtype(DType::F32)?;
    let accuracy = right.mean_all()?.to_scalar::<f32>()?;
    println!("{accuracy:.3} of the test images are right, by codes of {rate:.1} nats");
    assert!(accuracy > 0.9 && rate < 20.);
    Ok(())
}
