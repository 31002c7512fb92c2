//! One dense layer on slices: what a chunk of rows goes through, forward and back.

use crate::kernels::machine::buffer::{self, CHUNK, filled};
use crate::kernels::machine::gemm::{Mat, Tile, Write, tiles};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Place;
use crate::kernels::network::sums::accumulate;
use crate::kernels::network::transpose::transposed;
use candle_core::Result;
use std::borrow::Cow;
use std::ops::Range;

/// Multiply-adds from which a product is shared between threads: about 40 us of work on one.
pub(super) const PARALLEL: usize = 2 * 1024 * 1024;

/// Rows in one partial sum of a bias gradient.
const SUM_ROWS: usize = 64;

/// Columns of a bias gradient summed by one task.
const SUM_COLS: usize = 64;

/// Columns of the largest micro-kernel with AVX-512: a tile of another width leaves the rest to one of a quarter.
const WIDTH: usize = 64;

/// Rows up to which `w x^T` is computed and transposed: it reads the weight as it lies, and packing the weight takes longer than so
/// few rows' products.
const FEW_ROWS: usize = 64;

/// Outputs come in multiples of what the micro-kernels take at a time.
const TURNED_WIDTH: usize = 48;

/// Weights from which that pays.
const LARGE: usize = 16 * 1024;

/// `activation(x w^T + b)` for matrices `x` of any number of rows.
pub(crate) struct Layer<'a> {
    /// [out, in]
    pub(crate) w: &'a [f32],
    /// The weight as [in, out], which a product packs faster: worth a copy where many chunks go through.
    pub(super) transposed: Option<Vec<f32>>,
    pub(crate) b: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Among the node's inputs.
    pub(crate) place: Place,
    /// Whether one product may use several threads.
    pub(super) parallel: bool,
}

/// What a layer keeps of its rows for the way back.
pub(crate) struct Kept {
    /// Empty for the last layer, whose output is the node's.
    pub(super) output: Vec<f32>,
    /// The activation's argument, where its slope does not follow from the output.
    pub(super) argument: Option<Vec<f32>>,
}

/// The size of tiles that cut `n` into equal parts of at most about `target`, in multiples of `unit`.
fn part(n: usize, target: usize, unit: usize) -> usize {
    n.div_ceil(n.div_ceil(target).max(1)).next_multiple_of(unit)
}

/// Tiles of a product whose output has one row for each row of the batch.
fn batch_tile([rows, cols]: [usize; 2], parallel: bool) -> [usize; 2] {
    if !parallel {
        // Narrower tiles would leave vectors half empty and pack the rows again.
        return [rows, cols];
    }
    // Each tile repacks its columns of the weight, which 256 rows amortise, and then runs its epilogue from L2. Fewer
    // rows are one tile high, and cut into columns: the batch is read as it lies.
    let wide = if rows >= 2048 { 256 } else { 192 };
    [part(rows, 256, 4), part(cols, wide, WIDTH)]
}

