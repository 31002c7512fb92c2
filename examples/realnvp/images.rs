//! Flows on images: what is trained, and what is shown of it.

use crate::common::cli::{Common, Size, check_memory, count, positive, value_name};
use crate::common::fit::Table;
use crate::common::images::Split;
use crate::common::plot::{self, Curve, Panel, Sample};
use crate::common::report::{self, Failures, Output};
use crate::common::train::{Settings, Training, by_epoch};
use crate::train::{self, Model, Network, Run};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::{Bijector, LogitPreprocessing};
use candle_prob::distribution::{Distribution, Normal};
use candle_prob::flow::{
    ConditionerNorm, GlowConfig, NiceConfig, RealNvpImageConfig, bits_per_dim, dequantize, glow,
    nice, real_nvp_image,
};
use candle_prob::{Result, Rng, init};
use clap::{Args, ValueEnum};
use std::f64::consts::FRAC_PI_2;
use std::path::PathBuf;

// The program's own are called so too, and names of groups are the parser's.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Arguments {
    /// Folder of IDX files (train-images-idx3-ubyte[.gz], ...: MNIST, Fashion-MNIST) or of CIFAR-10's binary version
    /// (data_batch_1.bin, ...); without it the digits shipped here
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// What transforms the base of images
    #[arg(long, value_enum, default_value_t = Flow::RealNvp)]
    image_flow: Flow,
    /// Scales of RealNVP or levels of Glow [default: 2, of RealNVP with --data 3]
    #[arg(long, value_parser = count)]
    scales: Option<usize>,
    /// Steps of each level of Glow
    #[arg(long, default_value_t = 8, value_parser = count)]
    steps: usize,
    /// Channels of each convolutional conditioner for images
    #[arg(long, default_value_t = 32, value_parser = count)]
    channels: usize,
    /// Residual blocks of each conditioner of RealNVP
    #[arg(long, default_value_t = 1, value_parser = count)]
    blocks: usize,
    /// Batch normalization after every coupling of RealNVP
    #[arg(long)]
    batch_norm: bool,
    /// How the conditioners of RealNVP are normalized
    #[arg(long, value_enum, default_value_t = Norm::Weight)]
    conditioner_norm: Norm,
    /// The last scale of RealNVP halves height and width as the others do, and has channel couplings
    #[arg(long)]
    squeeze_last: bool,
    /// Couplings of NICE for images
    #[arg(long, default_value_t = 4, value_parser = count)]
    couplings: usize,
    /// Width of the five hidden layers of each conditioner of NICE for images [default: 256, with --data 1000]
    #[arg(long, value_parser = count)]
    width: Option<usize>,
    /// Images of a step
    #[arg(long, default_value_t = 64, value_parser = count)]
    pub image_batch: usize,
    /// Highest learning rate for images; it falls to zero along a half cosine
    #[arg(long, default_value_t = 2e-3, value_parser = positive)]
    pub image_lr: f64,
    /// Train on that many images of --data at most
    #[arg(long, value_parser = count)]
    pub most_images: Option<usize>,
    /// Pause after that many epochs of images, to be continued with --resume
    #[arg(long, value_name = "EPOCHS", value_parser = count)]
    pub pause_after: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flow {
    /// Checkerboard and channel couplings with residual networks
    RealNvp,
    /// Invertible 1x1 convolutions and channel couplings
    Glow,
    /// Additive couplings of dense networks, and a scale of each pixel
    Nice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Norm {
    /// By the lengths of their filters
    Weight,
    /// By the moments of the batch
    Batch,
}

/// Hidden layers of each conditioner of NICE, as in its source.
const DEPTH: usize = 5;

impl Arguments {
    pub fn epochs(&self, common: &Common) -> usize {
        let whole = if self.data.is_some() { 4 } else { 30 };
        common.epochs_or(whole, 2)
    }

    fn scales(&self) -> usize {
        let large = self.data.is_some() && self.image_flow == Flow::RealNvp;
        self.scales.unwrap_or(if large { 3 } else { 2 })
    }

    fn width(&self) -> usize {
        let large = self.data.is_some();
        self.width.unwrap_or(if large { 1000 } else { 256 })
    }

    pub fn build(&self, image: [usize; 3], vb: VarBuilder) -> Result<Network> {
        match self.image_flow {
            Flow::RealNvp => {
                let config = RealNvpImageConfig {
                    image,
                    scales: self.scales(),
                    channels: self.channels,
                    squeeze_last: self.squeeze_last,
                    blocks: self.blocks,
                    norm: match self.conditioner_norm {
                        Norm::Weight => ConditionerNorm::Weight,
                        Norm::Batch => ConditionerNorm::Batch,
                    },
                    batch_norm: self.batch_norm,
                    ..RealNvpImageConfig::default()
                };
                Ok(Network::Images(real_nvp_image(&config, vb)?))
            }
            Flow::Glow => {
                let config = GlowConfig {
                    image,
                    levels: self.scales(),
                    steps: self.steps,
                    channels: self.channels,
                    ..GlowConfig::default()
                };
                Ok(Network::Images(glow(&config, vb)?))
            }
            Flow::Nice => {
                let config = NiceConfig {
                    features: image.iter().product(),
                    layers: self.couplings,
                    hidden: vec![self.width(); DEPTH],
                    ..NiceConfig::default()
                };
                Ok(Network::Vectors(nice(&config, vb)?, image))
            }
        }
    }

    /// The images, if memory can hold a flow of them.
    pub fn load(&self, common: &Common) -> Result<Split> {
        let data = Split::load_any(self.data.as_deref(), common.seed, self.most_images)?;
        let pixels = data.image().iter().product::<usize>() as f64;
        let batch = self.image_batch.min(data.train.len());
        let batch = Size("--image-batch", batch, 64);
        let channels = Size("--channels", self.channels, 32);
        let layers = match self.image_flow {
            Flow::RealNvp => Size("--blocks", self.blocks, 1),
            Flow::Glow => Size("--steps", self.steps, 8),
            Flow::Nice => Size("--couplings", self.couplings, 4),
        };
        // A layer's values with gradients, and its weights (of 3 x 3 pixels) with gradients and moments.
        if self.image_flow == Flow::Nice {
            let (width, depth) = (Size("--width", self.width(), 1000), DEPTH as f64);
            check_memory(16. * depth, &[batch, width, layers])?;
            check_memory(16. * depth, &[width, width, layers])?;
            check_memory(16. * pixels, &[width, layers])?;
        } else {
            let scales = Size("--scales", self.scales(), 2);
            check_memory(16. * pixels, &[batch, channels, layers])?;
            check_memory(16. * 9., &[channels, channels, layers, scales])?;
            check_memory(4096., &[layers, scales])?;
        }
        // A flow that does not fit the images is found out before the points are fitted.
        let vars = VarMap::new();
        let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
        self.build(data.image(), vb)?;
        Ok(data)
    }

    pub fn training(&self, common: &Common, data: &Split) -> Training<'static> {
        let settings = Settings::from([
            ("image_flow", value_name(self.image_flow)),
            ("image_data", data.images.id()),
            ("image_count", data.train.len().to_string()),
            ("image_epochs", self.epochs(common).to_string()),
            ("scales", self.scales().to_string()),
            ("steps", self.steps.to_string()),
            ("channels", self.channels.to_string()),
            ("blocks", self.blocks.to_string()),
            ("batch_norm", self.batch_norm.to_string()),
            ("conditioner_norm", value_name(self.conditioner_norm)),
            ("squeeze_last", self.squeeze_last.to_string()),
            ("couplings", self.couplings.to_string()),
            ("width", self.width().to_string()),
            ("image_batch", self.image_batch.to_string()),
            ("image_lr", format!("{:?}", self.image_lr)),
            ("seed", common.seed.to_string()),
        ]);
        Training {
            name: "images",
            title: "images",
            settings,
            epochs: self.epochs(common),
            pause_after: self.pause_after,
            steps: data.train.len().div_ceil(self.image_batch),
            lr: self.image_lr,
            warm_up: 100,
            max_norm: 50.,
            shown: ("bits_per_dim", "bits per dim"),
        }
    }
}

