//! Bits that depend on neither the batch, the number of threads nor the cut of a chain.

use super::*;
use crate::error::Error;

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
