//! Continuous flows.

use super::conditioner::{beside, conditioner};
use crate::bijector::Bijector;
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, Trace, trace, trace_estimate};
use crate::dynamics::{Rk4, Solver, solve};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::continuous::{Along, Way, rk4};
use crate::kernels::reduce;
use crate::net::{Dense, Mlp};
use crate::shape;
use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use std::any::Any;
use std::sync::Arc;

/// What [`ffjord`] builds.
#[derive(Debug, Clone)]
pub struct FfjordConfig {
    /// The width of the data.
    pub features: usize,
    /// The widths of the hidden layers of the velocity's network.
    pub hidden: Vec<usize>,
    /// The activation of the hidden layers; a smooth one.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// How the equation is solved: [`Rk4`], [`Dopri5`](crate::dynamics::Dopri5) or a [`Solver`] of your own.
    pub solver: Arc<dyn Solver>,
    /// The time at which the data is reached; the base is at 0.
    pub time: f64,
}

impl Default for FfjordConfig {
    fn default() -> Self {
        FfjordConfig {
            features: 2,
            hidden: vec![64, 64],
            activation: Activation::Tanh,
            context: 0,
            solver: Arc::new(Rk4 { steps: 20 }),
            time: 1.,
        }
    }
}

/// A continuous flow: points move with a velocity that a network gives.
///
/// Formula: `dx/dt = f(x, t)` from the base at time 0 to the data at `time`; `d ln det / dt = tr(df/dx)`. The trace is
/// exact, by one forward-mode tangent for each feature, or after [`estimating`](Ffjord::estimating) Hutchinson's `v^T
/// (df/dx) v` with one noise v for the whole way. Log-dets of f32 tensors under [`Rk4`] need no tangents where f has
/// one or two hidden layers with smooth activations: with their slopes d1, d2, the columns U of the first weight that
/// meet x, the weight W between them and the last weight V, `tr(df/dx) = d2^T (W o (U V)^T) d1` elementwise in the
/// brackets, for any number of features the cost of one product.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context] with the argument's leading dims.
///
/// Gradients: through the solver's steps to argument, context and weights, those of the trace included.
///
/// Errors: those of [`solve`]; an argument of another width, dtype or device; a context that does not fit.
///
/// Both directions cost the same, and one is the inverse of the other to the solver's error. `transform` and `inverse` alone
/// leave the trace out where all steps are one node. A fresh flow stands still.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::bijector::Bijector;
/// use candle_prob::flow::{FfjordConfig, ffjord};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let flow = ffjord(&FfjordConfig::default(), vb)?;
/// let (z, log_det) = flow.inverse_and_log_det(&Tensor::ones((5, 2), DType::F32, &Device::Cpu)?)?;
/// assert_eq!((z.dims(), log_det.dims()), (&[5, 2][..], &[5][..]));
/// # Ok(())
/// # }
/// ```
///
/// Source: Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD, equations 3 to 8; the regularizing integrals
/// are those of Finlay, Jacobsen, Nurbekyan and Oberman (2020), How to train your neural ODE, equations 5 and 6.
#[derive(Debug, Clone)]
pub struct Ffjord {
    config: FfjordConfig,
    net: Mlp,
    context: Option<Tensor>,
    noise: Option<Tensor>,
}

/// The way of points through a continuous flow.
#[derive(Debug, Clone)]
pub struct Path {
    /// Where they end.
    pub end: Tensor,
    /// `ln |det|` of the map from start to end, [..].
    pub log_det: Tensor,
    /// The integral of the squared velocity, [..].
    pub kinetic: Tensor,
    /// The integral of the squared Frobenius norm of the velocity's Jacobian, exact or estimated as the trace is, [..].
    pub jacobian: Tensor,
    /// How often the network was evaluated.
    pub evaluations: usize,
}

/// A continuous flow; the network's variables are under `0`, `1`, ..
///
/// Errors: no features, a time that is not positive, and what `vb` refuses.
pub fn ffjord(config: &FfjordConfig, vb: VarBuilder) -> Result<Ffjord> {
    let op = "flow::ffjord";
    check::at_least_one(op, &[("features", config.features)])?;
    check::positive_finite(op, "time", config.time)?;
    let mut widths = vec![config.features + 1 + config.context];
    widths.extend(&config.hidden);
    Ok(Ffjord {
        config: config.clone(),
        net: conditioner(&widths, config.features, config.activation, vb)?,
        context: None,
        noise: None,
    })
}

