//! The HTTP server: binds, serves and drains. It knows nothing of AWS and nothing of the content of responses.
//!
//! `Limits` bounds the cost of clients: the number of connections, the time for each step of a request, and the memory for large
//! responses. The server logs only one kind of client error, a rejected certificate, at most once a minute for each reason.

mod buf_list;
pub mod client;
mod connections;
pub mod negotiate;
pub mod routes;
pub mod shared_responses;
mod timeouts;
mod tls;

use crate::rlimit::OpenFiles;
use crate::toolkit::listen::{Listener, Socket};
use crate::toolkit::watchdog::{Ticket, Watchdog};
use connections::{Connections, Slot};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use shared_responses::Content;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use timeouts::{ConnectionTimeouts, TimedSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A longer request head gets 431. Browsers send about 2 KiB, cookies included.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Time for scrapes in flight to finish when the server stops. The process must exit within 5 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// Accepting usually fails for lack of file descriptors, so an immediate retry would spin.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Evicting a connection frees a descriptor almost at once.
const EVICTION_RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// A lack of file descriptors can last; one line a minute is enough.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Limits on the resources that clients use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The maximum number of open connections.
    pub connections: usize,
    /// The timeout for a request head. It starts when the connection opens, and for later requests at their first byte.
    pub head: Duration,
    /// How long a new connection stays open after it was accepted, even if the server stops, so that its first request arrives.
    pub accept_grace: Duration,
    /// The timeout between a response and the first byte of the next request.
    pub idle: Duration,
    /// The timeout for a response that the client does not read.
    pub write_stall: Duration,
    /// The timeout for the client to read a whole response.
    pub response: Duration,
    /// How long the server discards the input of a client that is still sending, so that the client can read the response.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: OpenFiles::of_process().http_connections,
            // A request head usually fits into one packet.
            head: Duration::from_secs(10),
            // Longer than a round trip on earth, and too short to delay a stop noticeably.
            accept_grace: Duration::from_millis(250),
            // Longer than usual scrape intervals, so that a scraper keeps its connection.
            idle: Duration::from_secs(300),
            // A working link is never silent for this long.
            write_stall: Duration::from_secs(30),
            // Enough for a page of 20 MB at 0.5 Mbit/s.
            response: Duration::from_secs(300),
            // Go's server waits 500 ms.
            linger: Duration::from_secs(1),
        }
    }
}

/// Handles the requests of a server.
pub trait Handler: Send + Sync + 'static {
    /// Returns the response to a request from `peer`, which is `None` for a Unix socket.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Option<IpAddr>,
    ) -> impl Future<Output = Response<Content>> + Send;

    /// Returns the TLS configuration for new TCP connections, or `None` for plain HTTP.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        None
    }
}

/// Serves on all `listeners` until `stop`, then drains: requests in flight may finish. Registers its accept loops with `watchdog`.
pub async fn serve(
    listeners: Vec<Listener>,
    handler: Arc<impl Handler>,
    limits: Limits,
    watchdog: Watchdog,
    stop: CancellationToken,
) {
    let server = Arc::new(Server {
        handler,
        connections: Arc::new(Connections::new(limits.connections)),
        limits: Arc::new(limits),
        tasks: TaskTracker::new(),
        rejections: tls::RejectionLog::default(),
        stop: stop.clone(),
    });
    for listener in listeners {
        let ticket = watchdog.register(format!("accept loop on {}", listener.address()));
        server
            .tasks
            .spawn(accept(listener, ticket, Arc::clone(&server)));
    }
    server.tasks.close();
    stop.cancelled().await;
    if tokio::time::timeout(DRAIN_TIMEOUT, server.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = DRAIN_TIMEOUT.as_secs(),
            "drain timeout reached, closing the remaining connections"
        );
    }
}

/// The state that all connections share.
struct Server<H> {
    handler: Arc<H>,
    connections: Arc<Connections>,
    limits: Arc<Limits>,
    tasks: TaskTracker,
    rejections: tls::RejectionLog,
    stop: CancellationToken,
}

