use super::*;
use crate::kernels::elementwise::named;
use candle_core::Var;

/// With a slope that is not constant and one that is large.
#[derive(Clone, Copy)]
struct Curve<const QUICK: bool, const SINGLE: bool>;

impl<const QUICK: bool, const SINGLE: bool> Formula<1> for Curve<QUICK, SINGLE> {
    const QUICK: bool = QUICK;
    const SINGLE: bool = SINGLE;

    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        x.exp() - x.square() * 3.
    }
}

/// What the node replaces.
fn composed<F: Formula<1>>(f: F, x: &Tensor, centre: Option<&Tensor>) -> Result<[Tensor; 2]> {
    let x = match centre {
        Some(centre) => x.broadcast_sub(centre)?,
        None => x.clone(),
    };
    let terms = named("composed", f, [&x])?;
    let mean = terms.mean_all()?;
    Ok([terms, mean])
}

type Parts = (Vec<f64>, Vec<Vec<f64>>);

/// Terms and mean, and the gradients of the mean, of weighted terms, and of both.
fn parts(
    run: impl Fn(&Tensor, &Tensor) -> Result<[Tensor; 2]>,
    x: &Tensor,
    view: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Parts> {
    let flat = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (x, centre) = (Var::from_tensor(x)?, Tensor::new(0.75, x.device())?);
    let centre = Var::from_tensor(&centre.to_dtype(x.dtype())?)?;
    let [terms, mean] = run(&view(&x)?, &centre)?;
    let weights = Tensor::arange(0., terms.elem_count() as f64, x.device())?;
    let weights = (weights.sin()? + 0.2)?.reshape(terms.shape())?;
    let weights = weights.to_dtype(terms.dtype())?;
    let losses = [
        mean.clone(),
        (&mean * 2.5)?,
        (&terms * &weights)?.sum_all()?,
        ((&terms * &weights)?.sum_all()? + (&mean * 3.)?)?,
    ];
    let mut gradients = vec![];
    for loss in losses {
        let store = loss.backward()?;
        for var in [&x, &centre] {
            gradients.push(store.get(var).map(&flat).transpose()?.unwrap_or_default());
        }
    }
    let values = [flat(&terms)?, flat(&mean)?].concat();
    Ok((values, gradients))
}

fn meets<F: Formula<1>>(f: F) -> Result<()> {
    type View = fn(&Tensor) -> candle_core::Result<Tensor>;
    let views: [View; 5] = [
        |x| Ok(x.clone()),
        |x| x.t(),
        |x| x.narrow(1, 2, 5),
        |x| x.narrow(0, 3, 1)?.broadcast_as((4, 12)),
        |x| x.get(2)?.get(3),
    ];
    let long = 2 * CHUNK + TURN + 3;
    for dtype in [DType::F64, DType::F32] {
        let grid = Tensor::arange_step(-3f64, 3., 0.1, &Device::Cpu)?;
        let grid = grid.reshape((5, 12))?.to_dtype(dtype)?;
        let many = Tensor::arange(0., (long * 6) as f64, &Device::Cpu)?;
        let many = (many.sin()?.reshape((long, 6))? * 2.)?.to_dtype(dtype)?;
        let grids = views.iter().map(|view| (&grid, view));
        for (i, (x, view)) in grids.chain([(&many, &views[0])]).enumerate() {
            for centred in [false, true] {
                let fused = parts(
                    |x, centre| match centred {
                        true => centred_with_mean("fused", f, x, centre),
                        false => with_mean("fused", f, x),
                    },
                    x,
                    view,
                )?;
                let composed = parts(
                    |x, centre| composed(f, x, centred.then_some(centre)),
                    &x.to_dtype(DType::F64)?,
                    view,
                )?;
                let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-6 };
                let near = |a: &[f64], b: &[f64]| {
                    let most = b.iter().fold(0f64, |most, b| most.max(b.abs()));
                    let pairs = a.iter().zip(b);
                    a.len() == b.len()
                        && pairs
                            .into_iter()
                            .all(|(a, b)| (a - b).abs() <= tolerance * most)
                };
                let what = format!("{dtype:?} view {i} centred {centred}");
                assert!(near(&fused.0, &composed.0), "{what}");
                for (k, (a, b)) in fused.1.iter().zip(&composed.1).enumerate() {
                    assert!(near(a, b), "{what} gradient {k}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn fused_meets_composed() -> Result<()> {
    meets(Curve::<false, false>)?;
    meets(Curve::<true, false>)?;
    meets(Curve::<true, true>)
}

/// Terms that a sum of f32 cannot hold, and one that it would lose.
#[test]
fn sums_neither_overflow_nor_lose_what_is_small() -> Result<()> {
    let x = Tensor::full(3e38f32, 100_000, &Device::Cpu)?;
    let [_, mean] = with_mean("mean", Identity, &x)?;
    assert_eq!(mean.to_scalar::<f32>()?, 3e38);
    let mut x = vec![1f32; 1 << 20];
    x[0] = 3e9;
    let x = Tensor::new(x, &Device::Cpu)?;
    let [_, mean] = with_mean("mean", Identity, &x)?;
    let want = (3e9 + f64::from((1 << 20) - 1)) / f64::from(1 << 20);
    assert_eq!(mean.to_scalar::<f32>()?, want as f32);
    Ok(())
}

/// No elements: terms without any, and NaN, which callers refuse.
#[test]
fn of_nothing_the_mean_is_no_number() -> Result<()> {
    let x = Var::zeros((3, 0), DType::F32, &Device::Cpu)?;
    let [terms, mean] = with_mean("mean", Identity, &x)?;
    assert_eq!(terms.dims(), &[3, 0]);
    assert!(mean.to_scalar::<f32>()?.is_nan());
    assert_eq!(mean.backward()?.get(&x).map(Tensor::elem_count), Some(0));
    Ok(())
}
