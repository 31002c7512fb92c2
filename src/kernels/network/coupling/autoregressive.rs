//! Autoregressive layers, column by column.

use super::Step;
use super::run::Run;
use crate::kernels::machine::gemm::Mat;
use crate::kernels::network::flow::Chunk;
use crate::kernels::network::sums::Sums;
use std::ops::Range;

impl Run<'_> {
    /// A chunk through an autoregressive layer, one column after the other.
    pub(super) fn grow(
        &self,
        l: usize,
        order: &[u32],
        rows: &Range<usize>,
        [z, log_det]: [&mut [f32]; 2],
    ) -> candle_core::Result<()> {
        let (chain, width) = (&self.chains[l], self.width);
        let each = chain.outputs() / width.max(1);
        let x = z.to_vec();
        z.fill(0.);
        let (mut said, mut column) = (vec![0.; rows.len() * each], vec![0.; rows.len()]);
        for i in order.iter().map(|i| *i as usize) {
            let argument = self.argument(l, rows, z);
            let argument = Mat::new(&argument, rows.len(), chain.inputs())?;
            chain.columns(argument, i * each..(i + 1) * each, &mut said)?;
            let given = x[i..].iter().step_by(width);
            column.iter_mut().zip(given).for_each(|(c, x)| *c = *x);
            self.element(l, false)
                .forward(&mut said, &mut column, log_det);
            let known = z[i..].iter_mut().step_by(width);
            known.zip(&column).for_each(|(z, c)| *z = *c);
        }
        Ok(())
    }

    /// A chunk back through an autoregressive layer that went column by column.
    ///
    /// With x = S(y) and its log-det L, the gradient u of x solves `S_y^T u = g - g_log_det L_y`, and the weights' is that of
    /// `-u S - g_log_det L`, which has the gradient -g of y. S_y is triangular, so that u follows from the last column to the
    /// first.
    pub(super) fn solve(
        &self,
        l: usize,
        order: &[u32],
        z: &[f32],
        step: &Step,
        chunk: &mut Chunk,
        sums: &mut Sums,
    ) -> candle_core::Result<()> {
        let (chain, width, element) = (&self.chains[l], self.width, self.element(l, true));
        let rows = chunk.rows.len();
        let argument = Mat::new(&step.argument, rows, chain.inputs())?;
        let g_logs: Vec<f32> = self.spread(l, chunk.along[0]).iter().map(|g| -g).collect();
        // From the gradient of S to that of y, directly and through the network.
        let through = |gx: &[f32], needs: &[bool], sums: &mut Sums| -> candle_core::Result<_> {
            let (mut gy, mut g_said) = (gx.to_vec(), vec![0.; step.said.len()]);
            element.backward(&step.said, z, &mut gy, &g_logs, &mut g_said);
            let mut ga = vec![0.; step.argument.len()];
            let yg = [&step.said[..], &g_said[..]];
            chain.backward(argument, &step.net, yg, Some(&mut ga), needs, sums)?;
            Ok((gy, ga))
        };
        let mut gx = vec![0.; z.len()];
        let (nobody, mut none) = (
            vec![false; chunk.needs.len()],
            vec![None; chunk.needs.len()],
        );
        for i in order.iter().rev().map(|i| *i as usize) {
            let (gy, ga) = through(&gx, &nobody, &mut none)?;
            for row in 0..rows {
                let at = row * width + i;
                let missing = -chunk.g[at] - gy[at] - ga[row * chain.inputs() + i];
                gx[at] = missing * (-step.logs[at]).exp();
            }
        }
        let (_, ga) = through(&gx, chunk.needs, sums)?;
        chunk.add_context(&ga, chain.inputs());
        chunk.g.iter_mut().zip(&gx).for_each(|(g, gx)| *g = -gx);
        Ok(())
    }
}
