//! The bottlenecks of a table, by iterations of Blahut and Arimoto's kind.

use super::diagram::Diagram;
use super::table::Table;
use super::targets::Targets;
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::number::Real;
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// The information bottleneck of a joint table p(x, y), and the deterministic one: the code Z of X that keeps most of Y.
///
/// Formula: minimizes `H[Z] - alpha H[Z|X] - beta I[Y;Z]` over `p(z | x)` by turns:
/// `p(z|x) ~ exp((ln p(z) - beta KL(p(y|x) || p(y|z))) / alpha)`, then `p(z)` and `p(y|z)` of that encoder. With alpha 1 it is
/// the information bottleneck, `p(z|x) ~ p(z) exp(-beta KL)`; with alpha 0 the deterministic one, each x with the z of the
/// largest `ln p(z) - beta KL`, its own where several are. No step raises the objective. There may be many minima: starts are
/// the code that names x (x modulo C), `restarts` random ones, and along an [annealing](IterativeBottleneck::anneal) the
/// solution before, a little perturbed; the least objective is kept. With alpha 0, codes are joined two by two as long as
/// that lowers the objective.
///
/// Shapes: a table `[X, Y]`; solutions have C codes, of which some may not occur. Units: nats. Gradients: none.
///
/// Errors: no codes, no iterations; an alpha out of [0, 1], a beta that is negative or not finite, a tolerance that is not
/// positive; tables that [`Table::new`] refuses. That iterations ended before they converged is no error:
/// [`IterativeSolution::converged`] tells.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::information::IterativeBottleneck;
/// # fn main() -> candle_prob::Result<()> {
/// // A bit and its noisy copy.
/// let p = Tensor::new(&[[0.45f64, 0.05], [0.05, 0.45]], &Device::Cpu)?;
/// let solution = IterativeBottleneck::information(2).solve(&p, 3., &mut Rng::new(0))?;
/// assert!(solution.converged);
/// // I(Y;Z) = ln 2 - h(0.1 * h^-1(ln 2 - I(X;Z))), with a * b = a (1 - b) + b (1 - a)
/// let noise = solution.p_z_given_x.to_vec2::<f64>()?[0].iter().fold(1f64, |least, p| least.min(*p));
/// let h = |p: f64| -p * p.ln() - (1. - p) * (1. - p).ln();
/// assert!((solution.preserved - (2f64.ln() - h(noise))).abs() < 1e-9);
/// assert!((solution.preserved_relevant - (2f64.ln() - h(0.1 + noise - 0.2 * noise))).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision, on the CPU. An iteration costs X Y C. Near a beta at which codes part, convergence is slow.
///
/// Source: Tishby, Pereira and Bialek (2000), The information bottleneck method; Strouse and Schwab (2017), The deterministic
/// information bottleneck, algorithms 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IterativeBottleneck {
    /// Codes, C.
    pub codes: usize,
    /// What the noise of the encoder is worth: 1 for the information bottleneck, 0 for the deterministic one.
    pub alpha: f64,
    /// Random starts for each beta.
    pub restarts: usize,
    /// Iterations of a start.
    pub max_iterations: usize,
    /// The largest change of a `p(z | x)` in an iteration with which it has converged.
    pub tolerance: f64,
}

/// What [`IterativeBottleneck`] found for one beta.
#[derive(Debug, Clone)]
pub struct IterativeSolution {
    /// The multiplier of `I[Y;Z]`.
    pub beta: f64,
    /// `[X, C]`, f64.
    pub p_z_given_x: Tensor,
    /// `[C, Y]`, f64; a code that does not occur has `p(y)`.
    pub p_y_given_z: Tensor,
    /// `I[X;Z]`.
    pub preserved: f64,
    /// `I[Y;Z]`.
    pub preserved_relevant: f64,
    /// `H[Z]`.
    pub encoding_entropy: f64,
    /// `H[Z] - alpha H[Z|X] - beta I[Y;Z]`.
    pub objective: f64,
    /// Of the start that was kept.
    pub iterations: usize,
    /// Whether the change fell below the tolerance.
    pub converged: bool,
    /// Codes that occur.
    pub codes: usize,
}

impl IterativeBottleneck {
    /// The information bottleneck.
    pub fn information(codes: usize) -> Self {
        IterativeBottleneck {
            codes,
            alpha: 1.,
            restarts: 10,
            max_iterations: 10_000,
            tolerance: 1e-12,
        }
    }

    /// The deterministic information bottleneck.
    pub fn deterministic(codes: usize) -> Self {
        IterativeBottleneck {
            alpha: 0.,
            ..Self::information(codes)
        }
    }

