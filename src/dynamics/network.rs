//! The layers of a propagation as a network with parameters.

use super::weights::Sizes;
use super::{Memory, Prolongation, Propagation, Scheme, State, Tangent, Weights, prolong};
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule, Linearize};
use crate::error::{Error, Result};
use crate::init;
use crate::kernels::network::activation::Activation;
use crate::shape;
use candle_core::{DType, Module, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// What the kernels of a [`Network`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelShape {
    /// Matrices `[inner, width]`.
    Dense {
        /// s: features.
        width: usize,
        /// m: features that K leads to, those of Verlet's z. As many as `width` where kernels have to be square.
        inner: usize,
    },
    /// Convolutions `[inner, channels, size, size]` from all channels to all channels.
    Conv {
        /// s: channels of the features.
        channels: usize,
        /// m: channels that K leads to.
        inner: usize,
        /// Rows and columns of a kernel, odd.
        size: usize,
    },
}

impl KernelShape {
    /// Square matrices.
    pub fn dense(width: usize) -> Self {
        KernelShape::Dense {
            width,
            inner: width,
        }
    }

    /// Convolutions of 3 x 3 from as many channels to as many.
    pub fn conv(channels: usize) -> Self {
        KernelShape::Conv {
            channels,
            inner: channels,
            size: 3,
        }
    }

    fn sizes(self, layers: usize) -> Sizes {
        let (inner, width, size) = match self {
            KernelShape::Dense { width, inner } => (inner, width, None),
            KernelShape::Conv {
                channels,
                inner,
                size,
            } => (inner, channels, Some(size)),
        };
        Sizes {
            layers,
            inner,
            width,
            size,
        }
    }
}

/// The biases of a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Biases {
    /// None.
    None,
    /// One for each equation: for Verlet b and `b_z`, of the sizes of K's two sides.
    #[default]
    Separate,
    /// One for each layer: Verlet's b is its `b_z` too, as (4.17) writes it, for which K has to be square.
    Tied,
}

/// Options of a [`Network`].
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// Force and method.
    pub scheme: Scheme,
    /// sigma.
    pub activation: Activation,
    /// N.
    pub layers: usize,
    /// T: the step is T / N.
    pub time: f64,
    /// What K is.
    pub kernel: KernelShape,
    /// Which biases there are.
    pub biases: Biases,
    /// What is kept for the way back.
    pub memory: Memory,
}

impl NetworkConfig {
    /// Verlet's method with tanh, biases and constant memory.
    pub fn new(kernel: KernelShape, layers: usize, time: f64) -> Self {
        NetworkConfig {
            scheme: Scheme::Verlet,
            activation: Activation::Tanh,
            layers,
            time,
            kernel,
            biases: Biases::default(),
            memory: Memory::default(),
        }
    }

    /// Whether one bias stands in two equations.
    fn tied(&self) -> bool {
        self.scheme == Scheme::Verlet && self.biases == Biases::Tied
    }

    /// Checks all and tells the sizes.
    fn sizes(&self, op: &'static str) -> Result<Sizes> {
        check::at_least_one(op, &[("layers", self.layers)])?;
        check::positive_finite(op, "time", self.time)?;
        check::positive_finite(op, "time", self.time / self.layers as f64)?;
        self.scheme.check(op)?;
        let sizes = self.kernel.sizes(self.layers);
        sizes.check(op, "kernel", self.scheme)?;
        if self.tied() && sizes.inner != sizes.width {
            let expected = format!(
                "square kernels, as biases are tied, [N, {0}, {0}, ..]",
                sizes.width
            );
            return Err(Error::shape(op, "kernel", expected, &sizes.kernel()));
        }
        Ok(sizes)
    }
}

