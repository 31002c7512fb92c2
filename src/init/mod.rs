//! Seeded parameter initialisation: what a parameter starts as depends on (seed, path) only. And [`Buffer`], the state
//! of layers that training writes and no optimizer moves.

use crate::rng::Rng;
use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, VarMap};
use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

mod buffer;

pub use buffer::Buffer;
pub(crate) use buffer::{check_variable, write};

/// A `VarBuilder` that fills `vars` with parameters drawn from `seed`.
///
/// What it is: candle draws initial parameters from a generator that cannot be seeded on the CPU. Here each parameter is
/// drawn from its own source, made from the seed and the parameter's path: the order of construction does not matter, and
/// adding a layer leaves the others' values alone. Parameters that `vars` already holds (loaded from a file, say) keep
/// their values; their shape must match.
///
/// Errors (from the layer that asks): a path used twice, which would silently share weights; a shape other than that of a
/// parameter that exists.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// # fn main() -> candle_prob::Result<()> {
/// let weights = |seed| -> candle_prob::Result<Vec<f32>> {
///     let vars = VarMap::new();
///     let vb = candle_prob::init::seeded(&vars, seed, DType::F32, &Device::Cpu);
///     let layer = candle_nn::linear(3, 2, vb.pp("layer"))?;
///     Ok(layer.weight().flatten_all()?.to_vec1()?)
/// };
/// assert_eq!(weights(1)?, weights(1)?);
/// assert_ne!(weights(1)?, weights(2)?);
/// # Ok(())
/// # }
/// ```
pub fn seeded(vars: &VarMap, seed: u64, dtype: DType, device: &Device) -> VarBuilder<'static> {
    let backend = Seeded {
        vars: vars.clone(),
        rng: Rng::new(seed).fork("init"),
        given: Mutex::default(),
    };
    VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
}

/// The variables of a map by name, in name order (`VarMap::all_vars` returns them in another order every run).
///
/// Errors: the map's lock is poisoned by a panic elsewhere.
pub fn named_vars(vars: &VarMap) -> crate::Result<BTreeMap<String, Var>> {
    let data = vars.data().lock().map_err(poisoned)?;
    Ok(data
        .iter()
        .map(|(name, var)| (name.clone(), var.clone()))
        .collect())
}

pub(crate) fn poisoned<T>(_: T) -> Error {
    Error::Msg("the variable map's lock is poisoned".into())
}

struct Seeded {
    vars: VarMap,
    rng: Rng,
    given: Mutex<HashSet<String>>,
}

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !self
            .given
            .lock()
            .map_err(poisoned)?
            .insert(name.to_string())
        {
            return Err(crate::Error::value(
                "init::seeded",
                "path",
                "each parameter path once (a second use would share the weights)",
                format!("{name} again"),
            )
            .into());
        }
        let mut data = self.vars.data().lock().map_err(poisoned)?;
        if let Some(var) = data.get(name) {
            if var.shape() != &shape {
                return Err(crate::Error::shape(
                    "init::seeded",
                    "parameter",
                    format!("{:?} for {name}", shape.dims()),
                    var.dims(),
                )
                .into());
            }
            return Ok(var.as_tensor().clone());
        }
        let var = Var::from_tensor(&draw(&self.rng.fork(name), init, &shape, dtype, device)?)?;
        data.insert(name.to_string(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        let data = self.vars.data().lock().map_err(poisoned)?;
        match data.get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("init::seeded: no parameter named {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.vars
            .data()
            .lock()
            .is_ok_and(|data| data.contains_key(name))
    }
}

fn draw(rng: &Rng, init: Init, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut rng = rng.fork("value");
    let mut normal = |mean: f64, stdev: f64| -> Result<Tensor> {
        rng.normal(shape.clone(), dtype, device)?
            .affine(stdev, mean)
    };
    match init {
        Init::Const(value) => {
            let value = Tensor::new(value, device)?.to_dtype(dtype)?;
            value.broadcast_as(shape.clone())?.contiguous()
        }
        Init::Randn { mean, stdev } => normal(mean, stdev),
        Init::Uniform { lo, up } => rng
            .uniform(shape.clone(), dtype, device)?
            .affine(up - lo, lo),
        Init::Kaiming {
            dist,
            fan,
            non_linearity,
        } => {
            let stdev = gain(non_linearity) / (fan_of(fan, shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0., stdev),
                NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * stdev;
                    rng.uniform(shape.clone(), dtype, device)?
                        .affine(2. * bound, -bound)
                }
            }
        }
    }
}

fn gain(non_linearity: NonLinearity) -> f64 {
    match non_linearity {
        NonLinearity::ReLU => 2f64.sqrt(),
        NonLinearity::Tanh => 5. / 3.,
        NonLinearity::Linear | NonLinearity::Sigmoid => 1.,
        NonLinearity::SELU => 0.75,
        NonLinearity::ExplicitGain(gain) => gain,
    }
}

fn fan_of(fan: FanInOut, shape: &Shape) -> usize {
    // Weights are [out, in, kernel..]; a vector counts as its own fan.
    let dims = shape.dims();
    let receptive: usize = dims.iter().skip(2).product();
    let fan = match (fan, dims) {
        (_, []) => 1,
        (_, [n]) => *n,
        (FanInOut::FanIn, [_, fan_in, ..]) => fan_in * receptive,
        (FanInOut::FanOut, [fan_out, ..]) => fan_out * receptive,
    };
    fan.max(1)
}
