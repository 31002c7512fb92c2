//! Nearest neighbours beside a plain loop, ties, and what is refused.

use candle_core::{DType, Device, Tensor};
use candle_prob::neighbours::{Bound, Metric, NearestNeighbours};
use candle_prob::{Result, Rng};

/// The number and distance of each point other than `skip`, the nearest first.
fn plain(points: &[Vec<f64>], query: &[f64], metric: Metric, skip: usize) -> Vec<(u32, f64)> {
    let distance = |point: &Vec<f64>| {
        let gaps = point.iter().zip(query).map(|(a, b)| (a - b).abs());
        match metric {
            Metric::Euclidean => gaps.map(|gap| gap * gap).sum::<f64>().sqrt(),
            Metric::Manhattan => gaps.sum(),
            Metric::Chebyshev => gaps.fold(0., f64::max),
        }
    };
    let all = points.iter().enumerate().filter(|(n, _)| *n != skip);
    let mut all: Vec<(u32, f64)> = all.map(|(n, p)| (n as u32, distance(p))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all
}

#[test]
fn neighbours_are_those_of_a_plain_loop() -> Result<()> {
    let mut rng = Rng::new(0);
    // Whole numbers have ties: of those the first comes first.
    // The last are so many that not all of them are looked at.
    for (dtype, parts, count, dims) in [
        (DType::F64, 1e3, 40, 3),
        (DType::F32, 1e3, 40, 3),
        (DType::F64, 1., 40, 3),
        (DType::F64, 1e3, 600, 16),
        (DType::F32, 1., 600, 16),
    ] {
        let mut normal = |n| -> Result<Tensor> {
            let x = rng.normal((n, dims), DType::F64, &Device::Cpu)?;
            Ok(((x * parts)?.round()? / parts)?.to_dtype(dtype)?)
        };
        let (points, queries) = (normal(count)?, normal(9)?);
        let rows = |x: &Tensor| x.to_dtype(DType::F64)?.to_vec2::<f64>();
        let (own, asked) = (rows(&points)?, rows(&queries)?);
        for metric in [Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev] {
            let all = NearestNeighbours::new(&points, metric)?;
            for k in [1, 5, 39] {
                for (found, queries, itself) in [
                    (all.nearest(&queries, k)?, &asked, false),
                    (all.nearest_others(k)?, &own, true),
                ] {
                    let index = found.index.to_vec2::<u32>()?;
                    let distance = found.distance.to_vec2::<f64>()?;
                    assert_eq!(index.len(), queries.len());
                    for (n, query) in queries.iter().enumerate() {
                        let skip = if itself { n } else { usize::MAX };
                        let mut want = plain(&own, query, metric, skip);
                        want.truncate(k);
                        let pairs = index[n].iter().copied().zip(distance[n].iter().copied());
                        assert_eq!(pairs.collect::<Vec<_>>(), want, "{metric:?} {k} {n}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_has_no_neighbours_is_refused() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let refused = |shape: &[usize]| -> Result<()> {
        let error = NearestNeighbours::new(&zeros(shape)?, Metric::Euclidean).err();
        let error = error.map_or("nothing".into(), |e| e.to_string());
        assert!(
            error.starts_with("NearestNeighbours::new: points: "),
            "{error}"
        );
        Ok(())
    };
    for shape in [&[0, 2][..], &[3, 0], &[3], &[3, 2, 1]] {
        refused(shape)?;
    }
    let three = NearestNeighbours::new(&zeros(&[3, 2])?, Metric::Euclidean)?;
    for (shape, k) in [(&[1, 3][..], 1), (&[2], 1), (&[1, 2], 0), (&[1, 2], 4)] {
        assert!(three.nearest(&zeros(shape)?, k).is_err(), "{shape:?} {k}");
    }
    assert!(three.nearest_others(0).is_err() && three.nearest_others(3).is_err());
    assert_eq!(three.nearest(&zeros(&[0, 2])?, 1)?.index.dims(), [0, 1]);
    let one = NearestNeighbours::new(&zeros(&[1, 2])?, Metric::Euclidean)?;
    assert!(one.nearest_others(1).is_err());
    Ok(())
}

/// The differences inf - inf and 0 / 0 are negative NaN on some processors.
#[test]
fn what_is_no_distance_is_farther_than_all() -> Result<()> {
    let points = Tensor::new(&[[-f64::NAN], [f64::INFINITY], [3.]], &Device::Cpu)?;
    for metric in [Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev] {
        let found = NearestNeighbours::new(&points, metric)?;
        for (query, want) in [(1., [2, 1, 0]), (f64::INFINITY, [2, 0, 1])] {
            let query = Tensor::new(&[[query]], &Device::Cpu)?;
            let got = found.nearest(&query, 3)?.index.to_vec2::<u32>()?;
            assert_eq!(got, [want], "{metric:?}");
        }
    }
    Ok(())
}

/// Radii that are distances of points, of all sizes, negative and no number; a point at its own place.
#[test]
fn counts_are_those_of_a_plain_loop() -> Result<()> {
    let mut rng = Rng::new(1);
    let near = |bound, distance: f64, radius: f64| match bound {
        Bound::Open => distance < radius,
        Bound::Closed => distance <= radius,
    };
    for (scale, parts, count, dims) in [
        (1., 1., 70, 2),
        (1., 1e3, 70, 3),
        (1., 1e3, 300, 1),
        (1., 1e6, 300, 12),
        (1e-160, 1e3, 70, 3),
        (1e160, 1e3, 70, 3),
    ] {
        let mut normal = |n| -> Result<Tensor> {
            let x = rng.normal((n, dims), DType::F64, &Device::Cpu)?;
            Ok((((x * parts)?.round()? / parts)? * scale)?)
        };
        let (points, queries) = (normal(count)?, normal(count)?);
        let (own, asked) = (points.to_vec2::<f64>()?, queries.to_vec2::<f64>()?);
        for metric in [Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev] {
            let all = NearestNeighbours::new(&points, metric)?;
            let near_by = all.nearest(&queries, 5)?.distance.to_vec2::<f64>()?;
            let others = all.nearest_others(5)?.distance.to_vec2::<f64>()?;
            let odd = [0., -1., f64::NAN, f64::INFINITY, f64::MAX];
            let radii = |of: &[Vec<f64>]| -> Vec<f64> {
                let each = of.iter().enumerate();
                each.map(|(n, row)| *odd.get(n).unwrap_or(&row[n % 5]))
                    .collect()
            };
            for bound in [Bound::Open, Bound::Closed] {
                for (queries, radii, itself) in [
                    (&asked, radii(&near_by), false),
                    (&own, radii(&others), true),
                ] {
                    let radius = Tensor::new(&*radii, &Device::Cpu)?;
                    let found = match itself {
                        true => all.count_others_within(&radius, bound)?,
                        false => all.count_within(
                            &Tensor::new(queries.clone(), &Device::Cpu)?,
                            &radius,
                            bound,
                        )?,
                    };
                    for (n, found) in found.to_vec1::<u32>()?.into_iter().enumerate() {
                        let skip = if itself { n } else { usize::MAX };
                        let each = plain(&own, &queries[n], metric, skip);
                        let want = each.iter().filter(|p| near(bound, p.1, radii[n])).count();
                        assert_eq!(
                            found as usize, want,
                            "{metric:?} {bound:?} {dims} {scale} {n}"
                        );
                    }
                }
            }
        }
    }
    let four = Tensor::new(&[[0f64], [f64::NAN], [f64::INFINITY], [0.]], &Device::Cpu)?;
    let four = NearestNeighbours::new(&four, Metric::Euclidean)?;
    let all = Tensor::full(f64::INFINITY, 4, &Device::Cpu)?;
    let found = four
        .count_others_within(&all, Bound::Closed)?
        .to_vec1::<u32>()?;
    assert_eq!(found, [2, 0, 2, 2]);
    let found = four
        .count_others_within(&all, Bound::Open)?
        .to_vec1::<u32>()?;
    assert_eq!(found, [1, 0, 0, 1]);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu);
    for (queries, radii) in [(&[2, 1][..], &[1][..]), (&[2, 2], &[2]), (&[2, 1], &[2, 1])] {
        let error = four.count_within(&zeros(queries)?, &zeros(radii)?, Bound::Open);
        assert!(error.is_err(), "{queries:?} {radii:?}");
    }
    let none = four.count_within(&zeros(&[0, 1])?, &zeros(&[0])?, Bound::Open)?;
    assert_eq!(none.dims(), [0]);
    Ok(())
}
