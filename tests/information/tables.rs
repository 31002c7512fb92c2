//! Tables and diagrams against reference values, identities of the signed measure, and what is refused.

use crate::support::differences;
use crate::support::golden::{check, file, list};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::information::{Diagram, Table, Targets, Unit};
use candle_prob::special::softmax;
use candle_prob::{Error, Result, Rng};
use std::f64::consts::LN_2;

fn number(x: Result<Tensor>) -> Result<f64> {
    let x = x?;
    assert_eq!(x.dims(), [0usize; 0]);
    Ok(x.to_dtype(DType::F64)?.to_scalar()?)
}

/// Probabilities of any shape; some cells are empty.
fn random(rng: &mut Rng, dims: &[usize]) -> Result<Tensor> {
    let n = dims.iter().product::<usize>();
    let x = (rng.normal(n, DType::F64, &Device::Cpu)? * 2.)?;
    let held = rng.uniform(n, DType::F64, &Device::Cpu)?.ge(0.2)?;
    let p = (softmax(&x, 0)? * held.to_dtype(DType::F64)?)?;
    Ok(p.broadcast_div(&p.sum_all()?)?.reshape(dims)?)
}

/// Rows of probabilities, and targets with weights.
fn encoder(rng: &mut Rng, [n, codes, labels]: [usize; 3]) -> Result<[Tensor; 3]> {
    let mut rows = |n: usize, k: usize| -> Result<Tensor> {
        let x = (rng.normal((n, k), DType::F64, &Device::Cpu)? * 2.)?;
        softmax(&x, 1)
    };
    Ok([rows(n, codes)?, rows(n, labels)?, rows(1, n)?.squeeze(0)?])
}

#[test]
fn reference_values() -> Result<()> {
    let golden = file(include_str!("../golden/information_tables.json"));
    let mut cases = 0;
    for case in golden["cases"].as_array().unwrap() {
        let numbers = |key: &str| list(&case[key]).into_iter().map(|x| x.unwrap());
        let dims: Vec<usize> = numbers("shape").map(|x| x as usize).collect();
        let p = Tensor::from_vec(numbers("p").collect(), dims, &Device::Cpu)?;
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let p = p.to_dtype(dtype)?;
            let (diagram, table) = (Diagram::from_joint(&p)?, Table::new(&p)?);
            let scaled = Diagram::from_counts(&(&p * 1024.)?)?;
            let close = |what: &str, got: Result<Tensor>, key: &str| -> Result<()> {
                let want = case["nats"][key].as_f64().unwrap();
                assert_eq!(got.as_ref().unwrap().dtype(), dtype);
                check(what, number(got)?, want, 0., dtype, tolerance);
                Ok(())
            };
            for (diagram, what) in [(&diagram, "joint"), (&scaled, "counts")] {
                close(what, diagram.input_entropy(), "H[X]")?;
                close(what, diagram.label_entropy(), "H[Y]")?;
                close(what, diagram.encoding_entropy(), "H[Z]")?;
                close(what, diagram.label_uncertainty(), "H[Y|X]")?;
                close(what, diagram.encoding_uncertainty(), "H[Z|X]")?;
                close(what, diagram.decoder_uncertainty(), "H[Y|Z]")?;
                close(what, diagram.reverse_decoder_uncertainty(), "H[Z|Y]")?;
                close(what, diagram.nuisance(), "H[X|Y]")?;
                close(what, diagram.lost_nuisance(), "H[X|Y,Z]")?;
                close(what, diagram.relevant(), "I[X;Y]")?;
                close(what, diagram.preserved(), "I[X;Z]")?;
                close(what, diagram.preserved_relevant(), "I[Y;Z]")?;
                close(what, diagram.residual(), "I[X;Y|Z]")?;
                close(what, diagram.redundant(), "I[X;Z|Y]")?;
                close(what, diagram.leaked(), "I[Y;Z|X]")?;
                close(what, diagram.interaction(), "I[X;Y;Z]")?;
            }
            let names = ["X", "Y", "Z"];
            for a in 0..3 {
                let [b, c] = [[1, 2], [0, 2], [0, 1]][a];
                let [x, y, z] = [names[a], names[b], names[c]];
                close("H", table.entropy(&[c, b]), &format!("H[{y},{z}]"))?;
                let both = table.conditional_entropy(&[b, c], &[a]);
                close("H", both, &format!("H[{y},{z}|{x}]"))?;
                let last = table.conditional_entropy(&[a], &[c, b]);
                close("H", last, &format!("H[{x}|{y},{z}]"))?;
                let all = table.mutual_information(&[a], &[b, c]);
                close("I", all, &format!("I[{x};{y},{z}]"))?;
                let pair = table.marginal(&[c, b])?.mutual_information(&[1], &[0]);
                close("I", pair, &format!("I[{y};{z}]"))?;
            }
            close("H", table.entropy(&[0, 1, 2]), "H[X,Y,Z]")?;
            close("I", table.interaction_information(), "I[X;Y;Z]")?;
            close("T", table.total_correlation(), "total_correlation")?;
            close(
                "D",
                table.dual_total_correlation(),
                "dual_total_correlation",
            )?;
        }
        cases += 1;
    }
    assert_eq!(cases, 8);
    Ok(())
}

