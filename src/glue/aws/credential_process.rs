//! Ends processes that this one started and does not wait for any more. The only ones that it ever starts are those that a profile
//! names as `credential_process`. Children from before the first of them are not its own: an entry point's script may have started
//! them before it became this program.

use tokio::sync::{RwLock, RwLockReadGuard};

#[cfg(target_os = "linux")]
pub use linux::kill_older_than;

/// Held by every load of credentials, which may be waiting for a process that it started.
static LOADS: RwLock<()> = RwLock::const_new(());

/// From now on children are this program's own. As long as the guard is held, the caller may wait for one of them.
pub async fn note_start() -> RwLockReadGuard<'static, ()> {
    #[cfg(target_os = "linux")]
    linux::note_first();
    LOADS.read().await
}

/// Reaps the processes that a `credential_process` left behind. A PID 1 inherits them, and they stay zombies otherwise. Does nothing while
/// a load may be waiting for its own process: the last load to end reaps them.
pub fn reap_orphans() {
    #[cfg(target_os = "linux")]
    if let Ok(_nobody_waits) = LOADS.try_write() {
        linux::reap_orphans();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::all_processes;
    use procfs::{Current, Uptime, ticks_per_second};
    use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
    use std::sync::OnceLock;
    use std::time::Duration;

    /// When the first child may have been started, since the system's start.
    static FIRST: OnceLock<Duration> = OnceLock::new();

    pub fn reap_orphans() {
        while getpid().is_init() && matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }

    pub fn note_first() {
        if FIRST.get().is_none()
            && let Ok(uptime) = Uptime::current()
        {
            FIRST.get_or_init(|| uptime.uptime_duration());
        }
    }

    /// Ends the children that started so long ago, each with all its descendants: a shell's child outlives the shell.
    pub fn kill_older_than(age: Duration) {
        let (Some(first), Ok(uptime)) = (FIRST.get(), Uptime::current()) else {
            return;
        };
        let Ok(processes) = all_processes() else {
            return;
        };
        let stats: Vec<_> = processes
            .filter_map(|process| process.ok()?.stat().ok())
            .collect();
        let started = *first..=uptime.uptime_duration().saturating_sub(age);
        let own = getpid().as_raw_nonzero().get();
        let mut ending: Vec<i32> = stats
            .iter()
            .filter(|stat| stat.ppid == own)
            .filter(|stat| {
                let at = stat.starttime.saturating_mul(1_000) / ticks_per_second();
                started.contains(&Duration::from_millis(at))
            })
            .map(|stat| stat.pid)
            .collect();
        let mut place = 0;
        while let Some(parent) = ending.get(place).copied() {
            let credential_process = stats.iter().filter(|stat| stat.ppid == parent);
            ending.extend(credential_process.map(|stat| stat.pid));
            place += 1;
        }
        for pid in ending.into_iter().filter_map(Pid::from_raw) {
            // One that has ended meanwhile is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// There is no `/proc` to find them in.
#[cfg(not(target_os = "linux"))]
pub fn kill_older_than(_age: std::time::Duration) {}
