//! Information: entropies, mutual informations and their relatives.
//!
//! Of tables: a [`Table`] holds the joint probabilities of any number of discrete variables, a [`Diagram`] those of an input
//! X, a label Y and a code Z, and gives what they have of each other by the names of the information bottleneck. Both are
//! differentiable where their numbers come from tensors. What is written as a sum of terms that are not negative is computed
//! as one, so that no information between two variables is below 0. In nats, unless [`Unit`] says otherwise.
//!
//! Of samples: [`knn`], by nearest neighbours.

mod check;
mod diagram;
mod encoded;
pub mod knn;
mod table;
mod targets;
mod terms;
mod unit;

pub use diagram::Diagram;
pub use table::Table;
pub use targets::Targets;
pub use unit::Unit;
