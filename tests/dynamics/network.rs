//! Networks: parameters, levels, derivatives, and what is refused.

use crate::cases::{CPU, Case, Options, SCHEMES, distance, dot, order};
use candle_core::{DType, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::dual::{Dual, DualModule, Linearize};
use candle_prob::dynamics::{
    Biases, Force, KernelShape, Memory, Network, NetworkConfig, Prolongation, Propagation, Scheme,
    Start, State, Tangent, Weights, network, prolong,
};
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::{Activation, Detach, Error, Result, Rng, init};

fn builder(vars: &VarMap, dtype: DType) -> VarBuilder<'static> {
    init::seeded(vars, 0, dtype, &CPU)
}

fn config(scheme: Scheme, conv: bool, layers: usize) -> NetworkConfig {
    let kernel = match conv {
        false => KernelShape::dense(3),
        true => KernelShape::conv(2),
    };
    NetworkConfig {
        scheme,
        ..NetworkConfig::new(kernel, layers, 2.)
    }
}

fn features(conv: bool) -> Result<Tensor> {
    let shape: &[usize] = if conv { &[2, 2, 4, 5] } else { &[4, 3] };
    Rng::new(1).normal(shape, DType::F64, &CPU)
}

/// All schemes, dense and convolutional: the network with its variables and features.
fn all(layers: usize) -> Result<Vec<(Network, Tensor)>> {
    let mut networks = vec![];
    for scheme in SCHEMES {
        for conv in [false, true] {
            let vb = builder(&VarMap::new(), DType::F64);
            networks.push((network(&config(scheme, conv, layers), vb)?, features(conv)?));
        }
    }
    Ok(networks)
}

#[test]
fn networks_own_their_weights_by_name() -> Result<()> {
    let vars = VarMap::new();
    let kernel = KernelShape::Dense { width: 2, inner: 5 };
    let config = NetworkConfig::new(kernel, 4, 1.);
    let net = network(&config, builder(&vars, DType::F32).pp("net"))?;
    let named = init::named_vars(&vars)?;
    let shapes: Vec<(&str, &[usize])> = (named.iter())
        .map(|(name, var)| (name.as_str(), var.dims()))
        .collect();
    let want: [(&str, &[usize]); 3] = [
        ("net.bias", &[4, 2]),
        ("net.kernel", &[4, 5, 2]),
        ("net.second_bias", &[4, 5]),
    ];
    assert_eq!(shapes, want);
    assert_eq!(net.propagation().step, 0.25);
    assert_eq!(net.weights().layers(), 4);
    let x = Tensor::ones((7, 2), DType::F32, &CPU)?;
    let states = net.states(&x)?;
    assert_eq!(states.len(), 5);
    assert_eq!(states[4].z.as_ref().unwrap().dims(), [7, 5]);
    assert_eq!(distance(&states[4].y, &net.forward(&x)?)?, 0.);
    // Without biases there is the kernel alone; other schemes have one bias.
    let vars = VarMap::new();
    let bare = NetworkConfig {
        biases: Biases::None,
        ..config
    };
    network(&bare, builder(&vars, DType::F32))?;
    assert_eq!(vars.all_vars().len(), 1);
    let vars = VarMap::new();
    let double = NetworkConfig {
        scheme: Scheme::Euler(Force::Double),
        biases: Biases::Separate,
        ..bare
    };
    network(&double, builder(&vars, DType::F32))?;
    assert_eq!(init::named_vars(&vars)?["bias"].dims(), [4, 5]);
    Ok(())
}

