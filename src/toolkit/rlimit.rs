//! The limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most HTTP connections. Scrapers need one connection each, so these are many.
const MAX_HTTP_CONNECTIONS: u64 = 512;
/// HTTP connections may use this part of the file descriptors, so that requests to AWS find others.
const HTTP_SHARE_DIVISOR: u64 = 4;

pub fn max_http_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = (limit / HTTP_SHARE_DIVISOR).clamp(1, MAX_HTTP_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Raises the soft limit to the hard limit, because hundreds of scopes need hundreds of connections. The usual soft limit of 1,024 is for
/// programs that use select(2).
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, soft = limit.current, hard = limit.maximum, "failed to raise the limit of open files");
    }
}
