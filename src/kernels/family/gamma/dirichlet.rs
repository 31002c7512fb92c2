//! Dirichlet draws: log-gammas and their log-softmax in one node.

use super::element::Element;
use super::on_cpu;
use super::rows::{build_rows, cycle, reduce};
use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::View;
use crate::kernels::random::{BLOCK, Stream};
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// Dirichlet draws of shape `samples ++ shape of concentration`, or their logarithms; the last dimension is the simplex.
///
/// Reference expression: (log-)softmax of standard log-gammas. Gradients: implicit, of the given log-gammas.
pub(crate) fn dirichlet(
    concentration: &Tensor,
    samples: &[usize],
    stream: Stream,
    log: bool,
) -> Result<Tensor> {
    let shape = shape::draws("Distribution::sample", samples, concentration.dims())?;
    on_cpu(&[concentration], |inputs| match inputs[0].dtype() {
        DType::F64 => node::apply1(Dirichlet::<f64>::new(stream, shape, log), &[&inputs[0]]),
        _ => node::apply1(Dirichlet::<f32>::new(stream, shape, log), &[&inputs[0]]),
    })
}

struct Dirichlet<T> {
    stream: Stream,
    shape: Vec<usize>,
    log: bool,
    /// Log of the sum of each row's gammas: with it the log-gammas are recovered from the point.
    norms: Vec<T>,
}

impl<T: Element> Dirichlet<T> {
    fn new(stream: Stream, shape: Vec<usize>, log: bool) -> Self {
        Dirichlet {
            stream,
            shape,
            log,
            norms: vec![],
        }
    }

    fn categories(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Rows that share a random block.
    fn rows(&self) -> usize {
        (BLOCK / self.categories()).max(1)
    }
}

impl<T: Element> Op for Dirichlet<T> {
    const NAME: &'static str = "dirichlet";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let concentration = View::new(&inputs[0])?;
        let concentration = concentration.as_slice::<T>()?;
        let (k, rows) = (self.categories(), self.rows());
        let len: usize = self.shape.iter().product();
        // A task has `blocks` random blocks: one, unless a row is longer than a block.
        let blocks = (rows * k).div_ceil(BLOCK) as u64;
        let (stream, log) = (self.stream, self.log);
        let (out, norms) = build_rows(len / k, k, rows, |row, out: &mut [T], norms: &mut [T]| {
            let first = (row / rows) as u64 * blocks;
            for (i, part) in out.chunks_mut(BLOCK).enumerate() {
                let offset = row * k + i * BLOCK;
                let a = cycle(concentration, offset, part.len());
                T::draws(stream, first + i as u64, &a, None, true, part);
            }
            T::normalise(k, log, out, norms);
        });
        self.norms = norms;
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            self.shape.clone().into(),
        )])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None]);
        };
        let concentration = View::new(&inputs[0])?;
        let concentration = concentration.as_slice::<T>()?;
        let value = reached.value.contiguous()?;
        let (value, gradient) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (value, gradient) = (value.as_slice::<T>()?, gradient.as_slice::<T>()?);
        let (k, rows) = (self.categories(), self.rows());
        let sums = reduce(
            value.len(),
            concentration.len(),
            rows * k,
            |offset, out: &mut [T]| {
                let range = offset..offset + out.len();
                let a = cycle(concentration, offset, out.len());
                T::simplex_gradient(
                    k,
                    self.log,
                    &a,
                    &value[range.clone()],
                    &self.norms[offset / k..(offset + out.len()) / k],
                    &gradient[range],
                    out,
                );
            },
        );
        Ok(vec![Some(Tensor::from_vec(
            sums,
            inputs[0].dims(),
            &Device::Cpu,
        )?)])
    }
}
