//! Euclidean pairs, conditional, mixed and labelled informations, divergences.

use super::*;
use candle_prob::information::knn::{
    conditional_mutual_information, kl_divergence, label_mutual_information,
    mixed_mutual_information,
};

fn rng() -> Rng {
    Rng::new(0)
}

fn cmi(x: &Tensor, y: &Tensor, z: &Tensor, config: &KnnConfig) -> Result<Estimate> {
    conditional_mutual_information(x, y, z, config, &mut rng())
}

fn mixed(x: &Tensor, y: &Tensor, config: &KnnConfig) -> Result<Estimate> {
    mixed_mutual_information(x, y, config, &mut rng())
}

fn labelled(x: &Tensor, labels: &[u32], config: &KnnConfig) -> Result<Estimate> {
    let labels = Tensor::new(labels, &Device::Cpu)?;
    label_mutual_information(x, &labels, config, &mut rng())
}

fn kl(p: &Tensor, q: &Tensor, config: &KnnConfig) -> Result<Estimate> {
    kl_divergence(p, q, config, &mut rng())
}

/// The class of each number: how many thresholds it has reached.
fn classes(x: &Tensor, thresholds: &[f64]) -> Result<Vec<u32>> {
    let x: Vec<f64> = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let class = |x: &f64| thresholds.iter().filter(|t| x >= t).count() as u32;
    Ok(x.iter().map(class).collect())
}

fn normal(n: usize, dims: usize, rng: &mut Rng) -> Result<Tensor> {
    rng.normal((n, dims), DType::F64, &Device::Cpu)
}

fn column(numbers: &[f64]) -> Result<Tensor> {
    Ok(Tensor::new(numbers, &Device::Cpu)?.unsqueeze(1)?)
}

#[test]
fn estimates_are_those_of_the_formulas() -> Result<()> {
    let samples = samples();
    for case in cases(&samples, "conditional") {
        for [x, y] in both(&data(&samples, &case["name"])?)? {
            let (x, z) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
            let got = cmi(&x, &y, &z, &with_k(case))?;
            meets("conditional", got.nats, &case["nats"]);
            assert_eq!(got.dims, [1, 3, 1]);
            let turned = cmi(&y, &x, &z, &with_k(case))?;
            assert!((got.nats - turned.nats).abs() <= 1e-12);
        }
    }
    for case in cases(&samples, "ross") {
        for [x, y] in both(&data(&samples, &case["name"])?)? {
            let labels = classes(&x.narrow(1, 0, 1)?, &[-0.5, 0.5])?;
            for (name, metric) in METRICS {
                let config = KnnConfig {
                    metric,
                    ..with_k(case)
                };
                meets(name, labelled(&y, &labels, &config)?.nats, &case[name]);
            }
        }
    }
    for case in cases(&samples, "kl") {
        let q = both(&data(&samples, &case["q"])?)?;
        for ([p, _], q) in both(&data(&samples, &case["p"])?)?.into_iter().zip(q) {
            let q = Tensor::cat(&q, 1)?;
            for (name, metric) in METRICS {
                let config = KnnConfig {
                    metric,
                    ..with_k(case)
                };
                meets(name, kl(&p, &q, &config)?.nats, &case[name]);
            }
        }
    }
    for case in cases(&samples, "mixed") {
        for [x, y] in both(&data(&samples, &case["name"])?)? {
            let x = match case["x"].as_str() {
                Some("negative to zero") => x.relu()?,
                _ => x,
            };
            let y = match case["y"].as_str() {
                Some("floor") => y.floor()?,
                _ => y,
            };
            let got = mixed(&x, &y, &with_k(case))?;
            meets("mixed", got.nats, &case["nats"]);
            let turned = mixed(&y, &x, &with_k(case))?;
            assert!((got.nats - turned.nats).abs() <= 1e-12);
        }
    }
    Ok(())
}

fn distance(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    match metric {
        Metric::Euclidean => gaps.map(|gap| gap * gap).sum::<f64>().sqrt(),
        Metric::Manhattan => gaps.sum(),
        Metric::Chebyshev => gaps.fold(0., f64::max),
    }
}

