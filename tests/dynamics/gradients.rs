//! Gradients and derivatives along directions: exact, in constant memory as with all states kept.

use crate::cases::{CPU, Case, Options, SCHEMES, distance, dot, row};
use crate::support::process;
use candle_core::{DType, Tensor, Var};
use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, Start, State, Tangent, Weights};
use candle_prob::{Activation, Result, Rng};

/// All kinds of layers, dense and convolutional.
fn all(layers: usize, time: f64, dtype: DType) -> Result<Vec<Case>> {
    let mut cases = vec![];
    for scheme in SCHEMES {
        for conv in [false, true] {
            let options = Options {
                layers,
                time,
                conv,
                dtype,
            };
            let case = Case::new(scheme, &options)?;
            cases.push(case.clone().with_z()?);
            cases.push(case);
        }
    }
    Ok(cases)
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let activations = [Activation::Tanh, Activation::Silu, Activation::Softplus];
    for (i, mut case) in all(3, 0.9, DType::F64)?.into_iter().enumerate() {
        case.law.activation = activations[i % 3];
        // One of the batch.
        case.state.y = case.state.y.narrow(0, 0, 1)?;
        case.state.z = case.state.z.map(|z| z.narrow(0, 0, 1)).transpose()?;
        let f = |tensors: &[Tensor]| row(&case.of(tensors).end()?);
        let checked = candle_prob::testing::check_gradient(&f, &case.tensors(), 1e-6);
        checked.unwrap_or_else(|error| panic!("{}: {error}", case.name()));
    }
    Ok(())
}

/// One layer in candle's own operations. Every force in its own words.
fn layer(case: &Case, at: [Tensor; 2], j: usize) -> candle_core::Result<[Tensor; 2]> {
    let weights = &case.weights;
    let kernel = weights.kernel.get(j)?;
    let conv = kernel.rank() == 4;
    let bias = |stack: &Option<Tensor>| -> candle_core::Result<Tensor> {
        let b = stack.as_ref().expect("a bias").get(j)?;
        match conv {
            false => Ok(b),
            true => b.reshape((1, (), 1, 1)),
        }
    };
    let times = |x: &Tensor| match conv {
        false => x.matmul(&kernel.t()?),
        true => x.conv2d(&kernel, 1, 1, 1, 1),
    };
    let transposed = |x: &Tensor| match conv {
        false => x.matmul(&kernel),
        true => x.conv_transpose2d(&kernel, 1, 0, 1, 1),
    };
    let force = |force: Force, y: &Tensor| -> candle_core::Result<Tensor> {
        let b = bias(&weights.bias)?;
        match force {
            Force::Single => times(y)?.broadcast_add(&b)?.tanh(),
            Force::Antisymmetric { gamma } => {
                let ky = ((times(y)? - transposed(y)?)? - (y * gamma)?)?;
                (ky * 0.5)?.broadcast_add(&b)?.tanh()
            }
            Force::Definite => transposed(&times(y)?)?.neg()?.broadcast_add(&b)?.tanh(),
            Force::Double => transposed(&times(y)?.broadcast_add(&b)?.tanh()?)?.neg(),
        }
    };
    let (h, [y, z]) = (case.law.step, at);
    match case.law.scheme {
        Scheme::Euler(f) => Ok([(&y + (force(f, &y)? * h)?)?, z]),
        Scheme::Rk4(f) => {
            let k1 = force(f, &y)?;
            let k2 = force(f, &(&y + (&k1 * (h / 2.))?)?)?;
            let k3 = force(f, &(&y + (&k2 * (h / 2.))?)?)?;
            let k4 = force(f, &(&y + (&k3 * h)?)?)?;
            let sum = ((k1 + (k2 * 2.)?)? + ((k3 * 2.)? + k4)?)?;
            Ok([(y + (sum * (h / 6.))?)?, z])
        }
        Scheme::Leapfrog(f, _) => {
            // z is the state before.
            let next = (((&y * 2.)? - z)? + (force(f, &y)? * (h * h))?)?;
            Ok([next, y])
        }
        Scheme::Verlet => {
            let b_z = bias(&weights.second_bias)?;
            let z = (z - (times(&y)?.broadcast_add(&b_z)?.tanh()? * h)?)?;
            let b = bias(&weights.bias)?;
            let y = (y + (transposed(&z)?.broadcast_add(&b)?.tanh()? * h)?)?;
            Ok([y, z])
        }
    }
}

