//! Matrices and sets of points.
//!
//! - `triangular`: solves with lower-triangular matrices and Cholesky factors. `polar`: the polar decomposition.
//!   `neighbour_chain`: systems that couple neighbours.
//! - `design`: products with a design matrix of features in rows. `neighbours`: exact nearest neighbours. `screen`: which points
//!   can be among them, of many coordinates. `tree`: the same of few. `distance`: how far they are.

pub(crate) mod design;
pub(crate) mod distance;
pub(crate) mod neighbour_chain;
pub(crate) mod neighbours;
pub(crate) mod polar;
pub(crate) mod screen;
pub(crate) mod tree;
pub(crate) mod triangular;
