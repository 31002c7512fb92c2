//! Normal distributions on vectors of which some elements are missing, against sub-matrices of the covariance by hand.

use crate::support::flat;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{Distribution, MultivariateNormal, MultivariateNormalDiag};
use candle_prob::{Result, Rng};
use std::f64::consts::TAU;

const CPU: &Device = &Device::Cpu;

type Rows = Vec<Vec<f64>>;

fn normals(shape: &[usize], seed: u64) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, CPU)
}

/// Lower triangles with a positive diagonal.
fn triangles(shape: &[usize], seed: u64) -> Result<Tensor> {
    let d = shape[shape.len() - 1];
    let lower = Tensor::tril2(d, DType::F64, CPU)?;
    let below = (normals(shape, seed)? * 0.4)?.broadcast_mul(&lower)?;
    let eye = Tensor::eye(d, DType::F64, CPU)?;
    let diagonal = (normals(shape, seed + 1)?.abs()? + 0.5)?;
    let off = below.broadcast_mul(&(eye.ones_like()? - &eye)?)?;
    Ok((off + diagonal.broadcast_mul(&eye)?)?)
}

/// NaN in about half of the elements; the first row of all is complete, the last all missing.
fn holes(value: &Tensor, seed: u64) -> Result<Tensor> {
    let d = value.dims()[value.rank() - 1];
    let mut x = flat(value);
    let noise = flat(&normals(value.dims(), seed)?);
    let last = x.len() - d;
    for (i, x) in x.iter_mut().enumerate() {
        if i >= last || (i >= d && noise[i] > 0.) {
            *x = f64::NAN;
        }
    }
    Ok(Tensor::from_vec(x, value.shape(), CPU)?)
}

/// `a^-1 b` and ln det a, by elimination with pivots.
fn solve(mut a: Rows, mut b: Rows) -> (Rows, f64) {
    let n = a.len();
    let mut log_det = 0.;
    for k in 0..n {
        let best = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs()));
        let best = best.unwrap();
        a.swap(k, best);
        b.swap(k, best);
        log_det += a[k][k].abs().ln();
        let (pivot, right) = (a[k].clone(), b[k].clone());
        for i in (0..n).filter(|i| *i != k) {
            let factor = a[i][k] / pivot[k];
            let take = |(x, p): (&mut f64, &f64)| *x -= factor * p;
            a[i].iter_mut().zip(&pivot).for_each(take);
            b[i].iter_mut().zip(&right).for_each(take);
        }
    }
    for (k, row) in b.iter_mut().enumerate() {
        row.iter_mut().for_each(|x| *x /= a[k][k]);
    }
    (b, log_det)
}

/// Log-density, conditional mean and conditional covariance of one vector, from the whole covariance.
fn by_hand(x: &[f64], loc: &[f64], covariance: &Rows) -> (f64, Vec<f64>, Rows) {
    let d = x.len();
    let (seen, missing): (Vec<usize>, Vec<usize>) = (0..d).partition(|i| !x[*i].is_nan());
    let part = |rows: &[usize], columns: &[usize]| -> Rows {
        let row = |i: &usize| columns.iter().map(|j| covariance[*i][*j]).collect();
        rows.iter().map(row).collect()
    };
    let rest: Vec<f64> = seen.iter().map(|i| x[*i] - loc[*i]).collect();
    let right = rest.iter().zip(part(&seen, &missing));
    let right = right.map(|(r, row)| [vec![*r], row].concat()).collect();
    let (solved, log_det) = solve(part(&seen, &seen), right);
    let square: f64 = rest.iter().zip(&solved).map(|(r, s)| r * s[0]).sum();
    let log_prob = -0.5 * (square + log_det + seen.len() as f64 * TAU.ln());
    let (mut mean, mut within) = (x.to_vec(), vec![vec![0.; d]; d]);
    for i in &missing {
        let along = |k: usize| -> f64 {
            let pairs = seen.iter().zip(&solved);
            pairs.map(|(o, s)| covariance[*i][*o] * s[k]).sum()
        };
        mean[*i] = loc[*i] + along(0);
        for (k, j) in missing.iter().enumerate() {
            within[*i][*j] = covariance[*i][*j] - along(k + 1);
        }
    }
    (log_prob, mean, within)
}

fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let near = (got - want).abs() <= tolerance * want.abs().max(1.);
        assert!(near, "{what}: {got}, expected {want}");
    }
}

