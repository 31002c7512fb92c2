use super::*;
use crate::kernels::family::logits::tests::{agree, tensor};
use candle_core::{DType, Device};

/// Points on the simplex in f32, and as logarithms.
fn points(dims: &[usize], log: bool) -> Result<Tensor> {
    let x = (tensor(dims, 5, 0.9)? + 1.)?;
    let x = x.broadcast_div(&x.sum_keepdim(D::Minus1)?)?;
    Ok(if log { x.log()? } else { x })
}

/// The composed path in f64, where it is what the conformance tests compare with central differences.
fn wide(a: &Tensor, x: &Tensor, log: bool) -> Result<Tensor> {
    let [a, x] = [a.to_dtype(DType::F64)?, x.to_dtype(DType::F64)?];
    Ok(composed(&a, &x, log)?.to_dtype(DType::F32)?)
}

#[test]
fn fused_is_composed() -> Result<()> {
    let cases: &[(&[usize], &[usize])] = &[
        (&[3], &[3]),
        (&[1], &[1]),
        (&[40, 10], &[40, 10]),
        (&[10], &[400, 10]),
        (&[5000, 10], &[5000, 10]),
        (&[10], &[5000, 10]),
        (&[7, 3], &[900, 7, 3]),
        (&[2, 1, 4], &[6, 2, 5, 4]),
        (&[30, 4], &[4]),
        (&[2000], &[20, 2000]),
    ];
    for (a, x) in cases {
        for log in [false, true] {
            let a = (tensor(a, 3, 2.4)? + 2.5)?;
            let x = points(x, log)?;
            agree(
                &format!("{:?} {:?} {log}", a.dims(), x.dims()),
                &[a, x],
                |t| dirichlet_log_prob(&t[0], &t[1], log),
                |t| wide(&t[0], &t[1], log),
                4e-5,
            )?;
        }
    }
    Ok(())
}

/// Limits, points off the simplex, NaN, and concentrations without meaning, in all pairs.
#[test]
fn edges_are_composed() -> Result<()> {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let x = [
        [0.25f32, 0.25, 0.5],
        [0., 0.5, 0.5],
        [0., 0., 1.],
        [0., 0.25, 0.5],
        [0.25, 0.25, 0.501],
        [0.25, 0.25, 0.500_001],
        [-0.25, 0.75, 0.5],
        [infinity, 0., 0.],
    ];
    let a = [
        [1f32, 1., 1.],
        [2., 0.5, 1.],
        [0.5, 2., 3.],
        [0.5, 0.5, 0.5],
        [1e-3, 1e4, 7.],
    ];
    let a = Tensor::new(&a, &Device::Cpu)?.unsqueeze(1)?;
    let x = Tensor::new(&x, &Device::Cpu)?;
    for log in [false, true] {
        let x = if log { x.abs()?.log()? } else { x.clone() };
        let x = x.broadcast_as((5, x.dim(0)?, 3))?.contiguous()?;
        // Infinite values have no weighted sum.
        let bounded = |t: Tensor| -> Result<Tensor> { Ok(t.clamp(-1e4f32, 1e4f32)?) };
        agree(
            &format!("{log}"),
            &[a.clone(), x],
            |t| bounded(dirichlet_log_prob(&t[0], &t[1], log)?),
            |t| bounded(composed(&t[0], &t[1], log)?),
            1e-4,
        )?;
    }
    let none = Tensor::new(&[[-1f32, 2.], [0., 1.], [nan, 1.]], &Device::Cpu)?;
    let half = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
    for pair in [
        [&none, &half],
        [&(half.ones_like()? * 2.)?, &none.narrow(0, 2, 1)?],
    ] {
        let got = dirichlet_log_prob(pair[0], pair[1], false)?.to_vec1::<f32>()?;
        assert!(got.iter().all(|p| p.is_nan()), "{got:?}");
    }
    Ok(())
}
