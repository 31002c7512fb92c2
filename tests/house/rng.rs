//! The random source: independence of threads, laws of its draws, independence of its streams.
//!
//! Seeds are fixed. Each statistical comparison allows what a right generator exceeds with probability below 1e-6; in
//! all about 100 comparisons.

use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::{Distribution, Uniform};
use candle_prob::{Result, Rng};

const CPU: Device = Device::Cpu;

fn normals(rng: &mut Rng, n: usize) -> Vec<f32> {
    let x = rng.normal(n, DType::F32, &CPU).unwrap();
    x.to_vec1().unwrap()
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    let draw = || {
        let mut rng = Rng::new(11);
        let single = normals(&mut rng, 200_003);
        let uniform = rng.uniform(200_003, DType::F32, &CPU).unwrap();
        let double = rng.normal(100_003, DType::F64, &CPU).unwrap();
        let whole = rng.integers(100_003, 1000).unwrap();
        let bits: Vec<u32> = single.iter().map(|x| x.to_bits()).collect();
        let uniform = uniform.to_vec1::<f32>().unwrap();
        let double = double.to_vec1::<f64>().unwrap();
        (bits, uniform, double, whole, rng.state())
    };
    let want = draw();
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        assert_eq!(pool.unwrap().install(draw), want, "{threads} threads");
    }
}

/// The standard normal cdf by the series of Kolmogorov and Smirnov's time: erf summed until nothing changes.
fn cdf(x: f64) -> f64 {
    if x.abs() > 6. {
        return if x > 0. { 1. } else { 0. };
    }
    let (mut sum, mut term, mut k) = (x, x, 1.);
    while term.abs() > 1e-17 * sum.abs() {
        k += 2.;
        term *= x * x / k;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2. * std::f64::consts::PI).sqrt()
}

/// Largest distance of the empirical distribution from `cdf`, times sqrt(n): above 2.7 with probability 1e-6.
fn kolmogorov(mut x: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    x.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    let distance = x.iter().enumerate().map(|(i, x)| {
        let (p, i) = (cdf(*x), i as f64);
        (p - i / n).abs().max((p - (i + 1.) / n).abs())
    });
    distance.fold(0., f64::max) * n.sqrt()
}

#[test]
fn normals_have_the_moments_and_the_law() -> Result<()> {
    let n = 1_000_000;
    for dtype in [DType::F32, DType::F64] {
        let x = Rng::new(5).normal(n, dtype, &CPU)?.to_dtype(DType::F64)?;
        let x = x.to_vec1::<f64>()?;
        // E x^k, and its standard deviation from E x^2k.
        for (k, mean, second) in [
            (1, 0., 1.),
            (2, 1., 3.),
            (3, 0., 15.),
            (4, 3., 105.),
            (6, 15., 10395.),
        ] {
            let got = x.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
            let error = ((second - mean * mean) / n as f64).sqrt();
            assert!(
                (got - mean).abs() < 5. * error,
                "{dtype:?} moment {k}: {got}"
            );
        }
        let beyond = x.iter().filter(|x| x.abs() > 4.).count() as f64;
        // 63.3 of a million are beyond 4.
        assert!((beyond - 63.3).abs() < 5. * 63.3f64.sqrt() + 1., "{beyond}");
        let distance = kolmogorov(x, cdf);
        assert!(distance < 2.7, "{dtype:?}: {distance}");
    }
    Ok(())
}

#[test]
fn uniforms_have_the_law_and_never_touch_the_ends() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Rng::new(6)
            .uniform(1_000_000, dtype, &CPU)?
            .to_dtype(DType::F64)?;
        let distance = kolmogorov(x.to_vec1()?, |x| x);
        assert!(distance < 2.7, "{dtype:?}: {distance}");
    }
    // 1e8 numbers of 2^-23 spacing: each end would be met about 6 times if it were reachable from half a step away.
    let mut rng = Rng::new(7);
    let (mut low, mut high) = (1f32, 0f32);
    for _ in 0..100 {
        let x = rng.uniform(1_000_000, DType::F32, &CPU)?.to_vec1::<f32>()?;
        let mut lanes = [(1f32, 0f32); 16];
        for group in x.chunks_exact(16) {
            for (lane, x) in lanes.iter_mut().zip(group) {
                *lane = (lane.0.min(*x), lane.1.max(*x));
            }
        }
        for (l, h) in lanes {
            (low, high) = (low.min(l), high.max(h));
        }
    }
    assert!(low > 0. && high < 1., "{low} {high}");
    // The smallest possible numbers do occur: missed with probability e^-12.
    assert!(low < 1.2e-7 && high > 1. - 1.2e-7, "{low} {high}");
    Ok(())
}

/// Correlation times sqrt(n): above 4.9 with probability 1e-6.
fn correlation(x: &[f32], y: &[f32]) -> f64 {
    let sum: f64 = x
        .iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum();
    sum / (x.len().min(y.len()) as f64).sqrt()
}

