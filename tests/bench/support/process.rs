//! A process that is measured from outside, by what Linux tells under `/proc`. It does not outlive its benchmark.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Process {
    child: Child,
}

/// The processor time of each thread, in nanoseconds.
pub struct Cpu(BTreeMap<String, u64>);

pub struct Memory {
    /// In bytes, as is the peak.
    pub resident: usize,
    pub peak: usize,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self {
            child: command.stdin(Stdio::null()).spawn().unwrap(),
        }
    }

    /// A server whose log says on which address it listens. Warnings and errors of that log are shown.
    pub fn listening(command: &mut Command) -> (Self, SocketAddr) {
        let mut process = Self::start(command.stderr(Stdio::piped()));
        let mut log = BufReader::new(process.child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let address = loop {
            let Some(line) = log.next().transpose().unwrap() else {
                panic!("{command:?} does not listen:\n{before}");
            };
            if let Some((_, address)) = line.split_once("listening address=") {
                break address.parse().unwrap();
            }
            before.push_str(&line);
            before.push('\n');
        };
        std::thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                if !line.contains("level=INFO") {
                    eprintln!("{line}");
                }
            }
        });
        (process, address)
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// A thread that has ended is not counted: the server's spare threads end after seconds in which they did nothing.
    pub fn cpu(&self) -> Cpu {
        let threads = fs::read_dir(self.proc("task")).expect("benchmarks need Linux");
        let of_each = threads.filter_map(|thread| {
            let thread = thread.ok()?;
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanos = schedstat.split(' ').next()?.parse().ok()?;
            Some((thread.file_name().into_string().ok()?, nanos))
        });
        Cpu(of_each.collect())
    }

    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
            kilobytes.parse::<usize>().unwrap() * 1024
        };
        Memory {
            resident: of("VmRSS:"),
            peak: of("VmHWM:"),
        }
    }

    /// From now on the peak is that of what comes.
    pub fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cpu {
    /// What was used from the earlier moment `before` to this one.
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, nanos)| {
            // A thread that is new began at 0.
            nanos - before.0.get(thread).copied().unwrap_or_default()
        });
        Duration::from_nanos(used.sum())
    }
}
