//! Why requests fail.

use strum::{IntoStaticStr, VariantArray};

/// Why a request or a poll failed: the value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    Throttled,
    AccessDenied,
    Credentials,
    Timeout,
    Network,
    ServerError,
    InvalidResponse,
    InvalidRequest,
    NotFound,
    Unsupported,
    Other,
}

impl Reason {
    pub const ALL: &[Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

const NOT_SENT: &str = "no request was sent: earlier requests used up the poll's timeout";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GlueError {
    pub reason: Reason,
    /// The error and its causes, the outermost first.
    pub message: String,
    pub request_id: Option<String>,
    /// False if the poll ran out of time before a request was sent.
    pub request_sent: bool,
}

impl GlueError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            request_id: None,
            request_sent: true,
        }
    }

    pub(crate) fn not_sent(reason: Reason) -> Self {
        Self {
            request_sent: false,
            ..Self::new(reason, NOT_SENT)
        }
    }
}
