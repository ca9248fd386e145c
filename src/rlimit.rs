//! Divides the process's file descriptors between scrapes and requests to AWS, so that neither can use up all of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most HTTP connections. Scrapers need one connection each, so these are many.
const MAX_HTTP_CONNECTIONS: usize = 512;
/// Descriptors for listeners, the state file, `/proc`, the log and the runtime. An idle process uses about 20.
const RESERVED: usize = 32;
/// The most endpoints in use: Glue and STS in each of the 36 regions of AWS.
const MAX_ENDPOINTS: usize = 72;
/// The most idle connections to one endpoint. More would not help, because polls are spread over their interval.
const MAX_IDLE_PER_ENDPOINT: usize = 64;

/// How the file descriptors are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit of the process. None means unlimited.
    pub limit: Option<usize>,
    /// Maximum number of HTTP connections.
    pub http_connections: usize,
    /// Maximum number of idle connections to each endpoint of AWS.
    pub idle_per_endpoint: usize,
    /// Maximum number of requests to AWS in flight. As many loads of credentials are possible besides.
    pub requests: usize,
}

impl OpenFiles {
    /// Divides the current soft limit of the process.
    pub fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::for_limit(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    fn for_limit(limit: Option<usize>) -> Self {
        let total = limit.unwrap_or(usize::MAX);
        let http_connections = (total / 4).clamp(1, MAX_HTTP_CONNECTIONS);
        let aws = total.saturating_sub(http_connections + RESERVED);
        let idle_per_endpoint = (aws / 8 / MAX_ENDPOINTS).clamp(1, MAX_IDLE_PER_ENDPOINT);
        let in_flight = aws.saturating_sub(idle_per_endpoint * MAX_ENDPOINTS);
        Self {
            limit,
            http_connections,
            idle_per_endpoint,
            requests: (in_flight / 2).max(1),
        }
    }

    /// Returns the smallest power of two, at least 1,024, that is a sufficient limit for `requests`.
    pub fn required_limit(requests: usize) -> usize {
        let mut limit: usize = 1_024;
        while Self::for_limit(Some(limit)).requests < requests {
            let Some(double) = limit.checked_mul(2) else {
                return usize::MAX;
            };
            limit = double;
        }
        limit
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fit_into_the_limit() {
        for limit in [0, 1, 16, 64, 256, 1_024, 4_096, 65_536, 1 << 20, 1 << 40] {
            let shares = OpenFiles::for_limit(Some(limit));
            let used = shares.http_connections
                + RESERVED
                + shares.idle_per_endpoint * MAX_ENDPOINTS
                + shares.requests * 2;
            // Each share is at least 1, even if a small limit does not allow it.
            assert!(used <= limit || limit < 256, "{limit}: {shares:?}");
        }
    }

    #[test]
    fn default_limit_suffices_for_300_requests() {
        assert!(OpenFiles::for_limit(Some(1_024)).requests >= 300);
        assert_eq!(OpenFiles::required_limit(300), 1_024);
    }

    #[test]
    fn required_limit_is_the_smallest_sufficient_one() {
        for requests in [1, 400, 6_000, 17_000, 100_000] {
            let limit = OpenFiles::required_limit(requests);
            assert!(OpenFiles::for_limit(Some(limit)).requests >= requests);
            assert!(limit == 1_024 || OpenFiles::for_limit(Some(limit / 2)).requests < requests);
        }
        assert!(OpenFiles::for_limit(None).requests > 1 << 40);
    }
}
