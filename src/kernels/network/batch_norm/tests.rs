//! The node beside candle's operations.

use super::*;
use crate::kernels::random::{Stream, normals};
use candle_core::{Device, Var};

const SHAPES: [&[usize]; 9] = [
    &[7, 5],
    &[1000, 33],
    &[2, 1],
    &[3, 16, 1, 1],
    &[4, 5, 3, 6],
    &[40, 20, 14, 14],
    &[2, 3, 9000],
    &[1, 2, 4, 4],
    &[600, 3, 2],
];

fn numbers(shape: &[usize], seed: u64) -> Result<Tensor> {
    let stream = Stream { key: seed, draw: 0 };
    let x = normals(stream, shape.iter().product());
    Ok((Tensor::from_vec(x, shape, &Device::Cpu)? + 0.3)?)
}

fn list(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[track_caller]
fn close(got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims());
    let (got, want) = (list(got)?, list(want)?);
    let scale = want.iter().fold(1f64, |s, w| s.max(w.abs()));
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= tolerance * scale, "{got}, not {want}");
    }
    Ok(())
}

/// The result, then the gradients of x, gain and shift that are asked for.
fn run(
    [x, gain, shift]: &[Tensor; 3],
    moments: Option<&[Tensor; 2]>,
    (affine, activation): (bool, Activation),
    node: bool,
) -> Result<Vec<Tensor>> {
    let [x, gain, shift] = [x, gain, shift].map(Var::from_tensor);
    let (x, gain, shift) = (x?, gain?, shift?);
    let settings = Settings {
        affine: affine.then_some((gain.as_tensor(), shift.as_tensor())),
        epsilon: 1e-3,
        activation,
    };
    let y = match (moments, node) {
        (None, true) => by_batch(&x, settings)?.0,
        (None, false) => composed::by_batch(&x, settings)?.0,
        (Some(m), true) => by_moments(&x, m.each_ref(), settings)?,
        (Some(m), false) => composed::by_moments(&x, m.each_ref(), settings)?,
    };
    let weights = numbers(y.dims(), 9)?.to_dtype(y.dtype())?;
    let store = (&y * weights)?.sum_all()?.backward()?;
    let mut out = vec![y.detach()];
    for (i, var) in [x, gain, shift].iter().enumerate() {
        match store.get(var) {
            Some(gradient) => out.push(gradient.clone()),
            None => assert!(i > 0 && !affine),
        }
    }
    Ok(out)
}

