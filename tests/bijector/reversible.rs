//! Chains that keep no activations: the same numbers as chains that do.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{Module, VarMap};
use candle_prob::bijector::{
    ActNorm, Affine, Axis, Bijector, Coupling, Inverted, Reversible, Sequence, Split, Squeeze, Tanh,
};
use candle_prob::net::dense;
use candle_prob::testing::{Bounds, check_bijector};
use candle_prob::{Activation, Result, Rng, init, optim};

const CPU: &Device = &Device::Cpu;
type Members = Vec<Box<dyn Bijector + Send + Sync>>;

fn draw(shape: &[usize], seed: u64, dtype: DType) -> Result<Tensor> {
    Ok(Rng::new(seed)
        .normal(shape, DType::F64, CPU)?
        .to_dtype(dtype)?)
}

/// Elementwise maps and couplings of vectors whose conditioners see a context that a network makes.
fn vectors(vars: &VarMap, dtype: DType) -> Result<Members> {
    let vb = init::seeded(vars, 1, dtype, CPU);
    let embedding = dense(3, 2, Activation::Tanh, vb.pp("context"))?;
    let context = embedding.forward(&draw(&[7, 3], 2, dtype)?)?;
    let mut members: Members = vec![];
    for i in 0..6 {
        let net = dense(4, 4, Activation::Tanh, vb.pp(i))?;
        let context = context.clone();
        let conditioner = move |a: &Tensor| {
            let out = net.forward(&Tensor::cat(&[a, &context], D::Minus1)?)?;
            let parts = out.chunk(2, D::Minus1)?;
            Affine::soft_clamped(&parts[0], &parts[1], 2.)
        };
        members.push(Box::new(Coupling::new(
            Split::half(4, i % 2 == 1)?,
            conditioner,
        )));
        let loc = vb
            .pp(i)
            .get_with_hints(4, "loc", candle_nn::Init::Const(0.1))?;
        members.push(Box::new(Affine::new(&loc, &loc.ones_like()?)?));
    }
    Ok(members)
}

/// Members that change the shape of an event.
fn images(vars: &VarMap, dtype: DType) -> Result<Members> {
    let vb = init::seeded(vars, 1, dtype, CPU);
    let size = candle_nn::Init::Randn {
        mean: 0.,
        stdev: 0.3,
    };
    let loc = vb.get_with_hints(4, "loc", size)?;
    let log_scale = vb.get_with_hints(4, "log_scale", size)?;
    Ok(vec![
        Box::new(Squeeze),
        Box::new(ActNorm::new(&loc, &log_scale, Axis::Channel)?),
        Box::new(Inverted::new(Squeeze)),
        Box::new(Tanh),
    ])
}

/// Results, log-dets and all gradients of an uneven loss.
fn run(flow: &dyn Bijector, vars: &VarMap, x: &Tensor, inverse: bool) -> Result<Vec<Tensor>> {
    let x = Var::from_tensor(x)?;
    let (y, log_det) = match inverse {
        false => flow.transform_and_log_det(&x)?,
        true => flow.inverse_and_log_det(&x)?,
    };
    let loss = ((y.sin()?.sum_all()? * 0.7)? + log_det.sin()?.sum_all()?)?;
    let mut results = vec![y.detach(), log_det.detach()];
    // Both kinds of backward pass.
    for gradients in [loss.backward()?, optim::backward(&loss)?] {
        for (_, var) in init::named_vars(vars)?
            .into_iter()
            .chain([("x".into(), x.clone())])
        {
            let gradient = gradients.get(&var).cloned();
            results.push(gradient.map_or_else(|| var.zeros_like(), Ok)?);
        }
    }
    Ok(results)
}

#[test]
fn the_numbers_of_stored_activations() -> Result<()> {
    type Make = fn(&VarMap, DType) -> Result<Members>;
    let cases: [(Make, &[usize]); 2] = [(vectors, &[7, 4]), (images, &[3, 1, 4, 2])];
    for (make, shape) in cases {
        for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-9)] {
            for inverse in [false, true] {
                let vars = VarMap::new();
                let sequence = Sequence::new(make(&vars, dtype)?);
                let x = draw(shape, 3, dtype)?.affine(0.3, 0.)?;
                let stored = run(&sequence, &vars, &x, inverse)?;
                let flow = Reversible::new(sequence, &vars.all_vars());
                let reversible = run(&flow, &vars, &x, inverse)?;
                assert_eq!(stored.len(), reversible.len());
                let mut moved = 0;
                for (i, (a, b)) in stored.iter().zip(&reversible).enumerate() {
                    assert_eq!(a.dims(), b.dims());
                    let number =
                        |t: Tensor| t.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
                    let (gap, size) = (number((a - b)?)?, number(a.clone())?);
                    assert!(
                        gap <= tolerance * size.max(1.),
                        "{dtype:?} {inverse} {i}: {gap}"
                    );
                    moved += usize::from(size > 0.);
                }
                // The biases of conditioners and contexts too: nothing is lost.
                assert_eq!(moved, stored.len(), "{dtype:?} {inverse}");
            }
        }
    }
    Ok(())
}

