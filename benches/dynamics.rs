//! Propagation through many dense layers, f32: Verlet of [4096, 64] + [4096, 64] through 1024 layers with their own [64, 64],
//! forward and with gradients; and what Gauss-Newton methods do with narrow networks: J v, and J^T u of a kept forward pass.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, Start, State, Tangent, Weights};
use candle_prob::{Activation, Rng, optim};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

struct Net {
    law: Propagation,
    state: State,
    weights: Weights,
    kernel: Var,
}

impl Net {
    /// Of time 4, with kernels whose numbers have this standard deviation.
    fn new(scheme: Scheme, rows: usize, width: usize, layers: usize, scale: f64) -> Self {
        let mut rng = Rng::new(0);
        let mut normal = |shape: &[usize]| rng.normal(shape, DType::F32, &Device::Cpu).unwrap();
        let kernel = (normal(&[layers, width, width]) * scale).unwrap();
        let kernel = Var::from_tensor(&kernel).unwrap();
        let law = Propagation {
            scheme,
            activation: Activation::Tanh,
            step: 4. / layers as f64,
            memory: Memory::Constant,
        };
        let z = matches!(scheme, Scheme::Verlet).then(|| normal(&[rows, width]));
        let y = normal(&[rows, width]);
        let state = State { y, z };
        let weights = Weights::new(&kernel);
        Net {
            law,
            state,
            weights,
            kernel,
        }
    }

    fn end(&self, weights: &Weights) -> State {
        self.law.forward(&self.state, weights).unwrap()
    }
}

/// The mean square of all features.
fn loss(end: &State) -> Tensor {
    let y = end.y.sqr().unwrap().mean_all().unwrap();
    match &end.z {
        Some(z) => (y + z.sqr().unwrap().mean_all().unwrap()).unwrap(),
        None => y,
    }
}

fn deep(c: &mut Criterion) {
    let net = Net::new(Scheme::Verlet, 4096, 64, 1024, 0.1);
    let constants = Weights::new(&net.kernel.as_detached_tensor());
    let mut group = c.benchmark_group("verlet_1024");
    group.sample_size(10);
    group.timed("forward", || loss(&net.end(&constants)));
    group.timed("forward_backward", || {
        optim::backward(&loss(&net.end(&net.weights))).unwrap()
    });
    group.finish();
}

/// Widths and settings of the paper's examples in the plane.
fn narrow(c: &mut Criterion) {
    let euler = Scheme::Euler(Force::Antisymmetric { gamma: 0. });
    let leapfrog = Scheme::Leapfrog(Force::Definite, Start::Rest);
    for (name, scheme, rows, width, layers) in [
        ("verlet_1000x2_1024", Scheme::Verlet, 1000, 2, 1024),
        ("verlet_5000x2_1024", Scheme::Verlet, 5000, 2, 1024),
        ("verlet_5000x8_1024", Scheme::Verlet, 5000, 8, 1024),
        ("antisymmetric_5000x8_1024", euler, 5000, 8, 1024),
        ("leapfrog_5000x8_256", leapfrog, 5000, 8, 256),
        ("verlet_5000x6_16", Scheme::Verlet, 5000, 6, 16),
    ] {
        let net = Net::new(scheme, rows, width, layers, 1.);
        let along = Rng::new(1).normal(net.kernel.shape(), DType::F32, &Device::Cpu);
        let along = Tangent {
            kernel: Some(along.unwrap()),
            ..Default::default()
        };
        let mut group = c.benchmark_group(name);
        group.sample_size(20);
        let constants = Weights::new(&net.kernel.as_detached_tensor());
        group.timed("forward", || net.end(&constants));
        let tangent = || net.law.tangent(&net.state, &net.weights, &along).unwrap();
        group.timed("j_v", tangent);
        let kept = net.end(&net.weights);
        let u = kept.y.ones_like().unwrap();
        group.timed("jt_u", || {
            let product = (&kept.y * &u).unwrap().sum_all().unwrap();
            optim::backward(&product).unwrap()
        });
        group.finish();
    }
}

criterion_group!(name = benches; config = common::config(); targets = deep, narrow);
criterion_main!(benches);
