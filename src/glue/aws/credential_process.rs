//! Kills `credential_process` commands that the exporter no longer waits for. Children that are older than the first load are left alone:
//! an entry point script may have started them before it executed this program.

use std::time::Duration;
use tokio::sync::{RwLock, RwLockReadGuard};

#[cfg(target_os = "linux")]
pub use linux::kill_older_than;

/// Held during each load of credentials, which may wait for a process that it started.
static LOADS: RwLock<()> = RwLock::const_new(());

/// The caller holds the guard while it may wait for a process.
pub async fn note_start() -> RwLockReadGuard<'static, ()> {
    #[cfg(target_os = "linux")]
    linux::note_first();
    LOADS.read().await
}

/// Reaps what a `credential_process` left behind, which PID 1 inherits. The last load to end does it, because the others may wait for
/// their own process.
pub fn reap_orphans() {
    #[cfg(target_os = "linux")]
    if let Ok(_no_load_waits) = LOADS.try_write() {
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

    /// Uptime of the system at the first load.
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

    /// Kills the children that are older than `age`, with all their descendants, because a child of a shell outlives the shell.
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
        let start_times = *first..=uptime.uptime_duration().saturating_sub(age);
        let own = getpid().as_raw_nonzero().get();
        let mut to_kill: Vec<i32> = stats
            .iter()
            .filter(|stat| stat.ppid == own)
            .filter(|stat| {
                let at = stat.starttime.saturating_mul(1_000) / ticks_per_second();
                start_times.contains(&Duration::from_millis(at))
            })
            .map(|stat| stat.pid)
            .collect();
        let mut index = 0;
        while let Some(parent) = to_kill.get(index).copied() {
            let children = stats.iter().filter(|stat| stat.ppid == parent);
            to_kill.extend(children.map(|stat| stat.pid));
            index += 1;
        }
        for pid in to_kill.into_iter().filter_map(Pid::from_raw) {
            // An error means that the process has already ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Called when no load waits for a command any more.
pub fn kill_all() {
    kill_older_than(Duration::ZERO);
}

/// Does nothing: finding the processes needs `/proc`.
#[cfg(not(target_os = "linux"))]
pub fn kill_older_than(_age: Duration) {}
