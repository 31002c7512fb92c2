//! How near samples are to data: closed forms, plain loops, and what is refused.

use crate::support::{flat, floats};
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::{Distribution, MultivariateNormal};
use candle_prob::divergence::{
    Wasserstein2, frechet_distance, mode_coverage, precision_recall, sliced_wasserstein,
};
use candle_prob::testing::check_gradient;
use candle_prob::{Error, Result, Rng};

const CPU: &Device = &Device::Cpu;

fn normal(seed: u64, n: usize, d: usize) -> Result<Tensor> {
    Rng::new(seed).normal((n, d), DType::F64, CPU)
}

fn rows(x: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(x.to_dtype(DType::F64)?.to_vec2()?)
}

fn number(x: &Tensor) -> f64 {
    flat(x)[0]
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f64>().sqrt()
}

/// `W_p^p` on a line by the integral of the difference of quantile functions, cell by cell of a common refinement.
fn on_a_line(x: &[f64], y: &[f64], order: f64) -> f64 {
    let (mut x, mut y) = (x.to_vec(), y.to_vec());
    x.sort_by(f64::total_cmp);
    y.sort_by(f64::total_cmp);
    let (n, m) = (x.len(), y.len());
    let cells = (0..n * m).map(|k| (x[k / m] - y[k / n]).abs().powf(order));
    cells.sum::<f64>() / (n * m) as f64
}

#[test]
fn on_a_line_the_distance_is_that_of_sorted_points() -> Result<()> {
    for (n, m) in [(7, 7), (7, 5), (4, 6), (1, 9), (3, 1)] {
        let (x, y) = (normal(n as u64, n, 1)?, (normal(50, m, 1)? * 2.)?);
        for order in [1., 2., 1.5, 3.] {
            let want = on_a_line(&floats(&x)?, &floats(&y)?, order);
            let found = sliced_wasserstein(&x, &y, 4, order, &mut Rng::new(1))?;
            for power in floats(&found.powers)? {
                assert!((power - want).abs() < 1e-13 * want.max(1.), "{n} {m}");
            }
            let distance = number(&found.distance()?.mean);
            assert!((distance - want.powf(1. / order)).abs() < 1e-13, "{n} {m}");
            // Along a line all directions say the same.
            assert!(number(&found.power()?.standard_error) < 1e-12);
            // Single precision, and by strides.
            let [a, b] = [&x, &y].map(|x| Tensor::cat(&[x, x], 1)?.narrow(1, 1, 1));
            let strided = sliced_wasserstein(&a?, &b?, 4, order, &mut Rng::new(1))?;
            assert_eq!(floats(&strided.powers)?, floats(&found.powers)?);
            let [a, b] = [&x, &y].map(|x| x.to_dtype(DType::F32));
            let single = sliced_wasserstein(&a?, &b?, 4, order, &mut Rng::new(1))?;
            assert_eq!(single.powers.dtype(), DType::F32);
            assert!((number(&single.power()?.mean) - want).abs() < 1e-5 * want.max(1.));
        }
    }
    Ok(())
}

/// A shift by s has `SW_2^2 = |s|^2 / d`, and `SW_1 = |s| E|u_1|`, which is `|s| / 2` in three dimensions. Four standard errors:
/// one in 16,000 fails by chance.
#[test]
fn shifts_and_scales_meet_their_closed_forms() -> Result<()> {
    let x = normal(3, 40, 3)?;
    let shift = Tensor::new(&[1f64, -2., 2.], CPU)?;
    let shifted = x.broadcast_add(&shift)?;
    for (order, want) in [(1., 1.5), (2., 3.)] {
        let found = sliced_wasserstein(&x, &shifted, 3000, order, &mut Rng::new(4))?;
        let power = found.power()?;
        let (mean, error) = (number(&power.mean), number(&power.standard_error));
        assert!((mean - want).abs() < 4. * error, "{mean} {want} {error}");
        assert!(error < 0.05 && power.samples == 3000);
        let distance = found.distance()?;
        let slope = mean.powf(1. / order - 1.) / order;
        assert!((number(&distance.mean) - mean.powf(1. / order)).abs() < 1e-12);
        assert!((number(&distance.standard_error) - error * slope).abs() < 1e-12);
    }
    // Between c x and x each projection has W_2^2 = (c - 1)^2 mean (u.x)^2, in the mean over u (c - 1)^2 mean |x|^2 / 3.
    let want = 4. * number(&x.sqr()?.sum(1)?.mean_all()?) / 3.;
    let power = sliced_wasserstein(&x, &(&x * 3.)?, 3000, 2., &mut Rng::new(5))?.power()?;
    let error = number(&power.standard_error);
    assert!((number(&power.mean) - want).abs() < 4. * error && error < 0.1 * want);
    Ok(())
}

