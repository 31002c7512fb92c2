//! Codes out of C categories: decoders, their costs and gradients; ensembles.

use crate::support::{differences, flat};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::information::{
    CategoricalDecoder, Diagram, LaggedDecoder, Targets, ensemble_uncertainty, optimal_decoder,
};
use candle_prob::special::{log_softmax, softmax};
use candle_prob::{Detach, Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn normal(rng: &mut Rng, n: usize, k: usize) -> Result<Tensor> {
    Ok((rng.normal((n, k), DType::F64, CPU)? * 1.5)?)
}

fn number(x: Result<Tensor>) -> Result<f64> {
    Ok(x?.to_dtype(DType::F64)?.to_scalar()?)
}

fn close(a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within, "{a} is not {b}");
}

/// The sums that define decoders and costs, written out.
#[test]
fn costs_by_their_definitions() -> Result<()> {
    let (n, c, l) = (7, 4, 3);
    let mut rng = Rng::new(2);
    let encoder = softmax(&normal(&mut rng, n, c)?, 1)?;
    let soft = softmax(&normal(&mut rng, n, l)?, 1)?;
    let weights = softmax(&normal(&mut rng, 1, n)?, 1)?.squeeze(0)?;
    let logits = normal(&mut rng, c, l)?;
    let labels = soft.argmax(1)?;
    let hard = Targets::Labels {
        labels: &labels,
        classes: l,
    };
    let classes = labels.to_vec1::<u32>()?;
    let one_hot = classes
        .iter()
        .flat_map(|y| (0..l).map(move |k| f64::from(u8::from(k == *y as usize))));
    let one_hot = Tensor::from_vec(one_hot.collect::<Vec<_>>(), (n, l), CPU)?;
    let even = Tensor::full(1. / n as f64, n, CPU)?;
    let given = CategoricalDecoder::from_log_probs(&log_softmax(&logits, 1)?)?;
    for (targets, rows) in [(hard, &one_hot), (Targets::Probabilities(&soft), &soft)] {
        for given_weights in [None, Some(&weights)] {
            let p_x = flat(given_weights.unwrap_or(&even));
            let [p, q] = [&encoder, rows].map(|x| x.to_vec2::<f64>().unwrap());
            let joint =
                |y: usize, z: usize| -> f64 { (0..n).map(|x| p_x[x] * q[x][y] * p[x][z]).sum() };
            let of_code = |z: usize| -> f64 { (0..l).map(|y| joint(y, z)).sum() };
            let best = optimal_decoder(&encoder, targets, given_weights)?.to_vec2::<f64>()?;
            for (z, row) in best.iter().enumerate() {
                for (y, got) in row.iter().enumerate() {
                    close(*got, joint(y, z) / of_code(z), 1e-14);
                }
            }
            let optimal = CategoricalDecoder::optimal(&encoder, targets, given_weights)?;
            let from_rows = CategoricalDecoder::new(&Tensor::new(best, CPU)?)?;
            for decoder in [&given, &optimal, &from_rows] {
                let d = decoder.probabilities()?.to_vec2::<f64>()?;
                let predict =
                    |x: usize, y: usize| -> f64 { (0..c).map(|z| p[x][z] * d[z][y]).sum() };
                let (mut by_code, mut by_input, mut right) = (0., 0., 0.);
                for x in 0..n {
                    for y in 0..l {
                        let here = p_x[x] * q[x][y];
                        let each = (0..c).map(|z| p[x][z] * d[z][y].ln());
                        by_code -= here * each.sum::<f64>();
                        by_input -= here * predict(x, y).ln();
                        right += here * predict(x, y);
                    }
                }
                let cost = number(decoder.decoder_cross_entropy(&encoder, targets, given_weights))?;
                let prediction = decoder.prediction_cross_entropy(&encoder, targets, given_weights);
                let prediction = number(prediction)?;
                let error = number(decoder.error_probability(&encoder, targets, given_weights))?;
                close(cost, by_code, 1e-13);
                close(prediction, by_input, 1e-13);
                close(error, 1. - right, 1e-13);
                let rows = decoder.predict(&encoder)?.to_vec2::<f64>()?;
                close(rows[n - 1][l - 1], predict(n - 1, l - 1), 1e-15);
                // Observations 2, 3 and 4.
                assert!(prediction < cost);
                assert!(error < 1. - (-prediction).exp() && prediction < cost);
                let diagram = Diagram::from_targets(&encoder, targets, given_weights)?;
                let least = number(diagram.decoder_uncertainty())?;
                assert!(least <= cost + 1e-14);
                if !std::ptr::eq(decoder, &given) {
                    close(cost, least, 1e-13);
                }
            }
        }
    }
    // A deterministic encoder: equality in Observation 2.
    let sure = Tensor::new(
        &[[1f64, 0., 0., 0.], [0., 0., 1., 0.], [1., 0., 0., 0.]],
        CPU,
    )?;
    let labels = Tensor::new(&[0u32, 1, 2], CPU)?;
    let targets = Targets::Labels {
        labels: &labels,
        classes: l,
    };
    let a = number(given.decoder_cross_entropy(&sure, targets, None))?;
    let b = number(given.prediction_cross_entropy(&sure, targets, None))?;
    close(a, b, 1e-15);
    Ok(())
}

