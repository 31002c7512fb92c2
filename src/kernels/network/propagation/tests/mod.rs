//! Cases of dense propagations, and their composition from candle operations.

mod extremes;
mod values;

use super::*;
use crate::error::Error;
use candle_core::{DType, Device, Var};

/// Numbers that look random, in [-1, 1).
fn numbers(shape: &[usize], seed: u32) -> Result<Tensor> {
    let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / 8_388_608. - 1.
    };
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}

#[derive(Clone, Copy)]
struct Case {
    scheme: Scheme,
    activation: Activation,
    batch: &'static [usize],
    /// m, s.
    sizes: [usize; 2],
    layers: usize,
    /// z, b, b_z.
    has: [bool; 3],
    states: bool,
}

const VERLET: Case = Case {
    scheme: Scheme::Verlet,
    activation: Activation::Tanh,
    batch: &[40],
    sizes: [5, 3],
    layers: 6,
    has: [true; 3],
    states: false,
};

/// y, z, kernel, b, b_z.
type Arguments = [Option<Tensor>; 5];

impl Case {
    fn law(&self) -> Law {
        Law {
            scheme: self.scheme,
            activation: self.activation,
            step: 2. / self.layers as f64,
            states: self.states,
        }
    }

    fn arguments(&self, seed: u32) -> Result<Arguments> {
        let [m, s] = self.sizes;
        let (beside, biased) = match self.scheme {
            Scheme::Verlet => (m, s),
            Scheme::Euler(Force::Double) | Scheme::Leapfrog(Force::Double) => (s, m),
            _ => (s, s),
        };
        let [z, b, b_z] = self.has;
        let z = z && !matches!(self.scheme, Scheme::Euler(_));
        let b_z = b_z && self.scheme == Scheme::Verlet;
        let scale = 1.5 / (m.max(s) as f64).sqrt();
        let with = |width: usize| [self.batch, &[width]].concat();
        let some = |has: bool, shape: &[usize], seed| has.then(|| numbers(shape, seed)).transpose();
        let mut z = some(z, &with(beside), seed + 2)?;
        if let (Some(z), Scheme::Leapfrog(_)) = (&mut z, self.scheme) {
            // A difference.
            *z = (&*z * self.law().step)?;
        }
        Ok([
            Some(numbers(&with(s), seed + 1)?),
            z,
            Some((numbers(&[self.layers, m, s], seed + 3)? * scale)?),
            some(b, &[self.layers, biased], seed + 4)?,
            some(b_z, &[self.layers, m], seed + 5)?,
        ])
    }

    fn fused(&self, [y, z, kernel, bias, second_bias]: &Arguments) -> Result<Vec<Tensor>> {
        let (Some(y), Some(kernel)) = (y, kernel) else {
            return Ok(vec![]);
        };
        let weights = Weights {
            kernel,
            bias: bias.as_ref(),
            second_bias: second_bias.as_ref(),
        };
        let end = forward("test", self.law(), y, z.as_ref(), weights)?;
        Ok(end.unwrap_or_default())
    }

    fn tangent(&self, at: &Arguments, along: &Arguments) -> Result<Vec<Tensor>> {
        let [Some(y), z, Some(kernel), bias, second_bias] = at else {
            return Ok(vec![]);
        };
        let weights = Weights {
            kernel,
            bias: bias.as_ref(),
            second_bias: second_bias.as_ref(),
        };
        let [dy, dz, dk, db, db_z] = along.each_ref().map(Option::as_ref);
        let along = Along {
            y: dy,
            z: dz,
            kernel: dk,
            bias: db,
            second_bias: db_z,
        };
        let moved = tangent(self.law(), y, z.as_ref(), weights, along)?;
        Ok(moved.unwrap_or_default())
    }

    /// Layer by layer in candle's graph.
    fn composed(&self, [y, z, kernel, bias, second_bias]: &Arguments) -> Result<Vec<Tensor>> {
        let (Some(y), Some(kernel)) = (y, kernel) else {
            return Ok(vec![]);
        };
        let [m, s] = self.sizes;
        let count = self.batch.iter().product::<usize>();
        let law = self.law();
        let h = law.step;
        let beside = if self.scheme == Scheme::Verlet { m } else { s };
        let mut y = y.reshape((count, s))?;
        let mut z = match z {
            Some(z) => z.reshape((count, beside))?,
            None => Tensor::zeros((count, beside), y.dtype(), y.device())?,
        };
        let affine = |x: &Tensor, a: &Tensor, b: &Option<Tensor>, j: usize| -> Result<Tensor> {
            let x = x.matmul(a)?;
            let x = match b {
                Some(b) => x.broadcast_add(&b.get(j)?)?,
                None => x,
            };
            law.activation.forward(&x)
        };
        for j in 0..self.layers {
            let k = kernel.get(j)?.contiguous()?;
            let force = match self.scheme {
                Scheme::Verlet => {
                    z = (z - (affine(&y, &k.t()?, second_bias, j)? * h)?)?;
                    y = (y + (affine(&z, &k, bias, j)? * h)?)?;
                    continue;
                }
                Scheme::Euler(force) | Scheme::Leapfrog(force) => force,
            };
            let f = affine(&y, &k.t()?, bias, j)?;
            let f = match force {
                Force::Single => f,
                Force::Double => f.matmul(&k)?.neg()?,
            };
            match self.scheme {
                Scheme::Euler(_) => y = (y + (f * h)?)?,
                _ => {
                    z = (z + (f * (h * h))?)?;
                    y = (y + &z)?;
                }
            }
        }
        let with = |width: usize| [self.batch, &[width]].concat();
        let mut all = vec![y.reshape(with(s))?];
        if !matches!(self.scheme, Scheme::Euler(_)) {
            all.push(z.reshape(with(beside))?);
        }
        Ok(all)
    }
}

