//! Metrics, tables and figures of a run.

use crate::common::plot::{self, Content, Curve, Map, Panel};
use crate::common::report::{self, Failures, Output};
use crate::common::train::{Metrics, Training, by_epoch};
use crate::config::{Arguments, Player};
use crate::data::Data;
use crate::evaluate::Judge;
use crate::loss::Loss;
use crate::plane::Set;
use crate::sheet;
use crate::train::Run;
use candle_core::Tensor;
use candle_prob::{Result, Rng};

const CURVES: &str = "curves.png";
/// Of the data beside the samples.
const POINTS: usize = 1000;

/// The files of all figures.
pub fn figures(players: &[Player], trainings: &[Training], data: &Data) -> Vec<String> {
    let own = players
        .iter()
        .zip(trainings)
        .flat_map(|(player, training)| match data {
            Data::Points(_) => vec![points_file(player)],
            Data::Images(_) => {
                let epochs = 1..=training.epochs;
                epochs.map(|epoch| sheet::file(player, epoch)).collect()
            }
        });
    own.chain([CURVES.into()]).collect()
}

fn points_file(player: &Player) -> String {
    format!("{}.png", player.name)
}

/// What came of all trainings.
pub struct Report<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Data,
    pub judge: &'a Judge<'a>,
    pub output: &'a Output,
    pub runs: &'a [Run<'a>],
    /// Of as many data in the place of samples.
    pub of_data: Metrics,
}

