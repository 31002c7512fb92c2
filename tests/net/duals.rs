//! Networks on dual numbers: the values of the ordinary pass, the derivatives of central differences.

use crate::support::{differences, floats};
use candle_core::{D, DType, Device, Module, ModuleT, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::dual::{Dual, DualModule};
use candle_prob::init::{named_vars, seeded};
use candle_prob::net::{
    Conv2dConfig, ConvEncoderConfig, ConvTranspose2dConfig, Positions, SpectralNormConfig,
    conv_encoder, conv_transpose2d, conv2d, dense, mlp, spectral_norm,
};
use candle_prob::{Activation, Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

const ALL: [Activation; 10] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::LeakyRelu(-0.5),
    Activation::Elu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
    Activation::Silu,
    Activation::Gelu,
];

type Forward = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

struct Network {
    name: String,
    dims: Vec<usize>,
    on_duals: Box<dyn DualModule>,
    forward: Forward,
    vars: VarMap,
}

fn network<M: DualModule + Module + Clone + 'static>(
    name: String,
    dims: &[usize],
    dtype: DType,
    make: impl Fn(VarBuilder) -> Result<M>,
) -> Result<Network> {
    let vars = VarMap::new();
    let module = make(seeded(&vars, 3, dtype, CPU))?;
    let same = module.clone();
    Ok(Network {
        name,
        dims: dims.to_vec(),
        on_duals: Box::new(module),
        forward: Box::new(move |x| Ok(same.forward(x)?)),
        vars,
    })
}

fn networks(dtype: DType) -> Result<Vec<Network>> {
    let mut all = vec![];
    for activation in ALL {
        let name = |what: &str| format!("{what} {activation:?}");
        all.push(network(name("dense"), &[3, 4], dtype, |vb| {
            dense(4, 5, activation, vb)
        })?);
        all.push(network(name("mlp"), &[3, 4], dtype, |vb| {
            mlp(&[4, 6, 5, 1], activation, vb)
        })?);
        let config = Conv2dConfig {
            stride: (2, 1),
            activation,
            ..Default::default()
        };
        all.push(network(name("conv"), &[2, 2, 5, 4], dtype, |vb| {
            conv2d(2, 3, &config, vb)
        })?);
        let config = ConvTranspose2dConfig {
            activation,
            bias: false,
            ..Default::default()
        };
        all.push(network(name("transposed"), &[2, 2, 2, 3], dtype, |vb| {
            conv_transpose2d(2, 3, &config, vb)
        })?);
        for positions in [Positions::Flatten, Positions::Max] {
            let config = ConvEncoderConfig {
                channels: vec![3, 4],
                kernel: 3,
                positions,
                hidden: Some(2),
                activation,
                ..Default::default()
            };
            let name = name(&format!("encoder {positions:?}"));
            all.push(network(name, &[2, 1, 7, 6], dtype, |vb| {
                conv_encoder(&config, (1, 7, 6), vb)
            })?);
        }
    }
    Ok(all)
}

fn normal(seed: u64, dims: &[usize], dtype: DType) -> Result<Tensor> {
    Rng::new(seed).normal(dims, dtype, CPU)
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(floats(x)?.into_iter().fold(0., |a, b| a.max(b.abs())))
}

#[test]
fn values_are_those_of_the_ordinary_pass() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for net in networks(dtype)? {
            let x = normal(1, &net.dims, dtype)?;
            let want = (net.forward)(&x)?;
            let tangents = normal(2, &[&[3], net.dims.as_slice()].concat(), dtype)?;
            for x in [Dual::constant(&x), Dual::new(&x, &tangents)?] {
                let got = net.on_duals.forward_dual(&x)?;
                let error = largest(&(got.value() - &want)?)?;
                // Where the slope follows from the output both are one kernel; elsewhere the activation is on its own.
                let alone = net.name.contains("Silu") || net.name.contains("Gelu");
                let rounding = if alone { 1e-6 } else { 0. };
                assert!(error <= rounding, "{} {dtype:?}: {error}", net.name);
            }
        }
    }
    Ok(())
}

