//! Second derivatives, which candle computes where `CANDLE_GRAD_DO_NOT_DETACH` is set: right, or an error that names the
//! operation. None is wrong in silence.

use crate::support::floats;
use crate::support::process;
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::bijector::{Affine, Bijector, Exp, MixtureCdf, RationalQuadraticSpline};
use candle_prob::distribution::*;
use candle_prob::divergence::TotalVariation;
use candle_prob::objective::{
    AdversarialLoss, CriticLoss, FGan, Hinge, NonSaturating, RelativisticAverage, Saturating,
};
use candle_prob::{Activation, Result, Rng, init, net, special};

const CPU: &Device = &Device::Cpu;
const SETTING: &str = "CANDLE_GRAD_DO_NOT_DETACH";

type Function = fn(&Tensor) -> Result<Tensor>;

/// The gradient of a weighted sum of `f`, in candle's graph.
fn gradient(f: Function, x: &Var) -> Result<Tensor> {
    let y = f(x)?.flatten_all()?;
    let weights: Vec<f64> = (0..y.elem_count()).map(|i| 1. + 0.3 * i as f64).collect();
    let weights = Tensor::new(weights, CPU)?.to_dtype(y.dtype())?;
    let store = (y * weights)?.sum_all()?.backward()?;
    Ok(match store.get(x) {
        Some(gradient) => gradient.clone(),
        None => x.zeros_like()?.detach(),
    })
}

/// An error's text, or what is wrong about the second derivatives, if anything.
fn judge(
    f: Function,
    at: &[f64],
    dtype: DType,
) -> Result<std::result::Result<String, Option<String>>> {
    let var = |x: &[f64]| {
        Ok::<_, candle_prob::Error>(Var::from_tensor(&Tensor::new(x, CPU)?.to_dtype(dtype)?)?)
    };
    let x = var(at)?;
    // Of the sum of the gradient's elements.
    let got = match gradient(f, &x)?.sum_all()?.backward() {
        Err(error) => return Ok(Ok(error.to_string())),
        Ok(store) => match store.get(&x) {
            Some(second) => floats(second)?,
            None => vec![0.; at.len()],
        },
    };
    let step = if dtype == DType::F64 { 1e-5 } else { 2e-2 };
    for (i, got) in got.iter().enumerate() {
        let total = |by: f64| -> Result<f64> {
            let mut moved = at.to_vec();
            moved[i] += by;
            Ok(floats(&gradient(f, &var(&moved)?)?)?.iter().sum())
        };
        let want = (total(step)? - total(-step)?) / (2. * step);
        let tolerance = if dtype == DType::F64 { 1e-5 } else { 2e-2 };
        if (got - want).abs() > tolerance * want.abs().max(1.) {
            return Ok(Err(Some(format!("{got} for {want} by element {i}"))));
        }
    }
    Ok(Err(None))
}

fn mixing(like: &Tensor) -> Result<Categorical> {
    Categorical::new(&Tensor::new(&[0.2, -0.4, 0.1], CPU)?.to_dtype(like.dtype())?)
}

fn value(x: &Tensor, value: f64) -> Result<Tensor> {
    Ok((x.zeros_like()?.detach() + value)?)
}

