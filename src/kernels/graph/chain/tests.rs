use super::*;
use candle_core::Device;

const WAYS: [Way; 4] = [Way::Rebuilt, Way::Checked, Way::Checkpoints, Way::States];

/// `z <- (1 - damping) z - h sin(k_i y + 1/2) shift`, then `y <- y + h sin(z)`; the term is the sum of `k_i y` over a row.
#[derive(Clone)]
struct Toy {
    count: usize,
    h: f64,
    damping: f64,
    shift: Tensor,
    terms: bool,
    /// What is wrong with the way back.
    fault: f64,
}

impl Toy {
    fn force(&self, y: &Tensor, k: &Tensor) -> candle_core::Result<Tensor> {
        (y.broadcast_mul(k)? + 0.5)?
            .sin()?
            .broadcast_mul(&self.shift)?
            * self.h
    }
}

impl Steps for Toy {
    fn count(&self) -> usize {
        self.count
    }

    fn forward(&self, _: usize, state: &[Tensor], own: &[Tensor]) -> Result<Stepped> {
        let (y, z, k) = (&state[0], &state[1], &own[0]);
        let z = ((z * (1. - self.damping))? - self.force(y, k)?)?;
        let term = match self.terms {
            true => Some(y.broadcast_mul(k)?.sum(1)?),
            false => None,
        };
        let state = vec![(y + (z.sin()? * self.h)?)?, z];
        Ok(Stepped { state, term })
    }

    fn batch(&self) -> usize {
        1
    }

    fn back(&self, i: usize, state: &[Tensor], own: &[Tensor]) -> Result<Vec<Tensor>> {
        let (y, z, k) = (&state[0], &state[1], &own[0]);
        let y = (y - (z.sin()? * self.h)?)?;
        let z = (z + self.force(&y, k)?)?.affine(1. / (1. - self.damping), 0.)?;
        let fault = if i == self.count / 2 { self.fault } else { 0. };
        Ok(vec![(y + fault)?, z])
    }
}

struct Case {
    toy: Toy,
    y: Var,
    z: Var,
    stack: Var,
    shift: Var,
}

fn numbers(shape: &[usize], seed: f64, dtype: DType) -> candle_core::Result<Tensor> {
    let n: usize = shape.iter().product();
    let x: Vec<f64> = (0..n).map(|i| (i as f64 * 1.7 + seed).sin()).collect();
    Tensor::from_vec(x, shape, &Device::Cpu)?.to_dtype(dtype)
}

fn case(count: usize, terms: bool, dtype: DType) -> Result<Case> {
    let var = |shape: &[usize], seed| Var::from_tensor(&numbers(shape, seed, dtype)?);
    let (y, z, shift) = (var(&[3, 4], 1.)?, var(&[3, 4], 2.)?, var(&[4], 3.)?);
    let toy = Toy {
        count,
        h: 2. / count as f64,
        damping: 0.,
        shift: shift.as_tensor().clone(),
        terms,
        fault: 0.,
    };
    let stack = var(&[count, 4], 4.)?;
    Ok(Case {
        toy,
        y,
        z,
        stack,
        shift,
    })
}

impl Case {
    fn state(&self) -> Vec<Tensor> {
        [&self.y, &self.z].map(|v| v.as_tensor().clone()).to_vec()
    }

    /// As one node, or composed.
    fn outputs(&self, way: Option<Way>) -> Result<Vec<Tensor>> {
        let (state, stacks) = (self.state(), [self.stack.as_tensor().clone()]);
        let Some(way) = way else {
            return composed(&self.toy, &state, &stacks);
        };
        let inputs = Inputs {
            state: &state,
            stacks: &stacks,
            variables: &[self.shift.as_tensor().clone()],
        };
        match run("toy", self.toy.clone(), inputs, way)? {
            Some(outputs) => Ok(outputs),
            None => Err(Error::value("toy", "node", "one", "none")),
        }
    }

