//! The state file. The first line has the name of the format, its version and the CRC-32 of the rest, which is JSON.

use crate::cache::Stored;
use crate::toolkit::files::{self, MIB};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const FORMAT_NAME: &str = "glue-integration-exporter-state";
const FORMAT_HEADER: &str = "glue-integration-exporter-state 1 ";
const CHECKSUM_BYTES: usize = 9;
/// Enough for about 250,000 integrations.
const MAX_STATE_BYTES: u64 = 512 * MIB;
const MODE_GROUP_WRITE: u32 = 0o020;
const MODE_OTHERS_WRITE: u32 = 0o002;
const UNKNOWN_FORMAT: &str = "the file is not a state file of this version";
const NOT_REPLACEABLE: &str = "the file at this path is not a state file and is not overwritten: remove it or choose another path";

pub fn read(path: &Path) -> io::Result<Option<Stored>> {
    let file = match files::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed("open the file"))?,
    };
    let directory = fs::metadata(directory(path)).map_err(failed("inspect the directory"))?;
    if let Some(why) = untrusted_reason(&file.metadata()?, &directory) {
        return Err(io::Error::other(format!(
            "another user may have written the file, because {why}: choose a directory that only the exporter can write to"
        )));
    }
    // Check the beginning first: another file at the path may be larger than the memory.
    if first_bytes(&file)? != FORMAT_NAME.as_bytes() {
        return Err(io::Error::other(UNKNOWN_FORMAT));
    }
    let bytes = files::read_to_end(file, MAX_STATE_BYTES).map_err(failed("read the file"))?;
    decode(&bytes).map(Some)
}

fn failed(attempted: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("failed to {attempted}: {error}"))
}

/// Returns why another user may have written a file. Groups of the process may write to it: Kubernetes grants that to the fsGroup.
/// The owner of a directory that others cannot write to is trusted, because an NFS server may write every file as that user.
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
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.push(rustix::process::getegid());
    let is_member = groups.iter().any(|own| own.as_raw() == group);
    (file.mode() & MODE_GROUP_WRITE != 0 && !is_member)
        .then(|| format!("group {group} may write to it, and the exporter is not a member"))
}

pub fn decode(bytes: &[u8]) -> io::Result<Stored> {
    let rest = bytes.strip_prefix(FORMAT_HEADER.as_bytes());
    let Some((checksum, content)) = rest.and_then(|rest| rest.split_at_checked(CHECKSUM_BYTES))
    else {
        return Err(io::Error::other(UNKNOWN_FORMAT));
    };
    if checksum != checksum_line(content).as_bytes() {
        return Err(io::Error::other("the file is damaged: wrong checksum"));
    }
    Ok(serde_json::from_slice(content)?)
}

pub fn encode(stored: &Stored) -> io::Result<Vec<u8>> {
    let content = serde_json::to_vec(stored)?;
    let checksum = checksum_line(&content);
    Ok([FORMAT_HEADER.as_bytes(), checksum.as_bytes(), &content].concat())
}

fn checksum_line(content: &[u8]) -> String {
    format!("{:08x}\n", crc32fast::hash(content))
}

/// Replaces the state file atomically. Only its owner may read it. A file that is not a state file is never replaced.
pub fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    if !is_replaceable(path).map_err(failed("inspect the old file"))? {
        return Err(io::Error::other(NOT_REPLACEABLE));
    }
    let bytes = encode(stored)?;
    if bytes.len() as u64 > MAX_STATE_BYTES {
        let limit = MAX_STATE_BYTES / MIB;
        let message = format!("failed to write the file: it is larger than {limit} MiB");
        return Err(io::Error::other(message));
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let written = write_new(new, &bytes).map_err(failed("write the new file"));
    let written = written.and_then(|()| {
        fs::rename(new, path).map_err(failed("rename the new file"))?;
        // Without this, a loss of power may undo the rename.
        let directory = File::open(directory(path)).and_then(|directory| directory.sync_all());
        directory.map_err(failed("sync the directory"))
    });
    if written.is_err() {
        // Do not leave an incomplete file on a full disk.
        let _ = fs::remove_file(new);
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A killed process may have left the file. Remove it instead of overwriting it, because its mode may differ.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Returns why the state cannot be stored at a path, `None` if no problem is visible.
pub fn obstacle(path: &Path) -> Option<String> {
    let directory = directory(path);
    match is_replaceable(path) {
        Ok(true) if directory.is_dir() => None,
        Ok(true) => Some(format!("there is no directory {}", directory.display())),
        Ok(false) => Some(NOT_REPLACEABLE.to_owned()),
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
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn is_replaceable(path: &Path) -> io::Result<bool> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        metadata => metadata?,
    };
    if !metadata.is_file() {
        return Ok(false);
    }
    let first = first_bytes(&files::open(path)?)?;
    Ok(FORMAT_NAME.as_bytes().starts_with(&first))
}

/// Reads as many bytes as `FORMAT_NAME` has, or all of a shorter file.
fn first_bytes(mut file: &File) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    file.take(FORMAT_NAME.len() as u64)
        .read_to_end(&mut first)?;
    file.rewind()?;
    Ok(first)
}