/// Appendix A.3: the gradient of `H[Y|Z]` is `p(x) E_{p(y|x)} h(p(y|z))` to `p(z|x)`, with or without one through the decoder.
#[test]
fn the_gradient_of_the_decoder_uncertainty() -> Result<()> {
    let (n, c, l) = (6, 4, 3);
    let mut rng = Rng::new(3);
    let logits = Var::from_tensor(&normal(&mut rng, n, c)?)?;
    let soft = softmax(&normal(&mut rng, n, l)?, 1)?;
    let targets = Targets::Probabilities(&soft);
    let gradient = |loss: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Vec<f64>> {
        let store = loss(&softmax(&logits, 1)?)?.backward()?;
        Ok(flat(store.get(&logits).expect("a gradient")))
    };
    let whole = gradient(&|p| Diagram::from_targets(p, targets, None)?.decoder_uncertainty())?;
    let through = gradient(&|p| {
        CategoricalDecoder::optimal(p, targets, None)?.decoder_cross_entropy(p, targets, None)
    })?;
    let fixed = gradient(&|p| {
        let decoder = CategoricalDecoder::optimal(p, targets, None)?.detach();
        decoder.decoder_cross_entropy(p, targets, None)
    })?;
    // The formula itself.
    let p = softmax(&logits, 1)?.detach();
    let cost = optimal_decoder(&p, targets, None)?.log()?.neg()?;
    let cost = (soft.matmul(&cost.t()?)? / n as f64)?;
    let formula = gradient(&|p| Ok((p * &cost)?.sum_all()?))?;
    for (i, want) in formula.iter().enumerate() {
        for got in [&whole, &through, &fixed] {
            close(got[i], *want, 1e-14);
        }
    }
    differences(&logits, 1e-8, &|| {
        Diagram::from_targets(&softmax(&logits, 1)?, targets, None)?.decoder_uncertainty()
    })
}

#[test]
fn gradients_of_costs() -> Result<()> {
    let (n, c, l) = (5, 4, 3);
    let mut rng = Rng::new(4);
    let encoder = Var::from_tensor(&normal(&mut rng, n, c)?)?;
    let decoder = Var::from_tensor(&normal(&mut rng, c, l)?)?;
    let soft = softmax(&normal(&mut rng, n, l)?, 1)?;
    let labels = soft.argmax(1)?;
    let hard = Targets::Labels {
        labels: &labels,
        classes: l,
    };
    type Cost = fn(&CategoricalDecoder, &Tensor, Targets) -> Result<Tensor>;
    let costs: [Cost; 3] = [
        |d, p, t| d.decoder_cross_entropy(p, t, None),
        |d, p, t| d.prediction_cross_entropy(p, t, None),
        |d, p, t| d.error_probability(p, t, None),
    ];
    for targets in [hard, Targets::Probabilities(&soft)] {
        for cost in costs {
            let of = || {
                let rows = log_softmax(&decoder, 1)?;
                let decoder = CategoricalDecoder::from_log_probs(&rows)?;
                cost(&decoder, &softmax(&encoder, 1)?, targets)
            };
            differences(&encoder, 1e-8, &of)?;
            differences(&decoder, 1e-8, &of)?;
        }
    }
    Ok(())
}