/// One variable in both equations: its gradient is the sum of both, its direction moves both.
#[test]
fn tied_biases_are_one_variable() -> Result<()> {
    for (kernel, x) in [
        (KernelShape::dense(3), features(false)?),
        (KernelShape::conv(2), features(true)?),
    ] {
        let vars = VarMap::new();
        let separate = NetworkConfig::new(kernel, 3, 2.);
        let tied = NetworkConfig {
            biases: Biases::Tied,
            ..separate.clone()
        };
        let net = network(&tied, builder(&vars, DType::F64))?;
        let bias = &init::named_vars(&vars)?["bias"];
        bias.set(&Rng::new(2).normal(bias.shape(), DType::F64, &CPU)?)?;
        let own = VarMap::new();
        let apart = Network::with(&separate, net.weights(), builder(&own, DType::F64))?;
        assert_eq!((vars.all_vars().len(), own.all_vars().len()), (2, 3));
        assert_eq!(distance(&net.forward(&x)?, &apart.forward(&x)?)?, 0.);

        let gradient = |net: &Network| net.forward(&x)?.sqr()?.sum_all()?.backward();
        let (one, two) = (gradient(&net)?, gradient(&apart)?);
        let of = |name: &str| -> Result<Tensor> {
            Ok(two.get(&init::named_vars(&own)?[name]).unwrap().clone())
        };
        let sum = (of("bias")? + of("second_bias")?)?;
        assert!(distance(one.get(bias).unwrap(), &sum)? < 1e-12);

        let direction: Vec<Tensor> = (net.parameters().iter())
            .map(|v| v.ones_like())
            .collect::<candle_core::Result<_>>()?;
        let both = [&direction[..], &direction[1..]].concat();
        assert!(distance(&net.tangent(&x, &direction)?, &apart.tangent(&x, &both)?)? < 1e-12);

        let fine = net.prolong(Prolongation::Linear, builder(&VarMap::new(), DType::F64))?;
        assert_eq!(fine.parameters().len(), 2);
        let mut other = net.weights().detach();
        other.second_bias = Some(bias.zeros_like()?);
        let refused = Network::with(&tied, &other, builder(&VarMap::new(), DType::F64));
        assert!(matches!(
            refused,
            Err(Error::Value {
                arg: "second_bias",
                ..
            })
        ));
    }
    let config = NetworkConfig {
        biases: Biases::Tied,
        ..NetworkConfig::new(KernelShape::Dense { width: 2, inner: 3 }, 3, 1.)
    };
    assert!(matches!(
        network(&config, builder(&VarMap::new(), DType::F64)),
        Err(Error::Shape { arg: "kernel", .. })
    ));
    Ok(())
}

#[test]
fn gradients_reach_every_variable_and_none_of_a_detached_network() -> Result<()> {
    for (net, x) in all(3)? {
        let x = Var::from_tensor(&x)?;
        let gradients = net.forward(&x)?.sqr()?.sum_all()?.backward()?;
        for var in net.parameters() {
            let gradient = gradients.get(&var).expect("a gradient");
            assert!(dot(gradient, gradient)? > 0.);
        }
        let detached = net.detach();
        assert_eq!(distance(&detached.forward(&x)?, &net.forward(&x)?)?, 0.);
        let gradients = detached.forward(&x)?.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_some());
        assert!(net.parameters().iter().all(|v| gradients.get(v).is_none()));
        assert!(detached.parameters().is_empty());
    }
    Ok(())
}

/// Directions of the features as dual numbers, of the parameters by `Linearize`: both against the same backward pass.
#[test]
fn derivatives_along_directions_are_adjoint_to_gradients() -> Result<()> {
    for (net, x) in all(4)? {
        let mut rng = Rng::new(3);
        let mut normal = |shape: &[usize]| rng.normal(shape, DType::F64, &CPU);
        let v: Vec<Tensor> = (net.parameters().iter())
            .map(|p| normal(p.dims()))
            .collect::<Result<_>>()?;
        let jv = net.tangent(&x, &v)?;
        let directions = normal(&[&[2], x.dims()].concat())?;
        let dual = net.forward_dual(&Dual::new(&x, &directions)?)?;
        let var = Var::from_tensor(&x)?;
        let y = Module::forward(&net, &var)?;
        assert!(distance(dual.value(), &y)? < 1e-14);
        let u = normal(y.dims())?;
        let gradients = (&y * &u)?.sum_all()?.backward()?;
        let mut right = 0.;
        for (p, v) in net.parameters().iter().zip(&v) {
            right += dot(gradients.get(p).unwrap(), v)?;
        }
        let left = dot(&jv, &u)?;
        let what = format!("{:?}", net.config());
        assert!((left - right).abs() < 1e-10, "{what}: {left} {right}");
        let tangent = dual.tangent().unwrap();
        for i in 0..2 {
            let left = dot(&tangent.get(i)?, &u)?;
            let right = dot(gradients.get(&var).unwrap(), &directions.get(i)?)?;
            assert!((left - right).abs() < 1e-10, "{what}: {left} {right}");
        }
        // Directional derivatives have gradients of their own.
        let store = tangent.sqr()?.sum_all()?.backward()?;
        assert!(net.parameters().iter().any(|p| store.get(p).is_some()));
    }
    Ok(())
}