#[test]
fn streams_are_independent() {
    let n = 4096;
    let mut rng = Rng::new(8);
    let long = normals(&mut rng, 4 * n);
    let mut streams: Vec<Vec<f32>> = long.chunks(n).map(<[f32]>::to_vec).collect();
    streams.push(normals(&mut rng, n));
    streams.push(normals(&mut rng.fork("encoder"), n));
    streams.push(normals(&mut rng.fork("decoder"), n));
    streams.push(normals(&mut rng.split(), n));
    streams.push(normals(&mut rng.split(), n));
    streams.push(normals(&mut rng.split().split(), n));
    streams.push(normals(&mut Rng::new(9), n));
    streams.push(normals(&mut Rng::new(8 + (1 << 32)), n));
    for (i, x) in streams.iter().enumerate() {
        for (j, y) in streams.iter().enumerate().take(i) {
            let r = correlation(x, y);
            assert!(r.abs() < 4.9, "streams {i} and {j}: {r}");
        }
        // Neighbours, and the two halves of the Box-Muller pairs, within a stream.
        for lag in [1, 2, 16, 32, 64] {
            let r = correlation(&x[lag..], x);
            assert!(r.abs() < 4.9, "stream {i}, lag {lag}: {r}");
        }
        let squares: Vec<f32> = x.iter().map(|x| (x * x - 1.) / 2f32.sqrt()).collect();
        let r = correlation(&squares[16..], &squares);
        assert!(r.abs() < 5.5, "squares of stream {i}: {r}");
    }
    // The same name means the same source, whatever was drawn in between.
    let mut other = Rng::new(8);
    assert_eq!(normals(&mut other.fork("encoder"), 9), streams[5][..9]);
    assert_ne!(rng.fork("ab").state(), rng.fork("ba").state());
    assert_ne!(rng.fork("").state(), rng.state());
    assert_ne!(other.split(), other.split());
}

#[test]
fn state_is_the_whole_source() {
    let mut rng = Rng::new(3).fork("x");
    normals(&mut rng, 10);
    let state = rng.state();
    let want = (normals(&mut rng, 50), rng.split(), rng.permutation(9));
    let mut again = Rng::from_state(state);
    assert_eq!(
        (normals(&mut again, 50), again.split(), again.permutation(9)),
        want
    );
}

/// Chi-squared with `k` degrees of freedom beyond `k + 5 sqrt(2 k) + 15` has probability below 1e-6.
fn chi_squared(counts: &[usize], expected: f64) {
    let k = counts.len() as f64 - 1.;
    let chi: f64 = counts
        .iter()
        .map(|c| (*c as f64 - expected).powi(2) / expected)
        .sum();
    assert!(chi < k + 5. * (2. * k).sqrt() + 15., "{chi} {k}");
}

#[test]
fn permutations_and_integers_are_uniform() -> Result<()> {
    let mut rng = Rng::new(4);
    let mut sorted = rng.permutation(1000);
    assert_ne!(sorted, (0..1000).collect::<Vec<_>>());
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    assert_eq!((rng.permutation(0), rng.permutation(1)), (vec![], vec![0]));
    let mut counts = [0; 24];
    for _ in 0..24_000 {
        let p = rng.permutation(4);
        let rank = |i: usize| p[i + 1..].iter().filter(|x| **x < p[i]).count();
        counts[rank(0) * 6 + rank(1) * 2 + rank(2)] += 1;
    }
    chi_squared(&counts, 1000.);
    let mut counts = [0; 7];
    for i in rng.integers(70_000, 7)? {
        counts[i] += 1;
    }
    chi_squared(&counts, 10_000.);
    assert!(rng.integers(1, 0).is_err());
    assert!(rng.normal(1, DType::U32, &CPU).is_err());
    Ok(())
}

/// Rounding to half precision makes no uniform an end of its interval.
#[test]
fn half_precision_stays_inside() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let u = Rng::new(0)
            .uniform(100_000, dtype, &Device::Cpu)?
            .to_dtype(DType::F32)?;
        let u = u.to_vec1::<f32>()?;
        assert!(u.iter().all(|u| 0. < *u && *u < 1.), "{dtype:?}");
        for [low, high] in [
            [-1f32, 1.],
            [0., 3.],
            [100., 101.],
            [-1e-6, 0.],
            [1., 1.0078125],
        ] {
            let end = |x: f32| Tensor::new(x, &Device::Cpu)?.to_dtype(dtype);
            let (from, to) = (end(low)?, end(high)?);
            let x = Uniform::new(&from, &to)?.sample(&[100_000], &mut Rng::new(0))?;
            let outside = x.broadcast_lt(&from)?.max_all()?.to_scalar::<u8>()?
                + x.broadcast_ge(&to)?.max_all()?.to_scalar::<u8>()?;
            assert_eq!(outside, 0, "{dtype:?} {low} {high}");
        }
    }
    Ok(())
}
