//! Residual quantization: levels, losses, state.

use crate::support::floats;
use candle_core::{DType, Device, ModuleT, Tensor, Var};
use candle_nn::VarMap;
use candle_prob::bijector::Axis;
use candle_prob::init::{self, named_vars};
use candle_prob::net::{
    Codebook, ResidualQuantizer, ResidualQuantizerConfig, VectorQuantizerConfig, residual_quantizer,
};
use candle_prob::objective::vq;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn made(levels: usize, axis: Axis, codebook: Codebook) -> Result<(ResidualQuantizer, VarMap)> {
    let config = ResidualQuantizerConfig {
        levels,
        quantizer: VectorQuantizerConfig {
            codes: 8,
            dims: 3,
            axis,
            codebook,
            decay: 0.9,
        },
    };
    let vars = VarMap::new();
    let made = residual_quantizer(&config, init::seeded(&vars, 1, DType::F64, CPU))?;
    Ok((made, vars))
}

/// Level by level beside single quantizers, in value, losses, gradient and state.
#[test]
fn each_level_has_what_the_others_left() -> Result<()> {
    for codebook in [
        Codebook::Gradient,
        Codebook::MovingAverage { smoothing: 0. },
    ] {
        let (quantizer, _) = made(3, Axis::Channel, codebook)?;
        let (same, _) = made(3, Axis::Channel, codebook)?;
        let z = Var::from_tensor(&Rng::new(2).normal((4, 3, 5, 2), DType::F64, CPU)?)?;
        assert!(quantizer.initialize(&z, &mut Rng::new(3))?);
        assert!(!quantizer.initialize(&z, &mut Rng::new(3))?);
        let mut rng = Rng::new(3);
        let mut left = z.as_detached_tensor();
        for level in same.levels() {
            level.initialize(&left, &mut rng)?;
            left = (&left - level.quantize(&left)?.output)?;
        }
        let found = quantizer.quantize_t(&z, true)?;
        let mut left = z.as_detached_tensor();
        let mut slope = z.zeros_like()?;
        for ((level, own), step) in same
            .levels()
            .iter()
            .zip(quantizer.levels())
            .zip(&found.levels)
        {
            let want = level.quantize_t(&left, true)?;
            assert_eq!(floats(&want.index)?, floats(&step.index)?);
            assert_eq!(floats(&level.codebook()?)?, floats(&own.codebook()?)?);
            assert_eq!(floats(&level.counts()?)?, floats(&own.counts()?)?);
            left = (&left - &want.output)?;
            // Of |z - sum of codes so far|^2.
            slope = (slope + (&left * 2.)?)?;
        }
        let sum = quantizer.quantize(&z)?.output;
        let indices: Vec<Tensor> = quantizer
            .quantize(&z)?
            .levels
            .into_iter()
            .map(|l| l.index)
            .collect();
        let off = (quantizer.decode(&indices)? - sum)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        assert!(off < 1e-12);
        let near = (&found.output - (z.as_tensor() - &left)?)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        assert!(near < 1e-12);
        let upstream = Rng::new(4).normal(z.shape(), DType::F64, CPU)?;
        let mut loss = (&found.output * &upstream)?.sum_all()?;
        for level in &found.levels {
            loss = (loss + vq(&level.rows, &level.codes, 1.)?.commitment.sum_all()?)?;
        }
        let gradient = loss.backward()?.get(&z).unwrap().clone();
        let off = (gradient - (slope + upstream)?)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        assert!(off < 1e-12, "{off}");
    }
    Ok(())
}

/// Three levels of 8 codes lose less than one, a rare code of any level is revived.
#[test]
fn levels_add_detail() -> Result<()> {
    let (quantizer, _) = made(
        3,
        Axis::Feature,
        Codebook::MovingAverage { smoothing: 1e-5 },
    )?;
    let z = Rng::new(5).normal((400, 3), DType::F64, CPU)?;
    quantizer.initialize(&z, &mut Rng::new(6))?;
    let indices: Vec<Tensor> = quantizer
        .quantize(&z)?
        .levels
        .into_iter()
        .map(|l| l.index)
        .collect();
    let loss = |levels: usize| -> Result<f64> {
        let off = (quantizer.decode(&indices[..levels])? - &z)?
            .sqr()?
            .mean_all()?;
        Ok(off.to_scalar()?)
    };
    assert!(loss(2)? < 0.6 * loss(1)? && loss(3)? < 0.6 * loss(2)?);
    for _ in 0..200 {
        quantizer.forward_t(&z.narrow(0, 0, 2)?, true)?;
    }
    let revived = quantizer.revive(&z, 0.1, &mut Rng::new(7))?;
    assert!(revived >= 3 * 6, "{revived}");
    assert!(
        quantizer
            .quantize(&z)?
            .levels
            .iter()
            .all(|l| l.perplexity().unwrap() > 3.)
    );
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_and_writes_no_level() -> Result<()> {
    let average = Codebook::MovingAverage { smoothing: 1e-5 };
    assert!(made(0, Axis::Feature, average).is_err());
    let (quantizer, vars) = made(2, Axis::Feature, average)?;
    let z = Rng::new(8).normal((9, 3), DType::F64, CPU)?;
    let index = quantizer.quantize(&z)?.levels[0].index.clone();
    assert!(quantizer.decode(&[]).is_err());
    assert!(
        quantizer
            .decode(&[index.clone(), index.clone(), index.clone()])
            .is_err()
    );
    assert!(
        quantizer
            .decode(&[index.clone(), index.narrow(0, 0, 2)?])
            .is_err()
    );
    for (refused, op) in [
        (
            quantizer.initialize(&index, &mut Rng::new(0)).err(),
            "ResidualQuantizer::initialize: ",
        ),
        (
            quantizer.revive(&z, -1., &mut Rng::new(0)).err(),
            "ResidualQuantizer::revive: ",
        ),
    ] {
        let text = refused.map_or("nothing".into(), |e| e.to_string());
        assert!(text.starts_with(op), "{text}");
    }
    // The second level has lost a code to something that is no number.
    let odd = &named_vars(&vars)?["1.codebook"];
    odd.set(&(odd.ones_like()? * f64::NAN)?)?;
    let before = floats(&quantizer.levels()[0].counts()?)?;
    let refused = quantizer.quantize_t(&z, true);
    assert!(matches!(refused, Err(Error::Value { .. })));
    assert_eq!(floats(&quantizer.levels()[0].counts()?)?, before);
    Ok(())
}
