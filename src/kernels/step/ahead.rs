//! A trial step: the parameter moves, the state stays.

use crate::kernels::number::Float;
use crate::kernels::step::update::Rule;
use candle_core::{Result, Tensor};

/// The step of a rule on a copy of its state.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<R>(pub(crate) R);

/// Elements whose state is copied at once.
const BLOCK: usize = 64;

impl<R: Rule<K>, const K: usize> Rule<K> for Ahead<R> {
    const NAME: &'static str = R::NAME;

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(
        self,
        mut p: &mut [T],
        mut g: &[T],
        mut state: [&mut [T]; K],
    ) {
        let mut copy = [[T::zero(); BLOCK]; K];
        while !p.is_empty() {
            let n = p.len().min(BLOCK);
            let (first, rest) = p.split_at_mut(n);
            let (first_g, rest_g) = g.split_at(n);
            for (copy, state) in copy.iter_mut().zip(&state) {
                copy[..n].copy_from_slice(&state[..n]);
            }
            let of_copy = copy.each_mut().map(|s| &mut s[..n]);
            self.0.fused::<T, FMA>(first, first_g, of_copy);
            (p, g) = (rest, rest_g);
            state = state.map(|s| &mut s[n..]);
        }
    }

    fn composed(
        self,
        p: &Tensor,
        g: &Tensor,
        state: &[Tensor; K],
    ) -> Result<(Tensor, [Tensor; K])> {
        Ok((self.0.composed(p, g, state)?.0, state.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::adam::Adam;
    use super::super::sgd::Sgd;
    use super::super::update::{Buffers, tests::wave, update};
    use super::*;
    use candle_core::{Device, Var};

    /// The parameter of a trial step is that of the step, bit for bit, and the state is what it was.
    fn moves_the_parameter_only<R: Rule<K>, const K: usize>(rule: R) -> Result<()> {
        for n in [0, 1, 63, 64, 65, 1000, 50_000] {
            let start = Tensor::from_vec(wave(n, 0.), n, &Device::Cpu)?;
            let g = Tensor::from_vec(wave(n, 1.), n, &Device::Cpu)?;
            let (var, twin) = (Var::from_tensor(&start)?, Var::from_tensor(&start)?);
            let mut buffers = Buffers::<K>::new(&var)?;
            update(rule, &var, &g, &mut buffers)?;
            twin.set(&var)?;
            let values = |buffers: &Buffers<K>| -> Result<Vec<Vec<f64>>> {
                let tensors = buffers.tensors(&var)?;
                tensors.iter().map(|t| t.to_vec1::<f64>()).collect()
            };
            let before = values(&buffers)?;
            update(Ahead(rule), &twin, &g, &mut buffers)?;
            assert_eq!(values(&buffers)?, before);
            update(rule, &var, &g, &mut buffers)?;
            assert_eq!(var.to_vec1::<f64>()?, twin.to_vec1::<f64>()?);
            assert!(n == 0 || values(&buffers)? != before);
        }
        Ok(())
    }

    #[test]
    fn a_trial_step_keeps_nothing() -> Result<()> {
        moves_the_parameter_only(Adam::new(2, 0.01, (0.9, 0.999), 1e-8, 0.1))?;
        moves_the_parameter_only(Sgd {
            lr: 0.05,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.1,
        })
    }
}
