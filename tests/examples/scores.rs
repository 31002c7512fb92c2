//! Scores of the examples: agreement of clusters with classes, and the area under a curve of rates.

use crate::common::agreement::agreement;
use crate::common::roc::{roc, thinned};

#[test]
fn clusters_that_are_classes_agree() {
    let classes: Vec<u8> = (0..100).map(|i| i % 10).collect();
    let clusters: Vec<usize> = classes.iter().map(|c| usize::from(9 - c)).collect();
    let all = agreement(&clusters, &classes);
    assert!((all.accuracy - 1.).abs() < 1e-15 && (all.information - 1.).abs() < 1e-12);
    // One cluster tells nothing.
    let none = agreement(&[3; 100], &classes);
    assert!((none.accuracy - 0.1).abs() < 1e-15 && none.information.abs() < 1e-12);
    // Two parts of a class: one of them is right.
    let parts = agreement(&[0, 0, 0, 1, 1, 2], &[5, 5, 5, 5, 5, 6]);
    assert!((parts.accuracy - 4. / 6.).abs() < 1e-15);
    // The best assignment is not the greedy one: 3 + 2 are less than 2 + 4 of ten.
    let clusters = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
    let classes = [0, 0, 0, 1, 1, 0, 0, 0, 0, 1];
    assert!((agreement(&clusters, &classes).accuracy - 0.6).abs() < 1e-15);
    // Of two halves and two quarters: I = ln 2, entropies ln 2 and ln 4.
    let halves = agreement(&[0, 0, 1, 1], &[0, 1, 2, 3]);
    assert!((halves.information - 2. / 3.).abs() < 1e-12);
}

#[test]
fn the_area_is_a_chance() {
    assert_eq!(roc(&[0., 1.], &[2., 3.]).area, 1.);
    assert_eq!(roc(&[2., 3.], &[0., 1.]).area, 0.);
    assert_eq!(roc(&[1., 1.], &[1.]).area, 0.5);
    // Of six pairs, four and a tie.
    let mixed = roc(&[0., 1., 2.], &[1., 3.]);
    assert!((mixed.area - 4.5 / 6.).abs() < 1e-15);
    assert_eq!(mixed.points.first(), Some(&(0., 0.)));
    assert_eq!(mixed.points.last(), Some(&(1., 1.)));
    let few = thinned(&mixed.points, 2);
    assert!(few.len() <= 3 && few.last() == Some(&(1., 1.)));
}
