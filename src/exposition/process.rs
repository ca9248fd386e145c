//! The `process_*` metrics, named as in Prometheus' Go client. A value that cannot be read is absent.
//! The collector of `prometheus` is not used: it rounds CPU time to seconds, and its start time is 0 if `/proc/stat` is hidden.

use super::text_format::{Format, Metric, MetricType, metadata, sample};

pub(crate) const METRICS: &[Metric] = &[
    counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
    ),
    gauge(
        "process_max_fds",
        "Maximum number of open file descriptors.",
    ),
    counter(
        "process_network_receive_bytes_total",
        "Number of bytes received by the network namespace of the process.",
    ),
    counter(
        "process_network_transmit_bytes_total",
        "Number of bytes sent by the network namespace of the process.",
    ),
    gauge("process_open_fds", "Number of open file descriptors."),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
    ),
    gauge(
        "process_start_time_seconds",
        "Unix time in seconds at which the process started.",
    ),
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
    ),
    gauge(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory in bytes; 2^64 if there is no limit.",
    ),
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        kind: MetricType::Counter,
        ..gauge(name, help)
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Gauge,
        labels: &[],
        help,
    }
}

pub(crate) fn append(text: &mut String, format: Format) {
    for (metric, value) in METRICS.iter().zip(read::values()) {
        if let Some(value) = value {
            metadata(text, format, metric);
            sample(text, metric.name, "", value);
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

    // Constant values are read once and files stay open: reading everything again took half of the time of a small scrape.
    static PROCESS: LazyLock<Option<Process>> = LazyLock::new(|| Process::myself().ok());
    static START_TIME: LazyLock<Option<f64>> = LazyLock::new(start_time);
    static MEMORY: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/statm"));
    static NETWORK: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/net/dev"));

    pub fn values() -> [Option<f64>; 9] {
        let cpu_time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok();
        let network = read(&NETWORK)
            .and_then(|text| InterfaceDeviceStatus::from_buf_read(text.as_slice()).ok());
        let network = network.as_ref().map(|status| &status.0);
        let files = PROCESS.as_ref().and_then(|process| process.fd_count().ok());
        let memory = read(&MEMORY).and_then(|text| StatM::from_read(text.as_slice()).ok());
        let bytes = |pages| count(pages * procfs::page_size());
        [
            cpu_time.map(|time| time.as_secs_f64()),
            Some(limit(Resource::Nofile)),
            network.map(|devices| count(devices.values().map(|device| device.recv_bytes).sum())),
            network.map(|devices| count(devices.values().map(|device| device.sent_bytes).sum())),
            files.map(|files| count(files as u64)),
            memory.map(|memory| bytes(memory.resident)),
            *START_TIME,
            memory.map(|memory| bytes(memory.size)),
            Some(limit(Resource::As)),
        ]
    }

    fn start_time() -> Option<f64> {
        let since_boot = PROCESS.as_ref()?.stat().ok()?.starttime;
        let boot = KernelStats::current().ok()?.btime;
        Some(count(boot) + count(since_boot) / count(ticks_per_second()))
    }

    fn read(file: &LazyLock<io::Result<File>>) -> Option<Vec<u8>> {
        let file = LazyLock::force(file).as_ref().ok()?;
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match file.read_at(&mut piece, text.len() as u64).ok()? {
                0 => return Some(text),
                length => text.extend_from_slice(&piece[..length]),
            }
        }
    }

    /// Returns a resource limit. As in the Go client, no limit is the largest value of the system's type.
    fn limit(resource: Resource) -> f64 {
        count(getrlimit(resource).current.unwrap_or(u64::MAX))
    }
}

#[cfg(not(target_os = "linux"))]
mod read {
    pub fn values() -> [Option<f64>; 9] {
        [None; 9]
    }
}
