//! Reads files safely: only regular files, only up to a maximum size, and on a thread of their own, so that a disk that hangs blocks
//! nothing else.

use rustix::fs::{FileType, Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

const FILE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_to_end(open(path)?, max_bytes)
}

/// Opens the regular file at `path`, following symbolic links.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a pipe waits for the other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        // Linux returns this for a socket.
        Err(Errno::NXIO) => return Err(not_regular("a socket or a device")),
        file => File::from(file?),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        // The parent process writes it: `… | check --config.file=/dev/stdin`, and `<(…)` in a shell.
        FileType::Fifo if path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") => {
            fcntl_setfl(&file, OFlags::empty())?;
            Ok(file)
        }
        FileType::Fifo => Err(not_regular("a pipe")),
        FileType::Directory => Err(not_regular("a directory")),
        _ => Err(not_regular("a device")),
    }
}

pub(crate) fn read_to_end(file: File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= max_bytes {
        return Ok(bytes);
    }
    let allowed = match max_bytes / MIB {
        0 => format!("{} KiB", max_bytes / KIB),
        mib => format!("{mib} MiB"),
    };
    let text = format!("it is too large; allowed: {allowed}");
    Err(io::Error::other(text))
}

fn not_regular(kind: &str) -> io::Error {
    io::Error::other(format!("it is {kind}; allowed: a regular file"))
}

/// Runs file operations one at a time. While one hangs, it keeps its thread and later operations fail.
#[derive(Clone, Debug, Default)]
pub struct FileWorker(Arc<Mutex<()>>);

impl FileWorker {
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let lock = Arc::clone(&self.0).lock_owned();
        let running = async {
            let lock = lock.await;
            let work = move || {
                let _lock = lock;
                work()
            };
            let finished = tokio::task::spawn_blocking(work).await;
            finished.map_err(io::Error::other)
        };
        let in_time = tokio::time::timeout(FILE_TIMEOUT, running).await;
        in_time.unwrap_or_else(|_elapsed| {
            let seconds = FILE_TIMEOUT.as_secs();
            let text = format!("it took longer than {seconds} s; the disk may hang");
            Err(io::Error::other(text))
        })
    }
}