/// Powers leave the range of the points' dtype before distances do.
#[test]
fn distances_of_far_points_are_finite() -> Result<()> {
    for (dtype, far, digit) in [
        (DType::F16, 300., 1e-3),
        (DType::BF16, 1e20, 1e-2),
        (DType::F32, 1e20, 1e-6),
    ] {
        let point = |x: f64| Tensor::full(x, (1, 1), CPU)?.to_dtype(dtype);
        let (x, y) = (point(0.)?, Var::from_tensor(&point(far)?)?);
        for order in [1., 2., 3.] {
            let found = sliced_wasserstein(&x, &y, 4, order, &mut Rng::new(2))?;
            let distance = found.distance()?;
            let what = format!("{dtype:?} order {order}");
            assert_eq!(distance.mean.dtype(), dtype);
            assert!(
                (floats(&distance.mean)?[0] - far).abs() < digit * far,
                "{what}"
            );
            assert!(floats(&distance.standard_error)?[0] < digit * far, "{what}");
            let slope = distance.mean.backward()?;
            let slope = slope.get(&y).map_or(Ok(vec![]), floats)?;
            assert!((slope[0] - 1.).abs() < digit, "{what}: {slope:?}");
        }
    }
    Ok(())
}

/// More projections than are in memory at once.
#[test]
fn blocks_of_directions_are_those_of_one_draw() -> Result<()> {
    let (x, y) = (normal(6, 90_000, 2)?, normal(7, 60_000, 2)?);
    let all = floats(&sliced_wasserstein(&x, &y, 9, 2., &mut Rng::new(8))?.powers)?;
    let axes = Rng::new(8).normal((9, 2), DType::F64, CPU)?;
    for (axis, got) in rows(&axes)?.iter().zip(&all) {
        let length = distance(axis, &[0., 0.]);
        let project = |x: &Tensor| -> Result<Vec<f64>> {
            let line = |row: &Vec<f64>| (row[0] * axis[0] + row[1] * axis[1]) / length;
            let mut line: Vec<f64> = rows(x)?.iter().map(line).collect();
            line.sort_by(f64::total_cmp);
            Ok(line)
        };
        let (x, y) = (project(&x)?, project(&y)?);
        // Of 90,000 and 60,000 points the quantile functions are constant on 180,000 cells.
        let cells = (0..180_000).map(|k| (x[k / 2] - y[k / 3]).powi(2));
        let want = cells.sum::<f64>() / 180_000.;
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
    assert_eq!(all.len(), 9);
    Ok(())
}

#[test]
fn the_sliced_distance_has_the_slopes_of_central_differences() -> Result<()> {
    let inputs = [normal(9, 5, 3)?, normal(10, 7, 3)?];
    for order in [1., 2., 2.5] {
        let found = |x: &[Tensor]| sliced_wasserstein(&x[0], &x[1], 6, order, &mut Rng::new(11));
        check_gradient(&|x| Ok(found(x)?.powers), &inputs, 1e-6)?;
        check_gradient(&|x| Ok(found(x)?.distance()?.mean), &inputs, 1e-6)?;
        // Equal samples are a kink or a minimum.
        let x = Var::from_tensor(&inputs[0])?;
        let equal = sliced_wasserstein(&x, &inputs[0], 6, order, &mut Rng::new(11))?;
        let distance = equal.distance()?;
        assert_eq!(number(&distance.mean), 0.);
        assert_eq!(number(&distance.standard_error), 0.);
        let slope = distance.mean.backward()?;
        let slope = slope.get(&x).map_or(Ok(vec![]), floats)?;
        assert!(slope.iter().all(|g| *g == 0.), "{slope:?}");
    }
    Ok(())
}

/// By the definitions: precision, recall, density, coverage.
fn plain(real: &[Vec<f64>], fake: &[Vec<f64>], k: usize) -> [f64; 4] {
    let radii = |points: &[Vec<f64>]| -> Vec<f64> {
        let radius = |i: usize| {
            let others = (0..points.len()).filter(|j| *j != i);
            let mut all: Vec<f64> = others.map(|j| distance(&points[i], &points[j])).collect();
            all.sort_by(f64::total_cmp);
            all[k - 1]
        };
        (0..points.len()).map(radius).collect()
    };
    let (of_real, of_fake) = (radii(real), radii(fake));
    let (n, m) = (real.len() as f64, fake.len() as f64);
    let balls = |y: &Vec<f64>, points: &[Vec<f64>], radii: &[f64]| {
        let pairs = points.iter().zip(radii);
        pairs.filter(|(x, r)| distance(x, y) <= **r).count()
    };
    let inside: Vec<usize> = fake.iter().map(|y| balls(y, real, &of_real)).collect();
    let recalled = real.iter().filter(|x| balls(x, fake, &of_fake) > 0).count();
    let covered = real.iter().zip(&of_real);
    let covered = covered.filter(|(x, r)| fake.iter().any(|y| distance(x, y) <= **r));
    [
        inside.iter().filter(|balls| **balls > 0).count() as f64 / m,
        recalled as f64 / n,
        inside.iter().sum::<usize>() as f64 / (k as f64 * m),
        covered.count() as f64 / n,
    ]
}

#[test]
fn precision_and_recall_are_those_of_the_definitions() -> Result<()> {
    let mut rng = Rng::new(12);
    // Whole numbers have ties; far from the origin products have few digits; the last are more than one block.
    for (n, m, d, parts, far) in [
        (40, 30, 2, 1e6, 0.),
        (40, 30, 2, 1., 0.),
        (30, 40, 3, 2., 1e7),
        (25, 25, 40, 1e6, 1e9),
        (1500, 1200, 2, 1., 0.),
    ] {
        let mut draw = |n: usize, scale: f64| -> Result<Tensor> {
            let x = rng.normal((n, d), DType::F64, CPU)?;
            Ok((((x * scale)? * parts)?.round()? / parts)?.affine(1., far)?)
        };
        let (real, fake) = (draw(n, 1.5)?, draw(m, 1.)?);
        for k in [1, 3, 5] {
            let found = precision_recall(&real, &fake, k)?;
            let found = [found.precision, found.recall, found.density, found.coverage];
            let want = plain(&rows(&real)?, &rows(&fake)?, k);
            assert_eq!(found, want, "{n} {d} {parts} {far} {k}");
        }
    }
    Ok(())
}

#[test]
fn equal_samples_have_all_and_disjoint_ones_nothing() -> Result<()> {
    for (d, dtype) in [(2, DType::F64), (20, DType::F32)] {
        let x = normal(13, 200, d)?.to_dtype(dtype)?;
        let found = precision_recall(&x, &x, 4)?;
        assert_eq!(
            (found.precision, found.recall, found.coverage),
            (1., 1., 1.)
        );
        // In each ball are its own point and four neighbours, of which the last is on the surface.
        assert_eq!(found.density, 1.25);
        let found = precision_recall(&x, &(&x + 100.)?, 4)?;
        let nothing = [found.precision, found.recall, found.density, found.coverage];
        assert_eq!(nothing, [0.; 4]);
    }
    // Points that are all the same have balls without a volume.
    let same = Tensor::ones((6, 2), DType::F64, CPU)?;
    let found = precision_recall(&same, &same, 2)?;
    assert_eq!((found.precision, found.density), (1., 3.));
    assert_eq!(precision_recall(&same, &(&same * 2.)?, 2)?.recall, 0.);
    Ok(())
}

/// Of equal laws the density is 1 in the mean, and the coverage `1 - (N - 1) .. (N - k) / ((M + N - 1) .. (M + N - k))`: the
/// nearest k of the others, real and fake, are all real otherwise. The errors of one run over 40 are about 0.01 and 0.004.
#[test]
fn of_equal_laws_density_and_coverage_meet_their_means() -> Result<()> {
    let (n, m, k, runs) = (60, 40, 3, 40);
    let (mut density, mut coverage) = (0., 0.);
    for run in 0..runs {
        let found = precision_recall(&normal(100 + run, n, 2)?, &normal(500 + run, m, 2)?, k)?;
        density += found.density / runs as f64;
        coverage += found.coverage / runs as f64;
    }
    let missed = (1..=k).map(|i| (n - i) as f64 / (m + n - i) as f64);
    let want = 1. - missed.product::<f64>();
    assert!((density - 1.).abs() < 0.05, "{density}");
    assert!((coverage - want).abs() < 0.02, "{coverage} {want}");
    Ok(())
}

#[test]
fn modes_are_counted_within_the_radius() -> Result<()> {
    let modes = Tensor::new(&[[0f64, 0.], [4., 0.], [0., 4.]], CPU)?;
    let samples = Tensor::new(
        &[
            [0f64, 0.5],
            [0.3, 0.4],
            [0., 0.51],
            [4., -0.5],
            [2., 0.],
            [9., 9.],
        ],
        CPU,
    )?;
    let found = mode_coverage(&samples, &modes, 0.5)?;
    assert_eq!(
        (found.counts.as_slice(), found.samples),
        (&[2, 1, 0][..], 6)
    );
    assert_eq!([1, 2, 3].map(|least| found.covered(least)), [2, 1, 0]);
    assert_eq!(found.high_quality(), 0.5);
    // Halfway between two modes it is the first one's.
    assert_eq!(mode_coverage(&samples, &modes, 2.)?.counts, [4, 1, 0]);
    // Points of the ring itself: 1 - e^(-9/2) of them; the standard error is 0.00074.
    let (n, scale) = (20_000, 0.02);
    let ring = (0..8).map(|k| f64::from(k) * std::f64::consts::FRAC_PI_4);
    let ring: Vec<Vec<f64>> = ring.map(|a| vec![a.cos(), a.sin()]).collect();
    let ring = Tensor::new(ring, CPU)?;
    let index: Vec<u32> = (0..n as u32).map(|k| k % 8).collect();
    let centres = ring.index_select(&Tensor::new(index, CPU)?, 0)?;
    let found = mode_coverage(
        &(centres + (normal(14, n, 2)? * scale)?)?,
        &ring,
        3. * scale,
    )?;
    assert_eq!(found.covered(n / 10), 8);
    assert!((found.high_quality() - (1. - (-4.5f64).exp())).abs() < 0.003);
    Ok(())
}

/// The moments that [`frechet_distance`] sees.
fn gaussian(x: &Tensor) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let (n, d) = x.dims2()?;
    let mean = x.mean(0)?.to_vec1::<f64>()?;
    let x = rows(x)?;
    let moment = |a: usize, b: usize| {
        let terms = x.iter().map(|row| (row[a] - mean[a]) * (row[b] - mean[b]));
        terms.sum::<f64>() / (n - 1) as f64
    };
    let covariance = (0..d).map(|a| (0..d).map(|b| moment(a, b)).collect());
    Ok((mean.clone(), covariance.collect()))
}

