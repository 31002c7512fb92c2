//! What every bijector must do, checked on an example of it.

use super::gradient::check_gradient;
use crate::bijector::Bijector;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// How far off a bijector may be, each bound times max(1, |expected|).
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Round trips, and the log-dets of the two directions against each other, in f64.
    pub f64: f64,
    /// Values of f32 against those of f64, and round trips in f32.
    pub f32: f64,
    /// Jacobians and gradients against central differences.
    pub differences: f64,
}

impl Default for Bounds {
    /// 1e-11, 1e-4 and 1e-6.
    fn default() -> Self {
        Bounds {
            f64: 1e-11,
            f32: 1e-4,
            differences: 1e-6,
        }
    }
}

/// Checks what the trait [`Bijector`] promises, on one example.
///
/// `build` makes the bijector from parameter tensors, which may be none; `parameters` and `x`, a batch of events that may
/// have any leading dims, are f64. Checked are, in f64:
///
/// - the round trip from x to y and back, and from y to x and back;
/// - the log-det of each direction against the determinant of the numeric Jacobian over the whole event, and that no
///   event depends on another;
/// - that the log-dets of the two directions add up to 0;
/// - the gradients of both directions' values and log-dets to argument and parameters against central differences;
/// - for elementwise maps, that they decrease where they say so;
/// - shapes: those that the bijector foretells, more leading dims, no events at all, strided arguments, no other rank;
///
/// and in f32 values, log-dets and round trips against those of f64. Bijectors whose gradient is meant to differ from
/// their value's, such as batch normalization in training, are not for it.
///
/// Errors: the first promise that is not kept, with both numbers.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::bijector::Affine;
/// use candle_prob::{Rng, testing::{Bounds, check_bijector}};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let mut draw = |shape: &[usize]| rng.normal(shape, DType::F64, &Device::Cpu);
/// let parameters = [draw(&[3])?, draw(&[3])?.exp()?];
/// check_bijector(|p| Affine::new(&p[0], &p[1]), &parameters, &draw(&[4, 3])?, Bounds::default())?;
/// # Ok(())
/// # }
/// ```
pub fn check_bijector<B: Bijector>(
    build: impl Fn(&[Tensor]) -> Result<B>,
    parameters: &[Tensor],
    x: &Tensor,
    bounds: Bounds,
) -> Result<()> {
    let bijector = build(parameters)?;
    let (y, there) = bijector.transform_and_log_det(x)?;
    let (y, there) = (y.detach(), there.detach());
    let forward = Direction {
        name: "transform",
        event_rank: bijector.event_rank(),
        bounds,
        run: &|f: &B, x| f.transform_and_log_det(x),
        shape: &|f: &B, event| f.transformed_shape(event),
    };
    let backward = Direction {
        name: "inverse",
        run: &|f: &B, y| f.inverse_and_log_det(y),
        shape: &|f: &B, event| f.inverse_shape(event),
        ..forward
    };
    let (again, back) = bijector.inverse_and_log_det(&y)?;
    close("inverse", "the round trip from x", &again, x, bounds.f64)?;
    let negative = there.neg()?;
    close("inverse", "minus the log-det", &back, &negative, bounds.f64)?;
    let forth = bijector.transform(&again)?;
    close("transform", "the round trip from y", &forth, &y, bounds.f64)?;
    if bijector.event_rank() == 0 {
        direction(&bijector, x)?;
    }
    for (direction, argument) in [(forward, x), (backward, &y)] {
        direction.shapes(&bijector, argument)?;
        direction.jacobian(&bijector, argument)?;
        direction.gradients(&build, parameters, argument)?;
    }
    let narrow = |x: &Tensor| x.to_dtype(DType::F32);
    let singles = parameters.iter().map(narrow);
    let bijector = build(&singles.collect::<candle_core::Result<Vec<_>>>()?)?;
    let (y32, there32) = bijector.transform_and_log_det(&narrow(x)?)?;
    let wide = |x: &Tensor| x.to_dtype(DType::F64);
    close("transform", "y in f32", &wide(&y32)?, &y, bounds.f32)?;
    close(
        "transform",
        "log-det in f32",
        &wide(&there32)?,
        &there,
        bounds.f32,
    )?;
    let (again, back) = bijector.inverse_and_log_det(&y32)?;
    close(
        "inverse",
        "the round trip in f32",
        &wide(&again)?,
        x,
        bounds.f32,
    )?;
    close(
        "inverse",
        "log-det in f32",
        &wide(&back)?,
        &negative,
        bounds.f32,
    )
}

