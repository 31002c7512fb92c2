//! Continuous flows: log-dets against numeric Jacobians, there and back, exact traces against estimates.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::dynamics::{Dopri5, Rk4, Solver, VectorField, advance, equal_steps};
use candle_prob::flow::{Ffjord, FfjordConfig, ffjord};
use candle_prob::{Result, Rng, init};
use std::collections::HashMap;
use std::sync::Arc;

const CPU: Device = Device::Cpu;

/// A flow that moves: its last layer does not start at zero here.
fn moving(config: &FfjordConfig) -> Result<(Ffjord, Vec<Var>)> {
    moving_in(config, DType::F64)
}

fn moving_in(config: &FfjordConfig, dtype: DType) -> Result<(Ffjord, Vec<Var>)> {
    let vars = VarMap::new();
    ffjord(config, init::seeded(&vars, 1, DType::F64, &CPU))?;
    let mut rng = Rng::new(2);
    let (mut tensors, mut list) = (HashMap::new(), vec![]);
    for (name, var) in init::named_vars(&vars)? {
        let width = *var.dims().last().unwrap_or(&1) as f64;
        let noise = (rng.normal(var.shape(), DType::F64, &CPU)? * (1. / width.sqrt()))?;
        let var = Var::from_tensor(&noise.to_dtype(dtype)?)?;
        tensors.insert(name, var.as_tensor().clone());
        list.push(var);
    }
    Ok((
        ffjord(config, VarBuilder::from_tensors(tensors, dtype, &CPU))?,
        list,
    ))
}

fn small(solver: impl Solver) -> FfjordConfig {
    FfjordConfig {
        hidden: vec![8, 8],
        solver: Arc::new(solver),
        ..Default::default()
    }
}

fn normal(seed: u64, shape: &[usize]) -> Result<Tensor> {
    Rng::new(seed).normal(shape, DType::F64, &CPU)
}

fn largest(t: &Tensor) -> Result<f64> {
    Ok(t.abs()?.max_all()?.to_scalar()?)
}

#[test]
fn log_dets_are_those_of_the_map() -> Result<()> {
    let precise = Dopri5 {
        relative: 1e-10,
        absolute: 1e-10,
        max_steps: 1000,
    };
    for config in [small(Rk4 { steps: 40 }), small(precise)] {
        let (flow, _) = moving(&config)?;
        let x = normal(3, &[6, 2])?;
        for inverse in [false, true] {
            let map = |x: &Tensor| flow.path(x, inverse).map(|path| path.end);
            let log_det = flow.path(&x, inverse)?.log_det.to_vec1::<f64>()?;
            let h = 1e-5;
            let column = |k: usize| -> Result<Vec<Vec<f64>>> {
                let step = (Tensor::eye(2, DType::F64, &CPU)?.get(k)? * h)?;
                let up = map(&x.broadcast_add(&step)?)?;
                let down = map(&x.broadcast_sub(&step)?)?;
                Ok(((up - down)? / (2. * h))?.to_vec2::<f64>()?)
            };
            let (a, b) = (column(0)?, column(1)?);
            for (i, log_det) in log_det.iter().enumerate() {
                let det = a[i][0] * b[i][1] - a[i][1] * b[i][0];
                assert!(
                    (det.abs().ln() - log_det).abs() < 2e-6,
                    "{config:?} {inverse}"
                );
            }
        }
        let (y, log_det) = flow.transform_and_log_det(&x)?;
        let (back, other) = flow.inverse_and_log_det(&y)?;
        assert!(largest(&(back - &x)?)? < 1e-6);
        assert!(largest(&(log_det + other)?)? < 1e-6);
        assert!(largest(&(y - &x)?)? > 0.1, "the flow moves");
    }
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let config = FfjordConfig {
        context: 3,
        ..small(Rk4 { steps: 4 })
    };
    let (flow, vars) = moving(&config)?;
    let (x, context) = (
        Var::from_tensor(&normal(4, &[5, 2])?)?,
        Var::from_tensor(&normal(5, &[1, 3])?)?,
    );
    let mut leaves = vec![x.clone(), context.clone()];
    leaves.extend(vars);
    let noise = normal(6, &[5, 2])?;
    for estimated in [false, true] {
        let loss = || -> Result<Tensor> {
            let flow = flow.given(context.as_tensor())?;
            let flow = if estimated {
                flow.estimating(&noise)?
            } else {
                flow
            };
            let path = flow.path(x.as_tensor(), true)?;
            let parts = [path.log_det, path.kinetic, path.jacobian];
            let mut loss = path.end.sin()?.sum(D::Minus1)?;
            for (part, weight) in parts.iter().zip([1., 0.3, 0.2]) {
                loss = (loss + (part * weight)?)?;
            }
            Ok(loss.sum_all()?)
        };
        let gradients = loss()?.backward()?;
        for (i, leaf) in leaves.iter().enumerate() {
            let direction = normal(7 + i as u64, leaf.dims())?;
            let start = leaf.as_tensor().copy()?.detach();
            let h = 1e-5;
            let at = |h: f64| -> Result<f64> {
                leaf.set(&(&start + (&direction * h)?)?)?;
                Ok(loss()?.to_scalar::<f64>()?)
            };
            let numeric = (at(h)? - at(-h)?) / (2. * h);
            leaf.set(&start)?;
            let gradient = gradients.get(leaf).unwrap();
            let along = (gradient * direction)?.sum_all()?.to_scalar::<f64>()?;
            assert!(
                (along - numeric).abs() < 1e-6 * numeric.abs().max(1.),
                "leaf {i}: {along} {numeric}"
            );
        }
    }
    Ok(())
}

