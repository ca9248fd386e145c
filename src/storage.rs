//! The file in which the last good data outlive a restart. One file, replaced as a whole; whatever is wrong with it costs what it held
//! and nothing more.
//!
//! Its first line names the format, its version and the CRC-32 of the rest, which is JSON.

use crate::cache::Stored;
use crate::files::{self, FileWorker, MIB};
use crate::publisher::Publisher;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The first word of the file.
const FORMAT_NAME: &str = "glue-integration-exporter-state";
/// The same with the version of what follows.
const FORMAT_HEADER: &str = "glue-integration-exporter-state 1";
/// Room for some 250,000 integrations.
const MAX_STATE_BYTES: u64 = 512 * MIB;
/// The bits of a file's mode that let its group, and everybody, write.
const MODE_GROUP_WRITE: u32 = 0o020;
const MODE_OTHERS_WRITE: u32 = 0o002;
/// New sights alone are written this often: after a kill, data are that much older than they could be. What changes a status is written
/// at once, though not more often than a disk should be bothered.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(500);
const WRITE_INTERVAL: Duration = Duration::from_secs(15);

/// Why a file could not be used.
#[derive(Debug)]
pub enum StorageError {
    Io(&'static str, io::Error),
    UnknownFormat,
    /// There is a file of somebody else at the path.
    NotReplaceable,
    /// Another user may have written what it says.
    Untrusted(String),
    Checksum,
    Content(serde_json::Error),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(attempted, error) => write!(f, "{attempted}: {error}"),
            Self::UnknownFormat => f.write_str("it is not a state file of this version"),
            Self::NotReplaceable => f.write_str(
                "there is something else at this path, which is not written over: remove it or choose another path",
            ),
            Self::Untrusted(why) => write!(
                f,
                "another user may have written it, since {why}: choose a directory that only the exporter can write into"
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
    let file = match files::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| StorageError::Io("opening it", error))?,
    };
    let look = || Ok((file.metadata()?, fs::metadata(directory(path))?));
    let (about, directory) = look().map_err(|error| StorageError::Io("looking at it", error))?;
    if let Some(why) = untrusted_reason(&about, &directory) {
        return Err(StorageError::Untrusted(why));
    }
    let reading = |error| StorageError::Io("reading it", error);
    // A large file of something else must not take the memory.
    if first_bytes(&file).map_err(reading)? != FORMAT_NAME.as_bytes() {
        return Err(StorageError::UnknownFormat);
    }
    let bytes = files::read_to_end(file, MAX_STATE_BYTES).map_err(reading)?;
    decode(&bytes).map(Some)
}

/// Says why another user may have written a file, if that may be. A group of the process may write: Kubernetes lets the fsGroup do so.
/// The owner of the directory, if nobody else writes there, is who an NFS server writes every file as.
fn untrusted_reason(file: &Metadata, directory: &Metadata) -> Option<String> {
    let (user, owner) = (rustix::process::geteuid().as_raw(), file.uid());
    let is_server = owner == directory.uid() && directory.mode() & MODE_OTHERS_WRITE == 0;
    if owner != user && owner != 0 && !is_server {
        return Some(format!(
            "it belongs to user {owner} and the exporter runs as user {user}"
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
        .then(|| format!("the group {group} may write to it, in which the exporter is not"))
}

/// Decodes the content of a file.
///
/// # Errors
/// If it is not what `encode` makes.
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

/// The content of a file.
///
/// # Errors
/// If JSON has no way to write it, which a test would find.
pub fn encode(stored: &Stored) -> Result<Vec<u8>, StorageError> {
    let content = serde_json::to_vec(stored).map_err(StorageError::Content)?;
    let mut bytes = format!("{FORMAT_HEADER} {:08x}\n", crc32fast::hash(&content)).into_bytes();
    bytes.extend(content);
    Ok(bytes)
}

/// Replaces the file as a whole: at any moment there is the old one or the new one. Only its owner may read it.
///
/// # Errors
/// If it could not be written; the old one is still there then. A file with the content of somebody else is never replaced.
pub fn write(path: &Path, stored: &Stored) -> Result<(), StorageError> {
    if !is_replaceable(path).map_err(|error| StorageError::Io("looking at the old one", error))? {
        return Err(StorageError::NotReplaceable);
    }
    let bytes = encode(stored)?;
    if bytes.len() as u64 > MAX_STATE_BYTES {
        let wrong = format!("it is larger than {} MiB", MAX_STATE_BYTES / MIB);
        return Err(StorageError::Io("writing it", io::Error::other(wrong)));
    }
    let new = temporary_path(path);
    let written = write_new(&new, &bytes).and_then(|()| {
        fs::rename(&new, path).map_err(|error| StorageError::Io("putting it in place", error))?;
        // Without this the rename may not survive a loss of power.
        File::open(directory(path))
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
    match is_replaceable(path) {
        Ok(true) => {
            let directory = directory(path);
            (!directory.is_dir()).then(|| format!("there is no directory {}", directory.display()))
        }
        Ok(false) => Some(StorageError::NotReplaceable.to_string()),
        Err(error) => Some(format!("looking at it: {error}")),
    }
}

/// The directory of the file at `path`, if every user may write into it. The sticky bit only keeps them from replacing a file that is there.
pub fn shared_directory(path: &Path) -> Option<&Path> {
    let directory = directory(path);
    let about = fs::metadata(directory).ok()?;
    (about.mode() & MODE_OTHERS_WRITE != 0).then_some(directory)
}

fn directory(path: &Path) -> &Path {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

/// Whether what is at the path may be replaced: nothing, an empty file, or a state file, also a damaged one or one of another version.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        about => about?,
    };
    if !about.is_file() {
        return Ok(false);
    }
    Ok(FORMAT_NAME
        .as_bytes()
        .starts_with(&first_bytes(&files::open(path)?)?))
}

/// As many bytes as `FORMAT_NAME` has, or all of a shorter file.
fn first_bytes(mut file: &File) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    file.take(FORMAT_NAME.len() as u64)
        .read_to_end(&mut first)?;
    file.rewind()?;
    Ok(first)
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

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Takes over what a process before this one kept, if it can be used. Says in the log if it cannot.
pub async fn restore(path: &Path, publisher: &Publisher) {
    let file = path.to_owned();
    let worker = FileWorker::default();
    let reading = worker.run(move || read(&file));
    // What comes too late is older than what the first polls bring.
    let read = reading
        .await
        .unwrap_or_else(|error| Err(StorageError::Io("reading it", error)));
    match read {
        Ok(None) => tracing::info!(path = %path.display(), "there is no stored data yet"),
        Ok(Some(stored)) => {
            publisher.restore(stored);
            tracing::info!(path = %path.display(), "stored data were restored");
        }
        Err(error) => tracing::warn!(
            path = %path.display(), %error,
            "stored data cannot be used, starting without them"
        ),
    }
}

/// Keeps what is known in the file that `path` names at the moment, if it names one, until `stop`, and then once more.
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

/// Returns whether it failed.
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
        None if was_failing => tracing::info!(path = shown, "data are stored again"),
        Some(error) if !was_failing => tracing::error!(
            path = shown, %error,
            "data cannot be stored: a restart now would begin without them"
        ),
        None | Some(_) => {}
    }
    error.is_some()
}
