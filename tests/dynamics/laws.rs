//! What the schemes are made for: orders of convergence, time reversal, bounded energy, operators with exact transposes.

use crate::cases::{CPU, Case, Options, SCHEMES, distance, dot, largest, order, reversible};
use crate::support::floats;
use candle_core::{DType, Tensor};
use candle_prob::dynamics::{
    Dopri5, Force, Memory, Propagation, Scheme, Start, State, Weights, analysis, solve,
};
use candle_prob::{Activation, Result, Rng};

fn law(scheme: Scheme, activation: Activation, step: f64) -> Propagation {
    Propagation {
        scheme,
        activation,
        step,
        memory: Memory::Constant,
    }
}

/// Weights that move with the time, or stand still: K, b, b_z.
fn weights_at(t: f64, moving: bool) -> Result<[Tensor; 3]> {
    let s = if moving { t } else { 0. };
    let kernel = [
        [0.9 + 0.5 * (1.3 * s).sin(), -0.7, 0.2 * s],
        [0.8, (2. * s).cos() * 0.6, -0.5],
        [-0.4, 0.3 - 0.4 * s, 0.7],
    ];
    let bias = [0.3 * (s + 1.).cos(), -0.2, 0.1 + 0.2 * s];
    let second = [0.1, 0.3 * (1. - s), -0.2];
    Ok([
        Tensor::new(&kernel, &CPU)?,
        Tensor::new(&bias, &CPU)?,
        Tensor::new(&second, &CPU)?,
    ])
}

/// Stacks of N layers, each with the weights `at` steps after its start.
fn stacks(layers: usize, time: f64, at: f64, moving: bool, verlet: bool) -> Result<Weights> {
    let h = time / layers as f64;
    let all: Vec<[Tensor; 3]> = (0..layers)
        .map(|j| weights_at(h * (j as f64 + at), moving))
        .collect::<Result<_>>()?;
    let stack = |i: usize| {
        let parts: Vec<&Tensor> = all.iter().map(|w| &w[i]).collect();
        Tensor::stack(&parts, 0)
    };
    Ok(Weights {
        kernel: stack(0)?,
        bias: Some(stack(1)?),
        second_bias: verlet.then(|| stack(2)).transpose()?,
    })
}

fn rows(x: &Tensor, kernel: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&kernel.t()?)?.broadcast_add(bias)?)
}

/// The right-hand sides of the equations: f(y) of one force.
fn force(force: Force, y: &Tensor, [kernel, bias, _]: &[Tensor; 3]) -> Result<Tensor> {
    Ok(match force {
        Force::Single => rows(y, kernel, bias)?.tanh()?,
        Force::Antisymmetric { gamma } => {
            let one = Tensor::eye(3, DType::F64, &CPU)?;
            let a = (((kernel - kernel.t()?)? - (one * gamma)?)? * 0.5)?;
            rows(y, &a, bias)?.tanh()?
        }
        Force::Definite => {
            let k = kernel.t()?.matmul(kernel)?.neg()?;
            rows(y, &k, bias)?.tanh()?
        }
        Force::Double => rows(y, kernel, bias)?.tanh()?.matmul(kernel)?.neg()?,
    })
}

const TIME: f64 = 2.;

fn features() -> Result<Tensor> {
    Ok(Tensor::new(&[[0.7f64, -0.4, 1.1], [-0.2, 0.9, 0.3]], &CPU)?)
}

/// The exact end: y, and z or the velocity, from z0 = 0.3 y0 or this velocity.
fn exact(scheme: Scheme, moving: bool, velocity: f64) -> Result<[Tensor; 2]> {
    let y0 = features()?;
    let f = |t: f64, at: &[Tensor]| -> Result<Vec<Tensor>> {
        let w = weights_at(t, moving)?;
        Ok(match scheme {
            Scheme::Euler(f) | Scheme::Rk4(f) => vec![force(f, &at[0], &w)?, at[1].zeros_like()?],
            Scheme::Leapfrog(f, _) => vec![at[1].clone(), force(f, &at[0], &w)?],
            Scheme::Verlet => vec![
                rows(&at[1], &w[0].t()?, &w[1])?.tanh()?,
                rows(&at[0], &w[0], &w[2])?.tanh()?.neg()?,
            ],
        })
    };
    let solver = Dopri5 {
        relative: 1e-13,
        absolute: 1e-13,
        max_steps: 100_000,
    };
    let start = vec![y0.clone(), (y0 * velocity)?];
    let end = solve(&solver, f, start, [0., TIME])?.state;
    Ok([end[0].clone(), end[1].clone()])
}