#[test]
fn prolonged_weights_are_means_or_copies() -> Result<()> {
    let stack = |values: &[f64]| -> Result<Tensor> {
        let n = values.len();
        Ok(Tensor::new(values, &CPU)?.reshape((n, 1, 1))?)
    };
    let mut coarse = Weights::new(&stack(&[1., 3., 7.])?);
    coarse.bias = Some(stack(&[2., 4., 0.])?.squeeze(2)?);
    for (how, kernel, bias) in [
        (
            Prolongation::Linear,
            [1., 2., 3., 5., 7., 7.],
            [2., 3., 4., 2., 0., 0.],
        ),
        (
            Prolongation::Constant,
            [1., 1., 3., 3., 7., 7.],
            [2., 2., 4., 4., 0., 0.],
        ),
    ] {
        let fine = prolong(&coarse, how)?;
        assert_eq!(fine.kernel.dims(), [6, 1, 1]);
        assert_eq!(fine.kernel.flatten_all()?.to_vec1::<f64>()?, kernel);
        assert_eq!(fine.bias.unwrap().flatten_all()?.to_vec1::<f64>()?, bias);
        assert!(fine.second_bias.is_none());
    }
    let one = Weights::new(&stack(&[5.])?);
    let fine = prolong(&one, Prolongation::Linear)?.kernel;
    assert_eq!(fine.flatten_all()?.to_vec1::<f64>()?, [5., 5.]);
    Ok(())
}

/// A prolongation tends to what it came from as the scheme and the interpolation do.
#[test]
fn prolongation_keeps_the_limit() -> Result<()> {
    let leapfrog = Scheme::Leapfrog(Force::Definite, Start::Rest);
    let rows = [
        (Scheme::Euler(Force::Single), Prolongation::Linear, 1.),
        (Scheme::Euler(Force::Single), Prolongation::Constant, 1.),
        // The weights hold over a layer, so that their copies change the method's error alone.
        (Scheme::Rk4(Force::Single), Prolongation::Constant, 4.),
        (Scheme::Rk4(Force::Single), Prolongation::Linear, 1.),
        (leapfrog, Prolongation::Linear, 2.),
        (leapfrog, Prolongation::Constant, 1.),
        (Scheme::Verlet, Prolongation::Linear, 1.),
        (Scheme::Verlet, Prolongation::Constant, 1.),
    ];
    for (scheme, how, want) in rows {
        let mut errors = vec![];
        for layers in [16, 32, 64, 128, 256] {
            let h = 2. / layers as f64;
            let numbers: Vec<f64> = (0..layers)
                .flat_map(|j| {
                    let t = h * j as f64;
                    [0.5 + t.sin(), -0.8, 0.7 * t, (2. * t).cos()]
                })
                .collect();
            let weights = Weights::new(&Tensor::from_vec(numbers, (layers, 2, 2), &CPU)?);
            let y = Tensor::new(&[[0.8f64, -0.3], [0.1, 0.6]], &CPU)?;
            let law = |step: f64| Propagation {
                scheme,
                activation: Activation::Tanh,
                step,
                memory: Memory::Constant,
            };
            // A start of the same velocity, 0, whatever the step.
            let start = |h: f64| -> Result<State> {
                let z = match scheme {
                    Scheme::Leapfrog(..) => {
                        let euler = Propagation {
                            scheme: Scheme::Euler(Force::Definite),
                            ..law(1.)
                        };
                        let force = euler.forward(&State::new(&y), &weights.narrow(0, 1)?)?;
                        Some(((force.y - &y)? * (-h * h / 2.))?)
                    }
                    _ => None,
                };
                Ok(State { y: y.clone(), z })
            };
            let coarse = law(h).forward(&start(h)?, &weights)?;
            let fine = law(h / 2.).forward(&start(h / 2.)?, &prolong(&weights, how)?)?;
            errors.push((layers, distance(&fine.y, &coarse.y)?));
        }
        let found = order(&errors);
        assert!((found - want).abs() < 0.25, "{scheme:?} {how:?}: {found}");
    }
    Ok(())
}