/// What is asked of a flow, which has a way of its own to each.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Path,
    LogDet,
    End,
}

/// What is asked and all gradients of an uneven loss.
fn run(
    config: &FfjordConfig,
    rows: &[usize],
    how: [bool; 2],
    asked: Asked,
    dtype: DType,
) -> Result<Vec<Tensor>> {
    let [inverse, estimated] = how;
    let (mut flow, vars) = moving_in(config, dtype)?;
    let leaf = |seed: u64, width: usize| -> Result<Var> {
        let draw = normal(seed, &[rows, &[width]].concat())?;
        Ok(Var::from_tensor(&draw.to_dtype(dtype)?)?)
    };
    let x = leaf(4, config.features)?;
    let mut leaves = vec![x.clone()];
    if config.context > 0 {
        let context = leaf(5, config.context)?;
        flow = flow.given(context.as_tensor())?;
        leaves.push(context);
    }
    if estimated {
        flow = flow.estimating(leaf(6, config.features)?.as_tensor())?;
    }
    leaves.extend(vars);
    let parts = match (asked, inverse) {
        (Asked::Path, _) => {
            let path = flow.path(&x, inverse)?;
            vec![path.end, path.log_det, path.kinetic, path.jacobian]
        }
        (Asked::LogDet, false) => flow.transform_and_log_det(&x).map(|(y, d)| vec![y, d])?,
        (Asked::LogDet, true) => flow.inverse_and_log_det(&x).map(|(x, d)| vec![x, d])?,
        (Asked::End, false) => vec![flow.transform(&x)?],
        (Asked::End, true) => vec![flow.inverse(&x)?],
    };
    let mut loss = parts[0].sin()?.sum(D::Minus1)?;
    if let Some(log_det) = parts.get(1) {
        loss = (loss + log_det.sin()?)?;
    }
    for (part, weight) in parts.iter().skip(2).zip([0.3, 0.2]) {
        loss = (loss + (part * weight)?)?;
    }
    let gradients = loss.sum_all()?.backward()?;
    let mut all: Vec<Tensor> = parts.iter().map(Tensor::detach).collect();
    for leaf in &leaves {
        let gradient = gradients.get(leaf).cloned();
        all.push(gradient.map_or_else(|| leaf.zeros_like(), Ok)?);
    }
    Ok(all)
}

