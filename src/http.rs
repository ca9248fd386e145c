//! The server: bind, serve, drain. Knows neither AWS nor what a page says.

pub mod client;
mod connections;
pub mod listen;
pub mod routes;

use connections::Connections;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use listen::{Listener, Socket};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A connection that has not sent the whole head of its first request by then is closed.
const FIRST_HEAD: Duration = Duration::from_secs(10);
/// A connection without a request for so long is closed; longer than any usual scrape interval, so that a scraper keeps its own.
const IDLE: Duration = Duration::from_secs(300);
/// Room for the head of a request.
const MOST_HEAD_BYTES: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// Scrapes that are under way at a stop have so long to end: the whole stop has 5 s.
const DRAIN: Duration = Duration::from_secs(4);

/// Answers a request.
pub trait Handler: Send + Sync + 'static {
    /// The answer, whatever the request.
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Serves on all `listeners` until `stop`, then lets the requests under way end.
pub async fn serve(listeners: Vec<Listener>, handler: Arc<impl Handler>, stop: CancellationToken) {
    let connections = Arc::new(Connections::default());
    let tasks = TaskTracker::new();
    for listener in listeners {
        tasks.spawn(accept(
            listener,
            Arc::clone(&handler),
            Arc::clone(&connections),
            tasks.clone(),
            stop.clone(),
        ));
    }
    tasks.close();
    stop.cancelled().await;
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(
            seconds = DRAIN.as_secs(),
            "connections were cut: they did not end in time"
        );
    }
}

async fn accept(
    listener: Listener,
    handler: Arc<impl Handler>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match socket {
            Ok(socket) => {
                let Some(place) = connections.admit() else {
                    continue;
                };
                let connection = connection(socket, Arc::clone(&handler), place, stop.clone());
                tasks.spawn(connection);
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would spin.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    socket: Socket,
    handler: Arc<impl Handler>,
    place: connections::Place,
    stop: CancellationToken,
) {
    match socket {
        Socket::Tcp(socket) => serve_connection(socket, handler, place, stop).await,
        Socket::Unix(socket) => serve_connection(socket, handler, place, stop).await,
    }
}

async fn serve_connection(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    handler: Arc<impl Handler>,
    place: connections::Place,
    stop: CancellationToken,
) {
    let place = Arc::new(place);
    let service = service_fn(|request| {
        let busy = place.busy();
        let handler = Arc::clone(&handler);
        async move {
            let response = handler.handle(request).await;
            drop(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_headers(MOST_HEADERS)
            .max_buf_size(MOST_HEAD_BYTES)
            .serve_connection(TokioIo::new(socket), service)
    );
    tokio::select! {
        // Whatever a client does wrong ends its own connection and is nobody else's concern.
        _ = connection.as_mut() => return,
        () = place.silent_for(FIRST_HEAD) => return,
        () = place.evicted() => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
