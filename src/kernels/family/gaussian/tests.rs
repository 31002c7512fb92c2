//! Fused against composed, in value and in every gradient.

use super::*;
use candle_core::{Device, Var};

type Form = fn(&[Tensor]) -> Result<Vec<Tensor>>;

fn noise(shape: &[usize], seed: u64) -> Tensor {
    let len = shape.iter().product();
    let stream = Stream {
        key: 77,
        draw: seed,
    };
    Tensor::from_vec(random::normals(stream, len), shape, &Device::Cpu).unwrap()
}

/// Values and gradients of `sum(w_j * output_j)` with random weights, for leaves pushed through `view`.
fn evaluate(
    leaves: &[Var],
    view: fn(&Tensor) -> candle_core::Result<Tensor>,
    form: Form,
) -> (Vec<Tensor>, Vec<Tensor>) {
    let inputs: Vec<Tensor> = leaves.iter().map(|v| view(v).unwrap()).collect();
    let outputs = form(&inputs).unwrap();
    let mut loss = Tensor::new(0f32, &Device::Cpu).unwrap();
    for (j, output) in outputs.iter().enumerate() {
        let w = noise(output.dims(), 100 + j as u64);
        loss = (loss + (output * w).unwrap().sum_all().unwrap()).unwrap();
    }
    let store = loss.backward().unwrap();
    let gradients = leaves
        .iter()
        .map(|v| match store.get(v) {
            Some(gradient) => gradient.clone(),
            // Candle's narrow hands no gradient on where nothing is left.
            None => {
                assert_eq!(inputs.iter().map(Tensor::elem_count).min(), Some(0));
                v.zeros_like().unwrap()
            }
        })
        .collect();
    (outputs, gradients)
}

fn close(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (flat(got), flat(want));
    let size = want.iter().fold(1f32, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= 2e-5 * size, "{what}: [{i}] {g} != {w}");
    }
}

fn same(shapes: &[&[usize]], positive: &[usize], fused: Form, composed: Form, what: &str) {
    let leaf = |i: usize, shape: &[usize]| {
        let x = noise(shape, i as u64);
        let x = if positive.contains(&i) {
            (x.abs().unwrap() + 0.3).unwrap()
        } else {
            x
        };
        Var::from_tensor(&x).unwrap()
    };
    let plain: Vec<Var> = shapes.iter().enumerate().map(|(i, s)| leaf(i, s)).collect();
    // Leaves stored the other way round, so that the inputs are strided views.
    let transposed: Vec<Var> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| leaf(i, &s.iter().rev().copied().collect::<Vec<_>>()))
        .collect();
    // Leaves with two more rows, cut off.
    let longer: Vec<Var> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let mut s = s.to_vec();
            if let Some(last) = s.last_mut() {
                *last += 2;
            }
            leaf(i, &s)
        })
        .collect();
    let transpose = |x: &Tensor| x.permute((0..x.rank()).rev().collect::<Vec<_>>());
    let narrow = |x: &Tensor| match x.rank() {
        0 => Ok(x.clone()),
        // Candle's sums panic at an offset into an empty tensor.
        r if x.elem_count() == 0 || x.dims()[r - 1] == 2 => x.narrow(r - 1, 0, x.dims()[r - 1] - 2),
        r => x.narrow(r - 1, 1, x.dims()[r - 1] - 2),
    };
    type View = fn(&Tensor) -> candle_core::Result<Tensor>;
    let layouts: [(&str, &[Var], View); 3] = [
        ("contiguous", &plain, |x| Ok(x.clone())),
        ("transposed", &transposed, transpose),
        ("narrowed", &longer, narrow),
    ];
    for (layout, leaves, view) in layouts {
        let what = format!("{what} {layout} {shapes:?}");
        let (values, gradients) = evaluate(leaves, view, fused);
        let (want_values, want_gradients) = evaluate(leaves, view, composed);
        for (g, w) in values.iter().zip(&want_values) {
            close(g, w, &what);
        }
        for (i, (g, w)) in gradients.iter().zip(&want_gradients).enumerate() {
            close(g, w, &format!("{what}, gradient {i}"));
        }
    }
}

const STREAM: Stream = Stream { key: 5, draw: 3 };