/// Shapes of value, loc and scale_tril: one distribution, several, and batches that broadcast either way.
const SHAPES: [[&[usize]; 3]; 7] = [
    [&[1], &[1], &[1, 1]],
    [&[40, 2], &[2], &[2, 2]],
    [&[5], &[5], &[5, 5]],
    [&[6, 3, 4], &[4], &[3, 4, 4]],
    [&[7, 3, 4], &[3, 4], &[4, 4]],
    [&[2, 3, 5, 4], &[5, 4], &[3, 1, 4, 4]],
    [&[9, 17], &[9, 17], &[1, 17, 17]],
];

#[test]
fn marginals_and_conditionals_are_those_of_sub_matrices() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-6)] {
        for [value, loc, scale] in SHAPES {
            let d = value[value.len() - 1];
            let cast = |t: Tensor| t.to_dtype(dtype);
            let loc = cast(normals(loc, 1)?)?;
            let scale_tril = cast(triangles(scale, 2)?)?;
            let x = cast(holes(&normals(value, 4)?, 5)?)?;
            let normal = MultivariateNormal::new(&loc, &scale_tril)?;
            let full = &value[..value.len() - 1];
            let (log_prob, mean, covariance) = (
                normal.log_prob_observed(&x)?,
                normal.conditional_mean(&x)?,
                normal.conditional_covariance(&x)?,
            );
            assert_eq!(log_prob.dims(), full);
            assert_eq!(mean.dims(), value);
            assert_eq!(covariance.dims(), [full, &[d, d]].concat());
            assert!(
                [&log_prob, &mean, &covariance]
                    .iter()
                    .all(|t| t.dtype() == dtype)
            );
            // Row by row, from the f64 covariance of the parameters as they are.
            let expand = |t: &Tensor, event: &[usize]| -> Result<Vec<f64>> {
                let shape = [full, event].concat();
                Ok(flat(
                    &t.to_dtype(DType::F64)?.broadcast_as(shape)?.contiguous()?,
                ))
            };
            let (loc, root) = (expand(&loc, &[d])?, expand(&scale_tril, &[d, d])?);
            let (x, log_prob) = (flat(&x), flat(&log_prob));
            let (mean, covariance) = (flat(&mean), flat(&covariance));
            for (row, log_prob) in log_prob.iter().enumerate() {
                let root: Rows = root[row * d * d..][..d * d]
                    .chunks(d)
                    .map(<[f64]>::to_vec)
                    .collect();
                let dot =
                    |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
                let whole: Rows = root
                    .iter()
                    .map(|a| root.iter().map(|b| dot(a, b)).collect())
                    .collect();
                let x = &x[row * d..][..d];
                let want = by_hand(x, &loc[row * d..][..d], &whole);
                let what = format!("{dtype:?} {value:?} row {row}");
                close(&[*log_prob], &[want.0], tolerance * 10., &what);
                close(&mean[row * d..][..d], &want.1, tolerance, &what);
                let want = want.2.concat();
                close(&covariance[row * d * d..][..d * d], &want, tolerance, &what);
                if x.iter().all(|x| x.is_nan()) {
                    assert_eq!(log_prob.to_bits(), 0, "{what}");
                }
            }
        }
    }
    Ok(())
}

/// Where nothing is missing: the density of `log_prob`, the values as they are, and no covariance.
#[test]
fn complete_vectors_have_the_density_of_all_elements() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
        for count in [3, 500] {
            let loc = normals(&[16], 1)?.to_dtype(dtype)?;
            let scale_tril = triangles(&[16, 16], 2)?.to_dtype(dtype)?;
            let x = normals(&[count, 16], 3)?.to_dtype(dtype)?;
            let normal = MultivariateNormal::new(&loc, &scale_tril)?;
            let (got, want) = (normal.log_prob_observed(&x)?, normal.log_prob(&x)?);
            close(&flat(&got), &flat(&want), tolerance, "log_prob");
            assert_eq!(flat(&normal.conditional_mean(&x)?), flat(&x));
            assert!(
                flat(&normal.conditional_covariance(&x)?)
                    .iter()
                    .all(|c| *c == 0.)
            );
        }
    }
    Ok(())
}

/// Batches of one dim and of another, in `log_prob` too.
#[test]
fn a_batch_of_factors_broadcasts_in_the_middle() -> Result<()> {
    for [value, loc, scale] in SHAPES {
        let normal = MultivariateNormal::new(&normals(loc, 1)?, &triangles(scale, 2)?)?;
        let x = normals(value, 3)?;
        let (got, want) = (normal.log_prob_observed(&x)?, normal.log_prob(&x)?);
        assert_eq!(got.dims(), want.dims());
        close(&flat(&got), &flat(&want), 1e-13, "log_prob");
    }
    Ok(())
}

