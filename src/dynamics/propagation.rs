//! The way through all layers, as plain functions of tensors.

use super::layers::{Stacks, run, through};
use super::step::{Law, Place};
use super::{Memory, Scheme, State, Tangent, Weights, fused};
use crate::check;
use crate::detach::Detach;
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::shape;
use candle_core::Tensor;

/// The law by which features go through the layers; the weights are arguments.
///
/// Shapes: dense features `[.., s]` with kernels `[N, m, s]`, or images `[B, s, H, W]` with kernels `[N, m, s, k, k]` (stride 1,
/// zeros at the border).
///
/// Gradients: of [`forward`](Self::forward) to state and weights, exact for the discrete propagation.
///
/// Errors: a step that is not positive and finite, `gamma < 0`, no layer, kernels that are not square where they have to be or
/// have an even size, biases and states that do not fit them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Activation;
/// use candle_prob::dynamics::{Memory, Propagation, Scheme, State, Weights};
/// # fn main() -> candle_prob::Result<()> {
/// // Example 2 of the paper: K_v [3, 2] in every one of 500 layers.
/// let kernel = Tensor::new(&[[2f64, 1.], [-1., 2.], [0., 1.]], &Device::Cpu)?;
/// let weights = Weights::new(&kernel.broadcast_as((500, 3, 2))?);
/// let law = Propagation { scheme: Scheme::Verlet, activation: Activation::Tanh, step: 0.1, memory: Memory::Constant };
/// let start = State::new(&Tensor::new(&[[0.1f64, 0.1], [-0.1, -0.1]], &Device::Cpu)?);
/// let end = law.forward(&start, &weights)?;
/// // Reversible: the way back leads to the start.
/// let again = law.back(&end, &weights)?;
/// let error = (again.y - start.y)?.abs()?.max_all()?.to_scalar::<f64>()?;
/// assert!(error < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, sections 2 to 4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Propagation {
    /// Force and method.
    pub scheme: Scheme,
    /// sigma.
    pub activation: Activation,
    /// h.
    pub step: f64,
    /// What is kept for the way back.
    pub memory: Memory,
}

impl Propagation {
    /// The state after the last layer.
    ///
    /// Shapes: y as it came; z as [`State`] says, there for Verlet and leapfrog.
    ///
    /// Gradients: to y, z and all weights.
    pub fn forward(&self, state: &State, weights: &Weights) -> Result<State> {
        let op = "Propagation::forward";
        let (law, start, stacks) = self.constants(op, state, weights)?;
        let at = start.state();
        if let Some(end) = fused::forward(op, self, &at, &stacks)? {
            return Ok(end);
        }
        match run(op, law, &at, &stacks, self.memory)? {
            Some(end) => Ok(end),
            None => Ok(through(&law, start, &stacks)?.state()),
        }
    }

    /// The states before the first layer and after each, N + 1 of them: constants, for plots and analysis.
    pub fn states(&self, state: &State, weights: &Weights) -> Result<Vec<State>> {
        let (state, weights) = (state.detach(), weights.detach());
        let (law, mut at, stacks) = self.constants("Propagation::states", &state, &weights)?;
        let mut states = vec![at.state()];
        for j in 0..stacks.count() {
            at = law.forward(&at, &stacks.layer(j)?)?;
            states.push(at.state());
        }
        Ok(states)
    }

    /// The state before the first layer from that after the last, by the inverse steps: time reversal. A constant.
    ///
    /// Errors: a scheme without inverse steps (Euler's method, Runge-Kutta); no z, without which nothing says where the way came
    /// from.
    ///
    /// Numerics: each step rounds as one forward does, so over many layers of a chaotic propagation the way back does not lead
    /// to the start.
    pub fn back(&self, state: &State, weights: &Weights) -> Result<State> {
        let op = "Propagation::back";
        if !self.scheme.reversible() {
            let expected = "leapfrog or Verlet, whose steps have an inverse";
            let found = format!("{:?}", self.scheme);
            return Err(Error::value(op, "scheme", expected, found));
        }
        if state.z.is_none() {
            let expected = "what forward gave beside y";
            return Err(Error::value(op, "z", expected, "none"));
        }
        let (state, weights) = (state.detach(), weights.detach());
        let (law, mut at, stacks) = self.constants(op, &state, &weights)?;
        for j in (0..stacks.count()).rev() {
            at = law.back(&at, &stacks.layer(j)?)?;
        }
        Ok(at.state())
    }