/// Both forms by plain loops, with digammas of whole numbers as sums.
fn plain_ksg(x: &[Vec<f64>], y: &[Vec<f64>], k: usize, metric: Metric) -> [f64; 2] {
    let psi = |n: usize| (1..n).map(|i| 1. / i as f64).sum::<f64>() - 0.577_215_664_901_532_9;
    let n = x.len();
    let mut sums = [0.; 2];
    for i in 0..n {
        let others = (0..n).filter(|j| *j != i);
        let apart = |j: usize| {
            [
                distance(metric, &x[i], &x[j]),
                distance(metric, &y[i], &y[j]),
            ]
        };
        let pairs: Vec<[f64; 2]> = others.map(apart).collect();
        let mut sorted = pairs.clone();
        sorted.sort_by(|a, b| a[0].max(a[1]).total_cmp(&b[0].max(b[1])));
        let radius = sorted[k - 1][0].max(sorted[k - 1][1]);
        for space in 0..2 {
            let box_radius = sorted[..k].iter().map(|p| p[space]).fold(0., f64::max);
            let closer = pairs.iter().filter(|p| p[space] < radius).count();
            let inside = pairs.iter().filter(|p| p[space] <= box_radius).count();
            sums[0] += psi(closer + 1) / n as f64;
            sums[1] += psi(inside) / n as f64;
        }
    }
    [
        psi(k) + psi(n) - sums[0],
        psi(k) - 1. / k as f64 + psi(n) - sums[1],
    ]
}

/// In max-norm a search of the joint space, else of candidates: more of them the more unlike the dimensions are.
#[test]
fn every_metric_of_two_spaces_is_that_of_a_plain_loop() -> Result<()> {
    let mut rng = rng();
    for (n, dims_x, dims_y) in [(60, 3, 2), (200, 1, 9), (7, 2, 2), (90, 2, 1)] {
        let x = normal(n, dims_x, &mut rng)?;
        let near = x.narrow(1, 0, 1)?.broadcast_as((n, dims_y))?;
        let y = (normal(n, dims_y, &mut rng)? + near)?;
        let rows = [x.to_vec2::<f64>()?, y.to_vec2::<f64>()?];
        for metric in [Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev] {
            for k in [1, 4] {
                let want = plain_ksg(&rows[0], &rows[1], k, metric);
                let config = KnnConfig {
                    k,
                    metric,
                    ..CONFIG
                };
                for (form, want) in [Ksg::First, Ksg::Second].into_iter().zip(want) {
                    let got = ksg(&x, &y, form, &config)?.nats;
                    assert!((got - want).abs() < 1e-11, "{metric:?} {k}: {got} {want}");
                }
            }
        }
    }
    // All at one place.
    let same = Tensor::zeros((30, 2), DType::F64, &Device::Cpu)?;
    let config = KnnConfig {
        metric: Metric::Euclidean,
        ..CONFIG
    };
    assert!(ksg(&same, &same, Ksg::First, &config)?.nats.is_finite());
    Ok(())
}

/// `x = z + a`, `y = z + b` have no information of each other under z; `y = x + z + b` has `ln(2) / 2`.
#[test]
fn a_condition_takes_away_what_it_explains() -> Result<()> {
    let mut rng = Rng::new(1);
    let config = KnnConfig {
        shuffles: 15,
        ..CONFIG
    };
    let mut next = || normal(500, 1, &mut rng);
    let (z, a, b) = (next()?, next()?, next()?);
    let x = (&z + a)?;
    let apart = cmi(&x, &(&z + &b)?, &z, &config)?;
    let null = apart.null.unwrap();
    assert!((apart.nats - null.mean).abs() < 3. * null.sd, "{apart}");
    assert!(apart.nats.abs() < 0.1 && null.mean.abs() < 0.1, "{apart}");
    // Without the condition they have ln(4/3) / 2.
    let without = ksg(&x, &(&z + &b)?, Ksg::First, &CONFIG)?;
    assert!((without.nats - 0.1438).abs() < 0.1, "{without}");
    let bound = cmi(&x, &((&x + &z)? + b)?, &z, &config)?;
    let null = bound.null.unwrap();
    assert!((bound.nats - 0.5 * 2f64.ln()).abs() < 0.1, "{bound}");
    assert!(bound.nats > null.mean + 3. * null.sd, "{bound}");
    assert_eq!(bound.warnings, []);
    // Of what follows z closely little is left, and the null is as short of it.
    let noise = |seed| normal(500, 1, &mut Rng::new(seed));
    let near = |seed| -> Result<Tensor> { Ok((&z + (noise(seed)? * 0.1)?)?) };
    let close = cmi(&near(8)?, &near(9)?, &z, &config)?;
    let null = close.null.unwrap();
    assert!((close.nats - null.mean).abs() < 3. * null.sd, "{close}");
    Ok(())
}

