//! How well clusters agree with classes.

use super::images::CLASSES;

/// How clusters agree with classes.
pub struct Agreement {
    /// The share of images whose cluster is that of their class, under the best assignment of clusters to classes.
    pub accuracy: f64,
    /// Mutual information of clusters and classes over the mean of both entropies.
    pub information: f64,
}

/// Of clusters and classes, both below the number of classes.
pub fn agreement(clusters: &[usize], classes: &[u8]) -> Agreement {
    let mut table = [[0usize; CLASSES]; CLASSES];
    for (&cluster, &class) in clusters.iter().zip(classes) {
        table[cluster][usize::from(class)] += 1;
    }
    let count = clusters.len() as f64;
    let entropy = |counts: &[usize]| -> f64 {
        let shares = counts.iter().filter(|n| **n > 0);
        let shares = shares.map(|n| *n as f64 / count);
        -shares.map(|p| p * p.ln()).sum::<f64>()
    };
    let of_clusters = entropy(&table.map(|row| row.iter().sum()));
    let columns: Vec<usize> = (0..CLASSES)
        .map(|j| table.iter().map(|row| row[j]).sum())
        .collect();
    let of_classes = entropy(&columns);
    let mutual = of_clusters + of_classes - entropy(table.as_flattened());
    let mean = 0.5 * (of_clusters + of_classes);
    Agreement {
        accuracy: best_assignment(&table) as f64 / count,
        // One cluster and one class agree.
        information: if mean > 0. { mutual / mean } else { 1. },
    }
}

/// The largest sum of one entry in each row and column: of the first rows, for every set of columns that they take.
fn best_assignment(table: &[[usize; CLASSES]; CLASSES]) -> usize {
    let mut best = vec![0; 1 << CLASSES];
    for set in 1usize..1 << CLASSES {
        let row = set.count_ones() as usize - 1;
        let taken = (0..CLASSES).filter(|j| set >> j & 1 == 1);
        let sums = taken.map(|j| best[set ^ (1 << j)] + table[row][j]);
        best[set] = sums.max().unwrap_or(0);
    }
    best[(1 << CLASSES) - 1]
}
