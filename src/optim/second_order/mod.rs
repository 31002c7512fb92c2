//! Second-order methods: Newton's and Gauss and Newton's steps by preconditioned conjugate gradients, and block coordinate
//! descent on a network with a linear classifier.

mod armijo;
mod block_descent;
mod classifier;
mod examples;
mod gauss_newton;
mod lists;
mod newton;
mod pcg;

pub use armijo::{ArmijoConfig, LineSearch, armijo};
pub use block_descent::{BlockDescent, BlockDescentConfig, Iteration, Penalties};
pub use classifier::{Classifier, Evaluation};
pub use examples::{Examples, evaluate};
pub use gauss_newton::{GaussNewtonConfig, GaussNewtonReport, gauss_newton};
pub use newton::{NewtonConfig, NewtonReport, NewtonStep, NewtonStop};
pub use pcg::{Pcg, PcgConfig, PcgReport, PcgStop, pcg};