/// By what power the error of y at the end falls with the number of layers; for Verlet that of z too.
fn order_of(scheme: Scheme, at: f64, moving: bool, velocity: f64, rest: bool) -> Result<f64> {
    let exact = exact(scheme, moving, velocity)?;
    let y0 = features()?;
    let mut errors = vec![];
    for layers in [16, 32, 64, 128, 256] {
        let h = TIME / layers as f64;
        let weights = stacks(layers, TIME, at, moving, scheme == Scheme::Verlet)?;
        let first = weights_at(0., moving)?;
        let last = weights_at(TIME, moving)?;
        // Half a step back, so that z is read at whole steps; a difference that makes the first step exact.
        let z = match scheme {
            Scheme::Verlet => {
                let slope = rows(&y0, &first[0], &first[2])?.tanh()?;
                Some(((&y0 * velocity)? + (slope * (h / 2.))?)?)
            }
            Scheme::Leapfrog(f, _) if !rest => {
                let slope = force(f, &y0, &first)?;
                Some(((&y0 * (velocity * h))? - (slope * (h * h / 2.))?)?)
            }
            _ => None,
        };
        let start = State { y: y0.clone(), z };
        let end = law(scheme, Activation::Tanh, h).forward(&start, &weights)?;
        let mut error = distance(&end.y, &exact[0])?;
        if let (Scheme::Verlet, Some(z)) = (scheme, &end.z) {
            let slope = rows(&end.y, &last[0], &last[2])?.tanh()?;
            let z = (z - (slope * (h / 2.))?)?;
            error += distance(&z, &exact[1])?;
        }
        errors.push((layers, error));
    }
    Ok(order(&errors))
}

#[test]
fn schemes_have_their_order() -> Result<()> {
    let all = [
        Force::Single,
        Force::Antisymmetric { gamma: 0.1 },
        Force::Definite,
        Force::Double,
    ];
    let mut rows = vec![];
    for force in all {
        let leapfrog = Scheme::Leapfrog(force, Start::Rest);
        rows.extend([
            // What, where in its step a layer's weights are taken, whether they move, the velocity, at rest, the order.
            (Scheme::Euler(force), 0., false, 0., false, 1.),
            (Scheme::Euler(force), 0., true, 0., false, 1.),
            (Scheme::Rk4(force), 0., false, 0., false, 4.),
            (Scheme::Rk4(force), 0.5, true, 0., false, 2.),
            (leapfrog, 0., false, 0.5, false, 2.),
            (leapfrog, 0., true, 0.5, false, 2.),
            (leapfrog, 0., false, 0., true, 1.),
        ]);
    }
    rows.extend([
        (Scheme::Verlet, 0., false, 0.3, false, 2.),
        (Scheme::Verlet, 0., true, 0.3, false, 1.),
    ]);
    for (scheme, at, moving, velocity, rest, want) in rows {
        let found = order_of(scheme, at, moving, velocity, rest)?;
        let what = format!("{scheme:?} moving {moving} at rest {rest}");
        assert!((found - want).abs() < 0.2, "{what}: {found}");
    }
    Ok(())
}

#[test]
fn the_way_back_leads_to_the_start() -> Result<()> {
    for scheme in SCHEMES.into_iter().filter(|s| reversible(*s)) {
        for conv in [false, true] {
            for (dtype, bound) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
                let options = Options {
                    layers: 1000,
                    time: 10.,
                    conv,
                    dtype,
                };
                let case = Case::new(scheme, &options)?.with_z()?;
                let end = case.end()?;
                let again = case.law.back(&end, &case.weights)?;
                let z = (again.z.unwrap() - case.state.z.as_ref().unwrap())?;
                // A start from 0 has a velocity that the features grow with, and rounding with them.
                let size = match scheme {
                    Scheme::Leapfrog(_, Start::Zero) => largest(&end.y)?,
                    _ => largest(&case.state.y)?,
                };
                let off = largest(&(&again.y - &case.state.y)?)? / size;
                assert!(off < bound, "{}: {off}", case.name());
                let off = largest(&z)? / size;
                assert!(off < bound, "{}: z {off}", case.name());
            }
        }
    }
    Ok(())
}

/// The energies of states, with z moved to whole steps: `(E - E_0) / E_0`.
fn energies(
    law: &Propagation,
    kernel: &Tensor,
    layers: usize,
    potential: impl Fn(f64) -> f64,
    start: &State,
) -> Result<Vec<f64>> {
    let (m, s) = kernel.dims2()?;
    let weights = Weights::new(&kernel.broadcast_as((layers, m, s))?);
    let states = law.states(start, &weights)?;
    let sum = |x: &Tensor| -> Result<f64> {
        let x: Vec<f64> = x.flatten_all()?.to_vec1()?;
        Ok(x.into_iter().map(&potential).sum())
    };
    let energy = |state: &State| -> Result<f64> {
        let inner = state.y.matmul(&kernel.t()?)?;
        let slope = law.activation.forward(&inner)?;
        let z = state.z.as_ref().unwrap();
        let z = (z - (slope * (law.step / 2.))?)?;
        Ok(sum(&inner)? + sum(&z.matmul(kernel)?)?)
    };
    let all: Vec<f64> = states.iter().map(energy).collect::<Result<_>>()?;
    Ok(all.iter().map(|e| (e - all[0]) / all[0]).collect())
}

