//! Metrics, tables and figures of a run.

use crate::common::file_error;
use crate::common::plot::{
    self, Areas, Curve, Panel, Trajectories, Trajectory, information_diagram, trajectories,
};
use crate::common::report::{Failures, Output, print, table, write_whole};
use crate::common::train::{History, Metrics, by_epoch};
use crate::config::{Arguments, Experiment};
use crate::data::Data;
use crate::gap::{Objective, Trial};
use crate::noise::Noise;
use crate::surrogates::Point;
use candle_prob::Result;
use candle_prob::information::{Plane, PlanePoint};

const GAP: &str = "gap.png";
const DIAGRAM: &str = "diagram.png";
const NOISE: &str = "noise.png";
const ENTROPIES: &str = "entropies.png";
const PLANE: &str = "plane.png";
const RECORD: &str = "plane.csv";

/// What this run writes beside metrics and checkpoints.
pub fn files(arguments: &Arguments) -> Vec<String> {
    let of = |experiment| match experiment {
        Experiment::Gap => vec![GAP, DIAGRAM],
        Experiment::Noise => vec![NOISE],
        Experiment::Surrogates => vec![ENTROPIES, PLANE],
    };
    let files = arguments.experiments().into_iter().flat_map(of);
    files.chain([RECORD]).map(String::from).collect()
}