#[test]
fn densities() {
    let scale: [Form; 4] = [
        |x| Ok(vec![log_prob(Spread::Scale, &x[0], &x[1], &x[2], false)?]),
        |x| {
            Ok(vec![composed_log_prob(
                Spread::Scale,
                &x[0],
                &x[1],
                &x[2],
                false,
            )?])
        },
        |x| Ok(vec![log_prob(Spread::Scale, &x[0], &x[1], &x[2], true)?]),
        |x| {
            Ok(vec![composed_log_prob(
                Spread::Scale,
                &x[0],
                &x[1],
                &x[2],
                true,
            )?])
        },
    ];
    let log_var: [Form; 4] = [
        |x| Ok(vec![log_prob(Spread::LogVar, &x[0], &x[1], &x[2], false)?]),
        |x| {
            Ok(vec![composed_log_prob(
                Spread::LogVar,
                &x[0],
                &x[1],
                &x[2],
                false,
            )?])
        },
        |x| Ok(vec![log_prob(Spread::LogVar, &x[0], &x[1], &x[2], true)?]),
        |x| {
            Ok(vec![composed_log_prob(
                Spread::LogVar,
                &x[0],
                &x[1],
                &x[2],
                true,
            )?])
        },
    ];
    let shapes: [[&[usize]; 3]; 14] = [
        [&[6, 5], &[6, 5], &[6, 5]],
        [&[6, 5], &[5], &[5]],
        [&[6, 5], &[6, 5], &[5]],
        [&[3, 6, 5], &[6, 5], &[5]],
        [&[3, 6, 5], &[6, 5], &[1, 5]],
        [&[5], &[6, 5], &[6, 5]],
        [&[6, 5], &[6, 1], &[5]],
        [&[4, 1], &[4, 7], &[]],
        [&[9000], &[], &[1]],
        [&[0, 5], &[5], &[5]],
        [&[3, 0], &[3, 0], &[1, 0]],
        [&[300, 130], &[130], &[300, 130]],
        [&[2, 40, 1024], &[40, 1024], &[40, 1024]],
        [&[3, 5000], &[5000], &[5000]],
    ];
    for s in shapes {
        same(&s, &[2], scale[0], scale[1], "log_prob");
        same(&s, &[], log_var[0], log_var[1], "log_prob of log-variance");
        if !s[0].is_empty() {
            same(&s, &[2], scale[2], scale[3], "summed log_prob");
            same(
                &s,
                &[],
                log_var[2],
                log_var[3],
                "summed log_prob of log-variance",
            );
        }
    }
    same(&[&[], &[], &[]], &[2], scale[0], scale[1], "log_prob");
    for s in [&[6, 5][..], &[0, 5], &[300, 130], &[2, 5000]] {
        same(
            &[s],
            &[],
            |x| Ok(vec![standard_log_prob(&x[0])?]),
            |x| {
                let zero = x[0].detach().zeros_like()?;
                Ok(vec![composed_log_prob(
                    Spread::LogVar,
                    &x[0],
                    &zero,
                    &zero,
                    true,
                )?])
            },
            "standard log_prob",
        );
    }
}

#[test]
fn divergences() {
    let shapes: [[&[usize]; 4]; 6] = [
        [&[6, 5], &[6, 5], &[6, 5], &[6, 5]],
        [&[6, 5], &[6, 5], &[5], &[5]],
        [&[6, 5], &[5], &[6, 1], &[1]],
        [&[0, 5], &[0, 5], &[5], &[5]],
        [&[300, 130], &[300, 130], &[130], &[1]],
        [&[40, 1024], &[40, 1024], &[40, 1024], &[40, 1024]],
    ];
    for s in shapes {
        same(
            &s,
            &[1, 3],
            |x| {
                Ok(vec![kl(
                    Spread::Scale,
                    [&x[0], &x[1]],
                    [&x[2], &x[3]],
                    false,
                )?])
            },
            |x| {
                Ok(vec![composed_kl(
                    Spread::Scale,
                    [&x[0], &x[1]],
                    [&x[2], &x[3]],
                    false,
                )?])
            },
            "kl",
        );
        same(
            &s,
            &[],
            |x| {
                Ok(vec![kl(
                    Spread::LogVar,
                    [&x[0], &x[1]],
                    [&x[2], &x[3]],
                    true,
                )?])
            },
            |x| {
                Ok(vec![composed_kl(
                    Spread::LogVar,
                    [&x[0], &x[1]],
                    [&x[2], &x[3]],
                    true,
                )?])
            },
            "kl of log-variances",
        );
    }
}

