use super::*;
use candle_core::{DType, Device, Var};

fn dense(x: &Tensor, w: &Tensor, b: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    mlp(
        x,
        &[Layer {
            weight: w,
            bias: b,
            activation,
        }],
    )
}

fn numbers(shape: &[usize], seed: u32) -> Result<Tensor> {
    let mut s = seed;
    let data: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / 8_388_608. - 1.
        })
        .collect();
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}

fn largest(t: &Tensor) -> Result<f64> {
    Ok(match t.elem_count() {
        0 => 0.,
        _ => t.to_dtype(DType::F64)?.abs()?.max_all()?.to_scalar()?,
    })
}

fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    largest(&(a.to_dtype(DType::F64)? - b)?)
}

/// Value and gradients of a weighted sum of the outputs, in f32 (fused) or f64 (composed).
fn run(
    leaves: &[Tensor],
    view: &dyn Fn(&Tensor) -> Result<Tensor>,
    activation: Activation,
    dtype: DType,
) -> Result<Vec<Tensor>> {
    let vars: Vec<Var> = leaves
        .iter()
        .map(|t| Var::from_tensor(&t.to_dtype(dtype)?))
        .collect::<candle_core::Result<_>>()?;
    let x = view(&vars[0])?;
    let y = dense(&x, &vars[1], vars.get(2).map(|b| b.as_tensor()), activation)?;
    let weight = numbers(y.dims(), 9)?.to_dtype(dtype)?;
    let gradients = (&y * weight)?.sum_all()?.backward()?;
    let mut all = vec![y.detach()];
    for (i, var) in vars.iter().enumerate() {
        match gradients.get(var) {
            Some(g) => all.push(g.clone()),
            // Candle leaves empty operands out of the graph.
            None if dtype == DType::F64 && x.elem_count() == 0 => all.push(var.zeros_like()?),
            None => panic!("no gradient for argument {i}"),
        }
    }
    Ok(all)
}

fn compare(
    leaves: &[Tensor],
    view: &dyn Fn(&Tensor) -> Result<Tensor>,
    activation: Activation,
) -> Result<()> {
    let fused = run(leaves, view, activation, DType::F32)?;
    let reference = run(leaves, view, activation, DType::F64)?;
    for (i, (f, r)) in fused.iter().zip(&reference).enumerate() {
        let (error, scale) = (difference(f, r)?, largest(r)?);
        assert!(error <= 2e-5 * (1. + scale), "{activation:?} {i}: {error}");
    }
    Ok(())
}

const ALL: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::Elu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
    Activation::Silu,
    Activation::Gelu,
];

#[test]
fn fused_meets_composed() -> Result<()> {
    let (w, b) = (numbers(&[5, 7], 1)?, numbers(&[5], 2)?);
    type View = fn(&Tensor) -> Result<Tensor>;
    let inputs: [(&[usize], View); 8] = [
        (&[6, 7], |x| Ok(x.clone())),
        (&[7], |x| Ok(x.clone())),
        (&[2, 3, 4, 7], |x| Ok(x.clone())),
        (&[7, 6], |x| Ok(x.t()?)),
        (&[6, 9], |x| Ok(x.narrow(1, 1, 7)?)),
        (&[1, 7], |x| Ok(x.broadcast_as((4, 7))?)),
        (&[0, 7], |x| Ok(x.clone())),
        (&[150, 7], |x| Ok(x.clone())),
    ];
    for activation in ALL {
        for (shape, view) in inputs {
            let x = numbers(shape, 3)?;
            compare(&[x.clone(), w.clone(), b.clone()], &view, activation)?;
            compare(&[x, w.clone()], &view, activation)?;
        }
    }
    Ok(())
}

#[test]
fn large_products_in_tiles_and_partial_sums_meet_composed() -> Result<()> {
    let view = |x: &Tensor| Ok(x.clone());
    for (rows, width, out) in [
        (128, 200, 300),
        (5000, 40, 24),
        (300, 100, 270),
        // Few rows and many weights, as rows of 16 and not.
        (2, 130, 140),
        (37, 130, 517),
        (64, 256, 800),
    ] {
        let leaves = [
            numbers(&[rows, width], 1)?,
            numbers(&[out, width], 2)?,
            numbers(&[out], 3)?,
        ];
        compare(&leaves, &view, Activation::Tanh)?;
        compare(&leaves, &view, Activation::Identity)?;
    }
    Ok(())
}