/// The mean and the largest absolute value.
fn summary(part: &[f64]) -> (f64, f64) {
    let mean = part.iter().sum::<f64>() / part.len() as f64;
    (mean, part.iter().fold(0., |most, e| e.abs().max(most)))
}

/// y'' = -y by Verlet's method over 1e5 steps of 0.05, 800 periods.
#[test]
fn the_energy_of_an_oscillator_stays() -> Result<()> {
    let law = law(Scheme::Verlet, Activation::Identity, 0.05);
    let one = Tensor::new(&[[1f64]], &CPU)?;
    // At whole steps y = 1 and z = 0.
    let start = State {
        y: one.clone(),
        z: Some((&one * 0.025)?),
    };
    let errors = energies(&law, &one, 100_000, |x| x * x / 2., &start)?;
    let (_, most) = summary(&errors);
    assert!(most < 1e-3 && most > 1e-5, "{most}");
    let (first, last) = (summary(&errors[..20_000]), summary(&errors[80_000..]));
    assert!((first.0 - last.0).abs() < 1e-6, "{first:?} {last:?}");
    assert!((first.1 - last.1).abs() < 1e-6, "{first:?} {last:?}");
    Ok(())
}

/// The augmented system conserves sum ln cosh(K^T z) + sum ln cosh(K y): with z at whole steps the error falls as h^2.
#[test]
fn the_energy_of_the_augmented_system_stays() -> Result<()> {
    let kernel = Tensor::new(&[[2f64, 1.], [-1., 2.], [0., 1.]], &CPU)?;
    let y = Tensor::new(&[[0.7f64, -0.4], [-0.2, 0.9]], &CPU)?;
    let most = |h: f64, layers: usize| -> Result<f64> {
        let law = law(Scheme::Verlet, Activation::Tanh, h);
        let half = (y.matmul(&kernel.t()?)?.tanh()? * (h / 2.))?;
        let start = State {
            y: y.clone(),
            z: Some(half),
        };
        let errors = energies(&law, &kernel, layers, |x| x.cosh().ln(), &start)?;
        let tenth = layers / 10;
        let (first, last) = (
            summary(&errors[..tenth]).1,
            summary(&errors[layers - tenth..]).1,
        );
        assert!(last < 2. * first, "{first} {last}");
        Ok(summary(&errors).1)
    };
    let errors = [(1, most(0.1, 20_000)?), (2, most(0.05, 40_000)?)];
    assert!((order(&errors) - 2.).abs() < 0.2, "{errors:?}");
    Ok(())
}