#[test]
fn one_node_is_the_steps_one_by_one() -> Result<()> {
    let rk4 = Rk4 { steps: 3 };
    let three = FfjordConfig {
        features: 3,
        context: 2,
        activation: candle_prob::Activation::Softplus,
        ..small(rk4)
    };
    let sigmoid = FfjordConfig {
        activation: candle_prob::Activation::Sigmoid,
        hidden: vec![6],
        ..small(rk4)
    };
    let relu = FfjordConfig {
        activation: candle_prob::Activation::Relu,
        ..small(rk4)
    };
    let wide = FfjordConfig {
        features: 5,
        context: 1,
        hidden: vec![20, 13],
        ..small(rk4)
    };
    let deep = FfjordConfig {
        features: 1,
        hidden: vec![6, 7, 5],
        ..small(rk4)
    };
    for config in [small(rk4), three, sigmoid, wide, deep, relu] {
        for rows in [&[][..], &[7], &[3, 50], &[300], &[0]] {
            for how in [[false, false], [true, false], [false, true]] {
                for asked in [Asked::Path, Asked::LogDet, Asked::End] {
                    let fused = run(&config, rows, how, asked, DType::F32)?;
                    let composed = run(&config, rows, how, asked, DType::F64)?;
                    assert_eq!(fused.len(), composed.len());
                    for (i, (a, b)) in fused.iter().zip(&composed).enumerate() {
                        assert_eq!(a.dims(), b.dims());
                        if a.elem_count() > 0 {
                            let gap = largest(&(a.to_dtype(DType::F64)? - b)?)?;
                            let scale = largest(b)?.max(1.);
                            assert!(
                                gap < 1e-5 * scale,
                                "{asked:?} {config:?} {rows:?} {how:?} {i}: {gap} at {scale}"
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
fn estimates_are_unbiased_and_a_fresh_flow_stands_still() -> Result<()> {
    let (flow, _) = moving(&small(Rk4 { steps: 6 }))?;
    let x = normal(8, &[1, 2])?;
    let exact = flow.path(&x, true)?;
    let many = x.broadcast_as((4000, 2))?.contiguous()?;
    let path = flow
        .estimating(&normal(9, &[4000, 2])?)?
        .path(&many, true)?;
    for (estimates, exact) in [
        (path.log_det, exact.log_det),
        (path.jacobian, exact.jacobian),
    ] {
        let error = estimates.var(0)?.to_scalar::<f64>()?.sqrt() / 4000f64.sqrt();
        let gap = estimates.mean(0)?.to_scalar::<f64>()? - exact.to_vec1::<f64>()?[0];
        // Beyond 4 standard errors once in 16000 runs.
        assert!(gap.abs() < 4. * error, "{gap} with standard error {error}");
    }
    let vars = VarMap::new();
    let fresh = ffjord(
        &FfjordConfig::default(),
        init::seeded(&vars, 1, DType::F32, &CPU),
    )?;
    let x = x.to_dtype(DType::F32)?;
    let (y, log_det) = fresh.transform_and_log_det(&x)?;
    assert_eq!(y.to_vec2::<f32>()?, x.to_vec2::<f32>()?);
    assert_eq!(log_det.to_vec1::<f32>()?, [0.]);
    Ok(())
}

#[test]
fn the_density_integrates_to_one() -> Result<()> {
    let (flow, _) = moving(&small(Rk4 { steps: 10 }))?;
    let (side, reach) = (120, 9.);
    let cell = 2. * reach / side as f64;
    let at = |k: usize| -reach + cell * (k as f64 + 0.5);
    let points: Vec<f64> = (0..side * side)
        .flat_map(|k| [at(k % side), at(k / side)])
        .collect();
    let points = Tensor::from_vec(points, (side * side, 2), &CPU)?;
    let (z, log_det) = flow.inverse_and_log_det(&points)?;
    let base = ((z.sqr()?.sum(1)? * -0.5)? - std::f64::consts::TAU.ln())?;
    let total = (base + log_det)?.exp()?.sum_all()?.to_scalar::<f64>()? * cell * cell;
    assert!((total - 1.).abs() < 1e-3, "{total}");
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let (flow, _) = moving(&small(Rk4 { steps: 2 }))?;
    let says = |result: Result<Tensor>, words: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    says(flow.transform(&normal(1, &[4, 3])?), "[.., 2]");
    says(
        flow.transform(&normal(1, &[4, 2])?.to_dtype(DType::F32)?),
        "x",
    );
    says(
        flow.estimating(&normal(1, &[3, 2])?)?
            .transform(&normal(1, &[4, 2])?),
        "noise",
    );
    assert!(flow.given(&normal(1, &[4, 2])?).is_err());
    let config = FfjordConfig {
        context: 2,
        ..small(Rk4 { steps: 2 })
    };
    says(
        moving(&config)?.0.transform(&normal(1, &[4, 2])?),
        "call `given` first",
    );
    Ok(())
}

/// A solver of one's own: no fused form, the same flow to its error.
#[test]
fn solvers_from_outside() -> Result<()> {
    #[derive(Debug)]
    struct Midpoint(usize);
    impl Solver for Midpoint {
        fn integrate(
            &self,
            f: &mut VectorField,
            y: Vec<Tensor>,
            span: [f64; 2],
        ) -> Result<Vec<Tensor>> {
            equal_steps(self.0, y, span, |t, y, h| {
                let start = f(t, y)?;
                let middle = f(t + h / 2., &advance(y, h / 2., &[(1., &start)])?)?;
                advance(y, h, &[(1., &middle)])
            })
        }
    }
    let x = normal(3, &[6, 2])?;
    let want = moving(&small(Rk4 { steps: 40 }))?.0.path(&x, true)?;
    let mut before = f64::INFINITY;
    for steps in [20, 40, 80] {
        let path = moving(&small(Midpoint(steps)))?.0.path(&x, true)?;
        assert_eq!(path.evaluations, 2 * steps);
        let gap =
            largest(&(path.end - &want.end)?)?.max(largest(&(path.log_det - &want.log_det)?)?);
        // Order 2: a quarter of the error.
        assert!(gap < 0.3 * before, "{steps}: {gap} after {before}");
        before = gap;
    }
    // Only `Rk4` itself is one node, so the same steps one by one round otherwise.
    #[derive(Debug)]
    struct Delegate(Rk4);
    impl Solver for Delegate {
        fn integrate(
            &self,
            f: &mut VectorField,
            y: Vec<Tensor>,
            span: [f64; 2],
        ) -> Result<Vec<Tensor>> {
            self.0.integrate(f, y, span)
        }
    }
    let rk4 = Rk4 { steps: 10 };
    let x = normal(3, &[300, 2])?.to_dtype(DType::F32)?;
    let one = moving_in(&small(rk4), DType::F32)?.0;
    let steps = moving_in(&small(Delegate(rk4)), DType::F32)?.0;
    let log_det = |flow: &Ffjord| flow.inverse_and_log_det(&x).map(|(_, log_det)| log_det);
    let gap = (log_det(&one)? - log_det(&steps)?)?.abs()?;
    let gap = gap.max_all()?.to_scalar::<f32>()?;
    assert!(gap > 0. && gap < 1e-4, "{gap}");
    Ok(())
}
