//! Table, metrics, selected features and figures.

use crate::common::cli::value_name;
use crate::common::labelled::Labelled;
use crate::common::plot::{self, Curve, Panel};
use crate::common::report::{Failures, Output, print, table, write_whole};
use crate::common::train::Settings;
use crate::common::{file_error, part_error, printable};
use crate::evaluate::{Best, Classifier, Outcome};
use crate::methods::Method;
use crate::studies::{ALGORITHMS, Line, OBJECTIVES, Point, STARTS, Studies};
use candle_core::Tensor;
use candle_prob::Result;
use candle_prob::select::{Preparation, Problem, Ranking};
use std::collections::BTreeMap;

/// All files but the metrics.
pub const FILES: [&str; 7] = [
    "selected.csv",
    "accuracy.png",
    "lambda.png",
    "time.png",
    STARTS,
    ALGORITHMS,
    OBJECTIVES,
];

/// A method's scores, the best by classifier, and its ranking of all samples' features.
type Ranked<'a> = (&'a Outcome, &'a Vec<Best>, Ranking);

const LAMBDA: &str = "log10 of lambda";

/// What came of all methods.
pub struct Report<'a> {
    pub output: &'a Output,
    pub data: &'a Labelled,
    pub classifiers: &'a [Classifier],
    /// Accuracies with all features.
    pub all: &'a [[f64; 2]],
    pub outcomes: &'a [Outcome],
    pub studies: &'a Option<Studies>,
}

impl Report<'_> {
    /// Whatever fails takes nothing else with it.
    pub fn write(&self, settings: &Settings, failures: &mut Failures) {
        let Report {
            output,
            data,
            classifiers,
            all,
            outcomes,
            studies,
        } = *self;
        let best = |outcome: &Outcome| (0..classifiers.len()).map(|c| outcome.best(c)).collect();
        let bests: Vec<Vec<Best>> = outcomes.iter().map(best).collect();
        failures.keep(output.metrics(&metrics(classifiers, all, outcomes, &bests), settings));
        let mut ranked = vec![];
        for (outcome, bests) in outcomes.iter().zip(&bests) {
            let ranking = ranking(data, outcome, bests);
            let title = outcome.method.title();
            let ranking = ranking.map_err(|e| part_error(&output.path(FILES[0]), title, e));
            let ranking = failures.keep(ranking);
            ranked.extend(ranking.map(|ranking| (outcome, bests, ranking)));
        }
        failures.keep(selected(output, data, &ranked));
        figures(self, &bests, failures);
        if let Some(studies) = studies {
            let accuracy = format!("accuracy, {}", classifiers[0].title());
            study(output, &data.name, &accuracy, studies, failures);
        }
        let leading = leading(data, &ranked).and_then(|text| print(&format!("\n{text}")));
        failures.keep(leading);
        let rows = rows(all, outcomes, &bests);
        let mut header = vec!["mean \u{b1} s.d. in %"];
        let titles: Vec<String> = classifiers.iter().map(|c| c.title()).collect();
        for title in &titles {
            header.extend([title, "features"]);
        }
        header.push("s per fit");
        let text = table(&header, &rows);
        let folder = output.folder().display();
        failures.keep(print(&format!("{text}\nwritten to {folder}")));
    }
}

fn percent(mean: f64, deviation: f64) -> String {
    format!("{:.2} \u{b1} {:.2}", 100. * mean, 100. * deviation)
}

fn rows(all: &[[f64; 2]], outcomes: &[Outcome], bests: &[Vec<Best>]) -> Vec<Vec<String>> {
    let mut first = vec!["all features".to_string()];
    for [mean, deviation] in all {
        first.extend([percent(*mean, *deviation), "all".into()]);
    }
    let mut rows = vec![first];
    for (outcome, bests) in outcomes.iter().zip(bests) {
        let mut row = vec![outcome.method.title().to_string()];
        for best in bests {
            row.extend([
                percent(best.mean, best.deviation),
                best.features.to_string(),
            ]);
        }
        row.push(format!("{:.4}", outcome.seconds_per_fit));
        rows.push(row);
    }
    rows
}

