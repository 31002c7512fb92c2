//! Supports of a given size: one by one, and by exchanges.

use candle_core::{DType, Device, Tensor};
use candle_prob::select::{Csr, LeastSquares, Preparation, Problem, forward, splice};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!(
        (a - b).abs() <= tolerance * b.abs().max(1.),
        "{what}: {a} is not {b}"
    );
}

fn loss(problem: &Problem, support: &[usize]) -> Result<f64> {
    Ok(LeastSquares::on(problem, support)?.loss)
}

/// Every feature that was taken lowers the loss more than any other would have.
#[test]
fn forward_selection_takes_the_best() -> Result<()> {
    for (seed, dtype) in [(0, DType::F64), (1, DType::F64), (2, DType::F32)] {
        let mut rng = Rng::new(seed);
        let x = rng.normal((30, 20), dtype, CPU)?;
        let noise = rng.normal((30, 2), dtype, CPU)?;
        let y = ((x.narrow(1, 0, 2)? + (x.narrow(1, 5, 2)? * 2.)?)? + noise)?;
        let weights = Some(rng.uniform(30, DType::F64, CPU)?);
        let how = Preparation {
            weights,
            standardize: true,
        };
        let problem = Problem::regression(&x, &y, &how)?;
        let found = forward(&problem, 6)?;
        assert_eq!((found.order.len(), found.losses.len()), (6, 7));
        close(
            found.losses[0],
            loss(&problem, &[])?,
            1e-6,
            "loss without features",
        );
        for m in 0..6 {
            let taken = &found.order[..m];
            close(
                found.losses[m + 1],
                loss(&problem, &found.order[..=m])?,
                1e-5,
                "loss",
            );
            for j in (0..20).filter(|j| !taken.contains(j)) {
                let other = loss(&problem, &[taken, &[j]].concat())?;
                assert!(other >= found.losses[m + 1] * (1. - 1e-5), "{m}: {j}");
            }
        }
        // The first of them do not depend on how many there are to be.
        assert_eq!(forward(&problem, 3)?.order, found.order[..3]);
    }
    Ok(())
}

/// Copies and constants explain nothing more, from tensors and from sparse rows.
#[test]
fn forward_selection_ends_where_all_is_explained() -> Result<()> {
    let x = Rng::new(4).normal((20, 2), DType::F32, CPU)?;
    let y = (x.narrow(1, 0, 1)? + x.narrow(1, 1, 1)?)?;
    let constant = Tensor::full(3f32, (20, 1), CPU)?;
    let copies = Tensor::cat(&[&x, &(&x * -2.)?, &constant], 1)?;
    let entries = copies.flatten_all()?.to_vec1::<f32>()?;
    let columns = (0..100).map(|k| k % 5).collect();
    let csr = Csr::new(5, (0..=20).map(|n| 5 * n).collect(), columns, entries)?;
    let how = Preparation::default();
    for problem in [
        Problem::regression(&copies, &y, &how)?,
        Problem::regression(&csr, &y, &how)?,
    ] {
        let found = forward(&problem, 5)?;
        assert_eq!(found.order.len(), 2, "{found:?}");
        assert!(found.losses[2] < 1e-8 * found.losses[0], "{found:?}");
    }
    let problem = Problem::regression(&copies, &y, &how)?;
    for k in [0, 6] {
        let error = forward(&problem, k).unwrap_err().to_string();
        assert!(error.contains("select::forward: k"), "{error}");
        assert!(error.contains("1 to 5 features"), "{error}");
    }
    Ok(())
}

/// f32 products that are not finite.
#[test]
fn data_beyond_their_dtype_are_refused() -> Result<()> {
    let x = (Rng::new(6).normal((30, 8), DType::F32, CPU)? * 1e38)?;
    let y = x.narrow(1, 0, 1)?.affine(1e-38, 0.)?;
    let problem = Problem::regression(&x, &y, &Preparation::default())?;
    let found = [
        forward(&problem, 3).map(|_| ()),
        splice(&problem, &[1, 2], 9).map(|_| ()),
    ];
    for found in found {
        let error = found.unwrap_err().to_string();
        assert!(error.contains("finite sums"), "{error}");
    }
    Ok(())
}

