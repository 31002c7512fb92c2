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

#[test]
fn fused_meets_composed() -> Result<()> {
    for (what, case) in all_cases() {
        let arguments = case.arguments(7)?;
        let (single, double) = (
            variables(&arguments, DType::F32)?,
            variables(&arguments, DType::F64)?,
        );
        let got = case.fused(&tensors(&single))?;
        let want = case.composed(&tensors(&double))?;
        assert_eq!(got.len(), want.len(), "{what}");
        for (got, want) in got.iter().zip(&want) {
            close(got, want, 2e-6, &what)?;
        }
        let all = gradients(&single, &got)?
            .into_iter()
            .zip(gradients(&double, &want)?);
        for (i, (got, want)) in all.enumerate() {
            match (got, want) {
                (Some(got), Some(want)) => close(&got, &want, 1e-5, &format!("{what}, of {i}"))?,
                // Candle has none of an empty product.
                (Some(got), None) => close(&got, &got.zeros_like()?, 0., &what)?,
                (None, None) => {}
                (None, Some(_)) => panic!("{what}: no gradient of {i}"),
            }
        }
    }
    Ok(())
}

/// `<J v, u> = <v, J^T u>`, and J v as a quotient of differences of the composed propagation.
#[test]
fn tangents_are_derivatives() -> Result<()> {
    for (what, case) in all_cases() {
        let (at, along) = (case.arguments(7)?, case.arguments(77)?);
        let moved = case.tangent(&at, &along)?;
        let ahead = |by: f64| -> Result<Vec<Tensor>> {
            let mut all = [const { None }; 5];
            for (i, (at, along)) in at.iter().zip(&along).enumerate() {
                if let (Some(at), Some(along)) = (at, along) {
                    let (at, along) = (at.to_dtype(DType::F64)?, along.to_dtype(DType::F64)?);
                    all[i] = Some((at + (along * by)?)?);
                }
            }
            case.composed(&all)
        };
        // Kinks lie between two places that are too far apart.
        let by = 1e-6;
        let smooth = !matches!(case.activation, Activation::Relu | Activation::LeakyRelu(_));
        if smooth {
            for (moved, (a, b)) in moved.iter().zip(ahead(by)?.into_iter().zip(ahead(-by)?)) {
                close(moved, &((a - b)? / (2. * by))?, 1e-5, &what)?;
            }
        }
        let vars = variables(&at, DType::F32)?;
        let outputs = case.fused(&tensors(&vars))?;
        let u: Vec<Tensor> = (outputs.iter().enumerate())
            .map(|(i, out)| numbers(out.dims(), 90 + i as u32))
            .collect::<Result<_>>()?;
        let inner = |a: &Tensor, b: &Tensor| -> Result<f64> {
            let product = (a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?;
            Ok(product.sum_all()?.to_scalar::<f64>()?)
        };
        let (mut forward, mut size, mut loss) = (0., 0., Tensor::new(0f32, &Device::Cpu)?);
        for ((out, moved), u) in outputs.iter().zip(&moved).zip(&u) {
            forward += inner(moved, u)?;
            size += inner(&moved.abs()?, &u.abs()?)?;
            loss = (loss + (out * u)?.sum_all()?)?;
        }
        let (store, mut backward) = (loss.backward()?, 0.);
        for (var, along) in vars.iter().zip(&along) {
            if let (Some(var), Some(along)) = (var, along)
                && let Some(gradient) = store.get(var)
            {
                backward += inner(gradient, along)?;
            }
        }
        let gap = (forward - backward).abs();
        assert!(gap <= 1e-5 * size, "{what}: {forward} and {backward}");
        // A direction alone.
        for i in 0..5 {
            let mut one = [const { None }; 5];
            one[i] = along[i].clone();
            let mut zeros = [const { None }; 5];
            for (zero, along) in zeros.iter_mut().zip(&along) {
                *zero = along.as_ref().map(Tensor::zeros_like).transpose()?;
            }
            zeros[i] = along[i].clone();
            let all = case
                .tangent(&at, &one)?
                .into_iter()
                .zip(case.tangent(&at, &zeros)?);
            for (one, zeros) in all {
                close(&one, &zeros, 1e-6, &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_differences() -> Result<()> {
    for scheme in [
        Scheme::Verlet,
        Scheme::Euler(Force::Double),
        Scheme::Leapfrog(Force::Double),
    ] {
        let case = Case {
            scheme,
            batch: &[3],
            ..VERLET
        };
        let arguments = case.arguments(3)?;
        let vars = variables(&arguments, DType::F32)?;
        let got = gradients(&vars, &case.fused(&tensors(&vars))?)?;
        for (i, argument) in arguments.iter().enumerate() {
            let (Some(argument), Some(got)) = (argument, &got[i]) else {
                continue;
            };
            let got = got.flatten_all()?.to_vec1::<f32>()?;
            let values = argument
                .flatten_all()?
                .to_dtype(DType::F64)?
                .to_vec1::<f64>()?;
            for (n, got) in got.iter().enumerate() {
                let at = |by: f64| -> Result<f64> {
                    let mut values = values.clone();
                    values[n] += by;
                    let mut all = tensors(&variables(&arguments, DType::F64)?);
                    all[i] = Some(Tensor::from_vec(values, argument.shape(), &Device::Cpu)?);
                    Ok(loss(&case.composed(&all)?)?.to_scalar()?)
                };
                let want = (at(1e-5)? - at(-1e-5)?) / 2e-5;
                assert!(
                    (*got as f64 - want).abs() < 1e-5 * (1. + want.abs()),
                    "{scheme:?} {i}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn strided_and_broadcast_arguments() -> Result<()> {
    let strided = |t: &Option<Tensor>| -> Result<Option<Tensor>> {
        let t = t.as_ref().map(|t| t.t()?.contiguous()?.t());
        Ok(t.transpose()?)
    };
    for scheme in [
        Scheme::Verlet,
        Scheme::Euler(Force::Double),
        Scheme::Leapfrog(Force::Double),
    ] {
        let case = Case { scheme, ..VERLET };
        let mut arguments = case.arguments(1)?;
        if let Some(kernel) = &mut arguments[2] {
            *kernel = kernel.narrow(0, 0, 1)?.contiguous()?;
        }
        let vars = variables(&arguments, DType::F32)?;
        let [y, z, kernel, b, b_z] = tensors(&vars);
        let kernel = kernel.map(|kernel| kernel.broadcast_as((6, 5, 3)));
        let given = [
            strided(&y)?,
            strided(&z)?,
            kernel.transpose()?,
            strided(&b)?,
            b_z,
        ];
        let mut plain = [const { None }; 5];
        for (plain, given) in plain.iter_mut().zip(&given) {
            *plain = given.as_ref().map(Tensor::force_contiguous).transpose()?;
        }
        let (strided, contiguous) = (case.fused(&given)?, case.fused(&plain)?);
        for (got, want) in strided.iter().zip(&contiguous) {
            close(got, want, 0., "strided")?;
        }
        let all = gradients(&vars, &strided)?
            .into_iter()
            .zip(gradients(&vars, &contiguous)?);
        for (i, (got, want)) in all.enumerate() {
            assert_eq!(got.is_some(), arguments[i].is_some(), "{i}");
            if let (Some(got), Some(want)) = (got, want) {
                close(&got, &want, 1e-6, &format!("strided, of {i}"))?;
            }
        }
        let all = case
            .tangent(&given, &given)?
            .into_iter()
            .zip(case.tangent(&plain, &plain)?);
        for (got, want) in all {
            close(&got, &want, 0., "strided")?;
        }
    }
    Ok(())
}

/// A loss may read y or z alone, and some rows alone.
#[test]
fn of_one_output_alone() -> Result<()> {
    for (what, case) in all_cases() {
        let arguments = case.arguments(8)?;
        let of = |fused: bool, at: usize, dtype: DType| -> Result<Option<Vec<Option<Tensor>>>> {
            let vars = variables(&arguments, dtype)?;
            let outputs = if fused {
                case.fused(&tensors(&vars))?
            } else {
                case.composed(&tensors(&vars))?
            };
            let Some(one) = outputs.get(at) else {
                return Ok(None);
            };
            // Uneven, and 0 in places.
            let mask = numbers(one.dims(), 31)?.to_dtype(dtype)?.relu()?;
            Ok(Some(gradients(&vars, &[(one * mask)?])?))
        };
        for at in 0..2 {
            let (Some(got), Some(want)) = (of(true, at, DType::F32)?, of(false, at, DType::F64)?)
            else {
                continue;
            };
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let what = format!("{what}, {at} of {i}");
                match (got, want) {
                    (Some(got), Some(want)) => close(got, want, 1e-5, &what)?,
                    (Some(got), None) => close(got, &got.zeros_like()?, 0., &what)?,
                    (None, None) => {}
                    (None, Some(_)) => panic!("{what}: none"),
                }
            }
        }
    }
    Ok(())
}

/// All zeros is a state like others, at rest or moved by biases.
#[test]
fn states_of_zeros() -> Result<()> {
    for (what, case) in all_cases() {
        for biased in [false, true] {
            let mut arguments = case.arguments(6)?;
            for (i, argument) in arguments.iter_mut().enumerate() {
                if let Some(t) = argument
                    && (i < 2 || i > 2 && !biased)
                {
                    *t = t.zeros_like()?;
                }
            }
            let (single, double) = (
                variables(&arguments, DType::F32)?,
                variables(&arguments, DType::F64)?,
            );
            // Kinks are another matter.
            if !biased && matches!(case.activation, Activation::Relu | Activation::LeakyRelu(_)) {
                continue;
            }
            let (got, want) = (
                case.fused(&tensors(&single))?,
                case.composed(&tensors(&double))?,
            );
            for (got, want) in got.iter().zip(&want) {
                close(got, want, 2e-5, &what)?;
            }
            let all = gradients(&single, &got)?
                .into_iter()
                .zip(gradients(&double, &want)?);
            for (i, (got, want)) in all.enumerate() {
                if let (Some(got), Some(want)) = (got, want) {
                    close(&got, &want, 2e-5, &format!("{what}, of {i}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Rows that are asked for and not finite have gradients that are not finite, and leave those of other rows alone.
#[test]
fn rows_that_are_not_finite() -> Result<()> {
    for (what, case) in all_cases() {
        if case.batch != [300] && case.batch != [40] {
            continue;
        }
        let arguments = case.arguments(5)?;
        let of = |spoilt: Option<f32>| -> Result<Vec<f32>> {
            let mut arguments = arguments.clone();
            if let (Some(y), Some(x)) = (&mut arguments[0], spoilt) {
                let width = y.dim(1)?;
                let mut all = y.flatten_all()?.to_vec1::<f32>()?;
                all[7 * width..8 * width].fill(x);
                *y = Tensor::from_vec(all, y.shape(), &Device::Cpu)?;
            }
            let vars = variables(&arguments, DType::F32)?;
            let found = gradients(&vars, &case.fused(&tensors(&vars))?)?;
            let Some(Some(of_y)) = found.first() else {
                return Ok(vec![]);
            };
            Ok(of_y.flatten_all()?.to_vec1()?)
        };
        let (want, width) = (of(None)?, case.sizes[1]);
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let got = of(Some(x))?;
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                match i / width {
                    7 => assert!(!got.is_finite(), "{what} {x}: {got}"),
                    _ => assert_eq!(got, want, "{what} {x}, {i}"),
                }
            }
        }
    }
    Ok(())
}

/// Rows that nobody asks for may be anything, and have no gradient.
#[test]
fn rows_that_are_masked_spoil_nothing() -> Result<()> {
    for (what, case) in all_cases() {
        if case.batch != [300] && case.batch != [40] {
            continue;
        }
        let count = case.batch[0];
        let arguments = case.arguments(5)?;
        let mask: Vec<f32> = (0..count)
            .map(|r| f32::from(u8::from(r % 3 == 0)))
            .collect();
        let mask = Tensor::from_vec(mask, (count, 1), &Device::Cpu)?;
        let mut spoilt = arguments.clone();
        if let Some(y) = &mut spoilt[0] {
            let nan = (y.zeros_like()? + f64::NAN)?;
            *y = mask
                .broadcast_as(y.shape())?
                .ne(0f32)?
                .where_cond(y, &nan)?;
        }
        let run = |arguments: &Arguments| -> Result<Vec<Option<Tensor>>> {
            let vars = variables(arguments, DType::F32)?;
            let outputs = case.fused(&tensors(&vars))?;
            let mut outputs = outputs.iter().map(|out| {
                let mask = mask.broadcast_as(out.shape())?;
                Ok(mask.ne(0f32)?.where_cond(out, &out.zeros_like()?)?)
            });
            gradients(&vars, &outputs.by_ref().collect::<Result<Vec<_>>>()?)
        };
        for (i, (got, want)) in run(&spoilt)?.iter().zip(run(&arguments)?).enumerate() {
            if let (Some(got), Some(want)) = (got, want) {
                close(got, &want, 0., &format!("{what}, of {i}"))?;
                if i == 0 {
                    let masked = got.broadcast_mul(&(1. - &mask)?)?.abs()?;
                    assert_eq!(masked.sum_all()?.to_scalar::<f32>()?, 0.);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_that_are_not_read_are_not_there() -> Result<()> {
    let arguments = VERLET.arguments(2)?;
    let vars = variables(&arguments, DType::F32)?;
    let all = gradients(&vars, &VERLET.fused(&tensors(&vars))?)?;
    for frozen in 0..32 {
        let mut some = tensors(&vars);
        for (i, t) in some.iter_mut().enumerate() {
            if frozen >> i & 1 == 1 {
                *t = t.as_ref().map(Tensor::detach);
            }
        }
        if frozen == 31 {
            continue;
        }
        let got = gradients(&vars, &VERLET.fused(&some)?)?;
        for (i, (got, want)) in got.iter().zip(&all).enumerate() {
            match (got, want, frozen >> i & 1) {
                (None, _, 1) => {}
                (Some(got), Some(want), 0) => close(got, want, 0., "frozen")?,
                _ => panic!("{frozen} {i}"),
            }
        }
    }
    Ok(())
}

/// Also of one output alone, and again over the same node.
#[test]
fn threads_and_repetitions_change_no_bit() -> Result<()> {
    for scheme in [
        Scheme::Verlet,
        Scheme::Euler(Force::Double),
        Scheme::Leapfrog(Force::Single),
    ] {
        // Several chunks, and more than one group of layers.
        let case = Case {
            scheme,
            batch: &[1500],
            sizes: [40, 40],
            layers: 70,
            ..VERLET
        };
        let mut seen: Vec<Vec<f32>> = vec![];
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(candle_core::Error::wrap)?;
            let bits = pool.install(|| -> Result<Vec<Vec<f32>>> {
                let vars = variables(&case.arguments(4)?, DType::F32)?;
                let outputs = case.fused(&tensors(&vars))?;
                let again = gradients(&vars, &outputs)?;
                let first = outputs[0].sin()?.sum_all()?.backward()?;
                assert!(vars.iter().flatten().all(|var| first.get(var).is_some()));
                let mut all = vec![];
                for gradients in [gradients(&vars, &outputs)?, again] {
                    let mut bits = vec![];
                    for t in outputs
                        .iter()
                        .map(Some)
                        .chain(gradients.iter().map(Option::as_ref))
                    {
                        let t = t.map(|t| t.flatten_all()?.to_vec1::<f32>());
                        bits.extend(t.transpose()?.unwrap_or_default());
                    }
                    all.push(bits);
                }
                Ok(all)
            })?;
            seen.extend(bits);
        }
        assert!(seen.iter().all(|bits| *bits == seen[0]), "{scheme:?}");
    }
    Ok(())
}

/// Where rounding grows with every layer, or with one alone, states cannot be rebuilt: an error, or all kept.
#[test]
fn drift_is_an_error() -> Result<()> {
    for scheme in [Scheme::Verlet, Scheme::Leapfrog(Force::Double)] {
        for (layers, states, scale) in [
            (30, false, 1.),
            (30, false, 40.),
            (30, true, 40.),
            (1, false, 1.),
            (1, false, 1e4),
            (1, true, 1e4),
        ] {
            let activation = Activation::Identity;
            let case = Case {
                scheme,
                layers,
                states,
                activation,
                ..VERLET
            };
            let mut arguments = case.arguments(9)?;
            arguments[2] = match &arguments[2] {
                Some(kernel) => Some((kernel * scale)?),
                None => None,
            };
            let (single, double) = (
                variables(&arguments, DType::F32)?,
                variables(&arguments, DType::F64)?,
            );
            let found =
                |vars: &[Option<Var>; 5], outputs: &[Tensor]| -> Result<Vec<Option<Tensor>>> {
                    // Even, so that large ends are asked for as small ones are.
                    let store = (outputs[0].sum_all()? + outputs[1].sum_all()?)?.backward()?;
                    Ok(vars
                        .iter()
                        .map(|var| store.get(var.as_ref()?).cloned())
                        .collect())
                };
            let got = found(&single, &case.fused(&tensors(&single))?);
            let what = format!("{scheme:?} {layers} {states} {scale}");
            if scale == 1. || states {
                let want = found(&double, &case.composed(&tensors(&double))?)?;
                for (got, want) in got?.iter().zip(&want) {
                    if let (Some(got), Some(want)) = (got, want) {
                        close(got, want, 1e-4, &what)?;
                    }
                }
            } else {
                let error = got.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.contains("Memory::States"), "{what}: {error}");
            }
        }
    }
    Ok(())
}

#[test]
fn five_thousand_layers_in_a_small_thread() -> Result<()> {
    let work = || -> Result<()> {
        for scheme in [
            Scheme::Verlet,
            Scheme::Euler(Force::Single),
            Scheme::Leapfrog(Force::Double),
        ] {
            let case = Case {
                scheme,
                layers: 5000,
                sizes: [3, 3],
                batch: &[70],
                ..VERLET
            };
            let arguments = case.arguments(11)?;
            let single = variables(&arguments, DType::F32)?;
            let outputs = case.fused(&tensors(&single))?;
            let found = gradients(&single, &outputs)?;
            assert!(found.iter().flatten().count() >= 3);
            let mut double = [const { None }; 5];
            for (double, argument) in double.iter_mut().zip(&arguments) {
                *double = argument
                    .as_ref()
                    .map(|t| t.to_dtype(DType::F64))
                    .transpose()?;
            }
            for (got, want) in outputs.iter().zip(case.composed(&double)?) {
                close(got, &want, 1e-4, "deep")?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let done = small.spawn_scoped(scope, work);
        let done = done.map_err(|e| Error::value("thread", "spawn", "one", e))?;
        done.join()
            .map_err(|_| Error::value("thread", "join", "one", "a panic"))?
    })
}

#[test]
fn what_does_not_fit_has_no_fused_form() -> Result<()> {
    let arguments = VERLET.arguments(1)?;
    let mut wrong = vec![];
    for i in 0..5 {
        let mut one = arguments.clone();
        one[i] = match &arguments[i] {
            Some(t) => Some(t.narrow(t.rank() - 1, 0, 2)?),
            None => None,
        };
        wrong.push(one);
    }
    wrong.push(tensors(&variables(&arguments, DType::F64)?));
    for arguments in &wrong {
        assert!(
            VERLET.fused(arguments)?.is_empty() && VERLET.tangent(arguments, arguments)?.is_empty()
        );
    }
    let silu = Case {
        activation: Activation::Silu,
        ..VERLET
    };
    assert!(silu.fused(&arguments)?.is_empty());
    Ok(())
}
