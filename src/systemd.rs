//! What systemd is told of this process over the socket of `sd_notify(3)`: that it is ready, reloads, stops, how it is, and that its
//! loops still turn. Another supervisor that speaks this protocol is as good; without one nothing is said.
//!
//! Own code, since `sd-notify` holds up a worker of the runtime where the supervisor does not read, and knows no abstract sockets.
//! What it does not read of the environment is inherited by programs that AWS's SDK starts for credentials: `NotifyAccess=main` is
//! what keeps them from speaking for this process.

use crate::escape;
use crate::watchdog::Watchdog;
use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

/// So many beats in the time within which the watchdog must be fed: `sd_watchdog_enabled(3)` asks for two, and the third is for a machine
/// that is slow at times.
const BEATS: u32 = 3;
/// How long a message may wait for room in the supervisor's queue. What takes longer is not said.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);
/// A status line is to be read at a glance, and a message must fit into a datagram.
const LONGEST_STATUS: usize = 1000;

/// Who started this process and wants to hear of it.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog_timeout: Option<Duration>,
    watchdog: Watchdog,
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` tell of. What cannot be used of it is logged, and does without.
    pub fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::none();
        };
        match address(&name).and_then(|address| Ok((socket()?, address))) {
            Ok(socket) => {
                let watchdog_timeout = watchdog();
                Self {
                    socket: Some(socket),
                    watchdog_timeout,
                    watchdog: watchdog_timeout.map_or_else(Watchdog::none, |_| Watchdog::new()),
                }
            }
            Err(error) => {
                tracing::warn!(socket = %name.display(), %error, "NOTIFY_SOCKET cannot be used: the supervisor is told nothing");
                Self::none()
            }
        }
    }

    /// Nobody.
    pub fn none() -> Self {
        Self {
            socket: None,
            watchdog_timeout: None,
            watchdog: Watchdog::none(),
        }
    }

    /// Whether anybody listens.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// What the loops join that the watchdog is to know of.
    pub fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// The start, or a reload, has come to its end: `status` says how.
    pub async fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)))
            .await;
    }

    /// A reload begins.
    pub async fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"))
            .await;
    }

    /// A stop begins.
    pub async fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Stopping\n").await;
    }

    /// A line for people.
    pub async fn status(&self, status: &str) {
        self.send(&status_line(status)).await;
    }

    /// Feeds the watchdog, if there is one, for as long as all loops of the heartbeat turn, until `stop`.
    pub async fn feed_watchdog(&self, stop: &CancellationToken) {
        let Some(limit) = self.watchdog_timeout else {
            return;
        };
        let every = (limit / BEATS).max(Duration::from_millis(1));
        let mut ticks = interval(every);
        // After a pause of the whole process one beat is as good as all that were missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let feeding = async {
            loop {
                ticks.tick().await;
                self.watchdog.probe(every).await;
                self.send("WATCHDOG=1\n").await;
            }
        };
        tokio::select! {
            () = feeding => {}
            () = stop.cancelled() => {}
        }
    }

    async fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        let give_up = Instant::now() + PATIENCE;
        loop {
            match socket.send_to_addr(message.as_bytes(), address) {
                Ok(_) => return,
                // Whether another socket's queue has room is nothing that one can wait for.
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < give_up => {
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    let what = message.lines().next().unwrap_or_default();
                    tracing::warn!(message = what, %error, "the supervisor could not be told");
                    return;
                }
            }
        }
    }
}

fn socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A path, or `@` and the name of an abstract socket.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        [b'@', name @ ..] => abstract_address(name),
        _ => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "allowed: an absolute path, or @ and the name of an abstract socket",
        )),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(ErrorKind::Unsupported.into())
}

/// Within which time the watchdog must be fed, if it is this process that must feed it.
fn watchdog() -> Option<Duration> {
    let pid = env::var("WATCHDOG_PID").ok();
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    let microseconds = env::var("WATCHDOG_USEC").ok()?;
    match microseconds.parse() {
        Ok(0) => None,
        Ok(microseconds) => Some(Duration::from_micros(microseconds)),
        Err(_) => {
            tracing::warn!(
                value = microseconds,
                "WATCHDOG_USEC is no number of microseconds: the watchdog is not fed"
            );
            None
        }
    }
}

/// One line whatever the text: another line would be a message of its own.
fn status_line(status: &str) -> String {
    let mut line = String::from("STATUS=");
    for character in status.chars() {
        if line.len() > LONGEST_STATUS {
            line.push('…');
            break;
        }
        let shown = if escape::is_control(character) {
            ' '
        } else {
            character
        };
        line.push(shown);
    }
    line.push('\n');
    line
}