/// Two epochs of two batches: the decoder is that of the whole epoch before.
#[test]
fn a_lagged_decoder_is_the_last_epochs() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let within = if dtype == DType::F64 { 1e-15 } else { 1e-7 };
        let mut rng = Rng::new(5);
        let labels = Tensor::new(&[0u32, 2, 1, 1, 0, 2, 2], CPU)?;
        let mut lagged = LaggedDecoder::new(4, 3, dtype, CPU)?;
        let mut before = Tensor::full(1. / 3., (4, 3), CPU)?;
        for _epoch in 0..2 {
            let all = softmax(&normal(&mut rng, 7, 4)?, 1)?.to_dtype(dtype)?;
            for (from, len) in [(0, 5), (5, 2)] {
                let labels = labels.narrow(0, from, len)?;
                let targets = Targets::Labels {
                    labels: &labels,
                    classes: 3,
                };
                lagged.observe(&all.narrow(0, from, len)?, targets)?;
                let held = lagged.decoder().probabilities()?;
                assert_eq!(held.dtype(), dtype);
                for (a, b) in flat(&held).iter().zip(flat(&before)) {
                    close(*a, b, within);
                }
            }
            lagged.end_epoch()?;
            let targets = Targets::Labels {
                labels: &labels,
                classes: 3,
            };
            before = optimal_decoder(&all, targets, None)?;
        }
        let last = flat(&lagged.decoder().probabilities()?);
        for (a, b) in last.iter().zip(flat(&before)) {
            close(*a, b, within);
        }
        let targets = Targets::Labels {
            labels: &labels,
            classes: 3,
        };
        let all = softmax(&normal(&mut rng, 7, 4)?, 1)?.to_dtype(dtype)?;
        let mut smooth = LaggedDecoder::new(4, 3, dtype, CPU)?.smoothed(1.5)?;
        for lagged in [&mut lagged, &mut smooth] {
            lagged.observe(&all, targets)?;
            lagged.end_epoch()?;
            let known = lagged.table().expect("an epoch");
            let least = known.conditional_entropy(&[0], &[1]);
            let want = Diagram::from_encoder(&all, &labels, 3)?.decoder_uncertainty();
            close(number(least)?, number(want)?, 2. * within);
        }
        // A code that did not occur says what the labels say.
        let first = Tensor::ones((7, 1), dtype, CPU)?.pad_with_zeros(1, 0, 3)?;
        let mut sure = LaggedDecoder::new(4, 3, dtype, CPU)?;
        sure.observe(&first, targets)?;
        sure.end_epoch()?;
        for row in flat(&sure.decoder().probabilities()?).chunks(3) {
            for (p, count) in row.iter().zip([2., 2., 3.]) {
                close(*p, count / 7., within);
            }
        }
        // (m(y, z) + a p(y)) / (m(z) + a)
        let p = all.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let y = labels.to_vec1::<u32>()?;
        let mass = |class: u32| -> f64 { (0..7).filter(|x| y[*x] == class).map(|x| p[x][2]).sum() };
        let whole = mass(0) + mass(1) + mass(2) + 1.5;
        let got = flat(&smooth.decoder().probabilities()?);
        close(got[2 * 3 + 1], (mass(1) + 1.5 * 2. / 7.) / whole, within);
        assert!(LaggedDecoder::new(1, 1, dtype, CPU)?.smoothed(-1.).is_err());
        assert!(matches!(
            lagged.end_epoch(),
            Err(Error::Value { arg: "epoch", .. })
        ));
    }
    Ok(())
}