/// What discrete variables that repeat have is the plug-in estimate, nearly.
#[test]
fn mixtures_have_their_information() -> Result<()> {
    // 4 symbols, 100 times each, y their parity: ln 2 nats.
    let symbols: Vec<f64> = (0..400).map(|n| f64::from(n % 4)).collect();
    let parity: Vec<f64> = symbols.iter().map(|x| x % 2.).collect();
    let (x, y) = (column(&symbols)?, column(&parity)?);
    let found = mixed(&x, &y, &CONFIG)?;
    assert!((found.nats - 2f64.ln()).abs() < 5e-3, "{found}");
    assert_eq!((found.ties, found.warnings.as_slice()), (1., [].as_slice()));
    // A constant says nothing: ln N - psi(N).
    let nothing = mixed(&x, &x.zeros_like()?, &CONFIG)?.nats;
    assert!(nothing.abs() < 2e-3, "{nothing}");
    // Half of x is drawn with y, half is 0 whatever y is: an atom beside a density.
    let mut rng = Rng::new(2);
    let [a, b] = correlated(4000, 0.9, &mut rng)?;
    let kept = rng.uniform((4000, 1), DType::F64, &Device::Cpu)?.gt(0.5)?;
    let kept = kept.to_dtype(DType::F64)?;
    // x tells whether it was kept, y does not: I = I(kept) / 2.
    let found = mixed(&(&a * &kept)?, &b, &CONFIG)?;
    assert!((found.nats - 0.5 * 0.8304).abs() < 0.05, "{found}");
    // Of untied samples it is the first form with ln N for psi(N).
    let [x, y] = correlated(100, 0.5, &mut rng)?;
    let form = ksg(&x, &y, Ksg::First, &CONFIG)?.nats;
    let psi = 100f64.ln() - 1. / 200. - 1. / 120_000.;
    let found = mixed(&x, &y, &CONFIG)?;
    assert!((found.nats - form - (100f64.ln() - psi)).abs() < 1e-9);
    let config = KnnConfig {
        shuffles: 20,
        ..CONFIG
    };
    let null = mixed(&x, &y, &config)?.null.unwrap();
    assert!(null.mean.abs() < 0.1 && null.sd < 0.15, "{null:?}");
    Ok(())
}

#[test]
fn classes_tell_at_most_their_entropy() -> Result<()> {
    let mut rng = Rng::new(3);
    let x = normal(300, 2, &mut rng)?;
    // Far apart: all of it.
    let labels: Vec<u32> = (0..300).map(|n| n % 3).collect();
    let shift = Tensor::new(labels.as_slice(), &Device::Cpu)?.to_dtype(DType::F64)?;
    let apart = x.broadcast_add(&(shift * 100.)?.unsqueeze(1)?)?;
    let found = labelled(&apart, &labels, &CONFIG)?;
    let entropy = 3f64.ln();
    assert!(
        found.nats > entropy && found.nats < entropy + 2. / 300.,
        "{found}"
    );
    assert!((found.clamped() - entropy).abs() < 1e-12);
    match found.warnings.as_slice() {
        [Warning::AboveEntropy(told)] => assert!((told - entropy).abs() < 1e-12),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        (found.samples, found.dims.as_slice()),
        (300, [2, 0].as_slice())
    );
    // Not at all: like shuffled ones. Error rate of three standard deviations: 0.3%, one seed.
    let config = KnnConfig {
        shuffles: 30,
        ..CONFIG
    };
    let found = labelled(&x, &labels, &config)?;
    let null = found.null.unwrap();
    assert!((found.nats - null.mean).abs() < 3. * null.sd, "{found}");
    assert!(found.clamped() >= 0. && null.mean.abs() < 0.05, "{found}");
    // Whatever the order of the samples and the names of the classes.
    let want = labelled(&apart, &labels, &CONFIG)?.nats;
    let order = rng.permutation(300);
    let index: Vec<u32> = order.iter().map(|n| *n as u32).collect();
    let moved = apart.index_select(&Tensor::new(index, &Device::Cpu)?, 0)?;
    let renamed: Vec<u32> = order
        .iter()
        .map(|n| [7, 0, u32::MAX][labels[*n] as usize])
        .collect();
    assert!((labelled(&moved, &renamed, &CONFIG)?.nats - want).abs() <= 1e-12);
    Ok(())
}