/// Equations 2, 3 and 6 to 24 of Kirsch, Lyle and Gal (2020), and those of Observation 1, by quantities that are computed
/// apart. Equation 10 is wrong as printed: `I[X;Z|Y]` is meant for `I[X;Z]`.
fn identities(d: &Diagram, chain: bool) -> Result<()> {
    let [h_x, h_y, h_z] = [
        number(d.input_entropy())?,
        number(d.label_entropy())?,
        number(d.encoding_entropy())?,
    ];
    let label = number(d.label_uncertainty())?;
    let encoding = number(d.encoding_uncertainty())?;
    let decoder = number(d.decoder_uncertainty())?;
    let reverse = number(d.reverse_decoder_uncertainty())?;
    let [nuisance, lost] = [number(d.nuisance())?, number(d.lost_nuisance())?];
    let [relevant, preserved, both] = [
        number(d.relevant())?,
        number(d.preserved())?,
        number(d.preserved_relevant())?,
    ];
    let [residual, redundant] = [number(d.residual())?, number(d.redundant())?];
    let [leaked, interaction] = [number(d.leaked())?, number(d.interaction())?];
    let distance = number(d.entropy_distance())?;
    let equal = |name: &str, a: f64, b: f64| {
        assert!((a - b).abs() <= 1e-12, "{name}: {a} is not {b}");
    };
    // The measure itself, whatever depends on what.
    equal("X and Y", relevant, residual + interaction);
    equal("X and Z", preserved, redundant + interaction);
    equal("Y and Z", both, leaked + interaction);
    equal("X", h_x, lost + residual + redundant + interaction);
    equal("10, mended", nuisance, lost + redundant);
    equal("13", relevant, h_y - label);
    equal("14", preserved, h_z - encoding);
    equal("17", both, h_y - decoder);
    equal("18", both, h_z - reverse);
    equal("19", distance, decoder + reverse);
    equal("20", reverse + h_y, decoder + h_z);
    equal("21", distance, 2. * decoder + h_z - h_y);
    equal("22", distance + h_y, 2. * (decoder + 0.5 * h_z));
    assert!(
        [label, encoding, decoder, reverse, lost, residual, redundant]
            .iter()
            .all(|x| *x >= -1e-15)
    );
    for beta in [1.5, 2., 7.] {
        let (up, gamma) = (1. / (beta - 1.), 1. - 2. / beta);
        let dib = number(d.deterministic_bottleneck(beta))?;
        let canonical = number(d.deterministic_decoder_bottleneck(up))?;
        equal("DIB", canonical, up * dib + h_y);
        let apart = number(d.deterministic_distance_bottleneck(gamma))?;
        equal("24", apart, distance + gamma * (decoder - reverse));
        equal("24, DIB", apart, 2. / beta * dib + (1. + gamma) * h_y);
        equal("DIB by H[Z]", dib + beta * h_y, h_z + beta * decoder);
        let apart = number(d.distance_bottleneck(gamma))?;
        let want = distance + gamma * (decoder - reverse) + (gamma - 1.) * encoding;
        equal("23", apart, want);
        if chain {
            let ib = number(d.information_bottleneck(beta))?;
            equal("IB", number(d.decoder_bottleneck(up))?, up * ib + h_y);
            equal("23, IB", apart, 2. / beta * ib + (1. + gamma) * h_y);
            let ceb = number(d.conditional_entropy_bottleneck(beta - 1.))?;
            equal("CEB", ceb, ib);
        }
    }
    if chain {
        equal("no leak", leaked, 0.);
        equal("2, 6", relevant, both + residual);
        equal("3, 7", preserved, both + redundant);
        equal("8", decoder, residual + label);
        equal("9", reverse, redundant + encoding);
        equal("10 as printed", lost + preserved, nuisance + both);
        equal("11", h_y, label + both + residual);
        equal("12", h_z, encoding + both + redundant);
        equal("15", residual, decoder - label);
        equal("16", redundant, reverse - encoding);
    }
    Ok(())
}

