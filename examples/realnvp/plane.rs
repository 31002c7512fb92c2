//! Flows on point sets in the plane.

use crate::common::cli::{Common, Size, check_memory, count, value_name};
use crate::common::fit::{Fit, Plan, Table};
use crate::common::planar::{Set, figure, fit};
use crate::common::report::{Failures, Output};
use crate::common::train::Settings;
use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Bijector;
use candle_prob::flow::{
    MafConfig, NeuralSplineConfig, NiceConfig, RealNvpConfig, maf, neural_spline, nice, real_nvp,
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
    /// Layers for point sets [default: 12 of RealNVP and NICE, 5 of the others]
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
    /// Additive couplings, which keep volumes, and a scale of each coordinate
    Nice,
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
            Flow::Nice => {
                let config = NiceConfig {
                    layers,
                    hidden,
                    ..NiceConfig::default()
                };
                Box::new(nice(&config, vb)?)
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

impl Points {
    pub fn plan<'a>(&'a self, common: &'a Common, output: &'a Output) -> Result<Plan<'a>> {
        let layers = Size("--layers", self.layers(), 12);
        let hidden = Size("--hidden", self.hidden, 64);
        // A layer's hidden values with gradients, and its weights with gradients and moments.
        check_memory(16., &[self.fit.size(), layers, hidden])?;
        check_memory(16., &[layers, hidden, hidden])?;
        check_memory(4096., &[layers])?;
        Ok(Plan {
            how: &self.fit,
            epochs: common.epochs_or(40, 2),
            model: Settings::from([
                ("model", value_name(self.flow)),
                ("layers", self.layers().to_string()),
                ("hidden", self.hidden.to_string()),
            ]),
            common,
            output,
        })
    }

    /// Fits the flow to every set and adds what came of it to the table.
    pub fn run(&self, plan: &Plan, table: &mut Table, failures: &mut Failures) -> Result<()> {
        for set in Set::chosen(&self.set) {
            let seed = plan.common.seed;
            let vars = VarMap::new();
            let vb = init::seeded(&vars, seed, DType::F32, &Device::Cpu);
            let bijector = self.flow.build(self.layers(), self.hidden, vb)?;
            let Some(run) = failures.keep(fit(set, bijector, &vars, plan)) else {
                continue;
            };
            table.add(set.name(), set.title(), &run);
            let rng = Rng::new(seed).fork(set.name()).fork("figure");
            failures.keep(figure(set, &run, &[], &rng, plan.output));
        }
        Ok(())
    }

    fn layers(&self) -> usize {
        let own = match self.flow {
            Flow::RealNvp | Flow::Nice => 12,
            Flow::NeuralSpline | Flow::Maf => 5,
        };
        self.layers.unwrap_or(own)
    }
}
