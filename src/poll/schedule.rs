//! When a scope's polls are due: at a phase within the interval that follows from its name and region, so that scopes are spread
//! over the interval and a restart does not bunch them.

use crate::clock::Timestamp;
use crate::config::Watch;
use crate::hash::fnv1a;
use std::time::Duration;
use tokio::time::Instant;

/// The ticks of one scope in one region. The wall clock is read once, to find the phase: a jump of it moves no tick.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    seed: u64,
    first: Instant,
    interval: Duration,
}

impl Schedule {
    /// The ticks from `now` on of what `watch` does at this interval.
    pub fn new(watch: &Watch, interval: Duration, now: Timestamp) -> Self {
        let shard = watch.selection.shard.map(|shard| shard.index().to_string());
        let mut name = vec![watch.scope.as_str(), watch.region.as_str()];
        // Those that all list the same do not ask at the same moment.
        name.extend(shard.as_deref());
        let interval_millis = u64::try_from(interval.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let seed = mix(fnv1a(&name));
        let schedule = seed % interval_millis;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "Unix milliseconds: positive, and far below 2^63"
        )]
        let wall_millis = (now.unix.max(0.0) * 1000.0) as u64;
        let wait = (schedule + interval_millis - wall_millis % interval_millis) % interval_millis;
        Self {
            seed,
            first: now.instant + Duration::from_millis(wait),
            interval,
        }
    }

    /// When to poll after `now`: at the next tick, or at `backoff` if that is later. And how many ticks after `last`, when the scope
    /// polled last, are passed over for it. Before its first tick a scope polls once, at the start; that tick is then none that was
    /// missed.
    pub fn next(&self, last: Instant, now: Instant, backoff: Option<Instant>) -> (Instant, u64) {
        let tick = self.first + self.interval.saturating_mul(self.ticks_until(now));
        let next = backoff.map_or(tick, |backoff| backoff.max(tick));
        let polled_until = if last < self.first {
            1
        } else {
            self.ticks_until(last)
        };
        // The tick that is polled at is not passed over.
        let before_next = self.ticks_until(next) - u32::from(next == tick);
        (next, u64::from(before_next.saturating_sub(polled_until)))
    }

    /// A number below 100, another one for each scope and `time`.
    pub fn jitter(&self, time: u32) -> u32 {
        let mixed = mix(self.seed.wrapping_add(u64::from(time)));
        u32::try_from(mixed % 100).unwrap_or_default()
    }

    /// How many ticks there have been until `moment`, one at that very moment included.
    fn ticks_until(&self, moment: Instant) -> u32 {
        if moment < self.first {
            return 0;
        }
        let intervals = (moment - self.first).as_millis() / self.interval.as_millis().max(1);
        u32::try_from(intervals + 1).unwrap_or(u32::MAX)
    }
}

/// A last mix, so that names which differ in their last letter fall far apart.
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