type Ask<'a> = &'a dyn Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>;

/// Gradients to value, loc and scale_tril of a weighted sum against central differences, element by element; those to
/// missing elements and to what is above the diagonal are 0.
fn check_gradients(name: &str, ask: Ask, [x, loc, scale]: [&Tensor; 3]) -> Result<()> {
    let weights = normals(ask(x, loc, scale)?.dims(), 30)?;
    let loss = |x: &Tensor, loc: &Tensor, scale: &Tensor| -> Result<Tensor> {
        Ok((ask(x, loc, scale)? * &weights)?.sum_all()?)
    };
    let vars = [x, loc, scale].map(Var::from_tensor);
    let [a, b, c] = vars;
    let vars = [a?, b?, c?];
    let gradients = loss(&vars[0], &vars[1], &vars[2])?.backward()?;
    let d = x.dims()[x.rank() - 1];
    for (k, var) in vars.iter().enumerate() {
        let Some(gradient) = gradients.get(var) else {
            assert!(
                name == "covariance" || name == "diagonal mean",
                "{name} {k}"
            );
            continue;
        };
        let (gradient, start) = (flat(gradient), flat(var));
        for (i, gradient) in gradient.iter().enumerate() {
            let above = k == 2 && scale.rank() > loc.rank() && i % d > i / d % d;
            if start[i].is_nan() || above {
                assert_eq!(*gradient, 0., "{name} {k} {i}");
                continue;
            }
            let at = |step: f64| -> Result<f64> {
                let mut moved = start.clone();
                moved[i] += step;
                let moved = Tensor::from_vec(moved, var.shape(), CPU)?;
                let mut inputs = [x, loc, scale];
                inputs[k] = &moved;
                Ok(loss(inputs[0], inputs[1], inputs[2])?.to_scalar()?)
            };
            let want = (at(1e-5)? - at(-1e-5)?) / 2e-5;
            let near = (gradient - want).abs() <= 1e-7 * want.abs().max(1.);
            assert!(near, "{name} {k} {i}: {gradient}, expected {want}");
        }
    }
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let normal = MultivariateNormal::new_unchecked;
    let asks: [(&str, Ask); 3] = [
        ("log_prob", &|x, m, l| normal(m, l)?.log_prob_observed(x)),
        ("mean", &|x, m, l| normal(m, l)?.conditional_mean(x)),
        ("covariance", &|x, m, l| {
            normal(m, l)?.conditional_covariance(x)
        }),
    ];
    for [value, loc, scale] in &SHAPES[..6] {
        let x = holes(&normals(value, 4)?, 5)?;
        let (loc, scale) = (normals(loc, 1)?, triangles(scale, 2)?);
        for (name, ask) in asks {
            check_gradients(name, ask, [&x, &loc, &scale])?;
        }
    }
    Ok(())
}

/// Elements that are nearly the same: what is left of one given the other is a difference of products that rounding would
/// hide.
#[test]
fn close_elements_keep_their_digits() -> Result<()> {
    let scale_tril = Tensor::new(&[[1f64, 0.], [1., 1e-9]], CPU)?;
    let normal = MultivariateNormal::new(&Tensor::zeros(2, DType::F64, CPU)?, &scale_tril)?;
    let x = Tensor::new(&[[2., f64::NAN], [f64::NAN, 2.]], CPU)?;
    let covariance = flat(&normal.conditional_covariance(&x)?);
    close(
        &[covariance[3] * 1e18, covariance[4] * 1e18],
        &[1., 1.],
        1e-6,
        "covariance",
    );
    close(
        &flat(&normal.conditional_mean(&x)?),
        &[2.; 4],
        1e-15,
        "mean",
    );
    // Both observed: the second is 3e-9 away from the first.
    let both = Tensor::new(&[2., 2. + 3e-9], CPU)?;
    let got = flat(&normal.log_prob_observed(&both)?)[0];
    let want = -0.5 * (4. + 9.) - 1e-9f64.ln() - TAU.ln();
    assert!((got - want).abs() < 1e-5, "{got} {want}");
    Ok(())
}

