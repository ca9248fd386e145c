//! The HTTP server: accepts connections, serves and drains. `Limits` bounds what clients can use. Of client errors only rejected
//! certificates are logged.

use super::connection::{Connection, Limits, TimedSocket};
use super::connections::Connections;
use super::response::plain;
use super::routes::Routes;
use super::tls::{self, RejectionLog};
use crate::toolkit::listen::{Listener, Socket};
use crate::toolkit::watchdog::{Ticket, Watchdog};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A longer request head gets 431. Browsers send about 2 KiB, cookies included.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Time for scrapes in flight to finish when the server stops. The process must exit within 5 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a stopping server accepts clients that have already connected.
const QUEUED_CLIENTS_TIMEOUT: Duration = Duration::from_millis(50);
/// Accepting usually fails for lack of file descriptors, so an immediate retry would spin. Closing a connection frees one almost at once.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// A lack of file descriptors can last; one line a minute is enough.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

struct Server {
    routes: Routes,
    connections: Connections,
    rejections: RejectionLog,
    stop: CancellationToken,
}

/// Serves until `stop`, then drains: requests in flight may finish.
pub async fn serve(
    listeners: Vec<Listener>,
    routes: Routes,
    limits: Limits,
    watchdog: Watchdog,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let server = Arc::new(Server {
        routes,
        connections: Connections {
            open: Mutex::default(),
            tasks: tasks.clone(),
            limits,
        },
        rejections: RejectionLog::default(),
        stop: stop.clone(),
    });
    for listener in listeners {
        let ticket = watchdog.register(format!("accept loop on {}", listener.address()));
        tasks.spawn(accept(listener, ticket, Arc::clone(&server)));
    }
    tasks.close();
    let stopped_and_drained = async {
        stop.cancelled().await;
        timeout(DRAIN_TIMEOUT, tasks.wait()).await
    };
    tokio::select! {
        () = server.connections.enforce_deadlines() => {}
        drained = stopped_and_drained => if drained.is_err() {
            let seconds = DRAIN_TIMEOUT.as_secs();
            tracing::warn!(seconds, "drain timeout reached, closing the remaining connections");
        }
    }
}

async fn accept(listener: Listener, mut ticket: Ticket, server: Arc<Server>) {
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
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "failed to accept a connection");
                }
                server.connections.close_oldest();
                sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
    // The next process accepts the clients that wait.
    if listener.is_from_systemd {
        return;
    }
    // Clients in the accept queue are already connected; closing the listener would reset their connections.
    let end = Instant::now() + QUEUED_CLIENTS_TIMEOUT;
    for _ in 0..server.connections.limits.connections {
        match timeout_at(end, listener.accept()).await {
            Ok(Ok(socket)) => spawn_connection(socket, &server),
            Ok(Err(_)) => {}
            Err(_) => return,
        }
    }
}

fn spawn_connection(socket: Socket, server: &Arc<Server>) {
    let connection = Arc::new(Connection::new(server.connections.limits));
    let serving = serve_connection(socket, Arc::clone(&connection), Arc::clone(server));
    server.connections.spawn(connection, serving);
}

async fn serve_connection(socket: Socket, connection: Arc<Connection>, server: Arc<Server>) {
    let grace_end = Instant::now() + server.connections.limits.accept_grace;
    let mut stop = pin!(async {
        server.stop.cancelled().await;
        sleep_until(grace_end).await;
    });
    let peer = socket.peer();
    let peer_ip = peer.map(|peer| peer.ip());
    // The client of a Unix socket is a proxy on this machine, which terminates TLS itself.
    let access = server.routes.access.as_ref();
    let tls = access.filter(|_| !socket.is_unix()).and_then(|it| it.tls());
    let state = Arc::clone(&connection);
    let socket = TimedSocket { socket, connection };
    let Some(tls) = tls else {
        return serve_http1(socket, &state, &server, peer_ip, stop).await;
    };
    let accepted = tokio::select! {
        accepted = tls::accept(socket, peer, tls, &server.rejections) => accepted,
        () = &mut stop => None,
    };
    if let Some(stream) = accepted {
        serve_http1(stream, &state, &server, peer_ip, stop).await;
    }
}

/// Serves requests until the connection ends. On `stop`, finishes the request in flight and handles no further one.
async fn serve_http1(
    io: impl AsyncRead + AsyncWrite + Unpin,
    state: &Arc<Connection>,
    server: &Server,
    peer: Option<IpAddr>,
    stop: impl Future<Output = ()>,
) {
    let service = service_fn(async |request: Request<Incoming>| {
        let is_valid = has_valid_host(&request);
        // The server reads no request bodies, and nothing that follows a rejected request.
        let is_last = !is_valid || !request.body().is_end_stream();
        state.start_request();
        let mut response = if is_valid {
            server.routes.handle(request, peer).await
        } else {
            let text = "Bad request: the request must have exactly one valid Host header.\n";
            plain(StatusCode::BAD_REQUEST, text)
        };
        if is_last {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let response = response.map(|content| state.start_response(content, is_last));
        if state.state.lock().large_response.is_some() {
            server.connections.limit_large_responses();
        }
        Ok::<_, Infallible>(response)
    });
    let mut connection = pin!(
        http1::Builder::new()
            // Some clients close their side of the connection after the request and then wait for the response.
            .half_close(true)
            // It would also close idle connections. `Connection` has a timeout for the head.
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        biased;
        // A connection error affects only its own client.
        _ = connection.as_mut() => return,
        // A busy connection may use up the cooperative budget of the task. Without `unconstrained` this would never complete.
        () = unconstrained(stop) => {}
    }
    if state.is_responding() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// The request must have exactly one Host header, which may be empty (RFC 9112, section 3.2). HTTP/1.0 requests may omit it. Go's servers
/// accept the same characters.
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
