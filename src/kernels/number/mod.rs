//! Functions of one or a few numbers, without tensors.
//!
//! - `float`: f32 or f64, for loops written once. `single`, `double`: the vectorized elementary functions of f32 and f64.
//! - `elementary`: the same functions by two routes, exact or vectorized. `real`: numbers that carry exact derivatives;
//!   `dual`: those with K of them; `narrow`: those of f32.
//! - `gamma`, `saddle`: the logarithm of the gamma function, and what of it cancels. `incomplete_gamma`, `incomplete_beta`.
//! - `normal`: integrals of the normal density. `slice`: normals between two ends.
//! - `bessel`, `von_mises`: Bessel functions of orders 0 and 1, and circular normals.
//! - `tail`: integrals and what is left of functions without their tangents. `root`: roots of rising functions.

pub(crate) mod bessel;
pub(crate) mod double;
pub(crate) mod dual;
pub(crate) mod elementary;
mod float;
mod gamma;
pub(crate) mod incomplete_beta;
pub(crate) mod incomplete_gamma;
pub(crate) mod narrow;
mod normal;
mod real;
pub(crate) mod root;
pub(crate) mod saddle;
pub(crate) mod single;
pub(crate) mod slice;
mod tail;
pub(crate) mod von_mises;

pub(crate) use elementary::Elementary;
pub(crate) use float::Float;
pub(crate) use gamma::{
    EULER, HALF_LN_TAU, digamma, digamma_gap, digamma_gap_positive, digamma_positive, lbeta,
    lgamma, lgamma_gap, lgamma_gap_positive, lgamma_positive, series, tetragamma,
    tetragamma_positive, trigamma, trigamma_positive,
};
pub(crate) use normal::{
    erf, erfc, erfinv, exponential_integral, log_ndtr, mills, ndtr, ndtri, ndtri_exp,
    normal_density,
};
pub(crate) use real::Real;
pub(crate) use tail::{EXPONENTIAL, above_tangent, exp_minus_line, log_minus_line};
