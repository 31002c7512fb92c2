//! Fused against composed, in value, gradient and along directions.

use super::*;

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
