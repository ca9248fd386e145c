//! A process that is measured through `/proc`. It is killed at the end of its benchmark.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Process {
    child: Child,
}

/// The CPU time of each thread, in nanoseconds.
pub struct Cpu(BTreeMap<String, u64>);

pub struct Memory {
    /// Resident memory in bytes.
    pub resident: usize,
    /// Peak of the resident memory in bytes.
    pub peak: usize,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self {
            child: command.stdin(Stdio::null()).spawn().unwrap(),
        }
    }

    /// Starts a server, and reads its address from its log. Prints the warnings and errors of the log.
    pub fn listening(command: &mut Command) -> (Self, SocketAddr) {
        let mut process = Self::start(command.stderr(Stdio::piped()));
        let mut log = BufReader::new(process.child.stderr.take().unwrap()).lines();
        let mut output = String::new();
        let address = loop {
            let Some(line) = log.next().transpose().unwrap() else {
                panic!("{command:?} did not start to listen:\n{output}");
            };
            if let Some((_, address)) = line.split_once("listening address=") {
                break address.parse().unwrap();
            }
            output.push_str(&line);
            output.push('\n');
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

    /// Returns the CPU time of the running threads. It ignores threads that ended, such as idle blocking threads.
    pub fn cpu(&self) -> Cpu {
        let threads = fs::read_dir(self.proc("task"))
            .expect("failed to read /proc: the benchmarks need Linux");
        let times = threads.filter_map(|thread| {
            let thread = thread.ok()?;
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanos = schedstat.split(' ').next()?.parse().ok()?;
            Some((thread.file_name().into_string().ok()?, nanos))
        });
        Cpu(times.collect())
    }

    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let bytes_of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
            kilobytes.parse::<usize>().unwrap() * 1024
        };
        Memory {
            resident: bytes_of("VmRSS:"),
            peak: bytes_of("VmHWM:"),
        }
    }

    /// Resets the peak to the present memory.
    pub fn reset_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cpu {
    /// Returns the CPU time that was used since `before`.
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, nanos)| {
            // A new thread started at 0.
            nanos - before.0.get(thread).copied().unwrap_or_default()
        });
        Duration::from_nanos(used.sum())
    }
}