    /// J v: the derivative of the state after the last layer along a direction of state and weights, a constant.
    ///
    /// Formula: the sensitivity equations (4.18) to (4.22), solved forwards; J^T u is the gradient of `sum(u forward(..))`.
    ///
    /// Errors: those of `forward`; a direction of another shape than what it belongs to, or of what is not there.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::Activation;
    /// use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, State, Tangent, Weights};
    /// # fn main() -> candle_prob::Result<()> {
    /// let (scheme, memory) = (Scheme::Euler(Force::Single), Memory::Constant);
    /// let law = Propagation { scheme, activation: Activation::Identity, step: 0.5, memory };
    /// let weights = Weights::new(&Tensor::new(&[[[2f64]], [[4.]]], &Device::Cpu)?);
    /// let state = State::new(&Tensor::new(&[3f64], &Device::Cpu)?);
    /// // y_2 = (1 + h K_1) (1 + h K_0) y_0, along K_0.
    /// let kernel = Some(Tensor::new(&[[[1f64]], [[0.]]], &Device::Cpu)?);
    /// let along = Tangent { kernel, ..Default::default() };
    /// assert_eq!(law.tangent(&state, &weights, &along)?.y.to_vec1::<f64>()?, [4.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tangent(&self, state: &State, weights: &Weights, along: &Tangent) -> Result<State> {
        let op = "Propagation::tangent";
        let (state, weights) = (state.detach(), weights.detach());
        let y = moving(op, "y", Some(&state.y), &along.y)?;
        let z = moving(op, "z", state.z.as_ref(), &along.z)?;
        let stacks = Stacks {
            kernel: moving(op, "kernel", Some(&weights.kernel), &along.kernel)?
                .unwrap_or_else(|| Dual::constant(&weights.kernel)),
            bias: moving(op, "bias", weights.bias.as_ref(), &along.bias)?,
            second_bias: moving(
                op,
                "second_bias",
                weights.second_bias.as_ref(),
                &along.second_bias,
            )?,
        };
        let y = y.unwrap_or_else(|| Dual::constant(&state.y));
        let (law, start, stacks) = self.prepared(op, (&state, y, z), (&weights, stacks))?;
        match fused::tangent(self, &start, &stacks)? {
            Some(moved) => Ok(moved),
            None => through(&law, start, &stacks)?.derivative(),
        }
    }

    /// The features after the last layer, along directions of those before the first. Differentiable again.
    pub(super) fn forward_dual(&self, y: &Dual, weights: &Weights) -> Result<Dual> {
        let state = State::new(y.value());
        let place = (&state, y.clone(), None);
        let stacks = (weights, Stacks::constant(weights));
        let (law, start, stacks) = self.prepared("Propagation::forward_dual", place, stacks)?;
        Ok(through(&law, start, &stacks)?.y)
    }

    /// As [`Self::prepared`] where nothing moves.
    pub(super) fn constants(
        &self,
        op: &'static str,
        state: &State,
        weights: &Weights,
    ) -> Result<(Law, Place, Stacks)> {
        let z = state.z.as_ref().map(Dual::constant);
        let place = (state, Dual::constant(&state.y), z);
        self.prepared(op, place, (weights, Stacks::constant(weights)))
    }

    /// The law, the place before the first layer and the operators of all layers, once all is checked.
    fn prepared(
        &self,
        op: &'static str,
        (state, y, z): (&State, Dual, Option<Dual>),
        (weights, mut stacks): (&Weights, Stacks),
    ) -> Result<(Law, Place, Stacks)> {
        let law = Law {
            scheme: self.scheme,
            activation: self.activation,
            step: self.step,
        };
        check::positive_finite(op, "step", self.step)?;
        self.scheme.check(op)?;
        let sizes = weights.sizes(op, self.scheme)?;
        sizes.check_state(op, self.scheme, state, &weights.kernel)?;
        stacks.kernel = law.operators(&stacks.kernel)?;
        let beside = sizes.beside(self.scheme, state.y.dims());
        Ok((law, law.start(y, z, &beside)?, stacks))
    }
}

/// A tensor, if it is there, that moves along a direction, if there is one.
fn moving(
    op: &'static str,
    arg: &'static str,
    value: Option<&Tensor>,
    along: &Option<Tensor>,
) -> Result<Option<Dual>> {
    let Some(along) = along else {
        return Ok(value.map(Dual::constant));
    };
    let Some(value) = value else {
        let expected = "no direction of what is not there";
        let found = format!("one of shape {:?}", along.dims());
        return Err(Error::value(op, arg, expected, found));
    };
    shape::same_kind(op, arg, along, value)?;
    shape::exactly(op, arg, along.dims(), value.dims())?;
    Dual::new(value, &along.detach()).map(Some)
}