#[test]
fn a_finer_network_starts_as_the_prolongation_and_trains() -> Result<()> {
    for conv in [false, true] {
        let coarse = network(
            &config(Scheme::Verlet, conv, 4),
            builder(&VarMap::new(), DType::F64),
        )?;
        let vars = VarMap::new();
        let fine = coarse.prolong(Prolongation::Linear, builder(&vars, DType::F64))?;
        assert_eq!(fine.config().layers, 8);
        assert_eq!(fine.propagation().step, coarse.propagation().step / 2.);
        let want = prolong(coarse.weights(), Prolongation::Linear)?;
        assert_eq!(distance(&fine.weights().kernel, &want.kernel)?, 0.);
        assert_eq!(vars.all_vars().len(), 3);
        // The coarse network stays as it was.
        let before = coarse.weights().kernel.copy()?;
        let x = features(conv)?;
        let target = x.neg()?;
        let loss = || -> Result<Tensor> { Ok((fine.forward(&x)? - &target)?.sqr()?.mean_all()?) };
        let first = loss()?.to_scalar::<f64>()?;
        let config = AdamConfig {
            lr: 0.05,
            ..Default::default()
        };
        let mut adam = Adam::new(&vars, &config)?;
        for _step in 0..60 {
            adam.backward_step(&loss()?)?;
        }
        let last = loss()?.to_scalar::<f64>()?;
        assert!(last < 0.7 * first, "{first} {last}");
        assert_eq!(distance(&coarse.weights().kernel, &before)?, 0.);
    }
    Ok(())
}

/// The argument that an error names.
fn named<T>(result: Result<T>) -> &'static str {
    match result.err() {
        Some(Error::Shape { arg, .. } | Error::Value { arg, .. } | Error::DType { arg, .. }) => arg,
        Some(other) => panic!("{other}"),
        None => "nothing",
    }
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F64, &CPU).unwrap()
}

#[test]
fn configs_that_make_no_network_are_refused() {
    let good = NetworkConfig::new(KernelShape::dense(3), 4, 1.);
    let built =
        |config: &NetworkConfig| named(network(config, builder(&VarMap::new(), DType::F64)));
    assert_eq!(built(&good), "nothing");
    let with = |scheme, kernel| NetworkConfig {
        scheme,
        kernel,
        ..good.clone()
    };
    let wide = KernelShape::Dense { width: 3, inner: 4 };
    let layers = |layers| NetworkConfig {
        layers,
        ..good.clone()
    };
    let time = |time| NetworkConfig {
        time,
        ..good.clone()
    };
    assert_eq!(built(&layers(0)), "layers");
    for t in [0., -1., f64::NAN, f64::INFINITY] {
        assert_eq!(built(&time(t)), "time");
    }
    let anti = |gamma| Force::Antisymmetric { gamma };
    for scheme in [
        Scheme::Euler(Force::Single),
        Scheme::Rk4(anti(0.)),
        Scheme::Leapfrog(Force::Single, Start::Rest),
    ] {
        assert_eq!(built(&with(scheme, wide)), "kernel");
    }
    for scheme in [Scheme::Euler(Force::Definite), Scheme::Rk4(Force::Double)] {
        assert_eq!(built(&with(scheme, wide)), "nothing");
    }
    for gamma in [-0.1, f64::NAN, f64::INFINITY] {
        let scheme = Scheme::Euler(anti(gamma));
        assert_eq!(built(&with(scheme, KernelShape::dense(3))), "gamma");
    }
    let conv = |size| KernelShape::Conv {
        channels: 2,
        inner: 2,
        size,
    };
    for size in [0, 2, 4, usize::MAX] {
        assert_eq!(built(&with(Scheme::Verlet, conv(size))), "kernel");
    }
    assert_eq!(built(&with(Scheme::Verlet, conv(1))), "nothing");
    assert_eq!(
        built(&with(Scheme::Verlet, KernelShape::dense(0))),
        "kernel"
    );
}

