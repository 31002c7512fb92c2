//! Two spirals told apart by 256 layers that are stable whatever their weights are, by Gauss-Newton steps in constant
//! memory: `cargo run --release --example spirals`.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::dynamics::{KernelShape, NetworkConfig, Prolongation, network};
use candle_prob::objective::ClassificationLoss;
use candle_prob::objective::regularization::TimeSmoothness;
use candle_prob::optim::{
    BlockDescent, BlockDescentConfig, Classifier, Examples, Penalties, evaluate,
};
use candle_prob::{Result, Rng, init};
use std::f32::consts::PI;
use std::ops::ControlFlow;

/// Points of two spirals, one in the gaps of the other; `[2 * count, 2]` and their classes.
fn spirals(count: usize, rng: &mut Rng) -> Result<Examples> {
    let radius = rng.uniform((count, 1), DType::F32, &Device::Cpu)?;
    let angle = (&radius * f64::from(4. * PI))?;
    let along = Tensor::cat(&[&angle.cos()?, &angle.sin()?], 1)?;
    let curves = [radius.clone(), (radius + 0.2)?].map(|r| along.broadcast_mul(&r));
    let [first, second] = curves;
    let classes = (0..2 * count).map(|i| u32::from(i >= count));
    let classes = Tensor::from_iter(classes, &Device::Cpu)?;
    Examples::new(&Tensor::cat(&[first?, second?], 0)?, &classes)
}

fn main() -> Result<()> {
    let mut rng = Rng::new(0);
    let parameters = || init::seeded(&VarMap::new(), 0, DType::F32, &Device::Cpu);
    let config = NetworkConfig::new(KernelShape::dense(2), 4, 20.);
    let mut net = network(&config, parameters())?;
    let classifier = Classifier::new(2, 2, ClassificationLoss::Softmax, parameters())?;
    let (training, validation) = (spirals(256, &mut rng)?, spirals(256, &mut rng)?);

    // Twice as many layers over the same time, as often as it takes: each level begins where the one before it ended.
    let config = BlockDescentConfig::default();
    loop {
        let step = net.propagation().step;
        let smooth = TimeSmoothness { alpha: 5e-3, step };
        let penalties = Penalties {
            parameters: vec![Some(&smooth); 3],
            ..Default::default()
        };
        let (training, validation) = (training.clone(), Some(validation.clone()));
        let mut descent =
            BlockDescent::new(&net, &classifier, training, validation, penalties, &config)?;
        descent.run(100, &mut rng, |_iteration| ControlFlow::Continue(()))?;
        if net.config().layers == 256 {
            break;
        }
        net = net.prolong(Prolongation::Linear, parameters())?;
    }

    let accuracy = evaluate(&net, &classifier, &spirals(1000, &mut rng)?, None)?.accuracy;
    println!("{accuracy:.3} of the points that were not seen are right");
    assert!(accuracy > 0.95);
    Ok(())
}