/// Equal shapes, and `|got - want| <= bound * max(1, |want|)`.
fn close(arg: &'static str, what: &str, got: &Tensor, want: &Tensor, bound: f64) -> Result<()> {
    if got.dims() != want.dims() {
        let expected = format!("{what} of shape {:?}", want.dims());
        return Err(fail(arg, expected, format!("{:?}", got.dims())));
    }
    let pairs = numbers(got)?.into_iter().zip(numbers(want)?);
    for (i, (got, want)) in pairs.enumerate() {
        if !((got - want).abs() <= bound * want.abs().max(1.)) {
            let expected = format!("{what}, element {i}: {want:e} within {bound:e}");
            return Err(fail(arg, expected, format!("{got:e}")));
        }
    }
    Ok(())
}

fn fail(arg: &'static str, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::value("check_bijector", arg, expected, found)
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.flatten_all()?.to_vec1()?)
}

type Run<'a, B> = &'a dyn Fn(&B, &Tensor) -> Result<(Tensor, Tensor)>;
type Shape<'a, B> = &'a dyn Fn(&B, &[usize]) -> Result<Vec<usize>>;

/// One of the two directions.
struct Direction<'a, B> {
    name: &'static str,
    event_rank: usize,
    bounds: Bounds,
    run: Run<'a, B>,
    shape: Shape<'a, B>,
}

impl<B> Clone for Direction<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Direction<'_, B> {}

impl<B: Bijector> Direction<'_, B> {
    fn shapes(&self, f: &B, x: &Tensor) -> Result<()> {
        let (y, log_det) = (self.run)(f, x)?;
        let Some(rank) = x.rank().checked_sub(self.event_rank) else {
            let expected = format!("{} dims or more", self.event_rank);
            return Err(fail(self.name, expected, format!("{:?}", x.dims())));
        };
        let (lead, event) = x.dims().split_at(rank);
        let want = [lead, &(self.shape)(f, event)?].concat();
        if y.dims() != want || log_det.dims() != lead {
            let expected = format!("shapes {want:?} and {lead:?}");
            let found = format!("{:?} and {:?}", y.dims(), log_det.dims());
            return Err(fail(self.name, expected, found));
        }
        // More leading dims, and none of them.
        let twice = Tensor::stack(&[x, x], 0)?.unsqueeze(0)?;
        for count in [2, 0] {
            let (y, log_det) = (self.run)(f, &twice.narrow(1, 0, count)?)?;
            for (part, whole) in [(&y, &want[..]), (&log_det, lead)] {
                let want = [&[1, count], whole].concat();
                if part.dims() != want {
                    let expected = format!("shape {want:?} for {count} batches");
                    return Err(fail(self.name, expected, format!("{:?}", part.dims())));
                }
            }
            for i in 0..count {
                self.same("another batch", [&y, &log_det], i, f, x)?;
            }
        }
        // The same numbers, laid out from the last dim to the first, and with gaps.
        let order: Vec<usize> = (0..x.rank()).rev().collect();
        let turned = x.permute(order.as_slice())?.contiguous()?;
        let turned = turned.permute(order.as_slice())?;
        let gaps = Tensor::stack(&[x, &x.affine(-3., 7.)?], x.rank())?;
        let gaps = gaps.narrow(x.rank(), 0, 1)?.squeeze(x.rank())?;
        for strided in [turned, gaps] {
            let (y, log_det) = (self.run)(f, &strided)?;
            let parts = [
                y.unsqueeze(0)?.unsqueeze(0)?,
                log_det.unsqueeze(0)?.unsqueeze(0)?,
            ];
            self.same("a strided argument", parts.each_ref(), 0, f, x)?;
        }
        if self.event_rank > 0 {
            let small = Tensor::zeros((), x.dtype(), x.device())?;
            if (self.run)(f, &small).is_ok() {
                return Err(fail(self.name, "an error for a scalar", "a value"));
            }
        }
        Ok(())
    }

    /// Part `i` of dim 1 against the values of x itself.
    fn same(&self, what: &str, parts: [&Tensor; 2], i: usize, f: &B, x: &Tensor) -> Result<()> {
        let (y, log_det) = (self.run)(f, x)?;
        for (part, want) in parts.into_iter().zip([y, log_det]) {
            let part = part.narrow(1, i, 1)?.squeeze(0)?.squeeze(0)?;
            close(self.name, what, &part, &want, self.bounds.f64)?;
        }
        Ok(())
    }

    /// The determinant of each event's Jacobian, and zeros between events.
    fn jacobian(&self, f: &B, x: &Tensor) -> Result<()> {
        let log_det = numbers(&(self.run)(f, x)?.1)?;
        let at = numbers(x)?;
        let (n, events) = (at.len(), log_det.len());
        let d = n / events.max(1);
        // Row i: the derivatives of all outputs to input i.
        let mut rows = Vec::with_capacity(n);
        for i in 0..n {
            let step = 6e-6 * at[i].abs().max(1.);
            let moved = |by: f64| -> Result<Vec<f64>> {
                let mut at = at.clone();
                at[i] += by;
                let at = Tensor::from_vec(at, x.shape(), &Device::Cpu)?;
                numbers(&(self.run)(f, &at)?.0)
            };
            let (up, down) = (moved(step)?, moved(-step)?);
            let width = (at[i] + step) - (at[i] - step);
            let slopes = up.iter().zip(&down).map(|(up, down)| (up - down) / width);
            rows.push(slopes.collect::<Vec<f64>>());
        }
        for (event, got) in log_det.iter().enumerate() {
            let own = event * d..(event + 1) * d;
            for i in own.clone() {
                let others = rows[i].iter().enumerate().filter(|(j, _)| !own.contains(j));
                for (j, slope) in others {
                    if *slope != 0. {
                        let expected = format!("output {j} not to depend on input {i}");
                        return Err(fail(self.name, expected, format!("slope {slope:e}")));
                    }
                }
            }
            let block = rows[own.clone()]
                .iter()
                .map(|row| row[own.clone()].to_vec());
            let want = ln_abs_det(block.collect());
            if !((got - want).abs() <= self.bounds.differences * want.abs().max(1.)) {
                let expected = format!("log-det {want:e} of event {event} (numeric Jacobian)");
                return Err(fail(self.name, expected, format!("{got:e}")));
            }
        }
        Ok(())
    }

    fn gradients(
        &self,
        build: &impl Fn(&[Tensor]) -> Result<B>,
        parameters: &[Tensor],
        x: &Tensor,
    ) -> Result<()> {
        let inputs = [parameters, std::slice::from_ref(x)].concat();
        let run = |t: &[Tensor]| (self.run)(&build(&t[..parameters.len()])?, &t[parameters.len()]);
        let named = |what: &str, checked: Result<()>| {
            checked.map_err(|e| fail(self.name, format!("the gradient of its {what}"), e))
        };
        let bound = self.bounds.differences;
        named("value", check_gradient(&|t| Ok(run(t)?.0), &inputs, bound))?;
        named(
            "log-det",
            check_gradient(&|t| Ok(run(t)?.1), &inputs, bound),
        )
    }
}

