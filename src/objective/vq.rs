//! The losses of vector quantization.

use crate::error::Result;
use crate::{check, shape};
use candle_core::{D, Tensor};

/// What [`vq`] returns, a number for each row.
#[derive(Debug, Clone)]
pub struct Vq {
    /// `|sg(z) - e|^2`: moves the codes to the rows that chose them.
    pub codebook: Tensor,
    /// `|z - sg(e)|^2`: keeps the rows near their codes.
    pub commitment: Tensor,
    /// `codebook + weight * commitment`: to be added to what the reconstruction loses.
    pub total: Tensor,
}

/// The losses of rows and their codes.
///
/// Formula: `total = |sg(z) - e|^2 + weight |z - sg(e)|^2`, where sg stops the gradient. With `-ln p(x | e)` of the decoder, whose
/// gradient reaches z straight through, it is the loss of a VQ-VAE; of an example with many rows their sum. The mean over all
/// elements that is also in use is this divided by d.
///
/// Shapes: rows `z` and their codes `e` are `batch ++ [d]`, as
/// [`Quantized`](crate::net::Quantized) has them; parts are `batch`. Units: those of z, squared.
///
/// Gradients: of the first part to the codes, of the second to the rows. Codes that are moving averages have no gradient, and
/// the first part is then only a number.
///
/// Errors: rows and codes of different shape, dtype or device; a weight that is negative or not finite.
///
/// ```
/// use candle_core::{Device, Var};
/// use candle_prob::objective::vq;
/// # fn main() -> candle_prob::Result<()> {
/// let z = Var::new(&[[1f64, 2.]], &Device::Cpu)?;
/// let e = Var::new(&[[0f64, 4.]], &Device::Cpu)?;
/// let parts = vq(&z, &e, 0.25)?;
/// assert_eq!(parts.total.to_vec1::<f64>()?, [5. + 0.25 * 5.]);
/// let gradients = parts.total.mean_all()?.backward()?;
/// let z = gradients.get(&z).expect("a gradient").to_vec2::<f64>()?;
/// assert_eq!(z, [[0.5, -1.]]);
/// # Ok(())
/// # }
/// ```
///
/// Source: van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning, eq. 3.
pub fn vq(rows: &Tensor, codes: &Tensor, weight: f64) -> Result<Vq> {
    let op = "objective::vq";
    check::non_negative(op, "weight", weight)?;
    shape::vectors(op, "rows", rows)?;
    shape::same_kind(op, "codes", codes, rows)?;
    shape::exactly(op, "codes", codes.dims(), rows.dims())?;
    let square = |a: &Tensor, b: &Tensor| (a - b)?.sqr()?.sum(D::Minus1);
    let codebook = square(&rows.detach(), codes)?;
    let commitment = square(rows, &codes.detach())?;
    let total = (&codebook + (&commitment * weight)?)?;
    Ok(Vq {
        codebook,
        commitment,
        total,
    })
}