    /// The best code for one beta.
    pub fn solve(&self, p_xy: &Tensor, beta: f64, rng: &mut Rng) -> Result<IterativeSolution> {
        let op = "IterativeBottleneck::solve";
        let problem = self.problem(op, p_xy, &[beta])?;
        let best = self.best(&problem, beta, None, rng)?;
        problem.solution(self.alpha, beta, best)
    }

    /// The best codes for several betas, each of which starts from the one before, too. From large betas to small ones codes
    /// merge, which is the easier way; from small to large ones they part.
    pub fn anneal(
        &self,
        p_xy: &Tensor,
        betas: &[f64],
        rng: &mut Rng,
    ) -> Result<Vec<IterativeSolution>> {
        let op = "IterativeBottleneck::anneal";
        let problem = self.problem(op, p_xy, betas)?;
        let mut last: Option<Vec<f64>> = None;
        let mut solutions = Vec::with_capacity(betas.len());
        for beta in betas {
            let best = self.best(&problem, *beta, last.take(), rng)?;
            last = Some(best.encoder.clone());
            solutions.push(problem.solution(self.alpha, *beta, best)?);
        }
        Ok(solutions)
    }

    fn problem(&self, op: &'static str, p_xy: &Tensor, betas: &[f64]) -> Result<Problem> {
        let counts = [
            ("codes", self.codes),
            ("max_iterations", self.max_iterations),
        ];
        check::at_least_one(op, &counts)?;
        check::in_interval(op, "alpha", self.alpha, 0. ..=1.)?;
        check::positive_finite(op, "tolerance", self.tolerance)?;
        for beta in betas {
            check::non_negative(op, "beta", *beta)?;
        }
        let [inputs, labels] = shape::dims(op, "p_xy", p_xy.dims(), "[X, Y]")?;
        let cells = check::product(op, "codes", &[inputs, self.codes])?;
        if cells > isize::MAX as usize / 64 {
            let expected = "fewer numbers than memory could hold";
            return Err(Error::value(op, "codes", expected, self.codes));
        }
        let table = Table::named(op, &p_xy.detach().to_device(&Device::Cpu)?)?;
        let joint = table.probabilities().flatten_all()?.to_vec1::<f64>()?;
        // What rounding has left of the sum would stay in each of the sums below.
        let total: f64 = joint.iter().sum();
        let joint: Vec<f64> = joint.iter().map(|p| p / total).collect();
        let p_x: Vec<f64> = joint.chunks(labels).map(|row| row.iter().sum()).collect();
        let rows = joint.chunks(labels).zip(&p_x);
        let share = |p: &f64, whole: f64| if whole > 0. { p / whole } else { 0. };
        let given = rows.flat_map(|(row, p_x)| row.iter().map(|p| share(p, *p_x)));
        Ok(Problem {
            given: given.collect(),
            labels,
            codes: self.codes,
            joint,
            p_x,
        })
    }

    /// The least objective of all starts.
    fn best(
        &self,
        problem: &Problem,
        beta: f64,
        last: Option<Vec<f64>>,
        rng: &mut Rng,
    ) -> Result<Found> {
        let (inputs, codes) = (problem.p_x.len(), self.codes);
        let mut random = || -> Result<Vec<f64>> {
            let uniform = rng.uniform(inputs * codes, DType::F64, &Device::Cpu)?;
            // Evenly from the simplex; rounded to one code where codes have no noise.
            let mut rows: Vec<f64> = uniform.to_vec1::<f64>()?.iter().map(|u| -u.ln()).collect();
            for row in rows.chunks_mut(codes) {
                normalize(row);
            }
            Ok(rows)
        };
        let mut starts = Vec::with_capacity(self.restarts + 2);
        if let Some(mut last) = last {
            let noise = random()?;
            let mixed = last.iter_mut().zip(noise);
            mixed.for_each(|(p, r)| *p = (1. - MIX) * *p + MIX * r);
            starts.push(last);
        }
        let mut own = vec![0.; inputs * codes];
        for (x, row) in own.chunks_mut(codes).enumerate() {
            row[x % codes] = 1.;
        }
        // A code without noise would keep its zeros forever.
        let even = MIX / codes as f64;
        own.iter_mut().for_each(|p| *p = (1. - MIX) * *p + even);
        for _ in 0..self.restarts {
            starts.push(random()?);
        }
        let run = |start| {
            let found = self.iterate(problem, beta, start);
            let objective = problem.objective(&found.encoder, self.alpha, beta);
            (objective, found)
        };
        let better = |best: (f64, Found), start| {
            let new = run(start);
            if new.0 < best.0 { new } else { best }
        };
        Ok(starts.into_iter().fold(run(own), better).1)
    }