#[test]
fn the_signed_measure_adds_up() -> Result<()> {
    let mut rng = Rng::new(17);
    for dims in [[2, 2, 2], [3, 5, 4], [1, 4, 3], [20, 3, 30]] {
        identities(&Diagram::from_joint(&random(&mut rng, &dims)?)?, false)?;
    }
    for dims in [[1, 3, 2], [40, 7, 3], [600, 20, 10]] {
        let [p, soft, weights] = encoder(&mut rng, dims)?;
        let labels = soft.argmax(1)?;
        let labels = Targets::Labels {
            labels: &labels,
            classes: dims[2] + 1,
        };
        for targets in [labels, Targets::Probabilities(&soft)] {
            for weights in [None, Some(&weights)] {
                let diagram = Diagram::from_targets(&p, targets, weights)?;
                identities(&diagram, true)?;
            }
        }
    }
    Ok(())
}

/// An encoder gives what its table of `p(x) p(y|x) p(z|x)` gives.
#[test]
fn an_encoder_is_a_joint_table() -> Result<()> {
    let mut rng = Rng::new(3);
    let [p, soft, weights] = encoder(&mut rng, [9, 4, 3])?;
    let labels = soft.argmax(1)?;
    let one_hot = labels
        .unsqueeze(1)?
        .broadcast_eq(&Tensor::arange(0u32, 3, &Device::Cpu)?.unsqueeze(0)?)?
        .to_dtype(DType::F64)?;
    let hard = Targets::Labels {
        labels: &labels,
        classes: 3,
    };
    let cases = [(hard, &one_hot), (Targets::Probabilities(&soft), &soft)];
    for (targets, rows) in cases {
        let chain = Diagram::from_targets(&p, targets, Some(&weights))?;
        let joint = rows.unsqueeze(2)?.broadcast_mul(&p.unsqueeze(1)?)?;
        let joint = joint.broadcast_mul(&weights.reshape((9, 1, 1))?)?;
        let joint = Diagram::from_joint(&joint)?;
        let all = |d: &Diagram| -> Result<Vec<f64>> {
            [
                d.input_entropy(),
                d.label_entropy(),
                d.encoding_entropy(),
                d.label_uncertainty(),
                d.encoding_uncertainty(),
                d.decoder_uncertainty(),
                d.reverse_decoder_uncertainty(),
                d.nuisance(),
                d.lost_nuisance(),
                d.entropy_distance(),
                d.relevant(),
                d.preserved(),
                d.preserved_relevant(),
                d.residual(),
                d.redundant(),
                d.leaked(),
                d.interaction(),
            ]
            .into_iter()
            .map(number)
            .collect()
        };
        let pairs = all(&chain)?.into_iter().zip(all(&joint)?);
        for (i, (a, b)) in pairs.enumerate() {
            assert!((a - b).abs() < 1e-13, "{i}: {a} is not {b}");
        }
        let bits = number(chain.to_bits().preserved())? * LN_2;
        assert!((bits - number(chain.preserved())?).abs() < 1e-15);
        assert_eq!(
            (chain.unit(), chain.to_bits().unit()),
            (Unit::Nats, Unit::Bits)
        );
        let bits = number(chain.to_bits().information_bottleneck(3.))? * LN_2;
        assert!((bits - number(chain.information_bottleneck(3.))?).abs() < 1e-14);
    }
    Ok(())
}

