//! Special functions, forward-mode derivatives and nearest neighbours.

mod dual;
mod functions;
mod incomplete;
mod neighbours;
#[path = "../support/mod.rs"]
mod support;