    fn iterate(&self, problem: &Problem, beta: f64, start: Vec<f64>) -> Found {
        let mut encoder = start;
        if self.alpha == 0. {
            for row in encoder.chunks_mut(self.codes) {
                let top = largest(row, 0);
                row.fill(0.);
                row[top] = 1.;
            }
        }
        let mut next = encoder.clone();
        for iterations in 1..=self.max_iterations {
            problem.step(&encoder, &mut next, self.alpha, beta);
            let pairs = encoder.iter().zip(&next);
            let change = pairs.fold(0f64, |most, (a, b)| most.max((a - b).abs()));
            std::mem::swap(&mut encoder, &mut next);
            if change <= self.tolerance && !(self.alpha == 0. && problem.join(&mut encoder, beta)) {
                return Found {
                    encoder,
                    iterations,
                    converged: true,
                };
            }
        }
        Found {
            encoder,
            iterations: self.max_iterations,
            converged: false,
        }
    }
}

/// Where a start has led.
struct Found {
    encoder: Vec<f64>,
    iterations: usize,
    converged: bool,
}

/// How much of a random encoder a start has.
const MIX: f64 = 1e-3;

impl IterativeSolution {
    /// The diagram of X, Y and the code.
    ///
    /// Errors: a table of another shape than that which was solved, or that is none.
    pub fn diagram(&self, p_xy: &Tensor) -> Result<Diagram> {
        let op = "IterativeSolution::diagram";
        let [inputs, _] = shape::dims(op, "p_xy", p_xy.dims(), "[X, Y]")?;
        if inputs != self.p_z_given_x.dims()[0] {
            let expected = format!("[{}, Y]", self.p_z_given_x.dims()[0]);
            return Err(Error::shape(op, "p_xy", expected, p_xy.dims()));
        }
        let p = p_xy.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let p_x = p.sum(1)?;
        // An input that does not occur may have any label.
        let even = (p_x.eq(0.)?.to_dtype(DType::F64)? / p.dims()[1] as f64)?;
        let given = super::terms::share(&p, &p_x.unsqueeze(1)?)?;
        let given = given.broadcast_add(&even.unsqueeze(1)?)?;
        Diagram::from_targets(
            &self.p_z_given_x,
            Targets::Probabilities(&given),
            Some(&p_x),
        )
    }
}

/// A table `[X, Y]` in rows.
struct Problem {
    joint: Vec<f64>,
    /// `p(y | x)`; a row of zeros for an input that does not occur.
    given: Vec<f64>,
    p_x: Vec<f64>,
    labels: usize,
    codes: usize,
}

impl Problem {
    /// `p(z)`, and `p(y, z)` code by code.
    fn codes_of(&self, encoder: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (codes, labels) = (self.codes, self.labels);
        let (mut p_z, mut p_zy) = (vec![0.; codes], vec![0.; codes * labels]);
        let rows = encoder.chunks(codes).zip(self.joint.chunks(labels));
        for ((row, joint), p_x) in rows.zip(&self.p_x) {
            for (z, p) in row.iter().enumerate().filter(|(_, p)| **p > 0.) {
                p_z[z] += p * p_x;
                let sums = p_zy[z * labels..][..labels].iter_mut().zip(joint);
                sums.for_each(|(sum, joint)| *sum += p * joint);
            }
        }
        (p_z, p_zy)
    }

    fn step(&self, encoder: &[f64], next: &mut [f64], alpha: f64, beta: f64) {
        let (codes, labels) = (self.codes, self.labels);
        let (p_z, p_zy) = self.codes_of(encoder);
        let logs: Vec<f64> = p_z.iter().map(|p| p.ln()).collect();
        let cost = |p: f64, z: usize| p.ln() - logs[z];
        let of_labels: Vec<f64> = (0..codes * labels)
            .map(|i| cost(p_zy[i], i / labels))
            .collect();
        let rows = next.chunks_mut(codes).zip(encoder.chunks(codes));
        for ((next, now), given) in rows.zip(self.given.chunks(labels)) {
            // ln p(z) + beta sum_y p(y|x) ln p(y|z): -beta KL but for a number that all codes have.
            let score = |z: usize| {
                if p_z[z] == 0. {
                    return f64::NEG_INFINITY;
                }
                let of_labels = &of_labels[z * labels..][..labels];
                let pairs = given.iter().zip(of_labels).filter(|(p, _)| **p > 0.);
                logs[z] + beta * pairs.map(|(p, log)| p * log).sum::<f64>()
            };
            next.iter_mut().enumerate().for_each(|(z, s)| *s = score(z));
            let own = largest(now, 0);
            let top = largest(next, own);
            let most = next[top];
            if most == f64::NEG_INFINITY {
                next.copy_from_slice(now);
            } else if alpha == 0. {
                next.fill(0.);
                next[top] = 1.;
            } else {
                next.iter_mut()
                    .for_each(|s| *s = ((*s - most) / alpha).exp());
                normalize(next);
            }
        }
    }