#[test]
fn the_diagonal_family_agrees_with_the_full_one() -> Result<()> {
    let (loc, scale) = (normals(&[3, 5], 1)?, (normals(&[3, 5], 2)?.abs()? + 0.3)?);
    let x = holes(&normals(&[8, 3, 5], 3)?, 4)?;
    let full = scale
        .unsqueeze(2)?
        .broadcast_mul(&Tensor::eye(5, DType::F64, CPU)?)?;
    let full = MultivariateNormal::new(&loc, &full)?;
    for normal in [
        MultivariateNormalDiag::new(&loc, &scale)?,
        MultivariateNormalDiag::from_log_var(&loc, &(scale.log()? * 2.)?)?,
    ] {
        let (got, want) = (normal.log_prob_observed(&x)?, full.log_prob_observed(&x)?);
        assert_eq!(got.dims(), [8, 3]);
        close(&flat(&got), &flat(&want), 1e-13, "log_prob");
        assert_eq!(flat(&got)[23].to_bits(), 0);
        let (got, want) = (normal.conditional_mean(&x)?, full.conditional_mean(&x)?);
        close(&flat(&got), &flat(&want), 1e-15, "mean");
        let complete = normals(&[8, 3, 5], 3)?;
        let (got, want) = (
            normal.log_prob_observed(&complete)?,
            normal.log_prob(&complete)?,
        );
        close(&flat(&got), &flat(&want), 1e-14, "complete");
    }
    let normal = MultivariateNormalDiag::new_unchecked;
    let asks: [(&str, Ask); 2] = [
        ("diagonal log_prob", &|x, m, s| {
            normal(m, s)?.log_prob_observed(x)
        }),
        ("diagonal mean", &|x, m, s| {
            normal(m, s)?.conditional_mean(x)
        }),
    ];
    for (name, ask) in asks {
        check_gradients(name, ask, [&x, &loc, &scale])?;
    }
    // In single precision a pattern in every row.
    let single = |t: &Tensor| t.to_dtype(DType::F32);
    let normal = MultivariateNormalDiag::new(&single(&loc)?, &single(&scale)?)?;
    let (got, want) = (
        normal.log_prob_observed(&single(&x)?)?,
        full.log_prob_observed(&x)?,
    );
    close(&flat(&got), &flat(&want), 1e-5, "f32");
    Ok(())
}

/// Many rows of few patterns and of many, in value and gradients.
#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let (loc, scale) = (normals(&[6], 1)?, triangles(&[6, 6], 2)?);
    let x = holes(&normals(&[3000, 6], 3)?, 4)?;
    let run = |threads: usize| -> Result<Vec<u64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let scale = Var::from_tensor(&scale)?;
            let normal = MultivariateNormal::new(&loc, &scale)?;
            let (log_prob, mean) = (normal.log_prob_observed(&x)?, normal.conditional_mean(&x)?);
            let loss = (log_prob.sum_all()? + mean.sum_all()?)?;
            let gradient = loss.backward()?.get(&scale).map(flat).unwrap_or_default();
            assert!(gradient.iter().any(|g| *g != 0.));
            let all = [flat(&log_prob), flat(&mean), gradient].concat();
            Ok(all.iter().map(|x| x.to_bits()).collect())
        })
    };
    let one = run(1)?;
    assert!(one == run(2)? && one == run(3)?);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_taken() -> Result<()> {
    let normal = MultivariateNormal::new(&normals(&[2, 3], 1)?, &triangles(&[3, 3], 2)?)?;
    let diagonal = MultivariateNormalDiag::new(
        &normals(&[2, 3], 1)?,
        &Tensor::ones((2, 3), DType::F64, CPU)?,
    )?;
    type Ask<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
    let asks: [(&str, Ask); 5] = [
        ("MultivariateNormal::log_prob_observed", &|x| {
            normal.log_prob_observed(x)
        }),
        ("MultivariateNormal::conditional_mean", &|x| {
            normal.conditional_mean(x)
        }),
        ("MultivariateNormal::conditional_covariance", &|x| {
            normal.conditional_covariance(x)
        }),
        ("MultivariateNormalDiag::log_prob_observed", &|x| {
            diagonal.log_prob_observed(x)
        }),
        ("MultivariateNormalDiag::conditional_mean", &|x| {
            diagonal.conditional_mean(x)
        }),
    ];
    for (op, ask) in asks {
        for (x, text) in [
            (normals(&[2, 4], 1)?, "[2, 4]"),
            (normals(&[5, 3], 1)?, "[5, 3]"),
            (normals(&[2, 3], 1)?.to_dtype(DType::F32)?, "F32"),
        ] {
            let error = ask(&x).unwrap_err().to_string();
            assert!(error.contains(op) && error.contains("value"), "{error}");
            assert!(error.to_uppercase().contains(text), "{error}");
        }
        let empty = ask(&normals(&[0, 2, 3], 1)?)?;
        assert_eq!(empty.dims()[..2], [0, 2], "{op}");
    }
    Ok(())
}
