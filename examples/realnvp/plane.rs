//! Flows on point sets in the plane.

use crate::common::cli::{Common, count};
use crate::common::fit::{Fit, Plan, Table};
use crate::common::planar::{Set, figure, fit};
use crate::common::report::Output;
use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::{
    MafConfig, NeuralSplineConfig, RealNvpConfig, maf, neural_spline, real_nvp,
};
use candle_prob::{Result, Rng, init};
use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
pub struct Points {
    #[command(flatten)]
    pub fit: Fit,
    /// The point sets, and no images [default: all]
    #[arg(long, value_enum)]
    pub set: Vec<Set>,
    /// What transforms the base of the point sets
    #[arg(long, value_enum, default_value_t = Flow::RealNvp)]
    pub flow: Flow,
    /// Layers for point sets [default: 12 of RealNVP, 5 of the others]
    #[arg(long, value_parser = count)]
    pub layers: Option<usize>,
    /// Width of the two hidden layers of each conditioner for point sets
    #[arg(long, default_value_t = 64, value_parser = count)]
    pub hidden: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flow {
    /// Affine couplings
    RealNvp,
    /// Spline couplings
    NeuralSpline,
    /// Affine and autoregressive: fast densities, slow draws
    Maf,
}

impl Flow {
    fn build(self, layers: usize, hidden: usize, vb: VarBuilder) -> Result<Box<dyn Bijector>> {
        let hidden = vec![hidden; 2];
        Ok(match self {
            Flow::RealNvp => {
                let config = RealNvpConfig {
                    layers,
                    hidden,
                    ..RealNvpConfig::default()
                };
                Box::new(real_nvp(&config, vb)?)
            }
            Flow::NeuralSpline => {
                let config = NeuralSplineConfig {
                    layers,
                    hidden,
                    ..NeuralSplineConfig::default()
                };
                Box::new(neural_spline(&config, vb)?)
            }
            Flow::Maf => {
                let config = MafConfig {
                    layers,
                    hidden,
                    ..MafConfig::default()
                };
                Box::new(maf(&config, vb)?)
            }
        })
    }
}

/// Fits the flow to every set and adds what came of it to the table.
pub fn run(points: &Points, common: &Common, output: &Output, table: &mut Table) -> Result<()> {
    let (flow, hidden) = (points.flow, points.hidden);
    let own = if flow == Flow::RealNvp { 12 } else { 5 };
    let layers = points.layers.unwrap_or(own);
    let epochs = common.epochs_or(40, 2);
    for set in Set::chosen(&points.set) {
        let rng = Rng::new(common.seed).fork(set.name());
        let vars = VarMap::new();
        let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
        let bijector = flow.build(layers, hidden, vb)?;
        let settings = format!("{flow:?} layers {layers} hidden {hidden}");
        let plan = Plan {
            how: &points.fit,
            epochs,
            settings,
            common,
            output,
        };
        let run = fit(set, bijector, &vars, &plan)?;
        figure(set, &run, &[], &rng.fork("figure"), output)?;
        table.add(set.name(), set.title(), &run);
    }
    Ok(())
}
