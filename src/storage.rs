//! The file in which the last good data outlive a restart. One file, replaced as a whole; whatever is wrong with it costs what it held
//! and nothing more.
//!
//! Its first line names the format, its version and the CRC-32 of the rest, which is JSON.

use crate::board::Board;
use crate::last_good::Stored;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The first word of the file.
const NAME: &str = "glue-integration-exporter-state";
/// The same with the version of what follows.
const MAGIC: &str = "glue-integration-exporter-state 1";
/// Room for a million integrations; a file that is larger is not ours.
const MOST_BYTES: u64 = 2 << 30;
/// New sights alone are written this often: after a kill, data are that much older than they could be. What changes a status is written
/// at once, though not more often than a disk should be bothered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const WRITE_INTERVAL: Duration = Duration::from_secs(15);

/// Why a file could not be used.
#[derive(Debug)]
pub enum StorageError {
    Io(&'static str, io::Error),
    Foreign,
    /// There is a file of somebody else at the path.
    NotOurs,
    Checksum,
    Content(serde_json::Error),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(attempted, error) => write!(f, "{attempted}: {error}"),
            Self::Foreign => f.write_str("it is not a state file of this version"),
            Self::NotOurs => f.write_str(
                "there is something else at this path, which is not written over: remove it or choose another path",
            ),
            Self::Checksum => f.write_str("it is damaged: its checksum is wrong"),
            Self::Content(error) => write!(f, "it cannot be decoded: {error}"),
        }
    }
}

impl std::error::Error for StorageError {}

/// Reads what a process before this one kept; none if there is no file yet.
///
/// # Errors
/// If there is a file that cannot be used, whatever it is.
pub fn read(path: &Path) -> Result<Option<Stored>, StorageError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| StorageError::Io("opening it", error))?,
    };
    let about = file
        .metadata()
        .map_err(|error| StorageError::Io("looking at it", error))?;
    // Reading a pipe or a device may never end.
    if !about.is_file() || about.len() > MOST_BYTES {
        return Err(StorageError::Foreign);
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| StorageError::Io("reading it", error))?;
    decode(&bytes).map(Some)
}

/// Decodes the content of a file.
///
/// # Errors
/// If it is not what `encode` makes.
pub fn decode(bytes: &[u8]) -> Result<Stored, StorageError> {
    let end = bytes
        .iter()
        .take(MAGIC.len() + 16)
        .position(|byte| *byte == b'\n')
        .ok_or(StorageError::Foreign)?;
    let (head, content) = (&bytes[..end], &bytes[end + 1..]);
    let checksum = std::str::from_utf8(head)
        .ok()
        .and_then(|head| head.strip_prefix(MAGIC)?.strip_prefix(' '))
        .ok_or(StorageError::Foreign)?;
    if checksum != format!("{:08x}", crc32fast::hash(content)) {
        return Err(StorageError::Checksum);
    }
    serde_json::from_slice(content).map_err(StorageError::Content)
}

/// The content of a file.
///
/// # Errors
/// If JSON has no way to write it, which a test would find.
pub fn encode(stored: &Stored) -> Result<Vec<u8>, StorageError> {
    let content = serde_json::to_vec(stored).map_err(StorageError::Content)?;
    let mut bytes = format!("{MAGIC} {:08x}\n", crc32fast::hash(&content)).into_bytes();
    bytes.extend(content);
    Ok(bytes)
}

/// Replaces the file as a whole: at any moment there is the old one or the new one. Only its owner may read it.
///
/// # Errors
/// If it could not be written; the old one is still there then. A file with the content of somebody else is never replaced.
pub fn write(path: &Path, stored: &Stored) -> Result<(), StorageError> {
    if !is_ours(path).map_err(|error| StorageError::Io("looking at the old one", error))? {
        return Err(StorageError::NotOurs);
    }
    let bytes = encode(stored)?;
    let new = beside(path);
    let written = write_new(&new, &bytes).and_then(|()| {
        fs::rename(&new, path).map_err(|error| StorageError::Io("putting it in place", error))?;
        // Without this the rename may not survive a loss of power.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(|error| StorageError::Io("writing its directory", error))
    });
    if written.is_err() {
        // On a full disk, what was half written is in the way of everyone.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Why nothing can be kept at a path, as far as that can be seen now.
pub fn obstacle(path: &Path) -> Option<String> {
    match is_ours(path) {
        Ok(true) => {
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new("."));
            (!directory.is_dir()).then(|| format!("there is no directory {}", directory.display()))
        }
        Ok(false) => Some(StorageError::NotOurs.to_string()),
        Err(error) => Some(format!("looking at it: {error}")),
    }
}

/// Whether what is at the path may be replaced: nothing, an empty file, or a state file, also a damaged one or one of another version.
fn is_ours(path: &Path) -> io::Result<bool> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        about => about?,
    };
    if !about.is_file() {
        return Ok(false);
    }
    let mut first = Vec::new();
    let length = u64::try_from(NAME.len()).unwrap_or(u64::MAX);
    File::open(path)?.take(length).read_to_end(&mut first)?;
    Ok(NAME.as_bytes().starts_with(&first))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    // Of a process that was killed while it wrote. Removed and not written over, since its mode may be another.
    let _ = fs::remove_file(path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StorageError::Io("making a new one beside it", error))?;
    let mut writer = BufWriter::new(file);
    writer
        .write_all(bytes)
        .and_then(|()| writer.flush())
        .and_then(|()| writer.get_ref().sync_all())
        .map_err(|error| StorageError::Io("writing a new one beside it", error))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Takes over what a process before this one kept, if it can be used. Says in the log if it cannot.
pub fn restore(path: &Path, board: &Board) {
    match read(path) {
        Ok(None) => tracing::info!(path = %path.display(), "there is no stored data yet"),
        Ok(Some(stored)) => {
            board.restore(stored);
            tracing::info!(path = %path.display(), "stored data were restored");
        }
        Err(error) => tracing::warn!(
            path = %path.display(), %error,
            "stored data cannot be used, starting without them"
        ),
    }
}

/// Keeps what is known in the file that `path` names at the moment, if it names one, until `stop`, and then once more.
pub async fn keep(
    board: Arc<Board>,
    mut path: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) {
    let mut failing = false;
    let mut written = None;
    loop {
        let last = tokio::select! {
            () = async {
                tokio::time::sleep(SHORTEST_PAUSE).await;
                tokio::select! {
                    () = tokio::time::sleep(WRITE_INTERVAL) => {}
                    () = board.status_changed() => {}
                }
            } => false,
            () = stop.cancelled() => true,
        };
        let target = path.borrow_and_update().clone();
        let state = (board.polls(), target.clone());
        if let Some(path) = target
            && written.as_ref() != Some(&state)
        {
            failing = write_now(&board, path, failing).await;
            written = Some(state).filter(|_| !failing);
        }
        if last {
            return;
        }
    }
}

/// Returns whether it failed.
async fn write_now(board: &Arc<Board>, path: PathBuf, was_failing: bool) -> bool {
    let stored = board.stored();
    let shown = path.display().to_string();
    // A slow disk must not hold up a worker that scrapes and polls need.
    let written = tokio::task::spawn_blocking(move || write(&path, &stored)).await;
    let error = match written {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic.to_string()),
    };
    match &error {
        None if was_failing => tracing::info!(path = shown, "data are stored again"),
        Some(error) if !was_failing => tracing::error!(
            path = shown, %error,
            "data cannot be stored: a restart now would begin without them"
        ),
        None | Some(_) => {}
    }
    error.is_some()
}
