//! Training a network whose steps have an inverse needs the same memory whatever its depth, and that of others its root. Images
//! that go through a kernel need no more, whatever the scheme, beside a few sums of the weights' gradients.

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::dynamics::{
    Force, KernelShape, Memory, NetworkConfig, Propagation, Scheme, Start, State, Weights, network,
};
use candle_prob::{Activation, Result, Rng, init, optim};

#[path = "support/counting.rs"]
mod counting;

/// The most bytes that a forward and backward pass has in use beyond what was there before.
fn peak(scheme: Scheme, conv: bool, layers: usize, memory: Memory) -> Result<usize> {
    let (kernel, shape): (_, &[usize]) = match conv {
        false => (KernelShape::dense(2), &[4096, 2]),
        true => (KernelShape::conv(2), &[32, 2, 8, 8]),
    };
    let config = NetworkConfig {
        scheme,
        memory,
        ..NetworkConfig::new(kernel, layers, 4.)
    };
    let vars = VarMap::new();
    let net = network(&config, init::seeded(&vars, 1, DType::F32, &Device::Cpu))?;
    let x: Tensor = Rng::new(2).normal(shape, DType::F32, &Device::Cpu)?;
    counting::peak(|| optim::backward(&net.forward(&x)?.sqr()?.mean_all()?))
}

/// Kernels of a layer of [`images`].
const KERNEL: [usize; 4] = [2, 2, 3, 3];

/// That of so many images on one thread, with or without gradients of the kernels.
fn images(scheme: Scheme, layers: usize, batch: usize, learned: bool) -> Result<usize> {
    let mut rng = Rng::new(3);
    let x = Var::from_tensor(&rng.normal((batch, 2, 8, 8), DType::F32, &Device::Cpu)?)?;
    let kernel = [&[layers][..], &KERNEL].concat();
    let kernel: Tensor = (rng.normal(kernel, DType::F32, &Device::Cpu)? * 0.2)?;
    let kernel = match learned {
        true => Var::from_tensor(&kernel)?.as_tensor().clone(),
        false => kernel,
    };
    let law = Propagation {
        scheme,
        activation: Activation::Tanh,
        step: 4. / layers as f64,
        memory: Memory::Constant,
    };
    let (start, weights) = (State::new(&x), Weights::new(&kernel));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(candle_core::Error::wrap)?;
    pool.install(|| {
        counting::peak(|| {
            let end = law.forward(&start, &weights)?;
            Ok(end.y.sqr()?.mean_all()?.backward()?)
        })
    })
}

fn images_stay_flat() -> Result<()> {
    for scheme in [Scheme::Verlet, Scheme::Euler(Force::Double)] {
        let few = images(scheme, 80, 512, false)?;
        let many = images(scheme, 400, 512, false)?;
        let ratio = many as f64 / few as f64;
        assert!(ratio <= 1.2, "images, {scheme:?}: {few} and {many} bytes");
        // Sums in double precision of two parts of the batch and of all, whatever the number of parts, and the gradient.
        let weights = 400 * KERNEL.iter().product::<usize>();
        let frozen = images(scheme, 400, 64, false)?;
        let learned = images(scheme, 400, 64, true)?.saturating_sub(frozen);
        let each = learned as f64 / weights as f64;
        assert!(each <= 32., "images, {scheme:?}: {each} bytes a weight");
        assert!(each >= 4., "the gradient counts: {each} bytes a weight");
    }
    Ok(())
}

/// One test, as what is counted is all that runs.
#[test]
fn memory_does_not_grow_with_depth() -> Result<()> {
    let definite = Scheme::Leapfrog(Force::Definite, Start::Rest);
    // Convolutions of the definite force have no kernel of their own.
    for (scheme, conv) in [(Scheme::Verlet, false), (definite, false), (definite, true)] {
        let few = peak(scheme, conv, 80, Memory::Constant)?;
        let many = peak(scheme, conv, 400, Memory::Constant)?;
        let ratio = many as f64 / few as f64;
        assert!(ratio <= 1.2, "{scheme:?}: {few} and {many} bytes");
        // The count sees what is kept where it is.
        let kept = peak(scheme, conv, 80, Memory::States)?;
        assert!(kept > 3 * many, "{scheme:?}: {kept} bytes with states kept");
    }
    // The kernel's checkpoints, and those of what has none.
    for scheme in [Scheme::Euler(Force::Single), Scheme::Rk4(Force::Single)] {
        let few = peak(scheme, false, 64, Memory::Constant)?;
        let many = peak(scheme, false, 400, Memory::Constant)?;
        let ratio = many as f64 / few as f64;
        assert!(ratio <= 2.7, "{scheme:?}: {few} and {many} bytes");
    }
    images_stay_flat()
}