#[test]
fn bad_decoders_are_refused() -> Result<()> {
    fn refused<T: std::fmt::Debug>(result: Result<T>, argument: &str) {
        match result {
            Err(Error::Value { arg, .. } | Error::Shape { arg, .. } | Error::DType { arg, .. }) => {
                assert_eq!(arg, argument)
            }
            other => panic!("{other:?}"),
        }
    }
    let rows = Tensor::new(&[[0.5f64, 0.5], [0.2, 0.8], [1., 0.]], CPU)?;
    refused(CategoricalDecoder::new(&(&rows * 1.1)?), "p_y_given_z");
    refused(CategoricalDecoder::new(&rows.get(0)?), "p_y_given_z");
    refused(CategoricalDecoder::from_log_probs(&rows), "log_p");
    let decoder = CategoricalDecoder::new(&rows)?;
    let encoder = Tensor::new(&[[0.5f64, 0.5, 0.], [0., 0.1, 0.9]], CPU)?;
    let labels = Tensor::new(&[1u32, 0], CPU)?;
    let targets = |classes| Targets::Labels {
        labels: &labels,
        classes,
    };
    let cost = |p: &Tensor, classes| decoder.decoder_cross_entropy(p, targets(classes), None);
    refused(cost(&encoder, 3), "targets");
    refused(cost(&encoder.narrow(1, 0, 2)?, 2), "p_z_given_x");
    refused(cost(&encoder.to_dtype(DType::F32)?, 2), "p_z_given_x");
    refused(decoder.predict(&(&encoder * 2.)?), "p_z_given_x");
    // A label without a probability, in a code that occurs: an infinite cost. No cost where the code does not.
    // Half of the first sample's codes cost -ln 0.5, half -ln 0.8; of the second's a tenth -ln 0.2, the others nothing.
    let want = -(0.5 * 0.5f64.ln() + 0.5 * 0.8f64.ln() + 0.1 * 0.2f64.ln()) / 2.;
    close(number(cost(&encoder, 2))?, want, 1e-15);
    let wrong = Tensor::new(&[[0.5f64, 0.4, 0.1], [0., 0.1, 0.9]], CPU)?;
    assert_eq!(number(cost(&wrong, 2))?, f64::INFINITY);
    Ok(())
}

#[test]
fn ensembles_part_what_is_not_known() -> Result<()> {
    let logits = Rng::new(6).normal((5, 2, 3, 4), DType::F64, CPU)?;
    let var = Var::from_tensor(&(logits * 2.)?)?;
    let split = ensemble_uncertainty(&softmax(&var, 3)?)?;
    let [total, members, noise] = [&split.total, &split.members, &split.noise].map(flat);
    assert_eq!(split.members.dims(), [2, 3]);
    for i in 0..6 {
        close(total[i], members[i] + noise[i], 1e-14);
        assert!(members[i] > 0.);
    }
    // By the tables: H[Z|x] is the entropy of the mean.
    let p = softmax(&var, 3)?.mean(0)?.get(1)?.get(2)?;
    close(
        total[5],
        -flat(&p).iter().map(|p| p * p.ln()).sum::<f64>(),
        1e-14,
    );
    differences(&var, 1e-8, &|| {
        Ok(ensemble_uncertainty(&softmax(&var, 3)?)?.total)
    })?;
    differences(&var, 1e-8, &|| {
        Ok(ensemble_uncertainty(&softmax(&var, 3)?)?.members)
    })?;
    differences(&var, 1e-8, &|| {
        Ok(ensemble_uncertainty(&softmax(&var, 3)?)?.noise)
    })?;
    // One member knows all that the ensemble does.
    let one = ensemble_uncertainty(&softmax(&var.narrow(0, 0, 1)?, 3)?)?;
    assert!(flat(&one.members).iter().all(|x| *x == 0.));
    assert!(ensemble_uncertainty(&var).is_err());
    assert!(ensemble_uncertainty(&softmax(&var, 3)?.get(0)?.get(0)?.get(0)?).is_err());
    Ok(())
}