#[test]
fn the_node_is_the_composed_expression() -> Result<()> {
    for shape in SHAPES {
        let c = shape[1];
        let tensors = [
            (numbers(shape, 1)? * 2.)?,
            numbers(&[c], 2)?,
            numbers(&[c], 3)?,
        ];
        let wide = [&tensors[0], &tensors[1], &tensors[2]].map(|t| t.to_dtype(DType::F64));
        let [a, b, d] = wide;
        let wide = [a?, b?, d?];
        let given = [numbers(&[c], 4)?, numbers(&[c], 5)?.abs()?];
        for (affine, activation) in [
            (true, Activation::Identity),
            (false, Activation::Tanh),
            (true, Activation::Relu),
            (true, Activation::LeakyRelu(0.2)),
            (true, Activation::LeakyRelu(-0.5)),
            (true, Activation::Silu),
        ] {
            for moments in [None, Some(&given)] {
                let options = (affine, activation);
                let got = run(&tensors, moments, options, true)?;
                let want = run(&wide, moments, options, false)?;
                assert_eq!(got.len(), want.len());
                for (got, want) in got.iter().zip(&want) {
                    close(got, want, 2e-5)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn moments_are_those_of_f64_whatever_the_mean() -> Result<()> {
    for shape in SHAPES {
        for mean in [0., 1e4, -3e6] {
            let x = (numbers(shape, 1)? + mean)?;
            let settings = Settings {
                affine: None,
                epsilon: 1e-5,
                activation: Activation::Identity,
            };
            let (_, got) = by_batch(&x, settings)?;
            let (_, want) = composed::by_batch(&x.to_dtype(DType::F64)?, settings)?;
            let [got, want] = [got, want].map(|m| (list(&m.mean), list(&m.variance), m.values));
            assert_eq!(got.2, want.2);
            for (got, want) in got.0?.iter().zip(want.0?) {
                // A lane adds up to 512 differences of up to 4 standard deviations: 2^-24 sqrt(512) 4 / sqrt(12) at the
                // standard error of rounding, and no more than a block's share of it in the mean.
                assert!(
                    (got - want).abs() <= 1.6e-6 * want.abs().max(1.),
                    "{got}, not {want}"
                );
            }
            for (got, want) in got.1?.iter().zip(want.1?) {
                assert!(
                    (got - want).abs() <= 3e-6 * want,
                    "{got}, not {want} at {mean}"
                );
            }
        }
    }
    Ok(())
}

/// One value for all and an outlier, or noise far from what comes first, in images and in rows.
#[test]
fn an_outlier_that_comes_first_leaves_the_variance_its_digits() -> Result<()> {
    let first = |x: Vec<f32>, by: f32, shape: &[usize]| -> Result<Tensor> {
        let mut x = x;
        x[..if shape.len() == 2 { shape[1] } else { 1 }].fill(by);
        Ok(Tensor::from_vec(x, shape, &Device::Cpu)?)
    };
    let even = [1, 1, 256, 256];
    let mut all = vec![first(vec![6.4; 1 << 16], 44.8, &even)?];
    for shape in [
        &[1, 1, 256, 256][..],
        &[1, 3, 40, 40],
        &[5000, 3],
        &[700, 20],
    ] {
        let noise = (numbers(shape, 1)? * 0.37)?;
        all.push(first(noise.flatten_all()?.to_vec1()?, 7., shape)?);
    }
    for x in all {
        let settings = Settings {
            affine: None,
            epsilon: 1e-5,
            activation: Activation::Identity,
        };
        let (_, got) = by_batch(&x, settings)?;
        let (_, want) = composed::by_batch(&x.to_dtype(DType::F64)?, settings)?;
        let close = |got: &Tensor, want: &Tensor, scale: &[f64]| -> Result<()> {
            for ((got, want), scale) in list(got)?.iter().zip(list(want)?).zip(scale) {
                let what = x.dims();
                assert!(
                    (got - want).abs() <= 3e-6 * scale,
                    "{got}, not {want}: {what:?}"
                );
            }
            Ok(())
        };
        let scale = list(&want.variance)?;
        close(&got.variance, &want.variance, &scale)?;
        let scale: Vec<f64> = scale.iter().map(|v| v.sqrt().max(7.)).collect();
        close(&got.mean, &want.mean, &scale)?;
    }
    Ok(())
}

#[test]
fn strided_and_empty_batches() -> Result<()> {
    let x = numbers(&[6, 3, 4, 5], 1)?;
    let view = x.permute((0, 3, 1, 2))?;
    let options = (true, Activation::Relu);
    let tensors = |x: &Tensor| -> Result<[Tensor; 3]> {
        Ok([x.clone(), numbers(&[5], 2)?, numbers(&[5], 3)?])
    };
    let given = [numbers(&[5], 4)?, numbers(&[5], 5)?.abs()?];
    for moments in [None, Some(&given)] {
        let got = run(&tensors(&view)?, moments, options, true)?;
        let want = run(&tensors(&view.contiguous()?)?, moments, options, true)?;
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(list(got)?, list(want)?);
        }
    }
    for shape in [&[0, 5][..], &[0, 5, 3, 3], &[2, 5, 0]] {
        let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        let got = run(&tensors(&x)?, Some(&given), options, true)?;
        assert_eq!(got[0].dims(), shape);
        assert_eq!([list(&got[2])?, list(&got[3])?], [vec![0.; 5], vec![0.; 5]]);
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for shape in [&[1000, 64][..], &[40, 20, 14, 14]] {
        let c = shape[1];
        let tensors = [numbers(shape, 1)?, numbers(&[c], 2)?, numbers(&[c], 3)?];
        let all = |threads: usize| -> Result<Vec<Vec<f64>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|e| Error::value("test", "threads", "a pool", e))?;
            pool.install(|| {
                let found = run(&tensors, None, (true, Activation::Tanh), true)?;
                found.iter().map(list).collect()
            })
        };
        let one = all(1)?;
        for threads in [2, 3, 8] {
            assert!(all(threads)? == one, "{threads} threads");
        }
    }
    Ok(())
}

/// A row that nobody asks for spoils no parameter where the moments are given, whatever is in it.
#[test]
fn a_row_that_is_not_in_the_loss_has_no_part() -> Result<()> {
    let x = Var::from_tensor(&Tensor::new(&[[f32::NAN, 1.], [2., 3.]], &Device::Cpu)?)?;
    let [gain, shift] = [numbers(&[2], 1)?, numbers(&[2], 2)?].map(|t| Var::from_tensor(&t));
    let (gain, shift) = (gain?, shift?);
    let given = [numbers(&[2], 3)?, numbers(&[2], 4)?.abs()?];
    let settings = Settings {
        affine: Some((&gain, &shift)),
        epsilon: 1e-5,
        activation: Activation::Tanh,
    };
    let y = by_moments(&x, given.each_ref(), settings)?;
    let store = y.narrow(0, 1, 1)?.sum_all()?.backward()?;
    for var in [&x, &gain, &shift] {
        let gradient = store.get(var).map(list).transpose()?;
        assert!(gradient.is_some_and(|g| g.iter().all(|g| g.is_finite())));
    }
    Ok(())
}

/// As a slope a gain that is infinite is no number for those who do not ask; with the batch's moments no row of the channel may.
#[test]
fn an_infinite_gain_has_no_part_where_nobody_asks() -> Result<()> {
    for shape in [&[3, 2][..], &[3, 2, 2, 2]] {
        let x = Var::from_tensor(&numbers(shape, 1)?)?;
        let gain = Var::from_tensor(&Tensor::new(&[f32::INFINITY, 1.], &Device::Cpu)?)?;
        let shift = Var::from_tensor(&numbers(&[2], 2)?)?;
        let given = [numbers(&[2], 3)?, numbers(&[2], 4)?.abs()?];
        let settings = Settings {
            affine: Some((&gain, &shift)),
            epsilon: 1e-5,
            activation: Activation::Identity,
        };
        let asks = |y: &Tensor, dim: usize| -> Result<Vec<f64>> {
            let store = y.narrow(dim, 1, 1)?.sum_all()?.backward()?;
            list(store.get(&x).expect("a gradient"))
        };
        let y = by_moments(&x, given.each_ref(), settings)?;
        let each = x.elem_count() / 3;
        let rows = asks(&y, 0)?;
        let others = rows[..each].iter().chain(&rows[2 * each..]);
        assert!(others.into_iter().all(|g| *g == 0.), "{rows:?}");
        assert!(asks(&y, 1)?.iter().all(|g| g.is_finite()));
        let (y, _) = by_batch(&x, settings)?;
        assert!(asks(&y, 1)?.iter().all(|g| g.is_finite()));
    }
    Ok(())
}
