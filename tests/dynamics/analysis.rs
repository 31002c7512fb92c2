//! Stability, energies and sensitivity along a path.

use crate::cases::{CPU, Case, Options, SCHEMES};
use crate::support::floats;
use candle_core::{DType, Tensor};
use candle_prob::dynamics::analysis::{
    condition_numbers, eigenvalues, energies, jacobians, lyapunov, propagation_jacobian, stability,
};
use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, Start, State, Tangent, Weights};
use candle_prob::{Activation, Error, Result, Rng};

fn law(scheme: Scheme, activation: Activation, step: f64) -> Propagation {
    Propagation {
        scheme,
        activation,
        step,
        memory: Memory::Constant,
    }
}

fn normal(seed: u64, dims: &[usize], scale: f64) -> Result<Tensor> {
    Ok((Rng::new(seed).normal(dims, DType::F64, &CPU)? * scale)?)
}

/// A kernel in each of `layers`.
fn constant(kernel: &Tensor, layers: usize) -> Result<Weights> {
    let dims = [&[layers], kernel.dims()].concat();
    Ok(Weights::new(&kernel.broadcast_as(dims)?))
}

fn options(layers: usize, conv: bool) -> Options {
    Options {
        layers,
        time: 1.,
        conv,
        dtype: DType::F64,
    }
}

fn near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{got} {want}");
    }
}

