//! Point sets in the plane on which flows are compared, as the code of Grathwohl et al. (2019), FFJORD, draws them.

mod figure;

pub use figure::figure;

use super::fit::{self, Data, Plan};
use super::train::Training;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::bijector::Bijector;
use candle_prob::distribution::{Distribution, Independent, Normal, Transformed};
use candle_prob::{Result, Rng};
use clap::ValueEnum;
use std::f64::consts::{PI, SQRT_2, TAU};

/// A flow in the plane from a standard normal base.
pub type Model<B> = Transformed<Independent<Normal>, B>;

/// Fits the flow, whose variables are `vars`, as [`fit::fit`] does.
pub fn fit<B: Bijector>(
    set: Set,
    flow: B,
    vars: &VarMap,
    plan: &Plan,
) -> Result<fit::Run<Model<B>>> {
    let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    let data = Data {
        name: set.name(),
        title: set.title(),
        draw: &|count, rng| set.draw(count, rng),
    };
    let model = base.transformed_by(flow)?;
    fit::fit(&data, model, vars, plan)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    Moons,
    EightGaussians,
    Checkerboard,
    Rings,
    SwissRoll,
}

impl Set {
    pub const ALL: [Set; 5] = [
        Set::Moons,
        Set::EightGaussians,
        Set::Checkerboard,
        Set::Rings,
        Set::SwissRoll,
    ];

    /// Those asked for, each once, or all.
    pub fn chosen(asked: &[Set]) -> Vec<Set> {
        let asked = |set: &Set| asked.is_empty() || asked.contains(set);
        Set::ALL.into_iter().filter(asked).collect()
    }

    /// The trainings on these sets.
    pub fn trainings(sets: &[Set], plan: &Plan) -> Vec<Training<'static>> {
        let sets = sets.iter();
        sets.map(|set| plan.training(set.name(), set.title()))
            .collect()
    }

    /// The file of this set's figure.
    pub fn figure(self) -> String {
        format!("{}.png", self.name())
    }

    /// For files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Set::Moons => "moons",
            Set::EightGaussians => "eight_gaussians",
            Set::Checkerboard => "checkerboard",
            Set::Rings => "rings",
            Set::SwissRoll => "swiss_roll",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Set::Moons => "Two moons",
            Set::EightGaussians => "Eight Gaussians",
            Set::Checkerboard => "Checkerboard",
            Set::Rings => "Rings",
            Set::SwissRoll => "Swiss roll",
        }
    }

    /// `count` points, [count, 2].
    pub fn draw(self, count: usize, rng: &mut Rng) -> Result<Tensor> {
        let (f64, cpu) = (DType::F64, Device::Cpu);
        let uniforms = rng.uniform((count, 3), f64, &cpu)?.to_vec2::<f64>()?;
        let normals = rng.normal((count, 2), f64, &cpu)?.to_vec2::<f64>()?;
        let draws = uniforms.iter().zip(&normals);
        let points = draws.map(|(u, z)| self.point([u[0], u[1], u[2]], [z[0], z[1]]));
        let points: Vec<f64> = points.flatten().collect();
        Ok(Tensor::from_vec(points, (count, 2), &cpu)?.to_dtype(DType::F32)?)
    }

    /// A point from three uniform and two normal numbers.
    fn point(self, u: [f64; 3], z: [f64; 2]) -> [f64; 2] {
        match self {
            Set::Moons => {
                let (sin, cos) = (PI * u[0]).sin_cos();
                let [x, y] = if u[1] < 0.5 {
                    [cos, sin]
                } else {
                    [1. - cos, 0.5 - sin]
                };
                [2. * (x + 0.1 * z[0]) - 1., 2. * (y + 0.1 * z[1]) - 0.2]
            }
            Set::EightGaussians => {
                let angle = TAU * (8. * u[0]).floor() / 8.;
                let at = |centre: f64, z: f64| (4. * centre + 0.5 * z) / SQRT_2;
                [at(angle.cos(), z[0]), at(angle.sin(), z[1])]
            }
            Set::Checkerboard => {
                let x = 4. * u[0] - 2.;
                let row = 2. * (2. * u[2]).floor();
                [2. * x, 2. * (u[1] - row + x.floor().rem_euclid(2.))]
            }
            Set::Rings => {
                let radius = 3. * (1. + (4. * u[0]).floor()) / 4.;
                let (sin, cos) = (TAU * u[1]).sin_cos();
                [radius * cos + 0.08 * z[0], radius * sin + 0.08 * z[1]]
            }
            Set::SwissRoll => {
                let t = 1.5 * PI * (1. + 2. * u[0]);
                [(t * t.cos() + z[0]) / 5., (t * t.sin() + z[1]) / 5.]
            }
        }
    }
}