/// The exclusive or: I[X;Y;Z] = -ln 2, and each pair says nothing.
#[test]
fn three_variables_may_share_less_than_nothing() -> Result<()> {
    let p = [[[0.25f64, 0.], [0., 0.25]], [[0., 0.25], [0.25, 0.]]];
    let diagram = Diagram::from_joint(&Tensor::new(&p, &Device::Cpu)?)?;
    assert!((number(diagram.interaction())? + LN_2).abs() < 1e-15);
    assert_eq!(number(diagram.relevant())?, 0.);
    assert!((number(diagram.residual())? - LN_2).abs() < 1e-15);
    Ok(())
}

/// Appendix A.4: X is even on [0, 0.1] and Z = X + R with a fair coin R. `H[Z] - H[Z|X]`, a differential entropy less a
/// discrete one, is ln 0.1 < 0, whatever the cells, while the table of the cells says that Z tells all of X.
#[test]
fn differences_of_different_entropies_are_no_information() -> Result<()> {
    for cells in [10usize, 100] {
        let half = 0.5 / cells as f64;
        let columns = Tensor::arange(0u32, 2 * cells as u32, &Device::Cpu)?;
        let rows = Tensor::arange(0u32, cells as u32, &Device::Cpu)?.unsqueeze(1)?;
        let below = columns.broadcast_eq(&rows)?;
        let above = columns.broadcast_eq(&(rows + cells as f64)?)?;
        let p = (below + above)?.to_dtype(DType::F64)?;
        let table = Table::new(&(p * half)?)?;
        let width = 0.1 / cells as f64;
        let differential = number(table.entropy(&[1]))? + width.ln();
        assert!((differential - 0.2f64.ln()).abs() < 1e-13);
        let naive = differential - number(table.conditional_entropy(&[1], &[0]))?;
        assert!((naive - 0.1f64.ln()).abs() < 1e-13 && naive < 0.);
        let information = number(table.mutual_information(&[0], &[1]))?;
        assert!((information - (cells as f64).ln()).abs() < 1e-13);
    }
    Ok(())
}

/// The plug-in estimate, by counting.
#[test]
fn tables_of_samples() -> Result<()> {
    let [a, b] = [[0u32, 1, 1, 0, 2, 2, 2, 0], [1, 0, 0, 1, 1, 0, 0, 0]];
    let b = b.map(|b| b as u8);
    let (a, b) = (
        Tensor::new(&a, &Device::Cpu)?,
        Tensor::new(&b, &Device::Cpu)?,
    );
    let table = Table::from_samples(&[(&a, 3), (&b, 3)])?;
    let counts = [[1f64, 2., 0.], [2., 0., 0.], [2., 1., 0.]];
    let want = Tensor::new(&counts, &Device::Cpu)?;
    let got = (table.probabilities() * 8.)?.to_vec2::<f64>()?;
    assert_eq!(got, want.to_vec2::<f64>()?);
    assert!(matches!(
        Table::from_samples(&[(&a, 2)]),
        Err(Error::Value {
            arg: "variables",
            ..
        })
    ));
    assert!(Table::from_samples(&[(&a, 3), (&b.narrow(0, 0, 7)?, 2)]).is_err());
    assert!(Table::from_samples(&[]).is_err());
    assert!(Table::from_samples(&[(&a.narrow(0, 0, 0)?, 3)]).is_err());
    assert!(Table::from_samples(&[(&a, usize::MAX), (&b, usize::MAX)]).is_err());
    Ok(())
}

/// Nearly independent: differences of entropies have no digit left.
#[test]
fn small_informations_keep_their_digits() -> Result<()> {
    let e = 1e-9;
    let p = [[0.25 + e, 0.25 - e], [0.25 - e, 0.25 + e]];
    let table = Table::new(&Tensor::new(&p, &Device::Cpu)?)?;
    // 8 e^2 + O(e^4)
    let got = number(table.mutual_information(&[0], &[1]))?;
    assert!((got / (8. * e * e) - 1.).abs() < 1e-6, "{got}");
    Ok(())
}

