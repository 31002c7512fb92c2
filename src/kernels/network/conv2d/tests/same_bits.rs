//! Bits that depend on neither the batch, the number of threads nor the cut of a chain.

use super::*;
use crate::error::Error;
use crate::kernels::network::batch_norm::{self, by_batch, by_moments};

#[test]
fn an_image_gives_the_same_bits_in_every_batch() -> Result<()> {
    let case = CASES[14];
    let [x, weight, bias] = case.tensors(DType::F32)?;
    let settings = case.settings(Activation::Tanh, Order::ChannelsFirst, Order::ChannelsFirst);
    let all = conv2d(&x, &weight, Some(&bias), settings)?;
    for i in [0, 17, 36] {
        let alone = conv2d(&x.narrow(0, i, 1)?, &weight, Some(&bias), settings)?;
        assert_eq!(bits(&alone)?, bits(&all.narrow(0, i, 1)?)?);
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let case = CASES[14];
    let tensors = case.tensors(DType::F32)?;
    let run = |threads: usize| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::value("test", "threads", "a pool", e))?;
        pool.install(|| {
            let (y, [gx, gw, gb]) =
                value_and_gradients(case, &tensors, Activation::Relu, ORDERS[0])?;
            [y, gx, gw, gb].iter().map(bits).collect()
        })
    };
    let one = run(1)?;
    for threads in [2, 3, 8] {
        assert_eq!(run(threads)?, one, "{threads} threads");
    }
    Ok(())
}

/// Two convolutions and their gradients for (x, weight, bias, weight, bias), those that are tracked.
fn two(tracked: usize, chained: bool) -> Result<(Tensor, Vec<Option<Vec<u32>>>)> {
    let first = case([9, 2, 11, 8], [20, 4, 3], (2, 1), (1, 1));
    let [x, w, b] = first.tensors(DType::F32)?;
    let w2 = (tensor(&[5, 20, 3, 3], 7, DType::F32)? * 0.1)?;
    let given: Vec<Tensor> = [x, w, b, w2, tensor(&[5], 8, DType::F32)?]
        .into_iter()
        .enumerate()
        .map(|(i, t)| match tracked >> i & 1 {
            1 => Ok(Var::from_tensor(&t)?.into_inner()),
            _ => Ok(t),
        })
        .collect::<Result<_>>()?;
    let layers = [
        Layer {
            weight: &given[1],
            bias: Some(&given[2]),
            settings: first.settings(Activation::Relu, Order::ChannelsFirst, Order::ChannelsLast),
        },
        Layer {
            weight: &given[3],
            bias: Some(&given[4]),
            settings: case([0; 4], [0; 3], (2, 2), (1, 1)).settings(
                Activation::Tanh,
                Order::ChannelsLast,
                Order::ChannelsFirst,
            ),
        },
    ];
    let y = if chained {
        chain(&given[0], &layers)?
    } else {
        let [a, b] = &layers;
        let y = conv2d(&given[0], a.weight, a.bias, a.settings)?;
        conv2d(&y, b.weight, b.bias, b.settings)?
    };
    let store = y.sqr()?.sum_all()?.backward()?;
    let gradients = given.iter().map(|t| store.get(t).map(bits).transpose());
    Ok((y.detach(), gradients.collect::<Result<_>>()?))
}

#[test]
fn a_chain_is_its_convolutions_bit_for_bit() -> Result<()> {
    for tracked in 1..32 {
        let (value, gradients) = two(tracked, true)?;
        let (want, separate) = two(tracked, false)?;
        assert_eq!(bits(&value)?, bits(&want)?);
        assert_eq!(gradients, separate, "tracked {tracked:b}");
        for (i, gradient) in gradients.iter().enumerate() {
            assert_eq!(gradient.is_some(), tracked >> i & 1 == 1);
        }
    }
    Ok(())
}

