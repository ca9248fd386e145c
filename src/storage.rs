//! Keeps the last good data over a restart. If the file cannot be used, the exporter starts without its data.

mod file;

use crate::publisher::Publisher;
use crate::toolkit::files::FileWorker;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use file::{decode, encode, obstacle, read, shared_directory, write};

/// A changed status is written at once, but not more often than this.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// If the process is killed, the stored data is at most this much too old.
const WRITE_INTERVAL: Duration = Duration::from_secs(15);

pub async fn restore(path: &Path, publisher: &Publisher) {
    let (file, path) = (path.to_owned(), path.display());
    // A file that takes too long is not worth waiting for: the first polls return newer data.
    let read = FileWorker::default().run(move || read(&file)).await;
    match read.unwrap_or_else(Err) {
        Ok(None) => tracing::info!(%path, "no state file yet, starting without stored data"),
        Ok(Some(stored)) => {
            publisher.restore(stored);
            tracing::info!(%path, "restored data from the state file");
        }
        Err(error) => tracing::warn!(
            %path, %error,
            "cannot use the state file, starting without stored data"
        ),
    }
}

/// Writes the data to the current `path`, if there is one, until `stop` is cancelled, and then once more.
pub async fn persist(
    publisher: Arc<Publisher>,
    mut path: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) {
    let worker = FileWorker::default();
    let mut failing = false;
    let mut written = None;
    loop {
        let last = tokio::select! {
            () = async {
                tokio::time::sleep(MIN_WRITE_INTERVAL).await;
                tokio::select! {
                    () = tokio::time::sleep(WRITE_INTERVAL) => {}
                    () = publisher.status_changed() => {}
                }
            } => false,
            () = stop.cancelled() => true,
        };
        let target = path.borrow_and_update().clone();
        let state = (publisher.updates(), target.clone());
        if let Some(path) = target
            && written.as_ref() != Some(&state)
        {
            failing = write_now(&publisher, path, &worker, failing).await;
            written = Some(state).filter(|_| !failing);
        }
        if last {
            return;
        }
    }
}

async fn write_now(
    publisher: &Arc<Publisher>,
    path: PathBuf,
    worker: &FileWorker,
    was_failing: bool,
) -> bool {
    let stored = publisher.stored();
    let shown = path.display().to_string();
    let written = worker.run(move || write(&path, &stored)).await;
    let written = written.unwrap_or_else(Err);
    match &written {
        Ok(()) if was_failing => tracing::info!(path = shown, "writing the state file works again"),
        Err(error) if !was_failing => tracing::error!(
            path = shown, %error,
            "failed to write the state file; fix the cause before a restart, which would lose the latest data"
        ),
        Ok(()) | Err(_) => {}
    }
    written.is_err()
}