#[test]
fn arguments_without_need_get_no_gradient() -> Result<()> {
    let (x, w) = (numbers(&[6, 7], 1)?, numbers(&[5, 7], 2)?);
    let b = Var::from_tensor(&numbers(&[5], 3)?)?;
    let y = dense(&x, &w, Some(&b), Activation::Relu)?;
    let gradients = y.sum_all()?.backward()?;
    assert!(gradients.get(&x).is_none() && gradients.get(&w).is_none());
    assert!(gradients.get(&b).is_some());
    let w = Var::from_tensor(&w)?;
    let gradients = dense(&x, &w, None, Activation::Identity)?
        .sum_all()?
        .backward()?;
    let columns = x.sum(0)?.broadcast_as((5, 7))?;
    let got = gradients
        .get(&w)
        .map(|g| difference(g, &columns.to_dtype(DType::F64)?));
    assert!(got.transpose()?.is_some_and(|d| d < 1e-6));
    assert!(!dense(&x, &numbers(&[5, 7], 2)?, None, Activation::Tanh)?.track_op());
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit_of_a_net() -> Result<()> {
    for (rows, dims) in [
        (CHUNKED + 3 * ROWS + 5, &[24, 40, 33, 10][..]),
        (300, &[100, 270, 60]),
    ] {
        let case = Case::new(rows, dims);
        let with = |threads: usize| -> Result<Vec<Vec<u32>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let all = pool
                .map_err(candle_core::Error::wrap)?
                .install(|| case.run(DType::F32))?;
            let bits = |t: &Tensor| -> Result<Vec<u32>> {
                let values = t.flatten_all()?.to_vec1::<f32>()?;
                Ok(values.into_iter().map(f32::to_bits).collect())
            };
            all.iter().flatten().map(bits).collect()
        };
        let one = with(1)?;
        assert!(one == with(2)? && one == with(3)?);
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    for (rows, width, out) in [(5000, 40, 24), (300, 100, 270), (37, 200, 517)] {
        let leaves = [
            numbers(&[rows, width], 1)?,
            numbers(&[out, width], 2)?,
            numbers(&[out], 3)?,
        ];
        let with = |threads: usize| -> Result<Vec<Vec<f32>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(candle_core::Error::wrap)?;
            let all =
                pool.install(|| run(&leaves, &|x| Ok(x.clone()), Activation::Tanh, DType::F32))?;
            let flat = |t: &Tensor| Ok(t.flatten_all()?.to_vec1()?);
            all.iter().map(flat).collect()
        };
        let one = with(1)?;
        assert!(one == with(2)? && one == with(3)?);
    }
    Ok(())
}

/// Value and gradients (to x, w0, b0, w1, ..) of a weighted sum of a net's outputs.
struct Case {
    rows: usize,
    dims: Vec<usize>,
    bias: fn(usize) -> bool,
    activation: fn(usize) -> Activation,
    /// By the number of the argument.
    frozen: fn(usize) -> bool,
    view: fn(&Tensor) -> Result<Tensor>,
}

impl Case {
    fn new(rows: usize, dims: &[usize]) -> Self {
        Case {
            rows,
            dims: dims.to_vec(),
            bias: |_| true,
            activation: |_| Activation::Tanh,
            frozen: |_| false,
            view: |x| Ok(x.clone()),
        }
    }

    fn run(&self, dtype: DType) -> Result<Vec<Option<Tensor>>> {
        let mut leaves = vec![];
        let mut leaf = |shape: &[usize]| -> Result<Tensor> {
            let scale = 1. / (shape[shape.len() - 1] as f64).sqrt();
            let data = (numbers(shape, leaves.len() as u32)?.to_dtype(dtype)? * scale)?;
            let var = Var::from_tensor(&data)?;
            let frozen = (self.frozen)(leaves.len());
            leaves.push(var.clone());
            Ok(if frozen {
                var.detach()
            } else {
                var.as_tensor().clone()
            })
        };
        let x = (self.view)(&leaf(&[self.rows, self.dims[0]])?)?;
        let mut parameters = vec![];
        for (i, pair) in self.dims.windows(2).enumerate() {
            let weight = leaf(&[pair[1], pair[0]])?;
            let bias = (self.bias)(i).then(|| leaf(&[pair[1]])).transpose()?;
            parameters.push((weight, bias));
        }
        let layers = parameters
            .iter()
            .enumerate()
            .map(|(i, (weight, bias))| Layer {
                weight,
                bias: bias.as_ref(),
                activation: (self.activation)(i),
            });
        let y = mlp(&x, &layers.collect::<Vec<_>>())?;
        let weight = numbers(y.dims(), 9)?.to_dtype(dtype)?;
        let gradients = (&y * weight)?.sum_all()?.backward()?;
        let mut all = vec![Some(y.detach())];
        all.extend(leaves.iter().map(|var| gradients.get(var).cloned()));
        Ok(all)
    }

