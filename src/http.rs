//! The server: bind, serve, drain. Knows neither AWS nor what a page says.
//!
//! Whatever clients do, `Limits` says what it costs: how many connections, how long each may take for its part, how much memory
//! big answers take together. Of what a client does wrong only a refused certificate is logged, once a minute for each reason.

pub mod access;
mod basic_auth;
mod buf_list;
pub mod client;
mod connections;
mod hash_queue;
pub mod listen;
pub mod negotiate;
mod rate;
pub mod routes;
pub mod shared_responses;
mod timeouts;
mod tls;
mod unix;

use crate::rlimit::OpenFiles;
use crate::watchdog::{Ticket, Watchdog};
use connections::{Connections, Slot};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use listen::{Listener, Socket};
use rustls::ServerConfig;
use shared_responses::Content;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use timeouts::{ConnectionTimeouts, Timed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Room for the head of a request; what is longer is refused with 431. Browsers send 2 KiB, cookies included.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Scrapes that are under way at a stop have so long to end: the whole stop has 5 s.
const DRAIN: Duration = Duration::from_secs(4);
/// Out of file descriptors, most likely: trying again at once would spin. Where a connection was closed to make room, that takes
/// a moment only.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
const PAUSE_FOR_ROOM: Duration = Duration::from_millis(1);
/// A lack of descriptors can last; one line a minute tells it as well as ten a second.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What clients may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// From a connection's start to the end of its first head; from the first byte of each later head to its end.
    pub head: Duration,
    /// For a client that had just connected when a stop was asked for, to be answered: most have sent their request by then.
    pub arrival: Duration,
    /// From an answer to the next request's first byte.
    pub idle: Duration,
    /// Without the client taking anything of an answer that is there.
    pub stuck: Duration,
    /// From an answer's start until the client has taken it all.
    pub answer: Duration,
    /// For a client that is still sending what nobody reads, to read the answer.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: OpenFiles::of_process().http_connections,
            // A head is one packet.
            head: Duration::from_secs(10),
            // Twice around the earth; nobody notices it at a stop.
            arrival: Duration::from_millis(250),
            // Longer than any usual scrape interval, so that a scraper keeps its connection.
            idle: Duration::from_secs(300),
            // No link that works is silent for so long.
            stuck: Duration::from_secs(30),
            // The longest that a scraper could wait in earnest. A page of 20 MB comes through at 0.5 Mbit/s.
            answer: Duration::from_secs(300),
            // As in Go's server, and a margin.
            closing: Duration::from_secs(1),
        }
    }
}

/// Answers a request.
pub trait Handler: Send + Sync + 'static {
    /// The answer, whatever the request, to a client at `peer`; none over a Unix socket.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Option<IpAddr>,
    ) -> impl Future<Output = Response<Content>> + Send;

    /// What connections over TCP that come from now on speak; plain HTTP if `None`.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        None
    }
}

/// Serves on all `listeners` until `stop`, then lets the requests under way end. What accepts connections joins `watchdog`.
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
        refusals: tls::RefusalLog::default(),
        stop: stop.clone(),
    });
    for listener in listeners {
        let ticket = watchdog.register(format!("accepting on {}", listener.address()));
        server
            .tasks
            .spawn(accept(listener, ticket, Arc::clone(&server)));
    }
    server.tasks.close();
    stop.cancelled().await;
    if tokio::time::timeout(DRAIN, server.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = DRAIN.as_secs(),
            "connections were cut: they did not end in time"
        );
    }
}

/// What all connections share.
struct Server<H> {
    handler: Arc<H>,
    connections: Arc<Connections>,
    limits: Arc<Limits>,
    tasks: TaskTracker,
    refusals: tls::RefusalLog,
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
            Ok(socket) => admit(socket, &server),
            // The client went before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "accepting connections fails");
                }
                let pause = if server.connections.evict_one() {
                    PAUSE_FOR_ROOM
                } else {
                    PAUSE_AFTER_FAILURE
                };
                tokio::time::sleep(pause).await;
            }
        }
    }
    // To the system they are connected, and would be cut.
    for _ in 0..server.limits.connections {
        match listener.accept_last() {
            Ok(socket) => admit(socket, &server),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

fn admit(socket: Socket, server: &Arc<Server<impl Handler>>) {
    let slot = server.connections.admit();
    server
        .tasks
        .spawn(connection(socket, slot, Arc::clone(server)));
}

async fn connection(socket: Socket, slot: Slot, server: Arc<Server<impl Handler>>) {
    let arrived = Instant::now() + server.limits.arrival;
    let stop = async {
        server.stop.cancelled().await;
        tokio::time::sleep_until(arrived).await;
    };
    let slot = Arc::new(slot);
    let timeouts = ConnectionTimeouts::new(Arc::clone(&slot), Arc::clone(&server.limits));
    // Who is behind a Unix socket is a proxy on this machine, which speaks TLS itself.
    let tls = server.handler.tls().filter(|_| !socket.is_unix());
    let peer = socket.peer().map(|peer| peer.ip());
    let socket = Timed::new(socket, Arc::clone(&timeouts));
    tokio::select! {
        biased;
        // Whatever a client does wrong ends its own connection and is nobody else's concern.
        () = serve_connection(socket, tls, Arc::clone(&timeouts), &server, peer, stop) => {}
        // A client that keeps the connection busy must not use up what tokio lets a task do in one go: both would never be looked at.
        () = unconstrained(timeouts.timed_out()) => {}
        () = unconstrained(slot.evicted()) => {}
    }
}

async fn serve_connection(
    socket: Timed,
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
        accepted = tls::accept(socket, tls, &server.refusals) => accepted,
        () = &mut stop => None,
    };
    if let Some(stream) = accepted {
        serve_http1(stream, timeouts, handler, peer, stop).await;
    }
}

/// Serves requests until the connection ends. At a stop the request under way is answered, and no further one.
async fn serve_http1(
    io: impl AsyncRead + AsyncWrite + Unpin,
    timeouts: Arc<ConnectionTimeouts>,
    handler: &Arc<impl Handler>,
    peer: Option<IpAddr>,
    stop: impl Future<Output = ()>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let is_valid = has_valid_host(&request);
        // The bytes behind a rejected request are not read either.
        let unread = !is_valid || !request.body().is_end_stream();
        timeouts.request(unread);
        let (handler, timeouts) = (Arc::clone(handler), Arc::clone(&timeouts));
        async move {
            let mut response = if is_valid {
                handler.handle(request, peer).await
            } else {
                bad_host()
            };
            if unread {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|content| timeouts.answer(content)))
        }
    });
    let connection = http1::Builder::new()
        // Some clients close their side after the request, and wait for the response.
        .half_close(true)
        // `ConnectionTimeouts` limits more than the head.
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
    if timeouts.is_answering() {
        connection.as_mut().graceful_shutdown();
        // An error of the connection concerns its client alone.
        let _ = connection.await;
    }
}

/// As RFC 9112 (section 3.2) asks of HTTP/1.1: exactly one, which may be empty. Go's servers take these characters.
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
    let text = "Bad request: exactly one valid Host header is needed.\n";
    let mut response = Response::new(Content::from(text.to_owned()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