/// ln |det| by elimination with row pivots.
fn ln_abs_det(mut rows: Vec<Vec<f64>>) -> f64 {
    let n = rows.len();
    let mut log = 0.;
    for k in 0..n {
        let size = |i: &usize| rows[*i][k].abs();
        let pivot = (k..n).max_by(|a, b| size(a).total_cmp(&size(b)));
        rows.swap(k, pivot.unwrap_or(k));
        log += rows[k][k].abs().ln();
        let (above, below) = rows.split_at_mut(k + 1);
        for row in below {
            let factor = row[k] / above[k][k];
            for (x, p) in row.iter_mut().zip(&above[k]).skip(k) {
                *x -= factor * p;
            }
        }
    }
    log
}

/// y goes down with x where the bijector says so, and up elsewhere.
fn direction<B: Bijector>(bijector: &B, x: &Tensor) -> Result<()> {
    let rise = (bijector.transform(&(x + 1e-3)?)? - bijector.transform(x)?)?;
    let falls = rise.lt(0.)?;
    let says = match bijector.decreasing()? {
        Some(mask) => mask.broadcast_as(falls.shape())?,
        None => falls.zeros_like()?,
    };
    let wrong = falls.ne(&says)?.to_dtype(DType::F64)?.sum_all()?;
    let wrong = wrong.to_scalar::<f64>()?;
    if wrong > 0. {
        let expected = "a mask of the elements whose y goes down with x";
        let found = format!("another one in {wrong} elements");
        return Err(Error::value(
            "check_bijector",
            "decreasing",
            expected,
            found,
        ));
    }
    Ok(())
}
