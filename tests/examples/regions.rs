//! The classes of points in the plane that stable networks learn.

use crate::common::regions::{Parts, Points, Set, grid_by_class, peaks};
use candle_prob::Rng;

fn draw(set: Set, seed: u64) -> Parts {
    set.draw(&mut Rng::new(seed)).unwrap()
}

fn places(points: &Points) -> Vec<[f64; 2]> {
    let rows = points.places.to_vec2::<f32>().unwrap();
    rows.iter()
        .map(|row| [row[0].into(), row[1].into()])
        .collect()
}

fn count(points: &Points, class: u8) -> usize {
    points.classes.iter().filter(|own| **own == class).count()
}

#[test]
fn sets_have_the_sizes_of_the_paper_and_lie_in_their_windows() {
    for (set, train, valid) in [
        (Set::Ellipses, 1000, 200),
        (Set::SwissRoll, 514, 512),
        (Set::Peaks, 4000, 1000),
    ] {
        let parts = draw(set, 1);
        assert_eq!(parts.train.places.dims(), [train, 2]);
        assert_eq!(parts.valid.places.dims(), [valid, 2]);
        let of_class = (train + valid) / set.classes();
        for class in 0..set.classes() as u8 {
            let both = count(&parts.train, class) + count(&parts.valid, class);
            assert_eq!(both, of_class, "{set:?}");
        }
        let reach = set.reach();
        for place in places(&parts.train).into_iter().chain(places(&parts.valid)) {
            let inside = (0..2).all(|k| place[k].abs() <= reach[k] + 1e-6);
            assert!(inside, "{set:?}: {place:?}");
        }
        // A seed means the same points.
        let [again, other] = [1, 2].map(|seed| places(&draw(set, seed).train));
        assert_eq!(places(&parts.train), again);
        assert_eq!(places(&parts.train) == other, set == Set::SwissRoll);
    }
}

#[test]
fn ellipses_are_even_and_apart() {
    let parts = draw(Set::Ellipses, 3);
    let mut within = [0; 2];
    for (place, class) in places(&parts.train).iter().zip(&parts.train.classes) {
        let radius = place[0].hypot(2. * place[1]);
        let (from, to) = if *class == 0 { (0., 1.) } else { (1.4, 2.) };
        assert!((from..=to).contains(&radius) || (radius - to).abs() < 1e-6);
        // Half the area of each.
        let middle = f64::sqrt((from * from + to * to) / 2.);
        within[usize::from(*class)] += usize::from(radius < middle);
    }
    // About 500 of each class: 250 +- 11; five deviations are passed with probability 6e-7.
    assert!(within.iter().all(|n| (194..=306).contains(n)), "{within:?}");
}

#[test]
fn the_swiss_roll_alternates_along_its_curves() {
    let parts = draw(Set::SwissRoll, 0);
    let [train, valid] = [places(&parts.train), places(&parts.valid)];
    // r = k / 512, theta = 4 pi r; the first curve begins at the origin, the second at (0.2, 0).
    assert!(train[0][0].abs() < 1e-7 && (train[257][0] - 0.2).abs() < 1e-7);
    // Where theta is a multiple of 2 pi both lie on the axis.
    assert!((train[128][0] - 0.5).abs() < 1e-6 && train[128][1].abs() < 1e-6);
    assert!((train[256][0] - 1.).abs() < 1e-6 && (train[513][0] - 1.2).abs() < 1e-6);
    let between = |k: usize| (valid[k][0] * valid[k][0] + valid[k][1] * valid[k][1]).sqrt();
    for k in [0, 100, 255] {
        let r = (2 * k + 1) as f64 / 512.;
        assert!((between(k) - r).abs() < 1e-6 && (between(256 + k) - r - 0.2).abs() < 1e-6);
    }
}

#[test]
fn peaks_are_bands_of_one_height_and_no_point_is_drawn_twice() {
    // Values that MATLAB prints for peaks(0, 0) and its extrema on the grid of 49.
    assert!((peaks([0., 0.]) - (3. / f64::exp(1.) - 1. / (3. * f64::exp(1.)))).abs() < 1e-15);
    let grid = grid_by_class();
    let sizes: Vec<usize> = grid.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1829, 7968, 47557, 6384, 1798]);
    let parts = draw(Set::Peaks, 5);
    let mut all = places(&parts.train);
    let classes = || parts.train.classes.iter().chain(&parts.valid.classes);
    all.extend(places(&parts.valid));
    // The extrema of MATLAB's figure are -6.55 and 8.11.
    let height = (8.1054 + 6.5497) / 5.;
    for (place, class) in all.iter().zip(classes()) {
        let band = (peaks(*place) + 6.5497) / height - f64::from(*class);
        assert!((-1e-3..=1.001).contains(&band), "{place:?}: {band}");
    }
    let mut bits: Vec<[u64; 2]> = all.iter().map(|p| p.map(f64::to_bits)).collect();
    bits.sort_unstable();
    bits.dedup();
    assert_eq!(bits.len(), 5000);
}