/// N layers that lead features along a differential equation: a [`Propagation`] that owns its weights.
///
/// Formula: `y_N` of `y_0`, with z none at the start and the step `h = time / layers`.
///
/// Shapes: `[.., width]`, or images `[B, channels, H, W]`, to the same.
///
/// Gradients: to the features and all parameters.
///
/// Errors: features of another width, dtype or device.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::dynamics::{KernelShape, NetworkConfig, network};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let net = network(&NetworkConfig::new(KernelShape::dense(2), 100, 10.), vb.pp("net"))?;
/// let y = net.forward(&Tensor::ones((5, 2), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [5, 2]);
/// assert!(y.sum_all()?.backward()?.get(&net.weights().kernel).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Network {
    config: NetworkConfig,
    weights: Weights,
}

/// A [`Network`] with the variables `kernel`, `bias` and, for Verlet with separate biases, `second_bias`, each a stack of all
/// layers.
///
/// Initializers: kernels normal with standard deviation `1 / sqrt(fan in)`, so that the features that K leads to are as large as
/// those that it reads; biases 0.
///
/// Errors: no layer, a time that is not positive and finite, `gamma < 0`, no features, kernels that are not square where they
/// have to be (tied biases are a reason too) or have an even size; what `vb` refuses.
pub fn network(config: &NetworkConfig, vb: VarBuilder) -> Result<Network> {
    let sizes = config.sizes("dynamics::network")?;
    check::product("dynamics::network", "kernel", &sizes.kernel())?;
    let fan_in = (sizes.width * sizes.size.map_or(1, |k| k * k)) as f64;
    let random = Init::Randn {
        mean: 0.,
        stdev: 1. / fan_in.sqrt(),
    };
    let kernel = vb.get_with_hints(sizes.kernel(), "kernel", random)?;
    let zero = Init::Const(0.);
    let mut weights = Weights::new(&kernel);
    if config.biases != Biases::None {
        let bias = sizes.bias(config.scheme);
        weights.bias = Some(vb.get_with_hints(&bias, "bias", zero)?);
        if config.tied() {
            weights.second_bias = weights.bias.clone();
        } else if config.scheme == Scheme::Verlet {
            let inner = [sizes.layers, sizes.inner];
            weights.second_bias = Some(vb.get_with_hints(&inner, "second_bias", zero)?);
        }
    }
    Ok(Network {
        config: config.clone(),
        weights,
    })
}

impl Network {
    /// A network whose variables start as these weights, without gradients to them.
    ///
    /// Errors: those of [`network`]; weights of other shapes or dtype, biases where the config has none or none where it has, two
    /// that differ where they are tied; a `vb` that gives constants.
    pub fn with(config: &NetworkConfig, weights: &Weights, vb: VarBuilder) -> Result<Self> {
        let op = "Network::with";
        let sizes = weights.sizes(op, config.scheme)?;
        shape::exactly(op, "kernel", &sizes.kernel(), &config.sizes(op)?.kernel())?;
        let network = network(config, vb)?;
        let own = &network.weights;
        let pairs = [
            ("bias", &own.bias, &weights.bias),
            ("second_bias", &own.second_bias, &weights.second_bias),
        ];
        for (arg, own, given) in pairs {
            if own.is_some() != given.is_some() {
                let say = |there: bool| if there { "one" } else { "none" };
                let (expected, found) = (say(own.is_some()), say(given.is_some()));
                return Err(Error::value(op, arg, expected, found));
            }
        }
        if let (true, Some(b), Some(second)) = (config.tied(), &weights.bias, &weights.second_bias)
        {
            let apart = b.ne(second)?.to_dtype(DType::F32)?.max_all()?;
            if apart.to_scalar::<f32>()? > 0. {
                let expected = "the numbers of bias, as biases are tied";
                return Err(Error::value(op, "second_bias", expected, "others"));
            }
        }
        init::write(op, &own.kernel, &weights.kernel)?;
        for (_, own, given) in pairs {
            if let (Some(own), Some(given)) = (own, given) {
                init::write(op, own, given)?;
            }
        }
        Ok(network)
    }

