//! Vector quantization: the nearest code of a codebook, with the gradient passed straight through.

use super::kmeans::{kmeans, sums};
use crate::bijector::Axis;
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::init::{self, Buffer};
use crate::kernels::reduce::range::{End, first_outside};
use crate::neighbours::{Metric, NearestNeighbours};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, ModuleT, VarBuilder};

mod config;
mod quantized;

pub use config::{Codebook, VectorQuantizerConfig};
pub use quantized::Quantized;
pub(super) use quantized::through;

/// A count under this says nothing any more: the code keeps its vector, before sums and counts lose their digits.
const FORGOTTEN: f64 = 1e-30;

/// The nearest code of a codebook.
///
/// Formula: `k = argmin_j |z - e_j|^2`, of equally near codes the first, and `output = e_k`, with `d output / d z = 1` (straight
/// through). With a moving average a training pass then sets
///
/// ```text
///   N <- decay N + (1 - decay) n      n: rows of the batch that chose each code
///   m <- decay m + (1 - decay) s      s: their sums
///   e <- m / N^                       N^ = N, or (N + epsilon) / (sum N + K epsilon) sum N with smoothing
/// ```
///
/// A code whose count has fallen under 1e-30 keeps its vector where nothing is smoothed. N begins at 1 and m at e.
///
/// Shapes: by [`VectorQuantizerConfig::axis`], z `[.., d]` and indices `[..]`, or z `[.., d, H, W]` and indices `[.., H, W]`.
///
/// Gradients: from the output to z, unchanged; from [`Quantized::codes`] to the codebook where it is a variable.
///
/// State: the counts, and codebook and sums of a moving average, are [`Buffer`]s; [`quantize_t`](Self::quantize_t) and
/// `forward_t` write them where `train` is true, once in a call, after the codes are looked up. A batch without a row and a
/// batch that is refused write nothing. [`initialize`](Self::initialize) sets the codes from data once, and
/// [`revive`](Self::revive), which draws, those that nothing chooses.
///
/// Errors: z of another number of parts, dtype or device, with numbers that are not finite; in training a quantizer that was
/// built on constants.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::net::{VectorQuantizerConfig, vector_quantizer};
/// use candle_prob::objective::vq;
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let (vars, mut rng) = (VarMap::new(), Rng::new(0));
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = VectorQuantizerConfig { codes: 16, dims: 4, ..Default::default() };
/// let quantizer = vector_quantizer(&config, vb)?;
/// let features = rng.normal((8, 4, 7, 7), DType::F32, &Device::Cpu)?; // of an encoder
/// quantizer.initialize(&features, &mut rng)?;
/// let found = quantizer.quantize_t(&features, true)?;
/// assert_eq!((found.output.dims(), found.index.dims()), (&[8, 4, 7, 7][..], &[8, 7, 7][..]));
/// assert!(found.perplexity()? > 8.); // of 16
/// let parts = vq(&found.rows, &found.codes, 0.25)?; // of each row: to be added to the reconstruction's loss
/// assert_eq!(parts.commitment.dims(), [8, 7, 7]);
/// assert_eq!(quantizer.decode(&found.index)?.dims(), [8, 4, 7, 7]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the search is that of [`NearestNeighbours`], exact by distances in f64, and never holds all distances.
///
/// Source: van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning, eq. 1 to 3 and appendix A.1;
/// Razavi, van den Oord and Vinyals (2019), VQ-VAE-2, section 2.1.
#[doc(alias = "vqvae")]
#[derive(Debug, Clone)]
pub struct VectorQuantizer {
    config: VectorQuantizerConfig,
    book: Book,
    counts: Buffer,
    /// 1 where data have initialized the codes.
    initialized: Buffer,
}

#[derive(Debug, Clone)]
enum Book {
    Learned(Tensor),
    Averaged {
        codebook: Buffer,
        sums: Buffer,
        smoothing: f64,
    },
}

