//! Variational bounds of the mutual information `I(X; Y) = KL(p(x, y) || p(x) p(y))`, differentiable, in nats.
//!
//! | function | of | what it returns | equal to `I` for |
//! |---|---|---|---|
//! | [`barber_agakov`] | `ln q(x given y)` | [`LowerBound`] | the conditional, `H(X)` known |
//! | [`donsker_varadhan`], [`Mine`] | scores | [`LowerBound`] | `ln r + c` |
//! | [`nwj`] | scores | [`LowerBound`] | `ln r + 1` |
//! | [`tuba`] | scores, a baseline a | [`LowerBound`] | `ln r + ln a` |
//! | [`interpolated`] | scores, a baseline a | [`LowerBound`], at most `1 + ln((N - 1) / alpha)` | between the two |
//! | [`info_nce`] | scores | [`LowerBound`], at most `ln N` | `ln r + c(x)`, N to infinity |
//! | [`jensen_shannon`] | scores | [`JensenShannonBound`] | `ln r` |
//! | [`smile`] | scores | [`InformationEstimate`], no bound | `ln r` within the clip |
//! | [`Club`] | a conditional q of y | [`UpperBound`], if q is near p | independent x and y |
//! | [`leave_one_out`] | `ln p(y given x)` | [`UpperBound`] | N to infinity |
//!
//! A critic's score f(x, y) says how much likelier a pair is than its parts, at best the log-ratio
//! `ln r = ln p(x, y) / (p(x) p(y))` and what the table adds. [`Scores`] of N pairs are the matrix `[N, N]` of `f(x_i, y_j)`, with
//! what belongs together on the diagonal and everything else as draws of the marginals, or the two kinds apart.
//!
//! A bound holds for the expectation: a batch may be on the other side by chance. Three limits. (1) Of N pairs no bound from below
//! shows much more than `ln N` with confidence (McAllester and Stratos 2020): [`info_nce`] saturates there, the others have a
//! variance that grows like `e^I`. (2) [`donsker_varadhan`] takes the logarithm of a mean, which of M scores is too small by about
//! half its relative variance: its estimates can be above `I` on average. (3) A lower bound is as good as its critic, an upper one
//! as its q. Which side a number is on is its type; the critic maximizes a lower bound ([`LowerBound::loss`] is its negative), an
//! encoder that shall forget minimizes an upper one.
//!
//! Without a critic: `information::knn` estimates from neighbours, and [`objective::mutual_information`](super::mutual_information)
//! is that of code and example under an encoder whose density is known.
//!
//! Source: Poole, Ozair, van den Oord, Alemi and Tucker (2019), On variational bounds of mutual information; each function names its
//! own.

mod barber_agakov;
mod bound;
mod club;
mod donsker_varadhan;
mod info_nce;
mod interpolated;
mod jensen_shannon;
mod leave_one_out;
mod mine;
mod nwj;
mod scores;
mod smile;
mod tuba;

pub use barber_agakov::barber_agakov;
pub use bound::{InformationEstimate, LowerBound, UpperBound};
pub use club::Club;
pub use donsker_varadhan::donsker_varadhan;
pub use info_nce::info_nce;
pub use interpolated::interpolated;
pub use jensen_shannon::{JensenShannonBound, jensen_shannon};
pub use leave_one_out::leave_one_out;
pub use mine::Mine;
pub use nwj::nwj;
pub use scores::Scores;
pub use smile::smile;
pub use tuba::tuba;