    /// A network of twice as many layers over the same time, that starts as this one's prolongation: the next level.
    ///
    /// Errors: those of [`Network::with`].
    ///
    /// ```
    /// use candle_core::{DType, Device, Module, Tensor};
    /// use candle_nn::VarMap;
    /// use candle_prob::dynamics::{KernelShape, NetworkConfig, Prolongation, network};
    /// use candle_prob::init;
    /// # fn main() -> candle_prob::Result<()> {
    /// let config = NetworkConfig::new(KernelShape::dense(2), 64, 1.);
    /// let coarse = network(&config, init::seeded(&VarMap::new(), 0, DType::F32, &Device::Cpu))?;
    /// let vars = VarMap::new(); // of the next level
    /// let fine = coarse.prolong(Prolongation::Constant, init::seeded(&vars, 0, DType::F32, &Device::Cpu))?;
    /// let x = Tensor::ones((1, 2), DType::F32, &Device::Cpu)?;
    /// let change = (fine.forward(&x)? - coarse.forward(&x)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
    /// assert!(fine.config().layers == 128 && change < 0.05);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prolong(&self, how: Prolongation, vb: VarBuilder) -> Result<Self> {
        let weights = prolong(&self.weights.detach(), how)?;
        let config = NetworkConfig {
            layers: weights.layers(),
            ..self.config.clone()
        };
        Network::with(&config, &weights, vb)
    }

    /// The options.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The weights, the network's variables.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    fn stacks(&self) -> Vec<&Tensor> {
        let weights = &self.weights;
        let second = weights.second_bias.as_ref().filter(|_| !self.config.tied());
        let biases = [weights.bias.as_ref(), second];
        let all = std::iter::once(&weights.kernel);
        all.chain(biases.into_iter().flatten()).collect()
    }

    /// The law.
    pub fn propagation(&self) -> Propagation {
        Propagation {
            scheme: self.config.scheme,
            activation: self.config.activation,
            step: self.config.time / self.config.layers as f64,
            memory: self.config.memory,
        }
    }

    /// The states before the first layer and after each: constants.
    pub fn states(&self, y: &Tensor) -> Result<Vec<State>> {
        self.propagation().states(&State::new(y), &self.weights)
    }
}

impl Module for Network {
    fn forward(&self, y: &Tensor) -> candle_core::Result<Tensor> {
        let end = self.propagation().forward(&State::new(y), &self.weights)?;
        Ok(end.y)
    }
}

/// The parameters are those of kernel, bias and second bias that are variables, in this order.
impl Linearize for Network {
    fn parameters(&self) -> Vec<Var> {
        let variables = self.stacks().into_iter().filter(|t| t.is_variable());
        // Of a variable this is the variable itself.
        variables.filter_map(|t| Var::from_tensor(t).ok()).collect()
    }

    fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
        let op = "Network::tangent";
        let count = self.stacks().iter().filter(|t| t.is_variable()).count();
        if direction.len() != count {
            let expected = format!("{count} tensors, one for each parameter");
            return Err(Error::value(op, "direction", expected, direction.len()));
        }
        let mut parts = direction.iter();
        let mut next = |stack: &Tensor| match stack.is_variable() {
            true => parts.next().cloned(),
            false => None,
        };
        let kernel = next(&self.weights.kernel);
        let bias = self.weights.bias.as_ref().and_then(&mut next);
        let second_bias = match self.config.tied() {
            true => bias.clone(),
            false => self.weights.second_bias.as_ref().and_then(&mut next),
        };
        let along = Tangent {
            kernel,
            bias,
            second_bias,
            ..Default::default()
        };
        let law = self.propagation();
        Ok(law.tangent(&State::new(x), &self.weights, &along)?.y)
    }
}

/// Directions are of the features. Layer by layer in candle's graph, which grows with their number.
impl DualModule for Network {
    fn forward_dual(&self, y: &Dual) -> Result<Dual> {
        self.propagation().forward_dual(y, &self.weights)
    }
}

impl Detach for Network {
    fn detach(&self) -> Self {
        Network {
            config: self.config.clone(),
            weights: self.weights.detach(),
        }
    }
}
