//! Information: entropies, mutual informations and their relatives.
//!
//! Of tables: a [`Table`] holds the joint probabilities of any number of discrete variables, a [`Diagram`] those of an input
//! X, a label Y and a code Z, and gives what they have of each other by the names of the information bottleneck. Both are
//! differentiable where their numbers come from tensors. What is written as a sum of terms that are not negative is computed
//! as one, so that no information between two variables is below 0. In nats, unless [`Unit`] says otherwise.
//!
//! Of samples: [`knn`], by nearest neighbours.
//!
//! Of codes out of a few categories: [`CategoricalDecoder`] is the best decoder of an encoder, or any other, with its costs,
//! and [`LaggedDecoder`] that of the last epoch; [`ensemble_uncertainty`] parts what the weights do not know from noise.
//! [`IterativeBottleneck`] finds the best codes of a table. A [`Plane`] records what codes have, over a training.
//!
//! Entropies of discrete variables are not negative, and neither are informations of two. Where a continuous variable meets
//! a discrete one, differences of entropies are no informations and have any sign: X even on [0, 0.1] and Z = X + R with a
//! fair coin R tell all of X, and `H[X] = ln 0.1 < 0` is what the formula `H[Z] - H[Z|X]` makes of it.

mod check;
mod counts;
mod decoder;
mod diagram;
mod encoded;
mod ensemble;
mod iterative;
pub mod knn;
mod plane;
mod table;
mod targets;
mod terms;
mod unit;

pub(crate) use counts::CountedInformation;
pub use decoder::{CategoricalDecoder, LaggedDecoder, optimal_decoder};
pub use diagram::Diagram;
pub use ensemble::{EnsembleUncertainty, ensemble_uncertainty};
pub use iterative::{IterativeBottleneck, IterativeSolution};
pub use plane::{Plane, PlanePoint, PlaneRow};
pub use table::Table;
pub use targets::Targets;
pub use unit::Unit;
