//! Rows of a batch, a chunk at a time, in panels: a few rows feature by feature.

use crate::kernels::network::rows::Rows;

/// Numbers of a panel, so that those of a few arguments stay in L1.
const PANEL: usize = 4096;

/// The most rows of a chunk: what the way back needs of them stays in L2.
const CHUNK: usize = 256;

/// Rows that a product takes at once.
const STEP: usize = 16 * super::product::WIDE;

/// How the rows are cut; by the sizes alone, so that the number of threads changes no bit.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) rows: Rows,
    /// Rows of a panel, whole lanes.
    pub(super) panel: usize,
}

impl Cut {
    /// For rows of at most `width` numbers.
    pub(super) fn new(count: usize, width: usize) -> Self {
        let most = 1 << (PANEL / width.max(1)).clamp(STEP, CHUNK).ilog2();
        let step = count.div_ceil(4).next_multiple_of(STEP).clamp(STEP, CHUNK);
        let panel = step.min(most);
        let rows = Rows {
            count,
            step: step.next_multiple_of(panel),
            parallel: true,
        };
        Cut { rows, panel }
    }

    /// Numbers of so many rows of `width`, whole panels of them.
    pub(super) fn room(&self, rows: usize, width: usize) -> usize {
        rows.next_multiple_of(self.panel) * width
    }

    /// Rows of `width` numbers in panels; what lacks in the last is its last row again, so that nothing becomes of it that did
    /// not become of that row.
    pub(super) fn load(&self, x: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
        let mut out = vec![0.; self.room(rows.len(), width)];
        if width == 0 {
            return out;
        }
        for (panel, out) in out.chunks_exact_mut(self.panel * width).enumerate() {
            for lane in 0..self.panel {
                let row = rows[(panel * self.panel + lane).min(rows.len() - 1)];
                for (f, x) in x[row * width..][..width].iter().enumerate() {
                    out[f * self.panel + lane] = *x;
                }
            }
        }
        out
    }

    /// As [`Self::load`] with 0 in the place of what lacks.
    pub(super) fn load_gradient(&self, g: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
        let mut out = self.load(g, rows, width);
        for lane in rows.len()..rows.len().next_multiple_of(self.panel) {
            let at = lane / self.panel * self.panel * width + lane % self.panel;
            for f in 0..width {
                out[at + f * self.panel] = 0.;
            }
        }
        out
    }

    /// Panels as rows, in these places of `out`.
    pub(super) fn store(&self, x: &[f32], rows: &[usize], width: usize, out: &mut [f32]) {
        for (lane, row) in rows.iter().enumerate() {
            let at = lane / self.panel * self.panel * width + lane % self.panel;
            for (f, out) in out[row * width..][..width].iter_mut().enumerate() {
                *out = x[at + f * self.panel];
            }
        }
    }

    /// Other lanes of panels, as [`Self::load`] does of rows.
    pub(super) fn select(&self, x: &[f32], lanes: &[usize], width: usize) -> Vec<f32> {
        let mut out = vec![0.; self.room(lanes.len(), width)];
        let place = |lane: usize| lane / self.panel * self.panel * width + lane % self.panel;
        for to in 0..lanes.len().next_multiple_of(self.panel) {
            let from = place(lanes[to.min(lanes.len() - 1)]);
            for f in 0..width {
                out[place(to) + f * self.panel] = x[from + f * self.panel];
            }
        }
        out
    }

    /// Where the numbers of a lane stand.
    pub(super) fn places(&self, lane: usize, width: usize) -> impl Iterator<Item = usize> + use<> {
        let panel = self.panel;
        let at = lane / panel * panel * width + lane % panel;
        (0..width).map(move |f| at + f * panel)
    }
}
