//! The two linear maps of a geometry, each as products: the convolution and its transpose. Each is the other's input
//! gradient.

use super::classes::{ClassPlan, Frame, class_plans};
use super::geometry::{Geometry, Side};
use super::narrow::Narrow;
use super::tile::{Packed, Product, Run};
use super::{Order, workspace};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::transpose::transpose;
use candle_core::Result;

/// A linear map of images. Arguments are laid out channels-last among zeros, where the products read them.
pub(super) trait Map: Sync {
    fn from(&self) -> Side;

    fn to(&self) -> Side;

    /// Numbers of one image as the products read it.
    fn laid(&self) -> usize;

    /// Writes the zeros around images that [`Self::lay`] does not write.
    fn clear(&self, laid: &mut [f32]);

    /// One channels-last image.
    fn lay(&self, image: &[f32], to: &mut [f32]);

    /// Numbers of the packed weight.
    fn packed(&self) -> usize;

    fn pack(&self, weight: &[f32], to: &mut [f32]);

    /// The first `width` channels of the results for `live` images, channels-last.
    fn products(&self, p: &Packed, live: usize, out: &mut [f32], width: usize) -> Result<()>;
}

/// An image of any order channels-last, in `spare` where it is not already.
pub(super) fn rows<'a>(
    image: &'a [f32],
    side: Side,
    order: Order,
    spare: &'a mut [f32],
) -> &'a [f32] {
    if side.rows(order) {
        return image;
    }
    let (pixels, channels) = (side.pixels, side.channels);
    transpose(image, pixels, channels, pixels, spare, channels);
    &spare[..side.image()]
}

/// Numbers that [`emit`] needs for `images` images.
pub(super) fn scratch(map: &dyn Map, order: Order, images: usize) -> usize {
    let side = map.to();
    match side.rows(order) {
        true => 0,
        false => images * side.pixels * side.wide(),
    }
}

/// The activated results for `live` images, in the given order.
pub(super) fn emit(
    map: &dyn Map,
    p: &Packed,
    live: usize,
    (activation, order): (Activation, Order),
    out: &mut [f32],
    scratch: &mut [f32],
) -> Result<()> {
    let (side, wide) = (map.to(), map.to().wide());
    if side.rows(order) {
        map.products(p, live, out, side.channels)?;
        activation.apply(out);
        return Ok(());
    }
    let scratch = &mut scratch[..live * side.pixels * wide];
    map.products(p, live, scratch, wide)?;
    activation.apply(scratch);
    let images = scratch.chunks_exact(side.pixels * wide);
    for (to, from) in out.chunks_exact_mut(side.image()).zip(images) {
        transpose(from, wide, side.pixels, side.channels, to, side.pixels);
    }
    Ok(())
}

/// Numbers from one pixel of a result to the next.
fn stride(side: Side, order: Order) -> usize {
    match side.rows(order) {
        true => side.channels,
        false => side.wide(),
    }
}

/// The convolution: patches where they lie in the padded image, times the weight.
pub(super) struct Patches<'a> {
    g: &'a Geometry,
    patches: Vec<usize>,
    runs: Vec<Run>,
    out_rows: Vec<usize>,
}

impl<'a> Patches<'a> {
    /// For up to `images` images at a time, with results of this order.
    pub(super) fn new(g: &'a Geometry, images: usize, order: Order) -> Self {
        let patches = g.patches(images);
        let runs = (0..g.kernel.0)
            .map(|i| Run {
                a: i * g.padded_w() * g.c,
                b: i * g.kernel.1 * g.c,
                len: g.kernel.1 * g.c,
            })
            .collect();
        let stride = stride(g.sides().1, order);
        Patches {
            g,
            runs,
            out_rows: (0..patches.len()).map(|p| p * stride).collect(),
            patches,
        }
    }
}

