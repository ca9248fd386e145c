//! Listening sockets: addresses in the syntax of Prometheus' exporters, Unix sockets, and sockets from systemd.

use super::unix::{self, OwnedPath};
use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, Type};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// The length of the accept queue: the usual value of Go's servers on Linux (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// The kernel's buffer for unread response data of one connection (Linux doubles the value). The default may grow to 4 MB for each
/// connection. This is enough for some MB/s over the longest distance on earth.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Every address of the machine.
    Port(u16),
    Ip(SocketAddr),
    /// A host name, or an IPv6 address with a zone, and a port. The name is resolved when the socket is bound.
    Name(String, u16),
    Unix(PathBuf),
}

/// The error for an address that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` {problem}; allowed: :port, host:port, [v6]:port or unix:/path")]
pub struct AddressError {
    address: String,
    problem: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Self, AddressError> {
        let error = |problem| AddressError {
            address: address.to_owned(),
            problem,
        };
        if let Some(path) = address.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(error("has no absolute path"))
            };
        }
        if let Some((scheme, _)) = address.split_once("://") {
            return Err(error(if scheme == "vsock" {
                "is a vsock address, which is not supported"
            } else {
                "is a URL; remove the scheme"
            }));
        }
        let (host, port) = address.rsplit_once(':').ok_or(error("has no port"))?;
        let port = port
            .parse()
            .map_err(|_| error("has no port from 0 to 65535 after the last colon"))?;
        let in_brackets = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(v6) = in_brackets.filter(|host| host.contains(':')) {
            let (ip, zone) = v6
                .split_once('%')
                .map_or((v6, None), |(ip, zone)| (ip, Some(zone)));
            let ip: Ipv6Addr = ip
                .parse()
                .map_err(|_| error("has no valid IPv6 address in the brackets"))?;
            return Ok(match zone {
                // The resolver of the system maps the zone to an interface.
                Some(_) if ip.is_unicast_link_local() => Self::Name(v6.to_owned(), port),
                // A zone has no meaning for other addresses.
                _ => Self::Ip((ip, port).into()),
            });
        }
        // Go accepts brackets around any host.
        let host = in_brackets.unwrap_or(host);
        if host.is_empty() {
            return Ok(Self::Port(port));
        }
        if host.contains(':') {
            return Err(error(
                "has more than one colon; put an IPv6 address in brackets",
            ));
        }
        if let Ok(v4) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Ip((v4, port).into()));
        }
        let is_name = host
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "-._".contains(character));
        if !is_name {
            return Err(error("has no valid host name before the port"));
        }
        Ok(Self::Name(host.to_owned(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, ":{port}"),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket, so that the file of another process that binds the path later is not removed.
    _file: Option<OwnedPath>,
    socket: Bound,
    /// systemd keeps the socket open after this process exits, so the next process accepts the connections in its queue.
    is_from_systemd: bool,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Address {
    /// Binds the address.
    ///
    /// # Errors
    /// Returns the system's error if it cannot bind the address.
    pub async fn bind(&self) -> io::Result<Listener> {
        let tcp = match self {
            Self::Port(port) => Self::any(*port)?,
            // As in Go's servers, `[::]` includes all IPv4 addresses.
            Self::Ip(address) => tcp(*address, address.ip().is_unspecified())?,
            Self::Name(host, port) => {
                let mut addresses: Vec<SocketAddr> =
                    tokio::net::lookup_host((host.as_str(), *port))
                        .await?
                        .collect();
                // Go's servers prefer IPv4 if a name has several addresses.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                let address = addresses.first().ok_or_else(|| {
                    io::Error::new(ErrorKind::NotFound, format!("{host} has no address"))
                })?;
                tcp(*address, false)?
            }
            Self::Unix(path) => {
                let (file, listener) = unix::bind(path)?;
                return Ok(Listener {
                    _file: Some(file),
                    socket: Bound::Unix(listener),
                    is_from_systemd: false,
                });
            }
        };
        Ok(Listener {
            _file: None,
            socket: Bound::Tcp(TcpListener::from_std(tcp)?),
            is_from_systemd: false,
        })
    }

    /// Binds a dual-stack socket, or an IPv4 socket if the machine has no IPv6.
    fn any(port: u16) -> io::Result<std::net::TcpListener> {
        tcp((Ipv6Addr::UNSPECIFIED, port).into(), true).or_else(|error| {
            if error.kind() == ErrorKind::AddrInUse || error.kind() == ErrorKind::PermissionDenied {
                Err(error)
            } else {
                tcp((Ipv4Addr::UNSPECIFIED, port).into(), false)
            }
        })
    }
}

