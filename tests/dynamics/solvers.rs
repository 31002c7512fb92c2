//! Initial value problems: orders of convergence, tolerances, gradients, honest failures, solvers from outside.

use candle_core::{Device, Tensor, Var};
use candle_prob::Result;
use candle_prob::dynamics::{Dopri5, Rk4, Solver, VectorField, advance, equal_steps, solve};

const CPU: Device = Device::Cpu;

/// y' = y cos t, so y = y0 e^(sin t).
fn wave(t: f64, y: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(vec![(&y[0] * t.cos())?])
}

fn end(solver: &dyn Solver, span: [f64; 2], start: f64) -> Result<(f64, usize)> {
    let y = Tensor::new(&[start], &CPU)?;
    let solution = solve(solver, wave, vec![y], span)?;
    Ok((solution.state[0].to_vec1::<f64>()?[0], solution.evaluations))
}

/// The method of Heun, as one would write it outside of the crate.
#[derive(Debug)]
struct Heun {
    steps: usize,
}

impl Solver for Heun {
    fn integrate(
        &self,
        f: &mut VectorField,
        y: Vec<Tensor>,
        span: [f64; 2],
    ) -> Result<Vec<Tensor>> {
        equal_steps(self.steps, y, span, |t, y, h| {
            let start = f(t, y)?;
            let end = f(t + h, &advance(y, h, &[(1., &start)])?)?;
            advance(y, h, &[(0.5, &start), (0.5, &end)])
        })
    }
}

/// A solver with its number of steps.
type Make = fn(usize) -> Box<dyn Solver>;

#[test]
fn methods_have_their_order() -> Result<()> {
    let methods: [(Make, f64, usize); 2] = [
        (|steps| Box::new(Rk4 { steps }), 4., 4),
        (|steps| Box::new(Heun { steps }), 2., 2),
    ];
    for (make, order, stages) in methods {
        for span in [[0., 2.], [2., 0.]] {
            let (found, evaluations) = order_of(make, span)?;
            assert!((found - order).abs() < 0.1, "{:?}: {found}", make(1));
            assert_eq!(evaluations, 128 * stages);
        }
    }
    Ok(())
}

/// By what power of the number of steps the error falls, and how many evaluations the last took.
fn order_of(make: Make, span: [f64; 2]) -> Result<(f64, usize)> {
    let exact = (span[1].sin() - span[0].sin()).exp();
    let mut last = 0;
    let mut error = |steps| -> Result<f64> {
        let (y, evaluations) = end(make(steps).as_ref(), span, 1.)?;
        last = evaluations;
        Ok((y - exact).abs())
    };
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
    Ok((-cross / square, last))
}

#[test]
fn adaptive_steps_keep_the_tolerance_and_cost_less_where_it_is_wide() -> Result<()> {
    let mut before = 0;
    for tolerance in [1e-3, 1e-6, 1e-9, 1e-12] {
        let solver = Dopri5 {
            relative: tolerance,
            absolute: tolerance,
            max_steps: 10_000,
        };
        for (span, exact) in [
            ([0., 2.], 2f64.sin().exp()),
            ([2., 0.], (-2f64.sin()).exp()),
        ] {
            let (y, _) = end(&solver, span, 1.)?;
            assert!(
                (y - exact).abs() < 30. * tolerance,
                "{tolerance}: {y} for {exact}"
            );
        }
        let evaluations = end(&solver, [0., 2.], 1.)?.1;
        assert!(evaluations > before);
        before = evaluations;
        assert_eq!(end(&solver, [1., 1.], 3.)?.0, 3.);
    }
    Ok(())
}

#[test]
fn gradients_pass_through_all_steps() -> Result<()> {
    let adaptive = Dopri5 {
        relative: 1e-9,
        absolute: 1e-9,
        max_steps: 1000,
    };
    let solvers: [&dyn Solver; 2] = [&Rk4 { steps: 50 }, &adaptive];
    for solver in solvers {
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
    let solver = |max_steps| Dopri5 {
        relative: 1e-6,
        absolute: 1e-6,
        max_steps,
    };
    // y' = y^2 from 1 is infinite at t = 1.
    let square = |_: f64, y: &[Tensor]| Ok(vec![y[0].sqr()?]);
    let message = solve(&solver(2000), square, y()?, [0., 2.])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("max_steps") && message.contains("which end at"),
        "{message}"
    );
    assert!(solve(&solver(3), wave, y()?, [0., 10.]).is_err());
    assert!(solve(&Rk4 { steps: 0 }, wave, y()?, [0., 1.]).is_err());
    assert!(solve(&Rk4 { steps: 1 }, wave, y()?, [0., f64::NAN]).is_err());
    let none = Dopri5 {
        relative: 0.,
        absolute: 1e-6,
        max_steps: 9,
    };
    assert!(solve(&none, wave, y()?, [0., 1.]).is_err());
    let other = |_: f64, y: &[Tensor]| Ok(vec![y[0].clone(), y[0].clone()]);
    let message = solve(&Rk4 { steps: 1 }, other, y()?, [0., 1.]).unwrap_err();
    assert!(message.to_string().contains("shapes [[1]]"), "{message}");
    Ok(())
}

/// What a solver hands back is checked as what it is handed.
#[test]
fn a_solver_that_loses_a_part_is_found_out() -> Result<()> {
    #[derive(Debug)]
    struct Careless;
    impl Solver for Careless {
        fn integrate(
            &self,
            _: &mut VectorField,
            mut y: Vec<Tensor>,
            _: [f64; 2],
        ) -> Result<Vec<Tensor>> {
            y.pop();
            Ok(y)
        }
    }
    let y = vec![Tensor::new(&[1f64], &CPU)?];
    let message = solve(&Careless, wave, y, [0., 1.]).unwrap_err();
    assert!(message.to_string().contains("solver"), "{message}");
    let y = vec![Tensor::new(&[1f64], &CPU)?];
    let message = advance(&y, 1., &[(1., &[])]).unwrap_err();
    assert!(
        message.to_string().contains("a slope of 1 parts"),
        "{message}"
    );
    Ok(())
}

/// Not the derivative is asked about a state of other parts, dtypes included: the solver is at fault.
#[test]
fn a_solver_that_asks_about_another_state_is_found_out() -> Result<()> {
    #[derive(Debug)]
    struct Lost(bool);
    impl Solver for Lost {
        fn integrate(
            &self,
            f: &mut VectorField,
            y: Vec<Tensor>,
            _: [f64; 2],
        ) -> Result<Vec<Tensor>> {
            if self.0 {
                f(0., &[])?;
            }
            Ok(vec![y[0].to_dtype(candle_core::DType::F32)?])
        }
    }
    let y = Tensor::new(1f64, &Device::Cpu)?;
    for (lost, want) in [(true, "a state"), (false, "an end of the state's dtypes")] {
        let field = |_: f64, y: &[Tensor]| Ok(vec![y[0].neg()?]);
        let error = solve(&Lost(lost), field, vec![y.clone()], [0., 1.]).err();
        let error = error.map_or("nothing".into(), |e| e.to_string());
        assert!(error.contains(want), "{error}");
    }
    Ok(())
}