fn variables(arguments: &Arguments, dtype: DType) -> Result<[Option<Var>; 5]> {
    let mut all = [const { None }; 5];
    for (var, argument) in all.iter_mut().zip(arguments) {
        if let Some(t) = argument {
            *var = Some(Var::from_tensor(&t.to_dtype(dtype)?)?);
        }
    }
    Ok(all)
}

fn tensors(vars: &[Option<Var>; 5]) -> Arguments {
    vars.each_ref()
        .map(|var| var.as_ref().map(|var| var.as_tensor().clone()))
}

/// An uneven loss of the outputs.
fn loss(outputs: &[Tensor]) -> Result<Tensor> {
    let mut loss = outputs[0].sin()?.sum_all()?;
    for more in &outputs[1..] {
        loss = (loss + (more.sqr()? * 0.3)?.sum_all()?)?;
    }
    Ok(loss)
}

/// The gradients of [`loss`].
fn gradients(vars: &[Option<Var>; 5], outputs: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    let store = loss(outputs)?.backward()?;
    let get = |var: &Option<Var>| var.as_ref().and_then(|var| store.get(var).cloned());
    Ok(vars.iter().map(get).collect())
}

/// Beside the largest value. Candle's maximum passes over what is NaN.
fn close(got: &Tensor, want: &Tensor, bound: f64, what: &str) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let numbers = |x: &Tensor| x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (got, want) = (numbers(got)?, numbers(want)?);
    let size = want.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (got, want) in got.iter().zip(&want) {
        let gap = (got - want).abs();
        assert!(gap <= bound * size, "{what}: {got} for {want} of {size:e}");
    }
    Ok(())
}

fn all_cases() -> Vec<(String, Case)> {
    use Activation::{Elu, Identity, LeakyRelu, Relu, Sigmoid, Softplus, Tanh};
    let mut all = vec![];
    let schemes = [
        Scheme::Verlet,
        Scheme::Euler(Force::Single),
        Scheme::Euler(Force::Double),
        Scheme::Leapfrog(Force::Single),
        Scheme::Leapfrog(Force::Double),
    ];
    for scheme in schemes {
        let base = Case { scheme, ..VERLET };
        let single = matches!(
            scheme,
            Scheme::Euler(Force::Single) | Scheme::Leapfrog(Force::Single)
        );
        let mut add = |what: &str, case: Case| {
            let [m, s] = case.sizes;
            let sizes = if single { [s, s] } else { [m, s] };
            all.push((format!("{scheme:?} {what}"), Case { sizes, ..case }));
        };
        for sizes in [[1, 1], [2, 2], [3, 2], [8, 7], [33, 64], [130, 17], [6, 6]] {
            add(&format!("{sizes:?}"), Case { sizes, ..base });
        }
        let batches: [&[usize]; 7] = [&[], &[0], &[1], &[3, 7], &[2, 0], &[300], &[1030]];
        for batch in batches {
            add(&format!("{batch:?}"), Case { batch, ..base });
        }
        for activation in [Identity, Relu, LeakyRelu(0.3), Elu, Tanh, Sigmoid, Softplus] {
            add(&format!("{activation:?}"), Case { activation, ..base });
        }
        for has in [[false; 3], [true, false, false], [false, true, false]] {
            add(&format!("{has:?}"), Case { has, ..base });
        }
        for layers in [1, 2, 17, 63, 64, 100, 257] {
            add(&format!("{layers}"), Case { layers, ..base });
            let states = true;
            add(
                &format!("{layers}, kept"),
                Case {
                    layers,
                    states,
                    ..base
                },
            );
        }
        // More than one group of layers.
        add(
            "deep",
            Case {
                layers: 70,
                sizes: [40, 45],
                ..base
            },
        );
    }
    all
}
