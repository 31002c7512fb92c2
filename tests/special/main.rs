//! Special functions and forward-mode derivatives.

mod dual;
mod functions;
mod incomplete;
