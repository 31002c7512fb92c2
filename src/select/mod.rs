//! Feature selection: which columns of a data matrix tell about its labels.
//!
//! [`hiht`] and [`ahiht`] solve least squares with the l2,0 norm along a path of regularization; a [`Path`] holds every
//! solution and ranks the features, so that their number can be chosen without another run. [`L20`], [`L21`] and
//! [`TopRows`] are the penalties with their proximal operators, for other trainings as well. Data come as tensors, as sparse
//! rows ([`Csr`]) or in [`Blocks`] that are read again for every step. [`cross_validate`] and [`stability`] say how many
//! features there should be and which of them to trust, by any method; [`forward`] takes features one by one, [`splice`] refines a support,
//! and [`Problem::correlated`] tells which of its features say the same.
//!
//! A [`Selector`] is any method that ranks features. The rivals are [`ReliefF`] and [`Mrmr`], which look at the data, and
//! [`Rfs`], [`Rlsr`], [`Rpmfs`] and [`Esfs`], which are regressions.

mod blocks;
mod correlated;
mod eigenvalue;
mod esfs;
mod features;
mod fit;
mod forward;
mod hiht;
mod labelled;
mod least_squares;
mod loss;
mod matrix;
mod mrmr;
mod path;
mod point;
mod problem;
mod regularizer;
mod relieff;
mod rfs;
mod rlsr;
mod rpmfs;
mod samples;
mod selector;
mod solver;
mod sparse;
mod splice;
mod stability;
mod validation;

pub use blocks::{Blocks, Reader};
pub use correlated::Correlated;
pub use esfs::Esfs;
pub use features::Features;
pub use fit::Fit;
pub use forward::{Forward, forward};
pub use hiht::{HihtConfig, Start, ahiht, hiht};
pub use least_squares::LeastSquares;
pub use loss::Loss;
pub use mrmr::Mrmr;
pub use path::{Path, Ranking, Solution};
pub use problem::{Preparation, Problem};
pub use regularizer::{L20, L21, Regularizer, TopRows};
pub use relieff::ReliefF;
pub use rfs::Rfs;
pub use rlsr::Rlsr;
pub use rpmfs::Rpmfs;
pub use selector::{Ahiht, Hiht, Selector};
pub use sparse::Csr;
pub use splice::{Spliced, splice};
pub use stability::{Stability, stability};
pub use validation::{CrossValidation, Validated, cross_validate};
