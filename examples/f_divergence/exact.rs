//! The fit by quadrature, without samples and without a critic.

use super::{Gaussian, target_density};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::Result;
use candle_prob::divergence::{FDivergence, discrete};
use candle_prob::init;
use candle_prob::optim::{Adam, AdamConfig, Optimizer, Schedule};

/// Half the length of the axis, and cells on it.
const END: f64 = 10.;
const CELLS: usize = 1600;
const STEPS: usize = 1500;
const LR: f64 = 0.05;

/// The middles of the cells.
fn places() -> impl Iterator<Item = f64> {
    let width = 2. * END / CELLS as f64;
    (0..CELLS).map(move |k| -END + (k as f64 + 0.5) * width)
}

/// The divergence of the mixture from a Gaussian, a scalar that has gradients to its mean and logarithmic scale.
pub fn divergence(f: &dyn FDivergence, mean: &Tensor, log_sd: &Tensor) -> Result<Tensor> {
    let width = 2. * END / CELLS as f64;
    let x = Tensor::from_iter(places(), &Device::Cpu)?;
    let masses = places().map(|x| width * target_density(x));
    let target = Tensor::from_iter(masses, &Device::Cpu)?;
    let z = x.broadcast_sub(mean)?.broadcast_div(&log_sd.exp()?)?;
    let height = log_sd
        .neg()?
        .exp()?
        .affine(width / std::f64::consts::TAU.sqrt(), 0.)?;
    let model = (z.sqr()? * -0.5)?.exp()?.broadcast_mul(&height)?;
    discrete(f, &target, &model)
}

/// The divergence from this Gaussian.
pub fn of(f: &dyn FDivergence, model: Gaussian) -> Result<f64> {
    let number = |x: f64| Tensor::new(x, &Device::Cpu);
    let found = divergence(f, &number(model.mean)?, &number(model.sd.ln())?)?;
    Ok(found.to_scalar()?)
}

/// The Gaussian to which descent on the divergence leads.
pub fn fit(f: &dyn FDivergence, from: Gaussian) -> Result<Gaussian> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 0, DType::F64, &Device::Cpu);
    let start = |name: &str, value| vb.get_with_hints((), name, candle_nn::Init::Const(value));
    let mean = start("mean", from.mean)?;
    let log_sd = start("log_sd", from.sd.ln())?;
    let config = AdamConfig {
        lr: LR,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(&vars, &config)?;
    let schedule = Schedule::Cosine {
        from: LR,
        to: 0.,
        steps: STEPS,
    };
    for step in 0..STEPS {
        adam.set_learning_rate(schedule.at(step));
        adam.backward_step(&divergence(f, &mean, &log_sd)?)?;
    }
    Ok(Gaussian {
        mean: mean.to_scalar()?,
        sd: log_sd.to_scalar::<f64>()?.exp(),
    })
}