/// A [`VectorQuantizer`] with `codebook` `[K, d]`, a variable of that name or a buffer, and the buffers `counts` `[K]`,
/// `initialized` `[1]` and, for a moving average, `sums` `[K, d]`.
///
/// Initializers: codes uniform in `+- 1 / K`, until [`initialize`](VectorQuantizer::initialize) is called.
///
/// Errors: fewer than two codes, codes without numbers, a decay outside [0, 1), a negative smoothing; a dtype that is not f32
/// or f64, since running counts have too many digits for half precision; those of `vb`.
pub fn vector_quantizer(config: &VectorQuantizerConfig, vb: VarBuilder) -> Result<VectorQuantizer> {
    let op = "net::vector_quantizer";
    // One code is chosen whatever the batch, and has nothing to tell.
    check::at_least(op, "codes", config.codes, 2)?;
    check::at_least_one(op, &[("dims", config.dims)])?;
    check::in_interval(op, "decay", config.decay, 0. ..1.)?;
    if !matches!(vb.dtype(), DType::F32 | DType::F64) {
        return Err(Error::DType {
            op,
            arg: "vb",
            expected: "f32 or f64".into(),
            found: vb.dtype(),
        });
    }
    let (book, bound) = ((config.codes, config.dims), 1. / config.codes as f64);
    let codes = Init::Uniform {
        lo: -bound,
        up: bound,
    };
    // Sums that a file holds stay.
    let fresh = !vb.contains_tensor("sums");
    let counts = Buffer::new(config.codes, "counts", Init::Const(1.), vb.clone())?;
    let initialized = Buffer::new(1, "initialized", Init::Const(0.), vb.clone())?;
    let book = match config.codebook {
        Codebook::Gradient => Book::Learned(vb.get_with_hints(book, "codebook", codes)?),
        Codebook::MovingAverage { smoothing } => {
            check::non_negative(op, "smoothing", smoothing)?;
            let codebook = Buffer::new(book, "codebook", codes, vb.clone())?;
            let sums = Buffer::new(book, "sums", Init::Const(0.), vb)?;
            if fresh {
                let counts = counts.value()?.unsqueeze(1)?;
                sums.set(&codebook.value()?.broadcast_mul(&counts)?)?;
            }
            Book::Averaged {
                codebook,
                sums,
                smoothing,
            }
        }
    };
    Ok(VectorQuantizer {
        config: *config,
        book,
        counts,
        initialized,
    })
}

impl VectorQuantizer {
    /// The config it was built from.
    pub fn config(&self) -> &VectorQuantizerConfig {
        &self.config
    }

    /// The codes, `[K, d]`: with [`Codebook::Gradient`] the variable itself, which training moves, with
    /// [`Codebook::MovingAverage`] a copy of what they are now.
    pub fn codebook(&self) -> Result<Tensor> {
        match &self.book {
            Book::Learned(codebook) => Ok(codebook.clone()),
            Book::Averaged { codebook, .. } => codebook.value(),
        }
    }

    /// The running count of each code, `[K]`: how many rows of a batch have chosen it.
    pub fn counts(&self) -> Result<Tensor> {
        self.counts.value()
    }

    /// The code of each vector, without writing.
    pub fn quantize(&self, z: &Tensor) -> Result<Quantized> {
        self.quantize_t(z, false)
    }

    /// The code of each vector, by the codes before this call; in training the state then moves.
    pub fn quantize_t(&self, z: &Tensor, train: bool) -> Result<Quantized> {
        let op = "VectorQuantizer::quantize";
        let found = self.find(op, &self.rows(op, z)?)?;
        if train {
            commit(op, &self.moved(op, &found)?)?;
        }
        Ok(found)
    }