/// A loss of the log-det alone, and one of the result alone.
#[test]
fn one_output_is_enough() -> Result<()> {
    let vars = VarMap::new();
    let sequence = Sequence::new(vectors(&vars, DType::F64)?);
    let x = Var::from_tensor(&draw(&[7, 4], 3, DType::F64)?)?;
    let outputs = |flow: &dyn Bijector| -> Result<Vec<Vec<f64>>> {
        let (y, log_det) = flow.transform_and_log_det(&x)?;
        let slopes = |loss: Tensor| -> Result<Vec<f64>> {
            let gradients = loss.sum_all()?.backward()?;
            let gradient = gradients.get(&x).cloned();
            let gradient = gradient.map_or_else(|| x.zeros_like(), Ok)?;
            Ok(gradient.flatten_all()?.to_vec1()?)
        };
        Ok(vec![slopes(y)?, slopes(log_det)?])
    };
    let stored = outputs(&sequence)?.concat();
    let flow = Reversible::new(sequence, &vars.all_vars());
    for (a, b) in stored.into_iter().zip(outputs(&flow)?.concat()) {
        assert!((a - b).abs() <= 1e-9, "{a} {b}");
    }
    Ok(())
}

#[test]
fn a_chain_is_a_bijector() -> Result<()> {
    let build = |p: &[Tensor]| {
        let affine = Affine::soft_clamped(&p[0], &p[1], 2.)?;
        let split = Split::half(3, false)?;
        let scale = p[2].clone();
        let conditioner = move |a: &Tensor| {
            let raw = a.broadcast_mul(&scale)?.sum_keepdim(D::Minus1)?;
            Affine::soft_clamped(&raw, &raw.sin()?, 2.)
        };
        let members: Members = vec![
            Box::new(affine),
            Box::new(Coupling::new(split, conditioner)),
        ];
        let vars: Vec<Var> = p
            .iter()
            .map(Var::from_tensor)
            .collect::<candle_core::Result<_>>()?;
        Ok(Reversible::new(Sequence::new(members), &vars))
    };
    let parameters = [&[3][..], &[3], &[2]].map(|shape| draw(shape, 5, DType::F64));
    let parameters = parameters.into_iter().collect::<Result<Vec<_>>>()?;
    check_bijector(
        build,
        &parameters,
        &draw(&[4, 3], 6, DType::F64)?,
        Bounds::default(),
    )?;
    let empty = Reversible::new(Sequence::new(vec![]), &[]);
    let x = draw(&[2, 3], 7, DType::F64)?;
    let (y, log_det) = empty.transform_and_log_det(&x)?;
    assert_eq!((y.dims(), log_det.dims()), (&[2, 3][..], &[2, 3][..]));
    Ok(())
}

/// No gradient is lost in silence, whichever variable was left out.
#[test]
fn variables_must_be_told() -> Result<()> {
    let vars = VarMap::new();
    vectors(&vars, DType::F32)?;
    let named = init::named_vars(&vars)?;
    let x = draw(&[7, 4], 3, DType::F32)?;
    let flow = |known: &[Var]| -> Result<Reversible> {
        let members = vectors(&vars, DType::F32)?;
        Ok(Reversible::new(Sequence::new(members), known))
    };
    for name in named.keys() {
        let known: Vec<Var> = named
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(_, var)| var.clone())
            .collect();
        // The last shift reaches the loss by the value alone, so the loss has both.
        let (y, log_det) = flow(&known)?.transform_and_log_det(&x)?;
        let error = (y.sum_all()? + log_det.sum_all()?)?.backward();
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("Reversible::transform: variables"),
            "{name}: {error}"
        );
    }
    // An argument that does not fit is refused by the member, by name.
    let flow = flow(&[])?;
    let error = flow.transform(&draw(&[7, 5], 3, DType::F32)?).unwrap_err();
    assert!(error.to_string().contains("Coupling::transform"), "{error}");
    Ok(())
}
