//! Logarithms of variances of groups of rows, as one node.

use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::graph::second_derivatives;
use crate::kernels::machine::buffer::{CHUNK, SERIAL, View, build};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::Float;
use crate::kernels::reduce;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

/// Which rows belong together.
pub(crate) struct Groups {
    /// The group of each row; those without one are left out, and are not looked at.
    pub(crate) of: Vec<Option<usize>>,
    /// How many rows each group has, two or more.
    pub(crate) sizes: Vec<usize>,
}

impl Groups {
    /// What a group's part in the mean over rows is.
    fn weight(&self, group: usize) -> f64 {
        self.sizes[group] as f64 / self.sizes.iter().sum::<usize>() as f64
    }
}

/// The mean over rows `[N, K]` that have a group of `sum_i ln Var_i` over the group, a scalar: the variances of the sample,
/// divided by one less than its size. -inf where a group's rows are equal in a column. Half precision comes out as f32.
///
/// Means, squares around them and logarithms are f64.
pub(crate) fn mean_log_variance(rows: &Tensor, groups: Groups) -> Result<Tensor> {
    let dtype = match rows.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let rows = rows.to_dtype(dtype)?;
    if !rows.device().is_cpu() || second_derivatives() {
        return composed(&rows, &groups);
    }
    let kept = Kept::default();
    Ok(node::apply1(Node { groups, kept }, &[&rows])?)
}

/// Sums over groups are products with matrices of their members.
fn composed(rows: &Tensor, groups: &Groups) -> Result<Tensor> {
    let (dtype, device) = (rows.dtype(), rows.device());
    // Those left out are not even multiplied by 0: they may be infinite.
    let present = groups.of.iter().enumerate();
    let present = present.filter_map(|(row, group)| group.map(|_| row as u32));
    let index = Tensor::from_iter(present, device)?;
    let rows = rows
        .contiguous()?
        .index_select(&index, 0)?
        .to_dtype(DType::F64)?;
    let (count, size) = (rows.dim(0)?, groups.sizes.len());
    // Around the first row of a group, so that equal rows have a variance of 0.
    let mut firsts = vec![None; size];
    let first = groups.of.iter().flatten().zip(0u32..);
    let first = first.map(|(group, row)| *firsts[*group].get_or_insert(row));
    let firsts = Tensor::from_iter(first.collect::<Vec<u32>>(), device)?;
    let rows = (&rows - rows.detach().index_select(&firsts, 0)?)?;
    let members = |weight: &dyn Fn(usize) -> f64| -> Result<Tensor> {
        let mut members = vec![0.; size * count];
        for (row, group) in groups.of.iter().flatten().enumerate() {
            members[group * count + row] = weight(groups.sizes[*group]);
        }
        Ok(Tensor::from_vec(members, (size, count), device)?)
    };
    let means = members(&|n| 1. / n as f64)?.matmul(&rows)?;
    let of_rows = members(&|_| 1.)?.t()?.matmul(&means)?;
    let variances = members(&|n| 1. / (n - 1) as f64)?.matmul(&(rows - of_rows)?.sqr()?)?;
    let weights = Tensor::from_iter((0..size).map(|group| groups.weight(group)), device)?;
    let logs = reduce::sum(&variances.log()?)?.unsqueeze(1)?;
    let mean = weights.unsqueeze(0)?.matmul(&logs)?.reshape(())?;
    Ok(mean.to_dtype(dtype)?)
}

/// Columns that one task adds up.
const WIDTH: usize = 64;

/// Of some columns or of all, `[groups, columns]`: means, and what a distance from the mean is multiplied by.
#[derive(Default)]
struct Kept {
    means: Vec<f64>,
    slopes: Vec<f64>,
}

struct Node {
    groups: Groups,
    kept: Kept,
}

/// Some columns of all rows.
struct Columns<'a, T> {
    x: &'a [T],
    columns: usize,
    from: usize,
    width: usize,
    groups: &'a Groups,
}

