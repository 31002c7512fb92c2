//! Where things lie: padded channels-last images, packed weights.

use super::geometry::Geometry;
use super::tile;
use crate::kernels::network::transpose::transpose;

impl Geometry {
    /// One channels-last image into a zero-padded one.
    pub(super) fn pad_image(&self, image: &[f32], to: &mut [f32]) {
        let g = self;
        let line = g.w * g.c;
        // Only the frame is cleared: zeros everywhere would write every element twice.
        let (top, side) = (g.padding.0 * g.padded_w() * g.c, g.padding.1 * g.c);
        let (above, rest) = to.split_at_mut(top);
        let (inside, below) = rest.split_at_mut(rest.len() - top);
        above.fill(0.);
        below.fill(0.);
        for (y, to) in inside.chunks_exact_mut(line + 2 * side).enumerate() {
            to[..side].fill(0.);
            to[side..side + line].copy_from_slice(&image[y * line..][..line]);
            to[side + line..].fill(0.);
        }
    }

    /// `weight [O, C, T]` as the right side of the forward product: rows (t, c), columns o, in panels.
    pub(super) fn pack_forward(&self, weight: &[f32], to: &mut [f32], spare: &mut [f32]) {
        let (taps, depth) = (self.taps(), self.taps() * self.c);
        let mut first = 0;
        for panel in panels(self.wide_o()) {
            let live = panel.min(self.o.saturating_sub(first));
            let spare = &mut spare[..depth * panel];
            spare.fill(0.);
            transpose(&weight[first * depth..], depth, live, depth, spare, panel);
            let to = &mut to[first * depth..][..depth * panel];
            for (row, to) in to.chunks_exact_mut(panel).enumerate() {
                let (t, c) = (row / self.c, row % self.c);
                to.copy_from_slice(&spare[(c * taps + t) * panel..][..panel]);
            }
            first += panel;
        }
    }

    /// `weight [O, C, T]` as the right side of the products for the input's gradient: for each class of input pixels
    /// (row and column modulo the stride) the taps that reach it, rows (tap, o), columns c, in panels.
    pub(super) fn pack_backward(&self, weight: &[f32], to: &mut [f32], spare: &mut [f32]) {
        let (taps, depth) = (self.taps(), self.taps() * self.c);
        let (wide_o, wide_c) = (self.wide_o(), self.wide_c());
        to.fill(0.);
        let mut start = 0;
        let spare = &mut spare[..depth];
        // Where the rows of each tap begin: (start of the class, rows of the class, first row).
        let mut places = vec![(0, 0, 0); taps];
        for class in self.classes() {
            let rows = class.taps.len() * wide_o;
            for (i, tap) in class.taps.iter().enumerate() {
                places[*tap] = (start, rows, i * wide_o);
            }
            start += rows * wide_c;
        }
        for o in 0..self.o {
            transpose(&weight[o * depth..], taps, self.c, taps, spare, self.c);
            for (tap, (start, rows, row)) in places.iter().enumerate() {
                let line = &spare[tap * self.c..][..self.c];
                let mut first = 0;
                for panel in panels(wide_c) {
                    let live = panel.min(self.c.saturating_sub(first));
                    let at = start + rows * first + (row + o) * panel;
                    to[at..at + live].copy_from_slice(&line[first..first + live]);
                    first += panel;
                }
            }
        }
    }
}

/// The widths of the panels of `columns` columns.
fn panels(columns: usize) -> impl Iterator<Item = usize> {
    let wide = tile::panel();
    (0..columns.div_ceil(wide)).map(move |i| wide.min(columns - i * wide))
}