/// The draws are bound to these sample shapes: a `Form` is a plain function.
fn draws<const S: usize>(kind: Spread, fused: bool, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let sample: &[usize] = match S {
        0 => &[],
        1 => &[1],
        n => &[n / 2, 2],
    };
    let (z, kl) = if fused {
        sample_and_kl_standard(kind, &x[0], &x[1], sample, STREAM)?
    } else {
        (
            composed_sample(kind, &x[0], &x[1], sample, STREAM)?,
            composed_kl_standard(kind, &x[0], &x[1])?,
        )
    };
    Ok(vec![z, kl])
}

fn check_draws<const S: usize>() {
    let shapes: [&[usize]; 8] = [
        &[7, 5],
        &[3],
        &[2, 3, 16],
        &[0, 5],
        &[4, 0],
        &[160, 256],
        &[50, 999],
        &[9, 4500],
    ];
    for s in shapes {
        same(
            &[s, s],
            &[1],
            |x| draws::<S>(Spread::Scale, true, x),
            |x| draws::<S>(Spread::Scale, false, x),
            &format!("{S} draws"),
        );
        same(
            &[s, s],
            &[],
            |x| draws::<S>(Spread::LogVar, true, x),
            |x| draws::<S>(Spread::LogVar, false, x),
            &format!("{S} draws of log-variance"),
        );
    }
}

#[test]
fn draws_and_divergences() {
    check_draws::<0>();
    check_draws::<1>();
    check_draws::<2>();
    check_draws::<6>();
}

#[test]
fn many_draws_of_few_parameters() {
    same(
        &[&[10, 3], &[10, 3]],
        &[1],
        |x| Ok(vec![sample(Spread::Scale, &x[0], &x[1], &[5000], STREAM)?]),
        |x| {
            Ok(vec![composed_sample(
                Spread::Scale,
                &x[0],
                &x[1],
                &[5000],
                STREAM,
            )?])
        },
        "draws",
    );
    same(
        &[&[], &[]],
        &[],
        |x| Ok(vec![sample(Spread::LogVar, &x[0], &x[1], &[9000], STREAM)?]),
        |x| {
            Ok(vec![composed_sample(
                Spread::LogVar,
                &x[0],
                &x[1],
                &[9000],
                STREAM,
            )?])
        },
        "draws of one number",
    );
    same(
        &[&[10, 3], &[10, 3]],
        &[1],
        |x| Ok(vec![kl_standard(Spread::Scale, &x[0], &x[1])?]),
        |x| Ok(vec![composed_kl_standard(Spread::Scale, &x[0], &x[1])?]),
        "kl",
    );
}

/// Each output alone, and each parameter alone, in the graph.
#[test]
fn parts_of_the_graph() {
    for (loc_tracked, with_z, with_kl) in [
        (true, true, false),
        (false, true, true),
        (true, false, true),
    ] {
        let mut results = vec![];
        for fused in [true, false] {
            let tracked =
                Var::from_tensor(&(noise(&[40, 1000], 1).abs().unwrap() + 0.1).unwrap()).unwrap();
            let fixed = (noise(&[40, 1000], 2).abs().unwrap() + 0.1).unwrap();
            let x = if loc_tracked {
                [tracked.as_tensor().clone(), fixed]
            } else {
                [fixed, tracked.as_tensor().clone()]
            };
            let out = draws::<2>(Spread::Scale, fused, &x).unwrap();
            let mut loss = Tensor::new(0f32, &Device::Cpu).unwrap();
            if with_z {
                let w = noise(out[0].dims(), 9);
                loss = (loss + (&out[0] * w).unwrap().sum_all().unwrap()).unwrap();
            }
            if with_kl {
                loss = (loss + out[1].sum_all().unwrap()).unwrap();
            }
            let store = loss.backward().unwrap();
            assert!(store.get(&x[usize::from(loc_tracked)]).is_none() || !fused);
            results.push(store.get(&tracked).unwrap().clone());
        }
        close(&results[0], &results[1], "one tracked parameter");
    }
}

#[test]
fn values_at_the_edges() {
    let one = |x: f32| Tensor::new(&[x], &Device::Cpu).unwrap();
    let at = |x: f32, scale: f32| {
        log_prob(Spread::Scale, &one(x), &one(0.), &one(scale), false)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()[0]
    };
    assert!(at(f32::NAN, 1.).is_nan() && at(0., -1.).is_nan() && at(0., f32::NAN).is_nan());
    assert_eq!(at(f32::INFINITY, 1.), f32::NEG_INFINITY);
    assert!((at(0., 1e-42) - 95.7).abs() < 1.);
}
