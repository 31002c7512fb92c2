//! Metrics, table and figures of a run.

use crate::common::images::Split;
use crate::common::plot::{self, Curve, Panel, Sample};
use crate::common::report::{self, Failures, Output};
use crate::common::train::{Metrics, by_epoch};
use crate::config::{Arguments, Kind};
use crate::train::{Run, images};
use candle_core::Tensor;
use candle_prob::distribution::{Distribution, Moments};
use candle_prob::{Result, Rng};

const CURVES: &str = "curves.png";
const SAMPLES: usize = 40;
const PER_ROW: usize = 10;

/// The files of all figures.
pub fn figures(kinds: &[Kind]) -> Vec<String> {
    let own = |kind: &Kind| {
        let name = kind.name();
        [
            format!("{name}_reconstructions.png"),
            format!("{name}_samples.png"),
        ]
    };
    let own = kinds.iter().flat_map(own);
    own.chain([CURVES.into()]).collect()
}

/// What came of all models.
pub struct Report<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Split,
    pub output: &'a Output,
    pub runs: &'a [Run],
}

impl Report<'_> {
    /// The last epoch under `model.metric`, every epoch under `model.epoch_NNN.metric`; estimates of the trained model under
    /// `model.nll` and others.
    pub fn metrics(&self) -> Metrics {
        let mut all = Metrics::new();
        for run in self.runs {
            let name = run.kind.name();
            all.extend(by_epoch(name, &run.history));
            for (metric, value) in [
                ("nll", run.estimate.nll),
                ("nll_standard_error", run.estimate.standard_error),
                ("nll_images", run.estimate.images as f64),
                ("active_units", run.estimate.active_units as f64),
            ] {
                all.insert(format!("{name}.{metric}"), value);
            }
        }
        all
    }

    pub fn table(&self) -> String {
        let nll = format!("NLL ({})", self.arguments.nll_samples());
        let header = [
            "test",
            "bound",
            "ELBO",
            "rate",
            "distortion",
            &nll,
            "s.e.",
            "active",
            "training, s",
        ];
        let rows: Vec<Vec<String>> = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.history.last()?)))
            .map(|(run, last)| {
                let nats = |metric: &str| format!("{:.2}", last[metric]);
                vec![
                    run.kind.title().into(),
                    nats("bound"),
                    nats("elbo"),
                    nats("rate"),
                    nats("distortion"),
                    format!("{:.2}", run.estimate.nll),
                    format!("{:.2}", run.estimate.standard_error),
                    run.estimate.active_units.to_string(),
                    format!("{:.0}", run.seconds),
                ]
            })
            .collect();
        report::table(&header, &rows)
    }

    pub fn draw(&self, failures: &mut Failures) {
        for run in self.runs {
            failures.keep(self.reconstructions(run));
            failures.keep(self.samples(run));
        }
        // One epoch is no curve.
        if self.runs.iter().any(|run| run.history.len() > 1) {
            failures.keep(self.curves());
        }
    }

    /// Rows of test images, each with what the mean of its posterior decodes to below it.
    fn reconstructions(&self, run: &Run) -> Result<()> {
        let shown = &self.data.test[..(SAMPLES / 2).min(self.data.test.len())];
        let x = images(self.data, shown, &mut self.rng("reconstructions"))?;
        let model = &run.model;
        let mean = model.likelihood(model.posterior(&x)?.loc())?.mean()?;
        let (mut images, size) = (vec![], x.dim(0)?);
        for start in (0..size).step_by(PER_ROW) {
            let count = PER_ROW.min(size - start);
            images.push(x.narrow(0, start, count)?);
            images.push(mean.narrow(0, start, count)?);
        }
        let title = "test images, each above its reconstruction";
        self.sheet(run, "reconstructions", title, &Tensor::cat(&images, 0)?)
    }

    /// What latents of the prior decode to.
    fn samples(&self, run: &Run) -> Result<()> {
        let z = run
            .model
            .prior
            .sample(&[SAMPLES], &mut self.rng("samples"))?;
        let mean = run.model.likelihood(&z)?.mean()?;
        self.sheet(run, "samples", "samples (probabilities)", &mean)
    }

    fn sheet(&self, run: &Run, figure: &str, title: &str, pixels: &Tensor) -> Result<()> {
        let sample = |pixels| Sample {
            pixels,
            captions: vec![],
        };
        let images: Vec<Sample> = pixels.to_vec2()?.into_iter().map(sample).collect();
        let set = &self.data.images;
        plot::samples(
            &self
                .output
                .path(&format!("{}_{figure}.png", run.kind.name())),
            &format!("{}, {}: {title}", run.kind.title(), set.name),
            (set.height, set.width),
            PER_ROW,
            &images,
        )
    }

    fn curves(&self) -> Result<()> {
        let curve = |run: &Run, metric: &str, part: &str, dashed| Curve {
            name: format!("{} {part}", run.kind.title()),
            colour: run.kind as usize,
            dashed,
            points: (1..)
                .zip(&run.history)
                .map(|(k, epoch)| (f64::from(k), epoch[metric]))
                .collect(),
        };
        let panel = |label: &str, metrics: &[(&str, &str, bool)]| Panel {
            x_label: "epoch".into(),
            y_label: label.into(),
            logarithmic: false,
            curves: self
                .runs
                .iter()
                .flat_map(|run| {
                    metrics
                        .iter()
                        .map(|(m, part, dashed)| curve(run, m, part, *dashed))
                })
                .collect(),
        };
        let panels = [
            panel(
                "bound (nats)",
                &[
                    ("bound", "test", false),
                    ("training_bound", "training", true),
                ],
            ),
            panel("rate (nats)", &[("rate", "test", false)]),
            panel("distortion (nats)", &[("distortion", "test", false)]),
        ];
        plot::curves(&self.output.path(CURVES), &self.data.images.name, &panels)
    }

    fn rng(&self, figure: &str) -> Rng {
        Rng::new(self.arguments.common.seed).fork(figure)
    }
}