#[test]
fn tangents_are_directional_derivatives() -> Result<()> {
    let both = networks(DType::F64)?.into_iter().zip(networks(DType::F32)?);
    for (net, single) in both {
        let x = normal(1, &net.dims, DType::F64)?;
        // Two directions at once, strided as images that were cut out of larger ones.
        let mut wide = [&[2], net.dims.as_slice()].concat();
        let last = wide.len() - 1;
        wide[last] += 2;
        let v = normal(2, &wide, DType::F64)?.narrow(D::Minus1, 1, net.dims[last - 1])?;
        let y = net.on_duals.forward_dual(&Dual::new(&x, &v)?)?;
        let tangent = y.tangent().expect("a tangent");
        for k in 0..2 {
            let step = (v.get(k)? * 6e-6)?;
            let up = (net.forward)(&(&x + &step)?)?;
            let down = (net.forward)(&(&x - &step)?)?;
            let want = ((up - down)? / 1.2e-5)?;
            let error = largest(&(tangent.get(k)? - &want)?)?;
            assert!(
                error < 1e-8 * (1. + largest(&want)?),
                "{}: {error}",
                net.name
            );
        }
        // In single precision the same.
        let (x, v) = (x.to_dtype(DType::F32)?, v.to_dtype(DType::F32)?);
        let mine = named_vars(&single.vars)?;
        for (name, var) in named_vars(&net.vars)? {
            mine[&name].set(&var.to_dtype(DType::F32)?)?;
        }
        let got = single.on_duals.forward_dual(&Dual::new(&x, &v)?)?;
        let got = got.tangent().expect("a tangent").to_dtype(DType::F64)?;
        let error = largest(&(got - tangent)?)?;
        assert!(
            error < 1e-5 * (1. + largest(tangent)?),
            "{}: {error}",
            net.name
        );
    }
    Ok(())
}

#[test]
fn tangents_have_gradients_to_the_parameters() -> Result<()> {
    for net in networks(DType::F64)? {
        let x = normal(1, &net.dims, DType::F64)?;
        let v = normal(2, &net.dims, DType::F64)?;
        let x = Dual::new(&x, &v)?;
        let tangent = || -> Result<Tensor> {
            let y = net.on_duals.forward_dual(&x)?;
            Ok(y.tangent().expect("a tangent").clone())
        };
        for (name, var) in named_vars(&net.vars)? {
            // The bias moves nothing where slopes are constant.
            let flat = ["Identity", "Relu", "LeakyRelu"]
                .iter()
                .any(|f| net.name.contains(f));
            if flat && name.ends_with("bias") || net.name.starts_with("mlp") && name == "2.bias" {
                continue;
            }
            differences(&var, 1e-6, &tangent)?;
        }
    }
    Ok(())
}

#[test]
fn a_spectral_norm_reads_its_state_on_duals() -> Result<()> {
    let vars = VarMap::new();
    let vb = seeded(&vars, 3, DType::F64, CPU);
    let layer = dense(4, 5, Activation::Tanh, vb.clone())?;
    let norm = spectral_norm(layer, &SpectralNormConfig::default(), vb)?;
    let x = normal(1, &[3, 4], DType::F64)?;
    let want = floats(&norm.forward_t(&x, false)?)?;
    let dual = Dual::new(&x, &normal(2, &[3, 4], DType::F64)?)?;
    assert_eq!(floats(norm.forward_dual(&dual)?.value())?, want);
    assert_eq!(floats(&norm.forward_t(&x, false)?)?, want);
    let tangent = || -> Result<Tensor> {
        Ok(norm
            .forward_dual(&dual)?
            .tangent()
            .expect("a tangent")
            .clone())
    };
    differences(&named_vars(&vars)?["weight"], 1e-7, &tangent)
}

#[test]
fn empty_batches_and_what_does_not_fit() -> Result<()> {
    for net in networks(DType::F32)? {
        let x = normal(1, &net.dims, DType::F32)?;
        let nothing = x.narrow(0, 0, 0)?;
        let want = (net.forward)(&nothing)?;
        let got = net.on_duals.forward_dual(&Dual::new(&nothing, &nothing)?)?;
        assert_eq!(got.value().dims(), want.dims(), "{}", net.name);
        assert_eq!(got.tangent().expect("a tangent").dims(), want.dims());
        let wrong = x.narrow(1, 0, 1)?;
        if net.dims[1] > 1 {
            let refused = net.on_duals.forward_dual(&Dual::constant(&wrong));
            assert!(matches!(refused, Err(Error::Shape { .. })), "{}", net.name);
        }
    }
    Ok(())
}

/// Of equal largest positions one counts, the same in both modes: the derivative and its transpose agree.
#[test]
fn ties_of_a_maximum_are_one_place() -> Result<()> {
    let vars = VarMap::new();
    let config = ConvEncoderConfig {
        channels: vec![3],
        positions: Positions::Max,
        activation: Activation::Relu,
        ..Default::default()
    };
    let encoder = conv_encoder(&config, (1, 8, 8), seeded(&vars, 3, DType::F64, CPU))?;
    // Constant images: many positions have the same patch.
    let x = candle_core::Var::ones((2, 1, 8, 8), DType::F64, CPU)?;
    let v = normal(2, &[2, 1, 8, 8], DType::F64)?;
    let y = encoder.forward_dual(&Dual::new(x.as_tensor(), &v)?)?;
    let forward = floats(&y.tangent().expect("a tangent").sum_all()?)?[0];
    let store = encoder.forward(&x)?.sum_all()?.backward()?;
    let back = floats(&(store.get(&x).expect("a gradient") * v)?.sum_all()?)?[0];
    assert!(
        back != 0. && (forward - back).abs() < 1e-12,
        "{forward} is not {back}"
    );
    Ok(())
}