/// 1e5 layers of leapfrog in single precision: what conserves an energy keeps it, and a kernel that is not symmetric, of negative
/// eigenvalues, keeps features where they are.
#[test]
fn leapfrog_neither_explodes_nor_dies_out() -> Result<()> {
    let (at_once, times) = (10_000, 10);
    let y = Tensor::new(&[[0.1f32, 0.1], [0.5, -0.5], [1., 2.]], &CPU)?;
    for (force, kernel) in [
        (Force::Single, [[-2f32, 1.], [0., -1.]]),
        (Force::Definite, [[1.2, 0.3], [-0.4, 0.9]]),
        (Force::Double, [[1.2, 0.3], [-0.4, 0.9]]),
    ] {
        let law = law(Scheme::Leapfrog(force, Start::Rest), Activation::Tanh, 0.1);
        let kernel = Tensor::new(&kernel, &CPU)?;
        let weights = Weights::new(&kernel.broadcast_as((at_once, 2, 2))?);
        let energy = |at: &State| -> Result<Option<Vec<f64>>> {
            if force == Force::Single {
                return Ok(None);
            }
            let found = analysis::energies(&law, at, &weights.narrow(0, 1)?)?;
            Ok(Some(floats(&found.get(0)?)?))
        };
        let mut at = law.forward(&State::new(&y), &weights.narrow(0, 1)?)?;
        let first = energy(&at)?;
        for round in 0..times {
            at = law.forward(&at, &weights)?;
            let most = floats(&at.y)?
                .iter()
                .fold(0f64, |most, y| most.max(y.abs()));
            assert!(most < 20. && most > 1e-2, "{force:?} {round}: {most}");
            if let (Some(first), Some(now)) = (&first, energy(&at)?) {
                for (first, now) in first.iter().zip(now) {
                    assert!(
                        (now / first - 1.).abs() < 2e-2,
                        "{force:?} {round}: {now} {first}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// K x and K^T x of a layer by Verlet's method with h = 1, which has both.
fn products(kernel: &Tensor, y: &Tensor, z: &Tensor) -> Result<[Tensor; 2]> {
    let law = law(Scheme::Verlet, Activation::Identity, 1.);
    let weights = Weights::new(&kernel.unsqueeze(0)?);
    let of = |y: Tensor, z: Tensor| law.forward(&State { y, z: Some(z) }, &weights);
    let plain = of(y.clone(), z.zeros_like()?)?.z.unwrap().neg()?;
    let transposed = of(y.zeros_like()?, z.clone())?.y;
    Ok([plain, transposed])
}

#[test]
fn transposes_are_exact() -> Result<()> {
    let mut rng = Rng::new(3);
    let mut normal = |shape: &[usize]| rng.normal(shape, DType::F64, &CPU);
    for (m, s) in [(3, 3), (2, 4), (5, 1)] {
        let (kernel, y, z) = (normal(&[m, s])?, normal(&[6, s])?, normal(&[6, m])?);
        let [ky, kz] = products(&kernel, &y, &z)?;
        let off = distance(&ky, &y.matmul(&kernel.t()?)?)?;
        assert!(off < 1e-14, "{off}");
        let (left, right) = (dot(&ky, &z)?, dot(&y, &kz)?);
        assert!((left - right).abs() < 1e-12, "{left} {right}");
        // Images as large as the kernel, larger and smaller.
        for (k, h, w) in [(1, 3, 4), (3, 4, 5), (5, 2, 3), (3, 1, 1)] {
            let kernel = normal(&[m, s, k, k])?;
            let (y, z) = (normal(&[2, s, h, w])?, normal(&[2, m, h, w])?);
            let [ky, kz] = products(&kernel, &y, &z)?;
            let off = distance(&ky, &y.conv2d(&kernel, k / 2, 1, 1, 1)?)?;
            assert!(off < 1e-14, "{off}");
            let (left, right) = (dot(&ky, &z)?, dot(&y, &kz)?);
            assert!((left - right).abs() < 1e-12, "{k}: {left} {right}");
        }
    }
    Ok(())
}

/// f(y) of a force whose sigma is the identity, by one step of 1.
fn linear(force: Force, kernel: &Tensor, y: &Tensor) -> Result<Tensor> {
    let law = law(Scheme::Euler(force), Activation::Identity, 1.);
    let weights = Weights::new(&kernel.unsqueeze(0)?);
    Ok((law.forward(&State::new(y), &weights)?.y - y)?)
}

/// The forces as quadratic forms: <x, A y> = -<A x, y>, <y, -C^T C y> = -|C y|^2.
#[test]
fn forces_are_antisymmetric_and_definite() -> Result<()> {
    let mut rng = Rng::new(8);
    let mut normal = |shape: &[usize]| rng.normal(shape, DType::F64, &CPU);
    for k in [None, Some(1), Some(3), Some(5)] {
        let dims = |m: usize, s: usize| [vec![m, s], k.map_or(vec![], |k| vec![k, k])].concat();
        let image = if k.is_some() { vec![3, 4] } else { vec![] };
        let batch = |s: usize| [vec![2, s], image.clone()].concat();
        let (square, wide) = (normal(&dims(3, 3))?, normal(&dims(5, 3))?);
        let (x, y) = (normal(&batch(3))?, normal(&batch(3))?);
        let anti = |gamma, y: &Tensor| linear(Force::Antisymmetric { gamma }, &square, y);
        let (left, right) = (dot(&x, &anti(0., &y)?)?, dot(&anti(0., &x)?, &y)?);
        assert!((left + right).abs() < 1e-12 && left.abs() > 0.1);
        let (form, size) = (dot(&y, &anti(0.7, &y)?)?, dot(&y, &y)?);
        assert!((form + 0.35 * size).abs() < 1e-12 * size, "{form} {size}");
        let cy = match k {
            None => y.matmul(&wide.t()?)?,
            Some(k) => y.conv2d(&wide, k / 2, 1, 1, 1)?,
        };
        let want = -dot(&cy, &cy)?;
        for force in [Force::Definite, Force::Double] {
            let form = dot(&y, &linear(force, &wide, &y)?)?;
            assert!((form - want).abs() < 1e-11 * want.abs(), "{form} {want}");
        }
    }
    Ok(())
}
