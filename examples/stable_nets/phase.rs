//! Where features go through layers that are all the same: examples 1 and 2 of Haber and Ruthotto (2017).

use crate::common::plot::{Portrait, portraits, window};
use crate::common::report::Output;
use crate::common::train::Metrics;
use candle_core::{Device, Tensor};
use candle_prob::Activation;
use candle_prob::Result;
use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, Start, State, Weights};

pub const FIGURES: [&str; 2] = ["phase-planes.png", "long-paths.png"];

type Matrix<const M: usize> = [[f64; 2]; M];
type Place = (f64, f64);

/// Features are rows that the paper multiplies by these from the right: K of the layers is the transpose.
const K: [(&str, Matrix<2>); 3] = [
    ("K+", [[2., -2.], [0., 2.]]),
    ("K\u{2212}", [[-2., 0.], [2., -2.]]),
    ("K0", [[0., -1.], [1., 0.]]),
];
const STARTS: [Place; 3] = [(0.1, 0.1), (-0.1, -0.1), (0., 0.5)];
/// Half the side of the window, and arrows along a side.
const REACH: f64 = 1.;
const ARROWS: i32 = 9;
const VERLET: Matrix<3> = [[2., 1.], [-1., 2.], [0., 1.]];
/// Layers of the second example.
const LAYERS: [usize; 2] = [500, 5000];

/// A network of so many layers with one kernel and without biases.
struct Constant {
    propagation: Propagation,
    weights: Weights,
}

impl Constant {
    fn new<const M: usize>(
        scheme: Scheme,
        kernel: Matrix<M>,
        step: f64,
        layers: usize,
    ) -> Result<Self> {
        let kernel = Tensor::new(&kernel, &Device::Cpu)?.unsqueeze(0)?;
        Ok(Constant {
            propagation: Propagation {
                scheme,
                activation: Activation::Tanh,
                step,
                memory: Memory::States,
            },
            weights: Weights::new(&kernel.repeat((layers, 1, 1))?),
        })
    }

    /// A path for each start.
    fn paths(&self, starts: &[Place]) -> Result<Vec<Vec<Place>>> {
        let start: Vec<f64> = starts.iter().flat_map(|(x, y)| [*x, *y]).collect();
        let start = Tensor::from_vec(start, (starts.len(), 2), &Device::Cpu)?;
        let start = State::new(&start);
        let states = self.propagation.states(&start, &self.weights)?;
        let mut paths = vec![vec![]; starts.len()];
        for state in states {
            for (path, place) in paths.iter_mut().zip(state.y.to_vec2::<f64>()?) {
                path.push((place[0], place[1]));
            }
        }
        Ok(paths)
    }

    /// Where a step from each place leads, and as long as `length` where the force is largest.
    fn arrows(&self, places: &[Place], length: f64) -> Result<Vec<(Place, Place)>> {
        let first = Constant {
            propagation: self.propagation,
            weights: self.weights.narrow(0, 1)?,
        };
        let paths = first.paths(places)?;
        let moves: Vec<Place> = paths
            .iter()
            .map(|path| (path[1].0 - path[0].0, path[1].1 - path[0].1))
            .collect();
        let longest = moves.iter().map(|(x, y)| x.hypot(*y)).fold(0., f64::max);
        let scale = length / longest;
        let arrows = places.iter().zip(moves);
        Ok(arrows
            .map(|(&(x, y), (dx, dy))| ((x, y), (x + scale * dx, y + scale * dy)))
            .collect())
    }
}

fn turned(k: Matrix<2>) -> Matrix<2> {
    [[k[0][0], k[1][0]], [k[0][1], k[1][1]]]
}

fn distance(a: Place, b: Place) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// The figures, and how far from each other the first two features end, as a share of their distance at the start; and how
/// far from the origin the long paths go.
pub fn run(output: &Output) -> Result<Metrics> {
    let mut metrics = Metrics::new();
    short(&mut metrics, output)?;
    long(&mut metrics, output)?;
    Ok(metrics)
}

fn short(metrics: &mut Metrics, output: &Output) -> Result<()> {
    let grid = -ARROWS..=ARROWS;
    let at = |k: i32| REACH * f64::from(k) / f64::from(ARROWS);
    let places = grid
        .clone()
        .flat_map(|i| grid.clone().map(move |k| (at(k), at(i))));
    let places: Vec<Place> = places.collect();
    let mut panels = vec![];
    for ((name, k), file) in K.into_iter().zip(["plus", "minus", "zero"]) {
        let net = Constant::new(Scheme::Euler(Force::Single), turned(k), 0.1, 10)?;
        let paths = net.paths(&STARTS)?;
        let ends: Vec<Place> = paths.iter().map(|path| path[path.len() - 1]).collect();
        let growth = distance(ends[0], ends[1]) / distance(STARTS[0], STARTS[1]);
        metrics.insert(format!("k_{file}.growth"), growth);
        panels.push(Portrait {
            caption: format!("{name}: distance \u{d7} {growth:.2}"),
            window: [(-1.08 * REACH, 1.08 * REACH); 2],
            arrows: net.arrows(&places, 0.9 * REACH / f64::from(ARROWS))?,
            points: STARTS.into_iter().zip(0..).collect(),
            paths: paths.into_iter().zip(0..).collect(),
            ..Portrait::default()
        });
    }
    let title =
        "ResNets of 10 equal layers, h = 0.1: paths of three features, the distance of two of them";
    portraits(&output.path(FIGURES[0]), title, 3, &panels)
}

fn long(metrics: &mut Metrics, output: &Output) -> Result<()> {
    let most = LAYERS[LAYERS.len() - 1];
    let leapfrog = Scheme::Leapfrog(Force::Single, Start::Zero);
    let nets = [
        (
            "leapfrog",
            "Leapfrog",
            Constant::new(leapfrog, turned(K[1].1), 1., most)?,
        ),
        (
            "verlet",
            "Verlet",
            Constant::new(Scheme::Verlet, VERLET, 0.1, most)?,
        ),
    ];
    let mut panels = vec![];
    for (name, title, net) in nets {
        let paths = net.paths(&STARTS[..2])?;
        for layers in LAYERS {
            let paths = paths.iter().map(|path| path[..=layers].to_vec());
            let paths: Vec<(Vec<Place>, usize)> = paths.zip(0..).collect();
            let places = || paths.iter().flat_map(|(path, _)| path.iter().copied());
            let furthest = places().map(|p| distance(p, (0., 0.))).fold(0., f64::max);
            metrics.insert(format!("{name}_{layers:04}.furthest"), furthest);
            panels.push(Portrait {
                caption: format!("{title}, {layers} layers: at most {furthest:.2} away"),
                window: window(places()),
                paths,
                ..Portrait::default()
            });
        }
    }
    let title = "Features in equal layers: leapfrog, h = 1, and Verlet, h = 0.1";
    portraits(&output.path(FIGURES[1]), title, 2, &panels)
}