impl<'a> Layer<'a> {
    pub(crate) fn weight(&self) -> Result<Mat<'a>> {
        Mat::new(self.w, self.outputs, self.inputs)
    }

    /// Whether a product for so many rows uses several threads.
    pub(super) fn share(&self, rows: usize) -> bool {
        self.parallel && rows * self.inputs * self.outputs >= PARALLEL
    }

    /// The output for the rows of `x` into `y`; the activation's argument, if `keep` and its slope asks for it.
    pub(super) fn forward(&self, x: Mat, y: &mut [f32], keep: bool) -> Result<Option<Vec<f32>>> {
        let all = 0..self.outputs;
        if !keep || self.activation.slope_from_output() {
            self.affine(x, all, y, self.activation)?;
            return Ok(None);
        }
        let argument = filled(y.len(), |y| self.affine(x, all, y, Activation::Identity))?;
        self.blocks(y, |start, y| {
            y.copy_from_slice(&argument[start..start + y.len()]);
            self.activation.apply(y)
        });
        Ok(Some(argument))
    }

    /// Some of the outputs, after `activation`.
    pub(super) fn affine(
        &self,
        x: Mat,
        outputs: Range<usize>,
        y: &mut [f32],
        activation: Activation,
    ) -> Result<()> {
        self.product(x, outputs, y, |tile, cols| {
            let bias = self.b.map(|b| &b[cols]);
            dispatch(Epilogue(tile, bias, activation));
        })
    }

    /// `x w^T` alone.
    pub(crate) fn linear(&self, x: Mat, y: &mut [f32]) -> Result<()> {
        self.product(x, 0..self.outputs, y, |_, _| {})
    }

    /// Some columns of `x w^T`, tile by tile, each followed by `then` of the tile and its columns.
    fn product(
        &self,
        x: Mat,
        outputs: Range<usize>,
        y: &mut [f32],
        then: impl Fn(Tile, Range<usize>) + Sync,
    ) -> Result<()> {
        let (shape, parallel) = ([x.height(), outputs.len()], self.share(x.height()));
        // A single row is a product with a vector, which packs nothing.
        let few = (2..=FEW_ROWS).contains(&shape[0])
            && self.inputs * shape[1] >= LARGE
            && self.transposed.is_none();
        let tile = match few {
            // Small enough that a tile is transposed in cache.
            true => [shape[0], part(shape[1], 256, TURNED_WIDTH)],
            false => batch_tile(shape, parallel),
        };
        let columns = match &self.transposed {
            Some(w) => Mat::new(w, self.inputs, self.outputs)?.t(),
            None => self.weight()?,
        };
        tiles(y, shape, tile, parallel, |mut tile| {
            let rows = tile.rows.clone();
            let cols = outputs.start + tile.cols.start..outputs.start + tile.cols.end;
            let (x, columns) = (x.rows(rows)?, columns.rows(cols.clone())?);
            match few {
                true => turned(&mut tile, x, columns)?,
                false => tile.gemm(Write::Set, x, columns.t())?,
            }
            then(tile, cols);
            Ok(())
        })
    }

    /// The gradient before the activation from the one after it, `kept` being what the slope follows from.
    pub(super) fn slope<'g>(&self, kept: &[f32], g: Cow<'g, [f32]>) -> Result<Cow<'g, [f32]>> {
        let activation = self.activation;
        if activation == Activation::Identity {
            return Ok(g);
        }
        let own = match g {
            Cow::Owned(mut g) => {
                self.blocks(&mut g, |start, g| {
                    activation.backprop(&kept[start..start + g.len()], g)
                });
                g
            }
            Cow::Borrowed(g) => filled(g.len(), |d| {
                self.blocks(d, |start, d| {
                    let range = start..start + d.len();
                    d.copy_from_slice(&g[range.clone()]);
                    activation.backprop(&kept[range], d)
                });
                Ok(())
            })?,
        };
        Ok(Cow::Owned(own))
    }

    /// The gradient of the rows that came in, `d w`, into `gx`.
    pub(crate) fn gradient_x(&self, d: Mat, gx: &mut [f32]) -> Result<()> {
        let w = self.weight()?;
        let (shape, parallel) = ([d.height(), self.inputs], self.share(d.height()));
        let tile = batch_tile(shape, parallel);
        tiles(gx, shape, tile, parallel, |mut tile| {
            let (rows, cols) = (tile.rows.clone(), tile.cols.clone());
            tile.gemm(Write::Set, d.rows(rows)?, w.t().rows(cols)?.t())
        })
    }

    /// The gradient of the weight, `d^T x`, set or added to `gw`.
    fn gradient_w(&self, write: Write, d: Mat, x: Mat, gw: &mut [f32]) -> Result<()> {
        let (shape, parallel) = ([self.outputs, self.inputs], self.share(d.height()));
        let tile = [part(shape[0], 256, 8), part(shape[1], 256, WIDTH)];
        tiles(gw, shape, tile, parallel, |mut tile| {
            let (rows, cols) = (tile.rows.clone(), tile.cols.clone());
            tile.gemm(write, d.t().rows(rows)?, x.t().rows(cols)?.t())
        })
    }

    /// [`gradient_w`](Layer::gradient_w), added to a sum or its first part.
    pub(crate) fn add_gradient_w(&self, d: Mat, x: Mat, sum: &mut Option<Vec<f32>>) -> Result<()> {
        accumulate(sum, self.w.len(), |write, gw| {
            self.gradient_w(write, d, x, gw)
        })
    }

    /// The gradient of the bias, the sums of the columns of `d`, added to `gb`.
    pub(super) fn gradient_b(&self, d: &[f32], gb: &mut [f32]) {
        let sum = |start: usize, sums: &mut [f32]| {
            for block in d.chunks(SUM_ROWS * self.outputs) {
                dispatch(Sums {
                    block,
                    width: self.outputs,
                    start,
                    sums,
                })
            }
        };
        if self.parallel && d.len() >= buffer::SERIAL {
            buffer::parallel(gb, SUM_COLS, sum);
        } else {
            for (i, gb) in gb.chunks_mut(SUM_COLS).enumerate() {
                sum(i * SUM_COLS, gb);
            }
        }
    }

    fn blocks(&self, data: &mut [f32], f: impl Fn(usize, &mut [f32]) + Sync) {
        if self.parallel {
            buffer::chunks(data, CHUNK, f);
        } else {
            f(0, data);
        }
    }
}

/// `x columns^T` into the tile, by way of its transpose.
fn turned(tile: &mut Tile, x: Mat, columns: Mat) -> Result<()> {
    let [rows, cols] = [tile.rows.len(), tile.cols.len()];
    let product = filled(rows * cols, |out| {
        let all = [cols, rows];
        tiles(out, all, all, false, |mut tile| {
            tile.gemm(Write::Set, columns, x.t())
        })
    })?;
    let product = transposed(&product, [cols, rows]);
    for (i, row) in product.chunks_exact(cols).enumerate() {
        tile.row(i).copy_from_slice(row);
    }
    Ok(())
}

struct Epilogue<'a>(Tile<'a>, Option<&'a [f32]>, Activation);

impl Loop for Epilogue<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Epilogue(mut tile, bias, activation) = self;
        for i in 0..tile.rows.len() {
            let row = tile.row(i);
            if let Some(bias) = bias {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
            activation.apply_slice::<FMA>(row);
        }
    }
}

/// Adds the columns from `start` on, summed over the rows of a block first: long sums keep their digits.
struct Sums<'a> {
    block: &'a [f32],
    width: usize,
    start: usize,
    /// At most [`SUM_COLS`].
    sums: &'a mut [f32],
}

impl Loop for Sums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut block = [0.; SUM_COLS];
        let block = &mut block[..self.sums.len()];
        for row in self.block.chunks_exact(self.width) {
            let row = &row[self.start..self.start + block.len()];
            block.iter_mut().zip(row).for_each(|(s, d)| *s += d);
        }
        self.sums.iter_mut().zip(block).for_each(|(s, b)| *s += *b);
    }
}
