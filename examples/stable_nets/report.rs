//! What the levels reached: a table, metrics, figures.

use crate::common::plot::{Curve, Panel, curves};
use crate::common::report::{Failures, Output, print, table};
use crate::common::train::{Metrics, by_epoch};
use crate::config::{Arguments, Net};
use crate::data::Data;
use crate::picture;
use crate::train::{Level, name};
use candle_prob::Result;

const LEVELS: &str = "levels.png";

/// The files of all figures.
pub fn figures(nets: &[Net]) -> Vec<String> {
    nets.iter()
        .map(|net| file(*net))
        .chain([LEVELS.into()])
        .collect()
}

fn file(net: Net) -> String {
    format!("{}.png", net.name())
}

pub struct Report<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Data,
    pub output: &'a Output,
    /// The levels of each network.
    pub runs: &'a [Vec<Level<'a>>],
}

impl Report<'_> {
    fn levels(&self) -> impl Iterator<Item = &Level<'_>> {
        self.runs.iter().flatten()
    }

    /// Every iteration under `net_NNNN.epoch_NNN.metric`, the level's own under `net_NNNN.reached.metric`.
    fn metrics(&self) -> Metrics {
        let mut all = Metrics::new();
        for level in self.levels() {
            let name = name(level.model.plan.net, level.layers);
            all.extend(by_epoch(&name, &level.history));
            let own = [
                ("accuracy", level.accuracy),
                ("accuracy_before", level.before()),
                ("train_accuracy", level.train_accuracy),
                ("iteration", level.iteration as f64),
            ];
            all.extend(own.map(|(metric, value)| (format!("{name}.reached.{metric}"), value)));
        }
        all
    }

    fn table(&self) -> String {
        let header = [
            "",
            "layers",
            "before, %",
            "reached, %",
            "training, %",
            "iteration",
            "s of this run",
        ];
        let percent = |x: f64| format!("{:.2}", 100. * x);
        let row = |level: &Level| {
            vec![
                level.model.plan.net.title().into(),
                level.layers.to_string(),
                percent(level.before()),
                percent(level.accuracy),
                percent(level.train_accuracy),
                level.iteration.to_string(),
                format!("{:.1}", level.seconds),
            ]
        };
        let rows: Vec<Vec<String>> = self.levels().map(row).collect();
        table(&header, &rows)
    }

    /// The validation accuracies over the levels, and those before the first iteration.
    fn draw_levels(&self) -> Result<()> {
        let panel = |label: &str, of: &dyn Fn(&Level) -> f64, skipped: usize| {
            let curve = |(colour, levels): (usize, &Vec<Level>)| {
                let levels = levels.iter().skip(skipped);
                let points = levels.map(|level| ((level.layers as f64).log2(), of(level)));
                Curve {
                    name: self.title(colour),
                    colour,
                    dashed: false,
                    points: points.collect(),
                }
            };
            Panel {
                x_label: "level (binary logarithm of the layers)".into(),
                y_label: label.into(),
                logarithmic: false,
                curves: self.runs.iter().enumerate().map(curve).collect(),
            }
        };
        let panels = [
            panel("validation accuracy", &|level| level.accuracy, 0),
            // The first level starts from nothing.
            panel(
                "before the level's first iteration",
                &|level| level.before(),
                1,
            ),
        ];
        curves(&self.output.path(LEVELS), &self.data.title, &panels)
    }

    fn title(&self, run: usize) -> String {
        let levels = self.runs.get(run).and_then(|levels| levels.first());
        levels.map_or(String::new(), |level| level.model.plan.net.title().into())
    }

    pub fn write(&self, failures: &mut Failures) {
        if self.runs.is_empty() {
            return;
        }
        let settings = self.arguments.settings(self.data);
        failures.keep(self.output.metrics(&self.metrics(), &settings));
        failures.keep(self.draw_levels());
        for last in self.runs.iter().filter_map(|levels| levels.last()) {
            let path = self.output.path(&file(last.model.plan.net));
            failures.keep(picture::draw(&path, last, self.data));
        }
        let (title, table) = (&self.data.title, self.table());
        let counts = format!(
            "{} train, {} validate",
            self.data.train.len(),
            self.data.valid.len()
        );
        let folder = self.output.folder().display();
        failures.keep(print(&format!(
            "{title}: {counts}\n\n{table}\nwritten to {folder}"
        )));
    }
}
