//! Part of a map of variables.

use crate::error::{Error, Result};
use crate::init::{named_vars, poisoned};
use candle_nn::VarMap;

/// The variables of `vars` that lie under one of the paths, in a map of their own: what an optimizer, a clip or a check is
/// given where players train against each other. [`Minimax`](super::Minimax) is the loop of the example.
///
/// What it is: a second map of the same variables, under the same full names. A step of an optimizer that was built from it
/// is seen through `vars`, and a checkpoint needs `vars` once and each optimizer under a name of its own. A path counts in
/// whole segments: `gen` holds `gen` and `gen.weight`, not `generator.weight`. As for the optimizers, variables that are added
/// to `vars` later are not seen, and new ones belong into `vars`. A variable that has a name under the paths of two players is
/// moved by both.
///
/// Gradients: a backward pass goes through all that a loss is made of, whoever takes the step. In the step of the
/// discriminator, detach what the generator made: it saves the way back through the generator. In the step of the generator
/// the discriminator must not be detached, since the way leads through it: its gradients are computed, and dropped with the
/// store. Nothing is left over for the next step, for each backward pass makes a new store.
///
/// Errors: a path without a variable; no path.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::optim::{Adam, AdamConfig, Optimizer, backward, clip_grad_norm, under};
/// use candle_prob::special::softplus;
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let generator = candle_nn::linear(2, 3, vb.pp("generator"))?;
/// let critic = candle_nn::linear(3, 1, vb.pp("critic"))?;
/// let (own, other) = (under(&vars, &["generator"])?, under(&vars, &["critic"])?);
/// let config = AdamConfig { beta1: 0.5, ..AdamConfig::default() };
/// let (mut adam, mut rival) = (Adam::new(&own, &config)?, Adam::new(&other, &config)?);
/// let mut rng = Rng::new(2);
/// let real = rng.normal((64, 3), DType::F32, &Device::Cpu)?;
/// for _ in 0..2 {
///     let fake = generator.forward(&rng.normal((64, 2), DType::F32, &Device::Cpu)?)?;
///     let told = softplus(&critic.forward(&real)?.neg()?)?.mean_all()?;
///     let fooled = softplus(&critic.forward(&fake.detach())?)?.mean_all()?;
///     let mut gradients = backward(&(told + fooled)?)?;
///     clip_grad_norm(&mut gradients, &other, 1.)?;
///     rival.step(&gradients)?;
///     // A graph is differentiated before the step that changes its variables: the critic has moved, so it is asked anew.
///     adam.backward_step(&softplus(&critic.forward(&fake)?.neg()?)?.mean_all()?)?;
/// }
/// # Ok(())
/// # }
/// ```
pub fn under(vars: &VarMap, paths: &[&str]) -> Result<VarMap> {
    const OP: &str = "optim::under";
    if paths.is_empty() {
        return Err(Error::value(OP, "paths", "at least one path", "none"));
    }
    let named = named_vars(vars)?;
    let part = VarMap::new();
    for path in paths {
        let within = |name: &str| {
            let rest = name.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found = named.iter().filter(|(name, _)| within(name));
        let found: Vec<_> = found
            .map(|(name, var)| (name.clone(), var.clone()))
            .collect();
        if found.is_empty() {
            let expected = format!("variables under {path:?}");
            return Err(Error::value(OP, "paths", expected, "none"));
        }
        part.data().lock().map_err(poisoned)?.extend(found);
    }
    Ok(part)
}
