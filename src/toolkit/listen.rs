//! Listening sockets: addresses in the syntax of Prometheus' exporters, Unix sockets, and sockets from systemd.

use super::unix::{self, OwnedPath};
use listenfd::ListenFd;
use socket2::SockRef;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, lookup_host};
use tokio_util::either::Either;

/// The length of the accept queue: the usual value of Go's servers on Linux (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// The kernel's buffer for unread response data of one connection (Linux doubles the value). The default may grow to 4 MB for each
/// connection. This is enough for some MB/s over the longest distance on earth.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or an IP address, and a port. An empty host means every address of the machine.
    Tcp(String, u16),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(address: &str) -> Result<Self, String> {
        parse(address).map_err(|problem| {
            format!("`{address}` {problem}; allowed: :port, host:port, [v6]:port or unix:/path")
        })
    }
}

fn parse(address: &str) -> Result<Address, &'static str> {
    if let Some(path) = address.strip_prefix("unix:") {
        let absolute = Some(path).filter(|path| path.starts_with('/'));
        let path = absolute.ok_or("has no absolute path")?;
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    if address.starts_with("vsock://") {
        return Err("is a vsock address, which is not supported");
    }
    if address.contains("://") {
        return Err("is a URL; remove the scheme");
    }
    let (host, port) = address.rsplit_once(':').ok_or("has no port")?;
    let no_port = "has no port from 0 to 65535 after the last colon";
    let port = port.parse().map_err(|_| no_port)?;
    let opened = host.strip_prefix('[');
    let in_brackets = opened.and_then(|host| host.strip_suffix(']'));
    // Go accepts brackets around any host.
    let mut name = in_brackets.unwrap_or(host);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.contains(':') {
        if in_brackets.is_none() {
            return Err("has more than one colon; put an IPv6 address in brackets");
        }
        // The zone names a network interface. It has no meaning for other addresses than link-local ones.
        let without_zone = name.split_once('%').map_or(name, |(ip, _)| ip);
        let ip = without_zone.parse::<Ipv6Addr>();
        let ip = ip.map_err(|_| "has no valid IPv6 address in the brackets")?;
        if !ip.is_unicast_link_local() {
            name = without_zone;
        }
    } else if !name.bytes().all(is_allowed) {
        return Err("has no valid host name before the port");
    }
    Ok(Address::Tcp(name.to_owned(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket, so that the file of another process that binds the path later is not removed.
    _file: Option<OwnedPath>,
    socket: Either<TcpListener, UnixListener>,
    /// systemd keeps the socket open after this process exits.
    pub is_from_systemd: bool,
}

impl Address {
    pub async fn bind(&self) -> io::Result<Listener> {
        let (file, socket) = match self {
            Self::Tcp(host, port) if host.is_empty() => (None, Either::Left(bind_all(*port)?)),
            Self::Tcp(host, port) => {
                let addresses = lookup_host((host.as_str(), *port)).await?;
                // Go's servers prefer IPv4 if a name has several addresses.
                let Some(address) = addresses.min_by_key(SocketAddr::is_ipv6) else {
                    return Err(io::Error::other(format!("{host} has no address")));
                };
                (None, Either::Left(bind_tcp(address)?))
            }
            Self::Unix(path) => {
                let (file, listener) = unix::bind(path)?;
                (Some(file), Either::Right(listener))
            }
        };
        Ok(Listener {
            _file: file,
            socket,
            is_from_systemd: false,
        })
    }
}

/// Binds a dual-stack socket, or an IPv4 socket if the machine has no IPv6.
fn bind_all(port: u16) -> io::Result<TcpListener> {
    bind_tcp((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
        _ => bind_tcp((Ipv4Addr::UNSPECIFIED, port).into()),
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(ip) => {
            let socket = TcpSocket::new_v6()?;
            // As in Go's servers, `[::]` includes all IPv4 addresses.
            SockRef::from(&socket).set_only_v6(!ip.is_unspecified())?;
            socket
        }
    };
    // Without this, connections of the previous process in TIME_WAIT would block a restart.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Returns the sockets that systemd passed (`sd_listen_fds(3)`), which must be TCP or Unix stream sockets.
pub fn from_systemd() -> io::Result<Vec<Listener>> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let socket = if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
            tcp.set_nonblocking(true)?;
            Either::Left(TcpListener::from_std(tcp)?)
        } else if let Some(unix) = passed.take_unix_listener(index)? {
            unix.set_nonblocking(true)?;
            Either::Right(UnixListener::from_std(unix)?)
        } else {
            continue;
        };
        listeners.push(Listener {
            _file: None,
            socket,
            is_from_systemd: true,
        });
    }
    if listeners.is_empty() {
        return Err(io::Error::other(
            "systemd passed no socket: LISTEN_FDS and LISTEN_PID are not set for this process",
        ));
    }
    Ok(listeners)
}

impl Listener {
    pub async fn accept(&self) -> io::Result<Socket> {
        let socket = match &self.socket {
            Either::Left(listener) => listener.accept().await?.0,
            Either::Right(listener) => {
                return Ok(Socket(Either::Right(listener.accept().await?.0)));
            }
        };
        // An error means that the client has disconnected; a later read or write reports that too.
        let _ = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES);
        // The last segment of a page must not wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
        Ok(Socket(Either::Left(socket)))
    }

    pub fn address(&self) -> String {
        let address = match &self.socket {
            Either::Left(listener) => listener.local_addr().map(|address| address.to_string()),
            Either::Right(listener) => listener.local_addr().map(|address| {
                let path = address.as_pathname().unwrap_or(Path::new(""));
                format!("unix:{}", path.display())
            }),
        };
        address.unwrap_or_else(|error| error.to_string())
    }
}

#[derive(Debug)]
pub struct Socket(pub Either<TcpStream, UnixStream>);

impl Socket {
    pub fn is_unix(&self) -> bool {
        matches!(self.0, Either::Right(_))
    }

    /// Returns `None` for a Unix socket or a disconnected client.
    pub fn peer(&self) -> Option<SocketAddr> {
        let Either::Left(socket) = &self.0 else {
            return None;
        };
        let peer = socket.peer_addr().ok()?;
        // A dual-stack socket reports IPv4 clients with IPv4-mapped IPv6 addresses.
        Some(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    /// Waits for the first byte and returns it without consuming it. Unix sockets do not support this.
    pub async fn peek(&self) -> io::Result<u8> {
        let mut first = [0];
        let length = match &self.0 {
            Either::Left(socket) => socket.peek(&mut first).await?,
            Either::Right(_) => return Err(ErrorKind::Unsupported.into()),
        };
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(first[0])
    }

    /// Makes closing the socket discard the data that the client has not read.
    pub fn abort(&self) {
        if let Either::Left(socket) = &self.0 {
            let _ = socket.set_zero_linger();
        }
    }
}
