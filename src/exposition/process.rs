//! `process_*`, under the names of Prometheus' Go client. Not the `prometheus` crate's collector: that one knows whole CPU seconds
//! alone, and shows a start time of 0 where `/proc/stat` is hidden. What cannot be read is absent.

use super::text_format::{Metric, MetricType, Text};

const fn metric(name: &'static str, kind: MetricType, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels: &[],
        tagged: false,
        help,
    }
}

/// Every metric of this file, in the order of its name.
pub const METRICS: &[Metric] = &[
    metric(
        "process_cpu_seconds_total",
        MetricType::Counter,
        "Processor time that the process has used, in user and system mode.",
    ),
    metric(
        "process_max_fds",
        MetricType::Gauge,
        "How many file descriptors the process may have open.",
    ),
    metric(
        "process_network_receive_bytes_total",
        MetricType::Counter,
        "Bytes that the network namespace of the process has received.",
    ),
    metric(
        "process_network_transmit_bytes_total",
        MetricType::Counter,
        "Bytes that the network namespace of the process has sent.",
    ),
    metric(
        "process_open_fds",
        MetricType::Gauge,
        "How many file descriptors the process has open.",
    ),
    metric(
        "process_resident_memory_bytes",
        MetricType::Gauge,
        "Memory of the process that is in RAM.",
    ),
    metric(
        "process_start_time_seconds",
        MetricType::Gauge,
        "When the process started, in Unix time.",
    ),
    metric(
        "process_virtual_memory_bytes",
        MetricType::Gauge,
        "Address space of the process.",
    ),
    metric(
        "process_virtual_memory_max_bytes",
        MetricType::Gauge,
        "Address space that the process may have; 2^64 if there is no limit.",
    ),
];

/// Writes what can be read now.
pub fn write(text: &mut Text) {
    for (metric, value) in METRICS.iter().zip(read::values()) {
        if let Some(value) = value {
            text.sample(metric, "", value);
        }
    }
}

#[cfg(target_os = "linux")]
mod read {
    use crate::exposition::text_format::count;
    use procfs::net::InterfaceDeviceStatus;
    use procfs::process::{Process, StatM};
    use procfs::{CurrentSI, FromBufRead, FromRead, KernelStats, ticks_per_second};
    use rustix::process::{Resource, getrlimit};
    use rustix::time::{ClockId, clock_gettime};
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::sync::LazyLock;
    use std::time::Duration;

    // What does not change is read once, and files stay open: reading all of it anew took half of the time of a small scrape.
    static PROCESS: LazyLock<Option<Process>> = LazyLock::new(|| Process::myself().ok());
    static STARTED: LazyLock<Option<f64>> = LazyLock::new(started);
    static MEMORY: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/statm"));
    static NETWORK: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/net/dev"));

    /// In the order of `METRICS`.
    pub fn values() -> [Option<f64>; 9] {
        let processor = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok();
        let network = read(&NETWORK)
            .and_then(|text| InterfaceDeviceStatus::from_buf_read(text.as_slice()).ok());
        let network = network.map(|InterfaceDeviceStatus(devices)| devices);
        let network = network.as_ref();
        let files = PROCESS.as_ref().and_then(|process| process.fd_count().ok());
        let memory = read(&MEMORY).and_then(|text| StatM::from_read(text.as_slice()).ok());
        let bytes = |pages| count(pages * procfs::page_size());
        [
            processor.map(|time| time.as_secs_f64()),
            Some(limit(Resource::Nofile)),
            network.map(|devices| count(devices.values().map(|device| device.recv_bytes).sum())),
            network.map(|devices| count(devices.values().map(|device| device.sent_bytes).sum())),
            files.map(|files| count(files as u64)),
            memory.as_ref().map(|memory| bytes(memory.resident)),
            *STARTED,
            memory.as_ref().map(|memory| bytes(memory.size)),
            Some(limit(Resource::As)),
        ]
    }

    fn started() -> Option<f64> {
        let since_boot = PROCESS.as_ref()?.stat().ok()?.starttime;
        let boot = KernelStats::current().ok()?.btime;
        Some(count(boot) + count(since_boot) / count(ticks_per_second()))
    }

    /// The whole of a file of the kernel's as it is now.
    fn read(file: &LazyLock<io::Result<File>>) -> Option<Vec<u8>> {
        const ROOM: usize = 2048;
        let file = LazyLock::force(file).as_ref().ok()?;
        let mut text = vec![0; ROOM];
        let mut length = 0;
        loop {
            let read = file.read_at(&mut text[length..], length as u64).ok()?;
            if read == 0 {
                text.truncate(length);
                return Some(text);
            }
            length += read;
            text.resize(length + ROOM, 0);
        }
    }

    /// Without a limit, as the Go client shows it: the largest number of the system's type.
    fn limit(resource: Resource) -> f64 {
        count(getrlimit(resource).current.unwrap_or(u64::MAX))
    }
}

#[cfg(not(target_os = "linux"))]
mod read {
    /// There is no `/proc` to read.
    pub fn values() -> [Option<f64>; 9] {
        [None; 9]
    }
}
