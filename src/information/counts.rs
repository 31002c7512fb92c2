//! Informations of counted states.

/// Mutual informations of states of so many samples, from the counts of their pairs: tables of a few cells, by the thousand.
pub(crate) struct CountedInformation {
    /// `n ln n`.
    terms: Vec<f64>,
}

impl CountedInformation {
    pub(crate) fn new(samples: usize) -> Self {
        let term = |n: usize| n as f64 * (n.max(1) as f64).ln();
        CountedInformation {
            terms: (0..=samples).map(term).collect(),
        }
    }

    /// `I(a; b)` in nats, each with its number of states.
    pub(crate) fn between(&self, (a, rows): (&[u32], usize), (b, columns): (&[u32], usize)) -> f64 {
        let mut table = vec![0; rows * columns];
        for (a, b) in a.iter().zip(b) {
            table[*a as usize * columns + *b as usize] += 1;
        }
        let joint: f64 = table.iter().map(|n: &usize| self.terms[*n]).sum();
        let row = |i: usize| table[i * columns..][..columns].iter().sum::<usize>();
        let column = |j: usize| table.iter().skip(j).step_by(columns).sum::<usize>();
        let first: f64 = (0..rows).map(|i| self.terms[row(i)]).sum();
        let second: f64 = (0..columns).map(|j| self.terms[column(j)]).sum();
        let samples = a.len();
        (joint - first - second + self.terms[samples]) / samples as f64
    }
}