#[test]
fn gradients_of_tables() -> Result<()> {
    let x = Rng::new(5).normal((2, 3, 4), DType::F64, &Device::Cpu)?;
    let var = Var::from_tensor(&x)?;
    type Quantity = fn(&Table) -> Result<Tensor>;
    let quantities: [Quantity; 7] = [
        |t| t.entropy(&[0, 2]),
        |t| t.conditional_entropy(&[0, 1], &[2]),
        |t| t.mutual_information(&[0], &[1, 2]),
        |t| t.conditional_mutual_information(&[0], &[2], &[1]),
        |t| t.interaction_information(),
        |t| t.total_correlation(),
        |t| t.dual_total_correlation(),
    ];
    // Empty cells, of which the marginals move all the same.
    let held = Rng::new(7).uniform((2, 3, 4), DType::F64, &Device::Cpu)?;
    let held = held.ge(0.3)?.to_dtype(DType::F64)?;
    for quantity in quantities {
        differences(&var, 1e-8, &|| {
            let p = softmax(&var.flatten_all()?, 0)?.reshape((2, 3, 4))?;
            quantity(&Table::new(&p)?)
        })?;
        differences(&var, 1e-8, &|| {
            quantity(&Table::from_counts(&(var.exp()? * &held)?)?)
        })?;
        // Counts are divided by their sum, which has its own gradient.
        let n = Var::from_tensor(&x.exp()?)?;
        differences(&n, 1e-8, &|| quantity(&Table::from_counts(&n)?))?;
    }
    Ok(())
}

#[test]
fn gradients_of_diagrams() -> Result<()> {
    let mut rng = Rng::new(6);
    let [_, soft, weights] = encoder(&mut rng, [6, 4, 3])?;
    let labels = soft.argmax(1)?;
    let hard = Targets::Labels {
        labels: &labels,
        classes: 3,
    };
    let var = Var::from_tensor(&rng.normal((6, 4), DType::F64, &Device::Cpu)?)?;
    type Quantity = fn(&Diagram) -> Result<Tensor>;
    let quantities: [Quantity; 10] = [
        |d| d.encoding_entropy(),
        |d| d.encoding_uncertainty(),
        |d| d.decoder_uncertainty(),
        |d| d.reverse_decoder_uncertainty(),
        |d| d.preserved(),
        |d| d.residual(),
        |d| d.redundant(),
        |d| d.lost_nuisance(),
        |d| d.to_bits().information_bottleneck(3.),
        |d| d.distance_bottleneck(0.2),
    ];
    for targets in [hard, Targets::Probabilities(&soft)] {
        for weights in [None, Some(&weights)] {
            for quantity in quantities {
                differences(&var, 1e-8, &|| {
                    quantity(&Diagram::from_targets(
                        &softmax(&var, 1)?,
                        targets,
                        weights,
                    )?)
                })?;
            }
        }
    }
    // To the labels' probabilities and to the weights.
    let p = softmax(&var, 1)?.detach();
    let logits = Var::from_tensor(&soft.log()?)?;
    differences(&logits, 1e-8, &|| {
        let soft = softmax(&logits, 1)?;
        Diagram::from_targets(&p, Targets::Probabilities(&soft), None)?.residual()
    })?;
    let weights = Var::from_tensor(&weights)?;
    differences(&weights, 1e-8, &|| {
        Diagram::from_targets(&p, hard, Some(&weights))?.redundant()
    })
}

/// To the probabilities themselves, of which a softmax passes on differences alone.
#[test]
fn gradients_to_probabilities() -> Result<()> {
    let p = Var::new(&[[0.5f64, 0.], [0.25, 0.25]], &Device::Cpu)?;
    let of = |quantity: &dyn Fn(&Table) -> Result<Tensor>| -> Result<Vec<f64>> {
        let store = quantity(&Table::new(&p)?)?.backward()?;
        Ok(crate::support::flat(store.get(&p).expect("a gradient")))
    };
    let near = |got: Vec<f64>, want: [f64; 4]| {
        let pairs = got.iter().zip(want);
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-14), "{got:?}");
    };
    // -ln p - 1, and nothing at 0.
    near(
        of(&|t| t.entropy(&[0, 1]))?,
        [LN_2 - 1., 0., 2. * LN_2 - 1., 2. * LN_2 - 1.],
    );
    // -ln p(y|x)
    near(
        of(&|t| t.conditional_entropy(&[1], &[0]))?,
        [0., 1., LN_2, LN_2],
    );
    Ok(())
}

