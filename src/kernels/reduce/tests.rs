use super::*;
use candle_core::{Device, Var};

type Function = fn(&Tensor) -> Result<Tensor>;

fn close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let want = want.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    for (g, w) in got.iter().zip(&want) {
        assert!(
            g == w || (g - w).abs() <= tolerance * (1. + w.abs()),
            "{what}: {g}, want {w}"
        );
    }
    Ok(())
}

/// Value and gradient of sum(f(x) w) with unequal weights.
fn both(f: Function, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let var = Var::from_tensor(x)?;
    let y = f(&var)?;
    let w: Vec<f64> = (0..y.elem_count()).map(|i| (i % 5) as f64 - 1.3).collect();
    let w = Tensor::from_vec(w, y.shape(), y.device())?.to_dtype(x.dtype())?;
    let gradients = (&y * w)?.sum_all()?.backward()?;
    let gradient = match gradients.get(&var) {
        Some(g) => g.clone(),
        None => x.zeros_like()?,
    };
    Ok((y.detach(), gradient))
}

#[test]
fn fused_meets_composed_in_every_layout() -> Result<()> {
    let cases: [(Function, Function, &str); 3] = [
        (logsumexp, composed::logsumexp, "logsumexp"),
        (log_softmax, composed::log_softmax, "log_softmax"),
        (softmax, |x| Ok(composed::log_softmax(x)?.exp()?), "softmax"),
    ];
    let data: Vec<f32> = (0..40 * 50)
        .map(|i| ((i * 37) % 101) as f32 * 0.2 - 9.)
        .collect();
    let grid = Tensor::from_vec(data, (40, 50), &Device::Cpu)?;
    let inputs = [
        grid.clone(),
        grid.t()?,
        grid.narrow(1, 7, 19)?,
        grid.narrow(0, 3, 1)?.broadcast_as((2, 3, 50))?,
        grid.get(4)?,
        Tensor::zeros((0, 5), DType::F32, &Device::Cpu)?,
        grid.broadcast_as((30, 40, 50))?.contiguous()?,
    ];
    for (fused, composed, name) in cases {
        for x in &inputs {
            let (value, gradient) = both(fused, x)?;
            let wide = x.to_dtype(DType::F64)?;
            let (want, slope) = both(composed, &wide)?;
            let what = format!("{name} {:?}", x.dims());
            close(&value, &want, 2e-6, &what)?;
            close(&gradient, &slope, 3e-6, &what)?;
            let (value, gradient) = both(fused, &wide)?;
            close(&value, &want, 1e-13, &what)?;
            close(&gradient, &slope, 1e-13, &what)?;
        }
    }
    Ok(())
}

#[test]
fn empty_sums_and_infinities_agree_with_composed() -> Result<()> {
    let (inf, low) = (f64::INFINITY, f64::NEG_INFINITY);
    let x = [[low, low, low], [low, 1., 2.], [inf, 0., inf]];
    let x = Tensor::new(&x, &Device::Cpu)?;
    close(&logsumexp(&x)?, &composed::logsumexp(&x)?, 1e-14, "lse")?;
    close(&log_softmax(&x)?, &composed::log_softmax(&x)?, 1e-14, "ls")?;
    for f in [logsumexp as Function, composed::logsumexp] {
        let (_, gradient) = both(f, &x.narrow(0, 0, 2)?)?;
        let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
        assert_eq!(gradient[..3], [0., 0., 0.]);
    }
    Ok(())
}