fn tcp(address: SocketAddr, dual_stack: bool) -> io::Result<std::net::TcpListener> {
    let domain = match address.ip() {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // Without this, connections of the previous process in TIME_WAIT would block a restart.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Returns the sockets that systemd passed (`sd_listen_fds(3)`).
///
/// # Errors
/// Returns an error if systemd passed no socket or a socket that is neither TCP nor a Unix stream socket.
pub fn from_systemd() -> io::Result<Vec<Listener>> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let socket = if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
            tcp.set_nonblocking(true)?;
            Bound::Tcp(TcpListener::from_std(tcp)?)
        } else if let Some(unix) = passed.take_unix_listener(index)? {
            unix.set_nonblocking(true)?;
            Bound::Unix(UnixListener::from_std(unix)?)
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
        return Err(io::Error::new(
            ErrorKind::NotFound,
            "systemd passed no socket: LISTEN_FDS and LISTEN_PID are not set for this process",
        ));
    }
    Ok(listeners)
}

impl Listener {
    /// Waits for a connection.
    pub async fn accept(&self) -> io::Result<Socket> {
        match &self.socket {
            Bound::Tcp(listener) => Ok(Socket::tcp(listener.accept().await?.0)),
            Bound::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }

    /// Accepts a connection from the queue without waiting, before the listener closes.
    ///
    /// # Errors
    /// Returns `WouldBlock` if the queue is empty or if the next process will accept its connections.
    pub fn accept_queued(&self) -> io::Result<Socket> {
        if self.is_from_systemd {
            return Err(ErrorKind::WouldBlock.into());
        }
        // This asks the system directly, because the readiness that tokio knows may be outdated.
        let accept = |listener: SockRef<'_>| {
            let (socket, _) = listener.accept()?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        match &self.socket {
            Bound::Tcp(listener) => {
                let socket = accept(SockRef::from(listener))?.into();
                Ok(Socket::tcp(TcpStream::from_std(socket)?))
            }
            Bound::Unix(listener) => {
                let socket = accept(SockRef::from(listener))?.into();
                Ok(Socket::Unix(UnixStream::from_std(socket)?))
            }
        }
    }

    /// Returns the address that is bound.
    pub fn address(&self) -> String {
        match &self.socket {
            Bound::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|error| error.to_string(), |address| address.to_string()),
            Bound::Unix(listener) => listener
                .local_addr()
                .ok()
                .and_then(|address| Some(format!("unix:{}", address.as_pathname()?.display())))
                .unwrap_or_else(|| "unix:".to_owned()),
        }
    }
}

impl Socket {
    fn tcp(socket: TcpStream) -> Self {
        // An error means that the client has disconnected; a later read or write reports that too.
        let _ = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES);
        // The last segment of a page must not wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
        Self::Tcp(socket)
    }

    /// Returns true for a Unix socket. Its client is on this machine, and the file permissions allow it to connect.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Returns the address of the client, or `None` for a Unix socket or a disconnected client.
    pub fn peer(&self) -> Option<SocketAddr> {
        let Self::Tcp(socket) = self else {
            return None;
        };
        let peer = socket.peer_addr().ok()?;
        // A dual-stack socket reports IPv4 clients with IPv4-mapped IPv6 addresses.
        Some(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    /// Waits for the first byte and returns it without consuming it. Unix sockets do not support this.
    pub async fn peek(&self) -> io::Result<u8> {
        let mut first = [0];
        let length = match self {
            Self::Tcp(socket) => socket.peek(&mut first).await?,
            Self::Unix(_) => return Err(ErrorKind::Unsupported.into()),
        };
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(first[0])
    }

    /// Makes closing the socket discard the data that the client has not read.
    pub fn abort(&self) {
        if let Self::Tcp(socket) = self {
            let _ = socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Unix(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Unix(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
