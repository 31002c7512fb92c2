//! Metrics, table and figures of a run.

use crate::common::images::CLASSES;
use crate::common::multi::MultiImages;
use crate::common::plot::{self, Caption, Curve, Panel, Path, Sample};
use crate::common::report::{self, Failures, Output};
use crate::common::train::{History, Metrics, by_epoch};
use crate::config::Kind;
use crate::evaluate::{Score, Start, probabilities};
use crate::model::Model;
use candle_prob::{Result, Rng};

/// A trained model and how it got there.
pub struct Run {
    pub kind: Kind,
    pub model: Model,
    /// Of a model with a random code.
    pub start: Option<Start>,
    pub history: History,
    /// On new arrangements of the training sources.
    pub known: Score,
}

const SHOWN: usize = 18;
/// Curves, information plane, samples.
pub const FIGURES: [&str; 3] = ["curves.png", "information_plane.png", "samples.png"];

/// What came of all models.
pub struct Report<'a> {
    pub title: String,
    pub seed: u64,
    pub output: &'a Output,
    pub runs: &'a [Run],
    pub test: &'a MultiImages,
    /// H(Y) in nats.
    pub entropy: f64,
}

impl Report<'_> {
    pub fn figures(&self, failures: &mut Failures) {
        let path = |name: &str| self.output.path(name);
        let curves = plot::curves(&path(FIGURES[0]), &self.title, &panels(self.runs));
        failures.keep(curves);
        let paths: Vec<Path> = self
            .runs
            .iter()
            .filter(|run| run.kind != Kind::Basic)
            .map(|run| Path {
                name: run.kind.title().into(),
                colour: run.kind as usize,
                points: run
                    .history
                    .iter()
                    .map(|epoch| {
                        let x = epoch["code_information_x_nats"];
                        (x, epoch["information_y_nats"])
                    })
                    .collect(),
            })
            .collect();
        if !paths.is_empty() {
            let path = path(FIGURES[1]);
            let plane = plot::information_plane(&path, &self.title, self.entropy, &paths);
            failures.keep(plane);
        }
        failures.keep(self.sheet());
    }

    /// The last epoch under `model.metric`, every epoch under `model.epoch_NNN.metric`; `model.known_sources.metric` on new
    /// arrangements of the training sources; `model.start.metric` before the first step.
    pub fn metrics(&self) -> Metrics {
        let mut all = Metrics::from([("label_entropy_nats".to_string(), self.entropy)]);
        for run in self.runs {
            let name = run.kind.name();
            all.extend(by_epoch(name, &run.history));
            for (metric, value) in [
                ("exact_match", run.known.exact_match()),
                ("label_accuracy", run.known.label_accuracy()),
            ] {
                all.insert(format!("{name}.known_sources.{metric}"), value);
            }
            if let Some(start) = run.start {
                all.insert(format!("{name}.start.rate_nats"), start.rate);
                let ratio = start.signal_to_noise;
                all.insert(format!("{name}.start.signal_to_noise"), ratio);
            }
        }
        all
    }

    pub fn table(&self) -> String {
        let header = [
            "test",
            "exact match",
            "known",
            "per label",
            "micro-F1",
            "I(Z;X) <=",
            "code",
            "I(Z;Y) >=",
        ];
        let rows: Vec<Vec<String>> = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.history.last()?)))
            .map(|(run, last)| {
                let share = |metric: &str| format!("{:.4}", last[metric]);
                let nats = |metric: &str| {
                    let value = last.get(metric);
                    value.map_or("-".into(), |rate| format!("{rate:.2}"))
                };
                vec![
                    run.kind.title().into(),
                    share("exact_match"),
                    format!("{:.4}", run.known.exact_match()),
                    share("label_accuracy"),
                    share("micro_f1"),
                    nats("information_x_nats"),
                    nats("code_information_x_nats"),
                    format!("{:.3}", last["information_y_nats"]),
                ]
            })
            .collect();
        report::table(&header, &rows)
    }

    fn sheet(&self) -> Result<()> {
        let test = self.test;
        let shown: Vec<usize> = (0..test.len().min(SHOWN)).collect();
        let (x, _) = test.batch(&shown)?;
        let text = |classes: &[usize]| {
            let names: Vec<String> = classes.iter().map(usize::to_string).collect();
            match names.is_empty() {
                true => "none".into(),
                false => names.join(" "),
            }
        };
        let mut captions: Vec<Vec<Caption>> = shown
            .iter()
            .map(|&index| {
                vec![Caption {
                    name: "true".into(),
                    text: text(&test.classes(index)),
                    right: None,
                }]
            })
            .collect();
        for run in self.runs {
            let mut rng = Rng::new(self.seed).fork("sheet");
            let posterior = run.model.posterior(&x)?;
            let predictions = run.model.predictions(&posterior, &mut rng)?;
            let probabilities = probabilities(&predictions)?;
            for (k, row) in probabilities.chunks_exact(CLASSES).enumerate() {
                let found: Vec<usize> = (0..CLASSES).filter(|&class| row[class] > 0.5).collect();
                captions[k].push(Caption {
                    name: run.kind.title().into(),
                    text: text(&found),
                    right: Some(found == test.classes(shown[k])),
                });
            }
        }
        let images: Vec<Sample> = captions
            .into_iter()
            .zip(&shown)
            .map(|(captions, &index)| {
                let mut pixels = vec![0.; test.height * test.width];
                test.draw(index, &mut pixels);
                Sample { pixels, captions }
            })
            .collect();
        plot::samples(
            &self.output.path(FIGURES[2]),
            &format!("{}: test images and predicted label sets", self.title),
            (test.height, test.width),
            6,
            &images,
        )
    }
}

fn panels(runs: &[Run]) -> Vec<Panel> {
    let panel = |label: &str, logarithmic: bool, metrics: &[(&str, &str, bool)]| {
        let curves = runs.iter().flat_map(|run| {
            metrics.iter().map(move |(metric, part, dashed)| {
                let values = run.history.iter().map(|epoch| epoch.get(*metric));
                Curve {
                    name: format!("{} {part}", run.kind.title()),
                    colour: run.kind as usize,
                    dashed: *dashed,
                    points: values
                        .enumerate()
                        .filter_map(|(k, value)| Some(((k + 1) as f64, *value?)))
                        .collect(),
                }
            })
        });
        Panel {
            x_label: "epoch".into(),
            y_label: label.into(),
            logarithmic,
            curves: curves.collect(),
        }
    };
    let test = |metric| [(metric, "test", false)];
    vec![
        panel(
            "distortion (nats)",
            true,
            &[
                ("distortion_nats", "test", false),
                ("training_distortion_nats", "training", true),
            ],
        ),
        panel("exact match", false, &test("exact_match")),
        panel("accuracy per label", false, &test("label_accuracy")),
        panel(
            "rate (nats)",
            true,
            &[
                ("information_x_nats", "test", false),
                ("training_rate_nats", "training", true),
            ],
        ),
    ]
}