/// Two convolutions, each after a normalization, on channels-last images; the results, the batch's moments, and the gradients of
/// x and of all parameters.
fn normalized(x: &Tensor, given: bool, chained: bool) -> Result<Vec<Vec<u32>>> {
    let [n, h, w, c] = [9, 11, 8, 6];
    let shapes: [&[usize]; 7] = [
        &[c],
        &[c],
        &[20, c, 4, 3],
        &[20],
        &[20],
        &[20, 5, 4, 4],
        &[5],
    ];
    let numbers = shapes.iter().enumerate().map(|(i, shape)| {
        let numbers = tensor(shape, i as u64 + 2, DType::F32)?;
        Ok(Var::from_tensor(&(numbers * 0.3)?)?.into_inner())
    });
    let numbers = numbers.collect::<Result<Vec<Tensor>>>()?;
    let moments = |c: usize| -> Result<Option<[Tensor; 2]>> {
        let spread = (tensor(&[c], 20, DType::F32)?.sqr()? + 0.1)?;
        Ok(given.then_some([tensor(&[c], 21, DType::F32)?, spread]))
    };
    let norm = |gain: usize, activation| batch_norm::Settings {
        affine: Some((&numbers[gain], &numbers[gain + 1])),
        epsilon: 1e-3,
        activation,
    };
    let last = Order::ChannelsLast;
    let first = case([n, c, h, w], [20, 4, 3], (2, 1), (1, 1));
    let output_padding = (1, 0);
    let layers = [
        Layer {
            weight: &numbers[2],
            bias: None,
            settings: first.settings(Activation::Identity, last, last),
        },
        Layer {
            weight: &numbers[5],
            bias: Some(&numbers[6]),
            settings: Settings {
                kind: Kind::Transposed { output_padding },
                ..case([0; 4], [0; 3], (2, 2), (1, 1)).settings(Activation::Tanh, last, last)
            },
        },
    ];
    let norms = [
        (norm(0, Activation::Relu), moments(c)?),
        (norm(3, Activation::LeakyRelu(0.2)), moments(20)?),
    ];
    let x = Var::from_tensor(x)?;
    let mut all = vec![];
    let y = if chained {
        let [a, b] = norms;
        let [one, two] = layers;
        let chain = vec![
            Link::Norm(a.0, a.1),
            Link::Convolution(one),
            Link::Norm(b.0, b.1),
            Link::Convolution(two),
        ];
        let found = links(
            (&x, [n, h, w, c]),
            chain,
            [last, Order::ChannelsFirst],
            true,
        )?;
        let (y, moments) = found.ok_or_else(|| Error::value("test", "links", "a node", "none"))?;
        for moments in moments {
            all.extend([bits(&moments.mean)?, bits(&moments.variance)?]);
        }
        y
    } else {
        let mut y = x.reshape((n, h, w, c))?;
        for ((norm, moments), layer) in norms.iter().zip(&layers) {
            let dims = y.dims().to_vec();
            let rows = y.reshape(((), dims[3]))?;
            let z = match moments {
                Some(moments) => by_moments(&rows, moments.each_ref(), *norm)?,
                None => {
                    let (z, moments) = by_batch(&rows, *norm)?;
                    all.extend([bits(&moments.mean)?, bits(&moments.variance)?]);
                    z
                }
            };
            y = layer.forward(&z.reshape(dims)?)?;
        }
        y.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)?
    };
    let weights = tensor(y.dims(), 30, DType::F32)?;
    let store = (&y * weights)?.sum_all()?.backward()?;
    all.push(bits(&y)?);
    for variable in numbers.iter().chain([x.as_tensor()]) {
        let gradient = store.get(variable).map(bits).transpose()?;
        all.push(gradient.unwrap_or_default());
    }
    assert!(all.iter().all(|bits| !bits.is_empty()));
    Ok(all)
}

#[test]
fn a_chain_with_normalizations_is_its_parts_bit_for_bit_on_any_threads() -> Result<()> {
    // A shape that says nothing of the images, as a dense layer leaves it.
    let x = tensor(&[9, 11 * 8 * 6], 1, DType::F32)?;
    for given in [false, true] {
        let want = normalized(&x, given, false)?;
        assert_eq!(want.len(), if given { 9 } else { 13 });
        assert!(normalized(&x, given, true)? == want);
        for threads in [1, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|e| Error::value("test", "threads", "a pool", e))?;
            let found = pool.install(|| normalized(&x, given, true))?;
            assert!(found == want, "{threads} threads");
        }
    }
    Ok(())
}