/// `METHOD.metric` of every method, and `metric` of the first.
fn metrics(
    classifiers: &[Classifier],
    all: &[[f64; 2]],
    outcomes: &[Outcome],
    bests: &[Vec<Best>],
) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    for (classifier, [mean, deviation]) in classifiers.iter().zip(all) {
        let name = classifier.name();
        metrics.insert(format!("all_features.accuracy_{name}"), *mean);
        metrics.insert(format!("all_features.accuracy_{name}_sd"), *deviation);
    }
    for (m, (outcome, bests)) in outcomes.iter().zip(bests).enumerate() {
        let mut own = BTreeMap::from([("seconds_per_fit".into(), outcome.seconds_per_fit)]);
        for (classifier, best) in classifiers.iter().map(|c| c.name()).zip(bests) {
            own.insert(format!("accuracy_{classifier}"), best.mean);
            own.insert(format!("accuracy_{classifier}_sd"), best.deviation);
            own.insert(format!("features_{classifier}"), best.features as f64);
            if let Some(lambda) = best.lambda {
                own.insert(format!("lambda_{classifier}"), lambda);
            }
            for (features, mean) in &best.curve {
                own.insert(format!("accuracy_{classifier}_at_{features:03}"), *mean);
            }
        }
        for (key, value) in own {
            metrics.insert(format!("{}.{key}", value_name(outcome.method)), value);
            if m == 0 {
                metrics.insert(key, value);
            }
        }
    }
    metrics
}

/// Of all samples, with the lambda and the number of features that the first classifier does best with.
fn ranking(data: &Labelled, outcome: &Outcome, bests: &[Best]) -> Result<Ranking> {
    let labels = Tensor::new(data.labels.as_slice(), data.x.device())?;
    let selector = outcome.method.selector(bests[0].lambda, bests[0].features);
    selector.rank(&data.x, &labels, &Preparation::default())
}

/// The name of a column of x, or its number in the file.
fn feature(data: &Labelled, column: usize) -> String {
    let names = data.names.as_ref();
    names.map_or(data.numbers[column].to_string(), |names| {
        names[column].clone()
    })
}

/// The ten features that lead each ranking, and whether some of the selected ones are nearly equal.
fn leading(data: &Labelled, ranked: &[Ranked]) -> Result<String> {
    const EQUAL: f64 = 0.99;
    let labels = Tensor::new(data.labels.as_slice(), data.x.device())?;
    let problem = Problem::classification(&data.x, &labels, &Preparation::default())?;
    let mut text = String::new();
    for (outcome, bests, ranking) in ranked {
        let top = ranking.order().iter().take(10);
        let top: Vec<String> = top.map(|i| printable(&feature(data, *i), 40)).collect();
        text += &format!("{}: {}, ...\n", outcome.method.title(), top.join(", "));
        let number = bests[0].features;
        let pairs = problem.correlated(ranking.top(number)?, EQUAL)?;
        if let Some(closest) = pairs.first() {
            let [a, b] = closest.features.map(|i| printable(&feature(data, i), 40));
            let correlation = closest.correlation;
            text += &format!(
                "  pairs of its {number} features with correlations beyond {EQUAL}: {}, the closest {a} and {b} \
                 ({correlation:.4})\n",
                pairs.len(),
            );
        }
    }
    Ok(text)
}

fn selected(output: &Output, data: &Labelled, ranked: &[Ranked]) -> Result<()> {
    let path = output.path(FILES[0]);
    write_whole(&path, |temporary| {
        let failed = |e: csv::Error| file_error(&path, "a writable file", e);
        let mut writer = csv::Writer::from_path(temporary).map_err(failed)?;
        let header = ["method", "rank", "feature", "name", "score"];
        writer.write_record(header).map_err(failed)?;
        for (outcome, bests, ranking) in ranked {
            for (rank, column) in ranking.top(bests[0].features)?.iter().enumerate() {
                let record = [
                    value_name(outcome.method),
                    (rank + 1).to_string(),
                    data.numbers[*column].to_string(),
                    feature(data, *column),
                    ranking.scores()[*column].to_string(),
                ];
                writer.write_record(record).map_err(failed)?;
            }
        }
        writer
            .flush()
            .map_err(|e| file_error(&path, "a writable file", e))
    })
}