/// The features after the last layer, by candle alone.
fn composed(case: &Case) -> Result<Tensor> {
    let state = &case.state;
    let y = state.y.clone();
    let z = match (case.law.scheme, &state.z) {
        (Scheme::Leapfrog(..), Some(difference)) => (&y - difference)?,
        (Scheme::Leapfrog(_, Start::Zero), None) => y.zeros_like()?,
        (Scheme::Verlet, Some(z)) => z.clone(),
        (Scheme::Verlet, None) => {
            let mut dims = y.dims().to_vec();
            dims[1] = case.weights.kernel.dim(1)?;
            Tensor::zeros(dims, y.dtype(), &CPU)?
        }
        _ => y.clone(),
    };
    let mut at = [y, z];
    for j in 0..case.weights.layers() {
        at = layer(case, at, j)?;
    }
    let [y, _] = at;
    Ok(y)
}

/// Values and gradients of both memories against candle's graph of all layers in double precision.
#[test]
fn nodes_meet_compositions() -> Result<()> {
    for (dtype, value, slope) in [(DType::F64, 1e-12, 1e-10), (DType::F32, 2e-5, 1e-4)] {
        // Of 40 layers no state is kept but for checkpoints, of 70 some, to be compared with.
        for layers in [5, 40, 70] {
            for case in all(layers, 2., dtype)? {
                if layers == 70 && case.state.z.is_none() {
                    continue;
                }
                let wide: Vec<Tensor> = (case.tensors().iter())
                    .map(|t| t.to_dtype(DType::F64))
                    .collect::<candle_core::Result<_>>()?;
                let (wide, wide_vars) = case.of(&wide).variables()?;
                let want = composed(&wide)?;
                let weights = Rng::new(4).normal(want.shape(), dtype, &CPU)?;
                let expected = (&want * weights.to_dtype(DType::F64)?)?;
                let expected = expected.sum_all()?.backward()?;
                let (plain, vars) = case.variables()?;
                for memory in [Memory::Constant, Memory::States] {
                    let mut case = plain.clone();
                    case.law.memory = memory;
                    let what = format!("{} {memory:?} {layers}", case.name());
                    let got = case.end()?.y;
                    let off = distance(&got, &want)?;
                    assert!(off < value, "{what}: {off}");
                    let found = (&got * &weights)?.sum_all()?.backward()?;
                    for (i, (var, wide)) in vars.iter().zip(&wide_vars).enumerate() {
                        let (got, want) = (found.get(var).unwrap(), expected.get(wide).unwrap());
                        let off = distance(got, want)?;
                        assert!(off < slope, "{what} gradient {i}: {off}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// <J v, u> = <v, J^T u> for directions of everything.
#[test]
fn products_with_the_jacobian_are_adjoint() -> Result<()> {
    let mut cases = all(7, 2., DType::F64)?;
    cases.extend(all(7, 2., DType::F32)?);
    for case in cases {
        let dtype = case.state.y.dtype();
        let bound = if dtype == DType::F64 { 1e-10 } else { 1e-4 };
        let mut rng = Rng::new(11);
        let mut normal = |like: &Tensor| rng.normal(like.shape(), dtype, &CPU);
        let tensors = case.tensors();
        let v: Vec<Tensor> = (tensors.iter()).map(&mut normal).collect::<Result<_>>()?;
        let moved = case.of(&v);
        let along = Tangent {
            y: Some(moved.state.y),
            z: moved.state.z,
            kernel: Some(moved.weights.kernel),
            bias: moved.weights.bias,
            second_bias: moved.weights.second_bias,
        };
        let jv = row(&case.law.tangent(&case.state, &case.weights, &along)?)?;
        let (live, vars) = case.variables()?;
        let end = row(&live.end()?)?;
        assert_eq!(jv.dims(), end.dims());
        let u = normal(&end)?;
        let gradients = (&end * &u)?.sum_all()?.backward()?;
        let mut right = 0.;
        for (var, v) in vars.iter().zip(&v) {
            right += dot(gradients.get(var).unwrap(), v)?;
        }
        let left = dot(&jv, &u)?;
        let off = (left - right).abs() / left.abs().max(1.);
        assert!(off < bound, "{}: {left} and {right}", case.name());
    }
    Ok(())
}

#[test]
fn what_does_not_move_has_no_derivative() -> Result<()> {
    for case in all(2, 1., DType::F64)? {
        let still = case
            .law
            .tangent(&case.state, &case.weights, &Tangent::default())?;
        let end = case.end()?;
        assert_eq!(still.y.dims(), end.y.dims());
        assert_eq!(still.z.is_some(), end.z.is_some());
        let size = row(&still)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        assert_eq!(size, 0.);
    }
    Ok(())
}

/// A graph of as many of candle's operations would overflow the stack.
#[test]
fn five_thousand_layers_in_a_small_thread() -> Result<()> {
    let train = || -> Result<()> {
        let schemes = [
            Scheme::Verlet,
            Scheme::Leapfrog(Force::Definite, Start::Rest),
            Scheme::Euler(Force::Antisymmetric { gamma: 0. }),
        ];
        for scheme in schemes {
            for dtype in [DType::F32, DType::F64] {
                let options = Options {
                    layers: 5000,
                    time: 5.,
                    conv: false,
                    dtype,
                };
                let (case, vars) = Case::new(scheme, &options)?.variables()?;
                let gradients = case.end()?.y.sqr()?.sum_all()?.backward()?;
                for var in &vars {
                    let size = gradients.get(var).unwrap().abs()?.sum_all()?;
                    let size = size.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                    assert!(size.is_finite() && size > 0., "{}", case.name());
                }
            }
        }
        Ok(())
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(train);
    thread.unwrap().join().unwrap()
}

/// Few and long steps, of which no inverse leads back: their states are kept, and gradients are those of all kept.
#[test]
fn few_layers_are_not_rebuilt() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let kernel = Rng::new(3).normal((4, 2, 2), dtype, &CPU)?;
        let kernel = Var::from_tensor(&(kernel * 3.)?)?;
        let y = Rng::new(4).normal((50, 2), dtype, &CPU)?;
        let gradient = |memory| -> Result<Tensor> {
            let law = Propagation {
                scheme: Scheme::Verlet,
                activation: Activation::Tanh,
                step: 5.,
                memory,
            };
            let end = law.forward(&State::new(&y), &Weights::new(&kernel))?;
            Ok(end.y.sum_all()?.backward()?.get(&kernel).unwrap().clone())
        };
        let gap = distance(&gradient(Memory::Constant)?, &gradient(Memory::States)?)?;
        assert_eq!(gap, 0., "{dtype:?}");
    }
    Ok(())
}

/// Leapfrog with h = 1 is chaotic: the way back does not find the start, whatever the size of other rows.
#[test]
fn states_that_cannot_be_rebuilt_are_an_error() -> Result<()> {
    for large in [0.1f32, 1e5] {
        let rows = [[0.1, 0.1], [0.5, -0.5], [0.3, 0.7], [large, large]];
        let kernel = Tensor::new(&[[-2f32, 2.], [0., -2.]], &CPU)?;
        let kernel = Var::from_tensor(&kernel.broadcast_as((500, 2, 2))?.contiguous()?)?;
        let mut law = Propagation {
            scheme: Scheme::Leapfrog(Force::Single, Start::Rest),
            activation: Activation::Tanh,
            step: 1.,
            memory: Memory::Constant,
        };
        let y = Tensor::new(&rows, &CPU)?;
        let gradients = |law: &Propagation, y: &Tensor| -> Result<_> {
            let end = law.forward(&State::new(y), &Weights::new(&kernel))?;
            Ok(end.y.sum_all()?.backward()?)
        };
        // Also in a batch of other dims.
        for y in [&y, &y.reshape((2, 2, 1, 2))?] {
            let refused = gradients(&law, y).map(|_| "gradients").unwrap_err();
            assert!(
                refused.to_string().contains("Memory::States"),
                "{large}: {refused}"
            );
        }
        law.memory = Memory::States;
        assert!(gradients(&law, &y)?.get(&kernel).is_some());
    }
    Ok(())
}

/// A row that overflows has gradients that are not finite, as its loss is, and not an error; other rows have theirs.
#[test]
fn a_row_that_overflows_spoils_itself() -> Result<()> {
    for (dtype, size) in [(DType::F32, 1e4), (DType::F64, 1e30)] {
        for layers in [40, 100] {
            let kernel = (Tensor::ones((layers, 1, 1), dtype, &CPU)? * size)?;
            let kernel = Var::from_tensor(&kernel)?;
            let y = Var::from_tensor(&Tensor::new(&[[1.], [-1.]], &CPU)?.to_dtype(dtype)?)?;
            let law = Propagation {
                scheme: Scheme::Leapfrog(Force::Single, Start::Rest),
                activation: Activation::Relu,
                step: 1.,
                memory: Memory::Constant,
            };
            let end = law.forward(&State::new(&y), &Weights::new(&kernel))?;
            let gradients = end.y.sum_all()?.backward()?;
            let of = |var: &Var| -> Result<Vec<f64>> {
                let gradient = gradients.get(var).unwrap().to_dtype(DType::F64)?;
                Ok(gradient.flatten_all()?.to_vec1()?)
            };
            let of_y = of(&y)?;
            assert!(!of_y[0].is_finite() && of_y[1] == 1., "{of_y:?}");
            assert!(of(&kernel)?.iter().any(|g| !g.is_finite()));
        }
    }
    Ok(())
}

/// With candle's second derivatives, layers are composed of its operations.
#[test]
fn second_derivatives_are_those_of_the_composition() -> Result<()> {
    let (setting, test) = (
        "CANDLE_GRAD_DO_NOT_DETACH",
        "second_derivatives_are_those_of_the_composition",
    );
    if !process::has(setting, module_path!(), test) {
        return Ok(());
    }
    for case in all(2, 0.8, DType::F64)? {
        let gradient = |tensors: &[Tensor]| -> Result<(Tensor, Vec<Var>)> {
            let (live, vars) = case.of(tensors).variables()?;
            let loss = row(&live.end()?)?.sqr()?.sum_all()?;
            let gradients = loss.backward()?;
            // Of the kernels, weighted.
            let kernel = &vars[1 + usize::from(case.state.z.is_some())];
            let gradient = gradients.get(kernel).unwrap().clone();
            let weights = Rng::new(2).normal(gradient.shape(), DType::F64, &CPU)?;
            Ok(((gradient * weights)?.sum_all()?, vars))
        };
        let tensors = case.tensors();
        let (value, vars) = gradient(&tensors)?;
        let second = value.backward()?;
        let y = &vars[0];
        let got = second.get(y).unwrap().flatten_all()?.to_vec1::<f64>()?;
        let at = tensors[0].flatten_all()?.to_vec1::<f64>()?;
        for i in 0..at.len() {
            let moved = |by: f64| -> Result<f64> {
                let mut data = at.clone();
                data[i] += by;
                let mut tensors = tensors.clone();
                tensors[0] = Tensor::from_vec(data, tensors[0].shape(), &CPU)?;
                Ok(gradient(&tensors)?.0.to_scalar::<f64>()?)
            };
            let want = (moved(6e-6)? - moved(-6e-6)?) / 1.2e-5;
            let off = (got[i] - want).abs() / want.abs().max(1.);
            assert!(off < 1e-6, "{}: {} for {want}", case.name(), got[i]);
        }
    }
    Ok(())
}

/// Features as a batch of any dims, strided, broadcast or of nothing.
#[test]
fn batches_of_any_kind() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for case in all(3, 1., dtype)? {
            if case.state.z.is_some() {
                continue;
            }
            let what = case.name();
            let end = |y: &Tensor| case.law.forward(&State::new(y), &case.weights);
            let whole = case.end()?.y;
            let y = &case.state.y;
            // Strided: what was the last dim comes first.
            let strided = y.t()?.contiguous()?.t()?;
            let off = distance(&end(&strided)?.y, &whole)?;
            assert!(off < 1e-6, "{what}: {off}");
            let first = y.narrow(0, 0, 1)?;
            let copies = end(&first.broadcast_as([&[3], &y.dims()[1..]].concat())?)?.y;
            let off = distance(&copies.narrow(0, 2, 1)?, &whole.narrow(0, 0, 1)?)?;
            assert!(off < 1e-6, "{what}: {off}");
            let nothing = Var::from_tensor(&y.narrow(0, 0, 0)?.contiguous()?)?;
            let kernel = Var::from_tensor(&case.weights.kernel)?;
            let mut weights = case.weights.clone();
            weights.kernel = kernel.as_tensor().clone();
            let empty = case.law.forward(&State::new(&nothing), &weights)?.y;
            assert_eq!(empty.dims(), nothing.dims(), "{what}");
            let gradients = empty.sum_all()?.backward()?;
            if let Some(gradient) = gradients.get(&kernel) {
                let size = gradient.abs()?.sum_all()?.to_dtype(DType::F64)?;
                assert_eq!(size.to_scalar::<f64>()?, 0., "{what}");
            }
            if case.weights.kernel.rank() == 3 {
                let deep = end(&y.reshape((1, 2, 1, 3))?)?.y;
                assert_eq!(deep.dims(), [1, 2, 1, 3]);
                let off = distance(&deep.reshape((2, 3))?, &whole)?;
                assert!(off < 1e-6, "{what}: {off}");
                let one = end(&y.get(0)?)?.y;
                let off = distance(&one, &whole.get(0)?)?;
                assert!(off < 1e-6, "{what}: {off}");
            }
        }
    }
    Ok(())
}
