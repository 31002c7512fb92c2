//! The losses of vector quantization: reference values, and which gradient goes where.

use crate::support::golden::{self, file, list};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_prob::objective::vq;
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

/// The reference has means over all elements, and straight-through gradients beside, which are left out of its rows' here.
#[test]
fn parts_and_gradients_are_those_of_the_reference() -> Result<()> {
    let all = file(include_str!("../golden/vae.json"));
    let case = &all["vq_vae"];
    let numbers = |name: &str| -> Vec<f64> { list(&case[name]).into_iter().flatten().collect() };
    let beta = case["beta"].as_f64().unwrap();
    for dtype in [DType::F64, DType::F32] {
        let tolerance = all["tolerance"][dtype.as_str()].as_f64().unwrap();
        let tensor = |name: &str, rows: usize| -> Result<Tensor> {
            Ok(Tensor::from_vec(numbers(name), (rows, 3), CPU)?.to_dtype(dtype)?)
        };
        let index: Vec<u32> = numbers("indices").iter().map(|i| *i as u32).collect();
        let z = Var::from_tensor(&tensor("z_e", 7)?)?;
        let codebook = Var::from_tensor(&tensor("codebook", 4)?)?;
        let codes = codebook.index_select(&Tensor::new(index, CPU)?, 0)?;
        let parts = vq(&z, &codes, beta)?;
        assert_eq!(parts.total.dims(), [7]);
        let mean = |part: &Tensor| -> Result<f64> {
            Ok(part.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()? / 3.)
        };
        for (part, name) in [
            (&parts.codebook, "codebook_loss"),
            (&parts.commitment, "commitment_loss"),
            (&parts.total, "loss"),
        ] {
            let want = case[name].as_f64().unwrap();
            golden::check(name, mean(part)?, want, 1., dtype, tolerance);
        }
        let gradients = (parts.total.sum_all()? / 21.)?.backward()?;
        let upstream = tensor("upstream", 7)?;
        let rows = (gradients.get(&z).unwrap() + &upstream)?;
        let book = gradients.get(&codebook).unwrap().clone();
        for (got, name) in [(rows, "grad_z_e"), (book, "grad_codebook")] {
            let got = crate::support::floats(&got)?;
            for (got, want) in got.into_iter().zip(numbers(name)) {
                golden::check(name, got, want, 1., dtype, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn the_first_part_moves_codes_and_the_second_rows() -> Result<()> {
    let mut rng = Rng::new(1);
    let z = rng.normal((2, 5, 3), DType::F64, CPU)?;
    let e = rng.normal((2, 5, 3), DType::F64, CPU)?;
    check_gradient(
        &|x| Ok(vq(&z, &x[0], 0.3)?.codebook),
        std::slice::from_ref(&e),
        1e-8,
    )?;
    check_gradient(
        &|x| Ok(vq(&x[0], &e, 0.3)?.commitment),
        std::slice::from_ref(&z),
        1e-8,
    )?;
    let (rows, codes) = (Var::from_tensor(&z)?, Var::from_tensor(&e)?);
    let parts = vq(&rows, &codes, 0.3)?;
    assert!(parts.codebook.backward()?.get(&rows).is_none());
    assert!(parts.commitment.backward()?.get(&codes).is_none());
    let square = (&z - &e)?.sqr()?.sum(D::Minus1)?;
    let off = (parts.total - (square * 1.3)?)?.abs()?.max_all()?;
    assert!(off.to_scalar::<f64>()? < 1e-12);
    // A batch without rows.
    let none = Var::zeros((0, 3), DType::F32, CPU)?;
    assert_eq!(vq(&none, &none.detach(), 1.)?.total.dims(), [0]);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let z = Tensor::zeros((4, 3), DType::F64, CPU)?;
    assert!(vq(&z, &z.narrow(0, 0, 2)?, 0.25).is_err());
    assert!(vq(&z, &z.to_dtype(DType::F32)?, 0.25).is_err());
    assert!(vq(&z, &z, -1.).is_err());
    assert!(vq(&z, &z, f64::NAN).is_err());
    Ok(())
}
