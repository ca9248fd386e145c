//! Signals: SIGTERM and SIGINT stop the process, SIGHUP reloads the configuration.

use super::output::Failure;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const MAX_PENDING_RELOADS: usize = 16;

/// A request to reload, as the channel for its result. An error is the text for the user.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

pub(super) struct Signals {
    pub stop: CancellationToken,
    pub reload_sender: mpsc::Sender<ReloadRequest>,
    pub reloads: mpsc::Receiver<ReloadRequest>,
}

impl Signals {
    /// Handles the signals from now on. The kernel ignores unhandled signals to PID 1, so a command must do this first.
    pub fn handle() -> Result<Self, Failure> {
        let handle = |kind, name: &'static str| {
            signal(kind).map_err(|error| Failure::run(format!("handling {name}"), error))
        };
        let mut term = handle(SignalKind::terminate(), "SIGTERM")?;
        let mut int = handle(SignalKind::interrupt(), "SIGINT")?;
        let mut hup = handle(SignalKind::hangup(), "SIGHUP")?;
        let (reload_sender, reloads) = mpsc::channel(MAX_PENDING_RELOADS);
        let (stop, sender) = (CancellationToken::new(), reload_sender.clone());
        let stopping = stop.clone();
        tokio::spawn(async move {
            let signal = loop {
                tokio::select! {
                    _ = term.recv() => break "SIGTERM",
                    _ = int.recv() => break "SIGINT",
                    // The log reports the result. If the queue is full, a pending reload will read the same file.
                    _ = hup.recv() => drop(sender.try_send(oneshot::channel().0)),
                }
            };
            tracing::info!(signal, "stopping");
            stopping.cancel();
        });
        Ok(Self {
            stop,
            reload_sender,
            reloads,
        })
    }
}
