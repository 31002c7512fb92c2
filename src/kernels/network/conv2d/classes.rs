//! The input's gradient, for each class of input pixels modulo the stride a convolution of stride one over the output's gradient:
//! which taps reach a class, and where the products read and write.

use super::geometry::Geometry;
use super::tile::Run;

/// Input pixels that the same taps reach: those with one remainder of (row, column) by the stride.
pub(super) struct Class {
    /// The remainders, of padded rows and columns.
    remainder: (usize, usize),
    /// Taps in each direction.
    reach: (usize, usize),
    /// Tap numbers `i * kernel width + j`, in the order of the output pixels that they come from.
    pub(super) taps: Vec<usize>,
}

impl Geometry {
    pub(super) fn classes(&self) -> Vec<Class> {
        let (sh, sw) = self.stride;
        let (kh, kw) = self.kernel;
        let mut classes = vec![];
        for ry in 0..sh {
            for rx in 0..sw {
                let reach = (
                    kh.saturating_sub(ry).div_ceil(sh),
                    kw.saturating_sub(rx).div_ceil(sw),
                );
                // A later output pixel meets the same input pixel at an earlier tap.
                let mut taps = vec![];
                for i in (0..reach.0).rev() {
                    for j in (0..reach.1).rev() {
                        taps.push((ry + i * sh) * kw + rx + j * sw);
                    }
                }
                classes.push(Class {
                    remainder: (ry, rx),
                    reach,
                    taps,
                });
            }
        }
        classes
    }
}

/// The output's gradient in a frame of zeros, as wide as the input's gradient reads.
pub(super) struct Frame {
    before: (usize, usize),
    pub(super) width: usize,
    /// Pixels of one image.
    pub(super) pixels: usize,
}

impl Frame {
    pub(super) fn new(g: &Geometry, framed: bool) -> Self {
        if !framed {
            return Frame {
                before: (0, 0),
                width: g.out.1,
                pixels: g.pixels(),
            };
        }
        let side = |kernel: usize, stride: usize, size: usize, padding: usize, out: usize| {
            let before = kernel.div_ceil(stride) - 1;
            (
                before,
                before + ((size + padding).div_ceil(stride)).max(out),
            )
        };
        let (top, height) = side(g.kernel.0, g.stride.0, g.h, g.padding.0, g.out.0);
        let (left, width) = side(g.kernel.1, g.stride.1, g.w, g.padding.1, g.out.1);
        Frame {
            before: (top, left),
            width,
            pixels: height * width,
        }
    }

    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        (y + self.before.0) * self.width + x + self.before.1
    }
}

/// The product for one class of input pixels.
pub(super) struct ClassPlan {
    /// Offset and size of the packed weights.
    pub(super) packed: (usize, usize),
    pub(super) depth: usize,
    pub(super) runs: Vec<Run>,
    pub(super) rows: Vec<usize>,
    pub(super) out_rows: Vec<usize>,
}

pub(super) fn class_plans(
    g: &Geometry,
    frame: &Frame,
    images: usize,
    stride: usize,
) -> Vec<ClassPlan> {
    let (wide_o, wide_c) = (g.wide_o(), g.wide_c());
    let mut packed = 0;
    let mut plans = vec![];
    for class in g.classes() {
        let depth = class.taps.len() * wide_o;
        let runs = (0..class.reach.0)
            .map(|i| Run {
                a: i * frame.width * wide_o,
                b: i * class.reach.1 * wide_o,
                len: class.reach.1 * wide_o,
            })
            .collect();
        let (mut rows, mut out_rows) = (vec![], vec![]);
        for pixel in 0..images * g.h * g.w {
            let (image, y, x) = (pixel / (g.h * g.w), pixel / g.w % g.h, pixel % g.w);
            let (py, px) = (y + g.padding.0, x + g.padding.1);
            if (py % g.stride.0, px % g.stride.1) != class.remainder {
                continue;
            }
            // The last output pixel that reaches this one, and from there back to the first.
            let top = py / g.stride.0 + frame.before.0 + 1 - class.reach.0.max(1);
            let left = px / g.stride.1 + frame.before.1 + 1 - class.reach.1.max(1);
            rows.push((image * frame.pixels + top * frame.width + left) * wide_o);
            out_rows.push(pixel * stride);
        }
        plans.push(ClassPlan {
            packed: (packed, depth * wide_c),
            depth,
            runs,
            rows,
            out_rows,
        });
        packed += depth * wide_c;
    }
    plans
}
