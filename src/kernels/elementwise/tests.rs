use super::log_gamma::{digamma_tensor, lgamma_tensor, trigamma_tensor};
use super::{composed, map};
use crate::error::Result;
use candle_core::{DType, Device, Tensor, Var};

type Function = fn(&Tensor) -> Result<Tensor>;

/// (fused, composed, whether negative arguments are in the domain)
const CASES: [(Function, Function, bool); 8] = [
    (map::softplus, composed::softplus, true),
    (
        map::log_sigmoid,
        |x| Ok(composed::softplus(&x.neg()?)?.neg()?),
        true,
    ),
    (map::log1p, composed::log1p, false),
    (map::expm1, composed::expm1, true),
    (map::log1mexp, composed::log1mexp, false),
    (lgamma_tensor, composed::lgamma, true),
    (digamma_tensor, composed::digamma, true),
    (trigamma_tensor, composed::trigamma, true),
];

fn both(f: Function, x: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let var = Var::from_tensor(x)?;
    let y = f(&var)?;
    let gradients = y.sum_all()?.backward()?;
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let gradient = match gradients.get(&var) {
        Some(g) => flat(g)?,
        None => vec![],
    };
    Ok((flat(&y)?, gradient))
}

fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= tolerance * (1. + w.abs());
        assert!(near, "{what} at {i}: {g}, want {w}");
    }
}

#[test]
fn fused_meets_composed_in_every_layout() -> Result<()> {
    for (i, (fused, composed, negative)) in CASES.into_iter().enumerate() {
        // Multiples of 0.37 stay away from whole numbers, where the poles are.
        let start = if negative { -7.045 } else { 0.01 };
        let data: Vec<f32> = (0..60).map(|i| start + i as f32 * 0.37).collect();
        let grid = Tensor::from_vec(data, (5, 12), &Device::Cpu)?;
        let inputs = [
            grid.clone(),
            grid.t()?,
            grid.narrow(1, 2, 5)?,
            grid.narrow(0, 3, 1)?.broadcast_as((4, 12))?,
            grid.narrow(0, 0, 0)?,
            grid.broadcast_as((700, 5, 12))?.contiguous()?,
        ];
        for x in &inputs {
            let wide = x.to_dtype(DType::F64)?;
            let (want, slope) = both(composed, &wide)?;
            let (value, gradient) = both(fused, &wide)?;
            let what = format!("{i} {:?}", x.dims());
            close(&value, &want, 3e-13, &what);
            close(&gradient, &slope, 3e-12, &what);
            let (value, gradient) = both(fused, x)?;
            close(&value, &want, 1e-6, &what);
            close(&gradient, &slope, 1e-6, &what);
        }
    }
    Ok(())
}
