use super::*;
use candle_core::{DType, Device, Var};

/// Numbers that look random, in [-1, 1).
fn numbers(shape: &[usize], seed: u32) -> Result<Tensor> {
    let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / 8_388_608. - 1.
    };
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}

/// A field on rows of `features` numbers.
struct Case {
    rows: usize,
    features: usize,
    context: usize,
    hidden: &'static [usize],
    activation: Activation,
    /// By layer.
    bias: fn(usize) -> bool,
    /// By the number of the argument: x, context, weight, bias, weight, ..
    frozen: fn(usize) -> bool,
}

impl Case {
    /// Ends, traces, and the gradients of an uneven loss of both.
    fn run(&self, along: Along) -> Result<Vec<Option<Tensor>>> {
        let mut leaves = vec![];
        let mut leaf = |shape: &[usize]| -> Result<Tensor> {
            let scale = 1.5 / (shape[shape.len() - 1] as f64).sqrt();
            let var = Var::from_tensor(&(numbers(shape, leaves.len() as u32)? * scale)?)?;
            leaves.push(var.clone());
            Ok(match (self.frozen)(leaves.len() - 1) {
                true => var.detach(),
                false => var.as_tensor().clone(),
            })
        };
        let x = leaf(&[self.rows, self.features])?;
        let context = leaf(&[self.rows, self.context])?;
        let mut widths = vec![self.features + 1 + self.context];
        widths.extend(self.hidden);
        widths.push(self.features);
        let mut parameters = vec![];
        for (l, pair) in widths.windows(2).enumerate() {
            let weight = leaf(&[pair[1], pair[0]])?;
            let bias = (self.bias)(l).then(|| leaf(&[pair[1]])).transpose()?;
            parameters.push((weight, bias));
        }
        let layers = parameters
            .iter()
            .enumerate()
            .map(|(l, (weight, bias))| Layer {
                weight,
                bias: bias.as_ref(),
                activation: match l < self.hidden.len() {
                    true => self.activation,
                    false => Activation::Identity,
                },
            });
        let layers: Vec<_> = layers.collect();
        let way = Way {
            from: 0.,
            to: 1.,
            steps: 3,
        };
        let context = (self.context > 0).then_some(&context);
        let parts = rk4(&x, context, None, &layers, way, along)?.unwrap_or_default();
        let mut all: Vec<_> = parts.iter().map(|t| Some(t.detach())).collect();
        all.truncate(2);
        let loss = parts[0].sin()?.sum_all()?;
        let loss = match along {
            Along::Nothing => loss,
            _ => (loss + parts[1].sin()?.sum_all()?)?,
        };
        let gradients = loss.backward()?;
        all.extend(leaves.iter().map(|var| gradients.get(var).cloned()));
        Ok(all)
    }

    /// The closed form against tangents.
    fn check(&self) -> Result<()> {
        let (closed, tangents) = (self.run(Along::Trace)?, self.run(Along::All)?);
        assert_eq!(closed.len(), tangents.len());
        for (i, (a, b)) in closed.iter().zip(&tangents).enumerate() {
            assert_eq!(a.is_some(), b.is_some(), "{i}");
            let (Some(a), Some(b)) = (a, b) else { continue };
            assert_eq!(a.dims(), b.dims());
            if a.elem_count() == 0 {
                continue;
            }
            let largest = |t: &Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
            let (gap, scale) = (largest(&(a - b)?)?, largest(b)?.max(1.));
            let Case {
                rows,
                features,
                hidden,
                activation,
                ..
            } = self;
            assert!(
                gap < 1e-5 * scale,
                "{i} of {rows} x {features} through {hidden:?} {activation:?}: {gap} at {scale}"
            );
        }
        Ok(())
    }
}

const CASE: Case = Case {
    rows: 37,
    features: 2,
    context: 0,
    hidden: &[20, 13],
    activation: Activation::Tanh,
    bias: |_| true,
    frozen: |_| false,
};

#[test]
fn traces_without_tangents_are_those_with_them() -> Result<()> {
    let all = [Activation::Tanh, Activation::Sigmoid, Activation::Softplus];
    for hidden in [&[20, 13][..], &[17], &[9, 7, 8], &[]] {
        for activation in all {
            for features in [1, 2, 5] {
                Case {
                    hidden,
                    activation,
                    features,
                    ..CASE
                }
                .check()?;
            }
        }
        for rows in [0, 1, 16, 150, 700] {
            let context = 3;
            Case {
                hidden,
                rows,
                context,
                ..CASE
            }
            .check()?;
        }
    }
    Ok(())
}

#[test]
fn traces_need_no_bias_and_what_is_frozen_gets_no_gradient() -> Result<()> {
    for hidden in [&[20, 13][..], &[17]] {
        let case = Case { hidden, ..CASE };
        for bias in [|_| false, |l| l == 1] as [fn(usize) -> bool; 2] {
            Case { bias, ..case }.check()?;
        }
        // All weights, the first, the second, the last, all but the first, x.
        let frozen: [fn(usize) -> bool; 6] = [
            |i| i > 1,
            |i| i == 2,
            |i| i == 4,
            |i| i == 6,
            |i| i != 2,
            |i| i == 0,
        ];
        for frozen in frozen {
            Case { frozen, ..case }.check()?;
        }
    }
    Ok(())
}

#[test]
fn the_way_alone_ends_where_it_does_with_integrals() -> Result<()> {
    let (alone, all) = (CASE.run(Along::Nothing)?, CASE.run(Along::Trace)?);
    let ends = [alone, all].map(|mut parts| parts.swap_remove(0).map(|end| end.to_vec2::<f32>()));
    let [Some(alone), Some(all)] = ends else {
        panic!("no end")
    };
    assert_eq!(alone?, all?);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let case = Case { rows: 700, ..CASE };
    let with = |threads: usize| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(candle_core::Error::wrap)?;
        let all = pool.install(|| case.run(Along::Trace))?;
        let bits = |t: &Tensor| -> Result<Vec<u32>> {
            let values = t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            Ok(values.into_iter().map(f32::to_bits).collect())
        };
        all.iter().flatten().map(bits).collect()
    };
    let one = with(1)?;
    assert!(one == with(2)? && one == with(3)?);
    Ok(())
}
