//! What comes of the trained models: the parts' numbers, tables and figures.

use crate::cluster::k_means;
use crate::common::agreement::agreement;
use crate::common::images::Split;
use crate::common::plot::{self, Curve, Panel, Sample};
use crate::common::report::{self, Failures, Output};
use crate::common::roc::{Roc, roc, thinned};
use crate::common::train::{Metrics, by_epoch};
use crate::common::{file_error, part_error};
use crate::components::Components;
use crate::config::{Arguments, Kind, Part};
use crate::train::{Model, Run, images, noisy, sum};
use candle_core::Tensor;
use candle_prob::{Result, Rng};
use std::path::Path;

pub const FIGURES: [&str; 5] = [
    "curves.png",
    "reconstructions.png",
    "denoised.png",
    "map.png",
    "roc.png",
];
const PER_ROW: usize = 10;
/// Images that go through a model at once.
const CHUNK: usize = 1000;
/// Codes on the map.
const MAPPED: usize = 800;
/// Levels of a number of a code that is stored in a byte.
const LEVELS: f64 = 256.;

/// What came of a run, as far as it has come.
pub struct Report<'a> {
    arguments: &'a Arguments,
    data: &'a Split,
    outliers: Option<&'a Split>,
    output: &'a Output,
    runs: &'a [Run],
    metrics: Metrics,
    tables: Vec<String>,
}

impl<'a> Report<'a> {
    pub fn new(
        arguments: &'a Arguments,
        data: &'a Split,
        outliers: Option<&'a Split>,
        output: &'a Output,
        runs: &'a [Run],
    ) -> Self {
        let mut metrics = Metrics::new();
        for run in runs {
            metrics.extend(by_epoch(run.kind.name(), &run.history));
        }
        Report {
            arguments,
            data,
            outliers,
            output,
            runs,
            metrics,
            tables: vec![],
        }
    }