impl Map for Patches<'_> {
    fn from(&self) -> Side {
        self.g.sides().0
    }

    fn to(&self) -> Side {
        self.g.sides().1
    }

    fn laid(&self) -> usize {
        self.g.padded()
    }

    fn clear(&self, _: &mut [f32]) {}

    fn lay(&self, image: &[f32], to: &mut [f32]) {
        if !to.is_empty() {
            self.g.pad_image(image, to);
        }
    }

    fn packed(&self) -> usize {
        self.g.depth() * self.to().wide()
    }

    fn pack(&self, weight: &[f32], to: &mut [f32]) {
        workspace(self.packed(), |spare| {
            self.g.pack_forward(weight, to, spare)
        });
    }

    fn products(&self, p: &Packed, live: usize, out: &mut [f32], width: usize) -> Result<()> {
        let pixels = live * self.g.pixels();
        Product {
            a: p.laid,
            a_step: 1,
            rows: &self.patches[..pixels],
            runs: &self.runs,
            b: p.weight,
            depth: self.g.depth(),
            columns: self.to().wide(),
            panels: true,
            start: p.start,
        }
        .run(out, &self.out_rows[..pixels], width)
    }
}

/// The transpose of the convolution: for each class of pixels modulo the stride a convolution of stride one over its argument
/// in a frame of zeros; to few channels another way.
pub(super) struct Classes<'a> {
    g: &'a Geometry,
    pub(super) frame: Frame,
    images: usize,
    plans: Vec<ClassPlan>,
    narrow: Option<Narrow>,
}

impl<'a> Classes<'a> {
    /// For up to `images` images at a time, with results of this order; without one it only lays out arguments, side by
    /// side.
    pub(super) fn new(g: &'a Geometry, images: usize, order: Option<Order>) -> Self {
        let stride = order.map(|order| stride(g.sides().0, order));
        let narrow = stride.filter(|_| Narrow::pays(g));
        let narrow = narrow.map(|stride| Narrow::new(g, images, stride));
        let frame = Frame::new(g, stride.is_some() && narrow.is_none());
        let plans = match (stride, &narrow) {
            (Some(stride), None) => class_plans(g, &frame, images, stride),
            _ => vec![],
        };
        Classes {
            g,
            frame,
            images,
            plans,
            narrow,
        }
    }
}

impl Map for Classes<'_> {
    fn from(&self) -> Side {
        self.g.sides().1
    }

    fn to(&self) -> Side {
        self.g.sides().0
    }

    fn laid(&self) -> usize {
        self.frame.pixels * self.from().wide()
    }

    fn clear(&self, laid: &mut [f32]) {
        laid.fill(0.);
    }

    fn lay(&self, image: &[f32], to: &mut [f32]) {
        let (g, wide) = (self.g, self.from().wide());
        for y in 0..g.out.0 {
            let line = &image[y * g.out.1 * g.o..][..g.out.1 * g.o];
            let to = &mut to[self.frame.at(y, 0) * wide..][..g.out.1 * wide];
            if g.o == wide {
                to.copy_from_slice(line);
            } else {
                for (to, from) in to.chunks_exact_mut(wide).zip(line.chunks_exact(g.o)) {
                    to[..g.o].copy_from_slice(from);
                }
            }
        }
    }

    fn packed(&self) -> usize {
        match &self.narrow {
            Some(narrow) => narrow.packed(self.g),
            None => self.g.taps() * self.from().wide() * self.to().wide(),
        }
    }

    fn pack(&self, weight: &[f32], to: &mut [f32]) {
        if let Some(narrow) = &self.narrow {
            return narrow.pack(self.g, weight, to);
        }
        workspace(self.g.depth(), |spare| {
            self.g.pack_backward(weight, to, spare)
        });
    }

    fn products(&self, p: &Packed, live: usize, out: &mut [f32], width: usize) -> Result<()> {
        if let Some(narrow) = &self.narrow {
            return narrow.products(self.g, p, live, out, width);
        }
        for plan in &self.plans {
            let (start, len) = plan.packed;
            let rows = plan.rows.len() / self.images * live;
            Product {
                a: p.laid,
                a_step: 1,
                rows: &plan.rows[..rows],
                runs: &plan.runs,
                b: &p.weight[start..start + len],
                depth: plan.depth,
                columns: self.to().wide(),
                panels: true,
                start: p.start,
            }
            .run(out, &plan.out_rows[..rows], width)?;
        }
        Ok(())
    }
}
