//! Fused updates against composed ones.

use super::*;

/// Numbers that differ.
pub(crate) fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * 0.37 + phase).sin()).collect()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.elem_count() == 0 {
        return Ok(0.);
    }
    (a - b)?
        .abs()?
        .flatten_all()?
        .max(0)?
        .to_dtype(DType::F64)?
        .to_scalar()
}

/// Five fused steps equal five composed ones: contiguous, strided and broadcast gradients, empty, 0-d, and sizes on
/// both sides of the parallel threshold.
pub(crate) fn fused_equals_composed<R: Rule<K>, const K: usize>(
    rule: impl Fn(u64) -> R,
) -> Result<()> {
    let device = &Device::Cpu;
    for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-14)] {
        for dims in [
            vec![],
            vec![0],
            vec![3, 0],
            vec![7],
            vec![5, 13],
            vec![210, 201],
        ] {
            let n: usize = dims.iter().product();
            let start = Tensor::from_vec(wave(n, 0.), dims.as_slice(), device)?.to_dtype(dtype)?;
            let var = Var::from_tensor(&start)?;
            let twin = Var::from_tensor(&start)?;
            let kept = var.copy()?;
            let mut buffers = Buffers::<K>::new(&var)?;
            let mut composed = Buffers::<K>::composed(&twin)?;
            assert!(!matches!(buffers, Buffers::Composed(_)));
            for step in 1..6 {
                let mut g = Tensor::from_vec(wave(n, step as f64), dims.as_slice(), device)?
                    .to_dtype(dtype)?;
                if dims.len() == 2 && step == 2 {
                    g = g.t()?.contiguous()?.t()?;
                }
                if dims.len() == 2 && step == 3 && n > 0 {
                    g = g.narrow(0, 0, 1)?.broadcast_as(dims.as_slice())?;
                }
                let before = g.copy()?;
                update(rule(step), &var, &g, &mut buffers)?;
                update(rule(step), &twin, &g, &mut composed)?;
                assert_eq!(largest_difference(&g, &before)?, 0.);
                assert!(
                    largest_difference(&var, &twin)? <= tolerance,
                    "{dims:?} {dtype:?}"
                );
                for (a, b) in buffers.tensors(&var)?.iter().zip(composed.tensors(&var)?) {
                    assert!(
                        largest_difference(a, &b)? <= tolerance,
                        "{dims:?} {dtype:?}"
                    );
                }
            }
            assert_eq!(largest_difference(&kept, &start)?, 0.);
            assert!(n == 0 || largest_difference(&var, &start)? > 1e-4);
        }
    }
    Ok(())
}

/// Half precision: the parameter moves as it does in f32, up to its own rounding.
pub(crate) fn half_follows_single<R: Rule<K>, const K: usize>(
    rule: impl Fn(u64) -> R,
) -> Result<()> {
    let device = &Device::Cpu;
    let start = Tensor::from_vec(wave(40, 0.), 40, device)?.to_dtype(DType::BF16)?;
    let half = Var::from_tensor(&start)?;
    let single = Var::from_tensor(&start.to_dtype(DType::F32)?)?;
    let (mut a, mut b) = (Buffers::<K>::new(&half)?, Buffers::<K>::new(&single)?);
    for step in 1..6 {
        let g = Tensor::from_vec(wave(40, step as f64), 40, device)?.to_dtype(DType::BF16)?;
        update(rule(step), &half, &g, &mut a)?;
        update(rule(step), &single, &g.to_dtype(DType::F32)?, &mut b)?;
    }
    assert_eq!(half.dtype(), DType::BF16);
    assert!(largest_difference(&half.to_dtype(DType::F32)?, &single)? < 0.02);
    assert!(largest_difference(&half, &start)? > 0.);
    Ok(())
}

#[test]
fn a_tensor_and_its_views_have_one_storage() -> Result<()> {
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    assert_eq!(storage_id(&x), storage_id(&x.t()?));
    assert_ne!(storage_id(&x), storage_id(&x.copy()?));
    Ok(())
}