impl Report<'_> {
    /// The last epoch under `loss.metric`, every epoch under `loss.epoch_NNN.metric`, and what was measured in the end under
    /// `loss.end.metric`.
    pub fn metrics(&self) -> Metrics {
        let mut all = Metrics::new();
        for run in self.runs {
            let name = &run.player.name;
            all.extend(by_epoch(name, &run.history));
            let end = run.scores.iter();
            all.extend(end.map(|(metric, value)| (format!("{name}.end.{metric}"), *value)));
        }
        let own = self.of_data.iter();
        all.extend(own.map(|(metric, value)| (format!("data.end.{metric}"), *value)));
        if let Some(classifier) = self.judge.classifier() {
            all.insert("classifier.accuracy".into(), classifier.accuracy);
        }
        all
    }

    /// A row for each loss, in the mean over its seeds.
    pub fn table(&self) -> String {
        let columns: Vec<(&str, &str, f64, usize)> = match self.data {
            Data::Points(Set::Moons) => vec![("SW2", "sliced_wasserstein", 1., 3)],
            Data::Points(_) => vec![
                ("modes", "modes", 1., 1),
                ("least", "modes", 1., 0),
                ("near, %", "high_quality", 100., 1),
                ("SW2", "sliced_wasserstein", 1., 3),
            ],
            Data::Images(_) => vec![
                ("FID*", "classifier_fid", 1., 2),
                ("1000 KID*", "classifier_kid", 1000., 2),
                ("SW2*", "classifier_sliced_wasserstein", 1., 3),
                ("density", "density", 1., 3),
                ("coverage", "coverage", 1., 3),
            ],
        };
        let columns = [
            columns.as_slice(),
            &[
                ("precision", "precision", 1., 3),
                ("recall", "recall", 1., 3),
            ],
        ]
        .concat();
        let mut header = vec![""];
        header.extend(columns.iter().map(|column| column.0));
        header.push("training, s");
        let cells = |scores: &[&Metrics]| -> Vec<String> {
            let cell = |(name, metric, factor, digits): &(&str, &str, f64, usize)| {
                let values: Vec<f64> = scores.iter().map(|all| all[*metric] * factor).collect();
                let value = match *name {
                    "least" => values.iter().copied().fold(f64::INFINITY, f64::min),
                    _ => mean(&values),
                };
                format!("{value:.digits$}")
            };
            columns.iter().map(cell).collect()
        };
        let mut rows = vec![];
        for loss in self.losses() {
            let runs: Vec<&Run> = self.runs_of(loss).collect();
            let scores: Vec<&Metrics> = runs.iter().map(|run| &run.scores).collect();
            let seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
            let mut row = vec![loss.title()];
            row.extend(cells(&scores));
            row.push(format!("{:.0}", mean(&seconds)));
            rows.push(row);
        }
        let mut row = vec!["the data itself".to_string()];
        row.extend(cells(&[&self.of_data]));
        rows.push(row);
        report::table(&header, &rows)
    }

    /// What the table's columns are, in words.
    pub fn notes(&self) -> String {
        match self.judge.classifier() {
            None => {
                "near: within three standard deviations of a mode; SW2: sliced Wasserstein distance"
                    .into()
            }
            Some(classifier) => format!(
                "*: in the features of a classifier trained here, right about {:.1} % of the test images,\n   \
                 not in those of Inception",
                100. * classifier.accuracy
            ),
        }
    }

    fn losses(&self) -> Vec<Loss> {
        let mut losses = vec![];
        for run in self.runs {
            if !losses.contains(&run.player.loss) {
                losses.push(run.player.loss);
            }
        }
        losses
    }

    fn runs_of(&self, loss: Loss) -> impl Iterator<Item = &Run<'_>> {
        self.runs.iter().filter(move |run| run.player.loss == loss)
    }

    pub fn draw(&self, failures: &mut Failures) {
        if let Data::Points(set) = self.data {
            for run in self.runs {
                failures.keep(self.points(*set, run));
            }
        }
        // One epoch is no curve.
        if self.runs.iter().any(|run| run.history.len() > 1) {
            failures.keep(self.curves());
        }
    }

    /// The data, and samples in the course of the training.
    fn points(&self, set: Set, run: &Run) -> Result<()> {
        let panel = |caption: String, points: &Tensor| -> Result<Map> {
            let rows = points.to_vec2::<f32>()?;
            let points = rows.iter().map(|p| ((p[0].into(), p[1].into()), None));
            Ok(Map {
                caption,
                reach: set.reach(),
                content: Content::Points(points.collect()),
            })
        };
        let seed = self.arguments.common.seed;
        let data = self.data.draw(POINTS, &mut Rng::new(seed).fork("figure"))?;
        let mut panels = vec![panel("data".into(), &data)?];
        for (epoch, points) in &run.stages {
            let steps = epoch * self.data.steps(self.arguments.batch());
            panels.push(panel(format!("step {steps}"), points)?);
        }
        let title = format!("{}: {}", run.player.loss.title(), set.title());
        let path = self.output.path(&points_file(run.player));
        plot::maps_in_rows(&path, &title, 3, &panels)
    }

    /// Of the first seed of the first losses: more curves than colours are none.
    fn curves(&self) -> Result<()> {
        let curve = |(colour, loss): (usize, Loss), metric: &str| {
            let run = self.runs_of(loss).next()?;
            let points = (1..).zip(&run.history);
            let points = points.filter_map(|(k, epoch)| Some((f64::from(k), *epoch.get(metric)?)));
            Some(Curve {
                name: loss.title(),
                colour,
                dashed: false,
                points: points.collect(),
            })
        };
        let panel = |label: &str, metric: &str| Panel {
            x_label: "epoch".into(),
            y_label: label.into(),
            logarithmic: false,
            curves: {
                let losses = self.losses().into_iter().take(6).enumerate();
                losses.filter_map(|loss| curve(loss, metric)).collect()
            },
        };
        let mut panels = vec![
            panel("critic's loss", "critic_loss"),
            panel("generator's loss", "generator_loss"),
            panel("divergence, by the critic", "divergence"),
        ];
        panels.push(match self.data {
            Data::Points(Set::Moons) => panel("sliced Wasserstein distance", "sliced_wasserstein"),
            Data::Points(_) => panel("modes covered", "modes"),
            Data::Images(_) => panel("FID of the classifier", "classifier_fid"),
        });
        plot::curves(&self.output.path(CURVES), &self.data.title(), &panels)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
