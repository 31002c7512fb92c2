//! What the run has found: a table, metrics, a figure, and whether the estimates are those of the divergences.

use super::common::file_error;
use super::common::plot::{Cell, densities};
use super::common::report::{Failures, Output, print, table};
use super::common::train::{Metrics, Settings};
use super::game::Played;
use super::kind::Kind;
use super::{Gaussian, exact, target_density};
use candle_prob::Result;

pub const FIGURE: &str = "fits.png";

/// Ends of the figure's axis, and places on it.
const ENDS: (f64, f64) = (-6., 6.);
const PLACES: usize = 300;
/// Panels in a row of the figure.
const COLUMNS: usize = 4;

/// How far below the divergence an estimate may be, as a share of it and beside that: what a small critic misses of the
/// supremum. It is above only by chance: by this many standard errors. The f-GAN's divergence may be as much above the least.
const SHARE: f64 = 0.05;
const BESIDE: f64 = 0.01;
const ERRORS: f64 = 4.;

pub struct Row {
    kind: Kind,
    exact: Gaussian,
    /// Its divergence.
    least: f64,
    played: Played,
}

impl Row {
    pub fn new(kind: Kind, exact: Gaussian, played: Played) -> Result<Self> {
        let least = exact::of(&*kind.divergence()?, exact)?;
        Ok(Row {
            kind,
            exact,
            least,
            played,
        })
    }

    /// What is further off than allowed.
    fn check(&self, output: &Output) -> Result<()> {
        let Played {
            divergence,
            estimate,
            error,
            ..
        } = self.played;
        let chance = ERRORS * error;
        let (low, high) = (
            divergence - SHARE * divergence - BESIDE - chance,
            divergence + chance,
        );
        let path = output.path("metrics.json");
        let title = self.kind.title();
        let most = self.least + SHARE * self.least + BESIDE;
        if divergence.is_nan() || divergence > most {
            let expected = format!("an f-GAN by {title} with at most {most:.4}");
            return Err(file_error(&path, expected, format!("{divergence:.4}")));
        }
        if !(low..=high).contains(&estimate) {
            let expected = format!("an estimate of {title} from {low:.4} to {high:.4}");
            return Err(file_error(&path, expected, format!("{estimate:.4}")));
        }
        Ok(())
    }

    fn cells(&self) -> Vec<String> {
        let [two, four] = [2, 4].map(|digits| move |x: f64| format!("{x:.digits$}"));
        vec![
            self.kind.title().into(),
            two(self.exact.mean),
            two(self.exact.sd),
            four(self.least),
            two(self.played.model.mean),
            two(self.played.model.sd),
            four(self.played.divergence),
            four(self.played.estimate),
            four(self.played.error),
        ]
    }

    fn metrics(&self) -> Metrics {
        let parts = [
            ("exact.mean", self.exact.mean),
            ("exact.sd", self.exact.sd),
            ("exact.divergence", self.least),
            ("gan.mean", self.played.model.mean),
            ("gan.sd", self.played.model.sd),
            ("gan.divergence", self.played.divergence),
            ("gan.estimate", self.played.estimate),
            ("gan.standard_error", self.played.error),
            ("gan.skipped", self.played.skipped as f64),
        ];
        let name = self.kind.name();
        let parts = parts.into_iter();
        parts
            .map(|(part, x)| (format!("{name}.{part}"), x))
            .collect()
    }

    fn cell(&self) -> Cell {
        let (from, to) = ENDS;
        let step = (to - from) / PLACES as f64;
        let line = |density: &dyn Fn(f64) -> f64| {
            let place = |k| from + f64::from(k) * step;
            let places = (0..=PLACES as u32).map(place);
            places.map(|x| (x, density(x))).collect::<Vec<_>>()
        };
        let bar = |(x, height): &(f64, f64)| (x - step / 2., x + step / 2., *height);
        Cell {
            caption: format!("{}: {:.3}", self.kind.title(), self.least),
            x_label: "x".into(),
            bars: line(&target_density).iter().map(bar).collect(),
            lines: vec![
                line(&|x| self.exact.density(x)),
                line(&|x| self.played.model.density(x)),
            ],
        }
    }
}

pub fn write(rows: &[Row], settings: &Settings, output: &Output, failures: &mut Failures) {
    if rows.is_empty() {
        return;
    }
    let metrics = rows.iter().flat_map(Row::metrics).collect();
    failures.keep(output.metrics(&metrics, settings));
    let cells: Vec<Vec<Cell>> = rows
        .chunks(COLUMNS)
        .map(|rows| rows.iter().map(Row::cell).collect())
        .collect();
    let legend = ["mixture", "exact fit", "f-GAN"];
    let title = "A Gaussian fitted to a mixture by each f-divergence, and the least divergence";
    failures.keep(densities(&output.path(FIGURE), title, &legend, &cells));
    let header = [
        "divergence",
        "mean",
        "s.d.",
        "D_f",
        "f-GAN",
        "s.d.",
        "D_f",
        "estimate",
        "s.e.",
    ];
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let folder = output.folder().display();
    let text = format!("{}\nwritten to {folder}", table(&header, &cells));
    failures.keep(print(&text));
    for row in rows {
        failures.keep(row.check(output));
    }
}