fn figures(report: &Report, bests: &[Vec<Best>], failures: &mut Failures) {
    let (outcomes, classifiers) = (report.outcomes, report.classifiers);
    let path = |name: &str| report.output.path(name);
    let accuracy = |c: usize| format!("accuracy, {}", classifiers[c].title());
    let each = || 0..classifiers.len();
    let title = |what: &str| format!("{}: {what}", report.data.name);
    let by_number = |c: usize| {
        let lines = outcomes.iter().zip(bests);
        let lines = lines.map(|(o, bests)| (o.method.title().into(), bests[c].curve.clone()));
        panel("number of features", &accuracy(c), lines.collect())
    };
    let panels: Vec<Panel> = each().map(by_number).collect();
    failures.keep(plot::curves(&path(FILES[1]), &title("accuracy"), &panels));
    // With a single lambda there is nothing to compare.
    let l20 = outcomes
        .iter()
        .find(|o| o.method == Method::L20 && o.scores.len() > 1);
    if let Some(l20) = l20 {
        let panels: Vec<Panel> = each()
            .map(|c| panel(LAMBDA, &accuracy(c), by_lambda(l20, c)))
            .collect();
        let title = title("AHIHT, number of features");
        failures.keep(plot::curves(&path(FILES[2]), &title, &panels));
    }
    let seconds = outcomes
        .iter()
        .map(|o| (o.method.title().into(), o.seconds_per_fit));
    let bars: Vec<(String, f64)> = seconds.collect();
    let path = path(FILES[3]);
    failures.keep(plot::bars(&path, &title("time"), "seconds per fit", &bars));
}

fn study(output: &Output, name: &str, accuracy: &str, studies: &Studies, failures: &mut Failures) {
    let title = |what: &str| format!("{name}: {what}");
    for (file, what, lines) in [
        (STARTS, "starts of AHIHT", &studies.starts),
        (ALGORITHMS, "AHIHT and HIHT", &studies.algorithms),
    ] {
        let lines = |points: fn(&Line) -> &Vec<Point>| -> Vec<(String, Vec<Point>)> {
            lines
                .iter()
                .map(|line| (line.name.into(), points(line).clone()))
                .collect()
        };
        let panels = [
            panel(LAMBDA, accuracy, lines(|line| &line.accuracies)),
            panel(LAMBDA, "features selected", lines(|line| &line.supports)),
        ];
        failures.keep(plot::curves(&output.path(file), &title(what), &panels));
    }
    // Functions that are not to be compared: a panel for each, and a colour for each line of all of them.
    let mut colour = 0;
    let panels = studies.objectives.iter().map(|group| {
        let names: Vec<&str> = group.iter().map(|(name, _)| *name).collect();
        let lines = group.iter();
        let lines = lines.map(|(name, points)| (name.to_string(), points.clone()));
        let label = format!("objective of {}", names.join(" and "));
        let mut panel = panel("step", &label, lines.collect());
        for curve in &mut panel.curves {
            curve.colour = colour;
            colour += 1;
        }
        panel
    });
    let panels: Vec<Panel> = panels.collect();
    let path = output.path(OBJECTIVES);
    failures.keep(plot::curves(&path, &title("objective"), &panels));
}

/// A line for each of five numbers of features.
fn by_lambda(outcome: &Outcome, classifier: usize) -> Vec<(String, Vec<Point>)> {
    let numbers = outcome
        .grid
        .iter()
        .enumerate()
        .step_by(outcome.grid.len().div_ceil(5));
    let line = |(k, features): (usize, &usize)| {
        let point = |scores: &crate::evaluate::Scores| {
            let accuracies = &scores.accuracies[classifier][k];
            Some((scores.lambda?.log10(), crate::evaluate::mean(accuracies)))
        };
        (
            features.to_string(),
            outcome.scores.iter().filter_map(point).collect(),
        )
    };
    numbers.map(line).collect()
}

fn panel(x: &str, y: &str, lines: Vec<(String, Vec<Point>)>) -> Panel {
    let curve = |(k, (name, points)): (usize, (String, Vec<Point>))| Curve {
        name,
        colour: k,
        dashed: k >= 6,
        points,
    };
    Panel {
        x_label: x.into(),
        y_label: y.into(),
        logarithmic: false,
        curves: lines.into_iter().enumerate().map(curve).collect(),
    }
}
