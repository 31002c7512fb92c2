//! A network and its classifier at one level.

use crate::config::{Lift, Net, Plan};
use crate::data::Data;
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::dual::Linearize;
use candle_prob::dynamics::{KernelShape, Memory, Network, NetworkConfig, Prolongation, Weights};
use candle_prob::objective::regularization::{
    Derivative, Images, Quadratic, SpatialSmoothness, TimeSmoothness,
};
use candle_prob::optim::{Classifier, Evaluation, Examples, evaluate};
use candle_prob::{Result, Rng, init};

/// Samples that go through a network at once.
pub const PART: usize = 2500;

/// Inputs as features of the network's width, and the network.
pub struct Lifted {
    lift: Lift,
    width: usize,
    pub network: Network,
}

/// Its variables are `network.*` and `classifier.*`.
pub struct Model<'a> {
    pub plan: &'a Plan,
    pub vars: VarMap,
    pub lifted: Lifted,
    pub classifier: Classifier,
    pub smooth: TimeSmoothness,
    pub spatial: Option<SpatialSmoothness>,
}

fn builder(vars: &VarMap) -> VarBuilder<'static> {
    // All that is random is drawn elsewhere.
    init::seeded(vars, 0, DType::F32, &Device::Cpu)
}

impl Lifted {
    /// Points `[B, 2]` or images `[B, 1, H, W]` as features of the network's width.
    pub fn lift(&self, inputs: &Tensor) -> candle_core::Result<Tensor> {
        let own = inputs.dim(1)?;
        let mut dims = inputs.dims().to_vec();
        match self.lift {
            _ if own == self.width => Ok(inputs.clone()),
            Lift::Repeat => {
                dims.fill(1);
                dims[1] = self.width / own;
                inputs.repeat(dims)
            }
            Lift::Zeros => {
                dims[1] = self.width - own;
                let zeros = Tensor::zeros(dims, inputs.dtype(), inputs.device())?;
                Tensor::cat(&[inputs, &zeros], 1)
            }
        }
    }
}

impl Module for Lifted {
    fn forward(&self, inputs: &Tensor) -> candle_core::Result<Tensor> {
        self.network.forward(&self.lift(inputs)?)
    }
}

impl Linearize for Lifted {
    fn parameters(&self) -> Vec<Var> {
        self.network.parameters()
    }

    fn tangent(&self, inputs: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
        self.network.tangent(&self.lift(inputs)?, direction)
    }
}

impl<'a> Model<'a> {
    /// The coarsest level: one random kernel in all layers, which is as smooth in time as can be, and a classifier of zeros.
    pub fn first(plan: &'a Plan, data: &Data, seed: u64) -> Result<Self> {
        let layers = plan.levels[0];
        let config = NetworkConfig {
            scheme: plan.net.scheme(),
            // Steps of a time of 5 are chaotic, and some of their way back does not lead to where it came from.
            memory: match plan.size {
                None => Memory::States,
                Some(_) => Memory::Constant,
            },
            ..NetworkConfig::new(plan.kernel(), layers, plan.time)
        };
        let width = plan.width;
        let mut dims = vec![1, width, width];
        dims.extend(plan.size.iter().flat_map(|k| [*k, *k]));
        let fan_in = dims[2..].iter().product::<usize>() as f64;
        let mut rng = Rng::new(seed).fork("kernel");
        let kernel = rng.normal(dims.as_slice(), DType::F32, &Device::Cpu)?;
        // So that the first step moves a feature about as far as it is from 0.
        let step = plan.time / layers as f64;
        let kernel = (kernel * (1. / (step * fan_in.sqrt())))?;
        let mut times = vec![1; dims.len()];
        times[0] = layers;
        let zeros = Tensor::zeros((layers, width), DType::F32, &Device::Cpu)?;
        let weights = Weights {
            kernel: kernel.repeat(times)?,
            bias: Some(zeros.clone()),
            second_bias: (plan.net == Net::Verlet).then_some(zeros),
        };
        let vars = VarMap::new();
        let network = Network::with(&config, &weights, builder(&vars).pp("network"))?;
        Self::of(plan, vars, network, data)
    }

    /// A level of more layers, whose network starts as this one's prolongation and whose classifier is this one's.
    pub fn next(&self, layers: usize, data: &Data) -> Result<Self> {
        let mut vars = VarMap::new();
        let mut network = self.lifted.network.clone();
        while network.config().layers < layers {
            vars = VarMap::new();
            let how = Prolongation::Linear;
            network = network.prolong(how, builder(&vars).pp("network"))?;
        }
        let next = Self::of(self.plan, vars, network, data)?;
        let (own, other) = (&self.classifier, &next.classifier);
        other.weight().set(&own.weight().as_detached_tensor())?;
        other.bias().set(&own.bias().as_detached_tensor())?;
        Ok(next)
    }

    fn of(plan: &'a Plan, vars: VarMap, network: Network, data: &Data) -> Result<Self> {
        let vb = builder(&vars).pp("classifier");
        let image = data.image();
        let features = plan.width * image.map_or(1, |(rows, columns)| rows * columns);
        Ok(Model {
            plan,
            classifier: Classifier::new(features, data.outputs(), data.loss(), vb)?,
            smooth: TimeSmoothness {
                alpha: plan.alpha,
                step: network.propagation().step,
            },
            spatial: image
                .filter(|_| plan.spatial > 0.)
                .map(|grid| SpatialSmoothness {
                    alpha: plan.spatial,
                    derivative: Derivative::Laplacian,
                    images: Images::Rows,
                    channels: plan.width,
                    grid,
                    extent: (grid.0 as f64, grid.1 as f64),
                }),
            lifted: Lifted {
                lift: plan.lift,
                width: plan.width,
                network,
            },
            vars,
        })
    }

    pub fn evaluate(&self, examples: &Examples) -> Result<Evaluation> {
        evaluate(&self.lifted, &self.classifier, examples, Some(PART))
    }

    /// Each class that is predicted for inputs.
    pub fn predict(&self, inputs: &Tensor) -> Result<Vec<u8>> {
        self.in_parts(inputs, |features| self.decide(features))
    }

    /// Each class that is predicted for propagated features.
    pub fn decide(&self, features: &Tensor) -> Result<Vec<u8>> {
        let classes = self.classifier.predict(features)?;
        Ok(classes.to_dtype(DType::U8)?.to_vec1()?)
    }

    /// A function of propagated inputs, part by part.
    pub fn in_parts<T>(
        &self,
        inputs: &Tensor,
        mut f: impl FnMut(&Tensor) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let count = inputs.dim(0)?;
        let mut all = Vec::with_capacity(count);
        for start in (0..count).step_by(PART) {
            let part = inputs.narrow(0, start, PART.min(count - start))?;
            all.extend(f(&self.lifted.forward(&part)?.detach())?);
        }
        Ok(all)
    }

    /// The mean loss with all penalties, with gradients to all variables.
    pub fn objective(&self, examples: &Examples) -> Result<Tensor> {
        let features = self.lifted.forward(examples.x())?;
        let mut objective = self.classifier.loss(&features, examples.targets())?;
        for parameter in self.lifted.parameters() {
            objective = (objective + self.smooth.value(&parameter)?)?;
        }
        if let Some(spatial) = &self.spatial {
            objective = (objective + spatial.value(self.classifier.weight())?)?;
        }
        Ok(objective)
    }
}

impl Plan {
    fn kernel(&self) -> KernelShape {
        match self.size {
            None => KernelShape::dense(self.width),
            Some(size) => KernelShape::Conv {
                channels: self.width,
                inner: self.width,
                size,
            },
        }
    }
}
