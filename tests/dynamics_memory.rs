//! Training a network whose steps have an inverse needs the same memory whatever its depth, and that of others its root.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use candle_prob::dynamics::{Force, KernelShape, Memory, NetworkConfig, Scheme, Start, network};
use candle_prob::{Result, Rng, init, optim};

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

#[test]
fn memory_does_not_grow_with_depth() -> Result<()> {
    let definite = Scheme::Leapfrog(Force::Definite, Start::Rest);
    for conv in [false, true] {
        for scheme in [Scheme::Verlet, definite] {
            let few = peak(scheme, conv, 80, Memory::Constant)?;
            let many = peak(scheme, conv, 400, Memory::Constant)?;
            let ratio = many as f64 / few as f64;
            assert!(ratio <= 1.2, "{scheme:?}: {few} and {many} bytes");
            // The count sees what is kept where it is.
            let kept = peak(scheme, conv, 80, Memory::States)?;
            assert!(kept > 3 * many, "{scheme:?}: {kept} bytes with states kept");
        }
        let euler = Scheme::Euler(Force::Single);
        let few = peak(euler, conv, 64, Memory::Constant)?;
        let many = peak(euler, conv, 400, Memory::Constant)?;
        let ratio = many as f64 / few as f64;
        assert!(ratio <= 2.7, "checkpoints: {few} and {many} bytes");
    }
    Ok(())
}