async fn accept(listener: Listener, mut ticket: Ticket, server: Arc<Server<impl Handler>>) {
    let mut warned: Option<Instant> = None;
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ticket.check_in() => continue,
            () = server.stop.cancelled() => break,
        };
        match socket {
            Ok(socket) => spawn_connection(socket, &server),
            // The client closed the connection before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "failed to accept a connection");
                }
                let retry_in = if server.connections.evict_oldest() {
                    EVICTION_RETRY_INTERVAL
                } else {
                    ACCEPT_RETRY_INTERVAL
                };
                tokio::time::sleep(retry_in).await;
            }
        }
    }
    // Clients in the accept queue are already connected; closing the listener would reset their connections.
    for _ in 0..server.limits.connections {
        match listener.accept_queued() {
            Ok(socket) => spawn_connection(socket, &server),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

fn spawn_connection(socket: Socket, server: &Arc<Server<impl Handler>>) {
    let slot = server.connections.admit();
    server
        .tasks
        .spawn(run_connection(socket, slot, Arc::clone(server)));
}

async fn run_connection(socket: Socket, slot: Slot, server: Arc<Server<impl Handler>>) {
    let grace_end = Instant::now() + server.limits.accept_grace;
    let stop = async {
        server.stop.cancelled().await;
        tokio::time::sleep_until(grace_end).await;
    };
    let slot = Arc::new(slot);
    let timeouts = ConnectionTimeouts::new(Arc::clone(&slot), Arc::clone(&server.limits));
    // The client of a Unix socket is a proxy on this machine, which terminates TLS itself.
    let tls = server.handler.tls().filter(|_| !socket.is_unix());
    let peer = socket.peer().map(|peer| peer.ip());
    let socket = TimedSocket::new(socket, Arc::clone(&timeouts));
    tokio::select! {
        biased;
        // A client error ends only the connection of that client.
        () = serve_connection(socket, tls, Arc::clone(&timeouts), &server, peer, stop) => {}
        // A busy connection may use up the cooperative budget of the task. Without `unconstrained` the next two would never complete.
        () = unconstrained(timeouts.timed_out()) => {}
        () = unconstrained(slot.evicted()) => {}
    }
}

async fn serve_connection(
    socket: TimedSocket,
    tls: Option<Arc<ServerConfig>>,
    timeouts: Arc<ConnectionTimeouts>,
    server: &Server<impl Handler>,
    peer: Option<IpAddr>,
    stop: impl Future<Output = ()>,
) {
    let handler = &server.handler;
    let mut stop = pin!(stop);
    let Some(tls) = tls else {
        return serve_http1(socket, timeouts, handler, peer, stop).await;
    };
    let accepted = tokio::select! {
        accepted = tls::accept(socket, tls, &server.rejections) => accepted,
        () = &mut stop => None,
    };
    if let Some(stream) = accepted {
        serve_http1(stream, timeouts, handler, peer, stop).await;
    }
}

/// Serves requests until the connection ends. On `stop`, finishes the request in flight and handles no further one.
async fn serve_http1(
    io: impl AsyncRead + AsyncWrite + Unpin,
    timeouts: Arc<ConnectionTimeouts>,
    handler: &Arc<impl Handler>,
    peer: Option<IpAddr>,
    stop: impl Future<Output = ()>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let is_valid = has_valid_host(&request);
        // The server reads no request bodies, and nothing that follows a rejected request.
        let unread_input = !is_valid || !request.body().is_end_stream();
        timeouts.start_request(unread_input);
        let (handler, timeouts) = (Arc::clone(handler), Arc::clone(&timeouts));
        async move {
            let mut response = if is_valid {
                handler.handle(request, peer).await
            } else {
                bad_host()
            };
            if unread_input {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|content| timeouts.start_response(content)))
        }
    });
    let connection = http1::Builder::new()
        // Some clients close their side of the connection after the request and then wait for the response.
        .half_close(true)
        // `ConnectionTimeouts` has a timeout for the head.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = unconstrained(stop) => {}
    }
    if timeouts.is_responding() {
        connection.as_mut().graceful_shutdown();
        // A connection error affects only its own client.
        let _ = connection.await;
    }
}

/// Returns true if the request has exactly one Host header, which may be empty (RFC 9112, section 3.2). HTTP/1.0
/// requests may omit it. Go's servers accept the same characters.
fn has_valid_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte)),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

fn bad_host() -> Response<Content> {
    let text = "Bad request: the request must have exactly one valid Host header.\n";
    let mut response = Response::new(Content::from(text.to_owned()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
