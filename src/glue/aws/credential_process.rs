//! Kills `credential_process` commands that the exporter no longer waits for. Children that are older than the first load are left alone:
//! an entry point script may have started them before it executed this program.

use std::time::Duration;

#[cfg(target_os = "linux")]
pub use linux::{kill_older_than, note_start};

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::all_processes;
    use procfs::{Current, Uptime, ticks_per_second};
    use rustix::process::{Pid, Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::time::Duration;

    static FIRST: OnceLock<Duration> = OnceLock::new();

    pub fn note_start() {
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

#[cfg(not(target_os = "linux"))]
pub fn note_start() {}
