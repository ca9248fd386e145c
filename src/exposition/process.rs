//! `process_*`, under the names of Prometheus' Go client. Not the `prometheus` crate's collector: that one knows whole CPU seconds
//! alone, and shows a start time of 0 where `/proc/stat` is hidden. What cannot be read is absent.

use super::text::{Kind, Metric, Samples, Text};

const fn metric(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels: &[],
        help,
    }
}

/// Every metric of this file, in the order of its name.
pub const METRICS: &[Metric] = &[
    metric(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time that the process has used, in user and system mode.",
    ),
    metric(
        "process_max_fds",
        Kind::Gauge,
        "How many file descriptors the process may have open.",
    ),
    metric(
        "process_network_receive_bytes_total",
        Kind::Counter,
        "Bytes that the network namespace of the process has received.",
    ),
    metric(
        "process_network_transmit_bytes_total",
        Kind::Counter,
        "Bytes that the network namespace of the process has sent.",
    ),
    metric(
        "process_open_fds",
        Kind::Gauge,
        "How many file descriptors the process has open.",
    ),
    metric(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory of the process that is in RAM.",
    ),
    metric(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process started, in Unix time.",
    ),
    metric(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Address space of the process.",
    ),
    metric(
        "process_virtual_memory_max_bytes",
        Kind::Gauge,
        "Address space that the process may have; 2^64 if there is no limit.",
    ),
];

/// Writes what can be read now.
pub fn write(text: &mut Text) {
    for (metric, value) in METRICS.iter().zip(read::values()) {
        if let Some(value) = value {
            let mut samples = Samples::default();
            samples.add(metric.name, "", value);
            text.family(metric, &samples);
        }
    }
}

#[cfg(target_os = "linux")]
mod read {
    use crate::exposition::families::count;
    use procfs::process::{LimitValue, Process};
    use procfs::{CurrentSI, KernelStats, ticks_per_second};

    /// In the order of `METRICS`.
    pub fn values() -> [Option<f64>; 9] {
        let Ok(process) = Process::myself() else {
            return [None; 9];
        };
        let stat = process.stat().ok();
        let stat = stat.as_ref();
        let limits = process.limits().ok();
        let limits = limits.as_ref();
        let network = process.dev_status().ok();
        let network = network.as_ref();
        let ticks = number(ticks_per_second());
        [
            stat.map(|stat| number(stat.utime + stat.stime) / ticks),
            limits.map(|limits| limit(&limits.max_open_files.soft_limit)),
            network.map(|devices| number(devices.values().map(|device| device.recv_bytes).sum())),
            network.map(|devices| number(devices.values().map(|device| device.sent_bytes).sum())),
            process.fd_count().ok().map(count),
            stat.map(|stat| number(stat.rss * procfs::page_size())),
            stat.zip(KernelStats::current().ok())
                .map(|(stat, kernel)| number(kernel.btime) + number(stat.starttime) / ticks),
            stat.map(|stat| number(stat.vsize)),
            limits.map(|limits| limit(&limits.max_address_space.soft_limit)),
        ]
    }

    fn number(number: u64) -> f64 {
        count(usize::try_from(number).unwrap_or(usize::MAX))
    }

    fn limit(limit: &LimitValue) -> f64 {
        match limit {
            // As the Go client shows it: the largest number of the system's type.
            LimitValue::Unlimited => number(u64::MAX),
            LimitValue::Value(limit) => number(*limit),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod read {
    /// There is no `/proc` to read.
    pub fn values() -> [Option<f64>; 9] {
        [None; 9]
    }
}
