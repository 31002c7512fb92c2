//! Classes of points in the plane: the sets of Haber and Ruthotto (2017), sections 6.1 to 6.3.

use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use clap::ValueEnum;
use std::f64::consts::{PI, TAU};

/// Points of one class are the inside of a region, whose borders are to be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// An ellipse in a ring around it: 1000 and 200 points
    Ellipses,
    /// Two spirals of 513 points, every other of which validates
    SwissRoll,
    /// Five bands of values of the function peaks: 4000 and 1000 points
    Peaks,
}

/// Points `[count, 2]` and the class of each.
#[derive(Debug, Clone)]
pub struct Points {
    pub places: Tensor,
    pub classes: Vec<u8>,
}

/// What trains and what validates.
#[derive(Debug, Clone)]
pub struct Parts {
    pub train: Points,
    pub valid: Points,
}

type Place = [f64; 2];

/// Points of each spiral.
const SPIRAL: usize = 513;
/// The grid on which the function peaks is looked at, and how many of its points are drawn from each class.
const SIDE: usize = 256;
const OF_CLASS: usize = 1000;

impl Set {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Set::Ellipses => "Concentric ellipses",
            Set::SwissRoll => "Swiss roll",
            Set::Peaks => "Peaks",
        }
    }

    pub fn classes(self) -> usize {
        match self {
            Set::Ellipses | Set::SwissRoll => 2,
            Set::Peaks => 5,
        }
    }

    /// Half the sides of the rectangle around the origin that holds all points.
    pub fn reach(self) -> Place {
        match self {
            Set::Ellipses => [2., 1.],
            Set::SwissRoll => [1.2, 1.2],
            Set::Peaks => [3., 3.],
        }
    }

    /// The set's points; a seed means the same ones.
    pub fn draw(self, rng: &mut Rng) -> Result<Parts> {
        match self {
            Set::Ellipses => {
                let all = ellipses(600, rng)?;
                shuffled(all, 1000, rng)
            }
            Set::SwissRoll => {
                let (valid, train) = spirals().partition(|(k, _, _)| k % 2 == 1);
                Parts::of(plain(train), plain(valid))
            }
            Set::Peaks => {
                let all = bands(rng);
                shuffled(all, Set::Peaks.classes() * OF_CLASS * 4 / 5, rng)
            }
        }
    }
}

impl Parts {
    fn of(train: Vec<(Place, u8)>, valid: Vec<(Place, u8)>) -> Result<Self> {
        Ok(Parts {
            train: Points::of(train)?,
            valid: Points::of(valid)?,
        })
    }
}

impl Points {
    fn of(points: Vec<(Place, u8)>) -> Result<Self> {
        let (places, classes): (Vec<Place>, Vec<u8>) = points.into_iter().unzip();
        let shape = (places.len(), 2);
        let places = Tensor::from_vec(places.concat(), shape, &Device::Cpu)?;
        Ok(Points {
            places: places.to_dtype(DType::F32)?,
            classes,
        })
    }
}

/// In random order, the first `train` for training.
fn shuffled(all: Vec<(Place, u8)>, train: usize, rng: &mut Rng) -> Result<Parts> {
    let order = rng.permutation(all.len());
    let mut all: Vec<_> = order.into_iter().map(|k| all[k]).collect();
    let valid = all.split_off(train);
    Parts::of(all, valid)
}

/// So many points of either class, evenly over an ellipse of half-axes 1 and 0.5 and over the ring around it from 1.4
/// times its size to twice.
fn ellipses(of_class: usize, rng: &mut Rng) -> Result<Vec<(Place, u8)>> {
    let draws = rng.uniform((2 * of_class, 2), DType::F64, &Device::Cpu)?;
    let draws = draws.to_vec2::<f64>()?;
    let place = |(k, u): (usize, &Vec<f64>)| {
        let class = k / of_class;
        let (from, to) = [(0., 1.), (1.4, 2.)][class];
        // The area within a radius grows as its square.
        let radius = f64::sqrt(from * from + u[0] * (to * to - from * from));
        let (sin, cos) = (TAU * u[1]).sin_cos();
        ([radius * cos, 0.5 * radius * sin], class as u8)
    };
    Ok(draws.iter().enumerate().map(place).collect())
}

/// Number along the curve, place and class: r (cos, sin)(theta) and (r + 0.2) (cos, sin)(theta), r from 0 to 1 and theta
/// from 0 to 4 pi.
fn spirals() -> impl Iterator<Item = (usize, Place, u8)> {
    [0., 0.2].into_iter().zip(0u8..).flat_map(|(out, class)| {
        (0..SPIRAL).map(move |k| {
            let r = k as f64 / (SPIRAL - 1) as f64;
            let (sin, cos) = (4. * PI * r).sin_cos();
            (k, [(r + out) * cos, (r + out) * sin], class)
        })
    })
}

fn plain(points: Vec<(usize, Place, u8)>) -> Vec<(Place, u8)> {
    let points = points.into_iter();
    points.map(|(_, place, class)| (place, class)).collect()
}

/// The function peaks of MATLAB.
pub fn peaks([x, y]: Place) -> f64 {
    3. * (1. - x).powi(2) * (-x * x - (y + 1.).powi(2)).exp()
        - 10. * (x / 5. - x.powi(3) - y.powi(5)) * (-x * x - y * y).exp()
        - (-(x + 1.).powi(2) - y * y).exp() / 3.
}

/// The grid's points in [-3, 3]^2 by class: five bands of one height, from the least to the largest value on the grid.
pub fn grid_by_class() -> Vec<Vec<Place>> {
    let at = |k: usize| 6. * k as f64 / (SIDE - 1) as f64 - 3.;
    let grid: Vec<Place> = (0..SIDE * SIDE)
        .map(|k| [at(k % SIDE), at(k / SIDE)])
        .collect();
    let values: Vec<f64> = grid.iter().map(|place| peaks(*place)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let count = Set::Peaks.classes();
    let mut classes = vec![vec![]; count];
    for (place, value) in grid.into_iter().zip(values) {
        let class = (value - least) / (most - least) * count as f64;
        classes[(class as usize).min(count - 1)].push(place);
    }
    classes
}

/// Of each band as many points of the grid, none twice.
fn bands(rng: &mut Rng) -> Vec<(Place, u8)> {
    let classes = grid_by_class().into_iter().zip(0u8..);
    let mut all = vec![];
    for (grid, class) in classes {
        let order = rng.permutation(grid.len()).into_iter().take(OF_CLASS);
        all.extend(order.map(|k| (grid[k], class)));
    }
    all
}