#[test]
fn eigenvalues_of_matrices_that_are_known() -> Result<()> {
    let of = |rows: &[&[f64]]| -> Result<(Vec<f64>, Vec<f64>)> {
        let n = rows.len();
        let found = eigenvalues(&Tensor::from_vec(rows.concat(), (n, n), &CPU)?)?;
        Ok((floats(&found.real)?, floats(&found.imaginary)?))
    };
    // K_+, K_- and K_0 of the paper. The first two are defective: half of the digits.
    for (rows, value) in [([[2., -2.], [0., 2.]], 2.), ([[-2., 0.], [2., -2.]], -2.)] {
        let (re, im) = of(&[&rows[0], &rows[1]])?;
        near(&re, &[value; 2], 1e-7);
        near(&im, &[0.; 2], 1e-7);
    }
    let (re, im) = of(&[&[0., -1.], &[1., 0.]])?;
    near(&re, &[0.; 2], 1e-15);
    near(&im, &[1., -1.], 1e-15);
    assert_eq!(of(&[[0.; 3].as_slice(); 3])?, (vec![0.; 3], vec![0.; 3]));
    assert_eq!(of(&[&[7.]])?, (vec![7.], vec![0.]));
    // The companion matrix of (x - 1)(x - 2)(x - 3)(x^2 + 4).
    let (re, im) = of(&[
        &[6., -15., 30., -44., 24.],
        &[1., 0., 0., 0., 0.],
        &[0., 1., 0., 0., 0.],
        &[0., 0., 1., 0., 0.],
        &[0., 0., 0., 1., 0.],
    ])?;
    near(&re, &[3., 2., 1., 0., 0.], 1e-10);
    near(&im, &[0., 0., 0., 2., -2.], 1e-10);
    // A cyclic permutation, which the shifts of the iteration leave as it is: roots of unity.
    for n in [3, 4, 5, 8] {
        let mut cycle = vec![0.; n * n];
        (0..n).for_each(|i| cycle[i * n + (i + 1) % n] = 1.);
        let found = eigenvalues(&Tensor::from_vec(cycle, (n, n), &CPU)?)?;
        let (re, im) = (floats(&found.real)?, floats(&found.imaginary)?);
        for (re, im) in re.iter().zip(&im) {
            assert!((re.hypot(*im) - 1.).abs() < 1e-12);
            let turns = im.atan2(*re) * n as f64 / std::f64::consts::TAU;
            assert!((turns - turns.round()).abs() < 1e-11);
        }
        assert!(re.iter().sum::<f64>().abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn eigenvalues_add_up_to_the_trace() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for n in [2, 5, 30] {
            let x = normal(1, &[3, 2, n, n], 1.)?.to_dtype(dtype)?;
            let found = eigenvalues(&x)?;
            assert_eq!(found.real.dims(), [3, 2, n]);
            let (re, im) = (floats(&found.real)?, floats(&found.imaginary)?);
            let wide = floats(&x)?;
            for (k, matrix) in wide.chunks(n * n).enumerate() {
                let trace: f64 = (0..n).map(|i| matrix[i * n + i]).sum();
                let (re, im) = (&re[k * n..][..n], &im[k * n..][..n]);
                assert!((re.iter().sum::<f64>() - trace).abs() < 1e-11);
                assert!(im.iter().sum::<f64>().abs() < 1e-11);
                assert!(re.windows(2).all(|w| w[0] >= w[1]));
                // tr A^2.
                let square: f64 = (0..n * n)
                    .map(|i| matrix[i] * matrix[i % n * n + i / n])
                    .sum();
                let sum: f64 = re.iter().zip(im).map(|(re, im)| re * re - im * im).sum();
                assert!((sum - square).abs() < 1e-9);
            }
            // Antisymmetric: imaginary.
            let turns = eigenvalues(&(&x - x.transpose(2, 3)?)?)?;
            assert!(floats(&turns.real)?.iter().all(|re| re.abs() < 1e-12));
        }
    }
    assert_eq!(
        eigenvalues(&normal(1, &[0, 3, 3], 1.)?)?.real.dims(),
        [0, 3]
    );
    assert_eq!(
        eigenvalues(&normal(1, &[2, 0, 0], 1.)?)?.real.dims(),
        [2, 0]
    );
    Ok(())
}

#[test]
fn conditions_of_matrices_that_are_known() -> Result<()> {
    let x = Tensor::new(&[[[3f64, 0.], [0., -0.5]], [[0., 1.], [-1., 0.]]], &CPU)?;
    near(&floats(&condition_numbers(&x)?)?, &[6., 1.], 1e-14);
    let flat = Tensor::new(&[[1f64, 1.], [1., 1.]], &CPU)?;
    assert!(floats(&condition_numbers(&flat)?)?[0] > 1e15);
    Ok(())
}

#[test]
fn what_is_no_matrix_is_refused() -> Result<()> {
    for dims in [vec![], vec![3], vec![2, 3], vec![2, 2, 3]] {
        let x = Tensor::zeros(dims, DType::F64, &CPU)?;
        assert!(matches!(eigenvalues(&x), Err(Error::Shape { .. })));
        assert!(matches!(condition_numbers(&x), Err(Error::Shape { .. })));
    }
    let empty = Tensor::zeros((2, 0, 0), DType::F64, &CPU)?;
    assert!(matches!(
        condition_numbers(&empty),
        Err(Error::Shape { .. })
    ));
    for bad in [f64::NAN, f64::INFINITY] {
        let x = Tensor::new(&[[1., bad], [0., 1.]], &CPU)?;
        assert!(matches!(eigenvalues(&x), Err(Error::Value { .. })));
        assert!(matches!(condition_numbers(&x), Err(Error::Value { .. })));
    }
    let whole = Tensor::ones((2, 2), DType::U8, &CPU)?;
    assert!(matches!(eigenvalues(&whole), Err(Error::DType { .. })));
    Ok(())
}

/// Of one layer, by central differences of its step: `h f` for Euler's method, `h^2 f` for leapfrog.
#[test]
fn jacobians_are_differences_of_a_step() -> Result<()> {
    for scheme in SCHEMES {
        for conv in [false, true] {
            let case = Case::new(scheme, &options(1, conv))?;
            let scale = match scheme {
                Scheme::Euler(_) => case.law.step,
                Scheme::Leapfrog(..) => case.law.step.powi(2),
                _ => continue,
            };
            let found = jacobians(&case.law, &case.state, &case.weights)?;
            let y = &case.state.y;
            let event = if conv { 3 } else { 1 };
            let (batch, features) = y.dims().split_at(y.rank() - event);
            let (rows, n) = (batch.iter().product::<usize>(), features.iter().product());
            assert_eq!(found.dims(), [&[1], batch, &[n, n]].concat());
            let found = floats(&found)?;
            // What a step adds beside the force moves as the identity, once or twice.
            let moved = |i: usize, by: f64| -> Result<Vec<f64>> {
                let mut unit = vec![0.; n];
                unit[i] = by;
                let unit = Tensor::from_vec(unit, features, &CPU)?;
                let y = y.broadcast_add(&unit)?;
                let still = match scheme {
                    Scheme::Leapfrog(..) => Some(y.zeros_like()?),
                    _ => None,
                };
                let state = State {
                    y: y.clone(),
                    z: still,
                };
                let end = case.law.forward(&state, &case.weights)?;
                floats(&((end.y - y)? / scale)?)
            };
            for i in 0..n {
                let (up, down) = (moved(i, 1e-5)?, moved(i, -1e-5)?);
                for row in 0..rows {
                    for k in 0..n {
                        let want = (up[row * n + k] - down[row * n + k]) / 2e-5;
                        let got = found[(row * n + k) * n + i];
                        assert!((got - want).abs() < 1e-6, "{scheme:?} {conv}: {got} {want}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn jacobians_of_all_layers_multiply_to_that_of_the_propagation() -> Result<()> {
    // For Euler's method, `prod (I + h J_j)`.
    let case = Case::new(Scheme::Euler(Force::Double), &options(4, false))?;
    let found = jacobians(&case.law, &case.state, &case.weights)?;
    let n = case.state.y.dims()[1];
    let one = Tensor::eye(n, DType::F64, &CPU)?;
    let mut product = one.broadcast_as(found.dims()[1..].to_vec())?.contiguous()?;
    for j in 0..4 {
        let step = (found.get(j)? * case.law.step)?.broadcast_add(&one)?;
        product = step.matmul(&product)?;
    }
    let all = propagation_jacobian(&case.law, &case.state, &case.weights)?;
    near(&floats(&all)?, &floats(&product)?, 1e-12);
    Ok(())
}

#[test]
fn the_propagations_jacobian_holds_its_tangents() -> Result<()> {
    for scheme in SCHEMES {
        for conv in [false, true] {
            let case = Case::new(scheme, &options(3, conv))?;
            let all = propagation_jacobian(&case.law, &case.state, &case.weights)?;
            let v = normal(5, case.state.y.dims(), 1.)?;
            let along = Tangent {
                y: Some(v.clone()),
                ..Default::default()
            };
            let want = case.law.tangent(&case.state, &case.weights, &along)?.y;
            let n = *all.dims().last().unwrap();
            let columns = v.reshape(((), n, 1))?;
            let got = all.reshape(((), n, n))?.matmul(&columns)?;
            near(&floats(&got)?, &floats(&want)?, 1e-11);
        }
    }
    Ok(())
}

/// Lemma 1 looks at the Jacobian, not at K: saturated layers are stable whatever K is.
#[test]
fn stability_is_that_of_the_jacobian() -> Result<()> {
    let euler = Scheme::Euler(Force::Single);
    let kernel = Tensor::new(&[[-30f64, 0.], [0., -30.]], &CPU)?;
    let weights = constant(&kernel, 1)?;
    let at = |y: f64| -> Result<f64> {
        let state = State::new(&Tensor::full(y, (1, 2), &CPU)?);
        stability(&law(euler, Activation::Tanh, 0.1), &state, &weights)?.largest()
    };
    assert!((at(0.)? - 2.).abs() < 1e-14);
    let slope = 1. - (0.1f64 * 30.).tanh().powi(2);
    assert!((at(0.1)? - (1. - 3. * slope).abs()).abs() < 1e-14);

    // The paper's three examples: growing, shrinking, turning.
    let state = State::new(&normal(2, &[7, 2], 0.3)?);
    for (rows, activation, stable) in [
        ([[2., -2.], [0., 2.]], Activation::Tanh, false),
        ([[-2., 0.], [2., -2.]], Activation::Tanh, true),
        ([[0., -1.], [1., 0.]], Activation::Tanh, false),
    ] {
        let weights = constant(&Tensor::new(&rows, &CPU)?, 10)?;
        let found = stability(&law(euler, activation, 0.1), &state, &weights)?;
        assert_eq!(found.growth.dims(), [10, 7]);
        assert_eq!(found.eigenvalues.real.dims(), [10, 7, 2]);
        assert_eq!(found.stable(0.)?, stable, "{rows:?}");
    }
    let found = stability(&law(euler, Activation::Tanh, 0.1), &state, &weights)?;
    for tolerance in [-1., f64::NAN] {
        assert!(matches!(found.stable(tolerance), Err(Error::Value { .. })));
    }
    Ok(())
}

/// Without diffusion its eigenvalues are imaginary: `|1 + h lambda| > 1` always. Enough diffusion makes it stable.
#[test]
fn antisymmetric_euler_steps_violate_the_test() -> Result<()> {
    for seed in 0..20 {
        let n = 2 + seed as usize % 5;
        let weights = Weights {
            bias: Some(normal(seed, &[6, n], 0.5)?),
            ..Weights::new(&normal(seed + 100, &[6, n, n], 1.)?)
        };
        let state = State::new(&normal(seed + 200, &[4, n], 1.)?);
        let of = |gamma, step| {
            let euler = Scheme::Euler(Force::Antisymmetric { gamma });
            stability(&law(euler, Activation::Tanh, step), &state, &weights)
        };
        let still = of(0., 0.1)?;
        assert!(floats(&still.growth)?.iter().all(|g| *g > 1.));
        let real = floats(&still.eigenvalues.real)?;
        assert!(real.iter().all(|re| re.abs() < 1e-13));
        assert!(of(1., 0.01)?.stable(0.)?);
        // Runge-Kutta's region has a part of the imaginary axis.
        let rk4 = Scheme::Rk4(Force::Antisymmetric { gamma: 0. });
        let found = stability(&law(rk4, Activation::Tanh, 0.1), &state, &weights)?;
        assert!(found.stable(1e-14)?);
        // An Euler step of the double force contracts, and leapfrog turns, while the steps are small.
        let double = Scheme::Euler(Force::Double);
        assert!(stability(&law(double, Activation::Tanh, 0.01), &state, &weights)?.stable(1e-14)?);
        for scheme in [Scheme::Leapfrog(Force::Double, Start::Rest), Scheme::Verlet] {
            let small = stability(&law(scheme, Activation::Identity, 0.1), &state, &weights)?;
            let large = stability(&law(scheme, Activation::Identity, 30.), &state, &weights)?;
            assert!(small.stable(1e-6)? && !large.stable(1.)?, "{scheme:?}");
        }
    }
    Ok(())
}

/// The growth of linear layers is the spectral radius of the step itself.
#[test]
fn growth_is_the_spectral_radius_of_a_step() -> Result<()> {
    let kernel = normal(3, &[3, 3], 1.)?;
    let state = State::new(&normal(4, &[1, 3], 1.)?);
    let weights = constant(&kernel, 1)?;
    for step in [0.2, 1.5] {
        for scheme in [
            Scheme::Euler(Force::Single),
            Scheme::Rk4(Force::Single),
            Scheme::Leapfrog(Force::Single, Start::Rest),
            Scheme::Leapfrog(Force::Definite, Start::Rest),
            Scheme::Verlet,
        ] {
            let law = law(scheme, Activation::Identity, step);
            let growth = stability(&law, &state, &weights)?.largest()?;
            // Columns: where unit vectors of (y, z) go.
            let beside = matches!(scheme, Scheme::Leapfrog(..) | Scheme::Verlet);
            let size = if beside { 6 } else { 3 };
            let mut columns = vec![];
            for i in 0..size {
                let mut unit = vec![0.; size];
                unit[i] = 1.;
                let part = |from: usize| Tensor::from_slice(&unit[from..from + 3], (1, 3), &CPU);
                let z = if beside { Some(part(3)?) } else { None };
                let end = law.forward(&State { y: part(0)?, z }, &weights)?;
                columns.extend(floats(&end.y)?);
                if let Some(z) = end.z {
                    columns.extend(floats(&z)?);
                }
            }
            let map = Tensor::from_vec(columns, (size, size), &CPU)?;
            let found = eigenvalues(&map)?;
            let (re, im) = (floats(&found.real)?, floats(&found.imaginary)?);
            let radius = re
                .iter()
                .zip(&im)
                .fold(0f64, |r, (a, b)| r.max(a.hypot(*b)));
            assert!(
                (growth - radius).abs() < 1e-7 * radius,
                "{scheme:?}: {growth} {radius}"
            );
        }
    }
    Ok(())
}

/// Constant weights conserve the energy up to an error that falls fourfold with half the step.
#[test]
fn energies_are_conserved_to_second_order() -> Result<()> {
    let kernel = normal(6, &[4, 3], 0.7)?;
    let (y, wide) = (normal(7, &[2, 3], 1.)?, normal(9, &[4], 0.3)?);
    let narrow = normal(8, &[3], 0.3)?;
    let stack = |bias: &Tensor, n: usize| bias.broadcast_as((n, bias.dims()[0]));
    for scheme in [
        Scheme::Verlet,
        Scheme::Leapfrog(Force::Definite, Start::Rest),
        Scheme::Leapfrog(Force::Double, Start::Rest),
    ] {
        for activation in [Activation::Tanh, Activation::Sigmoid, Activation::Identity] {
            let error = |layers: usize| -> Result<f64> {
                let law = law(scheme, activation, 4. / layers as f64);
                let double = scheme == Scheme::Leapfrog(Force::Double, Start::Rest);
                let weights = Weights {
                    bias: Some(stack(if double { &wide } else { &narrow }, layers)?),
                    second_bias: match scheme {
                        Scheme::Verlet => Some(stack(&wide, layers)?),
                        _ => None,
                    },
                    ..constant(&kernel, layers)?
                };
                let found = energies(&law, &State::new(&y), &weights)?;
                assert_eq!(found.dims(), [layers + 1, 2]);
                let found = floats(&found)?;
                let drift = found.chunks(2).map(|e| (e[0] - found[0]).abs());
                Ok(drift.fold(0., f64::max))
            };
            let (coarse, middle, fine) = (error(200)?, error(400)?, error(800)?);
            for fall in [coarse / middle, middle / fine] {
                let what = format!("{scheme:?} {activation:?}: {coarse} {middle} {fine}");
                assert!((3.8..4.2).contains(&fall) && fine < 1e-2, "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn energies_of_images_and_of_single_precision() -> Result<()> {
    for scheme in [
        Scheme::Verlet,
        Scheme::Leapfrog(Force::Definite, Start::Rest),
        Scheme::Leapfrog(Force::Double, Start::Rest),
    ] {
        let kernel = normal(10, &[2, 2, 3, 3], 0.2)?;
        let y = normal(11, &[3, 2, 4, 5], 1.)?;
        let of = |layers: usize, dtype: DType| -> Result<Vec<f64>> {
            let weights = constant(&kernel.to_dtype(dtype)?, layers)?;
            let law = law(scheme, Activation::Tanh, 2. / layers as f64);
            let found = energies(&law, &State::new(&y.to_dtype(dtype)?), &weights)?;
            assert_eq!(found.dims(), [layers + 1, 3]);
            floats(&found)
        };
        let drift = |found: &[f64]| {
            let all = found.iter().zip(found.iter().take(3).cycle());
            all.fold(0f64, |most, (e, first)| most.max((e / first - 1.).abs()))
        };
        let (coarse, fine) = (drift(&of(100, DType::F64)?), drift(&of(200, DType::F64)?));
        assert!(
            (3.8..4.2).contains(&(coarse / fine)),
            "{scheme:?}: {coarse} {fine}"
        );
        near(&of(50, DType::F32)?, &of(50, DType::F64)?, 1e-4);
    }
    Ok(())
}

#[test]
fn what_has_no_energy_is_refused() -> Result<()> {
    let (weights, state) = (
        constant(&normal(1, &[2, 2], 1.)?, 3)?,
        State::new(&normal(1, &[2], 1.)?),
    );
    let refused = |scheme, activation, name: &str| match energies(
        &law(scheme, activation, 0.1),
        &state,
        &weights,
    ) {
        Err(Error::Value { arg, .. }) => assert_eq!(arg, name),
        other => panic!("{other:?}"),
    };
    for scheme in SCHEMES {
        let has = matches!(
            scheme,
            Scheme::Verlet | Scheme::Leapfrog(Force::Definite | Force::Double, _)
        );
        if !has {
            refused(scheme, Activation::Tanh, "scheme");
        }
    }
    for activation in [Activation::Softplus, Activation::Silu, Activation::Gelu] {
        refused(Scheme::Verlet, activation, "activation");
    }
    Ok(())
}

/// All exponents of a state add up to the growth of its volume: 0 for Verlet and leapfrog.
#[test]
fn exponents_add_up_to_the_growth_of_volumes() -> Result<()> {
    for scheme in SCHEMES {
        let case = Case::new(scheme, &options(5, false))?;
        let (s, m) = (case.weights.kernel.dims()[2], case.weights.kernel.dims()[1]);
        let size = match scheme {
            Scheme::Verlet => s + m,
            Scheme::Leapfrog(..) => 2 * s,
            _ => s,
        };
        let (law, state, weights) = (&case.law, &case.state, &case.weights);
        let found = lyapunov(law, state, weights, size, &mut Rng::new(1))?;
        let batch = &state.y.dims()[..state.y.rank() - 1];
        assert_eq!(found.growth.dims(), [&[5, size], batch].concat());
        assert_eq!(found.exponents.dims(), [&[size], batch].concat());
        let got = floats(&found.exponents.sum(0)?)?;
        let want = match scheme {
            Scheme::Verlet | Scheme::Leapfrog(..) => vec![0.; got.len()],
            _ => {
                let all = propagation_jacobian(law, state, weights)?;
                let spectrum = eigenvalues(&all)?;
                let (re, im) = (floats(&spectrum.real)?, floats(&spectrum.imaginary)?);
                let logs: Vec<f64> = re.iter().zip(&im).map(|(a, b)| a.hypot(*b).ln()).collect();
                logs.chunks(s)
                    .map(|l| l.iter().sum::<f64>() / (5. * law.step))
                    .collect()
            }
        };
        near(&got, &want, 1e-9);
    }
    Ok(())
}

#[test]
fn exponents_of_linear_layers() -> Result<()> {
    // (1 + h k) for each eigenvalue k, after a long time.
    let kernel = Tensor::new(&[[1f64, 0.], [0.5, -1.]], &CPU)?;
    let law = law(Scheme::Euler(Force::Single), Activation::Identity, 0.1);
    let state = State::new(&normal(1, &[2, 2], 1e-3)?);
    let weights = constant(&kernel, 300)?;
    let found = lyapunov(&law, &state, &weights, 2, &mut Rng::new(0))?;
    let last = floats(&found.growth.get(299)?)?;
    near(
        &last,
        &[1.1f64.ln(), 1.1f64.ln(), 0.9f64.ln(), 0.9f64.ln()],
        1e-12,
    );
    // Directions that are led to 0.
    let zero = constant(&(Tensor::eye(2, DType::F64, &CPU)? * -2.)?, 3)?;
    let half = Propagation { step: 0.5, ..law };
    let found = lyapunov(&half, &state, &zero, 1, &mut Rng::new(0))?;
    assert!(
        floats(&found.growth)?
            .iter()
            .all(|g| *g == f64::NEG_INFINITY)
    );
    for directions in [0, 3] {
        let refused = lyapunov(&law, &state, &weights, directions, &mut Rng::new(0));
        assert!(matches!(
            refused,
            Err(Error::Value {
                arg: "directions",
                ..
            })
        ));
    }
    Ok(())
}

#[test]
fn of_no_example_there_is_nothing() -> Result<()> {
    for scheme in [Scheme::Euler(Force::Double), Scheme::Verlet] {
        let weights = constant(&normal(1, &[4, 3], 1.)?, 2)?;
        let law = law(scheme, Activation::Tanh, 0.1);
        let state = State::new(&Tensor::zeros((0, 3), DType::F64, &CPU)?);
        assert_eq!(jacobians(&law, &state, &weights)?.dims(), [2, 0, 3, 3]);
        let all = propagation_jacobian(&law, &state, &weights)?;
        assert_eq!(all.dims(), [0, 3, 3]);
        let found = stability(&law, &state, &weights)?;
        assert_eq!(
            (found.growth.dims(), found.largest()?),
            ([2, 0].as_slice(), 0.)
        );
        let found = lyapunov(&law, &state, &weights, 2, &mut Rng::new(0))?;
        assert_eq!(found.growth.dims(), [2, 2, 0]);
        assert_eq!(found.exponents.dims(), [2, 0]);
        if scheme == Scheme::Verlet {
            assert_eq!(energies(&law, &state, &weights)?.dims(), [3, 0]);
        }
    }
    Ok(())
}