/// In two dimensions `tr (C_x C_y)^(1/2) = (tr C_x C_y + 2 (det C_x det C_y)^(1/2))^(1/2)`.
#[test]
fn the_frechet_distance_is_that_of_the_moments() -> Result<()> {
    let turn = Tensor::new(&[[1.2f64, 0.9], [-0.2, 0.4]], CPU)?;
    for (n, m) in [(30, 20), (2, 20), (2, 2)] {
        let (x, y) = (normal(15, n, 2)?, (normal(16, m, 2)?.matmul(&turn)? + 0.7)?);
        let ((a, p), (b, q)) = (gaussian(&x)?, gaussian(&y)?);
        let det = |c: &[Vec<f64>]| c[0][0] * c[1][1] - c[0][1] * c[1][0];
        let product: f64 = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .iter()
            .map(|(i, j): &(usize, usize)| p[*i][*j] * q[*j][*i])
            .sum();
        let dets = (det(&p) * det(&q)).max(0.).sqrt();
        let root = (product + 2. * dets).sqrt();
        let traces: f64 = p[0][0] + p[1][1] + q[0][0] + q[1][1];
        let want = distance(&a, &b).powi(2) + traces - 2. * root;
        let found = frechet_distance(&x, &y)?;
        // Of singular covariances the formula here has half the digits.
        assert!((found - want).abs() < 1e-7, "{n} {m}: {found} {want}");
        let back = frechet_distance(&y, &x)?;
        assert!((found - back).abs() < 1e-12);
        let far = frechet_distance(&(&x + 1e6)?, &(&y + 1e6)?)?;
        assert!((found - far).abs() < 1e-7, "{found} {far}");
    }
    Ok(())
}

