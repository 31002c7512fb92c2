//! Entropies and informations of pairs: reference values, nulls, ties, warnings, and what is refused.

use super::*;

#[test]
fn entropies_are_those_of_the_reference() -> Result<()> {
    let samples = samples();
    for case in cases(&samples, "kozachenko_leonenko") {
        for [x, y] in both(&data(&samples, &case["data_of"])?)? {
            let x = match case["columns"].as_str() {
                Some("x") => x,
                _ => Tensor::cat(&[x, y], 1)?,
            };
            for want in case["estimates"].as_array().unwrap() {
                for (name, metric) in METRICS {
                    let config = KnnConfig {
                        metric,
                        ..with_k(want)
                    };
                    let got = entropy(&x, &config, &mut Rng::new(0))?;
                    meets("entropy", got.nats, &want[name]);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn mutual_informations_are_those_of_the_reference() -> Result<()> {
    let samples = samples();
    for case in cases(&samples, "ksg") {
        for [x, y] in both(&data(&samples, &case["name"])?)? {
            for want in case["estimates"].as_array().unwrap() {
                let config = with_k(want);
                for (form, name) in [(Ksg::First, "algorithm_1"), (Ksg::Second, "algorithm_2")] {
                    let got = ksg(&x, &y, form, &config)?;
                    meets(name, got.nats, &want[name]);
                    let turned = ksg(&y, &x, form, &config)?;
                    assert!((got.nats - turned.nats).abs() <= 1e-12);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn normals_have_the_information_of_their_correlation() -> Result<()> {
    let mut rng = Rng::new(1);
    let [x, y] = correlated(2000, 0.9, &mut rng)?;
    for form in [Ksg::First, Ksg::Second] {
        let found = ksg(&x, &y, form, &CONFIG)?;
        assert!((found.nats - 0.830366).abs() < 0.05, "{found}");
        assert_eq!((found.k, found.samples), (3, 2000));
        assert_eq!((found.dims.as_slice(), found.ties), ([1, 1].as_slice(), 0.));
        assert_eq!(
            (found.warnings.as_slice(), found.null),
            ([].as_slice(), None)
        );
        assert_eq!(found.bits(), found.nats / std::f64::consts::LN_2);
    }
    // Entropies of a normal: 1/2 ln(2 pi e) for each dimension.
    let h = entropy(
        &rng.normal((4000, 2), DType::F32, &Device::Cpu)?,
        &CONFIG,
        &mut rng,
    )?;
    assert!((h.nats - 2.837877).abs() < 0.08, "{h}");
    Ok(())
}

/// Independent samples are within 3 standard deviations of their null, which is about 0.
#[test]
fn independent_samples_are_like_shuffled_ones() -> Result<()> {
    let config = KnnConfig {
        shuffles: 30,
        ..CONFIG
    };
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let [x, y] = correlated(300, 0., &mut rng)?;
        let found = mutual_information(&x, &y, Ksg::First, &config, &mut rng)?;
        let null = found.null.unwrap();
        assert!((found.nats - null.mean).abs() <= 3. * null.sd, "{found}");
        assert!(null.sd < 0.06 && null.mean.abs() < 0.05, "{found}");
        assert_eq!(null.shuffles, 30);
        assert!(found.clamped() >= 0. && found.clamped() == found.nats.max(0.));
        // The same seed, the same null.
        let mut rng = Rng::new(seed);
        let again = correlated(300, 0., &mut rng)?;
        let again = mutual_information(&again[0], &again[1], Ksg::First, &config, &mut rng)?;
        assert_eq!(found, again);
    }
    // What depends is far from its null.
    let mut rng = Rng::new(9);
    let [x, y] = correlated(300, 0.6, &mut rng)?;
    for form in [Ksg::First, Ksg::Second] {
        let found = mutual_information(&x, &y, form, &config, &mut rng)?;
        let null = found.null.unwrap();
        assert!(found.nats > null.mean + 3. * null.sd, "{found}");
    }
    Ok(())
}

/// A null is what the estimator says of shuffled samples.
#[test]
fn a_null_is_an_estimate_of_shuffled_samples() -> Result<()> {
    let config = KnnConfig {
        shuffles: 2,
        ..CONFIG
    };
    let [x, y] = correlated(50, 0.5, &mut Rng::new(2))?;
    for form in [Ksg::First, Ksg::Second] {
        let found = mutual_information(&x, &y, form, &config, &mut Rng::new(5))?;
        let mut rng = Rng::new(5);
        let mut values = vec![];
        for _ in 0..2 {
            let order: Vec<u32> = rng.permutation(50).iter().map(|n| *n as u32).collect();
            let shuffled = y.index_select(&Tensor::new(order, &Device::Cpu)?, 0)?;
            values.push(ksg(&x, &shuffled, form, &CONFIG)?.nats);
        }
        let mean = (values[0] + values[1]) / 2.;
        assert!((found.null.unwrap().mean - mean).abs() < 1e-12);
        let sd = (values[0] - values[1]).abs() / 2f64.sqrt();
        assert!((found.null.unwrap().sd - sd).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn ties_are_told_and_never_not_a_number() -> Result<()> {
    let mut rng = Rng::new(3);
    let [x, y] = correlated(100, 0.7, &mut rng)?;
    let (twice_x, twice_y) = (Tensor::cat(&[&x; 8], 0)?, Tensor::cat(&[&y; 8], 0)?);
    let whole = ((&x * 2.)?.round()?, (&y * 2.)?.round()?);
    let same = x.zeros_like()?;
    for (x, y) in [
        (&twice_x, &twice_y),
        (&whole.0, &whole.1),
        (&same, &y),
        (&same, &same),
    ] {
        for form in [Ksg::First, Ksg::Second] {
            let found = ksg(x, y, form, &CONFIG)?;
            assert!(found.nats.is_finite(), "{found}");
            assert!(
                found.warnings.contains(&Warning::Ties(found.ties)),
                "{found}"
            );
        }
        assert!(!entropy(x, &CONFIG, &mut rng)?.nats.is_nan());
    }
    assert_eq!(entropy(&same, &CONFIG, &mut rng)?.nats, f64::NEG_INFINITY);
    assert_eq!(ksg(&twice_x, &twice_y, Ksg::First, &CONFIG)?.ties, 1.);
    // -0 is 0; one space is enough.
    let few = Tensor::new(&[[0f32], [-0.], [1.], [2.]], &Device::Cpu)?;
    let other = Tensor::new(&[[0f32], [1.], [3.], [7.]], &Device::Cpu)?;
    let k = KnnConfig { k: 1, ..CONFIG };
    assert_eq!(ksg(&other, &few, Ksg::First, &k)?.ties, 0.5);
    // Noise that is asked for breaks them, the same with the same seed.
    let jitter = KnnConfig {
        jitter: 1e-3,
        ..CONFIG
    };
    let found = ksg(&whole.0, &whole.1, Ksg::First, &jitter)?;
    assert_eq!((found.ties, &found.warnings), (0., &vec![]));
    assert_eq!(found, ksg(&whole.0, &whole.1, Ksg::First, &jitter)?);
    let other = mutual_information(&whole.0, &whole.1, Ksg::First, &jitter, &mut Rng::new(1))?;
    assert_ne!(found.nats, other.nats);
    // By the scale of the samples: in other units the same.
    let large = ((&whole.0 * 1024.)?, (&whole.1 * 1024.)?);
    let large = ksg(&large.0, &large.1, Ksg::First, &jitter)?;
    assert!((found.nats - large.nats).abs() < 1e-9);
    // The entropy, which knows the size of the noise, too.
    let of = |x: &Tensor| Ok(entropy(x, &jitter, &mut Rng::new(2))?.nats) as Result<f64>;
    let dims = whole.0.dim(1)? as f64;
    let moved = of(&(&whole.0 * 1024.)?)? - of(&whole.0)?;
    assert!((moved - dims * 1024f64.ln()).abs() < 1e-9, "{moved}");
    Ok(())
}

#[test]
fn what_too_few_samples_or_too_many_dimensions_cannot_show_is_told() -> Result<()> {
    let mut rng = Rng::new(4);
    // 5.3 nats ask for more than 200 samples.
    let [x, y] = correlated(200, 0.99999, &mut rng)?;
    let found = ksg(&x, &y, Ksg::First, &CONFIG)?;
    let most = 5.298317 - 0.0025 - 0.922784;
    match found.warnings.as_slice() {
        [Warning::Samples(told)] => assert!((told - most).abs() < 1e-4, "{found}"),
        other => panic!("{other:?}"),
    }
    assert!(found.nats < most);
    let [x, y] = correlated(200, 0.9, &mut rng)?;
    assert_eq!(ksg(&x, &y, Ksg::First, &CONFIG)?.warnings, []);
    // 16 pairs of correlation 0.5 have 2.30 nats: knnie's trap.
    let x = rng.normal((1000, 16), DType::F32, &Device::Cpu)?;
    let noise = rng.normal((1000, 16), DType::F32, &Device::Cpu)?;
    let y = ((&x * 0.5)? + noise * 0.75f64.sqrt())?;
    let found = ksg(&x, &y, Ksg::First, &CONFIG)?;
    assert!(found.nats < 1.5, "{found}");
    assert_eq!(found.warnings, [Warning::Dimensions(32)]);
    assert!(found.to_string().contains("32 dimensions"), "{found}");
    let ten = x.narrow(1, 0, 10)?;
    assert_eq!(entropy(&ten, &CONFIG, &mut rng)?.warnings, []);
    Ok(())
}

/// Strided, broadcast, of half precision: what the numbers are counts.
#[test]
fn views_are_what_they_show() -> Result<()> {
    let mut rng = Rng::new(6);
    let all = rng.normal((3, 60), DType::F32, &Device::Cpu)?;
    let (x, y) = (all.narrow(0, 0, 2)?.t()?, all.narrow(0, 2, 1)?.t()?);
    let view = ksg(&x, &y, Ksg::Second, &CONFIG)?;
    let copy = ksg(&x.contiguous()?, &y.contiguous()?, Ksg::Second, &CONFIG)?;
    assert_eq!(view, copy);
    let half = x.to_dtype(DType::BF16)?;
    let again = half.to_dtype(DType::F64)?;
    assert_eq!(
        ksg(&half, &y, Ksg::First, &CONFIG)?,
        ksg(&again, &y, Ksg::First, &CONFIG)?
    );
    Ok(())
}

#[test]
fn what_no_estimate_can_be_made_of_is_refused() -> Result<()> {
    let mut rng = Rng::new(7);
    let [x, y] = correlated(20, 0.5, &mut rng)?;
    let two = rng.normal((20, 2), DType::F64, &Device::Cpu)?;
    let mi = |x: &Tensor, y: &Tensor, config: KnnConfig| ksg(x, y, Ksg::First, &config);
    let of = |x: &Tensor, config: KnnConfig| knn::entropy(x, &config, &mut Rng::new(0));
    for k in [0, 20, usize::MAX] {
        refused(mi(&x, &y, KnnConfig { k, ..CONFIG }), "k");
        refused(of(&x, KnnConfig { k, ..CONFIG }), "k");
    }
    assert!(mi(&x, &y, KnnConfig { k: 19, ..CONFIG })?.nats.is_finite());
    let shuffles = KnnConfig {
        shuffles: 1,
        ..CONFIG
    };
    refused(mi(&x, &y, shuffles), "shuffles");
    for jitter in [-1., f64::NAN, f64::INFINITY] {
        refused(of(&x, KnnConfig { jitter, ..CONFIG }), "jitter");
    }
    let metric = Metric::Euclidean;
    assert!(mi(&two, &y, KnnConfig { metric, ..CONFIG }).is_ok());
    assert_eq!(
        mi(&x, &y, KnnConfig { metric, ..CONFIG })?,
        mi(&x, &y, CONFIG)?
    );
    refused(mi(&x, &y.narrow(0, 0, 19)?, CONFIG), "y");
    refused(mi(&x, &y.flatten_all()?, CONFIG), "y");
    refused(of(&x.flatten_all()?, CONFIG), "x");
    refused(of(&x.narrow(0, 0, 1)?, CONFIG), "samples");
    refused(of(&x.narrow(0, 0, 0)?, CONFIG), "x");
    refused(of(&x.narrow(1, 0, 0)?, CONFIG), "x");
    refused(of(&x.to_dtype(DType::U32)?, CONFIG), "x");
    for bad in [f64::NAN, f64::INFINITY, -1e160] {
        let spoilt = Tensor::cat(
            &[&x.narrow(0, 0, 19)?, &Tensor::new(&[[bad]], &Device::Cpu)?],
            0,
        )?;
        refused(of(&spoilt, CONFIG), "x");
        refused(mi(&x, &spoilt, CONFIG), "y");
    }
    Ok(())
}
