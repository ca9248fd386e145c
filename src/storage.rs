//! The state file, which keeps the last good data over a restart. It is always replaced as a whole. If it cannot be used, the exporter
//! starts without its data.
//!
//! The first line has the name of the format, its version and the CRC-32 of the rest, which is JSON.

use crate::cache::Stored;
use crate::publisher::Publisher;
use crate::toolkit::files::{self, FileWorker, MIB};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The name of the format, which is the first word of the file.
const FORMAT_NAME: &str = "glue-integration-exporter-state";
/// The name and the version of the format.
const FORMAT_HEADER: &str = "glue-integration-exporter-state 1";
/// Enough for about 250,000 integrations.
const MAX_STATE_BYTES: u64 = 512 * MIB;
/// Mode bits: the group may write, and every user may write.
const MODE_GROUP_WRITE: u32 = 0o020;
const MODE_OTHERS_WRITE: u32 = 0o002;
/// A changed status is written at once, but not more often than this.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// How often data are written while no status changes. If the process is killed, the stored data are at most this much too old.
const WRITE_INTERVAL: Duration = Duration::from_secs(15);

/// Why a state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    #[error("the file is not a state file of this version")]
    UnknownFormat,
    /// The file at the path is not a state file, so it must not be overwritten.
    #[error(
        "the file at this path is not a state file and is not overwritten: remove it or choose another path"
    )]
    NotReplaceable,
    /// Another user may have written the file.
    #[error(
        "another user may have written the file, because {0}: choose a directory that only the exporter can write to"
    )]
    Untrusted(String),
    #[error("the file is damaged: wrong checksum")]
    Checksum,
    #[error("failed to decode the file: {0}")]
    Content(serde_json::Error),
}

/// Reads the data of the previous process. Returns `None` if there is no file yet.
///
/// # Errors
/// If there is a file that cannot be used.
pub fn read(path: &Path) -> Result<Option<Stored>, StorageError> {
    let file = match files::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| StorageError::Io("failed to open the file", error))?,
    };
    let inspect = || Ok((file.metadata()?, fs::metadata(directory(path))?));
    let (metadata, directory) =
        inspect().map_err(|error| StorageError::Io("failed to inspect the file", error))?;
    if let Some(why) = untrusted_reason(&metadata, &directory) {
        return Err(StorageError::Untrusted(why));
    }
    let failed = |error| StorageError::Io("failed to read the file", error);
    // Check the beginning first: another file at the path may be larger than the memory.
    if first_bytes(&file).map_err(failed)? != FORMAT_NAME.as_bytes() {
        return Err(StorageError::UnknownFormat);
    }
    let bytes = files::read_to_end(file, MAX_STATE_BYTES).map_err(failed)?;
    decode(&bytes).map(Some)
}

/// Returns why another user may have written a file, `None` if the file is trusted.
///
/// The groups of the process may have write access, as Kubernetes grants it to the fsGroup. The owner of the directory is trusted if other
/// users cannot write to it, because an NFS server may write every file as that user.
fn untrusted_reason(file: &Metadata, directory: &Metadata) -> Option<String> {
    let (user, owner) = (rustix::process::geteuid().as_raw(), file.uid());
    let is_directory_owner = owner == directory.uid() && directory.mode() & MODE_OTHERS_WRITE == 0;
    if owner != user && owner != 0 && !is_directory_owner {
        return Some(format!(
            "it belongs to user {owner}, but the exporter runs as user {user}"
        ));
    }
    if file.mode() & MODE_OTHERS_WRITE != 0 {
        return Some("every user may write to it".to_owned());
    }
    let group = file.gid();
    let is_own_group = rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups()
            .is_ok_and(|groups| groups.iter().any(|member| member.as_raw() == group));
    (file.mode() & MODE_GROUP_WRITE != 0 && !is_own_group)
        .then(|| format!("group {group} may write to it, and the exporter is not a member"))
}

/// Decodes the content of a state file.
///
/// # Errors
/// If the content was not made by [`encode`].
pub fn decode(bytes: &[u8]) -> Result<Stored, StorageError> {
    let end = bytes
        .iter()
        .take(FORMAT_HEADER.len() + 16)
        .position(|byte| *byte == b'\n')
        .ok_or(StorageError::UnknownFormat)?;
    let (head, content) = (&bytes[..end], &bytes[end + 1..]);
    let checksum = std::str::from_utf8(head)
        .ok()
        .and_then(|head| head.strip_prefix(FORMAT_HEADER)?.strip_prefix(' '))
        .ok_or(StorageError::UnknownFormat)?;
    if checksum != format!("{:08x}", crc32fast::hash(content)) {
        return Err(StorageError::Checksum);
    }
    serde_json::from_slice(content).map_err(StorageError::Content)
}

