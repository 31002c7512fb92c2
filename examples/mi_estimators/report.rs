//! What the run has found: tables, metrics, a figure, and whether bounds are on their side.

use super::Arguments;
use super::common::file_error;
use super::common::plot::{Curve, Panel, curves};
use super::common::report::{Failures, Output, print, table};
use super::common::train::Metrics;
use super::estimator::Estimator;
use super::family::{Case, Family};
use candle_prob::Result;

pub const FIGURE: &str = "bias_and_spread.png";

/// What the figure leaves out: biases beyond this, of either sign.
const FAR: f64 = 2.5;
/// How far above the information the mean of a lower bound may be, in standard errors and beside that.
const ERRORS: f64 = 5.;
const BESIDE: f64 = 0.05;
/// How far neighbours may be off normal pairs of less than a nat, beside chance.
const NEAR: f64 = 0.1;

/// A case with mean and standard deviation of each estimator.
pub struct Row {
    case: Case,
    trials: usize,
    found: Vec<(Estimator, f64, f64)>,
}

impl Row {
    pub fn new(case: Case, trials: &[Vec<f64>]) -> Self {
        let n = trials.len() as f64;
        let of = |(k, estimator): (usize, Estimator)| {
            let mean = trials.iter().map(|trial| trial[k]).sum::<f64>() / n;
            let squares: f64 = trials.iter().map(|trial| (trial[k] - mean).powi(2)).sum();
            (estimator, mean, (squares / (n - 1.)).sqrt())
        };
        let all = Estimator::ALL.into_iter().enumerate();
        Row {
            case,
            trials: trials.len(),
            found: all.map(of).collect(),
        }
    }

    fn metrics(&self) -> Metrics {
        let name = self.case.name().to_lowercase().replace(' ', "_");
        let mut all = Metrics::from([(format!("{name}.information"), self.case.truth)]);
        for (estimator, mean, sd) in &self.found {
            let part = |what: &str| format!("{name}.{}.{what}", estimator.name());
            all.insert(part("bias"), mean - self.case.truth);
            all.insert(part("sd"), *sd);
        }
        all
    }

    /// What is on the wrong side, or far.
    fn check(&self, output: &Output) -> Result<()> {
        for (estimator, mean, sd) in &self.found {
            let off = mean - self.case.truth;
            let chance = ERRORS * sd / (self.trials as f64).sqrt();
            let near = matches!(estimator, Estimator::Ksg1 | Estimator::Ksg2)
                && self.case.family == Family::Gaussian
                && self.case.truth < 1.;
            let wrong = (estimator.is_below() && off > BESIDE + chance)
                || (near && off.abs() > NEAR + chance);
            if wrong || !mean.is_finite() {
                let (title, truth) = (estimator.title(), self.case.truth);
                let side = if near { "about" } else { "at most" };
                let expected = format!("{title} of {}: {side} {truth:.3}", self.case.name());
                let path = output.path("metrics.json");
                return Err(file_error(&path, expected, format!("{mean:.3}")));
            }
        }
        Ok(())
    }
}

/// The rows of each family.
fn families(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.case.family == b.case.family)
}

fn text_table(rows: &[Row]) -> String {
    let family = rows[0].case.family;
    let cases = rows.iter().map(|row| format!("{}", row.case.value));
    let header: Vec<String> = [family.title().to_string()]
        .into_iter()
        .chain(cases)
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let truths = rows.iter().map(|row| format!("{:.3}     ", row.case.truth));
    let mut cells = vec![
        ["I in nats".to_string()]
            .into_iter()
            .chain(truths)
            .collect(),
    ];
    for (k, estimator) in Estimator::ALL.into_iter().enumerate() {
        let found = rows.iter().map(|row| {
            let (_, mean, sd) = row.found[k];
            let off = mean - row.case.truth;
            format!("{} {:>4}", short(off, true), short(sd, false))
        });
        cells.push(
            [estimator.title().to_string()]
                .into_iter()
                .chain(found)
                .collect(),
        );
    }
    table(&header, &cells)
}

/// A number in few characters.
fn short(x: f64, signed: bool) -> String {
    let sign = match signed && x >= 0. {
        true => "+",
        false => "",
    };
    match x.abs() {
        size if size < 9.995 => format!("{sign}{x:.2}"),
        size if size < 999.5 => format!("{sign}{x:.0}"),
        _ => format!("{sign}{x:.0e}"),
    }
}

/// Where a case stands in the figure: at its information, unless all have the same.
fn place(case: &Case) -> f64 {
    match case.family {
        Family::Dimension => case.value,
        _ => case.truth,
    }
}

fn panels(rows: &[Row]) -> [Panel; 2] {
    let family = rows[0].case.family;
    let curve = |(k, estimator): (usize, Estimator), of: &dyn Fn(f64, f64, f64) -> f64| Curve {
        name: estimator.title().into(),
        colour: estimator.look().0,
        dashed: estimator.look().1,
        points: rows
            .iter()
            .map(|row| {
                let (_, mean, sd) = row.found[k];
                (place(&row.case), of(mean, sd, row.case.truth))
            })
            .collect(),
    };
    let (label, values) = (
        family.parameter(),
        rows.iter().map(|row| row.case.value.to_string()),
    );
    let values = values.collect::<Vec<_>>().join(", ");
    let x_label = match family {
        Family::Dimension => label.to_string(),
        _ => format!("information in nats ({label} {values})"),
    };
    let within = |x: f64| if x.abs() <= FAR { x } else { f64::NAN };
    let panel = |y: &str, of: &dyn Fn(f64, f64, f64) -> f64| {
        let all = Estimator::ALL.into_iter().enumerate();
        Panel {
            x_label: x_label.clone(),
            y_label: format!("{}: {y}", family.title()),
            logarithmic: false,
            curves: all.map(|which| curve(which, of)).collect(),
        }
    };
    [
        panel("bias", &|mean, _, truth| within(mean - truth)),
        panel("s.d.", &|_, sd, _| within(sd)),
    ]
}

pub fn write(rows: &[Row], arguments: &Arguments, output: &Output, failures: &mut Failures) {
    if rows.is_empty() {
        return;
    }
    let metrics = rows.iter().flat_map(Row::metrics).collect();
    failures.keep(output.metrics(&metrics, &arguments.settings()));
    let title = "Estimates less the information, and their spread, in nats (beyond 2.5 not shown)";
    let all: Vec<Panel> = families(rows).flat_map(panels).collect();
    failures.keep(curves(&output.path(FIGURE), title, &all));
    let tables: Vec<String> = families(rows).map(text_table).collect();
    let folder = output.folder().display();
    let text = format!(
        "bias and standard deviation in nats, {} trials\n\n{}\nwritten to {folder}",
        arguments.trials(),
        tables.join("\n")
    );
    failures.keep(print(&text));
    for row in rows {
        failures.keep(row.check(output));
    }
}
