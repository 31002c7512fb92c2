//! The transpose of a convolution of images of few channels: one product from every pixel to all taps and channels, whose results
//! are then gathered by pixels of the image. By classes of pixels the lanes of the products would be the channels, nearly all
//! of them empty: images of one channel would take sixteen times the multiply-adds.

use super::geometry::Geometry;
use super::tile::{LANES, Packed, Product, Run, Start};
use super::workspace;
use candle_core::Result;

pub(super) struct Narrow {
    /// Columns of the product: channels times taps, up to whole lanes.
    columns: usize,
    rows: Vec<usize>,
    out_rows: Vec<usize>,
    /// Of each pixel of an image, where its terms end, after a 0.
    ends: Vec<usize>,
    /// Where the terms for the first channel stand in the product of an image, in the order of the pixels that they come from.
    terms: Vec<usize>,
    /// Numbers from one pixel of the result to the next.
    stride: usize,
}

impl Narrow {
    fn columns(g: &Geometry) -> usize {
        (g.taps() * g.c).next_multiple_of(LANES)
    }

    /// Whether it takes at most half the multiply-adds, and enough of them are spared to pay for the gathering.
    pub(super) fn pays(g: &Geometry) -> bool {
        g.o >= LANES && 2 * Self::columns(g) <= g.taps() * g.wide_c()
    }

    /// For up to `images` images at a time.
    pub(super) fn new(g: &Geometry, images: usize, stride: usize) -> Self {
        let columns = Self::columns(g);
        let (mut ends, mut terms) = (vec![0], vec![]);
        for y in 0..g.h {
            for x in 0..g.w {
                let down = sources(y + g.padding.0, g.kernel.0, g.stride.0, g.out.0);
                for (row, i) in down {
                    for (column, j) in sources(x + g.padding.1, g.kernel.1, g.stride.1, g.out.1) {
                        terms.push((row * g.out.1 + column) * columns + i * g.kernel.1 + j);
                    }
                }
                ends.push(terms.len());
            }
        }
        let pixels = images * g.pixels();
        Narrow {
            columns,
            rows: (0..pixels).map(|p| p * g.wide_o()).collect(),
            out_rows: (0..pixels).map(|p| p * columns).collect(),
            ends,
            terms,
            stride,
        }
    }

    pub(super) fn packed(&self, g: &Geometry) -> usize {
        g.o * self.columns
    }

    /// `weight [O, C, T]` with rows up to whole lanes.
    pub(super) fn pack(&self, g: &Geometry, weight: &[f32], to: &mut [f32]) {
        let depth = g.depth();
        for (to, from) in to
            .chunks_exact_mut(self.columns)
            .zip(weight.chunks_exact(depth))
        {
            to[..depth].copy_from_slice(from);
            to[depth..].fill(0.);
        }
    }

    /// The first `width` channels of the results for `live` images, channels-last; zeros beyond the last channel. The
    /// arguments lie side by side.
    pub(super) fn products(
        &self,
        g: &Geometry,
        p: &Packed,
        live: usize,
        out: &mut [f32],
        width: usize,
    ) -> Result<()> {
        let (pixels, image) = (live * g.pixels(), g.pixels() * self.columns);
        workspace(live * image, |space| {
            let all = Run {
                a: 0,
                b: 0,
                len: g.o,
            };
            Product {
                a: p.laid,
                a_step: 1,
                rows: &self.rows[..pixels],
                runs: &[all],
                b: p.weight,
                depth: g.o,
                columns: self.columns,
                panels: false,
                start: Start::Zero,
            }
            .run(space, &self.out_rows[..pixels], self.columns)?;
            let mut at = 0;
            for from in space.chunks_exact(image) {
                for ends in self.ends.windows(2) {
                    let terms = &self.terms[ends[0]..ends[1]];
                    let (to, more) = out[at..at + width].split_at_mut(g.c);
                    for (c, to) in to.iter_mut().enumerate() {
                        let mut sum = match p.start {
                            Start::Zero => 0.,
                            Start::Row(row) => row[c],
                            Start::Output => *to,
                        };
                        for term in terms {
                            sum += from[term + c * g.taps()];
                        }
                        *to = sum;
                    }
                    more.fill(0.);
                    at += self.stride;
                }
            }
            Ok(())
        })
    }
}

/// The places of the result, with their taps, that a padded place of the argument goes to, in their order.
fn sources(
    place: usize,
    kernel: usize,
    stride: usize,
    out: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let first = (place + 1).saturating_sub(kernel).div_ceil(stride);
    let last = (place / stride + 1).min(out);
    (first..last).map(move |at| (at, place - at * stride))
}
