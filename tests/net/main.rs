//! Networks, their layers and heads.

mod conv;
mod heads;
mod layers;