/// Fits the flow to images and adds what came of it to the table.
pub fn run(
    arguments: &Arguments,
    common: &Common,
    data: &Split,
    training: &Training,
    output: &Output,
    table: &mut Table,
    failures: &mut Failures,
) {
    failures.keep(report::print(&format!(
        "{} training and {} test images of {}",
        data.train.len(),
        data.test.len(),
        match data.image() {
            [1, height, width] => format!("{height} x {width}"),
            [channels, height, width] => format!("{channels} x {height} x {width}"),
        }
    )));
    let run = train::train(arguments, common, data, training, output);
    let Some(run) = failures.keep(run) else {
        return;
    };
    table.extend(by_epoch("images", &run.history));
    failures.keep(figures(&run, data, common, output));
    if let Some(last) = run.history.last() {
        let rows = [vec![
            data.images.name.clone(),
            format!("{:.3}", last["training_bits_per_dim"]),
            format!("{:.3}", last["bits_per_dim"]),
            format!("{:.3}", last["standard_error"]),
            format!("{:.1}", run.seconds),
        ]];
        let header = ["images", "training bits/dim", "test", "s.e.", "training, s"];
        failures.keep(report::print(&report::table(&header, &rows)));
    }
}

impl Model {
    /// Bits per dim of images with new noise. In training the statistics of a batch normalization run.
    pub fn bits(&self, pixels: &Tensor, train: bool, rng: &mut Rng) -> Result<Tensor> {
        let x = dequantize(pixels, self.levels, rng)?;
        let (line, logit) = self.logit.inverse_and_log_det(&x)?;
        let (z, log_det) = self.network.inverse_and_log_det_t(&line, train)?;
        let log_det = (log_det + logit.sum((1, 2, 3))?)?;
        let log_prob = (self.base()?.log_prob(&z)? + log_det)?;
        let dims = self.network.image().iter().product();
        bits_per_dim(&log_prob, dims, self.levels)
    }

