use super::*;
use crate::kernels::family::logits::tests::{agree, tensor};
use candle_core::{DType, Var};

fn inputs(n: &[usize], k: usize, d: usize) -> Result<[Tensor; 4]> {
    Ok([
        tensor(&[n, &[d]].concat(), 1, 2.)?,
        tensor(&[k], 2, 1.)?,
        tensor(&[k, d], 3, 2.)?,
        tensor(&[k, d], 4, 0.5)?.exp()?,
    ])
}

fn fused(t: &[Tensor]) -> Result<Tensor> {
    mixture_log_prob(&t[0], &t[1], &t[2], &t[3])
}

fn reference(t: &[Tensor]) -> Result<Tensor> {
    composed(&t[0], &t[1], &t[2], &t[3])
}

#[test]
fn fused_is_composed() -> Result<()> {
    for (n, k, d) in [
        (&[50usize][..], 32, 16),
        (&[7], 1, 1),
        (&[3, 41], 5, 3),
        (&[], 17, 2),
        (&[2, 0], 17, 2),
        (&[101], 40, 9),
        (&[600], 33, 20),
        (&[3100], 16, 4),
    ] {
        agree(
            &format!("{n:?} {k} {d}"),
            &inputs(n, k, d)?,
            fused,
            reference,
            1e-4,
        )?;
    }
    let [_, logits, loc, scale] = inputs(&[], 6, 8)?;
    let scale = scale.t()?.contiguous()?.t()?;
    let x = tensor(&[8, 90], 5, 2.)?.t()?;
    agree("strided", &[x, logits, loc, scale], fused, reference, 1e-4)?;
    // Parameters that are views: a narrowed mean and one scale for all.
    let parts = [
        tensor(&[40, 5], 1, 1.)?,
        tensor(&[4], 2, 1.)?,
        tensor(&[9, 5], 3, 1.)?,
        tensor(&[1], 4, 0.1)?.exp()?,
    ];
    let view = |t: &[Tensor]| -> Result<[Tensor; 4]> {
        let scale = t[3].broadcast_as((4, 5))?;
        Ok([t[0].clone(), t[1].clone(), t[2].narrow(0, 3, 4)?, scale])
    };
    agree(
        "views",
        &parts,
        |t| fused(&view(t)?),
        |t| reference(&view(t)?),
        1e-4,
    )
}

#[test]
fn masked_weights_and_broken_scales() -> Result<()> {
    let [x, _, loc, scale] = inputs(&[9], 3, 2)?;
    let logits = Tensor::new(&[0f32, f32::NEG_INFINITY, 1.], x.device())?;
    agree(
        "masked",
        &[x.clone(), logits.clone(), loc.clone(), scale.clone()],
        fused,
        reference,
        1e-4,
    )?;
    let negative = fused(&[x.clone(), logits.clone(), loc.clone(), scale.neg()?])?;
    assert!(negative.to_vec1::<f32>()?.iter().all(|p| p.is_nan()));
    let far = fused(&[(x.ones_like()? * f64::INFINITY)?, logits, loc, scale])?;
    assert!(
        far.to_vec1::<f32>()?
            .iter()
            .all(|p| *p == f32::NEG_INFINITY)
    );
    Ok(())
}

/// Means a thousand scales apart: the expanded square would be off by 1e-2 here.
#[test]
fn distant_means_keep_their_digits() -> Result<()> {
    let [x, logits, loc, scale] = inputs(&[300], 20, 8)?;
    let loc = ((loc * 500.)? * &scale)?;
    // Points one scale away from a mean.
    let order: Vec<u32> = (0..300).map(|i| i % 20).collect();
    let order = Tensor::new(order.as_slice(), x.device())?;
    let x = (loc.index_select(&order, 0)? + x)?;
    let run = |dtype: DType| -> Result<(Vec<f64>, Vec<f64>)> {
        let t = [&x, &logits, &loc, &scale].map(|t| t.to_dtype(dtype));
        let [x, logits, loc, scale] = t;
        let loc = Var::from_tensor(&loc?)?;
        let out = mixture_log_prob(&x?, &logits?, &loc, &scale?)?;
        let store = out.sum_all()?.backward()?;
        let g = store.get(&loc).cloned().unwrap_or(loc.zeros_like()?);
        let wide = |t: Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1();
        Ok((wide(out)?, wide(g)?))
    };
    let ((got, g), (want, h)) = (run(DType::F32)?, run(DType::F64)?);
    for (a, b) in got.iter().zip(&want) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.), "{a} {b}");
    }
    for (a, b) in g.iter().zip(&h) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.), "{a} {b}");
    }
    Ok(())
}
