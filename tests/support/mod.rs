//! What several tests share.

// Each binary uses a part of it.
#![allow(dead_code)]

pub mod any;
pub mod families;
pub mod golden;
pub mod process;
