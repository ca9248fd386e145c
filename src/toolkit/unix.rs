//! Unix sockets: binds them, removes their files at exit, and replaces stale files of other processes.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// The file of a Unix socket that this process created. Dropping it removes the file.
#[derive(Debug)]
pub struct OwnedPath {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        // Another process may have created a file at the path meanwhile.
        if self.identity.is_some() && file_identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Listens at `path`. Replaces a stale socket file that a killed process left there, but no other file.
pub fn bind(path: &Path) -> io::Result<(OwnedPath, UnixListener)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    let (path, identity) = (path.to_owned(), file_identity(path));
    Ok((OwnedPath { path, identity }, listener))
}

/// Returns true if connecting is refused, which means that no process listens on the socket. Any other error means that it may be in
/// use: by a socket of another type, by a process of another user, or by a listener with a full queue.
fn is_stale(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && connect().is_err_and(|error: io::Error| error.kind() == ErrorKind::ConnectionRefused)
}
