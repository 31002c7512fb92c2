use super::*;
use candle_core::{Device, Var};

const CPU: &Device = &Device::Cpu;

type Run = fn(&Tensor, &Tensor, Spline) -> Result<(Tensor, Tensor)>;

/// Both results and the gradients of an uneven loss, as f64.
fn run(f: Run, kind: Spline, x: &Tensor, raw: &Tensor, which: usize) -> Result<Vec<Vec<f64>>> {
    let (x, raw) = (Var::from_tensor(x)?, Var::from_tensor(raw)?);
    let shape = [x.dims(), &[kind.parameters()]].concat();
    let (y, log) = f(&x, &raw.broadcast_as(shape)?, kind)?;
    assert_eq!(log.dims(), x.dims());
    let parts = [(y.sin()? * 0.7)?, log.sin()?];
    let loss = match which {
        2 => (&parts[0] + &parts[1])?,
        i => parts[i].clone(),
    };
    let gradients = loss.sum_all()?.backward()?;
    let mut all = vec![y.detach(), log.detach()];
    for leaf in [&x, &raw] {
        all.push(
            gradients
                .get(leaf)
                .cloned()
                .map_or_else(|| leaf.zeros_like(), Ok)?,
        );
    }
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    Ok(all.iter().map(flat).collect::<candle_core::Result<_>>()?)
}

fn wave(dims: &[usize], step: f64, size: f64, dtype: DType) -> Result<Tensor> {
    let n = dims.iter().product::<usize>();
    let data: Vec<f64> = (0..n)
        .map(|i| size * (i as f64 * step + 0.3).sin())
        .collect();
    Ok(Tensor::from_vec(data, dims, CPU)?.to_dtype(dtype)?)
}

#[test]
fn fused_is_composed() -> Result<()> {
    for bins in [2, 5, 8, 32] {
        for (inverse, tails) in [(false, true), (true, true), (false, false), (true, false)] {
            let kind = Spline {
                tails,
                ..Spline::within(3., bins, inverse)
            };
            let width = kind.parameters();
            for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-11)] {
                let cases = [
                    (vec![], vec![]),
                    (vec![0], vec![0]),
                    (vec![7], vec![7]),
                    (vec![3, 211], vec![3, 211]),
                    (vec![3, 211], vec![211]),
                    (vec![4, 3], vec![1]),
                ];
                for (of_x, of_raw) in cases {
                    let x = wave(&of_x, 0.7, 3.3, dtype)?;
                    let raw = wave(&[&of_raw[..], &[width]].concat(), 1.3, 2., dtype)?;
                    for which in 0..3 {
                        let fused = run(spline, kind, &x, &raw, which)?;
                        let wide = [&x, &raw].map(|t| t.to_dtype(DType::F64));
                        let [x, raw] = wide;
                        let composed = run(composed::spline, kind, &x?, &raw?, which)?;
                        for (i, (a, b)) in fused.iter().zip(&composed).enumerate() {
                            let scale = b.iter().fold(1f64, |m, b| m.max(b.abs()));
                            for (a, b) in a.iter().zip(b) {
                                let what = format!("{kind:?} {of_x:?} {of_raw:?} {dtype:?} {i}");
                                assert!((a - b).abs() <= tolerance * scale, "{what}: {a} {b}");
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn strided_arguments() -> Result<()> {
    let kind = Spline::within(2., 4, false);
    let (x, raw) = (
        wave(&[5, 6], 0.7, 2.2, DType::F32)?,
        wave(&[11, 6, 5], 1.3, 2., DType::F32)?,
    );
    let strided = spline(&x.t()?, &raw.permute((1, 2, 0))?, kind)?;
    let copied = spline(
        &x.t()?.contiguous()?,
        &raw.permute((1, 2, 0))?.contiguous()?,
        kind,
    )?;
    assert_eq!(strided.0.to_vec2::<f32>()?, copied.0.to_vec2::<f32>()?);
    assert_eq!(strided.1.to_vec2::<f32>()?, copied.1.to_vec2::<f32>()?);
    Ok(())
}

#[test]
fn the_offset_makes_slopes_of_one() {
    let softplus = (OFFSET.exp() + 1.).ln();
    assert!((LEAST + softplus - 1.).abs() < 4e-16);
}
