//! The crate's error type: one line, naming the operation, the argument, what was expected and what came.

use candle_core::{DType, DeviceLocation};

/// What a public function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, each variant one line of text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument has the wrong shape.
    #[error("{op}: {arg}: expected {expected}, found shape {found:?}")]
    Shape {
        /// The operation that refused.
        op: &'static str,
        /// The argument's name.
        arg: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        found: Vec<usize>,
    },
    /// An argument has the wrong element type.
    #[error("{op}: {arg}: expected {expected}, found dtype {found:?}")]
    DType {
        /// The operation that refused.
        op: &'static str,
        /// The argument's name.
        arg: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        found: DType,
    },
    /// Two arguments live on different devices.
    #[error("{op}: {arg}: expected device {expected:?}, found {found:?}")]
    Device {
        /// The operation that refused.
        op: &'static str,
        /// The argument's name.
        arg: &'static str,
        /// Where the other arguments are.
        expected: DeviceLocation,
        /// Where this one is.
        found: DeviceLocation,
    },
    /// An argument has a value that the operation cannot work with.
    #[error("{op}: {arg}: expected {expected}, found {found}")]
    Value {
        /// The operation that refused.
        op: &'static str,
        /// The argument's name.
        arg: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        found: String,
    },
    /// The divergence has no closed form; estimate it by Monte Carlo instead.
    #[error("KL({p} || {q}) has no closed form; estimate it from samples of {p}")]
    NoClosedFormKl {
        /// The first distribution.
        p: String,
        /// The second distribution.
        q: String,
    },
    /// A file is missing, damaged, or holds something else than its name says.
    #[error("{path}: expected {expected}, found {found}")]
    File {
        /// The file.
        path: String,
        /// What would have been accepted.
        expected: String,
        /// What came.
        found: String,
    },
    // candle's Display appends a backtrace when RUST_BACKTRACE is set; one line is enough here, the source keeps the rest.
    /// An error of the tensor library.
    #[error("candle: {}", .0.to_string().lines().next().unwrap_or_default())]
    Candle(#[from] candle_core::Error),
}

impl Error {
    pub(crate) fn shape(
        op: &'static str,
        arg: &'static str,
        expected: impl Into<String>,
        found: &[usize],
    ) -> Self {
        Error::Shape {
            op,
            arg,
            expected: expected.into(),
            found: found.to_vec(),
        }
    }

    pub(crate) fn value(
        op: &'static str,
        arg: &'static str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        Error::Value {
            op,
            arg,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// The same error of the operation that was called, where that one leaves its work to another.
    pub(crate) fn of(mut self, called: &'static str) -> Self {
        if let Error::Shape { op, .. }
        | Error::DType { op, .. }
        | Error::Device { op, .. }
        | Error::Value { op, .. } = &mut self
        {
            *op = called;
        }
        self
    }
}

/// So that layers of this crate can be used inside candle modules with `?`.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => candle_core::Error::wrap(other),
        }
    }
}