/// Encodes the content of a state file.
///
/// # Errors
/// If the data cannot be written as JSON, which a test would find.
pub fn encode(stored: &Stored) -> Result<Vec<u8>, StorageError> {
    let content = serde_json::to_vec(stored).map_err(StorageError::Content)?;
    let mut bytes = format!("{FORMAT_HEADER} {:08x}\n", crc32fast::hash(&content)).into_bytes();
    bytes.extend(content);
    Ok(bytes)
}

/// Replaces the state file atomically. Only its owner may read it.
///
/// # Errors
/// If it could not be written; then the old file is kept. A file that is not a state file is never replaced.
pub fn write(path: &Path, stored: &Stored) -> Result<(), StorageError> {
    if !is_replaceable(path)
        .map_err(|error| StorageError::Io("failed to inspect the old file", error))?
    {
        return Err(StorageError::NotReplaceable);
    }
    let bytes = encode(stored)?;
    if bytes.len() as u64 > MAX_STATE_BYTES {
        let message = format!("it is larger than {} MiB", MAX_STATE_BYTES / MIB);
        return Err(StorageError::Io(
            "failed to write the file",
            io::Error::other(message),
        ));
    }
    let new = temporary_path(path);
    let written = write_new(&new, &bytes).and_then(|()| {
        fs::rename(&new, path)
            .map_err(|error| StorageError::Io("failed to rename the new file", error))?;
        // Without this, a loss of power may undo the rename.
        File::open(directory(path))
            .and_then(|directory| directory.sync_all())
            .map_err(|error| StorageError::Io("failed to sync the directory", error))
    });
    if written.is_err() {
        // Do not leave an incomplete file on a full disk.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Returns why the state cannot be stored at a path, `None` if no problem is visible.
pub fn obstacle(path: &Path) -> Option<String> {
    match is_replaceable(path) {
        Ok(true) => {
            let directory = directory(path);
            (!directory.is_dir()).then(|| format!("there is no directory {}", directory.display()))
        }
        Ok(false) => Some(StorageError::NotReplaceable.to_string()),
        Err(error) => Some(format!("failed to inspect the file: {error}")),
    }
}

/// Returns the directory of the file at `path` if every user may write to it. The sticky bit protects only a file that exists.
pub fn shared_directory(path: &Path) -> Option<&Path> {
    let directory = directory(path);
    let metadata = fs::metadata(directory).ok()?;
    (metadata.mode() & MODE_OTHERS_WRITE != 0).then_some(directory)
}

fn directory(path: &Path) -> &Path {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

/// Returns true if the path has no file, an empty file, or a state file. The state file may be damaged or of another version.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        metadata => metadata?,
    };
    if !metadata.is_file() {
        return Ok(false);
    }
    Ok(FORMAT_NAME
        .as_bytes()
        .starts_with(&first_bytes(&files::open(path)?)?))
}

/// Reads as many bytes as `FORMAT_NAME` has, or all of a shorter file.
fn first_bytes(mut file: &File) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    file.take(FORMAT_NAME.len() as u64)
        .read_to_end(&mut first)?;
    file.rewind()?;
    Ok(first)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    // A killed process may have left the file. Remove it instead of overwriting it, because its mode may differ.
    let _ = fs::remove_file(path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StorageError::Io("failed to create the new file", error))?;
    let mut writer = BufWriter::new(file);
    writer
        .write_all(bytes)
        .and_then(|()| writer.flush())
        .and_then(|()| writer.get_ref().sync_all())
        .map_err(|error| StorageError::Io("failed to write the new file", error))
}

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Restores the data of the previous process. Logs a warning if the file cannot be used.
pub async fn restore(path: &Path, publisher: &Publisher) {
    let file = path.to_owned();
    let worker = FileWorker::default();
    let pending = worker.run(move || read(&file));
    // A file that takes too long is not worth waiting for: the first polls return newer data.
    let read = pending
        .await
        .unwrap_or_else(|error| Err(StorageError::Io("failed to read the file", error)));
    match read {
        Ok(None) => {
            tracing::info!(path = %path.display(), "no state file yet, starting without stored data");
        }
        Ok(Some(stored)) => {
            publisher.restore(stored);
            tracing::info!(path = %path.display(), "restored data from the state file");
        }
        Err(error) => tracing::warn!(
            path = %path.display(), %error,
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

/// Returns true if writing failed.
async fn write_now(
    publisher: &Arc<Publisher>,
    path: PathBuf,
    worker: &FileWorker,
    was_failing: bool,
) -> bool {
    let stored = publisher.stored();
    let shown = path.display().to_string();
    let written = worker.run(move || write(&path, &stored)).await;
    let error = match written {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match &error {
        None if was_failing => tracing::info!(path = shown, "writing the state file works again"),
        Some(error) if !was_failing => tracing::error!(
            path = shown, %error,
            "failed to write the state file; fix the cause before a restart, which would lose the latest data"
        ),
        None | Some(_) => {}
    }
    error.is_some()
}
