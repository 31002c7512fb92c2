//! How well a score tells two kinds of images apart.

/// False and true positive rates at every threshold, from none to all, and the area under the curve: the chance that an
/// outlier scores higher than an inlier, ties counted half.
pub struct Roc {
    pub points: Vec<(f64, f64)>,
    pub area: f64,
}

/// Of scores, which are higher for what looks like an outlier.
pub fn roc(inliers: &[f64], outliers: &[f64]) -> Roc {
    let mut scores: Vec<(f64, bool)> = vec![];
    scores.extend(inliers.iter().map(|s| (*s, false)));
    scores.extend(outliers.iter().map(|s| (*s, true)));
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (all, positive) = (inliers.len() as f64, outliers.len() as f64);
    let (mut points, mut area) = (vec![(0., 0.)], 0.);
    let (mut wrong, mut right) = (0., 0.);
    // What scores alike is found at one threshold.
    for group in scores.chunk_by(|a, b| a.0 == b.0) {
        let found = group.iter().filter(|(_, outlier)| *outlier).count() as f64;
        let others = group.len() as f64 - found;
        area += others * (right + 0.5 * found);
        (wrong, right) = (wrong + others, right + found);
        points.push((wrong / all, right / positive));
    }
    Roc {
        points,
        area: area / (all * positive),
    }
}

/// About so many of the points, the first and the last among them.
pub fn thinned(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(count).max(1);
    let mut out: Vec<_> = points.iter().step_by(step).copied().collect();
    out.extend(points.last());
    out
}
