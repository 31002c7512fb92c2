//! Metrics, table and figures of a run.

use crate::common::images::CLASSES;
use crate::common::multi::MultiImages;
use crate::common::plot::{self, Caption, Curve, Panel, Path, Sample};
use crate::common::report::{self, Output};
use crate::config::{Arguments, Kind};
use crate::evaluate::{Score, values};
use crate::model::Model;
use crate::train::History;
use candle_prob::{Result, Rng};
use std::collections::BTreeMap;

/// A trained model and how it got there.
pub struct Run {
    pub kind: Kind,
    pub model: Model,
    pub history: History,
    /// On new arrangements of the training sources.
    pub known: Score,
}

const SHOWN: usize = 18;

/// Writes everything and returns the table for the terminal. `entropy` is H(Y) in nats.
pub fn write(
    arguments: &Arguments,
    output: &Output,
    runs: &[Run],
    test: &MultiImages,
    entropy: f64,
) -> Result<String> {
    output.metrics(&metrics(runs, entropy))?;
    let title = title(arguments);
    plot::curves(&output.path("curves.png"), &title, &panels(runs))?;
    let paths: Vec<Path> = runs
        .iter()
        .filter(|run| run.kind != Kind::Basic)
        .map(|run| Path {
            name: run.kind.title().into(),
            colour: run.kind as usize,
            points: run
                .history
                .iter()
                .map(|epoch| (epoch["information_x_nats"], epoch["information_y_nats"]))
                .collect(),
        })
        .collect();
    if !paths.is_empty() {
        plot::information_plane(
            &output.path("information_plane.png"),
            &title,
            entropy,
            &paths,
        )?;
    }
    sheet(output, &title, runs, test, arguments.common.seed)?;
    Ok(table(runs))
}

fn title(arguments: &Arguments) -> String {
    let data = match &arguments.common.data {
        Some(folder) => folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        None => "UCI digits".into(),
    };
    format!("{data}, {} to an image", arguments.digits)
}

/// The last epoch under `model.metric`, every epoch under `model.epoch_NNN.metric`; `model.known_sources.metric` on new
/// arrangements of the training sources.
fn metrics(runs: &[Run], entropy: f64) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::from([("label_entropy_nats".to_string(), entropy)]);
    for run in runs {
        let name = run.kind.name();
        for (k, epoch) in run.history.iter().enumerate() {
            for (metric, value) in epoch {
                all.insert(format!("{name}.epoch_{:03}.{metric}", k + 1), *value);
                all.insert(format!("{name}.{metric}"), *value);
            }
        }
        for (metric, value) in [
            ("exact_match", run.known.exact_match()),
            ("label_accuracy", run.known.label_accuracy()),
        ] {
            all.insert(format!("{name}.known_sources.{metric}"), value);
        }
    }
    all
}

fn table(runs: &[Run]) -> String {
    let header = [
        "test",
        "exact match",
        "known sources",
        "per label",
        "micro-F1",
        "I(Z;X) <= nats",
        "I(Z;Y) >= nats",
    ];
    let rows: Vec<Vec<String>> = runs
        .iter()
        .filter_map(|run| Some((run, run.history.last()?)))
        .map(|(run, last)| {
            let share = |metric: &str| format!("{:.4}", last[metric]);
            let rate = last.get("information_x_nats");
            vec![
                run.kind.title().into(),
                share("exact_match"),
                format!("{:.4}", run.known.exact_match()),
                share("label_accuracy"),
                share("micro_f1"),
                rate.map_or("-".into(), |rate| format!("{rate:.2}")),
                format!("{:.3}", last["information_y_nats"]),
            ]
        })
        .collect();
    report::table(&header, &rows)
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

fn sheet(output: &Output, title: &str, runs: &[Run], test: &MultiImages, seed: u64) -> Result<()> {
    let shown: Vec<usize> = (0..test.len().min(SHOWN)).collect();
    let (x, _) = test.batch(&shown)?;
    let text = |classes: &[usize]| {
        let names: Vec<String> = classes.iter().map(usize::to_string).collect();
        names.join(" ")
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
    for run in runs {
        let mut rng = Rng::new(seed).fork("sheet");
        let posterior = run.model.posterior(&x)?;
        let probabilities = values(&run.model.probabilities(&posterior, &mut rng)?)?;
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
        &output.path("samples.png"),
        &format!("{title}: test images and predicted label sets"),
        (test.height, test.width),
        6,
        &images,
    )
}
