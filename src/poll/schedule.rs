//! Decides when a scope polls. A hash of its name and region gives the offset within the interval, so that scopes are spread over the
//! interval and keep their times after a restart.

use crate::clock::Timestamp;
use crate::config::ScopeRegion;
use crate::hash::{fnv1a, split_mix};
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock is read once, so a later clock change does not move the ticks.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    first: Instant,
    interval: Duration,
}

impl Schedule {
    pub fn new(watch: &ScopeRegion, interval: Duration, now: Timestamp) -> Self {
        let shard = watch.selection.shard.map(|shard| shard.index.to_string());
        let mut name = vec![watch.scope.as_str(), watch.region.as_str()];
        // Shards of one scope list the same integrations. They must not poll at the same time.
        name.extend(shard.as_deref());
        let interval_millis = interval.as_millis().max(1);
        // Mixed, so that names that differ only in the last letter get different offsets.
        let offset = u128::from(split_mix(fnv1a(&name), 0)) % interval_millis;
        let wall = Duration::try_from_secs_f64(now.unix).unwrap_or_default();
        let wait =
            (offset + interval_millis - wall.as_millis() % interval_millis) % interval_millis;
        let wait = u64::try_from(wait).unwrap_or_default();
        Self {
            first: now.instant + Duration::from_millis(wait),
            interval,
        }
    }

    /// Returns the time of the next poll, which is not before `backoff`, and the number of skipped ticks since the poll at `last`.
    /// The first poll is at the start, before the first tick, so the first tick is not skipped.
    pub fn next(&self, last: Instant, now: Instant, backoff: Option<Instant>) -> (Instant, u64) {
        let tick = self.first + self.interval.saturating_mul(self.ticks_until(now));
        let next = backoff.map_or(tick, |backoff| backoff.max(tick));
        let polled_until = if last < self.first {
            1
        } else {
            self.ticks_until(last)
        };
        let before_next = self.ticks_until(next) - u32::from(next == tick);
        (next, u64::from(before_next.saturating_sub(polled_until)))
    }

    /// Including a tick at `moment`.
    fn ticks_until(&self, moment: Instant) -> u32 {
        if moment < self.first {
            return 0;
        }
        let intervals = (moment - self.first).as_millis() / self.interval.as_millis().max(1);
        u32::try_from(intervals + 1).unwrap_or(u32::MAX)
    }
}