#[test]
fn classes_with_few_samples_are_told() -> Result<()> {
    let x = normal(20, 1, &mut rng())?;
    let mut labels: Vec<u32> = (0..20).map(|n| n % 2).collect();
    labels[0] = 8;
    labels[1] = 9;
    labels[2] = 5;
    labels[3] = 5;
    let found = labelled(&x, &labels, &CONFIG)?;
    assert_eq!(found.samples, 18);
    assert_eq!(
        found.warnings,
        [Warning::Alone(2), Warning::SmallClasses(1)]
    );
    // Who is alone changes nothing.
    let kept = labelled(&x.narrow(0, 2, 18)?, &labels[2..], &CONFIG)?;
    assert_eq!(found.nats, kept.nats);
    refused(labelled(&x, &[1; 20], &CONFIG), "labels");
    let each: Vec<u32> = (0..20).collect();
    refused(labelled(&x, &each, &CONFIG), "labels");
    let mut one = vec![0; 20];
    one[3] = 1;
    refused(labelled(&x, &one, &CONFIG), "labels");
    refused(labelled(&x, &labels[1..], &CONFIG), "labels");
    refused(labelled(&x, &labels, &KnnConfig { k: 18, ..CONFIG }), "k");
    let wrong = label_mutual_information(&x, &x.flatten_all()?, &CONFIG, &mut rng());
    refused(wrong, "labels");
    Ok(())
}

/// Rows that repeat, points at one place, whole numbers: never NaN, and of independent classes about 0.
#[test]
fn ties_of_all_estimates_are_told_and_never_not_a_number() -> Result<()> {
    let mut rng = Rng::new(5);
    let x = normal(400, 1, &mut rng)?;
    let labels: Vec<u32> = (0..400).map(|n| n / 200).collect();
    let whole = (&x * 2.)?.round()?;
    let halves = [x.narrow(0, 0, 100)?, x.narrow(0, 100, 100)?];
    let twice = Tensor::cat(&[&halves[0], &halves[0], &halves[1], &halves[1]], 0)?;
    for x in [&whole, &x.zeros_like()?, &twice] {
        let found = labelled(x, &labels, &CONFIG)?;
        // Rows that repeat do so in their class.
        let most = if std::ptr::eq(x, &twice) { 0.3 } else { 0.06 };
        assert!(found.nats.abs() < most, "{found}");
        assert!(
            found.warnings.contains(&Warning::Ties(found.ties)),
            "{found}"
        );
        assert!(cmi(x, &twice, x, &CONFIG)?.nats.is_finite());
        assert!(mixed(x, &twice, &CONFIG)?.nats.is_finite());
        let same = kl(x, x, &CONFIG)?;
        assert!(same.nats.abs() < 0.5, "{same}");
        assert!(same.warnings.contains(&Warning::Ties(same.ties)));
    }
    // Samples of a law with points: the ratio of their probabilities, 3/4 ln(3/2) + 1/4 ln(1/2).
    let p: Vec<f64> = (0..400).map(|n| f64::from(u8::from(n % 4 == 0))).collect();
    let q: Vec<f64> = (0..400).map(|n| f64::from(u8::from(n % 2 == 0))).collect();
    let found = kl(&column(&p)?, &column(&q)?, &CONFIG)?;
    assert!((found.nats - 0.130_812).abs() < 5e-3, "{found}");
    // Exactly that of counts, without the sample itself.
    let of = |n: f64, of_p: f64| n / 400. * ((of_p - 1.) / 200.).ln();
    let exact = of(300., 300.) + of(100., 100.) + (400f64 / 399.).ln();
    assert!((found.nats - exact).abs() < 1e-12, "{found}");
    // A point of p that q does not have, and one of q that p has once.
    let point = kl(&x.zeros_like()?, &x, &CONFIG)?;
    assert_eq!(point.nats, f64::INFINITY);
    let met = kl(&x, &Tensor::cat(&[&halves[0]; 4], 0)?, &CONFIG)?;
    assert!(met.nats.is_finite(), "{met}");
    Ok(())
}

