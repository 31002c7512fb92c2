use super::*;
use crate::kernels::random::{Stream, normals_f64};
use candle_core::Var;

fn numbers(shape: &[usize], draw: u64, dtype: DType) -> Result<Tensor> {
    let data = normals_f64(Stream { key: 1, draw }, shape.iter().product());
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

/// Gradients of a weighted sum of `f` against central differences along random directions.
fn check(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    let weights = numbers(f(inputs)?.dims(), 9, DType::F64)?;
    let loss = |t: &[Tensor]| -> Result<Tensor> { Ok((f(t)? * &weights)?.sum_all()?) };
    let vars = inputs.iter().map(Var::from_tensor);
    let vars = vars.collect::<candle_core::Result<Vec<_>>>()?;
    let live: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let gradients = loss(&live)?.backward()?;
    for (i, var) in vars.iter().enumerate() {
        let Some(gradient) = gradients.get(var) else {
            panic!("input {i} has no gradient");
        };
        for seed in 0..4 {
            let direction = numbers(var.dims(), 20 + seed, DType::F64)?;
            let at = |step: f64| -> Result<f64> {
                let mut moved = inputs.to_vec();
                moved[i] = (&moved[i] + (&direction * step)?)?;
                Ok(loss(&moved)?.to_scalar()?)
            };
            let want = (at(1e-5)? - at(-1e-5)?) / 2e-5;
            let got = (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?;
            let close = (got - want).abs() <= 1e-7 * want.abs().max(1.);
            assert!(close, "input {i}: {got}, expected {want}");
        }
    }
    Ok(())
}

/// Well-conditioned factors with numbers above the diagonal that must not matter.
fn factor(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let d = shape[shape.len() - 1];
    let eye = Tensor::eye(d, dtype, &Device::Cpu)?;
    Ok((numbers(shape, 1, dtype)? * 0.1)?.broadcast_add(&eye)?)
}

fn lower(factor: &Tensor) -> Result<Tensor> {
    let d = factor.dims()[factor.rank() - 1];
    let mask = Tensor::tril2(d, factor.dtype(), factor.device())?;
    Ok(factor.broadcast_mul(&mask)?)
}

fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
    let off = (a - b)?.abs()?.max_all()?;
    Ok(off.to_dtype(DType::F64)?.to_scalar()?)
}

/// Few right-hand sides and many, one factor and several.
#[test]
fn a_solve_undoes_the_product() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
        for [n, m, d] in [[1, 3, 5], [1, 700, 5], [4, 2, 3], [3, 300, 8], [1, 90, 70]] {
            let l = factor(&[n, d, d], dtype)?;
            let z = numbers(&[n, m, d], 2, dtype)?;
            let x = z.matmul(&lower(&l)?.transpose(1, 2)?.contiguous()?)?;
            assert!(off(&solve(&l, &x)?, &z)? < tolerance * d as f64);
            let loc = numbers(&[n, d], 3, dtype)?;
            let x = x.transpose(0, 1)?.broadcast_add(&loc)?;
            let want = z.sqr()?.sum(2)?.t()?.contiguous()?;
            let got = squared_distance(&x, &loc, &l)?;
            assert_eq!(got.dims(), [m, n]);
            assert!(off(&got, &want)? < 5. * tolerance * d as f64);
        }
    }
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let dtype = DType::F64;
    for [n, m, d] in [[1, 2, 4], [1, 9, 3], [2, 2, 3], [2, 6, 3]] {
        let inputs = [factor(&[n, d, d], dtype)?, numbers(&[n, m, d], 2, dtype)?];
        check(|t| solve(&t[0], &t[1]), &inputs)?;
        let x = numbers(&[m, n, d], 3, dtype)?;
        let inputs = [factor(&[n, d, d], dtype)?, x, numbers(&[n, d], 4, dtype)?];
        check(|t| squared_distance(&t[1], &t[2], &t[0]), &inputs)?;
    }
    // One loc for each value under one factor, and one factor for each.
    let x = numbers(&[5, 3], 2, dtype)?;
    for shape in [&[3, 3][..], &[5, 3, 3]] {
        let inputs = [
            factor(shape, dtype)?,
            x.clone(),
            numbers(&[5, 3], 4, dtype)?,
        ];
        check(|t| squared_distance(&t[1], &t[2], &t[0]), &inputs)?;
    }
    let root = factor(&[2, 4, 4], dtype)?;
    check(
        |t| cholesky(&t[0].matmul(&t[0].transpose(1, 2)?.contiguous()?)?),
        &[root],
    )
}

#[test]
fn a_cholesky_factor_makes_the_matrix() -> Result<()> {
    let root = lower(&factor(&[3, 5, 5], DType::F64)?)?;
    let a = root.matmul(&root.transpose(1, 2)?.contiguous()?)?;
    let l = cholesky(&a)?;
    assert!(off(&l.matmul(&l.transpose(1, 2)?.contiguous()?)?, &a)? < 1e-14);
    assert!(off(&lower(&l)?, &l)? == 0.);
    Ok(())
}

#[test]
fn empty_values_have_empty_distances() -> Result<()> {
    let l = factor(&[3, 3], DType::F32)?;
    let x = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
    let loc = numbers(&[3], 1, DType::F32)?;
    assert_eq!(squared_distance(&x, &loc, &l)?.dims(), [0]);
    let many = factor(&[2, 3, 3], DType::F32)?;
    let x = Tensor::zeros((0, 2, 3), DType::F32, &Device::Cpu)?;
    assert_eq!(squared_distance(&x, &loc, &many)?.dims(), [0, 2]);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let inputs = [
        factor(&[16, 16], DType::F32)?,
        numbers(&[3000, 16], 2, DType::F32)?,
    ];
    let run = |threads: usize| -> Result<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(candle_core::Error::wrap)?;
        pool.install(|| {
            let l = Var::from_tensor(&inputs[0])?;
            let loc = inputs[1].get(0)?;
            let y = squared_distance(&inputs[1], &loc, &l)?;
            let gradients = y.sum_all()?.backward()?;
            let gradient = gradients.get(&l).map(Tensor::flatten_all).transpose()?;
            let mut all = y.to_vec1::<f32>()?;
            all.extend(gradient.unwrap_or(y).to_vec1::<f32>()?);
            Ok(all)
        })
    };
    let one = run(1)?;
    assert!(one == run(2)? && one == run(3)?);
    Ok(())
}