impl<T: Float> Loop for Columns<'_, T> {
    /// The sum, and what is kept.
    type Output = (f64, Kept);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> (f64, Kept) {
        let (width, groups) = (self.width, self.groups);
        let mut means = vec![0f64; groups.sizes.len() * width];
        let (mut squares, mut firsts) = (means.clone(), means.clone());
        let mut begun = vec![false; groups.sizes.len()];
        let rows = || {
            let rows = self.x.chunks_exact(self.columns).zip(&groups.of);
            rows.filter_map(|(row, group)| Some((&row[self.from..][..width], (*group)?)))
        };
        // Around the first row of a group, so that equal rows have a variance of 0.
        for (row, group) in rows() {
            let first = &mut firsts[group * width..][..width];
            if !std::mem::replace(&mut begun[group], true) {
                first
                    .iter_mut()
                    .zip(row)
                    .for_each(|(first, x)| *first = x.to_f64());
            }
            let sums = means[group * width..][..width].iter_mut();
            for ((sum, x), first) in sums.zip(row).zip(&*first) {
                *sum += x.to_f64() - first;
            }
        }
        let firsts = firsts.chunks_exact(width);
        for ((means, size), firsts) in means.chunks_exact_mut(width).zip(&groups.sizes).zip(firsts)
        {
            for (sum, first) in means.iter_mut().zip(firsts) {
                *sum = first + *sum / *size as f64;
            }
        }
        for (row, group) in rows() {
            let means = &means[group * width..][..width];
            let squares = squares[group * width..][..width].iter_mut();
            for ((square, x), mean) in squares.zip(row).zip(means) {
                let distance = x.to_f64() - mean;
                *square += distance * distance;
            }
        }
        let mut total = 0.;
        for (group, squares) in squares.chunks_exact_mut(width).enumerate() {
            let (weight, free) = (groups.weight(group), (groups.sizes[group] - 1) as f64);
            let mut sum = 0.;
            for square in squares {
                sum += (*square / free).ln();
                *square = 2. * weight / *square;
            }
            total += weight * sum;
        }
        let slopes = squares;
        (total, Kept { means, slopes })
    }
}

impl Node {
    fn forward_as<T: Float>(&mut self, rows: &Tensor, keep: bool) -> candle_core::Result<Fresh> {
        let (_, columns) = rows.dims2()?;
        let view = View::new(rows)?;
        let (x, groups) = (view.as_slice::<T>()?, &self.groups);
        let task = |from: usize| {
            let width = WIDTH.min(columns - from);
            dispatch(Columns {
                x,
                columns,
                from,
                width,
                groups,
            })
        };
        let starts: Vec<usize> = (0..columns).step_by(WIDTH).collect();
        let parts: Vec<(f64, Kept)> = match x.len() < SERIAL {
            true => starts.iter().map(|from| task(*from)).collect(),
            false => starts.par_iter().map(|from| task(*from)).collect(),
        };
        let total = parts.iter().fold(0., |sum, part| sum + part.0);
        if keep {
            for group in 0..self.groups.sizes.len() {
                for (_, part) in &parts {
                    let width = part.means.len() / self.groups.sizes.len();
                    let at = group * width..(group + 1) * width;
                    self.kept.means.extend_from_slice(&part.means[at.clone()]);
                    self.kept.slopes.extend_from_slice(&part.slopes[at]);
                }
            }
        }
        Ok((T::to_cpu_storage_owned(vec![T::from_f64(total)]), ().into()))
    }

    fn backward_as<T: Float>(&self, rows: &Tensor, g: f64) -> candle_core::Result<Tensor> {
        let (_, columns) = rows.dims2()?;
        let view = View::new(rows)?;
        let x = view.as_slice::<T>()?;
        let per_task = (CHUNK / columns).max(1) * columns;
        let d = build(x.len(), per_task, |start, d: &mut [T]| {
            let x = &x[start..][..d.len()];
            let (kept, groups) = (&self.kept, &self.groups.of[start / columns..]);
            dispatch(Slopes {
                x,
                d,
                g,
                columns,
                kept,
                groups,
            });
        });
        Tensor::from_vec(d, rows.shape(), rows.device())
    }
}

struct Slopes<'a, T> {
    x: &'a [T],
    d: &'a mut [T],
    g: f64,
    columns: usize,
    kept: &'a Kept,
    groups: &'a [Option<usize>],
}

impl<T: Float> Loop for Slopes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let n = self.columns;
        let rows = self.x.chunks_exact(n).zip(self.d.chunks_exact_mut(n));
        for ((x, d), group) in rows.zip(self.groups) {
            let Some(group) = group else {
                d.fill(T::ZERO);
                continue;
            };
            let means = &self.kept.means[group * n..][..n];
            let slopes = &self.kept.slopes[group * n..][..n];
            for (((d, x), mean), slope) in d.iter_mut().zip(x).zip(means).zip(slopes) {
                *d = T::from_f64(self.g * (x.to_f64() - mean) * slope);
            }
        }
    }
}