/// Functions of three positive numbers.
fn functions() -> Vec<(&'static str, Function)> {
    vec![
        ("softplus", special::softplus),
        ("log_sigmoid", special::log_sigmoid),
        ("log1p", special::log1p),
        ("expm1", special::expm1),
        ("log1mexp", special::log1mexp),
        ("log_cosh", special::log_cosh),
        ("lgamma", special::lgamma),
        ("digamma", special::digamma),
        ("erf", special::erf),
        ("log_ndtr", special::log_ndtr),
        ("logsumexp", |x| special::logsumexp(x, 0)),
        ("softmax", |x| special::softmax(x, 0)),
        ("log_softmax", |x| special::log_softmax(x, 0)),
        ("Normal, scale", |x| {
            Normal::new(&value(x, 0.1)?, x)?.log_prob(&value(x, 0.7)?)
        }),
        ("Normal, log_var", |x| {
            Normal::from_log_var(&value(x, 0.1)?, x)?.log_prob(&value(x, 0.7)?)
        }),
        ("Normal, kl", |x| {
            Normal::new(&value(x, 0.1)?, x)?.kl(&Normal::new(&value(x, 0.3)?, &value(x, 0.9)?)?)
        }),
        ("Normal, sample", |x| {
            Normal::new(x, x)?.sample(&[4], &mut Rng::new(1))
        }),
        ("MultivariateNormalDiag", |x| {
            MultivariateNormalDiag::new(&value(x, 0.1)?, x)?.log_prob(&value(x, 0.7)?)
        }),
        ("MultivariateNormalDiag, kl", |x| {
            let standard = MultivariateNormalDiag::standard(3, x.dtype(), CPU)?;
            MultivariateNormalDiag::new(x, x)?.kl(&standard)
        }),
        ("MultivariateNormal", |x| {
            let eye = Tensor::eye(3, x.dtype(), CPU)?;
            MultivariateNormal::new(&value(x, 0.1)?, &eye.broadcast_mul(x)?)?
                .log_prob(&value(x, 0.7)?)
        }),
        ("LowRankMultivariateNormal", |x| {
            let factor = value(x, 0.4)?.unsqueeze(1)?;
            LowRankMultivariateNormal::new(&value(x, 0.1)?, &factor, x)?.log_prob(&value(x, 0.7)?)
        }),
        ("Gamma", |x| {
            Gamma::new(x, &value(x, 1.5)?)?.log_prob(&value(x, 0.7)?)
        }),
        ("Gamma, kl", |x| {
            Gamma::new(x, &value(x, 1.5)?)?.kl(&Gamma::new(&value(x, 1.)?, &value(x, 2.)?)?)
        }),
        ("Gamma, sample", |x| {
            Gamma::new(x, &value(x, 1.5)?)?.sample(&[4], &mut Rng::new(1))
        }),
        ("Beta", |x| {
            Beta::new(x, &value(x, 1.5)?)?.log_prob(&value(x, 0.7)?)
        }),
        ("Dirichlet", |x| {
            Dirichlet::new(x)?.log_prob(&(value(x, 1.)? / 3.)?)
        }),
        ("Dirichlet, sample", |x| {
            Dirichlet::new(x)?.sample(&[4], &mut Rng::new(1))
        }),
        ("StudentT", |x| {
            StudentT::new(&value(x, 3.)?, &value(x, 0.1)?, x)?.log_prob(&value(x, 0.7)?)
        }),
        ("Laplace", |x| {
            Laplace::new(&value(x, 0.1)?, x)?.log_prob(&value(x, 0.7)?)
        }),
        ("Poisson", |x| Poisson::new(x)?.log_prob(&value(x, 2.)?)),
        ("Bernoulli", |x| Bernoulli::new(x)?.log_prob(&value(x, 1.)?)),
        ("Bernoulli, kl", |x| {
            Bernoulli::new(x)?.kl(&Bernoulli::new(&value(x, 0.3)?)?)
        }),
        ("Categorical", |x| {
            Categorical::new(x)?.log_prob(&Tensor::new(1u32, CPU)?)
        }),
        ("Categorical, entropy", |x| Categorical::new(x)?.entropy()),
        ("Categorical, kl", |x| Categorical::new(x)?.kl(&mixing(x)?)),
        ("mixture of Normals", |x| {
            MixtureSameFamily::new(mixing(x)?, Normal::new(&value(x, 0.1)?, x)?)?
                .log_prob(&value(x, 0.7)?)
        }),
        ("mixture of Normals, pathwise", |x| {
            MixtureSameFamily::new(mixing(x)?, Normal::new(&value(x, 0.1)?, x)?)?
                .sample_pathwise(&[4], &mut Rng::new(1))
        }),
        ("Transformed by Exp", |x| {
            Normal::new(&value(x, 0.1)?, x)?
                .transformed_by(Exp)?
                .log_prob(&value(x, 0.7)?)
        }),
        ("Affine", |x| Affine::new(x, x)?.transform(&value(x, 0.7)?)),
        ("Truncated", |x| {
            let base = Normal::new(&value(x, 0.1)?, x)?;
            Truncated::new(base, &value(x, 0.)?, &value(x, 2.)?)?.log_prob(&value(x, 0.7)?)
        }),
        ("spline", |x| {
            let raw = x.unsqueeze(1)?.broadcast_as((3, 3 * 4 - 1))?.contiguous()?;
            RationalQuadraticSpline::new(&raw, 3.)?.transform(&value(x, 0.7)?)
        }),
        ("MixtureCdf", |x| {
            let part = |shift: f64| {
                Ok::<_, candle_prob::Error>((x.unsqueeze(1)?.broadcast_as((3, 2))? + shift)?)
            };
            MixtureCdf::logistic(&part(0.)?, &part(0.1)?, &part(0.2)?)?.transform(&value(x, 0.7)?)
        }),
        ("gelu", |x| Activation::Gelu.forward(x)),
        ("silu", |x| Activation::Silu.forward(x)),
        ("mlp", |x| {
            let vb = init::seeded(&VarMap::new(), 1, x.dtype(), CPU);
            Ok(net::mlp(&[3, 5, 2], Activation::Tanh, vb)?.forward(&x.unsqueeze(0)?)?)
        }),
        ("Saturating", |x| {
            let part = |loss: CriticLoss| Ok((loss.real + loss.fake)?);
            part(Saturating::default().critic(x, x)?)
        }),
        ("Hinge, total", |x| Hinge.critic(x, x)?.total()),
        ("RelativisticAverage, total", |x| {
            RelativisticAverage.generator(x, x)?.total()
        }),
        ("FGan, total", |x| {
            FGan::new(TotalVariation).critic(x, x)?.total()
        }),
        ("convolution", |x| {
            let vb = init::seeded(&VarMap::new(), 1, x.dtype(), CPU);
            let image = x
                .reshape((1, 1, 1, 3))?
                .broadcast_as((1, 1, 6, 3))?
                .contiguous()?;
            let config = net::Conv2dConfig {
                kernel: (3, 3),
                padding: (1, 1),
                ..Default::default()
            };
            Ok(net::conv2d(1, 2, &config, vb)?.forward(&image)?)
        }),
    ]
}