/// A softmax that underflows, in both precisions: all gradients are finite, and 0 is the limit of those to what has gone.
#[test]
fn gradients_at_empty_cells_are_finite() -> Result<()> {
    let far = [[0f64, -2000., -1.], [-2000., 0., -2000.], [0.5, -2000., 0.]];
    let labels = Tensor::new(&[0u32, 1, 0], &Device::Cpu)?;
    for dtype in [DType::F32, DType::F64] {
        let var = Var::from_tensor(&Tensor::new(&far, &Device::Cpu)?.to_dtype(dtype)?)?;
        let diagram = Diagram::from_encoder(&softmax(&var, 1)?, &labels, 4)?;
        for loss in [
            diagram.information_bottleneck(2.)?,
            diagram.deterministic_bottleneck(2.)?,
            diagram.conditional_entropy_bottleneck(1.)?,
            diagram.distance_bottleneck(0.5)?,
            diagram.lost_nuisance()?,
        ] {
            let store = loss.backward()?;
            let slopes = crate::support::flat(store.get(&var).expect("a gradient"));
            assert!(slopes.iter().all(|g| g.is_finite()), "{slopes:?}");
            assert!([1, 3, 5, 7].iter().all(|i| slopes[*i] == 0.), "{slopes:?}");
        }
    }
    Ok(())
}

/// Cells as small as numbers go.
#[test]
fn subnormal_cells() -> Result<()> {
    let p = Var::new(&[[1f64, 1e-310], [5e-324, 0.]], &Device::Cpu)?;
    let table = Table::new(&p)?;
    for quantity in [
        table.entropy(&[0, 1])?,
        table.conditional_entropy(&[0], &[1])?,
        table.mutual_information(&[0], &[1])?,
        table.total_correlation()?,
    ] {
        let value = quantity.to_scalar::<f64>()?;
        assert!((0. ..1e-300).contains(&value), "{value}");
        let store = quantity.backward()?;
        let slopes = crate::support::flat(store.get(&p).expect("a gradient"));
        assert!(slopes.iter().all(|g| g.is_finite()), "{slopes:?}");
    }
    Ok(())
}

/// Rows and columns in another order in memory, and many cells in single precision.
#[test]
fn strided_and_long_tables() -> Result<()> {
    let p = random(&mut Rng::new(8), &[4, 5, 3])?;
    let turned = p.permute((2, 0, 1))?;
    let (a, b) = (Table::new(&p)?, Table::new(&turned)?);
    let a = number(a.conditional_mutual_information(&[0], &[1], &[2]))?;
    let b = number(b.conditional_mutual_information(&[1], &[2], &[0]))?;
    assert!((a - b).abs() < 1e-15);
    let [p, soft, weights] = encoder(&mut Rng::new(9), [6, 4, 3])?;
    let want = Diagram::from_targets(&p, Targets::Probabilities(&soft), Some(&weights))?;
    let strided = |x: &Tensor| -> Result<Tensor> {
        let wide = Tensor::cat(&[x, x], 1)?.t()?.contiguous()?.t()?;
        Ok(wide.narrow(1, 0, x.dims()[1])?)
    };
    let (p, soft) = (strided(&p)?, strided(&soft)?);
    assert!(!p.is_contiguous() && !soft.is_contiguous());
    let got = Diagram::from_targets(&p, Targets::Probabilities(&soft), Some(&weights))?;
    for quantity in [Diagram::redundant, Diagram::residual, Diagram::preserved] {
        assert_eq!(number(quantity(&got))?, number(quantity(&want))?);
    }
    let n = 1 << 20;
    let even = Tensor::full(1f32 / n as f32, (1024, n / 1024), &Device::Cpu)?;
    let entropy = number(Table::new(&even)?.entropy(&[0, 1]))?;
    assert!((entropy - (n as f64).ln()).abs() < 1e-6, "{entropy}");
    Ok(())
}

