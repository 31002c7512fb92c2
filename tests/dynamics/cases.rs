//! Propagations of every kind, small.

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, Start, State, Weights};
use candle_prob::{Activation, Result, Rng};

pub const CPU: Device = Device::Cpu;

pub const SCHEMES: [Scheme; 12] = [
    Scheme::Euler(Force::Single),
    Scheme::Euler(Force::Antisymmetric { gamma: 0.2 }),
    Scheme::Euler(Force::Definite),
    Scheme::Euler(Force::Double),
    Scheme::Rk4(Force::Single),
    Scheme::Rk4(Force::Antisymmetric { gamma: 0. }),
    Scheme::Rk4(Force::Double),
    Scheme::Leapfrog(Force::Single, Start::Zero),
    Scheme::Leapfrog(Force::Antisymmetric { gamma: 0.1 }, Start::Rest),
    Scheme::Leapfrog(Force::Definite, Start::Rest),
    Scheme::Leapfrog(Force::Double, Start::Zero),
    Scheme::Verlet,
];

/// A law with a state and weights that it takes.
#[derive(Clone)]
pub struct Case {
    pub law: Propagation,
    pub state: State,
    pub weights: Weights,
}

pub struct Options {
    pub layers: usize,
    pub time: f64,
    pub conv: bool,
    pub dtype: DType,
}

pub fn reversible(scheme: Scheme) -> bool {
    matches!(scheme, Scheme::Leapfrog(..) | Scheme::Verlet)
}

fn square(scheme: Scheme) -> bool {
    let force = match scheme {
        Scheme::Euler(force) | Scheme::Rk4(force) | Scheme::Leapfrog(force, _) => force,
        Scheme::Verlet => return false,
    };
    matches!(force, Force::Single | Force::Antisymmetric { .. })
}

fn double(scheme: Scheme) -> bool {
    matches!(
        scheme,
        Scheme::Euler(Force::Double)
            | Scheme::Rk4(Force::Double)
            | Scheme::Leapfrog(Force::Double, _)
    )
}

impl Case {
    /// Features 3 (channels 2) and, where K may have another number of rows, 4 (3). Without z.
    pub fn new(scheme: Scheme, options: &Options) -> Result<Self> {
        let Options {
            layers,
            time,
            conv,
            dtype,
        } = *options;
        let s = if conv { 2 } else { 3 };
        let m = if square(scheme) { s } else { s + 1 };
        let mut rng = Rng::new(layers as u64 + 17 * u64::from(conv));
        let mut normal = |shape: &[usize], size: f64| -> Result<Tensor> {
            Ok((rng.normal(shape, dtype, &CPU)? * size)?)
        };
        let kernel = match conv {
            false => normal(&[layers, m, s], 0.6)?,
            true => normal(&[layers, m, s, 3, 3], 0.3)?,
        };
        let bias = normal(&[layers, if double(scheme) { m } else { s }], 0.3)?;
        let second_bias = match scheme {
            Scheme::Verlet => Some(normal(&[layers, m], 0.3)?),
            _ => None,
        };
        let y = match conv {
            false => normal(&[2, s], 1.)?,
            true => normal(&[2, s, 4, 5], 1.)?,
        };
        let law = Propagation {
            scheme,
            activation: Activation::Tanh,
            step: time / layers as f64,
            memory: Memory::Constant,
        };
        let bias = Some(bias);
        Ok(Case {
            law,
            state: State::new(&y),
            weights: Weights {
                kernel,
                bias,
                second_bias,
            },
        })
    }

    /// As it is, with a z where the scheme has one.
    pub fn with_z(mut self) -> Result<Self> {
        let start = self.law.states(&self.state, &self.weights)?.swap_remove(0);
        if let Some(z) = start.z {
            let small = Rng::new(5).normal(z.shape(), z.dtype(), &CPU)?;
            self.state.z = Some((z + (small * (0.3 * self.law.step))?)?);
        }
        Ok(self)
    }

    /// y, z, kernel, bias, second bias, of what there is.
    pub fn tensors(&self) -> Vec<Tensor> {
        let Case { state, weights, .. } = self;
        let mut all = vec![state.y.clone()];
        all.extend(state.z.clone());
        all.push(weights.kernel.clone());
        all.extend(weights.bias.clone());
        all.extend(weights.second_bias.clone());
        all
    }

    /// The same of other tensors.
    pub fn of(&self, tensors: &[Tensor]) -> Self {
        let mut next = tensors.iter().cloned();
        let mut take = || next.next().expect("a tensor for each");
        let mut optional = |there: bool| there.then(&mut take);
        let y = optional(true).expect("y");
        let z = optional(self.state.z.is_some());
        let kernel = optional(true).expect("kernel");
        let bias = optional(self.weights.bias.is_some());
        let second_bias = optional(self.weights.second_bias.is_some());
        Case {
            law: self.law,
            state: State { y, z },
            weights: Weights {
                kernel,
                bias,
                second_bias,
            },
        }
    }

    /// The same of variables.
    pub fn variables(&self) -> Result<(Self, Vec<Var>)> {
        let vars: Vec<Var> = (self.tensors().iter())
            .map(Var::from_tensor)
            .collect::<candle_core::Result<_>>()?;
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        Ok((self.of(&tensors), vars))
    }

    pub fn end(&self) -> Result<State> {
        self.law.forward(&self.state, &self.weights)
    }

    pub fn name(&self) -> String {
        let kind = if self.weights.kernel.rank() == 3 {
            "dense"
        } else {
            "conv"
        };
        format!("{:?} {kind} {:?}", self.law.scheme, self.state.y.dtype())
    }
}

/// y and z of a state, in one row.
pub fn row(state: &State) -> Result<Tensor> {
    let mut all = vec![state.y.flatten_all()?];
    if let Some(z) = &state.z {
        all.push(z.flatten_all()?);
    }
    Ok(Tensor::cat(&all, 0)?)
}

/// The largest absolute value; NaN where there is one, which candle's maximum passes over.
pub fn largest(x: &Tensor) -> Result<f64> {
    let x: Vec<f64> = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(match x.iter().find(|x| x.is_nan()) {
        Some(nan) => *nan,
        None => x.into_iter().fold(0., |most, x| x.abs().max(most)),
    })
}

/// The largest distance of two tensors beside the largest value of the second.
pub fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    Ok(largest(&(&a - &b)?)? / largest(&b)?.max(1e-300))
}

/// The sum of products.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    let product = (a.flatten_all()? * b.flatten_all()?)?;
    Ok(product.sum_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

/// The power by which errors fall with the number of steps: minus the slope of ln error against ln steps.
pub fn order(errors: &[(usize, f64)]) -> f64 {
    let points: Vec<(f64, f64)> = (errors.iter())
        .map(|(steps, error)| ((*steps as f64).ln(), error.ln()))
        .collect();
    let n = points.len() as f64;
    let (x, y) = (points.iter()).fold((0., 0.), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    let cross: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let square: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    -cross / square
}
