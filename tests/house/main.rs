//! What binds all rooms: imports, the random source, second derivatives, the faults of candle, strangers.

mod architecture;
mod candle_traps;
mod extension;
mod properties;
mod rng;
mod second_derivatives;