/// A copy in the support is the one to go, and its exchange is found.
#[test]
fn splicing_exchanges_what_others_explain() -> Result<()> {
    let mut rng = Rng::new(5);
    let x = rng.normal((40, 6), DType::F64, CPU)?;
    let noise = (rng.normal((40, 1), DType::F64, CPU)? * 0.1)?;
    let y = ((x.narrow(1, 0, 1)? + x.narrow(1, 3, 1)?)? + noise)?;
    let x = Tensor::cat(&[&x, &x.narrow(1, 0, 1)?], 1)?;
    let problem = Problem::regression(&x, &y, &Preparation::default())?;
    for support in [[0, 6], [6, 0]] {
        let spliced = splice(&problem, &support, 10)?;
        assert!(spliced.certified && spliced.losses.len() == 2);
        let found = &spliced.solution.support;
        assert!(found == &[0, 3] || found == &[3, 6], "{found:?}");
    }
    Ok(())
}

/// The certificate against every exchange, refitted by the normal equations; and the loss only falls on the way.
#[test]
fn splicing_ends_where_no_exchange_helps() -> Result<()> {
    let (mut exchanges, start) = (0, [8, 9, 10, 11, 12]);
    for seed in 0..10 {
        let dtype = [DType::F64, DType::F32][seed as usize % 2];
        let mut rng = Rng::new(seed);
        // Features that share much, so that what one explains depends on the others.
        let mix = (rng.normal((14, 14), DType::F64, CPU)? + 0.5)?;
        let x = rng.normal((25, 14), DType::F64, CPU)?.matmul(&mix)?;
        let noise = rng.normal((25, 2), DType::F64, CPU)?;
        let y = (x.narrow(1, 0, 2)? + x.narrow(1, 5, 2)? + noise)?;
        let (a, b) = (x.to_dtype(dtype)?, y.to_dtype(dtype)?);
        let problem = Problem::regression(&a, &b, &Preparation::default())?;
        let spliced = splice(&problem, &start, 100)?;
        assert!(spliced.certified);
        assert!(spliced.losses.windows(2).all(|w| w[1] < w[0]));
        exchanges += spliced.losses.len() - 1;
        let rows = |t: &Tensor| t.broadcast_sub(&t.mean_keepdim(0)?)?.t()?.to_vec2::<f64>();
        let (x, y) = (rows(&x)?, rows(&y)?);
        let loss = |support: &[usize]| {
            // Gauss-Jordan on the normal equations beside the targets' products.
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let k = support.len();
            let mut m: Vec<Vec<f64>> = support
                .iter()
                .map(|i| {
                    let own = support.iter().map(|j| dot(&x[*i], &x[*j]));
                    own.chain(y.iter().map(|y| dot(&x[*i], y))).collect()
                })
                .collect();
            for p in 0..k {
                let pivot = m[p].clone();
                for (i, row) in m.iter_mut().enumerate() {
                    let factor = if i == p {
                        1. - 1. / pivot[p]
                    } else {
                        row[p] / pivot[p]
                    };
                    row.iter_mut()
                        .zip(&pivot)
                        .for_each(|(a, b)| *a -= factor * b);
                }
            }
            let mut total = 0.;
            for (c, y) in y.iter().enumerate() {
                for n in 0..y.len() {
                    let fit: f64 = (0..k).map(|i| m[i][k + c] * x[support[i]][n]).sum();
                    total += 0.5 * (y[n] - fit).powi(2);
                }
            }
            total
        };
        close(
            spliced.solution.loss,
            loss(&spliced.solution.support),
            1e-5,
            "loss",
        );
        for out in 0..5 {
            for into in 0..14 {
                if !spliced.solution.support.contains(&into) {
                    let mut other = spliced.solution.support.clone();
                    other[out] = into;
                    assert!(
                        loss(&other) >= spliced.solution.loss * (1. - 1e-5),
                        "{other:?}"
                    );
                }
            }
        }
        let first = splice(&problem, &start, 1)?;
        assert!(first.losses.len() <= 2 && first.certified == (spliced.losses.len() <= 2));
        for support in [&[][..], &[1, 1], &[14]] {
            let error = splice(&problem, support, 5).unwrap_err().to_string();
            assert!(error.contains("select::splice: support"), "{error}");
        }
    }
    assert!(exchanges > 20, "{exchanges}");
    Ok(())
}