#[test]
fn are_right_or_refused() -> Result<()> {
    if !process::has(SETTING, module_path!(), "are_right_or_refused") {
        return Ok(());
    }
    let (mut faults, mut right, mut refused) = (vec![], 0, 0);
    for (name, f) in functions() {
        for dtype in [DType::F64, DType::F32] {
            match judge(f, &[0.6, 1.3, 0.9], dtype)? {
                Ok(error) if error.contains("first derivatives only") => refused += 1,
                Ok(error) => faults.push(format!("{name} {dtype:?}: {error}")),
                Err(Some(what)) => faults.push(format!("{name} {dtype:?}: {what}")),
                Err(None) => right += 1,
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    println!("{right} right, {refused} refused");
    assert!(
        right > 20 && refused > 20,
        "{right} right, {refused} refused"
    );
    Ok(())
}

/// The error says which operation it is.
#[test]
fn name_what_refuses() -> Result<()> {
    if !process::has(SETTING, module_path!(), "name_what_refuses") {
        return Ok(());
    }
    for (f, text) in [
        (
            (|x| Gamma::new(x, x)?.entropy()) as Function,
            "Gamma::entropy",
        ),
        (
            |x| Gamma::new(x, x)?.sample(&[2], &mut Rng::new(1)),
            "gamma",
        ),
        (
            |x| NonSaturating::default().generator(x, x)?.total(),
            "NonSaturating::generator",
        ),
        (special::log_ndtr, "log_ndtr"),
        (|x| Exp.transform(x), "Exp:"),
        (
            |x| Affine::new(x, x)?.transform(&value(x, 0.7)?),
            "Affine::transform",
        ),
        (
            |x| Dirichlet::new(x)?.kl(&Dirichlet::new(&value(x, 1.)?)?),
            "Dirichlet::kl",
        ),
        (
            |x| Multinomial::new(&Tensor::new(2f64, CPU)?, x)?.log_prob(&value(x, 1.)?),
            "Multinomial::log_prob",
        ),
        (
            |x| Chi2::new(x)?.log_prob(&value(x, 0.7)?),
            "Chi2::log_prob",
        ),
    ] {
        match judge(f, &[0.6, 1.3], DType::F64)? {
            Ok(error) => assert!(error.contains(text) && error.contains("second"), "{error}"),
            Err(_) => panic!("{text} was not refused"),
        }
    }
    Ok(())
}
