//! Truncated distributions where intervals are far out, narrow or open, and values at their edges.

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{
    Cdf, Distribution, Entropy, Kl, Mode, Moments, Normal, Truncated, TruncatedNormal, Uniform,
};
use candle_prob::testing::check_gradient;
use candle_prob::{Result, Rng};

fn tensor(x: f64, dtype: DType) -> Tensor {
    Tensor::new(x, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

fn number(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

fn truncated(parameters: [f64; 4], dtype: DType) -> Result<TruncatedNormal> {
    let [loc, scale, low, high] = parameters.map(|x| tensor(x, dtype));
    TruncatedNormal::new(&loc, &scale, &low, &high)
}

#[track_caller]
fn close(what: &str, got: f64, want: f64, tolerance: f64) {
    let off = (got - want).abs();
    assert!(
        off <= tolerance * want.abs(),
        "{what}: {got:e}, expected {want:e}"
    );
}

struct Case {
    parameters: [f64; 4],
    x: f64,
    log_prob: f64,
    mean: f64,
    variance: f64,
    entropy: f64,
    log_cdf: f64,
    log_survival: f64,
    to_loc: f64,
    to_scale: f64,
}

/// From the closed forms in differences of error functions, with 120 digits (mpmath). The derivatives are those of the
/// log-density.
const CASES: [Case; 10] = [
    Case {
        parameters: [0.0, 1.0, 10.0, 39.0],
        x: 10.1,
        log_prob: 1.3073466173078014,
        mean: 10.098093233962512,
        variance: 0.009445377825656262,
        entropy: -1.321880447495238,
        log_cdf: -0.4501830408784778,
        log_survival: -1.0147623921811606,
        to_loc: 0.0019067660374876819,
        to_scale: 0.029067660374873194,
    },
    Case {
        parameters: [-1.0, 1.0, 14.91, 20.06],
        x: 17.0,
        log_prob: -32.665089866548605,
        mean: 14.972366469771808,
        variance: 0.00385988937874611,
        entropy: -1.7747348664166624,
        log_cdf: -3.6068575332578485e-16,
        log_survival: -35.55852458405811,
        to_loc: 2.0276335302281923,
        to_scale: 68.87964946593054,
    },
    Case {
        parameters: [1000000.0, 1.0, 0.0, 1.0],
        x: 0.9999980926513672,
        log_prob: 11.908162832499087,
        mean: 0.999998999999,
        variance: 1.000001999997e-12,
        entropy: -12.815509557965774,
        log_cdf: -1.9073467254675935,
        log_survival: -0.1607250174127595,
        to_loc: -9.073476328135e-07,
        to_scale: 1.8146934509333723,
    },
    Case {
        parameters: [0.0, 1.0, 100000000.0, f64::INFINITY],
        x: 100000000.00000003,
        log_prob: 15.440448505182834,
        mean: 100000000.00000001,
        variance: 9.999999999999994e-17,
        entropy: -17.420680743952367,
        log_cdf: -0.052115779029336874,
        log_survival: -2.980232238769532,
        to_loc: 1.9802322387695316e-08,
        to_scale: 3.9604644775390634,
    },
    Case {
        parameters: [0.5, 1000.0, 0.0, 0.001],
        x: 0.000244140625,
        log_prob: 6.907755278854344,
        mean: 0.000500000000041625,
        variance: 8.333333333333056e-08,
        entropy: -6.907755278982137,
        log_cdf: -1.4100108879260147,
        log_survival: -0.27989993194874146,
        to_loc: -2.55859375041625e-10,
        to_scale: 2.5558564635302544e-13,
    },
    Case {
        parameters: [-3.0, 2.0, 1.0, 1.0000001],
        x: 1.00000003,
        log_prob: 16.11809567037445,
        mean: 1.0000000499999993,
        variance: 8.333333343064448e-16,
        entropy: -16.118095650374453,
        log_cdf: -1.2039727685857873,
        log_survival: -0.35667495925593934,
        to_loc: -4.999999789034885e-09,
        to_scale: -1.9999999460306195e-08,
    },
    Case {
        parameters: [0.0, 1.0, -8.0, 8.5],
        x: 7.5,
        log_prob: -29.04393853320467,
        mean: 4.9706087272202e-15,
        variance: 0.9999999999999589,
        entropy: 1.4189385332046516,
        log_cdf: -3.1899437194287286e-14,
        log_survival: -31.07618802808785,
        to_loc: 7.499999999999995,
        to_scale: 55.25000000000004,
    },
    Case {
        parameters: [0.0, 1.0, -37.0, -36.5],
        x: -36.6,
        log_prob: -0.05693852256486561,
        mean: -36.52735627931574,
        variance: 0.0007472477842406182,
        entropy: -2.5988094755095665,
        log_cdf: -3.657732289028759,
        log_survival: -0.02612935036776914,
        to_loc: -0.07264372068426171,
        to_scale: 5.311495996148864,
    },
    Case {
        parameters: [5.0, 3.0, f64::NEG_INFINITY, 4.0],
        x: -20.0,
        log_prob: -35.744009738315775,
        mean: 1.935508942984111,
        variance: 2.6733856184855282,
        entropy: 1.6920370192611016,
        log_cdf: -36.779576054629466,
        log_survival: -1.0637340783025476e-16,
        to_loc: -2.437278771442679,
        to_scale: 22.70131514603645,
    },
    Case {
        parameters: [2.0, 1.0, 0.0, 1e-06],
        x: 2.384185791015625e-07,
        log_prob: 13.815510034801404,
        mean: 5.000001666666249e-07,
        variance: 8.333333333331389e-14,
        entropy: -13.81551055796444,
        log_cdf: -1.4337281759359435,
        log_survival: -0.27235795221281256,
        to_loc: -2.615815875650625e-07,
        to_scale: 1.0463260737701688e-06,
    },
];

#[test]
fn far_and_narrow_intervals_meet_the_reference() -> Result<()> {
    for case in &CASES {
        let d = truncated(case.parameters, DType::F64)?;
        let x = tensor(case.x, DType::F64);
        let name = |what: &str| format!("{what} of {:?}", case.parameters);
        close(
            &name("log_prob"),
            number(&d.log_prob(&x)?),
            case.log_prob,
            1e-12,
        );
        // A mean of 5e-15 is what rounding leaves of 0.
        let (mean, far) = (number(&d.mean()?), case.mean.abs() > 1e-10);
        assert!(mean.abs() < 1e-14 || far);
        if far {
            close(&name("mean"), mean, case.mean, 1e-13);
        }
        close(
            &name("variance"),
            number(&d.variance()?),
            case.variance,
            1e-12,
        );
        close(&name("entropy"), number(&d.entropy()?), case.entropy, 1e-12);
        close(
            &name("log_cdf"),
            number(&d.log_cdf(&x)?),
            case.log_cdf,
            1e-12,
        );
        let survival = number(&d.log_survival(&x)?);
        close(&name("log_survival"), survival, case.log_survival, 1e-12);
        // The smaller tail, where the probability has the digits.
        if case.log_cdf < -0.5 {
            let back = number(&d.quantile(&d.cdf(&x)?)?);
            let [_, scale, low, high] = case.parameters;
            let width = scale.min(high - low);
            assert!(
                (back - case.x).abs() <= 1e-11 * width.max(case.x.abs()),
                "{}",
                name("quantile")
            );
        }
        let [loc, scale, low, high] = case.parameters.map(|x| tensor(x, DType::F64));
        let (loc, scale) = (Var::from_tensor(&loc)?, Var::from_tensor(&scale)?);
        let log_prob = TruncatedNormal::new(&loc, &scale, &low, &high)?.log_prob(&x)?;
        let gradients = log_prob.backward()?;
        for (what, var, want) in [("loc", &loc, case.to_loc), ("scale", &scale, case.to_scale)] {
            let got = number(gradients.get(var).unwrap());
            close(&name(&format!("d log_prob / d {what}")), got, want, 1e-9);
        }
    }
    Ok(())
}

#[test]
fn divergences_meet_the_reference() -> Result<()> {
    let infinite = f64::INFINITY;
    for (p, q, want) in [
        (
            [0., 1., 10., 39.],
            [1., 2., 9., infinite],
            2.9219579086950773,
        ),
        (
            [-3., 2., 1., 1.0000001],
            [0., 1., 0.5, 1.5],
            16.1171017514225,
        ),
        (
            [0., 1., -8., 8.5],
            [0.1, 1.1, -infinite, infinite],
            0.012665551705155109,
        ),
        ([1e6, 1., 0., 1.], [1e6, 1.5, -1., 1.], 0.25537466066007874),
        ([0., 1., 0., 1.], [0., 1., 0.1, infinite], infinite),
    ] {
        let got = number(&truncated(p, DType::F64)?.kl(&truncated(q, DType::F64)?)?);
        assert!(
            got == want || (got - want).abs() <= 1e-12 * want,
            "{p:?} {q:?}: {got}"
        );
    }
    // To its own interval and beyond: all eight parameters, in both directions of measuring.
    let vars = [0.5, 0.7, -2., 3., -6., 2., -2.5, 3.5].map(|x| tensor(x, DType::F64));
    let flipped = [-5., 0.7, -2., 3., 6., 2., -2.5, 3.5].map(|x| tensor(x, DType::F64));
    for vars in [vars, flipped] {
        check_gradient(
            &|t| {
                let p = TruncatedNormal::new(&t[0], &t[1], &t[2], &t[3])?;
                p.kl(&TruncatedNormal::new(&t[4], &t[5], &t[6], &t[7])?)
            },
            &vars,
            1e-6,
        )?;
    }
    Ok(())
}

/// Inside the ends, numbers throughout; and the derivatives of a draw keep two laws: moved with location and interval
/// it moves by as much, scaled with all parameters it scales.
#[test]
fn draws_stay_inside_and_move_with_the_parameters() -> Result<()> {
    let more = [
        [1e6, 1., -1e-3, 1e-3],
        [-1e30, 1e-3, 0., f64::INFINITY],
        [0., 1., f64::NEG_INFINITY, f64::INFINITY],
        [0.1, 1e-3, 0.1, 0.3],
        [0.2, 1e3, 0.1, 0.3],
    ];
    for dtype in [DType::F32, DType::F64] {
        for parameters in CASES.iter().map(|case| case.parameters).chain(more) {
            let parameters = parameters.map(|x| tensor(x, dtype));
            if number(&parameters[2]) >= number(&parameters[3]) {
                continue;
            }
            let tolerance = if dtype == DType::F64 { 1e-8 } else { 1e-5 };
            let n = 2000;
            let vars = parameters.map(|p| {
                let copies = p.broadcast_as(n).unwrap().contiguous().unwrap();
                Var::from_tensor(&copies).unwrap()
            });
            let [loc, scale, low, high] = &vars;
            let d = TruncatedNormal::new(loc, scale, low, high)?;
            let x = d.sample(&[], &mut Rng::new(0))?;
            let inside = (x.ge(low.as_tensor())? * x.le(high.as_tensor())?)?;
            assert_eq!(
                inside.to_dtype(DType::F64)?.min_all()?.to_scalar::<f64>()?,
                1.
            );
            let list = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            for values in [d.log_prob(&x)?, d.log_cdf(&x)?, d.log_survival(&x)?] {
                assert!(
                    list(&values)
                        .iter()
                        .all(|x| !x.is_nan() && *x < f64::INFINITY)
                );
            }
            let gradients = x.sum_all()?.backward()?;
            let slopes = vars.each_ref().map(|var| list(gradients.get(var).unwrap()));
            let at = vars.each_ref().map(|var| list(var));
            for (i, x) in list(&x).into_iter().enumerate() {
                let slope = slopes.each_ref().map(|s| s[i]);
                assert!(slope.iter().all(|s| s.is_finite()));
                let [loc, scale, low, high] = at.each_ref().map(|p| p[i]);
                if loc.abs() > 1e20 {
                    continue;
                }
                let moved = slope[0] + slope[2] + slope[3];
                assert!(
                    (moved - 1.).abs() < tolerance,
                    "{loc} {scale} {low} {high}: {moved}"
                );
                let ends = [(low, slope[2]), (high, slope[3])];
                let pulled: f64 = ends
                    .into_iter()
                    .map(|(end, s)| if s == 0. { 0. } else { (end - loc) * s })
                    .sum();
                let off = (pulled + scale * slope[1] - (x - loc)).abs();
                let size = (x - loc).abs().max(scale);
                assert!(
                    off < tolerance * size,
                    "{loc} {scale} {low} {high}: {off:e} of {size:e}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn edges_of_the_interval() -> Result<()> {
    let d = truncated([0., 1., -1., 2.], DType::F64)?;
    let x = Tensor::new(&[-1.1, -1., 2., 2.1, f64::INFINITY, f64::NAN], &Device::Cpu)?;
    let log_prob = d.log_prob(&x)?.to_vec1::<f64>()?;
    assert_eq!(log_prob[0], f64::NEG_INFINITY);
    assert!(log_prob[1].is_finite() && log_prob[2].is_finite());
    assert_eq!(log_prob[3..5], [f64::NEG_INFINITY; 2]);
    assert!(log_prob[5].is_nan());
    let cdf = d.cdf(&x)?.to_vec1::<f64>()?;
    assert_eq!(cdf[..5], [0., 0., 1., 1., 1.]);
    assert!(cdf[5].is_nan());
    let p = Tensor::new(&[0., 1.], &Device::Cpu)?;
    assert_eq!(d.quantile(&p)?.to_vec1::<f64>()?, [-1., 2.]);
    assert_eq!(
        number(&truncated([3., 1., -1., 2.], DType::F64)?.mode()?),
        2.
    );
    // Rounding takes no quantile outside.
    let loc = Tensor::arange(0f64, 100., &Device::Cpu)?;
    let [scale, low, high] = [7., -9.1, 111.3].map(|x| tensor(x, DType::F64));
    let many = TruncatedNormal::new(&(loc * 0.9)?, &scale, &low, &high)?;
    for (p, end, sign) in [(1e-300, -9.1, 1.), (1. - 1e-16, 111.3, -1.)] {
        let x = many.quantile(&Tensor::full(p, 100, &Device::Cpu)?)?;
        assert!(number(&((x - end)? * sign)?.min_all()?) >= 0.);
    }
    // Without ends it is the normal distribution.
    let infinite = f64::INFINITY;
    let open = truncated([0.3, 2., -infinite, infinite], DType::F64)?;
    let normal = Normal::new(&tensor(0.3, DType::F64), &tensor(2., DType::F64))?;
    let x = tensor(-1.7, DType::F64);
    close(
        "log_prob",
        number(&open.log_prob(&x)?),
        number(&normal.log_prob(&x)?),
        1e-14,
    );
    close(
        "entropy",
        number(&open.entropy()?),
        number(&normal.entropy()?),
        1e-14,
    );
    // A normal much wider than the interval is uniform there.
    let wide = truncated([0., 1e12, -1., 2.], DType::F64)?;
    let uniform = Uniform::new(&tensor(-1., DType::F64), &tensor(2., DType::F64))?;
    close(
        "variance",
        number(&wide.variance()?),
        number(&uniform.variance()?),
        1e-14,
    );
    for bad in [
        [0., 1., 1., 1.],
        [0., 1., f64::NAN, 1.],
        [infinite, 1., 0., 1.],
        [0., 0., 0., 1.],
    ] {
        assert!(truncated(bad, DType::F64).is_err(), "{bad:?}");
    }
    Ok(())
}

/// The combinator on a normal distribution: the same numbers as the family of its own, whose draws of one seed are the same
/// quantiles; gradients too.
#[test]
fn truncated_normals_agree() -> Result<()> {
    let infinite = f64::INFINITY;
    for parameters in [
        [0.3, 2., -1., 4.],
        [0., 1., -infinite, -6.],
        [0., 1., 6., infinite],
        [0., 1., 10., 12.],
        [1., 1., 2., 5.],
        [0., 1., 45., 47.],
        [0., 1., -infinite, infinite],
    ] {
        let vars = parameters.map(|x| Var::from_tensor(&tensor(x, DType::F64)).unwrap());
        let [loc, scale, low, high] = &vars;
        let own = TruncatedNormal::new(loc, scale, low, high)?;
        let cut = Truncated::new(Normal::new(loc, scale)?, low, high)?;
        let draws = [
            own.sample(&[50], &mut Rng::new(0))?,
            cut.sample(&[50], &mut Rng::new(0))?,
        ];
        let x = draws[0].detach();
        let pairs = [
            draws,
            [own.log_prob(&x)?, cut.log_prob(&x)?],
            [own.log_cdf(&x)?, cut.log_cdf(&x)?],
            [own.log_survival(&x)?, cut.log_survival(&x)?],
        ];
        // Where the base's survival underflows its draws are at an end.
        let first = usize::from(parameters[2] > 40.);
        for (i, [want, got]) in pairs.iter().enumerate().skip(first) {
            let off = ((want - got)?.abs()? / (want.abs()? + 1e-3)?)?.max_all()?;
            assert!(
                number(&off) < 1e-9,
                "{i} of {parameters:?}: {}",
                number(&off)
            );
            let (want, got) = (want.sum_all()?.backward()?, got.sum_all()?.backward()?);
            for (j, var) in vars.iter().enumerate() {
                let [want, got] = [want.get(var), got.get(var)].map(|g| g.map_or(0., number));
                let close = (want - got).abs() <= 1e-7 * want.abs().max(1.);
                assert!(
                    close,
                    "{i} of {parameters:?} to {j}: {got}, expected {want}"
                );
            }
        }
    }
    let d = Truncated::new(
        Normal::new(&tensor(0., DType::F64), &tensor(1., DType::F64))?,
        &tensor(-1., DType::F64),
        &tensor(2., DType::F64),
    )?;
    let [loc, scale, low, high] = [0., 1., 0.1, 0.10001].map(|x| tensor(x, DType::F32));
    let narrow = Truncated::new(Normal::new(&loc, &scale)?, &low, &high)?;
    let x = narrow.sample(&[1000], &mut Rng::new(0))?;
    assert!(number(&x.min(0)?) >= number(&low) && number(&x.max(0)?) <= number(&high));
    let x = Tensor::new(&[-1.1, 2.1, infinite, f64::NAN, -1., 2.], &Device::Cpu)?;
    let log_prob = d.log_prob(&x)?.to_vec1::<f64>()?;
    assert_eq!(log_prob[..3], [-infinite; 3]);
    assert!(log_prob[3].is_nan() && log_prob[4].is_finite() && log_prob[5].is_finite());
    assert_eq!(d.cdf(&x)?.to_vec1::<f64>()?[..3], [0., 1., 1.]);
    Ok(())
}

/// mpmath: the share of [30, 31] below 30.5, of which f32 keeps no digit unless it comes from the share above.
#[test]
fn far_intervals_keep_digits_near_their_upper_end() -> Result<()> {
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-9)] {
        let normal = Normal::new(&tensor(0., dtype), &tensor(1., dtype))?;
        let d = Truncated::new(normal, &tensor(30., dtype), &tensor(31., dtype))?;
        let x = Var::from_tensor(&tensor(30.5, dtype))?;
        let log_cdf = d.log_cdf(&x)?;
        let want = -2.655_418_343_091_889e-7;
        assert!(
            (number(&log_cdf) / want - 1.).abs() < tolerance,
            "{dtype:?} {log_cdf}"
        );
        let slope = number(log_cdf.backward()?.get(&x).unwrap());
        // The density by the share itself.
        let density = number(&(d.log_prob(&x)? - &log_cdf)?.exp()?);
        assert!(
            (slope / density - 1.).abs() < tolerance,
            "{slope} {density}"
        );
        for end in [31., 40.] {
            let x = Var::from_tensor(&tensor(end, dtype))?;
            let log_cdf = d.log_cdf(&x)?;
            assert_eq!(number(&log_cdf), 0.);
            let gradients = log_cdf.backward()?;
            assert!(gradients.get(&x).is_none_or(|g| number(g).is_finite()));
        }
    }
    Ok(())
}
