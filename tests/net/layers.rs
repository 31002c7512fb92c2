//! Networks: they are candle's layers in value and gradient, and refuse what does not fit in one line.

use candle_core::{D, DType, Device, Module, ModuleT, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::init::{named_vars, seeded};
use candle_prob::net::{Dense, Mlp, dense, mlp};
use candle_prob::{Activation, Result, Rng};

fn builder(vars: &VarMap, dtype: DType) -> VarBuilder<'static> {
    seeded(vars, 7, dtype, &Device::Cpu)
}

fn numbers(shape: &[usize], dtype: DType) -> Result<Tensor> {
    Rng::new(3).normal(shape, dtype, &Device::Cpu)
}

fn largest(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?
        .abs()?
        .flatten_all()?
        .max(0)?
        .to_scalar()?)
}

#[test]
fn an_mlp_is_candle_s_linear_layers_in_value_and_gradient() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let vars = VarMap::new();
        let ours = mlp(&[12, 30, 9, 4], Activation::Tanh, builder(&vars, dtype))?;
        let theirs = |x: &Tensor| -> Result<Tensor> {
            let mut y = x.clone();
            for (i, layer) in ours.layers().iter().enumerate() {
                let bias = layer.bias().cloned();
                y = candle_nn::Linear::new(layer.weight().clone(), bias).forward(&y)?;
                if i < 2 {
                    y = y.tanh()?;
                }
            }
            Ok(y)
        };
        let x = Var::from_tensor(&numbers(&[17, 12], dtype)?)?;
        let gradients = ours.forward(&x)?.sqr()?.sum_all()?.backward()?;
        let expected = theirs(&x)?.sqr()?.sum_all()?.backward()?;
        assert!(largest(&(ours.forward(&x)? - theirs(&x)?)?)? < 1e-6);
        let mut leaves = named_vars(&vars)?;
        assert_eq!(leaves.len(), 6);
        leaves.insert("x".into(), x.clone());
        for (name, var) in leaves {
            match (gradients.get(&var), expected.get(&var)) {
                (Some(g), Some(e)) => {
                    let scale = largest(e)?;
                    assert!(
                        scale > 0. && largest(&(g - e)?)? < 1e-5 * (1. + scale),
                        "{name}"
                    )
                }
                _ => panic!("{name} has no gradient"),
            }
        }
    }
    Ok(())
}

#[test]
fn any_rank_is_a_stack_of_rows() -> Result<()> {
    let vars = VarMap::new();
    let layer = dense(5, 3, Activation::Relu, builder(&vars, DType::F32))?;
    let x = numbers(&[2, 4, 5], DType::F32)?;
    let y = layer.forward(&x)?;
    assert_eq!(y.dims(), &[2, 4, 3]);
    let row = layer.forward(&x.get(1)?.get(2)?)?;
    assert_eq!(row.dims(), &[3]);
    assert!(largest(&(y.get(1)?.get(2)? - row)?)? < 1e-6);
    assert_eq!(layer.forward(&x.narrow(0, 0, 0)?)?.dims(), &[0, 4, 3]);
    // In training as in evaluation.
    assert!(largest(&(layer.forward_t(&x, true)? - y)?)? == 0.);
    Ok(())
}

#[test]
fn parameters_start_by_the_gain_and_depend_on_the_seed_alone() -> Result<()> {
    let make = || -> Result<(Tensor, Tensor)> {
        let vars = VarMap::new();
        let layer = dense(400, 200, Activation::Relu, builder(&vars, DType::F32))?;
        let bias = layer.bias().cloned();
        Ok((layer.weight().clone(), bias.unwrap()))
    };
    let ((w, b), (again, _)) = (make()?, make()?);
    assert_eq!(largest(&(&w - again)?)?, 0.);
    // Normal with variance 2 / 400, which 80 000 draws give within 3 % (six standard errors of 0.5 %).
    let variance: f32 = w.sqr()?.mean_all()?.to_scalar()?;
    assert!((variance * 200. - 1.).abs() < 0.03, "{variance}");
    // Uniform draws of that variance end at 1.7 standard deviations; no normal one beyond 3.5 has probability e^-37.
    assert!(largest(&w)? > 3.5 / 200f64.sqrt());
    assert!(largest(&b)? <= 0.05 && largest(&b)? > 0.045);
    Ok(())
}

#[test]
fn misuse_is_one_line_that_names_what_came() -> Result<()> {
    let vars = VarMap::new();
    let vb = builder(&vars, DType::F32);
    let layer = dense(5, 3, Activation::Relu, vb.pp("a"))?;
    let message = |r: candle_core::Result<Tensor>| match r {
        Ok(t) => panic!("accepted: {:?}", t.dims()),
        Err(e) => candle_prob::Error::from(e).to_string(),
    };
    for shape in [vec![2, 4], vec![], vec![5, 2]] {
        let text = message(layer.forward(&numbers(&shape, DType::F32)?));
        assert!(
            text.contains("Dense::forward: x: expected [.., 5]"),
            "{text}"
        );
        assert!(!text.contains('\n'));
    }
    let text = message(layer.forward(&numbers(&[2, 5], DType::F64)?));
    assert!(text.contains("F32") && text.contains("F64"), "{text}");
    for dims in [vec![], vec![3], vec![3, 0, 2], vec![0, 2]] {
        let error = mlp(&dims, Activation::Relu, vb.pp(format!("b{}", dims.len())));
        assert!(error.is_err_and(|e| e.to_string().contains("at least")));
    }
    let tensor = |shape: &[usize]| numbers(shape, DType::F32);
    let relu = Activation::Relu;
    assert!(Dense::new(tensor(&[3])?, None, relu).is_err());
    assert!(Dense::new(tensor(&[0, 3])?, None, relu).is_err());
    assert!(Dense::new(tensor(&[2, 3])?, Some(tensor(&[3])?), relu).is_err());
    assert!(Dense::new(tensor(&[2, 3])?, Some(numbers(&[2], DType::F64)?), relu).is_err());
    let pair = [&[2usize, 3], &[4, 5]].map(|s| Dense::new(tensor(s)?, None, relu));
    assert!(Mlp::new(pair.into_iter().collect::<Result<_>>()?).is_err());
    assert!(Mlp::new(vec![]).is_err());
    Ok(())
}

#[test]
fn a_network_saved_and_loaded_gives_the_same_bits() -> Result<()> {
    let file = std::env::temp_dir().join(format!(
        "candle-prob-net-{}.safetensors",
        std::process::id()
    ));
    let x = numbers(&[6, 8], DType::F32)?;
    let vars = VarMap::new();
    let net = mlp(&[8, 16, 3], Activation::Elu, builder(&vars, DType::F32))?;
    vars.save(&file)?;
    let mut other = VarMap::new();
    let vb = seeded(&other, 8, DType::F32, &Device::Cpu);
    let copy = mlp(&[8, 16, 3], Activation::Elu, vb)?;
    assert!(largest(&(net.forward(&x)? - copy.forward(&x)?)?)? > 1e-3);
    other.load(&file)?;
    std::fs::remove_file(&file).ok();
    assert_eq!(largest(&(net.forward(&x)? - copy.forward(&x)?)?)?, 0.);
    assert!(net.forward(&x)?.sum_keepdim(D::Minus1)?.dims() == [6, 1]);
    Ok(())
}
