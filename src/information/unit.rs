//! Units of information.

use std::f64::consts::LN_2;
use std::fmt;

/// What an information is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unit {
    /// Natural logarithms.
    #[default]
    Nats,
    /// Logarithms to base 2.
    Bits,
}

impl Unit {
    /// How many nats one of it is: 1, or ln 2.
    pub fn in_nats(self) -> f64 {
        match self {
            Unit::Nats => 1.,
            Unit::Bits => LN_2,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Nats => "nats",
            Unit::Bits => "bits",
        })
    }
}