impl Op for Node {
    const NAME: &'static str = "mean-log-variance";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        Ok(vec![match inputs[0].dtype() {
            DType::F64 => self.forward_as::<f64>(&inputs[0], keep)?,
            _ => self.forward_as::<f32>(&inputs[0], keep)?,
        }])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let rows = &inputs[0];
        let Some(out) = &outputs[0] else {
            return Ok(vec![None]);
        };
        let g = out.gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok(vec![Some(match rows.dtype() {
            _ if g == 0. => rows.zeros_like()?,
            DType::F64 => self.backward_as::<f64>(rows, g)?,
            _ => self.backward_as::<f32>(rows, g)?,
        })])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// Value and gradient, by the node (`true`) or the expression.
    fn both(rows: &Tensor, of: &[Option<usize>], fused: bool) -> Result<(f64, Vec<f64>)> {
        let mut sizes = vec![0; 3];
        of.iter().flatten().for_each(|group| sizes[*group] += 1);
        let groups = Groups {
            of: of.to_vec(),
            sizes,
        };
        let var = Var::from_tensor(rows)?;
        // A view of the variable, so that what the node gets may be strided.
        let x = var.t()?.t()?;
        let value = match fused {
            true => mean_log_variance(&x, groups)?,
            false => composed(&x, &groups)?,
        };
        let gradients = (&value * 0.7)?.backward()?;
        let gradient = gradients.get(&var).map(|g| g.to_dtype(DType::F64));
        let gradient = gradient.transpose()?.map(|g| g.flatten_all()?.to_vec1());
        let value = value.to_dtype(DType::F64)?.to_scalar()?;
        Ok((value, gradient.transpose()?.unwrap_or_default()))
    }

    #[test]
    fn fused_meets_composed() -> Result<()> {
        // The last is long enough for several threads.
        for (count, columns) in [(6, 1), (11, 5), (40, 130), (700, 67)] {
            let all = [Some(0), Some(2), None, Some(1), Some(1), Some(0)];
            let rest = (6..count).map(|n| all[n * n % 11 % 6]);
            let of: Vec<_> = (0..6).map(|n| Some(n / 2)).chain(rest).collect();
            let data =
                (0..count * columns).map(|i| ((i * 37) % 101) as f64 * 0.21 - (i % columns) as f64);
            let rows = Tensor::from_iter(data, &Device::Cpu)?.reshape((count, columns))?;
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
                for layout in [rows.clone(), rows.t()?.contiguous()?.t()?] {
                    let (value, gradient) = both(&layout.to_dtype(dtype)?, &of, true)?;
                    let (want, slopes) = both(&rows, &of, false)?;
                    assert!(
                        (value - want).abs() < tolerance * want.abs().max(1.),
                        "{value} {want}"
                    );
                    assert_eq!(gradient.len(), slopes.len());
                    for (got, want) in gradient.iter().zip(&slopes) {
                        assert!(
                            (got - want).abs() < tolerance * want.abs().max(1.),
                            "{got} {want}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_left_out_is_not_looked_at() -> Result<()> {
        let rows = Tensor::new(&[[1f32], [f32::NAN], [2.], [f32::INFINITY]], &Device::Cpu)?;
        let of = [Some(0), None, Some(0), None];
        let groups = Groups {
            of: of.to_vec(),
            sizes: vec![2],
        };
        let var = Var::from_tensor(&rows)?;
        let value = mean_log_variance(&var, groups)?;
        assert_eq!(value.to_scalar::<f32>()?, 0.5f32.ln());
        let gradients = value.backward()?;
        let gradient = gradients
            .get(&var)
            .map(|g| g.flatten_all()?.to_vec1::<f32>());
        assert_eq!(gradient.transpose()?, Some(vec![-2., 0., 2., 0.]));
        // Where nobody asks the slope is 0, though it is infinite.
        let equal = Var::from_tensor(&rows.ones_like()?)?;
        let groups = Groups {
            of: of.to_vec(),
            sizes: vec![2],
        };
        let value = mean_log_variance(&equal, groups)?;
        assert_eq!(value.to_scalar::<f32>()?, f32::NEG_INFINITY);
        let chosen = Tensor::new(0u8, &Device::Cpu)?.where_cond(&value, &value.zeros_like()?)?;
        let gradients = chosen.backward()?;
        let gradient = gradients
            .get(&equal)
            .map(|g| g.flatten_all()?.to_vec1::<f32>());
        assert_eq!(gradient.transpose()?, Some(vec![0.; 4]));
        Ok(())
    }
}
