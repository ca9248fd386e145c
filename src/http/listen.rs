//! Sockets to listen on: addresses as Prometheus' exporters spell them, Unix sockets, and those that systemd hands over.

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

/// As many connections as Go's servers let wait to be accepted on a usual machine.
const BACKLOG: i32 = 4096;
/// What the system may hold of an answer that the client has not read yet (Linux doubles the number): by itself it would take
/// 4 MB for each connection. Enough for some MB a second over the longest way on earth.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On every address of the machine.
    Port(u16),
    Ip(SocketAddr),
    /// A name or an IPv6 address with a zone, which is looked up when the socket is bound, and a port.
    Name(String, u16),
    Unix(PathBuf),
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress {
    address: String,
    why: &'static str,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` {}; allowed: :port, host:port, [v6]:port or unix:/path",
            self.address, self.why
        )
    }
}

impl std::error::Error for BadAddress {}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(address: &str) -> Result<Self, BadAddress> {
        let bad = |why| BadAddress {
            address: address.to_owned(),
            why,
        };
        if let Some(path) = address.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(bad("names no absolute path"))
            };
        }
        if let Some((scheme, _)) = address.split_once("://") {
            return Err(bad(if scheme == "vsock" {
                "is a vsock address, which is not supported"
            } else {
                "is a URL, and an address has no scheme"
            }));
        }
        let (host, port) = address.rsplit_once(':').ok_or(bad("has no port"))?;
        let port = port
            .parse()
            .map_err(|_| bad("has no port from 0 to 65535 behind its last colon"))?;
        let in_brackets = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(v6) = in_brackets.filter(|host| host.contains(':')) {
            let (ip, zone) = v6
                .split_once('%')
                .map_or((v6, None), |(ip, zone)| (ip, Some(zone)));
            let ip: Ipv6Addr = ip
                .parse()
                .map_err(|_| bad("has no IPv6 address in its brackets"))?;
            return Ok(match zone {
                // The system finds out which interface that is.
                Some(_) if ip.is_unicast_link_local() => Self::Name(v6.to_owned(), port),
                // To every other address a zone means nothing.
                _ => Self::Ip((ip, port).into()),
            });
        }
        // As Go reads them, brackets may stand around any host.
        let host = in_brackets.unwrap_or(host);
        if host.is_empty() {
            return Ok(Self::Port(port));
        }
        if host.contains(':') {
            return Err(bad(
                "has more than one colon, and an IPv6 address must stand in brackets",
            ));
        }
        if let Ok(v4) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Ip((v4, port).into()));
        }
        let is_name = host
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "-._".contains(character));
        if !is_name {
            return Err(bad("has no host name before its port"));
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
    /// The file goes before the socket: what another process makes at its path in between is not ours.
    _file: Option<OwnedPath>,
    socket: Bound,
    /// It stays when this process ends: who waits to be accepted, the next one takes.
    outlives: bool,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Address {
    /// Binds the address.
    ///
    /// # Errors
    /// If it cannot be had, with the system's reason.
    pub async fn bind(&self) -> io::Result<Listener> {
        let tcp = match self {
            Self::Port(port) => Self::any(*port)?,
            // As Go's servers do: `[::]` is every address, those of IPv4 too.
            Self::Ip(address) => tcp(*address, address.ip().is_unspecified())?,
            Self::Name(host, port) => {
                let mut addresses: Vec<SocketAddr> =
                    tokio::net::lookup_host((host.as_str(), *port))
                        .await?
                        .collect();
                // As Go's servers do: of several the IPv4 one.
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
                    outlives: false,
                });
            }
        };
        Ok(Listener {
            _file: None,
            socket: Bound::Tcp(TcpListener::from_std(tcp)?),
            outlives: false,
        })
    }

    /// Both protocols in one socket, or IPv4 alone where the machine has no IPv6.
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

fn tcp(address: SocketAddr, both: bool) -> io::Result<std::net::TcpListener> {
    let domain = match address.ip() {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    // A restart need not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The sockets that systemd hands over (`sd_listen_fds(3)`).
///
/// # Errors
/// If there is none, or one is of another kind than TCP or a Unix stream.
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
            outlives: true,
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

    /// A connection that would be lost with this socket; none is waited for.
    ///
    /// # Errors
    /// Above all if there is none.
    pub fn accept_last(&self) -> io::Result<Socket> {
        if self.outlives {
            return Err(ErrorKind::WouldBlock.into());
        }
        // What tokio knows of the socket may be older.
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

    /// The address that is really bound.
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
        // An error means that the client has gone, which is found out later as well.
        let _ = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES);
        // A page's last segment should not wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
        Self::Tcp(socket)
    }

    /// Whoever is at the other end is on this machine, and was let in by the file system.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// The client's address. None for a Unix socket, or if the client has gone.
    pub fn peer(&self) -> Option<SocketAddr> {
        let Self::Tcp(socket) = self else {
            return None;
        };
        let peer = socket.peer_addr().ok()?;
        // On a socket of both protocols IPv4 addresses are written as those of IPv6.
        Some(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    /// The first byte that comes, which stays there to be read. Only TCP has that.
    pub async fn peek(&self) -> io::Result<u8> {
        let mut first = [0];
        let there = match self {
            Self::Tcp(socket) => socket.peek(&mut first).await?,
            Self::Unix(_) => return Err(ErrorKind::Unsupported.into()),
        };
        if there == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(first[0])
    }

    /// Closing it will throw away what the client has not taken yet.
    pub fn abort(&self) {
        if let Self::Tcp(socket) = self {
            // Without it the system keeps the rest for a while.
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