    /// The vectors of codes, in the layout of the batch: `[.., d]` or `[.., d, H, W]` for indices `[..]` or `[.., H, W]`.
    ///
    /// Errors: indices that are not u32, of K or more, or of fewer dims than an image has.
    pub fn decode(&self, index: &Tensor) -> Result<Tensor> {
        let op = "VectorQuantizer::decode";
        shape::dtype(op, "index", index, DType::U32)?;
        let codebook = self.codebook()?;
        shape::same_device(op, "index", index, &codebook)?;
        if self.config.axis == Axis::Channel && index.rank() < 2 {
            return Err(Error::shape(op, "index", "[.., H, W]", index.dims()));
        }
        let flat = index.flatten_all()?;
        if let Some(most) = flat.to_vec1::<u32>()?.into_iter().max()
            && most as usize >= self.config.codes
        {
            let expected = format!("numbers of {} codes", self.config.codes);
            return Err(Error::value(op, "index", expected, most));
        }
        let codes = codebook.index_select(&flat, 0)?;
        self.placed(&codes.reshape([index.dims(), &[self.config.dims]].concat())?)
    }

    /// Sets the codes to the centres that k-means finds in these data, of the layout of a batch: seeded by k-means++, then ten
    /// of Lloyd's steps. Counts and sums become those of the data. That it has been done is a [`Buffer`] and so saved with the
    /// weights: a second call, or one after loading, changes nothing and returns false.
    ///
    /// Of data with fewer different rows than codes some codes are the same and have no rows. Their sums and counts are 0, so
    /// that the first training pass with a smoothing takes them to the origin; [`revive`](Self::revive) finds them.
    ///
    /// Errors: those of a batch, fewer rows than codes; a quantizer built on constants. Then nothing is written.
    pub fn initialize(&self, data: &Tensor, rng: &mut Rng) -> Result<bool> {
        let op = "VectorQuantizer::initialize";
        let done = self.initialized.value()?;
        if done.to_dtype(DType::F64)?.max_all()?.to_scalar::<f64>()? > 0. {
            return Ok(false);
        }
        let rows = self.flat(op, "data", &self.rows(op, data)?)?;
        if rows.dim(0)? < self.config.codes {
            let expected = format!("a row or more for each of {} codes", self.config.codes);
            return Err(Error::shape(op, "data", expected, data.dims()));
        }
        let [centres, counts] = kmeans(&rows, self.config.codes, rng)?;
        let mut writes = self.placing(&centres, &counts, vec![1; self.config.codes])?;
        writes.push((self.initialized.variable(), done.ones_like()?));
        commit(op, &writes)?;
        Ok(true)
    }