#[test]
fn bad_tables_are_refused() -> Result<()> {
    let of = |p: &[f64]| Tensor::new(p, &Device::Cpu);
    fn refused<T: std::fmt::Debug>(result: Result<T>, argument: &str) {
        match result {
            Err(Error::Value { arg, .. } | Error::Shape { arg, .. } | Error::DType { arg, .. }) => {
                assert_eq!(arg, argument)
            }
            other => panic!("{other:?}"),
        }
    }
    for p in [
        of(&[0.5, 0.6])?,
        of(&[0.5, 0.4])?,
        of(&[1.5, -0.5])?,
        of(&[f64::NAN, 1.])?,
        of(&[f64::INFINITY, 0.])?,
        of(&[])?,
        Tensor::new(1f64, &Device::Cpu)?,
        Tensor::new(&[1u32], &Device::Cpu)?,
        of(&[0.5, 0.5 + 1e-6])?,
    ] {
        refused(Table::new(&p), "p");
    }
    Table::new(&of(&[0.5, 0.5 + 1e-6])?.to_dtype(DType::F32)?)?;
    for n in [
        of(&[0., 0.])?,
        of(&[2., -1.])?,
        of(&[f64::NAN])?,
        of(&[])?,
        Tensor::new(3f64, &Device::Cpu)?,
    ] {
        refused(Table::from_counts(&n), "n");
    }
    assert_eq!(
        Table::from_counts(&Tensor::new(&[3u32, 1], &Device::Cpu)?)?.dtype(),
        DType::F64
    );
    let table = Table::new(&random(&mut Rng::new(1), &[2, 3])?)?;
    refused(table.entropy(&[2]), "of");
    refused(table.entropy(&[]), "of");
    refused(table.conditional_entropy(&[0], &[0]), "given");
    refused(table.mutual_information(&[0, 0], &[1]), "a");
    refused(table.mutual_information(&[0], &[]), "b");
    refused(table.marginal(&[5]), "axes");
    refused(Diagram::from_joint(table.probabilities()), "p");
    refused(Diagram::from_counts(table.probabilities()), "n");
    let many = Table::new(&Tensor::ones(vec![1; 17], DType::F64, &Device::Cpu)?)?;
    refused(many.interaction_information(), "p");

    let [p, soft, weights] = encoder(&mut Rng::new(2), [3, 2, 2])?;
    let labels = Tensor::new(&[0u32, 1, 1], &Device::Cpu)?;
    let arg = "p_z_given_x";
    refused(Diagram::from_encoder(&(&p * 1.1)?, &labels, 2), arg);
    refused(Diagram::from_encoder(&p.flatten_all()?, &labels, 2), arg);
    let none = Tensor::zeros((0, 2), DType::F64, &Device::Cpu)?;
    refused(
        Diagram::from_encoder(&none, &labels.narrow(0, 0, 0)?, 2),
        arg,
    );
    refused(Diagram::from_encoder(&p, &labels, 1), "labels");
    refused(Diagram::from_encoder(&p, &labels, 0), "classes");
    refused(
        Diagram::from_encoder(&p, &labels.narrow(0, 0, 2)?, 2),
        "labels",
    );
    refused(
        Diagram::from_encoder(&p, &labels.to_dtype(DType::F64)?, 2),
        "labels",
    );
    let soft_targets =
        |soft: &Tensor| Diagram::from_targets(&p, Targets::Probabilities(soft), None);
    refused(soft_targets(&(&soft * 0.9)?), "p_y_given_x");
    refused(soft_targets(&soft.narrow(0, 0, 2)?), "p_y_given_x");
    refused(soft_targets(&soft.to_dtype(DType::F32)?), "p_y_given_x");
    let weighted = |w: &Tensor| Diagram::from_targets(&p, Targets::Probabilities(&soft), Some(w));
    refused(weighted(&(&weights * 0.)?), "weights");
    refused(weighted(&weights.narrow(0, 0, 2)?), "weights");
    refused(weighted(&(weights - 1.)?), "weights");
    refused(
        Diagram::from_encoder(&p, &labels, 2)?.information_bottleneck(f64::NAN),
        "beta",
    );
    Ok(())
}
