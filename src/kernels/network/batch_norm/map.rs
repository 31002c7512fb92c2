//! The map that a normalization is once its moments are known, forward and back.

use super::sums::{Layout, Moments, Sums};
use crate::kernels::graph::node::weigh;
use crate::kernels::machine::buffer::build;
use crate::kernels::machine::simd::{Loop, dispatch, fma};
use crate::kernels::network::activation::Activation;

/// `slope (x - centre) + start` for each channel.
pub(crate) struct Map {
    /// The mean in f32.
    centre: Vec<f32>,
    slope: Vec<f32>,
    start: Vec<f32>,
    /// What the mean has beyond f32.
    rest: Vec<f64>,
    /// `1 / sqrt(variance + epsilon)`.
    rate: Vec<f64>,
    gain: Vec<f64>,
}

/// Gradients of gain and shift.
pub(crate) struct Slopes {
    pub(crate) gain: Vec<f64>,
    pub(crate) shift: Vec<f64>,
}

/// What a gradient goes back from: argument, result and the result's gradient, how they lie, and the activation.
type Arguments<'a> = ([&'a [f32]; 3], Layout, Activation);

impl Map {
    pub(super) fn new(moments: &Moments, affine: Option<[&[f32]; 2]>, epsilon: f64) -> Self {
        let count = moments.mean.len();
        let of = |i: usize, otherwise: f64| -> Vec<f64> {
            match affine {
                Some(affine) => affine[i].iter().map(|x| *x as f64).collect(),
                None => vec![otherwise; count],
            }
        };
        let (gain, shift) = (of(0, 1.), of(1, 0.));
        let rate = moments.variance.iter().map(|v| 1. / (v + epsilon).sqrt());
        let rate: Vec<f64> = rate.collect();
        let centre: Vec<f32> = moments.mean.iter().map(|m| *m as f32).collect();
        let rest = moments.mean.iter().zip(&centre).map(|(m, c)| m - *c as f64);
        let rest: Vec<f64> = rest.collect();
        let slope: Vec<f64> = gain.iter().zip(&rate).map(|(g, r)| g * r).collect();
        let start = (0..count).map(|i| (shift[i] - rest[i] * slope[i]) as f32);
        Map {
            start: start.collect(),
            slope: slope.iter().map(|s| *s as f32).collect(),
            centre,
            rest,
            rate,
            gain,
        }
    }

    pub(super) fn forward(&self, x: &[f32], layout: Layout, activation: Activation) -> Vec<f32> {
        build(x.len(), layout.block(), |at, y| {
            dispatch(Forward {
                map: self,
                x: &x[at..at + y.len()],
                y,
                layout,
                activation,
            })
        })
    }

    /// The sums over the batch that gradients are made of.
    pub(super) fn slopes(&self, arguments: [&[f32]; 3], layout: Layout, f: Activation) -> Slopes {
        let sums = Sums::of_gradient(arguments, layout, &self.centre, f);
        let all = sums.second.iter().zip(&sums.first).enumerate();
        let gain = all.map(|(i, (s, g))| (s - self.rest[i] * g) * self.rate[i]);
        Slopes {
            gain: gain.collect(),
            shift: sums.first,
        }
    }

    /// The gradient of x; through the moments too, where those are of this many values of the batch.
    pub(super) fn backward(
        &self,
        ([x, y, g], layout, activation): Arguments,
        slopes: &Slopes,
        values: Option<usize>,
    ) -> Vec<f32> {
        // `gain rate (g - mean of g - z mean of g z)` with z the normalized x: `slope g + linear (x - centre) + constant`.
        let (mut linear, mut constant) = (vec![0f32; layout.c], vec![0f32; layout.c]);
        if let Some(values) = values {
            for i in 0..layout.c {
                let slope = self.gain[i] * self.rate[i] / values as f64;
                let along = weigh(slopes.gain[i], slope * self.rate[i]);
                linear[i] = -along as f32;
                constant[i] = (along * self.rest[i] - weigh(slopes.shift[i], slope)) as f32;
            }
        }
        build(x.len(), layout.block(), |at, out: &mut [f32]| {
            let range = at..at + out.len();
            out.copy_from_slice(&g[range.clone()]);
            activation.backprop(&y[range.clone()], out);
            let lines = [&self.slope, &self.centre, &linear, &constant].map(Vec::as_slice);
            let through = values.is_some();
            dispatch(Backward {
                lines,
                x: &x[range],
                out,
                layout,
                through,
            })
        })
    }
}