    /// Sets the codes whose running count is under `threshold` to different random rows of a batch, of the layout of a batch,
    /// with that count; returns how many. A batch of fewer rows revives as many.
    ///
    /// Call it every so many steps, long enough for the count of what is in use to have risen above the threshold: a code that
    /// nothing chooses has `decay^steps` of its count left. What an optimizer keeps of a learned code is left as it is.
    ///
    /// Errors: those of a batch; a threshold that is not positive; a quantizer built on constants. Then nothing is written.
    pub fn revive(&self, z: &Tensor, threshold: f64, rng: &mut Rng) -> Result<usize> {
        let op = "VectorQuantizer::revive";
        check::positive_finite(op, "threshold", threshold)?;
        let rows = self.flat(op, "z", &self.rows(op, z)?)?;
        let cpu = |x: Tensor| -> Result<Tensor> {
            Ok(x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
        };
        let mut counts = cpu(self.counts()?)?.to_vec1::<f64>()?;
        let mut codes = vec![vec![0.; self.config.dims]; counts.len()];
        let mut moved = vec![0; counts.len()];
        let chosen = rng.permutation(rows.dim(0)?);
        let dead = (0..counts.len()).filter(|k| !(counts[*k] >= threshold));
        let pairs: Vec<(usize, usize)> = dead.zip(chosen).collect();
        for (k, row) in &pairs {
            counts[*k] = threshold;
            moved[*k] = 1;
            codes[*k] = rows.get(*row)?.to_vec1()?;
        }
        if !pairs.is_empty() {
            let (codes, counts) = (codes.concat(), Tensor::new(counts, &Device::Cpu)?);
            let shape = (self.config.codes, self.config.dims);
            let codes = Tensor::from_vec(codes, shape, &Device::Cpu)?;
            commit(op, &self.placing(&codes, &counts, moved)?)?;
        }
        Ok(pairs.len())
    }

    /// The vectors of a batch, `[.., d]`.
    pub(super) fn rows(&self, op: &'static str, z: &Tensor) -> Result<Tensor> {
        shape::same_kind(op, "z", z, self.counts.variable())?;
        let dims = self.config.dims;
        match (self.config.axis, z.dims()) {
            (Axis::Feature, _) => shape::last_dim(op, "z", z.dims(), dims).map(|_| z.clone()),
            (Axis::Channel, [.., c, _, _]) if *c == dims => {
                let rank = z.rank();
                Ok(z.transpose(rank - 3, rank - 2)?
                    .transpose(rank - 2, rank - 1)?
                    .contiguous()?)
            }
            _ => Err(Error::shape(
                op,
                "z",
                format!("[.., {dims}, H, W]"),
                z.dims(),
            )),
        }
    }

    /// Rows in the layout of a batch.
    pub(super) fn placed(&self, rows: &Tensor) -> Result<Tensor> {
        match self.config.axis {
            Axis::Feature => Ok(rows.clone()),
            Axis::Channel => {
                let rank = rows.rank();
                Ok(rows
                    .transpose(rank - 2, rank - 1)?
                    .transpose(rank - 3, rank - 2)?
                    .contiguous()?)
            }
        }
    }

    /// The codes of rows.
    pub(super) fn find(&self, op: &'static str, rows: &Tensor) -> Result<Quantized> {
        let (dims, codebook) = (self.config.dims, self.codebook()?);
        let batch = &rows.dims()[..rows.rank() - 1];
        let flat = rows.detach().reshape(((), dims))?;
        let found = NearestNeighbours::new(&codebook, Metric::Euclidean)?.nearest(&flat, 1)?;
        if let Some(far) =
            first_outside(&found.distance, End::Closed(0.), End::Open(f64::INFINITY))?
        {
            let expected = "rows at a finite distance from a code";
            return Err(Error::value(op, "z", expected, format!("distance {far}")));
        }
        let index = found.index.flatten_all()?.to_device(rows.device())?;
        let codes = codebook.index_select(&index, 0)?.reshape(rows.shape())?;
        Ok(Quantized {
            output: self.placed(&through(rows, &codes)?)?,
            index: index.reshape(batch)?,
            rows: rows.clone(),
            codes,
            count: self.config.codes,
        })
    }

    /// The state after a training pass.
    pub(super) fn moved(
        &self,
        op: &'static str,
        found: &Quantized,
    ) -> Result<Vec<(&Tensor, Tensor)>> {
        init::check_variable(op, self.counts.variable())?;
        let rows = found.rows.detach().reshape(((), self.config.dims))?;
        if rows.dim(0)? == 0 {
            return Ok(vec![]);
        }
        // Many rows do not add up in f32; not every device has f64.
        let rows = rows.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let index = found.index.flatten_all()?.to_device(&Device::Cpu)?;
        let [sums, counts] = sums(&rows, &index, self.config.codes)?;
        let blend = |running: Tensor, batch: Tensor| -> Result<Tensor> {
            let decay = self.config.decay;
            let batch = batch.to_dtype(running.dtype())?;
            let batch = batch.to_device(running.device())?;
            Ok(((running * decay)? + (batch * (1. - decay))?)?)
        };
        let counts = blend(self.counts()?, counts)?;
        let mut writes = vec![(self.counts.variable(), counts.clone())];
        if let Book::Averaged {
            codebook,
            sums: running,
            smoothing,
        } = &self.book
        {
            let sums = blend(running.value()?, sums)?;
            let total = counts.sum_all()?;
            let (smoothed, keep) = match *smoothing {
                0. => (counts.clone(), counts.lt(FORGOTTEN)?),
                epsilon => {
                    let all = (&total + self.config.codes as f64 * epsilon)?;
                    let share = (&counts + epsilon)?.broadcast_div(&all)?;
                    let smoothed = share.broadcast_mul(&total)?;
                    (smoothed.clone(), smoothed.lt(FORGOTTEN)?)
                }
            };
            let divisor = keep.where_cond(&smoothed.ones_like()?, &smoothed)?;
            let codes = sums.broadcast_div(&divisor.unsqueeze(1)?)?;
            let keep = keep.unsqueeze(1)?.broadcast_as(codes.shape())?;
            let codes = keep.where_cond(&codebook.value()?, &codes)?;
            writes.push((running.variable(), sums));
            writes.push((codebook.variable(), codes));
        }
        Ok(writes)
    }

    /// Codes with counts, as what the state is to be where `moved` is 1. The others keep their bits: a smoothed code is not its
    /// sum by its count.
    fn placing(
        &self,
        codes: &Tensor,
        counts: &Tensor,
        moved: Vec<u8>,
    ) -> Result<Vec<(&Tensor, Tensor)>> {
        let counted = self.counts.variable();
        let moved = Tensor::new(moved, counted.device())?;
        let rows = moved.unsqueeze(1)?.broadcast_as(codes.shape())?;
        let put = |moved: &Tensor, new: &Tensor, old: &Tensor| -> Result<Tensor> {
            let new = new.to_dtype(old.dtype())?.to_device(old.device())?;
            Ok(moved.where_cond(&new, &old.detach())?)
        };
        let mut writes = vec![(counted, put(&moved, counts, counted)?)];
        match &self.book {
            Book::Learned(codebook) => writes.push((codebook, put(&rows, codes, codebook)?)),
            Book::Averaged { codebook, sums, .. } => {
                let (codebook, sums) = (codebook.variable(), sums.variable());
                let total = codes.broadcast_mul(&counts.unsqueeze(1)?)?;
                writes.push((codebook, put(&rows, codes, codebook)?));
                writes.push((sums, put(&rows, &total, sums)?));
            }
        }
        Ok(writes)
    }

    /// Rows as `[M, d]` f64 on the CPU, finite.
    fn flat(&self, op: &'static str, arg: &'static str, rows: &Tensor) -> Result<Tensor> {
        let rows = rows.detach().reshape(((), self.config.dims))?;
        let rows = rows.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let far = End::Open(f64::INFINITY);
        match first_outside(&rows.abs()?, End::Closed(0.), far)? {
            None => Ok(rows.contiguous()?),
            Some(found) => Err(Error::value(op, arg, "finite numbers", found)),
        }
    }
}

/// Writes the state.
pub(super) fn commit(op: &'static str, writes: &[(&Tensor, Tensor)]) -> Result<()> {
    for (variable, _) in writes {
        init::check_variable(op, variable)?;
    }
    let mut all = writes.iter();
    all.try_for_each(|(variable, value)| init::write(op, variable, value))
}

impl ModuleT for VectorQuantizer {
    /// The output of [`quantize_t`](VectorQuantizer::quantize_t).
    fn forward_t(&self, z: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.quantize_t(z, train)?.output)
    }
}

impl Detach for VectorQuantizer {
    /// With the same state, which its training passes write.
    fn detach(&self) -> Self {
        let book = match &self.book {
            Book::Learned(codebook) => Book::Learned(codebook.detach()),
            averaged => averaged.clone(),
        };
        VectorQuantizer {
            book,
            ..self.clone()
        }
    }
}
