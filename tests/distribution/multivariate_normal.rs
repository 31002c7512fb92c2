//! The multivariate normal in single precision, far from the unit covariance.

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{Distribution, LowRankMultivariateNormal, MultivariateNormal};
use candle_prob::{Result, Rng};
use std::cmp::Ordering;

const CPU: &Device = &Device::Cpu;
const D: usize = 64;

/// Whether the scales, from 1 to 1e-4, are those of the rows, which rounding does not mix, or of the columns: there the
/// values' last elements hold small deviations beside large ones.
#[derive(Clone, Copy, Debug)]
enum Scales {
    Rows,
    Columns,
}

/// A lower triangle with a condition number of 1e4 or more.
fn triangle(scales: Scales) -> Result<Tensor> {
    let mut rows = Rng::new(1)
        .normal((D, D), DType::F64, CPU)?
        .to_vec2::<f64>()?;
    for (i, row) in rows.iter_mut().enumerate() {
        for (j, x) in row.iter_mut().enumerate() {
            let place = match scales {
                Scales::Rows => i,
                Scales::Columns => j,
            };
            let scale = 10f64.powf(-4. * place as f64 / (D - 1) as f64);
            *x = match j.cmp(&i) {
                Ordering::Less => 0.1 * scale * *x,
                Ordering::Equal => scale,
                Ordering::Greater => 0.,
            };
        }
    }
    Ok(Tensor::new(rows, CPU)?)
}

/// Log-densities and the gradients to value, mean and factor.
fn results(x: &Tensor, loc: &Tensor, root: &Tensor, dtype: DType) -> Result<Vec<Vec<f64>>> {
    let vars = [x, loc, root].map(|t| t.to_dtype(dtype).and_then(|t| Var::from_tensor(&t)));
    let [x, loc, root] = vars;
    let (x, loc, root) = (x?, loc?, root?);
    let y = MultivariateNormal::new(&loc, &root)?.log_prob(&x)?;
    let gradients = y.sum_all()?.backward()?;
    let slopes = [&x, &loc, &root].map(|var| gradients.get(var).map(flat).unwrap_or_default());
    Ok([vec![flat(&y)], slopes.to_vec()].concat())
}

/// The same singles in f32 and in f64: few values (substitution) and many (a product with the inverse).
#[test]
fn single_precision_loses_the_condition_number_at_most() -> Result<()> {
    for (scales, bound) in [(Scales::Rows, 1e-5), (Scales::Columns, 2e-3)] {
        let root = triangle(scales)?.to_dtype(DType::F32)?;
        let loc = Rng::new(2).normal(D, DType::F32, CPU)?;
        for count in [3, 500] {
            let noise = Rng::new(3).normal((count, D), DType::F32, CPU)?;
            let x = noise
                .matmul(&root.t()?.contiguous()?)?
                .broadcast_add(&loc)?;
            let got = results(&x, &loc, &root, DType::F32)?;
            let want = results(&x, &loc, &root, DType::F64)?;
            let names = ["log_prob", "value", "loc", "scale_tril"];
            for (name, (got, want)) in names.iter().zip(got.iter().zip(&want)) {
                let size = want.iter().fold(0f64, |size, x| size.max(x.abs()));
                let gaps = got.iter().zip(want).map(|(x, y)| (x - y).abs());
                let off = gaps.fold(0., f64::max) / size;
                println!("{scales:?} {count} {name}: {off:e}");
                assert!(off <= bound, "{scales:?} {count} {name}: {off:e}");
            }
        }
    }
    Ok(())
}

/// An infinite element is infinitely far; NaN stays.
#[test]
fn at_infinity() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let tensor = |x: &[f64], shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::from_slice(x, shape, &Device::Cpu)?.to_dtype(dtype)?)
        };
        let loc = tensor(&[0.5, -0.5], &[2])?;
        let x = [
            f64::INFINITY,
            1.,
            1.,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::INFINITY,
            0.,
            0.,
        ];
        let x = tensor(&x, &[4, 2])?;
        let full = MultivariateNormal::new(&loc, &tensor(&[1., 0., 0.5, 2.], &[2, 2])?)?;
        let factor = tensor(&[0.5, 0.25], &[2, 1])?;
        let low = LowRankMultivariateNormal::new(&loc, &factor, &loc.ones_like()?)?;
        for log_prob in [full.log_prob(&x)?, low.log_prob(&x)?] {
            let got = log_prob.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            assert_eq!(got[..2], [f64::NEG_INFINITY; 2]);
            assert!(got[2].is_nan() && got[3].is_finite(), "{got:?}");
        }
    }
    Ok(())
}
