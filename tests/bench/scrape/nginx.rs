//! The reference server: nginx, which serves a file.

use crate::support::process::Process;
use crate::support::wait;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::env;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Number of attempts to start nginx, because another process can take the free port.
const MAX_ATTEMPTS: usize = 3;

pub struct Nginx {
    pub process: Process,
    pub address: SocketAddr,
    _dir: TempDir,
}

/// Finds nginx. Debian installs it in /usr/sbin, which is only in the PATH of root.
pub fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join("nginx"))
        .find(|program| program.is_file())
}

impl Nginx {
    /// Serves `page`, and a copy that was compressed with the best gzip level.
    pub fn serving(program: &Path, page: &[u8]) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("metrics"), page).unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(page).unwrap();
        fs::write(dir.path().join("metrics.gz"), gzip.finish().unwrap()).unwrap();
        for _ in 0..MAX_ATTEMPTS {
            let address = TcpListener::bind("127.0.0.1:0")
                .and_then(|free| free.local_addr())
                .unwrap();
            fs::write(dir.path().join("nginx.conf"), config(dir.path(), address)).unwrap();
            let mut process =
                Process::start(Command::new(program).arg("-p").arg(dir.path()).args([
                    "-c",
                    "nginx.conf",
                    "-e",
                    "error.log",
                ]));
            while !process.has_ended() {
                if TcpStream::connect(address).is_ok() {
                    return Self {
                        process,
                        address,
                        _dir: dir,
                    };
                }
                wait(Duration::from_millis(5));
            }
        }
        let log = fs::read_to_string(dir.path().join("error.log")).unwrap_or_default();
        panic!("nginx failed to start:\n{log}");
    }
}

/// Returns the configuration of Debian, but without an access log and with a single process, which is easier to measure and to stop.
fn config(dir: &Path, address: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid nginx.pid;
events {{ worker_connections 768; }}
http {{
  sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000; default_type text/plain;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{ listen {address}; root {dir}; gzip_static on; }}
}}
"
    )
}
