//! Objectives: the parts of variational bounds.

mod rate;
