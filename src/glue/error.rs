//! Why requests fail.

/// Why a request or a poll failed: the value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// So that each has a series from the start.
    pub const ALL: [Self; 11] = [
        Self::Throttled,
        Self::AccessDenied,
        Self::Credentials,
        Self::Timeout,
        Self::Network,
        Self::ServerError,
        Self::InvalidResponse,
        Self::InvalidRequest,
        Self::NotFound,
        Self::Unsupported,
        Self::Other,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::AccessDenied => "access_denied",
            Self::Credentials => "credentials",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::ServerError => "server_error",
            Self::InvalidResponse => "invalid_response",
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::Other => "other",
        }
    }
}

/// A query that failed, completely or partly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GlueError {
    pub reason: Reason,
    /// The error and its causes, the outermost first.
    pub message: String,
    /// The AWS request ID, for a support case.
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

    /// Creates the error of a query for which the poll had no time left because of `reason`.
    pub(crate) fn not_sent(reason: Reason) -> Self {
        Self {
            request_sent: false,
            ..Self::new(
                reason,
                "no request was sent: earlier requests used up the poll's timeout",
            )
        }
    }
}
