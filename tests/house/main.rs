//! What binds all rooms: imports, the random source, second derivatives, the faults of candle, strangers, the first page.

mod architecture;
mod candle_traps;
mod extension;
mod first_page;
mod properties;
mod rng;
mod second_derivatives;
#[path = "../support/mod.rs"]
mod support;
