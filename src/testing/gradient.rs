//! Gradients against central differences.

use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::{DType, Tensor, Var};

/// Central differences of `sum(weights * f(inputs))` with respect to every element of `inputs[which]`.
///
/// Shapes: the result has the shape of `inputs[which]`. Inputs are f64. The step is `6e-6 * max(1, |x|)`, the cube root of
/// the rounding unit, so expect about 1e-10 relative accuracy where third derivatives are of order one.
pub fn numeric_gradient(
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    which: usize,
    weights: &Tensor,
) -> Result<Vec<f64>> {
    let shape = inputs[which].shape();
    let at = inputs[which].flatten_all()?.to_vec1::<f64>()?;
    let mut moved = inputs.to_vec();
    let mut value = |i: usize, x: f64| -> Result<f64> {
        let mut data = at.clone();
        data[i] = x;
        moved[which] = Tensor::from_vec(data, shape, inputs[which].device())?;
        Ok((f(&moved)? * weights)?.sum_all()?.to_scalar()?)
    };
    (0..at.len())
        .map(|i| {
            let step = 6e-6 * at[i].abs().max(1.);
            let (up, down) = (at[i] + step, at[i] - step);
            Ok((value(i, up)? - value(i, down)?) / (up - down))
        })
        .collect()
}

/// Checks the gradient of `f` with respect to every element of every input against central differences.
///
/// The outputs are combined with fixed random weights, so that an error in any output element shows. The rule is
/// `|got - want| <= tolerance * max(1, |want|)`; 1e-6 suits smooth functions of order one.
///
/// Errors: inputs that are not f64; a gradient that is missing, not finite or off, naming input, element and both values.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::testing::check_gradient;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0.3f64, -1.2], &Device::Cpu)?;
/// check_gradient(&|x| Ok(x[0].sin()?), &[x.clone()], 1e-6)?;
/// assert!(check_gradient(&|x| Ok((x[0].sin()? + x[0].detach())?), &[x], 1e-6).is_err());
/// # Ok(())
/// # }
/// ```
pub fn check_gradient(
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    let op = "check_gradient";
    for input in inputs {
        crate::shape::dtype(op, "inputs", input, DType::F64)?;
    }
    let variables = inputs
        .iter()
        .map(|x| Ok(Var::from_tensor(x)?))
        .collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let output = f(&tracked)?;
    let weights = Rng::new(0).normal(output.shape(), DType::F64, output.device())?;
    let gradients = (&output * &weights)?.sum_all()?.backward()?;
    for (i, variable) in variables.iter().enumerate() {
        let want = numeric_gradient(f, inputs, i, &weights)?;
        let got = match gradients.get(variable) {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f64>()?,
            None => vec![0.; want.len()],
        };
        for (j, (got, want)) in got.iter().zip(&want).enumerate() {
            let close = (got - want).abs() <= tolerance * want.abs().max(1.);
            if !close {
                return Err(Error::value(
                    op,
                    "f",
                    format!("d f / d inputs[{i}][{j}] = {want:e} by central differences"),
                    format!("{got:e}"),
                ));
            }
        }
    }
    Ok(())
}