    /// Fused in f32 against composed in f64.
    fn check(&self) -> Result<()> {
        let (fused, reference) = (self.run(DType::F32)?, self.run(DType::F64)?);
        assert_eq!(fused.len(), reference.len());
        for (i, (f, r)) in fused.iter().zip(&reference).enumerate() {
            let what = format!("{i} of {} rows through {:?}", self.rows, self.dims);
            assert_eq!(f.is_none(), i > 0 && (self.frozen)(i - 1), "{what}");
            let Some(f) = f else { continue };
            let Some(r) = r else {
                // Candle leaves empty operands out of the graph.
                assert_eq!((self.rows, largest(f)?), (0, 0.), "{what}");
                continue;
            };
            let (error, scale) = (difference(f, r)?, largest(r)?);
            assert!(error <= 2e-5 * (1. + scale), "{what}: {error}");
        }
        Ok(())
    }
}

const CHUNKED: usize = 16 * ROWS;

#[test]
fn nets_of_any_depth_and_number_of_rows_meet_composed() -> Result<()> {
    let dims = [6, 9, 5, 8, 3, 4];
    for depth in 1..=5 {
        for rows in [0, 1, ROWS - 1, ROWS + 1, 3 * ROWS + 5] {
            Case::new(rows, &dims[..=depth]).check()?;
        }
        // In chunks: one more row than is divided evenly, and parts of several chunks.
        for rows in [MANY - 1, MANY, MANY + 1, CHUNKED + 3 * ROWS + 5] {
            Case::new(rows, &dims[..=depth]).check()?;
        }
    }
    Ok(())
}

#[test]
fn chunks_share_threads_and_large_weights_go_in_tiles() -> Result<()> {
    for (rows, dims) in [
        (CHUNKED + 3 * ROWS + 5, &[24, 40, 33, 10][..]),
        (MANY + 7, &[40, 2 * SMALL / 80, 10]),
        (128, &[200, 300, 40]),
    ] {
        Case::new(rows, dims).check()?;
    }
    Ok(())
}

#[test]
fn activations_biases_and_views_meet_composed() -> Result<()> {
    for rows in [5, MANY + 5] {
        // What keeps its argument comes before, between and after the others.
        let activations: [fn(usize) -> Activation; 6] = [
            |l| ALL[l],
            |l| ALL[3 + l],
            |l| ALL[6 + l],
            |l| ALL[8 - l],
            |_| Activation::Gelu,
            |_| Activation::LeakyRelu(-0.5),
        ];
        for activation in activations {
            Case {
                activation,
                ..Case::new(rows, &[6, 9, 5, 8])
            }
            .check()?;
        }
        let plain = || Case::new(rows, &[6, 9, 5]);
        for bias in [|_| false, |l| l == 0, |l| l == 1] as [fn(usize) -> bool; 3] {
            Case { bias, ..plain() }.check()?;
        }
        let frozen: [fn(usize) -> bool; 6] = [
            |i| i == 0,
            |i| i < 3,
            |i| i > 0,
            |i| i < 4,
            |i| i != 2,
            |i| i % 2 == 1,
        ];
        for frozen in frozen {
            Case { frozen, ..plain() }.check()?;
        }
    }
    let views: [fn(&Tensor) -> Result<Tensor>; 4] = [
        |x| Ok(x.narrow(0, 1, 1)?.squeeze(0)?),
        |x| Ok(x.reshape((2, 3, 6))?),
        |x| Ok(x.t()?),
        |x| Ok(x.narrow(0, 2, 1)?.broadcast_as((4, 6))?),
    ];
    for view in views {
        Case {
            view,
            ..Case::new(6, &[6, 9, 5])
        }
        .check()?;
    }
    Ok(())
}

#[test]
fn nothing_is_kept_without_a_way_back() -> Result<()> {
    for rows in [5, MANY + 5] {
        let case = Case::new(rows, &[6, 9, 5]);
        let with = case.run(DType::F32)?;
        let frozen = Case {
            frozen: |_| true,
            ..case
        }
        .run(DType::F32)?;
        assert!(frozen[1..].iter().all(Option::is_none));
        let (Some(a), Some(b)) = (&with[0], &frozen[0]) else {
            panic!("no value")
        };
        assert_eq!(a.to_vec2::<f32>()?, b.to_vec2::<f32>()?);
    }
    Ok(())
}
