//! Flows on the line to three bases: `cargo run --release --example flow_1d -- --help`.

#[path = "../common/mod.rs"]
mod common;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::bijector::Bijector;
use candle_prob::distribution::{
    Beta, Categorical, Distribution, MixtureSameFamily, Normal, Transformed, Uniform,
};
use candle_prob::flow::{Latent, UnivariateConfig, univariate};
use candle_prob::{Result, Rng, init};
use clap::Parser;
use common::cli::{Common, Size, check_memory, count};
use common::fit::{Data, Fit, Plan, Table, fit};
use common::plot::{Cell, densities, histogram};
use common::report::Failures;
use common::train::{Settings, begin};
use std::process::ExitCode;

// Training makes and drops large tensors all the time; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Points of the figures.
const POINTS: usize = 50_000;
/// Ends of the data's axis.
const ENDS: (f64, f64) = (-3.5, 3.5);
/// Of the bars and the lines of [`cells`].
const LEGEND: [&str; 4] = [
    "draws of the data, and their latents",
    "density of the data",
    "density of the flow, and of its base",
    "flow",
];

/// A flow on the line from data with three peaks to a uniform, a beta and a normal base, before and after training
#[derive(Debug, Clone, Parser)]
#[command(name = "flow_1d")]
#[command(mut_arg("epochs", |arg| arg.help("Epochs of 100 steps [default: 20, with --quick 2]")))]
#[command(mut_arg("lr", |lr| lr.default_value("0.02")))]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    fit: Fit,
    /// Components of the flow
    #[arg(long, default_value_t = 8, value_parser = count)]
    components: usize,
}

fn main() -> ExitCode {
    common::cli::main(run)
}

/// Names of the bases for files and metrics, and for people.
const UNIFORM: [&str; 2] = ["uniform", "Uniform(0, 1)"];
const BETA: [&str; 2] = ["beta", "Beta(5, 5)"];
const NORMAL: [&str; 2] = ["normal", "N(0, 1)"];

fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        common,
        fit,
        components,
    } = &arguments;
    let batch = fit.batch.max(POINTS);
    // A weight, a shift and a scale of each component, for each point.
    let sizes = [
        Size("--batch", batch, POINTS),
        Size("--components", *components, 8),
    ];
    check_memory(64., &sizes)?;
    let output = common.output("flow_1d")?;
    let plan = Plan {
        how: fit,
        epochs: common.epochs_or(20, 2),
        model: Settings::from([
            ("model", "univariate".into()),
            ("components", components.to_string()),
        ]),
        common,
        output: &output,
    };
    let trainings = [UNIFORM, BETA, NORMAL].map(|[name, title]| plan.training(name, title));
    let figures = [UNIFORM, BETA, NORMAL].map(figure);
    begin(&trainings, &figures, common.resume, &output)?;
    let mut to = Bases {
        components: *components,
        plan,
        table: Table::default(),
        failures: Failures::default(),
    };
    let number = |x: f32| Tensor::new(x, &Device::Cpu);
    let (zero, one, five) = (number(0.)?, number(1.)?, number(5.)?);
    let unit = (Latent::UnitInterval, (0., 1.));
    to.base(UNIFORM, Uniform::new(&zero, &one)?, unit)?;
    to.base(BETA, Beta::new(&five, &five)?, unit)?;
    to.base(NORMAL, Normal::new(&zero, &one)?, (Latent::Line, (-4., 4.)))?;
    to.table
        .write(&output, &to.plan.settings(), &mut to.failures);
    to.failures.end(&output)
}

fn figure([name, _]: [&str; 2]) -> String {
    format!("{name}.png")
}

/// The data's distribution, which the flow does not know.
fn truth() -> Result<MixtureSameFamily<Normal>> {
    let row = |x: [f32; 3]| Tensor::new(&x, &Device::Cpu);
    let weights = Categorical::from_probs(&row([0.35, 0.4, 0.25])?)?;
    let components = Normal::new(&row([-1.3, 0.3, 1.6])?, &row([0.25, 0.8, 0.3])?)?;
    MixtureSameFamily::new(weights, components)
}

struct Bases<'a> {
    components: usize,
    plan: Plan<'a>,
    table: Table,
    failures: Failures,
}

impl Bases<'_> {
    /// Fits a flow to this base, whose support or bulk lies between the ends, and draws it before and after.
    fn base<D: Distribution>(
        &mut self,
        [name, title]: [&'static str; 2],
        base: D,
        (latent, ends): (Latent, (f64, f64)),
    ) -> Result<()> {
        let Common { seed, .. } = *self.plan.common;
        let config = UnivariateConfig {
            components: self.components,
            latent,
            ..UnivariateConfig::default()
        };
        let vars = VarMap::new();
        let flow = univariate(&config, init::seeded(&vars, seed, DType::F32, &Device::Cpu))?;
        let model = base.transformed_by(flow)?;
        let truth = truth()?;
        let data = Data {
            name,
            title,
            draw: &|count, rng| truth.sample(&[count], rng),
        };
        let points = truth.sample(&[POINTS], &mut Rng::new(seed).fork("figure"))?;
        let before = cells("before", &model, &points, ends);
        let Some(run) = self.failures.keep(fit(&data, model, &vars, &self.plan)) else {
            return Ok(());
        };
        self.table.add(name, title, &run);
        let draw = || {
            let after = cells("after", &run.model, &points, ends)?;
            let heading = format!("Flow to {title}: test NLL {:.3} nats", run.nll);
            let path = self.plan.output.path(&figure([name, title]));
            densities(&path, &heading, &LEGEND, &[before?, after])
        };
        let drawn = draw();
        self.failures.keep(drawn);
        Ok(())
    }
}

/// The data's density and the flow's, the flow, and the latents' histogram under the base's density.
fn cells<D: Distribution, B: Bijector>(
    when: &str,
    model: &Transformed<D, B>,
    points: &Tensor,
    ends: (f64, f64),
) -> Result<Vec<Cell>> {
    let x = line(ENDS)?;
    let z = line(ends)?;
    let latents = model.bijector().inverse(points)?;
    let pairs = |x: &Tensor, y: &Tensor| -> Result<Vec<(f64, f64)>> {
        let (x, y) = (numbers(x)?, numbers(y)?);
        Ok(x.into_iter().zip(y).collect())
    };
    let density = |d: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor| pairs(x, &d(x)?.exp()?);
    let truth = truth()?;
    Ok(vec![
        Cell {
            caption: format!("{when} training: data x and the flow's density"),
            x_label: "x".into(),
            bars: histogram(&numbers(points)?, ENDS, 70),
            lines: vec![
                density(&|x| truth.log_prob(x), &x)?,
                density(&|x| model.log_prob(x), &x)?,
            ],
        },
        Cell {
            caption: "flow from x to z".into(),
            x_label: "x".into(),
            bars: vec![],
            lines: vec![vec![], vec![], pairs(&x, &model.bijector().inverse(&x)?)?],
        },
        Cell {
            caption: "latents z and the base's density".into(),
            x_label: "z".into(),
            bars: histogram(&numbers(&latents)?, ends, 50),
            lines: vec![vec![], density(&|z| model.base().log_prob(z), &z)?],
        },
    ])
}

/// Places on the line from end to end.
fn line((from, to): (f64, f64)) -> Result<Tensor> {
    let step = (to - from) / 400.;
    let places: Vec<f32> = (0..=400)
        .map(|k| (from + f64::from(k) * step) as f32)
        .collect();
    Ok(Tensor::new(places, &Device::Cpu)?)
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.to_vec1()?)
}