    /// Joins the two codes of which the objective without noise falls most; whether it does.
    fn join(&self, encoder: &mut [f64], beta: f64) -> bool {
        let labels = self.labels;
        let (p_z, p_zy) = self.codes_of(encoder);
        let used: Vec<usize> = (0..self.codes).filter(|z| p_z[*z] > 0.).collect();
        let row = |z: usize| &p_zy[z * labels..][..labels];
        // H[Z] + beta H[Y|Z], of one code.
        let cost = |whole: f64, parts: &mut dyn Iterator<Item = f64>| {
            let unknown: f64 = parts.map(|p| surprise(p, whole)).sum();
            surprise(whole, 1.) + beta * unknown
        };
        let own: Vec<f64> = (0..self.codes)
            .map(|z| cost(p_z[z], &mut row(z).iter().copied()))
            .collect();
        let mut best = (1e-12, None);
        for (i, a) in used.iter().enumerate() {
            for b in &used[..i] {
                let mut parts = row(*a).iter().zip(row(*b)).map(|(a, b)| a + b);
                let joined = cost(p_z[*a] + p_z[*b], &mut parts);
                let gain = own[*a] + own[*b] - joined;
                if gain > best.0 {
                    best = (gain, Some((*a, *b)));
                }
            }
        }
        let Some((a, b)) = best.1 else { return false };
        for row in encoder.chunks_mut(self.codes) {
            row[b] += row[a];
            row[a] = 0.;
        }
        true
    }

    fn objective(&self, encoder: &[f64], alpha: f64, beta: f64) -> f64 {
        let [entropy, preserved, relevant] = self.quantities(encoder);
        entropy - alpha * (entropy - preserved) - beta * relevant
    }

    /// `H[Z]`, `I[X;Z]` and `I[Y;Z]`.
    fn quantities(&self, encoder: &[f64]) -> [f64; 3] {
        let (p_z, p_zy) = self.codes_of(encoder);
        let entropy = p_z.iter().map(|p| surprise(*p, 1.)).sum();
        let labels = self.labels;
        let mut preserved = 0.;
        for (row, p_x) in encoder.chunks(self.codes).zip(&self.p_x) {
            preserved += divergence(row.iter().zip(&p_z).map(|(p, q)| (p * p_x, q * p_x)));
        }
        let p_y: Vec<f64> = (0..labels)
            .map(|y| self.joint.iter().skip(y).step_by(labels).sum())
            .collect();
        let relevant = p_zy
            .chunks(labels)
            .zip(&p_z)
            .map(|(row, p_z)| divergence(row.iter().zip(&p_y).map(|(p, q)| (*p, q * p_z))));
        [entropy, preserved, relevant.sum()]
    }

    fn solution(&self, alpha: f64, beta: f64, found: Found) -> Result<IterativeSolution> {
        let Found {
            encoder,
            iterations,
            converged,
        } = found;
        let [encoding_entropy, preserved, preserved_relevant] = self.quantities(&encoder);
        let objective = self.objective(&encoder, alpha, beta);
        let (p_z, mut p_zy) = self.codes_of(&encoder);
        let labels = self.labels;
        let p_y: Vec<f64> = (0..labels)
            .map(|y| self.joint.iter().skip(y).step_by(labels).sum())
            .collect();
        for (row, p_z) in p_zy.chunks_mut(labels).zip(&p_z) {
            match *p_z > 0. {
                true => row.iter_mut().for_each(|p| *p /= p_z),
                false => row.copy_from_slice(&p_y),
            }
        }
        let (inputs, cpu) = (self.p_x.len(), &Device::Cpu);
        Ok(IterativeSolution {
            beta,
            p_z_given_x: Tensor::from_vec(encoder, (inputs, self.codes), cpu)?,
            p_y_given_z: Tensor::from_vec(p_zy, (self.codes, labels), cpu)?,
            preserved,
            preserved_relevant,
            encoding_entropy,
            objective,
            iterations,
            converged,
            codes: p_z.iter().filter(|p| **p > 0.).count(),
        })
    }
}

/// `p ln(whole / p)`.
fn surprise(p: f64, whole: f64) -> f64 {
    if p > 0. { p * (whole / p).ln() } else { 0. }
}

/// `sum p ln(p / q) - p + q`.
fn divergence(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let term = |(p, q): (f64, f64)| {
        if p > 0. && q > 0. { p.deviance(q) } else { q }
    };
    pairs.map(term).sum()
}

/// Where the largest number is, `own` if it is one of them, else the first.
fn largest(row: &[f64], own: usize) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (0..row.len()).fold(own, better)
}

fn normalize(row: &mut [f64]) {
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= sum);
}
