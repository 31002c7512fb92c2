//! States that are zero, not finite, masked, not to be rebuilt, of many layers, and what has no fused form.

use super::*;

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