    /// The gradients of the mask's outputs.
    fn gradients(&self, outputs: &[Tensor], mask: &[f64]) -> Result<Vec<Tensor>> {
        let mut loss = numbers(&[], 0., self.y.dtype())?;
        for (x, weight) in outputs.iter().zip(mask) {
            if *weight != 0. {
                loss = (loss + (x.cos()?.sum_all()? * *weight)?)?;
            }
        }
        let (plain, ours) = (loss.backward()?, node::backward(&loss)?);
        let mut all = vec![];
        for var in [&self.y, &self.z, &self.stack, &self.shift] {
            for gradients in [&plain, &ours] {
                let gradient = gradients.get(var).cloned();
                all.push(gradient.map_or_else(|| var.zeros_like(), Ok)?);
            }
        }
        Ok(all)
    }
}

/// What [`run`] returns, step by step in candle's graph.
fn composed(steps: &impl Steps, state: &[Tensor], stacks: &[Tensor]) -> Result<Vec<Tensor>> {
    let (mut state, mut total) = (state.to_vec(), None);
    for i in 0..steps.count() {
        let done = steps.forward(i, &state, &slices(stacks, i)?)?;
        state = done.state;
        total = add(total, done.term)?;
    }
    state.extend(total);
    Ok(state)
}

/// The largest; infinite where one is NaN, which candle's maximum passes over.
fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let gaps = (a - b)?.abs()?.flatten_all()?.to_dtype(DType::F64)?;
    let worse = |most: f64, gap: f64| {
        if gap.is_nan() {
            f64::INFINITY
        } else {
            most.max(gap)
        }
    };
    Ok(gaps.to_vec1()?.into_iter().fold(0., worse))
}

#[test]
fn every_way_has_the_numbers_of_the_composition() -> Result<()> {
    for (dtype, bound) in [(DType::F32, 2e-5), (DType::F64, 1e-12)] {
        // From 64 on there are states on the way that are compared.
        for count in [1, 2, 7, 70] {
            for (terms, mask) in [
                (true, [0.7, -0.4, 0.3]),
                (true, [0., 0., 1.]),
                (false, [1., 0., 0.]),
                (false, [0., 1., 0.]),
            ] {
                let case = case(count, terms, dtype)?;
                let outputs = case.outputs(None)?;
                let want = case.gradients(&outputs, &mask)?;
                for way in WAYS {
                    let node = case.outputs(Some(way))?;
                    assert_eq!(node.len(), outputs.len());
                    for (a, b) in node.iter().zip(&outputs) {
                        assert!(distance(a, b)? <= bound, "{way:?} {count} {dtype:?}");
                    }
                    // Twice on the same node.
                    for _again in 0..2 {
                        for (i, (a, b)) in
                            case.gradients(&node, &mask)?.iter().zip(&want).enumerate()
                        {
                            let gap = distance(a, b)?;
                            assert!(gap <= bound, "{way:?} {count} {dtype:?} {i}: {gap}");
                        }
                    }
                }
                // A term alone does not reach the last step's results.
                assert!(distance(&want[4], &want[4].zeros_like()?)? > 0.);
            }
        }
    }
    Ok(())
}

/// Inputs whose gradients nobody asks for, and no graph where nobody asks for any.
#[test]
fn what_is_not_asked_for_is_left_out() -> Result<()> {
    let case = case(9, false, DType::F64)?;
    let want = case.gradients(&case.outputs(None)?, &[1., 0.5])?;
    let (state, stack) = (case.state(), case.stack.as_tensor());
    let known = [case.shift.as_tensor().clone()];
    for way in WAYS {
        let frozen = Inputs {
            state: &[state[0].detach(), state[1].detach()],
            stacks: std::slice::from_ref(stack),
            variables: &known,
        };
        let outputs = run("toy", case.toy.clone(), frozen, way)?.unwrap_or_default();
        let got = case.gradients(&outputs, &[1., 0.5])?;
        for i in [4, 6] {
            assert!(distance(&got[i], &want[i])? <= 1e-12, "{way:?} {i}");
        }
        assert_eq!(distance(&got[0], &got[0].zeros_like()?)?, 0.);
        let stack = stack.detach();
        let given = Inputs {
            state: &state,
            stacks: std::slice::from_ref(&stack),
            variables: &known,
        };
        let outputs = run("toy", case.toy.clone(), given, way)?.unwrap_or_default();
        let got = case.gradients(&outputs, &[1., 0.5])?;
        for i in [0, 2, 6] {
            assert!(distance(&got[i], &want[i])? <= 1e-12, "{way:?} {i}");
        }
        assert_eq!(distance(&got[4], &got[4].zeros_like()?)?, 0.);
        let nothing = Inputs {
            variables: &[],
            state: &[state[0].detach(), state[1].detach()],
            ..given
        };
        let mut toy = case.toy.clone();
        toy.shift = toy.shift.detach();
        let outputs = run("toy", toy, nothing, way)?.unwrap_or_default();
        assert!(!outputs[0].track_op());
    }
    Ok(())
}