#[test]
fn fewer_points_than_dimensions_have_a_frechet_distance() -> Result<()> {
    let x = normal(17, 4, 9)?;
    assert!(frechet_distance(&x, &x)?.abs() < 1e-12);
    // A scale c of commuting covariances: |c - 1|^2 (|mean|^2 + tr C).
    let (mean, covariance) = gaussian(&x)?;
    let trace: f64 = (0..9).map(|i| covariance[i][i]).sum();
    let squares: f64 = mean.iter().map(|x| x * x).sum();
    let found = frechet_distance(&x, &(&x * 3.)?)?;
    let want = 4. * (squares + trace);
    assert!((found - want).abs() < 1e-10 * want, "{found} {want}");
    // Orthogonal spans: nothing of the covariances is shared.
    let zero = Tensor::zeros((3, 2), DType::F64, CPU)?;
    let (a, b) = (normal(18, 3, 2)?, normal(19, 3, 2)?);
    let (left, right) = (Tensor::cat(&[&a, &zero], 1)?, Tensor::cat(&[&zero, &b], 1)?);
    let own = |x: &Tensor| -> Result<f64> {
        let (mean, covariance) = gaussian(x)?;
        Ok(mean[0].powi(2) + mean[1].powi(2) + covariance[0][0] + covariance[1][1])
    };
    let want = own(&a)? + own(&b)?;
    assert!((frechet_distance(&left, &right)? - want).abs() < 1e-12 * want);
    // One constant feature, in both.
    let flat = frechet_distance(&zero, &zero)?;
    assert_eq!(flat, 0.);
    Ok(())
}