struct Forward<'a> {
    map: &'a Map,
    x: &'a [f32],
    y: &'a mut [f32],
    layout: Layout,
    activation: Activation,
}

impl Loop for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Map {
            centre,
            slope,
            start,
            ..
        } = self.map;
        let Layout { c, s, .. } = self.layout;
        if s == 1 {
            for (x, y) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)) {
                let lines = centre.iter().zip(slope).zip(start);
                for ((y, x), ((centre, slope), start)) in y.iter_mut().zip(x).zip(lines) {
                    *y = fma::<FMA>(x - centre, *slope, *start);
                }
            }
        } else {
            let stretches = self.x.chunks_exact(s).zip(self.y.chunks_exact_mut(s));
            for (i, (x, y)) in stretches.enumerate() {
                let (centre, slope, start) = (centre[i % c], slope[i % c], start[i % c]);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = fma::<FMA>(x - centre, slope, start);
                }
            }
        }
        self.activation.apply_slice::<FMA>(self.y);
    }
}

struct Backward<'a> {
    /// Slope, centre, linear and constant part by channel.
    lines: [&'a [f32]; 4],
    x: &'a [f32],
    /// Gradients before the activation.
    out: &'a mut [f32],
    layout: Layout,
    /// Whether there is more than the slope: nothing else may be read of a row that nobody asks for.
    through: bool,
}

/// `g slope + more`, the product as [`weigh`] has it.
#[inline(always)]
fn add<const FMA: bool>(g: f32, slope: f32, more: f32) -> f32 {
    match g == 0. {
        true => more,
        false => fma::<FMA>(g, slope, more),
    }
}

impl Loop for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Layout { c, s, .. } = self.layout;
        let [slope, centre, linear, constant] = self.lines.map(|line| &line[..c]);
        match (s, self.through) {
            (1, true) => {
                for (x, g) in self.x.chunks_exact(c).zip(self.out.chunks_exact_mut(c)) {
                    let lines = centre.iter().zip(slope).zip(linear.iter().zip(constant));
                    for ((g, x), ((centre, slope), (linear, constant))) in
                        g.iter_mut().zip(x).zip(lines)
                    {
                        let more = fma::<FMA>(x - centre, *linear, *constant);
                        *g = add::<FMA>(*g, *slope, more);
                    }
                }
            }
            (1, false) => {
                for g in self.out.chunks_exact_mut(c) {
                    g.iter_mut()
                        .zip(slope)
                        .for_each(|(g, s)| *g = weigh(*g, *s));
                }
            }
            (_, true) => {
                let stretches = self.x.chunks_exact(s).zip(self.out.chunks_exact_mut(s));
                for (i, (x, g)) in stretches.enumerate() {
                    let (centre, slope) = (centre[i % c], slope[i % c]);
                    let (linear, constant) = (linear[i % c], constant[i % c]);
                    for (g, x) in g.iter_mut().zip(x) {
                        let more = fma::<FMA>(x - centre, linear, constant);
                        *g = add::<FMA>(*g, slope, more);
                    }
                }
            }
            (_, false) => {
                for (i, g) in self.out.chunks_exact_mut(s).enumerate() {
                    let slope = slope[i % c];
                    g.iter_mut().for_each(|g| *g = weigh(*g, slope));
                }
            }
        }
    }
}
