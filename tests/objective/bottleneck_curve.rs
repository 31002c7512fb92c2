//! The curve of the information bottleneck of jointly Gaussian variables, which is known, traced by training.

use crate::linear_gaussian::SigmaPoints;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::optim::{Adam, AdamConfig, Optimizer, backward};
use candle_prob::{Result, Rng};
use std::f64::consts::{E, PI};

const CPU: &Device = &Device::Cpu;

/// Correlations of the coordinates of X and Y that belong together.
const RHO: [f64; 3] = [0.9, 0.7, 0.3];

/// Rate and information of the label where the curve has the slope `1 / beta`, in nats: each coordinate alone, and those with
/// `rho^2` below the slope not at all.
///
/// Source: Chechik, Globerson, Tishby and Weiss (2005), Information bottleneck for Gaussian variables, theorem 3.1.
fn curve(slope: f64) -> [f64; 2] {
    let mut point = [0.; 2];
    for square in RHO.map(|rho| rho * rho).into_iter().filter(|s| *s > slope) {
        // The variance of the coordinate of X that is left, given the code.
        let left = slope * (1. - square) / (square * (1. - slope));
        point[0] -= left.ln() / 2.;
        point[1] -= (1. - square + square * left).ln() / 2.;
    }
    point
}

/// Twelve examples [12, 3] with the moments of the law, which are all that losses of linear Gaussian maps look at. The
/// coordinates of X are mixed.
fn data() -> Result<[Tensor; 2]> {
    let eye = (Tensor::eye(6, DType::F64, CPU)? * 6f64.sqrt())?;
    let points = Tensor::cat(&[&eye, &eye.neg()?], 0)?;
    let (u, noise) = (points.narrow(1, 0, 3)?, points.narrow(1, 3, 3)?);
    let mix = Tensor::new(&[[1f64, 0.4, 0.], [-0.3, 0.8, 0.2], [0.5, 0., 1.2]], CPU)?;
    let rho = Tensor::new(&RHO, CPU)?;
    let rest = (1. - rho.sqr()?)?.sqrt()?;
    let y = (u.broadcast_mul(&rho)? + noise.broadcast_mul(&rest)?)?;
    Ok([u.matmul(&mix.t()?)?, y])
}

/// What is trained: maps [3, 3] and logarithms of scales [3], of the encoder, the decoder and the prior or backward encoder.
struct Model {
    vars: VarMap,
}

impl Model {
    fn new() -> Result<Self> {
        let (vars, mut rng) = (VarMap::new(), Rng::new(3));
        let mut data = vars.data().lock().expect("no other thread");
        for part in ["encoder", "decoder", "backward"] {
            let map = (rng.normal((3, 3), DType::F64, CPU)? * 0.5)?;
            data.insert(format!("{part}.map"), Var::from_tensor(&map)?);
            let scale = Tensor::zeros(3, DType::F64, CPU)?;
            data.insert(format!("{part}.log_scale"), Var::from_tensor(&scale)?);
        }
        drop(data);
        Ok(Model { vars })
    }

    fn part(&self, name: &str) -> [Tensor; 2] {
        let data = self.vars.data().lock().expect("no other thread");
        ["map", "log_scale"].map(|kind| data[&format!("{name}.{kind}")].as_tensor().clone())
    }

    /// `N(map x, scale^2)`.
    fn given(&self, name: &str, x: &Tensor) -> Result<MultivariateNormalDiag> {
        let [map, log_scale] = self.part(name);
        let mean = x.broadcast_matmul(&map.t()?)?;
        MultivariateNormalDiag::from_log_var(&mean, &(log_scale * 2.)?.broadcast_as(mean.shape())?)
    }

    fn prior(&self) -> Result<MultivariateNormalDiag> {
        let [_, log_scale] = self.part("backward");
        MultivariateNormalDiag::from_log_var(&log_scale.zeros_like()?.detach(), &(log_scale * 2.)?)
    }
}

/// Trains, and returns the means of rate and distortion.
fn train(objective: impl Fn(&Model, usize) -> Result<DistortionRate>) -> Result<[f64; 2]> {
    let model = Model::new()?;
    let mut found = [0.; 2];
    for (lr, steps) in [(3e-2, 600), (3e-3, 300)] {
        let config = AdamConfig {
            lr,
            ..Default::default()
        };
        let mut adam = Adam::new(&model.vars, &config)?;
        for _ in 0..steps {
            // Six points around each mean stand for all draws.
            let parts = objective(&model, 6)?;
            found = [&parts.rate, &parts.distortion].map(|x| {
                x.mean_all()
                    .and_then(|x| x.to_scalar::<f64>())
                    .unwrap_or(f64::NAN)
            });
            adam.step(&backward(&parts.total.mean_all()?)?)?;
        }
    }
    Ok(found)
}

fn entropy_of_y() -> f64 {
    1.5 * (2. * PI * E).ln()
}

fn by_vib(beta: f64) -> Result<[f64; 2]> {
    let [x, y] = data()?;
    let [rate, distortion] = train(|model, samples| {
        let posterior = SigmaPoints::diagonal(model.given("encoder", &x)?)?;
        let decoder = |z: &Tensor| model.given("decoder", z);
        let config = BottleneckConfig { beta, samples };
        vib(
            &posterior,
            &model.prior()?,
            &decoder,
            &y,
            &config,
            &mut Rng::new(0),
        )
    })?;
    Ok([rate, entropy_of_y() - distortion])
}

/// I[X;Z] and I[Y;Z] of the conditional objective: its rate is their difference.
fn by_ceb(beta: f64) -> Result<[f64; 2]> {
    let [x, y] = data()?;
    let [rate, distortion] = train(|model, samples| {
        let posterior = SigmaPoints::diagonal(model.given("encoder", &x)?)?;
        let decoder = |z: &Tensor| model.given("decoder", z);
        let backward = |y: &Tensor| model.given("backward", y);
        let config = BottleneckConfig { beta, samples };
        ceb(
            &posterior,
            &backward,
            &decoder,
            &y,
            &config,
            &mut Rng::new(0),
        )
    })?;
    let relevant = entropy_of_y() - distortion;
    Ok([rate + relevant, relevant])
}

fn on_the_curve(found: [f64; 2], slope: f64) {
    for (found, want) in found.into_iter().zip(curve(slope)) {
        assert!(
            (found / want - 1.).abs() < 0.02,
            "slope {slope}: {found} is not {want}"
        );
    }
}

#[test]
fn the_gaussian_curve_is_recovered() -> Result<()> {
    // One, two and all three coordinates are worth their rate.
    for slope in [0.5, 0.2, 0.05] {
        let tradeoff = Tradeoff::from_marginal_weight(slope)?;
        on_the_curve(by_vib(tradeoff.marginal_weight())?, slope);
    }
    Ok(())
}

#[test]
fn the_conditional_objective_is_on_the_same_curve() -> Result<()> {
    // Fischer's own objective, of weight 1, is the bottleneck at beta 2.
    for beta in [2., 5.] {
        let tradeoff = Tradeoff::new(beta)?;
        on_the_curve(by_ceb(tradeoff.conditional_weight())?, 1. / beta);
    }
    Ok(())
}
