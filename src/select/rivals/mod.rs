//! Other methods: those that look at the data, and regressions.

mod esfs;
mod fit;
mod labelled;
mod mrmr;
mod relieff;
mod rfs;
mod rlsr;
mod rpmfs;

pub use esfs::Esfs;
pub use fit::Fit;
pub use mrmr::Mrmr;
pub use relieff::ReliefF;
pub use rfs::Rfs;
pub use rlsr::Rlsr;
pub use rpmfs::Rpmfs;