/// What came of all trainings.
pub struct Report<'a> {
    arguments: &'a Arguments,
    data: &'a Data,
    output: &'a Output,
    pub trials: Vec<(&'a Trial, History)>,
    pub noises: Vec<(Noise, History)>,
    pub points: Vec<(&'a Point, History)>,
}

/// The quantities of figure 3 and what they are called.
const GAPS: [(&str, &str); 3] = [
    ("decoder_uncertainty", "H[Y|Z]"),
    ("decoder_cross_entropy", "H_\u{398}[Y|Z]"),
    ("prediction_cross_entropy", "H_\u{398}[Y|X]"),
];

impl<'a> Report<'a> {
    pub fn new(arguments: &'a Arguments, data: &'a Data, output: &'a Output) -> Self {
        Report {
            arguments,
            data,
            output,
            trials: vec![],
            noises: vec![],
            points: vec![],
        }
    }

    pub fn write(&self, failures: &mut Failures) {
        let settings = self.arguments.all_settings(self.data);
        failures.keep(self.output.metrics(&self.metrics(), &settings));
        failures.keep(self.record());
        let mut tables = vec![];
        if !self.trials.is_empty() {
            failures.keep(self.gap_figure());
            failures.keep(self.diagram());
            tables.push(self.gap_table());
        }
        if !self.noises.is_empty() {
            failures.keep(self.noise_figure());
            tables.push(self.noise_table());
        }
        if !self.points.is_empty() {
            failures.keep(self.entropies());
            failures.keep(self.plane());
            tables.push(self.surrogate_table());
        }
        if !tables.is_empty() {
            let folder = self.output.folder().display();
            let text = format!("{}\nwritten to {folder}", tables.join("\n"));
            failures.keep(print(&text));
        }
    }

    /// The last epoch under `name.metric`, every epoch under `name.epoch_NNN.metric`.
    fn metrics(&self) -> Metrics {
        let trials = self.trials.iter().map(|(t, h)| by_epoch(&t.name, h));
        let noises = self.noises.iter().map(|(n, h)| by_epoch(n.name(), h));
        let points = self.points.iter().map(|(p, h)| by_epoch(&p.name, h));
        let mut all: Metrics = trials.chain(noises).chain(points).flatten().collect();
        for objective in Objective::ALL {
            for (metric, _) in GAPS.iter().chain(&[("error", ""), ("test_error", "")]) {
                let Some(three) = self.quartiles(objective, metric).pop() else {
                    continue;
                };
                for (part, value) in ["lower", "median", "upper"].into_iter().zip(three) {
                    all.insert(format!("gap.{}.{metric}.{part}", objective.name()), value);
                }
            }
        }
        // What the last epoch has none of is not that of an earlier one.
        for (noise, history) in &self.noises {
            if history.last().is_some_and(|m| !m.contains_key("entropy")) {
                all.remove(&format!("{}.entropy", noise.name()));
            }
        }
        all.insert("label_entropy".into(), self.data.train.label_entropy());
        all
    }

    /// The plane of all trainings whose codes have information quantities.
    fn record(&self) -> Result<()> {
        let trials = self.trials.iter().map(|(t, h)| (t.name.as_str(), h));
        let points = self.points.iter().map(|(p, h)| (p.name.as_str(), h));
        let mut plane = Plane::new();
        for (name, history) in trials.chain(points) {
            for (epoch, metrics) in (1..).zip(history) {
                plane.record(name, epoch, point(metrics));
            }
        }
        let mut csv = vec![];
        let path = self.output.path(RECORD);
        let unwritable = |e| file_error(&path, "a writable file", e);
        plane.write_csv(&mut csv).map_err(unwritable)?;
        write_whole(&path, |temporary| {
            std::fs::write(temporary, &csv).map_err(unwritable)
        })
    }

    fn title(&self, what: &str) -> String {
        format!("{}: {what}", self.data.name)
    }

    /// Lower quartile, median and upper quartile of each epoch over the trials of an objective.
    fn quartiles(&self, objective: Objective, metric: &str) -> Vec<[f64; 3]> {
        let own = self.trials.iter().filter(|(t, _)| t.objective == objective);
        let histories: Vec<&History> = own.map(|(_, history)| history).collect();
        let epochs = histories.iter().map(|h| h.len()).min().unwrap_or(0);
        (0..epochs)
            .map(|epoch| {
                let values = histories.iter().map(|history| history[epoch][metric]);
                let mut values: Vec<f64> = values.collect();
                values.sort_by(f64::total_cmp);
                [0.25, 0.5, 0.75].map(|share| quantile(&values, share))
            })
            .collect()
    }

    fn gap_figure(&self) -> Result<()> {
        let panel = |objective: Objective| {
            let curves = GAPS
                .iter()
                .enumerate()
                .flat_map(|(colour, (metric, name))| {
                    let all = self.quartiles(objective, metric);
                    let part = move |k: usize| {
                        let points = (1..).zip(&all).map(|(n, three)| (f64::from(n), three[k]));
                        points.collect::<Vec<_>>()
                    };
                    let curve = |name: String, dashed, points| Curve {
                        name,
                        colour,
                        dashed,
                        points,
                    };
                    let quartiles = format!("{name}, quartiles");
                    let mut curves = vec![curve(name.to_string(), false, part(1))];
                    if self.arguments.trials() > 1 {
                        curves.push(curve(quartiles.clone(), true, part(0)));
                        curves.push(curve(quartiles, true, part(2)));
                    }
                    curves
                });
            Panel {
                x_label: "epoch".into(),
                y_label: format!("trained: {}", objective.title()),
                logarithmic: true,
                curves: curves.collect(),
            }
        };
        let panels: Vec<Panel> = Objective::ALL.into_iter().map(panel).collect();
        let what = "three losses of a categorical code, on training data, nats";
        plot::curves(&self.output.path(GAP), &self.title(what), &panels)
    }

    /// Of the first trial that trained the decoder cross-entropy, or of the first there is.
    fn diagram(&self) -> Result<()> {
        let of_decoder = |(t, _): &&(&Trial, History)| t.objective == Objective::Decoder;
        let trial = self.trials.iter().find(of_decoder).or(self.trials.first());
        let Some((trial, last)) = trial.and_then(|(t, h)| Some((t, h.last()?))) else {
            return Ok(());
        };
        let areas = Areas {
            preserved_relevant: last["preserved_relevant"],
            residual: last["residual"],
            redundant: last["redundant"],
            lost_nuisance: last["lost_nuisance"],
            label_uncertainty: last["label_uncertainty"],
            encoding_uncertainty: last["encoding_uncertainty"],
        };
        let what = format!("an encoder trained on {}", trial.objective.title());
        information_diagram(&self.output.path(DIAGRAM), &self.title(&what), &areas)
    }

    fn gap_table(&self) -> String {
        let header = [
            "gap: trained",
            "H[Y|Z]",
            "H_\u{398}[Y|Z]",
            "H_\u{398}[Y|X]",
            "error %",
            "test error %",
        ];
        let row = |objective: Objective| {
            let last = |metric: &str| self.quartiles(objective, metric).pop().map(|q| q[1]);
            let metrics = GAPS.map(|(metric, _)| number(last(metric), 4));
            let errors = ["error", "test_error"].map(|metric| percent(last(metric)));
            let title = objective.title().replace("decoder uncertainty ", "");
            [title].into_iter().chain(metrics).chain(errors).collect()
        };
        let rows: Vec<Vec<String>> = Objective::ALL.into_iter().map(row).collect();
        table(&header, &rows)
    }

    fn noise_figure(&self) -> Result<()> {
        let curves = |noise: Option<Noise>, x: fn(&Metrics) -> f64| {
            let own = self
                .noises
                .iter()
                .filter(|(n, _)| noise.is_none_or(|m| m == *n));
            let curves = own.flat_map(|(noise, history)| {
                [("error", "training", false), ("test_error", "test", true)].map(
                    |(metric, part, dashed)| Curve {
                        name: format!("{}, {part}", noise.title()),
                        colour: *noise as usize,
                        dashed,
                        points: history.iter().map(|m| (x(m), 100. * m[metric])).collect(),
                    },
                )
            });
            curves.collect()
        };
        let panel = |noise, x: fn(&Metrics) -> f64, label: &str| Panel {
            x_label: label.into(),
            y_label: "error, %".into(),
            logarithmic: false,
            curves: curves(noise, x),
        };
        let panels = [
            panel(Some(Noise::Without), estimated, "estimated H[Z], nats"),
            panel(Some(Noise::With), estimated, "estimated H[Z], nats"),
            panel(None, |m| m["scale"].log10(), "log10 of the code's scale"),
            panel(
                Some(Noise::With),
                |m| m["entropy_bound"],
                "bound on H[Z], nats",
            ),
        ];
        let what = "codes scaled to less entropy at every epoch";
        plot::curves(&self.output.path(NOISE), &self.title(what), &panels)
    }

    fn noise_table(&self) -> String {
        let header = [
            "noise",
            "log10 scale",
            "H[Z]",
            "bound",
            "error %",
            "test error %",
        ];
        let rows = self.noises.iter().flat_map(|(noise, history)| {
            // The last epoch of each quarter.
            let count = history.len();
            let mut at: Vec<usize> = (1..=4).map(|k| count * k / 4).collect();
            at.retain(|k| *k > 0);
            at.dedup();
            at.into_iter().map(move |k| {
                let m = &history[k - 1];
                vec![
                    format!(
                        "{}, epoch {k}",
                        if *noise == Noise::With {
                            "with"
                        } else {
                            "without"
                        }
                    ),
                    number(Some(m["scale"].log10()), 2),
                    number(m.get("entropy").copied(), 1),
                    number(Some(m["entropy_bound"]), 1),
                    percent(Some(m["error"])),
                    percent(Some(m["test_error"])),
                ]
            })
        });
        table(&header, &rows.collect::<Vec<_>>())
    }

    /// Of figure 5: a panel for each regularizer.
    fn entropies(&self) -> Result<()> {
        let gammas = self.arguments.gammas();
        let panel = |regularizer| {
            let own = self
                .points
                .iter()
                .filter(|(p, _)| p.regularizer == regularizer);
            let curves = own.flat_map(|(p, history)| {
                let colour = gammas.iter().position(|g| *g == p.gamma).unwrap_or(0);
                let of = |metric: &str| {
                    let values = (1..).zip(history);
                    values
                        .filter_map(|(n, m)| Some((f64::from(n), *m.get(metric)?)))
                        .collect()
                };
                [
                    ("encoding_entropy", false),
                    ("reverse_decoder_uncertainty", true),
                ]
                .map(|(metric, dashed)| Curve {
                    name: format!(
                        "\u{3b3} = {}{}",
                        p.gamma,
                        if dashed { ", H[Z|Y]" } else { "" }
                    ),
                    colour,
                    dashed,
                    points: of(metric),
                })
            });
            Panel {
                x_label: "epoch".into(),
                y_label: format!("H[Z], {}", regularizer.title()),
                logarithmic: false,
                curves: curves.collect(),
            }
        };
        let panels = self.arguments.surrogates().into_iter().map(panel);
        let panels: Vec<Panel> = panels.collect();
        let what = "estimated entropies of codes with zero-entropy noise, nats";
        plot::curves(&self.output.path(ENTROPIES), &self.title(what), &panels)
    }

    /// Of figures 1 and 6: preserved against residual information.
    fn plane(&self) -> Result<()> {
        let gammas = self.arguments.gammas();
        let most = (gammas.len() - 1).max(1) as f64;
        let panel = |regularizer: crate::config::Regularizer| {
            let own = self
                .points
                .iter()
                .filter(|(p, _)| p.regularizer == regularizer);
            let path = |(p, history): &(&Point, History)| {
                let place = gammas.iter().position(|g| *g == p.gamma).unwrap_or(0);
                let point = |m: &Metrics| Some((*m.get("preserved")?, *m.get("residual")?));
                Trajectory {
                    name: format!("\u{3b3} = {}", p.gamma),
                    shade: place as f64 / most,
                    points: history.iter().filter_map(point).collect(),
                }
            };
            Trajectories {
                title: regularizer.title().into(),
                paths: own.map(path).collect(),
            }
        };
        let panels = self.arguments.surrogates().into_iter().map(panel);
        let panels: Vec<Trajectories> = panels.collect();
        let entropy = self.data.train.label_entropy();
        // I[Y;Z] is at most I[X;Z].
        let place = |k: u32| 4. * entropy * f64::from(k) / 400.;
        let places = (0..=400).map(place);
        let limit: Vec<(f64, f64)> = places.map(|x| (x, (entropy - x).max(0.))).collect();
        trajectories(
            &self.output.path(PLANE),
            &self.title("the information plane of codes with zero-entropy noise"),
            ["preserved information, nats", "residual information, nats"],
            &panels,
            &limit,
        )
    }

    fn surrogate_table(&self) -> String {
        let header = [
            "surrogates",
            "\u{3b3}",
            "H[Z]",
            "H[Z|Y]",
            "residual",
            "H_\u{398}[Y|Z]",
            "error %",
            "test error %",
        ];
        let rows: Vec<Vec<String>> = self
            .points
            .iter()
            .filter_map(|(p, history)| Some((p, history.last()?)))
            .map(|(p, m)| {
                let of = |metric: &str, digits| number(m.get(metric).copied(), digits);
                vec![
                    p.regularizer.title().into(),
                    p.gamma.to_string(),
                    of("encoding_entropy", 1),
                    of("reverse_decoder_uncertainty", 1),
                    of("residual", 3),
                    of("decoder_cross_entropy", 3),
                    percent(m.get("error").copied()),
                    percent(m.get("test_error").copied()),
                ]
            })
            .collect();
        table(&header, &rows)
    }
}

fn point(metrics: &Metrics) -> PlanePoint {
    let of = |name: &str| metrics.get(name).copied();
    PlanePoint {
        preserved: of("preserved"),
        preserved_relevant: of("preserved_relevant"),
        residual: of("residual"),
        redundant: of("redundant"),
        encoding_entropy: of("encoding_entropy"),
        encoding_uncertainty: of("encoding_uncertainty"),
        decoder_uncertainty: of("decoder_uncertainty"),
        reverse_decoder_uncertainty: of("reverse_decoder_uncertainty"),
        relevant: of("relevant"),
        label_entropy: of("label_entropy"),
        label_uncertainty: of("label_uncertainty"),
    }
}

/// Of sorted values, between two by a straight line.
fn quantile(values: &[f64], share: f64) -> f64 {
    let place = share * (values.len() - 1) as f64;
    let (at, rest) = (place.floor() as usize, place.fract());
    let next = values[(at + 1).min(values.len() - 1)];
    values[at] + rest * (next - values[at])
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

/// Points that are not numbers are not drawn.
fn estimated(metrics: &Metrics) -> f64 {
    metrics.get("entropy").copied().unwrap_or(f64::NAN)
}

fn percent(share: Option<f64>) -> String {
    number(share.map(|share| 100. * share), 1)
}
