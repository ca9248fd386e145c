//! Notifies the service manager through the socket of `sd_notify(3)`, keep-alives included. Without `NOTIFY_SOCKET` it sends nothing.
//! This is own code because the crate `sd-notify` blocks a worker while the service manager does not read, and lacks abstract sockets.
//! Programs that the AWS SDK starts for credentials inherit `NOTIFY_SOCKET`; `NotifyAccess=main` in the unit stops their messages.

use super::watchdog::Watchdog;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Keep-alives within one watchdog timeout. `sd_watchdog_enabled(3)` recommends two; the third is for a slow machine.
const KEEP_ALIVES_PER_TIMEOUT: u32 = 3;
/// How long a message may wait for room in the service manager's queue before it is dropped.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Keeps the status line readable, and the message within one datagram.
const MAX_STATUS_CHARS: usize = 500;

#[derive(Debug, Default)]
pub struct ServiceManager {
    pub(crate) socket: Option<UnixDatagram>,
    watchdog_timeout: Option<Duration>,
    pub watchdog: Watchdog,
}

impl ServiceManager {
    /// Logs and ignores a value that is not valid.
    pub fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match connect(&name) {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog_timeout: watchdog_timeout(),
                watchdog: Watchdog::default(),
            },
            Err(error) => {
                let value = name.display();
                tracing::warn!(%value, %error, "invalid NOTIFY_SOCKET, sending no notifications");
                Self::default()
            }
        }
    }

    pub async fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"))
            .await;
    }

    /// Sends `state`, such as `READY=1\n` or nothing, and the status line that `systemctl status` shows.
    pub async fn notify(&self, state: &str, status: &str) {
        let is_long = status.chars().nth(MAX_STATUS_CHARS).is_some();
        let shown: String = status.chars().take(MAX_STATUS_CHARS).collect();
        // systemd would read a second line as another variable.
        let line = shown.replace(char::is_control, " ");
        let end = if is_long { "…" } else { "" };
        self.send(&format!("{state}STATUS={line}{end}\n")).await;
    }

    pub async fn send_keep_alives(&self) {
        let Some(watchdog_timeout) = self.watchdog_timeout else {
            return;
        };
        let every = (watchdog_timeout / KEEP_ALIVES_PER_TIMEOUT).max(Duration::from_millis(1));
        let mut ticks = interval(every);
        // After the whole process was paused, one keep-alive is enough.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.watchdog.probe(every).await;
            self.send("WATCHDOG=1\n").await;
        }
    }

    async fn send(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        let sent = timeout(SEND_TIMEOUT, socket.send(message.as_bytes())).await;
        if let Err(error) = sent.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            let first_line = message.lines().next().unwrap_or_default();
            tracing::warn!(message = first_line, %error, "failed to notify the service manager");
        }
    }
}

/// Connects to a path, or to `@` and the name of an abstract socket.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let mut name = name.as_bytes().to_vec();
    // The system marks abstract names with a zero byte.
    if let Some(first @ b'@') = name.first_mut() {
        *first = 0;
    }
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    socket.connect(&SockAddr::unix(OsStr::from_bytes(&name))?)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket.into())
}

fn watchdog_timeout() -> Option<Duration> {
    let pid = env::var("WATCHDOG_PID").ok();
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    let microseconds = env::var("WATCHDOG_USEC").ok()?;
    let Ok(timeout) = microseconds.parse() else {
        tracing::warn!(
            value = microseconds,
            "invalid WATCHDOG_USEC, sending no keep-alives"
        );
        return None;
    };
    (timeout > 0).then(|| Duration::from_micros(timeout))
}