impl Ffjord {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        super::check_context("Ffjord::given", context, self.config.context, self.weight())?;
        Ok(Ffjord {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The flow with traces estimated by this noise, of the shape of the arguments that will come: independent numbers of mean
    /// 0 and variance 1, normals or random signs, drawn anew for every step of a training.
    pub fn estimating(&self, noise: &Tensor) -> Result<Self> {
        shape::same_kind("Ffjord::estimating", "noise", noise, self.weight())?;
        Ok(Ffjord {
            noise: Some(noise.detach()),
            ..self.clone()
        })
    }

    /// The flow stopped at another time on its way, or going on beyond it.
    ///
    /// Errors: a time that is not positive.
    pub fn until(&self, time: f64) -> Result<Self> {
        check::positive_finite("Ffjord::until", "time", time)?;
        let mut flow = self.clone();
        flow.config.time = time;
        Ok(flow)
    }

    fn weight(&self) -> &Tensor {
        self.net.layers()[0].weight()
    }

    /// f(x, t).
    fn velocity(&self, t: f64, x: &Dual, context: Option<&Tensor>) -> Result<Dual> {
        let value = x.value();
        let time = (value.narrow(D::Minus1, 0, 1)?.zeros_like()? + t)?;
        let still = beside(&time, context)?;
        let mut h = x.beside(&Dual::constant(&still))?;
        for layer in self.net.layers() {
            let affine = h.dense(layer.weight(), layer.bias())?;
            h = affine.activation(layer.activation())?;
        }
        Ok(h)
    }

    /// From the base to the data, or back if `inverse`, with the integrals that regularize a training.
    pub fn path(&self, x: &Tensor, inverse: bool) -> Result<Path> {
        let op = "Ffjord::path";
        let (state, evaluations) = self.solution(op, x, inverse, Along::All)?;
        let [end, log_det, kinetic, jacobian] = parts(op, state)?;
        // Both integrals are positive in either direction of time.
        let (kinetic, jacobian) = match inverse {
            false => (kinetic, jacobian),
            true => (kinetic.neg()?, jacobian.neg()?),
        };
        Ok(Path {
            end,
            log_det,
            kinetic,
            jacobian,
            evaluations,
        })
    }

    /// The end and these integrals at least, and how often the network was evaluated.
    fn solution(
        &self,
        op: &'static str,
        x: &Tensor,
        inverse: bool,
        along: Along,
    ) -> Result<(Vec<Tensor>, usize)> {
        let batch = super::batch_of([op, "x"], x, self.config.features, self.weight())?;
        let context = super::context_for(op, self.context.as_ref(), self.config.context, batch)?;
        let span = match inverse {
            false => [0., self.config.time],
            true => [self.config.time, 0.],
        };
        if let Some(noise) = &self.noise {
            shape::exactly(op, "noise", noise.dims(), x.dims())?;
        }
        if let Some(solution) = self.fused(x, context.as_ref(), span, along)? {
            return Ok(solution);
        }
        let f = |t: f64, state: &[Tensor]| {
            let velocity = |x: &Dual| self.velocity(t, x, context.as_ref());
            let Trace {
                value,
                trace,
                frobenius,
            } = match &self.noise {
                None => trace(velocity, &state[0])?,
                Some(noise) => trace_estimate(velocity, &state[0], noise)?,
            };
            let kinetic = reduce::sum(&value.sqr()?)?;
            Ok(vec![value, trace, kinetic, frobenius])
        };
        let zeros = x.detach().sum(D::Minus1)?.zeros_like()?;
        let start = vec![x.clone(), zeros.clone(), zeros.clone(), zeros];
        let solution = solve(self.config.solver.as_ref(), f, start, span)?;
        Ok((solution.state, solution.evaluations))
    }

    /// All steps as one node of the graph, where there is such a form.
    fn fused(
        &self,
        x: &Tensor,
        context: Option<&Tensor>,
        [from, to]: [f64; 2],
        along: Along,
    ) -> Result<Option<(Vec<Tensor>, usize)>> {
        let solver: &dyn Any = self.config.solver.as_ref();
        let Some(&Rk4 { steps: steps @ 1.. }) = solver.downcast_ref() else {
            return Ok(None);
        };
        let net: Vec<_> = self.net.layers().iter().map(Dense::parts).collect();
        let way = Way { from, to, steps };
        let state = rk4(x, context, self.noise.as_ref(), &net, way, along)?;
        Ok(state.map(|state| (state, 4 * steps)))
    }
}

/// The first N parts of a state.
fn parts<const N: usize>(op: &'static str, mut state: Vec<Tensor>) -> Result<[Tensor; N]> {
    state.truncate(N);
    state.try_into().map_err(|list: Vec<Tensor>| {
        let expected = format!("a state of {N} parts");
        Error::value(op, "f", expected, list.len())
    })
}

impl Bijector for Ffjord {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "Ffjord::transform_and_log_det";
        let [y, log_det] = parts(op, self.solution(op, x, false, Along::Trace)?.0)?;
        Ok((y, log_det))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "Ffjord::inverse_and_log_det";
        let [x, log_det] = parts(op, self.solution(op, y, true, Along::Trace)?.0)?;
        Ok((x, log_det))
    }

    fn transform(&self, x: &Tensor) -> Result<Tensor> {
        let op = "Ffjord::transform";
        let [y] = parts(op, self.solution(op, x, false, Along::Nothing)?.0)?;
        Ok(y)
    }

    fn inverse(&self, y: &Tensor) -> Result<Tensor> {
        let op = "Ffjord::inverse";
        let [x] = parts(op, self.solution(op, y, true, Along::Nothing)?.0)?;
        Ok(x)
    }
}

impl Detach for Ffjord {
    fn detach(&self) -> Self {
        Ffjord {
            net: self.net.detach(),
            context: self.context.detach(),
            noise: self.noise.detach(),
            ..self.clone()
        }
    }
}
