//! Penalties of matrices by their rows, and their proximal operators.

use crate::check;
use crate::error::Result;
use crate::shape;
use candle_core::{D, DType, Tensor};

/// A penalty of a weight matrix `[d, C]`, a row for each feature. Between
/// the steps of an optimizer, its proximal operator makes a weight matrix sparse by rows: a network's input layer
/// (`net::SelectiveInput`), say.
pub trait Regularizer {
    /// The penalty, a scalar f64.
    fn value(&self, w: &Tensor) -> Result<f64>;

    /// The W that minimizes `|W - w|_F^2 / 2 + step value(W)`, of the shape of `w`, without gradient.
    fn prox(&self, w: &Tensor, step: f64) -> Result<Tensor>;
}

/// `lambda` times the number of rows that are not zero, the l2,0 norm.
///
/// Formula: the proximal operator keeps the rows with `|w_i|^2 > 2 step lambda` and sets the others to zero.
///
/// Errors: a lambda that is negative or not finite; a negative step; a matrix of another rank.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{L20, Regularizer};
/// # fn main() -> candle_prob::Result<()> {
/// let w = Tensor::new(&[[3f64, 4.], [0.1, 0.2]], &Device::Cpu)?;
/// let kept = L20::new(1.)?.prox(&w, 0.5)?;
/// assert_eq!(kept.to_vec2::<f64>()?, [[3., 4.], [0., 0.]]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Sun and Yu (2020), Robust Multi-class Feature Selection via l2,0-Norm Regularization Minimization, equation 14.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct L20 {
    lambda: f64,
}

/// `lambda` times the sum of the rows' lengths, the l2,1 norm.
///
/// Formula: the proximal operator is `max(0, 1 - step lambda / |w_i|) w_i`.
///
/// Errors: a lambda that is negative or not finite; a negative step; a matrix of another rank.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{L21, Regularizer};
/// # fn main() -> candle_prob::Result<()> {
/// let w = Tensor::new(&[[3f64, 4.], [0.1, 0.2]], &Device::Cpu)?;
/// let shrunk = L21::new(1.)?.prox(&w, 2.5)?;
/// assert_eq!(shrunk.to_vec2::<f64>()?, [[1.5, 2.], [0., 0.]]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Yuan and Lin (2006), Model selection and estimation in regression with grouped variables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct L21 {
    lambda: f64,
}

/// No more than `k` rows that are not zero: infinite for matrices with more.
///
/// Formula: the proximal operator keeps the k longest rows, exactly; of equal ones the first.
///
/// Errors: a negative step; a matrix of another rank.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{Regularizer, TopRows};
/// # fn main() -> candle_prob::Result<()> {
/// let w = Tensor::new(&[[1f64], [-2.], [1.]], &Device::Cpu)?;
/// let kept = TopRows::new(2).prox(&w, 1.)?;
/// assert_eq!(kept.flatten_all()?.to_vec1::<f64>()?, [1., -2., 0.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopRows {
    k: usize,
}

impl L20 {
    /// With this weight.
    pub fn new(lambda: f64) -> Result<Self> {
        check::non_negative("L20::new", "lambda", lambda)?;
        Ok(L20 { lambda })
    }
}

impl L21 {
    /// With this weight.
    pub fn new(lambda: f64) -> Result<Self> {
        check::non_negative("L21::new", "lambda", lambda)?;
        Ok(L21 { lambda })
    }
}

impl TopRows {
    /// Of `k` rows.
    pub fn new(k: usize) -> Self {
        TopRows { k }
    }
}

/// The squared lengths of a matrix's rows, f64.
fn squared_lengths(op: &'static str, w: &Tensor) -> Result<Vec<f64>> {
    shape::float(op, "w", w)?;
    shape::dims::<2>(op, "w", w.dims(), "[d, C]")?;
    let squares = w.detach().to_dtype(DType::F64)?.sqr()?;
    Ok(squares.sum(D::Minus1)?.to_vec1()?)
}

/// Each row times its factor.
fn scaled(w: &Tensor, factors: Vec<f64>) -> Result<Tensor> {
    let rows = factors.len();
    let factors = Tensor::from_vec(factors, (rows, 1), w.device())?;
    Ok(w.detach().broadcast_mul(&factors.to_dtype(w.dtype())?)?)
}

impl Regularizer for L20 {
    fn value(&self, w: &Tensor) -> Result<f64> {
        let lengths = squared_lengths("L20::value", w)?;
        Ok(self.lambda * lengths.iter().filter(|l| **l != 0.).count() as f64)
    }

    fn prox(&self, w: &Tensor, step: f64) -> Result<Tensor> {
        check::non_negative("L20::prox", "step", step)?;
        let lengths = squared_lengths("L20::prox", w)?;
        let keep = |l: f64| if l <= 2. * step * self.lambda { 0. } else { 1. };
        scaled(w, lengths.into_iter().map(keep).collect())
    }
}

impl Regularizer for L21 {
    fn value(&self, w: &Tensor) -> Result<f64> {
        let lengths = squared_lengths("L21::value", w)?;
        Ok(self.lambda * lengths.iter().map(|l| l.sqrt()).sum::<f64>())
    }

    fn prox(&self, w: &Tensor, step: f64) -> Result<Tensor> {
        check::non_negative("L21::prox", "step", step)?;
        let lengths = squared_lengths("L21::prox", w)?;
        let shrink = |l: f64| match step * self.lambda {
            0. => 1.,
            t if l.sqrt() <= t => 0.,
            t => 1. - t / l.sqrt(),
        };
        scaled(w, lengths.into_iter().map(shrink).collect())
    }
}

impl Regularizer for TopRows {
    fn value(&self, w: &Tensor) -> Result<f64> {
        let lengths = squared_lengths("TopRows::value", w)?;
        let rows = lengths.iter().filter(|l| **l != 0.).count();
        Ok(if rows <= self.k { 0. } else { f64::INFINITY })
    }

    fn prox(&self, w: &Tensor, step: f64) -> Result<Tensor> {
        check::non_negative("TopRows::prox", "step", step)?;
        let lengths = squared_lengths("TopRows::prox", w)?;
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        // Stable: of equal rows the first stays first.
        order.sort_by(|a, b| lengths[*b].total_cmp(&lengths[*a]));
        let mut factors = vec![0.; lengths.len()];
        order.iter().take(self.k).for_each(|i| factors[*i] = 1.);
        scaled(w, factors)
    }
}