#[test]
fn divergences_of_normals_are_met() -> Result<()> {
    let mut rng = Rng::new(6);
    let config = KnnConfig {
        shuffles: 15,
        ..CONFIG
    };
    for metric in [Metric::Chebyshev, Metric::Euclidean, Metric::Manhattan] {
        let config = KnnConfig { metric, ..config };
        // Twice the scale in two dimensions: 2 (ln 2 + 1/8 - 1/2).
        let (p, q) = (
            normal(1500, 2, &mut rng)?,
            (normal(1000, 2, &mut rng)? * 2.)?,
        );
        let found = kl(&p, &q, &config)?;
        assert!((found.nats - 0.636_294).abs() < 0.12, "{found}");
        let null = found.null.unwrap();
        assert!(found.nats > null.mean + 3. * null.sd, "{found}");
        let same = kl(&p, &normal(1000, 2, &mut rng)?, &config)?;
        let null = same.null.unwrap();
        assert!((same.nats - null.mean).abs() < 3. * null.sd, "{same}");
    }
    let (p, q) = (normal(10, 2, &mut rng)?, normal(4, 2, &mut rng)?);
    assert!(kl(&p, &q, &KnnConfig { k: 4, ..CONFIG })?.nats.is_finite());
    refused(kl(&p, &q, &KnnConfig { k: 5, ..CONFIG }), "k");
    refused(kl(&q, &p, &KnnConfig { k: 4, ..CONFIG }), "k");
    refused(kl(&p, &q.narrow(1, 0, 1)?, &CONFIG), "q");
    let x = p.narrow(1, 0, 1)?;
    let metric = Metric::Euclidean;
    refused(cmi(&p, &x, &x, &KnnConfig { metric, ..CONFIG }), "metric");
    refused(cmi(&x, &x, &p.narrow(0, 0, 9)?, &CONFIG), "z");
    Ok(())
}

/// Neighbours in more dimensions than ten are told by every estimator.
#[test]
fn many_dimensions_are_told() -> Result<()> {
    let (x, y) = (normal(40, 8, &mut rng())?, normal(40, 3, &mut Rng::new(1))?);
    let all = Tensor::cat(&[&x, &y], 1)?;
    let labels: Vec<u32> = (0..40).map(|n| n % 2).collect();
    for found in [
        entropy(&all, &CONFIG, &mut rng())?,
        ksg(&x, &y, Ksg::Second, &CONFIG)?,
        mixed(&x, &y, &CONFIG)?,
        cmi(&x, &y.narrow(1, 0, 1)?, &y.narrow(1, 1, 2)?, &CONFIG)?,
        labelled(&all, &labels, &CONFIG)?,
        kl(&all, &all, &CONFIG)?,
    ] {
        assert!(found.warnings.contains(&Warning::Dimensions(11)), "{found}");
    }
    assert_eq!(
        ksg(&x, &y.narrow(1, 0, 2)?, Ksg::First, &CONFIG)?.warnings,
        []
    );
    Ok(())
}

/// Equal conditions: each sample may take any other of its own, so that independent variables are within their null.
#[test]
fn the_null_of_conditions_that_repeat_is_no_dependence() -> Result<()> {
    let n = 1000;
    let config = KnnConfig {
        shuffles: 20,
        ..CONFIG
    };
    for seed in 0..3 {
        let mut rng = Rng::new(seed);
        let (x, y) = (normal(n, 1, &mut rng)?, normal(n, 1, &mut rng)?);
        let u = rng.uniform((n, 1), DType::F64, &Device::Cpu)?;
        for places in [1., 10., 40.] {
            let z = (&u * places)?.floor()?;
            let found = cmi(&x, &y, &z, &config)?;
            let null = found.null.expect("a null");
            // Three standard deviations, of one that is itself estimated from 20.
            let away = (found.nats - null.mean) / null.sd;
            assert!(away.abs() < 4., "{places} places: {away} of {found}");
        }
    }
    Ok(())
}
