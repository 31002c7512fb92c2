//! Products of a design against the sums as they are written.

use super::*;

/// All products of a design of such a size, in the same way each time.
fn products<T: Number>([features, samples, classes]: [usize; 3]) -> ([Vec<T>; 4], [Vec<f64>; 2]) {
    let number = |k: usize| ((k * 7919 + 13) % 1009) as f64 / 500. - 1.;
    // Samples in rows; means, scales and weights that take their part.
    let entry = |i: usize, n: usize| number(i * samples + n);
    let rows = (0..samples).flat_map(|n| (0..features).map(move |i| T::of(entry(i, n))));
    let rows: Vec<T> = rows.collect();
    let means: Vec<f64> = (0..features).map(|i| number(3 * i)).collect();
    let scales: Vec<f64> = (0..features).map(|i| 1.5 + number(5 * i)).collect();
    let roots: Vec<f64> = (0..samples)
        .map(|n| (1.5 + number(11 * n)).sqrt())
        .collect();
    let x = |i: usize, n: usize| -> f64 {
        let entry: f64 = rows[n * features + i].into();
        T::of((entry - means[i]) / scales[i] * roots[n]).into()
    };
    let design = Design::<T>::centred(&rows, [&means, &scales], &roots);
    let stride = design.stride();
    let mut r = vec![T::default(); classes * stride];
    for (c, r) in r.chunks_exact_mut(stride).enumerate() {
        for (n, r) in r[..samples].iter_mut().enumerate() {
            *r = T::of(number(31 * n + 17 * c));
        }
    }
    // Every third feature has no weights.
    let weights = |i: usize, products: &[f64]| -> Option<Vec<f64>> {
        let weight = |p: &f64| T::of(number(i) + 0.01 * p).into();
        (!i.is_multiple_of(3)).then(|| products.iter().map(weight).collect())
    };
    let next = |i: usize, products: &[T], w: &mut [T]| {
        let products: Vec<f64> = products.iter().map(|p| (*p).into()).collect();
        let own = weights(i, &products);
        for (w, own) in w.iter_mut().zip(own.iter().flatten()) {
            *w = T::of(*own);
        }
        own.is_some()
    };
    let all: Vec<usize> = (0..features).collect();
    let apart = design.correlate(&all, &r);
    let swept = design.sweep(&r, &r, &next);
    let (mut rows, mut w) = (vec![], vec![T::default(); features * classes]);
    for (i, products) in apart.chunks_exact(classes).enumerate() {
        if next(i, products, &mut w[rows.len() * classes..][..classes]) {
            rows.push(i);
        }
    }
    w.truncate(rows.len() * classes);
    let composed = design.combine(&rows, &w, &r);
    assert_eq!(swept.rows, rows);
    for (kept, w) in swept.weights.iter().zip(&w) {
        let gap: f64 = (*kept).into() - (*w).into();
        assert!(gap.abs() < 1e3 * T::ROUNDING, "{kept:?} {w:?}");
    }
    // The sums as they are written.
    let number = |r: &[T], c: usize, n: usize| -> f64 { r[c * stride + n].into() };
    let each = |i: usize| (0..classes).map(move |c| (i, c));
    let sums = (0..features).flat_map(each).map(|(i, c)| {
        (0..samples)
            .map(|n| Into::<f64>::into(T::of(x(i, n))) * number(&r, c, n))
            .sum()
    });
    let sums: Vec<f64> = sums.collect();
    let mut total: Vec<f64> = r.iter().map(|r| (*r).into()).collect();
    for (i, sums) in sums.chunks_exact(classes).enumerate() {
        for (c, w) in weights(i, sums).iter().flatten().enumerate() {
            for n in 0..samples {
                total[c * stride + n] += w * x(i, n);
            }
        }
    }
    ([apart, swept.products, swept.sums, composed], [sums, total])
}

fn agree<T: Number>(size: [usize; 3]) {
    let ([apart, swept, combined, composed], [sums, total]) = products::<T>(size);
    for (got, expected, terms) in [
        (&apart, &sums, size[1]),
        (&swept, &sums, size[1]),
        (&combined, &total, size[0]),
        (&composed, &total, size[0]),
    ] {
        let most = expected.iter().fold(1f64, |most, e| most.max(e.abs()));
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            let gap = (Into::<f64>::into(*got) - expected).abs();
            let bound = 0.1 * T::ROUNDING * most * (terms as f64).sqrt();
            assert!(gap <= bound, "{size:?}: {got:?} for {expected}");
        }
    }
}

#[test]
fn products_are_their_sums() {
    for features in [1, 5, 16, 23, FEATURES + 18] {
        for samples in [1, 16, 90] {
            for classes in [1, 2, 3, 4, 5, 6, 7, 11] {
                agree::<f32>([features, samples, classes]);
                agree::<f64>([features, samples, classes]);
            }
        }
    }
    // Rows of which only a few make a group.
    agree::<f32>([23, 3000, 2]);
    agree::<f64>([23, 9000, 7]);
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
            .install(|| products::<f32>([5 * FEATURES, 20, 7]).0)
    };
    assert_eq!(run(1), run(3));
}
