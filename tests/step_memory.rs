//! A training step leaves no memory behind.

use candle_core::{DType, Device, Module};
use candle_nn::VarMap;
use candle_prob::distribution::{Bernoulli, Distribution, Kl, MultivariateNormalDiag};
use candle_prob::net::mlp;
use candle_prob::optim::{Adam, AdamConfig, Optimizer};
use candle_prob::special::logsumexp;
use candle_prob::{Activation, Result, Rng, init};

#[path = "support/counting.rs"]
mod counting;

/// By how many bytes 1000 steps of a variational autoencoder let the memory in use grow, at the end and in between.
fn growth(samples: Option<usize>) -> Result<[usize; 2]> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
    let encoder = mlp(&[64, 32, 8], Activation::Relu, vb.pp("encoder"))?;
    let decoder = mlp(&[4, 32, 64], Activation::Relu, vb.pp("decoder"))?;
    let mut adam = Adam::new(&vars, &AdamConfig::default())?;
    let mut rng = Rng::new(2);
    let gray = rng.uniform((16, 64), DType::F32, &Device::Cpu)?;
    let x = gray.gt(0.5)?.to_dtype(DType::F32)?;
    let prior = MultivariateNormalDiag::standard(4, DType::F32, &Device::Cpu)?;
    let mut steps = |count: usize| -> Result<()> {
        for _ in 0..count {
            let code = encoder.forward(&x)?;
            let (loc, log_var) = (code.narrow(1, 0, 4)?, code.narrow(1, 4, 4)?);
            let posterior = MultivariateNormalDiag::from_log_var(&loc, &log_var)?;
            let likelihood = |z| Bernoulli::new(&decoder.forward(z)?)?.to_event(1);
            let evidence = match samples {
                None => {
                    let (z, rate) = posterior.sample_and_kl(&prior, &[], &mut rng)?;
                    (likelihood(&z)?.log_prob(&x)? - rate)?
                }
                Some(samples) => {
                    let (z, log_q) = posterior.sample_and_log_prob(&[samples], &mut rng)?;
                    let joint = (likelihood(&z)?.log_prob(&x)? + prior.log_prob(&z)?)?;
                    logsumexp(&(joint - log_q)?, 0)?
                }
            };
            adam.backward_step(&evidence.mean_all()?.neg()?)?;
        }
        Ok(())
    };
    steps(10)?;
    let few = counting::growth(|| steps(10))?;
    let many = counting::growth(|| steps(1000))?;
    Ok([many.at_the_end, many.at_most.saturating_sub(few.at_most)])
}

#[test]
fn a_thousand_steps_need_what_ten_need() -> Result<()> {
    for samples in [None, Some(5)] {
        for growth in growth(samples)? {
            // A step of these makes 30 KiB and more.
            assert!(growth < 16 * 1024, "{samples:?}: {growth} bytes");
        }
    }
    Ok(())
}
