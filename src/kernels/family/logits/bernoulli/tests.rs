use super::super::tests::{agree, numbers, tensor};
use super::*;
use candle_core::{Device, Var};

#[test]
fn fused_is_composed() -> Result<()> {
    let cases: &[(&[usize], &[usize])] = &[
        (&[37, 50], &[37, 50]),
        (&[3, 20, 50], &[20, 50]),
        (&[20, 50], &[3, 20, 50]),
        (&[70], &[6, 9, 70]),
        (&[1, 70], &[600, 70]),
        (&[4, 1, 5], &[3, 5]),
        (&[1], &[3, 5]),
        (&[3, 5], &[]),
        (&[0, 5], &[0, 5]),
        (&[200, 300], &[200, 300]),
        (&[2, 40_000], &[2, 40_000]),
    ];
    for (l, x) in cases {
        let binary = tensor(x, 1, 1.)?
            .ge(0.)?
            .to_dtype(candle_core::DType::F32)?;
        let mixed = (tensor(x, 2, 0.7)? + 0.5)?;
        for (grey, value) in [
            (false, &binary),
            (true, &binary),
            (true, &mixed),
            (false, &mixed),
        ] {
            let inputs = [tensor(l, 3, 12.)?, value.clone()];
            for dims in 0..=l.len().max(x.len()) {
                agree(
                    &format!("{l:?} {x:?} {grey} {dims}"),
                    &inputs,
                    |t| bernoulli_log_prob(&t[0], &t[1], grey, dims),
                    |t| composed(&t[0], &t[1], grey, dims),
                    2e-5,
                )?;
            }
        }
    }
    let inputs = [
        tensor(&[30, 40], 1, 5.)?.t()?,
        (tensor(&[60, 30], 2, 0.5)? + 0.5)?.narrow(0, 7, 40)?,
    ];
    let run = |t: &[Tensor], fused: bool| match fused {
        true => bernoulli_log_prob(&t[0], &t[1], true, 1),
        false => composed(&t[0], &t[1], true, 1),
    };
    agree(
        "strided",
        &inputs,
        |t| run(t, true),
        |t| run(t, false),
        2e-5,
    )
}

#[test]
fn finite_and_exact_up_to_large_logits() -> Result<()> {
    let mut logits: Vec<f32> = numbers(4000, 5, 1e4);
    logits.extend(numbers(4000, 6, 20.));
    logits.extend([
        0.,
        -0.,
        20.,
        -20.,
        1e4,
        -1e4,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ]);
    for x in [0f32, 1.] {
        let var = Var::from_slice(&logits, logits.len(), &Device::Cpu)?;
        let value = Tensor::full(x, logits.len(), &Device::Cpu)?;
        let out = bernoulli_log_prob(&var, &value, false, 0)?;
        let got = out.to_vec1::<f32>()?;
        let gradient = out.sum_all()?.backward()?;
        let gradient = gradient.get(&var).map(|g| g.to_vec1::<f32>()).transpose()?;
        for ((l, got), g) in logits.iter().zip(got).zip(gradient.unwrap_or_default()) {
            let l = f64::from(*l);
            let wrong = if x == 1. { -l } else { l };
            let want = -(wrong.max(0.) + (-wrong.abs()).exp().ln_1p());
            let slope = f64::from(x) - 1. / (1. + (-l).exp());
            assert!((f64::from(g) - slope).abs() < 1e-6, "{l}: {g} {slope}");
            let error = (f64::from(got) - want).abs();
            // Relative: the mass of the unlikely outcome keeps its digits.
            let tiny = f64::from(f32::MIN_POSITIVE);
            assert!(
                f64::from(got) == want || error < 3e-7 * want.abs() + tiny,
                "{l}: {got} {want}"
            );
        }
    }
    Ok(())
}

#[test]
fn outside_and_nan() -> Result<()> {
    let x = [0.5f32, -1., 2., f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let value = Tensor::new(&x, &Device::Cpu)?;
    for f in [bernoulli_log_prob, composed] {
        let zero = value.zeros_like()?;
        let strict = f(&zero, &value, false, 0)?.to_vec1::<f32>()?;
        assert!(strict[3].is_nan());
        for i in [0, 1, 2, 4, 5] {
            assert_eq!(strict[i], f32::NEG_INFINITY);
        }
        let soft = f(&zero, &value, true, 0)?.to_vec1::<f32>()?;
        assert!((soft[0] + 2f32.ln()).abs() < 1e-7);
        assert_eq!(soft[1], f32::NEG_INFINITY);
    }
    Ok(())
}
