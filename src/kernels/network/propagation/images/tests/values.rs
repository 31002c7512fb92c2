//! Fused against composed, in value, gradient and along directions.

use super::*;

fn all_bits(law: Law, set: &Set) -> Result<Vec<Vec<u32>>> {
    let (vars, set) = variables(set)?;
    let mut all = fused(law, &set)?;
    all.extend(gradients(&vars, &all, [1., 0.5])?);
    let bits = |t: &Tensor| -> Result<Vec<u32>> {
        let numbers = t.flatten_all()?.to_vec1::<f32>()?;
        Ok(numbers.into_iter().map(f32::to_bits).collect())
    };
    all.iter().map(bits).collect()
}

#[test]
fn values_and_gradients_of_the_composition() -> Result<()> {
    let activations = [
        Activation::Tanh,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::Elu,
        Activation::Identity,
    ];
    for (first, scheme) in SCHEMES.into_iter().enumerate() {
        for (n, sizes) in sizes().into_iter().enumerate() {
            let sizes = fitting(scheme, sizes);
            let law = law(scheme, activations[(first + n) % 7]);
            let mut set = draw(scheme, sizes, 1.)?;
            // Small enough that many layers stay tame.
            set[2] = set[2].take().map(|k| k * 0.2).transpose()?;
            // With and without biases, and without z.
            for leave in [vec![], vec![3, 4], vec![1]] {
                let mut set = set.clone();
                leave.iter().for_each(|n: &usize| set[*n] = None);
                let mut exact = double(&set)?;
                if leave == [1] && !matches!(scheme, Scheme::Euler(_)) {
                    let z = shapes(scheme, sizes)[1].clone().unwrap_or_default();
                    exact[1] = Some(Tensor::zeros(z, DType::F64, &Device::Cpu)?);
                }
                let ((vars, ours), (all, exact)) = (variables(&set)?, variables(&exact)?);
                let (got, want) = (fused(law, &ours)?, composed(law, &exact)?);
                assert_eq!(got.len(), want.len(), "{scheme:?} {sizes:?}");
                for (a, b) in got.iter().zip(&want) {
                    let gap = gap(a, b)?;
                    assert!(gap <= 3e-6, "{scheme:?} {sizes:?} {leave:?}: {gap}");
                }
                for mask in [[1., 0.6], [1., 0.], [0., 1.]] {
                    if mask[0] == 0. && want.len() == 1 {
                        continue;
                    }
                    let want = gradients(&all, &want, mask)?;
                    let mut want: Vec<&Tensor> = want.iter().collect();
                    if all.len() > vars.len() {
                        want.remove(1);
                    }
                    for _again in 0..2 {
                        for (n, (a, b)) in
                            gradients(&vars, &got, mask)?.iter().zip(&want).enumerate()
                        {
                            let gap = gap(a, b)?;
                            assert!(
                                gap <= 6e-6,
                                "{scheme:?} {sizes:?} {leave:?} {mask:?} {n}: {gap}"
                            );
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn derivatives_along_directions() -> Result<()> {
    for scheme in SCHEMES {
        for sizes in sizes() {
            let sizes = fitting(scheme, sizes);
            let law = law(scheme, Activation::Tanh);
            let mut set = draw(scheme, sizes, 1.)?;
            set[2] = set[2].take().map(|k| k * 0.2).transpose()?;
            // Everything moves, the weights alone, the state alone.
            for still in [vec![], vec![0, 1], vec![2, 3, 4]] {
                let mut along = draw(scheme, sizes, 20.)?;
                still.iter().for_each(|n: &usize| along[*n] = None);
                let moved = |by: f64| -> Result<Vec<Tensor>> {
                    let mut at = double(&set)?;
                    for (at, along) in at.iter_mut().zip(double(&along)?) {
                        if let (Some(x), Some(along)) = (&at, along) {
                            *at = Some((x + (along * by)?)?);
                        }
                    }
                    composed(law, &at)
                };
                let [y, z, kernel, bias, second_bias] = set.each_ref().map(Option::as_ref);
                let (Some(y), Some(kernel)) = (y, kernel) else {
                    continue;
                };
                let weights = Weights {
                    kernel,
                    bias,
                    second_bias,
                };
                let [dy, dz, dkernel, dbias, dsecond] = along.each_ref().map(Option::as_ref);
                let directions = Along {
                    y: dy,
                    z: dz,
                    kernel: dkernel,
                    bias: dbias,
                    second_bias: dsecond,
                };
                let got = tangent(law, y, z, weights, directions)?.unwrap_or_default();
                let (above, below) = (moved(1e-5)?, moved(-1e-5)?);
                assert_eq!(got.len(), above.len());
                for ((got, above), below) in got.iter().zip(&above).zip(&below) {
                    let gap = gap(got, &((above - below)? / 2e-5)?)?;
                    // Rounding grows along the layers.
                    let bound = 6e-6 * (sizes.layers as f64 / 16.).max(1.);
                    assert!(gap <= bound, "{scheme:?} {sizes:?} {still:?}: {gap}");
                }
            }
        }
    }
    Ok(())
}

/// Views with strides, and of an image that stands for many.
#[test]
fn arguments_lie_anyhow() -> Result<()> {
    let sizes = Sizes {
        batch: 4,
        s: 3,
        m: 2,
        image: [5, 6],
        k: 3,
        layers: 2,
    };
    for scheme in [Scheme::Verlet, Scheme::Euler(Force::Double)] {
        let law = law(scheme, Activation::Tanh);
        let (vars, set) = variables(&draw(scheme, sizes, 1.)?)?;
        let all = |set: &Set| -> Result<Vec<Tensor>> {
            let mut all = fused(law, set)?;
            all.extend(gradients(&vars, &all, [1., 0.6])?);
            Ok(all)
        };
        let mut turned: Set = Default::default();
        for (turned, t) in turned.iter_mut().zip(&set) {
            let Some(t) = t else { continue };
            let (a, b) = (0, t.rank() - 1);
            *turned = Some(t.transpose(a, b)?.contiguous()?.transpose(a, b)?);
        }
        let (mut many, mut copies) = (set.clone(), set.clone());
        if let Some(y) = &set[0] {
            let one = y.narrow(0, 1, 1)?;
            many[0] = Some(one.broadcast_as(y.dims())?);
            copies[0] = Some(Tensor::cat(&[&one; 4], 0)?);
        }
        for (lies, plain) in [(turned, set), (many, copies)] {
            let (got, want) = (all(&lies)?, all(&plain)?);
            assert_eq!(got.len(), want.len());
            for (a, b) in got.iter().zip(&want) {
                let gap = gap(a, b)?;
                // Candle adds the four images' gradients in another order.
                assert!(gap <= 1e-6, "{gap}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_same_bits_on_any_threads() -> Result<()> {
    let sizes = Sizes {
        batch: 70,
        s: 5,
        m: 5,
        image: [12, 11],
        k: 3,
        layers: 3,
    };
    for scheme in SCHEMES {
        let (law, set) = (law(scheme, Activation::Tanh), draw(scheme, sizes, 1.)?);
        let on = |threads: usize| -> Result<Vec<Vec<u32>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().map_err(candle_core::Error::wrap)?;
            pool.install(|| all_bits(law, &set))
        };
        let one = on(1)?;
        assert!(one == on(2)? && one == on(5)?, "{scheme:?}");
    }
    Ok(())
}