/// Draws of two Gaussians against their distance in closed form. Over seeds the estimate's standard deviation is about 0.05.
#[test]
fn the_frechet_distance_of_draws_is_that_of_their_gaussians() -> Result<()> {
    let gaussian = |loc: &[f64], factor: &[[f64; 3]; 3]| {
        MultivariateNormal::new(&Tensor::new(loc, CPU)?, &Tensor::new(factor, CPU)?)
    };
    let p = gaussian(
        &[0., 1., -1.],
        &[[1., 0., 0.], [0.5, 1.5, 0.], [0., -0.3, 0.7]],
    )?;
    let q = gaussian(
        &[1., 1., 0.],
        &[[2., 0., 0.], [-0.4, 0.3, 0.], [0.2, 0.6, 1.]],
    )?;
    let want = number(&p.wasserstein2_squared(&q)?);
    let draws = |law: &MultivariateNormal, seed| law.sample(&[20_000], &mut Rng::new(seed));
    let found = frechet_distance(&draws(&p, 20)?, &draws(&q, 21)?)?;
    assert!((found - want).abs() < 0.2 && want > 3., "{found} {want}");
    Ok(())
}

#[test]
fn samples_that_do_not_fit_are_refused() -> Result<()> {
    let x = normal(22, 5, 2)?;
    type Metric = fn(&Tensor, &Tensor) -> Result<()>;
    let metrics: [(Metric, usize); 4] = [
        (
            |x, y| sliced_wasserstein(x, y, 3, 2., &mut Rng::new(0)).map(drop),
            1,
        ),
        (|x, y| precision_recall(x, y, 1).map(drop), 2),
        (|x, y| mode_coverage(x, y, 1.).map(drop), 1),
        (|x, y| frechet_distance(x, y).map(drop), 2),
    ];
    for (which, (metric, least)) in metrics.into_iter().enumerate() {
        for dims in [&[least - 1, 2][..], &[5, 3], &[5, 0], &[5], &[1, 5, 2]] {
            let y = Tensor::zeros(dims, DType::F64, CPU)?;
            for pair in [[&x, &y], [&y, &x]] {
                let refused = metric(pair[0], pair[1]);
                assert!(matches!(refused, Err(Error::Shape { .. })), "{dims:?}");
            }
        }
        let whole = x.to_dtype(DType::U32)?;
        assert!(matches!(metric(&x, &whole), Err(Error::DType { .. })));
        assert!(metric(&x, &x).is_ok());
        for bad in [f64::NAN, f64::INFINITY] {
            let y = (&x * bad)?;
            let refused = metric(&x, &y);
            // The differentiable one tells by its value.
            assert_eq!(refused.is_ok(), which == 0, "{bad}");
            assert!(which == 0 || matches!(refused, Err(Error::Value { .. })));
        }
    }
    let broken = (&x * f64::NAN)?;
    let found = sliced_wasserstein(&x, &broken, 3, 2., &mut Rng::new(0))?;
    assert!(floats(&found.powers)?.iter().all(|power| power.is_nan()));
    let value = |refused: Result<()>| assert!(matches!(refused, Err(Error::Value { .. })));
    for k in [0, 5, 6] {
        value(precision_recall(&x, &normal(23, 9, 2)?, k).map(drop));
        value(precision_recall(&normal(23, 9, 2)?, &x, k).map(drop));
    }
    value(precision_recall(&(&x * 1e200)?, &x, 1).map(drop));
    for (directions, order) in [(1, 2.), (3, 0.5), (3, f64::NAN), (3, f64::INFINITY)] {
        let rng = &mut Rng::new(0);
        value(sliced_wasserstein(&x, &x, directions, order, rng).map(drop));
    }
    for radius in [-1., f64::NAN, f64::INFINITY] {
        value(mode_coverage(&x, &x, radius).map(drop));
    }
    let single = x.to_dtype(DType::F32)?;
    let mixed = sliced_wasserstein(&x, &single, 3, 2., &mut Rng::new(0));
    assert!(matches!(mixed, Err(Error::DType { .. })));
    Ok(())
}
