//! Gradients where few results have one.

use super::super::few::Few;
use super::*;
use crate::error::Error;
use crate::kernels::network::conv2d::geometry::Geometry;

/// One result of so many has a gradient.
const SHARE: usize = 11;

/// Weights of results, nearly all of them 0 in the first `few` images.
fn sparse(y: &Tensor, few: usize) -> Result<Tensor> {
    let mut w = numbers(y.elem_count(), 4);
    let image = y.elem_count() / y.dim(0)?.max(1);
    for (i, w) in w.iter_mut().take(few * image).enumerate() {
        // Not at the same channel or pixel of every image.
        if !(i / image + i).is_multiple_of(SHARE) {
            *w = 0.;
        }
    }
    Ok(Tensor::from_vec(w, y.dims(), &Device::Cpu)?.to_dtype(y.dtype())?)
}

fn all_sparse(y: &Tensor) -> Result<Tensor> {
    sparse(y, y.dim(0)?)
}

#[test]
fn few_gradients_meet_composed_ones() -> Result<()> {
    for case in CASES {
        let exact = case.tensors(DType::F64)?;
        let tensors = case.tensors(DType::F32)?;
        for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
            for (input, output) in ORDERS {
                let what = format!("{case:?} {activation:?} {input:?} {output:?}");
                let settings = case.settings(activation, input, output);
                let (_, slopes) = weighted(settings, &exact, all_sparse)?;
                let (_, gradients) = weighted(settings, &tensors, all_sparse)?;
                for (i, (gradient, slope)) in gradients.iter().zip(&slopes).enumerate() {
                    close(gradient, slope, 3e-5, &format!("{what}: gradient of {i}"))?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn an_image_has_the_same_gradient_among_few_and_among_many() -> Result<()> {
    for case in &CASES[11..14] {
        let [x, weight, bias] = case.tensors(DType::F32)?;
        let n = case.x[0];
        let dense = tensor(&case.x, 9, DType::F32)?;
        let both = [Tensor::cat(&[&x, &dense], 0)?, weight.clone(), bias.clone()];
        for orders in ORDERS {
            let settings = case.settings(Activation::Tanh, orders.0, orders.1);
            let (_, [few, ..]) = weighted(
                settings,
                &[x.clone(), weight.clone(), bias.clone()],
                all_sparse,
            )?;
            let (_, [many, ..]) = weighted(settings, &both, |y| sparse(y, n))?;
            assert!(bits(&few)?.iter().any(|bits| *bits != 0));
            assert_eq!(bits(&few)?, bits(&many.narrow(0, 0, n)?)?, "{case:?}");
        }
    }
    Ok(())
}

#[test]
fn few_gradients_do_not_depend_on_the_number_of_threads() -> Result<()> {
    // Work enough for several threads.
    let case = case([9, 33, 16, 16], [48, 4, 4], (2, 2), (1, 1));
    let tensors = case.tensors(DType::F32)?;
    let settings = case.settings(Activation::Relu, Order::ChannelsLast, Order::ChannelsFirst);
    let run = |threads: usize| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::value("test", "threads", "a pool", e))?;
        pool.install(|| {
            let (_, gradients) = weighted(settings, &tensors, all_sparse)?;
            gradients.iter().map(bits).collect()
        })
    };
    let one = run(1)?;
    for threads in [2, 3, 8] {
        assert_eq!(run(threads)?, one, "{threads} threads");
    }
    Ok(())
}

#[test]
fn what_has_no_gradient_may_be_anything() -> Result<()> {
    let case = CASES[13];
    let [x, weight, bias] = case.tensors(DType::F32)?;
    let settings = case.settings(
        Activation::Identity,
        Order::ChannelsFirst,
        Order::ChannelsFirst,
    );
    // A gradient at the first result of each image alone, whose patch does not reach the last pixel.
    let first = |y: &Tensor| -> Result<Tensor> {
        let mut w = vec![0f32; y.elem_count()];
        for image in w.chunks_exact_mut(y.elem_count() / y.dim(0)?) {
            image[0] = 1.;
        }
        Ok(Tensor::from_vec(w, y.dims(), &Device::Cpu)?)
    };
    let infinite = |x: &Tensor, spared: usize| -> Result<Tensor> {
        let mut data = x.flatten_all()?.to_vec1::<f32>()?;
        for row in data.chunks_exact_mut(spared) {
            row[spared - 1] = f32::INFINITY;
        }
        Ok(Tensor::from_vec(data, x.dims(), &Device::Cpu)?)
    };
    let plain = [x.clone(), weight.clone(), bias.clone()];
    let (_, want) = weighted(settings, &plain, first)?;
    // The last pixel of each image, and the last output channel's last weight.
    let wild = [
        infinite(&x, 36)?,
        infinite(&weight, weight.elem_count())?,
        bias,
    ];
    let (_, got) = weighted(settings, &wild, first)?;
    for (got, want) in got.iter().zip(&want) {
        assert_eq!(bits(got)?, bits(want)?);
    }
    Ok(())
}

#[test]
fn few_is_at_most_one_of_eight() -> Result<()> {
    let case = CASES[13];
    let [x, weight, bias] = case.tensors(DType::F32)?;
    let settings = case.settings(Activation::Relu, Order::ChannelsLast, Order::ChannelsLast);
    let dims = [2, 6, 6, 64];
    let g = Geometry::new(&x, &dims, &weight, Some(&bias), settings)?;
    let len = g.out_dims(settings.output).iter().product();
    let found = |count: usize| {
        let mut gradient = vec![0.; len];
        gradient[len - count..].fill(1.);
        Few::find(&g, &settings, &vec![1.; len], &gradient).is_some()
    };
    assert!(found(0) && found(len / 8) && !found(len / 8 + 1) && !found(len));
    let empty = Geometry { n: 0, ..g.clone() };
    assert!(Few::find(&empty, &settings, &[], &[]).is_none());
    Ok(())
}
