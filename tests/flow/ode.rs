//! Initial value problems: orders of convergence, tolerances, gradients, honest failures.

use candle_core::{Device, Tensor, Var};
use candle_prob::Result;
use candle_prob::dynamics::{Solver, solve};

const CPU: Device = Device::Cpu;

/// y' = y cos t, so y = y0 e^(sin t).
fn wave(t: f64, y: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(vec![(&y[0] * t.cos())?])
}

fn end(solver: Solver, span: [f64; 2], start: f64) -> Result<(f64, usize)> {
    let y = Tensor::new(&[start], &CPU)?;
    let solution = solve(solver, wave, vec![y], span)?;
    Ok((solution.state[0].to_vec1::<f64>()?[0], solution.evaluations))
}

#[test]
fn the_classical_method_has_order_four() -> Result<()> {
    let exact = 2f64.sin().exp();
    let error =
        |steps| -> Result<f64> { Ok((end(Solver::Rk4 { steps }, [0., 2.], 1.)?.0 - exact).abs()) };
    // The slope of ln error against ln steps, by least squares.
    let points: Vec<(f64, f64)> = [8, 16, 32, 64, 128]
        .into_iter()
        .map(|n| Ok(((n as f64).ln(), error(n)?.ln())))
        .collect::<Result<_>>()?;
    let n = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0., 0.), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    let cross: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let square: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let order = -cross / square;
    assert!((order - 4.).abs() < 0.1, "order {order}");
    Ok(())
}

#[test]
fn adaptive_steps_keep_the_tolerance_and_cost_less_where_it_is_wide() -> Result<()> {
    let mut before = 0;
    for tolerance in [1e-3, 1e-6, 1e-9, 1e-12] {
        let solver = Solver::Dopri5 {
            relative: tolerance,
            absolute: tolerance,
            max_steps: 10_000,
        };
        for (span, exact) in [
            ([0., 2.], 2f64.sin().exp()),
            ([2., 0.], (-2f64.sin()).exp()),
        ] {
            let (y, _) = end(solver, span, 1.)?;
            assert!(
                (y - exact).abs() < 30. * tolerance,
                "{tolerance}: {y} for {exact}"
            );
        }
        let evaluations = end(solver, [0., 2.], 1.)?.1;
        assert!(evaluations > before);
        before = evaluations;
        assert_eq!(end(solver, [1., 1.], 3.)?.0, 3.);
    }
    Ok(())
}

#[test]
fn gradients_pass_through_all_steps() -> Result<()> {
    let adaptive = Solver::Dopri5 {
        relative: 1e-9,
        absolute: 1e-9,
        max_steps: 1000,
    };
    for solver in [Solver::Rk4 { steps: 50 }, adaptive] {
        // y = y0 e^(a t)
        let (a, y0) = (Var::new(0.7f64, &CPU)?, Var::new(2f64, &CPU)?);
        let f = |_: f64, y: &[Tensor]| Ok(vec![(&y[0] * a.as_tensor())?]);
        let solution = solve(solver, f, vec![y0.as_tensor().clone()], [0., 1.5])?;
        let gradients = solution.state[0].backward()?;
        let growth = (0.7f64 * 1.5).exp();
        for (var, want) in [(&a, 2. * 1.5 * growth), (&y0, growth)] {
            let got = gradients.get(var).unwrap().to_scalar::<f64>()?;
            assert!((got - want).abs() < 1e-6 * want, "{got} for {want}");
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_solved_is_an_error() -> Result<()> {
    let y = || Tensor::new(&[1f64], &CPU).map(|y| vec![y]);
    let solver = |max_steps| Solver::Dopri5 {
        relative: 1e-6,
        absolute: 1e-6,
        max_steps,
    };
    // y' = y^2 from 1 is infinite at t = 1.
    let square = |_: f64, y: &[Tensor]| Ok(vec![y[0].sqr()?]);
    let message = solve(solver(2000), square, y()?, [0., 2.])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("max_steps") && message.contains("which end at"),
        "{message}"
    );
    assert!(solve(solver(3), wave, y()?, [0., 10.]).is_err());
    assert!(solve(Solver::Rk4 { steps: 0 }, wave, y()?, [0., 1.]).is_err());
    assert!(solve(Solver::Rk4 { steps: 1 }, wave, y()?, [0., f64::NAN]).is_err());
    let none = Solver::Dopri5 {
        relative: 0.,
        absolute: 1e-6,
        max_steps: 9,
    };
    assert!(solve(none, wave, y()?, [0., 1.]).is_err());
    let other = |_: f64, y: &[Tensor]| Ok(vec![y[0].clone(), y[0].clone()]);
    let message = solve(Solver::Rk4 { steps: 1 }, other, y()?, [0., 1.]).unwrap_err();
    assert!(message.to_string().contains("shapes [[1]]"), "{message}");
    Ok(())
}