fn is_value(error: &candle_core::Error, argument: &str) -> bool {
    let error = match error {
        candle_core::Error::Wrapped(error) => error.to_string(),
        error => error.to_string(),
    };
    error.contains(argument)
}

fn loss(outputs: &[Tensor]) -> Result<Tensor> {
    Ok((outputs[0].sum_all()? + outputs[1].sum_all()?)?)
}

/// Where a state is not what it was there is an error and no gradient.
#[test]
fn a_drift_is_an_error() -> Result<()> {
    for (dtype, small, large) in [(DType::F32, 1e-4, 1e-2), (DType::F64, 1e-10, 1e-7)] {
        for count in [8, 100] {
            let mut case = case(count, false, dtype)?;
            case.toy.fault = small;
            loss(&case.outputs(Some(Way::Checked))?)?.backward()?;
            case.toy.fault = large;
            let error = loss(&case.outputs(Some(Way::Checked))?)?.backward();
            let error = error.err().map(|e| is_value(&e, "Memory::States"));
            assert_eq!(error, Some(true), "{dtype:?} {count}");
            // Infinite and NaN states too.
            for fault in [f64::INFINITY, f64::NAN] {
                case.toy.fault = fault;
                let outputs = case.outputs(Some(Way::Checked))?;
                assert!(loss(&outputs)?.backward().is_err(), "{fault}");
            }
            for way in [Way::Checkpoints, Way::States] {
                loss(&case.outputs(Some(way))?)?.backward()?;
            }
        }
    }
    // No fault but an inverse that magnifies rounding, between two kept states.
    let mut case = case(400, false, DType::F64)?;
    for (damping, fails) in [(0.1, false), (0.5, true)] {
        case.toy.damping = damping;
        let result = loss(&case.outputs(Some(Way::Checked))?)?.backward();
        assert_eq!(result.is_err(), fails, "{damping}");
    }
    Ok(())
}

/// A large row does not hide what another has become, and a row that nobody asks for may be anything.
#[test]
fn rows_drift_for_themselves() -> Result<()> {
    for (dtype, fault) in [(DType::F32, 1e-2), (DType::F64, 1e-7)] {
        for count in [8, 100] {
            let mut case = case(count, false, dtype)?;
            let sizes = Tensor::new(&[[1e4], [1.], [1.]], &Device::Cpu)?.to_dtype(dtype)?;
            case.y = Var::from_tensor(&case.y.broadcast_mul(&sizes)?)?;
            loss(&case.outputs(Some(Way::Checked))?)?.backward()?;
            case.toy.fault = fault;
            let outputs = case.outputs(Some(Way::Checked))?;
            let error = loss(&outputs)?.backward().err();
            let error = error.map(|e| is_value(&e, "Memory::States"));
            assert_eq!(error, Some(true), "{dtype:?} {count}");
            let first: Vec<Tensor> = (outputs.iter())
                .map(|x| x.narrow(0, 0, 1))
                .collect::<candle_core::Result<_>>()?;
            loss(&first)?.backward()?;
        }
    }
    Ok(())
}

/// `y <- y^2`.
struct Square(usize);

impl Steps for Square {
    fn count(&self) -> usize {
        self.0
    }

    fn forward(&self, _: usize, state: &[Tensor], _: &[Tensor]) -> Result<Stepped> {
        let state = vec![state[0].sqr()?];
        Ok(Stepped { state, term: None })
    }