#[test]
fn arguments_that_do_not_fit_are_refused() -> Result<()> {
    for conv in [false, true] {
        for scheme in SCHEMES {
            let options = Options {
                layers: 2,
                time: 1.,
                conv,
                dtype: DType::F64,
            };
            let good = Case::new(scheme, &options)?;
            let what = good.name();
            let said = |f: &dyn Fn(&mut Case)| {
                let mut case = good.clone();
                f(&mut case);
                let states = named(case.law.states(&case.state, &case.weights));
                let end = named(case.end());
                assert_eq!(states, end, "{what}");
                end
            };
            assert_eq!(said(&|_| {}), "nothing", "{what}");
            for step in [0., -0.1, f64::NAN, f64::INFINITY] {
                assert_eq!(said(&|c| c.law.step = step), "step", "{what}");
            }
            let image: &[usize] = if conv { &[4, 5] } else { &[] };
            let (y, kernel) = (good.state.y.dims(), good.weights.kernel.dims());
            let wide = [&[2, y[1] + 1], image].concat();
            assert_eq!(said(&|c| c.state.y = zeros(&wide)), "y", "{what}");
            let single = good.state.y.to_dtype(DType::F32)?;
            assert_eq!(said(&|c| c.state.y = single.clone()), "y", "{what}");
            let scalar = if conv { vec![2, y[1], 4] } else { vec![] };
            assert_eq!(said(&|c| c.state.y = zeros(&scalar)), "y", "{what}");
            let z = [&[3], &y[1..]].concat();
            assert_eq!(said(&|c| c.state.z = Some(zeros(&z))), "z", "{what}");
            let none = [&[0], &kernel[1..]].concat();
            let flat = &kernel[1..];
            let empty = [&kernel[..1], &[0], &kernel[2..]].concat();
            for dims in [&none, flat, &empty, &[2]] {
                let found = said(&|c| c.weights.kernel = zeros(dims));
                assert_eq!(found, "kernel", "{what} {dims:?}");
            }
            if conv {
                let nothing = zeros(&[2, y[1], 0, 5]);
                assert_eq!(said(&|c| c.state.y = nothing.clone()), "y", "{what}");
                for window in [[2, 2], [3, 5], [0, 0]] {
                    let dims = [&kernel[..3], &window].concat();
                    let found = said(&|c| c.weights.kernel = zeros(&dims));
                    assert_eq!(found, "kernel", "{what} {dims:?}");
                }
            }
            let whole = good.weights.kernel.to_dtype(DType::I64)?;
            let found = said(&|c| c.weights.kernel = whole.clone());
            assert_eq!(found, "kernel", "{what}");
            for dims in [[3, y[1]], [2, 9]] {
                let found = said(&|c| c.weights.bias = Some(zeros(&dims)));
                assert_eq!(found, "bias", "{what}");
                let found = said(&|c| c.weights.second_bias = Some(zeros(&dims)));
                assert_eq!(found, "second_bias", "{what}");
            }
            let back = named(good.law.back(&good.state, &good.weights));
            let want = match scheme {
                Scheme::Verlet | Scheme::Leapfrog(..) => "z",
                _ => "scheme",
            };
            assert_eq!(back, want, "{what}");
            let tangent =
                |along: Tangent| named(good.law.tangent(&good.state, &good.weights, &along));
            let wrong = || Some(zeros(&[1]));
            let rows = [
                (
                    "y",
                    Tangent {
                        y: wrong(),
                        ..Default::default()
                    },
                ),
                (
                    "z",
                    Tangent {
                        z: wrong(),
                        ..Default::default()
                    },
                ),
                (
                    "kernel",
                    Tangent {
                        kernel: wrong(),
                        ..Default::default()
                    },
                ),
                (
                    "bias",
                    Tangent {
                        bias: wrong(),
                        ..Default::default()
                    },
                ),
                (
                    "second_bias",
                    Tangent {
                        second_bias: wrong(),
                        ..Default::default()
                    },
                ),
            ];
            for (want, along) in rows {
                assert_eq!(tangent(along), want, "{what}");
            }
        }
    }
    let weights = Weights::new(&zeros(&[3, 1, 1]));
    assert_eq!(named(weights.narrow(1, 0)), "count");
    assert_eq!(named(weights.narrow(2, 2)), "start");
    assert_eq!(named(weights.narrow(0, 4)), "count");
    assert_eq!(weights.narrow(1, 2)?.layers(), 2);
    let none = Weights::new(&zeros(&[0, 1, 1]));
    assert_eq!(named(prolong(&none, Prolongation::Linear)), "kernel");
    Ok(())
}

#[test]
fn networks_refuse_weights_and_directions_that_are_not_theirs() -> Result<()> {
    let config = NetworkConfig::new(KernelShape::dense(2), 3, 1.);
    let vb = || builder(&VarMap::new(), DType::F64);
    let net = network(&config, vb())?;
    let given = |f: &dyn Fn(&mut Weights)| {
        let mut weights = net.weights().clone();
        f(&mut weights);
        named(Network::with(&config, &weights, vb()))
    };
    assert_eq!(given(&|_| {}), "nothing");
    assert_eq!(given(&|w| w.bias = None), "bias");
    assert_eq!(given(&|w| w.second_bias = None), "second_bias");
    let double = prolong(net.weights(), Prolongation::Constant)?;
    assert_eq!(named(Network::with(&config, &double, vb())), "kernel");
    let x = zeros(&[4, 2]);
    assert_eq!(named(net.tangent(&x, &[])), "direction");
    let wrong = [zeros(&[3, 2, 2]), zeros(&[3, 3]), zeros(&[3, 2])];
    assert_eq!(named(net.tangent(&x, &wrong)), "bias");
    assert!(net.forward(&zeros(&[4, 3])).is_err());
    Ok(())
}
