//! Metrics, table and figures of a run.

use crate::common::plot::{self, Curve, Panel, Sample};
use crate::common::report::{self, Failures, Output};
use crate::common::train::{Metrics, by_epoch};
use crate::config::{Arguments, Kind};
use crate::data::Data;
use crate::evaluate::{Estimate, Nll};
use crate::model::Model;
use crate::train::{Run, Trained};
use candle_core::{D, DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::path::PathBuf;

const CURVES: &str = "curves.png";
/// Of each model.
const FIGURES: [&str; 4] = ["reconstructions", "samples", "traversals", "map"];
const SAMPLES: usize = 40;
const PER_ROW: usize = 10;
/// Latents that are traversed, and how far.
const TRAVERSED: usize = 8;
const REACH: f64 = 3.;
/// Images whose latents tell how they vary, and points of a map.
const CODES: usize = 5000;
const MAPPED: usize = 1000;

/// The files of all figures.
pub fn figures(kinds: &[Kind]) -> Vec<String> {
    let own = |kind: &Kind| {
        let name = kind.name();
        let count = if kind.has_codes() { 2 } else { 4 };
        let names = FIGURES[..count].iter();
        names.map(move |figure| format!("{name}_{figure}.png"))
    };
    let own = kinds.iter().flat_map(own);
    own.chain([CURVES.into()]).collect()
}

/// What came of all models.
pub struct Report<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Data,
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
            for (part, history) in ["", "_prior"].into_iter().zip(&run.histories) {
                all.extend(by_epoch(&format!("{name}{part}"), history));
            }
            if let Some(estimate) = &run.estimate {
                let nll = estimate.nll.as_ref();
                for (metric, value) in [
                    ("nll", nll.map(|nll| nll.mean)),
                    ("nll_standard_error", nll.map(|nll| nll.standard_error)),
                    ("nll_images", nll.map(|nll| nll.images as f64)),
                    ("active_units", estimate.active_units.map(|n| n as f64)),
                    ("information_gap", estimate.information_gap),
                ] {
                    all.extend(value.map(|value| (format!("{name}.{metric}"), value)));
                }
            }
            for (estimate, spread) in &run.gradients {
                let name = format!("{name}.gradient.{estimate}");
                all.insert(format!("{name}.mean_square"), spread.mean_square);
                all.insert(format!("{name}.variance"), spread.variance);
            }
        }
        all
    }

    pub fn table(&self) -> String {
        let nll = format!("NLL ({})", self.arguments.nll_samples());
        let header = [
            "test",
            "loss",
            "ELBO",
            "rate",
            "distortion",
            &nll,
            "s.e.",
            "active",
            "MIG",
            "training, s",
        ];
        let mut rows = vec![];
        for run in self.runs {
            let mut ends = run.histories.iter().filter_map(|history| history.last());
            let Some(first) = ends.next() else { continue };
            let last = ends.next().unwrap_or(first);
            let estimated = |value: fn(&Estimate) -> Option<String>| {
                run.estimate
                    .as_ref()
                    .and_then(value)
                    .unwrap_or_else(|| "-".into())
            };
            let nll = |value: fn(&Nll) -> f64| {
                let nll = run.estimate.as_ref().and_then(|all| all.nll.as_ref());
                nll.map_or("-".into(), |nll| format!("{:.2}", value(nll)))
            };
            rows.push(vec![
                run.kind.title().into(),
                format!("{:.2}", first["loss"]),
                format!("{:.2}", last["elbo"]),
                format!("{:.2}", last["rate"]),
                format!("{:.2}", last["distortion"]),
                nll(|nll| nll.mean),
                nll(|nll| nll.standard_error),
                estimated(|all| all.active_units.map(|count| count.to_string())),
                estimated(|all| all.information_gap.map(|gap| format!("{gap:.3}"))),
                format!("{:.0}", run.seconds),
            ]);
        }
        report::table(&header, &rows)
    }

    /// How far estimates of the encoder's gradient are from their mean, if that was asked for.
    pub fn gradients(&self) -> Option<String> {
        let header = ["encoder's gradient", "estimate", "|mean|^2", "variance"];
        let mut rows = vec![];
        for run in self.runs {
            for (estimate, spread) in &run.gradients {
                rows.push(vec![
                    run.kind.title().into(),
                    estimate.replace('_', " less "),
                    format!("{:.4e}", spread.mean_square),
                    format!("{:.4e}", spread.variance),
                ]);
            }
        }
        (!rows.is_empty()).then(|| report::table(&header, &rows))
    }

    pub fn draw(&self, failures: &mut Failures) {
        for run in self.runs {
            failures.keep(self.reconstructions(run));
            failures.keep(self.samples(run));
            if let Trained::Latents(model) = &run.model {
                failures.keep(self.latents(run, model));
            }
        }
        // One epoch is no curve.
        if self.runs.iter().any(|run| run.histories[0].len() > 1) {
            failures.keep(self.curves());
        }
    }

    /// Rows of test images, each with what is left of it below it.
    fn reconstructions(&self, run: &Run) -> Result<()> {
        let test = &self.data.split.test;
        let shown = &test[..(SAMPLES / 2).min(test.len())];
        let x = self
            .data
            .batch(shown, &mut self.rng("reconstructions"))?
            .input;
        let mean = self.data.picture(&run.model.reconstruct(&x)?)?;
        let (mut images, size) = (vec![], x.dim(0)?);
        for start in (0..size).step_by(PER_ROW) {
            let count = PER_ROW.min(size - start);
            images.push(x.narrow(0, start, count)?);
            images.push(mean.narrow(0, start, count)?);
        }
        let title = "test images, each above its reconstruction";
        self.sheet(run, "reconstructions", title, &Tensor::cat(&images, 0)?)
    }

    /// What draws of the prior decode to.
    fn samples(&self, run: &Run) -> Result<()> {
        let means = run.model.sample(SAMPLES, &mut self.rng("samples"))?;
        let title = "means of samples";
        self.sheet(run, "samples", title, &self.data.picture(&means)?)
    }

    /// Traversals of the latents that vary most, and a map of the test images' latents.
    fn latents(&self, run: &Run, model: &Model) -> Result<()> {
        let test = &self.data.split.test;
        let test = &test[..CODES.min(test.len())];
        let x = self.data.batch(test, &mut self.rng("codes"))?.input;
        let codes = model.code(&x)?.detach();
        let variance = codes.to_dtype(DType::F64)?.var(0)?.to_vec1::<f64>()?;
        let mut order: Vec<usize> = (0..variance.len()).collect();
        order.sort_by(|a, b| variance[*b].total_cmp(&variance[*a]));
        let first = codes.narrow(0, 0, 1)?;
        let mut path = vec![];
        for latent in order.into_iter().take(TRAVERSED) {
            let unit: Vec<f32> = (0..variance.len())
                .map(|k| f32::from(u8::from(k == latent)))
                .collect();
            let unit = Tensor::from_vec(unit, (1, variance.len()), &Device::Cpu)?;
            let rest = (&first - (&first * &unit)?)?;
            for k in 0..PER_ROW {
                let at = REACH * (2. * k as f64 / (PER_ROW - 1) as f64 - 1.);
                path.push((&rest + (&unit * at)?)?);
            }
        }
        let means = model.means(&Tensor::cat(&path, 0)?)?;
        let pixels = self.data.picture(&means)?;
        let title = format!("a latent in each row, from -{REACH} to {REACH}");
        self.sheet(run, "traversals", &title, &pixels)?;

        let plane = principal(&codes)?.to_vec2::<f64>()?;
        let points = plane.iter().zip(test).map(|(point, index)| {
            let class = self.data.split.images.labels[*index];
            ((point[0], point[1]), class)
        });
        let points: Vec<_> = points.take(MAPPED).collect();
        plot::numerals(
            &self.path(run, "map"),
            &format!("{}: latents of test images by class", run.kind.title()),
            ["first principal component", "second principal component"],
            &points,
        )
    }

    fn path(&self, run: &Run, figure: &str) -> PathBuf {
        let name = run.kind.name();
        self.output.path(&format!("{name}_{figure}.png"))
    }

    fn sheet(&self, run: &Run, figure: &str, title: &str, pixels: &Tensor) -> Result<()> {
        let sample = |pixels| Sample {
            pixels,
            captions: vec![],
        };
        let images: Vec<Sample> = pixels.to_vec2()?.into_iter().map(sample).collect();
        let set = &self.data.split.images;
        plot::samples(
            &self.path(run, figure),
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
                .zip(&run.histories[0])
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
                "loss (nats)",
                &[("loss", "test", false), ("training_loss", "training", true)],
            ),
            panel("rate (nats)", &[("rate", "test", false)]),
            panel("distortion (nats)", &[("distortion", "test", false)]),
        ];
        plot::curves(
            &self.output.path(CURVES),
            &self.data.split.images.name,
            &panels,
        )
    }

    fn rng(&self, figure: &str) -> Rng {
        Rng::new(self.arguments.common.seed).fork(figure)
    }
}

/// The first two principal components of vectors [N, D], D at least 2, in f64.
fn principal(x: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let mut rest = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    let mut parts = vec![];
    for _ in 0..2 {
        // The power method, from the direction of the longest vector.
        let longest = rest.sqr()?.sum(D::Minus1)?.argmax(0)?.to_scalar::<u32>()?;
        let mut axis = rest.get(longest as usize)?.unsqueeze(1)?;
        for _ in 0..100 {
            axis = rest.t()?.matmul(&rest.matmul(&axis)?)?;
            axis = axis.broadcast_div(&axis.sqr()?.sum_all()?.sqrt()?.maximum(1e-300)?)?;
        }
        let part = rest.matmul(&axis)?;
        rest = (rest - part.matmul(&axis.t()?)?)?;
        parts.push(part);
    }
    Ok(Tensor::cat(&parts, 1)?)
}