    /// All that the arguments ask for; what fails does not take the others with it.
    pub fn parts(&mut self, failures: &mut Failures) {
        type Do<'a> = fn(&mut Report<'a>) -> Result<()>;
        let parts: [(Part, Kind, Do); 4] = [
            (Part::Compression, Kind::Plain, Report::compression),
            (Part::Denoising, Kind::Denoising, Report::denoising),
            (Part::Clustering, Kind::Plain, Report::clustering),
            (
                Part::Anomalies,
                self.arguments.detector(),
                Report::anomalies,
            ),
        ];
        for (part, kind, run) in parts {
            // A model that failed was told of.
            if self.arguments.does(part) && self.run(kind).is_some() {
                failures.keep(run(self));
            }
        }
        // One epoch is no curve.
        if self.runs.iter().any(|run| run.history.len() > 1) {
            failures.keep(self.curves());
        }
    }

    /// Writes and prints what there is.
    pub fn end(&self, failures: &mut Failures) {
        if self.runs.is_empty() {
            return;
        }
        let settings = self.arguments.all_settings(self.data, self.outliers);
        failures.keep(self.output.metrics(&self.metrics, &settings));
        let rows: Vec<Vec<String>> = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.history.last()?)))
            .map(|(run, last)| {
                let error = |metric: &str| format!("{:.5}", last[metric]);
                vec![
                    run.kind.title().into(),
                    error("training_error"),
                    error("test_error"),
                    format!("{:.0}", run.seconds),
                ]
            })
            .collect();
        let header = ["model", "training MSE", "test MSE", "training, s"];
        let mut text = format!("\n{}", report::table(&header, &rows));
        for table in &self.tables {
            text += &format!("\n{table}");
        }
        text += &format!("\nwritten to {}", self.output.folder().display());
        failures.keep(report::print(&text));
    }

    fn run(&self, kind: Kind) -> Option<&'a Run> {
        self.runs.iter().find(|run| run.kind == kind)
    }

    fn model(&self, kind: Kind) -> Result<&'a Model> {
        let missing = || file_error(Path::new(kind.name()), "a trained model", "none");
        Ok(&self.run(kind).ok_or_else(missing)?.model)
    }

    fn rng(&self, name: &str) -> Rng {
        Rng::new(self.arguments.common.seed).fork(name)
    }

    /// Principal components, as many as a code has numbers, of what a model was trained on.
    fn components(&self, kind: Kind) -> Result<Components> {
        let chosen = self.arguments.chosen(kind, self.data);
        let count = self.arguments.code();
        Components::of_images(self.data, &chosen, count, &mut self.rng("components"))
    }

    /// The mean squared error of a pixel over the test images, of what a function makes of them.
    fn error(&self, f: impl Fn(usize, &Tensor) -> Result<Tensor>) -> Result<f64> {
        let (mut total, mut count) = (0., 0);
        for (k, indices) in self.data.test.chunks(CHUNK).enumerate() {
            let x = images(self.data, indices)?;
            total += sum(&(f(k, &x)? - &x)?.sqr()?)?;
            count += x.elem_count();
        }
        Ok(total / count as f64)
    }

    /// Codes of images, [N, code].
    fn codes(&self, model: &Model, indices: &[usize]) -> Result<Tensor> {
        let part = |part: &[usize]| Ok(model.encode(&images(self.data, part)?)?.detach());
        let parts: Vec<Tensor> = indices.chunks(CHUNK).map(part).collect::<Result<_>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Codes of numbers and of bytes, beside principal components.
    fn compression(&mut self) -> Result<()> {
        let model = self.model(Kind::Plain)?;
        let components = self.components(Kind::Plain)?;
        let codes = self.codes(model, &self.arguments.chosen(Kind::Plain, self.data))?;
        let (low, high) = (codes.min_keepdim(0)?, codes.max_keepdim(0)?);
        let step = ((high - &low)? / (LEVELS - 1.))?;
        let bytes = |x: &Tensor| -> Result<Tensor> {
            let place = model.encode(x)?.broadcast_sub(&low)?;
            // A number that never varies has one level.
            let level = place.broadcast_div(&(&step + 1e-30)?)?.round()?;
            let level = level.clamp(0., LEVELS - 1.)?;
            model.decode(&level.broadcast_mul(&step)?.broadcast_add(&low)?)
        };
        let pixels = self.data.image().iter().product::<usize>() as f64;
        let bits = pixels * (self.data.levels() as f64).log2();
        let numbers = self.arguments.code() as f64;
        let rows = [
            ("autoencoder", 32., self.error(|_, x| model.reconstruct(x))?),
            ("autoencoder_bytes", 8., self.error(|_, x| bytes(x))?),
            (
                "components",
                32.,
                self.error(|_, x| components.reconstruct(x))?,
            ),
        ];
        let mut cells = vec![];
        for (name, each, error) in rows {
            let ratio = bits / (numbers * each);
            self.metrics
                .insert(format!("compression.{name}.mse"), error);
            self.metrics
                .insert(format!("compression.{name}.ratio"), ratio);
            let title = match name {
                "autoencoder" => "autoencoder, floats",
                "autoencoder_bytes" => "autoencoder, bytes",
                _ => "components, floats",
            };
            cells.push(vec![
                title.into(),
                format!("{:.0} / {bits:.0}", numbers * each),
                format!("{ratio:.1}"),
                format!("{error:.5}"),
            ]);
        }
        let header = ["code", "bits / image", "ratio", "test MSE"];
        self.tables.push(report::table(&header, &cells));

        let shown = &self.data.test[..(2 * PER_ROW).min(self.data.test.len())];
        let x = images(self.data, shown)?;
        let rows = [
            x.clone(),
            model.reconstruct(&x)?,
            components.reconstruct(&x)?,
        ];
        let title = "test images, autoencoder, principal components";
        self.sheet(FIGURES[1], title, &rows)
    }

    /// Noise before and after.
    fn denoising(&mut self) -> Result<()> {
        let model = self.model(Kind::Denoising)?;
        let components = self.components(Kind::Denoising)?;
        let (rng, noise) = (self.rng("noise"), self.arguments.noise);
        let spoiled = |k: usize, x: &Tensor| noisy(x, noise, &mut rng.fork(&k.to_string()));
        let rows = [
            ("noisy", self.error(spoiled)?),
            (
                "denoised",
                self.error(|k, x| model.reconstruct(&spoiled(k, x)?))?,
            ),
            (
                "components",
                self.error(|k, x| components.reconstruct(&spoiled(k, x)?))?,
            ),
        ];
        let mut cells = vec![];
        for (name, error) in rows {
            self.metrics.insert(format!("denoising.{name}.mse"), error);
            let title = match name {
                "noisy" => "noisy images",
                "denoised" => "denoising autoencoder",
                _ => "principal components",
            };
            cells.push(vec![title.into(), format!("{error:.5}")]);
        }
        self.tables
            .push(report::table(&["noise", "test MSE"], &cells));
        let shown = &self.data.test[..(2 * PER_ROW).min(self.data.test.len())];
        let x = images(self.data, shown)?;
        let with_noise = spoiled(0, &x)?;
        let rows = [x, with_noise.clone(), model.reconstruct(&with_noise)?];
        let title = "test images, with noise, denoised";
        self.sheet(FIGURES[2], title, &rows)
    }

    /// k-means on codes and on pixels of the test images.
    fn clustering(&mut self) -> Result<()> {
        let test = &self.data.test;
        let codes = self.codes(self.model(Kind::Plain)?, test)?;
        let classes: Vec<u8> = test.iter().map(|&i| self.data.images.labels[i]).collect();
        let mut cells = vec![];
        for (name, title, x) in [
            ("codes", "codes", &codes),
            ("pixels", "pixels", &images(self.data, test)?),
        ] {
            let clusters = k_means(x, self.arguments.restarts())?;
            let found = agreement(&clusters, &classes);
            for (metric, value) in [
                ("accuracy", found.accuracy),
                ("information", found.information),
            ] {
                let name = format!("clustering.{name}.{metric}");
                self.metrics.insert(name, value);
            }
            cells.push(vec![
                title.into(),
                format!("{:.3}", found.accuracy),
                format!("{:.3}", found.information),
            ]);
        }
        let header = ["k-means on", "accuracy", "NMI"];
        self.tables.push(report::table(&header, &cells));

        let mapped = codes.narrow(0, 0, MAPPED.min(codes.dim(0)?))?;
        let parts = std::iter::once(Ok(codes.clone()));
        let axes = Components::fit(parts, 2, &mut self.rng("map"))?;
        let places = axes.encode(&mapped)?;
        let place = |row: &Vec<f32>, i: usize| row.get(i).map_or(0., |x| f64::from(*x));
        let places = places.to_vec2::<f32>()?;
        let points: Vec<_> = places
            .iter()
            .zip(&classes)
            .map(|(row, class)| ((place(row, 0), place(row, 1)), *class))
            .collect();
        let name = &self.data.images.name;
        plot::numerals(
            &self.output.path(FIGURES[3]),
            &format!("{name}: codes of test images by class"),
            ["first principal component", "second principal component"],
            &points,
        )
    }

    /// How well the errors of images tell those of another kind.
    fn anomalies(&mut self) -> Result<()> {
        let kind = self.arguments.detector();
        let model = self.model(kind)?;
        let components = self.components(kind)?;
        let held_out = self.arguments.held_out;
        let unknown = |i: &usize| kind == Kind::Without && self.data.images.labels[*i] == held_out;
        let inliers = self.arguments.known(kind, self.data, &self.data.test);
        let (source, outliers) = match self.outliers {
            Some(other) => (other, other.test.clone()),
            None => (
                self.data,
                (0..self.data.images.len()).filter(unknown).collect(),
            ),
        };
        let what = match self.outliers {
            Some(other) => other.images.name.clone(),
            None => format!("class {held_out}"),
        };
        if inliers.is_empty() || outliers.is_empty() {
            let found = format!("{} and {}", inliers.len(), outliers.len());
            return Err(part_error(
                &self.output.path(FIGURES[4]),
                "anomalies",
                file_error(Path::new("--held-out"), "images of both kinds", found),
            ));
        }
        let tell = |f: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Roc> {
            Ok(roc(
                &scores(self.data, &inliers, f)?,
                &scores(source, &outliers, f)?,
            ))
        };
        let linear =
            |x: &Tensor| -> Result<Tensor> { Ok((components.reconstruct(x)? - x)?.sqr()?.sum(1)?) };
        let found = [
            ("autoencoder", "autoencoder", tell(&|x| model.score(x))?),
            ("components", "principal components", tell(&linear)?),
        ];
        let (mut cells, mut curves) = (vec![], vec![]);
        for (k, (name, title, roc)) in found.iter().enumerate() {
            self.metrics
                .insert(format!("anomalies.{name}.auc"), roc.area);
            cells.push(vec![title.to_string(), format!("{:.4}", roc.area)]);
            curves.push(Curve {
                name: format!("{title}, AUC {:.3}", roc.area),
                colour: k,
                dashed: k > 0,
                points: thinned(&roc.points, 400),
            });
        }
        let header = format!("tells {what} by");
        self.tables.push(report::table(&[&header, "AUC"], &cells));
        let panel = Panel {
            x_label: "false positive rate".into(),
            y_label: "true positive rate".into(),
            logarithmic: false,
            curves,
        };
        let title = format!("{}: outliers are {what}", self.data.images.name);
        plot::curves(&self.output.path(FIGURES[4]), &title, &[panel])
    }

    /// Rows of images, ten in each: of every kind one below the other, then the next ten.
    fn sheet(&self, figure: &str, title: &str, kinds: &[Tensor]) -> Result<()> {
        let mut rows = vec![];
        let count = kinds.first().map_or(Ok(0), |x| x.dim(0))?;
        for start in (0..count).step_by(PER_ROW) {
            for x in kinds {
                rows.push(x.narrow(0, start, PER_ROW.min(count - start))?);
            }
        }
        let sample = |pixels| Sample {
            pixels,
            captions: vec![],
        };
        let pixels = Tensor::cat(&rows, 0)?.to_vec2::<f32>()?;
        let images: Vec<Sample> = pixels.into_iter().map(sample).collect();
        let set = &self.data.images;
        plot::samples(
            &self.output.path(figure),
            &format!("{}: {title}", set.name),
            (set.height, set.width),
            PER_ROW,
            &images,
        )
    }

    fn curves(&self) -> Result<()> {
        let curve = |run: &Run, metric: &str, part: &str, dashed| Curve {
            name: format!("{}, {part}", run.kind.title()),
            colour: run.kind as usize,
            dashed,
            points: (1..)
                .zip(&run.history)
                .map(|(k, epoch)| (f64::from(k), epoch[metric]))
                .collect(),
        };
        let both = |run| {
            [
                curve(run, "test_error", "test", false),
                curve(run, "training_error", "training", true),
            ]
        };
        let panel = Panel {
            x_label: "epoch".into(),
            y_label: "mean squared error of a pixel".into(),
            logarithmic: true,
            curves: self.runs.iter().flat_map(both).collect(),
        };
        plot::curves(
            &self.output.path(FIGURES[0]),
            &self.data.images.name,
            &[panel],
        )
    }
}

/// The score of each image.
fn scores(
    data: &Split,
    indices: &[usize],
    f: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<Vec<f64>> {
    let mut all = vec![];
    for part in indices.chunks(CHUNK) {
        let scores = f(&images(data, part)?)?.to_vec1::<f32>()?;
        all.extend(scores.into_iter().map(f64::from));
    }
    Ok(all)
}