    fn back(&self, _: usize, state: &[Tensor], _: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![state[0].sqrt()?])
    }

    fn batch(&self) -> usize {
        1
    }
}

/// From a row that has overflown nothing can be rebuilt: its gradients are NaN, no error and no number.
#[test]
fn rows_that_overflow_have_no_gradient() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for count in [20, 100] {
            let y = Tensor::new(&[[1.], [2.], [1.]], &Device::Cpu)?.to_dtype(dtype)?;
            let y = Var::from_tensor(&y)?;
            let state = [y.as_tensor().clone()];
            let end = run("square", Square(count), inputs(&state, &[]), Way::Checked)?;
            let gradients = end.unwrap_or_default()[0].sum_all()?.backward()?;
            let of_y = gradients
                .get(&y)
                .map_or_else(|| y.zeros_like(), |g| g.to_dtype(DType::F64))?;
            let of_y: Vec<f64> = of_y.flatten_all()?.to_vec1()?;
            let want = 2f64.powi(count as i32);
            assert!(of_y[1].is_nan(), "{dtype:?} {count}");
            assert_eq!([of_y[0], of_y[2]], [want; 2], "{dtype:?} {count}");
        }
    }
    Ok(())
}

/// All zeros is a state like others.
#[test]
fn a_state_of_zeros_is_rebuilt() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let mut case = case(500, false, dtype)?;
        case.y = Var::zeros((3, 4), dtype, &Device::Cpu)?;
        for z in [0., 1.] {
            case.z = Var::from_tensor(&case.y.affine(1., z)?)?;
            loss(&case.outputs(Some(Way::Checked))?)?.backward()?;
        }
    }
    Ok(())
}

#[test]
fn five_thousand_steps_in_a_small_thread() -> Result<()> {
    // That of the test harness has 2 MiB unless the environment says otherwise.
    let work = || -> Result<()> {
        for way in WAYS {
            let case = case(5000, false, DType::F32)?;
            loss(&case.outputs(Some(way))?)?.backward()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let done = small.spawn_scoped(scope, work);
        let done = done.map_err(|e| Error::value("thread", "spawn", "one", e))?;
        done.join()
            .map_err(|_| Error::value("thread", "join", "one", "a panic"))?
    })
}

/// Without variables.
fn inputs<'a>(state: &'a [Tensor], stacks: &'a [Tensor]) -> Inputs<'a> {
    Inputs {
        state,
        stacks,
        variables: &[],
    }
}

#[test]
fn bad_input_is_refused() -> Result<()> {
    let case = case(5, false, DType::F32)?;
    let (state, stack) = (case.state(), case.stack.as_tensor());
    for way in WAYS {
        // A variable that nobody told of.
        let outputs = run(
            "toy",
            case.toy.clone(),
            inputs(&state, std::slice::from_ref(stack)),
            way,
        )?;
        let error = loss(&outputs.unwrap_or_default())?.backward();
        assert!(
            error.is_err_and(|e| is_value(&e, "toy: variables")),
            "{way:?}"
        );
        // Slices that are not as many as the steps.
        for wrong in [stack.narrow(0, 0, 4)?, stack.get(0)?.get(0)?] {
            let outputs = run("toy", case.toy.clone(), inputs(&state, &[wrong]), way);
            assert!(
                matches!(outputs, Err(Error::Shape { arg: "stack", .. })),
                "{way:?}"
            );
        }
    }
    // No node in half precision, nor without steps or a state.
    let half = state
        .iter()
        .map(|x| x.to_dtype(DType::F16))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let stacks = [stack.to_dtype(DType::F16)?];
    assert!(run("toy", case.toy.clone(), inputs(&half, &stacks), Way::States)?.is_none());
    assert!(run("toy", case.toy.clone(), inputs(&[], &[]), Way::States)?.is_none());
    let none = Toy {
        count: 0,
        ..case.toy.clone()
    };
    assert!(run("toy", none, inputs(&state, &[]), Way::States)?.is_none());
    Ok(())
}
