//! The process's file descriptors, and who may have how many: those who scrape and AWS take of the same ones, and neither may leave the
//! other without. Knows nothing of either but that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Scrapers need one connection each, so these are many.
const MOST_SCRAPERS: usize = 512;
/// For the listeners, the state file, `/proc`, the log and the runtime: some 20 in a process that is idle.
const OWN: usize = 32;
/// Endpoints that are asked: Glue and the security token service in each of AWS's regions, of which there are 36.
const ENDPOINTS: usize = 72;
/// More connections that wait for their next use do nothing for polls that are spread over their interval.
const MOST_IDLE: usize = 64;

/// How many descriptors there are for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// How many there are; none if there is no limit.
    pub limit: Option<usize>,
    /// Connections of those who scrape.
    pub scrapers: usize,
    /// Connections to each of AWS's endpoints that wait for their next use.
    pub idle: usize,
    /// Requests to AWS that are under way at a time, and besides as many loads of credentials.
    pub requests: usize,
}

impl OpenFiles {
    /// By the soft limit of the process as it is now.
    pub fn of_process() -> Self {
        let most = getrlimit(Resource::Nofile).current;
        Self::for_limit(most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)))
    }

    fn for_limit(limit: Option<usize>) -> Self {
        let most = limit.unwrap_or(usize::MAX);
        let scrapers = (most / 4).clamp(1, MOST_SCRAPERS);
        let aws = most.saturating_sub(scrapers + OWN);
        let idle = (aws / 8 / ENDPOINTS).clamp(1, MOST_IDLE);
        let under_way = aws.saturating_sub(idle * ENDPOINTS);
        Self {
            limit,
            scrapers,
            idle,
            requests: (under_way / 2).max(1),
        }
    }

    /// The least power of two that is a limit with descriptors for so many requests.
    pub fn limit_for(requests: usize) -> usize {
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

/// Raises the soft limit to the hard one. Hundreds of scopes have hundreds of connections to AWS, and the soft limit of most systems is
/// 1,024: made for programs that use select(2), which this one does not.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, soft = limit.current, hard = limit.maximum, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_out_is_there() {
        for limit in [0, 1, 16, 64, 256, 1_024, 4_096, 65_536, 1 << 20, 1 << 40] {
            let shares = OpenFiles::for_limit(Some(limit));
            let taken = shares.scrapers + OWN + shares.idle * ENDPOINTS + shares.requests * 2;
            // One of each there must be, whether it can be had or not.
            assert!(taken <= limit || limit < 256, "{limit}: {shares:?}");
        }
    }

    #[test]
    fn three_hundred_pairs_do_with_what_every_process_has() {
        assert!(OpenFiles::for_limit(Some(1_024)).requests >= 300);
        assert_eq!(OpenFiles::limit_for(300), 1_024);
    }

    #[test]
    fn the_limit_that_is_asked_for_is_enough_and_half_of_it_is_not() {
        for requests in [1, 400, 6_000, 17_000, 100_000] {
            let limit = OpenFiles::limit_for(requests);
            assert!(OpenFiles::for_limit(Some(limit)).requests >= requests);
            assert!(limit == 1_024 || OpenFiles::for_limit(Some(limit / 2)).requests < requests);
        }
        assert!(OpenFiles::for_limit(None).requests > 1 << 40);
    }
}
