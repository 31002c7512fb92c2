//! Bottlenecks of tables by iterations, and the record of the plane.

use candle_core::{DType, Device, Tensor};
use candle_prob::information::{Diagram, IterativeBottleneck, Plane, PlanePoint, Targets};
use candle_prob::special::softmax;
use candle_prob::{Error, Result, Rng};
use std::f64::consts::LN_2;

const CPU: &Device = &Device::Cpu;

fn h(p: f64) -> f64 {
    -p * p.ln() - (1. - p) * (1. - p).ln()
}

fn number(x: Result<Tensor>) -> Result<f64> {
    Ok(x?.to_scalar()?)
}

/// p in [0, 1/2] with h(p) = y.
fn h_inverse(y: f64) -> f64 {
    let (mut low, mut high) = (0., 0.5);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if h(middle) < y {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// An even bit through a symmetric channel: `I(Z;Y) = ln 2 - h(p * h^-1(ln 2 - I(X;Z)))`, at the slope 1 / beta.
#[test]
fn the_curve_of_the_binary_symmetric_channel() -> Result<()> {
    let p = 0.1;
    let table = [[0.5 * (1. - p), 0.5 * p], [0.5 * p, 0.5 * (1. - p)]];
    let table = Tensor::new(&table, CPU)?;
    // Nothing is kept below beta = (1 - 2 p)^-2 = 1.5625.
    let betas = [20., 8., 4., 2.5, 2., 1.7, 1.5, 1.];
    for codes in [2, 4] {
        let solver = IterativeBottleneck::information(codes);
        let solutions = solver.anneal(&table, &betas, &mut Rng::new(0))?;
        for solution in &solutions {
            let (beta, kept) = (solution.beta, solution.preserved);
            assert!(solution.converged, "beta {beta}");
            if beta < 1.5625 {
                assert!(kept.abs() < 1e-9 && solution.preserved_relevant.abs() < 1e-9);
                continue;
            }
            let q = h_inverse(LN_2 - kept);
            let through = p * (1. - q) + q * (1. - p);
            let gap = solution.preserved_relevant - (LN_2 - h(through));
            assert!(gap.abs() < 1e-9, "beta {beta}, {codes} codes: {gap}");
            let odds = |p: f64| ((1. - p) / p).ln();
            let slope = odds(through) * (1. - 2. * p) / odds(q);
            // At beta 20 the noise is 1e-15, of which ln 2 less the information keeps nothing.
            let seen = (slope * beta - 1.).abs() < 1e-6 || beta == 20.;
            assert!(seen, "beta {beta}: {slope}");
        }
        // From small to large betas codes have to part.
        let mut up = betas;
        up.reverse();
        let alone = IterativeBottleneck {
            restarts: 0,
            ..solver
        };
        let back = alone.anneal(&table, &up, &mut Rng::new(1))?;
        for (a, b) in solutions.iter().rev().zip(&back) {
            assert!((a.objective - b.objective).abs() < 1e-9);
        }
    }
    Ok(())
}

fn random(seed: u64, x: usize, y: usize) -> Result<Tensor> {
    let logits = (Rng::new(seed).normal(x * y, DType::F64, CPU)? * 1.5)?;
    Ok(softmax(&logits, 0)?.reshape((x, y))?)
}

/// Solutions agree with the diagram, satisfy the self-consistent equations, and no iteration raises the objective.
#[test]
fn solutions_are_self_consistent() -> Result<()> {
    let table = random(1, 7, 4)?;
    for alpha in [1., 0.4, 0.] {
        let solver = IterativeBottleneck {
            alpha,
            ..IterativeBottleneck::information(5)
        };
        for solution in solver.anneal(&table, &[30., 5., 2.], &mut Rng::new(2))? {
            let beta = solution.beta;
            assert!(solution.converged, "alpha {alpha}, beta {beta}");
            let d = solution.diagram(&table)?;
            let [preserved, relevant] = [number(d.preserved())?, number(d.preserved_relevant())?];
            let entropy = number(d.encoding_entropy())?;
            let noise = number(d.encoding_uncertainty())?;
            for (got, want) in [
                (solution.preserved, preserved),
                (solution.preserved_relevant, relevant),
                (solution.encoding_entropy, entropy),
                (
                    solution.objective,
                    entropy - alpha * noise - beta * relevant,
                ),
            ] {
                assert!((got - want).abs() < 1e-12, "{got} is not {want}");
            }
            let p = table.to_vec2::<f64>()?;
            let encoder = solution.p_z_given_x.to_vec2::<f64>()?;
            let decoder = solution.p_y_given_z.to_vec2::<f64>()?;
            let p_x: Vec<f64> = p.iter().map(|row| row.iter().sum()).collect();
            let p_z: Vec<f64> = (0..5)
                .map(|z| (0..7).map(|x| p_x[x] * encoder[x][z]).sum())
                .collect();
            for x in 0..7 {
                let score = |z: usize| {
                    let kl = (0..4).map(|y| {
                        let given = p[x][y] / p_x[x];
                        given * (given / decoder[z][y]).ln()
                    });
                    p_z[z].ln() - beta * kl.sum::<f64>()
                };
                let scores: Vec<f64> = (0..5).map(score).collect();
                let most = scores.iter().fold(f64::MIN, |a, b| a.max(*b));
                if alpha == 0. {
                    let own = encoder[x].iter().position(|p| *p == 1.).expect("one code");
                    assert!(scores[own] >= most - 1e-12);
                    continue;
                }
                let weights: Vec<f64> = scores.iter().map(|s| ((s - most) / alpha).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for z in 0..5 {
                    assert!((encoder[x][z] - weights[z] / sum).abs() < 1e-9);
                }
            }
        }
        // One iteration more is never worse: each is a turn of an alternating minimization.
        let mut before = f64::INFINITY;
        for max_iterations in 1..30 {
            let solver = IterativeBottleneck {
                max_iterations,
                restarts: 0,
                ..solver
            };
            let objective = solver.solve(&table, 3., &mut Rng::new(3))?.objective;
            assert!(
                objective <= before + 1e-13,
                "alpha {alpha}: {objective} after {before}"
            );
            before = objective;
        }
    }
    Ok(())
}

/// Against every code without noise of six inputs.
#[test]
fn the_deterministic_bottleneck_finds_the_best_code() -> Result<()> {
    for (seed, beta) in [(4, 2.), (5, 4.), (6, 8.), (7, 20.)] {
        let table = random(seed, 6, 3)?;
        let p = table.to_vec2::<f64>()?;
        let mut least = f64::INFINITY;
        for code in 0..4usize.pow(6) {
            let mut joint = [[0f64; 3]; 4];
            for (x, row) in p.iter().enumerate() {
                let z = code / 4usize.pow(x as u32) % 4;
                joint[z].iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
            }
            let entropy = |p: f64| if p > 0. { -p * p.ln() } else { 0. };
            let h_z: f64 = joint.iter().map(|row| entropy(row.iter().sum())).sum();
            let h_yz: f64 = joint.iter().flatten().map(|p| entropy(*p)).sum();
            let h_y: f64 = (0..3)
                .map(|y| entropy(joint.iter().map(|row| row[y]).sum()))
                .sum();
            least = least.min(h_z - beta * (h_z + h_y - h_yz));
        }
        let solver = IterativeBottleneck::deterministic(4);
        let found = solver.solve(&table, beta, &mut Rng::new(8))?;
        assert!(found.converged);
        let gap = found.objective - least;
        assert!(gap.abs() < 1e-12, "beta {beta}: {gap} above the least");
    }
    Ok(())
}

/// Four inputs of two kinds, and a start that says nothing of the kind: it stays where it is, unless a random one or, along an
/// annealing, a perturbation finds the kinds.
#[test]
fn codes_part_where_they_are_perturbed() -> Result<()> {
    let rows = [[0.2f64, 0.05], [0.2, 0.05], [0.05, 0.2], [0.05, 0.2]];
    let table = Tensor::new(&rows, CPU)?;
    let random = IterativeBottleneck::information(2);
    let alone = IterativeBottleneck {
        restarts: 0,
        ..random
    };
    let mut rng = Rng::new(1);
    let stuck = alone.solve(&table, 5., &mut rng)?.preserved_relevant;
    assert!(stuck < 1e-12, "{stuck}");
    let found = random.solve(&table, 5., &mut rng)?;
    let annealed = &alone.anneal(&table, &[1., 5.], &mut rng)?[1];
    assert!(found.preserved_relevant > 0.15 && annealed.converged);
    assert!((found.objective - annealed.objective).abs() < 1e-9);
    Ok(())
}

/// Joined codes: the code that names each input is no minimum of two kinds.
#[test]
fn codes_without_noise_are_joined() -> Result<()> {
    let table = random(9, 12, 3)?;
    let alone = IterativeBottleneck {
        restarts: 0,
        ..IterativeBottleneck::deterministic(12)
    };
    let many = IterativeBottleneck {
        restarts: 200,
        ..alone
    };
    for beta in [2., 5., 10.] {
        let one = alone.solve(&table, beta, &mut Rng::new(1))?;
        let best = many.solve(&table, beta, &mut Rng::new(1))?;
        assert!(one.codes < 12 && best.objective <= one.objective);
        // Without joining there are five codes at beta 10, 0.045 above.
        let gap = one.objective - best.objective;
        assert!(gap < 1e-12, "beta {beta}: {gap}");
    }
    Ok(())
}

/// An input that does not occur, one code, and a deterministic label.
#[test]
fn extreme_tables() -> Result<()> {
    let table = Tensor::new(&[[0.5f64, 0.], [0., 0.], [0., 0.5]], CPU)?;
    for solver in [
        IterativeBottleneck::information(3),
        IterativeBottleneck::deterministic(3),
    ] {
        for beta in [0., 1.5, 1e6] {
            let solution = solver.solve(&table, beta, &mut Rng::new(1))?;
            let want = if beta > 1. { LN_2 } else { 0. };
            assert!((solution.preserved_relevant - want).abs() < 1e-6);
            let rows = solution.p_z_given_x.sum(1)?.to_vec1::<f64>()?;
            assert!(rows.iter().all(|sum| (sum - 1.).abs() < 1e-12));
            solution.diagram(&table)?;
        }
        let one = IterativeBottleneck { codes: 1, ..solver };
        let solution = one.solve(&table, 5., &mut Rng::new(1))?;
        assert_eq!((solution.codes, solution.preserved), (1, 0.));
    }
    Ok(())
}

#[test]
fn bad_settings_are_refused() -> Result<()> {
    let table = random(1, 3, 2)?;
    let good = IterativeBottleneck::information(2);
    let cases = [
        (IterativeBottleneck { codes: 0, ..good }, 1., "codes"),
        (
            IterativeBottleneck {
                max_iterations: 0,
                ..good
            },
            1.,
            "max_iterations",
        ),
        (IterativeBottleneck { alpha: 1.5, ..good }, 1., "alpha"),
        (
            IterativeBottleneck {
                tolerance: 0.,
                ..good
            },
            1.,
            "tolerance",
        ),
        (
            IterativeBottleneck {
                codes: usize::MAX / 2,
                ..good
            },
            1.,
            "codes",
        ),
        (
            IterativeBottleneck {
                codes: usize::MAX / 100,
                ..good
            },
            1.,
            "codes",
        ),
        (good, -1., "beta"),
        (good, f64::NAN, "beta"),
    ];
    for (solver, beta, argument) in cases {
        match solver.solve(&table, beta, &mut Rng::new(0)) {
            Err(Error::Value { arg, .. }) => assert_eq!(arg, argument),
            other => panic!("{other:?}"),
        }
    }
    assert!(good.solve(&(table * 2.)?, 1., &mut Rng::new(0)).is_err());
    Ok(())
}

/// A complete point of the plane from few quantities is that of the diagram.
#[test]
fn points_are_completed() -> Result<()> {
    let encoder = softmax(&Rng::new(1).normal((9, 4), DType::F64, CPU)?, 1)?;
    let soft = softmax(&Rng::new(2).normal((9, 3), DType::F64, CPU)?, 1)?;
    let diagram = Diagram::from_targets(&encoder, Targets::Probabilities(&soft), None)?;
    let all = PlanePoint::of(&diagram)?;
    assert_eq!(all.complete(), all);
    let bits = PlanePoint::of(&diagram.to_bits())?;
    for ((name, a), (_, b)) in all.named().zip(bits.named()) {
        let (a, b) = (a.expect("all are known"), b.expect("all are known"));
        assert!((a - b).abs() < 1e-14, "{name}: {a} is not {b}");
    }
    let few = PlanePoint {
        encoding_entropy: all.encoding_entropy,
        encoding_uncertainty: all.encoding_uncertainty,
        reverse_decoder_uncertainty: all.reverse_decoder_uncertainty,
        label_entropy: all.label_entropy,
        label_uncertainty: all.label_uncertainty,
        ..Default::default()
    };
    for ((name, a), (_, b)) in few.complete().named().zip(all.named()) {
        let (a, b) = (a.expect(name), b.expect(name));
        assert!((a - b).abs() < 1e-14, "{name}: {a} is not {b}");
    }
    // Nothing follows from one number.
    let one = PlanePoint {
        preserved: Some(1.),
        ..Default::default()
    };
    assert_eq!(one.complete(), one);
    Ok(())
}

#[test]
fn a_plane_is_written_and_read_back() -> Result<()> {
    let mut plane = Plane::new();
    let point = |x: f64| PlanePoint {
        preserved: Some(x),
        residual: Some(x / 3.),
        ..Default::default()
    };
    for epoch in 0..3 {
        plane.record(
            "gamma 0.1, \"small\"",
            epoch,
            point(1. / (1. + epoch as f64)),
        );
        plane.record("other", epoch, point(-1e-300));
    }
    assert_eq!(plane.names(), ["gamma 0.1, \"small\"", "other"]);
    assert_eq!(plane.trajectory("other").count(), 3);
    let mut text = vec![];
    plane.write_csv(&mut text).expect("memory");
    let mut reader = csv::Reader::from_reader(&text[..]);
    let columns: Vec<String> = reader.headers().unwrap().iter().map(String::from).collect();
    assert_eq!(columns.len(), 13);
    for (record, row) in reader.records().zip(plane.rows()) {
        let record = record.unwrap();
        assert_eq!(
            (&record[0], &record[1]),
            (row.name.as_str(), row.epoch.to_string().as_str())
        );
        for ((name, number), i) in row.point.named().zip(2..) {
            assert_eq!(columns[i], name);
            assert_eq!(record[i].parse::<f64>().ok(), number);
        }
    }
    Ok(())
}
