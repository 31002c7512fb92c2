//! Feature selection: which columns of a data matrix tell about its labels.
//!
//! [`hiht`] and [`ahiht`] solve least squares with the l2,0 norm along a path of regularization; a [`Path`] holds every
//! solution and ranks the features, so that their number can be chosen without another run. [`L20`], [`L21`] and
//! [`TopRows`] are the penalties with their proximal operators, for other trainings as well. Data come as tensors, as sparse
//! rows ([`Csr`]) or in [`Blocks`] that are read again for every step. [`cross_validate`] and [`stability`] say how many
//! features there should be and which of them to trust, by any method; [`forward`] takes features one by one, [`splice`]
//! refines a support, and [`Problem::correlated`] tells which of its features say the same.
//!
//! A [`Selector`] is any method that ranks features. The rivals are [`ReliefF`] and [`Mrmr`], which look at the data, and
//! [`Rfs`], [`Rlsr`], [`Rpmfs`] and [`Esfs`], which are regressions.

mod blocks;
mod centred;
mod checks;
mod correlated;
mod features;
mod forward;
mod hiht;
mod least_squares;
mod matrix;
mod problem;
mod ranking;
mod regularizer;
mod rivals;
mod samples;
mod selector;
mod sparse;
mod splice;
mod stability;
mod validation;

pub use blocks::{Blocks, Reader};
pub use correlated::Correlated;
pub use features::Features;
pub use forward::{Forward, forward};
pub use hiht::{Ahiht, Hiht, HihtConfig, Loss, Path, Solution, Start, ahiht, hiht};
pub use least_squares::LeastSquares;
pub use problem::{Preparation, Problem};
pub use ranking::Ranking;
pub use regularizer::{L20, L21, Regularizer, TopRows};
pub use rivals::{Esfs, Fit, Mrmr, ReliefF, Rfs, Rlsr, Rpmfs};
pub use selector::Selector;
pub use sparse::Csr;
pub use splice::{Spliced, splice};
pub use stability::{Stability, stability};
pub use validation::{CrossValidation, Validated, cross_validate};
