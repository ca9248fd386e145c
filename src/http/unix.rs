//! Unix sockets that this process makes, and the files that are left of others.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// The file of a Unix socket that this process made: it goes when the process stops.
#[derive(Debug)]
pub struct OwnedPath {
    path: PathBuf,
    /// Device and inode.
    file: Option<(u64, u64)>,
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        // Another process may have been given the path since.
        if self.file.is_some() && file_at(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Listens at `path`, if need be in the place of a socket that a killed process left there.
///
/// # Errors
/// If the path cannot be had, with the system's reason. Whatever else is there is left alone.
pub fn bind(path: &Path) -> io::Result<(OwnedPath, UnixListener)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    let owned = OwnedPath {
        path: path.to_owned(),
        file: file_at(path),
    };
    Ok((owned, listener))
}

/// True for a socket that no process has any more. Every other answer than this refusal is one's who lives: of a socket of another
/// kind, of a listener that may not be asked, or of one with too many who wait, which must not be waited for.
fn is_left(path: &Path) -> bool {
    let asked = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && asked().is_err_and(|error: io::Error| error.kind() == ErrorKind::ConnectionRefused)
}