    /// The standard normal on latents.
    pub fn base(&self) -> Result<impl Distribution> {
        let zeros = Tensor::zeros(&self.network.image(), DType::F32, &Device::Cpu)?;
        Normal::new(&zeros, &zeros.ones_like()?)?.to_event(3)
    }

    /// From latents to images, ready to be drawn.
    fn draw(&self, z: &Tensor) -> Result<Vec<Sample>> {
        let pixels = self.logit.transform(&self.network.transform(z)?)?;
        let rows = pixels.flatten_from(1)?.to_vec2::<f32>()?;
        let sample = |pixels| Sample {
            pixels,
            captions: vec![],
        };
        Ok(rows.into_iter().map(sample).collect())
    }
}

/// The logit preprocessing of the paper.
pub fn logit() -> Result<LogitPreprocessing> {
    LogitPreprocessing::new(0.05)
}

/// Samples, interpolations, curves.
pub const FIGURES: [&str; 3] = [
    "images_samples.png",
    "images_interpolations.png",
    "images_curves.png",
];
const SAMPLES: usize = 60;
const PAIRS: usize = 6;
const PATH: usize = 10;

fn figures(run: &Run, data: &Split, common: &Common, output: &Output) -> Result<()> {
    let name = &data.images.name;
    let rng = Rng::new(common.seed).fork("figures");
    let (model, size) = (&run.model, (data.images.height, data.images.width));
    let z = model.base()?.sample(&[SAMPLES], &mut rng.fork("samples"))?;
    let sheet = model.draw(&z)?;
    let path = output.path(FIGURES[0]);
    plot::samples(&path, &format!("{name}: samples"), size, PATH, &sheet)?;

    // Between test images, along z = cos(t) z1 + sin(t) z2: equation 19 of the paper, of two images.
    let count = PAIRS.min(data.test.len() / 2);
    let pixels = data.pixels(&data.test[..2 * count])?;
    let x = dequantize(&pixels, model.levels, &mut rng.fork("interpolations"))?;
    let z = model.network.inverse(&model.logit.inverse(&x)?)?;
    let (first, second) = (z.narrow(0, 0, count)?, z.narrow(0, count, count)?);
    let mut path = vec![];
    for k in 0..PATH {
        let (sin, cos) = (FRAC_PI_2 * k as f64 / (PATH - 1) as f64).sin_cos();
        path.push(((&first * cos)? + (&second * sin)?)?);
    }
    let between = Tensor::stack(&path, 1)?.flatten(0, 1)?;
    plot::samples(
        &output.path(FIGURES[1]),
        &format!("{name}: from the test image on the left to that on the right"),
        size,
        PATH,
        &model.draw(&between)?,
    )?;

    // One epoch is no curve.
    if run.history.len() < 2 {
        return Ok(());
    }
    let curve = |name: &str, metric: &str, dashed| Curve {
        name: name.into(),
        colour: 0,
        dashed,
        points: run
            .history
            .iter()
            .enumerate()
            .map(|(k, epoch)| ((k + 1) as f64, epoch[metric]))
            .collect(),
    };
    let panel = Panel {
        x_label: "epoch".into(),
        y_label: "bits per dim".into(),
        logarithmic: false,
        curves: vec![
            curve("test", "bits_per_dim", false),
            curve("training", "training_bits_per_dim", true),
        ],
    };
    plot::curves(&output.path(FIGURES[2]), name, &[panel])
}

/// Mean of a batch's numbers times their count, and the sum of squares.
pub fn sums(bits: &Tensor) -> Result<[f64; 2]> {
    let bits = bits.to_dtype(DType::F64)?;
    let sum = bits.sum(D::Minus1)?.to_scalar()?;
    Ok([sum, bits.sqr()?.sum(D::Minus1)?.to_scalar()?])
}
